//! The API's sockets: TCP, and a Unix socket that only our own user can open.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::router::Scope;
use crate::config::checked::AdminConfig;

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
    #[error("the admin API's certificate {} cannot be used: {reason}; mend admin.certificate and admin.key", .path.display())]
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

/// Where the API listens, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `admin.listen`
    Api(SocketAddr),
    /// `admin.metrics_listen`
    Metrics(SocketAddr),
    /// `admin.mesos_dns_listen`
    MesosDns(SocketAddr),
    /// `admin.socket`
    Socket(PathBuf),
}

/// A socket of the API.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, OwnSocket),
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(listener) => listener.fmt(f),
            Self::Unix(listener, _) => listener.fmt(f),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api(address) => address.fmt(f),
            Self::Metrics(address) => write!(f, "{address} (metrics and health alone)"),
            Self::MesosDns(address) => write!(f, "{address} (Mesos-DNS's API)"),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

impl Place {
    /// All that the configuration asks for.
    pub(super) fn all(config: &AdminConfig) -> Vec<Self> {
        let api = config.listen.map(Self::Api);
        let metrics = config.metrics_listen.map(Self::Metrics);
        let socket = config.socket.clone().map(Self::Socket);
        let mesos_dns = config.mesos_dns_listen.map(Self::MesosDns);
        [api, metrics, mesos_dns, socket].into_iter().flatten().collect()
    }

    /// What is served there.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Api(_) | Self::Socket(_) => Scope::Api,
            Self::Metrics(_) => Scope::Metrics,
            Self::MesosDns(_) => Scope::MesosDns,
        }
    }

    /// Binds it.
    ///
    /// # Errors
    /// Why it cannot be bound; the message says how to mend it.
    pub(super) async fn bind(&self) -> Result<Socket, AdminError> {
        match self {
            Self::Api(address) => bind_tcp(*address, "admin.listen").await.map(Socket::Tcp),
            Self::Metrics(address) => bind_tcp(*address, "admin.metrics_listen").await.map(Socket::Tcp),
            Self::MesosDns(address) => bind_tcp(*address, "admin.mesos_dns_listen").await.map(Socket::Tcp),
            Self::Socket(path) => bind_unix(path).map(|(listener, own)| Socket::Unix(listener, own)),
        }
    }
}

async fn bind_tcp(address: SocketAddr, setting: &'static str) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError::Bind { address, setting, source })
}

/// A socket's file, removed at the end if it is still ours.
pub(crate) struct OwnSocket {
    path: PathBuf,
    /// Device and number; `None`: it is removed.
    inode: Option<(u64, u64)>,
}

impl OwnSocket {
    /// Removes the file if it is still ours, once.
    pub(crate) fn remove(&mut self) {
        let is_ours = |(device, inode)| {
            std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
        };
        if self.inode.take().is_some_and(is_ours)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            warn!(%error, path = %self.path.display(), "admin socket cannot be removed");
        }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes the socket under another name first: when it gets its own, only our user may open it already.
///
/// # Errors
/// Why it cannot be made.
pub(crate) fn bind_unix(path: &Path) -> Result<(UnixListener, OwnSocket), AdminError> {
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
    Ok((listener, OwnSocket { path: path.to_owned(), inode: Some((made.dev(), made.ino())) }))
}
