//! The number that DC/OS derives a named virtual address from: Erlang's `phash2` of a binary, which is Bob Jenkins'
//! hash of 1996 (lookup2) with a first value of its own.

const GOLDEN: u32 = 0x9e37_79b9;

/// The first value for a binary.
const BINARY: u32 = GOLDEN.wrapping_mul(13);

/// `erlang:phash2(Name, Range)` of a binary.
pub(super) fn phash2(name: &[u8], range: u32) -> u32 {
    jenkins(name) % range
}

fn jenkins(octets: &[u8]) -> u32 {
    let mut state = [GOLDEN, GOLDEN, BINARY];
    let mut blocks = octets.chunks_exact(12);
    for block in &mut blocks {
        for (place, word) in state.iter_mut().zip(block.chunks_exact(4)) {
            *place = place.wrapping_add(little_endian(word));
        }
        mix(&mut state);
    }
    let mut words = blocks.remainder().chunks(4).map(little_endian);
    let mut word = || words.next().unwrap_or(0);
    let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    state[0] = state[0].wrapping_add(word());
    state[1] = state[1].wrapping_add(word());
    // The lowest octet of the last word is the length's.
    state[2] = state[2].wrapping_add(length).wrapping_add(word() << 8);
    mix(&mut state);
    state[2]
}

fn little_endian(octets: &[u8]) -> u32 {
    octets.iter().rev().fold(0, |word, octet| word << 8 | u32::from(*octet))
}

fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    for (right, left, last) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> right);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << left);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> last);
    }
    *state = [a, b, c];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_addresses() {
        // Of the range 11.0.0.0 to 11.0.0.254.
        assert_eq!(phash2(b"foo.bar", 254), 37);
        assert_eq!(phash2(b"baz.qux", 254), 39);
    }
}
