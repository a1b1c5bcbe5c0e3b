//! What the DNS server counts.
//!
//! Each worker writes its own counters, with plain stores since nobody else does; a scrape adds them up. Labels are
//! from closed sets, so that no client can make new series.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::answer::Answered;
use super::forward::metrics::ForwardMetrics;
use super::wire::query::Ignored;
use super::wire::{Rcode, Transport, record_type};
use crate::model::zone_slot::{SLOTS, ZoneSlot};

/// Types that are counted by name.
const TYPES: [(u16, &str); 17] = [
    (record_type::A, "A"),
    (record_type::AAAA, "AAAA"),
    (record_type::SRV, "SRV"),
    (record_type::SOA, "SOA"),
    (record_type::NS, "NS"),
    (record_type::TXT, "TXT"),
    (record_type::CNAME, "CNAME"),
    (record_type::PTR, "PTR"),
    (record_type::MX, "MX"),
    (record_type::ANY, "ANY"),
    (record_type::HTTPS, "HTTPS"),
    (record_type::SVCB, "SVCB"),
    (record_type::DS, "DS"),
    (record_type::DNSKEY, "DNSKEY"),
    (record_type::AXFR, "AXFR"),
    (record_type::IXFR, "IXFR"),
    // The last: whatever has no name here.
    (0, "OTHER"),
];

/// Where queries without a readable question are counted.
const NO_QUESTION: &str = "NONE";

/// The counters that have no more than one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Answers over UDP that did not fit.
    TruncatedUdp,
    /// Answers over TCP that did not fit.
    TruncatedTcp,
    /// Answers over TLS that did not fit.
    TruncatedTls,
    /// Answers over HTTPS that did not fit.
    TruncatedHttps,
    /// Messages too short to be answered.
    DroppedShort,
    /// Responses that somebody sent to us.
    DroppedResponse,
    /// Answers that the kernel did not take.
    DroppedSend,
    /// Records that no message can express.
    ImpossibleRecords,
    /// Answers from the cache.
    Cached,
    /// Missing names that were answered with the end of the client's search path.
    Helped,
    /// TCP connections accepted.
    TcpAccepted,
    /// TCP connections closed, whatever the reason.
    TcpClosed,
    /// TCP connections closed by us because nothing complete came in time.
    TcpIdle,
    /// TCP connections closed by us because answers were not taken in time.
    TcpSlow,
    /// Times that the cap on connections was reached; the next ones wait to be accepted.
    TcpCapped,
    /// Handshakes of TLS that failed.
    TlsFailed,
    /// Requests over HTTPS that carried no query.
    HttpsRefused,
    /// Transfers begun.
    Transfers,
    /// Transfers that the client may not have, or of zones that are not ours.
    TransfersRefused,
    /// Queries with a signature that is no good.
    BadSignatures,
    /// Queries of clients that may not ask here.
    Denied,
    /// Answers that were not sent, because too many equal ones went to one network.
    LimitedDropped,
    /// … and those that were cut to nothing instead.
    LimitedSlipped,
    /// Failed accepts.
    AcceptErrors,
}

