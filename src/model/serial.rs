//! Serials of zones: numbers that go round in a circle (RFC 1982), and the clock that they follow.
//!
//! A zone's serial is the reading of a clock, or one more than before where the zone has changed since the clock last ticked. So
//! the serial of a program that knows nothing of a former life is still above what that one said, as long as the zone did not
//! change more often than the clock ticks. How fast it ticks is a bargain: RFC 1982 tells which of two serials is the later one
//! while they are less than 2³¹ apart, which is as long as a zone may stay as it is and then be served by a program that has
//! lost its state.
//!
//! With [`TICKS`] a second a zone may change sixty-four times a second for ever, and rest for a year. What comes in bursts above
//! that has room for [`LEAD`] changes: a program without a former state begins that far ahead of the clock, which has caught up
//! with it after seventeen minutes.

use super::time::Timestamp;

/// Ticks of the clock in a second.
pub const TICKS: u64 = 64;

/// How far ahead of the clock a program begins that does not know what was said before, and how much it goes beyond what it
/// knows when later serials may have been given: a change each, thousands a second for a while.
pub const LEAD: u32 = 1 << 16;

/// What the clock shows.
pub fn at(now: Timestamp) -> u32 {
    let ticks = (now.0 / 1000 * TICKS).wrapping_add(now.0 % 1000 * TICKS / 1000);
    u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or_default()
}

/// The first serial of a zone of which nothing is known.
pub fn first(now: Timestamp) -> u32 {
    at(now).wrapping_add(LEAD)
}

/// The serial after `former`.
pub fn next(former: u32, now: Timestamp) -> u32 {
    let clock = at(now);
    if is_later(clock, former) { clock } else { former.wrapping_add(1) }
}

/// Whether one serial is later than another (RFC 1982 §3.2).
pub fn is_later(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A moment of 2026, and milliseconds after it.
    fn after(milliseconds: u64) -> Timestamp {
        Timestamp(1_770_000_000_000 + milliseconds)
    }

    #[test]
    fn serials_go_round() {
        assert!(is_later(2, 1) && !is_later(1, 2) && !is_later(2, 2));
        assert!(is_later(3, u32::MAX) && !is_later(u32::MAX, 3));
        assert_eq!(at(Timestamp(1000)), 64);
        assert_eq!(at(Timestamp(1_500)), 96);
        // 2³² ticks are 2²⁶ seconds.
        let turn = 1000 << 26;
        assert_eq!((at(Timestamp(turn)), at(Timestamp(turn - 1))), (0, u32::MAX));
        assert!(is_later(next(at(Timestamp(turn - 1)), Timestamp(turn)), at(Timestamp(turn - 1))));
        let _ = at(Timestamp(u64::MAX));
    }

    /// The last serial of a life that begins at a moment and has changes at others.
    fn life(begin: u64, changes: impl Iterator<Item = u64>) -> u32 {
        changes.fold(first(after(begin)), |serial, moment| next(serial, after(moment)))
    }

    #[test]
    fn a_life_that_knows_nothing_of_the_former_one_begins_above_it() {
        let hour = 3_600_000;
        // Sixty changes a second, all the time, from the first moment on.
        let busy = life(0, (0..hour).step_by(17));
        assert!(is_later(first(after(hour + 500)), busy));
        // Thirty thousand within a second, an hour after the start.
        let burst = life(0, (0..30_000).map(|n| hour + n / 30));
        assert!(is_later(first(after(hour + 1500)), burst));
        // A zone that has rested for a year.
        assert!(is_later(first(after(365 * 24 * hour)), life(0, [hour].into_iter())));
    }

    proptest! {
        #[test]
        fn the_next_serial_is_later_whatever_the_former_one_was(former: u32, milliseconds in 0u64..1 << 42) {
            prop_assert!(is_later(next(former, Timestamp(milliseconds)), former));
        }
    }
}
