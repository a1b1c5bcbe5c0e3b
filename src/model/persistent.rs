//! A map whose copies share what they have in common: cloning costs nothing, a change copies one path.
//!
//! A hash trie: inner nodes have 16 children, leaves hold up to [`LEAF`] entries and split when they overflow. The
//! price of a change does not depend on the size of the map; a look-up follows one pointer per 16-fold growth.
//! Nodes that only one map owns are changed in place, so a batch copies each path once.
//!
//! A leaf's entries stand in the order of their hashes. A hash tells about where its entry is (interpolation search, Perl,
//! Itai and Avni 1978), so that a look-up touches one or two lines of memory there and not the half of them.
//!
//! Keys are hashed with the process's seed: whoever chooses the keys cannot choose collisions. The order of
//! [`PersistentMap::iter`] is therefore arbitrary, and the same for all maps of the same keys; whoever shows entries
//! sorts them.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use super::hash::process_hash;

/// Entries in a leaf before it splits: twice the children, so that the leaves of a fresh branch are not nearly empty
/// (at 16 entries and 32 children a map of a million took twice the memory).
const LEAF: usize = 32;
const BITS: u32 = 4;
const FANOUT: usize = 1 << BITS;
/// Levels that 64 bits of hash can tell apart; leaves at the last level grow without splitting.
const MAX_DEPTH: u32 = 64 / BITS;

/// A persistent hash map.
#[derive(Debug)]
pub struct PersistentMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node<K, V> {
    Leaf(Vec<Entry<K, V>>),
    Branch(Box<Children<K, V>>),
}

type Children<K, V> = [Option<Arc<Node<K, V>>>; FANOUT];

#[derive(Debug, Clone)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K, V> Clone for PersistentMap<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> PersistentMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = process_hash(key);
        let mut node = &*self.root;
        let mut depth = 0;
        loop {
            match node {
                Node::Branch(children) => node = children[slot(hash, depth)].as_deref()?,
                Node::Leaf(entries) => {
                    return find(entries, hash, depth, |other| other.borrow() == key).ok().map(|at| &entries[at].value);
                }
            }
            depth += 1;
        }
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key).is_some()
    }

    /// Sets the value of `key`; returns the former one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = process_hash(&key);
        let former = insert(&mut self.root, Entry { hash, key, value }, 0);
        self.len += usize::from(former.is_none());
        former
    }

    /// The value of `key`, to be changed. The key stays as it is.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Look first: an absent key must not copy a path.
        self.get(key)?;
        get_mut(&mut self.root, process_hash(key), key, 0)
    }

    /// Removes `key`; returns its value.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Look first: an absent key must not copy a path.
        self.get(key)?;
        let removed = remove(&mut self.root, process_hash(key), key, 0);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Every entry, in arbitrary order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { stack: vec![self.root.iter()] }
    }

    /// Every key, in arbitrary order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Every value, in arbitrary order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Calls `visit` for each key whose value differs between two versions of a map, with the value in `self` and
    /// in `later`. What both share is skipped, so that this costs as much as the difference.
    pub fn diff<'a>(&'a self, later: &'a Self, visit: &mut dyn FnMut(&'a K, Option<&'a V>, Option<&'a V>))
    where
        V: PartialEq,
    {
        diff(&self.root, &later.root, visit);
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for PersistentMap<K, V> {
    /// Builds the nodes from the root down, each once: a large map is there several times sooner than by inserting,
    /// which meets another part of the memory with each entry. Of equal keys the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entry = |(key, value)| Entry { hash: process_hash(&key), key, value };
        let mut len = 0;
        let root = grow(entries.into_iter().map(entry).collect(), 0, &mut len);
        Self { root: Arc::new(root), len }
    }
}

