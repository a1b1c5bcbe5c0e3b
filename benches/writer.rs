//! What a change costs: publish time and CPU per event at 1,000 / 100,000 / 1,000,000 tasks, and memory per task.
//!
//! `cargo bench --bench writer` (no harness: it prints a table). Each size is a cluster of its own in one process,
//! so figures of one run compare; memory is the resident set's growth.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use pointsman::cluster::event::{ClusterEvent, FACTS_PER_EVENT, Fact, SnapshotScope, SourceEvent};
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::config::checked::MesosConfig;
use pointsman::model::agent::AgentFacts;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::id::TaskKey;
use pointsman::model::intern::Interner;
use pointsman::model::task::{
    Discovery, DiscoveryPort, Health, Label, NetworkMode, PortRange, PortScope, TaskDefinition, TaskFacts, TaskState,
    TaskStatus,
};
use pointsman::model::time::Timestamp;
use pointsman::table::handle::TableHandle;
use pointsman::table::writer::Writer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 100_000, 1_000_000] } else { sizes };
    println!(
        "| tasks (an application) | load s | bytes a task | status us (publish) | health flip us | add+end us | p99 us | store s | file MB | restore s (reading; CPU s) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for size in sizes {
        // Every task an application of its own is the worst case for names and routes; ten are more like a cluster.
        for per_app in [1, 10] {
            measure(size, per_app);
        }
    }
    large_service();
}

fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.mesos.push(MesosConfig::with_masters("mesos", "mesos", &["127.0.0.1:5050"]));
    Arc::new(config)
}

fn measure(size: usize, per_app: usize) {
    let now = Timestamp(1_700_000_000_000);
    let before = resident();
    let mut interner = Interner::default();
    let started = Instant::now();
    let mut writer = Writer::new(ClusterState::new(config(), now), 1, now);
    let handle = TableHandle::new((*writer.first(now)).clone(), 64);
    let agents = size.div_ceil(100);
    send(&mut writer, &handle, vec![Fact::SnapshotStarted, Fact::Framework(Box::new(framework()))]);
    for chunk in (0..size).collect::<Vec<_>>().chunks(FACTS_PER_EVENT) {
        let facts = chunk.iter().map(|n| Fact::Task(Box::new(task(*n, per_app, &mut interner)))).collect();
        send(&mut writer, &handle, facts);
    }
    for chunk in (0..agents).collect::<Vec<_>>().chunks(FACTS_PER_EVENT) {
        send(&mut writer, &handle, chunk.iter().map(|n| Fact::Agent(Box::new(agent(*n)))).collect());
    }
    send(&mut writer, &handle, vec![Fact::SnapshotFinished(SnapshotScope::default()), Fact::Live]);
    let load = started.elapsed().as_secs_f64();
    let bytes = (resident() - before) as f64 / size as f64;

    let mut state_flip = Vec::new();
    let mut health_flip = Vec::new();
    let mut churn = Vec::new();
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..3000usize {
        let n = random.usize(..size);
        let state = if round % 2 == 0 { TaskState::Killing } else { TaskState::Running };
        state_flip.push(timed(&mut writer, &handle, vec![status(n, per_app, state, None, &mut interner)]));
        send(&mut writer, &handle, vec![status(n, per_app, TaskState::Running, None, &mut interner)]);
        let health = Some(if round % 2 == 0 { Health::Unhealthy } else { Health::Healthy });
        health_flip.push(timed(
            &mut writer,
            &handle,
            vec![status(n, per_app, TaskState::Running, health, &mut interner)],
        ));
        let fresh = size + round;
        let added = timed(&mut writer, &handle, vec![Fact::Task(Box::new(task(fresh, per_app, &mut interner)))]);
        let ended = timed(&mut writer, &handle, vec![status(fresh, per_app, TaskState::Ended, None, &mut interner)]);
        churn.push((added + ended) / 2.0);
    }
    let mut all: Vec<f64> = state_flip.iter().chain(&health_flip).chain(&churn).copied().collect();
    all.sort_by(f64::total_cmp);
    let p99 = all[all.len() * 99 / 100];

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let started = Instant::now();
    writer.state().view(now).save(&path).unwrap();
    let store = started.elapsed().as_secs_f64();
    let file = std::fs::metadata(&path).unwrap().len() as f64 / 1e6;
    drop((writer, handle));
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let state = pointsman::cluster::store::load(&path, config(), now).unwrap();
    let reading = started.elapsed().as_secs_f64();
    let mut writer = Writer::new(state, 2, now);
    assert!(writer.first(now).tasks.len() >= size);
    let (restore, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "| {size} ({per_app}) | {load:.2} | {bytes:.0} | {:.1} | {:.1} | {:.1} | {p99:.1} | {store:.2} | {file:.0} | {restore:.2} ({reading:.2}; {cpu:.2}) |",
        median(&mut state_flip),
        median(&mut health_flip),
        median(&mut churn)
    );
}

