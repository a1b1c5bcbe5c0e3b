#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::http1::fuzz::fuzz_answers(data));
