//! A file that lines are appended to, and that may be renamed at any time: a new one is begun then.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Entry, line};
use crate::config::checked::LogFormat;

/// How often it is looked whether the file is still there.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct LineFile {
    path: PathBuf,
    format: LogFormat,
    /// `None`: it could not be opened, or not yet.
    file: Option<File>,
    looked: Option<Instant>,
    lines: String,
    is_faulty: bool,
}

impl LineFile {
    pub(super) fn new(path: PathBuf, format: LogFormat) -> Self {
        Self { path, format, file: None, looked: None, lines: String::new(), is_faulty: false }
    }

    /// Opens the file, or another one if it was renamed or removed (log rotation).
    pub(super) fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let is_there = self.file.as_ref().is_some_and(|file| self.is_ours(file).unwrap_or(false));
        if is_there {
            return;
        }
        match OpenOptions::new().create(true).append(true).open(&self.path) {
            Ok(file) => (self.file, self.is_faulty) = (Some(file), false),
            Err(error) => self.complain(&error),
        }
    }

    /// Appends lines; whether they are in the file.
    pub(super) fn write<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>) -> bool {
        self.lines.clear();
        for entry in entries {
            line::write(&entry, self.format, &mut self.lines);
        }
        let Some(file) = &mut self.file else { return false };
        match file.write_all(self.lines.as_bytes()) {
            Ok(()) => true,
            Err(error) => {
                self.complain(&error);
                false
            }
        }
    }

    fn is_ours(&self, file: &File) -> io::Result<bool> {
        let (open, there) = (file.metadata()?, std::fs::metadata(&self.path)?);
        Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
    }

    /// Once, until it works again.
    fn complain(&mut self, error: &io::Error) {
        if !self.is_faulty {
            tracing::warn!(path = %self.path.display(), %error, "the DNS query log cannot be written");
        }
        self.is_faulty = true;
    }
}
