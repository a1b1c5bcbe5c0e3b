//! A connection to an endpoint, shared by its streams. Its task reads and writes; who asks something opens a stream.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, response};
use http_body::Body;
use hyper::ext::Protocol;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::alive::Alive;
use super::frame::{Code, ConnectionFault};
use super::handles::{Reader, Shared, Turn, Writer};
use super::head::{self, Fields};
use super::hpack::Encoder;
use super::input::{Input, Over, poll_read, poll_write};
use super::state::{Core, Counted, Limits, Role};
use super::stream::{Awaited, StreamFault};
use super::upload::{Beside, Upload};
use crate::proxy::connect::ANSWER_HEAD_BYTES;
use crate::proxy::error::AttemptFault;
use crate::proxy::held::Held;
use crate::proxy::http1::scratch::Scratch;
use crate::proxy::peer_streams::{PeerStreams, UNSAID};
use crate::proxy::request_body::{BodyFault, RequestBody};
use crate::proxy::tls::endpoint::EndpointIo;
use crate::proxy::worker::Opened;

/// Windows: what one slow stream may hold back, and all of one connection together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A dead peer is noticed by a ping.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Reads in one turn: others of the thread wait meanwhile.
const READS: u32 = 8;
/// The longest that the settings of a new connection are waited for.
const SETTINGS: Duration = Duration::from_millis(100);

/// A connection to an endpoint.
pub struct Link {
    core: Shared,
    streams: Cell<u32>,
    /// How many the endpoint takes.
    allowed: PeerStreams,
    used: Cell<bool>,
    /// It had a stream since it was looked at last, and when it was seen to have had one.
    touched: Cell<bool>,
    busy_at: Cell<Option<Instant>>,
    /// Its settings have been waited for.
    is_known: Cell<bool>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins a connection over `io`; its task belongs to `tasks`.
    pub fn begin(io: EndpointIo, opened: Opened, tasks: &TaskTracker) -> Rc<Self> {
        let limits = Limits {
            // Endpoints open none.
            streams: 0,
            list: ANSWER_HEAD_BYTES,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            // Each answer that is not valid is an error of its own stream: a bound for the connection's life would let one bad
            // answer in a thousand end those of others beside it.
            faults: u32::MAX,
        };
        let core = Core::new(Role::Client, limits, Counted::Answers(opened.held()));
        let core = Rc::new(RefCell::new(core));
        let first_read = Rc::new(Notify::new());
        let asked = core.clone();
        let ask = move || {
            let core = asked.borrow();
            match core.peer().streams {
                _ if !core.has_settings() => UNSAID,
                Some(streams) => usize::try_from(streams).unwrap_or(usize::MAX),
                None => usize::MAX,
            }
        };
        let allowed = PeerStreams::new(ask, first_read.clone());
        let driver = Driver {
            io,
            core: core.clone(),
            input: Input::of_endpoint(),
            alive: Alive::new(PING_INTERVAL, PING_TIMEOUT, true),
            held: opened.held(),
            first_read: Some(first_read),
            is_leaving: false,
            _opened: opened,
        };
        let link = Rc::new(Self {
            core,
            streams: Cell::new(0),
            allowed,
            used: Cell::new(false),
            touched: Cell::new(false),
            busy_at: Cell::new(None),
            is_known: Cell::new(false),
        });
        tasks.spawn_local(driver);
        link
    }

    /// Streams under way.
    pub fn streams(&self) -> u32 {
        // Places that were given away, and streams that are not over although their place was given back.
        self.streams.get().max(self.core.borrow().open())
    }

    /// Whether there is room for one more, where we want `ours` at most: by what the endpoint had said when that was looked
    /// at.
    pub fn has_room(&self, ours: u32) -> bool {
        self.streams() < self.allowed.most(ours)
    }

    /// How many streams the endpoint takes.
    pub fn allowed(&self) -> &PeerStreams {
        &self.allowed
    }

    /// Whether it has carried nothing for `idle`, as far as those who look see: asked from time to time.
    pub fn is_idle(&self, now: Instant, idle: Duration) -> bool {
        let is_busy = self.touched.replace(false) || self.streams() > 0;
        let busy_at = self.busy_at.get().filter(|_| !is_busy).unwrap_or(now);
        self.busy_at.set(Some(busy_at));
        now.duration_since(busy_at) >= idle
    }

    /// Whether no stream can be opened any more.
    pub fn is_closed(&self) -> bool {
        !self.core.borrow().may_open()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Nobody asks anything more: what is under way goes on, and then it is closed.
        self.core.borrow_mut().leave();
    }
}

/// A place for one stream on a connection, given back when this is dropped.
#[derive(Debug)]
pub struct Stream {
    link: Rc<Link>,
    /// Whether the connection served a request before.
    pub reused: bool,
}

