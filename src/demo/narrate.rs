//! What the demo says: the opening text, and a line for each thing that happens.
//!
//! Pure, but for the names the narrator remembers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::control::COMMANDS;
use crate::cluster::sources::mesos::wire;

/// Where things are, for the opening text.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The DNS server.
    pub dns: SocketAddr,
    /// The proxy.
    pub proxy: SocketAddr,
    /// The admin API.
    pub admin: SocketAddr,
    /// The socket of the admin API, which takes orders.
    pub orders: PathBuf,
    /// The zone that names are in.
    pub zone: String,
}

/// The opening text: where everything is and what to try.
pub fn opening(masters: &[SocketAddr], control: SocketAddr, addresses: &Addresses) -> String {
    let Addresses { dns, proxy, admin, orders, zone } = addresses;
    let orders = orders.display();
    let masters = masters.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    let (dns_ip, dns_port) = (dns.ip(), dns.port());
    format!(
        "An embedded Mesos cluster is running. Masters: {masters}

Names:    dig @{dns_ip} -p {dns_port} web.marathon.{zone}
          dig @{dns_ip} -p {dns_port} _web._tcp.marathon.{zone} SRV
Traffic:  curl -H 'Host: web.demo.localhost' http://{proxy}/
          curl -H 'Host: web.demo.localhost' http://{proxy}/api
          curl -H 'Host: web.demo.localhost' 'http://{proxy}/slow?ms=2000'
Why:      curl 'http://{admin}/v1/explain?url=http://web.demo.localhost/'
State:    curl http://{admin}/v1/services
          curl http://{control}/demo
Deploys:  curl http://{admin}/v1/deploys
Orders:   pointsman --admin {orders} drain agent 127.0.0.2
          pointsman --admin {orders} undrain agent 127.0.0.2
Act:      curl -X POST 'http://{control}/demo/deploy?app=web'    # answers when the deploy is over: ask from another terminal
          curl -X POST 'http://{control}/demo/scale?app=web&n=5'
          curl -X POST 'http://{control}/demo/crash?app=web'
          curl -X POST http://{control}/demo/kill-agent
          curl -X POST http://{control}/demo/revive-agent
          curl -X POST http://{control}/demo/failover
Or type:  {COMMANDS}, q[uit]

"
    )
}

/// Tells events as lines.
#[derive(Debug, Default)]
pub struct Narrator {
    tasks: BTreeMap<String, Known>,
    agents: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Known {
    name: String,
    healthy: Option<bool>,
}

impl Narrator {
    /// Learns names from what is there already.
    pub fn learn(&mut self, state: &wire::GetState) {
        let agents = state.get_agents.iter().flat_map(|list| &list.agents);
        agents.for_each(|agent| drop(self.meet_agent(agent)));
        let tasks = state.get_tasks.iter().flat_map(|lists| lists.tasks.iter().chain(&lists.unreachable_tasks));
        tasks.for_each(|task| drop(self.meet_task(task)));
    }

    /// The line for an event; none for what tells people nothing.
    pub fn line(&mut self, event: &wire::Event) -> Option<String> {
        if let Some(task) = event.task_added.as_ref().and_then(|added| added.task.as_ref()) {
            let name = self.meet_task(task);
            let state = task.state.and_then(wire::task_state::name).unwrap_or("TASK_UNKNOWN");
            return Some(if state == "TASK_STAGING" {
                format!("{name} is launched")
            } else {
                format!("{name} is known again: {}", plain_state(state))
            });
        }
        if let Some(update) = &event.task_updated {
            return self.update(update);
        }
        if let Some(agent) = event.agent_added.as_ref().and_then(|added| added.agent.as_ref()) {
            return Some(format!("{} is registered", self.meet_agent(agent)));
        }
        if let Some(id) = event.agent_removed.as_ref().and_then(|removed| text(removed.agent_id.as_ref())) {
            let hostname = self.agents.remove(&id).unwrap_or(id);
            return Some(format!("{hostname} is removed"));
        }
        let kind = event.r#type.and_then(wire::event_type::name);
        match kind {
            Some("FRAMEWORK_ADDED") => Some("the scheduler is known".to_owned()),
            Some("FRAMEWORK_UPDATED") => Some("the scheduler is connected".to_owned()),
            Some("FRAMEWORK_REMOVED") => Some("the scheduler is gone".to_owned()),
            _ => None,
        }
    }

    fn update(&mut self, update: &wire::TaskUpdated) -> Option<String> {
        let status = update.status.as_ref()?;
        let id = text(status.task_id.as_ref())?;
        let state = update.state.and_then(wire::task_state::name)?;
        let ended = ["TASK_KILLED", "TASK_FAILED", "TASK_FINISHED", "TASK_LOST"].contains(&state);
        let known = self.tasks.get_mut(&id)?;
        let name = known.name.clone();
        let line = match status.healthy {
            Some(healthy) if !ended => {
                // Failure is told at every check; once is enough for people.
                if known.healthy.replace(healthy) == Some(healthy) {
                    return None;
                }
                format!("{name} is {}", if healthy { "healthy" } else { "unhealthy" })
            }
            _ => match &status.message {
                Some(message) => format!("{name} {} ({})", plain_state(state), String::from_utf8_lossy(message)),
                None => format!("{name} {}", plain_state(state)),
            },
        };
        if ended {
            self.tasks.remove(&id);
        }
        Some(line)
    }

    fn meet_task(&mut self, task: &wire::Task) -> String {
        let id = text(task.task_id.as_ref()).unwrap_or_default();
        let healthy = task.statuses.last().and_then(|status| status.healthy);
        let labels = task.labels.iter().flat_map(|labels| &labels.labels);
        let version = labels.into_iter().find(|label| label.key.as_deref() == Some("version"));
        let version = version.and_then(|label| label.value.as_deref()).unwrap_or_default();
        let ports = task.discovery.iter().filter_map(|discovery| discovery.ports.as_ref());
        let port = ports.flat_map(|ports| &ports.ports).find_map(|port| port.number).unwrap_or_default();
        let agent = text(task.agent_id.as_ref()).unwrap_or_default();
        let host = self.agents.get(&agent).map_or(agent.as_str(), String::as_str);
        let name = format!("{} {version} on {host}:{port}", task.name.as_deref().unwrap_or("task"));
        self.tasks.insert(id, Known { name: name.clone(), healthy });
        name
    }

    fn meet_agent(&mut self, agent: &wire::Agent) -> String {
        let info = agent.agent_info.as_ref();
        let hostname = info.and_then(|info| info.hostname.clone()).unwrap_or_default();
        if let Some(id) = info.and_then(|info| text(info.id.as_ref())) {
            self.agents.insert(id, hostname.clone());
        }
        hostname
    }
}

fn text(id: Option<&wire::Id>) -> Option<String> {
    id.and_then(|id| id.value.clone())
}

fn plain_state(state: &str) -> &str {
    match state {
        "TASK_STAGING" => "is staged",
        "TASK_STARTING" => "starts",
        "TASK_RUNNING" => "runs",
        "TASK_KILLING" => "is told to end and drains",
        "TASK_KILLED" => "has ended",
        "TASK_FINISHED" => "has finished",
        "TASK_FAILED" => "has failed",
        "TASK_LOST" => "is lost",
        "TASK_UNREACHABLE" => "is unreachable",
        other => other,
    }
}
