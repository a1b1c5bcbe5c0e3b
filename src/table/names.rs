//! Names: what DNS answers from.
//!
//! The names of Mesos-DNS are a view over tasks, not entries of their own: one entry stands for all names of the
//! tasks that share a name in a framework, and the records are made when they are asked for.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::event::RecordData;

/// A zone this server is authoritative for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name, lower case, without the final dot.
    pub name: Arc<str>,
    /// Rises when the zone's content changes.
    pub serial: u32,
}

/// The types of records that names can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Service.
    Srv,
    /// Alias.
    Cname,
    /// Text.
    Txt,
}

/// A record of a name; the owner is the name asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub data: RecordData,
    /// Its time to live in seconds, where it has one of its own.
    pub ttl: Option<u32>,
}

/// What is known of a name.
#[derive(Clone, Debug)]
pub enum Found {
    /// It lies in none of our zones.
    Outside,
    /// Its zone is ours and has no such name, nor one below it (RFC 8020): NXDOMAIN.
    Missing(Arc<Zone>),
    /// The name exists.
    Node(Arc<Zone>, Node),
}

/// A name that exists, perhaps without records (NODATA, empty non-terminals).
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Whether it is the zone's apex.
    pub is_apex: bool,
    /// Its records of every type.
    pub records: Vec<Record>,
}

/// All names of one table.
#[derive(Clone, Debug, Default)]
pub struct Names {}

impl Names {
    /// Finds a name: lower case, absolute, without the final dot.
    pub fn find(&self, _name: &str) -> Found {
        Found::Outside
    }

    /// The zones, longest name first.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        std::iter::empty()
    }

    /// Addresses of a name, for additional records.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        match self.find(name) {
            Found::Node(_, node) => node.records.iter().filter_map(|r| r.data.address()).collect(),
            _ => Vec::new(),
        }
    }
}
