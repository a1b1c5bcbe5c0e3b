//! What is to be done with a request, decided from its head and one table.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Version};

use super::balance::hashing;
use super::balance::local::ServiceLocal;
use super::client_address::{client_address, is_trusted};
use super::connection::Client;
use super::filters::{self, named::Filtered, pages::Dress};
use super::gate::{self, Admitted};
use super::grpc;
use super::headers;
use super::listen::Entrance;
use super::reason::Reason;
use super::route::{self, Destination};
use super::rules::{self, Asked, Content, Refusal};
use super::upgrade;
use crate::config::Config;
use crate::config::checked::Misses;
use crate::model::actions::Actions;
use crate::model::refinement;
use crate::model::rules::Rules;
use crate::model::time::Timestamp;
use crate::table::{Table, miss};

/// What is to be done with a request.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Host and target, in canonical form.
    pub admitted: Admitted,
    /// Where it goes.
    pub destination: Destination,
    /// The configuration it is served with.
    pub config: Arc<Config>,
    /// The protocol it asks to be upgraded to.
    pub upgrade: Option<HeaderValue>,
    /// What the worker keeps of the service.
    pub local: Rc<ServiceLocal>,
    /// By which the request finds its endpoint, if requests are spread by hashing.
    pub key: Option<u64>,
    /// What the service asks of every request.
    pub rules: Option<Arc<Rules>>,
    /// The target that is sent to the endpoint.
    pub target: PathAndQuery,
    /// The host that is sent to the endpoint.
    pub host: HeaderValue,
    /// What the route answers in place of passing the request on, once whoever asks may.
    pub instead: Option<Refusal>,
    /// What filters of the configuration ask for.
    pub filtered: Filtered,
    /// Which pages its errors have.
    pub dress: Option<Box<Dress>>,
    /// The table that it was decided from.
    pub generation: u64,
    /// The time for the beginning of an answer, all attempts together.
    pub total: Duration,
    /// The time that a call over gRPC has, as its client has set it.
    pub call: Option<Duration>,
}

/// Decides about request `number` of a client's connection.
///
/// # Errors
/// The answer in its place, if it is not forwarded.
pub fn make(client: &Client, number: u32, head: &Parts, has_body: bool) -> Result<Plan, Refusal> {
    if let Some(reason) = client.watch.violation(number) {
        return Err(reason.into());
    }
    if client.worker.shard.held() > client.worker.config().proxy.limits.buffer_bytes as u64 {
        return Err(Reason::Overloaded.into());
    }
    make_anyway(client, head, has_body)
}

/// The same about a request that an endpoint may have had already: it is not refused for want of room.
///
/// # Errors
/// The answer in its place, if it is not forwarded.
pub fn make_anyway(client: &Client, head: &Parts, has_body: bool) -> Result<Plan, Refusal> {
    let worker = &client.worker;
    let config = worker.config();
    // RFC 9110 section 4.2.2: what is asked for by `https` has to come over a secured connection.
    if head.version < Version::HTTP_2 && head.uri.scheme() == Some(&Scheme::HTTPS) && client.secured.is_none() {
        return Err(Reason::BadTarget.into());
    }
    let admitted = gate::admit(head, &config.proxy)?;
    if let Some(answer) = challenge(client, head, &admitted) {
        return Err(answer);
    }
    if headers::passes(&head.headers, &config.proxy.via) >= config.proxy.max_hops {
        return Err(Reason::Loop.into());
    }
    if head.method == Method::OPTIONS && headers::max_forwards(&head.headers) == Some(0) {
        return Err(Reason::MaxForwards.into());
    }
    let upgrade = upgrade::requested(head, has_body)?;
    let found = destination(client, head, &admitted);
    let (destination, generation) = found.map_err(|reason| missed(client, head, &admitted, &config, reason))?;
    let rules = destination.service.rules.clone();
    let (mut target, mut host) = (admitted.target.clone(), admitted.authority.clone());
    let mut instead = None;
    if let Some(rules) = &rules {
        rules::check(rules, &asked(client, head, &admitted, &config))?;
        if let Some(stripped) = rules::stripped(rules, &target) {
            target = stripped;
        }
        if let (true, Some(name)) = (rules.strip_path.is_some(), &rules.host) {
            host = HeaderValue::from_str(name).unwrap_or(host);
        }
    }
    let of_service = rules.iter().flat_map(|rules| rules.filters.iter());
    let of_route = destination.route.iter().filter_map(|route| route.actions.as_ref());
    let mut names = of_service.chain(of_route.flat_map(|actions| actions.filters.iter())).peekable();
    let filtered = match names.peek() {
        None => Filtered::default(),
        Some(_) => {
            let asked = asked(client, head, &admitted, &config);
            filters::named::apply(&config.proxy.filters, names, &asked, &head.headers)?
        }
    };
    if let Some(route) = &destination.route {
        instead = filters::instead::answer(route, &asked(client, head, &admitted, &config));
        if let Some(rewritten) = filters::rewrite::target(route, &admitted.target, config.proxy.paths)? {
            target = rewritten;
        }
        if let Some(name) = route.actions.as_ref().and_then(|actions| actions.host.as_ref()) {
            host = HeaderValue::from_str(name).unwrap_or(host);
        }
    }
    let local = worker.local(&destination.service.id);
    let algorithm = destination.service.algorithm(&config.proxy.balance.algorithm);
    let address = || client_address(client.peer.ip(), &head.headers, &config.proxy.trusted_proxies);
    let key = hashing::key(algorithm, &head.headers, address);
    let of_route = destination.route.as_ref().and_then(|route| route.actions.as_ref()?.timeout);
    let of_service = || destination.service.bounds().and_then(|bounds| bounds.timeout);
    let total = of_route.or_else(of_service).unwrap_or(config.proxy.limits.response);
    let call = if grpc::is_call(head) { grpc::timeout(&head.headers) } else { None };
    let dress = Dress::of(&config, filtered.errors, head);
    Ok(Plan {
        admitted,
        destination,
        config,
        upgrade,
        local,
        key,
        rules,
        target,
        host,
        instead,
        filtered,
        dress,
        generation,
        total,
        call,
    })
}

