//! Why DNS answers a name as it does.

use serde::{Deserialize, Serialize};

use crate::admin::nearest::nearest;
use crate::admin::reply::ApiError;
use crate::config::checked::{DnsConfig, ForwardConfig};
use crate::dns::answer::Authority;
use crate::dns::nameserver;
use crate::dns::transport::bind::own_addresses;
use crate::table::Table;
use crate::table::names::further::RareType;
use crate::table::names::{Found, Node, Record, Zone};

/// The most records that are listed.
const MAX_RECORDS: usize = 1000;
/// The record types that can be asked for.
const TYPES: [&str; 15] =
    ["A", "AAAA", "SRV", "CNAME", "PTR", "TXT", "SVCB", "HTTPS", "SOA", "NS", "MX", "DS", "CAA", "SSHFP", "TLSA"];

/// How DNS answers one name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NameExplanation {
    /// As it is looked up: lower case, without the final dot.
    pub name: String,
    /// The type asked for; all where absent.
    #[serde(rename = "type")]
    pub record_type: Option<String>,
    /// `answer`, `nodata`, `nxdomain`, `delegated`, `refused` or `servfail`.
    pub outcome: String,
    /// The outcome in one sentence.
    pub reason: String,
    pub zone: Option<String>,
    /// The records of the name, of the type asked for.
    pub records: Vec<RecordView>,
    pub truncated: bool,
    /// The types that the name has records of.
    pub types: Vec<String>,
    /// For a name that does not exist: the nearest name above it that does.
    pub closest_existing: Option<String>,
    /// Names that exist and could have been meant.
    pub nearest: Vec<String>,
}

/// One record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordView {
    #[serde(rename = "type")]
    pub record_type: String,
    pub ttl_seconds: u32,
    /// In presentation form.
    pub data: String,
}

/// Explains `name`.
///
/// # Errors
/// The name or the type is none.
pub(super) fn explain(table: &Table, name: &str, wanted: Option<&str>) -> Result<NameExplanation, ApiError> {
    let name = normal(name)?;
    let wanted = wanted.map(record_type).transpose()?;
    let mut out = NameExplanation::new(name, wanted);
    if table.generation == 0 {
        out.conclude("servfail", "there is no table yet: nobody may conclude that a name does not exist");
        return Ok(out);
    }
    // The name server's own name is found too, with the addresses that it is told to listen on.
    let own_addresses = own_addresses(&table.config.dns.listen);
    match (Authority { names: table, own_addresses: &own_addresses }).find(&out.name) {
        Found::Outside if forwards(&table.config.dns.forward, &out.name) => {
            let why = "the name lies in none of the zones served here; clients in `dns.forward.allow` get what other \
                       servers say, all others this";
            out.conclude("refused", why);
        }
        Found::Outside => out.conclude("refused", "the name lies in none of the zones served here"),
        Found::Unready(zone) => {
            out.zone = Some(zone.name.to_string());
            out.conclude(
                "servfail",
                "the zone's source has not spoken yet: nobody may conclude that a name is missing",
            );
        }
        Found::Missing(zone) => {
            out.zone = Some(zone.name.to_string());
            out.conclude("nxdomain", "the zone is served here and has no such name, nor one below it");
            out.suggest(table, &zone.name);
        }
        // RFC 4035 §3.1.4.1: what DS says of a zone is the zone's above it.
        Found::Delegated(zone, delegation) if wanted == Some("DS") && *delegation.name == *out.name => {
            out.zone = Some(zone.name.to_string());
            out.take(&Node::new(false, delegation.above), Vec::new(), table.config.dns.ttl_seconds);
        }
        Found::Delegated(zone, delegation) => {
            out.zone = Some(zone.name.to_string());
            let servers = delegation.servers.iter();
            out.records = servers.map(|record| RecordView::of(record, table.config.dns.ttl_seconds)).collect();
            out.types = vec!["NS".to_owned()];
            let why = "the name lies in a zone that a file's NS records delegate: its servers are named, or asked for \
                       clients in `dns.forward.allow`";
            out.conclude("delegated", why);
        }
        Found::Node(zone, mut node) => {
            for record_type in RareType::ALL {
                node.records.extend(table.names.rare(&out.name, record_type).into_vec());
            }
            out.zone = Some(zone.name.to_string());
            let apex = if node.is_apex { apex(zone, &table.config.dns) } else { Vec::new() };
            out.take(&node, apex, table.config.dns.ttl_seconds);
        }
    }
    Ok(out)
}

