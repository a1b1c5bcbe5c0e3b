//! The Marathon source against a small Marathon: deploys, leaders, cut streams, garbage, poison.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/facts.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod facts;
mod marathon_common;
mod proxy_common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use facts::CLUSTER;
use marathon_common::server::{FRAMEWORK, Marathon, answers, answers_status, app, following, task, web};
use marathon_common::*;
use pointsman::cluster::event::Fact;
use pointsman::cluster::sources::marathon::translate::{self, Said, Scope};
use pointsman::cluster::sources::marathon::{changes, pods};
use pointsman::config::checked::{MarathonConfig, MarathonCredentials, MesosConfig, Secret};
use pointsman::model::endpoint::EndpointState;
use pointsman::model::problem::ProblemCode;
use pointsman::model::task::{Checked, Health, TaskFacts, TaskState};
use pointsman::table::Table;
use proxy_common::{Backend, body, header, ports, status};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_deploy_reads_the_app_that_changed_and_no_other() {
    let (old, new, other) =
        (Backend::saying("old").await, Backend::saying("new").await, Backend::saying("other").await);
    let marathon = Marathon::start().await;
    marathon.put(web("/team/shop", "shop.test", &[&old]));
    marathon.put(web("/other", "other.test", &[&other]));
    let server = following(&[&marathon], |_| {});
    answers(&server, "shop.test", "old").await;
    answers(&server, "other.test", "other").await;
    let whole = marathon.asked("/v2/apps?");
    for turn in 0..5 {
        let (backend, text) = if turn % 2 == 0 { (&new, "new") } else { (&old, "old") };
        marathon.put(web("/team/shop", "shop.test", &[backend]));
        marathon.changed("/team/shop");
        answers(&server, "shop.test", text).await;
    }
    assert_eq!(marathon.asked("/v2/apps?"), whole, "the list was read again");
    assert_eq!(marathon.asked("/v2/apps/team/shop?"), 5);
    assert_eq!(marathon.asked("/v2/apps/other?"), 0);
    // An app that is gone takes its route along.
    marathon.state().apps.remove("/team/shop");
    marathon.tell("app_terminated_event", json!({ "appId": "/team/shop" }));
    answers_status(&server, "shop.test", 404).await;
    answers(&server, "other.test", "other").await;
}

#[tokio::test]
async fn a_task_that_is_killed_gets_nothing_before_its_app_is_read() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&one, &two]));
    let server = following(&[&marathon], |_| {});
    server.table_until("both tasks", |table| table.tasks.iter().count() == 2).await;
    let id = web("/web", "web.test", &[&one, &two])["tasks"][0]["id"].clone();
    // The list still has the task as running, as an answer that was made before would.
    marathon.tell("status_update_event", json!({ "appId": "/web", "taskId": id, "taskStatus": "TASK_KILLED" }));
    server.table_until("it is gone", |table| table.tasks.iter().count() == 1).await;
    for _ in 0..10 {
        assert_eq!(body(&get(server.http, "web.test", "/").await), "two");
    }
    // Reading the app again does not bring it back.
    let read = marathon.asked("/v2/apps/web?");
    marathon.changed("/web");
    proxy_common::until("the app is read", || marathon.asked("/v2/apps/web?") > read).await;
    assert_eq!(server.table().tasks.iter().count(), 1);
}

#[tokio::test]
async fn the_only_task_is_replaced_without_a_gap() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    let version = |old_state: Option<&str>, new_alive: Option<bool>| {
        let both = web("/web", "web.test", &[&old, &new]);
        let mut app = both.clone();
        app["healthChecks"] = json!([{ "protocol": "HTTP", "portIndex": 0 }]);
        let mut tasks = Vec::new();
        if let Some(state) = old_state {
            let mut task = both["tasks"][0].clone();
            (task["state"], task["healthCheckResults"]) = (state.into(), json!([{ "alive": true }]));
            tasks.push(task);
        }
        if let Some(alive) = new_alive {
            let mut task = both["tasks"][1].clone();
            task["healthCheckResults"] = if alive { json!([{ "alive": true }]) } else { json!([]) };
            tasks.push(task);
        }
        app["tasks"] = tasks.into();
        app
    };
    marathon.put(version(Some("TASK_RUNNING"), None));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    marathon.put(version(Some("TASK_RUNNING"), Some(false)));
    marathon.changed("/web");
    server.table_until("both tasks", |table| table.tasks.iter().count() == 2).await;
    // The new one is healthy and the old one killed at once, and Marathon takes its time to answer.
    let (old_id, read) = (version(Some(""), None)["tasks"][0]["id"].clone(), marathon.asked("/v2/apps/web?"));
    marathon.state().slow = Duration::from_millis(100);
    marathon.put(version(Some("TASK_RUNNING"), Some(true)));
    marathon.tell("health_status_changed_event", json!({ "appId": "/web", "alive": true }));
    proxy_common::until("it is asked", || marathon.asked("/v2/apps/web?") > read).await;
    marathon.put(version(Some("TASK_KILLING"), Some(true)));
    marathon.tell("status_update_event", json!({ "appId": "/web", "taskId": old_id, "taskStatus": "TASK_KILLING" }));
    let begun = std::time::Instant::now();
    loop {
        let answer = get(server.http, "web.test", "/").await;
        assert_eq!(status(&answer), 200, "{answer}");
        if body(&answer) == "new" {
            break;
        }
        assert!(begun.elapsed() < proxy_common::PATIENCE, "the new one is never asked");
    }
    let is_leaving = |table: &Table| {
        let states: Vec<_> = table.tasks.values().map(|task| task.state).collect();
        states.contains(&EndpointState::Draining) && states.contains(&EndpointState::Ready)
    };
    server.table_until("the old one gets nothing more", is_leaving).await;
}

/// The state of a task's endpoint, by its backend.
fn state_of(table: &Table, backend: &Backend) -> Option<EndpointState> {
    let mut endpoints = table.services.values().flat_map(|service| service.endpoints.iter());
    endpoints.find(|endpoint| endpoint.address == backend.address).map(|endpoint| endpoint.state)
}

#[tokio::test]
async fn whoever_waits_for_a_successor_is_out_of_service_when_the_stream_ends() {
    let only = Backend::saying("only").await;
    let marathon = Marathon::start().await;
    let app = web("/web", "web.test", &[&only]);
    marathon.put(app.clone());
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "only").await;
    // The app is being read, which takes longer than anybody waits here, and Marathon goes away.
    let read = marathon.asked("/v2/apps/web?");
    marathon.state().slow = 2 * proxy_common::PATIENCE;
    marathon.changed("/web");
    proxy_common::until("it is asked", || marathon.asked("/v2/apps/web?") > read).await;
    let heard = server.metric("pointsman_marathon_events_total");
    let id = app["tasks"][0]["id"].clone();
    marathon.tell("status_update_event", json!({ "appId": "/web", "taskId": id, "taskStatus": "TASK_KILLING" }));
    proxy_common::until("it is heard", || server.metric("pointsman_marathon_events_total") > heard).await;
    marathon.state().down = true;
    marathon.cut();
    let is_leaving = |table: &Table| state_of(table, &only) == Some(EndpointState::Draining);
    server.table_until("it gets nothing more", is_leaving).await;
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_brings_nobody_back() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let marathon = Marathon::start().await;
    let mut app = web("/web", "web.test", &[&one, &two]);
    marathon.put(app.clone());
    let server = following(&[&marathon], |_| {});
    server.table_until("both tasks", |table| table.tasks.iter().count() == 2).await;
    // The answer is made while both run, and arrives when one of them is on its way out for longer than it could be held back.
    let read = marathon.asked("/v2/apps/web?");
    marathon.state().slow = Duration::from_secs(1);
    app["labels"]["HAPROXY_0_VHOST"] = "web.test,read.test".into();
    marathon.put(app.clone());
    marathon.changed("/web");
    proxy_common::until("it is asked", || marathon.asked("/v2/apps/web?") > read).await;
    marathon.state().slow = 2 * proxy_common::PATIENCE;
    let id = app["tasks"][0]["id"].clone();
    marathon.tell("status_update_event", json!({ "appId": "/web", "taskId": id, "taskStatus": "TASK_KILLING" }));
    let is_leaving = |table: &Table| state_of(table, &one) == Some(EndpointState::Draining);
    server.table_until("it gets nothing more", is_leaving).await;
    answers(&server, "read.test", "two").await;
    server.table_until("the answer does not bring it back", is_leaving).await;
}

