//! The L7 proxy: HTTP/1.1 and HTTP/2 in, routed by the table, HTTP/1.1 and HTTP/2 (clear text) out. On ports that
//! services hold for themselves also plain TCP.
//!
//! Each worker thread runs [`worker::serve`] inside a current-thread runtime with a `LocalSet`: its own listening
//! sockets, its own upstream connections, its own shard of the metrics. Nothing on a request's path is shared for
//! writing between workers, and no lock is taken on it.
//!
//! ```text
//! accept → connection (TLS, HTTP version) → gate (strictness) → route → rules → balance → pool/connect → exchange
//!                                                                  └────────── retry ◀────────────────┘
//! ```
//!
//! What decides is pure ([`gate`], [`path`], [`authority`], [`headers`], [`forwarded`], [`balance`], [`retry`],
//! [`idle`]); what moves bytes is thin ([`accept`], [`connection`], [`exchange`], [`upgrade`]).
//!
//! "Strict in, canonical out": what two readers could understand in two ways is refused, never forwarded.

pub mod abort;
pub mod accept;
pub mod access_log;
pub mod account;
pub mod answer_body;
pub mod auth;
pub mod authority;
pub mod balance;
pub mod challenges;
pub mod client_address;
pub mod client_io;
pub mod connect;
pub mod connection;
pub mod deadlines;
pub mod drain;
pub mod early;
pub mod error;
pub mod exchange;
pub mod filters;
pub mod flow;
pub mod forward;
pub mod forwarded;
pub mod frame_guard;
pub mod fuzz;
pub mod fuzz_fields;
pub mod gate;
pub mod gone;
pub mod grpc;
pub mod handshakes;
pub mod head_gate;
pub mod head_scan;
pub mod headers;
pub mod held;
pub mod http1;
pub mod http2;
pub mod idle;
pub mod leash;
pub mod linger;
pub mod listen;
pub mod local;
pub mod metrics;
pub mod outbound;
pub mod path;
pub mod peer_streams;
pub mod per_address;
pub mod permits;
pub mod plan;
pub mod pool;
pub mod proxy_protocol;
pub mod reason;
pub mod request_body;
pub mod request_id;
pub mod retry;
pub mod route;
pub mod rules;
pub mod shortcut;
pub mod spans;
mod sweep;
pub mod tcp;
pub mod tls;
pub mod trace;
pub mod upgrade;
pub mod uploads;
pub mod websocket;
pub mod worker;
