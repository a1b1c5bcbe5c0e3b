//! Recorded clusters, read into the form of the naming rules: a master's `/state`, the operator API's state and its
//! streams of events.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::rules::{Agent, Cluster, Framework, Port, Status, Task};

/// Where the recordings are; `None` with a plain message where they are not.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/mesos-state");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIP: no recorded state documents of Mesos ({} is not there)", folder.display());
    None
}

/// Every recording of a cluster, by file name.
pub fn all(folder: &Path) -> Vec<(String, Cluster)> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let read = |name: &String| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let values: Vec<Value> = match name.ends_with(".jsonl") {
            true => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            false => vec![serde_json::from_str(&text).unwrap()],
        };
        cluster(&values)
    };
    names.iter().filter_map(|name| Some((name.clone(), read(name)?))).collect()
}

fn cluster(values: &[Value]) -> Option<Cluster> {
    let first = values.first()?;
    if first["leader"].is_string() {
        return Some(state(first));
    }
    let mut cluster = Cluster::default();
    for value in values {
        event(&mut cluster, value);
    }
    (!cluster.frameworks.is_empty() || !cluster.agents.is_empty()).then_some(cluster)
}

// --- GET /state

fn state(state: &Value) -> Cluster {
    let (_, leader) = text(&state["leader"]).split_once('@').unwrap();
    let leader = leader.parse().ok();
    Cluster {
        leader,
        masters: leader.into_iter().collect(),
        agents: list(&state["slaves"]).map(|slave| agent_at(text(&slave["id"]), slave, &slave["pid"])).collect(),
        frameworks: list(&state["frameworks"])
            .map(|framework| Framework {
                id: text(&framework["id"]).to_owned(),
                name: text(&framework["name"]).to_owned(),
                hostname: text(&framework["hostname"]).to_owned(),
                address: framework["pid"].as_str().and_then(|pid| pid.split_once('@')?.1.parse().ok()),
                tasks: list(&framework["tasks"]).map(state_task).collect(),
            })
            .collect(),
    }
}

fn agent_at(id: &str, info: &Value, pid: &Value) -> Agent {
    let place = text(pid).split_once('@').map_or("", |(_, place)| place);
    let address: Option<std::net::SocketAddr> = place.parse().ok();
    Agent {
        id: id.to_owned(),
        hostname: text(&info["hostname"]).to_owned(),
        address: address.map(|address| address.ip()),
        port: address.map_or(5051, |address| address.port()),
    }
}

fn state_task(task: &Value) -> Task {
    let ports = text(&task["resources"]["ports"]);
    let ranges = ports.trim_matches(['[', ']']).split(',').filter_map(|range| range.trim().split_once('-'));
    Task {
        id: text(&task["id"]).to_owned(),
        name: text(&task["name"]).to_owned(),
        agent: text(&task["slave_id"]).to_owned(),
        state: text(&task["state"]).to_owned(),
        host_ports: ranges.flat_map(|(low, high)| low.parse().unwrap()..=high.parse().unwrap()).collect(),
        discovery: discovery(&task["discovery"]),
        statuses: list(&task["statuses"]).map(|s| status(s, &s["labels"])).collect(),
    }
}

// --- the operator API

fn event(cluster: &mut Cluster, event: &Value) {
    match text(&event["type"]) {
        "GET_STATE" => whole(cluster, &event["get_state"]),
        "" | "SUBSCRIBED" => whole(cluster, &event["subscribed"]["get_state"]),
        "AGENT_ADDED" => add_agent(cluster, &event["agent_added"]["agent"]),
        "AGENT_REMOVED" => {
            let id = text(&event["agent_removed"]["agent_id"]["value"]).to_owned();
            cluster.agents.retain(|agent| agent.id != id);
        }
        "FRAMEWORK_ADDED" => add_framework(cluster, &event["framework_added"]["framework"]),
        "FRAMEWORK_UPDATED" => add_framework(cluster, &event["framework_updated"]["framework"]),
        "FRAMEWORK_REMOVED" => {
            let id = text(&event["framework_removed"]["framework_info"]["id"]["value"]).to_owned();
            cluster.frameworks.retain(|framework| framework.id != id);
        }
        "TASK_ADDED" => add_task(cluster, &event["task_added"]["task"]),
        "TASK_UPDATED" => update_task(cluster, &event["task_updated"]),
        _ => {}
    }
}

