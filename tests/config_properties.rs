//! Whatever the text is, checking it ends with a configuration or a refusal.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use pointsman::config::{Environment, check, format_duration, fuzz_config, parse_duration, sample_file};
use proptest::prelude::*;

const SECTIONS: &[&str] = &[
    "[server]",
    "[log]",
    "[[sources.mesos]]",
    "[sources.mesos.guard]",
    "[sources.mesos.tls]",
    "[[sources.file]]",
    "[dns]",
    "[dns.soa]",
    "[proxy.limits]",
    "[[proxy.listeners]]",
    "[[policy]]",
    "[admin]",
    "[sources]",
    "[policy]",
];

const KEYS: &[&str] = &[
    "name",
    "zone",
    "masters",
    "token",
    "token_file",
    "secret",
    "listen",
    "address",
    "hosts",
    "level",
    "ca",
    "header",
    "max_share",
    "zones",
    "path",
    "workers",
    "guard",
    "tls.key",
    "\"\\u0000\"",
];

const VALUES: &[&str] =
    &["true", "1979-05-27", "[]", "{}", "[[1], {a = 1}]", "\"zk://u:p@h/m\"", "[\"127.0.0.1:80\", \"h\"]", "\"m\""];

/// Keys that exist, in places where they may or may not belong, with values of every type.
fn toml_like() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        prop::sample::select(VALUES).prop_map(str::to_owned),
        "\\PC{0,20}".prop_map(|text| format!("{text:?}")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
    ];
    let line = prop_oneof![
        1 => prop::sample::select(SECTIONS).prop_map(str::to_owned),
        3 => (prop::sample::select(KEYS), value).prop_map(|(key, value)| format!("{key} = {value}")),
    ];
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn arbitrary_octets(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_config(&data);
    }

    #[test]
    fn arbitrary_settings(text in toml_like()) {
        fuzz_config(text.as_bytes());
    }

    #[test]
    fn a_damaged_sample(cut in any::<prop::sample::Index>(), noise in "\\PC{0,3}") {
        let sample = sample_file();
        let mut at = cut.index(sample.len());
        while !sample.is_char_boundary(at) {
            at -= 1;
        }
        fuzz_config(format!("{}{noise}{}", &sample[..at], &sample[at..]).as_bytes());
        fuzz_config(&sample.as_bytes()[..at]);
    }

    #[test]
    fn refusals_have_a_place_and_a_mend(text in toml_like()) {
        let Err(errors) = check(&text, Path::new("p.toml"), Environment::empty()) else { return Ok(()) };
        prop_assert!(!errors.errors.is_empty());
        let lines = text.split('\n').count();
        for error in &errors.errors {
            prop_assert!(!error.message.is_empty() && !error.mend.is_empty());
            prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{:?}", error);
            prop_assert!(!error.to_string().contains('\n'), "{:?}", error);
        }
    }

    #[test]
    fn durations_round_trip(nanoseconds in any::<u64>()) {
        let duration = Duration::from_nanos(nanoseconds);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }
}

#[test]
fn deep_and_long_files_end() {
    fuzz_config("a.".repeat(100_000).as_bytes());
    fuzz_config(format!("a = {}", "[".repeat(100_000)).as_bytes());
    fuzz_config("[[policy]]\n".repeat(5000).as_bytes());
    fuzz_config((0..5000).map(|n| format!("k{n} = 1\n")).collect::<String>().as_bytes());
}