impl Plan {
    /// What the route does beside choosing a service.
    pub fn actions(&self) -> Option<&Actions> {
        self.destination.route.as_ref()?.actions.as_deref()
    }

    /// The path that the route claims by which the request came, if it came by one. Looked up again, for the few that are
    /// recorded: for all others a plain route is nothing that a plan holds.
    pub fn route_path(&self, client: &Client, head: &Parts) -> Option<Arc<str>> {
        if client.entrance != Entrance::Host {
            return None;
        }
        if let Some(route) = &self.destination.route {
            return Some(route.path.clone());
        }
        let host = self.admitted.host();
        let asked = head_asked(&host, &self.admitted, head);
        client.worker.with_table(|table| table.routes.find(&asked).map(|route| route.path.clone()))
    }
}

/// The answer to an authority's challenge: before routes, redirects and filters, which are the services', and in clear
/// text only (RFC 8555 section 8.3: "the domain name being verified … http"). What is not open here may be a service's own.
fn challenge(client: &Client, head: &Parts, admitted: &Admitted) -> Option<Refusal> {
    let asks = client.secured.is_none() && (head.method == Method::GET || head.method == Method::HEAD);
    let body = client.worker.challenges.answer(admitted.path()).filter(|_| asks)?;
    // "The media type of the response … application/octet-stream", as the example there has it.
    let content = Some(Box::new(Content { content_type: "application/octet-stream".into(), body }));
    Some(Refusal { content, ..Reason::AcmeChallenge.into() })
}

/// Where the request goes, by the way it came in, and the generation of the table that says so.
fn destination(client: &Client, head: &Parts, admitted: &Admitted) -> Result<(Destination, u64), Reason> {
    let worker = &client.worker;
    let mut rng = worker.rng.borrow_mut();
    match client.entrance {
        Entrance::Host => {
            let host = admitted.host();
            if client.secured.as_ref().is_some_and(|secured| !secured.is_for(&host)) {
                return Err(Reason::WrongName);
            }
            let asked = head_asked(&host, admitted, head);
            worker.with_table(|table| found(table, route::find(table, &asked, &head.headers, Timestamp::now, &mut rng)))
        }
        Entrance::App => {
            worker.with_table(|table| found(table, route::by_app(table, &head.headers, Timestamp::now, &mut rng)))
        }
        Entrance::Port(port) => worker
            .with_table(|table| found(table, route::by_port(table, port, &head.headers, Timestamp::now, &mut rng))),
    }
}

/// The refusal of a request that goes nowhere; with what it lacks for a route, where somebody is to be told.
fn missed(client: &Client, head: &Parts, admitted: &Admitted, config: &Config, reason: Reason) -> Refusal {
    let is_told = config.proxy.misses != Misses::None && reason == Reason::NoRoute && client.entrance == Entrance::Host;
    let look = || {
        let host = admitted.host();
        client.worker.with_table(|table| miss::of(&table.routes, &head_asked(&host, admitted, head)))
    };
    Refusal { miss: if is_told { look() } else { None }, ..reason.into() }
}

/// What routes go by.
fn head_asked<'a>(host: &'a str, admitted: &'a Admitted, head: &'a Parts) -> refinement::Head<'a> {
    refinement::Head {
        host,
        path: admitted.path(),
        query: admitted.target.query(),
        method: head.method.as_str(),
        fields: &head.headers,
    }
}

fn found(table: &Table, destination: Result<Destination, Reason>) -> Result<(Destination, u64), Reason> {
    destination.map(|destination| (destination, table.generation))
}

fn asked<'a>(client: &Client, head: &'a Parts, admitted: &'a Admitted, config: &Config) -> Asked<'a> {
    let (peer, trusted) = (client.peer.ip(), &config.proxy.trusted_proxies);
    Asked {
        client: client_address(peer, &head.headers, trusted),
        secure: client.secured.is_some() || (is_trusted(peer, trusted) && rules::says_https(&head.headers)),
        by_host: client.entrance == Entrance::Host,
        method: &head.method,
        admitted,
        https_port: config.proxy.https_port,
    }
}
