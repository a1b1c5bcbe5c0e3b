//! The rules by which facts age: failovers, absence, lost agents, retention.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::facts::{CLUSTER, FRAMEWORK, agent, config, framework, key, snapshot, status, task};
use common::world::{World, at, many, marathon, route, running, world_of};
use pointsman::cluster::event::{ClusterEvent, Command, DeclaredApp, Fact, SnapshotScope};
use pointsman::cluster::status::SourceState;
use pointsman::config::checked::{GuardConfig, ListenerConfig, PolicyConfig};
use pointsman::dns::answer::{Authority, answer};
use pointsman::dns::wire::Transport;
use pointsman::labels::host::HostPattern;
use pointsman::model::drain::{DrainSubject, Drains};
use pointsman::model::endpoint::EndpointState;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::id::TaskKey;
use pointsman::model::problem::{Problem, ProblemCode};
use pointsman::model::task::{Health, TaskDefinition, TaskFacts, TaskState, TaskStatus};
use pointsman::table::Table;
use pointsman::table::names::Found;
use pointsman::table::out_of_service::keeps_until;
use pointsman::table::writer::Writer;

#[test]
fn a_service_without_tasks_keeps_its_route_beneath_anothers_wildcard() {
    let mut world = World::new();
    world.say(snapshot(
        1,
        vec![
            at(1),
            marathon(),
            running("one", "one", 1, &[("pointsman.host", "one.example.com")]),
            running("all", "all", 1, &[("pointsman.host", "*.example.com")]),
        ],
    ));
    world.facts(1, vec![Fact::Status(Box::new(status("one", TaskState::Ended, None)))]);
    let table = world.table();
    let found = route(&table, "one.example.com", "/").unwrap().clone();
    assert_eq!(found.owner.name(), "one");
    let service = table.service(&found.owner).unwrap();
    assert!(service.endpoints.is_empty() && service.empty_since.is_some());
    // After the retention the name falls to the wildcard.
    world.pass(3600);
    assert_eq!(route(&world.table(), "one.example.com", "/").unwrap().owner.name(), "all");
}

#[test]
fn a_challenger_does_not_win_through_the_owners_deploy_or_a_restart() {
    let claim = [("pointsman.host", "shop.example.com")];
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), marathon(), running("z1", "zeta", 1, &claim)]));
    world.pass(10);
    world.facts(1, vec![running("a1", "alpha", 1, &claim)]);
    let owner = |table: &Table| route(table, "shop.example.com", "/").unwrap().owner.name().to_owned();
    assert_eq!(owner(&world.table()), "zeta");
    assert_eq!(world.table().problems.len(), 1);
    world.facts(1, vec![Fact::Status(Box::new(status("z1", TaskState::Ended, None)))]);
    assert_eq!(owner(&world.table()), "zeta");
    let bytes = world.writer.state().view(world.now).write(Vec::new()).unwrap();
    let path = std::path::Path::new("state");
    let state = pointsman::cluster::store::read(&bytes[..], path, Arc::new(config()), world.now).unwrap();
    let mut world = World { writer: Writer::new(state, 2, world.now), now: world.now };
    assert_eq!(owner(&world.table()), "zeta");
    world.facts(1, vec![running("z2", "zeta", 1, &claim)]);
    assert_eq!(owner(&world.table()), "zeta");
    // When the owner is forgotten, the challenger holds the claim and has no problem any more.
    world.facts(1, vec![Fact::Status(Box::new(status("z2", TaskState::Ended, None)))]);
    world.pass(3600);
    assert_eq!(owner(&world.table()), "alpha");
    assert!(world.table().problems.is_empty());
}

#[test]
fn an_incomplete_snapshot_after_a_failover_deletes_nothing_of_recovered_agents() {
    let mut world = World::new();
    let mut facts = vec![at(1), at(2), marathon()];
    facts.extend((0..3).map(|n| running(&format!("a{n}"), "web", 1, &[])));
    facts.extend((0..3).map(|n| running(&format!("b{n}"), "web", 2, &[])));
    world.say(snapshot(1, facts));
    world.facts(1, vec![Fact::Lost { error: "connection closed".into() }]);
    let table = world.table();
    assert!(table.is_stale() && table.tasks.len() == 6);
    // The new leader knows agent 1 only.
    let mut facts = vec![Fact::SnapshotStarted, at(1), marathon()];
    facts.extend((0..3).map(|n| running(&format!("a{n}"), "web", 1, &[])));
    let scope = SnapshotScope { recovered_agents: vec!["A-S2".into()], authoritative: false };
    facts.extend([Fact::SnapshotFinished(scope), Fact::Live]);
    world.facts(2, facts);
    let table = world.table();
    assert_eq!((table.tasks.len(), table.sources[0].recovered_agents), (6, 1));
    assert!(!table.is_stale());
    // It comes back with two of its three tasks, announced before the agent itself.
    world.facts(2, vec![running("b0", "web", 2, &[]), running("b1", "web", 2, &[]), at(2)]);
    assert_eq!(world.tasks(), 6);
    world.pass(31);
    let table = world.table();
    assert_eq!((table.tasks.len(), table.sources[0].recovered_agents), (5, 0));
    assert!(table.tasks.get(&key("b2")).is_none());
}

#[test]
fn agents_that_never_come_back_lose_their_tasks_in_the_end() {
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), at(2), marathon(), running("a", "web", 1, &[]), running("b", "web", 2, &[])]));
    let scope = SnapshotScope { recovered_agents: vec!["A-S2".into()], authoritative: false };
    world.facts(
        2,
        vec![Fact::SnapshotStarted, at(1), running("a", "web", 1, &[]), Fact::SnapshotFinished(scope), Fact::Live],
    );
    world.pass(899);
    assert_eq!(world.tasks(), 2);
    world.pass(1);
    assert_eq!(world.tasks(), 1);
}

#[test]
fn agents_that_a_leader_waits_for_have_as_long_as_the_setting_says() {
    let mut config = config();
    config.mesos[0].guard.recovered_keep = Duration::from_secs(30);
    let mut world = World::with(config);
    world.say(snapshot(1, vec![at(1), at(2), marathon(), running("a", "web", 1, &[]), running("b", "web", 2, &[])]));
    let scope = SnapshotScope { recovered_agents: vec!["A-S2".into()], authoritative: false };
    let said =
        vec![Fact::SnapshotStarted, at(1), running("a", "web", 1, &[]), Fact::SnapshotFinished(scope), Fact::Live];
    world.facts(2, said);
    world.pass(29);
    assert_eq!(world.tasks(), 2);
    world.pass(1);
    assert_eq!(world.tasks(), 1);
}

#[test]
fn many_implied_removals_are_held_until_a_second_read_a_minute_later_agrees() {
    let mut world = world_of(30);
    let partial = || {
        let mut facts = many(10, 1);
        facts.extend([at(1), marathon()]);
        facts
    };
    world.say(snapshot(2, partial()));
    assert_eq!((world.tasks(), world.held()), (30, Some(20)));
    // An explicit end acts at once.
    world.facts(2, vec![Fact::Status(Box::new(status("t29", TaskState::Ended, None)))]);
    assert_eq!(world.tasks(), 29);
    world.say(snapshot(3, partial()));
    assert_eq!(world.tasks(), 29);
    let outcome = world.pass(60);
    assert_eq!(outcome.wanted_snapshots, vec![CLUSTER.into()]);
    world.say(snapshot(4, partial()));
    assert_eq!((world.tasks(), world.held()), (10, None));
}

