//! What a stream of events consists of for a decoder that never holds a whole message: which messages are walked
//! through, which members are decoded as a whole (an *element*), and that everything else is skipped.
//!
//! One table serves protobuf (by field number) and JSON (by name); the document of `GET /master/state`, which exists in
//! JSON alone, is in it too. Skipped on purpose: completed tasks and
//! frameworks (they ended; up to a thousand per framework), executors, and pending tasks (announced again by
//! TASK_ADDED once launched, and never if they are invalid).

use prost::Message;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::legacy::{self, FrameworkField, StatePart};
use super::wire;

/// The most bytes that one element of a snapshot (a task, an agent, a framework) may have.
pub const MAX_SNAPSHOT_ELEMENT_BYTES: u64 = 16 << 20;

/// The most bytes that the content of one ordinary event may have.
pub const MAX_EVENT_BYTES: u64 = 64 << 20;

/// The most bytes that a single text or number of a state document may have.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// A message that is walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// `master.Event`.
    Event,
    /// `master.Response`.
    Response,
    /// `Event.Subscribed`.
    Subscribed,
    /// `Response.GetState`.
    GetState,
    /// `Response.GetTasks`.
    GetTasks,
    /// `Response.GetAgents`.
    GetAgents,
    /// `Response.GetFrameworks`.
    GetFrameworks,
    /// The document of `GET /master/state`.
    State,
    /// One of its frameworks, with its tasks inside.
    StateFramework,
    /// One of its frameworks that ended.
    StateCompletedFramework,
}

/// What to do with a member of a walked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Walk through it too.
    Descend(Node),
    /// A list: walk through each of its objects.
    Each(Node),
    /// Decode it as a whole; if it is repeated, each one by itself.
    Element(Element),
    /// Not needed.
    Skip,
}

/// A member that is decoded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `Event.type`.
    EventType,
    /// `Subscribed.heartbeat_interval_seconds`.
    HeartbeatInterval,
    /// A task of a snapshot.
    Task,
    /// A registered agent of a snapshot.
    Agent,
    /// An agent that is not back since the master's failover.
    RecoveredAgent,
    /// A framework of a snapshot.
    Framework,
    /// A framework known through its agents only.
    RecoveredFramework,
    /// `Event.task_added`.
    TaskAdded,
    /// `Event.task_updated`.
    TaskUpdated,
    /// `Event.agent_added`.
    AgentAdded,
    /// `Event.agent_removed`.
    AgentRemoved,
    /// `Event.framework_added`.
    FrameworkAdded,
    /// `Event.framework_updated`.
    FrameworkUpdated,
    /// `Event.framework_removed`.
    FrameworkRemoved,
    /// What a state document says of its master.
    Master(MasterField),
    /// A task of a state document.
    StateTask,
    /// A task of a state document that ended.
    StateCompletedTask,
    /// A registered agent of a state document.
    StateAgent,
    /// An agent of a state document that is not back since the master's failover.
    StateRecoveredAgent,
    /// A member of a framework of a state document.
    StateFramework(FrameworkField),
    /// The id of a framework of a state document that ended.
    StateCompletedFramework,
}

/// What a state document says of the master that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterField {
    /// `pid`: itself.
    Pid,
    /// `leader`: the pid of the master that leads.
    Leader,
    /// `elected_time`, seconds since 1970.
    ElectedTime,
}

