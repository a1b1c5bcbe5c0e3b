//! Names that Mesos-DNS does not have, asked for over UDP: what they say, and that they change none of Mesos-DNS's.

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod common;
mod dns_common;
mod mesos_dns_support;
mod names_support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::facts::{agent, config, framework, task};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{self, A, AAAA, HTTPS, PTR, SRV, SVCB, TXT};
use mesos_dns_support::cluster::{facts, look};
use mesos_dns_support::fixtures;
use mesos_dns_support::rules::{self, Cluster, Rules};
use names_support::{Served, serve};
use pointsman::cluster::event::{ClusterEvent, Fact, Opaque, RecordData, SnapshotScope, SourceEvent, StaticRecord};
use pointsman::config::Config;
use pointsman::config::checked::{FileConfig, NameUnhealthy, PolicyConfig};
use pointsman::model::agent::AgentFacts;
use pointsman::model::task::{DiscoveryPort, Label, NetworkMode, PortRange, PortScope, TaskFacts};
use pointsman::table::names::{Found, Record};

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

// --- ports

fn with_labels(mut facts: TaskFacts, labels: &[(&str, &str)], ports: &[(u16, &str, &str)]) -> TaskFacts {
    let mut definition = (*facts.definition).clone();
    definition.labels =
        labels.iter().map(|(key, value)| Label { key: (*key).into(), value: (*value).into() }).collect();
    let port = |(number, name, protocol): &(u16, &str, &str)| DiscoveryPort {
        number: *number,
        name: (*name).into(),
        protocol: (*protocol).into(),
        scope: PortScope::Container,
        labels: Box::new([]),
    };
    definition.network = NetworkMode::Container;
    if let Some(discovery) = &mut definition.discovery {
        discovery.ports = ports.iter().map(port).collect();
    }
    facts.definition = std::sync::Arc::new(definition);
    facts
}

const PORTS: &[(u16, &str, &str)] =
    &[(80, "http", "tcp"), (443, "https", "tcp"), (53, "dns", "udp,tcp"), (9, "", "udp")];

fn two_webs(labels: &[(&str, &str)]) -> Vec<Fact> {
    let one = with_labels(container("t1", "web", 1, &["10.2.0.1"]), labels, PORTS);
    let two = with_labels(container("t2", "web", 2, &["10.2.0.2"]), &[], &PORTS[..1]);
    all(vec![agent(1), agent(2)], vec![one, two])
}

fn own(task: &str, id: &str, agent: u8) -> String {
    format!("{task}-{}-s{agent}.marathon.mesos", rules::hash(id))
}

#[test]
fn ports_have_names_as_rfc_2782_writes_them() {
    let served = serve(config(), two_webs(&[]));
    let (one, two) = (own("web", "t1", 1), own("web", "t2", 2));
    let both = [format!("0 1 80 {one}."), format!("0 1 80 {two}.")];
    served.check("_http._tcp.web.marathon.mesos", SRV, &both.each_ref().map(String::as_str));
    served.check("_https._tcp.web.marathon.mesos", SRV, &[&format!("0 1 443 {one}.")]);
    served.check("_dns._udptcp.web.marathon.mesos", SRV, &[&format!("0 1 53 {one}.")]);
    // A port without a name is called by its place.
    served.check("_port3._udp.web.marathon.mesos", SRV, &[&format!("0 1 9 {one}.")]);
    // One task alone, by its own name.
    served.check(&format!("_http._tcp.{two}"), SRV, &[&format!("0 1 80 {two}.")]);
    served.check(&format!("_https._tcp.{two}"), SRV, &["NXDOMAIN"]);
    served.check("_tcp.web.marathon.mesos", SRV, &["NODATA"]);
    served.check("_http._tcp.web.marathon.mesos", A, &["NODATA"]);
    for missing in ["_http._udp.web", "_sctp.web", "_nothing._tcp.web", "_http._tcp.nothing", "x._http._tcp.web"] {
        served.check(&format!("{missing}.marathon.mesos"), SRV, &["NXDOMAIN"]);
    }
    let answer = served.ask("_https._tcp.web.marathon.mesos", SRV);
    assert_eq!(answer.additionals.len(), 1, "the address of the target comes along");
}

