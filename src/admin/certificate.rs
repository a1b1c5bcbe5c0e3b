//! The API's certificate: read at the start, and again when one of its files changes.
//!
//! Connections keep what they began with. A pair that cannot be used changes nothing: the former one goes on, and the
//! log says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::bind::AdminError;
use crate::config::watch::{Changes, Watch};

/// Certificate and key, by path.
pub(super) type Pair = (PathBuf, PathBuf);

/// What connections are accepted with; `None`: clear text.
pub(super) type Current = watch::Sender<Option<TlsAcceptor>>;

/// Follows the files of a pair until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Following {
    // Held for its drop, which ends the task.
    _task: JoinSet<()>,
}

/// A pair whose files are watched.
#[derive(Debug)]
pub(super) struct Watched {
    pair: Pair,
    /// Those files that the system watches, with what has changed since.
    watches: Vec<(Watch, Changes)>,
}

impl Watched {
    /// Begins to watch. To be called before the pair is read: what changes after that is not missed.
    pub(super) fn start(pair: &Pair) -> Self {
        let watches = [&pair.0, &pair.1].into_iter().filter_map(|path| watch(path));
        Self { pair: pair.clone(), watches: watches.collect() }
    }
}

impl Following {
    /// Begins to follow a pair; what it becomes is put into `current`.
    pub(super) fn start(watched: Option<Watched>, current: &Current) -> Self {
        let mut task = JoinSet::new();
        let Some(Watched { pair, watches }) = watched else { return Self { _task: task } };
        for (watch, changes) in watches {
            task.spawn(follow(pair.clone(), watch, changes, current.clone()));
        }
        Self { _task: task }
    }
}

/// Reads the pair whenever one of its files changes. The watch is held for as long as that is waited for.
async fn follow((certificate, key): Pair, _watch: Watch, mut changes: Changes, current: Current) {
    while changes.changed().await {
        match acceptor(&certificate, &key) {
            Ok(acceptor) => {
                info!(certificate = %certificate.display(), "the admin API's certificate is read again");
                current.send_replace(Some(acceptor));
            }
            Err(error) => warn!(%error, "the former certificate goes on"),
        }
    }
}

fn watch(path: &Path) -> Option<(Watch, Changes)> {
    let complain = |error: &std::io::Error| {
        warn!(path = %path.display(), %error, "the admin API's certificate is not followed; a reload with other paths reads it");
    };
    let watch = Watch::start(path).inspect_err(complain).ok()?;
    let changes = watch.changes();
    Some((watch, changes))
}

/// Reads a pair.
///
/// # Errors
/// Which file cannot be used, and why.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, AdminError> {
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
