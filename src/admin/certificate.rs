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
use crate::config::watch::Watch;

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

impl Following {
    /// Begins to follow `pair`; what it becomes is put into `current`.
    pub(super) fn start(pair: Option<Pair>, current: Current) -> Self {
        let mut task = JoinSet::new();
        if let Some(pair) = pair {
            task.spawn(follow(pair, current));
        }
        Self { _task: task }
    }
}

async fn follow((certificate, key): Pair, current: Current) {
    let watches = (watch(&certificate), watch(&key));
    let (Some(certificates), Some(keys)) = &watches else { return };
    let (mut certificates, mut keys) = (certificates.changes(), keys.changes());
    loop {
        // Cancel safe: a change that is not seen here is seen in the next turn.
        let goes_on = tokio::select! {
            changed = certificates.changed() => changed,
            changed = keys.changed() => changed,
        };
        if !goes_on {
            return;
        }
        match acceptor(&certificate, &key) {
            Ok(acceptor) => {
                info!(certificate = %certificate.display(), "the admin API's certificate is read again");
                current.send_replace(Some(acceptor));
            }
            Err(error) => warn!(%error, "the former certificate goes on"),
        }
    }
}

fn watch(path: &Path) -> Option<Watch> {
    let complain = |error: &std::io::Error| {
        warn!(path = %path.display(), %error, "the admin API's certificate is not followed; a reload with other paths reads it");
    };
    Watch::start(path).inspect_err(complain).ok()
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
