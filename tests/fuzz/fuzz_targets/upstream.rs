#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::dns::forward::fuzz_upstream(data));
