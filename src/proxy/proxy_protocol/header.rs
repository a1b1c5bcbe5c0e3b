//! Headers of the PROXY protocol, read and written. Pure.
//!
//! Sections are those of `proxy-protocol.txt`. Invariant: while a header is partial, all octets so far belong to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Addresses;
use crate::model::endpoint::ProxyProtocol;

/// What version 1 begins with (section 2.1), and the longest line with its end.
const WORD: &[u8] = b"PROXY ";
const LONGEST_LINE: usize = 107;
/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, length.
const FIXED: usize = 16;
/// What may follow those: addresses and further fields. Senders put certificates there at most.
const LONGEST_REST: usize = 4096;
/// The type of the field with a checksum (section 2.2.3).
const CHECKSUM: u8 = 0x03;

/// How far reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header goes on.
    Partial,
    /// It has ended.
    Whole {
        /// Its octets.
        length: usize,
        /// What it says; `None`: the connection is the sender's own, or of a kind that has no such addresses.
        addresses: Option<Addresses>,
    },
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They begin like none.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    NoHeader,
    /// A line of version 1 that is not as section 2.1 has it.
    #[error("the header's line cannot be understood")]
    Line,
    /// Longer than any header.
    #[error("the header does not end")]
    TooLong,
    /// A version, command, family or length of version 2 that is not as section 2.2 has it.
    #[error("the header's fixed part cannot be understood")]
    Fixed,
    /// Further fields that do not fit.
    #[error("the header's further fields do not fit into it")]
    Fields,
    /// The checksum is another one.
    #[error("the header's checksum is wrong")]
    Checksum,
}

/// Reads a header at the beginning of `bytes`.
///
/// # Errors
/// Why there is none.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    match bytes.first() {
        None => Ok(Parsed::Partial),
        Some(b'P') => parse_line(bytes),
        Some(b'\r') => parse_binary(bytes),
        Some(_) => Err(Fault::NoHeader),
    }
}

/// Section 2.1: one line.
fn parse_line(bytes: &[u8]) -> Result<Parsed, Fault> {
    if !WORD.starts_with(&bytes[..bytes.len().min(WORD.len())]) {
        return Err(Fault::NoHeader);
    }
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() < LONGEST_LINE { Ok(Parsed::Partial) } else { Err(Fault::TooLong) };
    };
    let text = line[..end].strip_suffix(b"\r").and_then(|text| std::str::from_utf8(text).ok()).ok_or(Fault::Line)?;
    let mut words = text.split(' ').skip(1);
    let addresses = match words.next() {
        // "The receiver must ignore anything presented before the CRLF is found."
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(line_addresses(words, |text| text.parse().ok().map(IpAddr::V4))?),
        Some("TCP6") => Some(line_addresses(words, |text| text.parse().ok().map(IpAddr::V6))?),
        _ => return Err(Fault::Line),
    };
    Ok(Parsed::Whole { length: end + 1, addresses })
}

fn line_addresses<'a>(
    mut words: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Result<Addresses, Fault> {
    let mut next = || words.next().ok_or(Fault::Line);
    let (source, destination, from, to) = (next()?, next()?, next()?, next()?);
    let address = |text, number| Some(SocketAddr::new(read(text)?, port(number)?));
    match (address(source, from), address(destination, to), words.next()) {
        (Some(source), Some(destination), None) => Ok(Addresses { source, destination }),
        _ => Err(Fault::Line),
    }
}

/// A number from 0 to 65535 without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Section 2.2: a fixed part, addresses, further fields.
fn parse_binary(bytes: &[u8]) -> Result<Parsed, Fault> {
    let begun = &bytes[..bytes.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(begun) {
        return Err(Fault::NoHeader);
    }
    let Some(fixed) = bytes.get(SIGNATURE.len()..FIXED) else { return Ok(Parsed::Partial) };
    let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let is_local = match fixed[0] {
        0x20 => true,
        0x21 => false,
        // "Other values are unassigned and must not be emitted by senders. Receivers must drop connections …"
        _ => return Err(Fault::Fixed),
    };
    if fixed[1] >> 4 > 3 || fixed[1] & 0xf > 2 {
        return Err(Fault::Fixed);
    }
    if rest > LONGEST_REST {
        return Err(Fault::TooLong);
    }
    let length = FIXED + rest;
    let Some(header) = bytes.get(..length) else { return Ok(Parsed::Partial) };
    let addresses = if is_local { None } else { binary_addresses(fixed[1], header)? };
    Ok(Parsed::Whole { length, addresses })
}

/// What stands behind the fixed part of a header that speaks of another's connection.
fn binary_addresses(family: u8, header: &[u8]) -> Result<Option<Addresses>, Fault> {
    let rest = &header[FIXED..];
    let taken = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let fields = rest.get(taken..).ok_or(Fault::Fixed)?;
    check_fields(fields, header)?;
    Ok(match family {
        0x11 => {
            let at = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&rest[at..at + 4]).expect("the length was checked"));
            Some(pair(at(0), at(4), &rest[8..12]))
        }
        0x21 => {
            let at =
                |at: usize| IpAddr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).expect("the length was checked"));
            Some(pair(at(0), at(16), &rest[32..36]))
        }
        // Unix sockets, datagrams: the connection's own addresses are what is known.
        _ => None,
    })
}

