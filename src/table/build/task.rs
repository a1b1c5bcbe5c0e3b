//! One task's part of the table: its endpoints, its claims and what is wrong with it.
//!
//! Pure: facts and configuration in, derivation out. The same inputs give the same derivation, so what a task added
//! to the table can be taken back by deriving it again from the facts the table shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::accept;
use super::policy;
use super::ways;
use crate::cluster::ledger::{ASSIGNED, Place};
use crate::cluster::source::SourceKind;
use crate::config::Config;
use crate::config::checked::IpSource;
use crate::labels::Scope;
use crate::labels::ports::{TaskPort, ports};
use crate::labels::spec::{PortSelector, PortSpec, TaskSpec};
use crate::model::actions::Actions;
use crate::model::agent::AgentFacts;
use crate::model::app::Names;
use crate::model::balance::Algorithm;
use crate::model::bounds::Bounds;
use crate::model::check::{CheckAt, CheckKind, CheckPlace, CheckSpec, CheckState, Verdicts};
use crate::model::deployment::Deployment;
use crate::model::endpoint::{EndpointId, EndpointState, Family, ProxyProtocol, Weight};
use crate::model::endpoint_tls::{DEFAULT, EndpointTls};
use crate::model::framework::FrameworkFacts;
use crate::model::id::{ClusterName, ServiceId, Version, stable_hash};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::rules::Rules;
use crate::model::service::Protocol;
use crate::model::task::{Health, NetworkMode, TaskDefinition, TaskFacts, TaskState};
use crate::table::names::group::group_names;
use crate::table::names::label::{self, LABEL, agent_tail};
use crate::table::names::left_out;
use crate::table::names::rules::NamingRules;
use crate::table::task::{SaidPort, TaskExtras, TaskView, addresses_of};

/// What a task's part of the table is made from.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Its merged facts.
    pub facts: Arc<TaskFacts>,
    /// Its agent.
    pub agent: Option<Arc<AgentFacts>>,
    /// Its framework.
    pub framework: Option<Arc<FrameworkFacts>>,
    /// Where the facts come from.
    pub source: SourceKind,
    /// Verdicts of active checks.
    pub verdicts: Option<Arc<Verdicts>>,
    /// An operator took it, or its agent, out of service.
    pub drained: bool,
    /// The configuration.
    pub config: &'a Config,
}

/// A task's part of the table.
#[derive(Clone, Debug)]
pub struct Derivation {
    /// The task as the table shows it.
    pub view: Arc<TaskView>,
    /// Its endpoints.
    pub endpoints: SmallVec<[EndpointDraft; 1]>,
    /// Its claims.
    pub claims: SmallVec<[ClaimDraft; 1]>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Derivation {
    /// Whether the other says the same of the task.
    pub fn shows_as(&self, other: &Self) -> bool {
        self.view == other.view && self.endpoints == other.endpoints
    }
}

/// An endpoint without what the table adds (run-time state, since when it is ready).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointDraft {
    /// Its identity.
    pub id: EndpointId,
    /// The service.
    pub service: ServiceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share.
    pub weight: Weight,
    /// Its version's share, where labels say one.
    pub version_weight: Option<Weight>,
    /// The deploy that its app is part of, where labels say one.
    pub deployment: Option<Arc<Deployment>>,
    /// What it speaks.
    pub protocol: Protocol,
    /// How TLS is spoken with it, where it speaks TLS.
    pub tls: Option<Arc<EndpointTls>>,
    /// In which version of the PROXY protocol it is told of clients.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How long requests in flight may go on once it drains.
    pub drain_time: Option<Duration>,
    /// Whether its clients are kept on it by a cookie.
    pub sticky: bool,
    /// How the service's requests are to be spread, where labels say so.
    pub balance: Option<Arc<Algorithm>>,
    /// How many requests it takes and how long one may wait, where labels say so.
    pub bounds: Option<Arc<Bounds>>,
    /// What its task asks of every request to the service.
    pub rules: Option<Arc<Rules>>,
    /// How it is checked.
    pub check: Option<Arc<CheckSpec>>,
}

/// A claim on a way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimDraft {
    /// Who claims.
    pub service: ServiceId,
    /// The route's name.
    pub name: Arc<str>,
    /// What is claimed.
    pub place: Place,
    /// Its standing among others that claim the same.
    pub priority: i32,
    /// What its route does.
    pub actions: Option<Arc<Actions>>,
}

