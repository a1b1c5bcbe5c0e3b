//! The loop that accepts from one listening socket, and its end: nothing that has connected is reset.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::client_address;
use super::connection::{self, Arrival};
use super::drain::{self, Drain, DrainSignal};
use super::listen::{Entrance, Listener};
use super::tls::TlsListener;
use super::websocket;
use super::worker::Worker;
use crate::socket::{HANDSHAKES, refuse_new};

/// Pauses after a failed accept.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until drained or handed over, then waits for the connections until the deadline.
pub(super) async fn accept(worker: Rc<Worker>, listener: Listener) {
    let Listener { name, socket, is_inherited, tls, passes, announcers, entrance, drain } = listener;
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return warn!(listener = %name, %error, "listener cannot be used"),
    };
    let (relay, signal) = watch::channel(Drain::Serving);
    let own = drain.clone();
    let relaying = drain::relay(worker.drain.clone(), drain.unwrap_or_else(|| worker.drain.clone()), relay);
    let local = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let connections = JoinSet::new();
    let acceptor = Acceptor { worker, name, local, entrance, tls, passes, announcers, own, drain: signal, connections };
    tokio::select! {
        () = acceptor.run(socket, is_inherited) => {}
        () = relaying => {}
    }
}

/// A listener and its connections.
struct Acceptor {
    worker: Rc<Worker>,
    name: Arc<str>,
    local: SocketAddr,
    entrance: Entrance,
    tls: Option<TlsListener>,
    passes: bool,
    announcers: Arc<[IpNet]>,
    /// What is told this listener alone.
    own: Option<DrainSignal>,
    drain: DrainSignal,
    connections: JoinSet<()>,
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

impl Acceptor {
    async fn run(mut self, socket: TcpListener, is_inherited: bool) {
        let mut drain = self.drain.clone();
        self.accept_until(&socket, drain::ended(&mut drain)).await;
        // A successor has the socket, even where the whole worker ends by now: it must not be closed for new connections.
        let is_handed_over = self.own.as_ref().is_some_and(|own| *own.borrow() == Drain::HandedOver);
        let is_closing = matches!(*self.drain.borrow(), Drain::Until(_)) && !is_handed_over;
        // What waits in a queue that somebody else goes on with is theirs to accept.
        if is_closing && !is_inherited {
            self.close(socket).await;
        } else {
            drop(socket);
        }
        let Self { worker, mut drain, mut connections, .. } = self;
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = drain::expired(&mut drain) => {
                websocket::goodbyes(&worker.websockets).await;
                connections.shutdown().await;
            }
        }
    }

    async fn accept_until(&mut self, socket: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                // In this order: the end must win over a queue that never empties.
                biased;
                () = &mut end => return,
                Some(_) = self.connections.join_next(), if !self.connections.is_empty() => continue,
                accepted = accept_one(&self.worker, socket) => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    pause = FIRST_PAUSE;
                    self.serve(accepted);
                }
                Err(error) => {
                    self.worker.shard.accept_errors.increment();
                    if is_shortage(&error) {
                        let listener = &self.name;
                        warn!(%listener, %error, "cannot accept connections; is the limit of open files too low?");
                        if tokio::time::timeout(pause, &mut end).await.is_ok() {
                            return;
                        }
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    fn serve(&mut self, (stream, peer, permit): Accepted) {
        // Which of many addresses a client connected to has to be asked for.
        let local = if self.local.ip().is_unspecified() { stream.local_addr().ok() } else { None };
        let arrival = Arrival {
            peer,
            local: local.unwrap_or(self.local),
            is_announced: client_address::is_trusted(peer.ip(), &self.announcers),
            passes: self.passes,
            entrance: self.entrance,
            drain: self.drain.clone(),
            permit,
        };
        self.connections.spawn_local(connection::serve(self.worker.clone(), stream, arrival, self.tls.clone()));
    }

    /// Takes the socket out of service: nothing new begins, what has begun is accepted, then it is closed.
    async fn close(&mut self, socket: TcpListener) {
        if let Err(error) = refuse_new(&socket) {
            debug!(listener = %self.name, %error, "a connection may be reset while the listener closes");
        }
        let (mut drain, handshakes) = (self.drain.clone(), Instant::now() + HANDSHAKES);
        let end = async {
            tokio::select! {
                () = sleep_until(handshakes) => {}
                () = drain::expired(&mut drain) => {}
            }
        };
        self.accept_until(&socket, end).await;
        for accepted in accept_waiting(&self.worker, socket) {
            self.serve(accepted);
        }
    }
}

/// The permit comes first: what cannot be served stays in the kernel's queue. Cancel safe.
async fn accept_one(worker: &Worker, socket: &TcpListener) -> io::Result<Accepted> {
    let permit = match worker.permits.try_acquire() {
        Some(permit) => permit,
        None => {
            worker.shard.client_full.increment();
            worker.permits.acquire().await?
        }
    };
    let (stream, peer) = socket.accept().await?;
    Ok((stream, peer, permit))
}

/// What the kernel has accepted already would be reset by closing the socket. The socket is asked directly: the
/// reactor may not have heard of the last ones.
fn accept_waiting(worker: &Worker, socket: TcpListener) -> Vec<Accepted> {
    let mut waiting = Vec::new();
    let Ok(socket) = socket.into_std() else {
        return waiting;
    };
    while let Some(permit) = worker.permits.try_acquire()
        && let Ok((stream, peer)) = socket.accept()
    {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            waiting.push((stream, peer, permit));
        }
    }
    waiting
}

/// No file descriptors, no memory: trying again at once would only burn the processor.
fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
