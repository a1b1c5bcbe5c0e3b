//! Names and data of DNS records in presentation form (RFC 1035 section 5.1), one record at a time.
//!
//! Names are kept lower case, absolute and without the final dot.

use std::sync::Arc;

use crate::cluster::event::{Opaque, RecordData};

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRecord {
    /// Not a name.
    #[error("{0:?} is no DNS name: {1}")]
    Name(String, &'static str),
    /// Relative, and no origin to complete it.
    #[error("the name {0:?} is relative and there is no origin")]
    Relative(String),
    /// Outside the zones of the source.
    #[error("the name {0:?} is in none of the source's zones")]
    OutsideZones(String),
    /// A type that is not served.
    #[error("records of type {0:?} are not served")]
    Type(String),
    /// The wrong number of fields.
    #[error("{0} takes {1}")]
    Fields(&'static str, &'static str),
    /// A field that cannot be read.
    #[error("{0:?} is no {1}")]
    Value(String, &'static str),
    /// A time to live that cannot be read.
    #[error("{0:?} is no time to live")]
    Ttl(String),
    /// A text that is too long.
    #[error("a text of {0} bytes does not fit")]
    Text(usize),
    /// A name that is not delegated.
    #[error("the name {0:?} cannot be delegated: {1}")]
    Delegation(String, &'static str),
    /// A record that the zone above has.
    #[error("the name {0:?} is a zone's own: its DS record is the zone's above it")]
    Signer(String),
    /// Something that a line cannot have here.
    #[error("{0}")]
    Syntax(&'static str),
}

/// The type of a DS record.
const DS: u16 = 43;

/// The highest time to live: RFC 2181 section 8.
const MAX_TTL: u64 = 0x7fff_ffff;

/// The longest text of a TXT record.
const MAX_TEXT: usize = 4096;

impl InvalidRecord {
    /// What to do about it.
    pub(crate) fn mend(&self) -> &'static str {
        match self {
            Self::Name(..) => "write labels of 1 to 63 letters, digits, `-` and `_`, 253 characters in all",
            Self::Relative(_) => "end the name with a dot, or give an origin (`$ORIGIN example.com.`)",
            Self::OutsideZones(_) => "add the zone to the source's `zones` setting, or correct the name",
            Self::Type(_) => {
                "use A, AAAA, SRV, CNAME, PTR, TXT, MX, NS, DS, CAA, SSHFP, TLSA, or TYPE and a number (RFC 3597)"
            }
            Self::Fields(..) => "write the fields separated by spaces",
            Self::Value(..) => "correct the value",
            Self::Ttl(_) => "write seconds, or numbers with the units s, m, h, d, w",
            Self::Text(_) => "write at most 4096 bytes, in strings of at most 255",
            Self::Delegation(..) => "remove the NS record; a zone's own name server is set by `dns.soa`",
            Self::Signer(_) => "write it into the zone above, where the zone is delegated (RFC 4035 section 2.4)",
            Self::Syntax(_) => "write `name [ttl] [class] type data`, on one line or within parentheses",
        }
    }
}

/// Types that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    A,
    Aaaa,
    Srv,
    Cname,
    Ptr,
    Txt,
    Mx,
    Ns,
    Ds,
    Caa,
    Sshfp,
    Tlsa,
    /// Any other, by its number (RFC 3597).
    Number(u16),
}

impl Type {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const ALL: [(&str, Type); 12] = [
            ("A", Type::A),
            ("AAAA", Type::Aaaa),
            ("SRV", Type::Srv),
            ("CNAME", Type::Cname),
            ("PTR", Type::Ptr),
            ("TXT", Type::Txt),
            ("MX", Type::Mx),
            ("NS", Type::Ns),
            ("DS", Type::Ds),
            ("CAA", Type::Caa),
            ("SSHFP", Type::Sshfp),
            ("TLSA", Type::Tlsa),
        ];
        let known = ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind);
        known.or_else(|| {
            let prefix = text.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("TYPE"))?;
            text[prefix.len()..].parse().ok().filter(|number| is_plain(*number)).map(Self::Number)
        })
    }
}

