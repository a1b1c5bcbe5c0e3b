//! The configuration: a TOML file, checked into the form the program runs on.
//!
//! ```text
//!  settings (the table of keys) ──┬──▶ read the file ──▶ Raw ──▶ combinations ──▶ Config
//!                                 ├──▶ sample file, reference, API view
//!                                 └──▶ what a reload may change
//! ```
//!
//! Invariants: a [`Config`] that [`check`] gives is valid as a whole; a file is refused with all its faults at once,
//! each with place, key and mend; secrets appear in no message and no view. Whether files that the configuration
//! names exist (certificates, services) is not checked here: whoever opens them says so.

pub mod access;
pub mod acme;
pub mod checked;
mod combine;
mod document;
mod environment;
mod error;
pub mod filter;
mod kind;
mod nearest;
pub mod otlp;
mod raw;
mod reader;
mod reload;
mod section;
mod setting;
mod settings;
pub mod watch;

use std::path::Path;

use toml::de::DeTable;

pub use checked::Config;
pub use document::{reference_markdown, sample_file};
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors};
pub use kind::duration::{format_duration, parse_duration};
pub use kind::size::{format_size, parse_size};
pub use reload::{ReloadPlan, RestartNeeded, reload};
pub use setting::Reload;

pub(crate) use environment::read_bounded;
pub(crate) use error::Lines;
use raw::Raw;
use reader::{Place, Reader};

/// Checks the text of a configuration file. `path` is the file's name in messages; relative paths in the file start
/// at its folder.
///
/// # Errors
/// Everything that is wrong. Where the text is no TOML at all, only that: what its keys mean cannot be known.
pub fn check(text: &str, path: &Path, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    let lines = Lines::of(text);
    let (table, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        return Err(ConfigErrors::new(syntax.iter().map(|error| syntax_error(error, path, &lines)).collect()));
    }
    let mut reader = Reader::new(path.parent().unwrap_or(Path::new("")), environment);
    let mut raw = Raw::default();
    settings::root().read(&mut raw, Some(table.get_ref()), &Place::root(), &mut reader);
    combine::check_combinations(&raw, &mut reader);
    let faults = reader.into_faults();
    if faults.is_empty() {
        return Ok(raw.into_config());
    }
    Err(ConfigErrors::new(faults.into_iter().map(|placed| key_error(placed, path, &lines)).collect()))
}

/// Reads and checks a configuration file with the process's environment.
///
/// # Errors
/// As [`check`], and where the file cannot be read.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let text = read_bounded(path, LONGEST_FILE).map_err(|error| {
        let (file, message) = (path.display().to_string(), format!("the file cannot be read: {error}"));
        let mend = "check the path and who may read it; `pointsman config sample` writes a new one".to_owned();
        ConfigErrors::new(vec![ConfigError { file, line: None, column: None, key: String::new(), message, mend }])
    })?;
    check(&text, path, Environment::process())
}

/// The configuration with all its settings, as the file would have them; secrets are `"[hidden]"`.
pub fn to_json(config: &Config) -> serde_json::Value {
    settings::root().show(&Raw::from(config))
}

/// What the fuzzer calls: whatever the octets are, nothing panics, and what is accepted can be shown and compared.
#[doc(hidden)]
pub fn fuzz_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match check(&text, Path::new("fuzz.toml"), Environment::empty()) {
        Ok(config) => {
            assert!(to_json(&config).is_object(), "the view of a configuration is an object");
            let plan = reload(&config, &config).expect("a configuration does not differ from itself");
            assert!(plan.is_empty(), "a configuration does not differ from itself");
        }
        Err(errors) => assert!(!errors.to_string().is_empty(), "a refusal says why"),
    }
}

fn syntax_error(error: &toml::de::Error, path: &Path, lines: &Lines<'_>) -> ConfigError {
    let place = error.span().map(|span| lines.place(&span));
    ConfigError {
        file: path.display().to_string(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        key: String::new(),
        message: format!("this is no TOML: {}", error.message()),
        mend: "mend it here; further faults of the settings are shown then".into(),
    }
}

fn key_error(placed: reader::Placed, path: &Path, lines: &Lines<'_>) -> ConfigError {
    let place = placed.fault.span.map(|span| lines.place(&span));
    ConfigError {
        file: path.display().to_string(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        key: placed.key,
        message: placed.fault.message,
        mend: placed.fault.mend,
    }
}

/// The largest configuration file, octets.
const LONGEST_FILE: u64 = 4 << 20;
