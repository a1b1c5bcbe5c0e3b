//! Where a request goes: table, host and path → service, and the endpoint to try.
//!
//! Pure: time and randomness are arguments. `explain` asks [`crate::table::routes::Routes::find_traced`], which is what runs
//! here.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use http::HeaderMap;
use http::header::HeaderName;

use super::balance::choose::{self, Ask, Chosen};
use super::balance::limit;
use super::balance::local;
use super::balance::queue::Place;
use super::balance::sticky::Session;
use super::reason::Reason;
use crate::config::checked::ProxyLimits;
use crate::model::endpoint::Endpoint;
use crate::model::id::{ServiceId, Version};
use crate::model::refinement::Head;
use crate::model::run::Admission;
use crate::model::service::{Service, Target};
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::out_of_service::keeps_until;
use crate::table::routes::Route;

/// Tells the time by the clock on the wall. Asked only for clients that are kept on an endpoint out of service.
pub type Clock = fn() -> Timestamp;

/// The header by which callers name an app.
pub const APP_ID: HeaderName = HeaderName::from_static("x-marathon-app-id");

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The service.
    pub service: Arc<Service>,
    /// The version of it that the route asks for.
    pub version: Option<Version>,
    /// The version was drawn by lot: where no endpoint of it is left, another one does.
    pub by_lot: bool,
    /// The endpoint that the client is kept on.
    pub session: Option<Session>,
    /// That one is out of service by an operator's word, and the client came while it still keeps its clients.
    pub is_leaving: bool,
    /// The route that led here, if it does something beside.
    pub route: Option<Arc<Route>>,
}

/// Finds the destination of a request. The head's host: as [`super::authority::authority_to_host`] gives it; its path:
/// normal; `headers`: asked for the client's session where there is something to choose.
///
/// # Errors
/// The reason of the answer, where there is none.
pub fn find(
    table: &Table,
    head: &Head<'_>,
    headers: &HeaderMap,
    now: Clock,
    rng: &mut Rng,
) -> Result<Destination, Reason> {
    let Some(route) = table.routes.find(head) else {
        // While a source has not spoken yet, nobody may conclude that there is no route.
        return Err(if table.ready { Reason::NoRoute } else { Reason::NotReady });
    };
    let kept = kept_target(table, &route.targets, headers, now);
    let target = kept.or_else(|| pick_target(table, &route.targets, rng)).ok_or(Reason::NoEndpoint)?;
    let found = destination(table, &target.service, target.version.clone(), headers, now, rng);
    match &route.actions {
        None => found,
        Some(_) => found.map(|found| {
            let by_lot = found.by_lot || route.targets.len() > 1;
            Destination { route: Some(route.clone()), by_lot, ..found }
        }),
    }
}

/// The destination of a request on a port that a service holds.
///
/// # Errors
/// The reason of the answer, where there is none.
pub fn by_port(
    table: &Table,
    port: u16,
    headers: &HeaderMap,
    now: Clock,
    rng: &mut Rng,
) -> Result<Destination, Reason> {
    let way = table.ways.ports.get(&port).ok_or(Reason::NoRoute)?;
    destination(table, &way.owner, None, headers, now, rng)
}

/// The destination of a request that names an app.
///
/// # Errors
/// The reason of the answer, where there is none.
pub fn by_app(table: &Table, headers: &HeaderMap, now: Clock, rng: &mut Rng) -> Result<Destination, Reason> {
    let mut named = headers.get_all(APP_ID).iter();
    let app = match (named.next(), named.next()) {
        (Some(app), None) => app.to_str().map_err(|_| Reason::NoApp)?,
        _ => return Err(Reason::NoApp),
    };
    // marathon-lb compares without regard to capitals; Marathon's ids have none.
    let way = table.ways.apps.get(app).or_else(|| table.ways.apps.get(app.to_ascii_lowercase().as_str()));
    match way {
        Some(way) => destination(table, &way.owner, None, headers, now, rng),
        None => Err(if table.ready { Reason::NoApp } else { Reason::NotReady }),
    }
}

