//! Replacing the program without losing a request: the running one hands its listening sockets to the one that takes
//! over.
//!
//! ```text
//! new: connects, says its format and its workers  ──▶  old: answers with what it has, and the sockets (SCM_RIGHTS)
//! new: reads the configuration, follows the sources until its table is ready, serves on the same sockets
//! new: says what it serves                         ──▶  old: stops accepting, gives up the API and this socket
//! old: says so, finishes what is under way, ends        new: opens the API, waits for the next one
//! ```
//!
//! Both accept from the same queues for a moment, so nothing that connects is reset. Whatever goes wrong before the new
//! one serves ends the conversation, and the old one goes on as if nothing had been asked. What is known of endpoints
//! (latencies, who is spared) goes along.

pub(super) mod balance;
pub(super) mod give;
pub(super) mod message;
pub(crate) mod take;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// The format of the conversation. Another one is refused.
pub(super) const FORMAT: u32 = 1;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    /// A listener of the proxy.
    Proxy,
    /// A port that a service holds.
    ServicePort,
    /// DNS over UDP.
    DnsUdp,
    /// DNS over TCP.
    DnsTcp,
    /// DNS over TLS.
    DnsTls,
    /// DNS over HTTPS.
    DnsHttps,
}

/// A socket and its use; of several with one use and address each is another worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) purpose: Use,
    /// As it is configured.
    pub(crate) address: SocketAddr,
    /// The service manager's: it keeps the socket open too.
    pub(crate) is_inherited: bool,
}

/// Sockets that were handed over and that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    sockets: HashMap<(Use, SocketAddr), (Place, Vec<OwnedFd>)>,
    taken: Vec<Place>,
}

impl Handed {
    pub(crate) fn add(&mut self, place: Place, socket: OwnedFd) {
        let entry = self.sockets.entry((place.purpose, place.address));
        entry.or_insert_with(|| (place, Vec::new())).1.push(socket);
    }

    /// The listening sockets for this use and address, one for each worker; whether they are the service manager's.
    pub(crate) fn take_streams(&mut self, purpose: Use, address: SocketAddr) -> Option<(Vec<TcpListener>, bool)> {
        let (place, sockets) = self.sockets.remove(&(purpose, address))?;
        self.taken.push(place);
        Some((sockets.into_iter().map(TcpListener::from).collect(), place.is_inherited))
    }

    /// The same of datagrams.
    pub(crate) fn take_datagrams(&mut self, purpose: Use, address: SocketAddr) -> Option<Vec<UdpSocket>> {
        let (place, sockets) = self.sockets.remove(&(purpose, address))?;
        self.taken.push(place);
        Some(sockets.into_iter().map(UdpSocket::from).collect())
    }

    /// What was taken; the rest is closed here.
    pub(crate) fn finish(self) -> Vec<Place> {
        self.taken
    }
}
