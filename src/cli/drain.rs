//! `pointsman drain` and `pointsman undrain`: takes a task or an agent out of service and waits until nothing is in flight
//! there, puts it back, or lists what is out of service.

use std::time::{Duration, Instant};

use super::client::Client;
use super::failure::Failure;
use super::show::{Columns, ago, clean, or_dash, yes};
use super::{Output, Verdict};
use crate::admin::drains::{DrainList, DrainView};
use crate::admin::query::encode;
use crate::model::time::Timestamp;

/// How long one call waits, seconds: less than the client waits for an answer.
const CALL_WAIT: u64 = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(subcommand)]
    subject: Option<Subject>,
    /// Give up waiting after so many seconds; what is in flight is cut when the drain time is over anyway
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Only give the order
    #[arg(long, global = true)]
    no_wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Undrain {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// A task: cluster/framework/task, or its id or name where that is unambiguous
    Task {
        /// Which
        name: String,
    },
    /// An agent with all its tasks: its id, host name or address
    Agent {
        /// Which
        name: String,
    },
}

pub(super) fn drain(arguments: &Drain, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match &arguments.subject {
        None => list(client, output),
        Some(subject) => take_out(arguments, subject, client, output),
    }
}

pub(super) fn undrain(arguments: &Undrain, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.delete::<DrainView>(&arguments.subject.path())?;
    if !answer.printed(output)? {
        let DrainView { kind, subject, .. } = &answer.value;
        writeln!(output.out, "{kind} {} is in service again", clean(subject))?;
    }
    Ok(Verdict::Positive)
}

fn list(client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<DrainList>("/v1/drains")?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let mut columns = Columns::new(&["KIND", "OUT OF SERVICE", "HOST", "SINCE", "TASKS", "IN FLIGHT", "DRAINED", "BY"]);
    for d in &answer.value.drains {
        let (host, since, drained) = (or_dash(d.hostname.as_deref()), ago(d.since), yes(d.drained));
        columns.row(&[&d.kind, &d.subject, &host, &since, &d.tasks, &d.in_flight, &drained, &d.actor]);
    }
    columns.write(output.out)?;
    Ok(Verdict::Positive)
}

fn take_out(
    arguments: &Drain,
    subject: &Subject,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Verdict, Failure> {
    let begun = Instant::now();
    let limit = Duration::from_secs(if arguments.no_wait { 0 } else { arguments.timeout });
    let path = subject.path();
    let mut answer = client.put::<DrainView>(&format!("{path}?wait={}", next_wait(limit)))?;
    while !answer.value.drained && begun.elapsed() < limit {
        let wait = next_wait(limit.saturating_sub(begun.elapsed()));
        match client.get::<DrainView>(&format!("{path}?wait={wait}")) {
            Ok(next) => answer = next,
            // It ended meanwhile, and the order with it.
            Err(Failure::Negative(_)) => {
                answer.value.drained = true;
                answer.value.in_flight = 0;
                answer.value.kept_until = None;
                answer.text =
                    serde_json::to_string(&answer.value).map_err(|error| Failure::Program(error.to_string()))?;
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    let DrainView { kind, subject, tasks, in_flight, kept_until, drained, .. } = &answer.value;
    if !answer.printed(output)? {
        let subject = clean(subject);
        match drained {
            true => writeln!(output.out, "{kind} {subject} is out of service, nothing is in flight ({tasks} tasks)")?,
            false => {
                let kept = kept_until.map(kept_for).unwrap_or_default();
                writeln!(
                    output.out,
                    "{kind} {subject} is out of service, {in_flight} in flight{kept} ({tasks} tasks)"
                )?;
            }
        }
    }
    Ok(if *drained || arguments.no_wait { Verdict::Positive } else { Verdict::Negative })
}

/// Why what is idle is not drained yet.
fn kept_for(until: u64) -> String {
    let left = Timestamp(until).since(Timestamp::now()).as_millis().div_ceil(1000);
    format!(", clients that a cookie keeps there may come for {left} more seconds")
}

fn next_wait(left: Duration) -> u64 {
    left.as_secs().min(CALL_WAIT)
}

impl Subject {
    fn path(&self) -> String {
        match self {
            Self::Task { name } => format!("/v1/drains/tasks/{}", encode(name)),
            Self::Agent { name } => format!("/v1/drains/agents/{}", encode(name)),
        }
    }
}
