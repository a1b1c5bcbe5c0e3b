//! Services of tasks: SRV records at `_T._PROTO.FW`, `_PORT._T._PROTO.FW` and `_T._PROTO.FW.slave`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Keeping;
use super::cluster::{ClusterNames, Findings};
use super::group::{Member, TaskGroup};
use super::label::{NAME, service_label};
use super::networks::{self, network_parents};
use super::rules::NamingRules;

/// `_SERVICE._PROTO.FRAMEWORK[.slave]`.
pub(super) struct ServiceName<'a> {
    /// What stands before the protocol, without the first underscore: the task, or `port._task`.
    pub(super) service: &'a str,
    pub(super) protocol: &'a str,
    pub(super) framework: &'a str,
    pub(super) on_agents: bool,
    /// The network that it is meant in, as a label.
    pub(super) network: Option<&'a str>,
}

impl<'a> ServiceName<'a> {
    /// What the name may mean: a framework may be called `x.slave`.
    fn readings(name: &'a str) -> Vec<Self> {
        // The protocol is the last label that begins with an underscore: frameworks' labels never do.
        let parts = name.strip_prefix('_').and_then(|service| {
            let at = service.rfind("._")?;
            let (protocol, framework) = service[at + 2..].split_once('.')?;
            Some((&service[..at], protocol, framework))
        });
        let Some((service, protocol, framework)) = parts else { return Vec::new() };
        let reading = |framework, on_agents| Self { service, protocol, framework, on_agents, network: None };
        let on_agents = framework.strip_suffix(".slave").map(|framework| reading(framework, true));
        [reading(framework, false)].into_iter().chain(on_agents).collect()
    }
}

/// A group's services that one reading of a name asks for.
struct Asked<'a> {
    group: &'a TaskGroup,
    /// The group's part of its name that stands for the task.
    task: &'a str,
    /// `None`: all ports.
    port: Option<&'a str>,
    query: &'a ServiceName<'a>,
}

impl ClusterNames {
    /// Adds the services of the tasks that a name stands for.
    pub(super) fn task_services(&self, name: &str, keeping: Keeping, found: &mut Findings) {
        self.task_services_by(name, None, keeping, found);
    }

    /// … in one network, where agents have no part. Such names are few, and asked for by few.
    pub(super) fn task_services_in(&self, name: &str, network: &str, found: &mut Findings) {
        self.task_services_by(name, Some(network), Keeping::Pass, found);
    }

    fn task_services_by(&self, name: &str, network: Option<&str>, keeping: Keeping, found: &mut Findings) {
        let readings = ServiceName::readings(name).into_iter().filter(|query| network.is_none() || !query.on_agents);
        for query in readings.map(|query| ServiceName { network, ..query }) {
            // `_a._b._tcp.fw`: port `a` of task `b`. `_a._tcp.fw`: task `a`. A discovery name as it was written may
            // have dots, so the task's part may be several labels.
            self.task_service((query.service, None), &query, keeping, found);
            for (at, _) in query.service.match_indices("._").filter(|_| !query.on_agents) {
                let (port, task) = (&query.service[..at], &query.service[at + 2..]);
                self.task_service((task, Some(port)), &query, keeping, found);
            }
        }
    }

    fn task_service(
        &self,
        (task, port): (&str, Option<&str>),
        query: &ServiceName<'_>,
        keeping: Keeping,
        found: &mut Findings,
    ) {
        let key = format!("{task}.{}", query.framework);
        let key = self.shortened.get(&*key).map_or(&*key, |whole| whole);
        let Some(group) = self.groups.get(key) else { return };
        let task = key.strip_suffix(query.framework).and_then(|task| task.strip_suffix('.')).unwrap_or(task);
        self.group_services(&Asked { group, task, port, query }, keeping, found);
    }

    fn group_services(&self, asked: &Asked<'_>, keeping: Keeping, found: &mut Findings) {
        let Asked { group, task, port, query } = *asked;
        let make = |found: &mut Findings| self.make_services(asked, found);
        let kept = group.kept().filter(|_| keeping == Keeping::Keep);
        match kept.and_then(|kept| kept.services(group, task, query.framework, &self.rules)) {
            Some(services) => {
                if let Some(kept) = services.get(port, query.protocol, query.on_agents) {
                    found.add_kept(kept.get_or_init(|| {
                        let mut made = Findings::default();
                        make(&mut made);
                        made.into_kept()
                    }));
                }
            }
            None => make(found),
        }
    }

    fn make_services(&self, asked: &Asked<'_>, found: &mut Findings) {
        let Asked { group, task, port, query } = *asked;
        // The name exists while any task of the group, named or not, declares such a port; else it is missing.
        let is_there = |member: &Member| {
            query.network.is_none() || member.declared_ports().is_some() && member.is_in(query.network, &self.rules)
        };
        let ports = |member: &Member| match is_there(member) {
            true => member_ports(member, port, query, &self.rules),
            false => Vec::new(),
        };
        if !group.members.is_empty() && group.members.iter().all(|member| ports(member).is_empty()) {
            return;
        }
        found.add([]);
        for member in group.named(self.rules.unhealthy) {
            let Some(host) = member.canonical(task) else { continue };
            let is_on_agent = query.on_agents || member.declared_ports().is_none();
            let below = if is_on_agent { ".slave".to_owned() } else { networks::below(query.network) };
            let target = self.target(&host, query.framework, &below);
            found.add(ports(member).into_iter().map(|port| self.task_srv(member, port, &target)));
        }
    }

