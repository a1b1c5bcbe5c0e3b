//! `pointsman deploys`: what became of requests while a new version took the place of another.

use super::client::Client;
use super::failure::Failure;
use super::show::{Columns, ago, clean};
use super::{Output, Verdict};
use crate::admin::deploys::{DeployDetails, DeployList, DeployView, DeploymentView};
use crate::admin::query::encode;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The number of a deploy, to see its versions and endpoints
    number: Option<u64>,
    /// Only deploys of this service
    #[arg(long)]
    service: Option<String>,
    /// The most deploys to list
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match arguments.number {
        Some(number) => one(number, client, output),
        None => list(arguments, client, output),
    }
}

fn list(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let service = arguments.service.as_ref().map(|name| format!("&service={}", encode(name))).unwrap_or_default();
    let answer = client.get::<DeployList>(&format!("/v1/deploys?limit={}{service}", arguments.limit))?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let deploys = &answer.value.deploys;
    let mut head = vec!["DEPLOY", "SERVICE", "FROM", "TO", "STATE", "BEGAN", "TOOK", "LOST"];
    // Nobody without Marathon needs the column.
    let has_deployments = deploys.iter().any(|deploy| !deploy.deployments.is_empty());
    head.extend(has_deployments.then_some("DEPLOYMENT"));
    let mut columns = Columns::new(&head);
    for d in deploys {
        let (from, began, took) = (from(d), ago(d.began), took(d));
        let mut row: Vec<&dyn std::fmt::Display> =
            vec![&d.id, &d.service, &from, &d.to, &d.outcome, &began, &took, &d.summary];
        let deployment = d.deployments.last().map_or_else(|| "-".to_owned(), deployment);
        if has_deployments {
            row.push(&deployment);
        }
        columns.row(&row);
    }
    columns.write(output.out)?;
    Ok(Verdict::Positive)
}

/// Positive if nothing was lost and nothing is cut.
fn one(number: u64, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<DeployDetails>(&format!("/v1/deploys/{number}"))?;
    let DeployDetails { deploy, versions, endpoints, omitted } = &answer.value;
    let verdict = if deploy.lost == 0 && deploy.cut == 0 { Verdict::Positive } else { Verdict::Negative };
    if answer.printed(output)? {
        return Ok(verdict);
    }
    writeln!(output.out, "{}  {} → {}  {}", clean(&deploy.service), from(deploy), clean(&deploy.to), deploy.outcome)?;
    writeln!(output.out, "began {}, took {}", ago(deploy.began), took(deploy))?;
    writeln!(output.out, "{}, cut midway: {}", deploy.summary, deploy.cut)?;
    for one in &deploy.deployments {
        write_deployment(one, output)?;
    }
    writeln!(output.out)?;
    let mut columns = Columns::new(&["VERSION", "ENDPOINTS", "REQUESTS", "ERRORS"]);
    for v in versions {
        columns.row(&[&v.version, &v.endpoints, &v.requests, &v.errors]);
    }
    columns.write(output.out)?;
    writeln!(output.out)?;
    let mut columns = Columns::new(&[
        "ENDPOINT",
        "VERSION",
        "APPEARED",
        "READY",
        "FIRST",
        "LAST",
        "DRAINING",
        "LAST BYTE",
        "GONE",
        "REQUESTS",
        "ERRORS",
    ]);
    for e in endpoints {
        let since = |at: Option<u64>| since(deploy, at);
        columns.row(&[
            &e.address,
            &e.version,
            &e.appeared.map_or_else(|| "before".to_owned(), |at| since(Some(at))),
            &since(e.ready),
            &since(e.first_request),
            &since(e.last_request),
            &since(e.draining),
            &since(e.last_byte),
            &since(e.gone),
            &e.requests,
            &e.errors,
        ]);
    }
    columns.write(output.out)?;
    if *omitted > 0 {
        writeln!(output.out, "… and {omitted} endpoints that are not recorded")?;
    }
    Ok(verdict)
}

/// A deployment in a few words: which, and how it stands.
fn deployment(one: &DeploymentView) -> String {
    let id = clean(&one.id);
    match (one.state.as_str(), one.step) {
        ("running", Some(step)) => format!("{id}, step {step} of {}", one.steps),
        (state, _) => format!("{id}, {state}"),
    }
}

fn write_deployment(one: &DeploymentView, output: &mut Output<'_>) -> Result<(), Failure> {
    let (source, apps) = (clean(&one.source), clean(&one.apps.join(", ")));
    let more = if one.more_apps > 0 { format!(" and {} more", one.more_apps) } else { String::new() };
    let began = one.began.map(|at| format!(", began {}", ago(at))).unwrap_or_default();
    writeln!(output.out, "deployment {} ({source}), of {apps}{more}{began}", deployment(one))?;
    if one.state == "running" && !one.actions.is_empty() {
        writeln!(output.out, "  {}", clean(&one.actions.join(", ")))?;
    }
    if let Some(reason) = &one.reason {
        writeln!(output.out, "  {}", clean(reason))?;
    }
    Ok(())
}

fn from(deploy: &DeployView) -> String {
    match deploy.from.is_empty() {
        true => "-".to_owned(),
        false => clean(&deploy.from.join(", ")),
    }
}

fn took(deploy: &DeployView) -> String {
    let seconds = deploy.milliseconds as f64 / 1000.0;
    if deploy.is_running() { format!("{seconds:.1} s so far") } else { format!("{seconds:.1} s") }
}

/// A moment, as seconds after the deploy began.
fn since(deploy: &DeployView, at: Option<u64>) -> String {
    match at {
        None => "-".to_owned(),
        Some(at) if at < deploy.began => "before".to_owned(),
        Some(at) => format!("{:.1} s", (at - deploy.began) as f64 / 1000.0),
    }
}
