//! EDNS options: what a query's say, and how a response's are written.
//!
//! Options that are not known here are ignored (RFC 6891 §6.1.2); one that is known and malformed makes the query so.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::read_u16;

/// Option codes (IANA, "DNS EDNS0 Option Codes").
pub mod code {
    /// Which server answers (RFC 5001).
    pub const NSID: u16 = 3;
    /// The network of a resolver's client (RFC 7871).
    pub const CLIENT_SUBNET: u16 = 8;
    /// Cookies (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// How long an idle TCP connection stays (RFC 7828).
    pub const TCP_KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// Why an answer is what it is (RFC 8914).
    pub const EXTENDED_ERROR: u16 = 15;
}

/// Octets in front of an option's data.
pub const OPTION_HEAD: usize = 4;

/// Octets of a client cookie.
pub const CLIENT_COOKIE: usize = 8;

/// The longest server cookie (RFC 7873 §4).
const MAX_SERVER_COOKIE: usize = 32;

/// What the options of a query ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The server shall name itself.
    pub nsid: bool,
    /// The client's cookie, and the one it got from us.
    pub cookie: Option<Cookie>,
    /// The client wants to know how long an idle connection stays.
    pub keepalive: bool,
    /// The client pads, and so shall the answer be.
    pub padding: bool,
    /// The network that a resolver asks for.
    pub subnet: Option<ClientSubnet>,
}

/// A client subnet option as received: a network, given by as much of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet {
    /// Its first address.
    pub address: IpAddr,
    /// Bits that count; 0: the client wants nothing said of where it is.
    pub source: u8,
}

/// A COOKIE option as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The client's own.
    pub client: [u8; CLIENT_COOKIE],
    server: [u8; MAX_SERVER_COOKIE],
    server_len: usize,
}

/// The data of an option is not what its code wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Why an answer is what it is (RFC 8914 §4). The set is what this server has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ExtendedError {
    /// The answer is past its time.
    StaleAnswer = 3,
    /// The zone's source has not spoken yet.
    NotReady = 14,
    /// The client may not ask this.
    Prohibited = 18,
    /// Of none of our zones, and nobody else is asked.
    NotAuthoritative = 20,
    /// No server that was asked has answered.
    NoReachableAuthority = 22,
}

impl Options {
    /// Reads the data of an OPT record.
    ///
    /// # Errors
    /// An option is cut off, or a known one malformed; what came before it is in `self`.
    pub fn read(&mut self, mut data: &[u8]) -> Result<(), Malformed> {
        while !data.is_empty() {
            let code = read_u16(data, 0).ok_or(Malformed)?;
            let length = usize::from(read_u16(data, 2).ok_or(Malformed)?);
            let value = data.get(OPTION_HEAD..OPTION_HEAD + length).ok_or(Malformed)?;
            self.note(code, value)?;
            data = &data[OPTION_HEAD + length..];
        }
        Ok(())
    }

    fn note(&mut self, code: u16, value: &[u8]) -> Result<(), Malformed> {
        match code {
            code::NSID => self.nsid = true,
            // RFC 7873 §5.2: of several, the first counts.
            code::COOKIE if self.cookie.is_none() => self.cookie = Some(Cookie::read(value).ok_or(Malformed)?),
            code::TCP_KEEPALIVE => self.keepalive = true,
            code::PADDING => self.padding = true,
            code::CLIENT_SUBNET => self.subnet = ClientSubnet::read(value)?,
            _ => {}
        }
        Ok(())
    }
}

impl ClientSubnet {
    /// RFC 7871 §6: the address has as many octets as the prefix takes, nothing behind the prefix, and a query says nothing
    /// of a scope. Of a family that is not known here nothing is read.
    fn read(value: &[u8]) -> Result<Option<Self>, Malformed> {
        let ([upper, lower, source, scope], octets) = value.split_first_chunk().ok_or(Malformed)?;
        let whole = match u16::from_be_bytes([*upper, *lower]) {
            1 => 4,
            2 => 16,
            _ => return Ok(None),
        };
        let is_sound =
            *scope == 0 && usize::from(*source) <= 8 * whole && octets.len() == usize::from(source.div_ceil(8));
        let mut address = [0; 16];
        let bits = source % 8;
        if !is_sound || bits != 0 && octets.last().is_some_and(|last| last << bits != 0) {
            return Err(Malformed);
        }
        address[..octets.len()].copy_from_slice(octets);
        let address = match whole {
            4 => IpAddr::from([address[0], address[1], address[2], address[3]]),
            _ => IpAddr::from(address),
        };
        Ok(Some(Self { address, source: *source }))
    }

