//! Recordings of a real master, served byte for byte to the real source: afterwards its facts say what the recorded
//! GET_STATE says, in JSON and in protobuf alike.

mod mesos_support;

use mesos_support::expected::{of_model, of_state};
use mesos_support::facts::{Model, Source, config, losses};
use mesos_support::master::{Answer, Body, End, Master};
use mesos_support::recordings::{ENCODINGS, bytes, count_before, event, first, json, records};
use pointsman::cluster::event::Fact;
use pointsman::config::checked::MesosEncoding;
use pointsman::model::task::{Health, TaskState};
use serde_json::Value;

/// What a source says of a body that is served in random chunks and then cut off.
fn replay(body: &[u8], encoding: MesosEncoding) -> Vec<Fact> {
    let seed = fastrand::u64(..);
    println!("chunks from seed {seed}");
    let body = Body::chunked(body, encoding == MesosEncoding::Json, End::Eof, &mut fastrand::Rng::with_seed(seed));
    let master = Master::start(vec![Answer::Stream(body)], None);
    let mut source = Source::start(config(&[&master.address.to_string()], encoding));
    let mut facts = source.until(|fact| matches!(fact, Fact::Lost { .. }));
    source.stop();
    // Attempts after the end of the recording are none of its business.
    facts.truncate(facts.iter().position(|fact| matches!(fact, Fact::Lost { .. })).unwrap());
    facts
}

/// Replays the first records of the long scenario in both encodings and compares with the state recorded then.
fn scenario_says(state: &str, count: usize) -> Vec<Fact> {
    let recorded = of_state(&json(&format!("scenario/{state}/GET_STATE.json")));
    let mut all = Vec::new();
    for (encoding, name) in ENCODINGS {
        let body = first(&bytes(&format!("scenario/subscribe-full.{name}.recordio")), count);
        let facts = replay(&body, encoding);
        let mut lines = of_model(&Model::of(&facts));
        // The master counts tasks of an agent that unregistered as completed, though they may come back.
        lines.retain(|line| !line.contains(" lost "));
        assert_eq!(lines, recorded, "{name}");
        all.push(facts);
    }
    assert_eq!(without_masters(&all[0]), without_masters(&all[1]), "JSON and protobuf say the same");
    all.swap_remove(0)
}

/// How many events of the long scenario come before one for which `is_next` holds.
fn events_before(is_next: impl Fn(&Value) -> bool) -> usize {
    count_before(&bytes("scenario/subscribe-full.json.recordio"), is_next)
}

/// The masters' addresses differ from one replay to the next.
fn without_masters(facts: &[Fact]) -> Vec<&Fact> {
    facts.iter().filter(|fact| !matches!(fact, Fact::Masters(_))).collect()
}

#[test]
fn the_populated_cluster_is_as_recorded() {
    let count = events_before(|event| {
        let task = event["task_added"]["task"]["task_id"]["value"].as_str();
        task.is_some_and(|task| task.starts_with("group_web.instance-00a033f0"))
    });
    let facts = scenario_says("calls", count);
    let model = Model::of(&facts);
    assert_eq!((model.tasks.len(), model.agents.len(), model.frameworks.len()), (11, 2, 1));
    assert!(model.is_live);
}

#[test]
fn one_that_joins_later_sees_the_same() {
    let recorded = of_state(&json("scenario/calls/GET_STATE.json"));
    let mut all = Vec::new();
    for (encoding, name) in ENCODINGS {
        let body = bytes(&format!("scenario/subscribe-populated.{name}.recordio"));
        let snapshot = replay(&first(&body, 1), encoding);
        assert_eq!(of_model(&Model::of(&snapshot)), recorded, "{name}");
        let kinds: Vec<_> = snapshot.iter().filter(|fact| !matches!(fact, Fact::Masters(_))).collect();
        assert_eq!(kinds.first(), Some(&&Fact::SnapshotStarted));
        assert_eq!(kinds.last(), Some(&&Fact::Live));
        assert!(matches!(kinds[kinds.len() - 2], Fact::SnapshotFinished(scope) if scope.recovered_agents.is_empty()));
        all.push(replay(&body, encoding));
    }
    assert_eq!(without_masters(&all[0]), without_masters(&all[1]));
}

