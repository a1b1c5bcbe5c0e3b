//! What is wrong with labels, in words: bounded, without secrets, with the mend.

use std::sync::Arc;

use super::value::{Fault, shorten};
use crate::model::edit_distance::edit_distance;
use crate::model::problem::{Problem, ProblemCode};

/// The most problems that are listed of one task.
pub const MAX_PROBLEMS: usize = 64;

/// Problems of one task's labels, as they are found.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    list: Vec<Problem>,
    omitted: usize,
}

impl Complaints {
    /// Whether no more are listed, so that finding good words for them is in vain.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS - 1
    }

    /// Adds a problem of the label `at`.
    pub(crate) fn add(&mut self, code: ProblemCode, at: &str, message: impl Into<String>, mend: impl Into<String>) {
        if self.is_full() {
            self.omitted += 1;
            return;
        }
        self.list.push(Problem {
            code,
            subject: "".into(),
            at: shorten(at, 256).into(),
            message: message.into().into(),
            mend: mend.into().into(),
        });
    }

    /// Adds a value that could not be understood.
    pub(crate) fn value(&mut self, at: &str, value: &str, fault: Fault) {
        // A part of the value may be quoted in what is wrong with it.
        let message = match is_secret(at) {
            true => "the value [hidden] cannot be used".to_owned(),
            false => format!("the value {} cannot be used: {}", quoted(at, value), fault.wrong),
        };
        self.add(ProblemCode::InvalidLabel, at, message, fault.mend);
    }

    /// All of them, sorted: the order of labels does not show.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        if self.omitted > 0 {
            self.list.push(Problem {
                code: ProblemCode::InvalidLabel,
                subject: "".into(),
                at: "".into(),
                message: format!("the task's labels have {} more problems", self.omitted).into(),
                mend: "mend the ones that are listed first".into(),
            });
        }
        self.list.sort();
        self.list.dedup();
        self.list
    }
}

/// The value of a label as it may be shown.
pub(super) fn quoted(key: &str, value: &str) -> String {
    if is_secret(key) { "[hidden]".to_owned() } else { format!("{:?}", shorten(value, 80)) }
}

/// Whether values of labels with this key are never shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    ["AUTH", "TOKEN", "SECRET", "PASSWORD", "REQUEST_HEADERS"].iter().any(|word| key.contains(word))
}

/// The known word nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).clamp(1, 4);
    let near = known.into_iter().map(|candidate| (edit_distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// `; did you mean …?` as a mend.
pub(super) fn did_you_mean(nearest: Option<&str>, otherwise: &str) -> Arc<str> {
    nearest.map_or_else(|| otherwise.into(), |known| format!("did you mean `{known}`?").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word() {
        let known = ["host", "path", "weight", "drain_time"];
        assert_eq!(nearest("hots", known), Some("host"));
        assert_eq!(nearest("hst", known), Some("host"));
        assert_eq!(nearest("drain-time", known), Some("drain_time"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }

    #[test]
    fn secrets_are_hidden() {
        let mut complaints = Complaints::default();
        complaints.value("pointsman.auth", "hunter2", Fault::new("of \"hunter2\"", "mend"));
        assert!(!complaints.finish()[0].message.contains("hunter2"));
        assert!(is_secret("My_Token") && !is_secret("pointsman.host"));
    }

    #[test]
    fn problems_are_bounded() {
        let mut complaints = Complaints::default();
        for n in 0..1000 {
            complaints.add(ProblemCode::UnknownLabel, &n.to_string(), "m", "m");
        }
        assert_eq!(complaints.finish().len(), MAX_PROBLEMS);
    }
}
