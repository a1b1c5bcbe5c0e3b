#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::tls::der::fuzz_der(data));
