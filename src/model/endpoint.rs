//! Endpoints: where requests for a service can be sent.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::balance::Algorithm;
use super::bounds::Bounds;
use super::check::CheckSpec;
use super::deployment::Deployment;
use super::endpoint_tls::EndpointTls;
use super::id::{AgentId, ServiceId, TaskKey, Version, stable_hash};
use super::rules::Rules;
use super::run::EndpointRun;
use super::service::Protocol;
use super::sorted::SortKey;
use super::time::Timestamp;

/// Names one endpoint: a task's port in one address family. The address is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointId {
    /// The task.
    pub task: TaskKey,
    /// The port's name or index, as in the service's id.
    pub port: Arc<str>,
    /// The address family.
    pub family: Family,
}

impl EndpointId {
    /// A number that stands for this identity, equal on every instance that sees the same cluster.
    pub fn fingerprint(&self) -> u64 {
        let task = &self.task;
        stable_hash(&(task.cluster(), task.framework(), task.task(), &self.port, self.family))
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.task, self.port, self.family.as_str())
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `v4` or `v6`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// One place where a service is served. Immutable but for [`Endpoint::run`].
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its identity, kept from table to table.
    pub id: EndpointId,
    /// The service it belongs to.
    pub service: ServiceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// How TLS is spoken with it, where it speaks TLS.
    pub tls: Option<Arc<EndpointTls>>,
    /// In which version of the PROXY protocol it is told of clients, where it is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The version it runs.
    pub version: Version,
    /// Its share of the service's traffic, relative to the others.
    pub weight: Weight,
    /// Its version's share of the service's traffic, where its task says one.
    pub version_weight: Option<Weight>,
    /// The deploy that its app is part of, where marathon-lb's labels say one.
    pub deployment: Option<Arc<Deployment>>,
    /// Whether it may be chosen.
    pub state: EndpointState,
    /// The agent it runs on.
    pub agent: Option<AgentId>,
    /// Since when it has been ready, in this state without a break.
    pub ready_since: Option<Timestamp>,
    /// How long requests in flight may go on once it drains.
    pub drain_time: Option<Duration>,
    /// Whether its clients are kept on it by a cookie.
    pub sticky: bool,
    /// How its task wants the service's requests spread, where it says so.
    pub balance: Option<Arc<Algorithm>>,
    /// How many requests it takes and how long one may wait, where its task says so.
    pub bounds: Option<Arc<Bounds>>,
    /// What its task asks of every request to the service.
    pub rules: Option<Arc<Rules>>,
    /// How it is checked, where it is.
    pub check: Option<Arc<CheckSpec>>,
    /// State that changes per request; shared by all tables that hold this endpoint.
    pub run: Arc<EndpointRun>,
}

/// Equality of what the table says; run-time state does not count.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.service == other.service
            && self.address == other.address
            && self.protocol == other.protocol
            && self.tls == other.tls
            && self.proxy_protocol == other.proxy_protocol
            && self.version == other.version
            && self.weight == other.weight
            && self.version_weight == other.version_weight
            && self.deployment == other.deployment
            && self.state == other.state
            && self.agent == other.agent
            && self.ready_since == other.ready_since
            && self.drain_time == other.drain_time
            && self.sticky == other.sticky
            && self.balance == other.balance
            && self.bounds == other.bounds
            && self.rules == other.rules
            && self.check == other.check
    }
}

impl Eq for Endpoint {}

impl SortKey for Endpoint {
    type Key = EndpointId;

    fn compare(&self, key: &EndpointId) -> Ordering {
        self.id.cmp(key)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// In binary.
    V2,
}

impl ProxyProtocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The name used in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Whether an endpoint may be chosen, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Running and not known unhealthy: gets requests.
    Ready,
    /// Running, checked, and without a verdict so far: gets none unless the configuration says so.
    Unverified,
    /// Not running yet.
    Starting,
    /// Its last verdict was bad. Chosen only in panic, when no endpoint of the service is ready.
    Unhealthy,
    /// Its agent is cut off. Chosen only in panic.
    Unreachable,
    /// Going away: gets no new request, keeps what is in flight.
    Draining,
}

impl EndpointState {
    /// Every state, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Unverified, Self::Starting, Self::Unhealthy, Self::Unreachable, Self::Draining];

    /// The name used in the API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unverified => "unverified",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Unreachable => "unreachable",
            Self::Draining => "draining",
        }
    }

    /// Whether the endpoint may be chosen when no endpoint of its service is ready, or too few.
    pub fn serves_in_panic(self) -> bool {
        matches!(self, Self::Unhealthy | Self::Unreachable)
    }
}

/// A relative share of traffic, 0 (none) to 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u16);

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}
