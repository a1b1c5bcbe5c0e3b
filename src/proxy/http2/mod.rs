//! HTTP/2 (RFC 9113) of our own, towards clients and towards endpoints.
//!
//! What it costs elsewhere is not frames and compression, but what stands between streams and their connection: locks,
//! channels, a task for each half of each exchange, a system call for each piece of content. Here a connection is one
//! state ([`state`]) that belongs to one thread. Its task reads what has come, hands frames to the state, and writes at
//! the end of its turn what all streams have left there; who serves a stream looks into the state itself, by a
//! [`handles::Reader`] and a [`handles::Writer`].
//!
//! - [`frame`], [`hpack`], [`head`] and [`block`] read and write what is on the wire. Pure.
//! - [`state`], [`receive`] and [`stream`] are the rules: order, windows, limits, the life of a stream; [`mod@line`] is of those
//!   who wait for one.
//! - [`input`] cuts what is read into frames.
//! - [`server`], [`direct`] and [`answering`] serve clients, [`link`] and [`upload`] ask endpoints; [`alive`] notices who is
//!   gone.
//! - [`duplex`] is a stream as a tunnel (RFC 8441).

pub mod alive;
pub mod answering;
pub mod block;
pub mod direct;
pub mod duplex;
pub mod frame;
pub mod fuzz;
pub mod handles;
pub mod head;
pub mod hpack;
pub mod input;
pub mod line;
pub mod link;
pub mod receive;
pub mod server;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod stream;
pub mod upload;
