//! Stands between a client of HTTP/1.1 and the implementation behind: whatever that would refuse alone is refused here.
//!
//! The implementation answers a head that it cannot read by itself, with a status and nothing else, before any rule of ours
//! has seen it. So no octet of a head is handed on before the head is whole and known to be one that it reads: bounded
//! ([`super::head_scan`]), and of the same grammar, by the same parser with the same bounds. In place of one that is not, it
//! gets a stand-in, and the request is refused as any other is: with its reason, its page, its line in the access log.
//! Nothing behind it is looked at any more.
//!
//! A head that comes as a whole is looked at where it lies. One that comes in pieces is kept until it is whole, at most as
//! large as heads may be. Bodies pass as they come. What follows a request that asks for another protocol may be of that
//! protocol: it is kept, unread, until the request's answer has said.

use std::io;
use std::task::Context;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Uri};
use smallvec::SmallVec;
use tokio::io::ReadBuf;

use super::head_scan::{HeadScan, Violation};
use super::idle::Watch;
use super::reason::Reason;

/// Fields of most heads.
const FIELDS: usize = 100;
/// What is asked for in place of what cannot be read: nobody sees it.
const NOTHING: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";

/// The gate of one connection.
#[derive(Debug)]
pub struct HeadGate {
    scan: HeadScan,
    most: usize,
    max_fields: usize,
    /// What came of a head that is not whole, or behind a request that asks for another protocol.
    held: Vec<u8>,
    /// What is to be handed on before anything else is read.
    out: Bytes,
    /// The request that asks for another protocol and has no answer yet.
    asks: Option<u32>,
    refused: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Read from the connection.
    Read,
    /// Hand on what is there.
    Give,
    /// Wait for the answer to a request; whoever waits is woken.
    Wait,
}

impl HeadGate {
    /// For a connection on which so many requests came before; heads have at most `most` octets and `max_fields` fields.
    pub fn new(requests: u32, most: usize, max_fields: usize) -> Self {
        let scan = HeadScan::after(requests, most);
        Self { scan, most, max_fields, held: Vec::new(), out: Bytes::new(), asks: None, refused: false }
    }

