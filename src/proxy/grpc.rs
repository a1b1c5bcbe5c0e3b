//! What is told of a call over gRPC by its own means: how much time it has, and why it failed.
//!
//! After "gRPC over HTTP2" (grpc/grpc, doc/PROTOCOL-HTTP2.md) and "HTTP to gRPC Status Code Mapping" (the same,
//! doc/http-grpc-status-mapping.md). Pure.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use super::reason::Reason;

/// The time that a call has, as its client has set it.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT: &str = "application/grpc";

/// Digits of a time at most: "positive integer as ASCII string of at most 8 digits".
const DIGITS: usize = 8;

/// Whether a request is a call.
pub fn is_call(head: &Parts) -> bool {
    head.version == Version::HTTP_2
        && head.method == Method::POST
        && head.headers.get(CONTENT_TYPE).is_some_and(|content| content.as_bytes().starts_with(CONTENT.as_bytes()))
}

/// The time that a call has from now on; `None`: it says none that can be read.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The time that is left, for the endpoint: in the finest unit that has room for it, never more than is left.
pub fn timeout_value(left: Duration) -> HeaderValue {
    // As many digits as may be.
    const MOST: u128 = 99_999_999;
    let units = [(left.as_micros(), 'u'), (left.as_millis(), 'm'), (left.as_secs().into(), 'S')];
    let (number, unit) = units.into_iter().find(|(number, _)| *number <= MOST).unwrap_or((MOST, 'S'));
    HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(HeaderValue::from_static("0m"))
}

/// Makes an answer of ours one that a client of gRPC understands: "Trailers-Only", with the status in its head.
pub fn translate<B>(answer: &mut Response<B>, reason: Reason, meaning: &str) {
    let status = answer.status();
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    headers.insert(STATUS, HeaderValue::from(code(reason, status)));
    // Percent-encoded where it is not printable ASCII; ours is.
    let message = format!("{}: {}", reason.code(), meaning.replace('%', "%25"));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(MESSAGE, message);
    }
}

/// Whether a reason is told by gRPC's means: 421 speaks of the connection, and its client has to see it as it is.
pub fn is_translated(reason: Reason) -> bool {
    reason != Reason::WrongName
}

fn code(reason: Reason, status: StatusCode) -> u16 {
    const DEADLINE_EXCEEDED: u16 = 4;
    const RESOURCE_EXHAUSTED: u16 = 8;
    match (reason, status.as_u16()) {
        (Reason::ResponseTimeout, _) => DEADLINE_EXCEEDED,
        (Reason::BodyTooLarge | Reason::RateLimited, _) => RESOURCE_EXHAUSTED,
        // INTERNAL, UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, UNAVAILABLE; all others are UNKNOWN.
        (_, 400) => 13,
        (_, 401) => 16,
        (_, 403) => 7,
        (_, 404) => 12,
        (_, 429 | 502..=504) => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        timeout(&HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_str(text).unwrap())]))
    }

    #[test]
    fn times_are_read() {
        for (text, micros) in [("1H", 3_600_000_000), ("2M", 120_000_000), ("5S", 5_000_000), ("100m", 100_000)] {
            assert_eq!(read(text), Some(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(read("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789m", "1 S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_so_that_they_are_never_longer() {
        for (micros, expected) in [
            (0, "0u"),
            (1, "1u"),
            (99_999_999, "99999999u"),
            (100_000_999, "100000m"),
            (999_999_999_999_999, "99999999S"),
        ] {
            let left = Duration::from_micros(micros);
            let text = timeout_value(left);
            assert_eq!(text, expected);
            assert!(read(text.to_str().unwrap()).unwrap() <= left);
        }
    }

    #[test]
    fn reasons_have_their_codes() {
        let code = |reason: Reason| code(reason, reason.status());
        assert_eq!(code(Reason::ResponseTimeout), 4);
        assert_eq!(code(Reason::ConnectFailed), 14);
        assert_eq!(code(Reason::QueueFull), 14);
        assert_eq!(code(Reason::NoRoute), 12);
        assert_eq!(code(Reason::PasswordRequired), 16);
        assert_eq!(code(Reason::RateLimited), 8);
        assert_eq!(code(Reason::BadHost), 13);
        assert_eq!(code(Reason::Loop), 2);
    }
}
