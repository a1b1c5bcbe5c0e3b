//! The wire shapes that Marathon's tasks and Mesos' agents have.
//!
//! Pure. Shapes follow what a real master says of host-network tasks: one-port `ports` ranges, `network-scope=host`
//! on the discovery port, the agent's address in every status of an executor and in none of the master's own.

use std::net::{IpAddr, SocketAddr};

use super::app::{AppProtocol, AppSpec};
use super::cluster::TaskState;
use crate::cluster::sources::mesos::wire;
use crate::model::time::Timestamp;

pub(super) const MESOS_VERSION: &str = "1.12.0";
const AGENT_PORT: u16 = 5051;
const REGION: &str = "demo";

pub(super) fn id(value: &str) -> Option<wire::Id> {
    Some(wire::Id { value: Some(value.to_owned()) })
}

/// A task as it is right after its launch.
pub(super) fn task(app: &AppSpec, task_id: &str, framework: &str, agent: &str, port: u16) -> wire::Task {
    let version = ("version".to_owned(), app.version_name());
    wire::Task {
        name: Some(app.name.clone()),
        task_id: id(task_id),
        framework_id: id(framework),
        agent_id: id(agent),
        state: Some(TaskState::Staging.number()),
        resources: vec![ports_resource(port)],
        labels: Some(labels(app.labels.iter().chain([&version]))),
        discovery: Some(discovery(app, port)),
        health_check: app.checked.then(|| health_check(app.protocol, port)),
        kill_policy: Some(wire::KillPolicy {
            grace_period: Some(wire::Nanoseconds {
                nanoseconds: Some(i64::try_from(app.kill_grace.as_nanos()).unwrap_or(i64::MAX)),
            }),
        }),
        ..wire::Task::default()
    }
}

fn labels<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> wire::Labels {
    let label = |(key, value): &(String, String)| wire::Label { key: Some(key.clone()), value: Some(value.clone()) };
    wire::Labels { labels: pairs.map(label).collect() }
}

fn discovery(app: &AppSpec, port: u16) -> wire::DiscoveryInfo {
    let port_labels =
        [("VIP_0".to_owned(), format!("/{}:80", app.name)), ("network-scope".to_owned(), "host".to_owned())];
    let port = wire::Port {
        number: Some(port.into()),
        name: Some(app.port_name().to_owned()),
        protocol: Some("tcp".to_owned()),
        labels: Some(labels(port_labels.iter())),
    };
    wire::DiscoveryInfo {
        visibility: Some(wire::visibility::number("FRAMEWORK")),
        name: Some(app.name.clone()),
        ports: Some(wire::Ports { ports: vec![port] }),
        ..wire::DiscoveryInfo::default()
    }
}

