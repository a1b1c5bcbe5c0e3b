//! Mesos-DNS's names: every rule and example, and every recorded cluster, against a second implementation of the
//! rules that shares nothing with the program (`mesos_dns_support/rules.rs`).

mod common;
mod mesos_dns_support;

use std::collections::BTreeSet;
use std::sync::Arc;

use mesos_dns_support::cluster::{look, table, zone_of};
use mesos_dns_support::fixtures;
use mesos_dns_support::rules::{self, Agent, Cluster, Framework, Rules, Status, Task, Zone, fits};
use pointsman::config::checked::LabelRule;
use pointsman::table::Table;
use pointsman::table::names::label;

// --- short ways to make clusters

fn agent(id: &str, ip: &str) -> Agent {
    Agent { id: id.into(), hostname: format!("host-of-{id}"), address: ip.parse().ok(), port: 5051 }
}

fn framework(name: &str, tasks: Vec<Task>) -> Framework {
    let address = Some("1.2.3.11:25501".parse().unwrap());
    Framework { id: format!("F-{name}"), name: name.into(), hostname: "".into(), address, tasks }
}

fn running(timestamp: f64, network: &[&str]) -> Status {
    let network = network.iter().map(|ip| (*ip).to_owned()).collect();
    Status { state: "TASK_RUNNING".into(), timestamp, network, labels: Vec::new() }
}

/// A running task on the first agent.
fn task(id: &str, name: &str) -> Task {
    Task {
        id: id.into(),
        name: name.into(),
        agent: "m-S0".into(),
        state: "TASK_RUNNING".into(),
        host_ports: vec![31000],
        discovery: None,
        statuses: vec![running(1.0, &["10.0.0.1"])],
    }
}

fn discovered(id: &str, name: &str, ports: &[(u16, &str, &str)]) -> Task {
    let ports = ports.iter().map(|(number, protocol, name)| (*number, (*protocol).into(), (*name).into())).collect();
    Task { discovery: Some((name.into(), ports)), ..task(id, "other") }
}

fn cluster(frameworks: Vec<Framework>) -> Cluster {
    Cluster {
        leader: Some("1.2.3.1:5050".parse().unwrap()),
        masters: vec!["1.2.3.1:5050".parse().unwrap(), "1.2.3.2:5050".parse().unwrap()],
        agents: vec![agent("m-S0", "1.2.3.11"), agent("m-S1", "1.2.3.12")],
        frameworks,
    }
}

/// dns.md's worked example.
fn liquor_store(with_discovery: bool) -> Cluster {
    let ports = vec![(80, "tcp".into(), "http".into()), (443, "tcp".into(), "https".into())];
    let labels = vec![("Docker.NetworkSettings.IPAddress".into(), "10.3.0.1".into())];
    let status = Status { state: "TASK_RUNNING".into(), timestamp: 1_413_572_390.1, network: Vec::new(), labels };
    let task = Task {
        id: "liquor-store.b8db9f73-562f-11e4-a088-c20493233aa5".into(),
        name: "liquor.store".into(),
        agent: "20140803-125133-3041283216-5050-2410-0".into(),
        state: "TASK_RUNNING".into(),
        host_ports: vec![31354, 31355],
        discovery: with_discovery.then(|| ("liquor.store".into(), ports)),
        statuses: vec![status],
    };
    Cluster {
        leader: None,
        masters: Vec::new(),
        agents: vec![agent("20140803-125133-3041283216-5050-2410-0", "1.2.3.11")],
        frameworks: vec![framework("marathon", vec![task])],
    }
}

const EVERY_SOURCE: Rules =
    Rules { domain: "mesos", rfc952: false, sources: &["netinfo", "docker", "mesos", "host"], weight: 1 };

fn check(table: &Table, name: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(look(table, name), Some(expected), "{name}");
}

fn check_missing(table: &Table, name: &str) {
    assert_eq!(look(table, name), None, "{name}");
}

// --- the comparison

/// The table must have the rules' names, all of them and no others; what cannot be asked for has a shorter name.
fn compare(what: &str, cluster: &Cluster, rules: &Rules) {
    let table = table(cluster, rules);
    let expected = rules::zone(cluster, rules);
    let actual = zone_of(&table, rules.domain);
    let askable: Zone = expected.clone().into_iter().filter(|(name, _)| fits(name)).collect();
    for (name, records) in &askable {
        let found = look(&table, name).unwrap_or_else(|| panic!("{what}: {name} is missing"));
        let (short, long): (BTreeSet<_>, BTreeSet<_>) =
            records.iter().cloned().partition(|record| fits(record.rsplit(' ').next().unwrap()));
        assert!(found.is_superset(&short), "{what}: {name}: {found:?} for {records:?}");
        assert_eq!(found.len(), short.len() + long.len(), "{what}: {name}: {found:?} for {records:?}");
    }
    let too_many: Vec<&String> = actual.keys().filter(|name| !askable.contains_key(*name)).collect();
    let shortened = expected.keys().filter(|name| !fits(name)).count();
    assert!(too_many.len() <= shortened, "{what}: {too_many:?} are names too many ({shortened} had to be shortened)");
    for (name, records) in &actual {
        assert!(fits(name), "{what}: {name} cannot be asked for");
        for record in records.iter().filter(|record| record.starts_with("SRV")) {
            let target = record.rsplit(' ').next().unwrap();
            // A task or an agent without addresses has a target without records, in Mesos-DNS too.
            let lacks =
                askable.contains_key(name) && !expected.contains_key(target) || !rules.sources.contains(&"host");
            let leads = look(&table, target).is_some() || lacks;
            assert!(fits(target) && leads, "{what}: {name} leads to {target}");
        }
    }
    check_emptiness(what, &table, rules.domain, &actual);
}

