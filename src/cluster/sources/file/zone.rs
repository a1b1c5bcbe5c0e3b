//! Zone files for many records: RFC 1035 section 5, read line by line.
//!
//! `name [ttl] [class] type data` on a line, or on several within parentheses; `$ORIGIN`, `$TTL`, comments, quoted texts,
//! and lines that begin with a space for the owner before. The zone's own SOA and NS are skipped: the program makes its own. Nothing
//! is held but the records themselves, packed.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;

use super::error::{FileErrors, Place};
use super::record::{self, InvalidRecord, Type, clip};
use crate::cluster::records::RecordsBuilder;

/// The longest line, in bytes.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// The most records of one source.
pub(crate) const MAX_RECORDS: usize = 10_000_000;

/// The most octets that are made room for before a file is read: of a larger one the rest is when it comes.
const MOST_ROOM: usize = 1 << 30;

/// What a zone file came to.
#[derive(Debug, Default)]
pub(super) struct Zone {
    pub records: RecordsBuilder,
    /// The zone's own SOA and NS records, which were left out.
    pub skipped: usize,
    /// What the last SOA among them says.
    pub soa: Option<String>,
}

/// What lines leave for those that follow.
struct State {
    origin: Option<String>,
    /// As `$TTL` has it (RFC 2308 §4).
    ttl: Option<u32>,
    /// As the last record had it that said one, which counts without `$TTL` (RFC 1035 §5.1).
    stated_ttl: Option<u32>,
    owner: Option<String>,
}

/// Reads a zone file of about `size` octets. `origin` completes relative names until the file says another.
///
/// # Errors
/// Only reading itself fails; what is wrong with lines is added to `errors`.
pub(super) fn read(
    (mut input, size): (impl BufRead, usize),
    path: &Arc<Path>,
    origin: Option<&str>,
    zones: &[Arc<str>],
    errors: &mut FileErrors,
) -> io::Result<Zone> {
    let mut zone = Zone { records: RecordsBuilder::with_room_for(size.min(MOST_ROOM)), ..Zone::default() };
    let mut state = State { origin: origin.map(str::to_owned), ttl: None, stated_ttl: None, owner: None };
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let first = number;
        let mut open = unfold(&mut line, 0, 0);
        while open > 0 && line.len() <= MAX_LINE {
            let begin = line.len();
            number += 1;
            if input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            open = unfold(&mut line, begin, open);
        }
        let place = |column| Place { path: path.clone(), line: first, column };
        if line.len() > MAX_LINE || zone.records.len() > MAX_RECORDS {
            let message = format!("the line is longer than {MAX_LINE} bytes, or there are over {MAX_RECORDS} records");
            errors.add(place(1), "", message, "split the file");
            break;
        }
        let read = match std::str::from_utf8(&line) {
            _ if open > 0 => Err((0, InvalidRecord::Syntax("a parenthesis is not closed"))),
            Ok(text) => read_line(text, &mut state, zones, &mut zone),
            Err(_) => Err((0, InvalidRecord::Syntax("the line is no UTF-8 text"))),
        };
        if let Err((at, error)) = read {
            let before = line.get(..at).unwrap_or_default();
            let column = String::from_utf8_lossy(before).chars().count() + 1;
            errors.add(place(column), "", error.to_string(), error.mend());
        }
    }
    Ok(zone)
}

/// A fault and the byte of the line where it is.
type LineFault = (usize, InvalidRecord);

fn read_line(line: &str, state: &mut State, zones: &[Arc<str>], zone: &mut Zone) -> Result<(), LineFault> {
    let line = line.trim_end_matches(['\n', '\r']);
    let has_marks = memchr::memchr3(b'"', b'\\', b';', line.as_bytes()).is_some();
    if !has_marks && !line.as_bytes().contains(&b'(') {
        // The common case needs no copy of any field.
        let fields: SmallVec<[Field<'_>; 8]> =
            line.split_ascii_whitespace().map(|text| Field::plain(line, text)).collect();
        return read_fields(line, &fields, state, zones, zone);
    }
    let quoted = fields(line)?;
    let fields: Vec<Field<'_>> =
        quoted.iter().map(|field| Field { at: field.at, text: &field.text, is_quoted: field.is_quoted }).collect();
    read_fields(line, &fields, state, zones, zone)
}

/// One field of a line.
#[derive(Clone, Copy)]
struct Field<'a> {
    at: usize,
    text: &'a str,
    is_quoted: bool,
}

