//! Packs records: they are noted as they come, then put together by name.
//!
//! All that this takes is what the records take as octets, twice, and sixteen octets a record: no record is an object
//! of its own at any time.

use std::sync::Arc;

use crate::model::hash::HashSet;
use smallvec::SmallVec;

use super::encoding::{Cursor, Kind, Line, put_data, put_octets, text};
use super::index::Index;
use super::{NameRecords, Packed, StaticRecords, Traits};
use crate::cluster::event::{RecordData, StaticRecord};
use crate::model::hash::process_hash;
use crate::model::id::stable_hash;

/// Records that are still to be packed, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct RecordsBuilder {
    /// Each record with its owner before it.
    noted: Vec<u8>,
    /// The hash of each record's owner, and where the record is.
    places: Vec<(u64, usize)>,
    /// What one record says, while it is noted.
    said: Vec<u8>,
}

impl RecordsBuilder {
    /// A builder for records that take about so many octets as text: these are then noted where they stay.
    pub fn with_room_for(octets: usize) -> Self {
        let mut builder = Self::default();
        // It may turn out to be less: where there is no room for what is said, there may be for what comes.
        let _ = builder.noted.try_reserve(octets);
        builder
    }

    /// Notes a record. `name`: lower case, absolute, without the final dot.
    pub fn push(&mut self, name: &str, data: &RecordData, ttl: Option<u32>) {
        self.said.clear();
        put_data(&mut self.said, data);
        self.places.push((process_hash(name), self.noted.len()));
        put_octets(&mut self.noted, name.as_bytes());
        Line::new(Kind::of(data), &self.said, ttl).put(&mut self.noted);
    }

    /// Notes all records of a name.
    pub fn push_all(&mut self, name: &NameRecords<'_>) {
        for line in name.lines() {
            self.places.push((process_hash(name.name), self.noted.len()));
            put_octets(&mut self.noted, name.name.as_bytes());
            line.put(&mut self.noted);
        }
    }

    /// How many records were noted.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What was noted, as it came.
    pub fn iter(&self) -> impl Iterator<Item = StaticRecord> {
        self.places.iter().map(|(_, at)| {
            let (owner, line) = noted(&self.noted, *at);
            StaticRecord { name: Arc::from(text(owner)), data: line.data(), ttl: line.ttl() }
        })
    }

    /// Packs them. Records that say the same are one.
    pub fn finish(mut self) -> StaticRecords {
        let log = &self.noted;
        self.places.sort_unstable_by(|one, other| {
            one.0.cmp(&other.0).then_with(|| noted(log, one.1).cmp(&noted(log, other.1)))
        });
        // A name with one record takes two octets more than where it was noted.
        let mut packing = Packing::with_room_for(log.len() + 2 * self.places.len());
        let (mut begin, mut names) = (0, 0);
        while begin < self.places.len() {
            let (hash, first) = self.places[begin];
            let owner = noted(log, first).0;
            let same =
                self.places[begin..].iter().take_while(|(other, at)| *other == hash && noted(log, *at).0 == owner);
            let mut lines: SmallVec<[Line<'_>; 8]> = same.map(|(_, at)| noted(log, *at).1).collect();
            begin += lines.len();
            lines.dedup();
            // The places behind are read already: where the names begin is noted in their stead.
            self.places[names] = (hash, packing.add(owner, &lines));
            names += 1;
        }
        self.places.truncate(names);
        drop(self.noted);
        packing.finish(&self.places)
    }
}

/// The owner of the record that was noted at a place, and the record.
fn noted(log: &[u8], at: usize) -> (&[u8], Line<'_>) {
    let mut cursor = Cursor::new(&log[at..]);
    (cursor.octets(), Line::read(&mut cursor))
}

/// Names that are packed, one after the other.
struct Packing {
    octets: Vec<u8>,
    /// One name's records, while they are packed.
    lines: Vec<u8>,
    len: usize,
    sum: u64,
    traits: Traits,
}

impl Packing {
    fn with_room_for(octets: usize) -> Self {
        let octets = Vec::with_capacity(octets);
        Self { octets, lines: Vec::new(), len: 0, sum: 0, traits: Traits::default() }
    }

