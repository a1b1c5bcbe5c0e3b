//! Names as octets.
//!
//! A question's name is read once into the text that the table is asked with: lower case, labels joined by dots. Its
//! octets as received stay untouched, for the response to repeat them with the asker's own case.

use super::read_u16;

/// The longest name on the wire, its length octets and the root included (RFC 1035 §3.1).
pub const MAX_NAME: usize = 255;

/// The longest label.
pub const MAX_LABEL: u8 = 63;

/// Stands in the text for octets that no name of ours has: dots within a label, control characters, anything that
/// is not ASCII. So `a\.b.zone` never finds what belongs to `a.b.zone`.
const FOREIGN: u8 = 0x7f;

/// A name as the table knows names: lower case, without the final dot.
#[derive(Clone)]
pub struct NameText {
    octets: [u8; MAX_NAME],
    len: usize,
}

impl Default for NameText {
    /// The root's name.
    fn default() -> Self {
        Self { octets: [0; MAX_NAME], len: 0 }
    }
}

impl NameText {
    /// A text of its own, as [`NameText::fill`] makes it, and where the name ends.
    pub fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut text = Self::default();
        let end = text.fill(message, at)?;
        Some((text, end))
    }

    /// Reads the name at the start of `message[at..]` in place of what the text was, without compression: a question is the
    /// first thing after the header, so that a pointer in it could only point into the header. In place, since a text is
    /// large for something that would be moved from hand to hand for each query.
    ///
    /// Returns where the name ends. `None`: it is no name, and the text is none either.
    pub fn fill(&mut self, message: &[u8], at: usize) -> Option<usize> {
        self.len = 0;
        let mut position = at;
        loop {
            let length = *message.get(position)?;
            position += 1;
            if length == 0 {
                break;
            }
            let is_label = length <= MAX_LABEL;
            let length = usize::from(length);
            // RFC 1035 §4.1.4: the two high bits mark pointers; 01 and 10 are reserved.
            if !is_label || position + length - at >= MAX_NAME {
                return None;
            }
            self.push_label(message.get(position..position + length)?);
            position += length;
        }
        Some(position)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.octets[..self.len]).expect("push_label keeps to ASCII")
    }

    fn push_label(&mut self, label: &[u8]) {
        if self.len > 0 {
            self.octets[self.len] = b'.';
            self.len += 1;
        }
        for (octet, place) in label.iter().zip(&mut self.octets[self.len..]) {
            *place = LOWER[usize::from(*octet)];
        }
        self.len += label.len();
    }
}

/// Lower case for what names may have, [`FOREIGN`] for the rest.
const LOWER: [u8; 256] = {
    let mut table = [FOREIGN; 256];
    let mut octet = b' ';
    while octet < FOREIGN {
        if octet != b'.' {
            table[octet as usize] = octet.to_ascii_lowercase();
        }
        octet += 1;
    }
    table
};

/// Where the name at `at` ends; compressed or not, without following it. `None`: it is no name.
pub fn skip(message: &[u8], at: usize) -> Option<usize> {
    let mut position = at;
    while position - at < MAX_NAME {
        match *message.get(position)? {
            0 => return Some(position + 1),
            length @ 1..=63 => position += 1 + usize::from(length),
            0xc0.. => {
                // A pointer that does not point backwards can only be meant to make readers run in circles.
                let target = usize::from(read_u16(message, position)? & 0x3fff);
                return (target < position).then_some(position + 2);
            }
            _ => return None,
        }
    }
    None
}

/// Copies the name at `at` to `out`, without compression; returns where it ends in the message. `None`: it is no
/// name. Bounded: every pointer must point before the place it stands at, and the name has at most 255 octets.
pub fn copy(message: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    let end = skip(message, at)?;
    let mut position = at;
    loop {
        match *message.get(position)? {
            0 => {
                out.push(0);
                return (out.len() - start <= MAX_NAME).then_some(end);
            }
            length @ 1..=63 => {
                let next = position + 1 + usize::from(length);
                out.extend_from_slice(message.get(position..next)?);
                if out.len() - start > MAX_NAME {
                    return None;
                }
                position = next;
            }
            0xc0.. => {
                let target = usize::from(read_u16(message, position)? & 0x3fff);
                if target >= position {
                    return None;
                }
                position = target;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wire: &[u8]) -> Option<String> {
        NameText::read(wire, 0).map(|(name, end)| {
            assert_eq!(end, wire.len());
            name.as_str().to_owned()
        })
    }

    #[test]
    fn names_become_lower_case_text() {
        assert_eq!(text(b"\0").as_deref(), Some(""));
        assert_eq!(text(b"\x03wWw\x05MESOS\0").as_deref(), Some("www.mesos"));
        assert_eq!(text(b"\x05_http\x04_tcp\x01a\0").as_deref(), Some("_http._tcp.a"));
    }

    #[test]
    fn octets_that_no_name_of_ours_has_find_nothing() {
        assert_eq!(text(b"\x03a.b\x01z\0").as_deref(), Some("a\u{7f}b.z"));
        assert_eq!(text(b"\x02\xc3\xa9\0").as_deref(), Some("\u{7f}\u{7f}"));
        assert_eq!(text(b"\x01\0\0").as_deref(), Some("\u{7f}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wire in [&b""[..], b"\x03ab", b"\x01a", b"\xc0\x0c", b"\x40a\0", b"\x80a\0", b"\x01a\xc0\x00"] {
            assert_eq!(text(wire), None, "{wire:?}");
        }
    }

    #[test]
    fn names_end_at_255_octets() {
        let mut longest: Vec<u8> = [&[63u8][..], &[b'a'; 63]].concat().repeat(3);
        longest.extend([&[61u8][..], &[b'a'; 61], &[0]].concat());
        assert_eq!(longest.len(), MAX_NAME);
        assert_eq!(text(&longest).map(|t| t.len()), Some(253));
        let mut longer: Vec<u8> = [&[63u8][..], &[b'a'; 63]].concat().repeat(3);
        longer.extend([&[62u8][..], &[b'a'; 62], &[0]].concat());
        assert_eq!(text(&longer), None);
        let endless = [1u8, b'a'].repeat(1000);
        assert_eq!(text(&endless), None);
        assert_eq!(skip(&endless, 0), None);
    }

    #[test]
    fn pointers_are_followed_backwards_only() {
        let message = b"\x01a\x01b\0\x01c\xc0\x02\xc0\x05\xc0\x0d";
        let mut out = Vec::new();
        assert_eq!(copy(message, 9, &mut out), Some(11));
        assert_eq!(out, b"\x01c\x01b\0");
        assert_eq!(skip(message, 5), Some(9));
        // To itself, and forwards.
        assert_eq!(copy(b"\xc0\x00", 0, &mut out), None);
        assert_eq!(skip(message, 11), None);
        assert_eq!(copy(b"\x01a\xc0\x00", 0, &mut Vec::new()), None, "a loop runs until the name is too long");
    }
}
