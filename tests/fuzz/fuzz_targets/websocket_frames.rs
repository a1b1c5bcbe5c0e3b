#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::proxy::fuzz::fuzz_websocket_frames(data));
