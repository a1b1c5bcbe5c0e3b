//! Every situation of the recordings, each in a test that names it: what is served while a real master says it, in
//! JSON and in protobuf alike. What a source says of the recordings is `mesos_replay.rs`' matter, and what it makes of
//! refusals and redirects `mesos_master.rs`'.

mod mesos_support;

use mesos_support::expected::{of_model, of_state};
use mesos_support::facts::Model;
use mesos_support::recordings::{ENCODINGS, bytes, json};
use mesos_support::replay::{Replay, tells};
use pointsman::cluster::sources::mesos::leader::{master_nodes, master_of_node};
use pointsman::cluster::status::SourceState;
use pointsman::config::checked::MesosEncoding;
use pointsman::model::endpoint::EndpointState;
use pointsman::model::task::TaskState;
use serde_json::Value;

const SCENARIO: &str = "scenario/subscribe-full.{}.recordio";
/// How the ids of the web app's tasks begin, whichever version they are of.
const WEB: &str = "group_web.";

/// Runs a test in both encodings.
fn in_both(check: impl Fn(Replay)) {
    for (encoding, _) in ENCODINGS {
        check(Replay::new(SCENARIO, encoding));
    }
}

/// The tasks that the table shows, as the lines of a GET_STATE.
fn shown(replay: &Replay) -> Vec<String> {
    let tasks = replay.table.tasks.iter().map(|(key, task)| (key.to_string(), (*task.facts).clone())).collect();
    of_model(&Model { tasks, ..Model::default() })
}

fn recorded(state: &str) -> Vec<String> {
    let mut lines = of_state(&json(&format!("scenario/{state}/GET_STATE.json")));
    lines.retain(|line| line.starts_with("task "));
    lines
}

fn is_removal(event: &Value) -> bool {
    event["task_updated"]["status"]["reason"] == "REASON_FRAMEWORK_REMOVED"
}

#[test]
fn an_empty_cluster_is_an_answer() {
    in_both(|mut replay| {
        assert!(!replay.table.ready);
        replay.step();
        assert!(replay.table.ready && replay.table.tasks.is_empty());
        assert_eq!(replay.table.sources[0].state, SourceState::Live);
    });
}

#[test]
fn the_table_is_what_get_state_says_wherever_it_was_asked() {
    in_both(|mut replay| {
        replay.through(|event| {
            event["task_added"]["task"]["task_id"]["value"]
                .as_str()
                .is_some_and(|id| id.starts_with("group_web.instance-67556c94"))
        });
        replay.through(|event| {
            tells(event, "group_web.instance-67556c94", "TASK_RUNNING")
                && event["task_updated"]["status"]["healthy"] == true
        });
        assert_eq!(shown(&replay), recorded("calls"));
        replay.through(|event| tells(event, "group_api.d4e6cc92", "TASK_UNREACHABLE"));
        assert_eq!(shown(&replay), recorded("calls-agent2-unreachable"));
        replay.through(|event| event["type"] == "AGENT_REMOVED");
        // The master counts the lost ones as completed, though they may come back.
        let mut lines = shown(&replay);
        lines.retain(|line| !line.contains(" lost "));
        assert_eq!(lines, recorded("calls-agent2-removed"));
        replay.through(|event| event["type"] == "FRAMEWORK_REMOVED");
        assert_eq!(shown(&replay), recorded("calls-after-teardown"));
    });
}

#[test]
fn one_that_joins_later_serves_the_same() {
    for (encoding, _) in ENCODINGS {
        let mut replay = Replay::new("scenario/subscribe-populated.{}.recordio", encoding);
        replay.step();
        assert_eq!(shown(&replay), recorded("calls"));
        assert_eq!(replay.available(WEB), 4);
    }
}

