//! A small fixed set of names: what tests and the fuzz target answer from, so that they need no cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::answer::{Authority, Outcome, answer};
use super::source::{NameSource, ZoneContents};
use super::tsig;
use super::wire::query::{self, Incoming};
use super::wire::{HEADER_LEN, MAX_MESSAGE, Transport, name};
use crate::cluster::event::RecordData;
use crate::config::checked::{DnsConfig, TsigAlgorithm, TsigKey};
use crate::table::names::records::{KeptRecords, Records};
use crate::table::names::{Found, Node, Record, Zone};

/// Names in one zone.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Whether there is anything to answer from.
    pub ready: bool,
    /// Whether the source of the zone's names has spoken.
    pub zone_ready: bool,
    /// The settings.
    pub config: DnsConfig,
    zone: Arc<Zone>,
    nodes: BTreeMap<String, Records>,
}

impl Sample {
    /// A zone that has only its apex.
    pub fn new(zone: &str) -> Self {
        Self {
            ready: true,
            zone_ready: true,
            config: DnsConfig::default(),
            zone: Arc::new(Zone::new(zone.into(), 7)),
            nodes: BTreeMap::new(),
        }
    }

    /// The same with one more record.
    #[must_use]
    pub fn with(self, name: &str, data: RecordData) -> Self {
        self.with_ttl(name, data, None)
    }

    /// The same with one more record that has its own time to live.
    #[must_use]
    pub fn with_ttl(mut self, name: &str, data: RecordData, ttl: Option<u32>) -> Self {
        self.nodes.entry(name.to_owned()).or_default().extend([Record { data, ttl }]);
        self
    }

    /// The same with an IPv4 or IPv6 address.
    #[must_use]
    pub fn with_address(self, name: &str, address: std::net::IpAddr) -> Self {
        let data = match address {
            std::net::IpAddr::V4(address) => RecordData::A(address),
            std::net::IpAddr::V6(address) => RecordData::Aaaa(address),
        };
        self.with(name, data)
    }

    /// The same with a name of these addresses alone, which are kept as a group's are.
    #[must_use]
    pub fn with_kept(mut self, name: &str, addresses: impl Iterator<Item = std::net::IpAddr>) -> Self {
        self.nodes.insert(name.to_owned(), Records::Kept(KeptRecords::of_addresses(addresses)));
        self
    }

    /// The same with a service.
    #[must_use]
    pub fn with_srv(self, name: &str, port: u16, target: &str) -> Self {
        self.with(name, RecordData::Srv { priority: 0, weight: 1, port, target: target.into() })
    }

    /// The same with an alias.
    #[must_use]
    pub fn with_alias(self, name: &str, target: &str) -> Self {
        self.with(name, RecordData::Cname(target.into()))
    }
}

impl NameSource for Sample {
    /// It never changes.
    fn version(&self) -> u64 {
        0
    }

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn config(&self) -> &DnsConfig {
        &self.config
    }

    fn find(&self, name: &str) -> Found<'_> {
        let zone = &self.zone;
        let is_apex = name == &*zone.name;
        if !is_apex && !is_below(name, &zone.name) {
            return Found::Outside;
        }
        if !self.zone_ready {
            return Found::Unready(zone);
        }
        match self.nodes.get(name) {
            Some(records) => Found::Node(zone, Node::new(is_apex, records.clone())),
            None if is_apex || self.nodes.keys().any(|known| is_below(known, name)) => {
                Found::Node(zone, Node::new(is_apex, Records::default()))
            }
            None => Found::Missing(zone),
        }
    }

    fn contents(&self, zone: &str) -> Option<ZoneContents> {
        let names = self.nodes.iter().map(|(name, records)| (name.clone(), records.to_vec())).collect();
        (self.zone_ready && *self.zone.name == *zone).then(|| ZoneContents { zone: self.zone.clone(), names })
    }
}

fn is_below(name: &str, above: &str) -> bool {
    above.is_empty() || name.strip_suffix(above).is_some_and(|labels| labels.ends_with('.'))
}

/// What [`check_any`] asks: sets that fit and sets that do not, aliases that end, repeat and leave.
static ANY: LazyLock<Sample> = LazyLock::new(|| {
    let mut names = Sample::new("mesos")
        .with_alias("loop.mesos", "loop.mesos")
        .with_alias("out.mesos", "a.a.example.a.a")
        .with_alias("in.mesos", "a.mesos")
        .with("text.mesos", RecordData::Txt([Arc::from("t".repeat(255))].into()));
    for last in 1..=80u8 {
        let task = format!("task-{last}.marathon.mesos");
        names = names
            .with_address("a.mesos", [10, 0, 0, last].into())
            .with_srv("_a._tcp.mesos", u16::from(last), &task)
            .with_address(&task, [10, 0, 1, last].into());
    }
    names
});

/// Answers arbitrary octets over both transports and checks what must hold for any answer.
pub(crate) fn check_any(message: &[u8]) {
    let names = &*ANY;
    check_signature(message);
    let authority = Authority { names, own_addresses: &[] };
    for transport in Transport::ALL {
        let mut out = b"before".to_vec();
        let outcome = answer(&authority, transport, message, &mut fastrand::Rng::with_seed(1), &mut out);
        let written = &out[6..];
        match outcome {
            Outcome::Ignored(_) => assert!(written.is_empty(), "an ignored message has no answer"),
            Outcome::Answered(_) => check_answer(transport, &names.config, message, written),
        }
    }
}

/// A signature, whatever it says, is no reason to panic.
fn check_signature(message: &[u8]) {
    let key = TsigKey { name: "k1".into(), algorithm: TsigAlgorithm::HmacSha256, secret: vec![0; 32] };
    let mut text = name::NameText::default();
    if let Incoming::Query(query) = query::parse(message, &mut text)
        && let Some(tsig) = &query.tsig
    {
        assert!(tsig::check(&[key], message, tsig, 0).is_err(), "nobody has the key");
    }
}

fn check_answer(transport: Transport, config: &DnsConfig, message: &[u8], written: &[u8]) {
    let limit = match transport {
        Transport::Udp => usize::from(config.max_udp_size),
        Transport::Tcp | Transport::Tls | Transport::Https => MAX_MESSAGE,
    };
    assert!(written.len() <= limit, "an answer has at most {limit} octets");
    assert_eq!(written[..2], message[..2], "the id is the query's");
    assert_eq!(written[2] & 0x80, 0x80, "an answer is a response");
    assert_eq!(written[2] & 0x78, message[2] & 0x78, "the opcode is the query's");
    if written[5] == 1 {
        let question = name::skip(written, HEADER_LEN).expect("the question is whole") + 4;
        assert_eq!(written[HEADER_LEN..question], message[HEADER_LEN..question], "the question is the query's");
    }
}
