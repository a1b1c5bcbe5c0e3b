//! How an app is attached to the network, and its ports in the order in which labels count them. Pure.

use std::sync::Arc;

use super::translate::{labels, text};
use super::wire::{App, Container, DiscoveredPort, Network, PortDefinition};
use crate::model::task::{Label, NetworkMode};

/// A port of an app.
pub(super) struct Port {
    pub(super) name: Arc<str>,
    pub(super) protocol: Arc<str>,
    pub(super) labels: Box<[Label]>,
    pub(super) container: Option<u16>,
    /// Whether the agent has a port for it.
    pub(super) on_host: bool,
}

/// How an app's tasks are attached, as marathon-lb reads it: of several networks the last one counts, and any goes before
/// Docker's `network`, which goes before `ipAddress`.
pub(super) fn network(app: &App) -> NetworkMode {
    if let Some(mode) = mode(app.networks.as_deref()) {
        return mode;
    }
    let docker = app.container.as_ref().and_then(|container| container.docker.as_ref());
    match docker.and_then(|docker| docker.network.as_deref()) {
        Some("BRIDGE") => NetworkMode::Bridge,
        Some("USER") => NetworkMode::Container,
        _ if app.ip_address.is_some() => NetworkMode::Container,
        _ => NetworkMode::Host,
    }
}

/// The mode of a list of networks: modes cannot be mixed, and the last one counts. One that names none is a container's.
pub(super) fn mode(networks: Option<&[Network]>) -> Option<NetworkMode> {
    let last = networks?.last()?;
    Some(match last.mode.as_deref() {
        Some("host") => NetworkMode::Host,
        Some("container/bridge") => NetworkMode::Bridge,
        _ => NetworkMode::Container,
    })
}

/// The ports of an app, and their service ports, in the order in which labels count them.
pub(super) fn ports(app: &App, network: NetworkMode) -> (Vec<Port>, Vec<u16>) {
    let mappings = app.container.as_ref().and_then(mappings).filter(|_| network != NetworkMode::Host);
    let mapped = mappings.map(|mappings| mappings.iter().map(|mapping| mapping.service_port.unwrap_or(0)).collect());
    // Such ports have no service port at Marathon, but the app may name some.
    let service_ports: Vec<u16> = mapped.unwrap_or_else(|| app.ports.clone().unwrap_or_default());
    let discovered = app.ip_address.as_ref().and_then(|address| address.discovery.as_ref()?.ports.as_deref());
    if let (NetworkMode::Container, Some(discovered @ [_, ..])) = (network, discovered) {
        // Where it names none, each of them may be assigned one.
        let service_ports = if service_ports.is_empty() { vec![0; discovered.len()] } else { service_ports };
        return (discovered.iter().map(discovered_port).collect(), service_ports);
    }
    if let Some(mappings) = mappings {
        let on_host = |mapping: &PortDefinition| network == NetworkMode::Bridge || mapping.host_port.is_some();
        let ports = mappings.iter().map(|mapping| port(mapping, mapping.container_port, on_host(mapping)));
        return (ports.collect(), service_ports);
    }
    if let Some(definitions) = app.port_definitions.as_ref().filter(|definitions| !definitions.is_empty()) {
        let service_ports = definitions.iter().map(|definition| definition.port.unwrap_or(0)).collect();
        return (definitions.iter().map(|definition| port(definition, None, true)).collect(), service_ports);
    }
    let plain = app.ports.clone().unwrap_or_default();
    let nameless = |_: &u16| Port {
        name: "".into(),
        protocol: "tcp".into(),
        labels: Box::new([]),
        container: None,
        on_host: true,
    };
    (plain.iter().map(nameless).collect(), plain)
}

/// A container's port mappings: Docker's own, as before 1.5, go before the others.
fn mappings(container: &Container) -> Option<&[PortDefinition]> {
    let docker = container.docker.as_ref().and_then(|docker| docker.port_mappings.as_deref());
    [docker, container.port_mappings.as_deref()].into_iter().flatten().find(|mappings| !mappings.is_empty())
}

fn discovered_port(found: &DiscoveredPort) -> Port {
    Port {
        name: text(found.name.as_deref()),
        protocol: found.protocol.as_deref().unwrap_or("tcp").into(),
        labels: Box::new([]),
        container: found.number,
        on_host: false,
    }
}

