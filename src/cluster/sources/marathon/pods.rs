//! Pods' statuses → facts. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::ports::mode;
use super::translate::{Said, SaidTask, Scope, Unread, id_of, labels, state, unreadable};
use super::wire::{PodContainer, PodContainerStatus, PodEndpoint, PodInstance, PodStatus};
use crate::cluster::event::DeclaredApp;
use crate::model::app::name_of;
use crate::model::id::TaskKey;
use crate::model::problem::Problem;
use crate::model::task::{
    AppFacts, Discovery, DiscoveryPort, Health, NetworkMode, PortMapping, PortRange, PortScope, TaskDefinition,
    TaskFacts, TaskNetworks, TaskState,
};

/// Reads a pod's status with its instances.
///
/// # Errors
/// What is wrong with it, as its own problem.
pub fn pod(raw: &RawValue, scope: &Scope) -> Result<Said, Box<Unread>> {
    let pod: PodStatus = serde_json::from_str(raw.get()).map_err(|error| unread_pod(raw, scope, &error))?;
    if pod.id.is_empty() {
        return Err(unread_pod(raw, scope, &"it has no id"));
    }
    let mut said = Said { id: pod.id.clone(), ..Said::default() };
    for container in pod.spec.containers.iter().flatten() {
        let apps = declared(&pod, container, scope, &mut said.problems);
        said.apps.extend(apps);
    }
    for raw in &pod.instances {
        let instance = match serde_json::from_str::<PodInstance>(raw.get()) {
            Ok(instance) => instance,
            Err(error) => {
                said.problems.push(*unreadable("instance", &pod.id, &error));
                let id = id_of(raw);
                let containers = pod.spec.containers.iter().flatten().filter(|_| !id.is_empty());
                said.unread.extend(containers.map(|container| task_key(&id, &container.name, scope)));
                continue;
            }
        };
        for container in instance.containers.iter().flatten() {
            match container.status.as_deref().map_or(Some(TaskState::Running), state) {
                Some(TaskState::Ended) => {}
                Some(state) => {
                    said.tasks.extend(pod_task(&pod, &instance, container, state, scope, &mut said.problems));
                }
                None => {
                    let why = format!("the state {:?} is not known", container.status.as_deref().unwrap_or_default());
                    said.problems.push(*unreadable("container", &pod.id, &why));
                    said.unread.push(task_key(&instance.id, &container.name, scope));
                }
            }
        }
    }
    said.problems.sort();
    said.problems.dedup();
    Ok(said)
}

