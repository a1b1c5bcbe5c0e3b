//! Sources: each speaks one orchestrator's protocol and turns what it hears into facts.

pub mod file;
pub mod http;
pub mod marathon;
pub mod mesos;
mod metrics;
pub mod service_account;
