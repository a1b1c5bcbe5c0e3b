//! One stream of a connection (RFC 9113 section 5.1), as the connection keeps it.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::BytesMut;
use http::HeaderMap;

use super::frame::Code;
use super::head::Fields;

/// Room of a piece that waits behind another.
const PIECE: usize = 4096;

/// Why a stream ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The other side has reset it.
    #[error("the stream was reset: {0}")]
    Reset(Code),
    /// The other side has not looked at it and will not (RFC 9113 section 8.7).
    #[error("the stream was not processed")]
    Unprocessed,
    /// The other side broke the rules.
    #[error("the stream broke the rules of HTTP/2: {0}")]
    Broken(Code),
    /// Its connection is over.
    #[error("the connection of the stream has ended")]
    Ended,
    /// We have given it up, for what is no fault of the other side.
    #[error("the stream was given up")]
    GivenUp,
    /// We have given it up, as the other side took nothing of what it was sent for too long.
    #[error("the other side of the stream took nothing for too long")]
    Stalled,
}

/// What the answer to a request may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Content.
    Content,
    /// None, whatever its fields say: it answers HEAD, or has a status that has none (RFC 9110 section 6.4.1).
    HeadAlone,
    /// A tunnel, if it succeeds: it answers CONNECT (RFC 9110 section 9.3.6).
    Tunnel,
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// More may come.
    Open,
    /// It ended as it should.
    Ended,
    /// It broke off.
    Failed(StreamFault),
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    /// What came and was not taken.
    pub queue: VecDeque<BytesMut>,
    /// How far that direction is.
    pub receives: Way,
    /// Octets that the other side may still send.
    pub receive_window: i64,
    /// Octets that were taken and that it was not yet allowed to send anew.
    pub released: u32,
    /// Octets of content that are still to come, if that was said.
    pub expected: Option<u64>,
    /// What follows the content.
    pub trailers: Option<HeaderMap>,
    /// An answer's head; towards endpoints only.
    pub answer: Option<Box<Fields>>,
    /// Its interim answers (RFC 9110 section 15.2).
    pub interim: VecDeque<Box<Fields>>,
    /// The answer's head has come, or was sent.
    pub is_answered: bool,
    /// The client waits for a word before it sends the content (RFC 9110 section 10.1.1).
    pub expects: bool,
    /// What the answer may bring; towards endpoints only.
    pub awaited: Awaited,
    /// How far the other direction is.
    pub sends: Way,
    /// Octets that may still be sent.
    pub send_window: i64,
    /// It waits for its turn to send.
    pub is_starved: bool,
    /// Somebody takes what comes.
    pub has_reader: bool,
    /// Somebody sends.
    pub has_writer: bool,
    /// It counts against the limit.
    pub is_counted: bool,
    /// Woken when something comes.
    pub reader: Option<Waker>,
    /// Woken when something may be sent.
    pub writer: Option<Waker>,
    /// Woken when it is over.
    pub watcher: Option<Waker>,
}

impl Stream {
    /// A new one with these windows.
    pub fn new(receive_window: u32, send_window: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            receives: Way::Open,
            receive_window: receive_window.into(),
            released: 0,
            expected: None,
            trailers: None,
            answer: None,
            interim: VecDeque::new(),
            is_answered: false,
            expects: false,
            awaited: Awaited::Content,
            sends: Way::Open,
            send_window: send_window.into(),
            is_starved: false,
            has_reader: false,
            has_writer: false,
            is_counted: true,
            reader: None,
            writer: None,
            watcher: None,
        }
    }

    /// Whether nothing more can come or go.
    pub fn is_closed(&self) -> bool {
        self.receives != Way::Open && self.sends != Way::Open
    }

    /// Adds what came. Small pieces are joined while they wait: each by itself would cost many times what is counted.
    pub fn enqueue(&mut self, octets: &[u8]) {
        if let Some(last) = self.queue.back_mut()
            && last.capacity() - last.len() >= octets.len()
        {
            return last.extend_from_slice(octets);
        }
        let least = if self.queue.is_empty() { 0 } else { PIECE };
        let mut piece = BytesMut::with_capacity(octets.len().max(least));
        piece.extend_from_slice(octets);
        self.queue.push_back(piece);
    }

    /// Octets that came and were not taken.
    pub fn queued(&self) -> usize {
        self.queue.iter().map(BytesMut::len).sum()
    }

    /// Ends both directions, as far as they are not over.
    pub fn fail(&mut self, fault: StreamFault) {
        for way in [&mut self.receives, &mut self.sends] {
            if *way == Way::Open {
                *way = Way::Failed(fault);
            }
        }
        self.wake();
    }

    /// Wakes whoever waits for anything.
    pub fn wake(&mut self) {
        for waker in [&mut self.reader, &mut self.writer, &mut self.watcher] {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }
}

/// Has a waker woken by `slot`.
pub fn register(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        empty => *empty = Some(waker.clone()),
    }
}
