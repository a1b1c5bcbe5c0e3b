//! How near what a name stands for is to who asks: the region and zone of the agents, as fault domains tell them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::cluster::ClusterNames;
use super::further::Instance;
use super::{Content, Names, Record, below};
use crate::cluster::event::RecordData;
use crate::config::checked::Place;
use crate::model::agent::AgentFacts;
use crate::model::dcos::ZoneKind;

/// Elsewhere, or nobody knows.
const FAR: u8 = 2;

/// How far an agent is: 0 in the same zone, 1 in the same region, 2 elsewhere.
fn distance(agent: Option<&AgentFacts>, place: &Place) -> u8 {
    let Some(agent) = agent else { return FAR };
    let is_same = |wanted: Option<&str>, known: Option<&str>| wanted.is_some() && wanted == known;
    let region = is_same(place.region.as_deref(), agent.region.as_deref());
    let zone = is_same(place.zone.as_deref(), agent.zone.as_deref());
    match (region, zone) {
        // Zones of two regions may have one name.
        (_, true) if region || place.region.is_none() => 0,
        (true, _) => 1,
        _ => FAR,
    }
}

impl Names {
    /// How far each of a name's records leads from a place; `None`: all the same.
    pub fn distances(&self, name: &str, records: &[&Record], place: &Place) -> Option<Vec<u8>> {
        let (zone, names, host) = self.cluster_host(name)?;
        let addresses = names.address_distances(host, place);
        let of_target = |target: &str| {
            let host = below(target, zone).map(host_of)?;
            names.placed(host).iter().map(|instance| distance(instance.member.view.agent.as_deref(), place)).min()
        };
        let far = |record: &&Record| match &record.data {
            RecordData::Srv { target, .. } => of_target(target),
            RecordData::Svcb(binding) | RecordData::Https(binding) => of_target(&binding.target),
            data => data.address().and_then(|address| addresses.get(&address.to_canonical()).copied()),
        };
        let distances: Vec<u8> = records.iter().map(|record| far(record).unwrap_or(FAR)).collect();
        distances.iter().any(|distance| *distance < FAR).then_some(distances)
    }

    /// The zone of a name that is made of a cluster's tasks, that cluster, and the host that the name means there.
    pub(super) fn cluster_host<'n>(&self, name: &'n str) -> Option<(&str, &ClusterNames, &'n str)> {
        let (zone, inner) = self.zones.iter().find_map(|zone| Some((zone, below(name, &zone.zone.name)?)))?;
        let (names, host) = match &zone.content {
            Content::Cluster(names) => (names, inner),
            Content::Dcos(cluster, ZoneKind::Mirror) => (self.of_cluster(cluster)?, inner),
            Content::Dcos(cluster, ZoneKind::Tasks) => (self.of_cluster(cluster)?, inner.rsplit_once('.')?.0),
            _ => return None,
        };
        Some((&zone.zone.name, names, host))
    }
}

impl ClusterNames {
    /// The addresses that a host's name may have, each with how far it is.
    fn address_distances(&self, name: &str, place: &Place) -> HashMap<IpAddr, u8> {
        let mut distances = HashMap::new();
        let mut add = |address: IpAddr, distance: u8| {
            let known = distances.entry(address.to_canonical()).or_insert(distance);
            *known = distance.min(*known);
        };
        for instance in self.placed(host_of(name)) {
            let view = &instance.member.view;
            let distance = distance(view.agent.as_deref(), place);
            let addresses = view.addresses().iter().chain(&view.facts.addresses).copied();
            addresses.chain(instance.member.agent_addresses()).for_each(|address| add(address, distance));
        }
        for agent in self.agents_called(name).unwrap_or_default() {
            if let Some(address) = agent.address {
                add(address, distance(Some(agent), place));
            }
        }
        distances
    }

    /// The tasks that a host's name stands for, whose framework DC/OS may write without dots.
    pub(super) fn placed(&self, host: &str) -> Vec<Instance> {
        let instances = self.instances(host);
        if !instances.is_empty() {
            return instances;
        }
        let Some((task, framework)) = host.rsplit_once('.') else { return Vec::new() };
        let parts = self.dcos_parts(framework).filter(|part| *part != framework);
        parts.flat_map(|part| self.instances(&format!("{task}.{part}"))).collect()
    }
}

/// The host that a name means, whether on its agent or in a network.
pub(super) fn host_of(name: &str) -> &str {
    if let Some(host) = name.strip_suffix(".slave") {
        return host;
    }
    name.strip_suffix(".network").and_then(|name| Some(name.rsplit_once('.')?.0)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_counts_within_its_region() {
        let agent = |region: &str, zone: &str| AgentFacts {
            cluster: "c".into(),
            id: "a".into(),
            hostname: "h".into(),
            address: None,
            port: None,
            region: Some(region.into()),
            zone: Some(zone.into()),
            active: true,
            recovered: false,
        };
        let place = |region: Option<&str>, zone: Option<&str>| Place {
            networks: Vec::new(),
            region: region.map(Into::into),
            zone: zone.map(Into::into),
        };
        let near = agent("eu", "1");
        for (wanted, expected) in [
            (place(Some("eu"), Some("1")), 0),
            (place(Some("eu"), Some("2")), 1),
            (place(Some("us"), Some("1")), FAR),
            (place(None, Some("1")), 0),
            (place(Some("eu"), None), 1),
            (place(None, None), FAR),
        ] {
            assert_eq!(distance(Some(&near), &wanted), expected, "{wanted:?}");
        }
        assert_eq!(distance(None, &place(Some("eu"), None)), FAR);
    }
}
