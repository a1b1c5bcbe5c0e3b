//! Whole numbers between two bounds, and shares of a whole.

use std::marker::PhantomData;
use std::path::Path;

use serde_json::Value as Json;
use toml::de::{DeInteger, DeValue};

use super::{Fault, Item, Kind};

/// A whole number between two bounds.
pub(crate) struct Whole<T> {
    least: u64,
    most: u64,
    number: PhantomData<fn() -> T>,
}

impl<T> Whole<T> {
    /// Both bounds belong to it.
    pub(crate) fn between(least: u64, most: u64) -> Self {
        Self { least, most, number: PhantomData }
    }
}

impl<T> Kind for Whole<T>
where
    T: TryFrom<u64> + Copy + PartialEq + std::fmt::Display + 'static,
    Json: From<T>,
{
    type Value = T;

    fn noun(&self) -> String {
        "a whole number".into()
    }

    fn range(&self) -> String {
        format!("{} to {}", self.least, self.most)
    }

    fn example(&self) -> String {
        self.least.max(1).min(self.most).to_string()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<T, Vec<Fault>> {
        let DeValue::Integer(number) = item.get_ref() else { return Err(self.wrong_type(item)) };
        let value = whole(number).filter(|value| (self.least..=self.most).contains(value));
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
            Fault::one(item.span(), "the number is out of range", format!("choose from {}", self.range()))
        })
    }

    fn show(&self, value: &T) -> Json {
        Json::from(*value)
    }
}

/// A part of a whole, 0 to 1.
pub(crate) struct Share;

impl Kind for Share {
    type Value = f64;

    fn noun(&self) -> String {
        "a number".into()
    }

    fn range(&self) -> String {
        "0 to 1".into()
    }

    fn example(&self) -> String {
        "0.2".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<f64, Vec<Fault>> {
        let value = match item.get_ref() {
            DeValue::Float(number) => number.as_str().parse().unwrap_or(f64::NAN),
            DeValue::Integer(number) => whole(number).and_then(|n| u32::try_from(n).ok()).map_or(f64::NAN, f64::from),
            _ => return Err(self.wrong_type(item)),
        };
        if (0.0..=1.0).contains(&value) {
            // Minus zero is zero: it would print as `-0`.
            return Ok(value.abs());
        }
        Err(Fault::one(item.span(), "the number is out of range", format!("choose from {}", self.range())))
    }

    fn show(&self, value: &f64) -> Json {
        Json::from(*value)
    }
}

/// The number, where it is not negative and not beyond all bounds.
pub(crate) fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn numbers() {
        let kind = Whole::<u16>::between(1, 65_535);
        assert_eq!(read(&kind, "80"), Ok(80));
        assert_eq!(read(&kind, "0x50"), Ok(80));
        assert_eq!(read(&kind, "1_000"), Ok(1000));
        for outside in ["0", "-1", "65536", "99999999999999999999999"] {
            assert_eq!(read(&kind, outside).unwrap_err(), "the number is out of range; choose from 1 to 65535");
        }
        assert_eq!(read(&kind, "\"80\"").unwrap_err(), "found a string, expected a whole number; write it like 1");
    }

    #[test]
    fn shares() {
        assert_eq!(read(&Share, "0.25"), Ok(0.25));
        assert_eq!(read(&Share, "1"), Ok(1.0));
        assert_eq!(read(&Share, "-0.0").unwrap().to_string(), "0");
        for outside in ["1.1", "-0.5", "nan", "inf", "2", "1e400"] {
            assert!(read(&Share, outside).is_err(), "{outside}");
        }
    }
}
