//! What was asked of the proxy and answered, written down by choice.
//!
//! A request is noted when it is known where it goes ([`note`]), and becomes a line ([`mod@line`]) on its worker when it is
//! over. Lines are gathered, and given to the journal's thread together: waking another thread for each request would
//! cost more than the request.

pub mod line;
pub mod note;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Notify;

use crate::config::access::{AccessLogConfig, LogRule};
use crate::journal::file::LineFile;
use crate::journal::{self, JournalMetrics, JournalSender, JournalThread};
use crate::table::handle::TableHandle;
use line::Ended;
use note::Note;

/// Batches that may wait to be written.
const QUEUE: usize = 256;
/// Octets that a worker gathers before it gives them away …
const BATCH: usize = 64 * 1024;
/// … or so long after the first of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines of one worker.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    count: usize,
}

impl journal::Batch for Lines {
    fn entry_count(&self) -> usize {
        self.count
    }
}

/// One worker's end of the log.
pub type AccessSender = JournalSender<Lines>;

/// What a worker gathers for the log.
#[derive(Debug, Default)]
pub struct AccessLog {
    sender: Option<AccessSender>,
    lines: RefCell<Lines>,
    /// Requests since one was written down.
    passed: Cell<u32>,
    /// Somebody waits to be written down.
    begun: Notify,
}

impl AccessLog {
    /// Gathers for `sender`; without one nothing is written down.
    pub fn new(sender: Option<AccessSender>) -> Self {
        Self { sender, lines: RefCell::default(), passed: Cell::new(0), begun: Notify::new() }
    }

    /// Writes a request down that is over, if it is its turn.
    pub fn ended(&self, config: &AccessLogConfig, note: &Note, ended: &Ended<'_>) {
        if self.sender.is_none() || !self.is_wanted(config, note, ended) {
            return;
        }
        let is_full = {
            let mut lines = self.lines.borrow_mut();
            if lines.count == 0 {
                self.begun.notify_one();
            }
            line::write(config, note, ended, &mut lines.text);
            lines.count += 1;
            lines.text.len() >= BATCH
        };
        if is_full {
            self.give();
        }
    }

    fn is_wanted(&self, config: &AccessLogConfig, note: &Note, ended: &Ended<'_>) -> bool {
        match note.rule {
            LogRule::Never => false,
            _ if config.path.is_none() => false,
            LogRule::Always => true,
            LogRule::Sampled => {
                let passed = self.passed.get() + 1;
                let is_turn = passed >= config.sample;
                self.passed.set(if is_turn { 0 } else { passed });
                is_turn || (config.errors && ended.went_wrong(note))
            }
        }
    }

    /// Gives away what was gathered; never waits.
    pub fn give(&self) {
        let lines = self.lines.take();
        if let Some(sender) = self.sender.as_ref().filter(|_| lines.count > 0) {
            sender.give(lines);
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

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.give();
    }
}

/// Starts the thread that writes, and registers what it counts.
///
/// # Errors
/// The system has no thread left, or the metrics are registered already.
pub fn start(
    table: Arc<TableHandle>,
    registry: &Registry,
) -> Result<(JournalThread, AccessSender), journal::StartError> {
    let help = "Requests for the access log: written, or dropped because they came faster than they are written.";
    let metrics = JournalMetrics::register(registry, "pointsman_proxy_access_log_entries_total", help)?;
    let writing = Writing { table, file: None, config: AccessLogConfig::default() };
    Ok(JournalThread::start("access-log", QUEUE, metrics, writing)?)
}

/// What is written to.
struct Writing {
    table: Arc<TableHandle>,
    config: AccessLogConfig,
    file: Option<LineFile>,
}

impl journal::Writing for Writing {
    type Batch = Lines;

    fn configure(&mut self) {
        let table = self.table.load();
        let config = &table.config.proxy.access_log;
        if config.path != self.config.path {
            self.file = config.path.as_ref().map(|path| LineFile::new(path.clone(), "the access log"));
        }
        if *config != self.config {
            self.config = config.clone();
        }
        if let Some(file) = &mut self.file {
            file.look();
        }
    }

    fn write(&mut self, lines: &Lines) -> bool {
        self.file.as_mut().is_some_and(|file| file.write(&lines.text))
    }

    fn end(&mut self) {
        self.file = None;
    }
}