#[test]
fn a_task_is_served_from_its_first_good_verdict_on() {
    in_both(|mut replay| {
        let web = "group_web.instance-55daecb6";
        replay.through(|event| tells(event, web, "TASK_STARTING"));
        assert_eq!(replay.task(web).unwrap().state, EndpointState::Starting);
        replay.through(|event| tells(event, web, "TASK_RUNNING"));
        assert_eq!(replay.task(web).unwrap().state, EndpointState::Unverified);
        assert_eq!(replay.available(WEB), 0);
        replay.through(|event| tells(event, web, "TASK_RUNNING"));
        assert_eq!(replay.task(web).unwrap().state, EndpointState::Ready);
    });
}

#[test]
fn a_task_with_a_check_that_is_no_health_check_is_served_at_once() {
    in_both(|mut replay| {
        replay.through(|event| tells(event, "infra_checked", "TASK_RUNNING"));
        assert_eq!(replay.task("infra_checked").unwrap().state, EndpointState::Ready);
        // A result of its check is no verdict on its health.
        replay.through(|event| tells(event, "infra_checked", "TASK_RUNNING"));
        assert_eq!(replay.task("infra_checked").unwrap().state, EndpointState::Ready);
    });
}

#[test]
fn a_failing_check_is_told_at_every_interval_and_changes_the_table_once() {
    in_both(|mut replay| {
        let web = "group_web.instance-55daecb6";
        let failing = |event: &Value| event["task_updated"]["status"]["healthy"] == false;
        replay.through(failing);
        assert_eq!(replay.available(WEB), 2);
        let generation = replay.table.generation;
        for _ in 0..3 {
            assert!(failing(&replay.step().unwrap()));
        }
        assert_eq!(replay.table.generation, generation, "the same again is no news");
        replay.step();
        assert_eq!((replay.available(WEB), replay.task(web).unwrap().state), (3, EndpointState::Ready));
    });
}

#[test]
fn a_rolling_deploy_never_serves_fewer_and_drains_what_it_ends() {
    in_both(|mut replay| {
        replay.through(|event| {
            tells(event, "group_web.instance-67556c94", "TASK_RUNNING")
                && event["task_updated"]["status"]["healthy"] == true
        });
        assert_eq!(replay.available(WEB), 4, "scaled from three to four");
        for (old, new) in
            [("55daecb6", "00a033f0"), ("931552a1", "b3b46def"), ("ee506103", "f65e8870"), ("67556c94", "bda82d0b")]
        {
            let (old, new) = (format!("group_web.instance-{old}"), format!("group_web.instance-{new}"));
            loop {
                let event = replay.step().unwrap();
                assert!((4..=5).contains(&replay.available(WEB)), "{event}");
                if tells(&event, &old, "TASK_KILLING") {
                    // It goes on for its grace, with the verdict it had; statuses of its end tell none.
                    let task = replay.task(&old).unwrap();
                    assert_eq!((task.state, task.facts.health.as_str()), (EndpointState::Draining, "healthy"));
                    assert_eq!(replay.task(&new).unwrap().state, EndpointState::Ready);
                }
                if tells(&event, &old, "TASK_KILLED") {
                    break;
                }
            }
            assert!(replay.task(&old).is_none());
        }
    });
}

#[test]
fn tasks_that_end_by_themselves_are_gone_at_once() {
    in_both(|mut replay| {
        for (task, end) in
            [("batch_once", "TASK_FINISHED"), ("group_crash", "TASK_FAILED"), ("group_sick", "TASK_KILLED")]
        {
            replay.through(|event| tells(event, task, "TASK_RUNNING"));
            assert!(replay.task(task).is_some(), "{task}");
            replay.through(|event| tells(event, task, end));
            assert!(replay.task(task).is_none(), "{task}");
        }
        // One that asked for too much was refused, and the stream does not say a word of it.
        assert!(replay.task("toobig").is_none());
    });
}

#[test]
fn the_state_is_believed_where_the_status_lags_behind() {
    in_both(|mut replay| {
        let event = replay.through(|event| tells(event, "batch_once", "TASK_RUNNING"));
        assert_eq!(event["task_updated"]["status"]["state"], "TASK_STARTING");
        assert_eq!(replay.task("batch_once").unwrap().facts.state, TaskState::Running);
    });
}

