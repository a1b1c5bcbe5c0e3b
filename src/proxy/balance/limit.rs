//! How many requests may be under way at an endpoint.
//!
//! HAProxy's `maxconn` of a server, counted in requests: of all workers together, so that a limit is what a task really
//! sees; it may be passed by one request a worker. While an endpoint starts slowly its limit grows with its share, from
//! one on (HAProxy's `slowstart`). Pure.

use std::time::Duration;

use super::choose::Ask;
use crate::config::checked::BalanceConfig;
use crate::model::endpoint::Endpoint;
use crate::model::service::Service;

/// How requests of a service wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many at a worker.
    pub most: usize,
    /// How long each.
    pub time: Duration,
}

/// Whether an endpoint may get one more request.
pub fn has_room(ask: &Ask<'_>, endpoint: &Endpoint) -> bool {
    match limit(endpoint, ask.config) {
        0 => true,
        limit => endpoint.run.in_flight() < grown(limit, ask.slow_start(endpoint)),
    }
}

/// How requests wait where all endpoints of a service are full, or `home`, on which a client is kept; `None`: there is no
/// limit, so nobody waits for one.
pub fn waiting(service: &Service, home: Option<&Endpoint>, config: &BalanceConfig) -> Option<Waiting> {
    let said = service.bounds().copied().unwrap_or_default();
    let most = said.max_queue.unwrap_or(config.max_queue);
    let waiting = Waiting { most: most as usize, time: said.queue_time.unwrap_or(config.queue_time) };
    // One without weight serves nobody but those that are kept on it.
    let mut all = service.available.iter().map(|endpoint| &**endpoint).chain(home);
    all.any(|endpoint| is_limited(endpoint, config)).then_some(waiting)
}

/// Whether an endpoint takes only so many requests at a time.
pub fn is_limited(endpoint: &Endpoint, config: &BalanceConfig) -> bool {
    limit(endpoint, config) > 0
}

/// Zero: none.
fn limit(endpoint: &Endpoint, config: &BalanceConfig) -> u32 {
    endpoint.bounds.as_ref().and_then(|bounds| bounds.max_requests).unwrap_or(config.max_requests)
}

fn grown(limit: u32, share: f64) -> u64 {
    let grown = (f64::from(limit) * share).ceil().clamp(1.0, f64::from(limit));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and from one to the limit")]
    let grown = grown as u64;
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_grows_with_the_share() {
        for (limit, share, expected) in [(10, 1.0, 10), (10, 0.1, 1), (10, 0.55, 6), (1, 0.1, 1), (1000, 0.5, 500)] {
            assert_eq!(grown(limit, share), expected, "{limit} {share}");
        }
    }
}
