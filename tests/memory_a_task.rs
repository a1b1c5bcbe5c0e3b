//! What a task takes in memory, with all its names and routes answerable: the only test of this program, so that the
//! resident set's growth is its own. Allocations are the same in every build, so the bounds hold in all.

#![allow(clippy::print_stdout, reason = "a measurement tells its figure")]

mod common;

use std::sync::Arc;

use common::facts::{agent, framework, snapshot};
use common::world::{World, route};
use pointsman::cluster::event::Fact;
use pointsman::model::intern::Interner;
use pointsman::model::task::{DiscoveryPort, Label, PortRange, PortScope, TaskFacts};
use pointsman::table::names::Found;
use pointsman::table::names::ids::id_label;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TASKS: usize = 30_000;

#[test]
fn a_task_takes_little() {
    // A few to warm up; applications of ten tasks; then one each: the worst case for services, routes and names.
    // The bounds leave room for what an allocator rounds up and the pages that a debug build touches.
    for (tasks, tasks_per_app, bound) in [(1000, 1, usize::MAX), (TASKS, 10, 1850), (TASKS, 1, 2600)] {
        let before = resident();
        let mut world = World::new();
        let mut shared = Interner::default();
        let mut facts: Vec<Fact> = (0..250).map(|n| Fact::Agent(Box::new(agent(n)))).collect();
        facts.push(Fact::Framework(Box::new(framework("marathon"))));
        world.say(snapshot(1, facts));
        for batch in 0..tasks / 500 {
            let tasks = (0..500).map(|n| Fact::Task(Box::new(task(batch * 500 + n, tasks_per_app, &mut shared))));
            world.facts(1, tasks.collect());
        }
        let table = world.table();
        assert_eq!(table.tasks.len(), tasks);
        assert_eq!(table.services.len(), tasks / tasks_per_app);
        let last = tasks / tasks_per_app - 1;
        assert!(route(&table, &format!("app-{last}.bench.test"), "/").is_some());
        for name in [format!("app-{last}"), format!("{}.id", id_label(&id(last * tasks_per_app, last)))] {
            let found = table.names.find(&format!("{name}.marathon.mesos"));
            assert!(matches!(&found, Found::Node(_, node) if !node.records.is_empty()), "{name}: {found:?}");
        }
        let bytes = (resident() - before) / tasks;
        println!("{tasks_per_app} tasks an application: {bytes} bytes a task");
        assert!(bytes <= bound, "{tasks_per_app} tasks an application take {bytes} bytes a task, over {bound}");
        // The next figure begins with what this one left: nothing that it gives back may be taken again.
        std::mem::forget((world, table));
    }
}

fn id(task: usize, app: usize) -> String {
    format!("app-{app}.instance-00000000-0000-4000-8000-{task:012x}")
}

/// As a source would tell of it: what comes again and again is shared, ports are the task's own.
fn task(n: usize, tasks_per_app: usize, shared: &mut Interner) -> TaskFacts {
    let app = n / tasks_per_app;
    let number = 1025 + u16::try_from(n % 30_000).unwrap();
    let mut facts = common::facts::task("", "", u8::try_from(n % 250).unwrap(), 0, &[]);
    let name: Arc<str> = shared.intern(&format!("app-{app}"));
    let mut definition = (*facts.definition).clone();
    let label =
        |key: &str, value: &str, shared: &mut Interner| Label { key: shared.intern(key), value: shared.intern(value) };
    definition.labels = Arc::new([
        label("HAPROXY_GROUP", "external", shared),
        label("HAPROXY_0_VHOST", &format!("app-{app}.bench.test"), shared),
    ]);
    definition.labels = shared.intern_labels(definition.labels);
    let discovery = definition.discovery.as_mut().unwrap();
    discovery.name = name.clone();
    discovery.ports = Box::new([DiscoveryPort {
        number,
        name: shared.intern("web"),
        protocol: shared.intern("tcp"),
        scope: PortScope::Host,
        labels: Box::new([]),
    }]);
    definition.name = name;
    definition.host_ports = Box::new([PortRange { begin: number, end: number }]);
    facts.definition = Arc::new(definition);
    let key = common::facts::key("");
    let (cluster, of) = (shared.intern(key.cluster().as_str()), shared.intern(key.framework().as_str()));
    facts.key = pointsman::model::id::TaskKey::new(cluster.into(), of.into(), id(n, app));
    facts.agent = facts.agent.map(|agent| shared.intern(agent.as_str()).into());
    facts
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
