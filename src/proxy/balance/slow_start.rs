//! The growing share of an endpoint that has just become ready.
//!
//! Envoy's formula with aggression 1: from a tenth to its whole weight, in proportion to the time since its task became
//! ready, as the cluster tells it, or since it was taken back after failures. Pure. When most of the endpoints are new
//! there is nobody to spare them, and all count in full.

use std::time::Duration;

/// The smallest share.
const LEAST: f64 = 0.1;

/// The share of its weight that an endpoint has, so long after it became ready.
pub fn factor(age: Duration, window: Duration) -> f64 {
    if age >= window {
        return 1.0;
    }
    (age.as_secs_f64() / window.as_secs_f64()).max(LEAST)
}

/// Whether so many new ones among all are few enough for the others to carry them.
pub fn applies(new: usize, all: usize) -> bool {
    new > 0 && new * 2 <= all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_in_a_line() {
        let window = Duration::from_secs(30);
        for (seconds, expected) in [(0, 0.1), (1, 0.1), (3, 0.1), (6, 0.2), (15, 0.5), (30, 1.0), (300, 1.0)] {
            assert!((factor(Duration::from_secs(seconds), window) - expected).abs() < 1e-9, "{seconds}");
        }
        assert!((factor(Duration::ZERO, Duration::ZERO) - 1.0).abs() < 1e-9, "off");
        assert!(applies(1, 2) && applies(5, 10) && !applies(6, 10) && !applies(1, 1) && !applies(0, 5));
    }
}
