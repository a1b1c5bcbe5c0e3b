//! What task labels mean: native ones, marathon-lb's `HAPROXY_*` → one typed specification, or a problem.

pub mod host;
pub mod spec;