/// Whether records of this type may be written by its number: none that has a meaning of its own here, nor one that is
/// about messages and not about names (RFC 6895 §3.1).
fn is_plain(number: u16) -> bool {
    const MEANT: [u16; 13] = [0, 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 64];
    !MEANT.contains(&number) && number != 65 && !(128..=255).contains(&number)
}

/// Reads a name: `@` is the origin, a name without a final dot lies below it.
pub(super) fn name(text: &str, origin: Option<&str>) -> Result<String, InvalidRecord> {
    let mut out = match text.strip_suffix('.') {
        Some(absolute) => absolute.to_ascii_lowercase(),
        None => {
            let origin = origin.ok_or_else(|| InvalidRecord::Relative(clip(text)))?;
            if text == "@" { origin.to_owned() } else { format!("{}.{origin}", text.to_ascii_lowercase()) }
        }
    };
    check_name(&out).map_err(|wrong| InvalidRecord::Name(clip(text), wrong))?;
    out.shrink_to_fit();
    Ok(out)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("it is too long");
    }
    // RFC 4592 §2.1.1: a wildcard is a first label that is an asterisk and nothing else.
    let name = name.strip_prefix("*.").unwrap_or(name);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("a label is empty or longer than 63 characters");
        }
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')) {
            return Err("a character cannot be in it");
        }
    }
    Ok(())
}

/// Whether a name lies in one of the zones.
fn check_zone(name: &str, zones: &[Arc<str>]) -> Result<(), InvalidRecord> {
    let is_below = |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if zones.iter().any(|zone| is_below(zone)) { Ok(()) } else { Err(InvalidRecord::OutsideZones(clip(name))) }
}

/// Whether a name may have NS records: a zone's own are the program's, and RFC 4592 §4.2 leaves open what a wildcard's would
/// mean.
fn check_delegation(name: &str, zones: &[Arc<str>]) -> Result<(), InvalidRecord> {
    if zones.iter().any(|zone| **zone == *name) {
        return Err(InvalidRecord::Delegation(clip(name), "it is a zone's own"));
    }
    match name.starts_with("*.") {
        true => Err(InvalidRecord::Delegation(clip(name), "it is a wildcard")),
        false => Ok(()),
    }
}

/// Whether a name may have records of a type in these zones.
pub(super) fn check_owner(kind: Type, name: &str, zones: &[Arc<str>]) -> Result<(), InvalidRecord> {
    check_zone(name, zones)?;
    match kind {
        Type::Ns => check_delegation(name, zones),
        // RFC 4035 §2.4: these stand where a zone is delegated, never in the zone itself.
        Type::Ds | Type::Number(DS) if zones.iter().any(|zone| **zone == *name) => {
            Err(InvalidRecord::Signer(clip(name)))
        }
        _ => Ok(()),
    }
}

/// Reads a time to live: seconds, or numbers with units (`1h30m`).
pub(super) fn ttl(text: &str) -> Result<u32, InvalidRecord> {
    let fault = || InvalidRecord::Ttl(clip(text));
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = &rest[digits..];
        let unit = match rest.bytes().next().map(|byte| byte.to_ascii_lowercase()) {
            None if digits == text.len() => 1,
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            Some(b'w') => 604_800,
            _ => return Err(fault()),
        };
        rest = rest.get(1..).unwrap_or_default();
        total = total.saturating_add(number.saturating_mul(unit));
    }
    u32::try_from(total).ok().filter(|_| !text.is_empty() && total <= MAX_TTL).ok_or_else(fault)
}

