//! `pointsman services`: lists services, or shows one.

use super::client::Client;
use super::failure::Failure;
use super::show::{Columns, ago, clean, or_dash, yes};
use super::{Output, Verdict};
use crate::admin::query::encode;
use crate::admin::services::{EndpointView, RouteView, ServiceDetails, ServiceList, ServiceSummary};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// cluster/namespace/name/port, or name, name:port, framework/name where unambiguous
    name: Option<String>,
    /// The most services to list
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Where to go on, as the page before said
    #[arg(long)]
    cursor: Option<String>,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    match &arguments.name {
        Some(name) => one(name, client, output),
        None => list(arguments, client, output),
    }
}

fn list(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let cursor = arguments.cursor.as_deref().map(encode).unwrap_or_default();
    let path = format!("/v1/services?limit={}&cursor={cursor}", arguments.limit);
    let answer = client.get::<ServiceList>(&path)?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let mut columns = Columns::new(&["SERVICE", "FRAMEWORK", "PROTOCOL", "AVAILABLE", "STATE"]);
    for service in &answer.value.services {
        let available = format!("{}/{}", service.available, service.endpoints);
        columns.row(&[&service.id, &or_dash(Some(&service.framework)), &service.protocol, &available, &state(service)]);
    }
    columns.write(output.out)?;
    if let Some(cursor) = &answer.value.next_cursor {
        writeln!(output.out, "… more: --cursor {}", clean(cursor))?;
    }
    Ok(Verdict::Positive)
}

fn one(name: &str, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<ServiceDetails>(&format!("/v1/services/{}", encode(name)))?;
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let service = &answer.value.service;
    writeln!(output.out, "{}  {}  {}", clean(&service.id), service.protocol, state(service))?;
    endpoints(&answer.value.endpoints).write(output.out)?;
    if !answer.value.routes.is_empty() {
        writeln!(output.out)?;
        routes(&answer.value.routes).write(output.out)?;
    }
    Ok(Verdict::Positive)
}

pub(super) fn endpoints(endpoints: &[EndpointView]) -> Columns {
    let mut columns = Columns::new(&[
        "ADDRESS",
        "STATE",
        "CHOSEN",
        "VERSION",
        "WEIGHT",
        "IN FLIGHT",
        "LATENCY",
        "SCORE",
        "TASK",
        "WHY NOT",
    ]);
    for e in endpoints {
        let why = e.reason.as_deref().unwrap_or_default();
        let latency = e.latency_ms.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1} ms"));
        let score = e.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.6}"));
        let chosen = yes(e.available);
        columns.row(&[
            &e.address,
            &e.state,
            &chosen,
            &e.version,
            &e.weight,
            &e.in_flight,
            &latency,
            &score,
            &e.task,
            &why,
        ]);
    }
    columns
}

pub(super) fn routes(routes: &[RouteView]) -> Columns {
    let mut columns = Columns::new(&["HOST", "PATH", "ASKS", "DOES", "SERVICE", "SINCE"]);
    for route in routes {
        let asks = route.conditions.join(", ");
        let does = route.actions.join(", ");
        columns.row(&[&route.host, &route.path, &asks, &does, &route.owner, &ago(route.since)]);
    }
    columns
}

fn state(service: &ServiceSummary) -> String {
    match (service.empty_since, service.panic, service.available) {
        (Some(since), ..) => format!("empty since {}", ago(since)),
        (None, true, _) => "panic: unhealthy endpoints are served".into(),
        (None, false, 0) => "no endpoint is available".into(),
        _ => "ok".into(),
    }
}
