//! Everything that changes an answer reaches the writer as one of these.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::records::StaticRecords;
use crate::config::Config;
use crate::model::agent::AgentFacts;
use crate::model::check::CheckReport;
use crate::model::drain::DrainSubject;
use crate::model::framework::FrameworkFacts;
use crate::model::framework_deployment::{DeploymentEnd, FrameworkDeployment};
use crate::model::id::{AgentId, FrameworkId, ServiceId, SourceName, TaskKey, Version};
use crate::model::network::MastersFacts;
use crate::model::problem::Problem;
use crate::model::task::{Health, Label, TaskDefinition, TaskFacts, TaskState, TaskStatus};

/// An input of the writer.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    /// A source speaks.
    Source(SourceEvent),
    /// The configuration changed; it has been checked.
    Configured(Arc<Config>),
    /// An operator's command.
    Command(Command),
    /// The ports of services that cannot be listened on at present, and why.
    PortFaults(BTreeMap<u16, Arc<str>>),
    /// What is wrong at present with files that this program reads beside its configuration; the subjects are their paths.
    FileFaults(Vec<Problem>),
    /// Active checks have come to other verdicts.
    Checked(Vec<CheckReport>),
    /// Addresses of hosts that schedulers are known by alone: all that are known.
    HostsFound(Arc<HostAddresses>),
    /// A deadline of the state may have passed; the writer passes the time itself.
    DeadlineReached,
}

/// Addresses by host name, sorted.
pub type HostAddresses = BTreeMap<Arc<str>, Arc<[std::net::IpAddr]>>;

/// Facts from one stream of one source, in the order the source gave them.
#[derive(Clone, Debug)]
pub struct SourceEvent {
    /// The source.
    pub source: SourceName,
    /// Numbers the source's streams (subscriptions, reads of a file), rising. What an older stream still says after
    /// a newer one has spoken is ignored: a frozen master that wakes up contradicts nobody.
    pub stream: u64,
    /// The facts.
    pub facts: Vec<Fact>,
}

/// One thing a source says.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The source's stream is open and current from here on.
    Live,
    /// The stream is lost; nothing is forgotten, the source's facts age.
    Lost {
        /// Why, for people.
        error: Arc<str>,
    },
    /// Facts up to [`Fact::SnapshotFinished`] list everything the source knows.
    SnapshotStarted,
    /// The end of the list. What the source said before and did not repeat is absent: see `guard`.
    SnapshotFinished(SnapshotScope),
    /// A task, whole.
    Task(Box<TaskFacts>),
    /// A status of a task announced before. Unknown tasks are ignored (and counted): it carries no definition.
    Status(Box<TaskStatus>),
    /// A task that the source speaks of in words that cannot be read: it is there, and what was known of it stays.
    TaskUnreadable(TaskKey),
    /// A task that the source itself withdraws (a file's entry was deleted).
    TaskGone(TaskKey),
    /// An agent.
    Agent(Box<AgentFacts>),
    /// An agent that left. Its tasks are told apart.
    AgentGone(AgentId),
    /// The complete list of agents the master knows, from a read apart from the stream: others are gone in silence.
    AgentsListed(Vec<AgentFacts>),
    /// A framework.
    Framework(Box<FrameworkFacts>),
    /// A framework that was torn down; its tasks were told apart.
    FrameworkGone(FrameworkId),
    /// Masters and leader.
    Masters(MastersFacts),
    /// A service that exists with or without tasks.
    Declared(Box<DeclaredService>),
    /// An app that exists with or without tasks.
    App(Box<DeclaredApp>),
    /// An app that exists no more, by its key.
    AppGone(TaskKey),
    /// A deployment that is under way.
    Deployment(Box<FrameworkDeployment>),
    /// A deployment that has ended. Of one that nothing else was said of, nothing is known, and this is ignored (and counted).
    DeploymentOver {
        /// What the scheduler calls it.
        id: Arc<str>,
        /// How and when.
        end: DeploymentEnd,
    },
    /// All deployments that are under way: others of the source's are over.
    DeploymentsListed {
        /// Those.
        deployments: Vec<FrameworkDeployment>,
        /// Others that are under way too: they cannot be read, or began while the list was made.
        unread: Vec<Arc<str>>,
    },
    /// DNS records served as they are: the source's complete list, replacing the former one.
    Records(StaticRecords),
    /// Something the source said could not be used.
    Problem(Box<Problem>),
}

/// What a snapshot is complete for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotScope {
    /// Agents that the master knows from before its failover and that are not back yet: their tasks are not listed,
    /// and alive.
    pub recovered_agents: Vec<AgentId>,
    /// The source itself says what exists (a file): absence needs no second look.
    pub authoritative: bool,
}

/// A service that a source declares, with the routes that its labels make, whether or not a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct DeclaredService {
    /// Its identity.
    pub id: ServiceId,
    /// Labels in the native scheme, as a task of the service would carry them.
    pub labels: Box<[Label]>,
}

