//! Integers with a prefix (RFC 7541 section 5.1).

use super::decoder::DecodeError;

/// Octets that may follow the prefix: five hold whatever a `u32` holds.
const SHIFTS: [u32; 5] = [0, 7, 14, 21, 28];

/// Reads one whose prefix has the bits of `mask`, and goes behind it.
///
/// Section 5.1: "Integer encodings that exceed implementation limits -- in value or octet length -- MUST be treated as
/// decoding errors." The limits are `u32` and five octets behind the prefix.
#[inline]
pub(super) fn read(rest: &mut &[u8], mask: u8) -> Result<u32, DecodeError> {
    let (&first, behind) = rest.split_first().ok_or(DecodeError::Truncated)?;
    let low = first & mask;
    *rest = behind;
    if low < mask { Ok(low.into()) } else { read_long(rest, mask) }
}

fn read_long(rest: &mut &[u8], mask: u8) -> Result<u32, DecodeError> {
    let mut value = u64::from(mask);
    for shift in SHIFTS {
        let (&octet, behind) = rest.split_first().ok_or(DecodeError::Truncated)?;
        *rest = behind;
        value += u64::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return u32::try_from(value).map_err(|_| DecodeError::IntegerTooLarge);
        }
    }
    Err(DecodeError::IntegerTooLarge)
}

/// Writes one whose prefix has the bits of `mask`; `pattern` has the bits above it.
#[inline]
pub(super) fn write(pattern: u8, mask: u8, value: usize, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(low) if low < mask => out.push(pattern | low),
        _ => write_long(pattern | mask, value - usize::from(mask), out),
    }
}

fn write_long(first: u8, mut value: usize, out: &mut Vec<u8>) {
    out.push(first);
    while value >= 0x80 {
        out.push(0x80 | value.to_le_bytes()[0]);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mask: u8, value: u32, octets: &[u8]) {
        let mut written = Vec::new();
        write(0, mask, value as usize, &mut written);
        assert_eq!(written, octets, "{value}");
        let mut rest = octets;
        assert_eq!(read(&mut rest, mask), Ok(value));
        assert_eq!(rest, b"");
    }

    #[test]
    fn the_examples_of_appendix_c_1() {
        check(0x1f, 10, &[0b01010]);
        check(0x1f, 1337, &[0b11111, 0b1001_1010, 0b1010]);
        check(0xff, 42, &[0b0010_1010]);
    }

    #[test]
    fn what_fills_the_prefix_has_an_octet_behind_it() {
        check(0x7f, 126, &[126]);
        check(0x7f, 127, &[127, 0]);
        check(0x7f, 254, &[127, 127]);
        check(0x7f, 255, &[127, 0x80, 1]);
        check(0x0f, 14, &[14]);
        check(0x0f, 15, &[15, 0]);
    }

    #[test]
    fn the_bits_before_the_prefix_are_kept_and_not_minded() {
        let mut written = Vec::new();
        write(0x20, 0x1f, 4096, &mut written);
        assert_eq!(written, [0x3f, 0xe1, 0x1f]);
        assert_eq!(read(&mut &written[..], 0x1f), Ok(4096));
    }

    #[test]
    fn more_than_32_bits_are_an_error() {
        check(0x1f, u32::MAX, &[0x1f, 0xe0, 0xff, 0xff, 0xff, 0x0f]);
        let too_large = [0x1f, 0xe1, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(read(&mut &too_large[..], 0x1f), Err(DecodeError::IntegerTooLarge));
        let much_too_large = [0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(read(&mut &much_too_large[..], 0x1f), Err(DecodeError::IntegerTooLarge));
    }

    /// Section 5.1: an encoding may have "trailing zeros"; six octets behind the prefix are too many for any value.
    #[test]
    fn more_than_five_octets_behind_the_prefix_are_an_error() {
        let padded = [0x1f, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(read(&mut &padded[..], 0x1f), Ok(31));
        let too_long = [0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(read(&mut &too_long[..], 0x1f), Err(DecodeError::IntegerTooLarge));
    }

    #[test]
    fn an_end_before_the_last_octet_is_an_error() {
        for octets in [&[][..], &[0x1f], &[0x1f, 0x80], &[0x1f, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(read(&mut &octets[..], 0x1f), Err(DecodeError::Truncated), "{octets:x?}");
        }
    }
}
