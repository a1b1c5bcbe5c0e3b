//! DNS messages as octets: reading queries, writing responses.
//!
//! Only what an authoritative server needs, over borrowed octets and without allocation for plain queries. Nothing
//! here knows of zones or tables; nothing here can panic on what the network sends. What clients need (parsing
//! responses) is left to `hickory-proto`, which the tests use as an independent reader of what is written here.

pub mod name;
pub mod option;
pub mod query;
pub mod record;
pub mod response;
pub mod ttl;

/// Octets of a message's header.
pub const HEADER_LEN: usize = 12;

/// What a message without EDNS may have over UDP (RFC 1035 §4.2.1), and the least that EDNS can ask for (RFC 6891
/// §6.2.3).
pub const MIN_UDP_SIZE: u16 = 512;

/// What a message may have over TCP: its length is told in 16 bits.
pub const MAX_MESSAGE: usize = 65_535;

/// Bits of the header's second 16-bit word.
pub mod flags {
    /// A response.
    pub const QR: u16 = 0x8000;
    /// Where the opcode is.
    pub const OPCODE_MASK: u16 = 0x7800;
    /// How far the opcode is from the right.
    pub const OPCODE_SHIFT: u16 = 11;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
}

/// Record types by number, as a question or a record has them.
pub mod record_type {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Pointer.
    pub const PTR: u16 = 12;
    /// Mail exchange.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// Delegation signer.
    pub const DS: u16 = 43;
    /// Zone key.
    pub const DNSKEY: u16 = 48;
    /// Service binding.
    pub const SVCB: u16 = 64;
    /// Service binding for HTTP.
    pub const HTTPS: u16 = 65;
    /// Transaction key.
    pub const TKEY: u16 = 249;
    /// Transaction signature.
    pub const TSIG: u16 = 250;
    /// Incremental transfer.
    pub const IXFR: u16 = 251;
    /// Transfer.
    pub const AXFR: u16 = 252;
    /// Mailbox records, obsolete.
    pub const MAILB: u16 = 253;
    /// Mail agent records, obsolete.
    pub const MAILA: u16 = 254;
    /// Whatever there is.
    pub const ANY: u16 = 255;
}

/// The Internet class.
pub const CLASS_IN: u16 = 1;

/// The class in which servers tell of themselves (RFC 4892).
pub const CLASS_CH: u16 = 3;

/// "Any class", which TSIG records have.
pub const CLASS_ANY: u16 = 255;

/// The opcode of ordinary queries.
pub const OPCODE_QUERY: u8 = 0;

/// Response codes that this server gives. The set is closed: metrics have an entry for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rcode {
    /// No error.
    NoError,
    /// The query cannot be understood.
    FormErr,
    /// The server cannot answer now.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// Not implemented.
    NotImp,
    /// Not for you, or not from here.
    Refused,
    /// Not authoritative, or not authenticated (RFC 8945).
    NotAuth,
    /// An EDNS version that is not spoken here.
    BadVers,
    /// The server cookie is missing or not ours (RFC 7873).
    BadCookie,
}

impl Rcode {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::NotAuth,
        Self::BadVers,
        Self::BadCookie,
    ];

    /// The number: four bits in the header, eight more in OPT (RFC 6891 §6.1.3).
    pub fn code(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::NotAuth => 9,
            Self::BadVers => 16,
            Self::BadCookie => 23,
        }
    }

    /// The name that operators know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::NotAuth => "NOTAUTH",
            Self::BadVers => "BADVERS",
            Self::BadCookie => "BADCOOKIE",
        }
    }
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram a message.
    Udp,
    /// A stream of messages.
    Tcp,
    /// A stream of messages within TLS (RFC 7858).
    Tls,
    /// A request of HTTP/2 a message, within TLS (RFC 8484).
    Https,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https];

    /// The name used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }

    /// Whether nobody on the way can read along.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Whether a connection carries message after message, each with its length in front.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// The 16-bit number at `at`, if there is one.
pub(crate) fn read_u16(message: &[u8], at: usize) -> Option<u16> {
    let octets = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}
