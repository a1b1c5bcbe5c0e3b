//! `pointsman watch`: follows the changes of the table.

use std::io::{self, Write};

use super::client::Client;
use super::failure::Failure;
use super::show::{clean, clock};
use super::{Output, Verdict};
use crate::admin::events::TableChanged;
use crate::table::difference::{Change, TableDiff};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after so many changes
    #[arg(long)]
    count: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let mut left = arguments.count;
    client.follow("/v1/events", |event, data| {
        if event == "table" {
            if output.json {
                writeln!(output.out, "{data}")?;
            } else {
                let invalid = |error| Failure::Program(format!("an event cannot be understood: {error}"));
                let change: TableChanged = serde_json::from_str(data).map_err(invalid)?;
                lines(&change, output.out)?;
            }
            left = left.map(|left| left.saturating_sub(1));
        } else if !output.json {
            writeln!(output.out, "watching; Ctrl-C ends")?;
        }
        output.out.flush()?;
        Ok(left != Some(0))
    })?;
    Ok(Verdict::Positive)
}

fn lines(change: &TableChanged, out: &mut dyn Write) -> io::Result<()> {
    let time = clock(change.built_at);
    let stale = if change.stale { " (stale)" } else { "" };
    writeln!(out, "{time} version {}{stale}: {}", change.to, clean(&change.causes.join("; ")))?;
    changes(&change.diff, out)
}

/// The lines of a difference.
pub(super) fn changes(diff: &TableDiff, out: &mut dyn Write) -> io::Result<()> {
    for (kind, list) in diff.lists() {
        for change in list {
            writeln!(out, "  {kind} {}", line(change))?;
        }
    }
    if diff.truncated {
        writeln!(out, "  … more than is shown")?;
    }
    Ok(())
}

fn line(change: &Change) -> String {
    let key = clean(&change.key);
    match (change.before.as_deref().map(clean), change.after.as_deref().map(clean)) {
        (None, Some(after)) => format!("{key}: new: {after}"),
        (Some(before), None) => format!("{key}: gone, was: {before}"),
        (Some(before), Some(after)) => format!("{key}: {before} → {after}"),
        (None, None) => key,
    }
}
