//! The proxy's tests of HTTP/1.1 once more, with hyper in the place of the implementation of our own.
//!
//! Which one a test gets is decided in `proxy_common`, by the name of this program.
#![allow(clippy::duplicate_mod, reason = "each of the files brings the common part along")]

#[path = "proxy_bodies.rs"]
mod proxy_bodies;
#[path = "proxy_drain.rs"]
mod proxy_drain;
#[path = "proxy_drain_time.rs"]
mod proxy_drain_time;
#[path = "proxy_hedging.rs"]
mod proxy_hedging;
#[path = "proxy_limits.rs"]
mod proxy_limits;
#[path = "proxy_queue.rs"]
mod proxy_queue;
#[path = "proxy_retry.rs"]
mod proxy_retry;
#[path = "proxy_routing.rs"]
mod proxy_routing;
#[path = "proxy_sticky.rs"]
mod proxy_sticky;
#[path = "proxy_strictness.rs"]
mod proxy_strictness;
