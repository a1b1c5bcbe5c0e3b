//! Path prefixes of routes, and paths of requests that we send ourselves (health checks, scrapes).

use std::sync::{Arc, LazyLock};

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It is relative.
    #[error("it does not begin with `/`")]
    Relative,
    /// It has a query or a fragment.
    #[error("it has a query or a fragment")]
    Query,
    /// It has two slashes in a row.
    #[error("it has an empty segment (`//`)")]
    EmptySegment,
    /// It has `.` or `..`, perhaps percent-encoded.
    #[error("it has a `.` or `..` segment")]
    DotSegment,
    /// A `%` without two hexadecimal digits.
    #[error("a `%` is not followed by two hexadecimal digits")]
    Escape,
    /// A pattern; prefixes need none.
    #[error("it has a `*`, and prefixes are no patterns")]
    Pattern,
    /// A character that cannot be in a path.
    #[error("the character {0:?} cannot be in a path")]
    Character(char),
    /// Longer than [`MAX_PATH`].
    #[error("it is longer than {MAX_PATH} bytes")]
    TooLong,
}

/// The longest path accepted.
pub const MAX_PATH: usize = 1024;

impl InvalidPath {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Relative => "begin the path with `/`",
            Self::Query => "leave out what follows `?` or `#`; routes choose by path alone",
            Self::EmptySegment => "write one `/` between segments",
            Self::DotSegment => "write the path without `.` and `..`",
            Self::Escape => "write `%25` for a percent sign",
            Self::Pattern => "leave out the `*`: `/api` already stands for everything below it",
            Self::Character(_) => "percent-encode the character",
            Self::TooLong => "write a shorter path",
        }
    }
}

/// Reads a path prefix: begins with `/`, no trailing slash but for the root itself.
///
/// # Errors
/// What is wrong with the text.
pub fn prefix(text: &str) -> Result<Arc<str>, InvalidPath> {
    if text.contains(['?', '#']) {
        return Err(InvalidPath::Query);
    }
    if text.contains('*') {
        return Err(InvalidPath::Pattern);
    }
    characters(text)?;
    let path = text.strip_suffix('/').unwrap_or(text);
    for segment in path.split('/').skip(1) {
        if segment.is_empty() {
            return Err(InvalidPath::EmptySegment);
        }
        if is_dots(segment) {
            return Err(InvalidPath::DotSegment);
        }
    }
    Ok(if path.is_empty() { root() } else { path.into() })
}

/// The path of all requests: one copy for all tasks.
pub(super) fn root() -> Arc<str> {
    static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| "/".into());
    ROOT.clone()
}

/// Reads the target of a request that is ours: a path, perhaps with a query, kept as written.
///
/// # Errors
/// What is wrong with the text.
pub fn target(text: &str) -> Result<Arc<str>, InvalidPath> {
    if text.contains('#') {
        return Err(InvalidPath::Query);
    }
    characters(text)?;
    Ok(text.into())
}

/// RFC 3986 section 3.3: unreserved characters, sub-delimiters, `:`, `@` and percent-escapes make a segment.
fn characters(text: &str) -> Result<(), InvalidPath> {
    if text.len() > MAX_PATH {
        return Err(InvalidPath::TooLong);
    }
    if !text.starts_with('/') {
        return Err(InvalidPath::Relative);
    }
    let bytes = text.as_bytes();
    for (at, character) in text.char_indices() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' => {}
            '/' | '-' | '.' | '_' | '~' | '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | ';' | '=' | ':'
            | '@' | '?' => {}
            '%' if bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => {}
            '%' => return Err(InvalidPath::Escape),
            other => return Err(InvalidPath::Character(other)),
        }
    }
    Ok(())
}

fn is_dots(segment: &str) -> bool {
    // Servers decode `%2e` before they resolve dot segments, so it must not hide one.
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    plain == "." || plain == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, InvalidPath>) {
        assert_eq!(prefix(text), expected.map(Arc::from), "{text}");
    }

    #[test]
    fn prefixes() {
        check("/", Ok("/"));
        check("/api", Ok("/api"));
        check("/api/", Ok("/api"));
        check("/a%20b/c;v=1", Ok("/a%20b/c;v=1"));
        check("", Err(InvalidPath::Relative));
        check("api", Err(InvalidPath::Relative));
        check("//", Err(InvalidPath::EmptySegment));
        check("/a//b", Err(InvalidPath::EmptySegment));
        check("/a/../b", Err(InvalidPath::DotSegment));
        check("/a/%2E%2e", Err(InvalidPath::DotSegment));
        check("/...", Ok("/..."));
        check("/a?b", Err(InvalidPath::Query));
        check("/a#b", Err(InvalidPath::Query));
        check("/api/*", Err(InvalidPath::Pattern));
        check("/%", Err(InvalidPath::Escape));
        check("/%zz", Err(InvalidPath::Escape));
        check("/%2", Err(InvalidPath::Escape));
        check("/%é", Err(InvalidPath::Escape));
        check("/é", Err(InvalidPath::Character('é')));
        check("/a b", Err(InvalidPath::Character(' ')));
        check(&format!("/{}", "a".repeat(MAX_PATH)), Err(InvalidPath::TooLong));
    }

    #[test]
    fn targets_keep_their_form() {
        assert_eq!(target("/health/?deep=1"), Ok("/health/?deep=1".into()));
        assert_eq!(target("health"), Err(InvalidPath::Relative));
        assert_eq!(target("/a b"), Err(InvalidPath::Character(' ')));
    }
}
