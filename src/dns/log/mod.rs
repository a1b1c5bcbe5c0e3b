//! What was asked and answered, written down by choice: as lines (query log) and as dnstap.
//!
//! ```text
//!  worker ── a batch of answers, as they were sent ──▶ bounded channel ──▶ thread `dns-log` ──▶ file, dnstap
//! ```
//!
//! Invariants: an answer never waits for this: what the thread does not take in time is dropped and counted. Nothing is
//! read of a message on a worker; lines are made on the thread.

mod dnstap;
mod file;
mod frames;
mod line;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use prometheus::{IntCounterVec, Opts, Registry};

use super::wire::Transport;
use crate::config::checked::{DnsConfig, DnsLogConfig};
use crate::table::handle::TableHandle;
use dnstap::Tap;
use file::LineFile;

/// Batches that may wait to be written.
const QUEUE: usize = 256;

/// Octets that a worker gathers before it gives them away.
const BATCH: usize = 64 * 1024;

/// How often the thread looks at what is configured, while nothing comes.
const LOOK: Duration = Duration::from_millis(200);

/// Answers of one worker, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    octets: Vec<u8>,
    heads: Vec<Head>,
}

/// What is known of an answer besides its octets.
#[derive(Clone, Copy, Debug)]
struct Head {
    at: SystemTime,
    client: Option<IpAddr>,
    transport: Transport,
    query: usize,
    answer: usize,
}

/// An answer in a batch.
struct Entry<'a> {
    at: SystemTime,
    client: Option<IpAddr>,
    transport: Transport,
    /// Empty where it is not known any more: others were asked meanwhile.
    query: &'a [u8],
    answer: &'a [u8],
}

impl Batch {
    fn add(&mut self, head: Head, query: &[u8], answer: &[u8]) {
        self.octets.extend_from_slice(query);
        self.octets.extend_from_slice(answer);
        self.heads.push(head);
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = self.octets.as_slice();
        self.heads.iter().map(move |head| {
            let (query, behind) = rest.split_at(head.query);
            let (answer, behind) = behind.split_at(head.answer);
            rest = behind;
            Entry { at: head.at, client: head.client, transport: head.transport, query, answer }
        })
    }
}

/// What the log counts.
#[derive(Clone, Debug)]
pub struct LogMetrics(IntCounterVec);

impl LogMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "pointsman_dns_log_entries_total",
            "Answers for the query log and dnstap: written, or dropped because they came faster than they are written.",
        );
        let entries = IntCounterVec::new(opts, &["result"])?;
        for result in [WRITTEN, DROPPED] {
            entries.with_label_values(&[result]);
        }
        registry.register(Box::new(entries.clone()))?;
        Ok(Self(entries))
    }

    fn count(&self, result: &str, entries: usize) {
        self.0.with_label_values(&[result]).inc_by(u64::try_from(entries).unwrap_or(u64::MAX));
    }
}

const WRITTEN: &str = "written";
const DROPPED: &str = "dropped";

/// One worker's end of the log.
#[derive(Clone, Debug)]
pub struct LogSender {
    batches: SyncSender<Batch>,
    metrics: LogMetrics,
}

/// What a worker gathers for the log.
#[derive(Debug)]
pub(crate) struct Gathering {
    sender: LogSender,
    batch: Batch,
    /// Answers since one was written down.
    passed: u32,
}

impl Gathering {
    pub(crate) fn new(sender: LogSender) -> Self {
        Self { sender, batch: Batch::default(), passed: 0 }
    }

    /// Notes an answer, if it is its turn.
    pub(crate) fn note(
        &mut self,
        config: &DnsConfig,
        (transport, client): (Transport, Option<IpAddr>),
        query: &[u8],
        answer: &[u8],
    ) {
        if !config.log.is_on() {
            return;
        }
        self.passed += 1;
        if self.passed < config.log.sample {
            return;
        }
        self.passed = 0;
        let head = Head { at: SystemTime::now(), client, transport, query: query.len(), answer: answer.len() };
        self.batch.add(head, query, answer);
        if self.batch.octets.len() >= BATCH {
            self.give();
        }
    }

    /// Gives away what was gathered; never waits.
    pub(crate) fn give(&mut self) {
        if self.batch.heads.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let count = batch.heads.len();
        if self.sender.batches.try_send(batch).is_err() {
            self.sender.metrics.count(DROPPED, count);
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct LogThread(std::thread::JoinHandle<()>);

impl LogThread {
    /// Starts it; it ends when all senders are gone, and what they have sent is written.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(table: Arc<TableHandle>, metrics: LogMetrics) -> std::io::Result<(Self, LogSender)> {
        let (batches, receiver) = sync_channel(QUEUE);
        let sender = LogSender { batches, metrics: metrics.clone() };
        let thread = std::thread::Builder::new().name("dns-log".into()).spawn(move || {
            Writing { table, metrics, config: DnsLogConfig::default(), lines: None, tap: None }.run(&receiver);
        })?;
        Ok((Self(thread), sender))
    }

    /// Waits for its end.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread of the DNS log panicked");
        }
    }
}

/// What is written to.
struct Writing {
    table: Arc<TableHandle>,
    metrics: LogMetrics,
    config: DnsLogConfig,
    lines: Option<LineFile>,
    tap: Option<Tap>,
}

impl Writing {
    fn run(&mut self, batches: &Receiver<Batch>) {
        loop {
            let batch = match batches.recv_timeout(LOOK) {
                Ok(batch) => Some(batch),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            };
            self.configure();
            if let Some(batch) = batch {
                self.write(&batch);
            }
        }
    }

    /// Opens what is configured, where that is something else than before.
    fn configure(&mut self) {
        let table = self.table.load();
        let (dns, config) = (&table.config.dns, &table.config.dns.log);
        if *config != self.config {
            self.end();
            self.config = config.clone();
            self.lines = config.path.as_ref().map(|path| LineFile::new(path.clone(), config.format));
            self.tap = config.dnstap.as_ref().map(|target| Tap::new(target.clone(), dns.identity.clone()));
        }
        if let Some(lines) = &mut self.lines {
            lines.look();
        }
    }

    fn write(&mut self, batch: &Batch) {
        let mut is_written = true;
        if let Some(lines) = &mut self.lines {
            is_written &= lines.write(batch.entries());
        }
        if let Some(tap) = &mut self.tap {
            is_written &= tap.write(batch.entries());
        }
        self.metrics.count(if is_written { WRITTEN } else { DROPPED }, batch.heads.len());
    }

    fn end(&mut self) {
        self.lines = None;
        if let Some(tap) = self.tap.take() {
            tap.end();
        }
    }
}
