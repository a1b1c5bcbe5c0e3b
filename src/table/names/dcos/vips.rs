//! Named virtual addresses: `LABEL.FRAMEWORK` → an address of 11.0.0.0/8 and one of fd01:c::/64.
//!
//! The address is DC/OS's own: a hash of the name. DC/OS gives a name whose address is taken the next free one, so that
//! there it depends on who came first; here the first name in the alphabet keeps it, so that every instance says the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::phash::phash2;
use crate::config::checked::LabelRule;
use crate::labels::vip::vip_names;
use crate::model::id::{TaskKey, stable_hash};
use crate::model::persistent::PersistentMap;
use crate::table::names::label::domain_frag;
use crate::table::names::parents::Parents;
use crate::table::task::TaskView;

/// The first address, and how many follow.
const FIRST: u32 = 0x0b00_0000;
const RANGE: u32 = 0x0bff_fffe - FIRST;
const FIRST_V6: u128 = 0xfd01_000c_0000_0000 << 64;
const RANGE_V6: u128 = u64::MAX as u128;

/// How far back names are looked for that could have moved on to a place. The range is nearly empty: two names in a row
/// are rare.
const WINDOW: u32 = 16;

/// The virtual addresses that tasks of a cluster ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vips {
    /// Who asks for a name, and whether it has addresses of both families.
    names: PersistentMap<Arc<str>, Arc<[Asker]>>,
    /// Names by the place that their hash gives.
    places: PersistentMap<u32, Arc<[Arc<str>]>>,
    parents: Parents,
    /// A number for what the names show.
    shown: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asker {
    task: TaskKey,
    v4: bool,
    v6: bool,
}

/// Hears of a name, which addresses it had (`None`: nobody asked for it) and which it has.
pub(in crate::table::names) type VisitVips<'v> = &'v mut dyn FnMut(&str, Option<Vec<IpAddr>>, Option<Vec<IpAddr>>);

/// What a name has.
pub(super) struct Vip {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

impl Vips {
    /// Adds what a task asks for, or takes it back.
    pub(crate) fn change(&mut self, view: &TaskView, add: bool) {
        for name in names_of(view) {
            let known = self.names.get(&*name).map(|known| &**known).unwrap_or_default();
            let mut askers: Vec<Asker> = known.iter().filter(|asker| asker.task != view.facts.key).cloned().collect();
            let was_known = !known.is_empty();
            askers.extend(add.then(|| asker(view)));
            askers.sort();
            self.shown = self.shown.wrapping_sub(shown(&name, known)).wrapping_add(shown(&name, &askers));
            match (was_known, askers.is_empty()) {
                (false, false) => self.set_place(&name, true),
                (true, true) => self.set_place(&name, false),
                _ => {}
            }
            match askers.is_empty() {
                true => drop(self.names.remove(&*name)),
                false => drop(self.names.insert(name.into(), askers.into())),
            }
        }
    }

    fn set_place(&mut self, name: &str, add: bool) {
        let place = phash2(name.as_bytes(), RANGE);
        let known = self.places.get(&place).map(|known| &**known).unwrap_or_default();
        let mut names: BTreeSet<Arc<str>> = known.iter().cloned().collect();
        if add {
            names.insert(name.into());
            self.parents.add_ancestors(name);
        } else {
            names.remove(name);
            self.parents.remove_ancestors(name);
        }
        match names.is_empty() {
            true => drop(self.places.remove(&place)),
            false => drop(self.places.insert(place, names.into_iter().collect())),
        }
    }

    /// The addresses of a name; `None`: nobody asks for it.
    pub(super) fn get(&self, name: &str) -> Option<Vip> {
        let askers = self.names.get(name)?;
        let v4 = askers.iter().any(|asker| asker.v4).then(|| self.address(name));
        let v6 = askers.iter().any(|asker| asker.v6).then(|| address_v6(name));
        Some(Vip { v4, v6 })
    }

    /// Calls `visit` for each name that is asked for in another way, with what it has in `self` and in `later`. That a name
    /// gives way to another one's hash is not told.
    pub(in crate::table::names) fn diff(&self, later: &Self, visit: VisitVips<'_>) {
        let addresses = |vip: Vip| vip.v4.map(IpAddr::from).into_iter().chain(vip.v6.map(IpAddr::from)).collect();
        self.names.diff(&later.names, &mut |name, _, _| {
            visit(name, self.get(name).map(addresses), later.get(name).map(addresses));
        });
    }

