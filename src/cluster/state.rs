//! The state of the clusters: facts by source, and the rules by which events change them.
//!
//! Pure: the caller passes `now`. Invariants:
//! - only explicit events, authoritative snapshots and deadlines remove a task; absence alone goes through
//!   [`super::guard`], and not at all while the task's agent is still to come back after a failover;
//! - a lost source changes nothing but its own state;
//! - what an older stream says after a newer one has spoken is ignored.
//!
//! Not here: what the facts mean for names and routes (see the table's derivation).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::by_source::{BySource, SourceRank, merge_tasks};
use super::change::Changes;
use super::deadline::{Deadline, Deadlines};
use super::event::{ClusterEvent, Command, DeclaredService, Fact, SnapshotScope, SourceEvent};
use super::guard::{self, SnapshotView, Verdict};
use super::ledger::Ledger;
use super::source::{IncomingSnapshot, PROBLEMS, Source, SourceKind};
use super::status::{SourceState, SourceStatus};
use crate::config::Config;
use crate::config::checked::GuardConfig;
use crate::model::agent::AgentFacts;
use crate::model::check::{CheckReport, Verdicts};
use crate::model::framework::FrameworkFacts;
use crate::model::id::{AgentId, ClusterName, FrameworkId, ServiceId, SourceName, TaskKey};
use crate::model::persistent::PersistentMap;
use crate::model::problem::Problem;
use crate::model::task::{Health, TaskFacts, TaskState};
use crate::model::time::Timestamp;

/// Agents that came back have this long to announce their tasks: those of a framework that the new leader did not
/// know come after AGENT_ADDED.
const ANNOUNCE_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// Everything that is known, and nothing that is derived.
#[derive(Clone, Debug)]
pub struct ClusterState {
    pub(crate) config: Arc<Config>,
    /// Sources by name.
    pub(crate) sources: BTreeMap<SourceName, Source>,
    /// Names by rank.
    ranks: Vec<SourceName>,
    pub(crate) tasks: PersistentMap<TaskKey, Arc<BySource<TaskFacts>>>,
    pub(crate) agents: PersistentMap<(ClusterName, AgentId), Arc<BySource<AgentFacts>>>,
    pub(crate) frameworks: PersistentMap<(ClusterName, FrameworkId), Arc<BySource<FrameworkFacts>>>,
    pub(crate) declared: PersistentMap<ServiceId, Arc<BySource<DeclaredService>>>,
    /// What active checks say of tasks.
    pub(crate) verdicts: PersistentMap<TaskKey, Arc<Verdicts>>,
    agent_counts: HashMap<ClusterName, usize>,
    by_agent: HashMap<(ClusterName, AgentId), HashSet<TaskKey>>,
    by_framework: HashMap<(ClusterName, FrameworkId), HashSet<TaskKey>>,
    /// Agents that are gone while tasks still need their address.
    leaving: HashSet<(ClusterName, AgentId)>,
    pub(crate) ledger: Ledger,
    pub(crate) deadlines: Deadlines,
    /// Ports of services that cannot be listened on, and why.
    pub(crate) port_faults: BTreeMap<u16, Arc<str>>,
    /// Facts ignored because a newer stream has spoken, statuses of unknown tasks, facts of unknown sources.
    pub(crate) ignored: u64,
}

impl ClusterState {
    /// A state in which nothing is known.
    pub fn new(config: Arc<Config>, now: Timestamp) -> Self {
        let mut state = Self {
            config: Arc::new(Config::default()),
            sources: BTreeMap::new(),
            ranks: Vec::new(),
            tasks: PersistentMap::new(),
            agents: PersistentMap::new(),
            frameworks: PersistentMap::new(),
            declared: PersistentMap::new(),
            verdicts: PersistentMap::new(),
            agent_counts: HashMap::new(),
            by_agent: HashMap::new(),
            by_framework: HashMap::new(),
            leaving: HashSet::new(),
            ledger: Ledger::default(),
            deadlines: Deadlines::default(),
            port_faults: BTreeMap::new(),
            ignored: 0,
        };
        state.configure(config, now, &mut Changes::default());
        state
    }

