//! The loop that keeps the ledger: follows every version of the table, reads counters while a deploy is under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::ledger::DeployLedger;
use super::metrics::DeployMetrics;
use crate::model::id::ServiceId;
use crate::model::time::Timestamp;
use crate::proxy::metrics::ProxyMetrics;
use crate::table::Table;
use crate::table::handle::TableHandle;

/// The time between two readings of the counters.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// The shortest time between two looks at the tables: a storm of them is taken in batches.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The ledger, shared with whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct SharedLedger(Arc<Mutex<DeployLedger>>);

impl SharedLedger {
    /// The ledger; held for moments only.
    pub fn lock(&self) -> MutexGuard<'_, DeployLedger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the loop works with.
#[derive(Debug)]
pub struct DeployParts {
    /// The tables.
    pub table: Arc<TableHandle>,
    /// The proxy's counters.
    pub proxy: ProxyMetrics,
    /// The ledger.
    pub ledger: SharedLedger,
    /// What is counted.
    pub metrics: DeployMetrics,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Keeps the ledger until it is stopped.
///
/// Tables are looked at on a thread of their own: the first after a start may bring a million tasks, and the thread that
/// runs this also answers the API.
pub async fn run(parts: DeployParts) {
    let parts = Arc::new(parts);
    let mut generations = parts.table.watch();
    let Some(mut seen) = parts.beside(parts.table.load(), DeployParts::begin).await else { return };
    let mut readings = interval(READ_PAUSE);
    readings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_running = parts.ledger.lock().is_running();
        // Every branch is cancel safe.
        tokio::select! {
            () = parts.stop.cancelled() => return,
            _ = readings.tick(), if is_running => parts.read(&seen),
            changed = generations.changed() => {
                if changed.is_err() {
                    return;
                }
                seen = match parts.beside(seen, DeployParts::follow).await {
                    Some(seen) => seen,
                    None => return,
                };
                parts.read(&seen);
                sleep(LOOK_PAUSE).await;
            }
        }
    }
}

impl DeployParts {
    /// Looks at a table on a thread of its own; `None` if the runtime ends.
    async fn beside(
        self: &Arc<Self>,
        seen: Arc<Table>,
        look: fn(&Self, Arc<Table>) -> Arc<Table>,
    ) -> Option<Arc<Table>> {
        let parts = self.clone();
        tokio::task::spawn_blocking(move || look(&parts, seen)).await.ok()
    }

    /// Takes a table as what is there.
    fn begin(&self, seen: Arc<Table>) -> Arc<Table> {
        self.ledger.lock().begin(&seen);
        seen
    }

    /// Takes over each version after `seen`, as far as it is remembered; the newest.
    fn follow(&self, seen: Arc<Table>) -> Arc<Table> {
        let mut versions: Vec<Arc<Table>> = {
            let history = self.table.history();
            history.iter().map(|version| &version.table).filter(|t| t.generation > seen.generation).cloned().collect()
        };
        let current = self.table.load();
        if versions.last().is_none_or(|last| last.generation < current.generation) {
            versions.push(current);
        }
        let mut ledger = self.ledger.lock();
        let mut former = seen;
        for next in versions {
            ledger.follow(&former, &next, &|service| self.tally(service));
            former = next;
        }
        former
    }

    fn read(&self, table: &Table) {
        let mut ledger = self.ledger.lock();
        for deploy in ledger.read(table, Timestamp::now(), &|service| self.tally(service)) {
            let tally = deploy.tally;
            tracing::info!(service = %deploy.service, version = %deploy.to, outcome = deploy.outcome.as_str(),
                requests = tally.requests, lost = tally.lost, cut = tally.cut,
                milliseconds = deploy.ended.map_or(0, |at| at.since(deploy.began).as_millis()),
                deployment = deploy.deployments.last().map(|record| &*record.said.id), "deploy over");
            self.metrics.ended(&deploy);
        }
        let deployments = table.deployments.iter().map(|(_, said)| said.under_way().len()).sum();
        self.metrics.show(ledger.running(), ledger.unrecorded, deployments);
    }

    fn tally(&self, service: &ServiceId) -> crate::proxy::metrics::Tally {
        self.proxy.tally(service)
    }
}
