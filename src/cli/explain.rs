//! `pointsman explain`: says why a request or a name is answered as it is.

use std::io::{self, Write};

use super::client::Client;
use super::failure::Failure;
use super::services::{endpoints, routes};
use super::show::{age, clean, or_dash};
use super::{Output, Verdict};
use crate::admin::explain::Explanation;
use crate::admin::explain::name::NameExplanation;
use crate::admin::explain::request::RequestExplanation;
use crate::admin::query::encode;
use crate::admin::tables::TableVersion;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A URL (with a scheme or a slash) or a DNS name
    what: String,
    /// For a URL: the method
    #[arg(long, default_value = "GET")]
    method: String,
    /// For a URL: a header, `Name: value`; Host counts instead of the URL's
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    /// For a name: the type of records, as `resolve` has them; all if left out
    #[arg(long = "type")]
    record_type: Option<String>,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let answer = client.get::<Explanation>(&path(arguments))?;
    let Explanation { table, name, request } = &answer.value;
    let outcome = name.as_ref().map(|n| &n.outcome).or(request.as_ref().map(|r| &r.outcome));
    let is_positive = outcome.is_some_and(|outcome| ["answer", "answered", "routed"].contains(&&**outcome));
    let verdict = if is_positive { Verdict::Positive } else { Verdict::Negative };
    if answer.printed(output)? {
        return Ok(verdict);
    }
    if let Some(name) = name {
        name_lines(name, output.out)?;
    }
    if let Some(request) = request {
        request_lines(request, output.out)?;
    }
    writeln!(output.out, "{}", version(table))?;
    Ok(verdict)
}

fn path(arguments: &Arguments) -> String {
    let what = encode(&arguments.what);
    if !arguments.what.contains('/') {
        let record_type = arguments.record_type.as_deref().map(encode).unwrap_or_default();
        return format!("/v1/explain?name={what}&type={record_type}");
    }
    let headers: String = arguments.headers.iter().map(|header| format!("&header={}", encode(header))).collect();
    format!("/v1/explain?url={what}&method={}{headers}", encode(&arguments.method))
}

pub(super) fn name_lines(name: &NameExplanation, out: &mut dyn Write) -> io::Result<()> {
    let wanted = name.record_type.as_deref().unwrap_or("any type");
    writeln!(out, "{} ({wanted}): {}: {}", clean(&name.name), name.outcome, clean(&name.reason))?;
    writeln!(out, "zone {}", clean(or_dash(name.zone.as_deref())))?;
    for record in &name.records {
        writeln!(out, "  {} {} {}", record.ttl_seconds, record.record_type, clean(&record.data))?;
    }
    if !name.types.is_empty() {
        writeln!(out, "it has records of type {}", name.types.join(", "))?;
    }
    if let Some(closest) = &name.closest_existing {
        writeln!(out, "the nearest name above it that exists is {}", clean(closest))?;
    }
    for near in &name.nearest {
        writeln!(out, "did you mean {}?", clean(near))?;
    }
    Ok(())
}

fn request_lines(request: &RequestExplanation, out: &mut dyn Write) -> io::Result<()> {
    let (method, host, path) = (&request.method, clean(&request.host), clean(&request.path));
    writeln!(out, "{method} {host}{path}: {}: {}", request.outcome, clean(&request.reason))?;
    if let Some(status) = request.status {
        writeln!(out, "the proxy itself answers {status}")?;
    }
    for step in &request.steps {
        let result = if step.matched { "matches" } else { "does not match" };
        writeln!(out, "  {} {} {result}", step.compared, clean(&step.pattern))?;
    }
    if let Some(route) = &request.route {
        let (host, path, owner) = (clean(&route.host), clean(&route.path), clean(&route.owner));
        let conditions =
            if route.conditions.is_empty() { String::new() } else { format!(" [{}]", route.conditions.join(", ")) };
        writeln!(out, "route {} of {owner}: {host}{path}{}", clean(&route.name), clean(&conditions))?;
    }
    for target in &request.targets {
        let version = clean(target.version.as_deref().unwrap_or("all"));
        let panic = if target.panic { ", in panic: unhealthy endpoints are served" } else { "" };
        let spared = if target.panic_spared { ", too many are spared: those that failed are served" } else { "" };
        let service = clean(&target.service);
        writeln!(
            out,
            "to {service}, version {version}, weight {}, {} available, chosen by {}{panic}{spared}",
            target.weight,
            target.available,
            clean(or_dash(target.balance.as_deref()))
        )?;
        if !target.rules.is_empty() {
            writeln!(out, "  rules: {}", clean(&target.rules.join("; ")))?;
        }
        endpoints(&target.endpoints).write(out)?;
    }
    if !request.nearest.is_empty() {
        writeln!(out, "the nearest routes:")?;
        routes(&request.nearest).write(out)?;
    }
    Ok(())
}

/// The table an answer comes from, in a line.
pub(super) fn version(table: &TableVersion) -> String {
    let stale = if table.stale { ", STALE: a source is not live" } else { "" };
    let ready = if table.ready { "" } else { ", NOT READY" };
    format!("table version {}, {} old{stale}{ready}", table.generation, age(table.age_seconds))
}