#[test]
fn held_removals_end_after_ten_minutes_or_when_an_operator_accepts() {
    for accept in [true, false] {
        let mut world = world_of(30);
        world.say(snapshot(2, vec![running("t0", "web", 1, &[]), at(1), marathon()]));
        assert_eq!(world.held(), Some(29));
        if accept {
            let command = Command::AcceptRemovals { source: CLUSTER.into(), actor: "test".into() };
            world.say(ClusterEvent::Command(command));
        } else {
            world.pass(599);
            assert_eq!(world.tasks(), 30);
            world.pass(1);
        }
        assert_eq!((world.tasks(), world.held()), (1, None));
    }
}

/// A world of 30 tasks with another guard, after a snapshot that has only the first so many.
fn guarded(change: impl FnOnce(&mut GuardConfig), left: usize) -> World {
    let mut config = config();
    change(&mut config.mesos[0].guard);
    let mut world = World::with(config);
    let listed = |count: usize| {
        let mut facts = many(count, 1);
        facts.extend([at(1), marathon()]);
        facts
    };
    world.say(snapshot(1, listed(30)));
    world.say(snapshot(2, listed(left)));
    world
}

#[test]
fn the_guard_is_as_narrow_or_wide_as_the_settings_say() {
    // 12 of 30 are held by default: more than a fifth, and more than ten.
    assert_eq!(guarded(|_| (), 18).held(), Some(12));
    // Half of them is what may go, or 12 tasks; and a guard without allowance holds a single one.
    assert_eq!(guarded(|guard| guard.max_share = 0.5, 18).tasks(), 18);
    assert_eq!(guarded(|guard| guard.max_share = 0.5, 14).held(), Some(16));
    assert_eq!(guarded(|guard| guard.max_count = 12, 18).tasks(), 18);
    assert_eq!(guarded(|guard| guard.max_count = 12, 17).held(), Some(13));
    let narrow = |guard: &mut GuardConfig| (guard.max_share, guard.max_count) = (0.0, 0);
    assert_eq!(guarded(narrow, 29).held(), Some(1));
}

#[test]
fn held_removals_end_when_the_settings_say() {
    let mut world = guarded(|guard| guard.confirm_after = Duration::from_secs(5), 1);
    assert!(world.pass(4).wanted_snapshots.is_empty());
    assert_eq!(world.pass(1).wanted_snapshots, vec![CLUSTER.into()], "a second read");
    world.say(snapshot(3, vec![running("t0", "web", 1, &[]), at(1), marathon()]));
    assert_eq!((world.tasks(), world.held()), (1, None));
    let mut world = guarded(|guard| guard.give_up_after = Duration::from_secs(100), 1);
    world.pass(99);
    assert_eq!((world.tasks(), world.held()), (30, Some(29)));
    world.pass(1);
    assert_eq!((world.tasks(), world.held()), (1, None));
}

#[test]
fn an_empty_snapshot_is_not_believed_at_once_where_tasks_are_known() {
    let mut world = world_of(30);
    world.say(snapshot(2, vec![]));
    assert_eq!((world.tasks(), world.held()), (30, Some(30)));
}

#[test]
fn an_empty_snapshot_is_believed_where_nothing_is_known() {
    let mut world = World::new();
    assert!(!world.table().ready);
    world.say(snapshot(1, vec![]));
    assert!(world.table().ready);
}

#[test]
fn agents_without_tasks_are_never_believed_by_time_alone() {
    let mut world = world_of(3);
    world.say(snapshot(2, vec![at(1), marathon()]));
    for stream in 3..20 {
        world.pass(100);
        world.say(snapshot(stream, vec![at(1), marathon()]));
    }
    assert_eq!((world.tasks(), world.held()), (3, Some(3)));
    // What shows up again is no longer held.
    world.facts(19, vec![running("t0", "web", 1, &[])]);
    assert_eq!(world.held(), Some(2));
}

#[test]
fn a_frozen_leader_that_wakes_up_contradicts_nobody() {
    let mut world = world_of(2);
    world.say(snapshot(2, vec![at(1), marathon(), running("t0", "web", 1, &[]), running("t1", "web", 1, &[])]));
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Ended, None)))]);
    assert_eq!(world.tasks(), 2);
    assert_eq!(world.writer.state().ignored(), 1);
}

#[test]
fn tasks_of_a_lost_agent_are_kept_for_a_while_and_come_back_whole() {
    let mut world = world_of(2);
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Unreachable, None)))]);
    let state = |world: &mut World| world.table().tasks.get(&key("t0")).map(|task| task.state);
    assert_eq!(state(&mut world), Some(EndpointState::Unreachable));
    // Back within the time: the deadline does nothing.
    world.facts(1, vec![running("t0", "web", 1, &[])]);
    world.pass(301);
    assert_eq!(state(&mut world), Some(EndpointState::Ready));
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Lost, None)))]);
    world.pass(300);
    assert_eq!(state(&mut world), None);
}

#[test]
fn tasks_of_a_lost_agent_are_kept_as_long_as_the_setting_says() {
    for (keep, before) in [(30, Some(29)), (0, None)] {
        let mut config = config();
        config.routing.unreachable_keep = Duration::from_secs(keep);
        let mut world = World::with(config);
        world.say(snapshot(1, vec![at(1), marathon(), running("t0", "web", 1, &[]), running("t1", "web", 1, &[])]));
        world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Unreachable, None)))]);
        if let Some(before) = before {
            world.pass(before);
            assert_eq!(world.tasks(), 2, "{keep}");
            world.pass(1);
        } else {
            world.pass(0);
        }
        assert_eq!(world.tasks(), 1, "{keep}");
    }
}

#[test]
fn a_task_without_a_verdict_is_served_at_once_where_the_setting_says_so() {
    for serve_unverified in [false, true] {
        let mut config = config();
        config.routing.serve_unverified = serve_unverified;
        let mut world = World::with(config);
        let mut fresh = task("fresh", "web", 1, 9000, &[("pointsman.host", "web.test")]);
        Arc::make_mut(&mut fresh.definition).has_health_check = true;
        world.say(snapshot(1, vec![at(1), marathon(), Fact::Task(Box::new(fresh))]));
        let available = |world: &mut World| {
            let table = world.table();
            let owner = route(&table, "web.test", "/").unwrap().owner.clone();
            (table.tasks.get(&key("fresh")).unwrap().state, table.service(&owner).unwrap().available.len())
        };
        let expected = if serve_unverified { (EndpointState::Ready, 1) } else { (EndpointState::Unverified, 0) };
        assert_eq!(available(&mut world), expected);
        // Its name is there either way: names are of what runs.
        assert_eq!(named(&world.table(), &["web.marathon.mesos"]), [true]);
        // A bad verdict counts in both cases, and a good one. (The only task of its service: in panic it would be served.)
        world.facts(1, vec![running("other", "web", 1, &[])]);
        for (healthy, state) in [(false, EndpointState::Unhealthy), (true, EndpointState::Ready)] {
            world.facts(1, vec![Fact::Status(Box::new(status("fresh", TaskState::Running, Some(healthy))))]);
            assert_eq!(available(&mut world), (state, if healthy { 2 } else { 1 }));
        }
    }
}

