//! The state of a connection: streams, windows, compression, and what waits to be sent. Both sides of HTTP/2 are the same
//! but for who opens streams.
//!
//! Pure but for wakers: what comes is given to [`Core::receive`] frame by frame, what is to be sent lies in
//! [`Core::out`] until the connection's task has written it, once a turn. Nothing here is shared between threads, and
//! no stream has a lock or a channel: who serves a stream looks into the connection's state.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use http::HeaderMap;

use super::frame::{self, Code, ConnectionFault, FIRST_WINDOW, FRAME, LARGEST, setting};
use super::head::{self, Fields};
use super::hpack::{Decoder, Encoder};
use super::line::Line;
use super::stream::{Awaited, Stream, StreamFault, Way, register};
use crate::proxy::held::Held;
use crate::proxy::uploads::Uploads;

/// What waits at most to be sent, in octets, before those who send have to wait.
const MOST_OUT: usize = 256 * 1024;
/// Interim answers are left out where so many octets wait already.
const MOST_HINTS: usize = 16 * 1024;
/// What an idle connection may keep.
const KEPT_OUT: usize = 4 * 1024;
/// The memory of what others may compress with (RFC 7541 section 4.2): the size that every implementation begins with.
pub(super) const TABLE: usize = 4096;
/// Streams that we have reset and of which more may come (RFC 9113 section 5.4.2).
const REMEMBERED: usize = 256;

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Towards a client.
    Server,
    /// Towards an endpoint.
    Client,
}

/// What the other side may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that it may have open.
    pub streams: u32,
    /// Octets of a list of fields (RFC 9113 section 10.5.1).
    pub list: usize,
    /// Octets that it may send on a stream before they are taken.
    pub stream_window: u32,
    /// The same, on all streams together.
    pub connection_window: u32,
    /// So many errors of streams end the connection, where requests that were answered do not make good for them
    /// (CVE-2025-8671).
    pub faults: u32,
}

/// What the other side has said that it takes (RFC 9113 section 6.5.2).
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The window that streams begin with.
    pub window: u32,
    /// The largest frame.
    pub frame: usize,
    /// Streams that we may have open; `None`: it has not said.
    pub streams: Option<u32>,
    /// It takes an extended CONNECT (RFC 8441 section 3).
    pub takes_protocols: bool,
}

/// What counts the octets that wait to be taken.
#[derive(Debug)]
pub enum Counted {
    /// Clients' uploads, which may stop the connection from being read.
    Uploads(Rc<Uploads>),
    /// Endpoints' answers.
    Answers(Held),
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It goes on.
    No,
    /// The other side was asked to open no more streams; those on their way are still taken (RFC 9113 section 6.8).
    Asked,
    /// What came after this stream is not looked at.
    After(u32),
}

/// The state of one connection.
#[derive(Debug)]
pub struct Core {
    pub(super) role: Role,
    pub(super) limits: Limits,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) peer: Peer,
    /// Boxed: each is moved several times otherwise, by the map too.
    pub(super) streams: HashMap<u32, Box<Stream>>,
    /// Streams that count against the limit.
    pub(super) open: u32,
    /// The newest stream that the other side has opened.
    pub(super) newest: u32,
    /// The next one that we open.
    next: u32,
    /// The last ones that the other side has opened, as bits: some identifiers may have been left out.
    pub(super) opened: u128,
    /// The ones that we have reset last.
    resets: VecDeque<u32>,
    /// Errors of streams that nothing made good for.
    pub(super) faults: u32,
    /// Octets that the other side may still send.
    pub(super) receive_window: i64,
    /// Octets that were taken and that it was not yet allowed to send anew.
    released: u32,
    /// Octets that we may still send.
    pub(super) send_window: i64,
    /// Streams that wait for their turn, the first one first.
    starved: VecDeque<u32>,
    /// Octets in all queues.
    pub(super) queued: usize,
    /// Octets of a frame that has not come whole.
    pub(super) partial: usize,
    counted: Counted,
    /// A header block that has not come whole.
    pub(super) block: Option<super::receive::Block>,
    /// Its settings have come.
    pub(super) has_settings: bool,
    /// How far the end is.
    pub(super) closing: Closing,
    /// The last stream that the other side looks at, where it closes the connection.
    pub(super) last: Option<u32>,
    /// What waits to be sent, from `sent` on.
    pub out: Vec<u8>,
    sent: usize,
    /// What was sent may still lie in a buffer below.
    is_unflushed: bool,
    /// Why it has to end.
    pub(super) doom: Option<ConnectionFault>,
    /// It is over.
    ended: bool,
    /// Who waits until another stream may be opened.
    openers: Line,
    /// The connection's task, and whether it was woken since it last ran.
    task: Option<Waker>,
    is_woken: bool,
}

