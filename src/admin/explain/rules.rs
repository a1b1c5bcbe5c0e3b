//! What the rules of a route's services, and the filters that they and the route name, make of a request.
//!
//! In the order in which the proxy asks them ([`crate::proxy::plan`]), as far as the request's head and the configuration
//! settle it. Who the client is, whether a password is right and how many have asked before is not known here: of such
//! rules it is told that they are there.

use std::sync::Arc;

use http::Method;

use super::request::Request;
use crate::model::rules::Rules;
use crate::model::service::{Service, Target};
use crate::proxy::auth;
use crate::proxy::reason::Reason;
use crate::proxy::rules;
use crate::table::Table;
use crate::table::routes::Route;

/// What rules come to for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is passed on.
    Passes,
    /// It is passed on, if the client is one that may come in.
    DependsOnClient,
    /// It is answered in place of being passed on, whoever asks.
    Answered(Reason),
}

/// What the rules make of a request on a route. Where that leads to several services, all of them have to say the same for
/// it to be certain.
pub(super) fn ruling(table: &Table, route: &Route, request: &Request) -> Ruling {
    let may_be_drawn = |target: &&Target| target.weight > 0 || route.targets.len() == 1;
    let services = route.targets.iter().filter(may_be_drawn).map(|target| table.service(&target.service));
    let mut rulings = services.map(|service| service.map_or(Ruling::Passes, |s| of_service(table, s, route, request)));
    let Some(first) = rulings.next() else { return Ruling::Passes };
    rulings.fold(first, |one, other| match (one, other) {
        (Ruling::Answered(_), Ruling::Answered(_)) => one,
        (Ruling::Passes, Ruling::Passes) => Ruling::Passes,
        _ => Ruling::DependsOnClient,
    })
}

/// Whether the service or one of its endpoints speaks HTTP. As the proxy looks at it: an endpoint with a wrong label spoils
/// no other.
pub(super) fn speaks_http(service: &Service) -> bool {
    service.protocol.is_http() || service.available.iter().any(|endpoint| endpoint.protocol.is_http())
}

fn of_service(table: &Table, service: &Service, route: &Route, request: &Request) -> Ruling {
    if !speaks_http(service) {
        return Ruling::Passes;
    }
    let rules = service.rules.as_deref();
    let of_route = route.actions.iter().flat_map(|actions| actions.filters.iter());
    let filters: Vec<&Arc<str>> = rules.iter().flat_map(|rules| rules.filters.iter()).chain(of_route).collect();
    let is_known = |name: &Arc<str>| table.config.proxy.filters.iter().any(|filter| filter.name == *name);
    let before = rules.and_then(|rules| before_filters(rules, request));
    let unknown = || filters.iter().any(|name| !is_known(name)).then_some(Reason::UnknownFilter);
    let after = || rules.and_then(|rules| after_filters(rules, request));
    let depends = !filters.is_empty() || rules.is_some_and(|rules| rules.networks.is_some() || rules.auth.is_some());
    // What a browser asks beforehand a filter answers before anybody is asked for a password.
    let may_be_answered_by_a_filter = request.method == Method::OPTIONS && !filters.is_empty();
    match before.or_else(unknown).or_else(|| if may_be_answered_by_a_filter { None } else { after() }) {
        // Of several that may answer the first one does; whether it is the client's turn to be refused is not known.
        Some(reason) => Ruling::Answered(reason),
        None if depends => Ruling::DependsOnClient,
        None => Ruling::Passes,
    }
}

fn before_filters(rules: &Rules, request: &Request) -> Option<Reason> {
    let admits_nobody = rules.networks.as_ref().is_some_and(|networks| networks.is_empty());
    match admits_nobody {
        true => Some(Reason::AddressRefused),
        false => (rules.https_redirect && !request.secure).then(|| rules::to_https_by(&request.method)),
    }
}

fn after_filters(rules: &Rules, request: &Request) -> Option<Reason> {
    let asks = rules.auth.as_ref().is_some_and(|auth| auth.users.is_empty() || !auth::is_tried(&request.headers));
    match asks {
        true => Some(Reason::PasswordRequired),
        false => (rules.root_redirect.is_some() && request.path == "/").then_some(Reason::Redirected),
    }
}
