//! Facts of several sources about one thing, kept apart.

use std::sync::Arc;

use crate::model::task::{Health, Label, TaskDefinition, TaskFacts};

/// A source's rank: its position in the configuration. The lower one is believed first.
pub type SourceRank = u16;

/// What each source says of one thing, best rank first. Nearly always there is one, which needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BySource<T> {
    said: Said<T>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said<T> {
    Nothing,
    One(SourceRank, Arc<T>),
    /// Two or more.
    Several(Arc<Vec<(SourceRank, Arc<T>)>>),
}

impl<T> Default for BySource<T> {
    fn default() -> Self {
        Self { said: Said::Nothing }
    }
}

impl<T: PartialEq> BySource<T> {
    /// Sets what `rank` says; tells whether that changed anything.
    pub fn set(&mut self, rank: SourceRank, facts: Arc<T>) -> bool {
        if self.of(rank).is_some_and(|known| **known == *facts) {
            return false;
        }
        match &mut self.said {
            Said::Nothing => self.said = Said::One(rank, facts),
            Said::One(known, former) if *known == rank => *former = facts,
            _ => {
                let others =
                    self.iter().filter(|(known, _)| *known != rank).map(|(known, facts)| (known, facts.clone()));
                let all = others.chain([(rank, facts)]).collect();
                self.take(all);
            }
        }
        true
    }

    /// Forgets what `rank` says; tells whether it had said anything.
    pub fn forget(&mut self, rank: SourceRank) -> bool {
        if self.of(rank).is_none() {
            return false;
        }
        let others = self.iter().filter(|(known, _)| *known != rank);
        let others = others.map(|(known, facts)| (known, facts.clone())).collect();
        self.take(others);
        true
    }

    /// What `rank` says.
    pub fn of(&self, rank: SourceRank) -> Option<&Arc<T>> {
        self.iter().find(|(known, _)| *known == rank).map(|(_, facts)| facts)
    }

    /// What the best-ranked source says.
    pub fn first(&self) -> Option<&Arc<T>> {
        self.iter().next().map(|(_, facts)| facts)
    }

    /// The rank of the best-ranked source.
    pub fn first_rank(&self) -> Option<SourceRank> {
        self.iter().next().map(|(rank, _)| rank)
    }

    /// Whether nobody says anything.
    pub fn is_empty(&self) -> bool {
        matches!(self.said, Said::Nothing)
    }

    /// Every source's facts, best rank first.
    pub fn iter(&self) -> impl Iterator<Item = (SourceRank, &Arc<T>)> {
        let (one, several) = match &self.said {
            Said::Nothing => (None, &[][..]),
            Said::One(rank, facts) => (Some((*rank, facts)), &[][..]),
            Said::Several(all) => (None, &all[..]),
        };
        one.into_iter().chain(several.iter().map(|(rank, facts)| (*rank, facts)))
    }

    /// Gives each source its rank in a new configuration; `None` forgets it.
    pub fn rerank(&mut self, rank: impl Fn(SourceRank) -> Option<SourceRank>) {
        let all = self.iter().filter_map(|(former, facts)| Some((rank(former)?, facts.clone()))).collect();
        self.take(all);
    }

    /// These are all that is said, in any order.
    fn take(&mut self, mut all: Vec<(SourceRank, Arc<T>)>) {
        all.sort_by_key(|(rank, _)| *rank);
        self.said = match all.len() {
            0 => Said::Nothing,
            1 => all.pop().map_or(Said::Nothing, |(rank, facts)| Said::One(rank, facts)),
            _ => Said::Several(Arc::new(all)),
        };
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
    if facts.iter().nth(1).is_none() {
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
            networks: None,
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
