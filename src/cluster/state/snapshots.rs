//! The end of a complete read: what it does not list, and what of that is believed.

use crate::model::hash::HashSet;

use super::ClusterState;
use crate::cluster::by_source::BySource;
use crate::cluster::change::Changes;
use crate::cluster::deadline::Deadline;
use crate::cluster::event::{DeclaredApp, SnapshotScope};
use crate::cluster::guard::{self, SnapshotView, Verdict};
use crate::cluster::source::{IncomingSnapshot, SourceKind};
use crate::model::id::{AgentId, ServiceId, SourceName, TaskKey};
use crate::model::task::TaskFacts;
use crate::model::time::Timestamp;

impl ClusterState {
    pub(super) fn finish_snapshot(
        &mut self,
        name: &SourceName,
        scope: &SnapshotScope,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let guard = self.guard(name);
        let has_marathon = self.sources.values().any(|source| source.kind == SourceKind::Marathon);
        let Some(source) = self.sources.get_mut(name) else { return };
        let Some(snapshot) = source.snapshot.take() else { return };
        if !source.complete {
            source.complete = true;
            changes.sources = true;
            // From now on Mesos says what exists.
            changes.everything |= source.kind == SourceKind::Mesos && has_marathon;
        }
        if source.problems != snapshot.problems {
            source.problems.clone_from(&snapshot.problems);
            changes.problems.insert(name.clone());
        }
        let recovered: HashSet<AgentId> = scope.recovered_agents.iter().cloned().collect();
        changes.sources |= source.recovered != recovered;
        source.recovered = recovered;
        if !source.recovered.is_empty() {
            self.deadlines.set(now.plus(guard.recovered_keep), Deadline::Recovered(name.clone()));
        }
        let view = SnapshotView { known: source.tasks, listed: snapshot.tasks.len(), agents: snapshot.agents.len() };
        let rank = self.rank(name);
        let is_ours = |entry: &BySource<TaskFacts>| rank.is_some_and(|rank| entry.of(rank).is_some());
        let absent = self.tasks.iter().filter(|(key, entry)| !snapshot.tasks.contains(*key) && is_ours(entry));
        let absent: Vec<TaskKey> = absent.map(|(key, _)| key.clone()).collect();
        let recovered: HashSet<&AgentId> = scope.recovered_agents.iter().collect();
        let (mut waiting, mut gone) = (HashSet::default(), HashSet::default());
        for key in absent {
            let facts = rank.and_then(|rank| self.tasks.get(&key)?.of(rank));
            let agent = facts.and_then(|facts| facts.agent.as_ref());
            if agent.is_some_and(|agent| recovered.contains(agent)) {
                // Before its agent is back, a task that the new leader does not list is not known to it, and alive.
                waiting.insert(key);
            } else if facts.is_some_and(|facts| facts.state.is_away())
                && agent.is_some_and(|agent| !snapshot.agents.contains(agent))
            {
                // Lists of unreachable tasks do not survive a failover. Its own deadline stands.
            } else {
                gone.insert(key);
            }
        }
        if let Some(source) = self.sources.get_mut(name) {
            source.unconfirmed = waiting;
        }
        if scope.authoritative {
            self.remove_tasks(name, gone, "no longer listed", changes);
        } else {
            self.imply_removal(name, gone, view, now, changes);
        }
        self.drop_unlisted(name, &snapshot, changes);
    }

