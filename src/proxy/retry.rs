//! Whether a request is tried again, and where.
//!
//! Pure. Another attempt is made only before the first byte of an answer, and only where it cannot act twice:
//! - nothing reached the endpoint, or it says that it did not process the request: any method, another endpoint;
//! - a kept connection died: once more on a fresh one, the same endpoint, if repeating is safe; so too where a stream
//!   was refused, or a new connection closed before anything was written, and there is no other endpoint;
//! - it died or was too slow: another endpoint, if repeating is safe.
//!
//! "Safe" is: the method is idempotent (RFC 9110 section 9.2.2), or the client has given its POST or PATCH a key by which
//! the endpoint tells a repeat (draft-ietf-httpapi-idempotency-key-header), and the body is absent or still whole.

use std::time::Duration;

use http::Method;
use http::header::{HeaderMap, HeaderName};

use super::error::AttemptFault;

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Attempts so far that count, see [`counted`], the failed one included; repeats on a fresh connection do not.
    pub attempts: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// The request is idempotent, see [`is_repeatable`].
    pub idempotent: bool,
    /// The body is absent or can be sent again from its beginning.
    pub body_is_whole: bool,
    /// A repeat on a fresh connection was made already.
    pub was_fresh: bool,
    /// There is an endpoint that has not failed yet.
    pub has_another: bool,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer with the failure.
    GiveUp,
    /// The same endpoint, on a connection of its own.
    Fresh,
    /// Another endpoint.
    Another,
}

/// Attempts that found nobody listening and are not counted: they put no work on anybody, and where tasks come and go many
/// may be gone that the table does not know of yet, an agent's all at a time for instance.
const FREE: u32 = 31;

/// Attempts that count, of so many of which so many found nobody listening. Who wants one attempt gets one.
pub fn counted(attempts: u32, unanswered: u32, max_attempts: u32) -> u32 {
    if max_attempts == 1 { attempts } else { attempts.saturating_sub(unanswered.min(FREE)) }
}

/// Decides after `fault`.
pub fn decide(fault: &AttemptFault, situation: &Situation) -> Decision {
    if !situation.body_is_whole {
        return Decision::GiveUp;
    }
    let safe = fault.is_unprocessed() || situation.idempotent;
    let another = match situation.attempts < situation.max_attempts {
        true => Decision::Another,
        false => Decision::GiveUp,
    };
    match fault {
        AttemptFault::SlowAnswer | AttemptFault::Invalid | AttemptFault::Body(_) => Decision::GiveUp,
        _ if !safe => Decision::GiveUp,
        AttemptFault::Unsent { reused: true } | AttemptFault::Died { reused: true, .. } if !situation.was_fresh => {
            Decision::Fresh
        }
        AttemptFault::Refused | AttemptFault::Unsent { .. } if !situation.was_fresh && !situation.has_another => {
            Decision::Fresh
        }
        _ => another,
    }
}

/// Whether repeating a request has the effect of sending it once (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE].contains(method)
}

/// By which a client says that a repeat of its request is to have no further effect.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether repeating the request has the effect of sending it once, as it is sent to an endpoint.
pub fn is_repeatable(method: &Method, headers: &HeaderMap) -> bool {
    let has_key = || headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.as_bytes().trim_ascii().is_empty());
    is_idempotent(method) || ((*method == Method::POST || *method == Method::PATCH) && has_key())
}

/// How long to wait, where all endpoints have failed, before the table is looked at for others: full jitter below
/// 25 ms · 2^n, at most 250 ms. `random` is from 0 to 1.
pub fn backoff(rounds: u32, random: f64) -> Duration {
    let ceiling = Duration::from_millis(25).saturating_mul(1 << rounds.min(10)).min(Duration::from_millis(250));
    ceiling.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::request_body::BodyFault;
    use super::*;

    fn died(reused: bool) -> AttemptFault {
        AttemptFault::Died { reused, error: "reset".into() }
    }

    fn connect() -> AttemptFault {
        AttemptFault::Connect(std::io::ErrorKind::ConnectionRefused.into())
    }

    const GET: Situation = Situation {
        attempts: 1,
        max_attempts: 3,
        idempotent: true,
        body_is_whole: true,
        was_fresh: false,
        has_another: true,
    };
    const POST: Situation = Situation { idempotent: false, ..GET };

    fn check(fault: &AttemptFault, situation: Situation, expected: Decision) {
        assert_eq!(decide(fault, &situation), expected, "{fault:?} {situation:?}");
    }

    #[test]
    fn what_was_not_processed_is_sent_elsewhere_whatever_the_method() {
        for situation in [GET, POST] {
            check(&connect(), situation, Decision::Another);
            check(&AttemptFault::ConnectTimeout, situation, Decision::Another);
            check(&AttemptFault::Refused, situation, Decision::Another);
            let alone = Situation { has_another: false, ..situation };
            check(&AttemptFault::Refused, alone, Decision::Fresh);
            check(&AttemptFault::Refused, Situation { was_fresh: true, ..alone }, Decision::Another);
            check(&AttemptFault::Unsent { reused: true }, situation, Decision::Fresh);
            check(&AttemptFault::Unsent { reused: false }, situation, Decision::Another);
            let last = Situation { attempts: 1, max_attempts: 1, ..alone };
            check(&AttemptFault::Unsent { reused: false }, last, Decision::Fresh);
        }
    }

    #[test]
    fn what_may_have_been_processed_is_repeated_only_if_that_is_safe() {
        check(&died(false), GET, Decision::Another);
        check(&died(true), GET, Decision::Fresh);
        check(&died(true), Situation { was_fresh: true, ..GET }, Decision::Another);
        check(&AttemptFault::SlowAttempt, GET, Decision::Another);
        for fault in [died(false), died(true), AttemptFault::SlowAttempt] {
            check(&fault, POST, Decision::GiveUp);
            check(&fault, Situation { body_is_whole: false, ..GET }, Decision::GiveUp);
        }
    }

    #[test]
    fn some_faults_end_it() {
        for fault in [AttemptFault::SlowAnswer, AttemptFault::Invalid, AttemptFault::Body(BodyFault::Idle)] {
            check(&fault, GET, Decision::GiveUp);
        }
        check(&connect(), Situation { attempts: 3, ..GET }, Decision::GiveUp);
        check(&died(true), Situation { attempts: 3, ..GET }, Decision::Fresh);
    }

    #[test]
    fn a_key_makes_a_request_repeatable() {
        let with = |key: &'static str| HeaderMap::from_iter([(IDEMPOTENCY_KEY, http::HeaderValue::from_static(key))]);
        for method in [Method::POST, Method::PATCH] {
            assert!(is_repeatable(&method, &with("\"8e03978e\"")), "{method}");
            assert!(!is_repeatable(&method, &with(" ")) && !is_repeatable(&method, &HeaderMap::new()), "{method}");
        }
        assert!(!is_repeatable(&Method::CONNECT, &with("a")) && is_repeatable(&Method::PUT, &HeaderMap::new()));
    }

    #[test]
    fn who_found_nobody_may_go_on_a_while() {
        assert_eq!([counted(1, 0, 3), counted(3, 2, 3), counted(32, 31, 3), counted(34, 33, 3)], [1, 1, 1, 3]);
        assert_eq!(counted(1, 1, 1), 1);
    }

    #[test]
    fn backoff_grows_to_its_bound() {
        assert_eq!(backoff(0, 1.0), Duration::from_millis(25));
        assert_eq!(backoff(2, 0.5), Duration::from_millis(50));
        assert_eq!(backoff(40, 1.0), Duration::from_millis(250));
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }
}
