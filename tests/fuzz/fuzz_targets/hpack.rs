#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::http2::hpack::fuzz::fuzz_hpack(data));
