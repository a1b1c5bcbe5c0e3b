//! `/metrics`: what the table says, and what this API itself does.
//!
//! Facts of the table are read when somebody asks; whoever owns another behaviour registers its metrics elsewhere on
//! the same registry.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::problems;
use super::process::ProcessMetrics;
use super::reply::{Answer, ApiError, Reply};
use crate::model::drain::DrainSubject;
use crate::model::endpoint::EndpointState;
use crate::model::problem::ProblemCode;
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::handle::TableHandle;
use crate::table::status::SourceState;

/// What the API counts of itself.
#[derive(Clone, Debug)]
pub(crate) struct AdminMetrics {
    /// Answers by call and status.
    pub requests: IntCounterVec,
    /// Times that a listener waited because all its connections were in use.
    pub connections_limited: IntCounter,
    /// Streams of events that are open.
    pub streams: IntGauge,
}

impl AdminMetrics {
    /// Registers the API's own metrics, the table's and the process's.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub(crate) fn register(registry: &Registry, table: &Arc<TableHandle>, workers: usize) -> prometheus::Result<Self> {
        let requests = Opts::new("pointsman_admin_requests_total", "Answers of the admin API");
        let limited = "Times that an admin listener waited because all its connections were in use";
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["call", "code"])?,
            connections_limited: IntCounter::new("pointsman_admin_connections_limited_total", limited)?,
            streams: IntGauge::new("pointsman_admin_event_streams", "Streams of events that are open")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.connections_limited.clone()))?;
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(ProcessMetrics::new()?))?;
        let threads = IntGauge::new("pointsman_workers", "Worker threads")?;
        threads.set(saturating(workers));
        registry.register(Box::new(threads))?;
        registry.register(Box::new(TableMetrics::new(table.clone())?))?;
        Ok(metrics)
    }
}

/// GET /metrics.
pub(crate) fn text(registry: &Registry) -> Answer {
    let mut body = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut body).map_err(|error| ApiError::internal(&error))?;
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(Reply { status: http::StatusCode::OK, content_type, body: body.into() })
}

/// Facts of the current table.
struct TableMetrics {
    table: Arc<TableHandle>,
    gauges: Gauges,
    /// One reader at a time fills the gauges; the value is the newest version whose content was counted.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    counted: Option<(u64, u64)>,
}

struct Gauges {
    generation: IntGauge,
    age: Gauge,
    ready: IntGauge,
    stale: IntGauge,
    services: IntGauge,
    services_in_panic: IntGauge,
    routes: IntGauge,
    tasks: IntGauge,
    endpoints: IntGaugeVec,
    problems: IntGaugeVec,
    source_state: IntGaugeVec,
    source_tasks: IntGaugeVec,
    source_held: IntGaugeVec,
    drains: IntGaugeVec,
    build: IntGaugeVec,
}

impl Gauges {
    fn new() -> prometheus::Result<Self> {
        let labelled = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        Ok(Self {
            generation: IntGauge::new("pointsman_table_generation", "The version of the table in force")?,
            age: Gauge::new("pointsman_table_age_seconds", "Time since the table in force was published")?,
            ready: IntGauge::new("pointsman_table_ready", "Whether every source has spoken once")?,
            stale: IntGauge::new("pointsman_table_stale", "Whether a source is not live")?,
            services: IntGauge::new("pointsman_table_services", "Services")?,
            services_in_panic: IntGauge::new(
                "pointsman_table_services_in_panic",
                "Services whose unhealthy endpoints are served because none is ready",
            )?,
            routes: IntGauge::new("pointsman_table_routes", "Routes")?,
            tasks: IntGauge::new("pointsman_table_tasks", "Tasks")?,
            endpoints: labelled("pointsman_table_endpoints", "Endpoints by state", &["state"])?,
            problems: labelled("pointsman_table_problems", "Problems by kind", &["code"])?,
            source_state: labelled("pointsman_source_state", "1 for the state a source is in", &["source", "state"])?,
            source_tasks: labelled("pointsman_source_tasks", "Tasks known from a source", &["source"])?,
            source_held: labelled("pointsman_source_removals_held", "Removals that the guard holds back", &["source"])?,
            drains: labelled("pointsman_table_drains", "What operators took out of service, by kind", &["kind"])?,
            build: labelled("pointsman_build_info", "1; the version is the label", &["version"])?,
        })
    }

    fn all(&self) -> [&dyn Collector; 15] {
        [
            &self.generation,
            &self.age,
            &self.ready,
            &self.stale,
            &self.services,
            &self.services_in_panic,
            &self.routes,
            &self.tasks,
            &self.endpoints,
            &self.problems,
            &self.source_state,
            &self.source_tasks,
            &self.source_held,
            &self.drains,
            &self.build,
        ]
    }

    /// What costs nothing to read.
    fn set_plain(&self, table: &Table, now: Timestamp) {
        self.generation.set(i64::try_from(table.generation).unwrap_or(i64::MAX));
        self.age.set(now.since(table.built_at).as_secs_f64());
        self.ready.set(table.ready.into());
        self.stale.set(table.is_stale().into());
        self.services.set(saturating(table.services.len()));
        self.tasks.set(saturating(table.tasks.len()));
        self.source_state.reset();
        self.source_tasks.reset();
        self.source_held.reset();
        for source in table.sources.iter() {
            let name = source.name.as_str();
            for state in [SourceState::Waiting, SourceState::Live, SourceState::Stale] {
                self.source_state.with_label_values(&[name, state.as_str()]).set((source.state == state).into());
            }
            self.source_tasks.with_label_values(&[name]).set(saturating(source.tasks));
            let held = source.held.as_ref().map_or(0, |held| held.tasks);
            self.source_held.with_label_values(&[name]).set(saturating(held));
        }
        for kind in DrainSubject::KINDS {
            let count = table.drains.iter().filter(|(subject, _)| subject.kind() == kind).count();
            self.drains.with_label_values(&[kind]).set(saturating(count));
        }
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }

    /// What takes a walk through the table.
    fn count(&self, table: &Table) {
        self.routes.set(saturating(table.routes.iter().count()));
        self.services_in_panic.set(saturating(table.services.values().filter(|service| service.panic).count()));
        let mut by_state = [0_usize; EndpointState::ALL.len()];
        for endpoint in table.services.values().flat_map(|service| service.endpoints.iter()) {
            by_state[endpoint.state as usize] += 1;
        }
        for state in EndpointState::ALL {
            self.endpoints.with_label_values(&[state.as_str()]).set(saturating(by_state[state as usize]));
        }
        let by_code = problems::count(table);
        for code in ProblemCode::ALL {
            let count = by_code.get(code).copied().unwrap_or_default();
            self.problems.with_label_values(&[code.as_str()]).set(saturating(count));
        }
    }
}

impl TableMetrics {
    fn new(table: Arc<TableHandle>) -> prometheus::Result<Self> {
        Ok(Self { table, gauges: Gauges::new()?, seen: Mutex::default() })
    }
}

impl Collector for TableMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        self.gauges.set_plain(&table, Timestamp::now());
        let version = Some((table.epoch, table.generation));
        if seen.counted != version {
            self.gauges.count(&table);
            seen.counted = version;
        }
        self.gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

fn saturating(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
