//! A name's records of one type, by position. Of those that are kept sorted none is looked at that is not asked for.

use smallvec::SmallVec;

use super::wire::record::type_of;
use super::wire::record_type;
use crate::table::names::Record;
use crate::table::names::records::Records;

/// Octets that the shortest record takes: two of a pointer to its owner, and ten of type, class, time to live and length
/// (RFC 1035 §3.2.1).
const LEAST: usize = 12;

/// A name's records of one type.
pub(super) enum RecordSet<'n> {
    /// A run of kept records.
    Run(&'n [Record]),
    /// Records among others.
    Picked(SmallVec<[&'n Record; 16]>),
}

impl<'n> RecordSet<'n> {
    /// Those of `wanted` among a name's records.
    pub(super) fn of(records: &'n Records, wanted: u16) -> Self {
        match records {
            Records::Kept(kept) => Self::Run(match wanted {
                record_type::A => kept.v4(),
                record_type::AAAA => kept.v6(),
                record_type::SRV => kept.services(),
                record_type::SVCB => kept.svcb(),
                record_type::HTTPS => kept.https(),
                record_type::TXT => kept.texts(),
                _ => &[],
            }),
            Records::Made(records) => {
                Self::Picked(records.iter().filter(|record| type_of(&record.data) == wanted).collect())
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Run(records) => records.len(),
            Self::Picked(records) => records.len(),
        }
    }

    /// The record at a position below [`RecordSet::len`].
    pub(super) fn at(&self, position: usize) -> &'n Record {
        match self {
            Self::Run(records) => &records[position],
            Self::Picked(records) => records[position],
        }
    }

    /// RFC 2181 §5.2: all records of a set have one time to live, here the least of theirs. `usual` is that of those which
    /// have none of their own. `None`: there are no records.
    pub(super) fn ttl(&self, usual: u32) -> Option<u32> {
        match self {
            Self::Run(records) => (!records.is_empty()).then_some(usual),
            Self::Picked(records) => records.iter().map(|record| record.ttl.unwrap_or(usual)).min(),
        }
    }

    /// How many records are tried until so many octets are full, as far as each takes some: what no message can express takes
    /// none.
    pub(super) fn most_in(room: usize) -> usize {
        room / LEAST + 1
    }

    /// All of them.
    pub(super) fn records(&self) -> SmallVec<[&'n Record; 16]> {
        match self {
            Self::Run(records) => records.iter().collect(),
            Self::Picked(records) => records.clone(),
        }
    }
}
