//! Which deploys there are: follows tables, pure.
//!
//! A deploy begins with the first endpoint of a version that its service did not have, and ends when only that version is
//! left, all of it ready, and nothing is under way at the others. A deploy by two services behind one route (blue/green) is
//! one of the service that gets the new version. Where a framework tells of its deployments (Marathon), the deploy has those
//! it belongs to, and does not end before them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::link::{self, SETTLE, UnderWay};
use super::record::{App, Deploy, EndpointRecord, Outcome};
use crate::model::endpoint::{Endpoint, EndpointId, EndpointState};
use crate::model::id::{ServiceId, Version};
use crate::model::time::Timestamp;
use crate::proxy::metrics::Tally;
use crate::table::Table;
use crate::table::task::TaskView;

/// Deploys that are over and remembered.
pub const REMEMBERED: usize = 500;
/// Deploys that can be under way at a time; more are not recorded, and counted.
pub const MAX_RUNNING: usize = 2000;
/// Endpoints recorded of one deploy.
pub const MAX_ENDPOINTS: usize = 1000;

/// All deploys that are known.
#[derive(Debug, Default)]
pub struct DeployLedger {
    /// Endpoints of each version, by service.
    versions: HashMap<ServiceId, Vec<(Version, usize)>>,
    running: HashMap<ServiceId, Running>,
    over: VecDeque<Deploy>,
    /// Those that are over since the last reading.
    ended: Vec<Deploy>,
    last_id: u64,
    /// Deploys that there was no room to record.
    pub unrecorded: u64,
}

#[derive(Debug)]
struct Running {
    deploy: Deploy,
    base: Tally,
    /// Since when its deployments are over and its endpoints have not come to rest.
    unsettled: Option<Timestamp>,
}

/// What the proxy has counted of a service so far.
pub type ReadTally<'a> = &'a dyn Fn(&ServiceId) -> Tally;

impl Deploy {
    fn add(&mut self, record: EndpointRecord) {
        if self.endpoints.len() < MAX_ENDPOINTS {
            self.endpoints.push(record);
        } else {
            self.omitted += 1;
        }
    }

    /// The record of an endpoint that is there.
    fn record(&mut self, id: &EndpointId) -> Option<&mut EndpointRecord> {
        self.endpoints.iter_mut().find(|record| record.id == *id && record.gone.is_none())
    }
}

impl DeployLedger {
    /// Takes the first table as what is there: nothing of it is a deploy.
    pub fn begin(&mut self, table: &Table) {
        for endpoint in table.services.values().flat_map(|service| service.endpoints.iter()) {
            self.count(&endpoint.service, &endpoint.version);
        }
    }

    /// Takes over what changed from one table to a later one. Costs what changed.
    pub fn follow(&mut self, former: &Table, next: &Table, tally: ReadTally<'_>) {
        let at = next.built_at;
        let under_way = UnderWay::of(former, next);
        if !Arc::ptr_eq(&former.deployments, &next.deployments) {
            self.follow_deployments((former, next), &under_way, tally);
        }
        // What is there when all sources have spoken for the first time was there before.
        let is_settled = former.ready;
        former.tasks.diff(&next.tasks, &mut |_, before, after| {
            for (service, id) in ids(before) {
                let Some(known) = find(former, service, &id) else { continue };
                match find(next, service, &id) {
                    Some(endpoint) if endpoint.version == known.version => self.show(endpoint, next, &under_way),
                    _ => self.leave(known, at),
                }
            }
            for (service, id) in ids(after) {
                let Some(endpoint) = find(next, service, &id) else { continue };
                let known = find(former, service, &id);
                if known.is_none_or(|known| known.version != endpoint.version) {
                    self.come(endpoint, (former, next), &under_way, is_settled, tally);
                }
            }
        });
    }

    /// Reads the counters of what is under way, and ends what is over. Returns what is over since the last reading.
    pub fn read(&mut self, table: &Table, now: Timestamp, tally: ReadTally<'_>) -> Vec<Deploy> {
        let mut ended = Vec::new();
        for (service, running) in &mut self.running {
            running.read(now, tally);
            if let Some((outcome, at)) = running.outcome(table, now) {
                ended.push((service.clone(), outcome, at));
            }
        }
        ended.into_iter().for_each(|(service, outcome, at)| self.end(&service, outcome, at));
        std::mem::take(&mut self.ended)
    }