/// The node over `entries`, whose number, without what a later equal key replaces, is added to `len`.
fn grow<K: Eq, V>(entries: Vec<Entry<K, V>>, depth: u32, len: &mut usize) -> Node<K, V> {
    if entries.len() > LEAF && depth < MAX_DEPTH {
        return Node::Branch(
            split(entries, depth)
                .map(|part| match part.is_empty() {
                    true => None,
                    false => Some(Arc::new(grow(part, depth + 1, len))),
                })
                .into(),
        );
    }
    let mut entries = entries;
    // Stable: of equal keys the last one stays the last.
    entries.sort_by_key(|entry| entry.hash);
    let mut leaf: Vec<Entry<K, V>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut alike = leaf.iter_mut().rev().take_while(|known| known.hash == entry.hash);
        match alike.find(|known| known.key == entry.key) {
            Some(known) => known.value = entry.value,
            None => leaf.push(entry),
        }
    }
    *len += leaf.len();
    Node::Leaf(leaf)
}

/// The child that a hash leads to: its first bits are used first, so that the order of hashes is one of entries, too.
fn slot(hash: u64, depth: u32) -> usize {
    usize::try_from((hash >> (u64::BITS - BITS * (depth + 1))) & (FANOUT as u64 - 1)).unwrap_or(0)
}

/// Where a leaf at `depth` has the entry with this hash whose key `is` the one; else, where it belongs.
fn find<K, V>(entries: &[Entry<K, V>], hash: u64, depth: u32, is: impl Fn(&K) -> bool) -> Result<usize, usize> {
    // Among all that the rest of a hash may be it is about as far as its entry among those of the leaf.
    let rest = hash.checked_shl(BITS * depth).unwrap_or(0) >> 32;
    let mut at = usize::try_from((rest * entries.len() as u64) >> 32).unwrap_or(0);
    while at > 0 && entries[at - 1].hash >= hash {
        at -= 1;
    }
    while entries.get(at).is_some_and(|entry| entry.hash < hash) {
        at += 1;
    }
    let alike = entries[at..].iter().take_while(|entry| entry.hash == hash);
    alike.zip(at..).find(|(entry, _)| is(&entry.key)).map(|(_, at)| at).ok_or(at)
}

fn get_mut<'a, K: Borrow<Q> + Clone, V: Clone, Q: Eq + ?Sized>(
    node: &'a mut Arc<Node<K, V>>,
    hash: u64,
    key: &Q,
    depth: u32,
) -> Option<&'a mut V> {
    match Arc::make_mut(node) {
        Node::Branch(children) => get_mut(children[slot(hash, depth)].as_mut()?, hash, key, depth + 1),
        Node::Leaf(entries) => {
            let at = find(entries, hash, depth, |other| other.borrow() == key).ok()?;
            Some(&mut entries[at].value)
        }
    }
}

fn insert<K: Eq + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, entry: Entry<K, V>, depth: u32) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Branch(children) => match &mut children[slot(entry.hash, depth)] {
            Some(child) => insert(child, entry, depth + 1),
            empty => {
                *empty = Some(Arc::new(Node::Leaf(vec![entry])));
                None
            }
        },
        Node::Leaf(entries) => {
            let at = match find(entries, entry.hash, depth, |known| *known == entry.key) {
                Ok(at) => return Some(std::mem::replace(&mut entries[at].value, entry.value)),
                Err(at) => at,
            };
            // One more at a time: a leaf is copied far more often than it grows.
            entries.reserve_exact(1);
            entries.insert(at, entry);
            if entries.len() > LEAF && depth < MAX_DEPTH {
                let leaf = |part: Vec<Entry<K, V>>| (!part.is_empty()).then(|| Arc::new(Node::Leaf(part)));
                let children = split(std::mem::take(entries), depth).map(leaf);
                *Arc::make_mut(node) = Node::Branch(children.into());
            }
            None
        }
    }
}

/// Shares entries out to the children of a branch at `depth`.
fn split<K, V>(entries: Vec<Entry<K, V>>, depth: u32) -> [Vec<Entry<K, V>>; FANOUT] {
    let mut sizes = [0; FANOUT];
    entries.iter().for_each(|entry| sizes[slot(entry.hash, depth)] += 1);
    let mut parts = sizes.map(Vec::with_capacity);
    for entry in entries {
        parts[slot(entry.hash, depth)].push(entry);
    }
    parts
}

