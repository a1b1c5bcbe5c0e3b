//! Certificates from authorities, by ACME (RFC 8555): which are wanted, when each is due, how it is ordered, and where it is
//! kept. What serves them are the folders of certificates of [`crate::proxy::tls::store`], which follow their files.
//!
//! ```text
//!  configuration, routes ──▶ wanted ──▶ schedule ──▶ order ──▶ folder (pair, record) ──▶ listeners
//!                                          ▲           │
//!                                          └─ record ◀─┘──▶ proxy::challenges ──▶ the authority's questions
//! ```
//!
//! Invariants: nothing here is on a request's way; an order that fails touches no pair; between two orders for a certificate
//! there is a pause, which a restart or another instance does not shorten, because it is written down before the order.

pub mod client;
pub mod fault;
pub mod folder;
pub mod metrics;
pub mod order;
pub mod run;
pub mod schedule;
pub mod status;
pub mod wanted;
