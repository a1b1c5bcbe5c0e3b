//! Names: what DNS answers from.
//!
//! The names of Mesos-DNS are a view over tasks, not entries of their own: one entry stands for all names of the
//! tasks that share a name in a framework, and the records are made when they are asked for. Those of a group of several
//! tasks are kept then, until the group changes.

mod agents;
mod bindings;
pub mod cluster;
mod dcos;
mod denial;
mod difference;
mod facts;
pub mod further;
pub mod group;
mod hosts;
pub mod ids;
mod kept;
pub mod label;
mod lengths;
mod list;
mod nearness;
mod networks;
pub mod parents;
mod ports;
pub mod records;
mod reverse;
pub mod rules;
pub(crate) mod services;
mod shown;
mod statics;
mod weights;

pub(crate) use agents::{AgentNames, ill_named};
pub(crate) use dcos::Vips;
pub(crate) use denial::Denial;
pub(crate) use lengths::left_out;
pub(crate) use reverse::{AddressNames, own_addresses};
pub(crate) use shown::{Around, Pointers, Shown, settings};
pub(crate) use statics::{Spread, StaticNames};

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use crate::cluster::event::{HostAddresses, RecordData};
use crate::config::checked::{DcosConfig, DnsConfig};
use crate::model::dcos::ZoneKind;
use crate::model::id::ClusterName;
use crate::model::zone_slot::ZoneSlot;

use cluster::ClusterNames;
use records::Records;

/// A zone this server is authoritative for.
#[derive(Debug)]
pub struct Zone {
    /// Its name, lower case, without the final dot.
    pub name: Arc<str>,
    /// Rises when the zone's content changes.
    pub serial: u32,
    /// Its number among counters.
    pub slot: ZoneSlot,
    /// Made when somebody is told that something is missing.
    denial: OnceLock<Option<Denial>>,
}

impl Zone {
    /// A zone at this serial.
    pub fn new(name: Arc<str>, serial: u32) -> Self {
        Self { slot: ZoneSlot::of(&name), name, serial, denial: OnceLock::new() }
    }

    /// The same zone at another serial.
    pub(crate) fn at(&self, serial: u32) -> Self {
        Self { serial, ..self.clone() }
    }

    /// The SOA record of its denials as octets, where it is kept so: with these settings, the table's own.
    pub(crate) fn denial(&self, config: &DnsConfig) -> Option<&Denial> {
        self.denial.get_or_init(|| Denial::of(self, config)).as_ref().filter(|denial| denial.says(config))
    }
}

/// What is kept of its denials stays with the original: a copy may become the zone at another serial.
impl Clone for Zone {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), serial: self.serial, slot: self.slot, denial: OnceLock::new() }
    }
}

/// Whether something was denied already is no difference.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.serial, self.slot) == (&other.name, other.serial, other.slot)
    }
}

impl Eq for Zone {}

/// A record of a name; the owner is the name asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub data: RecordData,
    /// Its time to live in seconds, where it has one of its own.
    pub ttl: Option<u32>,
}

impl Record {
    /// An address.
    pub(crate) fn of_address(address: std::net::IpAddr) -> Self {
        Self { data: address.into(), ttl: None }
    }
}

/// What is known of a name. The zone is lent: a count of its holders would be written for every query, by all threads.
#[derive(Clone, Debug)]
pub enum Found<'n> {
    /// It lies in none of our zones.
    Outside,
    /// Its zone is ours, and the source of its names has not spoken yet: nobody may conclude that it is missing.
    Unready(&'n Zone),
    /// Its zone is ours and has no such name, nor one below it (RFC 8020): NXDOMAIN.
    Missing(&'n Zone),
    /// The name exists.
    Node(&'n Zone, Node),
    /// It lies in a zone below one of ours that others serve.
    Delegated(&'n Zone, Box<Delegation>),
}

impl<'n> Found<'n> {
    /// The zone of ours that the name lies in.
    pub fn zone(&self) -> Option<&'n Zone> {
        match self {
            Self::Outside => None,
            Self::Unready(zone) | Self::Missing(zone) | Self::Node(zone, _) | Self::Delegated(zone, _) => Some(*zone),
        }
    }
}

/// A name that exists, perhaps without records (NODATA, empty non-terminals).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Whether it is the zone's apex.
    pub is_apex: bool,
    /// Its records of every type.
    pub records: Records,
    /// Where in the name asked for the one begins whose wildcard it comes from.
    pub wildcard: Option<usize>,
}

impl Node {
    /// A name that stands as it is.
    pub fn new(is_apex: bool, records: impl Into<Records>) -> Self {
        Self { is_apex, records: records.into(), wildcard: None }
    }
}

/// A zone that others serve, as files delegate it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    /// Its name.
    pub name: String,
    /// Its NS records.
    pub servers: Vec<Record>,
    /// What else the zone above has to say of its name, to those who ask for just that (DS, RFC 4035 §3.1.4.1).
    pub above: Vec<Record>,
    /// Addresses of those of its servers that lie within it (glue), by name.
    pub glue: Vec<(Arc<str>, Vec<Record>)>,
}

