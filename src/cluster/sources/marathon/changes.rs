//! What an event says has changed: which apps and pods to read again, and which task went where.
//!
//! Pure. Marathon's documentation says to take events as hints that a cache is out of date; only the end of a task is
//! taken at its word, so that nothing new is sent there while the app is read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::deployments::DeploymentEvent;
use super::translate::state;
use crate::model::task::TaskState;

/// Events that are subscribed to. Each other one of Marathon's comes with one of these.
pub const SUBSCRIBED: [&str; 15] = [
    "api_post_event",
    "app_terminated_event",
    "deployment_failed",
    "deployment_info",
    "deployment_step_success",
    "deployment_success",
    "group_change_success",
    "health_status_changed_event",
    "instance_changed_event",
    "instance_health_changed_event",
    "pod_created_event",
    "pod_deleted_event",
    "pod_updated_event",
    "status_update_event",
    "unknown_instance_terminated_event",
];

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Apps and pods, by id.
    pub ids: BTreeSet<String>,
    /// Everything may have.
    pub everything: bool,
    /// A task that is going away or gone.
    pub leaving: Option<(String, TaskState)>,
    /// What it says of a deployment.
    pub deployment: Option<DeploymentEvent>,
}

/// Reads an event. One that cannot be read changes nothing: the next read of everything makes up for it.
pub fn of(name: &str, data: &[u8]) -> Changed {
    let mut changed = Changed::default();
    let Ok(event) = serde_json::from_slice::<Value>(data) else { return changed };
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let kind = text(&event, "eventType").unwrap_or_else(|| name.to_owned());
    if kind.starts_with("event_stream_") {
        return changed;
    }
    changed.everything = kind.starts_with("group_change");
    let mut add = |id: Option<String>| changed.ids.extend(id.filter(|id| is_id(id)));
    add(text(&event, "appId"));
    add(text(&event, "runSpecId"));
    add(event.get("appDefinition").and_then(|app| text(app, "id")));
    add(text(&event, "uri").and_then(|uri| id_in(&uri)));
    let plan = event.get("plan").into_iter();
    let steps = plan.flat_map(|plan| list(plan, "steps")).chain(event.get("currentStep"));
    // Of old a step was an action itself.
    for action in steps.flat_map(|step| list(step, "actions").chain([step])).take(10_000) {
        add(text(action, "app"));
        add(text(action, "pod"));
    }
    // What has ended may have held tasks back; by its id alone it does not say whose.
    let is_end = matches!(kind.as_str(), "deployment_success" | "deployment_failed");
    changed.everything |= is_end && changed.ids.is_empty();
    if kind == "status_update_event" {
        let state = text(&event, "taskStatus").and_then(|status| state(&status));
        let leaving = state.filter(|state| matches!(state, TaskState::Killing | TaskState::Ended));
        changed.leaving = text(&event, "taskId").zip(leaving);
    }
    if kind.starts_with("deployment_") {
        changed.deployment = Some(DeploymentEvent { kind, event });
    }
    changed
}

/// The entries of a list; none, if it is no list.
pub(super) fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// Ids are absolute paths of lower-case letters, digits, `-`, `.`; anything else would be another request.
pub(super) fn is_id(id: &str) -> bool {
    let bytes = id.bytes();
    id.len() > 1
        && id.len() < 1024
        && id.starts_with('/')
        && bytes.clone().all(|b| b.is_ascii_alphanumeric() || b"/-._".contains(&b))
}

/// The id in `/v2/apps/team/shop` and `/v2/pods/team/shop`.
fn id_in(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("/v2/apps/").or_else(|| uri.strip_prefix("/v2/pods/"))?;
    let id = rest.split(['?', ':']).next().unwrap_or_default().trim_matches('/');
    (!id.is_empty()).then(|| format!("/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, data: &str, ids: &[&str]) -> Changed {
        let changed = of(name, data.as_bytes());
        assert_eq!(changed.ids.iter().map(String::as_str).collect::<Vec<_>>(), ids, "{data}");
        changed
    }

    #[test]
    fn apps_are_named() {
        check("health_status_changed_event", r#"{"appId":"/a/b","alive":true}"#, &["/a/b"]);
        check("instance_changed_event", r#"{"runSpecId":"/a"}"#, &["/a"]);
        check(
            "api_post_event",
            r#"{"uri":"/v2/apps//my-app?force=true","appDefinition":{"id":"/other"}}"#,
            &["/my-app", "/other"],
        );
        check("pod_updated_event", r#"{"uri":"/v2/pods/my-pod"}"#, &["/my-pod"]);
        check("deployment_success", r#"{"plan":{"steps":[{"actions":[{"app":"/a"},{"pod":"/p"}]}]}}"#, &["/a", "/p"]);
        check("deployment_info", r#"{"plan":{"steps":[{"action":"ScaleApplication","app":"/a"}]}}"#, &["/a"]);
        assert!(check("deployment_success", r#"{"id":"867ed450"}"#, &[]).everything);
        assert!(!check("deployment_success", r#"{"plan":{"steps":[{"app":"/a"}]}}"#, &["/a"]).everything);
        assert!(check("group_change_success", r#"{"groupId":"/g"}"#, &[]).everything);
    }

    #[test]
    fn garbage_changes_nothing() {
        for data in
            ["", "[]", "{", "null", r#"{"appId":7}"#, r#"{"appId":"/a?b"}"#, r#"{"appId":"a"}"#, r#"{"appId":"/"}"#]
        {
            assert_eq!(of("status_update_event", data.as_bytes()), Changed::default(), "{data}");
        }
    }

    #[test]
    fn ends_are_taken_at_their_word() {
        let event = |status: &str| format!(r#"{{"taskId":"a.1","taskStatus":"{status}","appId":"/a"}}"#);
        assert_eq!(check("status_update_event", &event("TASK_RUNNING"), &["/a"]).leaving, None);
        let killed = check("status_update_event", &event("TASK_KILLED"), &["/a"]).leaving;
        assert_eq!(killed, Some(("a.1".into(), TaskState::Ended)));
        let killing = check("status_update_event", &event("TASK_KILLING"), &["/a"]).leaving;
        assert_eq!(killing, Some(("a.1".into(), TaskState::Killing)));
    }
}
