//! Requests that need nothing but passing on, as most are: no rule, filter, session, log or trace asks for a look at
//! them, and the endpoint that is chosen has a connection waiting.
//!
//! Their heads go from buffer to buffer ([`super::rewrite`]), and no more is made of them than what is counted. Whatever
//! does not go smoothly (an endpoint without a waiting connection, one that fails or is slow, an answer that is none yet
//! or says that the endpoint failed) is handed to [`crate::proxy::forward::resume`], together with what the first try has
//! come to: repeats, pages for errors and refusals are written down there alone.

use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tracing::debug;

use super::answer::Answer;
use super::relay::BareRelay;
use super::rewrite::{self, Passing};
use super::stays;
use super::upstream::{Bare, BareAnswer, Read};
use crate::config::Config;
use crate::config::checked::{ProxyConfig, Underscores};
use crate::model::balance::Algorithm;
use crate::model::endpoint::Endpoint;
use crate::model::run::Moment;
use crate::model::service::{Protocol, Service};
use crate::model::time::Timestamp;
use crate::proxy::account::Account;
use crate::proxy::authority::authority_to_host;
use crate::proxy::balance::InFlight;
use crate::proxy::balance::choose::Ask;
use crate::proxy::balance::local::ServiceLocal;
use crate::proxy::balance::outcome::Outcome;
use crate::proxy::client_address::is_trusted;
use crate::proxy::connect;
use crate::proxy::connection::Client;
use crate::proxy::deadlines::Deadline;
use crate::proxy::error::AttemptFault;
use crate::proxy::forwarded::Hop;
use crate::proxy::listen::Entrance;
use crate::proxy::route::Destination;
use crate::table::Table;

/// The most fields of an answer that is passed on so.
const FIELDS: usize = 64;
/// What the proxy says of a request takes so many octets, in most cases.
const OWN_FIELDS: usize = 320;

/// A request under way.
#[derive(Debug)]
pub struct Direct {
    /// Its head as the client sent it: for the long way.
    pub raw: Vec<u8>,
    /// The client wants the connection closed after the answer.
    pub closes: bool,
    /// What is counted of it. Gone with its answer.
    account: Option<Account>,
    endpoint: Arc<Endpoint>,
    destination: Destination,
    config: Arc<Config>,
    local: Rc<ServiceLocal>,
    started: Instant,
    total: Duration,
    /// What is sent, and later what is answered.
    head: Vec<u8>,
    written: usize,
    /// `None`: none was waiting.
    connection: Option<Bare>,
    deadline: Option<Deadline>,
    /// The deadline is that of all tries.
    is_total: bool,
}

/// What the first try has come to that is not to be passed on.
#[derive(Debug)]
pub enum FirstTry {
    /// The endpoint is chosen and counted, nothing was sent.
    Chosen,
    /// The request was sent, and this came; nothing, where the endpoint is slow.
    Heard(Bare, Read),
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

/// Begins with a plain request, if it needs no second look: `head` and what it says.
pub fn begin(client: &Rc<Client>, head: &[u8], parsed: &httparse::Request<'_, '_>) -> Option<Box<Direct>> {
    if parsed.method != Some("GET") || client.entrance != Entrance::Host {
        return None;
    }
    let worker = &client.worker;
    let (read, service, config) = worker.with_table(|table| {
        let proxy = &table.config.proxy;
        if asks_for_a_look(proxy) || is_trusted(client.peer.ip(), &proxy.trusted_proxies) {
            return None;
        }
        let read = read(client, proxy, head.len(), parsed)?;
        let service = service(table, &read)?.clone();
        Some((Begun { head: read.head, closes: read.closes }, service, table.config.clone()))
    })?;
    let limits = &config.proxy.limits;
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
    let is_bare = endpoint.protocol == Protocol::Http && connect::is_plain(&endpoint);
    let connection = if is_bare { worker.pool.take_bare(&endpoint, started) } else { None };
    Some(Box::new(Direct {
        raw: head.to_vec(),
        closes: read.closes,
        account: Some(account),
        endpoint,
        destination,
        config,
        local,
        started,
        total,
        head: read.head,
        written: 0,
        connection,
        deadline: None,
        is_total: false,
    }))
}

/// A head that is ready for the next hop.
struct Begun {
    head: Vec<u8>,
    closes: bool,
}

/// The same, and what routes go by.
pub(super) struct Found<'a> {
    pub(super) head: Vec<u8>,
    pub(super) closes: bool,
    pub(super) host: std::borrow::Cow<'a, str>,
    pub(super) path: &'a str,
}

