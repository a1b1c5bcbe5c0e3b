//! Marathon's deployments: from its events and its list into the ledger of deploys; what is garbage harms nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod marathon_common;
mod proxy_common;

use marathon_common::server::{Marathon, answers, following, task, web};
use marathon_common::{Running, get};
use pointsman::deploys::record::{Deploy, Outcome};
use pointsman::model::problem::ProblemCode;
use pointsman::model::time::Timestamp;
use proxy_common::{Backend, body, soon};
use serde_json::{Value, json};

const ID: &str = "97c136bf-5a28-4821-9d94-480d9fbb01c8";
const BEGAN: &str = "2026-01-01T00:00:00.000Z";

/// A plan for `/web`: its new tasks start, then its old ones go.
fn plan() -> Value {
    json!({ "id": ID, "version": BEGAN, "steps": [
        { "actions": [{ "action": "StartApplication", "app": "/web" }] },
        { "actions": [{ "action": "RestartApplication", "app": "/web" }] },
    ] })
}

/// The event that a step begins with.
fn tell_step(marathon: &Marathon, step: usize) {
    let plan = plan();
    let current = plan["steps"][step - 1].clone();
    marathon.tell("deployment_info", json!({ "plan": plan, "currentStep": current, "timestamp": BEGAN }));
}

/// An app whose tasks run these versions.
fn app(tasks: &[(u32, &Backend, &str)]) -> Value {
    let tasks = tasks.iter().map(|(number, backend, version)| {
        let mut task = task("/web", *number, backend.address);
        task["version"] = (*version).into();
        task
    });
    let mut app = web("/web", "web.test", &[]);
    app["tasks"] = tasks.collect();
    app
}

async fn until_newest(server: &Running, what: &str, condition: impl Fn(&Deploy) -> bool) -> Deploy {
    proxy_common::until(what, || server.deploys().first().is_some_and(&condition)).await;
    server.deploys().remove(0)
}

#[tokio::test]
async fn a_deploy_has_the_deployment_that_marathon_tells_of_and_lasts_as_long() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    marathon.put(app(&[(1, &old, "v1")]));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    tell_step(&marathon, 1);
    marathon.put(app(&[(1, &old, "v1"), (2, &new, "v2")]));
    marathon.changed("/web");
    let deploy = until_newest(&server, "it has its deployment", |deploy| !deploy.deployments.is_empty()).await;
    let said = &deploy.deployments[0].said;
    assert_eq!((deploy.deployments[0].source.as_str(), &*said.id, said.standing()), ("marathon", ID, "running"));
    assert_eq!((&*said.apps, said.step, said.steps), (&["/web".into()][..], Some(1), 2));
    assert_eq!((said.began, deploy.began), (Timestamp::parse(BEGAN), Timestamp::parse(BEGAN).unwrap()));
    // The old task is gone and the new one serves; but Marathon is not done.
    marathon.put(app(&[(2, &new, "v2")]));
    marathon.changed("/web");
    let is_replaced = |deploy: &Deploy| deploy.endpoints.iter().filter(|record| record.gone.is_some()).count() == 1;
    until_newest(&server, "the old task is gone", is_replaced).await;
    answers(&server, "web.test", "new").await;
    tell_step(&marathon, 2);
    let is_second = |deploy: &Deploy| deploy.deployments[0].said.step == Some(2);
    let deploy = until_newest(&server, "the next step", is_second).await;
    assert_eq!(deploy.outcome, Outcome::Running);
    marathon.tell("deployment_step_success", json!({ "plan": plan(), "currentStep": plan()["steps"][1] }));
    marathon.tell("deployment_success", json!({ "id": ID, "timestamp": "2026-01-01T00:01:00.000Z" }));
    let deploy = until_newest(&server, "it is over", |deploy| deploy.ended.is_some()).await;
    let said = &deploy.deployments[0].said;
    assert_eq!((deploy.outcome, said.standing()), (Outcome::Finished, "succeeded"));
    assert_eq!(said.ended.as_ref().map(|end| end.at), Timestamp::parse("2026-01-01T00:01:00.000Z"));
    assert_eq!(server.deploys().len(), 1);
    proxy_common::until("the metrics say so", || {
        server.metric("pointsman_deploys_total{outcome=\"finished\"}") > 0.0
            && server.metric("pointsman_framework_deployments_running") < 0.5
    })
    .await;
}

