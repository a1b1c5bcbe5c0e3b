//! What happens at a time rather than at an event.

use crate::model::hash::HashMap;
use crate::model::id::{AgentId, ClusterName, ServiceId, SourceName, TaskKey};
use crate::model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that is due at a time. Whoever is due is looked at again: a deadline that no longer applies does nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Deadline {
    /// A task of a lost agent has been kept long enough.
    Unreachable(SourceName, TaskKey),
    /// An agent has been back long enough to have announced its tasks again.
    AgentReturned(SourceName, AgentId),
    /// Agents that a new leader recovered had time enough to come back.
    Recovered(SourceName),
    /// A second look at what the guard holds is due.
    SecondLook(SourceName),
    /// What the guard holds is believed now.
    GiveUp(SourceName),
    /// A service without tasks is forgotten.
    Service(ServiceId),
    /// A name without tasks is forgotten.
    Name(ClusterName, Arc<str>),
}

/// The one queue of deadlines: each thing has at most one, so that a newer one takes the older one's place.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    queue: BTreeSet<(Timestamp, Deadline)>,
    times: HashMap<Deadline, Timestamp>,
}

impl Deadlines {
    /// Sets when `deadline` is due, whenever it was due before.
    pub fn set(&mut self, at: Timestamp, deadline: Deadline) {
        if let Some(former) = self.times.insert(deadline.clone(), at) {
            self.queue.remove(&(former, deadline.clone()));
        }
        self.queue.insert((at, deadline));
    }

    /// Whether `deadline` is still to come.
    pub fn has(&self, deadline: &Deadline) -> bool {
        self.times.contains_key(deadline)
    }

    /// The earliest one's time.
    pub fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the earliest one that is due at `now`.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Deadline> {
        if self.next()? > now {
            return None;
        }
        let (_, deadline) = self.queue.pop_first()?;
        self.times.remove(&deadline);
        Some(deadline)
    }

    /// All of them, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = &(Timestamp, Deadline)> {
        self.queue.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_time_takes_the_older_ones_place() {
        let (first, second) = (Deadline::Recovered("a".into()), Deadline::Recovered("b".into()));
        let mut deadlines = Deadlines::default();
        deadlines.set(Timestamp(10), first.clone());
        deadlines.set(Timestamp(20), second.clone());
        deadlines.set(Timestamp(30), first.clone());
        assert_eq!((deadlines.next(), deadlines.take_due(Timestamp(19))), (Some(Timestamp(20)), None));
        assert_eq!(deadlines.take_due(Timestamp(40)), Some(second));
        assert!(deadlines.has(&first));
        assert_eq!(deadlines.take_due(Timestamp(40)), Some(first.clone()));
        assert!(!deadlines.has(&first) && deadlines.next().is_none());
    }
}