/// One answer, and the end of the connection.
async fn say_db(mut stream: tokio::net::TcpStream, _number: usize) {
    if proxy_common::read_head(&mut stream).await.is_some() {
        let _ = stream.write_all(proxy_common::ok("db").as_bytes()).await;
    }
}

#[tokio::test]
async fn service_ports_of_marathon_are_listened_on() {
    let (shop, db) = (Backend::saying("web").await, Backend::start(say_db).await);
    let (http, tcp) = (ports::unused(), ports::unused());
    let marathon = Marathon::start().await;
    let group = json!({ "HAPROXY_GROUP": "external" });
    let mut checked = app("/web", http.port(), &group, &[task("/web", 1, shop.address)]);
    checked["healthChecks"] = json!([{ "protocol": "HTTP", "portIndex": 0 }]);
    checked["tasks"][0]["healthCheckResults"] = json!([{ "alive": true }]);
    marathon.put(checked);
    marathon.put(app("/db", tcp.port(), &group, &[task("/db", 2, db.address)]));
    let server = following(&[&marathon], |_| {});
    // A check by HTTP makes it HTTP; without check and host it is TCP, which carries HTTP as well as anything.
    let answer = get(http, "x", "/").await;
    assert!(body(&answer) == "web" && header(&answer, "via").is_some(), "{answer}");
    let answer = get(tcp, "x", "/").await;
    assert!(body(&answer) == "db" && header(&answer, "via").is_none(), "{answer}");
    // By the app's id, too.
    let answer = ask(server.apps, "GET", "x", "/", &[("X-Marathon-App-Id", "/web")]).await;
    assert_eq!(body(&answer), "web");
    // Without the group nothing is listened on.
    marathon.put(app("/db", tcp.port(), &json!({}), &[task("/db", 2, db.address)]));
    marathon.changed("/db");
    closed(tcp).await;
    assert_eq!(body(&get(http, "x", "/").await), "web");
}

#[tokio::test]
async fn unknown_health_keeps_the_verdict_through_a_change_of_leader() {
    let backend = Backend::saying("web").await;
    let (first, second) = (Marathon::start().await, Marathon::start().await);
    let with = |results: Value| {
        let mut app = web("/web", "web.test", &[&backend]);
        app["healthChecks"] = json!([{ "protocol": "HTTP", "portIndex": 0 }]);
        app["tasks"][0]["healthCheckResults"] = results;
        app
    };
    first.put(with(json!([])));
    let server = following(&[&first, &second], |_| {});
    // A new task without a verdict is not ready.
    answers_status(&server, "web.test", 503).await;
    first.put(with(json!([{ "alive": true }, { "alive": false }, null])));
    first.tell("health_status_changed_event", json!({ "appId": "/web", "alive": true }));
    answers(&server, "web.test", "web").await;
    // The new leader knows no verdict, and the old one sends there.
    second.put(with(json!([])));
    first.put(with(json!([])));
    first.state().leader = Some(second.address);
    first.cut();
    proxy_common::until("the new leader is followed", || second.followers() > 0).await;
    server.table_until("it is live", |table| !table.is_stale()).await;
    for _ in 0..10 {
        assert_eq!(status(&get(server.http, "web.test", "/").await), 200);
    }
    second.put(with(json!([{ "alive": false }])));
    first.put(with(json!([{ "alive": false }])));
    second.tell("health_status_changed_event", json!({ "appId": "/web", "alive": false }));
    let unhealthy = |table: &Table| table.tasks.values().all(|task| task.facts.health == Health::Unhealthy);
    server.table_until("the verdict", unhealthy).await;
}

#[tokio::test]
async fn losing_marathon_loses_nothing() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&old]));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    marathon.state().down = true;
    marathon.cut();
    server.table_until("it is stale", Table::is_stale).await;
    assert_eq!(body(&get(server.http, "web.test", "/").await), "old");
    // What changed meanwhile is read when it is back.
    marathon.put(web("/web", "web.test", &[&new]));
    marathon.state().down = false;
    answers(&server, "web.test", "new").await;
    server.table_until("it is live", |table| !table.is_stale()).await;
}

/// Labels that crash marathon-lb, or that it puts into HAProxy's file.
fn poison() -> Vec<Value> {
    vec![
        json!({ "HAPROXY_0_AUTH": "only:two" }),
        json!({ "HAPROXY_0_PORT": "many" }),
        json!({ "HAPROXY_0_BACKEND_WEIGHT": "heavy" }),
        json!({ "HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX": "x" }),
        json!({ "HAPROXY_0_BACKEND_HEAD": "{unknown} {" }),
        json!({ "HAPROXY_0_HTTP_FRONTEND_ACL": "bind :80" }),
        json!({ "HAPROXY_DEPLOYMENT_GROUP": "", "HAPROXY_DEPLOYMENT_STARTED_AT": "yesterday" }),
        json!({ "HAPROXY_0_MODE": "quic" }),
        json!({ "HAPROXY_0_BALANCE": "uri" }),
        json!({ "HAPROXY_99_VHOST": "x.test" }),
        json!({ "HAPROXY_0_VHOST": "http://not a host/" }),
        json!({ "HAPROXY_0_BIND_OPTIONS": "ssl crt /etc/passwd" }),
    ]
}

#[tokio::test]
async fn poison_harms_its_own_app_alone() {
    let good = Backend::saying("good").await;
    let marathon = Marathon::start().await;
    marathon.put(web("/good", "good.test", &[&good]));
    let server = following(&[&marathon], |_| {});
    answers(&server, "good.test", "good").await;
    let count = poison().len();
    for (at, mut labels) in poison().into_iter().enumerate() {
        labels["HAPROXY_GROUP"] = "external".into();
        if labels.get("HAPROXY_0_VHOST").is_none() {
            labels["HAPROXY_0_VHOST"] = format!("p{at}.test").into();
        }
        let id = format!("/poison-{at}");
        let tasks = [task(&id, u32::try_from(at).unwrap(), good.address)];
        marathon.put(app(&id, 0, &labels, &tasks));
        marathon.changed(&id);
    }
    server.table_until("every app was read", |table| table.tasks.iter().count() == count + 1).await;
    let problems = server.problems();
    for at in 0..count {
        let own = problems.iter().filter(|problem| problem.subject.contains(&format!("poison-{at}.")));
        assert!(own.count() >= 1, "poison-{at} has no problem: {problems:#?}");
    }
    assert!(!problems.iter().any(|problem| problem.subject.contains("good")), "{problems:#?}");
    // An update of the good app is as quick as ever, and the bad ones serve what could be understood.
    assert_eq!(status(&get(server.http, "p0.test", "/").await), 401);
    for host in ["p1.test", "p2.test", "p3.test", "p4.test", "p5.test", "p8.test", "p9.test", "p11.test"] {
        assert_eq!(body(&get(server.http, host, "/").await), "good", "{host}");
    }
    let new = Backend::saying("new").await;
    marathon.put(web("/good", "good.test", &[&new]));
    marathon.changed("/good");
    answers(&server, "good.test", "new").await;
}

