//! `/v1/prometheus/targets`: HTTP service discovery for Prometheus.
//!
//! Prometheus keeps its targets when an answer is an error and drops them all when the list is empty. So on doubt
//! the answer is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use crate::model::endpoint::EndpointState;
use crate::table::Table;
use crate::table::task::TaskView;

/// One target with its labels, as Prometheus wants it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TargetGroup {
    pub targets: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// GET /v1/prometheus/targets.
pub(crate) fn targets(table: &Table, query: &Query) -> Answer {
    query.only(&[])?;
    let mut groups: Vec<TargetGroup> = table.tasks.values().filter_map(|task| group(task)).collect();
    if let Some(doubt) = doubt(table, groups.is_empty()) {
        return Err(ApiError::unavailable(doubt, "keep the former targets; /readyz and /v1/sources tell more"));
    }
    groups.sort();
    Reply::json(&groups)
}

/// Why the list may lack targets, if it may.
fn doubt(table: &Table, is_empty: bool) -> Option<String> {
    if !table.ready {
        return Some("the table is not ready".into());
    }
    if let Some(source) = table.sources.iter().find(|source| !source.complete) {
        return Some(format!("the source {} has not been read completely", source.name));
    }
    // What a lost source last said is served on; but nothing at all from a lost source proves nothing.
    (is_empty && table.is_stale()).then(|| "a source is not live and no target is known".into())
}

fn group(task: &TaskView) -> Option<TargetGroup> {
    let (address, path) = task.scrape()?;
    if task.state == EndpointState::Starting {
        return None;
    }
    let facts = &task.facts;
    let service = task.services.first().map(|(service, _)| service);
    let name = service.map_or(&*facts.definition.name, |service| service.name());
    let agent = task.agent.as_ref().map(|agent| agent.hostname.to_string());
    let agent = agent.or_else(|| facts.agent.as_ref().map(ToString::to_string)).unwrap_or_default();
    let labels = [
        ("__metrics_path__", path.to_string()),
        ("__meta_pointsman_service", name.to_owned()),
        ("__meta_pointsman_service_id", service.map(ToString::to_string).unwrap_or_default()),
        ("__meta_pointsman_version", task.version.to_string()),
        ("__meta_pointsman_cluster", facts.key.cluster().to_string()),
        ("__meta_pointsman_framework", task.framework.as_ref().map(|f| f.name.to_string()).unwrap_or_default()),
        ("__meta_pointsman_agent", agent),
        ("__meta_pointsman_task", facts.key.to_string()),
        ("__meta_pointsman_state", task.state.as_str().to_owned()),
    ];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Some(TargetGroup { targets: vec![address.to_string()], labels })
}
