//! The one normal form of a path: what routes are matched by is what is forwarded.
//!
//! Pure. Two readers of one path must not come to two meanings, so before a route is looked up
//! - percent-encoded unreserved characters are decoded, other encodings get upper-case digits (RFC 3986 section 6.2.2);
//! - dot segments are removed (RFC 3986 section 5.2.4), and empty ones are merged (`//` is `/`) unless the policy keeps them;
//! - `%2F` and `%5C` stay encoded and are no separators, unless the policy refuses them; a path that has dot segments once
//!   they are decoded is refused, and so are `%00`, a raw backslash, and a `%` without two hexadecimal digits.
//!
//! The query is not touched.

use std::borrow::Cow;

use crate::config::checked::PathPolicy;

/// Every policy, the usual one first.
pub const POLICIES: [PathPolicy; 4] = [
    PathPolicy { merge_slashes: true, refuse_encoded_slashes: false },
    PathPolicy { merge_slashes: false, refuse_encoded_slashes: false },
    PathPolicy { merge_slashes: true, refuse_encoded_slashes: true },
    PathPolicy { merge_slashes: false, refuse_encoded_slashes: true },
];

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It does not begin with `/`.
    #[error("it does not begin with a slash")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Encoding,
    /// `%00`.
    #[error("it holds an encoded NUL")]
    Nul,
    /// A raw backslash.
    #[error("it holds a backslash")]
    Backslash,
    /// A dot segment that shows when `%2F` or `%5C` is decoded.
    #[error("a dot segment is hidden behind an encoded slash")]
    HiddenDots,
    /// `%2F` or `%5C` where the policy wants none.
    #[error("it holds an encoded slash or backslash, which `proxy.paths.refuse_encoded_slashes` refuses")]
    EncodedSlash,
    /// A control, a space or a character beyond ASCII.
    #[error("it holds a character that must be encoded")]
    Character,
}

/// The normal form of `path` (without query).
///
/// # Errors
/// Why the path is refused.
pub fn normalise_path(path: &str, policy: PathPolicy) -> Result<Cow<'_, str>, InvalidPath> {
    if !path.starts_with('/') {
        return Err(InvalidPath::NotAbsolute);
    }
    if is_normal(path.as_bytes(), policy) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes())?;
    let normal = remove_dots(&decoded, policy);
    let has_slashes = normal.contains("%2F") || normal.contains("%5C");
    if has_slashes && policy.refuse_encoded_slashes {
        return Err(InvalidPath::EncodedSlash);
    }
    if has_slashes && has_hidden_dots(&normal) {
        return Err(InvalidPath::HiddenDots);
    }
    Ok(Cow::Owned(normal))
}

/// Whether there is nothing to do: the common case, in one pass.
fn is_normal(path: &[u8], policy: PathPolicy) -> bool {
    let mut former = 0;
    for &byte in path {
        let plain = matches!(byte, b'!' | b'$' | b'&'..=b'>' | b'@'..=b'[' | b']'..=b'~');
        let is_suspect = former == b'/' && (byte == b'.' || (byte == b'/' && policy.merge_slashes));
        if !plain || is_suspect {
            return false;
        }
        former = byte;
    }
    true
}

fn decode(path: &[u8]) -> Result<String, InvalidPath> {
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let digits = path.get(at..at + 2).ok_or(InvalidPath::Encoding)?;
                push_encoded(&mut out, digits)?;
                at += 2;
            }
            b'\\' => return Err(InvalidPath::Backslash),
            // RFC 3986 section 2: whatever is no URI character must be encoded; `#` would begin a fragment.
            b'#' | b'?' | 0..=b' ' | 0x7f.. => return Err(InvalidPath::Character),
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

