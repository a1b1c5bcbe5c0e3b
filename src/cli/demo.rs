//! `pointsman demo`: runs an embedded cluster.

use super::Verdict;
use super::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments) -> Result<Verdict, Failure> {
    Err(Failure::Program("this build has no demo cluster".into()))
}
