//! What follows tables looks at them beside the thread that also answers the API: with the runtime's only blocking thread
//! held, nothing is taken over and the thread goes on; let go of, it is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use common::facts::snapshot;
use common::world::{World, at, marathon, running};
use pointsman::deploys::metrics::DeployMetrics;
use pointsman::deploys::run::{DeployParts, SharedLedger};
use pointsman::health::metrics::HealthMetrics;
use pointsman::health::run::HealthParts;
use pointsman::proxy::metrics::ProxyMetrics;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const V1: &[(&str, &str)] = &[("pointsman.version", "v1"), ("pointsman.health.path", "/healthz")];
const V2: &[(&str, &str)] = &[("pointsman.version", "v2"), ("pointsman.health.path", "/healthz")];
/// Several times the pause between two looks.
const A_WHILE: Duration = Duration::from_millis(500);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
}

/// Holds the blocking thread until it is told.
async fn hold() -> SyncSender<()> {
    let (release, released) = sync_channel::<()>(1);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        begun.send(()).unwrap();
        let _ = released.recv();
    });
    has_begun.await.unwrap();
    release
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not in time: {what}");
}

fn world() -> (World, Arc<TableHandle>) {
    let mut world = World::new();
    let handle = Arc::new(TableHandle::new((*world.table()).clone(), 8));
    (world, handle)
}

/// Endpoints under checks, once anything was looked at.
fn checked(registry: &Registry) -> Option<f64> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "pointsman_health_endpoints")?;
    Some(family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum())
}

#[test]
fn the_health_checks_look_beside() {
    runtime().block_on(async {
        let (mut world, handle) = world();
        let (events, mut reports) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move { while reports.recv().await.is_some() {} });
        let registry = Registry::new();
        let metrics = HealthMetrics::register(&registry).unwrap();
        let stop = CancellationToken::new();
        let parts = HealthParts { table: handle.clone(), events, tls: Arc::default(), metrics, stop: stop.clone() };
        let checks = tokio::spawn(pointsman::health::run::run(parts));
        until("the first look is over", || checked(&registry) == Some(0.0)).await;
        tokio::time::sleep(A_WHILE).await;

        let release = hold().await;
        let tasks = vec![at(1), marathon(), running("a1", "web", 1, V1), running("a2", "web", 1, V1)];
        world.say(snapshot(1, tasks));
        handle.publish(world.table(), VersionRecord::default());
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(checked(&registry), Some(0.0), "looked at on the thread that answers the API");
        release.send(()).unwrap();
        until("both are checked", || checked(&registry) == Some(2.0)).await;

        // One goes: what is counted as it changes comes to the same.
        world.facts(1, vec![pointsman::cluster::event::Fact::TaskGone(common::facts::key("a2"))]);
        handle.publish(world.table(), VersionRecord::default());
        until("one is left", || checked(&registry) == Some(1.0)).await;
        stop.cancel();
        checks.await.unwrap();
    });
}

#[test]
fn the_ledger_looks_beside() {
    runtime().block_on(async {
        let (mut world, handle) = world();
        let ledger = SharedLedger::default();
        let stop = CancellationToken::new();
        let parts = DeployParts {
            table: handle.clone(),
            proxy: ProxyMetrics::new(1),
            ledger: ledger.clone(),
            metrics: DeployMetrics::register(&Registry::new()).unwrap(),
            stop: stop.clone(),
        };
        let keeping = tokio::spawn(pointsman::deploys::run::run(parts));
        tokio::time::sleep(A_WHILE).await;
        world.say(snapshot(1, vec![at(1), marathon(), running("a1", "web", 1, V1)]));
        handle.publish(world.table(), VersionRecord::default());
        tokio::time::sleep(A_WHILE).await;

        let release = hold().await;
        world.pass(1);
        world.facts(1, vec![running("b1", "web", 1, V2)]);
        handle.publish(world.table(), VersionRecord::default());
        tokio::time::sleep(A_WHILE).await;
        assert!(ledger.lock().deploys().is_empty(), "looked at on the thread that answers the API");
        release.send(()).unwrap();
        until("the deploy is recorded", || ledger.lock().running() == 1).await;
        stop.cancel();
        keeping.await.unwrap();
    });
}
