//! `/v1/drains`: takes tasks and agents out of service, and says when nothing is in flight there any more.
//!
//! An order goes to the writer like any other event; from the table that shows it on, nothing new begins at the subject's
//! endpoints, and DNS does not name it; but clients that a cookie keeps there may come for a while yet
//! ([`crate::table::out_of_service`]). What is in flight may go on for the drain time and is cut then, as with a task that its
//! cluster ends.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::command;
use super::context::AdminContext;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::security::Actor;
use super::tasks;
use crate::cluster::event::Command;
use crate::model::drain::{DrainOrder, DrainSubject};
use crate::model::endpoint::{Endpoint, EndpointState};
use crate::model::id::{AgentId, ClusterName};
use crate::model::run::EndpointRun;
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::out_of_service::keeps_until;
use crate::table::task::TaskView;

/// The time between two looks at what is in flight. A request that a worker began by the table before may be counted
/// only at the second look.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Looks in a row that must find nothing in flight.
const QUIET_LOOKS: u32 = 2;
/// The longest wait, seconds.
const MAX_WAIT: u64 = 3600;

/// What is out of service by an operator's word.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DrainList {
    pub generation: u64,
    pub drains: Vec<DrainView>,
}

/// One order, and how far it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DrainView {
    /// `task` or `agent`.
    pub kind: String,
    /// cluster/framework/task, or cluster/agent.
    pub subject: String,
    /// The agent's host name, once known.
    pub hostname: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
    /// Who gave the order.
    pub actor: String,
    /// The tasks there now.
    pub tasks: usize,
    /// Their endpoints.
    pub endpoints: usize,
    /// Requests and connections under way there.
    pub in_flight: u64,
    /// Until when clients that a cookie keeps there may come, in milliseconds since the Unix epoch; absent once nobody may.
    pub kept_until: Option<u64>,
    /// Nothing is under way there, and nobody may come any more.
    pub drained: bool,
}

/// GET /v1/drains.
pub(crate) fn list(table: &Table, query: &Query) -> Answer {
    query.only(&[])?;
    let drains = table.drains.iter().map(|(subject, order)| DrainView::of(table, subject, order)).collect();
    Reply::json(&DrainList { generation: table.generation, drains })
}

/// The task that a call names.
pub(crate) fn task(table: &Table, wanted: &str) -> Result<DrainSubject, ApiError> {
    Ok(DrainSubject::Task(tasks::find(table, wanted)?.facts.key.clone()))
}

/// The agent that a call names, by cluster/id, id, host name or address.
pub(crate) fn agent(table: &Table, wanted: &str) -> Result<DrainSubject, ApiError> {
    let mut found: Vec<DrainSubject> = Vec::new();
    let mut add = |cluster: &ClusterName, id: &AgentId| {
        let subject = DrainSubject::Agent(cluster.clone(), id.clone());
        if !found.contains(&subject) {
            found.push(subject);
        }
    };
    for (key, view) in table.tasks.iter() {
        if let Some(id) = &view.facts.agent
            && (tasks::runs_on(view, wanted) || is_full(wanted, key.cluster(), id))
        {
            add(key.cluster(), id);
        }
    }
    // One that has no task now.
    for (subject, _) in table.drains.iter() {
        if let DrainSubject::Agent(cluster, id) = subject
            && (id.as_str() == wanted || is_full(wanted, cluster, id))
        {
            add(cluster, id);
        }
    }
    match found.len() {
        0 => Err(ApiError::not_found(
            format!("no agent with a task is called {wanted:?}"),
            "give the agent's id, host name or address, as /v1/tasks shows them",
        )),
        1 => Ok(found.remove(0)),
        many => {
            let candidates = found.iter().map(name).collect();
            Err(ApiError::ambiguous(format!("{wanted:?} stands for {many} agents"), candidates))
        }
    }
}

/// GET, PUT and DELETE of /v1/drains/tasks/{task} and /v1/drains/agents/{agent}. `actor` gave the order, if it is one.
pub(crate) async fn order(
    context: &AdminContext,
    method: &Method,
    subject: DrainSubject,
    query: &Query,
    actor: Option<Actor>,
) -> Answer {
    match (method, actor) {
        (&Method::PUT, Some(actor)) => {
            query.only(&["wait"])?;
            let wait = wait_time(query)?;
            info!(actor = %actor.0, %subject, "an operator takes something out of service");
            let command = Command::Drain { subject: subject.clone(), actor: actor.0.into() };
            command::give_and_see(context, command, |table| table.drains.get(&subject).is_some()).await?;
            watch(context, &subject, wait).await
        }
        (&Method::DELETE, Some(actor)) => {
            query.only(&[])?;
            let order = context.table.load().drains.get(&subject).cloned().ok_or_else(|| not_drained(&subject))?;
            info!(actor = %actor.0, %subject, "an operator puts something back into service");
            let command = Command::Undrain { subject: subject.clone(), actor: actor.0.into() };
            let table = command::give_and_see(context, command, |table| table.drains.get(&subject).is_none()).await?;
            Reply::json(&DrainView::of(&table, &subject, &order))
        }
        _ => {
            query.only(&["wait"])?;
            let wait = wait_time(query)?;
            watch(context, &subject, wait).await
        }
    }
}

