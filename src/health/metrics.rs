//! What the checks count.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::model::check::CheckState;

/// Metrics of the checks.
#[derive(Clone, Debug)]
pub struct HealthMetrics {
    good: IntCounter,
    bad: IntCounter,
    targets: IntGaugeVec,
    /// Checks that began later than they were due because too many were under way.
    pub late: IntCounter,
}

impl HealthMetrics {
    /// Makes the numbers part of a registry.
    ///
    /// # Errors
    /// If they are part of it already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let checks =
            IntCounterVec::new(Opts::new("pointsman_health_checks_total", "Health checks by result."), &["result"])?;
        let targets = Opts::new("pointsman_health_endpoints", "Endpoints under active checks, by verdict.");
        let metrics = Self {
            good: checks.with_label_values(&["good"]),
            bad: checks.with_label_values(&["bad"]),
            targets: IntGaugeVec::new(targets, &["verdict"])?,
            late: IntCounter::new(
                "pointsman_health_checks_late_total",
                "Health checks that waited because too many were under way.",
            )?,
        };
        registry.register(Box::new(checks))?;
        registry.register(Box::new(metrics.targets.clone()))?;
        registry.register(Box::new(metrics.late.clone()))?;
        Ok(metrics)
    }

    /// Counts a check.
    pub fn checked(&self, succeeded: bool) {
        if succeeded { self.good.inc() } else { self.bad.inc() }
    }

    /// So many endpoints have each verdict.
    pub fn show(&self, count: impl Fn(CheckState) -> usize) {
        for state in CheckState::ALL {
            self.targets.with_label_values(&[state.as_str()]).set(i64::try_from(count(state)).unwrap_or(i64::MAX));
        }
    }
}
