//! What differs between the names of two tables, in words.
//!
//! A task's names are a view over its group, so a change is told once, by the group's name: canonical names and those by id,
//! SRV records and the reverse zones follow from it and are not listed again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::agents::ABOVE;
use super::cluster::ClusterNames;
use super::group::{Member, TaskGroup};
use super::{AgentNames, Content, Names, StaticNames, Vips, ZoneNames};
use crate::cluster::event::StaticRecord;
use crate::model::dcos::ZoneKind;

/// Hears of a name, how it was (`None`: it was not there) and how it is.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&dyn ToString, Option<String>, Option<String>);

/// A zone's name, how the zone was, and how it is.
type Pair<'a> = (Arc<str>, Option<&'a ZoneNames>, Option<&'a ZoneNames>);

/// Addresses and ports of tasks.
type Tasks = Box<[(Box<[IpAddr]>, Box<[u16]>)]>;

/// The most that is shown of one name.
const SHOWN: usize = 8;

impl Names {
    /// Tells `visit` of zones, and of names that tasks, frameworks, agents and masters make. Costs as much as the difference,
    /// and the number of agents where one of them differs.
    pub(crate) fn diff(&self, later: &Self, visit: Visit<'_>) {
        for (name, before, after) in self.pairs(later) {
            let readiness = |zone: &ZoneNames| match zone.ready {
                true => "its source has spoken".to_owned(),
                false => "its source has not spoken yet".to_owned(),
            };
            tell(&name, before.map(readiness), after.map(readiness), visit);
            let nothing = ClusterNames::default();
            let (a, b) = (before.and_then(made), after.and_then(made));
            if a.is_some() || b.is_some() {
                diff_cluster(&name, a.unwrap_or(&nothing), b.unwrap_or(&nothing), visit);
            }
            let none = Vips::default();
            let (a, b) = (self.vips_of(before), later.vips_of(after));
            if a.is_some() || b.is_some() {
                let text = |addresses: Vec<IpAddr>| list(addresses.into_iter());
                a.unwrap_or(&none).diff(b.unwrap_or(&none), &mut |label, a, b| {
                    tell(&format!("{label}.{name}"), a.map(text), b.map(text), visit);
                });
            }
        }
    }

    /// Tells `visit` of names that files have records of. Costs a look at each name of the files that differ.
    pub(crate) fn diff_records(&self, later: &Self, visit: Visit<'_>) {
        for (_, before, after) in self.pairs(later) {
            let nothing = StaticNames::default();
            let (a, b) = (before.map(ZoneNames::statics), after.map(ZoneNames::statics));
            let text = |records: Vec<StaticRecord>| list(records.iter().map(record));
            a.unwrap_or(&nothing).diff(b.unwrap_or(&nothing), &mut |name, a, b| {
                tell(&name, a.map(text), b.map(text), visit);
            });
        }
    }

    /// The zones of both, by name.
    fn pairs<'a>(&'a self, later: &'a Self) -> Vec<Pair<'a>> {
        let names: BTreeSet<&Arc<str>> = self.zones().chain(later.zones()).map(|zone| &zone.name).collect();
        let of = |names: &'a Self, name: &str| names.zones.iter().find(|zone| *zone.zone.name == *name);
        names.into_iter().map(|name| (name.clone(), of(self, name), of(later, name))).collect()
    }

    /// The virtual addresses that a zone shows, if it is for them.
    fn vips_of(&self, zone: Option<&ZoneNames>) -> Option<&Vips> {
        match &zone?.content {
            Content::Dcos(cluster, ZoneKind::Vips) => Some(&self.of_cluster(cluster)?.vips),
            _ => None,
        }
    }
}

/// The names of a zone that a cluster makes.
fn made(zone: &ZoneNames) -> Option<&ClusterNames> {
    match &zone.content {
        Content::Cluster(names) => Some(names),
        _ => None,
    }
}

