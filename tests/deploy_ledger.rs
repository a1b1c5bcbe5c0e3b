//! The ledger of deploys: which there are, how they end, what each endpoint went through, and what was lost.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::backend::Backend;
use common::facts::{CLUSTER, FRAMEWORK, snapshot, status};
use common::ports::unused;
use common::program::{Folder, Program, get, until};
use common::world::{World, at, marathon, running};
use pointsman::cluster::event::{ClusterEvent, Command, Fact};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use pointsman::deploys::ledger::DeployLedger;
use pointsman::deploys::record::{Deploy, Outcome};
use pointsman::model::framework_deployment::{DeploymentEnd, DeploymentOutcome, FrameworkDeployment};
use pointsman::model::task::{AppFacts, TaskDefinition, TaskState};
use pointsman::model::time::Timestamp;
use pointsman::proxy::metrics::Tally;
use pointsman::table::Table;
use serde_json::Value;

const V1: &[(&str, &str)] = &[("pointsman.version", "v1")];
const V2: &[(&str, &str)] = &[("pointsman.version", "v2")];
const V3: &[(&str, &str)] = &[("pointsman.version", "v3")];

/// A world and its ledger, which sees every table.
struct Book {
    world: World,
    ledger: DeployLedger,
    seen: Arc<Table>,
    tally: Tally,
    /// What readings said of the end of deploys.
    ended: Vec<Outcome>,
}

impl Book {
    /// Two tasks of v1 are there.
    fn new() -> Self {
        let mut world = World::new();
        let tasks = vec![at(1), marathon(), running("a1", "web", 1, V1), running("a2", "web", 1, V1)];
        let before = world.table();
        world.say(snapshot(1, tasks));
        let seen = world.table();
        let mut ledger = DeployLedger::default();
        ledger.begin(&before);
        ledger.follow(&before, &seen, &|_| Tally::default());
        assert_eq!(ledger.running(), 0, "what is there at first is no deploy");
        Self { world, ledger, seen, tally: Tally::default(), ended: Vec::new() }
    }

    fn say(&mut self, facts: Vec<Fact>) {
        self.world.pass(1);
        self.world.facts(1, facts);
        self.look();
    }

    fn look(&mut self) {
        let next = self.follow();
        let tally = self.tally;
        let ended = self.ledger.read(&next, next.built_at, &|_| tally);
        self.ended.extend(ended.iter().map(|deploy| deploy.outcome));
    }

    /// Takes a table over without a reading.
    fn follow(&mut self) -> Arc<Table> {
        let (next, tally) = (self.world.table(), self.tally);
        self.ledger.follow(&self.seen, &next, &|_| tally);
        self.seen = next.clone();
        next
    }

    fn set(&mut self, task: &str, state: TaskState) {
        self.say(vec![Fact::Status(Box::new(status(task, state, None)))]);
    }

    fn newest(&self) -> Deploy {
        (*self.ledger.deploys().first().unwrap()).clone()
    }
}

#[test]
fn a_rolling_deploy_is_recorded_from_the_first_new_to_the_last_old_endpoint() {
    let mut book = Book::new();
    book.tally = Tally { requests: 100, lost: 1, cut: 0 };
    book.say(vec![running("b1", "web", 1, V2)]);
    let deploy = book.newest();
    assert_eq!((deploy.from.len(), deploy.from[0].as_str(), deploy.to.as_str()), (1, "v1", "v2"));
    assert_eq!((deploy.outcome, deploy.endpoints.len()), (Outcome::Running, 3));
    assert_eq!(deploy.tally, Tally::default(), "what was before is not the deploy's");

    book.set("a1", TaskState::Killing);
    book.set("a1", TaskState::Ended);
    book.say(vec![running("b2", "web", 1, V2)]);
    book.tally = Tally { requests: 160, lost: 3, cut: 2 };
    book.set("a2", TaskState::Killing);
    assert_eq!(book.newest().outcome, Outcome::Running, "the last old one is there still");
    book.set("a2", TaskState::Ended);
    let deploy = book.newest();
    assert_eq!((deploy.outcome, deploy.tally), (Outcome::Finished, Tally { requests: 60, lost: 2, cut: 2 }));
    assert!(deploy.ended.unwrap() > deploy.began);
    for record in &deploy.endpoints {
        let is_new = record.version.as_str() == "v2";
        assert_eq!((record.appeared.is_some(), record.gone.is_some()), (is_new, !is_new), "{record:?}");
        assert!(record.ready.is_some());
        if !is_new {
            assert!(record.draining < record.gone && record.last_byte.is_some(), "{record:?}");
        }
    }
    assert_eq!(book.ledger.running(), 0);
    // The next one begins where this one ended.
    book.say(vec![running("c1", "web", 1, V3)]);
    let next = book.newest();
    assert_eq!((next.id, next.from[0].as_str(), next.tally), (deploy.id + 1, "v2", Tally::default()));
}

