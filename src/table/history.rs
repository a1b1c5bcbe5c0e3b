//! Recent versions of the table, with what led to them.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Table;

/// What led to one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Events in the batch.
    pub events: usize,
    /// The first few causes, each in one line (`mesos: task web.1 running → killing`).
    pub causes: Vec<String>,
    /// Tasks whose derivation changed.
    pub tasks_changed: usize,
    /// CPU time spent deriving and publishing, nanoseconds.
    pub publish_ns: u64,
}

/// One remembered version.
#[derive(Clone, Debug)]
pub struct Version {
    /// The table itself: versions share what they have in common, so keeping one costs what it changed.
    pub table: Arc<Table>,
    /// What led to it.
    pub record: VersionRecord,
}

/// The last versions, oldest first.
#[derive(Debug)]
pub struct History {
    versions: VecDeque<Version>,
    limit: usize,
}

/// The most causes a record names.
pub const CAUSES: usize = 8;

impl History {
    /// A history of at most `limit` versions (at least one).
    pub fn new(limit: usize) -> Self {
        Self { versions: VecDeque::new(), limit: limit.max(1) }
    }

    pub(super) fn push(&mut self, table: Arc<Table>, record: VersionRecord) {
        self.limit = table.config.server.history.max(1);
        while self.versions.len() >= self.limit {
            self.versions.pop_front();
        }
        self.versions.push_back(Version { table, record });
    }

    /// The version with this generation, if it is still kept.
    pub fn version(&self, generation: u64) -> Option<&Version> {
        let at = self.versions.binary_search_by_key(&generation, |v| v.table.generation).ok()?;
        self.versions.get(at)
    }

    /// Every kept version, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter()
    }
}
