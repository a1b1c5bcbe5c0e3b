//! Reads the file again while the program runs, and remembers how that went.
//!
//! It decides and counts; who calls it when the file has changed or SIGHUP came, and applies what is new, is the
//! server. A refused file changes nothing: what runs goes on.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use serde::Serialize;

use super::checked::Config;
use super::error::ConfigErrors;
use super::reload::{ReloadPlan, RestartNeeded, reload};
use crate::model::time::Timestamp;

/// The configuration that runs, and the file that it came from.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    running: Arc<Config>,
    last: LastReload,
    metrics: ReloadMetrics,
}

/// What the file says now.
#[derive(Clone, Debug)]
pub enum Reading {
    /// The same as what runs.
    Unchanged,
    /// Something that can be applied. When it is, [`Reloader::applied`] makes it what runs.
    Changed {
        /// All of it.
        config: Arc<Config>,
        /// What differs.
        plan: ReloadPlan,
    },
    /// Something that cannot; it has been counted and remembered.
    Refused(Refusal),
}

/// Why a file is not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is wrong.
    Invalid(ConfigErrors),
    /// It changes what only a start can change.
    RestartNeeded(Vec<RestartNeeded>),
    /// Applying it failed (an address is taken); everything is as before.
    Failed(String),
}

/// How the last reading went, for the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastReload {
    /// When it was read.
    pub at: Timestamp,
    /// What came of it.
    pub result: ReloadResult,
    /// Why it was refused.
    pub refusal: Option<Refusal>,
}

/// What came of reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// It runs.
    Applied,
    /// Nothing was new.
    Unchanged,
    /// The former one runs on.
    Refused,
}

impl Reloader {
    /// The program has started at `now` with `running`, which was read from `path`.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn new(path: PathBuf, running: Arc<Config>, now: Timestamp, registry: &Registry) -> prometheus::Result<Self> {
        let metrics = ReloadMetrics::register(registry)?;
        let last = LastReload { at: now, result: ReloadResult::Applied, refusal: None };
        let reloader = Self { path, running, last, metrics };
        reloader.metrics.note_applied(now);
        Ok(reloader)
    }

    /// The configuration that runs.
    pub fn running(&self) -> &Arc<Config> {
        &self.running
    }

    /// How the last reading went.
    pub fn last(&self) -> &LastReload {
        &self.last
    }

    /// Reads the file. It blocks on the disk: not for a thread that serves.
    pub fn read(&mut self, now: Timestamp) -> Reading {
        let config = match super::load(&self.path) {
            Ok(config) => config,
            Err(errors) => return Reading::Refused(self.refused(Refusal::Invalid(errors), now)),
        };
        match reload(&self.running, &config) {
            Ok(plan) if plan.is_empty() => {
                self.last = LastReload { at: now, result: ReloadResult::Unchanged, refusal: None };
                self.metrics.unchanged.inc();
                self.metrics.ok.set(1);
                Reading::Unchanged
            }
            Ok(plan) => Reading::Changed { config: Arc::new(config), plan },
            Err(needed) => Reading::Refused(self.refused(Refusal::RestartNeeded(needed), now)),
        }
    }

    /// The configuration of a [`Reading::Changed`] runs now.
    pub fn applied(&mut self, config: Arc<Config>, now: Timestamp) {
        self.running = config;
        self.last = LastReload { at: now, result: ReloadResult::Applied, refusal: None };
        self.metrics.applied.inc();
        self.metrics.note_applied(now);
    }

    /// The configuration of a [`Reading::Changed`] could not be applied.
    pub fn failed(&mut self, reason: String, now: Timestamp) -> Refusal {
        self.refused(Refusal::Failed(reason), now)
    }

    fn refused(&mut self, refusal: Refusal, now: Timestamp) -> Refusal {
        self.last = LastReload { at: now, result: ReloadResult::Refused, refusal: Some(refusal.clone()) };
        self.metrics.refused.inc();
        self.metrics.ok.set(0);
        refusal
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(errors) => errors.fmt(f),
            Self::RestartNeeded(needed) => {
                let lines: Vec<String> = needed.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

#[derive(Debug)]
struct ReloadMetrics {
    applied: IntCounter,
    unchanged: IntCounter,
    refused: IntCounter,
    ok: IntGauge,
    applied_at: IntGauge,
}

impl ReloadMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let reloads = IntCounterVec::new(
            Opts::new("pointsman_config_reloads_total", "Readings of the configuration file while running, by result."),
            &["result"],
        )?;
        let ok = IntGauge::new(
            "pointsman_config_last_reload_ok",
            "1: what the configuration file said when it was last read is what runs. 0: it was refused.",
        )?;
        let applied_at = IntGauge::new(
            "pointsman_config_applied_timestamp_seconds",
            "When the configuration that runs was applied, in seconds since 1970.",
        )?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(ok.clone()))?;
        registry.register(Box::new(applied_at.clone()))?;
        let with = |result: &str| reloads.with_label_values(&[result]);
        let (applied, unchanged, refused) = (with("applied"), with("unchanged"), with("refused"));
        Ok(Self { applied, unchanged, refused, ok, applied_at })
    }

    fn note_applied(&self, now: Timestamp) {
        self.ok.set(1);
        self.applied_at.set(i64::try_from(now.0 / MILLISECONDS).unwrap_or(i64::MAX));
    }
}