fn whole(cluster: &mut Cluster, state: &Value) {
    for agent in list(&state["get_agents"]["agents"]) {
        add_agent(cluster, agent);
    }
    for framework in list(&state["get_frameworks"]["frameworks"]) {
        add_framework(cluster, framework);
    }
    for kind in ["tasks", "launched_tasks"] {
        for task in list(&state["get_tasks"][kind]) {
            add_task(cluster, task);
        }
    }
}

fn add_agent(cluster: &mut Cluster, agent: &Value) {
    let info = &agent["agent_info"];
    let agent = agent_at(text(&info["id"]["value"]), info, &agent["pid"]);
    cluster.agents.retain(|known| known.id != agent.id);
    cluster.agents.push(agent);
}

fn add_framework(cluster: &mut Cluster, framework: &Value) {
    let info = &framework["framework_info"];
    let known = known_framework(cluster, text(&info["id"]["value"]));
    known.name = text(&info["name"]).to_owned();
    known.hostname = text(&info["hostname"]).to_owned();
}

fn known_framework<'a>(cluster: &'a mut Cluster, id: &str) -> &'a mut Framework {
    let at = cluster.frameworks.iter().position(|framework| framework.id == id).unwrap_or_else(|| {
        cluster.frameworks.push(Framework { id: id.to_owned(), ..Framework::default() });
        cluster.frameworks.len() - 1
    });
    &mut cluster.frameworks[at]
}

fn add_task(cluster: &mut Cluster, task: &Value) {
    let ports = list(&task["resources"]).filter(|resource| resource["name"] == "ports");
    let ranges = ports.flat_map(|resource| list(&resource["ranges"]["range"]));
    let number = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
    let made = Task {
        id: text(&task["task_id"]["value"]).to_owned(),
        name: text(&task["name"]).to_owned(),
        agent: text(&task["agent_id"]["value"]).to_owned(),
        state: text(&task["state"]).to_owned(),
        host_ports: ranges.flat_map(|range| number(&range["begin"])..=number(&range["end"])).collect(),
        discovery: discovery(&task["discovery"]),
        statuses: list(&task["statuses"]).map(|s| status(s, &s["labels"]["labels"])).collect(),
    };
    let framework = known_framework(cluster, text(&task["framework_id"]["value"]));
    framework.tasks.retain(|known| known.id != made.id);
    framework.tasks.push(made);
}

fn update_task(cluster: &mut Cluster, update: &Value) {
    let new = &update["status"];
    let id = text(&new["task_id"]["value"]);
    let framework = known_framework(cluster, text(&update["framework_id"]["value"]));
    if let Some(task) = framework.tasks.iter_mut().find(|task| task.id == id) {
        task.state = text(&update["state"]).to_owned();
        task.statuses.push(status(new, &new["labels"]["labels"]));
    }
}

// --- both

fn discovery(discovery: &Value) -> Option<(String, Vec<Port>)> {
    let name = discovery.get("name").or(discovery.is_object().then_some(&Value::Null))?;
    let port = |port: &Value| {
        let number = u16::try_from(port["number"].as_u64().unwrap()).unwrap();
        (number, text(&port["protocol"]).to_owned(), text(&port["name"]).to_owned())
    };
    Some((text(name).to_owned(), list(&discovery["ports"]["ports"]).map(port).collect()))
}

fn status(status: &Value, labels: &Value) -> Status {
    let networks = list(&status["container_status"]["network_infos"]);
    let addresses = |network: &Value| -> Vec<String> {
        let listed: Vec<String> = list(&network["ip_addresses"]).map(|ip| text(&ip["ip_address"]).to_owned()).collect();
        let single = network["ip_address"].as_str().map(str::to_owned);
        if listed.is_empty() { single.into_iter().collect() } else { listed }
    };
    Status {
        state: text(&status["state"]).to_owned(),
        timestamp: status["timestamp"].as_f64().unwrap_or(0.0),
        network: networks.flat_map(addresses).collect(),
        labels: list(labels).map(|l| (text(&l["key"]).to_owned(), text(&l["value"]).to_owned())).collect(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
