//! `/v1/deploys`: what became of requests while a new version took the place of another.

use serde::{Deserialize, Serialize};

use super::context::AdminContext;
use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::services;
use crate::deploys::record::{Deploy, DeploymentRecord, EndpointRecord, Outcome};
use crate::model::time::Timestamp;
use crate::table::Table;

/// Deploys that a list shows if nothing else is said, and at most.
const LIMIT: usize = 50;
const MAX_LIMIT: usize = 10_000;

/// Deploys, the newest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeployList {
    pub deploys: Vec<DeployView>,
}

/// One deploy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeployView {
    /// Its number in this life of the process.
    pub id: u64,
    /// The service's full id.
    pub service: String,
    /// The versions that were there.
    pub from: Vec<String>,
    /// The version that appeared.
    pub to: String,
    /// `running`, `finished`, `rolled-back`, `superseded`, `withdrawn` or `failed`.
    pub outcome: String,
    /// When it began and ended, in milliseconds since the Unix epoch.
    pub began: u64,
    pub ended: Option<u64>,
    /// How long it took, or has taken so far.
    pub milliseconds: u64,
    /// The service's requests meanwhile.
    pub requests: u64,
    /// Of these: no endpoint answered, and the client was told an error in its place.
    pub lost: u64,
    /// Of these: the answer broke off after its beginning.
    pub cut: u64,
    /// `lost: 0 of 123456`.
    pub summary: String,
    /// The deployments of the framework (Marathon) that it belongs to, in the order they were met. Absent in answers of
    /// versions that did not know of any.
    #[serde(default)]
    pub deployments: Vec<DeploymentView>,
}

/// Apps and actions of a deployment that are shown.
const SHOWN: usize = 50;

/// A framework's deployment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeploymentView {
    /// The source that tells of it.
    pub source: String,
    /// What the framework calls it.
    pub id: String,
    /// `running`, `succeeded`, `failed`, or `over`: how it ended is not known.
    pub state: String,
    /// The ids of apps and pods that it affects, the first of them.
    pub apps: Vec<String>,
    /// How many more it affects.
    pub more_apps: usize,
    /// The step that is being made, or was made last, from 1, where known, and how many there are.
    pub step: Option<u32>,
    pub steps: u32,
    /// What this step does (`ScaleApplication /shop`), the first of it.
    pub actions: Vec<String>,
    /// When it began and ended, by the framework's clock, in milliseconds since the Unix epoch.
    pub began: Option<u64>,
    pub ended: Option<u64>,
    /// Why it failed, in the framework's words.
    pub reason: Option<String>,
}

/// One deploy, whole.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeployDetails {
    pub deploy: DeployView,
    pub versions: Vec<VersionView>,
    pub endpoints: Vec<DeployEndpoint>,
    /// Endpoints beyond those that are recorded.
    pub omitted: usize,
}

/// What one version did during a deploy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VersionView {
    pub version: String,
    pub endpoints: usize,
    /// Requests sent to it, attempts counted.
    pub requests: u64,
    /// Those that failed on its side; a retry may have served them.
    pub errors: u64,
}

/// What one endpoint went through. Times are in milliseconds since the Unix epoch; those of requests are read ten times a
/// second.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeployEndpoint {
    pub task: String,
    pub address: String,
    pub version: String,
    /// Absent: it was there before.
    pub appeared: Option<u64>,
    pub ready: Option<u64>,
    pub first_request: Option<u64>,
    pub last_request: Option<u64>,
    /// When it began to go away.
    pub draining: Option<u64>,
    /// When the last thing under way there was over.
    pub last_byte: Option<u64>,
    pub gone: Option<u64>,
    pub requests: u64,
    pub errors: u64,
}

/// GET /v1/deploys.
pub(crate) fn list(context: &AdminContext, table: &Table, query: &Query) -> Answer {
    query.only(&["service", "limit"])?;
    let limit = query.number::<usize>("limit")?.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let service = query.text("service").map(|wanted| services::find(table, wanted)).transpose()?;
    let now = Timestamp::now();
    let ledger = context.deploys.lock();
    let wanted =
        ledger.deploys().into_iter().filter(|deploy| service.is_none_or(|service| service.id == deploy.service));
    Reply::json(&DeployList { deploys: wanted.take(limit).map(|deploy| DeployView::of(deploy, now)).collect() })
}

