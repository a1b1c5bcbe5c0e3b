//! What the encoder has seen before: its dynamic table, and where in it a field stands.
//!
//! A field enters the table when it is seen for the second time in a while. So what each message has anew never drives out
//! what repeats, and costs no copy here and at the peer. Whether it was seen is remembered as a hash in one of a few places,
//! two for each value of the hash; who is forgotten there is only written out once more.

use super::names::Known;
use super::static_table::STATIC;
use super::table::Table;

/// Pairs of places.
const PAIRS: usize = 32;
/// The longest value that is looked up, in octets: hashing and comparing a longer one costs more than it saves.
const LONGEST: usize = 128;

/// How a field is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// By the index.
    Indexed(usize),
    /// Such that the peer makes an entry of it too.
    Inserted,
    /// Without an entry.
    Passing,
}

#[derive(Debug)]
pub(super) struct Repeats {
    table: Table,
    /// Entries that were ever made, modulo 2^32.
    inserted: u32,
    /// The one used last first. Made when it is needed.
    places: Option<Box<[[Place; 2]; PAIRS]>>,
}

/// What was seen, and the number of its entry. The number may be wrong, for what has no entry yet as for what was evicted
/// long ago: only an entry with the same octets counts.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// 0: nothing.
    tag: u32,
    number: u32,
}

impl Repeats {
    /// `limit`: the table's, in octets.
    pub(super) fn new(limit: u32) -> Self {
        Self { table: Table::new(limit), inserted: 0, places: None }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.table.set_limit(limit);
    }

    pub(super) fn limit(&self) -> u32 {
        self.table.limit()
    }

    /// Looks a field up, and makes an entry of it if it is time to. `known`: what its name is; its values repeat.
    #[inline]
    pub(super) fn look(&mut self, known: Known, name: &[u8], value: &[u8]) -> Sight {
        if value.len() > LONGEST || !self.table.fits(name.len() + value.len()) {
            return Sight::Passing;
        }
        let places = self.places.get_or_insert_with(Box::default);
        let (pair, tag) = hash(known, value);
        let pair = &mut places[pair];
        if pair[0].tag != tag {
            if pair[1].tag != tag {
                pair[1] = Place { tag, number: self.inserted };
                return Sight::Passing;
            }
            pair.swap(0, 1);
        }
        let place = self.inserted.wrapping_sub(pair[0].number).wrapping_sub(1) as usize;
        if self.table.get(place) == Some((name, value)) {
            return Sight::Indexed(STATIC.len() + 1 + place);
        }
        pair[0].number = self.inserted;
        self.inserted = self.inserted.wrapping_add(1);
        self.table.insert(name, value);
        Sight::Inserted
    }

    /// What must be true between two blocks.
    pub(super) fn check(&self) {
        self.table.check();
    }
}

#[cfg(test)]
impl Repeats {
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// A pair of places, and what stands for a field there, which is not 0.
#[inline]
fn hash(known: Known, value: &[u8]) -> (usize, u32) {
    // Odd, with its bits all over: the golden ratio's.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |mixed: u64, word: u64| {
        let mixed = (mixed ^ word).wrapping_mul(FACTOR);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = value.as_chunks();
    let begun = ((value.len() as u64) << 8) | u64::from(known.number());
    let mixed = words.iter().fold(begun, |mixed, word| step(mixed, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |word, &octet| (word << 8) | u64::from(octet));
    let [first, second, third, fourth, ..] = step(mixed, last).wrapping_mul(FACTOR).to_be_bytes();
    (usize::from(fourth) % PAIRS, u32::from_be_bytes([first, second, third, known.number()]))
}
