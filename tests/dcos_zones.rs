//! The zones of DC/OS, asked for over UDP.

mod common;
mod dns_common;
mod names_support;

use common::facts::{agent, config, framework, task};
use hickory_proto::rr::RecordType::{A, AAAA, SOA, SRV};
use names_support::{Served, assert_listed_is_answered, serve};
use pointsman::cluster::event::Fact;
use pointsman::config::Config;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::network::MastersFacts;
use pointsman::model::task::{Label, PortMapping, TaskDefinition, TaskFacts};

fn dcos() -> Config {
    let mut config = config();
    config.dns.dcos.source = Some("mesos".into());
    config.dns.dcos.cluster_key = Some("yor6fqzxh3ej".into());
    config.dns.dcos.node_addresses = vec!["10.1.0.1".parse().unwrap()];
    config.dns.dcos.public_addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    config
}

/// A task with changes to its definition.
fn made(id: &str, name: &str, addresses: &[&str], change: impl FnOnce(&mut TaskDefinition)) -> Fact {
    let mut facts: TaskFacts = task(id, name, 1, 9000, &[]);
    facts.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let mut definition = (*facts.definition).clone();
    change(&mut definition);
    facts.definition = std::sync::Arc::new(definition);
    Fact::Task(Box::new(facts))
}

fn plain(_: &mut TaskDefinition) {}

fn mapped(definition: &mut TaskDefinition) {
    definition.port_mappings =
        Box::new([PortMapping { host_port: 31_000, container_port: 80, protocol: "tcp".into() }]);
}

fn labelled<'a>(key: &'a str, value: &'a str) -> impl FnOnce(&mut TaskDefinition) + 'a {
    move |definition| {
        let label = Label { key: key.into(), value: value.into() };
        if let Some(port) = definition.discovery.as_mut().and_then(|discovery| discovery.ports.first_mut()) {
            port.labels = Box::new([label]);
        }
    }
}

fn served_in(framework_name: &str, tasks: Vec<Fact>) -> Served {
    let masters = ["10.9.0.3:5050", "10.9.0.1:5050", "10.9.0.2:5050"];
    let masters: Vec<std::net::SocketAddr> = masters.iter().map(|master| master.parse().unwrap()).collect();
    let masters = MastersFacts { leader: Some(masters[0]), masters };
    let framework: FrameworkFacts = framework(framework_name);
    let around = [Fact::Agent(Box::new(agent(1))), Fact::Framework(Box::new(framework)), Fact::Masters(masters)];
    serve(dcos(), tasks.into_iter().chain(around).collect())
}

#[test]
fn tasks_have_an_agents_a_containers_and_an_automatic_address() {
    let tasks = vec![
        made("t1", "container", &["10.2.0.1", "fd01::1"], plain),
        made("t2", "bridge", &["172.17.0.2"], mapped),
        made("t3", "host", &[], plain),
        made("t4", "myapp.mygroup", &["10.2.0.4"], plain),
    ];
    let served = served_in("marathon", tasks);
    let check = |name: &str, record_type, expected: &[&str]| {
        served.check(&format!("{name}.dcos.thisdcos.directory"), record_type, expected);
    };
    check("container.marathon.agentip", A, &["10.1.0.1"]);
    check("container.marathon.containerip", A, &["10.2.0.1"]);
    check("container.marathon.containerip", AAAA, &["fd01::1"]);
    check("container.marathon.autoip", A, &["10.2.0.1"]);
    check("bridge.marathon.containerip", A, &["172.17.0.2"]);
    check("bridge.marathon.autoip", A, &["10.1.0.1"]);
    check("host.marathon.containerip", A, &["NODATA"]);
    check("host.marathon.autoip", A, &["10.1.0.1"]);
    check("myapp-mygroup.marathon.autoip", A, &["10.2.0.4"]);
    // A discovery name as it was written is Mesos-DNS's alone.
    check("myapp.mygroup.marathon.autoip", A, &["NXDOMAIN"]);
    check("leader", A, &["10.9.0.3"]);
    check("master", A, &["10.9.0.3"]);
    for above in ["autoip", "agentip", "marathon.containerip"] {
        check(above, A, &["NODATA"]);
    }
    for missing in ["none.marathon.autoip", "container.none.autoip", "none.autoip", "otherip", "x.leader"] {
        check(missing, A, &["NXDOMAIN"]);
    }
}

