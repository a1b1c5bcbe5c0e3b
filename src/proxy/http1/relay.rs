//! The body of an answer that comes on a bare socket, piece by piece, where it was read.
//!
//! It carries what the request still holds, as [`super::super::answer_body`] does for what hyper and HTTP/2 read, and
//! gives the connection back as soon as the body is whole.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::chunks::InvalidChunks;
use super::head::read_trailers;
use super::upstream::{Bare, BareAnswer, Framing, Read};
use crate::config::checked::ProxyLimits;
use crate::proxy::account::Account;
use crate::proxy::answer_body::AnswerFault;
use crate::proxy::deadlines::Deadline;
use crate::proxy::held::Held;
use crate::proxy::worker::Worker;

/// A body on its way.
#[derive(Debug)]
pub struct BareRelay {
    /// Gone when the body has ended.
    connection: Option<Bare>,
    address: SocketAddr,
    framing: Framing,
    is_kept: bool,
    read: Read,
    /// Octets of `read` that are the body's and not yet taken, and what follows them that is not.
    data: usize,
    skip: usize,
    worker: Rc<Worker>,
    account: Account,
    idle: Duration,
    idle_per_endpoint: usize,
    timer: Option<Deadline>,
    /// It broke off; to be said at the next poll for a frame.
    fault: Option<AnswerFault>,
    held: Held,
}

impl BareRelay {
    /// Takes an answer's body.
    pub fn new(
        answer: BareAnswer,
        address: SocketAddr,
        worker: Rc<Worker>,
        account: Account,
        limits: &ProxyLimits,
    ) -> Self {
        let BareAnswer { connection, framing, is_kept, read } = answer;
        let held = Held::nothing(worker.shard.clone());
        let mut relay = Self {
            connection: Some(connection),
            address,
            framing,
            is_kept,
            read,
            data: 0,
            skip: 0,
            worker,
            account,
            idle: limits.idle,
            idle_per_endpoint: limits.idle_per_endpoint,
            timer: None,
            fault: None,
            held,
        };
        if matches!(relay.framing, Framing::Length(0)) {
            relay.finish();
        }
        relay
    }