/// One exported counter: what is counted, the metric, its label.
struct Exported(Count, &'static str, Option<(&'static str, &'static str)>);

const TRUNCATED: &str = "pointsman_dns_truncated_answers_total";
const DROPPED: &str = "pointsman_dns_dropped_messages_total";
const TRANSFERS: &str = "pointsman_dns_transfers_total";
const LIMITED: &str = "pointsman_dns_rate_limited_total";
const CLOSED: &str = "pointsman_dns_tcp_timeouts_total";
const QUERIES: &str = "pointsman_dns_queries_total";
const ZONES: &str = "pointsman_dns_zone_queries_total";
const OPEN: &str = "pointsman_dns_tcp_open_connections";

const EXPORTED: &[Exported] = &[
    Exported(Count::TruncatedUdp, TRUNCATED, Some(("transport", "udp"))),
    Exported(Count::TruncatedTcp, TRUNCATED, Some(("transport", "tcp"))),
    Exported(Count::TruncatedTls, TRUNCATED, Some(("transport", "tls"))),
    Exported(Count::TruncatedHttps, TRUNCATED, Some(("transport", "https"))),
    Exported(Count::DroppedShort, DROPPED, Some(("reason", "short"))),
    Exported(Count::DroppedResponse, DROPPED, Some(("reason", "response"))),
    Exported(Count::DroppedSend, DROPPED, Some(("reason", "send"))),
    Exported(Count::ImpossibleRecords, "pointsman_dns_impossible_records_total", None),
    Exported(Count::Cached, "pointsman_dns_cached_answers_total", None),
    Exported(Count::Helped, "pointsman_dns_search_answers_total", None),
    Exported(Count::TcpAccepted, "pointsman_dns_tcp_connections_total", None),
    Exported(Count::TcpIdle, CLOSED, Some(("reason", "idle"))),
    Exported(Count::TcpSlow, CLOSED, Some(("reason", "slow"))),
    Exported(Count::TcpCapped, "pointsman_dns_tcp_capped_total", None),
    Exported(Count::TlsFailed, "pointsman_dns_tls_failures_total", None),
    Exported(Count::HttpsRefused, "pointsman_dns_https_refused_total", None),
    Exported(Count::Transfers, TRANSFERS, Some(("result", "begun"))),
    Exported(Count::TransfersRefused, TRANSFERS, Some(("result", "refused"))),
    Exported(Count::BadSignatures, "pointsman_dns_bad_signatures_total", None),
    Exported(Count::Denied, "pointsman_dns_denied_queries_total", None),
    Exported(Count::LimitedDropped, LIMITED, Some(("action", "drop"))),
    Exported(Count::LimitedSlipped, LIMITED, Some(("action", "slip"))),
    Exported(Count::AcceptErrors, "pointsman_dns_accept_errors_total", None),
];

const HELP: &[(&str, &str)] = &[
    (QUERIES, "Answered queries by transport, type asked for and response code."),
    (ZONES, "Answered queries by the zone of the name asked for (outside: none of ours) and response code."),
    (TRUNCATED, "Answers that did not fit and were flagged as truncated."),
    (DROPPED, "Messages without an answer: too short, responses, or not taken by the kernel."),
    ("pointsman_dns_impossible_records_total", "Records left out of answers because no message can express them."),
    ("pointsman_dns_cached_answers_total", "Answers that were sent as they had been sent before."),
    ("pointsman_dns_search_answers_total", "Missing names answered with what the client's search path leads to."),
    ("pointsman_dns_tcp_connections_total", "TCP connections accepted."),
    (CLOSED, "TCP connections closed because nothing complete came, or answers were not taken, in time."),
    (
        "pointsman_dns_tcp_capped_total",
        "Times that the cap on TCP connections was reached, so that the next ones had to wait.",
    ),
    ("pointsman_dns_tls_failures_total", "Handshakes of TLS or HTTP/2 that failed or took too long."),
    ("pointsman_dns_https_refused_total", "Requests over HTTPS that carried no query, and got an error's status."),
    (TRANSFERS, "Transfers of zones asked for: begun, or refused."),
    ("pointsman_dns_bad_signatures_total", "Queries whose signature (TSIG) was no good."),
    ("pointsman_dns_denied_queries_total", "Queries that were refused because their client may not ask here."),
    (
        LIMITED,
        "Answers that were not sent (drop) or cut to nothing (slip), because too many equal ones went to one network.",
    ),
    ("pointsman_dns_accept_errors_total", "Accepts of TCP connections that failed."),
];

const OPEN_HELP: &str = "TCP connections that are open.";

/// One worker's counters.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// What forwarding counts, shared by all workers.
    pub forward: ForwardMetrics,
    queries: [[[AtomicU64; Rcode::ALL.len()]; TYPES.len() + 1]; Transport::ALL.len()],
    counts: [AtomicU64; Count::AcceptErrors as usize + 1],
    /// By the zone's number; made when a zone is asked for the first time.
    zones: Box<[OnceLock<Box<ByRcode>>]>,
}

/// A counter for each response code.
type ByRcode = [AtomicU64; Rcode::ALL.len()];

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self::new(ForwardMetrics::default())
    }
}

impl WorkerMetrics {
    fn new(forward: ForwardMetrics) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            forward,
            queries: std::array::from_fn(|_| std::array::from_fn(|_| std::array::from_fn(|_| zero()))),
            counts: std::array::from_fn(|_| zero()),
            zones: (0..SLOTS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, transport: Transport, answered: &Answered) {
        let kind = answered.record_type.map_or(TYPES.len(), type_index);
        add(&self.queries[transport as usize][kind][answered.rcode as usize], 1);
        if let Some(zone) = answered.zone.and_then(|zone| self.zones.get(zone.index())) {
            add(&zone.get_or_init(Box::default)[answered.rcode as usize], 1);
        }
        if answered.truncated {
            self.count(match transport {
                Transport::Udp => Count::TruncatedUdp,
                Transport::Tcp => Count::TruncatedTcp,
                Transport::Tls => Count::TruncatedTls,
                Transport::Https => Count::TruncatedHttps,
            });
        }
        if answered.impossible_records > 0 {
            add(&self.counts[Count::ImpossibleRecords as usize], u64::from(answered.impossible_records));
        }
    }

    /// Counts a message without an answer.
    pub fn ignored(&self, reason: Ignored) {
        self.count(match reason {
            Ignored::Short => Count::DroppedShort,
            Ignored::Response => Count::DroppedResponse,
        });
    }

    /// Counts one.
    pub fn count(&self, what: Count) {
        add(&self.counts[what as usize], 1);
    }

    /// How many have been counted.
    pub fn counted(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }
}

/// One writer a counter: a plain store is enough, and costs a fraction of a locked addition.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

fn type_index(asked: u16) -> usize {
    TYPES.iter().position(|(number, _)| *number == asked).unwrap_or(TYPES.len() - 1)
}

/// What operators call a type.
pub(crate) fn type_name(asked: u16) -> String {
    let named = TYPES.iter().find(|(number, _)| *number == asked && *number != 0);
    named.map_or_else(|| format!("TYPE{asked}"), |(_, name)| (*name).to_owned())
}

