//! Hashes of keys that strangers choose, and the maps and sets of them.
//!
//! They are seeded anew in every process: whoever chooses names cannot choose collisions. One seed for all of a process,
//! rather than one for each map, lets a hash be kept beside its key.

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use foldhash::fast::{FoldHasher, SeedableRandomState};

/// A map by hashes of this process.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, ProcessHashes>;

/// A set by hashes of this process.
pub type HashSet<T> = hashbrown::HashSet<T, ProcessHashes>;

static SEED: OnceLock<SeedableRandomState> = OnceLock::new();

/// The hashes of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessHashes;

impl BuildHasher for ProcessHashes {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        seed().build_hasher()
    }
}

fn seed() -> &'static SeedableRandomState {
    SEED.get_or_init(SeedableRandomState::random)
}

/// A hash that is seeded anew in every process: whoever chooses names cannot choose collisions.
pub fn process_hash<T: Hash + ?Sized>(value: &T) -> u64 {
    seed().hash_one(value)
}

/// Gives this process hashes that other processes have too, so that what sets list comes in the same order in all of
/// them: a simulation repeats only so. Not for a program that strangers talk to.
///
/// # Panics
///
/// If anything was hashed with another seed before.
pub fn fix_seed() {
    let is_fixed = SEED.get_or_init(SeedableRandomState::fixed).hash_one(0) == SeedableRandomState::fixed().hash_one(0);
    assert!(is_fixed, "hashes were made before their seed was fixed");
}
