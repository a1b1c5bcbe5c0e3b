//! Claims and the routes they come to.
//!
//! A claim on a host and path, a port or an app belongs to the service and begins when its first task made it. Of several services
//! that claim the same, the one with the highest priority, or of equals the one that has done so longest, holds it; the others have a problem that names it. While a
//! service has no task its claims stand, until it is forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::model::hash::HashMap;

use super::digest;
use super::task::ClaimDraft;
use crate::cluster::deadline::Deadline;
use crate::cluster::ledger::{Claim, Ledger, Place, RETAINED_LIMIT, ServiceRecord};
use crate::cluster::source::SourceKind;
use crate::cluster::state::ClusterState;
use crate::model::actions::Actions;
use crate::model::hash::process_hash;
use crate::model::id::{ServiceId, Version};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::rules::Rules;
use crate::model::service::{Protocol, Target};
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::routes::Route;
use crate::table::ways::Way;

/// Claims as they are made now.
#[derive(Debug, Default)]
pub struct Claims {
    /// How many tasks (and declarations) of a service make each claim, by place and priority.
    made: HashMap<ServiceId, Made>,
    /// Every claimant of the places that more than one claims, the holder first.
    contested: HashMap<Place, BTreeSet<(Standing, ServiceId)>>,
    /// Places that a service claims and does not hold.
    lost: HashMap<ServiceId, BTreeSet<Place>>,
    /// Services whose problems changed.
    restless: BTreeSet<ServiceId>,
    /// Ports that cannot be listened on, with their owner.
    faults: BTreeMap<u16, (ServiceId, Arc<str>)>,
    /// Apps that joined a service and have other rules than it has.
    guests: BTreeMap<ServiceId, BTreeSet<Arc<str>>>,
}

/// The ways in which a service's tasks make claims: one for nearly all.
type Made = Box<[MadeClaim]>;

/// How many tasks make a claim on a place with what terms.
#[derive(Clone, Debug)]
struct MadeClaim {
    /// The process's hash of the place: the claim itself is in the ledger, once.
    place: u64,
    terms: Terms,
    tasks: u32,
}

/// What a claim comes with. Where tasks of a service say different things of one place, in the middle of a deploy, the
/// highest priority counts, and of what is done something goes before nothing: the same on every instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Terms {
    priority: i32,
    actions: Option<Arc<Actions>>,
}

impl Terms {
    fn of(claim: &Claim) -> Self {
        Self { priority: claim.priority, actions: claim.actions.clone() }
    }

    fn of_draft(claim: &ClaimDraft) -> Self {
        Self { priority: claim.priority, actions: claim.actions.clone() }
    }

    fn put_on(self, claim: Claim) -> Claim {
        Claim { priority: self.priority, actions: self.actions, ..claim }
    }
}

/// What decides between claimants: the higher priority, then the longer claim.
type Standing = (Reverse<i32>, Timestamp);

impl Claims {
    /// One more task makes the claim.
    pub fn add(&mut self, table: &mut Table, ledger: &mut Ledger, claim: &ClaimDraft, now: Timestamp) {
        let place = claim.place.clone();
        let terms = Terms::of_draft(claim);
        let hash = process_hash(&place);
        let made = self.made.entry(claim.service.clone()).or_default();
        match made.iter_mut().find(|made| made.place == hash && made.terms == terms) {
            Some(made) => {
                made.tasks += 1;
                if made.tasks > 1 {
                    return;
                }
            }
            None => {
                let new = MadeClaim { place: hash, terms: terms.clone(), tasks: 1 };
                *made = made.iter().cloned().chain([new]).collect();
            }
        }
        let mut record = ledger.services.get(&claim.service).map(|r| (**r).clone()).unwrap_or_else(|| ServiceRecord {
            claims: Vec::new(),
            protocol: Protocol::Http,
            rules: None,
            empty_since: None,
        });
        let known = record.claims.iter().position(|known| known.place == place);
        let claimed = match known {
            // What is lower now is lowered in `settle`, when all of the batch is known.
            Some(at) if Terms::of(&record.claims[at]) >= terms => record.claims[at].clone(),
            Some(at) => {
                let former = record.claims[at].clone();
                let raised = terms.put_on(former.clone());
                record.claims[at] = raised.clone();
                ledger.services.insert(claim.service.clone(), Arc::new(record));
                self.withdraw(table, ledger, &claim.service, &former);
                raised
            }
            None => {
                let (name, priority) = (claim.name.clone(), claim.priority);
                let claimed = Claim { name, place, priority, since: now, actions: claim.actions.clone() };
                // Most services have one claim, and there may be a million services.
                record.claims.reserve_exact(1);
                record.claims.push(claimed.clone());
                ledger.services.insert(claim.service.clone(), Arc::new(record));
                claimed
            }
        };
        self.contend(table, ledger, &claim.service, &claimed);
    }