fn push_encoded(out: &mut String, digits: &[u8]) -> Result<(), InvalidPath> {
    let value = match (hex(digits[0]), hex(digits[1])) {
        (Some(high), Some(low)) => high << 4 | low,
        _ => return Err(InvalidPath::Encoding),
    };
    match value {
        0 => return Err(InvalidPath::Nul),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
        _ => {
            out.push('%');
            out.extend(digits.iter().map(|digit| char::from(digit.to_ascii_uppercase())));
        }
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 section 5.2.4, with empty segments merged or kept. Above the root is the root.
fn remove_dots(path: &str, policy: PathPolicy) -> String {
    let is_merged = |segment: &str| segment.is_empty() && policy.merge_slashes;
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            segment if is_merged(segment) => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    // A directory stays one: `/a/`, `/a/.` and `/a/b/..` end in a slash.
    let last = path.rsplit('/').next().unwrap_or_default();
    if out.is_empty() || matches!(last, "." | "..") || is_merged(last) {
        out.push('/');
    }
    out
}

fn has_hidden_dots(path: &str) -> bool {
    path.replace("%2F", "/").replace("%5C", "/").split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(path: &str, expected: Result<&str, InvalidPath>) {
        check_by(PathPolicy::default(), path, expected);
    }

    fn check_by(policy: PathPolicy, path: &str, expected: Result<&str, InvalidPath>) {
        assert_eq!(normalise_path(path, policy).as_deref(), expected.as_ref().copied(), "{path:?} {policy:?}");
    }

    #[test]
    fn empty_segments_are_kept_where_the_policy_says_so() {
        let policy = POLICIES[1];
        check_by(policy, "/a//b", Ok("/a//b"));
        check_by(policy, "//", Ok("//"));
        check_by(policy, "/a//", Ok("/a//"));
        check_by(policy, "//a/./b//%2e", Ok("//a/b//"));
        check_by(policy, "/a//../b", Ok("/a/b"));
        check_by(policy, "/a//..", Ok("/a/"));
        check_by(policy, "/..//a", Ok("//a"));
        check_by(policy, "/..", Ok("/"));
        check_by(policy, "/a%2fb", Ok("/a%2Fb"));
    }

    #[test]
    fn encoded_slashes_are_refused_where_the_policy_says_so() {
        let policy = POLICIES[2];
        check_by(policy, "/a%2fb", Err(InvalidPath::EncodedSlash));
        check_by(policy, "/a%5Cb", Err(InvalidPath::EncodedSlash));
        check_by(policy, "/a%2f../b", Err(InvalidPath::EncodedSlash));
        check_by(policy, "/a%252fb", Ok("/a%252fb"));
        check_by(policy, "/a//%20b", Ok("/a/%20b"));
    }

    #[test]
    fn normal_forms() {
        check("/", Ok("/"));
        check("/a/b.c/~d", Ok("/a/b.c/~d"));
        check("/a//b", Ok("/a/b"));
        check("//", Ok("/"));
        check("/a/", Ok("/a/"));
        check("/a/./b", Ok("/a/b"));
        check("/a/../b", Ok("/b"));
        check("/a/b/..", Ok("/a/"));
        check("/a/.", Ok("/a/"));
        check("/../../a", Ok("/a"));
        check("/..", Ok("/"));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/%61dmin", Ok("/admin"));
        check("/a%2fb", Ok("/a%2Fb"));
        check("/a%20b%3a", Ok("/a%20b%3A"));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/...", Ok("/..."));
        check("/a%252e", Ok("/a%252e"));
    }

    #[test]
    fn refusals() {
        check("", Err(InvalidPath::NotAbsolute));
        check("*", Err(InvalidPath::NotAbsolute));
        check("a/b", Err(InvalidPath::NotAbsolute));
        check("/%", Err(InvalidPath::Encoding));
        check("/%2", Err(InvalidPath::Encoding));
        check("/%zz", Err(InvalidPath::Encoding));
        check("/a%00", Err(InvalidPath::Nul));
        check("/a\\b", Err(InvalidPath::Backslash));
        check("/a%2f../b", Err(InvalidPath::HiddenDots));
        check("/a/..%2fb", Err(InvalidPath::HiddenDots));
        check("/a%5c..%5cb", Err(InvalidPath::HiddenDots));
        check("/a b", Err(InvalidPath::Character));
        check("/a#b", Err(InvalidPath::Character));
        check("/ä", Err(InvalidPath::Character));
        check("/a\u{7f}", Err(InvalidPath::Character));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(path in "/[a-c%./\\\\2eEfF5cC~]{0,24}") {
            for policy in POLICIES {
                let Ok(normal) = normalise_path(&path, policy) else { continue };
                prop_assert_eq!(normalise_path(&normal, policy).map(Cow::into_owned), Ok(normal.clone().into_owned()));
                prop_assert!(normal.starts_with('/') && !(policy.merge_slashes && normal.contains("//")));
                prop_assert!(!(policy.refuse_encoded_slashes && (normal.contains("%2F") || normal.contains("%5C"))));
                let dots = normal.split('/').any(|segment| matches!(segment, "." | ".."));
                prop_assert!(!dots, "{}", normal);
            }
        }

        #[test]
        fn any_text_is_answered(path in "\\PC{0,40}") {
            for policy in POLICIES {
                let _ = normalise_path(&path, policy);
            }
        }
    }
}