#[test]
fn host_ports_without_discovery_are_called_by_their_place() {
    let mut facts = task("t1", "web", 1, 9000, &[]);
    let mut definition = (*facts.definition).clone();
    definition.discovery = None;
    definition.host_ports = Box::new([PortRange { begin: 31_000, end: 31_001 }]);
    facts.definition = std::sync::Arc::new(definition);
    let served = serve(config(), all(vec![agent(1)], vec![facts]));
    let target = own("web", "t1", 1).replace(".mesos", ".slave.mesos");
    served.check("_port1._tcp.web.marathon.mesos", SRV, &[&format!("0 1 31001 {target}.")]);
    served.check("_port1._udp.web.marathon.mesos", SRV, &[&format!("0 1 31001 {target}.")]);
    served.check("_port2._tcp.web.marathon.mesos", SRV, &["NXDOMAIN"]);
}

#[test]
fn a_framework_that_reads_like_a_task_keeps_its_names() {
    let mut facts = all(vec![agent(1)], vec![container("t1", "http", 1, &["10.2.0.1"])]);
    facts.pop();
    facts.push(Fact::Framework(Box::new(framework("web.marathon"))));
    let served = serve(config(), facts);
    let target = own("http", "t1", 1).replace(".marathon", ".web.marathon");
    served.check("_http._tcp.web.marathon.mesos", SRV, &[&format!("0 1 9000 {target}.")]);
}

#[test]
fn labels_say_priority_and_weight_of_srv_records() {
    let labels = [("pointsman.http.srv_priority", "10"), ("pointsman.srv_weight", "7")];
    let served = serve(config(), two_webs(&labels));
    let (one, two) = (own("web", "t1", 1), own("web", "t2", 2));
    let http = [format!("10 7 80 {one}."), format!("0 1 80 {two}.")];
    let http = http.each_ref().map(String::as_str);
    for name in ["_http._tcp.web.marathon.mesos", "_http._web._tcp.marathon.mesos"] {
        served.check(name, SRV, &http);
    }
    served.check("_https._web._tcp.marathon.mesos", SRV, &[&format!("0 7 443 {one}.")]);
    served.check("_http._tcp.t1.id.marathon.mesos", SRV, &["10 7 80 t1.id.marathon.mesos."]);
    // What cannot be read says nothing, and is told.
    let served = serve(config(), two_webs(&[("pointsman.srv_priority", "first")]));
    served.check("_https._web._tcp.marathon.mesos", SRV, &[&format!("0 1 443 {one}.")]);
    let problems: Vec<_> = served.table.problems.values().flat_map(|list| list.iter()).collect();
    assert!(problems.iter().any(|problem| problem.at.contains("srv_priority")), "{problems:?}");
}

#[test]
fn what_weighs_more_comes_first_more_often() {
    let firsts = |labels: &[(&str, &str)]| {
        let served = serve(config(), two_webs(labels));
        let is_first = |_: &usize| {
            let answer = served.ask("web.marathon.mesos", A);
            assert_eq!(answer.answers.len(), 2, "nothing is left out");
            answer.answers[0].data.to_string() == "10.2.0.1"
        };
        (0..400).filter(is_first).count()
    };
    // Of 400: 360, 200 and none on average, each with room for ten standard deviations.
    let (heavy, usual, none) =
        (firsts(&[("pointsman.weight", "900")]), firsts(&[]), firsts(&[("pointsman.weight", "0")]));
    assert!((300..400).contains(&heavy) && (100..300).contains(&usual) && none == 0, "{heavy} {usual} {none}");
}

// --- facts and bindings

