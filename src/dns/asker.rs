//! Who asks, as far as an answer depends on it.

use std::net::IpAddr;

use super::wire::Transport;

/// Who asks, how and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// How the query came.
    pub transport: Transport,
    /// The address it came from, where that is known.
    pub client: Option<IpAddr>,
    /// When, in seconds since 1970; cookies carry it.
    pub now: u32,
    /// Octets that are kept free behind the answer, for its signature.
    pub reserved: usize,
}

impl From<Transport> for Asker {
    /// Nobody in particular.
    fn from(transport: Transport) -> Self {
        Self { transport, client: None, now: 0, reserved: 0 }
    }
}
