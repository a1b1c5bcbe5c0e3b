//! The one writer: events in, tables out.
//!
//! Pure but for what it owns: the caller passes events and `now`, and publishes what comes out. A simulator drives
//! it just as the server's thread does.

use std::sync::Arc;

use super::Table;
use super::build::Builder;
use super::history::VersionRecord;
use crate::cluster::change::Changes;
use crate::cluster::event::ClusterEvent;
use crate::cluster::state::ClusterState;
use crate::model::id::SourceName;
use crate::model::time::Timestamp;

/// The one owner of the state.
#[derive(Debug)]
pub struct Writer {
    state: ClusterState,
    builder: Builder,
    epoch: u64,
    generation: u64,
    /// Facts were applied that nothing has been derived from yet.
    deferred: bool,
}

/// What a batch of events came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// A new table, if anything changed.
    pub table: Option<(Arc<Table>, VersionRecord)>,
    /// Sources that should be read again, completely.
    pub wanted_snapshots: Vec<SourceName>,
}

impl Writer {
    /// A writer that goes on from `state`. `epoch` tells this life of the process from others.
    pub fn new(mut state: ClusterState, epoch: u64, now: Timestamp) -> Self {
        let builder = Builder::new(&mut state, now);
        Self { state, builder, epoch, generation: 0, deferred: false }
    }

    /// The state.
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// When [`Writer::apply`] is to be called even without events.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state.next_deadline()
    }

    /// The first table: what is stored, or nothing.
    pub fn first(&mut self, now: Timestamp) -> Arc<Table> {
        self.publish(now)
    }

    /// Applies a batch of events as one change.
    pub fn apply(&mut self, events: impl IntoIterator<Item = ClusterEvent>, now: Timestamp) -> Outcome {
        let mut changes = Changes::default();
        for event in events {
            self.state.apply(event, now, &mut changes);
        }
        let wanted_snapshots = std::mem::take(&mut changes.wanted_snapshots).into_iter().collect();
        if changes.is_empty() {
            return Outcome { table: None, wanted_snapshots };
        }
        if !self.state.is_partly_complete() && !changes.everything {
            // The first snapshot is coming in and nothing can be answered yet: it is derived once, when it is whole,
            // rather than as often as it grows.
            self.deferred = true;
            if !changes.sources {
                return Outcome { table: None, wanted_snapshots };
            }
            self.builder.update_sources(&self.state);
        } else {
            changes.everything |= std::mem::take(&mut self.deferred);
            self.builder.update(&mut self.state, &changes, now);
        }
        let record = VersionRecord {
            events: changes.events,
            causes: changes.causes,
            tasks_changed: changes.tasks.len(),
            publish_ns: 0,
        };
        Outcome { table: Some((self.publish(now), record)), wanted_snapshots }
    }

    fn publish(&mut self, now: Timestamp) -> Arc<Table> {
        self.generation += 1;
        let mut table = self.builder.table().clone();
        table.epoch = self.epoch;
        table.generation = self.generation;
        table.built_at = now;
        Arc::new(table)
    }
}