#[test]
fn facts_are_told_as_text() {
    let mut facts = two_webs(&[("version", "1.4"), ("db_password", "hunter2")]);
    let placed =
        AgentFacts { region: Some("eu".into()), zone: Some("eu-1".into()), ..agent_called(1, "node1.example.com") };
    facts[0] = Fact::Agent(Box::new(placed));
    let served = serve(config(), facts);
    let place = "host=node1.example.com region=eu zone=eu-1";
    let one = format!("id=t1 state=running health=unknown served=ready version=1.4 agent=A-S1 {place}");
    served.check(&own("web", "t1", 1), TXT, &[&one]);
    served.check("t1.id.marathon.mesos", TXT, &[&one]);
    served.check("a-s1.agent.mesos", TXT, &[&format!("id=A-S1 {place}")]);
    let both = served.dig("web.marathon.mesos", TXT);
    assert!(both.len() == 2 && both.contains(&one), "{both:?}");
    served.check("marathon.mesos", TXT, &["NODATA"]);
    served.check("nothing.marathon.mesos", TXT, &["NXDOMAIN"]);
}

#[test]
fn bindings_have_port_and_protocol() {
    let served = serve(config(), two_webs(&[("pointsman.dns.protocol", "tcp"), ("pointsman.https.protocol", "h2c")]));
    let (one, two) = (own("web", "t1", 1), own("web", "t2", 2));
    let http = [format!("1 {one}. alpn=http/1.1 port=80"), format!("1 {two}. alpn=http/1.1 port=80")];
    let https = format!("1 {one}. alpn=h2 no-default-alpn port=443");
    let others = [format!("1 {one}. port=53"), format!("1 {one}. port=9")];
    let every: Vec<&str> = http.iter().chain([&https]).chain(&others).map(String::as_str).collect();
    served.check("web.marathon.mesos", SVCB, &every);
    served.check(&two, SVCB, &[&http[1]]);
    served.check("_http._tcp.web.marathon.mesos", SVCB, &http.each_ref().map(String::as_str));
    // Only what speaks TLS: the record tells clients to use it.
    served.check("web.marathon.mesos", HTTPS, &[&https]);
    served.check(&two, HTTPS, &["NODATA"]);
    let answer = served.ask("web.marathon.mesos", HTTPS);
    assert_eq!(answer.additionals.len(), 1, "the address of the target comes along");
}

/// RFC 9460 §7.1.1: what a client assumes of a port is denied where it is not so, and `h2c` is nothing that TLS negotiates.
#[test]
fn a_port_without_tls_has_no_alpn_of_its_own_protocol() {
    let served = serve(config(), two_webs(&[("pointsman.http.protocol", "h2c"), ("pointsman.dns.protocol", "h2")]));
    let one = own("web", "t1", 1);
    served.check(&format!("_http._tcp.{one}"), SVCB, &[&format!("1 {one}. port=80")]);
    let expected = format!("1 {one}. alpn=h2 no-default-alpn port=53");
    assert!(served.dig(&one, SVCB).contains(&expected), "{:?}", served.dig(&one, SVCB));
}

#[test]
fn what_is_not_wanted_is_not_there() {
    let mut config = config();
    config.dns.extra_names.clear();
    let served = serve(config, two_webs(&[]));
    served.check("_http._tcp.web.marathon.mesos", SRV, &["NXDOMAIN"]);
    for record_type in [TXT, SVCB, HTTPS] {
        served.check("web.marathon.mesos", record_type, &["NODATA"]);
    }
}

#[test]
fn the_whole_zone_has_what_its_names_have() {
    let served = serve(config(), two_webs(&[("pointsman.srv_weight", "7")]));
    let listed = served.table.names.list("mesos").unwrap();
    let types = |name: &str| listed.iter().find(|(known, _)| known == name).map_or(0, |(_, records)| records.len());
    assert_eq!(types("_http._tcp.web.marathon.mesos"), 2 + 2, "SRV and SVCB");
    assert_eq!(types("web.marathon.mesos"), 2 + 2 + 5 + 1, "A, TXT, SVCB and HTTPS");
    for (name, records) in &listed {
        let asked: usize = [A, AAAA, SRV, TXT, SVCB, HTTPS].iter().map(|t| served.ask(name, *t).answers.len()).sum();
        assert_eq!(asked, records.len(), "{name}");
    }
}

