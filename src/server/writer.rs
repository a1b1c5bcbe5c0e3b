//! The writer's thread: drains the queue, applies what it found as one batch, publishes.
//!
//! No debounce: while the queue is short every event is published by itself; under a storm batches grow by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::metrics::WriterMetrics;
use super::sources::Wanted;
use super::store::StoreSender;
use crate::cluster::event::{ClusterEvent, EventReceiver};
use crate::cluster::store::StateView;
use crate::model::time::Timestamp;
use crate::table::handle::TableHandle;
use crate::table::writer::Writer;

/// Events taken from the queue for one table at most: a batch of full events takes some milliseconds.
const BATCH: usize = 16;

/// The running writer.
#[derive(Debug)]
pub(super) struct WriterThread {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<StateView>,
}

/// What the writer works with.
pub(super) struct WriterParts {
    pub(super) writer: Writer,
    pub(super) table: Arc<TableHandle>,
    pub(super) events: EventReceiver,
    pub(super) metrics: WriterMetrics,
    pub(super) store: Option<StoreSender>,
    pub(super) wanted: Wanted,
}

impl WriterThread {
    pub(super) fn start(parts: WriterParts) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread =
            std::thread::Builder::new().name("writer".into()).spawn(move || runtime.block_on(run(parts, stopped)))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread; what it knew last is to be stored.
    pub(super) fn stop(self) -> Option<StateView> {
        let _ = self.stop.send(());
        self.thread.join().ok()
    }
}

async fn run(mut parts: WriterParts, mut stopped: oneshot::Receiver<()>) -> StateView {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let deadline = parts.writer.next_deadline();
        // Cancel safe: `recv_many` takes nothing unless it completes.
        let received = tokio::select! {
            biased;
            _ = &mut stopped => break,
            received = parts.events.recv_many(&mut batch, BATCH) => received,
            () = until(deadline) => {
                batch.push(ClusterEvent::DeadlineReached);
                1
            }
            () = until_due(parts.store.as_ref()) => {
                store(&mut parts);
                continue;
            }
        };
        if received == 0 {
            break;
        }
        apply(&mut parts, batch.drain(..));
    }
    parts.writer.state().view(Timestamp::now())
}

fn apply(parts: &mut WriterParts, batch: impl Iterator<Item = ClusterEvent>) {
    let started = Instant::now();
    let now = Timestamp::now();
    let outcome = parts.writer.apply(batch, now);
    for source in &outcome.wanted_snapshots {
        parts.wanted.request(source);
    }
    parts.metrics.applied(parts.events.len(), parts.writer.state().ignored());
    let Some((table, mut record)) = outcome.table else { return };
    let elapsed = started.elapsed();
    record.publish_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    parts.metrics.published(record.events, elapsed);
    tracing::debug!(
        generation = table.generation,
        events = record.events,
        tasks = record.tasks_changed,
        causes = %record.causes.join("; "),
        "table published"
    );
    let interval = table.config.state.interval;
    parts.table.publish(table, record);
    if let Some(store) = &mut parts.store {
        store.changed(interval);
    }
    store(parts);
}

/// Has the state stored if that is due.
fn store(parts: &mut WriterParts) {
    if let Some(store) = &mut parts.store {
        store.offer(|| parts.writer.state().view(Timestamp::now()));
    }
}

/// Until the state is to be stored.
async fn until_due(store: Option<&StoreSender>) {
    match store.and_then(StoreSender::due) {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Until a deadline; a deadline in the past is now, none is never.
async fn until(deadline: Option<Timestamp>) {
    match deadline {
        Some(at) => {
            let left = at.since(Timestamp::now());
            // Wall clocks jump: look again from time to time whatever the deadline says.
            tokio::time::sleep(left.min(Duration::from_secs(60))).await;
        }
        None => std::future::pending().await,
    }
}
