//! The whole path under load: the embedded cluster, the ordinary Mesos source, and requests through the proxy.
//!
//! A rolling deploy, a crash and a failover each happen while clients ask without a pause. Not one request may be
//! lost: lost is a request whose answer had not begun, or that was answered with an error of ours. Answers that were
//! cut midway are counted apart. `POINTSMAN_FULL=1` asks at least 20,000 times a case instead of 3,000.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::cluster::status::SourceState;
use pointsman::config::Config;
use pointsman::config::checked::{ListenerConfig, MesosConfig};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use pointsman::server::{Options, Server};
use pointsman::table::Table;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Instances of the app that is asked.
const INSTANCES: usize = 10;
/// Clients that ask at a time, each on a connection of its own.
const CLIENTS: u64 = 8;
const HOST: &str = "app.test";
/// The longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_request() {
    let world = World::start().await;
    let load = Load::start(world.proxy(), Mix::Everything);
    load.until_warm().await;
    soon(world.cluster.scheduler().deploy("app")).await.unwrap();
    let tally = load.finish("rolling deploy of 10 tasks").await;
    assert!(tally.by_version.contains_key("v1") && tally.by_version.contains_key("v2"), "{tally:?}");
    assert!(tally.by_task.len() >= 2 * INSTANCES, "old and new instances all answered: {tally:?}");
    assert_eq!((tally.lost(), tally.cut), (0, 0), "{tally:?}");

    // Afterwards nothing old is asked any more.
    world.until("only new instances are served", |table| endpoints(table) == INSTANCES).await;
    let after = Load::with_least(world.proxy(), Mix::Everything, 100).finish("after the deploy").await;
    assert_eq!(after.by_version.keys().collect::<Vec<_>>(), ["v2"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_task_loses_no_request() {
    let world = World::start().await;
    // A POST that a task had begun to read when it fell over may have acted: it cannot be asked again.
    let load = Load::start(world.proxy(), Mix::Repeatable);
    load.until_warm().await;
    let dead = world.cluster.scheduler().crash("app").unwrap();
    let replaced = |table: &Table| endpoints(table) == INSTANCES && !table.tasks.keys().any(|key| key.task() == dead);
    world.until("the crashed task is replaced", replaced).await;
    let tally = load.finish("crash of a task").await;
    assert!(tally.by_task.contains_key(&dead), "the one that crashed had answered: {tally:?}");
    assert!(tally.by_task.len() > INSTANCES, "its successor answered: {tally:?}");
    assert_eq!(tally.lost(), 0, "{tally:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_failover_loses_no_request() {
    let world = World::start().await;
    let least_served = world.watch_least_served();
    let load = Load::start(world.proxy(), Mix::Everything);
    load.until_warm().await;
    let before = world.cluster.leader();
    soon(world.cluster.scheduler().fail_over()).await.unwrap();
    assert_ne!(world.cluster.leader(), before);
    let live = |table: &Table| table.sources.iter().all(|s| s.state == SourceState::Live && s.recovered_agents == 0);
    world.until("the source follows the new leader", live).await;
    let tally = load.finish("failover of the master").await;
    assert_eq!((tally.lost(), tally.cut), (0, 0), "{tally:?}");
    assert_eq!(soon(least_served).await.unwrap(), INSTANCES, "no version of the table served fewer");
    world.stop().await;
}

/// The cluster and the program that serves it.
struct World {
    cluster: DemoCluster,
    server: Server,
    done: Arc<AtomicBool>,
}

impl World {
    async fn start() -> Self {
        let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", HOST)];
        let app = AppSpec { kill_grace: Duration::from_millis(200), ..AppSpec::http("app", INSTANCES, &labels) };
        let cluster = soon(DemoCluster::start(DemoOptions { apps: vec![app], ..DemoOptions::fast() })).await.unwrap();
        soon(cluster.ready()).await.unwrap();
        let config = config(cluster.masters());
        let server = tokio::task::block_in_place(|| Server::start(config, Options::default())).unwrap();
        let world = Self { cluster, server, done: Arc::default() };
        world.until("all instances are served", |table| endpoints(table) == INSTANCES).await;
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

    /// The least number of available endpoints seen from now until the source was lost and is live again.
    fn watch_least_served(&self) -> tokio::task::JoinHandle<usize> {
        let (table, done) = (self.server.table().clone(), self.done.clone());
        let mut generations = table.watch();
        tokio::spawn(async move {
            let mut least = endpoints(&table.load());
            let mut was_stale = false;
            loop {
                let _ = tokio::time::timeout(Duration::from_millis(20), generations.changed()).await;
                let now = table.load();
                least = least.min(endpoints(&now));
                was_stale |= now.is_stale();
                // It ends once the failover was seen to come and go.
                if done.load(Ordering::Relaxed) || (was_stale && !now.is_stale()) {
                    return least;
                }
            }
        })
    }

    async fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
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
    config.proxy.listeners.push(ListenerConfig { name: "http".into(), address, certificates: None });
    config.server.workers = 2;
    config
}

/// Endpoints that requests go to.
fn endpoints(table: &Table) -> usize {
    table.services.values().map(|service| service.available.len()).sum()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}

/// What clients ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// Requests that may be asked again.
    Repeatable,
    /// Those that may not, too.
    Everything,
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    /// Whose answer had not begun, with what happened instead.
    faults: BTreeMap<String, u64>,
    /// Whose answer had begun.
    cut: u64,
    by_version: BTreeMap<String, u64>,
    by_task: BTreeMap<String, u64>,
}

impl Tally {
    fn lost(&self) -> u64 {
        self.faults.values().sum()
    }

    fn add(&mut self, outcome: Result<Answer, Fault>) {
        self.asked += 1;
        match outcome {
            Ok(answer) => {
                *self.by_version.entry(answer.version).or_default() += 1;
                *self.by_task.entry(answer.task).or_default() += 1;
            }
            Err(Fault::Cut) => self.cut += 1,
            Err(Fault::Lost(what)) => *self.faults.entry(what).or_default() += 1,
        }
    }
}

/// Clients that ask until they are told to finish and have asked often enough.
struct Load {
    tally: Arc<Mutex<Tally>>,
    asked: Arc<AtomicU64>,
    finishing: Arc<AtomicBool>,
    clients: JoinSet<()>,
    least: u64,
}

impl Load {
    fn start(proxy: SocketAddr, mix: Mix) -> Self {
        let full = std::env::var_os("POINTSMAN_FULL").is_some();
        Self::with_least(proxy, mix, if full { 20_000 } else { 3_000 })
    }

    fn with_least(proxy: SocketAddr, mix: Mix, least: u64) -> Self {
        let (tally, asked) = (Arc::new(Mutex::new(Tally::default())), Arc::new(AtomicU64::new(0)));
        let finishing = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (tally, asked, finishing) = (tally.clone(), asked.clone(), finishing.clone());
            clients.spawn(async move {
                let mut connection = None;
                let mut turn = client * 7;
                while !finishing.load(Ordering::Relaxed) || asked.load(Ordering::Relaxed) < least {
                    let outcome = soon(ask(proxy, &mut connection, &request(mix, turn))).await;
                    tally.lock().unwrap().add(outcome);
                    asked.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            });
        }
        Self { tally, asked, finishing, clients, least }
    }

    /// Waits until a fifth of the requests has been asked.
    async fn until_warm(&self) {
        soon(async {
            while self.asked.load(Ordering::Relaxed) < self.least / 5 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn finish(mut self, what: &str) -> Tally {
        self.finishing.store(true, Ordering::Relaxed);
        soon(async {
            while let Some(ended) = self.clients.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        let tally = std::mem::take(&mut *self.tally.lock().unwrap());
        println!("{what}: {} requests, lost {}, cut {}", tally.asked, tally.lost(), tally.cut);
        assert!(tally.asked >= self.least);
        tally
    }
}

/// Most requests are plain; some are slow, some have a body, a few are answered piece by piece.
fn request(mix: Mix, turn: u64) -> String {
    match turn % 100 {
        50 => get("/stream?n=2"),
        number if number % 10 == 3 => get("/slow?ms=20"),
        number if number % 10 == 6 && mix == Mix::Everything => {
            format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello")
        }
        _ => get("/"),
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// A whole answer: who gave it.
struct Answer {
    version: String,
    task: String,
}

enum Fault {
    /// The answer had not begun, or was an error.
    Lost(String),
    /// It had begun.
    Cut,
}

/// Asks on the connection that is there, or on a new one; keeps it if it may be kept.
async fn ask(proxy: SocketAddr, kept: &mut Option<BufReader<TcpStream>>, request: &str) -> Result<Answer, Fault> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => BufReader::new(TcpStream::connect(proxy).await.map_err(lost("connect"))?),
    };
    connection.get_mut().write_all(request.as_bytes()).await.map_err(lost("write"))?;
    let mut status = String::new();
    connection.read_line(&mut status).await.map_err(lost("read"))?;
    if status.is_empty() {
        return Err(Fault::Lost("closed before the answer".to_owned()));
    }
    let head = read_head(&mut connection).await.map_err(cut)?;
    let body = read_body(&mut connection, &head).await.map_err(cut)?;
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(Fault::Lost(format!("{} {}", status.trim_end(), String::from_utf8_lossy(&body))));
    }
    if head.get("connection").is_none_or(|value| value != "close") {
        *kept = Some(connection);
    }
    let field = |name: &str| head.get(name).cloned().unwrap_or_default();
    Ok(Answer { version: field("x-demo-version"), task: field("x-demo-task") })
}

fn lost(what: &'static str) -> impl Fn(std::io::Error) -> Fault {
    move |error| Fault::Lost(format!("{what}: {error}"))
}

fn cut(_: std::io::Error) -> Fault {
    Fault::Cut
}

type Head = BTreeMap<String, String>;

async fn read_head(connection: &mut BufReader<TcpStream>) -> std::io::Result<Head> {
    let mut head = Head::new();
    loop {
        let line = read_line(connection).await?;
        if line.is_empty() {
            return Ok(head);
        }
        let (name, value) = line.split_once(':').ok_or(std::io::ErrorKind::InvalidData)?;
        head.insert(name.to_ascii_lowercase(), value.trim().to_ascii_lowercase());
    }
}

async fn read_body(connection: &mut BufReader<TcpStream>, head: &Head) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = head.get("content-length") {
        body.resize(length.parse().map_err(std::io::Error::other)?, 0);
        connection.read_exact(&mut body).await?;
        return Ok(body);
    }
    loop {
        let length = usize::from_str_radix(&read_line(connection).await?, 16).map_err(std::io::Error::other)?;
        let begun = body.len();
        body.resize(begun + length, 0);
        connection.read_exact(&mut body[begun..]).await?;
        read_line(connection).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A line without its end; one that does not end is an error.
async fn read_line(connection: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