#[tokio::test]
async fn garbage_harms_nothing() {
    let good = Backend::saying("good").await;
    let marathon = Marathon::start().await;
    marathon.put(web("/good", "good.test", &[&good]));
    // Documents that are no apps, and an app with a task that is none.
    marathon.state().apps.insert("/wrong".into(), json!({ "id": "/wrong", "labels": 7 }));
    marathon.state().apps.insert("/worse".into(), json!("app"));
    let mut lacking = app("/lacking", 0, &json!({}), &[json!({ "id": 7 }), task("/lacking", 7, good.address)]);
    lacking.as_object_mut().unwrap().remove("labels");
    marathon.put(lacking);
    let server = following(&[&marathon], |_| {});
    answers(&server, "good.test", "good").await;
    server.table_until("every app was read", |table| table.tasks.iter().count() == 2).await;
    let unreadable = server.problems().iter().filter(|problem| problem.code == ProblemCode::InvalidFact).count();
    assert_eq!(unreadable, 3, "{:#?}", server.problems());
    // Events that are none, then one that is.
    marathon.tell_raw(b"event: status_update_event\r\ndata: {\r\n\r\n");
    marathon.tell_raw(b"data\xff\xfe: 7\r\n\r\n:\r\n\r\nevent\r\n\r\n");
    marathon.tell_raw(b"event: api_post_event\r\ndata: {\"uri\":\"/v2/apps/../../secrets?x\"}\r\n\r\n");
    let new = Backend::saying("new").await;
    marathon.put(web("/good", "good.test", &[&new]));
    marathon.changed("/good");
    answers(&server, "good.test", "new").await;
    // A list that is garbage loses nothing either.
    marathon.state().garbage = Some("<html>".into());
    marathon.cut();
    server.table_until("it is stale", Table::is_stale).await;
    assert_eq!(body(&get(server.http, "good.test", "/").await), "new");
    marathon.state().garbage = None;
    server.table_until("it is live", |table| !table.is_stale()).await;
    assert_eq!(server.table().tasks.iter().count(), 2);
}

#[tokio::test]
async fn it_adds_to_what_mesos_tells_and_makes_no_task_exist() {
    let backend = Backend::saying("web").await;
    let port = ports::unused();
    let marathon = Marathon::start().await;
    let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_MODE": "http" });
    let mut shop = app("/shop", port.port(), &labels, &[task("/shop", 1, backend.address)]);
    shop["healthChecks"] = json!([{ "protocol": "TCP" }]);
    shop["tasks"][0]["healthCheckResults"] = json!([{ "alive": true }]);
    marathon.put(shop);
    // Mesos does not tell of this one.
    marathon.put(web("/ghost", "ghost.test", &[&backend]));
    let server = following(&[&marathon], |config| {
        config.marathon[0].cluster = CLUSTER.into();
        config.mesos.push(MesosConfig::with_masters(CLUSTER, "mesos", &["127.0.0.1:1"]));
    });
    let id = task("/shop", 1, backend.address)["id"].as_str().unwrap().to_owned();
    let said = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_MODE", "http")];
    let facts = TaskFacts {
        key: pointsman::model::id::TaskKey::new(CLUSTER.into(), FRAMEWORK.into(), id.as_str()),
        addresses: [backend.address.ip()].into_iter().collect(),
        ..facts::task("x", "shop", 1, backend.address.port(), &said)
    };
    let agent = pointsman::model::agent::AgentFacts { address: Some(backend.address.ip()), ..facts::agent(1) };
    let snapshot = vec![
        Fact::SnapshotStarted,
        Fact::Agent(Box::new(agent)),
        Fact::Task(Box::new(facts.clone())),
        Fact::SnapshotFinished(Default::default()),
        Fact::Live,
    ];
    server.say(CLUSTER, snapshot).await;
    let healthy = |table: &Table| {
        table.tasks.iter().count() == 1 && table.tasks.values().all(|task| task.facts.health == Health::Healthy)
    };
    server.table_until("the verdict", healthy).await;
    // The service port and the verdict are Marathon's, the task is Mesos'.
    assert_eq!(body(&get(port, "x", "/").await), "web");
    // The app is Marathon's to tell of, its task is not.
    assert_eq!(status(&get(server.http, "ghost.test", "/").await), 503);
    // Mesos says that it is going: so it is, whatever Marathon still has.
    let leaving = TaskFacts { state: TaskState::Killing, ..facts };
    server.say(CLUSTER, vec![Fact::Task(Box::new(leaving))]).await;
    let drains = |table: &Table| table.tasks.values().all(|task| task.state == EndpointState::Draining);
    server.table_until("it drains", drains).await;
}

#[tokio::test]
async fn a_readiness_check_holds_a_task_back() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    let both = web("/web", "web.test", &[&old, &new]);
    let starting = both["tasks"][1]["id"].clone();
    let with = |ready: bool| {
        let mut app = both.clone();
        app["readinessCheckResults"] = json!([{ "taskId": starting, "name": "check", "ready": ready }]);
        app
    };
    marathon.put(with(false));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    for _ in 0..20 {
        assert_eq!(body(&get(server.http, "web.test", "/").await), "old");
    }
    marathon.put(with(true));
    marathon.tell("deployment_success", json!({ "plan": { "steps": [{ "actions": [{ "app": "/web" }] }] } }));
    answers(&server, "web.test", "new").await;
}

#[tokio::test]
async fn pods_are_served_with_the_labels_of_the_pod() {
    let backend = Backend::saying("pod").await;
    let marathon = Marathon::start().await;
    let pod = json!({
        "id": "/pod", "status": "STABLE",
        "spec": {
            "labels": { "pointsman.host": "pod.test" }, "networks": [{ "mode": "host" }],
            "containers": [{ "name": "web", "endpoints": [{ "name": "http", "hostPort": 0, "protocol": ["tcp"] }] }],
        },
        "instances": [{
            "id": "pod.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c", "status": "STABLE",
            "agentHostname": "127.0.0.1", "agentId": "agent-1",
            "containers": [{ "name": "web", "status": "TASK_RUNNING",
                "endpoints": [{ "name": "http", "allocatedHostPort": backend.address.port(), "healthy": true }] }],
        }],
    });
    marathon.state().pods.insert("/pod".into(), pod.clone());
    let server = following(&[&marathon], |_| {});
    answers(&server, "pod.test", "pod").await;
    let mut empty = pod;
    empty["instances"] = json!([]);
    marathon.state().pods.insert("/pod".into(), empty);
    marathon.tell("pod_updated_event", json!({ "uri": "/v2/pods/pod" }));
    answers_status(&server, "pod.test", 503).await;
    marathon.state().pods.remove("/pod");
    marathon.tell("pod_deleted_event", json!({ "uri": "/v2/pods/pod" }));
    answers_status(&server, "pod.test", 404).await;
}

#[tokio::test]
async fn credentials_go_along() {
    let backend = Backend::saying("web").await;
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&backend]));
    // ann:secret
    marathon.state().wants = Some("Basic YW5uOnNlY3JldA==".into());
    let server = following(&[&marathon], |config| {
        let password = Secret("secret".into());
        config.marathon[0].credentials = Some(MarathonCredentials::Basic { user: "ann".into(), password });
    });
    answers(&server, "web.test", "web").await;
    marathon.state().wants = Some("token=abc".into());
    marathon.cut();
    let refused = |table: &Table| {
        table.sources.iter().any(|source| source.error.as_ref().is_some_and(|error| error.contains("401")))
    };
    server.table_until("it is refused", refused).await;
    assert_eq!(body(&get(server.http, "web.test", "/").await), "web");
    let token = Some(MarathonCredentials::Token(Secret("abc".into())));
    server.reload(|config| config.marathon[0].credentials = token).await;
    server.table_until("it is live", |table| !table.is_stale()).await;
}

