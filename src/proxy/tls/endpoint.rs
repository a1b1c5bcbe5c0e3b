//! The handshake with an endpoint, and the connection that comes of it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::profiles::{TlsProfiles, Within};
use crate::model::endpoint_tls::EndpointTls;

/// Why there is no TLS with an endpoint; nothing was sent to it but the beginning of a handshake.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// Nobody configured what the task asks for.
    #[error("no entry of upstreams.tls is called {0:?}, or the system has no authorities")]
    UnknownProfile(String),
    /// Its certificate is not one that is believed.
    #[error("the certificate is not accepted: {0}")]
    Certificate(#[source] rustls::Error),
    /// The two do not come together.
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// It speaks no HTTP/2 (RFC 9113 section 3.2).
    #[error("the endpoint does not agree on HTTP/2 (ALPN)")]
    NoHttp2,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub enum EndpointIo {
    /// In clear text.
    Plain(TcpStream),
    /// Over TLS.
    Secure(Box<TlsStream<TcpStream>>),
}

/// Shakes hands with an endpoint.
///
/// # Errors
/// Why that did not succeed.
pub async fn secure(
    stream: TcpStream,
    address: SocketAddr,
    tls: &EndpointTls,
    within: Within,
    profiles: &TlsProfiles,
) -> Result<TlsStream<TcpStream>, TlsFault> {
    let unknown = || TlsFault::UnknownProfile(tls.profile.to_string());
    let profile = profiles.find(&tls.profile).ok_or_else(unknown)?;
    let name = match tls.server_name.as_ref().or(profile.server_name.as_ref()) {
        Some(name) => ServerName::try_from(name.to_string()).map_err(|_| unknown())?,
        None => ServerName::IpAddress(address.ip().to_canonical().into()),
    };
    let connector = TlsConnector::from(profile.config(within));
    let stream = connector.connect(name, stream).await.map_err(classify)?;
    let agreed = stream.get_ref().1.alpn_protocol();
    match within == Within::Http2 && agreed != Some(b"h2") {
        true => Err(TlsFault::NoHttp2),
        false => Ok(stream),
    }
}

fn classify(error: io::Error) -> TlsFault {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(fault @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)) => {
            TlsFault::Certificate(fault.clone())
        }
        Some(rustls::Error::NoApplicationProtocol) => TlsFault::NoHttp2,
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => TlsFault::NoHttp2,
        _ => TlsFault::Handshake(error),
    }
}

/// Whether a connection ended because the endpoint refused what it was shown, or was not shown: with TLS 1.3 that is
/// learnt only after the handshake.
pub fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(current) = error {
        let inner = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(_)) = inner.or_else(|| current.downcast_ref::<rustls::Error>()) {
            return true;
        }
        error = current.source();
    }
    false
}

impl EndpointIo {
    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Secure(stream) => stream.get_ref().0,
        }
    }

    /// The socket alone; `None`: it speaks TLS.
    pub fn into_plain(self) -> Option<TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Secure(_) => None,
        }
    }
}

impl AsyncRead for EndpointIo {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for EndpointIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Secure(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
