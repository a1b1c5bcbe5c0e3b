//! Serials of zones: a zone's rises when what the zone lists changes, and only then; none ever falls.
//!
//! What a zone lists is read from the table as a transfer reads it, so that the serials are checked against the records
//! themselves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::facts::{FRAMEWORK, agent, config, framework, snapshot, status, task};
use common::ports::unused;
use common::program::{Folder, Program};
use common::world::World;
use hickory_proto::rr::{RData, RecordType};
use nix::sys::signal::Signal;
use pointsman::cluster::event::{ClusterEvent, Fact, RecordData, SnapshotScope, SourceEvent, StaticRecord};
use pointsman::cluster::state::ClusterState;
use pointsman::cluster::store;
use pointsman::config::Config;
use pointsman::config::checked::{FileConfig, NameUnhealthy};
use pointsman::model::network::MastersFacts;
use pointsman::model::serial;
use pointsman::model::task::{Label, TaskFacts, TaskState};
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::writer::Writer;

const MIRROR: &str = "mesos.thisdcos.directory";
const TASKS: &str = "dcos.thisdcos.directory";
const VIPS: &str = "l4lb.thisdcos.directory";
const OTHER: &str = "10.in-addr.arpa";

/// Every kind of zone: the cluster's, a file's two, the reverse tree's, DC/OS's.
fn every_kind() -> Config {
    let mut config = config();
    config.dns.reverse = vec!["10.0.0.0/8".parse().unwrap(), "192.168.0.0/16".parse().unwrap()];
    config.dns.dcos.source = Some("mesos".into());
    let zones = vec!["a.test".into(), "b.test".into()];
    config.files.push(FileConfig { name: "file".into(), path: "f".into(), zones });
    config
}

fn serials(table: &Table) -> BTreeMap<String, u32> {
    table.names.zones().map(|zone| (zone.name.to_string(), zone.serial)).collect()
}

/// What each zone lists, as text.
fn lists(table: &Table) -> BTreeMap<String, String> {
    let list = |zone: &str| format!("{:?}", table.names.list(zone));
    table.names.zones().map(|zone| (zone.name.to_string(), list(&zone.name))).collect()
}

fn records(records: &[(&str, u8)]) -> ClusterEvent {
    let record = |(name, last): &(&str, u8)| StaticRecord {
        name: (*name).into(),
        data: RecordData::A([10, 7, 0, *last].into()),
        ttl: None,
    };
    let scope = SnapshotScope { authoritative: true, ..SnapshotScope::default() };
    let records = Fact::Records(records.iter().map(record).collect());
    let facts = vec![Fact::SnapshotStarted, records, Fact::SnapshotFinished(scope), Fact::Live];
    ClusterEvent::Source(SourceEvent { source: "file".into(), stream: 1, facts })
}

fn masters(leader: u8) -> Fact {
    let masters: Vec<SocketAddr> = (1..=3).map(|last| SocketAddr::from(([10, 9, 0, last], 5050))).collect();
    Fact::Masters(MastersFacts { leader: Some(masters[usize::from(leader)]), masters })
}

fn container(id: &str, name: &str, on: u8, last: u8) -> TaskFacts {
    let mut facts = task(id, name, on, 9000, &[]);
    facts.addresses = [std::net::IpAddr::from([10, 2, 0, last])].into_iter().collect();
    facts
}

fn with_vip(mut facts: TaskFacts, vip: &str) -> TaskFacts {
    let mut definition = (*facts.definition).clone();
    definition.discovery.as_mut().unwrap().ports[0].labels =
        Box::new([Label { key: "VIP_0".into(), value: vip.into() }]);
    facts.definition = Arc::new(definition);
    facts
}

fn said(facts: TaskFacts) -> Fact {
    Fact::Task(Box::new(facts))
}