#[tokio::test]
async fn several_marathons_are_several_sources() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let (first, second) = (Marathon::start().await, Marathon::start().await);
    first.put(web("/web", "one.test", &[&one]));
    second.put(web("/web", "two.test", &[&two]));
    let url = second.url();
    let server = following(&[&first], |config| config.marathon.push(MarathonConfig::with_urls("second", &[&url])));
    answers(&server, "one.test", "one").await;
    answers(&server, "two.test", "two").await;
    // Of two apps with one id the first has it, and the other is told.
    let answer = ask(server.apps, "GET", "x", "/", &[("X-Marathon-App-Id", "/web")]).await;
    assert!(matches!(body(&answer), "one" | "two"), "{answer}");
    server.table_until("the problem", |table| table.problems.iter().count() == 1).await;
}

/// Waits until what was told before is read and applied: reads are made in the order of ids, and this one is the last.
async fn settled(server: &Running, marathon: &Marathon, backend: &Backend, round: usize) {
    let (id, host) = (format!("/zz-{round}"), format!("zz-{round}.test"));
    marathon.put(web(&id, &host, &[backend]));
    marathon.changed(&id);
    answers_status(server, &host, 200).await;
}

fn problem_of(table: &Table, id: &str) -> bool {
    let mut all = table.problems.values().flat_map(|list| list.iter());
    all.any(|problem| problem.code == ProblemCode::InvalidFact && *problem.subject == *id)
}

#[tokio::test]
async fn a_list_of_pods_that_is_garbage_loses_nothing() {
    let backend = Backend::saying("pod").await;
    let marathon = Marathon::start().await;
    let pod = json!({
        "id": "/pod", "spec": { "labels": { "pointsman.host": "pod.test" }, "networks": [{ "mode": "host" }],
            "containers": [{ "name": "web", "endpoints": [{ "name": "http" }] }] },
        "instances": [{ "id": "pod.instance-1", "agentHostname": "127.0.0.1", "agentId": "agent-1",
            "containers": [{ "name": "web", "status": "TASK_RUNNING",
                "endpoints": [{ "name": "http", "allocatedHostPort": backend.address.port() }] }] }],
    });
    marathon.state().pods.insert("/pod".into(), pod);
    let server = following(&[&marathon], |_| {});
    answers(&server, "pod.test", "pod").await;
    for garbage in ["<html>", "{}", r#"{"message":"later"}"#] {
        marathon.state().instead.insert("/v2/pods::status".into(), (200, garbage.into()));
        marathon.cut();
        let told = |table: &Table| {
            let error = table.sources.iter().find_map(|source| source.error.clone()).unwrap_or_default();
            table.is_stale() && error.contains("/v2/pods::status")
        };
        server.table_until("it is stale", told).await;
        assert_eq!(body(&get(server.http, "pod.test", "/").await), "pod");
        marathon.state().instead.clear();
        server.table_until("it is live", |table| !table.is_stale()).await;
        assert_eq!(body(&get(server.http, "pod.test", "/").await), "pod");
    }
}

#[tokio::test]
async fn what_cannot_be_read_keeps_what_was_known() {
    let (web_backend, other) = (Backend::saying("web").await, Backend::saying("other").await);
    let marathon = Marathon::start().await;
    let good = web("/web", "web.test", &[&web_backend]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut app = good.clone();
        change(&mut app);
        app
    };
    let wrongs: [(&str, Value); 5] = [
        ("/web", with(&|app| app["labels"] = json!(7))),
        ("", json!("app")),
        ("", json!({ "labels": {} })),
        ("/web", with(&|app| app["tasks"][0]["ports"] = json!("many"))),
        ("/web", with(&|app| app["tasks"][0]["state"] = json!("TASK_IN_LIMBO"))),
    ];
    marathon.put(good.clone());
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "web").await;
    for (round, (subject, wrong)) in wrongs.into_iter().enumerate() {
        // In a list of everything, and read alone.
        marathon.state().apps.insert("/web".into(), wrong);
        marathon.cut();
        server.table_until("the problem", |table| problem_of(table, subject)).await;
        assert_eq!(body(&get(server.http, "web.test", "/").await), "web", "round {round}");
        marathon.changed("/web");
        settled(&server, &marathon, &other, round).await;
        server.table_until("the problem of the app", |table| problem_of(table, "/web")).await;
        assert_eq!(body(&get(server.http, "web.test", "/").await), "web", "round {round}");
        // When it can be read again, it is as before, and what is gone is gone.
        marathon.put(good.clone());
        marathon.cut();
        server.table_until("no problem", |table| !problem_of(table, subject) && !problem_of(table, "/web")).await;
        assert_eq!(body(&get(server.http, "web.test", "/").await), "web", "round {round}");
    }
    marathon.put(web("/web", "web.test", &[&other]));
    marathon.changed("/web");
    answers(&server, "web.test", "other").await;
    marathon.state().apps.remove("/web");
    marathon.cut();
    answers_status(&server, "web.test", 404).await;
}

#[tokio::test]
async fn an_answer_for_one_app_that_is_garbage_loses_nothing() {
    let (backend, other) = (Backend::saying("web").await, Backend::saying("other").await);
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&backend]));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "web").await;
    marathon.state().instead.insert("/v2/apps/web".into(), (200, "<html>".into()));
    marathon.changed("/web");
    settled(&server, &marathon, &other, 0).await;
    server.table_until("the problem", |table| problem_of(table, "/web")).await;
    assert_eq!(body(&get(server.http, "web.test", "/").await), "web");
}

#[tokio::test]
async fn a_read_that_fails_is_made_again_and_the_stream_goes_on() {
    let (old, new, other) =
        (Backend::saying("old").await, Backend::saying("new").await, Backend::saying("other").await);
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&old]));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    marathon.state().instead.insert("/v2/apps/web".into(), (500, "{}".into()));
    marathon.put(web("/web", "web.test", &[&new]));
    marathon.changed("/web");
    // Others are read meanwhile, and after some attempts the list tells of the app, too.
    settled(&server, &marathon, &other, 0).await;
    answers(&server, "web.test", "new").await;
    let asked = marathon.state().asked.clone();
    let lists: Vec<usize> = (0..asked.len()).filter(|at| asked[*at].starts_with("/v2/apps?")).collect();
    assert_eq!(lists.len(), 2, "{asked:#?}");
    let before = asked[lists[0]..lists[1]].iter().filter(|path| path.starts_with("/v2/apps/web?")).count();
    assert_eq!(before, 4, "{asked:#?}");
    assert_eq!((marathon.asked("/v2/events"), server.table().is_stale()), (1, false));
    // When it can be read again, that suffices.
    marathon.state().instead.clear();
    marathon.put(web("/web", "web.test", &[&old]));
    marathon.changed("/web");
    answers(&server, "web.test", "old").await;
    assert_eq!((marathon.asked("/v2/apps?"), marathon.asked("/v2/events")), (2, 1));
}

#[tokio::test]
async fn a_new_task_waits_for_the_first_word_of_its_readiness_check() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    let both = web("/web", "web.test", &[&old, &new]);
    let starting = both["tasks"][1]["id"].clone();
    let with = |deployed: bool, results: Value| {
        let mut app = both.clone();
        app["version"] = "2".into();
        (app["tasks"][0]["version"], app["tasks"][1]["version"]) = ("1".into(), "2".into());
        app["readinessChecks"] = json!([{ "name": "ready" }]);
        app["deployments"] = if deployed { json!([{ "id": "d" }]) } else { json!([]) };
        app["readinessCheckResults"] = results;
        app
    };
    marathon.put(with(true, json!([])));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    for _ in 0..20 {
        assert_eq!(body(&get(server.http, "web.test", "/").await), "old");
    }
    marathon.put(with(true, json!([{ "taskId": starting, "ready": true }])));
    marathon.changed("/web");
    answers(&server, "web.test", "new").await;
    // The next step of the deployment says no more of it: it goes on. A check that says no holds it.
    let held = |table: &Table| table.tasks.values().filter(|task| task.facts.held).count();
    marathon.put(with(true, json!([])));
    marathon.changed("/web");
    settled(&server, &marathon, &old, 0).await;
    assert_eq!(held(&server.table()), 0);
    marathon.put(with(true, json!([{ "taskId": starting, "ready": false }])));
    marathon.changed("/web");
    server.table_until("it is held", |table| held(table) == 1).await;
    // After the deployment there are no results.
    marathon.put(with(false, json!([])));
    marathon.tell("deployment_success", json!({ "id": "d" }));
    server.table_until("none is held", |table| held(table) == 0).await;
    answers(&server, "web.test", "new").await;
}

