//! The embedded cluster answers as a real Mesos does: its calls, its older state, its redirects, its failover.

mod demo_support;
mod mesos_support;

use std::collections::BTreeSet;
use std::time::Duration;

use demo_support::{ask, call, get, soon};
use mesos_support::facts::{Model, Source, config};
use mesos_support::recordings::{self, ENCODINGS};
use pointsman::cluster::event::Fact;
use pointsman::cluster::sources::mesos::wire;
use pointsman::config::checked::MesosEncoding;
use pointsman::demo::app::AppSpec;
use pointsman::demo::cluster::TaskState as State;
use pointsman::demo::options::Pace;
use pointsman::demo::scheduler::agents::Loss;
use pointsman::demo::{DemoCluster, DemoOptions};
use pointsman::model::task::TaskState;
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

/// Everything that a master is asked for but the stream.
const CALLS: [&str; 10] = [
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
];

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
    soon(cluster.scheduler().kill_agent(None, Loss::Agent)).await.unwrap();
    let leader = cluster.masters()[0];
    let state = get(leader, "/master/state").await.json();
    assert!(!list(&state["frameworks"][0]["unreachable_tasks"]).collect::<Vec<_>>().is_empty());
    assert_eq!(state["unreachable_slaves"], 1);
    is_like(&state, &recordings::json("scenario/calls/legacy-master-state.json"), "/state");
    for kind in CALLS {
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
    for kind in CALLS {
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

/// A cluster outside of any runtime, so that a source with a runtime of its own can be asked beside it.
struct Outside {
    runtime: tokio::runtime::Runtime,
    cluster: DemoCluster,
}

impl Outside {
    fn start(options: DemoOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cluster = runtime.block_on(start(options));
        Self { runtime, cluster }
    }

    /// A source that follows the masters, and what it was told at first.
    fn follow(&self, encoding: MesosEncoding) -> (Source, Model) {
        let masters: Vec<String> = self.cluster.masters().iter().map(ToString::to_string).collect();
        let masters: Vec<&str> = masters.iter().map(String::as_str).collect();
        let mut source = Source::start(config(&masters, encoding));
        let facts = source.until(|fact| matches!(fact, Fact::Live));
        (source, Model::of(&facts))
    }

    fn stop(self) {
        self.runtime.block_on(self.cluster.stop());
    }
}

#[test]
fn a_lost_agent_goes_without_a_word_and_its_tasks_are_back_before_it() {
    let world = Outside::start(quiet());
    let mut streams = ENCODINGS.map(|(encoding, _)| world.follow(encoding));
    let scheduler = world.cluster.scheduler().clone();
    world.runtime.block_on(scheduler.kill_agent(Some("agent-2"), Loss::Agent)).unwrap();
    let lost = {
        let model = &streams[0].1;
        let agent = model.agents.values().find(|agent| &*agent.hostname == "agent-2").unwrap().id.clone();
        model.tasks.values().filter(|task| task.agent.as_ref() == Some(&agent)).count()
    };
    assert!(lost > 0, "it had tasks");
    scheduler.revive_agent(Some("agent-2")).unwrap();
    for (source, model) in &mut streams {
        let facts = source.until(|fact| matches!(fact, Fact::Agent(_)));
        facts.iter().for_each(|fact| model.apply(fact));
        assert!(!facts.iter().any(|fact| matches!(fact, Fact::AgentGone(_))), "it was never removed");
        let position = |wanted: &dyn Fn(&Fact) -> bool| -> Vec<usize> {
            (0..facts.len()).filter(|at| wanted(&facts[*at])).collect()
        };
        let unreachable = |fact: &Fact| matches!(fact, Fact::Status(status) if status.state == TaskState::Unreachable);
        let is_back = |fact: &Fact| matches!(fact, Fact::Task(task) if task.state == TaskState::Running);
        let (gone, back) = (position(&unreachable), position(&is_back));
        // Its own, and perhaps successors that were launched meanwhile and run by now.
        assert_eq!(gone.len(), lost);
        assert!(back.len() >= lost && gone.last() < back.first(), "{facts:?}");
        assert_eq!(back.last().map(|at| at + 1), Some(facts.len() - 1), "the agent comes right after its tasks");
    }
    streams.into_iter().for_each(|(source, _)| source.stop());
    world.stop();
}

#[test]
fn after_a_failover_the_snapshot_lacks_the_agents_that_are_not_back() {
    // Long enough to subscribe in between, on any machine that is not at a standstill.
    let pace = Pace { agent_return: Duration::from_millis(1500), ..Pace::fast() };
    let world = Outside::start(DemoOptions { pace, ..quiet() });
    let (mut source, before) = world.follow(MesosEncoding::Protobuf);
    let told = world.cluster.feed().observe();
    let scheduler = world.cluster.scheduler().clone();
    let failover = world.runtime.spawn(async move { scheduler.fail_over().await });
    let snapshot = Model::of(&source.until(|fact| matches!(fact, Fact::SnapshotFinished(_))));
    let scope = snapshot.scope.clone().unwrap();
    assert!(!scope.authoritative && !scope.recovered_agents.is_empty(), "{scope:?}");
    assert!(snapshot.tasks.len() < before.tasks.len(), "{} of {}", snapshot.tasks.len(), before.tasks.len());
    for task in snapshot.tasks.values() {
        assert!(!scope.recovered_agents.contains(task.agent.as_ref().unwrap()), "{task:?}");
    }
    world.runtime.block_on(failover).unwrap().unwrap();
    let (all, whole) = world.follow(MesosEncoding::Json);
    assert_eq!((whole.tasks.len(), whole.agents.len()), (before.tasks.len(), before.agents.len()));
    assert!(whole.scope.unwrap().recovered_agents.is_empty());

    // To the first agent's news its framework is new: the agent, the framework, then the tasks.
    let kinds = kinds(told);
    let first: Vec<&str> = kinds.iter().map(String::as_str).take(3).collect();
    assert_eq!(first, ["AGENT_ADDED", "FRAMEWORK_ADDED", "TASK_ADDED"], "{kinds:?}");
    // To later ones it is known: tasks, then the agent.
    let last = kinds.iter().rposition(|kind| kind == "AGENT_ADDED").unwrap();
    assert_eq!(kinds[last - 1], "TASK_ADDED", "{kinds:?}");
    all.stop();
    source.stop();
    world.stop();
}

/// The types of what was told so far.
fn kinds(mut events: pointsman::demo::feed::Events) -> Vec<String> {
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.extend(event.r#type.and_then(wire::event_type::name).map(str::to_owned));
    }
    kinds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named_with_its_mend() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut master_taken = DemoOptions::fast();
    master_taken.masters[1] = address;
    let control_taken = DemoOptions { control: address, ..DemoOptions::fast() };
    for (options, what, flag) in [(master_taken, "a master", "--masters"), (control_taken, "demo control", "--control")]
    {
        let text = soon(DemoCluster::start(options)).await.unwrap_err().to_string();
        let parts = [&address.to_string(), what, flag, &format!("ss -ltnp 'sport = {}'", address.port())];
        assert!(parts.iter().all(|part| text.contains(*part)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_task_serves_through_its_grace_and_finishes_what_it_had_begun() {
    let app = AppSpec { kill_grace: Duration::from_millis(800), checked: false, ..AppSpec::http("app", 2, &[]) };
    let cluster = start(DemoOptions { apps: vec![app], ..DemoOptions::fast() }).await;
    let scheduler = cluster.scheduler().clone();
    let tasks: Vec<String> = cluster.feed().read(|model| model.tasks().keys().cloned().collect());
    let addresses: Vec<_> = tasks.iter().map(|task| scheduler.address(task).unwrap()).collect();
    // One that ends long after the grace.
    let slow =
        addresses.clone().into_iter().map(|address| tokio::spawn(async move { get(address, "/slow?ms=1600").await }));
    let slow: Vec<_> = slow.collect();
    // Tasks count their requests: once ours is one too many, the slow one is there.
    for address in &addresses {
        let mut ours = 0;
        while get(*address, "/").await.json()["request"] == ours + 1 {
            ours += 1;
        }
    }
    let scaling = tokio::spawn(async move { scheduler.scale("app", 1).await });
    let killed = soon(cluster.feed().wait_for(demo_support::PATIENCE, |model| {
        model.tasks().iter().find(|(_, task)| task.state == State::Killing).map(|(id, _)| id.clone())
    }));
    let killed = killed.await.expect("one of them is killed");
    let address = addresses[tasks.iter().position(|task| *task == killed).unwrap()];
    assert_eq!(get(address, "/").await.status, 200, "a request within the grace");
    for answer in slow {
        assert_eq!(soon(answer).await.unwrap().status, 200, "what was begun before is finished after it");
    }
    soon(scaling).await.unwrap().unwrap();
    assert!(ask(address, "GET", "/", "", b"").await.is_err(), "then it is gone");
    cluster.stop().await;
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
