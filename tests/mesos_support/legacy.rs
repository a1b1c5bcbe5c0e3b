//! What a state document (`/master/state`) says, read by other means than the source's: straight from the JSON, in the
//! lines of [`super::expected`].

use serde_json::Value;

use super::expected::{lifecycle, text};

/// The lines of a document: tasks that did not end, registered agents, frameworks.
pub fn of_document(document: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for framework in all(&document["frameworks"]) {
        let roles = framework.get("roles").map_or_else(
            || framework["role"].as_str().into_iter().collect::<Vec<_>>(),
            |roles| all(roles).map(text).collect(),
        );
        lines.push(format!(
            "framework {} {} {} {roles:?}",
            text(&framework["id"]),
            text(&framework["name"]),
            text(&framework["hostname"])
        ));
        // The framework around a task counts, whatever the task says: one of Mesos-DNS's examples differs.
        let tasks = ["tasks", "unreachable_tasks"].iter().flat_map(|list| all(&framework[list]));
        lines.extend(tasks.filter_map(|of| task(of, &framework["id"])));
    }
    lines.extend(all(&document["orphan_tasks"]).filter_map(|of| task(of, &of["framework_id"])));
    lines.extend(all(&document["slaves"]).map(agent));
    // Two tasks of one id are told apart by a number.
    let mut seen = std::collections::BTreeMap::new();
    for line in lines.iter_mut().filter(|line| line.starts_with("task ")) {
        let (identity, rest) = line
            .split_once(' ')
            .and_then(|(_, rest)| {
                let (framework, rest) = rest.split_once(' ')?;
                let (id, rest) = rest.split_once(' ')?;
                Some((format!("task {framework} {id}"), rest.to_owned()))
            })
            .expect("a framework and an id");
        let number: &mut u32 = seen.entry(identity.clone()).or_insert(0);
        *number += 1;
        if *number > 1 {
            *line = format!("{identity}\u{1f}{number} {rest}");
        }
    }
    lines.sort();
    lines
}

fn agent(agent: &Value) -> String {
    let (_, address) = text(&agent["pid"]).split_once('@').unwrap_or_default();
    let address = address.replace(['[', ']'], "");
    let place = &agent["domain"]["fault_domain"];
    let is_active = agent["active"].as_bool().unwrap_or(true) && !agent["deactivated"].as_bool().unwrap_or(false);
    format!(
        "agent {} {} {address} {}/{} {is_active}",
        text(&agent["id"]),
        text(&agent["hostname"]),
        text(&place["region"]["name"]),
        text(&place["zone"]["name"])
    )
}

fn task(task: &Value, framework: &Value) -> Option<String> {
    let state = lifecycle(text(&task["state"]))?;
    let mut statuses: Vec<_> = all(&task["statuses"]).collect();
    statuses.sort_by(|a, b| a["timestamp"].as_f64().partial_cmp(&b["timestamp"].as_f64()).unwrap());
    let health = match statuses.iter().rev().find_map(|status| status["healthy"].as_bool()) {
        None => "unknown",
        Some(true) => "healthy",
        Some(false) => "unhealthy",
    };
    let of_status = |status: &&Value| {
        let of_network = |network: &Value| -> Vec<String> {
            let listed: Vec<_> = all(&network["ip_addresses"]).map(|ip| text(&ip["ip_address"]).to_owned()).collect();
            if listed.is_empty() {
                network["ip_address"].as_str().map(str::to_owned).into_iter().collect()
            } else {
                listed
            }
        };
        let found: Vec<_> = all(&status["container_status"]["network_infos"])
            .flat_map(of_network)
            .filter(|address| address.parse::<std::net::IpAddr>().is_ok())
            .collect();
        (!found.is_empty()).then_some(found)
    };
    let addresses = statuses.iter().rev().find_map(of_status).unwrap_or_default();
    let labels: Vec<_> =
        all(&task["labels"]).map(|label| format!("{}={}", text(&label["key"]), text(&label["value"]))).collect();
    let ports = text(&task["resources"]["ports"]).replace(['[', ']', ' '], "");
    let ports: Vec<_> = ports.split(',').filter(|range| !range.is_empty()).collect();
    let discovery: Vec<_> = all(&task["discovery"]["ports"]["ports"])
        .map(|port| format!("{}:{}/{}", text(&port["name"]), port["number"], text(&port["protocol"])))
        .collect();
    Some(format!(
        "task {} {} {} on {} {} {health} check={} addresses={addresses:?} labels={labels:?} ports={ports:?} discovery={discovery:?} grace=0",
        text(framework),
        text(&task["id"]),
        text(&task["name"]),
        text(&task["slave_id"]),
        state.as_str(),
        task.get("health_check").is_some(),
    ))
}

fn all(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
