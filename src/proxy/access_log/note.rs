//! What is noted of a request on its way: its id, its trace, and what its line in the log will say.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderName, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use tokio::time::Instant;

use crate::config::Config;
use crate::config::access::{LogRule, TraceConfig};
use crate::model::id::ServiceId;
use crate::model::time::Timestamp;
use crate::proxy::client_address::{client_address, is_trusted};
use crate::proxy::connection::Client;
use crate::proxy::headers::remove_all;
use crate::proxy::plan::Plan;
use crate::proxy::reason::Reason;
use crate::proxy::spans::request::RequestSpan;
use crate::proxy::trace::SpanContext;
use crate::proxy::{request_id, trace};

/// A request that is noted.
#[derive(Debug)]
pub struct Note {
    /// The field of the request's id, and the id.
    pub request_id: Option<(HeaderName, HeaderValue)>,
    /// The trace that begins with the request.
    pub begun_trace: Option<SpanContext>,
    /// Its span, where it is recorded.
    pub span: Option<Rc<RequestSpan>>,
    /// Whether the request is written down.
    pub rule: LogRule,
    /// When its head was there.
    pub at: Timestamp,
    /// Where it comes from.
    pub client: IpAddr,
    /// It came over TLS.
    pub secure: bool,
    /// It could not be read: nothing is known of what it asked for.
    pub is_unread: bool,
    /// Its method.
    pub method: Method,
    /// The host that it asked for.
    pub authority: HeaderValue,
    /// What it asked for, as it was sent.
    pub target: http::Uri,
    /// How it was asked.
    pub version: Version,
    /// Where the client says it comes from.
    pub referer: Option<HeaderValue>,
    /// What the client says it is.
    pub user_agent: Option<HeaderValue>,
    /// Its trace.
    pub trace_id: Option<Box<str>>,
    /// The service that it was for.
    pub service: Option<ServiceId>,
    /// The table that it was answered from.
    pub generation: u64,
    /// Why the proxy answered by itself.
    pub reason: Option<Reason>,
    /// What it lacked for a route, if that was looked for.
    pub miss: Option<Box<str>>,
    /// Endpoints that were asked.
    pub attempts: u32,
    /// How long it has stood in line, if it did: shared with who counts it.
    pub queued: Option<Rc<Cell<Duration>>>,
    /// From its head to the head of its answer.
    pub first: Option<Duration>,
    /// Octets of its body.
    pub received: Rc<Cell<u64>>,
    /// Octets of its answer's body.
    pub sent: u64,
}

/// A request's stay in the line of those that wait for room. It is noted when this is dropped: a client that goes away has
/// waited, too.
#[derive(Debug)]
pub struct Queued {
    since: Instant,
    total: Rc<Cell<Duration>>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.total.set(self.total.get() + self.since.elapsed());
    }
}

/// Notes a request whose head was there at `started`, if anything is done with what is noted.
pub fn begin(
    client: &Client,
    config: &Config,
    head: &Parts,
    plan: Option<&Plan>,
    started: Instant,
) -> Option<Box<Note>> {
    let proxy = &config.proxy;
    let is_told = proxy.access_log.path.is_some() || proxy.request_id.is_some();
    if !is_told && !proxy.trace.begins() {
        return None;
    }
    let traced = Traced::of(client, &proxy.trace, head, plan, started);
    if !is_told && traced.is_others() {
        return None;
    }
    let peer = client.peer.ip();
    let name = proxy.request_id.as_ref().and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let request_id = name.map(|name| {
        let is_kept = is_trusted(peer, &proxy.trusted_proxies);
        let kept = is_kept.then(|| request_id::read(&head.headers, &name)).flatten();
        let id = kept.unwrap_or_else(|| request_id::make(&mut client.worker.rng.borrow_mut()));
        (name, id)
    });
    let value = |name: HeaderName| head.headers.get(name).cloned();
    let authority = plan.map(|plan| plan.admitted.authority.clone()).or_else(|| named(head));
    Some(Box::new(Note {
        request_id,
        begun_trace: traced.begun,
        trace_id: traced.context.map(|context| context.trace_id().into()),
        span: traced.span,
        rule: plan.map(|plan| plan.filtered.log).unwrap_or_default(),
        at: Timestamp::now(),
        client: client_address(peer, &head.headers, &proxy.trusted_proxies),
        secure: client.secured.is_some(),
        is_unread: false,
        method: head.method.clone(),
        authority: authority.unwrap_or(HeaderValue::from_static("")),
        target: head.uri.clone(),
        version: head.version,
        referer: value(REFERER),
        user_agent: value(USER_AGENT),
        service: plan.map(|plan| plan.destination.service.id.clone()),
        generation: plan.map_or_else(|| client.worker.with_table(|table| table.generation), |plan| plan.generation),
        reason: None,
        miss: None,
        attempts: 0,
        queued: None,
        first: None,
        received: Rc::default(),
        sent: 0,
    }))
}

