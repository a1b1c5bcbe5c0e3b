#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::cluster::store::fuzz_state(data));
