//! Agents by name: `ID.agent` and `HOST.agent`, which Mesos-DNS does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::Record;
use super::cluster::ClusterNames;
use super::label::{LABEL, NAME, domain_frag, whole_label};
use crate::config::checked::{ExtraName, LabelRule};
use crate::model::agent::AgentFacts;
use crate::model::id::stable_hash;

/// What the names of agents lie below.
pub(super) const ABOVE: &str = "agent";

/// Agents of one name.
type Agents = Box<[Arc<AgentFacts>]>;

/// The agents of a cluster by name and by address. Made anew when an agent changes; shared by tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AgentNames {
    /// Names below `agent`, sorted. What only lies above others has no agent.
    by_name: Arc<[(Arc<str>, Agents)]>,
    /// The name that an address leads back to, sorted; an address may be several agents'.
    by_address: Arc<[(IpAddr, Arc<str>)]>,
}

impl AgentNames {
    /// The names of these agents below `zone`.
    pub(crate) fn new<'a>(agents: impl Iterator<Item = &'a Arc<AgentFacts>>, zone: &str) -> Self {
        let mut by_name: BTreeMap<String, Vec<Arc<AgentFacts>>> = BTreeMap::new();
        let agents: Vec<&Arc<AgentFacts>> = agents.collect();
        for agent in &agents {
            let (id, host) = (id_label(agent), host_labels(agent));
            for name in BTreeSet::from([id, host]).into_iter().filter(|name| fits(name, zone)) {
                for (dot, _) in name.match_indices('.') {
                    by_name.entry(name[dot + 1..].to_owned()).or_default();
                }
                by_name.entry(name).or_default().push((*agent).clone());
            }
        }
        let back = |agent: &&Arc<AgentFacts>| {
            let host = host_labels(agent);
            // A name that stands for one machine alone, for people to read; else the id.
            let is_telling = host.parse::<IpAddr>().is_err() && by_name.get(&host).is_some_and(|all| all.len() == 1);
            let name = if is_telling { host } else { id_label(agent) };
            Some((agent.address?.to_canonical(), name)).filter(|(_, name)| fits(name, zone))
        };
        let by_address: BTreeSet<(IpAddr, String)> = agents.iter().filter_map(back).collect();
        Self {
            by_address: by_address.into_iter().map(|(address, name)| (address, name.into())).collect(),
            by_name: by_name.into_iter().map(|(name, agents)| (name.into(), agents.into())).collect(),
        }
    }

    /// The agents that a name below `agent` stands for; none where the name lies above others.
    fn called(&self, name: &str) -> Option<&[Arc<AgentFacts>]> {
        let at = self.by_name.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.by_name[at].1)
    }

    /// Every name that stands for agents, with those.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Arc<str>, &[Arc<AgentFacts>])> {
        self.by_name.iter().filter(|(_, agents)| !agents.is_empty()).map(|(name, agents)| (name, &**agents))
    }

    /// The names that an address leads back to, below `agent`.
    pub(crate) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<str>> {
        let first = self.by_address.partition_point(|(known, _)| *known < address);
        self.by_address[first..].iter().take_while(move |(known, _)| *known == address).map(|(_, name)| name)
    }

    /// Whether an address of the network leads back to an agent.
    pub(crate) fn is_any_in(&self, network: IpNet) -> bool {
        let first = self.by_address.partition_point(|(known, _)| *known < network.network());
        self.by_address.get(first).is_some_and(|(address, _)| network.contains(address))
    }

    /// The addresses that lead back to an agent.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.pointers().map(|(address, _)| *address)
    }

    /// The addresses that lead back to an agent, with its name below `agent`.
    pub(super) fn pointers(&self) -> impl Iterator<Item = &(IpAddr, Arc<str>)> {
        self.by_address.iter()
    }

    /// Whether the same addresses lead back to the same names.
    pub(crate) fn points_as(&self, other: &Self) -> bool {
        self.by_address == other.by_address
    }

    /// Numbers for what these names show: addresses, and texts.
    pub(super) fn shown(&self) -> (u64, u64) {
        let (mut hosts, mut texts) = (0u64, 0u64);
        for (name, agents) in self.by_name.iter() {
            for agent in agents {
                let place = (&agent.id, &agent.hostname, &agent.region, &agent.zone);
                texts = texts.wrapping_add(stable_hash(&(name, place)));
            }
            let addresses: BTreeSet<IpAddr> = agents.iter().filter_map(|agent| agent.address).collect();
            if !addresses.is_empty() {
                hosts = hosts.wrapping_add(stable_hash(&(name, addresses)));
            }
        }
        (hosts, texts)
    }
}

impl ClusterNames {
    /// The records of an agent's name, and of the names above it.
    pub(super) fn agent_hosts(&self, name: &str) -> Option<Vec<Record>> {
        let addresses = |agents: &[Arc<AgentFacts>]| {
            let addresses: BTreeSet<IpAddr> = agents.iter().filter_map(|agent| agent.address).collect();
            addresses.into_iter().map(Record::of_address).collect()
        };
        self.agents_called(name).map(addresses)
    }

    /// The agents that a name below the zone stands for; none where it lies above such names.
    pub(super) fn agents_called(&self, name: &str) -> Option<&[Arc<AgentFacts>]> {
        if !self.rules.extra.has(ExtraName::Agents) {
            return None;
        }
        if name == ABOVE {
            return (!self.agent_names.by_name.is_empty()).then_some(&[]);
        }
        self.agent_names.called(name.strip_suffix(ABOVE)?.strip_suffix('.')?)
    }

    /// The agents' names, for those who want the whole zone.
    pub(super) fn list_agents(&self) -> impl Iterator<Item = String> {
        let is_on = self.rules.extra.has(ExtraName::Agents);
        self.agent_names.by_name.iter().filter(move |_| is_on).map(|(name, _)| format!("{name}.{ABOVE}"))
    }

    /// The absolute name of an agent, from what it is called below `agent`.
    pub(super) fn agent_name(&self, name: &str) -> Arc<str> {
        format!("{name}.{ABOVE}.{}", self.zone).into()
    }
}

/// An agent's id as a label.
fn id_label(agent: &AgentFacts) -> String {
    whole_label(agent.id.as_str())
}

/// An agent's host name as labels: its dots stay. Empty for an IPv6 address, which no labels can say.
fn host_labels(agent: &AgentFacts) -> String {
    if agent.hostname.parse::<Ipv6Addr>().is_ok() {
        return String::new();
    }
    domain_frag(&agent.hostname, LabelRule::Rfc1123)
}

/// Why an agent is not named as it calls itself, if so: a name of its has no room below the zone, or its id was cut.
pub(crate) fn ill_named(agent: &AgentFacts, zone: &str) -> Option<String> {
    let (id, host) = (id_label(agent), host_labels(agent));
    if !host.is_empty() && !fits(&host, zone) {
        return Some(format!(
            "its host name of {} octets makes a name longer than 255: it is found by its id",
            host.len()
        ));
    }
    if !fits(&id, zone) {
        return Some("its id makes no DNS name, or one longer than 255 octets".to_owned());
    }
    let said = agent.id.as_str().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c));
    (said.count() > LABEL).then(|| format!("its id is longer than a label's 63 octets: its name has {id}"))
}

fn fits(name: &str, zone: &str) -> bool {
    !name.is_empty() && name.len() + ABOVE.len() + zone.len() + 2 <= NAME
}
