//! A record as octets, as [`super::StaticRecords`] keep it. Nobody else sees these: they are never stored nor sent.
//!
//! Numbers of lengths take seven bits an octet, the lowest first; all others have a fixed width, the highest octet first, so
//! that octets sort as the values they stand for.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::cluster::event::{Binding, Opaque, RecordData};

/// What a record is, in the order in which [`RecordData`] sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    A,
    Aaaa,
    Srv,
    Cname,
    Ptr,
    Svcb,
    Https,
    Txt,
    Mx,
    Opaque,
    Ns,
}

impl Kind {
    /// In the order of their numbers.
    const ALL: [Self; 11] = [
        Self::A,
        Self::Aaaa,
        Self::Srv,
        Self::Cname,
        Self::Ptr,
        Self::Svcb,
        Self::Https,
        Self::Txt,
        Self::Mx,
        Self::Opaque,
        Self::Ns,
    ];

    pub(super) fn of(data: &RecordData) -> Self {
        match data {
            RecordData::A(_) => Self::A,
            RecordData::Aaaa(_) => Self::Aaaa,
            RecordData::Srv { .. } => Self::Srv,
            RecordData::Cname(_) => Self::Cname,
            RecordData::Ptr(_) => Self::Ptr,
            RecordData::Svcb(_) => Self::Svcb,
            RecordData::Https(_) => Self::Https,
            RecordData::Txt(_) => Self::Txt,
            RecordData::Mx { .. } => Self::Mx,
            RecordData::Opaque(_) => Self::Opaque,
            RecordData::Ns(_) => Self::Ns,
        }
    }
}

/// One record of a name, still as octets. Sorts as what it stands for, but for texts: the shorter come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line<'a> {
    pub(super) kind: Kind,
    pub(super) data: &'a [u8],
    /// 0: none of its own; else one more than it says.
    time: u32,
}

impl<'a> Line<'a> {
    /// A record with this data, encoded by [`put_data`].
    pub(super) fn new(kind: Kind, data: &'a [u8], ttl: Option<u32>) -> Self {
        Self { kind, data, time: ttl.map_or(0, |ttl| ttl.saturating_add(1)) }
    }

    /// Its time to live in seconds, where it has one of its own.
    pub(super) fn ttl(&self) -> Option<u32> {
        self.time.checked_sub(1)
    }

    /// What it says.
    pub(super) fn data(&self) -> RecordData {
        data(self.kind, self.data)
    }

    /// Appends it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.extend(self.time.to_be_bytes());
        put_octets(out, self.data);
    }

    /// Reads what [`Line::put`] has written.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Self {
        let kind = Kind::ALL[usize::from(cursor.octet())];
        let time = u32::from_be_bytes(cursor.array());
        Self { kind, time, data: cursor.octets() }
    }
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Appends octets, with their number before them.
pub(super) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_number(out, octets.len());
    out.extend_from_slice(octets);
}

/// Appends what a record says.
pub(super) fn put_data(out: &mut Vec<u8>, data: &RecordData) {
    match data {
        RecordData::A(address) => out.extend(address.octets()),
        RecordData::Aaaa(address) => out.extend(address.octets()),
        RecordData::Srv { priority, weight, port, target } => {
            [priority, weight, port].iter().for_each(|number| out.extend(number.to_be_bytes()));
            out.extend_from_slice(target.as_bytes());
        }
        RecordData::Cname(target) | RecordData::Ptr(target) | RecordData::Ns(target) => {
            out.extend_from_slice(target.as_bytes());
        }
        RecordData::Svcb(binding) | RecordData::Https(binding) => {
            out.extend(binding.priority.to_be_bytes());
            out.extend(binding.port.to_be_bytes());
            put_octets(out, binding.target.as_bytes());
            binding.alpn.iter().for_each(|id| put_octets(out, id.as_bytes()));
        }
        RecordData::Txt(texts) => texts.iter().for_each(|text| put_octets(out, text.as_bytes())),
        RecordData::Mx { preference, exchange } => {
            out.extend(preference.to_be_bytes());
            out.extend_from_slice(exchange.as_bytes());
        }
        RecordData::Opaque(opaque) => {
            out.extend(opaque.record_type.to_be_bytes());
            out.extend_from_slice(&opaque.octets);
        }
    }
}

