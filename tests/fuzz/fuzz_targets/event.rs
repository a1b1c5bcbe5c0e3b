#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::cluster::sources::mesos::decode::fuzz_event(data));
