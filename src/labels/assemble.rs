//! Puts statements together into the specification of a task.

use std::collections::HashSet;
use std::sync::Arc;

use super::acts;
use super::host::HostPattern;
use super::keys::Field;
use super::native::{find_port, missing_port_mend};
use super::ports::TaskPort;
use super::spec::{PortSelector, PortSpec, Reading, RouteSpec, ScrapeSpec, TaskSpec};
use super::statements::{Place, Said, Statements};
use super::value::Value;
use super::{MAX_HOSTS, MAX_ROUTES, is_served};
use crate::model::bounds::Bounds;
use crate::model::deployment::Deployment;
use crate::model::endpoint_tls::{DEFAULT, EndpointTls, INSECURE};
use crate::model::id::Version;
use crate::model::problem::ProblemCode;
use crate::model::refinement::{PathMeaning, Refinement};
use crate::model::rules::Rules;
use crate::model::service::Protocol;

/// What is left of a task's bounds.
struct Left {
    routes: usize,
    hosts: usize,
}

/// Makes the specification, and adds the problems that only show when everything is known.
pub(super) fn assemble(ports: &[TaskPort], groups: &[String], mut statements: Statements) -> Reading {
    let text = |field| text(statements.at(Place::Task, field));
    let mut spec = TaskSpec {
        service: text(Field::Service),
        group: text(Field::DeployGroup),
        namespace: text(Field::Namespace),
        version: text(Field::Version).map(Version::from),
        deployment: deployment(&statements).map(Arc::new),
        scrape: None,
        ports: Vec::new(),
    };
    spec.scrape = scrape(ports, &mut statements);
    let mut left = Left { routes: MAX_ROUTES, hosts: MAX_HOSTS };
    for port in ports.iter().filter(|port| statements.mention(port.index)).collect::<Vec<_>>() {
        let port = port_spec(port, groups, &mut left, &mut statements);
        spec.ports.push(port);
    }
    Reading { spec, problems: statements.complaints.finish() }
}

/// The deploy that the app is part of.
fn deployment(statements: &Statements) -> Option<Deployment> {
    let at = |field| statements.at(Place::Task, field).map(|said| &said.value);
    let number = |field| match at(field) {
        Some(Value::Weight(number)) => Some(u32::from(number.0)),
        _ => None,
    };
    let started = match at(Field::DeployStarted) {
        Some(Value::Moment(started)) => Some(*started),
        _ => None,
    };
    let new = number(Field::DeployNew).filter(|new| *new > 0);
    let deployment = Deployment { started, target: number(Field::DeployTarget), new };
    (deployment != Deployment::default()).then_some(deployment)
}