fn destination(
    table: &Table,
    id: &ServiceId,
    version: Option<Version>,
    headers: &HeaderMap,
    now: Clock,
    rng: &mut Rng,
) -> Result<Destination, Reason> {
    let service = table.service(id).ok_or(Reason::NoEndpoint)?;
    // Each endpoint has its own protocol; one with a wrong label is not chosen, and spoils no other.
    if !service.protocol.is_http() && !service.available.iter().any(|endpoint| endpoint.protocol.is_http()) {
        return Err(Reason::NotHttp);
    }
    let session = if service.sticky.is_empty() { None } else { Session::read(headers, &service.id) };
    let by_lot = version.is_none();
    let version = version.or_else(|| share(table, service, session, now, rng));
    let is_leaving = session.is_some_and(|session| leaving(table, service, session, now).is_some());
    Ok(Destination { service: service.clone(), version, by_lot, session, is_leaving, route: None })
}

/// The version that the request goes to, where the service's versions have shares: the one of the endpoint that the client
/// is kept on, else one by lot.
fn share(table: &Table, service: &Service, session: Option<Session>, now: Clock, rng: &mut Rng) -> Option<Version> {
    let shares = service.shares.as_ref()?;
    let kept = session.and_then(|session| kept_on(table, service, session, now));
    let kept = kept.map(|endpoint| endpoint.version.clone());
    kept.or_else(|| by_weight(shares, |share| share.weight, rng).map(|share| share.version.clone()))
}

/// The target whose endpoint the client is kept on: a session outlives the weights of a canary.
fn kept_target<'a>(table: &Table, targets: &'a [Target], headers: &HeaderMap, now: Clock) -> Option<&'a Target> {
    if targets.len() < 2 || !headers.contains_key(http::header::COOKIE) {
        return None;
    }
    targets.iter().find(|target| {
        let service = table.service(&target.service).filter(|service| !service.sticky.is_empty());
        service.is_some_and(|service| {
            let session = Session::read(headers, &service.id);
            session.is_some_and(|session| session.is_for(target) && kept_on(table, service, session, now).is_some())
        })
    })
}

/// The endpoint that a client is kept on; not while it is spared: the client then moves, to another version too.
fn kept_on<'a>(table: &Table, service: &'a Service, session: Session, now: Clock) -> Option<&'a Arc<Endpoint>> {
    let serves = |endpoint: &Endpoint| {
        !endpoint.run.ejection.is_ejected() || local::is_panic(&table.config.proxy.balance.ejection, service)
    };
    let kept = session.endpoint(service).or_else(|| leaving(table, service, session, now));
    kept.filter(|endpoint| serves(endpoint))
}

/// The endpoint that a client is kept on, where an operator took it out of service and it still keeps its clients.
fn leaving<'a>(table: &Table, service: &'a Service, session: Session, now: Clock) -> Option<&'a Arc<Endpoint>> {
    let home = session.named(service)?;
    let until = keeps_until(table, home)?;
    (now() < until).then_some(home)
}

/// One of a route's targets, by weight. One without an endpoint that may be chosen gives its share to the others.
fn pick_target<'a>(table: &Table, targets: &'a [Target], rng: &mut Rng) -> Option<&'a Target> {
    if let [only] = targets {
        return Some(only);
    }
    let picked = by_weight(targets, |target| target.weight, rng).or(targets.first())?;
    if is_served(table, picked) {
        return Some(picked);
    }
    let weight = |target: &Target| if is_served(table, target) { target.weight } else { 0 };
    by_weight(targets, weight, rng).or(Some(picked))
}

fn is_served(table: &Table, target: &Target) -> bool {
    let is_one = |endpoint: &Arc<Endpoint>| target.version.as_ref().is_none_or(|wanted| *wanted == endpoint.version);
    table.service(&target.service).is_some_and(|service| service.available.iter().any(is_one))
}

/// One of several things by lot; `None`: none has a weight.
fn by_weight<'a, T>(things: &'a [T], weight: impl Fn(&T) -> u32, rng: &mut Rng) -> Option<&'a T> {
    let total: u64 = things.iter().map(|thing| u64::from(weight(thing))).sum();
    let mut at = if total == 0 { return None } else { rng.u64(..total) };
    things.iter().find(|thing| {
        let weight = u64::from(weight(thing));
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    })
}