/// Notes a request whose head could not be read, if requests are written down: who sent it is all that is known.
pub fn unread(client: &Client, config: &Config, reason: Reason) -> Option<Box<Note>> {
    config.proxy.access_log.path.as_ref()?;
    Some(Box::new(Note {
        request_id: None,
        begun_trace: None,
        trace_id: None,
        span: None,
        rule: LogRule::default(),
        at: Timestamp::now(),
        client: client.peer.ip().to_canonical(),
        secure: client.secured.is_some(),
        is_unread: true,
        method: Method::default(),
        authority: HeaderValue::from_static(""),
        target: http::Uri::default(),
        version: Version::HTTP_11,
        referer: None,
        user_agent: None,
        service: None,
        generation: client.worker.with_table(|table| table.generation),
        reason: Some(reason),
        miss: None,
        attempts: 0,
        queued: None,
        first: None,
        received: Rc::default(),
        sent: 0,
    }))
}

/// What is known of a request's trace, and what is decided.
struct Traced {
    context: Option<SpanContext>,
    /// It begins here.
    begun: Option<SpanContext>,
    span: Option<Rc<RequestSpan>>,
}

impl Traced {
    /// A trace that others have begun is recorded if it is marked so; of those that begin here, a share is ("ParentBased"
    /// with "TraceIdRatioBased" at its root, as OpenTelemetry's specification of sampling has it).
    fn of(client: &Client, config: &TraceConfig, head: &Parts, plan: Option<&Plan>, started: Instant) -> Self {
        let mut rng = client.worker.rng.borrow_mut();
        let known = trace::read(&head.headers);
        let begun = (known.is_none() && config.begins()).then(|| SpanContext::begin(&mut rng, config.sample));
        let context = known.or(begun);
        if !config.exports() || !context.is_some_and(|context| context.is_sampled) {
            return Self { context, begun, span: None };
        }
        let span = known.map(|parent| (parent, rng.u64(1..), trace::state(&head.headers)));
        let span = match (span, begun) {
            (Some((parent, id, state)), _) => Some(RequestSpan::below(parent, id, state, started)),
            (None, Some(begun)) => Some(RequestSpan::first(begun, started)),
            (None, None) => None,
        };
        drop(rng);
        let route = plan.and_then(|plan| plan.route_path(client, head));
        Self { context, begun, span: span.map(|span| Rc::new(span.by_route(route))) }
    }

    /// Nothing is to be done here: the trace passes as it is.
    fn is_others(&self) -> bool {
        self.begun.is_none() && self.span.is_none()
    }
}

/// The host of a request that did not pass the gate.
fn named(head: &Parts) -> Option<HeaderValue> {
    let named = head.uri.authority().and_then(|named| HeaderValue::from_str(named.as_str()).ok());
    named.or_else(|| head.headers.get(http::header::HOST).cloned())
}

impl Note {
    /// The request stands in line now, once more where it did before.
    pub fn stands_in_line(&mut self) -> Queued {
        Queued { since: Instant::now(), total: self.queued.get_or_insert_default().clone() }
    }

    /// Writes the id, and the trace that begins here, into the request that goes to an endpoint.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some((name, id)) = &self.request_id {
            remove_all(headers, name);
            headers.insert(name.clone(), id.clone());
        }
        if let Some(begun) = self.begun_trace {
            trace::write(headers, begun);
        }
    }
}

/// The target as it is written down.
pub(super) fn target(note: &Note, with_query: bool) -> &str {
    if note.is_unread {
        return "-";
    }
    let whole = note.target.path_and_query().map_or("*", http::uri::PathAndQuery::as_str);
    match with_query {
        true => whole,
        false => whole.split('?').next().unwrap_or_default(),
    }
}
