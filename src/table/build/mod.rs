//! State → table. Pure: the caller passes `now`; nothing here reads a clock or a socket.
//!
//! Incremental and from scratch come to the same: what a task added is taken back by deriving it again.

mod accept;
mod apps;
mod assigned;
mod bulk;
pub mod claims;
pub mod digest;
mod ids;
pub mod names;
pub mod policy;
mod serials;
pub mod services;
pub mod task;
mod task_names;
mod ways;

use crate::model::hash::HashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::apps::Apps;
use self::assigned::Assigned;
use self::bulk::Where;
use self::claims::Claims;
use self::services::Services;
use self::task::{Derivation, Inputs, Said, derive};
use self::task_names::TaskNames;
use super::Table;
use super::task::TaskView;
use crate::cluster::change::Changes;
use crate::cluster::event::DeclaredService;
use crate::cluster::ledger::Place;
use crate::cluster::source::SourceKind;
use crate::cluster::state::ClusterState;
use crate::config::Config;
use crate::model::id::{ClusterName, FrameworkId, ServiceId, TaskKey, stable_hash};
use crate::model::persistent::PersistentMap;
use crate::model::problem::Problem;
use crate::model::time::Timestamp;

/// Keeps a table up to date with the state.
#[derive(Debug)]
pub struct Builder {
    table: Table,
    services: Services,
    claims: Claims,
    /// Frameworks with something wrong with their names, by the subject of their problems.
    ill_named: BTreeMap<ClusterName, BTreeSet<Arc<str>>>,
    /// Zones whose records from files do not go together, by the subject of their problems.
    ill_zones: BTreeSet<Arc<str>>,
    /// Files that cannot be used, by the subject of their problems.
    ill_files: BTreeSet<Arc<str>>,
    /// Declarations whose claims are made, by the declared service.
    declared: PersistentMap<ServiceId, Arc<DeclaredService>>,
    apps: Apps,
    assigned: Assigned,
}

impl Builder {
    /// A builder of the table for `state` as it stands.
    pub fn new(state: &mut ClusterState, now: Timestamp) -> Self {
        let mut builder = Self {
            table: Table::empty(state.config.clone()),
            services: Services::default(),
            claims: Claims::default(),
            ill_named: BTreeMap::new(),
            ill_zones: BTreeSet::new(),
            ill_files: BTreeSet::new(),
            declared: PersistentMap::new(),
            apps: Apps::default(),
            assigned: Assigned::default(),
        };
        builder.rebuild(state, now);
        builder
    }

    /// The table as built so far. Generation and time are the publisher's to set.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Takes over what `changes` names.
    pub fn update(&mut self, state: &mut ClusterState, changes: &Changes, now: Timestamp) {
        if changes.everything {
            self.rebuild(state, now);
            return;
        }
        self.table.weights = state.weights.clone();
        let mut touched: HashSet<ServiceId> = changes.services.clone();
        for key in &changes.tasks {
            self.update_task(state, key, now, &mut touched);
        }
        for id in &changes.services {
            self.update_declared(state, id, now);
        }
        self.update_apps(state, changes.apps.iter().cloned().collect(), now, &mut touched);
        self.settle(state, &touched, now);
        self.update_names(state, changes);
        for source in &changes.problems {
            let problems = state.sources.get(source).map(|s| s.problems.clone()).unwrap_or_default();
            self.set_problems(&source.shared(), problems);
        }
        if changes.files {
            self.judge_files(state);
        }
        if changes.sources {
            self.table.sources = state.statuses();
        }
        if changes.deployments {
            self.table.deployments = state.deployments();
        }
        serials::stamp(&mut self.table, state, now);
        self.table.drains = state.drains.clone();
        self.table.ready = state.is_complete();
    }

    /// Takes over the sources' state alone.
    pub fn update_sources(&mut self, state: &ClusterState) {
        self.table.sources = state.statuses();
    }

