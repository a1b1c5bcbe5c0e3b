//! Where each name begins: a table of hashes that is made once and never changes.
//!
//! A place is eight octets: twenty-four bits of the name's hash, so that others are hardly ever looked at, and where it
//! begins. A third of the places is free, so that names which are not there are known after few.

/// Bits that tell where a name begins.
const AT_BITS: u32 = 40;

/// A place that is free: no name begins so far behind.
const FREE: u64 = u64::MAX;

/// The table.
#[derive(Debug)]
pub(super) struct Index {
    places: Box<[u64]>,
}

impl Index {
    /// A table for at most so many names.
    pub(super) fn with_room_for(names: usize) -> Self {
        Self { places: vec![FREE; names + names / 2 + 1].into() }
    }

    /// Files a name that is not there yet under its hash.
    pub(super) fn insert(&mut self, hash: u64, at: usize) {
        let mut place = self.home(hash);
        while self.places[place] != FREE {
            place = self.next(place);
        }
        self.places[place] = tag(hash) << AT_BITS | at as u64;
    }

    /// Where the name with this hash begins for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
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

    /// Octets that it takes.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.places)
    }

    /// The first place for a hash: its upper half, stretched over the table.
    fn home(&self, hash: u64) -> usize {
        usize::try_from(((hash >> 32) * self.places.len() as u64) >> 32).unwrap_or_default()
    }

    fn next(&self, place: usize) -> usize {
        if place + 1 == self.places.len() { 0 } else { place + 1 }
    }
}

/// The bits of a hash that [`Index::home`] does not use.
fn tag(hash: u64) -> u64 {
    hash & ((1 << (u64::BITS - AT_BITS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
