//! Metrics of Mesos sources, registered once, with a label for the source.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::session::{Counts, EVENT_KINDS};
use crate::cluster::sources::metrics;
use crate::model::id::SourceName;
use crate::model::time::Timestamp;

/// The metrics of all Mesos sources.
#[derive(Clone, Debug)]
pub struct MesosMetrics {
    subscriptions: IntCounterVec,
    failures: IntCounterVec,
    bytes: IntCounterVec,
    unreadable: IntCounterVec,
    events: IntCounterVec,
    live: IntGaugeVec,
    last_heard: IntGaugeVec,
}

/// The metrics of one source, resolved.
#[derive(Debug)]
pub struct SourceMetrics {
    subscriptions: IntCounter,
    failures: IntCounter,
    bytes: IntCounter,
    unreadable: IntCounter,
    events: Vec<IntCounter>,
    live: IntGauge,
    last_heard: IntGauge,
}

impl MesosMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counter(registry, name, help, labels);
        let gauge = |name: &str, help: &str| metrics::gauge(registry, name, help);
        let source: &[&str] = &["source"];
        Ok(Self {
            subscriptions: counter(
                "pointsman_mesos_subscriptions_total",
                "Subscriptions that a master granted, and reads of its state that it began to answer",
                source,
            )?,
            failures: counter("pointsman_mesos_failures_total", "Attempts, streams and listings that failed", source)?,
            bytes: counter(
                "pointsman_mesos_stream_bytes_total",
                "Bytes of event streams and states, as they came",
                source,
            )?,
            unreadable: counter(
                "pointsman_mesos_unreadable_total",
                "Events and elements that could not be read",
                source,
            )?,
            events: counter(
                "pointsman_mesos_events_total",
                "Events and elements of snapshots, by type",
                &["source", "type"],
            )?,
            live: gauge(
                "pointsman_mesos_live",
                "1 while the stream is open and its snapshot complete, or the last read of the state went well",
            )?,
            last_heard: gauge(
                "pointsman_mesos_last_heard_timestamp_seconds",
                "When the master was heard last (heartbeats every 15 s); 0 if never",
            )?,
        })
    }

    /// The metrics of one source.
    pub fn source(&self, name: &SourceName) -> SourceMetrics {
        let labels: &[&str] = &[name.as_str()];
        let event = |kind: &&str| self.events.with_label_values(&[name.as_str(), kind]);
        SourceMetrics {
            subscriptions: self.subscriptions.with_label_values(labels),
            failures: self.failures.with_label_values(labels),
            bytes: self.bytes.with_label_values(labels),
            unreadable: self.unreadable.with_label_values(labels),
            events: EVENT_KINDS.iter().map(event).collect(),
            live: self.live.with_label_values(labels),
            last_heard: self.last_heard.with_label_values(labels),
        }
    }
}

impl SourceMetrics {
    /// Adds what happened since the last call.
    pub fn add(&self, counts: &Counts, is_live: bool, now: Timestamp) {
        self.subscriptions.inc_by(counts.subscriptions);
        self.failures.inc_by(counts.failures);
        self.unreadable.inc_by(counts.unreadable);
        self.live.set(i64::from(is_live));
        if counts.bytes > 0 {
            self.bytes.inc_by(counts.bytes);
            metrics::show_time(&self.last_heard, now);
            for (counter, count) in self.events.iter().zip(counts.events) {
                counter.inc_by(count);
            }
        }
    }
}
