//! State of an endpoint that changes with each request: a cache line a worker, and what workers share.
//!
//! Each worker writes its own line only, with plain loads and stores; sums are read across lines and may be off by what
//! is under way. The state outlives tables: an endpoint keeps it for as long as it keeps its identity and its address.

mod ejection;
mod estimate;
mod judgement;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

pub use ejection::{Admission, Ejection};
pub use estimate::Estimate;
pub use judgement::Judgement;
pub use window::Window;

/// A moment in the life of the process, in milliseconds since its beginning; wraps after 49 days, so only differences
/// of less than half of that mean something. Zero is what never was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment(pub u32);

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Moment {
    /// The moment of a clock reading.
    pub fn of(instant: Instant) -> Self {
        let millis = instant.saturating_duration_since(*BEGINNING).as_millis();
        // Truncation is the wrapping.
        Self(u32::try_from(millis & u128::from(u32::MAX)).unwrap_or(0).max(1))
    }

    /// So much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.wrapping_add(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX / 2)))
    }

    /// How long after `earlier` this is; `None` if it is before.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let millis = self.0.wrapping_sub(earlier.0);
        (millis <= u32::MAX / 2).then(|| Duration::from_millis(millis.into()))
    }
}

/// Run-time state of an endpoint. The lines are made at first use.
#[derive(Default)]
pub struct EndpointRun {
    lines: OnceLock<Box<[WorkerLine]>>,
    /// Whether it is spared because it failed.
    pub ejection: Ejection,
    /// How it does beside the others of its service.
    pub judgement: Judgement,
}

/// What one worker knows of an endpoint.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerLine {
    /// Requests under way.
    pub in_flight: AtomicU32,
    /// Requests sent, ever.
    pub requests: AtomicU64,
    /// Requests that failed on the endpoint's side, ever.
    pub failures: AtomicU64,
    /// How long it takes to answer.
    pub latency: Estimate,
    /// What became of the last requests.
    pub window: Window,
}

impl EndpointRun {
    /// The line of `worker`, of `workers` in all. The number of workers is fixed for the life of the process.
    pub fn line(&self, worker: usize, workers: usize) -> &WorkerLine {
        let lines = self.lines.get_or_init(|| (0..workers.max(1)).map(|_| WorkerLine::default()).collect());
        &lines[worker % lines.len()]
    }

    /// Requests under way on all workers.
    pub fn in_flight(&self) -> u64 {
        self.sum(|line| u64::from(line.in_flight.load(Ordering::Relaxed)))
    }

    /// Requests sent by all workers.
    pub fn requests(&self) -> u64 {
        self.sum(|line| line.requests.load(Ordering::Relaxed))
    }

    /// Failures seen by all workers.
    pub fn failures(&self) -> u64 {
        self.sum(|line| line.failures.load(Ordering::Relaxed))
    }

    /// Good and bad answers of the last ten seconds, of all workers, since the endpoint was last taken back.
    pub fn recent(&self, now: Moment) -> (u64, u64) {
        let since = self.ejection.restored();
        self.lines().fold((0, 0), |(good, bad), line| {
            let (more_good, more_bad) = line.window.counts(now, since);
            (good + more_good, bad + more_bad)
        })
    }

    /// How long it takes to answer, in seconds, as the workers that know it see it on the average.
    pub fn latency(&self, now: Moment) -> Option<f64> {
        let since = self.ejection.restored();
        let known: Vec<f64> = self.lines().filter_map(|line| line.latency.read(now, since)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    fn sum(&self, of: impl Fn(&WorkerLine) -> u64) -> u64 {
        self.lines().map(of).sum()
    }

    fn lines(&self) -> impl Iterator<Item = &WorkerLine> {
        self.lines.get().into_iter().flatten()
    }
}

impl fmt::Debug for EndpointRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointRun").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_line_is_one_cache_line() {
        assert_eq!(size_of::<WorkerLine>(), 64);
    }

    #[test]
    fn moments_wrap() {
        let late = Moment(u32::MAX - 10);
        assert_eq!(late.plus(Duration::from_millis(20)).since(late), Some(Duration::from_millis(20)));
        assert_eq!(late.since(late.plus(Duration::from_millis(20))), None);
    }
}
