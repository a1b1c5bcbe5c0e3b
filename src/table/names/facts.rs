//! TXT records with the facts of a task or an agent: `key=value`, a string each (RFC 1464's form).
//!
//! Nothing that labels say is shown, so that no secret is; each value is bounded by the length of a string.

use std::sync::Arc;

use crate::cluster::event::RecordData;
use crate::model::agent::AgentFacts;
use crate::table::task::TaskView;

/// Octets of one string (RFC 1035 §3.3).
const STRING: usize = 255;

/// A task's facts.
pub(super) fn task_text(view: &TaskView) -> RecordData {
    let facts = &view.facts;
    let mut texts = vec![
        text("id", facts.key.said_id()),
        text("state", facts.state.as_str()),
        text("health", facts.health.as_str()),
        text("served", view.state.as_str()),
        text("version", view.version.as_str()),
    ];
    texts.extend(facts.agent.iter().map(|agent| text("agent", agent.as_str())));
    texts.extend(view.agent.iter().flat_map(|agent| place(agent)));
    RecordData::Txt(texts.into())
}

/// An agent's facts.
pub(super) fn agent_text(agent: &AgentFacts) -> RecordData {
    let mut texts = vec![text("id", agent.id.as_str())];
    texts.extend(place(agent));
    RecordData::Txt(texts.into())
}

fn place(agent: &AgentFacts) -> impl Iterator<Item = Arc<str>> {
    let said = [("host", Some(&agent.hostname)), ("region", agent.region.as_ref()), ("zone", agent.zone.as_ref())];
    said.into_iter().filter_map(|(key, value)| Some(text(key, value.filter(|value| !value.is_empty())?)))
}

/// One string; a value that is too long for it is cut between two characters.
fn text(key: &str, value: &str) -> Arc<str> {
    let mut end = value.len().min(STRING - key.len() - 1);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    format!("{key}={}", &value[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_has_room_for_its_value() {
        assert_eq!(&*text("id", "web.1"), "id=web.1");
        assert_eq!(text("id", &"x".repeat(300)).len(), 255);
        assert_eq!(text("id", &"é".repeat(200)).len(), 3 + 252);
    }
}
