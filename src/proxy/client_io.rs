//! A client's socket with what the HTTP implementation behind does not watch.
//!
//! Bytes that were read to tell the protocols apart come first; HTTP/1 requests and HTTP/2 frames are looked at on
//! their way; a write that makes no progress for too long fails, so that a client that does not read cannot hold an
//! answer forever. Where the end of the connection is all that marks the end of an answer, one that broke off ends with a
//! reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::abort::Reset;
use super::frame_guard::{ABANDONED, Flood, FrameGuard};
use super::head_gate::{HeadGate, Turn};
use super::idle::Watch;
use super::linger::Linger;

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
    /// Has the socket reset when it is closed; over HTTP/1 only.
    reset: Option<fn(&S)>,
    /// Nothing more is written.
    linger: Option<Box<Linger>>,
}

/// Who looks at what comes in.
#[derive(Debug)]
enum Look {
    Http1(Box<HeadGate>),
    Http2(Box<FrameGuard>),
    /// Nobody: it is another protocol.
    Away,
}

impl<S> ClientIo<S> {
    /// A socket that speaks HTTP/1, with heads of `most` octets and `max_fields` fields; `first` was read from it already,
    /// behind the requests that `watch` has counted.
    pub fn http1(
        stream: S,
        first: Bytes,
        watch: Arc<Watch>,
        stall: Duration,
        (most, max_fields): (usize, usize),
    ) -> Self
    where
        S: Reset,
    {
        let look = Look::Http1(Box::new(HeadGate::new(watch.requests(), most, max_fields)));
        Self {
            stream,
            first,
            watch,
            early: Bytes::new(),
            look,
            stall,
            stalled: None,
            reset: Some(S::reset),
            linger: None,
        }
    }

    /// A socket that speaks HTTP/2.
    pub fn http2(stream: S, first: Bytes, watch: Arc<Watch>, stall: Duration) -> Self {
        let look = Look::Http2(Box::default());
        Self { stream, first, watch, early: Bytes::new(), look, stall, stalled: None, reset: None, linger: None }
    }

    /// What it is read from and written to.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Looks at what came over HTTP/2.
    fn received_frames(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Look::Http2(guard) = &mut self.look else { return Ok(()) };
        if bytes.is_empty() {
            return Ok(());
        }
        let fed = guard.feed(bytes, Instant::now);
        let abandoned = if self.watch.abandoned() > ABANDONED { Err(Flood::Abandoned) } else { Ok(()) };
        fed.and(abandoned).map_err(|flood| {
            self.watch.report_flood(flood);
            io::Error::new(io::ErrorKind::InvalidData, flood)
        })?;
        self.watch.received_blocks(guard.blocks(), guard.is_in_block());
        Ok(())
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

impl<S> Drop for ClientIo<S> {
    fn drop(&mut self) {
        // RFC 9112 section 6.3: of what ends with its connection nothing else tells whether it is whole.
        if let Some(reset) = self.reset
            && self.watch.is_torn()
        {
            reset(&self.stream);
        }
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

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// What was read before, then what the socket has.
    fn poll_raw(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }

    /// HTTP/1: what the gate lets through.
    fn poll_gated(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let Look::Http1(gate) = &mut self.look else { return self.poll_raw(context, buffer) };
            if self.watch.has_switched() {
                self.first = [&gate.let_go()[..], &self.first].concat().into();
                self.look = Look::Away;
                continue;
            }
            match gate.turn(&self.watch, context)? {
                Turn::Read => {}
                Turn::Wait => return Poll::Pending,
                Turn::Give => {
                    gate.give(buffer);
                    return Poll::Ready(Ok(()));
                }
            }
            let has_refused = gate.has_refused();
            let before = buffer.filled().len();
            ready!(self.poll_raw(context, buffer))?;
            let octets = &buffer.filled()[before..];
            if octets.is_empty() {
                // A request that was refused has its answer, also if its client has said all: it comes by itself.
                return if has_refused { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            self.watch.received();
            let Look::Http1(gate) = &mut self.look else { continue };
            let passed = gate.receive(octets, &self.watch)?;
            buffer.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.look {
            Look::Http1(_) => self.poll_gated(context, buffer),
            Look::Away => self.poll_raw(context, buffer),
            Look::Http2(_) => {
                let before = buffer.filled().len();
                ready!(self.poll_raw(context, buffer))?;
                Poll::Ready(self.received_frames(&buffer.filled()[before..]))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
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
        if self.linger.is_none() {
            let polled = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.watch_write(context, polled))?;
        }
        // In a tunnel the other way goes on.
        if matches!(self.look, Look::Away) || self.watch.has_switched() {
            return Poll::Ready(Ok(()));
        }
        let io = &mut *self;
        io.linger.get_or_insert_default().poll(&mut io.stream, context).map(Ok)
    }
}