/// Reads a record's data from its fields.
pub(super) fn data(kind: Type, fields: &[&str], origin: Option<&str>) -> Result<RecordData, InvalidRecord> {
    match (kind, fields) {
        (Type::A, [address]) => value(address, "IPv4 address").map(RecordData::A),
        (Type::Aaaa, [address]) => value(address, "IPv6 address").map(RecordData::Aaaa),
        (Type::Cname, [target]) => Ok(RecordData::Cname(name(target, origin)?.into())),
        (Type::Ptr, [target]) => Ok(RecordData::Ptr(name(target, origin)?.into())),
        (Type::Ns, [target]) => Ok(RecordData::Ns(name(target, origin)?.into())),
        (Type::Srv, [priority, weight, port, target]) => Ok(RecordData::Srv {
            priority: value(priority, "priority from 0 to 65535")?,
            weight: value(weight, "weight from 0 to 65535")?,
            port: value(port, "port from 0 to 65535")?,
            target: name(target, origin)?.into(),
        }),
        (Type::Txt, texts) if !texts.is_empty() => text(texts),
        (Type::Mx, [preference, exchange]) => Ok(RecordData::Mx {
            preference: value(preference, "preference from 0 to 65535")?,
            exchange: name(exchange, origin)?.into(),
        }),
        (Type::Ds, [tag, algorithm, kind, digest @ ..]) if !digest.is_empty() => ds(tag, algorithm, kind, digest),
        (Type::Caa, [flags, tag, said]) => caa(flags, tag, said),
        (Type::Sshfp, [algorithm, kind, fingerprint @ ..]) if !fingerprint.is_empty() => {
            opaque(44, &[number(algorithm)?, number(kind)?], fingerprint)
        }
        (Type::Tlsa, [usage, selector, matching, association @ ..]) if !association.is_empty() => {
            opaque(52, &[number(usage)?, number(selector)?, number(matching)?], association)
        }
        (Type::Number(record_type), ["\\#" | "#", length, octets @ ..]) => {
            let length: usize = value(length, "number of octets")?;
            match opaque(record_type, &[], octets)? {
                RecordData::Opaque(data) if data.octets.len() == length => Ok(RecordData::Opaque(data)),
                _ => Err(InvalidRecord::Value(clip(&octets.join(" ")), "as many octets as it says")),
            }
        }
        (Type::A | Type::Aaaa, _) => Err(InvalidRecord::Fields("an address record", "one address")),
        (Type::Cname, _) => Err(InvalidRecord::Fields("CNAME", "one name")),
        (Type::Ptr, _) => Err(InvalidRecord::Fields("PTR", "one name")),
        (Type::Ns, _) => Err(InvalidRecord::Fields("NS", "one name")),
        (Type::Srv, _) => Err(InvalidRecord::Fields("SRV", "priority, weight, port and target")),
        (Type::Txt, _) => Err(InvalidRecord::Fields("TXT", "at least one text")),
        (Type::Mx, _) => Err(InvalidRecord::Fields("MX", "preference and host")),
        (Type::Ds, _) => Err(InvalidRecord::Fields("DS", "key tag, algorithm, digest type and digest")),
        (Type::Caa, _) => Err(InvalidRecord::Fields("CAA", "flags, tag and value")),
        (Type::Sshfp, _) => Err(InvalidRecord::Fields("SSHFP", "algorithm, type and fingerprint")),
        (Type::Tlsa, _) => Err(InvalidRecord::Fields("TLSA", "usage, selector, matching type and data")),
        (Type::Number(_), _) => {
            Err(InvalidRecord::Fields("a type by number", "`\\#`, the number of octets, and these in hexadecimal"))
        }
    }
}

/// RFC 4034 §5.1: which key of the zone below, and its digest; how long that is, as far as its type is known (RFC 4509, RFC
/// 5933, RFC 6605).
fn ds(tag: &str, algorithm: &str, kind: &str, digest: &[&str]) -> Result<RecordData, InvalidRecord> {
    const LENGTHS: [(u8, usize); 4] = [(1, 20), (2, 32), (3, 32), (4, 48)];
    let tag: u16 = value(tag, "key tag from 0 to 65535")?;
    let kind = number(kind)?;
    let [high, low] = tag.to_be_bytes();
    let first = [high, low, number(algorithm)?, kind];
    let data = opaque(DS, &first, digest)?;
    let length = LENGTHS.iter().find(|(known, _)| *known == kind).map(|(_, length)| length + first.len());
    match (&data, length) {
        (RecordData::Opaque(said), Some(length)) if said.octets.len() != length => {
            Err(InvalidRecord::Value(clip(&digest.join(" ")), "digest of the length that its type has"))
        }
        _ => Ok(data),
    }
}

