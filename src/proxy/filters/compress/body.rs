//! The body of an answer that is compressed while it flows.
//!
//! Whenever the endpoint has nothing more to say for the moment, what it has said is sent: a stream stays one.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::encoder::Encoder;
use crate::proxy::account::Account;
use crate::proxy::answer_body::{AnswerBody, AnswerFault};
use crate::proxy::held::Held;
use crate::proxy::worker::Worker;

/// Answers that one worker compresses at a time: an encoder has up to 2 MiB. Others are sent as they are.
const MOST: usize = 128;
/// Octets that are compressed before somebody else has a turn.
const SLICE: usize = 16 * 1024;

/// A place among the answers that a worker compresses.
#[derive(Debug)]
pub struct EncoderPlace(Rc<Cell<usize>>);

impl EncoderPlace {
    /// Takes one, if there is one.
    pub fn take(taken: &Rc<Cell<usize>>) -> Option<Self> {
        (taken.get() < MOST).then(|| {
            taken.set(taken.get() + 1);
            Self(taken.clone())
        })
    }
}

impl Drop for EncoderPlace {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A body that is compressed.
#[derive(Debug)]
pub struct Compressed {
    inner: AnswerBody,
    /// Gone when the coding has ended.
    encoder: Option<Encoder>,
    /// What is still to be taken in.
    pending: Bytes,
    /// Something was taken in, and may not be readable yet.
    is_unflushed: bool,
    trailers: Option<HeaderMap>,
    held: Held,
    _place: EncoderPlace,
}

impl Compressed {
    /// Compresses a body.
    pub fn new(inner: AnswerBody, encoder: Encoder, place: EncoderPlace, worker: &Worker) -> Self {
        Self {
            inner,
            encoder: Some(encoder),
            pending: Bytes::new(),
            is_unflushed: false,
            trailers: None,
            held: Held::nothing(worker.shard.clone()),
            _place: place,
        }
    }

    /// Whether nothing follows.
    pub fn is_over(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    /// What was handed on last is counted by whoever took it.
    pub fn let_go(&mut self) {
        self.held.set(self.pending.len());
    }

    /// What is counted of its request.
    pub(in crate::proxy) fn account(&mut self) -> Option<&mut Account> {
        self.inner.account()
    }

    /// The next piece.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        loop {
            if !self.pending.is_empty() {
                match self.take_in() {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) if self.pending.is_empty() => {}
                    Ok(None) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(fault) => return Poll::Ready(Some(Err(fault))),
                }
            }
            if self.encoder.is_none() {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let ended = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Pending => return self.flush(),
                Poll::Ready(None) => None,
                Poll::Ready(Some(Err(fault))) => return Poll::Ready(Some(Err(fault))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.pending = data;
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
            };
            self.trailers = ended;
            if let Some(encoder) = self.encoder.take() {
                let last = encoder.finish().map_err(AnswerFault::Broken);
                return Poll::Ready(Some(last.map(|last| self.hand_on(last, 0))));
            }
        }
    }

    fn take_in(&mut self) -> Result<Option<Frame<Bytes>>, AnswerFault> {
        let piece = self.pending.split_to(self.pending.len().min(SLICE));
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        encoder.write(&piece).map_err(AnswerFault::Broken)?;
        self.is_unflushed = true;
        let out = encoder.take();
        let frame = self.hand_on(out, piece.len());
        Ok(frame.data_ref().is_some_and(|data| !data.is_empty()).then_some(frame))
    }

    fn flush(&mut self) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let Some(encoder) = self.encoder.as_mut().filter(|_| std::mem::take(&mut self.is_unflushed)) else {
            return Poll::Pending;
        };
        if let Err(fault) = encoder.flush() {
            return Poll::Ready(Some(Err(AnswerFault::Broken(fault))));
        }
        let out = encoder.take();
        match out.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Some(Ok(self.hand_on(out, 0)))),
        }
    }

    /// What is counted as sent is what is sent.
    fn hand_on(&mut self, out: Vec<u8>, taken: usize) -> Frame<Bytes> {
        self.held.set(self.pending.len() + out.len());
        if let Some(account) = self.inner.account() {
            account.sent_instead(taken, out.len());
        }
        Frame::data(out.into())
    }
}
