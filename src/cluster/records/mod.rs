//! Records of files, packed: names one after the other, each with its records, in one piece of memory that never changes,
//! and an index of where they begin. So a name costs little more than what its lines say, a file's records are there once
//! however many tables show them, and to find one is to look at two places.
//!
//! A file that changes makes new ones; nothing is ever changed in place.

mod build;
mod encoding;
mod index;

pub use build::RecordsBuilder;

use std::sync::{Arc, LazyLock};

use super::event::{RecordData, StaticRecord};
use crate::model::hash::process_hash;
use encoding::{Cursor, Kind, Line, text};
use index::Index;

/// Records by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StaticRecords(Arc<Packed>);

#[derive(Debug)]
struct Packed {
    /// Each name with its records, in the order of the names' hashes; then names that exist for others below them alone.
    octets: Box<[u8]>,
    index: Index,
    /// How many records there are.
    len: usize,
    /// A number for all records, the same in every process: the sum of theirs.
    sum: u64,
    traits: Traits,
}

/// What some of the records are.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    wildcards: bool,
    aliases: bool,
    delegations: bool,
    crowded: bool,
}

impl StaticRecords {
    /// How many records there are; those that say the same are one.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// A name that has records, or exists because one below it has (RFC 8020); lower case, absolute, without the final dot.
    pub fn find(&self, name: &str) -> Option<NameRecords<'_>> {
        let is_it = |at: usize| Cursor::new(&self.0.octets[at..]).octets() == name.as_bytes();
        let at = self.0.index.find(process_hash(name), is_it)?;
        Some(self.at(at).0)
    }

    /// Every name that has records, in an order of this process.
    pub fn names(&self) -> impl Iterator<Item = NameRecords<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            // Names without records come last.
            (at < self.0.octets.len()).then(|| {
                let (name, end) = self.at(at);
                at = end;
                name
            })
        })
        .take_while(|name| !name.is_empty())
    }

    /// Every record, those of one name together and sorted.
    pub fn iter(&self) -> impl Iterator<Item = StaticRecord> {
        self.names().flat_map(|name| name.records())
    }

    /// A number for what they are, the same in every process.
    pub fn sum(&self) -> u64 {
        self.0.sum
    }

    /// Whether a name is a wildcard (RFC 4592).
    pub fn has_wildcards(&self) -> bool {
        self.0.traits.wildcards
    }

    /// Whether there is an alias.
    pub fn has_aliases(&self) -> bool {
        self.0.traits.aliases
    }

    /// Whether a zone is delegated.
    pub fn has_delegations(&self) -> bool {
        self.0.traits.delegations
    }

    /// Whether a name has an alias and something beside it.
    pub fn is_crowded(&self) -> bool {
        self.0.traits.crowded
    }

    /// Whether these are the very same, in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Octets that they take.
    pub fn size(&self) -> usize {
        self.0.octets.len() + self.0.index.size()
    }

    /// The name that begins at a place, and where it ends.
    fn at(&self, at: usize) -> (NameRecords<'_>, usize) {
        let mut cursor = Cursor::new(&self.0.octets[at..]);
        let name = text(cursor.octets());
        let octets = cursor.octets();
        (NameRecords { name, lines: Cursor::new(octets) }, self.0.octets.len() - cursor.rest.len())
    }
}

impl Default for StaticRecords {
    fn default() -> Self {
        static EMPTY: LazyLock<StaticRecords> = LazyLock::new(|| RecordsBuilder::default().finish());
        EMPTY.clone()
    }
}

impl PartialEq for StaticRecords {
    fn eq(&self, other: &Self) -> bool {
        // The same records are packed alike.
        self.is_same(other) || (self.0.sum == other.0.sum && self.0.octets == other.0.octets)
    }
}

impl Eq for StaticRecords {}

impl FromIterator<StaticRecord> for StaticRecords {
    fn from_iter<I: IntoIterator<Item = StaticRecord>>(records: I) -> Self {
        let mut builder = RecordsBuilder::default();
        records.into_iter().for_each(|record| builder.push(&record.name, &record.data, record.ttl));
        builder.finish()
    }
}

/// A name and its records.
#[derive(Clone, Copy, Debug)]
pub struct NameRecords<'a> {
    /// The name: lower case, absolute, without the final dot.
    pub name: &'a str,
    lines: Cursor<'a>,
}

impl<'a> NameRecords<'a> {
    /// Whether the name has no records: it exists because others exist below it.
    pub fn is_empty(&self) -> bool {
        self.lines.rest.is_empty()
    }

    /// Whether one of the records is an alias.
    pub fn has_alias(&self) -> bool {
        self.lines().any(|line| line.kind == Kind::Cname)
    }

    /// Whether one of the records is a name server.
    pub fn has_server(&self) -> bool {
        self.lines().any(|line| line.kind == Kind::Ns)
    }

    /// How many records the name has.
    pub fn len(&self) -> usize {
        self.lines().count()
    }

    /// What the records say, each with its time to live in seconds where it has one of its own; sorted.
    pub fn data(self) -> impl Iterator<Item = (RecordData, Option<u32>)> + 'a {
        self.lines().map(|line| (line.data(), line.ttl()))
    }

    /// The records with their owner.
    pub fn records(self) -> impl Iterator<Item = StaticRecord> + 'a {
        let name: Arc<str> = self.name.into();
        self.data().map(move |(data, ttl)| StaticRecord { name: name.clone(), data, ttl })
    }

    fn lines(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut cursor = self.lines;
        std::iter::from_fn(move || (!cursor.rest.is_empty()).then(|| Line::read(&mut cursor)))
    }
}
