//! From a request to its answer: checks in a fixed order (host, path, method, right to change), then the call.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::context::AdminContext;
use super::events::{EventBody, Follower};
use super::metrics::{self, AdminMetrics};
use super::query::{Query, decode};
use super::reply::{Answer, ApiError, Body, Reply};
use super::router::{self, Endpoint, Scope};
use super::security::{self, Peer};
use super::{
    certificates, deploys, drains, explain, health, mesos_dns, problems, scrape, services, settings, sources, tables,
    tasks, weights,
};
use crate::model::drain::DrainSubject;
use crate::model::time::Timestamp;

/// The largest body of a request.
const MAX_BODY: usize = 4096;
/// How long a request's body may take.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Streams of events at a time.
const MAX_STREAMS: usize = 32;
/// Answers that are computed at a time: large ones take a core for a while, and the control plane has others to do.
const MAX_COMPUTING: usize = 4;

/// Calls that wait for something to be drained, at a time.
const MAX_WAITING: usize = 64;

/// What every connection shares.
pub(crate) struct Shared {
    pub context: Arc<AdminContext>,
    pub metrics: AdminMetrics,
    streams: Arc<Semaphore>,
    computing: Semaphore,
    waiting: Semaphore,
}

/// Whose requests a connection brings.
pub(crate) struct Caller {
    pub peer: Peer,
    pub scope: Scope,
    /// Ends the streams of the connection.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(context: Arc<AdminContext>, metrics: AdminMetrics) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Self {
            context,
            metrics,
            streams,
            computing: Semaphore::new(MAX_COMPUTING),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, caller: &Caller, request: Request<Incoming>) -> Response<Body> {
        if caller.scope == Scope::MesosDns {
            return self.mesos_dns(request).await;
        }
        let endpoint = router::endpoint(caller.scope, request.uri().path()).map(|(endpoint, _)| endpoint);
        let call = endpoint.as_ref().map_or("unknown", |endpoint| endpoint.template());
        let response = self.checked(caller, request).await.unwrap_or_else(ApiError::into_response);
        self.metrics.requests.with_label_values(&[call, response.status().as_str()]).inc();
        response
    }

    /// Mesos-DNS's API has no rules on hosts: its clients call it by any name.
    async fn mesos_dns(&self, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let context = self.context.clone();
        let computed = match self.computing.acquire().await {
            Ok(_permit) => {
                let answer = move || mesos_dns::answer(&context.table.load(), &method, &path);
                tokio::task::spawn_blocking(answer).await.map_err(|error| ApiError::internal(&error))
            }
            Err(error) => Err(ApiError::internal(&error)),
        };
        let response = computed.map_or_else(ApiError::into_response, Reply::into_response);
        self.metrics.requests.with_label_values(&["mesos-dns", response.status().as_str()]).inc();
        response
    }

    async fn checked(&self, caller: &Caller, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
        let (peer, scope) = (&caller.peer, caller.scope);
        let table = self.context.table.load();
        security::check_host(peer, request.uri(), request.headers(), &table.config.admin)?;
        let (endpoint, argument) = router::endpoint(scope, request.uri().path())?;
        router::check_method(endpoint, request.method())?;
        let argument = decode(argument)?;
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let token = table.config.admin.token.as_ref();
        match endpoint {
            Endpoint::Events => {
                query.only(&[])?;
                self.follow(&request, &caller.stop)
            }
            Endpoint::AcceptRemovals => {
                query.only(&[])?;
                let actor = security::check_change(peer, request.headers(), token)?;
                drop(table);
                sources::accept_removals(&self.context, &argument, &actor).await.map(Reply::into_response)
            }
            Endpoint::Log => {
                query.only(&[])?;
                let actor = security::check_change(peer, request.headers(), token)?;
                drop(table);
                let body = body(request).await?;
                settings::set_log_level(&self.context, &body, &actor).map(Reply::into_response)
            }
            Endpoint::DrainTask | Endpoint::DrainAgent => {
                let is_order = !matches!(*request.method(), Method::GET | Method::HEAD);
                let actor = is_order.then(|| security::check_change(peer, request.headers(), token)).transpose()?;
                drop(table);
                let subject = self.drain_subject(endpoint, argument).await?;
                let _permit = self.waiting.try_acquire().map_err(|_| too_many_waits())?;
                drains::order(&self.context, request.method(), subject, &query, actor).await.map(Reply::into_response)
            }
            Endpoint::Weights => {
                let is_order = !matches!(*request.method(), Method::GET | Method::HEAD);
                let actor = is_order.then(|| security::check_change(peer, request.headers(), token)).transpose()?;
                drop(table);
                weights::order(&self.context, request.method(), &argument, &query, actor)
                    .await
                    .map(Reply::into_response)
            }
            // Whoever asks whether we live must not wait behind those who ask for everything.
            Endpoint::Alive => health::alive().map(Reply::into_response),
            Endpoint::Ready => health::ready(&self.context.phase.borrow(), &table).map(Reply::into_response),
            _ => self.compute(endpoint, argument, query).await.map(Reply::into_response),
        }
    }

    /// What an order to drain is about; found beside the runtime's own threads.
    async fn drain_subject(&self, endpoint: Endpoint, argument: String) -> Result<DrainSubject, ApiError> {
        let _permit = self.computing.acquire().await.map_err(|error| ApiError::internal(&error))?;
        let table = self.context.table.load();
        let find = move || match endpoint {
            Endpoint::DrainTask => drains::task(&table, &argument),
            _ => drains::agent(&table, &argument),
        };
        tokio::task::spawn_blocking(find).await.unwrap_or_else(|error| Err(ApiError::internal(&error)))
    }

    /// Computes an answer beside the runtime's own threads.
    async fn compute(&self, endpoint: Endpoint, argument: String, query: Query) -> Answer {
        let _permit = self.computing.acquire().await.map_err(|error| ApiError::internal(&error))?;
        let context = self.context.clone();
        let computed = tokio::task::spawn_blocking(move || read(&context, endpoint, &argument, &query)).await;
        computed.unwrap_or_else(|error| Err(ApiError::internal(&error)))
    }

    fn follow(&self, request: &Request<Incoming>, stop: &CancellationToken) -> Result<Response<Body>, ApiError> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_STREAMS} streams of events are open already");
            ApiError::unavailable(message, "close one, or read /v1/table/diff now and then")
        })?;
        let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
        let follower = Follower::new(self.context.clone(), last, stop.clone(), permit, &self.metrics.streams);
        let empty =
            Reply { status: http::StatusCode::OK, content_type: "text/event-stream", body: bytes::Bytes::new() };
        let mut response = empty.into_response();
        *response.body_mut() = EventBody::new(follower).boxed_unsync();
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