#[test]
fn killing_drains_and_keeps_the_last_verdict() {
    let mut world = world_of(2);
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Running, Some(true))))]);
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Killing, None)))]);
    let table = world.table();
    let task = table.tasks.get(&key("t0")).unwrap();
    assert_eq!((task.state, task.facts.health.as_str()), (EndpointState::Draining, "healthy"));
    let (service, endpoint) = task.endpoints().next().unwrap();
    let service = table.service(service).unwrap();
    assert!(service.available.get(&endpoint).is_none() && service.endpoint(&endpoint).is_some());
}

#[test]
fn when_all_are_unhealthy_all_are_served_again_and_it_is_flagged() {
    let mut world = world_of(2);
    for id in ["t0", "t1"] {
        world.facts(1, vec![Fact::Status(Box::new(status(id, TaskState::Running, Some(false))))]);
    }
    let service = |world: &mut World| (**world.table().services.values().next().unwrap()).clone();
    assert!(service(&mut world).panic && service(&mut world).available.len() == 2);
    world.facts(1, vec![Fact::Status(Box::new(status("t1", TaskState::Running, Some(true))))]);
    assert!(!service(&mut world).panic && service(&mut world).available.len() == 1);
}

#[test]
fn when_too_few_are_healthy_all_are_served_where_a_threshold_says_so() {
    // So many of ten are unhealthy: whether it is panic, and how many may be chosen.
    let check = |threshold: f64, panic: bool, expected: &[(usize, bool, usize)]| {
        let mut config = config();
        (config.routing.panic_threshold, config.routing.panic) = (threshold, panic);
        let mut world = World::with(config);
        world.say(snapshot(1, many(10, 1).into_iter().chain([at(1), marathon()]).collect()));
        let says = |world: &mut World, id: usize, state, health| {
            world.facts(1, vec![Fact::Status(Box::new(status(&format!("t{id}"), state, health)))]);
        };
        let found = |world: &mut World| {
            let table = world.table();
            let service = table.services.values().next().unwrap();
            (service.panic, service.available.len())
        };
        let mut sick = 0;
        for (count, is_panic, available) in expected {
            while sick != *count {
                // There and back.
                let id = if sick < *count { sick } else { sick - 1 };
                says(&mut world, id, TaskState::Running, Some(sick >= *count));
                sick = if sick < *count { sick + 1 } else { sick - 1 };
            }
            let case = format!("{threshold} {panic}: {count} of ten are unhealthy");
            assert_eq!(found(&mut world), (*is_panic, *available), "{case}");
            // Anew from the same facts.
            let config = world.table().config.clone();
            world.say(ClusterEvent::Configured(config));
            assert_eq!(found(&mut world), (*is_panic, *available), "{case}, built anew");
        }
    };
    check(0.0, true, &[(1, false, 9), (6, false, 4), (9, false, 1), (10, true, 10), (9, false, 1), (0, false, 10)]);
    check(0.5, true, &[(5, false, 5), (6, true, 10), (10, true, 10), (6, true, 10), (5, false, 5), (0, false, 10)]);
    check(1.0, true, &[(0, false, 10), (1, true, 10), (0, false, 10)]);
    check(0.5, false, &[(5, false, 5), (6, false, 4), (10, false, 0), (6, false, 4)]);
}

/// Who starts or ends tells nothing of a check.
#[test]
fn those_that_start_or_end_are_not_counted_as_unhealthy() {
    let mut config = config();
    config.routing.panic_threshold = 0.5;
    let mut world = World::with(config);
    let new = |id: &str, state: TaskState, health: Health| {
        Fact::Task(Box::new(TaskFacts { state, health, ..task(id, "web", 1, 9000, &[]) }))
    };
    let sick = |id: &str| new(id, TaskState::Running, Health::Unhealthy);
    let says = |id: &str, state: TaskState| Fact::Status(Box::new(status(id, state, None)));
    let begin = |at: usize| new(&format!("begins{at}"), TaskState::Staging, Health::Unknown);
    let end = |at: usize| new(&format!("ends{at}"), TaskState::Killing, Health::Unknown);
    let mut facts: Vec<Fact> = (0..5).flat_map(|at| [begin(at), end(at)]).collect();
    facts.extend([at(1), marathon(), new("well", TaskState::Running, Health::Healthy)]);
    world.say(snapshot(1, facts));
    let mut found_after = |facts: Vec<Fact>| {
        world.facts(1, facts);
        let table = world.table();
        let service = table.services.values().next().unwrap();
        (service.panic, service.available.len())
    };
    assert_eq!(found_after(vec![]), (false, 1), "none is unhealthy");
    assert_eq!(found_after(vec![sick("one")]), (false, 1), "one of two is half");
    assert_eq!(found_after(vec![sick("two")]), (true, 3), "one of three is less");
    assert_eq!(found_after(vec![says("two", TaskState::Killing)]), (false, 1), "it ends");
    assert_eq!(found_after(vec![sick("three")]), (true, 3));
    assert_eq!(found_after(vec![says("three", TaskState::Ended)]), (false, 1), "it has ended");
    assert_eq!(found_after(vec![says("well", TaskState::Ended)]), (true, 1), "none is ready");
}

#[test]
fn a_removed_framework_takes_its_tasks_along_and_a_disconnected_one_does_not() {
    let mut world = world_of(2);
    let gone = Fact::Framework(Box::new(FrameworkFacts { connected: false, ..framework("marathon") }));
    world.facts(1, vec![gone]);
    assert_eq!(world.tasks(), 2);
    world.facts(1, vec![Fact::FrameworkGone(FRAMEWORK.into())]);
    assert_eq!(world.tasks(), 0);
}

#[test]
fn an_agent_that_vanishes_in_silence_is_dropped_by_the_next_list_with_its_tasks_left_to_their_own_events() {
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), at(2), marathon(), running("t0", "web", 1, &[])]));
    assert_eq!(world.table().sources[0].agents, 2);
    world.facts(1, vec![Fact::AgentsListed(vec![agent(1)])]);
    assert_eq!((world.table().sources[0].agents, world.tasks()), (1, 1));
    // A list without any agent is doubted.
    world.facts(1, vec![Fact::AgentsListed(vec![])]);
    assert_eq!(world.table().sources[0].agents, 1);
}

#[test]
fn refused_addresses_are_problems_of_their_task_alone() {
    let mut config = config();
    config.upstreams.allowed_networks.clear();
    let mut world = World::with(config);
    let mut foreign = task("foreign", "web", 1, 9000, &[]);
    let mut definition = (*foreign.definition).clone();
    definition.network = pointsman::model::task::NetworkMode::Container;
    definition.discovery.as_mut().unwrap().ports[0].scope = pointsman::model::task::PortScope::Container;
    foreign.definition = Arc::new(definition);
    foreign.addresses = ["169.254.169.254".parse().unwrap()].into_iter().collect();
    let mut grabbing = task("grabbing", "web", 1, 22, &[]);
    let mut definition = (*grabbing.definition).clone();
    definition.host_ports = Box::new([]);
    grabbing.definition = Arc::new(definition);
    world.say(snapshot(
        1,
        vec![
            at(1),
            marathon(),
            running("good", "web", 1, &[]),
            Fact::Task(Box::new(foreign)),
            Fact::Task(Box::new(grabbing)),
        ],
    ));
    let table = world.table();
    assert_eq!(table.services.values().next().unwrap().endpoints.len(), 1);
    let mut codes: Vec<_> = table.problems.values().flat_map(|list| list.iter()).map(|p| p.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["address-refused", "port-refused"]);
}