impl Core {
    /// A new connection, which begins by what we say first.
    pub fn new(role: Role, limits: Limits, counted: Counted) -> Self {
        let mut core = Self {
            role,
            limits,
            decoder: Decoder::new(TABLE),
            encoder: Encoder::new(),
            peer: Peer { window: FIRST_WINDOW, frame: FRAME, streams: None, takes_protocols: false },
            streams: HashMap::new(),
            open: 0,
            newest: 0,
            next: 1,
            opened: 0,
            resets: VecDeque::new(),
            faults: 0,
            receive_window: limits.connection_window.max(FIRST_WINDOW).into(),
            released: 0,
            send_window: FIRST_WINDOW.into(),
            starved: VecDeque::new(),
            queued: 0,
            partial: 0,
            counted,
            block: None,
            has_settings: false,
            closing: Closing::No,
            last: None,
            out: Vec::new(),
            sent: 0,
            is_unflushed: false,
            doom: None,
            ended: false,
            openers: Line::default(),
            task: None,
            is_woken: false,
        };
        core.introduce();
        core
    }

    /// What is said first (RFC 9113 section 3.4).
    fn introduce(&mut self) {
        let list = u32::try_from(self.limits.list).unwrap_or(u32::MAX);
        let window = (setting::INITIAL_WINDOW_SIZE, self.limits.stream_window);
        let out = &mut self.out;
        match self.role {
            Role::Server => {
                let streams = (setting::MAX_CONCURRENT_STREAMS, self.limits.streams);
                let connect = (setting::ENABLE_CONNECT_PROTOCOL, 1);
                frame::write_settings(&[streams, window, (setting::MAX_HEADER_LIST_SIZE, list), connect], out);
            }
            Role::Client => {
                out.extend_from_slice(frame::PREFACE);
                let push = (setting::ENABLE_PUSH, 0);
                frame::write_settings(&[push, window, (setting::MAX_HEADER_LIST_SIZE, list)], out);
            }
        }
        let more = self.limits.connection_window.saturating_sub(FIRST_WINDOW);
        if more > 0 {
            frame::write_window(0, more, out);
        }
    }

    // The connection's task.

