//! Chooses the endpoint for one attempt.
//!
//! Pure but for the state it is given: time and randomness are arguments. Invariants:
//! - a spared endpoint is not chosen while another one can be, unless too many are spared (panic);
//! - an endpoint on probation gets one request;
//! - weight 0 gets nothing while another endpoint accepts.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;

use super::candidates::Candidates;
use super::local::{Outlook, ServiceLocal, age};
use super::zones::Zones;
use super::{WorkerSeat, hashing, p2c, rotation, slow_start};
use crate::config::checked::BalanceConfig;
use crate::model::balance::Algorithm;
use crate::model::endpoint::Endpoint;
use crate::model::run::{Admission, Moment};
use crate::model::service::Service;
use crate::model::sorted::SortedList;
use crate::model::time::Timestamp;

/// What an endpoint that has a first request under way, and no answer yet, costs: more than any that answers
/// (Finagle's penalty for a pending first probe).
const UNPROVEN: f64 = 1e6;
/// Places of the ring that are looked at for a key.
const RING_STEPS: usize = 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Among whose endpoints.
    pub service: &'a Service,
    /// What was worked out of them.
    pub outlook: Outlook,
    /// Its endpoints by zone, where that matters.
    pub zones: Option<&'a Zones>,
    /// What this worker keeps of the service.
    pub local: &'a ServiceLocal,
    /// How the configuration has it.
    pub config: &'a BalanceConfig,
    /// The request's key, for hashing.
    pub key: Option<u64>,
    /// Whether the request could be sent again if the endpoint fails.
    pub is_repeatable: bool,
    /// Who asks.
    pub seat: WorkerSeat,
    /// When.
    pub now: Moment,
    /// The same by the clock on the wall; looked at only while endpoints are new.
    pub wall: Timestamp,
}

/// An endpoint, and whether the request is its probe.
pub type Chosen<'a> = (&'a Arc<Endpoint>, bool);

/// Chooses among the endpoints that `accepts`; `None` if it accepts none.
pub fn choose<'a>(ask: &Ask<'a>, accepts: impl Fn(&Endpoint) -> bool, rng: &mut Rng) -> Option<Chosen<'a>> {
    let endpoints = Candidates::all(&ask.service.available);
    let weighted = |endpoint: &Endpoint| endpoint.weight.0 > 0 && accepts(endpoint);
    let (met_spared, probe) = (Cell::new(false), Cell::new(None));
    let open = |endpoint: &'a Arc<Endpoint>| {
        weighted(endpoint)
            && match endpoint.run.ejection.admission(ask.now, ask.is_repeatable) {
                Admission::Open => true,
                Admission::Probe => {
                    probe.set(Some(endpoint));
                    false
                }
                Admission::Spared => {
                    met_spared.set(true);
                    false
                }
            }
    };
    // Those are in no zone: whether one is due for a probe is asked beside.
    if let Some(spared) = ask.zones.and_then(|zones| endpoints.at(zones.draw_spared(rng)?)) {
        open(spared);
    }
    let near = ask.near(rng).and_then(|(near, is_own)| Some((pick(ask, near, open, rng)?, is_own)));
    let chosen = match near {
        Some((near, is_own)) => {
            let shard = &ask.local.shard;
            if is_own {
                shard.zone_own.increment()
            } else {
                shard.zone_other.increment()
            }
            Some(near)
        }
        None => pick(ask, endpoints, open, rng),
    };
    if let Some(probe) = probe.get()
        && probe.run.ejection.take_probe(ask.now)
    {
        return Some((probe, true));
    }
    let is_panic = met_spared.get() && ask.local.is_panicking(ask.now);
    let chosen = match chosen {
        Some(chosen) if !is_panic => Some(chosen),
        // All are spared, or too many: better one that failed than none.
        chosen => {
            if is_panic {
                ask.local.shard.panic_picks.increment();
            }
            pick(ask, endpoints, |endpoint| weighted(endpoint), rng).or(chosen)
        }
    };
    let light = || p2c::choose(endpoints, |endpoint| accepts(endpoint), |endpoint| ask.pending(endpoint), rng);
    chosen.or_else(light).map(|chosen| (chosen, false))
}

fn pick<'a>(
    ask: &Ask<'a>,
    endpoints: Candidates<'a>,
    wanted: impl Fn(&'a Arc<Endpoint>) -> bool,
    rng: &mut Rng,
) -> Option<&'a Arc<Endpoint>> {
    let all = &ask.service.available;
    match ask.service.algorithm(&ask.config.algorithm) {
        Algorithm::PeakEwma => p2c::choose(endpoints, wanted, |endpoint| ask.cost(endpoint), rng),
        Algorithm::LeastRequest => p2c::choose(endpoints, wanted, |endpoint| ask.pending(endpoint), rng),
        Algorithm::RoundRobin => ask.local.rotation.next(all, wanted, |endpoint| ask.share(endpoint), rng),
        Algorithm::Random => random(ask, endpoints, wanted, rng),
        Algorithm::Hash(_) => {
            by_key(ask, all, &wanted).or_else(|| p2c::choose(endpoints, wanted, |endpoint| ask.cost(endpoint), rng))
        }
    }
}

