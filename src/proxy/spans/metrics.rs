//! What is counted of spans: each is exported, rejected, failed or dropped in the end.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What is counted of spans.
#[derive(Clone, Debug)]
pub struct SpanMetrics {
    /// The collector has taken them.
    pub exported: IntCounter,
    /// The collector has taken the others of their batch (OTLP, "Partial Success").
    pub rejected: IntCounter,
    /// The collector could not be reached, or did not want their batch, for good.
    pub failed: IntCounter,
    /// They came faster than they are taken.
    pub dropped: IntCounter,
    /// Batches that were taken.
    pub taken: IntCounter,
    /// Tries that failed and are repeated.
    pub retried: IntCounter,
    /// Batches that were given up.
    pub given_up: IntCounter,
    /// Spans that wait.
    pub waiting: IntGauge,
}

impl SpanMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Spans of requests: exported; rejected by the collector, which took others of their batch; failed with \
            their batch; dropped because they came faster than they are taken.";
        let spans = IntCounterVec::new(Opts::new("pointsman_proxy_otlp_spans_total", help), &["result"])?;
        let help = "Tries to give a batch of spans to the collector: taken, retried (the batch is sent again), failed (it \
            is given up).";
        let tries = IntCounterVec::new(Opts::new("pointsman_proxy_otlp_exports_total", help), &["result"])?;
        let waiting = IntGauge::new("pointsman_proxy_otlp_waiting_spans", "Spans that wait for the collector.")?;
        registry.register(Box::new(spans.clone()))?;
        registry.register(Box::new(tries.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        let spans = |result| spans.with_label_values(&[result]);
        let tries = |result| tries.with_label_values(&[result]);
        Ok(Self {
            exported: spans("exported"),
            rejected: spans("rejected"),
            failed: spans("failed"),
            dropped: spans("dropped"),
            taken: tries("taken"),
            retried: tries("retried"),
            given_up: tries("failed"),
            waiting,
        })
    }
}
