//! `Forwarded`, `X-Forwarded-*` and `X-Real-IP`: who asked, and how.
//!
//! Pure. From clients outside `trusted_proxies` all variants are removed and written anew; from trusted ones they are
//! appended to, so that the chain stays whole.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

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

/// A field that says something of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// [`X_FORWARDED_FOR`].
    For,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// [`X_FORWARDED_PROTO`].
    Proto,
    /// [`X_FORWARDED_HOST`].
    Host,
    /// [`X_FORWARDED_PORT`].
    Port,
    /// [`X_REAL_IP`].
    RealIp,
    /// [`CLIENT_CERT`].
    ClientCert,
}

impl Field {
    #[cfg(test)]
    const ALL: [Self; 7] =
        [Self::For, Self::Forwarded, Self::Proto, Self::Host, Self::Port, Self::RealIp, Self::ClientCert];

    /// Its name, for those who write it without a map.
    #[inline]
    pub fn name(self) -> &'static str {
        match self {
            Self::For => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::Proto => "x-forwarded-proto",
            Self::Host => "x-forwarded-host",
            Self::Port => "x-forwarded-port",
            Self::RealIp => "x-real-ip",
            Self::ClientCert => "client-cert",
        }
    }

    fn header(self) -> HeaderName {
        match self {
            Self::For => X_FORWARDED_FOR,
            Self::Forwarded => FORWARDED,
            Self::Proto => X_FORWARDED_PROTO,
            Self::Host => X_FORWARDED_HOST,
            Self::Port => X_FORWARDED_PORT,
            Self::RealIp => X_REAL_IP,
            Self::ClientCert => CLIENT_CERT,
        }
    }
}

/// What is said of one hop, field by field. Of a client that is not believed this is all that is said.
#[inline]
pub fn each(hop: &Hop<'_>, mut say: impl FnMut(Field, &[u8])) {
    let peer = hop.peer_text.as_bytes();
    let scheme = if hop.secure { "https" } else { "http" };
    let mut port = itoa::Buffer::new();
    let port = port.format(authority_port(hop.authority).unwrap_or(hop.port));
    say(Field::For, peer);
    say(Field::Forwarded, &element(hop, scheme));
    say(Field::Proto, scheme.as_bytes());
    say(Field::Host, hop.authority.as_bytes());
    say(Field::Port, port.as_bytes());
    match hop.client == hop.peer.to_canonical() {
        true => say(Field::RealIp, peer),
        false => say(Field::RealIp, hop.client.to_string().as_bytes()),
    }
    if let Some(certificate) = hop.certificate {
        say(Field::ClientCert, certificate.as_bytes());
    }
}

/// Writes the forwarding headers of one hop, behind those of former ones where they are believed.
pub fn write(headers: &mut HeaderMap, hop: &Hop<'_>) {
    if !hop.trusted {
        remove_all(headers);
    }
    each(hop, |field, value| {
        let name = field.header();
        match field {
            Field::For | Field::Forwarded => append(headers, name, &shared(hop, value)),
            Field::Proto | Field::Host | Field::Port if headers.contains_key(&name) => {}
            _ => drop(headers.insert(name, shared(hop, value))),
        }
    });
}

/// A value; the peer's, which several fields have, is there once.
fn shared(hop: &Hop<'_>, value: &[u8]) -> HeaderValue {
    if value == hop.peer_text.as_bytes() {
        return hop.peer_text.clone();
    }
    // Addresses and authorities that passed the gate are visible ASCII.
    HeaderValue::from_bytes(value).unwrap_or_else(|_| empty())
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
fn element(hop: &Hop<'_>, scheme: &str) -> SmallVec<[u8; 128]> {
    let mut element = SmallVec::new();
    let mut write = |text: &[u8]| element.extend_from_slice(text);
    let (open, close) = if hop.peer.to_canonical().is_ipv6() { ("\"[", "]\"") } else { ("", "") };
    write(b"for=");
    write(open.as_bytes());
    write(hop.peer_text.as_bytes());
    write(close.as_bytes());
    if !hop.authority.is_empty() {
        // An authority that passed the gate has no quote and no backslash; its colon needs the quotes.
        let quote = if hop.authority.contains([':', '[']) { "\"" } else { "" };
        write(b";host=");
        write(quote.as_bytes());
        write(hop.authority.as_bytes());
        write(quote.as_bytes());
    }
    write(b";proto=");
    write(scheme.as_bytes());
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
    fn each_field_has_one_name() {
        for field in Field::ALL {
            assert_eq!(field.name(), field.header().as_str());
            assert!(is_forwarding(field.name()), "{field:?}");
        }
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
            each(&hop, |field, value| {
                lines.push(format!("{}: {}\r\n", field.name(), str::from_utf8(value).unwrap()));
            });
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
