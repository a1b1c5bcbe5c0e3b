//! Opens connections to endpoints.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::error::AttemptFault;
use super::exchange::Http1;
use super::http2::link::Link;
use super::metrics::Shard;
use super::proxy_protocol::Announcement;
use super::tls::endpoint::{EndpointIo, TlsFault, secure};
use super::tls::profiles::{TlsProfiles, Within};
use super::tls::refusal::Refusal;
use super::worker::Opened;
use crate::model::endpoint::Endpoint;

/// The largest head of an answer.
pub(super) const ANSWER_HEAD_BYTES: usize = 256 * 1024;
/// Header fields of an answer.
const ANSWER_HEAD_FIELDS: usize = 256;
/// Opens a TCP connection.
///
/// # Errors
/// Why there is none; nothing was sent then.
pub async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, AttemptFault> {
    let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(AttemptFault::Connect)?,
        Err(_) => return Err(AttemptFault::ConnectTimeout),
    };
    // Requests are small and must not wait for an acknowledgement.
    stream.set_nodelay(true).map_err(AttemptFault::Connect)?;
    Ok(stream)
}

/// Whether nothing stands between TCP and HTTP at an endpoint.
pub fn is_plain(endpoint: &Endpoint) -> bool {
    endpoint.tls.is_none() && endpoint.proxy_protocol.is_none()
}

/// Opens a TCP connection whose other end is told of a client first.
///
/// # Errors
/// Why there is none.
pub async fn announced(
    address: SocketAddr,
    announcement: Option<&Announcement>,
    limit: Duration,
) -> Result<TcpStream, AttemptFault> {
    let mut stream = connect(address, limit).await?;
    if let Some(announcement) = announcement {
        announcement.write(&mut stream).await.map_err(AttemptFault::Connect)?;
    }
    Ok(stream)
}

/// How an endpoint is reached.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// What it is told of the client first.
    pub announcement: Option<Announcement>,
    /// For the connection, and TLS on it.
    pub limit: Duration,
    /// What is verified and shown, where it speaks TLS.
    pub profiles: &'a TlsProfiles,
    /// Where handshakes are counted.
    pub shard: &'a Shard,
}

impl Way<'_> {
    /// Opens a connection, over TLS where the endpoint speaks TLS.
    async fn open(&self, within: Within) -> Result<EndpointIo, AttemptFault> {
        let Endpoint { address, tls, .. } = self.endpoint;
        let stream = announced(*address, self.announcement.as_ref(), self.limit);
        let Some(tls) = tls else { return stream.await.map(EndpointIo::Plain) };
        let whole = async {
            let stream = stream.await?;
            secure(stream, *address, tls, within, self.profiles).await.map_err(AttemptFault::Tls)
        };
        let opened = tokio::time::timeout(self.limit, whole).await.unwrap_or(Err(AttemptFault::ConnectTimeout));
        match &opened {
            Ok(_) => self.shard.upstream_tls_made.increment(),
            Err(AttemptFault::Tls(TlsFault::Certificate(fault))) if Refusal::of(fault) == Some(Refusal::Revoked) => {
                self.shard.upstream_tls_revoked.increment();
            }
            Err(AttemptFault::Tls(TlsFault::Certificate(_))) => self.shard.upstream_tls_certificate.increment(),
            Err(AttemptFault::Tls(_)) => self.shard.upstream_tls_failed.increment(),
            Err(_) => {}
        }
        opened.map(|stream| EndpointIo::Secure(Box::new(stream)))
    }
}

/// Opens a connection for HTTP/1.1.
///
/// # Errors
/// Why there is none.
pub async fn http1(way: &Way<'_>, opened: Opened) -> Result<Http1, AttemptFault> {
    http1_over(way.open(Within::Http1).await?, opened).await
}

/// HTTP/1.1 over a connection of which nothing waits to be read.
///
/// # Errors
/// If the implementation does not take it.
pub async fn http1_over(stream: EndpointIo, opened: Opened) -> Result<Http1, AttemptFault> {
    let handshake = http1::Builder::new()
        .max_headers(ANSWER_HEAD_FIELDS)
        .max_buf_size(ANSWER_HEAD_BYTES)
        .handshake(TokioIo::new(stream));
    let (sender, driver) = handshake.await.map_err(not_connected)?;
    Ok(Http1::new(sender, Box::pin(driver), opened))
}

/// Opens a connection for HTTP/2: over TLS by ALPN (RFC 9113 section 3.2), in clear text with prior knowledge
/// (section 3.3). Its tasks belong to `tasks`.
///
/// # Errors
/// Why there is none.
pub async fn http2(way: &Way<'_>, opened: Opened, tasks: &TaskTracker) -> Result<Rc<Link>, AttemptFault> {
    let stream = way.open(Within::Http2).await?;
    Ok(Link::begin(stream, opened, tasks))
}

fn not_connected(error: hyper::Error) -> AttemptFault {
    AttemptFault::Connect(std::io::Error::other(error))
}
