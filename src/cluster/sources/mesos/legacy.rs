//! The document of `GET /master/state`, as far as it is needed: its own shapes → those of the v1 API, so that
//! everything behind is the same for both.
//!
//! Masters from 0.19 to 1.12 write it; what one version does not write is absent here. An element of a wrong type is an
//! error of that element, which names it where it says who it is.

use serde::Deserialize;

use super::schema::{MasterField, TaskIdentity, UnreadableElement, json};
use super::wire;

/// A part of a state document that is no task and no agent.
#[derive(Clone, Debug, PartialEq)]
pub enum StatePart {
    /// The list of agents begins.
    Agents,
    /// The list of frameworks begins.
    Frameworks,
    /// A framework begins.
    FrameworkBegins,
    /// Something about the framework.
    Framework(FrameworkField, Scalar),
    /// The framework ends.
    FrameworkEnds,
    /// A framework that ended: its id.
    CompletedFramework(String),
    /// A task that ended: its framework, if it says so, and its id.
    CompletedTask(Option<String>, String),
    /// Something about the master.
    Master(MasterField, Scalar),
}

/// A text, a truth or a number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A truth.
    Truth(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// A member of a framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameworkField {
    /// `id`.
    Id,
    /// `name`.
    Name,
    /// `pid`: where the scheduler is, if it speaks libprocess.
    Pid,
    /// `hostname`.
    Hostname,
    /// `principal`.
    Principal,
    /// `role`, or one of `roles`.
    Role,
    /// `active`.
    Active,
    /// `connected`.
    Connected,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Task {
    id: Option<String>,
    name: Option<String>,
    framework_id: Option<String>,
    slave_id: Option<String>,
    state: Option<String>,
    /// The role that its resources are allocated to; older masters do not write it.
    role: Option<String>,
    resources: Resources,
    statuses: Vec<Status>,
    labels: Vec<wire::Label>,
    discovery: Option<wire::DiscoveryInfo>,
    container: Option<wire::ContainerInfo>,
    health_check: Option<wire::HealthCheck>,
    kill_policy: Option<wire::KillPolicy>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resources {
    ports: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    state: Option<String>,
    timestamp: Option<f64>,
    healthy: Option<bool>,
    labels: Vec<wire::Label>,
    container_status: Option<ContainerStatus>,
    unreachable_time: Option<wire::Nanoseconds>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerStatus {
    network_infos: Vec<NetworkInfo>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NetworkInfo {
    name: Option<String>,
    ip_addresses: Vec<wire::IpAddress>,
    /// Before 0.26.
    ip_address: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Agent {
    id: Option<String>,
    hostname: Option<String>,
    pid: Option<String>,
    port: Option<i32>,
    active: Option<bool>,
    deactivated: Option<bool>,
    version: Option<String>,
    domain: Option<wire::DomainInfo>,
}

/// A task.
///
/// # Errors
/// It cannot be read, or has no id.
pub(super) fn task(bytes: &[u8]) -> Result<wire::Task, UnreadableElement> {
    let task: Task = json(bytes).map_err(|error| explained(error, bytes))?;
    let id = named(task.id, "id", bytes)?;
    let ports = task.resources.ports.as_deref().map(ranges).unwrap_or_default();
    let resource = wire::Resource {
        name: Some("ports".into()),
        r#type: Some(wire::value_type::number("RANGES")),
        ranges: Some(wire::Ranges { range: ports }),
        allocation_info: task.role.map(|role| wire::AllocationInfo { role: Some(role) }),
    };
    let mut statuses: Vec<_> = task.statuses;
    // Masters write them in order, others may not. A status without a time keeps its place.
    statuses.sort_by(|a, b| match (a.timestamp, b.timestamp) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => std::cmp::Ordering::Equal,
    });
    Ok(wire::Task {
        name: task.name,
        task_id: self::id(Some(id)),
        framework_id: self::id(task.framework_id),
        agent_id: self::id(task.slave_id),
        state: task.state.as_deref().map(wire::task_state::number),
        resources: vec![resource],
        statuses: statuses.into_iter().map(status).collect(),
        labels: (!task.labels.is_empty()).then_some(wire::Labels { labels: task.labels }),
        discovery: task.discovery,
        container: task.container,
        health_check: task.health_check,
        kill_policy: task.kill_policy,
    })
}

/// Reads nothing but the ids of a task; a framework that is not named is empty.
pub(super) fn task_identity(bytes: &[u8]) -> Option<TaskIdentity> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let text = |member| value.get(member).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let identity = TaskIdentity { framework: text("framework_id"), task: text("id") };
    (!identity.task.is_empty()).then_some(identity)
}

/// A task that ended. One in another state (lost, with its agent) says nothing.
///
/// # Errors
/// It cannot be read.
pub(super) fn completed_task(bytes: &[u8]) -> Result<StatePart, UnreadableElement> {
    #[derive(Deserialize)]
    struct Ended {
        id: String,
        #[serde(default)]
        framework_id: Option<String>,
        #[serde(default)]
        state: Option<String>,
    }
    let task: Ended = json(bytes)?;
    let is_final = matches!(
        task.state.as_deref(),
        Some("TASK_FINISHED" | "TASK_FAILED" | "TASK_KILLED" | "TASK_ERROR" | "TASK_DROPPED" | "TASK_GONE")
    );
    // An empty id is no task's.
    let id = if is_final { task.id } else { String::new() };
    Ok(StatePart::CompletedTask(task.framework_id, id))
}

/// A registered agent.
///
/// # Errors
/// It cannot be read, or has no id.
pub(super) fn agent(bytes: &[u8]) -> Result<wire::Agent, UnreadableElement> {
    let agent: Agent = json(bytes).map_err(|error| explained(error, bytes))?;
    let id = named(agent.id, "id", bytes)?;
    let info =
        wire::AgentInfo { hostname: agent.hostname, id: self::id(Some(id)), port: agent.port, domain: agent.domain };
    Ok(wire::Agent {
        agent_info: Some(info),
        active: agent.active,
        version: agent.version,
        pid: agent.pid,
        deactivated: agent.deactivated,
    })
}

/// An agent that is not back since the master's failover.
///
/// # Errors
/// It cannot be read, or has no id.
pub(super) fn recovered_agent(bytes: &[u8]) -> Result<wire::AgentInfo, UnreadableElement> {
    agent(bytes)?.agent_info.ok_or(UnreadableElement::Incomplete("id"))
}

/// A member of a framework, of the type it must have.
///
/// # Errors
/// It has another type.
pub(super) fn framework_field(field: FrameworkField, bytes: &[u8]) -> Result<StatePart, UnreadableElement> {
    let value = match field {
        FrameworkField::Active | FrameworkField::Connected => Scalar::Truth(json(bytes)?),
        _ => Scalar::Text(json(bytes)?),
    };
    Ok(StatePart::Framework(field, value))
}

/// What the document says of its master.
///
/// # Errors
/// It has another type.
pub(super) fn master(field: MasterField, bytes: &[u8]) -> Result<StatePart, UnreadableElement> {
    let value = match field {
        MasterField::ElectedTime => Scalar::Number(json(bytes)?),
        MasterField::Pid | MasterField::Leader => Scalar::Text(json(bytes)?),
    };
    Ok(StatePart::Master(field, value))
}

fn status(status: Status) -> wire::TaskStatus {
    let networks = status.container_status.map(|container| container.network_infos);
    let container_status =
        networks.map(|networks| wire::ContainerStatus { network_infos: networks.into_iter().map(network).collect() });
    wire::TaskStatus {
        state: status.state.as_deref().map(wire::task_state::number),
        timestamp: status.timestamp,
        healthy: status.healthy,
        labels: (!status.labels.is_empty()).then_some(wire::Labels { labels: status.labels }),
        container_status,
        unreachable_time: status.unreachable_time,
        ..Default::default()
    }
}

fn network(network: NetworkInfo) -> wire::NetworkInfo {
    let mut addresses = network.ip_addresses;
    if addresses.is_empty() {
        addresses
            .extend(network.ip_address.map(|address| wire::IpAddress { protocol: None, ip_address: Some(address) }));
    }
    wire::NetworkInfo { ip_addresses: addresses, name: network.name, port_mappings: Vec::new() }
}

/// `[31000-31002, 31005-31005]`. What is no range is left out: the rest of the task counts.
fn ranges(text: &str) -> Vec<wire::Range> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let range = |text: &str| {
        let (begin, end) = text.split_once('-').unwrap_or((text, text));
        Some(wire::Range { begin: Some(begin.trim().parse().ok()?), end: Some(end.trim().parse().ok()?) })
    };
    inner.split(',').filter_map(range).collect()
}

fn id(value: Option<String>) -> Option<wire::Id> {
    value.map(|value| wire::Id { value: Some(value) })
}

/// What an element cannot be without.
fn named(value: Option<String>, field: &'static str, bytes: &[u8]) -> Result<String, UnreadableElement> {
    let value = value.filter(|value| !value.is_empty());
    value.ok_or_else(|| explained(UnreadableElement::Incomplete(field), bytes))
}

/// An error with what the element calls itself, where it says so.
fn explained(error: UnreadableElement, bytes: &[u8]) -> UnreadableElement {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut texts = ["id", "name", "hostname"].iter().filter_map(|member| value.get(member)?.as_str());
    match texts.find(|text| !text.is_empty()) {
        None => error,
        Some(text) => {
            let who: String = text.chars().filter(|c| !c.is_control()).take(MAX_WHO_CHARS).collect();
            UnreadableElement::Malformed(format!("{who}: {error}"))
        }
    }
}

/// As much of an element's name as an error repeats.
const MAX_WHO_CHARS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: std::fmt::Debug>(result: Result<T, UnreadableElement>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn port_ranges_in_text() {
        let read = |text: &str| -> Vec<_> {
            ranges(text).iter().map(|range| (range.begin.unwrap(), range.end.unwrap())).collect()
        };
        assert_eq!(read("[31354-31354, 31355-31360]"), [(31354, 31354), (31355, 31360)]);
        assert_eq!(read("[31000]"), [(31000, 31000)]);
        assert_eq!(read("[]"), []);
        assert_eq!(read("[a-b, 1-2, -, 3-]"), [(1, 2)]);
    }

    #[test]
    fn a_tasks_role_is_that_of_its_resources() {
        let role = |json: &str| {
            let resource = task(json.as_bytes()).unwrap().resources.remove(0);
            resource.allocation_info.and_then(|allocation| allocation.role)
        };
        assert_eq!(role(r#"{"id":"t","role":"team-a"}"#).as_deref(), Some("team-a"));
        assert_eq!(role(r#"{"id":"t"}"#), None);
    }

    #[test]
    fn statuses_are_put_in_order_of_time() {
        let task = task(
            br#"{"id":"t","statuses":[{"state":"TASK_RUNNING","timestamp":9.5,"healthy":false},
            {"state":"TASK_STARTING","timestamp":1}]}"#,
        );
        let states: Vec<_> = task.unwrap().statuses.iter().map(|status| status.state.unwrap()).collect();
        assert_eq!(states, ["TASK_STARTING", "TASK_RUNNING"].map(wire::task_state::number));
    }

    #[test]
    fn addresses_before_0_26_stand_alone() {
        let task = task(
            br#"{"id":"t","statuses":[{"container_status":{"network_infos":[{"ip_address":"10.0.0.1"},
            {"ip_address":"10.0.0.1","ip_addresses":[{"ip_address":"10.0.0.2"}]}]}}]}"#,
        );
        let status = task.unwrap().statuses.remove(0).container_status.unwrap();
        let addresses: Vec<_> =
            status.network_infos.iter().map(|network| network.ip_addresses[0].ip_address.as_deref().unwrap()).collect();
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn errors_name_the_element() {
        let text = error(task(br#"{"id":"web.1","name":"web","discovery":{"ports":{"ports":[{"number":"80"}]}}}"#));
        assert!(text.starts_with("web.1: invalid type: string \"80\", expected u32"), "{text}");
        assert_eq!(error(task(br#"{"name":"web","id":""}"#)), "web: it has no id");
        assert_eq!(error(agent(b"{}")), "it has no id");
        let text = error(agent(br#"{"id":"S0","pid":5}"#));
        assert!(text.starts_with("S0: invalid type: integer `5`, expected a string"), "{text}");
    }

    #[test]
    fn a_lost_task_among_the_completed_did_not_end() {
        let ended = |state: &str| completed_task(format!(r#"{{"id":"t","state":"{state}"}}"#).as_bytes()).unwrap();
        assert_eq!(ended("TASK_FAILED"), StatePart::CompletedTask(None, "t".into()));
        assert_eq!(ended("TASK_LOST"), StatePart::CompletedTask(None, String::new()));
    }
}
