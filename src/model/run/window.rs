//! What became of an endpoint's last requests.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Moment;

/// Milliseconds of one part of the window.
const PART: u32 = 2500;
/// Parts of the window.
const PARTS: u32 = 4;

/// One worker's counts of an endpoint's answers over the last ten seconds. One thread writes it.
#[derive(Debug, Default)]
pub struct Window {
    /// Failures in a row.
    in_a_row: AtomicU32,
    /// Which part of time was counted last.
    latest: AtomicU32,
    /// Good ones in the upper half, bad ones in the lower, of each part of time.
    parts: [AtomicU32; PARTS as usize],
}

impl Window {
    /// Counts an answer of an endpoint that was last taken back at `since`: rows of before are forgotten.
    pub fn count(&self, good: bool, now: Moment, since: Moment) {
        let part = now.0 / PART;
        let latest = self.latest.load(Relaxed);
        self.latest.store(part, Relaxed);
        let row = if latest < since.0 / PART { 0 } else { self.in_a_row.load(Relaxed) };
        self.in_a_row.store(if good { 0 } else { row.saturating_add(1) }, Relaxed);
        let passed = part.wrapping_sub(latest);
        for step in 0..passed.min(PARTS) {
            self.part(part.wrapping_sub(step)).store(0, Relaxed);
        }
        let counts = self.part(part);
        let packed = counts.load(Relaxed);
        let (good_ones, bad_ones) = (packed >> 16, packed & 0xffff);
        let full = |count: u32| count.min(0xffff);
        let next = if good { full(good_ones + 1) << 16 | bad_ones } else { good_ones << 16 | full(bad_ones + 1) };
        counts.store(next, Relaxed);
    }

    /// Counts a refusal for too much work: it is no good answer, but ends no row and begins none.
    pub fn count_refusal(&self, now: Moment, since: Moment) {
        let in_a_row = self.in_a_row.load(Relaxed);
        self.count(false, now, since);
        self.in_a_row.store(in_a_row, Relaxed);
    }

    /// Failures in a row.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row.load(Relaxed)
    }

    /// Good and bad ones of the last ten seconds, of what was counted after `since`.
    pub fn counts(&self, now: Moment, since: Moment) -> (u64, u64) {
        let (part, latest) = (now.0 / PART, self.latest.load(Relaxed));
        let first = if since.0 == 0 { 0 } else { since.0 / PART + 1 };
        let (mut good, mut bad) = (0, 0);
        for step in 0..PARTS {
            let at = latest.wrapping_sub(step);
            if part.wrapping_sub(at) < PARTS && at >= first {
                let packed = self.part(at).load(Relaxed);
                good += u64::from(packed >> 16);
                bad += u64::from(packed & 0xffff);
            }
        }
        (good, bad)
    }

    fn part(&self, number: u32) -> &AtomicU32 {
        &self.parts[(number % PARTS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Moment {
        Moment(1_000_000 + seconds * 1000)
    }

    #[test]
    fn windows_count_ten_seconds_exactly() {
        let window = Window::default();
        for second in 0..20 {
            window.count(second % 2 == 0, at(second), Moment(0));
        }
        let (good, bad) = window.counts(at(19), Moment(0));
        assert!((4..=5).contains(&good) && (4..=5).contains(&bad), "{good} {bad}");
        assert_eq!(window.counts(at(60), Moment(0)), (0, 0));
        assert_eq!(window.counts(at(19), at(19)), (0, 0), "taken back since");
        window.count(false, at(60), Moment(0));
        assert_eq!(window.counts(at(60), Moment(0)), (0, 1));
    }

    #[test]
    fn refusals_do_not_make_a_row() {
        let window = Window::default();
        for _ in 0..6 {
            window.count(false, at(0), Moment(0));
        }
        window.count_refusal(at(0), Moment(0));
        assert_eq!(window.in_a_row(), 6);
        window.count(true, at(0), Moment(0));
        assert_eq!((window.in_a_row(), window.counts(at(0), Moment(0))), (0, (1, 7)));
    }
}