impl ClaimDraft {
    /// A claim on a port or an app's name.
    fn of_way(service: ServiceId, name: &str, place: Place) -> Self {
        Self { service, name: name.into(), place, priority: 0, actions: None }
    }

    /// A claim on a port that is assigned: whoever names the port himself goes before.
    fn of_assigned_port(service: ServiceId, place: Place) -> Self {
        Self { priority: ASSIGNED, ..Self::of_way(service, "port", place) }
    }
}

/// What a task's definition says. It stays while the task's state, health and place change, and reading it is most of
/// the work, so it is read once for all that is derived from it.
#[derive(Debug)]
pub struct Said {
    spec: TaskSpec,
    ports: Vec<TaskPort>,
    version: Version,
    problems: Vec<Problem>,
}

impl Said {
    /// Reads a definition.
    pub fn read(definition: &TaskDefinition, config: &Config) -> Self {
        let scope = Scope { groups: &config.routing.groups, strict: config.routing.strict_mode };
        let reading = crate::labels::read_within(definition, &scope);
        let version = version(&reading.spec, definition);
        Self { spec: reading.spec, ports: ports(definition), version, problems: reading.problems }
    }

    /// What labels say of a port.
    fn of(&self, port: &TaskPort) -> Option<&PortSpec> {
        self.spec.ports.iter().find(|said| selects(&said.port, port))
    }
}

/// Derives a task's part of the table. `said` is what its definition says.
pub fn derive(inputs: &Inputs<'_>, said: &Said) -> Derivation {
    let mut problems = said.problems.clone();
    let belonging = Belonging::of(inputs, &said.spec, &mut problems);
    derive_as(inputs, said, &belonging, problems)
}

/// The same of a task of which is known whose it is. `problems` are those that were found so far.
fn derive_as(inputs: &Inputs<'_>, said: &Said, belonging: &Belonging, problems: Vec<Problem>) -> Derivation {
    let Inputs { facts, agent, framework, config, .. } = inputs;
    let Said { spec, ports, .. } = said;
    let mut out = Derivation {
        view: Arc::new(TaskView {
            facts: facts.clone(),
            agent: agent.clone(),
            framework: framework.clone(),
            source: inputs.source,
            verdicts: inputs.verdicts.clone(),
            drained: inputs.drained,
            state: if inputs.drained { EndpointState::Draining } else { endpoint_state(facts, config) },
            version: said.version.clone(),
            services: SmallVec::new(),
            address_source: address_source(facts, agent.as_deref(), config),
            extras: None,
        }),
        endpoints: SmallVec::new(),
        claims: SmallVec::new(),
        problems,
    };
    for port in ports {
        add_port(inputs, said, belonging, port, &mut out);
    }
    let view = Arc::make_mut(&mut out.view);
    view.state = checked_state(view.state, &out.endpoints, inputs);
    view.services = out.endpoints.iter().map(|e| (e.service.clone(), e.id.family)).collect();
    let extras = TaskExtras {
        refused_names: refuse_names(inputs, &belonging.app, &mut out),
        said_ports: said_ports(spec, ports),
        scrape: scrape(inputs, spec, ports),
        weight: out.endpoints.first().map(|endpoint| endpoint.weight).filter(|weight| *weight != Weight::default()),
    };
    if extras != TaskExtras::default() {
        Arc::make_mut(&mut out.view).extras = Some(Box::new(extras));
    }
    out.problems.extend(name_problem(facts, config));
    out.problems.extend(port_name_problems(facts, config));
    out.problems.extend(left_out_problem(&out.view, config));
    if !out.problems.is_empty() {
        let subject: Arc<str> = facts.key.to_string().into();
        out.problems.iter_mut().for_each(|problem| problem.subject = subject.clone());
    }
    out.problems.sort();
    out.problems.dedup();
    out
}

/// A service that an app without tasks stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredPort {
    /// The service.
    pub service: ServiceId,
    /// What it speaks.
    pub protocol: Protocol,
    /// What the app asks of every request to it.
    pub rules: Option<Arc<Rules>>,
}

/// What an app comes to, with or without tasks.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// What it claims.
    pub claims: Vec<ClaimDraft>,
    /// The services that it claims that for.
    pub ports: Vec<DeclaredPort>,
    /// What is wrong with ports that were to be assigned. Its other problems are its tasks'.
    pub problems: Vec<Problem>,
}

