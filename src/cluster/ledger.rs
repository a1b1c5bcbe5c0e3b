//! What outlives tasks: services with their claims, and names.
//!
//! A claim on a host and path belongs to the service, begins when its first task made it, and ends when the service
//! is forgotten: a challenger never wins through the owner's deploy or this program's restart. So it is stored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::labels::host::HostPattern;
use crate::model::id::{ClusterName, ServiceId};
use crate::model::persistent::PersistentMap;
use crate::model::service::Protocol;
use crate::model::time::Timestamp;

/// The ledger of services and names.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Services that exist or are retained.
    pub services: PersistentMap<ServiceId, Arc<ServiceRecord>>,
    /// How many of them have no task.
    pub retained: usize,
    /// Names (cluster, text below the zone) whose last task is gone, with the time they are forgotten.
    pub names: PersistentMap<(ClusterName, Arc<str>), Timestamp>,
    /// Serial numbers of the zones; they never fall.
    pub serials: PersistentMap<Arc<str>, u32>,
}

/// What is remembered of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its claims: those of its tasks, or the last ones while it has none.
    pub claims: Vec<Claim>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Since when it has had no task.
    pub empty_since: Option<Timestamp>,
}

/// A claim of a service on a host and path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The route's name within the service.
    pub name: Arc<str>,
    /// The host.
    pub host: HostPattern,
    /// The path prefix.
    pub path: Arc<str>,
    /// Since when the service has made it.
    pub since: Timestamp,
}

/// Services and names without tasks that are remembered at most; beyond, they are forgotten with their last task.
pub const RETAINED_LIMIT: usize = 100_000;
