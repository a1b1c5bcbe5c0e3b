//! `pointsman check`: says whether a configuration file can be used, with everything that is wrong.

use std::path::PathBuf;

use super::failure::Failure;
use super::{Output, Verdict};
use crate::cluster::sources::file;
use crate::config::{self, Config};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let (problems, json) = match config::load(&arguments.file) {
        Ok(config) => {
            let problems = files(&config);
            let json = serde_json::json!({ "valid": problems.is_empty(), "files": problems });
            (problems, json)
        }
        Err(errors) => {
            let json = serde_json::json!({ "valid": false, "errors": errors });
            (vec![errors.to_string()], json)
        }
    };
    if output.json {
        writeln!(output.out, "{json:#}")?;
        return if problems.is_empty() { Ok(Verdict::Positive) } else { Err(Failure::Usage("not valid".into())) };
    }
    if problems.is_empty() {
        writeln!(output.out, "{}: valid", arguments.file.display())?;
        return Ok(Verdict::Positive);
    }
    Err(Failure::Usage(problems.join("\n")))
}

/// What is wrong with the service files that the configuration names.
fn files(config: &Config) -> Vec<String> {
    let fault = |source: &config::checked::FileConfig| match std::fs::read_to_string(&source.path) {
        Ok(text) => file::read(&text, &source.path, source).err().map(|errors| errors.to_string()),
        Err(error) => Some(format!("{}: cannot be read: {error}", source.path.display())),
    };
    config.files.iter().filter_map(fault).collect()
}
