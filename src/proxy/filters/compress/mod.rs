//! Answers that are compressed on their way: whether, by which coding, and what their head says then.
//!
//! Whoever can put guesses of a secret into an answer beside the secret, and see the answer's length, finds the secret
//! out (BREACH, CVE-2013-3587): so only what a filter names is compressed.

pub mod body;
pub mod encoder;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderName, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode, response};

use crate::config::filter::{Coding, CompressConfig};
use crate::proxy::headers::has_token;

/// Digests are of the octets that the endpoint sent (RFC 9530).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// The coding that the client likes best of those offered, of equals the one offered first (RFC 9110 section 12.5.3);
/// `None`: none at all.
pub fn negotiate(offered: &[Coding], headers: &HeaderMap) -> Option<Coding> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let said: Vec<(&str, u16)> = values.flat_map(|value| value.split(',')).filter_map(entry).collect();
    let weight = |names: &[&str]| {
        let named = said.iter().find(|(name, _)| names.iter().any(|known| name.eq_ignore_ascii_case(known)));
        named.map(|(_, weight)| *weight)
    };
    let others = weight(&["*"]).unwrap_or(0);
    let of = |coding: &Coding| weight(coding.names()).unwrap_or(others);
    // Of equals the first: `max_by_key` gives the last.
    let best = offered.iter().rev().max_by_key(|coding| of(coding)).filter(|coding| of(coding) > 0)?;
    let plain = weight(&["identity"]).unwrap_or(0);
    (plain <= of(best)).then_some(*best)
}

/// A coding and its weight in thousandths.
fn entry(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    // What is neither a number nor between 0 and 1 is no wish for the coding.
    Some((name, weight.map_or(Some(1000), thousandths)?))
}

/// RFC 9110 section 12.4.2: 0 to 1, with three digits behind the point at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if !matches!(whole, "0" | "1") || part.len() > 3 || !is_digits(part) {
        return None;
    }
    let value = format!("{whole}{part:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

/// Makes the head of an answer that may be compressed say that it varies, and that it is compressed where it is.
pub fn mark(coding: Option<Coding>, headers: &mut HeaderMap) {
    if !has_token(headers, &VARY, "accept-encoding") && !has_token(headers, &VARY, "*") {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let Some(coding) = coding else { return };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    DIGESTS.iter().for_each(|name| drop(headers.remove(name)));
    weaken(headers);
}

/// Whether an answer with this head is compressed where its client likes that.
pub fn is_eligible(config: &CompressConfig, head: &response::Parts) -> bool {
    let headers = &head.headers;
    let has_content = !head.status.is_informational()
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
    has_content
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        // RFC 9111 section 5.2.2.6.
        && !has_token(headers, &CACHE_CONTROL, "no-transform")
        && is_long_enough(config, headers)
        && is_of_type(config, headers)
}

fn is_long_enough(config: &CompressConfig, headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length >= config.min_size as u64)
}

fn is_of_type(config: &CompressConfig, headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    config.types.iter().any(|pattern| matches(pattern, &kind))
}

/// `*` stands at the pattern's beginning or end, if at all.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), None) => text.ends_with(end),
        (None, Some(begin)) => text.starts_with(begin),
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (None, None) => pattern == text,
    }
}

/// RFC 9110 section 8.8.1: the octets are others, what they mean is the same.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else { return };
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) => drop(headers.insert(ETAG, weak)),
        Err(_) => drop(headers.remove(ETAG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    #[test]
    fn codings_rfc9110_12_5_3() {
        let check = |values: &[&str], expected: Option<Coding>| {
            let headers = values.iter().map(|value| (ACCEPT_ENCODING, value.parse().unwrap())).collect();
            assert_eq!(negotiate(&ALL, &headers), expected, "{values:?}");
        };
        check(&[], None);
        check(&[""], None);
        check(&["gzip, deflate, br, zstd"], Some(Coding::Zstd));
        check(&["gzip;q=1.0, br;q=0.9", "zstd;q=0.1"], Some(Coding::Gzip));
        check(&["X-GZIP"], Some(Coding::Gzip));
        check(&["*"], Some(Coding::Zstd));
        check(&["*;q=0.5, zstd;q=0"], Some(Coding::Brotli));
        check(&["gzip;q=0"], None);
        check(&["br;q=0.001"], Some(Coding::Brotli));
        check(&["identity;q=1, gzip;q=0.5"], None);
        check(&["identity;q=0.5, gzip;q=0.5"], Some(Coding::Gzip));
        check(&["gzip;q=two, br;q=7, deflate"], None);
        check(&["gzip ; q=0.2 , br; Q=0.1"], Some(Coding::Gzip));
    }

    fn head(status: u16, lines: &[(&'static str, &str)]) -> response::Parts {
        let mut answer = http::Response::builder().status(status);
        for (name, value) in lines {
            answer = answer.header(*name, *value);
        }
        answer.body(()).unwrap().into_parts().0
    }

    fn prepared(status: u16, lines: &[(&'static str, &str)]) -> (Option<Coding>, HeaderMap) {
        let mut head = head(status, lines);
        let config = CompressConfig { codings: ALL.to_vec(), min_size: 100, ..CompressConfig::default() };
        let coding = is_eligible(&config, &head).then_some(Coding::Brotli);
        if coding.is_some() {
            mark(coding, &mut head.headers);
        }
        (coding, head.headers)
    }

    const HTML: (&str, &str) = ("content-type", "Text/HTML; charset=utf-8");

    #[test]
    fn what_is_compressed_says_so() {
        let lines =
            [HTML, ("content-length", "100"), ("etag", "\"a\""), ("accept-ranges", "bytes"), ("vary", "Cookie")];
        let (coding, headers) = prepared(200, &lines);
        assert_eq!(coding, Some(Coding::Brotli));
        assert_eq!(
            (&headers["content-encoding"], &headers["etag"]),
            (&"br".parse().unwrap(), &"W/\"a\"".parse().unwrap())
        );
        assert!(!headers.contains_key("content-length") && !headers.contains_key("accept-ranges"));
        let vary: Vec<_> = headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(vary, ["Cookie", "Accept-Encoding"]);
        for kind in ["application/json", "application/ld+json", "image/svg+xml", "application/xml"] {
            assert!(prepared(404, &[("content-type", kind)]).0.is_some(), "{kind}");
        }
        assert_eq!(prepared(200, &[HTML, ("etag", "W/\"a\"")]).1["etag"], "W/\"a\"");
    }

    #[test]
    fn what_is_not_compressed_is_left_alone() {
        for (status, lines) in [
            (200, &[HTML, ("content-length", "99")][..]),
            (200, &[HTML, ("content-encoding", "gzip")]),
            (200, &[HTML, ("cache-control", "public, No-Transform")]),
            (206, &[HTML, ("content-range", "bytes 0-9/10")]),
            (204, &[HTML]),
            (304, &[HTML]),
            (200, &[("content-type", "image/png")]),
            (200, &[("content-type", "application/grpc")]),
            (200, &[]),
        ] {
            let (coding, headers) = prepared(status, lines);
            assert_eq!((coding, headers.contains_key("vary")), (None, false), "{status} {lines:?}");
        }
    }

    #[test]
    fn what_might_be_compressed_says_that_it_varies() {
        let mut head = head(200, &[HTML]);
        mark(None, &mut head.headers);
        assert_eq!((head.headers["vary"].as_bytes(), head.headers.len()), (&b"Accept-Encoding"[..], 2));
    }
}
