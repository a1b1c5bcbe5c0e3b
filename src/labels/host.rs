//! Host names that routes claim.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::pattern::{InvalidPattern, Pattern};

/// A host that a route answers for: a name, or every name one or more labels below it (`*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HostPattern {
    /// Exactly this name, lower case, without a port and without the final dot.
    Exact(Arc<str>),
    /// Every name below this one (the text after `*.`).
    Wildcard(Arc<str>),
    /// Every host (`*`).
    Any,
    /// Every host that the expression stands for. At the end: stored states know the others by their place.
    Pattern(Pattern),
}

/// Why a text is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Longer than a DNS name can be.
    #[error("it is longer than 253 characters")]
    TooLong,
    /// A label is empty, too long, or begins or ends with a hyphen.
    #[error("the label {0:?} is empty, longer than 63 characters, or begins or ends with a hyphen")]
    Label(String),
    /// A character that host names cannot have.
    #[error("the character {0:?} cannot be in a host name")]
    Character(char),
    /// No expression that can be used.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// A capital in an expression: hosts are compared in lower case, so that it would stand for none.
    #[error("the capital {0:?} stands for no host, because hosts are compared in lower case")]
    Capital(char),
}

impl HostPattern {
    /// Reads a host or a wildcard; upper case is folded, a final dot dropped.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(base) => Ok(Self::Wildcard(host_name(base)?)),
            None => Ok(Self::Exact(host_name(text)?)),
        }
    }

    /// Reads a regular expression that stands for whole hosts, in lower case.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn expression(text: &str) -> Result<Self, InvalidHost> {
        let mut quoted = false;
        for character in text.chars() {
            // `\D` and its like are no capitals of a host.
            if character.is_ascii_uppercase() && !quoted {
                return Err(InvalidHost::Capital(character));
            }
            quoted = character == '\\' && !quoted;
        }
        Ok(Self::Pattern(Pattern::parse(text)?))
    }

    /// Whether the pattern answers for `host` (lower case, without port and final dot).
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(base) => {
                host.strip_suffix(&**base).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Any => true,
            Self::Pattern(pattern) => pattern.matches(host.as_bytes()),
        }
    }

    /// Whether every host of `other` is one of this pattern's.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            // Which hosts an expression stands for is not found out: only who may claim every host may claim by one.
            (Self::Pattern(_), _) | (_, Self::Pattern(_)) => false,
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Wildcard(base), Self::Wildcard(narrower)) => base == narrower || self.matches(narrower),
            (Self::Exact(_), Self::Wildcard(_)) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(base) => write!(f, "*.{base}"),
            Self::Any => f.write_str("*"),
            Self::Pattern(pattern) => write!(f, "~{pattern}"),
        }
    }
}

fn host_name(text: &str) -> Result<Arc<str>, InvalidHost> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(InvalidHost::Empty);
    }
    if text.len() > 253 {
        return Err(InvalidHost::TooLong);
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))) {
        return Err(InvalidHost::Character(bad));
    }
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return Err(InvalidHost::Label(label.to_owned()));
        }
    }
    Ok(text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, host: &str, expected: bool) {
        assert_eq!(HostPattern::parse(pattern).unwrap().matches(host), expected, "{pattern} {host}");
    }

    #[test]
    fn matching() {
        check("Example.com.", "example.com", true);
        check("example.com", "a.example.com", false);
        check("*.example.com", "a.example.com", true);
        check("*.example.com", "a.b.example.com", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", ".example.com", false);
        check("*.example.com", "aexample.com", false);
        check("*", "anything", true);
    }

    #[test]
    fn refusals() {
        assert_eq!(HostPattern::parse(""), Err(InvalidHost::Empty));
        assert_eq!(HostPattern::parse("a..b"), Err(InvalidHost::Label(String::new())));
        assert_eq!(HostPattern::parse("a b"), Err(InvalidHost::Character(' ')));
        assert_eq!(HostPattern::parse("-a"), Err(InvalidHost::Label("-a".into())));
        assert!(HostPattern::parse("a.*.b").is_err());
    }

    #[test]
    fn expressions() {
        let shop = HostPattern::expression(r"shop-\d+\.example\.com").unwrap();
        assert!(shop.matches("shop-12.example.com") && !shop.matches("a.shop-12.example.com"));
        assert!(!shop.matches("shop-12xexample.com"));
        assert_eq!(shop.to_string(), r"~shop-\d+\.example\.com");
        assert_eq!(HostPattern::expression("Shop"), Err(InvalidHost::Capital('S')));
        assert!(HostPattern::expression(r"\D+").is_ok() && HostPattern::expression("(").is_err());
        let exact = HostPattern::parse("shop-1.example.com").unwrap();
        assert!(HostPattern::Any.covers(&shop) && !shop.covers(&exact) && !exact.covers(&shop));
    }
}
