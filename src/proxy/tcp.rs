//! Plain TCP: a connection on a port that a service holds is carried to one of its endpoints, byte by byte.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use super::abort::Abort;
use super::balance::choose::{self, Ask};
use super::balance::local::ServiceLocal;
use super::balance::outcome::Outcome;
use super::balance::{InFlight, hashing, limit};
use super::connect::announced;
use super::connection::Client;
use super::drain;
use super::leash;
use super::proxy_protocol::{Addresses, Announcement};
use super::retry;
use super::rules;
use super::upgrade::{Copied, copy_both};
use super::worker::{Opened, Worker};
use crate::config::Config;
use crate::model::endpoint::{Endpoint, EndpointId};
use crate::model::run::Moment;
use crate::model::service::{Protocol, Service};
use crate::table::Table;

/// The service that holds a port, and the configuration.
pub fn owner(table: &Table, port: u16) -> Option<(Arc<Service>, Arc<Config>)> {
    let way = table.ways.ports.get(&port)?;
    Some((table.service(&way.owner)?.clone(), table.config.clone()))
}

/// The service that TLS connections for a name are carried to, and the configuration.
pub fn owner_of_name(table: &Table, name: &str) -> Option<(Arc<Service>, Arc<Config>)> {
    let way = table.way_of_name(name)?;
    Some((table.service(&way.owner)?.clone(), table.config.clone()))
}

/// Carries a client's connection to an endpoint of `service` until both sides have ended, nothing was said for too long,
/// or draining ends it, ours or the endpoint's. Nothing is sent to the client before an endpoint is there.
pub async fn serve<S: Abort>(from: &Client, stream: S, service: Arc<Service>, config: Arc<Config>) {
    let (worker, peer) = (from.worker.clone(), from.peer);
    let limits = &config.proxy.limits;
    let client = peer.ip().to_canonical();
    if service.rules.as_ref().is_some_and(|rules| !rules::is_allowed(rules, client)) {
        debug!(client = %peer, service = %service.id, "connection refused: the address is not allowed");
        return worker.shard.tcp_refused.increment();
    }
    // A password cannot be asked for here, so nobody has one.
    if service.rules.as_ref().is_some_and(|rules| rules.auth.is_some()) {
        debug!(client = %peer, service = %service.id, "connection refused: the service asks for a password");
        return worker.shard.tcp_refused.increment();
    }
    let local = worker.local(&service.id);
    let Some((endpoint, in_flight, opened)) = reach(from, service, &local, &config).await else {
        local.tally.finished(true, false);
        worker.shard.lost_requests.increment();
        return worker.shard.tcp_failed.increment();
    };
    local.tally.finished(false, false);
    worker.shard.tcp_carried.increment();
    let mut drain = worker.drain.clone();
    let mut hold = worker.leashes.hold(in_flight.endpoint());
    let copied = Copied::default();
    tokio::select! {
        () = copy_both(stream, endpoint, limits.tcp_idle, &copied) => {}
        () = drain::expired(&mut drain) => {}
        () = leash::cut(Some(&mut hold)) => debug!(client = %peer, "cut: the endpoint's drain time is over"),
    }
    drop((in_flight, opened));
}

/// A connection to an endpoint: another one is tried where one cannot be reached, in the newest table each time. Where all
/// have as many as they take there is none: nobody waits, because a connection ends when its client likes.
async fn reach(
    from: &Client,
    mut service: Arc<Service>,
    local: &Rc<ServiceLocal>,
    config: &Arc<Config>,
) -> Option<(TcpStream, InFlight, Opened)> {
    let (worker, client) = (&from.worker, from.peer.ip().to_canonical());
    let mut tried: SmallVec<[EndpointId; 2]> = SmallVec::new();
    for attempt in 0..config.proxy.max_attempts {
        if attempt > 0 {
            service = worker.with_table(|table| table.service(&service.id).cloned()).unwrap_or(service);
        }
        let mut chosen = choose(worker, &service, local, config, client, &tried);
        if chosen.is_none() && !tried.is_empty() {
            // All were tried: after a pause they are again, for tasks may have been replaced meanwhile.
            let random = worker.rng.borrow_mut().f64();
            tokio::time::sleep(retry::backoff(attempt, random)).await;
            tried.clear();
            chosen = choose(worker, &service, local, config, client, &tried);
        }
        let (endpoint, is_probe) = chosen?;
        let (opened, begun) = (Opened::count(worker.shard.clone()), Instant::now());
        let in_flight = InFlight::begin(endpoint.clone(), worker.seat, local.clone(), begun, is_probe);
        let addresses = Some(Addresses { source: from.peer, destination: from.local });
        let announcement = endpoint.proxy_protocol.map(|version| Announcement { version, addresses });
        match announced(endpoint.address, announcement.as_ref(), config.proxy.limits.connect).await {
            Ok(stream) => {
                in_flight.answered(Some(Outcome::Good), begun, Instant::now());
                return Some((stream, in_flight, opened));
            }
            Err(error) => {
                debug!(endpoint = %endpoint.id, address = %endpoint.address, %error, "connection failed");
                in_flight.failed();
                tried.push(endpoint.id.clone());
            }
        }
    }
    None
}

fn choose(
    worker: &Worker,
    service: &Arc<Service>,
    local: &ServiceLocal,
    config: &Arc<Config>,
    client: IpAddr,
    tried: &[EndpointId],
) -> Option<(Arc<Endpoint>, bool)> {
    let now = Moment::of(Instant::now().into_std());
    let algorithm = service.algorithm(&config.proxy.balance.algorithm);
    let key = hashing::key(algorithm, &HeaderMap::new(), || client);
    worker.with_ask(service, local, config, now, |ask| {
        // Nothing was sent yet where a connection fails.
        let ask = Ask { key, is_repeatable: true, ..ask };
        // A connection counts as a request does: for as long as it is open.
        let accepts = |endpoint: &Endpoint| {
            endpoint.protocol != Protocol::Udp && !tried.contains(&endpoint.id) && limit::has_room(&ask, endpoint)
        };
        let chosen = choose::choose(&ask, accepts, &mut worker.rng.borrow_mut());
        chosen.map(|(endpoint, is_probe)| (endpoint.clone(), is_probe))
    })
}
