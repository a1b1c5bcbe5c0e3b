//! Writes header blocks (RFC 7541 sections 3 and 6).
//!
//! Nothing is written in Huffman's code: it costs time on either side and saves a fifth to a third of octets that are few, as
//! what repeats is written as an index. For the same reason a field is looked up by its name first, and its value only where
//! it pays ([`super::names`]).

use super::names::Known;
use super::repeats::{Repeats, Sight};
use super::{DEFAULT_TABLE, integer, static_table as index};

/// The patterns of a field's first octet, and the masks of their prefixes: sections 6.1, 6.2.1, 6.2.2, 6.2.3 and 6.3.
const INDEXED: (u8, u8) = (0x80, 0x7f);
const INDEXING: (u8, u8) = (0x40, 0x3f);
const PASSING: (u8, u8) = (0x00, 0x0f);
const NEVER: (u8, u8) = (0x10, 0x0f);
const UPDATE: (u8, u8) = (0x20, 0x1f);
/// A string's length, without Huffman's code (section 5.2).
const STRING: (u8, u8) = (0x00, 0x7f);

/// The writing side of one direction of a connection: each block that is sent, in their order. A block that was begun has
/// to be sent whole, as the peer's table follows it.
#[derive(Debug)]
pub struct Encoder {
    repeats: Repeats,
    /// The smallest size that was announced since the last block, and the last one.
    announced: Option<(u32, u32)>,
}

impl Encoder {
    /// For a peer that has announced nothing yet: a table of 4096 octets, of which none is taken before it is used.
    pub fn new() -> Self {
        Self { repeats: Repeats::new(DEFAULT_TABLE), announced: None }
    }

    /// The peer has announced SETTINGS_HEADER_TABLE_SIZE. The next block begins with the size updates that this makes
    /// necessary. More than 4096 octets are never used.
    pub fn set_table_size(&mut self, octets: u32) {
        let size = octets.min(DEFAULT_TABLE);
        let smallest = self.announced.map_or(size, |(smallest, _)| smallest.min(size));
        self.announced = Some((smallest, size));
    }

    /// Begins a block: writes pending size updates.
    ///
    /// RFC 7541 section 4.2: "the smallest maximum table size that occurs in that interval MUST be signaled in a dynamic table
    /// size update. The final maximum size is always signaled, resulting in at most two dynamic table size updates."
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((smallest, last)) = self.announced.take() {
            self.resize(smallest.min(self.repeats.limit()), out);
            self.resize(last, out);
        }
    }

    fn resize(&mut self, size: u32, out: &mut Vec<u8>) {
        if size != self.repeats.limit() {
            self.repeats.set_limit(size);
            integer::write(UPDATE.0, UPDATE.1, size as usize, out);
        }
    }

    /// `:status`, of three digits.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        match status {
            200 => indexed(index::STATUS_200.into(), out),
            204 => indexed(index::STATUS_204.into(), out),
            206 => indexed(index::STATUS_206.into(), out),
            304 => indexed(index::STATUS_304.into(), out),
            400 => indexed(index::STATUS_400.into(), out),
            404 => indexed(index::STATUS_404.into(), out),
            500 => indexed(index::STATUS_500.into(), out),
            _ => {
                let digit = |value: u16| b"0123456789"[usize::from(value % 10)];
                let digits = [digit(status / 100), digit(status / 10), digit(status)];
                self.repeated(Known::STATUS, b":status", &digits, out);
            }
        }
    }

    /// `:method`.
    pub fn method(&mut self, method: &str, out: &mut Vec<u8>) {
        match method {
            "GET" => indexed(index::METHOD_GET.into(), out),
            "POST" => indexed(index::METHOD_POST.into(), out),
            _ => self.repeated(Known::METHOD, b":method", method.as_bytes(), out),
        }
    }

    /// `:scheme`.
    pub fn scheme(&mut self, scheme: &str, out: &mut Vec<u8>) {
        match scheme {
            "http" => indexed(index::SCHEME_HTTP.into(), out),
            "https" => indexed(index::SCHEME_HTTPS.into(), out),
            _ => literal(PASSING, Known::SCHEME, b":scheme", scheme.as_bytes(), out),
        }
    }

    /// `:path`.
    pub fn path(&mut self, path: &str, out: &mut Vec<u8>) {
        match path {
            "/" => indexed(index::PATH_ROOT.into(), out),
            "/index.html" => indexed(index::PATH_INDEX.into(), out),
            _ => literal(PASSING, Known::PATH, b":path", path.as_bytes(), out),
        }
    }

    /// `:authority`.
    pub fn authority(&mut self, authority: &str, out: &mut Vec<u8>) {
        self.repeated(Known::AUTHORITY, b":authority", authority.as_bytes(), out);
    }

    /// A field with a lower-case name. `sensitive`: written as never indexed (RFC 7541 sections 6.2.3 and 7.1.3), which is also
    /// how what has come so goes on ("intermediaries MUST use the same representation").
    #[inline]
    pub fn field(&mut self, name: &[u8], value: &[u8], sensitive: bool, out: &mut Vec<u8>) {
        let known = Known::of(name);
        if sensitive {
            literal(NEVER, known, name, value, out);
        } else if known == Known::ACCEPT_ENCODING && value == b"gzip, deflate" {
            indexed(index::ACCEPT_ENCODING.into(), out);
        } else if known.repeats() {
            self.repeated(known, name, value, out);
        } else {
            literal(PASSING, known, name, value, out);
        }
    }

    /// A field whose values repeat.
    fn repeated(&mut self, known: Known, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        match self.repeats.look(known, name, value) {
            Sight::Indexed(index) => indexed(index, out),
            Sight::Inserted => literal(INDEXING, known, name, value, out),
            Sight::Passing => literal(PASSING, known, name, value, out),
        }
    }

    /// What must be true between two blocks.
    pub(super) fn check(&self) {
        self.repeats.check();
    }
}

#[cfg(test)]
impl Encoder {
    pub(super) fn table(&self) -> &super::table::Table {
        self.repeats.table()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
fn indexed(index: usize, out: &mut Vec<u8>) {
    integer::write(INDEXED.0, INDEXED.1, index, out);
}

/// A field that is written out, its name by the static table if that has it.
#[inline]
fn literal((pattern, mask): (u8, u8), known: Known, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let index = known.index();
    integer::write(pattern, mask, index, out);
    if index == 0 {
        string(name, out);
    }
    string(value, out);
}

#[inline]
fn string(text: &[u8], out: &mut Vec<u8>) {
    integer::write(STRING.0, STRING.1, text.len(), out);
    out.extend_from_slice(text);
}