/// RFC 8659 §4.1: flags, the tag with its length, and the value to the end.
fn caa(flags: &str, tag: &str, said: &str) -> Result<RecordData, InvalidRecord> {
    let is_tag = (1..=15).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let length = u8::try_from(tag.len()).ok().filter(|_| is_tag);
    let length = length.ok_or_else(|| InvalidRecord::Value(clip(tag), "tag such as issue"))?;
    let said = said.trim_matches('"');
    if said.len() > MAX_TEXT {
        return Err(InvalidRecord::Text(said.len()));
    }
    let octets = [&[number(flags)?, length], tag.as_bytes(), said.as_bytes()].concat();
    Ok(RecordData::Opaque(Box::new(Opaque { record_type: 257, octets: octets.into() })))
}

/// Data that begins with `first` and goes on in hexadecimal, in any number of pieces.
fn opaque(record_type: u16, first: &[u8], hex: &[&str]) -> Result<RecordData, InvalidRecord> {
    let fault = || InvalidRecord::Value(clip(&hex.join(" ")), "pairs of hexadecimal digits");
    let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = hex.concat().chars().map(digit).collect::<Option<_>>().ok_or_else(fault)?;
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * MAX_TEXT {
        return Err(fault());
    }
    let octets = first.iter().copied().chain(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1])).collect();
    Ok(RecordData::Opaque(Box::new(Opaque { record_type, octets })))
}

fn number(text: &str) -> Result<u8, InvalidRecord> {
    value(text, "number from 0 to 255")
}

fn text(texts: &[&str]) -> Result<RecordData, InvalidRecord> {
    let total: usize = texts.iter().map(|text| text.len() + 1).sum();
    match texts.iter().find(|text| text.len() > 255) {
        Some(long) => Err(InvalidRecord::Text(long.len())),
        None if total > MAX_TEXT => Err(InvalidRecord::Text(total)),
        None => Ok(RecordData::Txt(texts.iter().map(|text| Arc::from(*text)).collect())),
    }
}

fn value<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, InvalidRecord> {
    text.parse().map_err(|_| InvalidRecord::Value(clip(text), what))
}

/// The beginning of a text, for messages.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_ttl(text: &str, expected: Option<u32>) {
        assert_eq!(ttl(text).ok(), expected, "{text}");
    }

    #[test]
    fn times_to_live() {
        check_ttl("60", Some(60));
        check_ttl("1h30M", Some(5400));
        check_ttl("2w", Some(1_209_600));
        check_ttl("", None);
        check_ttl("h", None);
        check_ttl("1h30", None);
        check_ttl("4294967296", None);
        check_ttl("1é", None);
    }

    fn check_read(text: &str, origin: Option<&str>, expected: Option<&str>) {
        assert_eq!(name(text, origin).ok().as_deref(), expected, "{text}");
    }

    #[test]
    fn names() {
        check_read("WWW.Example.", None, Some("www.example"));
        check_read("www", Some("example"), Some("www.example"));
        check_read("@", Some("example"), Some("example"));
        check_read("www", None, None);
        check_read(".", None, None);
        check_read("a..b.", None, None);
        check_read("*.b.", None, Some("*.b"));
        check_read("a.*.b.", None, None);
        check_read("*a.b.", None, None);
        check_read("ü.b.", None, None);
        check_read(&format!("{}.", "a".repeat(64)), None, None);
        assert!(check_zone("a.b", &["b".into()]).is_ok() && check_zone("b", &["b".into()]).is_ok());
        assert!(check_zone("ab", &["b".into()]).is_err() && check_zone("b", &[]).is_err());
    }
}