#[test]
fn an_agent_that_becomes_unreachable_takes_its_tasks_along_without_agent_removed() {
    // The next thing is a task that is back: a TASK_ADDED with state RUNNING.
    let is_back = |event: &Value| event["task_added"]["task"]["state"] == "TASK_RUNNING";
    let count = events_before(is_back);
    for (encoding, name) in ENCODINGS {
        let body = first(&bytes(&format!("scenario/subscribe-full.{name}.recordio")), count);
        let facts = replay(&body, encoding);
        let model = Model::of(&facts);
        assert_eq!(model.in_state(TaskState::Unreachable), 5, "{name}");
        let unreachable = model.tasks.values().filter(|task| task.state == TaskState::Unreachable);
        for task in unreachable {
            assert!(task.unreachable_since.is_some() && !task.addresses.is_empty(), "{name}: {task:?}");
        }
        assert!(!facts.iter().any(|fact| matches!(fact, Fact::AgentGone(_))), "{name}");
        // The agent itself vanished in silence: only a listing of the agents tells.
        let recorded = of_state(&json("scenario/calls-agent2-unreachable/GET_STATE.json"));
        let lines = |prefix: &str, lines: Vec<String>| -> Vec<_> {
            lines.into_iter().filter(|line| line.starts_with(prefix)).collect()
        };
        assert_eq!(lines("task", of_model(&model)), lines("task", recorded.clone()), "{name}");
        assert_eq!((model.agents.len(), lines("agent", recorded).len()), (2, 1), "{name}");
    }
}

#[test]
fn tasks_of_an_agent_that_returns_come_before_their_agent() {
    for (encoding, name) in ENCODINGS {
        let facts = replay(&bytes(&format!("scenario/subscribe-full.{name}.recordio")), encoding);
        let is_back = |fact: &Fact| matches!(fact, Fact::Task(task) if task.state == TaskState::Running);
        let tasks: Vec<_> = (0..facts.len()).filter(|at| is_back(&facts[*at])).collect();
        let agent = facts.iter().rposition(|fact| matches!(fact, Fact::Agent(_))).unwrap();
        assert_eq!(tasks.len(), 5, "{name}");
        assert_eq!(*tasks.last().unwrap() + 1, agent, "{name}");
    }
}

#[test]
fn an_agent_that_unregisters_loses_its_tasks_but_they_are_not_final() {
    let count = events_before(|event| event["task_updated"]["status"]["reason"] == "REASON_FRAMEWORK_REMOVED");
    let facts = scenario_says("calls-agent2-removed", count);
    let model = Model::of(&facts);
    assert_eq!((model.in_state(TaskState::Lost), model.agents.len()), (5, 1));
}

#[test]
fn after_a_teardown_nothing_is_left() {
    let facts = scenario_says("calls-after-teardown", events_before(|event| event["type"] == "FRAMEWORK_REMOVED") + 1);
    let model = Model::of(&facts);
    assert_eq!((model.frameworks.len(), model.present().len()), (0, 5), "those of the lost agent are not final");
}

#[test]
fn a_check_that_fails_again_and_again_is_unhealthy_until_it_passes() {
    let facts = replay(&bytes("scenario/subscribe-full.protobuf.recordio"), MesosEncoding::Protobuf);
    let web = |fact: &Fact| match fact {
        Fact::Status(status) if status.key.task().starts_with("group_web.instance-55daecb6") => status.health,
        _ => None,
    };
    let verdicts: Vec<_> = facts.iter().filter_map(web).collect();
    use Health::{Healthy, Unhealthy};
    assert_eq!(verdicts, [Healthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy, Healthy]);
}

#[test]
fn two_hundred_tasks_are_as_recorded() {
    let recorded = of_state(&json("large/GET_STATE.json.gz"));
    let mut all = Vec::new();
    for (encoding, name) in ENCODINGS {
        let facts = replay(&bytes(&format!("large/subscribe-large.{name}.recordio.gz")), encoding);
        assert_eq!(of_model(&Model::of(&facts)), recorded, "{name}");
        all.push(facts);
    }
    assert_eq!(without_masters(&all[0]), without_masters(&all[1]));
}

#[test]
fn bridges_and_container_networks_keep_their_addresses_and_mappings() {
    let mut all = Vec::new();
    for (encoding, name) in ENCODINGS {
        let body = bytes(&format!("synthetic-small/subscribe.{name}.recordio.gz"));
        let mut model = Model::of(&replay(&first(&body, 1), encoding));
        // The two were recorded one after the other, with verdicts in between.
        model.tasks.values_mut().for_each(|task| task.health = Health::Unknown);
        assert_eq!((model.tasks.len(), model.agents.len()), (300, 30), "{name}");
        assert!(model.tasks.values().any(|task| !task.definition.port_mappings.is_empty()), "{name}");
        assert!(model.tasks.values().any(|task| task.addresses.len() == 2), "IPv4 and IPv6, {name}");
        all.push(model);
    }
    assert_eq!(all[0], all[1]);
}

#[test]
fn a_cluster_that_fills_up_is_the_same_as_one_that_is_full() {
    let filling = bytes("synthetic-small/subscribe-from-empty.json.recordio.gz");
    let model = Model::of(&replay(&filling, MesosEncoding::Json));
    assert_eq!((model.tasks.len(), model.agents.len()), (300, 30));
}