/// What comes out of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A SUBSCRIBED record begins.
    SnapshotStarted,
    /// How often the master promises a heartbeat, in seconds, as it says.
    HeartbeatInterval(f64),
    /// A task of the snapshot.
    Task(Box<wire::Task>),
    /// A registered agent of the snapshot.
    Agent(Box<wire::Agent>),
    /// An agent of the snapshot that is not back since the failover.
    RecoveredAgent(Box<wire::AgentInfo>),
    /// A framework of the snapshot.
    Framework(Box<wire::Framework>),
    /// The SUBSCRIBED record is complete.
    SnapshotFinished,
    /// A task was launched, or is back.
    TaskAdded(Box<wire::Task>),
    /// A task's status changed.
    TaskUpdated(Box<wire::TaskUpdated>),
    /// An agent registered.
    AgentAdded(Box<wire::Agent>),
    /// An agent unregistered: its id.
    AgentRemoved(String),
    /// A framework registered.
    FrameworkAdded(Box<wire::Framework>),
    /// A framework changed.
    FrameworkUpdated(Box<wire::Framework>),
    /// A framework was torn down: its id.
    FrameworkRemoved(String),
    /// A sign of life.
    Heartbeat,
    /// An event of a type that is not known here.
    UnknownEvent(i32),
    /// A part of a state document that is not one of the above.
    State(StatePart),
    /// A framework of a state document, and its scheduler's pid.
    StateFramework(Box<wire::Framework>, Option<String>),
    /// An element that could not be decoded. It spoils only itself.
    Unreadable {
        /// Which kind.
        element: Element,
        /// Of which task it speaks, if that much can be read.
        task: Option<TaskIdentity>,
        /// Why.
        error: UnreadableElement,
    },
}

/// Of which task an element speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskIdentity {
    /// The framework's id.
    pub framework: String,
    /// The task's id.
    pub task: String,
}