fn remove<K: Borrow<Q> + Clone, V: Clone, Q: Eq + ?Sized>(
    node: &mut Arc<Node<K, V>>,
    hash: u64,
    key: &Q,
    depth: u32,
) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Branch(children) => {
            let child = children[slot(hash, depth)].as_mut()?;
            let removed = remove(child, hash, key, depth + 1);
            if matches!(&**child, Node::Leaf(entries) if entries.is_empty()) {
                children[slot(hash, depth)] = None;
                // A branch without children becomes an empty leaf, which the parent drops in turn.
                if depth > 0 && children.iter().all(Option::is_none) {
                    *Arc::make_mut(node) = Node::Leaf(Vec::new());
                }
            }
            removed
        }
        Node::Leaf(entries) => {
            let at = find(entries, hash, depth, |other| other.borrow() == key).ok()?;
            Some(entries.remove(at).value)
        }
    }
}

type Visit<'v, 'a, K, V> = &'v mut dyn FnMut(&'a K, Option<&'a V>, Option<&'a V>);

fn diff<'a, K: Eq, V: PartialEq>(old: &'a Arc<Node<K, V>>, new: &'a Arc<Node<K, V>>, visit: Visit<'_, 'a, K, V>) {
    if Arc::ptr_eq(old, new) {
        return;
    }
    if let (Node::Branch(a), Node::Branch(b)) = (&**old, &**new) {
        for (a, b) in a.iter().zip(b.iter()) {
            match (a, b) {
                (Some(a), Some(b)) => diff(a, b, visit),
                (Some(a), None) => a.iter_all(&mut |e| visit(&e.key, Some(&e.value), None)),
                (None, Some(b)) => b.iter_all(&mut |e| visit(&e.key, None, Some(&e.value))),
                (None, None) => {}
            }
        }
        return;
    }
    // At least one side is a leaf: small on that side, so a nested look-up is cheap enough.
    let (mut olds, mut news) = (Vec::new(), Vec::new());
    old.iter_all(&mut |e| olds.push(e));
    new.iter_all(&mut |e| news.push(e));
    for o in &olds {
        match news.iter().find(|n| n.hash == o.hash && n.key == o.key) {
            Some(n) if n.value == o.value => {}
            Some(n) => visit(&o.key, Some(&o.value), Some(&n.value)),
            None => visit(&o.key, Some(&o.value), None),
        }
    }
    for n in &news {
        if !olds.iter().any(|o| o.hash == n.hash && o.key == n.key) {
            visit(&n.key, None, Some(&n.value));
        }
    }
}

impl<K, V> Node<K, V> {
    fn iter(&self) -> NodeIter<'_, K, V> {
        match self {
            Self::Leaf(entries) => NodeIter::Leaf(entries.iter()),
            Self::Branch(children) => NodeIter::Branch(children.iter()),
        }
    }

    fn iter_all<'a>(&'a self, visit: &mut dyn FnMut(&'a Entry<K, V>)) {
        match self {
            Self::Leaf(entries) => entries.iter().for_each(visit),
            Self::Branch(children) => children.iter().flatten().for_each(|child| child.iter_all(visit)),
        }
    }
}

/// Iterates over a [`PersistentMap`] in arbitrary order.
#[derive(Debug)]
pub struct Iter<'a, K, V> {
    stack: Vec<NodeIter<'a, K, V>>,
}

