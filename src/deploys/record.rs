//! What the ledger keeps of one deploy.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::app::id_of_task;
use crate::model::endpoint::{Endpoint, EndpointId, EndpointState};
use crate::model::framework_deployment::FrameworkDeployment;
use crate::model::id::{ClusterName, FrameworkId, ServiceId, SourceName, Version};
use crate::model::run::EndpointRun;
use crate::model::time::Timestamp;
use crate::proxy::metrics::Tally;
use crate::table::task::TaskView;

/// How a deploy ended, or that it did not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Endpoints of other versions are still there, or not all of the new version are ready.
    Running,
    /// Only the new version is there, all of it ready, and nothing is under way at the old one; and the framework's deployment,
    /// where one is known, is over.
    Finished,
    /// All endpoints of the new version are gone, and others are there.
    RolledBack,
    /// A third version appeared before it was over.
    Superseded,
    /// The service has no endpoint any more.
    Withdrawn,
    /// The framework's deployment failed, and left more than one version, or such as is not ready.
    Failed,
}

impl Outcome {
    /// Every outcome, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Finished, Self::RolledBack, Self::Superseded, Self::Withdrawn, Self::Failed];

    /// The name used in the API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::RolledBack => "rolled-back",
            Self::Superseded => "superseded",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
        }
    }
}

/// One deploy of one service.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// Its number, from 1, in this life of the process.
    pub id: u64,
    /// The service.
    pub service: ServiceId,
    /// The versions that were there when it began.
    pub from: Vec<Version>,
    /// The version that appeared.
    pub to: Version,
    /// When it began: the table that showed the first endpoint of the new version, or the framework's deployment before.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it stands.
    pub outcome: Outcome,
    /// What became of the service's requests meanwhile.
    pub tally: Tally,
    /// The service's endpoints, in the order they were met.
    pub endpoints: Vec<EndpointRecord>,
    /// Endpoints that there was no room for.
    pub omitted: usize,
    /// Deployments that frameworks carried out meanwhile of the apps that the new version is of, in the order they were met;
    /// the last [`MAX_DEPLOYMENTS`].
    pub deployments: Vec<DeploymentRecord>,
    /// The apps that the new version is of.
    pub(super) apps: Vec<App>,
}

/// Deployments and apps that are recorded of one deploy.
pub const MAX_DEPLOYMENTS: usize = 8;
pub(super) const MAX_APPS: usize = 16;

/// A framework's deployment, as last known.
#[derive(Clone, Debug)]
pub struct DeploymentRecord {
    /// The source that tells of it.
    pub source: SourceName,
    /// What it says.
    pub said: Arc<FrameworkDeployment>,
}

/// An app of a framework.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct App {
    pub(super) cluster: ClusterName,
    pub(super) framework: FrameworkId,
    pub(super) id: Arc<str>,
}

impl App {
    /// The app of a task, where its framework has apps: as the framework says, else as the task's id does.
    pub(super) fn of(task: &TaskView) -> Option<Self> {
        let facts = &task.facts;
        let said = facts.definition.app.as_ref().map(|app| app.id.clone());
        let id = said.or_else(|| id_of_task(facts.key.task()))?;
        Some(Self { cluster: facts.key.cluster().clone(), framework: facts.key.framework().clone(), id })
    }
}

/// What one endpoint went through during a deploy. Times of requests are read ten times a second.
#[derive(Clone, Debug)]
pub struct EndpointRecord {
    /// Which.
    pub id: EndpointId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The version it runs.
    pub version: Version,
    /// When it appeared; absent if it was there before.
    pub appeared: Option<Timestamp>,
    /// Since when it was ready, the first time.
    pub ready: Option<Timestamp>,
    /// When it began to go away.
    pub draining: Option<Timestamp>,
    /// When it was gone.
    pub gone: Option<Timestamp>,
    /// When its first request of this deploy was seen.
    pub first_request: Option<Timestamp>,
    /// When its last new request was seen.
    pub last_request: Option<Timestamp>,
    /// When the last thing under way there was over, once it was going away.
    pub last_byte: Option<Timestamp>,
    /// Requests sent there during the deploy, attempts counted.
    pub requests: u64,
    /// Those that failed on its side; a retry may have served them elsewhere.
    pub errors: u64,
    run: Arc<EndpointRun>,
    base: (u64, u64),
}

impl EndpointRecord {
    /// Begins the record of an endpoint. `appeared`: it was not there before the deploy.
    pub(super) fn begin(endpoint: &Endpoint, appeared: Option<Timestamp>) -> Self {
        let base = if appeared.is_some() { (0, 0) } else { (endpoint.run.requests(), endpoint.run.failures()) };
        Self {
            id: endpoint.id.clone(),
            address: endpoint.address,
            version: endpoint.version.clone(),
            appeared,
            ready: endpoint.ready_since,
            draining: None,
            gone: None,
            first_request: None,
            last_request: None,
            last_byte: None,
            requests: 0,
            errors: 0,
            run: endpoint.run.clone(),
            base,
        }
    }

    /// Takes over how a table shows the endpoint.
    pub(super) fn show(&mut self, endpoint: &Endpoint, at: Timestamp) {
        self.ready = self.ready.or(endpoint.ready_since);
        match endpoint.state {
            EndpointState::Draining => {
                self.draining.get_or_insert(at);
            }
            // It was put back into service.
            _ => (self.draining, self.last_byte) = (None, None),
        }
    }

    /// The endpoint has left the table.
    pub(super) fn leave(&mut self, at: Timestamp) {
        self.draining.get_or_insert(at);
        self.gone.get_or_insert(at);
    }

    /// Reads its counters.
    pub(super) fn read(&mut self, now: Timestamp) {
        let requests = self.run.requests().wrapping_sub(self.base.0);
        if requests != self.requests {
            self.first_request.get_or_insert(now);
            self.last_request = Some(now);
        }
        self.requests = requests;
        self.errors = self.run.failures().wrapping_sub(self.base.1);
        if self.draining.is_some() && self.last_byte.is_none() && !self.is_busy() {
            self.last_byte = Some(now);
        }
    }

    /// Whether something is under way there.
    pub fn is_busy(&self) -> bool {
        self.run.in_flight() > 0
    }
}
