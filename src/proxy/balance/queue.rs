//! Requests that wait for room at an endpoint of their service, in the order they came.
//!
//! HAProxy's backend queue, cut in one part for each worker, so that nobody waits for another's lock. Where a request of its
//! own worker has ended, the first in the line looks, and the first one that could go to that request's endpoint. For what
//! ended elsewhere there is a round every [`LOOK`]: where the first in the line cannot be served, the first ones behind it
//! look that wait for something else each. So who waits for one version, or for the endpoint that a session is kept on, holds
//! up nobody who waits for another, or for any; and what one ended request costs does not grow with how many homes are
//! waited for. An endpoint that a session waits for is for nobody who came later. The line is bounded, and nobody waits past
//! the time of its request. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::model::id::Version;
use crate::proxy::metrics::Shard;

/// How often the first one looks whether requests of other workers have ended, and the others after it.
const LOOK: Duration = Duration::from_millis(5);

/// The line of one service.
#[derive(Debug, Default)]
pub struct Queue {
    /// By number.
    waiting: RefCell<VecDeque<Waiter>>,
    /// The numbers of those that wait for an endpoint that they are kept on, by its fingerprint.
    homes: RefCell<HashMap<u64, BTreeSet<u64>>>,
    next: Cell<u64>,
    /// When all that wait for something else each were last told to look.
    round: Cell<Option<Instant>>,
}

/// What a request waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The one version that it goes to.
    pub version: Option<Version>,
    /// The one endpoint that it goes to, because its client is kept there.
    pub home: Option<Home>,
    /// [`crate::model::endpoint::EndpointId::fingerprint`] of those that it has failed at: what is room to others need be
    /// none to it.
    pub tried: SmallVec<[u64; 2]>,
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
            _ if self.is_picky() => false,
            (Some(own), home) => home.is_some_and(|home| home.endpoint == own.endpoint),
            (None, Some(Home { is_apart: true, .. })) => false,
            (None, _) => self.version.is_none() || self.version == other.version,
        }
    }

    /// Whether who has this wish could be served by an endpoint. `is_apart`: it serves nobody but those that are kept on it.
    fn fits(&self, endpoint: u64, version: &Version, is_apart: bool) -> bool {
        match self.home {
            Some(home) => home.endpoint == endpoint,
            None if is_apart || self.tried.contains(&endpoint) => false,
            None => self.version.as_ref().is_none_or(|wanted| wanted == version),
        }
    }

    fn is_picky(&self) -> bool {
        !self.tried.is_empty()
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
        self.note_home(number, None, wish.home);
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

    /// Whether somebody waits for the endpoint that its session is kept on.
    pub fn has_homes(&self) -> bool {
        !self.homes.borrow().is_empty()
    }

    /// Whether somebody waits for this endpoint because its session is kept there, and came before the one at `place`;
    /// `None`: before one who comes now. `endpoint`: its fingerprint.
    pub fn is_awaited(&self, endpoint: u64, place: Option<&Place>) -> bool {
        let homes = self.homes.borrow();
        let first = homes.get(&endpoint).and_then(BTreeSet::first);
        first.is_some_and(|first| place.is_none_or(|place| *first < place.number))
    }

    /// There may be room at an endpoint: the first one looks, and the first one that could go there. `endpoint`: its
    /// fingerprint.
    pub fn tell(&self, endpoint: u64, version: &Version) {
        // In the order of the line: whoever is told first is polled first.
        self.tell_first();
        self.tell_fitting(endpoint, version);
    }

    /// There may be more room at an endpoint: the first one that could go there looks, unless it is the first of all, which
    /// has been told already.
    pub fn tell_fitting(&self, endpoint: u64, version: &Version) {
        let waiting = self.waiting.borrow();
        let at_home = |home: Option<Home>| home.is_some_and(|home| home.is_apart && home.endpoint == endpoint);
        let is_apart = self.has_homes() && waiting.iter().any(|waiter| at_home(waiter.wish.home));
        let fitting = waiting.iter().position(|waiter| waiter.wish.fits(endpoint, version, is_apart));
        if let Some(fitting) = fitting.filter(|position| *position > 0).and_then(|position| waiting.get(position)) {
            fitting.told.notify_one();
        }
    }

    fn tell_first(&self) {
        if let Some(first) = self.waiting.borrow().front() {
            first.told.notify_one();
        }
    }

    /// When the next round is due; `None`: there was none yet.
    fn due(&self) -> Option<Instant> {
        self.round.get().map(|last| last + LOOK)
    }

    /// One in the line waits for another home, or for none any more.
    fn note_home(&self, number: u64, former: Option<Home>, home: Option<Home>) {
        let (former, home) = (former.map(|home| home.endpoint), home.map(|home| home.endpoint));
        if former == home {
            return;
        }
        let mut homes = self.homes.borrow_mut();
        if let Some(former) = former
            && let Some(numbers) = homes.get_mut(&former)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                homes.remove(&former);
            }
        }
        if let Some(home) = home {
            homes.entry(home).or_default().insert(number);
        }
    }
}

