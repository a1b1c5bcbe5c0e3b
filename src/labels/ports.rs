//! Which ports a task has, and in which order: the one place where that order lives.
//!
//! Discovery ports, else port mappings, else host ports. An index in a label (`pointsman.0.host`, `HAPROXY_0_VHOST`)
//! counts in this list. Frameworks announce one port several times (once a protocol, once a network); such entries are
//! one port here, so that indices are those that people count. Whether two entries without a name and with one number are
//! one port or two (53 for UDP, and 53 for TCP) only its framework can tell, by how many ports it counts.

use std::sync::Arc;

use crate::model::task::{Discovery, NetworkMode, PortMapping, PortScope, TaskDefinition};

/// The most ports of one task that count. A `ports` resource can span tens of thousands.
pub const MAX_PORTS: usize = 128;

/// One port of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPort {
    /// Its position, from 0.
    pub index: usize,
    /// Its name; empty if it has none.
    pub name: Arc<str>,
    /// The number as announced: see [`TaskPort::host`] and [`TaskPort::container`] for whose it is.
    pub number: u16,
    /// The number on the agent's address, where there is one.
    pub host: Option<u16>,
    /// The number on the container's own address, where there is one.
    pub container: Option<u16>,
    /// Which transports it is announced for.
    pub transports: Transports,
    /// Where it was announced.
    pub kind: PortKind,
}

/// Where a port was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// In the discovery information.
    Discovery,
    /// In the container's port mappings.
    Mapping,
    /// In the `ports` resource alone.
    Host,
}

/// Transports of a port. A port that names none has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transports {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
}

impl Transports {
    /// Reads a protocol as announced: `tcp`, `udp`, `udp,tcp`, or nothing for both. Others (`http`, `sctp`) count as
    /// TCP: frameworks put the application's protocol here too.
    pub fn parse(text: &str) -> Self {
        let mut out = Self { tcp: false, udp: false };
        for word in text.split(',').map(str::trim) {
            match word {
                "" => {}
                _ if word.eq_ignore_ascii_case("udp") => out.udp = true,
                _ => out.tcp = true,
            }
        }
        if out.tcp || out.udp { out } else { Self { tcp: true, udp: true } }
    }
}

impl TaskPort {
    /// The number that goes with the task's address in this network: the agent's port in host and bridge networks,
    /// the container's otherwise; the announced one where that is not known.
    pub fn number_in(&self, network: NetworkMode) -> u16 {
        let preferred = match network {
            NetworkMode::Host | NetworkMode::Bridge => self.host,
            NetworkMode::Container => self.container,
        };
        preferred.unwrap_or(self.number)
    }

    /// The port's part in a service's id: its name, or its index where it has none.
    pub fn key(&self) -> Arc<str> {
        if self.name.is_empty() { self.index.to_string().into() } else { self.name.clone() }
    }
}

/// The ports of a task in order, at most [`MAX_PORTS`].
pub fn ports(definition: &TaskDefinition) -> Vec<TaskPort> {
    let mut out = found_ports(definition, Twins::AreOne);
    let counted = definition.app.as_ref().map_or(0, |app| app.service_ports.len());
    if counted > out.len() {
        let apart = found_ports(definition, Twins::AreTwo);
        if apart.len() == counted {
            out = apart;
        }
    }
    for (index, port) in out.iter_mut().enumerate() {
        port.index = index;
    }
    out
}

/// What entries are that differ in their transport alone, and have no name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twins {
    /// One port for both transports, announced for each.
    AreOne,
    /// Two ports.
    AreTwo,
}

fn found_ports(definition: &TaskDefinition, twins: Twins) -> Vec<TaskPort> {
    match &definition.discovery {
        Some(discovery) if !discovery.ports.is_empty() => discovery_ports(discovery, definition, twins),
        _ if !definition.port_mappings.is_empty() => mapped_ports(&definition.port_mappings, twins),
        _ => host_ports(definition),
    }
}

fn discovery_ports(discovery: &Discovery, definition: &TaskDefinition, twins: Twins) -> Vec<TaskPort> {
    let mut out: Vec<TaskPort> = Vec::new();
    // Merging looks back over what is there already: the input is bounded, so that the cost is.
    for announced in discovery.ports.iter().take(4 * MAX_PORTS) {
        let (host, container) = faces(announced.number, announced.scope, definition);
        let port = TaskPort {
            index: 0,
            name: announced.name.clone(),
            number: announced.number,
            host,
            container,
            transports: Transports::parse(&announced.protocol),
            kind: PortKind::Discovery,
        };
        add(&mut out, port, twins);
    }
    out
}

