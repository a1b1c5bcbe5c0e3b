//! How the metrics of sources are made: registered once for all sources of a kind, with a label for the source.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::model::time::Timestamp;

/// A counter for each source, and each value of what else is in `labels`.
///
/// # Errors
/// It is registered already.
pub(super) fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// A gauge for each source.
///
/// # Errors
/// It is registered already.
pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    let gauge = IntGaugeVec::new(Opts::new(name, help), &["source"])?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Shows a time, in seconds.
pub(super) fn show_time(gauge: &IntGauge, at: Timestamp) {
    gauge.set(i64::try_from(at.0 / 1000).unwrap_or(i64::MAX));
}
