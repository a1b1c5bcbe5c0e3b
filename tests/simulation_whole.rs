//! The whole control loop in one thread, from a seed: wire bytes in, answers out, against a cluster with faults.
//!
//! After every step: what the master lists is served as it says, and what it does not list not longer than the longest
//! deadline; nothing is removed that lives, and nothing by doubt; whose end was told is gone at once; DNS and proxy
//! give what is ready and nothing else; incremental equals rebuilt. A failing seed is printed and repeats:
//! `POINTSMAN_SEED=N cargo test --test simulation_whole`.

mod simulation_support;

use std::time::Duration;

use pointsman::cluster::event::ClusterEvent;
use pointsman::demo::cluster::{AgentStanding, TaskState};
use pointsman::model::check::CheckState;
use simulation_support::cluster::{Later, PROBED, Process};
use simulation_support::network::{Lie, Link, junk};
use simulation_support::seeds::{each_repeats, each_seed};
use simulation_support::world::World;

/// Steps of a run.
const STEPS: usize = 150;

#[test]
fn the_whole_loop_keeps_to_the_truth_under_faults() {
    each_seed(30, 2_000, World::new, |world| {
        world.advance(Duration::from_secs(5));
        for _ in 0..10 {
            launch(world);
        }
        for step in 0..STEPS {
            act(world);
            world.check();
            if step % 10 == 0 {
                world.check_rebuilt();
            }
        }
        calm(world);
    });
}

#[test]
fn a_seed_repeats() {
    each_repeats("the_whole_loop_keeps_to_the_truth_under_faults", 0..5);
}

/// When everything is well again for long enough, the table is what the master says, and nothing more.
fn calm(world: &mut World) {
    world.note("calm");
    world.lie = None;
    // A lie that did no harm is not looked into.
    world.cut(true);
    for _ in 0..40 {
        world.advance(Duration::from_secs(60));
        world.check();
    }
    assert!(world.is_settled(), "this was time enough to subscribe: {}", world.describe());
    let held = world.table.sources.iter().find_map(|source| source.held.clone());
    assert!(held.is_none(), "{held:?}");
    assert!(world.knowledge.absent_since.is_empty(), "{:?} are still there", world.knowledge.absent_since);
    world.check_rebuilt();
}

fn act(world: &mut World) {
    let (what, by) = (world.random.u8(..100), [0, 1, 10, 60, 400][world.random.usize(..5)]);
    let step: (&str, fn(&mut World)) = match what {
        0..20 => ("launch", launch_some),
        20..40 => ("tasks go on", go_on),
        40..46 => ("verdicts", judge),
        46..50 => ("checks", check_some),
        50..60 => ("end", end_some),
        60..64 => ("agent lost", lose_agent),
        64..72 => ("agent back", return_agent),
        72..74 => ("agent removed", remove_agent),
        74..80 => ("cut", |world| world.cut(false)),
        80..82 => ("evicted", |world| world.cut(true)),
        82..87 => ("failover", fail_over),
        87..90 => ("lie", lie),
        90..92 => ("late words", say_late),
        92..94 => ("junk", say_junk),
        94..96 => ("file", change_file),
        96..97 => ("restart", |world| world.restart()),
        97..98 => ("configured", configure),
        _ => ("storm", storm),
    };
    world.note(step.0);
    step.1(world);
    let by = Duration::from_millis(world.random.u64(..=by * 1000));
    world.advance(by);
}

fn launch(world: &mut World) {
    let events = world.cluster.launch(&mut world.random);
    world.tell(&events);
}

fn launch_some(world: &mut World) {
    for _ in 0..world.random.u8(1..6) {
        if world.cluster.living().len() < 80 {
            launch(world);
        }
    }
}

/// A task's executor tells a state; the agent may not be heard.
fn update(world: &mut World, id: &str, state: TaskState) {
    world.knowledge.ready.remove(id);
    let events = world.cluster.update(id, state, world.now, world.wall());
    world.tell(&events);
    if state.is_ended()
        && !events.is_empty()
        && matches!(&world.link, Link::Streaming(stream) if world.cluster.is_leading(stream.master))
    {
        world.knowledge.ends_told.push(id.to_owned());
    }
}

fn some(world: &mut World, state: TaskState, most: usize) -> Vec<String> {
    let tasks = world.cluster.model.tasks().iter();
    let mut ids: Vec<String> = tasks.filter(|(_, task)| task.state == state).map(|(id, _)| id.clone()).collect();
    world.random.shuffle(&mut ids);
    ids.truncate(world.random.usize(1..=most));
    ids
}

fn go_on(world: &mut World) {
    for (from, to) in [(TaskState::Starting, TaskState::Running), (TaskState::Staging, TaskState::Starting)] {
        for id in some(world, from, 12) {
            update(world, &id, to);
        }
    }
    for id in some(world, TaskState::Killing, 3) {
        update(world, &id, TaskState::Killed);
    }
}

fn judge(world: &mut World) {
    for id in some(world, TaskState::Running, 15) {
        if world.cluster.model.tasks()[&id].checked {
            let healthy = world.random.u8(..5) > 0;
            world.knowledge.ready.remove(&id);
            let events = world.cluster.model.verdict(&id, healthy, world.wall());
            world.tell(&events);
        }
    }
}

