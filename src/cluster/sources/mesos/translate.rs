//! Wire messages → facts.
//!
//! Pure: the same messages give the same facts; what is kept between calls is only shared copies of equal parts.
//! Rules that are easily got wrong, all from what real masters send:
//! - where a task is in its life is told by `state` of the task or event; `status.state` may lag behind it;
//! - LOST, UNREACHABLE, UNKNOWN and GONE_BY_OPERATOR are not final;
//! - a status without `healthy` says nothing about health, whatever its state;
//! - a status that the master made has no addresses and overwrites none.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use super::address::{ip_address, pid_address, pid_place};
use super::{definition, wire};
use crate::model::agent::AgentFacts;
use crate::model::framework::FrameworkFacts;
use crate::model::id::{AgentId, ClusterName, FrameworkId, TaskKey};
use crate::model::intern::Interner;
use crate::model::task::{Health, LabelledAddresses, TaskDefinition, TaskFacts, TaskNetworks, TaskState, TaskStatus};
use crate::model::time::Timestamp;

/// Definitions that are remembered to be shared.
const KEPT_DEFINITIONS: usize = 1 << 16;

/// Combinations of networks that are remembered to be shared.
const KEPT_NETWORKS: usize = 1 << 12;

/// `TaskStatus.Source.SOURCE_MASTER`.
const SOURCE_MASTER: i32 = 0;

/// A message lacks what its subject cannot be without.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{message} without {field}")]
pub struct InvalidMessage {
    /// The message.
    pub message: &'static str,
    /// What it lacks.
    pub field: &'static str,
}

/// Turns one cluster's messages into facts.
#[derive(Debug)]
pub struct Translator {
    cluster: ClusterName,
    strings: Interner,
    definitions: HashSet<Arc<TaskDefinition>>,
    /// Definitions that found no room and may still come before room is looked for again.
    until_sweep: usize,
    /// Combinations of networks; a cluster has few.
    networks: HashSet<Arc<TaskNetworks>>,
}

