//! What is derived from the cluster's facts by the settings is derived anew at a reload: the table is then the one that a
//! program has that was started with the new file. Each setting of which that is so has a line here, and each line a
//! difference to see.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::facts::{framework, snapshot, task};
use common::world::{World, at, running};
use pointsman::cluster::event::{ClusterEvent, Fact};
use pointsman::config::{self, Config, Environment};
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::task::{Health, TaskFacts, TaskState};
use pointsman::table::Table;
use pointsman::table::dump::dump;
use pointsman::table::names::Found;

/// Settings, and a section in which each differs from what holds without it.
const SETTINGS: &[(&str, &str)] = &[
    ("sources.mesos.zone", "zone = \"cluster\""),
    ("dns.srv_weight", "[dns]\nsrv_weight = 7"),
    ("dns.ip_sources", "[dns]\nip_sources = [\"host\"]"),
    ("dns.name_unhealthy", "[dns]\nname_unhealthy = \"always\""),
    ("dns.hold_names", "[dns]\nhold_names = false"),
    ("dns.label_rule", "[dns]\nlabel_rule = \"rfc952\""),
    ("dns.extra_names", "[dns]\nextra_names = [\"ids\"]"),
    ("dns.reverse", "[dns]\nreverse = [\"10.0.0.0/8\"]"),
    ("dns.dcos.source", "[dns.dcos]\nsource = \"mesos\""),
    ("proxy.service_ports.allowed", "[proxy.service_ports]\naddresses = [\"127.0.0.1\"]\nallowed = [\"9000-9100\"]"),
    ("routing.serve_unverified", "[routing]\nserve_unverified = true"),
    ("routing.panic", "[routing]\npanic = false"),
    ("routing.panic_threshold", "[routing]\npanic_threshold = 0.9"),
    ("routing.groups", "[routing]\ngroups = [\"internal\"]"),
    ("routing.require_port_resource", "[routing]\nrequire_port_resource = false"),
    ("routing.strict_mode", "[routing]\nstrict_mode = true"),
    ("health.check", "[health]\ncheck = \"tcp\""),
    ("upstreams.allowed_networks", "[upstreams]\nallowed_networks = [\"10.0.0.0/8\", \"192.0.2.0/24\"]"),
    ("policy.frameworks", "[[policy]]\nframeworks = [\"aurora\"]\nhosts = [\"*\"]"),
    ("policy.principals", "[[policy]]\nprincipals = [\"nobody\"]\nhosts = [\"*\"]"),
    ("policy.roles", "[[policy]]\nroles = [\"nobody\"]\nhosts = [\"*\"]"),
    ("policy.apps", "[[policy]]\napps = [\"/nobody/*\"]\nhosts = [\"*\"]"),
    ("policy.hosts", "[[policy]]\nhosts = [\"*.example.com\"]"),
    ("policy.paths", "[[policy]]\nhosts = [\"*\"]\npaths = [\"/nowhere\"]"),
    ("policy.ports", "[[policy]]\nhosts = [\"*\"]\nports = [1]"),
    ("policy.names", "[[policy]]\nhosts = [\"*\"]\nnames = [\"web.*\"]"),
];

/// A configuration with one cluster, in which these sections stand in place of those that it would have.
fn config(section: &str) -> Config {
    let zone = if section.starts_with("zone = ") { section } else { "zone = \"mesos\"" };
    let source = format!("[[sources.mesos]]\nname = \"mesos\"\n{zone}\nmasters = [\"127.0.0.1:5050\"]\n");
    let given = [
        ("[server]", "service_retention = \"0s\""),
        ("[upstreams]", "allowed_networks = [\"10.0.0.0/8\"]"),
        ("[proxy.service_ports]", "addresses = [\"127.0.0.1\"]"),
    ];
    let given = given.iter().filter(|(name, _)| !section.starts_with(name));
    let given: String = given.map(|(name, setting)| format!("{name}\n{setting}\n")).collect();
    let more = if section.starts_with('[') { section } else { "" };
    let checked = config::check(&format!("{source}{given}{more}\n"), Path::new("p.toml"), Environment::empty());
    checked.unwrap_or_else(|errors| panic!("{section}: {errors}"))
}

