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

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Record;
use super::group::{Member, NameRank, TaskGroup};
use super::label::{LABEL, parse_hash, spec};
use super::parents::Parents;
use crate::cluster::event::RecordData;
use crate::model::id::ClusterName;
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
    /// Task groups by `task.framework`.
    pub(crate) groups: PersistentMap<Arc<str>, Arc<TaskGroup>>,
    /// Addresses and ports of the schedulers, by the framework's part of the name.
    pub(crate) frameworks: PersistentMap<Arc<str>, SchedulerAddresses>,
    /// Names that exist for those below them.
    pub(crate) parents: Parents,
    /// Addresses and ports of the agents.
    pub(crate) agents: Arc<[(IpAddr, u16)]>,
    /// Masters and leader.
    pub(crate) masters: Arc<MastersFacts>,
    /// Weight of SRV records.
    pub(crate) srv_weight: u16,
    /// Every running task is named, whatever its health.
    pub(crate) name_unhealthy: bool,
}

impl ClusterNames {
    /// The records of a name relative to the zone; `None` if it does not exist.
    pub fn find(&self, name: &str) -> Option<Vec<Record>> {
        if name.starts_with('_') {
            if let Some(records) = self.services(name) {
                return Some(records);
            }
        } else if let Some(records) = self.hosts(name) {
            return Some(records);
        }
        // `_leader._tcp` and `_leader._udp` always exist, and so do the names above them.
        (matches!(name, "_tcp" | "_udp") || self.parents.contains(name)).then(Vec::new)
    }

    // --- addresses

    fn hosts(&self, name: &str) -> Option<Vec<Record>> {
        let fixed = self.fixed(name);
        // A framework may be called `slave` or `master`; its addresses then join, as they do in Mesos-DNS.
        let framework = self.frameworks.get(name).map(|known| known.iter().map(|(address, _)| *address).collect());
        let tasks = self.tasks(name);
        merge([fixed, framework, tasks])
    }

    fn fixed(&self, name: &str) -> Option<Vec<IpAddr>> {
        match name {
            "leader" => Some(self.leader().map(|leader| leader.ip()).into_iter().collect()),
            "slave" => Some(self.agents.iter().map(|(address, _)| *address).collect()),
            "master" => Some(self.masters.masters.iter().chain(&self.masters.leader).map(SocketAddr::ip).collect()),
            _ => {
                let number: usize = name.strip_prefix("master")?.parse().ok()?;
                Some(vec![self.masters.masters.get(number)?.ip()])
            }
        }
    }

    fn leader(&self) -> Option<SocketAddr> {
        self.masters.leader
    }

    fn tasks(&self, name: &str) -> Option<Vec<IpAddr>> {
        let (name, on_agents) = match name.strip_suffix(".slave") {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let addresses = |members: Vec<&Member>| -> Vec<IpAddr> {
            let of = |member: &Member| -> Vec<IpAddr> {
                if on_agents { member.agent_addresses().collect() } else { member.view.addresses.to_vec() }
            };
            members.into_iter().flat_map(of).collect()
        };
        if let Some(group) = self.groups.get(name) {
            return Some(addresses(group.named(self.name_unhealthy)));
        }
        self.canonical(name)
            .map(|members| addresses(members.into_iter().filter(|member| member.rank() != NameRank::Never).collect()))
    }

    /// The task that a canonical name stands for: some label ends in `-HASH-TAIL`, and without it names a group.
    fn canonical(&self, name: &str) -> Option<Vec<&Member>> {
        let mut start = 0;
        for label in name.split('.') {
            let end = start + label.len();
            if let Some((base, hash, tail)) = split_canonical(label) {
                let group = format!("{}{base}{}", &name[..start], &name[end..]);
                let members: Vec<_> = self
                    .groups
                    .get(&*group)
                    .into_iter()
                    .flat_map(|group| group.with_hash(hash))
                    .filter(|member| member.suffix().is_some_and(|suffix| suffix.ends_with(&format!("-{tail}"))))
                    .collect();
                if !members.is_empty() {
                    return Some(members);
                }
            }
            start = end + 1;
        }
        None
    }

    // --- services

    fn services(&self, name: &str) -> Option<Vec<Record>> {
        match name {
            "_leader._tcp" | "_leader._udp" => {
                return Some(self.leader().map(|leader| self.srv(leader.port(), "leader")).into_iter().collect());
            }
            "_slave._tcp" => {
                let ports: BTreeSet<u16> = self.agents.iter().map(|(_, port)| *port).collect();
                return Some(ports.into_iter().map(|port| self.srv(port, "slave")).collect());
            }
            _ => {}
        }
        if let Some(framework) = name.strip_prefix("_framework._tcp.")
            && let Some(known) = self.frameworks.get(framework)
        {
            let ports: BTreeSet<u16> = known.iter().filter_map(|(_, port)| *port).collect();
            return Some(ports.into_iter().map(|port| self.srv(port, framework)).collect());
        }
        self.task_services(name)
    }

    fn task_services(&self, name: &str) -> Option<Vec<Record>> {
        let query = ServiceName::parse(name)?;
        // `_a._b._tcp.fw`: port `a` of task `b`. `_a._tcp.fw`: task `a`. A discovery name as it was written may
        // have dots, so the task's part may be several labels.
        let mut readings: Vec<(Option<&str>, &str)> = vec![(None, query.service)];
        if let Some((port, task)) = query.service.split_once("._") {
            readings.push((Some(port), task));
        }
        for (port, task) in readings {
            let key = format!("{task}.{}", query.framework);
            if let Some(group) = self.groups.get(&*key) {
                if query.on_agents && port.is_some() {
                    return None;
                }
                return self.group_services(group, task, port, &query);
            }
        }
        None
    }

    fn group_services(
        &self,
        group: &TaskGroup,
        task: &str,
        port: Option<&str>,
        query: &ServiceName<'_>,
    ) -> Option<Vec<Record>> {
        // The name exists while any task of the group, named or not, declares such a port; else it is missing.
        let declares = |member: &Member| !member_ports(member, port, query).is_empty();
        if !group.members.is_empty() && !group.members.iter().any(declares) {
            return None;
        }
        let mut records = Vec::new();
        for member in group.named(self.name_unhealthy) {
            let Some(suffix) = member.suffix() else { continue };
            let below = if query.on_agents || !member.has_discovery() { ".slave" } else { "" };
            let host = format!("{task}{suffix}");
            if host.rsplit('.').next().is_some_and(|label| label.len() > LABEL) {
                continue;
            }
            let target = format!("{host}.{}{below}", query.framework);
            records.extend(member_ports(member, port, query).into_iter().map(|port| self.srv(port, &target)));
        }
        Some(unique(records))
    }

    fn srv(&self, port: u16, host: &str) -> Record {
        let target = format!("{host}.{}", self.zone).into();
        Record { data: RecordData::Srv { priority: 0, weight: self.srv_weight, port, target }, ttl: None }
    }
}

/// `_SERVICE._PROTO.FRAMEWORK[.slave]`.
struct ServiceName<'a> {
    /// What stands before the protocol, without the first underscore: the task, or `port._task`.
    service: &'a str,
    protocol: &'a str,
    framework: &'a str,
    on_agents: bool,
}

