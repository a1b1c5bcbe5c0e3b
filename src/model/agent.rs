//! What a source says of an agent.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{AgentId, ClusterName};

/// The facts that one source knows of one agent. Best used as attributes: an agent's absence is no proof of the
/// death of its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// The cluster.
    pub cluster: ClusterName,
    /// The agent's id.
    pub id: AgentId,
    /// A free string; may not resolve.
    pub hostname: Arc<str>,
    /// The address it registered from.
    pub address: Option<IpAddr>,
    /// The port its own API listens on.
    pub port: Option<u16>,
    /// Fault domain: region.
    pub region: Option<Arc<str>>,
    /// Fault domain: zone.
    pub zone: Option<Arc<str>>,
    /// Whether the agent is connected and accepts tasks, as far as the source says.
    pub active: bool,
    /// Registered before a master's failover and not back yet: its tasks are not known to the master, and alive.
    pub recovered: bool,
}
