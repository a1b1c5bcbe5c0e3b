//! Pages for errors that a service of the table gives, as Traefik's middleware `errors` has it.
//!
//! Bounded in time, in octets and in how many are asked for at a time. An endpoint is asked by itself, past routes, rules
//! and filters: what goes wrong on the way asks for no further page. Whatever fails leaves the error as it was.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hashbrown::HashMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HOST, USER_AGENT,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, response};
use http_body_util::{BodyExt, Limited};
use tokio::time::{Duration, Instant, timeout};
use tracing::debug;

use super::pages::{MAX_PAGE, Page};
use crate::config::filter::ErrorsConfig;
use crate::model::endpoint::Endpoint;
use crate::model::id::ServiceId;
use crate::model::service::Service;
use crate::proxy::balance::{InFlight, outcome};
use crate::proxy::connect::{self, Way};
use crate::proxy::error::AttemptFault;
use crate::proxy::exchange;
use crate::proxy::flow::Flow;
use crate::proxy::headers;
use crate::proxy::http2::link::{Answered, Stream};
use crate::proxy::http2::upload::Beside;
use crate::proxy::proxy_protocol::Announcement;
use crate::proxy::request_body::{RequestBody, RequestSource};
use crate::proxy::worker::{Opened, Worker};
use crate::table::Table;

/// Says to the service which error it is about; a request that has it gets no page of a service.
pub const ERROR: HeaderName = HeaderName::from_static("x-pointsman-error");

/// Pages that one worker asks for at a time.
const MOST: usize = 32;
/// Endpoints that are asked for one page.
const ATTEMPTS: usize = 2;
/// How long it is believed what a name stands for: it takes a look at all services.
const BELIEVED: Duration = Duration::from_secs(1);

/// What a worker keeps of services that give pages.
#[derive(Debug, Default)]
pub struct PageServices {
    asking: Rc<Cell<usize>>,
    names: RefCell<HashMap<Arc<str>, Believed>>,
}

/// What a name stands for, and until when that is believed.
type Believed = (Option<ServiceId>, Instant);

