//! Stores the state from a thread of its own: a slow or full disk holds nobody up.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::metrics::StoreMetrics;
use crate::cluster::store::StateView;

/// The storing thread.
#[derive(Debug)]
pub(super) struct Store {
    sender: SyncSender<StateView>,
    thread: std::thread::JoinHandle<()>,
}

/// The writer's end: offers a view when the last one was taken long enough ago.
#[derive(Debug)]
pub(super) struct StoreSender {
    sender: SyncSender<StateView>,
    last: Option<Instant>,
}

impl Store {
    /// Starts storing to `path`.
    pub(super) fn start(path: PathBuf, metrics: StoreMetrics) -> std::io::Result<(Self, StoreSender)> {
        let (sender, views) = sync_channel(1);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(&views, &path, &metrics))?;
        Ok((Self { sender: sender.clone(), thread }, StoreSender { sender, last: None }))
    }

    /// Stores what was known last and ends.
    pub(super) fn finish(self, view: StateView) {
        let _ = self.sender.send(view);
        drop(self.sender);
        let _ = self.thread.join();
    }
}

impl StoreSender {
    /// Offers a view of the state, unless one was taken within `interval` or the last one is still being written.
    pub(super) fn offer(&mut self, interval: Duration, view: impl FnOnce() -> StateView) {
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            return;
        }
        self.last = Some(Instant::now());
        // While the disk is slow the queue of one is full: the view is dropped and offered again later.
        let _ = self.sender.try_send(view());
    }
}

fn run(views: &Receiver<StateView>, path: &Path, metrics: &StoreMetrics) {
    while let Ok(view) = views.recv() {
        let started = Instant::now();
        match view.save(path) {
            Ok(()) => metrics.stored(started.elapsed()),
            Err(error) => {
                metrics.failed();
                tracing::warn!(%error, "state could not be stored; it will be tried again");
            }
        }
    }
}