/// Why an element could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnreadableElement {
    /// The bytes are not what the element's type wants.
    #[error("{0}")]
    Malformed(String),
    /// It lacks what it must have.
    #[error("it has no {0}")]
    Incomplete(&'static str),
    /// It is larger than is accepted.
    #[error("its {bytes} bytes exceed the limit of {limit}")]
    TooLarge {
        /// Its size, as far as known.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// The field number of what has none: no protobuf field has it.
const NONE: u32 = 0;

/// Every member that is not skipped: message, field number, name.
const MEMBERS: &[(Node, u32, &str, Member)] = {
    use Member::{Descend, Element as Whole};
    &[
        (Node::Event, 1, "type", Whole(Element::EventType)),
        (Node::Event, 2, "subscribed", Descend(Node::Subscribed)),
        (Node::Event, 3, "task_added", Whole(Element::TaskAdded)),
        (Node::Event, 4, "task_updated", Whole(Element::TaskUpdated)),
        (Node::Event, 5, "agent_added", Whole(Element::AgentAdded)),
        (Node::Event, 6, "agent_removed", Whole(Element::AgentRemoved)),
        (Node::Event, 7, "framework_added", Whole(Element::FrameworkAdded)),
        (Node::Event, 8, "framework_updated", Whole(Element::FrameworkUpdated)),
        (Node::Event, 9, "framework_removed", Whole(Element::FrameworkRemoved)),
        (Node::Response, 9, "get_state", Descend(Node::GetState)),
        (Node::Response, 10, "get_agents", Descend(Node::GetAgents)),
        (Node::Subscribed, 1, "get_state", Descend(Node::GetState)),
        (Node::Subscribed, 2, "heartbeat_interval_seconds", Whole(Element::HeartbeatInterval)),
        (Node::GetState, 1, "get_tasks", Descend(Node::GetTasks)),
        (Node::GetState, 3, "get_frameworks", Descend(Node::GetFrameworks)),
        (Node::GetState, 4, "get_agents", Descend(Node::GetAgents)),
        (Node::GetTasks, 2, "tasks", Whole(Element::Task)),
        (Node::GetTasks, 4, "orphan_tasks", Whole(Element::Task)),
        (Node::GetTasks, 5, "unreachable_tasks", Whole(Element::Task)),
        (Node::GetAgents, 1, "agents", Whole(Element::Agent)),
        (Node::GetAgents, 2, "recovered_agents", Whole(Element::RecoveredAgent)),
        (Node::GetFrameworks, 1, "frameworks", Whole(Element::Framework)),
        (Node::GetFrameworks, 3, "recovered_frameworks", Whole(Element::RecoveredFramework)),
        (Node::State, NONE, "pid", Whole(Element::Master(MasterField::Pid))),
        (Node::State, NONE, "leader", Whole(Element::Master(MasterField::Leader))),
        (Node::State, NONE, "elected_time", Whole(Element::Master(MasterField::ElectedTime))),
        (Node::State, NONE, "slaves", Whole(Element::StateAgent)),
        (Node::State, NONE, "recovered_slaves", Whole(Element::StateRecoveredAgent)),
        (Node::State, NONE, "frameworks", Member::Each(Node::StateFramework)),
        (Node::State, NONE, "completed_frameworks", Member::Each(Node::StateCompletedFramework)),
        (Node::State, NONE, "orphan_tasks", Whole(Element::StateTask)),
        (Node::StateFramework, NONE, "id", Whole(Element::StateFramework(FrameworkField::Id))),
        (Node::StateFramework, NONE, "name", Whole(Element::StateFramework(FrameworkField::Name))),
        (Node::StateFramework, NONE, "pid", Whole(Element::StateFramework(FrameworkField::Pid))),
        (Node::StateFramework, NONE, "hostname", Whole(Element::StateFramework(FrameworkField::Hostname))),
        (Node::StateFramework, NONE, "principal", Whole(Element::StateFramework(FrameworkField::Principal))),
        (Node::StateFramework, NONE, "role", Whole(Element::StateFramework(FrameworkField::Role))),
        (Node::StateFramework, NONE, "roles", Whole(Element::StateFramework(FrameworkField::Role))),
        (Node::StateFramework, NONE, "active", Whole(Element::StateFramework(FrameworkField::Active))),
        (Node::StateFramework, NONE, "connected", Whole(Element::StateFramework(FrameworkField::Connected))),
        (Node::StateFramework, NONE, "tasks", Whole(Element::StateTask)),
        (Node::StateFramework, NONE, "unreachable_tasks", Whole(Element::StateTask)),
        (Node::StateFramework, NONE, "completed_tasks", Whole(Element::StateCompletedTask)),
        (Node::StateCompletedFramework, NONE, "id", Whole(Element::StateCompletedFramework)),
    ]
};

impl Node {
    /// What to do with the member of this number.
    pub fn by_number(self, number: u32) -> Member {
        let found = MEMBERS.iter().find(|(node, n, ..)| *node == self && *n == number && number != NONE);
        found.map_or(Member::Skip, |(.., member)| *member)
    }

    /// What to do with the member of this name.
    pub fn by_name(self, name: &[u8]) -> Member {
        let found = MEMBERS.iter().find(|(node, _, n, _)| *node == self && n.as_bytes() == name);
        found.map_or(Member::Skip, |(.., member)| *member)
    }
}

impl Node {
    /// What is told when a list of it begins.
    pub(super) fn list_begins(self) -> Option<Item> {
        (self == Self::StateFramework).then_some(Item::State(StatePart::Frameworks))
    }

    /// What is told when it begins.
    pub(super) fn begins(self) -> Option<Item> {
        (self == Self::StateFramework).then_some(Item::State(StatePart::FrameworkBegins))
    }

    /// What is told when it ends.
    pub(super) fn ends(self) -> Option<Item> {
        (self == Self::StateFramework).then_some(Item::State(StatePart::FrameworkEnds))
    }

    /// What is told of something else in its place.
    pub(super) fn is_no_object(self) -> Item {
        let element = match self {
            Self::StateCompletedFramework => Element::StateCompletedFramework,
            _ => Element::Framework,
        };
        let error = UnreadableElement::Malformed("it is not an object".into());
        Item::Unreadable { element, task: None, error }
    }
}

impl Element {
    /// What is told when a list of it begins.
    pub(super) fn list_begins(self) -> Option<Item> {
        (self == Self::StateAgent).then_some(Item::State(StatePart::Agents))
    }

    /// The most bytes it may have.
    pub fn limit(self) -> u64 {
        match self {
            Self::EventType | Self::HeartbeatInterval => 64,
            Self::Master(_) | Self::StateFramework(_) | Self::StateCompletedFramework => MAX_TEXT_BYTES,
            Self::Task
            | Self::Agent
            | Self::RecoveredAgent
            | Self::Framework
            | Self::RecoveredFramework
            | Self::StateTask
            | Self::StateCompletedTask
            | Self::StateAgent
            | Self::StateRecoveredAgent => MAX_SNAPSHOT_ELEMENT_BYTES,
            _ => MAX_EVENT_BYTES,
        }
    }

    /// What it is, for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventType => "event type",
            Self::HeartbeatInterval => "heartbeat interval",
            Self::Master(_) => "master",
            Self::Task | Self::StateTask => "task",
            Self::StateCompletedTask => "completed task",
            Self::Agent | Self::StateAgent => "agent",
            Self::RecoveredAgent | Self::StateRecoveredAgent => "recovered agent",
            Self::Framework | Self::StateFramework(_) => "framework",
            Self::StateCompletedFramework => "completed framework",
            Self::RecoveredFramework => "recovered framework",
            Self::TaskAdded => "task_added",
            Self::TaskUpdated => "task_updated",
            Self::AgentAdded => "agent_added",
            Self::AgentRemoved => "agent_removed",
            Self::FrameworkAdded => "framework_added",
            Self::FrameworkUpdated => "framework_updated",
            Self::FrameworkRemoved => "framework_removed",
        }
    }

    /// Decodes the element from protobuf: the content of its length-delimited field.
    pub(super) fn decode_protobuf(self, bytes: &[u8]) -> Item {
        self.decode_or_explain(&Protobuf(bytes))
    }

    /// Decodes the element from JSON.
    pub(super) fn decode_json(self, bytes: &[u8]) -> Item {
        self.decode_or_explain(&Json(bytes))
    }

    /// An element of which nothing was kept.
    pub(super) fn too_large(self, bytes: u64) -> Item {
        let error = UnreadableElement::TooLarge { bytes, limit: self.limit() };
        Item::Unreadable { element: self, task: None, error }
    }

    fn decode_or_explain(self, source: &impl ElementSource) -> Item {
        self.decode(source).unwrap_or_else(|error| Item::Unreadable {
            element: self,
            task: self.identity(source),
            error,
        })
    }

    /// Reads nothing but the ids: what spoils an element is seldom in them.
    fn identity(self, source: &impl ElementSource) -> Option<TaskIdentity> {
        let (framework, task) = match self {
            Self::Task => {
                let ids: wire::TaskIds = source.message().ok()?;
                (ids.framework_id, ids.task_id)
            }
            Self::TaskAdded => {
                let ids = source.message::<wire::TaskAddedIds>().ok()?.task?;
                (ids.framework_id, ids.task_id)
            }
            Self::TaskUpdated => {
                let ids: wire::TaskUpdatedIds = source.message().ok()?;
                (ids.framework_id, ids.status?.task_id)
            }
            Self::StateTask => return legacy::task_identity(source.bytes()),
            _ => return None,
        };
        Some(TaskIdentity { framework: framework?.value?, task: task?.value? })
    }

    fn decode(self, source: &impl ElementSource) -> Result<Item, UnreadableElement> {
        let missing = UnreadableElement::Incomplete;
        Ok(match self {
            Self::EventType => Item::UnknownEvent(source.event_type()?),
            Self::HeartbeatInterval => Item::HeartbeatInterval(source.number()?),
            Self::Task => Item::Task(Box::new(source.message()?)),
            Self::Agent => Item::Agent(Box::new(source.message()?)),
            Self::RecoveredAgent => Item::RecoveredAgent(Box::new(source.message()?)),
            Self::Framework => Item::Framework(Box::new(source.message()?)),
            Self::RecoveredFramework => Item::Framework(Box::new(wire::Framework {
                framework_info: Some(source.message()?),
                active: Some(false),
                connected: Some(false),
                recovered: Some(true),
            })),
            Self::TaskAdded => {
                let added: wire::TaskAdded = source.message()?;
                Item::TaskAdded(Box::new(added.task.ok_or(missing("task"))?))
            }
            Self::TaskUpdated => Item::TaskUpdated(Box::new(source.message()?)),
            Self::AgentAdded => {
                let added: wire::AgentAdded = source.message()?;
                Item::AgentAdded(Box::new(added.agent.ok_or(missing("agent"))?))
            }
            Self::AgentRemoved => {
                let removed: wire::AgentRemoved = source.message()?;
                Item::AgentRemoved(removed.agent_id.and_then(|id| id.value).ok_or(missing("agent_id"))?)
            }
            Self::FrameworkAdded => {
                let added: wire::FrameworkChanged = source.message()?;
                Item::FrameworkAdded(Box::new(added.framework.ok_or(missing("framework"))?))
            }
            Self::FrameworkUpdated => {
                let updated: wire::FrameworkChanged = source.message()?;
                Item::FrameworkUpdated(Box::new(updated.framework.ok_or(missing("framework"))?))
            }
            Self::FrameworkRemoved => {
                let removed: wire::FrameworkRemoved = source.message()?;
                let id = removed.framework_info.and_then(|info| info.id).and_then(|id| id.value);
                Item::FrameworkRemoved(id.ok_or(missing("framework id"))?)
            }
            Self::Master(field) => Item::State(legacy::master(field, source.bytes())?),
            Self::StateTask => Item::Task(Box::new(legacy::task(source.bytes())?)),
            Self::StateCompletedTask => Item::State(legacy::completed_task(source.bytes())?),
            Self::StateAgent => Item::Agent(Box::new(legacy::agent(source.bytes())?)),
            Self::StateRecoveredAgent => Item::RecoveredAgent(Box::new(legacy::recovered_agent(source.bytes())?)),
            Self::StateFramework(field) => Item::State(legacy::framework_field(field, source.bytes())?),
            Self::StateCompletedFramework => Item::State(StatePart::CompletedFramework(json(source.bytes())?)),
        })
    }
}

