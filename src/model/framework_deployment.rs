//! A deployment that a framework's scheduler carries out, as Marathon tells of it.
//!
//! Not to be confused with [`super::deployment`], which is what labels say, nor with the deploys that the ledger finds in the
//! tables: a deployment is the scheduler's own plan, of one or many apps, and may be a mere scaling.

use std::sync::Arc;

use super::id::{ClusterName, FrameworkId};
use super::time::Timestamp;

/// What is known of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkDeployment {
    /// The cluster.
    pub cluster: ClusterName,
    /// The framework whose scheduler carries it out.
    pub framework: FrameworkId,
    /// What the scheduler calls it.
    pub id: Arc<str>,
    /// The ids of the apps and pods that it affects, sorted; at most [`MAX_APPS`].
    pub apps: Arc<[Arc<str>]>,
    /// The step that is being made, from 1; `None`: it was not said.
    pub step: Option<u32>,
    /// How many steps there are.
    pub steps: u32,
    /// What the present step does; at most [`MAX_ACTIONS`] of it.
    pub actions: Arc<[DeploymentAction]>,
    /// When it began, by the scheduler's clock; `None`: it was not said.
    pub began: Option<Timestamp>,
    /// How and when it ended; `None`: it is under way, as far as is known.
    pub ended: Option<DeploymentEnd>,
}

/// Apps that are known of one deployment.
pub const MAX_APPS: usize = 10_000;
/// Actions that are known of one step.
pub const MAX_ACTIONS: usize = 100;

/// Where problems with what is said of deployments are: a list that can be read takes them away.
pub const PROBLEMS_AT: &str = "deployments";

/// What a step does with an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentAction {
    /// In the scheduler's words (`ScaleApplication`).
    pub action: Arc<str>,
    /// The app's or pod's id.
    pub app: Arc<str>,
}

/// The end of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentEnd {
    /// How it ended.
    pub how: DeploymentOutcome,
    /// When: by the scheduler's clock where it says so, else when it was noticed.
    pub at: Timestamp,
    /// Why, in the scheduler's words.
    pub reason: Option<Arc<str>>,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentOutcome {
    /// As it should.
    Succeeded,
    /// It failed, or was given up for another one.
    Failed,
    /// It is no longer listed, and nobody heard how it ended.
    Unknown,
}

impl FrameworkDeployment {
    /// Whether it is under way, as far as is known.
    pub fn is_under_way(&self) -> bool {
        self.ended.is_none()
    }

    /// How it stands, for the API: `running`, `succeeded`, `failed`, or `over` if how it ended is not known.
    pub fn standing(&self) -> &'static str {
        match self.ended.as_ref().map(|end| end.how) {
            None => "running",
            Some(DeploymentOutcome::Succeeded) => "succeeded",
            Some(DeploymentOutcome::Failed) => "failed",
            Some(DeploymentOutcome::Unknown) => "over",
        }
    }
}