#[test]
fn what_is_no_deploy_makes_none() {
    let mut book = Book::new();
    book.say(vec![running("a3", "web", 1, V1)]);
    book.set("a1", TaskState::Ended);
    book.world.facts(1, vec![Fact::Status(Box::new(status("a2", TaskState::Running, Some(false))))]);
    book.look();
    book.say(vec![running("a4", "web", 1, V1)]);
    assert!(book.ledger.deploys().is_empty(), "scaling, replacing and verdicts are no deploys");
    // A restored program knows nothing of what went on before.
    let mut ledger = DeployLedger::default();
    ledger.begin(&book.seen);
    assert!(ledger.deploys().is_empty());
}

#[test]
fn an_all_at_once_replacement_in_one_batch_knows_the_old_version() {
    let mut book = Book::new();
    let ended = |task: &str| Fact::Status(Box::new(status(task, TaskState::Ended, None)));
    book.say(vec![ended("a1"), ended("a2"), running("b1", "web", 1, V2)]);
    let deploy = book.newest();
    assert_eq!((deploy.from[0].as_str(), deploy.to.as_str(), deploy.outcome), ("v1", "v2", Outcome::Finished));
    assert_eq!(deploy.endpoints.iter().filter(|record| record.gone.is_some()).count(), 2);
}

#[test]
fn deploys_that_do_not_end_well_say_so() {
    let mut book = Book::new();
    book.say(vec![running("b1", "web", 1, V2)]);
    book.set("b1", TaskState::Ended);
    assert_eq!(book.newest().outcome, Outcome::RolledBack);

    book.say(vec![running("b2", "web", 1, V2)]);
    book.say(vec![running("c1", "web", 1, V3)]);
    let outcomes: Vec<_> = book.ledger.deploys().iter().map(|deploy| (deploy.id, deploy.outcome)).collect();
    assert_eq!(outcomes, [(3, Outcome::Running), (2, Outcome::Superseded), (1, Outcome::RolledBack)]);
    // Each is told once, for the metrics.
    assert_eq!(book.ended, [Outcome::RolledBack, Outcome::Superseded]);
    assert_eq!(book.newest().from.len(), 2);
    // Back to a version that was there is no new deploy.
    book.say(vec![running("a3", "web", 1, V1)]);
    assert_eq!(book.newest().id, 3);
    for task in ["a1", "a2", "a3", "b2", "c1"] {
        book.set(task, TaskState::Ended);
    }
    // The last one was gone with v3, or all were.
    assert!(matches!(book.newest().outcome, Outcome::Withdrawn | Outcome::RolledBack | Outcome::Finished));
    assert_eq!(book.ledger.running(), 0);
}

#[test]
fn a_deploy_that_was_over_is_not_superseded_by_the_next_one() {
    let mut book = Book::new();
    book.say(vec![running("b1", "web", 1, V2)]);
    // Nobody reads between the last old task's end and the first one of a third version.
    for task in ["a1", "a2"] {
        book.world.facts(1, vec![Fact::Status(Box::new(status(task, TaskState::Ended, None)))]);
        book.follow();
    }
    book.world.facts(1, vec![running("c1", "web", 1, V3)]);
    book.look();
    let outcomes: Vec<_> = book.ledger.deploys().iter().map(|deploy| (deploy.id, deploy.outcome)).collect();
    assert_eq!(outcomes, [(2, Outcome::Running), (1, Outcome::Finished)]);
    assert_eq!(book.ended, [Outcome::Finished]);
}

