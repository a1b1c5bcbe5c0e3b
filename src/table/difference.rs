//! What differs between two versions of the table, in lines that sort and read well.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Table;
use super::routes::HostRoutes;
use super::task::TaskView;
use super::ways::Way;
use crate::model::persistent::PersistentMap;
use crate::model::problem::Problem;
use crate::model::service::Service;
use crate::model::time::Timestamp;

/// What differs between two tables.
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
    /// Routes that came, went or changed, by host: a name, `*.` and a name, `~` and an expression, or `*`.
    pub routes: Vec<Change>,
    /// Ports of the proxy, apps that requests name, and names of TLS connections: who holds them.
    #[serde(default)]
    pub ways: Vec<Change>,
    /// Tasks that came, went or changed.
    pub tasks: Vec<Change>,
    /// DNS names of tasks, frameworks, agents and masters whose records came, went or changed; and zones. What follows from
    /// these is left out: canonical names and those by id, SRV records, the reverse zones.
    #[serde(default)]
    pub names: Vec<Change>,
    /// DNS names whose records from files came, went or changed.
    #[serde(default)]
    pub records: Vec<Change>,
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
/// The most endpoints that a service's line shows.
const SHOWN: usize = 8;

impl TableDiff {
    /// Every list with what one of its entries is called, in the order in which they are shown.
    pub fn lists(&self) -> [(&'static str, &[Change]); 7] {
        [
            ("service", &self.services),
            ("route", &self.routes),
            ("way", &self.ways),
            ("task", &self.tasks),
            ("name", &self.names),
            ("record", &self.records),
            ("problem", &self.problems),
        ]
    }

    /// Keeps at most `most` changes of each kind.
    pub fn shorten(&mut self, most: usize) {
        let Self { services, routes, ways, tasks, names, records, problems, .. } = self;
        for list in [services, routes, ways, tasks, names, records, problems] {
            self.truncated |= list.len() > most;
            list.truncate(most);
        }
    }
}

/// What differs between two versions. Costs as much as the difference where the versions are relatives.
pub fn diff(from: &Table, to: &Table) -> TableDiff {
    let mut services = Kind::default();
    from.services.diff(&to.services, &mut |id, a, b| services.add(id, a.map(service), b.map(service)));
    let mut tasks = Kind::default();
    from.tasks.diff(&to.tasks, &mut |key, a, b| tasks.add(key, a.map(task), b.map(task)));
    let mut problems = Kind::default();
    from.problems.diff(&to.problems, &mut |subject, a, b| problems.add(subject, a.map(told), b.map(told)));
    let mut routes = Kind::default();
    let show = |host: &HostRoutes| host.to_string();
    from.routes.diff(&to.routes, &mut |host, a, b| routes.add(host, a.map(show), b.map(show)));
    let (mut names, mut records) = (Kind::default(), Kind::default());
    from.names.diff(&to.names, &mut |name, a, b| names.add(name, a, b));
    from.names.diff_records(&to.names, &mut |name, a, b| records.add(name, a, b));
    let ways = ways(from, to);
    let truncated = [&services, &routes, &ways, &tasks, &names, &records, &problems].iter().any(|kind| kind.is_more);
    TableDiff {
        from: from.generation,
        to: to.generation,
        at: to.built_at,
        services: services.sorted(),
        routes: routes.sorted(),
        ways: ways.sorted(),
        tasks: tasks.sorted(),
        names: names.sorted(),
        records: records.sorted(),
        problems: problems.sorted(),
        truncated,
    }
}

/// Changes of one kind, as many as are listed.
#[derive(Default)]
struct Kind {
    changes: Vec<Change>,
    is_more: bool,
}

impl Kind {
    fn add(&mut self, key: &dyn ToString, before: Option<String>, after: Option<String>) {
        if self.changes.len() < DIFF_LIMIT {
            self.changes.push(Change { key: key.to_string(), before, after });
        } else {
            self.is_more = true;
        }
    }

    fn sorted(mut self) -> Vec<Change> {
        self.changes.sort();
        self.changes
    }
}

fn ways(from: &Table, to: &Table) -> Kind {
    let mut kind = Kind::default();
    let (a, b) = (&from.ways, &to.ways);
    holders(&a.ports, &b.ports, &|port| format!("port {port}"), &mut kind);
    holders(&a.apps, &b.apps, &|app| format!("app {app}"), &mut kind);
    holders(&a.names, &b.names, &|host| format!("TLS for {host}"), &mut kind);
    kind
}

fn holders<K>(
    from: &PersistentMap<K, Arc<Way>>,
    to: &PersistentMap<K, Arc<Way>>,
    name: &dyn Fn(&K) -> String,
    kind: &mut Kind,
) where
    K: std::hash::Hash + Eq + Clone,
{
    from.diff(to, &mut |key, a, b| {
        let owner = |way: &Arc<Way>| way.owner.to_string();
        let (before, after) = (a.map(owner), b.map(owner));
        // Since when somebody holds it is no difference.
        if before != after {
            kind.add(&name(key), before, after);
        }
    });
}

fn service(service: &Arc<Service>) -> String {
    let mut text = format!("{} of {} endpoints available", service.available.len(), service.endpoints.len());
    for endpoint in service.endpoints.iter().take(SHOWN) {
        text.push_str(&format!("; {} {}", endpoint.address, endpoint.state.as_str()));
    }
    text
}

fn task(task: &Arc<TaskView>) -> String {
    let facts = &task.facts;
    format!("{} {} ({})", facts.state.as_str(), facts.health.as_str(), task.state.as_str())
}

fn told(problems: &Arc<[Problem]>) -> String {
    let lines = problems.iter().map(|problem| format!("{}: {}", problem.code.as_str(), problem.message));
    lines.collect::<Vec<_>>().join("; ")
}