/// Two tasks of one name, two agents, three masters.
fn populated(config: Config) -> World {
    let mut world = World::with(config);
    world.say(records(&[("www.a.test", 1), ("www.b.test", 1)]));
    let facts = vec![
        Fact::Agent(Box::new(agent(1))),
        Fact::Agent(Box::new(agent(2))),
        Fact::Framework(Box::new(framework("marathon"))),
        masters(0),
        said(container("t1", "web", 1, 1)),
        said(container("t2", "web", 2, 2)),
        said(with_vip(container("t3", "db", 1, 3), "db:80")),
    ];
    world.say(snapshot(1, facts));
    world
}

/// The zones whose serial rises with these facts, in the order of their names.
fn risen(world: &mut World, facts: Vec<Fact>) -> Vec<String> {
    let before = serials(&world.table());
    world.facts(1, facts);
    let after = serials(&world.table());
    after.iter().filter(|(zone, serial)| before[*zone] != **serial).map(|(zone, _)| zone.clone()).collect()
}

/// … without the names that DC/OS has for the same zones.
fn told(world: &mut World, facts: Vec<Fact>) -> Vec<String> {
    let mut zones = risen(world, facts);
    zones.retain(|zone| !zone.ends_with("thisdcos.global") && !zone.starts_with("dclb."));
    zones
}

#[test]
fn a_change_raises_the_zones_that_show_it_and_no_others() {
    let mut world = populated(every_kind());
    let health = |id: &str, healthy| Fact::Status(Box::new(status(id, TaskState::Running, Some(healthy))));
    // A verdict is in the task's TXT record, which DC/OS's zones do not have.
    assert_eq!(told(&mut world, vec![health("t1", true)]), ["mesos"]);
    assert_eq!(told(&mut world, vec![health("t1", true)]), [""; 0]);
    assert_eq!(told(&mut world, vec![health("t1", false)]), [TASKS, "mesos", MIRROR]);
    assert_eq!(told(&mut world, vec![health("t1", true)]), [TASKS, "mesos", MIRROR]);
    let moved = told(&mut world, vec![said(container("t1", "web", 1, 9))]);
    assert_eq!(moved, [OTHER, TASKS, "mesos", MIRROR]);
    assert_eq!(told(&mut world, vec![masters(1)]), [TASKS, "mesos", MIRROR]);
    let fewer =
        MastersFacts { leader: Some(([10, 9, 0, 2], 5050).into()), masters: vec![([10, 9, 0, 2], 5050).into()] };
    assert_eq!(told(&mut world, vec![Fact::Masters(fewer)]), [TASKS, "mesos", MIRROR, "zk"]);
    let vip = said(with_vip(container("t3", "db", 1, 3), "other:80"));
    assert!(told(&mut world, vec![vip]).contains(&VIPS.to_owned()));
    // Nobody names an agent's standing with its master, nor a scheduler's connection.
    let mut resting = agent(2);
    resting.active = false;
    assert_eq!(told(&mut world, vec![Fact::Agent(Box::new(resting.clone()))]), [""; 0]);
    let mut away = framework("marathon");
    away.connected = false;
    assert_eq!(told(&mut world, vec![Fact::Framework(Box::new(away.clone()))]), [""; 0]);
    resting.hostname = "renamed".into();
    assert_eq!(told(&mut world, vec![Fact::Agent(Box::new(resting))]), [OTHER, "mesos", MIRROR]);
    away.address = Some([10, 9, 9, 8].into());
    assert_eq!(told(&mut world, vec![Fact::Framework(Box::new(away))]), ["mesos", MIRROR]);
    let gone = told(&mut world, vec![Fact::Status(Box::new(status("t2", TaskState::Ended, None)))]);
    assert_eq!(gone, [OTHER, TASKS, "mesos", MIRROR]);
    // A name that is held for a while, and then not, has no records in between.
    world.pass(24 * 3600);
    assert_eq!(told(&mut world, vec![]), [""; 0]);
}

