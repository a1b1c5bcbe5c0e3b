//! Who is taken out of service when, by the events that the source itself sends. Time is paused.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::metrics::MarathonMetrics;
use super::run::{Following, Source};
use super::translate::Scope;
use super::wire::Info;
use crate::cluster::event::{ClusterEvent, EventReceiver, Fact};
use crate::config::checked::MarathonConfig;
use crate::model::task::TaskState;

/// A source that has read what there is, and what it sends.
struct Stage {
    source: Source,
    on: Following,
    events: EventReceiver,
}

impl Stage {
    /// Of one app, with tasks by number and whether their health check has said yes.
    async fn of(tasks: &[(u32, bool)], change: impl FnOnce(&mut MarathonConfig)) -> Self {
        let mut config = MarathonConfig::with_urls("marathon", &["http://127.0.0.1:1"]);
        change(&mut config);
        let scope = Scope { cluster: "c".into(), framework: "f".into(), use_health: true, active_checks: false };
        let metrics = MarathonMetrics::register(&prometheus::Registry::new()).unwrap().source(&config.name);
        let (sender, events) = mpsc::channel(100);
        let source = Source::new(config, true, sender, Arc::new(Notify::new()), metrics);
        let mut stage = Self { source, on: Following::new(Info::default(), scope, Instant::now()), events };
        stage.read(tasks).await;
        // Everything was read on this stream.
        assert!(stage.on.reads.next(Instant::now()).is_some());
        stage.on.reads.end();
        stage
    }

    /// An answer about the app; in which states it shows its tasks to others.
    async fn read(&mut self, tasks: &[(u32, bool)]) -> Vec<TaskState> {
        let task = |(number, alive): &(u32, bool)| {
            json!({ "id": id(*number), "appId": "/a", "host": "192.0.2.1", "slaveId": "s", "ports": [80],
                "state": "TASK_RUNNING", "version": "2026-01-01T00:00:00.000Z",
                "healthCheckResults": if *alive { json!([{ "alive": true }]) } else { json!([]) } })
        };
        let app = json!({ "app": { "id": "/a", "labels": {}, "networks": [{ "mode": "host" }],
            "portDefinitions": [{ "port": 0, "name": "http" }], "healthChecks": [{ "protocol": "HTTP" }],
            "tasks": tasks.iter().map(task).collect::<Vec<_>>() } });
        self.source.take_one("/a", Some(app.to_string().as_bytes()), None, &self.on.scope).await.unwrap();
        let mut states = Vec::new();
        while let Ok(ClusterEvent::Source(event)) = self.events.try_recv() {
            states.extend(event.facts.into_iter().filter_map(|fact| match fact {
                Fact::Task(task) => Some(task.state),
                _ => None,
            }));
        }
        states
    }

    async fn hear(&mut self, kind: &str, mut event: Value) {
        event["eventType"] = kind.into();
        let bytes = format!("event: {kind}\r\ndata: {event}\r\n\r\n");
        self.source.hear(bytes.as_bytes(), &mut self.on).await.unwrap();
    }

    /// The successor is found healthy: the app is to be read.
    async fn hear_of_health(&mut self) {
        self.hear("health_status_changed_event", json!({ "appId": "/a", "alive": true })).await;
    }

    async fn hear_of_status(&mut self, number: u32, status: &str) {
        let event = json!({ "appId": "/a", "taskId": id(number), "taskStatus": status });
        self.hear("status_update_event", event).await;
    }

    /// Statuses that were sent since the last look.
    fn told(&mut self) -> Vec<(String, TaskState)> {
        let mut told = Vec::new();
        while let Ok(ClusterEvent::Source(event)) = self.events.try_recv() {
            told.extend(event.facts.into_iter().filter_map(|fact| match fact {
                Fact::Status(status) => Some((status.key.task().to_owned(), status.state)),
                _ => None,
            }));
        }
        told
    }
}

fn id(number: u32) -> String {
    format!("a.instance-c9de6033-b669-11e6-a48f-{number:012x}._app.1")
}

