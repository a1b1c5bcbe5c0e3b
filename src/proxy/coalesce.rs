//! Gathers what an HTTP/2 connection writes in one turn into one system call.
//!
//! The HTTP/2 implementation writes and flushes each DATA frame by itself. Here its writes go into a buffer, its
//! flushes are taken as done, and a wrapper around what drives the connection sends the buffer after each turn: a
//! quarter less processor time per request where many streams are busy. The buffer is bounded; beyond it the
//! connection waits. A turn without anything to send gives a large buffer back. What is left after a turn waits for a
//! slow reader, and counts as such.
//!
//! Towards clients it is also where what the implementation says by itself is seen ([`super::own_answers`]), and where
//! nothing more is read while too much waits to be taken ([`super::uploads`]).

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::connection::Client;
use super::frame_guard::{self, Flood};
use super::gone::Gone;
use super::held::Held;
use super::own_answers::{Finder, OwnAnswers};
use super::uploads::Uploads;

/// What waits at most to be sent.
const MAX_BYTES: usize = 256 * 1024;
/// What an idle connection may keep.
const KEPT_BYTES: usize = 4 * 1024;

/// A socket that gathers writes.
#[derive(Debug)]
pub struct Coalesced<S>(Rc<RefCell<Gathered<S>>>);

/// Sends what a [`Coalesced`] socket has gathered.
#[derive(Debug)]
pub struct Flusher<S>(Rc<RefCell<Gathered<S>>>);

#[derive(Debug)]
struct Gathered<S> {
    stream: S,
    buffer: BytesMut,
    /// Something was written and not flushed.
    dirty: bool,
    /// What is left of the buffer after a turn.
    held: Held,
    /// Why sending failed; said to the connection when it next reads or writes.
    failed: Option<io::Error>,
    /// Where the other end is a client.
    facing: Option<Box<Facing>>,
    /// Whether the other end has gone, where that is asked.
    is_gone: fn(&S) -> bool,
    /// Told when something is read for the first time, where somebody waits for that.
    first_read: Option<Rc<Notify>>,
}

/// What is known of a client on the other end.
#[derive(Debug)]
struct Facing {
    client: Rc<Client>,
    uploads: Rc<Uploads>,
    answers: OwnAnswers,
}

/// A socket that gathers writes, and what sends them; what waits is counted in `held`.
pub fn coalesce<S>(stream: S, held: Held) -> (Coalesced<S>, Flusher<S>) {
    gather(stream, held, None, |_| false)
}

/// The same towards an endpoint; `first_read` is told when it has said something.
pub fn coalesce_to<S>(stream: S, held: Held, first_read: Rc<Notify>) -> (Coalesced<S>, Flusher<S>) {
    let gathered = coalesce(stream, held);
    gathered.1.0.borrow_mut().first_read = Some(first_read);
    gathered
}

/// The same towards a client.
pub fn coalesce_for<S: Gone>(client: &Rc<Client>, uploads: &Rc<Uploads>, stream: S) -> (Coalesced<S>, Flusher<S>) {
    let held = Held::nothing(client.worker.shard.clone());
    let facing = Facing { client: client.clone(), uploads: uploads.clone(), answers: OwnAnswers::default() };
    gather(stream, held, Some(Box::new(facing)), S::is_gone)
}

fn gather<S>(
    stream: S,
    held: Held,
    facing: Option<Box<Facing>>,
    is_gone: fn(&S) -> bool,
) -> (Coalesced<S>, Flusher<S>) {
    let gathered = Gathered {
        stream,
        buffer: BytesMut::new(),
        dirty: false,
        held,
        failed: None,
        facing,
        is_gone,
        first_read: None,
    };
    let gathered = Rc::new(RefCell::new(gathered));
    (Coalesced(gathered.clone()), Flusher(gathered))
}

/// What is found among the frames that go to a client.
struct Findings<'a> {
    client: &'a Client,
    uploads: &'a Uploads,
}

impl Finder for Findings<'_> {
    fn refuses(&mut self) -> Vec<(String, String)> {
        self.client.has_refused_alone()
    }

    fn allows(&mut self, octets: u32) {
        self.uploads.allow(octets.into());
    }
}

