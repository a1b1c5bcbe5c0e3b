//! DNS over TCP (RFC 7766) and over TLS (RFC 7858): messages with a length before each, as many on a connection as the
//! client likes. And whatever else comes over connections: they are accepted here.
//!
//! All queries that have arrived are answered with one write. Bounded: connections by a cap for each worker, with
//! the permit taken before the accept; a connection's memory by one message and what is answered at a time; its time
//! by the last complete query, so that trickling octets buys none. An idle connection has no buffers.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::https;
use super::stream::Stream;

use crate::dns::Draining;
use crate::dns::metrics::Count;
use crate::dns::source::LoadNames;
use crate::dns::transfer;
use crate::dns::wire::{Transport, read_u16};
use crate::dns::worker::{Reply, Worker};
use crate::socket::{HANDSHAKES, refuse_new};

/// Answers are sent once they have this many octets, before more queries are answered.
const WRITE: usize = 64 * 1024;

/// What a connection is left once the drain has begun: enough for a query that is under way.
const DRAIN_IDLE: Duration = Duration::from_millis(500);

/// How long a handshake of TLS may take, where idle connections may stay for longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The first pause after an accept that failed for want of resources; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What becomes of connections that wait to be accepted when the listener is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtTheEnd {
    /// They are accepted: nobody else would, and the kernel would reset them.
    Empty,
    /// They are left to whoever inherits the socket after us.
    Leave,
}

/// What the connections of a listener carry.
#[derive(Clone)]
pub(crate) enum Carries {
    /// Messages.
    Messages,
    /// Messages within TLS.
    Tls(TlsAcceptor),
    /// HTTP/2 within TLS, with queries at this path.
    Https(TlsAcceptor, Rc<str>),
}

/// A listener and its connections.
pub(crate) struct TcpServer<L> {
    listener: TcpListener,
    carries: Carries,
    queue: AtTheEnd,
    worker: Rc<Worker<L>>,
    connections: JoinSet<()>,
}

