//! A request's body on its way to an endpoint: streamed, and where that is asked for, kept for another attempt.
//!
//! The source stays with the request; each attempt gets a reader that first repeats what was kept. Nothing is kept
//! beyond the limit: a body that grew past it, and was touched, cannot be sent again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::flow::Flow;
use super::headers::{remove_underscored, strip_trailers};
use super::held::Held;
use super::metrics::Shard;
use crate::config::checked::{ProxyConfig, Underscores};

/// A body arrives at this rate at least, octets a second of the time that its client is waited for, once the grace has
/// passed: a client that sends an octet now and then would hold its connections forever (the figures are Kestrel's).
/// Streams of messages may rest for as long as `idle`: calls over gRPC, and over HTTP/2 whatever has its answer's head.
const SLOWEST: u64 = 240;
const GRACE: Duration = Duration::from_secs(10);
/// Pieces that are kept for another attempt.
const MOST_PIECES: usize = 1024;

/// Why a request's body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The client sent nothing for too long.
    #[error("the client stopped sending the body")]
    Idle,
    /// More than the service takes.
    #[error("the body is larger than the service takes")]
    TooLarge,
    /// The client went away, or what it sent is not valid.
    #[error("the client's body broke off")]
    Broken,
}

/// Whether a request's body has failed, for whoever outlives it.
#[derive(Clone, Debug, Default)]
pub struct Fate(Option<Rc<Cell<bool>>>);

impl Fate {
    /// Whether it has.
    pub fn has_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|failed| failed.get())
    }
}

/// A request's body, kept apart from the attempts.
#[derive(Clone, Debug)]
pub struct RequestSource(Option<Rc<RefCell<Source>>>);

#[derive(Debug)]
struct Source {
    incoming: Flow,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keep_limit: usize,
    most: u64,
    underscores: Underscores,
    trailers: Option<HeaderMap>,
    state: State,
    /// More was handed on than is kept.
    lost: bool,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Instant,
    /// Since when the client is waited for.
    asked: Option<Instant>,
    /// How long it was waited for so far.
    waited: Duration,
    received: u64,
    /// Where what was received is told, too.
    told: Option<Rc<Cell<u64>>>,
    may_rest: bool,
    /// Told when it fails, where somebody wants to know.
    fate: Option<Rc<Cell<bool>>>,
    held: Held,
    /// Attempts so far: what comes is the newest one's.
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flowing,
    Ended,
    Failed(BodyFault),
}

