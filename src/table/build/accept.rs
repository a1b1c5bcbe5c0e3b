//! Which addresses requests may be sent to: addresses and ports come from whoever can start a task.

use std::net::{IpAddr, SocketAddr};

use super::task::{Inputs, problem};
use crate::cluster::source::SourceKind;
use crate::config::Config;
use crate::model::problem::{Problem, ProblemCode};

/// Checks an endpoint's address.
///
/// # Errors
/// A problem that says why it is refused and how to mend it.
pub(super) fn check(inputs: &Inputs<'_>, address: SocketAddr) -> Result<(), Problem> {
    // What stands in a file is the operator's own word.
    if inputs.source == SourceKind::File {
        return Ok(());
    }
    let ip = address.ip();
    let config = inputs.config;
    let listed = config.upstreams.allowed_networks.iter().any(|network| network.contains(&ip));
    if !listed {
        if let Some(kind) = special(ip) {
            return Err(refused(address, &format!("{kind} addresses are refused")));
        }
        if is_ours(config, address) {
            return Err(refused(address, "it is a socket of this program"));
        }
    }
    let is_agents = inputs.agent.as_ref().is_some_and(|agent| agent.address == Some(ip));
    if is_agents {
        return check_port(inputs, address.port());
    }
    if listed { Ok(()) } else { Err(refused(address, "it is not the agent's address")) }
}

fn check_port(inputs: &Inputs<'_>, port: u16) -> Result<(), Problem> {
    let definition = &inputs.facts.definition;
    let mapped = definition.port_mappings.iter().any(|mapping| mapping.host_port == port);
    if !inputs.config.routing.require_port_resource
        || mapped
        || definition.host_ports.iter().any(|range| range.contains(port))
    {
        return Ok(());
    }
    Err(problem(
        ProblemCode::PortRefused,
        port.to_string(),
        &format!("port {port} on the agent's address does not lie in the task's ports resource"),
        "let the task reserve the port (resource `ports`), or set routing.require_port_resource = false",
    ))
}

fn special(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_loopback() {
        Some("loopback")
    } else if ip.is_unspecified() {
        Some("unspecified")
    } else if ip.is_multicast() {
        Some("multicast")
    } else if link_local {
        Some("link-local")
    } else {
        None
    }
}

fn is_ours(config: &Config, address: SocketAddr) -> bool {
    let dns = config.dns.listen.iter();
    let proxy = config.proxy.listeners.iter().map(|listener| &listener.address);
    let admin = config.admin.listen.iter().chain(&config.admin.metrics_listen);
    dns.chain(proxy).chain(admin).any(|own| *own == address)
}

fn refused(address: SocketAddr, why: &str) -> Problem {
    problem(
        ProblemCode::AddressRefused,
        address.to_string(),
        &format!("requests are not sent to {address}: {why}"),
        "add the network to upstreams.allowed_networks if tasks may be reached there",
    )
}