#[test]
fn a_new_version_that_is_not_ready_keeps_its_deploy_open() {
    let mut book = Book::new();
    book.say(vec![running("b1", "web", 1, V2)]);
    book.world.facts(1, vec![Fact::Status(Box::new(status("b1", TaskState::Running, Some(false))))]);
    book.set("a1", TaskState::Ended);
    book.set("a2", TaskState::Ended);
    assert_eq!(book.newest().outcome, Outcome::Running);
    book.world.facts(1, vec![Fact::Status(Box::new(status("b1", TaskState::Running, Some(true))))]);
    book.look();
    assert_eq!(book.newest().outcome, Outcome::Finished);
}

#[test]
fn an_endpoint_that_is_put_back_into_service_is_not_leaving() {
    let mut book = Book::new();
    book.say(vec![running("b1", "web", 1, V2)]);
    let subject = pointsman::model::drain::DrainSubject::Task(common::facts::key("a1"));
    let actor: Arc<str> = "test".into();
    let leaving = |book: &Book| book.newest().endpoints.iter().filter(|record| record.draining.is_some()).count();
    book.world.say(ClusterEvent::Command(Command::Drain { subject: subject.clone(), actor: actor.clone() }));
    book.look();
    assert_eq!(leaving(&book), 1);
    book.world.say(ClusterEvent::Command(Command::Undrain { subject, actor }));
    book.look();
    assert_eq!(leaving(&book), 0);
}

/// A new task of the app `/web`.
fn of_web(id: &str, labels: &[(&str, &str)]) -> Fact {
    let mut fact = running(id, "web", 1, labels);
    if let Fact::Task(task) = &mut fact {
        let app = Some(Arc::new(AppFacts { id: "/web".into(), ..AppFacts::default() }));
        task.definition = Arc::new(TaskDefinition { app, ..(*task.definition).clone() });
    }
    fact
}

fn deployment(id: &str, app: &str, step: u32, began: Timestamp) -> FrameworkDeployment {
    FrameworkDeployment {
        cluster: CLUSTER.into(),
        framework: FRAMEWORK.into(),
        id: id.into(),
        apps: [app.into()].into(),
        step: Some(step),
        steps: 2,
        actions: [].into(),
        began: Some(began),
        ended: None,
    }
}

fn begun(deployment: FrameworkDeployment) -> Fact {
    Fact::Deployment(Box::new(deployment))
}

fn over(id: &str, how: DeploymentOutcome) -> Fact {
    Fact::DeploymentOver { id: id.into(), end: DeploymentEnd { how, at: Timestamp(1), reason: None } }
}

/// The deployments of a deploy, and how they stand.
fn standing(deploy: &Deploy) -> Vec<(String, &'static str)> {
    deploy.deployments.iter().map(|record| (record.said.id.to_string(), record.said.standing())).collect()
}

fn known(all: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    all.iter().map(|(id, standing)| ((*id).to_owned(), *standing)).collect()
}

#[test]
fn a_deploy_goes_on_as_long_as_its_deployment() {
    let mut book = Book::new();
    let began = book.world.now;
    book.say(vec![begun(deployment("d", "/web", 1, began)), begun(deployment("other", "/other", 1, began))]);
    assert!(book.ledger.deploys().is_empty(), "a deployment alone is no deploy");
    book.say(vec![of_web("b1", V2)]);
    let deploy = book.newest();
    assert_eq!((standing(&deploy), deploy.began), (known(&[("d", "running")]), began));
    // The new task falls over, and another takes its place; meanwhile the old ones were there alone. It is one deploy.
    book.set("b1", TaskState::Ended);
    assert_eq!(book.newest().outcome, Outcome::Running);
    book.say(vec![of_web("b2", V2), begun(deployment("d", "/web", 2, began))]);
    book.set("a1", TaskState::Ended);
    book.set("a2", TaskState::Ended);
    let deploy = book.newest();
    assert_eq!((deploy.id, deploy.outcome, deploy.deployments[0].said.step), (1, Outcome::Running, Some(2)));
    book.say(vec![over("d", DeploymentOutcome::Succeeded)]);
    let deploy = book.newest();
    assert_eq!((deploy.id, deploy.outcome, standing(&deploy)), (1, Outcome::Finished, known(&[("d", "succeeded")])));
    assert_eq!(deploy.ended, Some(book.world.now));
    // What comes after it is none of its deployments.
    book.say(vec![begun(deployment("later", "/web", 1, book.world.now)), of_web("b3", V2)]);
    assert_eq!(standing(&book.newest()), known(&[("d", "succeeded")]));
}