fn port_spec(port: &TaskPort, groups: &[String], left: &mut Left, statements: &mut Statements) -> PortSpec {
    let of = |field| statements.of_port(port.index, field).map(|said| &said.value);
    let is_ours = !matches!(of(Field::Group), Some(Value::List(said)) if !is_served(said, groups));
    let mut spec = PortSpec {
        port: PortSelector::Index(port.index),
        enabled: is_ours && !matches!(of(Field::Enabled), Some(Value::Flag(false))),
        protocol: None,
        tls: None,
        proxy_protocol: None,
        weight: None,
        version_weight: None,
        srv_priority: None,
        srv_weight: None,
        health_path: text(statements.of_port(port.index, Field::HealthPath)),
        health_check: None,
        health_interval: None,
        health_port: None,
        drain_time: None,
        sticky: matches!(of(Field::Sticky), Some(Value::Flag(true))),
        balance: None,
        bounds: bounds(port.index, statements),
        listen: listen(port.index, statements),
        is_assigned: is_assigned(port.index, statements),
        rules: None,
        routes: Vec::new(),
    };
    if let Some(Value::Protocol(protocol)) = of(Field::Protocol) {
        spec.protocol = Some(*protocol);
    }
    if let Some(Value::ProxyProtocol(version)) = of(Field::ProxyProtocol) {
        spec.proxy_protocol = Some(*version);
    }
    if let Some(Value::Weight(weight)) = of(Field::Weight) {
        spec.weight = Some(*weight);
    }
    if let Some(Value::Weight(weight)) = of(Field::VersionWeight) {
        spec.version_weight = Some(*weight);
    }
    if let Some(Value::Weight(priority)) = of(Field::SrvPriority) {
        spec.srv_priority = Some(priority.0);
    }
    if let Some(Value::Weight(weight)) = of(Field::SrvWeight) {
        spec.srv_weight = Some(weight.0);
    }
    if let Some(Value::Check(kind)) = of(Field::HealthCheck) {
        spec.health_check = Some(*kind);
    }
    if let Some(Value::Time(time)) = of(Field::HealthInterval) {
        spec.health_interval = Some(*time);
    }
    if let Some(Value::Number(index)) = of(Field::HealthPort) {
        spec.health_port = Some(*index);
    }
    if let Some(Value::Balance(algorithm)) = of(Field::Balance) {
        spec.balance = Some(Arc::new(algorithm.clone()));
    }
    if let Some(Value::Time(time)) = of(Field::DrainTime) {
        spec.drain_time = Some(*time);
    }
    spec.tls = tls(port.index, spec.protocol, statements);
    if spec.enabled {
        spec.routes = routes(port, spec.protocol, left, statements);
        let mut rules = rules(port.index, &spec.routes, statements);
        if spec.protocol.is_some_and(Protocol::is_carried) {
            narrow_without_http(port.index, &mut rules, statements);
        }
        spec.rules = rules.shared();
    }
    spec
}

/// The port of the proxy that is named.
fn listen(port: usize, statements: &Statements) -> Option<u16> {
    match statements.of_port(port, Field::Listen).map(|said| &said.value) {
        Some(Value::Number(number)) if is_clear(port, statements) => Some(*number),
        _ => None,
    }
}

/// Whether a port of the proxy is to be assigned.
fn is_assigned(port: usize, statements: &Statements) -> bool {
    let said = statements.of_port(port, Field::Listen).map(|said| &said.value);
    matches!(said, Some(Value::Assigned)) && is_clear(port, statements)
}

/// Whether it is understood how a port of the proxy is to be opened. Where its address or its certificate is not, it would
/// be open to more than was meant, or in clear text: it stays closed.
fn is_clear(port: usize, statements: &Statements) -> bool {
    let of = |field| statements.of_port(port, field).map(|said| &said.value);
    ![Field::ListenAddress, Field::Certificate].into_iter().any(|field| matches!(of(field), Some(Value::Nothing)))
}

/// What can be kept only where the proxy speaks HTTP lets nobody in where it does not.
fn narrow_without_http(port: usize, rules: &mut Rules, statements: &mut Statements) {
    let label = |field| statements.of_port(port, field).map(|said| said.label.clone());
    let (auth, filters) = (label(Field::Auth), label(Field::Filters));
    if let Some(label) = auth {
        let message = "over plain TCP nobody can be asked for a password, so nobody is let in";
        let mend = "let the port speak `http`, or remove the label";
        statements.complaints.add(ProblemCode::InvalidLabel, &label, message, mend);
    }
    if let Some(label) = filters {
        let message = "filters speak of HTTP, so over plain TCP nobody is let in";
        let mend = "let the port speak `http`, or write `allow` in place of the label";
        statements.complaints.add(ProblemCode::InvalidLabel, &label, message, mend);
        rules.networks = Some(Box::new([]));
    }
}

