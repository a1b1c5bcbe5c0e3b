//! What several integration tests share.
#![allow(dead_code, missing_docs, reason = "each test binary uses a part of it")]

pub mod facts;
pub mod world;
