//! Addresses of tasks: `T.FW` and `T-HASH-TAIL.FW`, and the same below `slave` for their agents.

use super::Keeping;
use super::cluster::{ClusterNames, Findings};
use super::group::{Member, NameRank};
use super::kept::GroupAddresses;
use super::label::parse_hash;
use super::records::KeptRecords;

/// Whose addresses a name has.
#[derive(Clone, Copy)]
enum Whose {
    Tasks,
    Agents,
}

impl Whose {
    fn kept(self, group: &GroupAddresses) -> &KeptRecords {
        match self {
            Self::Tasks => &group.of_tasks,
            Self::Agents => &group.of_agents,
        }
    }

    fn add(self, member: &Member, found: &mut Findings) {
        match self {
            Self::Tasks => found.add_addresses(member.view.addresses().iter().copied()),
            Self::Agents => found.add_addresses(member.agent_addresses()),
        }
    }
}

impl ClusterNames {
    /// Adds the addresses of the tasks that a name stands for.
    pub(super) fn task_hosts(&self, name: &str, keeping: Keeping, found: &mut Findings) {
        self.hosts_at(name, Whose::Tasks, keeping, found);
        if let Some(name) = name.strip_suffix(".slave") {
            self.hosts_at(name, Whose::Agents, keeping, found);
        }
    }

    fn hosts_at(&self, name: &str, whose: Whose, keeping: Keeping, found: &mut Findings) {
        let is_named = |member: &&Member| member.rank(self.rules.unhealthy) != NameRank::Never;
        if let Some(group) = self.groups.get(name) {
            match group.kept().filter(|_| keeping == Keeping::Keep) {
                Some(kept) => found.add_kept(whose.kept(kept.addresses(group, self.rules.unhealthy))),
                None => {
                    found.add([]);
                    group.named(self.rules.unhealthy).into_iter().for_each(|member| whose.add(member, found));
                }
            }
        }
        if let Some(members) = self.canonical(name) {
            found.add([]);
            members.into_iter().filter(is_named).for_each(|member| whose.add(member, found));
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
