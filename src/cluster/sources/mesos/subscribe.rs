//! The shell around a [`Session`]: a thread of its own with sockets, clock and channels.
//!
//! Nothing is decided here. Facts go to the writer in batches; when the input is drained, at once. A writer that
//! lags stops the reading, and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{Caller, ConnectionError, Opened, Stream};
use super::metrics::{MesosMetrics, SourceMetrics};
use super::schema::Item;
use super::session::{Action, Session};
use super::zookeeper::{ClientTasks, Detection, Ensemble, watch as watch_masters};
use crate::cluster::event::{ClusterEvent, EventSender, SourceEvent};
use crate::config::checked::{Masters, MesosConfig};
use crate::model::id::SourceName;
use crate::model::time::Timestamp;

/// Input that is decoded before its facts are handed on.
const INPUT_SLICE_BYTES: usize = 16 << 10;

/// How long the ZooKeeper client's tasks may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A source that runs on its own thread. Dropped, it is told to stop, and not waited for.
#[derive(Debug)]
pub struct SourceThread {
    control: SourceControl,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Tells a running source what to do.
#[derive(Clone, Debug)]
pub struct SourceControl {
    source: SourceName,
    stop: CancellationToken,
    snapshot: Arc<Notify>,
}

impl SourceControl {
    /// Tells a source by these.
    pub fn new(source: SourceName, stop: CancellationToken, snapshot: Arc<Notify>) -> Self {
        Self { source, stop, snapshot }
    }

    /// Which source this is.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Asks for a second complete read. Does not wait; several requests at once are one.
    pub fn request_snapshot(&self) {
        self.snapshot.notify_one();
    }

    /// Asks the source to stop. Does not wait.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl SourceThread {
    /// A source that runs on this thread.
    pub fn new(control: SourceControl, thread: std::thread::JoinHandle<()>) -> Self {
        Self { control, thread: Some(thread) }
    }

    /// What to tell the source with.
    pub fn control(&self) -> &SourceControl {
        &self.control
    }

    /// Stops the source and waits for its end. Blocks for a second at most when ZooKeeper hangs.
    pub fn join(mut self) {
        self.control.stop();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) {
            tracing::error!(source = %self.control.source, "the source's thread panicked");
        }
    }
}

impl Drop for SourceThread {
    fn drop(&mut self) {
        self.control.stop();
    }
}

/// Starts the source of one Mesos cluster.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn spawn(config: MesosConfig, events: EventSender, metrics: &MesosMetrics) -> std::io::Result<SourceThread> {
    let control = SourceControl {
        source: config.name.clone(),
        stop: CancellationToken::new(),
        snapshot: Arc::new(Notify::new()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let metrics = metrics.source(&config.name);
    let thread = std::thread::Builder::new().name(format!("mesos-{}", config.name)).spawn({
        let control = control.clone();
        move || {
            let tasks = ClientTasks::new(runtime.handle().clone());
            let _spawning = spawns_core::enter(&tasks);
            let shell = Shell::new(config, events, control, metrics);
            runtime.block_on(async {
                shell.run().await;
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, tasks.finished()).await;
            });
        }
    })?;
    Ok(SourceThread { control, thread: Some(thread) })
}

type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// The connection to the master.
enum Link {
    None,
    Opening(Pending<Result<Opened, ConnectionError>>),
    Open(Box<Stream>),
}

/// What the shell waits for.
enum Happening {
    Stopped,
    Detected,
    SnapshotRequested,
    AgentsListed(Result<Vec<Item>, ConnectionError>),
    Opened(Box<Result<Opened, ConnectionError>>),
    Received(Result<Option<Bytes>, ConnectionError>),
    Drained,
    Time,
}

struct Shell {
    session: Session,
    caller: Arc<Caller>,
    link: Link,
    listing: Option<Pending<Result<Vec<Item>, ConnectionError>>>,
    detection: watch::Receiver<Detection>,
    detecting: Pending<()>,
    events: EventSender,
    control: SourceControl,
    metrics: SourceMetrics,
    started: Instant,
}

impl Shell {
    fn new(config: MesosConfig, events: EventSender, control: SourceControl, metrics: SourceMetrics) -> Self {
        let seed = fastrand::u64(..);
        let (found, detection) = watch::channel(Detection::Unknown);
        let detecting: Pending<()> = match &config.masters {
            Masters::ZooKeeper { servers, path, auth } => {
                let auth = auth.as_ref().map(|secret| secret.0.clone());
                let ensemble = Ensemble { servers: servers.clone(), path: path.clone(), auth };
                Box::pin(watch_masters(ensemble, found, fastrand::Rng::with_seed(seed)))
            }
            Masters::List(_) => Box::pin(std::future::pending()),
        };
        Self {
            session: Session::new(&config, seed, base_stream(Timestamp::now())),
            caller: Arc::new(Caller::new(Arc::new(config))),
            link: Link::None,
            listing: None,
            detection,
            detecting,
            events,
            control,
            metrics,
            started: Instant::now(),
        }
    }