#[test]
fn a_sick_task_that_its_executor_kills_is_not_served_meanwhile() {
    in_both(|mut replay| {
        replay.through(|event| {
            tells(event, "group_sick", "TASK_RUNNING") && event["task_updated"]["status"]["healthy"] == true
        });
        assert_eq!(replay.task("group_sick").unwrap().state, EndpointState::Ready);
        replay.through(|event| tells(event, "group_sick", "TASK_RUNNING"));
        assert_eq!(replay.task("group_sick").unwrap().state, EndpointState::Unhealthy);
        replay.through(|event| tells(event, "group_sick", "TASK_KILLING"));
        assert_eq!(replay.task("group_sick").unwrap().state, EndpointState::Draining);
    });
}

#[test]
fn tasks_of_an_unreachable_agent_stay_in_reserve_and_are_back_with_it() {
    in_both(|mut replay| {
        replay.through(|event| tells(event, "group_api.d4e6cc92", "TASK_UNREACHABLE"));
        let web = replay.task("group_web.instance-f65e8870").unwrap();
        assert_eq!((web.state, web.facts.addresses.len()), (EndpointState::Unreachable, 1), "it keeps its address");
        assert_eq!(replay.available(WEB), 2, "the other half serves");
        let before = replay.table.clone();
        replay.through(|event| event["type"] == "AGENT_ADDED");
        assert_eq!(replay.available(WEB), 4);
        let same = |id: &str| {
            let endpoint = |table: &pointsman::table::Table| {
                let task = table.tasks.iter().find(|(key, _)| key.task().starts_with(id)).unwrap().1.clone();
                task.endpoints().map(|(service, id)| (service.clone(), id)).next()
            };
            assert_eq!(endpoint(&before), endpoint(&replay.table), "an endpoint keeps its identity");
        };
        same("group_web.instance-f65e8870");
    });
}

#[test]
fn an_agent_that_stays_unreachable_loses_its_tasks_after_a_while() {
    in_both(|mut replay| {
        replay.through(|event| tells(event, "group_api.d4e6cc92", "TASK_UNREACHABLE"));
        let tasks = replay.table.tasks.len();
        replay.pass(299);
        assert_eq!(replay.table.tasks.len(), tasks);
        replay.pass(1);
        assert_eq!(replay.table.tasks.len(), tasks - 5);
    });
}

#[test]
fn a_scheduler_that_goes_and_comes_back_changes_no_task() {
    in_both(|mut replay| {
        replay.through(|event| event["agent_added"]["agent"]["reregistered_time"].is_object());
        let before = replay.table.clone();
        replay.through(|event| event["type"] == "FRAMEWORK_UPDATED");
        // The agent was killed and started again meanwhile, too: not even an event.
        assert_eq!(before.tasks.len(), replay.table.tasks.len());
        let differs = |key, task: &std::sync::Arc<_>| {
            !replay.table.tasks.get(key).is_some_and(|now| std::sync::Arc::ptr_eq(now, task))
        };
        assert!(!before.tasks.iter().any(|(key, task)| differs(key, task)), "not one was derived again");
    });
}

#[test]
fn an_agent_that_unregisters_takes_its_tasks_out_of_service_but_they_are_not_final() {
    in_both(|mut replay| {
        replay.through(|event| event["type"] == "AGENT_REMOVED");
        let lost = replay.table.tasks.values().filter(|task| task.facts.state == TaskState::Lost).count();
        assert_eq!((lost, replay.available(WEB)), (5, 2));
    });
}

#[test]
fn a_teardown_ends_everything_at_once_and_the_routes_outlive_it() {
    in_both(|mut replay| {
        let routes = |replay: &Replay| replay.table.routes.iter().count();
        replay.through(is_removal);
        let before = routes(&replay);
        replay.through(|event| event["type"] == "FRAMEWORK_REMOVED");
        assert!(replay.table.tasks.is_empty());
        assert_eq!((routes(&replay), before > 0), (before, true), "503, not another service's wildcard");
    });
}

