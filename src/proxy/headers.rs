//! Header rules of a gateway: what belongs to one hop is removed, what names the path taken is added.
//!
//! Pure, over a `HeaderMap`. RFC 9110 section 7.6.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName,
    MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Version};

use super::forwarded::is_forwarding;
use crate::config::checked::Underscores;

/// The reason code of an answer that a proxy of ours gave by itself.
pub const REASON: HeaderName = HeaderName::from_static("x-pointsman-reason");
/// What a request lacked that had no route, by choice.
pub const MISS: HeaderName = HeaderName::from_static("x-pointsman-miss");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Became the environment variable `HTTP_PROXY` in CGI programs (CVE-2016-5385).
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Routes by the app's name.
const APP_ID: HeaderName = HeaderName::from_static("x-marathon-app-id");

/// Names that a trailer must not have: what frames, routes or authenticates, what is kept of a session, and what this
/// proxy says (RFC 9110 section 6.5.1).
const NO_TRAILERS: [HeaderName; 16] = [
    HOST,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    PROXY_AUTHENTICATE,
    WWW_AUTHENTICATE,
    COOKIE,
    SET_COOKIE,
    TRAILER,
    VIA,
    EXPECT,
    APP_ID,
    REASON,
    MISS,
];

/// Names that `Connection` cannot nominate away (CVE-2024-45410, CVE-2025-48865): they carry framing, identity or what
/// proxies say of the client.
const PROTECTED: [HeaderName; 8] =
    [HOST, VIA, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, AUTHORIZATION, COOKIE, TRAILER];

/// Makes a request's headers ready for the next hop, all but the forwarding headers.
pub fn prepare_request(headers: &mut HeaderMap, version: Version, via: &str, underscores: Underscores) {
    let trailers = accepts_trailers(headers);
    strip_hop_by_hop(headers);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(PROXY);
    // The server side of this proxy answers `100 Continue` when the endpoint begins to take the body.
    headers.remove(EXPECT);
    match underscores {
        Underscores::Aliases => remove_aliases(headers),
        // None is left of what is refused, but where nobody was asked.
        Underscores::Drop | Underscores::Refuse => remove_underscored(headers),
    }
    join_cookies(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    append_via(headers, version, via);
}

/// Makes an answer's headers ready for the client.
pub fn prepare_answer(headers: &mut HeaderMap, version: Version, via: &str) {
    strip_hop_by_hop(headers);
    append_via(headers, version, via);
}

/// Whether the sender takes trailers (RFC 9110 section 10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// Whether a comma-separated list of tokens has `wanted`.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// How many more proxies an OPTIONS may pass, where it says so (RFC 9110 section 7.6.2).
pub fn max_forwards(headers: &HeaderMap) -> Option<u32> {
    let digits = headers.get(MAX_FORWARDS)?.to_str().ok()?.trim();
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Counts this proxy among those an OPTIONS has passed.
pub fn pass_forward(headers: &mut HeaderMap) {
    if let Some(left) = max_forwards(headers) {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
}

/// How often a proxy called `via` stands in `Via`.
pub fn passes(headers: &HeaderMap, via: &str) -> u32 {
    let entries = tokens(headers, &VIA).filter(|entry| entry.split_ascii_whitespace().nth(1) == Some(via));
    u32::try_from(entries.count()).unwrap_or(u32::MAX)
}

/// Removes from trailers what could change framing, routing or trust (RFC 9110 section 6.5.1).
pub fn strip_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    let is_refused = |name: &HeaderName| {
        NO_TRAILERS.contains(name)
            || [MAX_FORWARDS, PROXY, TRANSFER_ENCODING].contains(name)
            || is_forwarding(name.as_str())
    };
    let is_one = |name: &&HeaderName| is_refused(name) || plain(name).is_some_and(|name| is_refused(&name));
    while let Some(name) = trailers.keys().find(is_one).cloned() {
        trailers.remove(name);
    }
}

/// Removes a field, and what a backend that reads `_` as `-` would take for it (GHSA-5m6w-wvh7-57vm): whoever writes a
/// field that a client must not write begins with this.
pub fn remove_all(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
    while let Some(alias) = headers.keys().find(|other| is_alike(other, name)).cloned() {
        headers.remove(alias);
    }
}

/// Whether two names are one where `_` is read as `-`.
fn is_alike(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    let plain = |octet: &u8| if *octet == b'_' { b'-' } else { *octet };
    one.len() == other.len() && one.iter().map(plain).eq(other.iter().map(plain))
}

/// A name with `_` as those see it who read it as `-`.
fn plain(name: &HeaderName) -> Option<HeaderName> {
    let name = name.as_str();
    if name.contains('_') { name.replace('_', "-").parse().ok() } else { None }
}

/// RFC 9110 section 7.6.1: removes `Connection`, what it nominates, and the names that are known to be of one hop.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
        for name in nominated.iter().filter(|name| !is_protected(name)) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS] {
        headers.remove(name);
    }
}

