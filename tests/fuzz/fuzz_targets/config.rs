#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::config::fuzz_config(data));
