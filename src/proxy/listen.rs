//! Listening sockets: one a worker for each address.
//!
//! All workers' sockets share a port by `SO_REUSEPORT`. That option would also let another process, or a second
//! instance of ours, in unnoticed: so the port is first bound without it, to prove that it is free.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};

use super::drain::DrainSignal;
use super::tls::TlsListener;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error(
        "{address} is in use by another process (perhaps another instance of this program); stop it (`ss -ltnp` shows \
         it) or configure another port"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The port needs a privilege.
    #[error(
        "no permission to listen on {address}; use a port above 1023, or grant CAP_NET_BIND_SERVICE (systemd: \
         AmbientCapabilities)"
    )]
    Forbidden {
        /// The address.
        address: SocketAddr,
    },
    /// No interface has the address.
    #[error("{address} is not an address of this host; use one that `ip address` shows, or 0.0.0.0 or [::] for all")]
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// Something else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A socket of one worker.
#[derive(Debug)]
pub struct Listener {
    /// Its name in logs.
    pub name: Arc<str>,
    /// The socket, listening, not blocking.
    pub socket: std::net::TcpListener,
    /// The socket belongs to the service manager: connections that nobody accepted wait there for our successor.
    pub is_inherited: bool,
    /// TLS; `None`: clear text.
    pub tls: Option<TlsListener>,
    /// TLS connections for names that services claim are carried to them as they are.
    pub passes: bool,
    /// Whose connections begin with a header of the PROXY protocol.
    pub announcers: Arc<[IpNet]>,
    /// How its connections find their service.
    pub entrance: Entrance,
    /// Takes this listener alone out of service; `None`: it ends with its worker.
    pub drain: Option<DrainSignal>,
}

/// How connections of a listener find their service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entrance {
    /// By the host and path of each request.
    #[default]
    Host,
    /// By the app that each request names.
    App,
    /// The port belongs to one service.
    Port(u16),
}

/// Sockets on `address`, one for each worker; port 0 chooses a free one, the same for all.
///
/// # Errors
/// Why the address cannot be used, and the mend.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Vec<std::net::TcpListener>, BindError> {
    let failed = |source| bind_error(address, source);
    let probe = socket(address, false).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
    drop(probe);
    (0..workers.max(1)).map(|_| socket(address, true).and_then(listening).map_err(failed)).collect()
}

/// A socket that was inherited (socket activation), shared by all workers: each accepts from the one queue.
///
/// # Errors
/// If it cannot be duplicated.
pub fn share(socket: std::net::TcpListener, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    socket.set_nonblocking(true)?;
    let mut sockets = (1..workers).map(|_| socket.try_clone()).collect::<io::Result<Vec<_>>>()?;
    sockets.push(socket);
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process in TIME_WAIT do not hinder; a listener still does.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it (Linux): one system call less a connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<std::net::TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_error(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        io::ErrorKind::PermissionDenied => BindError::Forbidden { address },
        io::ErrorKind::AddrNotAvailable => BindError::NotHere { address },
        _ => BindError::Other { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_that_nobody_else_gets() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|address| *address == addresses[0] && address.port() != 0), "{addresses:?}");
        let error = bind(addresses[0], 1).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&addresses[0].to_string()));
        drop(sockets);
        bind(addresses[0], 1).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_told() {
        let error = bind(([192, 0, 2, 1], 0).into(), 1).unwrap_err();
        assert!(matches!(error, BindError::NotHere { .. }), "{error}");
    }

    #[test]
    fn an_inherited_socket_is_shared() {
        let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = inherited.local_addr().unwrap();
        let sockets = share(inherited, 2).unwrap();
        assert!(sockets.len() == 2 && sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
    }
}
