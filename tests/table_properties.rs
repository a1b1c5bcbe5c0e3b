//! Properties of the table: what order and batching may not change, and that incremental equals rebuilt.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::facts::{CLUSTER, agent, config, event, framework, key, snapshot, status, task};
use pointsman::cluster::event::{ClusterEvent, Command, DeclaredApp, Fact};
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::model::drain::DrainSubject;
use pointsman::model::task::{
    AppFacts, Discovery, DiscoveryPort, Label, NetworkMode, PortRange, PortScope, TaskDefinition, TaskState,
};
use pointsman::model::time::Timestamp;
use pointsman::table::dump::dump;
use pointsman::table::writer::Writer;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn writer() -> Writer {
    writer_with(config())
}

fn writer_with(config: Config) -> Writer {
    Writer::new(ClusterState::new(Arc::new(config), NOW), 7, NOW)
}

/// What one task goes through, in its own order.
#[derive(Clone, Debug)]
enum Step {
    Added { agent: u8, name: u8, labels: u8 },
    Status(TaskState, Option<bool>),
}

fn step() -> impl Strategy<Value = Step> {
    let states = prop::sample::select(vec![
        TaskState::Staging,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Running,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Unreachable,
        TaskState::Lost,
        TaskState::Ended,
    ]);
    prop_oneof![
        2 => (0u8..4, 0u8..5, 0u8..9).prop_map(|(agent, name, labels)| Step::Added { agent, name, labels }),
        5 => (states, any::<Option<bool>>()).prop_map(|(state, health)| Step::Status(state, health)),
    ]
}

fn labels(which: u8) -> Vec<(&'static str, &'static str)> {
    match which {
        0 => vec![],
        1 => vec![("pointsman.host", "a.example.com")],
        2 => vec![("pointsman.host", "a.example.com"), ("pointsman.path", "/x")],
        3 => vec![
            ("pointsman.host", "*.example.com"),
            ("pointsman.weight", "7"),
            ("pointsman.sticky", "true"),
            ("pointsman.balance", "hash:address"),
        ],
        4 => vec![("pointsman.nonsense", "1"), ("pointsman.host", "bad host")],
        6 => vec![("pointsman.host", "a.example.com"), ("pointsman.weight", "0")],
        7 => vec![("pointsman.host", "a.example.com"), ("pointsman.version", "v2"), ("pointsman.version_weight", "3")],
        8 => vec![
            ("HAPROXY_GROUP", "external"),
            ("HAPROXY_0_VHOST", "b.example.com"),
            ("HAPROXY_DEPLOYMENT_GROUP", "app"),
            ("HAPROXY_DEPLOYMENT_COLOUR", "green"),
            ("HAPROXY_DEPLOYMENT_STARTED_AT", "2016-02-01T14:57:54.371005"),
            ("HAPROXY_DEPLOYMENT_TARGET_INSTANCES", "3"),
            ("HAPROXY_DEPLOYMENT_ALT_PORT", "10001"),
        ],
        _ => vec![("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "b.example.com,c.example.com")],
    }
}

fn fact(number: usize, step: &Step) -> Fact {
    let id = format!("t{number}");
    match step {
        Step::Added { agent, name, labels: which } => {
            let port = 9000 + u16::try_from(number).unwrap();
            Fact::Task(Box::new(task(&id, &format!("app.{name}"), *agent, port, &labels(*which))))
        }
        Step::Status(state, health) => Fact::Status(Box::new(status(&id, *state, *health))),
    }
}

/// Merges the tasks' own sequences in an order drawn from `seed`, with the agents' and the framework's events between.
fn interleave(tasks: &[Vec<Step>], seed: u64) -> Vec<Fact> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut queues: Vec<Vec<Fact>> = tasks
        .iter()
        .enumerate()
        .map(|(number, steps)| steps.iter().rev().map(|step| fact(number, step)).collect())
        .collect();
    queues.extend((0..4).map(|number| vec![Fact::Agent(Box::new(agent(number)))]));
    queues.push(vec![Fact::Framework(Box::new(framework("marathon"))), Fact::Framework(Box::new(framework("old")))]);
    let mut out = Vec::new();
    while !queues.is_empty() {
        let at = random.usize(..queues.len());
        match queues[at].pop() {
            Some(fact) => out.push(fact),
            None => drop(queues.swap_remove(at)),
        }
    }
    out
}

fn batches(facts: Vec<Fact>, seed: u64) -> Vec<Vec<ClusterEvent>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut out = Vec::new();
    let mut facts = facts.into_iter().peekable();
    while facts.peek().is_some() {
        let size = random.usize(1..6);
        out.push(facts.by_ref().take(size).map(|fact| event(1, vec![fact])).collect());
    }
    out
}

