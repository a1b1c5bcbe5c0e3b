//! The API's sockets: TCP, a Unix socket that only our own user can open, a listener for metrics alone.
//!
//! Bounded: connections by a permit taken before accepting, heads by size and time, answers by a guard against
//! clients that do not read. Each accept loop owns its connections and each connection ends with the stop token.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::context::AdminContext;
use super::dispatch::Shared;
use super::metrics::AdminMetrics;
use super::router::Scope;
use super::security::Peer;
use super::stall::StallGuard;
use crate::config::checked::AdminConfig;

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

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A TCP address cannot be bound.
    #[error("the admin API cannot listen on {address}: {source}; free the port or change {setting}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The setting it comes from.
        setting: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("the admin socket {} cannot be made: {source}; make its folder writable or change admin.socket", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program answers on the Unix socket.
    #[error("another instance listens on the admin socket {}; stop it or change admin.socket", .0.display())]
    SocketInUse(PathBuf),
    /// Something that is no socket stands in the way.
    #[error("{} exists and is no socket; remove it or change admin.socket", .0.display())]
    NotASocket(PathBuf),
    /// Certificate or key cannot be used.
    #[error("the admin API's certificate {} cannot be used: {reason}; mend admin.tls", .path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A metric's name is taken.
    #[error("the admin API's metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Bound sockets that nobody is served on yet.
#[derive(Debug)]
pub struct AdminServer {
    listeners: Vec<Listener>,
}

/// The running API; dropping it ends every connection at once, [`RunningAdmin::stop`] lets them finish.
#[derive(Debug)]
pub struct RunningAdmin {
    stop: CancellationToken,
    loops: JoinSet<()>,
    former: Stopped,
}

/// What a stopped API leaves to its successor.
#[derive(Clone, Debug)]
pub struct Stopped {
    context: Arc<AdminContext>,
    metrics: AdminMetrics,
}

#[derive(Debug)]
struct Listener {
    socket: Socket,
    scope: Scope,
}

enum Socket {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener, #[expect(dead_code, reason = "held for its drop, which removes the socket's file")] OwnSocket),
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(listener, _) => listener.fmt(f),
            Self::Unix(listener, _) => listener.fmt(f),
        }
    }
}

impl AdminServer {
    /// Binds what the configuration asks for.
    ///
    /// # Errors
    /// A socket or the certificate cannot be used; the message says how to mend it.
    pub async fn bind(config: &AdminConfig) -> Result<Self, AdminError> {
        let tls = config.tls.as_ref().map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
        let mut listeners = Vec::new();
        if let Some(address) = config.listen {
            let socket = Socket::Tcp(bind_tcp(address, "admin.listen").await?, tls.clone());
            listeners.push(Listener { socket, scope: Scope::Api });
        }
        if let Some(address) = config.metrics_listen {
            let socket = Socket::Tcp(bind_tcp(address, "admin.metrics_listen").await?, tls);
            listeners.push(Listener { socket, scope: Scope::Metrics });
        }
        if let Some(path) = &config.socket {
            let (listener, own) = bind_unix(path)?;
            listeners.push(Listener { socket: Socket::Unix(listener, own), scope: Scope::Api });
        }
        Ok(Self { listeners })
    }

    /// The TCP addresses that were bound, in the order `listen`, `metrics_listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |listener: &Listener| match &listener.socket {
            Socket::Tcp(tcp, _) => tcp.local_addr().ok(),
            Socket::Unix(..) => None,
        };
        self.listeners.iter().filter_map(address).collect()
    }

    /// Starts to serve, on the current runtime, and registers the API's metrics.
    ///
    /// # Errors
    /// The API's metrics are registered already: see [`AdminServer::succeed`].
    pub fn serve(self, context: Arc<AdminContext>) -> Result<RunningAdmin, AdminError> {
        let metrics = AdminMetrics::register(&context.registry, &context.table, context.workers)?;
        Ok(self.serve_with(context, metrics))
    }

    /// Starts to serve in place of one that was stopped, and goes on counting where it left off.
    pub fn succeed(self, former: Stopped) -> RunningAdmin {
        self.serve_with(former.context, former.metrics)
    }

    fn serve_with(self, context: Arc<AdminContext>, metrics: AdminMetrics) -> RunningAdmin {
        let stop = CancellationToken::new();
        let former = Stopped { context: context.clone(), metrics: metrics.clone() };
        let shared = Arc::new(Shared::new(context, metrics, stop.clone()));
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            info!(listener = ?listener.socket, scope = ?listener.scope, "admin API listens");
            loops.spawn(listener.run(shared.clone()));
        }
        RunningAdmin { stop, loops, former }
    }
}

