//! What is wrong with a configuration: every fault with its place, its key and the mend, all at once.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// Everything that is wrong with one file, in the file's order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    /// The faults.
    pub errors: Vec<ConfigError>,
    /// Faults past the first [`MOST_ERRORS`], which are only counted.
    pub omitted: usize,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; absent where the fault does not lie in the file's text.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// The setting, as `proxy.limits.header` or `sources.mesos[0].zone`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

/// Faults that are told one by one; a file of garbage does not fill the log.
pub(crate) const MOST_ERRORS: usize = 100;

impl ConfigErrors {
    /// Orders faults by place and cuts what is too much.
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by(|a, b| (a.line, a.column, &a.key).cmp(&(b.line, b.column, &b.key)));
        let omitted = errors.len().saturating_sub(MOST_ERRORS);
        errors.truncate(MOST_ERRORS);
        Self { errors, omitted }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.errors.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\n… and {omitted} more"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.message, self.mend)
    }
}

impl std::error::Error for ConfigErrors {}

/// Finds lines and columns of a text.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Looks for the line ends once.
    pub(crate) fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// Line and column, from 1, of where the span begins.
    pub(crate) fn place(&self, span: &Range<usize>) -> (usize, usize) {
        let at = span.start.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        let before = &self.text.as_bytes()[start..at];
        // Octets that continue a character are not counted: a span may begin anywhere.
        let column = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
        (line, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, at: usize, expected: (usize, usize)) {
        assert_eq!(Lines::of(text).place(&(at..at)), expected, "{text:?} {at}");
    }

    #[test]
    fn places() {
        check("", 0, (1, 1));
        check("ab", 1, (1, 2));
        check("a\nb", 1, (1, 2));
        check("a\nb", 2, (2, 1));
        check("a\n", 2, (2, 1));
        check("éa", 2, (1, 2));
        check("a", 99, (1, 2));
    }

    #[test]
    fn too_many_are_counted() {
        let error = ConfigError {
            file: "f".into(),
            line: Some(1),
            column: Some(2),
            key: "k".into(),
            message: "m".into(),
            mend: "n".into(),
        };
        let errors = ConfigErrors::new(vec![error; MOST_ERRORS + 2]);
        assert_eq!(errors.errors.len(), MOST_ERRORS);
        assert!(errors.to_string().ends_with("f:1:2: k: m; n\n… and 2 more"));
    }
}
