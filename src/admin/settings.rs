//! `/v1/config` and `/v1/log`: what the program runs on, how the last reload went, how much it says.

use serde::{Deserialize, Serialize};
use tracing::info;

use super::context::{AdminContext, ReloadStatus};
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::security::Actor;
use crate::table::Table;

/// The longest log filter.
const MAX_LEVEL: usize = 1000;

/// The configuration in force.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConfigView {
    pub last_reload: ReloadStatus,
    /// The settings, secrets hidden.
    pub config: serde_json::Value,
    /// Worker threads that run.
    pub workers: usize,
}

/// A log level, asked for or set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// A level (`info`) or a filter (`info,pointsman::proxy=debug`).
    pub level: String,
}

/// GET /v1/config.
pub(crate) fn config(context: &AdminContext, table: &Table, query: &Query) -> Answer {
    query.only(&[])?;
    let last_reload = context.reload.borrow().clone();
    let config = (context.config_json)(&table.config);
    Reply::json(&ConfigView { last_reload, config, workers: context.workers })
}

/// PUT /v1/log.
pub(crate) fn set_log_level(context: &AdminContext, body: &[u8], actor: &Actor) -> Answer {
    let mend = "send {\"level\": \"info\"}, or a filter such as {\"level\": \"info,pointsman::proxy=debug\"}";
    let wanted: LogLevel = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is no log level: {error}"), mend))?;
    if wanted.level.is_empty() || wanted.level.len() > MAX_LEVEL {
        return Err(ApiError::bad_request(format!("a level has 1 to {MAX_LEVEL} characters"), mend));
    }
    (context.set_log_level)(&wanted.level)
        .map_err(|error| ApiError::bad_request(format!("{:?} is no level: {error}", wanted.level), mend))?;
    info!(actor = %actor.0, level = %wanted.level, "an operator changes the log level");
    Reply::json(&wanted)
}