    /// Derives everything anew; endpoints keep their run-time state.
    fn rebuild(&mut self, state: &mut ClusterState, now: Timestamp) {
        let former = std::mem::replace(&mut self.table, Table::empty(state.config.clone()));
        let place = if former.tasks.is_empty() { Where::Everywhere } else { Where::Here };
        self.table.ways.version = former.ways.version + 1;
        self.services = Services::recalling(former.services);
        self.claims = Claims::default();
        self.ill_named = BTreeMap::new();
        self.ill_zones = BTreeSet::new();
        self.ill_files = BTreeSet::new();
        self.declared = PersistentMap::new();
        self.apps = Apps::default();
        self.assigned = Assigned::of(state.config.proxy.service_ports.assigned);
        self.table.weights = state.weights.clone();
        names::layout(&mut self.table, state);
        let mut touched = HashSet::default();
        let keys = in_order(state);
        let facts = state.facts_alone();
        bulk::derive_all(&facts, &keys, place, |key, next| self.swap_task(state, key, None, next, now, &mut touched));
        drop(facts);
        let declared: Vec<ServiceId> = state.declared.keys().cloned().collect();
        for id in &declared {
            self.update_declared(state, id, now);
        }
        touched.extend(declared);
        let mut apps: Vec<TaskKey> = state.apps.keys().cloned().collect();
        // Who is first names a service's routes: in the order that every instance has.
        apps.sort_unstable();
        self.update_apps(state, apps, now, &mut touched);
        touched.extend(state.ledger.services.keys().cloned());
        self.settle(state, &touched, now);
        self.services.forget_former();
        let ill_zones = names::refresh(&mut self.table, state);
        self.judge_records(ill_zones);
        for cluster in state.config.mesos.iter().map(|mesos| mesos.cluster.clone()).collect::<BTreeSet<_>>() {
            self.judge_frameworks(state, &cluster);
        }
        self.judge_files(state);
        let problems: Vec<_> = state.sources.iter().map(|(name, s)| (name.shared(), s.problems.clone())).collect();
        for (name, problems) in problems {
            self.set_problems(&name, problems);
        }
        self.table.sources = state.statuses();
        self.table.deployments = state.deployments();
        serials::stamp(&mut self.table, state, now);
        self.table.drains = state.drains.clone();
        self.table.ready = state.is_complete();
    }

    fn update_task(
        &mut self,
        state: &mut ClusterState,
        key: &TaskKey,
        now: Timestamp,
        touched: &mut HashSet<ServiceId>,
    ) {
        let former = self.table.tasks.get(key).map(|view| view.inputs(&self.table.config));
        let next = inputs(state, key);
        let read = |inputs: &Inputs<'_>| Said::read(&inputs.facts.definition, inputs.config);
        // What most events leave as it was is read once for both sides.
        let is_same = |former: &Inputs<'_>, next: &Inputs<'_>| {
            Arc::ptr_eq(&former.facts.definition, &next.facts.definition) && std::ptr::eq(former.config, next.config)
        };
        let said = next.as_ref().or(former.as_ref()).map(read);
        let formerly =
            former.as_ref().zip(next.as_ref()).filter(|(a, b)| !is_same(a, b)).map(|(former, _)| read(former));
        let former = former.zip(formerly.as_ref().or(said.as_ref())).map(|(inputs, said)| derive(&inputs, said));
        let next = next.zip(said.as_ref()).map(|(inputs, said)| derive(&inputs, said));
        let with_names = |derived: Derivation| {
            let names = TaskNames::of(&derived.view, &state.config);
            (derived, names)
        };
        if former.as_ref().zip(next.as_ref()).is_some_and(|(former, next)| former.shows_as(next)) {
            return;
        }
        let (former, next) = (former.map(with_names), next.map(with_names));
        self.swap_task(state, key, former, next, now, touched);
    }

