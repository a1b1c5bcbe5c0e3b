#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::fuzz_fields::fuzz_grpc(data));