fn diff_cluster(zone: &str, from: &ClusterNames, to: &ClusterNames, visit: Visit<'_>) {
    from.groups.diff(&to.groups, &mut |name, a, b| {
        let (before, after) = (a.map(|group| from.named(group)), b.map(|group| to.named(group)));
        // What a task has beside its addresses and ports is told with the tasks.
        if before != after {
            let text = |tasks: Tasks| of_tasks(&tasks);
            visit(&format!("{name}.{zone}"), before.map(text), after.map(text));
        }
    });
    from.frameworks.diff(&to.frameworks, &mut |part, a, b| {
        let text = |addresses: &Arc<[(IpAddr, Option<u16>)]>| {
            list(addresses.iter().map(|(address, port)| match port {
                Some(port) => SocketAddr::new(*address, *port).to_string(),
                None => address.to_string(),
            }))
        };
        tell(&format!("{part}.{zone}"), a.map(text), b.map(text), visit);
    });
    if from.masters != to.masters {
        let leader = |names: &ClusterNames| names.masters.leader.map(|leader| leader.to_string());
        tell(&format!("leader.{zone}"), leader(from), leader(to), visit);
        let masters = |names: &ClusterNames| some(&names.masters.masters).map(|all| list(all.iter()));
        tell(&format!("master.{zone}"), masters(from), masters(to), visit);
    }
    if from.agents != to.agents {
        let agents = |names: &ClusterNames| {
            let sockets = |all: &[(IpAddr, u16)]| list(all.iter().map(|(ip, port)| SocketAddr::new(*ip, *port)));
            some(&names.agents).map(sockets)
        };
        visit(&format!("slave.{zone}"), agents(from), agents(to));
    }
    diff_agents(zone, &from.agent_names, &to.agent_names, visit);
}

/// Agents by name.
fn diff_agents(zone: &str, from: &AgentNames, to: &AgentNames, visit: Visit<'_>) {
    if from == to {
        return;
    }
    let addresses = |names: &AgentNames| -> BTreeMap<Arc<str>, BTreeSet<IpAddr>> {
        let of = |(name, agents): (&Arc<str>, &[Arc<crate::model::agent::AgentFacts>])| {
            (name.clone(), agents.iter().filter_map(|agent| agent.address).collect())
        };
        names.named().map(of).collect()
    };
    let (from, to) = (addresses(from), addresses(to));
    for name in from.keys().chain(to.keys().filter(|name| !from.contains_key(*name))) {
        let text = |addresses: &BTreeSet<IpAddr>| list(addresses.iter());
        tell(&format!("{name}.{ABOVE}.{zone}"), from.get(name).map(text), to.get(name).map(text), visit);
    }
}

impl ClusterNames {
    /// What a group's names have: addresses and ports of each task that is named.
    fn named(&self, group: &TaskGroup) -> Tasks {
        let ports = |member: &Member| match member.declared_ports() {
            Some(declared) => declared.iter().map(|port| port.number).collect(),
            None => member.host_ports().collect(),
        };
        let named = group.named(self.rules.unhealthy);
        named.into_iter().map(|member| (member.view.addresses().into(), ports(member))).collect()
    }
}

/// Tells of a name, unless what it shows is the same.
fn tell(name: &dyn ToString, before: Option<String>, after: Option<String>, visit: Visit<'_>) {
    if before != after {
        visit(name, before, after);
    }
}

fn of_tasks(tasks: &Tasks) -> String {
    list(tasks.iter().map(|(addresses, ports)| {
        let ports = if ports.is_empty() { String::new() } else { format!(" port {}", join(ports.iter(), "/")) };
        format!("{}{ports}", join(addresses.iter(), "/"))
    }))
}

fn record(record: &StaticRecord) -> String {
    let ttl = record.ttl.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
    format!("{} {}{ttl}", record.data.type_name(), record.data)
}

fn some<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

/// The first few, and how many more there are.
fn list(all: impl Iterator<Item = impl Display>) -> String {
    let mut texts: Vec<String> = all.map(|one| one.to_string()).collect();
    let more = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    match (texts.is_empty(), more) {
        (true, _) => "no records".to_owned(),
        (false, 0) => texts.join(", "),
        (false, more) => format!("{} and {more} more", texts.join(", ")),
    }
}

fn join(all: impl Iterator<Item = impl Display>, between: &str) -> String {
    all.map(|one| one.to_string()).collect::<Vec<_>>().join(between)
}
