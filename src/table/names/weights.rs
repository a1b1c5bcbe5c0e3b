//! Which share each of a name's addresses is to have, as the labels of its tasks say it for their ports: what weighs more comes
//! first more often. Services say the same by the weights of their SRV records.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::nearness::host_of;
use super::{Names, Record};
use crate::model::endpoint::Weight;

impl Names {
    /// Whether tasks of the cluster that a name is of have weights of their own.
    pub fn has_weights(&self, name: &str) -> bool {
        self.cluster_host(name).is_some_and(|(_, names, _)| names.weighted > 0)
    }

    /// The weights of these addresses of a name; `None`: all the same, or no addresses.
    pub fn weights(&self, name: &str, records: &[&Record]) -> Option<Vec<u32>> {
        records.first()?.data.address()?;
        let (_, names, host) = self.cluster_host(name)?;
        if names.weighted == 0 {
            return None;
        }
        let mut weights: HashMap<IpAddr, u32> = HashMap::new();
        for instance in names.placed(host_of(host)).into_iter().filter(|instance| instance.is_named) {
            let view = &instance.member.view;
            let own = view.addresses().iter().chain(&view.facts.addresses).copied();
            let all: BTreeSet<IpAddr> =
                own.chain(instance.member.agent_addresses()).map(|address| address.to_canonical()).collect();
            for address in all {
                // Several tasks of one machine have its address, and each adds its part.
                let weight = weights.entry(address).or_default();
                *weight = weight.saturating_add(u32::from(view.weight().0));
            }
        }
        let usual = u32::from(Weight::default().0);
        let of = |record: &&Record| {
            let address = record.data.address().map(|address| address.to_canonical());
            address.and_then(|address| weights.get(&address).copied()).unwrap_or(usual)
        };
        let found: Vec<u32> = records.iter().map(of).collect();
        found.iter().any(|weight| *weight != found[0]).then_some(found)
    }
}
