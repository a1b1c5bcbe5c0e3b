//! A thousand changes a second while names are asked for and requests come in: nothing is lost or wrong, and what it does
//! to the time they take is shown. By the real program as a process.
//!
//! With the full counts (10,000 routes, 50,000 endpoints) and an optimised build it is a measurement:
//!
//! ```text
//! POINTSMAN_FULL=1 cargo test --release --test changes_under_load -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod changes_support;
mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use changes_support::cluster::Cluster;
use changes_support::http::{Asked, Client, ask};
use changes_support::machine::Sleeper;
use changes_support::{names, quantile};
use common::ports::unused;
use common::program::{Folder, Program};
use tokio::time::MissedTickBehavior;

/// Changes of endpoints in a second: as many come as go.
const CHANGES: u32 = 1000;

/// Tests of a program run side by side, but these measure.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Size {
    apps: usize,
    tasks: usize,
    /// Times with changes, and as many without.
    rounds: usize,
    /// How long each takes.
    round: Duration,
    /// New apps, one after the other.
    new: usize,
}

fn size() -> Size {
    if std::env::var_os("POINTSMAN_FULL").is_some() {
        Size { apps: 10_000, tasks: 5, rounds: 8, round: Duration::from_secs(5), new: 2000 }
    } else {
        Size { apps: 200, tasks: 5, rounds: 2, round: Duration::from_secs(1), new: 50 }
    }
}

struct World {
    cluster: Arc<Cluster>,
    program: Program,
    folder: Folder,
    dns: SocketAddr,
    proxy: SocketAddr,
}

impl World {
    async fn start(size: &Size) -> Self {
        let cluster = Cluster::start(size.apps, size.tasks).await;
        let (dns, proxy) = (unused(), unused());
        let folder = Folder::new();
        folder.configure(&format!(
            "[[sources.mesos]]\nname = \"c1\"\nzone = \"mesos\"\nmasters = [\"http://{}\"]\n[dns]\nlisten = [\"{dns}\"]\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n",
            cluster.master()
        ));
        let mut program = folder.start();
        let program = tokio::task::spawn_blocking(move || {
            program.until_ready();
            program
        });
        Self { cluster, program: program.await.unwrap(), folder, dns, proxy }
    }

    /// Everything that happens in one round.
    async fn ask(&self, size: &Size) -> (Option<Asked>, Asked, (usize, Vec<String>)) {
        let (server, folder, apps, round) = (self.dns, self.folder.path("."), size.apps, size.round);
        let dnsperf = tokio::task::spawn_blocking(move || names::by_dnsperf(server, &folder, apps, 1000, round));
        let (cluster, is_over) = (self.cluster.clone(), Arc::<AtomicBool>::default());
        let watched = is_over.clone();
        let by_hand = tokio::task::spawn_blocking(move || names::by_hand(&cluster, server, apps, &watched));
        let (cluster, proxy) = (self.cluster.clone(), self.proxy);
        let http = tokio::task::spawn_blocking(move || ask(&cluster, proxy, apps, 1000, round));
        let (dnsperf, http) = tokio::join!(dnsperf, http);
        is_over.store(true, Ordering::Relaxed);
        (dnsperf.unwrap(), http.unwrap(), by_hand.await.unwrap())
    }
}

/// Changes the cluster while it is told to; how many changes were made.
fn change(cluster: Arc<Cluster>, runs: Arc<AtomicBool>, changes: Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        // Each is two.
        let mut ticks = tokio::time::interval(Duration::from_secs(2) / CHANGES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while runs.load(Ordering::Relaxed) {
            ticks.tick().await;
            cluster.change();
            changes.fetch_add(2, Ordering::Relaxed);
        }
    })
}

/// Times of the rounds: the 95th and the 99th percentile of each, without changes and with.
#[derive(Default)]
struct Times([[Vec<Duration>; 2]; 2]);

const SHARES: [f64; 2] = [0.95, 0.99];

impl Times {
    fn add(&mut self, is_changing: bool, mut took: Vec<Duration>) {
        for (share, rounds) in SHARES.iter().zip(&mut self.0) {
            rounds[usize::from(is_changing)].push(quantile(&mut took, *share));
        }
    }

    fn show(&self, what: &str) {
        for (share, [quiet, changing]) in SHARES.iter().zip(&self.0) {
            if !quiet.is_empty() {
                show(&format!("{what}: p{:.0}", share * 100.0), quiet, changing);
            }
        }
    }
}

