//! Reloading: a changed file is checked, then applied without dropping a connection where that is possible, else
//! refused whole with the reason; the old configuration goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::log::LogHandle;
use super::machine::on_this_machine;
use super::notify::Inherited;
use super::sources::Sources;
use super::startup::StartError;
use super::workers::{Prepared, Workers};
use super::{LoadConfig, lock, notices};
use crate::admin::context::{ReloadOutcome, ReloadStatus};
use crate::admin::listen::{AdminServer, RunningAdmin};
use crate::cluster::event::{ClusterEvent, EventSender};
use crate::config::watch::{Changes, Watch};
use crate::config::{self, Config};
use crate::model::time::Timestamp;
use crate::socket::HANDSHAKES;

/// A configuration file that is followed.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// `None`: the system does not watch it.
    watch: Option<(Watch, Changes)>,
}

impl ConfigFile {
    pub(super) fn into_parts(self) -> (PathBuf, Option<(Watch, Changes)>) {
        (self.path, self.watch)
    }

    /// Begins to follow a file. To be called before the file is read: what changes after that is not missed.
    pub fn follow(path: &Path) -> Self {
        let complain = |error: &std::io::Error| {
            tracing::warn!(path = %path.display(), %error, "configuration file is not watched; use SIGHUP");
        };
        let watch = Watch::start(path).inspect_err(complain).ok().map(|watch| {
            let changes = watch.changes();
            (watch, changes)
        });
        Self { path: path.to_owned(), watch }
    }
}

/// Applies configurations to a running server.
#[derive(Debug)]
pub struct Reloader {
    path: Option<PathBuf>,
    load: LoadConfig,
    running: tokio::sync::Mutex<Arc<Config>>,
    events: EventSender,
    workers: Arc<Mutex<Workers>>,
    sources: Arc<Mutex<Sources>>,
    admin: Arc<tokio::sync::Mutex<Admin>>,
    status: watch::Sender<ReloadStatus>,
    log: Option<LogHandle>,
    reloads: IntCounterVec,
    last: IntGauge,
}

pub(super) struct ReloaderParts<'a> {
    pub(super) path: Option<PathBuf>,
    pub(super) load: LoadConfig,
    pub(super) running: Arc<Config>,
    pub(super) events: EventSender,
    pub(super) workers: Arc<Mutex<Workers>>,
    pub(super) sources: Arc<Mutex<Sources>>,
    pub(super) admin: Arc<tokio::sync::Mutex<Admin>>,
    pub(super) status: watch::Sender<ReloadStatus>,
    pub(super) log: Option<LogHandle>,
    pub(super) registry: &'a Registry,
}

/// The running admin API; gone once the program stops.
pub(super) type Admin = Option<RunningAdmin>;

impl Reloader {
    pub(super) fn new(parts: ReloaderParts<'_>) -> prometheus::Result<Self> {
        let opts = Opts::new("pointsman_config_reloads_total", "Configurations read while running, by outcome.");
        let reloads = IntCounterVec::new(opts, &["outcome"])?;
        for outcome in ["applied", "refused"] {
            reloads.with_label_values(&[outcome]);
        }
        let last =
            IntGauge::new("pointsman_config_last_reload_success", "1 if the last configuration read is in force.")?;
        last.set(1);
        parts.registry.register(Box::new(reloads.clone()))?;
        parts.registry.register(Box::new(last.clone()))?;
        Ok(Self {
            path: parts.path,
            load: parts.load,
            running: tokio::sync::Mutex::new(parts.running),
            events: parts.events,
            workers: parts.workers,
            sources: parts.sources,
            admin: parts.admin,
            status: parts.status,
            log: parts.log,
            reloads,
            last,
        })
    }

    /// Reads the file and applies it; tells how it went. One after another: who reads later applies later.
    pub async fn reload(&self) -> ReloadStatus {
        let mut running = self.running.lock().await;
        let Some(path) = self.path.clone() else {
            return self.tell(Err(vec!["there is no configuration file to read again".into()]));
        };
        let load = self.load;
        let read = tokio::task::spawn_blocking(move || load(&path)).await;
        let result = match read {
            Ok(Ok(new)) => self.apply_to(&mut running, new).await,
            Ok(Err(errors)) => Err(errors.to_string().lines().map(str::to_owned).collect()),
            Err(error) => Err(vec![format!("reading the file failed: {error}")]),
        };
        self.tell(result)
    }

