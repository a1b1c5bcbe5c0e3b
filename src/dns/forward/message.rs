//! Queries to upstream servers, and what their answers are worth. Pure.
//!
//! An answer counts only if it answers just this query: id, question and its spelling (0x20), besides the address and
//! port that the socket checks. Of its records only those count that the question leads to: the aliases from the name
//! asked for, what was asked for at their end, and for absence the SOA of a zone that the name lies in. Anything else
//! could be put into the cache by whoever may answer for some other name.

use super::aliases::Aliases;
use super::answer::Answer;
use super::key::{CD, Key};
use crate::dns::wire::{CLASS_IN, HEADER_LEN, MAX_MESSAGE, Rcode, flags, name, read_u16, record_type};

/// What is offered to upstream servers: what passes without fragments (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;

/// Aliases followed in one answer.
const MAX_ALIASES: usize = 16;

/// Records looked at in one answer.
const MAX_RECORDS: usize = 4096;

const DNAME: u16 = 39;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const NSEC3: u16 = 50;

/// Bounds of times to live, seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TtlBounds {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) max_negative: u32,
}

/// A server's answer to a query.
#[derive(Debug)]
pub(super) enum Reply {
    /// What was asked for, or that there is nothing.
    Answer(Answer),
    /// It did not fit: to be asked again over TCP.
    Truncated,
    /// The server cannot or will not say.
    Failure(u16),
}

/// Octets that are no answer to the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    /// Not a DNS response, or broken.
    Malformed,
    /// Another id.
    Id,
    /// Another question.
    Question,
    /// The same question in another spelling.
    Case,
}

/// A query for `key`, with a random spelling of the name if `random` is given (draft-vixie-dnsext-dns0x20).
pub(super) fn query(key: &Key, id: u16, random: Option<&mut fastrand::Rng>) -> Vec<u8> {
    let cd = if key.checking_disabled() { CD } else { 0 };
    let mut message = Vec::with_capacity(HEADER_LEN + key.name().len() + 15);
    for word in [id, flags::RD | cd, 1, 0, 0, 1] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    message.extend_from_slice(key.name());
    if let Some(random) = random {
        for octet in message[HEADER_LEN..].iter_mut().filter(|octet| octet.is_ascii_lowercase()) {
            if random.bool() {
                *octet = octet.to_ascii_uppercase();
            }
        }
    }
    message.extend_from_slice(&key.record_type().to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message.push(0);
    message.extend_from_slice(&record_type::OPT.to_be_bytes());
    message.extend_from_slice(&UDP_SIZE.to_be_bytes());
    message.extend_from_slice(&[0, 0, if key.dnssec_ok() { 0x80 } else { 0 }, 0, 0, 0]);
    message
}

/// Reads the answer to `query`, which asked for `key`.
///
/// # Errors
/// It is none: whoever sent it, the real one may still come.
pub(super) fn read(key: &Key, query: &[u8], response: &[u8], bounds: TtlBounds) -> Result<Reply, Invalid> {
    let word = |at| read_u16(response, at).ok_or(Invalid::Malformed);
    let question_end = HEADER_LEN + key.name().len() + 4;
    let flags_word = word(2)?;
    if flags_word & flags::QR == 0 || flags_word & flags::OPCODE_MASK != 0 {
        return Err(Invalid::Malformed);
    }
    if word(0)? != read_u16(query, 0).ok_or(Invalid::Malformed)? {
        return Err(Invalid::Id);
    }
    let rcode = flags_word & 0xf;
    if word(4)? != 1 {
        // RFC 8906 §3: servers that understand nothing may leave the question out.
        return if word(4)? == 0 && rcode != 0 { Ok(Reply::Failure(rcode)) } else { Err(Invalid::Question) };
    }
    let (asked, echoed) = (&query[HEADER_LEN..question_end], response.get(HEADER_LEN..question_end));
    match echoed {
        Some(echoed) if echoed == asked => {}
        Some(echoed) if echoed.eq_ignore_ascii_case(asked) => return Err(Invalid::Case),
        _ => return Err(Invalid::Question),
    }
    if flags_word & flags::TC != 0 {
        return Ok(Reply::Truncated);
    }
    let rcode = match rcode {
        0 => Rcode::NoError,
        3 => Rcode::NxDomain,
        other => return Ok(Reply::Failure(other)),
    };
    let records = read_records(response, question_end, word(6)?, word(8)?).ok_or(Invalid::Malformed)?;
    Ok(Builder::new(key, bounds, rcode).build(&records))
}

/// A record with its names written out.
struct Record {
    is_answer: bool,
    /// Lower case.
    owner: Vec<u8>,
    record_type: u16,
    ttl: u32,
    data: Vec<u8>,
}

fn read_records(message: &[u8], mut at: usize, answers: u16, authorities: u16) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut total = 0;
    for index in 0..usize::from(answers) + usize::from(authorities) {
        let mut owner = Vec::new();
        let fixed = name::copy(message, at, &mut owner)?;
        owner.make_ascii_lowercase();
        let head = message.get(fixed..fixed + 10)?;
        let (kind, class) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let ttl = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let end = fixed + 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
        let data = read_data(message.get(..end)?, fixed + 10, kind)?;
        at = end;
        // Names written out may be much longer than what came: bounded before anything is kept.
        total += owner.len() + data.len();
        if index >= MAX_RECORDS || total > 4 * MAX_MESSAGE {
            return None;
        }
        // RFC 2181 §8: a time to live with the highest bit set is 0.
        let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl };
        if class == CLASS_IN {
            records.push(Record { is_answer: index < usize::from(answers), owner, record_type: kind, ttl, data });
        }
    }
    Some(records)
}