    /// One task less makes the claim. It ends in [`Claims::settle`], so that a deploy does not end it.
    pub fn release(&mut self, claim: &ClaimDraft) {
        let (place, terms) = (process_hash(&claim.place), Terms::of_draft(claim));
        if let Some(made) = self.made.get_mut(&claim.service)
            && let Some(made) = made.iter_mut().find(|made| made.place == place && made.terms == terms)
        {
            made.tasks = made.tasks.saturating_sub(1);
        }
    }

    /// Brings a service's claims to rest after a batch: ends those that none of its tasks makes, or retains all
    /// while it has no task, or ends all when its time is over.
    pub fn settle(&mut self, table: &mut Table, state: &mut ClusterState, id: &ServiceId, lives: bool, now: Timestamp) {
        let Some(record) = state.ledger.services.get(id).cloned() else { return };
        if lives {
            self.settle_alive(table, &mut state.ledger, id, &record);
        } else {
            self.settle_empty(table, state, id, record, now);
        }
    }

    /// A service without a task is retained, or ends.
    fn settle_empty(
        &mut self,
        table: &mut Table,
        state: &mut ClusterState,
        id: &ServiceId,
        record: Arc<ServiceRecord>,
        now: Timestamp,
    ) {
        let retention = state.config.server.service_retention;
        let record = self.give_back(table, &mut state.ledger, id, record);
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
            let (protocol, rules) = last_known(table, id);
            let kept = ServiceRecord { empty_since: Some(now), protocol, rules, ..(*record).clone() };
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
            self.contend(table, &state.ledger, id, claim);
        }
    }

    /// Of a service with tasks the claims end that none of them makes, and those that are made with less are lowered.
    fn settle_alive(&mut self, table: &mut Table, ledger: &mut Ledger, id: &ServiceId, record: &ServiceRecord) {
        let made = self.made.get(id);
        // The terms with which a claim is made; none: it is made no more.
        let standing = |claim: &Claim| {
            let place = process_hash(&claim.place);
            let alike = made.into_iter().flatten().filter(|made| made.place == place && made.tasks > 0);
            alike.map(|made| &made.terms).max()
        };
        // Nearly every change of a task leaves its service's claims alone.
        if record.empty_since.is_none() && record.claims.iter().all(|claim| standing(claim) == Some(&Terms::of(claim)))
        {
            return;
        }
        let mut kept = Vec::new();
        let (mut ended, mut lowered) = (Vec::new(), Vec::new());
        for claim in &record.claims {
            match standing(claim) {
                None => ended.push(claim.clone()),
                Some(terms) => {
                    let next = terms.clone().put_on(claim.clone());
                    if next != *claim {
                        lowered.push((claim.clone(), next.clone()));
                    }
                    kept.push(next);
                }
            }
        }
        for claim in &ended {
            self.withdraw(table, ledger, id, claim);
        }
        if let Some(made) = self.made.get_mut(id) {
            *made = made.iter().filter(|made| made.tasks > 0).cloned().collect();
        }
        if record.empty_since.is_some() {
            ledger.retained = ledger.retained.saturating_sub(1);
        }
        if !ended.is_empty() || !lowered.is_empty() || record.empty_since.is_some() {
            if kept.is_empty() {
                ledger.services.remove(id);
                self.made.remove(id);
            } else {
                let record = ServiceRecord { claims: kept, empty_since: None, protocol: record.protocol, rules: None };
                ledger.services.insert(id.clone(), Arc::new(record));
            }
        }
        for (former, claim) in &lowered {
            self.withdraw(table, ledger, id, former);
            self.contend(table, ledger, id, claim);
        }
    }

    /// A port that was assigned to a service without a task or an app is another's at once: who has which follows from the
    /// apps that there are. What is left of the record.
    fn give_back(
        &mut self,
        table: &mut Table,
        ledger: &mut Ledger,
        id: &ServiceId,
        record: Arc<ServiceRecord>,
    ) -> Arc<ServiceRecord> {
        if !record.claims.iter().any(Claim::is_assigned) {
            return record;
        }
        let (given, claims): (Vec<_>, Vec<_>) = record.claims.iter().cloned().partition(Claim::is_assigned);
        let record = Arc::new(ServiceRecord { claims, ..(*record).clone() });
        ledger.services.insert(id.clone(), record.clone());
        for claim in &given {
            self.withdraw(table, ledger, id, claim);
        }
        record
    }

    /// Problems of services whose claims won or lost since the last call.
    pub fn take_problems(&mut self) -> Vec<(Arc<str>, Vec<Problem>)> {
        let restless = std::mem::take(&mut self.restless);
        restless.into_iter().map(|id| (id.to_string().into(), self.problems(&id))).collect()
    }

    fn problems(&self, id: &ServiceId) -> Vec<Problem> {
        let lost = self.lost.get(id).into_iter().flatten();
        let mut problems: Vec<Problem> = lost
            .map(|place| {
                let holder = self.contested.get(place).and_then(|all| all.first());
                let holder = holder.map_or_else(String::new, |(_, holder)| holder.to_string());
                let (code, mend) = match place {
                    Place::Path(..) | Place::Refined(..) => {
                        (ProblemCode::RouteConflict, "claim another host or path, or let the holder give it up")
                    }
                    Place::Port(_) => (ProblemCode::PortConflict, "claim another port, or let the holder give it up"),
                    Place::ServerName(_) => {
                        (ProblemCode::RouteConflict, "claim another host, or let the holder give it up")
                    }
                    Place::App(_) => {
                        (ProblemCode::RouteConflict, "let one of the two apps have another id or framework")
                    }
                };
                Problem {
                    code,
                    subject: id.to_string().into(),
                    at: place.to_string().into(),
                    message: format!("{place} is held by {holder}, which claimed it first or has a higher priority")
                        .into(),
                    mend: mend.into(),
                }
            })
            .collect();
        let faults = self.faults.iter().filter(|(_, (owner, _))| owner == id);
        problems.extend(faults.map(|(port, (_, why))| Problem {
            code: ProblemCode::PortUnavailable,
            subject: id.to_string().into(),
            at: format!("port {port}").into(),
            message: why.clone(),
            mend: "let the app have another port, or free this one on the proxy's host".into(),
        }));
        let guests = self.guests.get(id).into_iter().flatten();
        problems.extend(guests.map(|app| Problem {
            code: ProblemCode::RulesConflict,
            subject: id.to_string().into(),
            at: app.clone(),
            message: format!(
                "{app} joined {id} and asks for other rules (passwords, networks, redirects and the like): those of the app \
                 that it is named after hold, and without one those of all at once"
            )
            .into(),
            mend: "give all apps of the service the same labels, or let this one be a service of its own".into(),
        }));
        problems
    }

    /// Takes over which apps joined a service with other rules than hold.
    pub fn set_guests(&mut self, table: &Table, id: &ServiceId) {
        let service = table.services.get(id).filter(|service| service.mixed_rules);
        let own = service.and_then(|service| service.rules.as_deref().cloned()).unwrap_or_default();
        let endpoints = service.into_iter().flat_map(|service| service.endpoints.iter());
        let rules = endpoints.filter_map(|endpoint| endpoint.rules.as_deref());
        let others = rules.filter(|rules| rules.guest.is_some() && rules.of_service() != own);
        let guests: BTreeSet<Arc<str>> = others.filter_map(|rules| rules.guest.clone()).collect();
        let former = if guests.is_empty() { self.guests.remove(id) } else { self.guests.insert(id.clone(), guests) };
        if former.as_ref() != self.guests.get(id) {
            self.restless.insert(id.clone());
        }
    }

    /// Takes over which ports cannot be listened on, and why.
    pub fn set_faults(&mut self, table: &Table, faults: &BTreeMap<u16, Arc<str>>) {
        let named = |(port, why): (&u16, &Arc<str>)| {
            let owner = table.ways.ports.get(port)?.owner.clone();
            Some((*port, (owner, why.clone())))
        };
        let next: BTreeMap<u16, (ServiceId, Arc<str>)> = faults.iter().filter_map(named).collect();
        let former = std::mem::replace(&mut self.faults, next);
        let changed = former.iter().filter(|(port, fault)| self.faults.get(port) != Some(fault));
        self.restless.extend(changed.map(|(_, (owner, _))| owner.clone()));
        let new = self.faults.iter().filter(|(port, fault)| former.get(port) != Some(fault));
        self.restless.extend(new.map(|(_, (owner, _))| owner.clone()).collect::<Vec<_>>());
    }

    fn end_all(&mut self, table: &mut Table, state: &mut ClusterState, id: &ServiceId, record: &ServiceRecord) {
        for claim in &record.claims {
            self.withdraw(table, &state.ledger, id, claim);
        }
        self.made.remove(id);
        state.ledger.services.remove(id);
    }

    fn contend(&mut self, table: &mut Table, ledger: &Ledger, id: &ServiceId, claim: &Claim) {
        let place = &claim.place;
        let standing = (Reverse(claim.priority), claim.since);
        match holder(table, place) {
            None => put(table, ledger, id.clone(), place, standing),
            Some((_, owner)) if owner == *id => {}
            Some(holder) => {
                let all = self.contested.entry(place.clone()).or_default();
                all.insert(holder);
                all.insert((standing, id.clone()));
                self.lost.entry(id.clone()).or_default().insert(place.clone());
                self.restless.insert(id.clone());
                self.crown(table, ledger, place);
            }
        }
    }

    /// Puts the claimant with the best standing in force.
    fn crown(&mut self, table: &mut Table, ledger: &Ledger, place: &Place) {
        let Some((standing, winner)) = self.contested.get(place).and_then(|all| all.first()).cloned() else { return };
        let holder = holder(table, place).map(|(_, owner)| owner);
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
        put(table, ledger, winner, place, standing);
    }

    fn withdraw(&mut self, table: &mut Table, ledger: &Ledger, id: &ServiceId, claim: &Claim) {
        let place = &claim.place;
        let held = holder(table, place).is_some_and(|(_, owner)| owner == *id);
        if let Some(lost) = self.lost.get_mut(id) {
            lost.remove(place);
            if lost.is_empty() {
                self.lost.remove(id);
            }
            self.restless.insert(id.clone());
        }
        if held {
            take_away(table, place);
        }
        let Some(all) = self.contested.get_mut(place) else { return };
        all.remove(&((Reverse(claim.priority), claim.since), id.clone()));
        let left = all.len();
        if held {
            self.crown(table, ledger, place);
        } else {
            self.restless.extend(all.iter().map(|(_, id)| id.clone()));
        }
        if left <= 1 {
            self.contested.remove(place);
        }
    }
}

