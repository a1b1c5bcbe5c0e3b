//! Deadlines of what is under way at endpoints: one timer a thread in the place of one for each request.
//!
//! Most deadlines are never reached: a request is answered long before. So they are only written down, and all of a
//! thread's are looked at together, every [`PRECISION`] while there are any. A deadline is told at most that much late.
//!
//! Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// How late a deadline may be told.
pub const PRECISION: Duration = Duration::from_millis(20);

/// The deadlines of one thread.
#[derive(Debug, Default)]
pub struct Deadlines {
    places: RefCell<Vec<Place>>,
    /// Places that nobody has.
    free: RefCell<Vec<usize>>,
    /// Deadlines that are waited for.
    waiting: Cell<usize>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Place {
    at: Option<Instant>,
    waker: Option<Waker>,
}

/// A deadline, forgotten when this is dropped.
#[derive(Debug)]
pub struct Deadline {
    deadlines: Rc<Deadlines>,
    place: usize,
    at: Instant,
}

impl Deadlines {
    /// Writes a deadline down.
    pub fn at(self: &Rc<Self>, at: Instant) -> Deadline {
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut places = self.places.borrow_mut();
            places.push(Place::default());
            places.len() - 1
        });
        if self.waiting.replace(self.waiting.get() + 1) == 0 {
            self.begun.notify_one();
        }
        Deadline { deadlines: self.clone(), place, at }
    }

    /// Tells of the deadlines that pass. Never ends.
    pub async fn run(&self) {
        loop {
            match self.waiting.get() {
                0 => self.begun.notified().await,
                _ => sleep(PRECISION).await,
            }
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        for place in self.places.borrow_mut().iter_mut().filter(|place| place.at.is_some_and(|at| at <= now)) {
            place.at = None;
            // A waker only puts its task into the queue: nothing of this is touched by it.
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Deadline {
    /// Another time.
    pub fn set(&mut self, at: Instant) {
        self.at = at;
    }

    /// Ready when it has passed.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut places = self.deadlines.places.borrow_mut();
        let place = &mut places[self.place];
        // Who is told is asked again: only then is the clock looked at.
        if place.at == Some(self.at) {
            match &mut place.waker {
                Some(waker) => waker.clone_from(context.waker()),
                empty => *empty = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        *place = Place { at: Some(self.at), waker: Some(context.waker().clone()) };
        Poll::Pending
    }

    /// Waits until it has passed. Cancel safe.
    pub async fn passed(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let deadlines = &self.deadlines;
        deadlines.places.borrow_mut()[self.place] = Place::default();
        deadlines.free.borrow_mut().push(self.place);
        deadlines.waiting.set(deadlines.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a deadline takes that is set to `first`, and to `then` if that has not passed within a second.
    async fn taken(first: Duration, then: Duration) -> Duration {
        let deadlines = Rc::new(Deadlines::default());
        let begun = Instant::now();
        let wait = async {
            let mut deadline = deadlines.at(begun + first);
            if timeout(SECOND, deadline.passed()).await.is_err() {
                deadline.set(begun + then);
                deadline.passed().await;
            }
        };
        tokio::select! {
            () = wait => {}
            () = deadlines.run() => {}
        }
        assert_eq!(deadlines.waiting.get(), 0);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_pass_in_time_and_may_be_moved() {
        let check =
            |taken: Duration, at: Duration| assert!(taken >= at && taken <= at + 2 * PRECISION, "{taken:?} {at:?}");
        check(taken(SECOND / 2, SECOND).await, SECOND / 2);
        check(taken(SECOND * 9, SECOND * 2).await, SECOND * 2);
        check(taken(SECOND * 2, SECOND * 9).await, SECOND * 9);
        check(taken(Duration::ZERO, SECOND).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_used_again() {
        let deadlines = Rc::new(Deadlines::default());
        for _ in 0..10 {
            let (mut one, mut two) = (deadlines.at(Instant::now() + SECOND), deadlines.at(Instant::now() + SECOND));
            assert!(timeout(Duration::ZERO, one.passed()).await.is_err());
            assert!(timeout(Duration::ZERO, two.passed()).await.is_err());
        }
        assert_eq!((deadlines.places.borrow().len(), deadlines.waiting.get()), (2, 0));
        assert!(deadlines.places.borrow().iter().all(|place| place.waker.is_none()));
    }
}
