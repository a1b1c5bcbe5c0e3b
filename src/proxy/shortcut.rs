//! Requests that need nothing but passing on, as most are: no rule, filter, session, log or trace asks for a look at them.
//!
//! Of such a request no more is made than what is counted; its head goes from buffer to buffer. Whatever does not go
//! smoothly (an endpoint without a waiting connection, one that fails or is slow, an answer that is none yet or says that
//! the endpoint failed) is handed to [`super::forward::resume`], together with what the first try has come to: repeats,
//! pages for errors and refusals are written down there alone.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tracing::debug;

use super::account::Account;
use super::balance::InFlight;
use super::balance::choose::Ask;
use super::balance::local::ServiceLocal;
use super::balance::outcome::Outcome;
use super::client_address::is_trusted;
use super::connection::Client;
use super::deadlines::Deadline;
use super::error::AttemptFault;
use super::forwarded::Hop;
use super::http1::Engine;
use super::http1::upstream::{Bare, Read};
use super::http2::head::Fields;
use super::http2::link::{Asked, Stream};
use super::listen::Entrance;
use super::route::Destination;
use crate::config::Config;
use crate::config::checked::ProxyConfig;
use crate::model::balance::Algorithm;
use crate::model::endpoint::Endpoint;
use crate::model::run::Moment;
use crate::model::service::Service;
use crate::table::Table;

/// What the first try has come to that is not to be passed on.
#[derive(Debug)]
pub enum FirstTry {
    /// The endpoint is chosen and counted, nothing was sent.
    Chosen,
    /// The request was sent, and this came; nothing, where the endpoint is slow.
    Heard(Bare, Read),
    /// The same over HTTP/2.
    Asked(Asked, Stream),
    /// An answer over HTTP/2 that has to be looked at.
    Answered(Box<Fields>, Asked, Stream),
    /// It failed.
    Failed(AttemptFault),
}

/// A request on the long way, and what it brings along.
#[derive(Debug)]
pub struct Resumed {
    /// What is counted of it, its place at the endpoint included.
    pub account: Account,
    /// The endpoint of its first try.
    pub endpoint: Arc<Endpoint>,
    /// What that has come to.
    pub first: FirstTry,
}

/// Where a request goes that needs nothing but passing on.
#[derive(Debug)]
pub struct Found {
    service: Arc<Service>,
    config: Arc<Config>,
}

/// A request whose endpoint is chosen and counted.
#[derive(Debug)]
pub struct Chosen {
    /// What is counted of it. Gone with its answer.
    account: Option<Account>,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// The settings that it goes by.
    pub config: Arc<Config>,
    destination: Destination,
    local: Rc<ServiceLocal>,
    started: Instant,
    total: Duration,
    deadline: Option<Deadline>,
    /// The deadline is that of all tries.
    is_total: bool,
}

/// Why an answer is waited for no longer.
#[derive(Debug)]
pub enum Limit {
    /// The try is over.
    Failed(AttemptFault),
    /// Another endpoint could be asked meanwhile.
    Slow,
}

/// Whether requests of this client may be passed on so at all.
pub fn is_open_to(client: &Client, proxy: &ProxyConfig) -> bool {
    client.entrance == Entrance::Host
        && client.worker.engine == Engine::Own
        && proxy.access_log.path.is_none()
        && proxy.request_id.is_none()
        && !proxy.trace.begins()
        && proxy.hedging.ratio <= 0.0
        && !proxy.adaptive.enabled
        && !proxy.proxy_status_relayed
        && !is_trusted(client.peer.ip(), &proxy.trusted_proxies)
}

/// What is known of a client that is not believed, but for the authority that it asks for.
pub fn hop(client: &Client) -> Hop<'_> {
    let peer = client.peer.ip();
    Hop {
        peer,
        peer_text: &client.address_text,
        trusted: false,
        client: peer.to_canonical(),
        secure: client.secured.is_some(),
        authority: "",
        port: client.local.port(),
        certificate: client.secured.as_ref().and_then(|secured| secured.client_certificate.as_ref()),
    }
}

/// The path of a target in origin-form (RFC 9112 section 3.2.1) that is in normal form already, of characters that need no
/// encoding (RFC 3986 section 3.3); what follows in the query may be encoded.
pub fn plain_path(target: &str) -> Option<&str> {
    let is_character = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@' | b'/')
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut former = 0;
    for byte in path.bytes() {
        // Empty segments, and those that begin with a dot.
        if !is_character(byte) || (former == b'/' && matches!(byte, b'/' | b'.')) {
            return None;
        }
        former = byte;
    }
    let is_plain = path.starts_with('/') && query.bytes().all(|byte| is_character(byte) || matches!(byte, b'?' | b'%'));
    is_plain.then_some(path)
}

/// The service of a request, if its route and itself ask for nothing.
pub fn find(table: &Table, client: &Client, host: &str, path: &str) -> Option<Found> {
    // RFC 9110 section 7.4 has 421 for it.
    if client.secured.as_ref().is_some_and(|secured| !secured.is_for(host)) {
        return None;
    }
    let route = table.routes.find_by_path(host, path).filter(|route| route.actions.is_none())?;
    let [target] = &*route.targets else { return None };
    let service = table.service(&target.service)?;
    let is_plain = target.version.is_none()
        && service.rules.is_none()
        && service.shares.is_none()
        && service.sticky.is_empty()
        && service.protocol.is_http()
        && !matches!(service.algorithm(&table.config.proxy.balance.algorithm), Algorithm::Hash(_));
    is_plain.then(|| Found { service: service.clone(), config: table.config.clone() })
}