    /// Agents, frameworks, services and apps that a complete read does not list.
    pub(super) fn drop_unlisted(&mut self, name: &SourceName, snapshot: &IncomingSnapshot, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let Some(source) = self.sources.get(name) else { return };
        let cluster = source.cluster.clone();
        let agents: Vec<AgentId> = self
            .agents
            .keys()
            .filter(|(of, id)| *of == cluster && !snapshot.agents.contains(id) && !source.recovered.contains(id))
            .map(|(_, id)| id.clone())
            .collect();
        if source.kind == SourceKind::Mesos && !snapshot.agents.is_empty() {
            for id in agents {
                self.remove_agent(name, &id, changes);
            }
        }
        let frameworks: Vec<_> = self
            .frameworks
            .iter()
            .filter(|((of, id), entry)| *of == cluster && entry.of(rank).is_some() && !snapshot.frameworks.contains(id))
            .map(|(place, _)| place.clone())
            .collect();
        for place in frameworks {
            // A framework with tasks that are still kept is kept with them: their names hang on its name.
            if self.by_framework.get(&place).is_none_or(HashSet::is_empty) {
                self.frameworks.remove(&place);
                changes.frameworks.insert(place.0);
            }
        }
        let declared: Vec<ServiceId> = self
            .declared
            .iter()
            .filter(|(id, entry)| entry.of(rank).is_some() && !snapshot.declared.contains(*id))
            .map(|(id, _)| id.clone())
            .collect();
        declared.iter().for_each(|id| self.forget_declared(name, id, changes));
        // A list of which the guard does not believe that tasks are gone is not believed of their apps either.
        if self.sources.get(name).is_some_and(|source| source.held.is_none()) {
            let is_gone = |(key, entry): &(&TaskKey, &BySource<DeclaredApp>)| {
                entry.of(rank).is_some() && !snapshot.apps.contains(*key)
            };
            let apps: Vec<TaskKey> = self.apps.iter().filter(is_gone).map(|(key, _)| key.clone()).collect();
            apps.iter().for_each(|key| self.forget_app(name, key, changes));
        }
    }

    /// Removes what the guard believes of `gone` and holds the rest.
    pub(super) fn imply_removal(
        &mut self,
        name: &SourceName,
        gone: HashSet<TaskKey>,
        view: SnapshotView,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let guard = self.guard(name);
        let Some(source) = self.sources.get_mut(name) else { return };
        let before = source.held.take();
        let had = before.is_some();
        let (removed, held) = match guard::judge(&guard, before.as_ref(), gone, view, now) {
            Verdict::Believe(tasks) => (tasks, None),
            Verdict::Hold { now, held } => (now, Some(held)),
        };
        if let Some(held) = &held {
            let fresh = before.as_ref().is_none_or(|before| before.since != held.since);
            if fresh {
                self.deadlines.set(held.since.plus(guard.confirm_after), Deadline::SecondLook(name.clone()));
                if let Some(until) = held.until(&guard) {
                    self.deadlines.set(until, Deadline::GiveUp(name.clone()));
                }
                changes.cause(|| format!("{name}: {} removals held back", held.tasks.len()));
            }
        }
        changes.sources |= had || held.is_some();
        source.held = held;
        self.remove_tasks(name, removed, "no longer listed", changes);
    }

    pub(super) fn release_held(&mut self, name: &SourceName, _now: Timestamp, changes: &mut Changes) {
        let Some(held) = self.sources.get_mut(name).and_then(|source| source.held.take()) else { return };
        changes.sources = true;
        self.remove_tasks(name, held.tasks, "held removal believed", changes);
    }

    /// Absences that turn up apart from a snapshot: what is held already stays held beside them.
    pub(super) fn imply_more(
        &mut self,
        name: &SourceName,
        gone: HashSet<TaskKey>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        if gone.is_empty() {
            return;
        }
        let guard = self.guard(name);
        let Some(source) = self.sources.get_mut(name) else { return };
        if let Some(held) = &mut source.held {
            held.tasks.extend(gone);
            changes.sources = true;
            return;
        }
        if !guard::is_large(&guard, gone.len(), source.tasks) {
            self.remove_tasks(name, gone, "not announced again", changes);
            return;
        }
        let view = SnapshotView { known: source.tasks, listed: 1, agents: 1 };
        self.imply_removal(name, gone, view, now, changes);
    }
}
