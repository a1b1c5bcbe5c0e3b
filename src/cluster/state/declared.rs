//! What sources say of services and apps that exist with or without tasks.

use std::hash::Hash;
use std::sync::Arc;

use super::ClusterState;
use crate::cluster::by_source::{BySource, SourceRank};
use crate::cluster::change::Changes;
use crate::cluster::event::{DeclaredApp, DeclaredService};
use crate::model::id::{ServiceId, SourceName, TaskKey};
use crate::model::persistent::PersistentMap;

impl ClusterState {
    pub(super) fn declare(&mut self, name: &SourceName, declared: DeclaredService, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let id = declared.id.clone();
        if let Some(snapshot) = self.sources.get_mut(name).and_then(|source| source.snapshot.as_mut()) {
            snapshot.declared.insert(id.clone());
        }
        if set(&mut self.declared, &id, rank, declared) {
            changes.services.insert(id);
        }
    }

    pub(super) fn forget_declared(&mut self, name: &SourceName, id: &ServiceId, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        if forget(&mut self.declared, id, rank) {
            changes.services.insert(id.clone());
        }
    }

    pub(super) fn declare_app(&mut self, name: &SourceName, app: DeclaredApp, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let key = app.key.clone();
        if let Some(snapshot) = self.sources.get_mut(name).and_then(|source| source.snapshot.as_mut()) {
            snapshot.apps.insert(key.clone());
        }
        if set(&mut self.apps, &key, rank, app) {
            changes.apps.insert(key);
        }
    }

    pub(super) fn forget_app(&mut self, name: &SourceName, key: &TaskKey, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        if forget(&mut self.apps, key, rank) {
            changes.cause(|| format!("{name}: app {} gone", key.task()));
            changes.apps.insert(key.clone());
        }
    }
}

/// Takes over what a source says; whether that changed anything.
fn set<K, T>(map: &mut PersistentMap<K, BySource<T>>, key: &K, rank: SourceRank, said: T) -> bool
where
    K: Hash + Eq + Clone,
    T: PartialEq + Clone,
{
    let mut entry = map.get(key).cloned().unwrap_or_default();
    let changed = entry.set(rank, Arc::new(said));
    if changed {
        map.insert(key.clone(), entry);
    }
    changed
}

/// Forgets what a source said; whether it had said anything.
fn forget<K, T>(map: &mut PersistentMap<K, BySource<T>>, key: &K, rank: SourceRank) -> bool
where
    K: Hash + Eq + Clone,
    T: PartialEq + Clone,
{
    let Some(mut entry) = map.get(key).cloned() else { return false };
    if !entry.forget(rank) {
        return false;
    }
    if entry.is_empty() {
        map.remove(key);
    } else {
        map.insert(key.clone(), entry);
    }
    true
}