/// Claims made at one time are settled by the service's id, so the order of arrival cannot decide.
fn run(tasks: &[Vec<Step>], seed: u64) -> (Writer, String) {
    run_with(writer(), tasks, seed)
}

fn run_with(mut writer: Writer, tasks: &[Vec<Step>], seed: u64) -> (Writer, String) {
    writer.apply([snapshot(1, vec![])], NOW);
    for batch in batches(interleave(tasks, seed), seed ^ 0x5555) {
        writer.apply(batch, NOW);
    }
    let text = dump(&writer.first(NOW));
    (writer, text)
}

/// The same where nothing outlives its tasks: what is left hangs on the last facts alone.
fn run_forgetful(tasks: &[Vec<Step>], seed: u64) -> String {
    let mut config = config();
    config.server.service_retention = Duration::ZERO;
    let (mut writer, _) = run_with(writer_with(config), tasks, seed);
    // What was emptied by the last batch is forgotten now.
    writer.apply([ClusterEvent::DeadlineReached], NOW);
    dump(&writer.first(NOW))
}

/// Takes a task and an agent out of service, and puts some back.
fn drain_some(writer: &mut Writer, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed ^ 0xaaaa);
    let actor: Arc<str> = "test".into();
    for _ in 0..4 {
        let subject = match random.bool() {
            true => DrainSubject::Task(key(&format!("t{}", random.usize(..8)))),
            false => DrainSubject::Agent(CLUSTER.into(), agent(random.u8(..4)).id),
        };
        let command = match random.usize(..4) {
            0 => Command::Undrain { subject, actor: actor.clone() },
            _ => Command::Drain { subject, actor: actor.clone() },
        };
        writer.apply([ClusterEvent::Command(command)], NOW);
    }
    dump(&writer.first(NOW))
}

/// Lists some apps, without a task or with some of the tasks there are, and some no more.
fn list_some(writer: &mut Writer, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x3333);
    for _ in 0..6 {
        let name = random.u8(..4);
        let key = key(&format!("/app/{name}"));
        let fact = match random.usize(..3) {
            0 => Fact::AppGone(key),
            _ => {
                let definition = task("x", &format!("app.{name}"), 0, 1, &labels(random.u8(..6))).definition;
                Fact::App(Box::new(DeclaredApp { key, definition }))
            }
        };
        writer.apply([event(1, vec![fact])], NOW);
    }
}

/// Six ports to assign, and in all eight apps that may want one.
fn assigning() -> Config {
    let mut config = config();
    config.proxy.service_ports.addresses = vec![[127, 0, 0, 1].into()];
    config.proxy.service_ports.assigned = Some(PortRange { begin: 10_000, end: 10_005 });
    config
}

/// An app whose tasks have addresses of their own: without a service port, but for the last, which has one of the range.
fn app_of(number: u8) -> DeclaredApp {
    let port = DiscoveryPort {
        number: 8080,
        name: "http".into(),
        protocol: "tcp".into(),
        scope: PortScope::Container,
        labels: Box::new([]),
    };
    let name: Arc<str> = format!("app.{number}").into();
    let service_port = if number == 7 { 10_003 } else { 0 };
    let facts = AppFacts {
        id: format!("/app/{number}").into(),
        service_ports: Box::new([service_port]),
        ..AppFacts::default()
    };
    let definition = TaskDefinition {
        name: name.clone(),
        labels: Arc::new([Label { key: "HAPROXY_GROUP".into(), value: "external".into() }]),
        discovery: Some(Discovery { name, ports: Box::new([port]) }),
        network: NetworkMode::Container,
        app: Some(Arc::new(facts)),
        ..TaskDefinition::default()
    };
    DeclaredApp { key: key(&format!("/app/{number}")), definition: Arc::new(definition) }
}