impl Translator {
    /// A translator for `cluster`.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            strings: Interner::default(),
            definitions: HashSet::new(),
            until_sweep: 0,
            networks: HashSet::new(),
        }
    }

    /// A whole task.
    ///
    /// # Errors
    /// It has no id, framework or state.
    pub fn task(&mut self, task: &wire::Task) -> Result<TaskFacts, InvalidMessage> {
        let lacks = |field| InvalidMessage { message: "task", field };
        let task_id = text(task.task_id.as_ref()).ok_or(lacks("task_id"))?;
        let framework = text(task.framework_id.as_ref()).ok_or(lacks("framework_id"))?;
        let last = task.statuses.last();
        let state = lifecycle(task.state, last.and_then(|status| status.state)).ok_or(lacks("state"))?;
        let latest_first = || task.statuses.iter().rev();
        // A task that never ran, or whose running status was pruned, has what it last had.
        let shown = newest_running(&task.statuses).or_else(|| latest_first().find(|s| addresses(s).is_some()));
        Ok(TaskFacts {
            key: self.key(framework, task_id),
            agent: text(task.agent_id.as_ref()).map(|id| self.agent_id(id)),
            state,
            health: latest_first().find_map(health).unwrap_or_default(),
            held: false,
            addresses: shown.and_then(addresses).unwrap_or_default(),
            networks: shown.and_then(|status| self.networks(status)),
            labelled: shown.and_then(labelled),
            unreachable_since: latest_first().find_map(away_since).filter(|_| state.is_away()),
            definition: self.definition(task),
        })
    }

    /// A change of a task's status.
    ///
    /// # Errors
    /// It does not say of which task, or no state.
    pub fn status(&mut self, update: &wire::TaskUpdated) -> Result<TaskStatus, InvalidMessage> {
        let lacks = |field| InvalidMessage { message: "task update", field };
        let status = update.status.as_ref().ok_or(lacks("status"))?;
        let task_id = text(status.task_id.as_ref()).ok_or(lacks("status.task_id"))?;
        let framework = text(update.framework_id.as_ref()).ok_or(lacks("framework_id"))?;
        let state = lifecycle(update.state, status.state).ok_or(lacks("state"))?;
        Ok(TaskStatus {
            key: self.key(framework, task_id),
            state,
            health: health(status),
            addresses: addresses(status),
            networks: self.networks(status),
            labelled: labelled(status),
            agent: text(status.agent_id.as_ref()).map(|id| self.agent_id(id)),
            unreachable_since: away_since(status).filter(|_| state.is_away()),
        })
    }

    /// A registered agent.
    ///
    /// # Errors
    /// It has no id.
    pub fn agent(&mut self, agent: &wire::Agent) -> Result<AgentFacts, InvalidMessage> {
        let info = agent.agent_info.as_ref().ok_or(InvalidMessage { message: "agent", field: "agent_info" })?;
        let address = agent.pid.as_deref().and_then(pid_address);
        let mut facts = self.recovered_agent(info)?;
        facts.address = address.map(|address| address.ip().to_canonical()).or(facts.address);
        facts.port = address.map(|address| address.port()).or(facts.port);
        facts.active = agent.active.unwrap_or(true) && !agent.deactivated.unwrap_or(false);
        facts.recovered = false;
        Ok(facts)
    }

    /// An agent that is not back since the master's failover: its tasks are not known to the master, and alive.
    ///
    /// # Errors
    /// It has no id.
    pub fn recovered_agent(&mut self, info: &wire::AgentInfo) -> Result<AgentFacts, InvalidMessage> {
        let id = text(info.id.as_ref()).ok_or(InvalidMessage { message: "agent", field: "id" })?;
        let hostname = info.hostname.as_deref().unwrap_or_default();
        let place = info.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        let mut named = |name: Option<&wire::DomainName>| {
            name.and_then(|name| name.name.as_deref()).map(|name| self.strings.intern(name))
        };
        let region = named(place.and_then(|place| place.region.as_ref()));
        let zone = named(place.and_then(|place| place.zone.as_ref()));
        Ok(AgentFacts {
            cluster: self.cluster.clone(),
            id: self.agent_id(id),
            hostname: hostname.into(),
            address: ip_address(hostname),
            port: info.port.and_then(|port| u16::try_from(port).ok()),
            region,
            zone,
            active: false,
            recovered: true,
        })
    }

    /// A framework.
    ///
    /// # Errors
    /// It has no id.
    pub fn framework(&mut self, framework: &wire::Framework) -> Result<FrameworkFacts, InvalidMessage> {
        let lacks = |field| InvalidMessage { message: "framework", field };
        let info = framework.framework_info.as_ref().ok_or(lacks("framework_info"))?;
        let id = text(info.id.as_ref()).ok_or(lacks("id"))?;
        let hostname = info.hostname.as_deref().unwrap_or_default();
        let roles = if info.roles.is_empty() { info.role.as_slice() } else { info.roles.as_slice() };
        Ok(FrameworkFacts {
            cluster: self.cluster.clone(),
            id: self.framework_id(id),
            name: self.strings.intern(info.name.as_deref().unwrap_or_default()),
            hostname: hostname.into(),
            address: ip_address(hostname),
            // The operator API does not tell a scheduler's port: `webui_url` is its user interface's.
            port: None,
            principal: self.strings.intern(info.principal.as_deref().unwrap_or_default()),
            roles: roles.iter().map(|role| self.strings.intern(role)).collect(),
            connected: framework.connected.unwrap_or(false),
        })
    }

    /// A framework whose scheduler's pid is known, from which its address comes. Names of hosts are not looked up here: the
    /// address behind one is that of the agent on the host, if there is one.
    ///
    /// # Errors
    /// It has no id.
    pub fn framework_at(
        &mut self,
        framework: &wire::Framework,
        pid: Option<&str>,
    ) -> Result<FrameworkFacts, InvalidMessage> {
        let mut facts = self.framework(framework)?;
        if let Some((host, port)) = pid.and_then(pid_place) {
            facts.address = ip_address(host).or(facts.address);
            facts.port = Some(port);
        }
        Ok(facts)
    }

    /// The end of a task of which nothing else is known.
    pub fn ended(&mut self, framework: &str, task: &str) -> TaskStatus {
        TaskStatus {
            key: self.key(framework, task),
            state: TaskState::Ended,
            health: None,
            addresses: None,
            networks: None,
            labelled: None,
            agent: None,
            unreachable_since: None,
        }
    }

    /// The shared id of a framework.
    pub fn framework_id(&mut self, id: &str) -> FrameworkId {
        self.strings.intern(id).into()
    }

    /// The shared id of an agent.
    pub fn agent_id(&mut self, id: &str) -> AgentId {
        self.strings.intern(id).into()
    }

    /// The key of a task.
    pub fn key(&mut self, framework: &str, task: &str) -> TaskKey {
        let framework = self.framework_id(framework);
        TaskKey::new(self.cluster.clone(), framework, task)
    }

    /// The networks of a status's addresses, if any has a name; one copy for all tasks on the same ones.
    fn networks(&mut self, status: &wire::TaskStatus) -> Option<Arc<TaskNetworks>> {
        let name = |network: &wire::NetworkInfo| network.name.clone().unwrap_or_default();
        let infos = addresses(status).and(status.container_status.as_ref()).map(|status| &status.network_infos)?;
        if infos.iter().all(|network| name(network).is_empty()) {
            return None;
        }
        let counted = infos.iter().map(|network| {
            let count = ip_addresses(network).count();
            (self.strings.intern(&name(network)), u16::try_from(count).unwrap_or(u16::MAX))
        });
        let networks = TaskNetworks(counted.collect());
        if let Some(known) = self.networks.get(&networks) {
            return Some(known.clone());
        }
        let shared = Arc::new(networks);
        if self.networks.len() < KEPT_NETWORKS {
            self.networks.insert(shared.clone());
        }
        Some(shared)
    }

    /// The definition, one copy for all tasks that have an equal one.
    fn definition(&mut self, task: &wire::Task) -> Arc<TaskDefinition> {
        let definition = definition::definition(task, &mut self.strings);
        if let Some(known) = self.definitions.get(&definition) {
            return known.clone();
        }
        let shared = Arc::new(definition);
        if self.definitions.len() >= KEPT_DEFINITIONS {
            self.make_room();
        }
        if self.definitions.len() < KEPT_DEFINITIONS {
            self.definitions.insert(shared.clone());
        }
        shared
    }

    /// Definitions that nobody holds any more make room; if none is free, new ones are simply not shared. All of them
    /// are looked at once in as many new ones: in a cluster of more definitions than are kept, a look for each new one
    /// was half of the work of reading the snapshot.
    fn make_room(&mut self) {
        if let Some(left) = self.until_sweep.checked_sub(1) {
            self.until_sweep = left;
            return;
        }
        self.definitions.retain(|definition| Arc::strong_count(definition) > 1);
        self.until_sweep = KEPT_DEFINITIONS;
    }
}

