//! Tokens that somebody else has issued let requests pass (JWT, RFC 7519; bearer tokens, RFC 6750).
//!
//! The keys are read and fetched on the control runtime ([`store`]); a worker checks a signature by itself, which takes it
//! some ten microseconds.

pub mod keys;
pub mod store;
pub mod token;

use http::header::{HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use tracing::debug;

use super::Granted;
use crate::config::filter::JwtConfig;
use crate::model::time::Timestamp;
use crate::proxy::reason::Reason;
use crate::proxy::rules::Refusal;
use token::{Claims, Fault};

/// Lets a request pass that has a token; gives claims of it to the endpoint.
///
/// # Errors
/// The answer that asks for one, or that says that it cannot be judged now.
pub fn check(config: &JwtConfig, headers: &HeaderMap) -> Result<Granted, Refusal> {
    let Some(source) = &config.keys else { return Ok(Granted::default()) };
    let keys = store::find(source).ok_or(Reason::KeysMissing)?;
    let now = Timestamp::now().0 / 1000;
    let judged =
        token::find(config, headers).ok_or(Fault::Missing).and_then(|token| token::judge(config, &keys, token, now));
    let fault = match judged {
        Ok(claims) => return Ok(granted(config, &claims)),
        Err(fault) => fault,
    };
    debug!(?fault, "a token is not believed");
    if fault == Fault::UnknownKey {
        // Whoever issues them may have begun to sign with a new one.
        store::look_again();
    }
    // RFC 6750 section 3.1: who has shown none is told of no error. Why is not said: it would help to try.
    let (reason, challenge) = match fault {
        Fault::Missing => (Reason::TokenRequired, "Bearer"),
        Fault::Invalid(_) | Fault::UnknownKey => (Reason::TokenInvalid, "Bearer error=\"invalid_token\""),
    };
    Err(Refusal::with(reason, WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))
}

/// Fields that are made of claims: what the client wrote there counts no more, even where there is no such claim.
fn granted(config: &JwtConfig, claims: &Claims) -> Granted {
    let field = |said: &std::sync::Arc<str>| {
        let (claim, name) = said.split_once('=')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = token::text_of(claims, claim).and_then(|text| HeaderValue::from_str(&text).ok());
        Some((name, value.into_iter().collect()))
    };
    Granted(config.claims.iter().filter_map(field).collect())
}
