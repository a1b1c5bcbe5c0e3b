//! Short ways to make facts.

use std::net::IpAddr;
use std::sync::Arc;

use pointsman::cluster::event::{ClusterEvent, Fact, SourceEvent};
use pointsman::config::Config;
use pointsman::config::checked::MesosConfig;
use pointsman::model::agent::AgentFacts;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::id::TaskKey;
use pointsman::model::task::{
    Discovery, DiscoveryPort, Health, Label, NetworkMode, PortRange, PortScope, TaskDefinition, TaskFacts, TaskState,
    TaskStatus,
};

pub const CLUSTER: &str = "mesos";
pub const FRAMEWORK: &str = "F-0001";

/// A configuration with one cluster and addresses 10.0.0.0/8 accepted.
pub fn config() -> Config {
    let mut config = Config::default();
    config.mesos.push(MesosConfig::with_masters(CLUSTER, "mesos", &["127.0.0.1:5050"]));
    config.upstreams.allowed_networks.push("10.0.0.0/8".parse().unwrap());
    config
}

pub fn key(task: &str) -> TaskKey {
    TaskKey::new(CLUSTER.into(), FRAMEWORK.into(), task)
}

pub fn agent(number: u8) -> AgentFacts {
    AgentFacts {
        cluster: CLUSTER.into(),
        id: format!("A-S{number}").into(),
        hostname: format!("agent-{number}").into(),
        address: Some(IpAddr::from([10, 1, 0, number])),
        port: Some(5051),
        region: None,
        zone: None,
        active: true,
        recovered: false,
    }
}

pub fn framework(name: &str) -> FrameworkFacts {
    FrameworkFacts {
        cluster: CLUSTER.into(),
        id: FRAMEWORK.into(),
        name: name.into(),
        hostname: "10.9.9.9".into(),
        address: Some(IpAddr::from([10, 9, 9, 9])),
        port: None,
        principal: "".into(),
        roles: Box::new([]),
        connected: true,
    }
}

/// A running task in host networking with one named port and these labels.
pub fn task(id: &str, name: &str, agent: u8, port: u16, labels: &[(&str, &str)]) -> TaskFacts {
    let labels = labels.iter().map(|(key, value)| Label { key: (*key).into(), value: (*value).into() }).collect();
    let definition = TaskDefinition {
        name: name.into(),
        labels,
        discovery: Some(Discovery {
            name: name.into(),
            ports: Box::new([DiscoveryPort {
                number: port,
                name: "http".into(),
                protocol: "tcp".into(),
                scope: PortScope::Host,
                labels: Box::new([]),
            }]),
        }),
        host_ports: Box::new([PortRange { begin: port, end: port }]),
        network: NetworkMode::Host,
        ..TaskDefinition::default()
    };
    TaskFacts {
        key: key(id),
        agent: Some(format!("A-S{agent}").into()),
        state: TaskState::Running,
        health: Health::Unknown,
        held: false,
        addresses: [IpAddr::from([10, 1, 0, agent])].into_iter().collect(),
        networks: None,
        labelled: None,
        unreachable_since: None,
        definition: Arc::new(definition),
    }
}

pub fn status(id: &str, state: TaskState, health: Option<bool>) -> TaskStatus {
    TaskStatus {
        key: key(id),
        state,
        health: health.map(|healthy| if healthy { Health::Healthy } else { Health::Unhealthy }),
        addresses: None,
        agent: None,
        networks: None,
        labelled: None,
        unreachable_since: None,
    }
}

/// One event of the one cluster.
pub fn event(stream: u64, facts: Vec<Fact>) -> ClusterEvent {
    ClusterEvent::Source(SourceEvent { source: CLUSTER.into(), stream, facts })
}

/// A complete snapshot.
pub fn snapshot(stream: u64, facts: Vec<Fact>) -> ClusterEvent {
    let mut all = vec![Fact::SnapshotStarted];
    all.extend(facts);
    all.extend([Fact::SnapshotFinished(Default::default()), Fact::Live]);
    event(stream, all)
}
