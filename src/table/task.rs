//! A task as the table shows it: its facts joined with its agent's and its framework's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cluster::source::SourceKind;
use crate::config::checked::IpSource;
use crate::model::agent::AgentFacts;
use crate::model::check::Verdicts;
use crate::model::endpoint::{EndpointId, EndpointState, Family, Weight};
use crate::model::framework::FrameworkFacts;
use crate::model::id::{ServiceId, Version};
use crate::model::service::Protocol;
use crate::model::task::TaskFacts;

/// One task with everything that was derived from it.
///
/// Equality is total (`Eq`), so that the same view behind two pointers is equal to itself without a look at what it says:
/// what follows from table to table meets the neighbours of each task that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The services it serves, and in which address family: with the task and the service's port these are its endpoints.
    pub services: SmallVec<[(ServiceId, Family); 1]>,
    /// Where its own name's addresses come from; `None`: it has none.
    pub address_source: Option<IpSource>,
    /// What few tasks have.
    pub extras: Option<Box<TaskExtras>>,
}

/// What few tasks have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskExtras {
    /// Names, relative to the zone, that it would have and that no policy allows.
    pub refused_names: Box<[Arc<str>]>,
    /// What its labels say of its ports that names show.
    pub said_ports: Box<[SaidPort]>,
    /// Where a Prometheus finds its metrics: address and path.
    pub scrape: Option<(SocketAddr, Arc<str>)>,
    /// The weight of its first endpoint, where that is another than the usual one.
    pub weight: Option<Weight>,
}

impl TaskView {
    /// The services it serves, with the endpoint in each.
    pub fn endpoints(&self) -> impl Iterator<Item = (&ServiceId, EndpointId)> {
        self.services.iter().map(|(service, family)| {
            let id = EndpointId { task: self.facts.key.clone(), port: service.shared_port(), family: *family };
            (service, id)
        })
    }

    /// The addresses its own name has, as the configured sources of addresses give them.
    pub fn addresses(&self) -> &[IpAddr] {
        self.address_source.map_or(&[], |source| addresses_of(source, &self.facts, self.agent.as_deref()))
    }

    /// Names that no policy lets it have.
    pub fn refused_names(&self) -> &[Arc<str>] {
        self.extras.as_ref().map_or(&[], |extras| &extras.refused_names)
    }

    /// What labels say of its ports that names show.
    pub fn said_ports(&self) -> &[SaidPort] {
        self.extras.as_ref().map_or(&[], |extras| &extras.said_ports)
    }

    /// What labels say of the port with this number.
    pub fn said_port(&self, number: u16) -> Option<&SaidPort> {
        self.said_ports().iter().find(|said| said.number == number)
    }

    /// Its weight among the tasks of its name.
    pub fn weight(&self) -> Weight {
        self.extras.as_ref().and_then(|extras| extras.weight).unwrap_or_default()
    }

    /// Whether that is another than the usual one.
    pub fn has_own_weight(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.weight.is_some())
    }

    /// Where a Prometheus finds its metrics.
    pub fn scrape(&self) -> Option<&(SocketAddr, Arc<str>)> {
        self.extras.as_ref()?.scrape.as_ref()
    }
}

/// The addresses of a task that one source of addresses gives.
pub(crate) fn addresses_of<'a>(source: IpSource, facts: &'a TaskFacts, agent: Option<&'a AgentFacts>) -> &'a [IpAddr] {
    let labelled = facts.labelled.as_deref();
    match source {
        IpSource::Auto if !facts.definition.port_mappings.is_empty() => {
            agent.map_or(&[], |agent| agent.address.as_slice())
        }
        IpSource::Auto => &facts.addresses,
        IpSource::Netinfo => &facts.addresses,
        IpSource::Mesos => labelled.map_or(&[], |labelled| &labelled.mesos),
        IpSource::Docker => labelled.map_or(&[], |labelled| &labelled.docker),
        IpSource::Host => agent.map_or(&[], |agent| agent.address.as_slice()),
    }
}

/// What labels say of a port that names show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SaidPort {
    /// Its number, as announced, on the agent or in the container: an entry for each.
    pub number: u16,
    /// Priority of its SRV records, where said.
    pub srv_priority: Option<u16>,
    /// Weight of its SRV records, where said.
    pub srv_weight: Option<u16>,
    /// What it speaks, where said.
    pub protocol: Option<Protocol>,
}
