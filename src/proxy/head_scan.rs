//! Looks at the raw bytes of HTTP/1 request heads for what the parser behind lets pass.
//!
//! Pure. Found are bare LF line ends (RFC 9112 section 2.2), `#` and non-ASCII octets in the request line (section
//! 3.2), and `Content-Length` beside `Transfer-Encoding` (section 6.3). The scanner follows heads and bodies with a
//! length; behind a chunked body it waits until the connection is idle again. It is no parser: everything it does
//! not look for is left to the one behind.

use memchr::memchr;
use smallvec::SmallVec;

use super::reason::Reason;

/// Octets of a line that are kept to recognise the two length fields; 20 digits fit behind the longer name.
const LINE_START: usize = 48;

/// What is wrong with which request of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Number of the request on the connection, from 1.
    pub request: u32,
    /// What is wrong.
    pub reason: Reason,
}

/// The scanner of one connection.
#[derive(Debug, Default)]
pub struct HeadScan {
    state: State,
    /// Heads that ended.
    heads: u32,
    /// Lines of this head that ended.
    lines: usize,
    line: Line,
    length: Option<u64>,
    chunked: bool,
    violation: Option<Violation>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Body(u64),
    /// A body whose end is not followed.
    Opaque,
}

#[derive(Debug, Default)]
struct Line {
    start: SmallVec<[u8; LINE_START]>,
    length: usize,
    last: u8,
}

impl HeadScan {
    /// What is wrong, if anything is; the rest of the connection is not looked at then.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// `requests` have been answered and the connection is idle: what comes next is a head.
    pub fn resume(&mut self, requests: u32) {
        if matches!(self.state, State::Opaque) {
            self.heads = requests;
            self.state = State::Head;
        }
    }

    /// Looks at the next bytes of the connection.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.violation.is_none() {
            match self.state {
                State::Opaque => return,
                State::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[here..];
                    self.state = match left - here as u64 {
                        0 => State::Head,
                        left => State::Body(left),
                    };
                }
                State::Head => match memchr(b'\n', bytes) {
                    Some(at) => {
                        self.add(&bytes[..at]);
                        self.end_line();
                        bytes = &bytes[at + 1..];
                    }
                    None => {
                        self.add(bytes);
                        return;
                    }
                },
            }
        }
    }

    fn add(&mut self, piece: &[u8]) {
        let Some(&last) = piece.last() else {
            return;
        };
        if self.lines == 0 && piece.iter().any(|&byte| byte == b'#' || byte >= 0x80) {
            self.refuse(Reason::BadTarget);
        }
        let room = LINE_START - self.line.start.len();
        self.line.start.extend_from_slice(&piece[..piece.len().min(room)]);
        self.line.length += piece.len();
        self.line.last = last;
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.last != b'\r' {
            return self.refuse(Reason::BadLine);
        }
        match line.length {
            // RFC 9112 section 2.2: empty lines before the request line are skipped.
            1 if self.lines == 0 => {}
            1 => self.end_head(),
            _ => {
                self.lines += 1;
                self.read_field(&line);
            }
        }
    }

    fn read_field(&mut self, line: &Line) {
        if let Some(value) = value_of(&line.start, b"content-length:") {
            let digits = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
            // What is no number is refused by the parser behind.
            self.length = Some(digits.parse().unwrap_or(0));
        } else if value_of(&line.start, b"transfer-encoding:").is_some() {
            self.chunked = true;
        }
    }

    fn end_head(&mut self) {
        let (length, chunked) = (self.length.take(), std::mem::take(&mut self.chunked));
        if length.is_some() && chunked {
            return self.refuse(Reason::BadFraming);
        }
        self.heads += 1;
        self.lines = 0;
        self.state = match (chunked, length) {
            (true, _) => State::Opaque,
            (false, Some(length @ 1..)) => State::Body(length),
            (false, _) => State::Head,
        };
    }

    fn refuse(&mut self, reason: Reason) {
        self.violation.get_or_insert(Violation { request: self.heads + 1, reason });
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(bytes: &[u8], piece: usize) -> Option<Violation> {
        let mut scan = HeadScan::default();
        bytes.chunks(piece.max(1)).for_each(|piece| scan.feed(piece));
        scan.violation()
    }

    fn check(text: &str, expected: Option<(u32, Reason)>) {
        let expected = expected.map(|(request, reason)| Violation { request, reason });
        for piece in [1, 2, 3, 7, text.len()] {
            assert_eq!(scan(text.as_bytes(), piece), expected, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn good_heads_pass() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n#\n\nGET / HTTP/1.1\r\n\r\n", None);
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\n\n", None);
        check("GET / HTTP/1.1\r\nX: a#b\u{e4}\r\n\r\n", None);
    }

    #[test]
    fn bare_line_feeds_rfc9112_2_2() {
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", Some((1, Reason::BadLine)));
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", Some((1, Reason::BadLine)));
        check("GET / HTTP/1.1\r\nHost: a\r\n\n", Some((1, Reason::BadLine)));
        check("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n\r\n", Some((2, Reason::BadLine)));
    }

    #[test]
    fn raw_targets_rfc9112_3_2() {
        check("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Some((1, Reason::BadTarget)));
        check("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", Some((1, Reason::BadTarget)));
    }

    #[test]
    fn two_lengths_rfc9112_6_3() {
        let both = "POST / HTTP/1.1\r\ncontent-length: 3\r\nTRANSFER-ENCODING: chunked\r\n\r\n";
        check(both, Some((1, Reason::BadFraming)));
    }

    #[test]
    fn after_a_chunked_body_it_goes_on() {
        let mut scan = HeadScan::default();
        scan.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        scan.resume(1);
        scan.feed(b"GET /#");
        assert_eq!(scan.violation(), Some(Violation { request: 2, reason: Reason::BadTarget }));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in "(GET /[a#]? HTTP/1.1|[a-z]: b|content-length: [0-9]{1,3}|\r\n|\n){0,12}", piece in 1usize..9) {
            prop_assert_eq!(scan(bytes.as_bytes(), piece), scan(bytes.as_bytes(), usize::MAX));
        }
    }
}
