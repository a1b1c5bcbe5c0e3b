#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::cluster::sources::file::fuzz_zone(data));
