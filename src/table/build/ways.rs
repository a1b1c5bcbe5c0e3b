//! Which port of the proxy, and which app's name, a task's port claims.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::policy;
use super::task::{Inputs, problem};
use crate::cluster::ledger::Place;
use crate::config::checked::RouteBy;
use crate::labels::spec::PortSpec;
use crate::model::app;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::service::Protocol;
use crate::model::task::TaskFacts;

/// The port of the proxy that is claimed, if any may be claimed here. One that is assigned is claimed by its app alone
/// ([`assigned_port`]).
///
/// # Errors
/// Why it may not be claimed.
pub(super) fn port(
    inputs: &Inputs<'_>,
    said: &PortSpec,
    who: &policy::Claimant<'_>,
    protocol: Protocol,
) -> Result<Option<Place>, Box<Problem>> {
    said.listen.map_or(Ok(None), |number| claim(inputs, said, who, protocol, number))
}

/// The port of the proxy that is assigned, where ports are; `given` is what there was to give.
///
/// # Errors
/// Why there is none.
pub(super) fn assigned_port(
    inputs: &Inputs<'_>,
    said: &PortSpec,
    who: &policy::Claimant<'_>,
    protocol: Protocol,
    given: Option<u16>,
) -> Result<Option<Place>, Box<Problem>> {
    let service_ports = &inputs.config.proxy.service_ports;
    let Some(range) = service_ports.assigned.filter(|_| !service_ports.addresses.is_empty()) else { return Ok(None) };
    let Some(number) = given else {
        let message = format!("no port from {} to {} is left to assign", range.begin, range.end);
        let mend = "widen `proxy.service_ports.assigned`, or let the app name a port (`HAPROXY_{n}_PORT`)";
        return Err(Box::new(problem(ProblemCode::PortUnavailable, "port", &message, mend)));
    };
    claim(inputs, said, who, protocol, number)
}

fn claim(
    inputs: &Inputs<'_>,
    said: &PortSpec,
    who: &policy::Claimant<'_>,
    protocol: Protocol,
    number: u16,
) -> Result<Option<Place>, Box<Problem>> {
    let config = inputs.config;
    let service_ports = &config.proxy.service_ports;
    if service_ports.addresses.is_empty() {
        return Ok(None);
    }
    let refused = |code, message: &str, mend: &str| {
        let message = format!("port {number} {message}");
        Err(Box::new(problem(code, format!("port {number}"), &message, mend)))
    };
    if protocol == Protocol::Udp {
        return refused(ProblemCode::InvalidLabel, "is claimed for UDP, which is not proxied", "claim none for it");
    }
    if config.own_sockets().any(|own| own.port() == number) {
        let mend = "let the app have another port";
        return refused(ProblemCode::PortConflict, "is one of this program's own listeners'", mend);
    }
    if !service_ports.allowed.iter().any(|range| range.contains(number)) {
        let mend = "claim one of `proxy.service_ports.allowed`, or add it there";
        return refused(ProblemCode::PolicyRefused, "is not among those that apps may claim", mend);
    }
    if let Some(bind) = said.rules.as_ref().and_then(|rules| rules.bind)
        && !service_ports.addresses.iter().any(|address| covers(*address, bind))
    {
        let message = format!("is claimed on {bind}, where apps may claim none");
        let mend = "claim it on one of `proxy.service_ports.addresses`, or add the address there";
        return refused(ProblemCode::PolicyRefused, &message, mend);
    }
    match policy::check_port(&config.policies, who, number) {
        policy::Decision::Allowed => Ok(Some(Place::Port(number))),
        policy::Decision::NotYet => Ok(None),
        policy::Decision::Refused(problem) => Err(problem),
    }
}

/// Whether a socket on `bind` is part of one on `address`.
fn covers(address: IpAddr, bind: IpAddr) -> bool {
    address == bind || (address.is_unspecified() && address.is_ipv4() == bind.is_ipv4())
}

/// The apps whose names requests may carry, where a listener routes by them: the task's own, and the one that its
/// deployment group stands for.
pub(super) fn apps(inputs: &Inputs<'_>, group: Option<&Arc<str>>) -> SmallVec<[Place; 2]> {
    if !inputs.config.proxy.listeners.iter().any(|listener| listener.route_by == RouteBy::App) {
        return SmallVec::new();
    }
    let own = app_id(&inputs.facts);
    let group = group.filter(|group| own.as_ref() != Some(*group)).cloned();
    own.into_iter().chain(group).map(Place::App).collect()
}

/// The app of Marathon's that a task belongs to: as Marathon says, else as its id does.
pub(super) fn app_id(facts: &TaskFacts) -> Option<Arc<str>> {
    let known = facts.definition.app.as_ref().map(|app| app.id.clone());
    known.or_else(|| app::id_of_task(facts.key.task()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrower_addresses_are_covered() {
        let check = |a: &str, b: &str| covers(a.parse().unwrap(), b.parse().unwrap());
        assert!(check("0.0.0.0", "127.0.0.1") && check("10.0.0.1", "10.0.0.1"));
        assert!(!check("10.0.0.1", "10.0.0.2") && !check("0.0.0.0", "::1"));
    }
}