#[test]
fn whatever_is_answered_is_in_the_whole_zone() {
    let mut config = with_reverse(&["10.0.0.0/8"]);
    config.dns.dcos.source = Some("mesos".into());
    let mut facts = two_webs(&[]);
    let dotted = container("Odd.Id_1", "liquor.store", 1, &["10.2.0.9"]);
    let dotted = with_labels(dotted, &[], &[(80, "", "udp"), (81, "admin", "")]);
    let mut plain = container("plain", "plain", 1, &["10.2.0.10"]);
    plain.definition =
        std::sync::Arc::new(pointsman::model::task::TaskDefinition { discovery: None, ..(*plain.definition).clone() });
    facts.extend([dotted, plain].map(|task| Fact::Task(Box::new(task))));
    let served = serve(config, facts);
    for zone in ["mesos", "mesos.thisdcos.directory", "10.in-addr.arpa"] {
        names_support::assert_listed_is_answered(&served.table, zone);
    }
    let listed = served.table.names.list("mesos").unwrap();
    let label = pointsman::table::names::ids::id_label("Odd.Id_1");
    for name in [format!("{label}.id.marathon.mesos"), format!("_admin._tcp.{label}.id.marathon.mesos")] {
        assert!(listed.iter().any(|(known, _)| *known == name), "{name}");
    }
}

// --- recorded clusters

