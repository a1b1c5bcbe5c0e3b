//! The worker threads: each a current-thread runtime with sockets, upstream connections and metrics of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::endpoint_tls::{self, EndpointTlsFiles};
use super::listeners::{Listeners, Listening, Opened};
use super::notify::Inherited;
use super::service_ports::ServicePorts;
use super::startup::StartError;
use super::take_over::{Handed, Place};
use crate::config::Config;
use crate::dns::kept::Kept;
use crate::dns::log::LogSender;
use crate::dns::metrics::DnsMetrics;
use crate::dns::transport::bind::WorkerSockets;
use crate::dns::transport::secure::Secure;
use crate::dns::{self, DnsWorker};
use crate::proxy::access_log::AccessSender;
use crate::proxy::balance::WorkerSeat;
use crate::proxy::challenges::Challenges;
use crate::proxy::drain::Drain;
use crate::proxy::http1::Engine;
use crate::proxy::listen::Listener;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::spans::SpanSender;
use crate::proxy::tls::TlsListener;
use crate::proxy::tls::ends::CertificateEnds;
use crate::proxy::tls::faults::FileFaults;
use crate::proxy::tls::profiles::TlsProfiles;
use crate::proxy::tls::store::OnePair;
use crate::proxy::worker::{self as proxy_worker, ProxyWorker};
use crate::table::handle::TableHandle;
use crate::table::ways::WantedPort;

/// Sockets that may wait for a worker: many services may come at once.
const ORDERS: usize = 16_384;

/// The running workers and what they listen on.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<Thread>,
    drain: watch::Sender<Drain>,
    listeners: Listeners,
    ports: ServicePorts,
    /// Sockets of ports of services that another process has handed over.
    handed: Handed,
    /// Another process serves: nothing is opened any more.
    is_given: bool,
    endpoint_tls: EndpointTlsFiles,
}

/// What a configuration adds: bound and read, and not yet in force.
pub(super) struct Prepared {
    opened: Opened,
    endpoint_tls: endpoint_tls::Prepared,
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

/// Sockets for all workers, one entry for each.
pub(super) enum Orders {
    /// An address of the DNS server.
    Dns(Vec<DnsStart>),
    /// A listener of the proxy.
    Proxy(Vec<Listener>),
}

#[derive(Debug)]
struct Thread {
    dns: mpsc::Sender<DnsStart>,
    proxy: mpsc::Sender<Listener>,
    thread: std::thread::JoinHandle<()>,
}

/// DNS sockets that a worker shall serve.
pub(super) struct DnsStart {
    pub(super) sockets: WorkerSockets,
    pub(super) secure: Option<Secure>,
    pub(super) own_addresses: Arc<[IpAddr]>,
    pub(super) drain: watch::Receiver<dns::Drain>,
}

/// What the threads are started with.
pub(super) struct WorkerParts {
    pub(super) table: Arc<TableHandle>,
    pub(super) dns: DnsMetrics,
    pub(super) dns_log: LogSender,
    pub(super) proxy: ProxyMetrics,
    pub(super) access_log: AccessSender,
    pub(super) spans: Option<SpanSender>,
    pub(super) tls: Arc<TlsProfiles>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) ends: CertificateEnds,
    pub(super) faults: FileFaults,
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
            listeners: Listeners::new(parts),
            ports: ServicePorts::default(),
            handed: Handed::default(),
            is_given: false,
            endpoint_tls: EndpointTlsFiles::new(parts.tls.clone(), &parts.faults, parts.control.clone()),
        })
    }

    /// Binds what `config` adds to what is open, and reads its files. Nothing is changed by it: what is opened and not
    /// served leaves no trace.
    ///
    /// # Errors
    /// The first address that cannot be bound, or files that cannot be read.
    pub(super) fn open(&self, config: &Config, inherited: &mut Inherited) -> Result<Prepared, StartError> {
        let endpoint_tls = self.endpoint_tls.prepare(&config.upstreams.tls)?;
        Ok(Prepared { opened: self.listeners.open(config, inherited, self.threads.len())?, endpoint_tls })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Every listening socket under a further descriptor, for a process that takes over.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<(Place, OwnedFd)>> {
        Ok([self.listeners.sockets()?, self.ports.sockets()?].into_iter().flatten().collect())
    }

    /// Accepts no more at these places: another process does.
    pub(super) fn hand_over(&mut self, places: &[Place]) {
        self.is_given = true;
        self.listeners.hand_over(places);
        self.ports.hand_over(places);
    }

    /// Keeps what was handed over and is left, for ports of services.
    pub(super) fn keep_handed(&mut self, handed: Handed) {
        self.handed = handed;
    }

    /// What was taken of it; the rest is closed.
    pub(super) fn handed_taken(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.handed).finish()
    }

    /// Serves what was opened and takes out of service what `config` no longer has.
    pub(super) fn serve(&mut self, config: &Config, prepared: Prepared, drain_time: Duration) -> Listening {
        let Prepared { opened, endpoint_tls } = prepared;
        self.endpoint_tls.apply(&config.upstreams.tls, endpoint_tls);
        for orders in self.listeners.serve(config, opened, drain_time) {
            match orders {
                Orders::Dns(starts) => {
                    for (thread, start) in self.threads.iter().zip(starts) {
                        give(&thread.dns, start);
                    }
                }
                Orders::Proxy(listeners) => {
                    for (thread, listener) in self.threads.iter().zip(listeners) {
                        give(&thread.proxy, listener);
                    }
                }
            }
        }
        self.listeners.end_former();
        self.listeners.listening(config)
    }

    /// Opens and closes listeners of ports that services hold, one by one, until they are those `wanted`. Returns those
    /// that cannot be opened, and why; nothing else is touched by them.
    pub(super) fn serve_ports(&mut self, wanted: &[WantedPort], config: &Config) -> BTreeMap<u16, Arc<str>> {
        if self.is_given {
            return BTreeMap::new();
        }
        let until = Drain::Until(tokio::time::Instant::from_std(Instant::now() + config.server.drain_time));
        self.ports.close_others(wanted, until);
        let mut faults = BTreeMap::new();
        // While the program stops, nothing is opened any more.
        let wanted = if self.threads.is_empty() { &[] } else { wanted };
        for wanted in wanted {
            if let Err(fault) = self.serve_port(wanted, config, until) {
                faults.insert(wanted.port, fault.into());
            }
        }
        faults
    }

    fn serve_port(&mut self, wanted: &WantedPort, config: &Config, until: Drain) -> Result<(), String> {
        let settings = &config.proxy.service_ports;
        if self.ports.is_open(wanted, settings) {
            return Ok(());
        }
        let tls = self.port_tls(wanted, config)?;
        let workers = (self.threads.len(), &mut self.handed);
        for listeners in self.ports.open(wanted, settings, tls.as_ref(), until, workers)? {
            for (thread, listener) in self.threads.iter().zip(listeners) {
                give(&thread.proxy, listener);
            }
        }
        tracing::info!(port = wanted.port, "listening for a service");
        Ok(())
    }

    fn port_tls(&mut self, wanted: &WantedPort, config: &Config) -> Result<Option<TlsListener>, String> {
        let Some(name) = &wanted.certificate else { return Ok(None) };
        let Some(folder) = &config.proxy.service_ports.certificates else {
            let mend = "set proxy.service_ports.certificates";
            return Err(format!("there is no folder to find the certificate {name:?} in: {mend}"));
        };
        let store = self.listeners.certificates(folder).map_err(|error| error.to_string())?;
        let pair = OnePair::new(store.clone(), name.clone());
        let pair = pair.ok_or_else(|| format!("{} holds no certificate called {name:?}", folder.display()))?;
        let options = self.listeners.tls_options(&format!("port {}", wanted.port).into());
        TlsListener::of_one(pair, store, &options).map(Some).map_err(|error| error.to_string())
    }

    /// Stops accepting, waits for what is in flight for `drain_time` at most, ends the threads.
    pub(super) fn stop(&mut self, drain_time: Duration) {
        self.listeners.give_up();
        self.ports.give_up();
        let deadline = tokio::time::Instant::from_std(Instant::now() + drain_time);
        self.drain.send_replace(Drain::Until(deadline));
        for thread in self.threads.drain(..) {
            // Without senders a worker whose work is done ends.
            drop((thread.dns, thread.proxy));
            if thread.thread.join().is_err() {
                tracing::error!("a worker's thread panicked");
            }
        }
    }

    /// A second word: what is still in flight is given up now.
    pub(super) fn hurry_handle(&self) -> Hurry {
        Hurry(self.drain.clone())
    }
}

