//! Endpoints that an operator took out of service: for how long the clients that a cookie keeps on them may still come.
//!
//! Pure. The task lives on until the operator ends it, and what its clients have there (a basket, an upload in parts) may
//! be in its memory alone. A task that its cluster ends keeps nobody: it may be gone before it answers.

use std::time::Duration;

use super::Table;
use super::build::task::endpoint_state;
use crate::model::check::CheckState;
use crate::model::endpoint::{Endpoint, EndpointState};
use crate::model::time::Timestamp;

/// What is left of the drain time for what such clients begin last, before it is cut.
const LAST: Duration = Duration::from_secs(10);

/// Until when the clients of an endpoint may come although an operator took it out of service; `None`: they are sent to
/// another one, because it keeps none, was not taken out of service, or would not be served without the order either.
pub fn keeps_until(table: &Table, endpoint: &Endpoint) -> Option<Timestamp> {
    if !endpoint.sticky || endpoint.state != EndpointState::Draining {
        return None;
    }
    let view = table.tasks.get(&endpoint.id.task)?;
    let since = table.drains.since(&view.facts)?;
    // What is out of service is not checked any more: only a check that failed before says something.
    let fails = view.verdicts.iter().flat_map(|all| all.values()).any(|verdict| verdict.state == CheckState::Bad);
    let lives = endpoint_state(&view.facts, &table.config) == EndpointState::Ready;
    let drain_time = table.config.routing.drain_time;
    let drain_time = endpoint.drain_time.map_or(drain_time, |own| own.min(drain_time));
    (lives && !fails).then(|| since.plus(time(drain_time)))
}

/// The part of a drain time in which clients may come: all but ten seconds, or half of it where it is short.
fn time(drain_time: Duration) -> Duration {
    drain_time.saturating_sub(LAST.min(drain_time / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_last_has_time_to_end() {
        for (drain_time, expected) in [(60, 50), (20, 10), (10, 5), (0, 0)] {
            assert_eq!(time(Duration::from_secs(drain_time)), Duration::from_secs(expected), "{drain_time}");
        }
    }
}
