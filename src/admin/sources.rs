//! `/v1/sources`: how current each source is, and the operator's word on removals that the guard holds back.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::command;
use super::context::AdminContext;
use super::nearest::nearest;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::security::Actor;
use crate::cluster::event::Command;
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::status::{HeldRemovals, SourceStatus};

/// All sources.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceList {
    pub generation: u64,
    pub sources: Vec<SourceView>,
}

/// One source.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceView {
    pub name: String,
    /// `mesos` or `file`.
    pub kind: String,
    /// `waiting`, `live` or `stale`.
    pub state: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
    pub since_seconds: u64,
    /// Why it is not live, where it is not.
    pub error: Option<String>,
    /// Whether a complete snapshot, or what was stored, has been applied.
    pub complete: bool,
    pub tasks: usize,
    pub agents: usize,
    /// Agents that a new leader recovered and that are not back yet.
    pub recovered_agents: usize,
    /// Removals that the guard holds back.
    pub held: Option<HeldView>,
}

/// Removals that the guard holds back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeldView {
    /// How many tasks would go.
    pub tasks: usize,
    /// Of how many.
    pub of: usize,
    pub since: u64,
    /// When they will be believed without another read; never by time alone where absent.
    pub until: Option<u64>,
    pub reason: String,
}

/// The answer to an accepted command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub source: String,
    /// How many removals were held when the command came.
    pub tasks: usize,
}

/// GET /v1/sources.
pub(crate) fn list(table: &Table, query: &Query, now: Timestamp) -> Answer {
    query.only(&[])?;
    let sources = table.sources.iter().map(|source| SourceView::of(source, now)).collect();
    Reply::json(&SourceList { generation: table.generation, sources })
}

/// POST /v1/sources/{name}/accept-removals.
pub(crate) async fn accept_removals(context: &AdminContext, name: &str, actor: &Actor) -> Answer {
    let (source, tasks) = {
        let table = context.table.load();
        let status = table.sources.iter().find(|source| source.name.as_str() == name);
        let status = status.ok_or_else(|| unknown(&table, name))?;
        let held = status.held.as_ref().ok_or_else(|| nothing_held(name))?;
        (status.name.clone(), held.tasks)
    };
    info!(actor = %actor.0, %source, tasks, "an operator accepts held removals");
    let command = Command::AcceptRemovals { source, actor: actor.0.as_str().into() };
    command::give(context, command).await?;
    Reply::json_with(StatusCode::ACCEPTED, &Accepted { source: name.to_owned(), tasks })
}

impl SourceView {
    fn of(source: &SourceStatus, now: Timestamp) -> Self {
        Self {
            name: source.name.to_string(),
            kind: source.kind.to_owned(),
            state: source.state.as_str().to_owned(),
            since: source.since.0,
            since_seconds: now.since(source.since).as_secs(),
            error: source.error.as_ref().map(ToString::to_string),
            complete: source.complete,
            tasks: source.tasks,
            agents: source.agents,
            recovered_agents: source.recovered_agents,
            held: source.held.as_ref().map(HeldView::of),
        }
    }
}

impl HeldView {
    fn of(held: &HeldRemovals) -> Self {
        Self {
            tasks: held.tasks,
            of: held.of,
            since: held.since.0,
            until: held.until.map(|at| at.0),
            reason: held.reason.to_string(),
        }
    }
}

fn unknown(table: &Table, name: &str) -> ApiError {
    let names = || table.sources.iter().map(|source| source.name.as_str());
    let near = nearest(name, names(), 5).into_iter().map(str::to_owned).collect();
    let mend = format!("use one of: {}", names().collect::<Vec<_>>().join(", "));
    ApiError::not_found(format!("there is no source {name:?}"), mend).with_candidates(near)
}

fn nothing_held(name: &str) -> ApiError {
    let message = format!("the source {name:?} has no removals held back");
    ApiError::new(StatusCode::CONFLICT, "nothing-held", message, "nothing needs to be accepted; see /v1/sources")
}