/// A request that was sent, as far as its body goes.
#[derive(Debug)]
pub struct Asked {
    reader: Reader,
    /// What is left to be sent of its body.
    upload: Option<Box<Upload>>,
}

impl Asked {
    /// The head of the answer; those that come before it are handed to `interim`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        interim: &mut impl FnMut(&response::Parts),
    ) -> Poll<Result<Box<Fields>, StreamFault>> {
        // Most bodies are sent before there is an answer, and need no task.
        if self.upload.as_mut().is_some_and(|upload| Pin::new(upload).poll(context).is_ready()) {
            self.upload = None;
        }
        loop {
            match self.reader.poll_answer(context) {
                Poll::Ready(Ok(fields)) if fields.status().is_some_and(|status| status.is_informational()) => {
                    if let Ok(head) = fields.answer() {
                        interim(&head);
                    }
                }
                polled => return polled,
            }
        }
    }

    /// What follows the head of the answer. What is left of the request is sent by a task of its own.
    pub fn into_reader(self, beside: Beside<'_>) -> Reader {
        if let Some(mut upload) = self.upload {
            upload.limit(beside.stall);
            beside.tasks.spawn_local(upload);
        }
        self.reader
    }
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Answered {
    /// Its head.
    pub head: response::Parts,
    /// Its content.
    pub body: Reader,
    /// The way to the endpoint, where it is to be a tunnel.
    pub tunnel: Option<Writer>,
}

impl Stream {
    /// Takes a place.
    pub fn new(link: Rc<Link>) -> Self {
        link.streams.set(link.streams.get() + 1);
        link.touched.set(true);
        let reused = link.used.replace(true);
        Self { link, reused }
    }

    /// Whether the endpoint takes WebSockets as streams (RFC 8441 section 3). Its settings follow its end of the handshake:
    /// on a new connection they are waited for, once.
    pub async fn takes_websockets(&self) -> bool {
        let link = &self.link;
        let takes = || link.core.borrow().peer().takes_protocols;
        let deadline = Instant::now() + SETTINGS;
        while !takes() && !link.is_known.get() && Instant::now() < deadline {
            tokio::time::sleep(SETTINGS / 50).await;
        }
        link.is_known.set(true);
        takes()
    }

