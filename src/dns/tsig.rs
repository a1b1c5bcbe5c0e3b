//! Signatures of transactions (RFC 8945): a query that is signed with a key we have gets a signed answer, and so does each
//! message of a transfer.
//!
//! Pure: keys and time are passed in. Only HMAC with SHA-2; a message is compared in constant time.

use ring::hmac;

use super::wire::query::Tsig;
use super::wire::{CLASS_ANY, HEADER_LEN, name, read_u16, record_type};
use crate::config::checked::{TsigAlgorithm, TsigKey};

/// RFC 8945 §10: how far two clocks may be apart, in seconds.
const FUDGE: u16 = 300;

/// Errors of a signature (RFC 8945 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Fault {
    /// The signature does not fit the message.
    BadSig = 16,
    /// The key is not known here.
    BadKey = 17,
    /// The clocks are too far apart.
    BadTime = 18,
}

/// A conversation that is signed with one key.
#[derive(Clone, Debug)]
pub struct Session {
    key: TsigKey,
    /// The MAC that the next one is made over.
    last: Vec<u8>,
    /// Whether a message of ours has been signed: from the second on, only times are signed besides it (§5.3.1).
    is_continued: bool,
    fault: Option<Fault>,
    /// The time of the query, which an answer to one at a wrong time repeats.
    query_time: u64,
}

/// A query without its signature.
pub struct Unsigned {
    /// The message as it was before it was signed.
    pub message: Vec<u8>,
    /// To sign the answer with.
    pub session: Session,
}

/// What a TSIG record says.
struct Signature<'a> {
    algorithm: Vec<u8>,
    time: u64,
    fudge: u16,
    mac: &'a [u8],
    original_id: u16,
    error: u16,
    other: &'a [u8],
}

/// Checks the signature of `message`, which ends with it.
///
/// # Errors
/// What is wrong with it. With [`Fault::BadTime`] the answer is signed all the same, so that the other end learns the time.
pub fn check(keys: &[TsigKey], message: &[u8], tsig: &Tsig, now: u64) -> Result<Unsigned, (Fault, Option<Session>)> {
    let bad_key = (Fault::BadKey, None);
    let mut key_name = Vec::new();
    name::copy(message, tsig.key_name, &mut key_name).ok_or(bad_key.clone())?;
    key_name.make_ascii_lowercase();
    let signature = Signature::read(message, tsig).ok_or((Fault::BadSig, None))?;
    let fits = |key: &&TsigKey| wire(&key.name) == key_name && wire(algorithm_name(key)) == signature.algorithm;
    let key = keys.iter().find(fits).ok_or(bad_key)?;
    let mut unsigned = message.get(..tsig.key_name).unwrap_or_default().to_vec();
    let additionals = read_u16(message, 10).unwrap_or_default().saturating_sub(1);
    unsigned[10..HEADER_LEN].copy_from_slice(&additionals.to_be_bytes());
    let mut signed = unsigned.clone();
    signed[..2].copy_from_slice(&signature.original_id.to_be_bytes());
    let variables = variables(key, signature.time, signature.fudge, signature.error, signature.other);
    signed.extend_from_slice(&variables);
    // Shortened MACs (§5.2.2.1) are not taken: nobody needs them.
    hmac::verify(&secret(key), &signed, signature.mac).map_err(|_| (Fault::BadSig, None))?;
    let session = Session {
        key: key.clone(),
        last: signature.mac.to_vec(),
        is_continued: false,
        fault: None,
        query_time: signature.time,
    };
    if now.abs_diff(signature.time) > u64::from(signature.fudge) {
        return Err((Fault::BadTime, Some(Session { fault: Some(Fault::BadTime), ..session })));
    }
    Ok(Unsigned { message: unsigned, session })
}

impl Session {
    /// Begins a conversation of ours.
    pub fn new(key: TsigKey) -> Self {
        Self { key, last: Vec::new(), is_continued: false, fault: None, query_time: 0 }
    }

    /// The most octets that a signature of this conversation takes.
    pub fn octets(&self) -> usize {
        // Two names, the fixed parts of the record and of its data, the MAC, a time.
        let mac = secret(&self.key).algorithm().digest_algorithm().output_len();
        wire(&self.key.name).len() + 10 + wire(algorithm_name(&self.key)).len() + 16 + mac + 6
    }

    /// Signs the message that begins at `start` of `out` and ends with it.
    pub fn sign(&mut self, now: u64, start: usize, out: &mut Vec<u8>) {
        // §5.2.3: to a query at a wrong time, its own time is said, and ours behind it.
        let (time, error, other) = match self.fault {
            Some(fault) => (self.query_time, fault as u16, now.to_be_bytes()[2..].to_vec()),
            None => (now, 0, Vec::new()),
        };
        let mut signed = Vec::new();
        if !self.last.is_empty() {
            signed.extend(length(self.last.len()));
            signed.extend_from_slice(&self.last);
        }
        signed.extend_from_slice(&out[start..]);
        match self.is_continued {
            false => signed.extend(variables(&self.key, time, FUDGE, error, &other)),
            true => {
                signed.extend_from_slice(&time.to_be_bytes()[2..]);
                signed.extend(FUDGE.to_be_bytes());
            }
        }
        let mac = hmac::sign(&secret(&self.key), &signed);
        self.last = mac.as_ref().to_vec();
        self.is_continued = true;
        let id = [out[start], out[start + 1]];
        let algorithm = wire(algorithm_name(&self.key));
        out.extend(wire(&self.key.name));
        out.extend(record_type::TSIG.to_be_bytes());
        out.extend(CLASS_ANY.to_be_bytes());
        out.extend([0; 4]);
        out.extend(length(algorithm.len() + 16 + self.last.len() + other.len()));
        out.extend(algorithm);
        out.extend_from_slice(&time.to_be_bytes()[2..]);
        out.extend(FUDGE.to_be_bytes());
        out.extend(length(self.last.len()));
        out.extend_from_slice(&self.last);
        out.extend(id);
        out.extend(error.to_be_bytes());
        out.extend(length(other.len()));
        out.extend(other);
        let additionals = read_u16(out, start + 10).unwrap_or_default() + 1;
        out[start + 10..start + HEADER_LEN].copy_from_slice(&additionals.to_be_bytes());
    }
}

