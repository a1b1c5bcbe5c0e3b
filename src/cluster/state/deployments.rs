//! What sources say of deployments.

use std::sync::Arc;

use super::ClusterState;
use crate::cluster::change::Changes;
use crate::cluster::deployments::{AllDeployments, Taken};
use crate::model::framework_deployment::{DeploymentEnd, FrameworkDeployment, PROBLEMS_AT};
use crate::model::id::SourceName;
use crate::model::time::Timestamp;

impl ClusterState {
    pub(super) fn set_deployment(&mut self, name: &SourceName, said: FrameworkDeployment, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        let (id, step, steps) = (said.id.clone(), said.step, said.steps);
        match Arc::make_mut(&mut source.deployments).set(said) {
            Taken::New => {
                changes.deployments = true;
                changes.cause(|| match step {
                    Some(step) => format!("{name}: deployment {id}, step {step} of {steps}"),
                    None => format!("{name}: deployment {id}"),
                });
            }
            Taken::Known => {}
            Taken::Ignored => self.ignored += 1,
        }
    }

    pub(super) fn end_deployment(&mut self, name: &SourceName, id: &str, end: DeploymentEnd, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        match Arc::make_mut(&mut source.deployments).end(id, end) {
            Taken::New => {
                changes.deployments = true;
                changes.cause(|| format!("{name}: deployment {id} over"));
            }
            Taken::Known => {}
            Taken::Ignored => self.ignored += 1,
        }
    }

    pub(super) fn list_deployments(
        &mut self,
        name: &SourceName,
        all: Vec<FrameworkDeployment>,
        unread: &[Arc<str>],
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(source) = self.sources.get_mut(name) else { return };
        // What was wrong with the former list, and with events before this one, is no more.
        let problems = source.problems.len();
        source.problems.retain(|problem| *problem.at != *PROBLEMS_AT);
        if source.problems.len() < problems {
            changes.problems.insert(name.clone());
        }
        let (changed, ignored) = Arc::make_mut(&mut source.deployments).list(all, unread, now);
        self.ignored += ignored as u64;
        if changed {
            let count = source.deployments.under_way().len();
            changes.deployments = true;
            changes.cause(|| format!("{name}: {count} deployments listed"));
        }
    }

    /// What each source that tells of deployments says of them, by its name.
    pub(crate) fn deployments(&self) -> AllDeployments {
        let said = self.sources.iter().filter(|(_, source)| source.deployments.iter().next().is_some());
        said.map(|(name, source)| (name.clone(), source.deployments.clone())).collect()
    }
}
