//! `/healthz` and `/readyz`: for those who restart and balance programs.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::context::Phase;
use super::reply::{Answer, Reply};
use crate::table::Table;

/// That the program answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Alive {
    pub status: String,
}

/// Whether the program answers from a table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Readiness {
    pub ready: bool,
    /// What is still missing; empty if ready.
    pub waits_for: Vec<String>,
    pub generation: u64,
    /// Answers come from facts that may be out of date. It stays ready: old answers beat none.
    pub stale: bool,
}

/// GET /healthz: touches nothing that could be slow.
pub(crate) fn alive() -> Answer {
    Reply::json(&Alive { status: "ok".into() })
}

/// GET /readyz.
pub(crate) fn ready(phase: &Phase, table: &Table) -> Answer {
    let readiness = Readiness::of(phase, table);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::json_with(status, &readiness)
}

impl Readiness {
    fn of(phase: &Phase, table: &Table) -> Self {
        let mut waits_for = match phase {
            Phase::Starting { waits_for } if waits_for.is_empty() => vec!["the program to finish starting".into()],
            Phase::Starting { waits_for } => waits_for.clone(),
            Phase::Serving => Vec::new(),
            Phase::Stopping => vec!["nothing: the program is stopping".into()],
        };
        if !table.ready {
            let silent = table.sources.iter().filter(|source| !source.complete);
            waits_for.extend(silent.map(|source| format!("the first complete snapshot of source {}", source.name)));
            if waits_for.is_empty() {
                waits_for.push("the first table".into());
            }
        }
        Self { ready: waits_for.is_empty(), waits_for, generation: table.generation, stale: table.is_stale() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn table(ready: bool) -> Table {
        Table { ready, ..Table::empty(Arc::default()) }
    }

    #[test]
    fn says_what_it_waits_for() {
        let check = |phase: Phase, ready, expected: &[&str]| {
            assert_eq!(Readiness::of(&phase, &table(ready)).waits_for, expected, "{phase:?}");
        };
        check(Phase::Serving, true, &[]);
        check(Phase::Serving, false, &["the first table"]);
        check(Phase::Stopping, true, &["nothing: the program is stopping"]);
        check(Phase::Starting { waits_for: vec!["DNS sockets".into()] }, true, &["DNS sockets"]);
        check(Phase::Starting { waits_for: vec![] }, true, &["the program to finish starting"]);
    }
}
