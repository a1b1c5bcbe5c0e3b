//! A file that lines are appended to, and that may be renamed at any time: a new one is begun then.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is looked whether the file is still there.
const LOOK: Duration = Duration::from_secs(1);

/// A file of lines. `/dev/stdout` and `/dev/stderr` are the program's own, whatever they are (a socket of the service
/// manager cannot be opened by name).
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    /// What it is, for a complaint.
    what: &'static str,
    open: Open,
    looked: Option<Instant>,
    is_faulty: bool,
}

#[derive(Debug)]
enum Open {
    Stdout,
    Stderr,
    /// `None`: it could not be opened, or not yet.
    File(Option<File>),
}

impl LineFile {
    /// A file that is opened at the first look; `what` it holds, for a complaint.
    pub fn new(path: PathBuf, what: &'static str) -> Self {
        let open = match path.as_path() {
            path if path == Path::new("/dev/stdout") => Open::Stdout,
            path if path == Path::new("/dev/stderr") => Open::Stderr,
            _ => Open::File(None),
        };
        Self { path, what, open, looked: None, is_faulty: false }
    }

    /// Opens the file, or another one if it was renamed or removed (log rotation).
    pub fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let Open::File(file) = &mut self.open else { return };
        let is_there = file.as_ref().is_some_and(|file| is_at(file, &self.path).unwrap_or(false));
        if is_there {
            return;
        }
        match OpenOptions::new().create(true).append(true).open(&self.path) {
            Ok(opened) => (*file, self.is_faulty) = (Some(opened), false),
            Err(error) => self.complain(&error),
        }
    }

    /// Appends lines; whether they are in the file.
    pub fn write(&mut self, lines: &[u8]) -> bool {
        let written = match &mut self.open {
            Open::Stdout => io::stdout().lock().write_all(lines).and_then(|()| io::stdout().lock().flush()),
            Open::Stderr => io::stderr().lock().write_all(lines),
            Open::File(Some(file)) => file.write_all(lines),
            Open::File(None) => return false,
        };
        if let Err(error) = &written {
            self.complain(error);
        }
        written.is_ok()
    }

    /// Once, until it works again.
    fn complain(&mut self, error: &io::Error) {
        if !self.is_faulty {
            tracing::warn!(path = %self.path.display(), %error, "{} cannot be written", self.what);
        }
        self.is_faulty = true;
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, there) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}