/// What lies above a name exists (RFC 8020); what does not lie there is missing.
fn check_emptiness(what: &str, table: &Table, domain: &str, zone: &Zone) {
    let mut known: BTreeSet<&str> = ["_tcp", "_udp"].into();
    for name in zone.keys() {
        let below = name.strip_suffix(domain).unwrap().trim_end_matches('.');
        known.insert(below);
        known.extend(below.match_indices('.').map(|(dot, _)| &below[dot + 1..]));
    }
    for below in &known {
        let name = format!("{below}.{domain}");
        assert!(look(table, &name).is_some(), "{what}: {name} lies above other names and is missing");
        let other = format!("x-{below}");
        if !known.contains(&*other) {
            assert!(look(table, &format!("{other}.{domain}")).is_none(), "{what}: {other}");
        }
        let deeper = format!("no.such.{below}");
        assert!(look(table, &format!("{deeper}.{domain}")).is_none(), "{what}: {deeper}");
    }
}

// --- recorded clusters

#[test]
fn every_name_of_every_recorded_cluster() {
    let Some(folder) = fixtures::folder() else { return };
    let fixtures = fixtures::all(&folder);
    assert!(fixtures.len() >= 15, "{} recordings of clusters", fixtures.len());
    let sources: [&[&str]; 4] =
        [&["netinfo", "mesos", "host"], &["host", "netinfo"], &["docker"], &["mesos", "docker", "netinfo", "host"]];
    for (name, cluster) in &fixtures {
        for sources in sources {
            for (domain, rfc952, weight) in [("mesos", false, 1), ("cluster.example.com", true, 700)] {
                compare(name, cluster, &Rules { domain, rfc952, sources, weight });
            }
        }
    }
}

// --- labels

#[test]
fn label_vectors() {
    let dashes = |count: usize| "-".repeat(count);
    let vectors_1123: &[(&str, &str)] = &[
        (&format!("hello{}f", dashes(58)), "hellof"),
        (&format!("hello{}f", dashes(56)), &format!("hello{}f", dashes(56))),
        ("##fdg..789-", "fdg--789"),
        ("a.c.d_de.", "a-c-d-de"),
        ("café", "caf"),
        ("/group/app", "groupapp"),
        ("A B/C$D", "abcd"),
        ("", ""),
        ("---", ""),
        // The tail is not trimmed again: a label may end in a dash.
        (&format!("{}{}b-c", "a".repeat(60), dashes(6)), &format!("{}b-c", "a".repeat(60))),
        (&format!("{}{}bc-", "a".repeat(60), dashes(6)), &format!("{}bc-", "a".repeat(60))),
    ];
    let vectors_952: &[(&str, &str)] = &[
        ("4abc123", "abc123"),
        ("chronos with a space AND MIXED CASE-2.0.1", "chronoswithaspaceandmixe"),
        ("-4-x", "x"),
    ];
    for (rfc952, rule, vectors) in [(false, LabelRule::Rfc1123, vectors_1123), (true, LabelRule::Rfc952, vectors_952)] {
        for (text, expected) in vectors {
            assert_eq!(label::spec(text, rule), *expected, "{text:?}");
            assert_eq!(rules::label(text, rfc952), *expected, "{text:?} by the second implementation");
        }
    }
    for (text, rule, expected) in [
        ("Marathon.Prod", LabelRule::Rfc1123, "marathon.prod"),
        ("marathon-0.6.0-dev", LabelRule::Rfc1123, "marathon-0.6.0-dev"),
        ("marathon-0.6.0-dev", LabelRule::Rfc952, "marathon-0.dev"),
    ] {
        assert_eq!(label::domain_frag(text, rule), expected);
    }
    assert_eq!((rules::hash("test"), label::hash_text(label::task_hash("test"))), ("iffe9".into(), "iffe9".into()));
}

