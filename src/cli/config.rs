//! `pointsman config`: prints the sample configuration and the reference.

use super::failure::Failure;
use super::{Output, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A complete, commented configuration file
    Sample,
    /// Every setting with meaning, unit, default and cost, as Markdown
    Reference,
}

pub(super) fn run(arguments: &Arguments, _output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let what = match arguments.what {
        What::Sample => "sample",
        What::Reference => "reference",
    };
    Err(Failure::Program(format!("this build has no configuration {what}")))
}