    /// Replaces what was derived of a task by what is derived of it now.
    fn swap_task(
        &mut self,
        state: &mut ClusterState,
        key: &TaskKey,
        former: Option<(Derivation, TaskNames)>,
        next: Option<(Derivation, TaskNames)>,
        now: Timestamp,
        touched: &mut HashSet<ServiceId>,
    ) {
        if former.is_none() && next.is_none() {
            return;
        }
        let (former, former_names) = former.unzip();
        let (mut next, next_names) = next.unzip();
        if let Some(next) = &mut next {
            self.services.share(&self.table, next);
        }
        let (old, new) = (former.as_ref(), next.as_ref());
        self.swap_claims(state, old.map_or(&[], |d| &d.claims), new.map_or(&[], |d| &d.claims), now, touched);
        self.swap_endpoints(state, old, new, now, touched);
        let view = new.map(|next| next.view.clone());
        let old_named = old.map(|former| former.view.clone()).zip(former_names);
        let new_named = view.clone().zip(next_names);
        names::swap_task(&mut self.table, state, old_named.as_ref(), new_named.as_ref(), now);
        if old.is_some_and(|former| !former.problems.is_empty()) || new.is_some_and(|next| !next.problems.is_empty()) {
            self.set_problems(&key.to_string().into(), next.map(|next| next.problems).unwrap_or_default());
        }
        match view {
            Some(view) => drop(self.table.tasks.insert(key.clone(), view)),
            None => drop(self.table.tasks.remove(key)),
        }
    }

    fn swap_claims(
        &mut self,
        state: &mut ClusterState,
        old: &[task::ClaimDraft],
        new: &[task::ClaimDraft],
        now: Timestamp,
        touched: &mut HashSet<ServiceId>,
    ) {
        for claim in new.iter().filter(|claim| !old.contains(claim)) {
            touched.insert(claim.service.clone());
            self.claims.add(&mut self.table, &mut state.ledger, claim, now);
        }
        for claim in old.iter().filter(|claim| !new.contains(claim)) {
            touched.insert(claim.service.clone());
            self.claims.release(claim);
        }
    }

    fn swap_endpoints(
        &mut self,
        state: &ClusterState,
        old: Option<&Derivation>,
        new: Option<&Derivation>,
        now: Timestamp,
        touched: &mut HashSet<ServiceId>,
    ) {
        let config = state.config.clone();
        if let Some(new) = new {
            for draft in &new.endpoints {
                touched.insert(draft.service.clone());
                self.services.set(&mut self.table, draft, &new.view, &config, now);
            }
        }
        if let Some(old) = old {
            let stays = |draft: &task::EndpointDraft| {
                new.is_some_and(|new| new.endpoints.iter().any(|n| n.id == draft.id && n.service == draft.service))
            };
            for draft in old.endpoints.iter().filter(|draft| !stays(draft)) {
                touched.insert(draft.service.clone());
                self.services.remove(&mut self.table, &draft.service, &draft.id, &config);
            }
        }
    }

    fn update_declared(&mut self, state: &mut ClusterState, id: &ServiceId, now: Timestamp) {
        let config = state.config.clone();
        let claims = |declared: Option<&Arc<DeclaredService>>| {
            declared.map(|declared| declared_claims(declared, &config)).unwrap_or_default()
        };
        let declared = state.declared.get(id).and_then(|entry| entry.first()).cloned();
        // Made again rather than kept: there may be a million, and few are ever changed.
        let (old, new) = (claims(self.declared.get(id)), claims(declared.as_ref()));
        for claim in new.iter().filter(|claim| !old.contains(claim)) {
            self.claims.add(&mut self.table, &mut state.ledger, claim, now);
        }
        for claim in old.iter().filter(|claim| !new.contains(claim)) {
            self.claims.release(claim);
        }
        match declared {
            Some(declared) => drop(self.declared.insert(id.clone(), declared)),
            None => drop(self.declared.remove(id)),
        }
    }

    /// Takes over these apps, and those that have another port since these are as they are.
    fn update_apps(
        &mut self,
        state: &mut ClusterState,
        mut keys: Vec<TaskKey>,
        now: Timestamp,
        touched: &mut HashSet<ServiceId>,
    ) {
        for key in &keys {
            self.assigned.note(key, state.apps.get(key).and_then(|app| app.first()).map(|app| &**app));
        }
        let moved = self.assigned.settle();
        keys.extend(moved);
        for key in &keys {
            self.update_app(state, key, now, touched);
        }
    }

