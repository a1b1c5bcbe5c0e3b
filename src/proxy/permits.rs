//! Permits for client connections, whose number a new configuration may change while connections hold some.
//!
//! Belongs to one thread. Fewer permits than are held: what is missing is taken back as connections end.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of one worker.
#[derive(Debug)]
pub struct Permits {
    semaphore: Arc<Semaphore>,
    limit: Cell<usize>,
    /// Permits to be taken back.
    owed: Cell<usize>,
}

impl Permits {
    /// So many, at least one.
    pub fn new(limit: usize) -> Self {
        let limit = bounded(limit);
        Self { semaphore: Arc::new(Semaphore::new(limit)), limit: Cell::new(limit), owed: Cell::new(0) }
    }

    /// Changes how many there are.
    pub fn resize(&self, limit: usize) {
        let limit = bounded(limit);
        let former = self.limit.replace(limit);
        if limit >= former {
            // What was not taken back yet need not be.
            let more = limit - former;
            let spared = more.min(self.owed.get());
            self.owed.set(self.owed.get() - spared);
            self.semaphore.add_permits(more - spared);
        } else {
            self.owed.set(self.owed.get() + former - limit);
        }
        self.take_back();
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.take_back();
        self.semaphore.clone().try_acquire_owned().ok()
    }

    /// Waits for a permit. Cancel safe.
    ///
    /// # Errors
    /// Never: nobody closes the semaphore.
    pub async fn acquire(&self) -> io::Result<OwnedSemaphorePermit> {
        loop {
            let permit = self.semaphore.clone().acquire_owned().await.map_err(io::Error::other)?;
            if self.owed.get() == 0 {
                return Ok(permit);
            }
            self.owed.set(self.owed.get() - 1);
            permit.forget();
        }
    }

    fn take_back(&self) {
        let owed = self.owed.get();
        if owed > 0 {
            self.owed.set(owed - self.semaphore.forget_permits(owed));
        }
    }
}

fn bounded(limit: usize) -> usize {
    limit.clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all that are free.
    fn take(permits: &Permits) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| permits.try_acquire()).collect()
    }

    #[test]
    fn more_and_fewer() {
        let permits = Permits::new(2);
        let mut held = take(&permits);
        assert_eq!(held.len(), 2);
        permits.resize(5);
        held.extend(take(&permits));
        assert_eq!(held.len(), 5);
        permits.resize(3);
        held.truncate(3);
        assert!(take(&permits).is_empty(), "two ended, and those are not given out again");
        held.truncate(1);
        assert_eq!(take(&permits).len(), 2);
    }

    #[test]
    fn what_is_still_owed_is_not_added_again() {
        let permits = Permits::new(4);
        let held = take(&permits);
        permits.resize(1);
        permits.resize(3);
        drop(held);
        assert_eq!(take(&permits).len(), 3);
        permits.resize(0);
        assert_eq!(take(&permits).len(), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_gets_nothing_that_is_owed() {
        let permits = Permits::new(2);
        let mut held = take(&permits);
        permits.resize(1);
        let wait = async { permits.acquire().await.unwrap() };
        let mut wait = std::pin::pin!(wait);
        held.pop();
        assert!(tokio::time::timeout(std::time::Duration::ZERO, wait.as_mut()).await.is_err());
        held.pop();
        let _permit = wait.await;
        assert!(permits.try_acquire().is_none());
    }
}
