//! What one source says of one task.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::check::CheckSpec;
use super::id::{AgentId, TaskKey, Version};
use super::time::Timestamp;

/// The facts that one source knows of one task. Cheap to clone: what does not change with each status is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFacts {
    /// Which task.
    pub key: TaskKey,
    /// The agent it runs on, once placed.
    pub agent: Option<AgentId>,
    /// Where it is in its life.
    pub state: TaskState,
    /// The last verdict of the source's health check; a status without one says nothing and keeps it.
    pub health: Health,
    /// Its framework holds it back: a readiness check has not said yes.
    pub held: bool,
    /// Addresses of the task's containers as its statuses give them, in the order given. Empty in host networking
    /// on some sources: the agent's address counts then.
    pub addresses: SmallVec<[IpAddr; 1]>,
    /// Which of these are in which network, if any network has a name.
    pub networks: Option<Arc<TaskNetworks>>,
    /// Addresses in labels of its statuses, if there are any.
    pub labelled: Option<Box<LabelledAddresses>>,
    /// When its agent was lost, where the source says so.
    pub unreachable_since: Option<Timestamp>,
    /// What was fixed when the task was launched.
    pub definition: Arc<TaskDefinition>,
}

/// The networks of a task's addresses, in the order of these: a name (empty for one that has none) and how many. Tasks on
/// the same networks share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskNetworks(pub Box<[(Arc<str>, u16)]>);

/// Addresses that containerizers put into labels of a task's status: how containers had addresses before Mesos 0.25,
/// and how some tools say theirs to this day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledAddresses {
    /// Label `MesosContainerizer.NetworkSettings.IPAddress`.
    pub mesos: SmallVec<[IpAddr; 1]>,
    /// Label `Docker.NetworkSettings.IPAddress`.
    pub docker: SmallVec<[IpAddr; 1]>,
}

/// What is fixed when a task is launched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// The task's name (Mesos: `TaskInfo.name`).
    pub name: Arc<str>,
    /// Labels in the source's order; keys may repeat. One list for all tasks that have the same, as those of an
    /// application do.
    pub labels: Arc<[Label]>,
    /// Discovery information, if the framework gave any.
    pub discovery: Option<Discovery>,
    /// Host ports from the task's `ports` resource, in the order written, ranges expanded by [`PortRange::iter`].
    pub host_ports: Box<[PortRange]>,
    /// Container port → host port, for bridge networks.
    pub port_mappings: Box<[PortMapping]>,
    /// How the task is attached to the network.
    pub network: NetworkMode,
    /// Whether the source checks the task's health: then "no verdict yet" means not ready.
    pub has_health_check: bool,
    /// How long the task may take to end after it is told to.
    pub kill_grace: Option<Duration>,
    /// The version the source knows (discovery version, app version), if any.
    pub version: Option<Version>,
    /// What only the framework's own API knows of the app that the task belongs to.
    pub app: Option<Arc<AppFacts>>,
    /// The one of its framework's roles that it runs in, where the source says it.
    pub role: Option<Arc<str>>,
}

/// What a framework's own API knows of an app beyond its tasks (Marathon).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppFacts {
    /// The app's id (`/team/shop`).
    pub id: Arc<str>,
    /// The service port of each of the app's ports, by index. 0: there is none; where tasks have addresses of their own
    /// the proxy assigns one, if it has any to assign.
    pub service_ports: Box<[u16]>,
    /// What checks each of its ports, by index. Ports behind the last one are checked by nothing.
    pub checked: Box<[Checked]>,
    /// Its health checks of its ports, by index, where they are to be made here too. Not stored: the source says them
    /// again, and states of older versions have none.
    #[serde(skip)]
    pub checks: Box<[Option<Arc<CheckSpec>>]>,
}

/// What kind of health check of its app looks at a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Checked {
    /// None.
    #[default]
    No,
    /// One over HTTP in clear text from the framework itself: the port is taken to speak HTTP.
    Http,
    /// One over HTTP in another way.
    OtherHttp,
    /// One that does not speak HTTP.
    Other,
}

/// One label. A label without a value has an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The key as written.
    pub key: Arc<str>,
    /// The value as written.
    pub value: Arc<str>,
}

/// Discovery information of a task (Mesos: `DiscoveryInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Discovery {
    /// The name to be found by; empty if none was given.
    pub name: Arc<str>,
    /// Declared ports.
    pub ports: Box<[DiscoveryPort]>,
}

