//! The dynamic table (RFC 7541 sections 2.3.2 and 4), of either side.
//!
//! Names and values lie one behind the other in one piece of memory, the oldest first. What is evicted stays there until room
//! is needed; then what is left moves to the front. As an entry counts 32 octets more than it takes, there is room for some
//! more entries each time, so that an octet moves about once.

use std::collections::VecDeque;

/// What an entry counts beside its octets (section 4.1).
pub(super) const OVERHEAD: u32 = 32;
/// What is asked for at first, in octets.
const SMALLEST: usize = 256;

#[derive(Debug)]
pub(super) struct Table {
    octets: Vec<u8>,
    /// Where `octets` begins, counted (modulo 2^32) over all that was ever inserted.
    base: u32,
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// The sum of the entries' sizes, and its limit.
    size: u32,
    limit: u32,
}

/// Counted as [`Table::base`]; the value begins where the name ends.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
}

impl Entry {
    fn size(self) -> u32 {
        self.name + self.value + OVERHEAD
    }
}

impl Table {
    /// An empty one, which takes no memory yet. `limit`: its maximum size in octets as section 4.1 counts them.
    pub(super) fn new(limit: u32) -> Self {
        Self { octets: Vec::new(), base: 0, entries: VecDeque::new(), size: 0, limit }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Section 4.3: "Whenever the maximum size for the dynamic table is reduced, entries are evicted from the end of the
    /// dynamic table until the size of the dynamic table is less than or equal to the maximum size."
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.evict_to(limit);
        let most = limit as usize;
        if self.octets.capacity() > most {
            self.compact();
            self.octets.shrink_to(most);
        }
        self.entries.shrink_to(most / OVERHEAD as usize);
    }

    /// Name and value of an entry; the newest one has the place 0.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let last = self.entries.len().checked_sub(1)?;
        let entry = self.entries.get(last.checked_sub(place)?)?;
        let start = entry.start.wrapping_sub(self.base) as usize;
        let (name, rest) = self.octets.get(start..)?.split_at_checked(entry.name as usize)?;
        Some((name, rest.get(..entry.value as usize)?))
    }

    /// Whether an entry of so many octets, both strings together, is kept at all.
    pub(super) fn fits(&self, octets: usize) -> bool {
        octets.saturating_add(OVERHEAD as usize) <= self.limit as usize
    }

    /// Section 4.4: entries are evicted until there is room for this one; "an attempt to add an entry larger than the maximum
    /// size causes the table to be emptied of all existing entries and results in an empty table".
    #[expect(clippy::cast_possible_truncation, reason = "what fits is no longer than the limit, a u32")]
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let octets = name.len() + value.len();
        if !self.fits(octets) {
            self.evict_to(0);
            return;
        }
        self.evict_to(self.limit - (octets as u32 + OVERHEAD));
        self.make_room(octets);
        let start = self.base.wrapping_add(self.octets.len() as u32);
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        let entry = Entry { start, name: name.len() as u32, value: value.len() as u32 };
        self.entries.push_back(entry);
        self.size += entry.size();
    }

    fn evict_to(&mut self, size: u32) {
        while self.size > size
            && let Some(oldest) = self.entries.pop_front()
        {
            self.size -= oldest.size();
        }
    }

    /// Room for so many octets more; so many that they fit.
    fn make_room(&mut self, octets: usize) {
        let capacity = self.octets.capacity();
        if capacity - self.octets.len() >= octets {
            return;
        }
        self.compact();
        let wanted = self.octets.len() + octets;
        // Not full to the brim, or it would be compacted each time; but never larger than what the entries can take.
        if wanted > capacity - capacity / 4 {
            let grown = (2 * capacity).max(SMALLEST).min(self.limit as usize).max(wanted);
            self.octets.reserve_exact(grown - self.octets.len());
        }
    }

    /// Drops what was evicted.
    fn compact(&mut self) {
        let start = self.entries.front().map(|oldest| oldest.start);
        let dead = start.map_or(self.octets.len(), |start| start.wrapping_sub(self.base) as usize);
        self.octets.drain(..dead);
        if let Some(start) = start {
            self.base = start;
        }
    }

    /// Its size is the sum of its entries' and within the limit; its memory is bounded by it too.
    pub(super) fn check(&self) {
        let sizes = (0..self.entries.len()).map_while(|place| self.get(place));
        let sizes = sizes.map(|(name, value)| name.len() + value.len() + OVERHEAD as usize);
        assert_eq!(sizes.clone().count(), self.entries.len());
        assert_eq!(sizes.sum::<usize>(), self.size as usize);
        assert!(self.size <= self.limit, "{} > {}", self.size, self.limit);
        assert!(self.octets.capacity() <= self.limit as usize, "{}", self.octets.capacity());
        assert!(self.entries.capacity() <= 8.max(self.limit as usize / 16), "{}", self.entries.capacity());
    }
}

#[cfg(test)]
impl Table {
    /// Its size as section 4.1 counts it.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Its entries, the newest first.
    pub(super) fn texts(&self) -> Vec<(String, String)> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        (0..).map_while(|place| self.get(place)).map(|(name, value)| (text(name), text(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unused_table_takes_no_memory() {
        let table = Table::new(4096);
        assert_eq!((table.octets.capacity(), table.entries.capacity()), (0, 0));
    }

    #[test]
    fn a_table_that_shrinks_gives_its_memory_back() {
        let mut table = Table::new(4096);
        for number in 0..100 {
            table.insert(b"name", format!("value {number}").as_bytes());
        }
        table.set_limit(0);
        table.check();
        assert_eq!((table.octets.capacity(), table.entries.capacity(), table.size), (0, 0, 0));
    }

    /// Section 4.4: "It is not an error to attempt to add an entry that is larger than the maximum size".
    #[test]
    fn an_entry_that_is_too_large_empties_the_table() {
        let mut table = Table::new(100);
        table.insert(b"a", b"b");
        table.insert(b"name", &[b'v'; 65]);
        assert_eq!((table.get(0), table.size), (None, 0));
        table.insert(b"name", &[b'v'; 64]);
        assert_eq!(table.size, 100);
        table.check();
    }

    proptest! {
        /// As a list of pairs would.
        #[test]
        fn behaves_like_a_list(
            steps in proptest::collection::vec((0usize..60, 0usize..200, any::<u8>(), proptest::option::weighted(0.05, 0u32..1500)), 0..300),
        ) {
            let mut table = Table::new(600);
            let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut limit = 600;
            // Counted on from just before where 32 bits end.
            table.base = u32::MAX - 500;
            for (name, value, octet, new_limit) in steps {
                if let Some(new_limit) = new_limit {
                    limit = new_limit as usize;
                    table.set_limit(new_limit);
                } else {
                    let (name, value) = (vec![octet; name], vec![!octet; value]);
                    table.insert(&name, &value);
                    list.insert(0, (name, value));
                }
                let mut size = 0;
                list.retain(|(name, value)| {
                    size += name.len() + value.len() + 32;
                    size <= limit
                });
                table.check();
                for (place, (name, value)) in list.iter().enumerate() {
                    prop_assert_eq!(table.get(place), Some((&name[..], &value[..])));
                }
                prop_assert_eq!(table.get(list.len()), None);
            }
        }
    }
}