/// The data of a record, names in it written out where old servers may have compressed them (RFC 3597 §4). None where it
/// is not as its type has it: a client would take the whole answer for broken.
fn read_data(message: &[u8], at: usize, kind: u16) -> Option<Vec<u8>> {
    let Some(Layout { before, names, after }) = layout(kind) else {
        return message.get(at..).map(<[u8]>::to_vec);
    };
    let mut data = message.get(at..at + before)?.to_vec();
    let mut position = at + before;
    for _ in 0..names {
        position = name::copy(message, position, &mut data)?;
    }
    let rest = message.get(position..)?;
    data.extend_from_slice(rest);
    (rest.len() == after).then_some(data)
}

/// What the data of a record is made of.
struct Layout {
    /// Octets before the names.
    before: usize,
    names: usize,
    /// Octets behind the names.
    after: usize,
}

/// The layout of addresses, and of types whose names may be compressed. RFC 1035 §3.3 and §3.4; RFC 1183 (RP, AFSDB,
/// RT), RFC 2230 (KX), RFC 2782 (SRV), RFC 3596 (AAAA), RFC 6672 (DNAME).
fn layout(kind: u16) -> Option<Layout> {
    let (before, names, after) = match kind {
        record_type::A => (4, 0, 0),
        record_type::AAAA => (16, 0, 0),
        2..=5 | 7..=9 | 12 | DNAME => (0, 1, 0),
        record_type::SOA => (0, 2, 20),
        14 | 17 => (0, 2, 0),
        15 | 18 | 21 | 36 => (2, 1, 0),
        record_type::SRV => (6, 1, 0),
        _ => return None,
    };
    Some(Layout { before, names, after })
}

/// Writes the records that count.
struct Builder<'k> {
    key: &'k Key,
    bounds: TtlBounds,
    rcode: Rcode,
    octets: Vec<u8>,
    ttls: Vec<u16>,
    counts: [u16; 2],
    lifetime: Option<u32>,
    /// Names that stand in the message whole, with their places.
    known: Vec<(Vec<u8>, u16)>,
    is_too_long: bool,
}

