//! Digests of the parts of a table. The table's digest is their sum, so that a change costs what it changed.
//!
//! Only what another instance that sees the same cluster would have too counts: no times, no run-time state, no
//! seeded hashes.

use crate::cluster::ledger::Place;
use crate::labels::vip::vip_names;
use crate::model::endpoint::Endpoint;
use crate::model::id::{ServiceId, TaskKey, stable_hash};
use crate::model::problem::Problem;
use crate::table::routes::Route;
use crate::table::task::TaskView;

fn service_id(id: &ServiceId) -> u64 {
    stable_hash(&(id.cluster(), id.namespace(), id.name(), id.port()))
}

fn task_key(key: &TaskKey) -> u64 {
    stable_hash(&(key.cluster(), key.framework(), key.task()))
}

/// An endpoint with its service.
pub fn endpoint(endpoint: &Endpoint) -> u64 {
    stable_hash(&(
        service_id(&endpoint.service),
        task_key(&endpoint.id.task),
        &endpoint.id.port,
        endpoint.address,
        &endpoint.version,
        (endpoint.weight, endpoint.version_weight, &endpoint.deployment),
        endpoint.state,
        endpoint.sticky,
        &endpoint.balance,
        &endpoint.rules,
        (&endpoint.tls, endpoint.proxy_protocol),
    ))
}

/// A route in force.
pub fn route(route: &Route) -> u64 {
    stable_hash(&(service_id(&route.owner), route.place(), &route.name, &route.actions))
}

/// A port or an app in force.
pub fn way(place: &Place, owner: &ServiceId) -> u64 {
    stable_hash(&(place, service_id(owner)))
}

/// A task as far as names show it.
pub fn task(view: &TaskView) -> u64 {
    let framework = view.framework.as_ref().map(|framework| &framework.name);
    stable_hash(&(
        task_key(&view.facts.key),
        view.state,
        &view.facts.agent,
        view.addresses(),
        view.said_ports(),
        framework,
        vip_names(&view.facts.definition),
    ))
}

/// A problem.
pub fn problem(problem: &Problem) -> u64 {
    stable_hash(problem)
}
