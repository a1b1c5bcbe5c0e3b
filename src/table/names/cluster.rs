//! The names of one cluster, as Mesos-DNS makes them, relative to the zone.
//!
//! | name | records |
//! |---|---|
//! | `leader`, `master`, `masterN` | addresses of the masters |
//! | `_leader._tcp`, `_leader._udp` | SRV to `leader` |
//! | `slave`, `_slave._tcp` | addresses of the agents; SRV to `slave` |
//! | `FW`, `_framework._tcp.FW` | the framework's scheduler |
//! | `T.FW`, `T-HASH-TAIL.FW` | addresses of tasks |
//! | `T.FW.slave`, `T-HASH-TAIL.FW.slave` | addresses of their agents |
//! | `_T._PROTO.FW`, `_PORT._T._PROTO.FW` | SRV to the canonical names |
//! | `_T._PROTO.FW.slave` | SRV with the host ports |
//! | `ID.id.FW`, `ID.id.FW.slave` | one task by its id, see [`super::ids`] |
//!
//! Every rule that knows a name adds its records: a framework may be called `slave`, a task `framework`. Only a name by
//! id stands for one task and nothing else.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::group::{Member, TaskGroup};
use super::ids::TaskIds;
use super::kept::{AgentsKept, GroupKept};
use super::parents::Parents;
use super::records::{KeptRecords, Records};
use super::rules::NamingRules;
use super::{AddressNames, AgentNames, Around, Keeping, Record, Shown, Vips};
use crate::cluster::event::RecordData;
use crate::model::id::{ClusterName, FrameworkId};
use crate::model::network::MastersFacts;
use crate::model::persistent::PersistentMap;

/// Addresses of the schedulers that share a name, with their ports where known.
pub(crate) type SchedulerAddresses = Arc<[(IpAddr, Option<u16>)]>;

/// The names of one cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterNames {
    /// The cluster.
    pub(crate) cluster: ClusterName,
    /// The zone's name, for the targets of SRV records.
    pub(crate) zone: Arc<str>,
    /// How names are made.
    pub(crate) rules: NamingRules,
    /// Task groups by `task.framework`.
    pub(crate) groups: PersistentMap<Arc<str>, TaskGroup>,
    /// Tasks whose own label had to be cut, by it: `t-HASH-TAIL.framework`.
    pub(crate) cut: PersistentMap<Arc<str>, TaskGroup>,
    /// Single tasks, by id.
    pub(crate) ids: TaskIds,
    /// Groups whose label has no room for an underscore, by the shortened one.
    pub(crate) shortened: PersistentMap<Arc<str>, Arc<str>>,
    /// Addresses and ports of the schedulers, by the framework's part of the name.
    pub(crate) frameworks: PersistentMap<Arc<str>, SchedulerAddresses>,
    /// Hosts that schedulers are known by alone.
    pub(crate) wanted_hosts: Arc<[Arc<str>]>,
    /// Names that exist for those below them.
    pub(crate) parents: Parents,
    /// Addresses and ports of the agents.
    pub(crate) agents: Arc<[(IpAddr, u16)]>,
    /// What they are answered with; made anew with them.
    pub(crate) agents_kept: Arc<AgentsKept>,
    /// Agents by name.
    pub(crate) agent_names: AgentNames,
    /// Tasks by address, for the reverse zones.
    pub(crate) address_names: AddressNames,
    /// Virtual addresses that tasks ask for; empty without the zones of DC/OS.
    pub(crate) vips: Vips,
    /// Frameworks' parts with dots, by what DC/OS makes of them, sorted.
    pub(crate) dotted_frameworks: Arc<[(Arc<str>, Arc<str>)]>,
    /// Masters and leader.
    pub(crate) masters: Arc<MastersFacts>,
    /// Weight of SRV records.
    pub(crate) srv_weight: u16,
    /// Tasks whose labels give them another weight than the usual one.
    pub(crate) weighted: usize,
    /// What tasks show.
    pub(crate) shown: Shown,
    /// What masters, agents and frameworks show.
    pub(crate) around: Around,
    /// Every framework, by id: its name.
    pub(crate) framework_names: Arc<[(FrameworkId, Arc<str>)]>,
}

/// What the rules found for a name.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Whether some rule knows the name, with records or without.
    known: bool,
    records: Vec<Record>,
    /// Those of a group, which are found as they are kept.
    kept: Option<KeptRecords>,
}

impl Findings {
    /// A rule knows the name: these are its records.
    pub(super) fn add(&mut self, records: impl IntoIterator<Item = Record>) {
        self.known = true;
        self.records.extend(records);
    }

    /// A rule knows the name: these are its addresses.
    pub(super) fn add_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.add(addresses.into_iter().map(Record::of_address));
    }

    /// A rule knows the name: these are its addresses, as they are kept.
    pub(super) fn add_kept(&mut self, addresses: &KeptRecords) {
        match &self.kept {
            None => {
                self.known = true;
                self.kept = Some(addresses.clone());
            }
            Some(_) => self.add(addresses.all().iter().cloned()),
        }
    }

    /// As they are to be kept: a group's services.
    pub(super) fn into_kept(self) -> KeptRecords {
        KeptRecords::new(self.records)
    }

    /// Whether there is no record.
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.kept.as_ref().is_none_or(|kept| kept.all().is_empty())
    }

    /// Equal records collapse. What is kept is handed on where it is all that was found, as nearly always.
    pub(super) fn into_records(self) -> Option<Records> {
        if !self.known {
            return None;
        }
        let mut records = self.records;
        match self.kept {
            Some(kept) if records.is_empty() => return Some(Records::Kept(kept)),
            Some(kept) => records.extend(kept.all().iter().cloned()),
            None => {}
        }
        records.sort_by(|a, b| a.data.cmp(&b.data));
        records.dedup();
        Some(Records::Made(records))
    }
}