/// How TLS is spoken with a port, where it speaks TLS.
fn tls(port: usize, protocol: Option<Protocol>, statements: &mut Statements) -> Option<Arc<EndpointTls>> {
    let (profile, name) =
        (statements.of_port(port, Field::Tls).cloned(), statements.of_port(port, Field::TlsServerName).cloned());
    if !protocol.is_some_and(Protocol::is_secure) {
        if let Some(said) = profile.as_ref().or(name.as_ref()) {
            let mend = "let the port speak `https` or `h2` (label `protocol`), or remove the label";
            let message = "the port speaks clear text, so this has no effect";
            statements.complaints.add(ProblemCode::InvalidLabel, &said.label, message, mend);
        }
        return None;
    }
    let tls = EndpointTls {
        profile: text(profile.as_ref()).unwrap_or_else(|| DEFAULT.into()),
        server_name: text(name.as_ref()),
    };
    if let (true, Some(said)) = (tls.is_insecure(), &profile) {
        let message = "nobody looks at the port's certificate: whoever is between reads and changes what is said";
        let mend = format!("name an entry of `upstreams.tls` whose `ca` has signed it, in place of `{INSECURE}`");
        statements.complaints.add(ProblemCode::UnverifiedTls, &said.label, message, mend);
    }
    Some(Arc::new(tls))
}

/// How many requests the port takes, and how long one may wait.
fn bounds(port: usize, statements: &Statements) -> Option<Arc<Bounds>> {
    let of = |field| statements.of_port(port, field).map(|said| &said.value);
    let number = |field| match of(field) {
        Some(Value::Weight(number)) => Some(u32::from(number.0)),
        _ => None,
    };
    let time = |field| match of(field) {
        Some(Value::Time(time)) => Some(*time),
        _ => None,
    };
    let bounds = Bounds {
        max_requests: number(Field::MaxRequests),
        max_queue: number(Field::MaxQueue),
        queue_time: time(Field::QueueTime),
        timeout: time(Field::Timeout),
    };
    (!bounds.is_empty()).then(|| Arc::new(bounds))
}

fn rules(port: usize, routes: &[RouteSpec], statements: &Statements) -> Rules {
    let of = |field| statements.of_port(port, field);
    let flag = |field| matches!(of(field), Some(Said { value: Value::Flag(true), .. }));
    let mut rules = Rules {
        https_redirect: flag(Field::HttpsRedirect),
        hsts: flag(Field::Hsts),
        strip_path: text(of(Field::StripPath)).filter(|path| &**path != "/"),
        location: text(of(Field::RewriteLocation)),
        root_redirect: text(of(Field::RootRedirect)).filter(|path| &**path != "/"),
        certificate: text(of(Field::Certificate)),
        ..Rules::default()
    };
    if let Some(Value::Auth(auth)) = of(Field::Auth).map(|said| &said.value) {
        rules.auth = Some(auth.clone());
    }
    if let Some(Value::List(names)) = of(Field::Filters).map(|said| &said.value) {
        rules.filters = names.iter().map(|name| name.as_str().into()).collect();
    }
    if let Some(Value::Networks(networks)) = of(Field::Networks).map(|said| &said.value) {
        rules.networks = Some(networks.clone());
    }
    if let Some(Value::Address(address)) = of(Field::ListenAddress).map(|said| &said.value) {
        rules.bind = *address;
    }
    if rules.strip_path.is_some() {
        let mut hosts = routes.iter().flat_map(|route| &route.hosts);
        rules.host = hosts.find_map(|host| match host {
            HostPattern::Exact(name) => Some(name.clone()),
            _ => None,
        });
    }
    rules
}

