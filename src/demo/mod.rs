//! The embedded cluster: a Mesos-compatible master over loopback HTTP and real little tasks.
//!
//! What `pointsman demo` shows and what integration tests drive. Everything is reached the way a real cluster is:
//! the ordinary Mesos source subscribes to [`DemoCluster::masters`], and requests go to the tasks' own sockets.
//!
//! ```text
//!  control / terminal ──▶ scheduler ──▶ task drivers ──▶ feed(model) ──▶ masters ──▶ SUBSCRIBE streams
//!                                          └──▶ task servers (HTTP, TCP)      └──▶ narrator
//! ```
//!
//! Not here: DNS, proxy and admin. Whoever runs them hands in their addresses for the opening text, and lines about
//! the table's versions through [`Hooks`].

pub mod app;
pub mod cluster;
pub mod control;
pub mod feed;
pub mod master;
pub mod narrate;
pub mod options;
pub mod run;
pub mod scheduler;
mod serve;
mod shape;
mod start;
pub mod task;
mod terminal;

pub use options::DemoOptions;
pub use run::{Hooks, run};
pub use start::{DemoCluster, DemoError};