fn too_many_waits() -> ApiError {
    let message = format!("{MAX_WAITING} calls wait for something to be drained already");
    ApiError::unavailable(message, "ask again later; orders given before hold")
}

/// The calls that read.
fn read(context: &AdminContext, endpoint: Endpoint, argument: &str, query: &Query) -> Answer {
    let table = context.table.load();
    let now = Timestamp::now();
    match endpoint {
        Endpoint::Services => services::list(&table, query),
        Endpoint::Service => services::details(&table, argument, query),
        Endpoint::Tasks => tasks::list(&table, query),
        Endpoint::Task => tasks::details(&table, argument, query),
        Endpoint::Table => tables::current(&table, query, now),
        Endpoint::History => tables::history(context, query),
        Endpoint::Difference => tables::difference(context, query),
        Endpoint::Version => tables::content(context, argument, query, now),
        Endpoint::Explain => explain::explain(&table, query, now),
        Endpoint::Problems => problems::list(&table, query),
        Endpoint::Drains => drains::list(&table, query),
        Endpoint::Certificates => certificates::list(context, query),
        Endpoint::Deploys => deploys::list(context, &table, query),
        Endpoint::Deploy => deploys::details(context, argument, query),
        Endpoint::Sources => sources::list(&table, query, now),
        Endpoint::Config => settings::config(context, &table, query),
        Endpoint::Targets => scrape::targets(&table, query),
        Endpoint::Metrics => metrics::text(&context.registry),
        Endpoint::OpenApi => Ok(Reply {
            status: http::StatusCode::OK,
            content_type: "application/json",
            body: bytes::Bytes::from_static(super::OPENAPI.as_bytes()),
        }),
        Endpoint::Alive
        | Endpoint::Ready
        | Endpoint::Events
        | Endpoint::AcceptRemovals
        | Endpoint::DrainTask
        | Endpoint::DrainAgent
        | Endpoint::Weights
        | Endpoint::Log => Err(ApiError::internal(&"this call is answered elsewhere")),
    }
}

/// The body of a request that changes something: small JSON.
async fn body(request: Request<Incoming>) -> Result<bytes::Bytes, ApiError> {
    let is_json = request.headers().get(CONTENT_TYPE).is_none_or(|value| {
        value.to_str().is_ok_and(|text| text.trim().to_ascii_lowercase().starts_with("application/json"))
    });
    if !is_json {
        return Err(ApiError::bad_request("the body is not JSON", "send Content-Type: application/json"));
    }
    let read = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(ApiError::bad_request(
            format!("the body cannot be read: {error}"),
            format!("send at most {MAX_BODY} bytes"),
        )),
        Err(_) => Err(ApiError::bad_request("the body did not come in time", "send it at once")),
    }
}
