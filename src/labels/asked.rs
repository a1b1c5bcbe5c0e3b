//! Values that say what a route asks of a request beside host and path prefix.
//!
//! What was meant to narrow a route and cannot be understood must not widen it: the reader of each value says so, and
//! the route is left out.

use std::sync::Arc;

use super::path;
use super::value::{Fault, shorten};
use crate::model::pattern::{InvalidPattern, Pattern};
use crate::model::refinement::{Condition, Part, Test};

/// The most conditions of one label.
const MAX_CONDITIONS: usize = 16;
/// The most methods of one label.
const MAX_METHODS: usize = 16;

/// Header fields that say something else of a request than its service is told: they are of one hop, or claimed by
/// whoever sends it.
const OTHERS: &[&str] = &[
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "via",
    "x-real-ip",
];

pub(super) fn pattern(text: &str) -> Result<Pattern, Fault> {
    Pattern::parse(text).map_err(|error| pattern_fault(&error))
}

pub(super) fn pattern_fault(error: &InvalidPattern) -> Fault {
    Fault::new(error.to_string(), error.mend())
}

/// A path that is meant by itself: as a prefix, but a final slash counts.
pub(super) fn exact_path(text: &str) -> Result<Arc<str>, Fault> {
    let prefix = path::prefix(text).map_err(|error| Fault::new(error.to_string(), error.mend()))?;
    if text.len() > prefix.len() { Ok(format!("{prefix}/").into()) } else { Ok(prefix) }
}

/// Methods (RFC 9110 section 9.1: tokens, whose capitals matter).
pub(super) fn methods(text: &str) -> Result<Box<[Arc<str>]>, Fault> {
    let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let mut out: Vec<Arc<str>> = Vec::new();
    for word in words {
        if !is_token(word) || word.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let wrong = format!("{:?} is no method", shorten(word, 32));
            return Err(Fault::new(wrong, "write methods in capitals, separated by commas: `GET, HEAD`"));
        }
        if word == "CONNECT" || word == "TRACE" {
            return Err(Fault::new(format!("{word} is never forwarded"), "leave it out"));
        }
        if !out.iter().any(|known| **known == *word) {
            out.push(word.into());
        }
    }
    match out.len() {
        0 => Err(Fault::new("it lists no method", "write at least one, or leave the label out")),
        1..=MAX_METHODS => Ok(out.into()),
        _ => Err(Fault::new(format!("it lists more than {MAX_METHODS} methods"), "leave the label out")),
    }
}

/// Conditions, separated by `;`: `name` is there, `name=value`, `name=~expression`.
pub(super) fn conditions(part: Part, text: &str) -> Result<Box<[Condition]>, Fault> {
    let words = text.split(';').map(str::trim).filter(|word| !word.is_empty());
    let read: Result<Vec<Condition>, Fault> =
        words.take(MAX_CONDITIONS + 1).map(|word| condition(part, word)).collect();
    let mut out = read?;
    match out.len() {
        0 => Err(Fault::new("it asks for nothing", "write `name=value`, or leave the label out")),
        1..=MAX_CONDITIONS => {
            out.sort();
            out.dedup();
            Ok(out.into())
        }
        _ => Err(Fault::new(format!("it has more than {MAX_CONDITIONS} conditions"), "ask for less")),
    }
}

fn condition(part: Part, text: &str) -> Result<Condition, Fault> {
    let (name, test) = match text.split_once('=') {
        None => (text, Test::Present),
        Some((name, value)) => match value.strip_prefix('~') {
            Some(expression) => (name, Test::Matches(pattern(expression.trim())?)),
            None => (name, Test::Equals(value.trim().into())),
        },
    };
    Ok(Condition { part, name: name_of(part, name.trim())?, test })
}

fn name_of(part: Part, name: &str) -> Result<Arc<str>, Fault> {
    let shown = || shorten(name, 64);
    let good = match part {
        // RFC 9110 section 5.1, and RFC 6265 section 4.1.1: tokens.
        Part::Header | Part::Cookie => is_token(name),
        Part::Query => !name.is_empty() && !name.chars().any(char::is_control),
    };
    if !good {
        let mend = "write `name`, `name=value` or `name=~expression`, several separated by `;`";
        return Err(Fault::new(format!("{:?} is no name of a header, parameter or cookie", shown()), mend));
    }
    if part != Part::Header {
        return Ok(name.into());
    }
    let lower = name.to_ascii_lowercase();
    if OTHERS.contains(&&*lower) || lower.starts_with("x-forwarded-") {
        let wrong = format!("the header {:?} is one hop's, or whatever a client claims", shown());
        return Err(Fault::new(wrong, "choose by host, by `allow`, or by a header of your own"));
    }
    Ok(lower.into())
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(part: Part, text: &str, expected: Option<&[&str]>) {
        let shown = conditions(part, text).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            shown.as_ref().ok().map(Vec::as_slice).map(|all| all.join("; ")),
            expected.map(|all| all.join("; ")),
            "{text} {shown:?}"
        );
    }

    #[test]
    fn conditions_are_read() {
        check(Part::Header, "X-V=2; X-Beta", Some(&["header x-beta", "header x-v=2"]));
        check(Part::Header, "User-Agent=~.*Mobile.*", Some(&["header user-agent=~.*Mobile.*"]));
        check(Part::Header, "X-V=a=b", Some(&["header x-v=a=b"]));
        check(Part::Header, "X-V=", Some(&["header x-v="]));
        check(Part::Query, "Debug=1;;", Some(&["query Debug=1"]));
        check(Part::Cookie, "canary=yes", Some(&["cookie canary=yes"]));
        for wrong in ["", ";", "=1", "x y=1", "X-V=~(", "Host=a", "X-Forwarded-For=1.2.3.4", "Connection=close"] {
            check(Part::Header, wrong, None);
        }
        check(Part::Header, &"x=1;".repeat(17), None);
    }

    #[test]
    fn methods_are_read() {
        assert_eq!(methods("GET, HEAD GET").unwrap().join(" "), "GET HEAD");
        for wrong in ["", ",", "get", "G@T", "TRACE", "CONNECT"] {
            assert!(methods(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exact_paths_keep_their_final_slash() {
        let read = |text| exact_path(text).ok();
        assert_eq!(read("/a").as_deref(), Some("/a"));
        assert_eq!(read("/a/").as_deref(), Some("/a/"));
        assert_eq!(read("/").as_deref(), Some("/"));
        assert_eq!(read("a"), None);
        assert_eq!(read("/a/../b"), None);
    }
}
