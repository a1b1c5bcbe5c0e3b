//! HPACK (RFC 7541): how HTTP/2 writes the fields of a message.
//!
//! Pure. Octets in, fields out, and back; frames, the limits of a head and the rules for its fields are others' business.
//!
//! - Strict: what the RFC calls a decoding error is one; the connection ends with `COMPRESSION_ERROR` (RFC 9113 section 4.3).
//! - Bounded: nothing grows beyond what a block's octets and the announced size of the table allow.
//! - No allocation per field: both tables keep their octets in one piece each ([`table`]), strings are handed on where they lie.
//! - Small when unused: every buffer is made when it is first needed, and what a long string has made it grow to is given
//!   back after the block.
//!
//! ```text
//! block → integer, huffman → decoder (static_table, table) → fields
//! fields → names (which repeat?) → repeats (table) → encoder → block
//! ```

mod decoder;
mod encoder;
pub mod fuzz;
mod huffman;
mod integer;
mod names;
mod repeats;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::{DecodeError, Decoder};
pub use encoder::Encoder;

/// The table's size in octets before anything is announced (RFC 9113 section 6.5.2, `SETTINGS_HEADER_TABLE_SIZE`).
const DEFAULT_TABLE: u32 = 4096;
