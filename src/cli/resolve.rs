//! `pointsman resolve`: looks a name up in the table, as DNS would.

use super::client::Client;
use super::explain::name_lines;
use super::failure::Failure;
use super::show::{Columns, clean};
use super::{Output, Verdict};
use crate::admin::explain::Explanation;
use crate::admin::query::encode;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name
    name: String,
    /// A, AAAA, SRV, CNAME, PTR, TXT, SVCB, HTTPS, SOA, NS, MX, CAA, SSHFP or TLSA; all if left out
    #[arg(value_name = "TYPE")]
    record_type: Option<String>,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let record_type = arguments.record_type.as_deref().map(encode).unwrap_or_default();
    let path = format!("/v1/explain?name={}&type={record_type}", encode(&arguments.name));
    let answer = client.get::<Explanation>(&path)?;
    let Some(name) = &answer.value.name else {
        return Err(Failure::Program("the instance explained something else".into()));
    };
    let verdict = if name.outcome == "answer" { Verdict::Positive } else { Verdict::Negative };
    if answer.printed(output)? {
        return Ok(verdict);
    }
    if verdict == Verdict::Negative {
        name_lines(name, output.out)?;
        return Ok(verdict);
    }
    let mut columns = Columns::new(&["NAME", "TTL", "TYPE", "DATA"]);
    for record in &name.records {
        columns.row(&[&name.name, &record.ttl_seconds, &record.record_type, &record.data]);
    }
    columns.write(output.out)?;
    if name.truncated {
        writeln!(output.out, "… more records than are shown of {}", clean(&name.name))?;
    }
    Ok(verdict)
}
