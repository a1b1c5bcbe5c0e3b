//! What a source says of a framework.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{ClusterName, FrameworkId};

/// The facts that one source knows of one framework. A framework that is not connected keeps its tasks running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkFacts {
    /// The cluster.
    pub cluster: ClusterName,
    /// The framework's id.
    pub id: FrameworkId,
    /// The name it registered with; not unique.
    pub name: Arc<str>,
    /// The host it runs on, as it says.
    pub hostname: Arc<str>,
    /// Its scheduler's address, where the source knows it as an address.
    pub address: Option<IpAddr>,
    /// Its scheduler's port, where known.
    pub port: Option<u16>,
    /// The principal it authenticated as; empty if none.
    pub principal: Arc<str>,
    /// The roles it is subscribed to.
    pub roles: Box<[Arc<str>]>,
    /// Whether its scheduler is connected now.
    pub connected: bool,
}
