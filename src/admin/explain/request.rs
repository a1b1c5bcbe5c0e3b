//! Why the proxy answers a request as it does.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};

use super::rules::{self, Ruling};
use crate::admin::nearest::nearest;
use crate::admin::reply::ApiError;
use crate::admin::services::{EndpointView, EndpointViews, RouteView};
use crate::config::checked::PathPolicy;
use crate::model::refinement::Head;
use crate::model::service::{Share, Target};
use crate::proxy::authority::authority_to_host;
use crate::proxy::path::normalise_path;
use crate::table::Table;
use crate::table::routes::{Route, Trace};

/// The most steps that are written down.
const MAX_STEPS: usize = 200;
/// The most endpoints that are listed of one service.
const MAX_ENDPOINTS: usize = 100;
/// The reason where a route answers by itself.
const ITSELF: &str = "the route answers by itself; a redirect does unless the request is there already";
/// The most near misses.
const MAX_NEAREST: usize = 5;

/// How the proxy answers one request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestExplanation {
    pub method: String,
    pub host: String,
    pub path: String,
    /// `routed`, `answered`, `refused`, `no-route`, `no-endpoint`, `not-http` or `not-ready`.
    pub outcome: String,
    /// The outcome in one sentence.
    pub reason: String,
    /// The status that the proxy itself answers with, where it does not pass the request on.
    pub status: Option<u16>,
    /// Each step of the search.
    pub steps: Vec<Step>,
    pub route: Option<RouteView>,
    pub targets: Vec<TargetExplanation>,
    /// Without a route: those that come nearest.
    pub nearest: Vec<RouteView>,
}

/// One step of the search for a route.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// `host` or `route`.
    pub compared: String,
    /// The pattern.
    pub pattern: String,
    pub matched: bool,
}

/// What one target of the route comes to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TargetExplanation {
    pub service: String,
    pub version: Option<String>,
    pub weight: u32,
    pub protocol: Option<String>,
    /// How an endpoint is chosen.
    pub balance: Option<String>,
    /// Unhealthy endpoints are served, because none is ready.
    pub panic: bool,
    /// Endpoints that failed are served, because too many are spared.
    #[serde(default)]
    pub panic_spared: bool,
    /// What the service's own rules do with requests.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Endpoints of the target that requests may go to.
    pub available: usize,
    /// Endpoints of the target by state.
    pub by_state: BTreeMap<String, usize>,
    pub endpoints: Vec<EndpointView>,
    /// Whether there are more endpoints than are listed.
    pub truncated: bool,
    /// The service or one of its endpoints speaks HTTP, or nothing is known of it.
    #[serde(skip, default)]
    speaks_http: bool,
}

/// Explains a request.
///
/// # Errors
/// The URL, the method or a header is none.
pub(super) fn explain(
    table: &Table,
    url: &str,
    method: &str,
    headers: &[&str],
) -> Result<RequestExplanation, ApiError> {
    let request = Request::parse(url, method, headers, table.config.proxy.paths)?;
    let mut steps = Steps::default();
    let route = table.routes.find_traced(&request.head(), &mut steps);
    let targets = route.map(|route| targets(table, route)).unwrap_or_default();
    let (outcome, reason, status) = match route {
        Some(route) => on_route(table, route, &request, &targets),
        None => plain(outcome(table, false, &targets)),
    };
    let near = if route.is_none() { near_routes(table, &request) } else { Vec::new() };
    Ok(RequestExplanation {
        method: request.method.to_string(),
        host: request.host,
        path: request.path,
        outcome: outcome.into(),
        reason,
        status,
        steps: steps.0,
        route: route.map(|route| RouteView::of(route)),
        targets,
        nearest: near,
    })
}

