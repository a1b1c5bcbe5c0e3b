//! Names that Mesos-DNS does not have. They are looked for only where it has no such name, so that none of its names ever
//! says anything else because of them; and types that few ask for, made only for those who do.
//!
//! | name | records |
//! |---|---|
//! | `ID.agent`, `HOST.agent` | addresses of agents; TXT |
//! | `HOST.NETWORK.network` and services below it | see [`super::networks`] |
//! | `_PORT._PROTO.HOST` | SRV and SVCB of one port (RFC 2782); `HOST` is `T.FW` or a task's own name |
//! | `HOST` | TXT with facts; SVCB and HTTPS of the ports |

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bindings::{Use, binding};
use super::cluster::{ClusterNames, Findings};
use super::facts::{agent_text, task_text};
use super::group::{Member, NameRank};
use super::kept::GroupKept;
use super::label::service_label;
use super::ports::{GroupPorts, Place};
use super::records::{KeptRecords, Records};
use super::services::speaks;
use super::{Content, Keeping, Names, Record, below, networks};
use crate::cluster::event::RecordData;
use crate::config::checked::ExtraName;

/// A type whose records are not among a name's until they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RareType {
    /// TXT.
    Text,
    /// SVCB.
    Svcb,
    /// HTTPS.
    Https,
}

impl RareType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::Svcb, Self::Https];
}

/// Tasks and agents whose facts one name shows.
const MAX_TEXTS: usize = 32;

/// A task as one name stands for it.
pub(super) struct Instance {
    pub(super) member: Member,
    /// Its own name relative to the zone.
    own: String,
    pub(super) is_named: bool,
}

/// A port of a task, as names count it.
struct Port<'a> {
    number: u16,
    /// As a label without underscore: its name, or `portN` where it has none.
    label: String,
    /// As it is declared; `None`: a host port, which says nothing of itself.
    declared: Option<(&'a str, &'a str)>,
}

impl Names {
    /// A name's records of a rare type; absolute, lower case, without the final dot.
    pub fn rare(&self, name: &str, record_type: RareType) -> Records {
        self.rare_by(name, record_type, Keeping::Keep)
    }

    pub(super) fn rare_by(&self, name: &str, record_type: RareType, keeping: Keeping) -> Records {
        let zone = self.zones.iter().find_map(|zone| Some((zone, below(name, &zone.zone.name)?)));
        match zone {
            // A name that a file has is the file's alone.
            Some((zone, below)) if zone.ready && !zone.beside.has(name) => match &zone.content {
                Content::Cluster(names) => names.rare(below, record_type, keeping),
                _ => Records::default(),
            },
            _ => Records::default(),
        }
    }
}

impl ClusterNames {
    /// The records of a name that none of Mesos-DNS's rules knows, relative to the zone.
    pub(super) fn further(&self, name: &str, keeping: Keeping) -> Option<Records> {
        let hosts = || self.agent_hosts(name).map(Records::from);
        let in_networks = || self.network_names(name).map(Records::from);
        hosts().or_else(|| self.port_services(name, keeping)).or_else(in_networks)
    }

    fn rare(&self, name: &str, record_type: RareType, keeping: Keeping) -> Records {
        match record_type {
            RareType::Text if self.rules.extra.has(ExtraName::Text) => self.texts(name, keeping),
            RareType::Svcb if self.rules.extra.has(ExtraName::Bindings) => self.bindings(name, Use::Any, keeping),
            RareType::Https if self.rules.extra.has(ExtraName::Bindings) => self.bindings(name, Use::Https, keeping),
            _ => Records::default(),
        }
    }

    fn texts(&self, name: &str, keeping: Keeping) -> Records {
        let agents = self.agents_called(name).unwrap_or_default();
        let make = || {
            let tasks = self.instances(name).into_iter().filter(|instance| instance.is_named);
            let tasks = tasks.map(|instance| task_text(&instance.member.view));
            let agents = agents.iter().map(|agent| agent_text(agent));
            tasks.chain(agents).take(MAX_TEXTS).map(|data| Record { data, ttl: None }).collect::<Vec<_>>()
        };
        // Agents come and go without the group.
        match self.kept(name, keeping).filter(|_| agents.is_empty()) {
            Some(kept) => Records::Kept(kept.texts.get_or_init(|| KeptRecords::new(make())).clone()),
            None => make().into(),
        }
    }

