//! Looks at the frames that go to a client of HTTP/2, for what the implementation behind says by itself.
//!
//! - A request whose fields are too long it answers alone, with 431 and nothing else (RFC 6585 section 5), before any rule
//!   of ours has seen it. Such an answer gets what every answer of this proxy has: the reason, in fields that are added to
//!   its header block. They are literals that are not indexed (RFC 7541 section 6.2.2), so that the compression's state is
//!   what both ends believe it is.
//! - How much it allows the client to send anew, it tells only in frames ([`super::uploads`]).
//!
//! Pure. A frame that is not written as one piece is passed on as it is; the implementation writes none so but DATA.

use bytes::BytesMut;

/// Octets of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// A header block that holds a status alone is shorter: a change of the table's size, an index, three digits.
const LONGEST_STATUS: usize = 16;
/// So many of the newest streams are remembered; an answer of the implementation's own follows its request at once.
const STREAMS: u32 = 1024;
/// RFC 7541 appendix A: the static table's names end here, and `:status` is among the first 14 of them.
const STATUS: std::ops::RangeInclusive<u8> = 8..=14;

/// The walker of one connection.
#[derive(Debug)]
pub struct OwnAnswers {
    /// Octets of the frame that are still to be written.
    left: usize,
    /// The head of a frame that was written in pieces, as far as it has come.
    head: [u8; HEAD],
    have: usize,
    /// The newest stream that has an answer, and of the [`STREAMS`] up to it, which have.
    newest: u32,
    begun: [u64; (STREAMS / 64) as usize],
}

/// What is to be done where something is found.
pub trait Finder {
    /// The implementation answers a request by itself; the fields to add, of names in lower case.
    fn refuses(&mut self) -> Vec<(String, String)>;

    /// The client may send so many octets more on its connection.
    fn allows(&mut self, octets: u32);
}

impl Default for OwnAnswers {
    fn default() -> Self {
        Self { left: 0, head: [0; HEAD], have: 0, newest: 0, begun: [0; (STREAMS / 64) as usize] }
    }
}

impl OwnAnswers {
    /// Writes the next octets, with what is added, to `out`.
    pub fn write(&mut self, mut octets: &[u8], out: &mut BytesMut, finder: &mut impl Finder) {
        while !octets.is_empty() {
            if self.left > 0 {
                let here = self.left.min(octets.len());
                out.extend_from_slice(&octets[..here]);
                self.left -= here;
                octets = &octets[here..];
            } else if self.have == 0 && octets.len() >= HEAD {
                octets = self.frame(octets, out, finder);
            } else {
                let here = (HEAD - self.have).min(octets.len());
                self.head[self.have..self.have + here].copy_from_slice(&octets[..here]);
                out.extend_from_slice(&octets[..here]);
                self.have += here;
                octets = &octets[here..];
                if self.have == HEAD {
                    self.have = 0;
                    let head = Head::read(&self.head);
                    self.left = head.length;
                    self.note(&head);
                }
            }
        }
    }

    /// Writes the head of a frame, or all of one that is looked at; returns what follows.
    fn frame<'a>(&mut self, octets: &'a [u8], out: &mut BytesMut, finder: &mut impl Finder) -> &'a [u8] {
        let head = Head::read(octets);
        let is_first = head.kind == HEADERS && !self.has_begun(head.stream);
        self.note(&head);
        let payload = octets[HEAD..].get(..head.length);
        match payload {
            Some(block) if is_first && head.ends() && is_status_alone(block) => {
                let added = literals(&finder.refuses());
                head.with_length(block.len() + added.len()).write(out);
                out.extend_from_slice(block);
                out.extend_from_slice(&added);
                &octets[HEAD + head.length..]
            }
            Some(&[a, b, c, d]) if head.kind == WINDOW_UPDATE && head.stream == 0 => {
                finder.allows(u32::from_be_bytes([a & 0x7f, b, c, d]));
                out.extend_from_slice(&octets[..HEAD + 4]);
                &octets[HEAD + 4..]
            }
            _ => {
                out.extend_from_slice(&octets[..HEAD]);
                self.left = head.length;
                &octets[HEAD..]
            }
        }
    }

    /// Remembers a stream whose answer has begun and goes on: what else comes of it is no answer.
    fn note(&mut self, head: &Head) {
        if head.kind != HEADERS || head.flags & END_STREAM != 0 {
            return;
        }
        // Clients have the odd numbers.
        let stream = head.stream / 2;
        if stream >= self.newest {
            let passed = (stream - self.newest).min(STREAMS);
            for forgotten in (stream + 1 - passed)..=stream {
                self.set(forgotten, false);
            }
            self.newest = stream;
        }
        if self.newest - stream < STREAMS {
            self.set(stream, true);
        }
    }

    fn set(&mut self, stream: u32, has_begun: bool) {
        let (word, bit) = ((stream % STREAMS / 64) as usize, 1 << (stream % 64));
        self.begun[word] = if has_begun { self.begun[word] | bit } else { self.begun[word] & !bit };
    }

    /// Whether an answer on the stream may have begun.
    fn has_begun(&self, stream: u32) -> bool {
        let stream = stream / 2;
        if stream > self.newest {
            return false;
        }
        self.newest - stream >= STREAMS || self.begun[(stream % STREAMS / 64) as usize] & (1 << (stream % 64)) != 0
    }
}

