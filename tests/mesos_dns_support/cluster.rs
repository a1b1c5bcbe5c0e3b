//! A cluster of the naming rules as facts for the program, and the program's zone as text.

use std::collections::BTreeSet;
use std::sync::Arc;

use pointsman::cluster::event::{Fact, RecordData};
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::config::checked::{LabelRule, NameUnhealthy};
use pointsman::model::agent::AgentFacts;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::network::MastersFacts;
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::names::{Found, Record};
use pointsman::table::writer::Writer;
use serde_json::{Value, json};

use super::rules::{Agent, Cluster, Framework, Rules, Task, Zone};
use crate::common::facts::{CLUSTER, config, snapshot};

pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// The configuration that these rules are.
pub fn configured(rules: &Rules) -> Config {
    let mut config = config();
    config.mesos[0].zone = rules.domain.into();
    config.dns.name_unhealthy = NameUnhealthy::Always;
    config.dns.hold_names = false;
    config.dns.extra_names = Vec::new();
    config.dns.label_rule = if rules.rfc952 { LabelRule::Rfc952 } else { LabelRule::Rfc1123 };
    config.dns.srv_weight = rules.weight;
    let source = |name: &&str| pointsman::config::checked::IpSource::from_name(name).unwrap();
    config.dns.ip_sources = rules.sources.iter().map(source).collect();
    config
}

pub fn table(cluster: &Cluster, rules: &Rules) -> Arc<Table> {
    let config = configured(rules);
    let mut writer = Writer::new(ClusterState::new(Arc::new(config), NOW), 1, NOW);
    writer.apply([snapshot(1, facts(cluster))], NOW);
    writer.first(NOW)
}

pub fn facts(cluster: &Cluster) -> Vec<Fact> {
    let mut translator = pointsman::cluster::sources::mesos::translate::Translator::new(CLUSTER.into());
    let mut facts = vec![Fact::Masters(MastersFacts { leader: cluster.leader, masters: cluster.masters.clone() })];
    facts.extend(cluster.agents.iter().map(|agent| Fact::Agent(Box::new(agent_facts(agent)))));
    for framework in &cluster.frameworks {
        facts.push(Fact::Framework(Box::new(framework_facts(framework))));
        for (at, task) in framework.tasks.iter().enumerate() {
            let mut task = task.clone();
            let before = framework.tasks[..at].iter().filter(|other| other.id == task.id).count();
            if before > 0 {
                task.id = format!("{}{}{}", task.id, pointsman::model::id::TWIN, before + 1);
            }
            let wire = serde_json::from_value(wire_task(&task, &framework.id)).unwrap();
            facts.push(Fact::Task(Box::new(translator.task(&wire).unwrap())));
        }
    }
    facts
}

fn agent_facts(agent: &Agent) -> AgentFacts {
    AgentFacts {
        cluster: CLUSTER.into(),
        id: (*agent.id).into(),
        hostname: (*agent.hostname).into(),
        address: agent.address.map(|address| address.to_canonical()),
        port: Some(agent.port),
        region: None,
        zone: None,
        active: true,
        recovered: false,
    }
}

fn framework_facts(framework: &Framework) -> FrameworkFacts {
    let host = framework.hostname.parse().ok();
    FrameworkFacts {
        cluster: CLUSTER.into(),
        id: (*framework.id).into(),
        name: (*framework.name).into(),
        hostname: (*framework.hostname).into(),
        address: framework.address.map(|address| address.ip()).or(host),
        port: framework.address.map(|address| address.port()),
        principal: "".into(),
        roles: Box::new([]),
        connected: true,
    }
}

/// The task as the operator API tells it.
fn wire_task(task: &Task, framework: &str) -> Value {
    let ranges: Vec<Value> = task.host_ports.iter().map(|port| json!({"begin": port, "end": port})).collect();
    let statuses: Vec<Value> = task
        .statuses
        .iter()
        .map(|status| {
            let addresses: Vec<Value> = status.network.iter().map(|ip| json!({"ip_address": ip})).collect();
            let labels: Vec<Value> = status.labels.iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
            json!({"state": status.state, "timestamp": status.timestamp, "labels": {"labels": labels},
                "container_status": {"network_infos": [{"ip_addresses": addresses}]}})
        })
        .collect();
    let mut wire = json!({
        "name": task.name, "task_id": {"value": task.id}, "framework_id": {"value": framework},
        "agent_id": {"value": task.agent}, "state": task.state, "statuses": statuses,
        "resources": [{"name": "ports", "type": "RANGES", "ranges": {"range": ranges}}],
    });
    if let Some((name, ports)) = &task.discovery {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(number, protocol, name)| json!({"number": number, "protocol": protocol, "name": name}))
            .collect();
        wire["discovery"] = json!({"visibility": "FRAMEWORK", "name": name, "ports": {"ports": ports}});
    }
    wire
}

/// Everything the table has in the zone.
pub fn zone_of(table: &Table, domain: &str) -> Zone {
    let listed = table.names.list(domain).unwrap_or_default();
    listed.into_iter().map(|(name, records)| (name, texts(&records))).collect()
}

/// What a name is answered with: `None` is NXDOMAIN.
pub fn look(table: &Table, name: &str) -> Option<BTreeSet<String>> {
    match table.names.find(name) {
        Found::Node(_, node) => Some(texts(&node.records)),
        Found::Missing(_) => None,
        other => panic!("{name}: {other:?}"),
    }
}

fn texts(records: &[Record]) -> BTreeSet<String> {
    let text = |record: &Record| match &record.data {
        RecordData::A(ip) => format!("A {ip}"),
        RecordData::Aaaa(ip) => format!("AAAA {ip}"),
        RecordData::Srv { priority, weight, port, target } => format!("SRV {priority} {weight} {port} {target}"),
        other => panic!("{other:?}"),
    };
    let texts: BTreeSet<String> = records.iter().map(text).collect();
    assert_eq!(texts.len(), records.len(), "equal records collapse");
    texts
}
