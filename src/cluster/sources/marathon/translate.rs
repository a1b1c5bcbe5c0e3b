//! Marathon's documents → facts. Pure.
//!
//! An app that cannot be read is a problem of its own, a task that cannot be read is one of the task's; neither hides
//! another, and both are there: what was known of them stays. What a task is called here (its key, its service's name,
//! its ports' order) is what it is called where Mesos tells of it, so that the two can be put together and either alone
//! gives the same services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::checks;
use super::ports::{Port, network, ports};
use super::readiness::{Readiness, Verdict};
use super::wire::{self, App, Task};
use crate::cluster::event::DeclaredApp;
use crate::model::app::name_of;
use crate::model::id::{ClusterName, FrameworkId, TaskKey};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::task::{
    AppFacts, Discovery, DiscoveryPort, Health, Label, NetworkMode, PortMapping, PortRange, PortScope, TaskDefinition,
    TaskFacts, TaskState,
};

/// What every fact of one Marathon has in common.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The cluster.
    pub cluster: ClusterName,
    /// The framework's id.
    pub framework: FrameworkId,
    /// Whether its health checks and readiness checks count.
    pub use_health: bool,
    /// Whether its health checks are made here, too.
    pub active_checks: bool,
}

impl Scope {
    /// The key of a task, or of an app in a task's place.
    pub(super) fn key(&self, id: &str) -> TaskKey {
        TaskKey::new(self.cluster.clone(), self.framework.clone(), id)
    }
}

/// What an app or a pod comes to.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its id.
    pub id: String,
    /// The app itself, as its tasks would be: it claims what they do, even if there is none. Several for a pod, one for
    /// each container.
    pub apps: Vec<DeclaredApp>,
    /// Its tasks that have not ended.
    pub tasks: Vec<SaidTask>,
    /// Tasks that are there and cannot be read.
    pub unread: Vec<TaskKey>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// An app or a pod that cannot be read.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Its id, as far as there is one.
    pub id: String,
    /// Its tasks, as far as they can be told.
    pub tasks: Vec<TaskKey>,
    /// Why.
    pub problem: Box<Problem>,
}

/// A task, and where it runs.
#[derive(Clone, Debug)]
pub struct SaidTask {
    /// What is known of it.
    pub facts: TaskFacts,
    /// It is held back because a readiness check has not spoken of it yet, and for nothing that one said.
    pub awaited: bool,
    /// Its agent's name or address.
    pub host: Option<String>,
}

/// The apps of a list, unread.
///
/// # Errors
/// It is no list of apps.
pub fn apps(data: &[u8]) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::from_slice::<wire::Apps<'_>>(data).map(|list| list.apps)
}

/// The app of an answer for one, unread.
///
/// # Errors
/// It is no such answer.
pub fn one_app(data: &[u8]) -> Result<&RawValue, serde_json::Error> {
    serde_json::from_slice::<wire::OneApp<'_>>(data).map(|one| one.app)
}

/// The pods of a list, unread.
///
/// # Errors
/// It is no list.
pub fn pods(data: &[u8]) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::from_slice(data)
}

/// Reads an app with its tasks.
///
/// # Errors
/// What is wrong with it, as its own problem.
pub fn app(raw: &RawValue, scope: &Scope) -> Result<Said, Box<Unread>> {
    let app: App = serde_json::from_str(raw.get()).map_err(|error| unread_app(raw, scope, &error))?;
    if app.id.is_empty() {
        return Err(unread_app(raw, scope, &"it has no id"));
    }
    let mut said = Said { id: app.id.clone(), ..Said::default() };
    let shape = Shape::of(&app, scope, &mut said.problems);
    said.apps.push(shape.app(&app.id, scope));
    let readiness = if scope.use_health { Readiness::of(&app) } else { Readiness::default() };
    for raw in app.tasks.iter().flatten() {
        let task = match serde_json::from_str::<Task>(raw.get()) {
            Ok(task) if !task.id.is_empty() => task,
            wrong => {
                let why = wrong.err().map_or_else(|| "it has no id".to_owned(), |error| error.to_string());
                said.problems.push(*unreadable("task", &app.id, &why));
                said.unread.extend(Some(id_of(raw)).filter(|id| !id.is_empty()).map(|id| scope.key(&id)));
                continue;
            }
        };
        match task.state.as_deref().map_or(Some(TaskState::Running), state) {
            Some(TaskState::Ended) => {}
            Some(state) => said.tasks.push(shape.task(&task, state, readiness.of_task(&task), scope)),
            None => {
                let why = format!("the state {:?} is not known", task.state.as_deref().unwrap_or_default());
                said.problems.push(*unreadable("task", &app.id, &why));
                said.unread.push(scope.key(&task.id));
            }
        }
    }
    Ok(said)
}

