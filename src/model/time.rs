//! Wall-clock time, passed in as an argument wherever something is decided.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch. Stored deadlines are wall-clock times, so that they hold across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The present. Only the thin shell around the pure parts calls this.
    pub fn now() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// This moment and `duration` more.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// `duration` before this moment; 1970 at the earliest.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Reads a moment as ISO 8601 has it (`2026-02-01T14:13:42.499089+01:00`), to the millisecond; without a zone it is taken
    /// for UTC. `None`: it is none, or before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', ' '])?;
        let (clock, offset) = zone(rest)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let [hour, minute, second] = match clock.len() {
            // Seconds may be left out where they are 0.
            5 => numbers(&format!("{clock}:00"), ':', [2, 2, 2])?,
            _ => numbers(clock, ':', [2, 2, 2])?,
        };
        let is_time = hour < 24 && minute < 60 && second < 61;
        if !is_time || !(1970..10_000).contains(&year) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let milliseconds: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        let seconds = days_since_epoch(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
        let seconds = seconds.checked_add_signed(-offset)?;
        Some(Self(seconds * 1000 + milliseconds))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A time of day without its zone, and the seconds that the zone is ahead of UTC.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, 0)) };
    let (clock, offset) = text.split_at(at);
    let digits = offset[1..].replace(':', "");
    let is_offset = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = digits.parse().ok().filter(|_| is_offset)?;
    let ahead = (number / 100) * 3600 + (number % 100) * 60;
    Some((clock, if offset.starts_with('-') { -ahead } else { ahead }))
}

/// Three numbers of so many digits.
fn numbers(text: &str, sign: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut words = text.split(sign);
    let mut out = [0; 3];
    for (number, digits) in out.iter_mut().zip(digits) {
        let word =
            words.next().filter(|word| word.len() == digits && word.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = word.parse().ok()?;
    }
    words.next().is_none().then_some(out)
}

/// The days of a date after 1 January 1970, by the same reckoning as [`Civil`].
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let of_march = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (of_march / 400, of_march % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = days.checked_sub(719_468)?;
    // A day that the month does not have comes out as another date.
    let found = Civil::from(Timestamp(days * 86_400_000));
    ((found.month, found.day) == (month, day)).then_some(days)
}

/// A moment as people write it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year of the Gregorian calendar.
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    /// Seconds of the day.
    pub second: u64,
    /// Milliseconds of the second.
    pub millisecond: u64,
}

impl From<Timestamp> for Civil {
    /// Days are counted from a 1st of March, so that a leap day is a year's last (Howard Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms").
    fn from(at: Timestamp) -> Self {
        let seconds = at.0 / 1000;
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { year, month, day, second: seconds % 86_400, millisecond: at.0 % 1000 }
    }
}

impl std::fmt::Display for Civil {
    /// As RFC 3339 has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        write!(f, "{:04}-{:02}-{:02}T", self.year, self.month, self.day)?;
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:03}Z", self.millisecond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for milliseconds in [0, 951_782_400_000, 1_709_251_199_999, 1_709_251_200_000, 4_107_542_400_000] {
            let text = Civil::from(Timestamp(milliseconds)).to_string();
            assert_eq!(Timestamp::parse(&text), Some(Timestamp(milliseconds)), "{text}");
        }
        let read = |text| Timestamp::parse(text).map(|at| Civil::from(at).to_string());
        assert_eq!(read("2016-02-01T14:13:42.499089").as_deref(), Some("2016-02-01T14:13:42.499Z"));
        assert_eq!(read("2016-02-01T14:13:42").as_deref(), Some("2016-02-01T14:13:42.000Z"));
        assert_eq!(read("2016-02-01 14:13").as_deref(), Some("2016-02-01T14:13:00.000Z"));
        assert_eq!(read("2016-02-01T14:13:42.5+01:30").as_deref(), Some("2016-02-01T12:43:42.500Z"));
        assert_eq!(read("2016-01-01T00:00:00-0100").as_deref(), Some("2016-01-01T01:00:00.000Z"));
        for wrong in [
            "",
            "yesterday",
            "2016-02-01",
            "2016-02-30T00:00:00",
            "2016-13-01T00:00:00",
            "1960-01-01T00:00:00",
            "1970-01-01T00:00:00+01:00",
            "2016-02-01T25:00:00",
            "2016-02-01T14:13:42.x",
            "2016-02-01T14:13:42+1",
            "2016-02-01T14:13:42+é1:00",
            "+016-02-01T14:13:42",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn moments_as_people_write_them() {
        let text = |milliseconds| Civil::from(Timestamp(milliseconds)).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(text(1_709_251_200_000), "2024-03-01T00:00:00.000Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(1_798_761_599_000), "2026-12-31T23:59:59.000Z");
    }
}
