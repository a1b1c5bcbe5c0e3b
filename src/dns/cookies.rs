//! DNS cookies (RFC 7873) in the form that servers share (RFC 9018): a client that shows one again has received an
//! answer at its address before, so its address is not forged.
//!
//! Pure: nothing is remembered of a client, its cookie says it all. Keys are configured, where several servers answer
//! at one address, or drawn when the process starts; of the latter each day has its own.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::LazyLock;

use siphasher::sip::SipHasher24;

use super::asker::Asker;
use super::wire::option::{CLIENT_COOKIE, Cookie};
use crate::config::checked::{CookieKey, CookiePolicy, DnsConfig};

/// RFC 9018 §4.1: the version of the format.
const VERSION: u8 = 1;

/// RFC 9018 §4.2: three reserved octets follow the version, zero when made, whatever they are when shown.
const HEAD: [u8; 4] = [VERSION, 0, 0, 0];

/// Octets of a server cookie in this format.
const SERVER_COOKIE: usize = 16;

/// RFC 9018 §4.3: a cookie counts for an hour, or for five minutes more where the clocks of two servers differ.
const OLDEST: i32 = 3600;
const YOUNGEST: i32 = -300;

/// RFC 9018 §4.3: an older one than this is made anew.
const RENEWED_AFTER: i32 = 1800;

/// How long one drawn key is used; RFC 7873 §7.1 wants at most 26 hours.
const DAY: u32 = 86_400;

/// What a COOKIE option comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What the answer carries: the client's own cookie and ours.
    pub reply: Option<[u8; CLIENT_COOKIE + SERVER_COOKIE]>,
    /// The client has shown that answers to this address reach it.
    pub is_proven: bool,
}

/// Judges what a client has sent.
pub fn judge(config: &DnsConfig, asker: &Asker, cookie: Option<&Cookie>) -> Verdict {
    let (Some(cookie), Some(client)) = (cookie, asker.client) else { return Verdict::default() };
    if config.cookies == CookiePolicy::Off {
        return Verdict::default();
    }
    let ours = ours(config, asker, client, cookie);
    let server = match &ours {
        Some(ours) if ours.is_by_current_key && ours.age <= RENEWED_AFTER => ours.octets,
        _ => make(&current_key(config, asker.now), &cookie.client, HEAD, asker.now, client),
    };
    let mut reply = [0; CLIENT_COOKIE + SERVER_COOKIE];
    reply[..CLIENT_COOKIE].copy_from_slice(&cookie.client);
    reply[CLIENT_COOKIE..].copy_from_slice(&server);
    Verdict { reply: Some(reply), is_proven: ours.is_some() }
}

/// A cookie of ours that a client has shown.
struct Ours {
    octets: [u8; SERVER_COOKIE],
    age: i32,
    is_by_current_key: bool,
}

/// The cookie that is shown, if this server, or one that shares its keys, has made it, and not too long ago.
fn ours(config: &DnsConfig, asker: &Asker, client: IpAddr, cookie: &Cookie) -> Option<Ours> {
    let octets: [u8; SERVER_COOKIE] = cookie.server().try_into().ok()?;
    let [version, a, b, c, t0, t1, t2, t3, ..] = octets;
    let made_at = u32::from_be_bytes([t0, t1, t2, t3]);
    // RFC 9018 §4.3 compares as serial numbers do: the difference tells which is later.
    let age = asker.now.wrapping_sub(made_at).cast_signed();
    if version != VERSION || !(YOUNGEST..=OLDEST).contains(&age) {
        return None;
    }
    let fits = |key: &CookieKey| {
        let expected = make(key, &cookie.client, [version, a, b, c], made_at, client);
        // All octets are looked at, whichever differs first: how long it takes tells nothing of the hash.
        expected.iter().zip(&octets).fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs)) == 0
    };
    let by = match config.cookie_secret.as_slice() {
        [] => fits(&drawn_key(made_at)).then_some(0),
        keys => keys.iter().position(fits),
    };
    by.map(|position| Ours { octets, age, is_by_current_key: position == 0 })
}

fn current_key(config: &DnsConfig, now: u32) -> CookieKey {
    config.cookie_secret.first().cloned().unwrap_or_else(|| drawn_key(now))
}

/// The key of the day, from what was drawn at the start.
fn drawn_key(at: u32) -> CookieKey {
    static DRAWN: LazyLock<[u8; 16]> = LazyLock::new(|| {
        // Every process has its own; a system without randomness could not have started TLS either.
        let mut key = [0; 16];
        if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key).is_err() {
            key = fastrand::u128(..).to_ne_bytes();
        }
        key
    });
    let half = |which: u8| {
        let mut hasher = SipHasher24::new_with_key(&DRAWN);
        hasher.write(&(at / DAY).to_be_bytes());
        hasher.write(&[which]);
        hasher.finish()
    };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&half(0).to_le_bytes());
    key[8..].copy_from_slice(&half(1).to_le_bytes());
    CookieKey(key)
}