/// All workers' counters, as a registry collects them.
#[derive(Clone)]
pub struct DnsMetrics {
    workers: Arc<[Arc<WorkerMetrics>]>,
    descriptions: Arc<[Desc]>,
}

impl DnsMetrics {
    /// Makes the counters of `workers` workers and registers them.
    ///
    /// # Errors
    /// Metrics of these names are registered already.
    pub fn register(registry: &prometheus::Registry, workers: usize) -> prometheus::Result<Self> {
        let descriptions = HELP
            .iter()
            .chain([&(OPEN, OPEN_HELP)])
            .map(|(name, help)| Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new()));
        let forward = ForwardMetrics::new(workers)?;
        forward.register(registry)?;
        let metrics = Self {
            workers: (0..workers).map(|_| Arc::new(WorkerMetrics::new(forward.clone()))).collect(),
            descriptions: descriptions.collect::<Result<_, _>>()?,
        };
        registry.register(Box::new(metrics.clone()))?;
        Ok(metrics)
    }

    /// The counters of one worker. A worker that `register` was not told of gets counters that nobody collects.
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        self.workers.get(index).cloned().unwrap_or_default()
    }

    fn sum(&self, read: impl Fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| read(worker).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    fn queries(&self) -> Vec<Metric> {
        let mut series = Vec::new();
        let names = TYPES.iter().map(|(_, name)| *name).chain([NO_QUESTION]);
        for (kind, name) in names.enumerate() {
            for transport in Transport::ALL {
                for rcode in Rcode::ALL {
                    let value = self.sum(|worker| &worker.queries[transport as usize][kind][rcode as usize]);
                    // Most combinations never occur.
                    if value > 0 {
                        let labels = [("rcode", rcode.as_str()), ("transport", transport.as_str()), ("type", name)];
                        series.push(counter(&labels, value));
                    }
                }
            }
        }
        series
    }

    fn zones(&self) -> Vec<Metric> {
        let mut series = Vec::new();
        for (zone, name) in ZoneSlot::all() {
            for rcode in Rcode::ALL {
                let of = |worker: &Arc<WorkerMetrics>| {
                    worker.zones[zone.index()].get().map_or(0, |codes| codes[rcode as usize].load(Ordering::Relaxed))
                };
                let value = self.workers.iter().map(of).fold(0, u64::wrapping_add);
                if value > 0 {
                    series.push(counter(&[("rcode", rcode.as_str()), ("zone", &name)], value));
                }
            }
        }
        series
    }

    fn counters(&self, name: &str) -> Vec<Metric> {
        EXPORTED
            .iter()
            .filter(|exported| exported.1 == name)
            .map(|Exported(what, _, label)| {
                counter(label.as_slice(), self.sum(|worker| &worker.counts[*what as usize]))
            })
            .collect()
    }

    fn open_connections(&self) -> Metric {
        let sum = |what: Count| self.sum(|worker| &worker.counts[what as usize]);
        let mut gauge = Gauge::default();
        // Closed first: read the other way round, the difference could be negative.
        let closed = sum(Count::TcpClosed);
        gauge.set_value(sum(Count::TcpAccepted).saturating_sub(closed) as f64);
        Metric::from_gauge(gauge)
    }
}

impl Collector for DnsMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counters = HELP.iter().map(|(name, help)| {
            let series = match *name {
                QUERIES => self.queries(),
                ZONES => self.zones(),
                name => self.counters(name),
            };
            family(name, help, MetricType::COUNTER, series)
        });
        let open = family(OPEN, OPEN_HELP, MetricType::GAUGE, vec![self.open_connections()]);
        counters.chain([open]).filter(|family| !family.get_metric().is_empty()).collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, series: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(series);
    family
}

fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels.iter().map(pair).collect());
    metric.set_counter(counter);
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up_under_closed_labels() {
        let registry = prometheus::Registry::new();
        let metrics = DnsMetrics::register(&registry, 2).unwrap();
        let answered = |record_type, rcode| Answered { truncated: true, ..Answered::plain(record_type, rcode) };
        metrics.worker(0).answered(Transport::Udp, &answered(Some(record_type::A), Rcode::NoError));
        metrics.worker(1).answered(Transport::Udp, &answered(Some(record_type::A), Rcode::NoError));
        metrics.worker(1).answered(Transport::Tcp, &answered(Some(4711), Rcode::NxDomain));
        metrics.worker(1).answered(Transport::Tcp, &answered(None, Rcode::FormErr));
        metrics.worker(0).count(Count::TcpAccepted);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"pointsman_dns_queries_total{rcode="NOERROR",transport="udp",type="A"} 2"#,
            r#"pointsman_dns_queries_total{rcode="NXDOMAIN",transport="tcp",type="OTHER"} 1"#,
            r#"pointsman_dns_queries_total{rcode="FORMERR",transport="tcp",type="NONE"} 1"#,
            r#"pointsman_dns_truncated_answers_total{transport="tcp"} 2"#,
            "pointsman_dns_tcp_open_connections 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(DnsMetrics::register(&registry, 1).is_err());
    }
}