/// The program's own checks come to verdicts: of tasks that are in the table, and late of one that has ended.
fn check_some(world: &mut World) {
    let mut ids: Vec<String> = world.ids().filter(|id| id.starts_with(&format!("{PROBED}."))).collect();
    world.random.shuffle(&mut ids);
    ids.truncate(world.random.usize(1..=15));
    if world.random.u8(..4) == 0 {
        ids.extend(world.knowledge.ends_received.first().cloned());
    }
    for id in ids {
        let state = if world.random.u8(..5) > 0 { CheckState::Good } else { CheckState::Bad };
        world.judge_by_check(&id, state);
    }
}

fn end_some(world: &mut World) {
    for id in some(world, TaskState::Running, 4) {
        let state = [TaskState::Killing, TaskState::Failed, TaskState::Finished][world.random.usize(..3)];
        update(world, &id, state);
    }
}

fn storm(world: &mut World) {
    for _ in 0..30 {
        launch(world);
    }
    for _ in 0..3 {
        go_on(world);
    }
    for _ in 0..6 {
        end_some(world);
    }
    judge(world);
    check_some(world);
}

fn any_agent(world: &mut World, standing: AgentStanding, connected: bool) -> Option<String> {
    let agents = world.cluster.model.agents().iter();
    let fits = agents.filter(|(_, agent)| agent.standing == standing && agent.connected == connected);
    let ids: Vec<String> = fits.map(|(id, _)| id.clone()).collect();
    (!ids.is_empty()).then(|| ids[world.random.usize(..ids.len())].clone())
}

/// The agent falls silent; its tasks go on. The master notices later.
fn lose_agent(world: &mut World) {
    let Some(agent) = any_agent(world, AgentStanding::Registered, true) else { return };
    forget_ready_on(world, &agent);
    world.cluster.model.disconnect_agent(&agent).unwrap();
    let at = world.now + Duration::from_secs(world.random.u64(1..75));
    world.cluster.schedule(at, Later::GiveUp(agent));
}

fn return_agent(world: &mut World) {
    let standing = if world.random.bool() { AgentStanding::Unreachable } else { AgentStanding::Registered };
    if !world.cluster.recovered {
        return;
    }
    let Some(agent) = any_agent(world, standing, false) else { return };
    world.cluster.later.retain(|(_, later)| !matches!(later, Later::GiveUp(of) if *of == agent));
    if standing == AgentStanding::Unreachable {
        world.knowledge.returning.insert(agent.clone());
    }
    let events = world.cluster.model.return_agent(&agent);
    world.tell(&events);
}

/// An agent unregisters, and another machine registers in its place.
fn remove_agent(world: &mut World) {
    let Some(agent) = any_agent(world, AgentStanding::Registered, true).filter(|_| world.cluster.recovered) else {
        return;
    };
    forget_ready_on(world, &agent);
    let (hostname, ip) = {
        let agent = &world.cluster.model.agents()[&agent];
        (agent.hostname.clone(), agent.ip)
    };
    world.cluster.later.retain(|(_, later)| !matches!(later, Later::GiveUp(of) | Later::Return(of) if *of == agent));
    let wall = world.wall();
    let events = world.cluster.model.remove_agent(&agent, wall);
    world.tell(&events);
    let (_, events) = world.cluster.model.add_agent(&hostname, ip);
    world.tell(&events);
}

fn forget_ready_on(world: &mut World, agent: &str) {
    let model = &world.cluster.model;
    world.knowledge.ready.retain(|id| model.tasks().get(id).is_none_or(|task| task.agent != *agent));
}

fn fail_over(world: &mut World) {
    let process = [Process::Down, Process::Frozen][world.random.usize(..2)];
    let Some(dead) = world.cluster.fail_over(world.now, process, &mut world.random) else { return };
    let heard = matches!(&world.link, Link::Streaming(stream) if stream.master == dead);
    if process == Process::Down && heard {
        world.cut(false);
    }
}

/// Snapshots are wrong for a while: shorter than the guard takes for agreement, except where time alone never counts.
fn lie(world: &mut World) {
    let doubted = world.table.sources.iter().any(|source| source.held.is_some());
    if doubted || !world.is_settled() {
        return;
    }
    let (lie, seconds) = match world.random.u8(..3) {
        0 => (Lie::Empty, 50),
        1 => (Lie::MostAbsent, 50),
        _ => (Lie::Filtered, 3000),
    };
    world.note(&format!("{lie:?}"));
    world.lie = Some((lie, world.now + Duration::from_secs(seconds)));
    world.cut(true);
}

/// What an older stream had said comes once more.
fn say_late(world: &mut World) {
    if world.said.is_empty() {
        return;
    }
    let event = world.said[world.random.usize(..world.said.len())].clone();
    let newest = world.said.iter().map(|event| event.stream).max().unwrap_or(0);
    if event.stream < newest && world.queue.is_empty() {
        world.queue.push_back(ClusterEvent::Source(event));
    }
}

fn say_junk(world: &mut World) {
    let bytes = junk(world.encoding, &mut world.random);
    world.say(&bytes);
}

fn change_file(world: &mut World) {
    let port = world.random.u16(9_000..9_008);
    if !world.file_services.remove(&port) {
        world.file_services.insert(port);
    }
    world.write_file();
}

fn configure(world: &mut World) {
    let config = world.config.clone();
    world.queue.push_back(ClusterEvent::Configured(config));
}
