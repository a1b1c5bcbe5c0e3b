//! Names as Mesos-DNS makes them, from tasks, agents, frameworks and masters.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::facts::{agent, config, event, framework, snapshot, status, task};
use pointsman::cluster::event::{Fact, RecordData};
use pointsman::cluster::state::ClusterState;
use pointsman::model::network::MastersFacts;
use pointsman::model::task::{Discovery, DiscoveryPort, PortRange, PortScope, TaskFacts, TaskState};
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::names::further::RareType;
use pointsman::table::names::records::Records;
use pointsman::table::names::{Found, Record};
use pointsman::table::writer::Writer;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn port(number: u16, name: &str, protocol: &str) -> DiscoveryPort {
    DiscoveryPort {
        number,
        name: name.into(),
        protocol: protocol.into(),
        scope: PortScope::Unspecified,
        labels: Box::new([]),
    }
}

/// The example of the Mesos-DNS documentation.
fn liquor_store(discovery: bool) -> TaskFacts {
    let id = "liquor-store.b8db9f73-562f-11e4-a088-c20493233aa5";
    let mut facts = task(id, "liquor.store", 0, 80, &[]);
    facts.agent = Some("20140803-125133-3041283216-5050-2410-0".into());
    facts.addresses = ["10.3.0.1".parse().unwrap()].into_iter().collect();
    let mut definition = (*facts.definition).clone();
    definition.host_ports = Box::new([PortRange { begin: 31354, end: 31355 }]);
    let ports = Box::new([port(80, "http", "tcp"), port(443, "https", "tcp")]);
    definition.discovery = discovery.then(|| Discovery { name: "liquor.store".into(), ports });
    facts.definition = Arc::new(definition);
    facts
}

fn table(discovery: bool) -> Arc<Table> {
    let mut host = agent(1);
    host.id = "20140803-125133-3041283216-5050-2410-0".into();
    host.address = Some("1.2.3.11".parse().unwrap());
    let mut marathon = framework("marathon");
    marathon.address = Some("1.2.3.11".parse().unwrap());
    marathon.port = Some(25501);
    let masters = MastersFacts {
        leader: Some("1.2.3.1:5050".parse().unwrap()),
        masters: vec!["1.2.3.1:5050".parse().unwrap(), "1.2.3.2:5050".parse().unwrap()],
    };
    let mut writer = Writer::new(ClusterState::new(Arc::new(config()), NOW), 1, NOW);
    writer.apply(
        [snapshot(
            1,
            vec![
                Fact::Task(Box::new(liquor_store(discovery))),
                Fact::Agent(Box::new(host)),
                Fact::Framework(Box::new(marathon)),
                Fact::Masters(masters),
            ],
        )],
        NOW,
    );
    writer.first(NOW)
}

fn show(table: &Table, name: &str) -> String {
    match table.names.find(name) {
        Found::Outside => "outside".into(),
        Found::Unready(_) => "unready".into(),
        Found::Missing(_) => "missing".into(),
        Found::Delegated(..) => "delegated".into(),
        Found::Node(_, node) => {
            let mut records: Vec<String> = node
                .records
                .iter()
                .map(|record| match &record.data {
                    RecordData::A(address) => address.to_string(),
                    RecordData::Aaaa(address) => address.to_string(),
                    RecordData::Srv { priority, weight, port, target } => {
                        format!("{priority} {weight} {port} {target}")
                    }
                    other => format!("{other:?}"),
                })
                .collect();
            records.sort();
            records.join(", ")
        }
    }
}

fn check(table: &Table, name: &str, expected: &str) {
    assert_eq!(show(table, name), expected, "{name}");
}

