//! What is told of a call over gRPC by its own means: how much time it has, and why it failed.
//!
//! After "gRPC over HTTP2" (grpc/grpc, doc/PROTOCOL-HTTP2.md) and "HTTP to gRPC Status Code Mapping" (the same,
//! doc/http-grpc-status-mapping.md), and gRFC A6, "gRPC Retry Design", as far as somebody between client and server repeats
//! calls. Pure.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use super::reason::Reason;

/// The time that a call has, as its client has set it.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
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

/// What a server says of when a call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Nothing.
    None,
    /// Not at all.
    Never,
    /// After so long a time at the earliest.
    After(Duration),
}

/// What the fields of an answer say of when its call may be sent again.
pub fn pushback(headers: &HeaderMap) -> Pushback {
    let Some(value) = headers.get(PUSHBACK) else { return Pushback::None };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    // gRFC A6: "If the value for pushback is negative or unparseable, then it will be seen as the server asking the client
    // not to retry at all."
    match digits.and_then(|text| text.parse::<u32>().ok()) {
        Some(millis) => Pushback::After(Duration::from_millis(millis.into())),
        None => Pushback::Never,
    }
}

/// Whether an answer is "Trailers-Only" with the status UNAVAILABLE: the server has not begun with the call.
pub fn is_unavailable(answer: &http::response::Parts) -> bool {
    answer.status == StatusCode::OK && answer.headers.get(STATUS).is_some_and(|status| status == "14")
}

/// Tells the server how often a call was sent before (gRFC A6, "Exposed Retry Metadata"), the client's own attempts and
/// those of proxies before this one included; `attempts` are those here that may have reached a server, the present one
/// among them.
pub fn count_attempts(headers: &mut HeaderMap, attempts: u32) {
    let more = attempts.saturating_sub(1);
    if more == 0 {
        return;
    }
    let known = headers.get(PREVIOUS_ATTEMPTS).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(known.unwrap_or(0).saturating_add(more)));
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
    fn pushback_is_a_time_or_a_no() {
        let read = |text: &str| pushback(&HeaderMap::from_iter([(PUSHBACK, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(pushback(&HeaderMap::new()), Pushback::None);
        assert_eq!(read("0"), Pushback::After(Duration::ZERO));
        assert_eq!(read("1500"), Pushback::After(Duration::from_millis(1500)));
        for text in ["-1", "", "soon", "+1", "1.5", "99999999999"] {
            assert_eq!(read(text), Pushback::Never, "{text}");
        }
    }

    #[test]
    fn attempts_are_added_up() {
        let count = |known: Option<&'static str>, attempts: u32| {
            let known = known.map(|known| (PREVIOUS_ATTEMPTS, HeaderValue::from_static(known)));
            let mut headers = HeaderMap::from_iter(known);
            count_attempts(&mut headers, attempts);
            headers.get(PREVIOUS_ATTEMPTS).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(count(None, 1), None);
        assert_eq!(count(None, 2).as_deref(), Some("1"));
        assert_eq!(count(Some("2"), 1).as_deref(), Some("2"));
        assert_eq!(count(Some("2"), 3).as_deref(), Some("4"));
        assert_eq!(count(Some("many"), 2).as_deref(), Some("1"));
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