    fn bindings(&self, name: &str, wanted: Use, keeping: Keeping) -> Records {
        let (service, host) = split_service(name);
        let asked = match service {
            Service::None => None,
            Service::Port(label, protocol) => Some((label, protocol)),
            Service::Protocol(_) => return Records::default(),
        };
        let make = || self.make_bindings(host, asked, wanted);
        match self.kept(host, keeping).map(|kept| self.group_ports(kept, host).bindings(asked, wanted)) {
            Some(Place::Here(place)) => Records::Kept(place.get_or_init(|| KeptRecords::new(make())).clone()),
            Some(Place::Nowhere) => Records::default(),
            Some(Place::Unkept) | None => make().into(),
        }
    }

    /// The records of a host's ports, or of one by label and protocol.
    fn make_bindings(&self, host: &str, asked: Option<(&str, &str)>, wanted: Use) -> Vec<Record> {
        let mut all: BTreeSet<RecordData> = BTreeSet::new();
        for instance in self.instances(host).into_iter().filter(|instance| instance.is_named) {
            for port in self.ports(&instance.member) {
                if asked.is_none_or(|(label, protocol)| port.label == label && self.is_over(&port, protocol)) {
                    let said = instance.member.view.said_port(port.number);
                    let name = port.declared.map_or("", |(name, _)| name);
                    let protocol = port.declared.map_or("", |(_, protocol)| protocol);
                    let target = self.absolute(&instance, &port);
                    all.extend(binding(wanted, port.number, (name, protocol), said, target));
                }
            }
        }
        all.into_iter().map(|data| Record { data, ttl: None }).collect()
    }

    /// `_PORT._PROTO.HOST`, and `_PROTO.HOST` above it.
    fn port_services(&self, name: &str, keeping: Keeping) -> Option<Records> {
        if !name.starts_with('_') || !self.rules.extra.has(ExtraName::Services) {
            return None;
        }
        let (service, host) = split_service(name);
        // What ports a name by id has is that name's own rule.
        if !self.members_by_id(host).is_empty() {
            return None;
        }
        let make = || {
            let mut found = Findings::default();
            self.port_services_in(name, None, &mut found);
            found
        };
        let ports = self.kept(host, keeping).map(|kept| self.group_ports(kept, host));
        let records = match (service, ports) {
            (Service::Port(label, protocol), Some(ports)) => match ports.services(label, protocol) {
                Place::Here(place) => Records::Kept(place.get_or_init(|| make().into_kept()).clone()),
                Place::Nowhere => return None,
                Place::Unkept => make().into_records()?,
            },
            (Service::Protocol(protocol), Some(ports)) => match ports.has_protocol(protocol) {
                Some(true) => Records::default(),
                Some(false) => return None,
                None => make().into_records()?,
            },
            _ => make().into_records()?,
        };
        (self.rules.hold || !records.is_empty() || matches!(service, Service::Protocol(_))).then_some(records)
    }

