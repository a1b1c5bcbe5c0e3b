//! Ranges of ports.

use std::path::Path;

use serde_json::Value as Json;

use super::{Fault, Item, Kind, clip};
use crate::model::task::PortRange;

/// A port, or a range of them.
pub(crate) struct Ports;

impl Kind for Ports {
    type Value = PortRange;

    fn noun(&self) -> String {
        "a range of ports".into()
    }

    fn example(&self) -> String {
        "\"10000-20000\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<PortRange, Vec<Fault>> {
        let text = self.string(item)?;
        parse(text).ok_or_else(|| {
            let message = format!("{:?} is no range of ports from 1 to 65535", clip(text));
            Fault::one(item.span(), message, format!("write it like {} or \"8080\"", self.example()))
        })
    }

    fn show(&self, value: &PortRange) -> Json {
        match value.begin == value.end {
            true => value.begin.to_string().into(),
            false => format!("{}-{}", value.begin, value.end).into(),
        }
    }
}

fn parse(text: &str) -> Option<PortRange> {
    let (begin, end) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (begin, end) = (number(begin)?, number(end)?);
    (begin > 0 && begin <= end).then_some(PortRange { begin, end })
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(read(&Ports, "\"8080\""), Ok(PortRange { begin: 8080, end: 8080 }));
        assert_eq!(read(&Ports, "\"10000-20000\""), Ok(PortRange { begin: 10_000, end: 20_000 }));
        for wrong in ["\"0\"", "\"2-1\"", "\"a\"", "\"1-65536\"", "\"+1\"", "\"\"", "8080"] {
            assert!(read(&Ports, wrong).is_err(), "{wrong}");
        }
    }
}
