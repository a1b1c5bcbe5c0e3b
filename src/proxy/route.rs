//! Where a request goes: table, host and path → service, and the endpoint to try.
//!
//! Pure. `explain` asks [`crate::table::routes::Routes::find_traced`], which is what runs here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use http::HeaderMap;
use http::header::HeaderName;

use super::balance::choose::{self, Ask, Chosen};
use super::balance::sticky::Session;
use super::reason::Reason;
use crate::config::checked::ProxyLimits;
use crate::model::endpoint::{Endpoint, EndpointId};
use crate::model::id::{ServiceId, Version};
use crate::model::refinement::Head;
use crate::model::service::{Protocol, Service, Target};
use crate::table::Table;
use crate::table::routes::Route;

/// The header by which callers name an app.
pub const APP_ID: HeaderName = HeaderName::from_static("x-marathon-app-id");

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The service.
    pub service: Arc<Service>,
    /// The version of it that the route asks for.
    pub version: Option<Version>,
    /// The endpoint that the client is kept on.
    pub session: Option<Session>,
    /// The route that led here, if it does something beside.
    pub route: Option<Arc<Route>>,
}

/// Finds the destination of a request. The head's host: as [`super::authority::authority_to_host`] gives it; its path:
/// normal; `headers`: asked for the client's session where there is something to choose.
///
/// # Errors
/// The reason of the answer, where there is none.
pub fn find(table: &Table, head: &Head<'_>, headers: &HeaderMap, rng: &mut Rng) -> Result<Destination, Reason> {
    let Some(route) = table.routes.find(head) else {
        // While a source has not spoken yet, nobody may conclude that there is no route.
        return Err(if table.ready { Reason::NoRoute } else { Reason::NotReady });
    };
    let kept = || kept_target(table, &route.targets, headers);
    let target = kept().or_else(|| pick_target(&route.targets, rng)).ok_or(Reason::NoEndpoint)?;
    let found = destination(table, &target.service, target.version.clone(), headers);
    let acts = route.actions.as_ref();
    match acts {
        None => found,
        Some(_) => found.map(|found| Destination { route: Some(route.clone()), ..found }),
    }
}

/// The destination of a request on a port that a service holds.
///
/// # Errors
/// The reason of the answer, where there is none.
pub fn by_port(table: &Table, port: u16, headers: &HeaderMap) -> Result<Destination, Reason> {
    let way = table.ways.ports.get(&port).ok_or(Reason::NoRoute)?;
    destination(table, &way.owner, None, headers)
}

/// The destination of a request that names an app.
///
/// # Errors
/// The reason of the answer, where there is none.
pub fn by_app(table: &Table, headers: &HeaderMap) -> Result<Destination, Reason> {
    let mut named = headers.get_all(APP_ID).iter();
    let app = match (named.next(), named.next()) {
        (Some(app), None) => app.to_str().map_err(|_| Reason::NoApp)?,
        _ => return Err(Reason::NoApp),
    };
    match table.ways.apps.get(app) {
        Some(way) => destination(table, &way.owner, None, headers),
        None => Err(if table.ready { Reason::NoApp } else { Reason::NotReady }),
    }
}

fn destination(
    table: &Table,
    id: &ServiceId,
    version: Option<Version>,
    headers: &HeaderMap,
) -> Result<Destination, Reason> {
    let service = table.service(id).ok_or(Reason::NoEndpoint)?;
    // Each endpoint has its own protocol; one with a wrong label is not chosen, and spoils no other.
    if !service.protocol.is_http() && !service.available.iter().any(|endpoint| endpoint.protocol.is_http()) {
        return Err(Reason::NotHttp);
    }
    let session = if service.sticky.is_empty() { None } else { Session::read(headers, &service.id) };
    Ok(Destination { service: service.clone(), version, session, route: None })
}

/// The target whose endpoint the client is kept on: a session outlives the weights of a canary.
fn kept_target<'a>(table: &Table, targets: &'a [Target], headers: &HeaderMap) -> Option<&'a Target> {
    if targets.len() < 2 || !headers.contains_key(http::header::COOKIE) {
        return None;
    }
    targets.iter().find(|target| {
        let service = table.service(&target.service).filter(|service| !service.sticky.is_empty());
        service.is_some_and(|service| {
            let session = Session::read(headers, &service.id);
            session.is_some_and(|session| session.is_for(target) && session.endpoint(service).is_some())
        })
    })
}

/// One of a route's targets, by weight.
fn pick_target<'a>(targets: &'a [Target], rng: &mut Rng) -> Option<&'a Target> {
    if let [only] = targets {
        return Some(only);
    }
    let total: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    if total == 0 {
        return targets.first();
    }
    let mut at = rng.u64(..total);
    targets.iter().find(|target| {
        let weight = u64::from(target.weight);
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    })
}

impl Destination {
    /// An endpoint that has not been `tried` and has room: the one that the client is kept on, else as the service's
    /// algorithm has it; and whether the request is a probe of it.
    pub fn choose<'a>(
        &'a self,
        tried: &[EndpointId],
        limits: &ProxyLimits,
        ask: &Ask<'a>,
        rng: &mut Rng,
    ) -> Option<Chosen<'a>> {
        let has_room =
            |endpoint: &Endpoint| ask.seat.line(endpoint).in_flight.load(Ordering::Relaxed) < most(endpoint, limits);
        let accepts = |endpoint: &Endpoint| self.accepts(endpoint, tried) && has_room(endpoint);
        let kept = self.session.and_then(|session| session.endpoint(&self.service)).filter(|kept| accepts(kept));
        match kept {
            Some(kept) => Some((kept, false)),
            None => choose::choose(ask, accepts, rng),
        }
    }

    /// Whether there is another endpoint than those that were `tried`.
    pub fn has_another(&self, tried: &[EndpointId]) -> bool {
        // More than were tried: one of them is another.
        self.service.available.len() > tried.len()
            && self.service.available.iter().any(|endpoint| self.accepts(endpoint, tried))
    }

    fn accepts(&self, endpoint: &Endpoint, tried: &[EndpointId]) -> bool {
        self.version.as_ref().is_none_or(|version| *version == endpoint.version)
            && endpoint.protocol.is_http()
            && !tried.contains(&endpoint.id)
    }

    /// The same destination in a newer table.
    pub fn renew(&mut self, table: &Table) {
        if let Some(service) = table.service(&self.service.id) {
            self.service = service.clone();
        }
    }
}

/// Requests that may be under way at an endpoint: one takes a connection of HTTP/1.1, or a stream of one of HTTP/2.
fn most(endpoint: &Endpoint, limits: &ProxyLimits) -> u32 {
    match endpoint.protocol {
        Protocol::H2c => limits.connections_per_endpoint.saturating_mul(limits.streams),
        _ => limits.connections_per_endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn targets_are_picked_by_weight() {
        let target =
            |name: &str, weight| Target { service: ServiceId::new("c".into(), "n", name, "0"), version: None, weight };
        let targets = [target("a", 1), target("b", 0), target("c", 3)];
        let mut rng = Rng::with_seed(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..4000 {
            *counts.entry(pick_target(&targets, &mut rng).unwrap().service.name().to_owned()).or_insert(0) += 1;
        }
        assert!((900..1100).contains(&counts["a"]) && !counts.contains_key("b"), "{counts:?}");
        assert!(pick_target(&[], &mut rng).is_none());
        assert_eq!(pick_target(&[target("z", 0), target("y", 0)], &mut rng).unwrap().service.name(), "z");
    }
}