/// What an app claims, as a task of it would, and the ports that are assigned to it: those its tasks do not claim.
/// `given` tells them by the index of the app's port.
pub fn declared(inputs: &Inputs<'_>, said: &Said, given: impl Fn(usize) -> Option<u16>) -> Declared {
    let Said { spec, ports, .. } = said;
    // What else is wrong with it, its tasks say.
    let belonging = Belonging::of(inputs, spec, &mut Vec::new());
    let derived = derive_as(inputs, said, &belonging, Vec::new());
    let mut out = Declared { claims: derived.claims.into_vec(), ..Declared::default() };
    let Belonging { app, identity } = &belonging;
    let who = claimant(inputs, app);
    for port in ports {
        let said = spec.ports.iter().find(|said| selects(&said.port, port));
        let protocol = said.and_then(|said| said.protocol).unwrap_or_else(|| default_protocol(port));
        let service = identity.service(&inputs.facts, port);
        if let Some(said) = said.filter(|said| said.enabled && said.is_assigned) {
            match ways::assigned_port(inputs, said, &who, protocol, given(port.index)) {
                Ok(Some(place)) => out.claims.push(ClaimDraft::of_assigned_port(service.clone(), place)),
                Ok(None) => {}
                Err(problem) => out.problems.push(*problem),
            }
        }
        // Without a claim there is nothing to keep.
        if out.claims.iter().any(|claim| claim.service == service) {
            out.ports.push(DeclaredPort { service, protocol, rules: identity.rules(said) });
        }
    }
    let subject: Arc<str> = inputs.facts.key.to_string().into();
    out.problems.iter_mut().for_each(|problem| problem.subject = subject.clone());
    out.problems.sort();
    out.problems.dedup();
    out
}

/// What names show of the ports that labels speak of.
fn said_ports(spec: &TaskSpec, ports: &[TaskPort]) -> Box<[SaidPort]> {
    let mut all: Vec<SaidPort> = Vec::new();
    for port in ports {
        let Some(said) = spec.ports.iter().find(|said| selects(&said.port, port)) else { continue };
        let (srv_priority, srv_weight, protocol) = (said.srv_priority, said.srv_weight, said.protocol);
        if srv_priority.is_none() && srv_weight.is_none() && protocol.is_none() {
            continue;
        }
        for number in [Some(port.number), port.host, port.container].into_iter().flatten() {
            if all.iter().all(|known| known.number != number) {
                all.push(SaidPort { number, srv_priority, srv_weight, protocol });
            }
        }
    }
    all.into()
}

/// Whether an endpoint of this task may be chosen.
pub fn endpoint_state(facts: &TaskFacts, config: &Config) -> EndpointState {
    match (facts.state, facts.health) {
        (TaskState::Staging | TaskState::Starting, _) => EndpointState::Starting,
        (TaskState::Killing | TaskState::Ended, _) => EndpointState::Draining,
        (TaskState::Unreachable | TaskState::Lost, _) => EndpointState::Unreachable,
        (TaskState::Running, Health::Unhealthy) => EndpointState::Unhealthy,
        (TaskState::Running, _) if facts.held => EndpointState::Unverified,
        (TaskState::Running, Health::Healthy) => EndpointState::Ready,
        (TaskState::Running, Health::Unknown)
            if facts.definition.has_health_check && !config.routing.serve_unverified =>
        {
            EndpointState::Unverified
        }
        (TaskState::Running, Health::Unknown) => EndpointState::Ready,
    }
}

/// What active checks make of a task's state. They speak of single ports and decide about the task, as those of the
/// cluster do: names and traffic never disagree.
fn checked_state(state: EndpointState, endpoints: &[EndpointDraft], inputs: &Inputs<'_>) -> EndpointState {
    if !matches!(state, EndpointState::Ready | EndpointState::Unverified) {
        return state;
    }
    let verdict = |draft: &EndpointDraft| inputs.verdicts.as_ref()?.get(&draft.id.port).map(|verdict| verdict.state);
    let mut checked = endpoints.iter().filter(|draft| draft.check.is_some()).map(verdict);
    if checked.clone().any(|verdict| verdict == Some(CheckState::Bad)) {
        return EndpointState::Unhealthy;
    }
    let is_waiting = checked.any(|verdict| verdict != Some(CheckState::Good));
    if is_waiting && !inputs.config.routing.serve_unverified { EndpointState::Unverified } else { state }
}

