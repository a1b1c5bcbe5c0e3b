//! Octets of bodies that wait in memory, counted.
//!
//! Bounded is each body by itself, and by this count all of a worker together: above the limit new requests are
//! refused until others have ended.

use std::sync::Arc;

use super::metrics::Shard;

/// So many octets wait; counted until this is dropped.
#[derive(Debug)]
pub struct Held {
    shard: Arc<Shard>,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    pub fn nothing(shard: Arc<Shard>) -> Self {
        Self { shard, bytes: 0 }
    }

    /// So many from the beginning.
    pub fn holding(shard: Arc<Shard>, bytes: usize) -> Self {
        let mut held = Self::nothing(shard);
        held.set(bytes);
        held
    }

    /// From now on so many.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.shard.held_added.add((bytes - self.bytes) as u64);
        } else if bytes < self.bytes {
            self.shard.held_removed.add((self.bytes - bytes) as u64);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_waits_no_longer() {
        let shard: Arc<Shard> = Arc::default();
        let (mut one, mut two) = (Held::nothing(shard.clone()), Held::nothing(shard.clone()));
        one.set(10);
        two.set(5);
        one.set(3);
        assert_eq!(shard.held(), 8);
        drop((one, two));
        assert_eq!(shard.held(), 0);
    }
}
