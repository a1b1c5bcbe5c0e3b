//! What happens at a time rather than at an event.

use crate::model::hash::HashSet;

use super::ClusterState;
use crate::cluster::change::Changes;
use crate::cluster::deadline::Deadline;
use crate::cluster::status::SourceState;
use crate::model::id::{AgentId, SourceName, TaskKey};
use crate::model::time::Timestamp;

impl ClusterState {
    pub(super) fn apply_deadlines(&mut self, now: Timestamp, changes: &mut Changes) {
        while let Some(deadline) = self.deadlines.take_due(now) {
            self.apply_deadline(deadline, now, changes);
        }
    }

    pub(super) fn apply_deadline(&mut self, deadline: Deadline, now: Timestamp, changes: &mut Changes) {
        match deadline {
            Deadline::Unreachable(name, key) => self.end_unreachable(&name, &key, changes),
            Deadline::AgentReturned(name, id) => self.end_announcement(&name, &id, now, changes),
            Deadline::Recovered(name) => self.end_recovery(&name, now, changes),
            Deadline::SecondLook(name) => self.want_second_look(name, now, changes),
            Deadline::GiveUp(name) => {
                let guard = self.guard(&name);
                // While nobody listens nothing more is believed: the next snapshot is the second look.
                let listening = self.sources.get(&name).filter(|source| source.state == SourceState::Live);
                match listening.and_then(|source| source.held.as_ref()?.until(&guard)) {
                    Some(until) if until <= now => self.release_held(&name, now, changes),
                    // A stored hold whose setting was made longer while the program did not run.
                    Some(until) => self.deadlines.set(until, Deadline::GiveUp(name)),
                    None => {}
                }
            }
            Deadline::Service(id) => {
                changes.services.insert(id);
            }
            Deadline::Name(cluster, text) => {
                if self.ledger.names.get(&(cluster.clone(), text.clone())).is_some_and(|until| *until <= now) {
                    self.ledger.names.remove(&(cluster.clone(), text.clone()));
                    changes.names.push((cluster, text));
                }
            }
        }
    }

    pub(super) fn end_unreachable(&mut self, name: &SourceName, key: &TaskKey, changes: &mut Changes) {
        let facts = self.rank(name).and_then(|rank| self.tasks.get(key)?.of(rank));
        if facts.is_some_and(|facts| facts.state.is_away()) {
            self.remove_task(name, key, "unreachable for too long", changes);
        }
    }

    /// The agent has been back for a while: what it has not announced again is gone. Unless nobody listened, or it has
    /// to come back to yet another leader: then the next snapshot tells.
    pub(super) fn end_announcement(&mut self, name: &SourceName, id: &AgentId, now: Timestamp, changes: &mut Changes) {
        let Some(source) = self.sources.get(name) else { return };
        if source.state != SourceState::Live || source.recovered.contains(id) {
            return;
        }
        let place = (source.cluster.clone(), id.clone());
        let on_agent = self.by_agent.get(&place);
        let gone: HashSet<TaskKey> =
            source.unconfirmed.iter().filter(|key| on_agent.is_some_and(|on| on.contains(*key))).cloned().collect();
        self.imply_more(name, gone, now, changes);
    }

    /// Agents that are not back by now do not come back: the master itself has given them up. Unless nobody listened:
    /// then the next snapshot tells.
    pub(super) fn end_recovery(&mut self, name: &SourceName, now: Timestamp, changes: &mut Changes) {
        let rank = self.rank(name);
        let Some(source) = self.sources.get_mut(name) else { return };
        if source.state != SourceState::Live {
            return;
        }
        changes.sources |= !source.recovered.is_empty();
        source.recovered.clear();
        // Agents that have just come back are still announcing theirs.
        let is_announcing = |key: &TaskKey| {
            let agent = rank.and_then(|rank| self.tasks.get(key)?.of(rank)?.agent.clone());
            agent.is_some_and(|agent| self.deadlines.has(&Deadline::AgentReturned(name.clone(), agent)))
        };
        let gone = source.unconfirmed.iter().filter(|key| !is_announcing(key)).cloned().collect();
        self.imply_more(name, gone, now, changes);
    }

    pub(super) fn want_second_look(&mut self, name: SourceName, now: Timestamp, changes: &mut Changes) {
        let guard = self.guard(&name);
        let Some(held) = self.sources.get(&name).and_then(|source| source.held.as_ref()) else { return };
        // Until it is confirmed or given up, look again, but ever more rarely: each look is a whole snapshot, and what
        // is taken for filtered may stay so for days.
        let age = now.since(held.since);
        let pause = age.clamp(guard.confirm_after, guard.confirm_after.max(guard.give_up_after));
        self.deadlines.set(now.plus(pause), Deadline::SecondLook(name.clone()));
        if age >= guard.confirm_after {
            changes.wanted_snapshots.insert(name);
        }
    }
}