/// Whether something is done with every request that is more than passing it on.
fn asks_for_a_look(proxy: &ProxyConfig) -> bool {
    proxy.access_log.path.is_some()
        || proxy.request_id.is_some()
        || proxy.trace.begins()
        || proxy.hedging.ratio > 0.0
        || proxy.adaptive.enabled
        || proxy.proxy_status_relayed
}

fn read<'a>(
    client: &Client,
    proxy: &ProxyConfig,
    length: usize,
    parsed: &httparse::Request<'_, 'a>,
) -> Option<Found<'a>> {
    // A field that is left out here may have such a name, too.
    if proxy.underscores == Underscores::Refuse && parsed.headers.iter().any(|field| field.name.contains('_')) {
        return None;
    }
    let peer = client.peer.ip();
    let hop = Hop {
        peer,
        peer_text: &client.address_text,
        trusted: false,
        client: peer.to_canonical(),
        secure: client.secured.is_some(),
        authority: "",
        port: client.local.port(),
        certificate: client.secured.as_ref().and_then(|secured| secured.client_certificate.as_ref()),
    };
    let found = write(length, parsed, hop, &proxy.via)?;
    // RFC 9110 section 7.4 has 421 for it.
    let is_ours = client.secured.as_ref().is_none_or(|secured| secured.is_for(&found.host));
    is_ours.then_some(found)
}

/// Writes the head of a plain GET of so many octets for the next hop. `hop`: what is known of its client, but for the authority
/// that it asks for.
pub(super) fn write<'a>(
    length: usize,
    parsed: &httparse::Request<'_, 'a>,
    hop: Hop<'_>,
    via: &str,
) -> Option<Found<'a>> {
    let target = parsed.path?;
    let path = plain_path(target)?;
    let mut head = Vec::with_capacity(length + OWN_FIELDS);
    head.extend_from_slice(b"GET ");
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let asked = rewrite::request(parsed.headers, &mut head)?;
    let host = authority_to_host(asked.authority).ok()?;
    rewrite::end_request(&mut head, &Hop { authority: asked.authority, ..hop }, via);
    Some(Found { head, closes: asked.closes, host, path })
}