/// Who holds a place, and with what standing.
fn holder(table: &Table, place: &Place) -> Option<(Standing, ServiceId)> {
    let way = |way: &Arc<Way>| ((Reverse(way.priority), way.since), way.owner.clone());
    match place {
        Place::Path(..) | Place::Refined(..) => {
            let (host, path, refined) = place.route()?;
            let route = table.routes.get(host, path, refined)?;
            Some(((Reverse(route.priority), route.since), route.owner.clone()))
        }
        Place::Port(port) => table.ways.ports.get(port).map(way),
        Place::App(app) => table.ways.apps.get(app).map(way),
        Place::ServerName(host) => table.ways.names.get(host).map(way),
    }
}

fn put(table: &mut Table, ledger: &Ledger, owner: ServiceId, place: &Place, (priority, since): Standing) {
    let (host, path, refined) = match place {
        Place::Path(host, path) => (host.clone(), path.clone(), None),
        Place::Refined(host, path, refined) => (host.clone(), path.clone(), Some(refined.clone())),
        Place::Port(port) => {
            take_away(table, place);
            table.digest = table.digest.wrapping_add(digest::way(place, &owner));
            table.ways.ports.insert(*port, Arc::new(Way { owner, priority: priority.0, since }));
            table.ways.version += 1;
            return;
        }
        Place::App(app) => {
            take_away(table, place);
            table.digest = table.digest.wrapping_add(digest::way(place, &owner));
            table.ways.apps.insert(app.clone(), Arc::new(Way { owner, priority: priority.0, since }));
            return;
        }
        Place::ServerName(host) => {
            take_away(table, place);
            table.digest = table.digest.wrapping_add(digest::way(place, &owner));
            table.ways.names.insert(host.clone(), Arc::new(Way { owner, priority: priority.0, since }));
            return;
        }
    };
    let record = ledger.services.get(&owner);
    let claim = record.and_then(|record| record.claims.iter().find(|claim| claim.place == *place));
    let name = claim.map_or_else(|| "default".into(), |claim| claim.name.clone());
    let actions = claim.and_then(|claim| claim.actions.clone());
    let target =
        |version: Option<&Version>, weight| Target { service: owner.clone(), version: version.cloned(), weight };
    let targets: SmallVec<[Target; 1]> = match actions.as_deref().map(|actions| &*actions.split) {
        None | Some([]) => smallvec![target(None, 1)],
        Some(split) => split.iter().map(|(version, share)| target(Some(version), *share)).collect(),
    };
    let route = Route { owner, name, host, path, refined, targets, priority: priority.0, since, actions };
    table.digest = table.digest.wrapping_add(digest::route(&route));
    if let Some(former) = table.routes.insert(Arc::new(route)) {
        table.digest = table.digest.wrapping_sub(digest::route(&former));
    }
}

fn take_away(table: &mut Table, place: &Place) {
    let removed = match place {
        Place::Path(..) | Place::Refined(..) => place
            .route()
            .and_then(|(host, path, refined)| table.routes.remove(host, path, refined))
            .map(|route| digest::route(&route)),
        Place::Port(port) => {
            table.ways.version += 1;
            table.ways.ports.remove(port).map(|way| digest::way(place, &way.owner))
        }
        Place::App(app) => table.ways.apps.remove(app).map(|way| digest::way(place, &way.owner)),
        Place::ServerName(host) => table.ways.names.remove(host).map(|way| digest::way(place, &way.owner)),
    };
    table.digest = table.digest.wrapping_sub(removed.unwrap_or(0));
}

/// What is kept of a service whose last task is gone.
fn last_known(table: &Table, id: &ServiceId) -> (Protocol, Option<Arc<Rules>>) {
    table.services.get(id).map(|service| (service.protocol, service.rules.clone())).unwrap_or_default()
}
