//! Names of single tasks by id, kept up to date with the state.

use std::sync::Arc;

use crate::table::names::cluster::ClusterNames;
use crate::table::names::ids::{ID, id_label, id_parts};
use crate::table::task::TaskView;

/// Replaces what one task adds to the names by id.
pub(super) fn swap_task(names: &mut ClusterNames, old: Option<&TaskView>, new: Option<&Arc<TaskView>>) {
    let Some(key) = old.or(new.map(|view| &**view)).map(|view| &view.facts.key) else { return };
    let label = id_label(key.said_id());
    let before = old.map(|view| id_parts(view, &names.rules)).unwrap_or_default();
    let after = new.map(|view| id_parts(view, &names.rules)).unwrap_or_default();
    for part in before.iter().filter(|part| !after.contains(part)) {
        names.ids.take(&label, part, key);
        for owner in owners(&label, part) {
            names.parents.remove_ancestors(&owner);
        }
    }
    for part in &after {
        if let Some(view) = new {
            names.ids.put(&label, part, view);
        }
        // Most changes leave a task where it was.
        if !before.contains(part) {
            for owner in owners(&label, part) {
                names.parents.add_ancestors(&owner);
            }
        }
    }
}

fn owners(label: &str, part: &str) -> [String; 2] {
    [format!("{label}.{ID}.{part}"), format!("{label}.{ID}.{part}.slave")]
}