/// How a port is checked: as its labels say, else as its app does where that is to be done, else as another port of the task
/// is that its labels name, else as configured.
///
/// # Errors
/// That port is none that may be asked.
fn check(
    inputs: &Inputs<'_>,
    task: &Said,
    port: &TaskPort,
    protocol: Protocol,
) -> Result<Option<Arc<CheckSpec>>, Problem> {
    let said = task.of(port);
    if let Some(own) = own_check(inputs, said, port, protocol) {
        return Ok(own.filter(|check| may_ask(inputs, &task.spec, port, check)));
    }
    if let Some(others) = others_check(inputs, task, said, protocol)? {
        return Ok(Some(others));
    }
    let config = &inputs.config.health;
    let kind = match config.check {
        // Of what does not speak HTTP no answer of HTTP can be expected.
        Some(kind) if kind != CheckKind::Tcp && !protocol.is_http() => Some(CheckKind::Tcp),
        kind => kind,
    };
    let spec = |kind| CheckSpec {
        kind,
        path: config.path.clone(),
        interval: said.and_then(|said| said.health_interval),
        timeout: None,
        fall: None,
        at: CheckAt::Endpoint,
    };
    Ok(kind.filter(|_| protocol != Protocol::Udp).map(|kind| Arc::new(spec(kind))))
}

/// How a port is checked by what its labels or, where that is to be done here, its app say of it; `None`: they say nothing.
fn own_check(
    inputs: &Inputs<'_>,
    said: Option<&PortSpec>,
    port: &TaskPort,
    protocol: Protocol,
) -> Option<Option<Arc<CheckSpec>>> {
    let path = said.and_then(|said| said.health_path.clone());
    let interval = said.and_then(|said| said.health_interval);
    let kind = match (said.and_then(|said| said.health_check), &path) {
        (Some(kind), _) => kind,
        (None, Some(_)) => Some(CheckKind::Http),
        (None, None) => {
            let of_app = app_check(&inputs.facts, port, protocol)?;
            let interval = interval.or(of_app.interval);
            return Some(Some(if interval == of_app.interval {
                of_app
            } else {
                Arc::new(CheckSpec { interval, ..(*of_app).clone() })
            }));
        }
    };
    let path = path.unwrap_or_else(|| inputs.config.health.path.clone());
    let spec = |kind| CheckSpec { kind, path, interval, timeout: None, fall: None, at: CheckAt::Endpoint };
    Some(kind.filter(|_| protocol != Protocol::Udp).map(|kind| Arc::new(spec(kind))))
}

/// Whether a check may be asked where it is to be: an app's word for a port of its own leads nowhere else than requests may
/// be sent.
fn may_ask(inputs: &Inputs<'_>, spec: &TaskSpec, port: &TaskPort, check: &CheckSpec) -> bool {
    let CheckAt::Port(own) = check.at else { return true };
    let address = address(inputs, spec, port).ok().flatten();
    address.is_some_and(|address| accept::check(inputs, spec, SocketAddr::new(address.ip(), own)).is_ok())
}

/// The check of the port that labels name for this one, asked at that port.
fn others_check(
    inputs: &Inputs<'_>,
    task: &Said,
    said: Option<&PortSpec>,
    protocol: Protocol,
) -> Result<Option<Arc<CheckSpec>>, Problem> {
    let index = said.and_then(|said| said.health_port).map(usize::from);
    let Some(other) = task.ports.iter().find(|port| Some(port.index) == index) else { return Ok(None) };
    let said = task.of(other);
    // What this port speaks decides what can be asked, as if it were asked itself.
    let Some(spec) = own_check(inputs, said, other, protocol).flatten() else { return Ok(None) };
    let Some(address) = address(inputs, &task.spec, other)? else { return Ok(None) };
    let speaks = said.and_then(|said| said.protocol).filter(|protocol| protocol.is_http()).unwrap_or(Protocol::Http);
    let place = CheckPlace {
        address: match spec.at {
            CheckAt::Port(own) => SocketAddr::new(address.ip(), own),
            _ => address,
        },
        protocol: speaks,
        tls: tls(said, speaks),
        proxy_protocol: said.and_then(|said| said.proxy_protocol),
    };
    accept::check(inputs, &task.spec, place.address)?;
    Ok(Some(Arc::new(CheckSpec { at: CheckAt::Other(Arc::new(place)), ..(*spec).clone() })))
}

