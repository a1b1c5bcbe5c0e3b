//! Answers: JSON, text, and errors that say what is wrong and how to mend it.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a call comes to.
pub(crate) type Answer = Result<Reply, ApiError>;

/// A whole answer, not yet in HTTP's form.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Reply {
    /// 200 with `value` as JSON.
    pub(crate) fn json(value: &impl Serialize) -> Answer {
        Self::json_with(StatusCode::OK, value)
    }

    /// `status` with `value` as JSON.
    pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(value).map_err(|error| ApiError::internal(&error))?;
        Ok(Self { status, content_type: "application/json", body: body.into() })
    }

    /// As an HTTP response.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(self.body).boxed_unsync());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub detail: ErrorDetail,
    /// The methods allowed, where the method was wrong.
    pub allow: Option<&'static str>,
}

/// What an error says, in JSON below `error`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorDetail {
    /// A stable word.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
    /// What could have been meant, where a short name is ambiguous or unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
}

/// The document of an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ErrorDocument {
    pub error: ErrorDetail,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        let detail =
            ErrorDetail { code: code.into(), message: message.into(), mend: mend.into(), candidates: Vec::new() };
        Self { status, detail, allow: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message, mend)
    }

    pub(crate) fn not_found(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message, mend)
    }

    pub(crate) fn ambiguous(message: impl Into<String>, candidates: Vec<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ambiguous", message, "give the full id, one of the candidates")
            .with_candidates(candidates)
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let mend = format!("use one of: {allow}");
        let error =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path has no such method", mend);
        Self { allow: Some(allow), ..error }
    }

    pub(crate) fn unavailable(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, mend)
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        let message = format!("the answer could not be made: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message, "this is a fault of the program: report it")
    }

    pub(crate) fn with_candidates(mut self, candidates: Vec<String>) -> Self {
        self.detail.candidates = candidates;
        self
    }

    /// As an HTTP response.
    pub(crate) fn into_response(self) -> Response<Body> {
        let document = ErrorDocument { error: self.detail };
        let body = serde_json::to_vec(&document).expect("a struct of strings is valid JSON");
        let reply = Reply { status: self.status, content_type: "application/json", body: body.into() };
        let mut response = reply.into_response();
        if let Some(allow) = self.allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1: a 401 must carry a challenge.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
