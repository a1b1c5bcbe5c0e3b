//! Requests that are over → messages of OTLP, by OpenTelemetry's conventions for HTTP ("Semantic conventions for HTTP
//! spans") and with what this proxy knows beside (`pointsman.…`). Pure.
//!
//! Queries are left out, of the request and of what is sent to endpoints: secrets stand in them.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};

use crate::config::otlp::OtlpConfig;
use crate::proxy::access_log::line::EndKind;
use crate::proxy::spans::request::{Outcome, Record, Try};

/// Octets of a client's text that are told.
const LONGEST_TEXT: usize = 512;
/// … and of a path.
const LONGEST_PATH: usize = 4096;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Methods that have a name of their own ("HTTP request methods"); whatever else clients send is one name together.
const METHODS: [&str; 10] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

/// A whole batch.
pub(super) fn of(config: &OtlpConfig, records: &[Record]) -> ExportTraceServiceRequest {
    let mut told = Attributes::default();
    told.text("service.name", &*config.service);
    told.text("service.version", VERSION);
    for (name, value) in config.attributes.iter().filter_map(|attribute| attribute.split_once('=')) {
        told.text(name.trim(), value.trim());
    }
    let scope = InstrumentationScope { name: "pointsman".into(), version: VERSION.into(), ..Default::default() };
    let spans = records.iter().flat_map(|record| {
        let tries = record.tries.iter().enumerate().map(|(number, one)| client(record, number, one));
        std::iter::once(server(record)).chain(tries)
    });
    let spans = ScopeSpans { scope: Some(scope), spans: spans.collect(), ..Default::default() };
    let resource = Resource { attributes: told.0, ..Default::default() };
    let spans = ResourceSpans { resource: Some(resource), scope_spans: vec![spans], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

/// The request as its client saw it.
fn server(record: &Record) -> Span {
    let mut told = Attributes::default();
    told.method(&record.method);
    told.text("url.scheme", if record.secure { "https" } else { "http" });
    told.text("url.path", clip(record.target.path(), LONGEST_PATH));
    let (host, port) = host_and_port(&record.authority);
    told.some("server.address", host);
    told.number("server.port", port.map(u64::from));
    told.some("http.route", record.route.as_deref());
    told.number("http.response.status_code", record.status.map(u64::from));
    told.text("client.address", record.client.to_string());
    told.text("network.protocol.version", protocol(record.version));
    told.some("user_agent.original", record.user_agent.as_ref().map(text));
    told.some("pointsman.service", record.service.as_ref().map(ToString::to_string));
    told.some("pointsman.endpoint", record.endpoint.as_ref().map(|endpoint| endpoint.id.to_string()));
    told.some("pointsman.version", record.endpoint.as_ref().map(|endpoint| endpoint.version.as_str()));
    told.some("pointsman.reason", record.reason.map(crate::proxy::reason::Reason::code));
    told.text("pointsman.end", record.end.as_str());
    told.number("pointsman.table_version", Some(record.generation));
    // "Spans of kind server: the status is left unset for 4xx": those are the client's faults.
    let fault = match (record.end, record.status) {
        (EndKind::Cut, _) => Some("cut".to_owned()),
        (_, Some(status)) if status >= 500 => {
            Some(record.reason.map_or_else(|| status.to_string(), |reason| reason.code().into()))
        }
        _ => None,
    };
    told.some("error.type", fault.as_deref());
    Span {
        trace_state: record.state.as_deref().unwrap_or_default().into(),
        parent_span_id: record.parent.map(|id| id.to_be_bytes().into()).unwrap_or_default(),
        flags: flags(record.parent.is_some()),
        name: name(&record.method, record.route.as_deref()),
        ..span(record, record.context.span, SpanKind::Server, (Duration::ZERO, record.elapsed), told, fault.is_some())
    }
}

/// One try at an endpoint; `number`: how many there were before.
fn client(record: &Record, number: usize, one: &Try) -> Span {
    let mut told = Attributes::default();
    let endpoint = &one.endpoint;
    let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
    // A scope identifier is no part of an authority (RFC 9110 section 4.2).
    let address = SocketAddr::new(endpoint.address.ip(), endpoint.address.port());
    told.method(&record.method);
    told.text("server.address", address.ip().to_string());
    told.number("server.port", Some(address.port().into()));
    told.text("url.full", format!("{scheme}://{address}{}", clip(one.target.path(), LONGEST_PATH)));
    told.text("network.protocol.version", if endpoint.protocol.is_http2() { "2" } else { "1.1" });
    told.number("http.request.resend_count", (number > 0).then_some(number as u64));
    told.text("pointsman.service", endpoint.service.to_string());
    told.text("pointsman.endpoint", endpoint.id.to_string());
    told.text("pointsman.version", endpoint.version.as_str());
    let fault = match one.outcome {
        Outcome::Answered(status) => {
            told.number("http.response.status_code", Some(status.into()));
            (status >= 400).then(|| status.to_string())
        }
        Outcome::Failed(reason) => Some(reason.code().to_owned()),
        Outcome::GivenUp => Some("given-up".to_owned()),
    };
    told.some("error.type", fault.as_deref());
    // Nobody is at fault where another one was faster.
    let is_fault = fault.is_some() && one.outcome != Outcome::GivenUp;
    let times = (one.begun, one.ended.unwrap_or(record.elapsed));
    Span {
        parent_span_id: record.context.span.to_be_bytes().into(),
        trace_state: record.state.as_deref().unwrap_or_default().into(),
        flags: flags(false),
        name: name(&record.method, None),
        ..span(record, one.id, SpanKind::Client, times, told, is_fault)
    }
}

/// What all spans have.
fn span(
    record: &Record,
    id: u64,
    kind: SpanKind,
    (begun, ended): (Duration, Duration),
    told: Attributes,
    is_fault: bool,
) -> Span {
    let at = |after: Duration| record.started_at.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    let error = Status { code: StatusCode::Error.into(), message: String::new() };
    Span {
        trace_id: record.context.trace.to_be_bytes().into(),
        span_id: id.to_be_bytes().into(),
        kind: kind.into(),
        start_time_unix_nano: at(begun),
        end_time_unix_nano: at(ended.max(begun)),
        attributes: told.0,
        status: is_fault.then_some(error),
        ..Span::default()
    }
}

/// The flags of a trace that is recorded, and whether the parent is somebody else's.
fn flags(is_parent_remote: bool) -> u32 {
    let known = SpanFlags::ContextHasIsRemoteMask as u32 | 1;
    if is_parent_remote { known | SpanFlags::ContextIsRemoteMask as u32 } else { known }
}

/// "{method} {target}", the target one of few.
fn name(method: &Method, route: Option<&str>) -> String {
    let method = known_method(method).unwrap_or("HTTP");
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

fn known_method(method: &Method) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method.as_str())
}

/// What is said of a span or of this program.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, name: &str, value: Value) {
        let value = AnyValue { value: Some(value) };
        self.0.push(KeyValue { key: name.into(), value: Some(value), ..Default::default() });
    }

    fn text(&mut self, name: &str, text: impl Into<String>) {
        self.add(name, Value::StringValue(text.into()));
    }

    fn some(&mut self, name: &str, text: Option<impl Into<String>>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.add(name, Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)));
        }
    }

    fn method(&mut self, method: &Method) {
        self.text("http.request.method", known_method(method).unwrap_or("_OTHER"));
        if known_method(method).is_none() {
            self.text("http.request.method_original", clip(method.as_str(), LONGEST_TEXT));
        }
    }
}

