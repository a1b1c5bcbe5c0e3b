//! TLS handshakes that are under way on one worker: so many at most, and one more ends the oldest.
//!
//! A handshake that somebody has begun and leaves open holds memory and its place until its deadline. Whoever opens
//! thousands keeps nobody out by that: an honest client is done within a few round trips, long before it is the oldest.
//!
//! Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// Handshakes of one worker at a time.
const MOST: usize = 1024;

/// The handshakes of one worker.
#[derive(Debug)]
pub struct Handshakes {
    /// By their number: the oldest comes first.
    under_way: RefCell<BTreeMap<u64, Rc<Notify>>>,
    next: Cell<u64>,
    most: usize,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self::at_most(MOST)
    }
}

/// One that is under way until this is dropped.
#[derive(Debug)]
pub struct Handshake<'a> {
    all: &'a Handshakes,
    number: u64,
    over: Rc<Notify>,
}

impl Handshakes {
    fn at_most(most: usize) -> Self {
        Self { under_way: RefCell::default(), next: Cell::new(0), most }
    }

    /// One more begins.
    pub fn begin(&self) -> Handshake<'_> {
        let (number, over) = (self.next.get(), Rc::new(Notify::new()));
        self.next.set(number + 1);
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= self.most
            && let Some((_, oldest)) = under_way.pop_first()
        {
            oldest.notify_one();
        }
        under_way.insert(number, over.clone());
        Handshake { all: self, number, over }
    }
}

impl Handshake<'_> {
    /// Waits until another one needs its place. Cancel safe.
    pub async fn is_over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.all.under_way.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn is_over(handshake: &Handshake<'_>) -> bool {
        tokio::time::timeout(Duration::ZERO, handshake.is_over()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_ends_the_oldest() {
        let all = Handshakes::at_most(2);
        let (one, two) = (all.begin(), all.begin());
        assert!(!is_over(&one).await && !is_over(&two).await);
        let three = all.begin();
        assert!(is_over(&one).await && !is_over(&two).await && !is_over(&three).await);
        // Those that are done make room.
        drop((one, two));
        let four = all.begin();
        assert!(!is_over(&three).await && !is_over(&four).await);
        drop((three, four));
        assert!(all.under_way.borrow().is_empty());
    }
}
