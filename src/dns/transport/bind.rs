//! Binding the server's addresses: one UDP and one TCP socket for each address and worker; for encrypted connections the
//! latter alone.
//!
//! The workers' sockets share their address by `SO_REUSEPORT`, which another process of the same user could join
//! unnoticed and take away a share of the queries. So a probe without the option proves the address free first.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Where the addresses without encryption come from.
const PLAIN: &str = "dns.listen";

/// Wanted room for datagrams that wait to be read; the kernel may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Attempts to find a port that is free for both transports, where any port will do.
const ANY_PORT_ATTEMPTS: usize = 16;

/// The sockets of one worker.
#[derive(Debug, Default)]
pub struct WorkerSockets {
    /// Datagrams.
    pub udp: Vec<UdpSocket>,
    /// Streams.
    pub streams: Vec<StreamSocket>,
}

/// How DNS is spoken on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// As it is.
    Plain,
    /// Within TLS.
    Tls,
    /// By HTTP/2 within TLS.
    Https,
}

/// A socket that connections arrive at.
#[derive(Debug)]
pub struct StreamSocket {
    /// The socket.
    pub listener: TcpListener,
    /// What is spoken on its connections.
    pub spoken: Spoken,
    /// The service manager's: connections that nobody accepted wait there for our successor.
    pub is_inherited: bool,
}

impl StreamSocket {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.try_clone()?, spoken: self.spoken, is_inherited: self.is_inherited })
    }
}

impl WorkerSockets {
    /// The same sockets under further descriptors, for somebody who serves them after or beside this worker.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            udp: self.udp.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?,
            streams: self.streams.iter().map(StreamSocket::try_clone).collect::<io::Result<_>>()?,
        })
    }

    /// Adds another's sockets.
    pub fn append(&mut self, mut other: Self) {
        self.udp.append(&mut other.udp);
        self.streams.append(&mut other.streams);
    }
}

/// All workers' sockets.
#[derive(Debug)]
pub struct Bound {
    /// The addresses, with the port that was given where port 0 was asked for.
    pub addresses: Vec<SocketAddr>,
    /// For each worker its own.
    pub workers: Vec<WorkerSockets>,
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has it.
    #[error(
        "{setting}: {transport} {address} is in use: another process (or another pointsman) has it; \
         stop that one, or change {setting}"
    )]
    InUse {
        /// The setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
    },
    /// It needs a privilege.
    #[error(
        "{setting}: no permission to bind {transport} {address}: ports below 1024 need CAP_NET_BIND_SERVICE \
         (in a systemd unit: AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a higher port in {setting}"
    )]
    Denied {
        /// The setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
    },
    /// This machine does not have it.
    #[error("{setting}: {address} is not an address of this machine; use one that is, or 0.0.0.0 for all of them")]
    NotLocal {
        /// The setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Something else.
    #[error("{setting}: cannot bind {transport} {address}: {source}; change {setting}")]
    Other {
        /// The setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds every address once for each worker.
///
/// # Errors
/// The first address that cannot be bound; what was bound before is closed again.
pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Bound, BindError> {
    let mut bound = Bound { addresses: Vec::new(), workers: Vec::new() };
    bound.workers.resize_with(workers, WorkerSockets::default);
    for address in addresses {
        if address.port() == 0 { bound.add_any_port(*address)? } else { bound.add(*address)? }
    }
    Ok(bound)
}

/// Binds an address of `setting` for connections alone, once for each worker; returns it with its port.
///
/// # Errors
/// The address cannot be bound.
pub fn bind_streams(
    setting: &'static str,
    address: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    streams(address, workers).map_err(|error| error.of(setting))
}

fn streams(address: SocketAddr, workers: usize) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    let probe = open(address, Kind::Tcp, Sharing::Nobody)?;
    let bound = probe.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address);
    drop(probe);
    let open = || open(bound, Kind::Tcp, Sharing::Workers).map(Into::into);
    let listeners = std::iter::repeat_with(open).take(workers).collect::<Result<_, _>>()?;
    Ok((bound, listeners))
}

impl BindError {
    /// The same, of an address that another setting has.
    fn of(mut self, named: &'static str) -> Self {
        match &mut self {
            Self::InUse { setting, .. }
            | Self::Denied { setting, .. }
            | Self::NotLocal { setting, .. }
            | Self::Other { setting, .. } => *setting = named,
        }
        self
    }
}

impl Bound {
    fn add(&mut self, address: SocketAddr) -> Result<(), BindError> {
        prove_free(address)?;
        self.addresses.push(address);
        for worker in &mut self.workers {
            worker.udp.push(open(address, Kind::Udp, Sharing::Workers)?.into());
            worker.streams.push(plain(open(address, Kind::Tcp, Sharing::Workers)?));
        }
        Ok(())
    }