#[test]
fn labels_of_any_text_are_those_of_the_second_implementation() {
    let mut random = fastrand::Rng::with_seed(7);
    let alphabet: Vec<char> = "aZ09-._/ $é-".chars().collect();
    for _ in 0..20_000 {
        let length = random.usize(0..90);
        let text: String = (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
        for (rfc952, rule) in [(false, LabelRule::Rfc1123), (true, LabelRule::Rfc952)] {
            assert_eq!(label::spec(&text, rule), rules::label(&text, rfc952), "{text:?}");
            assert_eq!(label::domain_frag(&text, rule), rules::fragment(&text, rfc952), "{text:?}");
        }
        assert_eq!(label::hash_text(label::task_hash(&text)), rules::hash(&text), "{text:?}");
    }
}

// --- the worked example

#[test]
fn the_worked_example() {
    let table = table(&liquor_store(true), &EVERY_SOURCE);
    let http = "SRV 0 1 80 liquor-store-4dfjd-0.marathon.mesos";
    let https = "SRV 0 1 443 liquor-store-4dfjd-0.marathon.mesos";
    for name in ["liquor-store.marathon.mesos", "liquor-store-4dfjd-0.marathon.mesos", "liquor.store.marathon.mesos"] {
        check(&table, name, &["A 10.3.0.1"]);
    }
    for name in ["liquor-store.marathon.slave.mesos", "liquor-store-4dfjd-0.marathon.slave.mesos"] {
        check(&table, name, &["A 1.2.3.11"]);
    }
    check(&table, "_liquor-store._tcp.marathon.mesos", &[http, https]);
    check(&table, "_http._liquor-store._tcp.marathon.mesos", &[http]);
    check(&table, "_https._liquor-store._tcp.marathon.mesos", &[https]);
    check_missing(&table, "_liquor-store._udp.marathon.mesos");
    for protocol in ["tcp", "udp"] {
        check(
            &table,
            &format!("_liquor-store._{protocol}.marathon.slave.mesos"),
            &[
                "SRV 0 1 31354 liquor-store-4dfjd-0.marathon.slave.mesos",
                "SRV 0 1 31355 liquor-store-4dfjd-0.marathon.slave.mesos",
            ],
        );
    }
    check(&table, "marathon.mesos", &["A 1.2.3.11"]);
    check(&table, "_framework._tcp.marathon.mesos", &["SRV 0 1 25501 marathon.mesos"]);
    // The legacy copies.
    check(&table, "liquor.store-4dfjd-0.marathon.mesos", &["A 10.3.0.1"]);
    let legacy = "SRV 0 1 80 liquor.store-4dfjd-0.marathon.mesos";
    check(&table, "_http._liquor.store._tcp.marathon.mesos", &[legacy]);
    compare("with discovery", &liquor_store(true), &EVERY_SOURCE);
    compare("without discovery", &liquor_store(false), &EVERY_SOURCE);
}

// --- rules, one by one

#[test]
fn only_running_tasks_of_known_agents_are_named() {
    let states = [
        "STAGING",
        "STARTING",
        "KILLING",
        "FINISHED",
        "FAILED",
        "KILLED",
        "ERROR",
        "LOST",
        "DROPPED",
        "UNREACHABLE",
        "GONE",
        "GONE_BY_OPERATOR",
        "UNKNOWN",
    ];
    for state in states {
        let other = Task { state: format!("TASK_{state}"), ..task("t", "web") };
        let table = table(&cluster(vec![framework("marathon", vec![other])]), &Rules::default());
        check_missing(&table, "web.marathon.mesos");
        check_missing(&table, "_web._tcp.marathon.mesos");
        check_missing(&table, "web.marathon.slave.mesos");
    }
    let homeless = Task { agent: "gone-S9".into(), ..task("t", "web") };
    check_missing(
        &table(&cluster(vec![framework("marathon", vec![homeless])]), &Rules::default()),
        "web.marathon.mesos",
    );
}

#[test]
fn addresses_come_from_the_sources_in_their_order() {
    let label = |key: &str, value: &str| (format!("{key}.NetworkSettings.IPAddress"), value.to_owned());
    let mut newest = running(5.0, &["not an address", "9.0.0.1", "fd00::1"]);
    newest.labels = vec![label("Docker", "172.17.0.2"), label("MesosContainerizer", "::ffff:192.0.2.7")];
    let task = Task {
        statuses: vec![
            newest,
            running(4.0, &["9.0.0.99"]),
            Status {
                state: "TASK_STARTING".into(),
                timestamp: 9.0,
                network: vec!["9.9.9.9".into()],
                labels: Vec::new(),
            },
        ],
        ..task("t", "web")
    };
    let cluster = cluster(vec![framework("marathon", vec![task])]);
    let orders: [(&'static [&'static str], &[&str]); 6] = [
        (&["netinfo", "mesos", "host"], &["A 9.0.0.1", "AAAA fd00::1"]),
        (&["host", "netinfo"], &["A 1.2.3.11"]),
        (&["docker", "netinfo"], &["A 172.17.0.2"]),
        (&["mesos"], &["A 192.0.2.7"]),
        (&["mesos", "docker", "netinfo", "host"], &["A 192.0.2.7"]),
        (&["docker", "mesos", "host", "netinfo"], &["A 172.17.0.2"]),
    ];
    for (sources, expected) in orders {
        let rules = Rules { sources, ..Rules::default() };
        check(&table(&cluster, &rules), "web.marathon.mesos", expected);
        compare("sources", &cluster, &rules);
    }
}

#[test]
fn a_source_of_invalid_addresses_falls_through() {
    let broken = Task { statuses: vec![running(1.0, &["", "nonsense"])], ..task("t", "web") };
    let cluster = cluster(vec![framework("marathon", vec![broken])]);
    check(&table(&cluster, &Rules::default()), "web.marathon.mesos", &["A 1.2.3.11"]);
    // Without any source only the names below `slave` exist.
    let rules = Rules { sources: &["netinfo"], ..Rules::default() };
    let table = table(&cluster, &rules);
    check_missing(&table, "web.marathon.mesos");
    check(&table, "web.marathon.slave.mesos", &["A 1.2.3.11"]);
    compare("no source", &cluster, &rules);
}

#[test]
fn ports_and_protocols() {
    let ports = &[(80, "TCP", "http"), (81, "sctp", ""), (82, "udp,tcp", "both"), (0, "", "zero"), (80, "tcp", "http")];
    let cluster = cluster(vec![framework("marathon", vec![discovered("test", "web", ports)])]);
    let table = table(&cluster, &Rules::default());
    let srv = |port: u16| format!("SRV 0 1 {port} web-iffe9-s0.marathon.mesos");
    check(&table, "_web._tcp.marathon.mesos", &[&srv(0), &srv(80)]);
    check(&table, "_http._web._tcp.marathon.mesos", &[&srv(80)]);
    check(&table, "_web._sctp.marathon.mesos", &[&srv(81)]);
    check(&table, "_web._udptcp.marathon.mesos", &[&srv(82)]);
    check(&table, "_both._web._udptcp.marathon.mesos", &[&srv(82)]);
    check(&table, "_zero._web._udp.marathon.mesos", &[&srv(0)]);
    check_missing(&table, "_http._web._udp.marathon.mesos");
    compare("ports", &cluster, &Rules { weight: 9, ..Rules::default() });
}

