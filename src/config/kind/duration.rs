//! Durations: a whole number and a unit, several after one another where one does not suffice (`1h30m`).

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use super::{Fault, Item, Kind, clip};

/// A duration between two bounds.
pub(crate) struct Span {
    least: Duration,
    most: Duration,
}

impl Span {
    /// Both bounds belong to it.
    pub(crate) fn between(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }
}

impl Kind for Span {
    type Value = Duration;

    fn noun(&self) -> String {
        "a duration".into()
    }

    fn range(&self) -> String {
        format!("{} to {}", format_duration(self.least), format_duration(self.most))
    }

    fn example(&self) -> String {
        "\"10s\", \"250ms\" or \"5m\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Duration, Vec<Fault>> {
        let text = self.string(item)?;
        let Some(value) = parse_duration(text) else {
            let message = format!("{:?} is no duration", clip(text));
            return Err(Fault::one(item.span(), message, format!("write it like {}", self.example())));
        };
        if value < self.least || value > self.most {
            let message = format!("{} is out of range", clip(text));
            return Err(Fault::one(item.span(), message, format!("choose from {}", self.range())));
        }
        Ok(value)
    }

    fn show(&self, value: &Duration) -> Json {
        format_duration(*value).into()
    }
}

/// A duration in whole seconds, as DNS counts.
pub(crate) struct Seconds(pub(crate) Span);

impl Seconds {
    /// From one number of seconds to another.
    pub(crate) fn between(least: u32, most: u32) -> Self {
        Self(Span::between(Duration::from_secs(least.into()), Duration::from_secs(most.into())))
    }
}

impl Kind for Seconds {
    type Value = u32;

    fn noun(&self) -> String {
        "a duration".into()
    }

    fn range(&self) -> String {
        format!("{}, whole seconds", self.0.range())
    }

    fn example(&self) -> String {
        "\"5s\" or \"1h\"".into()
    }

    fn read(&self, item: &Item<'_>, base: &Path) -> Result<u32, Vec<Fault>> {
        let value = self.0.read(item, base)?;
        match u32::try_from(value.as_secs()) {
            Ok(seconds) if value.subsec_nanos() == 0 => Ok(seconds),
            _ => {
                let message = "the duration has parts of a second";
                Err(Fault::one(item.span(), message, "DNS counts in whole seconds: write it like \"5s\""))
            }
        }
    }

    fn show(&self, value: &u32) -> Json {
        format_duration(Duration::from_secs((*value).into())).into()
    }
}

/// Reads `10s`, `250ms`, `1h30m`. Units: `ns`, `us`, `ms`, `s`, `m`, `h`, `d`; every number needs one, but `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(times(number.parse().ok()?, *nanoseconds)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// The duration with the largest unit that leaves no rest: `90s`, `1h`.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let unit = UNITS.iter().find(|(_, unit)| nanoseconds.is_multiple_of(u128::from(*unit)));
    match unit {
        Some((name, unit)) if nanoseconds > 0 => format!("{}{name}", nanoseconds / u128::from(*unit)),
        _ => "0s".into(),
    }
}

fn times(number: u64, nanoseconds: u64) -> Option<Duration> {
    number.checked_mul(nanoseconds).map(Duration::from_nanos)
}

/// Units by name, in nanoseconds, the largest first.
const UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn check(text: &str, milliseconds: u64, written: &str) {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
        assert_eq!(format_duration(duration), written);
        assert_eq!(parse_duration(written), Some(duration));
    }

    #[test]
    fn round_trips() {
        check("10s", 10_000, "10s");
        check("250ms", 250, "250ms");
        check("5m", 300_000, "5m");
        check("1h30m", 5_400_000, "90m");
        check("1d", 86_400_000, "1d");
        check("0", 0, "0s");
        check("0s", 0, "0s");
        check("1500ms", 1500, "1500ms");
    }

    #[test]
    fn refusals() {
        for text in ["", "10", "s", "10 s", "-1s", "1.5s", "10sec", "99999999999999999999s", "999999999999d", "1s1"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        let kind = Span::between(Duration::from_millis(1), Duration::from_secs(3600));
        assert_eq!(
            read(&kind, "10").unwrap_err(),
            "found a whole number, expected a duration; write it like \"10s\", \"250ms\" or \"5m\""
        );
        assert_eq!(read(&kind, "\"2h\"").unwrap_err(), "2h is out of range; choose from 1ms to 1h");
        assert!(read(&Seconds::between(0, 60), "\"1500ms\"").is_err());
        assert_eq!(read(&Seconds::between(0, 60), "\"1m\""), Ok(60));
    }
}