fn health_check(protocol: AppProtocol, port: u16) -> wire::HealthCheck {
    match protocol {
        AppProtocol::Http => wire::HealthCheck {
            r#type: Some(wire::health_check_type::number("HTTP")),
            http: Some(wire::HttpCheck { port: Some(port.into()), path: Some("/health".to_owned()) }),
        },
        AppProtocol::TcpEcho => {
            wire::HealthCheck { r#type: Some(wire::health_check_type::number("TCP")), ..wire::HealthCheck::default() }
        }
    }
}

fn ports_resource(port: u16) -> wire::Resource {
    let range = wire::Range { begin: Some(port.into()), end: Some(port.into()) };
    wire::Resource {
        name: Some("ports".to_owned()),
        r#type: Some(wire::value_type::number("RANGES")),
        ranges: Some(wire::Ranges { range: vec![range] }),
        allocation_info: Some(wire::AllocationInfo { role: Some("*".to_owned()) }),
    }
}

/// A status that an executor sends, with the task's address.
pub(super) fn executor_status(task: &wire::Task, state: TaskState, ip: IpAddr, now: Timestamp) -> wire::TaskStatus {
    let protocol = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let address =
        wire::IpAddress { protocol: Some(wire::ip_protocol::number(protocol)), ip_address: Some(ip.to_string()) };
    let network = wire::NetworkInfo { ip_addresses: vec![address], ..wire::NetworkInfo::default() };
    wire::TaskStatus {
        source: Some(wire::status_source::number("SOURCE_EXECUTOR")),
        container_status: Some(wire::ContainerStatus { network_infos: vec![network] }),
        ..bare_status(task, state, now)
    }
}

/// A status that the master makes by itself: it knows no address and no health.
pub(super) fn master_status(task: &wire::Task, state: TaskState, now: Timestamp) -> wire::TaskStatus {
    let nanoseconds = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let unreachable = matches!(state, TaskState::Unreachable);
    wire::TaskStatus {
        source: Some(wire::status_source::number("SOURCE_MASTER")),
        unreachable_time: unreachable.then_some(wire::Nanoseconds { nanoseconds: Some(nanoseconds) }),
        ..bare_status(task, state, now)
    }
}

fn bare_status(task: &wire::Task, state: TaskState, now: Timestamp) -> wire::TaskStatus {
    wire::TaskStatus {
        task_id: task.task_id.clone(),
        agent_id: task.agent_id.clone(),
        state: Some(state.number()),
        timestamp: Some(seconds(now)),
        ..wire::TaskStatus::default()
    }
}

/// Keeps the latest status per consecutive state, as a master does.
pub(super) fn keep_status(task: &mut wire::Task, status: wire::TaskStatus) {
    task.state = status.state;
    match task.statuses.last_mut() {
        Some(last) if last.state == status.state => *last = status,
        _ => task.statuses.push(status),
    }
}

pub(super) fn agent_info(agent: &str, hostname: &str, zone: &str) -> wire::AgentInfo {
    let name = |name: &str| Some(wire::DomainName { name: Some(name.to_owned()) });
    let fault_domain = wire::FaultDomain { region: name(REGION), zone: name(zone) };
    wire::AgentInfo {
        hostname: Some(hostname.to_owned()),
        id: id(agent),
        port: Some(AGENT_PORT.into()),
        domain: Some(wire::DomainInfo { fault_domain: Some(fault_domain) }),
    }
}

pub(super) fn agent(info: &wire::AgentInfo, ip: IpAddr) -> wire::Agent {
    wire::Agent {
        agent_info: Some(info.clone()),
        active: Some(true),
        version: Some(MESOS_VERSION.to_owned()),
        pid: Some(format!("slave(1)@{}", SocketAddr::new(ip, AGENT_PORT))),
        deactivated: Some(false),
    }
}

pub(super) fn framework_info(framework: &str) -> wire::FrameworkInfo {
    wire::FrameworkInfo {
        user: Some("demo".to_owned()),
        name: Some("marathon".to_owned()),
        id: id(framework),
        roles: vec!["*".to_owned()],
        hostname: Some("127.0.0.1".to_owned()),
        principal: Some("marathon".to_owned()),
        ..wire::FrameworkInfo::default()
    }
}

pub(super) fn event(kind: &str) -> wire::Event {
    wire::Event { r#type: Some(wire::event_type::number(kind)), ..wire::Event::default() }
}

pub(super) fn task_added(task: &wire::Task) -> wire::Event {
    wire::Event { task_added: Some(wire::TaskAdded { task: Some(task.clone()) }), ..event("TASK_ADDED") }
}

pub(super) fn task_updated(task: &wire::Task, status: wire::TaskStatus) -> wire::Event {
    let update = wire::TaskUpdated { framework_id: task.framework_id.clone(), state: task.state, status: Some(status) };
    wire::Event { task_updated: Some(update), ..event("TASK_UPDATED") }
}

/// Seconds since the epoch, as statuses have them.
pub(super) fn seconds(time: Timestamp) -> f64 {
    std::time::Duration::from_millis(time.0).as_secs_f64()
}
