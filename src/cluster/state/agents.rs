//! What sources say of agents.

use crate::model::hash::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::ClusterState;
use crate::cluster::change::Changes;
use crate::cluster::deadline::Deadline;
use crate::model::agent::AgentFacts;
use crate::model::id::{AgentId, ClusterName, SourceName};
use crate::model::task::{TaskFacts, TaskState};
use crate::model::time::Timestamp;

/// Agents that came back have this long to announce their tasks: those of a framework that the new leader did not
/// know come after AGENT_ADDED.
const ANNOUNCE_TIME: Duration = Duration::from_secs(30);

impl ClusterState {
    /// The stream says that an agent is registered: from here on it says which tasks the agent has. Lists of agents are
    /// asked for beside the stream and may be ahead of it, so they begin no such time.
    pub(super) fn notice_return(
        &mut self,
        name: &SourceName,
        facts: &AgentFacts,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(source) = self.sources.get_mut(name) else { return };
        if facts.recovered {
            return;
        }
        if let Some(snapshot) = &mut source.snapshot {
            snapshot.agents.insert(facts.id.clone());
        }
        if source.recovered.remove(&facts.id) {
            changes.sources = true;
            let returned = Deadline::AgentReturned(name.clone(), facts.id.clone());
            self.deadlines.set(now.plus(ANNOUNCE_TIME), returned);
        }
    }

    pub(super) fn set_agent(&mut self, name: &SourceName, facts: AgentFacts, changes: &mut Changes) {
        let Some(rank) = self.rank(name) else { return };
        let place = (facts.cluster.clone(), facts.id.clone());
        self.leaving.remove(&place);
        let mut entry = self.agents.get(&place).cloned().unwrap_or_default();
        let mut facts = facts;
        if facts.recovered
            && let Some(known) = entry.of(rank)
        {
            // A recovered agent is listed without its pid: what was known of it holds until it is back, also where its
            // host name looks like an address.
            facts.address = known.address.or(facts.address);
            facts.port = known.port.or(facts.port);
        }
        if !entry.set(rank, Arc::new(facts)) {
            return;
        }
        if let Some(tasks) = self.by_agent.get(&place) {
            changes.tasks.extend(tasks.iter().cloned());
        }
        changes.agents.insert(place.0.clone());
        changes.cause(|| format!("{name}: agent {}", place.1));
        if self.agents.insert(place.clone(), entry).is_none() {
            *self.agent_counts.entry(place.0).or_default() += 1;
            changes.sources = true;
        }
    }

    pub(super) fn remove_agent(&mut self, name: &SourceName, id: &AgentId, changes: &mut Changes) {
        let Some(source) = self.sources.get_mut(name) else { return };
        let place = (source.cluster.clone(), id.clone());
        source.recovered.remove(id);
        if !self.agents.contains_key(&place) {
            return;
        }
        changes.cause(|| format!("{name}: agent {id} gone"));
        changes.agents.insert(place.0.clone());
        changes.sources = true;
        if self.by_agent.contains_key(&place) {
            self.leaving.insert(place);
        } else {
            self.forget_agent(&place);
        }
    }

    /// An agent unregistered before it had announced its tasks to the present leader: they are as lost as those of
    /// which the master says so.
    pub(super) fn lose_unconfirmed(&mut self, name: &SourceName, id: &AgentId, now: Timestamp, changes: &mut Changes) {
        let (Some(rank), Some(source)) = (self.rank(name), self.sources.get(name)) else { return };
        let on_agent = self.by_agent.get(&(source.cluster.clone(), id.clone()));
        let keys = on_agent.into_iter().flatten().filter(|key| source.unconfirmed.contains(*key));
        let lost: Vec<TaskFacts> = keys
            .filter_map(|key| self.tasks.get(key)?.of(rank))
            .map(|facts| TaskFacts { state: TaskState::Lost, ..(**facts).clone() })
            .collect();
        for facts in lost {
            self.set_task(name, facts, now, changes);
        }
    }

    pub(super) fn forget_agent(&mut self, place: &(ClusterName, AgentId)) {
        if self.agents.remove(place).is_some()
            && let Some(count) = self.agent_counts.get_mut(&place.0)
        {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn list_agents(&mut self, name: &SourceName, agents: Vec<AgentFacts>, changes: &mut Changes) {
        let Some(source) = self.sources.get(name) else { return };
        let cluster = source.cluster.clone();
        let listed: HashSet<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
        let silent: Vec<AgentId> = self
            .agents
            .keys()
            .filter(|(of, id)| *of == cluster && !listed.contains(id) && !source.recovered.contains(id))
            .map(|(_, id)| id.clone())
            .collect();
        // A list without any agent where some were known is doubted like an empty snapshot.
        if agents.is_empty() && !silent.is_empty() {
            return;
        }
        for facts in agents {
            self.set_agent(name, facts, changes);
        }
        for id in silent {
            self.remove_agent(name, &id, changes);
        }
    }
}
