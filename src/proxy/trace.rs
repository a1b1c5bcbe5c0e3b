//! W3C Trace Context (Recommendation of 23 November 2021): traces that pass through, and traces that begin here.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;

/// The flag of a trace that is recorded (section 3.2.2, "Sampled flag").
const SAMPLED: u8 = 1;

/// A place in a trace: what a `traceparent` says. The ids are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace: u128,
    /// What is under way there: the parent of whatever follows.
    pub span: u64,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl SpanContext {
    /// A trace that begins; `sample`: the share of those that are marked to be recorded.
    pub fn begin(rng: &mut fastrand::Rng, sample: f64) -> Self {
        let is_sampled = rng.f64() < sample;
        Self { trace: rng.u128(1..), span: rng.u64(1..), is_sampled }
    }

    /// Another place in the same trace.
    pub fn at(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// The trace's id as people search for it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// As a `traceparent`. Whoever changes one sets the flags that it does not know to zero (section 3.2.2, "Other
    /// Flags").
    pub fn value(&self) -> HeaderValue {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span);
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// Reads a `traceparent` (section 3.2.2): lower case, ids that are not zero, and more behind only where a later version
    /// may have it.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let (known, more) = text.split_at_checked(LENGTH)?;
        let is_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = known.split('-');
        let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let is_whole =
            parts.next().is_none() && is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
        let ends_well = match version {
            "ff" => false,
            "00" => more.is_empty(),
            _ => more.is_empty() || more.starts_with('-'),
        };
        if !is_whole || !ends_well {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, is_sampled: flags & SAMPLED != 0 })
    }
}

/// Where a request comes from; `None`: it has no trace that is valid.
pub fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => SpanContext::parse(value),
        _ => None,
    }
}

/// What others keep with the trace: all fields in one (RFC 9110 section 5.3). `None`: nothing, or nothing that is valid.
pub fn state(headers: &HeaderMap) -> Option<Box<str>> {
    let values: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    values.filter(|values| !values.is_empty()).map(|values| values.join(",").into())
}

/// Writes a trace that begins. What stood there was not valid, and so is its state (section 3.3).
pub fn write(headers: &mut HeaderMap, begun: SpanContext) {
    headers.remove(TRACESTATE);
    headers.insert(TRACEPARENT, begun.value());
}

/// Says what is under way now, unless the route has taken the field away.
pub fn pass_on(headers: &mut HeaderMap, context: SpanContext) {
    if let Some(value) = headers.get_mut(TRACEPARENT) {
        *value = context.value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn parents_w3c_3_2_2() {
        let id = |text: &str| SpanContext::parse(&text.parse().unwrap()).map(|context| context.trace_id());
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
    fn what_is_read_is_written_without_flags_that_nobody_knows() {
        let parse = |text: String| SpanContext::parse(&text.parse().unwrap()).unwrap();
        let context = parse(format!("cc-{TRACE}-00ad6b7169203331-fb-x"));
        assert_eq!((context.span, context.is_sampled), (0x00ad_6b71_6920_3331, true));
        assert_eq!(context.value(), format!("00-{TRACE}-00ad6b7169203331-01").as_str());
        assert_eq!(context.at(7).value(), format!("00-{TRACE}-0000000000000007-01").as_str());
        assert!(!parse(format!("00-{TRACE}-00ad6b7169203331-02")).is_sampled);
    }

    #[test]
    fn traces_that_begin_are_valid_and_marked_by_their_share() {
        let mut rng = fastrand::Rng::with_seed(7);
        let marked = |rng: &mut fastrand::Rng, sample| {
            let all = (0..1000).map(|_| SpanContext::begin(rng, sample));
            all.filter(|begun| SpanContext::parse(&begun.value()) == Some(*begun) && begun.is_sampled).count()
        };
        assert_eq!((marked(&mut rng, 0.0), marked(&mut rng, 1.0)), (0, 1000));
        assert!((150..250).contains(&marked(&mut rng, 0.2)));
    }

    #[test]
    fn two_parents_are_none_and_two_states_are_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(state(&headers), None);
        for number in 0..2 {
            headers.append(TRACEPARENT, format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
            headers.append(TRACESTATE, format!("v{number}=1").parse().unwrap());
        }
        assert_eq!((read(&headers), state(&headers).as_deref()), (None, Some("v0=1,v1=1")));
    }

    #[test]
    fn a_field_that_was_taken_away_stays_away() {
        let context = SpanContext { trace: 1, span: 2, is_sampled: true };
        let mut headers = HeaderMap::new();
        pass_on(&mut headers, context);
        assert!(headers.is_empty());
        write(&mut headers, context);
        pass_on(&mut headers, context.at(3));
        assert_eq!(read(&headers), Some(context.at(3)));
    }
}