#[derive(Debug)]
enum NodeIter<'a, K, V> {
    Leaf(std::slice::Iter<'a, Entry<K, V>>),
    Branch(std::slice::Iter<'a, Option<Arc<Node<K, V>>>>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.stack.last_mut()? {
                NodeIter::Leaf(entries) => match entries.next() {
                    Some(entry) => return Some((&entry.key, &entry.value)),
                    None => drop(self.stack.pop()),
                },
                NodeIter::Branch(children) => match children.next() {
                    Some(Some(child)) => self.stack.push(child.iter()),
                    Some(None) => {}
                    None => drop(self.stack.pop()),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Keys of which many have one hash.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Alike(u32);

    impl Hash for Alike {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            (self.0 % 3).hash(state);
        }
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let all = 0..200;
        let mut map: PersistentMap<Alike, u32> = PersistentMap::new();
        all.clone().for_each(|key| assert_eq!(map.insert(Alike(key), key), None));
        let built: PersistentMap<Alike, u32> = all.clone().chain(all.clone()).map(|key| (Alike(key), key)).collect();
        assert_eq!((map.len(), built.len()), (200, 200));
        for key in all.clone() {
            assert_eq!((map.get(&Alike(key)), built.get(&Alike(key))), (Some(&key), Some(&key)));
            assert_eq!(map.insert(Alike(key), key + 1), Some(key));
        }
        for key in all {
            assert_eq!((map.remove(&Alike(key)), map.get(&Alike(key))), (Some(key + 1), None));
        }
        assert!(map.is_empty());
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_keys_alone(
            keys in proptest::collection::hash_set(0u32..5000, 0..500).prop_map(|keys| keys.into_iter().collect::<Vec<_>>()),
            others in proptest::collection::vec(0u32..5000, 0..100),
        ) {
            let built: PersistentMap<u32, ()> = keys.iter().map(|key| (*key, ())).collect();
            let mut changed = PersistentMap::new();
            for key in keys.iter().rev() {
                changed.insert(*key, ());
            }
            for other in others.iter().filter(|other| !keys.contains(other)) {
                changed.insert(*other, ());
                changed.remove(other);
            }
            // A branch stays one when its entries go: what is asked for is the order of what there is.
            prop_assert_eq!(built.keys().collect::<Vec<_>>(), changed.keys().collect::<Vec<_>>());
        }

        #[test]
        fn behaves_like_a_hash_map(steps in proptest::collection::vec((0u32..400, any::<Option<u8>>()), 0..2000)) {
            let mut model = HashMap::new();
            let mut map: PersistentMap<u32, u8> = PersistentMap::new();
            for (key, value) in steps {
                if let Some(known) = map.get_mut(&(key / 2)) {
                    *known = known.wrapping_add(1);
                    *model.get_mut(&(key / 2)).unwrap() = *known;
                }
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            let all: HashMap<_, _> = map.iter().map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(all, model);
        }

        #[test]
        fn what_is_built_at_once_is_what_is_inserted(
            entries in proptest::collection::vec((0u32..3000, any::<u8>()), 0..4000),
            later in proptest::collection::vec((0u32..3000, any::<Option<u8>>()), 0..50),
        ) {
            let mut model: HashMap<_, _> = entries.iter().copied().collect();
            let mut map: PersistentMap<_, _> = entries.into_iter().collect();
            prop_assert_eq!(map.len(), model.len());
            for (key, value) in later {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.iter().map(|(k, v)| (*k, *v)).collect::<HashMap<_, _>>(), model);
        }

        #[test]
        fn a_copy_is_not_changed_and_the_difference_is_found(
            first in proptest::collection::hash_map(0u32..2000, any::<u8>(), 0..1500),
            steps in proptest::collection::vec((0u32..2000, any::<Option<u8>>()), 0..50),
        ) {
            let before: PersistentMap<_, _> = first.clone().into_iter().collect();
            let mut after = before.clone();
            let mut model = first.clone();
            for (key, value) in steps {
                if let Some(known) = after.get_mut(&(key / 2)) {
                    *known = known.wrapping_add(1);
                    model.insert(key / 2, *known);
                }
                match value {
                    Some(value) => { after.insert(key, value); model.insert(key, value); }
                    None => { after.remove(&key); model.remove(&key); }
                }
            }
            prop_assert_eq!(before.iter().map(|(k, v)| (*k, *v)).collect::<HashMap<_, _>>(), first.clone());
            let mut found = HashMap::new();
            before.diff(&after, &mut |k, a, b| { found.insert(*k, (a.copied(), b.copied())); });
            let mut expected = HashMap::new();
            for key in 0u32..2000 {
                let (a, b) = (first.get(&key).copied(), model.get(&key).copied());
                if a != b { expected.insert(key, (a, b)); }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
