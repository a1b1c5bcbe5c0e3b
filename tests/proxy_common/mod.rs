//! A proxy of one worker with a table built by hand, and small backends over plain TCP.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../common/ports.rs"]
pub mod ports;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use pointsman::config::Config;
use pointsman::labels::host::HostPattern;
use pointsman::model::endpoint::{Endpoint, EndpointId, EndpointState, Family, Weight};
use pointsman::model::id::{ServiceId, TaskKey};
use pointsman::model::service::{Protocol, Service, Target};
use pointsman::model::task::Label;
use pointsman::model::time::Timestamp;
use pointsman::proxy::balance::WorkerSeat;
use pointsman::proxy::drain::Drain;
use pointsman::proxy::http1::Engine;
use pointsman::proxy::listen::{self, Entrance, Listener};
use pointsman::proxy::metrics::ProxyMetrics;
use pointsman::proxy::tls::TlsListener;
use pointsman::proxy::tls::profiles::{Profiles, TlsProfiles};
use pointsman::proxy::worker::{self, ProxyWorker};
use pointsman::table::Table;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;
use pointsman::table::routes::Route;
use pointsman::table::ways::Way;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Every test of the proxy runs with both implementations of HTTP/1.1: `proxy_by_hyper` has them all once more.
pub fn engine() -> Engine {
    match env!("CARGO_CRATE_NAME") {
        "proxy_by_hyper" => Engine::Hyper,
        _ => Engine::Own,
    }
}

/// The longest a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test if something takes too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what} did not come true");
}

pub fn service_id(name: &str) -> ServiceId {
    ServiceId::new("c".into(), "f", name, "0")
}

/// Builds tables.
pub struct Cluster(pub Table);

