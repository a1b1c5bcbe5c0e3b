//! Marathon's deployments: its list of them, and its events → facts. Pure.
//!
//! A deployment that cannot be read is a problem of its own, and is there: it is not taken for one that is over. Nothing else
//! depends on any: what is not known of deployments, the ledger of deploys finds by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::changes::{is_id, list};
use super::translate::Scope;
use crate::cluster::event::Fact;
use crate::cluster::source::PROBLEMS;
use crate::model::framework_deployment::{
    DeploymentAction, DeploymentEnd, DeploymentOutcome, FrameworkDeployment, MAX_ACTIONS, MAX_APPS, PROBLEMS_AT,
};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::time::Timestamp;

/// Octets of an id, and of the reason of a failure; Marathon's ids are UUIDs.
const MAX_ID: usize = 128;
const MAX_REASON: usize = 512;

/// An event about a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentEvent {
    /// Its type.
    pub kind: String,
    /// All of it.
    pub event: Value,
}

/// What an event says.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Of which deployment.
    pub id: Arc<str>,
    /// What it comes to.
    pub facts: Vec<Fact>,
}

/// Reads an event; `now` stands for the time of one that says none.
///
/// # Errors
/// What is wrong with it.
pub fn heard(
    DeploymentEvent { kind, event }: &DeploymentEvent,
    scope: &Scope,
    now: Timestamp,
) -> Result<Heard, Problem> {
    let said_at = time(event, "timestamp");
    let how = match kind.as_str() {
        "deployment_success" => DeploymentOutcome::Succeeded,
        "deployment_failed" => DeploymentOutcome::Failed,
        _ => {
            let plan = event.get("plan").ok_or_else(|| unreadable("", "its event has no plan"))?;
            let mut deployment = read(plan, scope)?;
            take_step(&mut deployment, plan, event.get("currentStep"));
            // Later steps say when they began themselves.
            let is_first = kind == "deployment_info" && deployment.step == Some(1);
            deployment.began = deployment.began.or(said_at.filter(|_| is_first));
            let id = deployment.id.clone();
            return Ok(Heard { id, facts: vec![Fact::Deployment(Box::new(deployment))] });
        }
    };
    let plan = event.get("plan");
    let id = id_of(event).or_else(|| id_of(plan?)).ok_or_else(|| unreadable("", "its end does not say whose it is"))?;
    // What the plan says is said for those who came late; its end is said without it, too.
    let deployment = plan.and_then(|plan| read(plan, scope).ok()).filter(|deployment| deployment.id == id);
    let reason = event.get("reason").and_then(Value::as_str).filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| shortened(reason, MAX_REASON).into());
    let end = DeploymentEnd { how, at: said_at.unwrap_or(now), reason };
    let mut facts: Vec<Fact> =
        deployment.map(|deployment| Fact::Deployment(Box::new(deployment))).into_iter().collect();
    facts.push(Fact::DeploymentOver { id: id.clone(), end });
    Ok(Heard { id, facts })
}

/// Reads Marathon's list. `fresh` are those that were heard of while it was made: what it says of them is older, and they may
/// be over.
///
/// # Errors
/// It is no list.
pub fn listed(
    data: &[u8],
    fresh: impl IntoIterator<Item = Arc<str>>,
    scope: &Scope,
) -> Result<(Vec<Fact>, Vec<Problem>), serde_json::Error> {
    let (mut deployments, mut problems) = (Vec::new(), Vec::new());
    let mut unread: Vec<Arc<str>> = fresh.into_iter().collect();
    let mut has_nameless = false;
    for raw in serde_json::from_slice::<Vec<&RawValue>>(data)? {
        // One after the other: the whole list at once would take many times its size.
        let entry: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        match read_listed(&entry, scope) {
            Ok(deployment) if unread.contains(&deployment.id) => {}
            Ok(deployment) => deployments.push(deployment),
            Err(problem) => {
                problems.push(problem);
                let id = id_of(&entry);
                has_nameless |= id.is_none();
                unread.extend(id);
            }
        }
    }
    // What has no name may be any of those that are not listed: none is over then.
    let facts = match has_nameless {
        true => deployments.into_iter().map(|deployment| Fact::Deployment(Box::new(deployment))).collect(),
        false => vec![Fact::DeploymentsListed { deployments, unread }],
    };
    problems.truncate(PROBLEMS);
    Ok((facts, problems))
}

