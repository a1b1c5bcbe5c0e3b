//! How long an endpoint takes to answer, as one worker sees it.
//!
//! A peak-sensitive moving average (Finagle's and tower's `PeakEwma`, linkerd's `Ewma`): a slower answer counts at
//! once, faster ones pull the estimate down over ten seconds. Reading projects the decay to the present without
//! writing, so that an endpoint which was slow once and gets nothing now is tried again some time.
//!
//! A failure counts as an answer of five seconds at least (linkerd's load biaser): an endpoint that fails fast would
//! otherwise look like the best one and draw all requests to itself.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Moment;

/// In this time an estimate falls to 1/e.
const DECAY: Duration = Duration::from_secs(10);
/// Nothing takes no time: zero stands for what was never measured.
const SHORTEST: f64 = 1e-6;
/// What a failure counts as at least, and what an endpoint that asks for a pause can make of it.
pub(crate) const PENALTY: Duration = Duration::from_secs(5);
pub(crate) const LONGEST_PENALTY: Duration = Duration::from_secs(300);

/// One worker's estimate of one endpoint. One thread writes it.
#[derive(Debug, Default)]
pub struct Estimate {
    /// Seconds, as the bits of an `f64`; zero: never measured.
    seconds: AtomicU64,
    /// When that was, in milliseconds; differences wrap.
    at: AtomicU32,
}

impl Estimate {
    /// The estimate in seconds at `now`; `None` where nothing was measured since `since`.
    pub fn read(&self, now: Moment, since: Moment) -> Option<f64> {
        let seconds = f64::from_bits(self.seconds.load(Relaxed));
        let age = now.0.wrapping_sub(self.at.load(Relaxed));
        let is_known = seconds > 0.0 && (since.0 == 0 || age <= now.0.wrapping_sub(since.0));
        is_known.then(|| seconds * decay(age))
    }

    /// An answer that took so long.
    pub fn observe(&self, latency: Duration, now: Moment, since: Moment) {
        let latency = latency.as_secs_f64().max(SHORTEST);
        let next = match self.read(now, since) {
            Some(known) if latency <= known => {
                let age = now.0.wrapping_sub(self.at.load(Relaxed));
                // `known` has decayed already; what it lost is what the new one counts for.
                let kept = decay(age);
                known + latency * (1.0 - kept)
            }
            _ => latency,
        };
        self.store(next, now);
    }

    /// An answer that has taken so long already and was not waited for: at least that. Where nothing was measured yet it is
    /// all that is known: an endpoint that never answers would look like one that nobody has tried, again and again.
    pub fn observe_unfinished(&self, elapsed: Duration, now: Moment, since: Moment) {
        let elapsed = elapsed.as_secs_f64().max(SHORTEST);
        if self.read(now, since).is_none_or(|known| elapsed > known) {
            self.store(elapsed, now);
        }
    }

    /// A failure; `pause`: how long the endpoint asks to be spared. Raises the estimate, never lowers it.
    pub fn penalise(&self, pause: Option<Duration>, now: Moment, since: Moment) {
        let penalty = pause.unwrap_or(PENALTY).clamp(PENALTY, LONGEST_PENALTY).as_secs_f64();
        self.store(self.read(now, since).map_or(penalty, |known| known.max(penalty)), now);
    }

    fn store(&self, seconds: f64, now: Moment) {
        self.seconds.store(seconds.to_bits(), Relaxed);
        self.at.store(now.0, Relaxed);
    }
}

fn decay(age_millis: u32) -> f64 {
    (-f64::from(age_millis) / 1000.0 / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn read(estimate: &Estimate, at: u32) -> f64 {
        estimate.read(Moment(at), Moment(0)).unwrap()
    }

    #[test]
    fn peaks_count_at_once_and_wear_off() {
        let estimate = Estimate::default();
        assert_eq!(estimate.read(START, Moment(0)), None);
        estimate.observe(ms(10), START, Moment(0));
        assert!((read(&estimate, 1000) - 0.010).abs() < 1e-9);
        estimate.observe(ms(500), Moment(1100), Moment(0));
        assert!((read(&estimate, 1100) - 0.5).abs() < 1e-9);
        assert!((read(&estimate, 11_100) - 0.5 / std::f64::consts::E).abs() < 1e-6);
        for step in 0..600 {
            estimate.observe(ms(10), Moment(1100 + step * 100), Moment(0));
        }
        assert!((read(&estimate, 61_000) - 0.010).abs() < 0.003, "{}", read(&estimate, 61_000));
    }

    #[test]
    fn failures_raise_and_never_lower() {
        let estimate = Estimate::default();
        estimate.observe(ms(1), START, Moment(0));
        estimate.penalise(None, START, Moment(0));
        assert!((read(&estimate, 1000) - 5.0).abs() < 1e-9);
        estimate.penalise(Some(Duration::from_secs(3600)), START, Moment(0));
        assert!((read(&estimate, 1000) - 300.0).abs() < 1e-9);
        estimate.penalise(None, START, Moment(0));
        assert!((read(&estimate, 1000) - 300.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_given_up_counts_as_long_as_it_took() {
        let estimate = Estimate::default();
        estimate.observe_unfinished(ms(500), START, Moment(0));
        assert!((read(&estimate, 1000) - 0.5).abs() < 1e-9, "even where nothing was measured before");
        estimate.observe_unfinished(ms(200), START, Moment(0));
        assert!((read(&estimate, 1000) - 0.5).abs() < 1e-9, "it took longer still: nothing is lowered");
        estimate.observe_unfinished(ms(800), START, Moment(0));
        assert!((read(&estimate, 1000) - 0.8).abs() < 1e-9);
    }

    #[test]
    fn what_was_measured_before_a_restoration_counts_no_more() {
        let estimate = Estimate::default();
        estimate.penalise(None, START, Moment(0));
        assert_eq!(estimate.read(Moment(3000), Moment(2000)), None);
        estimate.observe(ms(10), Moment(3000), Moment(2000));
        assert!(estimate.read(Moment(3001), Moment(2000)).is_some_and(|seconds| seconds < 0.011));
    }
}
