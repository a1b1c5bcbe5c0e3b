#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::labels::fuzz_labels(data));