impl RunningAdmin {
    /// Takes no more connections, lets requests in flight finish for `grace`, then ends the rest.
    pub async fn stop(mut self, grace: Duration) -> Stopped {
        self.stop.cancel();
        let finished = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finished).await.is_err() {
            warn!("admin API ends connections that did not finish in time");
            // Dropping a loop drops its set of connections, which aborts them.
            self.loops.shutdown().await;
        }
        self.former
    }
}

impl Listener {
    async fn run(self, shared: Arc<Shared>) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // Finished connections are reaped here, so that the set does not grow.
            while connections.try_join_next().is_some() {}
            if permits.available_permits() == 0 {
                shared.metrics.connections_limited.inc();
            }
            // Both branches may be dropped without loss: no connection was taken yet, or it is taken whole.
            tokio::select! {
                () = shared.stop.cancelled() => break,
                accepted = async {
                    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
                    (self.socket.accept().await, permit)
                } => match accepted {
                    (Ok(connection), permit) => {
                        let (shared, scope) = (shared.clone(), self.scope);
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
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }
}

/// An accepted connection.
struct Connection {
    stream: Box<dyn Stream>,
    peer: Peer,
    tls: Option<TlsAcceptor>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Socket {
    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, client) = listener.accept().await?;
                let peer = Peer::Tcp { client, local: stream.local_addr()? };
                Ok(Connection { stream: Box::new(stream), peer, tls: tls.clone() })
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok(Connection { stream: Box::new(stream), peer: Peer::Socket { user }, tls: None })
            }
        }
    }
}

impl Connection {
    async fn serve(self, shared: Arc<Shared>, scope: Scope) {
        let guarded = StallGuard::new(self.stream, STALL_TIME);
        match self.tls {
            None => serve(guarded, self.peer, shared, scope).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(guarded)).await {
                Ok(Ok(stream)) => serve(stream, self.peer, shared, scope).await,
                Ok(Err(error)) => debug!(%error, peer = ?self.peer, "admin TLS handshake failed"),
                Err(_) => debug!(peer = ?self.peer, "admin TLS handshake took too long"),
            },
        }
    }
}

async fn serve(stream: impl Stream, peer: Peer, shared: Arc<Shared>, scope: Scope) {
    let stop = shared.stop.clone();
    let peer = Arc::new(peer);
    let service = service_fn(|request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(shared.answer(&peer, scope, request).await) }
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
        debug!(%error, ?peer, "admin connection ended with an error");
    }
}

async fn bind_tcp(address: SocketAddr, setting: &'static str) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError::Bind { address, setting, source })
}

/// A socket's file, removed at the end if it is still ours.
struct OwnSocket {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            warn!(%error, path = %self.path.display(), "admin socket cannot be removed");
        }
    }
}

/// Makes the socket under another name first: when it gets its own, only our user may open it already.
fn bind_unix(path: &Path) -> Result<(UnixListener, OwnSocket), AdminError> {
    let failed = |source| AdminError::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(AdminError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(AdminError::SocketInUse(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary).map_err(failed)?;
    std::fs::set_permissions(&temporary, Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    let made = std::fs::symlink_metadata(path).map_err(failed)?;
    Ok((listener, OwnSocket { path: path.to_owned(), inode: (made.dev(), made.ino()) }))
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, AdminError> {
    let failed = |path: &Path, reason: &dyn std::fmt::Display| AdminError::Tls {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| failed(certificate, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| failed(certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