    /// Whether a request was refused: what still comes goes nowhere.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Hands on what is there, as far as there is room.
    pub fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.out.len().min(buffer.remaining());
        buffer.put_slice(&self.out.split_to(length));
    }

    /// What to do next, by what the connection's `watch` knows of its requests.
    ///
    /// # Errors
    /// What came breaks off a body of which something was handed on already.
    pub fn turn(&mut self, watch: &Watch, context: &Context<'_>) -> io::Result<Turn> {
        if self.out.is_empty() && self.asks.is_some() && !self.held.is_empty() {
            if !self.is_answered(watch) {
                watch.wake_at_end(context.waker());
                // More than this of another protocol nobody has to send ahead.
                return Ok(if self.held.len() < self.most { Turn::Read } else { Turn::Wait });
            }
            let held = std::mem::take(&mut self.held);
            self.look_again(held, 0, watch)?;
        }
        Ok(if self.out.is_empty() { Turn::Read } else { Turn::Give })
    }

    /// Takes what was read; how many octets of it go on at once. The rest is kept.
    ///
    /// # Errors
    /// What came breaks off a body of which something was handed on already.
    pub fn receive(&mut self, octets: &[u8], watch: &Watch) -> io::Result<usize> {
        if self.refused {
            return Ok(0);
        }
        let waited = self.asks.is_some();
        let is_answered = self.is_answered(watch);
        if self.held.is_empty() {
            let passed = self.look(octets, 0, watch)?;
            if !self.refused {
                self.held.extend_from_slice(&octets[passed..]);
            }
            return Ok(passed);
        }
        // Of what waits for an answer nothing was looked at.
        let known = if waited { 0 } else { self.held.len() };
        self.held.extend_from_slice(octets);
        if is_answered {
            let whole = std::mem::take(&mut self.held);
            self.look_again(whole, known, watch)?;
        }
        Ok(0)
    }

    /// The connection speaks another protocol from here on: what came of that already.
    pub fn let_go(&mut self) -> Vec<u8> {
        [&self.out[..], &self.held].concat()
    }

    /// Whether the request that asks for another protocol has its answer, or there is none; it is forgotten then.
    fn is_answered(&mut self, watch: &Watch) -> bool {
        if self.asks.is_some_and(|request| watch.requests() < request || watch.in_flight() > 0) {
            return false;
        }
        self.asks = None;
        true
    }

    /// Looks at what was kept, of which `known` octets were looked at; what goes on is handed on next.
    fn look_again(&mut self, mut whole: Vec<u8>, known: usize, watch: &Watch) -> io::Result<()> {
        let passed = self.look(&whole, known, watch)?;
        if passed == 0 && !self.refused {
            // As it is: a head in crumbs is not copied for each of them.
            self.held = whole;
            return Ok(());
        }
        if !self.refused {
            self.held = whole.split_off(passed);
        }
        whole.truncate(passed);
        whole.extend_from_slice(&self.out);
        self.out = whole.into();
        Ok(())
    }

    /// Looks at octets that begin with a head or within a body, of which `known` were looked at; how many go on.
    fn look(&mut self, octets: &[u8], known: usize, watch: &Watch) -> io::Result<usize> {
        let (mut start, mut at) = (0, known);
        while at < octets.len() {
            let (is_head, heads) = (!self.scan.is_in_body(), self.scan.heads());
            if is_head && at == start && self.asks.is_some() {
                break;
            }
            at = octets.len() - self.scan.step(&octets[at..]).len();
            match self.scan.violation() {
                None => {}
                Some(violation) if is_head => return Ok(self.refuse(violation, octets, start, watch)),
                Some(violation) => return self.break_off(violation, start, watch),
            }
            if !is_head {
                start = at;
                continue;
            }
            let is_whole = self.scan.heads() != heads;
            let checked = match () {
                // Also where the scan does not count: line feeds, and empty lines before it.
                () if at - start > self.most => Err(Reason::HeadTooLarge),
                () if is_whole => check(&octets[start..at], self.max_fields),
                () => continue,
            };
            match checked {
                Ok(asks) => self.asks = asks.then(|| self.scan.heads()),
                Err(reason) => {
                    let violation = Violation { request: heads.wrapping_add(1), reason };
                    return Ok(self.refuse(violation, octets, start, watch));
                }
            }
            start = at;
        }
        Ok(start)
    }

    /// Refuses the request whose head begins at `start`.
    fn refuse(&mut self, violation: Violation, octets: &[u8], start: usize, watch: &Watch) -> usize {
        self.refused = true;
        watch.report(violation);
        self.out = match stand_in(&octets[start..], self.max_fields) {
            Some(stand_in) => stand_in.into(),
            None => {
                watch.report_unread();
                Bytes::from_static(NOTHING)
            }
        };
        start
    }

    /// What is wrong lies in a body. Whose head is still to be read can be told so, and gets an answer; what has begun
    /// breaks off.
    fn break_off(&mut self, violation: Violation, start: usize, watch: &Watch) -> io::Result<usize> {
        self.refused = true;
        if violation.request <= watch.requests() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, violation.reason.entry().meaning));
        }
        watch.report(violation);
        Ok(start)
    }
}

/// Whether the implementation behind reads a head, and not only parses it: then, whether it asks for another protocol.
///
/// # Errors
/// Why it would be refused there.
fn check(head: &[u8], max_fields: usize) -> Result<bool, Reason> {
    let mut fields: SmallVec<[httparse::Header<'_>; FIELDS]> = SmallVec::from_elem(httparse::EMPTY_HEADER, max_fields);
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Reason::HeadTooLarge),
        Err(httparse::Error::Version) if names_a_version(head) => return Err(Reason::UnknownVersion),
        _ => return Err(Reason::BadHead),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Reason::BadHead);
    };
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err(Reason::BadHead);
    }
    if Uri::try_from(target.as_bytes()).is_err() {
        return Err(Reason::BadTarget);
    }
    check_length(request.headers, version)?;
    Ok(request.headers.iter().any(|field| field.name.eq_ignore_ascii_case("upgrade")))
}

/// Whether a request line ends in a version as RFC 9112 section 2.3 has it, `HTTP/` and two digits, case and all.
/// What is written otherwise is no version, and so no request line (section 3).
fn names_a_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let (Some(version), None) = (words.next(), words.next()) else { return false };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
}