#[test]
fn issue_369_a_bridges_address_is_not_handed_out() {
    let tasks = vec![
        made("t1", "container", &["10.2.0.1"], plain),
        made("t2", "bridge", &["172.17.0.2"], mapped),
        made("t3", "host", &[], plain),
    ];
    let served = served_in("marathon", tasks);
    served.check("container.marathon.mesos", A, &["10.2.0.1"]);
    served.check("bridge.marathon.mesos", A, &["10.1.0.1"]);
    served.check("host.marathon.mesos", A, &["10.1.0.1"]);
}

#[test]
fn dots_of_a_frameworks_name_are_hyphens() {
    let served = served_in("Marathon.Prod", vec![made("t1", "web", &["10.2.0.1"], plain)]);
    served.check("web.marathon-prod.autoip.dcos.thisdcos.directory", A, &["10.2.0.1"]);
    served.check("marathon-prod.autoip.dcos.thisdcos.directory", A, &["NODATA"]);
    served.check("web.marathon.prod.autoip.dcos.thisdcos.directory", A, &["NXDOMAIN"]);
    served.check("web.marathon.prod.mesos.thisdcos.directory", A, &["10.2.0.1"]);
}

/// What is wrong with names, by whose they are.
fn told_of<'a>(served: &'a Served, subject: &str) -> Vec<&'a str> {
    let ours = served.table.problems.values().flat_map(|list| list.iter());
    let ours = ours.filter(|problem| problem.code.as_str() == "invalid-name" && problem.subject.ends_with(subject));
    ours.map(|problem| &*problem.message).collect()
}

/// Labels of these lengths, each of a letter of its own.
fn labels(lengths: &[usize]) -> String {
    ["f", "g", "h"].iter().zip(lengths).map(|(letter, length)| letter.repeat(*length)).collect::<Vec<_>>().join(".")
}

#[test]
fn a_framework_that_has_no_room_in_one_label_is_shortened_and_told() {
    let name = labels(&[40, 40]);
    let served = served_in(&name, vec![made("t1", "web", &["10.2.0.1"], plain)]);
    let told = told_of(&served, "/F-0001");
    assert_eq!(told.len(), 1, "{told:?}");
    let label = told[0].rsplit(' ').next().unwrap();
    assert!(label.len() == 63 && label.starts_with(&format!("{}-ggg", "f".repeat(40))), "{label}");
    for (whose, address) in [("agentip", "10.1.0.1"), ("containerip", "10.2.0.1"), ("autoip", "10.2.0.1")] {
        served.check(&format!("web.{label}.{whose}.dcos.thisdcos.directory"), A, &[address]);
        served.check(&format!("{label}.{whose}.dcos.thisdcos.directory"), A, &["NODATA"]);
    }
    served.check(&format!("web.{name}.mesos.thisdcos.directory"), A, &["10.2.0.1"]);
    assert_listed_is_answered(&served.table, "dcos.thisdcos.directory");
    // Another one that begins alike has another label.
    let other = served_in(&format!("{name}x"), vec![made("t1", "web", &["10.2.0.1"], plain)]);
    assert_ne!(told_of(&other, "/F-0001")[0].rsplit(' ').next().unwrap(), label);

    let short = served_in("marathon.prod", vec![made("t1", "web", &["10.2.0.1"], plain)]);
    assert_eq!((told_of(&short, "/F-0001"), told_of(&short, "/t1")), (vec![], vec![]));
}

#[test]
fn a_target_that_is_too_long_in_a_mirror_has_its_frameworks_shorter_part() {
    let (whole, task) = (labels(&[60, 60, 58]), "t".repeat(31));
    let served = served_in(&whole, vec![made("t1", &task, &["10.2.0.1"], plain)]);
    let told = told_of(&served, "/F-0001");
    let short = told.iter().find(|message| message.contains("longer than 255")).unwrap().rsplit(' ').next().unwrap();
    let target = |zone: &str| {
        let answer = served.dig(&format!("_{task}._tcp.{whole}.{zone}"), SRV);
        let target = answer.first().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
        assert!(target.len() <= 253, "{target}");
        served.check(&target, A, &["10.2.0.1"]);
        target
    };
    assert!(target("mesos").ends_with(&format!(".{whole}.mesos")));
    let zone = "mesos.yor6fqzxh3ej.dcos.directory";
    let found = target(zone);
    assert!(found.ends_with(&format!(".{short}.{zone}")), "{found}");
    // All of the task's names have a shorter twin: nothing is left out.
    assert_eq!(told_of(&served, "/t1"), [""; 0]);
}