/// The host's and the container's number of an announced port.
fn faces(number: u16, scope: PortScope, definition: &TaskDefinition) -> (Option<u16>, Option<u16>) {
    let is_host = match scope {
        PortScope::Host => true,
        PortScope::Container => false,
        PortScope::Unspecified => definition.network != NetworkMode::Container,
    };
    let mapping =
        |of: fn(&PortMapping) -> u16| definition.port_mappings.iter().find(move |mapping| of(mapping) == number);
    if is_host {
        (Some(number), mapping(|m| m.host_port).map(|m| m.container_port))
    } else {
        (mapping(|m| m.container_port).map(|m| m.host_port), Some(number))
    }
}

/// Whether two announcements are of one port: the same name, and the same numbers or the two faces of one port.
fn is_same(known: &TaskPort, other: &TaskPort, twins: Twins) -> bool {
    if known.name != other.name {
        return false;
    }
    if twins == Twins::AreTwo && known.name.is_empty() && known.transports != other.transports {
        return false;
    }
    let same = known.host == other.host && known.container == other.container;
    let completes = !known.name.is_empty()
        && (known.host.is_none() || other.host.is_none() || known.host == other.host)
        && (known.container.is_none() || other.container.is_none() || known.container == other.container);
    same || completes
}

/// Adds a port, or joins it with the one it is.
fn add(ports: &mut Vec<TaskPort>, port: TaskPort, twins: Twins) {
    match ports.iter().position(|known| is_same(known, &port, twins)) {
        Some(at) => join(&mut ports[at], &port),
        None if ports.len() < MAX_PORTS => ports.push(port),
        None => {}
    }
}

fn join(known: &mut TaskPort, other: &TaskPort) {
    known.host = known.host.or(other.host);
    known.container = known.container.or(other.container);
    known.transports.tcp |= other.transports.tcp;
    known.transports.udp |= other.transports.udp;
}

fn mapped_ports(mappings: &[PortMapping], twins: Twins) -> Vec<TaskPort> {
    let mut out: Vec<TaskPort> = Vec::new();
    for mapping in mappings.iter().take(4 * MAX_PORTS) {
        // A mapping without a protocol is one for TCP.
        let protocol = if mapping.protocol.is_empty() { "tcp" } else { &mapping.protocol };
        let port = TaskPort {
            index: 0,
            name: "".into(),
            number: mapping.host_port,
            host: Some(mapping.host_port),
            container: Some(mapping.container_port),
            transports: Transports::parse(protocol),
            kind: PortKind::Mapping,
        };
        add(&mut out, port, twins);
    }
    out
}