#[test]
fn a_change_of_health_that_no_name_shows_leaves_every_serial() {
    let mut config = every_kind();
    config.dns.name_unhealthy = NameUnhealthy::Always;
    config.dns.extra_names.clear();
    let mut world = populated(config);
    for healthy in [true, false, true] {
        let verdict = Fact::Status(Box::new(status("t1", TaskState::Running, Some(healthy))));
        assert_eq!(risen(&mut world, vec![verdict]), [""; 0]);
    }
    // Nor does one that is not named yet.
    let mut staged = container("t9", "web", 1, 9);
    staged.state = TaskState::Staging;
    assert_eq!(risen(&mut world, vec![said(staged.clone())]), [""; 0]);
    staged.state = TaskState::Running;
    assert!(risen(&mut world, vec![said(staged)]).contains(&"mesos".to_owned()));
}

#[test]
fn a_file_that_changes_one_zone_leaves_its_others() {
    let mut world = populated(every_kind());
    let before = serials(&world.table());
    world.say(records(&[("www.a.test", 1), ("www.b.test", 2)]));
    let after = serials(&world.table());
    let risen: Vec<_> =
        after.iter().filter(|(zone, serial)| before[*zone] != **serial).map(|(zone, _)| &**zone).collect();
    assert_eq!(risen, ["b.test"]);
    world.say(records(&[("www.b.test", 2), ("www.a.test", 1)]));
    assert_eq!(serials(&world.table()), after, "the same records in another order");
}

#[test]
fn settings_that_every_record_has_raise_all_zones_and_others_none() {
    let mut world = populated(every_kind());
    let before = serials(&world.table());
    let mut config = every_kind();
    config.server.history = 7;
    world.say(ClusterEvent::Configured(Arc::new(config.clone())));
    assert_eq!(serials(&world.table()), before);
    config.dns.ttl_seconds += 1;
    world.say(ClusterEvent::Configured(Arc::new(config)));
    let after = serials(&world.table());
    assert!(before.iter().all(|(zone, serial)| after[zone] > *serial), "{before:?}\n{after:?}");
}

/// One of many things that happen to a cluster.
fn happening(random: &mut fastrand::Rng) -> Fact {
    let id = format!("t{}", random.u8(1..7));
    let states =
        [TaskState::Running, TaskState::Running, TaskState::Running, TaskState::Killing, TaskState::Unreachable];
    let state = states[random.usize(..states.len())];
    match random.u8(..10) {
        0..2 => {
            let name = ["web", "db", "web.of-all", "x"][random.usize(..4)];
            let facts = container(&id, name, random.u8(1..4), random.u8(1..9));
            said(if random.bool() { with_vip(facts, "vip:80") } else { facts })
        }
        2..6 => Fact::Status(Box::new(status(&id, state, [None, Some(true), Some(false)][random.usize(..3)]))),
        6 => Fact::Status(Box::new(status(&id, TaskState::Ended, None))),
        7 => {
            let mut facts = agent(random.u8(1..4));
            facts.active = random.bool();
            facts.zone = random.bool().then(|| "z1".into());
            facts.hostname = ["here", "there"][random.usize(..2)].into();
            Fact::Agent(Box::new(facts))
        }
        8 => masters(random.u8(..3)),
        _ => {
            let mut facts = framework(["marathon", "of.dots"][random.usize(..2)]);
            facts.connected = random.bool();
            facts.id = FRAMEWORK.into();
            Fact::Framework(Box::new(facts))
        }
    }
}

#[test]
fn whatever_happens_serials_tell_whether_a_zone_lists_something_else() {
    let mut rises = 0;
    for seed in 0..if std::env::var_os("POINTSMAN_FULL").is_some() { 200 } else { 12 } {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = populated(every_kind());
        let mut before = (lists(&world.table()), serials(&world.table()));
        for step in 0..60 {
            let fact = happening(&mut random);
            let what = format!("seed {seed} step {step} {fact:?}");
            world.facts(1, vec![fact]);
            let after = (lists(&world.table()), serials(&world.table()));
            for (zone, list) in &after.0 {
                let (old, new) = (before.1[zone], after.1[zone]);
                if *list != before.0[zone] {
                    rises += 1;
                    assert!(new > old, "{what}: {zone} lists something else");
                } else if !zone.contains("thisdcos") && !zone.starts_with("dclb.") {
                    // Two tasks may show the same in DC/OS's zones, where no name is one task's alone.
                    assert_eq!(new, old, "{what}: {zone} lists the same");
                }
            }
            before = after;
        }
    }
    assert!(rises > 100, "{rises}");
}

