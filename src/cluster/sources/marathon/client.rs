//! HTTP towards Marathon: one request a connection, TLS, credentials, redirects to the leader.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
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

use super::service_account::{AccountError, LoggedIn, ServiceAccount};
use crate::cluster::sources::mesos::address::{join_host_port, split_host_port};
use crate::cluster::sources::mesos::tls::{TlsError, client_config};
use crate::config::checked::{MarathonConfig, MarathonCredentials};

/// For name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of an answer: Marathon makes a whole list before it sends the first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a byte of an answer's body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer: 15 MB at 5,000 apps, measured.
const MAX_BODY: usize = 512 << 20;
/// Redirects followed in a row.
const MAX_HOPS: u32 = 3;
/// How long a token of a service account is used; DC/OS gives them for five days.
const TOKEN_TIME: Duration = Duration::from_secs(3600);

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
    fn redirected(&self, location: &str) -> Option<Self> {
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

/// Marathon cannot be asked, or does not answer as it should.
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
    response: Response<Incoming>,
    _driver: AbortOnDropHandle<()>,
}

/// Speaks to one Marathon.
#[derive(Debug)]
pub struct Client {
    config: MarathonConfig,
    token: std::cell::RefCell<Option<(HeaderValue, tokio::time::Instant)>>,
}

impl Client {
    /// A client with these settings.
    pub fn new(config: MarathonConfig) -> Self {
        Self { config, token: std::cell::RefCell::default() }
    }

    /// Asks for `path` below a target's base; follows redirects.
    ///
    /// # Errors
    /// There is no answer with status 200.
    pub async fn get(&self, target: &Target, path: &str, accept: &'static str) -> Result<Answer, ClientError> {
        let mut whole = Target { base: format!("{}{path}", target.base), ..target.clone() };
        for _ in 0..=MAX_HOPS {
            // Who answers for a Marathon says where redirects lead, and could be anybody where there is no TLS.
            let is_ours = self.is_configured(&whole);
            let authorization = if is_ours { self.authorization().await? } else { None };
            let answer = self.ask(&whole, Method::GET, accept, authorization, Bytes::new()).await?;
            let status = answer.response.status().as_u16();
            match status {
                200 => return Ok(answer),
                // Whoever is not the leader says who is.
                301 | 302 | 303 | 307 | 308 => {
                    let location = answer.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                    let next = location.and_then(|location| whole.redirected(location));
                    let next = next.ok_or_else(|| ClientError::Location(whole.clone()))?;
                    if whole.tls && !next.tls {
                        return Err(ClientError::Downgrade(whole));
                    }
                    whole = next;
                }
                401 | 403 if !is_ours && self.config.credentials.is_some() => {
                    return Err(ClientError::Foreign(whole));
                }
                _ => {
                    // A token that was taken back is not used again.
                    if status == 401 {
                        self.token.replace(None);
                    }
                    return Err(ClientError::Status { target: whole, status, hint: hint(status) });
                }
            }
        }
        Err(ClientError::Redirects(whole))
    }

    /// Whether this is one of the configured Marathons: others get no credentials.
    fn is_configured(&self, target: &Target) -> bool {
        let place = |target: &Target| (target.tls, target.host.clone(), target.port);
        self.config.urls.iter().filter_map(|url| Target::parse(url)).any(|known| place(&known) == place(target))
    }

    /// The whole body of an answer for `path`.
    ///
    /// # Errors
    /// There is none, or it breaks off.
    pub async fn read(&self, target: &Target, path: &str) -> Result<Bytes, ClientError> {
        self.get(target, path, "application/json").await?.whole().await
    }

    async fn ask(
        &self,
        target: &Target,
        method: Method,
        accept: &'static str,
        authorization: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let late = || ClientError::Timeout(target.clone());
        let socket = timeout(CONNECT_TIMEOUT, self.connect(target)).await.map_err(|_| late())??;
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

    async fn connect(&self, target: &Target) -> Result<Box<dyn Socket>, ClientError> {
        let unreachable = |source| ClientError::Connect { target: target.clone(), source };
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if !target.tls {
            return Ok(Box::new(tcp));
        }
        let name = self.config.tls.server_name.clone().unwrap_or_else(|| target.host.clone());
        let server_name = ServerName::try_from(name.clone()).map_err(|_| ClientError::ServerName(name))?;
        let connector = tokio_rustls::TlsConnector::from(client_config(&self.config.tls)?);
        Ok(Box::new(connector.connect(server_name, tcp).await.map_err(unreachable)?))
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let text = match &self.config.credentials {
            None => return Ok(None),
            Some(MarathonCredentials::Basic { user, password }) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.0));
                format!("Basic {pair}")
            }
            Some(MarathonCredentials::Token(token)) => format!("token={}", token.0),
            Some(MarathonCredentials::ServiceAccount(path)) => {
                let now = tokio::time::Instant::now();
                let known = self.token.borrow().clone().filter(|(_, until)| *until > now);
                if let Some((token, _)) = known {
                    return Ok(Some(token));
                }
                let token = self.log_in(path).await?;
                self.token.replace(Some((token.clone(), now + TOKEN_TIME)));
                return Ok(Some(token));
            }
        };
        let mut value = HeaderValue::from_str(&text).ok();
        value.iter_mut().for_each(|value| value.set_sensitive(true));
        Ok(value)
    }

    async fn log_in(&self, path: &std::path::Path) -> Result<HeaderValue, ClientError> {
        let account = ServiceAccount::read(path)?;
        let refused = || ClientError::Login(account.login.clone());
        let body = account.login_body(SystemTime::now()).ok_or_else(refused)?;
        let answer = self.ask(&account.login, Method::POST, "application/json", None, body.into()).await?;
        if answer.response.status() != 200 {
            return Err(refused());
        }
        let said = answer.whole().await?;
        let token = serde_json::from_slice::<LoggedIn>(&said).map_err(|_| refused())?.token;
        let mut value = HeaderValue::from_str(&format!("token={token}")).map_err(|_| refused())?;
        value.set_sensitive(true);
        Ok(value)
    }
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

    async fn whole(mut self) -> Result<Bytes, ClientError> {
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

fn hint(status: u16) -> &'static str {
    match status {
        401 => "; it asks for credentials: set `user` and `password_file`, `token_file` or `service_account`",
        403 => "; the account may not read this: it needs admin:events and the apps",
        404 => "; is this Marathon's own URL, with the path that stands before it?",
        502 | 503 => "; it has no leader now",
        _ => "",
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
