//! Which endpoint of a service serves a request.

pub mod p2c;
pub mod sticky;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::model::endpoint::{Endpoint, WorkerLine};

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

/// One request under way at an endpoint, counted until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    seat: WorkerSeat,
}

impl InFlight {
    /// Counts a request that is sent to `endpoint`.
    pub fn begin(endpoint: Arc<Endpoint>, seat: WorkerSeat) -> Self {
        let line = seat.line(&endpoint);
        // One thread writes a line: a load and a store are enough, and cheaper than a locked addition.
        line.in_flight.store(line.in_flight.load(Relaxed).wrapping_add(1), Relaxed);
        line.requests.store(line.requests.load(Relaxed).wrapping_add(1), Relaxed);
        Self { endpoint, seat }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Notes a failure on the endpoint's side.
    pub fn failed(&self) {
        let line = self.seat.line(&self.endpoint);
        line.failures.store(line.failures.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let line = self.seat.line(&self.endpoint);
        line.in_flight.store(line.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
    }
}
