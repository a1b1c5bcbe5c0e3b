//! Reads header blocks (RFC 7541 sections 3 and 6).

use super::static_table::STATIC;
use super::table::Table;
use super::{DEFAULT_TABLE, huffman, integer};

/// What a scratch buffer may keep after a block, in octets: usual cookies fit, and idle connections stay small.
const KEPT: usize = 1024;

/// Why a header block cannot be read. The connection's state is lost with it: it ends with `COMPRESSION_ERROR`
/// (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field or a size update.
    #[error("the header block ends within a field")]
    Truncated,
    /// RFC 7541 sections 2.3.3 and 6.1: an index of 0 for a field, or one beyond both tables.
    #[error("the header block refers to an entry that is in neither table")]
    BadIndex,
    /// RFC 7541 section 5.2: EOS, or a padding that is too long or not of ones.
    #[error("a string's Huffman code is wrong or wrongly padded")]
    BadHuffman,
    /// RFC 7541 section 5.1: more than 32 bits, or more than five octets behind the prefix.
    #[error("an integer of the header block is too large")]
    IntegerTooLarge,
    /// RFC 7541 sections 4.2 and 6.3: a size beyond what is allowed, or an update behind the block's first field.
    #[error("the size of the dynamic table is updated in the wrong place, or beyond what is allowed")]
    TableSize,
}

/// The reading side of one direction of a connection: each block that arrives, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What an update may say, in octets.
    most: u32,
    /// Where strings in Huffman's code are unpacked, and names of entries that may be evicted for their like.
    names: Vec<u8>,
    values: Vec<u8>,
}

impl Decoder {
    /// `most`: the largest table that the peer may use (octets). It begins with 4096 whatever we say, so less than that would
    /// have to be announced and acknowledged first (RFC 7541 section 4.2), and is not asked for.
    pub fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(DEFAULT_TABLE);
        Self { table: Table::new(DEFAULT_TABLE), most, names: Vec::new(), values: Vec::new() }
    }

    /// Decodes one whole header block. Each field is handed to `field` as (name, value, never indexed: RFC 7541 section 6.2.3);
    /// once that returns false nothing more is handed on, but the rest of the block is still decoded, so that the dynamic
    /// table stays right.
    ///
    /// # Errors
    /// [`DecodeError`]; the decoder must not be used any more then.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut field: impl FnMut(&[u8], &[u8], bool) -> bool,
    ) -> Result<(), DecodeError> {
        let mut is_wanted = true;
        let read = self.read_block(block, &mut |name, value, is_never_indexed| {
            is_wanted = is_wanted && field(name, value, is_never_indexed);
        });
        for scratch in [&mut self.names, &mut self.values] {
            if scratch.capacity() > KEPT {
                *scratch = Vec::new();
            }
        }
        read
    }

    fn read_block(&mut self, block: &[u8], field: &mut impl FnMut(&[u8], &[u8], bool)) -> Result<(), DecodeError> {
        let mut rest = block;
        self.read_updates(&mut rest)?;
        while let Some(&first) = rest.first() {
            match first {
                // Section 6.1.
                0x80.. => {
                    let index = integer::read(&mut rest, 0x7f)?;
                    let (name, value) = self.entry(index)?;
                    field(name, value, false);
                }
                // Section 6.2.1.
                0x40..0x80 => self.read_indexing(&mut rest, field)?,
                // Section 4.2: an update "MUST occur at the beginning of the first header block following the change".
                0x20..0x40 => return Err(DecodeError::TableSize),
                // Sections 6.2.2 and 6.2.3.
                _ => self.read_passing(first >= 0x10, &mut rest, field)?,
            }
        }
        Ok(())
    }

    /// Section 6.3, at the beginning of a block. Section 4.2 has at most two of them; more do no harm.
    fn read_updates(&mut self, rest: &mut &[u8]) -> Result<(), DecodeError> {
        while let Some(0x20..0x40) = rest.first() {
            let limit = integer::read(rest, 0x1f)?;
            // "A value that exceeds this limit MUST be treated as a decoding error."
            if limit > self.most {
                return Err(DecodeError::TableSize);
            }
            self.table.set_limit(limit);
        }
        Ok(())
    }

    /// A field that becomes an entry.
    fn read_indexing(
        &mut self,
        rest: &mut &[u8],
        field: &mut impl FnMut(&[u8], &[u8], bool),
    ) -> Result<(), DecodeError> {
        let index = integer::read(rest, 0x3f)?;
        let name = if index == 0 {
            string(rest, &mut self.names)?
        } else if let Some((name, _)) = fixed(index) {
            name
        } else {
            // Section 4.4: "A new entry can reference the name of an entry in the dynamic table that will be evicted".
            let (name, _) = dynamic(&self.table, index)?;
            self.names.clear();
            self.names.extend_from_slice(name);
            &self.names[..]
        };
        let value = string(rest, &mut self.values)?;
        field(name, value, false);
        self.table.insert(name, value);
        Ok(())
    }

    /// A field that becomes none.
    fn read_passing(
        &mut self,
        is_never_indexed: bool,
        rest: &mut &[u8],
        field: &mut impl FnMut(&[u8], &[u8], bool),
    ) -> Result<(), DecodeError> {
        let index = integer::read(rest, 0x0f)?;
        let name = match index {
            0 => string(rest, &mut self.names)?,
            _ => match fixed(index) {
                Some((name, _)) => name,
                None => dynamic(&self.table, index)?.0,
            },
        };
        let value = string(rest, &mut self.values)?;
        field(name, value, is_never_indexed);
        Ok(())
    }

    /// Section 2.3.3: "Indices strictly greater than the sum of the lengths of both tables MUST be treated as a decoding
    /// error"; section 6.1: so must the index 0.
    #[inline]
    fn entry(&self, index: u32) -> Result<(&[u8], &[u8]), DecodeError> {
        fixed(index).map_or_else(|| dynamic(&self.table, index), Ok)
    }

    /// What must be true between two blocks.
    pub(super) fn check(&self) {
        self.table.check();
        assert!(self.table.limit() <= self.most);
        assert!(self.names.capacity() <= KEPT && self.values.capacity() <= KEPT);
    }
}

#[cfg(test)]
impl Decoder {
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// An entry of the static table.
#[inline]
fn fixed(index: u32) -> Option<(&'static [u8], &'static [u8])> {
    let (name, value) = STATIC.get((index as usize).wrapping_sub(1))?;
    Some((name.as_bytes(), value.as_bytes()))
}

/// An entry of the dynamic table.
#[inline]
fn dynamic(table: &Table, index: u32) -> Result<(&[u8], &[u8]), DecodeError> {
    let place = (index as usize).checked_sub(STATIC.len() + 1);
    place.and_then(|place| table.get(place)).ok_or(DecodeError::BadIndex)
}

/// Section 5.2: a string, where it lies or in `scratch`.
#[inline]
fn string<'r, 'b: 'r>(rest: &mut &'b [u8], scratch: &'r mut Vec<u8>) -> Result<&'r [u8], DecodeError> {
    let &first = rest.first().ok_or(DecodeError::Truncated)?;
    let length = integer::read(rest, 0x7f)?;
    let (text, behind) = rest.split_at_checked(length as usize).ok_or(DecodeError::Truncated)?;
    *rest = behind;
    if first < 0x80 { Ok(text) } else { huffman::decode(text, scratch) }
}
