//! `pointsman serve`: runs the program.

use std::path::PathBuf;

use super::Verdict;
use super::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/pointsman/pointsman.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    Err(Failure::Program(format!("this build cannot serve {}: it has no server", arguments.config.display())))
}
