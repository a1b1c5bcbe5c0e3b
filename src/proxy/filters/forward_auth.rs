//! Somebody else says who may pass: each request's head is sent to a URL, whose answer of 2xx lets it pass and whose
//! other answers go to the client as they are (the way of Traefik's middleware `ForwardAuth` and of nginx's
//! `auth_request`).

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use tokio::time::timeout;
use tracing::debug;

use super::Granted;
use crate::cluster::sources::http::Target;
use crate::cluster::sources::mesos::address::join_host_port;
use crate::config::checked::ProxyConfig;
use crate::config::filter::ForwardAuthConfig;
use crate::proxy::forwarded::{self, Hop};
use crate::proxy::headers;
use crate::proxy::outbound::{OutboundFault, Whom};
use crate::proxy::reason::Reason;
use crate::proxy::rules::{Content, Refusal};
use crate::proxy::worker::Worker;

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The largest answer of an authority: a page that asks for a password, not a download.
const MOST: usize = 256 * 1024;

/// Asks whether a request may pass; gives what the authority says of it to the endpoint.
///
/// # Errors
/// The authority's answer, or that there is none.
pub async fn check(
    worker: &Worker,
    config: &ForwardAuthConfig,
    hop: &Hop<'_>,
    head: &Parts,
    proxy: &ProxyConfig,
) -> Result<Granted, Refusal> {
    let Some(target) = config.url.as_deref().and_then(Target::parse) else { return Ok(Granted::default()) };
    let headers = question(config, &target, hop, head, proxy);
    let path = if target.base.is_empty() { "/" } else { &target.base };
    let make = || {
        let mut request = Request::new(Full::<Bytes>::default());
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers.clone();
        request
    };
    let whom = Whom { target: &target, ca: config.ca.as_deref() };
    match timeout(config.timeout, worker.outbound.ask(&worker.tasks, whom, make, MOST)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(granted(config, answer.headers())),
        Ok(Ok(answer)) => Err(refused(answer, &proxy.via)),
        Ok(Err(error)) => {
            debug!(url = %target, %error, "the authority of a filter gives no answer");
            Err(match error {
                OutboundFault::Unreachable(_) => Reason::AuthUnreachable.into(),
                OutboundFault::Invalid(_) => Reason::AuthInvalid.into(),
            })
        }
        Err(_) => Err(Reason::AuthTimeout.into()),
    }
}

/// The request's own fields, or those that are wished for, and what it asked for.
fn question(
    config: &ForwardAuthConfig,
    target: &Target,
    hop: &Hop<'_>,
    head: &Parts,
    proxy: &ProxyConfig,
) -> HeaderMap {
    let mut out = match config.request_headers.is_empty() {
        true => head.headers.clone(),
        false => selected(&config.request_headers, &head.headers),
    };
    headers::prepare_request(&mut out, head.version, &proxy.via, proxy.underscores);
    // It has no body.
    out.remove(CONTENT_LENGTH);
    out.remove(TRANSFER_ENCODING);
    forwarded::write(&mut out, hop);
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("/"));
    out.insert(METHOD, value(head.method.as_str()));
    out.insert(URI, value(head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)));
    out.insert(HOST, value(&authority(target)));
    out
}

fn selected(names: &[std::sync::Arc<str>], headers: &HeaderMap) -> HeaderMap {
    let names = names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    // Without these there is nothing to judge by.
    let names = names.chain([AUTHORIZATION, COOKIE]);
    let mut out = HeaderMap::new();
    for name in names {
        if !out.contains_key(&name) {
            for value in headers.get_all(&name) {
                out.append(name.clone(), value.clone());
            }
        }
    }
    out
}

fn authority(target: &Target) -> String {
    let default = if target.tls { 443 } else { 80 };
    match target.port == default {
        true if target.host.contains(':') => format!("[{}]", target.host),
        true => target.host.clone(),
        false => join_host_port(&target.host, target.port),
    }
}

/// Fields that the authority writes: what the client wrote there counts no more, even where the authority is silent.
fn granted(config: &ForwardAuthConfig, answer: &HeaderMap) -> Granted {
    let names = config.copy_headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let copied = |name: HeaderName| {
        let values = answer.get_all(&name).iter().cloned().collect();
        (name, values)
    };
    Granted(names.map(copied).collect())
}

fn refused(answer: Response<Bytes>, via: &str) -> Refusal {
    let (mut head, body) = answer.into_parts();
    headers::prepare_answer(&mut head.headers, head.version, via);
    for name in [CONTENT_LENGTH, CONNECTION] {
        head.headers.remove(name);
    }
    // A client cannot follow an informational answer, and 101 would have to be kept.
    let status = Some(head.status).filter(|status| !status.is_informational());
    let content_type = head.headers.remove(CONTENT_TYPE);
    let content_type = content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("text/plain");
    let content = Content { content_type: content_type.into(), body };
    Refusal {
        status,
        content: Some(Box::new(content)),
        fields: Some(Box::new(head.headers)),
        ..Reason::AuthRefused.into()
    }
}