/// An app that its framework lists, whether or not a task runs: it claims what a task of it would, so that an app that
/// is scaled to nothing keeps its hosts and ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct DeclaredApp {
    /// Its key: as a task's, with the app's id (of a pod, with the container's name behind it) in the task's place. No
    /// task's id begins with `/`.
    pub key: TaskKey,
    /// What a task of it would be defined as. Numbers of ports on agents are made up.
    pub definition: Arc<TaskDefinition>,
}

impl DeclaredApp {
    /// A task of it that is not placed yet.
    pub fn unplaced_task(&self) -> TaskFacts {
        TaskFacts {
            key: self.key.clone(),
            agent: None,
            state: TaskState::Staging,
            health: Health::Unknown,
            held: false,
            addresses: Default::default(),
            networks: None,
            labelled: None,
            unreachable_since: None,
            definition: self.definition.clone(),
        }
    }
}

/// A DNS record from a file: owner name, type and data in zone-file presentation form, already validated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct StaticRecord {
    /// The owner, absolute, lower case, without the final dot.
    pub name: Arc<str>,
    /// What it says.
    pub data: RecordData,
    /// Its time to live in seconds; the configured one where absent.
    pub ttl: Option<u32>,
}

/// The data of a DNS record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum RecordData {
    /// An IPv4 address.
    A(std::net::Ipv4Addr),
    /// An IPv6 address.
    Aaaa(std::net::Ipv6Addr),
    /// A service: priority, weight, port, target (absolute, without the final dot).
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among equal priorities.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: Arc<str>,
    },
    /// An alias.
    Cname(Arc<str>),
    /// The name that an address leads back to.
    Ptr(Arc<str>),
    /// How a service is reached (RFC 9460).
    Svcb(Box<Binding>),
    /// How a service over HTTPS is reached.
    Https(Box<Binding>),
    /// Text, one string of at most 255 octets each.
    Txt(Box<[Arc<str>]>),
    /// A host that takes mail: lower preferences are tried first.
    Mx {
        /// Its standing.
        preference: u16,
        /// The host (absolute, without the final dot).
        exchange: Arc<str>,
    },
    /// A type that nothing here needs to understand.
    Opaque(Box<Opaque>),
    /// A server of the zone that is delegated here (absolute, without the final dot).
    Ns(Arc<str>),
}

/// A record whose data is passed on as it is (RFC 3597).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Opaque {
    /// Its type.
    pub record_type: u16,
    /// Its data, as messages have it.
    pub octets: Box<[u8]>,
}

/// One way to reach a service: an SVCB or HTTPS record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Binding {
    /// Lower is tried first; never 0, which would make an alias of it.
    pub priority: u16,
    /// The host, absolute, without the final dot.
    pub target: Arc<str>,
    /// The port.
    pub port: u16,
    /// Protocols that it speaks, by their ALPN ids.
    pub alpn: Box<[Arc<str>]>,
}

impl Binding {
    /// Whether the port does not speak HTTP/1.1, which clients add to whatever else is said (RFC 9460 §7.1.1).
    pub fn is_without_default(&self) -> bool {
        !self.alpn.is_empty() && self.alpn.iter().all(|id| **id != *"http/1.1")
    }
}

impl From<std::net::IpAddr> for RecordData {
    fn from(address: std::net::IpAddr) -> Self {
        match address.to_canonical() {
            std::net::IpAddr::V4(address) => Self::A(address),
            std::net::IpAddr::V6(address) => Self::Aaaa(address),
        }
    }
}

/// An operator's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Believe the removals that the guard holds back for this source.
    AcceptRemovals {
        /// The source.
        source: SourceName,
        /// Who said so, for the log.
        actor: Arc<str>,
    },
    /// Take a task or an agent out of service: nothing new goes there, and what is in flight is finished. Of what is
    /// not known, nothing is noted.
    Drain {
        /// What.
        subject: DrainSubject,
        /// Who said so.
        actor: Arc<str>,
    },
    /// Share a service's requests between its versions so, whatever labels say; no version: as labels say again.
    Weigh {
        /// The service.
        service: ServiceId,
        /// Its versions and their shares.
        versions: Box<[(Version, u32)]>,
        /// Who said so, for the log.
        actor: Arc<str>,
    },
    /// Put it back into service.
    Undrain {
        /// What.
        subject: DrainSubject,
        /// Who said so.
        actor: Arc<str>,
    },
}

/// The bounded way to the writer. A source that finds it full waits; its own decoding is then what stands still.
pub type EventSender = mpsc::Sender<ClusterEvent>;

/// The writer's end.
pub type EventReceiver = mpsc::Receiver<ClusterEvent>;

/// Events that may wait for the writer; an event from a source carries up to [`FACTS_PER_EVENT`] facts.
pub const QUEUE: usize = 256;

/// Facts that a source puts into one event at most: a slice of a snapshot then takes the writer a few milliseconds.
pub const FACTS_PER_EVENT: usize = 512;

impl RecordData {
    /// The address, of a record that is one.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::Aaaa(address) => Some((*address).into()),
            _ => None,
        }
    }
}
