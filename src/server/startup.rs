//! The order of starting: what can fail first, so that nothing serves before everything can.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::host_names;
use super::machine::on_this_machine;
use super::metrics::{StoreMetrics, WriterMetrics};
use super::notify::HalfInherited;
use super::reload::{Admin, ConfigFile, Reloader, ReloaderParts};
use super::sources::{Sources, Wanted};
use super::spans;
use super::store::{Store, StoreSender};
use super::take_over::balance;
use super::take_over::give::Giver;
use super::take_over::take::{TakeOver, TakeOverError};
use super::workers::{WorkerParts, Workers};
use super::writer::{WriterParts, WriterThread};
use super::{Addresses, LogHandle, Options, Server};
use crate::acme;
use crate::acme::metrics::AcmeMetrics;
use crate::acme::run::AcmeParts;
use crate::acme::status::SharedStatus;
use crate::admin::bind::{OwnSocket, bind_unix};
use crate::admin::context::{AdminContext, Phase, ReloadOutcome, ReloadStatus, SetLogLevel};
use crate::admin::listen::{AdminError, AdminServer, RunningAdmin};
use crate::cluster::closing;
use crate::cluster::event::{EventSender, QUEUE};
use crate::cluster::sources::marathon::metrics::MarathonMetrics;
use crate::cluster::sources::mesos::metrics::MesosMetrics;
use crate::cluster::state::ClusterState;
use crate::cluster::status::SourceState;
use crate::cluster::store::{self, StoreError};
use crate::config::Config;
use crate::config::checked::AdminConfig;
use crate::deploys::metrics::DeployMetrics;
use crate::deploys::run::{DeployParts, SharedLedger};
use crate::dns::log as dns_log;
use crate::dns::metrics::DnsMetrics;
use crate::dns::transfer::notify::{self, NotifyMetrics};
use crate::dns::transport::bind::BindError as DnsBindError;
use crate::health;
use crate::health::metrics::HealthMetrics;
use crate::health::run::HealthParts;
use crate::journal;
use crate::model::run::Moment;
use crate::model::time::Timestamp;
use crate::proxy::access_log;
use crate::proxy::challenges::Challenges;
use crate::proxy::filters::jwt::store::{self as store_of_keys, KeyMetrics};
use crate::proxy::filters::pages;
use crate::proxy::listen::BindError as ProxyBindError;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::tls::clients::AuthoritiesFault;
use crate::proxy::tls::ends::CertificateEnds;
use crate::proxy::tls::faults::FileFaults;
use crate::proxy::tls::profiles::{BadProfile, TlsProfiles};
use crate::proxy::tls::tickets::KeysFault;
use crate::table::Table;
use crate::table::handle::TableHandle;
use crate::table::writer::Writer;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A DNS address.
    #[error(transparent)]
    Dns(#[from] DnsBindError),
    /// A proxy listener's address.
    #[error(transparent)]
    Proxy(#[from] ProxyBindError),
    /// The admin API's sockets.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A socket of the service manager cannot be shared among the workers.
    #[error("an inherited socket cannot be used: {0}")]
    Inherited(#[source] std::io::Error),
    /// Sockets for DNS that the service manager passed are not complete.
    #[error(transparent)]
    HalfInherited(#[from] HalfInherited),
    /// No further descriptors for sockets that are open.
    #[error("a socket cannot be duplicated: {0}; raise the limit of open files")]
    Descriptors(#[source] std::io::Error),
    /// A folder of certificates.
    #[error("certificates in {folder} cannot be read: {source}; check the path and its permissions")]
    Certificates {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An entry of `upstreams.tls`.
    #[error(transparent)]
    EndpointTls(#[from] BadProfile),
    /// Authorities of clients.
    #[error("certificates of clients: {0}")]
    Clients(#[from] AuthoritiesFault),
    /// Keys of session tickets.
    #[error("ticket_keys: {0}")]
    Tickets(#[from] KeysFault),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A thread or its runtime.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The socket for those that take over.
    #[error("server.hand_over: {} cannot be listened on: {reason}; take over from whoever has it (`serve --take-over`), stop it, or change the path", path.display())]
    HandOver {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The running process does not give what it has.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// Two metrics of one name: a fault of this program.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl From<journal::StartError> for StartError {
    fn from(error: journal::StartError) -> Self {
        match error {
            journal::StartError::Thread(error) => Self::Thread(error),
            journal::StartError::Metrics(error) => Self::Metrics(error),
        }
    }
}

impl StartError {
    /// Whether somebody has an address, who may be about to give it up.
    pub(super) fn is_in_use(&self) -> bool {
        match self {
            Self::Dns(error) => matches!(error, DnsBindError::InUse { .. }),
            Self::Proxy(error) => matches!(error, ProxyBindError::InUse { .. }),
            Self::Admin(AdminError::Bind { source, .. }) => source.kind() == std::io::ErrorKind::AddrInUse,
            _ => false,
        }
    }
}

/// The control runtime and what runs on it.
#[derive(Debug)]
pub(super) struct Control {
    runtime: tokio::runtime::Runtime,
    stop: CancellationToken,
    admin: Arc<tokio::sync::Mutex<Admin>>,
    /// What follows tables and files until it is told to stop.
    tasks: Vec<JoinHandle<()>>,
}

/// How long the API's requests may go on when everything else has ended.
const ADMIN_GRACE: Duration = Duration::from_secs(2);

impl Control {
    /// Ends what runs there.
    pub(super) fn stop(mut self) {
        self.stop.cancel();
        self.runtime.block_on(async {
            for task in std::mem::take(&mut self.tasks) {
                let _ = task.await;
            }
            if let Some(admin) = self.admin.lock().await.take() {
                admin.stop(ADMIN_GRACE).await;
            }
        });
        self.runtime.shutdown_timeout(ADMIN_GRACE);
    }
}

/// Starts a server.
pub(super) fn start(config: Config, mut options: Options) -> Result<Server, StartError> {
    let runtime = control_runtime()?;
    let registry = prometheus::Registry::new();
    let now = Timestamp::now();
    let config = Arc::new(on_this_machine(config));
    let mut writer = Writer::new(restore(&config, now), fastrand::u64(1..), now);
    let table = Arc::new(TableHandle::new((*writer.first(now)).clone(), config.server.history));

    let workers_count = config.server.workers.max(1);
    let proxy = proxy_metrics(&registry, workers_count)?;
    let tls: Arc<TlsProfiles> = Arc::default();
    let challenges: Arc<Challenges> = Arc::default();
    let faults = FileFaults::default();
    faults.register(&registry)?;
    let (dns_log, log_sender) = dns_log::start(table.clone(), &registry)?;
    let (access_log, access_sender) = access_log::start(table.clone(), &registry)?;
    let (span_sender, spans) = spans::open(&registry)?;
    let parts = WorkerParts {
        table: table.clone(),
        dns: DnsMetrics::register(&registry, workers_count)?,
        dns_log: log_sender,
        proxy: proxy.clone(),
        access_log: access_sender,
        spans: span_sender,
        tls: tls.clone(),
        ends: CertificateEnds::register(&registry)?,
        faults: faults.clone(),
        challenges: challenges.clone(),
        control: runtime.handle().clone(),
    };
    // Everything that can fail is bound before anything serves.
    let mut workers = Workers::start(workers_count, &parts)?;
    let mut take_over = options.take_over.take();
    if let Some(take_over) = &mut take_over {
        options.inherited.handed = std::mem::take(&mut take_over.handed);
    }
    let opened = workers.open(&config, &mut options.inherited)?;
    workers.keep_handed(std::mem::take(&mut options.inherited.handed));
    // The API's addresses are the running process's until it lets go of them.
    let at_once = match take_over {
        None => config.admin.clone(),
        Some(_) => AdminConfig {
            listen: None,
            metrics_listen: None,
            mesos_dns_listen: None,
            socket: None,
            ..config.admin.clone()
        },
    };
    let admin = runtime.block_on(AdminServer::bind(&at_once))?;
    let hand_over = config.server.hand_over.as_ref();
    let successors = hand_over.filter(|_| take_over.is_none()).map(|path| listen_for_successors(path, &runtime));
    let mut successors = successors.transpose()?;
    for name in options.inherited.left() {
        tracing::warn!(%name, "inherited socket belongs to no listener; name it in FileDescriptorName=");
    }

    let (events, receiver) = mpsc::channel(QUEUE);
    let wanted = Wanted::default();
    let metrics = MesosMetrics::register(&registry)?;
    let marathon = MarathonMetrics::register(&registry)?;
    let mut sources = Sources::new(events.clone(), metrics, marathon, wanted.clone(), runtime.handle().clone());
    let (store, sender) = start_store(&config, &registry)?.unzip();
    let metrics = WriterMetrics::register(&registry)?;
    let writer = WriterParts { writer, table: table.clone(), events: receiver, metrics, store: sender, wanted };
    let writer = WriterThread::start(writer).map_err(StartError::Thread)?;
    // Whoever takes over knows what runs before it serves anything.
    if let Some(take_over) = &take_over {
        sources.apply(&config).map_err(StartError::Thread)?;
        let ready = runtime.block_on(until_ready(&table));
        if let Err(error) = ready {
            sources.stop();
            writer.stop();
            workers.stop(Duration::ZERO);
            return Err(error.into());
        }
        balance::apply(&take_over.endpoints, &table.load(), workers_count, Moment::of(Instant::now()));
    }
    let listening = workers.serve(&config, opened, config.server.drain_time);
    match take_over {
        Some(take_over) => {
            let faults = workers.serve_ports(&table.load().wanted_ports(), &config);
            for (port, fault) in &faults {
                tracing::warn!(port, %fault, "a service's port cannot be listened on");
            }
            take_over.serving(workers.handed_taken());
            // From here on there is nobody to go back to.
            let failed = |error: &StartError| tracing::error!(%error, "nobody will be able to take over");
            successors = hand_over.and_then(|path| listen_for_successors(path, &runtime).inspect_err(failed).ok());
        }
        None => sources.apply(&config).map_err(StartError::Thread)?,
    }
    let (given, givens) = watch::channel(false);

    let (phase, phases) = watch::channel(Phase::Serving);
    let started = ReloadStatus { at: now, outcome: ReloadOutcome::Started, errors: Vec::new() };
    let (status, statuses) = watch::channel(started);
    let (deploys, acme_status) = (SharedLedger::default(), SharedStatus::default());
    let context = Arc::new(AdminContext {
        table: table.clone(),
        events: events.clone(),
        registry: registry.clone(),
        reload: statuses,
        phase: phases,
        set_log_level: set_log_level(options.log.clone()),
        config_json: Box::new(crate::config::to_json),
        workers: workers_count,
        deploys: deploys.clone(),
        acme: acme_status.clone(),
    });
    let addresses = addresses(&config, &listening, &admin);
    let mut running = {
        let _inside = runtime.enter();
        admin.serve(context)?
    };
    if at_once != config.admin {
        runtime.block_on(open_admin(&mut running, &config.admin));
    }
    let admin = Arc::new(tokio::sync::Mutex::new(Some(running)));
    let workers = Arc::new(Mutex::new(workers));
    let sources = Arc::new(Mutex::new(sources));
    let (config_path, config_watch) = options.config.map(ConfigFile::into_parts).unzip();
    let reloader = Arc::new(Reloader::new(ReloaderParts {
        path: config_path,
        load: options.load,
        running: config.clone(),
        events: events.clone(),
        workers: workers.clone(),
        sources: sources.clone(),
        admin: admin.clone(),
        status,
        log: options.log,
        registry: &registry,
    })?);
    let stop = CancellationToken::new();
    let reload = reloader.follow(config_watch.flatten(), runtime.handle(), stop.clone());
    let ports = super::ports::follow(table.clone(), workers.clone(), events.clone(), stop.clone());
    let mut tasks = vec![runtime.spawn(ports)];
    tasks.push(runtime.spawn(super::file_faults::follow(faults, events.clone(), stop.clone())));
    if let Some((listener, own)) = successors {
        let (table, workers, admin, stop) = (table.clone(), workers.clone(), admin.clone(), stop.clone());
        let giver = Giver { table, workers, admin, given, stop };
        tasks.push(runtime.spawn(giver.run(listener, own)));
    }
    tasks.extend(reload);
    let ledger = DeployParts {
        table: table.clone(),
        proxy,
        ledger: deploys.clone(),
        metrics: DeployMetrics::register(&registry)?,
        stop: stop.clone(),
    };
    let acme = AcmeParts {
        table: table.clone(),
        challenges,
        metrics: AcmeMetrics::register(&registry)?,
        status: acme_status,
        stop: stop.clone(),
    };
    tasks.push(runtime.spawn(acme::run::follow(acme)));
    let keys = store_of_keys::follow(table.clone(), KeyMetrics::register(&registry)?, stop.clone());
    tasks.push(runtime.spawn(keys));
    tasks.push(runtime.spawn(pages::follow(table.clone(), stop.clone())));
    tasks.extend(spans.start(&runtime, table.clone(), stop.clone()));
    tasks.extend(follow_tables(&runtime, &registry, ledger, (events.clone(), tls))?);
    Ok(Server {
        table,
        events,
        registry,
        phase,
        workers,
        sources,
        writer: Some(writer),
        journals: vec![dns_log, access_log],
        store,
        control: Some(Control { runtime, stop, admin, tasks }),
        deploys,
        given: givens,
        reloader,
        addresses,
    })
}

/// Starts what looks at each table: health checks, the ledger of deploys, the notification of secondaries, look-ups of
/// schedulers' hosts.
fn follow_tables(
    runtime: &tokio::runtime::Runtime,
    registry: &prometheus::Registry,
    ledger: DeployParts,
    (events, tls): (EventSender, Arc<TlsProfiles>),
) -> Result<[JoinHandle<()>; 4], StartError> {
    let (table, stop) = (ledger.table.clone(), ledger.stop.clone());
    let metrics = HealthMetrics::register(registry)?;
    let checks = HealthParts { table: table.clone(), events: events.clone(), tls, metrics, stop: stop.clone() };
    let metrics = NotifyMetrics::register(registry)?;
    Ok([
        runtime.spawn(host_names::follow(table.clone(), events, stop.clone())),
        runtime.spawn(health::run::run(checks)),
        runtime.spawn(crate::deploys::run::run(ledger)),
        runtime.spawn(notify::follow(table, metrics, stop)),
    ])
}

/// How long whoever takes over waits for every source, while what is known from elsewhere would do.
const SOURCES: Duration = Duration::from_secs(10);

/// Waits until the table is ready, and for a while until every source has spoken.
async fn until_ready(table: &TableHandle) -> Result<(), TakeOverError> {
    let is_live = |table: &Table| table.sources.iter().all(|source| source.state == SourceState::Live);
    let (begun, patience) = (Instant::now(), TakeOver::patience());
    let mut generations = table.watch();
    loop {
        generations.borrow_and_update();
        let current = table.load();
        if current.ready && (is_live(&current) || begun.elapsed() >= SOURCES) {
            return Ok(());
        }
        drop(current);
        if begun.elapsed() >= patience {
            return Err(TakeOverError::NotReady(patience));
        }
        // A change, or time for another look.
        let _ = tokio::time::timeout(Duration::from_millis(100), generations.changed()).await;
    }
}

/// The socket for those that take over from us.
fn listen_for_successors(
    path: &Path,
    runtime: &tokio::runtime::Runtime,
) -> Result<(UnixListener, OwnSocket), StartError> {
    let _inside = runtime.enter();
    bind_unix(path).map_err(|error| StartError::HandOver { path: path.to_owned(), reason: error.to_string() })
}

/// Opens the API that the former process has let go of. Without it the program serves all the same.
async fn open_admin(running: &mut RunningAdmin, config: &AdminConfig) {
    for _ in 0..100 {
        match running.open(config).await {
            Ok(opened) => return running.change(opened, config),
            Err(error) => tracing::debug!(%error, "the admin API is not free yet"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tracing::error!("the admin API cannot be opened; reload the configuration to try again");
}

fn control_runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(StartError::Thread)
}

/// The storing thread and the writer's end of it, where anything is stored.
fn start_store(config: &Config, registry: &prometheus::Registry) -> Result<Option<(Store, StoreSender)>, StartError> {
    let Some(path) = &config.state.path else { return Ok(None) };
    let metrics = StoreMetrics::register(registry)?;
    Store::start(path.clone(), config.state.interval, metrics).map(Some).map_err(StartError::Thread)
}

fn set_log_level(log: Option<LogHandle>) -> SetLogLevel {
    Box::new(move |filter| match &log {
        Some(log) => log.set(filter),
        None => Err("logging is not under this program's control here".into()),
    })
}

/// What is stored, or nothing: a damaged file is told and left for whoever wants to look at it.
fn restore(config: &Arc<Config>, now: Timestamp) -> ClusterState {
    let Some(path) = &config.state.path else { return ClusterState::new(config.clone(), now) };
    match store::load(path, config.clone(), now) {
        Ok(mut state) => {
            closing::take(path, &mut state);
            tracing::info!(path = %path.display(), "stored state loaded; it is served until the sources have spoken");
            state
        }
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            ClusterState::new(config.clone(), now)
        }
        Err(error) => {
            let aside = path.with_extension("refused");
            let kept = std::fs::rename(path, &aside).is_ok();
            tracing::warn!(%error, kept_as = kept.then(|| aside.display().to_string()), "stored state refused; starting without it");
            ClusterState::new(config.clone(), now)
        }
    }
}

fn proxy_metrics(registry: &prometheus::Registry, workers: usize) -> prometheus::Result<ProxyMetrics> {
    let metrics = ProxyMetrics::new(workers);
    metrics.register(registry)?;
    Ok(metrics)
}

fn addresses(config: &Config, listening: &super::listeners::Listening, admin: &AdminServer) -> Addresses {
    let mut bound = admin.addresses().into_iter();
    Addresses {
        dns: listening.dns.clone(),
        dns_tls: listening.dns_tls.clone(),
        dns_https: listening.dns_https.clone(),
        proxy: listening.proxy.clone(),
        admin: config.admin.listen.and_then(|_| bound.next()),
        admin_socket: config.admin.socket.clone(),
        metrics: config.admin.metrics_listen.and_then(|_| bound.next()),
        mesos_dns: config.admin.mesos_dns_listen.and_then(|_| bound.next()),
    }
}
