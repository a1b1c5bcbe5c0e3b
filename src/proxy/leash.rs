//! What still hangs on an endpoint that goes away: it may go on for the drain time, and is cut then.
//!
//! Belongs to one thread. Whatever is under way at an endpoint holds its leash. The drain time begins when the endpoint
//! drains or has left the table; once a second the worker looks at those, and what holds their leashes when that time is over
//! is woken and ends itself. What hangs on an endpoint that comes back meanwhile goes on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use tokio::time::Instant;

use crate::model::endpoint::Endpoint;

/// The leashes of one worker.
#[derive(Debug, Default)]
pub struct Leashes {
    /// By the address of the endpoint's run-time state: that is the identity of "this task at this address", and the
    /// leash keeps it alive, so that no other can have the number.
    leashes: RefCell<HashMap<usize, Rc<Leash>>>,
    /// The same, the one that is looked at next first.
    turns: RefCell<VecDeque<usize>>,
    /// Those of endpoints that are going away.
    leaving: RefCell<Vec<usize>>,
}

#[derive(Debug)]
struct Leash {
    endpoint: Arc<Endpoint>,
    /// When the endpoint was first seen to go away.
    leaving: Cell<Option<Instant>>,
    is_cut: Cell<bool>,
    /// Who is to be woken; holders have their place.
    waiting: RefCell<Vec<Option<Waker>>>,
}

/// One thing under way at an endpoint.
#[derive(Debug)]
pub struct Hold {
    leash: Rc<Leash>,
    place: Option<usize>,
}

impl Leashes {
    /// Something begins at `endpoint`.
    pub fn hold(&self, endpoint: &Arc<Endpoint>) -> Hold {
        let mut leashes = self.leashes.borrow_mut();
        let leash = match leashes.entry(key(endpoint)) {
            Entry::Occupied(entry) => {
                let leash = entry.into_mut();
                // The endpoint is back, and what begins now has nothing to do with what was cut.
                if leash.is_cut.get() {
                    *leash = Leash::new(endpoint);
                }
                leash
            }
            Entry::Vacant(entry) => {
                self.turns.borrow_mut().push_back(key(endpoint));
                entry.insert(Leash::new(endpoint))
            }
        };
        Hold { leash: leash.clone(), place: None }
    }

    /// An endpoint drains or has left the table: the time of what hangs on it begins.
    pub fn leave(&self, endpoint: &Endpoint, now: Instant, drain_time: Duration) {
        let key = key(endpoint);
        if let Some(leash) = self.leashes.borrow().get(&key) {
            self.begin(key, leash, now, drain_time);
        }
    }

    /// An endpoint is back: what hangs on it goes on.
    pub fn stay(&self, endpoint: &Endpoint) {
        if let Some(leash) = self.leashes.borrow().get(&key(endpoint)) {
            leash.leaving.set(None);
        }
    }

    /// Cuts what hangs on endpoints that have been leaving for `drain_time`, or for their own shorter one.
    pub fn cut(&self, now: Instant, drain_time: Duration, is_current: impl Fn(&Endpoint) -> bool) {
        let leashes = self.leashes.borrow();
        self.leaving.borrow_mut().retain(|key| {
            let Some(leash) = leashes.get(key) else { return false };
            if is_current(&leash.endpoint) {
                leash.leaving.set(None);
            }
            leash.leaving.get().is_some() && !leash.cut_if_due(now, drain_time)
        });
    }

    /// Looks at so many leashes, and forgets those that nothing is held by.
    pub fn tidy(&self, some: usize, now: Instant, drain_time: Duration, is_current: impl Fn(&Endpoint) -> bool) {
        let (mut leashes, mut turns) = (self.leashes.borrow_mut(), self.turns.borrow_mut());
        for _ in 0..some.min(turns.len()) {
            let Some(key) = turns.pop_front() else { break };
            let Some(leash) = leashes.get(&key) else { continue };
            // Held by something beside this list.
            if Rc::strong_count(leash) == 1 {
                leashes.remove(&key);
                continue;
            }
            if leash.leaving.get().is_none() && !is_current(&leash.endpoint) {
                self.begin(key, leash, now, drain_time);
            }
            turns.push_back(key);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.leashes.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn begin(&self, key: usize, leash: &Leash, now: Instant, drain_time: Duration) {
        if leash.leaving.get().is_none() {
            leash.leaving.set(Some(now));
            if !leash.cut_if_due(now, drain_time) {
                self.leaving.borrow_mut().push(key);
            }
        }
    }
}

fn key(endpoint: &Endpoint) -> usize {
    Arc::as_ptr(&endpoint.run).addr()
}

impl Leash {
    fn new(endpoint: &Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            endpoint: endpoint.clone(),
            leaving: Cell::new(None),
            is_cut: Cell::new(false),
            waiting: RefCell::default(),
        })
    }

    /// Whether the time is over since the endpoint was leaving.
    fn cut_if_due(&self, now: Instant, drain_time: Duration) -> bool {
        let time = self.endpoint.drain_time.map_or(drain_time, |own| own.min(drain_time));
        let is_due = self.leaving.get().is_some_and(|since| now.duration_since(since) >= time);
        if is_due {
            self.cut();
        }
        is_due
    }

