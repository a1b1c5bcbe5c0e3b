//! What sources say of frameworks and masters.

use std::sync::Arc;

use super::ClusterState;
use crate::cluster::change::Changes;
use crate::model::framework::FrameworkFacts;
use crate::model::id::{FrameworkId, SourceName, TaskKey};
use crate::model::network::MastersFacts;

impl ClusterState {
    pub(super) fn set_framework(&mut self, name: &SourceName, facts: FrameworkFacts, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let place = (facts.cluster.clone(), facts.id.clone());
        if let Some(snapshot) = self.sources.get_mut(name).and_then(|source| source.snapshot.as_mut()) {
            snapshot.frameworks.insert(facts.id.clone());
        }
        let mut entry = self.frameworks.get(&place).cloned().unwrap_or_default();
        let before = entry.first().cloned();
        if !entry.set(rank, Arc::new(facts)) {
            return;
        }
        let after = entry.first();
        let same = |a: &FrameworkFacts, b: &FrameworkFacts| {
            a.name == b.name && a.principal == b.principal && a.roles == b.roles
        };
        // A scheduler that disconnects or moves changes nothing about its tasks.
        if !matches!((&before, after), (Some(a), Some(b)) if same(a, b)) {
            changes.tasks.extend(self.by_framework.get(&place).into_iter().flatten().cloned());
            let is_its = |key: &&TaskKey| *key.cluster() == place.0 && *key.framework() == place.1;
            changes.apps.extend(self.apps.keys().filter(is_its).cloned());
        }
        changes.frameworks.insert(place.0.clone());
        changes.cause(|| format!("{name}: framework {}", place.1));
        self.frameworks.insert(place, entry);
    }

    pub(super) fn remove_framework(&mut self, name: &SourceName, id: &FrameworkId, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let Some(source) = self.sources.get(name) else { return };
        let place = (source.cluster.clone(), id.clone());
        // Its tasks were told apart; what is still here was held or unconfirmed, and this is explicit.
        let left: Vec<TaskKey> = self.by_framework.get(&place).into_iter().flatten().cloned().collect();
        for key in left {
            self.remove_task(name, &key, "framework removed", changes);
        }
        let Some(entry) = self.frameworks.get(&place) else { return };
        let mut entry = entry.clone();
        entry.forget(rank);
        changes.frameworks.insert(place.0.clone());
        changes.cause(|| format!("{name}: framework {id} removed"));
        if entry.is_empty() {
            self.frameworks.remove(&place);
        } else {
            self.frameworks.insert(place, entry);
        }
    }

    pub(super) fn set_masters(&mut self, name: &SourceName, masters: MastersFacts, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if source.masters == masters {
            return;
        }
        changes.cause(|| match masters.leader {
            Some(leader) => format!("{name}: leader {leader}"),
            None => format!("{name}: no leader"),
        });
        source.masters = masters;
        changes.masters.insert(source.cluster.clone());
    }
}
