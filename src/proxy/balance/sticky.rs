//! Sticky sessions: a cookie keeps a client on one endpoint.
//!
//! Pure. The cookie names the endpoint and its version by numbers that say nothing to the client and that every
//! instance in front of the same cluster understands. Nothing is kept of a session here, so it outlives every change of
//! the table that leaves its endpoint alone. Where that one is gone, draining or unhealthy, is spared because it failed
//! ([`crate::proxy::route`]), or fails before an answer, another one serves and names itself in a new cookie. One that is full
//! for the moment is waited for ([`super::queue`]); one that an operator took out of service keeps its clients for a while
//! ([`crate::table::out_of_service`]).
//!
//! The cookie is between the client and this proxy (HAProxy: `insert indirect nocache`): endpoints do not see it, and
//! an answer that sets it is not for shared caches.

use std::fmt;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::model::endpoint::{Endpoint, EndpointState};
use crate::model::id::{ServiceId, Version, stable_hash};
use crate::model::service::{Service, Target};

/// What the names of our cookies begin with; the service follows, because several may share a host.
const PREFIX: &str = "pointsman-";

/// The endpoint that a client is kept on, as its cookie names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    endpoint: u64,
    version: u32,
}

impl Session {
    /// The session of an endpoint's clients.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.id.fingerprint(), version: version(&endpoint.version) }
    }

    /// The session that a client asks for. The last cookie of the name counts: of several the most general one comes
    /// last (RFC 6265 section 5.4), and ours is for the whole host.
    pub fn read(headers: &HeaderMap, service: &ServiceId) -> Option<Self> {
        let name = cookie_name(service);
        let values = pairs(headers).filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        values.filter_map(|value| Self::parse(std::str::from_utf8(value).ok()?)).last()
    }

    /// The endpoint, if it can serve: ready, whatever its weight (0 is: nothing but sessions), or serving in panic.
    pub fn endpoint<'a>(&self, service: &'a Service) -> Option<&'a std::sync::Arc<Endpoint>> {
        let serves = |endpoint: &Endpoint| {
            endpoint.state == EndpointState::Ready || service.available.get(&endpoint.id).is_some()
        };
        self.named(service).filter(|endpoint| serves(endpoint))
    }

    /// The endpoint that the cookie names, in whatever state.
    pub fn named<'a>(&self, service: &'a Service) -> Option<&'a std::sync::Arc<Endpoint>> {
        let endpoint = service.endpoint(&service.sticky.get(&self.endpoint)?.endpoint)?;
        (version(&endpoint.version) == self.version).then_some(endpoint)
    }

    /// Whether a route's target leads to the version that the client has seen.
    pub fn is_for(&self, target: &Target) -> bool {
        target.version.as_ref().is_none_or(|wanted| version(wanted) == self.version)
    }

    fn parse(value: &str) -> Option<Self> {
        let (endpoint, version) = value.split_at_checked(16)?;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let version = version.strip_prefix('.').filter(|version| version.len() == 8)?;
        if !is_hex(endpoint) || !is_hex(version) {
            return None;
        }
        Some(Self {
            endpoint: u64::from_str_radix(endpoint, 16).ok()?,
            version: u32::from_str_radix(version, 16).ok()?,
        })
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{:08x}", self.endpoint, self.version)
    }
}

/// Removes our cookies from what an endpoint is sent.
pub fn strip(headers: &mut HeaderMap) {
    if !headers.get_all(COOKIE).iter().any(|line| line.as_bytes().windows(PREFIX.len()).any(|w| w == PREFIX.as_bytes()))
    {
        return;
    }
    let kept: Vec<&[u8]> = pairs(headers).filter(|pair| !is_ours(pair)).collect();
    // Pieces of valid values, and what joins them, are one.
    let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|kept| !kept.is_empty());
    headers.remove(COOKIE);
    if let Some(kept) = kept {
        headers.insert(COOKIE, kept);
    }
}