/// A table with these batches of apps that come (`true`) and go.
fn assigned(batches: &[Vec<(u8, bool)>]) -> Writer {
    let mut writer = Writer::new(ClusterState::new(Arc::new(assigning()), NOW), 7, NOW);
    writer.apply([snapshot(1, vec![Fact::Framework(Box::new(framework("marathon")))])], NOW);
    for batch in batches {
        let facts = batch.iter().map(|(number, is_there)| match is_there {
            true => Fact::App(Box::new(app_of(*number))),
            false => Fact::AppGone(app_of(*number).key),
        });
        writer.apply([event(1, facts.collect())], NOW);
    }
    writer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("POINTSMAN_FULL").is_some() { 20_000 } else { 300 }))]

    #[test]
    fn order_and_batching_do_not_matter(
        tasks in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..8),
        seeds in (any::<u64>(), any::<u64>()),
    ) {
        let (_, first) = run(&tasks, seeds.0);
        let (_, second) = run(&tasks, seeds.1);
        // Services that were emptied on the way are retained or not as the order has it; what serves may not differ.
        prop_assert_eq!(living(&first), living(&second));
    }

    /// Routes, conflicts of claims, names, readiness and digest included.
    #[test]
    fn without_retention_the_whole_table_is_the_same_in_any_order(
        tasks in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..8),
        seeds in (any::<u64>(), any::<u64>()),
    ) {
        prop_assert_eq!(run_forgetful(&tasks, seeds.0), run_forgetful(&tasks, seeds.1));
    }

    /// What answers are given from is kept once it was asked for: for the version that was asked, and no other one.
    #[test]
    fn what_was_asked_for_before_changes_no_answer(
        tasks in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..8),
        seed in any::<u64>(),
    ) {
        let (mut asked, mut silent) = (writer(), writer());
        let mut said = Vec::new();
        let begin = std::iter::once(vec![snapshot(1, vec![])]);
        for batch in begin.chain(batches(interleave(&tasks, seed), seed ^ 0x5555)) {
            silent.apply(batch.clone(), NOW);
            asked.apply(batch, NOW);
            let table = asked.first(NOW);
            let names = table.names.list("mesos");
            said.push((table, names));
        }
        let fresh = silent.first(NOW).names.list("mesos");
        prop_assert!(fresh.is_some());
        prop_assert_eq!(&said.last().unwrap().1, &fresh);
        for (table, names) in &said {
            prop_assert_eq!(&table.names.list("mesos"), names);
        }
    }

    #[test]
    fn incremental_equals_rebuilt(
        tasks in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..8),
        seed in any::<u64>(),
        panic_threshold in prop::sample::select(vec![0.0, 0.5, 0.8]),
    ) {
        let mut config = config();
        config.routing.panic_threshold = panic_threshold;
        let (mut writer, _) = run_with(writer_with(config.clone()), &tasks, seed);
        list_some(&mut writer, seed);
        let incremental = drain_some(&mut writer, seed);
        writer.apply([ClusterEvent::Configured(Arc::new(config))], NOW);
        let rebuilt = dump(&writer.first(NOW));
        prop_assert_eq!(incremental, rebuilt);
    }

    #[test]
    fn what_is_stored_and_loaded_gives_the_same_table(
        tasks in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..8),
        seed in any::<u64>(),
    ) {
        let (mut writer, _) = run(&tasks, seed);
        let before = drain_some(&mut writer, seed);
        let bytes = writer.state().view(NOW).write(Vec::new()).unwrap();
        let path = std::path::Path::new("state");
        let state = pointsman::cluster::store::read(&bytes[..], path, Arc::new(config()), NOW).unwrap();
        let after = dump(&Writer::new(state, 8, NOW).first(NOW));
        prop_assert_eq!(before, after);
    }

    /// Which ports apps are assigned follows from which apps there are, and from nothing that was.
    #[test]
    fn assigned_ports_do_not_depend_on_what_was(
        batches in prop::collection::vec(prop::collection::vec((0u8..7, any::<bool>()), 1..4), 1..12),
        own in prop::option::of(any::<prop::sample::Index>()),
        seed in any::<u64>(),
    ) {
        let mut batches = batches;
        // One that has a port of the range from Marathon, and may find it assigned.
        if let Some(at) = own {
            batches.insert(at.index(batches.len() + 1), vec![(7, true)]);
        }
        let mut writer = assigned(&batches);
        let with_history = dump(&writer.first(NOW));
        let last = |number: &u8| batches.iter().flatten().rev().find(|(of, _)| of == number);
        let mut there: Vec<u8> = (0..8).filter(|number| last(number).is_some_and(|(_, is_there)| *is_there)).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut there);
        let at_once: [Vec<(u8, bool)>; 1] = [there.iter().map(|number| (*number, true)).collect()];
        prop_assert_eq!(&with_history, &dump(&assigned(&at_once).first(NOW)));
        let ports = with_history.lines().filter(|line| line.starts_with("port ")).count();
        prop_assert_eq!(ports, there.len().min(6));
        let untold = there.len() - ports;
        let told = with_history.lines().filter(|line| line.starts_with("problem port-unavailable")).count();
        prop_assert_eq!(told, untold, "{}", with_history);
        // Anew from the same facts, and from what is stored of them.
        writer.apply([ClusterEvent::Configured(Arc::new(assigning()))], NOW);
        prop_assert_eq!(&with_history, &dump(&writer.first(NOW)));
        let bytes = writer.state().view(NOW).write(Vec::new()).unwrap();
        let path = std::path::Path::new("state");
        let state = pointsman::cluster::store::read(&bytes[..], path, Arc::new(assigning()), NOW).unwrap();
        prop_assert_eq!(&with_history, &dump(&Writer::new(state, 8, NOW).first(NOW)));
    }

    #[test]
    fn a_damaged_state_is_refused(
        tasks in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..4),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        cut in any::<bool>(),
    ) {
        let (writer, _) = run(&tasks, 1);
        let mut bytes = writer.state().view(NOW).write(Vec::new()).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        let path = std::path::Path::new("state");
        let read = pointsman::cluster::store::read(&bytes[..], path, Arc::new(config()), NOW);
        prop_assert!(read.is_err());
    }
}

