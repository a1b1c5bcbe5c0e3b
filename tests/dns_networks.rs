//! Names of tasks by network, asked for over UDP, from what a master says of tasks on several container networks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod dns_common;
mod names_support;

use common::facts::{CLUSTER, FRAMEWORK, agent, config, framework, status};
use hickory_proto::rr::RecordType::{A, AAAA, SRV};
use names_support::{Served, serve};
use pointsman::cluster::event::Fact;
use pointsman::cluster::sources::mesos::translate::Translator;
use pointsman::cluster::sources::mesos::wire;
use pointsman::config::checked::ExtraName;
use pointsman::model::task::TaskState;
use serde_json::json;

/// A running task as Mesos tells of it, with these addresses in these networks.
fn on(id: &str, name: &str, networks: &[(&str, &[&str])]) -> Fact {
    let infos: Vec<_> = networks
        .iter()
        .map(|(name, addresses)| {
            let addresses: Vec<_> = addresses.iter().map(|address| json!({ "ip_address": address })).collect();
            match name.is_empty() {
                true => json!({ "ip_addresses": addresses }),
                false => json!({ "name": name, "ip_addresses": addresses }),
            }
        })
        .collect();
    let task = json!({
        "name": name,
        "task_id": { "value": id },
        "framework_id": { "value": FRAMEWORK },
        "agent_id": { "value": "A-S1" },
        "state": "TASK_RUNNING",
        "resources": [],
        "statuses": [{ "task_id": { "value": id }, "state": "TASK_RUNNING", "timestamp": 1.0,
            "container_status": { "network_infos": infos } }],
        "discovery": { "visibility": "FRAMEWORK", "name": name, "ports": { "ports": [
            { "number": 80, "name": "http", "protocol": "tcp" }, { "number": 53, "protocol": "udp" } ] } },
    });
    let task: wire::Task = serde_json::from_value(task).unwrap();
    Fact::Task(Box::new(Translator::new(CLUSTER.into()).task(&task).unwrap()))
}

fn around() -> [Fact; 2] {
    [Fact::Agent(Box::new(agent(1))), Fact::Framework(Box::new(framework("marathon")))]
}

fn served(tasks: Vec<Fact>) -> Served {
    serve(config(), tasks.into_iter().chain(around()).collect())
}

/// Two tasks on two networks, one of them on a third that the other is not on, and one that is on the host's.
fn several() -> Vec<Fact> {
    vec![
        on("t1", "web", &[("dcos", &["9.0.0.1"]), ("storage_Net", &["172.20.0.1", "fd01::1"])]),
        on("t2", "web", &[("dcos", &["9.0.0.2"]), ("calico", &["192.168.7.2"])]),
        on("t3", "liquor.store", &[("dcos", &["9.0.0.3"])]),
        on("t4", "host", &[("", &["10.1.0.1"])]),
    ]
}

/// `TASK-HASH-s1` of a task of [`several`].
fn own(task: &str, id: &str) -> String {
    use pointsman::table::names::label::{hash_text, task_hash};
    format!("{task}-{}-s1", hash_text(task_hash(id)))
}

#[test]
fn a_name_for_each_network_says_what_tasks_have_in_it() {
    let served = served(several());
    // Beside the main one, in which all are together.
    served.check("web.marathon.mesos", A, &["9.0.0.1", "172.20.0.1", "9.0.0.2", "192.168.7.2"]);
    served.check("web.marathon.dcos.network.mesos", A, &["9.0.0.1", "9.0.0.2"]);
    served.check("web.marathon.storage-net.network.mesos", A, &["172.20.0.1"]);
    served.check("WEB.marathon.Storage-Net.network.mesos", AAAA, &["fd01::1"]);
    served.check("web.marathon.calico.network.mesos", A, &["192.168.7.2"]);
    served.check("web.marathon.calico.network.mesos", AAAA, &["NODATA"]);
    // One task alone, by its own name and by its id.
    served.check(&format!("{}.marathon.dcos.network.mesos", own("web", "t2")), A, &["9.0.0.2"]);
    served.check(&format!("{}.marathon.storage-net.network.mesos", own("web", "t2")), A, &["NXDOMAIN"]);
    served.check("t1.id.marathon.storage-net.network.mesos", A, &["172.20.0.1"]);
    // A discovery name as it was written has its dots.
    for name in ["liquor-store", "liquor.store"] {
        served.check(&format!("{name}.marathon.dcos.network.mesos"), A, &["9.0.0.3"]);
    }
    // Who is on no network with a name has no name in any.
    for name in ["host.marathon.dcos", "host.marathon.", "web.marathon.other", "web.marathon.slave.dcos", "web"] {
        served.check(&format!("{name}.network.mesos").replace("..", "."), A, &["NXDOMAIN"]);
    }
}

#[test]
fn what_lies_above_them_exists_and_nothing_else() {
    let served = served(several());
    for above in [
        "network",
        "dcos.network",
        "marathon.dcos.network",
        "id.marathon.dcos.network",
        "store.marathon.dcos.network",
        "_tcp.marathon.dcos.network",
        "_udp.marathon.calico.network",
        "_tcp.web.marathon.dcos.network",
    ] {
        served.check(&format!("{above}.mesos"), A, &["NODATA"]);
    }
    for missing in ["other.network", "chronos.dcos.network", "id.marathon.other.network", "_sctp.marathon.dcos.network"]
    {
        served.check(&format!("{missing}.mesos"), A, &["NXDOMAIN"]);
    }
}

