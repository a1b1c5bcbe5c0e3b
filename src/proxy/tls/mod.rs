//! TLS towards clients: certificates from a folder, chosen by the server name that the client asks for.

pub mod store;

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use store::{Certificates, OnePair};

/// The cryptography in use, made here and passed on explicitly: nothing depends on a default of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS of one listener.
#[derive(Clone)]
pub struct TlsListener {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsListener").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// What the handshake told of a connection.
#[derive(Clone, Debug)]
pub struct Secured {
    /// HTTP/2 was agreed on (ALPN).
    pub is_http2: bool,
    server_name: Option<Box<str>>,
    certificates: Arc<Certificates>,
}

impl TlsListener {
    /// TLS 1.2 and 1.3 with these certificates; HTTP/2 is preferred (ALPN).
    ///
    /// # Errors
    /// If the cryptography does not have the versions of TLS.
    pub fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        Self::with(certificates.clone(), certificates)
    }

    /// The same with one certificate for whatever name is asked for.
    ///
    /// # Errors
    /// If the cryptography does not have the versions of TLS.
    pub fn of_one(pair: OnePair, certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        Self::with(Arc::new(pair), certificates)
    }

    fn with(resolver: Arc<dyn ResolvesServerCert>, certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: Arc::new(config).into(), certificates })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// Why it failed: the client's doing, as a rule.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Secured)> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let secured = Secured {
            is_http2: session.alpn_protocol() == Some(b"h2"),
            server_name: session.server_name().map(Into::into),
            certificates: self.certificates.clone(),
        };
        Ok((stream, secured))
    }
}

impl Secured {
    /// Whether requests for `host` belong on this connection: it is the name that the client asked for, or one that
    /// the same certificate stands for (RFC 9110 section 15.5.20, RFC 9113 section 9.1.1). A client without a name
    /// asked for none.
    pub fn is_for(&self, host: &str) -> bool {
        match self.server_name.as_deref() {
            None => true,
            Some(name) => name.eq_ignore_ascii_case(host) || self.certificates.is_same(name, host),
        }
    }
}
