#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::tls::tickets::fuzz_ticket_keys(data));
