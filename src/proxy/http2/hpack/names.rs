//! Names of fields that the encoder knows: where they stand in the static table, and whether their values repeat.
//!
//! Whose values may enter the dynamic table is a list, not what is left by a list of exceptions. RFC 7541 section 7.1: "Any
//! shared compression context can be used to guess" what is in it, and towards an endpoint many clients share one. A name
//! that nobody has listed may stand for a secret (`x-api-key`); those listed here say what software speaks and in which
//! format. Not listed are also those whose values mean one client (`x-forwarded-for`), and those that nearly each message
//! has another value for (`:path`, `etag`, `content-length`, `last-modified`), which would only drive the others out.
//! `date` is: a second has many messages, or its value never comes in ([`super::repeats`]).

use super::static_table::{self, STATIC};

/// Names that repeat and have no place in the static table.
static OTHERS: [&str; 32] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-max-age",
    "alt-svc",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-status",
    "permissions-policy",
    "priority",
    "referrer-policy",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "te",
    "timing-allow-origin",
    "upgrade-insecure-requests",
    "x-content-type-options",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-frame-options",
    "x-powered-by",
    "x-xss-protection",
];

/// Those of the static table that repeat. Of the pseudo-fields only what is written by way of the dynamic table counts.
const REPEATING: [&str; 19] = [
    ":authority",
    ":method",
    ":status",
    "accept",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-origin",
    "allow",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "date",
    "server",
    "strict-transport-security",
    "user-agent",
    "vary",
    "via",
];

/// A name that the encoder knows, or none: the index in the static table, then the place in [`OTHERS`] counted on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known(u8);

/// A name that is not known.
const NONE: Known = Known(0);
/// How many there are, with none.
const COUNT: usize = 1 + STATIC.len() + OTHERS.len();

/// The factor with which no two names share a place. Found by trying odd numbers; with another name it may take another one, and
/// the build says so.
const MIX: u64 = 0x323d_c9ac_6be8_5241;
/// By [`mix`] the only one that a name can be.
static PLACES: [Known; 256] = places();
/// A bit for each whose values repeat.
const REPEATS: u128 = repeats();

impl Known {
    /// The pseudo-fields, by the first entry of their name.
    pub(super) const AUTHORITY: Self = Self(static_table::AUTHORITY);
    pub(super) const METHOD: Self = Self(static_table::METHOD_GET);
    pub(super) const SCHEME: Self = Self(static_table::SCHEME_HTTP);
    pub(super) const PATH: Self = Self(static_table::PATH_ROOT);
    pub(super) const STATUS: Self = Self(static_table::STATUS_200);
    pub(super) const ACCEPT_ENCODING: Self = Self(static_table::ACCEPT_ENCODING);

    /// What a regular field's name is; lower case.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return NONE;
        }
        let known = PLACES[usize::from(mix(name))];
        if known != NONE && known.text().as_bytes() == name { known } else { NONE }
    }

    /// A number below 128, and not 0 but for none.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// The index in the static table, or 0.
    #[inline]
    pub(super) fn index(self) -> usize {
        let number = usize::from(self.0);
        if number <= STATIC.len() { number } else { 0 }
    }

    /// Whether its values repeat and are nobody's secret.
    #[inline]
    pub(super) fn repeats(self) -> bool {
        (REPEATS >> self.0) & 1 == 1
    }

    const fn text(self) -> &'static str {
        let number = self.0 as usize;
        match number {
            0 => "",
            _ if number <= STATIC.len() => STATIC[number - 1].0,
            _ => OTHERS[number - 1 - STATIC.len()],
        }
    }
}

/// What tells names apart: their length and four of their octets. A name must not be empty.
#[inline]
const fn mix(name: &[u8]) -> u8 {
    let length = name.len();
    let octets = [name[0], name[length / 2], name[length - length.div_ceil(4)], name[length - 1]];
    let key = u64::from_le_bytes([length.to_le_bytes()[0], octets[0], octets[1], octets[2], octets[3], 0, 0, 0]);
    key.wrapping_mul(MIX).to_be_bytes()[0]
}

const fn places() -> [Known; 256] {
    let mut places = [NONE; 256];
    let mut number: u8 = 1;
    while (number as usize) < COUNT {
        let name = Known(number).text().as_bytes();
        if name[0] != b':' {
            let place = mix(name) as usize;
            assert!(places[place].0 == 0, "two names in one place: try another number");
            places[place] = Known(number);
        }
        number += 1;
    }
    places
}

const fn repeats() -> u128 {
    const { assert!(COUNT <= 128) };
    let mut bits = 0;
    let mut number: u8 = 1;
    while (number as usize) < COUNT {
        if number as usize > STATIC.len() || is_one_of(Known(number).text().as_bytes(), &REPEATING) {
            bits |= 1 << number;
        }
        number += 1;
    }
    bits
}

const fn is_one_of(name: &[u8], list: &[&str]) -> bool {
    let mut place = 0;
    while place < list.len() {
        if is_equal(name, list[place].as_bytes()) {
            return true;
        }
        place += 1;
    }
    false
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut place = 0;
    while place < one.len() && place < other.len() && one[place] == other[place] {
        place += 1;
    }
    place == one.len() && place == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_regular_name_is_found_and_nothing_else() {
        for (place, (name, _)) in STATIC.iter().enumerate() {
            let expected = if name.starts_with(':') { 0 } else { place + 1 };
            assert_eq!(Known::of(name.as_bytes()).index(), expected, "{name}");
        }
        for name in OTHERS {
            let known = Known::of(name.as_bytes());
            assert_eq!((known.text(), known.index(), known.repeats()), (name, 0, true));
        }
        for name in ["", "x", "Via", "vie", "x-api-key", "x-frame-option", "serves"] {
            assert_eq!(Known::of(name.as_bytes()), NONE, "{name}");
            assert_eq!(Known::of(name.as_bytes()).index(), 0);
        }
    }

    #[test]
    fn every_name_that_repeats_is_known() {
        let repeating: Vec<&str> = (1..=61).map(Known).filter(|known| known.repeats()).map(Known::text).collect();
        for name in REPEATING {
            assert!(repeating.contains(&name), "{name}");
        }
        assert!(!NONE.repeats());
    }

    /// RFC 7541 section 7.1.3: "particularly sensitive" values; and what is each message's own.
    #[test]
    fn secrets_and_what_changes_do_not_repeat() {
        let never = [
            "cookie",
            "set-cookie",
            "authorization",
            "proxy-authorization",
            "www-authenticate",
            "proxy-authenticate",
            "referer",
            "location",
            "content-length",
            "etag",
            "last-modified",
            "x-api-key",
            "x-csrf-token",
            "x-forwarded-for",
            "from",
        ];
        for name in never {
            assert!(!Known::of(name.as_bytes()).repeats(), "{name}");
        }
        assert!(!Known::PATH.repeats() && !Known::SCHEME.repeats());
    }
}
