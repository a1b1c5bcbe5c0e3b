//! What a recorded GET_STATE says, read by other means than the source's: straight from the JSON, as one line of
//! text a task, an agent, a framework. A model is written down in the same form and compared.

use pointsman::model::task::{Health, TaskFacts, TaskState};
use serde_json::Value;

use super::facts::Model;

/// The lines of a GET_STATE answer: tasks that did not end, registered agents, frameworks.
pub fn of_state(answer: &Value) -> Vec<String> {
    let state = &answer["get_state"];
    let tasks = ["tasks", "unreachable_tasks"].into_iter().flat_map(|list| all(&state["get_tasks"][list]));
    let mut lines: Vec<_> = tasks.filter_map(task_of_json).collect();
    lines.extend(all(&state["get_agents"]["agents"]).map(agent_of_json));
    lines.extend(all(&state["get_frameworks"]["frameworks"]).map(framework_of_json));
    lines.sort();
    lines
}

/// The lines of a model.
pub fn of_model(model: &Model) -> Vec<String> {
    let mut lines: Vec<_> = model.present().into_iter().map(task_of_facts).collect();
    lines.extend(model.agents.values().filter(|agent| !agent.recovered).map(|agent| {
        let address = agent.address.map(|address| address.to_string()).unwrap_or_default();
        let (region, zone) = (agent.region.as_deref().unwrap_or(""), agent.zone.as_deref().unwrap_or(""));
        let port = agent.port.unwrap_or(0);
        format!("agent {} {} {address}:{port} {region}/{zone} {}", agent.id, agent.hostname, agent.active)
    }));
    lines.extend(model.frameworks.values().map(|framework| {
        format!("framework {} {} {} {:?}", framework.id, framework.name, framework.hostname, framework.roles)
    }));
    lines.sort();
    lines
}

fn task_of_facts(task: &TaskFacts) -> String {
    let definition = &task.definition;
    let labels: Vec<_> = definition.labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
    let ports: Vec<_> = definition.host_ports.iter().map(|range| format!("{}-{}", range.begin, range.end)).collect();
    let discovery: Vec<_> = definition.discovery.iter().flat_map(|discovery| &discovery.ports).collect();
    let discovery: Vec<_> =
        discovery.iter().map(|port| format!("{}:{}/{}", port.name, port.number, port.protocol)).collect();
    let addresses: Vec<_> = task.addresses.iter().map(ToString::to_string).collect();
    format!(
        "task {} {} {} on {} {} {} check={} addresses={addresses:?} labels={labels:?} ports={ports:?} discovery={discovery:?} grace={}",
        task.key.framework(),
        task.key.task(),
        definition.name,
        task.agent.as_ref().map_or("", |agent| agent.as_str()),
        task.state.as_str(),
        task.health.as_str(),
        definition.has_health_check,
        definition.kill_grace.map_or(0, |grace| grace.as_nanos()),
    )
}

fn task_of_json(task: &Value) -> Option<String> {
    let state = lifecycle(text(&task["state"]))?;
    let statuses: Vec<_> = all(&task["statuses"]).collect();
    let healthy = statuses.iter().rev().find_map(|status| status["healthy"].as_bool());
    let health = healthy.map_or(Health::Unknown, |healthy| if healthy { Health::Healthy } else { Health::Unhealthy });
    let of_status = |status: &&Value| {
        let networks = all(&status["container_status"]["network_infos"]);
        let addresses: Vec<_> = networks
            .flat_map(|network| all(&network["ip_addresses"]))
            .map(|address| text(&address["ip_address"]).to_owned())
            .collect();
        (!addresses.is_empty()).then_some(addresses)
    };
    let addresses = statuses.iter().rev().find_map(of_status).unwrap_or_default();
    let label = |label: &Value| format!("{}={}", text(&label["key"]), text(&label["value"]));
    let labels: Vec<_> = all(&task["labels"]["labels"]).map(label).collect();
    let ports = all(&task["resources"]).filter(|resource| resource["name"] == "ports");
    let ports: Vec<_> = ports
        .flat_map(|resource| all(&resource["ranges"]["range"]))
        .map(|range| format!("{}-{}", range["begin"], range["end"]))
        .collect();
    let discovery: Vec<_> = all(&task["discovery"]["ports"]["ports"])
        .map(|port| format!("{}:{}/{}", text(&port["name"]), port["number"], text(&port["protocol"])))
        .collect();
    Some(format!(
        "task {} {} {} on {} {} {} check={} addresses={addresses:?} labels={labels:?} ports={ports:?} discovery={discovery:?} grace={}",
        text(&task["framework_id"]["value"]),
        text(&task["task_id"]["value"]),
        text(&task["name"]),
        text(&task["agent_id"]["value"]),
        state.as_str(),
        health.as_str(),
        task.get("health_check").is_some(),
        task["kill_policy"]["grace_period"]["nanoseconds"].as_u64().unwrap_or(0),
    ))
}

/// The state of that name; none if the task ended.
pub fn lifecycle(name: &str) -> Option<TaskState> {
    Some(match name {
        "TASK_STAGING" => TaskState::Staging,
        "TASK_STARTING" => TaskState::Starting,
        "TASK_RUNNING" => TaskState::Running,
        "TASK_KILLING" => TaskState::Killing,
        "TASK_UNREACHABLE" => TaskState::Unreachable,
        "TASK_LOST" | "TASK_UNKNOWN" | "TASK_GONE_BY_OPERATOR" => TaskState::Lost,
        _ => return None,
    })
}

fn agent_of_json(agent: &Value) -> String {
    let info = &agent["agent_info"];
    let (_, address) = text(&agent["pid"]).split_once('@').unwrap_or_default();
    let place = &info["domain"]["fault_domain"];
    format!(
        "agent {} {} {address} {}/{} {}",
        text(&info["id"]["value"]),
        text(&info["hostname"]),
        text(&place["region"]["name"]),
        text(&place["zone"]["name"]),
        agent["active"].as_bool().unwrap_or(false)
    )
}

fn framework_of_json(framework: &Value) -> String {
    let info = &framework["framework_info"];
    let roles: Vec<_> = all(&info["roles"]).map(text).collect();
    format!("framework {} {} {} {roles:?}", text(&info["id"]["value"]), text(&info["name"]), text(&info["hostname"]))
}

fn all(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The text, empty where it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