    /// The kernel may give a port that sockets of others share; so the first pair of sockets shares with nobody, and
    /// begins to do so once it has the port.
    fn add_any_port(&mut self, address: SocketAddr) -> Result<(), BindError> {
        let (address, udp, tcp) = free_pair(address)?;
        self.addresses.push(address);
        let mut pair = Some((udp, tcp));
        for worker in &mut self.workers {
            let (udp, tcp) = match pair.take() {
                Some((udp, tcp)) => {
                    let shared = udp.set_reuse_port(true).and(tcp.set_reuse_port(true)).and(tcp.listen(BACKLOG));
                    shared.map_err(|source| BindError::Other { setting: PLAIN, address, transport: "TCP", source })?;
                    (udp, tcp)
                }
                None => (open(address, Kind::Udp, Sharing::Workers)?, open(address, Kind::Tcp, Sharing::Workers)?),
            };
            worker.udp.push(udp.into());
            worker.streams.push(plain(tcp));
        }
        Ok(())
    }
}

fn plain(socket: Socket) -> StreamSocket {
    StreamSocket { listener: socket.into(), spoken: Spoken::Plain, is_inherited: false }
}

/// The addresses by which a server is reached that listens on `listen`: a wildcard stands for every address of the
/// machine that is neither loopback nor link-local.
pub fn own_addresses(listen: &[SocketAddr]) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> = Vec::new();
    for address in listen.iter().map(SocketAddr::ip) {
        if address.is_unspecified() {
            own.extend(interface_addresses().filter(|own| own.is_ipv4() == address.is_ipv4()));
        } else {
            own.push(address);
        }
    }
    own.sort_unstable();
    own.dedup();
    own
}

fn interface_addresses() -> impl Iterator<Item = IpAddr> {
    // Without a list of interfaces the name server has no addresses: worse names, but names.
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces.filter_map(|interface| interface.address).filter_map(|address| {
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => return None,
        };
        (!ip.is_loopback() && !is_link_local(ip)).then_some(ip)
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn prove_free(address: SocketAddr) -> Result<(), BindError> {
    open(address, Kind::Udp, Sharing::Nobody)?;
    open(address, Kind::Tcp, Sharing::Nobody)?;
    Ok(())
}

/// Sockets on a port that was free for both transports.
fn free_pair(address: SocketAddr) -> Result<(SocketAddr, Socket, Socket), BindError> {
    let mut attempts = 0;
    loop {
        let udp = open(address, Kind::Udp, Sharing::Nobody)?;
        let given = udp.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address);
        attempts += 1;
        match open(given, Kind::Tcp, Sharing::Nobody) {
            Ok(tcp) => return Ok((given, udp, tcp)),
            Err(error) if attempts == ANY_PORT_ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// The probe's way: fails if anybody else has the address.
    Nobody,
    Workers,
}

fn open(address: SocketAddr, kind: Kind, sharing: Sharing) -> Result<Socket, BindError> {
    try_open(address, kind, sharing).map_err(|error| {
        let transport = kind.name();
        match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { setting: PLAIN, address, transport },
            io::ErrorKind::PermissionDenied => BindError::Denied { setting: PLAIN, address, transport },
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal { setting: PLAIN, address },
            _ => BindError::Other { setting: PLAIN, address, transport, source: error },
        }
    })
}

fn try_open(address: SocketAddr, kind: Kind, sharing: Sharing) -> io::Result<Socket> {
    let (socket_type, protocol) = match kind {
        Kind::Udp => (Type::DGRAM, Protocol::UDP),
        Kind::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), socket_type.nonblocking().cloexec(), Some(protocol))?;
    if address.is_ipv6() {
        // `0.0.0.0` and `[::]` are two addresses that can stand beside each other in dns.listen.
        socket.set_only_v6(true)?;
    }
    if sharing == Sharing::Workers {
        socket.set_reuse_port(true)?;
    }
    match kind {
        Kind::Tcp => socket.set_reuse_address(true)?,
        // A wish: the kernel caps it at net.core.rmem_max.
        Kind::Udp => drop(socket.set_recv_buffer_size(RECEIVE_BUFFER)),
    }
    socket.bind(&address.into())?;
    if kind == Kind::Tcp && sharing == Sharing::Workers {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_that_nobody_else_has() {
        let bound = bind(&["127.0.0.1:0".parse().unwrap()], 2).unwrap();
        assert_eq!(bound.workers.len(), 2);
        let address = bound.addresses[0];
        assert_ne!(address.port(), 0);
        for worker in &bound.workers {
            assert_eq!(worker.udp[0].local_addr().unwrap(), address);
            assert_eq!(worker.streams[0].listener.local_addr().unwrap(), address);
        }
        let error = bind(&[address], 1).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("another pointsman"), "{error}");
        drop(bound);
        bind(&[address], 1).unwrap();
    }

    #[test]
    fn errors_name_address_and_mend() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = udp.local_addr().unwrap();
        assert!(matches!(bind(&[taken], 1), Err(BindError::InUse { transport: "UDP", .. })));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = tcp.local_addr().unwrap();
        assert!(matches!(bind(&[taken], 1), Err(BindError::InUse { transport: "TCP", .. })));
        // RFC 5737: never an address of this machine.
        let foreign = bind(&["192.0.2.1:5353".parse().unwrap()], 1).unwrap_err();
        assert!(matches!(foreign, BindError::NotLocal { .. }), "{foreign}");
    }

    #[test]
    fn a_wildcard_stands_for_the_machines_addresses() {
        let listen = |text: &str| own_addresses(&[text.parse().unwrap()]);
        assert_eq!(listen("127.0.0.1:53"), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(listen("0.0.0.0:53").iter().all(|ip| ip.is_ipv4() && !ip.is_loopback()));
    }
}
