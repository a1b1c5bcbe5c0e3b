//! A cluster's names behind a real server, asked by a client that is not ours.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "for tests only")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamValue};
use hickory_proto::rr::{RData, Record, RecordType};
use pointsman::cluster::event::Fact;
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;
use pointsman::table::names::Found;
use pointsman::table::names::further::RareType;
use pointsman::table::writer::Writer;

use crate::common::facts::snapshot;
use crate::dns_common::{Server, ask_udp, query};

/// A server over the table that these facts make.
pub fn serve(config: Config, facts: Vec<Fact>) -> Served {
    let now = Timestamp(1_700_000_000_000);
    let mut writer = Writer::new(ClusterState::new(Arc::new(config), now), 1, now);
    writer.apply([snapshot(1, facts)], now);
    Served::over(writer.first(now))
}

pub struct Served {
    pub server: Server,
    pub table: Arc<Table>,
}

/// Whatever a zone answers with records is listed, and nothing else: found by walking down from its own name, with every
/// label that any listed name has, and some that none should need.
#[track_caller]
pub fn assert_listed_is_answered(table: &Table, zone: &str) {
    let listed: BTreeMap<String, usize> =
        table.names.list(zone).unwrap().into_iter().map(|(name, records)| (name, records.len())).collect();
    let below = |name: &str| name.strip_suffix(zone).unwrap_or_default().to_owned();
    let mut labels: BTreeSet<String> =
        listed.keys().flat_map(|name| below(name).split('.').map(str::to_owned).collect::<Vec<_>>()).collect();
    labels.extend(["id", "slave", "agent", "network", "_tcp", "_udp", "_port0", "_port1", "0", "1"].map(str::to_owned));
    labels.remove("");
    let mut answered = BTreeMap::new();
    let mut known = vec![zone.to_owned()];
    while let Some(name) = known.pop() {
        let Found::Node(_, node) = table.names.find(&name) else { continue };
        let rare: usize = RareType::ALL.iter().map(|rare| table.names.rare(&name, *rare).len()).sum();
        let records = node.records.len() + rare;
        if records > 0 {
            answered.insert(name.clone(), records);
        }
        let children = labels.iter().map(|label| format!("{label}.{name}"));
        known.extend(children.filter(|name| matches!(table.names.find(name), Found::Node(..))));
    }
    let only = |some: &BTreeMap<String, usize>, others: &BTreeMap<String, usize>| -> Vec<String> {
        some.iter()
            .filter(|(name, records)| others.get(*name) != Some(*records))
            .map(|(name, _)| name.clone())
            .collect()
    };
    assert_eq!((only(&answered, &listed), only(&listed, &answered)), (vec![], vec![]), "only answered, only listed");
    assert!(listed.len() > 1, "{zone} has names");
}

impl Served {
    pub fn over(table: Arc<Table>) -> Self {
        let handle = TableHandle::new(Table::empty(table.config.clone()), 1);
        let server = Server::start_on("127.0.0.1:0", 1, &handle.reader());
        handle.publish(Arc::new((*table).clone()), VersionRecord::default());
        Self { server, table }
    }

    /// The whole answer; over TCP where it does not fit.
    pub fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let message = query(7, &format!("{name}."), record_type);
        let answer = ask_udp(self.server.address, &message);
        if !answer.metadata.truncation {
            return answer;
        }
        let mut stream = self.server.connect();
        std::io::Write::write_all(&mut stream, &crate::dns_common::framed(&message)).unwrap();
        crate::dns_common::read_answer(&mut stream)
    }

    /// What a name is answered with, as dig shows it: the records' data, or why there is none.
    pub fn dig(&self, name: &str, record_type: RecordType) -> BTreeSet<String> {
        let answer = self.ask(name, record_type);
        match answer.metadata.response_code {
            ResponseCode::NoError if answer.answers.is_empty() => {
                assert_soa(&answer, name);
                BTreeSet::from(["NODATA".to_owned()])
            }
            ResponseCode::NoError => answer.answers.iter().map(data).collect(),
            ResponseCode::NXDomain => {
                assert_soa(&answer, name);
                BTreeSet::from(["NXDOMAIN".to_owned()])
            }
            other => BTreeSet::from([format!("{other:?}").to_uppercase()]),
        }
    }

    #[track_caller]
    pub fn check(&self, name: &str, record_type: RecordType, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(self.dig(name, record_type), expected, "{name} {record_type}");
    }
}

/// RFC 2308 §3: what denies brings the SOA of a zone that the name lies in.
#[track_caller]
fn assert_soa(answer: &Message, name: &str) {
    let soa: Vec<&Record> = answer.authorities.iter().filter(|record| matches!(record.data, RData::SOA(_))).collect();
    assert_eq!(soa.len(), 1, "{name}");
    let zone = soa[0].name.to_ascii().to_lowercase();
    assert!(format!("{name}.").ends_with(&zone), "{name} does not lie in {zone}");
}

fn data(record: &Record) -> String {
    match &record.data {
        RData::TXT(text) => {
            let strings: Vec<_> = text.txt_data.iter().map(|octets| String::from_utf8_lossy(octets)).collect();
            strings.join(" ")
        }
        RData::SVCB(binding) => bound(binding),
        RData::HTTPS(binding) => bound(binding),
        other => other.to_string(),
    }
}

/// `priority target key=value …`, in the order of the message.
fn bound(binding: &SVCB) -> String {
    let values = binding.svc_params.iter().map(|(_, value)| match value {
        SvcParamValue::Alpn(alpn) => format!(" alpn={}", alpn.0.join(",")),
        SvcParamValue::NoDefaultAlpn => " no-default-alpn".to_owned(),
        SvcParamValue::Port(port) => format!(" port={port}"),
        other => panic!("{other:?}"),
    });
    format!("{} {}{}", binding.svc_priority, binding.target_name, values.collect::<String>())
}
