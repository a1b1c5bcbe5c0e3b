//! Heads of requests and answers, and trailers: what a header block says, checked (RFC 9113 sections 8.1 to 8.3), and how
//! one is written.
//!
//! Pure. All fields of a block lie in one piece of memory, each as a span of it: most requests are passed on without that
//! anything else is made of them.

use http::header::{CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, StatusCode, Version, request, response};
use hyper::ext::Protocol;

use super::hpack::Encoder;

/// What each field of a list counts beside its octets (RFC 9113 section 10.5.1).
const OVERHEAD: usize = 32;
/// Octets of fields that most heads have room in.
const SHORT: usize = 512;
/// Shorter cookies can be guessed where they are indexed (RFC 7541 section 7.1.3).
pub(super) const SHORT_COOKIE: usize = 20;
/// So many times as long as a list of fields may be, one ends its connection: it is meant to do harm (CVE-2026-49975).
const HOSTILE: usize = 4;

/// What is wrong with a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// RFC 9113 section 8.1.1: a stream error of type PROTOCOL_ERROR.
    Malformed(&'static str),
    /// Longer than what is taken: a request gets 431 (RFC 6585 section 5).
    TooLong,
    /// Longer than anybody sends who means it.
    Hostile,
}

/// What a header block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The head of a request.
    Request,
    /// The head of an answer.
    Answer,
    /// The head of an answer to CONNECT.
    TunnelAnswer,
    /// What follows the content.
    Trailers,
}

/// A field's place.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    /// Where its name ends and its value begins.
    value: u32,
    end: u32,
    /// Never to be indexed (RFC 7541 section 7.1.3).
    sensitive: bool,
}

/// The fields of one block.
#[derive(Debug)]
pub struct Fields {
    part: Part,
    octets: Vec<u8>,
    spans: Vec<Span>,
    pseudo: [Option<Span>; PSEUDO.len()],
    /// What counts against the limit.
    size: usize,
    most: usize,
    /// The first content-length.
    length: Option<u64>,
    fault: Option<Fault>,
}

/// Pseudo-header fields (RFC 9113 section 8.3, RFC 8441 section 4).
const PSEUDO: [&[u8]; 6] = [b":method", b":scheme", b":authority", b":path", b":protocol", b":status"];
const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;
const PROTOCOL: usize = 4;
const STATUS: usize = 5;

impl Fields {
    /// For a block whose list of fields may be `most` octets long (RFC 9113 section 10.5.1).
    pub fn new(part: Part, most: usize, block: usize) -> Self {
        Self {
            part,
            // What is compressed well is longer here.
            octets: Vec::with_capacity((block * 2).max(SHORT).min(most)),
            spans: Vec::with_capacity(16),
            pseudo: [None; PSEUDO.len()],
            size: 0,
            most,
            length: None,
            fault: None,
        }
    }

    /// Takes the next field; whether more are wanted.
    pub fn add(&mut self, name: &[u8], value: &[u8], sensitive: bool) -> bool {
        self.size += name.len() + value.len() + OVERHEAD;
        if self.size > self.most {
            // A long list is answered although it may be malformed as well.
            self.fault =
                Some(if self.size > self.most.saturating_mul(HOSTILE) { Fault::Hostile } else { Fault::TooLong });
            return self.fault == Some(Fault::TooLong);
        }
        if self.fault.is_none()
            && let Err(fault) = self.check(name, value, sensitive)
        {
            self.fault = Some(Fault::Malformed(fault));
        }
        true
    }