/// The ratios of the rounds: the least, the one in the middle and the most.
fn show(what: &str, quiet: &[Duration], changing: &[Duration]) {
    let mut ratios: Vec<f64> =
        quiet.iter().zip(changing).map(|(quiet, now)| now.as_secs_f64() / quiet.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let middle = |times: &[Duration]| {
        let mut times = times.to_vec();
        quantile(&mut times, 0.5)
    };
    println!(
        "{what} {:?} without changes, {:?} with; ratio {:.2} ({:.2} to {:.2})",
        middle(quiet),
        middle(changing),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_a_second_lose_and_spoil_nothing() {
    let _alone = ALONE.lock().await;
    let size = size();
    let mut world = World::start(&size).await;
    let (mut for_names, mut for_requests, mut for_sleepers) = (Times::default(), Times::default(), Times::default());
    let (mut asked, mut made, mut changing_for, mut behind) = ([0; 3], 0, Duration::ZERO, Duration::ZERO);
    // A first round warms up.
    for round in 0..=size.rounds {
        for is_changing in [false, true] {
            let (runs, changes) = (Arc::new(AtomicBool::new(is_changing)), Arc::<AtomicU64>::default());
            let begun = Instant::now();
            let changing = change(world.cluster.clone(), runs.clone(), changes.clone());
            let sleeper = Sleeper::start();
            let (dnsperf, http, (by_hand, faults)) = world.ask(&size).await;
            let late = sleeper.stop();
            runs.store(false, Ordering::Relaxed);
            changing.await.unwrap();
            if is_changing {
                changing_for += begun.elapsed();
            }
            assert_eq!(faults, [""; 0], "names, round {round}, changing: {is_changing}");
            assert_eq!(http.faults, [""; 0], "requests, round {round}, changing: {is_changing}");
            if is_changing {
                // The next round begins with nothing under way.
                let (cluster, server) = (world.cluster.clone(), world.dns);
                let caught_up = tokio::task::spawn_blocking(move || names::catch_up(&cluster, server)).await.unwrap();
                behind = behind.max(caught_up);
            }
            asked[1] += http.took.len();
            asked[2] += by_hand;
            made += changes.load(Ordering::Relaxed);
            if round > 0 {
                for_requests.add(is_changing, http.took);
                for_sleepers.add(is_changing, late);
            }
            let Some(dnsperf) = dnsperf else { continue };
            assert_eq!(dnsperf.faults, [""; 0], "dnsperf, round {round}, changing: {is_changing}");
            asked[0] += dnsperf.took.len();
            if round > 0 {
                for_names.add(is_changing, dnsperf.took);
            }
        }
    }
    let rate = made as f64 / changing_for.as_secs_f64();
    // What is shown below is of no use where the cluster itself cannot keep up.
    assert!(rate > f64::from(CHANGES) / 2.0, "only {rate:.0} changes a second were made");
    println!(
        "{} routes, {} endpoints, {made} changes, {rate:.0} a second, known {behind:?} later at most: {} names asked by dnsperf, {} by hand, \
         {} requests, lost or wrong: 0",
        size.apps,
        size.apps * size.tasks,
        asked[0],
        asked[2],
        asked[1]
    );
    for_names.show("names");
    for_requests.show("requests");
    for_sleepers.show("a thread that only sleeps wakes up too late by");
    world.program.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_apps_first_request_is_answered_soon_and_none_wrong() {
    let _alone = ALONE.lock().await;
    let size = size();
    let mut world = World::start(&size).await;
    let mut client = Client::new(world.proxy);
    let mut took = Vec::new();
    let sleeper = Sleeper::start();
    for _ in 0..size.new {
        let begun = Instant::now();
        let app = world.cluster.add_app();
        let host = Cluster::host(app);
        loop {
            let (status, place) = client.get(&host).await.unwrap();
            if status == 200 {
                took.push(begun.elapsed());
                let at: SocketAddr = place.parse().unwrap();
                assert!(world.cluster.is_right(app, at.ip(), Some(at.port()), begun), "{place}");
                break;
            }
            // Nobody has its host yet, or its first task is on its way: never another app's, and no error.
            assert!([404, 503].contains(&status), "{status} {place}");
            assert!(begun.elapsed() < common::program::PATIENCE, "no route: {status} {place}");
        }
    }
    let mut late = sleeper.stop();
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| quantile(&mut took, share));
    let [late50, late95, late99] = [0.5, 0.95, 0.99].map(|share| quantile(&mut late, share));
    println!(
        "{} routes, {} endpoints: from a new app's events to its first answer {p50:?}, p95 {p95:?}, p99 {p99:?}, of {}; a thread that \
         only sleeps wakes up too late by {late50:?}, p95 {late95:?}, p99 {late99:?}",
        size.apps,
        size.apps * size.tasks,
        size.new
    );
    world.program.stop();
}