fn killing(numbers: &[u32]) -> Vec<(String, TaskState)> {
    numbers.iter().map(|number| (id(*number), TaskState::Killing)).collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_last_one_is_held_back() {
    let mut stage = Stage::of(&[(1, true), (2, true), (3, false), (4, false)], |_| {}).await;
    stage.hear_of_health().await;
    // The second one can stand in for the first one.
    stage.hear_of_status(1, "TASK_KILLING").await;
    assert_eq!(stage.told(), killing(&[1]));
    // Nobody for the second: the first one is leaving, and the others have no verdict yet.
    stage.hear_of_status(2, "TASK_KILLING").await;
    assert!(stage.told().is_empty());
    assert_eq!(stage.on.killing.due().map(|due| due - Instant::now()), Some(Duration::from_millis(500)));
    // That it has ended is told at once.
    stage.hear_of_status(2, "TASK_KILLED").await;
    assert_eq!((stage.told(), stage.on.killing.due()), (vec![(id(2), TaskState::Ended)], None));
}

/// A sidecar serves nothing of what its app does.
#[tokio::test(start_paused = true)]
async fn of_a_pod_only_containers_of_one_name_stand_in() {
    let mut stage = Stage::of(&[], |_| {}).await;
    let instance = |number: u32| {
        let container = |name: &str| json!({ "name": name, "status": "TASK_RUNNING", "endpoints": [] });
        json!({ "id": format!("p.instance-{number}"), "status": "STABLE", "agentHostname": "192.0.2.1", "agentId": "s",
            "networks": [{ "addresses": ["10.0.0.1"] }], "containers": [container("app"), container("sidecar")] })
    };
    let pod = |instances: Vec<Value>| {
        let container = |name: &str| json!({ "name": name, "endpoints": [] });
        let spec = json!({ "id": "/p", "containers": [container("app"), container("sidecar")] });
        json!({ "id": "/p", "spec": spec, "instances": instances }).to_string()
    };
    for (instances, is_held) in [(vec![instance(1)], true), (vec![instance(1), instance(2)], false)] {
        let answer = pod(instances);
        stage.source.take_one("/p", None, Some(answer.as_bytes()), &stage.on.scope).await.unwrap();
        stage.told();
        stage.on.reads.want(["/p".to_owned()]);
        let event = json!({ "appId": "/p", "taskId": "p.instance-1.app", "taskStatus": "TASK_KILLING" });
        stage.hear("status_update_event", event).await;
        assert_eq!((stage.told().is_empty(), stage.on.killing.due().is_some()), (is_held, is_held));
        stage.on.killing.end();
    }
}

/// What the answer says that it waited for is of before, perhaps.
#[tokio::test(start_paused = true)]
async fn no_answer_shows_one_as_running_that_leaves_with_it() {
    let mut stage = Stage::of(&[(1, true), (2, true)], |_| {}).await;
    stage.hear_of_health().await;
    stage.hear_of_status(1, "TASK_KILLING").await;
    assert_eq!(stage.told(), killing(&[1]));
    stage.source.leaving = stage.on.killing.answered(Some("/a"));
    assert_eq!(stage.read(&[(1, true), (2, true)]).await, [TaskState::Killing, TaskState::Running]);
}

#[tokio::test(start_paused = true)]
async fn the_last_one_is_told_at_once_where_nothing_else_is_to_be_known() {
    let mut stage = Stage::of(&[(1, true)], |_| {}).await;
    stage.hear_of_status(1, "TASK_KILLING").await;
    assert_eq!((stage.told(), stage.on.killing.due()), (killing(&[1]), None));
}

#[tokio::test(start_paused = true)]
async fn checks_that_are_made_here_decide_who_stands_in() {
    let mut stage = Stage::of(&[(1, true), (2, true)], |config| config.active_checks = true).await;
    stage.hear_of_health().await;
    stage.hear_of_status(1, "TASK_KILLING").await;
    assert!(stage.told().is_empty() && stage.on.killing.due().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_before_is_not_waited_for() {
    let mut stage = Stage::of(&[(1, true), (2, false)], |_| {}).await;
    // One answer is on its way as the successor is found healthy: it does not tell of that.
    stage.hear_of_health().await;
    assert!(stage.on.reads.next(Instant::now()).is_some());
    stage.hear_of_health().await;
    stage.hear_of_status(1, "TASK_KILLING").await;
    stage.on.reads.end();
    stage.read(&[(1, true), (2, false)]).await;
    assert_eq!(stage.on.killing.answered(Some("/a")), [""; 0]);
    assert_eq!(stage.on.killing.answered(Some("/a")), [id(1)]);
}
