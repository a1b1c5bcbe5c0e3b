//! Writing responses.
//!
//! A response is written straight into the buffer it is sent from, behind whatever the buffer holds already, so that
//! several answers can leave with one write. Invariants: it never grows past its limit; a record is there whole or
//! not at all; the room for OPT is kept free until [`Response::finish`].

use std::sync::Arc;

use smallvec::SmallVec;

use super::name::{self, MAX_LABEL, MAX_NAME};
use super::option::{self, ExtendedError, OPTION_HEAD};
use super::query::{Edns, Header, Question, Tsig};
use super::record::{Data, Owner};
use super::{CLASS_ANY, CLASS_IN, HEADER_LEN, OPCODE_QUERY, Rcode, flags, record_type};
use crate::cluster::event::{Binding, RecordData};
use crate::dns::tsig::Fault;
use crate::table::names::Denial;

/// Octets of an OPT record without options.
const OPT_LEN: usize = 11;

/// What padded responses' lengths are multiples of (RFC 8467 §4.1).
const PADDING_BLOCK: usize = 468;

/// The question's name stands right behind the header, at octet 12.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 12];

/// Names that later ones may point to. More would make a large answer's cost quadratic for a few octets.
const MAX_KNOWN_NAMES: usize = 64;

/// SvcParamKeys (RFC 9460 §14.3.2).
const SVC_ALPN: u16 = 1;
const SVC_NO_DEFAULT_ALPN: u16 = 2;
const SVC_PORT: u16 = 3;

/// A response being written.
pub struct Response<'b> {
    out: &'b mut Vec<u8>,
    base: usize,
    /// Octets that the message may have, less what is kept free.
    limit: usize,
    counts: [u16; 4],
    /// Where in the message the names stand that can be pointed to.
    known_names: SmallVec<[u16; 16]>,
    /// Where the question's name ends, if there is one.
    question_end: Option<usize>,
    /// Where the zone's name stands, once the record that is being written has named it.
    zone_at: Option<u16>,
    header: Header,
    edns: Option<EdnsReply>,
    /// The class of the records.
    class: u16,
}

/// What a response says by EDNS.
#[derive(Clone, Debug)]
pub struct EdnsReply {
    /// The largest message that this server takes over UDP.
    pub udp_size: u16,
    /// The client's own bit.
    pub dnssec_ok: bool,
    /// Options, as they are sent.
    options: SmallVec<[u8; 40]>,
    is_padded: bool,
}

impl EdnsReply {
    /// The reply to what a client said: OPT is returned if and only if it was sent (RFC 6891 §7).
    pub fn to(edns: Option<Edns>, udp_size: u16) -> Option<Self> {
        let reply =
            |edns: Edns| Self { udp_size, dnssec_ok: edns.dnssec_ok, options: SmallVec::new(), is_padded: false };
        edns.map(reply)
    }

    /// Adds an option.
    pub fn add(&mut self, code: u16, value: &[u8]) {
        option::write(code, value, &mut self.options);
    }

    /// Adds why the answer is what it is.
    pub fn explain(&mut self, error: ExtendedError) {
        self.add(option::code::EXTENDED_ERROR, &(error as u16).to_be_bytes());
    }

    /// The response's length is to tell nothing of what is in it.
    pub fn pad(&mut self) {
        self.is_padded = true;
    }

    /// Octets of the record, without padding.
    pub fn octets(&self) -> usize {
        OPT_LEN + self.options.len()
    }

