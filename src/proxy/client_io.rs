//! A client's socket with what the HTTP implementation behind does not watch.
//!
//! Bytes that were read to tell the protocols apart come first; HTTP/1 requests and HTTP/2 frames are looked at on
//! their way; a write that makes no progress for too long fails, so that a client that does not read cannot hold an
//! answer forever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::frame_guard::FrameGuard;
use super::head_scan::HeadScan;
use super::idle::Watch;

/// What ends a request line, and its head.
const LINE_END: &[u8] = b" HTTP/1.1\r\n\r\n";

/// A client's socket.
#[derive(Debug)]
pub struct ClientIo<S> {
    stream: S,
    /// Bytes that were read before.
    first: Bytes,
    watch: Arc<Watch>,
    /// An interim answer that is being written, before anything else.
    early: Bytes,
    look: Look,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

/// Who looks at what comes in.
#[derive(Debug)]
enum Look {
    Http1(Box<HeadScan>),
    Http2(Box<FrameGuard>),
    /// Nobody: it is another protocol.
    Away,
}

impl<S> ClientIo<S> {
    /// A socket that speaks HTTP/1, with heads of `most` octets; `first` was read from it already, behind the requests
    /// that `watch` has counted.
    pub fn http1(stream: S, first: Bytes, watch: Arc<Watch>, stall: Duration, most: usize) -> Self {
        let look = Look::Http1(Box::new(HeadScan::after(watch.requests(), most)));
        Self { stream, first, watch, early: Bytes::new(), look, stall, stalled: None }
    }

    /// A socket that speaks HTTP/2.
    pub fn http2(stream: S, first: Bytes, watch: Arc<Watch>, stall: Duration) -> Self {
        Self { stream, first, watch, early: Bytes::new(), look: Look::Http2(Box::default()), stall, stalled: None }
    }

    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.look {
            Look::Http1(_) if self.watch.has_switched() => self.look = Look::Away,
            Look::Http1(scan) => {
                self.watch.received();
                scan.feed(bytes);
                if let Some(violation) = scan.violation() {
                    if scan.is_in_body() {
                        let what = violation.reason.entry().meaning;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                    }
                    self.watch.report(violation);
                }
            }
            Look::Http2(guard) => {
                guard.feed(bytes, Instant::now).map_err(|flood| {
                    self.watch.report_flood();
                    io::Error::new(io::ErrorKind::InvalidData, flood)
                })?;
                self.watch.received_blocks(guard.blocks(), guard.is_in_block());
            }
            Look::Away => {}
        }
        Ok(())
    }

    /// A request line that is too long is ended here for the parser behind: it would refuse the request by itself, as one
    /// whose fields are too long, and without our reason.
    fn end_long_line(&mut self, before: usize, buffer: &mut ReadBuf<'_>) {
        let Look::Http1(scan) = &mut self.look else { return };
        let Some(cut) = scan.take_cut() else { return };
        // Room for what is added; of what came in crumbs, more than this last one is not there to be taken back.
        buffer.set_filled(before + cut.saturating_sub(LINE_END.len()));
        if buffer.remaining() >= LINE_END.len() {
            buffer.put_slice(LINE_END);
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

impl<S: AsyncWrite + Unpin> ClientIo<S> {
    /// Writes interim answers, which were said when nothing else was waiting: they come before what is written now.
    fn poll_early(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(more) = self.watch.early.take() {
            self.early = if self.early.is_empty() { more } else { [&self.early[..], &more].concat().into() };
        }
        while self.early.has_remaining() {
            let polled = Pin::new(&mut self.stream).poll_write(context, &self.early);
            let written = ready!(self.watch_write(context, polled))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.early.advance(written);
        }
        Poll::Ready(Ok(()))
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
        let received = self.received(&buffer.filled()[before..]);
        self.end_long_line(before, buffer);
        Poll::Ready(received)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_early(context))?;
        self.watch.early.flushed(false);
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_early(context))?;
        self.watch.early.flushed(false);
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_write(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_early(context))?;
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        // Whoever writes through this flushes when nothing is left above.
        self.watch.early.flushed(matches!(polled, Poll::Ready(Ok(()))));
        self.watch_write(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch_write(context, polled)
    }
}
