//! What a batch of events changed: the derivation looks at nothing else.

use crate::model::hash::HashSet;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::id::{ClusterName, ServiceId, SourceName, TaskKey};

/// The things whose facts changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Tasks to derive again.
    pub tasks: HashSet<TaskKey>,
    /// Clusters whose agents changed (names of the agents as a whole).
    pub agents: BTreeSet<ClusterName>,
    /// Clusters whose frameworks changed.
    pub frameworks: BTreeSet<ClusterName>,
    /// Clusters whose masters changed.
    pub masters: BTreeSet<ClusterName>,
    /// Services whose declaration or retention changed.
    pub services: HashSet<ServiceId>,
    /// Apps whose declaration changed.
    pub apps: HashSet<TaskKey>,
    /// Names whose retention is over, by cluster.
    pub names: Vec<(ClusterName, Arc<str>)>,
    /// Sources whose static records changed.
    pub records: BTreeSet<SourceName>,
    /// Sources whose own problems changed.
    pub problems: BTreeSet<SourceName>,
    /// Which ports cannot be listened on changed.
    pub ports: bool,
    /// What is wrong with files of this program's own changed.
    pub files: bool,
    /// What operators took out of service changed.
    pub drains: bool,
    /// What is known of deployments changed.
    pub deployments: bool,
    /// The state of a source changed.
    pub sources: bool,
    /// Everything is to be derived anew.
    pub everything: bool,
    /// Events and facts applied.
    pub events: usize,
    /// The first few causes.
    pub causes: Vec<String>,
    /// Second looks that the guard wants.
    pub wanted_snapshots: BTreeSet<SourceName>,
}

impl Changes {
    /// Whether a new table is due.
    pub fn is_empty(&self) -> bool {
        !self.everything
            && !self.sources
            && !self.ports
            && !self.files
            && !self.drains
            && !self.deployments
            && self.tasks.is_empty()
            && self.agents.is_empty()
            && self.frameworks.is_empty()
            && self.masters.is_empty()
            && self.services.is_empty()
            && self.apps.is_empty()
            && self.names.is_empty()
            && self.records.is_empty()
            && self.problems.is_empty()
    }

    /// Notes a cause, while there is room.
    pub fn cause(&mut self, text: impl FnOnce() -> String) {
        if self.causes.len() < 8 {
            self.causes.push(text());
        }
    }
}
