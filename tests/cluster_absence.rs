//! Absence is not death: what a second failover, a silence or an old deadline must not remove, and what it must.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::facts::{CLUSTER, agent, config, key, snapshot, status, task};
use common::world::{World, at, marathon, route, running, world_of};
use pointsman::cluster::event::{ClusterEvent, Fact, SnapshotScope};
use pointsman::cluster::status::SourceState;
use pointsman::config::Config;
use pointsman::model::agent::AgentFacts;
use pointsman::model::problem::{Problem, ProblemCode};
use pointsman::model::task::{Health, TaskFacts, TaskState};
use pointsman::table::names::Found;

/// How long tasks of lost agents are kept unless set otherwise.
const KEEP: u64 = 300;
/// How long recovered agents may take.
const RECOVERED_KEEP: u64 = 900;

fn unreachable(id: &str) -> Fact {
    Fact::Status(Box::new(status(id, TaskState::Unreachable, None)))
}

fn lost() -> Fact {
    Fact::Lost { error: "connection closed".into() }
}

/// A new leader's snapshot: these facts, and these agents still to come back.
fn after_failover(world: &mut World, stream: u64, facts: Vec<Fact>, recovered: &[u8]) {
    let recovered_agents = recovered.iter().map(|number| agent(*number).id).collect();
    let mut all = vec![Fact::SnapshotStarted];
    all.extend(facts);
    all.extend([Fact::SnapshotFinished(SnapshotScope { recovered_agents, authoritative: false }), Fact::Live]);
    world.facts(stream, all);
}

/// One task `a` on agent 1, one task `b` on agent 2.
fn two_agents() -> World {
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), at(2), marathon(), running("a", "web", 1, &[]), running("b", "web", 2, &[])]));
    world
}

fn has(world: &mut World, id: &str) -> bool {
    world.table().tasks.contains_key(&key(id))
}

#[test]
fn the_time_of_an_earlier_loss_does_not_end_a_later_one() {
    let mut world = world_of(2);
    world.facts(1, vec![unreachable("t0")]);
    world.pass(KEEP - 100);
    world.facts(1, vec![running("t0", "web", 1, &[])]);
    world.facts(1, vec![unreachable("t0")]);
    world.pass(KEEP - 1);
    assert!(has(&mut world, "t0"), "lost for the second time, {} s ago", KEEP - 1);
    world.pass(1);
    assert!(!has(&mut world, "t0"));
}

#[test]
fn tasks_that_were_lost_long_ago_are_not_served_after_each_subscription() {
    let mut world = World::new();
    let lost_since = |id: &str, seconds: u64, world: &World| {
        let since = pointsman::model::time::Timestamp(world.now.0 - seconds * 1000);
        let facts = task(id, "web", 1, 9000, &[]);
        Fact::Task(Box::new(TaskFacts { state: TaskState::Unreachable, unreachable_since: Some(since), ..facts }))
    };
    let (old, young) = (lost_since("old", KEEP, &world), lost_since("young", KEEP - 10, &world));
    world.say(snapshot(1, vec![marathon(), at(2), running("live", "web", 2, &[]), old, young]));
    assert!(!has(&mut world, "old") && has(&mut world, "young"));
    world.pass(10);
    assert!(!has(&mut world, "young"), "its time began when the agent was lost");
    // The master lists them for weeks.
    let (old, young) = (lost_since("old", KEEP, &world), lost_since("young", KEEP, &world));
    world.say(snapshot(2, vec![marathon(), at(2), running("live", "web", 2, &[]), old, young]));
    assert_eq!(world.tasks(), 1);
}

#[test]
fn a_masters_clock_that_is_wrong_does_not_cut_the_time_of_a_task_that_was_here() {
    let mut world = world_of(2);
    let mut update = status("t0", TaskState::Unreachable, None);
    update.unreachable_since = Some(pointsman::model::time::Timestamp(1000));
    world.facts(1, vec![Fact::Status(Box::new(update))]);
    world.pass(KEEP - 1);
    assert!(has(&mut world, "t0"));
}

