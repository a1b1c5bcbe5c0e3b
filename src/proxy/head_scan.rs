//! Looks at the raw bytes of HTTP/1 requests for what the parser behind lets pass.
//!
//! Pure. Found are heads and request lines that are too long, bare LF line ends (RFC 9112 section 2.2), `#` and non-ASCII octets in the request line (section
//! 3.2), `Content-Length` beside `Transfer-Encoding` (section 6.3), and chunk heads that are not written exactly as
//! section 7.1 has them: two readers that skip different octets there see different requests (CVE-2025-55315). The
//! scanner follows heads and bodies from request to request. It is no parser: everything it does not look for is left
//! to the one behind.

use memchr::memchr;
use smallvec::SmallVec;

use super::reason::Reason;

/// Octets of a line that are kept to recognise the two length fields, 20 digits fit behind the longer name, and to tell a
/// method that does not end from a target that does not.
const LINE_START: usize = 48;
/// The longest head of a chunk with its extensions (RFC 9112 section 7.1.1: a recipient limits them).
pub(super) const CHUNK_HEAD: usize = 256;
/// The longest request line (RFC 9112 section 3: "at least 8000 octets"); the parser behind takes no longer target.
const LONGEST_LINE: usize = 65_536;
/// So much shorter than a head a request line has to be.
const LINE_END: usize = 64;
/// Empty lines before a request that are skipped (RFC 9112 section 2.2: "at least one").
const EMPTY_LINES: u32 = 8;

/// What is wrong with which request of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Number of the request on the connection, from 1.
    pub request: u32,
    /// What is wrong.
    pub reason: Reason,
}

/// The scanner of one connection.
#[derive(Debug)]
pub struct HeadScan {
    state: State,
    /// The most octets of a head, and of its first line.
    most: usize,
    most_line: usize,
    /// Octets of this head.
    octets: usize,
    /// Heads that ended.
    heads: u32,
    /// Lines of this head that ended.
    lines: usize,
    /// Empty lines before this head.
    empty_lines: u32,
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
    ChunkHead,
    /// A chunk's octets and, counted with them, its line end.
    Chunk(u64),
    Trailer,
}

#[derive(Debug, Default)]
struct Line {
    start: SmallVec<[u8; LINE_START]>,
    length: usize,
    last: u8,
}

impl HeadScan {
    /// For a connection on which so many requests came before, and whose heads have `most` octets: the parser behind
    /// has a bound too, but what was read at once may be longer.
    pub fn after(requests: u32, most: usize) -> Self {
        Self {
            state: State::Head,
            most,
            most_line: most.min(LONGEST_LINE).saturating_sub(LINE_END),
            octets: 0,
            heads: requests,
            lines: 0,
            empty_lines: 0,
            line: Line::default(),
            length: None,
            chunked: false,
            violation: None,
        }
    }

