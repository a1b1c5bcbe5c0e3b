//! Metrics of Marathon sources, registered once, with a label for the source.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::cluster::sources::metrics;
use crate::model::id::SourceName;
use crate::model::time::Timestamp;

/// The metrics of all Marathon sources.
#[derive(Clone, Debug)]
pub struct MarathonMetrics {
    streams: IntCounterVec,
    failures: IntCounterVec,
    events: IntCounterVec,
    reads: IntCounterVec,
    bytes: IntCounterVec,
    live: IntGaugeVec,
    last_heard: IntGaugeVec,
}

/// The metrics of one source, resolved.
#[derive(Debug)]
pub struct SourceMetrics {
    /// Streams of events that were opened.
    pub streams: IntCounter,
    /// Streams and reads that failed.
    pub failures: IntCounter,
    /// Events of the kinds that are subscribed to.
    pub events: IntCounter,
    /// Reads of everything.
    pub reads_whole: IntCounter,
    /// Reads of one app or pod.
    pub reads_one: IntCounter,
    /// Octets of what was read.
    pub bytes: IntCounter,
    /// 1 while a stream is open and everything was read.
    pub live: IntGauge,
    last_heard: IntGauge,
}

impl MarathonMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counter(registry, name, help, labels);
        let gauge = |name: &str, help: &str| metrics::gauge(registry, name, help);
        let source: &[&str] = &["source"];
        Ok(Self {
            streams: counter("pointsman_marathon_streams_total", "Streams of events that were opened", source)?,
            failures: counter("pointsman_marathon_failures_total", "Streams and reads that failed", source)?,
            events: counter("pointsman_marathon_events_total", "Events that came", source)?,
            reads: counter(
                "pointsman_marathon_reads_total",
                "Answers that were read: of everything, or of one app or pod",
                &["source", "what"],
            )?,
            bytes: counter("pointsman_marathon_read_bytes_total", "Octets of answers that were read", source)?,
            live: gauge("pointsman_marathon_live", "1 while the stream is open and everything was read")?,
            last_heard: gauge(
                "pointsman_marathon_last_heard_timestamp_seconds",
                "When Marathon was heard last on its stream (heartbeats every 10 s); 0 if never",
            )?,
        })
    }

    /// The metrics of one source.
    pub fn source(&self, name: &SourceName) -> SourceMetrics {
        let labels: &[&str] = &[name.as_str()];
        let reads = |what| self.reads.with_label_values(&[name.as_str(), what]);
        SourceMetrics {
            streams: self.streams.with_label_values(labels),
            failures: self.failures.with_label_values(labels),
            events: self.events.with_label_values(labels),
            reads_whole: reads("everything"),
            reads_one: reads("one"),
            bytes: self.bytes.with_label_values(labels),
            live: self.live.with_label_values(labels),
            last_heard: self.last_heard.with_label_values(labels),
        }
    }
}

impl SourceMetrics {
    /// Something came on the stream.
    pub fn heard(&self, now: Timestamp) {
        metrics::show_time(&self.last_heard, now);
    }
}
