#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::model::password::fuzz_password(data));