fn pair(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Addresses {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Addresses { source: SocketAddr::new(source, port(0)), destination: SocketAddr::new(destination, port(2)) }
}

/// Further fields (section 2.2, "TLV") have to fit; of them only the checksum concerns us.
fn check_fields(mut fields: &[u8], header: &[u8]) -> Result<(), Fault> {
    while let [kind, high, low, rest @ ..] = fields {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind) = rest.split_at_checked(length).ok_or(Fault::Fields)?;
        if *kind == CHECKSUM {
            let said = <[u8; 4]>::try_from(value).map_err(|_| Fault::Fields)?;
            let at = header.len() - rest.len();
            if u32::from_be_bytes(said) != checksum(header, at) {
                return Err(Fault::Checksum);
            }
        }
        fields = behind;
    }
    if fields.is_empty() { Ok(()) } else { Err(Fault::Fields) }
}

/// CRC-32C of a header, with zeros in the place of the four octets at `at` (section 2.2.3).
fn checksum(header: &[u8], at: usize) -> u32 {
    let octets = header.iter().enumerate().map(|(index, octet)| if (at..at + 4).contains(&index) { 0 } else { *octet });
    let sum = octets.fold(u32::MAX, |sum, octet| {
        (0..8).fold(sum ^ u32::from(octet), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    });
    !sum
}

/// The header that says this.
pub fn write(version: ProxyProtocol, addresses: Option<Addresses>) -> Vec<u8> {
    let addresses = addresses.map(|Addresses { source, destination }| alike(source, destination));
    match (version, addresses) {
        (ProxyProtocol::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyProtocol::V1, Some((source, destination))) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
        }
        (ProxyProtocol::V2, None) => [SIGNATURE, &[0x20, 0, 0, 0]].concat(),
        (ProxyProtocol::V2, Some((source, destination))) => {
            let octets = |address: SocketAddr| match address.ip() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let fixed: &[u8] = if source.is_ipv4() { &[0x21, 0x11, 0, 12] } else { &[0x21, 0x21, 0, 36] };
            let (from, to) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
            [SIGNATURE, fixed, &octets(source), &octets(destination), &from, &to].concat()
        }
    }
}

/// Both ends in one address family.
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (from, to) = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (from, to),
        _ => (IpAddr::V6(mapped(from)), IpAddr::V6(mapped(to))),
    };
    (SocketAddr::new(from, source.port()), SocketAddr::new(to, destination.port()))
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address),
        IpAddr::V6(address) => address,
    }
}