/// Tells the client where it is kept. `secure`: it came by TLS, and clear text shall not carry the cookie.
pub fn write(headers: &mut HeaderMap, service: &ServiceId, session: Session, secure: bool) {
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{}={session}; Path=/; HttpOnly{secure}", cookie_name(service));
    if let Ok(cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(cookie)) {
        headers.append(SET_COOKIE, cookie);
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// The name of a service's cookie.
fn cookie_name(service: &ServiceId) -> String {
    let id = stable_hash(&(service.cluster(), service.namespace(), service.name(), service.port()));
    format!("{PREFIX}{id:016x}")
}

fn version(version: &Version) -> u32 {
    u32::try_from(stable_hash(version.as_str()) >> 32).unwrap_or(u32::MAX)
}

/// The cookies of a request, as octets: what others put into theirs need be no ASCII (RFC 6265 section 5.4), and takes
/// nothing from ours.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn is_ours(pair: &[u8]) -> bool {
    let name = pair.split(|octet| *octet == b'=').next().and_then(|name| name.strip_prefix(PREFIX.as_bytes()));
    name.is_some_and(|id| id.len() == 16 && id.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn service() -> ServiceId {
        ServiceId::new("c".into(), "f", "web", "0")
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_str(line).unwrap())).collect()
    }

    const SESSION: Session = Session { endpoint: 0xab, version: 7 };

    fn ours() -> String {
        format!("{}={SESSION}", cookie_name(&service()))
    }

    #[test]
    fn a_session_is_found_among_other_cookies_and_crumbs() {
        let ours = ours();
        for lines in [&[&*format!("a=b; {ours};c=d")][..], &["a=b", &ours], &[&ours]] {
            assert_eq!(Session::read(&headers(lines), &service()), Some(SESSION), "{lines:?}");
        }
        let other = ServiceId::new("c".into(), "f", "web", "1");
        assert_eq!(Session::read(&headers(&[&ours]), &other), None);
        let name = cookie_name(&service());
        for bad in
            ["", "=", "=x", "=00000000000000ab.0000000", "=+0000000000000ab.00000007", "=00000000000000ab-00000007"]
        {
            assert_eq!(Session::read(&headers(&[&format!("{name}{bad}")]), &service()), None, "{bad:?}");
        }
    }

    #[test]
    fn octets_of_other_cookies_that_are_no_ascii_change_nothing() {
        let line = [b"a=\xe4\xff; ", ours().as_bytes(), b"; b=\xc3\xa4"].concat();
        let mut headers: HeaderMap = [(COOKIE, HeaderValue::from_bytes(&line).unwrap())].into_iter().collect();
        assert_eq!(Session::read(&headers, &service()), Some(SESSION));
        strip(&mut headers);
        assert_eq!(headers[COOKIE].as_bytes(), b"a=\xe4\xff; b=\xc3\xa4");
    }

    fn check_strip(lines: &[&str], expected: Option<&str>) {
        let mut headers = headers(lines);
        strip(&mut headers);
        assert_eq!(headers.get(COOKIE).map(|line| line.to_str().unwrap()), expected, "{lines:?}");
    }

    #[test]
    fn endpoints_do_not_see_our_cookies_and_see_all_others() {
        let ours = ours();
        check_strip(&[&ours], None);
        check_strip(&["a=b; c=\"d e\""], Some("a=b; c=\"d e\""));
        check_strip(&[&format!("a=b; {ours}; c")], Some("a=b; c"));
        check_strip(&["pointsman-theme=dark"], Some("pointsman-theme=dark"));
    }

    #[test]
    fn a_cookie_is_for_the_whole_host_and_no_shared_cache() {
        let mut headers = HeaderMap::new();
        write(&mut headers, &service(), SESSION, true);
        assert_eq!(headers[SET_COOKIE].to_str().unwrap(), format!("{}; Path=/; HttpOnly; Secure", ours()));
        assert_eq!(headers[CACHE_CONTROL], "private");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(endpoint: u64, version: u32) {
            let session = Session { endpoint, version };
            prop_assert_eq!(Session::parse(&session.to_string()), Some(session));
        }

        #[test]
        fn no_cookie_harms(line in "[ -~]{0,60}") {
            let mut headers = headers(&[&line]);
            Session::read(&headers, &service());
            strip(&mut headers);
            prop_assert!(Session::read(&headers, &service()).is_none());
        }
    }
}
