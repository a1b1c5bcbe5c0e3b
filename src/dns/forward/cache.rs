//! Answers that are kept, bounded in octets. Pure: the caller passes the time.
//!
//! What was not asked for since it was last looked at makes room first ("second chance": a queue of keys and a mark
//! each), so that neither a look-up nor an eviction walks anything. Negative answers are never served out of date, so
//! that nothing stays away longer than its zone says.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::answer::Answer;
use super::key::Key;

/// What the map and the queue cost for an entry beside its octets.
const ENTRY_BYTES: usize = 256;

/// An answer that was asked for so often since it came is fetched again before it runs out.
const HOT: u32 = 3;

/// … once less than this part of its life is left.
const PREFETCH_PART: u32 = 10;

/// RFC 8767 §5: after a failed attempt, what is out of date is served at once for so long.
const FAILURE_RECHECK: Duration = Duration::from_secs(30);

/// Answers by question.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    order: VecDeque<Key>,
    bytes: usize,
    evictions: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Rc<Answer>,
    stored: Duration,
    hits: u32,
    /// Asked for since the queue passed it.
    is_used: bool,
    /// Fetched anew already.
    is_prefetched: bool,
    failed: Option<Duration>,
}

/// What is known of a question.
#[derive(Debug)]
pub(super) enum Known {
    /// An answer that counts, so many seconds old; whether it should be fetched again.
    Fresh(Rc<Answer>, u32, Refresh),
    /// An answer that has run out, and may be served if there is no better; whether that is known already.
    Stale(Rc<Answer>, Retry),
    /// Nothing.
    Nothing,
}

/// Whether an answer is to be fetched anew while it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It has time.
    No,
    /// It is hot and about to run out.
    Now,
}

/// Whether fetching what has run out is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Yes.
    Now,
    /// It failed just now.
    Later,
}

impl Cache {
    /// What is known of `key`. `max_stale` is how long an answer may be served after its time.
    pub(super) fn find(&mut self, key: &Key, now: Duration, max_stale: Duration) -> Known {
        let Some(entry) = self.entries.get_mut(key) else { return Known::Nothing };
        let age = now.saturating_sub(entry.stored);
        let lifetime = Duration::from_secs(entry.answer.lifetime.into());
        entry.is_used = true;
        if age < lifetime {
            entry.hits = entry.hits.saturating_add(1);
            let is_due = entry.hits >= HOT && (lifetime - age) * PREFETCH_PART < lifetime && !entry.is_prefetched;
            entry.is_prefetched |= is_due;
            let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
            return Known::Fresh(entry.answer.clone(), seconds, if is_due { Refresh::Now } else { Refresh::No });
        }
        // RFC 1035 §3.2.1: a time to live of 0 is for the transaction in progress alone.
        let is_for_once = entry.answer.lifetime == 0;
        if entry.answer.is_negative || is_for_once || age >= lifetime.saturating_add(max_stale) {
            return Known::Nothing;
        }
        let failed = entry.failed.is_some_and(|at| now.saturating_sub(at) < FAILURE_RECHECK);
        Known::Stale(entry.answer.clone(), if failed { Retry::Later } else { Retry::Now })
    }

    /// Keeps an answer; what has to go for it goes. One that may not be kept is, where an older one would be served in its
    /// place after its time: it stands there to say that there is nothing (RFC 8767 §4 speaks of data that nobody could
    /// refresh, and these were). `limit` is in octets.
    pub(super) fn keep(&mut self, key: &Key, answer: &Rc<Answer>, now: Duration, limit: usize) {
        if answer.lifetime > 0 || self.entries.contains_key(key) {
            self.insert(key.clone(), answer.clone(), now, limit);
        }
    }

    fn insert(&mut self, key: Key, answer: Rc<Answer>, now: Duration, limit: usize) {
        let cost = cost(&key, &answer);
        let entry = Entry { answer, stored: now, hits: 0, is_used: false, is_prefetched: false, failed: None };
        match self.entries.insert(key.clone(), entry) {
            Some(former) => self.bytes -= self::cost(&key, &former.answer),
            None => self.order.push_back(key),
        }
        self.bytes += cost;
        self.shrink(limit);
    }

    /// A question could not be answered anew.
    pub(super) fn failed(&mut self, key: &Key, now: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failed = Some(now);
            entry.is_prefetched = false;
        }
    }

    /// Lets go of answers until they fit.
    pub(super) fn shrink(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(key) = self.order.pop_front() else { return };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.is_used => {
                    entry.is_used = false;
                    self.order.push_back(key);
                }
                _ => {
                    if let Some(entry) = self.entries.remove(&key) {
                        self.bytes -= cost(&key, &entry.answer);
                        self.evictions += 1;
                    }
                }
            }
        }
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
    }

    /// Answers kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Octets that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Answers that had to make room, since the last call.
    pub(super) fn take_evictions(&mut self) -> u64 {
        std::mem::take(&mut self.evictions)
    }
}