#[test]
fn the_documented_example() {
    let table = table(true);
    for (name, expected) in [
        ("liquor-store.marathon.mesos", "10.3.0.1"),
        ("liquor-store-4dfjd-0.marathon.mesos", "10.3.0.1"),
        ("liquor-store.marathon.slave.mesos", "1.2.3.11"),
        ("liquor-store-4dfjd-0.marathon.slave.mesos", "1.2.3.11"),
        (
            "_liquor-store._tcp.marathon.mesos",
            "0 1 443 liquor-store-4dfjd-0.marathon.mesos, 0 1 80 liquor-store-4dfjd-0.marathon.mesos",
        ),
        ("_http._liquor-store._tcp.marathon.mesos", "0 1 80 liquor-store-4dfjd-0.marathon.mesos"),
        ("_https._liquor-store._tcp.marathon.mesos", "0 1 443 liquor-store-4dfjd-0.marathon.mesos"),
        ("_liquor-store._udp.marathon.mesos", "missing"),
        (
            "_liquor-store._udp.marathon.slave.mesos",
            "0 1 31354 liquor-store-4dfjd-0.marathon.slave.mesos, 0 1 31355 liquor-store-4dfjd-0.marathon.slave.mesos",
        ),
        ("marathon.mesos", "1.2.3.11"),
        ("_framework._tcp.marathon.mesos", "0 1 25501 marathon.mesos"),
        // The discovery name as it was written.
        ("liquor.store.marathon.mesos", "10.3.0.1"),
        ("liquor.store-4dfjd-0.marathon.mesos", "10.3.0.1"),
        ("_http._liquor.store._tcp.marathon.mesos", "0 1 80 liquor.store-4dfjd-0.marathon.mesos"),
    ] {
        check(&table, name, expected);
    }
}

#[test]
fn without_discovery_the_host_ports_count() {
    let table = table(false);
    let expected =
        "0 1 31354 liquor-store-4dfjd-0.marathon.slave.mesos, 0 1 31355 liquor-store-4dfjd-0.marathon.slave.mesos";
    check(&table, "_liquor-store._tcp.marathon.mesos", expected);
    check(&table, "_liquor-store._udp.marathon.mesos", expected);
    check(&table, "liquor.store.marathon.mesos", "missing");
}

#[test]
fn masters_and_agents() {
    let table = table(true);
    for (name, expected) in [
        ("leader.mesos", "1.2.3.1"),
        ("master.mesos", "1.2.3.1, 1.2.3.2"),
        ("master0.mesos", "1.2.3.1"),
        ("master1.mesos", "1.2.3.2"),
        ("master2.mesos", "missing"),
        ("_leader._tcp.mesos", "0 1 5050 leader.mesos"),
        ("_leader._udp.mesos", "0 1 5050 leader.mesos"),
        ("slave.mesos", "1.2.3.11"),
        ("_slave._tcp.mesos", "0 1 5051 slave.mesos"),
    ] {
        check(&table, name, expected);
    }
}

#[test]
fn names_above_others_exist_without_records() {
    let table = table(true);
    for name in
        ["mesos", "marathon.slave.mesos", "_tcp.marathon.mesos", "store.marathon.mesos", "_tcp.mesos", "_udp.mesos"]
    {
        check(&table, name, "");
    }
    for name in ["nothing.mesos", "_udp.marathon.mesos", "x.marathon.mesos", "liquor-store-4dfjd-1.marathon.mesos"] {
        check(&table, name, "missing");
    }
    for name in ["example.com", "notmesos", "xmesos"] {
        check(&table, name, "outside");
    }
}

#[test]
fn before_the_first_snapshot_nobody_may_conclude_that_a_name_is_missing() {
    let mut writer = Writer::new(ClusterState::new(Arc::new(config()), NOW), 1, NOW);
    check(&writer.first(NOW), "web.marathon.mesos", "unready");
    check(&writer.first(NOW), "mesos", "unready");
}

#[test]
fn unhealthy_and_leaving_tasks_are_not_named_while_others_are() {
    let mut writer = Writer::new(ClusterState::new(Arc::new(config()), NOW), 1, NOW);
    let facts = (1..=3).map(|n| Fact::Task(Box::new(task(&format!("t{n}"), "web", n, 9000, &[]))));
    let agents = (1..=3).map(|n| Fact::Agent(Box::new(agent(n))));
    let marathon = Fact::Framework(Box::new(framework("Marathon.Prod")));
    writer.apply([snapshot(1, facts.chain(agents).chain([marathon]).collect())], NOW);
    let name = "web.marathon.prod.mesos";
    let mut say = |id: &str, state, health| {
        writer.apply([event(1, vec![Fact::Status(Box::new(status(id, state, health)))])], NOW);
        show(&writer.first(NOW), name)
    };
    assert_eq!(say("t1", TaskState::Running, Some(true)), "10.1.0.1, 10.1.0.2, 10.1.0.3");
    assert_eq!(say("t1", TaskState::Killing, None), "10.1.0.2, 10.1.0.3");
    assert_eq!(say("t2", TaskState::Running, Some(false)), "10.1.0.3");
    assert_eq!(say("t3", TaskState::Running, Some(false)), "10.1.0.2, 10.1.0.3");
    say("t1", TaskState::Ended, None);
    say("t2", TaskState::Ended, None);
    // The name outlives its last task.
    assert_eq!(say("t3", TaskState::Ended, None), "");
}

