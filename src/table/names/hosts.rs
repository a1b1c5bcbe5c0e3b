//! Addresses of tasks: `T.FW` and `T-HASH-TAIL.FW`, and the same below `slave` for their agents.

use std::net::IpAddr;

use super::cluster::{ClusterNames, Findings};
use super::group::{Member, NameRank};
use super::label::parse_hash;

impl ClusterNames {
    /// Adds the addresses of the tasks that a name stands for.
    pub(super) fn task_hosts(&self, name: &str, found: &mut Findings) {
        self.hosts_at(name, |member| member.view.addresses().to_vec(), found);
        if let Some(name) = name.strip_suffix(".slave") {
            self.hosts_at(name, |member| member.agent_addresses().collect(), found);
        }
    }

    fn hosts_at(&self, name: &str, addresses: fn(&Member) -> Vec<IpAddr>, found: &mut Findings) {
        if let Some(group) = self.groups.get(name) {
            found.add_addresses(group.named(self.rules.unhealthy).into_iter().flat_map(addresses));
        }
        if let Some(members) = self.canonical(name) {
            let named = members.into_iter().filter(|member| member.rank(self.rules.unhealthy) != NameRank::Never);
            found.add_addresses(named.flat_map(addresses));
        }
    }

    /// The tasks that a canonical name stands for: some label ends in `-HASH-TAIL`, and without it names a group.
    pub(super) fn canonical(&self, name: &str) -> Option<Vec<&Member>> {
        if let Some(group) = self.cut.get(name) {
            return Some(group.members.iter().collect());
        }
        let mut start = 0;
        for label in name.split('.') {
            let end = start + label.len();
            if let Some((base, hash, tail)) = split_canonical(label) {
                let group = format!("{}{base}{}", &name[..start], &name[end..]);
                let members: Vec<_> = self
                    .groups
                    .get(&*group)
                    .into_iter()
                    .flat_map(|group| group.with_hash(hash))
                    .filter(|member| member.suffix().is_some_and(|suffix| suffix.ends_with(&format!("-{tail}"))))
                    .collect();
                if !members.is_empty() {
                    return Some(members);
                }
            }
            start = end + 1;
        }
        None
    }
}

/// `T-HASH-TAIL` → (`T`, hash, `TAIL`).
fn split_canonical(label: &str) -> Option<(&str, u32, &str)> {
    let (rest, tail) = label.rsplit_once('-')?;
    let (base, hash) = rest.rsplit_once('-')?;
    Some((base, parse_hash(hash)?, tail)).filter(|(base, _, _)| !base.is_empty())
}
