//! What still hangs on an endpoint that goes away: it may go on for the drain time, and is cut then.
//!
//! Belongs to one thread. Whatever is under way at an endpoint holds its leash. The worker looks at the leashes with
//! each new table and once a second: the drain time begins when the endpoint drains or has left the table, and what
//! holds its leash when that time is over is woken and ends itself. An endpoint that comes back meanwhile is let go on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::model::endpoint::Endpoint;

/// The leashes of one worker.
#[derive(Debug, Default)]
pub struct Leashes {
    /// By the address of the endpoint's run-time state: that is the identity of "this task at this address", and the
    /// leash keeps it alive, so that no other can have the number.
    leashes: RefCell<HashMap<usize, Rc<Leash>>>,
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
        let key = Arc::as_ptr(&endpoint.run).addr();
        let mut leashes = self.leashes.borrow_mut();
        let leash = leashes.entry(key).or_insert_with(|| {
            Rc::new(Leash {
                endpoint: endpoint.clone(),
                leaving: Cell::new(None),
                is_cut: Cell::new(false),
                waiting: RefCell::default(),
            })
        });
        Hold { leash: leash.clone(), place: None }
    }

    /// Cuts what hangs on endpoints that have been leaving for `drain_time`, or for their own shorter one.
    pub fn sweep(&self, now: Instant, drain_time: Duration, is_current: impl Fn(&Endpoint) -> bool) {
        self.leashes.borrow_mut().retain(|_, leash| {
            if is_current(&leash.endpoint) {
                leash.leaving.set(None);
            } else {
                let since = leash.leaving.get().unwrap_or(now);
                leash.leaving.set(Some(since));
                let time = leash.endpoint.drain_time.map_or(drain_time, |own| own.min(drain_time));
                if now.duration_since(since) >= time {
                    leash.cut();
                    return false;
                }
            }
            // Held by something beside this list.
            Rc::strong_count(leash) > 1
        });
    }
}

impl Leash {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::{EndpointId, EndpointState, Family, Weight};
    use crate::model::id::{ServiceId, TaskKey};

    fn endpoint(drain_time: Option<u64>) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            id: EndpointId { task: TaskKey::new("c".into(), "f".into(), "t"), port: "0".into(), family: Family::V4 },
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

    const MINUTE: Duration = Duration::from_secs(60);

    /// Whether what hangs on an endpoint is cut after so many seconds of leaving.
    fn check(own: Option<u64>, seconds: u64, expected: bool) {
        let leashes = Leashes::default();
        let hold = leashes.hold(&endpoint(own));
        let start = Instant::now();
        for second in [0, seconds] {
            leashes.sweep(start + Duration::from_secs(second), MINUTE, |_| false);
        }
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
        let hold = leashes.hold(&endpoint(None));
        let start = Instant::now();
        leashes.sweep(start, MINUTE, |_| false);
        leashes.sweep(start + MINUTE / 2, MINUTE, |_| true);
        leashes.sweep(start + MINUTE, MINUTE, |_| false);
        assert!(!hold.is_cut());
        leashes.sweep(start + 2 * MINUTE, MINUTE, |_| false);
        assert!(hold.is_cut());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_holder_is_woken_and_nothing_is_kept_for_those_that_are_gone() {
        let leashes = Leashes::default();
        let endpoint = endpoint(Some(0));
        let (mut one, mut two) = (leashes.hold(&endpoint), leashes.hold(&endpoint));
        let mut gone = leashes.hold(&endpoint);
        assert!(tokio::time::timeout(Duration::ZERO, cut(Some(&mut gone))).await.is_err());
        drop(gone);
        let both = async { tokio::join!(cut(Some(&mut one)), cut(Some(&mut two))) };
        let sweep = async { leashes.sweep(Instant::now(), MINUTE, |_| false) };
        tokio::time::timeout(MINUTE, async { tokio::join!(both, sweep) }).await.unwrap();
        assert!(one.leash.waiting.borrow().len() <= 2);
        let _ended = leashes.hold(&endpoint);
        drop((one, two, _ended));
        leashes.sweep(Instant::now(), MINUTE, |_| true);
        assert!(leashes.leashes.borrow().is_empty());
    }
}
