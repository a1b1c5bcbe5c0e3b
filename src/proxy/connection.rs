//! One client's connection: TLS, which HTTP it speaks, and its life until it is closed.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::abort::Reset;
use super::access_log::line::{EndKind, Ended};
use super::access_log::note;
use super::answer_body::AnswerBody;
use super::client_address;
use super::client_io::ClientIo;
use super::drain::{self, DrainSignal};
use super::early::Ear;
use super::flow::Flow;
use super::forward;
use super::forwarded;
use super::gone::Gone;
use super::http1::Engine;
use super::http1::connection::{self as plain, End, Ending};
use super::http2::frame::PREFACE;
use super::http2::server::Server;
use super::idle::{Deadline, Times, Verdict, Watch};
use super::listen::Entrance;
use super::local;
use super::pool::Place;
use super::proxy_protocol::Addresses;
use super::proxy_protocol::receive::receive;
use super::reason::Reason;
use super::tcp;
use super::tls::refusal::Refusal;
use super::tls::sniff::sniff;
use super::tls::{Secured, TlsListener};
use super::worker::Worker;
use crate::config::Config;
use crate::config::checked::ProxyLimits;
use crate::model::service::Service;

/// Read at once while the protocol is told apart: usually the whole first request.
const FIRST_READ: usize = 4096;
/// The smallest buffer that hyper accepts.
const SMALLEST_BUFFER: usize = 8192;
/// A fatal alert (RFC 8446 section 6.2) in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// One client, as its requests see it.
#[derive(Debug)]
pub struct Client {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The other end.
    pub peer: SocketAddr,
    /// Its address as forwarded fields have it.
    pub address_text: HeaderValue,
    /// What it connected to.
    pub local: SocketAddr,
    /// How it finds its service.
    pub entrance: Entrance,
    /// What TLS told, if it speaks TLS.
    pub secured: Option<Secured>,
    /// Draining of the worker, or of the listener that it came by.
    drain: DrainSignal,
    /// What the layers of the connection tell each other.
    pub watch: Arc<Watch>,
    /// Connections to endpoints that are kept for it alone.
    pub kept: RefCell<Vec<Place>>,
    /// Its place among the worker's connections; also held by what it was upgraded to.
    _permit: OwnedSemaphorePermit,
}

/// How a client came to us.
#[derive(Debug)]
pub struct Arrival {
    /// The other end.
    pub peer: SocketAddr,
    /// What it connected to.
    pub local: SocketAddr,
    /// Its connection begins with a header of the PROXY protocol.
    pub is_announced: bool,
    /// It may be one of TLS that is carried on as it is.
    pub passes: bool,
    /// How it finds its service.
    pub entrance: Entrance,
    /// Ends its connection.
    pub drain: DrainSignal,
    /// Its place among the worker's connections.
    pub permit: OwnedSemaphorePermit,
}

impl Client {
    /// A client that was just accepted.
    fn new(worker: Rc<Worker>, arrival: Arrival, secured: Option<Secured>) -> Self {
        worker.shard.client_opened.increment();
        let Arrival { peer, local, is_announced: _, passes: _, entrance, drain, permit } = arrival;
        let address_text = forwarded::address_text(peer.ip());
        Self {
            worker,
            peer,
            address_text,
            local,
            entrance,
            secured,
            drain,
            watch: Arc::default(),
            kept: RefCell::default(),
            _permit: permit,
        }
    }
}

impl Client {
    /// Draining of the worker, or of the listener that it came by, for as long as its connection is open.
    pub fn drain(&self) -> DrainSignal {
        self.drain.clone()
    }

    /// Notes how its connection ended.
    fn has_ended(&self, result: Option<hyper::Result<()>>) {
        let Some(Err(error)) = result else { return };
        debug!(client = %self.peer, %error, flood = ?self.watch.flood(), "connection ended");
        // Heads of HTTP/1 are looked at before the implementation sees them (`head_gate.rs`); should it refuse one all the
        // same, that counts.
        if error.is_parse() {
            let reason = if error.is_parse_too_large() { Reason::HeadTooLarge } else { Reason::BadHead };
            self.count_unread(reason);
        }
    }

    /// A request over HTTP/2 is refused whose list of fields is too long: the fields of its answer.
    pub fn refuses_long_head(&self) -> HeaderMap {
        let reason = Reason::HeadTooLarge;
        debug!(client = %self.peer, reason = reason.code(), "request refused");
        self.count_unread(reason);
        local::own_fields(&self.worker, reason)
    }

