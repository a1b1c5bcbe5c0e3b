//! The ledger of deploys: what became of a service's requests while one version took the place of another.
//!
//! [`ledger`] is pure: tables and readings in, records out; `link` is what deployments of frameworks have to do with it. [`run`] follows the tables and the proxy's counters. Nothing of
//! it is on a request's path: counters that are kept anyway are read ten times a second, and only of services that have a
//! deploy under way.

pub mod ledger;
mod link;
pub mod metrics;
pub mod record;
pub mod run;