    /// A host's name below the zone, with the framework's shortened part where it would be too long.
    pub(super) fn target(&self, host: &str, framework: &str, below: &str) -> String {
        let target = format!("{host}.{framework}{below}");
        if target.len() + 1 + self.zone.len() <= NAME {
            return target;
        }
        format!("{host}.{}{below}", self.rules.short_framework(framework))
    }
}

/// Whether a declared port's protocol is the one that a name has: one that says none has both.
pub(super) fn speaks(written: &str, protocol: &str, rules: &NamingRules) -> bool {
    match rules.label(written).as_str() {
        "" => matches!(protocol, "tcp" | "udp"),
        said => service_label(said) == protocol,
    }
}

/// The numbers of a task's ports that a service name asks for.
pub(super) fn member_ports(
    member: &Member,
    name: Option<&str>,
    query: &ServiceName<'_>,
    rules: &NamingRules,
) -> Vec<u16> {
    let any_protocol = matches!(query.protocol, "tcp" | "udp");
    let declared = member.declared_ports().filter(|_| !query.on_agents);
    let Some(declared) = declared else {
        // Host ports carry no protocol and no name: both protocols list them all.
        return if any_protocol && name.is_none() { member.host_ports().collect() } else { Vec::new() };
    };
    let speaks = |written: &str| speaks(written, query.protocol, rules);
    let called = |written: &str| name.is_none_or(|name| service_label(&rules.label(written)) == name);
    let wanted = declared.iter().filter(|port| speaks(&port.protocol) && called(&port.name));
    wanted.map(|port| port.number).collect()
}

/// Names that exist because others exist below them and that hang on one task: `_PROTO.FW`, and what lies between
/// the dots of a discovery name as it was written.
pub(crate) fn member_parents(member: &Member, names: &[Arc<str>], rules: &NamingRules) -> BTreeSet<String> {
    let mut parents = BTreeSet::new();
    if names.is_empty() {
        return parents;
    }
    let framework = member.view.framework.as_ref().map(|framework| rules.framework_parts(&framework.name));
    let protocols = protocols(member, rules);
    let declares = member.declared_ports().is_some();
    for part in framework.iter().flatten() {
        let mut around = Vec::new();
        for (protocol, below) in &protocols {
            parents.insert(format!("_{protocol}.{part}{below}"));
            if below.is_empty() && declares {
                around.push(format!("_{protocol}.{part}"));
            }
        }
        for name in names {
            let Some(task) = name.strip_suffix(&**part).and_then(|task| task.strip_suffix('.')) else { continue };
            let Some((_, inner)) = task.split_once('.') else { continue };
            let inner_canonical = member.canonical(inner);
            for below in ["", ".slave"] {
                parents.extend(inner_canonical.iter().flat_map(|inner| suffixes(inner, part, below)));
            }
            around.extend(suffixes(inner, part, ""));
            around.extend(inner_canonical.iter().flat_map(|inner| suffixes(inner, part, "")));
            for (protocol, below) in &protocols {
                parents.extend(suffixes(inner, &format!("_{protocol}.{part}"), below));
                if below.is_empty() && declares {
                    around.extend(suffixes(inner, &format!("_{protocol}.{part}"), ""));
                }
            }
        }
        parents.extend(network_parents(member, part, &around, rules));
    }
    parents
}

/// `a.b` → `a.b.REST`, `b.REST`.
fn suffixes(labels: &str, rest: &str, below: &str) -> Vec<String> {
    let starts = std::iter::once(0).chain(labels.match_indices('.').map(|(dot, _)| dot + 1));
    starts.map(|start| format!("{}.{rest}{below}", &labels[start..])).collect()
}

/// The protocols that a task's services are listed under, with what follows the framework.
fn protocols(member: &Member, rules: &NamingRules) -> BTreeSet<(String, &'static str)> {
    let mut protocols = BTreeSet::new();
    let declared = member.declared_ports();
    if member.host_ports().next().is_some() {
        for protocol in ["tcp", "udp"] {
            protocols.insert((protocol.to_owned(), ".slave"));
            if declared.is_none() {
                protocols.insert((protocol.to_owned(), ""));
            }
        }
    }
    for port in declared.unwrap_or_default() {
        match rules.label(&port.protocol).as_str() {
            "" => protocols.extend(["tcp", "udp"].map(|protocol| (protocol.to_owned(), ""))),
            protocol => drop(protocols.insert((service_label(protocol).into_owned(), ""))),
        }
    }
    protocols
}
