//! Mesos-DNS's rules for making DNS labels from what people call their tasks.
//!
//! The rules are those of Mesos-DNS `records/labels`: an odd way to truncate, kept to the letter, because names that
//! differ in one character do not resolve. Labels that become too long by what is added to them (an underscore, a
//! hash) are shortened here too; Mesos-DNS leaves those unusable.

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use crate::config::checked::LabelRule;

/// The longest label (RFC 1035 §2.3.4).
pub const LABEL: usize = 63;

/// The longest label of RFC 952.
const SHORT_LABEL: usize = 24;

/// The longest name in presentation form without the final dot (RFC 1035 §2.3.4: 255 octets on the wire).
pub const NAME: usize = 253;

/// Makes one label: lower case, `.` and `_` become `-`, what cannot be in a label is dropped, the ends are trimmed.
/// The result is empty where nothing is left.
pub fn spec(text: &str, rule: LabelRule) -> String {
    let folded: String = text.chars().filter_map(fold).collect();
    let (trimmed, most) = match rule {
        LabelRule::Rfc1123 => (folded.trim_start_matches('-'), LABEL),
        LabelRule::Rfc952 => (folded.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()), SHORT_LABEL),
    };
    let size = trimmed.len().min(most);
    let head = trimmed[..size].trim_end_matches('-');
    if head.len() == size {
        return head.to_owned();
    }
    // What was trimmed at the end is filled up from the rest, which is not trimmed again.
    let tail = trimmed[size..].trim_start_matches('-');
    let room = (size - head.len()).min(tail.len());
    format!("{head}{}", &tail[..room])
}

/// A label of a text that must not lose what tells it from others: folded like any, and ending in a hash of itself where
/// it is too long.
pub fn whole_label(text: &str) -> String {
    let folded: String = text.chars().filter_map(fold).collect();
    shorten(folded.trim_matches('-'), LABEL).into_owned()
}

/// Makes the labels of a framework's name: dots separate labels, empty ones are dropped.
pub fn domain_frag(text: &str, rule: LabelRule) -> String {
    let labels: Vec<String> = text.split('.').map(|part| spec(part, rule)).filter(|label| !label.is_empty()).collect();
    labels.join(".")
}

/// A label as it stands behind an underscore: one that has no room for it ends in a hash of itself.
pub fn service_label(label: &str) -> Cow<'_, str> {
    shorten(label, LABEL - 1)
}

/// A name of several labels whose whole is cut to `most` octets, ending in a hash of itself.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let hash = hash_text(task_hash(text));
    Cow::Owned(format!("{}-{hash}", cut(text, most.saturating_sub(hash.len() + 1))))
}

/// A label with `suffix` (which tells such labels apart already) behind it, cut so that both fit. `None`: the suffix
/// alone does not.
pub fn suffixed(label: &str, suffix: &str) -> Option<String> {
    let room = LABEL.checked_sub(suffix.len()).filter(|room| *room > 0)?;
    Some(if label.len() <= room { format!("{label}{suffix}") } else { format!("{}{suffix}", cut(label, room)) })
}

/// The first octets of a text, without a dash or a dot at the end and without half a character.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end_matches(['-', '.'])
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

/// A hash that tells all texts apart that people meet: the first 50 bits of the SHA-1, ten characters (zbase32). It
/// begins with the five of [`task_hash`].
pub fn long_hash_text(text: &str) -> String {
    let digest = Sha1::digest(text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let hash = u64::from_be_bytes(first) >> 14;
    (0..10).map(|at| char::from(ALPHABET[((hash >> (45 - 5 * at)) & 31) as usize])).collect()
}

/// Whether a text reads like one of [`long_hash_text`].
pub fn is_long_hash(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| ALPHABET.contains(&byte))
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

    use LabelRule::{Rfc952, Rfc1123};

    fn check(text: &str, expected: &str) {
        assert_eq!(spec(text, Rfc1123), expected, "{text:?}");
    }

    fn check_short(text: &str, expected: &str) {
        assert_eq!(spec(text, Rfc952), expected, "{text:?}");
    }

    #[test]
    fn labels() {
        check("a.c.d_de.", "a-c-d-de");
        check("café", "caf");
        check("/group/app", "groupapp");
        check("##fdg..789-", "fdg--789");
        check("---", "");
        check("", "");
        check("4abc123", "4abc123");
        check("Liquor.Store", "liquor-store");
        check(&format!("hello{}f", "-".repeat(58)), "hellof");
        check(&format!("hello{}f", "-".repeat(56)), &format!("hello{}f", "-".repeat(56)));
        check(&"a".repeat(70), &"a".repeat(63));
        check(&format!("hello{}fghi-", "-".repeat(58)), "hellofghi-");
    }

    #[test]
    fn labels_of_rfc_952() {
        check_short("4abc123", "abc123");
        check_short("-0-1-a", "a");
        check_short("123", "");
        check_short("chronos with a space AND MIXED CASE-2.0.1", "chronoswithaspaceandmixe");
        check_short(&"a".repeat(25), &"a".repeat(24));
        check_short(&format!("{}----b", "a".repeat(22)), &format!("{}b", "a".repeat(22)));
    }

    #[test]
    fn fragments() {
        assert_eq!(domain_frag("Marathon.Prod", Rfc1123), "marathon.prod");
        assert_eq!(domain_frag("marathon-0.6.0-dev", Rfc1123), "marathon-0.6.0-dev");
        assert_eq!(domain_frag("marathon-0.6.0-dev", Rfc952), "marathon-0.dev");
        assert_eq!(domain_frag("..a..b..", Rfc1123), "a.b");
        assert_eq!(domain_frag("a b$", Rfc1123), "ab");
    }

    #[test]
    fn what_becomes_too_long_is_shortened_stably() {
        let long = "a".repeat(63);
        let short = service_label(&long).into_owned();
        assert_eq!((short.len(), service_label(&long)), (62, Cow::Borrowed(&*short)));
        assert_ne!(service_label(&format!("{}b", "a".repeat(62))), short);
        assert_eq!(service_label(&"a".repeat(62)), "a".repeat(62));
        assert_eq!(suffixed("web", "-iffe9-s0").unwrap(), "web-iffe9-s0");
        assert_eq!(suffixed(&long, "-iffe9-s0").unwrap(), format!("{}-iffe9-s0", "a".repeat(54)));
        assert_eq!(suffixed(&format!("{}-bb", "a".repeat(53)), "-iffe9-s0").unwrap().len(), 62);
        assert_eq!(suffixed("web", &"x".repeat(63)), None);
        assert_eq!(shorten("a.b", 3), "a.b");
    }

    #[test]
    fn hashes() {
        assert_eq!(hash_text(task_hash("test")), "iffe9");
        assert_eq!(hash_text(task_hash("liquor-store.b8db9f73-562f-11e4-a088-c20493233aa5")), "4dfjd");
        assert_eq!(parse_hash("iffe9"), Some(task_hash("test")));
        assert_eq!(parse_hash("iff0l"), None);
        assert!(long_hash_text("test").starts_with("iffe9") && is_long_hash(&long_hash_text("test")));
        assert!(!is_long_hash("iffe9") && !is_long_hash("iffe9iff0l"));
        assert_eq!(agent_tail("20140803-125133-3041283216-5050-2410-0"), "0");
        assert_eq!(agent_tail("0a1b-S17"), "s17");
    }
}
