//! Facts of several sources about one thing, kept apart.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::model::task::{Health, TaskFacts};

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

/// The merged facts of a task: everything from the best-ranked source, except that a health verdict which it does
/// not have is taken from the next one that has it.
pub fn merge_tasks(facts: &BySource<TaskFacts>) -> Option<Arc<TaskFacts>> {
    let first = facts.first()?;
    if first.health != Health::Unknown || facts.facts.len() == 1 {
        return Some(first.clone());
    }
    match facts.iter().map(|(_, other)| other.health).find(|health| *health != Health::Unknown) {
        Some(health) => Some(Arc::new(TaskFacts { health, ..(**first).clone() })),
        None => Some(first.clone()),
    }
}
