//! The less loaded of two random endpoints.
//!
//! Pure: load and randomness are passed in. Two samples suffice: the longest queue drops from log n / log log n to
//! log log n (Azar et al., 1999), and no worker needs to know what the others see.
//!
//! Load is requests under way, plus the one to come, divided by the weight. An endpoint of weight 0 gets nothing while
//! another one accepts.

use std::sync::Arc;

use fastrand::Rng;

use crate::model::endpoint::Endpoint;
use crate::model::sorted::SortedList;

/// Draws before the whole list is looked at: reached only where few endpoints are acceptable.
const DRAWS: usize = 8;

/// Chooses among the endpoints that `accepts`; `None` if it accepts none.
pub fn choose<'a>(
    endpoints: &'a SortedList<Arc<Endpoint>>,
    accepts: impl Fn(&Endpoint) -> bool,
    load: impl Fn(&Endpoint) -> u32,
    rng: &mut Rng,
) -> Option<&'a Arc<Endpoint>> {
    let wanted = |endpoint: &Endpoint| endpoint.weight.0 > 0 && accepts(endpoint);
    match draw_two(endpoints, &wanted, rng) {
        Some((first, second)) => Some(less_loaded(first, second, &load)),
        None => least_loaded(endpoints, &wanted, &load).or_else(|| least_loaded(endpoints, &accepts, &load)),
    }
}

/// Two different acceptable endpoints, or `None` if luck or the list does not give them.
fn draw_two<'a>(
    endpoints: &'a SortedList<Arc<Endpoint>>,
    wanted: &impl Fn(&Endpoint) -> bool,
    rng: &mut Rng,
) -> Option<(&'a Arc<Endpoint>, &'a Arc<Endpoint>)> {
    let count = endpoints.len();
    if count < 2 {
        return None;
    }
    let mut first: Option<(usize, &Arc<Endpoint>)> = None;
    for _ in 0..DRAWS {
        // The first found leaves `count - 1` positions, so that two draws are enough where all are acceptable.
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

fn less_loaded<'a>(
    first: &'a Arc<Endpoint>,
    second: &'a Arc<Endpoint>,
    load: &impl Fn(&Endpoint) -> u32,
) -> &'a Arc<Endpoint> {
    // a / weight(a) ≤ b / weight(b), without dividing.
    let first_cost = (u64::from(load(first)) + 1) * u64::from(second.weight.0);
    let second_cost = (u64::from(load(second)) + 1) * u64::from(first.weight.0);
    if first_cost <= second_cost { first } else { second }
}

fn least_loaded<'a>(
    endpoints: &'a SortedList<Arc<Endpoint>>,
    wanted: &impl Fn(&Endpoint) -> bool,
    load: &impl Fn(&Endpoint) -> u32,
) -> Option<&'a Arc<Endpoint>> {
    endpoints.iter().filter(|endpoint| wanted(endpoint)).reduce(|best, next| less_loaded(best, next, load))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::{EndpointId, EndpointState, Family, Weight};
    use crate::model::id::{ServiceId, TaskKey};

    fn list(weights: &[u16]) -> SortedList<Arc<Endpoint>> {
        weights.iter().enumerate().map(|(number, weight)| Arc::new(endpoint(number, *weight))).collect()
    }

    fn endpoint(number: usize, weight: u16) -> Endpoint {
        let task = TaskKey::new("c".into(), "f".into(), format!("{number:04}"));
        Endpoint {
            id: EndpointId { task, port: "0".into(), family: Family::V4 },
            service: ServiceId::new("c".into(), "f", "s", "0"),
            address: ([127, 0, 0, 1], u16::try_from(number).unwrap()).into(),
            protocol: crate::model::service::Protocol::Http,
            version: "1".into(),
            weight: Weight(weight),
            state: EndpointState::Ready,
            agent: None,
            ready_since: None,
            drain_time: None,
            sticky: false,
            run: Arc::default(),
        }
    }

    fn number(endpoint: &Endpoint) -> usize {
        endpoint.address.port().into()
    }

    /// Chosen how often, when every request stays for as long as there are endpoints.
    fn spread(weights: &[u16], requests: usize) -> Vec<u32> {
        let endpoints = list(weights);
        let counts: Vec<_> = weights.iter().map(|_| std::cell::Cell::new(0)).collect();
        let mut rng = Rng::with_seed(7);
        for _ in 0..requests {
            let chosen = choose(&endpoints, |_| true, |e| counts[number(e)].get(), &mut rng).unwrap();
            let count = &counts[number(chosen)];
            count.set(count.get() + 1);
        }
        counts.into_iter().map(std::cell::Cell::into_inner).collect()
    }

    #[test]
    fn load_spreads_evenly_and_by_weight() {
        let even = spread(&[100; 10], 1000);
        assert!(even.iter().all(|count| (90..=110).contains(count)), "{even:?}");
        let weighted = spread(&[100, 300], 1000);
        assert!((230..=270).contains(&weighted[0]), "{weighted:?}");
    }

    #[test]
    fn weight_zero_gets_nothing_unless_nothing_else_is_there() {
        assert_eq!(spread(&[0, 100, 0], 10), [0, 10, 0]);
        assert_eq!(spread(&[0], 3), [3]);
    }

    #[test]
    fn the_one_acceptable_endpoint_among_many_is_found() {
        let endpoints = list(&[100; 500]);
        let mut rng = Rng::with_seed(1);
        let chosen = choose(&endpoints, |e| number(e) == 321, |_| 0, &mut rng);
        assert_eq!(chosen.map(|e| number(e)), Some(321));
        assert!(choose(&endpoints, |_| false, |_| 0, &mut rng).is_none());
        assert!(choose(&list(&[]), |_| true, |_| 0, &mut rng).is_none());
    }
}