#[test]
fn a_deployment_that_begins_as_the_one_before_ends_is_the_next_deploys() {
    let mut book = Book::new();
    book.say(vec![begun(deployment("d", "/web", 1, book.world.now)), of_web("b1", V2)]);
    book.set("a1", TaskState::Ended);
    book.set("a2", TaskState::Ended);
    assert_eq!(book.newest().outcome, Outcome::Running);
    // Nobody has looked between the two.
    book.say(vec![over("d", DeploymentOutcome::Succeeded), begun(deployment("next", "/web", 1, book.world.now))]);
    let deploy = book.newest();
    assert_eq!((deploy.id, deploy.outcome, standing(&deploy)), (1, Outcome::Finished, known(&[("d", "succeeded")])));
    book.say(vec![of_web("c1", V3)]);
    let deploy = book.newest();
    assert_eq!((deploy.id, deploy.outcome, standing(&deploy)), (2, Outcome::Running, known(&[("next", "running")])));
}

#[test]
fn a_deployment_that_fails_fails_the_deploy_unless_another_follows() {
    let mut book = Book::new();
    let began = book.world.now;
    book.say(vec![begun(deployment("d", "/web", 1, began)), of_web("b1", V2)]);
    book.say(vec![over("d", DeploymentOutcome::Failed)]);
    let failed = book.world.now;
    assert_eq!((book.newest().outcome, standing(&book.newest())), (Outcome::Running, known(&[("d", "failed")])));
    for _ in 0..6 {
        book.world.pass(1);
        book.look();
    }
    let deploy = book.newest();
    assert_eq!((deploy.outcome, deploy.ended), (Outcome::Failed, Some(failed)));

    // Given up for one that leads back.
    book.say(vec![begun(deployment("e", "/web", 1, book.world.now)), of_web("c1", V3)]);
    book.say(vec![over("e", DeploymentOutcome::Failed)]);
    book.say(vec![begun(deployment("back", "/web", 1, book.world.now))]);
    for _ in 0..6 {
        book.world.pass(1);
        book.look();
    }
    assert_eq!(book.newest().outcome, Outcome::Running);
    book.set("c1", TaskState::Ended);
    book.say(vec![over("back", DeploymentOutcome::Succeeded)]);
    let deploy = book.newest();
    assert_eq!(deploy.outcome, Outcome::RolledBack);
    assert_eq!(standing(&deploy), known(&[("e", "failed"), ("back", "succeeded")]));
}

#[test]
fn a_deployment_that_is_over_ends_a_deploy_whose_old_tasks_are_left_over() {
    let mut book = Book::new();
    let began = book.world.now;
    book.say(vec![of_web("a3", V1), of_web("b1", V2)]);
    // It is heard of after its first task.
    assert_eq!(standing(&book.newest()), known(&[]));
    book.say(vec![begun(deployment("d", "/web", 1, began))]);
    book.set("a1", TaskState::Ended);
    book.set("a2", TaskState::Ended);
    // Its agent is cut off: Marathon has given it up, and it is kept for a while.
    book.set("a3", TaskState::Unreachable);
    book.say(vec![over("d", DeploymentOutcome::Succeeded)]);
    assert_eq!(book.newest().outcome, Outcome::Running);
    for _ in 0..6 {
        book.world.pass(1);
        book.look();
    }
    assert_eq!((book.newest().outcome, standing(&book.newest())), (Outcome::Finished, known(&[("d", "succeeded")])));

    // A task of another app is not one that is left over.
    book.say(vec![begun(deployment("e", "/web", 1, book.world.now)), running("blue", "web", 1, V2), of_web("c1", V3)]);
    for task in ["b1", "a3"] {
        book.set(task, TaskState::Ended);
    }
    book.say(vec![over("e", DeploymentOutcome::Succeeded)]);
    for _ in 0..6 {
        book.world.pass(1);
        book.look();
    }
    assert_eq!(book.newest().outcome, Outcome::Running);
    book.set("blue", TaskState::Ended);
    assert_eq!(book.newest().outcome, Outcome::Finished);
}