    /// Takes over what an app claims whether or not it has tasks.
    fn update_app(
        &mut self,
        state: &mut ClusterState,
        key: &TaskKey,
        now: Timestamp,
        touched: &mut HashSet<ServiceId>,
    ) {
        let task::Declared { claims: new, ports, problems } =
            declared_app(state, key, &self.assigned).unwrap_or_default();
        let old = self.apps.replace(key, new.clone(), ports, touched);
        self.swap_claims(state, &old, &new, now, touched);
        let subject: Arc<str> = key.to_string().into();
        if !problems.is_empty() || self.table.problems.get(&subject).is_some() {
            self.set_problems(&subject, problems);
        }
    }

    /// Brings services that were touched to rest: gone, retained or alive.
    fn settle(&mut self, state: &mut ClusterState, touched: &HashSet<ServiceId>, now: Timestamp) {
        for id in touched {
            let app = self.apps.of_service(id);
            let lives =
                app.is_some() || self.services.has_endpoints(&self.table, id) || state.declared.contains_key(id);
            self.claims.settle(&mut self.table, state, id, lives, now);
            self.services.settle(&mut self.table, state, id, lives);
            if let Some(app) = app {
                self.services.declare(&mut self.table, state, app);
            }
            self.claims.set_guests(&self.table, id);
            self.services.split(&mut self.table, id);
            self.services.turn_ring(&mut self.table, id, &state.config);
            // An order ends with its service.
            if self.table.services.get(id).is_none() && state.weights.remove(id) {
                self.table.weights = state.weights.clone();
            }
        }
        self.claims.set_faults(&self.table, &state.port_faults);
        for (subject, problems) in self.claims.take_problems() {
            self.set_problems(&subject, problems);
        }
    }

    fn update_names(&mut self, state: &mut ClusterState, changes: &Changes) {
        let clusters = changes.agents.iter().chain(&changes.frameworks).chain(&changes.masters);
        for cluster in clusters.collect::<BTreeSet<_>>() {
            names::refresh_cluster(&mut self.table, state, cluster);
            self.judge_frameworks(state, cluster);
        }
        for (cluster, text) in &changes.names {
            names::forget(&mut self.table, state, cluster, text);
        }
        if !changes.records.is_empty() {
            let ill_zones = names::refresh_records(&mut self.table, state);
            self.judge_records(ill_zones);
        }
        if changes.sources {
            names::refresh_readiness(&mut self.table, state);
        }
    }

    /// Says what is wrong with the names of frameworks.
    fn judge_frameworks(&mut self, state: &ClusterState, cluster: &ClusterName) {
        let found = names::framework_problems(state, cluster);
        let former = self.ill_named.insert(cluster.clone(), found.keys().cloned().collect()).unwrap_or_default();
        for subject in former.into_iter().filter(|subject| !found.contains_key(subject)) {
            self.set_problems(&subject, Vec::new());
        }
        for (subject, problems) in found {
            self.set_problems(&subject, problems);
        }
    }

    /// Says what is wrong with records that files have together.
    fn judge_records(&mut self, found: BTreeMap<Arc<str>, Vec<Problem>>) {
        let former = std::mem::replace(&mut self.ill_zones, found.keys().cloned().collect());
        for subject in former.into_iter().filter(|subject| !found.contains_key(subject)) {
            self.set_problems(&subject, Vec::new());
        }
        for (subject, problems) in found {
            self.set_problems(&subject, problems);
        }
    }

    /// Says what is wrong with files of this program's own.
    fn judge_files(&mut self, state: &ClusterState) {
        let mut found: BTreeMap<Arc<str>, Vec<Problem>> = BTreeMap::new();
        for problem in &state.file_faults {
            found.entry(problem.subject.clone()).or_default().push(problem.clone());
        }
        let former = std::mem::replace(&mut self.ill_files, found.keys().cloned().collect());
        // The digest is of the cluster: files are this instance's own.
        for subject in former.into_iter().filter(|subject| !found.contains_key(subject)) {
            self.table.problems.remove(&subject);
        }
        for (subject, problems) in found {
            self.table.problems.insert(subject, problems.into());
        }
    }