/// A task that says it listens on a port of agent `on`, as the cluster gave it the port or not.
fn listening(id: &str, on: u8, port: u16, is_given: bool, labels: &[(&str, &str)]) -> Fact {
    let mut facts = task(id, id, on, port, labels);
    if !is_given {
        let definition = (*facts.definition).clone();
        facts.definition = Arc::new(TaskDefinition { host_ports: Box::new([]), ..definition });
    }
    Fact::Task(Box::new(facts))
}

/// Tasks without an endpoint, by id, and whether each has the problem that says so.
fn without_endpoint(table: &Table) -> Vec<(String, bool)> {
    let mut out: Vec<_> = table
        .tasks
        .iter()
        .filter(|(_, view)| view.endpoints().next().is_none())
        .map(|(key, _)| {
            let problems = table.problems.get(&*key.to_string());
            let is_told = problems.is_some_and(|list| list.iter().any(|p| p.code == ProblemCode::AddressRefused));
            (key.task().to_owned(), is_told)
        })
        .collect();
    out.sort();
    out
}

#[test]
fn endpoints_on_sockets_of_ours_are_refused_by_every_address_of_the_machine() {
    let socket = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let mut config = config();
    config.upstreams.allowed_networks.clear();
    config.routing.require_port_resource = false;
    config.dns.listen = vec![socket("0.0.0.0:53")];
    config.dns.tls.listen = vec![socket("[::]:853")];
    config.dns.tls.https_listen = vec![socket("10.1.0.1:443")];
    config.proxy.listeners = vec![ListenerConfig::plain("http", socket("0.0.0.0:80"))];
    config.admin.listen = Some(socket("127.0.0.1:18080"));
    config.admin.metrics_listen = Some(socket("0.0.0.0:9090"));
    config.admin.mesos_dns_listen = Some(socket("0.0.0.0:8123"));
    config.proxy.service_ports.addresses = vec![[0, 0, 0, 0].into()];
    // Agent 1 is this machine, agent 2 is another one.
    config.machine = [[10, 1, 0, 1].into(), [192, 0, 2, 7].into()].into();
    let ours = [53, 853, 443, 80, 9090, 8123, 10_005];
    // Those where nothing of ours listens: the API is on loopback alone.
    let others = [18_080, 8080, 9999, 31_000];
    let mut facts = vec![at(1), at(2), marathon()];
    for on in [1, 2] {
        let numbers = ours.iter().chain(&others);
        facts.extend(numbers.map(|port| listening(&format!("{on}-{port}"), on, *port, *port != 10_005, &[])));
    }
    // Within the ports that apps may claim: the task's own, and one that it asks us to listen on.
    facts.push(listening("given", 1, 10_006, true, &[]));
    facts.push(listening("claimed", 1, 10_007, true, &[("pointsman.http.listen", "10007")]));
    facts.push(listening("claimed-elsewhere", 2, 10_008, true, &[("pointsman.http.listen", "10008")]));
    let mut world = World::with(config.clone());
    world.say(snapshot(1, facts));
    let mut expected: Vec<_> = ours.iter().map(|port| (format!("1-{port}"), true)).collect();
    expected.push(("claimed".to_owned(), true));
    expected.sort();
    assert_eq!(without_endpoint(&world.table()), expected);

    // A machine that has another address now, and an operator who lists the network.
    config.machine = [[10, 1, 0, 2].into()].into();
    world.say(ClusterEvent::Configured(Arc::new(config.clone())));
    let refused: Vec<_> = without_endpoint(&world.table()).into_iter().map(|(id, _)| id).collect();
    assert!(refused.contains(&"2-80".to_owned()) && !refused.contains(&"1-80".to_owned()), "{refused:?}");
    assert!(refused.contains(&"1-443".to_owned()), "a listener on one address has that one: {refused:?}");
    config.upstreams.allowed_networks.push("10.1.0.0/16".parse().unwrap());
    world.say(ClusterEvent::Configured(Arc::new(config)));
    let refused = without_endpoint(&world.table());
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn a_source_that_leaves_the_configuration_takes_its_facts_along() {
    let mut world = world_of(2);
    let mut config = config();
    config.mesos[0].name = "other".into();
    world.say(ClusterEvent::Configured(Arc::new(config)));
    let table = world.table();
    assert_eq!((table.tasks.len(), table.sources[0].state), (0, SourceState::Waiting));
}

#[test]
fn what_is_deleted_from_a_file_is_gone_at_once() {
    let mut config = config();
    let file = pointsman::config::checked::FileConfig { name: "file".into(), path: "f".into(), zones: Vec::new() };
    config.files.push(file.clone());
    let mut world = World::with(config);
    let say = |world: &mut World, stream: u64, text: &str| {
        let document = pointsman::cluster::sources::file::read(text, std::path::Path::new("f"), &file).unwrap();
        let facts = document.contents.into_facts(&"file".into()).collect();
        let event = pointsman::cluster::event::SourceEvent { source: "file".into(), stream, facts };
        world.say(ClusterEvent::Source(event));
        route(&world.table(), "shop.example.com", "/").is_some()
    };
    let shop = "[[services]]\nname = \"shop\"\nhosts = [\"shop.example.com\"]\nendpoints = [\"10.0.0.1:80\"]\n";
    let other = "[[services]]\nname = \"other\"\nhosts = [\"other.example.com\"]\n";
    assert!(say(&mut world, 1, shop));
    assert!(!say(&mut world, 2, other));
    assert!(say(&mut world, 3, &format!("{shop}{other}")));
}

#[test]
fn both_schemes_of_labels_make_an_endpoint_sticky() {
    let haproxy = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_STICKY", "true")];
    let mut world = World::new();
    world.say(snapshot(
        1,
        vec![
            at(1),
            marathon(),
            running("a", "native", 1, &[("pointsman.http.sticky", "true")]),
            running("b", "haproxy", 1, &haproxy),
            running("c", "plain", 1, &[]),
            running("d", "native", 1, &[("pointsman.http.sticky", "true")]),
        ],
    ));
    let table = world.table();
    for service in table.services.values() {
        let endpoint = service.endpoints.at(0).unwrap();
        let wanted = service.id.name() != "plain";
        assert_eq!((endpoint.sticky, service.sticky.get(&endpoint.id.fingerprint()).is_some()), (wanted, wanted));
    }
    // What is gone is not looked for.
    let id = table.services.keys().find(|id| id.name() == "native").unwrap().clone();
    world.facts(1, vec![Fact::Status(Box::new(status("a", TaskState::Ended, None)))]);
    assert_eq!(world.table().service(&id).unwrap().sticky.len(), 1);
}

/// What its clients have in a task's memory is lost at once only where the task goes away by itself.
#[test]
fn what_an_operator_takes_out_of_service_keeps_its_clients_for_a_while() {
    const STICKY: (&str, &str) = ("pointsman.http.sticky", "true");
    let check = |labels: &[(&str, &str)], subject: DrainSubject, then: Option<TaskStatus>, expected: Option<u64>| {
        let mut world = World::new();
        world.say(snapshot(
            1,
            vec![at(1), marathon(), running("a", "web", 1, labels), running("b", "web", 1, &[STICKY])],
        ));
        let kept = |world: &mut World| {
            let table = world.table();
            let service = table.services.values().next().unwrap();
            let endpoint = service.endpoints.iter().find(|endpoint| endpoint.id.task == key("a")).unwrap();
            assert!(table.drains == Drains::default() || service.available.get(&endpoint.id).is_none());
            keeps_until(&table, endpoint)
        };
        assert_eq!(kept(&mut world), None, "nobody said that it is to go away");
        let since = world.now;
        world.say(ClusterEvent::Command(Command::Drain { subject: subject.clone(), actor: "operator".into() }));
        world.pass(3);
        world.facts(1, then.iter().map(|then| Fact::Status(Box::new(then.clone()))).collect());
        let expected = expected.map(|seconds| since.plus(Duration::from_secs(seconds)));
        assert_eq!(kept(&mut world), expected, "{labels:?} {subject} {then:?}");
        world.say(ClusterEvent::Command(Command::Undrain { subject, actor: "operator".into() }));
        assert_eq!(kept(&mut world), None, "it is back, or gone");
    };
    let (task, host) = (DrainSubject::Task(key("a")), DrainSubject::Agent(CLUSTER.into(), "A-S1".into()));
    // The drain time is a minute, and what comes last has ten seconds of it.
    check(&[STICKY], task.clone(), None, Some(50));
    check(&[STICKY], host, None, Some(50));
    check(&[STICKY, ("pointsman.http.drain_time", "8s")], task.clone(), None, Some(4));
    check(&[STICKY, ("pointsman.http.drain_time", "1h")], task.clone(), None, Some(50));
    check(&[], task.clone(), None, None);
    check(&[STICKY], task.clone(), Some(status("a", TaskState::Killing, None)), None);
    check(&[STICKY], task.clone(), Some(status("a", TaskState::Running, Some(false))), None);
    check(&[STICKY], task, Some(status("a", TaskState::Running, Some(true))), Some(50));
}

/// Which of these names have addresses.
fn named(table: &Table, names: &[&str]) -> Vec<bool> {
    let has_address = |name: &&str| match table.names.find(name) {
        Found::Node(_, node) => !node.records.is_empty(),
        _ => false,
    };
    names.iter().map(has_address).collect()
}

#[test]
fn a_name_that_the_policies_refuse_is_a_problem_and_the_rest_counts() {
    let mut config = config();
    config.policies.push(PolicyConfig {
        hosts: vec![HostPattern::Any],
        names: vec!["web.*".into(), "*.other.mesos".into()],
        ..PolicyConfig::default()
    });
    let mut world = World::with(config.clone());
    world.say(snapshot(
        1,
        vec![at(1), marathon(), running("a", "web", 1, &[]), running("b", "db", 1, &[("pointsman.host", "db.test")])],
    ));
    let names = ["web.marathon.mesos", "db.marathon.mesos"];
    let table = world.table();
    assert_eq!(named(&table, &names), [true, false]);
    let problems = table.problems.get(&*key("b").to_string()).unwrap();
    let told: Vec<_> = problems.iter().map(|problem| (problem.code.as_str(), &*problem.at)).collect();
    assert_eq!(told, [("policy-refused", "db.marathon.mesos")]);
    assert!(route(&table, "db.test", "/").is_some() && table.services.values().all(|s| s.available.len() == 1));
    // A policy that changes gives the name, and the problem is gone.
    config.policies[0].names = vec!["*".into()];
    world.say(ClusterEvent::Configured(Arc::new(config)));
    let table = world.table();
    assert_eq!(named(&table, &names), [true, true]);
    assert!(table.problems.is_empty());
}

#[test]
fn the_programs_own_names_take_nothing_from_tasks() {
    let mut config = config();
    config.dns.nameserver = "ns.marathon".into();
    let mut world = World::with(config);
    let own = ["ns", "leader", "master", "master0", "mesos", "ns1", "slave"];
    let mut facts = vec![at(1), marathon()];
    facts.extend(own.iter().map(|name| running(name, name, 1, &[])));
    // Without a framework's part, as if that could be left out.
    facts.push(Fact::Framework(Box::new(FrameworkFacts { id: "F-2".into(), ..framework("") })));
    facts.push(Fact::Task(Box::new(TaskFacts {
        key: TaskKey::new(CLUSTER.into(), "F-2".into(), "x"),
        ..task("x", "leader", 1, 9000, &[])
    })));
    world.say(snapshot(1, facts));
    let table = world.table();
    let agent = pointsman::cluster::event::RecordData::A([10, 1, 0, 1].into());
    for name in ["leader.mesos", "master.mesos", "master0.mesos", "mesos", "ns1.mesos", "_leader._tcp.mesos"] {
        if let Found::Node(_, node) = table.names.find(name) {
            assert!(node.records.iter().all(|record| record.data != agent), "{name}: {node:?}");
        }
    }
    // The name server's own name may be one that a task would have: the server answers with its own address.
    let mut message =
        hickory_proto::op::Message::new(7, hickory_proto::op::MessageType::Query, hickory_proto::op::OpCode::Query);
    let name = hickory_proto::rr::Name::from_ascii("ns.marathon.mesos.").unwrap();
    message.add_query(hickory_proto::op::Query::query(name, hickory_proto::rr::RecordType::A));
    let authority = Authority { names: &*table, own_addresses: &[[192, 0, 2, 53].into()] };
    let (mut random, mut out) = (fastrand::Rng::with_seed(1), Vec::new());
    answer(&authority, Transport::Udp, &message.to_vec().unwrap(), &mut random, &mut out);
    let answer = hickory_proto::op::Message::from_vec(&out).unwrap();
    let addresses: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.53"]);
}

#[test]
fn connected_frameworks_of_one_name_are_a_problem_of_each() {
    let other = |id: &str, name: &str, connected| {
        Fact::Framework(Box::new(FrameworkFacts { id: id.into(), connected, ..framework(name) }))
    };
    let told = |world: &mut World| -> Vec<(String, String)> {
        let table = world.table();
        let all = table.problems.values().flat_map(|list| list.iter());
        let conflicts = all.filter(|problem| problem.code == ProblemCode::NameConflict);
        let mut told: Vec<_> =
            conflicts.map(|problem| (problem.subject.to_string(), problem.message.to_string())).collect();
        told.sort_unstable();
        told
    };
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), marathon(), other("F-0002", "chronos", true)]));
    assert!(told(&mut world).is_empty());
    // What they are called differs, what names are made of does not.
    world.facts(1, vec![other("F-0002", "Marathon", true), other("F-0003", "marathon", true)]);
    let conflicts = told(&mut world);
    let subjects: Vec<_> = conflicts.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["mesos/F-0001", "mesos/F-0002", "mesos/F-0003"]);
    assert!(conflicts[0].1.contains("framework F-0002 and 1 more") && conflicts[0].1.contains("below marathon,"));
    world.facts(1, vec![other("F-0002", "chronos", true)]);
    assert_eq!(told(&mut world).len(), 2);
    // One that has registered anew leaves its former self behind.
    world.facts(1, vec![other("F-0003", "marathon", false)]);
    assert!(told(&mut world).is_empty());
}

