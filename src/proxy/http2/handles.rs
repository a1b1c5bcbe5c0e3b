//! The ends of a stream that whoever serves it holds: one takes what comes, one sends.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::frame::Code;
use super::head::{self, Fields};
use super::hpack::Encoder;
use super::state::Core;
use super::stream::{StreamFault, Way, register};

/// A connection's state, as its task and its streams share it.
pub type Shared = Rc<RefCell<Core>>;

/// Takes what comes on a stream. Dropped before the end, the rest is not wanted.
#[derive(Debug)]
pub struct Reader {
    core: Shared,
    id: u32,
}

impl Reader {
    /// Of a stream whose state knows that it has a reader.
    pub(super) fn new(core: Shared, id: u32) -> Self {
        Self { core, id }
    }

    /// An answer's head, or an interim one that comes before it. Towards endpoints only.
    ///
    /// # Errors
    /// Why there is none.
    pub fn poll_answer(&mut self, context: &Context<'_>) -> Poll<Result<Box<Fields>, StreamFault>> {
        self.core.borrow_mut().poll_answer(self.id, context)
    }

    /// The next piece of the content; `None`: all has come, and there may be trailers.
    ///
    /// # Errors
    /// If it broke off.
    pub fn poll_data(&mut self, context: &Context<'_>) -> Poll<Result<Option<Bytes>, StreamFault>> {
        let mut core = self.core.borrow_mut();
        let Some(stream) = core.stream(self.id) else { return Poll::Ready(Err(StreamFault::Ended)) };
        if let Some(piece) = stream.queue.pop_front() {
            core.release(self.id, piece.len());
            return Poll::Ready(Ok(Some(piece.freeze())));
        }
        match stream.receives {
            Way::Open => {}
            Way::Ended => return Poll::Ready(Ok(None)),
            Way::Failed(fault) => return Poll::Ready(Err(fault)),
        }
        register(&mut stream.reader, context.waker());
        core.invite(self.id);
        Poll::Pending
    }

    /// What follows the content, once.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.core.borrow_mut().stream(self.id)?.trailers.take()
    }

    /// Whether all has come and was taken.
    pub fn is_over(&self) -> bool {
        let mut core = self.core.borrow_mut();
        let Some(stream) = core.stream(self.id) else { return true };
        stream.receives == Way::Ended && stream.queue.is_empty() && stream.trailers.is_none()
    }

    /// Octets that are still to come or to be taken, if that is said.
    pub fn length(&self) -> Option<u64> {
        let mut core = self.core.borrow_mut();
        let stream = core.stream(self.id)?;
        match (stream.expected, stream.receives) {
            (Some(left), Way::Open) => Some(left + stream.queued() as u64),
            (Some(_), Way::Ended) => Some(stream.queued() as u64),
            _ => None,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.core.borrow_mut().leave_reader(self.id);
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        Poll::Ready(match ready!(self.poll_data(context)) {
            Ok(Some(piece)) => Some(Ok(Frame::data(piece))),
            Ok(None) => self.take_trailers().map(|trailers| Ok(Frame::trailers(trailers))),
            Err(fault) => Some(Err(fault)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends on a stream. Dropped before the end, it resets the stream.
#[derive(Debug)]
pub struct Writer {
    core: Shared,
    id: u32,
}

impl Writer {
    /// Of a stream whose state knows that it has a writer.
    pub(super) fn new(core: Shared, id: u32) -> Self {
        Self { core, id }
    }

    /// Sends a head, which `write` writes; `ends`: nothing follows.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn send_head(&self, ends: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Result<(), StreamFault> {
        self.core.borrow_mut().send_head(self.id, ends, write)
    }

    /// How much of `most` octets can be sent now.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn poll_room(&self, most: usize, context: &Context<'_>) -> Poll<Result<usize, StreamFault>> {
        self.core.borrow_mut().poll_room(self.id, most, context)
    }

    /// Sends content, no more than there is room for.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn send_data(&self, octets: &[u8], ends: bool) -> Result<(), StreamFault> {
        self.core.borrow_mut().send_data(self.id, octets, ends)
    }

    /// Sends what follows the content.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn send_trailers(&self, trailers: &HeaderMap) -> Result<(), StreamFault> {
        self.core.borrow_mut().send_trailers(self.id, trailers)
    }

    /// Who sends interim answers on it.
    pub fn interim(&self) -> Interim {
        Interim { core: self.core.clone(), id: self.id }
    }

    /// The request turned out not to be one.
    pub fn is_malformed(self) {
        self.core.borrow_mut().is_malformed(self.id);
    }

    /// Breaks off, and says why.
    pub fn reset(self, code: Code) {
        self.core.borrow_mut().reset(self.id, code);
    }

    /// Resets the stream, unless it is over; `fault` is what whoever takes what comes hears.
    pub(super) fn fail(&self, code: Code, fault: StreamFault) {
        self.core.borrow_mut().fail(self.id, code, fault);
    }

    /// Ready when the stream was reset, by either side, or the connection is over.
    pub fn poll_over(&self, context: &Context<'_>) -> Poll<StreamFault> {
        self.core.borrow_mut().poll_over(self.id, context)
    }

    /// Whether everything was sent.
    pub fn has_ended(&self) -> bool {
        self.core.borrow_mut().stream(self.id).is_none_or(|stream| stream.sends == Way::Ended)
    }
}

/// Waits until another stream may be opened, or none will ever be, behind those who have waited for longer. Who is dropped
/// before leaves its turn to the next one. A stream that is to be opened then has to be at once.
#[derive(Debug)]
pub struct Turn {
    core: Shared,
    place: Option<u64>,
}

impl Turn {
    /// On this connection, at the end of the line.
    pub(super) fn new(core: Shared) -> Self {
        Self { core, place: None }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let turn = &mut *self;
        turn.core.borrow_mut().poll_open(&mut turn.place, context)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.core.borrow_mut().leave_line(place);
        }
    }
}

/// Sends interim answers on a stream, before its answer.
#[derive(Clone, Debug)]
pub struct Interim {
    core: Shared,
    id: u32,
}

impl Interim {
    /// Sends one. A stream that takes nothing more misses nothing.
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) {
        self.core.borrow_mut().send_interim(self.id, |encoder, out| {
            encoder.begin(out);
            encoder.status(status.as_u16(), out);
            head::write_fields(fields, encoder, out);
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.core.borrow_mut().leave_writer(self.id, Code::CANCEL);
    }
}