/// The routes of a port: every claim once, within the bounds of the task.
fn routes(port: &TaskPort, protocol: Option<Protocol>, left: &mut Left, statements: &mut Statements) -> Vec<RouteSpec> {
    let mut out: Vec<RouteSpec> = Vec::new();
    let mut claims: HashSet<(HostPattern, Arc<str>, Option<Arc<Refinement>>)> = HashSet::new();
    for name in statements.routes(port.index) {
        let place = Place::Route(port.index, name.clone());
        let Some((said, mut hosts)) = hosts(&place, statements) else { continue };
        if !speaks_http(port, protocol) {
            complain_of_protocol(&said, protocol, statements);
            continue;
        }
        if protocol == Some(Protocol::Tls) {
            refuse_beside_host(&place, &mut hosts, statements);
        }
        let Some((path, refined)) = asked(&place, statements) else { continue };
        let Some(actions) = acts::of_route(&place, refined.as_deref(), statements) else { continue };
        hosts.retain(|host| claims.insert((host.clone(), path.clone(), refined.clone())));
        if hosts.is_empty() {
            continue;
        }
        if left.routes == 0 || hosts.len() > left.hosts {
            let message =
                format!("the task has more than {MAX_ROUTES} routes or {MAX_HOSTS} hosts; the rest is left out");
            let mend = "use wildcards or fewer routes";
            statements.complaints.add(ProblemCode::InvalidLabel, &said.label, message, mend);
        }
        hosts.truncate(if left.routes == 0 { 0 } else { left.hosts });
        if hosts.is_empty() {
            break;
        }
        left.routes -= 1;
        left.hosts -= hosts.len();
        let priority = priority(port.index, &place, statements);
        out.push(RouteSpec { name, hosts, path, refined, priority, actions });
    }
    out
}

/// The hosts of a route, and what said the first of them.
fn hosts(place: &Place, statements: &mut Statements) -> Option<(Said, Vec<HostPattern>)> {
    let at = |field| statements.at(place.clone(), field).cloned();
    let (listed, expression) = (at(Field::Hosts), at(Field::HostPattern));
    let Some(first) = listed.clone().or_else(|| expression.clone()) else {
        let narrowing = ROUTE_FIELDS.iter().chain(&acts::FIELDS).find_map(|field| at(*field));
        complain_of_missing_host(narrowing.as_ref(), statements);
        return None;
    };
    let named = |said: Option<Said>| match said.map(|said| said.value) {
        Some(Value::Hosts(hosts)) => hosts,
        _ => Vec::new(),
    };
    let hosts: Vec<HostPattern> = [listed, expression].into_iter().flat_map(named).collect();
    (!hosts.is_empty()).then_some((first, hosts))
}

/// A route's own priority, else its port's.
fn priority(port: usize, place: &Place, statements: &Statements) -> i32 {
    let own = statements.at(place.clone(), Field::Priority);
    match own.or_else(|| statements.of_port(port, Field::Priority)).map(|said| &said.value) {
        Some(Value::Priority(priority)) => *priority,
        _ => 0,
    }
}

/// What says of a route which requests for its hosts are its own.
const ROUTE_FIELDS: [Field; 7] =
    [Field::Path, Field::ExactPath, Field::PathPattern, Field::Methods, Field::Header, Field::Query, Field::Cookie];

/// What a route asks beside its hosts; `None`: something that cannot be understood, which was said already.
fn asked(place: &Place, statements: &mut Statements) -> Option<(Arc<str>, Option<Arc<Refinement>>)> {
    let at = |field| statements.at(place.clone(), field);
    if ROUTE_FIELDS.iter().any(|field| matches!(at(*field), Some(Said { value: Value::Nothing, .. }))) {
        return None;
    }
    let mut refined = Refinement::default();
    if let Some(Value::Methods(methods)) = at(Field::Methods).map(|said| &said.value) {
        refined.methods = methods.clone();
    }
    let conditions = [Field::Header, Field::Query, Field::Cookie].into_iter().filter_map(|field| match at(field) {
        Some(Said { value: Value::Conditions(conditions), .. }) => Some(conditions),
        _ => None,
    });
    refined.conditions = conditions.flat_map(|conditions| conditions.iter().cloned()).collect();
    let (prefix, exact, expression) = (at(Field::Path), at(Field::ExactPath), at(Field::PathPattern));
    // The narrower reading counts where several are said.
    let path = match (exact.map(|said| &said.value), expression.map(|said| &said.value)) {
        (Some(Value::Text(path)), _) => {
            refined.path = PathMeaning::Exact;
            path.clone()
        }
        (_, Some(Value::Pattern(pattern))) => {
            refined.path = PathMeaning::Pattern(pattern.clone());
            pattern.as_str().into()
        }
        _ => match prefix.map(|said| &said.value) {
            Some(Value::AnyCase(path)) => {
                refined.path = PathMeaning::AnyCase;
                path.clone()
            }
            _ => text(prefix).unwrap_or_else(super::path::root),
        },
    };
    let said: Vec<Arc<str>> =
        [exact, expression, prefix].into_iter().flatten().map(|said| said.label.clone()).collect();
    if let [first, others @ ..] = &said[..] {
        for other in others {
            let message = format!("the path is said already by `{first}`, which counts");
            statements.complaints.add(ProblemCode::InvalidLabel, other, message, "remove one of the two labels");
        }
    }
    Some((path, refined.shared()))
}

