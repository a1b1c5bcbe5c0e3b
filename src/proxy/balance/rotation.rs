//! One endpoint after the other, by weight.
//!
//! Interleaved weighted round robin: in each round every endpoint is passed once, and taken where its share of the
//! rounds so far has grown by a whole one. Nothing is kept of the endpoints themselves, so they may come and go; a
//! worker begins at a place of its own, so that the first one of the list is not everybody's first.
//!
//! The heaviest one has a turn in every round. Where it is not wanted those that are may be so light that they have a turn
//! in one round of thousands: then it is left to a lot by weight.

use std::cell::Cell;
use std::sync::Arc;

use fastrand::Rng;

use crate::model::endpoint::Endpoint;
use crate::model::sorted::SortedList;

/// The rounds that are looked through for one endpoint. The heaviest one has a turn in each, and one that starts slowly
/// in some.
const ROUNDS: usize = 2;

/// One worker's place in a service's round.
#[derive(Debug, Default)]
pub struct Rotation {
    position: Cell<usize>,
    round: Cell<u32>,
}

impl Rotation {
    /// A place drawn at random.
    pub fn begin(rng: &mut Rng) -> Self {
        Self { position: Cell::new(rng.u16(..).into()), round: Cell::new(rng.u16(..).into()) }
    }

    /// The next endpoint that is `wanted`. `share`: from 0 to 1, of the heaviest one's turns.
    pub fn next<'a>(
        &self,
        endpoints: &'a SortedList<Arc<Endpoint>>,
        wanted: impl Fn(&'a Arc<Endpoint>) -> bool,
        share: impl Fn(&Endpoint) -> f64,
        rng: &mut Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let count = endpoints.len();
        // Each round has a place more, at which the next one begins.
        for _ in 0..count.saturating_add(1).saturating_mul(ROUNDS) {
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
        by_lot(endpoints.iter().filter(|endpoint| wanted(endpoint)), share, rng)
    }
}

/// One of them, each with the probability of its share of all shares: exactly, in one pass.
pub fn by_lot<'a>(
    endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
    share: impl Fn(&Endpoint) -> f64,
    rng: &mut Rng,
) -> Option<&'a Arc<Endpoint>> {
    let mut total = 0.0;
    let mut chosen = None;
    for endpoint in endpoints {
        let share = share(endpoint);
        total += share;
        if rng.f64() * total < share {
            chosen = Some(endpoint);
        }
    }
    chosen
}