    fn check(&mut self, name: &[u8], value: &[u8], sensitive: bool) -> Result<(), &'static str> {
        if !value.iter().all(|&byte| is_value(byte)) {
            return Err("a character in a value");
        }
        // RFC 9113 section 8.2.1.
        if value.first().is_some_and(|&byte| is_blank(byte)) || value.last().is_some_and(|&byte| is_blank(byte)) {
            return Err("white space around a value");
        }
        if name.first() == Some(&b':') {
            return self.add_pseudo(name, value);
        }
        if name.is_empty() || !name.iter().all(|&byte| is_name(byte)) {
            return Err("a character in a name");
        }
        match name {
            // RFC 9113 section 8.2.2.
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
                return Err("a field of the connection");
            }
            b"te" if self.part == Part::Request && value != b"trailers" => return Err("TE"),
            // RFC 9110 section 9.3.6: "A client MUST ignore any Content-Length … header fields received in a successful
            // response to CONNECT."
            b"content-length" if self.opens_tunnel() => return Ok(()),
            b"content-length" if self.part != Part::Trailers => {
                let length = read_length(value).ok_or("a length that is none")?;
                if self.length.replace(length).is_some_and(|former| former != length) {
                    return Err("two lengths");
                }
            }
            _ => {}
        }
        let span = self.store(name, value, sensitive);
        self.spans.push(span);
        Ok(())
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if std::str::from_utf8(value).is_err() {
            return Err("a pseudo-header field that is no text");
        }
        let known = PSEUDO.iter().position(|known| *known == name).ok_or("an unknown pseudo-header field")?;
        let belongs = match self.part {
            Part::Request => known != STATUS,
            Part::Answer | Part::TunnelAnswer => known == STATUS,
            Part::Trailers => false,
        };
        // RFC 9113 section 8.3.
        if !belongs || !self.spans.is_empty() || self.pseudo[known].is_some() {
            return Err("a pseudo-header field in the wrong place");
        }
        self.pseudo[known] = Some(self.store(name, value, false));
        Ok(())
    }

    fn store(&mut self, name: &[u8], value: &[u8], sensitive: bool) -> Span {
        let at = self.octets.len();
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        // Their sum is bounded by `most`.
        let [at, value, end] = [at, at + name.len(), self.octets.len()].map(|place| u32::try_from(place).unwrap_or(0));
        Span { at, value, end, sensitive }
    }

    /// What is wrong with it; the whole block must have been added.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.or_else(|| self.missing().map(Fault::Malformed))
    }

    /// RFC 9113 section 8.3.1 and RFC 8441 section 4.
    fn missing(&self) -> Option<&'static str> {
        match self.part {
            Part::Trailers => None,
            Part::Answer | Part::TunnelAnswer => self.status().is_none().then_some("no status"),
            Part::Request => {
                let has = |known: usize| self.pseudo[known].is_some();
                let is_connect = self.method() == "CONNECT";
                match (is_connect, has(PROTOCOL)) {
                    _ if !has(METHOD) => Some("no method"),
                    (false, true) => Some("a protocol without CONNECT"),
                    // RFC 9113 section 8.5.
                    (true, false) if has(SCHEME) || has(PATH) || !has(AUTHORITY) => Some("CONNECT with a path"),
                    (true, false) => None,
                    _ if !has(SCHEME) || !has(PATH) => Some("no scheme or no path"),
                    _ => self.path().is_empty().then_some("an empty path"),
                }
            }
        }
    }

    /// Whether a tunnel follows, as far as has been read: the status comes before all fields.
    fn opens_tunnel(&self) -> bool {
        self.part == Part::TunnelAnswer && self.status().is_some_and(|status| status.is_success())
    }

    fn text(&self, known: usize) -> &str {
        let value = self.pseudo[known].map_or(&[][..], |span| self.value(&span));
        std::str::from_utf8(value).unwrap_or_default()
    }

    fn value(&self, span: &Span) -> &[u8] {
        &self.octets[span.value as usize..span.end as usize]
    }

    /// The method; empty, if there is none.
    pub fn method(&self) -> &str {
        self.text(METHOD)
    }

    /// The scheme.
    pub fn scheme(&self) -> &str {
        self.text(SCHEME)
    }

    /// The authority.
    pub fn authority(&self) -> &str {
        self.text(AUTHORITY)
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        self.text(PATH)
    }

    /// Whether it is an extended CONNECT (RFC 8441).
    pub fn has_protocol(&self) -> bool {
        self.pseudo[PROTOCOL].is_some()
    }

    /// The status of an answer, if it has a valid one.
    pub fn status(&self) -> Option<StatusCode> {
        StatusCode::from_bytes(self.value(self.pseudo[STATUS].as_ref()?)).ok()
    }

    /// Octets of content, if that is said.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the client waits for 100 before it sends the content (RFC 9110 section 10.1.1).
    pub fn expects(&self) -> bool {
        self.iter().any(|(name, value, _)| name == b"expect" && value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Names and values in their order; whether each is never to be indexed.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        self.spans
            .iter()
            .map(|span| (&self.octets[span.at as usize..span.value as usize], self.value(span), span.sensitive))
    }

    /// What counts against the limit.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many fields there are, pseudo-header fields not counted.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The fields as a map.
    ///
    /// # Errors
    /// Malformed, if there is one that cannot be one.
    pub fn map(&self) -> Result<HeaderMap, Fault> {
        let mut map = HeaderMap::with_capacity(self.spans.len() + 8);
        for (name, value, sensitive) in self.iter() {
            let name = HeaderName::from_bytes(name).map_err(|_| Fault::Malformed("a name"))?;
            let mut value = HeaderValue::from_bytes(value).map_err(|_| Fault::Malformed("a value"))?;
            value.set_sensitive(sensitive);
            map.append(name, value);
        }
        Ok(map)
    }

    /// The head of a request.
    ///
    /// # Errors
    /// Malformed, where its parts cannot be what they stand for.
    pub fn request(&self) -> Result<request::Parts, Fault> {
        let malformed = |what| Fault::Malformed(what);
        let mut head = http::Request::new(()).into_parts().0;
        head.version = Version::HTTP_2;
        head.method = Method::from_bytes(self.method().as_bytes()).map_err(|_| malformed("the method"))?;
        let mut uri = http::uri::Parts::default();
        if self.pseudo[SCHEME].is_some() {
            uri.scheme = Some(Scheme::try_from(self.scheme()).map_err(|_| malformed("the scheme"))?);
        }
        if !self.authority().is_empty() {
            uri.authority = Some(Authority::try_from(self.authority()).map_err(|_| malformed("the authority"))?);
        }
        if self.pseudo[PATH].is_some() {
            let path = self.path();
            // RFC 9113 section 8.3.1: "MUST NOT be empty", and begins with a slash, or is the asterisk of OPTIONS.
            if !path.starts_with('/') && path != "*" {
                return Err(malformed("the path"));
            }
            uri.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| malformed("the path"))?);
        }
        // A path alone, where no authority is said, is no whole URI to the type that holds it.
        if uri.authority.is_none() {
            uri.scheme = None;
        }
        head.uri = Uri::from_parts(uri).map_err(|_| malformed("the target"))?;
        if self.has_protocol() {
            head.extensions.insert(Protocol::from(self.text(PROTOCOL)));
        }
        head.headers = self.map()?;
        Ok(head)
    }

    /// The head of an answer.
    ///
    /// # Errors
    /// Malformed, where its parts cannot be what they stand for.
    pub fn answer(&self) -> Result<response::Parts, Fault> {
        let mut head = http::Response::new(()).into_parts().0;
        head.version = Version::HTTP_2;
        head.status = self.status().ok_or(Fault::Malformed("no status"))?;
        head.headers = self.map()?;
        Ok(head)
    }
}