/// The check that a port's app makes of it. Of what does not speak HTTP no answer of HTTP can be expected.
fn app_check(facts: &TaskFacts, port: &TaskPort, protocol: Protocol) -> Option<Arc<CheckSpec>> {
    let check = facts.definition.app.as_ref()?.checks.get(port.index)?.clone()?;
    match protocol {
        Protocol::Udp => None,
        _ if check.kind == CheckKind::Http && !protocol.is_http() => {
            Some(Arc::new(CheckSpec { kind: CheckKind::Tcp, ..(*check).clone() }))
        }
        _ => Some(check),
    }
}

/// What a task is called by its framework, and whose it is.
struct Belonging {
    app: Names,
    identity: Identity,
}

impl Belonging {
    fn of(inputs: &Inputs<'_>, spec: &TaskSpec, problems: &mut Vec<Problem>) -> Self {
        let app = app_names(&inputs.facts);
        let identity = identity(inputs, spec, &app, problems);
        Self { app, identity }
    }
}

/// Whose a task is: its service, and the app that its deployment group stands for.
struct Identity {
    namespace: Arc<str>,
    name: Arc<str>,
    group: Option<Arc<str>>,
    /// The task's own app, where the service is not named after it.
    guest: Option<Arc<str>>,
}

impl Identity {
    /// The id of the service that a port of the task serves.
    fn service(&self, facts: &TaskFacts, port: &TaskPort) -> ServiceId {
        ServiceId::new(facts.key.cluster().clone(), self.namespace.clone(), self.name.clone(), port.key())
    }

    /// What a port asks of every request, with who says it where that is a guest.
    fn rules(&self, said: Option<&PortSpec>) -> Option<Arc<Rules>> {
        let rules = said.and_then(|said| said.rules.clone());
        let Some(guest) = &self.guest else { return rules };
        let rules = rules.as_deref().cloned().unwrap_or_default();
        Rules { guest: Some(guest.clone()), ..rules }.shared()
    }
}

/// The service that labels name, where the task may be of it; else its own.
fn identity(inputs: &Inputs<'_>, spec: &TaskSpec, app: &Names, problems: &mut Vec<Problem>) -> Identity {
    let facts = &inputs.facts;
    let framework = facts.key.framework().shared();
    let own = Identity { namespace: framework, name: own_name(facts), group: None, guest: None };
    let said = (spec.namespace.as_ref(), spec.service.as_ref(), spec.group.as_ref());
    if said == (None, None, None) || inputs.source == SourceKind::File {
        return Identity {
            namespace: spec.namespace.clone().unwrap_or(own.namespace),
            name: spec.service.clone().unwrap_or(own.name),
            group: spec.group.clone(),
            guest: None,
        };
    }
    let namespace = spec.namespace.as_ref().filter(|namespace| **namespace != own.namespace);
    let name = spec.service.as_ref().filter(|name| **name != own.name);
    let who = claimant(inputs, app);
    let policies = &inputs.config.policies;
    let joining = |names: &Names| policy::check_joining(policies, &who, namespace.map(|namespace| &**namespace), names);
    let mut decision = policy::Decision::Allowed;
    if namespace.is_some() || name.is_some() {
        decision = joining(&Names::of_name(name.unwrap_or(&own.name)));
    }
    // Requests that name the group's app are another's but for the group.
    if let Some(group) = spec.group.as_ref().filter(|group| decision == policy::Decision::Allowed && **group != app.id)
    {
        decision = joining(&Names::of_id(group));
    }
    match decision {
        policy::Decision::Allowed => {}
        policy::Decision::NotYet => return own,
        policy::Decision::Refused(problem) => {
            problems.push(*problem);
            return own;
        }
    }
    let is_guest = namespace.is_some() || name.is_some();
    let guest = is_guest.then(|| format!("{}/{}", own.namespace, own.name).into());
    Identity {
        namespace: namespace.cloned().unwrap_or(own.namespace),
        name: name.cloned().unwrap_or(own.name),
        group: spec.group.clone(),
        guest,
    }
}

/// The name of the service that the task belongs to by what its framework calls it.
fn own_name(facts: &TaskFacts) -> Arc<str> {
    let definition = &facts.definition;
    let discovery = definition.discovery.as_ref().map(|d| d.name.clone()).filter(|name| !name.is_empty());
    discovery.unwrap_or_else(|| definition.name.clone())
}

/// What a task's app is called by its framework.
fn app_names(facts: &TaskFacts) -> Names {
    ways::app_id(facts).map_or_else(|| Names::of_name(&own_name(facts)), |id| Names::of_id(&id))
}

/// Who claims, to the policies.
fn claimant<'a>(inputs: &'a Inputs<'_>, app: &'a Names) -> policy::Claimant<'a> {
    let role = inputs.facts.definition.role.as_deref();
    policy::Claimant { framework: inputs.framework.as_deref(), app, role, source: inputs.source }
}

