//! A task as the table shows it: its facts joined with its agent's and its framework's.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cluster::source::SourceKind;
use crate::model::agent::AgentFacts;
use crate::model::check::Verdicts;
use crate::model::endpoint::{EndpointId, EndpointState};
use crate::model::framework::FrameworkFacts;
use crate::model::id::{ServiceId, Version};
use crate::model::task::TaskFacts;

/// One task with everything that was derived from it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// The merged facts of all sources.
    pub facts: Arc<TaskFacts>,
    /// Its agent, once known.
    pub agent: Option<Arc<AgentFacts>>,
    /// Its framework, once known.
    pub framework: Option<Arc<FrameworkFacts>>,
    /// Where the facts come from.
    pub source: SourceKind,
    /// Verdicts of active checks on its ports.
    pub verdicts: Option<Arc<Verdicts>>,
    /// An operator took it, or its agent, out of service.
    pub drained: bool,
    /// Whether it may be chosen.
    pub state: EndpointState,
    /// The version it runs.
    pub version: Version,
    /// The services it serves, with the endpoint in each.
    pub endpoints: SmallVec<[(ServiceId, EndpointId); 1]>,
    /// The addresses its own name has, as the configured sources of addresses give them.
    pub addresses: SmallVec<[IpAddr; 1]>,
    /// Names, relative to the zone, that it would have and that no policy allows; empty for nearly all.
    pub refused_names: Box<[Arc<str>]>,
    /// Where a Prometheus finds its metrics: address, port, path.
    pub scrape: Option<Box<(std::net::SocketAddr, Arc<str>)>>,
}
