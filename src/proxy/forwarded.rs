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

/// The same for a request that has none of these fields, from a client that is not believed: as lines of a head.
pub fn write_lines(head: &mut Vec<u8>, hop: &Hop<'_>) {
    let (peer, authority) = (hop.peer_text.as_bytes(), hop.authority.as_bytes());
    let scheme: &[u8] = if hop.secure { b"https" } else { b"http" };
    let (open, close): (&[u8], &[u8]) = if hop.peer.to_canonical().is_ipv6() { (b"\"[", b"]\"") } else { (b"", b"") };
    let quote: &[u8] = if authority.iter().any(|byte| matches!(byte, b':' | b'[')) { b"\"" } else { b"" };
    let mut port = itoa::Buffer::new();
    let port = port.format(authority_port(hop.authority).unwrap_or(hop.port)).as_bytes();
    head.reserve(256 + 3 * peer.len() + 2 * authority.len());
    // One by one: what is known beforehand is copied by a move or two.
    head.extend_from_slice(b"x-forwarded-for: ");
    head.extend_from_slice(peer);
    head.extend_from_slice(b"\r\nforwarded: for=");
    head.extend_from_slice(open);
    head.extend_from_slice(peer);
    head.extend_from_slice(close);
    head.extend_from_slice(b";host=");
    head.extend_from_slice(quote);
    head.extend_from_slice(authority);
    head.extend_from_slice(quote);
    head.extend_from_slice(b";proto=");
    head.extend_from_slice(scheme);
    head.extend_from_slice(b"\r\nx-forwarded-proto: ");
    head.extend_from_slice(scheme);
    head.extend_from_slice(b"\r\nx-forwarded-host: ");
    head.extend_from_slice(authority);
    head.extend_from_slice(b"\r\nx-forwarded-port: ");
    head.extend_from_slice(port);
    head.extend_from_slice(b"\r\nx-real-ip: ");
    head.extend_from_slice(peer);
    head.extend_from_slice(b"\r\n");
    if let Some(certificate) = hop.certificate {
        for part in [&b"client-cert: "[..], certificate.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
}

/// The same, one by one.
pub fn each(hop: &Hop<'_>, mut field: impl FnMut(&[u8], &[u8])) {
    let (peer, authority) = (hop.peer_text.as_bytes(), hop.authority.as_bytes());
    let scheme = if hop.secure { "https" } else { "http" };
    let mut port = itoa::Buffer::new();
    let port = port.format(authority_port(hop.authority).unwrap_or(hop.port)).as_bytes();
    field(b"x-forwarded-for", peer);
    field(b"forwarded", element(hop.peer.to_canonical(), hop.authority, scheme).as_bytes());
    field(b"x-forwarded-proto", scheme.as_bytes());
    field(b"x-forwarded-host", authority);
    field(b"x-forwarded-port", port);
    field(b"x-real-ip", peer);
    if let Some(certificate) = hop.certificate {
        field(b"client-cert", certificate.as_bytes());
    }
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
    fn lines_say_what_fields_say() {
        let certificate = HeaderValue::from_static(":AAAA:");
        for (peer, authority, secure, certificate) in [
            ("192.0.2.1", "a.example", false, None),
            ("192.0.2.1", "a.example:8443", true, Some(&certificate)),
            ("2001:db8::1", "[2001:db8::2]", true, None),
            ("::ffff:192.0.2.1", "[::1]:9", false, None),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            let peer_text = &address_text(peer);
            let client = peer.to_canonical();
            let hop = Hop { peer, peer_text, trusted: false, client, secure, authority, port: 443, certificate };
            let mut headers = HeaderMap::new();
            write(&mut headers, &hop);
            let mut expected: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
            let mut lines = Vec::new();
            write_lines(&mut lines, &hop);
            let lines = String::from_utf8(lines).unwrap();
            let mut lines: Vec<_> = lines.split_inclusive("\r\n").map(str::to_owned).collect();
            expected.sort();
            lines.sort();
            assert_eq!(lines, expected, "{peer} {authority}");
        }
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
