//! The key by which requests that belong together find the same endpoint, and how much one endpoint takes of them.
//!
//! Pure. Keys are hashed alike on every instance, so that all send a client to the same endpoint.

use std::net::IpAddr;

use http::HeaderMap;

use super::sticky;
use crate::model::balance::{Algorithm, HashKey};
use crate::model::id::stable_hash;

/// The key of a request; `None` where the algorithm needs none or the request has none.
pub fn key(algorithm: &Algorithm, headers: &HeaderMap, client: impl FnOnce() -> IpAddr) -> Option<u64> {
    let Algorithm::Hash(key) = algorithm else { return None };
    match key {
        HashKey::Address => Some(stable_hash(&client())),
        HashKey::Header(name) => headers.get(&**name).map(|value| stable_hash(&value.as_bytes())),
        HashKey::Cookie(name) => cookie(headers, name.as_bytes()).map(|value| stable_hash(&value)),
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    sticky::pairs(headers).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// Requests that an endpoint may have under way for keys to stay with it: its part, by weight, of a `factor` percent of
/// what is under way in all (HAProxy's `hash-balance-factor`). Above it keys go to the next one of the ring. At least
/// one; zero percent is no bound.
pub fn slots(in_flight: u32, factor: u32, weight: u16, total_weight: u64) -> u32 {
    if factor == 0 || total_weight == 0 {
        return u32::MAX;
    }
    let all = (u64::from(in_flight) + 1).saturating_mul(factor.into()).div_ceil(100);
    let part = all.saturating_mul(weight.into()).div_ceil(total_weight);
    u32::try_from(part).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_where_the_algorithm_says() {
        let mut headers = HeaderMap::new();
        headers.append("x-user", "ann".parse().unwrap());
        headers.append("cookie", "a=1; session=s1".parse().unwrap());
        let address: IpAddr = [192, 0, 2, 1].into();
        let of = |text: &str| key(&Algorithm::parse(text).unwrap(), &headers, || address);
        assert_eq!(of("hash:address"), Some(stable_hash(&address)));
        assert_eq!(of("hash:header:X-User"), Some(stable_hash(&b"ann"[..])));
        assert_eq!(of("hash:cookie:session"), Some(stable_hash(&b"s1"[..])));
        // Octets of other cookies need be no ASCII.
        let mut others = headers.clone();
        others.insert("cookie", http::HeaderValue::from_bytes(b"a=\xe4; session=s1").unwrap());
        let algorithm = Algorithm::parse("hash:cookie:session").unwrap();
        assert_eq!(key(&algorithm, &others, || address), Some(stable_hash(&b"s1"[..])));
        assert_eq!((of("hash:header:x-other"), of("hash:cookie:b"), of("random")), (None, None, None));
    }

    #[test]
    fn slots_are_a_part_of_what_is_under_way() {
        assert_eq!(slots(0, 150, 100, 400), 1);
        assert_eq!(slots(99, 150, 100, 400), 38);
        assert_eq!(slots(99, 150, 300, 400), 113);
        assert_eq!(slots(99, 0, 1, 400), u32::MAX);
    }
}