/// The names that the policies do not let the task have.
fn refuse_names(inputs: &Inputs<'_>, app: &Names, out: &mut Derivation) -> Box<[Arc<str>]> {
    let config = inputs.config;
    // Nearly nobody has policies, and making names costs.
    if config.policies.is_empty() || inputs.source == SourceKind::File {
        return Box::default();
    }
    let Some(zone) = zone_of(config, inputs.facts.key.cluster()) else { return Box::default() };
    if inputs.framework.is_none() {
        return Box::default();
    }
    let names = group_names(&out.view, &NamingRules::new(&config.dns, zone));
    let refused = policy::refused_names(&config.policies, &claimant(inputs, app), &names, zone);
    let (names, problems): (Vec<Arc<str>>, Vec<Problem>) = refused.into_iter().unzip();
    out.problems.extend(problems);
    names.into()
}

/// The zone of a cluster's names.
pub(super) fn zone_of<'a>(config: &'a Config, cluster: &ClusterName) -> Option<&'a str> {
    config.mesos.iter().find(|mesos| mesos.cluster == *cluster).map(|mesos| &*mesos.zone)
}

fn selects(selector: &PortSelector, port: &TaskPort) -> bool {
    match selector {
        PortSelector::Index(index) => *index == port.index,
        PortSelector::Name(name) => *name == port.name,
    }
}

fn add_port(inputs: &Inputs<'_>, task: &Said, belonging: &Belonging, port: &TaskPort, out: &mut Derivation) {
    let (spec, said) = (&task.spec, task.of(port));
    let Belonging { app, identity } = belonging;
    if said.is_some_and(|said| !said.enabled) {
        return;
    }
    let service = identity.service(&inputs.facts, port);
    let who = claimant(inputs, app);
    let protocol = said.and_then(|said| said.protocol).unwrap_or_else(|| default_protocol(port));
    let check = check(inputs, task, port, protocol).unwrap_or_else(|problem| {
        out.problems.push(problem);
        None
    });
    match address(inputs, spec, port) {
        Ok(Some(address)) => out.endpoints.push(EndpointDraft {
            id: EndpointId { task: inputs.facts.key.clone(), port: port.key(), family: Family::of(address.ip()) },
            service: service.clone(),
            address,
            weight: said.and_then(|said| said.weight).unwrap_or_default(),
            version_weight: said.and_then(|said| said.version_weight),
            deployment: spec.deployment.clone(),
            protocol,
            tls: tls(said, protocol),
            proxy_protocol: said.and_then(|said| said.proxy_protocol),
            drain_time: said.and_then(|said| said.drain_time),
            sticky: said.is_some_and(|said| said.sticky),
            balance: said.and_then(|said| said.balance.clone()),
            bounds: said.and_then(|said| said.bounds.clone()),
            rules: identity.rules(said),
            check,
        }),
        Ok(None) => {}
        Err(problem) => out.problems.push(problem),
    }
    let Some(said) = said else { return };
    out.problems.extend(unknown_filters(said, inputs.config));
    out.problems.extend(unknown_tls(said, inputs.config));
    claim_routes(inputs, said, &who, &service, protocol, out);
    match ways::port(inputs, said, &who, protocol) {
        Ok(Some(place)) => {
            out.claims.push(ClaimDraft::of_way(service.clone(), "port", place));
        }
        Ok(None) => {}
        Err(problem) => out.problems.push(*problem),
    }
    // Requests that name an app go to the first of its ports that speaks HTTP.
    let is_first = !out.claims.iter().any(|claim| matches!(claim.place, Place::App(_)));
    if protocol.is_http() && is_first {
        let places = ways::apps(inputs, identity.group.as_ref());
        out.claims.extend(places.into_iter().map(|place| ClaimDraft::of_way(service.clone(), "app", place)));
    }
}

