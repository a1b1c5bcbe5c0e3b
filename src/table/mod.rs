//! The routing table: one immutable, versioned answer to "who serves what", and the handle that publishes it.

pub mod build;
pub mod config_watch;
pub mod difference;
pub mod dump;
pub mod handle;
pub mod history;
pub mod miss;
pub mod names;
pub mod out_of_service;
pub mod routes;
pub use crate::cluster::status;
pub mod task;
pub mod ways;
pub mod writer;

use std::sync::Arc;

use crate::cluster::deployments::AllDeployments;
use crate::config::Config;
use crate::model::drain::Drains;
use crate::model::id::{ServiceId, TaskKey};
use crate::model::persistent::PersistentMap;
use crate::model::problem::Problem;
use crate::model::service::Service;
use crate::model::time::Timestamp;
use crate::model::weights::Weights;

use names::Names;
use routes::Routes;
use status::SourceStatus;
use task::TaskView;
use ways::Ways;

/// One version of everything that answers are given from. Versions share what they have in common.
#[derive(Clone, Debug)]
pub struct Table {
    /// Drawn at random when the process starts: tells the tables of two instances, or of two lives, apart.
    pub epoch: u64,
    /// Rises with every version, from 1; 0 is the empty table before the first.
    pub generation: u64,
    /// When it was published.
    pub built_at: Timestamp,
    /// A digest of the content (services, routes, names, problems), equal on instances that see the same cluster.
    pub digest: u64,
    /// Whether every source has spoken once, or what is stored stands in for it. Before that, DNS says SERVFAIL and
    /// the proxy 503: nobody may conclude from silence that a name does not exist.
    pub ready: bool,
    /// The configuration it was made with.
    pub config: Arc<Config>,
    /// Names for DNS.
    pub names: Names,
    /// Routes for the proxy.
    pub routes: Routes,
    /// Ports and apps.
    pub ways: Ways,
    /// Services by id.
    pub services: PersistentMap<ServiceId, Arc<Service>>,
    /// Tasks by key.
    pub tasks: PersistentMap<TaskKey, Arc<TaskView>>,
    /// Problems by subject.
    pub problems: PersistentMap<Arc<str>, Arc<[Problem]>>,
    /// The sources' state.
    pub sources: Arc<[SourceStatus]>,
    /// What operators took out of service.
    pub drains: Drains,
    /// Shares of versions that operators ordered.
    pub weights: Weights,
    /// What frameworks' schedulers say of their deployments: no answer depends on it, the ledger of deploys reads it.
    pub deployments: AllDeployments,
}

impl Table {
    /// The table before the first: nothing is known yet.
    pub fn empty(config: Arc<Config>) -> Self {
        Self {
            epoch: 0,
            generation: 0,
            built_at: Timestamp(0),
            digest: 0,
            ready: false,
            config,
            names: Names::default(),
            routes: Routes::default(),
            ways: Ways::default(),
            services: PersistentMap::new(),
            tasks: PersistentMap::new(),
            problems: PersistentMap::new(),
            sources: Arc::new([]),
            drains: Drains::default(),
            weights: Weights::default(),
            deployments: Arc::new([]),
        }
    }

    /// The service with this id.
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// Whether a source that answers depend on is not live.
    pub fn is_stale(&self) -> bool {
        self.sources.iter().any(SourceStatus::is_stale)
    }
}
