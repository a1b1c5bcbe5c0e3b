//! A cluster that changes a thousand times a second, and clients that ask meanwhile: over HTTP here, for names by
//! dnsperf. Every answer is checked against what was true when it was asked for.

pub mod cluster;
pub mod http;
pub mod machine;
pub mod names;

use std::time::Duration;

/// The value that `share` of all values do not exceed (nearest rank).
pub fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
