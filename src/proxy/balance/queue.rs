//! Requests that wait for room at an endpoint of their service, in the order they came.
//!
//! HAProxy's backend queue, cut in one part for each worker, so that nobody waits for another's lock: the first in the
//! line looks when a request of its own worker has ended, and every [`LOOK`] for what ended elsewhere. The line is
//! bounded, and nobody waits past the time of its request. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::proxy::metrics::Shard;

/// How often the first one looks whether requests of other workers have ended.
const LOOK: Duration = Duration::from_millis(5);

/// The line of one service.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Waiter>>,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    told: Rc<Notify>,
}

/// A place in the line, given up when this is dropped.
#[derive(Debug)]
pub struct Place {
    queue: Rc<Queue>,
    number: u64,
    told: Rc<Notify>,
    shard: Arc<Shard>,
}

impl Queue {
    /// The last place of the line; `None`: `most` wait already.
    pub fn enter(self: &Rc<Self>, most: usize, shard: &Arc<Shard>) -> Option<Place> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= most {
            return None;
        }
        let (number, told) = (self.next.get(), Rc::new(Notify::new()));
        self.next.set(number + 1);
        waiting.push_back(Waiter { number, told: told.clone() });
        shard.queue_entered.increment();
        Some(Place { queue: self.clone(), number, told, shard: shard.clone() })
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// There may be room: the first one looks.
    pub fn tell(&self) {
        if let Some(first) = self.waiting.borrow().front() {
            first.told.notify_one();
        }
    }
}

impl Place {
    /// Waits until it is worth looking for room. Cancel safe.
    pub async fn turn(&self) {
        while !self.is_first() {
            self.told.notified().await;
        }
        // Either way it is worth a look.
        let _ = timeout(LOOK, self.told.notified()).await;
    }

    fn is_first(&self) -> bool {
        self.queue.waiting.borrow().front().is_some_and(|first| first.number == self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shard.queue_left.increment();
        self.queue.waiting.borrow_mut().retain(|waiter| waiter.number != self.number);
        self.queue.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn whoever_came_first_looks_first_and_the_line_is_bounded() {
        let (queue, shard) = (Rc::new(Queue::default()), Arc::<Shard>::default());
        let (first, second) = (queue.enter(2, &shard).unwrap(), queue.enter(2, &shard).unwrap());
        assert!(queue.enter(2, &shard).is_none());
        assert!(timeout(Duration::from_secs(1), second.turn()).await.is_err(), "the first one's turn is not over");
        let begun = Instant::now();
        queue.tell();
        first.turn().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        first.turn().await;
        assert!(begun.elapsed() >= LOOK, "it looks by itself too");
        drop(first);
        second.turn().await;
        assert!(queue.enter(2, &shard).is_some());
        drop(second);
        assert!(queue.is_empty());
        assert_eq!((shard.queue_entered.value(), shard.queue_left.value()), (3, 3));
    }
}
