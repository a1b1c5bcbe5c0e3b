//! Agents read apart from the stream (GET_AGENTS), because agents vanish from it in silence.
//!
//! The answer was true at some moment while the stream went on. What the stream said of agents since the question
//! was asked is newer than the answer, and is put over it.

use std::collections::HashMap;

use crate::model::agent::AgentFacts;
use crate::model::id::AgentId;

/// What the stream said of agents since GET_AGENTS was asked. Bounded by the agents of the cluster.
#[derive(Debug, Default)]
pub struct Meanwhile(HashMap<AgentId, Option<AgentFacts>>);

impl Meanwhile {
    /// An agent registered.
    pub fn added(&mut self, agent: &AgentFacts) {
        self.0.insert(agent.id.clone(), Some(agent.clone()));
    }

    /// An agent unregistered.
    pub fn removed(&mut self, agent: &AgentId) {
        self.0.insert(agent.clone(), None);
    }

    /// The list as it is now.
    pub fn put_over(mut self, listed: Vec<AgentFacts>) -> Vec<AgentFacts> {
        let mut agents: Vec<_> =
            listed.into_iter().filter_map(|agent| self.0.remove(&agent.id).unwrap_or(Some(agent))).collect();
        let mut newer: Vec<_> = self.0.into_values().flatten().collect();
        newer.sort_by(|a, b| a.id.cmp(&b.id));
        agents.append(&mut newer);
        agents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str, hostname: &str) -> AgentFacts {
        AgentFacts {
            cluster: "mesos".into(),
            id: id.into(),
            hostname: hostname.into(),
            address: None,
            port: None,
            region: None,
            zone: None,
            active: true,
            recovered: false,
        }
    }

    #[test]
    fn the_stream_is_newer_than_the_answer() {
        let mut meanwhile = Meanwhile::default();
        meanwhile.added(&agent("b", "new"));
        meanwhile.removed(&"c".into());
        meanwhile.added(&agent("d", "new"));
        let listed = vec![agent("a", "old"), agent("b", "old"), agent("c", "old")];
        assert_eq!(meanwhile.put_over(listed), [agent("a", "old"), agent("b", "new"), agent("d", "new")]);
    }
}
