//! Which endpoint of a service serves a request.
//!
//! [`choose`] decides, by the service's algorithm; what it decides by is kept per endpoint and worker
//! ([`crate::model::run`]) and, of a service, in [`local`].

pub mod budget;
pub mod candidates;
pub mod choose;
pub mod eject;
pub mod gradient;
pub mod hashing;
pub mod hedging;
pub mod limit;
pub mod local;
pub mod outcome;
pub mod outliers;
pub mod p2c;
pub mod queue;
pub mod rotation;
pub mod slow_start;
pub mod sticky;
pub mod zones;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;
use tracing::info;

use crate::model::endpoint::Endpoint;
use crate::model::run::{Moment, WorkerLine};
use local::ServiceLocal;
use outcome::Outcome;

/// Which worker asks; it reads and writes its own line of each endpoint.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSeat {
    /// The worker's number, from 0.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
}

impl WorkerSeat {
    /// This worker's line of an endpoint.
    pub fn line(self, endpoint: &Endpoint) -> &WorkerLine {
        endpoint.run.line(self.index, self.workers)
    }
}

/// One request under way at an endpoint, counted until this is dropped; what became of it is told to the endpoint's
/// state.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    seat: WorkerSeat,
    local: Rc<ServiceLocal>,
    begun: Instant,
    /// It is the endpoint's probe, and has no outcome yet.
    is_probe: Cell<bool>,
    is_measured: Cell<bool>,
    is_counted: Cell<bool>,
}

impl InFlight {
    /// Counts a request that is sent to `endpoint`.
    pub fn begin(
        endpoint: Arc<Endpoint>,
        seat: WorkerSeat,
        local: Rc<ServiceLocal>,
        begun: Instant,
        is_probe: bool,
    ) -> Self {
        let line = seat.line(&endpoint);
        // One thread writes a line: a load and a store are enough, and cheaper than a locked addition.
        line.in_flight.store(line.in_flight.load(Relaxed).wrapping_add(1), Relaxed);
        line.requests.store(line.requests.load(Relaxed).wrapping_add(1), Relaxed);
        local.in_flight.set(local.in_flight.get() + 1);
        let (is_measured, is_counted) = (Cell::new(false), Cell::new(false));
        Self { endpoint, seat, local, begun, is_probe: Cell::new(is_probe), is_measured, is_counted }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The answer began at `now`; its time counts from `since`. `outcome`: what its head says, if it says it.
    pub fn answered(&self, outcome: Option<Outcome>, since: Instant, now: Instant) {
        let moment = Moment::of(now.into_std());
        if !matches!(outcome, Some(Outcome::Bad(_) | Outcome::Busy(_))) {
            let latency = now.saturating_duration_since(since.max(self.begun));
            self.line().latency.observe(latency, moment, self.endpoint.run.ejection.restored());
        }
        self.is_measured.set(true);
        if let Some(outcome) = outcome {
            self.count(outcome, moment);
        }
    }

    /// The answer's trailers came.
    pub fn ended(&self, trailers: &http::HeaderMap) {
        if let (false, Some(outcome)) = (self.is_counted.get(), outcome::of_trailers(trailers)) {
            self.count(outcome, Moment::of(Instant::now().into_std()));
        }
    }

    /// Notes a failure on the endpoint's side.
    pub fn failed(&self) {
        self.is_measured.set(true);
        self.count(Outcome::Bad(None), Moment::of(Instant::now().into_std()));
    }

    fn line(&self) -> &WorkerLine {
        self.seat.line(&self.endpoint)
    }

    fn count(&self, outcome: Outcome, now: Moment) {
        self.is_counted.set(true);
        let (line, ejection) = (self.line(), &self.endpoint.run.ejection);
        let since = ejection.restored();
        match outcome {
            Outcome::Good => {
                line.window.count(true, now, since);
                if self.is_probe.take() {
                    ejection.restore(now);
                    self.local.shard.restorations.increment();
                    info!(endpoint = %self.endpoint.id, "endpoint answers again");
                }
                return;
            }
            Outcome::Busy(pause) => {
                line.window.count_refusal(now, since);
                line.latency.penalise(pause, now, since);
            }
            Outcome::Bad(pause) => {
                line.failures.store(line.failures.load(Relaxed).wrapping_add(1), Relaxed);
                line.window.count(false, now, since);
                line.latency.penalise(pause, now, since);
            }
        }
        self.consider_ejection(now);
    }

    /// After a failure: spares the endpoint, if it fails too often.
    fn consider_ejection(&self, now: Moment) {
        let (run, local) = (&self.endpoint.run, &self.local);
        if self.is_probe.take() {
            let times = local.balance(|balance| (balance.ejection.shortest, balance.ejection.longest));
            if let Some(times) = times {
                run.ejection.eject(times, now, fastrand::f64());
            }
            return;
        }
        let in_a_row = self.line().window.in_a_row();
        let is_failing = || {
            local.balance(|balance| eject::is_failing(&balance.ejection, in_a_row, run.recent(now))).unwrap_or(false)
        };
        if !run.ejection.is_ejected() && is_failing() && local.eject(&self.endpoint, now, fastrand::f64()) {
            local.shard.ejections.increment();
            info!(endpoint = %self.endpoint.id, in_a_row, "endpoint fails and is spared for a while");
        }
        // Where nothing fails nobody does worse than the others: who has failed looks at all of them.
        for (endpoint, outlier) in local.judge(now, fastrand::f64) {
            local.shard.ejections.increment();
            local.shard.outlier(outlier);
            info!(endpoint = %endpoint.id, by = outlier.as_str(), "endpoint does worse than the others and is spared for a while");
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let line = self.line();
        line.in_flight.store(line.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
        self.local.in_flight.set(self.local.in_flight.get().saturating_sub(1));
        if !self.local.queue.is_empty() {
            self.local.queue.tell(self.endpoint.id.fingerprint(), &self.endpoint.version);
        }
        if self.is_measured.get() && !self.is_probe.get() {
            return;
        }
        let now = Instant::now();
        let moment = Moment::of(now.into_std());
        if !self.is_measured.get() {
            // Given up before it answered: it would have taken longer still.
            let since = self.endpoint.run.ejection.restored();
            line.latency.observe_unfinished(now.saturating_duration_since(self.begun), moment, since);
        }
        if self.is_probe.get() {
            self.endpoint.run.ejection.return_probe(moment);
        }
    }
}