/// One event in a service of 10,000 endpoints.
fn large_service() {
    let now = Timestamp(1_700_000_000_000);
    let mut interner = Interner::default();
    let mut writer = Writer::new(ClusterState::new(config(), now), 1, now);
    let handle = TableHandle::new((*writer.first(now)).clone(), 64);
    let mut facts = vec![Fact::SnapshotStarted, Fact::Framework(Box::new(framework()))];
    facts.extend((0..100).map(|n| Fact::Agent(Box::new(agent(n)))));
    // One application of ten thousand.
    facts.extend((0..10_000).map(|n| Fact::Task(Box::new(task(n, usize::MAX, &mut interner)))));
    facts.extend([Fact::SnapshotFinished(SnapshotScope::default()), Fact::Live]);
    send(&mut writer, &handle, facts);
    let mut times = Vec::new();
    for round in 0..2000 {
        let health = Some(if round % 2 == 0 { Health::Unhealthy } else { Health::Healthy });
        times.push(timed(
            &mut writer,
            &handle,
            vec![status(round * 4 % 10_000, usize::MAX, TaskState::Running, health, &mut interner)],
        ));
    }
    times.sort_by(f64::total_cmp);
    println!("\nservice of 10,000 endpoints: an event {:.1} us median, {:.1} us p99", times[1000], times[1980]);
}

fn send(writer: &mut Writer, handle: &TableHandle, facts: Vec<Fact>) {
    let event = ClusterEvent::Source(SourceEvent { source: "mesos".into(), stream: 1, facts });
    if let Some((table, record)) = writer.apply([event], Timestamp(1_700_000_000_000)).table {
        handle.publish(table, record);
    }
}

fn timed(writer: &mut Writer, handle: &TableHandle, facts: Vec<Fact>) -> f64 {
    let started = Instant::now();
    send(writer, handle, facts);
    started.elapsed().as_secs_f64() * 1e6
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn framework() -> FrameworkFacts {
    FrameworkFacts {
        cluster: "mesos".into(),
        id: "0a1b2c3d-0000-4000-8000-000000000000-0000".into(),
        name: "marathon".into(),
        hostname: "marathon".into(),
        address: None,
        port: None,
        principal: "marathon".into(),
        roles: Box::new(["slave_public".into()]),
        connected: true,
    }
}

fn agent(n: usize) -> AgentFacts {
    AgentFacts {
        cluster: "mesos".into(),
        id: format!("0a1b2c3d-0000-4000-8000-000000000000-S{n}").into(),
        hostname: format!("agent-{n}").into(),
        address: Some(address(n)),
        port: Some(5051),
        region: None,
        zone: None,
        active: true,
        recovered: false,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the parts of a number below 2^24")]
fn address(agent: usize) -> IpAddr {
    IpAddr::from([10, 64 + (agent >> 16) as u8, (agent >> 8) as u8, agent as u8])
}

/// A task of an application that has `per_app` of them.
fn key(n: usize, per_app: usize, interner: &mut Interner) -> TaskKey {
    let app = format!("app-{}", n / per_app);
    let framework = interner.intern("0a1b2c3d-0000-4000-8000-000000000000-0000");
    TaskKey::new(
        interner.intern("mesos").into(),
        framework.into(),
        format!("{app}.instance-00000000-0000-4000-8000-{n:012x}"),
    )
}

fn task(n: usize, per_app: usize, interner: &mut Interner) -> TaskFacts {
    let app = interner.intern(&format!("app-{}", n / per_app));
    let number = 1025 + u16::try_from(n % 30_000).unwrap();
    let agent = n / 100;
    let definition = TaskDefinition {
        name: app.clone(),
        labels: labels(&app, interner),
        discovery: Some(Discovery {
            name: app,
            ports: Box::new([DiscoveryPort {
                number,
                name: interner.intern("web"),
                protocol: interner.intern("tcp"),
                scope: PortScope::Unspecified,
                labels: Box::new([]),
            }]),
        }),
        host_ports: Box::new([PortRange { begin: number, end: number }]),
        network: NetworkMode::Host,
        ..TaskDefinition::default()
    };
    TaskFacts {
        key: key(n, per_app, interner),
        agent: Some(interner.intern(&format!("0a1b2c3d-0000-4000-8000-000000000000-S{agent}")).into()),
        state: TaskState::Running,
        health: Health::Healthy,
        held: false,
        addresses: [address(agent)].into_iter().collect(),
        networks: None,
        labelled: None,
        unreachable_since: None,
        definition: Arc::new(definition),
    }
}

/// One list for all tasks of an application, as sources make it.
fn labels(app: &str, interner: &mut Interner) -> Arc<[Label]> {
    let labels = Arc::new([
        Label { key: interner.intern("HAPROXY_GROUP"), value: interner.intern("external") },
        Label { key: interner.intern("HAPROXY_0_VHOST"), value: interner.intern(&format!("{app}.bench.test")) },
    ]);
    interner.intern_labels(labels)
}

fn status(n: usize, per_app: usize, state: TaskState, health: Option<Health>, interner: &mut Interner) -> Fact {
    Fact::Status(Box::new(TaskStatus {
        key: key(n, per_app, interner),
        state,
        health,
        addresses: None,
        agent: None,
        networks: None,
        labelled: None,
        unreachable_since: None,
    }))
}

/// What all threads of the process have used.
fn cpu_seconds() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
