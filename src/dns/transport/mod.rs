//! Sockets: how queries come in and answers go out. Decisions are made elsewhere.

pub mod bind;
pub(crate) mod https;
pub mod secure;
mod stream;
pub(crate) mod tcp;
pub(crate) mod udp;