/// The claims of a port's routes, as far as the policies let the task make them.
fn claim_routes(
    inputs: &Inputs<'_>,
    said: &PortSpec,
    who: &policy::Claimant<'_>,
    service: &ServiceId,
    protocol: Protocol,
    out: &mut Derivation,
) {
    for route in &said.routes {
        for host in &route.hosts {
            // Which paths an expression stands for is not found out: it may stand for all.
            let claim = policy::Claim { host, path: route.least_path() };
            match policy::check(&inputs.config.policies, who, &claim) {
                policy::Decision::Allowed => out.claims.push(ClaimDraft {
                    service: service.clone(),
                    name: route.name.clone(),
                    place: match protocol {
                        Protocol::Tls => Place::ServerName(host.clone()),
                        _ => Place::of_route(host.clone(), route.path.clone(), route.refined.clone()),
                    },
                    priority: route.priority,
                    actions: route.actions.clone(),
                }),
                policy::Decision::NotYet => {}
                policy::Decision::Refused(problem) => out.problems.push(*problem),
            }
        }
    }
}

/// A filter that nobody configured lets nobody in: its task hears of it.
fn unknown_filters(said: &PortSpec, config: &Config) -> Vec<Problem> {
    let of_port = said.rules.iter().flat_map(|rules| rules.filters.iter());
    let of_routes =
        said.routes.iter().filter_map(|route| route.actions.as_ref()).flat_map(|actions| actions.filters.iter());
    let is_known = |name: &Arc<str>| config.proxy.filters.iter().any(|filter| filter.name == *name);
    let unknown = of_port.chain(of_routes).filter(|name| !is_known(name));
    unknown
        .map(|name| {
            let message = format!("no filter of the configuration is called {name:?}, so nobody is let in");
            let mend = "add it to `[[proxy.filters]]`, or correct the label `filters`";
            problem(ProblemCode::InvalidLabel, "filters", &message, mend)
        })
        .collect()
}

/// How TLS is spoken with a port that speaks it.
fn tls(said: Option<&PortSpec>, protocol: Protocol) -> Option<Arc<EndpointTls>> {
    protocol.is_secure().then(|| said.and_then(|said| said.tls.clone()).unwrap_or_default())
}

/// Nobody connects to an endpoint of which is not known how it is verified: its task hears of it.
fn unknown_tls(said: &PortSpec, config: &Config) -> Option<Problem> {
    let tls = said.tls.as_ref().filter(|tls| !tls.is_insecure() && *tls.profile != *DEFAULT)?;
    if config.upstreams.tls.iter().any(|known| known.name == tls.profile) {
        return None;
    }
    let name = &tls.profile;
    let message = format!("no entry of `upstreams.tls` is called {name:?}, so there is no connection to the port");
    let mend = "add it to `[[upstreams.tls]]`, or correct the label `tls`";
    Some(problem(ProblemCode::InvalidLabel, "tls", &message, mend))
}

fn default_protocol(port: &TaskPort) -> Protocol {
    if port.transports.tcp { Protocol::Http } else { Protocol::Udp }
}

/// Where the port is reached; `None` while the task is not placed or not started.
fn address(inputs: &Inputs<'_>, spec: &TaskSpec, port: &TaskPort) -> Result<Option<SocketAddr>, Problem> {
    let facts = &inputs.facts;
    let network = facts.definition.network;
    let own = facts.addresses.first().copied();
    let agent = inputs.agent.as_ref().and_then(|agent| agent.address);
    // In the agent's own network the task's status has the address that the agent is reached by.
    let agent = if network == NetworkMode::Host { own.or(agent) } else { agent };
    // A container of its own network is reached there; everything else through its agent, where a port leads in.
    let (ip, number) = match (network, port.host, port.container) {
        (NetworkMode::Container, _, Some(container)) => (own, container),
        (_, Some(host), _) => (agent, host),
        (NetworkMode::Bridge, None, Some(container)) => (own, container),
        _ => (agent, port.number),
    };
    if number == 0 {
        return Err(problem(
            ProblemCode::MissingPort,
            port.key(),
            "the port's number is 0, which nothing can listen on",
            "let the framework assign a port, or remove the port from the discovery information",
        ));
    }
    match ip {
        Some(ip) => {
            let address = SocketAddr::new(ip, number);
            accept::check(inputs, spec, address).map(|()| Some(address))
        }
        None if facts.state != TaskState::Running || inputs.agent.is_none() => Ok(None),
        None => Err(problem(
            ProblemCode::MissingAddress,
            port.key(),
            "no address is known for the task",
            "check that the agent's --ip and the container network report an address",
        )),
    }
}

/// The first of the configured sources of addresses that gives any.
fn address_source(facts: &TaskFacts, agent: Option<&AgentFacts>, config: &Config) -> Option<IpSource> {
    config.dns.ip_sources.iter().copied().find(|source| !addresses_of(*source, facts, agent).is_empty())
}

