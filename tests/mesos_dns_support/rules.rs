//! Mesos-DNS's naming rules a second time, as plainly as they can be written: the whole zone in one map, names made by
//! joining strings. It shares nothing with the program and is what the program's names are compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

/// A cluster, reduced to what names are made of.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub leader: Option<SocketAddr>,
    pub masters: Vec<SocketAddr>,
    pub agents: Vec<Agent>,
    pub frameworks: Vec<Framework>,
}

#[derive(Clone, Debug, Default)]
pub struct Agent {
    pub id: String,
    pub hostname: String,
    pub address: Option<IpAddr>,
    pub port: u16,
}

#[derive(Clone, Debug, Default)]
pub struct Framework {
    pub id: String,
    pub name: String,
    pub hostname: String,
    /// From its pid.
    pub address: Option<SocketAddr>,
    pub tasks: Vec<Task>,
}

/// Number, protocol and name of a declared port.
pub type Port = (u16, String, String);

#[derive(Clone, Debug, Default)]
pub struct Task {
    pub id: String,
    pub name: String,
    pub agent: String,
    pub state: String,
    pub host_ports: Vec<u16>,
    /// Name and ports.
    pub discovery: Option<(String, Vec<Port>)>,
    pub statuses: Vec<Status>,
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub state: String,
    pub timestamp: f64,
    pub network: Vec<String>,
    pub labels: Vec<(String, String)>,
}

/// The settings that change names.
#[derive(Clone, Debug)]
pub struct Rules {
    pub domain: &'static str,
    pub rfc952: bool,
    pub sources: &'static [&'static str],
    pub weight: u16,
}

impl Default for Rules {
    fn default() -> Self {
        Self { domain: "mesos", rfc952: false, sources: &["netinfo", "mesos", "host"], weight: 1 }
    }
}

/// Name (without final dot) → records as text.
pub type Zone = BTreeMap<String, BTreeSet<String>>;

pub fn zone(cluster: &Cluster, rules: &Rules) -> Zone {
    let d = rules.domain;
    let mut zone = Zone::new();
    let mut add = |name: String, record: String| {
        zone.entry(name).or_default().insert(record);
    };
    if let Some(leader) = cluster.leader {
        add(format!("leader.{d}"), address(leader.ip()));
        for protocol in ["tcp", "udp"] {
            add(format!("_leader._{protocol}.{d}"), srv(rules, leader.port(), &format!("leader.{d}")));
        }
    }
    for (number, master) in numbered(cluster).into_iter().enumerate() {
        add(format!("master{number}.{d}"), address(master));
    }
    for master in cluster.masters.iter().chain(&cluster.leader) {
        add(format!("master.{d}"), address(master.ip()));
    }
    for agent in &cluster.agents {
        if let Some(ip) = agent.address {
            add(format!("slave.{d}"), address(ip));
            add(format!("_slave._tcp.{d}"), srv(rules, agent.port, &format!("slave.{d}")));
        }
    }
    for framework in &cluster.frameworks {
        let f = fragment(&framework.name, rules.rfc952);
        let resolved = || cluster.agents.iter().find(|agent| agent.hostname == framework.hostname)?.address;
        let pid = framework.address.map(|address| address.ip());
        if let Some(ip) = pid.or_else(|| framework.hostname.parse().ok()).or_else(resolved) {
            add(format!("{f}.{d}"), address(ip));
            if let Some(pid) = framework.address {
                add(format!("_framework._tcp.{f}.{d}"), srv(rules, pid.port(), &format!("{f}.{d}")));
            }
        }
        for task in &framework.tasks {
            let Some(agent) = cluster.agents.iter().find(|agent| agent.id == task.agent) else { continue };
            if task.state != "TASK_RUNNING" {
                continue;
            }
            let discovered = task.discovery.as_ref().filter(|(name, _)| !name.is_empty());
            let mut labels = vec![label(discovered.map_or(&task.name, |(name, _)| name), rules.rfc952)];
            // A raw name with capitals is stored, and cannot be asked for.
            labels.extend(discovered.map(|(name, _)| name.clone()).filter(|name| *name == name.to_lowercase()));
            for t in labels {
                for (name, record) in task_records(&t, &f, task, agent, rules) {
                    add(name, record);
                }
            }
        }
    }
    zone
}

