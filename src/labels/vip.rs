//! Labels that ask for a virtual address, as DC/OS reads them: a discovery port's `VIP_0=/name:80`, or a task's
//! `VIP_PORT0=tcp://name:80`. An address in place of the name needs no DNS name and makes none.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::task::TaskDefinition;

/// The most virtual addresses of one task.
const MAX_VIPS: usize = 64;

/// The names of a task's virtual addresses, as written.
pub fn vip_names(definition: &TaskDefinition) -> BTreeSet<&str> {
    let ports = definition.discovery.iter().flat_map(|discovery| discovery.ports.iter());
    let of_ports =
        ports.flat_map(|port| port.labels.iter()).filter(|label| is_key(&label.key)).map(|label| &*label.value);
    let of_task = definition
        .labels
        .iter()
        .filter(|label| is_task_key(&label.key))
        .filter_map(|label| ["tcp://", "udp://"].iter().find_map(|scheme| label.value.strip_prefix(scheme)));
    of_ports.chain(of_task).filter_map(name).take(MAX_VIPS).collect()
}

fn is_key(key: &str) -> bool {
    key.starts_with("VIP") || key.starts_with("vip")
}

fn is_task_key(key: &str) -> bool {
    let number = key.get(..8).filter(|start| start.eq_ignore_ascii_case("VIP_PORT")).map(|_| &key[8..]);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name before the last colon, if a port follows it and it is no address.
fn name(value: &str) -> Option<&str> {
    let (name, port) = value.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    (port > 0 && !name.is_empty() && bare.parse::<IpAddr>().is_err()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::{Discovery, DiscoveryPort, Label};

    fn label(key: &str, value: &str) -> Label {
        Label { key: key.into(), value: value.into() }
    }

    #[test]
    fn names_are_read_from_ports_and_tasks() {
        let port = |labels: Vec<Label>| DiscoveryPort {
            number: 80,
            name: "http".into(),
            protocol: "tcp".into(),
            scope: Default::default(),
            labels: labels.into(),
        };
        let ports = [
            port(vec![label("VIP_0", "/web:80"), label("VIP_1", "10.0.0.1:80"), label("other", "/no:80")]),
            port(vec![label("vip", "api:8080"), label("VIP_2", "[fd01::1]:80"), label("VIP_3", "nothing")]),
        ];
        let definition = TaskDefinition {
            discovery: Some(Discovery { name: "web".into(), ports: ports.into() }),
            labels: [
                label("VIP_PORT0", "tcp://db:5432"),
                label("vip_port1", "udp://syslog:514"),
                label("VIP_PORTx", "tcp://no:1"),
                label("VIP_PORT2", "no:1"),
            ]
            .into(),
            ..TaskDefinition::default()
        };
        assert_eq!(vip_names(&definition).into_iter().collect::<Vec<_>>(), ["/web", "api", "db", "syslog"]);
    }
}
