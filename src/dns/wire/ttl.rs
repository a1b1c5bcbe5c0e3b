//! How long a whole message may be believed.

use super::{HEADER_LEN, name, read_u16};

/// The shortest time to live of a response's answers and of what says that there is none; `None`: it has no records
/// there, or is no message.
pub fn least(message: &[u8]) -> Option<u32> {
    let counts = [4, 6, 8].map(|at| read_u16(message, at));
    let [Some(questions), Some(answers), Some(authorities)] = counts else { return None };
    let mut at = HEADER_LEN;
    for _ in 0..questions {
        at = name::skip(message, at)? + 4;
    }
    let mut least = None;
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        let fixed = name::skip(message, at)?;
        let ttl = message.get(fixed + 4..fixed + 8)?.try_into().ok().map(u32::from_be_bytes)?;
        least = Some(least.map_or(ttl, |least: u32| least.min(ttl)));
        at = fixed + 10 + usize::from(read_u16(message, fixed + 8)?);
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lived_record_counts() {
        let header = [0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        let question = b"\x01a\0\0\x01\0\x01";
        let record = |ttl: u8| [&b"\xc0\x0c\0\x01\0\x01\0\0\0"[..], &[ttl], b"\0\x04abcd"].concat();
        let message = [&header[..], question, &record(60), &record(5)].concat();
        assert_eq!(least(&message), Some(5));
        assert_eq!(least(&message[..message.len() - 16]), None, "cut off");
        assert_eq!(least(&[&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &question[..]].concat()), None);
        assert_eq!(least(b""), None);
    }
}