/// What can be told of a pod that cannot be read.
fn unread_pod(raw: &RawValue, scope: &Scope, why: &dyn std::fmt::Display) -> Box<Unread> {
    let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let mut tasks = Vec::new();
    for instance in list(&value, "instances") {
        let Some(id) = instance.get("id").and_then(Value::as_str) else { continue };
        let names = list(instance, "containers").filter_map(|container| container.get("name")?.as_str());
        tasks.extend(names.map(|name| task_key(id, name, scope)));
    }
    let id = id_of(raw);
    let problem = unreadable("pod", &id, why);
    Box::new(Unread { id, tasks, problem })
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// A container of an instance is a task at Mesos, called by the instance and the container.
fn task_key(instance: &str, container: &str, scope: &Scope) -> TaskKey {
    scope.key(&format!("{instance}.{container}"))
}

/// A container of a pod as its tasks would be: with ports of their own, of which only the order counts.
fn declared(
    pod: &PodStatus,
    container: &PodContainer,
    scope: &Scope,
    problems: &mut Vec<Problem>,
) -> Option<DeclaredApp> {
    let endpoints = container.endpoints.iter().flatten().zip(1..=u16::MAX);
    let endpoints = endpoints.map(|(endpoint, number)| PodEndpoint {
        name: endpoint.name.clone(),
        allocated_host_port: Some(number),
        ..PodEndpoint::default()
    });
    let status = PodContainerStatus {
        name: container.name.clone(),
        endpoints: Some(endpoints.collect()),
        ..PodContainerStatus::default()
    };
    let instance = PodInstance { id: pod.id.clone(), ..PodInstance::default() };
    let task = pod_task(pod, &instance, &status, TaskState::Staging, scope, problems)?;
    Some(DeclaredApp { key: task.facts.key, definition: task.facts.definition })
}

fn pod_task(
    pod: &PodStatus,
    instance: &PodInstance,
    container: &PodContainerStatus,
    state: TaskState,
    scope: &Scope,
    problems: &mut Vec<Problem>,
) -> Option<SaidTask> {
    if container.name.is_empty() || instance.id.is_empty() {
        return None;
    }
    let defined = pod.spec.containers.iter().flatten().find(|defined| defined.name == container.name);
    let network = mode(pod.spec.networks.as_deref()).unwrap_or_default();
    // What a container says goes before what its pod says.
    let mut all = labels(defined.and_then(|defined| defined.labels.as_ref()), &pod.id, problems).into_vec();
    let of_pod = labels(pod.spec.labels.as_ref(), &pod.id, problems).into_vec();
    all.extend(of_pod.into_iter().filter(|label| !all.iter().any(|own| own.key == label.key)).collect::<Vec<_>>());
    let mut discovery = Vec::new();
    let mut host_ports = Vec::new();
    let mut mappings = Vec::new();
    for endpoint in container.endpoints.iter().flatten() {
        let known = defined
            .and_then(|defined| defined.endpoints.iter().flatten().find(|defined| defined.name == endpoint.name));
        let container_port = known.and_then(|known| known.container_port);
        host_ports.extend(endpoint.allocated_host_port);
        if let (Some(host_port), Some(container_port)) = (endpoint.allocated_host_port, container_port) {
            mappings.push(PortMapping { host_port, container_port, protocol: "tcp".into() });
        }
        let (number, scope) = match (network, endpoint.allocated_host_port, container_port) {
            (NetworkMode::Container, _, Some(container)) => (container, PortScope::Container),
            (_, Some(host), _) => (host, PortScope::Host),
            _ => continue,
        };
        let protocol = known.and_then(|known| known.protocol.as_ref()).map(|list| list.join(","));
        discovery.push(DiscoveryPort {
            number,
            name: endpoint.name.as_str().into(),
            protocol: protocol.as_deref().unwrap_or("tcp").into(),
            scope,
            labels: labels(known.and_then(|known| known.labels.as_ref()), "", &mut Vec::new()),
        });
    }
    let name = name_of(&pod.id);
    let definition = TaskDefinition {
        name: container.name.as_str().into(),
        labels: all.into(),
        discovery: Some(Discovery { name, ports: discovery.into() }),
        host_ports: host_ports.iter().map(|port| PortRange { begin: *port, end: *port }).collect(),
        port_mappings: mappings.into(),
        network,
        has_health_check: scope.use_health && defined.is_some_and(|defined| defined.health_check.is_some()),
        kill_grace: None,
        version: pod.spec.version.as_deref().map(Into::into),
        app: Some(Arc::new(AppFacts { id: pod.id.as_str().into(), ..AppFacts::default() })),
        role: None,
    };
    let (addresses, networks) = addresses(instance);
    let facts = TaskFacts {
        key: task_key(&instance.id, &container.name, scope),
        agent: instance.agent_id.as_deref().or(instance.agent_hostname.as_deref()).map(Into::into),
        state,
        health: if scope.use_health { pod_health(container.endpoints.iter().flatten()) } else { Health::Unknown },
        held: false,
        addresses,
        networks,
        labelled: None,
        unreachable_since: None,
        definition: Arc::new(definition),
    };
    Some(SaidTask { facts, awaited: false, host: instance.agent_hostname.clone() })
}

/// An instance's addresses, and the networks they are in where any has a name.
fn addresses(instance: &PodInstance) -> (SmallVec<[IpAddr; 1]>, Option<Arc<TaskNetworks>>) {
    let mut addresses = SmallVec::new();
    let mut networks: Vec<(Arc<str>, u16)> = Vec::new();
    for network in instance.networks.iter().flatten() {
        let before = addresses.len();
        addresses.extend(network.addresses.iter().flatten().filter_map(|text| text.parse::<IpAddr>().ok()));
        let count = u16::try_from(addresses.len() - before).unwrap_or(u16::MAX);
        networks.push((network.name.as_deref().unwrap_or_default().into(), count));
    }
    let is_named = networks.iter().any(|(name, _)| !name.is_empty());
    (addresses, is_named.then(|| Arc::new(TaskNetworks(networks.into()))))
}

fn pod_health<'a>(endpoints: impl Iterator<Item = &'a PodEndpoint>) -> Health {
    let said: Vec<bool> = endpoints.filter_map(|endpoint| endpoint.healthy).collect();
    match (said.is_empty(), said.contains(&false)) {
        (true, _) => Health::Unknown,
        (_, true) => Health::Unhealthy,
        _ => Health::Healthy,
    }
}
