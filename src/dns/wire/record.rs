//! Records as they are handed to a [`super::response::Response`]: borrowed, nothing encoded yet.

use super::record_type;
use crate::cluster::event::RecordData;
use crate::config::checked::DnsConfig;
use crate::table::names::Zone;

/// Whose record it is.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The name asked for, in the asker's own case.
    Question,
    /// Another name, absolute, without the final dot.
    Name(&'a str),
}

/// A record's data.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// As the table has it.
    Record(&'a RecordData),
    /// A zone's name server: its labels below the zone (or its absolute name with a final dot), and the zone.
    Ns(&'a str, &'a str),
    /// A zone's start of authority.
    Soa(&'a Soa<'a>),
}

/// The data of an SOA record.
#[derive(Clone, Copy, Debug)]
pub struct Soa<'a> {
    /// The zone.
    pub zone: &'a str,
    /// MNAME's labels below the zone, or its absolute name with a final dot.
    pub nameserver: &'a str,
    /// RNAME's labels below the zone, or its absolute name with a final dot.
    pub contact: &'a str,
    /// The zone's version.
    pub serial: u32,
    /// Seconds.
    pub refresh: u32,
    /// Seconds.
    pub retry: u32,
    /// Seconds.
    pub expire: u32,
    /// Time to live of negative answers, seconds.
    pub minimum: u32,
}

impl<'a> Soa<'a> {
    /// Of a zone, with what the settings say of all.
    pub fn of(zone: &'a Zone, config: &'a DnsConfig) -> Self {
        Self {
            zone: &zone.name,
            nameserver: &config.nameserver,
            contact: &config.contact,
            serial: zone.serial,
            refresh: config.soa_refresh_seconds,
            retry: config.soa_retry_seconds,
            expire: config.soa_expire_seconds,
            minimum: config.negative_ttl_seconds,
        }
    }
}

impl Data<'_> {
    /// The record's type.
    pub fn record_type(&self) -> u16 {
        match self {
            Self::Record(data) => type_of(data),
            Self::Ns(..) => record_type::NS,
            Self::Soa(_) => record_type::SOA,
        }
    }
}

/// The type of a record of the table.
pub fn type_of(data: &RecordData) -> u16 {
    match data {
        RecordData::A(_) => record_type::A,
        RecordData::Aaaa(_) => record_type::AAAA,
        RecordData::Srv { .. } => record_type::SRV,
        RecordData::Cname(_) => record_type::CNAME,
        RecordData::Ptr(_) => record_type::PTR,
        RecordData::Ns(_) => record_type::NS,
        RecordData::Svcb(_) => record_type::SVCB,
        RecordData::Https(_) => record_type::HTTPS,
        RecordData::Txt(_) => record_type::TXT,
        RecordData::Mx { .. } => record_type::MX,
        RecordData::Opaque(data) => data.record_type,
    }
}
