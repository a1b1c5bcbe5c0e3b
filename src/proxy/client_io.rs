//! A client's socket with what the HTTP implementation behind does not watch.
//!
//! Bytes that were read to tell the protocols apart come first; HTTP/1 heads are scanned on their way; a write that
//! makes no progress for too long fails, so that a client that does not read cannot hold an answer forever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head_scan::HeadScan;
use super::idle::Watch;

/// A client's socket.
#[derive(Debug)]
pub struct ClientIo<S> {
    stream: S,
    /// Bytes that were read before.
    first: Bytes,
    watch: Arc<Watch>,
    /// Looks at heads of HTTP/1; `None` for HTTP/2.
    scan: Option<Box<HeadScan>>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> ClientIo<S> {
    /// A socket that speaks HTTP/1; `first` was read from it already.
    pub fn http1(stream: S, first: Bytes, watch: Arc<Watch>, stall: Duration) -> Self {
        Self { stream, first, watch, scan: Some(Box::default()), stall, stalled: None }
    }

    /// A socket that speaks HTTP/2.
    pub fn http2(stream: S, first: Bytes, watch: Arc<Watch>, stall: Duration) -> Self {
        Self { stream, first, watch, scan: None, stall, stalled: None }
    }

    fn received(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.watch.received();
        if let Some(scan) = &mut self.scan {
            if self.watch.in_flight() == 0 {
                scan.resume(self.watch.requests());
            }
            scan.feed(bytes);
            if let Some(violation) = scan.violation() {
                self.watch.report(violation);
            }
        }
    }

    fn watch_write<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall = self.stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.first.has_remaining() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(length));
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        }
        self.received(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_write(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watch_write(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch_write(context, polled)
    }
}