/// GET /v1/deploys/{id}.
pub(crate) fn details(context: &AdminContext, id: &str, query: &Query) -> Answer {
    query.only(&[])?;
    let invalid = |_| ApiError::bad_request(format!("{id:?} is no number of a deploy"), "/v1/deploys lists them");
    let number: u64 = id.parse().map_err(invalid)?;
    let ledger = context.deploys.lock();
    let deploy = ledger.deploys().into_iter().find(|deploy| deploy.id == number);
    let unknown = || {
        let mend = "/v1/deploys lists those that are remembered; the ledger begins anew with the process";
        ApiError::not_found(format!("no deploy has the number {number}"), mend)
    };
    Reply::json(&DeployDetails::of(deploy.ok_or_else(unknown)?, Timestamp::now()))
}

impl DeployView {
    fn of(deploy: &Deploy, now: Timestamp) -> Self {
        let tally = deploy.tally;
        Self {
            id: deploy.id,
            service: deploy.service.to_string(),
            from: deploy.from.iter().map(ToString::to_string).collect(),
            to: deploy.to.to_string(),
            outcome: deploy.outcome.as_str().to_owned(),
            began: deploy.began.0,
            ended: deploy.ended.map(|at| at.0),
            milliseconds: u64::try_from(deploy.ended.unwrap_or(now).since(deploy.began).as_millis())
                .unwrap_or(u64::MAX),
            requests: tally.requests,
            lost: tally.lost,
            cut: tally.cut,
            summary: format!("lost: {} of {}", tally.lost, tally.requests),
            deployments: deploy.deployments.iter().map(DeploymentView::of).collect(),
        }
    }

    /// Whether it goes on.
    pub(crate) fn is_running(&self) -> bool {
        self.outcome == Outcome::Running.as_str()
    }
}

impl DeploymentView {
    fn of(DeploymentRecord { source, said }: &DeploymentRecord) -> Self {
        let actions = said.actions.iter().map(|action| format!("{} {}", action.action, action.app));
        Self {
            source: source.to_string(),
            id: said.id.to_string(),
            state: said.standing().to_owned(),
            apps: said.apps.iter().take(SHOWN).map(ToString::to_string).collect(),
            more_apps: said.apps.len().saturating_sub(SHOWN),
            step: said.step,
            steps: said.steps,
            actions: actions.take(SHOWN).collect(),
            began: said.began.map(|at| at.0),
            ended: said.ended.as_ref().map(|end| end.at.0),
            reason: said.ended.as_ref().and_then(|end| end.reason.as_deref()).map(str::to_owned),
        }
    }
}

impl DeployDetails {
    fn of(deploy: &Deploy, now: Timestamp) -> Self {
        let mut versions: Vec<VersionView> = Vec::new();
        for record in &deploy.endpoints {
            let name = record.version.to_string();
            let at = versions.iter().position(|view| view.version == name).unwrap_or_else(|| {
                versions.push(VersionView { version: name, endpoints: 0, requests: 0, errors: 0 });
                versions.len() - 1
            });
            let view = &mut versions[at];
            view.endpoints += 1;
            view.requests += record.requests;
            view.errors += record.errors;
        }
        Self {
            deploy: DeployView::of(deploy, now),
            versions,
            endpoints: deploy.endpoints.iter().map(DeployEndpoint::of).collect(),
            omitted: deploy.omitted,
        }
    }
}

impl DeployEndpoint {
    fn of(record: &EndpointRecord) -> Self {
        let millis = |at: Option<Timestamp>| at.map(|at| at.0);
        Self {
            task: record.id.task.to_string(),
            address: record.address.to_string(),
            version: record.version.to_string(),
            appeared: millis(record.appeared),
            ready: millis(record.ready),
            first_request: millis(record.first_request),
            last_request: millis(record.last_request),
            draining: millis(record.draining),
            last_byte: millis(record.last_byte),
            gone: millis(record.gone),
            requests: record.requests,
            errors: record.errors,
        }
    }
}
