//! One request and the beginning of its answer on one upstream connection.
//!
//! An HTTP/1.1 connection is driven inside the future of whoever uses it: no task and no wake-up of its own, and what
//! lies in the pool is polled by nobody. An HTTP/2 connection is shared by streams and has its own task.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::error::AttemptFault;
use super::http1::stays;
use super::http1::upstream::Bare;
use super::peer_streams::PeerStreams;
use super::request_body::{BodyFault, RequestBody};
use super::tls::endpoint::EndpointIo;
use super::worker::Opened;

/// The longest that the settings of a new connection are waited for.
const SETTINGS: Duration = Duration::from_millis(100);

/// What drives an HTTP/1.1 connection.
pub type Driver = Pin<Box<http1::Connection<TokioIo<EndpointIo>, RequestBody>>>;

/// An HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// `None`: the connection has ended.
    driver: Option<Driver>,
    /// Whether it served a request before.
    pub reused: bool,
    /// Until when it may be used again, if its endpoint has said so ([`stays`]).
    pub until: Option<Instant>,
    opened: Opened,
}

impl Http1 {
    /// Takes a connection that was just opened.
    pub fn new(sender: http1::SendRequest<RequestBody>, driver: Driver, opened: Opened) -> Self {
        Self { sender, driver: Some(driver), reused: false, until: None, opened }
    }

    /// Sends a request and waits for the beginning of the answer.
    ///
    /// # Errors
    /// Why none came.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, AttemptFault> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        let answer = poll_fn(|context| {
            // The connection first: it writes the request and finds the answer. One that has ended before it took the
            // request gives it back when it is dropped, and not before.
            poll_driver(driver, context);
            answer.as_mut().poll(context)
        });
        let answer = answer.await.map_err(|error| classify(error, self.reused))?;
        self.until = stays::end(answer.headers());
        Ok(answer)
    }

    /// Lets the connection work. It may have ended afterwards.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        poll_driver(&mut self.driver, context);
    }

    /// Whether another request can be sent; looks at the socket, so that an end is noticed.
    pub fn is_reusable(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// The socket alone, if it is in clear text and nothing was read from it that nobody has looked at.
    pub fn into_bare(self) -> Option<Bare> {
        let parts = Pin::into_inner(self.driver?).into_parts();
        let stream = parts.io.into_inner().into_plain().filter(|_| parts.read_buf.is_empty())?;
        Some(Bare::new(stream, self.opened))
    }

    /// Gives up the handle and returns what drives the connection, for a task of its own; `None`: it has ended.
    pub fn into_driver(self) -> (http1::SendRequest<RequestBody>, Option<Driver>, Opened) {
        (self.sender, self.driver, self.opened)
    }
}

fn poll_driver(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    // An error reaches whoever waits for the answer or reads its body.
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
}