/// RFC 9113 section 8.2.1 and RFC 9110 section 5.6.2: a token in lower case.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase()
        || byte.is_ascii_digit()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// RFC 9110 section 5.5: visible characters, blanks, and what is not ASCII.
fn is_value(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110 section 8.6: digits, and no more.
fn read_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether a field is of one connection of HTTP/1.1, and must not be sent (RFC 9113 section 8.2.2).
fn is_of_connection(name: &HeaderName, value: &HeaderValue) -> bool {
    match name.as_str().len() {
        2 => name == TE && value != "trailers",
        7 => name == UPGRADE,
        10 => name == CONNECTION || name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == TRANSFER_ENCODING,
        _ => false,
    }
}

/// Writes the fields of a map, but for those of one connection.
pub fn write_fields(fields: &HeaderMap, encoder: &mut Encoder, out: &mut Vec<u8>) {
    for (name, value) in fields.iter().filter(|(name, value)| !is_of_connection(name, value)) {
        let sensitive = value.is_sensitive() || (name == COOKIE && value.len() < SHORT_COOKIE);
        encoder.field(name.as_str().as_bytes(), value.as_bytes(), sensitive, out);
    }
}

/// Writes the head of an answer.
pub fn write_answer(head: &response::Parts, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(head.status.as_u16(), out);
    write_fields(&head.headers, encoder, out);
}

/// Writes the head of a request; `protocol`: of an extended CONNECT (RFC 8441 section 4).
pub fn write_request(head: &request::Parts, protocol: Option<&str>, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.method(head.method.as_str(), out);
    if let Some(scheme) = head.uri.scheme_str() {
        encoder.scheme(scheme, out);
    }
    if let Some(authority) = head.uri.authority() {
        encoder.authority(authority.as_str(), out);
    }
    encoder.path(head.uri.path_and_query().map_or("/", PathAndQuery::as_str), out);
    if let Some(protocol) = protocol {
        encoder.field(PSEUDO[PROTOCOL], protocol.as_bytes(), false, out);
    }
    write_fields(&head.headers, encoder, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/x?y")];

    fn fields(part: Part, pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new(part, 1000, 100);
        for (name, value) in pairs {
            fields.add(name.as_bytes(), value.as_bytes(), false);
        }
        fields
    }

    fn check(more: &[(&str, &str)], is_valid: bool) {
        let pairs = [&GET, more].concat();
        let read = fields(Part::Request, &pairs);
        let head = read.fault().map_or_else(|| read.request().map(drop), Err);
        assert_eq!(head.is_ok(), is_valid, "{more:?}");
    }

    #[test]
    fn requests_rfc9113_8_3_1() {
        let read = fields(Part::Request, &[&GET[..], &[("x", "1"), ("cookie", "a=b"), ("x", "2")]].concat());
        let head = read.request().unwrap();
        assert_eq!(
            (head.method, head.uri.to_string(), head.version),
            (Method::GET, "https://a/x?y".into(), Version::HTTP_2)
        );
        assert_eq!(head.headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        for missing in [":method", ":scheme", ":path"] {
            let pairs: Vec<_> = GET.into_iter().filter(|(name, _)| *name != missing).collect();
            assert!(matches!(fields(Part::Request, &pairs).fault(), Some(Fault::Malformed(_))), "{missing}");
        }
        check(&[(":path", "/")], false);
        check(&[(":x", "y")], false);
        check(&[(":status", "200")], false);
        check(&[("x", "y"), (":path", "/")], false);
        check(&[(":protocol", "websocket")], false);
    }

    #[test]
    fn fields_rfc9113_8_2() {
        check(&[("x", "y z")], true);
        check(&[("x", "")], true);
        check(&[("x", "\u{fc}")], true);
        for (name, value) in [("X", "y"), ("x y", "z"), ("", "z"), ("x:", "z"), ("x", "y\n"), ("x", "\r"), ("x", "\0")]
        {
            check(&[(name, value)], false);
        }
        check(&[("x", " y")], false);
        check(&[("x", "y\t")], false);
        for name in ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"] {
            check(&[(name, "x")], false);
        }
        check(&[("te", "trailers")], true);
        check(&[("te", "gzip")], false);
    }

    #[test]
    fn lengths_rfc9110_8_6() {
        check(&[("content-length", "5")], true);
        check(&[("content-length", "5"), ("content-length", "5")], true);
        for length in ["", "-1", "+1", "5,5", "99999999999999999999", "5 5"] {
            check(&[("content-length", length)], false);
        }
        check(&[("content-length", "5"), ("content-length", "6")], false);
    }

    #[test]
    fn tunnels_rfc9113_8_5_and_rfc8441_4() {
        let connect = [(":method", "CONNECT"), (":authority", "a:1")];
        assert_eq!(fields(Part::Request, &connect).fault(), None);
        let with_path = [&connect[..], &[(":scheme", "http"), (":path", "/")]].concat();
        assert!(fields(Part::Request, &with_path).fault().is_some());
        let extended = [&with_path[..], &[(":protocol", "websocket")]].concat();
        let head = fields(Part::Request, &extended).request().unwrap();
        assert_eq!(head.extensions.get::<Protocol>().map(Protocol::as_str), Some("websocket"));
    }

    /// What belongs to a connection of HTTP/1.1 makes the message malformed here as elsewhere (RFC 9113 section 8.2.2).
    #[test]
    fn lengths_of_tunnels_are_ignored_rfc9110_9_3_6() {
        for length in ["0", "5", "x"] {
            let pairs = [(":status", "200"), ("content-length", length), ("content-length", "7"), ("x", "y")];
            let answer = fields(Part::TunnelAnswer, &pairs);
            assert_eq!((answer.fault(), answer.length(), answer.len()), (None, None, 1), "{length}");
        }
        let refusal = [(":status", "403"), ("content-length", "5")];
        assert_eq!(fields(Part::TunnelAnswer, &refusal).length(), Some(5));
        let coded = [(":status", "200"), ("transfer-encoding", "chunked")];
        assert!(fields(Part::TunnelAnswer, &coded).fault().is_some());
    }

    #[test]
    fn answers_and_trailers_rfc9113_8_3_2() {
        let answer = fields(Part::Answer, &[(":status", "204"), ("x", "y")]);
        assert_eq!((answer.fault(), answer.status()), (None, Some(StatusCode::NO_CONTENT)));
        assert!(fields(Part::Answer, &[("x", "y")]).fault().is_some());
        assert!(fields(Part::Answer, &[(":status", "20")]).fault().is_some());
        assert!(fields(Part::Answer, &[(":status", "200"), (":path", "/")]).fault().is_some());
        assert_eq!(fields(Part::Trailers, &[("grpc-status", "0")]).fault(), None);
        assert!(fields(Part::Trailers, &[(":status", "200")]).fault().is_some());
    }

    #[test]
    fn lists_are_bounded_rfc9113_10_5_1() {
        let value = "x".repeat(400);
        let long = |count: usize| {
            let mut list = Fields::new(Part::Request, 1000, 100);
            for _ in 0..count {
                if !list.add(b"x", value.as_bytes(), false) {
                    break;
                }
            }
            list.fault()
        };
        assert!(matches!(long(2), Some(Fault::Malformed(_))), "it has no method");
        assert_eq!((long(3), long(9), long(10)), (Some(Fault::TooLong), Some(Fault::TooLong), Some(Fault::Hostile)));
    }
}
