//! What forwarding counts. Shared by all workers: nothing here is on the path of a name of ours.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};

/// The metrics of forwarding, and among how many workers the memory is shared.
#[derive(Clone, Debug)]
pub struct ForwardMetrics {
    /// Workers that share the memory for kept answers.
    pub workers: usize,
    latency: HistogramVec,
    failures: IntCounterVec,
    lookups: Counted,
    denied: Counted,
    pub(super) coalesced: IntCounter,
    pub(super) prefetches: IntCounter,
    pub(super) evictions: IntCounter,
    pub(super) entries: IntGauge,
    pub(super) bytes: IntGauge,
    pub(super) waiting: IntGauge,
}

/// A counter with one label, its series in the order of an enumeration.
#[derive(Clone, Debug)]
struct Counted {
    all: IntCounterVec,
    each: [IntCounter; 3],
}

impl Counted {
    fn new(all: IntCounterVec, values: [&str; 3]) -> Self {
        let each = values.map(|value| all.with_label_values(&[value]));
        Self { all, each }
    }
}

/// How a look-up among kept answers ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lookup {
    Hit,
    Miss,
    Stale,
}

/// Why a client is not served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Denial {
    /// It is in none of the allowed networks.
    Client,
    /// Too many wait already.
    Overload,
    /// The query is our own and came back.
    Loop,
}

/// Why an upstream server's answer was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Slow,
    Unreachable,
    Rcode,
    Invalid,
}

impl ForwardMetrics {
    /// Metrics that nobody collects yet.
    ///
    /// # Errors
    /// A name is no metric's: never.
    pub fn new(workers: usize) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        Ok(Self {
            workers: workers.max(1),
            latency: HistogramVec::new(
                HistogramOpts::new(
                    "pointsman_dns_forward_latency_seconds",
                    "How long upstream DNS servers take to answer",
                )
                .buckets(exponential_buckets(0.0005, 2.0, 14)?),
                &["upstream"],
            )?,
            failures: counters(
                "pointsman_dns_forward_failures_total",
                "Queries that an upstream DNS server did not answer usefully: slow, unreachable, an error's rcode, \
                 octets that are no answer to the query",
                &["upstream", "reason"],
            )?,
            lookups: Counted::new(
                counters(
                    "pointsman_dns_cache_lookups_total",
                    "Look-ups among kept answers: hit, miss, stale (served past its time)",
                    &["result"],
                )?,
                ["hit", "miss", "stale"],
            ),
            denied: Counted::new(
                counters(
                    "pointsman_dns_forward_denied_total",
                    "Queries that were not forwarded: from a client that is not allowed, too many waiting, a loop",
                    &["reason"],
                )?,
                ["client", "overload", "loop"],
            ),
            coalesced: IntCounter::new(
                "pointsman_dns_forward_coalesced_total",
                "Queries that waited for the answer to an equal one",
            )?,
            prefetches: IntCounter::new(
                "pointsman_dns_cache_prefetches_total",
                "Answers fetched again shortly before their time",
            )?,
            evictions: IntCounter::new("pointsman_dns_cache_evictions_total", "Kept answers that had to make room")?,
            entries: IntGauge::new("pointsman_dns_cache_entries", "Answers that are kept")?,
            bytes: IntGauge::new("pointsman_dns_cache_bytes", "Memory that kept answers take")?,
            waiting: IntGauge::new("pointsman_dns_forward_waiting", "Queries that wait for upstream DNS servers")?,
        })
    }

    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let collectors: [Box<dyn Collector>; 10] = [
            Box::new(self.latency.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.lookups.all.clone()),
            Box::new(self.denied.all.clone()),
            Box::new(self.coalesced.clone()),
            Box::new(self.prefetches.clone()),
            Box::new(self.evictions.clone()),
            Box::new(self.entries.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.waiting.clone()),
        ];
        collectors.into_iter().try_for_each(|collector| registry.register(collector))
    }

    pub(super) fn lookup(&self, lookup: Lookup) {
        self.lookups.each[lookup as usize].inc();
    }

    pub(crate) fn denied(&self, denial: Denial) {
        self.denied.each[denial as usize].inc();
    }

    pub(super) fn latency(&self, upstream: &str) -> Histogram {
        self.latency.with_label_values(&[upstream])
    }

    pub(super) fn failures(&self, upstream: &str, reason: Reason) -> IntCounter {
        let reason = match reason {
            Reason::Slow => "slow",
            Reason::Unreachable => "unreachable",
            Reason::Rcode => "rcode",
            Reason::Invalid => "invalid",
        };
        self.failures.with_label_values(&[upstream, reason])
    }
}

impl Default for ForwardMetrics {
    fn default() -> Self {
        Self::new(1).expect("the names above are metrics' names")
    }
}
