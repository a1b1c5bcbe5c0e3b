//! Every name of a cluster, for those who want the whole zone. Made on demand: answers do not need it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::{ClusterNames, numbered_masters};
use super::further::RareType;
use super::group::{Member, NameRank, task_labels};
use super::label::{NAME, service_label};
use super::{Content, Keeping, Names, Record, ZoneNames};
use crate::cluster::event::RecordData;
use crate::table::task::TaskView;

impl Names {
    /// Every name of a zone that has records, absolute, sorted, without the final dot; the apex' SOA and NS and the
    /// name server's addresses are not in the table. Whatever is answered with records is listed, but for what wildcards
    /// stand for: a secondary that has the list must not deny what is answered here. `None`: there is no such zone, or its source has not spoken.
    pub fn list(&self, zone: &str) -> Option<Vec<(String, Vec<Record>)>> {
        let zone = self.ready_zone(zone)?;
        let mut names: BTreeSet<String> = match &zone.content {
            Content::Cluster(names) => {
                names.list().into_iter().map(|name| format!("{name}.{}", zone.zone.name)).collect()
            }
            Content::Static(names) => names.names().map(str::to_owned).collect(),
            Content::Reverse(_) => self.list_reverse(&zone.zone.name),
            Content::Dcos(cluster, kind) => self.list_dcos(&zone.zone, cluster, *kind),
        };
        names.extend(zone.beside.names().map(str::to_owned));
        Some(self.with_records(zone, names))
    }

    /// The same of a cluster's zone without what `dns.extra_names` adds: the names that Mesos-DNS has, and those that files
    /// put beside them. `None` also where no cluster has the zone.
    pub fn list_plain(&self, zone: &str) -> Option<Vec<(String, Vec<Record>)>> {
        let zone = self.ready_zone(zone)?;
        let Content::Cluster(cluster) = &zone.content else { return None };
        let mut names: BTreeSet<String> =
            cluster.list_plain().into_iter().map(|name| format!("{name}.{}", zone.zone.name)).collect();
        names.extend(zone.beside.names().map(str::to_owned));
        Some(self.with_records(zone, names))
    }

    /// Those of these names of a zone that have records, with them.
    fn with_records(&self, zone: &ZoneNames, names: BTreeSet<String>) -> Vec<(String, Vec<Record>)> {
        let records = |name: String| match self.find_by(&name, Keeping::Pass) {
            super::Found::Node(_, mut node) => {
                let rare = |record_type: &RareType| self.rare_by(&name, *record_type, Keeping::Pass).into_vec();
                node.records.extend(RareType::ALL.iter().flat_map(rare));
                Some((name, node.records.into_vec())).filter(|(_, records)| !records.is_empty())
            }
            // RFC 5936 §3.5: delegations, glue, and what else files have there.
            super::Found::Delegated(..) => zone.statics().records(&name).map(|records| (name, records)),
            _ => None,
        };
        names.into_iter().filter(|name| name.len() <= NAME).filter_map(records).collect()
    }

    /// The names of a cluster's zone, once its source has spoken.
    pub fn cluster(&self, zone: &str) -> Option<&ClusterNames> {
        match &self.ready_zone(zone)?.content {
            Content::Cluster(names) => Some(names),
            Content::Static(_) | Content::Reverse(_) | Content::Dcos(..) => None,
        }
    }

    /// The absolute name that finds just this task, without the final dot, once its cluster's source has spoken.
    pub fn name_by_id(&self, view: &TaskView) -> Option<String> {
        self.zones.iter().filter(|zone| zone.ready).find_map(|zone| match &zone.content {
            Content::Cluster(names) if names.cluster == *view.facts.key.cluster() => {
                Some(format!("{}.{}", names.name_by_id(view)?, zone.zone.name))
            }
            _ => None,
        })
    }

    fn ready_zone(&self, zone: &str) -> Option<&ZoneNames> {
        self.zones.iter().find(|known| *known.zone.name == *zone && known.ready)
    }
}

impl ClusterNames {
    /// Every name that may have records, relative to the zone.
    pub fn list(&self) -> BTreeSet<String> {
        let mut names = self.list_plain();
        names.extend(self.list_agents());
        self.list_ids(&mut names);
        self.each_named(|name, task, part, member| {
            self.list_ports(name, member, &mut names);
            self.list_networks(task, part, member, &mut names);
        });
        names
    }

