//! Requests that wait for room at an endpoint of their service, in the order they came.
//!
//! HAProxy's backend queue, cut in one part for each worker, so that nobody waits for another's lock: the first in the
//! line looks when a request of its own worker has ended, and every [`LOOK`] for what ended elsewhere. Where it cannot be
//! served it passes the turn on, to the first one behind it that waits for something else: who waits for one version, or for
//! the endpoint that a session is kept on, holds up nobody who waits for another, or for any. The line is bounded, and nobody
//! waits past the time of its request. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::model::id::Version;
use crate::proxy::metrics::Shard;

/// How often the first one looks whether requests of other workers have ended.
const LOOK: Duration = Duration::from_millis(5);

/// The line of one service.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Waiter>>,
    next: Cell<u64>,
}

/// What a request waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The one version that it goes to.
    pub version: Option<Version>,
    /// The one endpoint that it goes to, because its client is kept there.
    pub home: Option<Home>,
    /// It has failed at some endpoints: what is room to others need be none to it.
    pub is_picky: bool,
}

/// The endpoint that a client is kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// [`crate::model::endpoint::EndpointId::fingerprint`] of it.
    pub endpoint: u64,
    /// It serves nobody but those that are kept on it.
    pub is_apart: bool,
}

impl Wish {
    /// Whether who has this wish can be served wherever one with the `other` can.
    fn covers(&self, other: &Self) -> bool {
        match (self.home, other.home) {
            _ if self.is_picky => false,
            (Some(own), home) => home.is_some_and(|home| home.endpoint == own.endpoint),
            (None, Some(Home { is_apart: true, .. })) => false,
            (None, _) => self.version.is_none() || self.version == other.version,
        }
    }
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wish: Wish,
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
    pub fn enter(self: &Rc<Self>, wish: Wish, most: usize, shard: &Arc<Shard>) -> Option<Place> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= most {
            return None;
        }
        let (number, told) = (self.next.get(), Rc::new(Notify::new()));
        self.next.set(number + 1);
        waiting.push_back(Waiter { number, wish, told: told.clone() });
        shard.queue_entered.increment();
        Some(Place { queue: self.clone(), number, told, shard: shard.clone() })
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Whether somebody waits who can be served wherever one with this wish can.
    pub fn is_before(&self, wish: &Wish) -> bool {
        self.waiting.borrow().iter().any(|waiter| waiter.wish.covers(wish))
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
        if !self.is_first() {
            return self.told.notified().await;
        }
        // Either way it is worth a look.
        let _ = timeout(LOOK, self.told.notified()).await;
    }

