//! The PROXY protocol (HAProxy's `proxy-protocol.txt`, versions 1 and 2): what a balancer of TCP says of a connection
//! before its first octet, from whom it came and where to.
//!
//! In: only from addresses that a listener names, and then always; whoever else sends a header sends what is no HTTP. Out:
//! by service.

pub mod header;
pub mod receive;

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::model::endpoint::ProxyProtocol;

/// Both ends of a connection, as its first recipient saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// What an endpoint is told of the connection that a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// How.
    pub version: ProxyProtocol,
    /// What; `None`: the connection is this proxy's own.
    pub addresses: Option<Addresses>,
}

impl Announcement {
    /// Writes it to a connection that was just opened.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn write(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(&header::write(self.version, self.addresses)).await
    }
}
