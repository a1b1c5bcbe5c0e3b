//! How an operator's command reaches the writer, and how it is seen to have been carried out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::context::AdminContext;
use super::reply::ApiError;
use crate::cluster::event::{ClusterEvent, Command};
use crate::table::Table;

/// How long a command may wait for the writer, and the table for the command.
const COMMAND_TIME: Duration = Duration::from_secs(5);

/// Gives a command to the writer.
///
/// # Errors
/// 503 where the writer does not take it in time, or has ended.
pub(super) async fn give(context: &AdminContext, command: Command) -> Result<(), ApiError> {
    give_until(context, command, Instant::now() + COMMAND_TIME).await
}

/// Gives a command to the writer and waits for a table that shows what it did.
///
/// # Errors
/// As for [`give`]; also where no such table comes in time.
pub(super) async fn give_and_see(
    context: &AdminContext,
    command: Command,
    is_done: impl Fn(&Table) -> bool,
) -> Result<Arc<Table>, ApiError> {
    let deadline = Instant::now() + COMMAND_TIME;
    let mut generations = context.table.watch();
    give_until(context, command, deadline).await?;
    loop {
        let table = context.table.load();
        if is_done(&table) {
            return Ok(table);
        }
        // Cancel safe: no value is taken, only looked at.
        let changed = timeout_at(deadline, generations.changed()).await.map_err(|_| busy())?;
        changed.map_err(|_| stopping())?;
    }
}

async fn give_until(context: &AdminContext, command: Command, deadline: Instant) -> Result<(), ApiError> {
    let sent = timeout_at(deadline, context.events.send(ClusterEvent::Command(command))).await;
    sent.map_err(|_| busy())?.map_err(|_| stopping())
}

fn busy() -> ApiError {
    ApiError::unavailable("the writer is busy and did not take the command", "try again")
}

fn stopping() -> ApiError {
    ApiError::unavailable("the program is stopping", "ask again once it is back")
}
