//! Ids by which a request is found again in everybody's logs.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// The longest id that is kept.
const LONGEST: usize = 128;

/// The id that a proxy before us gave: one field of visible characters.
pub fn read(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let (Some(id), None) = (values.next(), values.next()) else { return None };
    let octets = id.as_bytes();
    let is_good = !octets.is_empty() && octets.len() <= LONGEST && octets.iter().all(u8::is_ascii_graphic);
    is_good.then(|| id.clone())
}

/// A new one: 128 bits as 32 hexadecimal digits.
pub fn make(rng: &mut fastrand::Rng) -> HeaderValue {
    HeaderValue::from_str(&format!("{:032x}", rng.u128(..))).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_kept() {
        let name = HeaderName::from_static("x-request-id");
        let read = |values: &[&str]| {
            let headers: HeaderMap = values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect();
            read(&headers, &name).map(|id| id.to_str().unwrap().to_owned())
        };
        assert_eq!(read(&["7b5c-1"]).as_deref(), Some("7b5c-1"));
        for other in [&[][..], &[""], &["a", "b"], &["two words"], &["caf\u{e9}"], &["x".repeat(129).as_str()]] {
            assert_eq!(read(other), None, "{other:?}");
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let (one, other) = (make(&mut rng), make(&mut rng));
        assert!(one.len() == 32 && one != other);
    }
}
