//! `/v1/weights`: shares of a service's versions, as an operator orders them in place of labels.

use http::Method;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::command;
use super::context::AdminContext;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::security::Actor;
use super::services;
use crate::cluster::event::Command;
use crate::labels::read_split;
use crate::model::id::{ServiceId, Version};
use crate::model::service::Service;
use crate::model::weights::Shares;
use crate::table::Table;

/// How a service's requests are shared between its versions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WeightsView {
    pub generation: u64,
    /// The service: cluster/namespace/name/port.
    pub service: String,
    /// `operator`, `labels`, or `none`: the version does not matter.
    pub by: String,
    /// Who ordered it, if somebody did.
    pub actor: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    pub versions: Vec<VersionView>,
}

/// One version of a service.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VersionView {
    pub version: String,
    /// Its share, relative to the others; absent where the version does not matter.
    pub weight: Option<u32>,
    pub endpoints: usize,
    pub available: usize,
}

/// GET, PUT and DELETE of /v1/weights/{service}. `actor` gave the order, if it is one.
pub(crate) async fn order(
    context: &AdminContext,
    method: &Method,
    wanted: &str,
    query: &Query,
    actor: Option<Actor>,
) -> Answer {
    let id = services::find(&context.table.load(), wanted)?.id.clone();
    let Some(actor) = actor else {
        query.only(&[])?;
        return view(&context.table.load(), &id);
    };
    let versions: Shares = if *method == Method::PUT {
        query.only(&["versions"])?;
        let text = query.text("versions").unwrap_or_default();
        read_split(text).map_err(|(wrong, mend)| ApiError::bad_request(format!("versions: {wrong}"), mend))?
    } else {
        query.only(&[])?;
        Box::default()
    };
    info!(actor = %actor.0, service = %id, ?versions, "an operator orders shares of versions");
    let command = Command::Weigh { service: id.clone(), versions: versions.clone(), actor: actor.0.into() };
    let is_done = |table: &Table| table.weights.get(&id).map_or(&[][..], |order| &order.versions[..]) == &*versions;
    let table = command::give_and_see(context, command, is_done).await?;
    view(&table, &id)
}

fn view(table: &Table, id: &ServiceId) -> Answer {
    let service = table
        .service(id)
        .ok_or_else(|| ApiError::not_found(format!("the service {id} is gone"), "/v1/services lists what there is"))?;
    Reply::json(&WeightsView::of(table, service))
}

impl WeightsView {
    fn of(table: &Table, service: &Service) -> Self {
        let order = table.weights.get(&service.id);
        let by = match (order, &service.shares) {
            (Some(_), _) => "operator",
            (None, Some(_)) => "labels",
            (None, None) => "none",
        };
        let mut names: Vec<&Version> = service.endpoints.iter().map(|endpoint| &endpoint.version).collect();
        names.extend(order.into_iter().flat_map(|order| order.versions.iter().map(|(version, _)| version)));
        names.sort();
        names.dedup();
        Self {
            generation: table.generation,
            service: service.id.to_string(),
            by: by.to_owned(),
            actor: order.map(|order| order.actor.to_string()),
            since: order.map(|order| order.since.0),
            versions: names.into_iter().map(|version| VersionView::of(table, service, version)).collect(),
        }
    }
}

impl VersionView {
    fn of(table: &Table, service: &Service, version: &Version) -> Self {
        let of = |endpoint: &&std::sync::Arc<crate::model::endpoint::Endpoint>| endpoint.version == *version;
        let ordered = table
            .weights
            .get(&service.id)
            .map(|order| order.versions.iter().find(|(known, _)| known == version).map_or(0, |(_, share)| *share));
        let drawn = service
            .shares
            .as_ref()
            .map(|shares| shares.iter().find(|share| share.version == *version).map_or(0, |share| share.weight));
        Self {
            version: version.to_string(),
            weight: ordered.or(drawn),
            endpoints: service.endpoints.iter().filter(of).count(),
            available: service.available.iter().filter(of).count(),
        }
    }
}
