//! What the names of a zone show, as a number: a zone's serial rises when its number changes, and only then.
//!
//! The numbers are sums of hashes, so that a change costs what it changed. What counts is what a transfer of the zone
//! would list: records, and the settings that all of them have. That a name exists without records is no content.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;

use super::agents::AgentNames;
use super::cluster::{ClusterNames, SchedulerAddresses};
use super::group::{NameRank, rank};
use super::own_addresses;
use super::rules::NamingRules;
use super::{Content, Names, ZoneNames};
use crate::config::Config;
use crate::config::checked::ExtraName;
use crate::model::dcos::ZoneKind;
use crate::model::id::{ClusterName, stable_hash};
use crate::model::network::MastersFacts;
use crate::model::task::TaskDefinition;
use crate::table::task::TaskView;

/// What tasks add to the zones that show their cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Addresses and services.
    hosts: u64,
    /// Types that only the cluster's own zone has.
    rare: u64,
    /// The addresses that DC/OS's zone of tasks has.
    places: u64,
}

impl Shown {
    /// What one task adds.
    pub(crate) fn of(view: &TaskView, rules: &NamingRules) -> Self {
        let rank = rank(view, rules.unhealthy);
        let Some(framework) = view.framework.as_ref().filter(|_| rank != NameRank::Never) else {
            return Self::default();
        };
        let facts = &view.facts;
        let definition = &facts.definition;
        let agent = view.agent.as_deref();
        let address = agent.and_then(|agent| agent.address);
        let named = stable_hash(&(
            (facts.key.stable_hash(), rank == NameRank::First),
            (&framework.name, &definition.name, discovery_of(definition)),
            (&facts.agent, address),
        ));
        let services =
            view.said_ports().iter().map(|said| stable_hash(&(said.number, said.srv_priority, said.srv_weight)));
        let services = services.fold(0, u64::wrapping_add);
        let networks = facts.networks.as_ref().filter(|_| rules.extra.has(ExtraName::Networks));
        let networks = networks.map(|networks| (networks, &facts.addresses[..]));
        let said = (services, view.refused_names());
        let hosts = stable_hash(&(named, view.addresses(), &definition.host_ports, networks, said));
        let text = rules.extra.has(ExtraName::Text).then(|| {
            let place = agent.map(|agent| (&agent.hostname, &agent.region, &agent.zone));
            stable_hash(&(facts.state, facts.health, view.state, &view.version, place))
        });
        let bindings = rules.extra.has(ExtraName::Bindings).then(|| stable_hash(view.said_ports()));
        Self {
            hosts,
            rare: stable_hash(&(hosts, text, bindings)),
            places: stable_hash(&(named, &facts.addresses[..], definition.port_mappings.is_empty())),
        }
    }

    /// Adds what a task shows.
    pub(crate) fn add(&mut self, other: Self) {
        self.hosts = self.hosts.wrapping_add(other.hosts);
        self.rare = self.rare.wrapping_add(other.rare);
        self.places = self.places.wrapping_add(other.places);
    }

    /// Takes it back.
    pub(crate) fn take(&mut self, other: Self) {
        self.hosts = self.hosts.wrapping_sub(other.hosts);
        self.rare = self.rare.wrapping_sub(other.rare);
        self.places = self.places.wrapping_sub(other.places);
    }
}

/// A number for what a task announces, as far as names show it: not the labels of its ports.
fn discovery_of(definition: &TaskDefinition) -> Option<u64> {
    let discovery = definition.discovery.as_ref()?;
    let ports = discovery.ports.iter().map(|port| stable_hash(&(port.number, &port.name, &port.protocol)));
    Some(stable_hash(&(&discovery.name, ports.collect::<SmallVec<[u64; 4]>>())))
}

/// What masters, agents and frameworks add to the zones of their cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Around {
    masters: u64,
    /// The masters without ports, as `zk-1` and the like show them.
    machines: u64,
    hosts: u64,
    rare: u64,
}

