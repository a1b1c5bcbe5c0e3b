//! One HTTP/1.1 connection to a master: TCP or TLS, a request, its answer.
//!
//! Nothing is spawned: the connection is driven by whoever waits for its answer, and dropping it closes it.

use std::error::Error as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST, HeaderName,
    LOCATION,
};
use http::{HeaderValue, Request as HttpRequest, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::decode::{DecodeError, ResponseDecoder};
use super::leader::Target;
use super::refusal::{self, Credentials, Head};
use super::schema::Item;
use super::session::Request;
use super::tls::{CIPHERS_MEND, TlsError, client_config};
use super::wire;
use crate::cluster::sources::http::ClientError;
use crate::cluster::sources::service_account::Login;
use crate::config::checked::{ClientTls, Masters, MesosConfig, MesosCredentials, MesosEncoding, MesosMode};

/// For name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For the names of the listed masters, all together.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A whole GET_AGENTS: 0.4 s at 10,000 agents, more behind others' snapshots.
const LISTING_TIMEOUT: Duration = Duration::from_secs(120);

/// Silence after which the kernel asks whether the other side is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// As much of a refusal's body as is read.
const MAX_REFUSAL_BYTES: usize = 4096;

/// Elements that a listing may have.
const MAX_LISTED: usize = 1_000_000;

/// A master cannot be asked, or its answer broke off.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The name has no address.
    #[error("{target} cannot be looked up: {source}")]
    Resolve {
        /// The master.
        target: Target,
        /// Why.
        source: std::io::Error,
    },
    /// TCP fails.
    #[error("{target} cannot be reached: {source}")]
    Connect {
        /// The master.
        target: Target,
        /// Why.
        source: std::io::Error,
    },
    /// Neither yes nor no.
    #[error("{target} does not answer within {seconds} s", seconds = limit.as_secs())]
    Timeout {
        /// The master.
        target: Target,
        /// How long was waited.
        limit: Duration,
    },
    /// The configured files.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// Nothing in common.
    #[error("{target} refuses the TLS handshake (handshake_failure): {CIPHERS_MEND}")]
    Ciphers {
        /// The master.
        target: Target,
    },
    /// The handshake fails otherwise.
    #[error("the TLS handshake with {target} fails: {source}")]
    Handshake {
        /// The master.
        target: Target,
        /// Why.
        source: std::io::Error,
    },
    /// The host is no name a certificate can have.
    #[error("{host:?} is no name that a certificate can have; set `server_name`")]
    ServerName {
        /// The name.
        host: String,
    },
    /// HTTP fails.
    #[error("{target}: {what}")]
    Http {
        /// The master.
        target: Target,
        /// Why, with the mend where there is one.
        what: String,
    },
    /// The answer is a refusal.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be read.
    #[error("{target}: {source}")]
    Decode {
        /// The master.
        target: Target,
        /// Why.
        source: DecodeError,
    },
    /// The service account cannot be logged in.
    #[error(transparent)]
    Login(#[from] ClientError),
    /// The answer lists more than is accepted.
    #[error("{target} lists more than {MAX_LISTED} elements")]
    TooMany {
        /// The master.
        target: Target,
    },
}

/// How a source speaks to its masters.
#[derive(Debug)]
pub struct Caller {
    config: Arc<MesosConfig>,
    /// Of a service account, where there is one.
    login: Option<Login>,
}

/// A granted or refused subscription.
pub struct Opened {
    /// How the master answered.
    pub head: Head,
    /// Its address.
    pub peer: Option<SocketAddr>,
    /// The addresses of the listed masters.
    pub masters: Vec<SocketAddr>,
    /// The stream, if the answer was 200.
    pub stream: Option<Stream>,
}

/// The answer to a subscription, as it arrives.
pub struct Stream {
    connection: Connection,
    body: Incoming,
    target: Target,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Does the connection's work; `None` once it is done.
    driver: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    peer: Option<SocketAddr>,
}

impl Caller {
    /// A caller for the masters of `config`.
    pub fn new(config: Arc<MesosConfig>) -> Self {
        let login = match &config.credentials {
            Some(MesosCredentials::ServiceAccount(path)) => {
                // The name in the masters' certificates is not that of the host that logs in.
                let tls = ClientTls { server_name: None, ..config.tls.clone().unwrap_or_default() };
                Some(Login::new(path.clone(), tls))
            }
            _ => None,
        };
        Self { config, login }
    }

    /// Asks for the stream of events, or for the state. How long the answer takes is bounded by the caller: a master
    /// is silent while it makes the snapshot.
    ///
    /// # Errors
    /// The master cannot be asked.
    pub async fn open(&self, request: Request) -> Result<Opened, ConnectionError> {
        let target = &request.target;
        let authorization = self.authorization(&request).await?;
        let mut connection = self.connect(target).await?;
        let message = match self.config.mode {
            MesosMode::Subscribe => self.request(target, authorization, "SUBSCRIBE")?,
            MesosMode::State => state_request(target, authorization)?,
        };
        let mut response = connection.call(message, target).await?;
        let mut head = head(&response);
        if head.status != 200 {
            head.body = connection.refusal(&mut response).await;
            self.refused(head.status);
        }
        let masters = if head.status == 200 { self.resolve_masters().await } else { Vec::new() };
        let peer = connection.peer;
        let stream =
            (head.status == 200).then(|| Stream { connection, body: response.into_body(), target: target.clone() });
        Ok(Opened { head, peer, masters, stream })
    }

    /// Reads all agents.
    ///
    /// # Errors
    /// The answer is not complete and readable.
    pub async fn list_agents(&self, request: Request) -> Result<Vec<Item>, ConnectionError> {
        let listing = self.read_agents(&request);
        timeout(LISTING_TIMEOUT, listing).await.unwrap_or_else(|_| {
            Err(ConnectionError::Timeout { target: request.target.clone(), limit: LISTING_TIMEOUT })
        })
    }

    async fn read_agents(&self, request: &Request) -> Result<Vec<Item>, ConnectionError> {
        let target = &request.target;
        let authorization = self.authorization(request).await?;
        let mut connection = self.connect(target).await?;
        let message = self.request(target, authorization, "GET_AGENTS")?;
        let mut response = connection.call(message, target).await?;
        let mut head = head(&response);
        if head.status != 200 {
            head.body = connection.refusal(&mut response).await;
            self.refused(head.status);
        }
        let credentials = Credentials::of(self.config.credentials.is_some(), request.sends_credentials);
        if let Some(error) = refusal::explain(&head, self.media_type(), target, credentials) {
            return Err(ConnectionError::Refused(error));
        }
        let unreadable = |source| ConnectionError::Decode { target: target.clone(), source };
        let (mut decoder, mut items) = (ResponseDecoder::new(self.config.encoding), Vec::new());
        let body = response.body_mut();
        while let Some(frame) = connection.drive(body.frame()).await {
            let frame = frame.map_err(|error| broken(target, &error))?;
            if let Some(bytes) = frame.data_ref() {
                decoder.push(bytes, &mut items).map_err(unreadable)?;
            }
            if items.len() > MAX_LISTED {
                return Err(ConnectionError::TooMany { target: target.clone() });
            }
        }
        decoder.finish().map_err(unreadable)?;
        Ok(items)
    }

    async fn connect(&self, target: &Target) -> Result<Connection, ConnectionError> {
        timeout(CONNECT_TIMEOUT, self.dial(target))
            .await
            .unwrap_or_else(|_| Err(ConnectionError::Timeout { target: target.clone(), limit: CONNECT_TIMEOUT }))
    }

    async fn dial(&self, target: &Target) -> Result<Connection, ConnectionError> {
        let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
            .await
            .map_err(|source| ConnectionError::Resolve { target: target.clone(), source })?
            .collect::<Vec<_>>();
        let unreachable = |source| ConnectionError::Connect { target: target.clone(), source };
        let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive).map_err(unreachable)?;
        let peer = tcp.peer_addr().ok();
        let socket: Box<dyn Socket> = match &self.config.tls {
            None => Box::new(tcp),
            Some(_) => Box::new(self.handshake(target, tcp).await?),
        };
        let (sender, driver) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| broken(target, &error))?;
        Ok(Connection { sender, driver: Some(Box::pin(driver)), peer })
    }

    async fn handshake(
        &self,
        target: &Target,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectionError> {
        let tls = self.config.tls.clone().unwrap_or_default();
        let name = tls.server_name.as_ref().or(target.server_name.as_ref()).unwrap_or(&target.host).clone();
        let server_name = ServerName::try_from(name.clone()).map_err(|_| ConnectionError::ServerName { host: name })?;
        let config = client_config(&tls)?;
        tokio_rustls::TlsConnector::from(config)
            .connect(server_name, tcp)
            .await
            .map_err(|source| handshake_error(target, source))
    }

    fn request(
        &self,
        target: &Target,
        authorization: Option<HeaderValue>,
        call: &str,
    ) -> Result<HttpRequest<Full<Bytes>>, ConnectionError> {
        let mut builder = HttpRequest::post(target.path.as_str())
            .header(HOST, target.to_string())
            .header(CONTENT_TYPE, self.media_type())
            .header(ACCEPT, self.media_type());
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let body = wire::Call { r#type: Some(wire::call_type::number(call)) };
        let body = match self.config.encoding {
            MesosEncoding::Protobuf => body.encode_to_vec(),
            MesosEncoding::Json => format!(r#"{{"type":"{call}"}}"#).into_bytes(),
        };
        builder
            .body(Full::new(body.into()))
            .map_err(|error| ConnectionError::Http { target: target.clone(), what: error.to_string() })
    }

    /// What goes with a request to a configured master; others get nothing.
    async fn authorization(&self, request: &Request) -> Result<Option<HeaderValue>, ConnectionError> {
        if !request.sends_credentials {
            return Ok(None);
        }
        let text = match self.config.credentials.as_ref() {
            None => return Ok(None),
            Some(MesosCredentials::Basic { principal, secret }) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{principal}:{}", secret.0));
                format!("Basic {pair}")
            }
            Some(MesosCredentials::Token(token)) => format!("token={}", token.0),
            Some(MesosCredentials::ServiceAccount(_)) => {
                return match &self.login {
                    Some(login) => Ok(Some(login.authorization().await?)),
                    None => Ok(None),
                };
            }
        };
        // A token with characters that a header cannot have is not sent; the master's 401 then tells.
        let mut value = HeaderValue::from_str(&text).ok();
        value.iter_mut().for_each(|value| value.set_sensitive(true));
        Ok(value)
    }

    /// A token that is not accepted is not used again.
    fn refused(&self, status: u16) {
        if status == 401 {
            self.login.iter().for_each(Login::forget);
        }
    }

    fn media_type(&self) -> &'static str {
        match self.config.encoding {
            MesosEncoding::Protobuf => refusal::PROTOBUF,
            MesosEncoding::Json => refusal::JSON,
        }
    }

    /// The addresses of the listed masters, in the list's order; those that cannot be looked up are left out.
    async fn resolve_masters(&self) -> Vec<SocketAddr> {
        let Masters::List(listed) = &self.config.masters else { return Vec::new() };
        let mut addresses = Vec::new();
        let resolving = async {
            for target in listed.iter().filter_map(|text| Target::parse(text)) {
                let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
                addresses.extend(found.ok().and_then(|mut found| found.next()));
            }
        };
        let _ = timeout(RESOLVE_TIMEOUT, resolving).await;
        addresses
    }
}

