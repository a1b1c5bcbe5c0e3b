//! Records that wait, and the batch that they become. Pure, but for what is counted.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message as _;
use tokio::time::Instant;

use super::message;
use crate::config::otlp::OtlpConfig;
use crate::proxy::spans::metrics::SpanMetrics;
use crate::proxy::spans::request::Record;

/// Records that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    records: VecDeque<Record>,
    spans: usize,
    /// Since when the first of them is there.
    since: Option<Instant>,
}

/// Spans that are sent together.
#[derive(Debug)]
pub(super) struct Batch {
    body: Bytes,
    /// How many they are.
    pub(super) spans: u64,
    /// How often they were sent.
    pub(super) tries: u32,
    at: Instant,
}

impl Batch {
    /// When they are to be sent.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// They are sent again, then.
    pub(super) fn again_at(&mut self, at: Instant) {
        self.at = at;
    }

    /// They are sent now.
    pub(super) fn begin_try(&mut self) -> Bytes {
        self.tries += 1;
        self.body.clone()
    }
}

impl Queue {
    /// Adds what there is room for; the rest is dropped.
    pub(super) fn add(&mut self, records: Vec<Record>, config: &OtlpConfig, metrics: &SpanMetrics) {
        for record in records {
            let spans = record.spans();
            if config.endpoint.is_none() || self.spans + spans > config.queue {
                metrics.dropped.inc_by(spans as u64);
                continue;
            }
            self.spans += spans;
            self.since.get_or_insert_with(Instant::now);
            self.records.push_back(record);
        }
        self.tell(metrics);
    }

    /// When a batch is to be sent: at once if it is full.
    pub(super) fn due(&self, config: &OtlpConfig) -> Option<Instant> {
        let since = self.since?;
        let is_full = self.spans >= config.batch.min(config.queue);
        Some(if is_full { since } else { since + config.delay })
    }

    /// Takes the oldest, at least one.
    pub(super) fn take(&mut self, config: &OtlpConfig, metrics: &SpanMetrics) -> Option<Batch> {
        let (mut records, mut spans) = (Vec::new(), 0);
        while let Some(record) = self.records.front() {
            if spans > 0 && spans + record.spans() > config.batch {
                break;
            }
            spans += record.spans();
            records.extend(self.records.pop_front());
        }
        self.spans -= spans;
        // For those that are left a new wait begins.
        self.since = (self.spans > 0).then(Instant::now);
        self.tell(metrics);
        let body = message::of(config, &records).encode_to_vec().into();
        (spans > 0).then(|| Batch { body, spans: spans as u64, tries: 0, at: Instant::now() })
    }

    /// Forgets all; returns how many spans they were.
    pub(super) fn clear(&mut self, metrics: &SpanMetrics) -> u64 {
        let spans = std::mem::take(self).spans;
        self.tell(metrics);
        spans as u64
    }

    fn tell(&self, metrics: &SpanMetrics) {
        metrics.waiting.set(i64::try_from(self.spans).unwrap_or(i64::MAX));
    }
}