/// An entry of the list.
fn read_listed(entry: &Value, scope: &Scope) -> Result<FrameworkDeployment, Problem> {
    let mut deployment = read(entry, scope)?;
    let mut apps = BTreeSet::new();
    for field in ["affectedApps", "affectedPods"] {
        let Some(said) = entry.get(field).filter(|said| !said.is_null()) else { continue };
        let ids = said.as_array().and_then(|ids| ids.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let why = || unreadable(&deployment.id, &format!("`{field}` is no list of ids"));
        apps.extend(ids.ok_or_else(why)?.into_iter().filter(|id| is_id(id)).map(Arc::from));
    }
    if !apps.is_empty() {
        deployment.apps = apps.into_iter().take(MAX_APPS).collect();
    }
    let number = |field: &str| entry.get(field).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    deployment.step = number("currentStep");
    deployment.steps = number("totalSteps").unwrap_or(deployment.steps);
    deployment.actions = list(entry, "currentActions").filter_map(action).take(MAX_ACTIONS).collect();
    Ok(deployment)
}

/// What entries of the list and plans of events have in common.
fn read(plan: &Value, scope: &Scope) -> Result<FrameworkDeployment, Problem> {
    let id = id_of(plan).ok_or_else(|| unreadable("", "it has no id"))?;
    let steps = match plan.get("steps") {
        None | Some(Value::Null) => 0,
        Some(Value::Array(steps)) => steps.len(),
        Some(_) => return Err(unreadable(&id, "`steps` is no list")),
    };
    let apps: BTreeSet<Arc<str>> =
        list(plan, "steps").flat_map(actions).map(|action| action.app).take(MAX_APPS).collect();
    Ok(FrameworkDeployment {
        cluster: scope.cluster.clone(),
        framework: scope.framework.clone(),
        id,
        apps: apps.into_iter().collect(),
        step: None,
        steps: u32::try_from(steps).unwrap_or(u32::MAX),
        actions: Arc::new([]),
        // The version of a plan is the moment at which it was made.
        began: time(plan, "version"),
        ended: None,
    })
}

/// Which of the plan's steps is being made: events show it, and do not number it.
fn take_step(deployment: &mut FrameworkDeployment, plan: &Value, current: Option<&Value>) {
    let Some(current) = current.filter(|current| current.is_object()) else { return };
    let now: Vec<DeploymentAction> = actions(current).collect();
    let at = list(plan, "steps").position(|step| actions(step).eq(now.iter().cloned()));
    deployment.step = at.and_then(|at| u32::try_from(at + 1).ok());
    deployment.actions = now.into_iter().take(MAX_ACTIONS).collect();
}

/// What a step does. Of old a step was an action itself.
fn actions(step: &Value) -> impl Iterator<Item = DeploymentAction> {
    list(step, "actions").chain([step]).filter_map(action)
}

fn action(said: &Value) -> Option<DeploymentAction> {
    let text = |field: &str| said.get(field).and_then(Value::as_str);
    let app = text("app").or_else(|| text("pod")).filter(|id| is_id(id))?;
    let action = text("action").or_else(|| text("type")).unwrap_or_default();
    Some(DeploymentAction { action: shortened(action, MAX_ID).into(), app: app.into() })
}

fn id_of(value: &Value) -> Option<Arc<str>> {
    let id = value.get("id")?.as_str()?;
    let is_good = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|octet| octet.is_ascii_graphic());
    is_good.then(|| id.into())
}

/// A moment; some versions write 1970 for none.
fn time(value: &Value, field: &str) -> Option<Timestamp> {
    Timestamp::parse(value.get(field)?.as_str()?).filter(|at| at.0 > 0)
}

fn shortened(text: &str, octets: usize) -> &str {
    &text[..text.floor_char_boundary(octets)]
}

/// That the list of deployments cannot be read.
pub(super) fn unreadable_list(why: &str) -> Problem {
    problem("", format!("Marathon's deployments cannot be read: {why}"))
}

fn unreadable(id: &str, why: &str) -> Problem {
    match id {
        "" => problem(id, format!("a deployment of Marathon cannot be read: {why}")),
        _ => problem(id, format!("Marathon's deployment {id} cannot be read: {why}")),
    }
}

