//! The strict gate before routing: what stands in a request's head must have one meaning.
//!
//! Pure. What the HTTP implementation lets pass although a gateway must not (RFC 9110, 9112, 9113) is refused here;
//! what passes comes out in canonical form. Line ends and the raw target are checked before, by [`super::head_scan`].

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Version};

use super::authority::authority_to_host;
use super::headers;
use super::path::{InvalidPath, normalise_path};
use super::reason::Reason;
use crate::config::checked::{PathPolicy, ProxyConfig, Underscores};

/// A request that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The host it asks for, as it wrote it; empty for HTTP/1.0 without one.
    pub authority: HeaderValue,
    /// The target that is forwarded: origin-form in normal form, or `*`.
    pub target: PathAndQuery,
}

impl Admitted {
    /// The authority as text.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The host that routes are looked up by.
    pub fn host(&self) -> Cow<'_, str> {
        authority_to_host(self.authority()).unwrap_or_default()
    }

    /// The path that routes are looked up by.
    pub fn path(&self) -> &str {
        match self.target.path() {
            "*" => "/",
            path => path,
        }
    }
}

/// Lets a request's head pass, or says why not: as strict as `proxy` says where there is a choice.
///
/// # Errors
/// The reason of the answer that refuses it.
pub fn admit(head: &Parts, proxy: &ProxyConfig) -> Result<Admitted, Reason> {
    // Cookie crumbs count one by one: each costs memory (CVE-2026-49975).
    if head.headers.len() > proxy.limits.head_fields {
        return Err(Reason::HeadTooLarge);
    }
    // RFC 9110 section 9.3.6 and 9.3.8: no tunnels on request, and nothing that shows credentials.
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Reason::MethodRefused);
    }
    check_framing(head)?;
    check_expectation(&head.headers)?;
    check_content_type(&head.headers)?;
    let admitted = Admitted { authority: authority(head)?, target: target(head, proxy.paths)? };
    if proxy.underscores == Underscores::Refuse && headers::has_underscored(&head.headers) {
        return Err(Reason::BadHead);
    }
    Ok(admitted)
}

/// RFC 9112 section 6.1: a coding that is not understood is 501; only a lone `chunked` is understood.
fn check_framing(head: &Parts) -> Result<(), Reason> {
    if head.headers.get_all(CONTENT_LENGTH).iter().any(|value| is_padded(value.as_bytes())) {
        return Err(Reason::BadFraming);
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    // RFC 9113 section 8.2.2: HTTP/2 has no transfer codings. RFC 9112 section 6.1: neither has HTTP/1.0.
    if head.version != Version::HTTP_11 {
        return Err(Reason::BadFraming);
    }
    match codings.next().is_none() && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        true => Ok(()),
        false => Err(Reason::UnknownCoding),
    }
}

/// Whether a length has zeros before it. RFC 9110 section 8.6 lets them stand and means decimal digits; readers in front of
/// this one may take them for octal ones, and find another end.
pub(super) fn is_padded(length: &[u8]) -> bool {
    matches!(length, [b'0', _, ..])
}

/// RFC 9110 section 10.1.1: an expectation that is not understood is 417.
fn check_expectation(headers: &HeaderMap) -> Result<(), Reason> {
    let understood = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue");
    match headers.get_all(EXPECT).iter().all(understood) {
        true => Ok(()),
        false => Err(Reason::UnknownExpectation),
    }
}

/// RFC 9110 section 8.3: of several content types one recipient takes the first, another the last, with "potential
/// interoperability and security issues if different implementations have different error handling behaviors". Those
/// that are alike mean one thing.
fn check_content_type(headers: &HeaderMap) -> Result<(), Reason> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match types.next().is_none_or(|first| types.all(|other| other == first)) {
        true => Ok(()),
        false => Err(Reason::BadHead),
    }
}

fn authority(head: &Parts) -> Result<HeaderValue, Reason> {
    let host = one_host(&head.headers)?;
    let named = head.uri.authority();
    let authority = match (host, named) {
        // RFC 9113 section 8.3.1: `:authority` and `host` must not differ.
        (Some(host), Some(named)) if head.version >= Version::HTTP_2 => {
            match host.as_bytes().eq_ignore_ascii_case(named.as_str().as_bytes()) {
                true => host.clone(),
                false => return Err(Reason::HostMismatch),
            }
        }
        // RFC 9112 section 3.2: HTTP/1.1 has `Host`, even with an absolute target …
        (None, _) if head.version == Version::HTTP_11 => return Err(Reason::BadHost),
        // … and section 3.2.2: the target overrides it.
        (_, Some(named)) => HeaderValue::from_str(named.as_str()).map_err(|_| Reason::BadHost)?,
        (Some(host), None) => host.clone(),
        (None, None) if head.version < Version::HTTP_11 => return Ok(HeaderValue::from_static("")),
        (None, None) => return Err(Reason::BadHost),
    };
    let valid = |value: &HeaderValue| value.to_str().is_ok_and(|text| authority_to_host(text).is_ok());
    match valid(&authority) && host.is_none_or(|host| *host == authority || valid(host)) {
        true => Ok(authority),
        false => Err(Reason::BadHost),
    }
}