    fn set_problems(&mut self, subject: &Arc<str>, problems: Vec<Problem>) {
        let problems: Arc<[Problem]> = problems.into();
        let former = match problems.is_empty() {
            true => self.table.problems.remove(subject),
            false => self.table.problems.insert(subject.clone(), problems.clone()),
        };
        let digest = |list: &[Problem]| list.iter().map(digest::problem).fold(0, u64::wrapping_add);
        self.table.digest =
            self.table.digest.wrapping_sub(former.as_deref().map_or(0, digest)).wrapping_add(digest(&problems));
    }
}

impl TaskView {
    /// What this view was derived from.
    pub(crate) fn inputs<'a>(&self, config: &'a Config) -> Inputs<'a> {
        Inputs {
            facts: self.facts.clone(),
            agent: self.agent.clone(),
            framework: self.framework.clone(),
            source: self.source,
            verdicts: self.verdicts.clone(),
            drained: self.drained,
            config,
        }
    }
}

/// All tasks in the order that every instance has, without comparing texts: who is first names a service's routes. Tasks
/// of one name stand together, so that what they share is found where it was left a moment ago.
fn in_order(state: &ClusterState) -> Vec<TaskKey> {
    let place = |key: &TaskKey| {
        let name = state.task(key).map_or(0, |facts| stable_hash(&*facts.definition.name));
        (name, key.stable_hash(), key.clone())
    };
    let mut keys: Vec<(u64, u64, TaskKey)> = state.tasks.keys().map(place).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, _, key)| key).collect()
}

/// A task's part of the table as the state has it, and of its names.
fn derived(state: &ClusterState, key: &TaskKey) -> Option<(Derivation, TaskNames)> {
    let inputs = inputs(state, key)?;
    let said = Said::read(&inputs.facts.definition, inputs.config);
    let derived = derive(&inputs, &said);
    let names = TaskNames::of(&derived.view, inputs.config);
    Some((derived, names))
}

/// What a task is derived from.
fn inputs<'a>(state: &'a ClusterState, key: &TaskKey) -> Option<Inputs<'a>> {
    let facts = state.task(key)?;
    let agent = facts.agent.as_ref().and_then(|id| state.agent(key.cluster(), id)).cloned();
    let framework = state.framework(key.cluster(), key.framework()).cloned();
    let source = state.kind_of(key).unwrap_or(SourceKind::Mesos);
    let verdicts = state.verdicts.get(key).cloned();
    let drained = state.drains.covers(&facts);
    Some(Inputs { facts, agent, framework, source, verdicts, drained, config: &state.config })
}

/// What an app claims, as a task of it would that is not placed yet.
fn declared_app(state: &ClusterState, key: &TaskKey, assigned: &Assigned) -> Option<task::Declared> {
    let app = state.apps.get(key)?.first()?;
    let inputs = Inputs {
        facts: Arc::new(app.unplaced_task()),
        agent: None,
        framework: state.framework(key.cluster(), key.framework()).cloned(),
        source: SourceKind::Marathon,
        verdicts: None,
        drained: false,
        config: &state.config,
    };
    let said = Said::read(&app.definition, inputs.config);
    Some(task::declared(&inputs, &said, |index| assigned.port(key, index)))
}

/// The claims of a declaration: its labels are read as those of a task with the one port.
fn declared_claims(declared: &DeclaredService, config: &Config) -> Vec<task::ClaimDraft> {
    let spec = crate::labels::read_declared(&declared.labels, declared.id.port(), &config.routing.groups).spec;
    let ports = spec.ports.iter().filter(|said| said.enabled);
    let routes = ports.flat_map(|said| &said.routes);
    routes
        .flat_map(|route| {
            route.hosts.iter().map(move |host| task::ClaimDraft {
                service: declared.id.clone(),
                name: route.name.clone(),
                place: Place::of_route(host.clone(), route.path.clone(), route.refined.clone()),
                priority: route.priority,
                actions: route.actions.clone(),
            })
        })
        .collect()
}

/// The name of a framework, for people; its id where the name is not known.
pub(crate) fn framework_name(view: &TaskView) -> Arc<str> {
    let unknown = |id: &FrameworkId| id.shared();
    view.framework.as_ref().map_or_else(|| unknown(view.facts.key.framework()), |framework| framework.name.clone())
}