fn host_ports(definition: &TaskDefinition) -> Vec<TaskPort> {
    let numbers = definition.host_ports.iter().flat_map(|range| range.iter());
    let port = |number| TaskPort {
        index: 0,
        name: "".into(),
        number,
        host: Some(number),
        container: None,
        transports: Transports { tcp: true, udp: true },
        kind: PortKind::Host,
    };
    numbers.take(MAX_PORTS).map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::{AppFacts, DiscoveryPort, PortRange};

    fn announced(name: &str, number: u16, protocol: &str, scope: PortScope) -> DiscoveryPort {
        DiscoveryPort { number, name: name.into(), protocol: protocol.into(), scope, labels: Box::new([]) }
    }

    fn task(network: NetworkMode, discovery: Vec<DiscoveryPort>, mappings: &[(u16, u16)]) -> TaskDefinition {
        TaskDefinition {
            network,
            discovery: Some(Discovery { name: "".into(), ports: discovery.into() }),
            port_mappings: mappings
                .iter()
                .map(|&(host_port, container_port)| PortMapping { host_port, container_port, protocol: "tcp".into() })
                .collect(),
            host_ports: Box::new([PortRange { begin: 31000, end: 31001 }]),
            ..TaskDefinition::default()
        }
    }

    fn check(definition: &TaskDefinition, expected: &[(&str, u16, PortKind)]) {
        let found = ports(definition);
        let shown: Vec<_> = found.iter().map(|p| (&*p.name, p.number_in(definition.network), p.kind)).collect();
        assert_eq!(shown, expected);
        assert!(found.iter().enumerate().all(|(at, port)| port.index == at));
    }

    #[test]
    fn discovery_comes_first() {
        let web = announced("web", 80, "tcp", PortScope::Unspecified);
        check(&task(NetworkMode::Host, vec![web.clone()], &[]), &[("web", 80, PortKind::Discovery)]);
        check(&task(NetworkMode::Container, vec![web], &[]), &[("web", 80, PortKind::Discovery)]);
    }

    #[test]
    fn then_mappings_then_host_ports() {
        check(&task(NetworkMode::Bridge, vec![], &[(31000, 80)]), &[("", 31000, PortKind::Mapping)]);
        check(&task(NetworkMode::Container, vec![], &[(31000, 80)]), &[("", 80, PortKind::Mapping)]);
        check(&task(NetworkMode::Host, vec![], &[]), &[("", 31000, PortKind::Host), ("", 31001, PortKind::Host)]);
    }

    #[test]
    fn a_container_port_in_a_bridge_is_reached_through_its_mapping() {
        let web = announced("web", 80, "tcp", PortScope::Container);
        check(&task(NetworkMode::Bridge, vec![web], &[(31000, 80)]), &[("web", 31000, PortKind::Discovery)]);
    }

    #[test]
    fn one_port_announced_several_times_is_one() {
        let twice = vec![
            announced("dns", 53, "udp", PortScope::Host),
            announced("dns", 53, "tcp", PortScope::Host),
            announced("dns", 5353, "tcp", PortScope::Container),
            announced("web", 80, "tcp", PortScope::Host),
        ];
        let definition = task(NetworkMode::Host, twice, &[]);
        check(&definition, &[("dns", 53, PortKind::Discovery), ("web", 80, PortKind::Discovery)]);
        assert_eq!(ports(&definition)[0].transports, Transports { tcp: true, udp: true });
        assert_eq!(ports(&definition)[0].container, Some(5353));
    }

    #[test]
    fn the_framework_tells_whether_ports_without_a_name_are_one_or_two() {
        let of_dns = |protocol| announced("", 53, protocol, PortScope::Container);
        let web = announced("", 80, "tcp", PortScope::Container);
        let twins = |service_ports: &[u16], of_mappings: bool| {
            let entries = vec![of_dns("udp"), of_dns("tcp"), web.clone()];
            let mut definition = task(NetworkMode::Container, if of_mappings { Vec::new() } else { entries }, &[]);
            if of_mappings {
                let mapping = |container_port, protocol: &str| PortMapping {
                    host_port: 0,
                    container_port,
                    protocol: protocol.into(),
                };
                definition.port_mappings = Box::new([mapping(53, "udp"), mapping(53, "tcp"), mapping(80, "tcp")]);
            }
            definition.app = (!service_ports.is_empty())
                .then(|| Arc::new(AppFacts { service_ports: service_ports.into(), ..AppFacts::default() }));
            let shown = |port: &TaskPort| (port.container, port.transports.udp, port.transports.tcp);
            ports(&definition).iter().map(shown).collect::<Vec<_>>()
        };
        let apart = [(Some(53), true, false), (Some(53), false, true), (Some(80), false, true)];
        let one = [(Some(53), true, true), (Some(80), false, true)];
        for of_mappings in [false, true] {
            // 80 is the third of three service ports, and the second of two (Marathon's protocol `udp,tcp`).
            assert_eq!(twins(&[10_053, 10_054, 10_080], of_mappings), apart);
            assert_eq!(twins(&[10_053, 10_080], of_mappings), one);
            // Nobody counts them, or the count is of something else.
            assert_eq!(twins(&[], of_mappings), one);
            assert_eq!(twins(&[1, 2, 3, 4], of_mappings), one);
        }
    }

    #[test]
    fn unnamed_ports_stay_apart() {
        let two = vec![announced("", 1, "tcp", PortScope::Host), announced("", 2, "tcp", PortScope::Container)];
        assert_eq!(ports(&task(NetworkMode::Host, two, &[])).len(), 2);
    }

    #[test]
    fn a_wide_range_is_cut() {
        let definition =
            TaskDefinition { host_ports: Box::new([PortRange { begin: 1, end: 65535 }]), ..TaskDefinition::default() };
        assert_eq!(ports(&definition).len(), MAX_PORTS);
    }
}