/// The outcome, why, and the status of the proxy's own answer.
type Told = (&'static str, String, Option<u16>);

fn plain((outcome, reason, status): (&'static str, &str, Option<u16>)) -> Told {
    (outcome, reason.to_owned(), status)
}

/// What becomes of a request that has found its route. Rules are asked before the route's own answer, and before endpoints.
fn on_route(table: &Table, route: &Route, request: &Request, targets: &[TargetExplanation]) -> Told {
    let ruling = rules::ruling(table, route, request);
    if let Ruling::Answered(reason) = ruling {
        let (status, entry) = (reason.status(), reason.entry());
        let outcome = if status.is_redirection() { "answered" } else { "refused" };
        let why = format!("the proxy answers by itself, with {}: {}", entry.code, entry.meaning.trim_end_matches('.'));
        return (outcome, why, Some(status.as_u16()));
    }
    if let Some(instead) = route.actions.as_ref().and_then(|actions| actions.instead.as_ref()) {
        return ("answered", ITSELF.to_owned(), Some(instead.status()));
    }
    match (outcome(table, true, targets), ruling) {
        ((outcome @ "routed", reason, status), Ruling::DependsOnClient) => {
            (outcome, format!("{reason}, if the service's rules let its client in"), status)
        }
        (told, _) => plain(told),
    }
}

/// What routing and rules look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The URL says `https`.
    pub(super) secure: bool,
    /// Lower case, without port and final dot.
    host: String,
    pub(super) path: String,
    query: Option<String>,
    pub(super) headers: HeaderMap,
}

impl Request {
    fn head(&self) -> Head<'_> {
        Head {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: self.method.as_str(),
            fields: &self.headers,
        }
    }

    fn parse(url: &str, method: &str, headers: &[&str], paths: PathPolicy) -> Result<Self, ApiError> {
        let shown: String = url.chars().take(200).collect();
        let invalid = || ApiError::bad_request(format!("{shown:?} is no URL"), "give http://host/path");
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = with_scheme.parse().map_err(|_| invalid())?;
        let headers = read_headers(headers)?;
        let authority = host_header(&headers)?.or_else(|| uri.authority().cloned()).ok_or_else(invalid)?;
        let method = method
            .parse()
            .map_err(|_| ApiError::bad_request(format!("{method:?} is no method"), "give GET, POST, …"))?;
        // The proxy's own readings: what is explained is what would be routed, and what it refuses is refused here.
        let refused = |what: &str, fault: &dyn Display| {
            ApiError::bad_request(
                format!("the proxy refuses this {what}: {fault}"),
                "give a URL as a client would send it",
            )
        };
        let host = authority_to_host(authority.as_str()).map_err(|fault| refused("host", &fault))?.into_owned();
        let query = uri.query().map(str::to_owned);
        let path = uri.path_and_query().map_or("/", PathAndQuery::path);
        let path = normalise_path(path, paths).map_err(|fault| refused("path", &fault))?.into_owned();
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        Ok(Self { method, secure, host, path, query, headers })
    }
}

fn no_header(header: &str) -> ApiError {
    ApiError::bad_request(format!("{header:?} is no header"), "give header=Name:value")
}

fn read_headers(headers: &[&str]) -> Result<HeaderMap, ApiError> {
    let read = |header: &&str| {
        let (name, value) = header.split_once(':')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value: HeaderValue = value.trim().parse().ok()?;
        Some((name, value))
    };
    let mut out = HeaderMap::new();
    for header in headers {
        let (name, value) = read(header).ok_or_else(|| no_header(header))?;
        out.append(name, value);
    }
    Ok(out)
}

/// The last `Host` among the headers, which counts instead of the URL's.
fn host_header(headers: &HeaderMap) -> Result<Option<Authority>, ApiError> {
    let Some(host) = headers.get_all(http::header::HOST).iter().next_back() else { return Ok(None) };
    let read = host.to_str().ok().and_then(|host| host.parse().ok());
    read.map(Some).ok_or_else(|| no_header("Host"))
}

/// Writes down how a route was found.
#[derive(Debug, Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn push(&mut self, compared: &str, pattern: String, matched: bool) {
        if self.0.len() < MAX_STEPS {
            self.0.push(Step { compared: compared.to_owned(), pattern, matched });
        }
    }
}

impl Trace for Steps {
    fn host(&mut self, pattern: &dyn Display, found: bool) {
        self.push("host", pattern.to_string(), found);
    }

    fn route(&mut self, route: &Route, matches: bool) {
        self.push("route", route.place().to_string(), matches);
    }
}

fn targets(table: &Table, route: &Route) -> Vec<TargetExplanation> {
    let shared = |target: &Target| {
        let shares = table.service(&target.service)?.shares.clone().filter(|_| target.version.is_none())?;
        let of =
            |share: &Share| Target { version: Some(share.version.clone()), weight: share.weight, ..target.clone() };
        (!shares.is_empty()).then(|| shares.iter().map(of).collect::<Vec<_>>())
    };
    let targets = route.targets.iter().flat_map(|target| shared(target).unwrap_or_else(|| vec![target.clone()]));
    targets.map(|target| TargetExplanation::of(table, &target)).collect()
}