    /// Counts a request that the HTTP implementation has refused by itself, before any rule of ours saw it.
    fn count_unread(&self, reason: Reason) {
        let shard = &self.worker.shard;
        shard.answered_locally(reason);
        shard.other().finished(reason.status(), Duration::ZERO);
        let config = self.worker.config();
        if let Some(note) = note::unread(self, &config, reason) {
            let (status, end) = (Some(reason.status().as_u16()), EndKind::Complete);
            let ended = Ended { status, end, elapsed: Duration::ZERO, endpoint: None };
            self.worker.access_log.ended(&config.proxy.access_log, &note, &ended);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(flood) = self.watch.flood() {
            self.worker.shard.flooded(flood);
        }
        self.worker.pool.forget(&self.kept.take());
        self.worker.shard.client_closed.increment();
    }
}

/// Serves one connection to its end.
pub async fn serve(worker: Rc<Worker>, stream: TcpStream, arrival: Arrival, tls: Option<TlsListener>) {
    if arrival.is_announced {
        // Boxed: most listeners ask for no header.
        if let Some((stream, arrival)) = Box::pin(announced(&worker, stream, arrival)).await {
            serve_arrived(worker, stream, arrival, tls).await;
        }
        return;
    }
    serve_arrived(worker, stream, arrival, tls).await;
}

/// Takes the header of the PROXY protocol; `None`: there is none that can be read, and the connection is closed.
async fn announced(worker: &Worker, mut stream: TcpStream, mut arrival: Arrival) -> Option<(TcpStream, Arrival)> {
    let limit = worker.config().proxy.limits.header;
    match timeout(limit, receive(&mut stream)).await {
        Ok(Ok(addresses)) => {
            worker.shard.announced.increment();
            if let Some(Addresses { source, destination }) = addresses {
                (arrival.peer, arrival.local) = (source, destination);
            }
            Some((stream, arrival))
        }
        Ok(Err(error)) => {
            debug!(sender = %arrival.peer, %error, "connection refused");
            worker.shard.announced_badly.increment();
            None
        }
        Err(_) => {
            worker.shard.announced_late.increment();
            None
        }
    }
}

async fn serve_arrived(worker: Rc<Worker>, stream: TcpStream, arrival: Arrival, tls: Option<TlsListener>) {
    let config = worker.config();
    let limits = config.proxy.limits.clone();
    // Many clients stand behind a trusted proxy's address.
    let is_counted = !client_address::is_trusted(arrival.peer.ip(), &config.proxy.trusted_proxies);
    drop(config);
    let most = if is_counted { limits.connections_per_network } else { usize::MAX };
    let Some(_place) = worker.per_address.take(arrival.peer.ip(), most) else {
        return worker.shard.address_full.increment();
    };
    if arrival.passes {
        return Box::pin(serve_by_name(worker, stream, arrival, tls, &limits)).await;
    }
    // Boxed is what a connection in clear text need not have room for while it is idle.
    let Some(tls) = tls else {
        let carried = carried(&worker, arrival.entrance);
        let client = Rc::new(Client::new(worker, arrival, None));
        return match carried {
            Some((service, config)) => {
                Box::pin(tcp::serve(&client, stream, service, config)).await;
            }
            None => serve_sniffed(client, stream, &limits).await,
        };
    };
    Box::pin(serve_secured(worker, stream, arrival, tls, &limits)).await;
}

/// TLS on a listener that carries some names on: whoever claims the name gets the connection, and what nobody claims ends
/// here, or is closed.
async fn serve_by_name(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    arrival: Arrival,
    tls: Option<TlsListener>,
    limits: &ProxyLimits,
) {
    let name = match timeout(limits.header, sniff(&stream)).await {
        Ok(Ok(name)) => name,
        Ok(Err(error)) => {
            debug!(client = %arrival.peer, %error, "connection refused");
            return worker.shard.passthrough_invalid.increment();
        }
        Err(_) => return worker.shard.timeout_head.increment(),
    };
    let passed = name.as_deref().and_then(|name| worker.with_table(|table| tcp::owner_of_name(table, name)));
    match (passed, tls) {
        (Some((service, config)), _) => {
            worker.shard.passthrough_carried.increment();
            let client = Client::new(worker, arrival, None);
            tcp::serve(&client, stream, service, config).await;
        }
        (None, Some(tls)) => {
            worker.shard.passthrough_ended.increment();
            serve_secured(worker, stream, arrival, tls, limits).await;
        }
        (None, None) => {
            debug!(client = %arrival.peer, ?name, "connection refused: nobody claims the name");
            worker.shard.passthrough_unknown.increment();
            let _ = timeout(limits.idle, stream.write_all(&UNRECOGNIZED_NAME)).await;
        }
    }
}

async fn serve_secured(
    worker: Rc<Worker>,
    stream: TcpStream,
    arrival: Arrival,
    tls: TlsListener,
    limits: &ProxyLimits,
) {
    let accepted = {
        let handshake = worker.handshakes.begin();
        tokio::select! {
            accepted = timeout(limits.header, tls.accept(stream)) => accepted,
            () = handshake.is_over() => return worker.shard.tls_displaced.increment(),
        }
    };
    let (stream, secured) = match accepted {
        Ok(Ok(Some(accepted))) => accepted,
        Ok(Ok(None)) => {
            debug!(client = %arrival.peer, "an authority's challenge is answered");
            return worker.shard.answered_locally(Reason::AcmeChallenge);
        }
        Ok(Err(error)) => {
            let refusal = Refusal::of_handshake(&error);
            debug!(client = %arrival.peer, %error, certificate = refusal.map(Refusal::as_str), "TLS handshake failed");
            return worker.shard.handshake_failed(refusal);
        }
        Err(_) => return worker.shard.timeout_head.increment(),
    };
    let is_http2 = secured.is_http2;
    let carried = carried(&worker, arrival.entrance);
    let client = Rc::new(Client::new(worker, arrival, Some(secured)));
    match (carried, is_http2) {
        (Some((service, config)), _) => tcp::serve(&client, stream, service, config).await,
        (None, true) => Box::pin(serve_http2(client, stream, Bytes::new(), limits)).await,
        (None, false) => serve_http1(client, stream, Bytes::new(), limits).await,
    }
}

/// The service that a connection is carried to as it is, if it came in on the port of one that speaks TCP.
fn carried(worker: &Worker, entrance: Entrance) -> Option<(Arc<Service>, Arc<Config>)> {
    let Entrance::Port(port) = entrance else { return None };
    let (service, config) = worker.with_table(|table| tcp::owner(table, port))?;
    service.protocol.is_carried().then_some((service, config))
}

/// Clear text: HTTP/2 with prior knowledge begins with its preface, everything else is HTTP/1.
async fn serve_sniffed(client: Rc<Client>, mut stream: TcpStream, limits: &ProxyLimits) {
    let first = match timeout(limits.header, read_first(&mut stream)).await {
        Ok(Ok(first)) if first.is_empty() => return,
        Ok(Ok(first)) => first,
        Ok(Err(_)) => return,
        Err(_) => return client.worker.shard.timeout_head.increment(),
    };
    if is_foreign(&first) {
        debug!(client = %client.peer, "connection closed: its first line is none of HTTP's");
        return client.worker.shard.foreign.increment();
    }
    match first.starts_with(PREFACE) {
        true => Box::pin(serve_http2(client, stream, first, limits)).await,
        false => serve_http1(client, stream, first, limits).await,
    }
}

/// Whether a connection begins with three words that are neither a request line (RFC 9112 section 3: the second is a target,
/// the third a version) nor the preface. Whoever says that may speak HTTP/2 badly, for which RFC 9113 section 3.4 wants the
/// connection ended; an answer in HTTP/1 would not be understood.
fn is_foreign(first: &[u8]) -> bool {
    let line = first.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let words = (words.next(), words.next(), words.next(), words.next());
    let (Some([_, ..]), Some(second @ [_, ..]), Some(third @ [_, ..]), None) = words else { return false };
    let is_target = second.iter().any(|byte| matches!(byte, b'/' | b':' | b'*'));
    line.len() < first.len() && !is_target && !third.contains(&b'/')
}

/// Reads until the bytes are, or cannot become, the preface.
async fn read_first(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    loop {
        let read = stream.read_buf(&mut first).await?;
        let begun = &first[..first.len().min(PREFACE.len())];
        if read == 0 || begun.len() == PREFACE.len() || !PREFACE.starts_with(begun) {
            return Ok(first.freeze());
        }
    }
}

async fn serve_http1<S>(client: Rc<Client>, stream: S, first: Bytes, limits: &ProxyLimits)
where
    S: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let (stream, first) = match client.worker.engine {
        Engine::Hyper => (stream, first),
        Engine::Own => {
            let ending = Ending::default();
            let served = plain::serve(client.clone(), stream, first, limits, ending.clone());
            match drive(Plain { served: pin!(served), ending }, &client, limits).await {
                Some(End::Other(stream, first)) => (stream, first),
                Some(End::Closed) | None => return,
            }
        }
    };
    // Boxed: connections that stay plain need not have room for it.
    Box::pin(serve_by_hyper(client, stream, first, limits)).await;
}