/// A worker that has not looked at what it was given before is stuck: it could not serve this either.
fn give<T>(worker: &mpsc::Sender<T>, order: T) {
    if worker.try_send(order).is_err() {
        tracing::error!("a worker does not take its sockets");
    }
}

fn start_thread(seat: WorkerSeat, parts: &WorkerParts, drain: watch::Receiver<Drain>) -> Result<Thread, StartError> {
    let (dns, dns_starts) = mpsc::channel(ORDERS);
    let (proxy, arrivals) = mpsc::channel(ORDERS);
    let table = parts.table.clone();
    let dns_metrics = parts.dns.worker(seat.index);
    let dns_log = parts.dns_log.clone();
    let (shard, tls) = (parts.proxy.shard(seat.index), parts.tls.clone());
    let (access_log, challenges) = (Some(parts.access_log.clone()), parts.challenges.clone());
    let spans = parts.spans.clone();
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
                tls,
                challenges,
                drain,
                engine: Engine::default(),
                access_log,
                spans,
            };
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                tokio::join!(proxy_worker::serve(proxy), serve_dns(dns_starts, &table, &dns_log, dns_metrics));
            });
        })
        .map_err(StartError::Thread)?;
    Ok(Thread { dns, proxy, thread })
}

/// Serves DNS on whatever sockets come, until there will be no more and all are drained. What is kept outlives them: another
/// address, or one less, costs nobody an answer.
async fn serve_dns(
    mut starts: mpsc::Receiver<DnsStart>,
    table: &Arc<TableHandle>,
    log: &LogSender,
    metrics: Arc<dns::metrics::WorkerMetrics>,
) {
    let kept = Rc::new(Kept::new(metrics));
    let mut running = JoinSet::new();
    loop {
        // Cancel safe: both only wait. In order, because successors come before the former ones end: what is kept is theirs.
        tokio::select! {
            biased;
            start = starts.recv() => match start {
                Some(DnsStart { sockets, secure, own_addresses, drain }) => {
                    let (names, history, kept) = (table.reader(), Some(table.clone()), kept.clone());
                    let log = Some(log.clone());
                    let worker = DnsWorker { sockets, secure, names, history, own_addresses, log, kept, drain };
                    running.spawn_local(dns::serve(worker));
                }
                None => break,
            },
            Some(ended) = running.join_next(), if !running.is_empty() => {
                report(ended);
                if running.is_empty() {
                    kept.rest();
                }
            }
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