/// What can be told of an app that cannot be read.
fn unread_app(raw: &RawValue, scope: &Scope, why: &dyn std::fmt::Display) -> Box<Unread> {
    let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let tasks = value.get("tasks").and_then(Value::as_array).into_iter().flatten();
    let ids = tasks.filter_map(|task| task.get("id")?.as_str()).filter(|id| !id.is_empty());
    let id = id_of(raw);
    let problem = unreadable("app", &id, why);
    Box::new(Unread { tasks: ids.map(|id| scope.key(id)).collect(), id, problem })
}

/// What the tasks of an app have in common.
struct Shape {
    name: Arc<str>,
    labels: Arc<[Label]>,
    network: NetworkMode,
    ports: Vec<Port>,
    has_health_check: bool,
    kill_grace: Option<Duration>,
    facts: Arc<AppFacts>,
}

impl Shape {
    fn of(app: &App, scope: &Scope, problems: &mut Vec<Problem>) -> Self {
        let network = network(app);
        let (ports, service_ports) = ports(app, network);
        let is_checked = app.health_checks.as_ref().is_some_and(|checks| !checks.is_empty());
        let checked = checks::checked(app, ports.len());
        let active = if scope.active_checks { checks::active(app, ports.len()) } else { Box::default() };
        Self {
            name: name_of(&app.id),
            labels: labels(app.labels.as_ref(), &app.id, problems).into(),
            network,
            ports,
            has_health_check: is_checked && scope.use_health,
            kill_grace: app
                .task_kill_grace_period_seconds
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            facts: Arc::new(AppFacts {
                id: app.id.as_str().into(),
                service_ports: service_ports.into(),
                checked,
                checks: active,
            }),
        }
    }

    /// The app as a task of it would be: with ports of their own, of which only the order counts.
    fn app(&self, id: &str, scope: &Scope) -> DeclaredApp {
        let count = u16::try_from(self.ports.len()).unwrap_or(u16::MAX);
        let ports: Vec<u16> = (1..=count).collect();
        DeclaredApp { key: scope.key(id), definition: Arc::new(self.definition(&ports, None)) }
    }

    fn definition(&self, host_ports: &[u16], version: Option<&str>) -> TaskDefinition {
        let mut on_host = host_ports.iter().copied();
        let mut discovery = Vec::new();
        let mut mappings = Vec::new();
        for port in &self.ports {
            let host = if port.on_host { on_host.next() } else { None };
            let (number, scope) = match (self.network, host, port.container) {
                (NetworkMode::Container, host, Some(container)) => {
                    (container.max(host.filter(|_| container == 0).unwrap_or(0)), PortScope::Container)
                }
                (_, Some(host), _) => (host, PortScope::Host),
                // A task of a former version may have fewer ports than the app has now.
                _ => continue,
            };
            if let (Some(host_port), Some(container_port)) = (host, port.container) {
                mappings.push(PortMapping { host_port, container_port, protocol: port.protocol.clone() });
            }
            discovery.push(DiscoveryPort {
                number,
                name: port.name.clone(),
                protocol: port.protocol.clone(),
                scope,
                labels: port.labels.clone(),
            });
        }
        TaskDefinition {
            name: self.name.clone(),
            labels: self.labels.clone(),
            discovery: Some(Discovery { name: self.name.clone(), ports: discovery.into() }),
            host_ports: host_ports.iter().map(|port| PortRange { begin: *port, end: *port }).collect(),
            port_mappings: mappings.into(),
            network: self.network,
            has_health_check: self.has_health_check,
            kill_grace: self.kill_grace,
            version: version.map(Into::into),
            app: Some(self.facts.clone()),
            role: None,
        }
    }

