//! TLS towards clients: certificates from files and folders, chosen by the server name that the client asks for. TLS
//! towards endpoints: what is verified of them, and what they are shown. Lists of what is revoked, towards both.

pub mod client_hello;
pub mod clients;
pub mod der;
pub mod endpoint;
pub mod ends;
pub mod faults;
pub mod pair;
pub mod presented;
pub mod profiles;
pub mod refusal;
pub mod revocation;
pub mod sniff;
pub mod store;
pub mod tickets;

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use clients::ClientAuthorities;
use presented::{OfServices, Presented};
use store::{Certificates, OnePair};
use tickets::Tickets;

use super::challenges::{ACME_TLS, Challenges};

/// The cryptography in use, made here and passed on explicitly: nothing depends on a default of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS of one listener.
#[derive(Clone)]
pub struct TlsListener {
    acceptor: TlsAcceptor,
    certificates: Arc<Presented>,
    challenges: Arc<Challenges>,
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
    /// The certificate that it showed and that was verified, as a field has it (RFC 9440).
    pub client_certificate: Option<HeaderValue>,
    certificates: Arc<Presented>,
}

/// What a listener wants beside certificates.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Its name: tickets of one listener are worth nothing at another.
    pub name: Arc<str>,
    /// The keys of session tickets.
    pub tickets: Arc<Tickets>,
    /// Who signs certificates of its clients, if it asks for any.
    pub clients: Option<Arc<ClientAuthorities>>,
    /// Challenges of authorities, which are answered by a certificate.
    pub challenges: Arc<Challenges>,
    /// Certificates that services name for their hosts, if any count here.
    pub of_services: Option<OfServices>,
}

impl TlsListener {
    /// TLS 1.2 and 1.3 with these certificates; HTTP/2 is preferred (ALPN).
    ///
    /// # Errors
    /// If the cryptography does not have the versions of TLS.
    pub fn new(certificates: Arc<Certificates>, options: &TlsOptions) -> Result<Self, rustls::Error> {
        let presented = Arc::new(Presented::new(certificates, options.of_services.clone()));
        Self::with(presented.clone(), presented, options)
    }

    /// The same with one certificate for whatever name is asked for.
    ///
    /// # Errors
    /// If the cryptography does not have the versions of TLS.
    pub fn of_one(pair: OnePair, certificates: Arc<Certificates>, options: &TlsOptions) -> Result<Self, rustls::Error> {
        Self::with(Arc::new(pair), Arc::new(Presented::new(certificates, None)), options)
    }

    fn with(
        resolver: Arc<dyn ResolvesServerCert>,
        certificates: Arc<Presented>,
        options: &TlsOptions,
    ) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match &options.clients {
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are with their clients, in tickets: a store of them would be one that all workers lock.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(options.tickets.of_listener(&options.name, options.clients.clone()));
        Ok(Self { acceptor: Arc::new(config).into(), certificates, challenges: options.challenges.clone() })
    }

    /// Shakes hands; `None`: it was an authority's challenge, and the connection is over.
    ///
    /// # Errors
    /// Why it failed: the client's doing, as a rule.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Option<(TlsStream<TcpStream>, Secured)>> {
        // Boxed, and a look at the first message, only while there is something to look for.
        let stream = match self.challenges.has_certificates() {
            true => Box::pin(self.accept_or_answer(stream)).await?,
            false => Some(self.acceptor.accept(stream).await?),
        };
        Ok(stream.map(|stream| self.secured(stream)))
    }

    async fn accept_or_answer(&self, stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let Some(challenge) = self.challenge(&begun.client_hello()) else {
            return begun.into_stream(self.acceptor.config().clone()).await.map(Some);
        };
        // RFC 8737 section 3: "Once the handshake is completed, the client MUST NOT exchange any further data".
        let mut stream = begun.into_stream(challenge).await?;
        stream.shutdown().await?;
        Ok(None)
    }

    /// RFC 8737 section 3: the client hello has an ALPN extension "with the single protocol name "acme-tls/1"" and the
    /// name being validated. Whoever offers anything beside it is a client like others.
    fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        let is_asked = offered.next() == Some(ACME_TLS) && offered.next().is_none();
        self.challenges.certificate(hello.server_name().filter(|_| is_asked)?)
    }

    fn secured(&self, stream: TlsStream<TcpStream>) -> (TlsStream<TcpStream>, Secured) {
        let (_, session) = stream.get_ref();
        let secured = Secured {
            is_http2: session.alpn_protocol() == Some(b"h2"),
            server_name: session.server_name().map(Into::into),
            client_certificate: session.peer_certificates().and_then(|chain| certificate_field(chain.first()?)),
            certificates: self.certificates.clone(),
        };
        (stream, secured)
    }
}

/// A certificate as a byte sequence of a structured field (RFC 9440 section 2.1, RFC 9651 section 3.3.5).
fn certificate_field(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!(":{}:", BASE64_STANDARD.encode(certificate))).ok()
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
