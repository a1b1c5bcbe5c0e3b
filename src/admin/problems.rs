//! `/v1/problems`: what is wrong with tasks, services and sources, and how their owners mend it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::paging::Page;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use crate::model::problem::{Problem, ProblemCode};
use crate::table::Table;

/// A page of problems.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProblemList {
    pub generation: u64,
    /// How many of each kind there are in all.
    pub by_code: BTreeMap<String, usize>,
    pub problems: Vec<ProblemView>,
    /// Where the next page begins, if there is one. A page's limit counts subjects.
    pub next_cursor: Option<String>,
}

/// One problem.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProblemView {
    pub code: String,
    /// The task, service or source.
    pub subject: String,
    /// The label, field or claim at fault; empty if it is the whole subject.
    pub at: String,
    pub message: String,
    pub mend: String,
}

/// GET /v1/problems.
pub(crate) fn list(table: &Table, query: &Query) -> Answer {
    query.only(&["subject", "code", "limit", "cursor"])?;
    let page = Page::of(query)?;
    let code = code(query)?;
    let subject = query.text("subject");
    let wanted = |problem: &&Problem| code.is_none_or(|code| problem.code == code);
    let subjects = table.problems.iter().filter(|(name, problems)| {
        subject.is_none_or(|subject| ***name == *subject) && problems.iter().any(|problem| wanted(&problem))
    });
    let (subjects, next_cursor) = page.take(subjects.map(|(name, problems)| (name.to_string(), problems)));
    let problems = subjects.into_iter().flat_map(|problems| problems.iter().filter(wanted)).map(ProblemView::of);
    let problems = problems.collect();
    let by_code = count(table).into_iter().map(|(code, count)| (code.as_str().to_owned(), count)).collect();
    Reply::json(&ProblemList { generation: table.generation, by_code, problems, next_cursor })
}

/// The problems of one subject.
pub(crate) fn of_subject(table: &Table, subject: &str) -> Vec<ProblemView> {
    table.problems.get(subject).map(|problems| problems.iter().map(ProblemView::of).collect()).unwrap_or_default()
}

/// How many problems of each kind there are.
pub(crate) fn count(table: &Table) -> BTreeMap<ProblemCode, usize> {
    let mut counts = BTreeMap::new();
    for problem in table.problems.values().flat_map(|problems| problems.iter()) {
        *counts.entry(problem.code).or_default() += 1;
    }
    counts
}

impl ProblemView {
    fn of(problem: &Problem) -> Self {
        Self {
            code: problem.code.as_str().to_owned(),
            subject: problem.subject.to_string(),
            at: problem.at.to_string(),
            message: problem.message.to_string(),
            mend: problem.mend.to_string(),
        }
    }
}

fn code(query: &Query) -> Result<Option<ProblemCode>, ApiError> {
    let Some(text) = query.text("code") else { return Ok(None) };
    let known = ProblemCode::ALL.iter().find(|code| code.as_str() == text).copied();
    known.map(Some).ok_or_else(|| {
        let all: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        ApiError::bad_request(
            format!("there is no kind of problem {text:?}"),
            format!("use one of: {}", all.join(", ")),
        )
    })
}
