//! The state of the sources, as a table shows it.

use std::sync::Arc;

use serde::Serialize;

use crate::model::id::SourceName;
use crate::model::time::Timestamp;

/// One source's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: SourceName,
    /// `mesos` or `file`.
    pub kind: &'static str,
    /// How current its facts are.
    pub state: SourceState,
    /// Since when it has been in this state.
    pub since: Timestamp,
    /// Why it is not live, where it is not.
    pub error: Option<Arc<str>>,
    /// Whether a complete snapshot, or what was stored, has been applied.
    pub complete: bool,
    /// Tasks known from it.
    pub tasks: usize,
    /// Agents known from it.
    pub agents: usize,
    /// Agents that a new leader recovered and that are not back yet.
    pub recovered_agents: usize,
    /// Removals that the guard holds back, if any.
    pub held: Option<HeldRemovals>,
}

impl SourceStatus {
    /// Whether answers from its facts may be out of date.
    pub fn is_stale(&self) -> bool {
        self.state != SourceState::Live
    }
}

/// How current a source's facts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// It has not spoken in this life of the process; what is stored may stand in.
    Waiting,
    /// Its stream is open.
    Live,
    /// Its stream is lost; its last facts go on being served.
    Stale,
}

impl SourceState {
    /// The name used in the API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Stale => "stale",
        }
    }
}

/// Removals that the guard holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldRemovals {
    /// How many tasks would go.
    pub tasks: usize,
    /// Of how many.
    pub of: usize,
    /// Since when.
    pub since: Timestamp,
    /// When they will be believed without another read; `None`: never by time alone.
    pub until: Option<Timestamp>,
    /// Why they are held, for people.
    pub reason: Arc<str>,
}