fn data(kind: Kind, octets: &[u8]) -> RecordData {
    let mut cursor = Cursor::new(octets);
    match kind {
        Kind::A => RecordData::A(Ipv4Addr::from(cursor.array::<4>())),
        Kind::Aaaa => RecordData::Aaaa(Ipv6Addr::from(cursor.array::<16>())),
        Kind::Srv => RecordData::Srv {
            priority: cursor.u16(),
            weight: cursor.u16(),
            port: cursor.u16(),
            target: shared(cursor.rest),
        },
        Kind::Cname => RecordData::Cname(shared(octets)),
        Kind::Ptr => RecordData::Ptr(shared(octets)),
        Kind::Ns => RecordData::Ns(shared(octets)),
        Kind::Svcb => RecordData::Svcb(Box::new(binding(cursor))),
        Kind::Https => RecordData::Https(Box::new(binding(cursor))),
        Kind::Txt => RecordData::Txt(texts(cursor)),
        Kind::Mx => RecordData::Mx { preference: cursor.u16(), exchange: shared(cursor.rest) },
        Kind::Opaque => RecordData::Opaque(Box::new(Opaque { record_type: cursor.u16(), octets: cursor.rest.into() })),
    }
}

fn binding(mut cursor: Cursor<'_>) -> Binding {
    let (priority, port) = (cursor.u16(), cursor.u16());
    Binding { priority, port, target: shared(cursor.octets()), alpn: texts(cursor) }
}

fn texts(mut cursor: Cursor<'_>) -> Box<[Arc<str>]> {
    let mut texts = Vec::new();
    while !cursor.rest.is_empty() {
        texts.push(shared(cursor.octets()));
    }
    texts.into()
}

fn shared(octets: &[u8]) -> Arc<str> {
    text(octets).into()
}

/// What was written as a text.
pub(super) fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("these octets were written from a text")
}

/// Reads what was written here, from its beginning on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    /// What is still to be read.
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What [`put_number`] has written.
    pub(super) fn number(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let octet = self.octet();
            number |= usize::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    /// What [`put_octets`] has written.
    pub(super) fn octets(&mut self) -> &'a [u8] {
        let length = self.number();
        let (octets, rest) = self.rest.split_at(length);
        self.rest = rest;
        octets
    }

    fn octet(&mut self) -> u8 {
        let [octet] = self.array();
        octet
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (octets, rest) = self.rest.split_first_chunk::<N>().expect("what is read was written whole");
        self.rest = rest;
        *octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: RecordData, ttl: Option<u32>) {
        let (mut octets, mut said) = (Vec::new(), Vec::new());
        put_data(&mut said, &record);
        Line::new(Kind::of(&record), &said, ttl).put(&mut octets);
        octets.push(7);
        let mut cursor = Cursor::new(&octets);
        let line = Line::read(&mut cursor);
        assert_eq!((line.data(), line.ttl(), cursor.rest), (record, ttl, &[7][..]));
    }

    #[test]
    fn every_kind_of_record_is_read_as_it_was_written() {
        let bound = |alpn: &[&str]| {
            let alpn = alpn.iter().map(|id| Arc::from(*id)).collect();
            Box::new(Binding { priority: 3, target: "a.test".into(), port: 8443, alpn })
        };
        check(RecordData::A([10, 0, 0, 1].into()), None);
        check(RecordData::Aaaa("fd00::1".parse().unwrap()), Some(0));
        check(RecordData::Srv { priority: 1, weight: 65_535, port: 80, target: "a.test".into() }, Some(60));
        check(RecordData::Cname("b.test".into()), Some(0x7fff_ffff));
        check(RecordData::Ptr("".into()), None);
        check(RecordData::Svcb(bound(&["h2", "http/1.1"])), None);
        check(RecordData::Https(bound(&[])), Some(1));
        check(RecordData::Txt(["".into(), "é".repeat(120).into()].into()), None);
        check(RecordData::Txt([].into()), None);
        check(RecordData::Mx { preference: 10, exchange: "mail.test".into() }, Some(5));
        let octets = vec![0xc3; 5000].into();
        check(RecordData::Opaque(Box::new(Opaque { record_type: 65_280, octets })), Some(5));
        check(RecordData::Ns("ns.test".into()), Some(5));
    }

    #[test]
    fn numbers_of_any_size_are_read_as_they_were_written() {
        for number in [0, 1, 127, 128, 16_383, 16_384, usize::MAX] {
            let mut octets = Vec::new();
            put_number(&mut octets, number);
            assert_eq!(Cursor::new(&octets).number(), number);
        }
    }

    #[test]
    fn lines_sort_as_what_they_say() {
        let addresses = [[9, 0, 0, 2], [10, 0, 0, 1], [200, 0, 0, 1]].map(|octets| RecordData::A(octets.into()));
        let service = |priority, port| RecordData::Srv { priority, weight: 0, port, target: "z".into() };
        let all = [&addresses[..], &[service(1, 256), service(2, 1), RecordData::Cname("a".into())]].concat();
        let said: Vec<Vec<u8>> = all
            .iter()
            .map(|data| {
                let mut out = Vec::new();
                put_data(&mut out, data);
                out
            })
            .collect();
        let lines: Vec<Line<'_>> =
            all.iter().zip(&said).map(|(data, said)| Line::new(Kind::of(data), said, None)).collect();
        assert!(all.is_sorted() && lines.is_sorted());
    }
}