#[test]
fn a_framework_without_an_address_is_a_problem_until_it_has_one() {
    let unknown = || FrameworkFacts { address: None, hostname: "agent-7".into(), ..framework("marathon") };
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), Fact::Framework(Box::new(unknown()))]));
    let codes = |table: &Table| -> Vec<_> {
        table.problems.values().flat_map(|list| list.iter().map(|problem| problem.code.as_str())).collect()
    };
    assert_eq!(codes(&world.table()), ["framework-address-unknown"]);
    // An agent of that host name is where it runs.
    world.facts(1, vec![at(7)]);
    assert!(codes(&world.table()).is_empty());
    assert_eq!(named(&world.table(), &["marathon.mesos"]), [true]);
    world.facts(1, vec![Fact::Framework(Box::new(FrameworkFacts { hostname: "elsewhere".into(), ..unknown() }))]);
    assert_eq!(codes(&world.table()), ["framework-address-unknown"]);
    world.facts(1, vec![marathon()]);
    assert!(codes(&world.table()).is_empty());
}

#[test]
fn claims_that_ask_for_different_things_do_not_meet_and_those_that_ask_for_the_same_have_one_holder() {
    let host = ("pointsman.host", "shop.example.com");
    let canary = |value: &'static str| [host, ("pointsman.header", value)];
    let mut world = World::new();
    let (all, one, two) = ([host], canary("x-canary=1; x-b"), canary("X-B ;X-Canary=1"));
    world.say(snapshot(1, vec![at(1), marathon(), running("s1", "stable", 1, &all), running("c1", "canary", 1, &one)]));
    assert!(world.table().problems.is_empty(), "{:?}", world.table().problems);
    world.pass(5);
    world.facts(1, vec![running("r1", "rival", 1, &two)]);
    let table = world.table();
    let problems: Vec<_> = table.problems.values().flat_map(|list| list.iter()).collect();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].subject.contains("rival") && problems[0].message.contains("canary"), "{problems:?}");
    assert_eq!(&*problems[0].at, "shop.example.com/ [header x-b, header x-canary=1]");
    let owner = |table: &Table, lines: &[(&'static str, &'static str)]| {
        let fields = lines
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        let (host, fields) = ("shop.example.com", fields.collect::<http::HeaderMap>());
        let head = pointsman::model::refinement::Head { host, path: "/", query: None, method: "GET", fields: &fields };
        table.routes.find(&head).unwrap().owner.name().to_owned()
    };
    let asking = [("x-canary", "1"), ("x-b", "")];
    assert_eq!((owner(&table, &[]).as_str(), owner(&table, &asking).as_str()), ("stable", "canary"));
    // The claim is stored as it is, and stands after a restart before any task has come back.
    let bytes = world.writer.state().view(world.now).write(Vec::new()).unwrap();
    let state =
        pointsman::cluster::store::read(&bytes[..], std::path::Path::new("state"), Arc::new(config()), world.now);
    let mut restarted = World { writer: Writer::new(state.unwrap(), 2, world.now), now: world.now };
    assert_eq!(owner(&restarted.table(), &asking), "canary");
    // When the holder is gone for good, the other has it.
    world.facts(1, vec![Fact::Status(Box::new(status("c1", TaskState::Ended, None)))]);
    assert_eq!(owner(&world.table(), &asking), "canary");
    world.pass(3600);
    assert_eq!(owner(&world.table(), &asking), "rival");
    assert!(world.table().problems.is_empty());
}

