//! Heads of HTTP/1.1 messages: which requests are plain, and what an answer's head says.
//!
//! Pure. A request is plain when nothing about it needs a second look: everything else, and above all whatever is not
//! written exactly as RFC 9112 has it, is left to the implementation behind, which sees the same octets and refuses
//! what has to be refused. So there is one set of refusals.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Uri;
use http::{Method, Request, Response, StatusCode, Version, response};
use hyper::ext::ReasonPhrase;
use memchr::memchr_iter;

use crate::proxy::headers::has_token;

/// The largest plain head, and the most fields it has.
pub const PLAIN_BYTES: usize = 16 * 1024;
const PLAIN_FIELDS: usize = 100;
/// The largest head of an answer, and the most fields it has.
pub const ANSWER_BYTES: usize = 256 * 1024;
const ANSWER_FIELDS: usize = 256;

/// What stands at the beginning of what a client sent.
#[derive(Debug)]
pub enum Found<D> {
    /// A head that may still become a plain one.
    Partial,
    /// A plain request that was taken as it lies, and the octets of its head.
    Direct(D, usize),
    /// A plain request.
    Plain(Box<PlainHead>),
    /// Something else.
    Other,
}

/// The head of a plain request: HTTP/1.1, without a body, and without a wish for anything but an answer.
#[derive(Debug)]
pub struct PlainHead {
    /// The head.
    pub parts: Parts,
    /// Its octets.
    pub length: usize,
    /// The client wants the connection closed after the answer.
    pub closes: bool,
}

/// Looks at what a client sent. `max_fields`: more are not plain. `take` may take a plain request as it lies: its head, and
/// what it says.
pub fn read_request<D>(
    bytes: &[u8],
    max_fields: usize,
    take: impl FnOnce(&[u8], &httparse::Request<'_, '_>) -> Option<D>,
) -> Found<D> {
    let mut fields = [const { MaybeUninit::uninit() }; PLAIN_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    // RFC 9112 section 2.2: empty lines before a request are skipped; that is rare.
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Found::Other;
    }
    let length = match request.parse_with_uninit_headers(&bytes[..bytes.len().min(PLAIN_BYTES)], &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < PLAIN_BYTES => return Found::Partial,
        _ => return Found::Other,
    };
    let is_plain = request.version == Some(1)
        && request.headers.len() <= max_fields
        && is_clean(&bytes[..length])
        && request.headers.iter().all(|field| is_plain_field(field.name));
    if !is_plain {
        return Found::Other;
    }
    let head = &bytes[..length];
    if let Some(taken) = take(head, &request) {
        return Found::Direct(taken, length);
    }
    match parts(head, &request) {
        Some(parts) => {
            let closes = has_token(&parts.headers, &CONNECTION, "close");
            Found::Plain(Box::new(PlainHead { parts, length, closes }))
        }
        None => Found::Other,
    }
}

/// Leaves every request to whoever looks at its parts.
pub fn take_none(_: &[u8], _: &httparse::Request<'_, '_>) -> Option<std::convert::Infallible> {
    None
}

/// Every line ends in CR LF (RFC 9112 section 2.2), and the first one is visible ASCII without `#` (section 3.2).
fn is_clean(head: &[u8]) -> bool {
    let mut ends = memchr_iter(b'\n', head);
    let first = ends.next().unwrap_or(head.len());
    let ends_well = |end: usize| end > 0 && head[end - 1] == b'\r';
    let line = &head[..first];
    ends_well(first) && ends.all(ends_well) && !line.iter().any(|&byte| byte == b'#' || byte >= 0x80)
}

/// Fields that speak of a body, of trailers, or of another protocol.
fn is_plain_field(name: &str) -> bool {
    // By length first: most names are none of them.
    let special: &[&str] = match name.len() {
        2 => &["te"],
        6 => &["expect"],
        7 => &["upgrade", "trailer"],
        14 => &["content-length", "http2-settings"],
        17 => &["transfer-encoding"],
        _ => return true,
    };
    !special.iter().any(|special| name.eq_ignore_ascii_case(special))
}

fn parts(head: &[u8], parsed: &httparse::Request<'_, '_>) -> Option<Parts> {
    let shared = Bytes::copy_from_slice(head);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(slice(&shared, head, parsed.path?.as_bytes())).ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = fields(&shared, head, parsed.headers)?;
    Some(request.into_parts().0)
}

fn fields(shared: &Bytes, head: &[u8], parsed: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::with_capacity(parsed.len() + 8);
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_maybe_shared(slice(shared, head, field.value)).ok()?);
    }
    Some(fields)
}

/// The part of `shared`, a copy of `head`, that `piece` is of `head`.
fn slice(shared: &Bytes, head: &[u8], piece: &[u8]) -> Bytes {
    if piece.is_empty() {
        return Bytes::new();
    }
    let at = piece.as_ptr().addr() - head.as_ptr().addr();
    shared.slice(at..at + piece.len())
}

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// The head; its length, where it gives one, stands in it once.
    pub parts: response::Parts,
    /// Its octets.
    pub length: usize,
}

/// An answer's head that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer's head is not valid")]
pub struct InvalidHead;

