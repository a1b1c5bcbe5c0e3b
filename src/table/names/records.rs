//! The records of a name: made for the one who asks, or kept beside the group of tasks that they are of.
//!
//! Most questions are for groups' names, and a group's records stay the same until one of its tasks changes: an answer
//! must not cost as much as the group has tasks, of which a message holds some seventy.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::Record;
use crate::cluster::event::RecordData;

/// The records of a name, of every type.
#[derive(Clone)]
pub enum Records {
    /// Made for the one who asks.
    Made(Vec<Record>),
    /// Kept for all who ask.
    Kept(KeptRecords),
}

/// Addresses, services, how these are used, and texts: sorted by what they say, each once, without a time to live of their
/// own, and nothing else among them. Copies share them.
#[derive(Clone, Debug)]
pub struct KeptRecords(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    records: Box<[Record]>,
    /// The same as other zones say them, which have the same names.
    elsewhere: OnceLock<Box<[Elsewhere; MIRRORS]>>,
}

/// A zone, and what it says.
type Elsewhere = OnceLock<(Arc<str>, KeptRecords)>;

/// Zones that have the names of another one; more have what they say made each time.
const MIRRORS: usize = 3;

impl KeptRecords {
    /// The records of these addresses.
    pub fn of_addresses(addresses: impl Iterator<Item = IpAddr>) -> Self {
        Self::new(addresses.map(Record::of_address).collect())
    }

    /// These records.
    pub(super) fn new(mut records: Vec<Record>) -> Self {
        debug_assert!(records.iter().all(|record| rank(record) < OTHER && record.ttl.is_none()), "{records:?}");
        records.sort_unstable_by(|one, other| one.data.cmp(&other.data));
        records.dedup();
        Self(Arc::new(Shared { records: records.into(), elsewhere: OnceLock::new() }))
    }

    /// These records as another zone says them: as they are made, and kept for who asks next. `None`: `make` has nothing that
    /// may be kept.
    pub(super) fn elsewhere(&self, zone: &Arc<str>, make: impl FnOnce() -> Option<Vec<Record>>) -> Option<Self> {
        for place in &**self.0.elsewhere.get_or_init(Box::default) {
            match place.get() {
                Some((known, records)) if known == zone => return Some(records.clone()),
                Some(_) => {}
                None => {
                    let made = Self::new(make()?);
                    // Where somebody else was faster, that one's is kept.
                    let _ = place.set((zone.clone(), made.clone()));
                    return Some(made);
                }
            }
        }
        make().map(Self::new)
    }

    /// Those of type A.
    pub fn v4(&self) -> &[Record] {
        self.run(V4)
    }

    /// Those of type AAAA.
    pub fn v6(&self) -> &[Record] {
        self.run(V6)
    }

    /// Those of type SRV.
    pub fn services(&self) -> &[Record] {
        self.run(SERVICE)
    }

    /// Those of type SVCB.
    pub fn svcb(&self) -> &[Record] {
        self.run(SVCB)
    }

    /// Those of type HTTPS.
    pub fn https(&self) -> &[Record] {
        self.run(HTTPS)
    }

    /// Those of type TXT.
    pub fn texts(&self) -> &[Record] {
        self.run(TEXT)
    }

    /// All of them.
    pub fn all(&self) -> &[Record] {
        &self.0.records
    }

    fn run(&self, wanted: u8) -> &[Record] {
        let all = self.all();
        let begin = all.partition_point(|record| rank(record) < wanted);
        let end = all.partition_point(|record| rank(record) <= wanted);
        &all[begin..end]
    }
}

/// What they say is what counts.
impl PartialEq for KeptRecords {
    fn eq(&self, other: &Self) -> bool {
        self.all() == other.all()
    }
}

impl Eq for KeptRecords {}

const V4: u8 = 0;
const V6: u8 = 1;
const SERVICE: u8 = 2;
const SVCB: u8 = 3;
const HTTPS: u8 = 4;
const TEXT: u8 = 5;
const OTHER: u8 = 6;

