//! Names that Mesos-DNS does not have, asked for over UDP: what they say, and that they change none of Mesos-DNS's.

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod common;
mod dns_common;
mod mesos_dns_support;
mod names_support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::facts::{agent, config, framework, task};
use hickory_proto::rr::RecordType::{self, A, AAAA, PTR, SRV};
use mesos_dns_support::cluster::{facts, look};
use mesos_dns_support::fixtures;
use mesos_dns_support::rules::{self, Cluster, Rules};
use names_support::{Served, serve};
use pointsman::cluster::event::Fact;
use pointsman::config::Config;
use pointsman::config::checked::{NameUnhealthy, PolicyConfig};
use pointsman::model::agent::AgentFacts;
use pointsman::model::task::TaskFacts;

fn with_reverse(networks: &[&str]) -> Config {
    let mut config = config();
    config.dns.reverse = networks.iter().map(|network| network.parse().unwrap()).collect();
    config
}

fn agent_called(number: u8, hostname: &str) -> AgentFacts {
    AgentFacts { hostname: hostname.into(), ..agent(number) }
}

fn container(id: &str, name: &str, on: u8, addresses: &[&str]) -> TaskFacts {
    let mut facts = task(id, name, on, 9000, &[]);
    facts.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    facts
}

fn all(agents: Vec<AgentFacts>, tasks: Vec<TaskFacts>) -> Vec<Fact> {
    let agents = agents.into_iter().map(|agent| Fact::Agent(Box::new(agent)));
    let tasks = tasks.into_iter().map(|task| Fact::Task(Box::new(task)));
    agents.chain(tasks).chain([Fact::Framework(Box::new(framework("marathon")))]).collect()
}

// --- agents

#[test]
fn agents_have_names_by_id_and_by_host_name() {
    let agents = vec![agent(1), agent_called(2, "Node2.dc.example.com"), agent_called(3, "agent-1")];
    let served = serve(config(), all(agents, vec![]));
    served.check("a-s1.agent.mesos", A, &["10.1.0.1"]);
    served.check("A-S1.Agent.mesos", A, &["10.1.0.1"]);
    served.check("node2.dc.example.com.agent.mesos", A, &["10.1.0.2"]);
    served.check("agent-1.agent.mesos", A, &["10.1.0.1", "10.1.0.3"]);
    served.check("a-s1.agent.mesos", AAAA, &["NODATA"]);
    served.check("a-s1.agent.mesos", SRV, &["NODATA"]);
    for above in ["agent.mesos", "com.agent.mesos", "dc.example.com.agent.mesos"] {
        served.check(above, A, &["NODATA"]);
    }
    served.check("a-s9.agent.mesos", A, &["NXDOMAIN"]);
    served.check("x.a-s1.agent.mesos", A, &["NXDOMAIN"]);
}

#[test]
fn an_agents_ipv6_address_is_in_its_name() {
    let six = AgentFacts { address: Some("fd01::5".parse().unwrap()), ..agent(1) };
    let served = serve(config(), all(vec![six], vec![]));
    served.check("agent-1.agent.mesos", AAAA, &["fd01::5"]);
    served.check("agent-1.agent.mesos", A, &["NODATA"]);
    // An IPv6 address in place of a host name is none that could be asked for.
    let bare = AgentFacts { hostname: "fd01::5".into(), ..agent(1) };
    let served = serve(with_reverse(&["10.0.0.0/8"]), all(vec![bare], vec![]));
    served.check("fd015.agent.mesos", A, &["NXDOMAIN"]);
    served.check("1.0.1.10.in-addr.arpa", PTR, &["a-s1.agent.mesos."]);
}

#[test]
fn without_the_setting_agents_have_no_names() {
    let mut config = with_reverse(&["10.0.0.0/8"]);
    config.dns.extra_names.clear();
    let served = serve(config, all(vec![agent(1)], vec![]));
    served.check("a-s1.agent.mesos", A, &["NXDOMAIN"]);
    served.check("agent.mesos", A, &["NXDOMAIN"]);
    served.check("1.0.1.10.in-addr.arpa", PTR, &["NXDOMAIN"]);
}

#[test]
fn a_framework_called_agent_keeps_its_names() {
    let mut tasks = vec![container("t1", "a-s1", 1, &["10.2.0.1"])];
    tasks.push(container("t2", "web", 1, &["10.2.0.2"]));
    let mut facts = all(vec![agent(1), agent(2)], tasks);
    facts.pop();
    facts.push(Fact::Framework(Box::new(framework("agent"))));
    let served = serve(config(), facts);
    served.check("a-s1.agent.mesos", A, &["10.2.0.1"]);
    served.check("web.agent.mesos", A, &["10.2.0.2"]);
    served.check("a-s2.agent.mesos", A, &["10.1.0.2"]);
}

