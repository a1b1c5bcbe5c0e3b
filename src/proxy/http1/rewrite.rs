//! Heads that are passed on as they are read: fields are copied from one buffer to the other, without what belongs to
//! one hop and with what says who passed them on.
//!
//! Pure. The rules are those of [`super::super::headers`] and [`super::super::forwarded`], in one pass over the fields
//! as they lie; whatever would need a second look (a second `Host`, a name with `_`, a token in `Connection` that
//! nominates a field) is not decided here: `None` sends the request the long way, where there is one set of rules.
//! Tests hold the two ways against each other.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use httparse::Header;

use super::stays;
use super::upstream::Framing;
use crate::proxy::forwarded::{self, Hop};

/// What a request says that matters on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The one host, as it was written.
    pub authority: &'a str,
    /// The client wants the connection closed after the answer.
    pub closes: bool,
}

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Passed on.
    Passes,
    /// Of this hop, or written anew.
    Dropped,
    Connection,
    KeepAlive,
    Host,
    Cookie,
    ContentType,
    ContentLength,
    TransferEncoding,
    Date,
    /// Has to be looked at twice.
    Special,
}

/// By length and first letter first: most names are none of them.
fn kind_of_request(name: &[u8]) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match (name.len(), name.first().map(u8::to_ascii_lowercase)) {
        (3, Some(b'v')) if is("via") => Kind::Special,
        (4, Some(b'h')) if is("host") => Kind::Host,
        (5, Some(b'p')) if is("proxy") => Kind::Dropped,
        // `Connection: close` nominates it (RFC 9110 section 7.6.1).
        (5, Some(b'c')) if is("close") => Kind::Special,
        (6, Some(b'c')) if is("cookie") => Kind::Cookie,
        (9, Some(b'f')) if is("forwarded") => Kind::Dropped,
        (9, Some(b'x')) if is("x-real-ip") => Kind::Dropped,
        (10, Some(b'c')) if is("connection") => Kind::Connection,
        (10, Some(b'k')) if is("keep-alive") => Kind::Dropped,
        (11, Some(b'c')) if is("client-cert") => Kind::Dropped,
        (11, Some(b'x')) if is("x-forwarded") => Kind::Dropped,
        (12, Some(b'c')) if is("content-type") => Kind::ContentType,
        (16, Some(b'p')) if is("proxy-connection") => Kind::Dropped,
        (17, Some(b'c')) if is("client-cert-chain") => Kind::Dropped,
        (19, Some(b'p')) if is("proxy-authorization") => Kind::Dropped,
        (12.., Some(b'x')) if is_forwarded(name) => Kind::Dropped,
        (14, Some(b'c')) if is("content-length") => Kind::ContentLength,
        _ => Kind::Passes,
    }
}

/// `X-Forwarded-…`, whatever follows.
fn is_forwarded(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn kind_of_answer(name: &[u8]) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match (name.len(), name.first().map(u8::to_ascii_lowercase)) {
        (2, Some(b't')) if is("te") => Kind::Dropped,
        (4, Some(b'd')) if is("date") => Kind::Date,
        // `Connection: close` nominates it (RFC 9110 section 7.6.1).
        (5, Some(b'c')) if is("close") => Kind::Special,
        (7, Some(b'u')) if is("upgrade") => Kind::Dropped,
        (10, Some(b'c')) if is("connection") => Kind::Connection,
        (10, Some(b'k')) if is("keep-alive") => Kind::KeepAlive,
        // How a call over gRPC went.
        (11, Some(b'g')) if is("grpc-status") => Kind::Special,
        (12, Some(b'c')) if is("content-type") => Kind::ContentType,
        (14, Some(b'c')) if is("content-length") => Kind::ContentLength,
        (14, Some(b'h')) if is("http2-settings") => Kind::Dropped,
        (16, Some(b'p')) if is("proxy-connection") => Kind::Dropped,
        (17, Some(b't')) if is("transfer-encoding") => Kind::TransferEncoding,
        _ => Kind::Passes,
    }
}

