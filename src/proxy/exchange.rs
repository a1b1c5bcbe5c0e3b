//! One request and the beginning of its answer on one upstream connection, as hyper speaks HTTP/1.1.
//!
//! An HTTP/1.1 connection is driven inside the future of whoever uses it: no task and no wake-up of its own, and what
//! lies in the pool is polled by nobody.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Waker};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::error::AttemptFault;
use super::http1::stays;
use super::http1::upstream::Bare;
use super::request_body::{BodyFault, RequestBody};
use super::tls::endpoint::EndpointIo;
use super::worker::Opened;

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

    /// Sends a request and waits for the beginning of the answer; `read` is called whenever something may have been read, before
    /// the answer is given.
    ///
    /// # Errors
    /// Why none came.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
        mut read: impl FnMut(),
    ) -> Result<Response<Incoming>, AttemptFault> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        let answer = poll_fn(|context| {
            // The connection first: it writes the request and finds the answer. One that has ended before it took the
            // request gives it back when it is dropped, and not before.
            poll_driver(driver, context);
            read();
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

fn classify(mut error: TrySendError<Request<RequestBody>>, reused: bool) -> AttemptFault {
    if error.take_message().is_some() {
        return AttemptFault::Unsent { reused };
    }
    let error = error.into_error();
    if let Some(fault) = find::<BodyFault>(&error) {
        return AttemptFault::Body(*fault);
    }
    match error.is_parse() || error.is_parse_status() {
        true => AttemptFault::Invalid,
        // A connection that was kept may have died of old age.
        false => AttemptFault::Died { reused, error: Box::new(error) },
    }
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
    use std::time::Duration;

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
        let sent = tokio::time::timeout(Duration::from_secs(5), connection.send(request, || ())).await.unwrap();
        assert!(matches!(sent, Err(AttemptFault::Unsent { reused: false })), "{sent:?}");
        assert!(!connection.is_reusable());
    }
}
