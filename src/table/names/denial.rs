//! The SOA record that every denial carries (RFC 2308 §3), as octets: written when somebody is told for the first time that
//! something is missing in a zone, and kept beside the zone until it changes.
//!
//! Invariants: what is kept is what a record written anew would be, but for its three pointers to the zone's name, which stands
//! elsewhere in each question; it is said only while the settings are those that it was made of.

use std::sync::Arc;

use super::Zone;
use super::label::{LABEL, NAME};
use crate::config::checked::DnsConfig;

/// TYPE and CLASS of the record (RFC 1035 §3.2.2, §3.2.4).
const SOA_IN: [u8; 4] = [0, 6, 0, 1];

/// The octets of a pointer to a name that stands further up (RFC 1035 §4.1.4).
const POINTER: usize = 2;

/// What stands in questions for octets that no name of ours has. A zone that had one could not be told from others by its text.
const FOREIGN: char = '\u{7f}';

/// The SOA record of a zone's denials, without its owner.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    made_of: Settings,
    octets: Box<[u8]>,
    /// Where among the octets the pointers stand.
    pointers: [usize; 2],
}

/// What of the settings the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    nameserver: Arc<str>,
    contact: Arc<str>,
    /// Time to live, refresh, retry, expire, minimum; seconds.
    times: [u32; 5],
}

impl Settings {
    fn of(config: &DnsConfig) -> Self {
        let DnsConfig { nameserver, contact, .. } = config;
        Self { nameserver: nameserver.clone(), contact: contact.clone(), times: times(config) }
    }

    fn are(&self, config: &DnsConfig) -> bool {
        // Nearly always the very same texts, which is what is compared first.
        self.times == times(config) && self.nameserver == config.nameserver && self.contact == config.contact
    }
}

fn times(config: &DnsConfig) -> [u32; 5] {
    let DnsConfig { soa_refresh_seconds, soa_retry_seconds, soa_expire_seconds, negative_ttl_seconds, .. } = config;
    // It lives no longer than absence may be believed.
    let ttl = config.ttl_seconds.min(*negative_ttl_seconds);
    [ttl, *soa_refresh_seconds, *soa_retry_seconds, *soa_expire_seconds, *negative_ttl_seconds]
}

impl Denial {
    /// The record of a zone. `None`: its names are not all that and pointers to the zone's, or it cannot be written at all.
    pub(super) fn of(zone: &Zone, config: &DnsConfig) -> Option<Self> {
        if zone.name.is_empty() || zone.name.contains(FOREIGN) {
            return None;
        }
        let made_of = Settings::of(config);
        let [ttl, times @ ..] = made_of.times;
        let mut octets = Vec::with_capacity(64);
        octets.extend(SOA_IN);
        octets.extend(ttl.to_be_bytes());
        let length_at = octets.len();
        octets.extend([0; 2]);
        let pointers =
            [put_below(&config.nameserver, zone, &mut octets)?, put_below(&config.contact, zone, &mut octets)?];
        octets.extend(zone.serial.to_be_bytes());
        times.iter().for_each(|time| octets.extend(time.to_be_bytes()));
        let length = u16::try_from(octets.len() - length_at - 2).ok()?;
        octets[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Some(Self { made_of, octets: octets.into(), pointers })
    }

    /// Whether it says what it says with these settings.
    pub(super) fn says(&self, config: &DnsConfig) -> bool {
        self.made_of.are(config)
    }

    /// Octets of the record.
    pub(crate) fn size(&self) -> usize {
        POINTER + self.octets.len()
    }

    /// Appends the record to a message; `pointer` leads to the zone's name in it.
    pub(crate) fn put(&self, pointer: [u8; POINTER], out: &mut Vec<u8>) {
        out.extend_from_slice(&pointer);
        let start = out.len();
        out.extend_from_slice(&self.octets);
        for at in self.pointers {
            out[start + at..start + at + POINTER].copy_from_slice(&pointer);
        }
    }
}

/// Appends a name below the zone, with room for a pointer to the zone's, and returns where that stands.
fn put_below(below: &str, zone: &Zone, octets: &mut Vec<u8>) -> Option<usize> {
    // What is absolute shares more with the question than the zone, or less.
    if below.ends_with('.') || below.len() + 1 + zone.name.len() > NAME {
        return None;
    }
    for label in below.split('.').filter(|_| !below.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|_| (1..=LABEL).contains(&label.len()))?;
        octets.push(length);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.extend([0; POINTER]);
    Some(octets.len() - POINTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DnsConfig {
        DnsConfig { nameserver: "ns".into(), contact: "root.ns".into(), ..DnsConfig::default() }
    }

    #[test]
    fn it_is_kept_as_long_as_the_zone_and_the_settings_are_what_they_were() {
        let zone = Zone::new("a.test".into(), 7);
        let denial = zone.denial(&config()).unwrap();
        assert!(std::ptr::eq(denial, zone.denial(&config()).unwrap()));
        for change in [
            |config: &mut DnsConfig| config.nameserver = "ns2".into(),
            |config: &mut DnsConfig| config.contact = "admin".into(),
            |config: &mut DnsConfig| config.negative_ttl_seconds += 1,
            |config: &mut DnsConfig| config.soa_refresh_seconds += 1,
            |config: &mut DnsConfig| config.soa_retry_seconds += 1,
            |config: &mut DnsConfig| config.soa_expire_seconds += 1,
            |config: &mut DnsConfig| config.ttl_seconds = 0,
        ] {
            let mut other = config();
            change(&mut other);
            assert!(zone.denial(&other).is_none(), "{other:?}");
        }
        let later = zone.at(8);
        let mut octets = [Vec::new(), Vec::new()];
        for (zone, out) in [&zone, &later].into_iter().zip(&mut octets) {
            zone.denial(&config()).unwrap().put([0xc0, 12], out);
        }
        assert_ne!(octets[0], octets[1], "the zone at another serial says that one");
    }

    #[test]
    fn what_has_other_names_is_not_kept() {
        let of = |zone: &str, nameserver: &str, contact: &str| {
            let config = DnsConfig { nameserver: nameserver.into(), contact: contact.into(), ..config() };
            Zone::new(zone.into(), 1).denial(&config).is_some()
        };
        let long = "a".repeat(64);
        assert!(of("a.test", "ns", "root.ns") && of("a.test", "", ""));
        assert!(!of("", "ns", "root") && !of("a.test", "ns.b.test.", "root") && !of("a.test", "ns", "root.b.test."));
        assert!(!of("a.test", &long, "root") && !of("a.test", "ns", "a..b") && !of("a\u{7f}b", "ns", "root"));
        assert!(!of(&["a"; 126].join("."), "ns", "root"));
    }
}
