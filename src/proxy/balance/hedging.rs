//! When a second copy of a request is sent, and how many may be.
//!
//! The time is a quantile of the service's own latest answers, of a histogram with four buckets an octave that forgets
//! by halving. The budget is a bucket of tokens: each request earns a small part of one, each copy costs one, and there
//! is no reserve, so copies never are more than that part of the requests. Each worker keeps its own of each service.
//! Pure.

use std::time::Duration;

/// Answers below which nothing is known.
const FEWEST: u32 = 100;
/// When so many were counted, all counts are halved.
const MOST: u32 = 4096;
/// A quantile is worked out anew after so many answers.
const FRESH: u32 = 32;
/// Buckets an octave, as a power of two, and octaves: one microsecond to more than an hour.
const FINENESS: u32 = 2;
const BUCKETS: usize = 32 << FINENESS;
/// Copies that may be saved up.
const BURST: f64 = 10.0;

/// What one worker knows of one service's latencies, and how many copies it may send.
#[derive(Debug)]
pub struct Hedging {
    counts: [u32; BUCKETS],
    total: u32,
    /// The quantile as it was worked out last, of which share, and the answers since then.
    known: Option<(f64, Duration)>,
    since: u32,
    tokens: f64,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, known: None, since: 0, tokens: 0.0 }
    }
}

impl Hedging {
    /// A request that is no copy earns its share.
    pub fn deposit(&mut self, ratio: f64) {
        self.tokens = (self.tokens + ratio).min(BURST);
    }

    /// Takes a copy out of the budget.
    pub fn withdraw(&mut self) -> bool {
        let is_there = self.tokens >= 1.0;
        self.tokens -= if is_there { 1.0 } else { 0.0 };
        is_there
    }

    /// An answer began after so long.
    pub fn observe(&mut self, latency: Duration) {
        self.counts[bucket(latency)] += 1;
        self.total += 1;
        self.since += 1;
        if self.total >= MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The time within which this share of the answers began; `None`: too few are known.
    pub fn delay(&mut self, quantile: f64) -> Option<Duration> {
        if self.total < FEWEST {
            return None;
        }
        if let Some((of, known)) = self.known
            && of.to_bits() == quantile.to_bits()
            && self.since < FRESH
        {
            return Some(known);
        }
        let wanted = quantile * f64::from(self.total);
        let mut sum = 0;
        let reached = self.counts.iter().position(|count| {
            sum += count;
            f64::from(sum) >= wanted
        });
        let found = end_of(reached.unwrap_or(BUCKETS - 1));
        self.known = Some((quantile, found));
        self.since = 0;
        Some(found)
    }
}

/// The bucket of a latency: its octave, and the two bits below the highest one.
fn bucket(latency: Duration) -> usize {
    let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX).max(1 << FINENESS);
    let octave = micros.ilog2();
    let part = (micros >> (octave - FINENESS)) & ((1 << FINENESS) - 1);
    (octave << FINENESS | part) as usize
}

/// The latency that is above all of a bucket.
fn end_of(bucket: usize) -> Duration {
    let (octave, part) = (bucket >> FINENESS, bucket as u64 & ((1 << FINENESS) - 1));
    let whole = (1_u64 << FINENESS) + part + 1;
    Duration::from_micros((whole << octave) >> FINENESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        let mut former = 0;
        for micros in (4..5_000_000_u64).step_by(997) {
            let latency = Duration::from_micros(micros);
            let bucket = bucket(latency);
            assert!(bucket >= former && end_of(bucket) > latency, "{micros}");
            assert!(
                end_of(bucket) <= latency.mul_f64(1.26) + Duration::from_micros(1),
                "{micros}: {:?}",
                end_of(bucket)
            );
            former = bucket;
        }
        assert!(bucket(Duration::from_secs(100_000)) < BUCKETS);
    }

    #[test]
    fn quantiles_follow_what_was_seen_last() {
        let mut hedging = Hedging::default();
        for number in 0..99 {
            hedging.observe(Duration::from_millis(number));
        }
        assert_eq!(hedging.delay(0.95), None, "too few");
        hedging.observe(Duration::from_millis(99));
        let known = hedging.delay(0.95).unwrap();
        assert!((95..=120).contains(&known.as_millis()), "{known:?}");
        for _ in 0..20_000 {
            hedging.observe(Duration::from_millis(10));
        }
        let known = hedging.delay(0.95).unwrap();
        assert!((10..=13).contains(&known.as_millis()), "{known:?}");
    }

    #[test]
    fn copies_are_a_share_of_the_requests_and_no_more() {
        let mut hedging = Hedging::default();
        assert!(!hedging.withdraw(), "there is no reserve");
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut requests, mut copies) = (0_u32, 0_u32);
        for _ in 0..100_000 {
            if rng.f64() < 0.5 {
                hedging.deposit(0.02);
                requests += 1;
            } else if hedging.withdraw() {
                copies += 1;
            }
            assert!(f64::from(copies) <= 0.02 * f64::from(requests), "{copies} of {requests}");
        }
        assert!(copies > 900, "{copies}");
    }
}