/// The state as it is stored, read again with this configuration.
fn restarted(world: &World, config: Config, now: Timestamp) -> World {
    let stored = world.writer.state().view(world.now).write(Vec::new()).unwrap();
    let state = store::read(&stored[..], std::path::Path::new("state"), Arc::new(config), now).unwrap();
    World { writer: Writer::new(state, 2, now), now }
}

#[test]
fn a_restart_keeps_the_serials_of_zones_that_are_as_they_were() {
    let mut world = populated(every_kind());
    // Many changes at once: serials run ahead of the clock.
    for last in 0..50 {
        world.facts(1, vec![said(container("t1", "web", 1, last))]);
    }
    let before = serials(&world.table());
    assert!(serial::is_later(before["mesos"], serial::at(world.now)));
    let mut again = restarted(&world, every_kind(), world.now.plus(Duration::from_secs(5)));
    assert_eq!(serials(&again.table()), before);
    let mut config = every_kind();
    config.dns.negative_ttl_seconds += 1;
    let mut other = restarted(&world, config, world.now.plus(Duration::from_secs(5)));
    assert!(serials(&other.table()).iter().all(|(zone, serial)| *serial > before[zone]));
}

#[test]
fn records_of_a_file_are_stored_in_pieces_and_come_back_whole() {
    let mut world = World::with(every_kind());
    let names: Vec<String> = (0..1000).map(|n| format!("h{n}.a.test")).collect();
    let all: Vec<(&str, u8)> = names.iter().map(|name| (&**name, u8::try_from(name.len()).unwrap())).collect();
    world.say(records(&all));
    world.say(snapshot(1, Vec::new()));
    let before = lists(&world.table());
    assert_eq!(world.table().names.list("a.test").unwrap().len(), 1000);
    let mut again = restarted(&world, every_kind(), world.now.plus(Duration::from_secs(5)));
    assert_eq!(lists(&again.table()), before);
    // The file that is read again says nothing new.
    let serials_before = serials(&again.table());
    again.say(records(&all));
    assert_eq!(serials(&again.table()), serials_before);
}

/// A life that knows nothing of any other, with one address in the cluster.
fn fresh(now: Timestamp) -> World {
    let mut world = World { writer: Writer::new(ClusterState::new(Arc::new(every_kind()), now), 3, now), now };
    world.say(records(&[]));
    let framework = Fact::Framework(Box::new(framework("marathon")));
    world.say(snapshot(1, vec![Fact::Agent(Box::new(agent(1))), framework, said(container("t1", "web", 1, 77))]));
    world
}

fn mesos(world: &mut World) -> u32 {
    serials(&world.table())["mesos"]
}

#[test]
fn without_the_stored_state_serials_follow_the_clock() {
    let before = serials(&World::with(every_kind()).table());
    assert_eq!((before["mesos"], before["a.test"], before[OTHER]), (0, 0, 0), "nothing is said before a zone is ready");
    let mut world = populated(every_kind());
    assert_eq!(mesos(&mut world), serial::first(world.now));
    world.pass(3600);
    world.facts(1, vec![said(container("t1", "web", 1, 77))]);
    assert_eq!(mesos(&mut world), serial::at(world.now), "the clock has caught up");
    // A life that knows nothing of this one, a moment later.
    let mut other = fresh(world.now.plus(Duration::from_secs(1)));
    assert!(serial::is_later(mesos(&mut other), mesos(&mut world)));
}

#[test]
fn a_lost_state_lowers_no_serial_however_busy_the_zone_was() {
    // Fifty changes a second from the first moment on; then a thousand within one, after an hour of rest.
    for (changes, apart, rest) in [(2000, 20, 0), (1000, 1, 3600)] {
        let mut world = fresh(Timestamp(1_700_000_000_000));
        world.pass(rest);
        for n in 0..changes {
            world.now = world.now.plus(Duration::from_millis(apart));
            world.facts(1, vec![said(container("t1", "web", 1, if n % 2 == 0 { 1 } else { 2 }))]);
        }
        let last = mesos(&mut world);
        assert!(rest > 0 || serial::is_later(last, serial::at(world.now)), "the changes count");
        let mut other = fresh(world.now.plus(Duration::from_secs(1)));
        assert!(serial::is_later(mesos(&mut other), last), "{changes} changes {apart} ms apart");
    }
}

