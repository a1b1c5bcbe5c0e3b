//! `/v1/tasks`: tasks with their agents, labels and what was derived from them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::paging::Page;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::{secrets, services};
use crate::model::endpoint::EndpointId;
use crate::model::id::{ServiceId, TaskKey};
use crate::table::Table;
use crate::table::task::TaskView;

/// The most candidates that an ambiguous name is answered with.
const MAX_CANDIDATES: usize = 20;

/// A page of tasks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskList {
    pub generation: u64,
    pub tasks: Vec<TaskSummary>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// One task in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskSummary {
    /// cluster/framework/task.
    pub key: String,
    pub name: String,
    /// The framework's name, once known.
    pub framework: Option<String>,
    pub agent: Option<String>,
    /// The agent's host name, once known.
    pub agent_hostname: Option<String>,
    /// Where the task is in its life.
    pub state: String,
    pub health: String,
    /// Whether its endpoints may be chosen.
    pub endpoint_state: String,
    pub version: String,
    pub addresses: Vec<String>,
    /// The DNS name that stands for this task alone, without the final dot; none where it has none now.
    pub dns_name: Option<String>,
    /// The full ids of the services it serves.
    pub services: Vec<String>,
}

/// One task with everything that is known of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskDetails {
    pub generation: u64,
    pub task: TaskSummary,
    pub labels: Vec<LabelView>,
    pub host_ports: Vec<String>,
    pub network: String,
    pub has_health_check: bool,
    /// An operator took it, or its agent, out of service.
    pub drained: bool,
    /// When its agent was lost, in milliseconds since the Unix epoch.
    pub unreachable_since: Option<u64>,
    pub endpoints: Vec<services::EndpointView>,
    /// Where a Prometheus finds its metrics.
    pub scrape: Option<String>,
    pub problems: Vec<super::problems::ProblemView>,
}

/// One label; values that look like secrets are hidden.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LabelView {
    pub key: String,
    pub value: String,
}

/// GET /v1/tasks.
pub(crate) fn list(table: &Table, query: &Query) -> Answer {
    query.only(&["service", "agent", "state", "limit", "cursor"])?;
    let page = Page::of(query)?;
    let service = query.text("service").map(|wanted| services::find(table, wanted)).transpose()?;
    let filter = Filter { service: service.map(|s| &s.id), agent: query.text("agent"), state: state(query)? };
    let matching = table.tasks.iter().filter(|(_, task)| filter.lets_pass(task));
    let (tasks, next_cursor) = page.take(matching.map(|(key, task)| (key.to_string(), task)));
    let tasks = tasks.into_iter().map(|task| TaskSummary::of(table, task)).collect();
    Reply::json(&TaskList { generation: table.generation, tasks, next_cursor })
}

/// GET /v1/tasks/{key, task id or name}.
pub(crate) fn details(table: &Table, wanted: &str, query: &Query) -> Answer {
    query.only(&[])?;
    let task = find(table, wanted)?;
    let definition = &task.facts.definition;
    let key = task.facts.key.to_string();
    let label = |label: &crate::model::task::Label| LabelView {
        key: label.key.to_string(),
        value: secrets::shown(&label.key, &label.value).to_owned(),
    };
    let port_range = |range: &crate::model::task::PortRange| {
        if range.begin == range.end { range.begin.to_string() } else { format!("{}-{}", range.begin, range.end) }
    };
    Reply::json(&TaskDetails {
        generation: table.generation,
        task: TaskSummary::of(table, task),
        labels: definition.labels.iter().map(label).collect(),
        host_ports: definition.host_ports.iter().map(port_range).collect(),
        network: format!("{:?}", definition.network).to_lowercase(),
        has_health_check: definition.has_health_check,
        drained: task.drained,
        unreachable_since: task.facts.unreachable_since.map(|at| at.0),
        endpoints: endpoints(table, task),
        scrape: task.scrape().map(|scrape| format!("http://{}{}", scrape.0, scrape.1)),
        problems: super::problems::of_subject(table, &key),
    })
}

