//! Ends connections so that the other end cannot take what it got for the whole.
//!
//! TCP has one word for that, RST: whoever reads gets an error where a FIN would be an end. Over TLS nothing is said
//! before it, above all no `close_notify` (RFC 8446 section 6.1), which would vouch for the end.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::client_io::ClientIo;
use super::tls::endpoint::EndpointIo;

/// A connection that can be ended so.
pub trait Abort: AsyncRead + AsyncWrite + Unpin {
    /// Ends it.
    fn abort(self);
}

/// A connection whose socket sends RST when it is closed, once that was asked for.
pub trait Reset {
    /// Asks for it.
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        // Where that fails the connection has ended already.
        let _ = self.set_zero_linger();
    }
}

impl Reset for TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

impl Abort for TcpStream {
    fn abort(self) {
        self.reset();
    }
}

impl Abort for TlsStream<TcpStream> {
    fn abort(self) {
        self.reset();
    }
}

/// What hyper has read, on either side.
impl Abort for TokioIo<Upgraded> {
    fn abort(self) {
        let upgraded = match self.into_inner().downcast::<TokioIo<EndpointIo>>() {
            Ok(parts) => return parts.io.inner().socket().reset(),
            Err(upgraded) => upgraded,
        };
        let upgraded = match upgraded.downcast::<TokioIo<ClientIo<TcpStream>>>() {
            Ok(parts) => return parts.io.inner().stream().reset(),
            Err(upgraded) => upgraded,
        };
        if let Ok(parts) = upgraded.downcast::<TokioIo<ClientIo<TlsStream<TcpStream>>>>() {
            parts.io.inner().stream().reset();
        }
    }
}
