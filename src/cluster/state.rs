//! The state of the clusters: facts by source, and the rules by which events change them.
//!
//! Pure: the caller passes `now`. Invariants:
//! - only explicit events, authoritative snapshots and deadlines remove a task; absence alone goes through
//!   [`super::guard`], and not at all while the task's agent is still to come back after a failover;
//! - a lost source changes nothing but its own state;
//! - what an older stream says after a newer one has spoken is ignored.
//!
//! Not here: what the facts mean for names and routes (see the table's derivation).

mod agents;
mod commands;
mod deadlines;
mod declared;
mod deployments;
mod frameworks;
mod retime;
mod snapshots;
mod tasks;

use crate::model::hash::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::by_source::{BySource, SourceRank, merge_tasks};
use super::change::Changes;
use super::deadline::Deadlines;
use super::event::{ClusterEvent, DeclaredApp, DeclaredService, Fact, HostAddresses, SourceEvent};
use super::ledger::Ledger;
use super::source::{IncomingSnapshot, PROBLEMS, Source, SourceKind};
use super::status::{SourceState, SourceStatus};
use crate::config::Config;
use crate::config::checked::GuardConfig;
use crate::model::agent::AgentFacts;
use crate::model::check::Verdicts;
use crate::model::drain::Drains;
use crate::model::framework::FrameworkFacts;
use crate::model::id::{AgentId, ClusterName, FrameworkId, ServiceId, SourceName, TaskKey};
use crate::model::persistent::PersistentMap;
use crate::model::problem::Problem;
use crate::model::task::TaskFacts;
use crate::model::time::Timestamp;
use crate::model::weights::Weights;

/// Everything that is known, and nothing that is derived.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    pub(crate) config: Arc<Config>,
    /// Sources by name.
    pub(crate) sources: BTreeMap<SourceName, Source>,
    /// Names by rank.
    ranks: Vec<SourceName>,
    pub(crate) tasks: PersistentMap<TaskKey, BySource<TaskFacts>>,
    pub(crate) agents: PersistentMap<(ClusterName, AgentId), BySource<AgentFacts>>,
    pub(crate) frameworks: PersistentMap<(ClusterName, FrameworkId), BySource<FrameworkFacts>>,
    pub(crate) declared: PersistentMap<ServiceId, BySource<DeclaredService>>,
    /// Apps that exist with or without tasks.
    pub(crate) apps: PersistentMap<TaskKey, BySource<DeclaredApp>>,
    /// What active checks say of tasks.
    pub(crate) verdicts: PersistentMap<TaskKey, Arc<Verdicts>>,
    /// What operators took out of service.
    pub(crate) drains: Drains,
    /// Shares of versions that operators ordered.
    pub(crate) weights: Weights,
    agent_counts: HashMap<ClusterName, usize>,
    by_agent: HashMap<(ClusterName, AgentId), HashSet<TaskKey>>,
    by_framework: HashMap<(ClusterName, FrameworkId), HashSet<TaskKey>>,
    /// Agents that are gone while tasks still need their address.
    leaving: HashSet<(ClusterName, AgentId)>,
    pub(crate) ledger: Ledger,
    pub(crate) deadlines: Deadlines,
    /// Addresses of hosts that schedulers are known by alone.
    pub(crate) hosts: Arc<HostAddresses>,
    /// Ports of services that cannot be listened on, and why.
    pub(crate) port_faults: BTreeMap<u16, Arc<str>>,
    /// What is wrong with files of this program's own.
    pub(crate) file_faults: Vec<Problem>,
    /// Facts ignored because a newer stream has spoken, statuses of unknown tasks, facts of unknown sources, deployments that
    /// there is no room for and ends of unknown ones.
    pub(crate) ignored: u64,
    /// When the stored state was taken that this one began with.
    pub(crate) taken_at: Option<Timestamp>,
}

impl ClusterState {
    /// A state in which nothing is known.
    pub fn new(config: Arc<Config>, now: Timestamp) -> Self {
        let mut state = Self::default();
        state.configure(config, now, &mut Changes::default());
        state
    }