    async fn run(mut self) {
        loop {
            while let Some(action) = self.session.next_action() {
                if self.act(action).await.is_break() {
                    return;
                }
            }
            self.metrics.add(&self.session.take_counts(), self.session.is_live(), Timestamp::now());
            let happening = self.next().await;
            let now = self.started.elapsed();
            match happening {
                Happening::Stopped => return,
                Happening::Detected => self.detected(now),
                Happening::SnapshotRequested => self.session.request_snapshot(now),
                Happening::AgentsListed(answer) => {
                    self.listing = None;
                    self.session.agents_listed(now, answer.map_err(|error| error.to_string()));
                }
                Happening::Opened(opened) => self.opened(now, *opened),
                Happening::Received(Ok(Some(bytes))) => {
                    if self.received(now, &bytes).await.is_break() {
                        return;
                    }
                }
                Happening::Received(Ok(None)) => {
                    self.link = Link::None;
                    self.session.ended(now);
                }
                Happening::Received(Err(error)) => self.failed(now, &error),
                Happening::Drained => self.session.flush(),
                Happening::Time => {}
            }
            self.session.poll(now);
        }
    }

    /// Waits for the next thing. Every branch is cancel safe: futures that must not be lost are kept in `self`.
    async fn next(&mut self) -> Happening {
        let deadline = self.session.deadline().map(|deadline| self.started + deadline);
        tokio::select! {
            // What is rare comes first, so that a stream that never pauses cannot starve it; time comes last, so
            // that silence is only what was not there to read.
            biased;
            () = self.control.stop.cancelled() => Happening::Stopped,
            () = &mut self.detecting => Happening::Stopped,
            Ok(()) = self.detection.changed() => Happening::Detected,
            () = self.control.snapshot.notified() => Happening::SnapshotRequested,
            answer = pending_or(self.listing.as_mut()) => Happening::AgentsListed(answer),
            happening = self.link.next() => happening,
            () = std::future::ready(()), if self.session.has_facts() => Happening::Drained,
            () = sleep_until(deadline) => Happening::Time,
        }
    }

    async fn act(&mut self, action: Action) -> std::ops::ControlFlow<()> {
        match action {
            Action::Open(request) => {
                self.listing = None;
                let caller = self.caller.clone();
                self.link = Link::Opening(Box::pin(async move { caller.open(request).await }));
            }
            Action::Disconnect => {
                self.listing = None;
                self.link = Link::None;
            }
            Action::ListAgents(request) => {
                let caller = self.caller.clone();
                self.listing = Some(Box::pin(async move { caller.list_agents(request).await }));
            }
            Action::Emit(event) => return self.emit(event).await,
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Hands input on in slices, and what they say before the next one: a slice may hold a thousandfold of itself.
    async fn received(&mut self, now: Duration, bytes: &[u8]) -> std::ops::ControlFlow<()> {
        for slice in bytes.chunks(INPUT_SLICE_BYTES) {
            self.session.received(now, slice);
            while let Some(action) = self.session.next_action() {
                self.act(action).await?;
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    async fn emit(&self, event: SourceEvent) -> std::ops::ControlFlow<()> {
        let sent = tokio::select! {
            () = self.control.stop.cancelled() => false,
            sent = self.events.send(ClusterEvent::Source(event)) => sent.is_ok(),
        };
        if sent { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
    }

    fn detected(&mut self, now: Duration) {
        let detection = self.detection.borrow_and_update().clone();
        match detection {
            Detection::Unknown => {}
            Detection::Found(detected) => self.session.leader_detected(now, detected),
            Detection::Failed(error) => self.session.detection_failed(&error),
        }
    }

    fn opened(&mut self, now: Duration, opened: Result<Opened, ConnectionError>) {
        self.link = Link::None;
        match opened {
            Ok(opened) => {
                self.link = opened.stream.map_or(Link::None, |stream| Link::Open(Box::new(stream)));
                self.session.answered(now, &opened.head, opened.peer, &opened.masters);
            }
            Err(error) => self.failed(now, &error),
        }
    }

    fn failed(&mut self, now: Duration, error: &ConnectionError) {
        self.link = Link::None;
        let error = error.to_string();
        tracing::warn!(source = %self.control.source, error, "the event stream is interrupted");
        self.session.failed(now, &error);
    }
}

/// Where a source's numbers of streams begin: higher than any before, in this process and, by the wall clock, in most
/// that came before it. What a reloaded source says must count even if the clock was set back meanwhile.
fn base_stream(now: Timestamp) -> u64 {
    /// More subscriptions than one source makes in its life.
    const ROOM: u64 = 1 << 24;
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let next = |latest: u64| now.0.max(latest + ROOM);
    let before = LATEST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |latest| Some(next(latest)));
    next(before.unwrap_or_else(|latest| latest))
}

impl Link {
    async fn next(&mut self) -> Happening {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(opening) => Happening::Opened(Box::new(opening.await)),
            Self::Open(stream) => Happening::Received(stream.next().await),
        }
    }
}

async fn pending_or<T>(future: Option<&mut Pending<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_streams_rise_when_the_clock_is_set_back() {
        let first = base_stream(Timestamp(1_700_000_000_000));
        let second = base_stream(Timestamp(1_600_000_000_000));
        assert!(second > first, "{second} after {first}");
    }
}
