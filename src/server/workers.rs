//! The worker threads: each a current-thread runtime with sockets, upstream connections and metrics of its own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::notify::Inherited;
use super::startup::StartError;
use crate::config::Config;
use crate::config::checked::ListenerConfig;
use crate::config::watch::Watch;
use crate::dns::metrics::DnsMetrics;
use crate::dns::transport::bind::WorkerSockets;
use crate::dns::{self, DnsWorker};
use crate::proxy::balance::WorkerSeat;
use crate::proxy::drain::Drain;
use crate::proxy::listen::{self, Listener};
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::tls::TlsListener;
use crate::proxy::tls::store::Certificates;
use crate::proxy::worker::{self as proxy_worker, ProxyWorker};
use crate::table::handle::TableHandle;

/// The running workers and what they listen on.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<Thread>,
    drain: watch::Sender<Drain>,
    dns: Option<DnsListeners>,
    proxy: HashMap<SocketAddr, ProxyListener>,
    certificates: HashMap<PathBuf, Folder>,
    control: tokio::runtime::Handle,
}

/// Ends a stop that takes too long.
#[derive(Clone, Debug)]
pub struct Hurry(watch::Sender<Drain>);

impl Hurry {
    /// Gives up what is still in flight.
    pub fn now(&self) {
        self.0.send_replace(Drain::Until(tokio::time::Instant::now()));
    }
}

/// Where everything listens.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening {
    pub(super) dns: Vec<SocketAddr>,
    pub(super) proxy: Vec<SocketAddr>,
}

/// Sockets of a configuration that are bound and not yet served.
pub(super) struct Opened {
    dns: Option<(Vec<WorkerSockets>, Vec<SocketAddr>, Vec<IpAddr>)>,
    proxy: Vec<(ListenerConfig, SocketAddr, Vec<std::net::TcpListener>, Option<TlsListener>)>,
}

#[derive(Debug)]
struct Thread {
    dns: mpsc::Sender<DnsStart>,
    proxy: mpsc::Sender<Listener>,
    thread: std::thread::JoinHandle<()>,
}

/// DNS sockets that a worker shall serve.
struct DnsStart {
    sockets: WorkerSockets,
    own_addresses: Arc<[IpAddr]>,
    draining: watch::Receiver<bool>,
}

#[derive(Debug)]
struct DnsListeners {
    configured: Vec<SocketAddr>,
    draining: watch::Sender<bool>,
}

#[derive(Debug)]
struct ProxyListener {
    config: ListenerConfig,
    drain: watch::Sender<Drain>,
}

/// A folder of certificates that is followed.
#[derive(Debug)]
struct Folder {
    store: Arc<Certificates>,
    _watch: Option<Watch>,
}

/// What the threads are started with.
pub(super) struct WorkerParts {
    pub(super) table: Arc<TableHandle>,
    pub(super) dns: DnsMetrics,
    pub(super) proxy: ProxyMetrics,
    pub(super) control: tokio::runtime::Handle,
}

impl Workers {
    /// Starts the threads, without listeners.
    pub(super) fn start(count: usize, parts: &WorkerParts) -> Result<Self, StartError> {
        let (drain, signal) = watch::channel(Drain::Serving);
        let mut threads = Vec::new();
        for index in 0..count {
            threads.push(start_thread(WorkerSeat { index, workers: count }, parts, signal.clone())?);
        }
        Ok(Self {
            threads,
            drain,
            dns: None,
            proxy: HashMap::new(),
            certificates: HashMap::new(),
            control: parts.control.clone(),
        })
    }

    /// Binds what `config` adds to what is open.
    ///
    /// # Errors
    /// The first address that cannot be bound, or certificates that cannot be read; nothing has changed then.
    pub(super) fn open(&mut self, config: &Config, inherited: &mut Inherited) -> Result<Opened, StartError> {
        let count = self.threads.len();
        let mut opened = Opened { dns: None, proxy: Vec::new() };
        if self.dns.as_ref().is_none_or(|dns| dns.configured != config.dns.listen) && !config.dns.listen.is_empty() {
            let bound = dns::transport::bind::bind(&config.dns.listen, count)?;
            let own = dns::transport::bind::own_addresses(&bound.addresses);
            opened.dns = Some((bound.workers, bound.addresses, own));
        }
        for listener in &config.proxy.listeners {
            let running = self.proxy.get(&listener.address).map(|running| &running.config);
            if running == Some(listener) {
                continue;
            }
            let is_open = running.is_some();
            let tls = match &listener.certificates {
                Some(folder) => Some(TlsListener::new(self.certificates(folder)?)?),
                None => None,
            };
            // The same address with other settings: its sockets are shared, so that no connection is refused between.
            let sockets = match inherited.take(&listener.name) {
                Some(socket) => listen::share(socket, count).map_err(StartError::Inherited)?,
                None if is_open => listen::bind_beside(listener.address, count)?,
                None => listen::bind(listener.address, count)?,
            };
            let address = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(listener.address);
            opened.proxy.push((listener.clone(), address, sockets, tls));
        }
        Ok(opened)
    }

