//! How often: a token bucket for each filter and client, as one number (GCRA, ITU-T I.371: the time at which the bucket
//! would be full again).
//!
//! The promise is the whole program's, so its workers count in one place, without a lock. Memory is bounded: places are
//! fixed in number, and where all that a client could have are taken the one that is full soonest is given up. Where it
//! stands depends on a seed that nobody outside knows.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::filter::FilterConfig;

/// Sets of places; a key has one set.
const SETS: usize = 1 << 14;
/// Places of a set.
const WAYS: usize = 4;
/// Bits of a place that say when the bucket is full, in microseconds since the start: eight years. The others say whose.
const TIME_BITS: u32 = 48;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// How often a place that others write too is tried again.
const TRIES: usize = 16;

/// Buckets of the whole program.
static BUCKETS: LazyLock<Buckets> = LazyLock::new(|| Buckets::new(SETS));

/// Takes one request out of a bucket.
///
/// # Errors
/// How long to wait for the next.
pub fn take(filter: &FilterConfig, client: Option<IpAddr>) -> Result<(), Duration> {
    let limit = Limit::of(filter);
    let now = u64::try_from(BUCKETS.started.elapsed().as_micros()).unwrap_or(TIME);
    BUCKETS.take(&(&filter.name, client.map(network)), limit, now).map_err(Duration::from_micros)
}

/// One subscriber of IPv6 has a /64 at least.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

/// A rate in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    /// Between two requests.
    interval: u64,
    /// How far ahead of the clock a bucket may be.
    ahead: u64,
}

impl Limit {
    fn of(filter: &FilterConfig) -> Self {
        let rate = u64::from(filter.rate.max(1));
        let interval = (u64::try_from(filter.rate_period.as_micros()).unwrap_or(TIME) / rate).max(1);
        let burst = if filter.rate_burst == 0 { rate } else { u64::from(filter.rate_burst) };
        Self { interval, ahead: interval * burst }
    }
}

struct Buckets {
    started: Instant,
    seed: RandomState,
    sets: Box<[[AtomicU64; WAYS]]>,
}

impl Buckets {
    fn new(sets: usize) -> Self {
        let sets = (0..sets).map(|_| Default::default()).collect();
        Self { started: Instant::now(), seed: RandomState::new(), sets }
    }

    fn take(&self, key: &impl Hash, limit: Limit, now: u64) -> Result<(), u64> {
        let hash = self.seed.hash_one(key);
        let owner = (hash >> TIME_BITS) << TIME_BITS;
        let set = &self.sets[usize::try_from(hash & TIME).unwrap_or_default() % self.sets.len()];
        for _ in 0..TRIES {
            let (place, word) = find(set, owner);
            let full = if word & !TIME == owner { (word & TIME).max(now) } else { now };
            let next = full + limit.interval;
            if next - now > limit.ahead {
                return Err(next - now - limit.ahead);
            }
            let new = owner | next.min(TIME);
            if place.compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
        // Many write this place at once: one request more does less harm than a wait.
        Ok(())
    }
}

/// The owner's place of a set, else the one that is full soonest.
fn find(set: &[AtomicU64; WAYS], owner: u64) -> (&AtomicU64, u64) {
    let words = set.iter().map(|place| (place, place.load(Ordering::Relaxed)));
    let rank = |(_, word): &(&AtomicU64, u64)| (word & !TIME != owner || *word == 0, word & TIME);
    words.min_by_key(rank).expect("a set has places")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: u32, burst: u32) -> Limit {
        Limit::of(&FilterConfig { rate, rate_burst: burst, ..FilterConfig::default() })
    }

    #[test]
    fn a_burst_then_evenly() {
        let buckets = Buckets::new(1);
        let limit = limit(10, 3);
        let at = |now| buckets.take(&"a", limit, now);
        assert_eq!([at(0), at(0), at(0), at(0)], [Ok(()), Ok(()), Ok(()), Err(100_000)]);
        assert_eq!([at(99_999), at(100_000), at(100_000)], [Err(1), Ok(()), Err(100_000)]);
        // After a rest the whole burst, and no more.
        assert_eq!([at(9_000_000), at(9_000_000), at(9_000_000)], [Ok(()); 3]);
        assert!(at(9_000_000).is_err());
        // Another client has a bucket of its own.
        assert_eq!(buckets.take(&"b", limit, 9_000_000), Ok(()));
    }

    #[test]
    fn who_has_rested_longest_is_forgotten_first() {
        let buckets = Buckets::new(1);
        let limit = limit(1, 1);
        for (at, name) in ["a", "b", "c", "d"].iter().enumerate() {
            assert_eq!(buckets.take(name, limit, at as u64), Ok(()));
        }
        assert_eq!(buckets.take(&"e", limit, 10), Ok(()), "the place of `a`");
        assert!(buckets.take(&"d", limit, 10).is_err() && buckets.take(&"e", limit, 10).is_err());
    }

    #[test]
    fn workers_count_in_one_place() {
        let buckets = Buckets::new(16);
        let limit = limit(1, 500);
        let count = || (0..1000).filter(|_| buckets.take(&"a", limit, 5).is_ok()).count();
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((500..520).contains(&passed), "{passed}");
    }

    #[test]
    fn subscribers_of_ipv6_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
