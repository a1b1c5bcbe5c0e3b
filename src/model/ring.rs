//! A table by which keys find their endpoint, and keep it when others come and go.
//!
//! Maglev (Eisenbud et al., NSDI 2016, section 3.4): each endpoint takes slots in an order of its own until all are
//! taken, in proportion to its weight. A look-up is one index; when an endpoint goes, its keys move, and of the others
//! few. Slots are places among the endpoints that the table was made of.

use std::sync::Arc;

use super::endpoint::Endpoint;
use super::id::stable_hash;
use super::sorted::SortedList;

/// Slots: a prime, as large as that of other programs (Envoy's default), a hundred times a large service.
pub const SLOTS: usize = 65_537;

/// The slots of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ring {
    slots: Box<[u16]>,
}

/// What takes slots in its own order.
struct Taker {
    offset: usize,
    skip: usize,
    weight: u64,
    /// Its next turn, in rounds times its weight.
    target: u64,
    /// How far it is in its order.
    next: usize,
}

const FREE: u16 = u16::MAX;

impl Ring {
    /// A ring of endpoints with weight; `None` if there are none, or more than it has room for.
    pub fn of(endpoints: &SortedList<Arc<Endpoint>>) -> Option<Self> {
        let mut takers: Vec<Taker> = endpoints.iter().map(|endpoint| Taker::of(endpoint)).collect();
        let heaviest = takers.iter().map(|taker| taker.weight).max().filter(|heaviest| *heaviest > 0)?;
        if takers.len() >= usize::from(FREE) {
            return None;
        }
        let mut slots = vec![FREE; SLOTS].into_boxed_slice();
        let mut free = SLOTS;
        for round in 1.. {
            for (position, taker) in takers.iter_mut().enumerate() {
                if taker.weight == 0 || round * taker.weight < taker.target {
                    continue;
                }
                taker.target += heaviest;
                slots[taker.take(&slots)] = u16::try_from(position).unwrap_or(FREE);
                free -= 1;
                if free == 0 {
                    return Some(Self { slots });
                }
            }
        }
        None
    }

    /// Places among the endpoints, that of the key first; the same ones stand here again and again.
    pub fn from_key(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = usize::try_from(key % SLOTS as u64).unwrap_or(0);
        self.slots[start..].iter().chain(&self.slots[..start]).map(|position| usize::from(*position))
    }
}

impl Taker {
    fn of(endpoint: &Endpoint) -> Self {
        let hash = endpoint.id.fingerprint();
        let other = stable_hash(&(hash, "skip"));
        let within = |hash: u64, bound: usize| usize::try_from(hash % bound as u64).unwrap_or(0);
        Self {
            offset: within(hash, SLOTS),
            skip: within(other, SLOTS - 1) + 1,
            weight: endpoint.weight.0.into(),
            target: 0,
            next: 0,
        }
    }

    /// The first free slot in its order. There is one: the caller stops when all are taken.
    fn take(&mut self, slots: &[u16]) -> usize {
        loop {
            let slot = (self.offset + self.next * self.skip) % SLOTS;
            self.next += 1;
            if slots[slot] == FREE {
                return slot;
            }
        }
    }
}