impl Destination {
    /// An endpoint that has not been `tried` and has room: the one that the client is kept on unless it is spared, else as
    /// the service's algorithm has it; and whether the request is a probe of it. What failed on one agent is tried on
    /// another first: a machine that is cut off takes all its tasks along. Where the client is kept on one that is full for
    /// the moment, none: that one is waited for. Nor any that others wait for because their clients are kept there, and who
    /// came before the one at `place` of the line, or before one who has none.
    pub fn choose<'a>(
        &'a self,
        tried: &[Arc<Endpoint>],
        limits: &ProxyLimits,
        ask: &Ask<'a>,
        place: Option<&Place>,
        rng: &mut Rng,
    ) -> Option<Chosen<'a>> {
        match self.home(tried) {
            Some(home) if has_room(home, limits, ask) => {
                if let Some(is_probe) = stays(home, ask) {
                    return Some((home, is_probe));
                }
            }
            Some(home) if tried.is_empty() && is_awaited(home, ask) => return None,
            _ => {}
        }
        let accepts = |endpoint: &Endpoint| self.accepts(endpoint, tried) && has_room(endpoint, limits, ask);
        // HAProxy balances onto no server that has a queue of its own.
        let left = |endpoint: &Endpoint| accepts(endpoint) && !is_home_of_others(endpoint, ask, None);
        let chosen = choose_beside(tried, ask, left, rng);
        // Who stands in line may take what others wait for who came later.
        let place = place.filter(|_| chosen.is_none() && ask.local.queue.has_homes());
        let allowed = |endpoint: &Endpoint| accepts(endpoint) && !is_home_of_others(endpoint, ask, place);
        chosen.or_else(|| place.and_then(|_| choose_beside(tried, ask, allowed, rng)))
    }

    /// The endpoint that the client is kept on, if it can serve and has not been `tried`.
    pub fn home(&self, tried: &[Arc<Endpoint>]) -> Option<&Arc<Endpoint>> {
        let session = self.session?;
        let leaving = || session.named(&self.service).filter(|_| self.is_leaving);
        session.endpoint(&self.service).or_else(leaving).filter(|home| self.accepts(home, tried))
    }

    /// The endpoint that the client stays on: not while that is spared, and a request that has failed already goes where there
    /// is room.
    pub fn stays_on(&self, tried: &[Arc<Endpoint>], ask: &Ask<'_>) -> Option<&Arc<Endpoint>> {
        self.home(tried).filter(|home| tried.is_empty() && !is_spared(home, ask))
    }

    /// Whether there is another endpoint than those that were `tried`.
    pub fn has_another(&self, tried: &[Arc<Endpoint>]) -> bool {
        // More than were tried: one of them is another.
        self.service.available.len() > tried.len()
            && self.service.available.iter().any(|endpoint| self.accepts(endpoint, tried))
    }

    /// Whether another endpoint than those that were `tried` could take a request now: it has room and is not spared, unless
    /// too many are.
    pub fn has_room(&self, tried: &[Arc<Endpoint>], limits: &ProxyLimits, ask: &Ask<'_>) -> bool {
        // Asked at most once: it counts all endpoints.
        let is_panicking = OnceCell::new();
        let counts_again = || *is_panicking.get_or_init(|| ask.local.is_panicking(ask.now));
        self.service.available.iter().any(|endpoint| {
            self.accepts(endpoint, tried)
                && has_room(endpoint, limits, ask)
                && (!endpoint.run.ejection.is_ejected() || counts_again())
        })
    }

    fn accepts(&self, endpoint: &Endpoint, tried: &[Arc<Endpoint>]) -> bool {
        self.version.as_ref().is_none_or(|version| *version == endpoint.version)
            && endpoint.protocol.is_http()
            && !tried.iter().any(|tried| tried.id == endpoint.id)
    }

    /// The same destination in a newer table.
    pub fn renew(&mut self, table: &Table) {
        if let Some(service) = table.service(&self.service.id) {
            // Who came in time has not to be quick; but its task may have been told to end meanwhile.
            let was_kept = self.home(&[]).is_some();
            self.service = service.clone();
            let home = self.session.filter(|_| was_kept).and_then(|session| session.named(service));
            self.is_leaving = home.is_some_and(|home| keeps_until(table, home).is_some());
            // The rest of the version may have gone meanwhile, in a deploy.
            if self.by_lot && !service.available.iter().any(|endpoint| self.accepts(endpoint, &[])) {
                self.version = None;
            }
        }
    }
}