/// The path of a target in origin-form (RFC 9112 section 3.2.1) that is in normal form already, of characters that need no
/// encoding (RFC 3986 section 3.3); what follows in the query may be encoded.
fn plain_path(target: &str) -> Option<&str> {
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
fn service<'a>(table: &'a Table, found: &Found<'_>) -> Option<&'a Arc<Service>> {
    let route = table.routes.find_by_path(&found.host, found.path).filter(|route| route.actions.is_none())?;
    let [target] = &*route.targets else { return None };
    let service = table.service(&target.service)?;
    let is_plain = target.version.is_none()
        && service.rules.is_none()
        && service.shares.is_none()
        && service.sticky.is_empty()
        && service.protocol.is_http()
        && !matches!(service.algorithm(&table.config.proxy.balance.algorithm), Algorithm::Hash(_));
    is_plain.then_some(service)
}

fn choose(
    client: &Client,
    destination: &Destination,
    config: &Arc<Config>,
    local: &ServiceLocal,
    started: Instant,
) -> Option<(Arc<Endpoint>, bool)> {
    let (worker, now) = (&client.worker, Moment::of(started.into_std()));
    let service = &destination.service;
    let (outlook, zones) = local.look(service, config, now, Timestamp::now, |endpoint| worker.agent_of(endpoint));
    let ask = Ask {
        service,
        outlook,
        zones: zones.as_deref(),
        local,
        config: &config.proxy.balance,
        key: None,
        is_repeatable: config.proxy.max_attempts > 1,
        seat: worker.seat,
        now,
        wall: if outlook.slow_start { Timestamp::now() } else { Timestamp(0) },
    };
    let chosen = destination.choose(&[], &config.proxy.limits, &ask, None, &mut worker.rng.borrow_mut());
    chosen.map(|(endpoint, is_probe)| (endpoint.clone(), is_probe))
}

impl Direct {
    /// Sends the request and waits for an answer that can be passed on; `Err`: it takes the long way.
    pub fn poll_answer(
        &mut self,
        client: &Client,
        closes: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Answer, FirstTry>> {
        self.closes |= closes;
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(FirstTry::Chosen)) };
        while self.written < self.head.len() {
            match connection.poll_write(context, &self.head[self.written..]) {
                Poll::Ready(Ok(length)) => self.written += length,
                Poll::Ready(Err(error)) => {
                    let fault = connection.unsent(self.written, error);
                    return Poll::Ready(Err(FirstTry::Failed(fault)));
                }
                Poll::Pending => return self.poll_limits(client, context),
            }
        }
        match connection.poll_read(context) {
            Poll::Ready(Ok(read)) if read.bytes().is_empty() => {
                let fault = connection.died(std::io::ErrorKind::UnexpectedEof.into());
                Poll::Ready(Err(FirstTry::Failed(fault)))
            }
            Poll::Ready(Ok(read)) => Poll::Ready(self.heard(client, read)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(FirstTry::Failed(connection.died(error)))),
            Poll::Pending => self.poll_limits(client, context),
        }
    }

    /// What is needed on the long way; `None`: the request is answered.
    pub fn resumed(&mut self, first: FirstTry) -> Option<Resumed> {
        let account = self.account.take()?;
        Some(Resumed { account, endpoint: self.endpoint.clone(), first })
    }

    /// Whether the try has taken too long, or its endpoint is gone.
    fn poll_limits<T>(&mut self, client: &Client, context: &mut Context<'_>) -> Poll<Result<T, FirstTry>> {
        let hold = self.account.as_mut().and_then(|account| account.hold.as_mut());
        if hold.is_some_and(|hold| hold.poll_cut(context).is_ready()) {
            return Poll::Ready(Err(FirstTry::Failed(AttemptFault::Drained)));
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
                return Poll::Ready(Err(FirstTry::Failed(AttemptFault::SlowAnswer)));
            }
            // Whether it is given up where there is another endpoint is found out on the long way. What has not been sent to
            // its end stays here: it could not be waited for there.
            client.worker.with_table(|table| self.destination.renew(table));
            let is_sent = self.written == self.head.len();
            if is_sent
                && self.destination.has_another(std::slice::from_ref(&self.endpoint))
                && let Some(connection) = self.connection.take()
            {
                return Poll::Ready(Err(FirstTry::Heard(connection, Read::default())));
            }
            // Another may be there later.
            let (next, total) = (Instant::now() + proxy.limits.per_try, self.started + self.total);
            self.is_total = next >= total;
            deadline.set(next.min(total));
        }
        Poll::Pending
    }

    fn heard(&mut self, client: &Client, mut read: Read) -> Result<Answer, FirstTry> {
        let Some(mut connection) = self.connection.take() else { return Err(FirstTry::Chosen) };
        // The request has left: its buffer is free.
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        let (worker, proxy) = (&client.worker, &self.config.proxy);
        let passing = Passing { via: &proxy.via, closes: self.closes };
        let Some((length, said)) = read_answer(read.bytes(), &passing, || worker.date(), &mut head) else {
            return Err(FirstTry::Heard(connection, read));
        };
        let Some(mut account) = self.account.take() else { return Err(FirstTry::Heard(connection, read)) };
        read.advance(length);
        let now = Instant::now();
        connection.until = said.stays.map(|said| stays::until(said, now));
        if let Some(in_flight) = &account.in_flight {
            in_flight.answered(Some(Outcome::Good), self.started, now);
        }
        self.local.budget.borrow_mut().deposit(proxy.retry_ratio, Moment::of(self.started.into_std()));
        account.answers(said.status);
        debug!(client = %client.peer, service = %self.destination.service.id, status = said.status.as_u16(), "answered");
        let has_content = !matches!(said.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let answer = BareAnswer { connection, framing: said.framing, is_kept: said.is_kept, read };
        let relay = BareRelay::new(answer, self.endpoint.address, worker.clone(), account, &proxy.limits);
        Ok(Answer::passed_on(head, relay, has_content))
    }
}

/// Reads the head of an answer that did its work, and writes it for the client.
pub(super) fn read_answer(
    bytes: &[u8],
    passing: &Passing<'_>,
    date: impl FnOnce() -> http::HeaderValue,
    head: &mut Vec<u8>,
) -> Option<(usize, rewrite::Said)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let read = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let Ok(httparse::Status::Complete(length)) = read else { return None };
    Some((length, rewrite::answer(&parsed, passing, date, head)?))
}