/// A group's records are kept and those of a single task are made: a group has what its tasks have alone, and is missing
/// where all of them are.
#[test]
fn a_group_has_what_each_of_its_tasks_has() {
    let member = |n: u8, discovery: Option<(&str, Vec<DiscoveryPort>)>| {
        let mut facts = task(&format!("web.t{n}"), "web", n, 9000 + u16::from(n), &[]);
        facts.addresses = [[10, 3, 0, n / 2].into(), format!("fd00::{n}").parse().unwrap()].into_iter().collect();
        let mut definition = (*facts.definition).clone();
        definition.discovery =
            discovery.map(|(name, ports)| Discovery { name: name.into(), ports: ports.into_boxed_slice() });
        facts.definition = Arc::new(definition);
        facts
    };
    // More names of ports than are kept.
    let many = |from: u16| (from..from + 50).map(|number| port(number, &format!("p{number}"), "tcp")).collect();
    let long = "p".repeat(63);
    let groups = [
        vec![
            member(1, Some(("web", vec![port(80, "http", "tcp"), port(53, "dns", "udp"), port(81, "", "")]))),
            member(
                2,
                Some(("web", vec![port(80, "http", "tcp"), port(443, "https", "TCP"), port(8443, &long, "sctp")])),
            ),
            member(3, Some(("web", vec![]))),
            member(4, None),
        ],
        vec![member(1, Some(("web", many(1000)))), member(2, Some(("web", many(1040))))],
        // As it was written, with a dot: another framework's name may be read into it.
        vec![
            member(1, Some(("a.web", vec![port(80, "http", "tcp")]))),
            member(2, Some(("a.web", vec![port(81, "http", "tcp")]))),
        ],
    ];
    let table = |tasks: &[TaskFacts]| {
        let mut writer = Writer::new(ClusterState::new(Arc::new(config()), NOW), 1, NOW);
        let mut facts: Vec<Fact> = tasks.iter().map(|task| Fact::Task(Box::new(task.clone()))).collect();
        facts.extend((1..=4).map(|n| Fact::Agent(Box::new(agent(n)))));
        facts.push(Fact::Framework(Box::new(framework("marathon"))));
        writer.apply([snapshot(1, facts)], NOW);
        writer.first(NOW)
    };
    let (mut seen, mut rare) = (0, 0);
    for tasks in groups {
        let group = table(&tasks);
        let alone: Vec<Arc<Table>> = tasks.iter().map(|task| table(std::slice::from_ref(task))).collect();
        for name in group_questions(&long) {
            let each: Vec<String> =
                alone.iter().map(|table| show(table, &name)).filter(|shown| shown != "missing").collect();
            let records: BTreeSet<&str> =
                each.iter().flat_map(|shown| shown.split(", ")).filter(|record| !record.is_empty()).collect();
            let expected = match each.is_empty() {
                true => "missing".to_owned(),
                false => records.iter().copied().collect::<Vec<_>>().join(", "),
            };
            // Once made, once kept.
            for _ in 0..2 {
                check(&group, &name, &expected);
            }
            seen += records.len();
            for record_type in RareType::ALL {
                let of = |table: &Arc<Table>| table.names.rare(&name, record_type).into_vec();
                let texts = |records: Vec<Record>| records.into_iter().map(|record| format!("{record:?}"));
                let each: BTreeSet<String> = alone.iter().flat_map(|table| texts(of(table))).collect();
                for _ in 0..2 {
                    let all = texts(of(&group)).collect::<Vec<_>>();
                    assert_eq!(all.iter().cloned().collect::<BTreeSet<_>>(), each, "{name} {record_type:?}");
                    assert_eq!(all.len(), each.len(), "{name} {record_type:?}: none twice");
                }
                rare += each.len();
            }
        }
    }
    assert!(seen > 100 && rare > 100, "the questions were for something: {seen} {rare}");
}

