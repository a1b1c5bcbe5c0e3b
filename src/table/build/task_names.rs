//! What one task adds to the names of its cluster.
//!
//! Pure: task and rules in, names out. The same task adds the same, so what it added can be taken back; and when all tasks
//! are derived at once other threads can do it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::digest;
use super::task::zone_of;
use crate::config::Config;
use crate::table::names::Shown;
use crate::table::names::group::{Member, group_names};
use crate::table::names::ids::{id_label, id_parts};
use crate::table::names::label::LABEL;
use crate::table::names::rules::NamingRules;
use crate::table::names::services::member_parents;
use crate::table::task::TaskView;

/// What one task adds to names.
#[derive(Debug)]
pub(super) struct TaskNames {
    /// The task's part of the table's digest.
    pub(super) digest: u64,
    /// What it adds to its cluster's zone; `None` where the cluster has none.
    pub(super) added: Option<AddedNames>,
}

/// What one task adds to the zone of its cluster.
#[derive(Debug)]
pub(super) struct AddedNames {
    /// Its hash as a member of its groups.
    pub(super) hash: u32,
    /// The names of its groups, relative to the zone, that the policies let it have.
    pub(super) groups: Vec<Arc<str>>,
    /// Its own names where those had to be cut, so that its group is not found by them.
    pub(super) cut: Vec<Arc<str>>,
    /// Names that exist because it has names below them.
    pub(super) parents: BTreeSet<String>,
    /// The label that its id makes.
    pub(super) id_label: String,
    /// The frameworks' parts below which it is found by its id.
    pub(super) id_parts: Vec<Arc<str>>,
    /// What it shows.
    pub(super) shown: Shown,
}

impl TaskNames {
    /// What `view` adds with this configuration.
    pub(super) fn of(view: &Arc<TaskView>, config: &Config) -> Self {
        let zone = zone_of(config, view.facts.key.cluster());
        let added = zone.map(|zone| AddedNames::of(view, &NamingRules::new(&config.dns, zone)));
        Self { digest: digest::task(view), added }
    }
}

impl AddedNames {
    fn of(view: &Arc<TaskView>, rules: &NamingRules) -> Self {
        let member = Member::new(view.clone());
        let groups = allowed_names(view, rules);
        Self {
            hash: member.hash(),
            cut: cut_names(&member, &groups, rules),
            parents: member_parents(&member, &groups, rules),
            groups,
            id_label: id_label(view.facts.key.said_id()),
            id_parts: id_parts(view, rules),
            shown: Shown::of(view, rules),
        }
    }
}

/// The names of a task's groups that the policies let it have.
fn allowed_names(view: &TaskView, rules: &NamingRules) -> Vec<Arc<str>> {
    let mut names = group_names(view, rules);
    names.retain(|name| !view.refused_names().contains(name));
    names
}

/// A task's own names in its `groups` that are too long for a label as they are.
fn cut_names(member: &Member, groups: &[Arc<str>], rules: &NamingRules) -> Vec<Arc<str>> {
    let mut cut = Vec::new();
    let (Some(suffix), Some(framework)) = (member.suffix(), &member.view.framework) else { return cut };
    for part in rules.framework_parts(&framework.name) {
        for group in groups {
            let Some(task) = group.strip_suffix(&*part).and_then(|task| task.strip_suffix('.')) else { continue };
            let last = task.rsplit('.').next().unwrap_or_default();
            if last.len() + suffix.len() > LABEL {
                cut.extend(member.canonical(task).map(|own| Arc::from(format!("{own}.{part}"))));
            }
        }
    }
    cut
}
