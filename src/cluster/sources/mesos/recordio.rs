//! RecordIO framing: `<ASCII decimal length>\n<length bytes>`, repeated.
//!
//! Incremental: a record's body is handed on as it arrives and never gathered here, so a snapshot of any size passes.
//! What a record may weigh is decided by who consumes the body.

use thiserror::Error;

/// Digits a length may have: 999,999,999,999 bytes are more than any snapshot, and a text that is no length is
/// noticed early.
const MAX_LENGTH_DIGITS: u8 = 12;

/// The input is not RecordIO.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// A byte that is neither a digit nor the line's end stands where a record's length should.
    #[error("byte 0x{byte:02x} at offset {offset} of the stream is not part of a record's length")]
    NotALength {
        /// The byte.
        byte: u8,
        /// Where it stands in the stream.
        offset: u64,
    },
    /// A line without digits.
    #[error("an empty line at offset {offset} of the stream instead of a record's length")]
    EmptyLength {
        /// Where the line ends.
        offset: u64,
    },
    /// More digits than any record has.
    #[error("a record's length of more than {MAX_LENGTH_DIGITS} digits at offset {offset} of the stream")]
    LengthTooLong {
        /// Where the digit too many stands.
        offset: u64,
    },
}

/// What the reader found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record of this many bytes begins.
    Start(u64),
    /// More of its body; never empty.
    Body(&'a [u8]),
    /// The record is complete.
    End,
}

/// Finds records in a stream that arrives in pieces of any size.
#[derive(Debug, Default)]
pub struct RecordReader {
    state: State,
    offset: u64,
}

#[derive(Debug)]
enum State {
    Length { value: u64, digits: u8 },
    Body { left: u64 },
}

impl Default for State {
    fn default() -> Self {
        Self::Length { value: 0, digits: 0 }
    }
}

impl RecordReader {
    /// Takes the next piece off the front of `input`; `None` when the input is used up.
    ///
    /// # Errors
    /// The bytes are not RecordIO. The reader is of no use afterwards.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, RecordError> {
        match self.state {
            State::Body { left: 0 } => {
                self.state = State::default();
                Ok(Some(Piece::End))
            }
            State::Body { left } => Ok(self.body(left, input)),
            State::Length { value, digits } => self.length(value, digits, input),
        }
    }

    /// Whether the stream may end here: between two records.
    pub fn is_between_records(&self) -> bool {
        matches!(self.state, State::Length { digits: 0, .. })
    }

    fn body<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if input.is_empty() {
            return None;
        }
        let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (body, rest) = input.split_at(take);
        *input = rest;
        self.offset += take as u64;
        self.state = State::Body { left: left - take as u64 };
        Some(Piece::Body(body))
    }

    fn length<'a>(
        &mut self,
        mut value: u64,
        mut digits: u8,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, RecordError> {
        while let [byte, rest @ ..] = *input {
            let offset = self.offset;
            *input = rest;
            self.offset += 1;
            match byte {
                b'0'..=b'9' if digits == MAX_LENGTH_DIGITS => return Err(RecordError::LengthTooLong { offset }),
                b'0'..=b'9' => {
                    value = value * 10 + u64::from(byte - b'0');
                    digits += 1;
                }
                b'\n' if digits == 0 => return Err(RecordError::EmptyLength { offset }),
                b'\n' => {
                    self.state = State::Body { left: value };
                    return Ok(Some(Piece::Start(value)));
                }
                byte => return Err(RecordError::NotALength { byte: *byte, offset }),
            }
        }
        self.state = State::Length { value, digits };
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, RecordError> {
        let (mut reader, mut records) = (RecordReader::default(), Vec::new());
        let mut current = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(piece) = reader.next(&mut input)? {
                match piece {
                    Piece::Start(_) => current.clear(),
                    Piece::Body(body) => current.extend_from_slice(body),
                    Piece::End => records.push(current.clone()),
                }
            }
        }
        Ok(records)
    }

    #[test]
    fn records_come_out_whatever_the_chunks() {
        let expected = vec![b"abc".to_vec(), Vec::new(), b"0123456789".to_vec()];
        let stream = b"3\nabc0\n10\n0123456789";
        assert_eq!(records(&[stream]).unwrap(), expected);
        for size in 1..stream.len() {
            assert_eq!(records(&stream.chunks(size).collect::<Vec<_>>()).unwrap(), expected, "chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_length_is_named_with_its_place() {
        assert_eq!(records(&[b"3\nabc<html>"]), Err(RecordError::NotALength { byte: b'<', offset: 5 }));
        assert_eq!(records(&[b"\n"]), Err(RecordError::EmptyLength { offset: 0 }));
        assert_eq!(records(&[b"0000000000001\na"]), Err(RecordError::LengthTooLong { offset: 12 }));
    }

    #[test]
    fn knows_when_it_stands_between_records() {
        let mut reader = RecordReader::default();
        assert!(reader.is_between_records());
        let mut input: &[u8] = b"2\nx";
        while reader.next(&mut input).unwrap().is_some() {}
        assert!(!reader.is_between_records());
    }
}
