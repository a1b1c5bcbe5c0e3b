//! `/v1/table`: which version is in force, which were before, and what differs between them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::AdminContext;
use super::paging::Page;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::services::{RouteView, ServiceSummary};
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::difference::diff;
use crate::table::handle::TableHandle;
use crate::table::history::{Version, VersionRecord};

/// The most routes that a version shows.
const MAX_ROUTES: usize = 10_000;

/// One version, without its content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableVersion {
    /// Tells the tables of two instances, or of two lives of one, apart; 16 hex digits.
    pub epoch: String,
    pub generation: u64,
    /// Equal on instances that see the same cluster; 16 hex digits.
    pub digest: String,
    /// Milliseconds since the Unix epoch.
    pub built_at: u64,
    pub age_seconds: u64,
    /// Whether a source that answers depend on is not live.
    pub stale: bool,
    pub ready: bool,
    pub counts: Counts,
}

/// How much a version holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub services: usize,
    pub routes: usize,
    pub tasks: usize,
    /// Subjects that have a problem.
    pub subjects_with_problems: usize,
    pub sources: usize,
}

/// The versions that are kept, newest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableHistory {
    pub versions: Vec<HistoryEntry>,
}

/// One version that is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HistoryEntry {
    pub generation: u64,
    pub built_at: u64,
    pub digest: String,
    pub services: usize,
    pub tasks: usize,
    pub record: VersionRecord,
}

/// One version with its content.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableContent {
    pub version: TableVersion,
    pub record: VersionRecord,
    pub services: Vec<ServiceSummary>,
    /// Where the next page of services begins, if there is one.
    pub next_cursor: Option<String>,
    pub routes: Vec<RouteView>,
    /// Whether there are more routes than are shown.
    pub routes_truncated: bool,
}

/// GET /v1/table.
pub(crate) fn current(table: &Table, query: &Query, now: Timestamp) -> Answer {
    query.only(&[])?;
    Reply::json(&TableVersion::of(table, now))
}

/// GET /v1/table/history.
pub(crate) fn history(context: &AdminContext, query: &Query) -> Answer {
    query.only(&[])?;
    let kept: Vec<Version> = context.table.history().iter().cloned().collect();
    let versions = kept.into_iter().rev().map(HistoryEntry::of).collect();
    Reply::json(&TableHistory { versions })
}

/// GET /v1/table/{generation}.
pub(crate) fn content(context: &AdminContext, generation: &str, query: &Query, now: Timestamp) -> Answer {
    query.only(&["limit", "cursor"])?;
    let page = Page::of(query)?;
    let generation = generation.parse().map_err(|_| {
        let message = format!("{generation:?} is no version of the table");
        ApiError::bad_request(message, "give a generation, a whole number; /v1/table/history lists them")
    })?;
    let Version { table, record } = version(&context.table, generation)?;
    let (services, next_cursor) = page.take(table.services.iter().map(|(id, service)| (id.to_string(), service)));
    let services = services.into_iter().map(|service| ServiceSummary::of(service)).collect();
    let routes = table.routes.sorted();
    Reply::json(&TableContent {
        version: TableVersion::of(&table, now),
        record,
        services,
        next_cursor,
        routes_truncated: routes.len() > MAX_ROUTES,
        routes: routes.into_iter().take(MAX_ROUTES).map(|route| RouteView::of(route)).collect(),
    })
}

/// GET /v1/table/diff.
pub(crate) fn difference(context: &AdminContext, query: &Query) -> Answer {
    query.only(&["from", "to"])?;
    let (from, to) = (query.required("from")?, query.required("to")?);
    let (from, to) = (version(&context.table, from)?, version(&context.table, to)?);
    Reply::json(&diff(&from.table, &to.table))
}

impl TableVersion {
    pub(crate) fn of(table: &Table, now: Timestamp) -> Self {
        Self {
            epoch: format!("{:016x}", table.epoch),
            generation: table.generation,
            digest: format!("{:016x}", table.digest),
            built_at: table.built_at.0,
            age_seconds: now.since(table.built_at).as_secs(),
            stale: table.is_stale(),
            ready: table.ready,
            counts: Counts {
                services: table.services.len(),
                routes: table.routes.iter().count(),
                tasks: table.tasks.len(),
                subjects_with_problems: table.problems.len(),
                sources: table.sources.len(),
            },
        }
    }
}

impl HistoryEntry {
    fn of(version: Version) -> Self {
        let Version { table, record } = version;
        Self {
            generation: table.generation,
            built_at: table.built_at.0,
            digest: format!("{:016x}", table.digest),
            services: table.services.len(),
            tasks: table.tasks.len(),
            record,
        }
    }
}

/// The version of this generation. The current one is always found, even before the first was published.
fn version(handle: &TableHandle, generation: u64) -> Result<Version, ApiError> {
    let current: Arc<Table> = handle.load();
    let history = handle.history();
    if let Some(version) = history.version(generation) {
        return Ok(version.clone());
    }
    if current.generation == generation {
        return Ok(Version { table: current, record: VersionRecord::default() });
    }
    let oldest = history.iter().next().map_or(current.generation, |version| version.table.generation);
    let message = format!("version {generation} is not kept");
    let mend = format!("versions {oldest} to {} are; server.history sets how many", current.generation);
    Err(ApiError::not_found(message, mend))
}
