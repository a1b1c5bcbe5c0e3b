//! `/v1/services`: what is served, by whom, and why not by the others.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::paging::Page;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use crate::admin::nearest::nearest;
use crate::model::balance::Algorithm;
use crate::model::check::CheckState;
use crate::model::endpoint::{Endpoint, EndpointState};
use crate::model::id::ServiceId;
use crate::model::run::Moment;
use crate::model::service::Service;
use crate::proxy::balance::{choose, local};
use crate::table::Table;
use crate::table::routes::Route;

/// The most candidates that an ambiguous or unknown name is answered with.
const MAX_CANDIDATES: usize = 20;
/// The most routes that a service's details list.
const MAX_ROUTES: usize = 1000;
/// The reason where an endpoint that failed is served.
const SERVED: &str = "it failed, and is served because too many are spared";

/// A page of services.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServiceList {
    pub generation: u64,
    pub services: Vec<ServiceSummary>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// One service in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServiceSummary {
    /// The full id: cluster/namespace/name/port.
    pub id: String,
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub port: String,
    /// The framework's name, for people.
    pub framework: String,
    pub protocol: String,
    pub endpoints: usize,
    pub available: usize,
    /// Unhealthy endpoints are served, because none is ready.
    pub panic: bool,
    /// Since when it has had no task, in milliseconds since the Unix epoch.
    pub empty_since: Option<u64>,
}

/// One service with everything that belongs to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServiceDetails {
    pub generation: u64,
    pub service: ServiceSummary,
    pub endpoints: Vec<EndpointView>,
    pub routes: Vec<RouteView>,
}

/// One endpoint as it is now.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndpointView {
    pub id: String,
    pub task: String,
    pub address: String,
    pub version: String,
    pub weight: u16,
    pub state: String,
    /// Whether its clients are kept on it by a cookie.
    pub sticky: bool,
    /// Whether requests may go to it.
    pub available: bool,
    /// Why none go to it, where that is so, or what is wrong with it although they do.
    pub reason: Option<String>,
    pub agent: Option<String>,
    /// Since when it has been ready, in milliseconds since the Unix epoch.
    pub ready_since: Option<u64>,
    pub in_flight: u64,
    pub requests: u64,
    pub failures: u64,
    /// How long it takes to answer of late, as the workers see it on the average; absent where nothing is known.
    pub latency_ms: Option<f64>,
    /// What the balancer compares, for algorithms that do: the smaller one of two gets the request.
    pub score: Option<f64>,
    /// How long it is still spared because it failed; 0 while a probe is due or under way.
    pub spared_ms: Option<u64>,
    /// What active checks say of it.
    pub check: Option<CheckView>,
}

/// What active checks say of an endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckView {
    /// `tcp`, `http` or `grpc`.
    pub kind: String,
    /// `waiting` for a first success, `good` or `bad`.
    pub verdict: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Why the last check failed, if it did.
    pub error: Option<String>,
}

/// One route.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RouteView {
    pub host: String,
    pub path: String,
    /// What is asked beside host and path prefix.
    pub conditions: Vec<String>,
    pub name: String,
    /// The service that holds the claim.
    pub owner: String,
    pub targets: Vec<TargetView>,
    /// What is done with requests and answers beside.
    pub actions: Vec<String>,
    /// Since when the claim is held, in milliseconds since the Unix epoch.
    pub since: u64,
}

/// Where a route leads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TargetView {
    pub service: String,
    /// One version of the service; all where absent.
    pub version: Option<String>,
    pub weight: u32,
}

/// GET /v1/services.
pub(crate) fn list(table: &Table, query: &Query) -> Answer {
    query.only(&["limit", "cursor"])?;
    let entries = table.services.iter().map(|(id, service)| (id.to_string(), service));
    let (page, next_cursor) = Page::of(query)?.take(entries);
    let services = page.into_iter().map(|service| ServiceSummary::of(service)).collect();
    Reply::json(&ServiceList { generation: table.generation, services, next_cursor })
}

