//! What one source says of deployments, bounded.
//!
//! Pure. Events of a scheduler are not ordered and not repeated: what is over stays over whatever an older word says, and of
//! what goes on the later step counts. Not stored: who asks is the ledger of deploys, which begins anew with the process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::framework_deployment::{DeploymentEnd, DeploymentOutcome, FrameworkDeployment};
use crate::model::id::SourceName;
use crate::model::time::Timestamp;

/// Deployments of one source that can be under way at a time; what more there are is not taken.
pub const MAX_UNDER_WAY: usize = 1000;
/// Deployments of one source that are over and remembered.
pub const REMEMBERED: usize = 100;
/// Apps of all deployments of one source together.
const MAX_APPS: usize = 200_000;

/// What every source that tells of deployments says of them.
pub type AllDeployments = Arc<[(SourceName, Arc<Deployments>)]>;

/// Deployments of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployments {
    under_way: BTreeMap<Arc<str>, Arc<FrameworkDeployment>>,
    /// The oldest first.
    over: VecDeque<Arc<FrameworkDeployment>>,
}

/// What became of a word about a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Something is known that was not.
    New,
    /// It was known.
    Known,
    /// There is no room for it, or it speaks of a deployment that nothing is known of.
    Ignored,
}

impl Deployments {
    /// A deployment is under way.
    pub fn set(&mut self, said: FrameworkDeployment) -> Taken {
        if self.over.iter().any(|over| over.id == said.id) {
            return Taken::Known;
        }
        let is_new = !self.under_way.contains_key(&said.id);
        if is_new && (self.under_way.len() >= MAX_UNDER_WAY || !self.has_room(said.apps.len())) {
            return Taken::Ignored;
        }
        let known = self.under_way.get(&said.id);
        let next = match known {
            Some(known) => merged(known, said),
            None => said,
        };
        if known.is_some_and(|known| **known == next) {
            return Taken::Known;
        }
        self.under_way.insert(next.id.clone(), Arc::new(next));
        Taken::New
    }

    /// A deployment has ended.
    pub fn end(&mut self, id: &str, end: DeploymentEnd) -> Taken {
        if let Some(known) = self.under_way.remove(id) {
            self.remember(&known, end);
            return Taken::New;
        }
        // That it is over was concluded from a list; now it is said how.
        let concluded = |over: &&mut Arc<FrameworkDeployment>| *over.id == *id;
        let Some(over) = self.over.iter_mut().find(concluded) else { return Taken::Ignored };
        if over.ended.as_ref().is_some_and(|known| known.how != DeploymentOutcome::Unknown) {
            return Taken::Known;
        }
        *over = Arc::new(FrameworkDeployment { ended: Some(end), ..(**over).clone() });
        Taken::New
    }

    /// These, and those with the ids of `unread`, are all that are under way: others are over, and how is not known. Returns
    /// whether anything changed, and how many there was no room for.
    pub fn list(&mut self, all: Vec<FrameworkDeployment>, unread: &[Arc<str>], now: Timestamp) -> (bool, usize) {
        let there: BTreeSet<Arc<str>> = all.iter().map(|listed| &listed.id).chain(unread).cloned().collect();
        let gone: Vec<Arc<str>> = self.under_way.keys().filter(|id| !there.contains(*id)).cloned().collect();
        let mut changed = !gone.is_empty();
        for id in gone {
            self.end(&id, DeploymentEnd { how: DeploymentOutcome::Unknown, at: now, reason: None });
        }
        let mut ignored = 0;
        for said in all {
            match self.set(said) {
                Taken::New => changed = true,
                Taken::Known => {}
                Taken::Ignored => ignored += 1,
            }
        }
        (changed, ignored)
    }

    /// All that are known.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FrameworkDeployment>> {
        self.under_way.values().chain(&self.over)
    }

    /// Those under way.
    pub fn under_way(&self) -> impl ExactSizeIterator<Item = &Arc<FrameworkDeployment>> {
        self.under_way.values()
    }

    /// The one with this id, under way or over.
    pub fn get(&self, id: &str) -> Option<&Arc<FrameworkDeployment>> {
        self.under_way.get(id).or_else(|| self.over.iter().find(|over| *over.id == *id))
    }

    fn has_room(&mut self, more: usize) -> bool {
        let apps = |known: &Self| known.iter().map(|known| known.apps.len()).sum::<usize>();
        while apps(self) + more > MAX_APPS && !self.over.is_empty() {
            self.over.pop_front();
        }
        apps(self) + more <= MAX_APPS
    }

    fn remember(&mut self, known: &FrameworkDeployment, end: DeploymentEnd) {
        if self.over.len() >= REMEMBERED {
            self.over.pop_front();
        }
        self.over.push_back(Arc::new(FrameworkDeployment { ended: Some(end), ..known.clone() }));
    }
}

