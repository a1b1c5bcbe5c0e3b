//! What the ledger tells Prometheus.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::record::{Deploy, Outcome};

/// The ledger's metrics.
#[derive(Clone, Debug)]
pub struct DeployMetrics {
    ended: IntCounterVec,
    running: IntGauge,
    requests: IntCounter,
    lost: IntCounter,
    cut: IntCounter,
    unrecorded: IntGauge,
    deployments: IntGauge,
}

impl DeployMetrics {
    /// Makes the metrics part of a registry.
    ///
    /// # Errors
    /// They are part of it already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let metrics = Self {
            ended: IntCounterVec::new(
                Opts::new("pointsman_deploys_total", "Deploys that are over, by how they ended."),
                &["outcome"],
            )?,
            running: IntGauge::new("pointsman_deploys_running", "Deploys that are under way.")?,
            requests: counter("pointsman_deploy_requests_total", "Requests to services during deploys that are over.")?,
            lost: counter(
                "pointsman_deploy_lost_total",
                "Of these, requests that no endpoint answered and that were answered with an error in its place.",
            )?,
            cut: counter("pointsman_deploy_cut_total", "Of these, requests whose answer broke off.")?,
            unrecorded: IntGauge::new(
                "pointsman_deploys_unrecorded",
                "Deploys that were not recorded because too many were under way.",
            )?,
            deployments: IntGauge::new(
                "pointsman_framework_deployments_running",
                "Deployments that frameworks (Marathon) say are under way.",
            )?,
        };
        for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Running) {
            metrics.ended.with_label_values(&[outcome.as_str()]);
        }
        registry.register(Box::new(metrics.ended.clone()))?;
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.cut.clone()))?;
        registry.register(Box::new(metrics.unrecorded.clone()))?;
        registry.register(Box::new(metrics.deployments.clone()))?;
        Ok(metrics)
    }

    pub(super) fn show(&self, running: usize, unrecorded: u64, deployments: usize) {
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.deployments.set(i64::try_from(deployments).unwrap_or(i64::MAX));
        self.unrecorded.set(i64::try_from(unrecorded).unwrap_or(i64::MAX));
    }

    pub(super) fn ended(&self, deploy: &Deploy) {
        self.ended.with_label_values(&[deploy.outcome.as_str()]).inc();
        self.requests.inc_by(deploy.tally.requests);
        self.lost.inc_by(deploy.tally.lost);
        self.cut.inc_by(deploy.tally.cut);
    }
}