#[test]
fn what_a_lost_source_said_of_deployments_holds_nothing_up() {
    let mut book = Book::new();
    let began = book.world.now;
    book.say(vec![begun(deployment("d", "/web", 1, began)), of_web("b1", V2)]);
    book.set("a1", TaskState::Ended);
    book.set("a2", TaskState::Ended);
    assert_eq!(book.newest().outcome, Outcome::Running);
    book.say(vec![Fact::Lost { error: "gone".into() }]);
    assert_eq!((book.newest().outcome, standing(&book.newest())), (Outcome::Finished, known(&[("d", "running")])));
    // Back again, its list has the deployment no more, and what is said later of its end is taken over, too.
    book.say(vec![Fact::Live, Fact::DeploymentsListed { deployments: Vec::new(), unread: Vec::new() }]);
    assert_eq!(standing(&book.newest()), known(&[("d", "over")]));
    book.say(vec![over("d", DeploymentOutcome::Succeeded)]);
    assert_eq!(standing(&book.newest()), known(&[("d", "succeeded")]));
}

#[test]
fn the_deployments_of_a_deploy_are_bounded() {
    let mut book = Book::new();
    book.say(vec![of_web("b1", V2)]);
    for number in 0..20 {
        let id = format!("d{number}");
        book.say(vec![begun(deployment(&id, "/web", 1, book.world.now))]);
        book.say(vec![over(&id, DeploymentOutcome::Failed)]);
    }
    let kept = standing(&book.newest());
    assert_eq!((kept.len(), kept.last().map(|(id, _)| id.as_str())), (8, Some("d19")));
}

fn listener(address: SocketAddr) -> String {
    format!("[[proxy.listeners]]\nname = \"http\"\naddress = \"{address}\"\n")
}

fn deploys(program: &Program) -> Vec<Value> {
    program.api("/v1/deploys").1["deploys"].as_array().unwrap().clone()
}