fn text(id: Option<&wire::Id>) -> Option<&str> {
    id?.value.as_deref().filter(|value| !value.is_empty())
}

/// The state to believe: the latest known to the agent, else the one that the status carries. A state that is not
/// known here counts as lost: neither running nor final.
fn lifecycle(state: Option<i32>, status: Option<i32>) -> Option<TaskState> {
    let known = |state: Option<i32>| state.and_then(task_state);
    known(state).or_else(|| known(status)).or_else(|| state.or(status).map(|_| TaskState::Lost))
}

fn task_state(state: i32) -> Option<TaskState> {
    Some(match wire::task_state::name(state)? {
        "TASK_STAGING" => TaskState::Staging,
        "TASK_STARTING" => TaskState::Starting,
        "TASK_RUNNING" => TaskState::Running,
        "TASK_KILLING" => TaskState::Killing,
        "TASK_UNREACHABLE" => TaskState::Unreachable,
        "TASK_LOST" | "TASK_UNKNOWN" | "TASK_GONE_BY_OPERATOR" => TaskState::Lost,
        // FINISHED, FAILED, KILLED, ERROR, DROPPED, GONE.
        _ => TaskState::Ended,
    })
}

fn health(status: &wire::TaskStatus) -> Option<Health> {
    status.healthy.map(|healthy| if healthy { Health::Healthy } else { Health::Unhealthy })
}

fn addresses(status: &wire::TaskStatus) -> Option<SmallVec<[IpAddr; 1]>> {
    if status.source == Some(SOURCE_MASTER) {
        return None;
    }
    let networks = &status.container_status.as_ref()?.network_infos;
    let addresses: SmallVec<[IpAddr; 1]> = networks.iter().flat_map(ip_addresses).collect();
    (!addresses.is_empty()).then_some(addresses)
}

/// The addresses in one network that can be read.
fn ip_addresses(network: &wire::NetworkInfo) -> impl Iterator<Item = IpAddr> {
    network.ip_addresses.iter().filter_map(|ip| ip_address(ip.ip_address.as_deref()?))
}

/// The status that tells a running task's addresses, as Mesos-DNS chooses it: the order of statuses in a master's
/// answer is not that of their times.
fn newest_running(statuses: &[wire::TaskStatus]) -> Option<&wire::TaskStatus> {
    let runs = |status: &&wire::TaskStatus| {
        status.source != Some(SOURCE_MASTER) && status.state.and_then(task_state) == Some(TaskState::Running)
    };
    statuses.iter().filter(runs).reduce(|best, next| {
        let is_newer = match (best.timestamp, next.timestamp) {
            (Some(best), Some(next)) => next > best,
            (best, next) => next.is_some() || best.is_none(),
        };
        if is_newer { next } else { best }
    })
}