impl Chosen {
    /// Chooses an endpoint, and begins to count; `None`: it needs a second look after all.
    pub fn begin(client: &Rc<Client>, found: Found) -> Option<Self> {
        let Found { service, config } = found;
        let (worker, limits) = (&client.worker, &config.proxy.limits);
        if worker.shard.held() > limits.buffer_bytes as u64 {
            return None;
        }
        let local = worker.local(&service.id);
        if !local.queue.is_empty() {
            return None;
        }
        let started = Instant::now();
        let total = service.bounds().and_then(|bounds| bounds.timeout).unwrap_or(limits.response);
        let destination =
            Destination { service, version: None, by_lot: true, session: None, is_leaving: false, route: None };
        let (endpoint, is_probe) = choose(client, &destination, &config, &local, started)?;
        client.watch.begin();
        let mut account = Account::begin(client.clone(), started);
        account.belongs_to(&local);
        account.in_flight = Some(InFlight::begin(endpoint.clone(), worker.seat, local.clone(), started, is_probe));
        account.hold = Some(worker.leashes.hold(&endpoint));
        let account = Some(account);
        Some(Self { account, endpoint, config, destination, local, started, total, deadline: None, is_total: false })
    }

    /// When its head was complete.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What is needed on the long way; `None`: the request is answered.
    pub fn resumed(&mut self, first: FirstTry) -> Option<Resumed> {
        let account = self.account.take()?;
        Some(Resumed { account, endpoint: self.endpoint.clone(), first })
    }

    /// It is a call over gRPC.
    pub fn is_a_call(&mut self) {
        if let Some(account) = &mut self.account {
            account.is_a_call();
        }
    }

    /// Whether it is a call over gRPC.
    pub fn is_call(&self) -> bool {
        self.account.as_ref().is_some_and(Account::is_call)
    }

    /// The endpoint has done its work, as far as `outcome` says, and its answer is passed on: what is counted of it goes with
    /// the answer. `since`: from when on it had all that it needed.
    pub fn answers(
        &mut self,
        client: &Client,
        status: StatusCode,
        outcome: Option<Outcome>,
        since: Instant,
    ) -> Option<Account> {
        let mut account = self.account.take()?;
        if let Some(in_flight) = &account.in_flight {
            in_flight.answered(outcome, since, Instant::now());
        }
        self.local.budget.borrow_mut().deposit(self.config.proxy.retry_ratio, Moment::of(self.started.into_std()));
        account.answers(status);
        debug!(client = %client.peer, service = %self.destination.service.id, status = status.as_u16(), "answered");
        Some(account)
    }

    /// Whether the try has taken too long, or its endpoint is gone. `may_leave`: the answer can be waited for elsewhere.
    pub fn poll_limits(&mut self, client: &Client, may_leave: bool, context: &mut Context<'_>) -> Poll<Limit> {
        let hold = self.account.as_mut().and_then(|account| account.hold.as_mut());
        if hold.is_some_and(|hold| hold.poll_cut(context).is_ready()) {
            return Poll::Ready(Limit::Failed(AttemptFault::Drained));
        }
        let proxy = &self.config.proxy;
        let deadline = match &mut self.deadline {
            Some(deadline) => deadline,
            empty => {
                let first = if proxy.max_attempts > 1 { self.total.min(proxy.limits.per_try) } else { self.total };
                self.is_total = first == self.total;
                empty.insert(client.worker.deadlines.at(self.started + first))
            }
        };
        while deadline.poll(context).is_ready() {
            if self.is_total {
                return Poll::Ready(Limit::Failed(AttemptFault::SlowAnswer));
            }
            // Whether it is given up where there is another endpoint is found out on the long way.
            client.worker.with_table(|table| self.destination.renew(table));
            if may_leave && self.destination.has_another(std::slice::from_ref(&self.endpoint)) {
                return Poll::Ready(Limit::Slow);
            }
            // Another may be there later.
            let (next, total) = (Instant::now() + proxy.limits.per_try, self.started + self.total);
            self.is_total = next >= total;
            deadline.set(next.min(total));
        }
        Poll::Pending
    }
}

fn choose(
    client: &Client,
    destination: &Destination,
    config: &Arc<Config>,
    local: &ServiceLocal,
    started: Instant,
) -> Option<(Arc<Endpoint>, bool)> {
    let (worker, now) = (&client.worker, Moment::of(started.into_std()));
    worker.with_ask(&destination.service, local, config, now, |ask| {
        let ask = Ask { is_repeatable: config.proxy.max_attempts > 1, ..ask };
        let chosen = destination.choose(&[], &config.proxy.limits, &ask, None, &mut worker.rng.borrow_mut());
        chosen.map(|(endpoint, is_probe)| (endpoint.clone(), is_probe))
    })
}