impl<'k> Builder<'k> {
    fn new(key: &'k Key, bounds: TtlBounds, rcode: Rcode) -> Self {
        let mut octets = vec![0; HEADER_LEN];
        octets[5] = 1;
        octets.extend_from_slice(key.name());
        octets.extend_from_slice(&key.record_type().to_be_bytes());
        octets.extend_from_slice(&CLASS_IN.to_be_bytes());
        let known = vec![(key.name().to_vec(), 12)];
        Self { key, bounds, rcode, octets, ttls: Vec::new(), counts: [0; 2], lifetime: None, known, is_too_long: false }
    }

    fn build(mut self, records: &[Record]) -> Reply {
        let question_end = self.octets.len();
        let (end, found) = self.follow(records);
        let is_negative = !found;
        let mut is_kept = found;
        if is_negative {
            let soa = records.iter().filter(|record| !record.is_answer && record.record_type == record_type::SOA);
            let of_zone = soa.filter(|record| is_within(&end, &record.owner)).max_by_key(|record| record.owner.len());
            match of_zone {
                // RFC 2308 §5: the lesser of the SOA's minimum and its own time to live.
                Some(soa) => {
                    let minimum = soa.data.len().checked_sub(4).and_then(|at| soa.data.get(at..));
                    let minimum = minimum.map_or(0, |octets| octets.iter().fold(0, |n, o| n << 8 | u32::from(*o)));
                    let ttl = soa.ttl.min(minimum).min(self.bounds.max_negative);
                    self.write(soa, ttl);
                    is_kept = true;
                }
                // A referral: this server does not ask others for us.
                None if self.rcode == Rcode::NoError && self.counts[0] == 0 && has_referral(records) => {
                    return Reply::Failure(Rcode::ServFail.code());
                }
                // RFC 2308 §2.2.2: without an SOA it is not kept.
                None => {}
            }
        }
        if self.key.dnssec_ok() {
            self.write_proofs(records, &end, is_negative);
        }
        if self.is_too_long {
            return Reply::Failure(Rcode::ServFail.code());
        }
        for (section, count) in self.counts.iter().enumerate() {
            self.octets[6 + 2 * section..8 + 2 * section].copy_from_slice(&count.to_be_bytes());
        }
        Reply::Answer(Answer {
            octets: self.octets.into(),
            question_end,
            ttls: self.ttls.into(),
            rcode: self.rcode,
            lifetime: if is_kept { self.lifetime.unwrap_or(0) } else { 0 },
            is_negative,
        })
    }

    /// Writes aliases from the name asked for, and what was asked for at their end. Returns that end, and whether
    /// there is anything.
    fn follow(&mut self, records: &[Record]) -> (Vec<u8>, bool) {
        let wanted = self.key.record_type();
        let mut name = self.key.name().to_vec();
        for _ in 0..MAX_ALIASES {
            let here = |record: &&Record| record.is_answer && record.owner == name;
            let is_wanted = |record: &&Record| record.record_type == wanted || wanted == record_type::ANY;
            if records.iter().filter(here).any(|record| is_wanted(&record)) {
                for record in records.iter().filter(here) {
                    if is_wanted(&record) || (self.key.dnssec_ok() && record.record_type == RRSIG) {
                        self.write_clamped(record);
                    }
                }
                return (name, true);
            }
            // An alias of everything below some name stands before the alias that is made of it.
            let above = |record: &&Record| record.is_answer && record.record_type == DNAME;
            for record in records.iter().filter(above).filter(|record| is_within(&name, &record.owner)) {
                self.write_clamped(record);
            }
            let alias = records.iter().filter(here).find(|record| record.record_type == record_type::CNAME);
            let Some(alias) = alias else { return (name, false) };
            self.write_clamped(alias);
            if self.key.dnssec_ok() {
                records.iter().filter(here).filter(|record| record.record_type == RRSIG).for_each(|record| {
                    self.write_clamped(record);
                });
            }
            name = alias.data.to_ascii_lowercase();
        }
        (name, false)
    }

