//! What a forwarded question is known by, and what is kept of the client's query while somebody else is asked.

use smallvec::SmallVec;

use super::aliases::Aliases;
use crate::dns::wire::name::MAX_NAME;
use crate::dns::wire::query::{Header, Query};
use crate::dns::wire::response::EdnsReply;
use crate::dns::wire::{Transport, flags};
use crate::model::zone_slot::ZoneSlot;

/// "Checking disabled" (RFC 4035 §3.2.2): passed on, since it changes the answer.
pub(super) const CD: u16 = 0x0010;

/// A question, whoever asks it: the name in lower case, type, and what else changes the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(SmallVec<[u8; 64]>);

/// A client's query, without its octets.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(super) key: Key,
    /// As the client wrote it: name, type, class.
    pub(super) question: SmallVec<[u8; 64]>,
    pub(super) header: Header,
    pub(super) edns: Option<EdnsReply>,
    /// Octets that the answer may have.
    pub(super) limit: usize,
    /// How it came.
    pub(crate) transport: Transport,
    /// The type asked for.
    pub(crate) record_type: u16,
    /// What stands before the answer, where an alias of ours leads to the name that others are asked for.
    pub(super) aliases: Option<Aliases>,
    /// The zone of the name asked for.
    pub(crate) zone: ZoneSlot,
    /// A cookie has shown that answers reach the asker.
    pub(crate) is_proven: bool,
}

impl Key {
    fn new(question: &[u8], dnssec_ok: bool, checking_disabled: bool) -> Self {
        // Name, type and class; the class is always IN here, and its place is taken by the flags.
        let mut octets: SmallVec<[u8; 64]> = question.into();
        let name = octets.len().saturating_sub(4);
        // Lengths of labels are below 64 and no letters.
        octets[..name].make_ascii_lowercase();
        octets.truncate(name + 2);
        octets.push(u8::from(dnssec_ok) | u8::from(checking_disabled) << 1);
        Self(octets)
    }

    /// A question for a name in wire form; `None`: it is too long to be one.
    pub(super) fn of_name(name: &[u8], record_type: u16) -> Option<Self> {
        let question = [name, &record_type.to_be_bytes(), &[0, 1]].concat();
        (name.len() <= MAX_NAME).then(|| Self::new(&question, false, false))
    }

    /// The name in wire form, lower case.
    pub(super) fn name(&self) -> &[u8] {
        &self.0[..self.0.len().saturating_sub(3)]
    }

    /// The type asked for.
    pub(super) fn record_type(&self) -> u16 {
        let at = self.0.len().saturating_sub(3);
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// Whether DNSSEC records are wanted (RFC 3225).
    pub(super) fn dnssec_ok(&self) -> bool {
        self.0.last().is_some_and(|flags| flags & 1 != 0)
    }

    /// Whether answers are wanted that do not validate.
    pub(super) fn checking_disabled(&self) -> bool {
        self.0.last().is_some_and(|flags| flags & 2 != 0)
    }

    /// Octets.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn of(name: &str, record_type: u16) -> Self {
        Self::of_name(&wire_name(name), record_type).unwrap()
    }
}

impl Request {
    /// A request for what `query` asks, whose answer says `edns` and has at most `limit` octets.
    pub(crate) fn new(query: &Query<'_>, transport: Transport, edns: Option<EdnsReply>, limit: usize) -> Self {
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        Self {
            key: Key::new(query.question.wire, dnssec_ok, query.header.flags & CD != 0),
            question: query.question.wire.into(),
            header: query.header,
            edns,
            limit,
            transport,
            record_type: query.question.record_type,
            aliases: None,
            zone: ZoneSlot::OUTSIDE,
            is_proven: false,
        }
    }

    /// The request for what `aliases` lead to, `target` in wire form.
    pub(crate) fn behind(mut self, (aliases, target): (Aliases, Vec<u8>), zone: ZoneSlot) -> Self {
        let question = [&*target, &self.record_type.to_be_bytes(), &[0, 1]].concat();
        self.key = Key::new(&question, self.key.dnssec_ok(), self.key.checking_disabled());
        (self.aliases, self.zone) = (Some(aliases), zone);
        self
    }

    /// The question alone, as a message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let head = [self.header.id, self.header.flags & flags::RD, 1, 0, 0, 0];
        head.iter().flat_map(|word| word.to_be_bytes()).chain(self.question.iter().copied()).collect()
    }
}

/// A name in wire form, for tests.
#[cfg(test)]
pub(super) fn wire_name(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_tell_questions_apart_and_flags_do() {
        let mut upper = wire_name("WWW.Example");
        upper.extend_from_slice(&[0, 28, 0, 1]);
        let key = Key::new(&upper, false, false);
        assert_eq!(key, Key::of("www.example", 28));
        assert_eq!((key.name(), key.record_type()), (wire_name("www.example").as_slice(), 28));
        assert_ne!(key, Key::new(&upper, true, false));
        assert!(Key::new(&upper, false, true).checking_disabled() && Key::new(&upper, true, false).dnssec_ok());
    }
}