    fn cut(&self) {
        self.is_cut.set(true);
        for waker in self.waiting.borrow_mut().iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

impl Hold {
    /// Whether the drain time is over.
    pub fn is_cut(&self) -> bool {
        self.leash.is_cut.get()
    }

    /// Ready when the drain time is over.
    pub fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_cut() {
            return Poll::Ready(());
        }
        let mut waiting = self.leash.waiting.borrow_mut();
        let place =
            *self.place.get_or_insert_with(|| waiting.iter().position(Option::is_none).unwrap_or(waiting.len()));
        match waiting.get_mut(place) {
            Some(Some(known)) => known.clone_from(context.waker()),
            Some(empty) => *empty = Some(context.waker().clone()),
            None => waiting.push(Some(context.waker().clone())),
        }
        Poll::Pending
    }
}

/// Waits until the drain time of what is held is over; forever if nothing is held. Cancel safe.
pub async fn cut(hold: Option<&mut Hold>) {
    match hold {
        Some(hold) => poll_fn(|context| hold.poll_cut(context)).await,
        None => std::future::pending().await,
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && let Some(waiting) = self.leash.waiting.borrow_mut().get_mut(place)
        {
            *waiting = None;
        }
    }
}

/// Endpoints for tests.
#[cfg(test)]
pub(super) mod sample {
    use super::*;
    use crate::model::endpoint::{EndpointId, EndpointState, Family, Weight};
    use crate::model::id::{ServiceId, TaskKey};

    /// A task's, at port 80 of this machine.
    pub(in crate::proxy) fn endpoint(task: &str, drain_time: Option<u64>) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            id: EndpointId { task: TaskKey::new("c".into(), "f".into(), task), port: "0".into(), family: Family::V4 },
            service: ServiceId::new("c".into(), "f", "s", "0"),
            address: ([127, 0, 0, 1], 80).into(),
            protocol: crate::model::service::Protocol::Http,
            tls: None,
            proxy_protocol: None,
            version: "1".into(),
            weight: Weight::default(),
            version_weight: None,
            deployment: None,
            state: EndpointState::Ready,
            agent: None,
            ready_since: None,
            drain_time: drain_time.map(Duration::from_secs),
            sticky: false,
            balance: None,
            bounds: None,
            rules: None,
            check: None,
            run: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::sample::endpoint;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Whether what hangs on an endpoint is cut after so many seconds of leaving.
    fn check(own: Option<u64>, seconds: u64, expected: bool) {
        let leashes = Leashes::default();
        let hold = leashes.hold(&endpoint("t", own));
        let start = Instant::now();
        leashes.leave(&hold.leash.endpoint, start, MINUTE);
        leashes.cut(start + Duration::from_secs(seconds), MINUTE, |_| false);
        assert_eq!(hold.is_cut(), expected, "{own:?} {seconds}");
        // The same where nobody tells of it, and it is only seen to be gone.
        let leashes = Leashes::default();
        let hold = leashes.hold(&endpoint("t", own));
        leashes.tidy(1, start, MINUTE, |_| false);
        leashes.cut(start + Duration::from_secs(seconds), MINUTE, |_| false);
        assert_eq!(hold.is_cut(), expected, "{own:?} {seconds}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_label_may_ask_for_less_and_not_for_more() {
        check(None, 59, false);
        check(None, 60, true);
        check(Some(5), 4, false);
        check(Some(5), 5, true);
        check(Some(90), 59, false);
        check(Some(90), 60, true);
        check(Some(0), 0, true);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_endpoint_that_comes_back_begins_anew() {
        let leashes = Leashes::default();
        let endpoint = endpoint("t", None);
        let hold = leashes.hold(&endpoint);
        let start = Instant::now();
        leashes.leave(&endpoint, start, MINUTE);
        leashes.cut(start + MINUTE / 2, MINUTE, |_| true);
        leashes.leave(&endpoint, start + MINUTE, MINUTE);
        leashes.cut(start + MINUTE, MINUTE, |_| false);
        assert!(!hold.is_cut());
        leashes.stay(&endpoint);
        leashes.leave(&endpoint, start + 3 * MINUTE / 2, MINUTE);
        leashes.cut(start + 2 * MINUTE, MINUTE, |_| false);
        assert!(!hold.is_cut(), "its time began anew");
        leashes.cut(start + 5 * MINUTE / 2, MINUTE, |_| false);
        assert!(hold.is_cut());
        // What begins after that is not cut with it.
        let later = leashes.hold(&endpoint);
        assert!(!later.is_cut() && hold.is_cut());
        drop((hold, later));
        leashes.tidy(1, start, MINUTE, |_| true);
        assert!(leashes.is_empty() && leashes.turns.borrow().is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_holder_is_woken_and_nothing_is_kept_for_those_that_are_gone() {
        let leashes = Leashes::default();
        let endpoint = endpoint("t", Some(0));
        let (mut one, mut two) = (leashes.hold(&endpoint), leashes.hold(&endpoint));
        let mut gone = leashes.hold(&endpoint);
        assert!(tokio::time::timeout(Duration::ZERO, cut(Some(&mut gone))).await.is_err());
        drop(gone);
        let both = async { tokio::join!(cut(Some(&mut one)), cut(Some(&mut two))) };
        let sweep = async { leashes.leave(&endpoint, Instant::now(), MINUTE) };
        tokio::time::timeout(MINUTE, async { tokio::join!(both, sweep) }).await.unwrap();
        assert!(one.leash.waiting.borrow().len() <= 2);
        let _ended = leashes.hold(&endpoint);
        drop((one, two, _ended));
        leashes.tidy(1, Instant::now(), MINUTE, |_| true);
        assert!(leashes.is_empty());
    }
}
