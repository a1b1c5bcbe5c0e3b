//! What Marathon sends, as far as it is needed. Every field may be absent: documents of 1.0 to 1.11 differ, and a
//! document that is wrong in one place must not lose the rest.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// `GET /v2/info`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Info {
    /// The framework's id at the master; absent until it is registered.
    #[serde(rename = "frameworkId")]
    pub framework_id: Option<String>,
    /// Settings.
    pub marathon_config: InfoConfig,
}

/// Settings of Marathon.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct InfoConfig {
    /// Its name at the master.
    pub framework_name: Option<String>,
    /// Its principal.
    pub mesos_principal: Option<String>,
    /// Its role.
    pub mesos_role: Option<String>,
}

/// `GET /v2/apps`: each app is read apart, so that a bad one spoils itself.
#[derive(Debug, Deserialize)]
pub struct Apps<'a> {
    /// The apps.
    #[serde(borrow)]
    pub apps: Vec<&'a RawValue>,
}

/// `GET /v2/apps/ID`.
#[derive(Debug, Deserialize)]
pub struct OneApp<'a> {
    /// The app.
    #[serde(borrow)]
    pub app: &'a RawValue,
}

/// An app.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct App {
    /// Its id.
    pub id: String,
    /// Labels; values that are no text are a fault of theirs alone.
    pub labels: Option<BTreeMap<String, Value>>,
    /// Ports in host networking.
    pub port_definitions: Option<Vec<PortDefinition>>,
    /// The same before 1.0.
    pub ports: Option<Vec<u16>>,
    /// Networks (1.5 and later).
    pub networks: Option<Vec<Network>>,
    /// An address for each task (before 1.5).
    pub ip_address: Option<IpAddressSettings>,
    /// The container.
    pub container: Option<Container>,
    /// Health checks.
    pub health_checks: Option<Vec<HealthCheck>>,
    /// What readiness checks have said during a deployment.
    pub readiness_check_results: Option<Vec<Readiness>>,
    /// Readiness checks: whether there are any is all that counts.
    pub readiness_checks: Option<Value>,
    /// Deployments that it is part of: whether there are any is all that counts.
    pub deployments: Option<Value>,
    /// Its version.
    pub version: Option<String>,
    /// How long a task may take to end.
    pub task_kill_grace_period_seconds: Option<f64>,
    /// Tasks, each read apart.
    pub tasks: Option<Vec<Box<RawValue>>>,
}

/// A port of an app.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PortDefinition {
    /// Of a port definition: the service port.
    pub port: Option<u16>,
    /// Of a port mapping: the service port.
    pub service_port: Option<u16>,
    /// Of a port mapping: the container's port.
    pub container_port: Option<u16>,
    /// Of a port mapping: whether the host has one, and which.
    pub host_port: Option<u16>,
    /// Its name.
    pub name: Option<String>,
    /// `tcp`, `udp` or `udp,tcp`.
    pub protocol: Option<String>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, Value>>,
}

/// A network that an app is attached to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    /// `host`, `container` or `container/bridge`.
    pub mode: Option<String>,
}

/// An address for each task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IpAddressSettings {
    /// Its ports.
    pub discovery: Option<IpAddressDiscovery>,
}

/// Ports of such an address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IpAddressDiscovery {
    /// The ports.
    pub ports: Option<Vec<DiscoveredPort>>,
}

/// A port of such an address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DiscoveredPort {
    /// Its number.
    pub number: Option<u16>,
    /// Its name.
    pub name: Option<String>,
    /// Its protocol.
    pub protocol: Option<String>,
}

/// A container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its ports (1.5 and later).
    pub port_mappings: Option<Vec<PortDefinition>>,
    /// Docker.
    pub docker: Option<Docker>,
}

/// Docker's part of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Docker {
    /// `HOST`, `BRIDGE` or `USER` (before 1.5).
    pub network: Option<String>,
    /// Its ports (before 1.5).
    pub port_mappings: Option<Vec<PortDefinition>>,
}

/// A health check.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HealthCheck {
    /// `HTTP`, `MESOS_HTTPS`, `TCP`, `COMMAND`, …
    pub protocol: Option<String>,
    /// The index of the port it looks at.
    pub port_index: Option<u16>,
    /// A port of its own, whatever the app's are.
    pub port: Option<u16>,
    /// The path, for HTTP.
    pub path: Option<String>,
    /// How often.
    pub interval_seconds: Option<f64>,
    /// How long an answer may take.
    pub timeout_seconds: Option<f64>,
    /// After so many failures in a row Marathon kills the task; 0: never.
    pub max_consecutive_failures: Option<u32>,
}

/// What a readiness check said of a task.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Readiness {
    /// The task.
    pub task_id: String,
    /// Whether it is ready.
    pub ready: Option<bool>,
}

/// A task.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Its agent's id.
    pub slave_id: Option<String>,
    /// Its agent's name or address.
    pub host: Option<String>,
    /// Ports on the agent.
    pub ports: Option<Vec<u16>>,
    /// Addresses of its own.
    pub ip_addresses: Option<Vec<IpAddress>>,
    /// Its state.
    pub state: Option<String>,
    /// The app's version that it runs.
    pub version: Option<String>,
    /// What health checks said; entries may be null.
    pub health_check_results: Option<Vec<Option<HealthResult>>>,
}

/// An address.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpAddress {
    /// The address.
    pub ip_address: Option<String>,
}

/// What a health check said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HealthResult {
    /// Whether it was good.
    pub alive: Option<bool>,
}

/// A pod's status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// Its id.
    pub id: String,
    /// How it is defined.
    pub spec: PodSpec,
    /// Its instances, each read apart.
    pub instances: Vec<Box<RawValue>>,
}

/// A pod's definition.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodSpec {
    /// Labels of the pod.
    pub labels: Option<BTreeMap<String, Value>>,
    /// Its version.
    pub version: Option<String>,
    /// Its networks.
    pub networks: Option<Vec<Network>>,
    /// Its containers.
    pub containers: Option<Vec<PodContainer>>,
}

/// A container of a pod's definition.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodContainer {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Option<BTreeMap<String, Value>>,
    /// Its ports.
    pub endpoints: Option<Vec<PodEndpoint>>,
    /// Its health check.
    pub health_check: Option<Value>,
}

/// A port of a pod's container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodEndpoint {
    /// Its name.
    pub name: String,
    /// In the definition: the container's port.
    pub container_port: Option<u16>,
    /// In the status: the port on the agent.
    pub allocated_host_port: Option<u16>,
    /// In the definition: its protocols.
    pub protocol: Option<Vec<String>>,
    /// In the definition: its labels.
    pub labels: Option<BTreeMap<String, Value>>,
    /// In the status: what the health check says.
    pub healthy: Option<bool>,
}

/// An instance of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodInstance {
    /// Its id.
    pub id: String,
    /// Its agent's name or address.
    pub agent_hostname: Option<String>,
    /// Its agent's id.
    pub agent_id: Option<String>,
    /// Its addresses.
    pub networks: Option<Vec<PodNetwork>>,
    /// Its containers.
    pub containers: Option<Vec<PodContainerStatus>>,
}

/// A network of a pod's instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodNetwork {
    /// Its name.
    pub name: Option<String>,
    /// Its addresses.
    pub addresses: Option<Vec<String>>,
}

/// A container of a pod's instance.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodContainerStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: Option<String>,
    /// Its ports.
    pub endpoints: Option<Vec<PodEndpoint>>,
}
