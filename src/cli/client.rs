//! Asks an instance over its Unix socket or TCP. One connection a call, every wait bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::{DEFAULT_SOCKET, DEFAULT_URL, Instance, Output};
use crate::admin::reply::{ErrorDetail, ErrorDocument};

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take, its body included.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The longest silence on a stream of events; keep-alive comments come more often.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest answer.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// The largest piece of a stream of events that is kept until its end is there.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// An instance, and how to reach it.
pub(super) struct Client {
    place: Place,
    token: Option<HeaderValue>,
    runtime: Runtime,
}

enum Place {
    Socket(PathBuf),
    Tcp { host: String, port: u16, tls: Option<TlsConnector> },
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An answer as it came, and as what it says.
pub(super) struct Answer<T> {
    pub text: String,
    pub value: T,
}

impl Client {
    pub(super) fn new(instance: &Instance) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Program(format!("the runtime cannot start: {error}")))?;
        let place = match &instance.admin {
            Some(place) => Place::parse(place, &instance.ca)?,
            None if Path::new(DEFAULT_SOCKET).exists() => Place::Socket(DEFAULT_SOCKET.into()),
            None => Place::parse(DEFAULT_URL, &instance.ca)?,
        };
        let token = instance.token_file.as_deref().map(token).transpose()?;
        Ok(Self { place, token, runtime })
    }

    /// Reads `path`.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::GET, path)
    }

    /// Orders `path`.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::POST, path)
    }

    /// Sets `path`.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::PUT, path)
    }

    /// Takes `path` back.
    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::DELETE, path)
    }

    /// Hands each event of a stream (its name and data) to `each`, until that says `false` or the stream ends.
    pub(super) fn follow(
        &self,
        path: &str,
        mut each: impl FnMut(&str, &str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let response = self.within(ANSWER_TIME, self.send(Method::GET, path)).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response).await);
            }
            let mut body = response.into_body();
            let mut pending = String::new();
            loop {
                let frame = self.within(SILENCE, async { Ok(body.frame().await) }).await?;
                let Some(frame) = frame else { return Err(self.unreachable(&"the stream of events ended")) };
                let frame = frame.map_err(|error| self.unreachable(&error))?;
                let Ok(data) = frame.into_data() else { continue };
                pending.push_str(&String::from_utf8_lossy(&data));
                while let Some(end) = pending.find("\n\n") {
                    let event: String = pending.drain(..end + 2).collect();
                    if let Some((name, data)) = parse_event(&event)
                        && !each(name, data)?
                    {
                        return Ok(());
                    }
                }
                if pending.len() > MAX_EVENT {
                    return Err(self.unreachable(&"an event is larger than an instance sends"));
                }
            }
        })
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<Answer<T>, Failure> {
        self.runtime.block_on(self.within(ANSWER_TIME, async {
            let response = self.send(method, path).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            let text = self.body(response).await?;
            let value = serde_json::from_str(&text);
            let value = value.map_err(|error| self.unreachable(&format!("its answer is not as expected: {error}")))?;
            Ok(Answer { text, value })
        }))
    }

    async fn send(&self, method: Method, path: &str) -> Result<Response<Incoming>, Failure> {
        let stream = self.within(CONNECT_TIME, self.connect()).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.unreachable(&error))?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.place.host());
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::<Bytes>::default());
        let request = request.map_err(|error| Failure::Usage(format!("{path:?} cannot be asked for: {error}")))?;
        // The connection ends with the runtime, which this client owns; its errors reach us through the answer.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| self.unreachable(&error))?;
                Ok(Box::new(stream))
            }
            Place::Tcp { host, port, tls } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((bare, *port)).await.map_err(|error| self.unreachable(&error))?;
                let Some(tls) = tls else { return Ok(Box::new(stream)) };
                let name = ServerName::try_from(bare.to_owned()).map_err(|error| self.unreachable(&error))?;
                let stream = tls.connect(name, stream).await.map_err(|error| self.unreachable(&error))?;
                Ok(Box::new(stream))
            }
        }
    }

    async fn body(&self, response: Response<Incoming>) -> Result<String, Failure> {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.unreachable(&error))?.to_bytes();
        String::from_utf8(body.into()).map_err(|_| self.unreachable(&"its answer is not text"))
    }

    /// The failure that an answer with an error status stands for.
    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let text = match self.body(response).await {
            Ok(text) => text,
            Err(failure) => return failure,
        };
        let Ok(ErrorDocument { error }) = serde_json::from_str(&text) else {
            return self.unreachable(&format!("something else answers there, with status {status}"));
        };
        sort(status, error)
    }

    async fn within<T>(&self, limit: Duration, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = || self.unreachable(&format!("no answer within {} s", limit.as_secs()));
        tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(late()))
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Failure {
        Failure::Unreachable { address: self.place.to_string(), reason: reason.to_string() }
    }
}

