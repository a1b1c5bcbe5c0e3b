#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::mesos_dns::fuzz_mesos_dns_config(data));
