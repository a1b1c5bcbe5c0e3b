//! The service manager: how we are told to it, and sockets that it opened for us.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use sd_notify::NotifyState;

use super::take_over::Handed;
use crate::dns::transport::bind::{Spoken, StreamSocket, WorkerSockets};

/// The names of sockets for DNS, by what is spoken there.
const DNS: &str = "dns";
const DNS_TLS: &str = "dns-tls";
const DNS_HTTPS: &str = "dns-https";

/// Sockets that the service manager opened (systemd socket activation), by name.
///
/// The names are those of `FileDescriptorName=`: a proxy listener takes the socket that has its name, and an address
/// of `dns.listen` takes those called `dns` that have its port, one for UDP and one for TCP; one of `dns.tls.listen` takes
/// the one called `dns-tls` and one of `dns.tls.https_listen` the one called `dns-https` that has its port. Sockets that
/// nobody takes are told and ignored. The admin API opens its own.
#[derive(Debug, Default)]
pub struct Inherited {
    streams: Vec<(String, TcpListener)>,
    datagrams: Vec<(String, UdpSocket)>,
    /// Those of a process that this one takes over from.
    pub(super) handed: Handed,
}

/// Sockets for DNS that are not complete.
#[derive(Debug, thiserror::Error)]
#[error("dns.listen: the service manager passed a {has} socket for {address} and no {lacks} socket; add {directive}={port} to its socket unit", port = address.port())]
pub struct HalfInherited {
    address: SocketAddr,
    has: &'static str,
    lacks: &'static str,
    directive: &'static str,
}

impl Inherited {
    /// What was passed to this process. Must be called once, before threads are started.
    pub fn take_all() -> Self {
        #[expect(clippy::disallowed_methods, reason = "how a service manager names what it passes (sd_listen_fds)")]
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..descriptors.len() {
            let name = names.split(':').nth(index).unwrap_or_default().to_owned();
            // An error leaves the descriptor where it is: it is of another kind.
            if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
                inherited.streams.push((name, socket));
            } else if let Ok(Some(socket)) = descriptors.take_udp_socket(index) {
                inherited.datagrams.push((name, socket));
            } else {
                tracing::warn!(%name, "inherited socket is neither a listening TCP socket nor a UDP socket; ignored");
            }
        }
        inherited
    }

    /// The socket for the listener `name`.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        take(&mut self.streams, |known, _| known == name)
    }

    /// The sockets for an address that DNS is spoken at.
    ///
    /// # Errors
    /// It is spoken without encryption, and there is one for UDP or TCP alone.
    pub fn take_dns(&mut self, spoken: Spoken, address: SocketAddr) -> Result<Option<WorkerSockets>, HalfInherited> {
        let wanted = match spoken {
            Spoken::Plain => DNS,
            Spoken::Tls => DNS_TLS,
            Spoken::Https => DNS_HTTPS,
        };
        let is_ours = |name: &str, local: std::io::Result<SocketAddr>| {
            name == wanted && local.is_ok_and(|local| local.port() == address.port())
        };
        let stream = take(&mut self.streams, |name, socket| is_ours(name, socket.local_addr()));
        let stream = stream.map(|listener| StreamSocket { listener, spoken, is_inherited: true });
        if spoken != Spoken::Plain {
            return Ok(stream.map(|stream| WorkerSockets { udp: Vec::new(), streams: vec![stream] }));
        }
        let udp = take(&mut self.datagrams, |name, socket| is_ours(name, socket.local_addr()));
        match (udp, stream) {
            (None, None) => Ok(None),
            (Some(udp), Some(stream)) => Ok(Some(WorkerSockets { udp: vec![udp], streams: vec![stream] })),
            (Some(_), None) => Err(HalfInherited { address, has: "UDP", lacks: "TCP", directive: "ListenStream" }),
            (None, Some(_)) => Err(HalfInherited { address, has: "TCP", lacks: "UDP", directive: "ListenDatagram" }),
        }
    }

    /// Names that nobody took.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        let streams = self.streams.iter().map(|(name, _)| &**name);
        streams.chain(self.datagrams.iter().map(|(name, _)| &**name))
    }
}

fn take<S>(sockets: &mut Vec<(String, S)>, is_wanted: impl Fn(&str, &S) -> bool) -> Option<S> {
    let at = sockets.iter().position(|(name, socket)| is_wanted(name, socket))?;
    Some(sockets.remove(at).1)
}

/// Tells the service manager that everything is up.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Tells the service manager that this process has taken over from the one it knows, and that everything is up.
pub fn taken_over() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Tells the service manager that the configuration is being read again; [`reloaded`] follows.
pub fn reloading() {
    // sd_notify(3): the time lets it tell this reload from the one before.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "service manager not told"),
    }
}

/// Tells the service manager how reading the configuration went; we serve either way.
pub fn reloaded(is_applied: bool) {
    let status = if is_applied { "serving" } else { "serving; the last configuration was refused, see /v1/config" };
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the service manager that we are about to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is in flight")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "service manager not told");
    }
}
