//! A sorted list whose copies share what they have in common, with access by position.
//!
//! What a service's endpoints are kept in: a change in a list of 10,000 copies one chunk and the spine, and a
//! balancer can take "the i-th" in a few nanoseconds.

use std::sync::Arc;

/// Items in a chunk before it splits. A chunk is copied at a change, so small chunks make changes cheap; the spine
/// has `n / CHUNK` entries, so large chunks make it short.
const CHUNK: usize = 64;

/// A persistent sorted list of unique items.
#[derive(Debug, Clone)]
pub struct SortedList<T> {
    /// No chunk is empty, except that an empty list has no chunk.
    chunks: Arc<Vec<Chunk<T>>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Chunk<T> {
    /// Items in all chunks before this one.
    before: usize,
    items: Arc<Vec<T>>,
}

/// What an item is sorted and found by.
pub trait SortKey {
    /// The key's type.
    type Key: Ord + ?Sized;

    /// The key; unique in a list.
    fn sort_key(&self) -> &Self::Key;
}

impl<T: SortKey> SortKey for Arc<T> {
    type Key = T::Key;

    fn sort_key(&self) -> &Self::Key {
        (**self).sort_key()
    }
}

impl<T> Default for SortedList<T> {
    fn default() -> Self {
        Self { chunks: Arc::new(Vec::new()), len: 0 }
    }
}

impl<T: SortKey + Clone> SortedList<T> {
    /// The number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at `position` in the order of keys.
    pub fn at(&self, position: usize) -> Option<&T> {
        if let [only] = self.chunks.as_slice() {
            return only.items.get(position);
        }
        let index = self.chunks.partition_point(|chunk| chunk.before <= position).checked_sub(1)?;
        let chunk = &self.chunks[index];
        chunk.items.get(position - chunk.before)
    }

    /// The item with this key.
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        let chunk = &self.chunks[self.chunk_of(key)?];
        chunk.items.binary_search_by(|item| item.sort_key().cmp(key)).ok().map(|at| &chunk.items[at])
    }

    /// Every item, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.items.iter())
    }

    /// The items from `key` on, in the order of keys.
    pub fn range_from<'a>(&'a self, key: &'a T::Key) -> impl Iterator<Item = &'a T> {
        let first = self.chunk_of(key).unwrap_or(0);
        self.chunks[first.min(self.chunks.len())..]
            .iter()
            .flat_map(|chunk| chunk.items.iter())
            .skip_while(move |item| item.sort_key() < key)
    }

    /// Puts `item` in its place; returns the one that had its key.
    pub fn insert(&mut self, item: T) -> Option<T> {
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Chunk { before: 0, items: Arc::new(vec![item]) });
            self.len = 1;
            return None;
        }
        let index = chunk_of(chunks, item.sort_key());
        let items = Arc::make_mut(&mut chunks[index].items);
        match items.binary_search_by(|known| known.sort_key().cmp(item.sort_key())) {
            Ok(at) => return Some(std::mem::replace(&mut items[at], item)),
            Err(at) => items.insert(at, item),
        }
        if items.len() > CHUNK {
            let upper = items.split_off(CHUNK / 2);
            chunks.insert(index + 1, Chunk { before: 0, items: Arc::new(upper) });
        }
        self.len += 1;
        recount(chunks, index);
        None
    }

    /// Removes the item with this key and returns it.
    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        self.get(key)?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let index = chunk_of(chunks, key);
        let items = Arc::make_mut(&mut chunks[index].items);
        let at = items.binary_search_by(|item| item.sort_key().cmp(key)).ok()?;
        let removed = items.remove(at);
        if items.is_empty() {
            chunks.remove(index);
        }
        self.len -= 1;
        recount(chunks, index.saturating_sub(1));
        Some(removed)
    }

    fn chunk_of(&self, key: &T::Key) -> Option<usize> {
        (!self.chunks.is_empty()).then(|| chunk_of(&self.chunks, key))
    }
}

impl<T: PartialEq> PartialEq for SortedList<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
            || (self.len == other.len
                && self.chunks.iter().flat_map(|c| c.items.iter()).eq(other.chunks.iter().flat_map(|c| c.items.iter())))
    }
}

impl<T: Eq> Eq for SortedList<T> {}

impl<T: SortKey + Clone> FromIterator<T> for SortedList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = Self::default();
        for item in items {
            list.insert(item);
        }
        list
    }
}

/// The last chunk that does not begin after `key`.
fn chunk_of<T: SortKey>(chunks: &[Chunk<T>], key: &T::Key) -> usize {
    chunks.partition_point(|chunk| chunk.items.first().is_some_and(|first| first.sort_key() <= key)).saturating_sub(1)
}

fn recount<T>(chunks: &mut [Chunk<T>], from: usize) {
    let mut before = match from.checked_sub(1).and_then(|at| chunks.get(at)) {
        Some(chunk) => chunk.before + chunk.items.len(),
        None => 0,
    };
    for chunk in chunks.iter_mut().skip(from) {
        chunk.before = before;
        before += chunk.items.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl SortKey for (u32, u8) {
        type Key = u32;
        fn sort_key(&self) -> &u32 {
            &self.0
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_tree_map(steps in proptest::collection::vec((0u32..500, any::<Option<u8>>()), 0..1500)) {
            let mut model = BTreeMap::new();
            let mut list = SortedList::default();
            for (key, value) in steps {
                match value {
                    Some(v) => prop_assert_eq!(list.insert((key, v)).map(|i: (u32, u8)| i.1), model.insert(key, v)),
                    None => prop_assert_eq!(list.remove(&key).map(|i| i.1), model.remove(&key)),
                }
                prop_assert_eq!(list.len(), model.len());
            }
            prop_assert!(list.iter().copied().eq(model.iter().map(|(k, v)| (*k, *v))));
            for (position, (key, value)) in model.iter().enumerate() {
                prop_assert_eq!(list.at(position), Some(&(*key, *value)));
                prop_assert_eq!(list.get(key), Some(&(*key, *value)));
            }
            prop_assert_eq!(list.at(model.len()), None);
            let from: Vec<_> = list.range_from(&250).map(|i| i.0).collect();
            prop_assert_eq!(from, model.range(250..).map(|(k, _)| *k).collect::<Vec<_>>());
        }
    }
}
