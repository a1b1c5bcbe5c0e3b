//! HTTP basic authentication (RFC 7617) against hashed passwords.
//!
//! A hash takes milliseconds, on purpose, and a worker serves thousands of requests in that time: so passwords are tried
//! on threads of their own, few at once, and what fitted is remembered for a while. What did not fit is tried again each
//! time; beyond the threads' queue a client is asked to come back later.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use hashbrown::HashMap;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::reason::Reason;
use super::rules::Refusal;
use super::worker::Worker;
use crate::model::password::{MAX_PASSWORD, PasswordHash};
use crate::model::rules::BasicAuth;

/// Passwords that one worker has tried at once.
const AT_ONCE: usize = 2;
/// Requests that wait for their turn.
const WAITING: usize = 64;
/// How long a password that fitted is believed without another look.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Passwords that are remembered at most.
const MAX_REMEMBERED: usize = 4096;

/// What a worker knows of passwords.
#[derive(Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: std::cell::Cell<usize>,
    seeds: [RandomState; 2],
    fitted: RefCell<HashMap<[u64; 2], Instant>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: std::cell::Cell::new(0),
            seeds: [RandomState::new(), RandomState::new()],
            fitted: RefCell::default(),
        }
    }
}

/// Lets a request pass that names a user and its password.
///
/// # Errors
/// The answer that asks for them, or that asks to come back later.
pub async fn check(worker: &Rc<Worker>, auth: &BasicAuth, headers: &HeaderMap) -> Result<(), Refusal> {
    let asked = || Refusal::with(Reason::PasswordRequired, WWW_AUTHENTICATE, challenge(&auth.realm));
    let (user, password) = credentials(headers).ok_or_else(asked)?;
    let known: Vec<PasswordHash> =
        auth.users.iter().filter(|(name, _)| **name == *user).map(|(_, hash)| hash.clone()).collect();
    for hash in known {
        if worker.passwords.fits(&hash, &password).await? {
            return Ok(());
        }
    }
    Err(asked())
}

impl Passwords {
    async fn fits(&self, hash: &PasswordHash, password: &str) -> Result<bool, Refusal> {
        // Two keyed hashes of 64 bits, whose keys nobody sees: nothing here can be turned back into a password, or met
        // by chance.
        let key = [&self.seeds[0], &self.seeds[1]].map(|seed| seed.hash_one((hash.as_str(), password)));
        let now = Instant::now();
        if self.fitted.borrow().get(&key).is_some_and(|until| *until > now) {
            return Ok(true);
        }
        if self.waiting.get() >= WAITING {
            return Err(Reason::PasswordsBusy.into());
        }
        let waiting = Waiting::begin(&self.waiting);
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Reason::PasswordsBusy)?;
        let (hash, password) = (hash.clone(), password.to_owned());
        let tried = tokio::task::spawn_blocking(move || {
            let fits = hash.fits(&password);
            drop(turn);
            fits
        });
        let fits = tried.await.unwrap_or(false);
        drop(waiting);
        if fits {
            self.remember(key, now);
        }
        Ok(fits)
    }

    fn remember(&self, key: [u64; 2], now: Instant) {
        let mut fitted = self.fitted.borrow_mut();
        if fitted.len() >= MAX_REMEMBERED {
            fitted.retain(|_, until| *until > now);
        }
        if fitted.len() >= MAX_REMEMBERED {
            fitted.clear();
        }
        fitted.insert(key, now + REMEMBERED);
    }
}

/// Counts a request that waits, until it is dropped.
struct Waiting<'a>(&'a std::cell::Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a std::cell::Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Whether a request names a user and a password, right or wrong.
pub fn is_tried(headers: &HeaderMap) -> bool {
    credentials(headers).is_some()
}

/// RFC 7617 section 2: `Basic`, and user and password in base64, parted by the first colon.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > 4 * MAX_PASSWORD {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// RFC 9110 section 5.6.4: a quoted string; what would need an escape is left out.
pub(super) fn challenge(realm: &str) -> HeaderValue {
    let realm: String = realm.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    let text = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic realm=\"restricted\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_rfc7617_2() {
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(AUTHORIZATION, line.parse().unwrap());
            }
            credentials(&headers)
        };
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), pair("Aladdin", "open sesame"));
        assert_eq!(read(&["bAsIc dTpwOnE="]), pair("u", "p:q"));
        for wrong in ["Basic", "Basic !!!", "Basic dQ==", "Bearer dTpw", ""] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(read(&["Basic dTpw", "Basic dTpw"]), None);
    }

    #[test]
    fn realms_are_quoted() {
        assert_eq!(challenge("Staff only"), "Basic realm=\"Staff only\", charset=\"UTF-8\"");
        assert_eq!(challenge("a\"b\\c\u{e9}"), "Basic realm=\"abc\", charset=\"UTF-8\"");
    }
}
