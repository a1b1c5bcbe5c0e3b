//! The Marathon source against a small Marathon: deploys, leaders, cut streams, garbage, poison.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/facts.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod facts;
mod marathon_common;
mod proxy_common;

use facts::CLUSTER;
use marathon_common::server::{FRAMEWORK, Marathon, answers, answers_status, app, following, task, web};
use marathon_common::*;
use pointsman::cluster::event::Fact;
use pointsman::config::checked::{MarathonConfig, MarathonCredentials, MesosConfig, Secret};
use pointsman::model::endpoint::EndpointState;
use pointsman::model::problem::ProblemCode;
use pointsman::model::task::{Health, TaskFacts, TaskState};
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
async fn it_adds_to_what_mesos_tells_and_makes_nothing_exist() {
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
    // The service port and the verdict are Marathon's, the task is Mesos'.
    assert_eq!(body(&get(port, "x", "/").await), "web");
    let healthy = |table: &Table| {
        table.tasks.iter().count() == 1 && table.tasks.values().all(|task| task.facts.health == Health::Healthy)
    };
    server.table_until("the verdict", healthy).await;
    assert_eq!(status(&get(server.http, "ghost.test", "/").await), 404);
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
