//! The body of a SUBSCRIBE: records of events, and heartbeats whatever else happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use prost::Message;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::cluster::sources::mesos::wire;
use crate::demo::feed::Events;
use crate::demo::shape;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Protobuf,
}

impl Media {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// A message in this form; JSON of these messages cannot fail: no map has keys that are not text.
    pub(super) fn encode(self, message: &(impl Message + serde::Serialize)) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(message).expect("the operator API's messages are plain JSON"),
            Self::Protobuf => message.encode_to_vec(),
        }
    }
}

/// A stream of records, one chunk each.
#[derive(Debug)]
pub(super) struct EventStream {
    media: Media,
    first: VecDeque<Bytes>,
    events: Events,
    heartbeat: Interval,
}

impl EventStream {
    /// SUBSCRIBED and the first heartbeat are sent at once.
    pub(super) fn new(media: Media, snapshot: wire::GetState, events: Events, heartbeat: Duration) -> Self {
        let subscribed =
            wire::Subscribed { get_state: Some(snapshot), heartbeat_interval_seconds: Some(heartbeat.as_secs_f64()) };
        let subscribed = wire::Event { subscribed: Some(subscribed), ..shape::event("SUBSCRIBED") };
        let first = [subscribed, shape::event("HEARTBEAT")].iter().map(|event| record(media, event)).collect();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + heartbeat, heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { media, first, events, heartbeat }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(record) = self.first.pop_front() {
            return Poll::Ready(Some(record));
        }
        match self.events.poll_recv(cx) {
            Poll::Ready(event) => {
                let event: Option<Arc<wire::Event>> = event;
                Poll::Ready(event.map(|event| record(self.media, &event)))
            }
            Poll::Pending => self.heartbeat.poll_tick(cx).map(|_| Some(record(self.media, &shape::event("HEARTBEAT")))),
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.poll_event(cx).map(|record| record.map(|record| Ok(Frame::data(record))))
    }
}

fn record(media: Media, event: &wire::Event) -> Bytes {
    let message = media.encode(event);
    let mut record = format!("{}\n", message.len()).into_bytes();
    record.extend_from_slice(&message);
    record.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_length_newline_message() {
        let heartbeat = record(Media::Json, &shape::event("HEARTBEAT"));
        assert_eq!(&heartbeat[..], b"20\n{\"type\":\"HEARTBEAT\"}");
        assert_eq!(&record(Media::Protobuf, &shape::event("HEARTBEAT"))[..], b"2\n\x08\x09");
    }
}
