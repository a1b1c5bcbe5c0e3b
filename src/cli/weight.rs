//! `pointsman weight`: shows how a service's requests are shared between its versions, or orders it.

use super::client::Client;
use super::failure::Failure;
use super::show::{Columns, ago, clean, or_dash};
use super::{Output, Verdict};
use crate::admin::query::encode;
use crate::admin::weights::WeightsView;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The service: cluster/namespace/name/port, or its name where that is unambiguous
    service: String,
    /// Shares of versions, `blue=90 green=10`; versions that are not named get nothing
    versions: Vec<String>,
    /// Share as labels say again
    #[arg(long, conflicts_with = "versions")]
    clear: bool,
}

pub(super) fn run(arguments: &Arguments, client: &Client, output: &mut Output<'_>) -> Result<Verdict, Failure> {
    let path = format!("/v1/weights/{}", encode(&arguments.service));
    let answer = match (arguments.clear, &arguments.versions[..]) {
        (true, _) => client.delete::<WeightsView>(&path)?,
        (false, []) => client.get::<WeightsView>(&path)?,
        (false, versions) => client.put::<WeightsView>(&format!("{path}?versions={}", encode(&versions.join(","))))?,
    };
    if answer.printed(output)? {
        return Ok(Verdict::Positive);
    }
    let view = &answer.value;
    let said = match (&*view.by, view.since) {
        ("operator", Some(since)) => {
            format!("as {} ordered {}", clean(or_dash(view.actor.as_deref())), ago(since))
        }
        ("labels", _) => "as labels say".to_owned(),
        _ => "whichever version an endpoint runs".to_owned(),
    };
    writeln!(output.out, "{}: {said}", clean(&view.service))?;
    let mut columns = Columns::new(&["VERSION", "WEIGHT", "ENDPOINTS", "AVAILABLE"]);
    for version in &view.versions {
        let weight = version.weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string());
        columns.row(&[&version.version, &weight, &version.endpoints, &version.available]);
    }
    columns.write(output.out)?;
    Ok(Verdict::Positive)
}
