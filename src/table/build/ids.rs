//! Names of single tasks by id, kept up to date with the state.

use super::names::{Named, added};
use crate::table::names::cluster::ClusterNames;
use crate::table::names::ids::ID;

/// Replaces what one task adds to the names by id.
pub(super) fn swap_task(names: &mut ClusterNames, old: Option<&Named>, new: Option<&Named>) {
    let Some(key) = old.or(new).map(|(view, _)| &view.facts.key) else { return };
    let (before, after) = (added(old), added(new));
    let Some(label) = before.or(after).map(|added| &*added.id_label) else { return };
    let before = before.map_or(&[][..], |added| &added.id_parts);
    let after = after.map_or(&[][..], |added| &added.id_parts);
    for part in before.iter().filter(|part| !after.contains(part)) {
        names.ids.take(label, part, key);
        for owner in owners(label, part) {
            names.parents.remove_ancestors(&owner);
        }
    }
    for part in after {
        if let Some((view, _)) = new {
            names.ids.put(label, part, view);
        }
        // Most changes leave a task where it was.
        if !before.contains(part) {
            for owner in owners(label, part) {
                names.parents.add_ancestors(&owner);
            }
        }
    }
}

fn owners(label: &str, part: &str) -> [String; 2] {
    [format!("{label}.{ID}.{part}"), format!("{label}.{ID}.{part}.slave")]
}
