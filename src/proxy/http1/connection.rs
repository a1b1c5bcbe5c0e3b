//! A client's connection: one plain request after the other, until there is one that is not.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Method, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::answer::{Answer, Asked, Step};
use super::direct::{self, Direct};
use super::head::{Found, PLAIN_BYTES, PlainHead, read_request, take_none};
use super::scratch::Scratch;
use super::upstream::poll_some;
use crate::config::checked::ProxyLimits;
use crate::proxy::answer_body::AnswerBody;
use crate::proxy::connection::Client;
use crate::proxy::deadlines::Deadline;
use crate::proxy::forward::{self, Brought};
use crate::proxy::linger::Linger;
use crate::proxy::shortcut::FirstTry;

/// Octets that are written in one piece.
const SMALL: usize = 4096;
/// How often a head is looked at before it has ended.
const PARTIALS: u32 = 16;

/// Whether a connection was asked to end.
pub type Ending = Rc<Cell<bool>>;

/// How a connection ended here.
#[derive(Debug)]
pub enum End<S> {
    /// It is over.
    Closed,
    /// What follows is not plain: the socket, and what was read from it.
    Other(S, Bytes),
}

/// A connection and what is known of it between two requests.
struct Session<S> {
    client: Rc<Client>,
    stream: S,
    /// What was read and not yet looked at, from `at`.
    unread: Vec<u8>,
    at: usize,
    /// How often a head was looked at that had not ended.
    partials: u32,
    max_fields: usize,
    /// The longest time that a client may leave a write waiting.
    stall: Duration,
    stalled: Option<Deadline>,
    /// Interim answers that are being written.
    early: Vec<u8>,
    ending: Ending,
}

enum Next {
    Request(Box<PlainHead>),
    Direct(Box<Direct>),
    Closed,
    Other,
}

#[derive(PartialEq, Eq)]
enum Flow {
    Goes,
    Ends,
}

/// What a request that is passed on as it lies has come to.
enum Passed {
    /// Its answer was written.
    Written,
    /// Nothing more can be done for its client.
    Broken,
    /// It takes the long way.
    Resumes(FirstTry),
}

/// Serves a connection for as long as what comes is plain; `first` was read from it already.
pub async fn serve<S>(client: Rc<Client>, stream: S, first: Bytes, limits: &ProxyLimits, ending: Ending) -> End<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Each answer is written to its end before the next request is looked at.
    client.watch.early.flushed(true);
    let mut session = Session {
        client,
        stream,
        unread: first.into(),
        at: 0,
        partials: 0,
        max_fields: limits.head_fields,
        stall: limits.idle,
        stalled: None,
        early: Vec::new(),
        ending,
    };
    loop {
        match poll_fn(|context| session.poll_next(context)).await {
            // Boxed: what a request needs would make every idle connection larger.
            Next::Request(head) => {
                if Box::pin(session.answer(head)).await == Flow::Ends {
                    return End::Closed;
                }
            }
            Next::Direct(direct) => {
                if session.pass_on(direct).await == Flow::Ends {
                    return End::Closed;
                }
            }
            Next::Closed => {
                session.close().await;
                return End::Closed;
            }
            Next::Other => {
                let rest = Bytes::copy_from_slice(&session.unread[session.at..]);
                return End::Other(session.stream, rest);
            }
        }
    }
}