    /// What is wrong, if anything is; the rest of the connection is not looked at then.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Whether what is wrong lies in a body: its head has been passed on.
    pub fn is_in_body(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Heads that have ended, those before the scan included.
    pub fn heads(&self) -> u32 {
        self.heads
    }

    /// Looks at the next bytes of the connection.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.violation.is_none() {
            bytes = self.step(bytes);
        }
    }

    /// Looks at the next bytes as far as one line or one piece of a body goes; returns the rest. There is at least one.
    pub fn step<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        match self.state {
            State::Body(left) => {
                let left = skip(&mut bytes, left);
                self.state = if left == 0 { State::Head } else { State::Body(left) };
            }
            State::Chunk(left @ 3..) => self.state = State::Chunk(skip(&mut bytes, left - 2) + 2),
            State::Chunk(left) => {
                // Exactly CR LF: what else stands there is the end of another reader's chunk.
                let wanted = if left == 2 { b'\r' } else { b'\n' };
                if bytes[0] != wanted {
                    self.refuse(Reason::BadLine);
                }
                bytes = &bytes[1..];
                self.state = if left == 1 { State::ChunkHead } else { State::Chunk(left - 1) };
            }
            State::Head | State::ChunkHead | State::Trailer => {
                let end = memchr(b'\n', bytes);
                self.add(end.map_or(bytes, |at| &bytes[..at]));
                let Some(at) = end else { return &[] };
                if self.violation.is_none() {
                    self.end_line();
                }
                bytes = &bytes[at + 1..];
            }
        }
        bytes
    }

    /// Adds a piece of a line.
    fn add(&mut self, piece: &[u8]) {
        let Some(&last) = piece.last() else {
            return;
        };
        let room = if matches!(self.state, State::ChunkHead) { CHUNK_HEAD } else { LINE_START };
        let room = room.saturating_sub(self.line.start.len());
        self.line.start.extend_from_slice(&piece[..piece.len().min(room)]);
        self.line.length += piece.len();
        self.line.last = last;
        if matches!(self.state, State::Head) {
            self.octets += piece.len();
            self.check_size();
            if self.lines == 0 && piece.iter().any(|&byte| byte == b'#' || byte >= 0x80) {
                self.refuse(Reason::BadTarget);
            }
        }
    }

    /// Whether what has come of a head is too long.
    fn check_size(&mut self) {
        if self.lines == 0 && self.octets > self.most_line {
            // RFC 9112 section 3: 414 is for "a request-target longer than any URI it wishes to parse"; here none has begun.
            let has_target = self.line.start.contains(&b' ');
            self.refuse(if has_target { Reason::TargetTooLong } else { Reason::BadHead });
        }
        if self.octets > self.most {
            self.refuse(Reason::HeadTooLarge);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.last != b'\r' {
            return self.refuse(Reason::BadLine);
        }
        match (&self.state, line.length) {
            (State::ChunkHead, _) => self.read_chunk_head(&line),
            (State::Trailer, 1) => self.state = State::Head,
            (State::Trailer, _) => {}
            // RFC 9112 section 2.2: empty lines before the request line are skipped.
            (_, 1) if self.lines == 0 && self.empty_lines < EMPTY_LINES => self.empty_lines += 1,
            (_, 1) if self.lines == 0 => self.refuse(Reason::BadLine),
            (_, 1) => self.end_head(),
            _ => {
                self.lines += 1;
                self.read_field(&line);
            }
        }
    }

    fn read_chunk_head(&mut self, line: &Line) {
        let text = line.start.strip_suffix(b"\r").filter(|_| line.length == line.start.len());
        self.state = match text.and_then(chunk_size) {
            Some(0) => State::Trailer,
            Some(size) => State::Chunk(size.saturating_add(2)),
            None => return self.refuse(Reason::BadFraming),
        };
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
        self.octets = 0;
        self.empty_lines = 0;
        self.state = match (chunked, length) {
            (true, _) => State::ChunkHead,
            (false, Some(length @ 1..)) => State::Body(length),
            (false, _) => State::Head,
        };
    }

    fn refuse(&mut self, reason: Reason) {
        let request = self.heads + u32::from(!self.is_in_body());
        self.violation.get_or_insert(Violation { request, reason });
    }
}

/// Skips up to `left` bytes and returns how many are left to skip.
fn skip(bytes: &mut &[u8], left: u64) -> u64 {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    *bytes = &bytes[here..];
    left - here as u64
}

/// The size that a chunk's head gives (RFC 9112 section 7.1): hexadecimal digits, then nothing or extensions, each a
/// name and perhaps a value. White space is allowed where the grammar has it, not at the end.
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = std::str::from_utf8(&line[..digits]).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())?;
    let mut rest = &line[digits..];
    while !rest.is_empty() {
        rest = extension(rest.trim_ascii_start().strip_prefix(b";")?.trim_ascii_start())?;
    }
    Some(size)
}

/// What follows one extension.
fn extension(text: &[u8]) -> Option<&[u8]> {
    let rest = token(text)?;
    let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { return Some(rest) };
    let value = value.trim_ascii_start();
    match value.strip_prefix(b"\"") {
        Some(quoted) => after_quote(quoted),
        None => token(value),
    }
}

