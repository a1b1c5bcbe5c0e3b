//! From addresses back to names: PTR records in the reverse zones of the configuration.
//!
//! | address | name |
//! |---|---|
//! | an agent's | the agent's, whatever tasks it has: their names lead there too |
//! | a container's | the task's own; those of all its tasks where several share it |
//!
//! Pure views like the others: only which tasks have which address is kept, and only for the zones' networks.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::cluster::ClusterNames;
use super::group::{Member, NameRank, task_labels};
use super::parents::Parents;
use super::{Content, Names, Record};
use crate::cluster::event::RecordData;
use crate::model::persistent::PersistentMap;
use crate::model::reverse;
use crate::table::task::TaskView;

/// Names that one address leads back to at most.
const MAX_NAMES: usize = 8;

/// The tasks that have an address of their own, by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressNames {
    tasks: PersistentMap<IpAddr, Arc<[Arc<TaskView>]>>,
    /// Names of the reverse tree that lie above theirs.
    parents: Parents,
}

impl AddressNames {
    /// Every address with its tasks, sorted.
    pub(crate) fn sorted(&self) -> Vec<(IpAddr, &Arc<[Arc<TaskView>]>)> {
        let mut all: Vec<_> = self.tasks.iter().map(|(address, tasks)| (*address, tasks)).collect();
        all.sort_by_key(|(address, _)| *address);
        all
    }

    /// The names above theirs, with their counts, sorted.
    pub(crate) fn above(&self) -> Vec<(Arc<str>, u32)> {
        self.parents.sorted()
    }

    /// Adds a task at those of its addresses that lie in `networks`, or takes it back.
    pub(crate) fn change(&mut self, view: &Arc<TaskView>, networks: &[IpNet], add: bool) {
        for address in own_addresses(view, networks) {
            let known = self.tasks.get(&address).map(|known| &**known).unwrap_or_default();
            let others = known.iter().filter(|other| other.facts.key != view.facts.key).cloned();
            let mut tasks: Vec<Arc<TaskView>> = others.chain(add.then(|| view.clone())).collect();
            tasks.sort_by(|a, b| a.facts.key.cmp(&b.facts.key));
            match (known.is_empty(), tasks.is_empty()) {
                (true, false) => self.parents.add_ancestors(&reverse::name_of(address)),
                (false, true) => self.parents.remove_ancestors(&reverse::name_of(address)),
                _ => {}
            }
            match tasks.is_empty() {
                true => drop(self.tasks.remove(&address)),
                false => drop(self.tasks.insert(address, tasks.into())),
            }
        }
    }
}

/// The addresses within `networks` that are the task's and not its agent's.
pub(crate) fn own_addresses(view: &TaskView, networks: &[IpNet]) -> BTreeSet<IpAddr> {
    let agent = view.agent.as_ref().and_then(|agent| agent.address).map(|address| address.to_canonical());
    let own = view.addresses().iter().map(IpAddr::to_canonical).filter(|address| Some(*address) != agent);
    own.filter(|address| networks.iter().any(|network| network.contains(address))).collect()
}

impl Names {
    /// The records of a name in a reverse zone; `None` if it does not exist.
    pub(super) fn find_reverse(&self, name: &str) -> Option<Vec<Record>> {
        let Some(address) = reverse::address_of(name) else {
            return self.clusters().any(|names| names.has_below(name)).then(Vec::new);
        };
        let known = self.clusters().filter_map(|names| names.names_at(address));
        let targets: Option<BTreeSet<Arc<str>>> = known.fold(None, |all, some| {
            let mut all = all.unwrap_or_default();
            all.extend(some);
            Some(all)
        });
        let pointer = |target| Record { data: RecordData::Ptr(target), ttl: None };
        targets.map(|targets| targets.into_iter().take(MAX_NAMES).map(pointer).collect())
    }

    /// Every name of a reverse zone that has records.
    pub(super) fn list_reverse(&self, zone: &str) -> BTreeSet<String> {
        let addresses = self
            .clusters()
            .flat_map(|names| names.address_names.tasks.keys().copied().chain(names.agent_names.addresses()));
        let names = addresses.map(reverse::name_of);
        names.filter(|name| super::below(name, zone).is_some()).collect()
    }

    fn clusters(&self) -> impl Iterator<Item = &ClusterNames> {
        self.zones.iter().filter_map(|zone| match &zone.content {
            Content::Cluster(names) => Some(names),
            _ => None,
        })
    }
}

impl ClusterNames {
    /// The names that an address leads back to; `None`: nothing here has it.
    fn names_at(&self, address: IpAddr) -> Option<Vec<Arc<str>>> {
        let agents: Vec<Arc<str>> = self.agent_names.at(address).map(|name| self.agent_name(name)).collect();
        if !agents.is_empty() {
            return Some(agents);
        }
        let tasks = self.address_names.tasks.get(&address)?;
        let names: Vec<_> = tasks.iter().filter_map(|view| self.own_name(view)).take(MAX_NAMES).collect();
        // As with other names: without records it exists only where names are held.
        (self.rules.hold || !names.is_empty()).then_some(names)
    }

    /// The absolute canonical name of a task, if it is named and the policies let it have it.
    pub(super) fn own_name(&self, view: &Arc<TaskView>) -> Option<Arc<str>> {
        let member = Member::new(view.clone());
        if member.rank(self.rules.unhealthy) == NameRank::Never {
            return None;
        }
        let label = task_labels(view, &self.rules).into_iter().next()?;
        let part = self.rules.framework_parts(&view.framework.as_ref()?.name).pop()?;
        if view.refused_names().iter().any(|name| **name == *format!("{label}.{part}")) {
            return None;
        }
        Some(format!("{}.{}", self.target(&member.canonical(&label)?, &part, ""), self.zone).into())
    }

    fn has_below(&self, name: &str) -> bool {
        let has_agent = || reverse::network_of(name).is_some_and(|network| self.agent_names.is_any_in(network));
        self.address_names.parents.contains(name) || has_agent()
    }
}