    /// Applies one event and notes in `changes` what it changed.
    pub fn apply(&mut self, event: ClusterEvent, now: Timestamp, changes: &mut Changes) {
        changes.events += 1;
        match event {
            ClusterEvent::Source(event) => self.apply_source(event, now, changes),
            ClusterEvent::Configured(config) => self.configure(config, now, changes),
            ClusterEvent::Command(Command::AcceptRemovals { source, actor }) => {
                changes.cause(|| format!("{source}: held removals accepted by {actor}"));
                self.release_held(&source, now, changes);
            }
            ClusterEvent::PortFaults(faults) => {
                if faults != self.port_faults {
                    changes.cause(|| format!("ports that cannot be listened on: {}", faults.len()));
                    changes.ports = true;
                    self.port_faults = faults;
                }
            }
            ClusterEvent::Checked(reports) => reports.into_iter().for_each(|report| self.check(report, changes)),
            ClusterEvent::DeadlineReached => {}
        }
        self.apply_deadlines(now, changes);
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
            tasks: source.tasks.len(),
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
        self.config.mesos.iter().find(|mesos| mesos.name == *name).map(|mesos| mesos.guard.clone()).unwrap_or_default()
    }

    // --- configuration

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
        self.config = config;
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
            source.tasks.clear();
        }
        for (key, facts) in self.tasks.iter() {
            for (rank, _) in facts.iter() {
                if let Some(source) = self.ranks.get(usize::from(rank)).and_then(|name| self.sources.get_mut(name)) {
                    source.tasks.insert(key.clone());
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

    // --- facts

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

    // --- tasks

    fn set_task(&mut self, name: &SourceName, mut facts: TaskFacts, now: Timestamp, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let key = facts.key.clone();
        self.confirm(name, &key, changes);
        if facts.state.is_final() {
            self.remove_task(name, &key, "ended", changes);
            return;
        }
        let entry = self.tasks.get(&key).cloned();
        let before = entry.as_ref().and_then(|entry| entry.of(rank)).cloned();
        // A whole task whose statuses say nothing of health keeps the last verdict (Mesos drops it in KILLING); one that
        // is only being launched is another task under the same id.
        if let Some(before) = &before
            && facts.health == Health::Unknown
            && !matches!(facts.state, TaskState::Staging | TaskState::Starting)
        {
            facts.health = before.health;
        }
        if before.as_deref() == Some(&facts) {
            return;
        }
        changes.cause(|| describe(name, &key, before.as_deref(), &facts));
        if facts.state.is_away() && before.as_ref().is_none_or(|before| !before.state.is_away()) {
            // One that is met for the first time has been away for as long as the source says: masters list lost tasks
            // for weeks. For one that was here, the source's clock must not cut the time short.
            let since = facts.unreachable_since.filter(|since| before.is_none() && *since < now).unwrap_or(now);
            let until = since.plus(self.config.routing.unreachable_keep);
            if until <= now {
                self.remove_task(name, &key, "unreachable for too long", changes);
                return;
            }
            self.deadlines.set(until, Deadline::Unreachable(name.clone(), key.clone()));
        }
        self.move_indexes(&key, before.as_ref().and_then(|b| b.agent.as_ref()), facts.agent.as_ref(), changes);
        let mut entry = entry.map(Arc::unwrap_or_clone).unwrap_or_default();
        entry.set(rank, Arc::new(facts));
        self.tasks.insert(key.clone(), Arc::new(entry));
        if let Some(source) = self.sources.get_mut(name)
            && source.tasks.insert(key.clone())
        {
            changes.sources |= source.tasks.len() == 1;
        }
        changes.tasks.insert(key);
    }

    /// The source has spoken of the task in its present stream: it is neither absent nor held.
    fn confirm(&mut self, name: &SourceName, key: &TaskKey, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if let Some(snapshot) = &mut source.snapshot {
            snapshot.tasks.insert(key.clone());
        }
        source.unconfirmed.remove(key);
        if let Some(held) = &mut source.held
            && held.tasks.remove(key)
        {
            changes.sources = true;
            if held.tasks.is_empty() {
                source.held = None;
            }
        }
    }

    fn remove_task(&mut self, name: &SourceName, key: &TaskKey, why: &str, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        if let Some(source) = self.sources.get_mut(name) {
            source.tasks.remove(key);
            source.unconfirmed.remove(key);
        }
        let Some(entry) = self.tasks.get(key) else { return };
        let mut entry = (**entry).clone();
        let agent = entry.of(rank).and_then(|facts| facts.agent.clone());
        if !entry.forget(rank) {
            return;
        }
        changes.cause(|| format!("{name}: task {} {why}", key.task()));
        changes.tasks.insert(key.clone());
        if entry.is_empty() {
            self.tasks.remove(key);
            self.verdicts.remove(key);
            self.move_indexes(key, agent.as_ref(), None, changes);
            let framework = (key.cluster().clone(), key.framework().clone());
            if let Some(tasks) = self.by_framework.get_mut(&framework) {
                tasks.remove(key);
                if tasks.is_empty() {
                    self.by_framework.remove(&framework);
                }
            }
        } else {
            self.tasks.insert(key.clone(), Arc::new(entry));
        }
    }

    fn move_indexes(&mut self, key: &TaskKey, from: Option<&AgentId>, to: Option<&AgentId>, changes: &mut Changes) {
        let framework = (key.cluster().clone(), key.framework().clone());
        self.by_framework.entry(framework).or_default().insert(key.clone());
        if from == to && to.is_some() {
            return;
        }
        if let Some(agent) = from {
            let place = (key.cluster().clone(), agent.clone());
            if let Some(tasks) = self.by_agent.get_mut(&place) {
                tasks.remove(key);
                if tasks.is_empty() {
                    self.by_agent.remove(&place);
                    if self.leaving.remove(&place) {
                        changes.agents.insert(place.0.clone());
                        changes.sources = true;
                        self.forget_agent(&place);
                    }
                }
            }
        }
        if let Some(agent) = to {
            self.by_agent.entry((key.cluster().clone(), agent.clone())).or_default().insert(key.clone());
        }
    }

    // --- agents, frameworks, masters

    /// The stream says that an agent is registered: from here on it says which tasks the agent has. Lists of agents are
    /// asked for beside the stream and may be ahead of it, so they begin no such time.
    fn notice_return(&mut self, name: &SourceName, facts: &AgentFacts, now: Timestamp, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if facts.recovered {
            return;
        }
        if let Some(snapshot) = &mut source.snapshot {
            snapshot.agents.insert(facts.id.clone());
        }
        if source.recovered.remove(&facts.id) {
            changes.sources = true;
            let returned = Deadline::AgentReturned(name.clone(), facts.id.clone());
            self.deadlines.set(now.plus(ANNOUNCE_TIME), returned);
        }
    }

    fn set_agent(&mut self, name: &SourceName, facts: AgentFacts, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let place = (facts.cluster.clone(), facts.id.clone());
        self.leaving.remove(&place);
        let mut entry = self.agents.get(&place).map(|entry| (**entry).clone()).unwrap_or_default();
        let mut facts = facts;
        if facts.recovered
            && let Some(known) = entry.of(rank)
        {
            // A recovered agent is listed without its pid: what was known of it holds until it is back, also where its
            // host name looks like an address.
            facts.address = known.address.or(facts.address);
            facts.port = known.port.or(facts.port);
        }
        if !entry.set(rank, Arc::new(facts)) {
            return;
        }
        if let Some(tasks) = self.by_agent.get(&place) {
            changes.tasks.extend(tasks.iter().cloned());
        }
        changes.agents.insert(place.0.clone());
        changes.cause(|| format!("{name}: agent {}", place.1));
        if self.agents.insert(place.clone(), Arc::new(entry)).is_none() {
            *self.agent_counts.entry(place.0).or_default() += 1;
            changes.sources = true;
        }
    }

    fn remove_agent(&mut self, name: &SourceName, id: &AgentId, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        let place = (source.cluster.clone(), id.clone());
        source.recovered.remove(id);
        if !self.agents.contains_key(&place) {
            return;
        }
        changes.cause(|| format!("{name}: agent {id} gone"));
        changes.agents.insert(place.0.clone());
        changes.sources = true;
        if self.by_agent.contains_key(&place) {
            self.leaving.insert(place);
        } else {
            self.forget_agent(&place);
        }
    }

    /// An agent unregistered before it had announced its tasks to the present leader: they are as lost as those of
    /// which the master says so.
    fn lose_unconfirmed(&mut self, name: &SourceName, id: &AgentId, now: Timestamp, changes: &mut Changes) {
        let (Some(rank), Some(source)) = (self.rank(name), self.sources.get(name)) else { return };
        let on_agent = self.by_agent.get(&(source.cluster.clone(), id.clone()));
        let keys = on_agent.into_iter().flatten().filter(|key| source.unconfirmed.contains(*key));
        let lost: Vec<TaskFacts> = keys
            .filter_map(|key| self.tasks.get(key)?.of(rank))
            .map(|facts| TaskFacts { state: TaskState::Lost, ..(**facts).clone() })
            .collect();
        for facts in lost {
            self.set_task(name, facts, now, changes);
        }
    }

    fn forget_agent(&mut self, place: &(ClusterName, AgentId)) {
        if self.agents.remove(place).is_some()
            && let Some(count) = self.agent_counts.get_mut(&place.0)
        {
            *count = count.saturating_sub(1);
        }
    }

    fn list_agents(&mut self, name: &SourceName, agents: Vec<AgentFacts>, changes: &mut Changes) {
        let Some(source) = self.sources.get(name) else { return };
        let cluster = source.cluster.clone();
        let listed: HashSet<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
        let silent: Vec<AgentId> = self
            .agents
            .keys()
            .filter(|(of, id)| *of == cluster && !listed.contains(id) && !source.recovered.contains(id))
            .map(|(_, id)| id.clone())
            .collect();
        // A list without any agent where some were known is doubted like an empty snapshot.
        if agents.is_empty() && !silent.is_empty() {
            return;
        }
        for facts in agents {
            self.set_agent(name, facts, changes);
        }
        for id in silent {
            self.remove_agent(name, &id, changes);
        }
    }

    fn set_framework(&mut self, name: &SourceName, facts: FrameworkFacts, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let place = (facts.cluster.clone(), facts.id.clone());
        if let Some(snapshot) = self.sources.get_mut(name).and_then(|source| source.snapshot.as_mut()) {
            snapshot.frameworks.insert(facts.id.clone());
        }
        let mut entry = self.frameworks.get(&place).map(|entry| (**entry).clone()).unwrap_or_default();
        let before = entry.first().cloned();
        if !entry.set(rank, Arc::new(facts)) {
            return;
        }
        let after = entry.first();
        let same = |a: &FrameworkFacts, b: &FrameworkFacts| {
            a.name == b.name && a.principal == b.principal && a.roles == b.roles
        };
        // A scheduler that disconnects or moves changes nothing about its tasks.
        if !matches!((&before, after), (Some(a), Some(b)) if same(a, b))
            && let Some(tasks) = self.by_framework.get(&place)
        {
            changes.tasks.extend(tasks.iter().cloned());
        }
        changes.frameworks.insert(place.0.clone());
        changes.cause(|| format!("{name}: framework {}", place.1));
        self.frameworks.insert(place, Arc::new(entry));
    }

    fn remove_framework(&mut self, name: &SourceName, id: &FrameworkId, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let Some(source) = self.sources.get(name) else { return };
        let place = (source.cluster.clone(), id.clone());
        // Its tasks were told apart; what is still here was held or unconfirmed, and this is explicit.
        let left: Vec<TaskKey> = self.by_framework.get(&place).into_iter().flatten().cloned().collect();
        for key in left {
            self.remove_task(name, &key, "framework removed", changes);
        }
        let Some(entry) = self.frameworks.get(&place) else { return };
        let mut entry = (**entry).clone();
        entry.forget(rank);
        changes.frameworks.insert(place.0.clone());
        changes.cause(|| format!("{name}: framework {id} removed"));
        if entry.is_empty() {
            self.frameworks.remove(&place);
        } else {
            self.frameworks.insert(place, Arc::new(entry));
        }
    }

    fn set_masters(&mut self, name: &SourceName, masters: crate::model::network::MastersFacts, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if source.masters == masters {
            return;
        }
        changes.cause(|| match masters.leader {
            Some(leader) => format!("{name}: leader {leader}"),
            None => format!("{name}: no leader"),
        });
        source.masters = masters;
        changes.masters.insert(source.cluster.clone());
    }

    fn declare(&mut self, name: &SourceName, declared: DeclaredService, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let id = declared.id.clone();
        if let Some(snapshot) = self.sources.get_mut(name).and_then(|source| source.snapshot.as_mut()) {
            snapshot.declared.insert(id.clone());
        }
        let mut entry = self.declared.get(&id).map(|entry| (**entry).clone()).unwrap_or_default();
        if entry.set(rank, Arc::new(declared)) {
            self.declared.insert(id.clone(), Arc::new(entry));
            changes.services.insert(id);
        }
    }

    // --- snapshots

    fn finish_snapshot(&mut self, name: &SourceName, scope: &SnapshotScope, now: Timestamp, changes: &mut Changes) {
        let guard = self.guard(name);
        let has_marathon = self.sources.values().any(|source| source.kind == SourceKind::Marathon);
        let Some(source) = self.sources.get_mut(name) else { return };
        let Some(snapshot) = source.snapshot.take() else { return };
        if !source.complete {
            source.complete = true;
            changes.sources = true;
            // From now on Mesos says what exists.
            changes.everything |= source.kind == SourceKind::Mesos && has_marathon;
        }
        if source.problems != snapshot.problems {
            source.problems.clone_from(&snapshot.problems);
            changes.problems.insert(name.clone());
        }
        let recovered: HashSet<AgentId> = scope.recovered_agents.iter().cloned().collect();
        changes.sources |= source.recovered != recovered;
        source.recovered = recovered;
        if !source.recovered.is_empty() {
            self.deadlines.set(now.plus(guard.recovered_keep), Deadline::Recovered(name.clone()));
        }
        let absent: Vec<TaskKey> = source.tasks.iter().filter(|key| !snapshot.tasks.contains(*key)).cloned().collect();
        let view =
            SnapshotView { known: source.tasks.len(), listed: snapshot.tasks.len(), agents: snapshot.agents.len() };
        let rank = self.rank(name);
        let recovered: HashSet<&AgentId> = scope.recovered_agents.iter().collect();
        let (mut waiting, mut gone) = (HashSet::new(), HashSet::new());
        for key in absent {
            let facts = rank.and_then(|rank| self.tasks.get(&key)?.of(rank));
            let agent = facts.and_then(|facts| facts.agent.as_ref());
            if agent.is_some_and(|agent| recovered.contains(agent)) {
                // Before its agent is back, a task that the new leader does not list is not known to it, and alive.
                waiting.insert(key);
            } else if facts.is_some_and(|facts| facts.state.is_away())
                && agent.is_some_and(|agent| !snapshot.agents.contains(agent))
            {
                // Lists of unreachable tasks do not survive a failover. Its own deadline stands.
            } else {
                gone.insert(key);
            }
        }
        if let Some(source) = self.sources.get_mut(name) {
            source.unconfirmed = waiting;
        }
        if scope.authoritative {
            self.remove_tasks(name, gone, "no longer listed", changes);
        } else {
            self.imply_removal(name, gone, view, now, changes);
        }
        self.drop_unlisted(name, &snapshot, changes);
    }

    /// Agents, frameworks and services that a complete read does not list.
    fn drop_unlisted(&mut self, name: &SourceName, snapshot: &IncomingSnapshot, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let Some(source) = self.sources.get(name) else { return };
        let cluster = source.cluster.clone();
        let agents: Vec<AgentId> = self
            .agents
            .keys()
            .filter(|(of, id)| *of == cluster && !snapshot.agents.contains(id) && !source.recovered.contains(id))
            .map(|(_, id)| id.clone())
            .collect();
        if source.kind == SourceKind::Mesos && !snapshot.agents.is_empty() {
            for id in agents {
                self.remove_agent(name, &id, changes);
            }
        }
        let frameworks: Vec<_> = self
            .frameworks
            .iter()
            .filter(|((of, id), entry)| *of == cluster && entry.of(rank).is_some() && !snapshot.frameworks.contains(id))
            .map(|(place, _)| place.clone())
            .collect();
        for place in frameworks {
            // A framework with tasks that are still kept is kept with them: their names hang on its name.
            if self.by_framework.get(&place).is_none_or(HashSet::is_empty) {
                self.frameworks.remove(&place);
                changes.frameworks.insert(place.0);
            }
        }
        let declared: Vec<ServiceId> = self
            .declared
            .iter()
            .filter(|(id, entry)| entry.of(rank).is_some() && !snapshot.declared.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in declared {
            let mut entry = self.declared.get(&id).map(|entry| (**entry).clone()).unwrap_or_default();
            entry.forget(rank);
            if entry.is_empty() {
                self.declared.remove(&id);
            } else {
                self.declared.insert(id.clone(), Arc::new(entry));
            }
            changes.services.insert(id);
        }
    }

    /// Removes what the guard believes of `gone` and holds the rest.
    fn imply_removal(
        &mut self,
        name: &SourceName,
        gone: HashSet<TaskKey>,
        view: SnapshotView,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let guard = self.guard(name);
        let Some(source) = self.sources.get_mut(name) else { return };
        let before = source.held.take();
        let had = before.is_some();
        let (removed, held) = match guard::judge(&guard, before.as_ref(), gone, view, now) {
            Verdict::Believe(tasks) => (tasks, None),
            Verdict::Hold { now, held } => (now, Some(held)),
        };
        if let Some(held) = &held {
            let fresh = before.as_ref().is_none_or(|before| before.since != held.since);
            if fresh {
                self.deadlines.set(held.since.plus(guard.confirm_after), Deadline::SecondLook(name.clone()));
                if let Some(until) = held.until(&guard) {
                    self.deadlines.set(until, Deadline::GiveUp(name.clone()));
                }
                changes.cause(|| format!("{name}: {} removals held back", held.tasks.len()));
            }
        }
        changes.sources |= had || held.is_some();
        source.held = held;
        self.remove_tasks(name, removed, "no longer listed", changes);
    }

    fn remove_tasks(&mut self, name: &SourceName, tasks: HashSet<TaskKey>, why: &str, changes: &mut Changes) {
        for key in tasks {
            self.remove_task(name, &key, why, changes);
        }
    }

    fn release_held(&mut self, name: &SourceName, _now: Timestamp, changes: &mut Changes) {
        let Some(held) = self.sources.get_mut(name).and_then(|source| source.held.take()) else { return };
        changes.sources = true;
        self.remove_tasks(name, held.tasks, "held removal believed", changes);
    }

    /// Takes a verdict of an active check. Of tasks that are gone meanwhile nothing is kept.
    fn check(&mut self, report: CheckReport, changes: &mut Changes) {
        let CheckReport { task, port, verdict } = report;
        if self.tasks.get(&task).is_none() {
            return;
        }
        let mut verdicts = self.verdicts.get(&task).map(|known| (**known).clone()).unwrap_or_default();
        let state = verdict.state;
        let former = verdicts.insert(port, verdict.clone());
        if former.as_ref() == Some(&verdict) {
            return;
        }
        if former.is_none_or(|former| former.state != state) {
            changes.cause(|| format!("task {}: checks say {}", task.task(), state.as_str()));
        }
        self.verdicts.insert(task.clone(), Arc::new(verdicts));
        changes.tasks.insert(task);
    }

    // --- deadlines

    fn apply_deadlines(&mut self, now: Timestamp, changes: &mut Changes) {
        while let Some(deadline) = self.deadlines.take_due(now) {
            self.apply_deadline(deadline, now, changes);
        }
    }

    fn apply_deadline(&mut self, deadline: Deadline, now: Timestamp, changes: &mut Changes) {
        match deadline {
            Deadline::Unreachable(name, key) => self.end_unreachable(&name, &key, changes),
            Deadline::AgentReturned(name, id) => self.end_announcement(&name, &id, now, changes),
            Deadline::Recovered(name) => self.end_recovery(&name, now, changes),
            Deadline::SecondLook(name) => self.want_second_look(name, now, changes),
            Deadline::GiveUp(name) => {
                let guard = self.guard(&name);
                // While nobody listens nothing more is believed: the next snapshot is the second look.
                let listening = self.sources.get(&name).filter(|source| source.state == SourceState::Live);
                let due = listening.and_then(|source| source.held.as_ref()?.until(&guard));
                if due.is_some_and(|until| until <= now) {
                    self.release_held(&name, now, changes);
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

    fn end_unreachable(&mut self, name: &SourceName, key: &TaskKey, changes: &mut Changes) {
        let facts = self.rank(name).and_then(|rank| self.tasks.get(key)?.of(rank));
        if facts.is_some_and(|facts| facts.state.is_away()) {
            self.remove_task(name, key, "unreachable for too long", changes);
        }
    }

    /// The agent has been back for a while: what it has not announced again is gone. Unless nobody listened, or it has
    /// to come back to yet another leader: then the next snapshot tells.
    fn end_announcement(&mut self, name: &SourceName, id: &AgentId, now: Timestamp, changes: &mut Changes) {
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
    fn end_recovery(&mut self, name: &SourceName, now: Timestamp, changes: &mut Changes) {
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

    /// Absences that turn up apart from a snapshot: what is held already stays held beside them.
    fn imply_more(&mut self, name: &SourceName, gone: HashSet<TaskKey>, now: Timestamp, changes: &mut Changes) {
        if gone.is_empty() {
            return;
        }
        let guard = self.guard(name);
        let Some(source) = self.sources.get_mut(name) else { return };
        if let Some(held) = &mut source.held {
            held.tasks.extend(gone);
            changes.sources = true;
            return;
        }
        if !guard::is_large(&guard, gone.len(), source.tasks.len()) {
            self.remove_tasks(name, gone, "not announced again", changes);
            return;
        }
        let view = SnapshotView { known: source.tasks.len(), listed: 1, agents: 1 };
        self.imply_removal(name, gone, view, now, changes);
    }

    fn want_second_look(&mut self, name: SourceName, now: Timestamp, changes: &mut Changes) {
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

fn keep_problem(problems: &mut Vec<Problem>, problem: Problem) {
    problems.retain(|known| *known != problem);
    if problems.len() >= PROBLEMS {
        problems.remove(0);
    }
    problems.push(problem);
}

fn rerank_all<K, T>(
    map: &PersistentMap<K, Arc<BySource<T>>>,
    rank: &impl Fn(SourceRank) -> Option<SourceRank>,
) -> PersistentMap<K, Arc<BySource<T>>>
where
    K: std::hash::Hash + Eq + Clone,
    T: PartialEq + Clone,
{
    map.iter()
        .filter_map(|(key, entry)| {
            let mut entry = (**entry).clone();
            entry.rerank(rank);
            (!entry.is_empty()).then(|| (key.clone(), Arc::new(entry)))
        })
        .collect()
}

fn describe(name: &SourceName, key: &TaskKey, before: Option<&TaskFacts>, after: &TaskFacts) -> String {
    let show = |facts: &TaskFacts| match facts.health {
        Health::Unknown => facts.state.as_str().to_owned(),
        health => format!("{} {}", facts.state.as_str(), health.as_str()),
    };
    match before {
        Some(before) => format!("{name}: task {} {} → {}", key.task(), show(before), show(after)),
        None => format!("{name}: task {} {}", key.task(), show(after)),
    }
}