#[test]
fn services_lead_to_the_tasks_names_in_their_network() {
    let served = served(several());
    let in_dcos = |task: &str, id: &str| format!("0 1 80 {}.marathon.dcos.network.mesos.", own(task, id));
    let both = [in_dcos("web", "t1"), in_dcos("web", "t2")];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    served.check("_web._tcp.marathon.dcos.network.mesos", SRV, &both);
    served.check("_http._web._tcp.marathon.dcos.network.mesos", SRV, &both);
    served.check("_http._tcp.web.marathon.dcos.network.mesos", SRV, &both);
    let one = format!("0 1 53 {}.marathon.calico.network.mesos.", own("web", "t2"));
    served.check("_port1._udp.web.marathon.calico.network.mesos", SRV, &[&one]);
    served.check("_web._udp.marathon.calico.network.mesos", SRV, &[&one]);
    let by_id = "0 1 80 t1.id.marathon.storage-net.network.mesos.";
    served.check("_http._tcp.t1.id.marathon.storage-net.network.mesos", SRV, &[by_id]);
    served.check("_web._tcp.marathon.other.network.mesos", SRV, &["NXDOMAIN"]);
    served.check("_http._tcp.host.marathon.dcos.network.mesos", SRV, &["NXDOMAIN"]);
    // The addresses of a target come with it.
    let answer = served.ask("_web._udp.marathon.calico.network.mesos", SRV);
    assert_eq!(answer.additionals.len(), 1, "{answer:?}");
}

#[test]
fn they_are_listed_with_the_zone_and_every_listed_name_is_found() {
    let served = served(several());
    let listed: Vec<String> = served.table.names.list("mesos").unwrap().into_iter().map(|(name, _)| name).collect();
    for name in [
        "web.marathon.dcos.network.mesos",
        "liquor.store.marathon.dcos.network.mesos",
        "_web._tcp.marathon.calico.network.mesos",
        "_http._tcp.web.marathon.storage-net.network.mesos",
        "_port1._udp.web.marathon.calico.network.mesos",
    ] {
        assert!(listed.iter().any(|known| known == name), "{name}: {listed:?}");
    }
    assert!(!listed.iter().any(|name| name.contains("host.marathon.dcos")), "{listed:?}");
    names_support::assert_listed_is_answered(&served.table, "mesos");
}

#[test]
fn they_follow_their_tasks() {
    let mut world = common::world::World::new();
    world.say(common::facts::snapshot(1, several().into_iter().chain(around()).collect()));
    let name = "web.marathon.calico.network.mesos";
    Served::over(world.table()).check(name, A, &["192.168.7.2"]);
    world.facts(1, vec![Fact::Status(Box::new(status("t2", TaskState::Killing, None)))]);
    Served::over(world.table()).check(name, A, &["NODATA"]);
    world.facts(1, vec![Fact::Status(Box::new(status("t2", TaskState::Ended, None)))]);
    let served = Served::over(world.table());
    served.check(name, A, &["NXDOMAIN"]);
    served.check("calico.network.mesos", A, &["NXDOMAIN"]);
    // A task that is given another network.
    world.facts(1, vec![on("t1", "web", &[("calico", &["192.168.7.9"])])]);
    let served = Served::over(world.table());
    served.check(name, A, &["192.168.7.9"]);
    served.check("web.marathon.storage-net.network.mesos", A, &["NXDOMAIN"]);
    served.check("network.mesos", A, &["NODATA"]);
}

#[test]
fn a_framework_of_such_a_name_keeps_its_own_and_without_the_setting_there_are_none() {
    let mut facts = several();
    facts.push(Fact::Agent(Box::new(agent(1))));
    facts.push(Fact::Framework(Box::new(framework("dcos.network"))));
    let served = serve(config(), facts);
    served.check("web.dcos.network.mesos", A, &["9.0.0.1", "172.20.0.1", "9.0.0.2", "192.168.7.2"]);
    served.check("web.dcos.network.dcos.network.mesos", A, &["9.0.0.1", "9.0.0.2"]);
    let mut config = config();
    config.dns.extra_names.retain(|kind| *kind != ExtraName::Networks);
    let served = serve(config, several().into_iter().chain(around()).collect());
    served.check("web.marathon.dcos.network.mesos", A, &["NXDOMAIN"]);
    served.check("network.mesos", A, &["NXDOMAIN"]);
}

#[test]
fn names_that_have_no_room_for_their_network_are_told() {
    let (task, network) = ("t".repeat(54), "n".repeat(63));
    let framework_name = format!("{}.{}", "f".repeat(60), "g".repeat(45));
    let facts = vec![
        on("t1", &task, &[(&network, &["9.0.0.1"])]),
        on("t2", "web", &[("dcos", &["9.0.0.2"])]),
        Fact::Agent(Box::new(agent(1))),
        Fact::Framework(Box::new(framework(&framework_name))),
    ];
    let served = serve(config(), facts);
    // This one fits, and so does the task's own; those of its ports do not.
    let below = format!("{framework_name}.{network}.network");
    for host in [task.clone(), own(&task, "t1")] {
        served.check(&format!("{host}.{below}.mesos"), A, &["9.0.0.1"]);
    }
    let problems = served.table.problems.values().flat_map(|list| list.iter());
    let told: Vec<_> = problems.filter(|problem| problem.code.as_str() == "invalid-name").collect();
    assert!(told.len() == 1 && told[0].subject.ends_with("/t1"), "{told:?}");
    assert!(told[0].message.contains("in mesos and are left out there"), "{told:?}");
    assert!(told[0].message.ends_with(&format!("_port1._udp.{}.{below}", own(&task, "t1"))), "{told:?}");
}