#[test]
fn discovery_information_without_a_name_is_none() {
    let unnamed = Task { name: "plain".into(), ..discovered("test", "", &[(80, "tcp", "http")]) };
    let cluster = cluster(vec![framework("marathon", vec![unnamed])]);
    let table = table(&cluster, &Rules::default());
    check(&table, "_plain._tcp.marathon.mesos", &["SRV 0 1 31000 plain-iffe9-s0.marathon.slave.mesos"]);
    check_missing(&table, "_http._plain._tcp.marathon.mesos");
    compare("unnamed", &cluster, &Rules::default());
}

#[test]
fn discovery_names_as_they_were_written() {
    for (name, plain) in [
        ("liquor.store", true),
        ("my_app", true),
        ("/group/app", true),
        ("a._b", true),
        ("_edge", true),
        ("Liquor.Store", false),
        ("a..b", false),
        ("trailing.", false),
        ("semi;colon", false),
        ("with space", false),
    ] {
        let task = discovered("test", name, &[(80, "tcp", "http")]);
        let cluster = cluster(vec![framework("marathon", vec![task])]);
        let table = table(&cluster, &Rules::default());
        let raw = format!("{}.marathon.mesos", name.to_lowercase());
        assert_eq!(look(&table, &raw).is_some(), plain, "{raw}");
        if plain {
            compare(name, &cluster, &Rules::default());
        }
    }
}

#[test]
fn names_that_collide_merge() {
    let mut two = framework("marathon", vec![task("b", "web")]);
    two.id = "F-2".into();
    two.address = Some("1.2.3.12:1000".parse().unwrap());
    let mut away = discovered("c", "framework", &[(99, "tcp", "")]);
    away.agent = "m-S1".into();
    let all = cluster(vec![
        framework("marathon", vec![task("a", "web"), away]),
        two,
        framework("slave", vec![task("d", "web")]),
        framework("x.slave", vec![task("e", "web")]),
        framework("x", vec![task("f", "web")]),
        framework("master", vec![]),
        framework("leader", vec![]),
        framework("master0", vec![]),
        framework("", vec![task("g", "web")]),
    ]);
    let table = table(&all, &Rules::default());
    check(&table, "marathon.mesos", &["A 1.2.3.11", "A 1.2.3.12"]);
    check(&table, "slave.mesos", &["A 1.2.3.11", "A 1.2.3.12"]);
    check(&table, "leader.mesos", &["A 1.2.3.1", "A 1.2.3.11"]);
    check(&table, "master0.mesos", &["A 1.2.3.1", "A 1.2.3.11"]);
    check(&table, "web.slave.mesos", &["A 10.0.0.1"]);
    check(&table, "web.x.slave.mesos", &["A 1.2.3.11", "A 10.0.0.1"]);
    let target = format!("framework-{}-s1.marathon.mesos", rules::hash("c"));
    check(
        &table,
        "_framework._tcp.marathon.mesos",
        &["SRV 0 1 1000 marathon.mesos", "SRV 0 1 25501 marathon.mesos", &format!("SRV 0 1 99 {target}")],
    );
    let mut named = all;
    // Mesos-DNS makes names with an empty label here, which nobody can ask for.
    named.frameworks.pop();
    compare("collisions", &named, &Rules::default());
}

#[test]
fn numbered_masters() {
    let address = |text: &&str| text.parse().unwrap();
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("1.0.0.1:5050", &["1.0.0.1:5050", "1.0.0.2:5050"], &["1.0.0.1", "1.0.0.2"]),
        ("1.0.0.2:5050", &["1.0.0.1:5050", "1.0.0.2:5050", "1.0.0.3:5050"], &["1.0.0.1", "1.0.0.2", "1.0.0.3"]),
        // As they are found through ZooKeeper: the leader first, the others by address.
        ("1.0.0.3:5050", &["1.0.0.3:5050", "1.0.0.1:5050", "1.0.0.2:5050"], &["1.0.0.3", "1.0.0.1", "1.0.0.2"]),
        // Each once, by address.
        ("1.0.0.1:5050", &["1.0.0.2:5050", "1.0.0.2:5051", "1.0.0.1:5050"], &["1.0.0.2", "1.0.0.1"]),
        ("1.0.0.1:5050", &["1.0.0.1:5050", "1.0.0.1:5050", "1.0.0.3:5050"], &["1.0.0.1", "1.0.0.3"]),
        ("1.0.0.1:5050", &["1.0.0.1:5051", "1.0.0.2:5050"], &["1.0.0.2", "1.0.0.1"]),
        // A leader that is not in the list comes last.
        ("1.0.0.9:5050", &["1.0.0.1:5050"], &["1.0.0.1", "1.0.0.9"]),
        ("[2001:db8::1]:5050", &[], &["2001:db8::1"]),
    ];
    for (leader, masters, expected) in cases {
        let cluster = Cluster {
            leader: Some(address(leader)),
            masters: masters.iter().map(address).collect(),
            ..cluster(Vec::new())
        };
        let table = table(&cluster, &Rules::default());
        for (number, ip) in expected.iter().enumerate() {
            let kind = if ip.contains(':') { "AAAA" } else { "A" };
            check(&table, &format!("master{number}.mesos"), &[&format!("{kind} {ip}")]);
        }
        check_missing(&table, &format!("master{}.mesos", expected.len()));
        for other in ["master00", "master+0", "master-0", "master"] {
            assert_eq!(look(&table, &format!("{other}.mesos")).is_some(), other == "master", "{other}");
        }
        compare("masters", &cluster, &Rules::default());
    }
}

