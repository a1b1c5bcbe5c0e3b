//! Answers that were asked for before, as they were sent: one worker's bounded cache, for all addresses that it listens on.
//!
//! Invariants: an answer counts for the one version of the names that it was made from; it is kept only where nothing in
//! it was left to chance (no order of records was drawn, nothing was cut) and nothing refused, so that the octets are what
//! a fresh answer would have. What is asked for once in a version is noted and not kept: names that never come again push
//! nothing out.
//!
//! Pure but for the memory; measured with `benches/answers.rs`.

use super::answer::{Answered, Authority, Outcome, answer};
use super::asker::Asker;
use super::source::NameSource;
use super::wire::HEADER_LEN;
use crate::model::hash::process_hash;

/// Places, each for one question: the memory is at most this times [`MOST`] and the place itself.
const PLACES: usize = 8192;

/// Octets of question and answer together that are kept.
const MOST: usize = 512;

/// The id, which is no part of the question.
const ID_LEN: usize = 2;

/// The cache of one worker.
#[derive(Debug, Default)]
pub struct AnswerCache {
    /// Of each place, what was asked there last, in which version: a few octets, which stay in the processor's cache where the
    /// places themselves do not, and all that is looked at for what is asked for once. Empty until the first question.
    marks: Vec<u32>,
    places: Vec<Place>,
    hits: u64,
}

/// The answer that is kept of the questions that fall into one place.
#[derive(Clone, Debug, Default)]
struct Place {
    hash: u64,
    version: u64,
    /// The question, then the answer.
    octets: Vec<u8>,
    question_len: usize,
    answered: Option<Answered>,
}

impl AnswerCache {
    /// Answers `message` as [`answer`] does, from memory where it can.
    pub fn answer<N: NameSource>(
        &mut self,
        authority: &Authority<'_, N>,
        asker: impl Into<Asker>,
        message: &[u8],
        random: &mut fastrand::Rng,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let asker = asker.into();
        // Whose place is known has answers of its own, and so has who signs: they leave room for the signature.
        let locality = &authority.names.config().locality;
        let is_placed = asker.client.is_some_and(|client| locality.place_of(client).is_some());
        if is_placed || asker.reserved > 0 || message.len() < HEADER_LEN || message.len() > MOST {
            return answer(authority, asker, message, random, out);
        }
        let (id, question) = message.split_at(ID_LEN);
        // Keys that strangers choose: hashed with the process's seed.
        let hash = process_hash(&(asker.transport, question));
        let version = authority.names.version();
        if self.places.is_empty() {
            self.marks.resize(PLACES, 0);
            self.places.resize(PLACES, Place::default());
        }
        let at = usize::try_from(hash % PLACES as u64).unwrap_or_default();
        let mark = mark(hash, version);
        let is_asked_again = std::mem::replace(&mut self.marks[at], mark) == mark;
        if is_asked_again && let Some(answered) = self.places[at].answered_to(question, hash, version) {
            out.extend_from_slice(id);
            out.extend_from_slice(self.places[at].answer());
            self.hits += 1;
            return Outcome::Answered(answered);
        }
        let begin = out.len();
        let outcome = answer(authority, asker, message, random, out);
        if let Outcome::Answered(answered) = outcome
            && answered.is_repeatable
            && is_asked_again
        {
            let answer = out.get(begin + ID_LEN..).unwrap_or_default();
            self.places[at].keep((hash, version), question, answer, answered);
        }
        outcome
    }

    /// Answers that came from memory so far.
    pub fn hits(&self) -> u64 {
        self.hits
    }
}

/// What is noted of a question that was asked in a version; another one may have the same, and is answered anew then.
fn mark(hash: u64, version: u64) -> u32 {
    let mixed = hash.rotate_left(32) ^ version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // 0 is nothing.
    u32::try_from(mixed >> 32).unwrap_or_default() | 1
}

impl Place {
    fn answered_to(&self, question: &[u8], hash: u64, version: u64) -> Option<Answered> {
        // Two questions may have one hash.
        let is_known = self.hash == hash && self.version == version;
        self.answered.filter(|_| is_known && self.octets[..self.question_len] == *question)
    }

    fn answer(&self) -> &[u8] {
        &self.octets[self.question_len..]
    }

    /// Keeps an answer in place of what was kept.
    fn keep(&mut self, (hash, version): (u64, u64), question: &[u8], answer: &[u8], answered: Answered) {
        if question.len() + answer.len() > MOST {
            return;
        }
        self.octets.clear();
        self.octets.extend_from_slice(question);
        self.octets.extend_from_slice(answer);
        (self.hash, self.version, self.answered) = (hash, version, Some(answered));
        self.question_len = question.len();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;
    use crate::config::checked::DnsConfig;
    use crate::dns::sample::Sample;
    use crate::dns::wire::Transport;
    use crate::table::names::Found;

    /// Names that count how often they are looked up.
    struct Counted {
        names: Sample,
        version: u64,
        found: Cell<u32>,
    }

    impl NameSource for Counted {
        fn version(&self) -> u64 {
            self.version
        }

        fn is_ready(&self) -> bool {
            self.names.is_ready()
        }

        fn config(&self) -> &DnsConfig {
            self.names.config()
        }

        fn find(&self, name: &str) -> Found<'_> {
            self.found.set(self.found.get() + 1);
            self.names.find(name)
        }
    }