#[tokio::test]
async fn an_app_that_is_scaled_to_nothing_keeps_its_host_and_its_port() {
    let (first, second) = (Backend::saying("first").await, Backend::saying("second").await);
    let port = ports::unused();
    let marathon = Marathon::start().await;
    let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "web.test" });
    let with = |tasks: &[Value]| app("/web", port.port(), &labels, tasks);
    let one = || [task("/web", 1, first.address)];
    // Without a task from the beginning.
    marathon.put(with(&[]));
    marathon.put(app("/unlabelled", 0, &json!({}), &[]));
    let server = following(&[&marathon], |_| {});
    answers_status(&server, "web.test", 503).await;
    assert_eq!(status(&get(port, "x", "/").await), 503);
    assert_eq!(status(&get(server.http, "other.test", "/").await), 404);
    // What claims nothing has no place in the table.
    assert_eq!(server.table().services.values().count(), 1);
    for round in 0..3 {
        marathon.put(with(&one()));
        marathon.changed("/web");
        answers(&server, "web.test", "first").await;
        assert_eq!(body(&get(port, "x", "/").await), "first");
        marathon.put(with(&[]));
        marathon.changed("/web");
        answers_status(&server, "web.test", 503).await;
        assert_eq!(status(&get(port, "x", "/").await), 503);
        // Nobody else gets them meanwhile: neither by an event nor by a list of everything.
        let id = format!("/thief-{round}");
        marathon.put(app(&id, port.port(), &labels, &[task(&id, 2, second.address)]));
        marathon.changed(&id);
        server.table_until("it is told", |table| table.problems.iter().count() > 0).await;
        let lists = marathon.asked("/v2/apps?");
        marathon.cut();
        proxy_common::until("another list", || marathon.asked("/v2/apps?") > lists).await;
        server.table_until("it is live", |table| !table.is_stale()).await;
        assert_eq!(status(&get(server.http, "web.test", "/").await), 503);
        assert_eq!(status(&get(port, "x", "/").await), 503);
        marathon.state().apps.remove(&id);
        marathon.changed(&id);
        server.table_until("it is gone", |table| table.problems.iter().count() == 0).await;
    }
    // When Marathon lists it no more, they are free.
    marathon.put(app("/heir", port.port(), &labels, &[task("/heir", 2, second.address)]));
    marathon.changed("/heir");
    marathon.state().apps.remove("/web");
    marathon.tell("app_terminated_event", json!({ "appId": "/web" }));
    answers(&server, "web.test", "second").await;
}

#[tokio::test]
async fn an_app_without_tasks_keeps_its_rules() {
    let backend = Backend::saying("web").await;
    let marathon = Marathon::start().await;
    let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "web.test",
        "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL": "10.9.8.0/24" });
    marathon.put(app("/web", 0, &labels, &[]));
    let server = following(&[&marathon], |_| {});
    answers_status(&server, "web.test", 403).await;
    marathon.put(app("/web", 0, &labels, &[task("/web", 1, backend.address)]));
    marathon.changed("/web");
    server.table_until("its task", |table| table.tasks.iter().count() == 1).await;
    assert_eq!(status(&get(server.http, "web.test", "/").await), 403);
}

#[tokio::test]
async fn tasks_with_addresses_of_their_own_are_served_there() {
    let (discovered, mapped, bridged) =
        (Backend::saying("discovered").await, Backend::saying("mapped").await, Backend::saying("bridged").await);
    let marathon = Marathon::start().await;
    // Nobody listens on the agent's address.
    let own = |id: &str, changes: Value| {
        let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": format!("{}.test", &id[1..]) });
        let mut app = app(id, 0, &labels, &[task(id, 1, discovered.address)]);
        app.as_object_mut().unwrap().remove("portDefinitions");
        app.as_object_mut().unwrap().remove("networks");
        app["tasks"][0]["host"] = "127.9.9.9".into();
        app["tasks"][0]["ports"] = json!([]);
        app["tasks"][0]["ipAddresses"] = json!([{ "ipAddress": "127.0.0.1", "protocol": "IPv4" }]);
        for (key, value) in changes.as_object().unwrap() {
            app[key] = value.clone();
        }
        app
    };
    let port = |backend: &Backend| json!(backend.address.port());
    let discovery = json!({ "discovery": { "ports": [{ "number": port(&discovered), "name": "http" }] } });
    marathon.put(own("/discovered", json!({ "ipAddress": discovery })));
    let mappings = |backend: &Backend| json!([{ "containerPort": port(backend), "servicePort": 0, "protocol": "tcp" }]);
    let container = json!({ "type": "MESOS", "portMappings": mappings(&mapped) });
    let networks = json!([{ "name": "dcos", "mode": "container" }]);
    marathon.put(own("/mapped", json!({ "networks": networks, "container": container })));
    // Docker's bridge goes before the address: it is reached through its agent.
    let docker = json!({ "docker": { "network": "BRIDGE", "portMappings": mappings(&discovered) } });
    let mut app = own("/bridged", json!({ "container": docker, "ipAddress": discovery }));
    app["tasks"][0]["host"] = "127.0.0.1".into();
    app["tasks"][0]["slaveId"] = "agent-2".into();
    app["tasks"][0]["ipAddresses"] = json!([{ "ipAddress": "127.9.9.9", "protocol": "IPv4" }]);
    app["tasks"][0]["ports"] = json!([port(&bridged)]);
    marathon.put(app);
    let server = following(&[&marathon], |_| {});
    for name in ["discovered", "mapped", "bridged"] {
        answers(&server, &format!("{name}.test"), name).await;
    }
    assert!(server.problems().is_empty(), "{:#?}", server.problems());
}

#[tokio::test]
async fn apps_with_addresses_of_their_own_are_assigned_the_ports_that_there_are() {
    let (first, second, third) =
        (Backend::saying("first").await, Backend::saying("second").await, Backend::saying("third").await);
    let marathon = Marathon::start().await;
    let own = |id: &str, backend: &Backend| {
        let host = format!("{}.test", &id[1..]);
        let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": host });
        let mut app = app(id, 0, &labels, &[task(id, 1, backend.address)]);
        app.as_object_mut().unwrap().remove("portDefinitions");
        app.as_object_mut().unwrap().remove("networks");
        app["ipAddress"] = json!({ "discovery": { "ports": [{ "number": backend.address.port(), "name": "http" }] } });
        app["tasks"][0]["ports"] = json!([]);
        app["tasks"][0]["ipAddresses"] = json!([{ "ipAddress": "127.0.0.1", "protocol": "IPv4" }]);
        app
    };
    marathon.put(own("/first", &first));
    marathon.put(own("/second", &second));
    let port = ports::unused();
    let number = port.port();
    let server = following(&[&marathon], |config| config.server.service_retention = Duration::from_secs(3600));
    server.table_until("the apps", |table| table.ready && table.services.values().count() == 2).await;
    assert!(server.table().ways.ports.is_empty() && server.problems().is_empty(), "nothing is to be assigned");
    let range = pointsman::model::task::PortRange { begin: number, end: number };
    server.reload(|config| config.proxy.service_ports.assigned = Some(range)).await;
    assert_eq!(body(&get(port, "any.test", "/").await), "first");
    let told = |code: ProblemCode, about: &'static str, word: &'static str| {
        move |table: &Table| {
            let mut problems = table.problems.values().flat_map(|list| list.iter());
            problems
                .any(|problem| problem.code == code && problem.subject.contains(about) && problem.mend.contains(word))
        }
    };
    server.table_until("none is left", told(ProblemCode::PortUnavailable, "/second", "service_ports.assigned")).await;
    // Of an app that is gone the port is another's at once, though its service is remembered.
    marathon.state().apps.remove("/first");
    marathon.tell("app_terminated_event", json!({ "appId": "/first" }));
    let wait = async { while body(&get(port, "any.test", "/").await) != "second" {} };
    proxy_common::soon(wait).await;
    server.table_until("nothing is wrong", |table| table.problems.is_empty()).await;
    assert_eq!(status(&get(server.http, "first.test", "/").await), 503, "it keeps its host");
    // Who names the port goes before.
    let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_MODE": "http", "HAPROXY_0_PORT": number.to_string() });
    marathon.put(app("/third", 0, &labels, &[task("/third", 1, third.address)]));
    marathon.changed("/third");
    let wait = async { while body(&get(port, "any.test", "/").await) != "third" {} };
    proxy_common::soon(wait).await;
    server.table_until("it is told", told(ProblemCode::PortConflict, "second", "another port")).await;
}

