//! The server name in the first message of a TLS client (RFC 8446 section 4.1.2, RFC 6066 section 3). Pure.
//!
//! What is carried on untouched has to be told apart without touching it, so only this is read of it, and only as far as
//! it must be. A name counts in one form: lower case, without a final dot.

use std::borrow::Cow;

/// The longest message that is read: with keys against quantum computers they have some 2,000 octets.
pub const LONGEST: usize = 16 * 1024;
/// What stands before each part of a message (RFC 8446 section 5.1).
const RECORD_HEAD: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// How far reading came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// The message goes on.
    Partial,
    /// It is whole, and asks for this name, or for none.
    Whole(Option<Box<str>>),
}

/// The octets are no first message of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin as TLS does")]
pub struct NoClientHello;

/// Reads the name out of the octets that a connection began with.
///
/// # Errors
/// They are no TLS.
pub fn server_name(bytes: &[u8]) -> Result<Sniffed, NoClientHello> {
    let Some(message) = message(bytes)? else { return Ok(Sniffed::Partial) };
    let mut rest = Rest(&message);
    rest.take(2)?; // The version that TLS 1.3 does not look at.
    rest.take(32)?;
    rest.list_of_bytes()?;
    rest.list()?;
    rest.list_of_bytes()?;
    if rest.0.is_empty() {
        return Ok(Sniffed::Whole(None));
    }
    let mut extensions = Rest(rest.list()?);
    if !rest.0.is_empty() {
        return Err(NoClientHello);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.number()?, extensions.list()?);
        if kind == SERVER_NAME && name.replace(host_name(value)?).is_some() {
            // RFC 8446 section 4.2: not two of one kind.
            return Err(NoClientHello);
        }
    }
    Ok(Sniffed::Whole(name))
}

/// The body of the message, put together from its records; `None`: it has not ended.
fn message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NoClientHello> {
    let (mut records, mut gathered) = (bytes, Vec::new());
    loop {
        let head = &records[..records.len().min(RECORD_HEAD)];
        if head.first().is_some_and(|kind| *kind != HANDSHAKE) || head.get(1).is_some_and(|major| *major != 3) {
            return Err(NoClientHello);
        }
        let [_, _, _, high, low] = *head else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446 section 5.1: of handshake messages no part is empty.
        if length == 0 || length > LONGEST {
            return Err(NoClientHello);
        }
        let part = &records[RECORD_HEAD..];
        let part = &part[..part.len().min(length)];
        let is_first = gathered.is_empty();
        if !is_first {
            gathered.extend_from_slice(part);
        }
        let begun = if is_first { part } else { &gathered };
        if begun.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NoClientHello);
        }
        if let [_, a, b, c, body @ ..] = begun {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if wanted > LONGEST {
                return Err(NoClientHello);
            }
            if body.len() >= wanted {
                // Most come in one record, and are read where they lie.
                return Ok(Some(if is_first { part[4..4 + wanted].into() } else { body[..wanted].to_vec().into() }));
            }
        }
        if part.len() < length {
            return Ok(None);
        }
        if is_first {
            gathered.extend_from_slice(part);
        }
        records = &records[RECORD_HEAD + length..];
    }
}

/// RFC 6066 section 3: a list with one host name in it.
fn host_name(value: &[u8]) -> Result<Box<str>, NoClientHello> {
    let mut value = Rest(value);
    let mut list = Rest(value.list()?);
    if list.take(1)? != [HOST_NAME] {
        return Err(NoClientHello);
    }
    let name = list.list()?;
    if !list.0.is_empty() || !value.0.is_empty() {
        return Err(NoClientHello);
    }
    let text = std::str::from_utf8(name).map_err(|_| NoClientHello)?;
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match (1..=253).contains(&text.len()) && text.bytes().all(is_name) {
        true => Ok(text.to_ascii_lowercase().into()),
        false => Err(NoClientHello),
    }
}

/// What is left to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NoClientHello> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NoClientHello)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, NoClientHello> {
        let octets = self.take(2)?;
        Ok(u16::from_be_bytes([octets[0], octets[1]]))
    }

    /// As many octets as the two before them say.
    fn list(&mut self) -> Result<&'a [u8], NoClientHello> {
        let length = self.number()?;
        self.take(length.into())
    }

    /// As many octets as the one before them says.
    fn list_of_bytes(&mut self) -> Result<&'a [u8], NoClientHello> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }
}

/// What must hold for any octets: for cargo-fuzz, and for seeded runs without it.
pub fn fuzz_client_hello(data: &[u8]) {
    let found = server_name(data);
    if let Ok(Sniffed::Whole(name)) = &found {
        if let Some(name) = name {
            assert!(!name.is_empty() && name.len() <= 253 && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
        let more = [data, b"what follows changes nothing"].concat();
        assert_eq!(server_name(&more), found);
    }
    for end in (0..data.len()).step_by(1 + data.len() / 64) {
        let part = server_name(&data[..end]);
        assert!(
            part == Ok(Sniffed::Partial) || part == found || found.is_err(),
            "what is partial of {found:?} became {part:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use crate::proxy::tls::provider;

    /// What a real client says first.
    fn hello(name: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn named(name: &str) -> Result<Sniffed, NoClientHello> {
        Ok(Sniffed::Whole(Some(name.into())))
    }

    #[test]
    fn names_of_real_clients_are_read() {
        for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12][..]] {
            let bytes = hello("Shop.Example.COM", versions);
            assert_eq!(server_name(&bytes), named("shop.example.com"));
            for end in 0..bytes.len() {
                assert_eq!(server_name(&bytes[..end]), Ok(Sniffed::Partial), "{end}");
            }
            assert_eq!(server_name(&hello("192.0.2.7", versions)), Ok(Sniffed::Whole(None)));
            fuzz_client_hello(&bytes);
        }
    }

    #[test]
    fn a_message_in_many_records_is_one() {
        let bytes = hello("shop.example.com", &[&rustls::version::TLS13]);
        for size in [1, 3, 100] {
            let records = bytes[RECORD_HEAD..].chunks(size).flat_map(|part| {
                let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
                [&[HANDSHAKE, 3, 1, high, low][..], part].concat()
            });
            let records: Vec<u8> = records.collect();
            assert_eq!(server_name(&records), named("shop.example.com"), "{size}");
            assert_eq!(server_name(&records[..records.len() - 1]), Ok(Sniffed::Partial), "{size}");
        }
    }

    #[test]
    fn what_is_no_tls_is_told_at_its_first_octets() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            &[HANDSHAKE, 2],
            &[HANDSHAKE, 3, 1, 0, 0],
            &[HANDSHAKE, 3, 1, 0xff, 0xff],
            &[HANDSHAKE, 3, 1, 0, 4, 2],
            &[HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 1, 0, 0],
            &[HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 0, 0, 0],
        ] {
            assert_eq!(server_name(bytes), Err(NoClientHello), "{bytes:?}");
        }
        assert_eq!(server_name(&[]), Ok(Sniffed::Partial));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let bytes = hello("shop.example.com", &[&rustls::version::TLS13]);
        let at = bytes.windows(4).position(|window| window == b"shop").unwrap();
        for (what, octet) in [("a space", b' '), ("a slash", b'/'), ("a NUL", 0), ("no ASCII", 0xc3)] {
            let mut bytes = bytes.clone();
            bytes[at] = octet;
            assert_eq!(server_name(&bytes), Err(NoClientHello), "{what}");
        }
    }
}
