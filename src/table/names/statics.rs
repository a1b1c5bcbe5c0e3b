//! Names that files have.
//!
//! The records of a file are packed once (`cluster::records`). A zone whose records are all that one file has shows these very
//! ones; where several files have names in a zone, or one has names in several, what belongs together is packed anew.

use std::sync::Arc;

use super::{Delegation, Record, below};
use crate::cluster::event::{RecordData, StaticRecord};
use crate::cluster::records::{NameRecords, RecordsBuilder, StaticRecords};

/// Records from files.
#[derive(Clone, Debug, Default)]
pub(crate) struct StaticNames {
    records: StaticRecords,
}

/// Hears of a name, what its records were, and what they are.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&str, Option<Vec<StaticRecord>>, Option<Vec<StaticRecord>>);

/// Which zones a source's records lie in.
#[derive(Debug)]
pub(crate) struct Spread<'a> {
    records: &'a StaticRecords,
    /// For each zone, whether names lie in it and in none that is closer.
    touched: Vec<bool>,
    /// Whether names lie elsewhere.
    has_others: bool,
}

impl<'a> Spread<'a> {
    /// Looks at all records. `zones`: the longest first.
    pub(crate) fn of(records: &'a StaticRecords, zones: &[Arc<str>]) -> Self {
        let mut spread = Self { records, touched: vec![false; zones.len()], has_others: false };
        for name in records.names() {
            match closest(name.name, zones) {
                Some(at) => spread.touched[at] = true,
                None => spread.has_others = true,
            }
        }
        spread
    }

    fn is_all_in_one_zone(&self) -> bool {
        !self.has_others && self.touched.iter().filter(|touched| **touched).count() == 1
    }
}

/// The place of the zone that a name lies in.
fn closest(name: &str, zones: &[Arc<str>]) -> Option<usize> {
    zones.iter().position(|zone| below(name, zone).is_some())
}

impl StaticNames {
    /// The names in one of the zones, and those whose aliases are left out: they have other records too.
    pub(crate) fn of_zone(zones: &[Arc<str>], at: usize, sources: &[Spread<'_>]) -> (Self, Vec<Arc<str>>) {
        let ours: Vec<&Spread<'_>> = sources.iter().filter(|source| source.touched[at]).collect();
        let records = match ours[..] {
            [] => return (Self::default(), Vec::new()),
            [only] if only.is_all_in_one_zone() => only.records.clone(),
            _ => {
                let mut joined = RecordsBuilder::default();
                let names = ours.iter().flat_map(|source| source.records.names());
                names.filter(|name| closest(name.name, zones) == Some(at)).for_each(|name| joined.push_all(&name));
                joined.finish()
            }
        };
        Self::consistent(records, &zones[at])
    }

    /// These records without those that cannot be beside the others, and the names whose aliases these are.
    fn consistent(records: StaticRecords, zone: &str) -> (Self, Vec<Arc<str>>) {
        let has_own = |apex: NameRecords<'_>| apex.has_alias() || apex.has_server();
        // Nearly always.
        if !records.is_crowded() && !records.find(zone).is_some_and(has_own) {
            return (Self { records }, Vec::new());
        }
        let (mut kept, mut crowded) = (RecordsBuilder::default(), Vec::new());
        for name in records.names() {
            let same: Vec<StaticRecord> = name.records().collect();
            let (consistent, is_crowded) = consistent(same, name.name == zone);
            consistent.iter().for_each(|record| kept.push(&record.name, &record.data, record.ttl));
            if is_crowded {
                crowded.push(name.name.into());
            }
        }
        crowded.sort_unstable();
        (Self { records: kept.finish() }, crowded)
    }

    /// What files say of a name, or that it exists for those below it; absolute.
    pub(super) fn find(&self, name: &str) -> Option<Vec<Record>> {
        self.records.find(name).map(records)
    }

    /// What files say of a name; absolute.
    pub(super) fn records(&self, name: &str) -> Option<Vec<Record>> {
        // Nearly always, beside a cluster's names.
        if self.records.is_empty() {
            return None;
        }
        self.records.find(name).filter(|name| !name.is_empty()).map(records)
    }

    /// Whether files have records of a name; absolute.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.records.is_empty() && self.records.find(name).is_some_and(|name| !name.is_empty())
    }

    /// Whether a name exists for those that files have below it, or has records itself; absolute.
    pub(super) fn is_above(&self, name: &str) -> bool {
        !self.records.is_empty() && self.records.find(name).is_some()
    }

