//! Stores the state from a thread of its own: a slow or full disk holds nobody up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::metrics::StoreMetrics;
use crate::cluster::closing;
use crate::cluster::store::StateView;

/// The storing thread.
#[derive(Debug)]
pub(super) struct Store {
    sender: SyncSender<Offer>,
    thread: std::thread::JoinHandle<()>,
}

/// The writer's end: offers a view of what has changed, when the last one was taken long enough ago.
#[derive(Debug)]
pub(super) struct StoreSender {
    sender: SyncSender<Offer>,
    interval: Duration,
    last: Option<Instant>,
    is_changed: bool,
    /// The number of the last view that was offered.
    offered: u64,
    /// The number of the last view that is on disk.
    stored: Arc<AtomicU64>,
}

/// A view and its number.
struct Offer(u64, StateView);

/// The number of the view after which nothing is known any more.
const LAST: u64 = u64::MAX;

impl Store {
    /// Starts storing to `path`, every `interval` at most.
    pub(super) fn start(
        path: PathBuf,
        interval: Duration,
        metrics: StoreMetrics,
    ) -> std::io::Result<(Self, StoreSender)> {
        let (sender, offers) = sync_channel(1);
        let stored = Arc::<AtomicU64>::default();
        let done = stored.clone();
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || run(&offers, &path, &done, &metrics))?;
        let offering =
            StoreSender { sender: sender.clone(), interval, last: None, is_changed: false, offered: 0, stored };
        Ok((Self { sender, thread }, offering))
    }

    /// Stores what was known last and ends.
    pub(super) fn finish(self, view: StateView) {
        let _ = self.sender.send(Offer(LAST, view));
        drop(self.sender);
        let _ = self.thread.join();
    }
}

impl StoreSender {
    /// The state has changed; `interval` is the one that the configuration has now.
    pub(super) fn changed(&mut self, interval: Duration) {
        self.interval = interval;
        self.is_changed = true;
    }

    /// When to offer a view next; `None`: what is on disk, or on its way, is current.
    ///
    /// A view that was offered is waited for: it is offered again if the disk did not take it.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.is_current()).then(|| self.last.map_or_else(Instant::now, |last| last + self.interval))
    }

    fn is_current(&self) -> bool {
        !self.is_changed && self.stored.load(Ordering::Acquire) == self.offered
    }

    /// Offers a view if one is due.
    pub(super) fn offer(&mut self, view: impl FnOnce() -> StateView) {
        let now = Instant::now();
        if self.is_current() || self.last.is_some_and(|last| now < last + self.interval) {
            return;
        }
        self.last = Some(now);
        // While the disk is slow the queue of one is full: the view is dropped and offered again later.
        if self.sender.try_send(Offer(self.offered + 1, view())).is_ok() {
            self.offered += 1;
            self.is_changed = false;
        }
    }
}

fn run(offers: &Receiver<Offer>, path: &Path, stored: &AtomicU64, metrics: &StoreMetrics) {
    while let Ok(Offer(number, view)) = offers.recv() {
        let started = Instant::now();
        match view.save(path) {
            Ok(()) => {
                stored.store(number, Ordering::Release);
                metrics.stored(started.elapsed());
                if number == LAST
                    && let Err(error) = closing::mark(path, view.taken_at())
                {
                    tracing::warn!(%error, "the stored state could not be marked as the last: zones get new serials at the next start");
                }
            }
            Err(error) => {
                metrics.failed();
                tracing::warn!(%error, "state could not be stored; it will be tried again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::state::ClusterState;
    use crate::model::time::Timestamp;

    fn view() -> StateView {
        ClusterState::new(Arc::default(), Timestamp(1)).view(Timestamp(1))
    }

    /// Waits until the view that was offered is on disk, or was refused by it.
    fn settle(metrics: &prometheus::Registry, name: &str, count: u32) {
        let begun = Instant::now();
        let counted = || {
            let family = metrics.gather().into_iter().find(|family| family.name() == name).unwrap();
            let metric = &family.get_metric()[0];
            (metric.get_histogram().get_sample_count(), metric.get_counter().get_value())
        };
        while counted().0 < u64::from(count) && counted().1 < f64::from(count) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} stays below {count}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_last_change_within_an_interval_is_stored_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let metrics = StoreMetrics::register(&registry).unwrap();
        let (store, mut sender) =
            Store::start(folder.path().join("state"), Duration::from_millis(20), metrics).unwrap();
        assert_eq!(sender.due(), None);
        sender.changed(Duration::from_millis(20));
        sender.offer(view);
        settle(&registry, "pointsman_store_seconds", 1);
        assert_eq!(sender.due(), None);
        // A change right after it: not yet, but later and without another change.
        // One question long before the time: a loop up to it would ask once on either side of it.
        sender.changed(Duration::from_millis(500));
        let due = sender.due().unwrap();
        if Instant::now() + Duration::from_millis(250) < due {
            sender.offer(|| panic!("too early"));
        }
        while Instant::now() < due {
            std::thread::yield_now();
        }
        sender.offer(view);
        settle(&registry, "pointsman_store_seconds", 2);
        drop(sender);
        store.finish(view());
    }

    #[test]
    fn what_the_disk_did_not_take_is_offered_again() {
        let folder = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let metrics = StoreMetrics::register(&registry).unwrap();
        let path = folder.path().join("missing/state");
        let (store, mut sender) = Store::start(path.clone(), Duration::ZERO, metrics).unwrap();
        sender.changed(Duration::ZERO);
        sender.offer(view);
        settle(&registry, "pointsman_store_failures_total", 1);
        assert!(sender.due().is_some());
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        sender.offer(view);
        settle(&registry, "pointsman_store_seconds", 1);
        assert_eq!(sender.due(), None);
        drop(sender);
        store.finish(view());
    }
}
