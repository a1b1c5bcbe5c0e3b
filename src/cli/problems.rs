//! `pointsman problems`: lists what is wrong. Its verdict is negative if there is anything.

use super::client::Client;
use super::failure::Failure;
use super::show::clean;
use super::{Output, Verdict};
use crate::admin::problems::ProblemList;
use crate::admin::query::encode;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only problems of this task, service or source
    subject: Option<String>,
    /// Only problems of this kind
    #[arg(long)]
    code: Option<String>,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let subject = arguments.subject.as_deref().map(encode).unwrap_or_default();
    let code = arguments.code.as_deref().map(encode).unwrap_or_default();
    let answer = client.get::<ProblemList>(&format!("/v1/problems?subject={subject}&code={code}"))?;
    let problems = &answer.value.problems;
    let verdict = if problems.is_empty() { Verdict::Positive } else { Verdict::Negative };
    if answer.printed(output)? {
        return Ok(verdict);
    }
    for problem in problems {
        let at = if problem.at.is_empty() { String::new() } else { format!(" at {}", clean(&problem.at)) };
        writeln!(output.out, "{} {}{at}", problem.code, clean(&problem.subject))?;
        writeln!(output.out, "    {}", clean(&problem.message))?;
        writeln!(output.out, "    {}", clean(&problem.mend))?;
    }
    if problems.is_empty() {
        writeln!(output.out, "no problems")?;
    }
    if answer.value.next_cursor.is_some() {
        writeln!(output.out, "… more than are shown; narrow them by --code or a subject")?;
    }
    Ok(verdict)
}
