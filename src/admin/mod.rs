//! The operator's side: HTTP API, metrics, service discovery for Prometheus.
//!
//! Everything here reads the current table and changes nothing by itself: what an operator orders goes to the writer
//! as an event. It runs on the control runtime, never on a worker, so that no scrape slows an answer.
//!
//! In reading order: what it is given ([`context`]), its sockets ([`listen`], `bind`,
//! `certificate`, `accept`), who may call ([`security`]), which
//! call it is ([`router`]), then one file for each family of calls.

pub mod context;
pub mod listen;

mod accept;
pub(crate) mod bind;
mod certificate;

pub(crate) mod dispatch;
pub(crate) mod router;
pub(crate) mod security;
pub(crate) mod stall;

pub(crate) mod query;
pub(crate) mod reply;
pub mod secrets;

pub(crate) mod certificates;
mod command;
pub(crate) mod deploys;
pub(crate) mod drains;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod mesos_dns;
pub(crate) mod nearest;
pub(crate) mod paging;
pub(crate) mod problems;
pub(crate) mod scrape;
pub(crate) mod services;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod tables;
pub(crate) mod tasks;
pub(crate) mod weights;

pub mod metrics;
pub(crate) mod process;

pub use context::{AdminContext, Phase, ReloadOutcome, ReloadStatus};
pub use listen::{AdminError, AdminServer, RunningAdmin};

/// The description of this API (OpenAPI 3.1), as `/v1/openapi.json` serves it.
pub const OPENAPI: &str = include_str!("openapi.json");