    /// Appends the record to the message that begins at `base` and may have `limit` octets.
    pub fn write(&self, rcode: Rcode, base: usize, limit: usize, out: &mut Vec<u8>) {
        let padding = self.padding(out.len() - base, limit);
        out.push(0);
        out.extend_from_slice(&record_type::OPT.to_be_bytes());
        out.extend_from_slice(&self.udp_size.to_be_bytes());
        // The upper eight bits of the response code, then version 0, then the flags: all but DO are cleared.
        let [_, upper] = (rcode.code() >> 4).to_be_bytes();
        out.extend_from_slice(&[upper, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0]);
        let length = self.options.len() + padding.map_or(0, |octets| OPTION_HEAD + octets);
        out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&self.options);
        if let Some(octets) = padding {
            out.extend_from_slice(&option::code::PADDING.to_be_bytes());
            out.extend_from_slice(&u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes());
            out.resize(out.len() + octets, 0);
        }
    }

    /// RFC 8467 §4.1: responses are padded to a multiple of 468 octets, as far as there is room.
    fn padding(&self, written: usize, limit: usize) -> Option<usize> {
        let least = written + self.octets() + OPTION_HEAD;
        let wanted = least.next_multiple_of(PADDING_BLOCK).min(limit);
        (self.is_padded && least <= limit).then(|| wanted - least)
    }
}

/// The sections that records can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer = 1,
    /// Who says that there is nothing.
    Authority = 2,
    /// What may spare a second question.
    Additional = 3,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the message.
    Whole,
    /// There was no room; the message is as before.
    NoRoom,
    /// It cannot be expressed (a label of more than 63 octets, a text of more than 255); the message is as before.
    Impossible,
}

/// A place to return to.
pub struct Mark {
    len: usize,
    counts: [u16; 4],
    known_names: usize,
}

struct NotAName;

impl<'b> Response<'b> {
    /// Begins a response of at most `limit` octets behind what `out` holds.
    pub fn begin(
        out: &'b mut Vec<u8>,
        header: Header,
        question: Option<&Question<'_>>,
        edns: Option<EdnsReply>,
        limit: usize,
    ) -> Self {
        let base = out.len();
        // Where not even that much is free, no record is written.
        let limit = limit.saturating_sub(edns.as_ref().map_or(0, EdnsReply::octets));
        let class = CLASS_IN;
        let mut response = Self {
            out,
            base,
            limit,
            counts: [0; 4],
            known_names: SmallVec::new(),
            question_end: None,
            zone_at: None,
            header,
            edns,
            class,
        };
        response.out.extend_from_slice(&[0; HEADER_LEN]);
        if let Some(question) = question {
            response.out.extend_from_slice(question.wire);
            response.counts[0] = 1;
            response.know_question();
        }
        response
    }

    /// The records that follow are of this class.
    pub fn of_class(&mut self, class: u16) {
        self.class = class;
    }

    /// Adds why the answer is what it is, for clients that speak EDNS and where there is room.
    pub fn explain(&mut self, error: ExtendedError) {
        const LEN: usize = OPTION_HEAD + 2;
        if let Some(edns) = &mut self.edns
            && self.out.len() - self.base + LEN <= self.limit
        {
            edns.explain(error);
            self.limit -= LEN;
        }
    }

    /// Adds a record. Sections must be written in order.
    pub fn record(&mut self, section: Section, owner: Owner<'_>, ttl: u32, data: Data<'_>) -> Written {
        let mark = self.mark();
        match self.try_record(owner, ttl, data) {
            Ok(()) if self.len() <= self.limit => {
                self.counts[section as usize] += 1;
                Written::Whole
            }
            Ok(()) => {
                self.return_to(&mark);
                Written::NoRoom
            }
            Err(NotAName) => {
                self.return_to(&mark);
                Written::Impossible
            }
        }
    }

    /// Adds the SOA record that is kept for denials of a zone in which the question's name lies. `false`: the message is as
    /// before; the record has to be written anew, if there is room.
    pub(crate) fn denial(&mut self, denial: &Denial, zone: &str) -> bool {
        let Some(offset) = self.at_the_questions_end(zone) else { return false };
        if self.class != CLASS_IN || self.len() + denial.size() > self.limit {
            return false;
        }
        debug_assert!(is_name(&self.out[self.base..], usize::from(offset), zone), "{zone} is not what was asked");
        denial.put((0xc000 | offset).to_be_bytes(), self.out);
        self.counts[Section::Authority as usize] += 1;
        true
    }

    /// The present place.
    pub fn mark(&self) -> Mark {
        Mark { len: self.out.len(), counts: self.counts, known_names: self.known_names.len() }
    }

