//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2).
//!
//! Pure. What is no frame is followed as if it were one: a peer that speaks something else is one that is in the midst of a
//! frame, or lies about its own.

/// The longest head: two octets, eight of an extended length, four of a masking key.
const LONGEST_HEAD: usize = 14;
/// The opcode of a Close frame (RFC 6455 section 5.5.1).
const CLOSE: u8 = 0x8;

/// Follows the frames that are sent one way.
#[derive(Debug, Default)]
pub struct Frames {
    /// The head of the frame that has begun, as far as it has come.
    head: [u8; LONGEST_HEAD],
    have: usize,
    /// Octets of the frame's payload that are still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Whether the last frame is whole and no other has begun. Between the frames of a message in pieces there may be
    /// others, too (RFC 6455 section 5.4: "Control frames MAY be injected in the middle of a fragmented message").
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Whether a Close frame was sent: nothing may follow it (RFC 6455 section 5.5.1).
    pub fn have_closed(&self) -> bool {
        self.closed
    }

    /// Follows the next octets.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            octets = &octets[self.step(octets)..];
        }
    }

    /// Follows the next octets as far as the frame goes that has begun; how many they are.
    pub fn feed_to_end(&mut self, octets: &[u8]) -> usize {
        let mut at = 0;
        while at < octets.len() && !self.is_between() {
            at += self.step(&octets[at..]);
        }
        at
    }

    /// Takes a part of a head, or of a payload; there is at least one octet, and one is taken at least.
    fn step(&mut self, octets: &[u8]) -> usize {
        if self.left > 0 {
            let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(octets.len());
            self.left -= here as u64;
            return here;
        }
        let here = (self.head_length() - self.have).min(octets.len());
        self.head[self.have..self.have + here].copy_from_slice(&octets[..here]);
        self.have += here;
        // The second octet says how long the head is.
        if self.have == self.head_length() {
            self.end_head();
        }
        here
    }

    fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = self.head[1] & 0x80 != 0;
        2 + extended + if masked { 4 } else { 0 }
    }

    fn end_head(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.head;
        self.left = match second & 0x7f {
            126 => u16::from_be_bytes([a, b]).into(),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => length.into(),
        };
        self.closed |= first & 0x0f == CLOSE;
        self.have = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: u8 = 1;

    fn frame(opcode: u8, is_masked: bool, length: usize) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut octets = vec![0x80 | opcode];
        match length {
            0..126 => octets.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                octets.push(mask | 126);
                octets.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                octets.push(mask | 127);
                octets.extend((length as u64).to_be_bytes());
            }
        }
        octets.extend(if is_masked { &[1, 2, 3, 4][..] } else { &[] });
        // Looks like heads of frames, to whoever takes it for them.
        octets.extend(vec![0x88; length]);
        octets
    }

    #[test]
    fn ends_are_found_in_pieces_of_any_size() {
        for is_masked in [false, true] {
            for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
                let octets = frame(TEXT, is_masked, length);
                for piece in [1, 2, 3, 13, 4096, octets.len()] {
                    let mut frames = Frames::default();
                    let mut at = 0;
                    for piece in octets.chunks(piece) {
                        assert!(at == 0 || !frames.is_between(), "{length} {at}");
                        frames.feed(piece);
                        at += piece.len();
                    }
                    assert!(frames.is_between() && !frames.have_closed(), "{length} {is_masked}");
                }
            }
        }
    }

    #[test]
    fn a_close_is_seen_and_what_looks_like_one_is_not() {
        let mut frames = Frames::default();
        frames.feed(&frame(TEXT, true, 300));
        assert!(!frames.have_closed());
        frames.feed(&frame(CLOSE, true, 2));
        assert!(frames.have_closed() && frames.is_between());
    }

    #[test]
    fn no_more_is_taken_than_the_frame_that_has_begun() {
        let (one, two) = (frame(TEXT, false, 200), frame(TEXT, false, 10));
        let both = [&one[..], &two[..]].concat();
        for begun in 1..one.len() {
            let mut frames = Frames::default();
            frames.feed(&both[..begun]);
            assert_eq!(frames.feed_to_end(&both[begun..]), one.len() - begun);
            assert!(frames.is_between());
        }
        assert_eq!(Frames::default().feed_to_end(&both), 0);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(octets in prop::collection::vec(any::<u8>(), 0..600), piece in 1usize..50) {
            let (mut whole, mut pieces) = (Frames::default(), Frames::default());
            whole.feed(&octets);
            octets.chunks(piece).for_each(|piece| pieces.feed(piece));
            prop_assert_eq!(
                (whole.is_between(), whole.have_closed(), whole.left, whole.have),
                (pieces.is_between(), pieces.have_closed(), pieces.left, pieces.have)
            );
        }
    }
}
