//! DNS over TCP (RFC 7766): messages with a length before each, as many on a connection as the client likes.
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

use crate::dns::Draining;
use crate::dns::metrics::Count;
use crate::dns::source::LoadNames;
use crate::dns::wire::{Transport, read_u16};
use crate::dns::worker::{Reply, Worker};
use crate::socket::{HANDSHAKES, refuse_new};

/// Octets read at a time.
const READ: usize = 16 * 1024;

/// Answers are sent once they have this many octets, before more queries are answered.
const WRITE: usize = 64 * 1024;

/// What a connection is left once the drain has begun: enough for a query that is under way.
const DRAIN_IDLE: Duration = Duration::from_millis(500);

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

/// A listener and its connections.
pub(crate) struct TcpServer<L> {
    listener: TcpListener,
    queue: AtTheEnd,
    worker: Rc<Worker<L>>,
    connections: JoinSet<()>,
}

impl<L: LoadNames + 'static> TcpServer<L> {
    /// Takes a listening socket over; needs a runtime.
    pub(crate) fn new(listener: std::net::TcpListener, queue: AtTheEnd, worker: Rc<Worker<L>>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(listener)?, queue, worker, connections: JoinSet::new() })
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
                    start(&mut self.connections, &self.worker, stream, draining);
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
        let Self { listener, worker, mut connections, .. } = self;
        match listener.into_std() {
            Ok(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    if let Ok(stream) = stream {
                        start(&mut connections, &worker, stream, draining);
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
    worker: &Rc<Worker<L>>,
    stream: TcpStream,
    draining: &Draining,
) {
    // Counted before the task runs, so that the next look at the cap sees it.
    let connected = worker.connected();
    let draining = draining.clone();
    connections.spawn_local(async move { Connection::new(stream, &connected.0).run(draining).await });
}

/// Errors of the one connection that was to be accepted (accept(2)); the next one may be fine.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkDown)
}

struct Connection<'w, L> {
    stream: TcpStream,
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

impl<'w, L: LoadNames + 'static> Connection<'w, L> {
    fn new(stream: TcpStream, worker: &'w Rc<Worker<L>>) -> Self {
        // Answers are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let client = stream.peer_addr().ok().map(|address| address.ip());
        Self { stream, client, worker, queries: Vec::new(), answers: Vec::new(), forwarded: JoinSet::new() }
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
            // Cancel safe: all only wait.
            let waited = tokio::select! {
                waited = wait_for_octets(&self.stream, last_query + self.worker.idle_time()) => waited,
                Some(answer) = self.forwarded.join_next() => {
                    if let Err(end) = self.write_forwarded(answer).await {
                        return end;
                    }
                    last_query = Instant::now();
                    continue;
                }
                () = &mut drained => return End::Closed,
            };
            if let Err(end) = waited {
                return end;
            }
            match self.read() {
                Ok(true) => {}
                // It may have closed its side only: what it asked for is still sent.
                Ok(false) => return self.write_last().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return End::Closed,
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

    /// Reads what has arrived; `false`: the client will send no more.
    fn read(&mut self) -> io::Result<bool> {
        self.queries.reserve(READ);
        let result = self.stream.try_read_buf(&mut self.queries);
        if self.queries.is_empty() {
            self.queries = Vec::new();
        }
        Ok(result? > 0)
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

    /// Answers complete queries from `read` on, until there is enough to be sent.
    fn answer_some(&mut self, read: &mut usize) -> Step {
        let Self { worker, client, queries, answers, forwarded, .. } = self;
        let mut step = Step { queries: 0, is_last: false, is_foreign: false };
        worker.with_names(|names| {
            while answers.len() < WRITE {
                let Some(query) = next_message(queries, *read) else {
                    step.is_last = true;
                    return;
                };
                *read += 2 + query.len();
                let start = answers.len();
                answers.extend_from_slice(&[0; 2]);
                match names.answer(Transport::Tcp, *client, query, answers) {
                    Reply::Ready => {}
                    Reply::None => {
                        answers.truncate(start);
                        step.is_foreign = true;
                        return;
                    }
                    Reply::Later(waiting) => {
                        answers.truncate(start);
                        step.queries += 1;
                        let worker = worker.clone();
                        forwarded.spawn_local(async move { worker.forwarded(waiting).await });
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
        let mut rest = self.answers.as_slice();
        let deadline = Instant::now() + self.worker.idle_time();
        while !rest.is_empty() {
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match timeout_at(deadline, self.stream.writable()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(End::Closed),
                        Err(_) => return Err(End::Slow),
                    }
                }
                Err(_) => return Err(End::Closed),
            }
        }
        self.answers.clear();
        Ok(())
    }
}

async fn wait_for_octets(stream: &TcpStream, deadline: Instant) -> Result<(), End> {
    match timeout_at(deadline, stream.readable()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Closed),
        Err(_) => Err(End::Idle),
    }
}

/// How far the answering got.
struct Step {
    queries: usize,
    /// No complete query is left.
    is_last: bool,
    /// Something came that is no query.
    is_foreign: bool,
}

/// The message whose length stands at `at`, if it is complete.
fn next_message(octets: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(read_u16(octets, at)?);
    octets.get(at + 2..at + 2 + length)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let worker = Rc::new(Worker::new(Arc::new(Sample::new("mesos")), [].into(), Arc::default()));
        let draining = Draining(watch::channel(crate::dns::Drain::Serving).1);
        let serving = Connection::new(stream, &worker).run(draining);
        let size = size_of_val(&serving);
        assert!(size <= 1536, "{size}");
    }
}