/// What is known after another word: it may be an older one.
fn merged(known: &FrameworkDeployment, said: FrameworkDeployment) -> FrameworkDeployment {
    let is_older = said.step < known.step;
    FrameworkDeployment {
        apps: if said.apps.is_empty() { known.apps.clone() } else { said.apps },
        step: said.step.max(known.step),
        steps: said.steps.max(known.steps),
        actions: if is_older || said.actions.is_empty() { known.actions.clone() } else { said.actions },
        began: known.began.or(said.began),
        ..said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(id: &str, apps: usize, step: Option<u32>) -> FrameworkDeployment {
        FrameworkDeployment {
            cluster: "c".into(),
            framework: "f".into(),
            id: id.into(),
            apps: (0..apps).map(|number| format!("/{number}").into()).collect(),
            step,
            steps: 3,
            actions: Arc::new([]),
            began: None,
            ended: None,
        }
    }

    fn end(how: DeploymentOutcome) -> DeploymentEnd {
        DeploymentEnd { how, at: Timestamp(5), reason: None }
    }

    #[test]
    fn words_that_come_late_change_nothing() {
        let mut known = Deployments::default();
        assert_eq!(known.set(deployment("a", 1, Some(2))), Taken::New);
        assert_eq!(known.set(deployment("a", 1, Some(1))), Taken::Known);
        assert_eq!(known.get("a").unwrap().step, Some(2));
        assert_eq!(known.set(deployment("a", 1, None)), Taken::Known);
        assert_eq!(known.end("a", end(DeploymentOutcome::Succeeded)), Taken::New);
        assert_eq!(known.set(deployment("a", 1, Some(3))), Taken::Known);
        assert_eq!(known.end("a", end(DeploymentOutcome::Failed)), Taken::Known);
        assert_eq!(known.get("a").unwrap().standing(), "succeeded");
        assert_eq!(known.under_way().len(), 0);
        assert_eq!(known.end("b", end(DeploymentOutcome::Failed)), Taken::Ignored);
    }

    #[test]
    fn what_a_list_does_not_have_is_over_and_how_may_be_said_later() {
        let mut known = Deployments::default();
        known.set(deployment("a", 1, Some(1)));
        known.set(deployment("b", 1, Some(1)));
        assert_eq!(known.list(vec![deployment("b", 1, Some(1))], &[], Timestamp(9)), (true, 0));
        assert_eq!(known.list(Vec::new(), &["b".into()], Timestamp(10)), (false, 0));
        let over = known.get("a").unwrap().ended.clone().unwrap();
        assert_eq!((over.how, over.at), (DeploymentOutcome::Unknown, Timestamp(9)));
        assert_eq!(known.end("a", end(DeploymentOutcome::Failed)), Taken::New);
        assert_eq!(known.get("a").unwrap().standing(), "failed");
        // A list that was made before its end does not bring it back.
        assert_eq!(
            known.list(vec![deployment("a", 1, Some(1)), deployment("b", 1, None)], &[], Timestamp(11)),
            (false, 0)
        );
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut known = Deployments::default();
        for number in 0..MAX_UNDER_WAY {
            assert_eq!(known.set(deployment(&format!("d{number}"), 1, None)), Taken::New);
        }
        assert_eq!(known.set(deployment("more", 1, None)), Taken::Ignored);
        assert_eq!(known.list(vec![deployment("more", 1, None)], &[], Timestamp(1)), (true, 0));
        assert_eq!((known.under_way().len(), known.over.len()), (1, REMEMBERED));
        // Room is made by forgetting what is over, and by nothing else.
        assert_eq!(known.set(deployment("large", MAX_APPS - 1, None)), Taken::New);
        assert_eq!(known.over.len(), 0);
        assert_eq!(known.set(deployment("larger", 1, None)), Taken::Ignored);
    }
}
