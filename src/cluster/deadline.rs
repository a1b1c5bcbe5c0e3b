//! What happens at a time rather than at an event.

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

/// The one queue of deadlines.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    queue: BTreeSet<(Timestamp, Deadline)>,
}

impl Deadlines {
    /// Adds a deadline.
    pub fn add(&mut self, at: Timestamp, deadline: Deadline) {
        self.queue.insert((at, deadline));
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
        self.queue.pop_first().map(|(_, deadline)| deadline)
    }

    /// All of them, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = &(Timestamp, Deadline)> {
        self.queue.iter()
    }
}