    /// Takes over what changed in frameworks' deployments, also of deploys that are over by now. A deploy whose deployments
    /// are over and whose endpoints had come to rest ends here: what begins in the same moment is no part of it.
    fn follow_deployments(&mut self, (former, next): (&Table, &Table), under_way: &UnderWay<'_>, tally: ReadTally<'_>) {
        let at = next.built_at;
        let mut ended = Vec::new();
        for (service, running) in &mut self.running {
            let was_held = link::is_held(former, &running.deploy);
            link::refresh(&mut running.deploy, next);
            match running.outcome(former, at) {
                Some((outcome, at)) if was_held => {
                    running.read(at, tally);
                    ended.push((service.clone(), outcome, at));
                }
                _ => under_way.join(&mut running.deploy),
            }
        }
        ended.into_iter().for_each(|(service, outcome, at)| self.end(&service, outcome, at));
        self.over.iter_mut().for_each(|deploy| link::refresh(deploy, next));
    }

    /// Whether anything is under way.
    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// How many are under way.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// All that are known, the newest first.
    pub fn deploys(&self) -> Vec<&Deploy> {
        let running = self.running.values().map(|running| &running.deploy);
        let mut all: Vec<&Deploy> = running.chain(&self.over).collect();
        all.sort_by_key(|deploy| std::cmp::Reverse(deploy.id));
        all
    }

    fn come(
        &mut self,
        endpoint: &Endpoint,
        tables: (&Table, &Table),
        under_way: &UnderWay<'_>,
        is_settled: bool,
        tally: ReadTally<'_>,
    ) {
        let at = tables.1.built_at;
        let service = &endpoint.service;
        let is_new = self.count(service, &endpoint.version);
        if is_new && is_settled && self.begins(service, &endpoint.version) {
            self.start(endpoint, tables, tally);
        } else if let Some(running) = self.running.get_mut(service) {
            match running.deploy.record(&endpoint.id) {
                Some(known) => known.show(endpoint, at),
                None => running.deploy.add(EndpointRecord::begin(endpoint, Some(at))),
            }
        }
        self.note_app(endpoint, tables.1, under_way);
    }

    fn show(&mut self, endpoint: &Endpoint, table: &Table, under_way: &UnderWay<'_>) {
        if let Some(record) = self.record(&endpoint.service, &endpoint.id) {
            record.show(endpoint, table.built_at);
        }
        self.note_app(endpoint, table, under_way);
    }

    /// An endpoint of a deploy's new version tells of which app that is.
    fn note_app(&mut self, endpoint: &Endpoint, table: &Table, under_way: &UnderWay<'_>) {
        let Some(running) = self.running.get_mut(&endpoint.service) else { return };
        let app = || table.tasks.get(&endpoint.id.task).and_then(|task| App::of(task));
        if running.deploy.to == endpoint.version && link::note_app(&mut running.deploy, app()) {
            under_way.join(&mut running.deploy);
        }
    }

    fn leave(&mut self, endpoint: &Endpoint, at: Timestamp) {
        if let Some(record) = self.record(&endpoint.service, &endpoint.id) {
            record.leave(at);
        }
        if let Some(versions) = self.versions.get_mut(&endpoint.service) {
            if let Some((_, count)) = versions.iter_mut().find(|(version, _)| *version == endpoint.version) {
                *count = count.saturating_sub(1);
            }
            versions.retain(|(_, count)| *count > 0);
            if versions.is_empty() {
                self.versions.remove(&endpoint.service);
            }
        }
    }

    fn record(&mut self, service: &ServiceId, id: &EndpointId) -> Option<&mut EndpointRecord> {
        self.running.get_mut(service)?.deploy.record(id)
    }

    /// Counts an endpoint; whether it is the first of its version.
    fn count(&mut self, service: &ServiceId, version: &Version) -> bool {
        if !self.versions.contains_key(service) {
            self.versions.insert(service.clone(), Vec::new());
        }
        let Some(versions) = self.versions.get_mut(service) else { return false };
        match versions.iter_mut().find(|(known, _)| known == version) {
            Some((_, count)) => {
                *count += 1;
                false
            }
            None => {
                versions.push((version.clone(), 1));
                true
            }
        }
    }

    /// Whether a version that the service did not have a moment ago makes a deploy: not if it is the one that a deploy under
    /// way leads to, or leads away from.
    fn begins(&self, service: &ServiceId, version: &Version) -> bool {
        let under_way = self.running.get(service).map(|running| &running.deploy);
        under_way.is_none_or(|deploy| deploy.to != *version && !deploy.from.contains(version))
    }

