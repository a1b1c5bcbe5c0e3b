//! Schedulers that are known by the name of their host alone: it is looked up beside everything else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::facts::{agent, config, framework, snapshot};
use common::world::World;
use pointsman::cluster::event::{ClusterEvent, Fact};
use pointsman::cluster::store;
use pointsman::model::framework::FrameworkFacts;
use pointsman::server::host_names;
use pointsman::table::Table;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;
use pointsman::table::names::Found;
use pointsman::table::writer::Writer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn scheduler(host: &str) -> Fact {
    Fact::Framework(Box::new(FrameworkFacts { address: None, hostname: host.into(), ..framework("marathon") }))
}

fn addresses(table: &Table) -> BTreeSet<IpAddr> {
    match table.names.find("marathon.mesos") {
        Found::Node(_, node) => node.records.iter().filter_map(|record| record.data.address()).collect(),
        _ => BTreeSet::new(),
    }
}

fn problems(table: &Table) -> usize {
    table.problems.values().map(|list| list.len()).sum()
}

fn found(hosts: &[(&str, &[[u8; 4]])]) -> ClusterEvent {
    let of = |addresses: &[[u8; 4]]| addresses.iter().map(|octets| IpAddr::from(*octets)).collect();
    ClusterEvent::HostsFound(Arc::new(hosts.iter().map(|(host, addresses)| ((*host).into(), of(addresses))).collect()))
}

fn serial(table: &Table) -> u32 {
    table.names.zones().find(|zone| &*zone.name == "mesos").unwrap().serial
}

#[tokio::test]
async fn the_systems_resolver_is_asked_for_the_host() {
    let mut world = World::new();
    world.say(snapshot(1, vec![Fact::Agent(Box::new(agent(1))), scheduler("localhost")]));
    assert_eq!((addresses(&world.table()).len(), problems(&world.table())), (0, 1));
    let before = serial(&world.table());
    let handle = Arc::new(TableHandle::new(Table::empty(Arc::new(config())), 2));
    handle.publish(world.table(), VersionRecord::default());
    let (sender, mut events) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let following = tokio::spawn(host_names::follow(handle.clone(), sender, stop.clone()));
    let event = tokio::time::timeout(Duration::from_secs(30), events.recv()).await.unwrap().unwrap();
    world.say(event);
    let table = world.table();
    assert!(addresses(&table).contains(&Ipv4Addr::LOCALHOST.into()), "{:?}", addresses(&table));
    assert_eq!(problems(&table), 0);
    assert_ne!(serial(&table), before);
    // A host that nobody needs any more is forgotten, at the next table.
    world.say(snapshot(2, vec![Fact::Agent(Box::new(agent(1))), scheduler("agent-1")]));
    handle.publish(world.table(), VersionRecord::default());
    let event = tokio::time::timeout(Duration::from_secs(30), events.recv()).await.unwrap().unwrap();
    assert!(matches!(&event, ClusterEvent::HostsFound(hosts) if hosts.is_empty()), "{event:?}");
    stop.cancel();
    following.await.unwrap();
}

#[test]
fn what_the_cluster_says_goes_before_what_is_found() {
    let mut world = World::new();
    world.say(snapshot(1, vec![Fact::Agent(Box::new(agent(1))), scheduler("host.example")]));
    let wanted: Vec<String> = world.table().names.wanted_hosts().iter().map(ToString::to_string).collect();
    assert_eq!(wanted, ["host.example"]);
    world.say(found(&[("host.example", &[[10, 9, 0, 1], [10, 9, 0, 2]]), ("other.example", &[[10, 9, 0, 3]])]));
    let both = BTreeSet::from([[10, 9, 0, 1], [10, 9, 0, 2]].map(IpAddr::from));
    assert_eq!(addresses(&world.table()), both);
    // It is stored: after a restart the name is there before anybody has looked it up.
    let stored = world.writer.state().view(world.now).write(Vec::new()).unwrap();
    let state = store::read(&stored[..], Path::new("state"), Arc::new(config()), world.now).unwrap();
    assert_eq!(addresses(&Writer::new(state, 2, world.now).first(world.now)), both);
    // An agent that calls itself so is where the scheduler runs.
    let mut named = agent(7);
    named.hostname = "host.example".into();
    world.facts(1, vec![Fact::Agent(Box::new(named))]);
    assert_eq!(addresses(&world.table()), BTreeSet::from([IpAddr::from([10, 1, 0, 7])]));
    assert!(world.table().names.wanted_hosts().is_empty());
    world.facts(1, vec![Fact::Framework(Box::new(framework("marathon")))]);
    assert_eq!(addresses(&world.table()), BTreeSet::from([framework("marathon").address.unwrap()]));
    // What is no host's name is not asked for.
    for host in ["", "a b", "host..example", "ho\u{fc}st"] {
        world.facts(1, vec![scheduler(host)]);
        assert!(world.table().names.wanted_hosts().is_empty(), "{host:?}");
    }
}
