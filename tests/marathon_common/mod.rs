//! A whole server that is told facts, and ways to ask it on any of its ports.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod server;

use std::net::SocketAddr;
use std::time::Duration;

use pointsman::cluster::event::{ClusterEvent, Fact, SourceEvent};
use pointsman::config::Config;
use pointsman::config::checked::{ListenerConfig, RouteBy};
use pointsman::deploys::record::Deploy;
use pointsman::model::problem::Problem;
use pointsman::server::{Options, Server};
use pointsman::table::Table;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::proxy_common::{PATIENCE, read_all, soon};

/// A running server with a listener by host and one by app.
pub struct Running {
    server: Option<Server>,
    /// By host.
    pub http: SocketAddr,
    /// By app.
    pub apps: SocketAddr,
    /// The others, in the order configured.
    pub more: Vec<SocketAddr>,
}

fn listener(name: &str, route_by: RouteBy) -> ListenerConfig {
    ListenerConfig { route_by, ..ListenerConfig::plain(name, crate::proxy_common::ports::unused()) }
}

impl Running {
    /// Starts with what `change` makes of a configuration that lets apps have any port of 127.0.0.1.
    pub fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.workers = 1;
        config.upstreams.allowed_networks.push("127.0.0.0/8".parse().unwrap());
        config.routing.require_port_resource = false;
        config.proxy.listeners = vec![listener("http", RouteBy::Host), listener("apps", RouteBy::App)];
        config.proxy.service_ports.addresses = vec![[127, 0, 0, 1].into()];
        config.proxy.service_ports.allowed = vec![pointsman::model::task::PortRange { begin: 1024, end: 65_535 }];
        change(&mut config);
        let server = std::thread::spawn(move || Server::start(config, Options::default()).unwrap()).join().unwrap();
        let proxy = server.addresses().proxy.clone();
        Self { http: proxy[0], apps: proxy[1], more: proxy[2..].to_vec(), server: Some(server) }
    }

    /// Says facts as a source whose stream is newer than any real one.
    pub async fn say(&self, source: &str, facts: Vec<Fact>) {
        let event = ClusterEvent::Source(SourceEvent { source: source.into(), stream: u64::MAX, facts });
        soon(self.server().events().send(event)).await.unwrap();
    }

    /// Applies another configuration.
    pub async fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = (*self.table().config).clone();
        change(&mut config);
        Box::pin(soon(self.server().reloader().apply(config))).await.unwrap();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn table(&self) -> std::sync::Arc<Table> {
        self.server().table().load()
    }

    /// The ledger's deploys, the newest first.
    pub fn deploys(&self) -> Vec<Deploy> {
        self.server().deploys().lock().deploys().into_iter().cloned().collect()
    }

    pub fn problems(&self) -> Vec<Problem> {
        self.table().problems.values().flat_map(|list| list.iter().cloned()).collect()
    }

    /// Waits until the table is as wanted.
    pub async fn table_until(&self, what: &str, condition: impl Fn(&Table) -> bool) {
        let wait = async {
            while !condition(&self.table()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let come = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(come, "{what} did not come true:\n{}", pointsman::table::dump::dump(&self.table()));
    }

    /// A number from the metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.server().registry().gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = std::thread::spawn(move || server.stop(Duration::ZERO)).join();
        }
    }
}

/// A connection to a listener that comes when it comes.
pub async fn connect(address: SocketAddr) -> TcpStream {
    let connect = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    soon(connect).await
}

/// Waits until nobody listens any more.
pub async fn closed(address: SocketAddr) {
    let wait = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(wait).await;
}

/// A request whose connection closes, with these header lines.
pub async fn ask(address: SocketAddr, method: &str, host: &str, path: &str, lines: &[(&str, &str)]) -> String {
    let mut stream = connect(address).await;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in lines {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut stream).await
}

/// A GET whose connection closes.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> String {
    ask(address, "GET", host, path, &[]).await
}