#[test]
fn who_may_not_claim_every_host_and_path_claims_by_no_expression() {
    let policy = |hosts: &[&str], paths: &[&str]| PolicyConfig {
        frameworks: Vec::new(),
        principals: Vec::new(),
        roles: Vec::new(),
        apps: Vec::new(),
        hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        paths: paths.iter().map(|path| (*path).into()).collect(),
        ports: Vec::new(),
        names: Vec::new(),
    };
    let told = |policy: PolicyConfig, labels: &[(&str, &str)]| {
        let mut config = config();
        config.policies.push(policy);
        let mut world = World::with(config);
        world.say(snapshot(1, vec![at(1), marathon(), running("a", "a", 1, labels)]));
        (world.table().routes.iter().count(), world.table().problems.len())
    };
    let by_host = [("pointsman.host_regex", "a[.]example[.]com")];
    assert_eq!(told(policy(&["*.example.com"], &[]), &by_host), (0, 1));
    assert_eq!(told(policy(&["*"], &[]), &by_host), (1, 0));
    let by_path = [("pointsman.host", "a.example.com"), ("pointsman.path_regex", "/a/[0-9]+")];
    assert_eq!(told(policy(&["*.example.com"], &["/a"]), &by_path), (0, 1));
    assert_eq!(told(policy(&["*.example.com"], &[]), &by_path), (1, 0));
    let exact = [("pointsman.host", "a.example.com"), ("pointsman.path_exact", "/a/b")];
    assert_eq!(told(policy(&["*.example.com"], &["/a"]), &exact), (1, 0));
}

/// An app that its framework lists claims what its tasks would: for as long as it is listed, and over a restart.
#[test]
fn an_app_that_is_listed_keeps_what_it_claims_without_tasks() {
    let claim = [("pointsman.host", "shop.example.com"), ("pointsman.allow", "10.0.0.0/8")];
    let declared = |labels: &[(&str, &str)]| {
        let definition = task("x", "shop", 1, 9000, labels).definition;
        Fact::App(Box::new(DeclaredApp { key: key("/shop"), definition }))
    };
    let mut world = World::new();
    world.say(snapshot(1, vec![at(1), declared(&claim), running("t1", "shop", 1, &claim), marathon()]));
    world.pass(10);
    world.facts(1, vec![running("t2", "thief", 1, &claim)]);
    let holder = |world: &mut World| {
        let table = world.table();
        let owner = route(&table, "shop.example.com", "/").map(|route| route.owner.clone())?;
        let service = table.service(&owner).unwrap();
        let is_retained = service.empty_since.is_some();
        Some((owner.name().to_owned(), service.endpoints.len(), is_retained, service.rules.is_some()))
    };
    let empty = Some(("shop".to_owned(), 0, false, true));
    world.facts(1, vec![Fact::Status(Box::new(status("t1", TaskState::Ended, None)))]);
    assert_eq!(holder(&mut world), empty);
    world.pass(10 * 3600);
    assert_eq!(holder(&mut world), empty);
    // Over a restart, and with everything derived anew.
    let bytes = world.writer.state().view(world.now).write(Vec::new()).unwrap();
    let path = std::path::Path::new("state");
    let state = pointsman::cluster::store::read(&bytes[..], path, Arc::new(config()), world.now).unwrap();
    world.writer = Writer::new(state, 2, world.now);
    assert_eq!(holder(&mut world), empty);
    world.say(ClusterEvent::Configured(Arc::new(config())));
    assert_eq!(holder(&mut world), empty);
    // Listed again it stays, and by a list without it it goes: after a while, as a service whose last task is gone.
    let thief = || running("t2", "thief", 1, &claim);
    world.say(snapshot(2, vec![at(1), marathon(), thief(), declared(&claim)]));
    assert_eq!(holder(&mut world), empty);
    world.say(snapshot(3, vec![at(1), marathon(), thief()]));
    assert_eq!(holder(&mut world), Some(("shop".to_owned(), 0, true, true)));
    world.pass(3600);
    assert_eq!(holder(&mut world).map(|holder| holder.0).as_deref(), Some("thief"));
    // What it claims is what it says now.
    world.facts(3, vec![declared(&[("pointsman.host", "other.example.com")])]);
    assert!(route(&world.table(), "other.example.com", "/").is_some());
    world.facts(3, vec![Fact::AppGone(key("/shop"))]);
    world.pass(3600);
    assert!(route(&world.table(), "other.example.com", "/").is_none());
    assert!(world.table().problems.is_empty());
}

