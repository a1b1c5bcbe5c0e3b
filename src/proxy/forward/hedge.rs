//! A second copy of a request that takes longer than most: the first good answer counts, the other is given up.
//!
//! Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): "defer sending a secondary request until the first request
//! has been outstanding for more than the 95th-percentile expected latency for this class of requests". Here only
//! requests without a body that may be repeated, only while no endpoint of the service is spared, and within a budget of
//! the service's own ([`crate::proxy::balance::hedging`]). Giving up resets the stream (HTTP/2) or closes the connection.

use std::cell::{Cell, OnceCell};

use super::*;

/// What the two copies of a request know of each other.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// The endpoint of the second one.
    pub(super) second: OnceCell<Arc<Endpoint>>,
    /// The first one has failed: the second one is now what the request hangs on.
    pub(super) is_first_over: Cell<bool>,
}

/// Which of the two copies one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The request itself.
    First,
    /// The one that is sent beside.
    Second,
}

/// Whose answer it was.
enum Winner {
    First(Result<Begun, AttemptFault>),
    Second(Begun),
}

impl Forwarding {
    /// Asks `endpoint`, and another one beside it if it takes longer than most; `endpoint` is then the one that answered.
    pub(super) async fn attempt_hedged(&mut self, endpoint: &mut Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let Some(delay) = self.hedge_delay() else { return self.attempt(endpoint).await };
        let pair = Rc::new(Pair::default());
        self.pair = Some((Role::First, pair.clone()));
        let mut beside = self.beside(endpoint.clone(), pair.clone());
        let first_one = endpoint.clone();
        let (winner, other) = {
            let mut first = std::pin::pin!(self.attempt(&first_one));
            tokio::select! {
                // An answer that is there counts.
                biased;
                answer = &mut first => return answer,
                () = tokio::time::sleep(delay) => {}
            }
            let Some(other) = beside.begin_beside() else { return first.await };
            let second_one = other.clone();
            let second = std::pin::pin!(beside.attempt(&second_one));
            let winner = race(first, second, &pair).await;
            (winner, other)
        };
        match winner {
            Winner::First(answer) => {
                if answer.is_err() {
                    // Both had their turn, and there is one repeat for them.
                    self.tried.push(other);
                    self.granted = self.granted.take().or_else(|| beside.granted.take());
                }
                answer
            }
            Winner::Second(begun) => {
                self.worker().shard.hedges_won.increment();
                // What is given up would have taken longer still: its endpoint is told so.
                self.account.in_flight = beside.account.in_flight.take();
                self.account.hold = beside.account.hold.take();
                self.attempt_begun = beside.attempt_begun;
                *endpoint = other;
                Ok(begun)
            }
        }
    }

    /// After which time a copy is sent; `None`: none is.
    fn hedge_delay(&self) -> Option<Duration> {
        let settings = &self.proxy().hedging;
        let is_fit = self.attempts == 1
            && retry::is_idempotent(&self.method)
            && self.body.is_empty()
            && self.upgrade.is_none()
            && self.has_another();
        if !is_fit {
            return None;
        }
        self.plan.local.hedging.borrow_mut().delay(settings.quantile).map(|delay| delay.max(settings.shortest))
    }

    /// The same request once more, of which nothing is counted by itself.
    fn beside(&self, first: Arc<Endpoint>, pair: Rc<Pair>) -> Box<Self> {
        Box::new(Self {
            client: self.client.clone(),
            plan: self.plan.clone(),
            method: self.method.clone(),
            version: self.version,
            headers: self.headers.clone(),
            is_repeatable: self.is_repeatable,
            body: RequestSource::empty(),
            ear: self.ear.clone(),
            engine: self.engine,
            upgrade: None,
            over_http2: false,
            accept: None,
            address: self.address,
            account: Account::silent(self.client.clone(), self.account.started()),
            attempts: 1,
            unanswered: 0,
            asked: 1,
            tried: SmallVec::from_iter([first]),
            aside: None,
            asking: None,
            last_fault: None,
            repeat: None,
            granted: None,
            pair: Some((Role::Second, pair)),
            fresh: None,
            was_fresh: false,
            attempt_begun: Instant::now(),
            span: self.span.clone(),
        })
    }

    /// Chooses where the copy goes, if the budget has one and all endpoints are well.
    fn begin_beside(&mut self) -> Option<Arc<Endpoint>> {
        let (worker, local) = (self.client.worker.clone(), self.plan.local.clone());
        let is_well =
            self.plan.destination.service.available.iter().all(|endpoint| !endpoint.run.ejection.is_ejected());
        if !is_well || !local.hedging.borrow_mut().withdraw() {
            worker.shard.hedges_denied.increment();
            return None;
        }
        let (endpoint, is_probe) = self.choose(None)?;
        if let Some((_, pair)) = &self.pair {
            // It is the only one.
            let _ = pair.second.set(endpoint.clone());
        }
        worker.shard.hedges_sent.increment();
        self.attempt_begun = Instant::now();
        let in_flight = InFlight::begin(endpoint.clone(), worker.seat, local, self.attempt_begun, is_probe);
        self.account.in_flight = Some(in_flight);
        self.account.hold = Some(worker.leashes.hold(&endpoint));
        Some(endpoint)
    }
}

/// The first good answer of the two; the first attempt's own outcome where neither is good. Where the first one is given up
/// because it is slow, so is the second: a third endpoint is asked in the place of both.
async fn race<F, S>(mut first: Pin<&mut F>, mut second: Pin<&mut S>, pair: &Pair) -> Winner
where
    F: Future<Output = Result<Begun, AttemptFault>>,
    S: Future<Output = Result<Begun, AttemptFault>>,
{
    let is_good = |begun: &Begun| !begun.head.status.is_server_error();
    // Each is polled again only as long as it has not ended.
    tokio::select! {
        answer = &mut first => match answer {
            Ok(begun) if is_good(&begun) => Winner::First(Ok(begun)),
            Err(AttemptFault::SlowAttempt) => Winner::First(Err(AttemptFault::SlowAttempt)),
            answer => {
                pair.is_first_over.set(true);
                match second.await {
                    Ok(begun) if is_good(&begun) => Winner::Second(begun),
                    _ => Winner::First(answer),
                }
            }
        },
        answer = &mut second => match answer {
            Ok(begun) if is_good(&begun) => Winner::Second(begun),
            _ => Winner::First(first.await),
        },
    }
}