// --- addresses

#[test]
fn addresses_lead_back_to_names() {
    let config = with_reverse(&["10.0.0.0/8", "fd01::/16"]);
    let agents = vec![agent_called(1, "node1.example.com"), agent_called(2, "10.1.0.2")];
    let tasks = vec![
        container("t1", "web", 1, &["10.2.0.1", "fd01::9"]),
        container("t2", "on-host", 1, &["10.1.0.1"]),
        container("t3", "pod-a", 1, &["10.2.0.3"]),
        container("t4", "pod-b", 1, &["10.2.0.3"]),
        container("t5", "far", 1, &["192.168.0.1"]),
    ];
    let served = serve(config, all(agents, tasks));
    let own = |task: &str, id: &str| format!("{task}-{}-s1.marathon.mesos.", rules::hash(id));
    served.check("1.0.2.10.in-addr.arpa", PTR, &[&own("web", "t1")]);
    let six = "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa";
    served.check(six, PTR, &[&own("web", "t1")]);
    served.check(&six.to_uppercase(), PTR, &[&own("web", "t1")]);
    // Whatever runs on the host's own address: the address is the host's.
    served.check("1.0.1.10.in-addr.arpa", PTR, &["node1.example.com.agent.mesos."]);
    // A host that is called by its address only has its id.
    served.check("2.0.1.10.in-addr.arpa", PTR, &["a-s2.agent.mesos."]);
    served.check("3.0.2.10.in-addr.arpa", PTR, &[&own("pod-a", "t3"), &own("pod-b", "t4")]);
    // The zones are ours: what is not there does not exist, what lies above does, without records.
    served.check("9.0.2.10.in-addr.arpa", PTR, &["NXDOMAIN"]);
    served.check("1.1.0.2.10.in-addr.arpa", PTR, &["NXDOMAIN"]);
    served.check("7.10.in-addr.arpa", PTR, &["NXDOMAIN"]);
    for above in ["10.in-addr.arpa", "2.10.in-addr.arpa", "0.1.10.in-addr.arpa", "0.0.1.0.d.f.ip6.arpa"] {
        served.check(above, PTR, &["NODATA"]);
    }
    served.check("1.0.2.10.in-addr.arpa", A, &["NODATA"]);
    assert_eq!(served.ask("10.in-addr.arpa", RecordType::SOA).answers.len(), 1);
    assert_eq!(served.ask("10.in-addr.arpa", RecordType::NS).answers.len(), 1);
    // Others' addresses stay others'.
    served.check("1.0.168.192.in-addr.arpa", PTR, &["REFUSED"]);
    served.check("in-addr.arpa", PTR, &["REFUSED"]);
    let listed = served.table.names.list("10.in-addr.arpa").unwrap();
    assert_eq!(
        listed.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
        ["1.0.1.10.in-addr.arpa", "1.0.2.10.in-addr.arpa", "2.0.1.10.in-addr.arpa", "3.0.2.10.in-addr.arpa"]
    );
}

#[test]
fn an_address_follows_its_tasks() {
    let mut world = common::world::World::with(with_reverse(&["10.0.0.0/8"]));
    let facts = all(vec![agent(1)], vec![container("t1", "web", 1, &["10.2.0.1"])]);
    world.say(common::facts::snapshot(1, facts));
    let at = |world: &mut common::world::World, address: &str| {
        let zone = world.table().names.zones().find(|zone| &*zone.name == "10.in-addr.arpa").unwrap().serial;
        (Served::over(world.table()).dig(address, PTR).into_iter().next().unwrap(), zone)
    };
    let (name, first) = at(&mut world, "1.0.2.10.in-addr.arpa");
    assert_eq!(name, format!("web-{}-s1.marathon.mesos.", rules::hash("t1")));
    world.facts(1, vec![Fact::Task(Box::new(container("t1", "web", 1, &["10.2.0.2"])))]);
    let (former, second) = at(&mut world, "1.0.2.10.in-addr.arpa");
    assert_eq!(former, "NXDOMAIN");
    assert!(second > first, "the zone has changed");
    assert_eq!(at(&mut world, "2.0.2.10.in-addr.arpa").0, name);
    // One that goes away is not named; one that is gone does not exist.
    let killing = common::facts::status("t1", pointsman::model::task::TaskState::Killing, None);
    world.facts(1, vec![Fact::Status(Box::new(killing))]);
    assert_eq!(at(&mut world, "2.0.2.10.in-addr.arpa").0, "NODATA");
    let ended = common::facts::status("t1", pointsman::model::task::TaskState::Ended, None);
    world.facts(1, vec![Fact::Status(Box::new(ended))]);
    world.pass(3600);
    assert_eq!(at(&mut world, "2.0.2.10.in-addr.arpa").0, "NXDOMAIN");
    assert_eq!(at(&mut world, "2.10.in-addr.arpa").0, "NXDOMAIN");
    assert_eq!(at(&mut world, "1.0.1.10.in-addr.arpa").0, "agent-1.agent.mesos.");
}