/// Whether requests can be sent to a port, as far as labels and what the task announces say.
fn speaks_http(port: &TaskPort, protocol: Option<Protocol>) -> bool {
    protocol.map_or(port.transports.tcp, |protocol| protocol.is_http() || protocol == Protocol::Tls)
}

/// Of a connection that is carried as it is only the name is known: a route that asks for more is none.
fn refuse_beside_host(place: &Place, hosts: &mut Vec<HostPattern>, statements: &mut Statements) {
    let expression = statements.at(place.clone(), Field::HostPattern).cloned();
    let others = ROUTE_FIELDS.iter().chain(&acts::FIELDS).filter_map(|field| statements.at(place.clone(), *field));
    for said in others.cloned().chain(expression).collect::<Vec<_>>() {
        let message = "of a port that speaks `tls` only hosts can be asked for, so this makes no route";
        let mend = "remove it, or let the port speak `https` and TLS end here";
        statements.complaints.add(ProblemCode::InvalidLabel, &said.label, message, mend);
        hosts.clear();
    }
}

fn complain_of_missing_host(narrowing: Option<&Said>, statements: &mut Statements) {
    let Some(said) = narrowing else { return };
    let (start, what) = said.label.rsplit_once('.').unwrap_or(("pointsman", "condition"));
    let mend = format!("add `{start}.host` (`*` for every host), or remove the {what}");
    let message = format!("a {what} has no effect without hosts");
    statements.complaints.add(ProblemCode::InvalidLabel, &said.label, message, mend);
}

fn complain_of_protocol(hosts: &Said, protocol: Option<Protocol>, statements: &mut Statements) {
    let spoken = protocol.unwrap_or(Protocol::Udp).as_str();
    let message = format!("a port that speaks {spoken} has no hosts");
    let mend = "remove the hosts, or let the port speak `http`, `https`, `h2c`, `h2` or `tls`";
    statements.complaints.add(ProblemCode::InvalidLabel, &hosts.label, message, mend);
}

fn scrape(ports: &[TaskPort], statements: &mut Statements) -> Option<ScrapeSpec> {
    let at = |field| statements.at(Place::Task, field);
    let (flag, port, path) = (at(Field::Scrape), at(Field::ScrapePort), at(Field::ScrapePath));
    let wanted = match flag.map(|said| &said.value) {
        Some(Value::Flag(wanted)) => *wanted,
        _ => port.is_some() || path.is_some(),
    };
    if !wanted {
        return None;
    }
    let sought = text(port).unwrap_or_else(|| "0".into());
    let found = match port {
        Some(_) => find_port(&sought, ports),
        None => (!ports.is_empty()).then_some(0),
    };
    let path = text(path).unwrap_or_else(|| "/metrics".into());
    if let Some(index) = found {
        return Some(ScrapeSpec { port: PortSelector::Index(index), path });
    }
    let label = port.or(flag).or(at(Field::ScrapePath)).map_or_else(|| "".into(), |said| said.label.clone());
    let message = format!("the task has no port {:?} to scrape", super::value::shorten(&sought, 64));
    statements.complaints.add(ProblemCode::MissingPort, &label, message, missing_port_mend(ports));
    None
}

fn text(said: Option<&Said>) -> Option<Arc<str>> {
    match said.map(|said| &said.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}