#[test]
fn the_deadline_of_a_first_failover_does_not_end_the_wait_of_a_second() {
    let mut world = two_agents();
    let listed = || vec![at(1), marathon(), running("a", "web", 1, &[])];
    after_failover(&mut world, 2, listed(), &[2]);
    world.pass(RECOVERED_KEEP - 100);
    after_failover(&mut world, 3, listed(), &[2]);
    world.pass(RECOVERED_KEEP - 1);
    assert!(has(&mut world, "b"));
    world.pass(1);
    assert!(!has(&mut world, "b"));
}

#[test]
fn an_agent_that_was_back_and_has_to_come_back_once_more_loses_nothing() {
    let mut world = two_agents();
    let listed = || vec![at(1), marathon(), running("a", "web", 1, &[])];
    after_failover(&mut world, 2, listed(), &[2]);
    // It is back, and before it has announced its task the leader changes again.
    world.facts(2, vec![at(2)]);
    world.pass(5);
    after_failover(&mut world, 3, listed(), &[2]);
    world.pass(60);
    assert!(has(&mut world, "b"));
}

#[test]
fn nothing_is_missed_of_an_agent_while_nobody_listens() {
    let mut world = two_agents();
    after_failover(&mut world, 2, vec![at(1), marathon(), running("a", "web", 1, &[])], &[2]);
    // The agent registers, and the stream breaks before its tasks are told.
    world.facts(2, vec![at(2), lost()]);
    world.pass(RECOVERED_KEEP + 100);
    assert!(has(&mut world, "b"));
    assert_eq!(world.table().sources[0].state, SourceState::Stale);
    // The next snapshot tells.
    world.say(snapshot(3, vec![at(1), at(2), marathon(), running("a", "web", 1, &[])]));
    assert!(!has(&mut world, "b"));
}

#[test]
fn a_list_of_agents_that_is_ahead_of_the_stream_begins_no_announcement() {
    let mut world = two_agents();
    after_failover(&mut world, 2, vec![at(1), marathon(), running("a", "web", 1, &[])], &[2]);
    // Asked for on a connection of its own, while the stream is late by more than an announcement takes.
    world.facts(2, vec![Fact::AgentsListed(vec![agent(1), agent(2)])]);
    world.pass(60);
    assert!(has(&mut world, "b"), "nothing says yet that its agent is back without it");
    // From here on the stream tells.
    world.facts(2, vec![at(2)]);
    world.pass(29);
    assert!(has(&mut world, "b"));
    world.pass(1);
    assert!(!has(&mut world, "b"));
}

#[test]
fn an_agent_that_unregisters_before_it_was_back_loses_its_tasks_in_their_time() {
    let mut world = two_agents();
    after_failover(&mut world, 2, vec![at(1), marathon(), running("a", "web", 1, &[])], &[2]);
    world.facts(2, vec![Fact::AgentGone(agent(2).id)]);
    let state = world.table().tasks.get(&key("b")).map(|task| task.facts.state);
    assert_eq!(state, Some(TaskState::Lost));
    world.pass(KEEP);
    assert!(!has(&mut world, "b"), "and not only with the next snapshot");
    assert!(has(&mut world, "a"));
}

#[test]
fn tasks_of_an_agent_that_was_unreachable_at_a_failover_keep_their_time() {
    let mut world = two_agents();
    world.facts(1, vec![unreachable("b")]);
    world.pass(100);
    // The new leader knows nothing of the agent: lists of unreachable tasks do not survive.
    after_failover(&mut world, 2, vec![at(1), marathon(), running("a", "web", 1, &[])], &[]);
    assert!(has(&mut world, "b"));
    world.pass(KEEP - 101);
    assert!(has(&mut world, "b"));
    world.pass(1);
    assert!(!has(&mut world, "b"));
}

#[test]
fn a_lost_task_whose_agent_is_back_without_it_is_gone() {
    let mut world = two_agents();
    world.facts(1, vec![unreachable("b")]);
    world.say(snapshot(2, vec![at(1), at(2), marathon(), running("a", "web", 1, &[])]));
    assert!(!has(&mut world, "b"));
}

