//! What sources and checks say of tasks.

use crate::model::hash::HashSet;
use std::sync::Arc;

use super::ClusterState;
use crate::cluster::change::Changes;
use crate::cluster::deadline::Deadline;
use crate::model::check::CheckReport;
use crate::model::id::{AgentId, SourceName, TaskKey};
use crate::model::task::{Health, TaskFacts, TaskState};
use crate::model::time::Timestamp;

impl ClusterState {
    pub(super) fn set_task(&mut self, name: &SourceName, mut facts: TaskFacts, now: Timestamp, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let key = facts.key.clone();
        self.confirm(name, &key, changes);
        if facts.state.is_final() {
            self.remove_task(name, &key, "ended", changes);
            return;
        }
        let entry = self.tasks.get(&key).cloned();
        let before = entry.as_ref().and_then(|entry| entry.of(rank)).cloned();
        // A whole task whose statuses say nothing of health keeps the last verdict (Mesos drops it in KILLING); one that
        // is only being launched is another task under the same id.
        if let Some(before) = &before
            && facts.health == Health::Unknown
            && !matches!(facts.state, TaskState::Staging | TaskState::Starting)
        {
            facts.health = before.health;
        }
        if before.as_deref() == Some(&facts) {
            return;
        }
        changes.cause(|| describe(name, &key, before.as_deref(), &facts));
        if facts.state.is_away() && before.as_ref().is_none_or(|before| !before.state.is_away()) {
            // One that is met for the first time has been away for as long as the source says: masters list lost tasks
            // for weeks. For one that was here, the source's clock must not cut the time short.
            let since = facts.unreachable_since.filter(|since| before.is_none() && *since < now).unwrap_or(now);
            let until = since.plus(self.config.routing.unreachable_keep);
            if until <= now {
                self.remove_task(name, &key, "unreachable for too long", changes);
                return;
            }
            self.deadlines.set(until, Deadline::Unreachable(name.clone(), key.clone()));
        }
        self.move_indexes(&key, before.as_ref().and_then(|b| b.agent.as_ref()), facts.agent.as_ref(), changes);
        let mut entry = entry.unwrap_or_default();
        entry.set(rank, Arc::new(facts));
        self.tasks.insert(key.clone(), entry);
        if before.is_none()
            && let Some(source) = self.sources.get_mut(name)
        {
            source.tasks += 1;
            changes.sources |= source.tasks == 1;
        }
        changes.tasks.insert(key);
    }

    /// The source has spoken of the task in its present stream: it is neither absent nor held.
    pub(super) fn confirm(&mut self, name: &SourceName, key: &TaskKey, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if let Some(snapshot) = &mut source.snapshot {
            snapshot.tasks.insert(key.clone());
        }
        source.unconfirmed.remove(key);
        if let Some(held) = &mut source.held
            && held.tasks.remove(key)
        {
            changes.sources = true;
            if held.tasks.is_empty() {
                source.held = None;
            }
        }
    }

    pub(super) fn remove_task(&mut self, name: &SourceName, key: &TaskKey, why: &str, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        if let Some(source) = self.sources.get_mut(name) {
            source.unconfirmed.remove(key);
        }
        let Some(entry) = self.tasks.get(key) else { return };
        let mut entry = entry.clone();
        let agent = entry.of(rank).and_then(|facts| facts.agent.clone());
        if !entry.forget(rank) {
            return;
        }
        if let Some(source) = self.sources.get_mut(name) {
            source.tasks = source.tasks.saturating_sub(1);
        }
        changes.cause(|| format!("{name}: task {} {why}", key.task()));
        changes.tasks.insert(key.clone());
        if entry.is_empty() {
            self.tasks.remove(key);
            self.verdicts.remove(key);
            self.end_drain(key, changes);
            self.move_indexes(key, agent.as_ref(), None, changes);
            let framework = (key.cluster().clone(), key.framework().clone());
            if let Some(tasks) = self.by_framework.get_mut(&framework) {
                tasks.remove(key);
                if tasks.is_empty() {
                    self.by_framework.remove(&framework);
                }
            }
        } else {
            self.tasks.insert(key.clone(), entry);
        }
    }

    pub(super) fn remove_tasks(
        &mut self,
        name: &SourceName,
        tasks: HashSet<TaskKey>,
        why: &str,
        changes: &mut Changes,
    ) {
        for key in tasks {
            self.remove_task(name, &key, why, changes);
        }
    }

    pub(super) fn move_indexes(
        &mut self,
        key: &TaskKey,
        from: Option<&AgentId>,
        to: Option<&AgentId>,
        changes: &mut Changes,
    ) {
        let framework = (key.cluster().clone(), key.framework().clone());
        self.by_framework.entry(framework).or_default().insert(key.clone());
        if from == to && to.is_some() {
            return;
        }
        if let Some(agent) = from {
            let place = (key.cluster().clone(), agent.clone());
            if let Some(tasks) = self.by_agent.get_mut(&place) {
                tasks.remove(key);
                if tasks.is_empty() {
                    self.by_agent.remove(&place);
                    if self.leaving.remove(&place) {
                        changes.agents.insert(place.0.clone());
                        changes.sources = true;
                        self.forget_agent(&place);
                    }
                }
            }
        }
        if let Some(agent) = to {
            self.by_agent.entry((key.cluster().clone(), agent.clone())).or_default().insert(key.clone());
        }
    }

    /// Takes a verdict of an active check. Of tasks that are gone meanwhile nothing is kept.
    pub(super) fn check(&mut self, report: CheckReport, changes: &mut Changes) {
        let CheckReport { task, port, verdict } = report;
        if self.tasks.get(&task).is_none() {
            return;
        }
        let mut verdicts = self.verdicts.get(&task).map(|known| (**known).clone()).unwrap_or_default();
        let state = verdict.state;
        let former = verdicts.insert(port, verdict.clone());
        if former.as_ref() == Some(&verdict) {
            return;
        }
        if former.is_none_or(|former| former.state != state) {
            changes.cause(|| format!("task {}: checks say {}", task.task(), state.as_str()));
        }
        self.verdicts.insert(task.clone(), Arc::new(verdicts));
        changes.tasks.insert(task);
    }
}

fn describe(name: &SourceName, key: &TaskKey, before: Option<&TaskFacts>, after: &TaskFacts) -> String {
    let show = |facts: &TaskFacts| match facts.health {
        Health::Unknown => facts.state.as_str().to_owned(),
        health => format!("{} {}", facts.state.as_str(), health.as_str()),
    };
    match before {
        Some(before) => format!("{name}: task {} {} → {}", key.task(), show(before), show(after)),
        None => format!("{name}: task {} {}", key.task(), show(after)),
    }
}
