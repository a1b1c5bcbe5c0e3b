//! The one connection between the source and a master, and what a master says over it.

use std::collections::VecDeque;
use std::time::Duration;

use pointsman::cluster::sources::mesos::refusal::Head;
use pointsman::cluster::sources::mesos::session::Request;
use pointsman::cluster::sources::mesos::wire;
use pointsman::config::checked::MesosEncoding;
use prost::Message;

pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// The connection.
pub enum Link {
    None,
    /// Asked; the answer comes at this time.
    Asking {
        request: Request,
        at: Duration,
    },
    Streaming(Stream),
}

/// A stream of events.
pub struct Stream {
    pub master: usize,
    /// What the master has said and the source has not received.
    pub outbox: VecDeque<u8>,
    pub next_heartbeat: Duration,
    /// Whether its snapshot was the truth.
    pub honest: bool,
}

/// How a master's snapshot is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing at all: a master that has not finished.
    Empty,
    /// Agents and no task: credentials that may not see them.
    Filtered,
    /// A third of the tasks.
    MostAbsent,
}

pub fn head(status: u16, encoding: MesosEncoding, location: Option<String>) -> Head {
    let content_type = match encoding {
        MesosEncoding::Json => "application/json",
        MesosEncoding::Protobuf => "application/x-protobuf",
    };
    Head { status, content_type: Some(content_type.into()), location, ..Head::default() }
}

pub fn encode(message: &(impl Message + serde::Serialize), encoding: MesosEncoding) -> Vec<u8> {
    match encoding {
        MesosEncoding::Json => serde_json::to_vec(message).unwrap(),
        MesosEncoding::Protobuf => message.encode_to_vec(),
    }
}

pub fn record(event: &wire::Event, encoding: MesosEncoding) -> Vec<u8> {
    framed(&encode(event, encoding))
}

pub fn framed(body: &[u8]) -> Vec<u8> {
    [format!("{}\n", body.len()).as_bytes(), body].concat()
}

pub fn event(kind: &str) -> wire::Event {
    wire::Event { r#type: Some(wire::event_type::number(kind)), ..wire::Event::default() }
}

/// SUBSCRIBED with a snapshot that is, perhaps, not true, and the first heartbeat.
pub fn subscribed(mut state: wire::GetState, lie: Option<Lie>, twice: bool, encoding: MesosEncoding) -> Vec<u8> {
    match lie {
        None => {}
        Some(Lie::Empty) => state = wire::GetState::default(),
        Some(Lie::Filtered) => {
            state.get_tasks = None;
            state.get_frameworks = None;
        }
        Some(Lie::MostAbsent) => {
            if let Some(lists) = &mut state.get_tasks {
                lists.tasks.truncate(lists.tasks.len() / 3);
            }
        }
    }
    if let (true, Some(lists)) = (twice, &mut state.get_tasks) {
        lists.tasks.extend(lists.tasks.clone());
    }
    let seconds = HEARTBEAT.as_secs_f64();
    let subscribed = wire::Subscribed { get_state: Some(state), heartbeat_interval_seconds: Some(seconds) };
    let subscribed = wire::Event { subscribed: Some(subscribed), ..event("SUBSCRIBED") };
    [record(&subscribed, encoding), record(&event("HEARTBEAT"), encoding)].concat()
}

/// Records that a source has to pass over: an event of the future, one that cannot be read.
pub fn junk(encoding: MesosEncoding, random: &mut fastrand::Rng) -> Vec<u8> {
    match (encoding, random.bool()) {
        (MesosEncoding::Json, true) => framed(br#"{"type":"TASK_DANCED","task_danced":{"tasks":[{"}":"]"}]}}"#),
        (MesosEncoding::Json, false) => framed(br#"{"type":"TASK_ADDED","task_added":{"task":[]},,}"#),
        (MesosEncoding::Protobuf, true) => framed(&[0x08, 0x63, 0xa2, 0x06, 2, 1, 2]),
        (MesosEncoding::Protobuf, false) => framed(&[0x08, 0x02, 0x1a, 0x7f]),
    }
}
