//! What workers note and a thread of its own writes down: query log, dnstap, access log.
//!
//! ```text
//!  worker ── a batch ──▶ bounded channel ──▶ thread ──▶ file, socket
//! ```
//!
//! Invariants: whoever notes never waits. What the thread does not take in time is dropped, and counted.

pub mod file;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};

/// How often a thread looks at what is configured, while nothing comes.
const LOOK: Duration = Duration::from_millis(200);

/// How long the end of the program waits for what is still to be written: somebody may not read any more.
const LAST_WAIT: Duration = Duration::from_secs(5);

const WRITTEN: &str = "written";
const DROPPED: &str = "dropped";

/// What a journal counts.
#[derive(Clone, Debug)]
pub struct JournalMetrics(IntCounterVec);

impl JournalMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
        let entries = IntCounterVec::new(Opts::new(name, help), &["result"])?;
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

/// Why a journal cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its thread.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
    /// Two metrics of one name: a fault of this program.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Entries that are given away together.
pub trait Batch: Send + 'static {
    /// How many they are.
    fn entry_count(&self) -> usize;
}

/// A worker's end of a journal.
#[derive(Debug)]
pub struct JournalSender<B> {
    batches: SyncSender<B>,
    metrics: JournalMetrics,
}

impl<B> Clone for JournalSender<B> {
    fn clone(&self) -> Self {
        Self { batches: self.batches.clone(), metrics: self.metrics.clone() }
    }
}

impl<B: Batch> JournalSender<B> {
    /// Gives a batch away; never waits.
    pub fn give(&self, batch: B) {
        let entries = batch.entry_count();
        if self.batches.try_send(batch).is_err() {
            self.metrics.count(DROPPED, entries);
        }
    }
}

/// What a journal's thread writes to.
pub trait Writing: Send + 'static {
    /// What it is given.
    type Batch: Batch;

    /// Opens what is configured, where that is something else than before; called often.
    fn configure(&mut self);

    /// Writes a batch; whether it is written.
    fn write(&mut self, batch: &Self::Batch) -> bool;

    /// Nothing more comes.
    fn end(&mut self);
}

/// A thread that writes.
#[derive(Debug)]
pub struct JournalThread {
    thread: JoinHandle<()>,
    /// Says nothing; it ends with the thread.
    running: Receiver<()>,
}

impl JournalThread {
    /// Starts one called `name`, to which `queue` batches may be given ahead. It ends when all senders are gone, and what
    /// they have sent is written.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start<W: Writing>(
        name: &str,
        queue: usize,
        metrics: JournalMetrics,
        mut writing: W,
    ) -> std::io::Result<(Self, JournalSender<W::Batch>)> {
        let (batches, receiver) = sync_channel(queue);
        let (ends, running) = sync_channel::<()>(0);
        let sender = JournalSender { batches, metrics: metrics.clone() };
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            run(&mut writing, &receiver, &metrics);
            drop(ends);
        })?;
        Ok((Self { thread, running }, sender))
    }

    /// Waits for its end, but not for ever: the reader of a pipe may have stopped to read.
    pub fn join(self) {
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        if self.running.recv_timeout(LAST_WAIT) == Err(RecvTimeoutError::Timeout) {
            return tracing::error!(%name, "what is still to be written down is not taken; it is lost");
        }
        if self.thread.join().is_err() {
            tracing::error!(%name, "a thread that writes down panicked");
        }
    }
}

fn run<W: Writing>(writing: &mut W, batches: &Receiver<W::Batch>, metrics: &JournalMetrics) {
    loop {
        let batch = match batches.recv_timeout(LOOK) {
            Ok(batch) => Some(batch),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return writing.end(),
        };
        writing.configure();
        if let Some(batch) = batch {
            let result = if writing.write(&batch) { WRITTEN } else { DROPPED };
            metrics.count(result, batch.entry_count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow(Receiver<()>, SyncSender<u8>);

    impl Batch for u8 {
        fn entry_count(&self) -> usize {
            10
        }
    }

    impl Writing for Slow {
        type Batch = u8;

        fn configure(&mut self) {}

        fn write(&mut self, batch: &u8) -> bool {
            self.0.recv().unwrap();
            self.1.send(*batch).unwrap();
            true
        }

        fn end(&mut self) {}
    }

    #[test]
    fn what_comes_too_fast_is_dropped_and_counted() {
        let registry = Registry::new();
        let metrics = JournalMetrics::register(&registry, "entries", "Entries.").unwrap();
        let (go, wait) = sync_channel(16);
        let (told, written) = sync_channel(16);
        let (thread, sender) = JournalThread::start("journal-test", 2, metrics.clone(), Slow(wait, told)).unwrap();
        // One is being written, two wait; which of them the thread has taken already is its affair.
        for batch in 0..10 {
            sender.give(batch);
        }
        let dropped = metrics.0.with_label_values(&[DROPPED]).get();
        assert!((70..=80).contains(&dropped), "{dropped}");
        for _ in 0..10 - dropped / 10 {
            go.send(()).unwrap();
        }
        drop((go, sender));
        thread.join();
        let written = written.iter().count() as u64 * 10;
        assert_eq!((written, written + dropped), (metrics.0.with_label_values(&[WRITTEN]).get(), 100));
    }
}