#[test]
fn domain_weight_and_label_rule_are_free() {
    let chronos = framework("chronos with a space AND MIXED CASE-2.0.1", vec![task("test", "4abc123")]);
    let cluster = cluster(vec![chronos]);
    let rules = Rules { domain: "dc-1.example.com", rfc952: true, weight: 65535, ..Rules::default() };
    let table = table(&cluster, &rules);
    let framework = rules::fragment("chronos with a space AND MIXED CASE-2.0.1", true);
    check(&table, &format!("abc123.{framework}.dc-1.example.com"), &["A 10.0.0.1"]);
    let target = format!("abc123-iffe9-s0.{framework}.slave.dc-1.example.com");
    check(&table, &format!("_abc123._udp.{framework}.dc-1.example.com"), &[&format!("SRV 0 65535 31000 {target}")]);
    compare("rfc 952", &cluster, &rules);
}

#[test]
fn random_clusters_are_named_by_the_rules() {
    let mut random = fastrand::Rng::with_seed(11);
    let names =
        ["web", "liquor.store", "Web", "a_b", "my.slave", "slave", "framework", "tcp", "/g/x", "", "9-9", "a--b"];
    let frameworks = ["marathon", "Marathon.Prod", "slave", "x.slave", "x", "a.b.c", "tcp.slave"];
    let protocols = ["tcp", "udp", "", "TCP", "sctp", "udp,tcp"];
    let rounds = if std::env::var_os("POINTSMAN_FULL").is_some() { 2000 } else { 60 };
    for round in 0..rounds {
        let mut all = cluster(Vec::new());
        for (number, name) in frameworks.iter().enumerate() {
            if random.bool() {
                continue;
            }
            let mut made = framework(name, Vec::new());
            made.id = format!("F-{number}");
            for number in 0..random.usize(0..6) {
                let name = names[random.usize(..names.len())];
                let mut one = task(&format!("{round}-{}-{number}", made.id), name);
                one.agent = ["m-S0", "m-S1", "m-S7"][random.usize(..3)].into();
                one.host_ports = (0..random.u16(0..3)).map(|n| 31000 + n).collect();
                if random.bool() {
                    let ports = [0, 1]
                        .map(|_| (random.u16(..90), protocols[random.usize(..6)], names[random.usize(..names.len())]));
                    one.discovery = discovered("", names[random.usize(..names.len())], &ports).discovery;
                }
                // A task without a label of its own makes names that nobody can ask for.
                let label = rules::label(&one.name, false);
                let found = one.discovery.as_ref().filter(|(name, _)| !name.is_empty());
                if !label.is_empty() && found.is_none_or(|(name, _)| !rules::label(name, false).is_empty()) {
                    made.tasks.push(one);
                }
            }
            all.frameworks.push(made);
        }
        compare(&format!("round {round}"), &all, &Rules::default());
    }
}

// --- known defects of Mesos-DNS

#[test]
fn issue_522_and_432_and_175_long_names_are_shortened_and_answer() {
    let long = "a".repeat(63);
    let cluster = cluster(vec![framework(
        "marathon",
        vec![
            discovered("test", &long, &[(80, "tcp", &"p".repeat(63))]),
            Task { host_ports: vec![31000], ..task("two", &"b".repeat(58)) },
        ],
    )]);
    let table = table(&cluster, &Rules::default());
    // The group's own name fits; the canonical one is cut before its hash, which tells tasks apart anyway.
    check(&table, &format!("{long}.marathon.mesos"), &["A 10.0.0.1"]);
    let own = format!("{}-iffe9-s0.marathon.mesos", "a".repeat(54));
    check(&table, &own, &["A 10.0.0.1"]);
    // A label without room for its underscore ends in a hash of itself.
    let service = label::service_label(&long).into_owned();
    let port = label::service_label(&"p".repeat(63)).into_owned();
    assert_eq!((service.len(), port.len()), (62, 62));
    check(&table, &format!("_{service}._tcp.marathon.mesos"), &[&format!("SRV 0 1 80 {own}")]);
    check(&table, &format!("_{port}._{service}._tcp.marathon.mesos"), &[&format!("SRV 0 1 80 {own}")]);
    let problems: Vec<_> = table.problems.values().flat_map(|problems| problems.iter()).collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.code.as_str() == "invalid-name"));
    let saying = |text: &str| problems.iter().filter(|problem| problem.message.contains(text)).count();
    assert_eq!((saying("cut to 54"), saying("name of a port")), (2, 1), "{problems:?}");
    let second = format!("{}-{}-s0.marathon.slave.mesos", "b".repeat(54), rules::hash("two"));
    check(&table, &format!("_{}._tcp.marathon.mesos", "b".repeat(58)), &[&format!("SRV 0 1 31000 {second}")]);
    check(&table, &second, &["A 1.2.3.11"]);
    compare("long labels", &cluster, &Rules::default());
}