fn task_records(t: &str, f: &str, task: &Task, agent: &Agent, rules: &Rules) -> Vec<(String, String)> {
    let d = rules.domain;
    let hash = hash(&task.id);
    let tail = agent.id.split('-').next_back().unwrap().to_lowercase();
    let canonical = format!("{t}-{hash}-{tail}.{f}");
    let mut records = Vec::new();
    for ip in task_addresses(task, agent, rules) {
        records.push((format!("{t}.{f}.{d}"), address(ip)));
        records.push((format!("{canonical}.{d}"), address(ip)));
    }
    if let Some(ip) = agent.address {
        records.push((format!("{t}.{f}.slave.{d}"), address(ip)));
        records.push((format!("{canonical}.slave.{d}"), address(ip)));
    }
    let discovered = task.discovery.as_ref().filter(|(name, _)| !name.is_empty());
    for port in &task.host_ports {
        let target = srv(rules, *port, &format!("{canonical}.slave.{d}"));
        for protocol in ["tcp", "udp"] {
            records.push((format!("_{t}._{protocol}.{f}.slave.{d}"), target.clone()));
            if discovered.is_none() {
                records.push((format!("_{t}._{protocol}.{f}.{d}"), target.clone()));
            }
        }
    }
    for (number, protocol, name) in discovered.iter().flat_map(|(_, ports)| ports) {
        let target = srv(rules, *number, &format!("{canonical}.{d}"));
        let protocols = match label(protocol, rules.rfc952) {
            empty if empty.is_empty() => vec!["tcp".to_owned(), "udp".to_owned()],
            one => vec![one],
        };
        for protocol in protocols {
            records.push((format!("_{t}._{protocol}.{f}.{d}"), target.clone()));
            let port = label(name, rules.rfc952);
            if !port.is_empty() {
                records.push((format!("_{port}._{t}._{protocol}.{f}.{d}"), target.clone()));
            }
        }
    }
    records
}

fn task_addresses(task: &Task, agent: &Agent, rules: &Rules) -> Vec<IpAddr> {
    let mut newest: Option<&Status> = None;
    for status in task.statuses.iter().filter(|status| status.state == "TASK_RUNNING") {
        if newest.is_none_or(|newest| status.timestamp > newest.timestamp) {
            newest = Some(status);
        }
    }
    let labelled = |key: &str| -> Vec<String> {
        let labels = newest.iter().flat_map(|status| &status.labels);
        labels.filter(|(known, _)| known == key).map(|(_, value)| value.clone()).collect()
    };
    for source in rules.sources {
        let texts = match *source {
            "host" => agent.address.iter().map(ToString::to_string).collect(),
            "netinfo" => newest.map(|status| status.network.clone()).unwrap_or_default(),
            "docker" => labelled("Docker.NetworkSettings.IPAddress"),
            "mesos" => labelled("MesosContainerizer.NetworkSettings.IPAddress"),
            other => panic!("no source {other}"),
        };
        let addresses: Vec<IpAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        if !addresses.is_empty() {
            return addresses;
        }
    }
    Vec::new()
}

fn numbered(cluster: &Cluster) -> Vec<IpAddr> {
    let mut in_master: BTreeSet<IpAddr> = cluster.leader.iter().map(SocketAddr::ip).collect();
    let mut numbered = Vec::new();
    let mut leader_done = false;
    for master in &cluster.masters {
        if Some(*master) == cluster.leader {
            if !leader_done {
                numbered.push(master.ip());
                leader_done = true;
            }
        } else if in_master.insert(master.ip()) {
            numbered.push(master.ip());
        }
    }
    if let Some(leader) = cluster.leader.filter(|_| !leader_done) {
        numbered.push(leader.ip());
    }
    numbered
}

fn address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("A {ip}"),
        IpAddr::V6(ip) => format!("AAAA {ip}"),
    }
}

fn srv(rules: &Rules, port: u16, target: &str) -> String {
    format!("SRV 0 {} {port} {target}", rules.weight)
}

/// dns.md's steps 1 to 3, on characters.
pub fn label(text: &str, rfc952: bool) -> String {
    let mut chars: Vec<char> = Vec::new();
    for c in text.chars() {
        match c {
            'A'..='Z' => chars.push(c.to_ascii_lowercase()),
            'a'..='z' | '0'..='9' => chars.push(c),
            '-' | '.' | '_' => chars.push('-'),
            _ => {}
        }
    }
    let is_cut = |c: &char| *c == '-' || (rfc952 && c.is_ascii_digit());
    while chars.first().is_some_and(is_cut) {
        chars.remove(0);
    }
    let size = chars.len().min(if rfc952 { 24 } else { 63 });
    let mut head = chars[..size].to_vec();
    while head.last() == Some(&'-') {
        head.pop();
    }
    if head.len() < size {
        let mut tail = chars[size..].to_vec();
        while tail.first() == Some(&'-') {
            tail.remove(0);
        }
        tail.truncate(size - head.len());
        head.extend(tail);
    }
    head.into_iter().collect()
}

pub fn fragment(text: &str, rfc952: bool) -> String {
    let labels: Vec<String> = text.split('.').map(|part| label(part, rfc952)).filter(|l| !l.is_empty()).collect();
    labels.join(".")
}

/// The first five characters of the zbase32 of the SHA-1, bit by bit.
pub fn hash(id: &str) -> String {
    let digest = Sha1::digest(id.as_bytes());
    let bit = |at: usize| usize::from(digest[at / 8] >> (7 - at % 8) & 1);
    let letter = |at: usize| (0..5).fold(0, |value, i| value * 2 + bit(at * 5 + i));
    (0..5).map(|at| char::from(b"ybndrfg8ejkmcpqxot1uwisza345h769"[letter(at)])).collect()
}

/// Whether a name can be asked for.
pub fn fits(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| !label.is_empty() && label.len() <= 63)
}