#[test]
fn names_that_are_too_long_for_a_further_zone_are_left_out_there_and_told() {
    let (framework, task) = (labels(&[60, 45]), labels(&[52, 52]));
    let long_vip = format!("/{}.{}:80", labels(&[60, 60, 60]), "v".repeat(40));
    let tasks = vec![
        made("t1", &task, &["10.2.0.1"], plain),
        made("t2", "web", &["10.2.0.2"], plain),
        made("t3", "vip", &["10.2.0.3"], labelled("VIP_0", &long_vip)),
    ];
    let served = served_in(&framework, tasks);
    let service = format!("_{task}._tcp.{framework}");
    for zone in ["mesos", "mesos.thisdcos.directory"] {
        let found = served.dig(&format!("{service}.{zone}"), SRV);
        let target = found.first().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.');
        assert!(target.ends_with(&format!(".{framework}.{zone}")), "{found:?}");
        served.check(target, A, &["10.2.0.1"]);
    }
    // There the target would have 255 octets as it is written.
    let zone = "mesos.yor6fqzxh3ej.dcos.directory";
    served.check(&format!("{service}.{zone}"), SRV, &["NODATA"]);
    let listed = served.table.names.list(zone).unwrap();
    assert!(listed.iter().all(|(name, records)| name.len() <= 253 && !records.is_empty()));
    assert!(!listed.iter().any(|(name, _)| name.starts_with(&service)), "nobody gets it by transfer either");
    assert!(listed.iter().any(|(name, _)| *name == format!("web.{framework}.{zone}")), "others are there");

    let of_task: Vec<&str> = told_of(&served, "/t1").into_iter().filter(|told| told.contains("left out")).collect();
    assert!(of_task.len() == 1 && of_task[0].contains(&format!("in {zone} and are left out there")), "{of_task:?}");
    assert_eq!(told_of(&served, "/t2"), [""; 0]);
    let of_vip = told_of(&served, "/t3");
    assert!(of_vip.len() == 1 && of_vip[0].contains("in l4lb.yor6fqzxh3ej.dcos.directory"), "{of_vip:?}");
}

#[test]
fn the_clusters_zone_is_mirrored_with_its_targets() {
    let served = served_in("marathon", vec![made("t1", "web", &["10.2.0.1"], plain)]);
    for name in ["web.marathon", "leader", "master", "slave", "marathon"] {
        let original = served.dig(&format!("{name}.mesos"), A);
        assert_eq!(served.dig(&format!("{name}.mesos.thisdcos.directory"), A), original, "{name}");
    }
    let target = served.dig("_web._tcp.marathon.mesos", SRV).into_iter().next().unwrap();
    let mirrored = target.replace(".mesos.", ".mesos.thisdcos.directory.");
    served.check("_web._tcp.marathon.mesos.thisdcos.directory", SRV, &[&mirrored]);
    assert_eq!(served.ask("_web._tcp.marathon.mesos.thisdcos.directory", SRV).additionals.len(), 1);
    served.check("nothing.mesos.thisdcos.directory", A, &["NXDOMAIN"]);
}