impl Place {
    /// Waits until it is worth looking for room. Cancel safe.
    pub async fn turn(&self) {
        if !self.is_first() {
            return self.told.notified().await;
        }
        let until = self.queue.due().unwrap_or_else(|| Instant::now() + LOOK);
        // Either way it is worth a look.
        let _ = timeout_at(until, self.told.notified()).await;
    }

    /// There is no room for this one, which wants `wish` by now. If it is the first in the line and a round is due, all look
    /// that want what nobody before them looks for.
    pub fn pass(&self, wish: Wish) {
        let mut waiting = self.queue.waiting.borrow_mut();
        let Ok(position) = waiting.binary_search_by_key(&self.number, |waiter| waiter.number) else { return };
        if let Some(own) = waiting.get_mut(position) {
            self.queue.note_home(self.number, own.wish.home, wish.home);
            own.wish = wish;
        }
        let now = Instant::now();
        if position > 0 || self.queue.due().is_some_and(|due| now < due) {
            return;
        }
        self.queue.round.set(Some(now));
        // Few: the versions of a service. Of homes there may be as many as endpoints. A picky one covers nobody.
        let mut looked: SmallVec<[&Wish; 4]> = SmallVec::new();
        let mut homes: HashSet<u64> = HashSet::new();
        for Waiter { number, wish, told } in &*waiting {
            let is_homes = wish.home.is_some_and(|home| homes.contains(&home.endpoint));
            if is_homes || looked.iter().any(|looked| looked.covers(wish)) {
                continue;
            }
            if *number != self.number {
                told.notify_one();
            }
            match wish.home {
                _ if wish.is_picky() => {}
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
        let mut waiting = self.queue.waiting.borrow_mut();
        let position = waiting.binary_search_by_key(&self.number, |waiter| waiter.number);
        if let Some(own) = position.ok().and_then(|position| waiting.remove(position)) {
            self.queue.note_home(self.number, own.wish.home, None);
        }
        drop(waiting);
        self.queue.tell_first();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    /// Whether this one is told to look, by now.
    async fn looks(place: &Place) -> bool {
        tokio::select! {
            // What was told is seen first; no time passes.
            biased;
            () = place.told.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Of whose session's endpoint is 1, 2, ...
    fn at(endpoint: u64) -> Wish {
        let home = Some(Home { endpoint, is_apart: false });
        Wish { version: Some("1".into()), home, ..Wish::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_came_first_looks_first_and_the_line_is_bounded() {
        let (queue, shard) = (Rc::new(Queue::default()), Arc::<Shard>::default());
        let enter = || queue.enter(Wish::default(), 2, &shard);
        let (first, second) = (enter().unwrap(), enter().unwrap());
        assert!(enter().is_none());
        assert!(timeout(Duration::from_secs(1), second.turn()).await.is_err(), "the first one's turn is not over");
        let begun = Instant::now();
        queue.tell(1, &"1".into());
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
        let picky = || Wish { tried: SmallVec::from_slice(&[1]), ..Wish::default() };
        let enter = |wish: Wish| queue.enter(wish, 10, &shard).unwrap();
        let old = enter(wish("1"));
        let (repeat, old_again, new) = (enter(picky()), enter(wish("1")), enter(wish("2")));
        let (new_again, any, last) = (enter(wish("2")), enter(Wish::default()), enter(wish("3")));
        let all = [&old, &repeat, &old_again, &new, &new_again, &any, &last];
        let check = |passes: &'static str, expected: [bool; 7]| async move {
            let mut seen = [false; 7];
            for (seen, place) in seen.iter_mut().zip(all) {
                *seen = looks(place).await;
            }
            assert_eq!(seen, expected, "{passes}");
        };
        old.pass(wish("1"));
        check("the first one of each wish looks", [false, true, false, true, false, true, false]).await;
        new.pass(wish("2"));
        check("who is not the first begins no round", [false; 7]).await;
        old.pass(wish("1"));
        check("nor does the first one before its time", [false; 7]).await;
        advance(Duration::from_millis(3)).await;
        let begun = Instant::now();
        old.turn().await;
        assert!(begun.elapsed() < LOOK, "the time counts from the last round");
        old.pass(wish("1"));
        check("then it does", [false, true, false, true, false, true, false]).await;
        // A request has ended: the first in the line looks, and the first one that could go there.
        queue.tell(1, &"2".into());
        check("not who has failed there", [true, false, false, true, false, false, false]).await;
        queue.tell(2, &"2".into());
        check("who failed elsewhere", [true, true, false, false, false, false, false]).await;
        queue.tell(1, &"1".into());
        check("the first one itself, once", [true, false, false, false, false, false, false]).await;
        queue.tell_fitting(1, &"2".into());
        check("there is more room", [false, false, false, true, false, false, false]).await;
        // Who comes now stands behind those that want the same, or anything.
        assert!(queue.is_before(&wish("3")));
        drop((any, last, new, new_again));
        assert!(queue.is_before(&wish("1")) && !queue.is_before(&wish("2")) && !queue.is_before(&Wish::default()));
        // Whose version is gone waits for any.
        old_again.pass(Wish::default());
        assert!(queue.is_before(&wish("2")));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_its_own_endpoint_holds_up_those_of_that_one_alone() {
        let (queue, shard) = (Rc::new(Queue::default()), Arc::<Shard>::default());
        let apart = |endpoint| Wish { home: Some(Home { endpoint, is_apart: true }), ..at(endpoint) };
        let enter = |wish: Wish| queue.enter(wish, 10, &shard).unwrap();
        let (first, same, other) = (enter(at(1)), enter(at(1)), enter(at(2)));
        first.pass(at(1));
        assert_eq!([looks(&same).await, looks(&other).await], [false, true]);
        assert!(queue.is_before(&at(1)) && queue.is_before(&at(2)));
        assert!(!queue.is_before(&at(3)) && !queue.is_before(&Wish::default()), "others have room elsewhere");
        // Who goes anywhere, or to the version, could be served by any endpoint of it that is not for sessions alone.
        let version = enter(Wish { version: Some("1".into()), ..Wish::default() });
        assert!(queue.is_before(&at(3)) && !queue.is_before(&apart(3)));
        let (behind, alone) = (enter(at(3)), enter(apart(4)));
        advance(LOOK).await;
        first.pass(at(1));
        let seen = [looks(&other).await, looks(&version).await, looks(&behind).await, looks(&alone).await];
        assert_eq!(seen, [true, true, false, true]);
        // Where a request has ended at an endpoint, who came first of those that could go there.
        for (endpoint, expected) in [(2, [true, false, false]), (3, [false, true, false]), (4, [false, false, true])] {
            queue.tell(endpoint, &"1".into());
            let seen = [looks(&other).await, looks(&version).await, looks(&alone).await];
            assert_eq!((looks(&first).await, seen, looks(&behind).await), (true, expected, false), "{endpoint}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_waited_for_is_for_nobody_who_came_later() {
        let (queue, shard) = (Rc::new(Queue::default()), Arc::<Shard>::default());
        let enter = |wish: Wish| queue.enter(wish, 10, &shard).unwrap();
        let before = enter(Wish::default());
        assert!(!queue.has_homes());
        let (first, second, after) = (enter(at(1)), enter(at(1)), enter(Wish::default()));
        let awaited = || [None, Some(&before), Some(&after)].map(|place| queue.is_awaited(1, place));
        assert_eq!(awaited(), [true, false, true]);
        assert!(queue.has_homes() && !queue.is_awaited(2, None));
        assert!(!queue.is_awaited(1, Some(&first)) && queue.is_awaited(1, Some(&second)), "in the order they came");
        drop(first);
        assert_eq!(awaited(), [true, false, true], "the other one waits still");
        // Its home is spared by now, and is another one later.
        second.pass(Wish::default());
        assert!(!queue.has_homes());
        second.pass(at(2));
        assert!(queue.is_awaited(2, Some(&after)) && !queue.is_awaited(1, None));
        drop(second);
        assert!(!queue.has_homes());
    }
}
