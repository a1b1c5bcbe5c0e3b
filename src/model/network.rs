//! Masters of a cluster.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Who leads a cluster, as a source found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MastersFacts {
    /// The leading master's address.
    pub leader: Option<SocketAddr>,
    /// All masters that are known, the leader among them, in a stable order.
    pub masters: Vec<SocketAddr>,
}
