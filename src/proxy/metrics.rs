//! What the proxy counts: a shard per worker, summed when somebody asks.
//!
//! A worker is the only writer of its shard, so counting is a load and a store. Services have counters of their own up
//! to [`MAX_SERVICES`]; the rest is counted as `other`. The lock around the list of services is taken when a service
//! is seen for the first time, when it is forgotten, and at a scrape: never for a request of a known one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter as CounterValue, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::balance::outliers::Outlier;
use super::frame_guard::Flood;
use super::reason::Reason;
use super::tls::refusal::Refusal;
use crate::model::id::ServiceId;

/// Services with counters of their own, per worker.
pub const MAX_SERVICES: usize = 1000;

/// Upper bounds of the duration buckets, microseconds.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
    60_000_000,
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts of one service.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    classes: [Counter; CLASSES.len()],
    buckets: [Counter; BOUNDS.len() + 1],
    micros: Counter,
}

impl ServiceCounters {
    /// Counts a request that is over.
    pub fn finished(&self, status: StatusCode, duration: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.classes[class].increment();
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.add(micros);
        self.buckets[BOUNDS.partition_point(|bound| *bound < micros)].increment();
    }
}

/// What one worker counts of a service's requests, for whoever looks at it as a whole.
#[derive(Debug, Default)]
pub struct ServiceTally {
    requests: Counter,
    lost: Counter,
    cut: Counter,
}

/// What became of a service's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that are over, and connections of TCP that began.
    pub requests: u64,
    /// Of these: no endpoint answered, and the client was told an error in its place.
    pub lost: u64,
    /// Of these: the answer broke off after its beginning.
    pub cut: u64,
}

impl ServiceTally {
    /// Counts a request that is over.
    pub fn finished(&self, is_lost: bool, is_cut: bool) {
        self.requests.increment();
        self.lost.add(is_lost.into());
        self.cut.add(is_cut.into());
    }
}

impl Tally {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            lost: self.lost.saturating_sub(earlier.lost),
            cut: self.cut.saturating_sub(earlier.cut),
        }
    }
}

