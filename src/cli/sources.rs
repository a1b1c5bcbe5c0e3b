//! `pointsman sources`: shows the sources, or accepts removals that are held back.

use super::client::Client;
use super::failure::Failure;
use super::show::{Columns, age, clean, or_dash};
use super::{Output, Verdict};
use crate::admin::query::encode;
use crate::admin::sources::{Accepted, SourceList};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Believe the removals that the guard holds back for a source
    AcceptRemovals {
        /// The source
        name: String,
    },
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match &arguments.command {
        None => list(client, output),
        Some(Command::AcceptRemovals { name }) => accept(name, client, output),
    }
}

fn list(client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<SourceList>("/v1/sources")?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let mut columns = Columns::new(&["SOURCE", "KIND", "STATE", "FOR", "TASKS", "AGENTS", "ERROR"]);
    for s in &answer.value.sources {
        let (since, error) = (age(s.since_seconds), or_dash(s.error.as_deref()));
        columns.row(&[&s.name, &s.kind, &s.state, &since, &s.tasks, &s.agents, &error]);
    }
    columns.write(output.out)?;
    for source in &answer.value.sources {
        if let Some(held) = &source.held {
            let name = clean(&source.name);
            writeln!(output.out, "{name} holds back {} of {} removals: {}", held.tasks, held.of, clean(&held.reason))?;
            writeln!(output.out, "  to believe them: pointsman sources accept-removals {name}")?;
        }
    }
    Ok(Verdict::Positive)
}

fn accept(name: &str, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    // A source's name is one segment of the path.
    let path = format!("/v1/sources/{}/accept-removals", encode(name).replace('/', "%2F"));
    let answer = client.post::<Accepted>(&path)?;
    if !answer.printed(output)? {
        writeln!(output.out, "accepted: {} removals of {}", answer.value.tasks, clean(&answer.value.source))?;
    }
    Ok(Verdict::Positive)
}
