//! The model cluster: what is so, what the leading master knows of it, and the events in which it says so.
//!
//! Pure: no sockets, no clock; the caller passes `now`, and all randomness comes from the seed. Each change returns
//! the events a subscriber hears. Invariants:
//! - a task is kept twice, as it *is* and as the master has *seen* it; only news that reaches the master changes the
//!   second, and only that is in snapshots and events;
//! - on an agent's return TASK_ADDED of its tasks comes before AGENT_ADDED, unless the framework was not known;
//! - after a failover nothing of an agent is known until it returns: it is among the recovered ones.
//!
//! Not here: when things happen ([`super::scheduler`], [`super::task`]).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::app::AppSpec;
use super::shape;
use crate::cluster::sources::mesos::wire;
use crate::model::time::Timestamp;

/// Ended tasks that a snapshot still lists; a real master keeps a thousand.
pub(super) const COMPLETED: usize = 100;

/// The states a task of the model goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Mesos' own")]
pub enum TaskState {
    Staging,
    Starting,
    Running,
    Killing,
    Killed,
    Finished,
    Failed,
    Lost,
    Unreachable,
}

/// Why a change could not be made.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModelError {
    /// There is no such agent, or it is not registered.
    #[error("agent {agent} is not registered; see the agents that are at GET /demo")]
    AgentAway {
        /// Its id or host name.
        agent: String,
    },
}

/// What a new leader knows of the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameworkStanding {
    Unknown,
    Recovered,
    Connected,
}

/// What the master holds an agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStanding {
    /// Registered: its tasks are known.
    Registered,
    /// Known from the registry after a failover, not back yet.
    Recovered,
    /// Given up; its tasks are listed as unreachable until a failover.
    Unreachable,
}

/// An agent.
#[derive(Clone, Debug)]
pub struct ModelAgent {
    info: wire::AgentInfo,
    /// Its host name.
    pub hostname: String,
    /// Where its tasks listen.
    pub ip: IpAddr,
    /// Whether it is there at all.
    pub connected: bool,
    /// What the master holds it for.
    pub standing: AgentStanding,
}

/// A task.
#[derive(Clone, Debug)]
pub struct ModelTask {
    /// The app it is an instance of.
    pub app: String,
    /// The app's version that it runs.
    pub version: u32,
    /// The agent it runs on.
    pub agent: String,
    /// Its state in truth.
    pub state: TaskState,
    /// The last verdict on its health.
    pub healthy: Option<bool>,
    /// Whether it is checked.
    pub checked: bool,
    ip: IpAddr,
    real: wire::Task,
    seen: Option<wire::Task>,
}

/// The cluster.
#[derive(Clone, Debug)]
pub struct ClusterModel {
    random: fastrand::Rng,
    cluster: String,
    agents_made: u32,
    framework: FrameworkStanding,
    agents: BTreeMap<String, ModelAgent>,
    tasks: BTreeMap<String, ModelTask>,
    completed: VecDeque<wire::Task>,
}

impl TaskState {
    /// Its number in the protocol.
    pub fn number(self) -> i32 {
        wire::task_state::number(self.name())
    }

    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staging => "TASK_STAGING",
            Self::Starting => "TASK_STARTING",
            Self::Running => "TASK_RUNNING",
            Self::Killing => "TASK_KILLING",
            Self::Killed => "TASK_KILLED",
            Self::Finished => "TASK_FINISHED",
            Self::Failed => "TASK_FAILED",
            Self::Lost => "TASK_LOST",
            Self::Unreachable => "TASK_UNREACHABLE",
        }
    }

    /// Whether the task's process has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Killed | Self::Finished | Self::Failed | Self::Lost)
    }
}

impl ModelTask {
    /// Whether it may be given work: it runs, and if it is checked, it passed.
    pub fn is_ready(&self) -> bool {
        self.state == TaskState::Running && (!self.checked || self.healthy == Some(true))
    }

    /// Whether it is or will be an instance that counts: neither ended nor ending.
    pub fn is_wanted(&self) -> bool {
        !self.state.is_ended() && self.state != TaskState::Killing
    }
}

