//! How long to wait before the next attempt: exponential with full jitter, so that a thousand clients of a leader
//! that died do not come back together. Pure: the random source is passed in.

use std::time::Duration;

/// The longest pause after the first failure.
const BASE: Duration = Duration::from_millis(250);

/// No pause is shorter: chance must not make a busy loop.
const FLOOR: Duration = Duration::from_millis(10);

/// The pause after `failures` failures in a row; none after none.
pub fn pause(failures: u32, max: Duration, random: &mut fastrand::Rng) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let ceiling = BASE.saturating_mul(1 << (failures - 1).min(20)).min(max);
    ceiling.mul_f64(random.f64()).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_never_vanish() {
        let mut random = fastrand::Rng::with_seed(7);
        let max = Duration::from_secs(30);
        assert_eq!(pause(0, max, &mut random), Duration::ZERO);
        for failures in 1..100 {
            let ceiling = BASE.saturating_mul(1 << (failures - 1).min(20)).min(max);
            for _ in 0..50 {
                let pause = pause(failures, max, &mut random);
                assert!(pause >= FLOOR && pause <= ceiling, "{failures}: {pause:?}");
            }
        }
    }
}