impl<'a> Field<'a> {
    fn plain(line: &str, text: &'a str) -> Self {
        Self { at: text.as_ptr() as usize - line.as_ptr() as usize, text, is_quoted: false }
    }
}

fn read_fields(
    line: &str,
    fields: &[Field<'_>],
    state: &mut State,
    zones: &[Arc<str>],
    zone: &mut Zone,
) -> Result<(), LineFault> {
    let Some(first) = fields.first() else { return Ok(()) };
    if first.text.starts_with('$') && !first.is_quoted {
        return directive(fields, state);
    }
    let is_continued = line.starts_with([' ', '\t']);
    let rest = if is_continued { fields } else { &fields[1..] };
    let (ttl, kind, data) = split(rest, first.at)?;
    state.stated_ttl = ttl.or(state.stated_ttl);
    if !is_continued {
        state.owner = Some(record::name(first.text, state.origin.as_deref()).map_err(|error| (first.at, error))?);
    }
    let name = state.owner.as_deref();
    let name = name.ok_or((first.at, InvalidRecord::Syntax("no name comes before this line")))?;
    let is = |kind_name: &str| kind.text.eq_ignore_ascii_case(kind_name);
    if is("SOA") || is("NS") && zones.iter().any(|zone| **zone == *name) {
        zone.skipped += 1;
        if is("SOA") {
            zone.soa = Some(data.iter().map(|field| field.text).collect::<Vec<_>>().join(" "));
        }
        return Ok(());
    }
    let kind_read = Type::parse(kind.text).ok_or_else(|| (kind.at, InvalidRecord::Type(clip(kind.text))));
    // Where a name lies is told before what is said of it.
    let owned = kind_read.as_ref().map_or(Type::A, |kind| *kind);
    record::check_owner(owned, name, zones).map_err(|error| (first.at, error))?;
    let kind_read = kind_read?;
    let at = data.first().map_or(kind.at, |field| field.at);
    let texts: SmallVec<[&str; 4]> = data.iter().map(|field| field.text).collect();
    if kind_read != Type::Txt && texts.iter().any(|text| text.contains(['(', ')'])) {
        return Err((at, InvalidRecord::Syntax("a parenthesis closes what was not opened")));
    }
    let data = record::data(kind_read, &texts, state.origin.as_deref()).map_err(|error| (at, error))?;
    zone.records.push(name, &data, ttl.or(state.ttl).or(state.stated_ttl));
    Ok(())
}

/// `[ttl] [class] type data…`, time and class in either order.
fn split<'a, 'b>(rest: &'b [Field<'a>], at: usize) -> Result<(Option<u32>, Field<'a>, &'b [Field<'a>]), LineFault> {
    let mut ttl = None;
    for (index, field) in rest.iter().enumerate().take(3) {
        if field.text.eq_ignore_ascii_case("IN") {
            continue;
        }
        if ["CH", "HS", "CS"].iter().any(|class| class.eq_ignore_ascii_case(field.text)) {
            return Err((field.at, InvalidRecord::Syntax("only the class IN is served")));
        }
        if ttl.is_none() && field.text.starts_with(|c: char| c.is_ascii_digit()) {
            ttl = Some(record::ttl(field.text).map_err(|error| (field.at, error))?);
            continue;
        }
        return Ok((ttl, *field, &rest[index + 1..]));
    }
    Err((at, InvalidRecord::Syntax("the line has no type")))
}

fn directive(fields: &[Field<'_>], state: &mut State) -> Result<(), LineFault> {
    let at = fields[0].at;
    match fields {
        [word, origin] if word.text.eq_ignore_ascii_case("$ORIGIN") => {
            let name = record::name(origin.text, state.origin.as_deref()).map_err(|error| (origin.at, error))?;
            state.origin = Some(name);
        }
        [word, ttl] if word.text.eq_ignore_ascii_case("$TTL") => {
            state.ttl = Some(record::ttl(ttl.text).map_err(|error| (ttl.at, error))?);
        }
        _ => return Err((at, InvalidRecord::Syntax("only `$ORIGIN name` and `$TTL time` are understood"))),
    }
    Ok(())
}

/// A field whose quotes and escapes are resolved.
struct Unquoted {
    at: usize,
    text: String,
    is_quoted: bool,
}

/// Splits a line that has quotes, escapes or comments.
fn fields(line: &str) -> Result<Vec<Unquoted>, LineFault> {
    let mut out: Vec<Unquoted> = Vec::new();
    let mut characters = line.char_indices().peekable();
    while let Some(&(at, character)) = characters.peek() {
        match character {
            ' ' | '\t' => {
                characters.next();
            }
            ';' => break,
            _ => {
                let is_quoted = character == '"';
                if is_quoted {
                    characters.next();
                }
                let text = field(&mut characters, is_quoted).map_err(|error| (at, error))?;
                out.push(Unquoted { at, text, is_quoted });
            }
        }
    }
    Ok(out)
}

/// Reads one field up to its end.
fn field(
    characters: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    is_quoted: bool,
) -> Result<String, InvalidRecord> {
    let mut text = String::new();
    while let Some(&(_, character)) = characters.peek() {
        match character {
            '"' if is_quoted => {
                characters.next();
                return Ok(text);
            }
            ' ' | '\t' | ';' | '"' if !is_quoted => return Ok(text),
            '\\' => {
                characters.next();
                text.push(escape(characters)?);
            }
            _ => {
                characters.next();
                text.push(character);
            }
        }
    }
    if is_quoted { Err(InvalidRecord::Syntax("a quoted text has no end")) } else { Ok(text) }
}

/// `\DDD` or `\X` (RFC 1035 section 5.1).
fn escape(characters: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> Result<char, InvalidRecord> {
    const WRONG: InvalidRecord = InvalidRecord::Syntax("an escape is `\\` and a character, or `\\` and 000 to 127");
    let (_, first) = characters.next().ok_or(WRONG)?;
    let Some(hundreds) = first.to_digit(10) else { return Ok(first) };
    let mut number = hundreds;
    for _ in 0..2 {
        let digit = characters.next().and_then(|(_, character)| character.to_digit(10)).ok_or(WRONG)?;
        number = number * 10 + digit;
    }
    // Texts are kept as UTF-8, in which a byte above 127 says nothing alone.
    u8::try_from(number).ok().filter(u8::is_ascii).map(char::from).ok_or(WRONG)
}

/// Takes the parentheses out of what stands behind `begin`, and where lines go on within them also comments and the
/// line's end; returns how many are open then. One that closes nothing stays.
fn unfold(line: &mut Vec<u8>, begin: usize, mut open: usize) -> usize {
    // Nearly every line.
    if open == 0 && !line[begin..].contains(&b'(') {
        return 0;
    }
    let (mut is_quoted, mut at) = (false, begin);
    while at < line.len() {
        match line[at] {
            b'\\' => at += 1,
            b'"' => is_quoted = !is_quoted,
            b'(' if !is_quoted => {
                open += 1;
                line[at] = b' ';
            }
            b')' if !is_quoted && open > 0 => {
                open -= 1;
                line[at] = b' ';
            }
            b';' if !is_quoted => line.truncate(at),
            b'\n' | b'\r' if open > 0 => line[at] = b' ',
            _ => {}
        }
        at += 1;
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::event::{Opaque, RecordData};

    fn parse(text: &str) -> (Zone, FileErrors) {
        let mut errors = FileErrors::default();
        let path: Arc<Path> = Path::new("zone").into();
        let zone = read((text.as_bytes(), text.len()), &path, None, &["test".into()], &mut errors).unwrap();
        (zone, errors)
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, RecordData, Option<u32>)]) {
        let (zone, errors) = parse(text);
        assert_eq!(errors.to_string(), "");
        let found: Vec<_> = zone.records.iter().map(|r| (r.name, r.data, r.ttl)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, data, ttl)| (Arc::from(*name), data.clone(), *ttl)).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn faulty(text: &str, expected: &str) {
        let (_, errors) = parse(text);
        assert!(errors.to_string().starts_with(expected), "{errors}");
    }

    fn a(last: u8) -> RecordData {
        RecordData::A([10, 0, 0, last].into())
    }

    #[test]
    fn records() {
        check("www.test. 60 IN A 10.0.0.1\n", &[("www.test", a(1), Some(60))]);
        check("WWW.Test. IN 60 a 10.0.0.1", &[("www.test", a(1), Some(60))]);
        check(
            "$ORIGIN Test.\n$TTL 1m\nwww A 10.0.0.1\n\t A 10.0.0.2\n@ 5 A 10.0.0.3\r\n",
            &[("www.test", a(1), Some(60)), ("www.test", a(2), Some(60)), ("test", a(3), Some(5))],
        );
        let srv = RecordData::Srv { priority: 0, weight: 1, port: 80, target: "a.test".into() };
        check("_a._tcp.test. SRV 0 1 80 a.test. ; comment\n", &[("_a._tcp.test", srv, None)]);
        let txt = RecordData::Txt(["a;b \"c\"".into(), "d".into(), "A".into()].into());
        check(r#"t.test. TXT "a;b \"c\"" d \065"#, &[("t.test", txt, None)]);
        check(
            "c.test. CNAME x.elsewhere.\nb.test. AAAA ::1\n; all\n\n",
            &[
                ("c.test", RecordData::Cname("x.elsewhere".into()), None),
                ("b.test", RecordData::Aaaa("::1".parse().unwrap()), None),
            ],
        );
    }

    #[test]
    fn own_records_of_the_zone_are_skipped() {
        let text = "test. 60 IN SOA ns. root. ( 1 ; serial\n 2 3 4\n 5 ) ; end\n NS ns.test.\n A 10.0.0.1\n";
        let (zone, errors) = parse(text);
        assert!(errors.is_empty(), "{errors}");
        let names: Vec<_> = zone.records.iter().map(|record| record.name).collect();
        assert_eq!((zone.skipped, names), (2, vec!["test".into()]));
        assert_eq!(zone.soa.as_deref(), Some("ns. root. 1 2 3 4 5"), "what is not taken is told");
    }

    #[test]
    fn a_time_to_live_that_is_left_out_is_the_default_or_the_last_one_stated() {
        let text = "a.test. A 10.0.0.1\na.test. 60 A 10.0.0.2\n A 10.0.0.3\nb.test. NS a.test.\n";
        let ns = RecordData::Ns("a.test".into());
        let expected = [("a.test", a(1), None), ("a.test", a(2), Some(60)), ("a.test", a(3), Some(60))];
        let with_ns = [&expected[..], &[("b.test", ns, Some(60))]].concat();
        check(text, &with_ns);
        // Records that are left out state one too.
        check("test. 30 IN SOA a. b. 1 2 3 4 5\na.test. A 10.0.0.1\n", &[("a.test", a(1), Some(30))]);
        // RFC 2308 §4: once a default is set, what single records state is theirs alone.
        check(
            "$TTL 9\na.test. 60 A 10.0.0.1\na.test. A 10.0.0.2\n$TTL 8\na.test. A 10.0.0.3\n",
            &[("a.test", a(1), Some(60)), ("a.test", a(2), Some(9)), ("a.test", a(3), Some(8))],
        );
    }

    #[test]
    fn zones_below_are_delegated() {
        let ns = |target: &str| RecordData::Ns(target.into());
        check(
            "$ORIGIN test.\nsub NS ns.sub\n NS ns.example.com.\nns.sub A 10.0.0.1\n",
            &[
                ("sub.test", ns("ns.sub.test"), None),
                ("sub.test", ns("ns.example.com"), None),
                ("ns.sub.test", a(1), None),
            ],
        );
        faulty("*.test. NS ns.test.", "zone:1:1: the name \"*.test\" cannot be delegated: it is a wildcard");
        faulty("a.test. NS", "zone:1:9: NS takes one name");
        faulty("a.other. NS ns.test.", "zone:1:1: the name \"a.other\" is in none of the source's zones");
    }

    #[test]
    fn the_keys_of_zones_below_are_told_of() {
        let digest = "49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE";
        let octets: Vec<u8> = [0xec, 0x45, 5, 1].into_iter().chain(hex(digest)).collect();
        let ds = RecordData::Opaque(Box::new(Opaque { record_type: 43, octets: octets.into() }));
        // The example of RFC 4034 §5.4.
        let text = format!(
            "dskey.test. 86400 IN NS ns.dskey.test.\ndskey.test. 86400 IN DS 60485 5 1 ( {}\n {} )\n",
            &digest[..24],
            &digest[24..]
        );
        let ns = RecordData::Ns("ns.dskey.test".into());
        check(&text, &[("dskey.test", ns, Some(86_400)), ("dskey.test", ds, Some(86_400))]);
        faulty(&format!("test. DS 60485 5 1 {digest}"), "zone:1:1: the name \"test\" is a zone's own: its DS record");
        faulty("test. TYPE43 \\# 5 ec45050101", "zone:1:1: the name \"test\" is a zone's own: its DS record");
        faulty("a.test. DS 60485 5 1 49FD", "zone:1:12: \"49FD\" is no digest of the length");
        faulty("a.test. DS 60485 5 1", "zone:1:12: DS takes key tag");
        faulty(&format!("a.test. DS 70000 5 1 {digest}"), "zone:1:12: \"70000\" is no key tag");
        faulty(&format!("a.other. DS 60485 5 1 {digest}"), "zone:1:1: the name \"a.other\" is in none");
    }

    fn hex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn a_record_may_span_lines_within_parentheses() {
        let mx = |preference, exchange: &str| RecordData::Mx { preference, exchange: exchange.into() };
        check(
            "test. MX ( 10 ; first (\n  mail.test. ) ; done\n  MX 20 (\n other.test.\n)\nwww.test. (\n60 A ) 10.0.0.1\n",
            &[("test", mx(10, "mail.test"), None), ("test", mx(20, "other.test"), None), ("www.test", a(1), Some(60))],
        );
        let texts = RecordData::Txt(["a (b".into(), "c) d".into()].into());
        check("t.test. TXT ( \"a (b\"\n \"c) d\" )", &[("t.test", texts, None)]);
        faulty("a.test. A (\n10.0.0.1", "zone:1:1: a parenthesis is not closed");
        faulty("a.test. A 10.0.0.1 )", "zone:1:11: a parenthesis closes what was not opened");
        faulty("a.test. A (\n10.0.0.1 )\nb.test. A x", "zone:3:11: \"x\" is no IPv4 address");
    }

    #[test]
    fn types_that_need_no_understanding() {
        let opaque =
            |record_type, octets: &[u8]| RecordData::Opaque(Box::new(Opaque { record_type, octets: octets.into() }));
        check("a.test. CAA 0 issue \"ca.example\"", &[("a.test", opaque(257, b"\0\x05issueca.example"), None)]);
        check("a.test. SSHFP 4 2 ( 12ab\n 34 )", &[("a.test", opaque(44, b"\x04\x02\x12\xab\x34"), None)]);
        check("a.test. TLSA 3 1 1 FF00", &[("a.test", opaque(52, b"\x03\x01\x01\xff\0"), None)]);
        check("a.test. TYPE65280 \\# 3 0102 03", &[("a.test", opaque(65_280, b"\x01\x02\x03"), None)]);
        check("a.test. type731 \\# 0", &[("a.test", opaque(731, b""), None)]);
        faulty("a.test. TYPE65280 \\# 2 0102 03", "zone:1:19: \"0102 03\" is no as many octets");
        faulty("a.test. TYPE65280 \\# 2 010", "zone:1:19: \"010\" is no pairs");
        faulty("a.test. TYPE1 \\# 4 0a000001", "zone:1:9: records of type \"TYPE1\"");
        faulty("a.test. CAA 0 is-sue x", "zone:1:13: \"is-sue\" is no tag");
        faulty("a.test. MX 70000 b.test.", "zone:1:12: \"70000\" is no preference");
    }

    #[test]
    fn faults() {
        faulty("a.test. A 10.0.0.1\nb.test. A x", "zone:2:11: \"x\" is no IPv4 address");
        faulty("a.other. A 10.0.0.1", "zone:1:1: the name \"a.other\" is in none of the source's zones");
        faulty("a A 10.0.0.1", "zone:1:1: the name \"a\" is relative");
        faulty("a.test. LOC 10 b.", "zone:1:9: records of type \"LOC\"");
        faulty("a.test. SRV 0 1 b.", "zone:1:13: SRV takes");
        faulty("a.test. CH A 10.0.0.1", "zone:1:9: only the class IN");
        faulty("a.test.", "zone:1:1: the line has no type");
        faulty(" A 10.0.0.1", "zone:1:2: no name comes before");
        faulty("$INCLUDE x", "zone:1:1: only `$ORIGIN name`");
        faulty("t.test. TXT \"a", "zone:1:13: a quoted text has no end");
        faulty("t.test. TXT \\300", "zone:1:13: an escape");
        faulty(&format!("t.test. TXT {}", "a".repeat(256)), "zone:1:13: a text of 256 bytes");
        faulty(&"a".repeat(MAX_LINE + 1), "zone:1:1: the line is longer");
    }
}
