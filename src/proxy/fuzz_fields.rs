//! What fuzzing feeds to the readers of single fields, and what holds whatever they read: what is written is read as it was
//! meant, and two readers come to one meaning.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::auth;
use super::filters::compress::negotiate;
use super::fuzz::fields;
use super::grpc::{self, Pushback};
use super::trace::{self, SpanContext};
use crate::config::filter::Coding;
use crate::model::password::MAX_PASSWORD;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// A parent a line: what is passed on is in the same trace, and is read as it was written.
pub fn fuzz_trace(data: &[u8]) {
    let mut headers = fields(data, &TRACEPARENT);
    let found = trace::read(&headers);
    if let Some(context) = found {
        let value = context.value();
        assert_eq!(SpanContext::parse(&value), Some(context));
        // Version and flags are ours, the ids are the sender's.
        assert_eq!(value.as_bytes()[2..53], headers[TRACEPARENT].as_bytes()[2..53]);
        assert!(context.trace != 0 && context.span != 0);
        trace::pass_on(&mut headers, context.at(7));
        assert_eq!(trace::read(&headers), Some(context.at(7)));
    }
    check_ids(data);
    check_state(&fields(data, &TRACESTATE));
}

/// Any ids that are not zero pass through a field.
fn check_ids(data: &[u8]) {
    let Some((ids, rest)) = data.split_first_chunk::<24>() else { return };
    let number = |octets: &[u8]| octets.iter().fold(0, |number, octet| number << 8 | u128::from(*octet));
    let (trace, span) = (number(&ids[..16]), u64::try_from(number(&ids[16..])).unwrap_or_default());
    let context = SpanContext { trace, span, is_sampled: rest.first().is_some_and(|octet| octet % 2 == 1) };
    let is_valid = trace != 0 && span != 0;
    assert_eq!(SpanContext::parse(&context.value()), is_valid.then_some(context));
}

/// Of what others keep with a trace all is passed on, in its order, or nothing.
fn check_state(headers: &HeaderMap) {
    let lines: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    match (trace::state(headers), lines) {
        (Some(state), Some(lines)) => assert!(state.split(',').eq(lines.iter().flat_map(|line| line.split(',')))),
        (state, lines) => assert!(state.is_none() && lines.is_none_or(|lines| lines.is_empty())),
    }
}

/// A time of a call as its client has written it. What the endpoint is told is never more, and little less; and a time has one
/// unit.
pub fn fuzz_grpc(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let read = |value: &HeaderValue| grpc::timeout(&HeaderMap::from_iter([(grpc::TIMEOUT, value.clone())]));
    let time = read(&value);
    assert_eq!(time.map(|time| time.as_nanos()), nanoseconds(data));
    let number = data.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    for left in time.into_iter().chain([Duration::from_nanos(number)]) {
        let told = read(&grpc::timeout_value(left)).expect("what is written can be read");
        assert!(told <= left);
        // At least five digits are kept.
        let most = Duration::from_secs(99_999_999);
        assert!(told == most || left - told <= (left / 100_000).max(Duration::from_micros(1)), "{left:?} {told:?}");
    }
    let mut headers = HeaderMap::from_iter([(PUSHBACK, value.clone()), (PREVIOUS_ATTEMPTS, value)]);
    check_pushback(data, grpc::pushback(&headers));
    grpc::count_attempts(&mut headers, 3);
    let counted = headers[PREVIOUS_ATTEMPTS].to_str().ok().and_then(|text| text.parse::<u32>().ok());
    assert!(counted.is_some_and(|counted| counted >= 2), "{counted:?}");
}

/// A second reader of times.
fn nanoseconds(text: &[u8]) -> Option<u128> {
    const UNITS: [(u8, u128); 6] = [
        (b'n', 1),
        (b'u', 1000),
        (b'm', 1_000_000),
        (b'S', 1_000_000_000),
        (b'M', 60_000_000_000),
        (b'H', 3_600_000_000_000),
    ];
    let (unit, digits) = text.split_last()?;
    let (_, unit) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number = || digits.iter().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    is_number.then(|| number() * unit)
}

/// What is no number forbids; a number is a time of so many milliseconds.
fn check_pushback(text: &[u8], found: Pushback) {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| is_number).and_then(|text| text.parse::<u128>().ok());
    let number = number.filter(|number| *number <= u32::MAX.into());
    let expected = number.map_or(Pushback::Never, |number| {
        Pushback::After(Duration::from_millis(u64::try_from(number).unwrap_or(u64::MAX)))
    });
    assert_eq!(found, expected);
}

/// A field a line. What is chosen was offered, is chosen also where nothing else is, and does not depend on the case of
/// letters or on how many fields the list is in (RFC 9110 section 5.3).
pub fn fuzz_accept_encoding(data: &[u8]) {
    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
    let headers = fields(data, &ACCEPT_ENCODING);
    let chosen = negotiate(&ALL, &headers);
    for coding in ALL {
        let alone = negotiate(&[coding], &headers);
        assert!(alone.is_none() || (alone == Some(coding) && chosen.is_some()), "{coding:?} {chosen:?}");
        assert!(chosen != Some(coding) || alone == chosen);
    }
    assert_eq!(negotiate(&[], &headers), None);
    assert_eq!(negotiate(&ALL, &fields(&data.to_ascii_uppercase(), &ACCEPT_ENCODING)), chosen);
    let texts: Option<Vec<&str>> = headers.get_all(ACCEPT_ENCODING).iter().map(|value| value.to_str().ok()).collect();
    let Some(texts) = texts else { return };
    let joined = HeaderValue::from_str(&texts.join(", ")).expect("fields make a field");
    assert_eq!(negotiate(&ALL, &HeaderMap::from_iter([(ACCEPT_ENCODING, joined)])), chosen);
    for text in texts.iter().filter(|text| !text.contains([',', ';'])) {
        let value = HeaderValue::from_str(&format!("br;q={text}")).expect("what was a field's value is part of one");
        let takes = negotiate(&ALL, &HeaderMap::from_iter([(ACCEPT_ENCODING, value)])).is_some();
        // RFC 9110 section 12.4.2, and a second reader of numbers.
        let weight = text.trim().parse::<f64>().ok();
        assert!(!takes || weight.is_some_and(|weight| weight > 0.0 && weight <= 1.0), "{text:?}");
    }
}

/// Fields a line, a realm, and a user with a password: what is read is what was written, and a realm is one quoted string.
pub fn fuzz_basic_auth(data: &[u8]) {
    let read = |text: &str| {
        let value = HeaderValue::from_str(text).expect("base64 can stand in a field");
        auth::credentials(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
    };
    let write = |user: &str, password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
    let headers = fields(data, &AUTHORIZATION);
    if let Some((user, password)) = auth::credentials(&headers) {
        assert_eq!(headers.len(), 1);
        assert!(!user.contains(':'));
        assert_eq!(read(&write(&user, &password)), Some((user, password)));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((user, password)) = text.split_once(':')
        && text.len() <= MAX_PASSWORD
    {
        assert_eq!(read(&write(user, password)), Some((user.to_owned(), password.to_owned())));
    }
    let challenge = auth::challenge(text);
    let challenge = challenge.to_str().expect("it is visible ASCII");
    let realm = challenge.strip_prefix("Basic realm=\"").and_then(|rest| rest.strip_suffix("\", charset=\"UTF-8\""));
    assert!(realm.is_some_and(|realm| !realm.contains(['"', '\\'])), "{challenge}");
}
