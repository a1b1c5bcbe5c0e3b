//! Which tasks of an app its readiness checks hold back. Pure.
//!
//! Marathon checks readiness during a deployment alone, and of the tasks that the deployment starts. Those say nothing
//! before their first result; the tasks of before it have none at all, and go on serving.

use std::collections::HashMap;

use super::wire::{App, Task};

/// What readiness checks say of the tasks of one app.
#[derive(Debug, Default)]
pub(super) struct Readiness<'a> {
    /// By task: whether every result is good.
    said: HashMap<&'a str, bool>,
    /// Whether tasks of the app's present version are waited for.
    awaited: bool,
    version: Option<&'a str>,
}

/// What is concluded for one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may serve.
    Ready,
    /// A check says that it is not ready.
    Unready,
    /// Nothing is said of it yet.
    Awaited,
}

impl<'a> Readiness<'a> {
    /// Reads what an app says.
    pub(super) fn of(app: &'a App) -> Self {
        let mut said = HashMap::new();
        for result in app.readiness_check_results.iter().flatten() {
            if let Some(ready) = result.ready {
                *said.entry(result.task_id.as_str()).or_insert(true) &= ready;
            }
        }
        let awaited = has_any(app.readiness_checks.as_ref()) && has_any(app.deployments.as_ref());
        Self { said, awaited, version: app.version.as_deref() }
    }

    /// What is concluded for a task.
    pub(super) fn of_task(&self, task: &Task) -> Verdict {
        // A task of another version is one that the deployment replaces, or keeps.
        let is_new = match (self.version, task.version.as_deref()) {
            (Some(of_app), Some(of_task)) => of_app == of_task,
            _ => true,
        };
        match self.said.get(task.id.as_str()) {
            Some(false) => Verdict::Unready,
            None if self.awaited && is_new => Verdict::Awaited,
            _ => Verdict::Ready,
        }
    }
}

/// Whether a list has an entry, whatever that is.
fn has_any(list: Option<&serde_json::Value>) -> bool {
    list.and_then(serde_json::Value::as_array).is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(app: &Value, task: &Value, expected: Verdict) {
        let read: App = serde_json::from_value(app.clone()).unwrap();
        let task: Task = serde_json::from_value(task.clone()).unwrap();
        assert_eq!(Readiness::of(&read).of_task(&task), expected, "{app} {task:?}");
    }

    #[test]
    fn new_tasks_are_waited_for_while_their_app_is_deployed() {
        let (old, new) = (json!({ "id": "t", "version": "1" }), json!({ "id": "t", "version": "2" }));
        let app = |change: Value| {
            let mut app = json!({ "id": "/a", "version": "2", "deployments": [{ "id": "d" }],
                "readinessChecks": [{ "name": "r" }], "readinessCheckResults": [] });
            for (key, value) in change.as_object().unwrap() {
                app[key] = value.clone();
            }
            app
        };
        check(&app(json!({})), &new, Verdict::Awaited);
        check(&app(json!({})), &old, Verdict::Ready);
        check(&app(json!({ "version": null })), &new, Verdict::Awaited);
        for (key, nothing) in [("deployments", json!([])), ("readinessChecks", json!([])), ("deployments", json!(null))]
        {
            check(&app(json!({ key: nothing })), &new, Verdict::Ready);
        }
        let said = |ready: Value| app(json!({ "readinessCheckResults": [{ "taskId": "t", "ready": ready }] }));
        check(&said(json!(true)), &new, Verdict::Ready);
        check(&said(json!(false)), &new, Verdict::Unready);
        check(&said(json!(null)), &new, Verdict::Awaited);
        // Whatever its version, a check that says no says no; and of several each must say yes.
        check(&said(json!(false)), &old, Verdict::Unready);
        let two = json!([{ "taskId": "t", "ready": false }, { "taskId": "t", "ready": true }]);
        check(&app(json!({ "readinessCheckResults": two })), &new, Verdict::Unready);
        // What is no list is none.
        check(&app(json!({ "deployments": 7, "readinessChecks": "x" })), &new, Verdict::Ready);
    }
}
