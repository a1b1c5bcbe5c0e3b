//! Numbers for zones, by which counters are found without a look at the name. A zone keeps its number for the life of the
//! process, whatever configurations come and go, so that counters only rise.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Zones that have a number of their own; all further ones share one.
pub const SLOTS: usize = 1024;

/// The number of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneSlot(u16);

/// What the first two numbers stand for.
const FIXED: [&str; 2] = ["outside", "other"];

#[derive(Default)]
struct Slots {
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u16>,
}

/// Taken where tables are built and metrics read, never where queries are answered.
static SLOTS_BY_NAME: LazyLock<Mutex<Slots>> = LazyLock::new(Mutex::default);

impl ZoneSlot {
    /// Names in none of our zones.
    pub const OUTSIDE: Self = Self(0);

    /// Zones without a number of their own.
    const OTHER: Self = Self(1);

    /// The number of the zone with this name.
    pub fn of(name: &Arc<str>) -> Self {
        let mut slots = SLOTS_BY_NAME.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = slots.by_name.get(name) {
            return Self(*known);
        }
        let number = FIXED.len() + slots.names.len();
        let Some(number) = u16::try_from(number).ok().filter(|_| number < SLOTS) else { return Self::OTHER };
        slots.names.push(name.clone());
        slots.by_name.insert(name.clone(), number);
        Self(number)
    }

    /// Every number that is in use, with what metrics call it: the zone's name, `.` for the root, `outside`, `other`.
    pub fn all() -> Vec<(Self, String)> {
        let slots = SLOTS_BY_NAME.lock().unwrap_or_else(PoisonError::into_inner);
        let named = slots.names.iter().map(|name| if name.is_empty() { ".".to_owned() } else { name.to_string() });
        let names = FIXED.iter().map(|name| (*name).to_owned()).chain(named);
        names.enumerate().filter_map(|(number, name)| Some((Self(u16::try_from(number).ok()?), name))).collect()
    }

    /// Its place among [`SLOTS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_keeps_its_number_and_the_numbers_are_bounded() {
        let name = |n: usize| Arc::from(format!("zone-{n}.test"));
        let first = ZoneSlot::of(&name(0));
        assert_eq!(ZoneSlot::of(&name(0)), first);
        assert_ne!(ZoneSlot::of(&name(1)), first);
        let all: Vec<ZoneSlot> = (2..2 * SLOTS).map(|n| ZoneSlot::of(&name(n))).collect();
        assert_eq!(all.last(), Some(&ZoneSlot::OTHER));
        assert_eq!(ZoneSlot::of(&name(0)), first);
        assert_eq!(ZoneSlot::all().len(), SLOTS);
        assert!(ZoneSlot::all().iter().any(|(slot, name)| *slot == first && name == "zone-0.test"));
    }
}