impl Around {
    /// What these add.
    pub(crate) fn new<'a>(
        masters: &MastersFacts,
        agents: &[(IpAddr, u16)],
        frameworks: impl Iterator<Item = (&'a str, &'a SchedulerAddresses)>,
        agent_names: &AgentNames,
        rules: &NamingRules,
    ) -> Self {
        // A framework without an address has a name and no records.
        let frameworks = frameworks.filter(|(_, addresses)| !addresses.is_empty());
        let frameworks = frameworks.map(|framework| stable_hash(&framework)).fold(0, u64::wrapping_add);
        let (hosts, texts) = agent_names.shown();
        Self {
            masters: stable_hash(masters),
            machines: stable_hash(&masters.masters.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>()),
            hosts: stable_hash(&(agents, frameworks, hosts)),
            rare: if rules.extra.has(ExtraName::Text) { texts } else { 0 },
        }
    }
}

/// What a reverse zone shows: names of tasks, and of agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointers {
    /// Sum over the tasks' own addresses.
    pub(crate) tasks: u64,
    /// Sum over the agents' addresses.
    pub(crate) agents: u64,
}

impl ClusterNames {
    /// Where a task's own addresses lead back to, each with a number for where it leads.
    pub(crate) fn pointers(&self, view: &Arc<TaskView>, networks: &[ipnet::IpNet]) -> Vec<(IpAddr, u64)> {
        let addresses = own_addresses(view, networks);
        let name = if addresses.is_empty() { None } else { self.own_name(view) };
        let pointer =
            |address| name.as_ref().map(|name| (address, stable_hash(&(address, &view.facts.key.stable_hash(), name))));
        addresses.into_iter().filter_map(pointer).collect()
    }

    /// Where the agents' addresses lead back to, each with a number for where it leads.
    pub(crate) fn agent_pointers(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        self.agent_names.pointers().map(|(address, name)| (*address, stable_hash(&(address, name, &self.zone))))
    }
}

impl Names {
    /// What a zone shows.
    pub(crate) fn content(&self, zone: &ZoneNames) -> u64 {
        let made = match &zone.content {
            Content::Cluster(names) => {
                let (around, tasks) = (&names.around, &names.shown);
                stable_hash(&[around.masters, around.hosts, around.rare, tasks.rare])
            }
            Content::Static(names) => names.shown(),
            Content::Reverse(pointers) => stable_hash(&[pointers.tasks, pointers.agents]),
            Content::Dcos(cluster, kind) => self.dcos_content(cluster, *kind),
        };
        stable_hash(&[self.settings, made, zone.beside.shown()])
    }

    fn dcos_content(&self, cluster: &ClusterName, kind: ZoneKind) -> u64 {
        let Some(names) = self.of_cluster(cluster) else { return 0 };
        match kind {
            ZoneKind::Tasks => stable_hash(&[names.around.masters, names.shown.places]),
            ZoneKind::Mirror => stable_hash(&[names.around.masters, names.around.hosts, names.shown.hosts]),
            ZoneKind::Vips => names.vips.shown(),
            ZoneKind::ZooKeeper => names.around.machines,
            // All that they say is in the settings.
            ZoneKind::ThisNode | ZoneKind::Spartan | ZoneKind::Localhost => 0,
        }
    }
}

/// What the settings add to every zone: times, the SOA, the name server, and how names are made; and the program, which
/// in another version may make other names.
pub(crate) fn settings(config: &Config) -> u64 {
    let dns = &config.dns;
    // The addresses it listens on are the name server's where none are set.
    let listen = dns.nameserver_addresses.is_empty().then_some(&dns.listen);
    let soa = (dns.soa_refresh_seconds, dns.soa_retry_seconds, dns.soa_expire_seconds, &dns.nameserver, &dns.contact);
    let times = (dns.ttl_seconds, dns.negative_ttl_seconds);
    let naming = (dns.srv_weight, dns.name_unhealthy, dns.label_rule, &dns.extra_names, &dns.dcos);
    stable_hash(&format!("{:?}", (env!("CARGO_PKG_VERSION"), soa, times, naming, &dns.nameserver_addresses, listen)))
}
