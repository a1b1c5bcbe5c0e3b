//! The cheaper of two random endpoints.
//!
//! Pure: cost and randomness are passed in. Two samples suffice: the longest queue drops from log n / log log n to
//! log log n (Azar et al., 1999), and no worker needs to know what the others see.

use std::sync::Arc;

use fastrand::Rng;

use super::candidates::Candidates;
use crate::model::endpoint::Endpoint;

/// Draws before the whole list is looked at: reached only where few endpoints are wanted.
const DRAWS: usize = 8;

/// Chooses among the endpoints that are `wanted`; `None` if none is.
pub fn choose<'a>(
    endpoints: Candidates<'a>,
    wanted: impl Fn(&'a Arc<Endpoint>) -> bool,
    cost: impl Fn(&Endpoint) -> f64,
    rng: &mut Rng,
) -> Option<&'a Arc<Endpoint>> {
    match draw_two(endpoints, &wanted, rng) {
        Some((first, second)) => Some(cheaper(first, second, &cost)),
        None => endpoints.iter().filter(|endpoint| wanted(endpoint)).reduce(|best, next| cheaper(best, next, &cost)),
    }
}

/// Two different wanted endpoints, or `None` if luck or the list does not give them.
fn draw_two<'a>(
    endpoints: Candidates<'a>,
    wanted: &impl Fn(&'a Arc<Endpoint>) -> bool,
    rng: &mut Rng,
) -> Option<(&'a Arc<Endpoint>, &'a Arc<Endpoint>)> {
    let count = endpoints.len();
    if count < 2 {
        return None;
    }
    let mut first: Option<(usize, &Arc<Endpoint>)> = None;
    for _ in 0..DRAWS {
        // The first found leaves `count - 1` positions, so that two draws are enough where all are wanted.
        let position = match first {
            None => rng.usize(..count),
            Some((taken, _)) => {
                let position = rng.usize(..count - 1);
                if position >= taken { position + 1 } else { position }
            }
        };
        let endpoint = endpoints.at(position).filter(|endpoint| wanted(endpoint));
        match (endpoint, first) {
            (Some(endpoint), None) => first = Some((position, endpoint)),
            (Some(second), Some((_, first))) => return Some((first, second)),
            (None, _) => {}
        }
    }
    None
}

fn cheaper<'a>(
    first: &'a Arc<Endpoint>,
    second: &'a Arc<Endpoint>,
    cost: &impl Fn(&Endpoint) -> f64,
) -> &'a Arc<Endpoint> {
    if cost(first) <= cost(second) { first } else { second }
}
