//! `/v1/axfr`: the whole zone, as far as Mesos-DNS has it, and what files put beside it. dcos-net feeds on it and makes
//! names of its own from those: what `dns.extra_names` adds would make it several times as large, for nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Api, absolute, value};
use crate::cluster::event::RecordData;
use crate::config::checked::MesosMode;

type Set = BTreeMap<String, Vec<String>>;

/// In the order of Mesos-DNS's fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Transfer {
    #[serde(rename = "TTL")]
    ttl: u32,
    serial: u32,
    refresh_seconds: u64,
    mname: String,
    rname: String,
    domain: String,
    records: Records,
}

#[derive(Default, Serialize)]
struct Records {
    #[serde(rename = "As")]
    a: Set,
    #[serde(rename = "AAAAs")]
    aaaa: Set,
    #[serde(rename = "SRVs")]
    srv: Set,
}

pub(super) fn document(api: &Api<'_>) -> Transfer {
    let (dns, zone) = (&api.table.config.dns, &api.mesos.zone);
    let mut records = Records::default();
    let listed = api.table.names.list_plain(zone).unwrap_or_default();
    let listed =
        listed.iter().flat_map(|(name, records)| records.iter().map(move |record| (name.as_str(), &record.data)));
    let nameserver = api.nameserver();
    let own = api.nameserver_addresses();
    for (name, data) in
        listed.filter(|(name, _)| *name != nameserver).chain(own.iter().map(|d| (nameserver.as_str(), d)))
    {
        let Some((_, value)) = value(data) else { continue };
        let set = match data {
            RecordData::A(_) => &mut records.a,
            RecordData::Aaaa(_) => &mut records.aaaa,
            _ => &mut records.srv,
        };
        set.entry(format!("{name}.")).or_default().push(value);
    }
    Transfer {
        ttl: dns.ttl_seconds,
        serial: api.serial(),
        refresh_seconds: api.refresh_seconds(),
        mname: format!("{nameserver}."),
        rname: format!("{}.", absolute(&dns.contact, zone)),
        domain: zone.to_string(),
        records,
    }
}

impl Api<'_> {
    /// The zone's serial.
    pub(super) fn serial(&self) -> u32 {
        self.table.names.zones().find(|zone| zone.name == self.mesos.zone).map_or(0, |zone| zone.serial)
    }

    /// Seconds between two looks at the master; what follows events has no such time, and says a minute.
    pub(super) fn refresh_seconds(&self) -> u64 {
        match self.mesos.mode {
            MesosMode::State => self.mesos.poll_interval.as_secs(),
            MesosMode::Subscribe => 60,
        }
    }
}