impl ClusterNames {
    /// The records of a name relative to the zone; `None` if it does not exist.
    pub fn find(&self, name: &str) -> Option<Records> {
        self.find_by(name, Keeping::Keep)
    }

    /// What is kept of a group's answers; `None`: the name is no group's of several tasks, or nothing is to be kept.
    pub(super) fn kept(&self, name: &str, keeping: Keeping) -> Option<&GroupKept> {
        self.groups.get(name).filter(|_| keeping == Keeping::Keep).and_then(TaskGroup::kept)
    }

    pub(super) fn find_by(&self, name: &str, keeping: Keeping) -> Option<Records> {
        let mut found = Findings::default();
        if let Some(records) = self.find_by_id(name) {
            return Some(records);
        }
        if name.starts_with('_') {
            self.fixed_services(name, &mut found);
            self.task_services(name, keeping, &mut found);
        } else {
            self.fixed_hosts(name, &mut found);
        }
        // A discovery name as it was written may begin with an underscore.
        self.task_hosts(name, keeping, &mut found);
        // Names that are not held exist by their records alone.
        found.known &= self.rules.hold || !found.is_empty();
        let found = found.into_records().or_else(|| self.further(name, keeping));
        found.or_else(|| {
            // `_leader._tcp` and `_leader._udp` always exist, and so do the names above them.
            (matches!(name, "_tcp" | "_udp") || self.parents.contains(name)).then(Records::default)
        })
    }

    fn fixed_hosts(&self, name: &str, found: &mut Findings) {
        match name {
            "leader" => found.add_addresses(self.masters.leader.map(|leader| leader.ip())),
            "slave" => found.add_kept(self.agents_kept.addresses.get_or_init(|| {
                let addresses = self.agents.iter().map(|(address, _)| *address);
                KeptRecords::of_addresses(addresses)
            })),
            "master" => {
                found.add_addresses(self.masters.masters.iter().chain(&self.masters.leader).map(SocketAddr::ip));
            }
            _ => {
                let number = name.strip_prefix("master").and_then(number);
                if let Some(address) = number.and_then(|number| numbered_masters(&self.masters).nth(number)) {
                    found.add_addresses([address]);
                }
            }
        }
        // A framework may be called `slave` or `master`; its addresses then join, as they do in Mesos-DNS.
        if let Some(known) = self.frameworks.get(name) {
            found.add_addresses(known.iter().map(|(address, _)| *address));
        }
    }

    fn fixed_services(&self, name: &str, found: &mut Findings) {
        match name {
            "_leader._tcp" | "_leader._udp" => {
                found.add(self.masters.leader.map(|leader| self.srv(leader.port(), "leader")));
            }
            "_slave._tcp" => {
                found.add_kept(self.agents_kept.services.get_or_init(|| {
                    let ports: BTreeSet<u16> = self.agents.iter().map(|(_, port)| *port).collect();
                    KeptRecords::new(ports.into_iter().map(|port| self.srv(port, "slave")).collect())
                }));
            }
            _ => {}
        }
        if let Some(framework) = name.strip_prefix("_framework._tcp.")
            && let Some(known) = self.frameworks.get(framework)
        {
            let ports: BTreeSet<u16> = known.iter().filter_map(|(_, port)| *port).collect();
            found.add(ports.into_iter().map(|port| self.srv(port, framework)));
        }
    }

    /// An SRV record for a task's port, at a host below the zone.
    pub(super) fn task_srv(&self, member: &Member, port: u16, host: &str) -> Record {
        let said = member.view.said_port(port);
        let priority = said.and_then(|said| said.srv_priority).unwrap_or(0);
        let weight = said.and_then(|said| said.srv_weight).unwrap_or(self.srv_weight);
        let target = format!("{host}.{}", self.zone).into();
        Record { data: RecordData::Srv { priority, weight, port, target }, ttl: None }
    }

    /// An SRV record for a host below the zone.
    pub(super) fn srv(&self, port: u16, host: &str) -> Record {
        let target = format!("{host}.{}", self.zone).into();
        Record { data: RecordData::Srv { priority: 0, weight: self.srv_weight, port, target }, ttl: None }
    }
}

/// The addresses of `master0`, `master1` and so on: each master once, the leader in its place in the list, or last
/// where the list does not have it.
pub(crate) fn numbered_masters(facts: &MastersFacts) -> impl Iterator<Item = IpAddr> {
    let leader = facts.leader;
    let mut seen: BTreeSet<IpAddr> = leader.iter().map(SocketAddr::ip).collect();
    let mut leader_is_numbered = false;
    let mut addresses: Vec<IpAddr> = Vec::with_capacity(facts.masters.len() + 1);
    for master in &facts.masters {
        let is_leader = Some(*master) == leader;
        let is_new = if is_leader { !leader_is_numbered } else { seen.insert(master.ip()) };
        leader_is_numbered |= is_leader;
        if is_new {
            addresses.push(master.ip());
        }
    }
    addresses.extend(leader.filter(|_| !leader_is_numbered).map(|leader| leader.ip()));
    addresses.into_iter()
}

/// A number as it is written in a name: without a sign or leading zeros.
fn number(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
