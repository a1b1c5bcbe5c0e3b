//! What the API is given of the running program.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::acme::status::SharedStatus;
use crate::cluster::event::EventSender;
use crate::config::Config;
use crate::deploys::run::SharedLedger;
use crate::model::time::Timestamp;
use crate::table::handle::TableHandle;

/// Sets the log level or filter; the error says what is wrong with it.
pub type SetLogLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Shows a configuration with its secrets hidden.
pub type ShowConfig = Box<dyn Fn(&Config) -> serde_json::Value + Send + Sync>;

/// Everything the API reads or orders.
pub struct AdminContext {
    /// The tables.
    pub table: Arc<TableHandle>,
    /// The way to the writer, for commands.
    pub events: EventSender,
    /// Every metric of the program.
    pub registry: prometheus::Registry,
    /// The last reload of the configuration.
    pub reload: watch::Receiver<ReloadStatus>,
    /// Where the program is in its life.
    pub phase: watch::Receiver<Phase>,
    /// Sets the log level.
    pub set_log_level: SetLogLevel,
    /// Shows the configuration.
    pub config_json: ShowConfig,
    /// Worker threads.
    pub workers: usize,
    /// The ledger of deploys.
    pub deploys: SharedLedger,
    /// Certificates that are ordered.
    pub acme: SharedStatus,
}

impl std::fmt::Debug for AdminContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminContext").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Where the program is in its life, as `/readyz` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all parts are up yet.
    Starting {
        /// What is waited for, for people.
        waits_for: Vec<String>,
    },
    /// Everything is up.
    Serving,
    /// It was told to stop: whoever balances in front of it should look elsewhere.
    Stopping,
}

/// The last time the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// When.
    pub at: Timestamp,
    /// How it went.
    pub outcome: ReloadOutcome,
    /// Why it was refused, one entry a fault; empty otherwise.
    pub errors: Vec<String>,
}

/// How reading the configuration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadOutcome {
    /// It is the one the program started with.
    Started,
    /// It is in force.
    Applied,
    /// It was refused; the former one goes on.
    Refused,
}
