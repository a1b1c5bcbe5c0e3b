//! HTTP towards an authority: over TLS alone, within bounds of time and size, by the program's own client.
//!
//! The library that speaks ACME takes what an authority says on trust in two places, where a wrong word would end the
//! program: a directory's URLs, and how long to wait. Both are checked here, before it sees them.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use crate::cluster::sources::http::Target;
use crate::cluster::sources::mesos::address::join_host_port;
use crate::proxy::outbound::{self, Whom};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer: a chain of certificates has some kilobytes.
const MOST: usize = 1 << 20;
/// The longest wait that an authority can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 86_400);

/// What an authority asked for with its last refusal.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<Option<Duration>>>);

impl Told {
    /// How long to wait, said once.
    pub fn take(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, wait: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wait;
    }
}

/// Why an authority gives no answer that could be read.
#[derive(Debug, thiserror::Error)]
enum ClientFault {
    /// Clear text, or no URL at all.
    #[error("{0} is no https URL, and nothing else is asked")]
    NotHttps(Uri),
    /// No connection, or no HTTP.
    #[error("{0}: {1}")]
    Outbound(Uri, #[source] outbound::OutboundFault),
    /// Too long.
    #[error("{0} does not answer in time")]
    Late(Uri),
    /// A status that says nothing in ACME.
    #[error("{0} answers {1}")]
    Status(Uri, u16),
    /// The directory.
    #[error("{0} is no directory of ACME: {1}")]
    Directory(Uri, &'static str),
    /// The request itself.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
}

/// Speaks to one authority.
pub struct Client {
    ca: Option<PathBuf>,
    told: Told,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; `ca`: a file of authorities that answer for its name, `None`: the system's.
    pub fn new(ca: Option<PathBuf>, told: Told) -> Self {
        Self { ca, told }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let (ca, told) = (self.ca.clone(), self.told.clone());
        Box::pin(async move {
            let asked = ask(ca.as_deref(), &told, request).await;
            asked.map(|answer| answer.map(Full::new).into()).map_err(|fault| Error::Other(with_causes(&fault).into()))
        })
    }
}

/// The library shows what is on top alone.
fn with_causes(fault: &ClientFault) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source().and_then(StdError::source);
    while let Some(found) = cause {
        let said = found.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = found.source();
    }
    text
}

async fn ask(
    ca: Option<&Path>,
    told: &Told,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Bytes>, ClientFault> {
    let (head, body) = request.into_parts();
    let url = head.uri;
    // RFC 8555 section 6.1: "Use of HTTPS is REQUIRED"; wherever the directory leads.
    let target = Target::parse(&url.to_string()).filter(|target| target.tls);
    let target = target.ok_or_else(|| ClientFault::NotHttps(url.clone()))?;
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut asked = Request::builder().method(head.method.clone()).uri(path).body(Full::new(body))?;
    *asked.headers_mut() = head.headers;
    let host = HeaderValue::try_from(join_host_port(&target.host, target.port)).map_err(http::Error::from)?;
    asked.headers_mut().insert(HOST, host);
    // RFC 8555 section 6.1: clients "MUST send a User-Agent", with name and version, and "SHOULD send an Accept-Language".
    asked.headers_mut().insert(USER_AGENT, HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION"))));
    asked.headers_mut().insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    let whom = Whom { target: &target, ca };
    let answer = timeout(PATIENCE, outbound::fetch(whom, asked, MOST)).await;
    let answer = answer.map_err(|_| ClientFault::Late(url.clone()))?;
    let mut answer = answer.map_err(|fault| ClientFault::Outbound(url.clone(), fault))?;
    let wait = bound_wait(&mut answer, SystemTime::now());
    if !answer.status().is_success() {
        told.set(wait);
    }
    check(&url, &head.method, &answer)?;
    Ok(answer)
}

/// Lets pass what the library can read.
fn check(url: &Uri, method: &Method, answer: &Response<Bytes>) -> Result<(), ClientFault> {
    let status = answer.status();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // RFC 8555 section 6.7: errors are problem documents. Redirects are not followed: a signature is for one URL.
    let is_problem = (status.is_client_error() || status.is_server_error()) && kind.contains("json");
    if !status.is_success() && (!is_problem || method != Method::POST) {
        return Err(ClientFault::Status(url.clone(), status.as_u16()));
    }
    // Only the directory is asked for without a signature.
    if method == Method::GET { check_directory(url, answer.body()) } else { Ok(()) }
}

/// RFC 8555 section 7.1.1.
fn check_directory(url: &Uri, body: &[u8]) -> Result<(), ClientFault> {
    let refused = |why| ClientFault::Directory(url.clone(), why);
    let directory: serde_json::Value = serde_json::from_slice(body).map_err(|_| refused("it is no JSON"))?;
    for field in ["newNonce", "newAccount", "newOrder"] {
        let found = directory.get(field).and_then(|found| found.as_str());
        let found = found.ok_or_else(|| refused("newNonce, newAccount or newOrder is missing"))?;
        found.parse::<Uri>().map_err(|_| refused("one of its URLs is none"))?;
    }
    Ok(())
}

/// How long the answer asks to wait, within bounds; what it says is put so.
fn bound_wait(answer: &mut Response<Bytes>, now: SystemTime) -> Option<Duration> {
    let said = answer.headers_mut().remove(RETRY_AFTER)?;
    let text = said.to_str().ok()?.trim();
    // RFC 9110 section 10.2.3: seconds, or a date.
    let wait = match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        true => Duration::from_secs(text.parse().unwrap_or(u64::MAX)),
        false => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    let wait = wait.min(LONGEST_WAIT);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    Some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)], body: &'static str) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        answer.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn waits_are_bounded_before_anybody_adds_them_up() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let date = httpdate::fmt_http_date(now + Duration::from_secs(90));
        for (said, expected, shown) in [
            ("120", Some(120), Some("120")),
            ("18446744073709551615", Some(604_800), Some("604800")),
            ("99999999999999999999999", Some(604_800), Some("604800")),
            (date.as_str(), Some(90), Some("90")),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(604_800), Some("604800")),
            ("soon", None, None),
            ("-1", None, None),
        ] {
            let mut answer = answer(503, &[("retry-after", said)], "");
            assert_eq!(bound_wait(&mut answer, now).map(|wait| wait.as_secs()), expected, "{said}");
            assert_eq!(answer.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap()), shown, "{said}");
        }
    }

    #[test]
    fn only_what_the_library_can_read_passes() {
        let url = Uri::from_static("https://ca.test/directory");
        let passes = |method: &Method, answer: &Response<Bytes>| check(&url, method, answer).map_err(|e| e.to_string());
        let problem = [("content-type", "application/problem+json")];
        assert!(passes(&Method::POST, &answer(429, &problem, "{}")).is_ok());
        for (method, status, fields) in [
            (Method::POST, 503, &[][..]),
            (Method::POST, 302, &problem),
            (Method::HEAD, 503, &problem),
            (Method::GET, 500, &problem),
        ] {
            let said = passes(&method, &answer(status, fields, "")).unwrap_err();
            assert!(said.contains(&status.to_string()), "{said}");
        }
        let urls =
            r#"{"newNonce": "https://ca.test/n", "newAccount": "https://ca.test/a", "newOrder": "https://ca.test/o"}"#;
        assert!(passes(&Method::GET, &answer(200, &[], urls)).is_ok());
        for wrong in ["", "[]", "{}", r#"{"newNonce": "not a {url}", "newAccount": "/", "newOrder": "/"}"#] {
            assert!(passes(&Method::GET, &answer(200, &[], wrong)).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn clear_text_is_refused() {
        for url in ["http://127.0.0.1:1/directory", "/directory"] {
            let request = Request::builder().uri(url).body(BodyWrapper::default()).unwrap();
            let asked = Client::new(None, Told::default()).request(request).await;
            let said = asked.err().unwrap().to_string();
            assert!(said.contains("no https URL"), "{said}");
        }
    }
}