impl TaskSummary {
    fn of(table: &Table, task: &TaskView) -> Self {
        let facts = &task.facts;
        Self {
            key: facts.key.to_string(),
            name: facts.definition.name.to_string(),
            framework: task.framework.as_ref().map(|framework| framework.name.to_string()),
            agent: facts.agent.as_ref().map(ToString::to_string),
            agent_hostname: task.agent.as_ref().map(|agent| agent.hostname.to_string()),
            state: facts.state.as_str().to_owned(),
            health: facts.health.as_str().to_owned(),
            endpoint_state: task.state.as_str().to_owned(),
            version: task.version.to_string(),
            addresses: task.addresses().iter().map(ToString::to_string).collect(),
            dns_name: table.names.name_by_id(task),
            services: task.services.iter().map(|(service, _)| service.to_string()).collect(),
        }
    }
}

/// Which tasks a list shows.
struct Filter<'a> {
    service: Option<&'a ServiceId>,
    /// The agent's id, host name or address.
    agent: Option<&'a str>,
    /// The task's state, its health or its endpoints' state.
    state: Option<&'a str>,
}

impl Filter<'_> {
    fn lets_pass(&self, task: &TaskView) -> bool {
        self.service.is_none_or(|wanted| task.services.iter().any(|(service, _)| service == wanted))
            && self.agent.is_none_or(|wanted| runs_on(task, wanted))
            && self.state.is_none_or(|wanted| {
                let facts = &task.facts;
                [facts.state.as_str(), facts.health.as_str(), task.state.as_str()].contains(&wanted)
            })
    }
}

/// Whether a task runs on the agent with this id, host name or address.
pub(crate) fn runs_on(task: &TaskView, wanted: &str) -> bool {
    let id = task.facts.agent.as_ref().map(|agent| agent.as_str());
    let agent = task.agent.as_ref();
    id == Some(wanted)
        || agent.is_some_and(|a| *a.hostname == *wanted || a.address.is_some_and(|ip| ip.to_string() == wanted))
}

/// The state asked for, refused if there is none of that name: a misspelt state must not look like "no task".
fn state(query: &Query) -> Result<Option<&str>, ApiError> {
    const STATES: [&str; 13] = [
        "staging",
        "starting",
        "running",
        "killing",
        "unreachable",
        "lost",
        "ended",
        "unknown",
        "healthy",
        "unhealthy",
        "ready",
        "unverified",
        "draining",
    ];
    match query.text("state") {
        Some(state) if !STATES.contains(&state) => {
            let mend = format!("use one of: {}", STATES.join(", "));
            Err(ApiError::bad_request(format!("there is no state {state:?}"), mend))
        }
        state => Ok(state),
    }
}

/// The task that `wanted` names: cluster/framework/task, or its id or name where that is unambiguous.
///
/// # Errors
/// There is none, or more than one.
pub(crate) fn find<'a>(table: &'a Table, wanted: &str) -> Result<&'a Arc<TaskView>, ApiError> {
    if let Some(task) = full_key(wanted).and_then(|key| table.tasks.get(&key)) {
        return Ok(task);
    }
    let by_short_name =
        |(key, task): &(&TaskKey, &Arc<TaskView>)| key.task() == wanted || *task.facts.definition.name == *wanted;
    let mut found: Vec<_> = table.tasks.iter().filter(by_short_name).collect();
    match found.as_slice() {
        [] => {
            let mend = "/v1/tasks lists all; give cluster/framework/task, or a task's id or name if it is unambiguous";
            Err(ApiError::not_found(format!("no task is called {wanted:?}"), mend))
        }
        [(_, only)] => Ok(only),
        _ => {
            found.sort_by(|a, b| a.0.cmp(b.0));
            let message = format!("{wanted:?} stands for {} tasks", found.len());
            let candidates = found.iter().take(MAX_CANDIDATES).map(|(key, _)| key.to_string()).collect();
            Err(ApiError::ambiguous(message, candidates))
        }
    }
}

fn full_key(text: &str) -> Option<TaskKey> {
    let mut parts = text.splitn(3, '/');
    let (cluster, framework, task) = (parts.next()?, parts.next()?, parts.next()?);
    Some(TaskKey::new(cluster.into(), framework.into(), task))
}

fn endpoints(table: &Table, task: &TaskView) -> Vec<services::EndpointView> {
    let view = |(service, endpoint): (&ServiceId, EndpointId)| {
        let service = table.service(service)?;
        Some(services::EndpointViews::of(table, service).of_one(service.endpoint(&endpoint)?))
    };
    task.endpoints().filter_map(view).collect()
}
