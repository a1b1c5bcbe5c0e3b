//! W3C Trace Context (Recommendation of 23 November 2021): traces that pass through, and traces that begin here.

use std::fmt::Write as _;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;

/// The id of the trace that a request belongs to; `None`: it has none that is valid.
pub fn read(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => id_of(value),
        _ => None,
    }
}

/// The trace's id in a `traceparent` (section 3.2.2): lower case, ids that are not zero, and more behind only where a
/// later version may have it.
pub fn id_of(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let (known, more) = text.split_at_checked(LENGTH)?;
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some = |part: &str| part.bytes().any(|octet| octet != b'0');
    let mut parts = known.split('-');
    let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let is_whole = parts.next().is_none()
        && is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && is_some(trace)
        && is_some(parent);
    let ends_well = match version {
        "ff" => false,
        "00" => more.is_empty(),
        _ => more.is_empty() || more.starts_with('-'),
    };
    (is_whole && ends_well).then_some(trace)
}

/// A trace that begins; `sample`: the share of those that are marked to be recorded.
pub fn begin(rng: &mut fastrand::Rng, sample: f64) -> HeaderValue {
    let mut text = String::with_capacity(LENGTH);
    let flags = u8::from(rng.f64() < sample);
    let (trace, parent) = (rng.u128(1..), rng.u64(1..));
    let written = write!(text, "00-{trace:032x}-{parent:016x}-{flags:02x}");
    debug_assert!(written.is_ok(), "a string takes whatever is written");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Writes a trace that begins. What stood there was not valid, and so is its state (section 3.3).
pub fn write(headers: &mut HeaderMap, traceparent: HeaderValue) {
    headers.remove(TRACESTATE);
    headers.insert(TRACEPARENT, traceparent);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn parents_w3c_3_2_2() {
        let id = |text: &str| id_of(&text.parse().unwrap()).map(str::to_owned);
        let whole = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(id(&whole).as_deref(), Some(TRACE));
        assert_eq!(id(&format!("cc-{TRACE}-b7ad6b7169203331-01-what-the-future")).as_deref(), Some(TRACE));
        for other in [
            "",
            "00",
            &format!("{whole}-01"),
            &format!("cc-{TRACE}-b7ad6b7169203331-01.x"),
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &whole.to_uppercase(),
            &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &whole.replacen('-', "_", 1),
        ] {
            assert_eq!(id(other), None, "{other:?}");
        }
    }

    #[test]
    fn traces_that_begin_are_valid_and_marked_by_their_share() {
        let mut rng = fastrand::Rng::with_seed(7);
        let marked = |rng: &mut fastrand::Rng, sample| {
            let all = (0..1000).map(|_| begin(rng, sample));
            all.filter(|value| id_of(value).is_some() && value.as_bytes().ends_with(b"-01")).count()
        };
        assert_eq!((marked(&mut rng, 0.0), marked(&mut rng, 1.0)), (0, 1000));
        assert!((150..250).contains(&marked(&mut rng, 0.2)));
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(TRACEPARENT, format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
        }
        assert_eq!(read(&headers), None);
    }
}
