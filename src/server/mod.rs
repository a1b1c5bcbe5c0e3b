//! Wiring: builds the parts, starts worker threads, owns start, reload, drain and stop.
//!
//! | thread | what runs there |
//! |---|---|
//! | `worker-N` | DNS and proxy, on sockets of their own |
//! | `writer` | the one owner of the state; publishes tables |
//! | `store` | writes the state to disk |
//! | one per Mesos cluster | its event stream |
//! | `control` | admin API, file sources, health checks, reloading, signals |
//!
//! Nothing of control runs on a worker, and every thread is joined by [`Server::stop`].

mod endpoint_tls;
mod file_faults;
mod followed;
mod listeners;
mod log;
mod machine;
mod made_folders;
mod metrics;
mod ports;
mod reload;
mod service_ports;
mod sources;
mod spans;
mod startup;
mod store;
mod take_over;
mod tickets;
mod workers;
mod writer;

pub mod host_names;
pub(crate) mod notices;
pub mod notify;
pub mod signals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use log::{LogHandle, start_logging};
pub use reload::{ConfigFile, Reloader};
pub use startup::StartError;
pub use take_over::take::{TakeOver, TakeOverError};
pub use workers::Hurry;

use crate::admin::context::Phase;
use crate::cluster::event::EventSender;
use crate::config::{self, Config, ConfigErrors};
use crate::deploys::run::SharedLedger;
use crate::journal::JournalThread;
use crate::table::handle::TableHandle;
use sources::Sources;
use store::Store;
use workers::Workers;
use writer::WriterThread;

/// What a server is started with beside its configuration.
#[derive(Debug)]
pub struct Options {
    /// The configuration file; `None`: the configuration never changes by itself.
    pub config: Option<ConfigFile>,
    /// What reads it.
    pub load: LoadConfig,
    /// Where the log level can be changed.
    pub log: Option<LogHandle>,
    /// Sockets that the service manager opened for us.
    pub inherited: notify::Inherited,
    /// The process that this one takes over from.
    pub take_over: Option<TakeOver>,
}

/// Reads and checks a configuration file.
pub type LoadConfig = fn(&Path) -> Result<Config, ConfigErrors>;

impl Default for Options {
    fn default() -> Self {
        Self { config: None, load: config::load, log: None, inherited: notify::Inherited::default(), take_over: None }
    }
}

/// Reads arbitrary octets as what two programs say to one another when one takes over. For the fuzz target.
#[doc(hidden)]
pub fn fuzz_take_over(data: &[u8]) {
    take_over::message::fuzz(data);
}

/// A running server. Dropping it without [`Server::stop`] ends its threads without draining.
#[derive(Debug)]
pub struct Server {
    table: Arc<TableHandle>,
    events: EventSender,
    registry: prometheus::Registry,
    phase: watch::Sender<Phase>,
    workers: Arc<Mutex<Workers>>,
    sources: Arc<Mutex<Sources>>,
    writer: Option<WriterThread>,
    journals: Vec<JournalThread>,
    store: Option<Store>,
    control: Option<startup::Control>,
    reloader: Arc<Reloader>,
    deploys: SharedLedger,
    given: watch::Receiver<bool>,
    addresses: Addresses,
}

/// Where a server listens; ports that were asked for as 0 are the ones that were given.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS.
    pub dns_tls: Vec<SocketAddr>,
    /// DNS over HTTPS.
    pub dns_https: Vec<SocketAddr>,
    /// By listener, in the order of the configuration.
    pub proxy: Vec<SocketAddr>,
    /// The API.
    pub admin: Option<SocketAddr>,
    /// The API's socket.
    pub admin_socket: Option<PathBuf>,
    /// `/metrics`, `/healthz`, `/readyz` alone.
    pub metrics: Option<SocketAddr>,
    /// Mesos-DNS's API.
    pub mesos_dns: Option<SocketAddr>,
}

impl Server {
    /// Starts everything. What cannot be bound or read is an error before anything serves.
    ///
    /// # Errors
    /// A socket that cannot be bound, certificates that cannot be read, a thread that cannot be started.
    pub fn start(config: Config, options: Options) -> Result<Self, StartError> {
        startup::start(config, options)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The tables.
    pub fn table(&self) -> &Arc<TableHandle> {
        &self.table
    }

    /// The ledger of deploys.
    pub fn deploys(&self) -> &SharedLedger {
        &self.deploys
    }

    /// The way to the writer.
    pub fn events(&self) -> &EventSender {
        &self.events
    }

    /// Every metric.
    pub fn registry(&self) -> &prometheus::Registry {
        &self.registry
    }

    /// Reads the configuration file again.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// What ends a stop that takes too long.
    pub fn hurry_handle(&self) -> Hurry {
        lock(&self.workers).hurry_handle()
    }

    /// Waits until another process has taken over; [`Server::end`] is to follow. Cancel safe.
    pub fn taken_over(&self) -> impl Future<Output = ()> + use<> {
        let mut given = self.given.clone();
        async move {
            // Without a sender there is nobody who could hand over.
            if given.wait_for(|given| *given).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// After another process has taken over: finishes what is in flight within `drain_time`. It has the state by now, so
    /// nothing is stored, and nothing more is learnt.
    pub fn end(mut self, drain_time: Duration) {
        self.phase.send_replace(Phase::Stopping);
        lock(&self.sources).stop();
        if let Some(writer) = self.writer.take() {
            drop(writer.stop());
        }
        self.store = None;
        lock(&self.workers).stop(drain_time);
        self.journals.into_iter().for_each(JournalThread::join);
        if let Some(control) = self.control.take() {
            control.stop();
        }
    }

    /// Not ready → stop accepting → finish what is in flight within `drain_time` → end. The state is stored last.
    pub fn stop(mut self, drain_time: Duration) {
        self.phase.send_replace(Phase::Stopping);
        lock(&self.workers).stop(drain_time);
        // Without workers nobody sends to them any more: they end with what they have.
        self.journals.into_iter().for_each(JournalThread::join);
        lock(&self.sources).stop();
        if let Some(writer) = self.writer.take() {
            let view = writer.stop();
            if let (Some(store), Some(view)) = (self.store.take(), view) {
                store.finish(view);
            }
        }
        if let Some(control) = self.control.take() {
            control.stop();
        }
    }
}

/// A poisoned lock still guards what it guarded: whoever panicked has been reported.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