/// Sends a request on a connection that a task of its own drives.
///
/// # Errors
/// Why no answer came.
pub async fn send_detached(
    sender: &mut http1::SendRequest<RequestBody>,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, AttemptFault> {
    sender.try_send_request(request).await.map_err(|error| classify(error, false))
}

/// An HTTP/2 connection to an endpoint, shared by its streams.
pub struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    streams: Cell<u32>,
    /// How many the endpoint takes.
    allowed: PeerStreams,
    used: Cell<bool>,
    /// It had a stream since it was looked at last, and when it was seen to have had one.
    touched: Cell<bool>,
    busy_at: Cell<Option<Instant>>,
    /// Whether its settings say that it takes WebSockets.
    takes_websockets: Box<dyn Fn() -> bool>,
    /// Its settings have been waited for.
    is_known: Cell<bool>,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Http2 {
    /// Takes a connection that was just opened; `takes_websockets` says what its settings say by now.
    pub fn new(
        sender: http2::SendRequest<RequestBody>,
        allowed: PeerStreams,
        takes_websockets: impl Fn() -> bool + 'static,
    ) -> Self {
        Self {
            sender,
            streams: Cell::new(0),
            allowed,
            used: Cell::new(false),
            touched: Cell::new(false),
            busy_at: Cell::new(None),
            takes_websockets: Box::new(takes_websockets),
            is_known: Cell::new(false),
        }
    }

    /// Streams under way.
    pub fn streams(&self) -> u32 {
        self.streams.get()
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

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A place for one stream on an HTTP/2 connection, given back when this is dropped.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Http2>,
    /// Whether the connection served a request before.
    pub reused: bool,
}

impl Stream {
    /// Takes a place.
    pub fn new(connection: Rc<Http2>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection.touched.set(true);
        let reused = connection.used.replace(true);
        Self { connection, reused }
    }

    /// Whether the endpoint takes WebSockets as streams (RFC 8441 section 3). Its settings follow its end of the handshake:
    /// on a new connection they are waited for, once.
    pub async fn takes_websockets(&self) -> bool {
        let connection = &self.connection;
        let deadline = Instant::now() + SETTINGS;
        while !(connection.takes_websockets)() && !connection.is_known.get() && Instant::now() < deadline {
            tokio::time::sleep(SETTINGS / 50).await;
        }
        connection.is_known.set(true);
        (connection.takes_websockets)()
    }

    /// Sends a request and waits for the beginning of the answer.
    ///
    /// # Errors
    /// Why none came.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, AttemptFault> {
        let mut sender = self.connection.sender.clone();
        sender.try_send_request(request).await.map_err(|error| classify(error, self.reused))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get().saturating_sub(1));
    }
}

fn classify(mut error: TrySendError<Request<RequestBody>>, reused: bool) -> AttemptFault {
    if error.take_message().is_some() {
        return AttemptFault::Unsent { reused };
    }
    let error = error.into_error();
    if let Some(fault) = find::<BodyFault>(&error) {
        return AttemptFault::Body(*fault);
    }
    if is_unprocessed(&error) {
        return AttemptFault::Refused;
    }
    match error.is_parse() || error.is_parse_status() || is_protocol_error(&error) {
        true => AttemptFault::Invalid,
        // A connection that was kept may have died of old age; one of whose streams is reset is alive, and the endpoint has
        // failed.
        false => AttemptFault::Died { reused: reused && !is_stream_reset(&error), error: Box::new(error) },
    }
}

/// RFC 9113 section 5.4.2: an error of one stream, which leaves the connection as it is.
fn is_stream_reset(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(h2::Error::is_reset)
}

/// RFC 9113 section 8.7: REFUSED_STREAM, and streams above the last of a GOAWAY, were not processed, whatever the GOAWAY
/// says was wrong (section 6.8). The streams that it leaves to be finished are not given this error, and those that the
/// connection's end then cuts off are given one of input.
fn is_unprocessed(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        refused || (error.is_go_away() && error.is_remote())
    })
}

/// The peer broke the rules of HTTP/2, as our side saw it.
fn is_protocol_error(error: &hyper::Error) -> bool {
    let broken = |error: &h2::Error| error.is_library() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR);
    find::<h2::Error>(error).is_some_and(broken)
}

fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut error = Some(error);
    while let Some(current) = error {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        error = current.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpStream};

    use super::super::connect;
    use super::super::metrics::Shard;
    use super::super::request_body::RequestSource;
    use super::*;

    /// The end is read before anything is written: the request would wait in the queue of a connection that is no more.
    #[tokio::test]
    async fn a_new_connection_that_is_closed_already_gives_the_request_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().await.unwrap());
        stream.readable().await.unwrap();
        let opened = Opened::count(Arc::<Shard>::default());
        let mut connection = connect::http1_over(EndpointIo::Plain(stream), opened).await.unwrap();
        let request = Request::new(RequestSource::empty().reader());
        let sent = tokio::time::timeout(Duration::from_secs(5), connection.send(request)).await.unwrap();
        assert!(matches!(sent, Err(AttemptFault::Unsent { reused: false })), "{sent:?}");
        assert!(!connection.is_reusable());
    }
}