#[test]
fn names_longer_than_255_octets_have_a_shorter_framework() {
    let name = format!("{0}.{0}.{0}.{1}", "f".repeat(63), "g".repeat(50));
    let cluster = cluster(vec![framework(&name, vec![task("test", &"t".repeat(60))])]);
    let table = table(&cluster, &Rules::default());
    let zone = zone_of(&table, "mesos");
    assert!(zone.keys().all(|name| fits(name)), "{:?}", zone.keys().filter(|name| !fits(name)).collect::<Vec<_>>());
    let own = zone.keys().find(|name| name.starts_with(&format!("{}.f", "t".repeat(60)))).expect("the task's name");
    check(&table, own, &["A 10.0.0.1"]);
    let service = zone.iter().find(|(name, _)| name.starts_with(&format!("_{}", "t".repeat(60)))).expect("its service");
    let target = service.1.first().unwrap().rsplit(' ').next().unwrap();
    check(&table, target, &["A 1.2.3.11"]);
}

#[test]
fn issue_509_an_agent_without_an_address_spoils_only_itself() {
    let lost = Agent { address: None, ..agent("m-S1", "") };
    let away = Task { agent: "m-S1".into(), ..task("b", "away") };
    let mut all = cluster(vec![framework("marathon", vec![task("a", "web"), away])]);
    all.agents = vec![agent("m-S0", "1.2.3.11"), lost];
    let table = table(&all, &Rules::default());
    check(&table, "slave.mesos", &["A 1.2.3.11"]);
    check(&table, "web.marathon.mesos", &["A 10.0.0.1"]);
    check(&table, "away.marathon.mesos", &["A 10.0.0.1"]);
    check_missing(&table, "away.marathon.slave.mesos");
    check(&table, "web.marathon.slave.mesos", &["A 1.2.3.11"]);
}

#[test]
fn issue_365_names_with_other_types_are_no_nxdomain() {
    let table = table(&liquor_store(true), &EVERY_SOURCE);
    // Services and what lies above names exist, whatever type is asked for.
    for name in
        ["_liquor-store._tcp.marathon.mesos", "_tcp.marathon.mesos", "marathon.slave.mesos", "store.marathon.mesos"]
    {
        assert!(look(&table, name).is_some(), "{name}");
    }
    check(&table, "store-4dfjd-0.marathon.mesos", &[]);
    check(&table, "store._tcp.marathon.mesos", &[]);
}

#[test]
fn a_framework_without_a_pid_spoils_nothing() {
    let mut nameless = framework("no pid", vec![task("a", "web")]);
    nameless.address = None;
    nameless.hostname = "unresolvable.example".into();
    let all = cluster(vec![nameless, framework("marathon", vec![task("b", "web")])]);
    let table = table(&all, &Rules::default());
    check(&table, "web.nopid.mesos", &["A 10.0.0.1"]);
    check(&table, "nopid.mesos", &[]);
    check_missing(&table, "_framework._tcp.nopid.mesos");
    check(&table, "web.marathon.mesos", &["A 10.0.0.1"]);
    compare("no pid", &all, &Rules::default());
}

#[test]
fn a_task_without_a_usable_label_has_no_name() {
    let table =
        table(&cluster(vec![framework("marathon", vec![task("a", "///"), task("b", "web")])]), &Rules::default());
    assert!(zone_of(&table, "mesos").keys().all(|name| fits(name)));
    let problems: Vec<_> = table.problems.values().flat_map(|problems| problems.iter()).collect();
    assert!(problems.len() == 1 && problems[0].message.contains("nothing that a DNS label"), "{problems:?}");
    check(&table, "web.marathon.mesos", &["A 10.0.0.1"]);
}