/// RFC 9018 §4.4: SipHash-2-4 over the client's cookie, version, reserved octets, time and the client's address.
fn make(
    key: &CookieKey,
    client_cookie: &[u8; CLIENT_COOKIE],
    head: [u8; 4],
    at: u32,
    client: IpAddr,
) -> [u8; SERVER_COOKIE] {
    let mut hasher = SipHasher24::new_with_key(&key.0);
    hasher.write(client_cookie);
    hasher.write(&head);
    hasher.write(&at.to_be_bytes());
    match client {
        IpAddr::V4(client) => hasher.write(&client.octets()),
        IpAddr::V6(client) => hasher.write(&client.octets()),
    }
    let mut cookie = [0; SERVER_COOKIE];
    cookie[..4].copy_from_slice(&head);
    cookie[4..8].copy_from_slice(&at.to_be_bytes());
    cookie[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::Transport;
    use crate::dns::wire::option::{Options, code, write};

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    fn option(client: [u8; 8], server: &[u8]) -> Cookie {
        let (mut data, mut options) = (Vec::new(), Options::default());
        write(code::COOKIE, &[&client[..], server].concat(), &mut data);
        options.read(&data).unwrap();
        options.cookie.unwrap()
    }

    fn at(client: &str, now: u32) -> Asker {
        Asker { transport: Transport::Udp, client: Some(client.parse().unwrap()), now, reserved: 0 }
    }

    fn with_keys(keys: &[&str]) -> DnsConfig {
        DnsConfig { cookie_secret: keys.iter().map(|key| CookieKey(octets(key))).collect(), ..DnsConfig::default() }
    }

    #[test]
    fn rfc_9018_appendix_a() {
        let (one, old, new) = (
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "dd3bdf9344b678b185a6f5cb60fca715",
            "445536bcd2513298075a5d379663c962",
        );
        let (first, second, third) = ("198.51.100.100", "203.0.113.203", "2001:db8:220:1:59de:d0f4:8769:82b8");
        // Keys, client, its cookie, the time, what it shows, whether that counts, what it gets.
        let learning = "010000005cf79f111f8130c3eee29480";
        let cases: [(&[&str], _, _, _, _, _, _); 4] = [
            (&[one], first, "2464c4abcf10c957", 1_559_731_985, "", false, learning),
            (&[one], first, "2464c4abcf10c957", 1_559_734_385, learning, true, "010000005cf7a871d4a564a1442aca77"),
            (
                &[one],
                second,
                "fc93fc62807ddb86",
                1_559_734_700,
                // Its reserved octets are not zero, and it is too old.
                "01abcdef5cf78f71a314227b6679ebf5",
                false,
                "010000005cf7a9acf73a7810aca2381e",
            ),
            (
                &[new, old],
                third,
                "22681ab97d52c298",
                1_559_741_961,
                "010000005cf7c57926556bd0934c72f8",
                true,
                "010000005cf7c609a6bb79d16625507a",
            ),
        ];
        for (keys, client, cookie, now, shown, counts, expected) in cases {
            let shown = if shown.is_empty() { Vec::new() } else { octets::<16>(shown).to_vec() };
            let cookie = option(octets(cookie), &shown);
            let verdict = judge(&with_keys(keys), &at(client, now), Some(&cookie));
            assert_eq!(verdict.is_proven, counts, "{client} {now}");
            assert_eq!(verdict.reply.unwrap()[8..], octets::<16>(expected), "{client} {now}");
        }
        // The third counted for an hour from when it was made.
        let shown = option(octets("fc93fc62807ddb86"), &octets::<16>("01abcdef5cf78f71a314227b6679ebf5"));
        assert!(judge(&with_keys(&[one]), &at(second, 0x5cf7_8f71), Some(&shown)).is_proven);
    }

    #[test]
    fn a_cookie_counts_for_its_client_its_time_and_its_keys() {
        let (first, second) = ("000102030405060708090a0b0c0d0e0f", "ffffffffffffffffffffffffffffffff");
        let config = with_keys(&[first]);
        let now = 1_000_000;
        let given = judge(&config, &at("192.0.2.1", now), Some(&option(*b"clientsc", b""))).reply.unwrap();
        let shown = option(*b"clientsc", &given[8..]);
        let proven = |config: &DnsConfig, client, now| judge(config, &at(client, now), Some(&shown)).is_proven;
        assert!(proven(&config, "192.0.2.1", now));
        assert!(proven(&config, "192.0.2.1", now + 3600) && !proven(&config, "192.0.2.1", now + 3601));
        assert!(proven(&config, "192.0.2.1", now - 300) && !proven(&config, "192.0.2.1", now - 301));
        assert!(!proven(&config, "192.0.2.2", now));
        assert!(proven(&with_keys(&[second, first]), "192.0.2.1", now), "a former key counts on");
        assert!(!proven(&with_keys(&[second]), "192.0.2.1", now));
        let other = option(*b"othersco", &given[8..]);
        assert!(!judge(&config, &at("192.0.2.1", now), Some(&other)).is_proven);
        let again = |now| judge(&config, &at("192.0.2.1", now), Some(&shown)).reply.unwrap();
        assert_eq!(again(now + 1800), given, "a young one is not made anew");
        assert_ne!(again(now + 1801), given);
        assert_eq!(again(now + 1801)[..8], given[..8], "the client's own part stays");
    }

    #[test]
    fn drawn_keys_change_with_the_day_and_count_over_its_end() {
        let config = DnsConfig::default();
        let now = 20 * DAY - 10;
        let given = judge(&config, &at("::1", now), Some(&option(*b"clientsc", b""))).reply.unwrap();
        assert!(judge(&config, &at("::1", now + 60), Some(&option(*b"clientsc", &given[8..]))).is_proven);
        assert_ne!(drawn_key(now).0, drawn_key(now + 60).0);
        let off = DnsConfig { cookies: CookiePolicy::Off, ..config };
        assert_eq!(judge(&off, &at("::1", now), Some(&option(*b"clientsc", b""))), Verdict::default());
    }
}