    /// There is no room for this one, which wants `wish` by now: the next one looks that wants what nobody before it has
    /// looked for.
    pub fn pass(&self, wish: Wish) {
        let mut waiting = self.queue.waiting.borrow_mut();
        let Some(position) = waiting.iter().position(|waiter| waiter.number == self.number) else { return };
        if let Some(own) = waiting.get_mut(position) {
            own.wish = wish;
        }
        // Few: the versions of a service. Of homes there may be as many as endpoints. A picky one covers nobody.
        let mut looked: SmallVec<[&Wish; 4]> = SmallVec::new();
        let mut homes: HashSet<u64> = HashSet::new();
        for (at, Waiter { wish, told, .. }) in waiting.iter().enumerate() {
            let is_homes = wish.home.is_some_and(|home| homes.contains(&home.endpoint));
            if is_homes || looked.iter().any(|looked| looked.covers(wish)) {
                continue;
            }
            if at > position {
                return told.notify_one();
            }
            match wish.home {
                _ if wish.is_picky => {}
                Some(home) => {
                    homes.insert(home.endpoint);
                }
                None => looked.push(wish),
            }
        }
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
        let enter = || queue.enter(Wish::default(), 2, &shard);
        let (first, second) = (enter().unwrap(), enter().unwrap());
        assert!(enter().is_none());
        assert!(timeout(Duration::from_secs(1), second.turn()).await.is_err(), "the first one's turn is not over");
        let begun = Instant::now();
        queue.tell();
        first.turn().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        first.turn().await;
        assert!(begun.elapsed() >= LOOK, "it looks by itself too");
        drop(first);
        second.turn().await;
        assert!(enter().is_some());
        drop(second);
        assert!(queue.is_empty());
        assert_eq!((shard.queue_entered.value(), shard.queue_left.value()), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cannot_be_served_passes_the_turn_on() {
        let (queue, shard) = (Rc::new(Queue::default()), Arc::<Shard>::default());
        let wish = |version: &str| Wish { version: Some(version.into()), ..Wish::default() };
        let picky = || Wish { is_picky: true, ..Wish::default() };
        let enter = |wish: Wish| queue.enter(wish, 10, &shard).unwrap();
        let old = enter(wish("1"));
        let (repeat, old_again, new, any) =
            (enter(picky()), enter(wish("1")), enter(wish("2")), enter(Wish::default()));
        let last = enter(wish("2"));
        let looks = |place: &Place| {
            let turn = place.told.clone();
            async move { timeout(LOOK / 10, turn.notified()).await.is_ok() }
        };
        let check = |passes: &'static str, expected: [bool; 5]| {
            let all = [looks(&repeat), looks(&old_again), looks(&new), looks(&any), looks(&last)];
            async move {
                let mut seen = [false; 5];
                for (seen, looks) in seen.iter_mut().zip(all) {
                    *seen = looks.await;
                }
                assert_eq!(seen, expected, "{passes} passes");
            }
        };
        old.pass(wish("1"));
        check("the first", [true, false, false, false, false]).await;
        repeat.pass(picky());
        check("one that failed elsewhere", [false, false, true, false, false]).await;
        new.pass(wish("2"));
        check("of another version", [false, false, false, true, false]).await;
        any.pass(Wish::default());
        check("whom any endpoint does", [false; 5]).await;
        // Who comes now stands behind those that want the same, or anything.
        assert!(queue.is_before(&wish("3")));
        drop((any, last, new));
        assert!(queue.is_before(&wish("1")) && !queue.is_before(&wish("2")) && !queue.is_before(&Wish::default()));
        // Whose version is gone waits for any.
        old_again.pass(Wish::default());
        assert!(queue.is_before(&wish("2")));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_its_own_endpoint_holds_up_those_of_that_one_alone() {
        let (queue, shard) = (Rc::new(Queue::default()), Arc::<Shard>::default());
        let at = |endpoint, is_apart| Wish {
            version: Some("1".into()),
            home: Some(Home { endpoint, is_apart }),
            is_picky: false,
        };
        let enter = |wish: Wish| queue.enter(wish, 10, &shard).unwrap();
        let (first, same, other) = (enter(at(1, false)), enter(at(1, false)), enter(at(2, false)));
        let looks = |place: &Place| {
            let turn = place.told.clone();
            async move { timeout(LOOK / 10, turn.notified()).await.is_ok() }
        };
        first.pass(at(1, false));
        assert_eq!([looks(&same).await, looks(&other).await], [false, true]);
        assert!(queue.is_before(&at(1, false)) && queue.is_before(&at(2, false)));
        assert!(!queue.is_before(&at(3, false)) && !queue.is_before(&Wish::default()), "others have room elsewhere");
        // Who goes anywhere, or to the version, could be served by any endpoint of it that is not for sessions alone.
        let version = enter(Wish { version: Some("1".into()), ..Wish::default() });
        assert!(queue.is_before(&at(3, false)) && !queue.is_before(&at(3, true)));
        let behind = enter(at(3, false));
        let apart = enter(at(4, true));
        other.pass(at(2, false));
        assert_eq!([looks(&version).await, looks(&behind).await, looks(&apart).await], [true, false, false]);
        version.pass(Wish { version: Some("1".into()), ..Wish::default() });
        assert_eq!([looks(&behind).await, looks(&apart).await], [false, true]);
    }
}
