//! Whether a client has gone whose octets nobody reads.
//!
//! An end stands behind what was sent before it, and who does not read does not come to it. What the system tells of a
//! socket apart from its octets says so all the same, once the end has come: one for which there is no room behind what was
//! sent (a window of TCP's that is shut) waits at the client, and only a reset comes at once. Until then the times that
//! requests have are what ends them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::client_io::ClientIo;

/// A connection of which that is known.
pub trait Gone {
    /// Whether the other end has closed it, or it is broken.
    fn is_gone(&self) -> bool;
}

impl Gone for TcpStream {
    fn is_gone(&self) -> bool {
        let ready = pin!(self.ready(Interest::READABLE)).poll(&mut Context::from_waker(Waker::noop()));
        match ready {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

impl Gone for TlsStream<TcpStream> {
    fn is_gone(&self) -> bool {
        self.get_ref().0.is_gone()
    }
}

impl<S: Gone> Gone for ClientIo<S> {
    fn is_gone(&self) -> bool {
        self.stream().is_gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_is_seen_behind_octets_that_nobody_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(&[7; 1000]).await.unwrap();
        server.readable().await.unwrap();
        assert!(!server.is_gone());
        drop(client);
        let seen = async {
            while !server.is_gone() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
    }
}
