//! Whether a batch is sent again, and when (OTLP 1.x, "Retryable Response Codes", "OTLP/HTTP Throttling"). Pure.

use std::time::{Duration, SystemTime};

use http::StatusCode;

/// Tries in all.
const MOST: u32 = 5;
/// The pause after the first try; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause that a collector is allowed to ask for.
const LONGEST: Duration = Duration::from_secs(300);

/// Whether this status says that a later try may succeed.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// The pause after so many tries; `after`: what the collector asks for; `random`: 0 to 1. `None`: that was the last.
pub(super) fn wait(tries: u32, after: Option<Duration>, random: f64) -> Option<Duration> {
    if tries >= MOST {
        return None;
    }
    let own = FIRST * 2u32.saturating_pow(tries.saturating_sub(1));
    // "The client SHOULD implement an exponential backoff strategy between retries", jittered so that many proxies do not
    // come together.
    Some(after.map_or_else(|| own.mul_f64(0.5 + random / 2.0), |after| after.min(LONGEST)))
}

/// What a `Retry-After` says (RFC 9110 section 10.2.3).
pub(super) fn after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds = |tries| wait(tries, None, 1.0).map(|wait| wait.as_secs());
        assert_eq!([1, 2, 3, 4, 5].map(seconds), [Some(1), Some(2), Some(4), Some(8), None]);
        assert_eq!(wait(1, None, 0.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_the_collector_asks_for_comes_first() {
        assert_eq!(wait(3, Some(Duration::from_secs(7)), 0.3), Some(Duration::from_secs(7)));
        assert_eq!(wait(1, Some(Duration::from_secs(86_400)), 0.3), Some(LONGEST));
        assert_eq!(wait(5, Some(Duration::ZERO), 0.3), None);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(after("soon", now), None);
    }

    #[test]
    fn statuses_that_pass() {
        let passing: Vec<u16> = (100..600).filter(|code| is_passing(StatusCode::from_u16(*code).unwrap())).collect();
        assert_eq!(passing, [429, 502, 503, 504]);
    }
}
