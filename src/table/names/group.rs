//! The tasks that share a name in a framework: one entry stands for all their names.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::kept::GroupKept;
use super::label::{LABEL, agent_tail, hash_text, suffixed, task_hash};
use super::rules::NamingRules;
use crate::config::checked::NameUnhealthy;
use crate::model::endpoint::EndpointState;
use crate::model::id::TaskKey;
use crate::model::sorted::{SortKey, SortedList};
use crate::model::task::{DiscoveryPort, TaskState};
use crate::table::task::TaskView;

/// Tasks of one name in one framework.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup {
    /// The tasks, by hash and key: the hash in a canonical name finds its task by binary search.
    pub members: SortedList<Member>,
    /// Made when somebody asks: a group that changes is another one, and has it made anew.
    kept: OnceLock<Arc<GroupKept>>,
}

/// Whether somebody has asked already is no difference.
impl PartialEq for TaskGroup {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl Eq for TaskGroup {}

/// One task of a group.
#[derive(Clone, Debug)]
pub struct Member {
    hash: u32,
    /// The task.
    pub view: Arc<TaskView>,
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view, &other.view) || self.view == other.view
    }
}

impl Eq for Member {}

impl SortKey for Member {
    type Key = (u32, TaskKey);

    fn compare(&self, (hash, key): &Self::Key) -> Ordering {
        self.hash.cmp(hash).then_with(|| self.view.facts.key.cmp(key))
    }

    fn order(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.view.facts.key.cmp(&other.view.facts.key))
    }
}

/// The labels that a task goes by: the one made of its discovery name, else of its own; and the discovery name as it
/// was written where that differs (dots and all), as Mesos-DNS does for the sake of older clients.
pub fn task_labels(view: &TaskView, rules: &NamingRules) -> Vec<String> {
    let definition = &view.facts.definition;
    let discovery = definition.discovery.as_ref().map(|d| &*d.name).filter(|name| !name.is_empty());
    let label = rules.label(discovery.unwrap_or(&definition.name));
    if label.is_empty() {
        return Vec::new();
    }
    // What is no plain presentation of a name (capitals, empty or long labels, octets that need an escape) Mesos-DNS
    // keeps too, and never finds: it looks for questions in lower case and with escapes.
    let raw = discovery.filter(|raw| {
        let is_plain =
            |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !br#"();@"\"#.contains(&byte);
        **raw != *label
            && raw.bytes().all(is_plain)
            && raw.split('.').all(|label| !label.is_empty() && label.len() <= LABEL)
    });
    [label.clone()].into_iter().chain(raw.map(str::to_owned)).collect()
}

/// The names that a task's groups go by, relative to the zone: `task.framework` for each of its labels. Empty where
/// the task is not named and names are not held.
pub fn group_names(view: &TaskView, rules: &NamingRules) -> Vec<Arc<str>> {
    let Some(framework) = &view.framework else { return Vec::new() };
    if !rules.hold && rank(view, rules.unhealthy) == NameRank::Never {
        return Vec::new();
    }
    let parts = rules.framework_parts(&framework.name);
    let labels = task_labels(view, rules);
    labels.iter().flat_map(|label| parts.iter().map(move |part| format!("{label}.{part}").into())).collect()
}

impl Member {
    /// A member for this task.
    pub fn new(view: Arc<TaskView>) -> Self {
        Self { hash: task_hash(view.facts.key.said_id()), view }
    }

    /// A member for this task, whose hash is known.
    pub fn with_hash(hash: u32, view: Arc<TaskView>) -> Self {
        Self { hash, view }
    }

    /// What tells it from other tasks of its name: with its key, what it is filed under.
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// What the canonical name adds to the task's label: `-HASH-TAIL`. Absent while the task has no agent.
    pub fn suffix(&self) -> Option<String> {
        let agent = self.view.facts.agent.as_ref()?;
        Some(format!("-{}-{}", hash_text(self.hash), agent_tail(agent.as_str())))
    }

    /// The agent's addresses, for the names below `slave`.
    pub fn agent_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.view.agent.iter().filter_map(|agent| agent.address)
    }

    /// The task's own name in place of `task` (its label, or its discovery name as written): `T-HASH-TAIL`, cut
    /// where the label would be too long.
    pub fn canonical(&self, task: &str) -> Option<String> {
        let suffix = self.suffix()?;
        match task.rsplit_once('.') {
            Some((front, last)) => Some(format!("{front}.{}", suffixed(last, &suffix)?)),
            None => suffixed(task, &suffix),
        }
    }

    /// How eagerly the task is named.
    pub fn rank(&self, unhealthy: NameUnhealthy) -> NameRank {
        rank(&self.view, unhealthy)
    }

    /// Host ports, for the names below `slave`.
    pub fn host_ports(&self) -> impl Iterator<Item = u16> {
        self.view.facts.definition.host_ports.iter().flat_map(|range| range.iter())
    }

    /// The ports that the task declares; `None` without a discovery name: then its host ports count.
    pub fn declared_ports(&self) -> Option<&[DiscoveryPort]> {
        let discovery = self.view.facts.definition.discovery.as_ref()?;
        (!discovery.name.is_empty()).then_some(&*discovery.ports)
    }
}

/// How eagerly a task is named.
pub(super) fn rank(view: &TaskView, unhealthy: NameUnhealthy) -> NameRank {
    let runs = view.facts.state == TaskState::Running && view.agent.is_some();
    if unhealthy == NameUnhealthy::Always {
        // Mesos-DNS knows no orders of operators: they hold beside its rules.
        return if runs && !view.drained { NameRank::First } else { NameRank::Never };
    }
    match view.state {
        EndpointState::Unreachable => NameRank::Reserve,
        EndpointState::Unhealthy if runs => NameRank::Reserve,
        EndpointState::Ready | EndpointState::Unverified if runs => NameRank::First,
        _ => NameRank::Never,
    }
}

/// How eagerly a task is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameRank {
    /// Named.
    First,
    /// Named only while no task of the group ranks first.
    Reserve,
    /// Not named; its name exists without records.
    Never,
}

impl TaskGroup {
    /// A group of these tasks.
    pub fn new(members: SortedList<Member>) -> Self {
        Self { members, kept: OnceLock::new() }
    }

    /// What is kept of its answers; nothing for one task, whose records are quickly made: most groups have one.
    pub(super) fn kept(&self) -> Option<&GroupKept> {
        (self.members.len() > 1).then(|| &**self.kept.get_or_init(Arc::default))
    }

    /// The tasks that are named now.
    pub fn named(&self, unhealthy: NameUnhealthy) -> SmallVec<[&Member; 4]> {
        let of = |rank: NameRank| self.members.iter().filter(move |member| member.rank(unhealthy) == rank);
        let first: SmallVec<[&Member; 4]> = of(NameRank::First).collect();
        if first.is_empty() { of(NameRank::Reserve).collect() } else { first }
    }

    /// The tasks with this hash.
    pub fn with_hash(&self, hash: u32) -> impl Iterator<Item = &Member> {
        // The members are sorted by hash first; a hash is 25 bits, so nearly always there is one.
        let mut low = 0;
        let mut high = self.members.len();
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.members.at(middle) {
                Some(member) if member.hash < hash => low = middle + 1,
                _ => high = middle,
            }
        }
        (low..self.members.len()).map_while(|at| self.members.at(at)).take_while(move |member| member.hash == hash)
    }
}
