//! How long an attempt is waited for.
//!
//! One that takes longer than `per_try` is given up only for what is better: another endpoint has to be able to take the
//! request now, and the service's budget to have a repeat for it. Else it goes on until the time of all attempts is over,
//! and asks again now and then. A request that its endpoint would have answered must not fail because nothing may follow.

use super::*;

/// After which time a slow attempt asks again whether another may follow it; twice as long each time, up to `per_try`: what
/// fails with an endpoint that hangs is moved soon, and what is slow by nature costs little.
const ASKS_AGAIN: Duration = Duration::from_millis(100);

impl Forwarding {
    /// Waits for the beginning of an answer, for as long as one attempt and all attempts may take. While the request's
    /// body makes progress, the answer's time has not begun.
    pub(super) fn within<T>(
        &mut self,
        exchange: impl Future<Output = Result<T, AttemptFault>>,
    ) -> impl Future<Output = Result<T, AttemptFault>> {
        self.within_since(Instant::now(), exchange)
    }

    /// The same for an exchange that has begun before.
    pub(super) async fn within_since<T>(
        &mut self,
        begun: Instant,
        exchange: impl Future<Output = Result<T, AttemptFault>>,
    ) -> Result<T, AttemptFault> {
        let mut hold = self.account.hold.take();
        let answer = tokio::select! {
            // An answer that is there counts.
            biased;
            answer = self.in_time(begun, exchange) => answer,
            () = leash::cut(hold.as_mut()) => Err(AttemptFault::Drained),
        };
        self.account.hold = hold;
        answer
    }

    async fn in_time<T>(
        &mut self,
        begun: Instant,
        exchange: impl Future<Output = Result<T, AttemptFault>>,
    ) -> Result<T, AttemptFault> {
        let mut exchange = std::pin::pin!(exchange);
        let mut look = if self.may_repeat() { self.slow_from(begun).min(self.deadline()) } else { self.deadline() };
        let mut deadline = self.worker().deadlines.at(look);
        let (mut pause, mut was_denied) = (None, false);
        loop {
            let answer = poll_fn(|context| match exchange.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => deadline.poll(context).map(|()| None),
            });
            if let Some(answer) = answer.await {
                return answer;
            }
            // While the request's body makes progress both times move on.
            let (total, slow) = (self.deadline(), self.slow_from(begun));
            if total <= look {
                return Err(AttemptFault::SlowAnswer);
            }
            look = if !self.may_repeat() {
                total
            } else if slow > look {
                slow.min(total)
            } else if self.may_leave(&mut was_denied) {
                return Err(AttemptFault::SlowAttempt);
            } else {
                let next = self.next_pause(pause);
                pause = Some(next);
                (Instant::now() + next).min(total)
            };
            deadline.set(look);
        }
    }

    /// When an attempt that began at `begun` has taken long enough to be given up for another one.
    fn slow_from(&self, begun: Instant) -> Instant {
        self.body.last_progress().map_or(begun, |progress| progress.max(begun)) + self.limits().per_try
    }

    fn next_pause(&self, former: Option<Duration>) -> Duration {
        former.map_or(ASKS_AGAIN, |former| former * 2).min(self.limits().per_try)
    }

    /// Whether the attempt under way, which is slow, is to be given up; the repeat is taken out of the budget then. That the
    /// budget has none is counted once.
    fn may_leave(&mut self, was_denied: &mut bool) -> bool {
        if matches!(&self.pair, Some((hedge::Role::Second, pair)) if !pair.is_first_over.get()) {
            // It goes with the one that it is a copy of.
            return false;
        }
        let worker = self.client.worker.clone();
        worker.with_table(|table| self.plan.destination.renew(table));
        if !self.others_have_room() {
            return false;
        }
        let (ratio, workers) = (self.proxy().retry_ratio, worker.seat.workers);
        self.granted = self.plan.local.repeat_now(ratio, workers, &mut self.repeat);
        if self.granted.is_none() && !std::mem::replace(was_denied, true) {
            worker.shard.retries_denied.increment();
        }
        self.granted.is_some()
    }

    /// Whether an endpoint that is not being tried could take the request now: none that is spared or full, and none that
    /// others wait for already.
    fn others_have_room(&self) -> bool {
        let (taken, destination) = (self.taken(), &self.plan.destination);
        self.plan.local.queue.is_empty()
            && self.with_ask(moment(Instant::now()), |ask| destination.has_room(&taken, self.limits(), ask))
    }
}
