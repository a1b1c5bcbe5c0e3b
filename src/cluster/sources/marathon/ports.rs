//! How an app is attached to the network, and its ports in the order in which labels count them. Pure.

use std::sync::Arc;

use super::translate::{labels, text};
use super::wire::{App, Container, PortDefinition};
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

pub(super) fn network(app: &App) -> NetworkMode {
    let docker = app.container.as_ref().and_then(|container| container.docker.as_ref());
    let of_mode = |mode: &str| match mode {
        "container" => NetworkMode::Container,
        "container/bridge" => NetworkMode::Bridge,
        _ => NetworkMode::Host,
    };
    if let Some(network) = app.networks.as_ref().and_then(|networks| networks.first()) {
        return of_mode(network.mode.as_deref().unwrap_or("container"));
    }
    match docker.and_then(|docker| docker.network.as_deref()) {
        _ if app.ip_address.is_some() => NetworkMode::Container,
        Some("BRIDGE") => NetworkMode::Bridge,
        Some("USER") => NetworkMode::Container,
        _ => NetworkMode::Host,
    }
}

/// The ports of an app, and their service ports, in the order in which labels count them.
pub(super) fn ports(app: &App, network: NetworkMode) -> (Vec<Port>, Vec<u16>) {
    let mapped = |container: &Container| {
        let inner = container.port_mappings.as_deref().filter(|mappings| !mappings.is_empty());
        inner.is_some() || container.docker.as_ref().is_some_and(|docker| docker.port_mappings.is_some())
    };
    if let Some(container) =
        app.container.as_ref().filter(|container| network != NetworkMode::Host && mapped(container))
    {
        let docker = container.docker.as_ref().and_then(|docker| docker.port_mappings.as_ref());
        let mappings = container.port_mappings.as_ref().filter(|list| !list.is_empty()).or(docker);
        let mappings: Vec<&PortDefinition> = mappings.into_iter().flatten().collect();
        let service_ports = mappings.iter().map(|mapping| mapping.service_port.unwrap_or(0)).collect();
        let on_host = |mapping: &PortDefinition| network == NetworkMode::Bridge || mapping.host_port.is_some();
        let ports = mappings.iter().map(|mapping| port(mapping, mapping.container_port, on_host(mapping)));
        return (ports.collect(), service_ports);
    }
    if let Some(discovery) = app.ip_address.as_ref().and_then(|address| address.discovery.as_ref()) {
        let ports = discovery.ports.iter().flatten().map(|found| Port {
            name: text(found.name.as_deref()),
            protocol: found.protocol.as_deref().unwrap_or("tcp").into(),
            labels: Box::new([]),
            container: found.number,
            on_host: false,
        });
        let ports: Vec<Port> = ports.collect();
        // Such ports have no service port at Marathon, but the app may name some.
        let service_ports = app.ports.clone().unwrap_or_default();
        return (ports, service_ports);
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

fn port(definition: &PortDefinition, container: Option<u16>, on_host: bool) -> Port {
    Port {
        name: text(definition.name.as_deref()),
        protocol: definition.protocol.as_deref().unwrap_or("tcp").into(),
        labels: labels(definition.labels.as_ref(), "", &mut Vec::new()),
        container,
        on_host,
    }
}
