//! The loop that checks: follows the table, asks who is due, tells the writer what changed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::HealthMetrics;
use super::probe::{self, Asked};
use super::streak::Streak;
use crate::cluster::event::{ClusterEvent, EventSender};
use crate::config::checked::HealthConfig;
use crate::model::check::{CheckAt, CheckReport, CheckSpec, CheckState, Verdict};
use crate::model::endpoint::{Endpoint, EndpointId, EndpointState, ProxyProtocol};
use crate::model::endpoint_tls::EndpointTls;
use crate::model::id::ServiceId;
use crate::model::persistent::PersistentMap;
use crate::model::run::{EndpointRun, Moment};
use crate::model::service::{Protocol, Service};
use crate::model::time::Timestamp;
use crate::proxy::tls::profiles::TlsProfiles;
use crate::table::Table;
use crate::table::handle::TableHandle;

/// The shortest time between two looks at the table: a storm of tables must not cost the checks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// While nothing is decided, an endpoint is asked at least so often.
const HASTE: Duration = Duration::from_secs(1);
/// The spread of the checks in time, as a part of their interval to both sides.
const JITTER: f64 = 0.1;

/// What the loop works with.
#[derive(Debug)]
pub struct HealthParts {
    /// The tables.
    pub table: Arc<TableHandle>,
    /// The way to the writer.
    pub events: EventSender,
    /// How TLS is spoken with endpoints.
    pub tls: Arc<TlsProfiles>,
    /// What is counted.
    pub metrics: HealthMetrics,
    /// Ends it.
    pub stop: CancellationToken,
}

/// An endpoint that is checked.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    protocol: Protocol,
    tls: Option<Arc<EndpointTls>>,
    proxy_protocol: Option<ProxyProtocol>,
    spec: Arc<CheckSpec>,
    /// What the proxy knows of the endpoint.
    run: Arc<EndpointRun>,
    streak: Streak,
    error: Option<Arc<str>>,
    since: Timestamp,
    /// Tells this life of the target from a former one: an outcome that comes late counts for none.
    life: u64,
}

#[derive(Debug, Default)]
struct Targets {
    all: HashMap<EndpointId, Target>,
    /// How many have each verdict: counted as they change, since each verdict is shown at once.
    counts: HashMap<CheckState, usize>,
    /// The services as they were looked at last.
    services: PersistentMap<ServiceId, Arc<Service>>,
    /// Who is due when; of entries of former lives nothing comes.
    due: BinaryHeap<Reverse<(Instant, u64, EndpointId)>>,
    lives: u64,
}

type Outcome = (EndpointId, u64, Result<(), Arc<str>>);