    fn write_proofs(&mut self, records: &[Record], end: &[u8], is_negative: bool) {
        let is_proof = |record: &&Record| !record.is_answer && matches!(record.record_type, RRSIG | NSEC | NSEC3);
        let zone = records.iter().find(|record| !record.is_answer && is_within(end, &record.owner));
        let Some(zone) = zone.map(|record| &record.owner).filter(|_| is_negative || self.counts[0] > 0) else { return };
        for record in records.iter().filter(is_proof).filter(|record| is_within(&record.owner, zone)) {
            self.write_clamped(record);
        }
    }

    fn write_clamped(&mut self, record: &Record) {
        let ttl = record.ttl.clamp(self.bounds.min.min(self.bounds.max), self.bounds.max);
        self.write(record, ttl);
    }

    fn write(&mut self, record: &Record, ttl: u32) {
        self.name(&record.owner);
        self.octets.extend_from_slice(&record.record_type.to_be_bytes());
        self.octets.extend_from_slice(&CLASS_IN.to_be_bytes());
        let at = u16::try_from(self.octets.len());
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        let length = u16::try_from(record.data.len());
        let (Ok(at), Ok(length)) = (at, length) else {
            self.is_too_long = true;
            return;
        };
        self.ttls.push(at);
        self.octets.extend_from_slice(&length.to_be_bytes());
        if record.record_type == record_type::CNAME {
            self.know(&record.data.to_ascii_lowercase());
        }
        self.octets.extend_from_slice(&record.data);
        let section = usize::from(!record.is_answer);
        self.counts[section] = self.counts[section].saturating_add(1);
        self.lifetime = Some(self.lifetime.map_or(ttl, |least| least.min(ttl)));
        // Room for OPT.
        self.is_too_long |= self.octets.len() > MAX_MESSAGE - 16;
    }

    /// Writes an owner: as a pointer where it stands already.
    fn name(&mut self, owner: &[u8]) {
        match self.known.iter().find(|(known, _)| known == owner) {
            Some((_, at)) => self.octets.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            None => {
                self.know(owner);
                self.octets.extend_from_slice(owner);
            }
        }
    }

    /// Notes that a name stands at the end of what is written.
    fn know(&mut self, name: &[u8]) {
        if let Some(at) = u16::try_from(self.octets.len()).ok().filter(|at| *at < 0x4000)
            && self.known.len() < MAX_ALIASES
        {
            self.known.push((name.to_vec(), at));
        }
    }
}

fn has_referral(records: &[Record]) -> bool {
    records.iter().any(|record| !record.is_answer && record.record_type == record_type::NS)
}

/// Whether `name` is `zone` or lies below it; both in wire form and lower case.
pub(super) fn is_within(name: &[u8], zone: &[u8]) -> bool {
    let mut rest = name;
    loop {
        if rest == zone {
            return true;
        }
        match rest.first() {
            None | Some(0) => return false,
            Some(length) => match rest.get(1 + usize::from(*length)..) {
                Some(parent) => rest = parent,
                None => return false,
            },
        }
    }
}

/// An answer of ours: `a.test` is an alias of `www.example`.
const ALIAS: &[u8] = b"\0\x07\x84\0\0\x01\0\x01\0\0\0\0\x01a\x04test\0\0\x01\0\x01\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x0d\x03www\x07example\0";

