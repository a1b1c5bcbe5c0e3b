//! What messages come over, one after another: TCP itself, or TLS over it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Octets read at a time.
const READ: usize = 16 * 1024;

/// Octets read at a time within TLS, where the buffer stands ready while nothing comes.
const READ_TLS: usize = 2 * 1024;

/// A connection as octets in order.
pub(crate) trait Stream {
    /// Waits for octets and appends those that have come; 0: the client sends no more. Cancel safe: what was read is in
    /// `into`.
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize>;

    /// Sends all of it.
    async fn write(&mut self, octets: &[u8]) -> io::Result<()>;
}

impl Stream for TcpStream {
    /// A connection that waits has no buffer.
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.readable().await?;
            into.reserve(READ);
            let result = self.try_read_buf(into);
            if into.is_empty() {
                *into = Vec::new();
            }
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.write_all(octets).await
    }
}

impl Stream for Box<TlsStream<TcpStream>> {
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        into.reserve(READ_TLS);
        self.read_buf(into).await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.write_all(octets).await?;
        self.flush().await
    }
}