    fn counted() -> Counted {
        let names = Sample::new("mesos")
            .with_address("web.mesos", [10, 0, 0, 1].into())
            .with_address("two.mesos", [10, 0, 0, 1].into())
            .with_address("two.mesos", [10, 0, 0, 2].into());
        Counted { names, version: 1, found: Cell::new(0) }
    }

    fn question(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        message.to_vec().unwrap()
    }

    /// How many of ten questions were looked up; every answer must be what it is without a cache.
    fn looked_up(cache: &mut AnswerCache, names: &Counted, name: &str) -> u32 {
        let authority = Authority { names, own_addresses: &[] };
        let mut looked_up = 0;
        for id in 0..10 {
            let message = question(id, name, RecordType::A);
            let (mut kept, mut fresh) = (b"before".to_vec(), b"before".to_vec());
            let before = names.found.get();
            let random = || fastrand::Rng::with_seed(3);
            let outcome = cache.answer(&authority, Transport::Udp, &message, &mut random(), &mut kept);
            looked_up += u32::from(names.found.get() > before);
            assert_eq!(outcome, answer(&authority, Transport::Udp, &message, &mut random(), &mut fresh));
            assert_eq!(kept, fresh, "{name}");
        }
        looked_up
    }

    #[test]
    fn what_is_asked_again_is_looked_up_twice_a_version() {
        let (mut cache, mut names) = (AnswerCache::default(), counted());
        assert_eq!(looked_up(&mut cache, &names, "web.mesos."), 2);
        assert_eq!(looked_up(&mut cache, &names, "web.mesos."), 0);
        assert_eq!(cache.hits(), 18);
        assert_eq!(looked_up(&mut cache, &names, "WEB.mesos."), 2, "the answer repeats the question's letters");
        assert_eq!(looked_up(&mut cache, &names, "none.mesos."), 2);
        names.version = 2;
        names.names = names.names.with_address("none.mesos", [10, 0, 0, 3].into());
        assert_eq!(looked_up(&mut cache, &names, "none.mesos."), 2, "a new version is asked anew");
    }

    #[test]
    fn what_is_left_to_chance_or_refused_is_not_kept() {
        let (mut cache, mut names) = (AnswerCache::default(), counted());
        assert_eq!(looked_up(&mut cache, &names, "two.mesos."), 10);
        assert_eq!(looked_up(&mut cache, &names, "other.test."), 10);
        names.names.zone_ready = false;
        assert_eq!(looked_up(&mut cache, &names, "web.mesos."), 10);
    }

    #[test]
    fn an_answer_that_leaves_room_for_a_signature_is_no_other_ones() {
        let (mut cache, mut names) = (AnswerCache::default(), counted());
        let text = crate::cluster::event::RecordData::Txt([std::sync::Arc::from("t".repeat(200))].into());
        names.names = names.names.with("long.mesos", text);
        let authority = Authority { names: &names, own_addresses: &[] };
        let message = question(7, "long.mesos.", RecordType::TXT);
        let mut ask = |reserved| {
            let asker = Asker { reserved, ..Asker::from(Transport::Udp) };
            let (mut kept, mut fresh) = (Vec::new(), Vec::new());
            let mut random = fastrand::Rng::with_seed(3);
            let outcome = cache.answer(&authority, asker, &message, &mut random, &mut kept);
            assert_eq!(outcome, answer(&authority, asker, &message, &mut random, &mut fresh));
            assert_eq!(kept, fresh, "{reserved}");
            kept.len()
        };
        for reserved in [0, 0, 0, 400, 0, 400] {
            assert!(ask(reserved) + reserved <= 512, "{reserved}");
        }
    }

    #[test]
    fn the_cache_is_bounded() {
        let (mut cache, names) = (AnswerCache::default(), counted());
        for number in 0..3 * PLACES {
            let message = question(0, &format!("n{number}.mesos."), RecordType::A);
            let authority = Authority { names: &names, own_addresses: &[] };
            for _ in 0..2 {
                cache.answer(&authority, Transport::Udp, &message, &mut fastrand::Rng::with_seed(1), &mut Vec::new());
            }
        }
        assert_eq!(cache.places.len(), PLACES);
        assert!(cache.places.iter().all(|place| place.octets.capacity() <= 2 * MOST));
    }
}
