//! An HTTP/1.1 connection to an endpoint as a bare socket, and one exchange of heads on it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version, response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::chunks::ChunkReader;
use super::head::{AnswerHead, content_length, is_written_once, read_answer};
use super::scratch::{self, Scratch};
use super::stays;
use crate::proxy::connect;
use crate::proxy::early::Ear;
use crate::proxy::error::AttemptFault;
use crate::proxy::headers::has_token;
use crate::proxy::worker::Opened;

/// A connection to an endpoint; nothing that was read from it waits here.
#[derive(Debug)]
pub struct Bare {
    stream: TcpStream,
    opened: Opened,
    /// Whether it served a request before.
    pub reused: bool,
    /// Until when it may be used again, if its endpoint has said so ([`super::stays`]).
    pub until: Option<Instant>,
}

/// The head of an answer, and what was read with it.
#[derive(Debug)]
pub struct BareAnswer {
    /// Where it came from.
    pub connection: Bare,
    /// How its body ends.
    pub framing: Framing,
    /// Whether the connection serves another request once the body is whole.
    pub is_kept: bool,
    /// What was read already.
    pub read: Read,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Debug)]
pub enum Framing {
    /// So many octets are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Box<ChunkReader>),
    /// It ends with the connection.
    UntilClosed,
}

/// Octets that were read and not yet looked at.
#[derive(Debug, Default)]
pub struct Read {
    buffer: Option<Scratch>,
    at: usize,
    end: usize,
}

impl Read {
    /// The octets.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer.bytes()[self.at..self.end])
    }

    /// The octets, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (at, end) = (self.at, self.end);
        self.buffer.as_mut().map_or(&mut [], |buffer| &mut buffer.bytes_mut()[at..end])
    }

    /// Goes past so many; with the last of them the buffer is given back.
    pub fn advance(&mut self, length: usize) {
        self.at += length;
        if self.at >= self.end {
            *self = Self::default();
        }
    }

    /// Octets that were copied.
    fn copied(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self { buffer: Some(Scratch::holding(bytes)), at: 0, end: bytes.len() }
    }

    /// They have to wait: a buffer that is mostly empty is given back for one of their size.
    pub fn settle(&mut self) {
        let length = self.bytes().len();
        if length > 0 && length < self.held() / 2 {
            *self = Self::copied(self.bytes());
        }
    }

    /// Octets of memory that are taken.
    pub fn held(&self) -> usize {
        self.buffer.as_ref().map_or(0, Scratch::size)
    }
}

/// Reads what is there, so much at most. Nothing was read: the other side has ended.
pub fn poll_some(
    stream: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Read>> {
    let mut buffer = Scratch::take();
    let mut into = ReadBuf::new(&mut buffer.bytes_mut()[..most]);
    ready!(Pin::new(stream).poll_read(context, &mut into))?;
    let end = into.filled().len();
    Poll::Ready(Ok(if end == 0 { Read::default() } else { Read { buffer: Some(buffer), at: 0, end } }))
}

/// What is asked, as far as the answer's framing depends on it.
#[derive(Debug)]
pub struct Question<'a> {
    /// The head, as it is sent.
    pub head: Vec<u8>,
    /// Whether the answer has no body whatever it says.
    pub is_head: bool,
    /// Who hears of interim answers.
    pub ear: &'a Ear,
    /// The name that this proxy has in them.
    pub via: Arc<str>,
}

/// The head of a request without a body.
pub fn request_head(method: &Method, target: &PathAndQuery, fields: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    for part in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    write_fields(&mut head, fields);
    head.extend_from_slice(b"\r\n");
    head
}

/// Writes fields, each with its line end.
pub fn write_fields(head: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
}