impl Stream {
    /// The next bytes; `None` when the stream ended in order. Cancel safe: nothing is lost when it is dropped.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        loop {
            match self.connection.drive(self.body.frame()).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&self.target, &error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

fn state_request(
    target: &Target,
    authorization: Option<HeaderValue>,
) -> Result<HttpRequest<Full<Bytes>>, ConnectionError> {
    let mut builder = HttpRequest::get(target.path.as_str())
        .header(HOST, target.to_string())
        .header(ACCEPT, refusal::JSON)
        .header(ACCEPT_ENCODING, "gzip")
        .header(CONNECTION, "close");
    if let Some(authorization) = authorization {
        builder = builder.header(AUTHORIZATION, authorization);
    }
    builder
        .body(Full::default())
        .map_err(|error| ConnectionError::Http { target: target.clone(), what: error.to_string() })
}

impl Connection {
    async fn call(
        &mut self,
        request: HttpRequest<Full<Bytes>>,
        target: &Target,
    ) -> Result<Response<Incoming>, ConnectionError> {
        let answer = self.sender.send_request(request);
        drive(&mut self.driver, answer).await.map_err(|error| broken(target, &error))
    }

    /// The first bytes of a refusal's body, as text. What cannot be read is not needed.
    async fn refusal(&mut self, response: &mut Response<Incoming>) -> String {
        let mut text = Vec::new();
        let body = response.body_mut();
        while text.len() < MAX_REFUSAL_BYTES {
            let Ok(Some(Ok(frame))) = timeout(RESOLVE_TIMEOUT, self.drive(body.frame())).await else { break };
            if let Some(bytes) = frame.data_ref() {
                text.extend_from_slice(&bytes[..bytes.len().min(MAX_REFUSAL_BYTES - text.len())]);
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.driver, future).await
    }
}

/// Waits for `future`, which needs the connection's work to be done meanwhile.
async fn drive<F: Future>(
    driver: &mut Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    future: F,
) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        // Its own error comes out of the answer, too.
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            *driver = None;
        }
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn head(response: &Response<Incoming>) -> Head {
    let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Head {
        status: response.status().as_u16(),
        content_type: text(CONTENT_TYPE),
        content_encoding: text(CONTENT_ENCODING),
        date: text(DATE).and_then(|date| seconds(&date)),
        location: text(LOCATION),
        body: String::new(),
    }
}

/// The seconds since 1970 of an HTTP date.
fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn broken(target: &Target, error: &hyper::Error) -> ConnectionError {
    let mut what = if error.is_incomplete_message() {
        "the connection was closed within an answer or without one; if the master speaks TLS, configure tls".to_owned()
    } else {
        error.to_string()
    };
    if let Some(cause) = error.source() {
        what = format!("{what}: {cause}");
    }
    ConnectionError::Http { target: target.clone(), what }
}

fn handshake_error(target: &Target, source: std::io::Error) -> ConnectionError {
    use rustls::AlertDescription::{HandshakeFailure, InsufficientSecurity, ProtocolVersion};
    let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(HandshakeFailure | InsufficientSecurity | ProtocolVersion)) => {
            ConnectionError::Ciphers { target: target.clone() }
        }
        Some(rustls::Error::PeerIncompatible(_)) => ConnectionError::Ciphers { target: target.clone() },
        _ => ConnectionError::Handshake { target: target.clone(), source },
    }
}
