//! Session tickets: with one, a client resumes a session on any worker, and on any instance that has the keys.
//!
//! A ticket can be read by whoever has its key, so keys do not live long: they are made at random, used for one period,
//! kept for another one, and forgotten. Or they come from a file that several instances share; then whoever writes the file
//! changes them. Each listener has keys of its own, made from these: a session whose client showed a certificate to one is
//! worth nothing at another.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

use super::clients::ClientAuthorities;

/// Octets of a key.
pub const KEY: usize = 32;
/// Octets by which a ticket names its key.
const NAME: usize = 16;
/// Keys of a file.
const MOST: usize = 16;
/// RFC 8446 section 4.6.1: no longer than seven days.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Why a file holds no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysFault {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of it is no key.
    #[error("line {line} of {path} is no key; write 32 random octets in base64 (`openssl rand -base64 32`)", path = path.display())]
    Line {
        /// The file.
        path: std::path::PathBuf,
        /// Which, from 1.
        line: usize,
    },
    /// None, or too many.
    #[error("{path} holds {count} keys; 1 to 16 are allowed", path = path.display())]
    Count {
        /// The file.
        path: std::path::PathBuf,
        /// How many.
        count: usize,
    },
}

/// The keys in force. Without any, no tickets are given and none is taken.
#[derive(Debug, Default)]
pub struct Tickets {
    keys: ArcSwap<Vec<Key>>,
    lifetime: AtomicU32,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    name: [u8; NAME],
    secret: [u8; KEY],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

impl Key {
    fn new(secret: [u8; KEY]) -> Self {
        let mut name = [0; NAME];
        name.copy_from_slice(&digest(&SHA256, &secret).as_ref()[..NAME]);
        Self { name, secret }
    }
}

/// Reads a file of keys, one a line: the first one encrypts, all decrypt.
///
/// # Errors
/// What is wrong with it.
pub fn read_keys(path: &Path) -> Result<Vec<[u8; KEY]>, KeysFault> {
    let text = std::fs::read_to_string(path).map_err(|source| KeysFault::Read { path: path.into(), source })?;
    parse_keys(&text, path)
}

/// The keys in the text of a file.
fn parse_keys(text: &str, path: &Path) -> Result<Vec<[u8; KEY]>, KeysFault> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(at, line): (usize, &str)| {
        let octets = BASE64_STANDARD.decode(line.trim()).ok().and_then(|octets| octets.try_into().ok());
        octets.ok_or(KeysFault::Line { path: path.into(), line: at + 1 })
    };
    let keys: Vec<[u8; KEY]> = lines.map(read).collect::<Result<_, _>>()?;
    match (1..=MOST).contains(&keys.len()) {
        true => Ok(keys),
        false => Err(KeysFault::Count { path: path.into(), count: keys.len() }),
    }
}

impl Tickets {
    /// Makes a new key; the one before it still decrypts, those before that are forgotten. Tickets are good for `period`.
    pub fn rotate(&self, period: Duration) {
        let mut secret = [0; KEY];
        if SystemRandom::new().fill(&mut secret).is_err() {
            tracing::error!("the system gives no random octets; the keys of session tickets stay as they are");
            return;
        }
        let former = self.keys.load().first().cloned();
        self.set([Key::new(secret)].into_iter().chain(former).collect(), period);
    }

    /// Takes keys from elsewhere; the first one encrypts.
    pub fn replace(&self, secrets: Vec<[u8; KEY]>, period: Duration) {
        self.set(secrets.into_iter().map(Key::new).collect(), period);
    }

    /// Gives no more tickets and takes none.
    pub fn clear(&self) {
        self.set(Vec::new(), Duration::ZERO);
    }

    fn set(&self, keys: Vec<Key>, period: Duration) {
        self.lifetime.store(u32::try_from(period.min(LONGEST).as_secs()).unwrap_or(u32::MAX), Relaxed);
        self.keys.store(Arc::new(keys));
    }

    /// Tickets of one listener.
    pub fn of_listener(self: &Arc<Self>, name: &str, clients: Option<Arc<ClientAuthorities>>) -> ListenerTickets {
        ListenerTickets { tickets: self.clone(), name: name.into(), clients }
    }
}

/// Tickets of one listener.
#[derive(Debug)]
pub struct ListenerTickets {
    tickets: Arc<Tickets>,
    name: Arc<str>,
    /// Who was asked for a certificate under other authorities is asked again.
    clients: Option<Arc<ClientAuthorities>>,
}