impl<'a> Signature<'a> {
    fn read(message: &'a [u8], tsig: &Tsig) -> Option<Self> {
        let mut algorithm = Vec::new();
        let at = name::copy(message, tsig.data, &mut algorithm)?;
        algorithm.make_ascii_lowercase();
        let end = tsig.data + tsig.data_len;
        let [t0, t1, t2, t3, t4, t5] = *message.get(at..)?.first_chunk()?;
        let mac_len = usize::from(read_u16(message, at + 8)?);
        let after = at + 10 + mac_len;
        let other_len = usize::from(read_u16(message, after + 4)?);
        (after + 6 + other_len == end).then_some(())?;
        Some(Self {
            algorithm,
            time: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
            fudge: read_u16(message, at + 6)?,
            mac: message.get(at + 10..after)?,
            original_id: read_u16(message, after)?,
            error: read_u16(message, after + 2)?,
            other: message.get(after + 6..end)?,
        })
    }
}

/// §4.3.3: what is signed besides the message.
fn variables(key: &TsigKey, time: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
    let mut variables = wire(&key.name);
    variables.extend(CLASS_ANY.to_be_bytes());
    variables.extend([0; 4]);
    variables.extend(wire(algorithm_name(key)));
    variables.extend_from_slice(&time.to_be_bytes()[2..]);
    variables.extend(fudge.to_be_bytes());
    variables.extend(error.to_be_bytes());
    variables.extend(length(other.len()));
    variables.extend_from_slice(other);
    variables
}

fn secret(key: &TsigKey) -> hmac::Key {
    let algorithm = match key.algorithm {
        TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
        TsigAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
        TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
    };
    hmac::Key::new(algorithm, &key.secret)
}

fn algorithm_name(key: &TsigKey) -> &'static str {
    key.algorithm.as_str()
}

fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes()
}

/// A name of the configuration in wire form.
fn wire(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len() + 2);
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::name::NameText;
    use crate::dns::wire::query::{Incoming, parse};

    fn key(name: &str, algorithm: TsigAlgorithm) -> TsigKey {
        TsigKey { name: name.into(), algorithm, secret: b"0123456789abcdef0123456789abcdef".to_vec() }
    }

    fn signed(key: &TsigKey, at: u64) -> Vec<u8> {
        let mut message = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x05mesos\0\0\x06\0\x01".to_vec();
        Session::new(key.clone()).sign(at, 0, &mut message);
        message
    }

    fn check_at(keys: &[TsigKey], message: &[u8], now: u64) -> Result<(), Fault> {
        let mut text = NameText::default();
        let Incoming::Query(query) = parse(message, &mut text) else { panic!("no query: {message:02x?}") };
        check(keys, message, &query.tsig.unwrap(), now).map(drop).map_err(|(fault, _)| fault)
    }

    #[test]
    fn a_signature_counts_for_its_message_key_and_time() {
        for algorithm in [TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha384, TsigAlgorithm::HmacSha512] {
            let known = key("k1.example", algorithm);
            let message = signed(&known, 1_000_000);
            let keys = [key("other", algorithm), known.clone()];
            assert_eq!(check_at(&keys, &message, 1_000_000), Ok(()));
            assert_eq!(check_at(&keys, &message, 1_000_300), Ok(()));
            assert_eq!(check_at(&keys, &message, 1_000_301), Err(Fault::BadTime));
            assert_eq!(check_at(&keys, &message, 999_699), Err(Fault::BadTime));
            assert_eq!(check_at(&keys[..1], &message, 1_000_000), Err(Fault::BadKey));
            assert!(message.len() - 23 <= Session::new(known.clone()).octets());
            let mut changed = message.clone();
            changed[13] ^= 0x20;
            assert_eq!(check_at(&keys, &changed, 1_000_000), Err(Fault::BadSig));
        }
        let another = key("k1.example", TsigAlgorithm::HmacSha512);
        let message = signed(&key("k1.example", TsigAlgorithm::HmacSha256), 5);
        assert_eq!(check_at(&[another], &message, 5), Err(Fault::BadKey), "the algorithm is the key's");
    }

    #[test]
    fn a_query_comes_back_as_it_was_before_it_was_signed() {
        let known = key("k1", TsigAlgorithm::HmacSha256);
        let message = signed(&known, 7);
        let mut text = NameText::default();
        let Incoming::Query(query) = parse(&message, &mut text) else { panic!() };
        let unsigned = check(&[known], &message, &query.tsig.unwrap(), 7).ok().unwrap();
        assert_eq!(
            unsigned.message,
            message[..23].iter().enumerate().map(|(at, octet)| if at == 11 { 0 } else { *octet }).collect::<Vec<_>>()
        );
    }
}