/// Answers when nothing is in flight at the subject any more (200), or after `wait` (202).
async fn watch(context: &AdminContext, subject: &DrainSubject, wait: Duration) -> Answer {
    let until = Instant::now() + wait;
    let survey = {
        let (table, subject) = (context.table.load(), subject.clone());
        // Beside the runtime's own threads: an agent's tasks are looked for among all.
        tokio::task::spawn_blocking(move || Survey::of(&table, &subject)).await
    };
    let survey = survey.map_err(|error| ApiError::internal(&error))?;
    // Tasks that come to the agent from here on are drained from their first moment: nothing is in flight there.
    let Some(Survey { mut view, runs }) = survey else { return Err(not_drained(subject)) };
    let (mut quiet, mut is_over) = (0, false);
    loop {
        view.in_flight = runs.iter().map(|run| run.in_flight()).sum();
        // A task that ended keeps nobody.
        view.kept_until = view.kept_until.filter(|until| !is_over && Timestamp::now().0 < *until);
        quiet = if view.in_flight == 0 && view.kept_until.is_none() { quiet + 1 } else { 0 };
        view.drained = quiet >= QUIET_LOOKS;
        if view.drained {
            return Reply::json(&view);
        }
        if Instant::now() >= until && quiet == 0 {
            return Reply::json_with(StatusCode::ACCEPTED, &view);
        }
        sleep(LOOK_PAUSE).await;
        let table = context.table.load();
        // The order for a task ends with the task, and what it had in flight may end later.
        is_over = matches!(subject, DrainSubject::Task(key) if !table.tasks.contains_key(key));
        if !is_over && table.drains.get(subject).is_none() {
            return Err(not_drained(subject));
        }
    }
}

/// An order, with what is looked at to see how far it is.
struct Survey {
    view: DrainView,
    runs: Vec<Arc<EndpointRun>>,
}

impl Survey {
    fn of(table: &Table, subject: &DrainSubject) -> Option<Self> {
        let order = table.drains.get(subject)?;
        let mut runs = Vec::new();
        for_each_endpoint(table, &tasks_of(table, subject), |endpoint| runs.push(endpoint.run.clone()));
        Some(Self { view: DrainView::of(table, subject, order), runs })
    }
}

impl DrainView {
    fn of(table: &Table, subject: &DrainSubject, order: &DrainOrder) -> Self {
        let (mut endpoints, mut in_flight, mut open, mut kept_until) = (0, 0, 0, None);
        let tasks = tasks_of(table, subject);
        for_each_endpoint(table, &tasks, |endpoint| {
            endpoints += 1;
            in_flight += endpoint.run.in_flight();
            open += usize::from(endpoint.state != EndpointState::Draining);
            kept_until = kept_until.max(keeps_until(table, endpoint));
        });
        let kept_until = kept_until.filter(|until| Timestamp::now() < *until).map(|until| until.0);
        let hostname = tasks.iter().find_map(|view| view.agent.as_ref().map(|agent| agent.hostname.to_string()));
        Self {
            kind: subject.kind().to_owned(),
            subject: name(subject),
            hostname,
            since: order.since.0,
            actor: order.actor.to_string(),
            tasks: tasks.len(),
            endpoints,
            in_flight,
            kept_until,
            drained: in_flight == 0 && open == 0 && kept_until.is_none(),
        }
    }
}

fn for_each_endpoint(table: &Table, tasks: &[&Arc<TaskView>], mut each: impl FnMut(&Endpoint)) {
    for view in tasks {
        for (service, id) in view.endpoints() {
            if let Some(endpoint) = table.service(service).and_then(|service| service.endpoint(&id)) {
                each(endpoint);
            }
        }
    }
}

fn tasks_of<'a>(table: &'a Table, subject: &DrainSubject) -> Vec<&'a Arc<TaskView>> {
    match subject {
        DrainSubject::Task(key) => table.tasks.get(key).into_iter().collect(),
        DrainSubject::Agent(cluster, agent) => table
            .tasks
            .iter()
            .filter(|(key, view)| key.cluster() == cluster && view.facts.agent.as_ref() == Some(agent))
            .map(|(_, view)| view)
            .collect(),
    }
}

fn wait_time(query: &Query) -> Result<Duration, ApiError> {
    let seconds = query.number::<u64>("wait")?.unwrap_or(0);
    if seconds > MAX_WAIT {
        let message = format!("wait={seconds} is too long");
        return Err(ApiError::bad_request(message, format!("give {MAX_WAIT} seconds at most")));
    }
    Ok(Duration::from_secs(seconds))
}

fn is_full(wanted: &str, cluster: &ClusterName, agent: &AgentId) -> bool {
    wanted.split_once('/').is_some_and(|(first, rest)| first == cluster.as_str() && rest == agent.as_str())
}

fn name(subject: &DrainSubject) -> String {
    match subject {
        DrainSubject::Task(key) => key.to_string(),
        DrainSubject::Agent(cluster, agent) => format!("{cluster}/{agent}"),
    }
}

fn not_drained(subject: &DrainSubject) -> ApiError {
    ApiError::not_found(format!("{subject} is not out of service by an operator's word"), "/v1/drains lists what is")
}
