//! Rolling deploys, and a service that goes to zero and comes back, while clients ask over HTTP/2, TLS and WebSocket.
//!
//! Not one request may be lost. `POINTSMAN_FULL=1` asks at least 100,000 times a case instead of 1,000.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod demo_support;
#[path = "common/ports.rs"]
mod ports;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use demo_support::{PATIENCE, soon};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::Config;
use pointsman::config::checked::{ListenerConfig, MesosConfig};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use pointsman::server::{Options, Server};
use pointsman::table::Table;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const HOST: &str = "app.test";
const INSTANCES: usize = 4;
const CLIENTS: usize = 6;

fn least() -> u64 {
    if std::env::var_os("POINTSMAN_FULL").is_some() { 100_000 } else { 1_000 }
}

/// How clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// HTTP/2 in clear text.
    Http2,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    TlsHttp2,
    /// A WebSocket for each request, which says something and hears it back.
    WebSocket,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Everything that clients need.
#[derive(Clone)]
struct Door {
    clear: SocketAddr,
    secure: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    tls_http2: Arc<rustls::ClientConfig>,
}

impl Door {
    async fn connect(&self, way: Way) -> std::io::Result<Box<dyn Stream>> {
        let config = match way {
            Way::Http2 | Way::WebSocket => return Ok(Box::new(TcpStream::connect(self.clear).await?)),
            Way::Tls => self.tls.clone(),
            Way::TlsHttp2 => self.tls_http2.clone(),
        };
        let stream = TcpStream::connect(self.secure).await?;
        let name = ServerName::try_from(HOST).unwrap();
        Ok(Box::new(tokio_rustls::TlsConnector::from(config).connect(name, stream).await?))
    }
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Tally {
    by_version: BTreeMap<String, u64>,
    lost: Vec<String>,
}

struct Load {
    asked: Arc<AtomicU64>,
    tally: Arc<Mutex<Tally>>,
    finishing: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(door: &Door, way: Way) -> Self {
        let (asked, tally, finishing) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Tally>>::default(), Arc::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (door, asked, tally, finishing) =
                (door.clone(), asked.clone(), tally.clone(), Arc::<AtomicBool>::clone(&finishing));
            clients.spawn(async move {
                let mut client = Client::None;
                while !finishing.load(Ordering::Relaxed) {
                    let outcome = soon(client.ask(&door, way)).await;
                    let mut tally = tally.lock().unwrap();
                    match outcome {
                        Ok(version) => *tally.by_version.entry(version).or_default() += 1,
                        Err(what) => {
                            client = Client::None;
                            tally.lost.push(what);
                        }
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { asked, tally, finishing, clients }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn more(&self, count: u64) {
        let until = self.asked() + count;
        soon(async {
            while self.asked() < until {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn finish(mut self) -> Tally {
        self.finishing.store(true, Ordering::Relaxed);
        while let Some(ended) = soon(self.clients.join_next()).await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

/// A client, and its connection.
enum Client {
    None,
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

fn said(what: &'static str) -> impl Fn(hyper::Error) -> String {
    move |error| format!("{what}: {error}")
}

impl Client {
    /// Asks; the version that answered, or what happened instead.
    async fn ask(&mut self, door: &Door, way: Way) -> Result<String, String> {
        if way == Way::WebSocket {
            return web_socket(door).await;
        }
        if self.is_closed() {
            let stream = TokioIo::new(door.connect(way).await.map_err(|error| format!("connect: {error}"))?);
            *self = match way {
                Way::Tls => {
                    let (sender, driver) = http1::handshake(stream).await.map_err(said("handshake"))?;
                    tokio::spawn(driver);
                    Self::Http1(sender)
                }
                _ => {
                    let executor = TokioExecutor::new();
                    let (sender, driver) = http2::handshake(executor, stream).await.map_err(said("handshake"))?;
                    tokio::spawn(driver);
                    Self::Http2(sender)
                }
            };
        }
        let request = |uri: String| Request::get(uri).header("host", HOST).body(Empty::new()).unwrap();
        let answer = match self {
            Self::None => return Err("no connection".into()),
            Self::Http1(sender) => {
                sender.ready().await.map_err(said("ready"))?;
                sender.send_request(request("/slow?ms=3".into())).await
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(said("ready"))?;
                sender.send_request(request(format!("http://{HOST}/slow?ms=3"))).await
            }
        };
        let answer = answer.map_err(said("answer"))?;
        let field =
            |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let (status, version, reason) =
            (answer.status().as_u16(), field("x-demo-version"), field("x-pointsman-reason"));
        answer.into_body().collect().await.map_err(said("body"))?;
        if status == 200 { Ok(version) } else { Err(format!("{status} {reason}")) }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

/// Opens a WebSocket, says something, hears it back, and closes.
async fn web_socket(door: &Door) -> Result<String, String> {
    let mut stream = door.connect(Way::WebSocket).await.map_err(|error| format!("connect: {error}"))?;
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let broke = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    stream.write_all(handshake.as_bytes()).await.map_err(broke("handshake"))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.map_err(broke("head"))?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 101 ") {
        return Err(head);
    }
    let version = head.lines().find_map(|line| line.strip_prefix("x-demo-version: ")).unwrap_or_default().to_owned();
    // A text of five octets, masked with zeros (RFC 6455 section 5.2).
    stream.write_all(b"\x81\x85\0\0\0\0hello").await.map_err(broke("said"))?;
    let mut frame = [0; 2];
    stream.read_exact(&mut frame).await.map_err(broke("heard"))?;
    if frame[0] == 0x88 {
        // The task says that it goes away (status 1001), in order: a client asks again.
        return Ok(version);
    }
    let mut text = [0; 5];
    stream.read_exact(&mut text).await.map_err(broke("heard"))?;
    if frame != *b"\x81\x05" || text != *b"hello" {
        return Err(format!("another frame: {frame:?} {text:?}"));
    }
    stream.write_all(b"\x88\x80\0\0\0\0").await.map_err(broke("closed"))?;
    Ok(version)
}

/// The cluster and the program that serves it, in clear text and over TLS.
struct World {
    cluster: DemoCluster,
    server: Server,
    door: Door,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", HOST)];
        Self::with(vec![AppSpec::http("app", INSTANCES, &labels)]).await
    }

    async fn with(mut apps: Vec<AppSpec>) -> Self {
        apps.iter_mut().for_each(|app| app.kill_grace = Duration::from_millis(200));
        let instances: usize = apps.iter().map(|app| app.instances).sum();
        let cluster = soon(DemoCluster::start(DemoOptions { apps, ..DemoOptions::fast() })).await.unwrap();
        soon(cluster.ready()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        std::fs::write(folder.path().join("app.crt"), pair.cert.pem()).unwrap();
        std::fs::write(folder.path().join("app.key"), pair.signing_key.serialize_pem()).unwrap();
        let mut config = Config::default();
        let masters: Vec<String> = cluster.masters().iter().map(ToString::to_string).collect();
        let masters: Vec<&str> = masters.iter().map(String::as_str).collect();
        let mut mesos = MesosConfig::with_masters("demo", "mesos", &masters);
        mesos.max_backoff = Duration::from_millis(200);
        config.mesos.push(mesos);
        config.upstreams.allowed_networks.push(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into());
        config.server.workers = 2;
        let listener = |name: &str, certificates| ListenerConfig {
            certificates,
            // Two listeners are two addresses, also before they are bound.
            ..ListenerConfig::plain(name, ports::unused())
        };
        config.proxy.listeners = vec![listener("http", None), listener("https", Some(folder.path().to_owned()))];
        let server = tokio::task::block_in_place(|| Server::start(config, Options::default())).unwrap();
        let proxy = &server.addresses().proxy;
        let tls = |alpn: &[&[u8]]| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(pair.cert.der().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let door = Door { clear: proxy[0], secure: proxy[1], tls: tls(&[b"http/1.1"]), tls_http2: tls(&[b"h2"]) };
        let world = Self { cluster, server, door, _folder: folder };
        world.until("all instances are served", |table| available(table) == instances).await;
        world
    }

    async fn until(&self, what: &str, condition: impl Fn(&Table) -> bool) {
        let mut generations = self.server.table().watch();
        let come_true = async {
            while !condition(&self.server.table().load()) {
                generations.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(PATIENCE, come_true).await.is_ok(), "{what}: did not come true");
    }

    fn lost_by_ledger(&self) -> u64 {
        self.server.deploys().lock().deploys().iter().map(|deploy| deploy.tally.lost).sum()
    }

    async fn stop(self) {
        tokio::task::block_in_place(|| self.server.stop(Duration::from_secs(5)));
        soon(self.cluster.stop()).await;
    }
}

fn available(table: &Table) -> usize {
    table.services.values().map(|service| service.available.len()).sum()
}

async fn rolling(way: Way) {
    let world = World::start().await;
    let load = Load::start(&world.door, way);
    load.more(50).await;
    let (mut deploys, begun) = (0, load.asked());
    while deploys == 0 || load.asked() - begun < least() {
        soon(world.cluster.scheduler().deploy("app")).await.unwrap();
        deploys += 1;
    }
    let tally = load.finish().await;
    let asked: u64 = tally.by_version.values().sum();
    println!("{way:?}: {deploys} deploys, lost {} of {}", tally.lost.len(), asked + tally.lost.len() as u64);
    assert!(tally.lost.is_empty(), "{:?}", &tally.lost[..tally.lost.len().min(5)]);
    assert!(tally.by_version.len() >= 2, "the new version answered: {:?}", tally.by_version);
    // The ledger says the same.
    assert_eq!(world.lost_by_ledger(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_request_over_http2() {
    rolling(Way::Http2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_request_over_tls() {
    rolling(Way::Tls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_request_over_http2_and_tls() {
    rolling(Way::TlsHttp2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_loses_no_web_socket() {
    rolling(Way::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_zero_and_back_each_request_is_answered_or_told_to_come_again() {
    let world = World::start().await;
    let load = Load::start(&world.door, Way::Tls);
    load.more(50).await;
    for _ in 0..3 {
        soon(world.cluster.scheduler().scale("app", 0)).await.unwrap();
        world.until("nothing is left", |table| available(table) == 0 && table.tasks.is_empty()).await;
        // The host stays the service's: nobody else answers, and clients are told to come again.
        let empty = get(world.door.clear).await;
        assert!(empty.starts_with("HTTP/1.1 503 ") && empty.contains("\r\nretry-after: 1\r\n"), "{empty}");
        assert!(empty.contains("x-pointsman-reason: no-endpoint"), "{empty}");
        soon(world.cluster.scheduler().scale("app", INSTANCES)).await.unwrap();
        world.until("all are back", |table| available(table) == INSTANCES).await;
        load.more(50).await;
    }
    let tally = load.finish().await;
    // What was under way when the last task was told to end was answered; all else was told.
    let other: Vec<_> = tally.lost.iter().filter(|what| *what != "503 no-endpoint").collect();
    assert!(other.is_empty(), "{:?}", &other[..other.len().min(5)]);
    let answered: u64 = tally.by_version.values().sum();
    assert!(
        !tally.lost.is_empty() && answered > 100,
        "{} were told to come again, {answered} answered",
        tally.lost.len()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_only_instance_is_killed_answers_503_and_not_anothers_wildcard() {
    let one = AppSpec::http("one", 1, &[("pointsman.host", HOST)]);
    let all = AppSpec::http("all", 1, &[("pointsman.host", "*.test")]);
    let world = World::with(vec![one, all]).await;
    let answers = |text: &str, app: &str| {
        text.starts_with("HTTP/1.1 200 ") && text.contains(&format!("\r\nx-demo-app: {app}\r\n"))
    };
    let before = get(world.door.clear).await;
    assert!(answers(&before, "one"), "{before}");
    let beside = get_host(world.door.clear, "other.test").await;
    assert!(answers(&beside, "all"), "the wildcard serves what is nobody's: {beside}");

    soon(world.cluster.scheduler().scale("one", 0)).await.unwrap();
    world.until("its only instance is gone", |table| table.tasks.len() == 1).await;
    let killed = get(world.door.clear).await;
    assert!(killed.starts_with("HTTP/1.1 503 ") && killed.contains("\r\nretry-after: 1\r\n"), "{killed}");
    assert!(killed.contains("x-pointsman-reason: no-endpoint") && !killed.contains("x-demo-app"), "{killed}");
    let beside = get_host(world.door.clear, "other.test").await;
    assert!(answers(&beside, "all"), "{beside}");

    soon(world.cluster.scheduler().scale("one", 1)).await.unwrap();
    world.until("it is back", |table| available(table) == 2).await;
    let after = get(world.door.clear).await;
    assert!(answers(&after, "one"), "{after}");
    world.stop().await;
}

async fn get(address: SocketAddr) -> String {
    get_host(address, HOST).await
}

async fn get_host(address: SocketAddr, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}