impl Cluster {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a configuration.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let mut table = Table::empty(Arc::new(config));
        table.ready = true;
        table.generation = 1;
        Self(table)
    }

    pub fn service(self, name: &str, protocol: Protocol, addresses: &[SocketAddr]) -> Self {
        let endpoints: Vec<_> = addresses.iter().map(|address| (*address, EndpointState::Ready)).collect();
        self.service_in(name, protocol, &endpoints)
    }

    /// A service whose endpoints are in these states; those that are not ready are not available.
    pub fn service_in(mut self, name: &str, protocol: Protocol, endpoints: &[(SocketAddr, EndpointState)]) -> Self {
        let id = service_id(name);
        let endpoints: Vec<_> =
            endpoints.iter().map(|(address, state)| self.endpoint(&id, protocol, *address, *state)).collect();
        let service = Service {
            id: id.clone(),
            framework: "f".into(),
            protocol,
            available: endpoints.iter().filter(|e| e.state == EndpointState::Ready).cloned().collect(),
            endpoints: endpoints.into_iter().collect(),
            sticky: Default::default(),
            ring: None,
            panic: false,
            rules: None,
            mixed_rules: false,
            shares: None,
            said_shares: 0,
            empty_since: None,
        };
        self.0.services.insert(id, Arc::new(service));
        self
    }

    fn endpoint(
        &self,
        service: &ServiceId,
        protocol: Protocol,
        address: SocketAddr,
        state: EndpointState,
    ) -> Arc<Endpoint> {
        let task = TaskKey::new("c".into(), "f".into(), format!("{}.{}", service.name(), address.port()));
        let id = EndpointId { task, port: "0".into(), family: Family::V4 };
        let known = self.0.service(service).and_then(|service| service.endpoint(&id)).map(|e| e.run.clone());
        Arc::new(Endpoint {
            id,
            service: service.clone(),
            address,
            protocol,
            tls: protocol.is_secure().then(Default::default),
            proxy_protocol: None,
            version: "1".into(),
            weight: Weight::default(),
            version_weight: None,
            deployment: None,
            state,
            agent: None,
            ready_since: None,
            drain_time: None,
            sticky: false,
            balance: None,
            bounds: None,
            rules: None,
            check: None,
            run: known.unwrap_or_default(),
        })
    }

    /// Makes endpoints of a service other than they were built.
    pub fn endpoints(mut self, service: &str, change: impl Fn(&mut Endpoint)) -> Self {
        let id = service_id(service);
        let mut service = (**self.0.service(&id).unwrap()).clone();
        let changed = |known: &Arc<Endpoint>| {
            let mut endpoint = (**known).clone();
            change(&mut endpoint);
            Arc::new(endpoint)
        };
        service.endpoints = service.endpoints.iter().map(changed).collect();
        let ready = |endpoint: &&Arc<Endpoint>| endpoint.state == EndpointState::Ready && endpoint.weight.0 > 0;
        service.available = service.endpoints.iter().filter(ready).cloned().collect();
        service.sticky = service.endpoints.iter().filter(|e| e.sticky).map(|e| Arc::new((&e.id).into())).collect();
        self.0.services.insert(id, Arc::new(service));
        self
    }

    pub fn route(mut self, host: &str, path: &str, service: &str) -> Self {
        let owner = service_id(service);
        self.0.routes.insert(Arc::new(Route {
            targets: [Target { service: owner.clone(), version: None, weight: 1 }].into(),
            owner,
            name: "default".into(),
            host: HostPattern::parse(host).unwrap(),
            path: path.into(),
            refined: None,
            priority: 0,
            since: Timestamp(0),
            actions: None,
        }));
        self
    }

    /// The routes that labels come to, `key=value` each.
    pub fn labelled(mut self, labels: &[&str], service: &str) -> Self {
        let label = |line: &&str| {
            let (key, value) = line.split_once('=').unwrap();
            Label { key: key.into(), value: value.into() }
        };
        let labels: Vec<Label> = labels.iter().map(label).collect();
        let reading = pointsman::labels::read_declared(&labels, "0", &["*".to_owned()]);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let owner = service_id(service);
        if let Some(rules) = reading.spec.ports.iter().find_map(|port| port.rules.clone()) {
            let known = self.0.service(&owner).unwrap();
            let service = Service { rules: Some(rules), ..(**known).clone() };
            self.0.services.insert(owner.clone(), Arc::new(service));
        }
        for route in reading.spec.ports.iter().flat_map(|port| &port.routes) {
            for host in &route.hosts {
                self.0.routes.insert(Arc::new(Route {
                    targets: [Target { service: owner.clone(), version: None, weight: 1 }].into(),
                    owner: owner.clone(),
                    name: route.name.clone(),
                    host: host.clone(),
                    path: route.path.clone(),
                    refined: route.refined.clone(),
                    priority: 0,
                    since: Timestamp(0),
                    actions: route.actions.clone(),
                }));
            }
        }
        self
    }

    /// A service gets TLS connections for a name as they are.
    pub fn passes(mut self, host: &str, service: &str) -> Self {
        let way = Way { owner: service_id(service), priority: 0, since: Timestamp(0) };
        self.0.ways.names.insert(HostPattern::parse(host).unwrap(), Arc::new(way));
        self
    }

    /// One service behind every host.
    pub fn everything(protocol: Protocol, addresses: &[SocketAddr]) -> Self {
        Self::new().service("web", protocol, addresses).route("*", "/", "web")
    }

    pub fn serve(self) -> Proxy {
        Proxy::start(self.0, None)
    }

    /// With a certain implementation of HTTP/1.1.
    pub fn serve_by(self, engine: Engine) -> Proxy {
        Proxy::start_as(self.0, Setup { engine, ..Setup::default() })
    }

    /// With connections from these networks that begin with a header of the PROXY protocol.
    pub fn serve_announced(self, networks: &[&str]) -> Proxy {
        let announcers = networks.iter().map(|network| network.parse().unwrap()).collect();
        Proxy::start_as(self.0, Setup { announcers, ..Setup::default() })
    }

    /// As the port that a service holds.
    pub fn serve_port(mut self, port: u16, service: &str) -> Proxy {
        let way = Way { owner: service_id(service), priority: 0, since: Timestamp(0) };
        self.0.ways.ports.insert(port, Arc::new(way));
        Proxy::start_as(self.0, Setup { entrance: Entrance::Port(port), ..Setup::default() })
    }
}

/// How a proxy listens.
pub struct Setup {
    pub tls: Option<TlsListener>,
    pub engine: Engine,
    pub passes: bool,
    pub announcers: Vec<IpNet>,
    pub entrance: Entrance,
}