impl NameExplanation {
    fn new(name: String, record_type: Option<&'static str>) -> Self {
        Self {
            name,
            record_type: record_type.map(str::to_owned),
            outcome: String::new(),
            reason: String::new(),
            zone: None,
            records: Vec::new(),
            truncated: false,
            types: Vec::new(),
            closest_existing: None,
            nearest: Vec::new(),
        }
    }

    fn conclude(&mut self, outcome: &str, reason: &str) {
        self.outcome = outcome.to_owned();
        self.reason = reason.to_owned();
    }

    /// Takes what a name has: its records, and those that the settings give a zone's own name.
    fn take(&mut self, node: &Node, apex: Vec<RecordView>, default_ttl: u32) {
        self.types = node.records.iter().map(|record| record.data.type_name().to_owned()).collect();
        self.types.extend(apex.iter().map(|record| record.record_type.clone()));
        self.types.sort_unstable();
        self.types.dedup();
        let wanted = self.record_type.clone();
        // RFC 1034 section 4.3.2, 3a: an alias answers for every type.
        let matching = |this: &str| wanted.as_deref().is_none_or(|wanted| this == wanted || this == "CNAME");
        let of_settings = apex.into_iter().filter(|record| matching(&record.record_type));
        let of_table = node.records.iter().filter(|record| matching(record.data.type_name()));
        let mut records = of_settings.chain(of_table.map(|record| RecordView::of(record, default_ttl)));
        self.records = records.by_ref().take(MAX_RECORDS).collect();
        self.truncated = records.next().is_some();
        match (self.records.is_empty(), node.is_apex) {
            (false, _) => self.conclude("answer", "the name has records"),
            (true, true) => {
                self.conclude("nodata", "the name is the zone's own: it has SOA and NS, and none of this type")
            }
            (true, false) if node.records.is_empty() => {
                self.conclude(
                    "nodata",
                    "the name exists without records: a name below it exists, or its tasks have no address",
                );
            }
            (true, false) => self.conclude("nodata", "the name exists, and has no record of this type"),
        }
    }

    fn suggest(&mut self, table: &Table, zone: &str) {
        let parents = self.name.match_indices('.').map(|(at, _)| &self.name[at + 1..]);
        let mut parents = parents.take_while(|parent| parent.len() >= zone.len());
        let exists = |name: &str| matches!(table.names.find(name), Found::Node(..));
        self.closest_existing = parents.find(|parent| exists(parent)).map(str::to_owned);
        let Some((label, rest)) = self.name.split_once('.') else { return };
        let names = table.tasks.values().map(|task| &*task.facts.definition.name);
        let candidates = nearest(label, names, 20).into_iter().map(|near| format!("{}.{rest}", near.to_lowercase()));
        self.nearest = candidates.filter(|candidate| exists(candidate)).take(5).collect();
    }
}

impl RecordView {
    fn of(record: &Record, default_ttl: u32) -> Self {
        Self {
            record_type: record.data.type_name().to_owned(),
            ttl_seconds: record.ttl.unwrap_or(default_ttl),
            data: record.data.to_string(),
        }
    }
}

/// What the settings give a zone's own name (RFC 1035 §3.3.13, §3.3.11).
fn apex(zone: &Zone, config: &DnsConfig) -> Vec<RecordView> {
    let name = |below: &str| format!("{}.", nameserver::absolute(below, &zone.name));
    let (server, contact) = (name(&config.nameserver), name(&config.contact));
    let DnsConfig { soa_refresh_seconds, soa_retry_seconds, soa_expire_seconds, negative_ttl_seconds, .. } = config;
    let times = format!("{soa_refresh_seconds} {soa_retry_seconds} {soa_expire_seconds} {negative_ttl_seconds}");
    let view = |record_type: &str, data: String| RecordView {
        record_type: record_type.to_owned(),
        ttl_seconds: config.ttl_seconds,
        data,
    };
    vec![view("SOA", format!("{server} {contact} {} {times}", zone.serial)), view("NS", server)]
}