impl ClusterModel {
    /// An empty cluster.
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            cluster: uuid(&mut random),
            random,
            agents_made: 0,
            framework: FrameworkStanding::Unknown,
            agents: BTreeMap::new(),
            tasks: BTreeMap::new(),
            completed: VecDeque::new(),
        }
    }

    /// Agents by id.
    pub fn agents(&self) -> &BTreeMap<String, ModelAgent> {
        &self.agents
    }

    /// Tasks that have not ended, or whose end the master has not heard of, by id.
    pub fn tasks(&self) -> &BTreeMap<String, ModelTask> {
        &self.tasks
    }

    /// An id as masters have.
    pub fn draw_id(&mut self) -> String {
        uuid(&mut self.random)
    }

    /// The id of the agent with this id or host name.
    pub fn find_agent(&self, name: &str) -> Option<&str> {
        let named = |(id, agent): &(&String, &ModelAgent)| id.as_str() == name || agent.hostname == name;
        self.agents.iter().find(named).map(|(id, _)| id.as_str())
    }

    /// What a SUBSCRIBE or a GET_STATE answers.
    pub fn snapshot(&self) -> wire::GetState {
        wire::GetState {
            get_tasks: Some(self.task_lists()),
            get_executors: Some(wire::GetExecutors {}),
            get_frameworks: Some(self.framework_lists()),
            get_agents: Some(self.agent_lists()),
        }
    }

    /// What a GET_TASKS answers.
    pub fn task_lists(&self) -> wire::GetTasks {
        let seen = |standing| {
            let of_agent =
                move |task: &&ModelTask| self.agents.get(&task.agent).is_some_and(|agent| agent.standing == standing);
            self.tasks.values().filter(of_agent).filter_map(|task| task.seen.clone()).collect()
        };
        wire::GetTasks {
            tasks: seen(AgentStanding::Registered),
            unreachable_tasks: seen(AgentStanding::Unreachable),
            completed_tasks: self.completed.iter().cloned().collect(),
            ..wire::GetTasks::default()
        }
    }

    /// What a GET_AGENTS answers.
    pub fn agent_lists(&self) -> wire::GetAgents {
        let of = |standing| self.agents.values().filter(move |agent| agent.standing == standing);
        wire::GetAgents {
            agents: of(AgentStanding::Registered).map(|agent| shape::agent(&agent.info, agent.ip)).collect(),
            recovered_agents: of(AgentStanding::Recovered).map(|agent| agent.info.clone()).collect(),
        }
    }

    /// What a GET_FRAMEWORKS answers.
    pub fn framework_lists(&self) -> wire::GetFrameworks {
        let known = self.framework != FrameworkStanding::Unknown;
        wire::GetFrameworks { frameworks: known.then(|| self.framework()).into_iter().collect(), ..Default::default() }
    }

    /// What a GET_ROLES answers.
    pub fn roles(&self) -> wire::GetRoles {
        let known = self.framework != FrameworkStanding::Unknown;
        let frameworks = known.then(|| shape::id(&self.framework_id())).flatten().into_iter().collect();
        wire::GetRoles { roles: vec![wire::Role { name: Some("*".to_owned()), weight: Some(1.0), frameworks }] }
    }

    /// A new agent registers.
    pub fn add_agent(&mut self, hostname: &str, ip: IpAddr) -> (String, Vec<wire::Event>) {
        let id = format!("{}-S{}", self.cluster, self.agents_made);
        let info = shape::agent_info(&id, hostname, &format!("zone-{}", self.agents_made % 2));
        self.agents_made += 1;
        let agent = ModelAgent {
            info,
            hostname: hostname.to_owned(),
            ip,
            connected: true,
            standing: AgentStanding::Registered,
        };
        let event = agent_added(&agent);
        self.agents.insert(id.clone(), agent);
        (id, vec![event])
    }

    /// The scheduler subscribes, for the first time or again.
    pub fn connect_framework(&mut self) -> Vec<wire::Event> {
        let kind = match self.framework {
            FrameworkStanding::Unknown => "FRAMEWORK_ADDED",
            FrameworkStanding::Recovered | FrameworkStanding::Connected => "FRAMEWORK_UPDATED",
        };
        self.framework = FrameworkStanding::Connected;
        vec![self.framework_event(kind)]
    }

    /// A task is launched on a registered agent.
    ///
    /// # Errors
    /// [`ModelError::AgentAway`].
    pub fn launch(&mut self, app: &AppSpec, agent: &str, port: u16) -> Result<(String, Vec<wire::Event>), ModelError> {
        let id = format!("{}.instance-{}._app.1", app.name, uuid(&mut self.random));
        let away = || ModelError::AgentAway { agent: agent.to_owned() };
        let host = self.agents.get(agent).ok_or_else(away)?;
        if host.standing != AgentStanding::Registered || !host.connected {
            return Err(away());
        }
        let real = shape::task(app, &id, &self.framework_id(), agent, port);
        let task = ModelTask {
            app: app.name.clone(),
            version: app.version,
            agent: agent.to_owned(),
            state: TaskState::Staging,
            healthy: None,
            checked: app.checked,
            ip: host.ip,
            seen: Some(real.clone()),
            real,
        };
        // Only a scheduler that is there launches: the leader has heard of it before it hears of its task.
        let mut events = match self.framework {
            FrameworkStanding::Connected => Vec::new(),
            FrameworkStanding::Unknown | FrameworkStanding::Recovered => self.connect_framework(),
        };
        events.push(shape::task_added(&task.real));
        self.tasks.insert(id.clone(), task);
        Ok((id, events))
    }

    /// A task's executor tells a new state.
    pub fn update(&mut self, id: &str, state: TaskState, message: Option<&str>, now: Timestamp) -> Vec<wire::Event> {
        let Some(task) = self.tasks.get_mut(id).filter(|task| !task.state.is_ended()) else { return Vec::new() };
        task.state = state;
        let mut status = shape::executor_status(&task.real, state, task.ip, now);
        status.message = message.map(|message| message.as_bytes().to_vec());
        self.report(id, status)
    }

    /// A check of a running task passed or failed.
    pub fn verdict(&mut self, id: &str, healthy: bool, now: Timestamp) -> Vec<wire::Event> {
        let running = |task: &&mut ModelTask| task.state == TaskState::Running;
        let Some(task) = self.tasks.get_mut(id).filter(running) else { return Vec::new() };
        task.healthy = Some(healthy);
        let mut status = shape::executor_status(&task.real, TaskState::Running, task.ip, now);
        status.healthy = Some(healthy);
        self.report(id, status)
    }

    /// Nothing is heard of an agent any more; the master has not noticed.
    ///
    /// # Errors
    /// [`ModelError::AgentAway`] if it was gone already.
    pub fn disconnect_agent(&mut self, agent: &str) -> Result<(), ModelError> {
        let found = self.agents.get_mut(agent).filter(|agent| agent.connected);
        found.ok_or_else(|| ModelError::AgentAway { agent: agent.to_owned() })?.connected = false;
        Ok(())
    }

    /// The master gives a silent agent up: its tasks become unreachable one by one, the agent goes without a word. One
    /// that never came back to a new leader goes without any: the leader knows none of its tasks.
    pub fn give_agent_up(&mut self, agent: &str, now: Timestamp) -> Vec<wire::Event> {
        let silent = |agent: &&mut ModelAgent| !agent.connected && agent.standing != AgentStanding::Unreachable;
        let Some(found) = self.agents.get_mut(agent).filter(silent) else { return Vec::new() };
        found.standing = AgentStanding::Unreachable;
        self.seen_of(agent).map(|seen| master_says(seen, TaskState::Unreachable, now)).collect()
    }

    /// An agent is back, from silence or after a failover, with everything that became of its tasks meanwhile.
    pub fn return_agent(&mut self, id: &str) -> Vec<wire::Event> {
        let Some(agent) = self.agents.get_mut(id) else { return Vec::new() };
        agent.connected = true;
        let was = std::mem::replace(&mut agent.standing, AgentStanding::Registered);
        let added = agent_added(agent);
        let mut tasks = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.agent == id) {
            let unheard = task.seen.as_ref() != Some(&task.real);
            task.seen = Some(task.real.clone());
            if was != AgentStanding::Registered || unheard {
                tasks.push(shape::task_added(&task.real));
            }
        }
        self.complete_ended();
        match (was, self.framework) {
            // It came back before the master had noticed: no event but for what changed.
            (AgentStanding::Registered, _) => tasks,
            (_, FrameworkStanding::Unknown) if !tasks.is_empty() => {
                self.framework = FrameworkStanding::Recovered;
                [vec![added, self.framework_event("FRAMEWORK_ADDED")], tasks].concat()
            }
            _ => [tasks, vec![added]].concat(),
        }
    }

    /// An agent re-registers with a new leader, if it still waits for that.
    pub fn return_recovered(&mut self, id: &str) -> Vec<wire::Event> {
        let waits = |agent: &ModelAgent| agent.connected && agent.standing == AgentStanding::Recovered;
        if self.agents.get(id).is_some_and(waits) { self.return_agent(id) } else { Vec::new() }
    }

    /// An agent unregisters for good: its tasks are lost, then it is removed.
    pub fn remove_agent(&mut self, id: &str, now: Timestamp) -> Vec<wire::Event> {
        let Some(agent) = self.agents.remove(id) else { return Vec::new() };
        let heard = agent.standing == AgentStanding::Registered;
        let mut events = Vec::new();
        if heard {
            events.extend(self.seen_of(id).map(|seen| master_says(seen, TaskState::Lost, now)));
            let removed = wire::AgentRemoved { agent_id: shape::id(id) };
            events.push(wire::Event { agent_removed: Some(removed), ..shape::event("AGENT_REMOVED") });
        }
        for (_, task) in self.tasks.extract_if(.., |_, task| task.agent == id) {
            keep_completed(&mut self.completed, task.seen);
        }
        events
    }

    /// The scheduler is torn down: its live tasks are killed, then it is removed.
    pub fn tear_down(&mut self, now: Timestamp) -> Vec<wire::Event> {
        let listed: Vec<String> = self.agents.keys().cloned().collect();
        let mut events: Vec<wire::Event> = Vec::new();
        for agent in listed {
            events.extend(self.seen_of(&agent).map(|seen| master_says(seen, TaskState::Killed, now)));
        }
        for (_, task) in std::mem::take(&mut self.tasks) {
            keep_completed(&mut self.completed, task.seen);
        }
        self.framework = FrameworkStanding::Unknown;
        let removed = wire::FrameworkRemoved { framework_info: Some(shape::framework_info(&self.framework_id())) };
        events.push(wire::Event { framework_removed: Some(removed), ..shape::event("FRAMEWORK_REMOVED") });
        events
    }

    /// Another master leads: of agents it knows the names, of tasks nothing. Nobody hears a word of it.
    pub fn fail_over(&mut self) {
        self.framework = FrameworkStanding::Unknown;
        self.completed.clear();
        for agent in self.agents.values_mut() {
            if agent.standing == AgentStanding::Registered {
                agent.standing = AgentStanding::Recovered;
            }
        }
        for task in self.tasks.values_mut() {
            task.seen = None;
        }
    }

    /// Keeps a status as what is so and, if the agent is heard, tells it.
    fn report(&mut self, id: &str, status: wire::TaskStatus) -> Vec<wire::Event> {
        let Some(task) = self.tasks.get_mut(id) else { return Vec::new() };
        shape::keep_status(&mut task.real, status.clone());
        let heard = self
            .agents
            .get(&task.agent)
            .is_some_and(|agent| agent.connected && agent.standing == AgentStanding::Registered);
        if !heard {
            return Vec::new();
        }
        task.seen = Some(task.real.clone());
        let event = shape::task_updated(&task.real, status);
        // This one alone: looking at all of them with each status, a cluster of 50,000 tasks took minutes to start.
        if task.state.is_ended()
            && let Some(task) = self.tasks.remove(id)
        {
            keep_completed(&mut self.completed, task.seen);
        }
        vec![event]
    }

    /// Moves tasks whose end the master has seen to the completed ones.
    fn complete_ended(&mut self) {
        let seen_ended = |_: &String, task: &mut ModelTask| {
            task.state.is_ended() && task.seen.as_ref().is_some_and(|seen| seen.state == task.real.state)
        };
        for (_, task) in self.tasks.extract_if(.., seen_ended) {
            keep_completed(&mut self.completed, task.seen);
        }
    }

    fn seen_of<'a>(&'a mut self, agent: &'a str) -> impl Iterator<Item = &'a mut wire::Task> {
        self.tasks.values_mut().filter(move |task| task.agent == agent).filter_map(|task| task.seen.as_mut())
    }

    fn framework_id(&self) -> String {
        format!("{}-0000", self.cluster)
    }

    fn framework(&self) -> wire::Framework {
        let connected = self.framework == FrameworkStanding::Connected;
        wire::Framework {
            framework_info: Some(shape::framework_info(&self.framework_id())),
            active: Some(connected),
            connected: Some(connected),
            recovered: Some(!connected),
        }
    }

    fn framework_event(&self, kind: &str) -> wire::Event {
        let changed = Some(wire::FrameworkChanged { framework: Some(self.framework()) });
        match kind {
            "FRAMEWORK_ADDED" => wire::Event { framework_added: changed, ..shape::event(kind) },
            _ => wire::Event { framework_updated: changed, ..shape::event(kind) },
        }
    }
}

/// The master changes what it holds a task for, and says so.
fn master_says(seen: &mut wire::Task, state: TaskState, now: Timestamp) -> wire::Event {
    let status = shape::master_status(seen, state, now);
    shape::keep_status(seen, status.clone());
    shape::task_updated(seen, status)
}

fn agent_added(agent: &ModelAgent) -> wire::Event {
    let added = wire::AgentAdded { agent: Some(shape::agent(&agent.info, agent.ip)) };
    wire::Event { agent_added: Some(added), ..shape::event("AGENT_ADDED") }
}

fn keep_completed(completed: &mut VecDeque<wire::Task>, task: Option<wire::Task>) {
    if completed.len() == COMPLETED {
        completed.pop_front();
    }
    completed.extend(task);
}

/// An id in the form of a random UUID.
fn uuid(random: &mut fastrand::Rng) -> String {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
