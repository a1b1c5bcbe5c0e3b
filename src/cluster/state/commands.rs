//! What operators order.

use super::ClusterState;
use crate::cluster::change::Changes;
use crate::cluster::event::Command;
use crate::model::drain::{DrainOrder, DrainSubject};
use crate::model::id::TaskKey;
use crate::model::time::Timestamp;
use crate::model::weights::WeightOrder;

impl ClusterState {
    pub(super) fn obey(&mut self, command: Command, now: Timestamp, changes: &mut Changes) {
        match command {
            Command::AcceptRemovals { source, actor } => {
                changes.cause(|| format!("{source}: held removals accepted by {actor}"));
                self.release_held(&source, now, changes);
            }
            Command::Drain { subject, actor } => {
                if self.knows(&subject)
                    && self.drains.add(subject.clone(), DrainOrder { since: now, actor: actor.clone() })
                {
                    changes.cause(|| format!("{subject}: taken out of service by {actor}"));
                    self.note_drained(&subject, changes);
                }
            }
            Command::Weigh { service, versions, actor } => {
                changes.cause(|| format!("{service}: shares of versions ordered by {actor}"));
                match versions.is_empty() {
                    true => drop(self.weights.remove(&service)),
                    false => self.weights.set(service.clone(), WeightOrder { versions, since: now, actor }),
                }
                changes.services.insert(service);
            }
            Command::Undrain { subject, actor } => {
                if self.drains.remove(&subject) {
                    changes.cause(|| format!("{subject}: put back into service by {actor}"));
                    self.note_drained(&subject, changes);
                }
            }
        }
    }

    /// A task is gone: an order for it has nothing to hold for any more.
    pub(super) fn end_drain(&mut self, key: &TaskKey, changes: &mut Changes) {
        changes.drains |= self.drains.remove(&DrainSubject::Task(key.clone()));
    }

    fn knows(&self, subject: &DrainSubject) -> bool {
        match subject {
            DrainSubject::Task(key) => self.tasks.contains_key(key),
            DrainSubject::Agent(cluster, agent) => {
                let place = (cluster.clone(), agent.clone());
                self.agents.contains_key(&place) || self.by_agent.contains_key(&place)
            }
        }
    }

    fn note_drained(&self, subject: &DrainSubject, changes: &mut Changes) {
        changes.drains = true;
        match subject {
            DrainSubject::Task(key) => drop(changes.tasks.insert(key.clone())),
            DrainSubject::Agent(cluster, agent) => {
                let tasks = self.by_agent.get(&(cluster.clone(), agent.clone()));
                changes.tasks.extend(tasks.into_iter().flatten().cloned());
            }
        }
    }
}