    /// A number for all names with what they have: which address a name has follows from the names.
    pub(in crate::table::names) fn shown(&self) -> u64 {
        self.shown
    }

    /// Whether names lie below this one.
    pub(super) fn is_above(&self, name: &str) -> bool {
        self.parents.contains(name)
    }

    /// Every name, sorted.
    pub(crate) fn sorted(&self) -> Vec<&Arc<str>> {
        let mut all: Vec<_> = self.names.keys().collect();
        all.sort();
        all
    }

    /// A name's address: its own place, or the next one that no name before it in the alphabet needs.
    fn address(&self, name: &str) -> Ipv4Addr {
        let own = phash2(name.as_bytes(), RANGE);
        let first = own.saturating_sub(WINDOW);
        let mut waiting: BTreeSet<&str> = BTreeSet::new();
        for place in (first..RANGE).chain(0..first) {
            waiting.extend(self.places.get(&place).into_iter().flat_map(|names| names.iter().map(|name| &**name)));
            if waiting.pop_first() == Some(name) {
                return (FIRST + place).into();
            }
            if place > own && waiting.is_empty() {
                break;
            }
        }
        (FIRST + own).into()
    }
}

fn shown(name: &str, askers: &[Asker]) -> u64 {
    if askers.is_empty() {
        return 0;
    }
    stable_hash(&(name, askers.iter().any(|asker| asker.v4), askers.iter().any(|asker| asker.v6)))
}

/// The names that a task asks for.
pub(crate) fn names_of(view: &TaskView) -> BTreeSet<String> {
    let written = vip_names(&view.facts.definition);
    // Nearly every task.
    if written.is_empty() {
        return BTreeSet::new();
    }
    let Some(framework) = &view.framework else { return BTreeSet::new() };
    let framework = domain_frag(&framework.name, LabelRule::Rfc1123);
    let labels = written.into_iter().map(|name| domain_frag(name, LabelRule::Rfc1123));
    let whole = labels.filter(|label| !label.is_empty()).map(|label| match framework.is_empty() {
        true => label,
        false => format!("{label}.{framework}"),
    });
    whole.collect()
}

fn asker(view: &TaskView) -> Asker {
    let agent = view.agent.iter().filter_map(|agent| agent.address);
    let all: Vec<_> = view.addresses().iter().copied().chain(agent).map(|address| address.to_canonical()).collect();
    let (v4, v6) = (all.iter().any(IpAddr::is_ipv4), view.addresses().iter().any(|a| a.to_canonical().is_ipv6()));
    Asker { task: view.facts.key.clone(), v4, v6 }
}

fn address_v6(name: &str) -> Ipv6Addr {
    let digest = Sha1::digest(name.as_bytes());
    let number = digest.iter().fold(0u128, |number, octet| (number * 256 + u128::from(*octet)) % RANGE_V6);
    (FIRST_V6 + number).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> Vips {
        let mut vips = Vips::default();
        for name in names {
            let key = TaskKey::new("c".into(), "f".into(), *name);
            vips.names.insert((*name).into(), [Asker { task: key, v4: true, v6: false }].into());
            vips.set_place(name, true);
        }
        vips
    }

    #[test]
    fn names_that_meet_get_addresses_of_their_own_in_any_order() {
        // Found by trying: both have the same place.
        let mut seen = std::collections::BTreeMap::new();
        let (one, two) = (0..)
            .find_map(|number| {
                let name = format!("n{number}.f");
                seen.insert(phash2(name.as_bytes(), RANGE), name.clone()).map(|other| (other, name))
            })
            .unwrap();
        let (forth, back) = (with(&[&one, &two]), with(&[&two, &one]));
        let addresses = |vips: &Vips| [&one, &two].map(|name| vips.get(name).unwrap().v4.unwrap());
        assert_eq!(addresses(&forth), addresses(&back));
        let [first, second] = addresses(&forth).map(u32::from);
        assert_eq!(first.abs_diff(second), 1);
        assert!(forth.is_above("f") && !forth.is_above("g"));
    }
}
