//! Which deployments of frameworks a deploy belongs to, and what their word counts for. Pure.
//!
//! A deploy of a service has the deployments of its new version's apps that were under way with it: nearly always one. While
//! a live source says that one goes on, so does the deploy, whatever the endpoints look like for a moment; when all are over,
//! the endpoints decide, and where they do not come to rest, the last deployment's end.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::record::{App, Deploy, DeploymentRecord, MAX_APPS, MAX_DEPLOYMENTS, Outcome};
use crate::cluster::status::SourceState;
use crate::model::framework_deployment::{DeploymentEnd, DeploymentOutcome, FrameworkDeployment};
use crate::model::id::SourceName;
use crate::table::Table;

/// How long the endpoints may take to come to rest after the last word about a deployment: tasks are told apart from it, and
/// a deployment that is given up for another one is followed by that at once.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

/// Deployments that are under way with a table, or have ended with it.
pub(super) struct UnderWay<'a> {
    former: &'a Table,
    table: &'a Table,
    /// By app: made when somebody asks, which few tables make anybody do.
    by_app: OnceCell<ByApp<'a>>,
}

type ByApp<'a> = HashMap<App, Vec<Known<'a>>>;

type Known<'a> = (&'a SourceName, &'a Arc<FrameworkDeployment>);

impl<'a> UnderWay<'a> {
    /// Those of a table; `former` is the one before it.
    pub(super) fn of(former: &'a Table, table: &'a Table) -> Self {
        Self { former, table, by_app: OnceCell::new() }
    }

    fn by_app(&self) -> ByApp<'a> {
        let mut all = ByApp::new();
        for (source, deployments) in self.table.deployments.iter() {
            for deployment in deployments.iter() {
                let was = || known(self.former, source, &deployment.id).is_some_and(|former| former.is_under_way());
                if !deployment.is_under_way() && !was() {
                    continue;
                }
                for app in deployment.apps.iter() {
                    let (cluster, framework) = (deployment.cluster.clone(), deployment.framework.clone());
                    all.entry(App { cluster, framework, id: app.clone() }).or_default().push((source, deployment));
                }
            }
        }
        all
    }

    fn of_app(&self, app: &App) -> &[Known<'a>] {
        let by_app = self.by_app.get_or_init(|| self.by_app());
        by_app.get(app).map_or(&[], Vec::as_slice)
    }

    /// Gives a deploy the deployments of its apps that it does not have yet.
    pub(super) fn join(&self, deploy: &mut Deploy) {
        let mut new: Vec<Known<'_>> = deploy.apps.iter().flat_map(|app| self.of_app(app)).copied().collect();
        // One that ended as the next one began is not the next one's.
        if new.iter().any(|(_, deployment)| deployment.is_under_way()) {
            new.retain(|(_, deployment)| deployment.is_under_way());
        }
        new.sort_by_key(|(_, deployment)| deployment.began);
        for (source, deployment) in new {
            if deploy.deployments.iter().any(|record| is(record, source, &deployment.id)) {
                continue;
            }
            // It began before its first task did.
            if let Some(began) = deployment.began.filter(|_| deploy.deployments.is_empty()) {
                deploy.began = deploy.began.min(began);
            }
            if deploy.deployments.len() == MAX_DEPLOYMENTS {
                deploy.deployments.remove(0);
            }
            deploy.deployments.push(DeploymentRecord { source: source.clone(), said: deployment.clone() });
        }
    }
}

fn is(record: &DeploymentRecord, source: &SourceName, id: &str) -> bool {
    record.source == *source && *record.said.id == *id
}

fn known<'a>(table: &'a Table, source: &SourceName, id: &str) -> Option<&'a Arc<FrameworkDeployment>> {
    table.deployments.iter().find(|(name, _)| name == source)?.1.get(id)
}

/// Notes that the new version is of this app, too; whether that was not known.
pub(super) fn note_app(deploy: &mut Deploy, app: Option<App>) -> bool {
    let new = app.filter(|app| deploy.apps.len() < MAX_APPS && !deploy.apps.contains(app));
    let is_new = new.is_some();
    deploy.apps.extend(new);
    is_new
}

/// Takes over what became of a deploy's deployments.
pub(super) fn refresh(deploy: &mut Deploy, table: &Table) {
    for record in deploy.deployments.iter_mut().filter(|record| is_open(record)) {
        match known(table, &record.source, &record.said.id) {
            Some(now) => record.said = now.clone(),
            None if !record.said.is_under_way() => {}
            // Its source is no more, or remembers it no longer.
            None => {
                let end = DeploymentEnd { how: DeploymentOutcome::Unknown, at: table.built_at, reason: None };
                record.said = Arc::new(FrameworkDeployment { ended: Some(end), ..(*record.said).clone() });
            }
        }
    }
}

/// Whether more may be heard of it: also how it ended, where that is not known yet.
fn is_open(record: &DeploymentRecord) -> bool {
    record.said.ended.as_ref().is_none_or(|end| end.how == DeploymentOutcome::Unknown)
}

/// Whether a source that is live says that one of the deploy's deployments is under way. What a lost one said last counts for
/// nothing: it may be over for long.
pub(super) fn is_held(table: &Table, deploy: &Deploy) -> bool {
    let is_live = |name: &SourceName| {
        table.sources.iter().any(|source| source.name == *name && source.state == SourceState::Live)
    };
    deploy.deployments.iter().any(|record| record.said.is_under_way() && is_live(&record.source))
}

/// How a deploy ends by the last word about its deployments, where its endpoints do not come to rest by themselves.
/// `is_replaced`: of the deploy's own apps only the new version is wanted any more, and nothing is under way elsewhere.
pub(super) fn last_word(deploy: &Deploy, is_replaced: impl FnOnce() -> bool) -> Option<Outcome> {
    match deploy.deployments.last()?.said.ended.as_ref()?.how {
        DeploymentOutcome::Failed => Some(Outcome::Failed),
        DeploymentOutcome::Succeeded => is_replaced().then_some(Outcome::Finished),
        DeploymentOutcome::Unknown => None,
    }
}