/// Where fields go that are passed on. Names come as they were read.
pub trait Sink {
    /// The next field; `is_sensitive`: it must not be indexed (RFC 7541 section 7.1.3).
    fn field(&mut self, name: &[u8], value: &[u8], is_sensitive: bool);

    /// Who passes it on, and the version that it came in (RFC 9110 section 7.6.3).
    fn via(&mut self, received: &str, name: &str);
}

/// As lines of a head of HTTP/1.1.
impl Sink for Vec<u8> {
    fn field(&mut self, name: &[u8], value: &[u8], _: bool) {
        write_field(name, value, self);
    }

    fn via(&mut self, received: &str, name: &str) {
        write(self, &[b"via: ", received.as_bytes(), b" ", name.as_bytes(), b"\r\n"]);
    }
}

/// Nowhere: whether they may be passed on is all that is wanted.
#[derive(Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn field(&mut self, _: &[u8], _: &[u8], _: bool) {}

    fn via(&mut self, _: &str, _: &str) {}
}

/// Passes the fields of a request on to the next hop; what the proxy says is still to come. `None`: what was written is of no
/// use.
pub fn request<'a>(
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8], bool)>,
    sink: &mut impl Sink,
) -> Option<Asked<'a>> {
    let (mut authority, mut closes, mut cookies) = (None, false, 0);
    let (mut length, mut has_type) = (None, false);
    for (name, value, is_sensitive) in fields {
        match kind_of_request(name) {
            Kind::Dropped => continue,
            Kind::Connection => {
                closes |= says_close(value)?;
                continue;
            }
            Kind::Host => {
                let former = authority.replace(std::str::from_utf8(value).ok()?);
                if former.is_some() {
                    return None;
                }
            }
            Kind::Cookie => {
                cookies += 1;
                // RFC 9113 section 8.2.3 has them joined.
                if cookies > 1 {
                    return None;
                }
            }
            Kind::ContentLength if !is_first_length(&mut length, value)? => continue,
            // RFC 9110 section 8.3: several may be refused.
            Kind::ContentType if std::mem::replace(&mut has_type, true) => return None,
            Kind::Special => return None,
            _ => {}
        }
        // It may be another's to those behind (GHSA-5m6w-wvh7-57vm).
        if name.contains(&b'_') {
            return None;
        }
        sink.field(name, value, is_sensitive);
    }
    Some(Asked { authority: authority?, closes })
}

/// What was parsed of HTTP/1.1, as [`request`] takes it.
pub fn parsed<'a>(fields: &[Header<'a>]) -> impl Iterator<Item = (&'a [u8], &'a [u8], bool)> {
    fields.iter().map(|field| (field.name.as_bytes(), field.value, false))
}

/// Writes what this proxy says of a request, and the end of its head; `received`: the version that it came in.
pub fn end_request(head: &mut Vec<u8>, received: &str, hop: &Hop<'_>, via: &str) {
    head.via(received, via);
    forwarded::each(hop, |field, value| write(head, &[field.name().as_bytes(), b": ", value, b"\r\n"]));
    head.extend_from_slice(b"\r\n");
}

/// What an answer's head says that matters on its way.
#[derive(Debug)]
pub struct Said {
    /// Its status.
    pub status: StatusCode,
    /// How the body's end is found.
    pub framing: Framing,
    /// The connection serves another request once the body is whole.
    pub is_kept: bool,
    /// For how long it does so, if that is said.
    pub stays: Option<Duration>,
}

/// What is to be known of the proxy for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The name that it has in `Via`.
    pub via: &'a str,
    /// The connection to the client ends with the answer.
    pub closes: bool,
}

/// Where the head of an answer goes.
pub trait AnswerSink: Sink {
    /// Its status.
    fn begin(&mut self, status: StatusCode, reason: &str);
    /// How its body ends, and whether there can be one; `closes`: the connection ends with it.
    fn end(&mut self, framing: &Framing, has_content: bool, closes: bool);

    /// The length of the content, or of that which an answer with content would have had, with 304 (RFC 9110 section 8.6).
    fn length(&mut self, length: u64);
}