impl RequestSource {
    /// Takes a body. As much of it as the settings say is kept, of any method: what an endpoint did not process may be sent
    /// again. More than `most` octets are a fault, and so is a longer silence of the client than the settings say.
    pub fn new(incoming: Flow, proxy: &ProxyConfig, most: u64, shard: Arc<Shard>) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        Self(Some(Rc::new(RefCell::new(Source {
            incoming,
            kept: Vec::new(),
            kept_bytes: 0,
            keep_limit: proxy.retry_body_bytes,
            most,
            underscores: proxy.underscores,
            trailers: None,
            state: State::Flowing,
            lost: false,
            idle: proxy.limits.idle,
            timer: None,
            progress: Instant::now(),
            asked: None,
            waited: Duration::ZERO,
            received: 0,
            told: None,
            may_rest: false,
            fate: None,
            held: Held::nothing(shard),
            attempts: 0,
        }))))
    }

    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }

    /// Tells how many octets were received.
    pub fn tell(&self, told: &Rc<Cell<u64>>) {
        if let Some(source) = &self.0 {
            source.borrow_mut().told = Some(told.clone());
        }
    }

    /// From now on it may come as slowly as its client likes.
    pub fn may_rest(&self) {
        if let Some(source) = &self.0 {
            source.borrow_mut().may_rest = true;
        }
    }

    /// It will not be sent again: nothing is kept for that any more.
    pub fn forget(&self) {
        if let Some(source) = &self.0 {
            source.borrow_mut().lose();
        }
    }

    /// Whether the body can be sent from its beginning.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|source| {
            let source = source.borrow();
            !source.lost && !matches!(source.state, State::Failed(_))
        })
    }

    /// Whether all of the body has been handed on.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(|source| source.borrow().state == State::Ended)
    }

    /// Whether there is a body.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Why the body broke off, if it did.
    pub fn fault(&self) -> Option<BodyFault> {
        match self.0.as_ref()?.borrow().state {
            State::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether it fails, from now on, if it is still on its way.
    pub fn fate(&self) -> Fate {
        let Some(source) = &self.0 else { return Fate::default() };
        let mut source = source.borrow_mut();
        match source.state {
            State::Ended => Fate::default(),
            State::Failed(_) => Fate(Some(Rc::new(Cell::new(true)))),
            State::Flowing => Fate(Some(source.fate.get_or_insert_default().clone())),
        }
    }

    /// When a piece of the body was last handed on, if there is a body.
    pub fn last_progress(&self) -> Option<Instant> {
        self.0.as_ref().map(|source| source.borrow().progress)
    }

    /// A reader for one attempt. Readers of former ones get nothing more: an endpoint that has answered may still take what
    /// comes, which is another's by now.
    pub fn reader(&self) -> RequestBody {
        let attempt = self.0.as_ref().map_or(0, |source| {
            let mut source = source.borrow_mut();
            source.attempts += 1;
            source.attempts
        });
        RequestBody { source: self.0.clone(), attempt, replayed: 0, ended: false }
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub struct RequestBody {
    source: Option<Rc<RefCell<Source>>>,
    /// Which one.
    attempt: u32,
    /// Kept pieces that were repeated.
    replayed: usize,
    ended: bool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(source) = self.source.clone() else {
            return Poll::Ready(None);
        };
        let mut source = source.borrow_mut();
        if source.attempts != self.attempt {
            // Whoever reads is ended together with its answer.
            return Poll::Pending;
        }
        if let Some(piece) = source.kept.get(self.replayed) {
            let piece = piece.clone();
            self.replayed += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match source.state {
            State::Failed(fault) => return Poll::Ready(Some(Err(fault))),
            State::Ended => {
                let trailers = if self.ended { None } else { source.trailers.clone() };
                self.ended = true;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            State::Flowing => {}
        }
        let frame = ready!(source.poll_next(context));
        self.replayed = source.kept.len();
        self.ended = source.state == State::Ended;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| {
            let source = source.borrow();
            source.attempts == self.attempt
                && source.state == State::Ended
                && self.replayed >= source.kept.len()
                && (self.ended || source.trailers.is_none())
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else {
            return SizeHint::with_exact(0);
        };
        let source = source.borrow();
        let hint = source.incoming.size_hint();
        let left: usize = source.kept.iter().skip(self.replayed).map(Bytes::len).sum();
        match hint.exact() {
            Some(rest) => SizeHint::with_exact(rest.saturating_add(left as u64)),
            None => SizeHint::default(),
        }
    }
}

impl Source {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        let Poll::Ready(polled) = polled else {
            self.asked.get_or_insert_with(Instant::now);
            return self.poll_idle(context).map(|fault| Some(Err(self.fail(fault))));
        };
        self.timer = None;
        self.progress = Instant::now();
        if let Some(asked) = self.asked.take() {
            self.waited += self.progress - asked;
        }
        let frame = match polled {
            None => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
            Some(Err(_)) => return Poll::Ready(Some(Err(self.fail(BodyFault::Broken)))),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(piece) => {
                self.received += piece.len() as u64;
                if let Some(told) = &self.told {
                    told.set(self.received);
                }
                if self.received > self.most {
                    return Poll::Ready(Some(Err(self.fail(BodyFault::TooLarge))));
                }
                if !self.may_rest && is_too_slow(self.received, self.waited) {
                    return Poll::Ready(Some(Err(self.fail(BodyFault::Idle))));
                }
                self.keep(&piece);
                if self.incoming.is_end_stream() {
                    self.state = State::Ended;
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Err(frame) => {
                self.state = State::Ended;
                let mut trailers = frame.into_trailers().unwrap_or_default();
                strip_trailers(&mut trailers);
                if self.underscores != Underscores::Aliases {
                    remove_underscored(&mut trailers);
                }
                self.trailers = Some(trailers.clone());
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn keep(&mut self, piece: &Bytes) {
        // Small pieces cost many times what is counted.
        if self.lost || self.kept_bytes + piece.len() > self.keep_limit || self.kept.len() >= MOST_PIECES {
            self.lose();
            return;
        }
        self.kept_bytes += piece.len();
        self.held.set(self.kept_bytes);
        self.kept.push(piece.clone());
    }

    fn lose(&mut self) {
        self.lost = true;
        self.kept = Vec::new();
        self.held.set(0);
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<BodyFault> {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
        timer.as_mut().poll(context).map(|()| BodyFault::Idle)
    }

    fn fail(&mut self, fault: BodyFault) -> BodyFault {
        self.state = State::Failed(fault);
        if let Some(fate) = &self.fate {
            fate.set(true);
        }
        fault
    }
}

/// Whether `received` octets in so long a time are too few.
fn is_too_slow(received: u64, elapsed: Duration) -> bool {
    elapsed > GRACE && received < elapsed.as_secs().saturating_mul(SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_takes_longer_than_a_modem() {
        assert!(!is_too_slow(1, GRACE));
        assert!(is_too_slow(1, Duration::from_secs(11)));
        assert!(!is_too_slow(11 * SLOWEST, Duration::from_secs(11)));
        assert!(is_too_slow(100 * SLOWEST, Duration::from_secs(101)));
    }
}
