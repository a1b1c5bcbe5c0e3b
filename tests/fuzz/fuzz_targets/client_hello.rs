#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::tls::client_hello::fuzz_client_hello(data));