    /// Every name that Mesos-DNS has, too, and that may have records, relative to the zone.
    pub fn list_plain(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> =
            ["leader", "master", "slave", "_leader._tcp", "_leader._udp", "_slave._tcp"].map(str::to_owned).into();
        names.extend((0..numbered_masters(&self.masters).count()).map(|number| format!("master{number}")));
        for framework in self.frameworks.keys() {
            names.insert(framework.to_string());
            names.insert(format!("_framework._tcp.{framework}"));
        }
        for (name, _) in self.groups.iter() {
            names.insert(name.to_string());
            names.insert(format!("{name}.slave"));
        }
        self.each_named(|_, task, part, member| {
            names.extend(self.records_at(task, part, member).into_iter().map(|(name, _)| name));
        });
        names
    }

    /// Everything that may have records for one task under a name that it shares with others.
    pub(super) fn list_member(&self, group: &str, member: &Member, names: &mut BTreeSet<String>) {
        self.with_parts(group, member, |task, part| {
            names.extend(self.records_at(task, part, member).into_iter().map(|(name, _)| name));
            self.list_ports(group, member, names);
            self.list_networks(task, part, member, names);
        });
    }

    /// Every task under each name that it shares with others: the name, its task's and its framework's part, the task.
    fn each_named(&self, mut visit: impl FnMut(&str, &str, &str, &Member)) {
        for (name, group) in self.groups.iter() {
            for member in group.members.iter() {
                self.with_parts(name, member, |task, part| visit(name, task, part, member));
            }
        }
    }

    /// The task's and the framework's part of a group's name, as they are for this task.
    fn with_parts(&self, group: &str, member: &Member, visit: impl FnOnce(&str, &str)) {
        let Some(framework) = &member.view.framework else { return };
        let parts = self.rules.framework_parts(&framework.name);
        let task = |part: &str| group.strip_suffix(part)?.strip_suffix('.');
        if let Some((task, part)) = parts.iter().find_map(|part| Some((task(part)?, part))) {
            visit(task, part);
        }
    }

    /// Everything that one task adds to the zone, as far as it is named; names relative to the zone, in the order of
    /// Mesos-DNS: the discovery name as it was written comes first.
    pub fn records_of(&self, view: &Arc<TaskView>) -> Vec<(String, RecordData)> {
        let (Some(framework), member) = (&view.framework, Member::new(view.clone())) else { return Vec::new() };
        if member.rank(self.rules.unhealthy) == NameRank::Never {
            return Vec::new();
        }
        let parts = self.rules.framework_parts(&framework.name);
        let labels = task_labels(view, &self.rules);
        let each = labels.iter().rev().flat_map(|task| parts.iter().map(move |part| (task, part)));
        let each =
            each.filter(|(task, part)| !view.refused_names().iter().any(|name| **name == *format!("{task}.{part}")));
        each.flat_map(|(task, part)| self.records_at(task, part, &member)).collect()
    }

    /// The records of a task that goes by `task` in a framework's part `part`.
    fn records_at(&self, task: &str, part: &str, member: &Member) -> Vec<(String, RecordData)> {
        let Some(own) = member.canonical(task) else { return Vec::new() };
        let mut records = Vec::new();
        let mut hosts = |addresses: &mut dyn Iterator<Item = IpAddr>, below: &str| {
            for address in addresses {
                for name in [task, &own] {
                    records.push((format!("{name}.{part}{below}"), RecordData::from(address)));
                }
            }
        };
        hosts(&mut member.view.addresses().iter().copied(), "");
        hosts(&mut member.agent_addresses(), ".slave");
        let service = match task.split_once('.') {
            Some((first, rest)) => format!("_{}.{rest}", service_label(first)),
            None => format!("_{}", service_label(task)),
        };
        for port in member.host_ports() {
            let data = self.task_srv(member, port, &self.target(&own, part, ".slave")).data;
            for protocol in ["tcp", "udp"] {
                records.push((format!("{service}._{protocol}.{part}.slave"), data.clone()));
                if member.declared_ports().is_none() {
                    records.push((format!("{service}._{protocol}.{part}"), data.clone()));
                }
            }
        }
        for port in member.declared_ports().unwrap_or_default() {
            let data = self.task_srv(member, port.number, &self.target(&own, part, "")).data;
            let (protocol, name) = (self.rules.label(&port.protocol), self.rules.label(&port.name));
            let protocols = if protocol.is_empty() { vec!["tcp", "udp"] } else { vec![protocol.as_str()] };
            for protocol in protocols {
                let at = format!("{service}._{}.{part}", service_label(protocol));
                if !name.is_empty() {
                    records.push((format!("_{}.{at}", service_label(&name)), data.clone()));
                }
                records.push((at, data.clone()));
            }
        }
        records
    }
}
