//! Which endpoints do worse than the others of their service.
//!
//! Envoy's detectors by success rate and by failure percentage (`envoy.config.cluster.v3.OutlierDetection`), with its figures:
//! every ten seconds, among at least five endpoints with at least 100 answers each, whose success rate is more than 1.9
//! standard deviations below their mean; and, where it is asked for, whose part of bad answers is so large. Different is that
//! an endpoint must be below the mean by a margin too: among five that never fail, one that fails once is two deviations off,
//! and would be spared for it. What is counted is what the breaker counts, over all workers. Pure.

use crate::config::checked::OutlierConfig;

/// What an endpoint was found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlier {
    /// Its success rate is far below the others'.
    SuccessRate,
    /// Too large a part of its answers is bad.
    FailureShare,
}

impl Outlier {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuccessRate => "success-rate",
            Self::FailureShare => "failure-share",
        }
    }
}

/// The endpoints, by their place in `counts`, that do worse than the others; `counts` are the good and bad answers of each
/// that is not spared already.
pub fn find(config: &OutlierConfig, counts: &[(u64, u64)]) -> Vec<(usize, Outlier)> {
    let rates = |least: u32| -> Vec<(usize, f64)> {
        let enough = |(_, (good, bad)): &(usize, &(u64, u64))| good + bad >= u64::from(least.max(1));
        let rate = |(at, (good, bad)): (usize, &(u64, u64))| (at, *good as f64 / (good + bad) as f64);
        let rates: Vec<_> = counts.iter().enumerate().filter(enough).map(rate).collect();
        // Of few nobody can say what is usual.
        if rates.len() < config.min_endpoints as usize { Vec::new() } else { rates }
    };
    let mut found = Vec::new();
    let compared = rates(config.rate_answers);
    if let Some(threshold) = threshold(config, &compared) {
        found.extend(compared.iter().filter(|(_, rate)| *rate < threshold).map(|(at, _)| (*at, Outlier::SuccessRate)));
    }
    if config.failure_share > 0.0 {
        let bad = rates(config.share_answers).into_iter().filter(|(_, rate)| 1.0 - rate >= config.failure_share);
        for (at, _) in bad {
            if found.iter().all(|(known, _)| *known != at) {
                found.push((at, Outlier::FailureShare));
            }
        }
    }
    found
}

/// The success rate below which an endpoint is one; `None`: nobody is.
fn threshold(config: &OutlierConfig, rates: &[(usize, f64)]) -> Option<f64> {
    if config.deviation_tenths == 0 || rates.is_empty() {
        return None;
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let far = f64::from(config.deviation_tenths) / 10.0 * variance.sqrt();
    Some(mean - far.max(config.margin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outlier::{FailureShare, SuccessRate};

    #[track_caller]
    fn check(change: impl FnOnce(&mut OutlierConfig), counts: &[(u64, u64)], expected: &[(usize, Outlier)]) {
        let mut config = OutlierConfig::default();
        change(&mut config);
        assert_eq!(find(&config, counts), expected, "{config:?} {counts:?}");
    }

    const WELL: (u64, u64) = (1000, 0);

    #[test]
    fn one_that_does_worse_than_the_others_is_found() {
        check(|_| {}, &[WELL, WELL, WELL, WELL, (900, 100)], &[(4, SuccessRate)]);
        check(|_| {}, &[(98, 2), (100, 0), (85, 15), (99, 1), (100, 0), (97, 3)], &[(2, SuccessRate)]);
        // All do badly, each in its measure: nobody does worse than is usual.
        check(|_| {}, &[(50, 50), (55, 45), (45, 55), (52, 48), (48, 52)], &[]);
        check(|config| config.deviation_tenths = 0, &[WELL, WELL, WELL, WELL, (900, 100)], &[]);
    }

    #[test]
    fn few_endpoints_few_answers_and_small_differences_say_nothing() {
        check(|_| {}, &[WELL, WELL, WELL, (900, 100)], &[]);
        check(|_| {}, &[WELL, WELL, WELL, WELL, (89, 10)], &[]);
        check(|_| {}, &[WELL, WELL, WELL, (9, 0), (900, 100)], &[]);
        // A single failure among five is two deviations off: Envoy would spare it.
        check(|_| {}, &[WELL, WELL, WELL, WELL, (999, 1)], &[]);
        check(|config| config.margin = 0.0, &[WELL, WELL, WELL, WELL, (999, 1)], &[(4, SuccessRate)]);
        // Of five that are all alike none is below the mean, and two of five are not far enough below it.
        check(|config| config.margin = 0.0, &[WELL; 5], &[]);
        check(|_| {}, &[WELL, WELL, WELL, (500, 500), (500, 500)], &[]);
        check(|_| {}, &[], &[]);
    }

    #[test]
    fn a_large_part_of_bad_answers_is_found_where_it_is_asked_for() {
        let most_fail = [(10, 90), (10, 90), (10, 90), (20, 80), (30, 30)];
        check(|_| {}, &most_fail, &[]);
        let found = [(0, FailureShare), (1, FailureShare), (2, FailureShare)];
        check(|config| config.failure_share = 0.85, &most_fail, &found);
        check(|config| config.failure_share = 0.85, &most_fail[..4], &[]);
        check(|config| (config.failure_share, config.share_answers) = (0.85, 61), &most_fail, &[]);
        // Each is found once.
        let one = [WELL, WELL, WELL, WELL, (10, 990)];
        check(|config| config.failure_share = 0.85, &one, &[(4, SuccessRate)]);
    }
}