    /// Serves what was opened and takes out of service what `config` no longer has.
    pub(super) fn serve(&mut self, config: &Config, opened: Opened, drain_time: Duration) -> Listening {
        let mut listening = Listening::default();
        let until = Drain::Until(tokio::time::Instant::from_std(Instant::now() + drain_time));
        if config.dns.listen != self.dns.as_ref().map(|dns| dns.configured.clone()).unwrap_or_default() {
            let former = self.dns.take();
            if let Some((workers, addresses, own)) = opened.dns {
                listening.dns = addresses;
                self.serve_dns(config.dns.listen.clone(), workers, &own.into());
            }
            if let Some(former) = former {
                former.draining.send_replace(true);
            }
        }
        let wanted = &config.proxy.listeners;
        let leaving: Vec<_> = self
            .proxy
            .extract_if(|_, running| !wanted.contains(&running.config))
            .map(|(_, listener)| listener)
            .collect();
        for (listener, address, sockets, tls) in opened.proxy {
            listening.proxy.push(address);
            self.serve_proxy(listener, sockets, tls.as_ref());
        }
        // Old sockets are drained only once the new ones accept.
        for listener in leaving {
            listener.drain.send_replace(until);
        }
        let used: Vec<_> = wanted.iter().filter_map(|listener| listener.certificates.clone()).collect();
        self.certificates.retain(|folder, _| used.contains(folder));
        listening
    }

    /// Stops accepting, waits for what is in flight for `drain_time` at most, ends the threads.
    pub(super) fn stop(&mut self, drain_time: Duration) {
        if let Some(dns) = self.dns.take() {
            dns.draining.send_replace(true);
        }
        let deadline = tokio::time::Instant::from_std(Instant::now() + drain_time);
        self.drain.send_replace(Drain::Until(deadline));
        for thread in self.threads.drain(..) {
            // Without senders a worker whose work is done ends.
            drop((thread.dns, thread.proxy));
            if thread.thread.join().is_err() {
                tracing::error!("a worker's thread panicked");
            }
        }
        self.proxy.clear();
    }

    /// A second word: what is still in flight is given up now.
    pub(super) fn hurry_handle(&self) -> Hurry {
        Hurry(self.drain.clone())
    }

    fn serve_dns(&mut self, configured: Vec<SocketAddr>, workers: Vec<WorkerSockets>, own: &Arc<[IpAddr]>) {
        let (draining, signal) = watch::channel(false);
        for (thread, sockets) in self.threads.iter().zip(workers) {
            let start = DnsStart { sockets, own_addresses: own.clone(), draining: signal.clone() };
            if thread.dns.try_send(start).is_err() {
                tracing::error!("a worker does not take its DNS sockets");
            }
        }
        self.dns = Some(DnsListeners { configured, draining });
    }

    fn serve_proxy(&mut self, config: ListenerConfig, sockets: Vec<std::net::TcpListener>, tls: Option<&TlsListener>) {
        let (drain, signal) = watch::channel(Drain::Serving);
        for (thread, socket) in self.threads.iter().zip(sockets) {
            let listener =
                Listener { name: config.name.clone(), socket, tls: tls.cloned(), drain: Some(signal.clone()) };
            if thread.proxy.try_send(listener).is_err() {
                tracing::error!(listener = %config.name, "a worker does not take its listener");
            }
        }
        self.proxy.insert(config.address, ProxyListener { config, drain });
    }

    /// The certificates of a folder, followed from the first use on.
    fn certificates(&mut self, folder: &PathBuf) -> Result<Arc<Certificates>, StartError> {
        if let Some(known) = self.certificates.get(folder) {
            return Ok(known.store.clone());
        }
        let (store, bad) =
            Certificates::load(folder).map_err(|source| StartError::Certificates { folder: folder.clone(), source })?;
        for pair in bad {
            tracing::warn!(folder = %folder.display(), pair = %pair, "certificate cannot be used, others are");
        }
        let watch = Watch::start(folder)
            .inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "cannot watch certificates"))
            .ok();
        if let Some(watch) = &watch {
            self.control.spawn(store.clone().follow(watch.receiver()));
        }
        self.certificates.insert(folder.clone(), Folder { store: store.clone(), _watch: watch });
        Ok(store)
    }
}

fn start_thread(seat: WorkerSeat, parts: &WorkerParts, drain: watch::Receiver<Drain>) -> Result<Thread, StartError> {
    let (dns, dns_starts) = mpsc::channel(4);
    let (proxy, arrivals) = mpsc::channel(64);
    let table = parts.table.clone();
    let dns_metrics = parts.dns.worker(seat.index);
    let shard = parts.proxy.shard(seat.index);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", seat.index))
        .spawn(move || {
            let proxy = ProxyWorker {
                seat,
                listeners: Vec::new(),
                arrivals: Some(arrivals),
                reader: table.reader(),
                generations: table.watch(),
                shard,
                drain,
            };
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                tokio::join!(proxy_worker::serve(proxy), serve_dns(dns_starts, &table, dns_metrics));
            });
        })
        .map_err(StartError::Thread)?;
    Ok(Thread { dns, proxy, thread })
}

/// Serves DNS on whatever sockets come, until there will be no more and all are drained.
async fn serve_dns(
    mut starts: mpsc::Receiver<DnsStart>,
    table: &TableHandle,
    metrics: Arc<dns::metrics::WorkerMetrics>,
) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            start = starts.recv() => match start {
                Some(DnsStart { sockets, own_addresses, draining }) => {
                    let (names, metrics) = (table.reader(), metrics.clone());
                    running.spawn_local(dns::serve(DnsWorker { sockets, names, own_addresses, metrics, draining }));
                }
                None => break,
            },
            Some(ended) = running.join_next(), if !running.is_empty() => report(ended),
        }
    }
    while let Some(ended) = running.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<std::io::Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "DNS sockets cannot be served"),
        Err(error) => tracing::error!(%error, "DNS ended unexpectedly"),
    }
}