/// A group's addresses and services are kept, for each zone what it says.
#[test]
fn a_group_has_in_every_zone_what_each_of_its_tasks_has() {
    let tasks = vec![
        made("t1", "web", &["10.2.0.1", "fd01::1"], plain),
        made("t2", "web", &["10.2.0.2"], mapped),
        made("t3", "web", &[], plain),
    ];
    let served = served_in("marathon", tasks);
    let services = served.dig("_web._tcp.marathon.mesos", SRV);
    assert_eq!(services.len(), 3, "{services:?}");
    // Once made, once kept.
    for _ in 0..2 {
        for zone in ["dcos.thisdcos.directory", "dcos.thisdcos.global", "dcos.yor6fqzxh3ej.dcos.directory"] {
            served.check(&format!("web.marathon.agentip.{zone}"), A, &["10.1.0.1"]);
            served.check(&format!("web.marathon.containerip.{zone}"), A, &["10.2.0.1", "10.2.0.2"]);
            served.check(&format!("web.marathon.containerip.{zone}"), AAAA, &["fd01::1"]);
            served.check(&format!("web.marathon.autoip.{zone}"), A, &["10.1.0.1", "10.2.0.1"]);
        }
        for zone in ["mesos.thisdcos.directory", "mesos.thisdcos.global", "mesos.yor6fqzxh3ej.dcos.directory"] {
            let mirrored: Vec<String> =
                services.iter().map(|service| service.replace(".mesos.", &format!(".{zone}."))).collect();
            let mirrored: Vec<&str> = mirrored.iter().map(String::as_str).collect();
            served.check(&format!("_web._tcp.marathon.{zone}"), SRV, &mirrored);
            served.check(&format!("_web._tcp.marathon.{zone}"), A, &["NODATA"]);
            assert_eq!(served.dig(&format!("web.marathon.{zone}"), A), served.dig("web.marathon.mesos", A), "{zone}");
        }
    }
}

#[test]
fn renamed_zones_answer_as_themselves() {
    let tasks = vec![made("t1", "web", &["10.2.0.1"], labelled("VIP_0", "/foo:80"))];
    let served = served_in("bar", tasks);
    for zone in ["dcos.thisdcos.global", "dcos.yor6fqzxh3ej.dcos.directory"] {
        served.check(&format!("web.bar.autoip.{zone}"), A, &["10.2.0.1"]);
        served.check(&format!("none.{zone}"), A, &["NXDOMAIN"]);
    }
    let vip = served.dig("foo.bar.l4lb.thisdcos.directory", A);
    let renamed = ["l4lb.thisdcos.global", "dclb.thisdcos.directory", "dclb.thisdcos.global"];
    for zone in renamed.into_iter().chain(["l4lb.yor6fqzxh3ej.dcos.directory"]) {
        assert_eq!(served.dig(&format!("foo.bar.{zone}"), A), vip, "{zone}");
        assert_eq!(served.ask(zone, SOA).answers.len(), 1, "{zone}");
    }
    let target = served.dig("_web._tcp.bar.mesos.thisdcos.global", SRV).into_iter().next().unwrap();
    assert!(target.ends_with(".bar.mesos.thisdcos.global."), "{target}");
}

#[test]
fn virtual_addresses_are_those_of_dcos() {
    let tasks = vec![
        made("t1", "a", &["10.2.0.1"], labelled("VIP_0", "/foo:80")),
        made("t2", "b", &["10.2.0.2", "fd01::2"], labelled("vip1", "api:8080")),
        made("t3", "c", &["10.2.0.3"], labelled("VIP_0", "/mygroup/myapp:80")),
        made("t4", "d", &["10.2.0.4"], labelled("VIP_0", "10.7.0.1:80")),
        made("t5", "e", &["10.2.0.5"], |definition| {
            definition.labels = [Label { key: "VIP_PORT0".into(), value: "tcp://db.store:5432".into() }].into();
        }),
    ];
    let served = served_in("marathon", tasks);
    // Computed with Erlang's rule by hand: 11.0.0.0 + phash2("foo.marathon") mod the range's size.
    for name in ["foo", "api", "mygroupmyapp", "db.store"] {
        let found = served.dig(&format!("{name}.marathon.l4lb.thisdcos.directory"), A);
        let expected = std::net::Ipv4Addr::from(0x0b00_0000 + phash2(&format!("{name}.marathon")) % 0x00ff_fffe);
        assert_eq!(found.into_iter().next().unwrap(), expected.to_string(), "{name}");
    }
    let six = served.dig("api.marathon.l4lb.thisdcos.directory", AAAA).into_iter().next().unwrap();
    assert!(six.starts_with("fd01:c:"), "{six}");
    served.check("foo.marathon.l4lb.thisdcos.directory", AAAA, &["NODATA"]);
    served.check("store.marathon.l4lb.thisdcos.directory", A, &["NODATA"]);
    served.check("marathon.l4lb.thisdcos.directory", A, &["NODATA"]);
    served.check("a.marathon.l4lb.thisdcos.directory", A, &["NXDOMAIN"]);
}

