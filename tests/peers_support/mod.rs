//! Ordinary requests, a server behind that answers them and notes what it sees, and nginx, HAProxy and the program before it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

pub mod backend;
pub mod cases;
pub mod client;
pub mod differences;
pub mod message;
pub mod peer;
