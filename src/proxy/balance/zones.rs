//! Requests stay in the zone of the proxy, as far as the endpoints there can carry them.
//!
//! Envoy's zone aware routing. Of a zone, `p` is the part of all requests that arrives at proxies there, and `u` the part
//! of the endpoints' weights. Where `u ≥ p` in the own zone, all requests stay; else `u/p` of them do, and the rest is
//! spread over the other zones by what those have left, `max(0, u − p)`: so no endpoint gets more than its even share.
//!
//! Pure. Where too few endpoints or zones are known, zones are not looked at.

use std::sync::Arc;

use fastrand::Rng;

use crate::config::checked::ZoneConfig;
use crate::model::agent::AgentFacts;
use crate::model::endpoint::Endpoint;
use crate::model::service::Service;

/// The endpoints of a service by zone, and what part of the requests each zone gets from here.
#[derive(Debug)]
pub struct Zones {
    /// Positions among the available endpoints; the own zone first.
    members: Vec<Vec<usize>>,
    /// The part of the requests that stays.
    stays: f64,
    /// What the others have left, each with all before it.
    left: Vec<f64>,
    /// Positions of endpoints that are spared: in no zone, but somebody has to find out whether they are well again.
    spared: Vec<usize>,
}

/// A region, where there is one, and a zone.
type Place = (Option<Arc<str>>, Arc<str>);

/// A zone while it is made.
#[derive(Default)]
struct Part {
    /// `None`: nobody says where these are.
    place: Option<Place>,
    positions: Vec<usize>,
    weight: u64,
}

impl Zones {
    /// Looks at a service's endpoints; `agent` tells where one runs. `None`: zones do not matter.
    pub fn of(
        service: &Service,
        config: &ZoneConfig,
        agent: impl Fn(&Endpoint) -> Option<Arc<AgentFacts>>,
    ) -> Option<Self> {
        let own = config.name.as_deref()?;
        let is_own = |place: Option<&Place>| {
            let is_it =
                |(region, zone): &Place| **zone == *own && (config.region.is_none() || config.region == *region);
            place.is_some_and(is_it)
        };
        // Its own is there even where it has no endpoint.
        let mut parts = vec![Part { place: Some((config.region.clone(), own.into())), ..Part::default() }];
        let mut spared = Vec::new();
        for (position, endpoint) in service.available.iter().enumerate() {
            if endpoint.weight.0 == 0 {
                continue;
            }
            if endpoint.run.ejection.is_ejected() {
                spared.push(position);
                continue;
            }
            let place = agent(endpoint).and_then(|agent| Some((agent.region.clone(), agent.zone.clone()?)));
            let at = match parts.iter().position(|known| known.place == place) {
                _ if is_own(place.as_ref()) => 0,
                Some(at) => at,
                None => {
                    parts.push(Part { place, ..Part::default() });
                    parts.len() - 1
                }
            };
            if let Some(part) = parts.get_mut(at) {
                part.positions.push(position);
                part.weight += u64::from(endpoint.weight.0);
            }
        }
        Self::from_parts(parts, spared, config)
    }

    #[expect(clippy::cast_precision_loss, reason = "parts of a whole")]
    fn from_parts(parts: Vec<Part>, spared: Vec<usize>, config: &ZoneConfig) -> Option<Self> {
        let count: usize = parts.iter().map(|part| part.positions.len()).sum();
        let known = parts.iter().filter(|part| part.place.is_some()).count();
        let total = parts.iter().map(|part| part.weight).sum::<u64>() as f64;
        if known < 2 || count < config.min_endpoints as usize || total == 0.0 {
            return None;
        }
        let here = if config.share > 0.0 { config.share } else { 1.0 / known as f64 };
        let elsewhere = (1.0 - here) / (known - 1) as f64;
        let own = parts.first()?;
        let used = own.weight as f64 / total;
        let is_enough = config.stay_from > 0 && own.positions.len() >= config.stay_from as usize;
        let stays = if is_enough { 1.0 } else { (used / here).min(1.0) };
        let mut sum = 0.0;
        let left = parts[1..].iter().map(|part| {
            let arrives = if part.place.is_some() { elsewhere } else { 0.0 };
            sum += (part.weight as f64 / total - arrives).max(0.0);
            sum
        });
        let left = left.collect();
        let members = parts.into_iter().map(|part| part.positions).collect();
        Some(Self { members, stays, left, spared })
    }

    /// One of the endpoints that are spared.
    pub fn draw_spared(&self, rng: &mut Rng) -> Option<usize> {
        if self.spared.is_empty() { None } else { self.spared.get(rng.usize(..self.spared.len())).copied() }
    }

    /// Draws the zone for a request: the positions of its endpoints, and whether it is the own one.
    pub fn draw(&self, rng: &mut Rng) -> (&[usize], bool) {
        if rng.f64() < self.stays {
            return (self.members.first().map_or(&[], Vec::as_slice), true);
        }
        let drawn = rng.f64() * self.left.last().copied().unwrap_or_default();
        let at = self.left.partition_point(|sum| *sum <= drawn);
        (self.members.get(1 + at).map_or(&[], Vec::as_slice), false)
    }
}