/// Whether other servers are asked for this name.
fn forwards(forward: &ForwardConfig, name: &str) -> bool {
    let is_within = |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !forward.upstreams.is_empty() || forward.zones.iter().any(|entry| is_within(&entry.zone))
}

fn normal(name: &str) -> Result<String, ApiError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name = name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()));
    if !is_name {
        let shown: String = name.chars().take(100).collect();
        let mend = "labels have 1 to 63 characters, a name at most 253 in all";
        return Err(ApiError::bad_request(format!("{shown:?} is no DNS name"), mend));
    }
    Ok(name.to_ascii_lowercase())
}

fn record_type(text: &str) -> Result<&'static str, ApiError> {
    let known = TYPES.iter().find(|known| known.eq_ignore_ascii_case(text)).copied();
    known.ok_or_else(|| {
        ApiError::bad_request(
            format!("records of type {text:?} are not kept"),
            format!("use one of: {}", TYPES.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::event::RecordData;

    fn srv() -> Record {
        let data = RecordData::Srv { priority: 0, weight: 1, port: 80, target: "a.b".into() };
        Record { data, ttl: Some(7) }
    }

    fn outcome(records: Vec<Record>, is_apex: bool, wanted: Option<&'static str>) -> (String, usize) {
        let mut out = NameExplanation::new("x.y".into(), wanted);
        let zone = Zone::new("x.y".into(), 7);
        let apex = if is_apex { apex(&zone, &DnsConfig::default()) } else { Vec::new() };
        out.take(&Node::new(is_apex, records), apex, 5);
        (out.outcome, out.records.len())
    }

    #[test]
    fn outcomes() {
        let address = || Record { data: RecordData::A([1, 2, 3, 4].into()), ttl: None };
        let alias = || Record { data: RecordData::Cname("c.d".into()), ttl: None };
        assert_eq!(outcome(vec![address(), srv()], false, Some("A")), ("answer".into(), 1));
        assert_eq!(outcome(vec![address(), srv()], false, None), ("answer".into(), 2));
        assert_eq!(outcome(vec![address()], false, Some("SRV")), ("nodata".into(), 0));
        assert_eq!(outcome(vec![alias()], false, Some("A")), ("answer".into(), 1));
        assert_eq!(outcome(vec![], true, Some("A")), ("nodata".into(), 0));
        assert_eq!(outcome(vec![], true, Some("SOA")), ("answer".into(), 1));
        assert_eq!(outcome(vec![address()], true, Some("NS")), ("answer".into(), 1));
        assert_eq!(outcome(vec![address()], true, None), ("answer".into(), 3));
        assert_eq!(outcome(vec![address()], false, Some("SOA")), ("nodata".into(), 0));
        assert_eq!(RecordView::of(&srv(), 5).data, "0 1 80 a.b.");
        assert_eq!(RecordView::of(&srv(), 5).ttl_seconds, 7);
        assert_eq!(RecordView::of(&address(), 5).ttl_seconds, 5);
    }

    #[test]
    fn names_and_types() {
        assert_eq!(normal("Web.Mesos.").unwrap(), "web.mesos");
        assert!(normal("a..b").is_err());
        assert!(normal("").is_err());
        assert!(normal(&"a".repeat(64)).is_err());
        assert_eq!(record_type("srv").unwrap(), "SRV");
        assert!(record_type("LOC").is_err());
    }

    #[test]
    fn before_the_first_table_nothing_is_said_to_be_missing() {
        let out = explain(&Table::empty(Arc::default()), "a.b", None).unwrap();
        assert_eq!(out.outcome, "servfail");
    }
}
