//! The whole path under load: the embedded cluster, the ordinary Mesos source, and requests through the proxy.
//!
//! A rolling deploy, crashes and failovers happen while clients ask without a pause; only requests that began while
//! the trouble lasted count. Not one may be lost. Answers that were cut midway are counted apart.
//! `POINTSMAN_FULL=1` asks at least 20,000 times a case instead of 2,000.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod demo_support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use demo_support::load::{CLIENTS, HOST, Load, Mix, Tally};
use demo_support::{PATIENCE, soon};
use pointsman::cluster::status::SourceState;
use pointsman::config::Config;
use pointsman::config::checked::{ListenerConfig, MesosConfig};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use pointsman::proxy::reason::Reason;
use pointsman::server::{Options, Server};
use pointsman::table::Table;

/// Instances of the app that is asked.
const INSTANCES: usize = 10;

/// Crashes of one test.
const MOST_CRASHES: usize = 200;

/// Requests that have to begin while the trouble lasts.
fn least() -> u64 {
    if std::env::var_os("POINTSMAN_FULL").is_some() { 20_000 } else { 2_000 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_request() {
    let world = World::start().await;
    let load = Load::start(world.proxy(), Mix::Everything);
    load.more(100).await;
    // One deploy after the other, until enough was asked while they went on.
    let mut troubles = Troubles::default();
    while !troubles.are_enough() {
        troubles.during(&load, async { soon(world.cluster.scheduler().deploy("app")).await.unwrap() }).await;
    }
    let tally = troubles.finish(load, "rolling deploys of 10 tasks").await;
    let deploys = troubles.times.len();
    assert_eq!(tally.by_version.len(), deploys + 1, "each version answered: {:?}", tally.by_version);
    assert_eq!(tally.by_task.len(), (deploys + 1) * INSTANCES, "each instance of each version answered");
    assert_eq!((tally.lost(), tally.cut), (0, 0), "{:?}", tally.faults);

    // Afterwards nothing old is asked any more.
    world.until("only new instances are served", |table| available(table) == INSTANCES).await;
    let load = Load::start(world.proxy(), Mix::Everything);
    load.more(100).await;
    let after = load.finish().await;
    assert_eq!(after.by_version.keys().collect::<Vec<_>>(), [&format!("v{}", deploys + 1)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashed_tasks_lose_no_request_that_may_be_asked_again() {
    let world = World::start().await;
    let before = world.retries();
    let load = Load::start(world.proxy(), Mix::Repeatable);
    load.more(100).await;
    let (troubles, dead) = world.crash_again_and_again(&load, || true).await;
    let tally = troubles.finish(load, "crashes of tasks").await;
    for task in &dead {
        assert!(tally.by_task.contains_key(task), "{task} had answered before it crashed");
    }
    assert_eq!(tally.lost(), 0, "{:?}", tally.faults);
    // It was not luck: requests that a crash hit were asked again, on a fresh connection and then elsewhere.
    let retried = world.retries() - before;
    println!("crashes of tasks: {} crashes, {retried} requests asked again elsewhere", dead.len());
    assert!(retried > 0.0, "no request was asked again elsewhere in {} crashes", dead.len());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashed_tasks_lose_what_may_have_acted_and_say_so() {
    let world = World::start().await;
    let load = Load::start(world.proxy(), Mix::Everything);
    load.more(100).await;
    // Until a crash has hit such a request: some are under way for most of the time.
    let (troubles, dead) = world.crash_again_and_again(&load, || load.lost() > 0).await;
    let tally = troubles.finish(load, "crashes of tasks, with requests that may not be asked again").await;
    assert!(tally.lost() > 0, "none of {} crashes hit a request that may have acted", dead.len());
    let explained = format!("{} ", Reason::UpstreamReset.status().as_u16());
    for lost in &tally.faults {
        // A POST that a task had begun to read when it fell over may have acted.
        let code = lost.what.rsplit(' ').next().unwrap();
        let is_explained =
            lost.method == "POST" && code == Reason::UpstreamReset.code() && lost.what.contains(&explained);
        assert!(is_explained, "{lost:?}");
    }
    // At most what was under way at the moment of a crash.
    assert!(tally.lost() as u64 <= dead.len() as u64 * CLIENTS, "{:?}", tally.faults);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_failover_loses_no_request() {
    let world = World::start().await;
    let first = world.server.table().load().generation;
    let load = Load::start(world.proxy(), Mix::Everything);
    load.more(100).await;
    let mut troubles = Troubles::default();
    while !troubles.are_enough() {
        let before = world.cluster.leader();
        troubles
            .during(&load, async {
                soon(world.cluster.scheduler().fail_over()).await.unwrap();
                assert_ne!(world.cluster.leader(), before);
                let is_back = |table: &Table| {
                    table.sources.iter().all(|s| s.state == SourceState::Live && s.recovered_agents == 0)
                };
                world.until("the source follows the new leader", is_back).await;
            })
            .await;
    }
    let tally = troubles.finish(load, "failovers of the master").await;
    assert_eq!((tally.lost(), tally.cut), (0, 0), "{:?}", tally.faults);

    check_history(&world, first);
    world.stop().await;
}

/// Every version of the table that there was since `first`, not only those that somebody happened to see.
fn check_history(world: &World, first: u64) {
    let history = world.server.table().history();
    let versions: Vec<&Table> =
        history.iter().map(|version| &*version.table).filter(|table| table.generation >= first).collect();
    assert_eq!(versions.first().map(|table| table.generation), Some(first), "the history reaches back far enough");
    assert!(versions.windows(2).all(|pair| pair[0].generation + 1 == pair[1].generation), "and has no gap");
    assert!(versions.iter().any(|table| table.is_stale()), "the failover was noticed");
    assert!(versions.iter().any(|table| table.sources[0].recovered_agents > 0), "and its snapshot was incomplete");
    let least = versions.iter().map(|table| available(table)).min();
    assert_eq!(least, Some(INSTANCES), "no version of the table served fewer");
}

/// When trouble was going on, and how many requests began meanwhile.
#[derive(Default)]
struct Troubles {
    times: Vec<(Instant, Duration)>,
    asked: u64,
}

impl Troubles {
    async fn during(&mut self, load: &Load, trouble: impl Future<Output = ()>) {
        let (begin, before) = (Instant::now(), load.asked());
        trouble.await;
        self.times.push((begin, begin.elapsed()));
        self.asked += load.asked() - before;
    }

    fn are_enough(&self) -> bool {
        // What is counted here has ended; a few of them began before the trouble.
        self.asked >= least() + (self.times.len() as u64 + 1) * CLIENTS
    }

    async fn finish(&self, load: Load, what: &str) -> Tally {
        let tally = load.finish().await;
        let within: usize = self.times.iter().map(|(begin, length)| tally.within(*begin, *length)).sum();
        println!("{what}: {within} requests of {}, lost {}, cut {}", tally.asked, tally.lost(), tally.cut);
        assert!(within as u64 >= least(), "{within} requests began while the trouble lasted");
        tally.check_spread(&self.times);
        tally
    }
}

/// The cluster and the program that serves it.
struct World {
    cluster: DemoCluster,
    server: Server,
}

impl World {
    async fn start() -> Self {
        let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", HOST)];
        let app = AppSpec { kill_grace: Duration::from_millis(200), ..AppSpec::http("app", INSTANCES, &labels) };
        let cluster = soon(DemoCluster::start(DemoOptions { apps: vec![app], ..DemoOptions::fast() })).await.unwrap();
        soon(cluster.ready()).await.unwrap();
        let config = config(cluster.masters());
        let server = tokio::task::block_in_place(|| Server::start(config, Options::default())).unwrap();
        let world = Self { cluster, server };
        world.until("all instances are served", |table| available(table) == INSTANCES).await;
        world
    }

    fn proxy(&self) -> SocketAddr {
        self.server.addresses().proxy[0]
    }

    /// Waits for a table of which this is true.
    async fn until(&self, what: &str, condition: impl Fn(&Table) -> bool) {
        let mut generations = self.server.table().watch();
        let come_true = async {
            while !condition(&self.server.table().load()) {
                generations.changed().await.unwrap();
            }
        };
        let came = tokio::time::timeout(PATIENCE, come_true).await;
        assert!(came.is_ok(), "{what}: did not come true; sources {:?}", self.server.table().load().sources);
    }

    /// Lets one task after the other fall over, each when the one before has been replaced and everybody has answered
    /// again; returns those that did.
    async fn crash_again_and_again(&self, load: &Load, enough: impl Fn() -> bool) -> (Troubles, Vec<String>) {
        let (mut troubles, mut dead) = (Troubles::default(), Vec::new());
        while !troubles.are_enough() || dead.len() < 5 || (!enough() && dead.len() < MOST_CRASHES) {
            troubles
                .during(load, async {
                    load.more(20 * INSTANCES as u64).await;
                    let crashed = self.cluster.scheduler().crash("app").unwrap();
                    let is_replaced = |table: &Table| {
                        available(table) == INSTANCES && !table.tasks.keys().any(|key| key.task() == crashed)
                    };
                    self.until("the crashed task is replaced", is_replaced).await;
                    dead.push(crashed);
                })
                .await;
        }
        (troubles, dead)
    }

    /// Requests that were asked again at another endpoint, ever.
    fn retries(&self) -> f64 {
        let families = self.server.registry().gather();
        let family = families.iter().find(|family| family.name() == "pointsman_proxy_retries_total").unwrap();
        let kinds: BTreeMap<&str, f64> = family
            .get_metric()
            .iter()
            .map(|metric| (metric.get_label()[0].value(), metric.get_counter().get_value()))
            .collect();
        kinds["other_endpoint"]
    }

    async fn stop(self) {
        tokio::task::block_in_place(|| self.server.stop(Duration::from_secs(5)));
        soon(self.cluster.stop()).await;
    }
}

fn config(masters: &[SocketAddr]) -> Config {
    let mut config = Config::default();
    let masters: Vec<String> = masters.iter().map(ToString::to_string).collect();
    let masters: Vec<&str> = masters.iter().map(String::as_str).collect();
    let mut mesos = MesosConfig::with_masters("demo", "mesos", &masters);
    mesos.max_backoff = Duration::from_millis(200);
    config.mesos.push(mesos);
    config.upstreams.allowed_networks.push(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.proxy.listeners.push(ListenerConfig::plain("http", address));
    config.server.workers = 2;
    // Every version of a test's whole life.
    config.server.history = 100_000;
    config
}

/// Endpoints that requests go to.
fn available(table: &Table) -> usize {
    table.services.values().map(|service| service.available.len()).sum()
}
