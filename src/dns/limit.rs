//! Response rate limiting: how many equal answers over UDP go to one network in a second.
//!
//! Whoever forges a victim's address makes a name server send it answers that are larger than the queries. A network that
//! seems to ask for the same again and again gets most of those answers not at all, and some of them cut to nothing with
//! TC: a client that is really there asks again over TCP, or shows its cookie, and neither is limited.
//!
//! Each worker counts for itself, whichever of its addresses was asked, with its share of the limit: the kernel deals
//! datagrams by their addresses and ports, and who forges chooses ports at random. Pure: the time is passed in. Bounded: so
//! many buckets, each for whoever came last of those that fall into it.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::checked::RateLimitConfig;
use crate::model::hash::process_hash;

/// Buckets of one worker.
const BUCKETS: usize = 1 << 16;

/// Parts of an answer that buckets count in, so that a low rate grows by the millisecond too.
const ANSWER: u64 = 1000;

/// What an answer is, as far as it counts as equal to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind<'a> {
    /// Records of one name and type.
    Records(&'a str, u16),
    /// Records of one type that the wildcard of a name gives whoever makes names up below it.
    Wildcard(&'a str, u16),
    /// That a name or record does not exist: whoever asks for made-up names gets a different answer each time.
    Absence,
    /// An error.
    Error,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without records, truncated.
    Slip,
    /// It is not sent.
    Drop,
}

/// The buckets of one worker.
#[derive(Debug, Default)]
pub struct RateLimiter {
    /// Empty until something is limited.
    buckets: Vec<Bucket>,
}

/// What one network may still get of one answer.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    key: u64,
    /// Milliseconds, at which it was filled up last.
    at: u64,
    /// In parts of an answer.
    left: u64,
    /// Answers that were held back since one slipped through.
    held: u32,
}

impl RateLimiter {
    /// Judges one answer; `workers` share the limit.
    pub fn judge(
        &mut self,
        limit: &RateLimitConfig,
        workers: usize,
        client: IpAddr,
        kind: Kind<'_>,
        now: Duration,
    ) -> Verdict {
        let client = client.to_canonical();
        if limit.responses_per_second == 0 || limit.exempt.iter().any(|network| network.contains(&client)) {
            return Verdict::Send;
        }
        let workers = u64::try_from(workers.max(1)).unwrap_or(1);
        let rate = (u64::from(limit.responses_per_second) * ANSWER / workers).max(1);
        if self.buckets.is_empty() {
            self.buckets.resize(BUCKETS, Bucket::default());
        }
        // Keys that strangers choose: hashed with the process's seed.
        let key = process_hash(&(network(client, limit), kind)).max(1);
        let bucket = &mut self.buckets[usize::try_from(key % BUCKETS as u64).unwrap_or_default()];
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if bucket.key != key {
            *bucket = Bucket { key, at: now, left: rate.max(ANSWER), held: 0 };
        }
        bucket.take(rate, u32::from(limit.slip), now)
    }
}

impl Bucket {
    fn take(&mut self, rate: u64, slip: u32, now: u64) -> Verdict {
        // A second's answers at most are saved up, and one where a second brings less than one.
        let grown = now.saturating_sub(self.at).saturating_mul(rate) / 1000;
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(rate.max(ANSWER));
            self.at = now;
        }
        if let Some(left) = self.left.checked_sub(ANSWER) {
            self.left = left;
            return Verdict::Send;
        }
        self.held += 1;
        if slip > 0 && self.held >= slip {
            self.held = 0;
            return Verdict::Slip;
        }
        Verdict::Drop
    }
}

/// The network that a client is counted with.
fn network(client: IpAddr, limit: &RateLimitConfig) -> u128 {
    match client {
        IpAddr::V4(client) => u128::from(client.to_bits() & high_bits_v4(limit.ipv4_prefix)),
        // No IPv4 network is this large a number, but for `::/96`, from where nobody asks.
        IpAddr::V6(client) => client.to_bits() & high_bits_v6(limit.ipv6_prefix),
    }
}

