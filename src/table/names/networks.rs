//! Tasks by network, for those that are on several: each name below says what its task has in that network alone.
//!
//! | name | records |
//! |---|---|
//! | `HOST.NETWORK.network` | the addresses of the tasks that `HOST` stands for: `T.FW`, a task's own name, or its name by id |
//! | `_PORT._PROTO.HOST.NETWORK.network` | SRV of one port |
//! | `_T._PROTO.FW.NETWORK.network`, `_PORT._T._PROTO.FW.NETWORK.network` | SRV to the tasks' own names in that network |
//!
//! `NETWORK` is the network's name as a label. Like all that Mesos-DNS does not have, they are looked for only where it
//! has no such name. Host ports are in no network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Record;
use super::cluster::{ClusterNames, Findings};
use super::group::Member;
use super::ids::ID;
use super::label::service_label;
use super::records::Records;
use super::rules::NamingRules;
use crate::config::checked::ExtraName;

/// What the names of networks lie below.
const ABOVE: &str = "network";

impl Member {
    /// The networks with a name that the task has addresses in, as labels.
    fn networks(&self, rules: &NamingRules) -> BTreeSet<String> {
        if self.view.facts.networks.is_none() || !rules.extra.has(ExtraName::Networks) {
            return BTreeSet::new();
        }
        let labels = self.view.facts.networks().map(|(name, _)| rules.label(name));
        labels.filter(|label| !label.is_empty()).collect()
    }

    /// Its addresses in a network, given as a label; none if it is not in it.
    fn addresses_in(&self, network: &str, rules: &NamingRules) -> Vec<IpAddr> {
        let in_it = self.view.facts.networks().filter(|(name, _)| rules.label(name) == network);
        in_it.flat_map(|(_, addresses)| addresses.iter().copied()).collect()
    }

    /// Whether it is in a network, given as a label; in `None` all are.
    pub(super) fn is_in(&self, network: Option<&str>, rules: &NamingRules) -> bool {
        network.is_none_or(|network| !self.addresses_in(network, rules).is_empty())
    }
}

/// What stands behind a name that is meant in a network.
pub(super) fn below(network: Option<&str>) -> String {
    network.map(|network| format!(".{network}.{ABOVE}")).unwrap_or_default()
}

impl ClusterNames {
    /// The records of a name in a network.
    pub(super) fn network_names(&self, name: &str) -> Option<Vec<Record>> {
        let (inner, network) = name.strip_suffix(ABOVE)?.strip_suffix('.')?.rsplit_once('.')?;
        if !self.rules.extra.has(ExtraName::Networks) {
            return None;
        }
        let mut found = Findings::default();
        if inner.starts_with('_') {
            self.task_services_in(inner, network, &mut found);
            self.port_services_in(inner, Some(network), &mut found);
        } else {
            for instance in self.instances(inner) {
                let addresses = instance.member.addresses_in(network, &self.rules);
                if !addresses.is_empty() {
                    found.add_addresses(addresses.into_iter().filter(|_| instance.is_named));
                }
            }
        }
        found.into_records().map(Records::into_vec).filter(|records| self.rules.hold || !records.is_empty())
    }

    /// Adds a task's names in its networks, for those who want the whole zone; it goes by `task` in the framework's
    /// part.
    pub(super) fn list_networks(&self, task: &str, part: &str, member: &Member, names: &mut BTreeSet<String>) {
        for host in [Some(task.to_owned()), member.canonical(task)].into_iter().flatten() {
            self.list_in_networks(&format!("{host}.{part}"), member, names);
        }
        for network in member.networks(&self.rules) {
            let below = below(Some(&network));
            names.extend(self.service_names(task, member).into_iter().map(|name| format!("{name}.{part}{below}")));
        }
    }

    /// Adds one name of a task in its networks, with those of its ports.
    pub(super) fn list_in_networks(&self, host: &str, member: &Member, names: &mut BTreeSet<String>) {
        for network in member.networks(&self.rules) {
            let below = below(Some(&network));
            names.extend(self.port_names(host, member).into_iter().map(|name| format!("{name}{below}")));
            names.insert(format!("{host}{below}"));
        }
    }

    /// `_T._PROTO` and `_PORT._T._PROTO` of the ports that a task declares.
    fn service_names(&self, task: &str, member: &Member) -> BTreeSet<String> {
        let service = match task.split_once('.') {
            Some((first, rest)) => format!("_{}.{rest}", service_label(first)),
            None => format!("_{}", service_label(task)),
        };
        let mut names = BTreeSet::new();
        for port in member.declared_ports().unwrap_or_default() {
            let (protocol, name) = (self.rules.label(&port.protocol), self.rules.label(&port.name));
            let protocols = if protocol.is_empty() { vec!["tcp", "udp"] } else { vec![protocol.as_str()] };
            for protocol in protocols {
                let at = format!("{service}._{}", service_label(protocol));
                if !name.is_empty() {
                    names.insert(format!("_{}.{at}", service_label(&name)));
                }
                names.insert(at);
            }
        }
        names
    }
}

/// What exists because names of a task in its networks lie below it: `around` are the names above those of the task
/// that end with the framework's part.
pub(super) fn network_parents(member: &Member, part: &str, around: &[String], rules: &NamingRules) -> Vec<String> {
    let mut parents = Vec::new();
    for network in member.networks(rules) {
        let below = below(Some(&network));
        parents.push(format!("{part}{below}"));
        parents.extend(around.iter().map(|name| format!("{name}{below}")));
        if rules.extra.has(ExtraName::Ids) {
            parents.push(format!("{ID}.{part}{below}"));
        }
    }
    parents
}