    /// The body's length, if it is known beforehand; what was taken counts no longer.
    pub fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left + self.data as u64),
            _ => None,
        }
    }

    /// Whether nothing follows the present piece.
    pub fn is_last(&self) -> bool {
        self.connection.is_none()
    }

    /// What is counted of its request.
    pub(in crate::proxy) fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// The present piece.
    pub fn piece(&self) -> &[u8] {
        &self.read.bytes()[..self.data]
    }

    /// The next piece as a copy, for whoever writes what it is given later. A fault is said one poll late: what came before
    /// it, the head above all, is sent to the client first.
    pub fn poll_copy(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, AnswerFault>>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        match ready!(self.poll_piece(context)) {
            Ok(true) => {
                let piece = Bytes::copy_from_slice(self.piece());
                self.advance(piece.len());
                Poll::Ready(Some(Ok(piece)))
            }
            Ok(false) => Poll::Ready(None),
            Err(fault) => {
                self.fault = Some(fault);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Whether nothing follows, neither a piece nor a fault.
    pub fn is_over(&self) -> bool {
        self.is_last() && self.piece().is_empty() && self.fault.is_none()
    }

    /// So many octets of the piece were taken.
    pub fn advance(&mut self, length: usize) {
        self.account.sent(length);
        self.read.advance(length);
        self.data -= length;
        if self.data == 0 {
            self.read.advance(std::mem::take(&mut self.skip));
        }
        if self.data == 0 {
            self.held.set(0);
        }
    }

    /// The client does not read: the present piece has to wait.
    pub fn waits(&mut self) {
        self.read.settle();
        self.held.set(self.read.held());
    }

    /// Looks for the next piece, once the last one was taken; `false`: there is none, the body is whole.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, AnswerFault>> {
        while self.data == 0 {
            if self.connection.is_none() {
                return Poll::Ready(Ok(false));
            }
            if self.read.bytes().is_empty()
                && let Err(outcome) = self.poll_more(context)
            {
                return outcome;
            }
            if let Err(fault) = self.take_in() {
                return Poll::Ready(Err(self.cut(fault)));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Reads; `Err`: what the caller returns.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Result<(), Poll<Result<bool, AnswerFault>>> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if self.account.hold.as_mut().is_some_and(|hold| hold.poll_cut(context).is_ready()) {
            self.worker.shard.drained_answers.increment();
            return Err(Poll::Ready(Err(self.cut(AnswerFault::Drained))));
        }
        match connection.poll_read(context) {
            Poll::Ready(Ok(read)) => {
                self.timer = None;
                if read.bytes().is_empty() {
                    return Err(Poll::Ready(self.ended()));
                }
                self.read = read;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(Poll::Ready(Err(self.cut(AnswerFault::Broken(error))))),
            Poll::Pending => {
                let (idle, deadlines) = (self.idle, &self.worker.deadlines);
                let timer = self.timer.get_or_insert_with(|| deadlines.at(Instant::now() + idle));
                if timer.poll(context).is_pending() {
                    return Err(Poll::Pending);
                }
                self.worker.shard.timeout_body.increment();
                Err(Poll::Ready(Err(self.cut(AnswerFault::Idle))))
            }
        }
    }

    /// The connection has ended: that is the body's end only where nothing else marks it.
    fn ended(&mut self) -> Result<bool, AnswerFault> {
        if matches!(self.framing, Framing::UntilClosed) {
            self.finish();
            return Ok(false);
        }
        Err(self.cut(AnswerFault::Broken(io::ErrorKind::UnexpectedEof.into())))
    }

    /// Finds the body's octets in what was read.
    fn take_in(&mut self) -> Result<(), AnswerFault> {
        let there = self.read.bytes().len();
        let is_whole = match &mut self.framing {
            Framing::UntilClosed => {
                self.data = there;
                false
            }
            Framing::Length(left) => {
                self.data = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
                *left -= self.data as u64;
                // More than was announced belongs to no request.
                self.skip = there - self.data;
                self.is_kept &= self.skip == 0;
                *left == 0
            }
            Framing::Chunked(reader) => {
                let decoded = reader.decode(self.read.bytes_mut()).map_err(invalid)?;
                self.data = decoded.data;
                self.skip = there - decoded.data;
                self.is_kept &= decoded.consumed == there;
                reader.is_done()
            }
        };
        if self.data == 0 {
            self.read.advance(std::mem::take(&mut self.skip));
        }
        if is_whole {
            self.read_trailers()?;
            self.finish();
        }
        Ok(())
    }

    /// Trailers tell how a call over gRPC went; who asks for them is served by hyper.
    fn read_trailers(&self) -> Result<(), AnswerFault> {
        if let (Framing::Chunked(reader), Some(in_flight)) = (&self.framing, &self.account.in_flight) {
            let trailers =
                read_trailers(reader.trailers()).map_err(|error| AnswerFault::Broken(io::Error::other(error)))?;
            in_flight.ended(&trailers);
        }
        Ok(())
    }

    /// The body is whole: the connection can serve another request.
    fn finish(&mut self) {
        self.account.complete();
        if let Some(connection) = self.connection.take()
            && self.is_kept
            && (self.data > 0 || self.read.bytes().is_empty())
        {
            self.worker.pool.put_bare(self.address, connection, self.idle_per_endpoint, Instant::now());
        }
    }

    fn cut(&mut self, fault: AnswerFault) -> AnswerFault {
        self.account.cut();
        self.connection = None;
        fault
    }
}

fn invalid(error: InvalidChunks) -> AnswerFault {
    AnswerFault::Broken(io::Error::other(error))
}