#[test]
fn serials_go_on_rising_where_the_clock_goes_round() {
    // An hour before 2³² ticks are full again, as they are after every 2²⁶ seconds.
    let turn = (27 << 26) * 1000;
    let mut world = fresh(Timestamp(turn - 3_600_000));
    let first = mesos(&mut world);
    let mut last = first;
    for (n, moment) in [turn - 400, turn - 100, turn + 200, turn + 500].into_iter().enumerate() {
        world.now = Timestamp(moment);
        world.facts(1, vec![said(container("t1", "web", 1, u8::try_from(n).unwrap()))]);
        let next = mesos(&mut world);
        assert_eq!(next, serial::at(world.now));
        assert!(serial::is_later(next, last), "{next} after {last}");
        last = next;
    }
    assert!(last < first, "{last} is a small number");
    let mut other = restarted(&world, every_kind(), world.now.plus(Duration::from_secs(5)));
    assert_eq!(mesos(&mut other), last);
}

// --- the program

/// A program that serves one zone from a file, with a stored state.
struct Served {
    folder: Folder,
    names: SocketAddr,
}

impl Served {
    fn new() -> Self {
        let served = Self { folder: Folder::new(), names: unused() };
        let names = served.names;
        served.folder.configure(&format!(
            "[state]\npath = \"state\"\ninterval = \"1s\"\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
             zones = [\"a.test\"]\n[dns]\nlisten = [\"{names}\"]\n"
        ));
        served
    }

    fn write(&self, last: u8) {
        let record = format!("[[records]]\nname = \"www.a.test\"\ntype = \"A\"\nvalue = \"10.0.0.{last}\"\n");
        self.folder.write("services.toml", record);
    }

    fn start(&self) -> Program {
        let mut program = self.folder.start();
        program.until_ready();
        program
    }

    /// The zone's serial while `www.a.test` is 10.0.0.LAST.
    fn serial(&self, program: &mut Program, last: u8) -> u32 {
        let ask = |name: &str, record_type| common::dns::over_udp(self.names, name, record_type).answers;
        let expected = RData::A(std::net::Ipv4Addr::new(10, 0, 0, last).into());
        program.until("the record is served", |_| {
            ask("www.a.test.", RecordType::A).iter().any(|record| record.data == expected)
        });
        match &ask("a.test.", RecordType::SOA)[0].data {
            RData::SOA(soa) => soa.serial,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_program_that_ends_in_good_order_goes_on_with_its_serials() {
    let served = Served::new();
    served.write(1);
    let mut program = served.start();
    let first = served.serial(&mut program, 1);
    served.write(2);
    let second = served.serial(&mut program, 2);
    assert!(second > first);
    program.stop();
    let mut program = served.start();
    assert_eq!(served.serial(&mut program, 2), second);
    // The mark of a good end is gone: it counts for one start.
    assert!(!served.folder.path("state.last").exists());
    program.stop();
    assert!(served.folder.path("state.last").exists());
}

#[test]
fn a_program_that_is_killed_says_no_lower_serial_than_before() {
    let served = Served::new();
    served.write(1);
    let mut program = served.start();
    let mut last = served.serial(&mut program, 1);
    // The state is stored a second after a change at the earliest: the last serials are not in it.
    for change in 2..8 {
        served.write(change);
        last = served.serial(&mut program, change);
    }
    program.signal(Signal::SIGKILL);
    program.ended();
    // What it had said first, and nobody knows what after it.
    served.write(1);
    let mut program = served.start();
    let again = served.serial(&mut program, 1);
    assert!(again == last || serial::is_later(again, last), "{again} after {last}");
    program.stop();
}