/// What a route does belongs to its claim: it outlives the service's last task and a restart.
#[test]
fn a_redirect_outlives_the_last_task_and_a_restart() {
    let mut world = World::new();
    let labels = [
        ("pointsman.host", "old.test"),
        ("pointsman.redirect", "https://new.test/"),
        ("pointsman.filters", "inside, careful"),
    ];
    world.say(snapshot(1, vec![at(1), marathon(), running("t0", "old", 1, &labels), running("t1", "web", 1, &[])]));
    let does = |world: &mut World| {
        let table = world.table();
        route(&table, "old.test", "/").unwrap().actions.as_ref().map(|actions| actions.describe().join(", "))
    };
    // So do the filters that say who is answered.
    let filters = |world: &mut World| {
        let table = world.table();
        let service = table.service(&route(&table, "old.test", "/").unwrap().owner).cloned().unwrap();
        service.rules.as_ref().map(|rules| rules.filters.join(" "))
    };
    assert_eq!(does(&mut world).as_deref(), Some("redirect 302 to https://new.test/"));
    world.facts(1, vec![Fact::Status(Box::new(status("t0", TaskState::Ended, None)))]);
    world.pass(60);
    assert_eq!((world.tasks(), does(&mut world).is_some()), (1, true));
    assert_eq!(filters(&mut world).as_deref(), Some("inside careful"));
    let bytes = world.writer.state().view(world.now).write(Vec::new()).unwrap();
    let config = Arc::new(config());
    let state = pointsman::cluster::store::read(&bytes[..], std::path::Path::new("state"), config, world.now).unwrap();
    world.writer = Writer::new(state, 2, world.now);
    assert_eq!(does(&mut world).as_deref(), Some("redirect 302 to https://new.test/"));
    assert_eq!(filters(&mut world).as_deref(), Some("inside careful"));
    // A new task without the label ends it.
    let plain = running("t2", "old", 1, &[("pointsman.host", "old.test")]);
    world.facts(1, vec![plain]);
    assert_eq!(does(&mut world), None);
}

/// `secret`, hashed.
const HASH: &str = "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.";

/// Users and networks that a service lets in.
fn let_in(table: &Table, name: &str) -> (String, String) {
    let service = table.services.values().find(|service| service.id.name() == name).unwrap();
    let rules = service.rules.as_deref().cloned().unwrap_or_default();
    let users =
        rules.auth.map(|auth| auth.users.iter().map(|(user, _)| user.to_string()).collect::<Vec<_>>().join(" "));
    let networks = rules.networks.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    (users.unwrap_or("all".to_owned()), networks.unwrap_or("all".to_owned()))
}

fn of_framework(framework: &str, fact: Fact) -> Fact {
    let Fact::Task(facts) = fact else { panic!("a task") };
    let key = TaskKey::new(CLUSTER.into(), framework.into(), facts.key.task());
    Fact::Task(Box::new(TaskFacts { key, ..*facts }))
}

#[test]
fn who_joins_another_apps_service_lets_itself_into_nothing() {
    let (ann, eve) = (format!("Staff:ann:{HASH}"), format!("Staff:eve:{HASH}"));
    let host = ("pointsman.host", "shop.test");
    let own = [host, ("pointsman.auth", &*ann), ("pointsman.allow", "10.0.0.0/8")];
    let rules = [("pointsman.auth", &*eve), ("pointsman.allow", "0.0.0.0/0")];
    let by_name = [&rules[..], &[("pointsman.service", "shop")]].concat();
    let by_group = [&rules[..], &[("HAPROXY_GROUP", "x"), ("HAPROXY_DEPLOYMENT_GROUP", "/shop")]].concat();
    let by_framework = [&by_name[..], &[("pointsman.namespace", FRAMEWORK)]].concat();
    let owner = running("o1", "shop", 1, &own);
    for joiner in [
        running("g1", "evil", 1, &by_name),
        running("g1", "evil", 1, &by_group),
        of_framework("F-2", running("g1", "shop", 1, &by_framework)),
    ] {
        for order in [[&owner, &joiner], [&joiner, &owner]] {
            let mut world = World::new();
            world.say(snapshot(1, vec![at(1), marathon()]));
            for fact in order {
                world.facts(1, vec![fact.clone()]);
            }
            let table = world.table();
            assert_eq!(let_in(&table, "shop"), ("ann".to_owned(), "10.0.0.0/8".to_owned()));
            let service = table.services.values().find(|service| service.id.name() == "shop").unwrap();
            assert_eq!(service.endpoints.len(), 2, "it joined");
            let problems = table.problems.get(&*service.id.to_string()).unwrap();
            assert_eq!(problems[0].code, ProblemCode::RulesConflict, "{problems:?}");
            // The same when all is derived anew.
            world.say(ClusterEvent::Configured(Arc::new(config())));
            assert_eq!(let_in(&world.table(), "shop"), ("ann".to_owned(), "10.0.0.0/8".to_owned()));
            // When the owner lets all in, that holds too.
            world.facts(1, vec![running("o1", "shop", 1, &[host])]);
            assert_eq!(let_in(&world.table(), "shop"), ("all".to_owned(), "all".to_owned()));
        }
    }
    // Where no app is named so, what all ask for must hold; each of them is told.
    let mut world = World::new();
    let blue = [&own[..], &[("pointsman.service", "shop")]].concat();
    world.say(snapshot(
        1,
        vec![at(1), marathon(), running("b", "shop-blue", 1, &blue), running("g", "shop-green", 1, &by_name)],
    ));
    assert_eq!(let_in(&world.table(), "shop"), (String::new(), "10.0.0.0/8".to_owned()));
    let told = |table: &Table| -> Vec<String> {
        table.problems.values().flat_map(|list| list.iter().map(|problem| problem.at.to_string())).collect()
    };
    assert_eq!(told(&world.table()), [format!("{FRAMEWORK}/shop-blue"), format!("{FRAMEWORK}/shop-green")]);
    world.facts(1, vec![Fact::TaskGone(key("g"))]);
    assert_eq!(let_in(&world.table(), "shop"), ("ann".to_owned(), "10.0.0.0/8".to_owned()));
    assert!(world.table().problems.is_empty());
}

