//! Apache Mesos and DC/OS: the v1 operator API's event stream, or `GET /master/state` at an interval.
//!
//! ```text
//!  bytes ─▶ recordio ─▶ protobuf | json ─▶ items ─▶ translate ─▶ facts ─▶ the writer
//!           └────────── decode ─────────┘
//!  bytes ─▶ gunzip ───▶ json (legacy) ───▶ items ─▶ …
//!           └────── state_document ─────┘
//!           └───────────────── session (sans I/O, passed the time) ─────────┘
//!           └───────── subscribe (thread, sockets), leader, zookeeper ──────┘
//! ```
//!
//! The modules in reading order. Everything up to [`session`] is free of I/O; [`connection`], [`zookeeper`] and
//! [`subscribe`] are the shell around it.

pub mod wire;

pub mod recordio;

pub mod schema;

pub mod protobuf;

pub mod json;

pub mod decode;

pub mod legacy;

pub mod state_document;

pub mod address;

pub mod definition;

pub mod translate;

pub mod leader;

pub mod refusal;

pub mod backoff;

pub mod listing;

pub mod session;

pub mod metrics;

pub mod tls;

pub mod connection;

pub mod zookeeper;

pub mod subscribe;