    /// Packs a name; returns where it begins.
    fn add(&mut self, owner: &[u8], lines: &[Line<'_>]) -> usize {
        let has = |kind: Kind| lines.iter().any(|line| line.kind == kind);
        let has_alias = has(Kind::Cname);
        self.traits.wildcards |= owner.starts_with(b"*.");
        self.traits.aliases |= has_alias;
        self.traits.crowded |= has_alias && lines.len() > 1;
        self.traits.delegations |= has(Kind::Ns);
        self.len += lines.len();
        self.lines.clear();
        for line in lines {
            self.sum = self.sum.wrapping_add(stable_hash(&(owner, line.kind as u8, line.data, line.ttl())));
            line.put(&mut self.lines);
        }
        let at = self.octets.len();
        put_octets(&mut self.octets, owner);
        put_octets(&mut self.octets, &self.lines);
        at
    }

    /// Adds the names that exist for others below them (RFC 8020) and the index. `names`: the hash of each name and where it
    /// begins.
    fn finish(mut self, names: &[(u64, usize)]) -> StaticRecords {
        let parents = parents(&self.octets, names);
        let mut index = Index::with_room_for(names.len() + parents.len());
        names.iter().for_each(|(hash, at)| index.insert(*hash, *at));
        for (hash, parent) in parents {
            let is_it = |at: usize| Cursor::new(&self.octets[at..]).octets() == parent.as_bytes();
            if index.find(hash, is_it).is_none() {
                index.insert(hash, self.octets.len());
                put_octets(&mut self.octets, parent.as_bytes());
                put_octets(&mut self.octets, &[]);
            }
        }
        let (len, sum, traits) = (self.len, self.sum, self.traits);
        StaticRecords(Arc::new(Packed { octets: self.octets.into(), index, len, sum, traits }))
    }
}

/// Every proper ancestor of the names with its hash, sorted: what is packed is the same whatever order they are found in.
fn parents(octets: &[u8], names: &[(u64, usize)]) -> Vec<(u64, Box<str>)> {
    let mut known: HashSet<&str> = HashSet::default();
    for (_, at) in names {
        let name = text(Cursor::new(&octets[*at..]).octets());
        for (dot, _) in name.match_indices('.') {
            if !known.insert(&name[dot + 1..]) {
                // Those above it are known with it.
                break;
            }
        }
    }
    let mut all: Vec<(u64, Box<str>)> = known.into_iter().map(|name| (process_hash(name), name.into())).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn record(name: &str, last: u8, ttl: Option<u32>) -> StaticRecord {
        StaticRecord { name: name.into(), data: RecordData::A([10, 0, 0, last].into()), ttl }
    }

    fn packed(records: &[StaticRecord]) -> StaticRecords {
        records.iter().cloned().collect()
    }

    #[test]
    fn names_are_found_with_their_records_and_so_are_those_above_them() {
        let records = packed(&[record("a.b.test", 2, None), record("a.b.test", 1, Some(9)), record("test", 3, None)]);
        let of = |name: &str| records.find(name).map(|found| found.records().collect::<Vec<_>>());
        assert_eq!(of("a.b.test"), Some(vec![record("a.b.test", 1, Some(9)), record("a.b.test", 2, None)]));
        assert_eq!(of("test"), Some(vec![record("test", 3, None)]));
        assert_eq!(of("b.test"), Some(Vec::new()));
        for missing in ["", "a.b", "b", "x.test", "a.b.tes", "c.a.b.test"] {
            assert_eq!(of(missing), None, "{missing}");
        }
        assert_eq!((records.len(), records.names().count()), (3, 2));
        assert!(StaticRecords::default().is_empty() && StaticRecords::default().find("").is_none());
    }

    #[test]
    fn what_records_are_is_noted() {
        let with = |name: &str, data: RecordData| {
            [record("a.test", 1, None), StaticRecord { name: name.into(), data, ttl: None }]
        };
        let traits = |records: &[StaticRecord]| {
            let packed = packed(records);
            [packed.has_wildcards(), packed.has_aliases(), packed.is_crowded(), packed.has_delegations()]
        };
        let (alias, server) = (RecordData::Cname("a.test".into()), RecordData::Ns("a.test".into()));
        assert_eq!(traits(&with("b.test", RecordData::Txt(["x".into()].into()))), [false; 4]);
        assert_eq!(traits(&with("*.test", alias.clone())), [true, true, false, false]);
        assert_eq!(traits(&with("a.test", alias)), [false, true, true, false]);
        assert_eq!(traits(&with("b.*.test", server)), [false, false, false, true]);
    }

    #[test]
    fn a_name_costs_little_more_than_what_it_says() {
        let record = |n: u32| StaticRecord {
            name: format!("app-{n:06}.marathon.test").into(),
            data: RecordData::A(n.into()),
            ttl: Some(60),
        };
        let records: StaticRecords = (0..10_000).map(record).collect();
        // Its text and address, 24 and 4 octets, with their lengths, kind and time, and thirteen in the index.
        let each = records.size() / 10_000;
        assert!(each <= 24 + 4 + 8 + 13, "{each}");
    }

    fn any_record() -> impl Strategy<Value = StaticRecord> {
        let data = prop_oneof![
            any::<u8>().prop_map(|last| RecordData::A([10, 0, 0, last % 3].into())),
            "[ab]\\.test".prop_map(|name| RecordData::Cname(name.into())),
            "[ab]{2}".prop_map(|text| RecordData::Txt([text.into()].into())),
        ];
        let name = "([ab*]\\.){0,3}(test|other)";
        (name, data, prop::option::of(0u32..2)).prop_map(|(name, data, ttl)| StaticRecord {
            name: name.into(),
            data,
            ttl,
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_was_noted(records in prop::collection::vec(any_record(), 0..60), seed: u64) {
            let mut model: BTreeMap<Arc<str>, BTreeSet<StaticRecord>> = BTreeMap::new();
            for record in &records {
                model.entry(record.name.clone()).or_default().insert(record.clone());
                for (dot, _) in record.name.match_indices('.') {
                    model.entry(record.name[dot + 1..].into()).or_default();
                }
            }
            let packed = packed(&records);
            for (name, expected) in &model {
                let found: Vec<StaticRecord> = packed.find(name).unwrap().records().collect();
                prop_assert_eq!(&found, &expected.iter().cloned().collect::<Vec<_>>());
            }
            let all: BTreeSet<StaticRecord> = packed.iter().collect();
            prop_assert_eq!(all.len(), packed.len());
            prop_assert_eq!(all, model.into_values().flatten().collect());
            // The order in which they come is nothing, and neither is saying them twice.
            let mut again = [&records[..], &records[..]].concat();
            fastrand::Rng::with_seed(seed).shuffle(&mut again);
            let again: StaticRecords = again.into_iter().collect();
            prop_assert_eq!(again.sum(), packed.sum());
            prop_assert!(again == packed && !again.is_same(&packed) || records.is_empty());
        }

        #[test]
        fn what_differs_is_told_apart(records in prop::collection::btree_set(any_record(), 1..20)) {
            let whole: StaticRecords = records.iter().cloned().collect();
            let part: StaticRecords = records.iter().skip(1).cloned().collect();
            prop_assert_ne!(whole.sum(), part.sum());
            prop_assert!(whole != part);
        }
    }
}
