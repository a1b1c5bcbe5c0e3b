//! Fields that are passed on without a map of them, on their way into a header block.

use http::StatusCode;
use smallvec::SmallVec;

use super::head::SHORT_COOKIE;
use super::hpack::Encoder;
use crate::proxy::http1::rewrite::{AnswerSink, Sink};
use crate::proxy::http1::upstream::Framing;

/// Octets of a head of HTTP/1.1 that is passed on, in most cases.
const SHORT: usize = 512;

/// Fields as a header block. Their names are in lower case.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) encoder: &'a mut Encoder,
    pub(super) out: &'a mut Vec<u8>,
}

impl Sink for Block<'_> {
    fn field(&mut self, name: &[u8], value: &[u8], is_sensitive: bool) {
        self.encoder.field(name, value, is_sensitive, self.out);
    }

    fn via(&mut self, received: &str, name: &str) {
        let mut value = SmallVec::<[u8; 128]>::new();
        for part in [received.as_bytes(), b" ", name.as_bytes()] {
            value.extend_from_slice(part);
        }
        self.encoder.field(b"via", &value, false, self.out);
    }
}

/// Leaves the host out, which is a pseudo-header field.
#[derive(Debug)]
pub(super) struct WithoutHost<'a, 'b>(pub(super) &'a mut Block<'b>);

impl Sink for WithoutHost<'_, '_> {
    fn field(&mut self, name: &[u8], value: &[u8], is_sensitive: bool) {
        if name != b"host" {
            let sensitive = is_sensitive || (name == b"cookie" && value.len() < SHORT_COOKIE);
            self.0.field(name, value, sensitive);
        }
    }

    fn via(&mut self, received: &str, name: &str) {
        self.0.via(received, name);
    }
}

/// The head of an answer over HTTP/1.1, noted while it is read: whether it can be passed on is known at its end, and what
/// is written into a header block cannot be taken back.
#[derive(Debug, Default)]
pub(super) struct Noted {
    status: StatusCode,
    /// Names, in lower case (RFC 9113 section 8.2.1), and values, one behind the other.
    octets: Vec<u8>,
    /// Where each name and each value ends.
    ends: SmallVec<[(usize, usize); 24]>,
}

impl Noted {
    pub(super) fn new() -> Self {
        Self { octets: Vec::with_capacity(SHORT), ..Self::default() }
    }

    /// Writes it as a header block.
    pub(super) fn write(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        encoder.begin(out);
        encoder.status(self.status.as_u16(), out);
        let mut at = 0;
        for (name, value) in &self.ends {
            encoder.field(&self.octets[at..*name], &self.octets[*name..*value], false, out);
            at = *value;
        }
    }

    fn note(&mut self, name: &[u8], value: &[&[u8]]) {
        let at = self.octets.len();
        self.octets.extend_from_slice(name);
        self.octets[at..].make_ascii_lowercase();
        let end = self.octets.len();
        for part in value {
            self.octets.extend_from_slice(part);
        }
        self.ends.push((end, self.octets.len()));
    }
}

impl Sink for Noted {
    fn field(&mut self, name: &[u8], value: &[u8], _: bool) {
        self.note(name, &[value]);
    }

    fn via(&mut self, received: &str, name: &str) {
        self.note(b"via", &[received.as_bytes(), b" ", name.as_bytes()]);
    }
}

impl AnswerSink for Noted {
    fn begin(&mut self, status: StatusCode, _: &str) {
        self.status = status;
    }

    fn end(&mut self, framing: &Framing, has_content: bool, _: bool) {
        if let (Framing::Length(length), true) = (framing, has_content) {
            self.length(*length);
        }
    }

    fn length(&mut self, length: u64) {
        self.note(b"content-length", &[itoa::Buffer::new().format(length).as_bytes()]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Decoder;
    use super::*;

    #[test]
    fn what_was_noted_is_written_as_it_was_read() {
        let mut noted = Noted::new();
        noted.begin(StatusCode::NOT_FOUND, "Nobody Here");
        noted.field(b"X-Twice", b"One", false);
        noted.field(b"x-twice", b"", false);
        noted.via("1.1", "p");
        noted.end(&Framing::Length(7), true, true);
        let mut block = Vec::new();
        noted.write(&mut Encoder::new(), &mut block);
        let mut fields = Vec::new();
        let read = Decoder::new(4096).decode(&block, |name, value, _| {
            fields.push([name, value].map(|text| String::from_utf8(text.to_vec()).unwrap()));
            true
        });
        assert!(read.is_ok());
        let expected =
            [[":status", "404"], ["x-twice", "One"], ["x-twice", ""], ["via", "1.1 p"], ["content-length", "7"]];
        assert_eq!(fields, expected);
    }
}