    /// The task runs, and sends what there is at the end of its turn.
    pub fn runs(&mut self, context: &Context<'_>) {
        self.is_woken = true;
        if !self.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            self.task = Some(context.waker().clone());
        }
    }

    /// Has the task send what waits.
    pub(super) fn wake_task(&mut self) {
        if !std::mem::replace(&mut self.is_woken, true)
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }

    /// What waits to be sent.
    pub fn waiting(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// So many octets were sent. When all are gone, those that waited for room are woken.
    pub fn was_sent(&mut self, octets: usize) {
        self.sent += octets;
        self.is_unflushed = true;
        if self.sent < self.out.len() {
            // Where more is added before all is gone, what was sent has to go as well.
            if self.sent >= MOST_OUT / 4 && self.sent >= self.waiting().len() {
                self.out.drain(..self.sent);
                self.sent = 0;
            }
            return;
        }
        self.sent = 0;
        self.out.clear();
        self.wake_first();
    }

    /// Whether what was sent may still lie in a buffer below.
    pub fn is_unflushed(&self) -> bool {
        self.is_unflushed
    }

    /// It does not.
    pub fn was_flushed(&mut self) {
        self.is_unflushed = false;
    }

    /// The task's turn is over, and everything is sent: it is woken when there is more. Gives memory back that an idle
    /// connection need not have.
    pub fn rests(&mut self) {
        self.is_woken = false;
        if self.out.is_empty() && self.out.capacity() > KEPT_OUT {
            self.out = Vec::new();
        }
        if self.streams.is_empty() && self.streams.capacity() > 16 {
            self.streams = HashMap::new();
        }
    }

    /// Whether so much waits that nothing more is to be read before it is gone: each frame may want an answer.
    pub fn is_full(&self) -> bool {
        self.waiting().len() >= MOST_OUT
    }

    /// The connection is over: nothing more comes or goes.
    pub fn end(&mut self, fault: StreamFault) {
        self.ended = true;
        for stream in self.streams.values_mut() {
            stream.fail(fault);
            stream.is_counted = false;
        }
        self.open = 0;
        self.streams.retain(|_, stream| stream.has_reader || stream.has_writer);
        self.wake_openers();
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Why the connection has to end, if a stream has told.
    pub fn take_doom(&mut self) -> Option<ConnectionFault> {
        self.doom.take()
    }

    /// Tells the other side of an error, after which nothing more is said.
    pub fn break_off(&mut self, fault: ConnectionFault) {
        frame::write_goaway(self.newest, fault.code, &mut self.out);
    }

    /// Asks the other side to open no more streams. Those that are on their way are taken: a PING that comes back behind
    /// them tells when they have come (RFC 9113 section 6.8).
    pub fn ask_to_close(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Asked;
            frame::write_goaway(LARGEST, Code::NO_ERROR, &mut self.out);
            self.ping();
        }
    }

    /// We open no more streams: the connection ends when those that are open are over.
    pub fn leave(&mut self) {
        if self.closing == Closing::No && !self.ended {
            self.closing = Closing::After(0);
            frame::write_goaway(0, Code::NO_ERROR, &mut self.out);
            self.wake_task();
        }
    }

    /// Sends a PING.
    pub fn ping(&mut self) {
        frame::write(frame::kind::PING, 0, 0, b"pointsmn", &mut self.out);
        self.wake_task();
    }

    /// Whether no stream is open and none is to come.
    pub fn is_done(&self) -> bool {
        let closes = matches!(self.closing, Closing::After(_)) || (self.role == Role::Server && self.last.is_some());
        closes && self.open == 0 && self.streams.is_empty()
    }

    /// What the other side takes.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether a client has a request whose end has not come.
    pub fn has_uploads(&self) -> bool {
        self.streams.values().any(|stream| stream.receives == Way::Open)
    }

    /// Whether its settings have come.
    pub fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// Streams that are open.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// The octets of a frame that has not come whole: they wait, too.
    pub fn has_partial(&mut self, octets: usize) {
        self.partial = octets;
        self.count();
    }

    /// Counts what waits to be taken.
    pub(super) fn count(&mut self) {
        match &mut self.counted {
            Counted::Uploads(uploads) => uploads.wait(self.queued, self.partial),
            Counted::Answers(held) => held.set(self.queued),
        }
    }

    // Streams.

    /// A stream that is there.
    pub fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(&id).map(|stream| &mut **stream)
    }

    /// The stream that we open next.
    pub(super) fn next_stream(&self) -> u32 {
        self.next
    }

    /// Ready when another stream may be opened as far as the other side's limit goes (RFC 9113 section 5.1.2), or none will
    /// ever be. `place`: in the line of those who wait; none at first. Who is told may open a stream at once, and gives the
    /// place back ([`Core::leave_line`]) where it waits no longer.
    pub fn poll_open(&mut self, place: &mut Option<u64>, context: &Context<'_>) -> Poll<()> {
        if !self.may_open() {
            if let Some(place) = place.take() {
                self.openers.leave(place);
            }
            return Poll::Ready(());
        }
        let room = self.room();
        if self.openers.is_turn(place, room, context) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Who has this place in the line waits no longer.
    pub(super) fn leave_line(&mut self, place: u64) {
        self.openers.leave(place);
        self.wake_openers();
    }

    /// Whether another stream is within the other side's limit, and nobody waits for that.
    pub fn has_room(&self) -> bool {
        self.openers.len() < self.room()
    }

    /// Streams that may be opened as far as the other side's limit goes.
    fn room(&self) -> usize {
        self.peer.streams.map_or(usize::MAX, |most| most.saturating_sub(self.open) as usize)
    }

    pub(super) fn wake_openers(&mut self) {
        let room = if self.may_open() { self.room() } else { usize::MAX };
        self.openers.wake(room);
    }

    /// Whether another stream may be opened by us.
    pub fn may_open(&self) -> bool {
        !self.ended && self.last.is_none() && self.next < LARGEST
    }

    /// Opens a stream with the head of a request, which `write` writes.
    pub fn open_stream(
        &mut self,
        ends: bool,
        awaited: Awaited,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Option<u32> {
        if !self.may_open() {
            return None;
        }
        let id = self.next;
        self.next += 2;
        let mut stream = Box::new(Stream::new(self.limits.stream_window, self.peer.window));
        stream.awaited = awaited;
        (stream.has_reader, stream.has_writer) = (true, true);
        self.streams.insert(id, stream);
        self.open += 1;
        self.write_block(id, ends, write);
        Some(id)
    }

    /// Sends the head of an answer, which `write` writes.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn send_head(
        &mut self,
        id: u32,
        ends: bool,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<(), StreamFault> {
        self.may_send(id)?;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_answered = true;
        }
        self.write_block(id, ends, write);
        Ok(())
    }

    /// Sends an interim answer, which `write` writes, unless it comes too late.
    pub(super) fn send_interim(&mut self, id: u32, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        // A client that does not read misses hints that may be left out.
        let stream = self.streams.get(&id);
        let is_in_time = stream.is_some_and(|stream| !stream.is_answered && stream.sends == Way::Open);
        if is_in_time && self.waiting().len() < MOST_HINTS {
            self.write_block(id, false, write);
        }
    }

    /// The content is wanted: a client that waits for that is told, if it has no answer yet.
    pub(super) fn invite(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.expects) else { return };
        stream.expects = false;
        self.send_interim(id, |encoder, out| {
            encoder.begin(out);
            encoder.status(100, out);
        });
    }

    /// Sends what follows the content, and with it the end.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn send_trailers(&mut self, id: u32, trailers: &HeaderMap) -> Result<(), StreamFault> {
        self.send_head(id, true, |encoder, out| {
            encoder.begin(out);
            head::write_fields(trailers, encoder, out);
        })
    }

    fn may_send(&self, id: u32) -> Result<(), StreamFault> {
        match self.streams.get(&id).map(|stream| stream.sends) {
            Some(Way::Open) => Ok(()),
            Some(Way::Failed(fault)) => Err(fault),
            Some(Way::Ended) | None => Err(StreamFault::Ended),
        }
    }

    fn write_block(&mut self, id: u32, ends: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let at = frame::begin_block(&mut self.out);
        write(&mut self.encoder, &mut self.out);
        frame::end_block(id, ends, at, self.peer.frame, &mut self.out);
        if ends {
            self.has_sent_all(id);
        }
        self.wake_task();
    }

    /// How much can be sent at once, `most` at most; woken when something can.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn poll_room(&mut self, id: u32, most: usize, context: &Context<'_>) -> Poll<Result<usize, StreamFault>> {
        if let Err(fault) = self.may_send(id) {
            return Poll::Ready(Err(fault));
        }
        let (connection, frame) = (self.connection_room(), self.peer.frame.min(FRAME));
        self.forget_gone();
        // Others came first.
        let is_first = self.starved.front().is_none_or(|first| *first == id);
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(StreamFault::Ended)) };
        let own = usize::try_from(stream.send_window).unwrap_or(0);
        let room = if is_first { own.min(connection).min(frame).min(most) } else { 0 };
        if room > 0 || most == 0 {
            if room > 0 && std::mem::take(&mut stream.is_starved) {
                self.starved.pop_front();
                // Who is next may go on when this one has sent.
                self.wake_first();
            }
            return Poll::Ready(Ok(room));
        }
        register(&mut stream.writer, context.waker());
        let was_starved = std::mem::replace(&mut stream.is_starved, own > 0);
        match (was_starved, own > 0) {
            (false, true) => self.starved.push_back(id),
            // Its own window is shut by now: it holds up nobody.
            (true, false) => {
                self.starved.retain(|starved| *starved != id);
                self.wake_first();
            }
            _ => {}
        }
        Poll::Pending
    }

    /// Those at the head of the line that send nothing any more hold up nobody.
    fn forget_gone(&mut self) {
        while let Some(id) = self.starved.front()
            && self.streams.get(id).is_none_or(|stream| stream.sends != Way::Open)
        {
            self.starved.pop_front();
        }
    }

    /// What all streams together may send now. Content leaves room for what the connection itself has to say: where there is
    /// none, nothing is read.
    fn connection_room(&self) -> usize {
        let window = usize::try_from(self.send_window).unwrap_or(0);
        window.min((MOST_OUT / 2).saturating_sub(self.waiting().len()))
    }

    /// Wakes the first of those that wait for a turn, if there is room.
    pub(super) fn wake_first(&mut self) {
        if self.starved.is_empty() || self.connection_room() == 0 {
            return;
        }
        self.forget_gone();
        let first = self.starved.front().and_then(|id| self.streams.get_mut(id));
        if let Some(writer) = first.and_then(|stream| stream.writer.take()) {
            writer.wake();
        }
    }

    /// Sends content, no more than there is room for.
    ///
    /// # Errors
    /// If the stream takes nothing more.
    pub fn send_data(&mut self, id: u32, octets: &[u8], ends: bool) -> Result<(), StreamFault> {
        self.may_send(id)?;
        let flags = if ends { frame::flag::END_STREAM } else { 0 };
        frame::write(frame::kind::DATA, flags, id, octets, &mut self.out);
        let length = i64::try_from(octets.len()).unwrap_or(i64::MAX);
        self.send_window -= length;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send_window -= length;
        }
        if ends {
            self.has_sent_all(id);
        }
        self.wake_task();
        Ok(())
    }

    fn has_sent_all(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.sends = Way::Ended;
        let is_unread = !stream.has_reader && stream.receives == Way::Open;
        if self.role == Role::Server {
            self.faults = self.faults.saturating_sub(1);
            // RFC 9113 section 8.1: the rest of the request need not be sent.
            if is_unread {
                return self.reset(id, Code::NO_ERROR);
            }
        }
        self.settle(id);
    }

    /// Gives a stream up, unless it is over: no fault of the other side.
    pub fn reset(&mut self, id: u32, code: Code) {
        self.fail(id, code, StreamFault::GivenUp);
    }

    /// The same, where `fault` is what those who serve it hear.
    pub(super) fn fail(&mut self, id: u32, code: Code, fault: StreamFault) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.is_closed() {
            frame::write_reset(id, code, &mut self.out);
            stream.fail(fault);
            self.remember_reset(id);
            self.wake_task();
        }
        self.settle(id);
    }

    pub(super) fn remember_reset(&mut self, id: u32) {
        if self.resets.len() == REMEMBERED {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
    }

    /// Whether we have reset a stream not long ago.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.resets.contains(&id)
    }

    /// What is left of a stream when something has changed.
    pub(super) fn settle(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        // Who sends nothing any more holds up nobody.
        let left_line = stream.sends != Way::Open && std::mem::take(&mut stream.is_starved);
        let is_closed = stream.is_closed();
        if left_line {
            self.starved.retain(|starved| *starved != id);
            self.wake_first();
        }
        if is_closed {
            self.settle_closed(id);
        }
    }

    fn settle_closed(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let was_counted = std::mem::take(&mut stream.is_counted);
        let is_held = stream.has_reader || stream.has_writer;
        let queued = stream.queued();
        if was_counted {
            self.open -= 1;
            self.wake_openers();
            if self.open == 0 && self.closing != Closing::No {
                self.wake_task();
            }
        }
        if is_held {
            return;
        }
        self.streams.remove(&id);
        if queued > 0 {
            self.queued -= queued;
            self.release_connection(queued);
            self.count();
        }
        if self.streams.is_empty() && (self.closing != Closing::No || self.last.is_some()) {
            self.wake_task();
        }
    }

    /// Nobody sends on it any more.
    pub(super) fn leave_writer(&mut self, id: u32, code: Code) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.has_writer = false;
        (stream.writer, stream.watcher) = (None, None);
        if stream.sends == Way::Open {
            return self.reset(id, code);
        }
        self.settle(id);
    }

    /// Nobody takes what comes any more.
    pub(super) fn leave_reader(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.has_reader = false;
        stream.reader = None;
        let queued = stream.queued();
        stream.queue = VecDeque::new();
        let (receives, sends) = (stream.receives, stream.sends);
        if queued > 0 {
            self.queued -= queued;
            self.release_connection(queued);
            self.count();
        }
        match (self.role, receives, sends) {
            // RFC 9113 section 8.1: the answer is whole, and the rest of the request need not be sent.
            (Role::Server, Way::Open, Way::Ended) => self.reset(id, Code::NO_ERROR),
            (Role::Client, Way::Open, _) => self.reset(id, Code::CANCEL),
            // The answer is whole, and whoever gave it takes the rest of the request or does not.
            (Role::Client, Way::Ended, Way::Open) => self.reset(id, Code::NO_ERROR),
            _ => self.settle(id),
        }
    }

    /// So many octets of a stream were taken: as many may be sent anew.
    pub(super) fn release(&mut self, id: u32, octets: usize) {
        self.queued -= octets;
        self.count();
        self.release_connection(octets);
        self.release_stream(id, octets);
    }

    pub(super) fn release_stream(&mut self, id: u32, octets: usize) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.receives == Way::Open) else { return };
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        stream.released = stream.released.saturating_add(octets);
        // Not for every frame: half a window is enough to go on with.
        if stream.released >= self.limits.stream_window / 2 {
            let released = std::mem::take(&mut stream.released);
            stream.receive_window += i64::from(released);
            frame::write_window(id, released, &mut self.out);
            self.wake_task();
        }
    }

    pub(super) fn release_connection(&mut self, octets: usize) {
        self.released = self.released.saturating_add(u32::try_from(octets).unwrap_or(u32::MAX));
        self.announce();
    }

    /// Allows the other side to send on: not for every frame, but before what is not taken elsewhere holds up all.
    pub(super) fn announce(&mut self) {
        let half = self.limits.connection_window.max(FIRST_WINDOW) / 2;
        if self.released >= half || (self.released > 0 && i64::from(self.released) >= self.receive_window) {
            let released = std::mem::take(&mut self.released);
            self.receive_window += i64::from(released);
            frame::write_window(0, released, &mut self.out);
            self.wake_task();
        }
    }

    /// Ready when the stream has been reset or its connection is over.
    pub fn poll_over(&mut self, id: u32, context: &Context<'_>) -> Poll<StreamFault> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(StreamFault::Ended) };
        match (stream.receives, stream.sends) {
            (Way::Failed(fault), _) | (_, Way::Failed(fault)) => Poll::Ready(fault),
            _ => {
                register(&mut stream.watcher, context.waker());
                Poll::Pending
            }
        }
    }

    /// An endpoint's answer, or one that comes before it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn poll_answer(&mut self, id: u32, context: &Context<'_>) -> Poll<Result<Box<Fields>, StreamFault>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(StreamFault::Ended)) };
        if let Some(fields) = stream.interim.pop_front().or_else(|| stream.answer.take()) {
            return Poll::Ready(Ok(fields));
        }
        match stream.receives {
            Way::Failed(fault) => Poll::Ready(Err(fault)),
            Way::Ended => Poll::Ready(Err(StreamFault::Ended)),
            Way::Open => {
                register(&mut stream.reader, context.waker());
                Poll::Pending
            }
        }
    }
}
