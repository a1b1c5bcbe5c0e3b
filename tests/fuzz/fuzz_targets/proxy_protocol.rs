#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::proxy_protocol::header::fuzz_proxy_protocol(data));
