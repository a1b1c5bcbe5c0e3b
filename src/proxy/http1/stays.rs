//! How long an endpoint says that it keeps a connection open that nobody uses: `Keep-Alive: timeout=5`.
//!
//! Pure. The field is that of RFC 2068 section 19.7.1, which RFC 9112 (appendix C.2.2) leaves to those who know each other;
//! Node and Apache say it of themselves. RFC 9112 section 9.5 has the race that it saves from: "a client might have started to
//! send a new request at the same time that the server has decided to close the "idle" connection", and what must not be
//! repeated then fails.
//! `max` is not counted: an endpoint says `Connection: close` with the last answer.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

/// The field's name.
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A request that leaves so long before the end is there before it, clocks that tick in whole seconds included. Of a time
/// that is shorter than two of these half is used.
const MARGIN: Duration = Duration::from_secs(1);

/// What the value of one field says; `None`: nothing of a time.
pub fn said(value: &[u8]) -> Option<Duration> {
    let seconds = value.split(|&octet| octet == b',').find_map(|parameter| {
        let at = parameter.iter().position(|&octet| octet == b'=')?;
        let (name, seconds) = (&parameter[..at], parameter[at + 1..].trim_ascii());
        if name.trim_ascii().eq_ignore_ascii_case(b"timeout") { Some(seconds) } else { None }
    })?;
    std::str::from_utf8(seconds).ok()?.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

/// What an answer says; the shortest, if it says several.
pub fn of(answer: &HeaderMap) -> Option<Duration> {
    answer.get_all(KEEP_ALIVE).iter().filter_map(|value| said(value.as_bytes())).min()
}

/// Until when the connection of an answer that came now may be used again, if the answer says so.
pub fn end(answer: &HeaderMap) -> Option<Instant> {
    of(answer).map(|said| until(said, Instant::now()))
}

/// Until when a connection may be used again whose endpoint said so with the answer that came now. The answer's body may
/// last: what is sure is that the endpoint counts from no earlier moment.
pub fn until(said: Duration, now: Instant) -> Instant {
    now + (said - MARGIN.min(said / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<u64>) {
        assert_eq!(said(value.as_bytes()), expected.map(Duration::from_secs), "{value:?}");
    }

    #[test]
    fn the_time_is_read() {
        check("timeout=5", Some(5));
        check("timeout=5, max=100", Some(5));
        check("max=100,Timeout = 15 ", Some(15));
        check("timeout=0", Some(0));
        check("timeout=4294967295", Some(u64::from(u32::MAX)));
    }

    #[test]
    fn what_says_no_time_is_no_time() {
        for value in ["", "5", "max=5", "timeout", "timeout=", "timeout=x", "timeout=-1", "timeout=1.5", "xtimeout=5"] {
            check(value, None);
        }
        check("timeout=4294967296", None);
        assert_eq!(said(b"timeout=\xff"), None);
    }

    #[test]
    fn the_shortest_counts_and_its_last_second_is_not_used() {
        let mut answer = HeaderMap::new();
        assert_eq!(of(&answer), None);
        for value in ["timeout=7", "max=3", "timeout=4"] {
            answer.append(KEEP_ALIVE, value.parse().unwrap());
        }
        assert_eq!(of(&answer), Some(Duration::from_secs(4)));
        let now = Instant::now();
        for (seconds, milliseconds) in [(4, 3000), (2, 1000), (1, 500), (0, 0)] {
            assert_eq!(until(Duration::from_secs(seconds), now), now + Duration::from_millis(milliseconds));
        }
    }
}
