//! What fuzzing feeds to the decoder: block behind block, and whatever it reads, our encoder writes such that it is read again.

use super::{DecodeError, Decoder, Encoder};

type Field = (Vec<u8>, Vec<u8>, bool);

/// The first octet says how large the table may be, in units of 64; then come blocks behind their length in one octet. One
/// without length makes the other side's table another size.
///
/// # Panics
/// If a table is larger than it may be, if the same octets are read in two ways, if what is not wanted changes what comes
/// later, or if what the encoder has written is read as something else.
pub fn fuzz_hpack(data: &[u8]) {
    let Some((&most, mut rest)) = data.split_first() else { return };
    let most = usize::from(most) * 64;
    let [mut decoder, mut again, mut unwilling] = [(); 3].map(|()| Decoder::new(most));
    let mut onward = Onward { encoder: Encoder::new(), decoder: Decoder::new(4096) };
    while let Some((&length, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at(behind.len().min(length.into()));
        rest = behind;
        if length == 0 {
            onward.encoder.set_table_size(rest.first().map_or(0, |&octet| u32::from(octet) * 20));
            continue;
        }
        let read = read_all(&mut decoder, block);
        decoder.check();
        assert_eq!(read_all(&mut again, block), read);
        check_unwilling(&mut unwilling, block, &read);
        let Ok(fields) = read else { return };
        onward.pass(&fields);
    }
}

fn read_all(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value, is_never_indexed| {
        fields.push((name.to_vec(), value.to_vec(), is_never_indexed));
        true
    })?;
    Ok(fields)
}

/// Who wants the first field only gets no other, and the same end.
fn check_unwilling(decoder: &mut Decoder, block: &[u8], read: &Result<Vec<Field>, DecodeError>) {
    let mut got = Vec::new();
    let ended = decoder.decode(block, |name, value, is_never_indexed| {
        got.push((name.to_vec(), value.to_vec(), is_never_indexed));
        false
    });
    assert!(got.len() <= 1);
    match read {
        Ok(fields) => assert_eq!((ended, got.first()), (Ok(()), fields.first())),
        Err(error) => assert_eq!(ended, Err(*error)),
    }
}

/// The other side, to which what was read is passed on.
struct Onward {
    encoder: Encoder,
    decoder: Decoder,
}

impl Onward {
    fn pass(&mut self, fields: &[Field]) {
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        for field in fields {
            self.write(field, &mut block);
        }
        self.encoder.check();
        assert_eq!(read_all(&mut self.decoder, &block).as_deref(), Ok(fields));
        self.decoder.check();
    }

    fn write(&mut self, (name, value, is_sensitive): &Field, block: &mut Vec<u8>) {
        let encoder = &mut self.encoder;
        match (&name[..], str::from_utf8(value)) {
            (b":method", Ok(value)) if !is_sensitive => encoder.method(value, block),
            (b":scheme", Ok(value)) if !is_sensitive => encoder.scheme(value, block),
            (b":path", Ok(value)) if !is_sensitive => encoder.path(value, block),
            (b":authority", Ok(value)) if !is_sensitive => encoder.authority(value, block),
            (b":status", Ok(value)) if !is_sensitive && is_status(value) => {
                encoder.status(value.parse().unwrap_or(0), block);
            }
            _ => encoder.field(name, value, *is_sensitive, block),
        }
    }
}

fn is_status(value: &str) -> bool {
    value.len() == 3 && value.bytes().all(|octet| octet.is_ascii_digit())
}
