//! What is done with a connection after the last word to its client (RFC 9112 section 9.6).
//!
//! "If a server performs an immediate close of a TCP connection, there is a significant risk that the client will not be able to
//! read the last HTTP response": what it sends meanwhile is answered with a reset, and that may take away what it has not read.
//! So what still comes is read and thrown away, until the client closes too or has had time enough to read.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::{Sleep, sleep};

use super::http1::upstream::poll_some;

/// How long a client may take to close.
const MOST: Duration = Duration::from_secs(2);
/// Octets that are thrown away: who sends more does not listen.
const OCTETS: usize = 64 * 1024 * 1024;
/// Read at once.
const PIECE: usize = 16 * 1024;
/// Pieces in one turn: others of the thread wait meanwhile.
const PIECES: u32 = 8;

/// A connection to which nothing more is written.
#[derive(Debug)]
pub struct Linger {
    end: Pin<Box<Sleep>>,
    left: usize,
}

impl Default for Linger {
    fn default() -> Self {
        Self { end: Box::pin(sleep(MOST)), left: OCTETS }
    }
}

impl Linger {
    /// Ready when it may be closed.
    pub fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PIECES {
            let Poll::Ready(read) = poll_some(stream, context, PIECE) else {
                return self.end.as_mut().poll(context);
            };
            let length = read.map_or(0, |read| read.bytes().len());
            self.left = self.left.saturating_sub(length);
            if length == 0 || self.left == 0 {
                return Poll::Ready(());
            }
        }
        // There may be more: the others first.
        context.waker().wake_by_ref();
        self.end.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn linger(mut stream: DuplexStream) {
        let mut linger = Linger::default();
        poll_fn(|context| linger.poll(&mut stream, context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_read_until_the_client_closes() {
        let (mut client, server) = duplex(1000);
        let lingers = tokio::spawn(linger(server));
        // More than there is room for, and than one turn reads.
        client.write_all(&vec![0; PIECE * PIECES as usize * 3]).await.unwrap();
        assert!(!lingers.is_finished());
        drop(client);
        lingers.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_close_is_not_waited_for_without_end() {
        let (mut client, server) = duplex(1000);
        let begun = tokio::time::Instant::now();
        let lingers = tokio::spawn(linger(server));
        let sends = async {
            while client.write_all(b"more").await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::join!(sends, async { lingers.await.unwrap() });
        assert!(begun.elapsed() >= MOST && begun.elapsed() < MOST * 2);
    }
}
