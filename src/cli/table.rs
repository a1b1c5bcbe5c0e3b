//! `pointsman table`: the version in force, those before, and what differs.

use super::client::Client;
use super::explain::version;
use super::failure::Failure;
use super::show::{Columns, ago};
use super::{Output, Verdict, services, watch};
use crate::admin::tables::{TableContent, TableHistory, TableVersion};
use crate::table::difference::TableDiff;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The versions that are kept, newest first
    History,
    /// What differs between two versions
    Diff {
        /// The earlier version
        from: u64,
        /// The later version
        to: u64,
    },
    /// The routes and the size of one version
    Show {
        /// The version
        generation: u64,
    },
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match arguments.command {
        None => current(client, output),
        Some(Command::History) => history(client, output),
        Some(Command::Diff { from, to }) => diff(from, to, client, output),
        Some(Command::Show { generation }) => show(generation, client, output),
    }
}

fn current(client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<TableVersion>("/v1/table")?;
    if !answer.printed(output)? {
        content(&answer.value, output)?;
    }
    Ok(Verdict::Positive)
}

fn content(table: &TableVersion, output: &mut Output<'_>) -> Result<(), Failure> {
    writeln!(output.out, "{}", version(table))?;
    let counts = &table.counts;
    writeln!(output.out, "{} services, {} routes, {} tasks", counts.services, counts.routes, counts.tasks)?;
    writeln!(output.out, "epoch {}, digest {}", table.epoch, table.digest)?;
    Ok(())
}

fn history(client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<TableHistory>("/v1/table/history")?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let mut columns = Columns::new(&["VERSION", "PUBLISHED", "EVENTS", "TASKS CHANGED", "CAUSES"]);
    for entry in &answer.value.versions {
        let (published, record) = (ago(entry.built_at), &entry.record);
        let causes = record.causes.join("; ");
        columns.row(&[&entry.generation, &published, &record.events, &record.tasks_changed, &causes]);
    }
    columns.write(output.out)?;
    Ok(Verdict::Positive)
}

fn diff(from: u64, to: u64, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<TableDiff>(&format!("/v1/table/diff?from={from}&to={to}"))?;
    if !answer.printed(output)? {
        writeln!(output.out, "version {from} → {to}")?;
        watch::changes(&answer.value, output.out)?;
    }
    Ok(Verdict::Positive)
}

fn show(generation: u64, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<TableContent>(&format!("/v1/table/{generation}"))?;
    if !answer.printed(output)? {
        content(&answer.value.version, output)?;
        services::routes(&answer.value.routes).write(output.out)?;
    }
    Ok(Verdict::Positive)
}
