//! One listener of the API: accepts, and owns its connections.
//!
//! Bounded: connections by a permit taken before accepting, heads by size and time, answers by a guard against
//! clients that do not read.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::bind::Socket;
use super::dispatch::{Caller, Shared};
use super::router::Scope;
use super::security::Peer;
use super::stall::StallGuard;
use crate::socket::{HANDSHAKES, refuse_new};

/// Connections at a time, per listener.
const MAX_CONNECTIONS: usize = 128;
/// The largest head of a request, and the most fields in it.
const MAX_HEAD: usize = 32 * 1024;
const MAX_FIELDS: usize = 64;
/// How long a head may take, idle time before it included.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a client may leave its answer unread.
const STALL_TIME: Duration = Duration::from_secs(30);
/// How long to wait after a failed accept: the usual cause, too many open files, does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener, and what its connections need.
pub(super) struct Listener {
    pub(super) scope: Scope,
    pub(super) shared: Arc<Shared>,
    /// TLS of connections over TCP.
    pub(super) tls: watch::Receiver<Option<TlsAcceptor>>,
    /// Ends it.
    pub(super) stop: CancellationToken,
}

impl Listener {
    /// Accepts until it is stopped, then waits for the connections.
    pub(super) async fn run(self, mut socket: Socket) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        self.accept_until(&socket, self.stop.cancelled(), &permits, &mut connections).await;
        // Nothing new begins; what has connected is accepted before the socket closes over it.
        socket.refuse_new();
        let handshakes = tokio::time::sleep(HANDSHAKES);
        self.accept_until(&socket, handshakes, &permits, &mut connections).await;
        drop(socket);
        while connections.join_next().await.is_some() {}
    }

    async fn accept_until(
        &self,
        socket: &Socket,
        end: impl Future<Output = ()>,
        permits: &Arc<Semaphore>,
        connections: &mut JoinSet<()>,
    ) {
        let mut end = std::pin::pin!(end);
        loop {
            // Finished connections are reaped here, so that the set does not grow.
            while connections.try_join_next().is_some() {}
            if permits.available_permits() == 0 {
                self.shared.metrics.connections_limited.inc();
            }
            // Both branches may be dropped without loss: no connection was taken yet, or it is taken whole.
            tokio::select! {
                () = &mut end => return,
                accepted = async {
                    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
                    (socket.accept().await, permit)
                } => match accepted {
                    (Ok((stream, peer)), permit) => {
                        // Mesos-DNS's API is in clear text, as there.
                        let may_have_tls = matches!(peer, Peer::Tcp { .. }) && self.scope != Scope::MesosDns;
                        let tls = may_have_tls.then(|| self.tls.borrow().clone()).flatten();
                        let connection = Connection { stream, peer, tls, stop: self.stop.clone() };
                        let (shared, scope) = (self.shared.clone(), self.scope);
                        connections.spawn(async move {
                            connection.serve(shared, scope).await;
                            drop(permit);
                        });
                    }
                    (Err(error), _) => {
                        warn!(%error, "admin API cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// An accepted connection.
struct Connection {
    stream: Box<dyn Stream>,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    /// Ends it after the answer under way.
    stop: CancellationToken,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Socket {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                let peer = Peer::Tcp { client, local: stream.local_addr()? };
                Ok((Box::new(stream), peer))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok((Box::new(stream), Peer::Socket { user }))
            }
        }
    }

    /// Lets no further connection begin.
    fn refuse_new(&mut self) {
        match self {
            Self::Tcp(listener) => {
                if let Err(error) = refuse_new(&listener.as_fd()) {
                    debug!(%error, "a connection may be reset while the listener closes");
                }
            }
            // Whoever connects finds the socket by its file.
            Self::Unix(_, own) => own.remove(),
        }
    }
}

impl Connection {
    async fn serve(self, shared: Arc<Shared>, scope: Scope) {
        let guarded = StallGuard::new(self.stream, STALL_TIME);
        match self.tls {
            None => serve(guarded, self.peer, shared, scope, self.stop).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(guarded)).await {
                Ok(Ok(stream)) => serve(stream, self.peer, shared, scope, self.stop).await,
                Ok(Err(error)) => debug!(%error, peer = ?self.peer, "admin TLS handshake failed"),
                Err(_) => debug!(peer = ?self.peer, "admin TLS handshake took too long"),
            },
        }
    }
}

async fn serve(stream: impl Stream, peer: Peer, shared: Arc<Shared>, scope: Scope, stop: CancellationToken) {
    let caller = Arc::new(Caller { peer, scope, stop: stop.clone() });
    let service = service_fn(|request| {
        let (shared, caller) = (shared.clone(), caller.clone());
        async move { Ok::<_, std::convert::Infallible>(shared.answer(&caller, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // The connection is only borrowed by the first branch: it goes on after the stop until its answer is out.
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, peer = ?caller.peer, "admin connection ended with an error");
    }
}