#[test]
fn held_removals_are_not_believed_while_nobody_listens() {
    let mut world = world_of(30);
    world.say(snapshot(2, vec![running("t0", "web", 1, &[]), at(1), marathon()]));
    world.facts(2, vec![lost()]);
    world.pass(3600);
    assert_eq!((world.tasks(), world.held()), (30, Some(29)));
    // The first read after that is the second look.
    world.say(snapshot(3, vec![running("t0", "web", 1, &[]), running("t1", "web", 1, &[]), at(1), marathon()]));
    assert_eq!((world.tasks(), world.held()), (2, None));
}

#[test]
fn a_small_cluster_is_not_emptied_by_an_empty_snapshot() {
    let mut world = world_of(3);
    world.say(snapshot(2, vec![]));
    assert_eq!((world.tasks(), world.held()), (3, Some(3)));
    let outcome = world.pass(60);
    assert_eq!(outcome.wanted_snapshots, vec![CLUSTER.into()]);
    world.say(snapshot(3, vec![]));
    assert_eq!((world.tasks(), world.held()), (0, None));
}

#[test]
fn looks_at_a_filtered_view_become_rarer() {
    let mut world = world_of(3);
    let filtered = || vec![at(1), marathon()];
    world.say(snapshot(2, filtered()));
    let mut looks = 0;
    for second in 0..24 * 360_u64 {
        if world.pass(10).wanted_snapshots.is_empty() {
            continue;
        }
        looks += 1;
        world.say(snapshot(3 + second, filtered()));
    }
    assert_eq!((world.tasks(), world.held()), (3, Some(3)));
    assert!((100..=150).contains(&looks), "{looks} snapshots in a day: one in ten minutes");
}

#[test]
fn a_task_that_cannot_be_read_is_still_there() {
    let mut world = world_of(2);
    let problem = Problem {
        code: ProblemCode::InvalidFact,
        subject: CLUSTER.into(),
        at: "task t1".into(),
        message: "invalid string value".into(),
        mend: "mend it".into(),
    };
    world.say(snapshot(
        2,
        vec![
            at(1),
            marathon(),
            running("t0", "web", 1, &[]),
            Fact::Problem(Box::new(problem.clone())),
            Fact::TaskUnreadable(key("t1")),
        ],
    ));
    assert_eq!(world.tasks(), 2);
    let problems: Vec<Problem> = world.table().problems.values().flat_map(|list| list.to_vec()).collect();
    assert_eq!(problems, [problem], "what was said in the snapshot is not forgotten at its end");
    // When a snapshot has nothing to complain of, it is.
    world.say(snapshot(3, vec![at(1), marathon(), running("t0", "web", 1, &[]), running("t1", "web", 1, &[])]));
    assert!(world.table().problems.is_empty());
}

#[test]
fn a_task_that_is_launched_again_under_its_id_has_no_verdict_yet() {
    let mut world = world_of(1);
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Running, Some(true)))), unreachable("t0")]);
    let facts = TaskFacts { state: TaskState::Staging, ..task("t0", "web", 1, 9000, &[]) };
    world.facts(1, vec![Fact::Task(Box::new(facts))]);
    assert_eq!(world.table().tasks.get(&key("t0")).unwrap().facts.health, Health::Unknown);
}

#[test]
fn a_recovered_agent_keeps_the_address_it_had_even_if_its_host_name_is_another() {
    let mut world = two_agents();
    let recovered = AgentFacts { address: Some([192, 0, 2, 1].into()), recovered: true, active: false, ..agent(2) };
    let facts = vec![at(1), marathon(), running("a", "web", 1, &[]), Fact::Agent(Box::new(recovered))];
    after_failover(&mut world, 2, facts, &[2]);
    let table = world.table();
    assert_eq!(table.tasks.get(&key("b")).unwrap().agent.as_ref().unwrap().address, agent(2).address);
}

#[test]
fn a_source_that_is_given_another_cluster_begins_anew() {
    let mut world = world_of(2);
    let mut config = config();
    config.mesos[0].cluster = "elsewhere".into();
    world.say(ClusterEvent::Configured(Arc::new(config)));
    let table = world.table();
    assert_eq!((table.tasks.len(), table.sources[0].state), (0, SourceState::Waiting));
}