#[tokio::test]
async fn pods_with_addresses_of_their_own_are_served_there() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let marathon = Marathon::start().await;
    let defined = |name: &str, backend: &Backend| {
        json!({ "name": name, "labels": { "pointsman.host": format!("{name}.test") },
            "healthCheck": { "http": { "endpoint": format!("http-{name}") } },
            "endpoints": [{ "name": format!("http-{name}"), "containerPort": backend.address.port(), "protocol": ["tcp"] }] })
    };
    let running = |name: &str, healthy: bool| json!({ "name": name, "status": "TASK_RUNNING", "endpoints": [{ "name": format!("http-{name}"), "healthy": healthy }] });
    let with = |healthy: bool| {
        json!({
            "id": "/pod",
            "spec": { "labels": { "pointsman.host": "pod.test" }, "networks": [{ "name": "dcos", "mode": "container" }],
                "containers": [defined("one", &one), defined("two", &two)] },
            "instances": [{ "id": "pod.instance-1", "agentHostname": "127.9.9.9", "agentId": "agent-1",
                "networks": [{ "name": "dcos", "addresses": ["127.0.0.1"] }],
                "containers": [running("one", true), running("two", healthy)] }],
        })
    };
    marathon.state().pods.insert("/pod".into(), with(true));
    let server = following(&[&marathon], |config| config.routing.panic = false);
    // Labels of a container go before its pod's.
    answers(&server, "one.test", "one").await;
    answers(&server, "two.test", "two").await;
    assert_eq!(status(&get(server.http, "pod.test", "/").await), 404);
    let in_network = |table: &Table| {
        let named = |task: &pointsman::table::task::TaskView| task.facts.networks().any(|(name, _)| name == "dcos");
        table.tasks.values().filter(|task| named(task)).count()
    };
    assert_eq!(in_network(&server.table()), 2);
    marathon.state().pods.insert("/pod".into(), with(false));
    marathon.tell("instance_health_changed_event", json!({ "runSpecId": "/pod", "healthy": false }));
    answers_status(&server, "two.test", 503).await;
    assert_eq!(body(&get(server.http, "one.test", "/").await), "one");
}

#[tokio::test]
async fn without_use_health_neither_checks_nor_readiness_hold_a_task_back() {
    let backend = Backend::saying("web").await;
    let marathon = Marathon::start().await;
    let mut app = web("/web", "web.test", &[&backend]);
    app["healthChecks"] = json!([{ "protocol": "HTTP", "portIndex": 0 }]);
    app["readinessChecks"] = json!([{ "name": "ready" }]);
    app["deployments"] = json!([{ "id": "d" }]);
    app["readinessCheckResults"] = json!([{ "taskId": app["tasks"][0]["id"], "ready": false }]);
    app["tasks"][0]["healthCheckResults"] = json!([{ "alive": false }]);
    marathon.put(app);
    let server = following(&[&marathon], |config| {
        config.marathon[0].use_health = false;
        config.routing.panic = false;
    });
    answers(&server, "web.test", "web").await;
    let ready = |table: &Table| table.tasks.values().all(|task| task.state == EndpointState::Ready);
    assert!(ready(&server.table()));
    server.reload(|config| config.marathon[0].use_health = true).await;
    answers_status(&server, "web.test", 503).await;
}

#[tokio::test]
async fn when_all_checks_are_dead_panic_decides() {
    let backend = Backend::saying("web").await;
    let marathon = Marathon::start().await;
    let mut app = web("/web", "web.test", &[&backend]);
    app["healthChecks"] = json!([{ "protocol": "HTTP", "portIndex": 0 }, { "protocol": "TCP", "portIndex": 0 }]);
    app["tasks"][0]["healthCheckResults"] = json!([{ "alive": false }, { "alive": false }]);
    marathon.put(app);
    let server = following(&[&marathon], |config| config.routing.panic = false);
    server.table_until("its task", |table| table.tasks.iter().count() == 1).await;
    let answer = get(server.http, "web.test", "/").await;
    assert!(status(&answer) == 503 && header(&answer, "retry-after").is_some(), "{answer}");
    server.reload(|config| config.routing.panic = true).await;
    answers(&server, "web.test", "web").await;
}

#[tokio::test]
async fn health_checks_of_apps_are_made_here_where_that_is_asked_for() {
    // Well for everybody but the check.
    let (backend, says, asked) = checked("web").await;
    says.store(500, SeqCst);
    let marathon = Marathon::start().await;
    let mut app = web("/web", "web.test", &[&backend]);
    app["healthChecks"] = well(&json!({ "portIndex": 0 }));
    app["tasks"][0]["healthCheckResults"] = json!([{ "alive": true }]);
    marathon.put(app);
    let server = following(&[&marathon], |config| config.routing.panic = false);
    answers(&server, "web.test", "web").await;
    assert_eq!(asked.load(SeqCst), 0);
    server.reload(|config| config.marathon[0].active_checks = true).await;
    answers_status(&server, "web.test", 503).await;
    proxy_common::until("it is asked", || asked.load(SeqCst) > 1).await;
    // A label goes before.
    let mut app = marathon.state().apps["/web"].clone();
    app["labels"]["pointsman.health.check"] = "none".into();
    marathon.put(app);
    marathon.changed("/web");
    answers(&server, "web.test", "web").await;
}