#[test]
fn a_name_that_a_policy_refuses_is_no_addresss_either() {
    let mut config = with_reverse(&["10.0.0.0/8"]);
    config.policies = vec![PolicyConfig { names: vec!["other.marathon.mesos".into()], ..PolicyConfig::default() }];
    let served = serve(config, all(vec![agent(1)], vec![container("t1", "web", 1, &["10.2.0.1"])]));
    served.check("web.marathon.mesos", A, &["NXDOMAIN"]);
    served.check("1.0.2.10.in-addr.arpa", PTR, &["NODATA"]);
}

#[test]
fn before_the_clusters_have_spoken_no_address_is_missing() {
    let now = pointsman::model::time::Timestamp(1_700_000_000_000);
    let config = std::sync::Arc::new(with_reverse(&["10.0.0.0/8"]));
    let state = pointsman::cluster::state::ClusterState::new(config, now);
    let table = pointsman::table::writer::Writer::new(state, 1, now).first(now);
    Served::over(table).check("1.0.2.10.in-addr.arpa", PTR, &["SERVFAIL"]);
}

// --- recorded clusters

/// Every address of a recorded cluster leads back to where it comes from, and no name of Mesos-DNS is another for it.
#[test]
fn recorded_clusters() {
    let Some(folder) = fixtures::folder() else { return };
    let mut asked = 0;
    for (file, cluster) in fixtures::all(&folder) {
        let rules = Rules::default();
        let mut config = mesos_dns_support::cluster::configured(&rules);
        config.dns.extra_names = Config::default().dns.extra_names;
        config.dns.reverse = ["0.0.0.0/0", "::/0"].iter().map(|network| network.parse().unwrap()).collect();
        assert_eq!(config.dns.name_unhealthy, NameUnhealthy::Always);
        let served = serve(config, facts(&cluster));
        let zone = rules::zone(&cluster, &rules);
        for (name, records) in zone.iter().filter(|(name, _)| name.len() <= 253) {
            if name.split('.').all(|label| label.len() <= 63) {
                assert_eq!(
                    look(&served.table, name).as_ref().map(BTreeSet::len),
                    Some(records.len()),
                    "{file}: {name}"
                );
            }
        }
        for (address, names) in back(&cluster, &zone) {
            let found = served.dig(&reverse(address), PTR);
            assert!(!found.is_empty() && found.is_subset(&names), "{file}: {address}: {found:?} of {names:?}");
            asked += 1;
        }
        for agent in &cluster.agents {
            let Some(address) = agent.address else { continue };
            let found = served.dig(&format!("{}.agent.mesos", agent.id), if address.is_ipv4() { A } else { AAAA });
            assert_eq!(found, BTreeSet::from([address.to_string()]), "{file}: {}", agent.id);
        }
    }
    assert!(asked > 20, "{asked}");
}

/// The names that each address may lead back to: those of its agents, else those that have it and are one task's.
fn back(cluster: &Cluster, zone: &rules::Zone) -> BTreeMap<IpAddr, BTreeSet<String>> {
    let mut names: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for agent in &cluster.agents {
        let Some(address) = agent.address else { continue };
        let called = [&agent.id, &agent.hostname].map(|name| format!("{}.agent.mesos.", name.to_lowercase()));
        names.entry(address).or_default().extend(called);
    }
    let of_agents: BTreeSet<IpAddr> = names.keys().copied().collect();
    let hashes: BTreeSet<String> =
        cluster.frameworks.iter().flat_map(|f| &f.tasks).map(|task| format!("-{}-", rules::hash(&task.id))).collect();
    for (name, records) in zone {
        let is_own = hashes.iter().any(|hash| name.contains(hash.as_str())) && !name.contains(".slave.");
        for record in records.iter().filter(|_| is_own) {
            let Some(address) = record.split(' ').nth(1).and_then(|text| text.parse().ok()) else { continue };
            if !of_agents.contains(&address) {
                names.entry(address).or_default().insert(format!("{name}."));
            }
        }
    }
    names
}

/// The name of an address in the reverse tree, spelt out.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits: Vec<String> = format!("{:032x}", u128::from(address)).chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}