async fn serve_by_hyper<S>(client: Rc<Client>, stream: S, first: Bytes, limits: &ProxyLimits)
where
    S: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let most = limits.head_bytes.max(SMALLEST_BUFFER);
    let io = ClientIo::http1(stream, first, client.watch.clone(), limits.idle, (most, limits.head_fields));
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_headers(limits.head_fields)
        .max_buf_size(most)
        .serve_connection(TokioIo::new(io), service(client.clone()))
        .with_upgrades();
    client.has_ended(drive(connection, &client, limits).await);
}

async fn serve_http2<S>(client: Rc<Client>, stream: S, first: Bytes, limits: &ProxyLimits)
where
    S: AsyncRead + AsyncWrite + Gone + Unpin,
{
    let io = ClientIo::http2(stream, first, client.watch.clone(), limits.idle);
    drive(Server::new(client.clone(), io, limits), &client, limits).await;
}

fn service(
    client: Rc<Client>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<AnswerBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<AnswerBody>, Infallible>>,
> {
    service_fn(move |request: Request<Incoming>| {
        // RFC 9110 section 15.2: not to clients of HTTP/1.0.
        let ear = match request.version() {
            Version::HTTP_10 => {
                client.watch.knows_no_chunks();
                Ear::Nobody
            }
            _ => Ear::Connection(client.watch.clone()),
        };
        // Boxed: a connection has room for it as long as it lasts, and it is kilobytes large.
        let answer = Box::pin(forward::answer(client.clone(), request.map(Flow::Incoming), ear));
        async move { Ok(answer.await) }
    })
}

/// A connection that can be asked to end.
trait Graceful: Future {
    /// Takes no further request; ends when those under way are over.
    fn shut_down(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<I, S>
where
    Self: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S: AsyncRead + AsyncWrite + Gone + Unpin> Graceful for Server<S> {
    fn shut_down(self: Pin<&mut Self>) {
        // Whoever asks polls next.
        Self::shut_down(&self);
    }
}

/// A connection that is served by ourselves.
struct Plain<'a, F> {
    served: Pin<&'a mut F>,
    ending: Ending,
}

impl<F: Future> Future for Plain<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.served.as_mut().poll(context)
    }
}