fn text(value: &HeaderValue) -> String {
    clip(&String::from_utf8_lossy(value.as_bytes()), LONGEST_TEXT).to_owned()
}

/// The beginning of a text, not longer than so many octets.
fn clip(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

fn host_and_port(authority: &HeaderValue) -> (Option<String>, Option<u16>) {
    let authority = text(authority);
    // In an address of IPv6 there are colons, and brackets around it.
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.map_or((&*authority, None), |(host, port)| (host, Some(port)));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ((!host.is_empty()).then(|| host.to_owned()), port)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |authority: &str, host: Option<&str>, port: Option<u16>| {
            let value = HeaderValue::from_str(authority).unwrap();
            assert_eq!(host_and_port(&value), (host.map(str::to_owned), port), "{authority}");
        };
        check("shop.test", Some("shop.test"), None);
        check("shop.test:8080", Some("shop.test"), Some(8080));
        check("[::1]:8080", Some("::1"), Some(8080));
        check("[::1]", Some("::1"), None);
        check("", None, None);
    }

    #[test]
    fn names_are_few() {
        assert_eq!(name(&Method::GET, Some("/api")), "GET /api");
        assert_eq!(name(&Method::POST, None), "POST");
        assert_eq!(name(&Method::from_bytes(b"BREW").unwrap(), None), "HTTP");
        let mut told = Attributes::default();
        told.method(&Method::from_bytes(b"BREW").unwrap());
        assert_eq!(told.0.len(), 2);
    }
}
