//! Walks a TOML document and collects faults: what is common to all its tables.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{FileErrors, Place};
use super::record;
use super::routes::label;
use crate::config::checked::FileConfig;
use crate::labels;
use crate::model::id::ServiceId;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::task::Label;

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Labels with the place and key that each came from.
#[derive(Default)]
pub(super) struct Written {
    pub labels: Vec<Label>,
    sources: Vec<(Range<usize>, String)>,
}

impl Written {
    pub(crate) fn push(&mut self, label: Label, span: Range<usize>, key: String) {
        self.labels.push(label);
        self.sources.push((span, key));
    }
}

pub(super) struct Reader<'a> {
    pub path: Arc<Path>,
    pub source: &'a FileConfig,
    text: &'a str,
    line_starts: Vec<usize>,
    pub errors: FileErrors,
    /// Where each service is first written.
    pub services: HashMap<ServiceId, usize>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str, path: &Path, source: &'a FileConfig) -> Self {
        let starts = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Self {
            path: path.into(),
            source,
            text,
            line_starts: std::iter::once(0).chain(starts).collect(),
            errors: FileErrors::default(),
            services: HashMap::new(),
        }
    }

    pub(crate) fn place(&self, at: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..at.min(self.text.len())).unwrap_or_default();
        Place { path: self.path.clone(), line, column: before.chars().count() + 1 }
    }

    pub(crate) fn fault(&mut self, span: Range<usize>, key: &str, message: impl Into<String>, mend: impl Into<String>) {
        let place = self.place(span.start);
        self.errors.add(place, key, message, mend);
    }

    /// Turns what the labels' reader found wrong into faults at the keys that the labels came from.
    pub(crate) fn judge(&mut self, problems: &[Problem], written: &Written) {
        // What is meant as it is written is no fault of the file: it is told as a problem of the table.
        for problem in problems.iter().filter(|problem| problem.code != ProblemCode::UnverifiedTls) {
            let found = written.labels.iter().position(|label| label.key == problem.at);
            let (span, key) = found.map_or_else(Default::default, |index| written.sources[index].clone());
            self.fault(span, &key, &*problem.message, &*problem.mend);
        }
    }

    /// Writes a key's value as a label.
    pub(crate) fn write(&mut self, written: &mut Written, table: &DeTable<'_>, at: &str, key: &str, name: &str) {
        let Some(value) = find(table, key) else { return };
        let at = join(at, key);
        let separator = separator(key);
        let text = match value.get_ref() {
            DeValue::Array(items) if separator.is_some() => {
                let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
                // A semicolon in a header's value is none between two.
                let quoted =
                    |text: &str| if key.ends_with("_headers") { text.replace(';', "\\;") } else { text.to_owned() };
                texts.map(|texts| texts.into_iter().map(quoted).collect::<Vec<_>>().join(separator.unwrap_or_default()))
            }
            other => plain(other),
        };
        match text {
            Some(text) => written.push(label(name, text), value.span(), at),
            None => self.wrong_type(
                value.span(),
                &at,
                value.get_ref(),
                if separator.is_some() { "a list of texts" } else { "a text" },
            ),
        }
    }

    pub(crate) fn required(
        &mut self,
        table: &DeTable<'_>,
        at: &str,
        key: &str,
        span: Range<usize>,
        mend: &str,
    ) -> Option<String> {
        if find(table, key).is_none() {
            self.fault(span, &join(at, key), "the key is missing", mend);
            return None;
        }
        self.string(table, at, key).map(|(_, text)| text)
    }

    pub(crate) fn string<'t, 'v>(
        &mut self,
        table: &'t DeTable<'v>,
        at: &str,
        key: &str,
    ) -> Option<(&'t Value<'v>, String)> {
        let value = find(table, key)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some((value, text.clone().into_owned()));
        }
        self.wrong_type(value.span(), &join(at, key), value.get_ref(), "a text");
        None
    }

    /// The tables of a list, each with its key (`services[2]`).
    pub(crate) fn tables<'t, 'v>(
        &mut self,
        table: &'t DeTable<'v>,
        at: &str,
        key: &str,
    ) -> Vec<(String, &'t DeTable<'v>, Range<usize>)> {
        let mut out = Vec::new();
        for (key, value) in self.items(table, at, key) {
            match value.get_ref() {
                DeValue::Table(table) => out.push((key, table, value.span())),
                other => self.wrong_type(value.span(), &key, other, "a table"),
            }
        }
        out
    }

    pub(crate) fn items<'t, 'v>(
        &mut self,
        table: &'t DeTable<'v>,
        at: &str,
        key: &str,
    ) -> Vec<(String, &'t Value<'v>)> {
        let Some(value) = find(table, key) else { return Vec::new() };
        let at = join(at, key);
        if let DeValue::Array(items) = value.get_ref() {
            return items.iter().enumerate().map(|(index, item)| (format!("{at}[{index}]"), item)).collect();
        }
        self.wrong_type(value.span(), &at, value.get_ref(), "a list");
        Vec::new()
    }

    pub(crate) fn wrong_type(&mut self, span: Range<usize>, key: &str, value: &DeValue<'_>, wanted: &str) {
        self.fault(span, key, format!("it is of type {}, not {wanted}", value.type_str()), format!("write {wanted}"));
    }

    pub(crate) fn refuse_unknown(&mut self, table: &DeTable<'_>, at: &str, known: &[&'static str]) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let is_listed = !self.errors.is_full();
                let near = is_listed.then(|| labels::nearest(name, known.iter().copied())).flatten();
                let mend = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known keys are {}", known.join(", ")),
                };
                self.fault(key.span(), &join(at, &record::clip(name)), "there is no such key", mend);
            }
        }
    }
}

pub(super) fn find<'t, 'v>(table: &'t DeTable<'v>, key: &str) -> Option<&'t Value<'v>> {
    table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
}

/// What parts the values of a key that may have a list.
fn separator(key: &str) -> Option<&'static str> {
    match key {
        "hosts" | "method" | "split" | "filters" => Some(","),
        "header" | "query" | "cookie" | "request_headers" | "response_headers" => Some(";"),
        _ => None,
    }
}

/// Texts, numbers and booleans as labels write them.
pub(super) fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

pub(super) fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}