/// Answers `/well` with a status that can be changed, and counts how often it is asked for it; all else with its name.
async fn checked(name: &'static str) -> (Backend, Arc<AtomicU16>, Arc<AtomicUsize>) {
    let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
    let (says, counts) = (status.clone(), asked.clone());
    let backend = Backend::start(move |mut stream, _| {
        let (says, counts) = (says.clone(), counts.clone());
        async move {
            while let Some(head) = proxy_common::read_head(&mut stream).await {
                let answer = if head.starts_with("GET /well ") {
                    counts.fetch_add(1, SeqCst);
                    format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", says.load(SeqCst))
                } else {
                    proxy_common::ok(name)
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (backend, status, asked)
}

/// A check of the app, every second, that takes a task out at its first failure.
fn well(at: &Value) -> Value {
    let mut check = json!({ "protocol": "HTTP", "path": "/well", "intervalSeconds": 1, "timeoutSeconds": 1,
        "maxConsecutiveFailures": 0 });
    for (key, value) in at.as_object().unwrap() {
        check[key] = value.clone();
    }
    json!([check])
}

/// Who answers for a host in twenty requests.
async fn who_answers(server: &Running, host: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        seen.insert(body(&get(server.http, host, "/").await).to_owned());
    }
    seen
}

#[tokio::test]
async fn a_check_of_another_port_is_asked_there_and_takes_the_task_out() {
    let ((one, _, asked_of_one), (two, _, asked_of_two)) = (checked("one").await, checked("two").await);
    let ((well_one, says_one, counts_one), (well_two, _, counts_two)) = (checked("x").await, checked("y").await);
    let marathon = Marathon::start().await;
    let mut app = web("/web", "web.test", &[&one, &two]);
    app["portDefinitions"] = json!([{ "port": 0, "name": "http" }, { "port": 0, "name": "admin" }]);
    for (index, (port, own)) in [(&one, &well_one), (&two, &well_two)].into_iter().enumerate() {
        app["tasks"][index]["ports"] = json!([port.address.port(), own.address.port()]);
    }
    // What is checked is no service of its own.
    app["labels"]["HAPROXY_1_ENABLED"] = "false".into();
    app["labels"]["HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX"] = "1".into();
    app["healthChecks"] = well(&json!({ "portIndex": 1 }));
    marathon.put(app.clone());
    let server = following(&[&marathon], |config| {
        config.marathon[0].active_checks = true;
        config.marathon[0].use_health = false;
        config.routing.panic = false;
    });
    let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let both_answer = async || {
        while who_answers(&server, "web.test").await != names(&["one", "two"]) {}
    };
    let is_out = |table: &Table| {
        let mut endpoints = table.services.values().flat_map(|service| service.endpoints.iter());
        endpoints.any(|endpoint| endpoint.address == one.address && endpoint.state == EndpointState::Unhealthy)
    };
    proxy_common::soon(both_answer()).await;
    assert!(counts_one.load(SeqCst) > 0 && counts_two.load(SeqCst) > 0);
    says_one.store(503, SeqCst);
    server.table_until("one fails at its other port", is_out).await;
    assert_eq!(who_answers(&server, "web.test").await, names(&["two"]));
    says_one.store(200, SeqCst);
    proxy_common::soon(both_answer()).await;
    let of_requests = (asked_of_one.load(SeqCst), asked_of_two.load(SeqCst));
    assert_eq!(of_requests, (0, 0), "the port that requests go to is not asked");
    // Without the label the check is nobody's: the port that it looks at is not served.
    says_one.store(503, SeqCst);
    server.table_until("one fails again", is_out).await;
    app["labels"].as_object_mut().unwrap().remove("HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX");
    marathon.put(app);
    marathon.changed("/web");
    server.table_until("nothing is checked", is_unchecked).await;
    proxy_common::soon(both_answer()).await;
}

fn is_unchecked(table: &Table) -> bool {
    table.services.values().flat_map(|service| service.endpoints.iter()).all(|endpoint| endpoint.check.is_none())
}

#[tokio::test]
async fn a_check_with_a_port_of_its_own_is_asked_there_if_requests_might_be() {
    let ((web_port, _, asked), (own, says, counts)) = (checked("web").await, checked("x").await);
    let (other, _, asked_of_other) = checked("y").await;
    let marathon = Marathon::start().await;
    let mut app = web("/web", "web.test", &[&web_port]);
    app["portDefinitions"] = json!([{ "port": 0, "name": "http" }, { "port": 0, "name": "admin" }]);
    app["tasks"][0]["ports"] = json!([web_port.address.port(), other.address.port()]);
    // It is every port's own that has none before it: a label that names another port's counts for nothing.
    app["labels"]["HAPROXY_1_ENABLED"] = "false".into();
    app["labels"]["HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX"] = "1".into();
    let (of_other, of_its_own) = (well(&json!({ "portIndex": 1 })), well(&json!({ "port": own.address.port() })));
    app["healthChecks"] = json!([of_other[0], of_its_own[0]]);
    marathon.put(app);
    let server = following(&[&marathon], |config| {
        config.marathon[0].active_checks = true;
        config.marathon[0].use_health = false;
        config.routing.panic = false;
    });
    answers(&server, "web.test", "web").await;
    assert!(counts.load(SeqCst) > 0);
    says.store(500, SeqCst);
    answers_status(&server, "web.test", 503).await;
    assert_eq!((asked.load(SeqCst), asked_of_other.load(SeqCst)), (0, 0));
    // A port of the agent's that is none of the task's: nobody is asked there for a tenant.
    server.reload(|config| config.routing.require_port_resource = true).await;
    server.table_until("nothing is checked", is_unchecked).await;
    answers(&server, "web.test", "web").await;
}

#[tokio::test]
async fn everything_is_read_again_from_time_to_time() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&old]));
    let server = following(&[&marathon], |config| {
        config.marathon[0].resync = Duration::from_millis(100);
    });
    answers(&server, "web.test", "old").await;
    // No event tells of it.
    marathon.put(web("/web", "web.test", &[&new]));
    answers(&server, "web.test", "new").await;
    assert_eq!(marathon.asked("/v2/events"), 1);
}

#[tokio::test]
async fn a_stream_that_is_silent_is_dead() {
    let backend = Backend::saying("web").await;
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&backend]));
    let server = following(&[&marathon], |config| {
        config.marathon[0].silence = Duration::from_millis(300);
    });
    let told = |table: &Table| {
        table.sources.iter().any(|source| source.error.as_ref().is_some_and(|error| error.contains("was silent for")))
    };
    server.table_until("the silence is told", told).await;
    proxy_common::until("another stream", || marathon.asked("/v2/events") > 1).await;
    answers(&server, "web.test", "web").await;
}

#[tokio::test]
async fn credentials_go_to_configured_hosts_alone() {
    let backend = Backend::saying("web").await;
    let (first, leader) = (Marathon::start().await, Marathon::start().await);
    for marathon in [&first, &leader] {
        marathon.put(web("/web", "web.test", &[&backend]));
        marathon.state().wants = Some("token=abc".into());
    }
    first.state().leader = Some(leader.address);
    let token = || Some(MarathonCredentials::Token(Secret("abc".into())));
    let server = following(&[&first], |config| config.marathon[0].credentials = token());
    let refused = |table: &Table| {
        table.sources.iter().any(|source| source.error.as_ref().is_some_and(|error| error.contains("`urls` alone")))
    };
    server.table_until("it is refused", refused).await;
    let sent = leader.state().credentials.clone();
    assert!(!sent.is_empty() && sent.iter().all(Option::is_none), "{sent:?}");
    // A leader that asks for none is followed without.
    leader.state().wants = None;
    answers(&server, "web.test", "web").await;
    assert!(leader.state().credentials.iter().all(Option::is_none));
    // One that is configured gets them.
    leader.state().wants = Some("token=abc".into());
    let url = leader.url();
    server.reload(|config| config.marathon[0].urls.push(url.as_str().into())).await;
    proxy_common::until("it has them", || leader.state().credentials.iter().any(Option::is_some)).await;
    server.table_until("it is live", |table| !table.is_stale()).await;
}

#[tokio::test]
async fn redirects_without_end_are_given_up() {
    let marathon = Marathon::start().await;
    marathon.state().leader = Some(marathon.address);
    let server = following(&[&marathon], |_| {});
    let told = |table: &Table| {
        table.sources.iter().any(|source| source.error.as_ref().is_some_and(|error| error.contains("without end")))
    };
    server.table_until("it is told", told).await;
}

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures");

/// The documents of a folder, by file name; `None`, and said so, where there is none.
fn recorded(folder: &str) -> Option<Vec<(String, String)>> {
    let Ok(entries) = std::fs::read_dir(format!("{FIXTURES}/{folder}")) else {
        println!("SKIP: no recorded documents of Marathon");
        return None;
    };
    let mut all: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|ext| ext == "json"))
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().to_string_lossy().trim_end_matches(".json").to_owned(), text)
        })
        .collect();
    all.sort();
    Some(all)
}

fn scope() -> Scope {
    Scope { cluster: "c".into(), framework: "f".into(), use_health: true, active_checks: false }
}