/// Reads the head of an answer; `None`: there is more to come.
///
/// # Errors
/// If it is not valid, or too large.
pub fn read_answer(bytes: &[u8]) -> Result<Option<AnswerHead>, InvalidHead> {
    let mut fields_parsed = [const { MaybeUninit::uninit() }; ANSWER_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields_parsed) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_BYTES => return Ok(None),
        _ => return Err(InvalidHead),
    };
    let head = &bytes[..length];
    let shared = Bytes::copy_from_slice(head);
    let mut answer = Response::new(());
    let code = parsed.code.ok_or(InvalidHead)?;
    *answer.status_mut() = StatusCode::from_u16(code).map_err(|_| InvalidHead)?;
    *answer.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    *answer.headers_mut() = fields(&shared, head, parsed.headers).ok_or(InvalidHead)?;
    let mut parts = answer.into_parts().0;
    if let Some(reason) = parsed.reason.filter(|reason| parts.status.canonical_reason() != Some(reason)) {
        parts.extensions.insert(ReasonPhrase::try_from(reason.as_bytes()).map_err(|_| InvalidHead)?);
    }
    // RFC 9112 section 6.1: HTTP/1.0 has no transfer codings.
    if parts.version == Version::HTTP_10 && parts.headers.contains_key(TRANSFER_ENCODING) {
        return Err(InvalidHead);
    }
    if let Some(length) = content_length(&parts.headers)?
        && !is_written_once(&parts.headers, length)
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(AnswerHead { parts, length }))
}

/// The one length that the fields give (RFC 9110 section 8.6: one that is repeated may be taken once).
///
/// # Errors
/// If it is no number, or there are several.
pub fn content_length(fields: &HeaderMap) -> Result<Option<u64>, InvalidHead> {
    let mut found = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for digits in value.as_bytes().split(|&byte| byte == b',') {
            let digits = std::str::from_utf8(digits.trim_ascii()).map_err(|_| InvalidHead)?;
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(InvalidHead);
            }
            let length: u64 = digits.parse().map_err(|_| InvalidHead)?;
            if found.replace(length).is_some_and(|former| former != length) {
                return Err(InvalidHead);
            }
        }
    }
    Ok(found)
}

/// Whether a length stands there as it should already, as it nearly always does.
pub(super) fn is_written_once(fields: &HeaderMap, length: u64) -> bool {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let is_same = |value: &HeaderValue| value.as_bytes() == itoa::Buffer::new().format(length).as_bytes();
    values.next().is_some_and(is_same) && values.next().is_none()
}

/// Reads trailers, as [`super::chunks::ChunkReader::trailers`] gives them.
///
/// # Errors
/// If they are no fields.
pub fn read_trailers(lines: &[u8]) -> Result<HeaderMap, InvalidHead> {
    if lines.is_empty() {
        return Ok(HeaderMap::new());
    }
    let text = [lines, b"\r\n"].concat();
    let mut parsed = [httparse::EMPTY_HEADER; PLAIN_FIELDS];
    match httparse::parse_headers(&text, &mut parsed) {
        Ok(httparse::Status::Complete((_, parsed))) => {
            fields(&Bytes::copy_from_slice(&text), &text, parsed).ok_or(InvalidHead)
        }
        _ => Err(InvalidHead),
    }
}

/// What fuzzing feeds: what is plain has one host at most as the gate sees it, and its octets are where it says.
pub fn fuzz_heads(data: &[u8]) {
    if let Found::Plain(head) = read_request(data, PLAIN_FIELDS, take_none) {
        assert!(head.length <= data.len() && data[..head.length].ends_with(b"\r\n\r\n"));
        assert!(is_clean(&data[..head.length]));
    }
    if let Ok(Some(head)) = read_answer(data) {
        assert!(head.length <= data.len());
        let lengths = head.parts.headers.get_all(CONTENT_LENGTH).iter().count();
        assert!(lengths <= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match read_request(text.as_bytes(), PLAIN_FIELDS, take_none) {
            Found::Partial => "partial",
            Found::Plain(head) if head.closes => "plain, closes",
            Found::Plain(_) => "plain",
            Found::Direct(..) => "taken",
            Found::Other => "other",
        };
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn plain_requests() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plain");
        check("DELETE /x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\nGET", "plain, closes");
        for end in 0..25 {
            check(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..end], "partial");
        }
    }

    #[test]
    fn everything_else() {
        for field in ["Content-Length: 0", "transfer-encoding: chunked", "Expect: 100-continue", "Upgrade: x", "TE: a"]
        {
            check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), "other");
        }
        check("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "other");
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", "other");
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", "other");
        check("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", "other");
        check("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "other");
        check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "other");
        check(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(PLAIN_BYTES)), "other");
        check(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)), "other");
    }

    fn length(lines: &[&str]) -> Result<Option<u64>, InvalidHead> {
        let fields = lines.iter().map(|value| (CONTENT_LENGTH, value.parse().unwrap())).collect();
        content_length(&fields)
    }

    #[test]
    fn lengths_rfc9110_8_6() {
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["7"]), Ok(Some(7)));
        assert_eq!(length(&["7", "7, 7"]), Ok(Some(7)));
        for bad in [&["+7"][..], &["7", "8"], &["7,8"], &[""], &["0x7"], &["-7"], &["18446744073709551616"]] {
            assert_eq!(length(bad), Err(InvalidHead), "{bad:?}");
        }
    }

    #[test]
    fn answers() {
        for lengths in ["5, 5", "05", "5\r\nContent-Length: 5", "5"] {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {lengths}\r\n\r\n");
            let head = read_answer(format!("{text}hello").as_bytes()).unwrap().unwrap();
            assert_eq!((head.length, head.parts.status), (text.len(), StatusCode::OK));
            let found: Vec<_> = head.parts.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(found, ["5"], "{lengths}");
        }
        assert!(read_answer(b"HTTP/1.1 200 OK\r\nContent-").unwrap().is_none());
        for bad in
            ["HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20x\r\n\r\n", "HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\n\r\n"]
        {
            assert_eq!(read_answer(bad.as_bytes()).err(), Some(InvalidHead), "{bad:?}");
        }
    }

    #[test]
    fn trailers() {
        assert_eq!(read_trailers(b"X: y\r\n").unwrap()["x"], "y");
        assert_eq!(read_trailers(b"X\r\n").err(), Some(InvalidHead));
    }
}