/// GET /v1/services/{id or short name}.
pub(crate) fn details(table: &Table, wanted: &str, query: &Query) -> Answer {
    query.only(&[])?;
    let service = find(table, wanted)?;
    let views = EndpointViews::of(table, service);
    let endpoints = service.endpoints.iter().map(|endpoint| views.of_one(endpoint)).collect();
    let leads_here = |route: &&Arc<Route>| {
        route.owner == service.id || route.targets.iter().any(|target| target.service == service.id)
    };
    let mut routes: Vec<_> =
        table.routes.iter().filter(leads_here).take(MAX_ROUTES).map(|r| RouteView::of(r)).collect();
    routes.sort_by(|a, b| (&a.host, &a.path).cmp(&(&b.host, &b.path)));
    let service = ServiceSummary::of(service);
    Reply::json(&ServiceDetails { generation: table.generation, service, endpoints, routes })
}

/// The service that a full id or an unambiguous short name means.
///
/// # Errors
/// 404 with what is near, 409 with the candidates.
pub(crate) fn find<'a>(table: &'a Table, wanted: &str) -> Result<&'a Arc<Service>, ApiError> {
    if let Some(service) = ServiceId::parse(wanted).and_then(|id| table.service(&id)) {
        return Ok(service);
    }
    let mut found: Vec<&Arc<Service>> = table.services.values().filter(|service| service.is_named(wanted)).collect();
    match found.as_slice() {
        [] => Err(unknown(table, wanted)),
        [only] => Ok(only),
        _ => {
            found.sort_by(|a, b| a.id.cmp(&b.id));
            let message = format!("{wanted:?} stands for {} services", found.len());
            Err(ApiError::ambiguous(message, found.iter().take(MAX_CANDIDATES).map(|s| s.id.to_string()).collect()))
        }
    }
}

impl ServiceSummary {
    pub(crate) fn of(service: &Service) -> Self {
        let id = &service.id;
        Self {
            id: id.to_string(),
            cluster: id.cluster().to_string(),
            namespace: id.namespace().to_owned(),
            name: id.name().to_owned(),
            port: id.port().to_owned(),
            framework: service.framework.to_string(),
            protocol: service.protocol.as_str().to_owned(),
            endpoints: service.endpoints.len(),
            available: service.available.len(),
            panic: service.panic,
            empty_since: service.empty_since.map(|at| at.0),
        }
    }
}

/// Views of a service's endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointViews<'a> {
    table: &'a Table,
    service: &'a Service,
    is_panic: bool,
}

impl<'a> EndpointViews<'a> {
    pub(crate) fn of(table: &'a Table, service: &'a Service) -> Self {
        Self { table, service, is_panic: local::is_panic(&table.config.proxy.balance.ejection, service) }
    }

    /// Whether so many endpoints are spared that all are served.
    pub(crate) fn is_panic(&self) -> bool {
        self.is_panic
    }

    /// The view of one of them.
    pub(crate) fn of_one(&self, endpoint: &Endpoint) -> EndpointView {
        let (table, service) = (self.table, self.service);
        let now = Moment::of(std::time::Instant::now());
        let available = service.available.get(&endpoint.id).is_some() && endpoint.weight.0 > 0;
        let spared = endpoint.run.ejection.left(now);
        let latency = endpoint.run.latency(now);
        let check = CheckView::of(table, endpoint);
        let reason = match (available, spared) {
            (false, _) => Some(why_not(table, endpoint, check.as_ref())),
            (true, Some(_)) if self.is_panic => Some(SERVED.into()),
            (true, Some(left)) if left.is_zero() => Some("it failed; one request tries whether it works again".into()),
            (true, Some(left)) => Some(format!("it failed and is spared for another {} ms", left.as_millis())),
            (true, None) => None,
        };
        EndpointView {
            id: endpoint.id.to_string(),
            task: endpoint.id.task.to_string(),
            address: endpoint.address.to_string(),
            version: endpoint.version.to_string(),
            weight: endpoint.weight.0,
            state: endpoint.state.as_str().to_owned(),
            sticky: endpoint.sticky,
            available,
            reason,
            agent: endpoint.agent.as_ref().map(ToString::to_string),
            ready_since: endpoint.ready_since.map(|at| at.0),
            in_flight: endpoint.run.in_flight(),
            requests: endpoint.run.requests(),
            failures: endpoint.run.failures(),
            latency_ms: latency.map(|seconds| seconds * 1000.0),
            score: available.then(|| score(table, service, endpoint, latency)).flatten(),
            spared_ms: spared.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            check,
        }
    }
}

