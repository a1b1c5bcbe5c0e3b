//! One try: a POST to the collector and what its answer says.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::time::timeout;

use super::connection::Connection;
use super::retry;
use crate::cluster::sources::http::Target;
use crate::cluster::sources::mesos::address::join_host_port;
use crate::config::otlp::OtlpConfig;
use crate::proxy::outbound::Whom;

/// Where spans go if the URL says nothing else (OTLP 1.x, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";
/// The largest answer.
const MOST: usize = 64 * 1024;
/// What is shown of words of the collector's.
const SHOWN: usize = 200;

/// Where and how it is sent.
#[derive(Debug)]
pub(super) struct Settings {
    target: Target,
    headers: HeaderMap,
    ca: Option<PathBuf>,
    timeout: Duration,
}

impl Settings {
    /// As it is configured; `None`: it is not.
    pub(super) fn of(config: &OtlpConfig) -> Option<Self> {
        let mut target = Target::parse(config.endpoint.as_deref()?)?;
        if target.base.is_empty() {
            target.base = PATH.into();
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION"))));
        headers.insert(HOST, HeaderValue::from_str(&join_host_port(&target.host, target.port)).ok()?);
        for field in &config.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(&field.value.0).ok()?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Some(Self { target, headers, ca: config.ca.clone(), timeout: config.timeout })
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.base.parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What the collector says of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has it, but for so many spans.
    Taken {
        /// Spans that it did not want.
        rejected: u64,
        /// What it says to that.
        message: String,
    },
    /// A later try may succeed.
    Later {
        /// How late, where it says so.
        after: Option<Duration>,
        /// What is wrong.
        error: String,
    },
    /// It does not want the batch, for this reason.
    Refused(String),
}

/// The connection to the collector.
#[derive(Debug, Default)]
pub(super) struct Line(Connection);

impl Line {
    /// Sends a batch.
    pub(super) async fn send(&mut self, settings: &Settings, body: Bytes) -> Answer {
        let whom = Whom { target: &settings.target, ca: settings.ca.as_deref() };
        let asked = self.0.ask(whom, || settings.request(body.clone()), MOST);
        match timeout(settings.timeout, asked).await {
            Ok(Ok(answer)) => read(&answer, SystemTime::now()),
            Ok(Err(fault)) => Answer::Later { after: None, error: fault.to_string() },
            Err(_) => Answer::Later { after: None, error: "there is no answer in time".into() },
        }
    }
}

fn read(answer: &Response<Bytes>, now: SystemTime) -> Answer {
    let status = answer.status();
    if status.is_success() {
        // Whoever answers something else has it all the same.
        let said = ExportTraceServiceResponse::decode(answer.body().clone()).ok();
        let partial = said.and_then(|said| said.partial_success).unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
        return Answer::Taken { rejected, message: shown(&partial.error_message) };
    }
    let error = format!("it answers {}", status.as_u16());
    if retry::is_passing(status) {
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        return Answer::Later { after: after.and_then(|value| retry::after(value, now)), error };
    }
    Answer::Refused(error)
}

/// The beginning, in one line.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, retry_after: &str, body: &[u8], expected: &Answer) {
        let answer = Response::builder().status(status).header(RETRY_AFTER, retry_after);
        let answer = answer.body(Bytes::copy_from_slice(body)).unwrap();
        assert_eq!(read(&answer, SystemTime::UNIX_EPOCH), *expected, "{status}");
    }

    #[test]
    fn answers() {
        let all = Answer::Taken { rejected: 0, message: String::new() };
        check(200, "", b"", &all);
        check(202, "", b"{\"partialSuccess\":{}}", &all);
        // partial_success = 1: rejected_spans = 1, error_message = 2, octet by octet.
        check(200, "", b"\x0a\x07\x08\x03\x12\x03no\n", &Answer::Taken { rejected: 3, message: "no ".into() });
        let later = |after: Option<u64>, status: u16| Answer::Later {
            after: after.map(Duration::from_secs),
            error: format!("it answers {status}"),
        };
        check(503, "7", b"", &later(Some(7), 503));
        check(429, "", b"", &later(None, 429));
        check(400, "7", b"", &Answer::Refused("it answers 400".into()));
        check(302, "", b"", &Answer::Refused("it answers 302".into()));
    }

    #[test]
    fn the_path_is_the_usual_one_unless_the_url_has_one() {
        let path = |url: &str| {
            let config = OtlpConfig { endpoint: Some(url.into()), ..OtlpConfig::default() };
            Settings::of(&config).map(|settings| settings.request(Bytes::new()).uri().to_string())
        };
        assert_eq!(path("http://[::1]:4318").as_deref(), Some("/v1/traces"));
        assert_eq!(path("https://c.test/").as_deref(), Some("/v1/traces"));
        assert_eq!(path("https://c.test/otlp/v1/traces").as_deref(), Some("/otlp/v1/traces"));
        assert!(Settings::of(&OtlpConfig::default()).is_none());
    }
}