/// The bytes of one element in one of the encodings.
trait ElementSource {
    fn message<M: Message + Default + DeserializeOwned>(&self) -> Result<M, UnreadableElement>;
    fn number(&self) -> Result<f64, UnreadableElement>;
    fn event_type(&self) -> Result<i32, UnreadableElement>;
    fn bytes(&self) -> &[u8];
}

struct Protobuf<'a>(&'a [u8]);

struct Json<'a>(&'a [u8]);

impl ElementSource for Protobuf<'_> {
    fn message<M: Message + Default + DeserializeOwned>(&self) -> Result<M, UnreadableElement> {
        M::decode(self.0).map_err(|error| UnreadableElement::Malformed(error.to_string()))
    }

    fn number(&self) -> Result<f64, UnreadableElement> {
        let bytes = self.0.try_into().map_err(|_| UnreadableElement::Malformed("it is not a double".into()))?;
        Ok(f64::from_le_bytes(bytes))
    }

    fn event_type(&self) -> Result<i32, UnreadableElement> {
        let number = prost::encoding::decode_varint(&mut &*self.0);
        let number = number.map_err(|error| UnreadableElement::Malformed(error.to_string()))?;
        Ok(i32::try_from(number).unwrap_or(-1))
    }

    fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl ElementSource for Json<'_> {
    fn message<M: Message + Default + DeserializeOwned>(&self) -> Result<M, UnreadableElement> {
        json(self.0)
    }

    fn number(&self) -> Result<f64, UnreadableElement> {
        json(self.0)
    }

    fn event_type(&self) -> Result<i32, UnreadableElement> {
        Ok(wire::event_type::number(&json::<String>(self.0)?))
    }

    fn bytes(&self) -> &[u8] {
        self.0
    }
}

/// Decodes JSON.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UnreadableElement> {
    serde_json::from_slice(bytes).map_err(|error| UnreadableElement::Malformed(error.to_string()))
}
