//! Claims and the routes they come to.
//!
//! A claim on a host and path belongs to the service and begins when its first task made it. Of several services
//! that claim the same, the one that has done so longest holds it; the others have a problem that names it. While a
//! service has no task its claims stand, until it is forgotten.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::digest;
use super::task::ClaimDraft;
use crate::cluster::deadline::Deadline;
use crate::cluster::ledger::{Claim, Ledger, RETAINED_LIMIT, ServiceRecord};
use crate::cluster::source::SourceKind;
use crate::cluster::state::ClusterState;
use crate::labels::host::HostPattern;
use crate::model::id::ServiceId;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::service::Target;
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::routes::Route;

type Place = (HostPattern, Arc<str>);

/// Claims as they are made now.
#[derive(Debug, Default)]
pub struct Claims {
    /// How many tasks (and declarations) of a service make each claim.
    made: HashMap<ServiceId, Vec<(Place, u32)>>,
    /// Every claimant of the places that more than one claims.
    contested: HashMap<Place, BTreeSet<(Timestamp, ServiceId)>>,
    /// Places that a service claims and does not hold.
    lost: HashMap<ServiceId, BTreeSet<Place>>,
    /// Services whose problems changed.
    restless: BTreeSet<ServiceId>,
}

impl Claims {
    /// One more task makes the claim.
    pub fn add(&mut self, table: &mut Table, ledger: &mut Ledger, claim: &ClaimDraft, now: Timestamp) {
        let place = (claim.host.clone(), claim.path.clone());
        let made = self.made.entry(claim.service.clone()).or_default();
        match made.iter_mut().find(|(known, _)| *known == place) {
            Some((_, count)) => {
                *count += 1;
                if *count > 1 {
                    return;
                }
            }
            None => {
                // Nearly every service makes one claim or two.
                made.reserve_exact(1);
                made.push((place.clone(), 1));
            }
        }
        let mut record = ledger.services.get(&claim.service).map(|r| (**r).clone()).unwrap_or_else(|| ServiceRecord {
            claims: Vec::new(),
            protocol: crate::model::service::Protocol::Http,
            empty_since: None,
        });
        let known = record.claims.iter().find(|c| c.host == claim.host && c.path == claim.path);
        let since = known.map_or(now, |known| known.since);
        if known.is_none() {
            // Most services have one claim, and there may be a million services.
            record.claims.reserve_exact(1);
            record.claims.push(Claim {
                name: claim.name.clone(),
                host: claim.host.clone(),
                path: claim.path.clone(),
                since,
            });
            ledger.services.insert(claim.service.clone(), Arc::new(record));
        }
        self.contend(table, ledger, &claim.service, &place, since);
    }

