//! The running sources: started, stopped and replaced as the configuration has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::cluster::event::EventSender;
use crate::cluster::sources::file;
use crate::cluster::sources::marathon;
use crate::cluster::sources::marathon::metrics::MarathonMetrics;
use crate::cluster::sources::mesos::metrics::MesosMetrics;
use crate::cluster::sources::mesos::subscribe::{self, SourceControl, SourceThread};
use crate::config::Config;
use crate::config::checked::{FileConfig, MarathonConfig, MesosConfig};
use crate::config::watch::Watch;
use crate::model::id::SourceName;

/// Everything that feeds the writer.
#[derive(Debug)]
pub(super) struct Sources {
    events: EventSender,
    mesos: BTreeMap<SourceName, (MesosConfig, SourceThread)>,
    marathon: BTreeMap<SourceName, (MarathonConfig, bool, SourceThread)>,
    files: BTreeMap<SourceName, (FileConfig, FileTask)>,
    metrics: MesosMetrics,
    marathon_metrics: MarathonMetrics,
    wanted: Wanted,
    control: Handle,
}

/// Passes on that a source should be read again; the writer must not wait for locks that a reload holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(Arc<Mutex<BTreeMap<SourceName, SourceControl>>>);

impl Wanted {
    pub(super) fn request(&self, source: &SourceName) {
        if let Some(control) = lock(&self.0).get(source) {
            tracing::info!(%source, "reading the source again to confirm removals");
            control.request_snapshot();
        }
    }
}

#[derive(Debug)]
struct FileTask {
    stop: CancellationToken,
    task: JoinHandle<()>,
    // Held for its drop: the watching ends with it.
    _watch: Option<Watch>,
}

impl Sources {
    pub(super) fn new(
        events: EventSender,
        metrics: MesosMetrics,
        marathon_metrics: MarathonMetrics,
        wanted: Wanted,
        control: Handle,
    ) -> Self {
        Self {
            events,
            mesos: BTreeMap::new(),
            marathon: BTreeMap::new(),
            files: BTreeMap::new(),
            metrics,
            marathon_metrics,
            wanted,
            control,
        }
    }

    /// Makes what runs the same as what `config` says; what did not change is left alone.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn apply(&mut self, config: &Config) -> std::io::Result<()> {
        self.stop_mesos(|running| config.mesos.iter().any(|wanted| wanted.has_same_stream(running)));
        let alone = |marathon: &MarathonConfig| !config.mesos.iter().any(|mesos| mesos.cluster == marathon.cluster);
        self.stop_marathon(|running, was_alone| config.marathon.contains(running) && alone(running) == was_alone);
        self.stop_files(|running| config.files.contains(running));
        for wanted in config.mesos.iter() {
            if !self.mesos.contains_key(&wanted.name) {
                let thread = subscribe::spawn(wanted.clone(), self.events.clone(), &self.metrics)?;
                lock(&self.wanted.0).insert(wanted.name.clone(), thread.control().clone());
                self.mesos.insert(wanted.name.clone(), (wanted.clone(), thread));
            }
        }
        for wanted in config.marathon.iter() {
            if !self.marathon.contains_key(&wanted.name) {
                let alone = alone(wanted);
                let thread = marathon::spawn(wanted.clone(), alone, self.events.clone(), &self.marathon_metrics)?;
                lock(&self.wanted.0).insert(wanted.name.clone(), thread.control().clone());
                self.marathon.insert(wanted.name.clone(), (wanted.clone(), alone, thread));
            }
        }
        for wanted in config.files.iter() {
            if !self.files.contains_key(&wanted.name) {
                let task = self.start_file(wanted.clone());
                self.files.insert(wanted.name.clone(), (wanted.clone(), task));
            }
        }
        Ok(())
    }

    /// Stops all.
    pub(super) fn stop(&mut self) {
        self.stop_mesos(|_| false);
        self.stop_marathon(|_, _| false);
        self.stop_files(|_| false);
    }

    fn stop_mesos(&mut self, stays: impl Fn(&MesosConfig) -> bool) {
        let leaving: Vec<_> = self.mesos.extract_if(.., |_, (config, _)| !stays(config)).collect();
        // All are told before any is waited for.
        for (_, (_, thread)) in &leaving {
            thread.control().stop();
        }
        for (name, (_, thread)) in leaving {
            lock(&self.wanted.0).remove(&name);
            thread.join();
        }
    }

    fn stop_marathon(&mut self, stays: impl Fn(&MarathonConfig, bool) -> bool) {
        let leaving: Vec<_> = self.marathon.extract_if(.., |_, (config, alone, _)| !stays(config, *alone)).collect();
        for (_, (_, _, thread)) in &leaving {
            thread.control().stop();
        }
        for (name, (_, _, thread)) in leaving {
            lock(&self.wanted.0).remove(&name);
            thread.join();
        }
    }

    fn stop_files(&mut self, stays: impl Fn(&FileConfig) -> bool) {
        for (_, (_, file)) in self.files.extract_if(.., |_, (config, _)| !stays(config)) {
            file.stop.cancel();
            // It ends at its next await; the runtime that owns it waits for it.
            drop(file.task);
        }
    }

    fn start_file(&self, config: FileConfig) -> FileTask {
        let stop = CancellationToken::new();
        let watch = Watch::start(&config.path)
            .inspect_err(|error| tracing::warn!(path = %config.path.display(), %error, "cannot watch; polling"))
            .ok();
        let changed = match &watch {
            Some(watch) => watch.receiver(),
            None => tokio::sync::watch::channel(0).1,
        };
        let task = self.control.spawn(file::run(config, changed, self.events.clone(), stop.clone()));
        FileTask { stop, task, _watch: watch }
    }
}