#[tokio::test]
async fn deployments_that_are_under_way_at_first_are_listed_and_those_that_ended_unheard_are_over() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    marathon.put(app(&[(1, &old, "v1")]));
    marathon.state().deployments = Some(vec![
        json!({ "id": ID, "version": BEGAN, "affectedApps": ["/web"], "affectedPods": [], "steps": plan()["steps"],
            "currentActions": [{ "action": "StartApplication", "app": "/web" }], "currentStep": 1, "totalSteps": 2 }),
        json!({ "id": "odd", "affectedApps": { "no": "list" } }),
    ]);
    let server =
        following(&[&marathon], |config| config.marathon[0].max_backoff = std::time::Duration::from_millis(10));
    answers(&server, "web.test", "old").await;
    let is_listed = |table: &pointsman::table::Table| table.deployments.iter().any(|(_, all)| all.get(ID).is_some());
    server.table_until("the list is read", is_listed).await;
    proxy_common::until("the odd one is a problem", || {
        server.problems().iter().any(|p| p.code == ProblemCode::InvalidFact && p.message.contains("odd"))
    })
    .await;
    marathon.put(app(&[(1, &old, "v1"), (2, &new, "v2")]));
    marathon.changed("/web");
    let deploy = until_newest(&server, "it has its deployment", |deploy| !deploy.deployments.is_empty()).await;
    assert_eq!((&*deploy.deployments[0].said.id, deploy.deployments[0].said.step), (ID, Some(1)));
    // While nobody listens the deployment ends, and another leader lists it no more.
    marathon.put(app(&[(2, &new, "v2")]));
    marathon.state().deployments = Some(Vec::new());
    marathon.cut();
    let deploy = until_newest(&server, "it is over", |deploy| deploy.ended.is_some()).await;
    assert_eq!(deploy.outcome, Outcome::Finished);
    until_newest(&server, "its deployment, too", |deploy| deploy.deployments[0].said.standing() == "over").await;
}

#[tokio::test]
async fn deployments_that_cannot_be_read_harm_nothing() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let marathon = Marathon::start().await;
    marathon.put(app(&[(1, &old, "v1")]));
    marathon.state().instead.insert("/v2/deployments".into(), (500, "no".into()));
    let server = following(&[&marathon], |_| {});
    answers(&server, "web.test", "old").await;
    server.table_until("the source is live", |table| table.ready && !table.is_stale()).await;
    proxy_common::until("it is a problem", || server.problems().iter().any(|p| p.message.contains("500"))).await;
    // It is asked for again, and apps are followed all the same.
    proxy_common::until("it is asked for again", || marathon.asked("/v2/deployments") > 2).await;
    let streams = server.metric("pointsman_marathon_streams_total");
    for garbage in
        ["[]", "7", "null", "{", r#"{"plan":[]}"#, r#"{"plan":{"id":{}}}"#, r#"{"plan":{"id":"x","steps":7}}"#]
    {
        for kind in ["deployment_info", "deployment_step_success", "deployment_success", "deployment_failed"] {
            marathon.tell_raw(format!("event: {kind}\r\ndata: {garbage}\r\n\r\n").as_bytes());
        }
    }
    marathon.put(app(&[(2, &new, "v2")]));
    marathon.changed("/web");
    answers(&server, "web.test", "new").await;
    for text in ["{}", "nothing", "[7, null, {}]"] {
        let before = marathon.asked("/v2/deployments");
        marathon.state().instead.insert("/v2/deployments".into(), (200, text.into()));
        marathon.tell("deployment_info", json!({ "plan": {} }));
        soon(proxy_common::until("it is asked for", || marathon.asked("/v2/deployments") > before)).await;
        assert_eq!(body(&get(server.http, "web.test", "/").await), "new");
    }
    // The stream was never given up, and the deploy was found without any of it.
    assert_eq!((server.metric("pointsman_marathon_streams_total"), marathon.followers()), (streams, 1));
    let deploy = until_newest(&server, "the deploy is over", |deploy| deploy.ended.is_some()).await;
    assert_eq!((deploy.outcome, deploy.deployments.len()), (Outcome::Finished, 0));
    // A list that is right in the end takes the problems away.
    marathon.state().instead.clear();
    marathon.state().deployments = Some(Vec::new());
    marathon.tell("deployment_info", json!({ "plan": {} }));
    proxy_common::until("the problems are gone", || server.problems().is_empty()).await;
}
