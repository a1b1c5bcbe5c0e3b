//! The body of an answer on its way to the client.
//!
//! A relayed body carries what the request still holds: the connection to the endpoint, the endpoint's in-flight count,
//! what is to be counted at the end. An answer that breaks off ends in an error, so that the client sees a cut
//! connection or a reset stream and never a complete answer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

use super::account::Account;
use super::exchange::Http1;
use super::filters::compress::body::{Compressed, EncoderPlace};
use super::filters::compress::encoder::Encoder;
use super::flow::{Flow, FlowFault};
use super::headers::strip_trailers;
use super::held::Held;
use super::http1::relay::BareRelay;
use super::http2::duplex::Duplex;
use super::http2::link::Stream;
use super::http2::stream::StreamFault;
use super::leash::Hold;
use super::pool::Place;
use super::worker::{Opened, Worker};

/// Why an answer's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The endpoint sent nothing for too long.
    #[error("the endpoint stopped sending the answer")]
    Idle,
    /// The endpoint goes away, and its drain time is over.
    #[error("the drain time of the endpoint is over")]
    Drained,
    /// The endpoint's answer broke off.
    #[error("the endpoint's answer broke off")]
    Cut(#[source] FlowFault),
    /// The same, read by ourselves from a bare socket.
    #[error("the endpoint's answer broke off")]
    Broken(#[source] std::io::Error),
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Written by this proxy.
    Local(Option<Bytes>, Account),
    /// An endpoint's.
    Relayed(Box<Relay>),
    /// An endpoint's, read by ourselves.
    Bare(Box<BareRelay>),
    /// A page in place of an endpoint's body, which goes with it.
    Replaced(Option<Bytes>, Box<Self>),
    /// Another body, compressed on its way.
    Compressed(Box<Compressed>),
    /// None: the connection, or the stream that is given to whoever waits for it, becomes another protocol's.
    Switched(Option<oneshot::Sender<Duplex>>),
}

/// What carries a relayed answer.
#[derive(Debug)]
pub enum Carrier {
    /// A connection that is kept for the next request.
    Http1(Http1, Place),
    /// A stream on a shared connection.
    Http2(Stream),
    /// A connection that a task drives and that ends with the answer; it counts as open for as long as either needs it.
    Detached(Rc<Opened>),
}

/// A body that an endpoint sends.
#[derive(Debug)]
pub struct Relay {
    incoming: Flow,
    /// Gone when the body has ended.
    carrier: Option<Carrier>,
    worker: Rc<Worker>,
    account: Account,
    idle: Duration,
    idle_per_endpoint: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// The body broke off; to be said at the next poll.
    fault: Option<AnswerFault>,
    held: Held,
}

impl AnswerBody {
    /// A short text of this proxy's own.
    pub fn local(text: Bytes, account: Account) -> Self {
        Self::Local((!text.is_empty()).then_some(text), account)
    }

    /// An endpoint's body; what its request holds is given back when it ends.
    pub fn relayed(
        incoming: Flow,
        carrier: Carrier,
        worker: Rc<Worker>,
        account: Account,
        limits: &crate::config::checked::ProxyLimits,
    ) -> Self {
        let (idle, idle_per_endpoint) = (limits.idle, limits.idle_per_endpoint);
        let carrier = Some(carrier);
        let held = Held::nothing(worker.shard.clone());
        let mut relay =
            Relay { incoming, carrier, worker, account, idle, idle_per_endpoint, timer: None, fault: None, held };
        if relay.incoming.is_end_stream() {
            relay.finish();
        }
        Self::Relayed(Box::new(relay))
    }
}

impl AnswerBody {
    /// A page in its place: what the endpoint says is not read to its end, and nobody misses it.
    pub fn replaced(mut self, page: Bytes) -> Self {
        if let Some(account) = self.account() {
            account.complete();
            account.sent(page.len());
        }
        Self::Replaced(Some(page).filter(|page| !page.is_empty()), Box::new(self))
    }

    /// The same, compressed.
    pub fn compressed(self, encoder: Encoder, place: EncoderPlace, worker: &Worker) -> Self {
        Self::Compressed(Box::new(Compressed::new(self, encoder, place, worker)))
    }

    /// What was handed on last is counted by whoever took it.
    pub fn let_go(&mut self) {
        match self {
            Self::Relayed(relay) => relay.held.set(0),
            Self::Compressed(compressed) => compressed.let_go(),
            Self::Local(..) | Self::Bare(_) | Self::Replaced(..) | Self::Switched(_) => {}
        }
    }

    /// Takes away what the proxy says by itself, and tells its length.
    pub fn withhold(&mut self) -> Option<usize> {
        match self {
            Self::Local(text, _) | Self::Replaced(text, _) => text.take().map(|text| text.len()),
            Self::Relayed(_) | Self::Bare(_) | Self::Compressed(_) | Self::Switched(_) => None,
        }
    }

    /// What is counted of its request.
    pub(super) fn account(&mut self) -> Option<&mut Account> {
        match self {
            Self::Local(_, account) => Some(account),
            Self::Relayed(relay) => Some(&mut relay.account),
            Self::Bare(relay) => Some(relay.account()),
            Self::Replaced(_, body) => body.account(),
            Self::Compressed(compressed) => compressed.account(),
            Self::Switched(_) => None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        match self.get_mut() {
            Self::Local(text, account) => {
                account.sent(text.as_ref().map_or(0, Bytes::len));
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
            Self::Relayed(relay) => {
                let polled = relay.poll_next(context);
                let waits = waiting(&polled);
                relay.account.sent(waits);
                relay.held.set(waits);
                polled
            }
            Self::Bare(relay) => relay.poll_copy(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Replaced(page, _) => Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Self::Compressed(compressed) => compressed.poll_next(context),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(text, _) => text.is_none(),
            Self::Relayed(relay) => relay.carrier.is_none() && relay.fault.is_none(),
            Self::Bare(relay) => relay.is_over(),
            Self::Replaced(page, _) => page.is_none(),
            Self::Compressed(compressed) => compressed.is_over(),
            Self::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(text, _) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Relayed(relay) => relay.incoming.size_hint(),
            Self::Bare(relay) => relay.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Replaced(page, _) => SizeHint::with_exact(page.as_ref().map_or(0, Bytes::len) as u64),
            Self::Compressed(_) => SizeHint::default(),
            Self::Switched(_) => SizeHint::with_exact(0),
        }
    }
}

/// Octets that were handed on: they wait until more is asked for.
fn waiting(polled: &Poll<Option<Result<Frame<Bytes>, AnswerFault>>>) -> usize {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
        _ => 0,
    }
}

impl Relay {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        if self.carrier.is_none() {
            return Poll::Ready(None);
        }
        if self.account.hold.as_ref().is_some_and(Hold::is_cut) {
            return self.drained(context);
        }
        let Poll::Ready(polled) = self.poll_incoming(context) else {
            if self.account.hold.as_mut().is_some_and(|hold| hold.poll_cut(context).is_ready()) {
                return self.drained(context);
            }
            return match self.poll_idle(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    self.worker.shard.timeout_body.increment();
                    self.cut(AnswerFault::Idle, context)
                }
            };
        };
        self.timer = None;
        match polled {
            None => {
                self.finish();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                if matches!(error, FlowFault::Stream(StreamFault::Stalled)) {
                    self.worker.shard.timeout_write.increment();
                }
                self.cut(AnswerFault::Cut(error), context)
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(self.pass(frame)))),
        }
    }

    /// The connection is driven here: nobody else polls it.
    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FlowFault>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        match (&mut self.carrier, polled) {
            (Some(Carrier::Http1(connection, _)), Poll::Pending) => {
                connection.poll(context);
                Pin::new(&mut self.incoming).poll_frame(context)
            }
            (_, polled) => polled,
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                if let Some(in_flight) = &self.account.in_flight {
                    in_flight.ended(&trailers);
                }
                strip_trailers(&mut trailers);
                self.finish();
                Frame::trailers(trailers)
            }
            Err(frame) => {
                if self.incoming.is_end_stream() {
                    self.finish();
                }
                frame
            }
        }
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        self.timer.get_or_insert_with(|| Box::pin(sleep(idle))).as_mut().poll(context)
    }

    /// The body is whole: the connection can serve another request.
    fn finish(&mut self) {
        self.account.complete();
        if let Some(Carrier::Http1(mut connection, place)) = self.carrier.take()
            && connection.is_reusable()
        {
            self.worker.pool.put_http1(&place, connection, self.idle_per_endpoint, Instant::now());
        }
    }

    fn drained(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        self.worker.shard.drained_answers.increment();
        self.cut(AnswerFault::Drained, context)
    }

    /// The fault is said one poll later: what came before it is sent to the client first.
    fn cut(
        &mut self,
        fault: AnswerFault,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        self.account.cut();
        self.carrier = None;
        self.fault = Some(fault);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