/// Apps of a document: one, a list, or a group with groups.
fn apps_in(document: &Value) -> Vec<Value> {
    let list = |field: &str| document[field].as_array().cloned().unwrap_or_default();
    if document.get("apps").is_none() {
        return vec![document.clone()];
    }
    list("apps").into_iter().chain(list("groups").iter().flat_map(apps_in)).collect()
}

fn read_app(app: &Value) -> Said {
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&app.to_string()).unwrap();
    let said = translate::app(&raw, &scope()).unwrap_or_else(|unread| panic!("{}", unread.problem.message));
    assert!(said.problems.is_empty(), "{app}: {:?}", said.problems);
    said
}

/// An app as one line: how it is attached, its ports, those that HTTP checks look at, its tasks.
fn shown(said: &Said) -> String {
    let definition = &said.apps[0].definition;
    let ports = definition.discovery.iter().flat_map(|discovery| &discovery.ports);
    let names: Vec<&str> = ports.map(|port| &*port.name).collect();
    let facts = definition.app.as_ref().unwrap();
    let http: Vec<usize> = (0..facts.checked.len()).filter(|at| facts.checked[*at] == Checked::Http).collect();
    format!("{:?} {names:?} {http:?} {}", definition.network, said.tasks.len())
}

#[test]
fn recorded_apps_of_marathon_lb_are_read() {
    let expected = [
        ("marathon-lb/ci/backends", "docker_bridge", "Bridge [\"\"] [] 0"),
        ("marathon-lb/ci/backends", "docker_host", "Host [\"\"] [] 0"),
        ("marathon-lb/ci/backends", "docker_ippc", "Container [\"\"] [] 0"),
        ("marathon-lb/ci/backends", "ucr_bridge", "Bridge [\"\"] [] 0"),
        ("marathon-lb/ci/backends", "ucr_host", "Host [\"\"] [] 0"),
        ("marathon-lb/ci/backends", "ucr_ippc", "Container [] [] 0"),
        ("marathon-lb/ci/backends_1.9", "docker_bridge", "Bridge [\"\"] [] 0"),
        ("marathon-lb/ci/backends_1.9", "docker_ippc", "Bridge [\"\"] [] 0"),
        ("marathon-lb/tests", "1-nginx", "Bridge [\"\"] [0] 0"),
        ("marathon-lb/tests", "1-nginx-marathon1.5", "Bridge [\"\"] [] 0"),
        ("marathon-lb/tests", "marathon15_apps", "Bridge [\"\"] [] 1"),
        ("marathon-lb/tests", "zdd_app_blue", "Bridge [\"\"] [0] 3"),
        ("marathon-lb/tests", "zdd_app_blue_marathon1.5", "Bridge [\"\"] [] 3"),
        ("marathon-lb/tests", "zdd_apps", "Bridge [\"\"] [0] 3"),
    ];
    for folder in ["marathon-lb/ci/backends", "marathon-lb/ci/backends_1.9", "marathon-lb/tests"] {
        let Some(documents) = recorded(folder) else { return };
        for (name, text) in documents {
            let said: Vec<Said> = apps_in(&serde_json::from_str(&text).unwrap()).iter().map(read_app).collect();
            assert!(!said.is_empty(), "{folder}/{name}");
            if let Some((_, _, line)) = expected.iter().find(|(at, known, _)| (*at, *known) == (folder, &*name)) {
                assert_eq!(unnamed(&shown(&said[0])), *line, "{folder}/{name}");
            }
        }
    }
}

/// A line without the names of ports.
fn unnamed(line: &str) -> String {
    let quoted = line.split('"').enumerate();
    quoted.map(|(at, part)| if at % 2 == 0 { part } else { "\"\"" }).collect()
}

#[test]
fn recorded_apps_pods_and_groups_are_read() {
    let Some(apps) = recorded("marathon/apps") else { return };
    let line = |name: &str| {
        let (_, text) = apps.iter().find(|(known, _)| known == name).unwrap();
        unnamed(&shown(&read_app(&serde_json::from_str(text).unwrap())))
    };
    apps.iter().for_each(|(name, _)| drop(line(name)));
    assert_eq!(line("readiness-and-health-app"), "Host [\"\"] [0] 0");
    assert_eq!(line("app-with-https-readiness-checks"), "Bridge [\"\", \"\"] [] 0");
    assert_eq!(line("pinger-container-app"), "Container [\"\"] [] 0");
    assert_eq!(line("pinger-bridge-app"), "Bridge [\"\"] [] 0");
    assert_eq!(line("resident-docker-app"), "Container [] [] 0");
    assert_eq!(line("sleep-app"), "Host [] [] 0");
    for (folder, count) in [("marathon/groups", 2), ("marathon/scale", 100)] {
        let Some(documents) = recorded(folder) else { return };
        let documents = documents.iter().map(|(_, text)| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(documents.map(|document| apps_in(&document).iter().map(read_app).count()).sum::<usize>(), count);
    }
    let Some(documents) = recorded("marathon/pods") else { return };
    for (name, text) in documents {
        let spec: Value = serde_json::from_str(&text).unwrap();
        let status = json!({ "id": spec["id"], "spec": spec, "instances": [] });
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&status.to_string()).unwrap();
        let said = pods::pod(&raw, &scope()).unwrap_or_else(|unread| panic!("{}", unread.problem.message));
        assert_eq!(said.apps.len(), spec["containers"].as_array().unwrap().len(), "{name}");
        let endpoints = |app: &pointsman::cluster::event::DeclaredApp| {
            app.definition.discovery.as_ref().map_or(0, |discovery| discovery.ports.len())
        };
        let counted: Vec<usize> = said.apps.iter().map(endpoints).collect();
        let containers = spec["containers"].as_array().unwrap().iter();
        let expected: Vec<usize> =
            containers.map(|container| container["endpoints"].as_array().map_or(0, Vec::len)).collect();
        assert_eq!(counted, expected, "{name}");
    }
}

#[test]
fn recorded_events_name_their_apps() {
    let Ok(text) = std::fs::read_to_string(format!("{FIXTURES}/marathon/events.jsonl")) else {
        return println!("SKIP: no recorded documents of Marathon");
    };
    let mut counted = std::collections::BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let kind = event["eventType"].as_str().unwrap();
        let changed = changes::of(kind, line.as_bytes());
        let expected: &[&str] = match kind {
            "pod_created_event" | "pod_updated_event" | "pod_deleted_event" => &["/my-pod"],
            "instance_changed_event" | "instance_health_changed_event" | "unknown_instance_terminated_event" => {
                &["/app-id"]
            }
            "subscribe_event" | "unsubscribe_event" | "framework_message_event" => &[],
            "event_stream_attached" | "event_stream_detached" => &[],
            "group_change_success" | "group_change_failed" | "deployment_success" | "deployment_failed" => &[],
            _ => &["/my-app"],
        };
        assert_eq!(changed.ids.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{line}");
        // Those that name nobody, and after which anything may be different.
        let whole = kind.starts_with("group_change") || matches!(kind, "deployment_success" | "deployment_failed");
        assert_eq!((changed.everything, changed.leaving), (whole, None), "{line}");
        *counted.entry(kind.to_owned()).or_insert(0) += 1;
    }
    assert_eq!((counted.len(), counted.values().sum::<usize>()), (27, 27), "{counted:?}");
}

#[test]
fn recorded_documents_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/marathon");
    if !std::path::Path::new(folder).exists() {
        return println!("SKIP: no recorded documents of Marathon");
    }
    let mut read = 0;
    for entry in std::fs::read_dir(format!("{folder}/api-examples")).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        pointsman::cluster::sources::marathon::fuzz_marathon_json(&bytes);
        pointsman::cluster::sources::marathon::fuzz_sse(&bytes);
        read += 1;
    }
    assert!(read > 5, "only {read} documents");
}
