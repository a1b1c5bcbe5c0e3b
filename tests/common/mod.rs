//! What several integration tests share.
#![allow(dead_code, missing_docs, reason = "each test binary uses a part of it")]

pub mod backend;
pub mod dns;
pub mod facts;
pub mod openapi;
pub mod ports;
pub mod program;
pub mod world;
