//! Hashes of passwords as `crypt(3)` writes them, and whether a password fits one.
//!
//! SHA-256 (`$5$`) and SHA-512 (`$6$`) after Drepper, "Unix crypt using SHA-256 and SHA-512", and bcrypt (`$2a$`, `$2b$`,
//! `$2y$`). Hashes come from whoever can start a task: their cost is bounded, because we pay it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha_crypt::{Params, PasswordHashRef, PasswordVerifier, ShaCrypt};

/// The most rounds of SHA-crypt: some 60 ms of a processor; `mkpasswd` writes 5,000.
const MAX_ROUNDS: u32 = 100_000;
/// The highest cost of bcrypt: some 250 ms.
const MAX_COST: u32 = 12;
/// The longest hash.
const MAX_LENGTH: usize = 160;
/// The longest password that is tried: a longer one is refused before anything is computed.
pub const MAX_PASSWORD: usize = 256;

/// Why a text is no hash that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHash {
    /// Neither SHA-crypt nor bcrypt.
    #[error("the password is no hash of a kind that is understood")]
    Kind,
    /// It would cost us too much.
    #[error("the password's hash has too many rounds")]
    Cost,
    /// The kind is known, the rest is not as it should be.
    #[error("the password's hash is not whole")]
    Form,
}

impl InvalidHash {
    /// What to do about it.
    pub fn mend(self) -> &'static str {
        "make the hash with `mkpasswd -m sha-512` (`openssl passwd -6`, or `htpasswd -nB` for bcrypt)"
    }
}

/// A hash that can be tried. It is shown to nobody.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PasswordHash(Arc<str>);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidHash> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidHash::Form);
        }
        match text.split('$').nth(1) {
            Some("5" | "6") => check_sha(text)?,
            Some("2a" | "2b" | "2y") => check_bcrypt(text)?,
            _ => return Err(InvalidHash::Kind),
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `password` fits. Takes milliseconds, on purpose: not for a thread that serves.
    pub fn fits(&self, password: &str) -> bool {
        if password.len() > MAX_PASSWORD {
            return false;
        }
        if self.0.starts_with("$2") {
            return bcrypt::verify(password, &self.0).unwrap_or(false);
        }
        let hash = PasswordHashRef::new(&self.0).ok();
        hash.is_some_and(|hash| ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok())
    }
}

fn check_sha(text: &str) -> Result<(), InvalidHash> {
    let mut parts = text.split('$').skip(2);
    let mut salt = parts.next().ok_or(InvalidHash::Form)?;
    if let Some(rounds) = salt.strip_prefix("rounds=") {
        let rounds: u32 = rounds.parse().map_err(|_| InvalidHash::Form)?;
        if rounds > MAX_ROUNDS {
            return Err(InvalidHash::Cost);
        }
        // Nobody writes fewer, and no password would ever fit: whoever tries them takes the number for the salt then.
        if rounds < Params::ROUNDS_MIN {
            return Err(InvalidHash::Form);
        }
        salt = parts.next().ok_or(InvalidHash::Form)?;
    }
    let hash = parts.next().ok_or(InvalidHash::Form)?;
    let length = if text.starts_with("$5") { 43 } else { 86 };
    let is_whole = hash.len() == length && parts.next().is_none() && salt.len() <= 16;
    match is_whole && PasswordHashRef::new(text).is_ok() {
        true => Ok(()),
        false => Err(InvalidHash::Form),
    }
}

fn check_bcrypt(text: &str) -> Result<(), InvalidHash> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| InvalidHash::Form)?;
    if parts.get_cost() > MAX_COST { Err(InvalidHash::Cost) } else { Ok(()) }
}

/// What must hold for any octets: for cargo-fuzz, and for seeded runs without it. A hash that is accepted costs no more than is
/// said, as those see it who compute it, and one password fits it at most.
pub fn fuzz_password(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(hash) = PasswordHash::parse(text) else { return };
    assert_eq!((hash.as_str(), &*format!("{hash:?}")), (text, "[hidden]"));
    assert!(text.len() <= MAX_LENGTH);
    assert!(!hash.fits(&"x".repeat(MAX_PASSWORD + 1)));
    let is_cheap = match text.strip_prefix("$2") {
        Some(_) => {
            let cost = text.parse::<bcrypt::HashParts>().map(|parts| parts.get_cost());
            assert!(cost.as_ref().is_ok_and(|cost| *cost <= MAX_COST), "{cost:?}");
            cost.is_ok_and(|cost| cost <= 4)
        }
        None => {
            let field = text.split('$').nth(2).unwrap_or_default();
            let read = field.parse::<Params>().unwrap_or_default().to_string();
            let rounds = read.strip_prefix("rounds=").and_then(|rounds| rounds.parse::<u32>().ok());
            assert!(rounds.is_some_and(|rounds| rounds <= MAX_ROUNDS), "{read}");
            rounds.is_some_and(|rounds| rounds <= Params::ROUNDS_MIN)
        }
    };
    assert!(!is_cheap || !hash.fits("secret") || !hash.fits("Secret"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `openssl passwd`, from the specification of SHA-crypt, and from `mkpasswd -m bcrypt`.
    const HASHES: [(&str, &str); 4] = [
        ("secret", "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM."),
        (
            "secret",
            "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
        ),
        ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
        ("secret", "$2b$05$6hUM.4yNX1XlycaBn1xUhuIBdLP7wjV1gvSrRdqzzZr6oElubKVzm"),
    ];

    #[test]
    fn passwords_fit_their_hashes() {
        for (password, text) in HASHES {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.fits(password), "{text}");
            assert!(!hash.fits("Secret") && !hash.fits("") && !hash.fits(&"x".repeat(MAX_PASSWORD + 1)), "{text}");
            assert_eq!(format!("{hash:?}"), "[hidden]");
        }
    }

    #[test]
    fn what_cannot_be_tried_is_refused() {
        for (text, expected) in [
            ("testpasswd", InvalidHash::Kind),
            ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", InvalidHash::Kind),
            ("", InvalidHash::Kind),
            ("$5$rounds=999999999$salt$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", InvalidHash::Cost),
            ("$5$saltstring$short", InvalidHash::Form),
            ("$5$rounds=999$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", InvalidHash::Form),
            ("$6$saltstring", InvalidHash::Form),
            ("$2b$31$6hUM.4yNX1XlycaBn1xUhuIBdLP7wjV1gvSrRdqzzZr6oElubKVzm", InvalidHash::Cost),
            ("$2y$05$short", InvalidHash::Form),
        ] {
            assert_eq!(PasswordHash::parse(text), Err(expected), "{text}");
        }
    }
}
