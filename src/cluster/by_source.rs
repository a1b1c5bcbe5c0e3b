//! Facts of several sources about one thing, kept apart.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::model::task::{Health, Label, TaskDefinition, TaskFacts};

/// A source's rank: its position in the configuration. The lower one is believed first.
pub type SourceRank = u16;

/// What each source says of one thing, best rank first. Nearly always there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BySource<T> {
    facts: SmallVec<[(SourceRank, Arc<T>); 1]>,
}

impl<T> Default for BySource<T> {
    fn default() -> Self {
        Self { facts: SmallVec::new() }
    }
}

impl<T: PartialEq> BySource<T> {
    /// Sets what `rank` says; tells whether that changed anything.
    pub fn set(&mut self, rank: SourceRank, facts: Arc<T>) -> bool {
        match self.facts.binary_search_by_key(&rank, |(r, _)| *r) {
            Ok(at) if *self.facts[at].1 == *facts => false,
            Ok(at) => {
                self.facts[at].1 = facts;
                true
            }
            Err(at) => {
                self.facts.insert(at, (rank, facts));
                true
            }
        }
    }

    /// Forgets what `rank` says; tells whether it had said anything.
    pub fn forget(&mut self, rank: SourceRank) -> bool {
        let before = self.facts.len();
        self.facts.retain(|(r, _)| *r != rank);
        self.facts.len() != before
    }

    /// What `rank` says.
    pub fn of(&self, rank: SourceRank) -> Option<&Arc<T>> {
        self.facts.iter().find(|(r, _)| *r == rank).map(|(_, facts)| facts)
    }

    /// What the best-ranked source says.
    pub fn first(&self) -> Option<&Arc<T>> {
        self.facts.first().map(|(_, facts)| facts)
    }

    /// The rank of the best-ranked source.
    pub fn first_rank(&self) -> Option<SourceRank> {
        self.facts.first().map(|(rank, _)| *rank)
    }

    /// Whether nobody says anything.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Every source's facts, best rank first.
    pub fn iter(&self) -> impl Iterator<Item = (SourceRank, &Arc<T>)> {
        self.facts.iter().map(|(rank, facts)| (*rank, facts))
    }

    /// Gives each source its rank in a new configuration; `None` forgets it.
    pub fn rerank(&mut self, rank: impl Fn(SourceRank) -> Option<SourceRank>) {
        self.facts = self.facts.drain(..).filter_map(|(r, facts)| Some((rank(r)?, facts))).collect();
        self.facts.sort_by_key(|(rank, _)| *rank);
    }
}

/// The merged facts of a task. What each field is taken from, sources in the order of the configuration, Mesos first:
///
/// - place, state, addresses, ports, network, kill grace, version: the first source, alone;
/// - health: the first source that has a verdict; a check that any of them knows of counts as one;
/// - labels: the first source's, and those of the others whose keys it does not have (labels of Marathon's pods);
/// - what only Marathon knows (the app's id, service ports): the first that knows it;
/// - held back by a readiness check: if any says so.
pub fn merge_tasks(facts: &BySource<TaskFacts>) -> Option<Arc<TaskFacts>> {
    let first = facts.first()?;
    if facts.facts.len() == 1 {
        return Some(first.clone());
    }
    let mut merged = (**first).clone();
    let mut definition = None;
    for (_, other) in facts.iter().skip(1) {
        if merged.health == Health::Unknown {
            merged.health = other.health;
        }
        merged.held |= other.held;
        let own = definition.as_ref().unwrap_or(&*first.definition);
        if adds_to(&other.definition, own) {
            let mut own = own.clone();
            add(&mut own, &other.definition);
            definition = Some(own);
        }
    }
    if let Some(definition) = definition {
        merged.definition = Arc::new(definition);
    }
    Some(if merged == **first { first.clone() } else { Arc::new(merged) })
}

fn adds_to(other: &TaskDefinition, own: &TaskDefinition) -> bool {
    (other.has_health_check && !own.has_health_check)
        || (other.app.is_some() && own.app.is_none())
        || other.labels.iter().any(|label| !has_label(own, label))
}

fn add(own: &mut TaskDefinition, other: &TaskDefinition) {
    own.has_health_check |= other.has_health_check;
    own.app = own.app.take().or_else(|| other.app.clone());
    let new: Vec<Label> = other.labels.iter().filter(|label| !has_label(own, label)).cloned().collect();
    if !new.is_empty() {
        own.labels = own.labels.iter().cloned().chain(new).collect();
    }
}

fn has_label(own: &TaskDefinition, label: &Label) -> bool {
    own.labels.iter().any(|known| known.key == label.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::TaskKey;
    use crate::model::task::{AppFacts, TaskState};

    fn facts(health: Health, labels: &[(&str, &str)], app: Option<&str>) -> TaskFacts {
        let labels = labels.iter().map(|(key, value)| Label { key: (*key).into(), value: (*value).into() });
        let app = app.map(|id| Arc::new(AppFacts { id: id.into(), ..AppFacts::default() }));
        TaskFacts {
            key: TaskKey::new("c".into(), "f".into(), "t"),
            agent: None,
            state: TaskState::Running,
            health,
            held: false,
            addresses: Default::default(),
            labelled: None,
            unreachable_since: None,
            definition: Arc::new(TaskDefinition { labels: labels.collect(), app, ..TaskDefinition::default() }),
        }
    }

    #[test]
    fn each_field_has_its_source() {
        let mut all = BySource::default();
        let mesos = TaskFacts { state: TaskState::Killing, ..facts(Health::Unknown, &[("a", "mesos")], None) };
        all.set(0, Arc::new(mesos.clone()));
        assert_eq!(merge_tasks(&all).as_deref(), Some(&mesos));
        let said = [("a", "marathon"), ("b", "marathon")];
        let marathon = TaskFacts { held: true, ..facts(Health::Healthy, &said, Some("/app")) };
        all.set(1, Arc::new(marathon));
        let merged = merge_tasks(&all).unwrap();
        assert_eq!((merged.state, merged.health, merged.held), (TaskState::Killing, Health::Healthy, true));
        let labels: Vec<_> = merged.definition.labels.iter().map(|l| (&*l.key, &*l.value)).collect();
        assert_eq!(labels, [("a", "mesos"), ("b", "marathon")]);
        assert_eq!(merged.definition.app.as_ref().map(|app| &*app.id), Some("/app"));
        // A verdict of the first source goes before.
        all.set(0, Arc::new(TaskFacts { health: Health::Unhealthy, ..mesos }));
        assert_eq!(merge_tasks(&all).unwrap().health, Health::Unhealthy);
    }
}