#[test]
fn after_a_failover_the_snapshot_is_incomplete_and_says_so() {
    for recording in ["sigterm-subscribe-new-leader", "sigstop-subscribe-new-leader"] {
        let body = bytes(&format!("zookeeper/{recording}.recordio"));
        let snapshot = Model::of(&replay(&first(&body, 1), MesosEncoding::Json));
        let scope = snapshot.scope.expect("a complete SUBSCRIBED");
        assert_eq!(scope.recovered_agents.len(), 1, "{recording}");
        assert!(!scope.authoritative, "{recording}");
        let recovered = &snapshot.agents[scope.recovered_agents[0].as_str()];
        assert!(recovered.recovered && !recovered.active, "{recording}");
        let before = snapshot.tasks.len();

        let facts = replay(&body, MesosEncoding::Json);
        let model = Model::of(&facts);
        assert_eq!(model.tasks.len(), before + 3, "{recording}: the tasks of the agent that is back");
        assert!(model.agents.values().all(|agent| !agent.recovered && agent.active), "{recording}");
        // A framework that is not connected keeps its tasks.
        let framework = snapshot.frameworks.values().next().unwrap();
        assert_eq!(framework.connected, recording.starts_with("sigterm"), "{recording}");
    }
}

#[test]
fn after_a_crash_of_the_leader_the_framework_is_recovered_and_its_tasks_are_there() {
    let body = bytes("zookeeper/kill9-subscribe-new-leader.recordio");
    let facts = replay(&body, MesosEncoding::Json);
    let connected: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Framework(framework) => Some(framework.connected),
            _ => None,
        })
        .collect();
    assert_eq!(connected, [false, true], "it comes back with FRAMEWORK_UPDATED");
    assert_eq!(Model::of(&facts).in_state(TaskState::Running), 6);
}

#[test]
fn a_leader_without_zookeeper_ends_the_stream_and_nothing_is_forgotten() {
    for recording in ["zk-down-subscribe-leader", "kill9-subscribe-old-leader", "sigterm-subscribe-old-leader"] {
        let facts = replay(&bytes(&format!("zookeeper/{recording}.recordio")), MesosEncoding::Json);
        let model = Model::of(&facts);
        assert_eq!(model.in_state(TaskState::Running), 6, "{recording}");
        assert!(!facts.iter().any(|fact| matches!(fact, Fact::TaskGone(_) | Fact::AgentGone(_))), "{recording}");
    }
}

#[test]
fn a_principal_that_may_see_no_tasks_gets_agents_alone() {
    let facts = replay(&bytes("errors-auth/acl-limited-subscribe.recordio"), MesosEncoding::Json);
    let model = Model::of(&facts);
    assert_eq!((model.tasks.len(), model.frameworks.len()), (0, 0));
    assert!(!model.agents.is_empty() && model.is_live, "it is the guard's business to doubt it");
}

#[test]
fn a_subscriber_that_is_evicted_subscribes_again_at_once() {
    let evicted = Body::by_record(&bytes("errors-auth/limit2-subscriber-1.recordio"), true, End::Clean);
    let next = Body::by_record(&bytes("zookeeper/kill9-subscribe-new-leader.recordio"), true, End::Hold);
    let master = Master::start(vec![Answer::Stream(evicted), Answer::Stream(next)], None);
    let mut source = Source::start(config(&[&master.address.to_string()], MesosEncoding::Json));
    let mut streams = Vec::new();
    let mut facts = Vec::new();
    while facts.iter().filter(|fact| matches!(fact, Fact::Live)).count() < 2 {
        let (stream, batch) = source.next();
        streams.push(stream);
        facts.extend(batch);
    }
    assert_eq!(losses(&facts), [format!("{} ended the stream; subscribing again", master.address)]);
    assert!(streams.is_sorted(), "{streams:?}");
    assert_eq!(streams.last().unwrap() - 1, streams[0], "two streams are told apart");
    source.stop();
}

#[test]
fn every_event_of_a_recording_is_counted() {
    let body = bytes("scenario/subscribe-full.json.recordio");
    let expected = records(&body).into_iter().filter(|record| event(record)["type"] == "TASK_UPDATED").count();
    let master = Master::start(vec![Answer::Stream(Body::by_record(&body, true, End::Eof))], None);
    let mut source = Source::start(config(&[&master.address.to_string()], MesosEncoding::Json));
    source.next_loss();
    // The figures are published between two happenings: the next loss comes after them.
    source.next_loss();
    let count = |name: &str, label: &str| {
        let families = source.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect("it is registered");
        let is_it = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        family.get_metric().iter().find(is_it).map_or(0.0, |metric| metric.get_counter().get_value())
    };
    assert_eq!(count("pointsman_mesos_events_total", "task_updated"), expected as f64);
    assert_eq!(count("pointsman_mesos_stream_bytes_total", ""), body.len() as f64);
    source.stop();
}