fn is_protected(name: &HeaderName) -> bool {
    PROTECTED.contains(name) || is_forwarding(name.as_str())
}

/// Many backends read `_` as `-`: a name that would then be one that this proxy writes is dropped
/// (GHSA-5m6w-wvh7-57vm, CVE-2026-33433).
fn remove_aliases(headers: &mut HeaderMap) {
    let is_ours = |name: HeaderName| {
        let is_of_one_hop = [TRANSFER_ENCODING, PROXY_AUTHORIZATION, APP_ID].contains(&name);
        is_protected(&name) || is_of_one_hop
    };
    let is_alias = |name: &&HeaderName| plain(name).is_some_and(is_ours);
    while let Some(name) = headers.keys().find(is_alias).cloned() {
        headers.remove(name);
    }
}

/// Whether a field has a `_` in its name.
pub fn has_underscored(headers: &HeaderMap) -> bool {
    headers.keys().any(is_underscored)
}

/// Removes all fields with `_` in their names.
pub fn remove_underscored(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_underscored(name)).cloned() {
        headers.remove(name);
    }
}

fn is_underscored(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

/// RFC 9113 section 8.2.3: HTTP/2 may split `cookie`; towards one field of HTTP/1.1 the crumbs are joined.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let joined = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

/// RFC 9110 section 7.6.3: the version received, and who received it.
fn append_via(headers: &mut HeaderMap, version: Version, via: &str) {
    let received = match version {
        Version::HTTP_10 => "1.0 ",
        Version::HTTP_2 => "2 ",
        Version::HTTP_3 => "3 ",
        _ => "1.1 ",
    };
    let mut entry = String::with_capacity(received.len() + via.len());
    entry.push_str(received);
    entry.push_str(via);
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(entry)) {
        headers.append(VIA, value);
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn check(lines: &[(&str, &str)], expected: &[(&str, &str)]) {
        let mut headers = map(lines);
        prepare_request(&mut headers, Version::HTTP_11, "pointsman", Underscores::Aliases);
        assert_eq!(headers, map(expected), "{lines:?}");
    }

    const VIA_US: (&str, &str) = ("via", "1.1 pointsman");

    #[test]
    fn hop_by_hop_fields_go() {
        check(&[("connection", "close"), ("keep-alive", "1"), ("a", "b")], &[("a", "b"), VIA_US]);
        check(
            &[("connection", "X-One, x-two"), ("x-one", "1"), ("x-two", "2"), ("x-three", "3")],
            &[("x-three", "3"), VIA_US],
        );
        check(&[("proxy-connection", "keep-alive"), ("upgrade", "h2c"), ("http2-settings", "AA")], &[VIA_US]);
        check(&[("transfer-encoding", "chunked"), ("proxy", "http://x"), ("proxy-authorization", "b")], &[VIA_US]);
        check(&[("expect", "100-continue")], &[VIA_US]);
    }

    #[test]
    fn protected_fields_cannot_be_nominated_away() {
        let sent = [("connection", "host, x-forwarded-for, authorization"), ("host", "a"), ("authorization", "b")];
        check(&sent, &[("host", "a"), ("authorization", "b"), VIA_US]);
        check(&[("connection", "x-real-ip"), ("x-real-ip", "1")], &[("x-real-ip", "1"), VIA_US]);
    }

    #[test]
    fn trailers_are_asked_for_only_where_the_client_did() {
        check(&[("te", "trailers, deflate"), ("connection", "te")], &[("te", "trailers"), VIA_US]);
        check(&[("te", "gzip")], &[VIA_US]);
    }

    #[test]
    fn aliases_of_fields_of_ours_go() {
        check(&[("x_forwarded_for", "6.6.6.6"), ("x-real_ip", "6"), ("api_key", "k")], &[("api_key", "k"), VIA_US]);
        check(&[("content_length", "5"), ("transfer_encoding", "chunked")], &[VIA_US]);
    }

    #[test]
    fn names_with_underscores_go_where_none_is_wanted() {
        for policy in [Underscores::Drop, Underscores::Refuse] {
            let mut headers = map(&[("x_role", "a"), ("a-b_c", "1"), ("a-b_c", "2"), ("_", "3"), ("x-role", "b_c")]);
            assert!(has_underscored(&headers));
            prepare_request(&mut headers, Version::HTTP_11, "pointsman", policy);
            assert_eq!(headers, map(&[("x-role", "b_c"), VIA_US]), "{policy:?}");
            assert!(!has_underscored(&headers));
        }
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        check(&[("cookie", "a=1"), ("cookie", "b=2")], &[("cookie", "a=1; b=2"), VIA_US]);
    }

    #[test]
    fn via_is_appended_and_counted() {
        let mut headers = map(&[("via", "1.1 other, 2 pointsman (x)"), ("via", "1.1 pointsman")]);
        assert_eq!(passes(&headers, "pointsman"), 2);
        prepare_answer(&mut headers, Version::HTTP_2, "pointsman");
        assert_eq!(passes(&headers, "pointsman"), 3);
    }

    #[test]
    fn trailers_carry_no_framing_and_no_trust() {
        let mut trailers =
            map(&[("grpc-status", "0"), ("content-length", "5"), ("x-forwarded-for", "6"), ("host", "x")]);
        strip_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0")]));
        let mut trailers: HeaderMap = HeaderMap::new();
        for name in NO_TRAILERS.into_iter().chain([MAX_FORWARDS, PROXY, TRANSFER_ENCODING, CONNECTION]) {
            let alias: HeaderName = name.as_str().replace('-', "_").parse().unwrap();
            trailers.append(name, HeaderValue::from_static("x"));
            trailers.append(alias, HeaderValue::from_static("x"));
        }
        for name in ["x_forwarded_for", "x-forwarded_host", "x_real_ip", "client_cert"] {
            trailers.append(name, HeaderValue::from_static("x"));
        }
        trailers.append("my_sum", HeaderValue::from_static("x"));
        strip_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("my_sum", "x")]));
    }

    #[test]
    fn a_field_goes_with_its_aliases() {
        let mut headers =
            map(&[("x_auth_user", "1"), ("x-auth_user", "2"), ("x-auth-user", "3"), ("x-auth-users", "4")]);
        remove_all(&mut headers, &HeaderName::from_static("x-auth-user"));
        assert_eq!(headers, map(&[("x-auth-users", "4")]));
        // Also where it is the name itself that has one.
        let mut headers = map(&[("x_auth_user", "1"), ("x-auth-user", "2")]);
        remove_all(&mut headers, &HeaderName::from_static("x_auth_user"));
        assert!(headers.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_of_one_hop_survives(
            names in proptest::collection::vec("(connection|te|upgrade|x-[a-c]|keep-alive|transfer-encoding|trailer)", 0..8),
            nominated in "[xX]-[a-c](, ?x-[a-c]){0,2}",
        ) {
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("v"));
            }
            headers.append(CONNECTION, nominated.parse().unwrap());
            prepare_request(&mut headers, Version::HTTP_11, "p", Underscores::Aliases);
            for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, TE] {
                prop_assert!(!headers.contains_key(name));
            }
            for name in nominated.split(',') {
                prop_assert!(!headers.contains_key(name.trim()));
            }
        }
    }
}