/// Tasks of all kinds that settings make a difference for.
fn facts() -> Vec<Fact> {
    let with = |id: &str, name: &str, change: &dyn Fn(&mut TaskFacts)| {
        let mut facts = task(id, name, 1, 9000, &[]);
        change(&mut facts);
        Fact::Task(Box::new(facts))
    };
    let host = |name: &str| format!("{name}.test");
    vec![
        at(1),
        Fact::Framework(Box::new(FrameworkFacts {
            principal: "ops".into(),
            roles: Box::new(["web".into()]),
            ..framework("marathon")
        })),
        running("web.1", "web", 1, &[("pointsman.host", &host("web"))]),
        running("lb.1", "lb", 1, &[("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", &host("lb"))]),
        running("listens.1", "listens", 1, &[("pointsman.listen", "10005")]),
        running("beyond.1", "beyond", 1, &[("pointsman.listen", "9005")]),
        running("long.1", "a-name-of-more-than-twenty-four-letters", 1, &[]),
        // It has a health check and no verdict yet.
        with("fresh.1", "fresh", &|facts| Arc::make_mut(&mut facts.definition).has_health_check = true),
        with("pair.1", "pair", &|facts| facts.health = Health::Healthy),
        with("pair.2", "pair", &|facts| {
            facts.health = Health::Unhealthy;
            facts.agent = Some("A-S2".into());
            facts.addresses = ["10.1.0.2".parse().unwrap()].into_iter().collect();
        }),
        at(2),
        with("sick.1", "sick", &|facts| facts.health = Health::Unhealthy),
        with("begins.1", "begins", &|facts| facts.state = TaskState::Staging),
        // Addresses of its own, one in a network that is allowed and one that is not.
        with("boxed.1", "boxed", &|facts| facts.addresses = ["10.5.0.1".parse().unwrap()].into_iter().collect()),
        with("far.1", "far", &|facts| facts.addresses = ["192.0.2.9".parse().unwrap()].into_iter().collect()),
        // A port that is not among its resources.
        with("grabs.1", "grabs", &|facts| Arc::make_mut(&mut facts.definition).host_ports = Box::new([])),
    ]
}

/// Everything that answers are given from: every name with what it has, and those without anything.
fn picture(table: &Table) -> String {
    let mut picture = dump(table);
    for zone in table.names.zones() {
        picture.push_str(&format!("{}: {:#?}\n", zone.name, table.names.list(&zone.name)));
    }
    let found = table.tasks.values().map(|task| {
        let name = format!("{}.marathon.mesos", task.facts.definition.name);
        let found = match table.names.find(&name) {
            Found::Node(_, node) => format!("{:?}", node.records),
            Found::Missing(_) => "is missing".to_owned(),
            Found::Outside => "is nobody's".to_owned(),
            other => panic!("{name}: {other:?}"),
        };
        format!("{name}: {found}\n")
    });
    // A table has no order of its own.
    let mut found: Vec<String> = found.collect();
    found.sort_unstable();
    picture + &found.concat()
}

/// What is served of the facts by a program that was started so.
fn started_with(config: Config) -> World {
    let mut world = World::with(config);
    world.say(snapshot(1, facts()));
    world.pass(1);
    world
}

/// The lines that only one of both has.
fn differences(one: &str, other: &str) -> Vec<String> {
    let only = |one: &str, other: &str, sign: char| {
        let lines = one.lines().filter(|line| !other.lines().any(|known| known == *line));
        lines.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [only(one, other, '-'), only(other, one, '+')].concat()
}

#[test]
fn a_reload_gives_the_table_that_a_start_gives() {
    let plain = picture(&started_with(config("")).table());
    for (key, section) in SETTINGS {
        let fresh = picture(&started_with(config(section)).table());
        assert!(fresh != plain, "{key} makes no difference here: give it facts that it is about");
        let mut world = started_with(config(""));
        world.say(ClusterEvent::Configured(Arc::new(config(section))));
        world.pass(1);
        let reloaded = picture(&world.table());
        assert!(reloaded == fresh, "{key}: {:#?}", differences(&reloaded, &fresh));
        // And back.
        world.say(ClusterEvent::Configured(Arc::new(config(""))));
        world.pass(1);
        let back = picture(&world.table());
        assert!(back == plain, "{key}, taken back: {:#?}", differences(&back, &plain));
    }
}
