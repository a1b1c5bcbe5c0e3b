//! Mesos-DNS's rules for making DNS labels from what people call their tasks.
//!
//! The rules are those of Mesos-DNS `records/labels` (RFC 1123 mode): an odd way to truncate, kept to the letter,
//! because names that differ in one character do not resolve.

use sha1::{Digest, Sha1};

/// The longest label (RFC 1035 §2.3.4).
pub const LABEL: usize = 63;

/// The longest name in presentation form without the final dot (RFC 1035 §2.3.4: 255 octets on the wire).
pub const NAME: usize = 253;

/// Makes one label: lower case, `.` and `_` become `-`, what cannot be in a label is dropped, the ends are trimmed.
/// The result is empty where nothing is left.
pub fn spec(text: &str) -> String {
    let folded: String = text.chars().filter_map(fold).collect();
    let trimmed = folded.trim_start_matches('-');
    let size = trimmed.len().min(LABEL);
    let head = trimmed[..size].trim_end_matches('-');
    if head.len() == size {
        return head.to_owned();
    }
    // What was trimmed at the end is filled up from the rest, which is not trimmed again.
    let tail = trimmed[size..].trim_start_matches('-');
    let room = (size - head.len()).min(tail.len());
    format!("{head}{}", &tail[..room])
}

/// Makes the labels of a framework's name: dots separate labels, empty ones are dropped.
pub fn domain_frag(text: &str) -> String {
    let labels: Vec<String> = text.split('.').map(spec).filter(|label| !label.is_empty()).collect();
    labels.join(".")
}

/// What tells tasks of one name apart: the first 25 bits of the SHA-1 of the task id.
pub fn task_hash(task_id: &str) -> u32 {
    let digest = Sha1::digest(task_id.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 7
}

/// A task's hash as the five characters of its canonical name (zbase32).
pub fn hash_text(hash: u32) -> String {
    (0..5).map(|at| char::from(ALPHABET[((hash >> (20 - 5 * at)) & 31) as usize])).collect()
}

/// The hash that five characters stand for.
pub fn parse_hash(text: &str) -> Option<u32> {
    if text.len() != 5 {
        return None;
    }
    text.bytes().try_fold(0, |hash, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        Some(hash << 5 | u32::try_from(digit).ok()?)
    })
}

const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// The end of an agent's id: what follows the last hyphen, lower case.
pub fn agent_tail(agent_id: &str) -> String {
    agent_id.rsplit('-').next().unwrap_or_default().to_ascii_lowercase()
}

fn fold(c: char) -> Option<char> {
    match c {
        'A'..='Z' => Some(c.to_ascii_lowercase()),
        'a'..='z' | '0'..='9' => Some(c),
        '-' | '.' | '_' => Some('-'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(spec(text), expected, "{text:?}");
    }

    #[test]
    fn labels() {
        check("a.c.d_de.", "a-c-d-de");
        check("café", "caf");
        check("/group/app", "groupapp");
        check("##fdg..789-", "fdg--789");
        check("---", "");
        check("", "");
        check("Liquor.Store", "liquor-store");
        check(&format!("hello{}f", "-".repeat(58)), "hellof");
        check(&format!("hello{}f", "-".repeat(56)), &format!("hello{}f", "-".repeat(56)));
        check(&"a".repeat(70), &"a".repeat(63));
    }

    #[test]
    fn fragments() {
        assert_eq!(domain_frag("Marathon.Prod"), "marathon.prod");
        assert_eq!(domain_frag("marathon-0.6.0-dev"), "marathon-0.6.0-dev");
        assert_eq!(domain_frag("..a..b.."), "a.b");
        assert_eq!(domain_frag("a b$"), "ab");
    }

    #[test]
    fn hashes() {
        assert_eq!(hash_text(task_hash("test")), "iffe9");
        assert_eq!(hash_text(task_hash("liquor-store.b8db9f73-562f-11e4-a088-c20493233aa5")), "4dfjd");
        assert_eq!(parse_hash("iffe9"), Some(task_hash("test")));
        assert_eq!(parse_hash("iff0l"), None);
        assert_eq!(agent_tail("20140803-125133-3041283216-5050-2410-0"), "0");
        assert_eq!(agent_tail("0a1b-S17"), "s17");
    }
}