fn labelled(status: &wire::TaskStatus) -> Option<Box<LabelledAddresses>> {
    let labels = &status.labels.as_ref()?.labels;
    let of = |key: &str| -> SmallVec<[IpAddr; 1]> {
        let labels = labels.iter().filter(|label| label.key.as_deref() == Some(key));
        labels.filter_map(|label| ip_address(label.value.as_deref()?)).collect()
    };
    let found = LabelledAddresses {
        mesos: of("MesosContainerizer.NetworkSettings.IPAddress"),
        docker: of("Docker.NetworkSettings.IPAddress"),
    };
    (found != LabelledAddresses::default()).then(|| Box::new(found))
}

/// Since when the agent is away: as the status says, else, where it tells of a loss, since it was made.
fn away_since(status: &wire::TaskStatus) -> Option<Timestamp> {
    let told = status.unreachable_time.as_ref().and_then(|time| u64::try_from(time.nanoseconds?).ok());
    if let Some(nanoseconds) = told {
        return Some(Timestamp(nanoseconds / 1_000_000));
    }
    let made = std::time::Duration::try_from_secs_f64(status.timestamp?).ok()?;
    let tells_of_a_loss = status.state.and_then(task_state).is_some_and(TaskState::is_away);
    tells_of_a_loss.then_some(Timestamp(u64::try_from(made.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translator() -> Translator {
        Translator::new("mesos".into())
    }

    fn task(json: &str) -> TaskFacts {
        translator().task(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn status(json: &str) -> TaskStatus {
        translator().status(&serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn states() {
        for (name, expected) in [
            ("TASK_STAGING", TaskState::Staging),
            ("TASK_STARTING", TaskState::Starting),
            ("TASK_RUNNING", TaskState::Running),
            ("TASK_KILLING", TaskState::Killing),
            ("TASK_FINISHED", TaskState::Ended),
            ("TASK_FAILED", TaskState::Ended),
            ("TASK_KILLED", TaskState::Ended),
            ("TASK_ERROR", TaskState::Ended),
            ("TASK_DROPPED", TaskState::Ended),
            ("TASK_GONE", TaskState::Ended),
            ("TASK_LOST", TaskState::Lost),
            ("TASK_UNKNOWN", TaskState::Lost),
            ("TASK_GONE_BY_OPERATOR", TaskState::Lost),
            ("TASK_UNREACHABLE", TaskState::Unreachable),
            ("TASK_OF_THE_FUTURE", TaskState::Lost),
        ] {
            let json = format!(r#"{{"task_id":{{"value":"t"}},"framework_id":{{"value":"f"}},"state":"{name}"}}"#);
            assert_eq!(task(&json).state, expected, "{name}");
        }
    }

    #[test]
    fn the_event_tells_the_life_and_the_status_the_details() {
        let update = status(
            r#"{"framework_id":{"value":"f"},"state":"TASK_FINISHED","status":{"task_id":{"value":"t"},
            "state":"TASK_KILLED","source":"SOURCE_MASTER","agent_id":{"value":"a"}}}"#,
        );
        assert_eq!((update.state, update.health, update.addresses), (TaskState::Ended, None, None));
        assert_eq!(update.agent.unwrap().as_str(), "a");
    }

    #[test]
    fn killing_keeps_health_and_unreachable_keeps_addresses() {
        let facts = task(
            r#"{"task_id":{"value":"t"},"framework_id":{"value":"f"},"state":"TASK_UNREACHABLE","statuses":[
            {"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","healthy":true,"container_status":{"network_infos":[
              {"name":"dcos","ip_addresses":[{"ip_address":"9.0.0.2"},{"protocol":"IPv6","ip_address":"fd01::2"}]}]}},
            {"state":"TASK_UNREACHABLE","source":"SOURCE_MASTER","unreachable_time":{"nanoseconds":1795347883064000000}}]}"#,
        );
        assert_eq!(facts.health, Health::Healthy);
        assert_eq!(facts.addresses.len(), 2);
        assert_eq!(facts.unreachable_since, Some(Timestamp(1_795_347_883_064)));
    }

    #[test]
    fn a_loss_without_a_time_of_its_own_is_as_old_as_its_status() {
        let lost = |status: &str| {
            let statuses = format!(r#"{{"state":"TASK_RUNNING","timestamp":5.0}},{status}"#);
            let ids = r#""task_id":{"value":"t"},"framework_id":{"value":"f"}"#;
            task(&format!(r#"{{{ids},"state":"TASK_LOST","statuses":[{statuses}]}}"#)).unreachable_since
        };
        assert_eq!(lost(r#"{"state":"TASK_LOST","timestamp":7.25}"#), Some(Timestamp(7250)));
        assert_eq!(lost(r#"{"state":"TASK_LOST","timestamp":-1.0}"#), None);
        assert_eq!(lost(r#"{"state":"TASK_STARTING","timestamp":6.0}"#), None, "that tells of no loss");
    }

    #[test]
    fn addresses_are_those_of_the_newest_running_status() {
        let facts = task(
            r#"{"task_id":{"value":"t"},"framework_id":{"value":"f"},"state":"TASK_RUNNING","statuses":[
            {"state":"TASK_RUNNING","timestamp":20.5,"container_status":{"network_infos":[
              {"ip_addresses":[{"ip_address":"9.0.0.2"}]}]},"labels":{"labels":[
              {"key":"Docker.NetworkSettings.IPAddress","value":"172.17.0.2"},
              {"key":"Docker.NetworkSettings.IPAddress","value":"none"},
              {"key":"MesosContainerizer.NetworkSettings.IPAddress","value":"::2"}]}},
            {"state":"TASK_RUNNING","timestamp":10.5,"container_status":{"network_infos":[
              {"ip_addresses":[{"ip_address":"9.0.0.1"}]}]}},
            {"state":"TASK_KILLING","timestamp":30.5}]}"#,
        );
        assert_eq!(facts.addresses[..], ["9.0.0.2".parse::<IpAddr>().unwrap()]);
        let labelled = facts.labelled.unwrap();
        assert_eq!(labelled.docker[..], ["172.17.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(labelled.mesos[..], ["::2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn equal_definitions_are_one() {
        let mut translator = translator();
        let mut make = |id: &str| {
            let json = format!(
                r#"{{"name":"web","task_id":{{"value":"{id}"}},"framework_id":{{"value":"f"}},"state":"TASK_RUNNING"}}"#
            );
            translator.task(&serde_json::from_str(&json).unwrap()).unwrap().definition
        };
        assert!(Arc::ptr_eq(&make("a"), &make("b")));
    }

    #[test]
    fn agents_are_where_their_pid_says() {
        let agent = |pid: &str| {
            let json = format!(
                r#"{{"agent_info":{{"hostname":"agent-1","id":{{"value":"S0"}},"port":5051,"domain":{{"fault_domain":
                {{"region":{{"name":"r"}},"zone":{{"name":"z"}}}}}}}},"active":true,"pid":"{pid}"}}"#
            );
            translator().agent(&serde_json::from_str(&json).unwrap()).unwrap()
        };
        let facts = agent("slave(1)@127.0.0.2:6051");
        assert_eq!((facts.address, facts.port), (Some("127.0.0.2".parse().unwrap()), Some(6051)));
        assert_eq!((facts.region.as_deref(), facts.zone.as_deref()), (Some("r"), Some("z")));
        assert!(facts.active && !facts.recovered);
        let facts = agent("slave(1)@agent-1:5051");
        assert_eq!((facts.address, facts.port), (None, Some(5051)));
    }

    #[test]
    fn frameworks_are_where_their_pid_says() {
        let framework = |hostname: &str, pid: Option<&str>| {
            let json = format!(r#"{{"framework_info":{{"id":{{"value":"F"}},"hostname":"{hostname}"}}}}"#);
            let facts = translator().framework_at(&serde_json::from_str(&json).unwrap(), pid).unwrap();
            (facts.address.map(|address| address.to_string()), facts.port)
        };
        let address = |text: &str| Some(text.to_owned());
        assert_eq!(framework("host-1", Some("s@10.0.0.1:25501")), (address("10.0.0.1"), Some(25501)));
        assert_eq!(framework("10.0.0.2", Some("s@[::ffff:10.0.0.1]:1")), (address("10.0.0.1"), Some(1)));
        // A host's name has a port nevertheless; the address is its agent's.
        assert_eq!(framework("host-1", Some("s@host-1.example:25501")), (None, Some(25501)));
        assert_eq!(framework("10.0.0.2", Some("s@host-1.example:25501")), (address("10.0.0.2"), Some(25501)));
        assert_eq!(framework("10.0.0.2", None), (address("10.0.0.2"), None));
        assert_eq!(framework("host-1", Some("")), (None, None));
    }

    #[test]
    fn what_lacks_an_id_is_refused_by_name() {
        let refused = translator().task(&wire::Task::default()).unwrap_err();
        assert_eq!(refused.to_string(), "task without task_id");
        let refused = translator().framework(&wire::Framework::default()).unwrap_err();
        assert_eq!(refused.to_string(), "framework without framework_info");
    }
}
