//! What was asked and answered, written down by choice: as lines (query log) and as dnstap.
//!
//! Nothing is read of a message on a worker; lines are made on the journal's thread.

mod dnstap;
mod frames;
mod line;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus::Registry;

use super::wire::Transport;
use crate::config::checked::{DnsConfig, DnsLogConfig};
use crate::journal::file::LineFile;
use crate::journal::{self, JournalMetrics, JournalSender, JournalThread};
use crate::table::handle::TableHandle;
use dnstap::Tap;

/// Batches that may wait to be written.
const QUEUE: usize = 256;

/// Octets that a worker gathers before it gives them away.
const BATCH: usize = 64 * 1024;

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

impl journal::Batch for Batch {
    fn entry_count(&self) -> usize {
        self.heads.len()
    }
}

/// One worker's end of the log.
#[derive(Clone, Debug)]
pub struct LogSender(JournalSender<Batch>);

/// Starts the thread that writes, and registers what it counts.
///
/// # Errors
/// The system has no thread left, or the metrics are registered already.
pub fn start(table: Arc<TableHandle>, registry: &Registry) -> Result<(JournalThread, LogSender), journal::StartError> {
    let help =
        "Answers for the query log and dnstap: written, or dropped because they came faster than they are written.";
    let metrics = JournalMetrics::register(registry, "pointsman_dns_log_entries_total", help)?;
    let writing = Writing { table, config: DnsLogConfig::default(), lines: None, text: String::new(), tap: None };
    let (thread, sender) = JournalThread::start("dns-log", QUEUE, metrics, writing)?;
    Ok((thread, LogSender(sender)))
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
        self.sender.0.give(std::mem::take(&mut self.batch));
    }
}

/// What is written to.
struct Writing {
    table: Arc<TableHandle>,
    config: DnsLogConfig,
    lines: Option<LineFile>,
    text: String,
    tap: Option<Tap>,
}

impl journal::Writing for Writing {
    type Batch = Batch;

    fn configure(&mut self) {
        let table = self.table.load();
        let (dns, config) = (&table.config.dns, &table.config.dns.log);
        if *config != self.config {
            self.end();
            self.config = config.clone();
            self.lines = config.path.as_ref().map(|path| LineFile::new(path.clone(), "the DNS query log"));
            self.tap = config.dnstap.as_ref().map(|target| Tap::new(target.clone(), dns.identity.clone()));
        }
        if let Some(lines) = &mut self.lines {
            lines.look();
        }
    }

    fn write(&mut self, batch: &Batch) -> bool {
        let mut is_written = true;
        if let Some(lines) = &mut self.lines {
            self.text.clear();
            for entry in batch.entries() {
                line::write(&entry, self.config.format, &mut self.text);
            }
            is_written &= lines.write(self.text.as_bytes());
        }
        if let Some(tap) = &mut self.tap {
            is_written &= tap.write(batch.entries());
        }
        is_written
    }

    fn end(&mut self) {
        self.lines = None;
        if let Some(tap) = self.tap.take() {
            tap.end();
        }
    }
}
