//! What is known of one source itself.

use crate::model::hash::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::deployments::Deployments;
use super::guard::Held;
use super::records::StaticRecords;
use super::status::SourceState;
use crate::model::id::{AgentId, ClusterName, TaskKey};
use crate::model::network::MastersFacts;
use crate::model::problem::Problem;
use crate::model::time::Timestamp;

/// Which kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// A Mesos master's event stream.
    Mesos,
    /// A file.
    File,
    /// Marathon.
    Marathon,
}

impl SourceKind {
    /// The name used in the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesos => "mesos",
            Self::File => "file",
            Self::Marathon => "marathon",
        }
    }
}

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its kind.
    pub kind: SourceKind,
    /// The cluster it tells of.
    pub cluster: ClusterName,
    /// The newest stream that has spoken.
    pub stream: u64,
    /// How current its facts are.
    pub state: SourceState,
    /// Since when it has been in this state.
    pub since: Timestamp,
    /// Why it is not live.
    pub error: Option<Arc<str>>,
    /// Whether a complete snapshot has been applied, in this life or a former one.
    pub complete: bool,
    /// The snapshot that is coming in.
    pub snapshot: Option<IncomingSnapshot>,
    /// Agents that a new leader recovered and that are not back.
    pub recovered: HashSet<AgentId>,
    /// Tasks that are known from before and that the present leader has not confirmed.
    pub unconfirmed: HashSet<TaskKey>,
    /// Removals that the guard holds back.
    pub held: Option<Held>,
    /// How many tasks are known from it.
    pub tasks: usize,
    /// Masters and leader.
    pub masters: MastersFacts,
    /// DNS records from it.
    pub records: StaticRecords,
    /// Deployments that it tells of.
    pub deployments: Arc<Deployments>,
    /// What it said that could not be used, the newest last.
    pub problems: Vec<Problem>,
}

/// What a snapshot has listed so far.
#[derive(Clone, Debug, Default)]
pub struct IncomingSnapshot {
    /// Tasks.
    pub tasks: HashSet<TaskKey>,
    /// Agents that are registered.
    pub agents: HashSet<AgentId>,
    /// Frameworks.
    pub frameworks: HashSet<crate::model::id::FrameworkId>,
    /// Services.
    pub declared: HashSet<crate::model::id::ServiceId>,
    /// Apps.
    pub apps: HashSet<TaskKey>,
    /// What it said that could not be used.
    pub problems: Vec<Problem>,
}

/// Problems of a source itself that are kept at most.
pub const PROBLEMS: usize = 32;

impl Source {
    /// A source that has not spoken.
    pub fn new(kind: SourceKind, cluster: ClusterName, now: Timestamp) -> Self {
        Self {
            kind,
            cluster,
            stream: 0,
            state: SourceState::Waiting,
            since: now,
            error: None,
            complete: false,
            snapshot: None,
            recovered: HashSet::default(),
            unconfirmed: HashSet::default(),
            held: None,
            tasks: 0,
            masters: MastersFacts::default(),
            records: StaticRecords::default(),
            deployments: Arc::default(),
            problems: Vec::new(),
        }
    }
}