/// Policies of two teams that share a Marathon, known by their apps.
fn two_teams() -> pointsman::config::Config {
    let team = |app: &str, host: &str, ports: &[u16]| PolicyConfig {
        apps: vec![app.into()],
        hosts: vec![HostPattern::parse(host).unwrap()],
        ports: ports.to_vec(),
        ..PolicyConfig::default()
    };
    let mut config = config();
    config.policies = vec![team("/team-a/*", "*.a.test", &[10_001]), team("/team-b/*", "*.b.test", &[10_002])];
    config.proxy.service_ports.addresses = vec![[127, 0, 0, 1].into()];
    config.proxy.service_ports.allowed = vec![pointsman::model::task::PortRange { begin: 10_000, end: 20_000 }];
    config
}

#[test]
fn a_policy_speaks_of_apps_as_their_framework_calls_them() {
    let instance = |path: &str| format!("{path}.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1");
    let (shop, green, evil) = (instance("team-a_shop"), instance("team-a_shop-green"), instance("team-b_evil"));
    let mut world = World::with(two_teams());
    let joining = |host: &'static str, port: &'static str| {
        [("pointsman.service", "shop.team-a"), ("pointsman.host", host), ("pointsman.listen", port)]
    };
    world.say(snapshot(
        1,
        vec![
            at(1),
            marathon(),
            running(&shop, "shop.team-a", 1, &[("pointsman.host", "shop.a.test"), ("pointsman.listen", "10001")]),
            running(&green, "shop-green.team-a", 1, &joining("green.a.test", "10001")),
            running(&evil, "evil.team-b", 1, &joining("evil.a.test", "10001")),
        ],
    ));
    let table = world.table();
    let count = |name: &str| {
        let found = table.services.values().find(|service| service.id.name() == name);
        found.map(|service| service.endpoints.len())
    };
    assert_eq!((count("shop.team-a"), count("evil.team-b")), (Some(2), Some(1)), "{:?}", table.problems);
    assert!(route(&table, "shop.a.test", "/").is_some() && route(&table, "green.a.test", "/").is_some());
    assert!(route(&table, "evil.a.test", "/").is_none());
    assert_eq!(table.ways.ports.get(&10_001).unwrap().owner.name(), "shop.team-a");
    let mut told: Vec<(&str, &str)> = table
        .problems
        .values()
        .flat_map(|list| list.iter().map(|problem| (problem.code.as_str(), &*problem.at)))
        .collect();
    told.sort_unstable();
    let refused = "policy-refused";
    assert_eq!(told, [(refused, "evil.a.test/"), (refused, "port 10001"), (refused, "service shop.team-a")]);
}

#[test]
fn a_policy_speaks_of_principals_and_roles_for_hosts_and_ports() {
    let mut config = two_teams();
    config.policies[0] =
        PolicyConfig { apps: Vec::new(), principals: vec!["team-a-*".into()], ..config.policies[0].clone() };
    config.policies[1] = PolicyConfig { apps: Vec::new(), roles: vec!["team-b".into()], ..config.policies[1].clone() };
    let as_framework = |principal: &str, roles: &[&str]| {
        let roles = roles.iter().map(|role| (*role).into()).collect();
        Fact::Framework(Box::new(FrameworkFacts { principal: principal.into(), roles, ..framework("marathon") }))
    };
    let had = |framework: Fact, host: &str, port: &str| {
        let mut world = World::with(config.clone());
        let labels = [("pointsman.host", host), ("pointsman.listen", port)];
        world.say(snapshot(1, vec![at(1), framework, running("t", "web", 1, &labels)]));
        let table = world.table();
        (
            table.routes.iter().count(),
            table.ways.ports.iter().count(),
            table.problems.values().map(|p| p.len()).sum::<usize>(),
        )
    };
    type Had = (usize, usize, usize);
    let check = |found: Had, expected: Had| assert_eq!(found, expected);
    check(had(as_framework("team-a-1", &[]), "x.a.test", "10001"), (1, 1, 0));
    check(had(as_framework("team-a-1", &[]), "x.b.test", "10002"), (0, 0, 2));
    check(had(as_framework("other", &["x", "team-b"]), "x.b.test", "10002"), (1, 1, 0));
    check(had(as_framework("other", &["x", "team-b"]), "x.a.test", "10001"), (0, 0, 2));
    check(had(as_framework("other", &["x"]), "x.b.test", "10002"), (0, 0, 2));
    // The first entry that speaks of it decides.
    check(had(as_framework("team-a-1", &["team-b"]), "x.b.test", "10001"), (0, 1, 1));
}

#[test]
fn a_policy_speaks_of_the_role_that_a_task_runs_in() {
    let mut config = two_teams();
    config.policies[0] = PolicyConfig { apps: Vec::new(), roles: vec!["team-a".into()], ..config.policies[0].clone() };
    let both = FrameworkFacts { roles: Box::new(["team-a".into(), "team-b".into()]), ..framework("marathon") };
    for (role, expected) in [(None, true), (Some("team-a"), true), (Some("team-b"), false)] {
        let mut facts = task("t", "web", 1, 9000, &[("pointsman.host", "x.a.test")]);
        let definition = TaskDefinition { role: role.map(Into::into), ..(*facts.definition).clone() };
        facts.definition = Arc::new(definition);
        let mut world = World::with(config.clone());
        let framework = Fact::Framework(Box::new(both.clone()));
        world.say(snapshot(1, vec![at(1), framework, Fact::Task(Box::new(facts))]));
        assert_eq!(route(&world.table(), "x.a.test", "/").is_some(), expected, "{role:?}");
    }
}

#[test]
fn what_is_wrong_with_files_is_a_problem_until_it_is_mended() {
    let fault = |file: &str, message: &str| Problem {
        code: ProblemCode::InvalidCertificate,
        subject: file.into(),
        at: "".into(),
        message: message.into(),
        mend: "mend it".into(),
    };
    let mut world = world_of(1);
    let told = |world: &mut World| -> Vec<String> {
        let table = world.table();
        let problems = table.problems.values().flat_map(|list| list.iter());
        let mut told: Vec<_> = problems.map(|problem| format!("{} {}", problem.subject, problem.message)).collect();
        told.sort();
        told
    };
    let digest = world.table().digest;
    world.say(ClusterEvent::FileFaults(vec![fault("/a.crt", "one"), fault("/a.crt", "two"), fault("/b.crt", "three")]));
    assert_eq!(told(&mut world), ["/a.crt one", "/a.crt two", "/b.crt three"]);
    // Deriving everything anew comes to the same.
    let incremental = pointsman::table::dump::dump(&world.table());
    world.say(ClusterEvent::Configured(Arc::new(config())));
    assert_eq!(pointsman::table::dump::dump(&world.table()), incremental);
    assert_eq!(world.table().digest, digest, "files are an instance's own: what it sees of the cluster is the same");
    let fewer = || ClusterEvent::FileFaults(vec![fault("/a.crt", "two")]);
    assert!(world.say(fewer()).table.is_some());
    assert_eq!(told(&mut world), ["/a.crt two"]);
    assert!(world.say(fewer()).table.is_none(), "nothing has changed");
    world.say(ClusterEvent::FileFaults(Vec::new()));
    assert_eq!((told(&mut world), world.table().digest), (Vec::new(), digest));
}
