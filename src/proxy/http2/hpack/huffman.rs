//! Strings in Huffman's code (RFC 7541 section 5.2 and Appendix B), read only: we write none.
//!
//! The code is canonical: among codes of one length the symbols go up, and each code is the one before it plus one. So the
//! lengths are the whole table, and everything else is computed from them when the program is built.
//!
//! Of 64 bits at hand the first eight find every code that is no longer, which all letters, digits and most signs of a field
//! are, in a table of 512 octets: one load a symbol. A machine that takes four bits at a time takes two steps for most
//! symbols, one that takes eight needs tables of a hundred times the size, which would live in nobody's first cache.

use super::decoder::DecodeError;

/// Bits of each symbol's code, the last being EOS (Appendix B).
static LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20  !"#$%&'()*+,-./
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30 0123456789:;<=>?
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40 @ABCDEFGHIJKLMNO
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50 PQRSTUVWXYZ[\]^_
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60 `abcdefghijklmno
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70 pqrstuvwxyz{|}~
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // EOS
];

/// The symbol that must not stand in a string (section 5.2).
const EOS: u16 = 256;
/// Bits of the longest code, and of the shortest.
const LONGEST: u32 = 30;
const SHORTEST: usize = 5;
/// The longest code that the first table finds.
const SHORT: u8 = 8;

/// A symbol, and the bits of its code.
#[derive(Clone, Copy)]
struct Code {
    symbol: u16,
    length: u32,
}

/// What stands in the first table: no bits where the code is longer.
#[derive(Clone, Copy)]
struct Entry {
    symbol: u8,
    length: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Group {
    /// What is behind the last of them, as 32 bits from the top.
    end: u64,
    /// The first of them.
    first: u32,
    /// Where its symbol stands in [`SYMBOLS`].
    place: u16,
}

/// The symbols by the length of their code, then by value.
static SYMBOLS: [u16; 257] = symbols();
/// The groups by length.
static GROUPS: [Group; LONGEST as usize + 1] = groups();
static FIRST: [Entry; 256] = first();

const fn symbols() -> [u16; 257] {
    let mut sorted = [0; 257];
    let mut place = 0;
    let mut length = 0;
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol as usize] as u32 == length {
                sorted[place] = symbol;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(place == 257);
    sorted
}

const fn groups() -> [Group; LONGEST as usize + 1] {
    let mut groups = [Group { end: 0, first: 0, place: 0 }; LONGEST as usize + 1];
    let (mut next, mut place): (u32, u16) = (0, 0);
    let mut length = 1;
    while length <= LONGEST {
        next <<= 1;
        groups[length as usize] = Group { end: 0, first: next, place };
        while place < 257 && LENGTHS[SYMBOLS[place as usize] as usize] as u32 == length {
            next += 1;
            place += 1;
        }
        groups[length as usize].end = (next as u64) << (32 - length);
        length += 1;
    }
    // The code is complete: behind the last one, of all ones, there is nothing.
    assert!(groups[LONGEST as usize].end == 1 << 32);
    groups
}

const fn first() -> [Entry; 256] {
    let mut entries = [Entry { symbol: 0, length: 0 }; 256];
    let mut octet = 0;
    while octet < 256 {
        let code = slow((octet as u64) << 56);
        if code.length <= SHORT as u32 {
            // No code of EOS is so short, so it is an octet.
            entries[octet] = Entry { symbol: code.symbol.to_le_bytes()[0], length: code.length.to_le_bytes()[0] };
        }
        octet += 1;
    }
    entries
}

/// The code that `window` begins with, whatever its length.
const fn slow(window: u64) -> Code {
    let top = window >> 32;
    let mut length = 1;
    // The last group ends behind all that 32 bits can be.
    while top >= GROUPS[length as usize].end {
        length += 1;
    }
    let group = GROUPS[length as usize];
    let offset = (top >> (32 - length)) as usize - group.first as usize;
    Code { symbol: SYMBOLS[group.place as usize + offset], length }
}

/// The code that `window` begins with.
#[inline]
fn code(window: u64) -> Code {
    let entry = FIRST[usize::from(window.to_be_bytes()[0])];
    if entry.length != 0 { Code { symbol: entry.symbol.into(), length: entry.length.into() } } else { slow(window) }
}

/// The bits of a string that are not read yet.
struct Bits<'a> {
    /// The next ones, from the top. Below the `have` that count stands what follows them, or nothing.
    window: u64,
    have: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Takes what there is room for; says whether any code must be whole now.
    #[inline]
    fn fill(&mut self) -> bool {
        if let Some(octets) = self.rest.first_chunk() {
            // Whole octets up to 56 bits or more; the octet behind them stands there in part, and is taken again alike.
            self.window |= u64::from_be_bytes(*octets) >> self.have;
            self.rest = &self.rest[((63 - self.have) >> 3) as usize..];
            self.have |= 56;
            return true;
        }
        while self.have <= 56
            && let Some((&octet, behind)) = self.rest.split_first()
        {
            self.window |= u64::from(octet) << (56 - self.have);
            self.have += 8;
            self.rest = behind;
        }
        self.have >= LONGEST
    }

    #[inline]
    fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.have -= bits;
    }
}

/// Reads `encoded` into `scratch`, which only grows, and returns what it says there.
///
/// # Errors
/// [`DecodeError::BadHuffman`] by section 5.2: "A Huffman-encoded string literal containing the EOS symbol MUST be treated as
/// a decoding error", and so must "a padding strictly longer than 7 bits" and "a padding not corresponding to the most
/// significant bits of the code for the EOS symbol".
pub(super) fn decode<'s>(encoded: &[u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], DecodeError> {
    let most = encoded.len() * 8 / SHORTEST;
    if scratch.len() < most {
        // Not twice as much, which would be more than is kept of it after the block.
        scratch.reserve_exact(most - scratch.len());
        scratch.resize(most, 0);
    }
    let out = &mut scratch[..most];
    let mut length = 0;
    let mut bits = Bits { window: 0, have: 0, rest: encoded };
    while bits.fill() {
        while bits.have >= LONGEST {
            let code = code(bits.window);
            if code.symbol == EOS {
                return Err(DecodeError::BadHuffman);
            }
            out[length] = code.symbol.to_le_bytes()[0];
            length += 1;
            bits.skip(code.length);
        }
    }
    // Less than the longest code is left, so EOS is not in it. Ones behind it make a code out of what is none: it is longer
    // than what is left then.
    loop {
        let window = bits.window | (u64::MAX >> bits.have);
        let code = code(window);
        if code.length > bits.have {
            let is_padding = bits.have <= 7 && window == u64::MAX;
            return if is_padding { Ok(&scratch[..length]) } else { Err(DecodeError::BadHuffman) };
        }
        out[length] = code.symbol.to_le_bytes()[0];
        length += 1;
        bits.skip(code.length);
    }
}

/// Writes `text` as section 5.2 has it, for the tests of those who read it.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = String::new();
    for &octet in text {
        let place = SYMBOLS.iter().position(|&symbol| symbol == u16::from(octet)).unwrap();
        let length = usize::from(LENGTHS[usize::from(octet)]);
        let group = GROUPS[length];
        let code = group.first as usize + place - usize::from(group.place);
        bits += &format!("{code:0length$b}");
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes().chunks(8).map(|octet| u8::from_str_radix(str::from_utf8(octet).unwrap(), 2).unwrap()).collect()
}