/// Where records of a type stand among others: as their data sorts.
fn rank(record: &Record) -> u8 {
    match record.data {
        RecordData::A(_) => V4,
        RecordData::Aaaa(_) => V6,
        RecordData::Srv { .. } => SERVICE,
        RecordData::Svcb(_) => SVCB,
        RecordData::Https(_) => HTTPS,
        RecordData::Txt(_) => TEXT,
        _ => OTHER,
    }
}

impl Records {
    /// The records as a list of their own.
    pub fn into_vec(self) -> Vec<Record> {
        match self {
            Self::Made(records) => records,
            Self::Kept(kept) => kept.all().to_vec(),
        }
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        match self {
            Self::Made(records) => records,
            Self::Kept(kept) => kept.all(),
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Self::Made(Vec::new())
    }
}

impl From<Vec<Record>> for Records {
    fn from(records: Vec<Record>) -> Self {
        Self::Made(records)
    }
}

impl Extend<Record> for Records {
    fn extend<I: IntoIterator<Item = Record>>(&mut self, more: I) {
        let mut more = more.into_iter().peekable();
        // Nothing to add is no reason to copy what is kept.
        if more.peek().is_some() {
            let mut records = std::mem::take(self).into_vec();
            records.extend(more);
            *self = Self::Made(records);
        }
    }
}

/// Where they come from is no difference.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_addresses_are_sorted_by_type_each_once() {
        let addresses = ["fd00::2", "10.0.0.9", "10.0.0.1", "fd00::2", "::ffff:10.0.0.9", "fd00::1"];
        let kept = KeptRecords::of_addresses(addresses.iter().map(|address| address.parse().unwrap()));
        let texts = |records: &[Record]| -> Vec<String> {
            records.iter().map(|record| record.data.address().unwrap().to_string()).collect()
        };
        assert_eq!(texts(kept.v4()), ["10.0.0.1", "10.0.0.9"]);
        assert_eq!(texts(kept.v6()), ["fd00::1", "fd00::2"]);
        assert!(kept.services().is_empty());
        let srv =
            |port| Record { data: RecordData::Srv { priority: 0, weight: 1, port, target: "a.b".into() }, ttl: None };
        let mixed = KeptRecords::new([&[srv(2), srv(1)][..], kept.all(), &[srv(2)][..]].concat());
        assert_eq!(mixed.services(), [srv(1), srv(2)]);
        assert_eq!((mixed.v4(), mixed.v6()), (kept.v4(), kept.v6()));
        let made = Records::from(kept.all().to_vec());
        assert_eq!(Records::Kept(kept.clone()), made);
        assert_eq!(format!("{:?}", Records::Kept(kept)), format!("{made:?}"));
    }

    #[test]
    fn what_other_zones_say_is_kept_for_a_few_of_them() {
        let srv = |target: &str| {
            vec![Record { data: RecordData::Srv { priority: 0, weight: 1, port: 1, target: target.into() }, ttl: None }]
        };
        let kept = KeptRecords::new(srv("a.mesos"));
        let zones: Vec<Arc<str>> = (0..5).map(|n| format!("z{n}").into()).collect();
        let made = std::cell::Cell::new(0);
        for _ in 0..3 {
            for zone in &zones {
                let make = || {
                    made.set(made.get() + 1);
                    Some(srv(&format!("a.{zone}")))
                };
                assert_eq!(kept.elsewhere(zone, make).unwrap().all(), srv(&format!("a.{zone}")));
            }
        }
        assert_eq!(made.get(), MIRRORS + 3 * (zones.len() - MIRRORS));
        assert_eq!(kept.elsewhere(&"other".into(), || None), None);
        let empty = KeptRecords::new(Vec::new());
        assert_eq!(empty.elsewhere(&zones[0], || None), None);
        assert!(empty.elsewhere(&zones[0], || Some(Vec::new())).is_some(), "what could not be kept may be later");
    }

    #[test]
    fn what_is_added_leaves_others_copies_as_they_are() {
        let kept = KeptRecords::of_addresses(["10.0.0.1".parse().unwrap()].into_iter());
        let mut records = Records::Kept(kept.clone());
        records.extend([]);
        assert!(matches!(records, Records::Kept(_)), "nothing was added");
        records.extend([Record { data: RecordData::Cname("a.b".into()), ttl: None }]);
        assert_eq!((records.len(), kept.all().len()), (2, 1));
    }
}