impl<S> Clone for Flusher<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Flusher<S> {
    /// Sends what it can; the task is woken when more can be sent.
    pub fn flush(&self, context: &mut Context<'_>) {
        let mut gathered = self.0.borrow_mut();
        if let Some(facing) = &gathered.facing {
            facing.uploads.settle();
        }
        if gathered.buffer.is_empty() && !gathered.dirty {
            if gathered.buffer.capacity() > KEPT_BYTES {
                gathered.buffer = BytesMut::new();
            }
            gathered.held.set(0);
            return;
        }
        if let Poll::Ready(Err(error)) = gathered.poll_send(context) {
            gathered.failed = Some(error);
            gathered.buffer.clear();
            gathered.dirty = false;
            // The connection must look at its socket to learn of it.
            context.waker().wake_by_ref();
        }
        let waits = gathered.buffer.len();
        gathered.held.set(waits);
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends everything.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_down_to(0, context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.dirty = false;
        Poll::Ready(Ok(()))
    }

    /// Writes until at most `rest` bytes wait.
    fn poll_write_down_to(&mut self, rest: usize, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.buffer.len() > rest {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.buffer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(written);
            self.dirty = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is to be sent.
    fn add(&mut self, octets: &[u8]) {
        match &mut self.facing {
            Some(facing) => {
                let Facing { client, uploads, answers } = &mut **facing;
                answers.write(octets, &mut self.buffer, &mut Findings { client, uploads });
            }
            None => self.buffer.extend_from_slice(octets),
        }
    }

    /// Makes room for another write.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.buffer.len() < MAX_BYTES => Poll::Ready(Ok(())),
            None => self.poll_write_down_to(MAX_BYTES - 1, context),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        if let Some(error) = gathered.failed.take() {
            return Poll::Ready(Err(error));
        }
        if gathered.facing.as_ref().is_some_and(|facing| !facing.uploads.may_read(context)) {
            // Looked at now and then, whenever the connection is woken: what it has sent need not wait for anybody then.
            return match (gathered.is_gone)(&gathered.stream) {
                true => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                false => Poll::Pending,
            };
        }
        let read = ready!(Pin::new(&mut gathered.stream).poll_read(context, buffer));
        if let Some(first_read) = gathered.first_read.take() {
            first_read.notify_one();
        }
        if let Some(facing) = &gathered.facing {
            facing.uploads.look();
        }
        if read.as_ref().is_err_and(|error| error.get_ref().is_some_and(|error| error.is::<Flood>())) {
            // The implementation behind sees a broken connection and says nothing; the client is to know why.
            gathered.buffer.extend_from_slice(&frame_guard::farewell());
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.poll_room(context))?;
        gathered.add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.poll_room(context))?;
        for slice in slices {
            gathered.add(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Taken as done: the flusher sends at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.borrow_mut().failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.poll_send(context))?;
        Pin::new(&mut gathered.stream).poll_shutdown(context)
    }
}

pin_project! {
    /// What drives a connection, and sends what it wrote after each turn.
    #[derive(Debug)]
    pub struct Turns<F, S> {
        #[pin]
        driver: F,
        flusher: Flusher<S>,
    }
}

impl<F, S> Turns<F, S> {
    /// Wraps what drives the connection of `flusher`.
    pub fn new(driver: F, flusher: Flusher<S>) -> Self {
        Self { driver, flusher }
    }

    /// What drives the connection.
    pub fn driver(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().driver
    }
}

impl<F: Future, S: AsyncWrite + Unpin> Future for Turns<F, S> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let parts = self.project();
        let polled = parts.driver.poll(context);
        parts.flusher.flush(context);
        polled
    }
}

/// Runs the tasks of an HTTP/2 client connection on this thread, each of their turns followed by a flush: the
/// implementation hands what drives the connection to its executor, not to its caller.
#[derive(Debug)]
pub struct FlushingExecutor<S> {
    tasks: TaskTracker,
    flusher: Flusher<S>,
}

impl<S> FlushingExecutor<S> {
    /// Tasks will belong to `tasks`.
    pub fn new(tasks: TaskTracker, flusher: Flusher<S>) -> Self {
        Self { tasks, flusher }
    }
}

impl<S> Clone for FlushingExecutor<S> {
    fn clone(&self) -> Self {
        Self { tasks: self.tasks.clone(), flusher: self.flusher.clone() }
    }
}

impl<F, S> hyper::rt::Executor<F> for FlushingExecutor<S>
where
    F: Future + 'static,
    F::Output: 'static,
    S: AsyncWrite + Unpin + 'static,
{
    fn execute(&self, task: F) {
        self.tasks.spawn_local(Turns::new(task, self.flusher.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::metrics::Shard;
    use std::sync::Arc;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(flavor = "current_thread")]
    async fn writes_wait_for_the_end_of_the_turn() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut socket, flusher) = coalesce(near, Held::nothing(Arc::default()));
        socket.write_all(b"one ").await.unwrap();
        socket.flush().await.unwrap();
        socket.write_all(b"two").await.unwrap();
        let mut bytes = [0; 7];
        let mut read = std::pin::pin!(far.read(&mut bytes));
        let mut context = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut context).is_pending());
        flusher.flush(&mut context);
        assert_eq!(read.await.unwrap(), 7);
        assert_eq!(&bytes, b"one two");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_buffer_is_bounded_and_given_back() {
        let (near, far) = tokio::io::duplex(16);
        let shard: Arc<Shard> = Arc::default();
        let (mut socket, flusher) = coalesce(near, Held::nothing(shard.clone()));
        let mut context = Context::from_waker(Waker::noop());
        let piece = [0; 64 * 1024];
        let mut taken = 0;
        while let Poll::Ready(written) = Pin::new(&mut socket).poll_write(&mut context, &piece) {
            taken += written.unwrap();
        }
        assert!((MAX_BYTES..MAX_BYTES + piece.len() + 16).contains(&taken), "{taken}");
        flusher.flush(&mut context);
        assert_eq!(shard.held(), taken as u64 - 16, "what the reader has not taken is counted");
        // The other side is gone: the connection hears of it, the buffer is empty.
        drop(far);
        flusher.flush(&mut context);
        assert!(socket.write_all(b"more").await.is_err());
        flusher.flush(&mut context);
        assert!(socket.0.borrow().buffer.capacity() <= KEPT_BYTES);
        assert_eq!(shard.held(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn shutting_down_sends_what_waits() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut socket, _flusher) = coalesce(near, Held::nothing(Arc::default()));
        socket.write_all(b"last words").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
    }
}
