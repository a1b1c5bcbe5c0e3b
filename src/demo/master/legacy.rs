//! The older form of the state, as JSON only: `GET /state`, which pollers such as Mesos-DNS read.
//!
//! Pure: the same lists that GET_STATE has, written the way a real master writes them here. Ids are plain text, tasks
//! are members of their framework, and resources are one object with `ports` as text.

use serde_json::{Map, Value, json};

use crate::cluster::sources::mesos::wire;
use crate::demo::shape::MESOS_VERSION;

/// The state as the leader answers it: what it says of itself, its flags, and what it knows.
pub(super) fn state(leader: &wire::GetMaster, flags: &[(&str, String)], state: &wire::GetState) -> Value {
    let master = leader.master_info.clone().unwrap_or_default();
    let agents = state.get_agents.clone().unwrap_or_default();
    let flags: Map<String, Value> = flags.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "version": MESOS_VERSION,
        "start_time": leader.start_time,
        "elected_time": leader.elected_time,
        "id": master.id,
        "pid": master.pid,
        "hostname": master.hostname,
        "capabilities": [],
        "activated_slaves": agents.agents.len(),
        "deactivated_slaves": 0,
        "unreachable_slaves": unreachable_agents(state),
        "leader": master.pid,
        "leader_info": { "id": master.id, "pid": master.pid, "port": master.port, "hostname": master.hostname },
        "flags": flags,
        "slaves": agents.agents.iter().map(agent).collect::<Vec<_>>(),
        "recovered_slaves": agents.recovered_agents.iter().map(agent_info).collect::<Vec<_>>(),
        "frameworks": frameworks(state),
        "completed_frameworks": [],
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    })
}

/// A real master counts them; here they are those that have unreachable tasks.
fn unreachable_agents(state: &wire::GetState) -> usize {
    let tasks = state.get_tasks.iter().flat_map(|lists| &lists.unreachable_tasks);
    tasks.map(|task| text(task.agent_id.as_ref())).collect::<std::collections::BTreeSet<_>>().len()
}

fn agent(agent: &wire::Agent) -> Value {
    let mut value = agent.agent_info.as_ref().map_or_else(|| json!({}), agent_info);
    value["pid"] = json!(agent.pid);
    value["active"] = json!(agent.active);
    value["deactivated"] = json!(agent.deactivated);
    value["version"] = json!(agent.version);
    value
}

fn agent_info(info: &wire::AgentInfo) -> Value {
    json!({
        "id": text(info.id.as_ref()), "hostname": info.hostname, "port": info.port, "attributes": {},
        "domain": info.domain,
    })
}

fn frameworks(state: &wire::GetState) -> Vec<Value> {
    let frameworks = state.get_frameworks.iter().flat_map(|lists| &lists.frameworks);
    let lists = state.get_tasks.clone().unwrap_or_default();
    let framework = |framework: &wire::Framework| {
        let info = framework.framework_info.clone().unwrap_or_default();
        let of_it = |tasks: &[wire::Task]| -> Vec<Value> {
            tasks.iter().filter(|task| task.framework_id == info.id).map(task).collect()
        };
        json!({
            "id": text(info.id.as_ref()), "name": info.name, "user": info.user, "roles": info.roles,
            "principal": info.principal, "hostname": info.hostname, "webui_url": info.webui_url.unwrap_or_default(),
            "active": framework.active, "connected": framework.connected, "recovered": framework.recovered,
            "tasks": of_it(&lists.tasks), "unreachable_tasks": of_it(&lists.unreachable_tasks),
            "completed_tasks": of_it(&lists.completed_tasks), "offers": [], "executors": [],
        })
    };
    frameworks.map(framework).collect()
}

fn task(task: &wire::Task) -> Value {
    let mut value = json!({
        "id": text(task.task_id.as_ref()),
        "name": task.name,
        "framework_id": text(task.framework_id.as_ref()),
        "executor_id": "",
        "slave_id": text(task.agent_id.as_ref()),
        "state": state_name(task.state),
        "resources": resources(&task.resources),
        "role": "*",
        "statuses": task.statuses.iter().map(status).collect::<Vec<_>>(),
        "labels": task.labels.clone().unwrap_or_default().labels,
    });
    // A real master leaves out what a task does not have.
    let parts = [
        ("discovery", json!(task.discovery)),
        ("health_check", json!(task.health_check)),
        ("container", json!(task.container)),
    ];
    for (name, part) in parts.into_iter().filter(|(_, part)| !part.is_null()) {
        value[name] = part;
    }
    value
}

fn status(status: &wire::TaskStatus) -> Value {
    let mut value = json!({ "state": state_name(status.state), "timestamp": status.timestamp });
    let parts = [("container_status", json!(status.container_status)), ("healthy", json!(status.healthy))];
    for (name, part) in parts.into_iter().filter(|(_, part)| !part.is_null()) {
        value[name] = part;
    }
    value
}

/// Scalars are always there; ranges are text such as `[31000-31001, 31005-31005]`.
fn resources(resources: &[wire::Resource]) -> Value {
    let ranges = |resource: &wire::Resource| {
        let range =
            |range: &wire::Range| format!("{}-{}", range.begin.unwrap_or_default(), range.end.unwrap_or_default());
        let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range).map(range);
        format!("[{}]", ranges.collect::<Vec<_>>().join(", "))
    };
    let mut value = json!({ "cpus": 0.0, "disk": 0.0, "gpus": 0.0, "mem": 0.0 });
    for resource in resources.iter().filter(|resource| resource.ranges.is_some()) {
        value[resource.name.as_deref().unwrap_or_default()] = json!(ranges(resource));
    }
    value
}

fn state_name(state: Option<i32>) -> Option<&'static str> {
    state.and_then(wire::task_state::name)
}

fn text(id: Option<&wire::Id>) -> &str {
    id.and_then(|id| id.value.as_deref()).unwrap_or_default()
}
