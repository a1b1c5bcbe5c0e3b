//! The embedded cluster answers as a real Mesos does: its calls, its older state, its redirects, its failover.

mod demo_support;
mod mesos_support;

use std::collections::BTreeSet;
use std::time::Duration;

use demo_support::{ask, call, get, soon};
use mesos_support::recordings;
use pointsman::cluster::sources::mesos::wire;
use pointsman::demo::options::Pace;
use pointsman::demo::{DemoCluster, DemoOptions};
use prost::Message;
use serde_json::Value;

async fn start(options: DemoOptions) -> DemoCluster {
    let cluster = soon(DemoCluster::start(options)).await.unwrap();
    soon(cluster.ready()).await.unwrap();
    cluster
}

/// Apps whose health does not come and go, so that two answers can be compared.
fn quiet() -> DemoOptions {
    let mut options = DemoOptions::fast();
    options.apps.iter_mut().for_each(|app| app.sick_for = None);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_state_says_what_get_state_says() {
    let cluster = start(quiet()).await;
    let leader = cluster.masters()[0];
    let state = get(leader, "/state").await;
    assert_eq!((state.status, state.header("content-type")), (200, "application/json"));
    assert_eq!(state.json(), get(leader, "/master/state").await.json());
    let (old, new) = (state.json(), call(leader, "GET_STATE").await.json());

    let old_tasks: BTreeSet<String> = list(&old["frameworks"][0]["tasks"])
        .map(|task| {
            let address = &task["statuses"].as_array().unwrap().last().unwrap()["container_status"];
            let port = &task["discovery"]["ports"]["ports"][0]["number"];
            assert_eq!(task["resources"]["ports"], format!("[{port}-{port}]"));
            let id = |name: &str| task[name].to_string();
            format!("{} {} {} {} {address}", id("id"), id("framework_id"), id("slave_id"), id("state"))
        })
        .collect();
    let new_tasks: BTreeSet<String> = list(&new["get_state"]["get_tasks"]["tasks"])
        .map(|task| {
            let address = &task["statuses"].as_array().unwrap().last().unwrap()["container_status"];
            let id = |name: &str| task[name]["value"].to_string();
            format!("{} {} {} {} {address}", id("task_id"), id("framework_id"), id("agent_id"), task["state"])
        })
        .collect();
    assert_eq!(old_tasks, new_tasks);
    assert_eq!(old_tasks.len(), 8, "all instances of the demo's apps");
    let agents = |state: &Value, pointer: &str, id: &str| -> BTreeSet<String> {
        list(state.pointer(pointer).unwrap()).map(|agent| agent.pointer(id).unwrap().to_string()).collect()
    };
    let listed = agents(&new, "/get_state/get_agents/agents", "/agent_info/id/value");
    assert_eq!(agents(&old, "/slaves", "/id"), listed);
    assert_eq!(old["leader"], format!("master@{leader}"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_have_the_members_that_a_real_master_gives_them() {
    let cluster = start(quiet()).await;
    // Something completed, something unreachable.
    cluster.scheduler().crash("web").unwrap();
    soon(cluster.scheduler().kill_agent(None, pointsman::demo::scheduler::agents::Loss::Agent)).await.unwrap();
    let leader = cluster.masters()[0];
    let state = get(leader, "/master/state").await.json();
    assert!(!list(&state["frameworks"][0]["unreachable_tasks"]).collect::<Vec<_>>().is_empty());
    assert_eq!(state["unreachable_slaves"], 1);
    is_like(&state, &recordings::json("scenario/calls/legacy-master-state.json"), "/state");
    for kind in [
        "GET_STATE",
        "GET_TASKS",
        "GET_AGENTS",
        "GET_FRAMEWORKS",
        "GET_EXECUTORS",
        "GET_ROLES",
        "GET_FLAGS",
        "GET_MASTER",
        "GET_VERSION",
        "GET_HEALTH",
    ] {
        let answer = call(leader, kind).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{kind}");
        assert_eq!(answer.json()["type"], kind);
        is_like(&answer.json(), &recordings::json(&format!("scenario/calls/{kind}.json")), kind);
    }
    cluster.stop().await;
}

/// Each member that `ours` has is in `theirs`, and of the same type.
fn is_like(ours: &Value, theirs: &Value, at: &str) {
    // What a real master lists only when there is some: the recordings have none of it.
    const NOT_RECORDED: [&str; 4] = ["unreachable_tasks", "completed_tasks", "principal", "message"];
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in ours.iter().filter(|(name, _)| !NOT_RECORDED.contains(&name.as_str())) {
                let theirs = theirs.get(name).unwrap_or_else(|| panic!("{at}: a real master gives no {name}"));
                is_like(value, theirs, &format!("{at}/{name}"));
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            // Elements differ in what they have: ours may have whatever one of theirs has.
            let mut all = Value::Null;
            theirs.iter().for_each(|element| merge(&mut all, element));
            ours.iter().for_each(|element| is_like(element, &all, at));
        }
        _ => assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(theirs), "{at}: {ours} against {theirs}"),
    }
}

fn merge(all: &mut Value, more: &Value) {
    match (all, more) {
        (Value::Object(all), Value::Object(more)) => {
            more.iter().for_each(|(name, value)| merge(all.entry(name.clone()).or_insert(Value::Null), value));
        }
        (Value::Array(all), Value::Array(more)) => all.extend(more.iter().cloned()),
        (all, more) => *all = more.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_and_protobuf_answers_agree() {
    let cluster = start(quiet()).await;
    let leader = cluster.masters()[0];
    for kind in [
        "GET_STATE",
        "GET_TASKS",
        "GET_AGENTS",
        "GET_FRAMEWORKS",
        "GET_EXECUTORS",
        "GET_ROLES",
        "GET_FLAGS",
        "GET_MASTER",
        "GET_VERSION",
        "GET_HEALTH",
    ] {
        let json: wire::Response = serde_json::from_value(call(leader, kind).await.json()).unwrap();
        let headers = "Content-Type: application/x-protobuf\r\nAccept: application/x-protobuf\r\n";
        let request = wire::Call { r#type: Some(wire::call_type::number(kind)) }.encode_to_vec();
        let answer = ask(leader, "POST", "/master/api/v1", headers, &request).await.unwrap();
        assert_eq!(answer.header("content-type"), "application/x-protobuf");
        assert_eq!(wire::Response::decode(&*answer.body).unwrap(), json, "{kind}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_have_the_forms_of_a_real_master() {
    let cluster = start(DemoOptions { apps: vec![], ..DemoOptions::fast() }).await;
    let (leader, other) = (cluster.masters()[0], cluster.masters()[1]);
    let recorded = |name: &str| {
        let head = String::from_utf8(recordings::bytes(&format!("zookeeper/{name}.headers"))).unwrap();
        let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        location.replace("127.0.0.1:5050", &leader.to_string())
    };
    let forms = [
        ("/master/state", "get-B-master-state"),
        ("/state", "get-B-master-state"),
        ("/redirect", "get-B-redirect"),
        ("/master/redirect", "get-B-master-redirect"),
    ];
    for (path, recording) in forms {
        let answer = get(other, path).await;
        assert_eq!((answer.status, answer.header("location")), (307, &*recorded(recording)), "{path}");
        assert!(answer.body.is_empty());
    }
    for path in ["/api/v1", "/master/api/v1"] {
        let answer = ask(other, "POST", path, "", b"{}").await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (307, &*recorded("subscribe-to-B")), "{path}");
    }
    assert_eq!(get(other, "/state?a=1&b=2").await.header("location"), format!("//{leader}/master/state?a=1&b=2"));
    assert_eq!(get(leader, "/redirect").await.header("location"), format!("//{leader}"), "the leader names itself");
    assert_eq!(get(leader, "/redirect/x").await.status, 404);
    for master in [leader, other] {
        let health = get(master, "/health").await;
        assert_eq!((health.status, health.body.len()), (200, 0), "any master answers");
        assert_eq!(get(master, "/version").await.json()["version"], get(leader, "/state").await.json()["version"]);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_not_read_its_registry_refuses_calls_and_shows_an_empty_state() {
    let pace = Pace { recovery: Duration::from_millis(700), ..Pace::fast() };
    let cluster = start(DemoOptions { pace, ..quiet() }).await;
    let next = cluster.masters()[1];
    let scheduler = cluster.scheduler().clone();
    let failover = tokio::spawn(async move { scheduler.fail_over().await });
    let (refusal, state) = soon(async {
        loop {
            let refusal = call(next, "GET_STATE").await;
            let state = get(next, "/state").await;
            // It was so before and after: in between, too.
            if refusal.status == 503 && call(next, "GET_STATE").await.status == 503 {
                return (refusal, state.json());
            }
        }
    })
    .await;
    assert_eq!(refusal.text(), "Master has not finished recovery");
    let recorded: Value =
        serde_json::from_slice(&recordings::bytes("zookeeper/leader-not-recovered-get-state.body")).unwrap();
    for name in ["slaves", "recovered_slaves", "frameworks", "completed_frameworks", "orphan_tasks"] {
        assert_eq!((&state[name], &recorded[name]), (&Value::Array(vec![]), &Value::Array(vec![])), "{name}");
    }
    soon(failover).await.unwrap().unwrap();
    assert_eq!(list(&get(next, "/state").await.json()["slaves"]).count(), 3);
    cluster.stop().await;
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