impl TargetExplanation {
    fn of(table: &Table, target: &Target) -> Self {
        let service = table.service(&target.service);
        let default = &table.config.proxy.balance.algorithm;
        let mut out = Self {
            service: target.service.to_string(),
            version: target.version.as_ref().map(ToString::to_string),
            weight: target.weight,
            protocol: service.map(|service| service.protocol.as_str().to_owned()),
            balance: service.map(|service| service.algorithm(default).to_string()),
            panic: service.is_some_and(|service| service.panic),
            panic_spared: false,
            rules: service.and_then(|service| Some(service.rules.as_ref()?.describe())).unwrap_or_default(),
            available: 0,
            by_state: BTreeMap::new(),
            endpoints: Vec::new(),
            truncated: false,
            speaks_http: service.is_none_or(|service| rules::speaks_http(service)),
        };
        let Some(service) = service else { return out };
        let views = EndpointViews::of(table, service);
        out.panic_spared = views.is_panic();
        let of_version = |version: &_| target.version.as_ref().is_none_or(|wanted| wanted == version);
        for endpoint in service.endpoints.iter().filter(|endpoint| of_version(&endpoint.version)) {
            let view = views.of_one(endpoint);
            *out.by_state.entry(view.state.clone()).or_default() += 1;
            out.available += usize::from(view.available);
            if out.endpoints.len() < MAX_ENDPOINTS {
                out.endpoints.push(view);
            } else {
                out.truncated = true;
            }
        }
        out
    }
}

fn outcome(table: &Table, has_route: bool, targets: &[TargetExplanation]) -> (&'static str, &'static str, Option<u16>) {
    let usable = |target: &&TargetExplanation| target.weight > 0 && target.available > 0;
    if !has_route && !table.ready {
        ("not-ready", "the table is not ready: nobody may conclude that there is no route", Some(503))
    } else if !has_route {
        ("no-route", "no route of the host asks for what the request has", Some(404))
    } else if !targets.iter().any(|target| usable(&target)) {
        ("no-endpoint", "the route's services have no endpoint that requests may go to", Some(503))
    } else if !targets.iter().filter(usable).any(|target| target.speaks_http) {
        ("not-http", "the route's services do not speak HTTP", Some(502))
    } else {
        ("routed", "the request goes to one of the available endpoints", None)
    }
}

fn near_routes(table: &Table, request: &Request) -> Vec<RouteView> {
    let hosts: Vec<(String, &Arc<Route>)> = table.routes.iter().map(|route| (route.host.to_string(), route)).collect();
    let near = nearest(&request.host, hosts.iter().map(|(host, _)| host.as_str()), MAX_NEAREST);
    let mut routes: Vec<_> = hosts.iter().filter(|(host, _)| near.contains(&host.as_str())).collect();
    let rank = |host: &str| near.iter().position(|known| *known == host);
    routes.sort_by(|(a, x), (b, y)| (rank(a), &x.path).cmp(&(rank(b), &y.path)));
    routes.into_iter().take(MAX_NEAREST).map(|(_, route)| RouteView::of(route)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, headers: &[&str], expected: Option<(&str, &str)>) {
        let request = Request::parse(url, "GET", headers, PathPolicy::default()).ok();
        let parts = request.as_ref().map(|request| (request.host.as_str(), request.path.as_str()));
        assert_eq!(parts, expected, "{url} {headers:?}");
    }

    #[test]
    fn requests() {
        check("http://Web.Example.com.:8080/a/b?c=d", &[], Some(("web.example.com", "/a/b")));
        check("web.example.com", &[], Some(("web.example.com", "/")));
        check("web.example.com/x", &[], Some(("web.example.com", "/x")));
        check("http://127.0.0.1/x", &["Host: web:80"], Some(("web", "/x")));
        check("http://127.0.0.1/x", &["X-A: b"], Some(("127.0.0.1", "/x")));
        check("http:///x", &[], None);
        check("a", &["no header"], None);
        check("a", &["b d: c"], None);
        assert!(Request::parse("a", "G T", &[], PathPolicy::default()).is_err());
    }

    #[test]
    fn paths_and_hosts_are_read_as_the_proxy_reads_them() {
        check("a/x/./y//../%7ez", &[], Some(("a", "/x/~z")));
        check("a/x%2fy", &[], Some(("a", "/x%2Fy")));
        check("a/%00", &[], None);
        check("a/x%2f..%2fy", &[], None);
        check("http://user@a/", &[], None);
    }
}
