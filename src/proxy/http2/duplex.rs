//! A stream as a tunnel: octets both ways (RFC 8441 section 5, RFC 9113 section 8.5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::Code;
use super::handles::{Reader, Writer};
use super::stream::StreamFault;
use crate::proxy::abort::Abort;

/// Both ways of a stream.
#[derive(Debug)]
pub struct Duplex {
    reader: Reader,
    writer: Writer,
    /// What was taken and not yet read.
    rest: Bytes,
}

impl Duplex {
    /// Of a stream whose heads were exchanged.
    pub fn new(reader: Reader, writer: Writer) -> Self {
        Self { reader, writer, rest: Bytes::new() }
    }
}

fn broken(fault: StreamFault) -> io::Error {
    let kind = if fault == StreamFault::Ended { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
    io::Error::new(kind, fault)
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.reader.poll_data(context)).map_err(broken)? {
                Some(piece) => self.rest = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.writer.poll_room(octets.len(), context)).map_err(broken)?;
        self.writer.send_data(&octets[..room], false).map_err(broken)?;
        Poll::Ready(Ok(room))
    }

    /// The connection's task sends what was written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.writer.has_ended() {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(self.writer.send_data(&[], true).map_err(broken)),
        }
    }
}

/// The stream ends, and its connection goes on.
impl Abort for Duplex {
    fn abort(self) {
        self.writer.reset(Code::CANCEL);
    }
}