fn one_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Reason> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    match hosts.next() {
        None => Ok(host),
        Some(_) => Err(Reason::BadHost),
    }
}

fn target(head: &Parts, paths: PathPolicy) -> Result<PathAndQuery, Reason> {
    let uri = &head.uri;
    // RFC 9110 section 4.2: other schemes are not ours to serve.
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Reason::BadTarget);
    }
    if uri.path() == "*" {
        // RFC 9112 section 3.2.4: the asterisk is for OPTIONS alone.
        return match head.method == Method::OPTIONS && uri.query().is_none() {
            true => Ok(PathAndQuery::from_static("*")),
            false => Err(Reason::BadTarget),
        };
    }
    // RFC 9112 section 3.2.3: a target without a scheme and without a slash is only for CONNECT.
    if uri.scheme().is_none() && uri.authority().is_some() && head.version < Version::HTTP_2 {
        return Err(Reason::BadTarget);
    }
    if uri.query().is_some_and(|query| query.bytes().any(|byte| byte <= b' ' || byte >= 0x7f)) {
        return Err(Reason::BadTarget);
    }
    normal_target(uri, paths)
}

fn normal_target(uri: &Uri, paths: PathPolicy) -> Result<PathAndQuery, Reason> {
    let path = match uri.path() {
        "" => "/",
        path => path,
    };
    let normal = normalise_path(path, paths).map_err(|fault| match fault {
        InvalidPath::NotAbsolute | InvalidPath::Character => Reason::BadTarget,
        _ => Reason::BadPath,
    })?;
    match (normal, uri.path_and_query()) {
        (Cow::Borrowed(_), Some(target)) => Ok(target.clone()),
        (normal, _) => {
            let mut target = normal.into_owned();
            if let Some(query) = uri.query() {
                target.push('?');
                target.push_str(query);
            }
            PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Reason::BadTarget)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::ProxyLimits;
    use http::Request;
    use proptest::prelude::*;

    fn head(method: &str, version: Version, target: &str, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).version(version).uri(target);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn proxy() -> ProxyConfig {
        ProxyConfig { limits: ProxyLimits { head_fields: 100, ..ProxyLimits::default() }, ..ProxyConfig::default() }
    }

    fn check(method: &str, target: &str, lines: &[(&str, &str)], expected: Result<(&str, &str), Reason>) {
        let found = admit(&head(method, Version::HTTP_11, target, lines), &proxy());
        let found = found.as_ref().map(|admitted| (admitted.authority(), admitted.target.as_str())).map_err(|r| *r);
        assert_eq!(found, expected, "{method} {target} {lines:?}");
    }

    fn check_h2(target: &str, lines: &[(&str, &str)], expected: Result<&str, Reason>) {
        let found = admit(&head("GET", Version::HTTP_2, target, lines), &proxy());
        assert_eq!(found.as_ref().map(Admitted::authority).map_err(|r| *r), expected, "{target} {lines:?}");
    }

    const HOST_A: (&str, &str) = ("host", "a.example");

    #[test]
    fn hosts_rfc9112_3_2() {
        check("GET", "/", &[HOST_A], Ok(("a.example", "/")));
        check("GET", "/", &[], Err(Reason::BadHost));
        check("GET", "/", &[HOST_A, HOST_A], Err(Reason::BadHost));
        check("GET", "/", &[("host", "")], Err(Reason::BadHost));
        check("GET", "/", &[("host", "u@a.example")], Err(Reason::BadHost));
        check("GET", "/", &[("host", "a.example/x")], Err(Reason::BadHost));
        check("GET", "/", &[("host", "a.example,b.example")], Err(Reason::BadHost));
        check("GET", "/", &[("host", "a.example:99999")], Err(Reason::BadHost));
    }

    #[test]
    fn absolute_targets_override_rfc9112_3_2_2() {
        check("GET", "http://b.example/x?y", &[HOST_A], Ok(("b.example", "/x?y")));
        check("GET", "http://b.example", &[HOST_A], Ok(("b.example", "/")));
        check("GET", "http://b.example/", &[], Err(Reason::BadHost));
        check("GET", "http://u@b.example/", &[HOST_A], Err(Reason::BadHost));
        check("GET", "http://b.example/", &[("host", "a,b")], Err(Reason::BadHost));
        check("GET", "ftp://b.example/", &[HOST_A], Err(Reason::BadTarget));
    }

    #[test]
    fn targets_rfc9112_3_2() {
        check("OPTIONS", "*", &[HOST_A], Ok(("a.example", "*")));
        check("GET", "*", &[HOST_A], Err(Reason::BadTarget));
        check("GET", "b.example:80", &[HOST_A], Err(Reason::BadTarget));
        check("GET", "/a/../b?c=/../d", &[HOST_A], Ok(("a.example", "/b?c=/../d")));
        check("GET", "/a%2e%2e", &[HOST_A], Ok(("a.example", "/a..")));
        check("GET", "/%00", &[HOST_A], Err(Reason::BadPath));
        check("CONNECT", "b.example:80", &[HOST_A], Err(Reason::MethodRefused));
        check("TRACE", "/", &[HOST_A], Err(Reason::MethodRefused));
    }

    #[test]
    fn codings_rfc9112_6_1() {
        check("POST", "/", &[HOST_A, ("transfer-encoding", "Chunked")], Ok(("a.example", "/")));
        check("POST", "/", &[HOST_A, ("transfer-encoding", "gzip, chunked")], Err(Reason::UnknownCoding));
        check("POST", "/", &[HOST_A, ("transfer-encoding", "xchunked")], Err(Reason::UnknownCoding));
        let twice = [HOST_A, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        check("POST", "/", &twice, Err(Reason::UnknownCoding));
        let old = head("POST", Version::HTTP_10, "/", &[HOST_A, ("transfer-encoding", "chunked")]);
        assert_eq!(admit(&old, &proxy()), Err(Reason::BadFraming));
    }

    #[test]
    fn lengths_rfc9110_8_6() {
        for (length, expected) in [
            ("0", Ok(("a.example", "/"))),
            ("10", Ok(("a.example", "/"))),
            ("00", Err(Reason::BadFraming)),
            ("005", Err(Reason::BadFraming)),
            ("0200", Err(Reason::BadFraming)),
        ] {
            check("POST", "/", &[HOST_A, ("content-length", length)], expected);
        }
        check("POST", "/", &[HOST_A, ("content-length", "5"), ("content-length", "05")], Err(Reason::BadFraming));
    }

    #[test]
    fn expectations_rfc9110_10_1_1() {
        check("POST", "/", &[HOST_A, ("expect", "100-Continue")], Ok(("a.example", "/")));
        check("POST", "/", &[HOST_A, ("expect", "foo")], Err(Reason::UnknownExpectation));
    }

    #[test]
    fn content_types_rfc9110_8_3() {
        let (json, form) =
            (("content-type", "application/json"), ("content-type", "application/x-www-form-urlencoded"));
        check("POST", "/", &[HOST_A, json], Ok(("a.example", "/")));
        check("POST", "/", &[HOST_A, json, json], Ok(("a.example", "/")));
        check("POST", "/", &[HOST_A, json, form], Err(Reason::BadHead));
        check("POST", "/", &[HOST_A, json, json, form], Err(Reason::BadHead));
        check_h2("http://a.example/", &[form, json], Err(Reason::BadHead));
    }

    #[test]
    fn http2_authorities_rfc9113_8_3_1() {
        check_h2("http://a.example/", &[], Ok("a.example"));
        check_h2("http://a.example/", &[("host", "A.example")], Ok("A.example"));
        check_h2("http://a.example/", &[("host", "b.example")], Err(Reason::HostMismatch));
        check_h2("/", &[HOST_A], Ok("a.example"));
        check_h2("/", &[], Err(Reason::BadHost));
        check_h2("http://u@a.example/", &[], Err(Reason::BadHost));
    }

    #[test]
    fn http10_may_come_without_a_host() {
        let admitted = admit(&head("GET", Version::HTTP_10, "/x", &[]), &proxy()).unwrap();
        assert_eq!((admitted.authority(), &*admitted.host(), admitted.path()), ("", "", "/x"));
    }

    #[test]
    fn fields_are_counted_crumb_by_crumb() {
        let mut parts = head("GET", Version::HTTP_2, "http://a.example/", &[]);
        for _ in 0..101 {
            parts.headers.append("cookie", "a=b".parse().unwrap());
        }
        assert_eq!(admit(&parts, &proxy()), Err(Reason::HeadTooLarge));
    }

    proptest! {
        #[test]
        fn what_passes_has_one_host_and_a_normal_path(host in "[ -~]{0,20}", target in "/[!-~]{0,20}") {
            let request = Request::builder().version(Version::HTTP_11).uri(&*target).header("host", &*host).body(());
            // What the reader of heads refuses never comes here; that is every third target.
            let Ok(request) = request else { return Ok(()) };
            if let Ok(admitted) = admit(&request.into_parts().0, &proxy()) {
                prop_assert!(!admitted.host().is_empty());
                let path = admitted.path().to_owned();
                prop_assert_eq!(normalise_path(&path, PathPolicy::default()).map(Cow::into_owned), Ok(path.clone()));
            }
        }
    }
}
