//! HTTP/1.1 by ourselves, for what is plain: requests without a body that ask for nothing but an answer.
//!
//! One task a client connection owns both sockets while a request is under way; octets are read into large buffers that
//! the thread's connections share, and written from there. Nothing is decided here: routes, rules, balancing, retries,
//! header fields and what is counted are those of every request ([`super::forward`]).
//!
//! Those that ask for nothing at all of what a request can ask for are passed on without being taken apart
//! ([`direct`]).
//!
//! Whatever is not plain goes to hyper together with the octets that were read, and with it the rest of the
//! connection: so what is refused, and how, is written down once.

pub mod answer;
pub mod chunks;
pub mod connection;
pub mod direct;
pub mod fuzz;
pub mod head;
pub mod relay;
pub mod rewrite;
pub mod scratch;
pub mod stays;
pub mod upstream;

/// Which implementation serves clients of HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Ours what is plain, hyper the rest.
    #[default]
    Own,
    /// Hyper everything of HTTP/1.1. Tests compare the two.
    Hyper,
}
