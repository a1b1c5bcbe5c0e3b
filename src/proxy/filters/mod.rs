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

/// What an endpoint is told of a request by whoever has let it pass: fields with all their values.
#[derive(Debug, Default)]
pub struct Granted(pub Vec<(HeaderName, Vec<HeaderValue>)>);

impl Granted {
    /// Writes it, in place of what the client wrote.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, values) in &self.0 {
            headers.remove(name);
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}
