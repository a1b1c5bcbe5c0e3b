//! Whole blocks: the examples of RFC 7541 Appendix C, every error, and that what is written is read.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{DecodeError, Decoder, Encoder, fuzz, huffman};

type Field = (String, String, bool);

/// The octets of a dump; blanks do not count.
fn octets(dump: &str) -> Vec<u8> {
    let digits: Vec<u8> = dump.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let mut fields = Vec::new();
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    decoder.decode(block, |name, value, is_never_indexed| {
        fields.push((text(name), text(value), is_never_indexed));
        true
    })?;
    decoder.check();
    Ok(fields)
}

/// Lines of `name: value`.
fn lines(text: &str) -> Vec<(String, String)> {
    let pair =
        |line: &str| line[1..].split_once(": ").map(|(name, value)| (line[..1].to_owned() + name, value.to_owned()));
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| pair(line).unwrap()).collect()
}

/// A block says these fields, and leaves these entries, the newest first, and this size.
fn check(decoder: &mut Decoder, dump: &str, fields: &str, entries: &str, size: u32) {
    let read = read(decoder, &octets(dump)).unwrap();
    assert!(read.iter().all(|(_, _, is_never_indexed)| !is_never_indexed));
    let read: Vec<_> = read.into_iter().map(|(name, value, _)| (name, value)).collect();
    assert_eq!(read, lines(fields));
    assert_eq!(decoder.table().texts(), lines(entries));
    assert_eq!(decoder.table().size(), size);
}

fn with_table(size: usize) -> Decoder {
    let mut decoder = Decoder::new(size);
    let mut update = Vec::new();
    super::integer::write(0x20, 0x1f, size, &mut update);
    decoder.decode(&update, |_, _, _| true).unwrap();
    decoder
}

#[test]
fn appendix_c_2_1_a_field_that_is_indexed() {
    let field = "custom-key: custom-header";
    check(
        &mut Decoder::new(4096),
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        field,
        field,
        55,
    );
}

#[test]
fn appendix_c_2_2_a_field_that_is_not_indexed() {
    check(&mut Decoder::new(4096), "040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", "", 0);
}

#[test]
fn appendix_c_2_3_a_field_that_is_never_indexed() {
    let mut decoder = Decoder::new(4096);
    let fields = read(&mut decoder, &octets("1008 7061 7373 776f 7264 0673 6563 7265 74")).unwrap();
    assert_eq!(fields, [("password".into(), "secret".into(), true)]);
    assert_eq!(decoder.table().size(), 0);
}

#[test]
fn appendix_c_2_4_an_index() {
    check(&mut Decoder::new(4096), "82", ":method: GET", "", 0);
}

/// The three requests of C.3 and C.4.
fn check_requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(4096);
    let authority = ":authority: www.example.com";
    let fields = format!(":method: GET\n:scheme: http\n:path: /\n{authority}");
    check(&mut decoder, blocks[0], &fields, authority, 57);
    let entries = format!("cache-control: no-cache\n{authority}");
    check(&mut decoder, blocks[1], &format!("{fields}\ncache-control: no-cache"), &entries, 110);
    let fields = format!(":method: GET\n:scheme: https\n:path: /index.html\n{authority}\ncustom-key: custom-value");
    check(&mut decoder, blocks[2], &fields, &format!("custom-key: custom-value\n{entries}"), 164);
}

