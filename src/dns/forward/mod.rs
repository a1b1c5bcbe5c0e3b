//! Names of others: asked from upstream servers, and kept for a while.
//!
//! ```text
//!  a query for a name outside our zones ─▶ key ─▶ cache ──────────────▶ answer (a copy, with its times to live,
//!  (or an alias of ours that leads there)          │                        behind aliases where there are any)
//!                                                  │ nothing fresh          ▲
//!                                                  ▼                        │
//!                                             resolver: one flight a question, whoever waits for it
//!                                                  │ order (health)         │ read (message)
//!                                                  ▼                        │
//!                                             exchange: UDP, TCP, TLS ──────┘
//! ```
//!
//! Each worker has all of this for itself, once for all addresses that it listens on ([`super::kept`]): no lock, and one slow
//! server delays only those who ask for its names.
//! Invariants: only clients in allowed networks are served; what waits is bounded, and so is every wait; of that bound no
//! zone's servers take all ([`room`]); an answer
//! counts only if it answers the query that was sent, and is cut to what was asked for; absence is never served past
//! its time.
//!
//! Everything that decides is free of I/O; [`exchange`] and [`resolver`] are the shell.

mod aliases;
mod answer;
mod cache;
mod exchange;
mod health;
mod key;
mod loops;
mod message;
pub mod metrics;
mod resolver;
mod room;
mod settings;
mod watch;

pub(crate) use aliases::Aliases;
pub(crate) use answer::{RA, write_truncated};
pub(crate) use key::Request;
pub(crate) use metrics::Denial;
pub(crate) use resolver::{Begun, Forwarder, Waiting};

/// Reads arbitrary octets as an upstream server's answer. For the fuzz target.
#[doc(hidden)]
pub fn fuzz_upstream(data: &[u8]) {
    message::fuzz(data);
}
