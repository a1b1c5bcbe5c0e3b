//! Recent versions of the table, with what changed and why.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Table;
use crate::model::time::Timestamp;

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

/// What differs between two tables, in lines that sort and read well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDiff {
    /// The earlier generation.
    pub from: u64,
    /// The later generation.
    pub to: u64,
    /// When the later one was published.
    pub at: Timestamp,
    /// Services that came, went or changed.
    pub services: Vec<Change>,
    /// Routes that came, went or changed.
    pub routes: Vec<Change>,
    /// Tasks that came, went or changed.
    pub tasks: Vec<Change>,
    /// Problems that came or went.
    pub problems: Vec<Change>,
    /// Whether more changed than is listed.
    pub truncated: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// What changed.
    pub key: String,
    /// How it was; absent if it was not there.
    pub before: Option<String>,
    /// How it is; absent if it is gone.
    pub after: Option<String>,
}

/// The most changes of one kind that a diff lists.
pub const DIFF_LIMIT: usize = 1000;

/// What differs between two versions. Costs as much as the difference where the versions are relatives.
pub fn diff(from: &Table, to: &Table) -> TableDiff {
    let mut out = TableDiff { from: from.generation, to: to.generation, at: to.built_at, ..TableDiff::default() };
    let mut truncated = false;
    from.services.diff(&to.services, &mut |id, a, b| {
        let show = |s: &Arc<crate::model::service::Service>| {
            let mut text = format!("{} of {} endpoints available", s.available.len(), s.endpoints.len());
            for endpoint in s.endpoints.iter().take(8) {
                text.push_str(&format!("; {} {}", endpoint.address, endpoint.state.as_str()));
            }
            text
        };
        push(&mut out.services, &mut truncated, id.to_string(), a.map(show), b.map(show));
    });
    from.tasks.diff(&to.tasks, &mut |key, a, b| {
        let show = |t: &Arc<super::task::TaskView>| {
            format!("{} {} ({})", t.facts.state.as_str(), t.facts.health.as_str(), t.state.as_str())
        };
        push(&mut out.tasks, &mut truncated, key.to_string(), a.map(show), b.map(show));
    });
    from.problems.diff(&to.problems, &mut |subject, a, b| {
        let show = |p: &Arc<[crate::model::problem::Problem]>| {
            p.iter().map(|p| format!("{}: {}", p.code.as_str(), p.message)).collect::<Vec<_>>().join("; ")
        };
        push(&mut out.problems, &mut truncated, subject.to_string(), a.map(show), b.map(show));
    });
    let mut hosts = |pattern: String, a: Option<&Arc<super::routes::HostRoutes>>, b: Option<&Arc<_>>| {
        let show = |h: &Arc<super::routes::HostRoutes>| h.to_string();
        push(&mut out.routes, &mut truncated, pattern, a.map(show), b.map(show));
    };
    from.routes.exact.diff(&to.routes.exact, &mut |host, a, b| hosts(host.to_string(), a, b));
    from.routes.wildcard.diff(&to.routes.wildcard, &mut |base, a, b| hosts(format!("*.{base}"), a, b));
    if from.routes.any != to.routes.any {
        hosts("*".into(), Some(&from.routes.any), Some(&to.routes.any));
    }
    out.truncated = truncated;
    for list in [&mut out.services, &mut out.routes, &mut out.tasks, &mut out.problems] {
        list.sort();
    }
    out
}

fn push(list: &mut Vec<Change>, truncated: &mut bool, key: String, before: Option<String>, after: Option<String>) {
    if list.len() < DIFF_LIMIT {
        list.push(Change { key, before, after });
    } else {
        *truncated = true;
    }
}