/// The table of a cluster is the same whatever it was before.
#[test]
fn what_goes_leaves_nothing_behind() {
    use common::facts::snapshot;
    use mesos_dns_support::cluster::{NOW, configured, facts};
    let long = discovered("test", &format!("{}.{}", "x".repeat(63), "a".repeat(63)), &[(80, "tcp", "http")]);
    let full = cluster(vec![framework("marathon", vec![long, task("two", &"b".repeat(60))])]);
    let empty = cluster(Vec::new());
    let config = Arc::new(configured(&Rules::default()));
    let state = pointsman::cluster::state::ClusterState::new(config, NOW);
    let mut writer = pointsman::table::writer::Writer::new(state, 1, NOW);
    writer.apply([snapshot(1, facts(&full))], NOW);
    assert!(zone_of(&writer.first(NOW), "mesos").len() > 10);
    let gone = full.frameworks[0].tasks.iter().map(|gone| {
        let key = pointsman::model::id::TaskKey::new("mesos".into(), "F-marathon".into(), &*gone.id);
        pointsman::cluster::event::Fact::TaskGone(key)
    });
    let framework_gone = pointsman::cluster::event::Fact::FrameworkGone("F-marathon".into());
    writer.apply([common::facts::event(1, gone.chain([framework_gone]).collect())], NOW);
    let names = |table: &Table| {
        let dump = pointsman::table::dump::dump(table);
        dump.split("zone ")
            .nth(1)
            .unwrap()
            .lines()
            .skip(1)
            .take_while(|l| l.starts_with(' '))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(names(&writer.first(NOW)), names(&table(&empty, &Rules::default())));
}

// --- what users of the old servers asked for, and where it is held true

/// Numbers of the old servers' issues, what became of them here, and the tests that hold it, as `file: test`.
const ASKED_FOR: &[(&str, &str, &[&str])] = &[
    (
        "mesos-dns #336 #283: polling the masters",
        "their events, or their state at an interval; our own events for others",
        &[
            "tests/mesos_situations.rs: the_table_is_what_get_state_says_wherever_it_was_asked",
            "tests/mesos_state.rs: the_real_source_reads_at_an_interval_and_tells_what_changed",
            "tests/admin_api.rs: events_follow_the_table_and_resume",
        ],
    ),
    (
        "marathon #5792: a leader that was",
        "a new leader is followed at once",
        &[
            "tests/mesos_session.rs: a_frozen_leader_is_dropped_at_once_when_zookeeper_names_another",
            "tests/mesos_state.rs: reads_are_an_interval_apart_and_a_new_leader_is_read_at_once",
            "tests/mesos_zookeeper.rs: the_leader_is_followed_from_change_to_change",
        ],
    ),
    (
        "dcos #6268, dcos-net #187 #154: a failover empties the zone, each change pushes the whole of it",
        "what a new master does not know yet stays; a change is its own names",
        &[
            "tests/cluster_rules.rs: an_incomplete_snapshot_after_a_failover_deletes_nothing_of_recovered_agents",
            "tests/mesos_state.rs: an_empty_state_of_a_master_that_has_not_recovered_is_not_believed",
            "tests/dns_serials.rs: a_change_raises_the_zones_that_show_it_and_no_others",
        ],
    ),
    (
        "mesos-dns #503 #186 #318: no start, or an end, without ZooKeeper",
        "it goes on trying and says why it is not ready; a restart serves what was stored",
        &[
            "tests/mesos_session.rs: attempts_become_rarer_and_are_never_a_busy_loop",
            "tests/serve_state.rs: killed_and_restarted_without_its_master_it_serves_what_was_stored_and_says_so",
            "tests/serve_state.rs: readiness_says_what_it_waits_for_and_ends_with_the_stop",
        ],
    ),
    (
        "mesos-dns #310 #398: unhealthy tasks are named",
        "not while another is healthy; with Mesos-DNS's file they are",
        &[
            "tests/names.rs: unhealthy_and_leaving_tasks_are_not_named_while_others_are",
            "tests/cluster_rules.rs: when_all_are_unhealthy_all_are_served_again_and_it_is_flagged",
            "tests/mesos_dns_config.rs: the_smallest_file_has_the_defaults_of_mesos_dns",
        ],
    ),
    (
        "mesos-dns #308: a task's own name",
        "each has one by its id; before it runs it has none",
        &[
            "tests/dns_task_ids.rs: an_id_finds_precisely_its_task",
            "tests/mesos_dns_names.rs: only_running_tasks_of_known_agents_are_named",
        ],
    ),
    (
        "mesos-dns #369 #426 #477 #332 #528 #417: a bridge's address is handed out",
        "by default names lead to where a task is reached; `autoip`, and the sources of addresses in any order",
        &[
            "tests/dcos_zones.rs: issue_369_a_bridges_address_is_not_handed_out",
            "tests/dcos_zones.rs: tasks_have_an_agents_a_containers_and_an_automatic_address",
            "tests/mesos_dns_names.rs: addresses_come_from_the_sources_in_their_order",
        ],
    ),
    (
        "mesos-dns #541 #550 #554: addresses of several networks are mixed",
        "names for each network",
        &[
            "tests/dns_networks.rs: a_name_for_each_network_says_what_tasks_have_in_it",
            "tests/dns_networks.rs: services_lead_to_the_tasks_names_in_their_network",
        ],
    ),
    (
        "mesos-dns #365 #338 #94: NXDOMAIN for names that have other types",
        "as the RFCs say",
        &[
            "tests/mesos_dns_names.rs: issue_365_names_with_other_types_are_no_nxdomain",
            "tests/mesos_dns_api.rs: answers_are_those_of_mesos_dns_with_its_breaks_mended",
            "src/dns/answer_tests.rs: empty_non_terminals_exist",
            "tests/dns_differential.rs: answers_as_nsd_does",
        ],
    ),
    (
        "mesos-dns #522 #432 #175: long names",
        "shortened, told, and answered",
        &[
            "tests/mesos_dns_names.rs: issue_522_and_432_and_175_long_names_are_shortened_and_answer",
            "tests/mesos_dns_names.rs: names_longer_than_255_octets_have_a_shorter_framework",
            "tests/mesos_dns_names.rs: a_task_without_a_usable_label_has_no_name",
        ],
    ),
    (
        "mesos-dns #249 #159 #100: names of agents",
        "by id and by host name, with facts as TXT",
        &[
            "tests/further_names.rs: agents_have_names_by_id_and_by_host_name",
            "tests/further_names.rs: facts_are_told_as_text",
        ],
    ),
    (
        "mesos-dns #414 #469 #76: dots, and frameworks of one name",
        "names merge; ids and labels without dots tell them apart, and connected frameworks of one name are told",
        &[
            "tests/mesos_dns_names.rs: names_that_collide_merge",
            "tests/cluster_rules.rs: connected_frameworks_of_one_name_are_a_problem_of_each",
            "tests/dns_task_ids.rs: frameworks_of_one_name_share_an_id",
            "tests/dcos_zones.rs: dots_of_a_frameworks_name_are_hyphens",
        ],
    ),
    (
        "mesos-dns #61 #107 #458 #499: which port is which",
        "names of ports, and their places where they have none",
        &[
            "tests/dns_task_ids.rs: ports_are_found_by_name_and_protocol",
            "tests/further_names.rs: host_ports_without_discovery_are_called_by_their_place",
            "tests/further_names.rs: bindings_have_port_and_protocol",
        ],
    ),
    (
        "mesos-dns #552: an odd form of SRV names",
        "that of RFC 2782 too",
        &["tests/further_names.rs: ports_have_names_as_rfc_2782_writes_them"],
    ),
    (
        "mesos-dns #174 #237 #326 #467, dcos #1707 #973: EDNS, and parts of answers",
        "EDNS; what is cut is whole records and says so",
        &[
            "src/dns/answer_tests.rs: edns_is_returned_if_and_only_if_it_was_sent",
            "src/dns/answer_tests.rs: what_does_not_fit_is_cut_to_whole_records_and_flagged",
            "tests/dns_server.rs: answers_over_udp_and_over_tcp_after_truncation",
            "tests/dns_server.rs: pipelined_queries_are_all_answered",
        ],
    ),
    (
        "consul #3850 #3948: more than 64 KiB over TCP",
        "as much as there is room for, of 5000",
        &["src/dns/answer_tests.rs: what_does_not_fit_is_cut_to_whole_records_and_flagged"],
    ),
    (
        "mesos-dns #67 #286 #481, consul #278 #4083: from addresses to names",
        "PTR, and reverse zones that deny at once",
        &[
            "tests/further_names.rs: addresses_lead_back_to_names",
            "tests/further_names.rs: an_address_follows_its_tasks",
        ],
    ),
    (
        "mesos-dns #430 #143: transfers, and names of other services",
        "AXFR, IXFR, NOTIFY, TSIG; names from files in a cluster's zone",
        &[
            "tests/dns_transfer.rs: a_whole_zone_is_sent_to_those_who_may",
            "tests/dns_transfer.rs: a_secondary_is_told_of_changes_and_fetches_them_signed",
            "tests/further_names.rs: a_file_has_names_in_a_clusters_zone_and_goes_before_it",
        ],
    ),
    (
        "mesos-dns #349: metrics",
        "by transport, type, code and zone",
        &["tests/dns_metrics.rs: answers_are_counted_by_transport_type_code_and_zone"],
    ),
    (
        "mesos-dns #422 #297 #298: descriptors run out",
        "equal queries wait for one answer; what is under way is bounded; none left is no end",
        &[
            "tests/dns_forward.rs: equal_queries_wait_for_one_answer_and_only_so_many_wait_at_all",
            "tests/dns_descriptors.rs: running_out_of_descriptors_neither_spins_nor_ends_the_server",
        ],
    ),
    (
        "mesos-dns #383: an open resolver",
        "private networks alone",
        &["tests/dns_forward.rs: our_own_names_and_those_of_strangers_are_never_forwarded"],
    ),
    (
        "mesos-dns #441, consul #1604 #84 #13243, coredns #4028 #3586 #8273: nothing is kept, or for ever",
        "answers are kept, past their time where nobody answers, and absence never",
        &[
            "tests/dns_forward.rs: a_zone_has_servers_of_its_own_and_what_no_one_knows_is_refused",
            "tests/dns_forward.rs: an_answer_past_its_time_stands_in_while_nobody_answers_and_absence_does_not",
            "tests/dns_forward.rs: what_was_superseded_is_not_served_past_its_time",
            "tests/dns_forward.rs: names_that_are_asked_for_often_are_fetched_before_their_time",
        ],
    ),
    (
        "kubernetes/dns #186, coredns #2116 #2126: NXDOMAIN before the first look",
        "SERVFAIL until a zone is known, and others at once",
        &[
            "src/dns/answer_tests.rs: before_the_first_table_nothing_is_denied",
            "src/dns/answer_tests.rs: a_zone_whose_source_has_not_spoken_denies_nothing",
            "tests/mesos_dns_api.rs: before_the_masters_are_read_nothing_is_concluded",
        ],
    ),
    (
        "kubernetes #56903, kubernetes/dns #387: one question for each domain of a search path",
        "the first is answered with its end",
        &["tests/dns_forward.rs: the_first_question_along_a_search_path_is_answered_with_its_end"],
    ),
    (
        "consul #10963 #1088 #252 #23728 #23885, coredns #6406 #8388 #5595 #6882: weights, places, cores",
        "labels say weights and priorities, what is near comes first, workers share an address",
        &[
            "tests/further_names.rs: labels_say_priority_and_weight_of_srv_records",
            "tests/dns_locality.rs: addresses_of_the_same_zone_come_first_and_then_of_the_region",
            "tests/dns_server.rs: workers_share_one_address",
        ],
    ),
    (
        "mesos-dns #509: an agent without an address, a framework without a pid",
        "each spoils itself only",
        &[
            "tests/mesos_dns_names.rs: issue_509_an_agent_without_an_address_spoils_only_itself",
            "tests/mesos_dns_names.rs: a_framework_without_a_pid_spoils_nothing",
            "tests/mesos_state.rs: one_wrong_type_anywhere_spoils_only_its_own_record",
        ],
    ),
    (
        "Mesos-DNS passes none of genreport's tests",
        "all of them",
        &["tests/dns_compliance.rs: every_probe_of_genreport_is_answered_as_it_wants"],
    ),
    ("Mesos-DNS shows its secret", "it is hidden", &["tests/mesos_dns_api.rs: config_hides_secrets"]),
];

#[test]
fn what_was_asked_for_is_held_by_tests_that_exist() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (asked, _, tests) in ASKED_FOR {
        assert!(!tests.is_empty(), "{asked}");
        for place in *tests {
            let (file, test) = place.split_once(": ").unwrap();
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let (before, _) = text.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{asked}: no {place}"));
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test"), "{place} is no test");
        }
    }
}