/// Octets that were looked at and need not be looked at again.
fn length(found: &Found<Box<Direct>>) -> usize {
    match found {
        Found::Plain(head) => head.length,
        Found::Direct(_, length) => *length,
        Found::Partial | Found::Other => 0,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// The next request.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if self.has_unread() {
            self.client.watch.received();
            let found = self.look(&self.unread[self.at..]);
            self.at += length(&found);
            self.forget_read();
            match found {
                Found::Partial => {}
                Found::Other => return Poll::Ready(Next::Other),
                Found::Plain(head) => return Poll::Ready(Next::Request(head)),
                Found::Direct(direct, _) => return Poll::Ready(Next::Direct(direct)),
            }
        } else if self.ending.get() {
            return Poll::Ready(Next::Closed);
        }
        loop {
            let Ok(read) = ready!(poll_some(&mut self.stream, context, PLAIN_BYTES)) else {
                return Poll::Ready(Next::Closed);
            };
            if read.bytes().is_empty() {
                return Poll::Ready(if self.has_unread() { Next::Other } else { Next::Closed });
            }
            self.client.watch.received();
            // In most cases what was read is one request: it is looked at where it lies.
            let is_first = !self.has_unread();
            if !is_first {
                self.unread.extend_from_slice(read.bytes());
            }
            let bytes = if is_first { read.bytes() } else { &self.unread[self.at..] };
            let found = self.look(bytes);
            let looked_at = length(&found);
            if is_first {
                self.unread.extend_from_slice(&read.bytes()[looked_at..]);
            } else {
                self.at += looked_at;
                self.forget_read();
            }
            match found {
                // A head in crumbs is not looked at from its beginning for each of them.
                Found::Partial if self.partials < PARTIALS => self.partials += 1,
                Found::Partial | Found::Other => return Poll::Ready(Next::Other),
                Found::Plain(head) => {
                    self.partials = 0;
                    return Poll::Ready(Next::Request(head));
                }
                Found::Direct(direct, _) => {
                    self.partials = 0;
                    return Poll::Ready(Next::Direct(direct));
                }
            }
        }
    }

    fn look(&self, bytes: &[u8]) -> Found<Box<Direct>> {
        read_request(bytes, self.max_fields, |head, parsed| direct::begin(&self.client, head, parsed))
    }

    fn has_unread(&self) -> bool {
        self.at < self.unread.len()
    }

    /// Gives up the memory of what was looked at.
    fn forget_read(&mut self) {
        if !self.has_unread() {
            self.unread = Vec::new();
            self.at = 0;
        }
    }

    async fn answer(&mut self, head: Box<PlainHead>) -> Flow {
        let PlainHead { parts, closes, .. } = *head;
        let is_head = parts.method == Method::HEAD;
        let answer = Box::pin(forward::answer_plain(self.client.clone(), parts));
        self.answer_with(answer, is_head, closes).await
    }

    /// A request that is passed on as it lies.
    async fn pass_on(&mut self, mut direct: Box<Direct>) -> Flow {
        let mut answer = None;
        match poll_fn(|context| self.poll_passed(&mut direct, &mut answer, context)).await {
            Passed::Written if direct.closes => {
                drop((direct, answer));
                self.close().await;
                Flow::Ends
            }
            Passed::Written => Flow::Goes,
            Passed::Broken => Flow::Ends,
            // Boxed as other requests are.
            Passed::Resumes(first) => Box::pin(self.resume(direct, first)).await,
        }
    }

    fn poll_passed(
        &mut self,
        direct: &mut Direct,
        answer: &mut Option<Box<Answer>>,
        context: &mut Context<'_>,
    ) -> Poll<Passed> {
        loop {
            if let Some(answer) = answer {
                let written = ready!(self.poll_write(answer, context));
                return Poll::Ready(written.map_or(Passed::Broken, |()| Passed::Written));
            }
            match direct.poll_answer(&self.client, self.ending.get(), context) {
                Poll::Ready(Ok(begun)) => *answer = Some(Box::new(begun)),
                Poll::Ready(Err(first)) => return Poll::Ready(Passed::Resumes(first)),
                // A client that has gone needs no answer: dropping it ends the request.
                Poll::Pending => return self.poll_client(context).map(|_| Passed::Broken),
            }
        }
    }

    /// Goes on the long way, with its head taken apart.
    async fn resume(&mut self, mut direct: Box<Direct>, first: FirstTry) -> Flow {
        let found = read_request(&direct.raw, self.max_fields, take_none);
        let (Found::Plain(head), Some(resumed)) = (found, direct.resumed(first)) else { return Flow::Ends };
        drop(direct);
        let answer =
            Box::pin(forward::resume(self.client.clone(), head.parts, resumed, Brought::nothing(&self.client)));
        self.answer_with(answer, false, head.closes).await
    }

    async fn answer_with(
        &mut self,
        mut answer: Pin<Box<impl Future<Output = Response<AnswerBody>>>>,
        is_head: bool,
        closes: bool,
    ) -> Flow {
        let answer = poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => self.poll_client(context).map(Err),
        });
        // A client that has gone needs no answer: dropping it ends the request.
        let Ok(answer) = answer.await else { return Flow::Ends };
        let closes = closes || self.ending.get() || answer.headers().contains_key(CONNECTION);
        let mut answer = Answer::new(answer, Asked { is_head, closes });
        match poll_fn(|context| self.poll_write(&mut answer, context)).await {
            Ok(()) if closes => {
                drop(answer);
                self.close().await;
                Flow::Ends
            }
            Ok(()) => Flow::Goes,
            // The client must not take what it got for the whole.
            Err(_) => Flow::Ends,
        }
    }

    /// While an endpoint is waited for: writes interim answers, and is ready when the client has gone.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        match self.poll_early(context) {
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        // What waits already is enough; its sender is there.
        while !self.has_unread() {
            match ready!(poll_some(&mut self.stream, context, PLAIN_BYTES)) {
                Ok(read) if read.bytes().is_empty() => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.unread.extend_from_slice(read.bytes()),
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    fn poll_early(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(more) = self.client.watch.early.take() {
            self.early.extend_from_slice(&more);
        }
        while !self.early.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(context, &self.early);
            let written = ready!(self.watch_write(context, polled))?;
            self.early.drain(..written);
        }
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watch_write(context, polled)
    }

    fn poll_write(&mut self, answer: &mut Answer, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() || self.client.watch.early.waits() {
            ready!(self.poll_early(context))?;
        }
        loop {
            let Poll::Ready(step) = answer.poll_step(context) else {
                let polled = Pin::new(&mut self.stream).poll_flush(context);
                ready!(self.watch_write(context, polled))?;
                return self.poll_client(context).map(Err);
            };
            match step {
                Step::Write => {
                    let Poll::Ready(written) = self.poll_pieces(answer, context) else {
                        answer.waits();
                        return Poll::Pending;
                    };
                    answer.advance(written?);
                }
                Step::Done | Step::Broken => {
                    let polled = Pin::new(&mut self.stream).poll_flush(context);
                    ready!(self.watch_write(context, polled))?;
                    let is_whole = step == Step::Done;
                    return Poll::Ready(if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
                }
            }
        }
    }

    fn poll_pieces(&mut self, answer: &Answer, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); 3];
        let mut count = 0;
        for piece in answer.pieces() {
            if !piece.is_empty() {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let polled = match count {
            1 => Pin::new(&mut self.stream).poll_write(context, &slices[0]),
            // A copy of what is small costs less than handing its pieces to the kernel one by one.
            _ if length <= SMALL => {
                let mut joined = Scratch::take();
                let mut at = 0;
                for slice in &slices[..count] {
                    joined.bytes_mut()[at..at + slice.len()].copy_from_slice(slice);
                    at += slice.len();
                }
                Pin::new(&mut self.stream).poll_write(context, &joined.bytes()[..length])
            }
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..count]),
        };
        match ready!(self.watch_write(context, polled)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
    }

    /// A write that makes no progress for too long fails: a client that does not read holds nothing forever.
    fn watch_write<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let (stall, deadlines) = (self.stall, &self.client.worker.deadlines);
        ready!(self.stalled.get_or_insert_with(|| deadlines.at(Instant::now() + stall)).poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tells the client that nothing follows.
    async fn close(&mut self) {
        let told = poll_fn(|context| {
            let polled = Pin::new(&mut self.stream).poll_shutdown(context);
            self.watch_write(context, polled)
        });
        // Where that fails the client has gone. Who asks for no more than was answered sends nothing.
        if told.await.is_ok() && self.has_unread() {
            let mut linger = Linger::default();
            poll_fn(|context| linger.poll(&mut self.stream, context)).await;
        }
    }
}
