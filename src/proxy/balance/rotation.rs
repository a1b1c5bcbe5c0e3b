//! One endpoint after the other, by weight.
//!
//! Interleaved weighted round robin: in each round every endpoint is passed once, and taken where its share of the
//! rounds so far has grown by a whole one. Nothing is kept of the endpoints themselves, so they may come and go; a
//! worker begins at a place of its own, so that the first one of the list is not everybody's first.

use std::cell::Cell;
use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::sorted::SortedList;

/// One worker's place in a service's round.
#[derive(Debug, Default)]
pub struct Rotation {
    position: Cell<usize>,
    round: Cell<u32>,
}

impl Rotation {
    /// A place drawn at random.
    pub fn begin(rng: &mut fastrand::Rng) -> Self {
        Self { position: Cell::new(rng.u16(..).into()), round: Cell::new(rng.u16(..).into()) }
    }

    /// The next endpoint that is `wanted`. `share`: from 0 to 1, of the heaviest one's turns.
    pub fn next<'a>(
        &self,
        endpoints: &'a SortedList<Arc<Endpoint>>,
        wanted: impl Fn(&'a Arc<Endpoint>) -> bool,
        share: impl Fn(&Endpoint) -> f64,
    ) -> Option<&'a Arc<Endpoint>> {
        let count = endpoints.len();
        // The lightest share that is met within this many rounds is a hundredth; rarer ones wait for the fallback.
        for _ in 0..count.saturating_mul(100).min(100_000) {
            let position = self.position.get();
            if position >= count {
                self.position.set(0);
                self.round.set(self.round.get().wrapping_add(1));
                continue;
            }
            self.position.set(position + 1);
            let Some(endpoint) = endpoints.at(position).filter(|endpoint| wanted(endpoint)) else { continue };
            let (share, round) = (share(endpoint), f64::from(self.round.get()));
            if ((round + 1.0) * share).floor() > (round * share).floor() {
                return Some(endpoint);
            }
        }
        endpoints.iter().find(|endpoint| wanted(endpoint))
    }
}