/// The head of a frame.
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    /// Of at least so many octets.
    fn read(octets: &[u8]) -> Self {
        Self {
            length: usize::from(octets[0]) << 16 | usize::from(octets[1]) << 8 | usize::from(octets[2]),
            kind: octets[3],
            flags: octets[4],
            stream: u32::from_be_bytes([octets[5] & 0x7f, octets[6], octets[7], octets[8]]),
        }
    }

    /// Whether it is the whole of a message, without anything between head and block.
    fn ends(&self) -> bool {
        self.flags & (END_STREAM | END_HEADERS | PADDED | PRIORITY) == END_STREAM | END_HEADERS
    }

    fn with_length(&self, length: usize) -> Self {
        Self { length, ..*self }
    }

    fn write(&self, out: &mut BytesMut) {
        // At most three octets: a block of a status and a few short fields.
        let length = u32::try_from(self.length).unwrap_or(0).to_be_bytes();
        out.extend_from_slice(&length[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }
}

/// Whether a header block holds one field alone, which of an answer is the status: every answer that goes through this
/// proxy has more.
fn is_status_alone(mut block: &[u8]) -> bool {
    if block.len() > LONGEST_STATUS {
        return false;
    }
    // RFC 7541 section 6.3: changes of the table's size come first.
    while let Some(&first) = block.first()
        && first & 0xe0 == 0x20
    {
        let Some((_, rest)) = integer(block, 5) else { return false };
        block = rest;
    }
    let Some(&first) = block.first() else { return false };
    if first & 0x80 != 0 {
        return integer(block, 7).is_some_and(|(_, rest)| rest.is_empty());
    }
    let prefix = if first & 0x40 != 0 { 6 } else { 4 };
    let Some((name, value)) = integer(block, prefix) else { return false };
    let is_status = u8::try_from(name).is_ok_and(|name| STATUS.contains(&name));
    is_status && integer(value, 7).is_some_and(|(length, rest)| rest.len() == length)
}

/// An integer with a prefix of so many bits (RFC 7541 section 5.1), and what follows it.
fn integer(octets: &[u8], prefix: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = octets.split_first()?;
    let most = (1_usize << prefix) - 1;
    let mut number = usize::from(*first) & most;
    if number < most {
        return Some((number, rest));
    }
    for shift in [0, 7, 14] {
        let (next, behind) = rest.split_first()?;
        rest = behind;
        number += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

/// Fields as literals that are not indexed, with names of their own and nothing compressed.
fn literals(fields: &[(String, String)]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (name, value) in fields {
        octets.push(0);
        for text in [name, value] {
            let length = text.len();
            // RFC 7541 section 5.1, with a prefix of 7 bits.
            match u8::try_from(length) {
                Ok(short @ 0..127) => octets.push(short),
                _ => {
                    octets.push(127);
                    let mut left = length - 127;
                    while left >= 128 {
                        octets.push(0x80 | u8::try_from(left % 128).unwrap_or(0));
                        left /= 128;
                    }
                    octets.push(u8::try_from(left).unwrap_or(0));
                }
            }
            octets.extend_from_slice(text.as_bytes());
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Found {
        refused: u32,
        allowed: u32,
    }

    impl Finder for Found {
        fn refuses(&mut self) -> Vec<(String, String)> {
            self.refused += 1;
            vec![("a".into(), "b".into())]
        }

        fn allows(&mut self, octets: u32) {
            self.allowed += octets;
        }
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        Head { length: payload.len(), kind, flags, stream }.write(&mut out);
        out.extend_from_slice(payload);
        out.to_vec()
    }

    fn written(frames: &[Vec<u8>]) -> (Vec<u8>, Found) {
        let (mut walker, mut out, mut found) = (OwnAnswers::default(), BytesMut::new(), Found::default());
        frames.iter().for_each(|frame| walker.write(frame, &mut out, &mut found));
        (out.to_vec(), found)
    }

    const ALL: u8 = END_STREAM | END_HEADERS;
    /// `:status: 431`, as a literal that enters the dynamic table, Huffman-coded.
    const NEW: &[u8] = &[0x48, 0x83, 0x6b, 0x36, 0x07];
    /// The same once it is there.
    const KNOWN: &[u8] = &[0xbe];
    const ADDED: &[u8] = &[0, 1, b'a', 1, b'b'];

    #[test]
    fn an_answer_of_the_implementations_own_gets_fields() {
        for block in [NEW, KNOWN, &[0x3f, 0xe1, 0x1f, 0xbe], b"\x48\x03431", b"\x08\x03431", b"\xff\x00"] {
            let (out, found) = written(&[frame(HEADERS, ALL, 1, block)]);
            assert_eq!(found.refused, 1, "{block:x?}");
            assert_eq!(out, frame(HEADERS, ALL, 1, &[block, ADDED].concat()), "{block:x?}");
        }
    }

    #[test]
    fn everything_else_passes_as_it_is() {
        // An answer of two fields; one that goes on; its trailers of one field; data that looks like an answer.
        let plain = [
            frame(HEADERS, ALL, 1, &[0x8d, 0xbe]),
            frame(HEADERS, END_HEADERS, 3, KNOWN),
            frame(0, 0, 3, &frame(HEADERS, ALL, 5, NEW)),
            frame(HEADERS, ALL, 3, KNOWN),
            frame(HEADERS, ALL | PADDED, 5, &[0, 0xbe]),
            frame(HEADERS, END_STREAM, 7, KNOWN),
            frame(4, 0, 0, &[]),
        ];
        let (out, found) = written(&plain);
        assert_eq!((out, found.refused), (plain.concat(), 0));
        // Of streams in any order, old ones included.
        let many: Vec<_> = (0..3000)
            .map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, KNOWN))
            .chain((0..3000).rev().map(|number| frame(HEADERS, ALL, 2 * number + 1, KNOWN)))
            .collect();
        assert_eq!(written(&many).1.refused, 0);
        let (_, found) = written(&[frame(HEADERS, END_HEADERS, 5001, KNOWN), frame(HEADERS, ALL, 4999, KNOWN)]);
        assert_eq!(found.refused, 1, "an older stream without an answer");
    }

    #[test]
    fn what_the_connection_may_send_is_told() {
        let frames = [frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]), frame(WINDOW_UPDATE, 0, 3, &[0, 0, 2, 0])];
        let (out, found) = written(&frames);
        assert_eq!((out, found.allowed), (frames.concat(), 256));
    }

    #[test]
    fn long_values_are_written_as_rfc7541_5_1_says() {
        let long = "x".repeat(1337);
        let octets = literals(&[("n".into(), long.clone())]);
        let (length, rest) = integer(&octets[3..], 7).unwrap();
        assert_eq!((length, rest), (1337, long.as_bytes()));
    }

    proptest! {
        /// However a stream of frames is cut, it comes out with the same frames, and whole where nothing is added.
        #[test]
        fn pieces_change_nothing_but_what_is_added(
            kinds in prop::collection::vec((0u8..10, 0u32..9, prop::collection::vec(any::<u8>(), 2..40)), 0..20),
            piece in 1usize..60,
        ) {
            // Two octets that are no status begin every block.
            let frames: Vec<u8> = kinds
                .iter()
                .flat_map(|(kind, stream, payload)| frame(*kind, END_HEADERS, *stream, &[&[0, 0], &payload[..]].concat()))
                .collect();
            let (mut walker, mut out, mut found) = (OwnAnswers::default(), BytesMut::new(), Found::default());
            frames.chunks(piece).for_each(|piece| walker.write(piece, &mut out, &mut found));
            prop_assert_eq!(out.to_vec(), frames);
            prop_assert_eq!(found.refused, 0);
        }
    }
}