#[test]
fn the_death_of_the_master_changes_nothing_but_the_sources_state() {
    in_both(|mut replay| {
        replay.through(|event| event["type"] == "AGENT_REMOVED");
        let before = replay.table.clone();
        replay.lose();
        assert_eq!(replay.table.sources[0].state, SourceState::Stale);
        assert_eq!((replay.table.tasks.len(), replay.available(WEB)), (before.tasks.len(), 2));
    });
}

#[test]
fn an_incomplete_snapshot_after_a_failover_removes_nothing() {
    for recording in ["sigterm", "sigstop"] {
        let mut replay =
            Replay::new(&format!("zookeeper/{recording}-subscribe-old-leader.recordio"), MesosEncoding::Json);
        replay.all();
        let before = replay.table.clone();
        assert!(!before.tasks.is_empty());
        replay.lose();
        replay.subscribe(&format!("zookeeper/{recording}-subscribe-new-leader.recordio"));
        while replay.step().is_some() {
            for (key, task) in before.tasks.iter() {
                let now = replay.table.tasks.get(key).map(|task| task.state);
                assert_eq!(now, Some(task.state), "{recording}: {key}");
            }
        }
        assert_eq!(replay.table.sources[0].recovered_agents, 0, "{recording}: all are back");
        replay.pass(3600);
        assert_eq!(replay.table.tasks.len(), before.tasks.len());
    }
}

#[test]
fn a_crash_of_the_leader_removes_nothing() {
    let mut replay = Replay::new("zookeeper/kill9-subscribe-old-leader.recordio", MesosEncoding::Json);
    replay.all();
    let before = replay.table.clone();
    replay.lose();
    replay.subscribe("zookeeper/kill9-subscribe-new-leader.recordio");
    while replay.step().is_some() {
        assert_eq!(replay.table.tasks.len(), before.tasks.len());
    }
}

#[test]
fn a_principal_that_may_see_no_tasks_empties_nothing() {
    // That stream was recorded in JSON alone.
    let mut replay = Replay::new(SCENARIO, MesosEncoding::Json);
    replay.through(|event| event["type"] == "FRAMEWORK_UPDATED");
    let tasks = replay.table.tasks.len();
    replay.subscribe("errors-auth/acl-limited-subscribe.recordio");
    replay.all();
    assert_eq!(replay.table.tasks.len(), tasks);
    replay.pass(86_400);
    let held = replay.table.sources[0].held.clone().expect("it is doubted");
    assert!(held.until.is_none() && held.tasks == tasks, "{held:?}");
    assert_eq!(replay.table.tasks.len(), tasks, "and never believed by time alone");
}

#[test]
fn two_hundred_launches_and_a_teardown_leave_nothing() {
    let mut replay = Replay::new("large/subscribe-large-launch.json.recordio.gz", MesosEncoding::Json);
    let mut most = 0;
    while replay.step().is_some() {
        most = most.max(replay.table.tasks.len());
    }
    assert_eq!((most, replay.table.tasks.len()), (200, 0));
}

#[test]
fn the_lowest_node_in_zookeeper_is_the_leader_at_every_step() {
    for (step, leader) in [
        ("A-alone", "127.0.0.1:5050"),
        ("three-masters", "127.0.0.1:5050"),
        ("after-kill9", "127.0.0.1:5060"),
        ("A-back", "127.0.0.1:5060"),
        ("after-sigterm", "127.0.0.1:5070"),
        ("all-back", "127.0.0.1:5070"),
    ] {
        let listing = json(&format!("zookeeper/znodes-{step}.json"));
        let children: Vec<String> = serde_json::from_value(listing["children_as_listed"].clone()).unwrap();
        let nodes = master_nodes(&children);
        assert!(nodes.len() < children.len() && !nodes.is_empty(), "{step}: other children are no masters");
        let value = bytes(&format!("zookeeper/znode-{step}-{}", nodes[0].name));
        let (master, address) = master_of_node(&nodes[0].name, &value).unwrap();
        assert_eq!((master.to_string().as_str(), address), (leader, Some(leader.parse().unwrap())), "{step}");
    }
}
