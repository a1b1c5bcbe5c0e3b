#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::http2::fuzz::fuzz_http2_server(data));
