//! What is under way when the configuration changes: it goes on as if the new settings had held from its beginning.
//!
//! A deadline is stored as the time it is due at, so the setting it was made with is taken off and the new one put on. Not
//! here: the retention of services, whose beginning is in the ledger and which each derivation looks at again.

use super::{ClusterState, guard_of};
use crate::cluster::deadline::Deadline;
use crate::config::Config;
use crate::model::time::Timestamp;

impl ClusterState {
    /// Moves the deadlines of what began under `former` to where the configuration in force has them. Those that are over
    /// by now are due at once.
    pub(super) fn retime(&mut self, former: &Config) {
        self.retime_lasting(former);
        self.retime_holds(former);
    }

    /// What lasts as long as one setting says.
    fn retime_lasting(&mut self, former: &Config) {
        let lasts = |deadline: &Deadline, config: &Config| match deadline {
            Deadline::Unreachable(..) => Some(config.routing.unreachable_keep),
            Deadline::Recovered(source) => Some(guard_of(config, source).recovered_keep),
            Deadline::Name(..) => Some(config.server.service_retention),
            Deadline::AgentReturned(..) | Deadline::SecondLook(_) | Deadline::GiveUp(_) | Deadline::Service(_) => None,
        };
        let moved = |(at, deadline): &(Timestamp, Deadline)| {
            let (old, new) = (lasts(deadline, former)?, lasts(deadline, &self.config)?);
            (old != new).then(|| (at.minus(old).plus(new), deadline.clone()))
        };
        let moved: Vec<_> = self.deadlines.iter().filter_map(moved).collect();
        for (at, deadline) in moved {
            // One that has tasks again is no longer retained; its deadline does nothing.
            if let Deadline::Name(cluster, name) = &deadline
                && let Some(until) = self.ledger.names.get_mut(&(cluster.clone(), name.clone()))
            {
                *until = at;
            }
            self.deadlines.set(at, deadline);
        }
    }

    /// What the guard holds back.
    fn retime_holds(&mut self, former: &Config) {
        for (name, source) in &self.sources {
            let Some(held) = &source.held else { continue };
            let (old, new) = (guard_of(former, name), guard_of(&self.config, name));
            if old.confirm_after != new.confirm_after {
                self.deadlines.set(held.since.plus(new.confirm_after), Deadline::SecondLook(name.clone()));
            }
            if let Some(until) = held.until(&new).filter(|_| old.give_up_after != new.give_up_after) {
                self.deadlines.set(until, Deadline::GiveUp(name.clone()));
            }
        }
    }
}
