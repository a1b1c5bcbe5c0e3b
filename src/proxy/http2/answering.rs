//! One request of a client, from its head to the end of its answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode, request};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::direct;
use super::duplex::Duplex;
use super::frame::Code;
use super::handles::{Reader, Writer};
use super::head::{self, Fields};
use super::stream::StreamFault;
use crate::proxy::account::Account;
use crate::proxy::answer_body::{AnswerBody, AnswerFault};
use crate::proxy::connection::Client;
use crate::proxy::early::Ear;
use crate::proxy::flow::Flow;
use crate::proxy::forward;
use crate::proxy::held::Held;
use crate::proxy::metrics::Shard;

/// Answers a request; `reader`: of what follows the head.
pub async fn serve(client: Rc<Client>, fields: Box<Fields>, reader: Option<Reader>, writer: Writer, stall: Duration) {
    // One that was given up already is none.
    if poll_fn(|context| Poll::Ready(writer.poll_over(context).is_ready())).await {
        return;
    }
    let sending = Sending::new(&client, writer, stall);
    if let Some(direct) = direct::begin(&client, &fields, reader.is_none()) {
        return direct::serve(client, fields, direct, reader, sending).await;
    }
    let Ok(head) = fields.request() else { return sending.writer.is_malformed() };
    drop(fields);
    // Boxed: the short way need not have room for it.
    Box::pin(serve_long(client, head, reader, sending)).await;
}

async fn serve_long(client: Rc<Client>, head: request::Parts, reader: Option<Reader>, sending: Sending) {
    // What is to become a tunnel has no body (RFC 8441 section 5).
    let (body, tunnel) = match (reader, head.method == Method::CONNECT) {
        (reader, true) => (Flow::Nothing, reader),
        (Some(reader), false) => (Flow::Stream(reader), None),
        (None, false) => (Flow::Nothing, None),
    };
    let request = Request::from_parts(head, body);
    // Boxed: it is kilobytes large, and gone when the answer is sent.
    let ear = Ear::Stream(sending.writer.interim());
    let answer = Box::pin(forward::answer(client, request, ear));
    let Some(answer) = sending.unless_over(answer).await else { return };
    // The tunnel's other way goes with the answer, or is over.
    sending.answer(answer, tunnel).await;
}

/// Refuses a request whose list of fields is too long (RFC 6585 section 5).
pub fn refuse_long(client: &Client, writer: &Writer) {
    let fields = client.refuses_long_head();
    // A client that has gone needs no answer.
    let _ = writer.send_head(true, |encoder, out| {
        encoder.begin(out);
        encoder.status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16(), out);
        head::write_fields(&fields, encoder, out);
    });
}

/// An answer on its way into a stream.
pub(super) struct Sending {
    /// The stream.
    pub(super) writer: Writer,
    shard: Arc<Shard>,
    /// What was read of the answer and waits for the client's window.
    held: Held,
    /// The longest time that the client may leave it waiting.
    stall: Duration,
}

/// Why an answer was not sent to its end.
enum Unsent {
    /// The client has reset the stream, or is gone.
    Gone,
    /// It takes nothing (CVE-2019-9517).
    Stalled,
}

impl From<StreamFault> for Unsent {
    fn from(_: StreamFault) -> Self {
        Self::Gone
    }
}

impl Sending {
    pub(super) fn new(client: &Client, writer: Writer, stall: Duration) -> Self {
        let shard = client.worker.shard.clone();
        Self { writer, held: Held::nothing(shard.clone()), shard, stall }
    }

    /// Waits for an answer; `None`: its client is gone, and needs none.
    pub(super) async fn unless_over<F: Future>(&self, mut answer: Pin<Box<F>>) -> Option<F::Output> {
        poll_fn(|context| match self.writer.poll_over(context) {
            // Dropping it ends the request.
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => answer.as_mut().poll(context).map(Some),
        })
        .await
    }

    /// Sends an answer; `tunnel`: the other way of the stream, if it is to be a tunnel.
    pub(super) async fn answer(self, answer: Response<AnswerBody>, tunnel: Option<Reader>) {
        let (mut head, mut body) = answer.into_parts();
        let ends = body.is_end_stream();
        if let AnswerBody::Switched(slot) = &mut body {
            let slot = slot.take();
            let begun = self.writer.send_head(false, |encoder, out| head::write_answer(&head, encoder, out));
            if let (Ok(()), Some(slot), Some(reader)) = (begun, slot, tunnel) {
                // Nobody waits for it any more where the tunnel was given up meanwhile; then the stream is reset.
                let _ = slot.send(Duplex::new(reader, self.writer));
            }
            return;
        }
        drop(tunnel);
        // Of our own; an endpoint says it if it likes.
        if !ends
            && matches!(body, AnswerBody::Local(..) | AnswerBody::Replaced(..))
            && !head.headers.contains_key(CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact()
        {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if self.writer.send_head(ends, |encoder, out| head::write_answer(&head, encoder, out)).is_err() || ends {
            return;
        }
        drop(head);
        self.body(body).await;
    }

    /// Sends what follows the head.
    pub(super) async fn body(mut self, mut body: AnswerBody) {
        loop {
            let frame = poll_fn(|context| self.poll_frame(&mut body, context)).await;
            let sent = match frame {
                // The client is gone.
                None => return,
                Some(None) => {
                    // A client that is gone misses nothing.
                    let _ = self.writer.send_data(&[], true);
                    return;
                }
                // The client must not take what it got for the whole.
                Some(Some(Err(_))) => return self.writer.reset(Code::INTERNAL_ERROR),
                Some(Some(Ok(frame))) => self.send(frame, &mut body).await,
            };
            match sent {
                Ok(()) if self.writer.has_ended() => return,
                Ok(()) => {}
                Err(unsent) => {
                    if matches!(unsent, Unsent::Stalled) {
                        self.shard.timeout_write.increment();
                    }
                    // The endpoint's answer may be whole, and the client has not got it.
                    if let Some(account) = body.account() {
                        Account::not_taken(account);
                    }
                    return;
                }
            }
        }
    }

    /// The next frame of the answer; `None`: its client is gone.
    #[expect(clippy::type_complexity, reason = "what a body gives, and none of it")]
    fn poll_frame(
        &self,
        body: &mut AnswerBody,
        context: &mut Context<'_>,
    ) -> Poll<Option<Option<Result<Frame<Bytes>, AnswerFault>>>> {
        if self.writer.poll_over(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(body).poll_frame(context).map(Some)
    }

    async fn send(&mut self, frame: Frame<Bytes>, body: &mut AnswerBody) -> Result<(), Unsent> {
        let piece = match frame.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return Ok(self.writer.send_trailers(&trailers)?);
            }
        };
        body.let_go();
        let ends = body.is_end_stream();
        let mut rest = &piece[..];
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        loop {
            let polled = poll_fn(|context| match self.writer.poll_room(rest.len(), context) {
                Poll::Ready(room) => Poll::Ready(room.map_err(Unsent::from)),
                Poll::Pending => {
                    self.held.set(rest.len());
                    let stall = self.stall;
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep(stall)));
                    timer.as_mut().poll(context).map(|()| Err(Unsent::Stalled))
                }
            });
            let room = polled.await?;
            // Each piece that it takes gives it time.
            timer = None;
            let (now, later) = rest.split_at(room);
            rest = later;
            self.writer.send_data(now, ends && rest.is_empty())?;
            if rest.is_empty() {
                self.held.set(0);
                return Ok(());
            }
        }
    }
}
