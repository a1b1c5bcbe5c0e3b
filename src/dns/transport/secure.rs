//! TLS under DNS: for messages one after another (RFC 7858) and for HTTP/2 (RFC 8484).

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use tokio_rustls::TlsAcceptor;

/// What encrypted connections are made with.
#[derive(Clone)]
pub struct Secure {
    pub(crate) tls: TlsAcceptor,
    pub(crate) https: TlsAcceptor,
    pub(crate) https_path: Arc<str>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("https_path", &self.https_path).finish_non_exhaustive()
    }
}

impl Secure {
    /// TLS 1.2 and 1.3 with these certificates; queries by HTTPS come to `https_path`.
    ///
    /// # Errors
    /// The cryptography does not have the versions of TLS.
    pub fn new(
        certificates: &Arc<dyn ResolvesServerCert>,
        provider: &Arc<CryptoProvider>,
        https_path: Arc<str>,
    ) -> Result<Self, rustls::Error> {
        // RFC 7858 has no name for itself; clients that say one say this (IANA, "ALPN Protocol IDs").
        let tls = acceptor(certificates, provider, b"dot")?;
        let https = acceptor(certificates, provider, b"h2")?;
        Ok(Self { tls, https, https_path })
    }
}

fn acceptor(
    certificates: &Arc<dyn ResolvesServerCert>,
    provider: &Arc<CryptoProvider>,
    protocol: &[u8],
) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config).into())
}
