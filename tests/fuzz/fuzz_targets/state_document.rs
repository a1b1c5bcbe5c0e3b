#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::cluster::sources::mesos::state_document::fuzz_state_document(data));