    fn start(&mut self, endpoint: &Endpoint, (former, next): (&Table, &Table), tally: ReadTally<'_>) {
        let (service, at) = (&endpoint.service, next.built_at);
        if let Some(running) = self.running.get_mut(service) {
            running.read(at, tally);
            // It may be over, and nobody has looked since.
            let (outcome, ended) = running.outcome(former, at).unwrap_or((Outcome::Superseded, at));
            self.end(service, outcome, ended);
        }
        if self.running.len() >= MAX_RUNNING {
            self.unrecorded += 1;
            return;
        }
        self.last_id += 1;
        let mut deploy = Deploy {
            id: self.last_id,
            service: service.clone(),
            from: Vec::new(),
            to: endpoint.version.clone(),
            began: at,
            ended: None,
            outcome: Outcome::Running,
            tally: Tally::default(),
            endpoints: Vec::new(),
            omitted: 0,
            deployments: Vec::new(),
            apps: Vec::new(),
        };
        for known in endpoints(former, service) {
            if !deploy.from.contains(&known.version) {
                deploy.from.push(known.version.clone());
            }
            let mut record = EndpointRecord::begin(known, None);
            match find(next, service, &known.id) {
                Some(now) => record.show(now, at),
                None => record.leave(at),
            }
            deploy.add(record);
        }
        for new in endpoints(next, service).filter(|new| find(former, service, &new.id).is_none()) {
            let mut record = EndpointRecord::begin(new, Some(at));
            record.show(new, at);
            deploy.add(record);
        }
        self.running.insert(service.clone(), Running { deploy, base: tally(service), unsettled: None });
    }

    fn end(&mut self, service: &ServiceId, outcome: Outcome, at: Timestamp) {
        let Some(Running { mut deploy, .. }) = self.running.remove(service) else { return };
        deploy.outcome = outcome;
        deploy.ended = Some(at);
        if self.over.len() == REMEMBERED {
            self.over.pop_front();
        }
        self.over.push_back(deploy.clone());
        self.ended.push(deploy);
    }
}

impl Running {
    /// Reads the counters.
    fn read(&mut self, now: Timestamp, tally: ReadTally<'_>) {
        self.deploy.tally = tally(&self.deploy.service).since(&self.base);
        self.deploy.endpoints.iter_mut().for_each(|record| record.read(now));
    }

    /// How it has ended and when, if it has.
    fn outcome(&mut self, table: &Table, now: Timestamp) -> Option<(Outcome, Timestamp)> {
        if link::is_held(table, &self.deploy) {
            self.unsettled = None;
            return None;
        }
        let outcome = outcome(table, &self.deploy);
        if outcome != Outcome::Running {
            return Some((outcome, now));
        }
        let since = *self.unsettled.get_or_insert(now);
        if now.since(since) < SETTLE {
            return None;
        }
        let last_word = link::last_word(&self.deploy, || is_replaced(table, &self.deploy))?;
        Some((last_word, since))
    }
}

/// Whether the service's endpoints are all of the new version, but for such of the deploy's own apps as are still shown and no
/// longer wanted (on agents that are cut off), and nothing is under way elsewhere.
fn is_replaced(table: &Table, deploy: &Deploy) -> bool {
    let is_of_its_apps = |endpoint: &Endpoint| {
        let app = table.tasks.get(&endpoint.id.task).and_then(|task| App::of(task));
        app.is_some_and(|app| deploy.apps.contains(&app))
    };
    let is_busy = |record: &EndpointRecord| record.version != deploy.to && record.is_busy();
    endpoints(table, &deploy.service).all(|endpoint| endpoint.version == deploy.to || is_of_its_apps(endpoint))
        && !deploy.endpoints.iter().any(is_busy)
}

/// How a deploy stands by a table.
fn outcome(table: &Table, deploy: &Deploy) -> Outcome {
    let (mut new, mut old, mut all_ready) = (0_usize, 0_usize, true);
    for endpoint in endpoints(table, &deploy.service) {
        match endpoint.version == deploy.to {
            true => {
                new += 1;
                all_ready &= endpoint.state == EndpointState::Ready;
            }
            false => old += 1,
        }
    }
    let is_busy = || deploy.endpoints.iter().any(|record| record.gone.is_some() && record.is_busy());
    match (new, old) {
        (0, 0) if !is_busy() => Outcome::Withdrawn,
        (0, 0) => Outcome::Running,
        (0, _) => Outcome::RolledBack,
        (_, 0) if all_ready && !is_busy() => Outcome::Finished,
        _ => Outcome::Running,
    }
}

fn ids(view: Option<&Arc<TaskView>>) -> impl Iterator<Item = (&ServiceId, EndpointId)> {
    view.into_iter().flat_map(|view| view.endpoints())
}

fn endpoints<'a>(table: &'a Table, service: &ServiceId) -> impl Iterator<Item = &'a Endpoint> {
    table.service(service).into_iter().flat_map(|service| service.endpoints.iter().map(|endpoint| &**endpoint))
}

fn find<'a>(table: &'a Table, service: &ServiceId, id: &EndpointId) -> Option<&'a Endpoint> {
    table.service(service)?.endpoint(id).map(|endpoint| &**endpoint)
}
