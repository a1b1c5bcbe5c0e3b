//! What the tests of the Mesos source share: recordings, a master that serves them byte for byte, a simple model of
//! what the facts say.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod expected;
pub mod facts;
pub mod legacy;
pub mod master;
pub mod recordings;
pub mod replay;
