//! What an operator takes out of service: a task, or an agent with all its tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{AgentId, ClusterName, TaskKey};
use super::task::TaskFacts;
use super::time::Timestamp;

/// What is taken out of service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DrainSubject {
    /// One task; the order ends with it.
    Task(TaskKey),
    /// An agent: the tasks it has and those it gets. The order holds until it is taken back, also while the agent is away.
    Agent(ClusterName, AgentId),
}

/// An order to take something out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOrder {
    /// Since when it holds.
    pub since: Timestamp,
    /// Who gave it.
    pub actor: Arc<str>,
}

/// The orders in force. They are few, and cheap to share between tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drains(Arc<BTreeMap<DrainSubject, DrainOrder>>);

impl Drains {
    /// The order for this very subject.
    pub fn get(&self, subject: &DrainSubject) -> Option<&DrainOrder> {
        self.0.get(subject)
    }

    /// Whether a task is taken out of service, by itself or with its agent.
    pub fn covers(&self, task: &TaskFacts) -> bool {
        self.since(task).is_some()
    }

    /// Since when a task is out of service, by itself or with its agent, whichever was first.
    pub fn since(&self, task: &TaskFacts) -> Option<Timestamp> {
        if self.0.is_empty() {
            return None;
        }
        let agent = task.agent.clone().map(|agent| DrainSubject::Agent(task.key.cluster().clone(), agent));
        let subjects = [Some(DrainSubject::Task(task.key.clone())), agent];
        subjects.iter().flatten().filter_map(|subject| self.get(subject)).map(|order| order.since).min()
    }

    /// Adds an order; an earlier one for the same subject stays. Whether it is new.
    pub fn add(&mut self, subject: DrainSubject, order: DrainOrder) -> bool {
        if self.0.contains_key(&subject) {
            return false;
        }
        Arc::make_mut(&mut self.0).insert(subject, order);
        true
    }

    /// Takes an order back; whether there was one.
    pub fn remove(&mut self, subject: &DrainSubject) -> bool {
        self.0.contains_key(subject) && Arc::make_mut(&mut self.0).remove(subject).is_some()
    }

    /// Drops the orders for tasks of which `keep` says no.
    pub fn retain_tasks(&mut self, keep: impl Fn(&TaskKey) -> bool) {
        let is_kept = |subject: &DrainSubject| !matches!(subject, DrainSubject::Task(key) if !keep(key));
        if !self.0.keys().all(is_kept) {
            Arc::make_mut(&mut self.0).retain(|subject, _| is_kept(subject));
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&DrainSubject, &DrainOrder)> {
        self.0.iter()
    }
}

impl DrainSubject {
    /// Every kind.
    pub const KINDS: [&str; 2] = ["task", "agent"];

    /// What kind of thing it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Agent(..) => "agent",
        }
    }
}

impl fmt::Display for DrainSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(key) => write!(f, "task {key}"),
            Self::Agent(cluster, agent) => write!(f, "agent {cluster}/{agent}"),
        }
    }
}
