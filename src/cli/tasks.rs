//! `pointsman tasks`: lists tasks, or shows one.

use super::client::Client;
use super::failure::Failure;
use super::show::{Columns, clean, or_dash};
use super::{Output, Verdict, services};
use crate::admin::query::encode;
use crate::admin::tasks::{TaskDetails, TaskList};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// cluster/framework/task, or a task's id or name where unambiguous
    task: Option<String>,
    /// Only tasks of this service
    #[arg(long)]
    service: Option<String>,
    /// Only tasks on this agent: id, host name or address
    #[arg(long)]
    agent: Option<String>,
    /// Only tasks in this state (running, healthy, draining, …)
    #[arg(long)]
    state: Option<String>,
    /// The most tasks to list
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Where to go on, as the page before said
    #[arg(long)]
    cursor: Option<String>,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match &arguments.task {
        Some(task) => one(task, client, output),
        None => list(arguments, client, output),
    }
}

fn list(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let filters = [
        ("service", &arguments.service),
        ("agent", &arguments.agent),
        ("state", &arguments.state),
        ("cursor", &arguments.cursor),
    ];
    let filters =
        filters.into_iter().filter_map(|(key, value)| value.as_ref().map(|v| format!("&{key}={}", encode(v))));
    let answer =
        client.get::<TaskList>(&format!("/v1/tasks?limit={}{}", arguments.limit, filters.collect::<String>()))?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let mut columns = Columns::new(&["TASK", "NAME", "STATE", "HEALTH", "SERVED AS", "VERSION", "AGENT"]);
    for t in &answer.value.tasks {
        let agent = or_dash(t.agent_hostname.as_deref().or(t.agent.as_deref()));
        columns.row(&[&t.key, &t.name, &t.state, &t.health, &t.endpoint_state, &t.version, &agent]);
    }
    columns.write(output.out)?;
    if let Some(cursor) = &answer.value.next_cursor {
        writeln!(output.out, "… more: --cursor {}", clean(cursor))?;
    }
    Ok(Verdict::Positive)
}

fn one(task: &str, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<TaskDetails>(&format!("/v1/tasks/{}", encode(task)))?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let TaskDetails { task, labels, endpoints, problems, .. } = &answer.value;
    writeln!(output.out, "{}  {}", clean(&task.key), clean(&task.name))?;
    writeln!(output.out, "state {}, health {}, served as {}", task.state, task.health, task.endpoint_state)?;
    writeln!(output.out, "addresses {}", clean(&task.addresses.join(", ")))?;
    if let Some(name) = &task.dns_name {
        writeln!(output.out, "DNS name {name}")?;
    }
    for label in labels {
        writeln!(output.out, "label {} = {}", clean(&label.key), clean(&label.value))?;
    }
    for problem in problems {
        writeln!(output.out, "problem {}: {}; {}", problem.code, clean(&problem.message), clean(&problem.mend))?;
    }
    services::endpoints(endpoints).write(output.out)?;
    Ok(Verdict::Positive)
}
