//! What the tests of Mesos-DNS compatibility share.
#![allow(dead_code, missing_docs, reason = "each test binary uses a part of it")]

pub mod cluster;
pub mod fixtures;
pub mod rules;
