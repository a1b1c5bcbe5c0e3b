//! An answer's body on its way into a stream of HTTP/2.
//!
//! The implementation behind takes a piece whole as soon as the client's window has room for one octet of it, and is
//! done with a stream once it has the last one: what the window does not let go would then wait for as long as the
//! connection lives, counted by nobody and ended by nobody. So pieces are small, each counts as waiting until the
//! implementation has let it go, and the end is said only when all are gone: until then [`super::stall`] watches over
//! the stream.
//!
//! The first 4 KiB of a body go unwatched, for they could only cost: an answer of that size is one frame
//! that ends the stream, as ever.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::account::Account;
use super::answer_body::{AnswerBody, AnswerFault};
use super::held::Held;
use super::metrics::Shard;
use super::stall;

/// The largest piece: a frame of the default size (RFC 9113 section 4.2). Each that is taken counts as progress, so that
/// a hundred slow downloads beside each other are no client that does not read.
const PIECE: usize = 16 * 1024;
/// So much of a body is not watched.
const SMALL: usize = 4 * 1024;

/// A body of an answer over HTTP/2.
#[derive(Debug)]
pub struct StreamBody {
    inner: AnswerBody,
    shard: Arc<Shard>,
    /// What was read and is still to be handed on.
    rest: Bytes,
    /// The same, counted.
    held: Held,
    /// Octets that may be handed on without being watched.
    unwatched: usize,
    /// There once something is watched.
    out: Option<Arc<Out>>,
    end: End,
}

/// How far the end is.
#[derive(Debug)]
enum End {
    /// Not here yet.
    Open,
    /// To be said when everything is gone; so many pieces were out at the last look.
    Waits(Option<HeaderMap>, usize),
    Said,
}

/// Pieces that the implementation has and has not let go.
#[derive(Debug, Default)]
struct Out {
    pieces: AtomicUsize,
    /// Of one thread, so that nobody ever waits for it; locked only because pieces must be `Send`.
    waker: Mutex<Option<Waker>>,
}

/// A piece that is watched.
#[derive(Debug)]
struct Piece {
    octets: Bytes,
    out: Arc<Out>,
    _held: Held,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.out.pieces.fetch_sub(1, Relaxed);
        let waker = self.out.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Out {
    fn pieces(&self) -> usize {
        self.pieces.load(Relaxed)
    }

    /// Has the task that runs woken when the next piece is let go.
    fn watch(&self, context: &Context<'_>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
    }
}

impl StreamBody {
    /// For a stream.
    pub fn new(inner: AnswerBody, shard: Arc<Shard>) -> Self {
        let held = Held::nothing(shard.clone());
        Self { inner, shard, rest: Bytes::new(), held, unwatched: SMALL, out: None, end: End::Open }
    }

    /// The next piece of what was read.
    fn hand_on(&mut self) -> Bytes {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.held.set(self.rest.len());
        stall::note_asked(true);
        if self.out.is_none() && piece.len() <= self.unwatched {
            self.unwatched -= piece.len();
            return piece;
        }
        let out = self.out.get_or_insert_default();
        out.pieces.fetch_add(1, Relaxed);
        let held = Held::holding(self.shard.clone(), piece.len());
        Bytes::from_owner(Piece { octets: piece, out: out.clone(), _held: held })
    }

    /// Waits until everything is gone; then there may be trailers.
    fn poll_end(&mut self, context: &Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let End::Waits(trailers, seen) = &mut self.end else { return Poll::Ready(None) };
        if let Some(out) = self.out.as_ref().filter(|out| out.pieces() > 0) {
            // The client is waited for, and each piece that it takes gives it time.
            if out.pieces() < *seen {
                stall::note_asked(true);
            }
            *seen = out.pieces();
            out.watch(context);
            return Poll::Pending;
        }
        let trailers = trailers.take();
        self.end = End::Said;
        stall::note_asked(true);
        Poll::Ready(trailers.map(Frame::trailers))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        loop {
            if !self.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(self.hand_on()))));
            }
            if !matches!(self.end, End::Open) {
                return self.poll_end(context).map(|end| end.map(Ok));
            }
            let trailers = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(octets) => {
                        self.inner.let_go();
                        self.rest = octets;
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => None,
            };
            self.end = End::Waits(trailers, usize::MAX);
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.end {
            End::Open => self.rest.is_empty() && self.out.is_none() && self.inner.is_end_stream(),
            End::Waits(..) => false,
            End::Said => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        // The endpoint's answer may be whole, and the client has not got it.
        if self.out.as_ref().is_some_and(|out| out.pieces() > 0)
            && let Some(account) = self.inner.account()
        {
            Account::not_taken(account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that was read already, and is over.
    fn body(octets: usize) -> (StreamBody, Arc<Shard>) {
        let shard: Arc<Shard> = Arc::default();
        let mut body = StreamBody::new(AnswerBody::Switched, shard.clone());
        body.rest = Bytes::from(vec![0; octets]);
        (body, shard)
    }

    fn poll(body: &mut StreamBody) -> Poll<Option<usize>> {
        let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        polled.map(|frame| frame.map(|frame| frame.unwrap().into_data().map_or(0, |data| data.len())))
    }

    fn take(body: &mut StreamBody) -> Bytes {
        let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(frame))) = polled else { panic!("{polled:?}") };
        frame.into_data().unwrap()
    }

    #[test]
    fn a_small_answer_ends_with_its_one_frame_and_is_not_followed() {
        let (mut body, shard) = body(SMALL);
        assert!(!body.is_end_stream());
        let piece = take(&mut body);
        assert_eq!((piece.len(), body.is_end_stream(), shard.held()), (SMALL, true, 0));
    }

    #[test]
    fn pieces_are_cut_and_counted_until_they_are_let_go_and_the_end_waits_for_them() {
        let (mut body, shard) = body(2 * PIECE + 10);
        let one = take(&mut body);
        assert_eq!((one.len(), shard.held()), (PIECE, 2 * PIECE as u64 + 10), "what is still here counts, too");
        let two = take(&mut body);
        let three = take(&mut body);
        assert_eq!((two.len(), three.len(), body.is_end_stream()), (PIECE, 10, false));
        assert_eq!(poll(&mut body), Poll::Pending);
        drop((one, two));
        assert_eq!((poll(&mut body), shard.held()), (Poll::Pending, 10));
        drop(three);
        assert_eq!((poll(&mut body), shard.held(), body.is_end_stream()), (Poll::Ready(None), 0, true));
    }

    #[test]
    fn what_is_let_go_wakes_whoever_waits_for_the_end() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Relaxed);
            }
        }
        let (mut body, _shard) = body(PIECE);
        let piece = take(&mut body);
        let flag = Arc::new(Flag(false.into()));
        let waker = flag.clone().into();
        assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker)).is_pending());
        assert!(!flag.0.load(Relaxed));
        drop(piece);
        assert!(flag.0.load(Relaxed));
    }
}
