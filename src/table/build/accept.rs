//! Which addresses requests may be sent to: addresses and ports come from whoever can start a task.

use std::net::{IpAddr, SocketAddr};

use super::task::{Inputs, problem};
use crate::cluster::source::SourceKind;
use crate::labels::spec::TaskSpec;
use crate::model::problem::{Problem, ProblemCode};

/// Checks an endpoint's address. `spec` is what its task's labels say.
///
/// # Errors
/// A problem that says why it is refused and how to mend it.
pub(super) fn check(inputs: &Inputs<'_>, spec: &TaskSpec, address: SocketAddr) -> Result<(), Problem> {
    // What stands in a file is the operator's own word.
    if inputs.source == SourceKind::File {
        return Ok(());
    }
    let ip = address.ip();
    let config = inputs.config;
    let listed = config.upstreams.allowed_networks.iter().any(|network| network.contains(&ip));
    if !listed {
        if let Some(kind) = special(ip) {
            return Err(refused(address, &format!("{kind} addresses are refused"), LIST_IT));
        }
        if is_ours(inputs, address) {
            return Err(refused(address, "it is a socket of this program", CHANGE_PORT));
        }
        if is_service_port(inputs, spec, address) {
            let why = "it is a port of this program's that apps may claim (proxy.service_ports)";
            return Err(refused(address, why, CHANGE_PORT));
        }
    }
    let is_agents = inputs.agent.as_ref().is_some_and(|agent| agent.address == Some(ip));
    if is_agents {
        return check_port(inputs, address.port());
    }
    if listed { Ok(()) } else { Err(refused(address, "it is not the agent's address", LIST_IT)) }
}

fn check_port(inputs: &Inputs<'_>, port: u16) -> Result<(), Problem> {
    if !inputs.config.routing.require_port_resource || is_reserved(inputs, port) {
        return Ok(());
    }
    Err(problem(
        ProblemCode::PortRefused,
        port.to_string(),
        &format!("port {port} on the agent's address does not lie in the task's ports resource"),
        "let the task reserve the port (resource `ports`), or set routing.require_port_resource = false",
    ))
}

/// Whether the port of its agent is the task's.
fn is_reserved(inputs: &Inputs<'_>, port: u16) -> bool {
    let definition = &inputs.facts.definition;
    let mapped = definition.port_mappings.iter().any(|mapping| mapping.host_port == port);
    mapped || definition.host_ports.iter().any(|range| range.contains(port))
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

/// Whether requests to an address would come to a listener of ours. One on the unspecified address is reached by every
/// address of the machine, so what is refused here may stand on another instance, which runs elsewhere.
fn is_ours(inputs: &Inputs<'_>, address: SocketAddr) -> bool {
    let (ip, port) = (address.ip().to_canonical(), address.port());
    let is_reached = |own: &SocketAddr| own.port() == port && reaches(inputs, own.ip(), ip);
    inputs.config.own_sockets().any(is_reached)
}

/// Whether what is sent to `ip` may come to a socket of ours on `own`.
fn reaches(inputs: &Inputs<'_>, own: IpAddr, ip: IpAddr) -> bool {
    if !own.is_unspecified() {
        return own.to_canonical() == ip;
    }
    // What listens on `::` gets IPv4, too.
    (own.is_ipv6() || ip.is_ipv4()) && inputs.config.machine.contains(&ip)
}

/// Whether requests to an address would come to a port that some app may hold. One that the cluster gave to the task is the
/// task's, unless it asks us to listen there.
fn is_service_port(inputs: &Inputs<'_>, spec: &TaskSpec, address: SocketAddr) -> bool {
    let settings = &inputs.config.proxy.service_ports;
    let (ip, port) = (address.ip().to_canonical(), address.port());
    let is_claimed = spec.ports.iter().any(|said| said.listen == Some(port));
    settings.addresses.iter().any(|own| reaches(inputs, *own, ip))
        && settings.allowed.iter().any(|range| range.contains(port))
        && (is_claimed || !is_reserved(inputs, port))
}

const LIST_IT: &str = "add the network to upstreams.allowed_networks if tasks may be reached there";
const CHANGE_PORT: &str = "let the task have another port, or change the program's own in its configuration";

fn refused(address: SocketAddr, why: &str, mend: &str) -> Problem {
    let message = format!("requests are not sent to {address}: {why}");
    problem(ProblemCode::AddressRefused, address.to_string(), &message, mend)
}