impl<F: Future> Graceful for Plain<'_, F> {
    fn shut_down(self: Pin<&mut Self>) {
        // Whoever asks polls next.
        self.ending.set(true);
    }
}

enum Event<T> {
    Ended(T),
    HeadBegun(Deadline, Instant),
    TimeIsOver,
    Drains,
}

/// Runs a connection until it ends, is idle for too long, or draining has ended it. `None`: it was cut.
async fn drive<C: Graceful>(connection: C, client: &Client, limits: &ProxyLimits) -> Option<C::Output> {
    let times = Times { header: limits.header, keep_alive: limits.keep_alive };
    let (mut deadline, after) = Deadline::first(&times);
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + after));
    let mut connection = std::pin::pin!(connection);
    let (mut drain, mut changes) = (client.drain.clone(), client.drain.clone());
    let mut draining = std::pin::pin!(drain::begun(&mut drain));
    let mut ending = false;
    // Who is woken by the timer and by draining: they are asked again only when they have something to say.
    let mut known: Option<Waker> = None;
    loop {
        let event = poll_fn(|context| {
            // The connection first: a request that arrived together with the timer's end is served.
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(Event::Ended(ended));
            }
            if let Some((next, after)) = deadline.on_progress(&client.watch, &times) {
                return Poll::Ready(Event::HeadBegun(next, Instant::now() + after));
            }
            let is_known = known.as_ref().is_some_and(|known| known.will_wake(context.waker()));
            if !is_known {
                known = Some(context.waker().clone());
            }
            if (!is_known || timer.is_elapsed()) && timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::TimeIsOver);
            }
            if !ending && (!is_known || changes.has_changed().unwrap_or(true)) {
                changes.mark_unchanged();
                return draining.as_mut().poll(context).map(|()| Event::Drains);
            }
            Poll::Pending
        });
        match event.await {
            Event::Ended(result) => return Some(result),
            Event::HeadBegun(next, at) => {
                deadline = next;
                timer.as_mut().reset(at);
            }
            Event::TimeIsOver => match deadline.on_timer(&client.watch, &times) {
                Verdict::Again(next, after) => {
                    deadline = next;
                    timer.as_mut().reset(Instant::now() + after);
                }
                Verdict::SlowHead => {
                    client.worker.shard.timeout_head.increment();
                    return None;
                }
                // Asked to end and silent still: it does not listen.
                Verdict::Idle if ending => return None,
                Verdict::Idle => {
                    ending = true;
                    connection.as_mut().shut_down();
                    timer.as_mut().reset(Instant::now() + times.header);
                }
            },
            Event::Drains => {
                ending = true;
                connection.as_mut().shut_down();
            }
        }
        known = None;
    }
}