    /// One task less makes the claim. It ends in [`Claims::settle`], so that a deploy does not end it.
    pub fn release(&mut self, claim: &ClaimDraft) {
        if let Some(made) = self.made.get_mut(&claim.service)
            && let Some((_, count)) =
                made.iter_mut().find(|((host, path), _)| *host == claim.host && *path == claim.path)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Brings a service's claims to rest after a batch: ends those that none of its tasks makes, or retains all
    /// while it has no task, or ends all when its time is over.
    pub fn settle(&mut self, table: &mut Table, state: &mut ClusterState, id: &ServiceId, lives: bool, now: Timestamp) {
        let Some(record) = state.ledger.services.get(id).cloned() else { return };
        let retention = state.config.server.service_retention;
        if !lives {
            let over = record.empty_since.is_some_and(|since| now.since(since) >= retention);
            // What an operator deletes from a file is gone: nobody will start it again.
            let deleted = state.sources.values().any(|s| s.kind == SourceKind::File && s.cluster == *id.cluster());
            let full = record.empty_since.is_none() && state.ledger.retained >= RETAINED_LIMIT;
            if over || deleted || full || record.claims.is_empty() {
                if record.empty_since.is_some() {
                    state.ledger.retained = state.ledger.retained.saturating_sub(1);
                }
                self.end_all(table, state, id, &record);
                return;
            }
            if record.empty_since.is_none() {
                let kept = ServiceRecord { empty_since: Some(now), protocol: protocol(table, id), ..(*record).clone() };
                state.ledger.services.insert(id.clone(), Arc::new(kept));
                state.ledger.retained += 1;
            }
            // Again where the retention was made longer while it ran.
            let until = record.empty_since.unwrap_or(now).plus(retention);
            if !state.deadlines.has(&Deadline::Service(id.clone())) {
                state.deadlines.set(until, Deadline::Service(id.clone()));
            }
            // After a restart, what the ledger retains is in force again.
            for claim in &record.claims {
                let place = (claim.host.clone(), claim.path.clone());
                self.contend(table, &state.ledger, id, &place, claim.since);
            }
            return;
        }
        let made = self.made.get(id);
        let is_made = |claim: &Claim| {
            let is_same = |(host, path): &Place| *host == claim.host && *path == claim.path;
            made.is_some_and(|made| made.iter().any(|(place, count)| is_same(place) && *count > 0))
        };
        // Nearly every change of a task leaves its service's claims alone.
        if record.empty_since.is_none() && record.claims.iter().all(is_made) {
            return;
        }
        let (kept, ended): (Vec<Claim>, Vec<Claim>) = record.claims.iter().cloned().partition(is_made);
        for claim in &ended {
            self.withdraw(table, &state.ledger, id, &(claim.host.clone(), claim.path.clone()), claim.since);
        }
        if let Some(made) = self.made.get_mut(id) {
            made.retain(|(_, count)| *count > 0);
        }
        if record.empty_since.is_some() {
            state.ledger.retained = state.ledger.retained.saturating_sub(1);
        }
        if !ended.is_empty() || record.empty_since.is_some() {
            if kept.is_empty() {
                state.ledger.services.remove(id);
                self.made.remove(id);
            } else {
                let record = ServiceRecord { claims: kept, empty_since: None, protocol: record.protocol };
                state.ledger.services.insert(id.clone(), Arc::new(record));
            }
        }
    }

    /// Problems of services whose claims won or lost since the last call.
    pub fn take_problems(&mut self) -> Vec<(Arc<str>, Vec<Problem>)> {
        let restless = std::mem::take(&mut self.restless);
        restless.into_iter().map(|id| (id.to_string().into(), self.problems(&id))).collect()
    }

    fn problems(&self, id: &ServiceId) -> Vec<Problem> {
        let lost = self.lost.get(id).into_iter().flatten();
        lost.map(|(host, path)| {
            let holder = self.contested.get(&(host.clone(), path.clone())).and_then(|all| all.first());
            let holder = holder.map_or_else(String::new, |(_, holder)| holder.to_string());
            Problem {
                code: ProblemCode::RouteConflict,
                subject: id.to_string().into(),
                at: format!("{host}{path}").into(),
                message: format!("{host}{path} is held by {holder}, which claimed it first").into(),
                mend: "claim another host or path, or let the holder give it up".into(),
            }
        })
        .collect()
    }

    fn end_all(&mut self, table: &mut Table, state: &mut ClusterState, id: &ServiceId, record: &ServiceRecord) {
        for claim in &record.claims {
            self.withdraw(table, &state.ledger, id, &(claim.host.clone(), claim.path.clone()), claim.since);
        }
        self.made.remove(id);
        state.ledger.services.remove(id);
    }

    fn contend(&mut self, table: &mut Table, ledger: &Ledger, id: &ServiceId, place: &Place, since: Timestamp) {
        let holder = table.routes.get(&place.0, &place.1).cloned();
        match holder {
            None => put(table, ledger, id.clone(), place, since),
            Some(holder) if holder.owner == *id => {}
            Some(holder) => {
                let all = self.contested.entry(place.clone()).or_default();
                all.insert((holder.since, holder.owner.clone()));
                all.insert((since, id.clone()));
                self.lost.entry(id.clone()).or_default().insert(place.clone());
                self.restless.insert(id.clone());
                self.crown(table, ledger, place);
            }
        }
    }

    /// Puts the claimant that has claimed longest in force.
    fn crown(&mut self, table: &mut Table, ledger: &Ledger, place: &Place) {
        let Some((since, winner)) = self.contested.get(place).and_then(|all| all.first()).cloned() else { return };
        let holder = table.routes.get(&place.0, &place.1).map(|route| route.owner.clone());
        if let Some(lost) = self.lost.get_mut(&winner)
            && lost.remove(place)
        {
            self.restless.insert(winner.clone());
        }
        if holder.as_ref() == Some(&winner) {
            return;
        }
        if let Some(holder) = holder {
            self.lost.entry(holder.clone()).or_default().insert(place.clone());
            self.restless.insert(holder);
        }
        // All losers' problems name the holder.
        let others = self.contested.get(place).into_iter().flatten().map(|(_, id)| id.clone());
        self.restless.extend(others.collect::<Vec<_>>());
        put(table, ledger, winner, place, since);
    }

    fn withdraw(&mut self, table: &mut Table, ledger: &Ledger, id: &ServiceId, place: &Place, since: Timestamp) {
        let held = table.routes.get(&place.0, &place.1).filter(|route| route.owner == *id).cloned();
        if let Some(lost) = self.lost.get_mut(id) {
            lost.remove(place);
            if lost.is_empty() {
                self.lost.remove(id);
            }
            self.restless.insert(id.clone());
        }
        if let Some(route) = &held {
            table.routes.remove(&place.0, &place.1);
            table.digest = table.digest.wrapping_sub(digest::route(route));
        }
        let Some(all) = self.contested.get_mut(place) else { return };
        all.remove(&(since, id.clone()));
        let left = all.len();
        if held.is_some() {
            self.crown(table, ledger, place);
        } else {
            self.restless.extend(all.iter().map(|(_, id)| id.clone()));
        }
        if left <= 1 {
            self.contested.remove(place);
        }
    }
}

fn put(table: &mut Table, ledger: &Ledger, owner: ServiceId, place: &Place, since: Timestamp) {
    let record = ledger.services.get(&owner);
    let claim = record.and_then(|record| record.claims.iter().find(|c| c.host == place.0 && c.path == place.1));
    let name = claim.map_or_else(|| "default".into(), |claim| claim.name.clone());
    let targets = Box::new([Target { service: owner.clone(), version: None, weight: 1 }]);
    let route = Route { owner, name, host: place.0.clone(), path: place.1.clone(), targets, since };
    table.digest = table.digest.wrapping_add(digest::route(&route));
    if let Some(former) = table.routes.insert(Arc::new(route)) {
        table.digest = table.digest.wrapping_sub(digest::route(&former));
    }
}

fn protocol(table: &Table, id: &ServiceId) -> crate::model::service::Protocol {
    table.services.get(id).map(|service| service.protocol).unwrap_or_default()
}
