//! Names and data of DNS records in presentation form (RFC 1035 section 5.1), one record at a time.
//!
//! Names are kept lower case, absolute and without the final dot.

use std::sync::Arc;

use crate::cluster::event::RecordData;

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
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
    /// Something that a line cannot have here.
    #[error("{0}")]
    Syntax(&'static str),
}

/// The highest time to live: RFC 2181 section 8.
const MAX_TTL: u64 = 0x7fff_ffff;

/// The longest text of a TXT record.
const MAX_TEXT: usize = 4096;

impl InvalidRecord {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Name(..) => "write labels of 1 to 63 letters, digits, `-` and `_`, 253 characters in all",
            Self::Relative(_) => "end the name with a dot, or give an origin (`$ORIGIN example.com.`)",
            Self::OutsideZones(_) => "add the zone to the source's `zones` setting, or correct the name",
            Self::Type(_) => "use A, AAAA, SRV, CNAME, PTR or TXT",
            Self::Fields(..) => "write the fields separated by spaces",
            Self::Value(..) => "correct the value",
            Self::Ttl(_) => "write seconds, or numbers with the units s, m, h, d, w",
            Self::Text(_) => "write at most 4096 bytes, in strings of at most 255",
            Self::Syntax(_) => "write one record a line: `name [ttl] [class] type data`",
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
}

impl Type {
    pub fn parse(text: &str) -> Option<Self> {
        const ALL: [(&str, Type); 6] = [
            ("A", Type::A),
            ("AAAA", Type::Aaaa),
            ("SRV", Type::Srv),
            ("CNAME", Type::Cname),
            ("PTR", Type::Ptr),
            ("TXT", Type::Txt),
        ];
        ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind)
    }
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
pub(super) fn check_zone(name: &str, zones: &[Arc<str>]) -> Result<(), InvalidRecord> {
    let is_below = |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if zones.iter().any(|zone| is_below(zone)) { Ok(()) } else { Err(InvalidRecord::OutsideZones(clip(name))) }
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

/// Reads a record's data from its fields. `shared` gives the text of a target name.
pub(super) fn data(
    kind: Type,
    fields: &[&str],
    origin: Option<&str>,
    shared: &mut dyn FnMut(String) -> Arc<str>,
) -> Result<RecordData, InvalidRecord> {
    match (kind, fields) {
        (Type::A, [address]) => value(address, "IPv4 address").map(RecordData::A),
        (Type::Aaaa, [address]) => value(address, "IPv6 address").map(RecordData::Aaaa),
        (Type::Cname, [target]) => Ok(RecordData::Cname(shared(name(target, origin)?))),
        (Type::Ptr, [target]) => Ok(RecordData::Ptr(shared(name(target, origin)?))),
        (Type::Srv, [priority, weight, port, target]) => Ok(RecordData::Srv {
            priority: value(priority, "priority from 0 to 65535")?,
            weight: value(weight, "weight from 0 to 65535")?,
            port: value(port, "port from 0 to 65535")?,
            target: shared(name(target, origin)?),
        }),
        (Type::Txt, texts) if !texts.is_empty() => text(texts),
        (Type::A | Type::Aaaa, _) => Err(InvalidRecord::Fields("an address record", "one address")),
        (Type::Cname, _) => Err(InvalidRecord::Fields("CNAME", "one name")),
        (Type::Ptr, _) => Err(InvalidRecord::Fields("PTR", "one name")),
        (Type::Srv, _) => Err(InvalidRecord::Fields("SRV", "priority, weight, port and target")),
        (Type::Txt, _) => Err(InvalidRecord::Fields("TXT", "at least one text")),
    }
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
