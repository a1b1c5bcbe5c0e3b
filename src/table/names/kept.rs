//! What is kept of a group's answers, beside the group: its addresses, the services that it has, its facts and its ports.
//!
//! Invariants: everything is made from the group's tasks and the rules of its zone alone, neither of which changes during
//! its life (a change makes another group, new rules another zone), when it is asked for the first time; whether it is
//! there changes no answer. What a group may be asked for is known beforehand, so that questions for services which it
//! does not have cost no look at its tasks and leave nothing behind.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use super::group::{Member, TaskGroup};
use super::label::service_label;
use super::ports::GroupPorts;
use super::records::KeptRecords;
use super::rules::NamingRules;
use crate::config::checked::NameUnhealthy;

/// Services of one group that are kept. Those of a group with more, whose tasks differ in the names of their ports, are made
/// each time.
pub(super) const MOST_SERVICES: usize = 64;

/// What is kept for one group.
#[derive(Debug, Default)]
pub(super) struct GroupKept {
    addresses: OnceLock<GroupAddresses>,
    services: OnceLock<Option<GroupServices>>,
    /// Addresses of the tasks' own, as DC/OS says them.
    pub(super) containers: OnceLock<KeptRecords>,
    /// Addresses where DC/OS says that the tasks are reached.
    pub(super) reached: OnceLock<KeptRecords>,
    /// Facts of some of the tasks.
    pub(super) texts: OnceLock<KeptRecords>,
    pub(super) ports: OnceLock<GroupPorts>,
}

/// What is kept for all agents of a cluster, of which there may be as many as a group has tasks: `slave` and its services.
#[derive(Debug, Default)]
pub(crate) struct AgentsKept {
    pub(super) addresses: OnceLock<KeptRecords>,
    pub(super) services: OnceLock<KeptRecords>,
}

/// What a group's name, and the same below `slave`, are answered with.
#[derive(Debug)]
pub(super) struct GroupAddresses {
    /// Addresses of the tasks that are named.
    pub(super) of_tasks: KeptRecords,
    /// Addresses of their agents.
    pub(super) of_agents: KeptRecords,
}

/// The services of a group.
#[derive(Debug)]
pub(super) struct GroupServices {
    /// The framework's part of the group's name.
    framework: Arc<str>,
    /// Sorted by what they are asked for by.
    services: Box<[Service]>,
}

/// Whether it is a service of agents, its protocol, and its port; `None`: all ports.
type Asked = (bool, Box<str>, Option<Box<str>>);

#[derive(Debug)]
struct Service {
    on_agents: bool,
    protocol: Box<str>,
    /// `None`: all ports.
    port: Option<Box<str>>,
    records: OnceLock<KeptRecords>,
}

impl GroupKept {
    /// The addresses of the group's tasks that are named.
    pub(super) fn addresses(&self, group: &TaskGroup, unhealthy: NameUnhealthy) -> &GroupAddresses {
        self.addresses.get_or_init(|| {
            let named = group.named(unhealthy);
            let of_tasks = named.iter().flat_map(|member| member.view.addresses()).copied();
            let of_tasks = KeptRecords::of_addresses(of_tasks);
            let of_agents = KeptRecords::of_addresses(named.iter().flat_map(|member| member.agent_addresses()));
            // Without networks of their own tasks have their agents' addresses.
            let of_agents = if of_agents == of_tasks { of_tasks.clone() } else { of_agents };
            GroupAddresses { of_tasks, of_agents }
        })
    }

    /// The services of the group `task.framework`; `None`: they are not kept.
    pub(super) fn services(
        &self,
        group: &TaskGroup,
        task: &str,
        framework: &str,
        rules: &NamingRules,
    ) -> Option<&GroupServices> {
        let services = self.services.get_or_init(|| GroupServices::of(group, task, framework, rules)).as_ref();
        // A name with dots can be read as another framework's, and leads to other targets then.
        services.filter(|services| *services.framework == *framework)
    }
}

impl GroupServices {
    fn of(group: &TaskGroup, task: &str, framework: &str, rules: &NamingRules) -> Option<Self> {
        let name = format!("{task}.{framework}");
        let first = group.members.at(0)?.view.framework.clone()?;
        let is_part = |part: &Arc<str>| name.strip_suffix(&**part).is_some_and(|task| task.ends_with('.'));
        let framework = rules.framework_parts(&first.name).into_iter().find(is_part)?;
        let mut all = BTreeSet::new();
        for member in group.members.iter() {
            add_services(member, rules, &mut all);
            if all.len() > MOST_SERVICES {
                return None;
            }
        }
        let service =
            |(on_agents, protocol, port): Asked| Service { on_agents, protocol, port, records: OnceLock::new() };
        Some(Self { framework, services: all.into_iter().map(service).collect() })
    }

    /// Where the records of a service are kept; `None`: the group has no such service.
    pub(super) fn get(&self, port: Option<&str>, protocol: &str, on_agents: bool) -> Option<&OnceLock<KeptRecords>> {
        let wanted = (on_agents, protocol, port);
        let known = |service: &Service| (service.on_agents, &*service.protocol, service.port.as_deref()).cmp(&wanted);
        let at = self.services.binary_search_by(known).ok()?;
        Some(&self.services[at].records)
    }
}

/// Adds what a task's services are asked for by: `_T._PROTO` and `_PORT._T._PROTO` of the ports that it declares, else of
/// its host ports, which alone have services below `slave`.
fn add_services(member: &Member, rules: &NamingRules, all: &mut BTreeSet<Asked>) {
    let declared = member.declared_ports();
    if member.host_ports().next().is_some() {
        for protocol in ["tcp", "udp"] {
            all.insert((true, protocol.into(), None));
            if declared.is_none() {
                all.insert((false, protocol.into(), None));
            }
        }
    }
    for port in declared.unwrap_or_default() {
        let name = rules.label(&port.name);
        let name = service_label(&name);
        let mut add = |protocol: &str| {
            all.insert((false, protocol.into(), None));
            all.insert((false, protocol.into(), Some(Box::from(&*name))));
        };
        match rules.label(&port.protocol).as_str() {
            "" => ["tcp", "udp"].into_iter().for_each(add),
            protocol => add(&service_label(protocol)),
        }
    }
}