/// RFC 9112 section 6.3: how long the body is must be said, and in one way. Together with a coding the scan has refused a
/// length already.
fn check_length(fields: &[httparse::Header<'_>], version: u8) -> Result<(), Reason> {
    let mut length = None;
    let mut last_coding = None;
    for field in fields {
        if field.name.len() > usize::from(u16::MAX) {
            return Err(Reason::HeadTooLarge);
        }
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            last_coding = Some(field.value);
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(field.value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            // The two largest numbers have meanings of their own there.
            let number = digits.and_then(|text| text.parse::<u64>().ok()).filter(|number| *number < u64::MAX - 1);
            if number.is_none() || length.is_some_and(|known| Some(known) != number) {
                return Err(Reason::BadFraming);
            }
            length = number;
        }
    }
    match last_coding {
        None => Ok(()),
        // RFC 9112 section 6.1: not in HTTP/1.0.
        Some(coding) if version == 1 && is_chunked(coding) => Ok(()),
        Some(_) => Err(Reason::BadFraming),
    }
}

/// Whether the last coding is `chunked`.
fn is_chunked(codings: &[u8]) -> bool {
    let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    codings.is_ascii() && last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// A head that says of a request what can be read of one that is refused: its method, its target, its host. `None`: not so
/// much.
fn stand_in(head: &[u8], max_fields: usize) -> Option<Vec<u8>> {
    let mut lines = head.trim_ascii_start().split(|byte| *byte == b'\n');
    let first = lines.next()?;
    // What is no whole line says nothing.
    let rest = lines.next()?;
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    let fields = std::iter::once(rest).chain(lines).take_while(|line| !line.trim_ascii_end().is_empty());
    let mut words = first.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with(b"HTTP/") || method == b"CONNECT" {
        return None;
    }
    let mut named = fields.filter(|line| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:")));
    let host = named.next().map(|line| line[5..].trim_ascii());
    let host = host.and_then(|host| HeaderValue::from_bytes(host).ok());
    let mut stand_in = [method, b" ", target, b" HTTP/1.1\r\nconnection: close\r\n"].concat();
    if let Some(host) = host {
        stand_in.extend_from_slice(&[b"host: ", host.as_bytes(), b"\r\n"].concat());
    }
    stand_in.extend_from_slice(b"\r\n");
    check(&stand_in, max_fields).is_ok().then_some(stand_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    const MOST: usize = 1000;
    const GET: &str = "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n";

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    /// What goes on of octets that come in pieces; the error where a body breaks off.
    fn passed(text: &[u8], piece: usize, watch: &Watch) -> io::Result<Vec<u8>> {
        let mut gate = HeadGate::new(0, MOST, FIELDS);
        let mut out = Vec::new();
        for piece in text.chunks(piece.max(1)) {
            let length = gate.receive(piece, watch)?;
            out.extend_from_slice(&piece[..length]);
            while gate.turn(watch, &context())? == Turn::Give {
                let mut room = [0; 7];
                let mut buffer = ReadBuf::new(&mut room);
                gate.give(&mut buffer);
                out.extend_from_slice(buffer.filled());
            }
        }
        Ok(out)
    }

    fn check_refusal(text: &str, expected: Option<(u32, Reason)>, goes_on: &str) {
        for piece in [1, 3, 50, text.len()] {
            let watch = Watch::default();
            let out = passed(text.as_bytes(), piece, &watch).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), goes_on, "{text:?} in pieces of {piece}");
            if let Some((request, reason)) = expected {
                assert_eq!(watch.violation(request), Some(reason), "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn good_requests_pass_as_they_are() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n";
        for text in [GET, post, chunked, &format!("\r\n{GET}{post}{chunked}{GET}")] {
            check_refusal(text, None, text);
        }
    }

    #[test]
    fn a_stand_in_says_what_can_be_read() {
        let bad = "GET /b?c HTTP/1.1\r\nHost: b.test\r\nx y: z\r\n\r\n";
        let stands = "GET /b?c HTTP/1.1\r\nconnection: close\r\nhost: b.test\r\n\r\n";
        check_refusal(bad, Some((1, Reason::BadHead)), stands);
        // Behind others, and whatever follows is not looked at.
        check_refusal(&format!("{GET}{bad}{GET}"), Some((2, Reason::BadHead)), &format!("{GET}{stands}"));
        let nothing = std::str::from_utf8(NOTHING).unwrap();
        check_refusal("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Some((1, Reason::BadHead)), nothing);
        let stands = "PRI * HTTP/1.1\r\nconnection: close\r\n\r\n";
        check_refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some((1, Reason::UnknownVersion)), stands);
    }

    #[test]
    fn what_the_parser_behind_would_refuse_has_its_reason() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        for (text, reason) in [
            (with("Content-Length: 0x5"), Reason::BadFraming),
            (with("Content-Length: 5\r\nContent-Length: 6"), Reason::BadFraming),
            (with("Content-Length: 18446744073709551615"), Reason::BadFraming),
            (with("Transfer-Encoding: gzip"), Reason::BadFraming),
            (with("Transfer-Encoding: chunked, identity"), Reason::BadFraming),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), Reason::BadFraming),
            ("GET a:b:c HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Reason::BadTarget),
            (with(&vec!["x: y"; FIELDS].join("\r\n")), Reason::HeadTooLarge),
            (with(&format!("x: {}", "y".repeat(MOST))), Reason::HeadTooLarge),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), Reason::UnknownVersion),
            ("\r\nGET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), Reason::UnknownVersion),
            ("GET / HTTP/1\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHead),
            ("GET / HTTP/01.01\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHead),
            ("GET / http/2.0\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHead),
            ("GET / HTTP/ 1.1\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHead),
            ("INVALID CONNECTION PREFACE\r\n\r\n".to_owned(), Reason::BadHead),
            ("GET /a b HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHead),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHead),
        ] {
            let watch = Watch::default();
            passed(text.as_bytes(), 9, &watch).unwrap();
            assert_eq!(watch.violation(1), Some(reason), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_body_breaks_it_off_or_refuses_its_request() {
        let bad = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        let watch = Watch::default();
        passed(bad.as_bytes(), bad.len(), &watch).unwrap();
        assert_eq!(watch.violation(1), Some(Reason::BadFraming));
        // Its head was read.
        let watch = Watch::default();
        watch.begin();
        assert!(passed(bad.as_bytes(), bad.len(), &watch).is_err());
    }

    #[test]
    fn what_follows_a_wish_for_another_protocol_waits_for_the_answer() {
        let asks = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let watch = Watch::default();
        let mut gate = HeadGate::new(0, MOST, FIELDS);
        let other = b"\x81\x05hello\n\n";
        let text = [asks.as_bytes(), other].concat();
        assert_eq!(gate.receive(&text, &watch).unwrap(), asks.len());
        watch.begin();
        assert_eq!(gate.turn(&watch, &context()).unwrap(), Turn::Read);
        // Too much of it is not taken.
        assert_eq!(gate.receive(&[b'x'; MOST], &watch).unwrap(), 0);
        assert_eq!(gate.turn(&watch, &context()).unwrap(), Turn::Wait);
        assert_eq!(gate.let_go(), [&other[..], &[b'x'; MOST]].concat());
        // Answered otherwise, it is a request.
        let mut gate = HeadGate::new(1, MOST, FIELDS);
        let text = format!("{asks}{GET}");
        assert_eq!(gate.receive(text.as_bytes(), &watch).unwrap(), asks.len());
        watch.begin();
        watch.end();
        watch.end();
        assert_eq!(gate.turn(&watch, &context()).unwrap(), Turn::Give);
        assert_eq!(gate.out, GET);
    }

    proptest! {
        /// Whatever comes, what goes on is read by the parser behind.
        #[test]
        fn what_goes_on_is_read(
            text in "((GET|G@T|POST) (/|/a#|a:b:c) HTTP/1\\.[012]\r\n((Host|x y|content-length|transfer-encoding): (a|5|chunked)?\r?\n){0,3}\r\n(hello|0\r\n\r\n)?){1,4}",
            piece in 1usize..40,
        ) {
            let watch = Watch::default();
            let Ok(out) = passed(text.as_bytes(), piece, &watch) else { return Ok(()) };
            let mut scan = HeadScan::after(0, MOST);
            let (mut start, mut rest) = (0, &out[..]);
            while !rest.is_empty() && scan.violation().is_none() {
                let (is_head, heads) = (!scan.is_in_body(), scan.heads());
                rest = scan.step(rest);
                let at = out.len() - rest.len();
                if is_head && scan.heads() != heads {
                    prop_assert!(check(&out[start..at], FIELDS).is_ok());
                }
                if !is_head || scan.heads() != heads {
                    start = at;
                }
            }
        }
    }
}