    /// Applies one event and notes in `changes` what it changed.
    pub fn apply(&mut self, event: ClusterEvent, now: Timestamp, changes: &mut Changes) {
        changes.events += 1;
        match event {
            ClusterEvent::Source(event) => self.apply_source(event, now, changes),
            ClusterEvent::Configured(config) => self.configure(config, now, changes),
            ClusterEvent::Command(command) => self.obey(command, now, changes),
            ClusterEvent::PortFaults(faults) => {
                if faults != self.port_faults {
                    changes.cause(|| format!("ports that cannot be listened on: {}", faults.len()));
                    changes.ports = true;
                    self.port_faults = faults;
                }
            }
            ClusterEvent::FileFaults(faults) => {
                if faults != self.file_faults {
                    changes.cause(|| format!("files that cannot be used: {}", faults.len()));
                    changes.files = true;
                    self.file_faults = faults;
                }
            }
            ClusterEvent::HostsFound(hosts) => {
                if hosts != self.hosts {
                    changes.cause(|| format!("hosts of schedulers that are found: {}", hosts.len()));
                    changes.frameworks.extend(self.config.mesos.iter().map(|mesos| mesos.cluster.clone()));
                    self.hosts = hosts;
                }
            }
            ClusterEvent::Checked(reports) => reports.into_iter().for_each(|report| self.check(report, changes)),
            ClusterEvent::DeadlineReached => {}
        }
        self.apply_deadlines(now, changes);
    }

    /// The facts without what they are looked up by, to read while this state changes: costs nothing that grows with
    /// the cluster.
    pub(crate) fn facts_alone(&self) -> Self {
        Self {
            config: self.config.clone(),
            sources: self.sources.clone(),
            ranks: self.ranks.clone(),
            tasks: self.tasks.clone(),
            agents: self.agents.clone(),
            frameworks: self.frameworks.clone(),
            declared: self.declared.clone(),
            apps: self.apps.clone(),
            verdicts: self.verdicts.clone(),
            drains: self.drains.clone(),
            weights: self.weights.clone(),
            ..Self::default()
        }
    }

    /// When the next deadline is.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// The merged facts of a task. Where Mesos tells of a cluster, a task exists that Mesos tells of: what Marathon alone
    /// still says of one is left over, or early.
    pub fn task(&self, key: &TaskKey) -> Option<Arc<TaskFacts>> {
        let facts = self.tasks.get(key)?;
        if self.kind_of(key) == Some(SourceKind::Marathon) && self.mesos_tells(key.cluster()) {
            return None;
        }
        merge_tasks(facts)
    }

    /// Whether a Mesos source has told once what runs in the cluster.
    fn mesos_tells(&self, cluster: &ClusterName) -> bool {
        let told = |source: &Source| source.kind == SourceKind::Mesos && source.complete && source.cluster == *cluster;
        self.sources.values().any(told)
    }

    /// The facts of an agent.
    pub fn agent(&self, cluster: &ClusterName, id: &AgentId) -> Option<&Arc<AgentFacts>> {
        self.agents.get(&(cluster.clone(), id.clone()))?.first()
    }

    /// The facts of a framework.
    pub fn framework(&self, cluster: &ClusterName, id: &FrameworkId) -> Option<&Arc<FrameworkFacts>> {
        self.frameworks.get(&(cluster.clone(), id.clone()))?.first()
    }

    /// The kind of the source that a task's facts come from in the first place.
    pub fn kind_of(&self, key: &TaskKey) -> Option<SourceKind> {
        let rank = self.tasks.get(key)?.first_rank()?;
        self.sources.get(self.ranks.get(usize::from(rank))?).map(|source| source.kind)
    }

    /// The sources' state, in the order of the configuration.
    pub fn statuses(&self) -> Arc<[SourceStatus]> {
        self.ranks.iter().filter_map(|name| Some(self.status(name, self.sources.get(name)?))).collect()
    }

    fn status(&self, name: &SourceName, source: &Source) -> SourceStatus {
        let agents = self.agent_counts.get(&source.cluster).copied().unwrap_or(0);
        SourceStatus {
            name: name.clone(),
            kind: source.kind.as_str(),
            state: source.state,
            since: source.since,
            error: source.error.clone(),
            complete: source.complete,
            tasks: source.tasks,
            agents,
            recovered_agents: source.recovered.len(),
            held: source.held.as_ref().map(|held| held.show(&self.guard(name))),
        }
    }

    /// Whether every source has spoken once.
    pub fn is_complete(&self) -> bool {
        self.sources.values().all(|source| source.complete)
    }

    /// Whether any source has spoken once: before that there is nothing to answer from.
    pub fn is_partly_complete(&self) -> bool {
        self.sources.is_empty() || self.sources.values().any(|source| source.complete)
    }

