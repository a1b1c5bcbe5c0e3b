//! The tasks that share a name in a framework: one entry stands for all their names.

use std::net::IpAddr;
use std::sync::Arc;

use super::label::{agent_tail, domain_frag, hash_text, spec, task_hash};
use crate::model::endpoint::EndpointState;
use crate::model::id::TaskKey;
use crate::model::sorted::{SortKey, SortedList};
use crate::model::task::TaskState;
use crate::table::task::TaskView;

/// Tasks of one name in one framework.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskGroup {
    /// The tasks, by hash and key: the hash in a canonical name finds its task by binary search.
    pub members: SortedList<Member>,
}

/// One task of a group.
#[derive(Clone, Debug)]
pub struct Member {
    key: (u32, TaskKey),
    /// The task.
    pub view: Arc<TaskView>,
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && (Arc::ptr_eq(&self.view, &other.view) || self.view == other.view)
    }
}

impl Eq for Member {}

impl SortKey for Member {
    type Key = (u32, TaskKey);

    fn sort_key(&self) -> &Self::Key {
        &self.key
    }
}

/// The names that a task's group goes by, relative to the zone: `task.framework`, and the discovery name as it was
/// written where that differs (dots and all), as Mesos-DNS does for the sake of older clients.
pub fn group_names(view: &TaskView) -> Vec<Arc<str>> {
    let Some(framework) = &view.framework else { return Vec::new() };
    let framework = domain_frag(&framework.name);
    let definition = &view.facts.definition;
    let discovery = definition.discovery.as_ref().map(|d| &*d.name).filter(|name| !name.is_empty());
    let label = spec(discovery.unwrap_or(&definition.name));
    if label.is_empty() || framework.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<Arc<str>> = vec![format!("{label}.{framework}").into()];
    if let Some(raw) = discovery.map(str::to_ascii_lowercase)
        && raw != label
        && raw.split('.').all(|label| !label.is_empty() && label.len() <= super::label::LABEL)
    {
        names.push(format!("{raw}.{framework}").into());
    }
    names
}

impl Member {
    /// A member for this task.
    pub fn new(view: Arc<TaskView>) -> Self {
        Self { key: Self::key_of(&view.facts.key), view }
    }

    /// The key under which [`Member::new`] files a task.
    pub fn key_of(key: &TaskKey) -> (u32, TaskKey) {
        (task_hash(key.said_id()), key.clone())
    }

    /// What the canonical name adds to the task's label: `-HASH-TAIL`. Absent while the task has no agent.
    pub fn suffix(&self) -> Option<String> {
        let agent = self.view.facts.agent.as_ref()?;
        Some(format!("-{}-{}", hash_text(self.key.0), agent_tail(agent.as_str())))
    }

    /// The agent's addresses, for the names below `slave`.
    pub fn agent_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.view.agent.iter().filter_map(|agent| agent.address)
    }

    /// How eagerly the task is named.
    pub fn rank(&self) -> NameRank {
        if self.view.facts.state != TaskState::Running || self.view.agent.is_none() {
            return match self.view.state {
                EndpointState::Unreachable => NameRank::Reserve,
                _ => NameRank::Never,
            };
        }
        match self.view.state {
            EndpointState::Unhealthy | EndpointState::Unreachable => NameRank::Reserve,
            EndpointState::Draining | EndpointState::Starting => NameRank::Never,
            EndpointState::Ready | EndpointState::Unverified => NameRank::First,
        }
    }

    /// Host ports, for the names below `slave`.
    pub fn host_ports(&self) -> impl Iterator<Item = u16> {
        self.view.facts.definition.host_ports.iter().flat_map(|range| range.iter())
    }

    /// Whether the task's framework gave discovery information.
    pub fn has_discovery(&self) -> bool {
        self.view.facts.definition.discovery.is_some()
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
    /// The tasks that are named now. With `all`, every running one, whatever its health.
    pub fn named(&self, all: bool) -> Vec<&Member> {
        let of = |rank: NameRank| self.members.iter().filter(move |member| member.rank() == rank);
        if all {
            return self.members.iter().filter(|member| member.rank() != NameRank::Never).collect();
        }
        let first: Vec<_> = of(NameRank::First).collect();
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
                Some(member) if member.key.0 < hash => low = middle + 1,
                _ => high = middle,
            }
        }
        (low..self.members.len()).map_while(|at| self.members.at(at)).take_while(move |member| member.key.0 == hash)
    }
}
