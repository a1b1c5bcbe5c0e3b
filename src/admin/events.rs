//! `/v1/events`: changes of the table as server-sent events, with their causes.
//!
//! A stream holds the table it last told of and tells the difference to the current one. A client that reads slowly
//! therefore gets fewer, larger steps and never misses a change; nothing is queued for it. Each event's id is
//! `EPOCH-GENERATION`: a client that comes back with `Last-Event-ID` goes on from there while that version is kept,
//! and is told to start anew (`reset`) otherwise.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::context::AdminContext;
use super::tables::TableVersion;
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::difference::{TableDiff, diff};
use crate::table::history::CAUSES;

/// After this long without an event a comment shows that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The most changes of one kind that an event lists; `/v1/table/diff` has the others.
const MAX_CHANGES: usize = 100;

/// The table changed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableChanged {
    pub epoch: String,
    /// The version before; more than one step back where the client reads slower than the table changes.
    pub from: u64,
    /// The version now.
    pub to: u64,
    /// When it was published, in milliseconds since the Unix epoch.
    pub built_at: u64,
    pub stale: bool,
    /// The first few causes.
    pub causes: Vec<String>,
    pub diff: TableDiff,
}

/// A place among the streams, and what it needs to go on.
pub(crate) struct Follower {
    context: Arc<AdminContext>,
    generations: watch::Receiver<u64>,
    stop: CancellationToken,
    last: Arc<Table>,
    /// What is sent before anything else.
    greeting: Option<Bytes>,
    /// Gives the place back when the stream ends.
    _permit: OwnedSemaphorePermit,
    _open: OpenStream,
}

/// Counts a stream for as long as it lives.
struct OpenStream(IntGauge);

impl OpenStream {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Follower {
    /// Begins a stream, after the event `last_event_id` where that version is still kept.
    pub(crate) fn new(
        context: Arc<AdminContext>,
        last_event_id: Option<&str>,
        stop: CancellationToken,
        permit: OwnedSemaphorePermit,
        open: &IntGauge,
    ) -> Self {
        let mut generations = context.table.watch();
        // The version known from before counts as news if it is not the current one.
        generations.mark_changed();
        let current = context.table.load();
        let resumed = last_event_id.and_then(|id| resume(&context, &current, id));
        let event = if last_event_id.is_some() { "reset" } else { "hello" };
        let greeting = match &resumed {
            Some(_) => Bytes::from_static(b": resumed\n\n"),
            None => frame(event, &current, &TableVersion::of(&current, Timestamp::now())),
        };
        let last = resumed.unwrap_or(current);
        Self {
            context,
            generations,
            stop,
            last,
            greeting: Some(greeting),
            _permit: permit,
            // Counted once it follows: whoever sees the number knows that from now on nothing is missed.
            _open: OpenStream::new(open),
        }
    }

    /// The next piece of the stream; `None` at its end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(greeting) = self.greeting.take() {
            return Some((greeting, self));
        }
        loop {
            // Each branch may be dropped without loss: the watch keeps "changed" until it was seen.
            tokio::select! {
                () = self.stop.cancelled() => return None,
                changed = self.generations.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some((Bytes::from_static(b": still here\n\n"), self)),
            }
            let current = self.context.table.load();
            if current.generation == self.last.generation && current.epoch == self.last.epoch {
                continue;
            }
            let former = std::mem::replace(&mut self.last, current.clone());
            let causes = causes(&self.context, former.generation, current.generation);
            // A difference can be as large as the cluster (its first snapshot): not on the runtime's own thread.
            let event = tokio::task::spawn_blocking(move || changed(&former, &current, causes)).await.ok()?;
            return Some((event, self));
        }
    }
}

/// Yields the next piece of the stream, and whoever yields the one after it.
type Next = dyn Future<Output = Option<(Bytes, Follower)>> + Send;

/// A stream of events as a body.
pub(crate) struct EventBody {
    next: Option<Pin<Box<Next>>>,
}

impl EventBody {
    pub(crate) fn new(follower: Follower) -> Self {
        Self { next: Some(Box::pin(follower.next())) }
    }
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let step = ready!(next.as_mut().poll(context));
        let (frame, next) = match step {
            Some((bytes, follower)) => (Some(Ok(Frame::data(bytes))), Some(Box::pin(follower.next()) as _)),
            None => (None, None),
        };
        self.next = next;
        Poll::Ready(frame)
    }
}

/// The version that an event's id names, if it is one of this life and still kept.
fn resume(context: &AdminContext, current: &Arc<Table>, id: &str) -> Option<Arc<Table>> {
    let (epoch, generation) = id.split_once('-')?;
    let epoch = u64::from_str_radix(epoch, 16).ok()?;
    let generation: u64 = generation.parse().ok()?;
    if epoch != current.epoch {
        return None;
    }
    if generation == current.generation {
        return Some(current.clone());
    }
    context.table.history().version(generation).map(|version| version.table.clone())
}

fn causes(context: &AdminContext, from: u64, to: u64) -> Vec<String> {
    let history = context.table.history();
    let between = history.iter().filter(|version| (from + 1..=to).contains(&version.table.generation));
    between.flat_map(|version| version.record.causes.iter().cloned()).take(CAUSES).collect()
}

fn changed(former: &Table, current: &Table, causes: Vec<String>) -> Bytes {
    let mut diff = diff(former, current);
    diff.shorten(MAX_CHANGES);
    let event = TableChanged {
        epoch: format!("{:016x}", current.epoch),
        from: former.generation,
        to: current.generation,
        built_at: current.built_at.0,
        stale: current.is_stale(),
        causes,
        diff,
    };
    frame("table", current, &event)
}

/// One event in the form of the HTML standard, section "server-sent events". JSON has no line breaks outside of
/// strings and escapes those inside, so `data` is one line.
fn frame(event: &str, table: &Table, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("structs with text keys are valid JSON");
    format!("id: {:016x}-{}\nevent: {event}\ndata: {data}\n\n", table.epoch, table.generation).into()
}