/// Checks until it is stopped.
pub async fn run(parts: HealthParts) {
    let HealthParts { table, events, tls, metrics, stop } = parts;
    let mut generations = table.watch();
    let mut running: JoinSet<Outcome> = JoinSet::new();
    let first = Targets::default().follow_beside(table.load()).await;
    let Some((mut targets, mut config)) = first else { return };
    targets.show(&metrics);
    let mut looked = Instant::now();
    let mut is_stale = false;
    loop {
        let has_room = running.len() < config.concurrency;
        let next = targets.next().filter(|_| has_room);
        // Every branch is cancel safe: `cancelled`, `changed`, `join_next` and sleeping lose nothing.
        tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = running.join_next(), if !running.is_empty() => {
                let Ok(outcome) = done else { continue };
                metrics.checked(outcome.2.is_ok());
                if let Some(report) = targets.take(outcome, &config) {
                    targets.show(&metrics);
                    tracing::info!(task = %report.task, port = %report.port, verdict = report.verdict.state.as_str(),
                        error = report.verdict.error.as_deref(), "health check");
                    // A full queue makes the checks wait: it is the writer that is behind.
                    if events.send(ClusterEvent::Checked(vec![report])).await.is_err() {
                        break;
                    }
                }
            }
            changed = generations.changed(), if !is_stale => {
                if changed.is_err() {
                    break;
                }
                is_stale = true;
            }
            () = sleep_until(looked + LOOK_PAUSE), if is_stale => {
                is_stale = false;
                generations.borrow_and_update();
                let Some(followed) = targets.follow_beside(table.load()).await else { break };
                (targets, config) = followed;
                targets.show(&metrics);
                looked = Instant::now();
            }
            () = until(next) => {
                if next.is_some_and(|at| at.elapsed() > HASTE) {
                    metrics.late.inc();
                }
                if let Some((id, life, target)) = targets.take_due() {
                    let asked = target.asked(&tls);
                    let (limit, spec) = (target.spec.timeout.unwrap_or(config.timeout), target.spec.clone());
                    running.spawn(async move {
                        let asked = timeout(limit, probe::ask(&asked, &spec)).await;
                        (id, life, asked.unwrap_or_else(|_| Err("no answer in time".into())))
                    });
                }
            }
        }
    }
    running.shutdown().await;
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Targets {
    /// Follows on a thread of its own: the first table after a start may bring a million services, and the thread that
    /// checks also answers the API. `None` if the runtime ends.
    async fn follow_beside(mut self, table: Arc<Table>) -> Option<(Self, HealthConfig)> {
        let look = move || {
            let config = self.follow(&table);
            (self, config)
        };
        tokio::task::spawn_blocking(look).await.ok()
    }

    /// Takes over what a table says is to be checked. Costs what changed.
    fn follow(&mut self, table: &Table) -> HealthConfig {
        let former = std::mem::replace(&mut self.services, table.services.clone());
        former.diff(&table.services, &mut |_, former, next| {
            self.replace(table, former.map(Arc::as_ref), next.map(Arc::as_ref));
        });
        table.config.health.clone()
    }

    /// A service as it is now takes the place of what it was.
    fn replace(&mut self, table: &Table, former: Option<&Service>, next: Option<&Service>) {
        let wanted = |endpoint: &Endpoint| {
            let state = endpoint.state;
            let runs = matches!(state, EndpointState::Ready | EndpointState::Unverified | EndpointState::Unhealthy);
            endpoint.check.as_ref().filter(|_| runs).cloned()
        };
        let stays =
            |id: &EndpointId| next.and_then(|next| next.endpoint(id)).is_some_and(|next| wanted(next).is_some());
        for endpoint in former.into_iter().flat_map(|former| former.endpoints.iter()) {
            if endpoint.check.is_some() && !stays(&endpoint.id) {
                let former = self.all.remove(&endpoint.id);
                self.recount(former.map(|former| former.streak.state()), None);
            }
        }
        for endpoint in next.into_iter().flat_map(|next| next.endpoints.iter()) {
            let Some(spec) = wanted(endpoint) else { continue };
            if let Some(known) = self.all.get_mut(&endpoint.id).filter(|known| known.is_for(endpoint, &spec)) {
                known.run = endpoint.run.clone();
            } else {
                let target = self.begin(table, endpoint, &spec);
                let state = target.streak.state();
                let former = self.all.insert(endpoint.id.clone(), target);
                self.recount(former.map(|former| former.streak.state()), Some(state));
            }
        }
    }

    fn begin(&mut self, table: &Table, endpoint: &Endpoint, spec: &Arc<CheckSpec>) -> Target {
        self.lives += 1;
        let former = table.tasks.get(&endpoint.id.task).and_then(|view| view.verdicts.as_ref()?.get(&endpoint.id.port));
        // Soon, and not all at the same moment.
        let at = Instant::now() + HASTE.mul_f64(fastrand::f64() * JITTER);
        self.due.push(Reverse((at, self.lives, endpoint.id.clone())));
        Target {
            address: endpoint.address,
            protocol: endpoint.protocol,
            tls: endpoint.tls.clone(),
            proxy_protocol: endpoint.proxy_protocol,
            spec: spec.clone(),
            run: endpoint.run.clone(),
            // A verdict of before this life of the process holds until it is contradicted.
            streak: Streak::from(former.map_or(CheckState::Waiting, |former| former.state)),
            error: former.and_then(|former| former.error.clone()),
            since: former.map_or_else(Timestamp::now, |former| former.since),
            life: self.lives,
        }
    }

    fn show(&self, metrics: &HealthMetrics) {
        metrics.show(|state| self.counts.get(&state).copied().unwrap_or_default());
    }

    /// One target less has the verdict `former`, one more `next`.
    fn recount(&mut self, former: Option<CheckState>, next: Option<CheckState>) {
        if let Some(count) = former.and_then(|former| self.counts.get_mut(&former)) {
            *count = count.saturating_sub(1);
        }
        if let Some(next) = next {
            *self.counts.entry(next).or_default() += 1;
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Who is due now, unless that is nobody any more.
    fn take_due(&mut self) -> Option<(EndpointId, u64, &Target)> {
        let Reverse((_, life, id)) = self.due.pop()?;
        let target = self.all.get(&id).filter(|target| target.life == life)?;
        Some((id, life, target))
    }

    /// Takes the outcome of a check; returns what the writer must know.
    fn take(&mut self, (id, life, outcome): Outcome, config: &HealthConfig) -> Option<CheckReport> {
        let target = self.all.get_mut(&id).filter(|target| target.life == life)?;
        let (state, error) = (target.streak.state(), target.error.clone());
        target.streak.push(outcome.is_ok(), config.rise, target.spec.fall.unwrap_or(config.fall));
        target.error = outcome.err();
        let interval = target.spec.interval.unwrap_or(config.interval);
        let interval = if target.streak.is_undecided() { interval.min(HASTE) } else { interval };
        let pause = interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
        let next = target.streak.state();
        if next != state {
            target.since = Timestamp::now();
        }
        let changed = next != state || target.error != error;
        // Only a check that has seen it fail can tell that it is well again: one that asks less than requests do, and has
        // succeeded all along, says nothing of why requests fail.
        let is_back = next == CheckState::Good && target.error.is_none() && (state != next || error.is_some());
        if is_back && target.run.ejection.is_ejected() {
            target.run.ejection.restore(Moment::of(std::time::Instant::now()));
            tracing::info!(endpoint = %id, "endpoint passes its check and is spared no longer");
        }
        let verdict = Verdict { state: next, since: target.since, error: target.error.clone() };
        self.recount(Some(state), Some(next));
        self.due.push(Reverse((Instant::now() + pause, life, id.clone())));
        changed.then_some(CheckReport { task: id.task, port: id.port, verdict })
    }
}

impl Target {
    /// Who is asked for the endpoint.
    fn asked(&self, profiles: &Arc<TlsProfiles>) -> Asked {
        let own = Asked {
            address: self.address,
            protocol: self.protocol,
            tls: self.tls.clone(),
            proxy_protocol: self.proxy_protocol,
            profiles: profiles.clone(),
        };
        match &self.spec.at {
            CheckAt::Endpoint => own,
            CheckAt::Port(port) => Asked { address: SocketAddr::new(self.address.ip(), *port), ..own },
            CheckAt::Other(place) => Asked {
                address: place.address,
                protocol: place.protocol,
                tls: place.tls.clone(),
                proxy_protocol: place.proxy_protocol,
                ..own
            },
        }
    }

    fn is_for(&self, endpoint: &Endpoint, spec: &Arc<CheckSpec>) -> bool {
        self.address == endpoint.address
            && self.protocol == endpoint.protocol
            && self.tls == endpoint.tls
            && self.proxy_protocol == endpoint.proxy_protocol
            && self.spec == *spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::CheckKind;
    use crate::model::endpoint::Family;
    use crate::model::id::TaskKey;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn targets() -> (Targets, EndpointId, Arc<EndpointRun>) {
        let task = TaskKey::new("c".into(), "f".into(), "web.1");
        let id = EndpointId { task, port: "0".into(), family: Family::V4 };
        let run = Arc::<EndpointRun>::default();
        let target = Target {
            address: ([127, 0, 0, 1], 80).into(),
            protocol: Protocol::Http,
            tls: None,
            proxy_protocol: None,
            spec: Arc::new(CheckSpec {
                kind: CheckKind::Tcp,
                path: "/".into(),
                interval: Some(INTERVAL),
                timeout: None,
                fall: None,
                at: CheckAt::Endpoint,
            }),
            run: run.clone(),
            streak: Streak::from(CheckState::Good),
            error: None,
            since: Timestamp(0),
            life: 1,
        };
        let targets = Targets { all: HashMap::from([(id.clone(), target)]), ..Targets::default() };
        (targets, id, run)
    }

    #[test]
    fn a_check_that_has_seen_an_endpoint_fail_brings_it_back() {
        let (mut targets, id, run) = targets();
        let config = HealthConfig { rise: 2, fall: 2, ..HealthConfig::default() };
        let mut check = |outcomes: &str| {
            for outcome in outcomes.chars() {
                let outcome = if outcome == '+' { Ok(()) } else { Err("no answer".into()) };
                targets.take((id.clone(), 1, outcome), &config);
            }
            run.ejection.is_ejected()
        };
        let eject = || run.ejection.eject((INTERVAL, INTERVAL), Moment::of(std::time::Instant::now()), 1.0);
        eject();
        assert!(check("++"), "the checks have seen nothing of what requests see");
        assert!(check("-"));
        assert!(!check("+"), "one failure was none of the endpoint's verdict, and it is over");
        eject();
        assert!(check("--+"), "out by its checks, it takes some in a row");
        assert!(!check("+"));
    }

    #[test]
    fn checks_are_spread_over_their_interval() {
        let (mut targets, id, _) = targets();
        let config = HealthConfig::default();
        let begun = Instant::now();
        for _ in 0..200 {
            targets.take((id.clone(), 1, Ok(())), &config);
        }
        let taken = begun.elapsed();
        let pauses: Vec<_> = targets.due.iter().map(|Reverse((at, _, _))| at.duration_since(begun)).collect();
        let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(
            *shortest >= INTERVAL.mul_f64(0.9) && *longest <= INTERVAL.mul_f64(1.1) + taken,
            "{shortest:?} {longest:?}"
        );
        // A draw of 200 misses either outer quarter with a chance of 2 in 10^25.
        assert!(*shortest < INTERVAL.mul_f64(0.95) && *longest > INTERVAL.mul_f64(1.05), "{shortest:?} {longest:?}");
    }
}
