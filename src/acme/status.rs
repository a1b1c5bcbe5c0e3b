//! What there is to see of authorities: for the API and the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What is seen now, by authority.
#[derive(Clone, Debug, Default)]
pub struct SharedStatus(Arc<Mutex<BTreeMap<Arc<str>, AuthorityStatus>>>);

/// An authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The URL of its directory.
    pub directory: Arc<str>,
    /// Where pairs are kept.
    pub folder: String,
    /// Another instance has the right to order now.
    pub other_orders: bool,
    /// Why no certificate at all can be ordered, and the mend.
    pub error: Option<String>,
    /// What is wanted.
    pub certificates: Vec<CertificateStatus>,
    /// Hosts of routes for which there is no room.
    pub left_out: Vec<Arc<str>>,
}

/// A certificate that is wanted. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// What its files are called.
    pub name: Arc<str>,
    /// Its hosts.
    pub hosts: Vec<Arc<str>>,
    /// It is a route's host, not one of the configuration.
    pub of_route: bool,
    /// `missing`, `ordering`, `valid` or `ended`.
    pub state: Arc<str>,
    /// When the one that is there ends.
    pub ends: Option<i64>,
    /// When the next order is due.
    pub next_order: i64,
    /// Orders that failed since the last one that did not.
    pub failures: u32,
    /// Why the last one failed, and the mend.
    pub error: Option<String>,
}

impl SharedStatus {
    /// What is seen now, by name.
    pub fn authorities(&self) -> Vec<AuthorityStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Shows this of an authority from now on; what was shown of it before.
    pub fn show(&self, status: AuthorityStatus) -> Option<AuthorityStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(status.name.clone(), status)
    }

    /// An authority is gone; what was shown of it last.
    pub fn forget(&self, name: &str) -> Option<AuthorityStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}
