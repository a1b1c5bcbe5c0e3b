//! Ports for servers that cannot be told to choose one themselves.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where ports are looked for: below what Linux gives to outgoing connections (`ip_local_port_range`, from 32768).
///
/// A port from that range may become the source port of any connection between our look and the server's bind. Worse,
/// a test that connects until the server is there may then connect to *itself* (RFC 9293 section 3.5, simultaneous
/// open): the connection succeeds, nobody listens, and the server finds its port taken.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of 127.0.0.1 that nobody uses, for UDP and TCP, and that this process gives out once.
pub fn unused() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((begin + step) % u32::from(COUNT)).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port between {FIRST} and {} is free", FIRST + COUNT);
}
