//! Where each name begins: a table of hashes that is made once and never changes.
//!
//! A place is eight octets: twenty-four bits of the name's hash, so that others are hardly ever looked at, and where it
//! begins. A third of the places is free, so that names which are not there are known after few.
//!
//! Most of them are known before: a filter (Bloom, 1970) has four bits for each name, all in one word of eight octets, which
//! holds eight names. Of names that are not there one in thirty finds its bits set. The filter takes an octet a name where the
//! places take twelve, so that it stays in the processor's cache where they do not, and a look at it is one word.

/// Bits that tell where a name begins.
const AT_BITS: u32 = 40;

/// A place that is free: no name begins so far behind.
const FREE: u64 = u64::MAX;

/// Names that one word of the filter holds.
const NAMES_A_WORD: usize = 8;

/// The table.
#[derive(Debug)]
pub(super) struct Index {
    places: Box<[u64]>,
    /// Bits of the names that are filed.
    filter: Box<[u64]>,
}

impl Index {
    /// A table for at most so many names.
    pub(super) fn with_room_for(names: usize) -> Self {
        Self {
            places: vec![FREE; names + names / 2 + 1].into(),
            filter: vec![0; names.div_ceil(NAMES_A_WORD).max(1)].into(),
        }
    }

    /// Files a name that is not there yet under its hash.
    pub(super) fn insert(&mut self, hash: u64, at: usize) {
        let mut place = self.home(hash);
        while self.places[place] != FREE {
            place = self.next(place);
        }
        self.places[place] = tag(hash) << AT_BITS | at as u64;
        self.filter[stretched(hash, self.filter.len())] |= filter_bits(hash);
    }

    /// Where the name with this hash begins for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        if !self.may_have(hash) {
            return None;
        }
        let mut place = self.home(hash);
        loop {
            match self.places[place] {
                FREE => return None,
                found if found >> AT_BITS == tag(hash) => {
                    let at = usize::try_from(found & ((1 << AT_BITS) - 1)).unwrap_or_default();
                    if is_it(at) {
                        return Some(at);
                    }
                }
                _ => {}
            }
            place = self.next(place);
        }
    }

    /// Whether a name with this hash may have been filed: `false` is certain.
    fn may_have(&self, hash: u64) -> bool {
        let bits = filter_bits(hash);
        self.filter[stretched(hash, self.filter.len())] & bits == bits
    }

    /// Octets that it takes.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.places) + size_of_val(&*self.filter)
    }

    /// The first place for a hash.
    fn home(&self, hash: u64) -> usize {
        stretched(hash, self.places.len())
    }

    fn next(&self, place: usize) -> usize {
        if place + 1 == self.places.len() { 0 } else { place + 1 }
    }
}

/// The upper half of a hash, stretched over so many places.
fn stretched(hash: u64, places: usize) -> usize {
    usize::try_from(((hash >> 32) * places as u64) >> 32).unwrap_or_default()
}

/// Four bits of a word, from the bits of a hash that [`stretched`] does not use: six for each.
fn filter_bits(hash: u64) -> u64 {
    (0..4).fold(0, |bits, nth| bits | 1 << ((hash >> (6 * nth)) & 63))
}

/// The bits of a hash that [`stretched`] does not use.
fn tag(hash: u64) -> u64 {
    hash & ((1 << (u64::BITS - AT_BITS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hash::process_hash;

    #[test]
    fn what_was_filed_is_found_and_nothing_else() {
        // Hashes that meet in their places, and some that are one and the same.
        for hash in
            [|n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), |n: usize| n as u64 / 3, |_: usize| u64::MAX]
        {
            let mut index = Index::with_room_for(500);
            (0..500).for_each(|n| index.insert(hash(n), n * 1000));
            for n in 0..500 {
                assert_eq!(index.find(hash(n), |at| at == n * 1000), Some(n * 1000));
                assert_eq!(index.find(hash(n), |_| false), None);
            }
        }
        assert_eq!(Index::with_room_for(0).find(7, |_| true), None);
    }

    #[test]
    fn names_that_are_not_there_are_hardly_ever_looked_for() {
        let hash = |n: u64| process_hash(&n);
        for count in [1, 7, 500, 50_000] {
            let mut index = Index::with_room_for(count);
            (0..count).for_each(|n| index.insert(hash(n as u64), n));
            assert!((0..count).all(|n| index.may_have(hash(n as u64))), "{count}");
            let passed = (0..20_000).filter(|n| index.may_have(hash(u64::MAX - n))).count();
            // Some 650 are expected. The few words of a small table differ in how full they are, which makes 80 more or less.
            assert!(passed < 1400, "{count}: {passed}");
        }
    }
}