/// What must hold for any octets: for cargo-fuzz, and for seeded runs without it.
pub fn fuzz_proxy_protocol(data: &[u8]) {
    let Ok(Parsed::Whole { length, addresses }) = parse(data) else { return };
    assert!(length <= data.len(), "a header ends where the octets do");
    for end in 0..length {
        assert_eq!(parse(&data[..end]), Ok(Parsed::Partial), "what is short of {length} octets is partial");
    }
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let written = write(version, addresses);
        let same = |addresses: Option<Addresses>| addresses.map(|both| alike(both.source, both.destination));
        let again = match parse(&written) {
            Ok(Parsed::Whole { length, addresses }) => Some((length, same(addresses))),
            _ => None,
        };
        assert_eq!(again, Some((written.len(), same(addresses))), "what was written is what is read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header's length, and both ends.
    type Expected<'a> = (usize, Option<(&'a str, &'a str)>);

    fn check(bytes: &[u8], expected: Result<Expected<'_>, Fault>) {
        let found = parse(bytes).map(|parsed| match parsed {
            Parsed::Partial => panic!("{bytes:?} is partial"),
            Parsed::Whole { length, addresses } => (length, addresses),
        });
        let expected = expected.map(|(length, both)| {
            let read = |(source, destination): (&str, &str)| Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            };
            (length, both.map(read))
        });
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn lines_of_version_1() {
        let four = b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\nGET";
        check(four, Ok((41, Some(("192.0.2.7:51234", "10.0.0.1:443")))));
        let six = b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n";
        check(six, Ok((36, Some(("[2001:db8::7]:0", "[::1]:65535")))));
        check(b"PROXY UNKNOWN\r\n", Ok((15, None)));
        check(b"PROXY UNKNOWN ffff:: whatever\r\n", Ok((31, None)));
        for wrong in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51234 443 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 051234 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.7  10.0.0.1 1 443\r\n",
            "PROXY TCP4 ::1 10.0.0.1 1 443\r\n",
            "PROXY TCP6 192.0.2.7 ::1 1 443\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY UNKNOWN\n",
            "PROXY \r\n",
        ] {
            check(wrong.as_bytes(), Err(Fault::Line));
        }
        check(b"PUT / HTTP/1.1\r\n", Err(Fault::NoHeader));
        check(b"GET / HTTP/1.1\r\n", Err(Fault::NoHeader));
        check(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat(), Err(Fault::TooLong));
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x22, 1, 0xbb];

    #[test]
    fn headers_of_version_2() {
        let said = Some(("192.0.2.7:51234", "10.0.0.1:443"));
        check(&binary(0x21, 0x11, &FOUR), Ok((28, said)));
        check(&binary(0x21, 0x11, &[&FOUR[..], &[4, 0, 2, 9, 9]].concat()), Ok((33, said)));
        check(&binary(0x20, 0x11, &FOUR), Ok((28, None)));
        check(&binary(0x20, 0, &[]), Ok((16, None)));
        check(&binary(0x21, 0, &[]), Ok((16, None)));
        check(&binary(0x21, 0x31, &[0; 216]), Ok((232, None)));
        check(&binary(0x21, 0x12, &FOUR), Ok((28, None)));
        check(&binary(0x11, 0x11, &FOUR), Err(Fault::Fixed));
        check(&binary(0x22, 0x11, &FOUR), Err(Fault::Fixed));
        check(&binary(0x21, 0x41, &FOUR), Err(Fault::Fixed));
        check(&binary(0x21, 0x13, &FOUR), Err(Fault::Fixed));
        check(&binary(0x21, 0x11, &FOUR[..11]), Err(Fault::Fixed));
        check(&binary(0x21, 0x11, &[&FOUR[..], &[4, 0, 9, 9, 9]].concat()), Err(Fault::Fields));
        check(&binary(0x21, 0x11, &[&FOUR[..], &[4, 0]].concat()), Err(Fault::Fields));
        check(&binary(0x21, 0x11, &[0; 5000]), Err(Fault::TooLong));
        check(b"\r\n\r\nGET / HTTP/1.1\r\n", Err(Fault::NoHeader));
    }

    #[test]
    fn checksums_are_compared() {
        // The check value of CRC-32C.
        assert_eq!(checksum(b"123456789", 9), 0xe306_9283);
        let mut header = binary(0x21, 0x11, &[&FOUR[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
        check(&header, Err(Fault::Checksum));
        let at = header.len() - 4;
        let sum = checksum(&header, at).to_be_bytes();
        header[at..].copy_from_slice(&sum);
        check(&header, Ok((35, Some(("192.0.2.7:51234", "10.0.0.1:443")))));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let both = |source: &str, destination: &str| {
            Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
        };
        for addresses in [
            None,
            both("192.0.2.7:51234", "10.0.0.1:443"),
            both("[2001:db8::7]:51234", "[::1]:443"),
            both("[2001:db8::7]:51234", "10.0.0.1:443"),
            both("[::ffff:192.0.2.7]:51234", "10.0.0.1:443"),
        ] {
            fuzz_proxy_protocol(&write(ProxyProtocol::V1, addresses));
            fuzz_proxy_protocol(&write(ProxyProtocol::V2, addresses));
        }
        let text = write(ProxyProtocol::V1, both("[::ffff:192.0.2.7]:51234", "10.0.0.1:443"));
        assert_eq!(text, b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n");
    }
}
