//! A sorted list whose copies share what they have in common, with access by position.
//!
//! What a service's endpoints are kept in: a change in a list of 10,000 copies one chunk and the spine, and a
//! balancer can take "the i-th" in a few nanoseconds.

use std::cmp::Ordering;
use std::sync::Arc;

/// Items in a chunk before it splits. A chunk is copied at a change, so small chunks make changes cheap; the spine
/// has `n / CHUNK` entries, so large chunks make it short.
const CHUNK: usize = 64;

/// A persistent sorted list of unique items.
#[derive(Debug, Clone)]
pub struct SortedList<T> {
    items: Items<T>,
}

/// A list of one, as nearly all are, needs no allocation; short ones are one, long ones are chunks.
#[derive(Debug, Clone)]
enum Items<T> {
    Empty,
    One(T),
    Short(Arc<[T]>),
    Long(Arc<Chunks<T>>),
}

/// No chunk is empty.
#[derive(Debug, Clone)]
struct Chunks<T> {
    chunks: Vec<Chunk<T>>,
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
    /// The key's type; unique in a list.
    type Key: ?Sized;

    /// How the item stands to the one with `key`.
    fn compare(&self, key: &Self::Key) -> Ordering;

    /// How the item stands to another: as to that one's key.
    fn order(&self, other: &Self) -> Ordering;
}

impl<T: SortKey> SortKey for Arc<T> {
    type Key = T::Key;

    fn compare(&self, key: &T::Key) -> Ordering {
        (**self).compare(key)
    }

    fn order(&self, other: &Self) -> Ordering {
        (**self).order(other)
    }
}

impl<T> Default for SortedList<T> {
    fn default() -> Self {
        Self { items: Items::Empty }
    }
}

impl<T: SortKey + Clone> SortedList<T> {
    /// The number of items.
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Empty => 0,
            Items::One(_) => 1,
            Items::Short(items) => items.len(),
            Items::Long(long) => long.len,
        }
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        matches!(self.items, Items::Empty)
    }

    /// The item at `position` in the order of keys.
    pub fn at(&self, position: usize) -> Option<&T> {
        match &self.items {
            Items::Empty => None,
            Items::One(item) => (position == 0).then_some(item),
            Items::Short(items) => items.get(position),
            Items::Long(long) => {
                let index = long.chunks.partition_point(|chunk| chunk.before <= position).checked_sub(1)?;
                let chunk = &long.chunks[index];
                chunk.items.get(position - chunk.before)
            }
        }
    }

    /// The item with this key.
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        let items: &[T] = match &self.items {
            Items::Empty => return None,
            Items::One(item) => std::slice::from_ref(item),
            Items::Short(items) => items,
            Items::Long(long) => &long.chunks[chunk_of(&long.chunks, |item| item.compare(key))].items,
        };
        find(items, |item| item.compare(key)).ok().map(|at| &items[at])
    }

    /// Every item, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slices().flatten()
    }

    /// Puts `item` in its place; returns the one that had its key.
    pub fn insert(&mut self, item: T) -> Option<T> {
        match &mut self.items {
            Items::Empty => {
                self.items = Items::One(item);
                None
            }
            Items::One(known) => match known.order(&item) {
                Ordering::Equal => Some(std::mem::replace(known, item)),
                Ordering::Less => {
                    self.items = Items::Short([known.clone(), item].into());
                    None
                }
                Ordering::Greater => {
                    self.items = Items::Short([item, known.clone()].into());
                    None
                }
            },
            Items::Short(items) => match find(items, |known| known.order(&item)) {
                Ok(at) => match Arc::get_mut(items) {
                    Some(items) => Some(std::mem::replace(&mut items[at], item)),
                    None => {
                        let former = items[at].clone();
                        let copy =
                            items.iter().enumerate().map(|(n, known)| if n == at { &item } else { known }.clone());
                        *items = copy.collect::<Vec<_>>().into();
                        Some(former)
                    }
                },
                Err(at) => {
                    let mut grown = Vec::with_capacity(items.len() + 1);
                    grown.extend_from_slice(&items[..at]);
                    grown.push(item);
                    grown.extend_from_slice(&items[at..]);
                    self.items = if grown.len() > CHUNK { long(&grown) } else { Items::Short(grown.into()) };
                    None
                }
            },
            Items::Long(long) => {
                let long = Arc::make_mut(long);
                let former = insert_long(&mut long.chunks, item);
                long.len += usize::from(former.is_none());
                former
            }
        }
    }

    /// Removes the item with this key and returns it.
    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        let removed = self.get(key)?.clone();
        let is_other = |item: &&T| item.compare(key).is_ne();
        match &mut self.items {
            Items::Empty | Items::One(_) => self.items = Items::Empty,
            Items::Short(items) => {
                let kept: Vec<T> = items.iter().filter(is_other).cloned().collect();
                self.items = short(kept);
            }
            Items::Long(long) => {
                let Chunks { chunks, len } = Arc::make_mut(long);
                let index = chunk_of(chunks, |item| item.compare(key));
                let items = Arc::make_mut(&mut chunks[index].items);
                items.retain(|item| is_other(&item));
                if items.is_empty() {
                    chunks.remove(index);
                }
                *len -= 1;
                recount(chunks, index.saturating_sub(1));
                // Well below the size at which it became long, so that it does not go to and fro.
                if *len <= CHUNK / 2 {
                    let all: Vec<T> = chunks.iter().flat_map(|chunk| chunk.items.iter().cloned()).collect();
                    self.items = short(all);
                }
            }
        }
        Some(removed)
    }
}

