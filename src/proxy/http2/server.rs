//! A client's connection: reads frames, has its requests served, and writes what all of them have to say once a turn.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::alive::Alive;
use super::answering;
use super::frame::{Code, ConnectionFault};
use super::handles::{Reader, Shared, Writer};
use super::input::{Input, Over, poll_read, poll_write};
use super::receive::Event;
use super::state::{Core, Counted, Limits, Role};
use super::stream::StreamFault;
use crate::config::checked::ProxyLimits;
use crate::proxy::client_io::ClientIo;
use crate::proxy::connection::Client;
use crate::proxy::frame_guard::Flood;
use crate::proxy::gone::Gone;
use crate::proxy::held::Held;
use crate::proxy::http1::scratch::Scratch;
use crate::proxy::uploads::Uploads;

/// Windows towards clients; what they let in is counted while it waits ([`crate::proxy::uploads`]).
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Errors of streams that a client may provoke (CVE-2025-8671).
const FAULTS: u32 = 100;
/// Decoded, so small a part of the largest head over HTTP/1 is a list of fields at most: a few octets on the wire make
/// kilobytes (CVE-2026-49975), a hundred times on each connection.
const HEAD_SHARE: usize = 4;
/// Reads in one turn: others of the thread wait meanwhile.
const READS: u32 = 8;

/// Serves one client.
#[derive(Debug)]
pub struct Server<S> {
    client: Rc<Client>,
    io: ClientIo<S>,
    core: Shared,
    input: Input,
    uploads: Rc<Uploads>,
    /// What is left to be written after a turn.
    held: Held,
    stall: Duration,
    alive: Alive,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serves,
    /// What was said last is written, and the connection is closed.
    Leaves,
}

impl<S> Server<S> {
    /// For a connection that begins with its preface.
    pub fn new(client: Rc<Client>, io: ClientIo<S>, limits: &ProxyLimits) -> Self {
        let worker = &client.worker;
        let uploads = Rc::new(Uploads::new(worker.shard.clone(), worker.crowd.clone(), limits.buffer_bytes));
        let ours = Limits {
            streams: limits.streams,
            list: limits.head_bytes / HEAD_SHARE,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            faults: FAULTS,
        };
        let core = Core::new(Role::Server, ours, Counted::Uploads(uploads.clone()));
        let alive = Alive::new(limits.idle / 2, limits.idle / 2, false);
        Self {
            held: Held::nothing(worker.shard.clone()),
            client,
            io,
            core: Rc::new(RefCell::new(core)),
            input: Input::of_client(),
            uploads,
            stall: limits.idle,
            alive,
            phase: Phase::Serves,
        }
    }

    /// Takes no further request; ends when those under way are over.
    pub fn shut_down(&self) {
        self.core.borrow_mut().ask_to_close();
    }
}

impl<S: AsyncRead + AsyncWrite + Gone + Unpin> Future for Server<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let server = &mut *self;
        server.core.borrow_mut().runs(context);
        if server.phase == Phase::Serves {
            let doomed = server.core.borrow_mut().take_doom();
            match doomed.map_or_else(|| server.read(context), |fault| Err(Over::Fault(fault))) {
                Ok(()) if server.core.borrow().is_done() => server.phase = Phase::Leaves,
                Ok(()) => {}
                Err(over) => {
                    if server.is_over(over).is_ready() {
                        return Poll::Ready(());
                    }
                }
            }
        }
        let was_full = server.core.borrow().is_full();
        let written = poll_write(&mut server.io, &mut server.core.borrow_mut(), context);
        let waits = server.core.borrow().waiting().len();
        server.held.set(waits);
        match written {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                debug!(client = %server.client.peer, %error, "connection ended");
                server.core.borrow_mut().end(StreamFault::Ended);
                return Poll::Ready(());
            }
        }
        if server.phase == Phase::Leaves {
            return Pin::new(&mut server.io).poll_shutdown(context).map(drop);
        }
        server.core.borrow_mut().rests();
        if was_full {
            // Nothing was read meanwhile.
            context.waker().wake_by_ref();
        }
        let gone = server.alive.poll(&mut server.core.borrow_mut(), context);
        if gone.is_ready() {
            debug!(client = %server.client.peer, "connection ended: the client does not answer");
            server.core.borrow_mut().end(StreamFault::Ended);
        }
        gone
    }
}

impl<S: AsyncRead + AsyncWrite + Gone + Unpin> Server<S> {
    fn read(&mut self, context: &mut Context<'_>) -> Result<(), Over> {
        let mut scratch = Scratch::take();
        for _ in 0..READS {
            if self.core.borrow().is_full() {
                return Ok(());
            }
            if !self.uploads.may_read(context, || self.core.borrow().has_uploads()) {
                // It may have answered: nobody looks.
                self.alive.speaks();
                // What it has sent need not wait for anybody when it has gone.
                return if self.io.is_gone() { Err(Over::Ended) } else { Ok(()) };
            }
            let (client, core, stall) = (&self.client, &self.core, self.stall);
            let state = (&mut self.input, &**core);
            let read = poll_read(&mut self.io, &mut scratch, state, context, |event| act(client, core, stall, event));
            let Poll::Ready(read) = read else { return Ok(()) };
            self.alive.speaks();
            read?;
        }
        // There may be more: the others first.
        context.waker().wake_by_ref();
        Ok(())
    }

    /// Nothing more is read: ready, if there is nothing more to say either.
    fn is_over(&mut self, over: Over) -> Poll<()> {
        let fault = match over {
            Over::Ended => None,
            Over::Broken(error) => {
                debug!(client = %self.client.peer, %error, flood = ?self.client.watch.flood(), "connection ended");
                let is_flood = error.get_ref().is_some_and(|error| error.is::<Flood>());
                is_flood.then_some(ConnectionFault { code: Code::ENHANCE_YOUR_CALM, why: "a flood" })
            }
            Over::Fault(fault) => {
                debug!(client = %self.client.peer, error = %fault, "connection ended");
                if fault.code == Code::ENHANCE_YOUR_CALM {
                    self.client.watch.report_flood(Flood::Library);
                }
                Some(fault)
            }
        };
        let mut core = self.core.borrow_mut();
        core.end(StreamFault::Ended);
        let Some(fault) = fault else { return Poll::Ready(()) };
        core.break_off(fault);
        self.phase = Phase::Leaves;
        Poll::Pending
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        // Whoever still serves a request hears of it.
        self.core.borrow_mut().end(StreamFault::Ended);
    }
}

/// Does what a client asks for.
fn act(client: &Rc<Client>, core: &Shared, stall: Duration, event: Event) {
    match event {
        Event::TooLong { stream } => {
            let writer = Writer::new(core.clone(), stream);
            answering::refuse_long(client, &writer);
        }
        Event::Request { stream, fields, ends } => {
            let reader = (!ends).then(|| Reader::new(core.clone(), stream));
            let writer = Writer::new(core.clone(), stream);
            // Boxed: whoever spawns it moves it several times, and it is kilobytes large.
            let serving = Box::pin(answering::serve(client.clone(), fields, reader, writer, stall));
            client.worker.tasks.spawn_local(serving);
        }
    }
}
