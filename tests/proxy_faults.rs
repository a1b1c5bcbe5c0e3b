//! Faults end to end: the real program, tasks as processes of their own, and clients that ask without a pause over
//! HTTP/1.1, HTTP/2, TLS and WebSocket while tasks are killed, frozen, slow, reset connections or have no time, while an
//! agent is cut off, and while certificates change.
//!
//! Where another task is well, not one request may be lost that may be asked again, and no handshake of a WebSocket;
//! each loss of one that may not is explained. `POINTSMAN_FULL=1` asks 100,000 times of each kind and case.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;
mod faults_support;
mod load;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faults_support::namespace::Namespace;
use faults_support::task::{self, Task};
use faults_support::{World, least};
use load::socket::Socket;
use load::{Kind, Load, soon};
use nix::sys::signal::Signal;

/// Not a test: what the tasks of the others run.
#[test]
fn plays_a_task_where_one_is_asked_for() {
    task::play();
}

/// One at a time: each loads the machine by itself.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// What is told of a request that may have acted, and of which nothing more is known.
const EXPLAINED: [&str; 6] = [
    "HTTP/1.1 502 Bad Gateway upstream-reset",
    "HTTP/2 502 upstream-reset",
    "HTTP/1.1 504 Gateway Timeout response-timeout",
    "HTTP/2 504 response-timeout",
    // The task's own word.
    "HTTP/1.1 503 Service Unavailable ",
    "HTTP/2 503 ",
];

/// Runs load while some tasks are in trouble, and says what became of it.
fn check(what: &str, world: &mut World, begin: impl FnOnce(&mut World), end: impl FnOnce(&mut World)) {
    let all = [Kind::Http1, Kind::Http2, Kind::Tls, Kind::Socket, Kind::Post];
    block_on(async {
        let load = Load::start(&world.target, &all);
        load.more(&all, 30).await;
        let before = world.retries();
        begin(world);
        load.more(&Kind::REPEATABLE, least()).await;
        // Requests may be answered elsewhere so fast that those which met the trouble still wait for their time to end.
        let limit = Instant::now() + Duration::from_secs(20);
        while world.retries() == before && Instant::now() < limit {
            load.more(&Kind::REPEATABLE, 10).await;
        }
        let retries = world.retries() - before;
        end(world);
        load.more(&all, 30).await;
        let posts = load.of(Kind::Post).faults();
        for (kind, tally) in load.finish().await {
            println!("{what}: {kind:?} {} asked, {} lost, {} cut", tally.asked(), tally.faults().len(), tally.cut());
            match kind {
                Kind::Post => {}
                _ => assert_eq!(tally.faults(), [""; 0], "{what}: {kind:?}"),
            }
        }
        println!("{what}: {retries} requests asked again elsewhere");
        for fault in posts {
            assert!(EXPLAINED.contains(&&*fault), "{what}: a lost POST is not explained: {fault}");
        }
        // It was not luck.
        assert!(retries > 0.0, "{what}: the trouble met no request");
    });
}

#[test]
fn a_killed_task_loses_no_request_that_may_be_asked_again() {
    let _one = alone();
    let mut world = World::start(4, Vec::new());
    check("a killed task", &mut world, |world| world.tasks[0].kill(), |world| world.tasks[0].revive());
}

#[test]
fn a_frozen_task_loses_no_request_that_may_be_asked_again() {
    let _one = alone();
    let mut world = World::start(4, Vec::new());
    let stop = |world: &mut World| world.tasks[0].signal(Signal::SIGSTOP);
    check("a frozen task", &mut world, stop, |world| world.tasks[0].signal(Signal::SIGCONT));
}

#[test]
fn a_slow_task_loses_no_request_that_may_be_asked_again() {
    let _one = alone();
    let mut world = World::start(4, Vec::new());
    check("a slow task", &mut world, |world| world.tasks[0].be("slow 5000"), |world| world.tasks[0].be("well"));
}

#[test]
fn a_resetting_task_loses_no_request_that_may_be_asked_again() {
    let _one = alone();
    let mut world = World::start(4, Vec::new());
    check("a resetting task", &mut world, |world| world.tasks[0].be("resetting"), |world| world.tasks[0].be("well"));
}

#[test]
fn a_task_without_time_loses_no_request_that_may_be_asked_again() {
    let _one = alone();
    let mut world = World::start(4, Vec::new());
    check("a busy task", &mut world, |world| world.tasks[0].be("busy"), |world| world.tasks[0].be("well"));
}

#[test]
fn an_agent_that_is_cut_off_loses_no_request_that_may_be_asked_again() {
    let _one = alone();
    let Some(mut namespace) = Namespace::make() else { return };
    let far = |namespace: &mut Namespace, name| {
        let address = namespace.address();
        Task::start_at(name, address, &namespace.around())
    };
    let beside = vec![far(&mut namespace, "far-0"), far(&mut namespace, "far-1")];
    let mut world = World::start(2, beside);
    check("an agent cut off", &mut world, |_| namespace.cut(), |_| namespace.heal());
}

/// WebSockets to tasks that are well stay open whatever happens to the others.
#[test]
fn sockets_to_tasks_that_are_well_stay_open() {
    let _one = alone();
    let mut world = World::start(3, Vec::new());
    block_on(async {
        let load = Load::start(&world.target, &Kind::REPEATABLE);
        // Chance decides who gets them, and for a while it may be all but the task that stays.
        let staying = soon(async {
            let mut sockets = Vec::new();
            while sockets.len() < 4 {
                let socket = Socket::open(&world.target).await.unwrap();
                if socket.task == "task-1" {
                    sockets.push(socket);
                }
            }
            sockets
        });
        let mut sockets = staying.await;
        world.tasks[0].kill();
        world.tasks[2].signal(Signal::SIGSTOP);
        for _ in 0..20 {
            load.more(&[Kind::Http1, Kind::Socket], 10).await;
            for socket in &mut sockets {
                soon(socket.echo(b"still there")).await.unwrap();
            }
        }
        world.tasks[2].signal(Signal::SIGCONT);
        for (kind, tally) in load.finish().await {
            assert_eq!(tally.faults(), [""; 0], "{kind:?}");
        }
    });
}

#[test]
fn certificates_change_under_load() {
    let _one = alone();
    let world = World::start(2, Vec::new());
    let folder = world.folder.path("certificates");
    block_on(async {
        let load = Load::start(&world.target, &[Kind::Tls, Kind::Http1]);
        let goal = load.of(Kind::Tls).asked() + least();
        let mut changes = 0;
        while changes < 5 || load.of(Kind::Tls).asked() < goal {
            let written = world.authority.write_pair(&folder);
            let begun = Instant::now();
            while soon(world.authority.served(world.target.https)).await != written {
                assert!(begun.elapsed() < load::PATIENCE, "a new certificate is not taken up");
                load.more(&[Kind::Tls], 1).await;
            }
            changes += 1;
        }
        for (kind, tally) in load.finish().await {
            println!("{changes} certificates: {kind:?} {} asked, {} lost", tally.asked(), tally.faults().len());
            assert_eq!((tally.faults(), tally.cut()), (Vec::new(), 0), "{kind:?}");
        }
    });
}