    /// The names that have records, absolute.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.records.names().map(|name| name.name)
    }

    pub(super) fn has_wildcards(&self) -> bool {
        self.records.has_wildcards()
    }

    /// Tells `visit` of names whose records are others in `later`: what they were, and what they are. Costs nothing where
    /// both are one file's, and else a look at each name.
    pub(super) fn diff(&self, later: &Self, visit: Visit<'_>) {
        if self.records.is_same(&later.records) {
            return;
        }
        let of = |names: &Self, name: &str| {
            let found = names.records.find(name).filter(|found| !found.is_empty());
            found.map(|found| found.records().collect::<Vec<_>>())
        };
        let added = later.records.names().filter(|name| !self.has(name.name));
        for name in self.records.names().chain(added).map(|name| name.name) {
            let (before, after) = (of(self, name), of(later, name));
            if before != after {
                visit(name, before, after);
            }
        }
    }

    /// A number for all of them.
    pub(super) fn shown(&self) -> u64 {
        self.records.sum()
    }

    /// The zone of others that a name lies in, or is: the one nearest to the apex, below which nothing is ours to tell.
    pub(super) fn delegation(&self, name: &str, below: &str) -> Option<Delegation> {
        // Nearly always.
        if !self.records.has_delegations() || below.is_empty() {
            return None;
        }
        let starts = below.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
        let mut cuts = starts.map(|start| &name[start..]);
        cuts.find_map(|cut| self.records.find(cut).filter(NameRecords::has_server)).map(|cut| self.delegated(cut))
    }

    fn delegated(&self, cut: NameRecords<'_>) -> Delegation {
        let is_server = |record: &Record| matches!(record.data, RecordData::Ns(_));
        let (servers, above): (Vec<Record>, Vec<Record>) = records(cut).into_iter().partition(is_server);
        let hosts = servers.iter().filter_map(|record| match &record.data {
            RecordData::Ns(host) if below(host, cut.name).is_some() => Some(host),
            _ => None,
        });
        let glue = hosts.filter_map(|host| Some((host.clone(), self.records(host)?))).collect();
        Delegation { name: cut.name.to_owned(), servers, above, glue }
    }
}

fn records(name: NameRecords<'_>) -> Vec<Record> {
    let mut all = Vec::with_capacity(name.len());
    all.extend(name.data().map(|(data, ttl)| Record { data, ttl }));
    all
}

/// The records of one name, sorted, without those that cannot be beside the others, and whether that is an alias: where there
/// is one, there is nothing else (RFC 1034 §3.6.2), and at the apex there are SOA and NS (RFC 1912 §2.4), which are the
/// program's own.
fn consistent(same: Vec<StaticRecord>, is_apex: bool) -> (Vec<StaticRecord>, bool) {
    let is_alias = |record: &StaticRecord| matches!(record.data, RecordData::Cname(_));
    let is_own = |record: &StaticRecord| is_apex && matches!(record.data, RecordData::Ns(_));
    let (aliases, mut others): (Vec<_>, Vec<_>) = same.into_iter().partition(is_alias);
    others.retain(|record| !is_own(record));
    let Some(first) = aliases.first() else { return (others, false) };
    if !others.is_empty() || is_apex {
        return (others, true);
    }
    // Of several, the first in their order; two that differ in their time alone are one.
    let is_crowded = aliases.iter().any(|other| other.data != first.data);
    (vec![first.clone()], is_crowded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> [Arc<str>; 3] {
        ["sub.a.test".into(), "a.test".into(), "b.test".into()]
    }

    fn records(names: &[&str]) -> StaticRecords {
        let record =
            |name: &&str| StaticRecord { name: Arc::from(*name), data: RecordData::A([10, 0, 0, 1].into()), ttl: None };
        names.iter().map(record).collect()
    }

    fn of_zone(at: usize, sources: &[&StaticRecords]) -> StaticNames {
        let spreads: Vec<Spread<'_>> = sources.iter().map(|records| Spread::of(records, &zones())).collect();
        StaticNames::of_zone(&zones(), at, &spreads).0
    }

    fn names(of: &StaticNames) -> Vec<&str> {
        let mut names: Vec<&str> = of.names().collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_zone_that_is_one_files_alone_shows_its_very_records() {
        let (one, other) = (records(&["x.a.test", "a.test"]), records(&["b.test"]));
        assert!(of_zone(1, &[&one, &other]).records.is_same(&one));
        assert!(of_zone(2, &[&one, &other]).records.is_same(&other));
        assert!(of_zone(0, &[&one, &other]).records.is_empty());
    }

    #[test]
    fn what_several_files_have_in_a_zone_is_put_together_and_what_lies_elsewhere_is_left_out() {
        let (one, other) = (records(&["x.a.test", "x.b.test"]), records(&["y.a.test", "z.sub.a.test", "elsewhere"]));
        let sources = [&one, &other];
        assert_eq!(names(&of_zone(1, &sources)), ["x.a.test", "y.a.test"]);
        assert_eq!(names(&of_zone(0, &sources)), ["z.sub.a.test"]);
        assert_eq!(names(&of_zone(2, &sources)), ["x.b.test"]);
        assert_eq!(of_zone(1, &sources).shown(), records(&["y.a.test", "x.a.test"]).sum());
        // Names above those of another zone are that one's.
        assert!(!of_zone(1, &sources).is_above("sub.a.test"));
    }
}