fn problem(id: &str, message: String) -> Problem {
    Problem {
        code: ProblemCode::InvalidFact,
        subject: id.into(),
        at: PROBLEMS_AT.into(),
        message: message.into(),
        mend: "look at Marathon's /v2/deployments; deploys are recorded without it, nothing else is affected".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        Scope { cluster: "c".into(), framework: "f".into(), use_health: true, active_checks: false }
    }

    fn event(kind: &str, event: Value) -> Result<Heard, Problem> {
        heard(&DeploymentEvent { kind: kind.into(), event }, &scope(), Timestamp(7))
    }

    fn only(heard: &Heard) -> FrameworkDeployment {
        match heard.facts.as_slice() {
            [Fact::Deployment(deployment)] => (**deployment).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn plan() -> Value {
        json!({ "id": "867ed450", "version": "2026-01-01T00:00:00.000Z", "steps": [
            { "actions": [{ "action": "StartApplication", "app": "/a" }] },
            { "actions": [{ "action": "ScaleApplication", "app": "/a" }, { "type": "ScalePod", "pod": "/p" }] },
        ] })
    }

    #[test]
    fn steps_are_found_in_the_plan() {
        let second =
            json!({ "actions": [{ "type": "ScaleApplication", "app": "/a" }, { "type": "ScalePod", "pod": "/p" }] });
        let info = json!({ "plan": plan(), "currentStep": second, "timestamp": "2026-01-01T00:01:00.000Z" });
        let deployment = only(&event("deployment_info", info).unwrap());
        assert_eq!((&*deployment.id, deployment.step, deployment.steps), ("867ed450", Some(2), 2));
        assert_eq!(&*deployment.apps, ["/a".into(), "/p".into()]);
        assert_eq!((deployment.actions.len(), &*deployment.actions[1].action), (2, "ScalePod"));
        assert_eq!(deployment.began, Timestamp::parse("2026-01-01T00:00:00.000Z"));
        // Without a version the first step says when it began, and a later one does not.
        for (step, began) in [(0, Timestamp::parse("2026-01-01T00:01:00.000Z")), (1, None)] {
            let mut plan = plan();
            plan["version"] = "1970-01-01T00:00:00.000Z".into();
            let current = plan["steps"][step].clone();
            let info = json!({ "plan": plan, "currentStep": current, "timestamp": "2026-01-01T00:01:00.000Z" });
            assert_eq!(only(&event("deployment_info", info).unwrap()).began, began);
        }
        // Of old a step was an action itself, and a step that the plan does not have is none.
        let old = json!({ "id": "d", "steps": [{ "action": "ScaleApplication", "app": "/a" }] });
        let info = json!({ "plan": old, "currentStep": { "action": "ScaleApplication", "app": "/a" } });
        assert_eq!(only(&event("deployment_info", info).unwrap()).step, Some(1));
        let info = json!({ "plan": plan(), "currentStep": { "actions": [] } });
        assert_eq!(only(&event("deployment_step_success", info).unwrap()).step, None);
    }

    #[test]
    fn ends_say_how() {
        let end = |kind: &str, said: Value| match event(kind, said).unwrap().facts.pop() {
            Some(Fact::DeploymentOver { id, end }) => (id.to_string(), end),
            other => panic!("{other:?}"),
        };
        let (id, over) = end("deployment_success", json!({ "id": "d", "timestamp": "2026-01-01T00:00:00Z" }));
        assert_eq!((id.as_str(), over.how), ("d", DeploymentOutcome::Succeeded));
        assert_eq!(Some(over.at), Timestamp::parse("2026-01-01T00:00:00Z"));
        let (id, over) = end("deployment_failed", json!({ "plan": plan(), "reason": "é".repeat(400) }));
        assert_eq!((id.as_str(), over.how, over.at), ("867ed450", DeploymentOutcome::Failed, Timestamp(7)));
        assert_eq!(over.reason.unwrap().len(), MAX_REASON);
        // Whoever came late hears of whom it was.
        let facts = event("deployment_failed", json!({ "id": "867ed450", "plan": plan() })).unwrap().facts;
        assert!(matches!(&facts[..], [Fact::Deployment(_), Fact::DeploymentOver { .. }]), "{facts:?}");
    }

    #[test]
    fn garbage_is_a_problem() {
        for said in [json!({}), json!({ "plan": 7 }), json!({ "plan": { "id": "" } }), json!({ "plan": { "id": [] } })]
        {
            assert!(event("deployment_info", said.clone()).is_err(), "{said}");
        }
        assert!(event("deployment_info", json!({ "plan": { "id": "d", "steps": "x" } })).is_err());
        for said in [json!({}), json!({ "id": 7 }), json!({ "id": "a b" }), json!({ "id": "x".repeat(MAX_ID + 1) })] {
            assert!(event("deployment_success", said.clone()).is_err(), "{said}");
        }
    }

    #[test]
    fn a_list_says_what_is_there_and_what_it_cannot_say() {
        let entry = json!({ "id": "d1", "version": "2026-01-01T00:00:00.000Z", "affectedApps": ["/foo", "no id"],
            "affectedPods": ["/bar"], "steps": [{ "actions": [{ "action": "ScaleApplication", "app": "/foo" }] }],
            "currentActions": [{ "action": "ScaleApplication", "app": "/foo" }], "currentStep": 1, "totalSteps": 1 });
        let read = |all: Value| listed(all.to_string().as_bytes(), ["new".into()], &scope()).unwrap();
        let (facts, problems) = read(json!([entry, { "id": "d2", "affectedApps": 7 }]));
        let [Fact::DeploymentsListed { deployments, unread }] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!((deployments.len(), &unread[..]), (1, &["new".into(), "d2".into()][..]));
        assert_eq!(&*deployments[0].apps, ["/bar".into(), "/foo".into()]);
        assert_eq!((deployments[0].step, deployments[0].steps, deployments[0].actions.len()), (Some(1), 1, 1));
        assert!(problems.len() == 1 && problems[0].message.contains("d2"), "{problems:?}");
        // One that was heard of meanwhile may be over: the list does not bring it back, nor end it.
        let again = json!([entry, { "id": "new", "steps": [] }]);
        let (facts, _) = read(again);
        let [Fact::DeploymentsListed { deployments, unread }] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!((deployments.len(), &unread[..]), (1, &["new".into()][..]));
        // Of one without an id nobody can say that it is not one of those that are missing.
        let (facts, problems) = read(json!([entry, 7]));
        assert!(matches!(&facts[..], [Fact::Deployment(_)]) && problems.len() == 1, "{facts:?}");
        assert!(listed(b"{}", [], &scope()).is_err());
    }
}