fn cost(key: &Key, answer: &Answer) -> usize {
    ENTRY_BYTES + 2 * key.len() + answer.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::Rcode;

    fn answer(lifetime: u32, is_negative: bool) -> Rc<Answer> {
        Rc::new(Answer {
            octets: vec![0; 100].into(),
            question_end: 12,
            ttls: Box::new([]),
            rcode: Rcode::NoError,
            lifetime,
            is_negative,
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn answers_run_out_and_negative_ones_are_gone_then() {
        let mut cache = Cache::default();
        cache.insert(Key::of("a", 1), answer(10, false), at(0), 1 << 20);
        cache.insert(Key::of("b", 1), answer(10, true), at(0), 1 << 20);
        assert!(matches!(cache.find(&Key::of("a", 1), at(9), DAY), Known::Fresh(_, 9, Refresh::No)));
        assert!(matches!(cache.find(&Key::of("b", 1), at(9), DAY), Known::Fresh(..)));
        assert!(matches!(cache.find(&Key::of("a", 1), at(10), DAY), Known::Stale(_, Retry::Now)));
        assert!(matches!(cache.find(&Key::of("b", 1), at(10), DAY), Known::Nothing));
        assert!(matches!(cache.find(&Key::of("a", 1), at(10 + 86_400), DAY), Known::Nothing));
        assert!(matches!(cache.find(&Key::of("a", 1), at(10), Duration::ZERO), Known::Nothing));
        assert!(matches!(cache.find(&Key::of("a", 28), at(0), DAY), Known::Nothing));
        cache.failed(&Key::of("a", 1), at(20));
        assert!(matches!(cache.find(&Key::of("a", 1), at(49), DAY), Known::Stale(_, Retry::Later)));
        assert!(matches!(cache.find(&Key::of("a", 1), at(50), DAY), Known::Stale(_, Retry::Now)));
    }

    #[test]
    fn an_answer_that_may_not_be_kept_takes_the_place_of_the_former_one() {
        let key = Key::of("a", 1);
        for is_negative in [false, true] {
            let mut cache = Cache::default();
            cache.keep(&key, &answer(0, is_negative), at(0), 1 << 20);
            assert_eq!((cache.len(), cache.bytes()), (0, 0), "nothing is there that it supersedes");
            cache.keep(&key, &answer(10, false), at(0), 1 << 20);
            let bytes = cache.bytes();
            cache.keep(&key, &answer(0, is_negative), at(11), 1 << 20);
            cache.failed(&key, at(12));
            for now in [11, 12, 60] {
                assert!(matches!(cache.find(&key, at(now), DAY), Known::Nothing), "{now}");
            }
            assert_eq!((cache.len(), cache.order.len(), cache.bytes()), (1, 1, bytes));
            cache.keep(&key, &answer(10, false), at(70), 1 << 20);
            assert!(matches!(cache.find(&key, at(71), DAY), Known::Fresh(..)));
        }
    }

    #[test]
    fn what_is_hot_is_fetched_again_once() {
        let mut cache = Cache::default();
        cache.insert(Key::of("a", 1), answer(100, false), at(0), 1 << 20);
        let refresh = |cache: &mut Cache, now| match cache.find(&Key::of("a", 1), at(now), DAY) {
            Known::Fresh(_, _, refresh) => refresh,
            other => panic!("{other:?}"),
        };
        assert_eq!([91, 92, 93, 94].map(|now| refresh(&mut cache, now)), {
            use Refresh::{No, Now};
            [No, No, Now, No]
        });
        cache.failed(&Key::of("a", 1), at(95));
        assert_eq!(refresh(&mut cache, 96), Refresh::Now);
    }

    #[test]
    fn octets_are_bounded_and_what_is_asked_for_stays() {
        let (mut cache, limit) = (Cache::default(), 20_000);
        let hot = Key::of("hot", 1);
        cache.insert(hot.clone(), answer(1000, false), at(0), limit);
        for number in 0..10_000_u32 {
            cache.insert(Key::of(&format!("n{number}"), 1), answer(1000, false), at(1), limit);
            assert!(cache.bytes() <= limit && cache.len() == cache.order.len());
            assert!(matches!(cache.find(&hot, at(1), DAY), Known::Fresh(..)), "{number}");
        }
        assert!(cache.len() > 20 && cache.take_evictions() > 9_000);
        // The same again takes no more.
        let bytes = cache.bytes();
        cache.insert(hot, answer(1000, false), at(2), limit);
        assert_eq!(cache.bytes(), bytes);
        cache.shrink(0);
        assert_eq!((cache.bytes(), cache.len()), (0, 0));
    }
}