    /// Facts that were ignored, ever.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    pub(crate) fn rank(&self, name: &SourceName) -> Option<SourceRank> {
        self.ranks.iter().position(|known| known == name).and_then(|at| SourceRank::try_from(at).ok())
    }

    pub(crate) fn ranks(&self) -> &[SourceName] {
        &self.ranks
    }

    fn guard(&self, name: &SourceName) -> GuardConfig {
        guard_of(&self.config, name)
    }

    fn configure(&mut self, config: Arc<Config>, now: Timestamp, changes: &mut Changes) {
        let mut wanted: Vec<(SourceName, SourceKind, ClusterName)> = Vec::new();
        wanted.extend(config.mesos.iter().map(|m| (m.name.clone(), SourceKind::Mesos, m.cluster.clone())));
        wanted.extend(config.marathon.iter().map(|m| (m.name.clone(), SourceKind::Marathon, m.cluster.clone())));
        wanted.extend(config.files.iter().map(|f| (f.name.clone(), SourceKind::File, f.name.as_str().into())));
        let former = std::mem::take(&mut self.ranks);
        self.ranks = wanted.iter().map(|(name, _, _)| name.clone()).collect();
        let mut gone: HashSet<SourceName> = former.iter().filter(|name| !self.ranks.contains(name)).cloned().collect();
        for (name, kind, cluster) in &wanted {
            let known = self.sources.get(name).is_some_and(|s| s.kind == *kind && s.cluster == *cluster);
            // A source that changed its kind or its cluster is another one.
            if !known && self.sources.insert(name.clone(), Source::new(*kind, cluster.clone(), now)).is_some() {
                gone.insert(name.clone());
            }
        }
        self.sources.retain(|name, _| self.ranks.contains(name));
        if (former != self.ranks || !gone.is_empty()) && !former.is_empty() {
            self.rerank(&former, &gone);
        }
        let former = std::mem::replace(&mut self.config, config);
        self.retime(&former);
        changes.everything = true;
        changes.sources = true;
        changes.cause(|| "configuration applied".into());
    }

    /// Translates ranks after sources came or went; what a removed source said is forgotten: the operator said so.
    fn rerank(&mut self, former: &[SourceName], gone: &HashSet<SourceName>) {
        let rank = |old: SourceRank| {
            let name = former.get(usize::from(old)).filter(|name| !gone.contains(*name))?;
            self.ranks.iter().position(|known| known == name).and_then(|at| SourceRank::try_from(at).ok())
        };
        self.tasks = rerank_all(&self.tasks, &rank);
        self.agents = rerank_all(&self.agents, &rank);
        self.frameworks = rerank_all(&self.frameworks, &rank);
        self.declared = rerank_all(&self.declared, &rank);
        self.apps = rerank_all(&self.apps, &rank);
        self.drains.retain_tasks(|key| self.tasks.contains_key(key));
        self.index();
    }

    /// Builds the indexes anew from the facts.
    pub(crate) fn index(&mut self) {
        self.by_agent.clear();
        self.by_framework.clear();
        self.agent_counts.clear();
        for (cluster, _) in self.agents.keys() {
            *self.agent_counts.entry(cluster.clone()).or_default() += 1;
        }
        for source in self.sources.values_mut() {
            source.tasks = 0;
        }
        for (key, facts) in self.tasks.iter() {
            for (rank, _) in facts.iter() {
                if let Some(source) = self.ranks.get(usize::from(rank)).and_then(|name| self.sources.get_mut(name)) {
                    source.tasks += 1;
                }
            }
            if let Some(facts) = facts.first() {
                let framework = (key.cluster().clone(), key.framework().clone());
                self.by_framework.entry(framework).or_default().insert(key.clone());
                if let Some(agent) = &facts.agent {
                    self.by_agent.entry((key.cluster().clone(), agent.clone())).or_default().insert(key.clone());
                }
            }
        }
    }

    fn apply_source(&mut self, event: SourceEvent, now: Timestamp, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(&event.source) else {
            self.ignored += event.facts.len() as u64;
            return;
        };
        if event.stream < source.stream {
            self.ignored += event.facts.len() as u64;
            return;
        }
        if event.stream > source.stream {
            source.stream = event.stream;
            source.snapshot = None;
        }
        for fact in event.facts {
            self.apply_fact(&event.source, fact, now, changes);
        }
    }

    fn apply_fact(&mut self, name: &SourceName, fact: Fact, now: Timestamp, changes: &mut Changes) {
        match fact {
            Fact::Live => self.set_source_state(name, SourceState::Live, None, now, changes),
            Fact::Lost { error } => {
                changes.cause(|| format!("{name}: lost: {error}"));
                self.set_source_state(name, SourceState::Stale, Some(error), now, changes);
            }
            Fact::SnapshotStarted => {
                if let Some(source) = self.sources.get_mut(name) {
                    source.snapshot = Some(IncomingSnapshot::default());
                }
            }
            Fact::SnapshotFinished(scope) => self.finish_snapshot(name, &scope, now, changes),
            Fact::Task(facts) => self.set_task(name, *facts, now, changes),
            Fact::Status(status) => {
                let known = self.rank(name).and_then(|rank| self.tasks.get(&status.key)?.of(rank));
                match known {
                    Some(facts) => {
                        let mut facts = (**facts).clone();
                        facts.apply(&status);
                        self.set_task(name, facts, now, changes);
                    }
                    None => self.ignored += 1,
                }
            }
            Fact::TaskUnreadable(key) => self.confirm(name, &key, changes),
            Fact::TaskGone(key) => self.remove_task(name, &key, "withdrawn", changes),
            Fact::Agent(facts) => {
                self.notice_return(name, &facts, now, changes);
                self.set_agent(name, *facts, changes);
            }
            Fact::AgentGone(id) => {
                self.lose_unconfirmed(name, &id, now, changes);
                self.remove_agent(name, &id, changes);
            }
            Fact::AgentsListed(agents) => self.list_agents(name, agents, changes),
            Fact::Framework(facts) => self.set_framework(name, *facts, changes),
            Fact::FrameworkGone(id) => self.remove_framework(name, &id, changes),
            Fact::Masters(masters) => self.set_masters(name, masters, changes),
            Fact::Declared(declared) => self.declare(name, *declared, changes),
            Fact::App(app) => self.declare_app(name, *app, changes),
            Fact::AppGone(key) => self.forget_app(name, &key, changes),
            Fact::Deployment(deployment) => self.set_deployment(name, *deployment, changes),
            Fact::DeploymentOver { id, end } => self.end_deployment(name, &id, end, changes),
            Fact::DeploymentsListed { deployments, unread } => {
                self.list_deployments(name, deployments, &unread, now, changes);
            }
            Fact::Records(records) => {
                if let Some(source) = self.sources.get_mut(name)
                    && source.records != records
                {
                    source.records = records;
                    changes.records.insert(name.clone());
                }
            }
            Fact::Problem(problem) => {
                if let Some(source) = self.sources.get_mut(name) {
                    if let Some(snapshot) = &mut source.snapshot {
                        keep_problem(&mut snapshot.problems, (*problem).clone());
                    }
                    // A source that is read again and again says the same each time.
                    if !source.problems.contains(&problem) {
                        keep_problem(&mut source.problems, *problem);
                        changes.problems.insert(name.clone());
                    }
                }
            }
        }
    }

    fn set_source_state(
        &mut self,
        name: &SourceName,
        state: SourceState,
        error: Option<Arc<str>>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if state != SourceState::Live {
            source.snapshot = None;
        }
        if source.state == state && source.error == error {
            return;
        }
        if source.state != state {
            source.since = now;
            changes.cause(|| format!("{name}: {}", state.as_str()));
        }
        source.state = state;
        source.error = error;
        changes.sources = true;
    }
}

/// When removals of this source that are only implied are held back.
fn guard_of(config: &Config, name: &SourceName) -> GuardConfig {
    config.mesos.iter().find(|mesos| mesos.name == *name).map(|mesos| mesos.guard.clone()).unwrap_or_default()
}

fn keep_problem(problems: &mut Vec<Problem>, problem: Problem) {
    problems.retain(|known| *known != problem);
    if problems.len() >= PROBLEMS {
        problems.remove(0);
    }
    problems.push(problem);
}

fn rerank_all<K, T>(
    map: &PersistentMap<K, BySource<T>>,
    rank: &impl Fn(SourceRank) -> Option<SourceRank>,
) -> PersistentMap<K, BySource<T>>
where
    K: std::hash::Hash + Eq + Clone,
    T: PartialEq + Clone,
{
    map.iter()
        .filter_map(|(key, entry)| {
            let mut entry = entry.clone();
            entry.rerank(rank);
            (!entry.is_empty()).then(|| (key.clone(), entry))
        })
        .collect()
}