    fn task(&self, task: &Task, state: TaskState, readiness: Verdict, scope: &Scope) -> SaidTask {
        let host_ports: Vec<u16> = task.ports.iter().flatten().copied().collect();
        let definition = self.definition(&host_ports, task.version.as_deref());
        let addresses = task.ip_addresses.iter().flatten().filter_map(|address| address.ip_address.as_deref());
        let facts = TaskFacts {
            key: scope.key(&task.id),
            agent: task.slave_id.as_deref().or(task.host.as_deref()).map(Into::into),
            state,
            health: if scope.use_health { health(task) } else { Health::Unknown },
            held: readiness != Verdict::Ready,
            addresses: addresses.filter_map(|text| text.parse::<IpAddr>().ok()).collect(),
            networks: None,
            labelled: None,
            unreachable_since: None,
            definition: Arc::new(definition),
        };
        SaidTask { facts, awaited: readiness == Verdict::Awaited, host: task.host.clone() }
    }
}

/// A task is in if any of its checks is good, as marathon-lb has it. No result says nothing: after a change of leader
/// there is none for a while, and the last verdict stands.
fn health(task: &Task) -> Health {
    let results: Vec<bool> =
        task.health_check_results.iter().flatten().flatten().filter_map(|result| result.alive).collect();
    match (results.is_empty(), results.contains(&true)) {
        (true, _) => Health::Unknown,
        (_, true) => Health::Healthy,
        _ => Health::Unhealthy,
    }
}

pub(super) fn text(text: Option<&str>) -> Arc<str> {
    text.unwrap_or_default().into()
}

pub(super) fn labels(labels: Option<&BTreeMap<String, Value>>, id: &str, problems: &mut Vec<Problem>) -> Box<[Label]> {
    let mut out = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        match value.as_str() {
            Some(value) => out.push(Label { key: key.as_str().into(), value: value.into() }),
            None => problems.push(*unreadable("label", id, &format_args!("the value of {key:?} is no text"))),
        }
    }
    out.into()
}

/// A task's state as Marathon writes it: Mesos' own words, and those of Marathon's instances.
pub fn state(text: &str) -> Option<TaskState> {
    Some(match text {
        "TASK_STAGING" | "TASK_CREATED" => TaskState::Staging,
        "TASK_STARTING" => TaskState::Starting,
        "TASK_RUNNING" => TaskState::Running,
        "TASK_KILLING" => TaskState::Killing,
        "TASK_UNREACHABLE" => TaskState::Unreachable,
        "TASK_LOST" | "TASK_UNKNOWN" => TaskState::Lost,
        "TASK_FINISHED"
        | "TASK_FAILED"
        | "TASK_KILLED"
        | "TASK_ERROR"
        | "TASK_DROPPED"
        | "TASK_GONE"
        | "TASK_GONE_BY_OPERATOR" => TaskState::Ended,
        _ => return None,
    })
}

/// The id of something that cannot be read otherwise, for people.
pub(super) fn id_of(raw: &RawValue) -> String {
    let value: Option<Value> = serde_json::from_str(raw.get()).ok();
    let id = value.as_ref().and_then(|value| value.get("id")?.as_str());
    id.unwrap_or_default().chars().take(256).collect()
}

pub(super) fn unreadable(what: &str, id: &str, why: &dyn std::fmt::Display) -> Box<Problem> {
    Box::new(Problem {
        code: ProblemCode::InvalidFact,
        subject: id.into(),
        at: "".into(),
        message: format!("Marathon's {what} {id} cannot be read: {why}").into(),
        mend: "look at the app's definition; others are not affected".into(),
    })
}