/// Every address of a recorded cluster leads back to where it comes from, and no name of Mesos-DNS is another for it.
#[test]
fn recorded_clusters() {
    let Some(folder) = fixtures::folder() else { return };
    let (mut asked, mut ports) = (0, 0);
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
        for (name, records) in &zone {
            let Some(rfc2782) = as_rfc_2782(name).filter(|name| !zone.contains_key(name)) else { continue };
            let expected: BTreeSet<String> = records.iter().map(|r| format!("{}.", &r["SRV ".len()..])).collect();
            assert_eq!(served.dig(&rfc2782, SRV), expected, "{file}: {rfc2782}");
            ports += 1;
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
    assert!(asked > 20 && ports > 20, "{asked} addresses, {ports} ports");
}

/// `_PORT._TASK._PROTO.FW` as `_PORT._PROTO.TASK.FW`.
fn as_rfc_2782(name: &str) -> Option<String> {
    let (port, rest) = name.strip_prefix('_')?.split_once("._")?;
    let (task, rest) = rest.split_once("._")?;
    let (protocol, framework) = rest.split_once('.')?;
    let is_whole = task.len() < 62 && port.len() < 62 && !framework.contains(".slave.");
    is_whole.then(|| format!("_{port}._{protocol}.{task}.{framework}"))
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

// --- files beside a cluster, and long names

fn file(records: Vec<(&str, RecordData)>) -> ClusterEvent {
    file_of("static", records)
}

fn file_of(source: &str, records: Vec<(&str, RecordData)>) -> ClusterEvent {
    let record = |(name, data): (&str, RecordData)| StaticRecord { name: name.into(), data, ttl: Some(60) };
    let records = Fact::Records(records.into_iter().map(record).collect());
    let scope = SnapshotScope { authoritative: true, ..SnapshotScope::default() };
    let facts = vec![Fact::SnapshotStarted, records, Fact::SnapshotFinished(scope), Fact::Live];
    ClusterEvent::Source(SourceEvent { source: source.into(), stream: 1, facts })
}

#[test]
fn a_file_has_names_in_a_clusters_zone_and_goes_before_it() {
    let mut config = with_reverse(&["10.0.0.0/8"]);
    let zones = vec!["mesos".into(), "10.in-addr.arpa".into()];
    config.files.push(FileConfig { name: "static".into(), path: "static.toml".into(), zones });
    let mut world = common::world::World::with(config);
    world.say(common::facts::snapshot(1, two_webs(&[])));
    Served::over(world.table()).check("web.marathon.mesos", A, &["SERVFAIL"]);
    let address = |last: u8| RecordData::A([10, 7, 0, last].into());
    world.say(file(vec![
        ("db.store.mesos", address(1)),
        ("web.marathon.mesos", address(2)),
        ("www.mesos", RecordData::Cname("web.marathon.mesos".into())),
        ("1.0.7.10.in-addr.arpa", RecordData::Ptr("db.store.mesos".into())),
    ]));
    let served = Served::over(world.table());
    served.check("db.store.mesos", A, &["10.7.0.1"]);
    served.check("store.mesos", A, &["NODATA"]);
    served.check("1.0.7.10.in-addr.arpa", PTR, &["db.store.mesos."]);
    // The file's name is the file's alone; the cluster's others stay.
    served.check("web.marathon.mesos", A, &["10.7.0.2"]);
    served.check("web.marathon.mesos", TXT, &["NODATA"]);
    served.check("www.mesos", A, &["web.marathon.mesos.", "10.7.0.2"]);
    served.check(&own("web", "t1", 1), A, &["10.2.0.1"]);
    served.check(
        "_http._tcp.web.marathon.mesos",
        SRV,
        &served.dig("_http._web._tcp.marathon.mesos", SRV).iter().map(String::as_str).collect::<Vec<_>>(),
    );
    served.check("nothing.mesos", A, &["NXDOMAIN"]);
    assert_eq!(served.ask("db.store.mesos", A).answers[0].ttl, 60);
    let listed = served.table.names.list("mesos").unwrap();
    let has = |listed: &[(String, Vec<Record>)], part: &str| listed.iter().any(|(name, _)| name.contains(part));
    assert!(has(&listed, "db.store.mesos") && has(&listed, ".id.marathon"));
    // Mesos-DNS's API lists what a file has too, and of the cluster's what Mesos-DNS has.
    let plain = served.table.names.list_plain("mesos").unwrap();
    assert!(has(&plain, "db.store.mesos") && has(&plain, &own("web", "t1", 1)) && !has(&plain, ".id.marathon"));
    assert!(served.table.names.list_plain("10.in-addr.arpa").is_none());
    // A record that goes leaves the cluster's name behind.
    let serial = |world: &mut common::world::World| {
        world.table().names.zones().find(|zone| &*zone.name == "mesos").unwrap().serial
    };
    let before = serial(&mut world);
    world.say(file(vec![]));
    assert!(serial(&mut world) > before);
    let served = Served::over(world.table());
    served.check("web.marathon.mesos", A, &["10.2.0.1", "10.2.0.2"]);
    served.check("db.store.mesos", A, &["NXDOMAIN"]);
    served.check("store.mesos", A, &["NXDOMAIN"]);
}

#[test]
fn a_name_that_would_be_too_long_is_shortened_and_told() {
    let name = ["a", "b", "c"].map(|letter| letter.repeat(60)).join(".");
    let mut facts = all(vec![agent(1)], vec![container("t1", &"w".repeat(60), 1, &["10.2.0.1"])]);
    facts.pop();
    facts.push(Fact::Framework(Box::new(framework(&name))));
    let served = serve(config(), facts);
    let problems: Vec<_> = served.table.problems.values().flat_map(|list| list.iter()).collect();
    let problem = problems.iter().find(|problem| *problem.at == *name).expect("the framework's name is told of");
    assert!(problem.message.contains("shortened to") && problem.mend.contains("at most"), "{problem:?}");
    assert!(
        problems.iter().any(|problem| problem.subject.ends_with("/t1")),
        "the task's own name is cut: {problems:?}"
    );
    let short = problem.message.rsplit(' ').next().unwrap();
    served.check(&format!("{}.{short}.mesos", "w".repeat(60)), A, &["10.2.0.1"]);
    let srv = served.dig(&format!("_{}._tcp.{short}.mesos", "w".repeat(60)), SRV);
    let target = srv.iter().next().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
    assert!(target.len() <= 253 && target.split('.').all(|label| label.len() <= 63), "{target}");
    served.check(&target, A, &["10.2.0.1"]);
}

#[test]
fn names_of_ports_and_agents_that_do_not_fit_are_told() {
    let long = "p".repeat(63);
    let task = with_labels(container("t1", "web", 1, &["10.2.0.1"]), &[], &[(80, &long, "tcp"), (81, "fine", "tcp")]);
    let host = ["a", "b", "c", "d"].map(|letter| letter.repeat(61)).join(".");
    let lengthy = AgentFacts { id: format!("A-S2-{}", "x".repeat(70)).into(), ..agent(2) };
    let served = serve(config(), all(vec![agent_called(1, &host), lengthy, agent(3)], vec![task]));
    let problems: Vec<_> = served.table.problems.values().flat_map(|list| list.iter()).collect();
    let of = |subject: &str| -> Vec<&str> {
        let ours = problems.iter().filter(|problem| problem.subject.contains(subject));
        ours.map(|problem| &*problem.message).collect()
    };
    let (port, agent) = (of("/t1"), of("A-S1"));
    assert!(port.len() == 1 && port[0].contains("in names it is _"), "{problems:?}");
    let short = port[0].rsplit('_').next().unwrap();
    let target = format!("0 1 80 {}.", own("web", "t1", 1));
    served.check(&format!("_{short}._web._tcp.marathon.mesos"), SRV, &[&target]);
    assert!(agent.len() == 1 && agent[0].contains("found by its id"), "{problems:?}");
    served.check("a-s1.agent.mesos", A, &["10.1.0.1"]);
    let cut = of("A-S2");
    assert!(cut.len() == 1, "{problems:?}");
    served.check(&format!("{}.agent.mesos", cut[0].rsplit(' ').next().unwrap()), A, &["10.1.0.2"]);
    let of_names = problems.iter().filter(|problem| problem.code.as_str() == "invalid-name");
    assert_eq!(of_names.count(), 3, "{problems:?}");
}

/// The zone and most of the questions of RFC 4592 §2.2.1.
#[test]
fn wildcards_stand_for_what_does_not_exist() {
    let mut config = config();
    let zones = vec!["example".into(), "mesos".into()];
    config.files.push(FileConfig { name: "static".into(), path: "static.toml".into(), zones });
    let mut world = common::world::World::with(config);
    world.say(common::facts::snapshot(1, two_webs(&[])));
    let text = |text: &str| RecordData::Txt([std::sync::Arc::from(text)].into());
    let srv = RecordData::Srv { priority: 0, weight: 0, port: 1, target: "host1.example".into() };
    world.say(file(vec![
        ("*.example", text("this is a wildcard")),
        ("sub.*.example", text("this is not a wildcard")),
        ("host1.example", RecordData::A([192, 0, 2, 1].into())),
        ("_ssh._tcp.host1.example", srv),
        ("*.apps.mesos", RecordData::A([10, 7, 0, 9].into())),
    ]));
    let served = Served::over(world.table());
    served.check("host3.example", TXT, &["this is a wildcard"]);
    served.check("host3.example", A, &["NODATA"]);
    served.check("foo.bar.example", TXT, &["this is a wildcard"]);
    // These exist, or have an ancestor that does and has no wildcard of its own.
    served.check("host1.example", TXT, &["NODATA"]);
    served.check("sub.*.example", TXT, &["this is not a wildcard"]);
    served.check("_telnet._tcp.host1.example", SRV, &["NXDOMAIN"]);
    served.check("ghost.*.example", TXT, &["NXDOMAIN"]);
    served.check("example", TXT, &["NODATA"]);
    let answer = served.ask("host3.example", TXT);
    assert_eq!(answer.answers[0].name.to_ascii(), "host3.example.", "the owner is the name asked for");
    // The owner of what is counted is the name above it (dns::limit).
    let found = |name: &str| match served.table.names.find(name) {
        Found::Node(_, node) => node.wildcard.map(|at| name[at..].to_owned()),
        _ => None,
    };
    assert_eq!(found("foo.bar.example").as_deref(), Some("example"));
    assert_eq!(found("foo.apps.mesos").as_deref(), Some("apps.mesos"));
    assert_eq!(found("host1.example"), None);
    // The name server's own name exists, and so do those above it; below them no wildcard counts.
    served.check("ns1.example", A, &["127.0.0.1"]);
    served.check("ns1.example", TXT, &["NODATA"]);
    served.check("x.ns1.example", TXT, &["NXDOMAIN"]);
    served.check("y.x.ns1.example", TXT, &["NXDOMAIN"]);
    served.check("xns1.example", TXT, &["this is a wildcard"]);
    // In a cluster's zone, below names of its own.
    served.check("shop.apps.mesos", A, &["10.7.0.9"]);
    served.check("nothing.marathon.mesos", A, &["NXDOMAIN"]);
}

#[test]
fn wildcards_stand_for_no_name_above_the_name_servers() {
    let mut config = config();
    config.dns.nameserver = "one.ns".into();
    config.dns.nameserver_addresses = vec![[192, 0, 2, 53].into()];
    config.files.push(FileConfig { name: "static".into(), path: "static.toml".into(), zones: vec!["example".into()] });
    let mut world = common::world::World::with(config);
    world.say(common::facts::snapshot(1, two_webs(&[])));
    let alias = |target: &str| RecordData::Cname(target.into());
    let address = |last: u8| RecordData::A([192, 0, 2, last].into());
    world.say(file(vec![("*.example", alias("web.example")), ("web.example", address(1))]));
    let served = Served::over(world.table());
    served.check("one.ns.example", A, &["192.0.2.53"]);
    served.check("one.ns.example", RecordType::CNAME, &["NODATA"]);
    served.check("ns.example", A, &["NODATA"]);
    for name in ["x.ns.example", "x.one.ns.example", "two.x.ns.example"] {
        served.check(name, A, &["NXDOMAIN"]);
    }
    // An alias that a wildcard gives is followed as any.
    let answer = served.ask("y.other.example", A);
    let lines: Vec<String> = answer.answers.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    assert_eq!(lines, ["y.other.example. web.example.", "web.example. 192.0.2.1"]);
    // One that lies nearer stands for what is beside the name server.
    world.say(file(vec![("*.example", alias("web.example")), ("*.ns.example", address(2))]));
    let served = Served::over(world.table());
    served.check("x.ns.example", A, &["192.0.2.2"]);
    served.check("x.one.ns.example", A, &["NXDOMAIN"]);
    served.check("ns.example", A, &["NODATA"]);
}

/// RFC 1034 §4.3.2, 3b; RFC 9471.
#[test]
fn a_zone_that_is_delegated_is_referred_to() {
    let mut config = config();
    let zones = vec!["example".into(), "mesos".into()];
    config.files.push(FileConfig { name: "static".into(), path: "static.toml".into(), zones });
    let mut world = common::world::World::with(config);
    world.say(common::facts::snapshot(1, two_webs(&[])));
    let address = |last: u8| RecordData::A([192, 0, 2, last].into());
    let ns = |host: &str| RecordData::Ns(host.into());
    let ds = RecordData::Opaque(Box::new(Opaque { record_type: 43, octets: [0, 1, 8, 1, 9].into() }));
    world.say(file(vec![
        ("sub.example", ns("ns.sub.example")),
        ("sub.example", ns("host.example")),
        ("sub.example", ns("ns.elsewhere.test")),
        ("sub.example", ds),
        ("ns.sub.example", address(1)),
        ("host.example", address(2)),
        ("www.sub.example", address(3)),
        ("*.example", address(4)),
        ("alias.example", RecordData::Cname("x.sub.example".into())),
        ("marathon.mesos", ns("ns.sub.example")),
    ]));
    let served = Served::over(world.table());
    let names = |records: &[hickory_proto::rr::Record]| -> BTreeSet<String> {
        records.iter().map(|record| format!("{} {}", record.name, record.data)).collect()
    };
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    let servers =
        texts(&["sub.example. ns.sub.example.", "sub.example. host.example.", "sub.example. ns.elsewhere.test."]);
    let glue = texts(&["ns.sub.example. 192.0.2.1", "host.example. 192.0.2.2"]);
    for (name, record_type) in [
        ("sub.example", A),
        ("sub.example", RecordType::NS),
        ("sub.example", RecordType::ANY),
        ("ns.sub.example", A),
        ("www.sub.example", A),
        ("deep.gone.sub.example", TXT),
        ("www.sub.example", RecordType::DS),
    ] {
        let answer = served.ask(name, record_type);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name} {record_type}");
        assert!(!answer.metadata.authoritative && answer.answers.is_empty(), "{name} {record_type}");
        assert_eq!((names(&answer.authorities), names(&answer.additionals)), (servers.clone(), glue.clone()), "{name}");
    }
    // Of the zone's keys the zone above speaks; all other names around are its own.
    let answer = served.ask("sub.example", RecordType::DS);
    assert!(answer.metadata.authoritative && answer.answers.len() == 1 && answer.authorities.is_empty(), "{answer:?}");
    served.check("other.example", A, &["192.0.2.4"]);
    served.check("host.example", A, &["192.0.2.2"]);
    let answer = served.ask("alias.example", A);
    assert!(answer.metadata.authoritative, "for the alias");
    assert_eq!((answer.answers.len(), names(&answer.authorities)), (1, servers));
    // What lies there of a cluster's names is not ours to tell any more.
    let answer = served.ask("web.marathon.mesos", A);
    assert_eq!(names(&answer.authorities), texts(&["marathon.mesos. ns.sub.example."]));
    // Whoever has the zone whole refers too.
    let listed = served.table.names.list("example").unwrap();
    let of = |name: &str| listed.iter().find(|(known, _)| known == name).map(|(_, records)| records.len());
    assert_eq!((of("sub.example"), of("ns.sub.example"), of("www.sub.example")), (Some(4), Some(1), Some(1)));
    let listed = served.table.names.list("mesos").unwrap();
    assert!(listed.iter().all(|(name, _)| !name.ends_with(".marathon.mesos")), "{listed:?}");
}

/// RFC 1034 §3.6.2, RFC 1912 §2.4: each file refuses its own; what several say together is a problem.
#[test]
fn an_alias_that_two_files_put_beside_others_is_left_out_and_told() {
    let mut config = config();
    for name in ["one", "two"] {
        let zones = vec!["example".into()];
        config.files.push(FileConfig { name: name.into(), path: format!("{name}.toml").into(), zones });
    }
    let mut world = common::world::World::with(config);
    let address = |last: u8| RecordData::A([192, 0, 2, last].into());
    let alias = |target: &str| RecordData::Cname(target.into());
    let ones = || vec![("example", address(1)), ("www.example", address(2)), ("a.example", alias("b.example"))];
    world.say(common::facts::snapshot(1, two_webs(&[])));
    world.say(file_of("one", ones()));
    let twos = vec![("example", alias("x.test")), ("www.example", alias("y.test")), ("a.example", alias("c.example"))];
    world.say(file_of("two", twos));
    let served = Served::over(world.table());
    served.check("example", A, &["192.0.2.1"]);
    served.check("example", RecordType::CNAME, &["NODATA"]);
    served.check("www.example", A, &["192.0.2.2"]);
    served.check("a.example", RecordType::CNAME, &["b.example."]);
    let subject = "zone example";
    let problems = served.table.problems.get(subject).expect("it is told");
    let at: Vec<&str> = problems.iter().map(|problem| &*problem.at).collect();
    assert_eq!(at, ["a.example", "example", "www.example"]);
    world.say(file_of("two", vec![("a.example", alias("b.example"))]));
    assert!(world.table().problems.get(subject).is_none(), "it is mended");
}

#[test]
fn the_configuration_lets_a_file_share_the_zones_that_are_made_and_no_others() {
    let check = |zones: &str| {
        let text = format!(
            "[[sources.mesos]]\nname = \"m\"\nzone = \"mesos\"\nmasters = [\"h\"]\n\
             [[sources.file]]\nname = \"f\"\npath = \"f.toml\"\nzones = {zones}\n\
             [dns]\nreverse = [\"10.0.0.0/8\"]\n[dns.dcos]\nsource = \"m\"\n"
        );
        let environment = pointsman::config::Environment::empty();
        pointsman::config::check(&text, std::path::Path::new("p.toml"), environment)
            .map_err(|errors| errors.to_string())
    };
    assert!(check(r#"["mesos", "10.in-addr.arpa", "foo.thisdcos.directory"]"#).is_ok());
    for (zones, other) in [
        (r#"["east.mesos"]"#, "sources.mesos[0].zone"),
        (r#"["1.10.in-addr.arpa"]"#, "dns.reverse"),
        (r#"["thisdcos.directory"]"#, "dns.dcos.source"),
    ] {
        let error = check(zones).unwrap_err();
        assert!(error.contains(other) && error.contains("lie within one another"), "{error}");
    }
}