/// Requests that filters refused, by the filter's name and the reason: as many as are configured have names.
type Refusals = BTreeMap<(Arc<str>, &'static str), u64>;

macro_rules! shard {
    ($($field:ident $name:literal $kind:ident $label:tt $help:literal;)*) => {
        /// What one worker counts.
        #[derive(Debug)]
        pub struct Shard {
            $(#[doc = $help] pub $field: Counter,)*
            local_answers: Box<[Counter]>,
            other: Arc<ServiceCounters>,
            services: Mutex<HashMap<ServiceId, Arc<ServiceCounters>>>,
            tallies: Mutex<HashMap<ServiceId, Arc<ServiceTally>>>,
            refusals: Mutex<Refusals>,
        }

        impl Default for Shard {
            fn default() -> Self {
                Self {
                    $($field: Counter::default(),)*
                    local_answers: Reason::ALL.iter().map(|_| Counter::default()).collect(),
                    other: Arc::default(),
                    services: Mutex::default(),
                    tallies: Mutex::default(),
                    refusals: Mutex::default(),
                }
            }
        }

        const PLAIN: &[Plain] = &[
            $(Plain { name: $name, help: $help, label: $label, read: |shard| shard.$field.value() },)*
        ];
    };
}

struct Plain {
    name: &'static str,
    help: &'static str,
    label: Option<(&'static str, &'static str)>,
    read: fn(&Shard) -> u64,
}

shard! {
    client_opened "pointsman_proxy_client_connections_opened_total" counter None
        "Connections accepted from clients.";
    client_closed "pointsman_proxy_client_connections_closed_total" counter None
        "Connections from clients that have ended.";
    client_full "pointsman_proxy_client_connections_limited_total" counter None
        "Times that accepting stopped because the worker was at its limit of connections.";
    floods_ping "pointsman_proxy_client_floods_total" counter (Some(("kind", "ping")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_settings "pointsman_proxy_client_floods_total" counter (Some(("kind", "settings")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_priority "pointsman_proxy_client_floods_total" counter (Some(("kind", "priority")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_reset "pointsman_proxy_client_floods_total" counter (Some(("kind", "reset")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_abandoned "pointsman_proxy_client_floods_total" counter (Some(("kind", "abandoned")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_empty_data "pointsman_proxy_client_floods_total" counter (Some(("kind", "empty-data")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_continuation "pointsman_proxy_client_floods_total" counter (Some(("kind", "continuation")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    floods_http2_limits "pointsman_proxy_client_floods_total" counter (Some(("kind", "http2-limits")))
        "Connections over HTTP/2 that were cut off because of too much of something, by what it was.";
    accept_errors "pointsman_proxy_accept_errors_total" counter None
        "Failed accepts, for want of file descriptors or memory above all.";
    tls_failures "pointsman_proxy_tls_failures_total" counter None
        "TLS handshakes that failed.";
    refused_revoked "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "revoked")))
        "Certificates of clients that were not accepted, by reason.";
    refused_no_list "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "no-revocation-list")))
        "Certificates of clients that were not accepted, by reason.";
    refused_list_outdated "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "revocation-list-outdated")))
        "Certificates of clients that were not accepted, by reason.";
    refused_unknown_authority "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "unknown-authority")))
        "Certificates of clients that were not accepted, by reason.";
    refused_out_of_date "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "out-of-date")))
        "Certificates of clients that were not accepted, by reason.";
    refused_missing "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "missing")))
        "Certificates of clients that were not accepted, by reason.";
    refused_invalid "pointsman_proxy_client_certificates_refused_total" counter (Some(("reason", "invalid")))
        "Certificates of clients that were not accepted, by reason.";
    tls_displaced "pointsman_proxy_tls_handshakes_displaced_total" counter None
        "TLS handshakes that were ended because too many were under way and no other had waited for so long.";
    upstream_opened "pointsman_proxy_upstream_connections_opened_total" counter None
        "Connections opened to endpoints.";
    upstream_closed "pointsman_proxy_upstream_connections_closed_total" counter None
        "Connections to endpoints that have ended.";
    upstream_reused "pointsman_proxy_upstream_connections_reused_total" counter None
        "Requests sent on a kept connection.";
    retries_fresh "pointsman_proxy_retries_total" counter (Some(("kind", "fresh_connection")))
        "Requests sent again, by what was done.";
    retries_other "pointsman_proxy_retries_total" counter (Some(("kind", "other_endpoint")))
        "Requests sent again, by what was done.";
    retries_denied "pointsman_proxy_retries_denied_total" counter None
        "Requests that were not sent again because the service's budget was spent.";
    hedges_sent "pointsman_proxy_hedges_total" counter (Some(("outcome", "sent")))
        "Second copies of slow requests, by what became of them: `won` are those of `sent` that answered first.";
    hedges_won "pointsman_proxy_hedges_total" counter (Some(("outcome", "won")))
        "Second copies of slow requests, by what became of them: `won` are those of `sent` that answered first.";
    hedges_denied "pointsman_proxy_hedges_total" counter (Some(("outcome", "denied")))
        "Second copies of slow requests, by what became of them: `won` are those of `sent` that answered first.";
    queue_entered "pointsman_proxy_queued_total" counter None
        "Requests that waited for room at an endpoint of their service.";
    queue_left "pointsman_proxy_queued_ended_total" counter None
        "Requests that wait no longer: they were sent, refused, or their client went away.";
    ejections "pointsman_proxy_ejections_total" counter None
        "Times that an endpoint was spared because it failed.";
    outliers_rate "pointsman_proxy_outliers_total" counter (Some(("kind", "success-rate")))
        "Of the ejections: those of endpoints that did worse than the others of their service, by what it was seen by.";
    outliers_share "pointsman_proxy_outliers_total" counter (Some(("kind", "failure-share")))
        "Of the ejections: those of endpoints that did worse than the others of their service, by what it was seen by.";
    restorations "pointsman_proxy_restorations_total" counter None
        "Times that a spared endpoint was taken back.";
    panic_picks "pointsman_proxy_panic_picks_total" counter None
        "Requests for which spared endpoints counted again, because too few others were left.";
    zone_own "pointsman_proxy_zone_picks_total" counter (Some(("zone", "own")))
        "Requests for which a zone was drawn, by whether it was the proxy's own.";
    zone_other "pointsman_proxy_zone_picks_total" counter (Some(("zone", "other")))
        "Requests for which a zone was drawn, by whether it was the proxy's own.";
    cut_answers "pointsman_proxy_cut_answers_total" counter None
        "Answers that broke off after their beginning; the client was told by a cut connection or a reset stream.";
    lost_requests "pointsman_proxy_lost_requests_total" counter None
        "Requests that no endpoint of their service answered, and that were answered with an error in its place.";
    client_gone "pointsman_proxy_client_gone_total" counter None
        "Requests whose client went away before the answer's end.";
    upgrades "pointsman_proxy_upgrades_total" counter None
        "Connections that were upgraded (WebSocket).";
    announced "pointsman_proxy_protocol_headers_total" counter (Some(("outcome", "read")))
        "Connections that had to begin with a header of the PROXY protocol, by what came of it.";
    announced_badly "pointsman_proxy_protocol_headers_total" counter (Some(("outcome", "invalid")))
        "Connections that had to begin with a header of the PROXY protocol, by what came of it.";
    announced_late "pointsman_proxy_protocol_headers_total" counter (Some(("outcome", "late")))
        "Connections that had to begin with a header of the PROXY protocol, by what came of it.";
    passthrough_carried "pointsman_proxy_passthrough_connections_total" counter (Some(("outcome", "carried")))
        "TLS connections of listeners with `passthrough`, by what became of them.";
    passthrough_ended "pointsman_proxy_passthrough_connections_total" counter (Some(("outcome", "ended-here")))
        "TLS connections of listeners with `passthrough`, by what became of them.";
    passthrough_unknown "pointsman_proxy_passthrough_connections_total" counter (Some(("outcome", "unknown-name")))
        "TLS connections of listeners with `passthrough`, by what became of them.";
    passthrough_invalid "pointsman_proxy_passthrough_connections_total" counter (Some(("outcome", "invalid")))
        "TLS connections of listeners with `passthrough`, by what became of them.";
    upstream_tls_made "pointsman_proxy_upstream_tls_handshakes_total" counter (Some(("outcome", "made")))
        "TLS handshakes with endpoints, by what became of them.";
    upstream_tls_certificate "pointsman_proxy_upstream_tls_handshakes_total" counter (Some(("outcome", "certificate")))
        "TLS handshakes with endpoints, by what became of them.";
    upstream_tls_revoked "pointsman_proxy_upstream_tls_handshakes_total" counter (Some(("outcome", "revoked")))
        "TLS handshakes with endpoints, by what became of them.";
    upstream_tls_failed "pointsman_proxy_upstream_tls_handshakes_total" counter (Some(("outcome", "failed")))
        "TLS handshakes with endpoints, by what became of them.";
    tcp_carried "pointsman_proxy_tcp_connections_total" counter (Some(("outcome", "carried")))
        "Plain TCP connections, by what became of them.";
    tcp_failed "pointsman_proxy_tcp_connections_total" counter (Some(("outcome", "failed")))
        "Plain TCP connections, by what became of them.";
    tcp_refused "pointsman_proxy_tcp_connections_total" counter (Some(("outcome", "refused")))
        "Plain TCP connections, by what became of them.";
    timeout_head "pointsman_proxy_timeouts_total" counter (Some(("kind", "head")))
        "Times that a limit of time ended something, by limit.";
    timeout_attempt "pointsman_proxy_timeouts_total" counter (Some(("kind", "attempt")))
        "Times that a limit of time ended something, by limit.";
    timeout_answer "pointsman_proxy_timeouts_total" counter (Some(("kind", "answer")))
        "Times that a limit of time ended something, by limit.";
    timeout_connect "pointsman_proxy_timeouts_total" counter (Some(("kind", "connect")))
        "Times that a limit of time ended something, by limit.";
    timeout_body "pointsman_proxy_timeouts_total" counter (Some(("kind", "body")))
        "Times that a limit of time ended something, by limit.";
    timeout_write "pointsman_proxy_timeouts_total" counter (Some(("kind", "write")))
        "Times that a limit of time ended something, by limit.";
    address_full "pointsman_proxy_client_connections_refused_total" counter None
        "Connections that were closed at once because their network held too many.";
    foreign "pointsman_proxy_foreign_connections_total" counter None
        "Connections in clear text that were closed because their first line is none of HTTP's.";
    uploads_paused "pointsman_proxy_uploads_paused_total" counter None
        "Times that an HTTP/2 connection was not read from for a while, because too much waited already.";
    held_added "pointsman_proxy_buffered_bytes_added_total" counter None
        "Octets of bodies that were taken into memory to wait for somebody.";
    held_removed "pointsman_proxy_buffered_bytes_removed_total" counter None
        "Octets of bodies that wait no longer.";
    drained_requests "pointsman_proxy_drained_total" counter (Some(("kind", "request")))
        "What hung on an endpoint that went away until its drain time was over, and was cut.";
    drained_answers "pointsman_proxy_drained_total" counter (Some(("kind", "answer")))
        "What hung on an endpoint that went away until its drain time was over, and was cut.";
    drained_upgrades "pointsman_proxy_drained_total" counter (Some(("kind", "upgrade")))
        "What hung on an endpoint that went away until its drain time was over, and was cut.";
    pages_given "pointsman_proxy_error_pages_total" counter (Some(("outcome", "given")))
        "Pages for errors that services were asked for, by what came of it.";
    pages_failed "pointsman_proxy_error_pages_total" counter (Some(("outcome", "failed")))
        "Pages for errors that services were asked for, by what came of it.";
    services_limited "pointsman_proxy_services_limited_total" counter None
        "Requests counted as `other` because too many services have counters already.";
}

impl Shard {
    /// Octets of bodies that wait in this worker's memory.
    pub fn held(&self) -> u64 {
        self.held_added.value().saturating_sub(self.held_removed.value())
    }

    /// Counts a connection that was cut off for a flood.
    pub fn flooded(&self, flood: Flood) {
        let counter = match flood {
            Flood::Ping => &self.floods_ping,
            Flood::Settings => &self.floods_settings,
            Flood::Priority => &self.floods_priority,
            Flood::Reset => &self.floods_reset,
            Flood::Abandoned => &self.floods_abandoned,
            Flood::EmptyData => &self.floods_empty_data,
            Flood::Continuation => &self.floods_continuation,
            Flood::Library => &self.floods_http2_limits,
        };
        counter.increment();
    }

    /// Counts an endpoint that was spared because it did worse than the others.
    pub fn outlier(&self, outlier: Outlier) {
        match outlier {
            Outlier::SuccessRate => self.outliers_rate.increment(),
            Outlier::FailureShare => self.outliers_share.increment(),
        }
    }

    /// Counts a TLS handshake with a client that failed, perhaps for its certificate.
    pub fn handshake_failed(&self, refusal: Option<Refusal>) {
        self.tls_failures.increment();
        let Some(refusal) = refusal else { return };
        let counter = match refusal {
            Refusal::Revoked => &self.refused_revoked,
            Refusal::NoList => &self.refused_no_list,
            Refusal::ListOutdated => &self.refused_list_outdated,
            Refusal::UnknownAuthority => &self.refused_unknown_authority,
            Refusal::OutOfDate => &self.refused_out_of_date,
            Refusal::Missing => &self.refused_missing,
            Refusal::Invalid => &self.refused_invalid,
        };
        counter.increment();
    }

    /// Counts an answer that this proxy gave by itself.
    pub fn answered_locally(&self, reason: Reason) {
        self.local_answers[reason.index()].increment();
    }

    /// Counts a request that a filter refused. Nobody else writes here, and who reads copies.
    pub fn refused_by(&self, filter: Arc<str>, reason: Reason) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry((filter, reason.code())).or_default() += 1;
    }

    /// The counters of a service; those of `other` where there are too many.
    pub fn service(&self, id: &ServiceId) -> Arc<ServiceCounters> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get(id) {
            return known.clone();
        }
        if services.len() >= MAX_SERVICES {
            self.services_limited.increment();
            return self.other.clone();
        }
        services.entry(id.clone()).or_default().clone()
    }

    /// The tally of a service.
    pub fn tally(&self, id: &ServiceId) -> Arc<ServiceTally> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.get(id).cloned().unwrap_or_else(|| tallies.entry(id.clone()).or_default().clone())
    }

    /// The counters of requests that belong to no service.
    pub fn other(&self) -> &Arc<ServiceCounters> {
        &self.other
    }

    /// Forgets a service that is gone.
    pub fn forget(&self, service: &ServiceId) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }
}

/// All shards; what is registered with Prometheus.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    shards: Arc<[Arc<Shard>]>,
    descriptions: Arc<[Desc]>,
}

impl ProxyMetrics {
    /// Shards for so many workers.
    pub fn new(workers: usize) -> Self {
        let described = |name: &str, help: &str| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new()).expect("names and help are valid")
        };
        let mut names: BTreeMap<&str, &str> = PLAIN.iter().map(|plain| (plain.name, plain.help)).collect();
        names.extend([(REQUESTS, REQUESTS_HELP), (DURATIONS, DURATIONS_HELP), (LOCAL, LOCAL_HELP)]);
        names.extend([(REFUSALS, REFUSALS_HELP)]);
        names.extend([(CLIENTS, CLIENTS_HELP), (UPSTREAMS, UPSTREAMS_HELP), (HELD, HELD_HELP), (QUEUED, QUEUED_HELP)]);
        Self {
            shards: (0..workers.max(1)).map(|_| Arc::default()).collect(),
            descriptions: names.into_iter().map(|(name, help)| described(name, help)).collect(),
        }
    }

    /// Makes the numbers part of a registry.
    ///
    /// # Errors
    /// If they are part of it already.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.clone()))
    }

    /// The shard of a worker.
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        self.shards[worker % self.shards.len()].clone()
    }

    /// What all workers counted of a service so far.
    pub fn tally(&self, service: &ServiceId) -> Tally {
        let mut sum = Tally::default();
        for shard in self.shards.iter() {
            if let Some(tally) = shard.tallies.lock().unwrap_or_else(PoisonError::into_inner).get(service) {
                sum.requests += tally.requests.value();
                sum.lost += tally.lost.value();
                sum.cut += tally.cut.value();
            }
        }
        sum
    }

    fn sum(&self, read: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(|shard| read(shard)).fold(0, u64::wrapping_add)
    }

    fn refusals(&self) -> Vec<Metric> {
        let mut sum = Refusals::new();
        for shard in self.shards.iter() {
            for (key, count) in shard.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *sum.entry(key.clone()).or_default() += count;
            }
        }
        let metric = |((filter, reason), count): (&(Arc<str>, &str), &u64)| {
            counter(&[("filter", filter), ("reason", reason)], *count)
        };
        sum.iter().map(metric).collect()
    }

    fn by_service(&self) -> BTreeMap<String, Vec<Arc<ServiceCounters>>> {
        let mut all: BTreeMap<String, Vec<Arc<ServiceCounters>>> = BTreeMap::new();
        for shard in self.shards.iter() {
            all.entry("other".to_owned()).or_default().push(shard.other.clone());
            let services = shard.services.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, counters) in services.iter() {
                all.entry(id.to_string()).or_default().push(counters.clone());
            }
        }
        all
    }
}

const REQUESTS: &str = "pointsman_proxy_requests_total";
const REQUESTS_HELP: &str = "Requests that are over, by service and class of status.";
const DURATIONS: &str = "pointsman_proxy_request_duration_seconds";
const DURATIONS_HELP: &str = "From a request's head to the end of its answer.";
const LOCAL: &str = "pointsman_proxy_local_answers_total";
const LOCAL_HELP: &str = "Answers that the proxy gave by itself, by reason.";
const REFUSALS: &str = "pointsman_proxy_filter_refusals_total";
const REFUSALS_HELP: &str = "Requests that a filter refused, by filter and reason.";
const CLIENTS: &str = "pointsman_proxy_client_connections";
const CLIENTS_HELP: &str = "Connections from clients that are open.";
const UPSTREAMS: &str = "pointsman_proxy_upstream_connections";
const UPSTREAMS_HELP: &str = "Connections to endpoints that are open, idle ones included.";
const QUEUED: &str = "pointsman_proxy_queued";
const QUEUED_HELP: &str = "Requests that wait for room at an endpoint of their service.";
const HELD: &str = "pointsman_proxy_buffered_bytes";
const HELD_HELP: &str = "Octets of bodies that wait in memory: for a slow reader, or for another attempt.";

impl Collector for ProxyMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let services = self.by_service();
        let mut families = vec![requests(&services), durations(&services)];
        let local = Reason::ALL.iter().map(|reason| {
            counter(&[("reason", reason.code())], self.sum(|shard| shard.local_answers[reason.index()].value()))
        });
        families.push(family(LOCAL, LOCAL_HELP, MetricType::COUNTER, local.collect()));
        families.push(family(REFUSALS, REFUSALS_HELP, MetricType::COUNTER, self.refusals()));
        let mut plain: BTreeMap<&str, (&str, Vec<Metric>)> = BTreeMap::new();
        for entry in PLAIN {
            let labels: Vec<_> = entry.label.into_iter().collect();
            let metric = counter(&labels, self.sum(entry.read));
            plain.entry(entry.name).or_insert((entry.help, Vec::new())).1.push(metric);
        }
        let plain = plain.into_iter().map(|(name, (help, all))| family(name, help, MetricType::COUNTER, all));
        families.extend(plain);
        let clients = self.sum(|s| s.client_opened.value()).saturating_sub(self.sum(|s| s.client_closed.value()));
        let upstreams = self.sum(|s| s.upstream_opened.value()).saturating_sub(self.sum(|s| s.upstream_closed.value()));
        families.push(family(CLIENTS, CLIENTS_HELP, MetricType::GAUGE, vec![gauge(clients)]));
        families.push(family(UPSTREAMS, UPSTREAMS_HELP, MetricType::GAUGE, vec![gauge(upstreams)]));
        let queued = self.sum(|s| s.queue_entered.value()).saturating_sub(self.sum(|s| s.queue_left.value()));
        families.push(family(QUEUED, QUEUED_HELP, MetricType::GAUGE, vec![gauge(queued)]));
        families.push(family(HELD, HELD_HELP, MetricType::GAUGE, vec![gauge(self.sum(Shard::held))]));
        families
    }
}

fn requests(services: &BTreeMap<String, Vec<Arc<ServiceCounters>>>) -> MetricFamily {
    let metrics = services.iter().flat_map(|(service, shards)| {
        CLASSES.iter().enumerate().map(move |(class, code)| {
            let sum = shards.iter().map(|shard| shard.classes[class].value()).sum();
            counter(&[("service", service), ("code", code)], sum)
        })
    });
    family(REQUESTS, REQUESTS_HELP, MetricType::COUNTER, metrics.collect())
}

fn durations(services: &BTreeMap<String, Vec<Arc<ServiceCounters>>>) -> MetricFamily {
    let metrics = services.iter().map(|(service, shards)| {
        let count = |bucket: usize| shards.iter().map(|shard| shard.buckets[bucket].value()).sum::<u64>();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (index, bound) in BOUNDS.iter().enumerate() {
            cumulative += count(index);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound));
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_sample_count(cumulative + count(BOUNDS.len()));
        histogram.set_sample_sum(seconds(shards.iter().map(|shard| shard.micros.value()).sum()));
        histogram.set_bucket(buckets);
        let mut metric = Metric::from_label(labels(&[("service", service)]));
        metric.set_histogram(histogram);
        metric
    });
    family(DURATIONS, DURATIONS_HELP, MetricType::HISTOGRAM, metrics.collect())
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn counter(pairs: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = CounterValue::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_counter(counter);
    metric
}

fn gauge(value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    Metric::from_gauge(gauge)
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let mut labels: Vec<_> = pairs
        .iter()
        .map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        })
        .collect();
    labels.sort_by(|a, b| a.name().cmp(b.name()));
    labels
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed() {
        let metrics = ProxyMetrics::new(2);
        let registry = prometheus::Registry::new();
        metrics.register(&registry).unwrap();
        let id = ServiceId::new("c".into(), "f", "web", "0");
        for worker in 0..2 {
            let shard = metrics.shard(worker);
            shard.service(&id).finished(StatusCode::OK, Duration::from_millis(3));
            shard.answered_locally(Reason::NoRoute);
            shard.client_opened.add(2);
            shard.client_closed.increment();
        }
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            &*format!("pointsman_proxy_requests_total{{code=\"2xx\",service=\"{id}\"}} 2"),
            &*format!("pointsman_proxy_request_duration_seconds_bucket{{service=\"{id}\",le=\"0.0025\"}} 0"),
            &*format!("pointsman_proxy_request_duration_seconds_bucket{{service=\"{id}\",le=\"0.005\"}} 2"),
            "pointsman_proxy_local_answers_total{reason=\"no-route\"} 2",
            "pointsman_proxy_client_connections 2",
            "pointsman_proxy_timeouts_total{kind=\"head\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn services_are_bounded_and_forgotten() {
        let shard = Shard::default();
        let id = |number: usize| ServiceId::new("c".into(), "f", number.to_string(), "0");
        for number in 0..MAX_SERVICES {
            shard.service(&id(number));
        }
        assert!(Arc::ptr_eq(&shard.service(&id(MAX_SERVICES)), shard.other()));
        assert_eq!(shard.services_limited.value(), 1);
        shard.forget(&id(7));
        assert!(!Arc::ptr_eq(&shard.service(&id(MAX_SERVICES)), shard.other()));
    }
}