impl Default for Setup {
    fn default() -> Self {
        Self { tls: None, engine: engine(), passes: false, announcers: Vec::new(), entrance: Entrance::Host }
    }
}

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    pub tables: Arc<TableHandle>,
    pub metrics: ProxyMetrics,
    pub profiles: Arc<TlsProfiles>,
    pub entrance: Entrance,
    pub drain: watch::Sender<Drain>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    pub fn start(table: Table, tls: Option<TlsListener>) -> Self {
        Self::start_as(table, Setup { tls, ..Setup::default() })
    }

    pub fn start_as(table: Table, setup: Setup) -> Self {
        let Setup { tls, engine, passes, announcers, entrance } = setup;
        let profiles: Arc<TlsProfiles> = Arc::default();
        let entries = &table.config.upstreams.tls;
        profiles.replace(Profiles::read(entries).unwrap(), entries);
        let tables = Arc::new(TableHandle::new(table, 8));
        let metrics = ProxyMetrics::new(1);
        let (drain, signal) = watch::channel(Drain::Serving);
        let socket = listen::bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let worker = ProxyWorker {
            seat: WorkerSeat { index: 0, workers: 1 },
            listeners: vec![Listener {
                name: "test".into(),
                socket,
                is_inherited: false,
                tls,
                entrance,
                passes,
                announcers: announcers.into(),
                drain: None,
            }],
            arrivals: None,
            reader: tables.reader(),
            generations: tables.watch(),
            shard: metrics.shard(0),
            tls: profiles.clone(),
            challenges: Arc::default(),
            drain: signal,
            engine,
            access_log: None,
            spans: None,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, worker::serve(worker));
        });
        Self { address, tables, metrics, profiles, entrance, drain, thread: Some(thread) }
    }

    pub fn publish(&self, cluster: Cluster) {
        let mut table = cluster.0;
        table.generation = self.tables.load().generation + 1;
        let record = VersionRecord { events: 1, causes: Vec::new(), tasks_changed: 0, publish_ns: 0 };
        self.tables.publish(Arc::new(table), record);
    }

    pub fn in_flight(&self) -> u64 {
        let table = self.tables.load();
        let service = table.service(&service_id("web")).unwrap().clone();
        service.endpoints.iter().map(|endpoint| endpoint.run.in_flight()).sum()
    }

    /// A number from the metrics: the line that begins with `name`.
    pub fn metric(&self, name: &str) -> f64 {
        let registry = prometheus::Registry::new();
        self.metrics.register(&registry).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Sends raw text on a new connection and reads until the proxy closes it.
    pub async fn raw(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// A GET whose connection closes.
    pub async fn get(&self, host: &str, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    /// Stops it and waits for its end.
    pub async fn stop(&mut self, time: Duration) {
        self.drain.send_replace(Drain::Until(tokio::time::Instant::now() + time));
        let thread = self.thread.take().unwrap();
        soon(tokio::task::spawn_blocking(move || thread.join().unwrap())).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.drain.send_replace(Drain::Until(tokio::time::Instant::now()));
    }
}

/// Reads to the end, or to the error that ends it.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one head (through the empty line).
pub async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads one answer with a `Content-Length`.
pub async fn read_answer(stream: &mut TcpStream) -> String {
    let mut head = soon(read_head(stream)).await.expect("an answer");
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    head.push_str(&String::from_utf8_lossy(&body));
    head
}

/// A header of a message.
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

pub fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A backend over plain TCP.
pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// Runs `conversation` for each connection; its number counts from 0.
    pub async fn start<F, C>(conversation: F) -> Self
    where
        F: Fn(TcpStream, usize) -> C + Send + Sync + 'static,
        C: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                conversations.spawn(conversation(stream, counter.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, connections, task }
    }

    /// Answers every request on every connection with `text`.
    pub async fn saying(text: &'static str) -> Self {
        Self::start(move |mut stream, _| async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(ok(text).as_bytes()).await.unwrap();
            }
        })
        .await
    }

    /// Answers with the head it was sent.
    pub async fn echoing_heads() -> Self {
        Self::start(|mut stream, _| async move {
            while let Some(head) = read_head(&mut stream).await {
                stream.write_all(ok(&head).as_bytes()).await.unwrap();
            }
        })
        .await
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address that refuses connections.
pub fn refusing() -> SocketAddr {
    ports::unused()
}

/// A 200 with a body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An endpoint of HTTP/2 in clear text that has `serve` answer each request.
pub async fn serving_streams<F>(
    serve: impl Fn(http::Request<h2::RecvStream>, h2::server::SendResponse<bytes::Bytes>) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = Result<(), h2::Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let serve = serve.clone();
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut serving = JoinSet::new();
                while let Some(Ok((request, answer))) = connection.accept().await {
                    serving.spawn(serve(request, answer));
                }
            });
        }
    });
    address
}
