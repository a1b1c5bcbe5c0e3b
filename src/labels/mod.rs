//! What task labels mean: native ones, marathon-lb's `HAPROXY_*` → one typed specification, or a problem.
//!
//! Pure: the same labels give the same reading, whatever the order of different keys. A label that cannot be
//! understood becomes a problem and spoils nothing else.

pub mod host;
pub mod path;
pub mod ports;
pub mod spec;

mod acts;
mod asked;
mod assemble;
mod complaint;
mod haproxy;
mod keys;
mod native;
mod paths;
mod reference;
mod statements;
mod value;

pub mod vip;

pub use complaint::{MAX_PROBLEMS, is_secret};
pub use reference::reference_markdown;

pub(crate) use acts::is_protected_field;
pub(crate) use complaint::nearest;

use crate::model::task::{Discovery, DiscoveryPort, Label, PortScope, TaskDefinition};
use crate::model::weights::Shares;
use spec::Reading;
use statements::Statements;

/// The most routes of one task.
pub const MAX_ROUTES: usize = 64;

/// The most hosts of one task, all routes together.
pub const MAX_HOSTS: usize = 64;

/// The longest value of a label, in bytes.
pub const MAX_VALUE: usize = 4096;

/// The longest key of a label of ours, in bytes.
pub const MAX_KEY: usize = 512;

/// The most labels of ours that one task can have, of each scheme.
pub const MAX_LABELS: usize = 1024;

/// Whose labels count here.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Groups that are served, `*` for all, also tasks without one; none: every group that a task names.
    pub groups: &'a [String],
    /// marathon-lb's strict mode: ports selected by `HAPROXY_GROUP` are off unless `HAPROXY_{n}_ENABLED` is true.
    pub strict: bool,
}

/// Reads versions with their shares, as the label `split` has them.
///
/// # Errors
/// What is wrong, and the mend.
pub fn read_split(text: &str) -> Result<Shares, (String, String)> {
    acts::split(text).map_err(|fault| (fault.wrong, fault.mend))
}

/// Reads the labels of a task. `groups`: those that are served here, see [`Scope::groups`].
pub fn read(definition: &TaskDefinition, groups: &[String]) -> Reading {
    read_within(definition, &Scope { groups, strict: false })
}

/// Reads the labels of a task as far as they are meant for this scope.
pub fn read_within(definition: &TaskDefinition, scope: &Scope<'_>) -> Reading {
    let ports = ports::ports(definition);
    let mut statements = Statements::default();
    native::read(definition, &ports, &mut statements);
    haproxy::read(definition, &ports, scope, &mut statements);
    assemble::assemble(&ports, scope.groups, statements)
}

/// Reads the labels of a service that is declared without a task: as those of a task whose only port is `port`.
pub fn read_declared(labels: &[Label], port: &str, groups: &[String]) -> Reading {
    let port = DiscoveryPort {
        number: 0,
        // A port without a name is called by its index.
        name: if port == "0" { "".into() } else { port.into() },
        protocol: "".into(),
        scope: PortScope::Container,
        labels: Box::new([]),
    };
    let discovery = Discovery { name: "".into(), ports: Box::new([port]) };
    let definition = TaskDefinition { labels: labels.into(), discovery: Some(discovery), ..TaskDefinition::default() };
    read(&definition, groups)
}

/// Whether one of `said` is served here.
fn is_served(said: &[String], groups: &[String]) -> bool {
    groups.is_empty() || serves_all(groups) || groups.iter().any(|group| said.contains(group))
}

/// Whether tasks are served that are in no group, too.
fn serves_all(groups: &[String]) -> bool {
    groups.iter().any(|group| group == "*")
}

/// Reads arbitrary bytes as labels, one `key=value` a line, and checks what must hold of every reading.
#[doc(hidden)]
pub fn fuzz_labels(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let labels = text.lines().map(|line| {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        Label { key: key.into(), value: value.into() }
    });
    let names = ["web", "scrape", ""];
    let port = |name: &&str| DiscoveryPort {
        number: 80,
        name: (*name).into(),
        protocol: "tcp".into(),
        scope: PortScope::Host,
        labels: Box::new([]),
    };
    let discovery = Discovery { name: "".into(), ports: names.iter().map(port).collect() };
    let definition =
        TaskDefinition { labels: labels.collect(), discovery: Some(discovery), ..TaskDefinition::default() };
    let reading = read(&definition, &["*".to_owned()]);
    assert_eq!(reading, read(&definition, &["*".to_owned()]));
    assert!(reading.problems.len() <= MAX_PROBLEMS);
    let routes = || reading.spec.ports.iter().flat_map(|port| &port.routes);
    assert!(routes().count() <= MAX_ROUTES);
    assert!(routes().map(|route| route.hosts.len()).sum::<usize>() <= MAX_HOSTS);
    assert!(routes().all(|route| !route.hosts.is_empty() && route.least_path().starts_with('/')));
}
