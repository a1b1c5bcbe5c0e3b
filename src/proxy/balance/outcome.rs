//! What an answer says of the endpoint that gave it.
//!
//! Pure: the time is an argument. Errors of the server count against it, those of the client do not. 429, and gRPC's RESOURCE_EXHAUSTED, say
//! that it has too much to do: it is spared by its cost, and no row of failures. gRPC says how it went in a trailer.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

/// What became of a request, as far as the endpoint is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint did its work.
    Good,
    /// It failed; perhaps it asks for a pause.
    Bad(Option<Duration>),
    /// It has too much to do; perhaps it asks for a pause.
    Busy(Option<Duration>),
}

/// The outcome that an answer's head tells; `None` where its trailers will. `now` is asked where a pause is said as a date.
pub fn of_head(status: StatusCode, headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Outcome> {
    if let Some(code) = grpc_status(headers) {
        return Some(of_grpc(code, headers));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Some(Outcome::Busy(retry_after(headers, now)));
    }
    if status.is_server_error() {
        return Some(Outcome::Bad(retry_after(headers, now)));
    }
    let content = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    match content.is_some_and(|content| content.starts_with(b"application/grpc")) {
        true => None,
        false => Some(Outcome::Good),
    }
}

/// The outcome that trailers tell, if they do.
pub fn of_trailers(trailers: &HeaderMap) -> Option<Outcome> {
    grpc_status(trailers).map(|code| of_grpc(code, trailers))
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// UNAVAILABLE, INTERNAL, UNKNOWN, DEADLINE_EXCEEDED, DATA_LOSS are the server's; RESOURCE_EXHAUSTED is too much work.
fn of_grpc(code: u32, headers: &HeaderMap) -> Outcome {
    let millis = || headers.get("grpc-retry-pushback-ms")?.to_str().ok()?.parse().ok();
    let pause = || millis().map(Duration::from_millis);
    match code {
        8 => Outcome::Busy(pause()),
        2 | 4 | 13 | 14 | 15 => Outcome::Bad(pause()),
        _ => Outcome::Good,
    }
}

/// RFC 9110 section 10.2.3: "The Retry-After field value can be either an HTTP-date or a number of seconds to delay after
/// receiving the response." What a date means depends on whose clock is asked: the endpoint's, where it tells the time.
fn retry_after(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = said.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(said).ok()?;
    let there = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    // A time that is past asks for no pause.
    Some(until.duration_since(there.unwrap_or_else(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, lines: &[(&'static str, &str)], expected: Option<Outcome>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        // Sunday, 06 November 1994, 08:49:37.
        let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(of_head(StatusCode::from_u16(status).unwrap(), &headers, now), expected, "{status} {lines:?}");
    }

    #[test]
    fn heads() {
        check(200, &[], Some(Outcome::Good));
        check(404, &[], Some(Outcome::Good));
        check(500, &[], Some(Outcome::Bad(None)));
        check(503, &[("retry-after", "7")], Some(Outcome::Bad(Some(Duration::from_secs(7)))));
        check(429, &[], Some(Outcome::Busy(None)));
        check(200, &[("content-type", "application/grpc+proto")], None);
        check(200, &[("content-type", "application/grpc"), ("grpc-status", "14")], Some(Outcome::Bad(None)));
        let pushed = [("grpc-status", "8"), ("grpc-retry-pushback-ms", "250")];
        check(200, &pushed, Some(Outcome::Busy(Some(Duration::from_millis(250)))));
        check(200, &[("grpc-status", "5")], Some(Outcome::Good));
    }

    /// RFC 9110 section 10.2.3, and the forms of section 5.6.7.
    #[test]
    fn pauses_until_a_date() {
        let ninety = Some(Duration::from_secs(90));
        for form in ["Sun, 06 Nov 1994 08:51:07 GMT", "Sunday, 06-Nov-94 08:51:07 GMT", "Sun Nov  6 08:51:07 1994"] {
            check(503, &[("retry-after", form)], Some(Outcome::Bad(ninety)));
            check(429, &[("retry-after", form)], Some(Outcome::Busy(ninety)));
        }
        // By the endpoint's own clock, which is an hour ahead.
        let ahead = [("retry-after", "Sun, 06 Nov 1994 09:51:07 GMT"), ("date", "Sun, 06 Nov 1994 09:49:37 GMT")];
        check(503, &ahead, Some(Outcome::Bad(ninety)));
        check(503, &[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(Outcome::Bad(Some(Duration::ZERO))));
        for none in ["soon", "", "Sun, 06 Nov 1994 25:51:07 GMT", "-1"] {
            check(503, &[("retry-after", none)], Some(Outcome::Bad(None)));
        }
    }

    #[test]
    fn trailers() {
        let mut trailers = HeaderMap::new();
        assert_eq!(of_trailers(&trailers), None);
        trailers.insert("grpc-status", "13".parse().unwrap());
        assert_eq!(of_trailers(&trailers), Some(Outcome::Bad(None)));
    }
}