    /// Takes back what was written since `mark`.
    pub fn return_to(&mut self, mark: &Mark) {
        self.out.truncate(mark.len);
        self.counts = mark.counts;
        self.known_names.truncate(mark.known_names);
    }

    /// Completes the response. `set` are the flags that the answer itself has (AA, TC).
    pub fn finish(mut self, rcode: Rcode, set: u16) {
        self.write_opt(rcode);
        self.write_header(rcode, set);
    }

    /// Completes the refusal of a signature: unsigned, with the TSIG record that names the reason (RFC 8945 §5.2.1).
    pub fn finish_bad_signature(mut self, query: &[u8], tsig: &Tsig, fault: Fault) {
        self.write_opt(Rcode::NotAuth);
        let mark = self.mark();
        // What was kept free for OPT is used by now.
        let room = self.whole_limit();
        match self.write_fault(query, tsig, fault) {
            Some(()) if self.len() <= room => self.counts[Section::Additional as usize] += 1,
            _ => self.return_to(&mark),
        }
        self.write_header(Rcode::NotAuth, 0);
    }

    /// Octets that are free for records.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    fn len(&self) -> usize {
        self.out.len() - self.base
    }

    fn try_record(&mut self, owner: Owner<'_>, ttl: u32, data: Data<'_>) -> Result<(), NotAName> {
        self.zone_at = None;
        match owner {
            Owner::Question => self.out.extend_from_slice(&POINTER_TO_QUESTION),
            // A zone's SOA names the zone thrice.
            Owner::Name(name) if matches!(&data, Data::Soa(soa) if soa.zone == name) => self.zone_name(name)?,
            Owner::Name(name) => self.compressed_name(name)?,
        }
        self.put_u16(data.record_type());
        self.put_u16(self.class);
        self.put_u32(ttl);
        let length_at = self.out.len();
        self.put_u16(0);
        self.data(data)?;
        let length = u16::try_from(self.out.len() - length_at - 2).map_err(|_| NotAName)?;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn data(&mut self, data: Data<'_>) -> Result<(), NotAName> {
        match data {
            Data::Record(RecordData::A(address)) => self.out.extend_from_slice(&address.octets()),
            Data::Record(RecordData::Aaaa(address)) => self.out.extend_from_slice(&address.octets()),
            Data::Record(RecordData::Srv { priority, weight, port, target }) => {
                self.put_u16(*priority);
                self.put_u16(*weight);
                self.put_u16(*port);
                // RFC 2782: the target is not compressed.
                self.whole_name(target)?;
            }
            Data::Record(RecordData::Cname(target) | RecordData::Ptr(target) | RecordData::Ns(target)) => {
                self.compressed_name(target)?;
            }
            Data::Record(RecordData::Txt(texts)) => self.texts(texts)?,
            Data::Record(RecordData::Mx { preference, exchange }) => {
                self.put_u16(*preference);
                self.compressed_name(exchange)?;
            }
            Data::Record(RecordData::Opaque(data)) => self.out.extend_from_slice(&data.octets),
            Data::Record(RecordData::Svcb(binding) | RecordData::Https(binding)) => self.binding(binding)?,
            Data::Ns(below, zone) => self.name_below(below, zone)?,
            Data::Soa(soa) => {
                self.name_below(soa.nameserver, soa.zone)?;
                self.name_below(soa.contact, soa.zone)?;
                for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
                    self.put_u32(number);
                }
            }
        }
        Ok(())
    }

    /// RFC 9460 §2.2: the target is not compressed, and parameters stand in the order of their keys.
    fn binding(&mut self, binding: &Binding) -> Result<(), NotAName> {
        self.put_u16(binding.priority);
        self.whole_name(&binding.target)?;
        if !binding.alpn.is_empty() {
            let length: usize = binding.alpn.iter().map(|id| id.len() + 1).sum();
            self.put_u16(SVC_ALPN);
            self.put_u16(u16::try_from(length).map_err(|_| NotAName)?);
            for id in &binding.alpn {
                self.out.push(u8::try_from(id.len()).map_err(|_| NotAName)?);
                self.out.extend_from_slice(id.as_bytes());
            }
        }
        if binding.is_without_default() {
            self.put_u16(SVC_NO_DEFAULT_ALPN);
            self.put_u16(0);
        }
        self.put_u16(SVC_PORT);
        self.put_u16(2);
        self.put_u16(binding.port);
        Ok(())
    }

    fn texts(&mut self, texts: &[Arc<str>]) -> Result<(), NotAName> {
        for text in texts {
            self.out.push(u8::try_from(text.len()).map_err(|_| NotAName)?);
            self.out.extend_from_slice(text.as_bytes());
        }
        // RFC 1035 §3.3.14: one string or more.
        if texts.is_empty() {
            self.out.push(0);
        }
        Ok(())
    }

    /// A name that points to what of it is known already.
    fn compressed_name(&mut self, name: &str) -> Result<(), NotAName> {
        check_length(name.len())?;
        // Not those that this name itself adds: it is not complete yet.
        let complete = self.known_names.len();
        let mut rest = name;
        while !rest.is_empty() {
            if let Some(offset) = self.find_known(rest, complete) {
                self.put_u16(0xc000 | offset);
                return Ok(());
            }
            self.know(self.out.len());
            rest = self.label(rest)?;
        }
        self.out.push(0);
        Ok(())
    }

    /// A name without pointers; others may point to it.
    fn whole_name(&mut self, name: &str) -> Result<(), NotAName> {
        check_length(name.len())?;
        self.know(self.out.len());
        let mut rest = name;
        while !rest.is_empty() {
            rest = self.label(rest)?;
        }
        self.out.push(0);
        Ok(())
    }

    /// A name below the zone; with a final dot it is absolute.
    fn name_below(&mut self, below: &str, zone: &str) -> Result<(), NotAName> {
        if let Some(absolute) = below.strip_suffix('.') {
            return self.compressed_name(absolute);
        }
        check_length(below.len() + 1 + zone.len())?;
        let mut rest = below;
        while !rest.is_empty() {
            rest = self.label(rest)?;
        }
        self.zone_name(zone)
    }

    /// The zone's name; where it stands is remembered for the rest of the record.
    fn zone_name(&mut self, zone: &str) -> Result<(), NotAName> {
        let find = || self.find_at_the_questions_end(zone).or_else(|| self.find_known(zone, self.known_names.len()));
        self.zone_at = self.zone_at.or_else(find);
        match self.zone_at {
            Some(offset) => {
                self.put_u16(0xc000 | offset);
                Ok(())
            }
            None => self.compressed_name(zone),
        }
    }

    /// Writes the first label of `name` and returns what follows it.
    fn label<'n>(&mut self, name: &'n str) -> Result<&'n str, NotAName> {
        // Labels are short: looking at each octet is quicker than what searches long texts quickly.
        let end = name.bytes().position(|octet| octet == b'.').unwrap_or(name.len());
        let (label, rest) = (&name[..end], name.get(end + 1..).unwrap_or_default());
        let length = u8::try_from(label.len()).map_err(|_| NotAName)?;
        if !(1..=MAX_LABEL).contains(&length) {
            return Err(NotAName);
        }
        self.out.push(length);
        self.out.extend_from_slice(label.as_bytes());
        Ok(rest)
    }

    fn know(&mut self, place: usize) {
        // RFC 1035 §4.1.4: pointers have 14 bits.
        match u16::try_from(place - self.base) {
            Ok(offset) if offset < 0x4000 && self.known_names.len() < MAX_KNOWN_NAMES => self.known_names.push(offset),
            _ => {}
        }
    }

    fn know_question(&mut self) {
        let mut place = self.base + HEADER_LEN;
        while self.out[place] != 0 {
            self.know(place);
            place += 1 + usize::from(self.out[place]);
        }
        self.question_end = Some(place - self.base);
    }

    /// Where the question's name ends in this one, of which it nearly always is the name of something within: looked at
    /// before all that is known.
    fn find_at_the_questions_end(&self, name: &str) -> Option<u16> {
        let offset = self.at_the_questions_end(name)?;
        is_name(&self.out[self.base..], usize::from(offset), name).then_some(offset)
    }

    /// Where `name` begins if it is the end of the question's, and can be pointed to.
    fn at_the_questions_end(&self, name: &str) -> Option<u16> {
        // Each label has its length before it where the text has a dot behind it.
        let offset = self.question_end?.checked_sub(name.len() + 1)?;
        u16::try_from(offset).ok().filter(|offset| self.known_names.contains(offset))
    }

    fn find_known(&self, name: &str, complete: usize) -> Option<u16> {
        let message = &self.out[self.base..];
        self.known_names[..complete].iter().copied().find(|offset| is_name(message, usize::from(*offset), name))
    }

    /// Octets that the message may have in all.
    fn whole_limit(&self) -> usize {
        self.limit + self.edns.as_ref().map_or(0, EdnsReply::octets)
    }

    fn write_opt(&mut self, rcode: Rcode) {
        let limit = self.whole_limit();
        let Some(edns) = &self.edns else { return };
        edns.write(rcode, self.base, limit, self.out);
        self.counts[Section::Additional as usize] += 1;
    }

    fn write_header(&mut self, rcode: Rcode, set: u16) {
        // RD is copied where it has a meaning. AD and CD are for resolvers; an authority that does not validate clears
        // both (RFC 4035 §3.1.6). RA stays clear: there is no recursion here.
        let copied = match self.header.opcode() {
            OPCODE_QUERY => self.header.flags & flags::RD,
            _ => self.header.flags & flags::OPCODE_MASK,
        };
        let word = flags::QR | copied | set | (rcode.code() & 0xf);
        let header = &mut self.out[self.base..self.base + HEADER_LEN];
        header[..2].copy_from_slice(&self.header.id.to_be_bytes());
        header[2..4].copy_from_slice(&word.to_be_bytes());
        for (place, count) in header[4..].chunks_exact_mut(2).zip(self.counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }

    /// The key's name, then the algorithm, time and fudge of the query, no MAC, the id, the error, nothing else.
    fn write_fault(&mut self, query: &[u8], tsig: &Tsig, fault: Fault) -> Option<()> {
        name::copy(query, tsig.key_name, self.out)?;
        self.put_u16(record_type::TSIG);
        self.put_u16(CLASS_ANY);
        self.put_u32(0);
        let length_at = self.out.len();
        self.put_u16(0);
        let fixed = name::copy(query, tsig.data, self.out)?;
        let end = tsig.data + tsig.data_len;
        // Six octets of time, two of fudge.
        self.out.extend_from_slice(query.get(fixed..(fixed + 8).min(end)).filter(|octets| octets.len() == 8)?);
        self.put_u16(0);
        self.put_u16(self.header.id);
        self.put_u16(fault as u16);
        self.put_u16(0);
        let length = u16::try_from(self.out.len() - length_at - 2).ok()?;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn put_u16(&mut self, number: u16) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    fn put_u32(&mut self, number: u32) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }
}

fn check_length(text: usize) -> Result<(), NotAName> {
    // In octets of the wire a name has one more for its first label's length and one for the root.
    if text + 2 <= MAX_NAME { Ok(()) } else { Err(NotAName) }
}

/// Whether the name that stands at `at` in a message of our own is `name`.
fn is_name(message: &[u8], mut at: usize, name: &str) -> bool {
    let mut rest = name.as_bytes();
    loop {
        let length = usize::from(message[at]);
        if length >= 0xc0 {
            // Written by us: it points backwards.
            at = (length & 0x3f) << 8 | usize::from(message[at + 1]);
            continue;
        }
        if length == 0 {
            return rest.is_empty();
        }
        let label = &message[at + 1..at + 1 + length];
        // The labels `a` and `b` are not the one label `a.b`, which only a question can have.
        if rest.len() < length || !rest[..length].eq_ignore_ascii_case(label) || label.contains(&b'.') {
            return false;
        }
        rest = match rest.get(length) {
            None => &[],
            Some(b'.') => &rest[length + 1..],
            Some(_) => return false,
        };
        at += 1 + length;
    }
}
