//! A request's body on its way into a stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use super::frame::Code;
use super::handles::Writer;
use super::stream::StreamFault;
use crate::proxy::request_body::RequestBody;

/// How what is left of a request's body is sent beside its answer.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// Who owns the task that sends it.
    pub tasks: &'a TaskTracker,
    /// The longest time that the endpoint may take nothing of what there is.
    pub stall: Duration,
}

/// Sends a body; ready when it is sent, or the stream is over.
#[derive(Debug)]
pub struct Upload {
    writer: Writer,
    body: RequestBody,
    /// What was read of the body and is still to be sent.
    piece: Option<Bytes>,
    /// `None`: the answer has not begun, and its time is what ends the wait for an endpoint that takes nothing.
    stall: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// Of a body whose request's head was sent.
    pub fn new(writer: Writer, body: RequestBody) -> Self {
        Self { writer, body, piece: None, stall: None, timer: None }
    }

    /// The answer has begun: from now on the endpoint may take nothing for so long at most.
    pub fn limit(&mut self, stall: Duration) {
        self.stall = Some(stall);
    }

    /// Sends what was read, as the windows let it go.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(piece) = &mut self.piece {
            match self.writer.poll_room(piece.len(), context) {
                Poll::Ready(Ok(room)) => {
                    // What it takes gives it time.
                    self.timer = None;
                    let now = piece.split_to(room);
                    let is_last = piece.is_empty();
                    if is_last {
                        self.piece = None;
                    }
                    // A stream that takes nothing more is over.
                    let _ = self.writer.send_data(&now, is_last && self.body.is_end_stream());
                }
                Poll::Ready(Err(_)) => self.piece = None,
                Poll::Pending => {
                    ready!(self.poll_stall(context));
                    self.writer.fail(Code::CANCEL, StreamFault::Stalled);
                }
            }
        }
        Poll::Ready(())
    }

    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(stall) = self.stall else { return Poll::Pending };
        self.timer.get_or_insert_with(|| Box::pin(sleep(stall))).as_mut().poll(context)
    }
}

impl Future for Upload {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let upload = &mut *self;
        loop {
            // All is sent, or the endpoint wants no more of it; whoever reads the answer hears why.
            if upload.writer.has_ended() || upload.writer.poll_over(context).is_ready() {
                return Poll::Ready(());
            }
            if upload.piece.is_some() {
                ready!(upload.poll_piece(context));
                continue;
            }
            match ready!(Pin::new(&mut upload.body).poll_frame(context)) {
                // One that cannot be sent any more is over, which is seen in the next round.
                None => drop(upload.writer.send_data(&[], true)),
                // Whoever waits for the answer asks the body what is wrong.
                Some(Err(_)) => upload.writer.fail(Code::CANCEL, StreamFault::GivenUp),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => upload.piece = Some(piece),
                    Err(frame) => drop(upload.writer.send_trailers(&frame.into_trailers().unwrap_or_default())),
                },
            }
        }
    }
}
