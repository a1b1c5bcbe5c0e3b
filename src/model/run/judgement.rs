//! When an endpoint was last compared with the others of its service, and how often of late it did worse.
//!
//! All workers share it: whoever comes first in an interval judges for all. Written once an interval.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::Moment;

/// What comparing an endpoint with others has come to so far.
#[derive(Debug, Default)]
pub struct Judgement {
    /// When it was last judged; zero: never.
    last: AtomicU32,
    /// How often it did worse, less the times since that it did not.
    times: AtomicU32,
}

impl Judgement {
    /// Takes the right to judge the endpoint at `now`; `false`: it was judged within the interval.
    pub fn claim(&self, now: Moment, interval: Duration) -> bool {
        let last = self.last.load(Relaxed);
        let is_due = last == 0 || now.since(Moment(last)).is_some_and(|age| age >= interval);
        is_due && self.last.compare_exchange(last, now.0.max(1), Relaxed, Relaxed).is_ok()
    }

    /// It did worse than the others; how often by now.
    pub fn failed(&self) -> u32 {
        let times = self.times.load(Relaxed).saturating_add(1);
        self.times.store(times, Relaxed);
        times
    }

    /// It did as well as the others.
    pub fn passed(&self) {
        self.times.store(self.times.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// How often it did worse of late.
    pub fn times(&self) -> u32 {
        self.times.load(Relaxed)
    }

    /// Goes on with what another process knew.
    pub fn go_on(&self, times: u32) {
        self.times.store(times, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn one_judges_in_an_interval_and_what_went_well_is_counted_against_what_did_not() {
        let judgement = Judgement::default();
        let at = |seconds: u32| Moment(seconds * 1000);
        assert!(
            judgement.claim(at(1), INTERVAL) && !judgement.claim(at(1), INTERVAL) && !judgement.claim(at(10), INTERVAL)
        );
        assert_eq!((judgement.failed(), judgement.failed(), judgement.times()), (1, 2, 2));
        assert!(judgement.claim(at(11), INTERVAL));
        judgement.passed();
        assert_eq!(judgement.times(), 1);
        judgement.passed();
        judgement.passed();
        assert_eq!(judgement.failed(), 1);
        let other = Judgement::default();
        other.go_on(judgement.times());
        assert_eq!(other.failed(), 2);
    }
}
