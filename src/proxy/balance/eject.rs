//! When an endpoint that fails is to be spared.
//!
//! After linkerd's "unified" breaker: seven failures in a row, or less than four fifths of at least five answers of the
//! last ten seconds good, as exact counts of all workers, so that tight bursts and spread ones are told alike. How many
//! may be spared is bounded as the share *after* one more (envoy#26877), and never all (gateway#8140). Pure.

use crate::config::checked::EjectionConfig;

/// Answers in the window below which their share says nothing.
const FEWEST: u64 = 5;

/// Whether an endpoint with so many failures in a row, and so many good and bad answers of late, is to be spared.
pub fn is_failing(config: &EjectionConfig, in_a_row: u32, (good, bad): (u64, u64)) -> bool {
    if config.in_a_row == 0 {
        return false;
    }
    let all = good + bad;
    in_a_row >= config.in_a_row || (all >= FEWEST && (good as f64) < config.success_ratio * all as f64)
}

/// Whether one more of `all` endpoints may be spared when `ejected` are: the share afterwards counts, one always may
/// where there is another, and one always stays.
pub fn may_eject(config: &EjectionConfig, ejected: usize, all: usize) -> bool {
    let after = ejected + 1;
    after < all && (ejected == 0 || after as f64 <= config.max_share * all as f64)
}

/// Whether so few endpoints are left that sparing the others would do more harm than they do.
pub fn is_panic(config: &EjectionConfig, ejected: usize, all: usize) -> bool {
    ejected > 0 && ((all - ejected.min(all)) as f64) < config.panic_threshold * all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: EjectionConfig = EjectionConfig {
        in_a_row: 7,
        success_ratio: 0.8,
        shortest: std::time::Duration::from_secs(1),
        longest: std::time::Duration::from_secs(60),
        max_share: 0.5,
        panic_threshold: 0.3,
    };

    #[test]
    fn rows_and_shares_decide() {
        assert!(is_failing(&CONFIG, 7, (0, 0)) && !is_failing(&CONFIG, 6, (100, 6)));
        assert!(is_failing(&CONFIG, 0, (3, 2)) && !is_failing(&CONFIG, 0, (2, 2)) && !is_failing(&CONFIG, 0, (4, 1)));
        let never = EjectionConfig { in_a_row: 0, ..CONFIG };
        assert!(!is_failing(&never, 100, (0, 100)));
    }

    #[test]
    fn the_share_afterwards_is_bounded_and_one_always_stays() {
        assert!(!may_eject(&CONFIG, 0, 1));
        assert!(may_eject(&CONFIG, 0, 2) && !may_eject(&CONFIG, 1, 2));
        assert!(may_eject(&CONFIG, 0, 3) && !may_eject(&CONFIG, 1, 3));
        assert!(may_eject(&CONFIG, 4, 10) && !may_eject(&CONFIG, 5, 10));
        let cautious = EjectionConfig { max_share: 0.1, ..CONFIG };
        assert!(may_eject(&cautious, 0, 3) && !may_eject(&cautious, 1, 3));
        assert!(is_panic(&CONFIG, 8, 10) && !is_panic(&CONFIG, 7, 10) && !is_panic(&CONFIG, 0, 0));
    }
}