/// Reads arbitrary octets as an answer, as they are and behind the question that was asked: must neither panic nor
/// loop, what comes out is no longer than a message may be, and it can be read behind an alias.
pub(super) fn fuzz(data: &[u8]) {
    let bounds = TtlBounds { min: 0, max: 1000, max_negative: 60 };
    let name = b"\x03www\x07example\x00";
    for record_type in [record_type::A, record_type::ANY] {
        let Some(key) = Key::of_name(name, record_type) else { continue };
        let query = query(&key, 7, None);
        let mut counted = query.clone();
        counted.truncate(HEADER_LEN + name.len() + 4);
        counted[2] = 0x80;
        counted[6..HEADER_LEN].copy_from_slice(&[0, 3, 0, 2, 0, 0]);
        counted.extend_from_slice(data);
        for response in [data, &counted] {
            if let Ok(Reply::Answer(answer)) = read(&key, &query, response, bounds) {
                assert!(answer.octets.len() <= MAX_MESSAGE);
                let mut out = Vec::new();
                let aliases = Aliases::of(ALIAS).filter(|(_, target)| target == name);
                let written = aliases.and_then(|(aliases, _)| aliases.write(&answer, &answer.octets, &mut out));
                assert!(written.is_some(), "no answer behind an alias");
                let records = [read_u16(&out, 6), read_u16(&out, 8)].map(Option::unwrap_or_default);
                let read = read_records(&out, HEADER_LEN + 12, records[0], records[1]);
                assert!(read.is_none_or(|read| !read.is_empty()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::wire_name;
    use super::*;

    const BOUNDS: TtlBounds = TtlBounds { min: 0, max: 1000, max_negative: 60 };

    fn record(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut octets = wire_name(name);
        octets.extend_from_slice(&kind.to_be_bytes());
        octets.extend_from_slice(&[0, 1]);
        octets.extend_from_slice(&ttl.to_be_bytes());
        octets.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        octets.extend_from_slice(data);
        octets
    }

    fn response(query: &[u8], rcode: u16, answers: &[Vec<u8>], authorities: &[Vec<u8>]) -> Vec<u8> {
        let end = name::skip(query, HEADER_LEN).unwrap() + 4;
        let mut octets = query[..2].to_vec();
        let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap();
        for word in [flags::QR | flags::RD | 0x80 | rcode, 1, count(answers), count(authorities), 0] {
            octets.extend_from_slice(&word.to_be_bytes());
        }
        octets.extend_from_slice(&query[HEADER_LEN..end]);
        octets.extend(answers.iter().chain(authorities).flatten());
        octets
    }

    fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
        let mut data = [wire_name("ns.example"), wire_name("root.example")].concat();
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&minimum.to_be_bytes());
        record("example", record_type::SOA, ttl, &data)
    }

    fn read_for(key: &Key, rcode: u16, answers: &[Vec<u8>], authorities: &[Vec<u8>]) -> Reply {
        let query = query(key, 7, Some(&mut fastrand::Rng::with_seed(1)));
        read(key, &query, &response(&query, rcode, answers, authorities), BOUNDS).unwrap()
    }

    fn answer(reply: Reply) -> Answer {
        match reply {
            Reply::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn counts(answer: &Answer) -> (u16, u16) {
        (read_u16(&answer.octets, 6).unwrap(), read_u16(&answer.octets, 8).unwrap())
    }

    #[test]
    fn only_records_that_the_question_leads_to_count() {
        let key = Key::of("www.example", record_type::A);
        let reply = read_for(
            &key,
            0,
            &[
                record("www.bank", record_type::A, 5, &[6, 6, 6, 6]),
                record("Web.Example", record_type::A, 300, &[10, 0, 0, 1]),
                record("www.example", record_type::CNAME, 500, &wire_name("web.example")),
                record("web.example", record_type::TXT, 1, b"\x01x"),
            ],
            &[record("bank", record_type::NS, 5, &wire_name("ns.evil"))],
        );
        let answer = answer(reply);
        assert_eq!(counts(&answer), (2, 0));
        assert_eq!((answer.lifetime, answer.is_negative), (300, false));
        assert!(!answer.octets.windows(4).any(|octets| octets == [6, 6, 6, 6]));
    }

    #[test]
    fn absence_lives_as_long_as_its_soa_says_and_not_at_all_without() {
        let key = Key::of("nope.example", record_type::A);
        for (ttl, minimum, expected) in [(300, 30, 30), (20, 30, 20), (3600, 3600, 60)] {
            let answer = answer(read_for(&key, 3, &[], &[soa(ttl, minimum)]));
            assert_eq!((answer.lifetime, answer.rcode, answer.is_negative), (expected, Rcode::NxDomain, true));
            assert_eq!(counts(&answer), (0, 1));
        }
        assert_eq!(answer(read_for(&key, 3, &[], &[])).lifetime, 0);
        let foreign = Key::of("nope.test", record_type::A);
        let answer = answer(read_for(&foreign, 3, &[], &[soa(300, 300)]));
        assert_eq!((answer.lifetime, counts(&answer)), (0, (0, 0)));
    }

    #[test]
    fn a_referral_is_no_answer() {
        let key = Key::of("www.example", record_type::A);
        let reply = read_for(&key, 0, &[], &[record("example", record_type::NS, 5, &wire_name("ns.example"))]);
        assert!(matches!(reply, Reply::Failure(2)), "{reply:?}");
    }

    #[test]
    fn what_is_no_answer_to_the_query_is_told_apart() {
        let key = Key::of("www.example", record_type::A);
        let query = query(&key, 7, Some(&mut fastrand::Rng::with_seed(1)));
        assert_ne!(query[HEADER_LEN..HEADER_LEN + 13], *key.name(), "its spelling is random");
        let whole = response(&query, 0, &[record("www.example", record_type::A, 5, &[1, 2, 3, 4])], &[]);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = whole.clone();
            change(&mut octets);
            read(&key, &query, &octets, BOUNDS)
        };
        assert!(matches!(with(&|_| {}), Ok(Reply::Answer(_))));
        assert_eq!(with(&|octets| octets[1] ^= 1).unwrap_err(), Invalid::Id);
        assert_eq!(with(&|octets| octets[2] &= 0x7f).unwrap_err(), Invalid::Malformed);
        assert_eq!(with(&|octets| octets[13] ^= 0x20).unwrap_err(), Invalid::Case);
        assert_eq!(with(&|octets| octets[13] = b'x').unwrap_err(), Invalid::Question);
        assert_eq!(with(&|octets| octets.truncate(3)).unwrap_err(), Invalid::Malformed);
        assert_eq!(with(&|octets| octets.truncate(40)).unwrap_err(), Invalid::Malformed);
        assert!(matches!(with(&|octets| octets[2] |= 2), Ok(Reply::Truncated)));
        assert!(matches!(with(&|octets| octets[3] |= 5), Ok(Reply::Failure(5))));
    }

    #[test]
    fn records_that_are_not_as_their_type_has_them_break_the_answer_rfc1035_3_3() {
        let key = Key::of("www.example", record_type::ANY);
        let query = query(&key, 7, None);
        let host = wire_name("mail.example");
        for (kind, data) in [
            (record_type::A, vec![192, 0, 2, 1]),
            (record_type::AAAA, vec![0; 16]),
            (record_type::CNAME, host.clone()),
            (15, [&[0, 10], host.as_slice()].concat()),
            (record_type::SRV, [&[0, 1, 0, 5, 0, 80], host.as_slice()].concat()),
            (record_type::SOA, [host.as_slice(), &host, &[0; 20]].concat()),
        ] {
            let whole = response(&query, 0, &[record("www.example", kind, 5, &data)], &[]);
            assert!(matches!(read(&key, &query, &whole, BOUNDS), Ok(Reply::Answer(_))), "type {kind}");
            for wrong in [&data[..data.len() - 1], &[data.as_slice(), &[0]].concat()] {
                let broken = response(&query, 0, &[record("www.example", kind, 5, wrong)], &[]);
                let read = read(&key, &query, &broken, BOUNDS);
                assert_eq!(read.unwrap_err(), Invalid::Malformed, "type {kind}, {} octets", wrong.len());
            }
        }
    }

    #[test]
    fn arbitrary_octets_do_no_harm() {
        let key = Key::of("www.example", record_type::ANY);
        let mut random = fastrand::Rng::with_seed(3);
        let query = query(&key, 7, None);
        let chain = [
            record("www.example", record_type::CNAME, 5, &wire_name("www.example")),
            soa(1, 1),
            record("www.example", record_type::MX, 5, &[0, 1, 0xc0, 12]),
        ];
        let whole = response(&query, 0, &chain, &[]);
        for _ in 0..20_000 {
            let mut octets = whole.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..octets.len());
                octets[at] = random.u8(..);
            }
            octets.truncate(random.usize(..=octets.len()));
            let _ = read(&key, &query, &octets, BOUNDS);
        }
    }
}