/// In a second: what a [`Timestamp`] counts.
const MILLISECONDS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[[sources.file]]\nname = \"f\"\npath = \"f.toml\"\n";

    struct Trial {
        reloader: Reloader,
        registry: Registry,
        _folder: tempfile::TempDir,
    }

    impl Trial {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("p.toml");
            std::fs::write(&path, BASE).unwrap();
            let registry = Registry::new();
            let running = Arc::new(crate::config::load(&path).unwrap());
            let reloader = Reloader::new(path, running, Timestamp(5000), &registry).unwrap();
            Self { reloader, registry, _folder: folder }
        }

        fn read(&mut self, more: &str) -> Reading {
            std::fs::write(&self.reloader.path, format!("{BASE}{more}")).unwrap();
            self.reloader.read(Timestamp(9000))
        }

        fn metric(&self, name: &str, result: &str) -> f64 {
            let families = self.registry.gather();
            let family = families.iter().find(|family| family.name() == name).unwrap();
            let has = |m: &&prometheus::proto::Metric| m.get_label().iter().all(|label| label.value() == result);
            let metric = family.get_metric().iter().find(has).unwrap();
            if result.is_empty() { metric.get_gauge().get_value() } else { metric.get_counter().get_value() }
        }
    }

    #[test]
    fn applies_what_can_be_applied() {
        let mut trial = Trial::new();
        assert!(matches!(trial.read("# nothing new\n"), Reading::Unchanged));
        let Reading::Changed { config, plan } = trial.read("[server]\nhistory = 7\n") else { panic!("no change") };
        assert_eq!(plan.live, ["server.history"]);
        assert_ne!(trial.reloader.running().server.history, 7);
        trial.reloader.applied(config, Timestamp(9000));
        assert_eq!(trial.reloader.running().server.history, 7);
        assert_eq!(trial.reloader.last().result, ReloadResult::Applied);
        assert_eq!(trial.metric("pointsman_config_reloads_total", "applied"), 1.0);
        assert_eq!(trial.metric("pointsman_config_reloads_total", "unchanged"), 1.0);
        assert_eq!(trial.metric("pointsman_config_applied_timestamp_seconds", ""), 9.0);
    }

    #[test]
    fn a_refused_file_changes_nothing() {
        let mut trial = Trial::new();
        assert_eq!(trial.metric("pointsman_config_last_reload_ok", ""), 1.0);
        let running = trial.reloader.running().clone();
        assert!(matches!(trial.read("[servr]\n"), Reading::Refused(Refusal::Invalid(_))));
        assert!(matches!(trial.read("[log]\nformat = \"json\"\n"), Reading::Refused(Refusal::RestartNeeded(_))));
        let refusal = trial.reloader.failed("127.0.0.1:80 is taken".into(), Timestamp(9000));
        assert_eq!(refusal.to_string(), "127.0.0.1:80 is taken");
        assert_eq!(trial.reloader.running(), &running);
        let last = serde_json::to_value(trial.reloader.last()).unwrap();
        assert_eq!(last["result"], "refused");
        assert_eq!(last["refusal"]["failed"], "127.0.0.1:80 is taken");
        assert_eq!(trial.metric("pointsman_config_reloads_total", "refused"), 3.0);
        assert_eq!(trial.metric("pointsman_config_last_reload_ok", ""), 0.0);
    }
}
