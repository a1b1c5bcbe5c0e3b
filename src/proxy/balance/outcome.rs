//! What an answer says of the endpoint that gave it.
//!
//! Pure. Errors of the server count against it, those of the client do not. 429, and gRPC's RESOURCE_EXHAUSTED, say
//! that it has too much to do: it is spared by its cost, and no row of failures. gRPC says how it went in a trailer.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
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

/// The outcome that an answer's head tells; `None` where its trailers will.
pub fn of_head(status: StatusCode, headers: &HeaderMap) -> Option<Outcome> {
    if let Some(code) = grpc_status(headers) {
        return Some(of_grpc(code, headers));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Some(Outcome::Busy(retry_after(headers)));
    }
    if status.is_server_error() {
        return Some(Outcome::Bad(retry_after(headers)));
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

/// In seconds; a date is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, lines: &[(&'static str, &str)], expected: Option<Outcome>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        assert_eq!(of_head(StatusCode::from_u16(status).unwrap(), &headers), expected, "{status} {lines:?}");
    }

    #[test]
    fn heads() {
        check(200, &[], Some(Outcome::Good));
        check(404, &[], Some(Outcome::Good));
        check(500, &[], Some(Outcome::Bad(None)));
        check(503, &[("retry-after", "7")], Some(Outcome::Bad(Some(Duration::from_secs(7)))));
        check(503, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], Some(Outcome::Bad(None)));
        check(429, &[], Some(Outcome::Busy(None)));
        check(200, &[("content-type", "application/grpc+proto")], None);
        check(200, &[("content-type", "application/grpc"), ("grpc-status", "14")], Some(Outcome::Bad(None)));
        let pushed = [("grpc-status", "8"), ("grpc-retry-pushback-ms", "250")];
        check(200, &pushed, Some(Outcome::Busy(Some(Duration::from_millis(250)))));
        check(200, &[("grpc-status", "5")], Some(Outcome::Good));
    }

    #[test]
    fn trailers() {
        let mut trailers = HeaderMap::new();
        assert_eq!(of_trailers(&trailers), None);
        trailers.insert("grpc-status", "13".parse().unwrap());
        assert_eq!(of_trailers(&trailers), Some(Outcome::Bad(None)));
    }
}