/// What a client says of the page that it would like.
#[derive(Clone, Debug)]
pub struct Question {
    /// The filter that says whom to ask, by its position.
    pub filter: usize,
    host: Option<HeaderValue>,
    fields: HeaderMap,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum PageFault {
    #[error("no service, or several, are called so")]
    Unknown,
    #[error("the service has no endpoint for HTTP")]
    NoEndpoint,
    #[error("too many pages are asked for")]
    Busy,
    #[error("no answer in time")]
    Slow,
    #[error("the endpoint gives no answer")]
    Attempt(#[source] AttemptFault),
    #[error("the answer breaks off, or is too large")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is no page: status {status}")]
    NoPage { status: u16 },
    #[error("the answer has a coding that was not asked for")]
    Coded,
}

impl Question {
    /// What is asked on account of this request; `None`: it is one for such a page itself.
    pub fn of(filter: usize, head: &Parts) -> Option<Self> {
        if head.headers.contains_key(ERROR) {
            return None;
        }
        let of_uri = || head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let mut fields = HeaderMap::new();
        for name in [ACCEPT, ACCEPT_LANGUAGE] {
            for value in head.headers.get_all(&name) {
                fields.append(name.clone(), value.clone());
            }
        }
        Some(Self { filter, host: head.headers.get(HOST).cloned().or_else(of_uri), fields })
    }
}

/// Asks the service for the page of this status.
pub async fn fetch(worker: &Worker, config: &ErrorsConfig, question: &Question, status: StatusCode) -> Option<Page> {
    let name = config.service.as_ref()?;
    let asked = async {
        let _place = Asking::take(&worker.pages.asking).ok_or(PageFault::Busy)?;
        timeout(config.timeout, ask(worker, config, name, question, status)).await.unwrap_or(Err(PageFault::Slow))
    };
    match asked.await {
        Ok(page) => {
            worker.shard.pages_given.increment();
            Some(page)
        }
        Err(error) => {
            debug!(service = %name, %error, "a service gives no page for an error");
            worker.shard.pages_failed.increment();
            None
        }
    }
}

/// A place among those that ask.
struct Asking(Rc<Cell<usize>>);

impl Asking {
    fn take(asking: &Rc<Cell<usize>>) -> Option<Self> {
        (asking.get() < MOST).then(|| {
            asking.set(asking.get() + 1);
            Self(asking.clone())
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn ask(
    worker: &Worker,
    config: &ErrorsConfig,
    name: &Arc<str>,
    question: &Question,
    status: StatusCode,
) -> Result<Page, PageFault> {
    let service = worker.pages.find(worker, name).ok_or(PageFault::Unknown)?;
    let local = worker.local(&service.id);
    let mut fault = PageFault::NoEndpoint;
    for endpoint in some_of(&service, worker) {
        let begun = Instant::now();
        // The endpoint's drain waits for it, too.
        let in_flight = InFlight::begin(endpoint.clone(), worker.seat, local.clone(), begun, false);
        // One that cannot be reached leaves time for another.
        let limit = config.timeout / u32::try_from(ATTEMPTS).unwrap_or(1);
        match ask_endpoint(worker, &endpoint, limit, request(config, question, status, &endpoint)).await {
            Ok((head, body)) => {
                let outcome = outcome::of_head(head.status, &head.headers, SystemTime::now);
                in_flight.answered(outcome, begun, Instant::now());
                return page(head, body);
            }
            Err(PageFault::Attempt(error)) => {
                if error.is_endpoints() {
                    in_flight.failed();
                }
                fault = PageFault::Attempt(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(fault)
}

/// A few of the service's endpoints, each as likely as another.
fn some_of(service: &Service, worker: &Worker) -> Vec<Arc<Endpoint>> {
    let speaking = service.available.iter().filter(|endpoint| endpoint.protocol.is_http());
    let mut rng = worker.rng.borrow_mut();
    let mut chosen = rng.choose_multiple(speaking.cloned(), ATTEMPTS);
    rng.shuffle(&mut chosen);
    chosen
}

fn request(
    config: &ErrorsConfig,
    question: &Question,
    status: StatusCode,
    endpoint: &Endpoint,
) -> Request<RequestBody> {
    let path = config.path.replace("{status}", status.as_str());
    let path: PathAndQuery = path.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let address = || endpoint.address.to_string();
    let said = question.host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = said.or_else(|| address().parse().ok());
    let mut request = Request::new(RequestSource::empty().reader());
    let fields = request.headers_mut();
    *fields = question.fields.clone();
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fields.insert(USER_AGENT, HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION"))));
    fields.insert(ERROR, status.as_u16().into());
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path);
    match authority {
        Some(authority) if endpoint.protocol.is_http2() => {
            *request.version_mut() = Version::HTTP_2;
            uri.scheme = Some(if endpoint.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
            uri.authority = Some(authority);
        }
        authority => {
            let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
            request.headers_mut().insert(HOST, host.unwrap_or(HeaderValue::from_static("")));
        }
    }
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request
}

async fn ask_endpoint(
    worker: &Worker,
    endpoint: &Endpoint,
    limit: Duration,
    request: Request<RequestBody>,
) -> Result<(response::Parts, Bytes), PageFault> {
    // The connection is this proxy's own, and no client's.
    let announcement = endpoint.proxy_protocol.map(|version| Announcement { version, addresses: None });
    let way = Way { endpoint, announcement, limit, profiles: &worker.tls, shard: &worker.shard };
    let opened = Opened::count(worker.shard.clone());
    if endpoint.protocol.is_http2() {
        let connection = connect::http2(&way, opened, &worker.tasks).await.map_err(PageFault::Attempt)?;
        let stream = Stream::new(connection);
        let beside = Beside { tasks: &worker.tasks, stall: limit };
        let answered = stream.send(request, beside, |_| {}).await.map_err(PageFault::Attempt)?;
        let Answered { head, body, .. } = answered;
        return read(head, Flow::Stream(body)).await;
    }
    let connection = connect::http1(&way, opened).await.map_err(PageFault::Attempt)?;
    let (mut sender, driver, _opened) = connection.into_driver();
    let Some(mut driver) = driver else { return Err(PageFault::Attempt(AttemptFault::Unsent { reused: false })) };
    let whole = async {
        let answer = exchange::send_detached(&mut sender, request).await.map_err(PageFault::Attempt)?;
        let (head, body) = answer.into_parts();
        read(head, Flow::Incoming(body)).await
    };
    let mut whole = std::pin::pin!(whole);
    tokio::select! {
        whole = &mut whole => whole,
        // It may end together with the answer, which is there then.
        _ = driver.as_mut() => whole.await,
    }
}

async fn read(head: response::Parts, body: Flow) -> Result<(response::Parts, Bytes), PageFault> {
    let most = usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
    let body = Limited::new(body, most).collect().await.map_err(PageFault::Body)?;
    Ok((head, body.to_bytes()))
}

fn page(mut head: response::Parts, body: Bytes) -> Result<Page, PageFault> {
    if !head.status.is_success() {
        return Err(PageFault::NoPage { status: head.status.as_u16() });
    }
    if head.headers.contains_key(CONTENT_ENCODING) && !headers::has_token(&head.headers, &CONTENT_ENCODING, "identity")
    {
        return Err(PageFault::Coded);
    }
    let kind = head.headers.remove(CONTENT_TYPE);
    let language = head.headers.remove(CONTENT_LANGUAGE);
    Ok(Page { kind: kind.unwrap_or(HeaderValue::from_static("text/html; charset=utf-8")), language, body })
}

impl PageServices {
    /// The one service that is called so.
    fn find(&self, worker: &Worker, name: &Arc<str>) -> Option<Arc<Service>> {
        let now = Instant::now();
        let believed = self.names.borrow().get(name).filter(|(_, until)| *until > now).map(|(id, _)| id.clone());
        let id = believed.unwrap_or_else(|| {
            let found = worker.with_table(|table| named(table, name));
            let mut names = self.names.borrow_mut();
            names.retain(|_, (_, until)| *until > now);
            names.insert(name.clone(), (found.clone(), now + BELIEVED));
            found
        });
        worker.with_table(|table| table.service(&id?).cloned())
    }
}

/// The one service that is called so; the whole id goes before everything else.
fn named(table: &Table, name: &str) -> Option<ServiceId> {
    if let Some(service) = ServiceId::parse(name).and_then(|id| table.service(&id)) {
        return Some(service.id.clone());
    }
    let mut found = table.services.values().filter(|service| service.is_named(name));
    let first = found.next()?;
    // Of several nobody knows which is meant, least of all where anybody may start tasks.
    found.next().is_none().then(|| first.id.clone())
}