/// All names of one table.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The zones, longest name first, so that the first suffix that matches is the closest.
    pub(crate) zones: Vec<ZoneNames>,
    /// What the zones of DC/OS say of this node.
    pub(crate) dcos: Arc<DcosConfig>,
    /// Addresses of hosts that schedulers are known by alone.
    pub(crate) hosts: Arc<HostAddresses>,
    /// What the settings add to every zone's content, see [`settings`].
    pub(crate) settings: u64,
}

/// The names of one zone.
#[derive(Clone, Debug)]
pub(crate) struct ZoneNames {
    /// The zone.
    pub(crate) zone: Arc<Zone>,
    /// Whether its source has spoken.
    pub(crate) ready: bool,
    /// Whether its content may have changed since its serial was set.
    pub(crate) changed: bool,
    /// Where its names come from.
    pub(crate) content: Content,
    /// Names that files have in a zone whose names are made: they go before those.
    pub(crate) beside: StaticNames,
}

/// Where the names of a zone come from.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few zones, and each look-up goes through one")]
pub(crate) enum Content {
    /// A cluster's tasks, agents, frameworks and masters.
    Cluster(ClusterNames),
    /// Records from files, by absolute name.
    Static(StaticNames),
    /// Addresses of the clusters' tasks and agents, in the reverse tree.
    Reverse(Pointers),
    /// A zone of DC/OS, from this cluster.
    Dcos(ClusterName, ZoneKind),
}

/// Whether what is made for an answer is kept for whoever asks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// As for those who ask.
    Keep,
    /// For a list of all names, which would keep it for all.
    Pass,
}

impl Names {
    /// Finds a name: lower case, absolute, without the final dot.
    pub fn find(&self, name: &str) -> Found<'_> {
        self.find_by(name, Keeping::Keep)
    }

    fn find_by(&self, name: &str, keeping: Keeping) -> Found<'_> {
        for zone in &self.zones {
            let Some(below) = below(name, &zone.zone.name) else { continue };
            if !zone.ready {
                return Found::Unready(&zone.zone);
            }
            if let Some(delegation) = zone.statics().delegation(name, below) {
                return Found::Delegated(&zone.zone, Box::new(delegation));
            }
            let is_apex = below.is_empty();
            let node = self.find_in(zone, name, below, keeping).map(|records| Node::new(is_apex, records));
            let node = node.or_else(|| self.wildcard(zone, name, below));
            return match node.or_else(|| is_apex.then(|| Node::new(is_apex, Records::default()))) {
                Some(node) => Found::Node(&zone.zone, node),
                None => Found::Missing(&zone.zone),
            };
        }
        Found::Outside
    }

    /// The records of a name that stands in a zone as it is.
    fn find_in(&self, zone: &ZoneNames, name: &str, below: &str, keeping: Keeping) -> Option<Records> {
        let made = || match &zone.content {
            Content::Cluster(names) => names.find_by(below, keeping),
            Content::Static(names) => names.find(name).map(Records::from),
            Content::Reverse(_) => self.find_reverse(name).map(Records::from),
            Content::Dcos(cluster, kind) => self.find_dcos(&zone.zone, (cluster, *kind), below, keeping),
        };
        let records = zone.beside.records(name).map(Records::from).or_else(made);
        records.or_else(|| zone.beside.is_above(name).then(Records::default))
    }

    /// What a wildcard gives a name which does not exist: that of its closest ancestor that does, and of no other (RFC 4592
    /// §3.3.1).
    fn wildcard(&self, zone: &ZoneNames, name: &str, below: &str) -> Option<Node> {
        let statics = zone.statics();
        if !statics.has_wildcards() || below.is_empty() {
            return None;
        }
        let apex = name.len() - zone.zone.name.len();
        let exists =
            |at: &usize| *at == apex || self.find_in(zone, &name[*at..], &below[*at..], Keeping::Keep).is_some();
        let encloser = below.match_indices('.').map(|(dot, _)| dot + 1).chain([apex]).find(exists)?;
        let records = statics.records(&format!("*.{}", &name[encloser..]))?;
        Some(Node { is_apex: false, records: records.into(), wildcard: Some(encloser) })
    }

    /// The names of a cluster.
    fn of_cluster(&self, cluster: &ClusterName) -> Option<&ClusterNames> {
        self.zones.iter().find_map(|zone| match &zone.content {
            Content::Cluster(names) if names.cluster == *cluster => Some(names),
            _ => None,
        })
    }

    /// Hosts that schedulers are known by alone, whose addresses are to be looked up.
    pub fn wanted_hosts(&self) -> BTreeSet<Arc<str>> {
        let clusters = self.zones.iter().filter_map(|zone| match &zone.content {
            Content::Cluster(names) => Some(&names.wanted_hosts),
            _ => None,
        });
        clusters.flat_map(|hosts| hosts.iter().cloned()).collect()
    }

    /// What is known of such hosts.
    pub fn hosts(&self) -> &Arc<HostAddresses> {
        &self.hosts
    }

    /// The zones, longest name first.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.iter().map(|zone| &zone.zone)
    }

    /// The zones whose source has spoken.
    pub fn ready_zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.iter().filter(|zone| zone.ready).map(|zone| &zone.zone)
    }
}

impl ZoneNames {
    /// What files say of names in the zone.
    fn statics(&self) -> &StaticNames {
        match &self.content {
            Content::Static(names) => names,
            _ => &self.beside,
        }
    }
}

/// What is left of `name` below `zone`: empty at the apex, `None` outside.
pub(crate) fn below<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(zone)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
}
