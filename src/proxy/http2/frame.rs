//! Frames (RFC 9113 sections 4 and 6): their heads, and how the ones that we send are written.
//!
//! Pure.

/// Octets of a frame's head (RFC 9113 section 4.1).
pub const HEAD: usize = 9;
/// The largest frame unless the receiver says otherwise (RFC 9113 section 6.5.2). We say nothing else.
pub const FRAME: usize = 16_384;
/// What begins a client's connection (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Windows begin with this (RFC 9113 section 6.9.2).
pub const FIRST_WINDOW: u32 = 65_535;
/// The largest window (RFC 9113 section 6.9.1), and the largest stream identifier (section 5.1.1).
pub const LARGEST: u32 = 0x7fff_ffff;

/// Types of frames (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs, reason = "named as in the RFC")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113 section 6).
pub mod flag {
    #![allow(missing_docs, reason = "named as in the RFC")]
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Parameters of SETTINGS (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub mod setting {
    #![allow(missing_docs, reason = "named as in the RFC")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    #![allow(missing_docs, reason = "named as in the RFC")]
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const CONNECT_ERROR: Self = Self(10);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    pub const INADEQUATE_SECURITY: Self = Self(12);
    pub const HTTP_1_1_REQUIRED: Self = Self(13);

    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match usize::try_from(self.0).ok().and_then(|code| Self::NAMES.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {:#x}", self.0),
        }
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// An error of the whole connection (RFC 9113 section 5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct ConnectionFault {
    /// What the other side is told.
    pub code: Code,
    /// What is wrong.
    pub why: &'static str,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Octets that follow.
    pub length: usize,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it belongs to; 0: the connection.
    pub stream: u32,
}

impl FrameHead {
    /// Reads a head; `None`: it has not come whole.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *octets.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        // RFC 9113 section 4.1: the reserved bit is ignored.
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & LARGEST;
        Some(Self { length, kind, flags, stream })
    }

    /// Checks what can be checked before the payload has come: one that is too large is not waited for.
    ///
    /// # Errors
    /// FRAME_SIZE_ERROR (RFC 9113 section 4.2).
    pub fn check(&self) -> Result<(), ConnectionFault> {
        let why = "a frame that is too large";
        let is_too_large = self.length > FRAME;
        if is_too_large { Err(ConnectionFault { code: Code::FRAME_SIZE_ERROR, why }) } else { Ok(()) }
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets());
    }

    /// As it is sent.
    pub fn octets(&self) -> [u8; HEAD] {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [length[1], length[2], length[3], self.kind, self.flags, stream[0], stream[1], stream[2], stream[3]]
    }
}

/// Writes a frame.
pub fn write(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    FrameHead { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// Writes RST_STREAM.
pub fn write_reset(stream: u32, code: Code, out: &mut Vec<u8>) {
    write(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes(), out);
}

/// Writes WINDOW_UPDATE.
pub fn write_window(stream: u32, octets: u32, out: &mut Vec<u8>) {
    write(kind::WINDOW_UPDATE, 0, stream, &octets.to_be_bytes(), out);
}

/// Writes GOAWAY.
pub fn write_goaway(last: u32, code: Code, out: &mut Vec<u8>) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&code.0.to_be_bytes());
    write(kind::GOAWAY, 0, 0, &payload, out);
}

/// Writes SETTINGS.
pub fn write_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    FrameHead { length: settings.len() * 6, kind: kind::SETTINGS, flags: 0, stream: 0 }.write(out);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes the head of a header block that lies in `out` from `at` on behind room for a frame's head, and cuts it into
/// CONTINUATION frames (RFC 9113 section 6.10) where it is larger than `most`.
pub fn end_block(stream: u32, ends: bool, at: usize, most: usize, out: &mut Vec<u8>) {
    let length = out.len() - at - HEAD;
    let end_stream = if ends { flag::END_STREAM } else { 0 };
    if length <= most {
        let head = FrameHead { length, kind: kind::HEADERS, flags: end_stream | flag::END_HEADERS, stream };
        out[at..at + HEAD].copy_from_slice(&head.octets());
        return;
    }
    let block = out.split_off(at + HEAD);
    out.truncate(at);
    let pieces = block.chunks(most).count();
    for (position, piece) in block.chunks(most).enumerate() {
        let (kind, flags) = if position == 0 { (kind::HEADERS, end_stream) } else { (kind::CONTINUATION, 0) };
        let flags = if position + 1 == pieces { flags | flag::END_HEADERS } else { flags };
        write(kind, flags, stream, piece, out);
    }
}

/// Begins a header block: leaves room for the frame's head. Returns where it is.
pub fn begin_block(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD]);
    at
}

/// What is within a padded frame (RFC 9113 section 6.1); `None`: the padding is longer than the frame.
pub fn without_padding<'a>(head: &FrameHead, payload: &'a [u8]) -> Option<&'a [u8]> {
    if !head.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let head = FrameHead { length: 0x01_0203, kind: kind::DATA, flags: flag::END_STREAM, stream: LARGEST };
        assert_eq!(FrameHead::read(&head.octets()), Some(head));
        assert_eq!(FrameHead::read(&head.octets()[..8]), None);
        // The reserved bit.
        assert_eq!(FrameHead::read(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).map(|head| head.stream), Some(LARGEST));
    }

    #[test]
    fn a_block_is_cut_where_it_is_too_large_rfc9113_6_10() {
        for (length, expected) in [(0, 1), (10, 1), (11, 2), (25, 3)] {
            let mut out = vec![7];
            let at = begin_block(&mut out);
            out.extend(0..length);
            end_block(5, true, at, 10, &mut out);
            let (mut rest, mut block, mut frames) = (&out[1..], Vec::new(), Vec::new());
            while let Some(head) = FrameHead::read(rest) {
                block.extend_from_slice(&rest[HEAD..HEAD + head.length]);
                rest = &rest[HEAD + head.length..];
                frames.push(head);
            }
            assert_eq!((block, frames.len()), ((0..length).collect(), expected));
            assert_eq!((frames[0].kind, frames[0].has(flag::END_STREAM)), (kind::HEADERS, true));
            let ends = frames.iter().filter(|head| head.has(flag::END_HEADERS)).count();
            assert!(ends == 1 && frames[expected - 1].has(flag::END_HEADERS));
            assert!(frames[1..].iter().all(|head| head.kind == kind::CONTINUATION && head.stream == 5));
        }
    }

    #[test]
    fn padding_is_taken_off_rfc9113_6_1() {
        let head = |flags| FrameHead { length: 4, kind: kind::DATA, flags, stream: 1 };
        assert_eq!(without_padding(&head(0), b"abcd"), Some(&b"abcd"[..]));
        assert_eq!(without_padding(&head(flag::PADDED), &[1, 9, 8, 0]), Some(&[9, 8][..]));
        assert_eq!(without_padding(&head(flag::PADDED), &[3, 0, 0, 0]), Some(&[][..]));
        assert_eq!(without_padding(&head(flag::PADDED), &[4, 0, 0, 0]), None);
        assert_eq!(without_padding(&head(flag::PADDED), &[]), None);
    }
}