impl AnswerSink for Vec<u8> {
    fn begin(&mut self, status: StatusCode, reason: &str) {
        write(self, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    }

    fn end(&mut self, framing: &Framing, has_content: bool, closes: bool) {
        match framing {
            _ if !has_content => {}
            Framing::Length(length) => self.length(*length),
            _ => self.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        self.extend_from_slice(if closes { b"connection: close\r\n\r\n" } else { b"\r\n" });
    }

    fn length(&mut self, length: u64) {
        write(self, &[b"content-length: ", itoa::Buffer::new().format(length).as_bytes(), b"\r\n"]);
    }
}

/// Whether an answer with this status is passed on as it is: so is none that is interim (RFC 9110 section 15.2), or that says
/// that the endpoint failed or has too much to do.
pub fn is_plain_status(code: u16) -> bool {
    (200..500).contains(&code) && code != 429
}

/// Passes the head of an answer to GET on, status and all. `date`: the present. `None`: what was written is of no use.
pub fn answer(
    parsed: &httparse::Response<'_, '_>,
    passing: &Passing<'_>,
    date: impl FnOnce() -> HeaderValue,
    head: &mut impl AnswerSink,
) -> Option<Said> {
    let code = parsed.code.filter(|code| is_plain_status(*code))?;
    let status = StatusCode::from_u16(code).ok()?;
    if parsed.version != Some(1) {
        return None;
    }
    head.begin(status, parsed.reason.unwrap_or_default());
    let (mut length, mut is_chunked, mut is_kept, mut is_dated) = (None, false, true, false);
    let mut stays = None;
    for field in &*parsed.headers {
        let name = field.name.as_bytes();
        match kind_of_answer(name) {
            Kind::Dropped => continue,
            Kind::Connection => {
                is_kept &= !says_close(field.value)?;
                continue;
            }
            Kind::KeepAlive => {
                // The shortest, if several are said.
                stays = stays::said(field.value).into_iter().chain(stays).min();
                continue;
            }
            Kind::ContentLength => {
                if length.replace(canonical_length(field.value)?).is_some() {
                    return None;
                }
                continue;
            }
            // RFC 9112 section 6.1: a lone `chunked`, said once.
            Kind::TransferEncoding => {
                if std::mem::replace(&mut is_chunked, true) || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return None;
                }
                continue;
            }
            // Its trailers tell how it went.
            Kind::ContentType if field.value.starts_with(b"application/grpc") => return None,
            Kind::Date => is_dated = true,
            Kind::Special => return None,
            _ => {}
        }
        head.field(name, field.value, false);
    }
    head.via("1.1", passing.via);
    // RFC 9110 section 6.6.1: a recipient with a clock adds what is missing.
    if !is_dated {
        head.field(b"date", date().as_bytes(), false);
    }
    let framing = match (code, is_chunked, length) {
        // RFC 9112 section 6.3: two ways to find the end.
        (_, true, Some(_)) => return None,
        // RFC 9112 section 6.3: no content, whatever the fields say.
        (204 | 304, ..) => Framing::Length(0),
        (_, true, None) => Framing::Chunked(Box::default()),
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClosed,
    };
    if let (304, Some(length)) = (code, length) {
        head.length(length);
    }
    head.end(&framing, !matches!(code, 204 | 304), passing.closes);
    is_kept &= !matches!(framing, Framing::UntilClosed);
    Some(Said { status, framing, is_kept, stays })
}

/// Passes the fields of an answer over HTTP/2 on. `None`: it has to be looked at.
pub fn stream_answer<'a>(
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8], bool)>,
    code: u16,
    via: &str,
    date: impl FnOnce() -> HeaderValue,
    sink: &mut impl Sink,
) -> Option<()> {
    let (mut is_dated, mut length) = (false, None);
    for (name, value, is_sensitive) in fields {
        match kind_of_answer(name) {
            Kind::Dropped => continue,
            // RFC 9110 section 8.6: no length where there can be no content.
            Kind::ContentLength if code == 204 => continue,
            Kind::ContentLength if !is_first_length(&mut length, value)? => continue,
            Kind::Date => is_dated = true,
            Kind::Special | Kind::Connection | Kind::KeepAlive | Kind::TransferEncoding => return None,
            _ => {}
        }
        sink.field(name, value, is_sensitive);
    }
    sink.via("2", via);
    if !is_dated {
        sink.field(b"date", date().as_bytes(), false);
    }
    Some(())
}