impl<T> Answer<T> {
    /// Prints the answer as it came where JSON is asked for; whether it did.
    pub(super) fn printed(&self, output: &mut Output<'_>) -> Result<bool, Failure> {
        if output.json {
            writeln!(output.out, "{}", self.text)?;
        }
        Ok(output.json)
    }
}

impl Place {
    fn parse(text: &str, ca: &Path) -> Result<Self, Failure> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if !path.contains("://") {
            return Ok(Self::Socket(path.into()));
        }
        let invalid = || Failure::Usage(format!("--admin {text:?} is neither a path nor http(s)://host:port"));
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let host = uri.host().ok_or_else(invalid)?.to_owned();
        let (tls, default_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(connector(ca)?), 443),
            _ => return Err(invalid()),
        };
        Ok(Self::Tcp { host, port: uri.port_u16().unwrap_or(default_port), tls })
    }

    fn host(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".into(),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp { host, port, tls } => {
                write!(f, "{}://{host}:{port}", if tls.is_some() { "https" } else { "http" })
            }
        }
    }
}

/// Whether an error is a negative answer or a refusal.
fn sort(status: StatusCode, error: ErrorDetail) -> Failure {
    match status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Failure::Negative(error),
        StatusCode::BAD_REQUEST => Failure::Usage(format!("{}; {}", error.message, error.mend)),
        _ => Failure::Refused(error),
    }
}

/// The name and the data of an event; `None` for comments.
fn parse_event(text: &str) -> Option<(&str, &str)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    Some((field("event:").unwrap_or("message"), field("data:")?))
}

fn token(path: &Path) -> Result<HeaderValue, Failure> {
    let invalid = |reason: &dyn std::fmt::Display| {
        Failure::Usage(format!("the token file {} cannot be used: {reason}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| invalid(&error))?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim())).map_err(|error| invalid(&error))?;
    value.set_sensitive(true);
    Ok(value)
}

fn connector(ca: &Path) -> Result<TlsConnector, Failure> {
    let invalid = |reason: &dyn std::fmt::Display| {
        Failure::Usage(format!("the authorities in {} cannot be used: {reason}; set --ca", ca.display()))
    };
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    roots.add_parsable_certificates(certificates.map_err(|error| invalid(&error))?);
    if roots.is_empty() {
        return Err(invalid(&"it holds none"));
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        assert_eq!(parse_event("id: 1\nevent: table\ndata: {}\n\n"), Some(("table", "{}")));
        assert_eq!(parse_event("data: x\n\n"), Some(("message", "x")));
        assert_eq!(parse_event(": still here\n\n"), None);
    }

    #[test]
    fn places() {
        let place = |text: &str| Place::parse(text, Path::new("/nonexistent")).map(|place| place.to_string()).ok();
        assert_eq!(place("/run/x.sock").as_deref(), Some("/run/x.sock"));
        assert_eq!(place("unix:/run/x.sock").as_deref(), Some("/run/x.sock"));
        assert_eq!(place("http://localhost:1").as_deref(), Some("http://localhost:1"));
        assert_eq!(place("ftp://localhost"), None);
        assert_eq!(place("https://localhost"), None, "without authorities");
    }
}