impl<L: LoadNames + 'static> TcpServer<L> {
    /// Takes a listening socket over; needs a runtime.
    pub(crate) fn new(
        listener: std::net::TcpListener,
        carries: Carries,
        queue: AtTheEnd,
        worker: Rc<Worker<L>>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { listener, carries, queue, worker, connections: JoinSet::new() })
    }

    /// Serves until the drain begins; then takes what waits to be accepted, and ends with the last connection.
    pub(crate) async fn run(mut self, draining: Draining) {
        let mut signal = draining.clone();
        self.accept_until(signal.ended(), &draining).await;
        if self.queue == AtTheEnd::Empty && !draining.is_handed_over() {
            if let Err(error) = refuse_new(&self.listener) {
                tracing::debug!(%error, "a connection may be reset while the listener closes");
            }
            self.accept_until(tokio::time::sleep(HANDSHAKES), &draining).await;
            return self.drain(&draining).await;
        }
        let Self { listener, mut connections, .. } = self;
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn accept_until(&mut self, end: impl Future<Output = ()>, draining: &Draining) {
        let mut drain = pin!(end);
        let mut pause = FIRST_PAUSE;
        let worker = self.worker.clone();
        loop {
            // Cancel safe: a slot that was found is not taken before the accept; `accept` loses no connection.
            let accepted = tokio::select! {
                accepted = async { worker.slot().await; self.listener.accept().await } => accepted,
                Some(_) = self.connections.join_next() => continue,
                () = &mut drain => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = FIRST_PAUSE;
                    start(&mut self.connections, &self.carries, &self.worker, stream, draining);
                }
                Err(error) => {
                    self.worker.metrics.count(Count::AcceptErrors);
                    if is_of_the_connection(&error) {
                        continue;
                    }
                    // EMFILE and its like last, and the listener stays ready: without a pause this would spin.
                    tracing::debug!(%error, "accepting a connection failed");
                    if timeout(pause, &mut drain).await.is_ok() {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Connections that the kernel has completed would be reset if the listener were closed over them.
    async fn drain(self, draining: &Draining) {
        let Self { listener, carries, worker, mut connections, .. } = self;
        match listener.into_std() {
            Ok(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    if let Ok(stream) = stream {
                        start(&mut connections, &carries, &worker, stream, draining);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "a listener could not be drained"),
        }
        while connections.join_next().await.is_some() {}
    }
}

fn start<L: LoadNames + 'static>(
    connections: &mut JoinSet<()>,
    carries: &Carries,
    worker: &Rc<Worker<L>>,
    stream: TcpStream,
    draining: &Draining,
) {
    // Counted before the task runs, so that the next look at the cap sees it.
    let connected = worker.connected();
    let draining = draining.clone();
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let client = stream.peer_addr().ok().map(|address| address.ip());
    match carries.clone() {
        Carries::Messages => connections.spawn_local(async move {
            Connection::new(stream, Transport::Tcp, client, &connected.0).run(draining).await;
        }),
        Carries::Tls(acceptor) => connections.spawn_local(async move {
            let Some(stream) = shake_hands(&acceptor, stream, &connected.0, draining.clone()).await else { return };
            Connection::new(Box::new(stream), Transport::Tls, client, &connected.0).run(draining).await;
        }),
        Carries::Https(acceptor, path) => connections.spawn_local(async move {
            let Some(stream) = shake_hands(&acceptor, stream, &connected.0, draining.clone()).await else { return };
            https::serve(stream, client, path, &connected.0, draining).await;
        }),
    };
}

/// Makes a connection secure; `None`: it failed, took too long, or the drain has begun.
async fn shake_hands<L: LoadNames>(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    worker: &Worker<L>,
    mut draining: Draining,
) -> Option<TlsStream<TcpStream>> {
    let drained = async {
        draining.begun().await;
        tokio::time::sleep(DRAIN_IDLE).await;
    };
    let patience = worker.idle_time().min(HANDSHAKE);
    // Not cancel safe, and need not be: with the handshake the connection ends.
    let shaken = tokio::select! {
        shaken = timeout(patience, acceptor.accept(stream)) => shaken,
        () = drained => return None,
    };
    let stream = shaken.ok().and_then(Result::ok);
    if stream.is_none() {
        worker.metrics.count(Count::TlsFailed);
    }
    stream
}

/// Errors of the one connection that was to be accepted (accept(2)); the next one may be fine.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown)
}

struct Connection<'w, S, L> {
    stream: S,
    transport: Transport,
    client: Option<IpAddr>,
    worker: &'w Rc<Worker<L>>,
    queries: Vec<u8>,
    answers: Vec<u8>,
    /// Answers that others are asked for; they come in any order (RFC 7766 §6.2.1.1). The worker bounds them.
    forwarded: JoinSet<Vec<u8>>,
}

/// Why a connection ends.
enum End {
    /// The client closed it, or it broke.
    Closed,
    /// No complete query in time.
    Idle,
    /// Answers were not taken in time.
    Slow,
    /// What came is no query; whatever follows cannot be trusted to be one either.
    Foreign,
}

impl<'w, S: Stream, L: LoadNames + 'static> Connection<'w, S, L> {
    fn new(stream: S, transport: Transport, client: Option<IpAddr>, worker: &'w Rc<Worker<L>>) -> Self {
        Self { stream, transport, client, worker, queries: Vec::new(), answers: Vec::new(), forwarded: JoinSet::new() }
    }

    async fn run(mut self, draining: Draining) {
        match self.serve(draining).await {
            End::Idle => self.worker.metrics.count(Count::TcpIdle),
            End::Slow => self.worker.metrics.count(Count::TcpSlow),
            End::Closed | End::Foreign => {}
        }
    }

    async fn serve(&mut self, mut draining: Draining) -> End {
        let mut drained = pin!(async {
            draining.begun().await;
            tokio::time::sleep(DRAIN_IDLE).await;
        });
        let mut last_query = Instant::now();
        loop {
            let deadline = last_query + self.worker.idle_time();
            let Self { stream, queries, forwarded, .. } = self;
            // Cancel safe: what was read is among the queries; the others only wait.
            let read = tokio::select! {
                read = timeout_at(deadline, stream.read(queries)) => read,
                Some(answer) = forwarded.join_next() => {
                    if let Err(end) = self.write_forwarded(answer).await {
                        return end;
                    }
                    last_query = Instant::now();
                    continue;
                }
                () = &mut drained => return End::Closed,
            };
            match read {
                // It may have closed its side only: what it asked for is still sent.
                Ok(Ok(0)) => return self.write_last().await,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return End::Closed,
                Err(_) => return End::Idle,
            }
            match self.answer_all().await {
                Ok(0) => {}
                Ok(_) => last_query = Instant::now(),
                Err(end) => return end,
            }
        }
    }

    async fn write_last(&mut self) -> End {
        while let Some(answer) = self.forwarded.join_next().await {
            if let Err(end) = self.write_forwarded(answer).await {
                return end;
            }
        }
        End::Closed
    }

    async fn write_forwarded(&mut self, answer: Result<Vec<u8>, JoinError>) -> Result<(), End> {
        let Some((length, answer)) = answer.ok().and_then(|answer| Some((u16::try_from(answer.len()).ok()?, answer)))
        else {
            return Ok(());
        };
        self.answers.extend_from_slice(&length.to_be_bytes());
        self.answers.extend_from_slice(&answer);
        self.write().await?;
        self.answers = Vec::new();
        Ok(())
    }

    /// Answers the complete queries; returns how many there were.
    async fn answer_all(&mut self) -> Result<usize, End> {
        let mut read = 0;
        let mut total = 0;
        loop {
            let step = self.answer_some(&mut read);
            total += step.queries;
            self.write().await?;
            if step.is_foreign {
                return Err(End::Foreign);
            }
            if let Some(request) = step.transfer {
                self.send_zone(*request).await?;
            }
            if step.is_last {
                break;
            }
            // Many answers to one client must not keep the others waiting.
            tokio::task::yield_now().await;
        }
        if read == self.queries.len() {
            self.queries = Vec::new();
        } else {
            self.queries.drain(..read);
        }
        self.answers = Vec::new();
        Ok(total)
    }

    /// Sends a zone as fast as the client takes it.
    async fn send_zone(&mut self, request: transfer::Request) -> Result<(), End> {
        let worker = self.worker;
        let Some((mut messages, _permit)) = worker.transfer(request).await else { return Err(End::Slow) };
        let mut is_first = true;
        while let Some(message) = messages.recv().await {
            let Ok(length) = u16::try_from(message.len()) else { break };
            if std::mem::take(&mut is_first) {
                worker.log(self.transport, self.client, &message);
            }
            self.answers.extend_from_slice(&length.to_be_bytes());
            self.answers.extend_from_slice(&message);
            self.write().await?;
        }
        Ok(())
    }

    /// Answers complete queries from `read` on, until there is enough to be sent.
    fn answer_some(&mut self, read: &mut usize) -> Step {
        let Self { worker, transport, client, queries, answers, forwarded, .. } = self;
        let mut step = Step { queries: 0, is_last: false, is_foreign: false, transfer: None };
        worker.with_names(|names| {
            while answers.len() < WRITE {
                let Some(query) = next_message(queries, *read) else {
                    step.is_last = true;
                    return;
                };
                *read += 2 + query.len();
                let start = answers.len();
                answers.extend_from_slice(&[0; 2]);
                match names.answer(*transport, *client, query, answers) {
                    Reply::Ready => {}
                    Reply::None => {
                        answers.truncate(start);
                        step.is_foreign = true;
                        return;
                    }
                    Reply::Transfer(request) => {
                        answers.truncate(start);
                        step.queries += 1;
                        step.transfer = Some(request);
                        return;
                    }
                    Reply::Later(waiting) => {
                        answers.truncate(start);
                        step.queries += 1;
                        let (worker, client) = (worker.clone(), *client);
                        // Only over UDP is an answer held back.
                        forwarded
                            .spawn_local(async move { worker.forwarded(client, waiting).await.unwrap_or_default() });
                        continue;
                    }
                }
                let length = u16::try_from(answers.len() - start - 2).expect("no answer is longer than its limit");
                answers[start..start + 2].copy_from_slice(&length.to_be_bytes());
                step.queries += 1;
            }
        });
        step
    }

    async fn write(&mut self) -> Result<(), End> {
        if self.answers.is_empty() {
            return Ok(());
        }
        match timeout(self.worker.idle_time(), self.stream.write(&self.answers)).await {
            Ok(Ok(())) => self.answers.clear(),
            Ok(Err(_)) => return Err(End::Closed),
            Err(_) => return Err(End::Slow),
        }
        Ok(())
    }
}

/// How far the answering got.
struct Step {
    queries: usize,
    /// No complete query is left.
    is_last: bool,
    /// Something came that is no query.
    is_foreign: bool,
    /// A zone is to be sent before the next query is answered.
    transfer: Option<Box<transfer::Request>>,
}

/// The message whose length stands at `at`, if it is complete.
fn next_message(octets: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(read_u16(octets, at)?);
    octets.get(at + 2..at + 2 + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::kept::Kept;
    use crate::dns::sample::Sample;
    use std::sync::Arc;
    use tokio::sync::watch;

    #[test]
    fn messages_are_told_apart_by_their_lengths() {
        let octets = [0, 3, b'a', b'b', b'c', 0, 0, 0, 2, b'd'];
        assert_eq!(next_message(&octets, 0), Some(&b"abc"[..]));
        assert_eq!(next_message(&octets, 5), Some(&b""[..]));
        assert_eq!(next_message(&octets, 7), None);
        assert_eq!(next_message(&octets, 9), None);
        assert_eq!(next_message(&octets, 10), None);
    }

    #[tokio::test]
    async fn a_connection_costs_little_while_it_is_idle() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let kept = Rc::new(Kept::new(Arc::default()));
        let worker = Rc::new(Worker::new(Arc::new(Sample::new("mesos")), None, None, kept));
        let draining = Draining(watch::channel(crate::dns::Drain::Serving).1);
        let serving = Connection::new(stream, Transport::Tcp, None, &worker).run(draining);
        let size = size_of_val(&serving);
        assert!(size <= 1536, "{size}");
    }
}
