//! Sizes: octets as a number, or a number with a binary unit (`64KiB`).

use std::path::Path;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::number::whole;
use super::{Fault, Item, Kind, clip};

/// A size between two bounds, in octets.
pub(crate) struct Size {
    least: usize,
    most: usize,
}

impl Size {
    /// Both bounds belong to it.
    pub(crate) fn between(least: usize, most: usize) -> Self {
        Self { least, most }
    }
}

impl Kind for Size {
    type Value = usize;

    fn noun(&self) -> String {
        "a size".into()
    }

    fn range(&self) -> String {
        format!("{} to {}", format_size(self.least), format_size(self.most))
    }

    fn example(&self) -> String {
        "\"64KiB\" or 65536".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<usize, Vec<Fault>> {
        let value = match item.get_ref() {
            DeValue::String(text) => parse_size(text).ok_or_else(|| {
                let message = format!("{:?} is no size", clip(text));
                Fault::one(
                    item.span(),
                    message,
                    format!("write it like {}; units are B, KiB, MiB, GiB", self.example()),
                )
            })?,
            DeValue::Integer(number) => whole(number).unwrap_or(u64::MAX),
            _ => return Err(self.wrong_type(item)),
        };
        match usize::try_from(value) {
            Ok(size) if (self.least..=self.most).contains(&size) => Ok(size),
            _ => Err(Fault::one(item.span(), "the size is out of range", format!("choose from {}", self.range()))),
        }
    }

    fn show(&self, value: &usize) -> Json {
        format_size(*value).into()
    }
}

/// Reads `64KiB`, `65536B` or `65536`.
pub fn parse_size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, octets) =
        UNITS.iter().find(|(name, _)| *name == unit).or_else(|| UNITS.last().filter(|_| unit.is_empty()))?;
    number.parse::<u64>().ok()?.checked_mul(*octets)
}

/// The size with the largest unit that leaves no rest.
pub fn format_size(octets: usize) -> String {
    let octets = octets as u64;
    match UNITS.iter().find(|(_, unit)| octets.is_multiple_of(*unit)) {
        Some((name, unit)) if octets > 0 => format!("{}{name}", octets / unit),
        _ => "0B".into(),
    }
}

/// Units by name, in octets, the largest first.
const UNITS: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn sizes() {
        let kind = Size::between(1024, 1 << 20);
        assert_eq!(read(&kind, "\"64KiB\""), Ok(65_536));
        assert_eq!(read(&kind, "65536"), Ok(65_536));
        assert_eq!(read(&kind, "\"65536\""), Ok(65_536));
        assert_eq!(read(&kind, "\"2000B\""), Ok(2000));
        assert_eq!(
            read(&kind, "\"64KB\"").unwrap_err(),
            "\"64KB\" is no size; write it like \"64KiB\" or 65536; units are B, KiB, MiB, GiB"
        );
        for outside in ["-1", "1", "\"1GiB\"", "\"99999999999GiB\"", "99999999999999999999"] {
            assert!(read(&kind, outside).is_err(), "{outside}");
        }
        assert_eq!(
            (format_size(65_536), format_size(1000), format_size(0)),
            ("64KiB".into(), "1000B".into(), "0B".into())
        );
    }
}