    /// What is kept of the ports of the group that goes by `host`.
    fn group_ports<'k>(&self, kept: &'k GroupKept, host: &str) -> &'k GroupPorts {
        kept.ports.get_or_init(|| {
            let mut asked = BTreeSet::new();
            for instance in self.instances(host) {
                for port in self.ports(&instance.member) {
                    asked.extend(self.protocols(&port).into_iter().map(|protocol| (port.label.clone(), protocol)));
                }
            }
            GroupPorts::of(asked)
        })
    }

    /// Adds the services of a name `_PORT._PROTO.HOST`, in one network or as they are without a word of it.
    pub(super) fn port_services_in(&self, name: &str, network: Option<&str>, found: &mut Findings) {
        let (service, host) = split_service(name);
        for instance in self.instances(host).into_iter().filter(|one| one.member.is_in(network, &self.rules)) {
            // Host ports are in no network.
            let is_there = |port: &Port<'_>| network.is_none() || port.declared.is_some();
            for port in self.ports(&instance.member).into_iter().filter(is_there) {
                match service {
                    Service::Port(label, protocol) if port.label == label && self.is_over(&port, protocol) => {
                        let srv = || self.port_srv(&instance, &port, network);
                        found.add(instance.is_named.then(srv));
                    }
                    Service::Protocol(protocol) if self.is_over(&port, protocol) => found.add([]),
                    _ => {}
                }
            }
        }
    }

    fn port_srv(&self, instance: &Instance, port: &Port<'_>, network: Option<&str>) -> Record {
        let below = if port.declared.is_some() { networks::below(network) } else { ".slave".to_owned() };
        self.task_srv(&instance.member, port.number, &format!("{}{below}", instance.own))
    }

    fn absolute(&self, instance: &Instance, port: &Port<'_>) -> Arc<str> {
        let below = if port.declared.is_some() { "" } else { ".slave" };
        format!("{}{below}.{}", instance.own, self.zone).into()
    }

    /// Adds the names of a task's ports below its group's and its own, for those who want the whole zone.
    pub(super) fn list_ports(&self, group: &str, member: &Member, names: &mut BTreeSet<String>) {
        if !self.rules.extra.has(ExtraName::Services) {
            return;
        }
        let own = self.own_in(group, member);
        for host in [Some(group), own.as_deref()].into_iter().flatten() {
            names.extend(self.port_names(host, member));
        }
    }

    /// `_PORT._PROTO.HOST` of a task's ports.
    pub(super) fn port_names(&self, host: &str, member: &Member) -> Vec<String> {
        let names = |port: Port<'_>| {
            let name = |protocol| format!("_{}._{protocol}.{host}", port.label);
            self.protocols(&port).into_iter().map(name).collect::<Vec<_>>()
        };
        self.ports(member).into_iter().flat_map(names).collect()
    }

    fn protocols(&self, port: &Port<'_>) -> Vec<String> {
        match port.declared.map(|(_, protocol)| self.rules.label(protocol)) {
            Some(protocol) if !protocol.is_empty() => vec![service_label(&protocol).into_owned()],
            _ => vec!["tcp".to_owned(), "udp".to_owned()],
        }
    }

    /// The tasks that a host's name stands for: `T.FW`, or one task's own name or name by id.
    pub(super) fn instances(&self, name: &str) -> Vec<Instance> {
        if let Some(group) = self.groups.get(name) {
            let named: BTreeSet<_> =
                group.named(self.rules.unhealthy).iter().map(|member| &member.view.facts.key).collect();
            let instance = |member: &Member| {
                let own = self.own_in(name, member)?;
                Some(Instance { is_named: named.contains(&member.view.facts.key), member: member.clone(), own })
            };
            return group.members.iter().filter_map(instance).collect();
        }
        let canonical = self.canonical(name).map(|members| members.into_iter().cloned().collect());
        let members: Vec<Member> = canonical.unwrap_or_else(|| self.members_by_id(name));
        let is_named = |member: &Member| member.rank(self.rules.unhealthy) != NameRank::Never;
        members
            .into_iter()
            .map(|member| Instance { is_named: is_named(&member), own: name.to_owned(), member })
            .collect()
    }

    /// A task's own name, where its group goes by `group`.
    fn own_in(&self, group: &str, member: &Member) -> Option<String> {
        let framework = member.view.framework.as_ref()?;
        self.rules.framework_parts(&framework.name).iter().find_map(|part| {
            let task = group.strip_suffix(&**part)?.strip_suffix('.')?;
            Some(self.target(&member.canonical(task)?, part, ""))
        })
    }

    /// A task's ports with what they are called: those it declares, else its host ports.
    fn ports<'a>(&self, member: &'a Member) -> Vec<Port<'a>> {
        let numbered = |at: usize| format!("port{at}");
        let Some(declared) = member.declared_ports() else {
            let host = member.host_ports().take(MAX_HOST_PORTS).enumerate();
            return host.map(|(at, number)| Port { number, label: numbered(at), declared: None }).collect();
        };
        let port = |(at, port): (usize, &'a crate::model::task::DiscoveryPort)| {
            let name = self.rules.label(&port.name);
            let label = if name.is_empty() { numbered(at) } else { service_label(&name).into_owned() };
            Port { number: port.number, label, declared: Some((&*port.name, &*port.protocol)) }
        };
        declared.iter().enumerate().map(port).collect()
    }

    fn is_over(&self, port: &Port<'_>, protocol: &str) -> bool {
        speaks(port.declared.map_or("", |(_, protocol)| protocol), protocol, &self.rules)
    }
}

/// Host ports that have names; a `ports` resource can span tens of thousands.
const MAX_HOST_PORTS: usize = 128;

/// What stands before a host's name, without underscores.
#[derive(Clone, Copy)]
enum Service<'a> {
    None,
    Protocol(&'a str),
    Port(&'a str, &'a str),
}

/// `_PORT._PROTO.HOST` → the service and the host.
fn split_service(name: &str) -> (Service<'_>, &str) {
    let label = |name: &'_ str| name.strip_prefix('_').and_then(|rest| rest.find('.'));
    let Some(end) = label(name) else { return (Service::None, name) };
    let (first, rest) = (&name[1..=end], &name[end + 2..]);
    match label(rest) {
        Some(end) => (Service::Port(first, &rest[1..=end]), &rest[end + 2..]),
        None => (Service::Protocol(first), rest),
    }
}
