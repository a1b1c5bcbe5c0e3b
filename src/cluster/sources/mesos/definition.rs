//! What is fixed when a Mesos task is launched: wire messages → [`TaskDefinition`].
//!
//! Pure but for the interner. Numbers that are no ports are left out, never an error: the rest of the task counts.

use std::sync::Arc;
use std::time::Duration;

use super::wire;
use crate::model::id::Version;
use crate::model::intern::Interner;
use crate::model::task::{
    Discovery, DiscoveryPort, Label, NetworkMode, PortMapping, PortRange, PortScope, TaskDefinition,
};

/// `ContainerInfo.Type.DOCKER`.
const DOCKER: i32 = 1;
/// `ContainerInfo.DockerInfo.Network`.
const DOCKER_BRIDGE: i32 = 2;
const DOCKER_NONE: i32 = 3;
const DOCKER_USER: i32 = 4;

/// The network that Marathon attaches a Mesos container to for the mode `container/bridge` (its setting
/// `mesos_bridge_name`): reached through mapped ports on the agent, as a Docker bridge is.
const MESOS_BRIDGE: &str = "mesos-bridge";

/// The definition of a task.
pub fn definition(task: &wire::Task, strings: &mut Interner) -> TaskDefinition {
    TaskDefinition {
        name: strings.intern(task.name.as_deref().unwrap_or_default()),
        labels: task_labels(task, strings),
        discovery: task.discovery.as_ref().map(|info| discovery(info, strings)),
        host_ports: host_ports(&task.resources),
        port_mappings: port_mappings(task.container.as_ref(), strings),
        network: network(task.container.as_ref()),
        has_health_check: task.health_check.is_some(),
        kill_grace: kill_grace(task.kill_policy.as_ref()),
        version: version(task.discovery.as_ref(), strings),
        app: None,
        role: role(&task.resources, strings),
    }
}

/// The role that the task's resources are allocated to: all of them to one.
fn role(resources: &[wire::Resource], strings: &mut Interner) -> Option<Arc<str>> {
    let allocated = resources.iter().filter_map(|resource| resource.allocation_info.as_ref()?.role.as_deref());
    allocated.filter(|role| !role.is_empty()).map(|role| strings.intern(role)).next()
}

fn task_labels(task: &wire::Task, strings: &mut Interner) -> Arc<[Label]> {
    let own = labels(task.labels.as_ref(), strings);
    strings.intern_labels(own.into())
}

fn labels(labels: Option<&wire::Labels>, strings: &mut Interner) -> Box<[Label]> {
    let Some(labels) = labels else { return Box::default() };
    let label = |label: &wire::Label| Label {
        key: strings.intern(label.key.as_deref().unwrap_or_default()),
        value: strings.intern(label.value.as_deref().unwrap_or_default()),
    };
    labels.labels.iter().map(label).collect()
}

fn discovery(info: &wire::DiscoveryInfo, strings: &mut Interner) -> Discovery {
    let ports = info.ports.iter().flat_map(|ports| &ports.ports);
    Discovery {
        name: strings.intern(info.name.as_deref().unwrap_or_default()),
        ports: ports.filter_map(|port| discovery_port(port, strings)).collect(),
    }
}

fn discovery_port(port: &wire::Port, strings: &mut Interner) -> Option<DiscoveryPort> {
    let labels = labels(port.labels.as_ref(), strings);
    let scope = labels.iter().find(|label| &*label.key == "network-scope");
    Some(DiscoveryPort {
        number: u16::try_from(port.number?).ok()?,
        name: strings.intern(port.name.as_deref().unwrap_or_default()),
        protocol: strings.intern(port.protocol.as_deref().unwrap_or_default()),
        scope: match scope.map(|label| &*label.value) {
            Some("host") => PortScope::Host,
            Some("container") => PortScope::Container,
            _ => PortScope::Unspecified,
        },
        labels,
    })
}

/// The ranges of the `ports` resources, in the order written.
fn host_ports(resources: &[wire::Resource]) -> Box<[PortRange]> {
    let ports = resources.iter().filter(|resource| resource.name.as_deref() == Some("ports"));
    ports.flat_map(|resource| &resource.ranges).flat_map(|ranges| &ranges.range).filter_map(port_range).collect()
}

fn port_range(range: &wire::Range) -> Option<PortRange> {
    let begin = u16::try_from(range.begin?).ok()?;
    let end = u16::try_from(range.end?.min(u64::from(u16::MAX))).ok()?;
    (begin <= end).then_some(PortRange { begin, end })
}

fn port_mappings(container: Option<&wire::ContainerInfo>, strings: &mut Interner) -> Box<[PortMapping]> {
    let Some(container) = container else { return Box::default() };
    let docker = container.docker.iter().flat_map(|docker| &docker.port_mappings);
    let networks = container.network_infos.iter().flat_map(|network| &network.port_mappings);
    let mapping = |mapping: &wire::PortMapping| {
        Some(PortMapping {
            host_port: u16::try_from(mapping.host_port?).ok()?,
            container_port: u16::try_from(mapping.container_port?).ok()?,
            protocol: strings.intern(mapping.protocol.as_deref().unwrap_or_default()),
        })
    };
    docker.chain(networks).filter_map(mapping).collect()
}

