//! Pointsman: service discovery and dynamic load balancing for clusters.
//!
//! One program, one table: a DNS server and an L7 proxy answer from a lock-free routing table that is rebuilt from
//! the cluster's task events.
//!
//! ```text
//!  cluster sources            one writer                 readers (a thread per core)
//!  ┌───────────────┐   events   ┌────────────┐  publish   ┌──────────────┐
//!  │ mesos (stream)│──────────▶│ ClusterState│──────────▶│ Table (Arc)  │──▶ dns
//!  │ marathon, file│  bounded   │  → Builder  │  ArcSwap   │ immutable    │──▶ proxy
//!  └───────────────┘  channel   └────────────┘            └──────────────┘──▶ admin
//! ```
//!
//! The modules in reading order; each knows those above it in this list, never those below.

pub mod model;

pub mod socket;

pub mod labels;

pub mod config;

pub mod mesos_dns;

pub mod cluster;

pub mod table;

pub mod journal;

pub mod deploys;
pub mod dns;

pub mod proxy;

pub mod acme;
pub mod health;

pub mod admin;

pub mod server;

pub mod demo;

pub mod cli;