#[test]
fn appendix_c_3_requests_without_huffmans_code() {
    check_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn appendix_c_4_requests_in_huffmans_code() {
    check_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

/// The three answers of C.5 and C.6, with a table of 256 octets: each evicts.
fn check_answers(blocks: [&str; 3]) {
    let mut decoder = with_table(256);
    let location = "location: https://www.example.com";
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let fields = format!(":status: 302\ncache-control: private\n{date}\n{location}");
    let entries = format!("{location}\n{date}\ncache-control: private\n:status: 302");
    check(&mut decoder, blocks[0], &fields, &entries, 222);
    let fields = format!(":status: 307\ncache-control: private\n{date}\n{location}");
    let entries = format!(":status: 307\n{location}\n{date}\ncache-control: private");
    check(&mut decoder, blocks[1], &fields, &entries, 222);
    let date = "date: Mon, 21 Oct 2013 20:13:22 GMT";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let fields = format!(":status: 200\ncache-control: private\n{date}\n{location}\ncontent-encoding: gzip\n{cookie}");
    let entries = format!("{cookie}\ncontent-encoding: gzip\n{date}");
    check(&mut decoder, blocks[2], &fields, &entries, 215);
}

#[test]
fn appendix_c_5_answers_without_huffmans_code() {
    check_answers([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn appendix_c_6_answers_in_huffmans_code() {
    check_answers([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

/// Every octet once, in their order, as another implementation has written it.
#[test]
fn huffmans_code_is_that_of_appendix_b() {
    let encoded = octets(
        "ffc7fffd8fffffe2fffffe3fffffe4fffffe5fffffe6fffffe7fffffe8ffffeafffffff3fffffa7fffffabffffffdfffffebfffffecfffffedff\
        fffeefffffefffffff0ffffff1ffffff2fffffffbfffffcffffffd3fffffd7fffffdbfffffdffffffe3fffffe7fffffebfffffed4fe3f9ffaffc\
        abf1febfafefe7fdfd2cbb00089969b71d79fb9f7fff20ffbff3ff50ddbd7f061c58f265cd9f469d5af66dddbf871e5f9cff7ff7fffc3ff9ffe4\
        5fff4719242cb34e6e9d68a6a3d7dac426defe3cfaf7fffbfe7ffbffdffffffcfffe6ffff4bfff9ffffa3fffd3ffff53fffd5ffffb3fffeb7fff\
        daffffb7ffff73fffeeffffdeffffebffffbfffffd9ffffdbfffebffffe0ffffeeffffc3ffff8bffff1ffffe4fffee7fffb1ffff97fffd9ffffc\
        dffff9fffffbffffdafffeeffff4ffffb7fffee7fffe8ffffd3fffdeffffd5fffeeffffbdffffe1fffdfffff7fffff5ffffecffff07fff87fffe\
        0ffff17fffedffff87ffff77fffeffffeaffff8bfffe3ffff93ffff87fffcbffff37ffff1fffff83ffffe1fffebfffe3ffff3fffff2ffffa3fff\
        fd9fffff17ffffc7fffff27ffffdefffffbffffff2fffff8fffffb7fff97fff8fffffe6fffffc1fffff87ffffe7fffffc5ffffe5fffe4ffff2ff\
        fffd1fffff4ffffffefffffe3fffffc9fffff97fffb3ffffcffffb7fffcdffff4ffff9ffffd1ffffcffffeaffffafffffddffffeffffff4fffff\
        5fffffabffffa7ffffd7fffff9bffffecfffffb7fffff3fffffe8fffffd3fffffabfffff5fffffff7ffffecfffffdbfffffbbfffff7ffffff0ff\
        fffbbf",
    );
    let text: Vec<u8> = (0..=255).collect();
    assert_eq!(huffman::encode(&text), encoded);
    assert_eq!(huffman::decode(&encoded, &mut Vec::new()), Ok(&text[..]));
}

fn bad_huffman(encoded: &[u8]) {
    assert_eq!(huffman::decode(encoded, &mut Vec::new()), Err(DecodeError::BadHuffman), "{encoded:x?}");
}

/// Section 5.2: "Upon decoding, an incomplete code at the end of the encoded data is to be considered as padding and
/// discarded. A padding strictly longer than 7 bits MUST be treated as a decoding error."
#[test]
fn a_padding_of_more_than_seven_bits_is_an_error() {
    // "aaaaaaaa" has forty bits, "o" 00111: three ones follow.
    assert_eq!(huffman::decode(&huffman::encode(b"aaaaaaaa"), &mut Vec::new()), Ok(&b"aaaaaaaa"[..]));
    assert_eq!(huffman::decode(&[0x3f], &mut Vec::new()), Ok(&b"o"[..]));
    bad_huffman(&[0x3f, 0xff]);
    bad_huffman(&[0xff]);
    let mut padded = huffman::encode(b"aaaaaaaa");
    padded.push(0xff);
    bad_huffman(&padded);
    // "X" is 11111100: seven ones are a padding, this is none.
    bad_huffman(&[0x3f, 0xfe]);
}

/// Section 5.2: "A padding not corresponding to the most significant bits of the code for the EOS symbol MUST be treated as a
/// decoding error."
#[test]
fn a_padding_that_is_not_all_ones_is_an_error() {
    for padding in 0..7 {
        bad_huffman(&[0x38 | padding]);
    }
    // Seven bits that are no whole code: "1111100" begins "&", which is 11111000.
    bad_huffman(&[0xfe, 0x7f & 0xfc]);
}

/// Section 5.2: "A Huffman-encoded string literal containing the EOS symbol MUST be treated as a decoding error."
#[test]
fn eos_in_a_string_is_an_error() {
    bad_huffman(&[0xff, 0xff, 0xff, 0xff]);
    bad_huffman(&[0xff, 0xff, 0xff, 0xfc, 0x3f]);
    bad_huffman(&[0x3f, 0xff, 0xff, 0xff, 0xff, 0x3f, 0x3f, 0x3f, 0x3f]);
}

#[test]
fn an_empty_string_in_huffmans_code_is_one() {
    assert_eq!(huffman::decode(&[], &mut Vec::new()), Ok(&b""[..]));
}

fn fails(dump: &str, error: DecodeError) {
    assert_eq!(read(&mut Decoder::new(4096), &octets(dump)), Err(error), "{dump}");
}

/// Section 6.1: "The index value of 0 is not used. It MUST be treated as a decoding error"; section 2.3.3: so must what is
/// beyond both tables.
#[test]
fn an_index_that_is_in_no_table_is_an_error() {
    fails("80", DecodeError::BadIndex);
    fails("be", DecodeError::BadIndex);
    fails("ff00", DecodeError::BadIndex);
    fails("ff80 ffff ff0f", DecodeError::BadIndex);
    // By name only, in each of the three forms.
    fails("7e 0161", DecodeError::BadIndex);
    fails("0f2f 0161", DecodeError::BadIndex);
    fails("1f2f 0161", DecodeError::BadIndex);
    // One entry: 62 is there, 63 is not.
    check(&mut Decoder::new(4096), "4101 61be", ":authority: a\n:authority: a", ":authority: a", 43);
    fails("4101 61bf", DecodeError::BadIndex);
}

/// Section 5.1, within fields.
#[test]
fn an_integer_that_is_too_large_is_an_error() {
    fails("ffff ffff ffff 0f", DecodeError::IntegerTooLarge);
    fails("047f 8080 8080 8000", DecodeError::IntegerTooLarge);
    fails("3fe2 ffff ff7f", DecodeError::IntegerTooLarge);
}

#[test]
fn a_block_that_ends_within_a_field_is_an_error() {
    let block = octets(
        "3fe1 1f 82 4001 6101 62 0f27 0163 1008 7061 7373 776f 7264 0673 6563 7265 74 41 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    );
    let ends: Vec<usize> = (0..=block.len())
        .filter(|&end| read(&mut Decoder::new(4096), &block[..end]) != Err(DecodeError::Truncated))
        .collect();
    // Behind the update and behind each field.
    assert_eq!(ends, [0, 3, 4, 9, 13, 30, 44]);
    fails("ff", DecodeError::Truncated);
    fails("04", DecodeError::Truncated);
    fails("047f ffff ff7f 61", DecodeError::Truncated);
    fails("0485 f1e3 c2e5", DecodeError::Truncated);
    fails("3f", DecodeError::Truncated);
}

/// Section 6.3: the new size "MUST be lower than or equal to the limit"; what exceeds it "MUST be treated as a decoding error".
#[test]
fn a_table_beyond_what_was_announced_is_an_error() {
    check(&mut Decoder::new(4096), "3fe1 1f", "", "", 0);
    fails("3fe2 1f", DecodeError::TableSize);
    check(&mut Decoder::new(8192), "3fe1 3f", "", "", 0);
    assert_eq!(read(&mut Decoder::new(8192), &octets("3fe2 3f")), Err(DecodeError::TableSize));
}

/// Section 4.2: an update "MUST occur at the beginning of the first header block following the change".
#[test]
fn an_update_behind_a_field_is_an_error() {
    fails("82 20", DecodeError::TableSize);
    fails("20 82 3fe1 1f 82", DecodeError::TableSize);
    check(&mut Decoder::new(4096), "20 3fe1 1f 82", ":method: GET", "", 0);
}

/// Section 4.3: a reduction evicts; section 4.2: one to 0 and back clears the table.
#[test]
fn updates_evict_at_once() {
    let mut decoder = Decoder::new(4096);
    check(&mut decoder, "4001 6101 62 4001 6301 64", "a: b\nc: d", "c: d\na: b", 68);
    check(&mut decoder, "3f25", "", "c: d\na: b", 68);
    check(&mut decoder, "3f24 be", "c: d", "c: d", 34);
    check(&mut decoder, "20 3fe1 1f 82", ":method: GET", "", 0);
    assert_eq!(read(&mut decoder, &octets("be")), Err(DecodeError::BadIndex));
}

/// Section 4.4: "A new entry can reference the name of an entry in the dynamic table that will be evicted when adding this new
/// entry into the dynamic table."
#[test]
fn a_name_outlives_its_entry() {
    let mut decoder = with_table(60);
    check(&mut decoder, "4004 6e61 6d65 0331 3131", "name: 111", "name: 111", 39);
    for value in ["222", "333", "444", "555", "666", "777", "888", "999"] {
        let block = [&[0x7e, 0x03], value.as_bytes()].concat();
        assert_eq!(read(&mut decoder, &block), Ok(vec![("name".into(), value.into(), false)]));
        assert_eq!(decoder.table().texts(), [("name".to_owned(), value.to_owned())]);
    }
}

#[test]
fn who_wants_no_more_fields_gets_none_and_the_table_is_right() {
    let mut decoder = Decoder::new(4096);
    let mut count = 0;
    let block = octets("82 4001 6101 62 4001 6301 64");
    decoder
        .decode(&block, |_, _, _| {
            count += 1;
            count < 2
        })
        .unwrap();
    assert_eq!(count, 2);
    assert_eq!(decoder.table().texts(), lines("c: d\na: b"));
    assert_eq!(decoder.decode(&octets("82 80"), |_, _, _| false), Err(DecodeError::BadIndex));
}

fn block(encoder: &mut Encoder, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    write(encoder, &mut out);
    encoder.check();
    out
}

#[test]
fn what_the_static_table_has_is_one_octet() {
    let written = block(&mut Encoder::new(), |encoder, out| {
        for status in [200, 204, 206, 304, 400, 404, 500] {
            encoder.status(status, out);
        }
        encoder.method("GET", out);
        encoder.method("POST", out);
        encoder.scheme("http", out);
        encoder.scheme("https", out);
        encoder.path("/", out);
        encoder.path("/index.html", out);
        encoder.field(b"accept-encoding", b"gzip, deflate", false, out);
    });
    assert_eq!(written, octets("88 89 8a 8b 8c 8d 8e 82 83 86 87 84 85 90"));
}

#[test]
fn a_field_that_repeats_is_inserted_at_the_second_time_and_an_index_from_then_on() {
    let mut encoder = Encoder::new();
    let write = |encoder: &mut Encoder, out: &mut Vec<u8>| {
        encoder.status(503, out);
        encoder.field(b"server", b"p", false, out);
        encoder.field(b"grpc-status", b"0", false, out);
    };
    let status = "grpc-status".bytes().map(|octet| format!("{octet:02x}")).collect::<String>();
    assert_eq!(block(&mut encoder, write), octets(&format!("08 03353033 0f27 0170 00 0b{status} 0130")));
    assert_eq!(encoder.table().size(), 0);
    assert_eq!(block(&mut encoder, write), octets(&format!("48 03353033 76 0170 40 0b{status} 0130")));
    assert_eq!(encoder.table().texts(), lines("grpc-status: 0\nserver: p\n:status: 503"));
    assert_eq!(block(&mut encoder, write), octets("c0 bf be"));
    assert_eq!(block(&mut encoder, write), octets("c0 bf be"));
}

/// RFC 7541 section 7.1: what is secret, or each message's own, never is in the table.
#[test]
fn a_field_that_must_not_repeat_is_written_out_each_time() {
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        let written = block(&mut encoder, |encoder, out| {
            encoder.path("/a", out);
            encoder.field(b"cookie", b"c", false, out);
            encoder.field(b"x-api-key", b"k", false, out);
            encoder.field(b"server", &[b's'; 129], false, out);
        });
        let server = "73".repeat(129);
        assert_eq!(written, octets(&format!("04 022f61 0f11 0163 0009 782d6170692d6b6579 016b 0f27 7f02 {server}")));
    }
    assert_eq!(encoder.table().size(), 0);
}

/// Sections 6.2.3 and 7.1.3.
#[test]
fn a_sensitive_field_is_never_indexed() {
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        let written = block(&mut encoder, |encoder, out| {
            encoder.field(b"server", b"p", true, out);
            encoder.field(b"accept-encoding", b"gzip, deflate", true, out);
            encoder.field(b"x", b"y", true, out);
        });
        assert_eq!(written, octets("1f27 0170 1f01 0d 677a69702c206465666c617465 10 0178 0179"));
        let read = read(&mut Decoder::new(4096), &written).unwrap();
        assert!(read.iter().all(|(_, _, is_never_indexed)| *is_never_indexed));
    }
}

fn updates(encoder: &mut Encoder, sizes: &[u32]) -> Vec<u8> {
    for &size in sizes {
        encoder.set_table_size(size);
    }
    block(encoder, |_, _| ())
}

/// Section 4.2: "the smallest maximum table size that occurs in that interval MUST be signaled ... The final maximum size is
/// always signaled, resulting in at most two dynamic table size updates."
#[test]
fn the_smallest_size_and_the_last_are_signalled() {
    let mut encoder = Encoder::new();
    assert_eq!(updates(&mut encoder, &[]), b"");
    assert_eq!(updates(&mut encoder, &[4096]), b"");
    // Never more than at the beginning, whatever is allowed.
    assert_eq!(updates(&mut encoder, &[65536]), b"");
    assert_eq!(updates(&mut encoder, &[8192, 5000]), b"");
    assert_eq!(updates(&mut encoder, &[0, 4096]), octets("20 3fe1 1f"));
    assert_eq!(updates(&mut encoder, &[300, 20, 100, 30]), octets("34 3e"));
    assert_eq!(updates(&mut encoder, &[30]), b"");
    assert_eq!(updates(&mut encoder, &[u32::MAX]), octets("3fe1 1f"));
    assert_eq!(updates(&mut encoder, &[0]), octets("20"));
    assert_eq!(updates(&mut encoder, &[]), b"");
}

#[test]
fn a_peer_without_a_table_gets_no_entries() {
    let mut encoder = Encoder::new();
    assert_eq!(updates(&mut encoder, &[0]), octets("20"));
    for _ in 0..3 {
        let written = block(&mut encoder, |encoder, out| encoder.field(b"server", b"p", false, out));
        assert_eq!(written, octets("0f27 0170"));
    }
}

/// An entry that was evicted is found no more, and comes in again.
#[test]
fn what_was_evicted_is_inserted_again() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    updates(&mut encoder, &[80]);
    decoder.decode(&octets("3f31"), |_, _, _| true).unwrap();
    for number in 0..200 {
        let name = [&b"server"[..], b"via", b"vary"][number % 3];
        let written = block(&mut encoder, |encoder, out| encoder.field(name, b"value", false, out));
        let expected = (String::from_utf8(name.to_vec()).unwrap(), "value".to_owned(), false);
        assert_eq!(read(&mut decoder, &written), Ok(vec![expected]));
        assert_eq!(encoder.table().texts(), decoder.table().texts());
    }
    assert_eq!(encoder.table().texts().len(), 1);
}

/// An idle connection that nothing was ever said on takes no memory here.
#[test]
fn what_is_not_used_is_small() {
    assert!(size_of::<Decoder>() <= 160, "{}", size_of::<Decoder>());
    assert!(size_of::<Encoder>() <= 128, "{}", size_of::<Encoder>());
}

/// Sizes that are announced, then a block of fields: the numbers of a name and a value, and whether it is sensitive.
type Step = (Vec<u32>, Vec<(usize, usize, bool)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = vec(prop_oneof![0u32..400, Just(4096), any::<u32>()], 0..3);
    let sizes = prop_oneof![4 => Just(Vec::new()), 1 => sizes];
    // Few names and values, so that they meet again.
    vec((sizes, vec((0usize..16, 0usize..40, prop::bool::weighted(0.1)), 0..12)), 0..60)
}

const NAMES: [&str; 16] = [
    ":status",
    ":method",
    ":scheme",
    ":path",
    ":authority",
    "server",
    "via",
    "date",
    "content-type",
    "cookie",
    "accept-encoding",
    "x-api-key",
    "grpc-status",
    "user-agent",
    "x-forwarded-proto",
    "x-frame-options",
];

/// Some value, such that a higher number has a longer one.
fn value_of(name: &str, number: usize) -> String {
    match (name, number) {
        (":status", _) => (200 + 13 * number).to_string(),
        (":method", 0) => "GET".into(),
        (":path", 0) => "/".into(),
        ("accept-encoding", 0) => "gzip, deflate".into(),
        _ => "v".repeat(number * number / 10) + &number.to_string(),
    }
}

fn write(encoder: &mut Encoder, (name, value, is_sensitive): &Field, out: &mut Vec<u8>) {
    match &name[..] {
        ":status" => encoder.status(value.parse().unwrap(), out),
        ":method" => encoder.method(value, out),
        ":scheme" => encoder.scheme(value, out),
        ":path" => encoder.path(value, out),
        ":authority" => encoder.authority(value, out),
        _ => encoder.field(name.as_bytes(), value.as_bytes(), *is_sensitive, out),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_whatever_the_table_becomes(steps in steps()) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(4096);
        for (sizes, fields) in steps {
            for &size in &sizes {
                encoder.set_table_size(size);
            }
            let field = |(name, number, is_sensitive): (usize, usize, bool)| {
                let name = NAMES[name];
                (name.to_owned(), value_of(name, number), is_sensitive && !name.starts_with(':'))
            };
            let fields: Vec<Field> = fields.into_iter().map(field).collect();
            let written = block(&mut encoder, |encoder, out| {
                for field in &fields {
                    write(encoder, field, out);
                }
            });
            prop_assert_eq!(read(&mut decoder, &written), Ok(fields));
            // RFC 9113 section 4.3.1: who has announced a smaller table is told that it is as small.
            if let Some(&last) = sizes.last() {
                prop_assert_eq!(decoder.table().limit(), last.min(4096));
            }
            prop_assert_eq!(encoder.table().texts(), decoder.table().texts());
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(data in vec(any::<u8>(), 0..600)) {
        fuzz::fuzz_hpack(&data);
    }

    /// Octets that look like fields more often than any do.
    #[test]
    fn pieces_of_fields_are_read_or_refused(
        announced in any::<u8>(),
        blocks in vec(vec(prop_oneof![
            4 => (0x80u8..0xc8).prop_map(|index| vec![index]),
            4 => (prop::sample::select(vec![0x00u8, 0x01, 0x0f, 0x10, 0x40, 0x41, 0x76, 0x7e, 0x7f]), vec(any::<u8>(), 0..5))
                .prop_map(|(first, text)| [&[first, text.len().to_le_bytes()[0]], &text[..]].concat()),
            4 => (prop::sample::select(vec![0x00u8, 0x10, 0x40]), "[a-z]{0,30}", "[ -~]{0,30}")
                .prop_map(|(first, name, value)| {
                    let (name, value) = (huffman::encode(name.as_bytes()), huffman::encode(value.as_bytes()));
                    let length = |text: &[u8]| 0x80 | text.len().to_le_bytes()[0];
                    [&[first, length(&name)], &name[..], &[length(&value)], &value[..]].concat()
                }),
            1 => (0x20u8..0x3f).prop_map(|size| vec![size]),
        ], 0..5), 0..12),
    ) {
        let mut data = vec![announced];
        for block in blocks {
            let block = block.concat();
            data.push(u8::try_from(block.len()).unwrap_or(u8::MAX));
            data.extend(block);
        }
        fuzz::fuzz_hpack(&data);
    }

    #[test]
    fn huffmans_code_is_read_as_it_was_written(text in vec(any::<u8>(), 0..300)) {
        let encoded = huffman::encode(&text);
        let mut scratch = vec![b'x'; text.len() / 2];
        prop_assert_eq!(huffman::decode(&encoded, &mut scratch), Ok(&text[..]));
    }

    /// Exactly the strings that are written are read: no other octets say the same.
    #[test]
    fn what_is_read_in_huffmans_code_is_written_so(encoded in vec(any::<u8>(), 0..40)) {
        let mut scratch = Vec::new();
        if let Ok(text) = huffman::decode(&encoded, &mut scratch) {
            prop_assert_eq!(huffman::encode(text), encoded);
        }
    }
}
