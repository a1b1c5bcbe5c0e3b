//! Reads a body in chunks (RFC 9112 section 7.1), in place.
//!
//! Pure. As strict as [`super::super::head_scan`], whose grammar of a chunk's head it uses: exact line ends, bounded
//! extensions, which go no further, and bounded trailers.

use smallvec::SmallVec;

use crate::proxy::head_scan::{CHUNK_HEAD, chunk_size};

/// The most octets of trailers.
const TRAILERS: usize = 16 * 1024;

/// The body is not written as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are not valid")]
pub struct InvalidChunks;

/// What came out of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Octets of the body, which now stand at the piece's beginning.
    pub data: usize,
    /// Octets of the piece that belong to the body; what follows them is not touched.
    pub consumed: usize,
}

/// The reader of one body.
#[derive(Debug, Default)]
pub struct ChunkReader {
    state: State,
    line: SmallVec<[u8; 32]>,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Data(u64),
    /// So many octets of the line end behind a chunk are still to come.
    DataEnd(u8),
    Trailer,
    Done,
}

impl ChunkReader {
    /// Whether the body is whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The lines of the trailers, each with its end.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Takes the next piece and moves the body's octets in it to its beginning.
    ///
    /// # Errors
    /// If it is not as RFC 9112 has it.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<Decoded, InvalidChunks> {
        let (mut at, mut data) = (0, 0);
        while at < piece.len() && self.state != State::Done {
            match self.state {
                State::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len() - at);
                    piece.copy_within(at..at + here, data);
                    (at, data) = (at + here, data + here);
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataEnd(2) } else { State::Data(left) };
                }
                State::DataEnd(left) => {
                    let wanted = if left == 2 { b'\r' } else { b'\n' };
                    if piece[at] != wanted {
                        return Err(InvalidChunks);
                    }
                    at += 1;
                    self.state = if left == 1 { State::Head } else { State::DataEnd(left - 1) };
                }
                State::Head | State::Trailer => {
                    self.add(piece[at])?;
                    at += 1;
                }
                State::Done => {}
            }
        }
        Ok(Decoded { data, consumed: at })
    }

    fn add(&mut self, byte: u8) -> Result<(), InvalidChunks> {
        self.line.push(byte);
        if byte != b'\n' {
            let most = if self.state == State::Head { CHUNK_HEAD } else { TRAILERS - self.trailers.len() };
            return if self.line.len() > most { Err(InvalidChunks) } else { Ok(()) };
        }
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r\n").ok_or(InvalidChunks)?;
        self.state = match self.state {
            State::Head => match chunk_size(text).ok_or(InvalidChunks)? {
                0 => State::Trailer,
                size => State::Data(size),
            },
            _ if text.is_empty() => State::Done,
            state => {
                self.trailers.extend_from_slice(&line);
                if self.trailers.len() > TRAILERS {
                    return Err(InvalidChunks);
                }
                state
            }
        };
        Ok(())
    }
}

/// What fuzzing feeds: whatever the pieces, the same comes out, and never more than went in.
pub fn fuzz_chunks(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    let pieces = read(data, 1 + data.len() % 7);
    assert_eq!(whole, pieces);
}

/// Body, trailers and what follows, read in pieces of so many octets.
fn read(text: &[u8], size: usize) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let (mut reader, mut body, mut rest) = (ChunkReader::default(), Vec::new(), Vec::new());
    for piece in text.chunks(size) {
        let mut piece = piece.to_vec();
        let decoded = reader.decode(&mut piece).ok()?;
        assert!(decoded.data <= decoded.consumed && decoded.consumed <= piece.len());
        body.extend_from_slice(&piece[..decoded.data]);
        rest.extend_from_slice(&piece[decoded.consumed..]);
    }
    reader.is_done().then(|| (body, reader.trailers().to_vec(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<(&str, &str, &str)>) {
        for size in [1, 2, 3, 7, text.len()] {
            let found = read(text.as_bytes(), size);
            let expected = expected.map(|(body, trailers, rest)| (body.into(), trailers.into(), rest.into()));
            assert_eq!(found, expected, "{text:?} in pieces of {size}");
        }
    }

    #[test]
    fn bodies_rfc9112_7_1() {
        check("5\r\nhello\r\n0\r\n\r\n", Some(("hello", "", "")));
        check("3;a=\"b\"\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\nrest", Some(("abcde", "X: y\r\n", "rest")));
        check("5\r\nhello\r\n0\r\n", None);
    }

    #[test]
    fn what_two_readers_would_end_differently_is_refused() {
        for bad in ["5\nhello\r\n", "5\r\nhello\n", "5 \r\nhello\r\n", "5\r\nhelloX", "+5\r\n", "\r\n", "0\n\r\n"] {
            check(&format!("{bad}0\r\n\r\n"), None);
        }
        check(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300)), None);
        check(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(4000)), None);
        check(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(20_000)), None);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "([0-5]\r\n|[a-c]{0,5}|\r\n|;a=b|X: y\r\n){0,10}") {
            fuzz_chunks(text.as_bytes());
        }
    }
}