/// What a group's name is answered with is made for the first who asks, whatever it has: an answer costs what a message holds,
/// not what the group has tasks.
#[test]
fn what_a_group_has_is_made_once() {
    let tasks = (0..500_u16).map(|n| {
        let mut facts = task(&format!("web.t{n}"), "web", 1, 9000, &[]);
        let [high, low] = n.to_be_bytes();
        facts.addresses = [[10, 3, high, low].into()].into_iter().collect();
        let mut definition = (*facts.definition).clone();
        definition.discovery = Some(Discovery {
            name: "web".into(),
            ports: Box::new([port(80, "http", "tcp"), port(443, "https", "tcp")]),
        });
        facts.definition = Arc::new(definition);
        Fact::Task(Box::new(facts))
    });
    let mut config = config();
    config.dns.dcos.source = Some("mesos".into());
    let mut writer = Writer::new(ClusterState::new(Arc::new(config), NOW), 1, NOW);
    let around = [Fact::Agent(Box::new(agent(1))), Fact::Framework(Box::new(framework("marathon")))];
    writer.apply([snapshot(1, tasks.chain(around).collect())], NOW);
    let table = writer.first(NOW);
    let of = |name: &str| match table.names.find(name) {
        Found::Node(_, node) => node.records,
        other => panic!("{name}: {other:?}"),
    };
    let check = |records: [Records; 2], what: &str, count: usize| {
        let [Records::Kept(first), Records::Kept(second)] = &records else { panic!("{what}: {records:?}") };
        assert!(std::ptr::eq(first.all(), second.all()), "{what} is made twice");
        assert_eq!(first.all().len(), count, "{what}");
    };
    for (name, count) in [
        ("web.marathon.mesos", 500),
        ("web.marathon.slave.mesos", 1),
        ("_web._tcp.marathon.mesos", 1000),
        ("_http._web._tcp.marathon.mesos", 500),
        ("_http._tcp.web.marathon.mesos", 500),
        ("slave.mesos", 1),
        ("_slave._tcp.mesos", 1),
        ("_slave._tcp.mesos.thisdcos.directory", 1),
        ("_tcp.web.marathon.mesos", 0),
        ("web.marathon.agentip.dcos.thisdcos.directory", 1),
        ("web.marathon.containerip.dcos.thisdcos.directory", 500),
        ("web.marathon.autoip.dcos.thisdcos.directory", 500),
        ("web.marathon.mesos.thisdcos.directory", 500),
        ("_web._tcp.marathon.mesos.thisdcos.directory", 1000),
        ("_https._tcp.web.marathon.mesos.thisdcos.global", 500),
    ] {
        if count > 0 {
            check([of(name), of(name)], name, count);
        } else {
            assert!(of(name).is_empty(), "{name}");
        }
    }
    for (name, svcb, https) in [("web", 1000, 500), ("_http._tcp.web", 500, 0), ("_https._tcp.web", 500, 500)] {
        let name = format!("{name}.marathon.mesos");
        for (record_type, count) in [(RareType::Svcb, svcb), (RareType::Https, https)] {
            let of = || table.names.rare(&name, record_type);
            check([of(), of()], &format!("{name} {record_type:?}"), count);
        }
    }
    let texts = || table.names.rare("web.marathon.mesos", RareType::Text);
    check([texts(), texts()], "texts", 32);
}

/// Names of a group of tasks called `web`, or `a.web`, and of its services: known ones and unknown.
fn group_questions(long: &str) -> Vec<String> {
    let ports =
        ["http", "dns", "https", "p1000", "p1045", "p1089", "nothing", &long[..62], "", "port0", "port2", "port7"];
    let mut names = vec!["web".to_owned(), "a.web".to_owned(), "a-web".to_owned()];
    for protocol in ["tcp", "udp", "sctp", "icmp"] {
        for task in ["web", "a.web", "a-web"] {
            names.push(format!("_{task}._{protocol}"));
            names.extend(ports.iter().map(|port| format!("_{port}._{task}._{protocol}")));
            // As RFC 2782 has it.
            names.push(format!("_{protocol}.{task}"));
            names.extend(ports.iter().map(|port| format!("_{port}._{protocol}.{task}")));
        }
        names.push(format!("_a._{protocol}.web"));
        names.push(format!("_http._a._{protocol}.web"));
    }
    let below = |name: &String| [".marathon.mesos", ".marathon.slave.mesos"].map(|below| format!("{name}{below}"));
    names.iter().flat_map(below).collect()
}