#[test]
fn the_fixed_names_of_a_node() {
    let served = served_in("marathon", vec![]);
    served.check("ready.spartan", A, &["127.0.0.1"]);
    served.check("ns.spartan", A, &["198.51.100.1"]);
    served.check("localhost", A, &["127.0.0.1"]);
    served.check("thisnode.thisdcos.directory", A, &["10.1.0.1"]);
    served.check("public.thisnode.thisdcos.directory", A, &["192.0.2.1"]);
    served.check("public.thisnode.thisdcos.directory", AAAA, &["2001:db8::1"]);
    // Three masters fill five names.
    let expected = ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.1", "10.9.0.2"];
    for (number, address) in (1..).zip(expected) {
        served.check(&format!("zk-{number}.zk"), A, &[address]);
    }
    for missing in ["zk-0.zk", "zk-6.zk", "zk-01.zk", "other.spartan", "x.localhost", "x.thisnode.thisdcos.directory"] {
        served.check(missing, A, &["NXDOMAIN"]);
    }
}

#[test]
fn before_the_cluster_has_spoken_only_the_nodes_own_names_are_there() {
    let now = pointsman::model::time::Timestamp(1_700_000_000_000);
    let state = pointsman::cluster::state::ClusterState::new(std::sync::Arc::new(dcos()), now);
    let served = Served::over(pointsman::table::writer::Writer::new(state, 1, now).first(now));
    served.check("ready.spartan", A, &["127.0.0.1"]);
    served.check("web.marathon.autoip.dcos.thisdcos.directory", A, &["SERVFAIL"]);
    served.check("foo.marathon.l4lb.thisdcos.directory", A, &["SERVFAIL"]);
}

#[test]
fn without_the_setting_there_are_no_such_zones() {
    let served = serve(config(), vec![made("t1", "web", &["10.2.0.1"], plain)]);
    for name in ["ready.spartan", "localhost", "web.marathon.autoip.dcos.thisdcos.directory"] {
        served.check(name, A, &["REFUSED"]);
    }
}

#[test]
fn a_virtual_address_goes_with_its_last_task() {
    let mut world = common::world::World::with(dcos());
    let facts = vec![
        Fact::Agent(Box::new(agent(1))),
        Fact::Framework(Box::new(framework("marathon"))),
        made("t1", "a", &["10.2.0.1"], labelled("VIP_0", "/foo:80")),
        made("t2", "a", &["10.2.0.2"], labelled("VIP_0", "/foo:80")),
    ];
    world.say(common::facts::snapshot(1, facts));
    let name = "foo.marathon.l4lb.thisdcos.directory";
    let mut ends = |id: &str| {
        let ended = common::facts::status(id, pointsman::model::task::TaskState::Ended, None);
        world.facts(1, vec![Fact::Status(Box::new(ended))]);
        Served::over(world.table()).dig(name, A).into_iter().next().unwrap()
    };
    assert!(ends("t1").starts_with("11."));
    assert_eq!(ends("t2"), "NXDOMAIN");
}

/// Erlang's `phash2` of a binary before it is cut to a range, word by word as its source has it.
fn phash2(name: &str) -> u32 {
    let octets = name.as_bytes();
    let golden = 0x9e37_79b9_u32;
    let (mut a, mut b, mut c) = (golden, golden, golden.wrapping_mul(13));
    let at = |index: usize| octets.get(index).map_or(0, |octet| u32::from(*octet));
    let word = |from: usize| at(from) | at(from + 1) << 8 | at(from + 2) << 16 | at(from + 3) << 24;
    let mut from = 0;
    while octets.len() - from >= 12 {
        a = a.wrapping_add(word(from));
        b = b.wrapping_add(word(from + 4));
        c = c.wrapping_add(word(from + 8));
        (a, b, c) = mix(a, b, c);
        from += 12;
    }
    c = c.wrapping_add(u32::try_from(octets.len()).unwrap());
    a = a.wrapping_add(word(from));
    b = b.wrapping_add(word(from + 4));
    c = c.wrapping_add(at(from + 8) << 8 | at(from + 9) << 16 | at(from + 10) << 24);
    mix(a, b, c).2
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 13);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 8);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 13);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 12);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 16);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 5);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 3);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 10);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 15);
    (a, b, c)
}