/// A port that a task declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DiscoveryPort {
    /// The port number: the host's or the container's, see [`DiscoveryPort::scope`].
    pub number: u16,
    /// Its name; empty if none.
    pub name: Arc<str>,
    /// Its protocol as written (`tcp`, `udp`, `udp,tcp`, …); empty if none.
    pub protocol: Arc<str>,
    /// Whose port the number is.
    pub scope: PortScope,
    /// The port's labels (VIPs).
    pub labels: Box<[Label]>,
}

/// Whose port a declared number is (the port label `network-scope`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PortScope {
    /// Not said: the host's in host and bridge networking, the container's otherwise.
    #[default]
    Unspecified,
    /// The agent's port.
    Host,
    /// The container's port.
    Container,
}

/// An inclusive range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port.
    pub begin: u16,
    /// The last port.
    pub end: u16,
}

impl PortRange {
    /// Each port of the range.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.begin..=self.end
    }

    /// Whether `port` lies in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.begin..=self.end).contains(&port)
    }
}

/// A container's port that the agent forwards to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port on the agent.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// `tcp` or `udp`; empty means tcp.
    pub protocol: Arc<str>,
}

/// How a task is attached to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The agent's own network: the task's address is the agent's.
    #[default]
    Host,
    /// A bridge on the agent: reached through mapped ports on the agent's address.
    Bridge,
    /// A container network: the task has an address of its own.
    Container,
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Accepted, not started.
    Staging,
    /// Starting.
    Starting,
    /// Running.
    Running,
    /// Told to end; often still serves for its grace period.
    Killing,
    /// Its agent is cut off; it may run, and may come back.
    Unreachable,
    /// Its master lost it, or it is unknown, or its operator gave it up; it may come back.
    Lost,
    /// Ended for good, whatever the reason.
    Ended,
}

impl TaskState {
    /// Whether nothing can bring the task back under this id.
    pub fn is_final(self) -> bool {
        self == Self::Ended
    }

    /// Whether its agent is away, and it may come back with it.
    pub fn is_away(self) -> bool {
        matches!(self, Self::Unreachable | Self::Lost)
    }

    /// The name used in the API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Killing => "killing",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Ended => "ended",
        }
    }
}

/// The verdict of a health check, three-valued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No verdict so far.
    #[default]
    Unknown,
    /// The last verdict was good.
    Healthy,
    /// The last verdict was bad.
    Unhealthy,
}

impl Health {
    /// The name used in the API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A status change of a task that the source has announced before.
///
/// `None` means "says nothing": the former value stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Which task.
    pub key: TaskKey,
    /// The latest state known.
    pub state: TaskState,
    /// A health verdict, if the status has one.
    pub health: Option<Health>,
    /// Addresses, if the status has any. Statuses made by a master have none.
    pub addresses: Option<SmallVec<[IpAddr; 1]>>,
    /// Which of these are in which network, if any network has a name.
    pub networks: Option<Arc<TaskNetworks>>,
    /// Addresses in its labels, if it has any.
    pub labelled: Option<Box<LabelledAddresses>>,
    /// The agent, if the status names one.
    pub agent: Option<AgentId>,
    /// When the agent was lost, if the status says so.
    pub unreachable_since: Option<Timestamp>,
}

impl TaskFacts {
    /// The networks that have a name, with the task's addresses in each.
    pub fn networks(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        let mut rest = &self.addresses[..];
        let parts = self.networks.iter().flat_map(|networks| &networks.0);
        let addresses = parts.map(move |(name, count)| {
            let (own, others) = rest.split_at(usize::from(*count).min(rest.len()));
            rest = others;
            (&**name, own)
        });
        addresses.filter(|(name, addresses)| !name.is_empty() && !addresses.is_empty())
    }

    /// Takes over what `status` says and keeps what it does not mention.
    pub fn apply(&mut self, status: &TaskStatus) {
        self.state = status.state;
        if let Some(health) = status.health {
            self.health = health;
        }
        if let Some(addresses) = &status.addresses {
            self.addresses.clone_from(addresses);
            self.networks.clone_from(&status.networks);
        }
        if status.labelled.is_some() {
            self.labelled.clone_from(&status.labelled);
        }
        if let Some(agent) = &status.agent {
            self.agent = Some(agent.clone());
        }
        self.unreachable_since = status.unreachable_since.or(self.unreachable_since).filter(|_| status.state.is_away());
    }
}
