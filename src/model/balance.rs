//! How requests are spread over the endpoints of a service.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Chooses an endpoint for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The cheaper of two drawn at random; cost is the recent latency times the requests under way.
    #[default]
    PeakEwma,
    /// The one of two drawn at random that has fewer requests under way.
    LeastRequest,
    /// One after the other, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The same one for the same key, as long as it serves.
    Hash(HashKey),
}

/// What requests that belong together have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The client's address.
    Address,
    /// A header, by its name in lower case.
    Header(Arc<str>),
    /// A cookie, by its name.
    Cookie(Arc<str>),
}

/// Why a text names no algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no way of balancing that is known")]
pub struct UnknownAlgorithm;

/// The words for people.
pub const ALGORITHMS: &str =
    "`peak_ewma`, `least_request`, `round_robin`, `random`, `hash:address`, `hash:header:NAME` or `hash:cookie:NAME`";

impl Algorithm {
    /// Reads a name. HAProxy's words for the same mean the same (`roundrobin`, `leastconn`, `source`, `hdr(NAME)`).
    ///
    /// # Errors
    /// There is no such algorithm, or no key after `hash:`.
    pub fn parse(text: &str) -> Result<Self, UnknownAlgorithm> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "peak_ewma" => return Ok(Self::PeakEwma),
            "least_request" | "leastconn" => return Ok(Self::LeastRequest),
            "round_robin" | "roundrobin" | "static-rr" => return Ok(Self::RoundRobin),
            "random" => return Ok(Self::Random),
            "hash:address" | "source" => return Ok(Self::Hash(HashKey::Address)),
            _ => {}
        }
        let header = lower.strip_prefix("hash:header:");
        let header = header.or_else(|| lower.strip_prefix("hdr(").and_then(|rest| rest.strip_suffix(')')));
        if let Some(name) = header.filter(|name| is_token(name)) {
            return Ok(Self::Hash(HashKey::Header(name.into())));
        }
        let cookie = lower.starts_with("hash:cookie:").then(|| &text["hash:cookie:".len()..]);
        match cookie.filter(|name| is_token(name)) {
            Some(name) => Ok(Self::Hash(HashKey::Cookie(name.into()))),
            None => Err(UnknownAlgorithm),
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(is_tchar)
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeakEwma => f.write_str("peak_ewma"),
            Self::LeastRequest => f.write_str("least_request"),
            Self::RoundRobin => f.write_str("round_robin"),
            Self::Random => f.write_str("random"),
            Self::Hash(HashKey::Address) => f.write_str("hash:address"),
            Self::Hash(HashKey::Header(name)) => write!(f, "hash:header:{name}"),
            Self::Hash(HashKey::Cookie(name)) => write!(f, "hash:cookie:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for text in [
            "peak_ewma",
            "least_request",
            "round_robin",
            "random",
            "hash:address",
            "hash:header:x-user",
            "hash:cookie:Session",
        ] {
            assert_eq!(Algorithm::parse(text).map(|known| known.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Algorithm::parse("hdr(X-User)"), Algorithm::parse("hash:header:x-user"));
        assert_eq!(Algorithm::parse("leastconn"), Ok(Algorithm::LeastRequest));
        for text in ["", "hash", "hash:header:", "hash:header:a b", "hdr()", "fastest"] {
            assert_eq!(Algorithm::parse(text), Err(UnknownAlgorithm), "{text}");
        }
    }
}
