//! A request that is recorded: what is noted while it is under way, and what is left of it when it is over.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::id::ServiceId;
use crate::proxy::access_log::line::{EndKind, Ended};
use crate::proxy::access_log::note::Note;
use crate::proxy::reason::Reason;
use crate::proxy::trace::SpanContext;

/// The span of a request that is under way.
#[derive(Debug)]
pub struct RequestSpan {
    /// Its own place in the trace.
    context: SpanContext,
    /// Whose child it is.
    parent: Option<u64>,
    /// What others keep with the trace.
    state: Option<Box<str>>,
    /// The path that the route claims.
    route: Option<Arc<str>>,
    started: Instant,
    /// The same by the clock, in nanoseconds.
    started_at: u64,
    tries: RefCell<Tries>,
}

type Tries = SmallVec<[Try; 1]>;

/// One try at an endpoint.
#[derive(Clone, Debug)]
pub struct Try {
    /// The id of its span.
    pub id: u64,
    /// Who was asked.
    pub endpoint: Arc<Endpoint>,
    /// What it was asked for.
    pub target: PathAndQuery,
    /// When, from the request's head.
    pub begun: Duration,
    /// When it was over.
    pub ended: Option<Duration>,
    /// How it went.
    pub outcome: Outcome,
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was given up: its client went away, or another one was faster.
    GivenUp,
    /// There was an answer.
    Answered(u16),
    /// There was none.
    Failed(Reason),
}

impl RequestSpan {
    /// The first span of a trace that begins here; the request's head was there at `started`.
    pub fn first(begun: SpanContext, started: Instant) -> Self {
        Self::new(begun, None, None, started)
    }

    /// A span `id` below the one that the request names.
    pub fn below(parent: SpanContext, id: u64, state: Option<Box<str>>, started: Instant) -> Self {
        Self::new(parent.at(id), Some(parent.span), state, started)
    }

    fn new(context: SpanContext, parent: Option<u64>, state: Option<Box<str>>, started: Instant) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at = nanoseconds(now.saturating_sub(started.elapsed()));
        Self { context, parent, state, route: None, started, started_at, tries: RefCell::default() }
    }

    /// … that came by a route with this path.
    pub fn by_route(self, route: Option<Arc<str>>) -> Self {
        Self { route, ..self }
    }

    /// Its place in the trace.
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// An endpoint is asked for `target` now, in a span `id`. It is given up if what is returned is dropped.
    pub fn ask(self: &Rc<Self>, id: u64, endpoint: Arc<Endpoint>, target: PathAndQuery) -> RecordedTry {
        let begun = self.started.elapsed();
        let mut tries = self.tries.borrow_mut();
        tries.push(Try { id, endpoint, target, begun, ended: None, outcome: Outcome::GivenUp });
        RecordedTry { span: self.clone(), position: tries.len() - 1 }
    }
}

/// A try that is under way.
#[derive(Debug)]
pub struct RecordedTry {
    span: Rc<RequestSpan>,
    position: usize,
}

impl RecordedTry {
    /// There is the beginning of an answer, or none.
    pub fn ended(self, outcome: Outcome) {
        if let Some(one) = self.span.tries.borrow_mut().get_mut(self.position) {
            one.outcome = outcome;
        }
    }
}

impl Drop for RecordedTry {
    fn drop(&mut self) {
        // None is left where the request was over before: that is when the try was, too.
        if let Some(one) = self.span.tries.borrow_mut().get_mut(self.position) {
            one.ended = Some(self.span.started.elapsed());
        }
    }
}

/// A request that is over, as it is given to another thread.
#[derive(Debug)]
pub struct Record {
    /// Its place in its trace.
    pub context: SpanContext,
    /// Whose child it is.
    pub parent: Option<u64>,
    /// What others keep with the trace.
    pub state: Option<Box<str>>,
    /// When its head was there, in nanoseconds since 1970.
    pub started_at: u64,
    /// From there to the end of its answer.
    pub elapsed: Duration,
    /// Its method.
    pub method: Method,
    /// What it asked for, as it was sent.
    pub target: Uri,
    /// How it was asked.
    pub version: Version,
    /// The host that it asked for.
    pub authority: HeaderValue,
    /// It came over TLS.
    pub secure: bool,
    /// Where it comes from.
    pub client: IpAddr,
    /// What the client says it is.
    pub user_agent: Option<HeaderValue>,
    /// The path that its route claims.
    pub route: Option<Arc<str>>,
    /// The service that it was for.
    pub service: Option<ServiceId>,
    /// The table that it was answered from.
    pub generation: u64,
    /// Why the proxy answered by itself.
    pub reason: Option<Reason>,
    /// The status of its answer; `None`: there was none.
    pub status: Option<u16>,
    /// What became of the answer.
    pub end: EndKind,
    /// The endpoint that served it, or that was tried last.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Each try.
    pub tries: SmallVec<[Try; 1]>,
}

impl Record {
    /// What is left of a request.
    pub fn new(span: &RequestSpan, note: &Note, ended: &Ended<'_>, endpoint: Option<Arc<Endpoint>>) -> Self {
        let mut tries = span.tries.take();
        // The answer of who served it goes on to the request's end.
        let is_served = |one: &&mut Try| {
            let is_same = endpoint.as_ref().is_some_and(|endpoint| Arc::ptr_eq(endpoint, &one.endpoint));
            is_same && ended.status.is_some_and(|status| one.outcome == Outcome::Answered(status))
        };
        if let Some(served) = tries.iter_mut().rev().find(is_served) {
            served.ended = None;
        }
        Self {
            context: span.context,
            parent: span.parent,
            state: span.state.clone(),
            started_at: span.started_at,
            elapsed: ended.elapsed,
            method: note.method.clone(),
            target: note.target.clone(),
            version: note.version,
            authority: note.authority.clone(),
            secure: note.secure,
            client: note.client,
            user_agent: note.user_agent.clone(),
            route: span.route.clone(),
            service: note.service.clone(),
            generation: note.generation,
            reason: note.reason,
            status: ended.status,
            end: ended.end,
            endpoint,
            tries,
        }
    }

    /// Spans that it becomes.
    pub fn spans(&self) -> usize {
        1 + self.tries.len()
    }
}

/// Until the year 2554.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