fn port(definition: &PortDefinition, container: Option<u16>, on_host: bool) -> Port {
    Port {
        name: text(definition.name.as_deref()),
        protocol: definition.protocol.as_deref().unwrap_or("tcp").into(),
        labels: labels(definition.labels.as_ref(), "", &mut Vec::new()),
        container,
        on_host,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(app: Value, mode: NetworkMode, expected: &[(&str, Option<u16>, bool)], service_ports: &[u16]) {
        let text = app.to_string();
        let read: App = serde_json::from_value(app).unwrap();
        assert_eq!(network(&read), mode, "{text}");
        let (ports, services) = ports(&read, mode);
        let shown: Vec<_> = ports.iter().map(|port| (&*port.name, port.container, port.on_host)).collect();
        assert_eq!((shown.as_slice(), services.as_slice()), (expected, service_ports), "{text}");
    }

    #[test]
    fn networks_are_read_as_marathon_lb_reads_them() {
        use NetworkMode::{Bridge, Container, Host};
        let docker = |network: &str| json!({ "docker": { "network": network } });
        check(json!({}), Host, &[], &[]);
        check(json!({ "ipAddress": { "groups": [] } }), Container, &[], &[]);
        check(json!({ "container": docker("USER") }), Container, &[], &[]);
        check(json!({ "container": docker("BRIDGE") }), Bridge, &[], &[]);
        // Docker's word goes before an address, and a network's before both.
        check(json!({ "container": docker("BRIDGE"), "ipAddress": { "groups": [] } }), Bridge, &[], &[]);
        check(json!({ "container": docker("HOST"), "ipAddress": { "groups": [] } }), Container, &[], &[]);
        check(json!({ "container": docker("USER"), "networks": [{ "mode": "container/bridge" }] }), Bridge, &[], &[]);
        check(json!({ "ipAddress": {}, "networks": [{ "mode": "host" }] }), Host, &[], &[]);
        check(json!({ "container": docker("BRIDGE"), "networks": [] }), Bridge, &[], &[]);
        // Of several the last one counts; one without a mode is a container's.
        let several = json!([{ "mode": "container/bridge" }, { "name": "b", "mode": "container" }]);
        check(json!({ "networks": several }), Container, &[], &[]);
        check(json!({ "networks": [{ "mode": "host" }, { "name": "a" }] }), Container, &[], &[]);
    }

    #[test]
    fn ports_come_from_where_the_network_has_them() {
        use NetworkMode::{Bridge, Container, Host};
        let mapping = json!([{ "containerPort": 80, "servicePort": 10_001, "name": "web", "hostPort": 0 }]);
        let definitions = json!([{ "port": 10_005, "name": "http" }]);
        let discovery = json!({ "discovery": { "ports": [{ "number": 8080, "name": "rest" }] } });
        let empty = json!({ "docker": { "network": "USER", "portMappings": [] } });
        check(json!({ "portDefinitions": definitions }), Host, &[("http", None, true)], &[10_005]);
        check(json!({ "ports": [10_006] }), Host, &[("", None, true)], &[10_006]);
        let bridge = json!({ "networks": [{ "mode": "container/bridge" }], "container": { "portMappings": mapping } });
        check(bridge, Bridge, &[("web", Some(80), true)], &[10_001]);
        let other = json!([{ "containerPort": 81, "servicePort": 10_002 }]);
        let both = json!({ "docker": { "network": "BRIDGE", "portMappings": mapping }, "portMappings": other });
        check(json!({ "container": both }), Bridge, &[("web", Some(80), true)], &[10_001]);
        // With an address of its own, what is discovered there goes before mappings, whose service ports stay.
        check(json!({ "ipAddress": discovery }), Container, &[("rest", Some(8080), false)], &[0]);
        check(json!({ "ipAddress": discovery, "ports": [7] }), Container, &[("rest", Some(8080), false)], &[7]);
        check(json!({ "ipAddress": discovery, "container": empty }), Container, &[("rest", Some(8080), false)], &[0]);
        let mapped = json!({ "ipAddress": discovery, "container": { "portMappings": mapping } });
        check(mapped, Container, &[("rest", Some(8080), false)], &[10_001]);
        let own = json!({ "networks": [{ "mode": "container" }], "container": { "portMappings": mapping } });
        check(own, Container, &[("web", Some(80), true)], &[10_001]);
    }
}
