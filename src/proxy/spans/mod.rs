//! Spans of requests for a collector of OpenTelemetry: one of the request itself and one of each try at an endpoint.
//!
//! ```text
//!  worker: a request that is recorded ([`request`]) ── when it is over, many together ──▶ bounded channel ──┐
//!  control: collector ◀── batches, one at a time, again where that helps (`otlp`) ◀── bounded queue ◀───────┘
//! ```
//!
//! Invariants: no request waits for a collector; what comes faster than it is taken is dropped, and counted
//! ([`metrics`]). A request whose trace is not marked to be recorded has nothing of all this.
//!
//! Only what sends is a feature (`otlp`): without it no configuration asks for spans ([`crate::config::otlp::IS_BUILT`]),
//! so that none is made.

pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod request;

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use metrics::SpanMetrics;
use request::Record;

/// Requests that a worker gathers before it gives them away: waking another thread for each would cost more than the
/// request …
const GATHERED: usize = 64;
/// … or so long after the first of them.
const PAUSE: Duration = Duration::from_millis(100);
/// Of these, so many may be on their way: the other end takes them at once, whatever the collector does.
const UNDER_WAY: usize = 256;

/// A worker's way to whoever sends.
#[derive(Clone, Debug)]
pub struct SpanSender {
    records: mpsc::Sender<Vec<Record>>,
    metrics: SpanMetrics,
}

/// The other end.
pub type SpanReceiver = mpsc::Receiver<Vec<Record>>;

/// Both ends.
pub fn channel(metrics: SpanMetrics) -> (SpanSender, SpanReceiver) {
    let (records, receiver) = mpsc::channel(UNDER_WAY);
    (SpanSender { records, metrics }, receiver)
}

impl SpanSender {
    fn give(&self, records: Vec<Record>) {
        if let Err(refused) = self.records.try_send(records) {
            let records = refused.into_inner();
            self.metrics.dropped.inc_by(records.iter().map(|record| record.spans() as u64).sum());
        }
    }
}

/// What a worker gathers for whoever sends.
#[derive(Debug, Default)]
pub struct Spans {
    sender: Option<SpanSender>,
    gathered: RefCell<Vec<Record>>,
    /// Something waits to be given away.
    begun: Notify,
}

impl Spans {
    /// Gathers for `sender`; without one nothing is gathered.
    pub fn new(sender: Option<SpanSender>) -> Self {
        Self { sender, gathered: RefCell::default(), begun: Notify::new() }
    }

    /// A request is over.
    pub fn ended(&self, make: impl FnOnce() -> Record) {
        if self.sender.is_none() {
            return;
        }
        let count = {
            let mut gathered = self.gathered.borrow_mut();
            gathered.push(make());
            gathered.len()
        };
        match count {
            1 => self.begun.notify_one(),
            GATHERED.. => self.give(),
            _ => {}
        }
    }

    /// Gives away what was gathered; never waits.
    pub fn give(&self) {
        let gathered = self.gathered.take();
        if let Some(sender) = self.sender.as_ref().filter(|_| !gathered.is_empty()) {
            sender.give(gathered);
        }
    }

    /// Gives away what has waited for a moment, for ever.
    pub async fn run(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(PAUSE).await;
            self.give();
        }
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        self.give();
    }
}