impl Bare {
    /// Opens a connection.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(address: SocketAddr, limit: Duration, opened: Opened) -> Result<Self, AttemptFault> {
        Ok(Self::new(connect::connect(address, limit).await?, opened))
    }

    /// A connection of which nothing waits to be read.
    pub fn new(stream: TcpStream, opened: Opened) -> Self {
        Self { stream, opened, reused: false, until: None }
    }

    /// The socket, for another implementation.
    pub fn into_parts(self) -> (TcpStream, Opened) {
        (self.stream, self.opened)
    }

    /// Whether another request can be sent: the endpoint has neither ended it nor said anything unasked.
    pub fn is_reusable(&self) -> bool {
        let polled = self.stream.poll_read_ready(&mut Context::from_waker(Waker::noop()));
        // Readiness may be left over from what was read last.
        polled.is_pending()
            || matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads what is there.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
        poll_some(&mut self.stream, context, scratch::SIZE)
    }

    /// Writes what can be written at once.
    pub fn poll_write(&mut self, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stream).poll_write(context, octets)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// Why none came.
    pub async fn ask(mut self, question: &Question<'_>) -> Result<(response::Parts, BareAnswer), AttemptFault> {
        self.send(&question.head).await?;
        self.hear(question, Read::default()).await
    }

    /// Waits for the head of the answer to a request that was sent; `read` has come already.
    ///
    /// # Errors
    /// Why none came.
    pub async fn hear(
        mut self,
        question: &Question<'_>,
        mut read: Read,
    ) -> Result<(response::Parts, BareAnswer), AttemptFault> {
        let mut partial = Vec::new();
        loop {
            if read.bytes().is_empty() {
                read = poll_fn(|context| self.poll_read(context)).await.map_err(|error| self.died(error))?;
            }
            if read.bytes().is_empty() {
                return Err(self.died(io::ErrorKind::UnexpectedEof.into()));
            }
            if !partial.is_empty() {
                partial.extend_from_slice(read.bytes());
            }
            // Several interim answers and the answer itself may have come together.
            loop {
                let bytes = if partial.is_empty() { read.bytes() } else { &partial };
                let Some(head) = read_answer(bytes).map_err(|_| AttemptFault::Invalid)? else { break };
                if partial.is_empty() {
                    read.advance(head.length);
                } else {
                    partial.drain(..head.length);
                    read = Read::copied(&partial);
                    partial = Vec::new();
                }
                match head.parts.status.is_informational() && head.parts.status != StatusCode::SWITCHING_PROTOCOLS {
                    true => {
                        question.ear.hears(&head.parts, &question.via);
                    }
                    false => return self.answered(head, read, question.is_head),
                }
            }
            if partial.is_empty() {
                partial.extend_from_slice(read.bytes());
            }
            read = Read::default();
        }
    }

    async fn send(&mut self, head: &[u8]) -> Result<(), AttemptFault> {
        let mut written = 0;
        while written < head.len() {
            match poll_fn(|context| self.poll_write(context, &head[written..])).await {
                Ok(length) => written += length,
                Err(error) => return Err(self.unsent(written, error)),
            }
        }
        Ok(())
    }

    /// Writing a head failed after so many octets.
    pub fn unsent(&self, written: usize, error: io::Error) -> AttemptFault {
        match written {
            // Nothing has left: whether the connection is new makes no difference.
            0 => AttemptFault::Unsent { reused: self.reused },
            // The endpoint has seen no whole head; but what it saw, it may have acted upon.
            _ => self.died(error),
        }
    }

    /// The connection ended before an answer.
    pub fn died(&self, error: io::Error) -> AttemptFault {
        AttemptFault::Died { reused: self.reused, error: Box::new(error) }
    }

    fn answered(
        mut self,
        head: AnswerHead,
        read: Read,
        is_head: bool,
    ) -> Result<(response::Parts, BareAnswer), AttemptFault> {
        let mut parts = head.parts;
        let framing = framing(&parts, is_head)?;
        canonical_length(&mut parts.headers);
        let is_kept = parts.version == Version::HTTP_11
            && !has_token(&parts.headers, &http::header::CONNECTION, "close")
            && !matches!(framing, Framing::UntilClosed);
        self.until = stays::end(&parts.headers);
        Ok((parts, BareAnswer { connection: self, framing, is_kept, read }))
    }
}

/// RFC 9110 section 8.6: of a length that is said several times "the recipient MAY … replace" it "with a single valid
/// Content-Length field". So is one that is written in another way than it would be here (`05`).
pub fn canonical_length(headers: &mut HeaderMap) {
    if let Ok(Some(length)) = content_length(headers)
        && !is_written_once(headers, length)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

/// RFC 9112 section 6.3. Codings other than `chunked`, and one beside a length, are refused by who forwards.
pub(super) fn framing(parts: &response::Parts, is_head: bool) -> Result<Framing, AttemptFault> {
    if is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Length(0));
    }
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        return Ok(Framing::Chunked(Box::default()));
    }
    let length = content_length(&parts.headers).map_err(|_| AttemptFault::Invalid)?;
    Ok(length.map_or(Framing::UntilClosed, Framing::Length))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::proxy::metrics::Shard;

    #[tokio::test]
    async fn a_new_connection_that_takes_nothing_is_told_from_one_that_died() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // Closing sends a reset then.
        socket2::SockRef::from(&accepted).set_linger(Some(Duration::ZERO)).unwrap();
        drop(accepted);
        stream.readable().await.unwrap();
        let connection = Bare::new(stream, Opened::count(Arc::<Shard>::default()));
        let head = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
        let answer = connection.ask(&Question { head, is_head: false, ear: &Ear::Nobody, via: "test".into() }).await;
        assert!(matches!(answer, Err(AttemptFault::Unsent { reused: false })), "{answer:?}");
    }
}
