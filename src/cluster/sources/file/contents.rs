//! What a file says, as facts: its services look like those of a cluster, so that one derivation serves both.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::smallvec;

use crate::cluster::event::{DeclaredService, Fact, SnapshotScope, StaticRecord};
use crate::cluster::records::StaticRecords;
use crate::model::framework::FrameworkFacts;
use crate::model::id::{ClusterName, FrameworkId, ServiceId, TaskKey};
use crate::model::service::Protocol;
use crate::model::task::{
    Discovery, DiscoveryPort, Health, Label, NetworkMode, PortScope, TaskDefinition, TaskFacts, TaskState,
};

/// The namespace of services that name none.
pub const DEFAULT_NAMESPACE: &str = "static";

/// What a file says; records of a zone file apart, which are packed as they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContents {
    /// Services, in the file's order.
    pub services: Vec<StaticService>,
    /// DNS records.
    pub records: Vec<StaticRecord>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticService {
    /// Its identity.
    pub id: ServiceId,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it says of itself and its routes, as native labels.
    pub labels: Box<[Label]>,
    /// Where it is served.
    pub endpoints: Vec<StaticEndpoint>,
}

/// One place where a service is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEndpoint {
    /// The address.
    pub address: SocketAddr,
    /// What it says beyond its service, as native labels.
    pub labels: Vec<Label>,
}

impl FileContents {
    /// A complete snapshot: everything the file says, and that this is all.
    pub fn into_facts(mut self, cluster: &ClusterName) -> impl Iterator<Item = Fact> + use<> {
        let records = std::mem::take(&mut self.records).into_iter().collect();
        self.into_facts_with(records, cluster)
    }

    /// The same, with these records in place of its own.
    pub(super) fn into_facts_with(
        self,
        records: StaticRecords,
        cluster: &ClusterName,
    ) -> impl Iterator<Item = Fact> + use<> {
        let namespaces: BTreeSet<Arc<str>> =
            self.services.iter().map(|service| service.id.namespace().into()).collect();
        let cluster = cluster.clone();
        let frameworks = namespaces.into_iter().map(move |name| framework(&cluster, name));
        let mut definitions = Definitions::default();
        let services = self.services.into_iter().flat_map(move |service| service_facts(&service, &mut definitions));
        let end = SnapshotScope { recovered_agents: Vec::new(), authoritative: true };
        std::iter::once(Fact::SnapshotStarted).chain(frameworks).chain(services).chain([
            Fact::Records(records),
            Fact::SnapshotFinished(end),
            Fact::Live,
        ])
    }
}

fn framework(cluster: &ClusterName, name: Arc<str>) -> Fact {
    Fact::Framework(Box::new(FrameworkFacts {
        cluster: cluster.clone(),
        id: FrameworkId::from(name.clone()),
        name,
        hostname: "".into(),
        address: None,
        port: None,
        principal: "".into(),
        roles: Box::new([]),
        connected: true,
    }))
}

fn service_facts(service: &StaticService, definitions: &mut Definitions) -> Vec<Fact> {
    definitions.by_content.clear();
    let mut facts = Vec::with_capacity(service.endpoints.len() + 1);
    let declared = DeclaredService { id: service.id.clone(), labels: service.labels.clone() };
    facts.push(Fact::Declared(Box::new(declared)));
    for endpoint in &service.endpoints {
        let id = &service.id;
        let key = TaskKey::new(
            id.cluster().clone(),
            FrameworkId::from(id.namespace()),
            format!("{}/{}/{}", id.name(), id.port(), endpoint.address),
        );
        facts.push(Fact::Task(Box::new(TaskFacts {
            key,
            agent: None,
            state: TaskState::Running,
            health: Health::Healthy,
            held: false,
            addresses: smallvec![endpoint.address.ip()],
            networks: None,
            labelled: None,
            unreachable_since: None,
            definition: definitions.of(service, endpoint),
        })));
    }
    facts
}

/// The definitions of one service's endpoints: those that say the same share one.
#[derive(Default)]
struct Definitions {
    by_content: HashMap<(u16, Vec<Label>), Arc<TaskDefinition>>,
}

impl Definitions {
    fn of(&mut self, service: &StaticService, endpoint: &StaticEndpoint) -> Arc<TaskDefinition> {
        let content = (endpoint.address.port(), endpoint.labels.clone());
        self.by_content.entry(content).or_insert_with(|| Arc::new(definition(service, endpoint))).clone()
    }
}

fn definition(service: &StaticService, endpoint: &StaticEndpoint) -> TaskDefinition {
    let name: Arc<str> = service.id.name().into();
    let port = DiscoveryPort {
        number: endpoint.address.port(),
        // A service's port `0` is one without a name: the first of its tasks.
        name: if service.id.port() == "0" { "".into() } else { service.id.port().into() },
        protocol: if service.protocol == Protocol::Udp { "udp".into() } else { "tcp".into() },
        scope: PortScope::Container,
        labels: Box::new([]),
    };
    // What an endpoint says itself stands in place of what its service says.
    let is_own = |label: &&Label| endpoint.labels.iter().any(|own| own.key == label.key);
    let shared = service.labels.iter().filter(|label| !is_own(label));
    TaskDefinition {
        name: name.clone(),
        labels: shared.chain(&endpoint.labels).cloned().collect(),
        discovery: Some(Discovery { name, ports: Box::new([port]) }),
        network: NetworkMode::Container,
        ..TaskDefinition::default()
    }
}