    /// Applies a checked configuration.
    ///
    /// # Errors
    /// Why it cannot be applied; nothing has changed then, unless it says so.
    pub async fn apply(&self, new: Config) -> Result<(), Vec<String>> {
        let mut running = self.running.lock().await;
        self.apply_to(&mut running, new).await
    }

    async fn apply_to(&self, running: &mut Arc<Config>, new: Config) -> Result<(), Vec<String>> {
        let plan = config::reload(running, &new)
            .map_err(|refused| refused.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        if plan.is_empty() {
            return Ok(());
        }
        // Sockets and files first: they can fail, and then nothing has changed.
        let mut admin = self.admin.lock().await;
        let stopping = || vec!["the program is stopping".to_owned()];
        let admin = admin.as_mut().ok_or_else(stopping)?;
        let (opened, opened_admin) = self.open(&new, admin).await.map_err(|error| vec![error.to_string()])?;
        let new = Arc::new(on_this_machine(new));
        // The writer takes it in turn with the facts; answers change with the table that it publishes.
        if self.events.send(ClusterEvent::Configured(new.clone())).await.is_err() {
            return Err(stopping());
        }
        admin.change(opened_admin, &new.admin);
        if let Some(log) = &self.log
            && new.log.level != running.log.level
            && let Err(error) = log.set(&new.log.level)
        {
            tracing::error!(%error, "log level cannot be set, although it was checked");
        }
        lock(&self.workers).serve(&new, opened, new.server.drain_time);
        self.apply_sources(&new).await?;
        tracing::info!(live = ?plan.live, listeners = ?plan.listeners, sources = ?plan.sources, "configuration applied");
        notices::tell(&new);
        *running = new;
        Ok(())
    }

    /// Starts and stops sources. What fails here is tried again by the next reload, because the former configuration counts
    /// as the one that runs until then.
    async fn apply_sources(&self, new: &Arc<Config>) -> Result<(), Vec<String>> {
        let (sources, config) = (self.sources.clone(), new.clone());
        let applied = tokio::task::spawn_blocking(move || lock(&sources).apply(&config)).await;
        let failed = |error: &dyn std::fmt::Display| {
            let left = "everything else of the new configuration is in force; reload once more";
            vec![format!("a source cannot be started: {error}; {left}")]
        };
        match applied {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Binds what a configuration adds. An address that the reload before this one gave up is free in a moment.
    async fn open(&self, new: &Config, admin: &RunningAdmin) -> Result<(Prepared, AdminServer), StartError> {
        match self.try_open(new, admin).await {
            Err(error) if error.is_in_use() => {
                tokio::time::sleep(HANDSHAKES * 2).await;
                self.try_open(new, admin).await
            }
            opened => opened,
        }
    }

    async fn try_open(&self, new: &Config, admin: &RunningAdmin) -> Result<(Prepared, AdminServer), StartError> {
        let opened = lock(&self.workers).open(new, &mut Inherited::default())?;
        Ok((opened, admin.open(&new.admin).await?))
    }

    /// Follows the file until `stop`.
    pub(super) fn follow(
        self: &Arc<Self>,
        watch: Option<(Watch, Changes)>,
        control: &tokio::runtime::Handle,
        stop: CancellationToken,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let (watch, mut changes) = watch?;
        let reloader = self.clone();
        Some(control.spawn(async move {
            while let Some(true) = stop.run_until_cancelled(changes.changed()).await {
                reloader.reload().await;
            }
            // Joins the watching thread, which may take a moment.
            let _ = tokio::task::spawn_blocking(move || drop(watch)).await;
        }))
    }

    fn tell(&self, result: Result<(), Vec<String>>) -> ReloadStatus {
        let (outcome, errors) = match result {
            Ok(()) => (ReloadOutcome::Applied, Vec::new()),
            Err(errors) => (ReloadOutcome::Refused, errors),
        };
        let applied = outcome == ReloadOutcome::Applied;
        if !applied {
            tracing::warn!(errors = %errors.join("; "), "configuration refused, the former one goes on");
        }
        self.reloads.with_label_values(&[if applied { "applied" } else { "refused" }]).inc();
        self.last.set(i64::from(applied));
        let status = ReloadStatus { at: Timestamp::now(), outcome, errors };
        self.status.send_replace(status.clone());
        status
    }
}
