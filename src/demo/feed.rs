//! The model behind a lock, and everybody who hears of its changes.
//!
//! A snapshot is taken and its subscriber added under one lock, and events are handed on under the same: no gap, no
//! overlap, one order for all. Queues are bounded; a subscriber that does not read is dropped, never waited for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::cluster::ClusterModel;
use crate::cluster::sources::mesos::wire;
use crate::model::time::Timestamp;

/// Events that may wait for one subscriber.
const QUEUE: usize = 4096;

/// Streams at a time, as `--max_operator_event_stream_subscribers` has it: the newest wins.
pub(super) const STREAMS: usize = 1000;

/// The events of one subscriber. It ends when the subscriber was evicted.
pub type Events = mpsc::Receiver<Arc<wire::Event>>;

/// The shared model.
#[derive(Debug)]
pub struct Feed {
    inner: Mutex<Inner>,
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    model: ClusterModel,
    streams: Vec<mpsc::Sender<Arc<wire::Event>>>,
    observers: Vec<mpsc::Sender<Arc<wire::Event>>>,
}

impl Feed {
    /// Around a model.
    pub fn new(model: ClusterModel) -> Self {
        let inner = Inner { model, streams: Vec::new(), observers: Vec::new() };
        Self { inner: Mutex::new(inner), revision: watch::Sender::new(0) }
    }

    /// Looks at the model.
    pub fn read<T>(&self, look: impl FnOnce(&ClusterModel) -> T) -> T {
        look(&self.lock().model)
    }

    /// Changes the model and tells everybody.
    pub fn change(&self, change: impl FnOnce(&mut ClusterModel, Timestamp) -> Vec<wire::Event>) {
        self.try_change(|model, now| Ok::<_, std::convert::Infallible>(((), change(model, now))))
            .unwrap_or_else(|never| match never {});
    }

    /// Changes the model, unless that fails, and tells everybody.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn try_change<T, E>(
        &self,
        change: impl FnOnce(&mut ClusterModel, Timestamp) -> Result<(T, Vec<wire::Event>), E>,
    ) -> Result<T, E> {
        let mut inner = self.lock();
        let (value, events) = change(&mut inner.model, Timestamp::now())?;
        for event in events.into_iter().map(Arc::new) {
            inner.streams.retain(|stream| stream.try_send(event.clone()).is_ok());
            // An observer that lags misses lines, nothing else.
            inner.observers.retain(|observer| {
                !matches!(observer.try_send(event.clone()), Err(mpsc::error::TrySendError::Closed(_)))
            });
        }
        drop(inner);
        self.touch();
        Ok(value)
    }

    /// A snapshot, and all events after it. The oldest of too many streams ends.
    pub fn subscribe(&self) -> (wire::GetState, Events) {
        let (sender, events) = mpsc::channel(QUEUE);
        let mut inner = self.lock();
        inner.streams.retain(|stream| !stream.is_closed());
        if inner.streams.len() >= STREAMS {
            inner.streams.remove(0);
        }
        inner.streams.push(sender);
        (inner.model.snapshot(), events)
    }

    /// All events from here on, whoever leads.
    pub fn observe(&self) -> Events {
        let (sender, events) = mpsc::channel(QUEUE);
        self.lock().observers.push(sender);
        events
    }

    /// The leader is gone and its streams with it.
    pub fn end_streams(&self) {
        self.lock().streams.clear();
    }

    /// Wakes those who wait for the model to change.
    pub fn touch(&self) {
        self.revision.send_modify(|revision| *revision = revision.wrapping_add(1));
    }

    /// Counts changes of the model.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits until `look` finds something in the model; nothing if that took longer than `limit`.
    pub async fn wait_for<T>(&self, limit: Duration, mut look: impl FnMut(&ClusterModel) -> Option<T>) -> Option<T> {
        let mut revisions = self.revision.subscribe();
        let found = async {
            loop {
                if let Some(found) = self.read(&mut look) {
                    return Some(found);
                }
                // The sender lives as long as `self`.
                revisions.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, found).await.ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