impl RouteView {
    pub(crate) fn of(route: &Route) -> Self {
        let targets = route.targets.iter().map(|target| TargetView {
            service: target.service.to_string(),
            version: target.version.as_ref().map(ToString::to_string),
            weight: target.weight,
        });
        Self {
            host: route.host.to_string(),
            path: route.path.to_string(),
            conditions: route.refined.as_ref().map(|refined| refined.describe()).unwrap_or_default(),
            name: route.name.to_string(),
            owner: route.owner.to_string(),
            targets: targets.collect(),
            actions: route.actions.as_ref().map(|actions| actions.describe()).unwrap_or_default(),
            since: route.since.0,
        }
    }
}

impl CheckView {
    fn of(table: &Table, endpoint: &Endpoint) -> Option<Self> {
        let spec = endpoint.check.as_ref()?;
        let view = table.tasks.get(&endpoint.id.task);
        let verdict = view.and_then(|view| view.verdicts.as_ref()?.get(&endpoint.id.port));
        Some(Self {
            kind: spec.kind.as_str().to_owned(),
            verdict: verdict.map_or(CheckState::Waiting, |verdict| verdict.state).as_str().to_owned(),
            since: verdict.map(|verdict| verdict.since.0),
            error: verdict.and_then(|verdict| verdict.error.as_deref().map(str::to_owned)),
        })
    }
}

/// By what a balancer that compares endpoints compares this one, as all workers together see it.
fn score(table: &Table, service: &Service, endpoint: &Endpoint, latency: Option<f64>) -> Option<f64> {
    let (pending, weight) = (endpoint.run.in_flight() as f64, f64::from(endpoint.weight.0));
    match service.algorithm(&table.config.proxy.balance.algorithm) {
        Algorithm::PeakEwma => Some(choose::latency_score(latency, pending, weight)),
        Algorithm::LeastRequest => Some(choose::queue_score(pending, weight)),
        Algorithm::RoundRobin | Algorithm::Random | Algorithm::Hash(_) => None,
    }
}

/// Why no request goes to an endpoint.
fn why_not(table: &Table, endpoint: &Endpoint, check: Option<&CheckView>) -> String {
    if let Some(check) = check.filter(|check| check.verdict != CheckState::Good.as_str())
        && matches!(endpoint.state, EndpointState::Unverified | EndpointState::Unhealthy)
    {
        let waits = check.verdict == CheckState::Waiting.as_str();
        let what = if waits { "no active check has succeeded yet" } else { "its active checks fail" };
        return check.error.as_ref().map_or_else(|| what.to_owned(), |error| format!("{what}: {error}"));
    }
    let is_drained = || table.tasks.get(&endpoint.id.task).is_some_and(|view| view.drained);
    let reason = match endpoint.state {
        EndpointState::Ready if endpoint.weight.0 == 0 => "its weight is 0",
        EndpointState::Ready => "it is ready and not among the service's available endpoints",
        EndpointState::Unverified => "its health check has given no verdict yet",
        EndpointState::Starting => "its task is not running yet",
        EndpointState::Unhealthy => "its last health check failed",
        EndpointState::Unreachable => "its agent is cut off",
        EndpointState::Draining if is_drained() => {
            "an operator took it out of service (`pointsman drain` lists what is)"
        }
        EndpointState::Draining => "its task is going away",
    };
    reason.into()
}

fn unknown(table: &Table, wanted: &str) -> ApiError {
    let name = wanted.rsplit('/').find(|part| !part.is_empty()).unwrap_or(wanted);
    let near = nearest(name, table.services.keys().map(ServiceId::name), 5);
    let ids = |name: &&str| table.services.keys().filter(|id| id.name() == *name).map(ToString::to_string).collect();
    let candidates: Vec<String> = near.iter().flat_map(|name| -> Vec<String> { ids(name) }).collect();
    let mend = match near.first() {
        Some(near) => format!("did you mean {near:?}? /v1/services lists all"),
        None => "/v1/services lists all; give cluster/namespace/name/port, name, name:port or framework/name".into(),
    };
    let candidates = candidates.into_iter().take(MAX_CANDIDATES).collect();
    ApiError::not_found(format!("no service is called {wanted:?}"), mend).with_candidates(candidates)
}