    /// The option of an answer that holds for `scope` bits of the network.
    pub fn reply(&self, scope: u8) -> SmallVec<[u8; 20]> {
        let (family, octets): (u16, SmallVec<[u8; 16]>) = match self.address {
            IpAddr::V4(address) => (1, address.octets().into_iter().collect()),
            IpAddr::V6(address) => (2, address.octets().into_iter().collect()),
        };
        let mut value: SmallVec<[u8; 20]> = family.to_be_bytes().into_iter().chain([self.source, scope]).collect();
        value.extend(octets.into_iter().take(usize::from(self.source.div_ceil(8))));
        value
    }
}

impl Cookie {
    /// RFC 7873 §5.2.2: 8 octets, or 16 to 40; every other length is a FORMERR.
    fn read(value: &[u8]) -> Option<Self> {
        let (client, theirs) = value.split_first_chunk()?;
        if !matches!(theirs.len(), 0 | 8..=MAX_SERVER_COOKIE) {
            return None;
        }
        let mut server = [0; MAX_SERVER_COOKIE];
        server[..theirs.len()].copy_from_slice(theirs);
        Some(Self { client: *client, server, server_len: theirs.len() })
    }

    /// What the client says to have from us; empty if it has nothing yet.
    pub fn server(&self) -> &[u8] {
        &self.server[..self.server_len]
    }
}

/// Appends an option.
pub fn write(code: u16, value: &[u8], out: &mut impl Extend<u8>) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend(code.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(value.iter().take(usize::from(length)).copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> Option<Options> {
        let mut options = Options::default();
        options.read(data).ok().map(|()| options)
    }

    #[test]
    fn known_options_are_told_from_others() {
        assert_eq!(read(b""), Some(Options::default()));
        assert_eq!(read(b"\0\x64\0\x02ab"), Some(Options::default()));
        let all = read(b"\0\x03\0\0\0\x0b\0\0\0\x0c\0\x02\0\0").unwrap();
        assert!(all.nsid && all.keepalive && all.padding && all.cookie.is_none());
        for cut in [&b"\0"[..], b"\0\x03", b"\0\x03\0", b"\0\x03\0\x01", b"\0\x03\0\0\0"] {
            assert_eq!(read(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn client_subnets_are_read_as_the_rfc_has_them() {
        let option = |data: &[u8]| [&[0, 8, 0, u8::try_from(data.len()).unwrap()][..], data].concat();
        let subnet = |data: &[u8]| read(&option(data)).map(|options| options.subnet);
        let v4 = subnet(&[0, 1, 20, 0, 10, 1, 0x20]).unwrap().unwrap();
        assert_eq!((v4.address, v4.source), ("10.1.32.0".parse().unwrap(), 20));
        assert_eq!(v4.reply(16)[..], [0, 1, 20, 16, 10, 1, 0x20]);
        let v6 = subnet(&[0, 2, 16, 0, 0xfd, 1]).unwrap().unwrap();
        assert_eq!((v6.address, v6.source), ("fd01::".parse().unwrap(), 16));
        assert_eq!(subnet(&[0, 1, 0, 0]).unwrap().unwrap().source, 0);
        assert_eq!(subnet(&[0, 9, 8, 0, 1]), Some(None), "another family");
        for malformed in [
            &[0, 1, 20, 0, 10, 1, 0x21][..],
            &[0, 1, 33, 0, 1, 2, 3, 4, 5],
            &[0, 1, 8, 0],
            &[0, 1, 8],
            &[0, 1, 8, 8, 10],
        ] {
            assert_eq!(subnet(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn cookies_have_the_lengths_that_the_rfc_allows() {
        for length in 0..=50usize {
            let data = [&[0, 10, 0, u8::try_from(length).unwrap()][..], &vec![7; length]].concat();
            assert_eq!(read(&data).is_some(), matches!(length, 8 | 16..=40), "{length}");
        }
        let twice = read(b"\0\x0a\0\x08firstone\0\x0a\0\x08secondly").unwrap();
        assert_eq!(twice.cookie.unwrap().client, *b"firstone");
    }
}
