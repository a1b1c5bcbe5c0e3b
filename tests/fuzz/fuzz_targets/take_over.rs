#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::server::fuzz_take_over(data));