/// Whether `Connection` says that it ends; `None`: it says more than that it stays or ends.
fn says_close(value: &[u8]) -> Option<bool> {
    let mut closes = false;
    for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
        if token.eq_ignore_ascii_case(b"close") {
            closes = true;
        } else if !token.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
    }
    Some(closes)
}

/// Whether a length is the first one of its head. RFC 9110 section 8.6 has one that is repeated refused, or the repetitions
/// replaced by "a single valid Content-Length field": the others are left out. `None`: they differ, or one is written in
/// another way than it would be here.
fn is_first_length(length: &mut Option<u64>, value: &[u8]) -> Option<bool> {
    let said = canonical_length(value)?;
    match length.replace(said) {
        None => Some(true),
        Some(former) if former == said => Some(false),
        Some(_) => None,
    }
}

/// A length that is written as it would be written here.
fn canonical_length(value: &[u8]) -> Option<u64> {
    let is_canonical = value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
    if is_canonical { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

/// Names in lower case.
fn write_field(name: &[u8], value: &[u8], head: &mut Vec<u8>) {
    head.reserve(name.len() + value.len() + 4);
    let at = head.len();
    head.extend_from_slice(name);
    head[at..].make_ascii_lowercase();
    write(head, &[b": ", value, b"\r\n"]);
}

#[inline]
fn write(head: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        head.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::header::HOST;
    use http::{HeaderMap, HeaderName, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::config::checked::Underscores;
    use crate::proxy::forwarded::address_text;
    use crate::proxy::headers;

    /// Lines in an order of their own: fields of one name stay in theirs.
    fn lines(text: &[u8]) -> Vec<String> {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let mut lines: Vec<_> = text.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect();
        lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        lines
    }

    fn written(fields: &HeaderMap) -> Vec<String> {
        let mut text = Vec::new();
        super::super::upstream::write_fields(&mut text, fields);
        lines(&text)
    }

    fn map(fields: &[Header<'_>]) -> HeaderMap {
        let pair = |field: &Header<'_>| {
            (HeaderName::from_bytes(field.name.as_bytes()).unwrap(), HeaderValue::from_bytes(field.value).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    fn fields<'a>(pairs: &'a [(&str, &str)]) -> Vec<Header<'a>> {
        pairs.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect()
    }

    /// What both ways make of a request; `None`: this one leaves it to the other.
    fn check_request(pairs: &[(&str, &str)]) -> Option<Vec<String>> {
        let fields = fields(pairs);
        let mut head = Vec::new();
        let asked = request(parsed(&fields), &mut head)?;
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let peer_text = &address_text(peer);
        let authority = asked.authority;
        let (trusted, secure, port, certificate) = (false, false, 8080, None);
        let hop = Hop { peer, peer_text, trusted, client: peer, secure, authority, port, certificate };
        end_request(&mut head, "1.1", &hop, "p");
        let mut expected = map(&fields);
        assert_eq!(asked.closes, headers::has_token(&expected, &http::header::CONNECTION, "close"));
        headers::prepare_request(&mut expected, Version::HTTP_11, "p", Underscores::default());
        forwarded::write(&mut expected, &hop);
        expected.insert(HOST, authority.parse().unwrap());
        assert_eq!(lines(&head), written(&expected), "{pairs:?}");
        Some(lines(&head))
    }

    /// The same for an answer; the other way as [`super::super::answer`] writes it.
    fn check_answer(code: u16, pairs: &[(&str, &str)]) -> Option<(Vec<String>, Said)> {
        let mut fields = fields(pairs);
        let mut parsed = httparse::Response::new(&mut fields);
        (parsed.version, parsed.code, parsed.reason) = (Some(1), Some(code), Some("Fine"));
        let mut head = Vec::new();
        let said =
            answer(&parsed, &Passing { via: "p", closes: false }, || HeaderValue::from_static("now"), &mut head)?;
        let mut expected = map(parsed.headers);
        let stays = !headers::has_token(&expected, &http::header::CONNECTION, "close");
        assert_eq!(said.is_kept, stays && !matches!(said.framing, Framing::UntilClosed));
        assert_eq!(said.stays, stays::of(&expected), "{pairs:?}");
        headers::prepare_answer(&mut expected, Version::HTTP_11, "p");
        expected.entry("date").or_insert(HeaderValue::from_static("now"));
        let length = expected.remove(http::header::CONTENT_LENGTH);
        match said.framing {
            _ if code == 204 => {}
            _ if code == 304 => drop(length.map(|length| expected.insert(http::header::CONTENT_LENGTH, length))),
            Framing::Length(length) => drop(expected.insert(http::header::CONTENT_LENGTH, length.into())),
            _ => drop(expected.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        }
        let mut expected = written(&expected);
        expected.push(format!("HTTP/1.1 {code} Fine"));
        expected.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        assert_eq!(lines(&head), expected, "{code} {pairs:?}");
        Some((lines(&head), said))
    }

    #[test]
    fn requests_that_are_passed_on_say_the_same_either_way() {
        let plain =
            check_request(&[("Host", "a.example:81"), ("Accept", "*/*"), ("X-Forwarded-For", "6.6.6.6")]).unwrap();
        assert!(plain.contains(&"accept: */*".to_owned()) && !plain.iter().any(|line| line.contains("6.6.6.6")));
        for dropped in ["Proxy", "Keep-Alive", "Proxy-Connection", "X-Real-Ip", "Client-Cert-Chain", "X-Forwarded-Y"] {
            let lines = check_request(&[("host", "a"), (dropped, "lie"), ("accept", "b"), ("accept", "a")]).unwrap();
            assert!(!lines.iter().any(|line| line.contains("lie")), "{dropped}");
        }
        assert!(check_request(&[("host", "a"), ("connection", "Keep-Alive, close"), ("cookie", "a=b")]).is_some());
        assert!(check_request(&[("host", "a"), ("content-type", "a/b")]).is_some());
    }

    #[test]
    fn requests_that_want_a_second_look() {
        for pairs in [
            &[("accept", "a")][..],
            &[("host", "a"), ("Host", "a")],
            &[("host", "a"), ("via", "1.1 q")],
            &[("host", "a"), ("connection", "x")],
            &[("host", "a"), ("connection", "close"), ("Close", "x")],
            &[("host", "a"), ("x_real_ip", "6.6.6.6")],
            &[("host", "a"), ("cookie", "a=b"), ("cookie", "c=d")],
            &[("host", "a"), ("content-type", "a/b"), ("Content-Type", "c/d")],
        ] {
            assert_eq!(check_request(pairs), None, "{pairs:?}");
        }
    }

    #[test]
    fn answers_that_are_passed_on_say_the_same_either_way() {
        let (_, said) = check_answer(200, &[("Content-Length", "7"), ("Via", "1.0 q"), ("Keep-Alive", "5")]).unwrap();
        assert!(matches!(said.framing, Framing::Length(7)));
        let (_, said) = check_answer(404, &[("transfer-encoding", "Chunked"), ("connection", "close")]).unwrap();
        assert!(matches!(said.framing, Framing::Chunked(_)));
        let (_, said) = check_answer(200, &[("date", "then"), ("set-cookie", "a"), ("set-cookie", "b")]).unwrap();
        assert!(matches!(said.framing, Framing::UntilClosed));
        let (_, said) = check_answer(
            200,
            &[("content-length", "7"), ("Keep-Alive", "timeout=9"), ("keep-alive", "timeout=5, max=3")],
        )
        .unwrap();
        assert_eq!(said.stays, Some(Duration::from_secs(5)));
        for (code, length) in [(204, None), (304, Some("content-length: 7"))] {
            let (lines, said) = check_answer(code, &[("content-length", "7"), ("etag", "x")]).unwrap();
            assert!(matches!(said.framing, Framing::Length(0)), "{code}");
            assert_eq!(
                lines.iter().find(|line| line.starts_with("content-length")).map(String::as_str),
                length,
                "{code}"
            );
        }
        let (lines, said) = check_answer(304, &[("transfer-encoding", "chunked")]).unwrap();
        assert!(matches!(said.framing, Framing::Length(0)));
        assert!(!lines.iter().any(|line| line.starts_with("transfer-encoding") || line.starts_with("content-length")));
    }

    #[test]
    fn answers_that_want_a_second_look() {
        for (code, pairs) in [
            (103, &[("link", "x")][..]),
            (101, &[("upgrade", "x")]),
            (429, &[("content-length", "0")]),
            (503, &[("content-length", "0")]),
            (200, &[("content-length", "05")]),
            (200, &[("content-length", "5"), ("content-length", "5")]),
            (200, &[("content-length", "5"), ("transfer-encoding", "chunked")]),
            (200, &[("transfer-encoding", "gzip, chunked")]),
            (200, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            (200, &[("content-length", "5"), ("connection", "x")]),
            (200, &[("content-length", "5"), ("connection", "close"), ("Close", "x")]),
            (200, &[("content-length", "5"), ("content-type", "application/grpc")]),
            (200, &[("content-length", "5"), ("grpc-status", "0")]),
        ] {
            assert!(check_answer(code, pairs).is_none(), "{code} {pairs:?}");
        }
    }

    /// RFC 9110 section 8.6. Over HTTP/1.1 a request with a length is not passed on so.
    #[test]
    fn a_length_that_is_repeated_goes_on_once() {
        let length = |value: &'static str| (&b"content-length"[..], value.as_bytes(), false);
        let host = (&b"host"[..], &b"a"[..], false);
        let asked = |values: &[&'static str]| {
            let mut head = Vec::new();
            let lengths = values.iter().map(|value| length(value));
            request(std::iter::once(host).chain(lengths), &mut head)?;
            Some(lines(&head))
        };
        let answered = |values: &[&'static str]| {
            let (mut head, date) = (Vec::new(), || HeaderValue::from_static("now"));
            stream_answer(values.iter().map(|value| length(value)), 200, "p", date, &mut head)?;
            Some(lines(&head))
        };
        for values in [&["5"][..], &["5", "5"], &["5", "5", "5"]] {
            assert_eq!(asked(values).unwrap(), ["content-length: 5", "host: a"], "{values:?}");
            assert_eq!(answered(values).unwrap(), ["content-length: 5", "date: now", "via: 2 p"], "{values:?}");
        }
        for values in [&["5", "6"][..], &["05"], &["5", "05"], &["5, 5"], &[""], &["+5"]] {
            assert_eq!((asked(values), answered(values)), (None, None), "{values:?}");
        }
    }

    const NAMES: &str = "accept|Via|HOST|proxy|Cookie|forwarded|x-real-ip|Connection|keep-alive|client-cert|\
        X-Forwarded-For|x-forwarded|proxy-authorization|x-marathon-app-id|te|upgrade|date|content-type|content-length|\
        transfer-encoding|set-cookie|http2-settings|x_forwarded_for|Close|[a-z-]{1,20}";
    const VALUES: &str =
        "|a|close|keep-alive|Close, x|chunked|7|07|application/grpc|timeout=5|max=2, Timeout=[0-9]{1,11}|[ -~]{0,12}";

    proptest! {
        #[test]
        fn both_ways_agree(pairs in proptest::collection::vec((NAMES, VALUES), 0..8), code in 200u16..500) {
            let is_plain = |name: &str| !["te", "upgrade", "http2-settings", "content-length", "transfer-encoding"].contains(&name);
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
            // A plain request has none of those.
            let mut asked: Vec<_> = pairs.iter().copied().filter(|(name, _)| is_plain(name)).collect();
            let has_host = asked.iter().any(|(name, value)| name.eq_ignore_ascii_case("host") && value.is_empty());
            if !has_host {
                asked.push(("host", "a.example"));
            }
            asked.retain(|(name, value)| !name.eq_ignore_ascii_case("host") || *value == "a.example");
            check_request(&asked);
            check_answer(code, &pairs);
        }
    }
}
