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
    /// Every task label with its meaning, as Markdown
    Labels,
    /// Every reason code of the proxy's own answers, as Markdown
    Reasons,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let text = match arguments.what {
        What::Sample => crate::config::sample_file(),
        What::Reference => crate::config::reference_markdown(),
        What::Labels => crate::labels::reference_markdown(),
        What::Reasons => crate::proxy::reason::reference_markdown(),
    };
    write!(output.out, "{text}")?;
    Ok(Verdict::Positive)
}
