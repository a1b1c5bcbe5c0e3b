#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::cluster::sources::marathon::fuzz_marathon_json(data));
