//! HTTP towards what sources and their logins ask: one request a connection, TLS where the URL says so.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::mesos::address::{join_host_port, split_host_port};
use super::mesos::tls::{TlsError, client_config};
use super::service_account::AccountError;
use crate::config::checked::ClientTls;

/// For name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of an answer: Marathon makes a whole list before it sends the first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a byte of an answer's body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer: 15 MB at 5,000 apps of Marathon, measured.
const MAX_BODY: usize = 512 << 20;

/// Somewhere to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether by TLS.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands before every path (`/service/marathon`), or a path of its own.
    pub base: String,
}

impl Target {
    /// Reads an `http://` or `https://` URL.
    pub fn parse(url: &str) -> Option<Self> {
        let (tls, rest) = match url.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let default = if tls { 443 } else { 80 };
        let with_port = format!("{authority}:{default}");
        let (host, port) = split_host_port(authority).or_else(|| split_host_port(&with_port))?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let good =
            !host.is_empty() && !authority.contains('@') && is_plain(path) && is_plain(host) && !path.contains('#');
        good.then(|| Self { tls, host: host.to_ascii_lowercase(), port, base: path.trim_end_matches('/').to_owned() })
    }

    /// Where a redirect from here leads.
    pub fn redirected(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::parse(location);
        }
        location.starts_with('/').then(|| Self { base: location.to_owned(), ..self.clone() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", join_host_port(&self.host, self.port), self.base)
    }
}

/// A server cannot be asked, or does not answer as it should.
#[derive(Debug, Error)]
pub enum ClientError {
    /// TCP or the name.
    #[error("{target} cannot be reached: {source}")]
    Connect {
        /// Whom.
        target: Target,
        /// Why.
        source: std::io::Error,
    },
    /// Neither yes nor no.
    #[error("{0} does not answer in time")]
    Timeout(Target),
    /// The configured files.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// The host is no name a certificate can have.
    #[error("{0:?} is no name that a certificate can have; set `tls.server_name`")]
    ServerName(String),
    /// HTTP fails.
    #[error("{target}: {source}")]
    Http {
        /// Whom.
        target: Target,
        /// Why.
        source: hyper::Error,
    },
    /// Another status than 200.
    #[error("{target} answers {status}{hint}")]
    Status {
        /// Whom.
        target: Target,
        /// What.
        status: u16,
        /// The mend, where one is known.
        hint: &'static str,
    },
    /// The answer is too large.
    #[error("{0} sends more than 512 MiB")]
    TooLarge(Target),
    /// Redirects in a circle.
    #[error("{0} redirects without end")]
    Redirects(Target),
    /// A redirect that cannot be followed.
    #[error("{0} redirects to a place that cannot be understood")]
    Location(Target),
    /// A redirect to clear text, where credentials would be shown.
    #[error("{0} redirects from TLS to clear text, which is not followed")]
    Downgrade(Target),
    /// A redirect to a host that is not configured, which asks for credentials.
    #[error("{0} is where a redirect leads and asks for credentials, which go to hosts of `urls` alone: add it there")]
    Foreign(Target),
    /// The service account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The login.
    #[error("{0} does not accept the service account")]
    Login(Target),
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// An answer whose body is still to be read. Dropping it closes the connection.
#[derive(Debug)]
pub struct Answer {
    /// Who gave it, after redirects.
    pub target: Target,
    /// What it said.
    pub response: Response<Incoming>,
    _driver: AbortOnDropHandle<()>,
}

/// Asks a target for its path. The answer has any status.
///
/// # Errors
/// There is none.
pub async fn ask(
    tls: &ClientTls,
    target: &Target,
    method: Method,
    accept: &'static str,
    authorization: Option<HeaderValue>,
    body: Bytes,
) -> Result<Answer, ClientError> {
    let late = || ClientError::Timeout(target.clone());
    let socket = timeout(CONNECT_TIMEOUT, connect(tls, target)).await.map_err(|_| late())??;
    let failed = |source| ClientError::Http { target: target.clone(), source };
    let (mut sender, driver) = http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // Whoever reads the answer hears of an error.
        let _ = driver.await;
    }));
    let path = if target.base.is_empty() { "/" } else { &target.base };
    let mut request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
    request = request.header(HOST, join_host_port(&target.host, target.port));
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(body)).map_err(|_| ClientError::Location(target.clone()))?;
    let response = timeout(HEAD_TIMEOUT, sender.send_request(request)).await.map_err(|_| late())?;
    Ok(Answer { target: target.clone(), response: response.map_err(failed)?, _driver: driver })
}

async fn connect(tls: &ClientTls, target: &Target) -> Result<Box<dyn Socket>, ClientError> {
    let unreachable = |source| ClientError::Connect { target: target.clone(), source };
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    if !target.tls {
        return Ok(Box::new(tcp));
    }
    let name = tls.server_name.clone().unwrap_or_else(|| target.host.clone());
    let server_name = ServerName::try_from(name.clone()).map_err(|_| ClientError::ServerName(name))?;
    let connector = tokio_rustls::TlsConnector::from(client_config(tls)?);
    Ok(Box::new(connector.connect(server_name, tcp).await.map_err(unreachable)?))
}

impl Answer {
    /// The next bytes of the body; `None` at its end. Cancel safe.
    ///
    /// # Errors
    /// It breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.response.body_mut().frame().await {
                None => return Ok(None),
                Some(Err(source)) => return Err(ClientError::Http { target: self.target.clone(), source }),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// It breaks off, is too long, or stops coming.
    pub async fn whole(mut self) -> Result<Bytes, ClientError> {
        let mut all = BytesMut::new();
        loop {
            let next = timeout(STALL_TIMEOUT, self.next()).await;
            match next.map_err(|_| ClientError::Timeout(self.target.clone()))?? {
                None => return Ok(all.freeze()),
                Some(bytes) if all.len() + bytes.len() > MAX_BODY => return Err(ClientError::TooLarge(self.target)),
                Some(bytes) => all.extend_from_slice(&bytes),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("HTTP://x").map(|t| t.to_string());
        assert_eq!(target, None);
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(Target::parse(url).map(|target| target.to_string()).as_deref(), expected, "{url}");
        };
        check("http://M1:8080", Some("http://m1:8080"));
        check("http://m1", Some("http://m1:80"));
        check("https://dcos.test/service/marathon/", Some("https://dcos.test:443/service/marathon"));
        check("https://[::1]:8443", Some("https://[::1]:8443"));
        for wrong in ["", "m1:8080", "zk://m1", "http://", "http://a:b@m1", "http://m1/ x", "http://m1/#x"] {
            check(wrong, None);
        }
    }

    #[test]
    fn redirects() {
        let from = Target::parse("http://m1:8080").unwrap();
        let to = |location: &str| from.redirected(location).map(|target| target.to_string());
        assert_eq!(to("http://m2:8080/v2/events?x=y").as_deref(), Some("http://m2:8080/v2/events?x=y"));
        assert_eq!(to("/v2/events").as_deref(), Some("http://m1:8080/v2/events"));
        assert_eq!(to("elsewhere"), None);
    }
}