    /// Sends a request and waits for the beginning of the answer; `interim` hears of those that come before it. What is left of
    /// the request's body is sent by a task of its own.
    ///
    /// # Errors
    /// Why none came.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        beside: Beside<'_>,
        interim: impl FnMut(&response::Parts),
    ) -> Result<Answered, AttemptFault> {
        let core = &self.link.core;
        Turn::new(core.clone()).await;
        let (head, body) = request.into_parts();
        let awaited = match head.method {
            Method::CONNECT => Awaited::Tunnel,
            Method::HEAD => Awaited::HeadAlone,
            _ => Awaited::Content,
        };
        let is_tunnel = awaited == Awaited::Tunnel;
        let ends = body.is_end_stream() && !is_tunnel;
        let protocol = head.extensions.get::<Protocol>().map(Protocol::as_str);
        let id = core.borrow_mut().open_stream(ends, awaited, |encoder, out| {
            head::write_request(&head, protocol, encoder, out);
        });
        let Some(id) = id else { return Err(AttemptFault::Unsent { reused: self.reused }) };
        drop(head);
        if is_tunnel {
            let asked = Asked { reader: Reader::new(core.clone(), id), upload: None };
            let writer = Writer::new(core.clone(), id);
            let answered = self.hear(asked, beside, interim).await?;
            if answered.head.status.is_success() {
                return Ok(Answered { tunnel: Some(writer), ..answered });
            }
            // It becomes none: nothing more is said, and the answer is read to its end.
            let _ = writer.send_data(&[], true);
            return Ok(answered);
        }
        self.hear(self.asked(id, ends, body), beside, interim).await
    }

    /// Sends a request whose head `write` writes, if that can be done at once.
    pub fn open(&self, body: RequestBody, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Option<Asked> {
        let core = &self.link.core;
        if !core.borrow().has_room() {
            return None;
        }
        let ends = body.is_end_stream();
        let id = core.borrow_mut().open_stream(ends, Awaited::Content, write)?;
        Some(self.asked(id, ends, body))
    }

    fn asked(&self, id: u32, ends: bool, body: RequestBody) -> Asked {
        let core = &self.link.core;
        let (reader, writer) = (Reader::new(core.clone(), id), Writer::new(core.clone(), id));
        let upload = if ends { None } else { Some(Box::new(Upload::new(writer, body))) };
        Asked { reader, upload }
    }

    /// Waits for the beginning of the answer to what was asked.
    ///
    /// # Errors
    /// Why none came.
    pub async fn hear(
        &self,
        mut asked: Asked,
        beside: Beside<'_>,
        mut interim: impl FnMut(&response::Parts),
    ) -> Result<Answered, AttemptFault> {
        let answer = poll_fn(|context| asked.poll_answer(context, &mut interim)).await;
        let fields = answer.map_err(|fault| self.classify(fault))?;
        answered(&fields, asked, beside)
    }

    /// What a stream's end before its answer means.
    pub fn classify(&self, fault: StreamFault) -> AttemptFault {
        match fault {
            // RFC 9113 section 8.7: it was not processed, whatever was wrong.
            StreamFault::Unprocessed => AttemptFault::Refused,
            StreamFault::Broken(_) => AttemptFault::Invalid,
            // Its connection is alive, and the endpoint has failed.
            StreamFault::Reset(_) | StreamFault::Stalled => {
                AttemptFault::Died { reused: false, error: Box::new(fault) }
            }
            // Of what we wait for, that is given up alone whose request's body has failed.
            StreamFault::GivenUp => AttemptFault::Body(BodyFault::Broken),
            // One that was kept may have died of old age.
            StreamFault::Ended => AttemptFault::Died { reused: self.reused, error: Box::new(fault) },
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.streams.set(self.link.streams.get().saturating_sub(1));
    }
}

/// An answer whose head has come.
///
/// # Errors
/// If it is no answer.
pub fn answered(fields: &Fields, asked: Asked, beside: Beside<'_>) -> Result<Answered, AttemptFault> {
    let head = fields.answer().map_err(|_| AttemptFault::Invalid)?;
    Ok(Answered { head, body: asked.into_reader(beside), tunnel: None })
}

/// The task of a connection.
#[derive(Debug)]
struct Driver {
    io: EndpointIo,
    core: Shared,
    input: Input,
    alive: Alive,
    /// What is left to be written after a turn.
    held: Held,
    /// Told when something is read for the first time.
    first_read: Option<Rc<Notify>>,
    is_leaving: bool,
    _opened: Opened,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        driver.core.borrow_mut().runs(context);
        // One that broke the rules is told so first.
        let is_over = !driver.is_leaving && driver.read(context).is_err();
        if is_over && !driver.is_leaving {
            return Poll::Ready(());
        }
        let mut core = driver.core.borrow_mut();
        driver.is_leaving |= core.is_done();
        // Also one that takes nothing more is asked whether it is there.
        if driver.alive.poll(&mut core, context).is_ready() {
            core.end(StreamFault::Ended);
            return Poll::Ready(());
        }
        let was_full = core.is_full();
        let waited = core.waiting().len();
        let written = poll_write(&mut driver.io, &mut core, context);
        let waits = core.waiting().len();
        driver.held.set(waits);
        if waits < waited {
            driver.alive.speaks();
        }
        if matches!(written, Poll::Ready(Err(_))) {
            core.end(StreamFault::Ended);
            return Poll::Ready(());
        }
        // Nobody waits for what an endpoint does not take at the end.
        if driver.is_leaving {
            return Poll::Ready(());
        }
        if written.is_ready() {
            core.rests();
            if was_full {
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Driver {
    /// `Err`: nothing more comes.
    fn read(&mut self, context: &mut Context<'_>) -> Result<(), ()> {
        let mut scratch = Scratch::take();
        for _ in 0..READS {
            if self.core.borrow().is_full() {
                return Ok(());
            }
            // Endpoints ask nothing.
            let state = (&mut self.input, &*self.core);
            let Poll::Ready(read) = poll_read(&mut self.io, &mut scratch, state, context, |_| ()) else {
                return Ok(());
            };
            if let Some(first_read) = self.first_read.take() {
                first_read.notify_one();
            }
            match read {
                Ok(()) => self.alive.speaks(),
                Err(Over::Fault(fault)) => {
                    self.breaks(fault);
                    return Err(());
                }
                Err(Over::Ended | Over::Broken(_)) => {
                    self.core.borrow_mut().end(StreamFault::Ended);
                    return Err(());
                }
            }
        }
        context.waker().wake_by_ref();
        Ok(())
    }

    /// The endpoint breaks the rules: it is told, and its streams have broken them.
    fn breaks(&mut self, fault: ConnectionFault) {
        debug!(error = %fault, "connection to an endpoint ended");
        let mut core = self.core.borrow_mut();
        // RFC 9113 section 5.4.1: whose stream broke them is known of some errors only; the others have lost their connection.
        let of_streams = match fault.code {
            Code::PROTOCOL_ERROR => StreamFault::Broken(fault.code),
            _ => StreamFault::Ended,
        };
        core.end(of_streams);
        core.break_off(fault);
        self.is_leaving = true;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.core.borrow_mut().end(StreamFault::Ended);
    }
}