#[test]
fn a_service_is_retained_as_long_as_the_setting_says_that_holds_in_the_end() {
    let mut world = World::new();
    let claim = [("pointsman.host", "one.example.com")];
    world.say(snapshot(1, vec![at(1), marathon(), running("one", "one", 1, &claim)]));
    world.facts(1, vec![Fact::Status(Box::new(status("one", TaskState::Ended, None)))]);
    let mut config = config();
    config.server.service_retention = Duration::from_secs(7200);
    world.say(ClusterEvent::Configured(Arc::new(config)));
    world.pass(7199);
    assert!(route(&world.table(), "one.example.com", "/").is_some());
    world.pass(1);
    assert!(route(&world.table(), "one.example.com", "/").is_none());
}

/// The usual configuration with a change, as a reload gives it to the writer.
fn reconfigure(world: &mut World, change: impl FnOnce(&mut Config)) {
    let mut config = config();
    change(&mut config);
    world.say(ClusterEvent::Configured(Arc::new(config)));
}

/// New times in seconds for what has been under way for 100 s: one that is over before the usual one, one that is after.
const NEW_TIMES: [u64; 2] = [120, 3000];

/// After 100 s of it a time is set to `new` seconds: nothing happens before they are over, and then it does.
fn ends_at_its_new_time(
    world: &mut World,
    new: u64,
    change: impl FnOnce(&mut Config),
    is_under_way: impl Fn(&mut World) -> bool,
) {
    world.pass(100);
    reconfigure(world, change);
    world.pass(new - 101);
    assert!(is_under_way(world), "one second before {new} s are over");
    world.pass(1);
    assert!(!is_under_way(world), "when {new} s are over");
}

#[test]
fn a_hold_that_is_under_way_ends_by_itself_when_the_new_setting_says() {
    for new in NEW_TIMES {
        let mut world = world_of(30);
        world.say(snapshot(2, vec![at(1), marathon(), running("t0", "web", 1, &[])]));
        assert_eq!(world.held(), Some(29));
        let change = |config: &mut Config| config.mesos[0].guard.give_up_after = Duration::from_secs(new);
        ends_at_its_new_time(&mut world, new, change, |world| world.held().is_some() && world.tasks() == 30);
        assert_eq!(world.tasks(), 1);
    }
}

#[test]
fn the_second_look_at_a_hold_is_taken_when_the_new_setting_says() {
    let mut world = world_of(30);
    world.say(snapshot(2, vec![at(1), marathon(), running("t0", "web", 1, &[])]));
    world.pass(10);
    reconfigure(&mut world, |config| config.mesos[0].guard.confirm_after = Duration::from_secs(200));
    assert!(world.pass(189).wanted_snapshots.is_empty());
    assert_eq!(world.pass(1).wanted_snapshots, vec![CLUSTER.into()]);
}

#[test]
fn lost_tasks_are_kept_as_long_as_the_new_setting_says() {
    for new in NEW_TIMES {
        let mut world = world_of(2);
        world.facts(1, vec![unreachable("t0")]);
        let change = |config: &mut Config| config.routing.unreachable_keep = Duration::from_secs(new);
        ends_at_its_new_time(&mut world, new, change, |world| has(world, "t0"));
        assert!(has(&mut world, "t1"));
    }
}

#[test]
fn recovered_agents_are_waited_for_as_long_as_the_new_setting_says() {
    for new in NEW_TIMES {
        let mut world = two_agents();
        after_failover(&mut world, 2, vec![at(1), marathon(), running("a", "web", 1, &[])], &[2]);
        let change = |config: &mut Config| config.mesos[0].guard.recovered_keep = Duration::from_secs(new);
        ends_at_its_new_time(&mut world, new, change, |world| has(world, "b"));
        assert!(has(&mut world, "a"));
    }
}

#[test]
fn names_without_tasks_are_kept_as_long_as_the_new_setting_says() {
    for new in [120, 7200] {
        let mut world = world_of(1);
        world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Ended, None)))]);
        let exists = |world: &mut World| matches!(world.table().names.find("web.marathon.mesos"), Found::Node(..));
        assert!(exists(&mut world));
        let change = |config: &mut Config| config.server.service_retention = Duration::from_secs(new);
        ends_at_its_new_time(&mut world, new, change, exists);
    }
}
