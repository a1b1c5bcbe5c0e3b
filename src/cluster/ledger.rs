//! What outlives tasks: services with their claims, and names.
//!
//! A claim on a host and path belongs to the service, begins when its first task made it, and ends when the service
//! is forgotten: a challenger never wins through the owner's deploy or this program's restart. So it is stored.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::labels::host::HostPattern;
use crate::model::actions::Actions;
use crate::model::id::{ClusterName, ServiceId};
use crate::model::persistent::PersistentMap;
use crate::model::refinement::Refinement;
use crate::model::rules::Rules;
use crate::model::serial::LEAD;
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
    /// The zones' versions; serials never fall.
    pub serials: PersistentMap<Arc<str>, ZoneVersion>,
}

impl Ledger {
    /// Later serials may have been given than are known here: the next ones are beyond those.
    pub(super) fn doubt_serials(&mut self) {
        let known: Vec<_> = self.serials.iter().map(|(zone, version)| (zone.clone(), version.serial)).collect();
        for (zone, serial) in known {
            self.serials.insert(zone, ZoneVersion { serial: serial.wrapping_add(LEAD), content: None });
        }
    }
}

/// A version of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneVersion {
    /// The serial that was given last; the next one is higher.
    pub serial: u32,
    /// A number for the content that it was given to; `None`: a later serial may have been given, which is not known.
    pub content: Option<u64>,
}

/// What is remembered of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its claims: those of its tasks, or the last ones while it has none.
    pub claims: Vec<Claim>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its rules while it has no task.
    pub rules: Option<Arc<Rules>>,
    /// Since when it has had no task.
    pub empty_since: Option<Timestamp>,
}

/// A claim of a service on a way in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The route's name within the service.
    pub name: Arc<str>,
    /// What is claimed.
    pub place: Place,
    /// Its standing: the highest counts first.
    pub priority: i32,
    /// Since when the service has made it.
    pub since: Timestamp,
    /// What its route does. Stored apart: states of older versions have none.
    #[serde(skip)]
    pub actions: Option<Arc<Actions>>,
}

/// The priority of claims on ports that are assigned. Who names a port claims it with 0.
pub const ASSIGNED: i32 = -1;

impl Claim {
    /// Whether it is one on a port that is assigned, and ends with whoever it was assigned to.
    pub fn is_assigned(&self) -> bool {
        matches!(self.place, Place::Port(_)) && self.priority == ASSIGNED
    }
}

/// A way in that one service holds at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Requests for a host and a path prefix.
    Path(HostPattern, Arc<str>),
    /// A port of the proxy.
    Port(u16),
    /// Requests that name an app (`X-Marathon-App-Id`).
    App(Arc<str>),
    /// Requests for a host and a path that have more beside. At the end: stored states know the others by their place.
    Refined(HostPattern, Arc<str>, Arc<Refinement>),
    /// TLS connections for a name, which are carried as they are.
    ServerName(HostPattern),
}

/// A route's host, path, and what it asks beside.
pub type RouteParts<'a> = (&'a HostPattern, &'a Arc<str>, Option<&'a Arc<Refinement>>);

impl Place {
    /// The place of a route.
    pub fn of_route(host: HostPattern, path: Arc<str>, refined: Option<Arc<Refinement>>) -> Self {
        match refined {
            None => Self::Path(host, path),
            Some(refined) => Self::Refined(host, path, refined),
        }
    }

    /// What a route on this place asks, if it is one of routes.
    pub fn route(&self) -> Option<RouteParts<'_>> {
        match self {
            Self::Path(host, path) => Some((host, path, None)),
            Self::Refined(host, path, refined) => Some((host, path, Some(refined))),
            Self::Port(_) | Self::App(_) | Self::ServerName(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(host, path) => write!(f, "{host}{path}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::App(app) => write!(f, "app {app}"),
            Self::ServerName(host) => write!(f, "TLS for {host}"),
            Self::Refined(host, path, refined) => write!(f, "{host}{path}{refined}"),
        }
    }
}

/// Services and names without tasks that are remembered at most; beyond, they are forgotten with their last task.
pub const RETAINED_LIMIT: usize = 100_000;
