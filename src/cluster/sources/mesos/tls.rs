//! TLS towards masters: what to trust and what to show, read from files.
//!
//! Files are read at every connection, so that renewed certificates count without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::config::checked::ClientTls;

/// Where systems keep the authorities they trust: Debian, Fedora, SUSE, Alpine and the BSDs.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is said when a handshake fails because the two sides have nothing in common.
pub const CIPHERS_MEND: &str = "Mesos offers by default only cipher suites that are not safe any more: start the master \
     with LIBPROCESS_SSL_CIPHERS=ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256 or with \
     LIBPROCESS_SSL_ENABLE_TLS_V1_3=true; if it has LIBPROCESS_SSL_REQUIRE_CERT, set a client certificate and key";

/// TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{path}: {source}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{path} holds no certificate in PEM form", path = .0.display())]
    Empty(PathBuf),
    /// No authorities are configured and the system has none where they are usually kept.
    #[error("no file with the system's authorities was found; install ca-certificates or set the source's `ca`")]
    NoAuthorities,
    /// A certificate without a key, or the reverse.
    #[error("a client certificate needs both `certificate` and `key`")]
    Half,
    /// The library refuses the certificate or key.
    #[error("the certificate or key cannot be used: {0}")]
    Refused(#[from] rustls::Error),
}

/// The configuration that `tls` describes.
///
/// # Errors
/// A file cannot be read or used.
pub fn client_config(tls: &ClientTls) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(tls)?);
    Ok(Arc::new(shown(builder, tls)?))
}

/// The authorities that `tls` trusts.
///
/// # Errors
/// A file cannot be read or used.
pub fn authorities(tls: &ClientTls) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let authorities = match &tls.ca {
        Some(path) => certificates(path)?,
        None => certificates(system_authorities().ok_or(TlsError::NoAuthorities)?)?,
    };
    // Single authorities of a system's bundle may be of forms that are not supported: the others count.
    roots.add_parsable_certificates(authorities);
    Ok(roots)
}

/// The configuration with the certificate that `tls` shows, if it shows one.
///
/// # Errors
/// A file cannot be read or used.
pub fn shown(builder: ConfigBuilder<ClientConfig, WantsClientCert>, tls: &ClientTls) -> Result<ClientConfig, TlsError> {
    match (&tls.certificate, &tls.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            Ok(builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?)
        }
        _ => Err(TlsError::Half),
    }
}

fn system_authorities() -> Option<&'static Path> {
    SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Pem { path: path.into(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let certificates = certificates.map_err(unreadable)?;
    if certificates.is_empty() { Err(TlsError::Empty(path.into())) } else { Ok(certificates) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("ca.pem");
        std::fs::write(&empty, "no certificate here\n").unwrap();
        let with_ca = |ca: PathBuf| ClientTls { ca: Some(ca), ..ClientTls::default() };
        assert!(matches!(client_config(&with_ca(empty)), Err(TlsError::Empty(_))));
        let missing = client_config(&with_ca(folder.path().join("missing.pem"))).unwrap_err();
        assert!(missing.to_string().contains("missing.pem"), "{missing}");
    }
}
