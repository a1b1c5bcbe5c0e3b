//! What is wrong with a file: every fault with file, line, column, key and mend.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::model::id::SourceName;
use crate::model::problem::{Problem, ProblemCode};

/// The most faults that are listed of one read.
pub const MAX_ERRORS: usize = 100;

/// One fault of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{message}; {mend}", Prefix(key))]
pub struct FileError {
    /// Where it is.
    pub place: Place,
    /// The key (`services[2].name`); empty where it is the line or the file.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.path.display()),
            line => write!(f, "{}:{line}:{}", self.path.display(), self.column),
        }
    }
}

struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// Every fault of one read, at most [`MAX_ERRORS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileErrors {
    list: Vec<FileError>,
    omitted: usize,
}

impl std::error::Error for FileErrors {}

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.list.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl FileErrors {
    /// Adds a fault.
    pub(super) fn add(
        &mut self,
        place: Place,
        key: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        if self.list.len() < MAX_ERRORS {
            let (key, message, mend) = (key.into(), message.into(), mend.into());
            self.list.push(FileError { place, key, message, mend });
        } else {
            self.omitted += 1;
        }
    }

    /// Adds a fault of the whole file.
    pub(super) fn add_file(&mut self, path: &Arc<Path>, message: impl Into<String>, mend: impl Into<String>) {
        self.add(Place { path: path.clone(), line: 0, column: 0 }, "", message, mend);
    }

    /// Whether no more are listed, so that finding good words for them is in vain.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX_ERRORS
    }

    /// Puts the faults in the order of the file.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|error| (error.place.line, error.place.column));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &FileError> {
        self.list.iter()
    }

    /// One line for a status: the first fault, and how many more there are.
    pub fn summary(&self) -> String {
        let first = self.list.first().map(ToString::to_string).unwrap_or_default();
        match self.list.len() + self.omitted {
            0 | 1 => first,
            count => format!("{first} (and {} more)", count - 1),
        }
    }

    /// The faults as problems of the source.
    pub(super) fn problems(&self, source: &SourceName) -> Vec<Problem> {
        let problem = |error: &FileError| Problem {
            code: ProblemCode::InvalidFact,
            subject: source.shared(),
            at: match error.key.as_str() {
                "" => error.place.to_string().into(),
                key => format!("{} {key}", error.place).into(),
            },
            message: error.message.as_str().into(),
            mend: error.mend.as_str().into(),
        };
        self.list.iter().map(problem).collect()
    }
}
