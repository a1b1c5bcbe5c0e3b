//! What a route does with its requests and answers beside choosing a service, and filters of the configuration. Pure, but
//! for the counts of rates and for those whom filters ask.

pub mod compress;
pub mod cors;
pub mod fields;
pub mod forward_auth;
pub mod instead;
pub mod jwt;
pub mod named;
pub mod page_service;
pub mod pages;
pub mod rate;
pub mod rewrite;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::headers::remove_all;

/// What an endpoint is told of a request by whoever has let it pass: fields with all their values.
#[derive(Debug, Default)]
pub struct Granted(pub Vec<(HeaderName, Vec<HeaderValue>)>);

impl Granted {
    /// Writes it, in place of what the client wrote, however that is spelt.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, values) in &self.0 {
            remove_all(headers, name);
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_has_no_second_spelling() {
        let mut headers = HeaderMap::new();
        for name in ["x-auth-user", "x_auth_user", "x-auth_user"] {
            headers.append(name, HeaderValue::from_static("forged"));
        }
        let name = HeaderName::from_static("x-auth-user");
        Granted(vec![(name.clone(), vec![HeaderValue::from_static("ann")])]).write(&mut headers);
        assert_eq!((headers.len(), headers.get(&name)), (1, Some(&HeaderValue::from_static("ann"))));
        // Nothing was granted of it: the client's word does not stand in its place.
        headers.append("x_auth_user", HeaderValue::from_static("forged"));
        Granted(vec![(name, Vec::new())]).write(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }
}
