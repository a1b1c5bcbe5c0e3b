//! What surrounds a configuration file: environment variables and the files that secrets are kept in.

use std::io::{self, Read};
use std::path::Path;

/// Where secrets that do not stand in the file come from. Tests pass their own.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl<'a> Environment<'a> {
    /// An environment of two functions: the value of a variable, the text of a file.
    pub fn new(variable: &'a dyn Fn(&str) -> Option<String>, file: &'a dyn Fn(&Path) -> io::Result<String>) -> Self {
        Self { variable, file }
    }

    /// The value of a variable.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }

    /// The text of a file, white space around it removed.
    pub(crate) fn file(&self, path: &Path) -> io::Result<String> {
        (self.file)(path).map(|text| text.trim().to_owned())
    }
}

impl Environment<'static> {
    /// The process's own variables and the real files.
    pub fn process() -> Self {
        // A variable that is not UTF-8 is refused for its replacement characters, not taken for one that is not set.
        #[expect(clippy::disallowed_methods, reason = "the one place where secrets come from the environment")]
        let variable = &|name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self { variable, file: &|path| read_bounded(path, LONGEST_SECRET) }
    }

    /// No variable is set and no file exists.
    pub fn empty() -> Self {
        Self { variable: &|_| None, file: &|_| Err(io::ErrorKind::NotFound.into()) }
    }
}

/// Reads a text file of at most `most` octets.
///
/// # Errors
/// What the system says, or [`io::ErrorKind::InvalidData`] for a longer file or one that is not UTF-8.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<String> {
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {most} octets")));
    }
    String::from_utf8(octets).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

/// The longest file that a secret is read from, octets.
const LONGEST_SECRET: u64 = 65_536;