impl<'a> ServiceName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let service = name.strip_prefix('_')?;
        // The protocol is the last label that begins with an underscore: frameworks' labels never do.
        let at = service.rfind("._")?;
        let (protocol, rest) = service[at + 2..].split_once('.')?;
        let (framework, on_agents) = match rest.strip_suffix(".slave") {
            Some(framework) => (framework, true),
            None => (rest, false),
        };
        Some(Self { service: &service[..at], protocol, framework, on_agents })
    }
}

/// The numbers of a task's ports that a service name asks for.
fn member_ports(member: &Member, name: Option<&str>, query: &ServiceName<'_>) -> Vec<u16> {
    let any_protocol = matches!(query.protocol, "tcp" | "udp");
    if query.on_agents || !member.has_discovery() {
        // Host ports carry no protocol and no name: both protocols list them all.
        return if any_protocol && name.is_none() { member.host_ports().collect() } else { Vec::new() };
    }
    let Some(discovery) = &member.view.facts.definition.discovery else { return Vec::new() };
    let speaks = |written: &str| match spec(written).as_str() {
        "" => any_protocol,
        protocol => protocol == query.protocol,
    };
    let called = |written: &str| name.is_none_or(|name| spec(written) == *name);
    let wanted = discovery.ports.iter().filter(|port| speaks(&port.protocol) && called(&port.name));
    wanted.map(|port| port.number).collect()
}

/// Names that exist because of one member, beside the group's own: `_PROTO.FW`, `FW.slave` and so on.
pub(crate) fn member_parents(member: &Member, framework: &str) -> BTreeSet<String> {
    let definition = &member.view.facts.definition;
    let mut names = BTreeSet::new();
    let mut service = |protocol: &str, below: &str| {
        names.insert(format!("_{protocol}.{framework}{below}"));
    };
    if !definition.host_ports.is_empty() {
        for protocol in ["tcp", "udp"] {
            service(protocol, ".slave");
            if definition.discovery.is_none() {
                service(protocol, "");
            }
        }
    }
    for port in definition.discovery.iter().flat_map(|discovery| discovery.ports.iter()) {
        match spec(&port.protocol).as_str() {
            "" => ["tcp", "udp"].into_iter().for_each(|protocol| service(protocol, "")),
            protocol => service(protocol, ""),
        }
    }
    names
}

/// `T-HASH-TAIL` → (`T`, hash, `TAIL`).
fn split_canonical(label: &str) -> Option<(&str, u32, &str)> {
    let (rest, tail) = label.rsplit_once('-')?;
    let (base, hash) = rest.rsplit_once('-')?;
    Some((base, parse_hash(hash)?, tail)).filter(|(base, _, _)| !base.is_empty())
}

/// Joins what several rules say of one name; equal addresses collapse. `None` where no rule knows the name.
fn merge<const N: usize>(rules: [Option<Vec<IpAddr>>; N]) -> Option<Vec<Record>> {
    let known: Vec<Vec<IpAddr>> = rules.into_iter().flatten().collect();
    if known.is_empty() {
        return None;
    }
    let addresses: BTreeSet<IpAddr> = known.into_iter().flatten().map(|address| address.to_canonical()).collect();
    let record = |address| match address {
        IpAddr::V4(address) => Record { data: RecordData::A(address), ttl: None },
        IpAddr::V6(address) => Record { data: RecordData::Aaaa(address), ttl: None },
    };
    Some(addresses.into_iter().map(record).collect())
}

fn unique(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|a, b| a.data.cmp(&b.data));
    records.dedup();
    records
}