/// How the task is attached to the network. Without a word about it: to the agent's own.
fn network(container: Option<&wire::ContainerInfo>) -> NetworkMode {
    let Some(container) = container else { return NetworkMode::Host };
    let docker = container.docker.as_ref().filter(|_| container.r#type.is_none_or(|kind| kind == DOCKER));
    match docker.and_then(|docker| docker.network) {
        Some(DOCKER_BRIDGE) => return NetworkMode::Bridge,
        Some(DOCKER_USER | DOCKER_NONE) => return NetworkMode::Container,
        _ => {}
    }
    match container.network_infos.iter().find_map(|network| network.name.as_deref()) {
        None => NetworkMode::Host,
        Some(MESOS_BRIDGE) => NetworkMode::Bridge,
        Some(_) => NetworkMode::Container,
    }
}

fn kill_grace(policy: Option<&wire::KillPolicy>) -> Option<Duration> {
    let nanoseconds = policy?.grace_period.as_ref()?.nanoseconds?;
    Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

fn version(info: Option<&wire::DiscoveryInfo>, strings: &mut Interner) -> Option<Version> {
    let version = info?.version.as_deref().filter(|version| !version.is_empty())?;
    Some(strings.intern(version).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> TaskDefinition {
        definition(&serde_json::from_str(json).unwrap(), &mut Interner::default())
    }

    #[test]
    fn a_task_has_the_role_that_its_resources_are_allocated_to() {
        let role = |resources: &str| of(&format!(r#"{{"resources":[{resources}]}}"#)).role;
        let cpus = r#"{"name":"cpus","allocation_info":{"role":"team-a"}}"#;
        assert_eq!(role(cpus).as_deref(), Some("team-a"));
        assert_eq!(role(&format!(r#"{{"name":"ports"}},{cpus}"#)).as_deref(), Some("team-a"));
        assert_eq!(role(r#"{"name":"cpus"}"#), None);
    }

    #[test]
    fn network_modes() {
        for (container, expected) in [
            (r#"{"type":"MESOS"}"#, NetworkMode::Host),
            (r#"{"type":"DOCKER","docker":{"image":"a"}}"#, NetworkMode::Host),
            (r#"{"type":"DOCKER","docker":{"image":"a","network":"HOST"}}"#, NetworkMode::Host),
            (r#"{"type":"DOCKER","docker":{"image":"a","network":"BRIDGE"}}"#, NetworkMode::Bridge),
            (
                r#"{"type":"DOCKER","docker":{"network":"USER"},"network_infos":[{"name":"dcos"}]}"#,
                NetworkMode::Container,
            ),
            (r#"{"type":"MESOS","network_infos":[{"name":"dcos"}]}"#, NetworkMode::Container),
            (r#"{"type":"MESOS","network_infos":[{"name":"mesos-bridge"}]}"#, NetworkMode::Bridge),
            (r#"{"type":"MESOS","network_infos":[{}]}"#, NetworkMode::Host),
        ] {
            assert_eq!(of(&format!(r#"{{"container":{container}}}"#)).network, expected, "{container}");
        }
        assert_eq!(of("{}").network, NetworkMode::Host);
    }

    #[test]
    fn port_resources_keep_their_order_and_drop_what_is_no_port() {
        let task = r#"{"resources":[{"name":"mem"},{"name":"ports","ranges":{"range":[{"begin":31704,"end":31704},
            {"begin":31700,"end":31702},{"begin":9,"end":3},{"begin":70000,"end":70001},{"begin":65530,"end":70000}]}}]}"#;
        let ranges = of(task).host_ports;
        let ranges: Vec<_> = ranges.iter().map(|range| (range.begin, range.end)).collect();
        assert_eq!(ranges, [(31704, 31704), (31700, 31702), (65530, 65535)]);
    }

    #[test]
    fn mappings_come_from_docker_and_from_networks() {
        let task = r#"{"container":{"type":"DOCKER","docker":{"port_mappings":[{"host_port":31500,"container_port":80,
            "protocol":"tcp"}]},"network_infos":[{"name":"dcos","port_mappings":[{"host_port":31501,"container_port":81}]}]}}"#;
        let mappings: Vec<_> = of(task).port_mappings.iter().map(|m| (m.host_port, m.container_port)).collect();
        assert_eq!(mappings, [(31500, 80), (31501, 81)]);
    }

    #[test]
    fn discovery_ports_say_whose_they_are() {
        let task = r#"{"discovery":{"name":"web","version":"2","ports":{"ports":[
            {"number":31500,"name":"http","protocol":"tcp","labels":{"labels":[{"key":"network-scope","value":"host"}]}},
            {"number":80,"labels":{"labels":[{"key":"network-scope","value":"container"},{"key":"VIP_0"}]}},
            {"number":81},{"number":70000}]}}}"#;
        let definition = of(task);
        let ports = definition.discovery.unwrap().ports;
        let scopes: Vec<_> = ports.iter().map(|port| (port.number, port.scope)).collect();
        assert_eq!(scopes, [(31500, PortScope::Host), (80, PortScope::Container), (81, PortScope::Unspecified)]);
        assert_eq!(&*ports[1].labels[1].value, "");
        assert_eq!(definition.version.unwrap().as_str(), "2");
    }

    #[test]
    fn grace_is_a_duration() {
        let task = r#"{"kill_policy":{"grace_period":{"nanoseconds":3000000000}},"health_check":{"type":"HTTP"}}"#;
        assert_eq!(of(task).kill_grace, Some(Duration::from_secs(3)));
        assert!(of(task).has_health_check);
        assert_eq!(of(r#"{"kill_policy":{"grace_period":{"nanoseconds":-1}}}"#).kill_grace, None);
    }
}
