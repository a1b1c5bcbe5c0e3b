//! `/v1/enumerate`: the records by framework and task. A record that tasks share is listed under the first of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::{Api, value};
use crate::model::id::FrameworkId;
use crate::table::task::TaskView;

#[derive(Serialize)]
pub(super) struct Enumeration {
    /// Null in Mesos-DNS where there are none.
    frameworks: Option<Vec<Framework>>,
}

#[derive(Serialize)]
struct Framework {
    tasks: Vec<Task>,
    name: String,
}

#[derive(Serialize)]
struct Task {
    name: String,
    id: String,
    /// As for frameworks.
    records: Option<Vec<Listed>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Listed {
    name: String,
    host: String,
    rtype: &'static str,
}

pub(super) fn document(api: &Api<'_>) -> Enumeration {
    let Some(names) = api.table.names.cluster(&api.mesos.zone) else { return Enumeration { frameworks: None } };
    let mut tasks: BTreeMap<&FrameworkId, Vec<&Arc<TaskView>>> = BTreeMap::new();
    for (key, view) in api.table.tasks.iter().filter(|(key, _)| *key.cluster() == api.mesos.cluster) {
        tasks.entry(key.framework()).or_default().push(view);
    }
    let mut seen = HashSet::new();
    let mut frameworks = Vec::new();
    for (id, name) in names.framework_names.iter() {
        let mut ours = tasks.remove(id).unwrap_or_default();
        ours.sort_by(|a, b| a.facts.key.cmp(&b.facts.key));
        let mut listed = Vec::new();
        for view in ours {
            let made = names.records_of(view);
            if made.is_empty() {
                continue;
            }
            let records = made.into_iter().filter_map(|(name, data)| {
                let (rtype, host) = value(&data)?;
                Some(Listed { name: format!("{name}.{}.", api.mesos.zone), host, rtype })
            });
            let fresh: Vec<Listed> = records.filter(|record| seen.insert(record.clone())).collect();
            listed.push(Task {
                name: view.facts.definition.name.to_string(),
                id: view.facts.key.task().to_owned(),
                records: (!fresh.is_empty()).then_some(fresh),
            });
        }
        frameworks.push(Framework { tasks: listed, name: name.to_string() });
    }
    Enumeration { frameworks: (!frameworks.is_empty()).then_some(frameworks) }
}