impl ListenerTickets {
    fn key(&self, key: &Key) -> Option<LessSafeKey> {
        let clients = self.clients.as_ref().map(|clients| clients.digest()).unwrap_or_default();
        let context = [b"pointsman session tickets ".as_slice(), &clients, self.name.as_bytes()];
        let made = Salt::new(HKDF_SHA256, &[]).extract(&key.secret);
        let okm = made.expand(&context, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

impl ProducesTickets for ListenerTickets {
    fn enabled(&self) -> bool {
        !self.tickets.keys.load().is_empty()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime.load(Relaxed)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.tickets.keys.load();
        let key = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let cipher = self.key(key)?;
        cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.tickets.keys.load();
        let key = keys.iter().find(|key| key.name == *name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.key(key)?.open_in_place(nonce, Aad::from(key.name), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }
}

/// What must hold for any octets: for cargo-fuzz, and for seeded runs without it. Keys are read as they were written, a fault
/// names a line that is there, and of keys and tickets that nobody has made nothing is believed.
pub fn fuzz_ticket_keys(data: &[u8]) {
    let (text, path) = (String::from_utf8_lossy(data), Path::new("keys"));
    match parse_keys(&text, path) {
        Ok(keys) => {
            let lines: Vec<String> = keys.iter().map(|key| BASE64_STANDARD.encode(key)).collect();
            assert!((1..=MOST).contains(&keys.len()));
            assert!(parse_keys(&lines.join("\n"), path).is_ok_and(|again| again == keys));
            check_tickets(data, keys);
        }
        Err(KeysFault::Line { line, .. }) => {
            assert!(text.lines().nth(line - 1).is_some_and(|line| !line.trim().is_empty()));
        }
        Err(KeysFault::Count { count, .. }) => {
            assert_eq!(count, text.lines().filter(|line| !line.trim().is_empty()).count());
        }
        Err(KeysFault::Read { .. }) => unreachable!("no file is read"),
    }
}

/// A session goes through a ticket whole, also where the key is no longer the first one.
fn check_tickets(session: &[u8], mut keys: Vec<[u8; KEY]>) {
    let tickets: Arc<Tickets> = Arc::default();
    let listener = tickets.of_listener("fuzz", None);
    tickets.replace(keys.clone(), LONGEST);
    assert_eq!(listener.decrypt(session), None);
    let Some(mut ticket) = listener.encrypt(session) else { return };
    keys.reverse();
    tickets.replace(keys, LONGEST);
    assert_eq!(listener.decrypt(&ticket).as_deref(), Some(session));
    let at = session.len() % ticket.len();
    ticket[at] ^= 1;
    assert_eq!(listener.decrypt(&ticket), None);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_ticket_is_good_for_its_period_and_the_next() {
        let tickets: Arc<Tickets> = Arc::default();
        let listener = tickets.of_listener("https", None);
        assert!(!listener.enabled() && listener.encrypt(b"x").is_none() && listener.decrypt(&[0; 99]).is_none());
        tickets.rotate(HOUR);
        let ticket = listener.encrypt(b"session").unwrap();
        assert_eq!((listener.enabled(), listener.lifetime()), (true, 3600));
        assert_eq!(listener.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(listener.encrypt(b"session").unwrap(), ticket);
        tickets.rotate(HOUR);
        assert_eq!(listener.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        tickets.rotate(HOUR);
        assert_eq!(listener.decrypt(&ticket), None, "its key is forgotten");
    }

    #[test]
    fn a_ticket_is_good_at_its_listener_alone_and_unchanged() {
        let tickets: Arc<Tickets> = Arc::default();
        tickets.rotate(HOUR);
        let (one, other) = (tickets.of_listener("one", None), tickets.of_listener("other", None));
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(other.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(one.decrypt(&changed), None, "{at}");
            assert_eq!(one.decrypt(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn instances_with_the_same_file_take_each_others_tickets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let line = |octet: u8| BASE64_STANDARD.encode([octet; KEY]);
        std::fs::write(&file, format!("{}\n\n{}\n", line(1), line(2))).unwrap();
        let keys = read_keys(&file).unwrap();
        let (one, two): (Arc<Tickets>, Arc<Tickets>) = Default::default();
        one.replace(keys.clone(), HOUR);
        two.replace(vec![keys[1], keys[0]], HOUR);
        let ticket = one.of_listener("https", None).encrypt(b"session").unwrap();
        assert_eq!(two.of_listener("https", None).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        std::fs::write(&file, format!("{}\nshort\n", line(1))).unwrap();
        assert!(read_keys(&file).unwrap_err().to_string().contains("line 2"));
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(read_keys(&file), Err(KeysFault::Count { count: 0, .. })));
        assert!(matches!(read_keys(&folder.path().join("none")), Err(KeysFault::Read { .. })));
    }
}