fn scrape(inputs: &Inputs<'_>, spec: &TaskSpec, ports: &[TaskPort]) -> Option<(SocketAddr, Arc<str>)> {
    let wanted = spec.scrape.as_ref()?;
    let port = ports.iter().find(|port| selects(&wanted.port, port))?;
    Some((address(inputs, spec, port).ok()??, wanted.path.clone()))
}

/// The version a task runs: what its label says, else what its source knows, else a hash of what versions differ in.
fn version(spec: &TaskSpec, definition: &TaskDefinition) -> Version {
    if let Some(version) = spec.version.clone().or_else(|| definition.version.clone()) {
        return version;
    }
    // Port numbers differ from task to task of one version; names and protocols do not. Whether there is a health check does
    // not count: of Marathon's own Mesos knows nothing, and a task must not change its version when Marathon tells of it.
    let ports: Vec<_> =
        definition.discovery.iter().flat_map(|d| d.ports.iter()).map(|p| (&p.name, &p.protocol)).collect();
    let hash = stable_hash(&(&definition.name, &definition.labels, ports));
    format!("h{:08x}", hash >> 32).into()
}

/// What is wrong with a Mesos task's DNS names: none can be made, or its own had to be cut.
fn name_problem(facts: &TaskFacts, config: &Config) -> Option<Problem> {
    let definition = &facts.definition;
    let discovery = definition.discovery.as_ref().map(|discovery| &*discovery.name).filter(|name| !name.is_empty());
    let name = discovery.unwrap_or(&definition.name);
    let tail = facts.agent.as_ref().map_or(0, |agent| agent_tail(agent.as_str()).len());
    let room = LABEL.saturating_sub("-HHHHH-".len() + tail);
    // Nearly every name: short, and with a letter.
    if name.len() <= room && name.bytes().any(|octet| octet.is_ascii_alphabetic()) {
        return None;
    }
    zone_of(config, facts.key.cluster())?;
    let label = label::spec(name, config.dns.label_rule);
    let invalid = |message: &str, mend: &str| Some(problem(ProblemCode::InvalidName, "", message, mend));
    match label.len() {
        0 => invalid("its name has nothing that a DNS label can be made of", "name it with letters or digits of ASCII"),
        length if length > room => invalid(
            &format!(
                "its own DNS name is longer than a label's 63 octets with the hash and agent added; it is cut to {room}"
            ),
            &format!("choose a name of at most {room} octets"),
        ),
        _ => None,
    }
}

/// What is wrong with the names of a task's ports: with the underscore that services' labels begin with they are too long, and
/// are cut.
fn port_name_problems(facts: &TaskFacts, config: &Config) -> Vec<Problem> {
    let ports = facts.definition.discovery.as_ref().map_or(&[][..], |discovery| &*discovery.ports);
    let words = ports.iter().flat_map(|port| [("port", &port.name), ("protocol", &port.protocol)]);
    // Nearly all are short.
    let mut long = words.filter(|(_, word)| word.len() >= LABEL).peekable();
    if long.peek().is_none() || zone_of(config, facts.key.cluster()).is_none() {
        return Vec::new();
    }
    let problems = long.filter_map(|(what, word)| {
        let label = label::spec(word, config.dns.label_rule);
        let short = label::service_label(&label);
        (*short != *label).then(|| {
            let message = format!(
                "the name of a {what} is longer than a label's 63 octets with the underscore before it; in names it is _{short}"
            );
            problem(ProblemCode::InvalidName, word.clone(), &message, "choose one of at most 62 octets")
        })
    });
    problems.collect()
}

/// Names of a task that are longer than any message can say.
fn left_out_problem(view: &TaskView, config: &Config) -> Option<Problem> {
    let mesos = config.mesos.iter().find(|mesos| mesos.cluster == *view.facts.key.cluster())?;
    let left_out = left_out(view, &config.dns, mesos)?;
    let (count, zone, name) = (left_out.count, &left_out.zone, &left_out.longest);
    let message = format!(
        "names of it would be longer than 255 octets in {zone} and are left out there: {count}, the longest {name}"
    );
    let mend = format!("name the task, its ports, its framework or the network with {} octets less", left_out.excess);
    Some(problem(ProblemCode::InvalidName, "", &message, &mend))
}

/// A problem whose subject the caller fills in.
pub(super) fn problem(code: ProblemCode, at: impl Into<Arc<str>>, message: &str, mend: &str) -> Problem {
    Problem { code, subject: "".into(), at: at.into(), message: message.into(), mend: mend.into() }
}