/// Latency in seconds times queue, over the weight.
pub fn latency_score(latency: Option<f64>, pending: f64, weight: f64) -> f64 {
    let cost = match latency {
        Some(latency) => latency * (pending + 1.0),
        // Nothing is known of it: one request finds out.
        None if pending == 0.0 => 0.0,
        None => UNPROVEN * pending,
    };
    cost / weight
}

/// Queue over the weight.
pub fn queue_score(pending: f64, weight: f64) -> f64 {
    (pending + 1.0) / weight
}

impl<'a> Ask<'a> {
    /// The endpoints of the zone that is drawn for the request; `None`: zones do not matter. A place in a round and a key
    /// are of the whole service.
    fn near(&self, rng: &mut Rng) -> Option<(Candidates<'a>, bool)> {
        let zones = self.zones?;
        if matches!(self.service.algorithm(&self.config.algorithm), Algorithm::RoundRobin | Algorithm::Hash(_)) {
            return None;
        }
        let (positions, is_own) = zones.draw(rng);
        Some((Candidates::some(&self.service.available, positions), is_own))
    }

    fn cost(&self, endpoint: &Endpoint) -> f64 {
        let line = self.seat.line(endpoint);
        let latency = line.latency.read(self.now, endpoint.run.ejection.restored());
        latency_score(latency, f64::from(line.in_flight.load(Relaxed)), self.weight(endpoint))
    }

    fn pending(&self, endpoint: &Endpoint) -> f64 {
        queue_score(f64::from(self.seat.line(endpoint).in_flight.load(Relaxed)), self.weight(endpoint))
    }

    /// The part of the heaviest endpoint's turns that this one has.
    fn share(&self, endpoint: &Endpoint) -> f64 {
        self.weight(endpoint) / f64::from(self.outlook.heaviest.max(1))
    }

    fn weight(&self, endpoint: &Endpoint) -> f64 {
        f64::from(endpoint.weight.0.max(1)) * self.slow_start(endpoint)
    }

    /// The part of its weight that an endpoint has by now.
    pub fn slow_start(&self, endpoint: &Endpoint) -> f64 {
        if !self.outlook.slow_start {
            return 1.0;
        }
        age(endpoint, self.now, self.wall).map_or(1.0, |age| slow_start::factor(age, self.config.slow_start))
    }
}

/// By weight: a draw is taken with the probability of its share.
fn random<'a>(
    ask: &Ask<'a>,
    endpoints: Candidates<'a>,
    wanted: impl Fn(&'a Arc<Endpoint>) -> bool,
    rng: &mut Rng,
) -> Option<&'a Arc<Endpoint>> {
    const DRAWS: usize = 32;
    let count = endpoints.len();
    for _ in 0..if count == 0 { 0 } else { DRAWS } {
        let endpoint = endpoints.at(rng.usize(..count)).filter(|endpoint| wanted(endpoint));
        if let Some(endpoint) = endpoint
            && rng.f64() < ask.share(endpoint)
        {
            return Some(endpoint);
        }
    }
    // Few are wanted, or most are light.
    rotation::by_lot(endpoints.iter().filter(|endpoint| wanted(endpoint)), |endpoint| ask.share(endpoint), rng)
}

/// The first endpoint of the key's places in the ring that is wanted and has a slot left, else the first wanted one.
fn by_key<'a>(
    ask: &Ask<'a>,
    endpoints: &'a SortedList<Arc<Endpoint>>,
    wanted: &impl Fn(&'a Arc<Endpoint>) -> bool,
) -> Option<&'a Arc<Endpoint>> {
    let ring = ask.service.ring.as_ref()?;
    let mut first = None;
    let mut former = usize::MAX;
    for position in ring.from_key(ask.key?).take(RING_STEPS) {
        if position == former {
            continue;
        }
        former = position;
        let Some(endpoint) = endpoints.at(position).filter(|endpoint| wanted(endpoint)) else { continue };
        let slots = hashing::slots(
            ask.local.in_flight.get(),
            ask.config.hash_balance,
            endpoint.weight.0,
            ask.outlook.total_weight,
        );
        if ask.seat.line(endpoint).in_flight.load(Relaxed) < slots {
            return Some(endpoint);
        }
        first = first.or(Some(endpoint));
    }
    first
}