/// What follows a token (RFC 9110 section 5.6.2), which is not empty.
fn token(text: &[u8]) -> Option<&[u8]> {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = text.iter().take_while(|byte| is_tchar(byte)).count();
    (length > 0).then(|| &text[length..])
}

/// What follows the closing quote of a quoted string (RFC 9110 section 5.6.4).
fn after_quote(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
            [b'\t' | b' ' | b'!' | b'#'..=b'[' | b']'..=b'~' | 0x80.., rest @ ..] => rest,
            _ => return None,
        };
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

    const MOST: usize = 1000;

    fn scan(bytes: &[u8], piece: usize) -> Option<Violation> {
        let mut scan = HeadScan::after(0, MOST);
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
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            None,
        );
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
    fn long_heads_rfc6585_5() {
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(MOST / 2));
        check(&format!("{long}{long}"), None);
        let longer = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(MOST));
        check(&format!("{long}{longer}"), Some((2, Reason::HeadTooLarge)));
        let body = format!("POST / HTTP/1.1\r\nContent-Length: {MOST}\r\n\r\n{}{long}", "y".repeat(MOST));
        check(&body, None);
    }

    #[test]
    fn long_request_lines_rfc9112_3() {
        let line = |length: usize| format!("GET /{}\r\n", "y".repeat(length - "GET /\r".len()));
        check(&line(MOST - LINE_END), None);
        check(&line(MOST - LINE_END + 1), Some((1, Reason::TargetTooLong)));
        let before = "GET / HTTP/1.1\r\n\r\n";
        let text = format!("{before}{}", line(MOST));
        check(&text, Some((2, Reason::TargetTooLong)));
    }

    #[test]
    fn a_method_without_an_end_is_no_target_rfc9112_3() {
        check(&"A".repeat(MOST - LINE_END), None);
        check(&"A".repeat(MOST - LINE_END + 1), Some((1, Reason::BadHead)));
        check(&format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(MOST)), Some((1, Reason::BadHead)));
        let after = format!("GET / HTTP/1.1\r\n\r\n\r\n{} / HTTP/1.1\r\n", "A".repeat(MOST));
        check(&after, Some((2, Reason::BadHead)));
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

    fn chunked(rest: &str) -> String {
        format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{rest}")
    }

    #[test]
    fn chunk_heads_rfc9112_7_1() {
        for good in ["5", "005", "5;a", "5 ; a = b", "5;a=\"b;\\\" c\";d"] {
            check(&chunked(&format!("{good}\r\nhello\r\n0\r\n\r\n")), None);
        }
        for bad in
            ["", "0x5", "+5", "5;", "5; ", "5 ", "5;=b", "5;a=", "5;a=\"b", "5;a b", "5;\u{1}", "11111111111111111"]
        {
            check(&chunked(&format!("{bad}\r\nhello\r\n")), Some((1, Reason::BadFraming)));
        }
        check(&chunked(&format!("5;{}\r\nhello\r\n", "a".repeat(300))), Some((1, Reason::BadFraming)));
        for bad in ["5\nhello\r\n", "5\r\nhello\n", "5\r\nhello!\r\n", "0\n\r\n", "0\r\nA: b\n\r\n"] {
            check(&chunked(bad), Some((1, Reason::BadLine)));
        }
    }

    #[test]
    fn after_a_chunked_body_it_goes_on() {
        check(&chunked("0\r\n\r\nGET /#"), Some((2, Reason::BadTarget)));
        check(&chunked("1\r\n#\r\n0\r\nA: #\r\n\r\nGET / HTTP/1.1\n"), Some((2, Reason::BadLine)));
    }

    #[test]
    fn empty_lines_before_a_request_are_bounded_rfc9112_2_2() {
        check(&format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(8)), None);
        check(&"\r\n".repeat(9), Some((1, Reason::BadLine)));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in "(GET /[a#]? HTTP/1.1|[a-z]: b|content-length: [0-9]{1,3}|transfer-encoding: chunked|[0-3]|\r\n|\n){0,12}", piece in 1usize..9) {
            prop_assert_eq!(scan(bytes.as_bytes(), piece), scan(bytes.as_bytes(), usize::MAX));
        }
    }
}