fn high_bits_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn high_bits_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(responses_per_second: u32, slip: u8) -> RateLimitConfig {
        RateLimitConfig { responses_per_second, slip, ..RateLimitConfig::default() }
    }

    /// How many of `count` answers within one moment are sent, slip through, are dropped.
    fn burst(
        limiter: &mut RateLimiter,
        limit: &RateLimitConfig,
        client: &str,
        kind: Kind<'_>,
        at: u64,
        count: usize,
    ) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..count {
            let verdict = limiter.judge(limit, 2, client.parse().unwrap(), kind, Duration::from_millis(at));
            counts[verdict as usize] += 1;
        }
        counts
    }

    #[test]
    fn equal_answers_to_one_network_are_limited() {
        let (mut limiter, limit) = (RateLimiter::default(), limit(20, 2));
        let web = Kind::Records("web.mesos", 1);
        // Two workers: each has half.
        assert_eq!(burst(&mut limiter, &limit, "192.0.2.1", web, 0, 30), [10, 10, 10]);
        assert_eq!(burst(&mut limiter, &limit, "192.0.2.200", web, 0, 4), [0, 2, 2], "the same network");
        assert_eq!(burst(&mut limiter, &limit, "192.0.3.1", web, 0, 4), [4, 0, 0], "another one");
        assert_eq!(burst(&mut limiter, &limit, "192.0.2.1", Kind::Records("web.mesos", 28), 0, 4), [4, 0, 0]);
        assert_eq!(burst(&mut limiter, &limit, "192.0.2.1", Kind::Absence, 0, 12), [10, 1, 1]);
        assert_eq!(burst(&mut limiter, &limit, "192.0.2.1", Kind::Error, 0, 12), [10, 1, 1]);
        assert_eq!(burst(&mut limiter, &limit, "2001:db8::1", web, 0, 12), [10, 1, 1]);
        assert_eq!(burst(&mut limiter, &limit, "2001:db8:0:ff::1", web, 0, 2), [0, 1, 1], "a /56");
        assert_eq!(burst(&mut limiter, &limit, "2001:db8:0:100::1", web, 0, 2), [2, 0, 0]);
    }

    #[test]
    fn what_was_used_comes_back_with_time() {
        let (mut limiter, limit) = (RateLimiter::default(), limit(20, 0));
        let mut sent = |at, count| burst(&mut limiter, &limit, "192.0.2.1", Kind::Absence, at, count)[0];
        assert_eq!(sent(0, 20), 10);
        assert_eq!(sent(99, 5), 0);
        assert_eq!(sent(200, 5), 2, "one for each 100 ms");
        assert_eq!(sent(60_000, 50), 10, "not more than a second's are saved up");
        let slow: usize = (0..100).map(|step| sent(120_000 + step * 10, 1)).sum();
        assert!((10..=20).contains(&slow), "{slow}: parts of an answer are not lost");
    }

    #[test]
    fn slip_says_how_many_are_cut_rather_than_dropped() {
        for (slip, expected) in [(0, [1, 0, 9]), (1, [1, 9, 0]), (3, [1, 3, 6])] {
            let mut limiter = RateLimiter::default();
            assert_eq!(burst(&mut limiter, &limit(2, slip), "192.0.2.1", Kind::Error, 0, 10), expected, "{slip}");
        }
    }

    #[test]
    fn some_are_never_limited() {
        let mut limiter = RateLimiter::default();
        assert_eq!(burst(&mut limiter, &limit(0, 2), "192.0.2.1", Kind::Error, 0, 100), [100, 0, 0]);
        assert!(limiter.buckets.is_empty(), "no memory while nothing is limited");
        let exempt = RateLimitConfig { exempt: vec!["192.0.2.0/25".parse().unwrap()], ..limit(2, 2) };
        assert_eq!(burst(&mut limiter, &exempt, "192.0.2.1", Kind::Error, 0, 100), [100, 0, 0]);
        assert_eq!(burst(&mut limiter, &exempt, "192.0.2.128", Kind::Error, 0, 100)[0], 1);
    }
}
