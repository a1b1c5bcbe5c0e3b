//! Metrics of the writer and the store.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

use crate::model::time::Timestamp;

/// What the writer counts.
#[derive(Clone, Debug)]
pub(super) struct WriterMetrics {
    events: IntCounter,
    publish: Histogram,
    queue: IntGauge,
    ignored: IntGauge,
}

/// What the store counts.
#[derive(Clone, Debug)]
pub(super) struct StoreMetrics {
    stored: IntGauge,
    failures: IntCounter,
    duration: Histogram,
}

impl WriterMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let buckets = prometheus::exponential_buckets(0.000_005, 2.0, 18)?;
        let publish = HistogramOpts::new(
            "pointsman_table_publish_seconds",
            "Time from taking a batch of events to its table being current.",
        );
        let metrics = Self {
            events: IntCounter::new("pointsman_table_events_total", "Events that led to a new table.")?,
            publish: Histogram::with_opts(publish.buckets(buckets))?,
            queue: IntGauge::new("pointsman_writer_queue_events", "Events that wait for the writer.")?,
            ignored: IntGauge::new(
                "pointsman_writer_ignored_facts",
                "Facts ignored so far: of an older stream, of unknown tasks, of unknown sources.",
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.publish.clone()))?;
        registry.register(Box::new(metrics.queue.clone()))?;
        registry.register(Box::new(metrics.ignored.clone()))?;
        Ok(metrics)
    }

    pub(super) fn applied(&self, queue: usize, ignored: u64) {
        self.queue.set(i64::try_from(queue).unwrap_or(i64::MAX));
        self.ignored.set(i64::try_from(ignored).unwrap_or(i64::MAX));
    }

    pub(super) fn published(&self, events: usize, elapsed: Duration) {
        self.events.inc_by(events as u64);
        self.publish.observe(elapsed.as_secs_f64());
    }
}

impl StoreMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            stored: IntGauge::new(
                "pointsman_store_last_success_timestamp_seconds",
                "When the state was last stored; 0 if never.",
            )?,
            failures: IntCounter::new("pointsman_store_failures_total", "Attempts to store the state that failed.")?,
            duration: Histogram::with_opts(HistogramOpts::new(
                "pointsman_store_seconds",
                "Time it took to store the state.",
            ))?,
        };
        registry.register(Box::new(metrics.stored.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        Ok(metrics)
    }

    pub(super) fn stored(&self, elapsed: Duration) {
        self.stored.set(i64::try_from(Timestamp::now().0 / 1000).unwrap_or(i64::MAX));
        self.duration.observe(elapsed.as_secs_f64());
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