/// Whether a client stays on the endpoint that it is kept on, and whether its request is that one's probe; `None`: it moves,
/// because the endpoint is spared.
fn stays(kept: &Endpoint, ask: &Ask<'_>) -> Option<bool> {
    let ejection = &kept.run.ejection;
    match ejection.admission(ask.now, ask.is_repeatable) {
        Admission::Open => Some(false),
        Admission::Probe if ejection.take_probe(ask.now) => Some(true),
        Admission::Probe | Admission::Spared if ask.local.is_panicking(ask.now) => {
            ask.local.shard.panic_picks.increment();
            Some(false)
        }
        Admission::Probe | Admission::Spared => None,
    }
}

/// Whether an endpoint may get one more request, of this worker and of all.
fn has_room(endpoint: &Endpoint, limits: &ProxyLimits, ask: &Ask<'_>) -> bool {
    ask.seat.line(endpoint).in_flight.load(Ordering::Relaxed) < most(endpoint, limits) && limit::has_room(ask, endpoint)
}

/// Whether an endpoint gets nothing because it failed: not where so many are spared that all count again.
fn is_spared(endpoint: &Endpoint, ask: &Ask<'_>) -> bool {
    endpoint.run.ejection.is_ejected() && !ask.local.is_panicking(ask.now)
}

/// Whether clients that are kept on an endpoint wait for it where it is full: not for what fails, nor where nothing says how
/// much it takes.
fn is_awaited(home: &Endpoint, ask: &Ask<'_>) -> bool {
    limit::is_limited(home, ask.config) && !is_spared(home, ask)
}

/// Whether others wait for an endpoint because their clients are kept on it, and came before the one at `place`. Where it
/// has no limit any more they need not wait, and will soon see.
fn is_home_of_others(endpoint: &Endpoint, ask: &Ask<'_>, place: Option<&Place>) -> bool {
    let queue = &ask.local.queue;
    queue.has_homes() && limit::is_limited(endpoint, ask.config) && queue.is_awaited(endpoint.id.fingerprint(), place)
}

/// One of those that `accepts`, on another agent than what was `tried` if there is one.
fn choose_beside<'a>(
    tried: &[Arc<Endpoint>],
    ask: &Ask<'a>,
    accepts: impl Fn(&Endpoint) -> bool,
    rng: &mut Rng,
) -> Option<Chosen<'a>> {
    let beside = |endpoint: &Endpoint| tried.iter().any(|tried| is_beside(tried, endpoint));
    let elsewhere = |endpoint: &Endpoint| accepts(endpoint) && !beside(endpoint);
    let is_first = tried.iter().all(|tried| tried.agent.is_none());
    let chosen = if is_first { None } else { choose::choose(ask, elsewhere, rng) };
    chosen.or_else(|| choose::choose(ask, accepts, rng))
}

/// Whether both run on one agent.
fn is_beside(one: &Endpoint, other: &Endpoint) -> bool {
    one.agent.is_some() && one.agent == other.agent
}

/// Requests that may be under way at an endpoint: one takes a connection of HTTP/1.1, or a stream of one of HTTP/2.
fn most(endpoint: &Endpoint, limits: &ProxyLimits) -> u32 {
    match endpoint.protocol.is_http2() {
        true => limits.connections_per_endpoint.saturating_mul(limits.streams),
        false => limits.connections_per_endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn things_are_picked_by_weight() {
        let things = [("a", 1), ("b", 0), ("c", 3)];
        let mut rng = Rng::with_seed(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..4000 {
            *counts.entry(by_weight(&things, |thing| thing.1, &mut rng).unwrap().0).or_insert(0) += 1;
        }
        assert!((900..1100).contains(&counts["a"]) && !counts.contains_key("b"), "{counts:?}");
        assert!(by_weight(&[("z", 0)], |thing| thing.1, &mut rng).is_none());
    }
}