#[test]
fn the_whole_table_has_the_routes_and_conflicts_that_are_compared() {
    let added = |name: u8, labels: u8| vec![Step::Added { agent: 1, name, labels }];
    // Three apps claim one host, one of them is gone in the end; a fourth has another.
    let tasks = [added(0, 1), added(1, 1), added(3, 5), {
        let mut ends = added(2, 1);
        ends.push(Step::Status(TaskState::Ended, None));
        ends
    }];
    let first = run_forgetful(&tasks, 1);
    let has = |begin: &str| first.lines().filter(|line| line.starts_with(begin)).count();
    assert_eq!((has("route a.example.com/"), has("route b.example.com/"), has("route ")), (1, 1, 3), "{first}");
    assert_eq!((has("problem route-conflict"), has("ready true")), (1, 1), "{first}");
    assert!(!first.contains("retained=true"), "{first}");
    for seed in 2..40 {
        assert_eq!(run_forgetful(&tasks, seed), first, "seed {seed}");
    }
}

/// The lines of a dump without what merely outlives tasks.
fn living(dump: &str) -> String {
    let outlives = |line: &&str| {
        let begins =
            ["route ", "problem route-conflict", "ready ", "  above"].iter().any(|begin| line.starts_with(begin));
        let empty_name = line.starts_with("  name ") && line.ends_with(": ");
        begins || empty_name || line.contains("retained=true")
    };
    dump.lines().filter(|line| !outlives(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_status_of_an_unknown_task_changes_nothing() {
    let mut writer = writer();
    writer.apply([snapshot(1, vec![])], NOW);
    let status = Fact::Status(Box::new(status("nobody", TaskState::Running, None)));
    assert!(writer.apply([event(1, vec![status])], NOW).table.is_none());
    assert_eq!(writer.state().ignored(), 1);
}

#[test]
fn repeated_facts_publish_nothing() {
    let mut writer = writer();
    let facts = || Fact::Task(Box::new(task("t1", "web", 1, 9000, &[])));
    writer.apply([snapshot(1, vec![facts(), Fact::Agent(Box::new(agent(1)))])], NOW);
    let unhealthy = || event(1, vec![Fact::Status(Box::new(status("t1", TaskState::Running, Some(false))))]);
    assert!(writer.apply([unhealthy()], NOW).table.is_some());
    assert!(writer.apply([unhealthy()], NOW).table.is_none());
    assert!(writer.state().task(&key("t1")).is_some());
}

/// So many that several threads read and derive them.
#[test]
fn a_large_state_is_restored_as_it_was() {
    let mut writer = writer();
    // Two tasks a service, and some that contend for one host.
    let facts = (0..6000).map(|n| {
        let host = format!("app-{}.test", if n % 100 == 0 { 0 } else { n / 2 });
        let name = format!("app-{}", n / 2);
        Fact::Task(Box::new(task(
            &format!("t{n}"),
            &name,
            u8::try_from(n % 4).unwrap(),
            9000,
            &[("pointsman.host", &host)],
        )))
    });
    let others =
        (0..4).map(|n| Fact::Agent(Box::new(agent(n)))).chain([Fact::Framework(Box::new(framework("marathon")))]);
    writer.apply([snapshot(1, facts.chain(others).collect())], NOW);
    let before = dump(&writer.first(NOW));
    assert!(before.lines().filter(|line| line.starts_with("task ")).count() == 6000);
    assert!(before.contains("problem route-conflict"), "some contend");
    let bytes = writer.state().view(NOW).write(Vec::new()).unwrap();
    let path = std::path::Path::new("state");
    let state = pointsman::cluster::store::read(&bytes[..], path, Arc::new(config()), NOW).unwrap();
    let after = dump(&Writer::new(state, 8, NOW).first(NOW));
    assert!(before == after, "the restored table is another one");
    // Cut anywhere, it is refused as a small one is.
    for part in 1..8 {
        let read = pointsman::cluster::store::read(&bytes[..bytes.len() * part / 8], path, Arc::new(config()), NOW);
        assert!(read.is_err(), "{part}/8 of it");
    }
}
