//! Answers that this proxy gives by itself.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::account::Account;
use super::answer_body::AnswerBody;
use super::filters::pages::Dress;
use super::grpc;
use super::headers::{MISS, REASON};
use super::reason::Reason;
use super::rules::Refusal;
use super::worker::Worker;
use crate::config::checked::Misses;
use crate::model::endpoint::Endpoint;
use crate::model::service::Protocol;

pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The methods named where one is refused (RFC 9110 section 15.5.6); others are forwarded as well.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The status whose page an answer has, if it has one: that of an error in words of our own.
pub fn dressed_status(refusal: &Refusal, account: &Account) -> Option<StatusCode> {
    let Refusal { reason, status, content, .. } = refusal;
    let status = status.unwrap_or(reason.entry().status);
    let is_call = account.is_call() && grpc::is_translated(*reason);
    let is_plain = !is_call && content.is_none() && !reason.is_intended() && status.as_u16() >= 400;
    is_plain.then_some(status)
}

/// The answer for a reason: a short text, the stable code in a header, and what goes with it.
pub fn answer(
    worker: &Worker,
    refusal: Refusal,
    version: Version,
    mut account: Account,
    dress: Option<&Dress>,
) -> Response<AnswerBody> {
    let page = dressed_status(&refusal, &account).and_then(|status| dress?.page(status));
    let Refusal { reason, header, status, content, by, fields: more, miss } = refusal;
    worker.shard.answered_locally(reason);
    if let Some(filter) = by.and_then(|by| by.name) {
        worker.shard.refused_by(filter, reason);
    }
    let entry = reason.entry();
    let status = status.unwrap_or(entry.status);
    account.answers(status);
    if reason.is_loss() {
        worker.shard.lost_requests.increment();
        account.lost();
    }
    // Sending a few words is no part of the request's fate.
    account.complete();
    let mut fields = HeaderMap::new();
    account.refused(reason, &mut fields);
    if let Some(miss) = miss {
        let is_told = worker.config().proxy.misses == Misses::Header;
        // What labels and clients have written into it need be no field's value.
        if let Some(told) = is_told.then(|| HeaderValue::try_from(&*miss).ok()).flatten() {
            fields.insert(MISS, told);
        }
        account.missed(miss);
    }
    let is_call = account.is_call() && grpc::is_translated(reason);
    let said = || format!("{} {}: {}\n", status.as_u16(), entry.code, entry.meaning);
    let said = || page.as_ref().map_or_else(|| Bytes::from(said()), |page| page.body.clone());
    let text = if is_call { Bytes::new() } else { content.as_ref().map_or_else(said, |content| content.body.clone()) };
    let mut answer = Response::new(AnswerBody::local(text, account));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if let Some(more) = more {
        *headers = *more;
    }
    headers.extend(fields);
    headers.extend(own_fields(worker, reason));
    let kind = content.and_then(|content| HeaderValue::from_str(&content.content_type).ok());
    headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")));
    if let Some(page) = &page {
        page.describe(headers);
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        StatusCode::METHOD_NOT_ALLOWED => drop(headers.insert(ALLOW, HeaderValue::from_static(ALLOWED))),
        _ => {}
    }
    if let Some((name, value)) = header {
        headers.insert(name, value);
    }
    if reason.closes() && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if is_call {
        grpc::translate(&mut answer, reason, entry.meaning);
    }
    answer
}

/// The fields of every answer of our own, whoever writes it; one that somebody asked for is no error.
pub fn own_fields(worker: &Worker, reason: Reason) -> HeaderMap {
    let (mut fields, config) = (HeaderMap::new(), worker.config());
    let proxy = &config.proxy;
    fields.insert(REASON, HeaderValue::from_static(reason.code()));
    fields.insert(DATE, worker.date());
    if proxy.proxy_status && !reason.is_intended() {
        // RFC 9209 section 2.1: who says it, what went wrong, and the code that people search for.
        let status = format!("{}; error={}; details=\"{}\"", proxy.via, reason.proxy_error(), reason.code());
        if let Ok(status) = HeaderValue::try_from(status) {
            fields.insert(PROXY_STATUS, status);
        }
    }
    fields
}

/// Says of an endpoint's answer where it comes from, behind what others said of it on the way (RFC 9209 section 2: "the
/// first member … the one closest to the origin").
pub fn tell_origin(headers: &mut HeaderMap, via: &str, endpoint: &Endpoint, status: StatusCode) {
    // RFC 9209 section 2.1.3: an ALPN protocol identifier.
    let protocol = match endpoint.protocol {
        Protocol::H2c => "h2c",
        Protocol::H2 => "h2",
        _ => "http/1.1",
    };
    let (address, status) = (endpoint.address, status.as_u16());
    let member = format!("{via}; next-hop=\"{address}\"; next-protocol={protocol}; received-status={status}");
    if let Ok(member) = HeaderValue::try_from(member) {
        headers.append(PROXY_STATUS, member);
    }
}