#[test]
fn a_deploy_under_load_says_that_nothing_was_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let apps = vec![AppSpec::http("web", 2, &[("pointsman.host", "web.test")])];
    let cluster = runtime.block_on(DemoCluster::start(DemoOptions { apps, ..DemoOptions::fast() })).unwrap();
    runtime.block_on(cluster.ready()).unwrap();
    let (proxy, folder) = (unused(), Folder::new());
    let masters: Vec<_> = cluster.masters().iter().map(ToString::to_string).collect();
    folder.configure(&format!(
        "[[sources.mesos]]\nname = \"demo\"\nzone = \"mesos\"\nmasters = {masters:?}\n{}",
        listener(proxy)
    ));
    let mut program = folder.start();
    program.until_ready();
    program.until("all serve", |program| program.api("/v1/services/web").1["service"]["available"] == 2);
    assert!(deploys(&program).is_empty());
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let reply = get(proxy, "web.test", "/");
                    assert!(reply.as_ref().is_some_and(|reply| reply.status == 200), "{reply:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("there is load", || served.load(Ordering::Relaxed) > 10);
        runtime.block_on(cluster.scheduler().deploy("web")).unwrap();
        program.until("the deploy is over", |program| {
            deploys(program).first().is_some_and(|deploy| deploy["outcome"] == "finished")
        });
        stop.store(true, Ordering::Relaxed);
    });
    let all = deploys(&program);
    assert_eq!(all.len(), 1, "{all:?}");
    let (deploy, number) = (&all[0], all[0]["id"].to_string());
    let requests = deploy["requests"].as_u64().unwrap();
    assert!(requests > 0 && requests <= served.load(Ordering::Relaxed) + 4, "{deploy}");
    assert_eq!((&deploy["lost"], &deploy["cut"]), (&0.into(), &0.into()), "{deploy}");
    assert_eq!(deploy["summary"], format!("lost: 0 of {requests}"));
    let (_, details) = program.api(&format!("/v1/deploys/{number}"));
    let document: Value = serde_json::from_str(pointsman::admin::OPENAPI).unwrap();
    let schema = serde_json::json!({"$ref": "#/components/schemas/DeployDetails"});
    common::openapi::validate(&document, &schema, &details, "/v1/deploys/{deploy}");
    let endpoints = details["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 4, "{details}");
    for endpoint in endpoints {
        let time = |key: &str| endpoint[key].as_u64();
        if endpoint["version"] == deploy["to"] {
            assert!(time("appeared") <= time("ready") && time("ready") <= time("first_request"), "{endpoint}");
            assert!(time("first_request").is_some() && time("first_request") <= time("last_request"), "{endpoint}");
            assert!(time("gone").is_none(), "{endpoint}");
        } else {
            assert!(time("appeared").is_none() && time("draining").is_some(), "{endpoint}");
            assert!(time("draining") <= time("gone") && time("last_byte").is_some(), "{endpoint}");
        }
        assert_eq!(endpoint["errors"], 0, "{endpoint}");
    }
    let by_version: u64 = details["versions"].as_array().unwrap().iter().map(|v| v["requests"].as_u64().unwrap()).sum();
    // Those that were under way at the beginning count for the service alone: at most one a client.
    assert!(by_version + 2 >= requests, "{details}");
    let (code, out, err) = program.ask(&["deploys"]);
    assert!(code == 0 && out.contains(&format!("lost: 0 of {requests}")), "{out}{err}");
    let (code, out, err) = program.ask(&["deploys", &number]);
    assert!(code == 0 && out.contains("LAST BYTE") && out.contains("cut midway: 0"), "{out}{err}");
    assert_eq!(program.metric("pointsman_deploys_total{outcome=\"finished\"}"), Some(1.0));
    assert_eq!(program.metric("pointsman_deploy_lost_total"), Some(0.0));
    program.stop();
    runtime.block_on(cluster.stop());
}

#[test]
fn a_deploy_to_a_version_that_does_not_answer_says_what_was_lost() {
    let (proxy, dead, folder) = (unused(), unused(), Folder::new());
    let backend = Backend::start("a");
    let services = |version: &str, address: SocketAddr| {
        format!("[[services]]\nname = \"web\"\nhosts = [\"*\"]\nversion = \"{version}\"\nendpoints = [\"{address}\"]\n")
    };
    folder.write("services.toml", services("v1", backend.address));
    let files = "[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n";
    folder.configure(&format!("{files}{}", listener(proxy)));
    let mut program = folder.start();
    program.until_ready();
    until("it serves", || get(proxy, "web.test", "/").is_some_and(|reply| reply.status == 200));
    // What is in flight at the old version keeps the deploy open.
    let held = std::thread::spawn(move || get(proxy, "web.test", "/held"));
    until("a request is held", || backend.held() == 1);
    folder.write("services.toml", services("v2", dead));
    program.until("the deploy is seen", |program| !deploys(program).is_empty());
    for _ in 0..5 {
        assert_eq!(get(proxy, "web.test", "/").unwrap().status, 502);
    }
    assert_eq!(deploys(&program)[0]["outcome"], "running");
    backend.release();
    assert_eq!(held.join().unwrap().unwrap().status, 200);
    program.until("the deploy is over", |program| deploys(program)[0]["outcome"] == "finished");
    let deploy = &deploys(&program)[0];
    assert_eq!((&deploy["summary"], &deploy["cut"]), (&"lost: 5 of 6".into(), &0.into()), "{deploy}");
    let (code, out, err) = program.ask(&["deploys", &deploy["id"].to_string()]);
    assert_eq!(code, 1, "something was lost: {out}{err}");
    assert_eq!(program.metric("pointsman_proxy_lost_requests_total"), Some(5.0));
    assert_eq!(program.metric("pointsman_deploy_lost_total"), Some(5.0));
    program.stop();
}