impl<T> SortedList<T> {
    /// The items as runs in order.
    fn slices(&self) -> impl Iterator<Item = &[T]> {
        let (short, long): (&[T], &[Chunk<T>]) = match &self.items {
            Items::Empty => (&[], &[]),
            Items::One(item) => (std::slice::from_ref(item), &[]),
            Items::Short(items) => (items, &[]),
            Items::Long(long) => (&[], &long.chunks),
        };
        std::iter::once(short).chain(long.iter().map(|chunk| &chunk.items[..]))
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.items, &other.items) {
            (Items::Empty, Items::Empty) => true,
            (Items::Short(a), Items::Short(b)) => Arc::ptr_eq(a, b),
            (Items::Long(a), Items::Long(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl<T: PartialEq> PartialEq for SortedList<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.slices().flatten().eq(other.slices().flatten())
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

/// A list of few items.
fn short<T: Clone>(items: Vec<T>) -> Items<T> {
    match &items[..] {
        [] => Items::Empty,
        [only] => Items::One(only.clone()),
        _ => Items::Short(items.into()),
    }
}

/// The chunks of a list that became long.
fn long<T: Clone>(items: &[T]) -> Items<T> {
    let len = items.len();
    let mut chunks: Vec<Chunk<T>> =
        items.chunks(CHUNK / 2).map(|part| Chunk { before: 0, items: Arc::new(part.to_vec()) }).collect();
    recount(&mut chunks, 0);
    Items::Long(Arc::new(Chunks { chunks, len }))
}

fn insert_long<T: SortKey + Clone>(chunks: &mut Vec<Chunk<T>>, item: T) -> Option<T> {
    let index = chunk_of(chunks, |known| known.order(&item));
    let items = Arc::make_mut(&mut chunks[index].items);
    match find(items, |known| known.order(&item)) {
        Ok(at) => return Some(std::mem::replace(&mut items[at], item)),
        Err(at) => items.insert(at, item),
    }
    if items.len() > CHUNK {
        let upper = items.split_off(CHUNK / 2);
        chunks.insert(index + 1, Chunk { before: 0, items: Arc::new(upper) });
    }
    recount(chunks, index);
    None
}

/// Where the item is, or would be, that others stand to as `standing` says.
fn find<T>(items: &[T], standing: impl Fn(&T) -> Ordering) -> Result<usize, usize> {
    items.binary_search_by(standing)
}

/// The last chunk that does not begin after it.
fn chunk_of<T>(chunks: &[Chunk<T>], standing: impl Fn(&T) -> Ordering) -> usize {
    chunks.partition_point(|chunk| chunk.items.first().is_some_and(|first| standing(first).is_le())).saturating_sub(1)
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
        fn compare(&self, key: &u32) -> Ordering {
            self.0.cmp(key)
        }
        fn order(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
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
        }
    }
}
