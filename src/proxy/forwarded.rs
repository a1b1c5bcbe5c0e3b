//! `Forwarded`, `X-Forwarded-*` and `X-Real-IP`: who asked, and how.
//!
//! Pure. From clients outside `trusted_proxies` all variants are removed and written anew; from trusted ones they are
//! appended to, so that the chain stays whole.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::authority::authority_port;

/// The chain of addresses.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client spoke.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host as the client named it.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The port the client connected to.
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// The certificate that the client has shown (RFC 9440).
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// The client's address alone.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

const PREFIX: &str = "x-forwarded-";

/// What is known of the client's side of a request.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The address of the connection's other end.
    pub peer: IpAddr,
    /// The same as text, as [`address_text`] gives it.
    pub peer_text: &'a HeaderValue,
    /// Whether its forwarding headers are believed.
    pub trusted: bool,
    /// The client's address, as [`super::client_address::client_address`] says.
    pub client: IpAddr,
    /// Whether the client spoke TLS to us.
    pub secure: bool,
    /// The host it asked for, perhaps with a port.
    pub authority: &'a str,
    /// The port it connected to.
    pub port: u16,
    /// The certificate it has shown, verified.
    pub certificate: Option<&'a HeaderValue>,
}

/// Writes the forwarding headers of one hop.
pub fn write(headers: &mut HeaderMap, hop: &Hop<'_>) {
    if !hop.trusted {
        remove_all(headers);
    }
    let peer = hop.peer.to_canonical();
    let scheme = if hop.secure { "https" } else { "http" };
    append(headers, X_FORWARDED_FOR, hop.peer_text);
    let element = element(peer, hop.authority, scheme);
    append(headers, FORWARDED, &HeaderValue::from_maybe_shared(Bytes::from(element)).unwrap_or_else(|_| empty()));
    set_if_absent(headers, X_FORWARDED_PROTO, || HeaderValue::from_static(scheme));
    set_if_absent(headers, X_FORWARDED_HOST, || text(hop.authority));
    set_if_absent(headers, X_FORWARDED_PORT, || authority_port(hop.authority).unwrap_or(hop.port).into());
    if let Some(certificate) = hop.certificate {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
    let client = if hop.client == peer { hop.peer_text.clone() } else { text(&hop.client.to_string()) };
    headers.insert(X_REAL_IP, client);
}

/// An address as these fields have it. It stays the same for all requests of a connection.
pub fn address_text(address: IpAddr) -> HeaderValue {
    text(&address.to_canonical().to_string())
}

/// Whether a name is one that this module writes, or a variant of one that some backend believes.
pub fn is_forwarding(name: &str) -> bool {
    name.starts_with(PREFIX)
        || matches!(name, "forwarded" | "x-real-ip" | "x-forwarded" | "client-cert" | "client-cert-chain")
}

fn remove_all(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_forwarding(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// One element of `Forwarded` (RFC 7239 section 4). An IPv6 address is bracketed and therefore quoted (section 6).
fn element(peer: IpAddr, authority: &str, scheme: &str) -> String {
    let mut element = String::with_capacity(64 + authority.len());
    let written = match peer {
        IpAddr::V4(address) => write!(element, "for={address}"),
        IpAddr::V6(address) => write!(element, "for=\"[{address}]\""),
    };
    written.expect("writing to a string cannot fail");
    if !authority.is_empty() {
        // An authority that passed the gate has no quote and no backslash; its colon needs the quotes.
        let quote = if authority.contains([':', '[']) { "\"" } else { "" };
        write!(element, ";host={quote}{authority}{quote}").expect("writing to a string cannot fail");
    }
    element.push_str(";proto=");
    element.push_str(scheme);
    element
}

fn append(headers: &mut HeaderMap, name: HeaderName, entry: &HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, entry.clone());
        return;
    }
    let mut joined = Vec::with_capacity(128);
    for value in headers.get_all(&name) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(entry.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        headers.insert(name, value);
    }
}

fn set_if_absent(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, value());
    }
}

/// Addresses and authorities that passed the gate are visible ASCII.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| empty())
}

fn empty() -> HeaderValue {
    HeaderValue::from_static("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lines: &[(&'static str, &str)], trusted: bool, peer: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let peer: IpAddr = peer.parse().unwrap();
        let peer_text = &address_text(peer);
        let hop = Hop {
            peer,
            peer_text,
            trusted,
            client: peer,
            secure: true,
            authority: "a.example:8443",
            port: 443,
            certificate: None,
        };
        write(&mut headers, &hop);
        headers
    }

    fn check(headers: &HeaderMap, name: &str, expected: &str) {
        let found: Vec<_> = headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(found, [expected], "{name}");
    }

    const LIES: &[(&str, &str)] = &[
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/x"),
        ("x-real-ip", "6.6.6.6"),
    ];

    #[test]
    fn strangers_are_not_believed() {
        let headers = written(LIES, false, "192.0.2.1");
        check(&headers, "x-forwarded-for", "192.0.2.1");
        check(&headers, "forwarded", "for=192.0.2.1;host=\"a.example:8443\";proto=https");
        check(&headers, "x-forwarded-proto", "https");
        check(&headers, "x-forwarded-host", "a.example:8443");
        check(&headers, "x-forwarded-port", "8443");
        check(&headers, "x-real-ip", "192.0.2.1");
        assert!(!headers.contains_key("x-forwarded-prefix"));
    }

    #[test]
    fn trusted_proxies_are_appended_to() {
        let headers = written(LIES, true, "2001:db8::1");
        check(&headers, "x-forwarded-for", "6.6.6.6, 7.7.7.7, 2001:db8::1");
        let expected = "for=6.6.6.6, for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https";
        check(&headers, "forwarded", expected);
        check(&headers, "x-forwarded-proto", "gopher");
        check(&headers, "x-forwarded-prefix", "/x");
        check(&headers, "x-real-ip", "2001:db8::1");
    }
}
