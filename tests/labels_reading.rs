//! What labels of tasks come to.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use pointsman::labels::spec::{PortSelector, PortSpec, Reading};
use pointsman::labels::{MAX_HOSTS, MAX_PROBLEMS, MAX_ROUTES, Scope, fuzz_labels, read, read_declared, read_within};
use pointsman::model::id::Version;
use pointsman::model::problem::ProblemCode;
use pointsman::model::service::Protocol;
use pointsman::model::task::{
    AppFacts, Checked, Discovery, DiscoveryPort, Label, NetworkMode, PortScope, TaskDefinition,
};
use proptest::prelude::*;

fn labels(text: &[&str]) -> Box<[Label]> {
    text.iter()
        .map(|line| {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            Label { key: key.into(), value: value.into() }
        })
        .collect()
}

/// A task whose ports have these names, in this order.
fn task(ports: &[&str], lines: &[&str]) -> TaskDefinition {
    let port = |(at, name): (usize, &&str)| DiscoveryPort {
        number: 8000 + u16::try_from(at).unwrap(),
        name: (*name).into(),
        protocol: "tcp".into(),
        scope: PortScope::Host,
        labels: Box::new([]),
    };
    let discovery = Discovery { name: "".into(), ports: ports.iter().enumerate().map(port).collect() };
    TaskDefinition { labels: labels(lines).into(), discovery: Some(discovery), ..TaskDefinition::default() }
}

fn groups(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn reading(ports: &[&str], lines: &[&str]) -> Reading {
    read(&task(ports, lines), &groups(&["external"]))
}

/// The claims of every port: `index/route host,host path`, `!` before a disabled one.
fn claims(reading: &Reading) -> Vec<String> {
    let mut out = Vec::new();
    for PortSpec { port, enabled, routes, .. } in &reading.spec.ports {
        let PortSelector::Index(index) = port else { panic!("ports are given by index") };
        if !enabled {
            out.push(format!("!{index}"));
        }
        for route in routes {
            let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
            out.push(format!("{index}/{} {} {}", route.name, hosts.join(","), route.path));
        }
    }
    out
}

#[track_caller]
fn check(ports: &[&str], lines: &[&str], expected: &[&str]) {
    let reading = reading(ports, lines);
    assert_eq!(claims(&reading), expected, "{reading:#?}");
    assert_eq!(reading.problems, [], "{lines:?}");
}

/// The labels give `expected` and one problem of `code` at `at` whose message and mend hold `words`.
#[track_caller]
fn faulty(ports: &[&str], lines: &[&str], expected: &[&str], code: ProblemCode, at: &str, words: &str) {
    let reading = reading(ports, lines);
    assert_eq!(claims(&reading), expected, "{reading:#?}");
    let [problem] = &reading.problems[..] else { panic!("{:#?}", reading.problems) };
    assert_eq!((problem.code, &*problem.at), (code, at), "{problem:?}");
    let text = format!("{}; {}", problem.message, problem.mend);
    assert!(text.contains(words), "{text}");
}

#[test]
fn hosts_without_a_port_go_to_the_first() {
    check(&["web", "admin"], &["pointsman.host=A.test, *.b.test"], &["0/default a.test,*.b.test /"]);
    check(&["web"], &["pointsman.hosts=a.test", "pointsman.path=/api/"], &["0/default a.test /api"]);
    check(&["web"], &["POINTSMAN.Host=*"], &["0/default * /"]);
}

#[test]
fn ports_are_named_or_counted() {
    check(&["web", "admin"], &["pointsman.admin.host=a.test"], &["1/default a.test /"]);
    check(&["web", "admin"], &["pointsman.1.host=a.test"], &["1/default a.test /"]);
    check(&["", "0"], &["pointsman.0.host=a.test"], &["1/default a.test /"]);
    check(&["web", "web.http"], &["pointsman.web.http.host=a.test"], &["1/default a.test /"]);
    check(&["web", "a.b"], &["pointsman.a.b.route.c.d.host=a.test"], &["1/c.d a.test /"]);
    check(&["web"], &["pointsman.web.host=a.test", "pointsman.0.path=/x"], &["0/default a.test /x"]);
}

#[test]
fn deploys_of_zdd() {
    const ALL: &[&str] = &[
        "HAPROXY_GROUP=external",
        "HAPROXY_DEPLOYMENT_GROUP=shop",
        "HAPROXY_DEPLOYMENT_COLOUR=green",
        "HAPROXY_DEPLOYMENT_STARTED_AT=2016-02-01T14:57:54.371005",
        "HAPROXY_DEPLOYMENT_TARGET_INSTANCES=20",
        "HAPROXY_DEPLOYMENT_NEW_INSTANCES=5",
        "HAPROXY_DEPLOYMENT_ALT_PORT=10001",
        "HAPROXY_APP_ID=shop",
    ];
    let read = |more: &[&str], without: &str| {
        let lines = ALL.iter().copied().filter(|line| !line.contains(without)).chain(more.iter().copied());
        reading(&["web"], &lines.collect::<Vec<_>>())
    };
    let whole = read(&["version=1.2"], "nothing");
    assert_eq!(whole.problems, []);
    let spec = whole.spec;
    assert_eq!(spec.service.as_deref(), Some("shop"));
    assert_eq!(spec.version.as_ref().map(Version::as_str), Some("green"), "both colours may have one label `version`");
    let deployment = spec.deployment.unwrap();
    assert_eq!((deployment.target, deployment.new), (Some(20), Some(5)));
    assert_eq!(deployment.started, pointsman::model::time::Timestamp::parse("2016-02-01T14:57:54.371Z"));
    // Native labels go before.
    let native = read(&["pointsman.version=blue", "pointsman.service=other"], "nothing").spec;
    assert_eq!(
        (native.service.as_deref(), native.version.as_ref().map(Version::as_str)),
        (Some("other"), Some("blue"))
    );
    // 0 is all, as zdd writes it for the first deploy.
    assert_eq!(read(&["HAPROXY_DEPLOYMENT_NEW_INSTANCES=0"], "NEW_INSTANCES").spec.deployment.unwrap().new, None);
    // Without a group they are of no deploy.
    let alone = read(&["version=1.2"], "DEPLOYMENT_GROUP").spec;
    assert_eq!((alone.deployment, alone.version.as_ref().map(Version::as_str)), (None, Some("1.2")));
    // One that cannot be read is told, and the rest counts.
    for (label, wrong) in
        [("STARTED_AT", "yesterday"), ("TARGET_INSTANCES", "many"), ("NEW_INSTANCES", "-1"), ("COLOUR", "")]
    {
        let key = format!("HAPROXY_DEPLOYMENT_{label}");
        let reading = read(&[&format!("{key}={wrong}")], label);
        let told: Vec<_> = reading.problems.iter().map(|problem| (problem.code, &*problem.at)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0 == ProblemCode::InvalidLabel && told[0].1.contains(&key), "{told:?}");
        assert_eq!(reading.spec.service.as_deref(), Some("shop"));
    }
}

#[test]
fn a_deployment_group_is_called_as_an_app_is() {
    let read = |group: &str| {
        let group = format!("HAPROXY_DEPLOYMENT_GROUP={group}");
        reading(&["web"], &["HAPROXY_GROUP=external", &group, "HAPROXY_DEPLOYMENT_COLOUR=blue"])
    };
    for (group, service, app) in [
        ("nginx", "nginx", "/nginx"),
        ("/nginx", "nginx", "/nginx"),
        ("/team/nginx", "nginx.team", "/team/nginx"),
        (" team/nginx/ ", "nginx.team", "/team/nginx"),
    ] {
        let found = read(group);
        assert_eq!(found.problems, [], "{group}");
        let spec = found.spec;
        assert_eq!((spec.service.as_deref(), spec.group.as_deref()), (Some(service), Some(app)), "{group}");
        assert_eq!(spec.version.as_ref().map(Version::as_str), Some("blue"), "{group}");
    }
    for group in ["", "/", "/te am/nginx", "/*"] {
        let found = read(group);
        assert_eq!((found.spec.service, found.spec.group, found.problems.len()), (None, None, 1), "{group}");
    }
}

#[test]
fn a_key_wins_over_a_port_of_its_name() {
    let reading = reading(&["web", "scrape"], &["pointsman.scrape.path=/m"]);
    assert_eq!(&*reading.spec.scrape.unwrap().path, "/m");
    check(&["web", "scrape"], &["pointsman.scrape.host=a.test"], &["1/default a.test /"]);
    check(&["web", "scrape"], &["pointsman.port.scrape.path=/m", "pointsman.1.host=a.test"], &["1/default a.test /m"]);
    check(&["web", "port"], &["pointsman.port.host=a.test"], &["1/default a.test /"]);
    check(&["web", "port"], &["pointsman.port.port.host=a.test"], &["1/default a.test /"]);
    check(&["web", "route"], &["pointsman.route.x.host=a.test"], &["0/x a.test /"]);
    check(&["web", "host"], &["pointsman.host.host=a.test"], &["1/default a.test /"]);
}

#[test]
fn several_routes() {
    check(
        &["web"],
        &[
            "pointsman.web.route.b.host=b.test",
            "pointsman.web.route.a.host=a.test",
            "pointsman.web.route.a.path=/x",
            "pointsman.host=c.test",
        ],
        &["0/default c.test /", "0/a a.test /x", "0/b b.test /"],
    );
    check(
        &["web"],
        &["pointsman.route.a.host=a.test", "pointsman.route.b.host=a.test,b.test"],
        &["0/a a.test /", "0/b b.test /"],
    );
}

#[test]
fn what_is_said_of_ports() {
    let reading = reading(
        &["web", "admin"],
        &[
            "pointsman.weight=7",
            "pointsman.1.weight=8",
            "pointsman.drain_time=1m",
            "pointsman.protocol=h2c",
            "pointsman.web.health.path=/health?deep",
            "pointsman.sticky=yes",
        ],
    );
    assert_eq!(reading.problems, []);
    let [web, admin] = &reading.spec.ports[..] else { panic!() };
    assert_eq!((web.weight.unwrap().0, admin.weight.unwrap().0), (7, 8));
    assert_eq!(admin.drain_time, Some(Duration::from_secs(60)));
    assert_eq!((web.protocol, admin.protocol), (Some(Protocol::H2c), None));
    assert_eq!(web.health_path.as_deref(), Some("/health?deep"));
    assert!(web.sticky && !admin.sticky);
}

#[test]
fn what_is_said_of_the_task() {
    let reading = reading(
        &["web", "metrics"],
        &[
            "pointsman.service=shop",
            "pointsman.namespace=team",
            "version=1",
            "pointsman.version=2",
            "pointsman.scrape.port=metrics",
        ],
    );
    assert_eq!(reading.problems, []);
    assert_eq!(reading.spec.service.as_deref(), Some("shop"));
    assert_eq!(reading.spec.namespace.as_deref(), Some("team"));
    assert_eq!(reading.spec.version.unwrap().as_str(), "2");
    let scrape = reading.spec.scrape.unwrap();
    assert_eq!((scrape.port, &*scrape.path), (PortSelector::Index(1), "/metrics"));
    assert_eq!(self::reading(&[], &["version=1"]).spec.version.unwrap().as_str(), "1");
    assert_eq!(self::reading(&["web"], &["pointsman.scrape=false", "pointsman.scrape.path=/m"]).spec.scrape, None);
}

#[test]
fn labels_of_a_discovery_port_speak_of_it() {
    let mut definition = task(&["web", "admin"], &[]);
    definition.discovery.as_mut().unwrap().ports[1].labels =
        labels(&["pointsman.host=a.test", "pointsman.version=2", "VIP_0=/x:80"]);
    let reading = read(&definition, &groups(&["*"]));
    assert_eq!(claims(&reading), ["1/default a.test /"]);
    assert_eq!(reading.problems.len(), 1);
    assert_eq!(&*reading.problems[0].mend, "write `pointsman.version`");
}

#[test]
fn groups_select() {
    check(&["web"], &["pointsman.host=a.test", "pointsman.group=internal"], &["!0"]);
    check(&["web"], &["pointsman.host=a.test", "pointsman.group=internal,external"], &["0/default a.test /"]);
    check(
        &["a", "b"],
        &["pointsman.enabled=false", "pointsman.b.enabled=true", "pointsman.b.host=b.test"],
        &["!0", "1/default b.test /"],
    );
    let all = read(&task(&["web"], &["pointsman.host=a.test", "pointsman.group=x"]), &groups(&["*"]));
    assert_eq!(claims(&all), ["0/default a.test /"]);
}

#[test]
fn a_check_of_another_port_counts_where_the_label_says_so() {
    let protocol = |lines: &[&str], checked: &[Checked]| {
        let app = AppFacts {
            checked: checked.into(),
            service_ports: Box::new([1, 2]),
            id: "/shop".into(),
            ..AppFacts::default()
        };
        let lines = [&["HAPROXY_GROUP=external"][..], lines].concat();
        let definition = TaskDefinition { app: Some(Arc::new(app)), ..task(&["web", "admin"], &lines) };
        let reading = read(&definition, &groups(&["external"]));
        (reading.spec.ports[0].protocol, reading.problems.len())
    };
    let index = "HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX";
    let (of_second, of_none, unread) = (format!("{index}=1"), format!("{index}=7"), format!("{index}=first"));
    let (first, second) = (&[Checked::Http][..], &[Checked::No, Checked::Http][..]);
    assert_eq!(protocol(&[], second), (Some(Protocol::Tcp), 0), "the check is another port's");
    assert_eq!(protocol(&[&of_second], second), (None, 0), "HTTP, as the check of the second port is");
    assert_eq!(protocol(&[&of_none], second), (Some(Protocol::Tcp), 0));
    assert_eq!(protocol(&[&unread], second), (Some(Protocol::Tcp), 1));
    assert_eq!(protocol(&[&unread], first), (None, 1), "its own check counts before");
    // Of itself a port is HTTP's by a check of Marathon's own alone, by another port's also where agents make it.
    assert_eq!(protocol(&[], &[Checked::OtherHttp]), (Some(Protocol::Tcp), 0));
    assert_eq!(protocol(&[&of_second], &[Checked::No, Checked::OtherHttp]), (None, 0));
    assert_eq!(protocol(&[&of_second], &[Checked::No, Checked::Other]), (Some(Protocol::Tcp), 0));
    assert_eq!(protocol(&[&of_second], &[Checked::Other, Checked::Http]), (Some(Protocol::Tcp), 0), "it has its own");
}

/// Which ports of an app with the service ports 10000 and none are served, listened on and what they speak; its claims;
/// and how many problems there are.
type Served = (Vec<(bool, Option<u16>, Option<Protocol>)>, Vec<String>, usize);

fn served(lines: &[&str], chosen: &[&str], strict: bool) -> Served {
    let app = AppFacts { id: "/shop".into(), service_ports: Box::new([10_000, 0]), ..AppFacts::default() };
    let definition = TaskDefinition { app: Some(Arc::new(app)), ..task(&["web", "admin"], lines) };
    let reading = read_within(&definition, &Scope { groups: &groups(chosen), strict });
    let ports = reading.spec.ports.iter().map(|port| (port.enabled, port.listen, port.protocol));
    (ports.collect(), claims(&reading), reading.problems.len())
}

#[test]
fn a_star_serves_what_is_in_no_group_too() {
    let nothing: Served = (Vec::new(), Vec::new(), 0);
    let (by_tcp, route) = ((true, Some(10_000), Some(Protocol::Tcp)), vec!["0/default a.test /".to_owned()]);
    // Without a label: the service port, where all are served.
    assert_eq!(served(&[], &["*"], false), (vec![by_tcp], Vec::new(), 0));
    for (chosen, strict) in [(&[][..], false), (&["external"][..], false), (&["*"][..], true)] {
        assert_eq!(served(&[], chosen, strict), nothing, "{chosen:?}");
    }
    // With labels and no group.
    let host = "HAPROXY_0_VHOST=a.test";
    let second = (true, None, Some(Protocol::Tcp));
    assert_eq!(served(&[host], &["*"], false), (vec![(true, Some(10_000), None), second], route.clone(), 0));
    for chosen in [&[][..], &["external"]] {
        assert_eq!(served(&[host], chosen, false), (Vec::new(), Vec::new(), 1), "it is told");
    }
    // Any group that is named counts without a list, and with a star, but no other than those of a list.
    let named = [host, "HAPROXY_GROUP=internal"];
    for chosen in [&[][..], &["*"]] {
        assert_eq!(served(&named, chosen, false).1, route, "{chosen:?}");
    }
    assert_eq!(served(&named, &["external"], false), nothing);
    let native = ["pointsman.host=a.test", "pointsman.group=internal"];
    assert_eq!(served(&native, &[], false).1, route);
    assert_eq!(served(&native, &["*"], false), (vec![(true, Some(10_000), None), (true, None, None)], route, 0));
    assert_eq!(served(&native, &["external"], false).0, [(false, None, None); 2]);
    // A port that cannot be read gives way to the service port.
    let unread = served(&named.iter().copied().chain(["HAPROXY_0_PORT=eighty"]).collect::<Vec<_>>(), &[], false);
    assert_eq!((unread.0[0].1, unread.2), (Some(10_000), 1));
    // A list of groups that is none selects nothing, and is told.
    assert_eq!(served(&[host, "HAPROXY_GROUP=,"], &[], false), (Vec::new(), Vec::new(), 1));
}

#[test]
fn a_port_is_assigned_where_marathon_has_none_and_tasks_have_addresses_of_their_own() {
    use NetworkMode::{Bridge, Container, Host};
    let first = |network, service_ports: &[u16], lines: &[&str], chosen: &str| {
        let app = AppFacts { id: "/shop".into(), service_ports: service_ports.into(), ..AppFacts::default() };
        let definition = TaskDefinition { app: Some(Arc::new(app)), network, ..task(&["web"], lines) };
        let reading = read(&definition, &groups(&[chosen]));
        reading.spec.ports.first().map(|port| (port.listen, port.is_assigned))
    };
    let group = "HAPROXY_GROUP=external";
    assert_eq!(first(Container, &[0], &[group], "external"), Some((None, true)));
    assert_eq!(first(Container, &[0], &[], "*"), Some((None, true)));
    assert_eq!(first(Container, &[0], &[group], "internal"), None);
    for network in [Bridge, Host] {
        assert_eq!(first(network, &[0], &[group], "external"), Some((None, false)), "{network:?}");
        assert_eq!(first(network, &[0], &[], "*"), None, "{network:?}");
    }
    // Nothing is known of it, it has one, it names one, or it cannot be told where it is to be opened.
    assert_eq!(first(Container, &[], &[group], "external"), Some((None, false)));
    assert_eq!(first(Container, &[10_000], &[group], "external"), Some((Some(10_000), false)));
    assert_eq!(first(Container, &[0], &[group, "HAPROXY_0_PORT=80"], "external"), Some((Some(80), false)));
    assert_eq!(first(Container, &[0], &[group, "HAPROXY_0_BIND_ADDR=eth0"], "external"), Some((None, false)));
}

#[test]
fn faults_of_native_labels() {
    use ProblemCode::{InvalidLabel, MissingPort, UnknownLabel, UnverifiedTls};
    let web = &["web"][..];
    let fine = &["0/default a.test /"][..];
    let with = |line| vec!["pointsman.host=a.test", line];
    faulty(
        web,
        &with("pointsman.wieght=1"),
        fine,
        UnknownLabel,
        "pointsman.wieght",
        "did you mean `pointsman.weight`?",
    );
    faulty(web, &with("pointsman.web.hots=b"), fine, UnknownLabel, "pointsman.web.hots", "`pointsman.web.host`?");
    faulty(web, &with("pointsman.colour=1"), fine, UnknownLabel, "pointsman.colour", "reference");
    faulty(web, &with("pointsman.=1"), fine, UnknownLabel, "pointsman.", "no such label");
    faulty(web, &with("pointsman.admin.host=b"), fine, MissingPort, "pointsman.admin.host", "its ports are 0 (web)");
    faulty(web, &with("pointsman.1.weight=1"), fine, MissingPort, "pointsman.1.weight", "no port \"1\"");
    faulty(web, &with("pointsman.port.x.weight=1"), fine, MissingPort, "pointsman.port.x.weight", "no port \"x\"");
    faulty(web, &with("pointsman.scrape.port=x"), fine, MissingPort, "pointsman.scrape.port", "no port \"x\"");
    faulty(web, &with("pointsman.weight=many"), fine, InvalidLabel, "pointsman.weight", "\"many\" cannot be used");
    faulty(web, &with("pointsman.web.version=1"), fine, InvalidLabel, "pointsman.web.version", "`pointsman.version`");
    faulty(
        web,
        &with("pointsman.route.b.path=/b"),
        fine,
        InvalidLabel,
        "pointsman.route.b.path",
        "`pointsman.route.b.host`",
    );
    faulty(web, &with("pointsman.route.b.weight=1"), fine, UnknownLabel, "pointsman.route.b.weight", "");
    faulty(web, &["pointsman.path=/b"], &[], InvalidLabel, "pointsman.path", "`pointsman.host`");
    faulty(web, &["pointsman.host=a.test,b c/d"], &["0/default a.test,b /"], InvalidLabel, "pointsman.host", "paths");
    faulty(web, &with("pointsman.protocol=tcp"), &[], InvalidLabel, "pointsman.host", "speaks tcp has no hosts");
    let tls = |more: [&'static str; 2]| [&["pointsman.host=a.test"][..], &more].concat();
    let route = &["0/default a.test /"];
    let clear = tls(["pointsman.protocol=http", "pointsman.tls=own"]);
    faulty(web, &clear, route, InvalidLabel, "pointsman.tls", "clear text");
    let carried = tls(["pointsman.protocol=tls", "pointsman.path=/x"]);
    faulty(web, &carried, &[], InvalidLabel, "pointsman.path", "only hosts");
    let unverified = tls(["pointsman.protocol=h2", "pointsman.tls=insecure"]);
    faulty(web, &unverified, route, UnverifiedTls, "pointsman.tls", "upstreams.tls");
    faulty(&[], &["pointsman.host=a.test"], &[], MissingPort, "pointsman.host", "declare a port");
    faulty(web, &with("pointsman.host=b.test"), fine, InvalidLabel, "pointsman.host", "contradicts");
    faulty(
        web,
        &with("pointsman.0.host=b.test"),
        &["0/default b.test /"],
        InvalidLabel,
        "pointsman.host",
        "`pointsman.0.host`",
    );
    faulty(
        web,
        &with(&format!("pointsman.service={}", "x".repeat(5000))),
        fine,
        InvalidLabel,
        "pointsman.service",
        "4096",
    );
}

#[test]
fn labels_of_others_are_left_alone() {
    check(&["web"], &["traefik.enable=true", "pointsman", "pointsmanhost=a", "haproxy_0_vhost=a", "é=ü"], &[]);
}

#[test]
fn marathon_lb_labels() {
    let group = "HAPROXY_GROUP=external,other";
    check(&["web"], &[group, "HAPROXY_0_VHOST=A.test,b.test"], &["0/default a.test,b.test /"]);
    check(
        &["web"],
        &[group, "HAPROXY_0_VHOST=a.test", "HAPROXY_0_PATH=/a /b/ /a"],
        &["0/default a.test /a", "0/default-2 a.test /b"],
    );
    // A path alone is of every host that nobody claims, and such a port speaks HTTP.
    check(&["web"], &[group, "HAPROXY_0_PATH=/a"], &["0/default * /a"]);
    assert_eq!(reading(&["web"], &[group, "HAPROXY_0_PATH=/a"]).spec.ports[0].protocol, None);
    check(
        &["web"],
        &[group, "HAPROXY_0_VHOST=a.test", "HAPROXY_0_PATH=-i /Multiple /paths"],
        &["0/default a.test /multiple", "0/default-2 a.test /paths"],
    );
    check(&["a", "b"], &[group, "HAPROXY_1_VHOST=a.test", "HAPROXY_0_ENABLED=0"], &["!0", "1/default a.test /"]);
    check(&["web"], &["HAPROXY_GROUP=internal", "HAPROXY_0_VHOST=a.test", "HAPROXY_0_NONSENSE=1"], &[]);
    check(&["web"], &["HAPROXY_0_GROUP=external", "HAPROXY_0_VHOST=a.test"], &["0/default a.test /"]);
    check(&["web"], &[group, "HAPROXY_0_GROUP=internal", "HAPROXY_0_VHOST=a.test"], &[]);
    check(&["web"], &["pointsman.group=external", "HAPROXY_0_VHOST=a.test"], &["0/default a.test /"]);
    check(&["web"], &["pointsman.enabled=true", "HAPROXY_0_VHOST=a.test"], &["0/default a.test /"]);
    let reading = reading(&["web"], &[group, "HAPROXY_0_MODE=tcp", "HAPROXY_0_STICKY=Y", "HAPROXY_0_ENABLED=yes"]);
    assert_eq!((reading.spec.ports[0].protocol, reading.spec.ports[0].sticky), (Some(Protocol::Tcp), true));
    for (mode, expected) in [("HTTP", Protocol::Http), ("Tcp", Protocol::Tcp)] {
        let reading = self::reading(&["web"], &[group, &format!("HAPROXY_0_MODE={mode}")]);
        assert_eq!((reading.spec.ports[0].protocol, reading.problems.len()), (Some(expected), 0), "{mode}");
    }
}

#[test]
fn native_labels_win_key_by_key() {
    let group = "HAPROXY_GROUP=external";
    check(
        &["web"],
        &[group, "HAPROXY_0_VHOST=old.test", "HAPROXY_0_PATH=/old", "pointsman.host=new.test"],
        &["0/default new.test /old"],
    );
    check(
        &["web"],
        &[group, "HAPROXY_0_VHOST=old.test", "HAPROXY_0_PATH=/old", "pointsman.web.path=/new"],
        &["0/default old.test /new"],
    );
    check(
        &["web"],
        &[group, "HAPROXY_0_VHOST=a.test", "pointsman.route.x.host=a.test,b.test"],
        &["0/default a.test /", "0/x b.test /"],
    );
}

#[test]
fn faults_of_marathon_lb_labels() {
    use ProblemCode::{InvalidLabel, MissingPort, UnknownLabel, UnsupportedLabel};
    let web = &["web"][..];
    let fine = &["0/default a.test /"][..];
    let with = |line| vec!["HAPROXY_GROUP=external", "HAPROXY_0_VHOST=a.test", line];
    let path = "HAPROXY_0_PATH";
    faulty(web, &with("HAPROXY_0_PATH=-x /a"), &[], InvalidLabel, path, "flag of HAProxy");
    faulty(web, &with("HAPROXY_0_PATH=-m end .php"), &[], InvalidLabel, path, "`pointsman.{port}.path_regex`");
    let left = &["0/default a.test /a"];
    faulty(web, &with("HAPROXY_0_PATH=-f /etc/paths /a"), left, InvalidLabel, path, "write the paths themselves");
    faulty(web, &with("HAPROXY_0_PATH=/a -i"), left, InvalidLabel, path, "before the paths");
    faulty(web, &with("HAPROXY_0_BALANCE=uri"), fine, InvalidLabel, "HAPROXY_0_BALANCE", "no way of balancing");
    faulty(
        web,
        &with("HAPROXY_0_BACKEND_HEAD=x"),
        fine,
        UnsupportedLabel,
        "HAPROXY_0_BACKEND_HEAD",
        "raw HAProxy text",
    );
    faulty(
        web,
        &with("HAPROXY_0_HTTP_FRONTEND_ACL=x"),
        fine,
        UnsupportedLabel,
        "HAPROXY_0_HTTP_FRONTEND_ACL",
        "raw HAProxy",
    );
    faulty(web, &with("HAPROXY_0_VHOSTS=x"), fine, UnknownLabel, "HAPROXY_0_VHOSTS", "did you mean `HAPROXY_0_VHOST`?");
    faulty(web, &with("HAPROXY_MODE=http"), fine, UnknownLabel, "HAPROXY_MODE", "`HAPROXY_0_MODE`?");
    faulty(web, &with("HAPROXY_1_VHOST=x"), fine, MissingPort, "HAPROXY_1_VHOST", "no port 1");
    faulty(web, &with("HAPROXY_0_MODE=tcp"), &[], InvalidLabel, "HAPROXY_0_VHOST", "speaks tcp has no hosts");
    faulty(web, &with("HAPROXY_0_MODE=udp"), fine, InvalidLabel, "HAPROXY_0_MODE", "write `http` or `tcp`");
    faulty(web, &with("HAPROXY_0_VHOST=b.test"), fine, InvalidLabel, "HAPROXY_0_VHOST", "twice");
    faulty(web, &with("HAPROXY_0_ENABLED=maybe"), &["!0"], InvalidLabel, "HAPROXY_0_ENABLED", "counts as false");
    faulty(web, &with("HAPROXY_0_GROUP=,"), &[], InvalidLabel, "HAPROXY_0_GROUP", "lists nothing");
    let redirect = "HAPROXY_0_HTTP_BACKEND_REDIR";
    faulty(web, &with("HAPROXY_0_HTTP_BACKEND_REDIR=start"), fine, InvalidLabel, redirect, "begin the path with `/`");
    let location = "HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH";
    faulty(web, &with("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH=x"), fine, InvalidLabel, location, "with `/`");
    faulty(
        web,
        &with("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL=all"),
        fine,
        InvalidLabel,
        "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL",
        "lets nobody in",
    );
    // Hosts that cannot be read do not become every host.
    let unread = reading(web, &["HAPROXY_GROUP=external", "HAPROXY_0_PATH=/a", "HAPROXY_0_VHOST=http://a"]);
    assert_eq!((claims(&unread), unread.problems.len()), (Vec::new(), 2));
    let native = reading(web, &["HAPROXY_GROUP=external", "HAPROXY_0_PATH=/a", "pointsman.host=http://a"]);
    assert_eq!((claims(&native), native.problems.len()), (Vec::new(), 2));
    faulty(web, &["HAPROXY_0_VHOST=a.test"], &[], InvalidLabel, "HAPROXY_0_VHOST", "add `HAPROXY_GROUP`");
}

/// Every template of marathon-lb's that a label can override, and what its refusal names.
#[rustfmt::skip]
const TEMPLATES: [(&str, &[&str]); 39] = [
    ("FRONTEND_HEAD", &["HAPROXY_{n}_PORT", "HAPROXY_{n}_BIND_ADDR", "HAPROXY_{n}_SSL_CERT"]),
    ("USERLIST_HEAD", &["HAPROXY_{n}_AUTH"]),
    ("BACKEND_REDIRECT_HTTP_TO_HTTPS", &["HAPROXY_{n}_REDIRECT_TO_HTTPS"]),
    ("BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH", &["HAPROXY_{n}_REDIRECT_TO_HTTPS"]),
    ("BACKEND_HEAD", &["HAPROXY_{n}_BALANCE", "HAPROXY_{n}_MODE"]),
    ("HTTP_FRONTEND_ACL", &["HAPROXY_{n}_VHOST`, or", "route.{name}.host"]),
    ("MAP_HTTP_FRONTEND_ACL", &["HAPROXY_{n}_VHOST`, or"]),
    ("HTTP_FRONTEND_ACL_ONLY", &["HAPROXY_{n}_VHOST`, or"]),
    ("MAP_HTTP_FRONTEND_ACL_ONLY", &["HAPROXY_{n}_VHOST`, or"]),
    ("HTTP_FRONTEND_ROUTING_ONLY", &["HAPROXY_{n}_VHOST`, or"]),
    ("HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_AUTH"]),
    ("HTTP_FRONTEND_ACL_WITH_AUTH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_AUTH"]),
    ("HTTP_FRONTEND_ACL_WITH_PATH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_PATH"]),
    ("HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH", &["HAPROXY_{n}_VHOST`, `HAPROXY_{n}_PATH` and `HAPROXY_{n}_AUTH"]),
    ("HTTP_FRONTEND_ACL_ONLY_WITH_PATH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_PATH"]),
    ("HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH", &["HAPROXY_{n}_PATH` and `HAPROXY_{n}_AUTH"]),
    ("HTTPS_FRONTEND_ACL_ONLY_WITH_PATH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_PATH"]),
    ("HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_PATH"]),
    ("HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH", &["HAPROXY_{n}_PATH` and `HAPROXY_{n}_AUTH"]),
    ("HTTP_FRONTEND_APPID_ACL", &["X-Marathon-App-Id", "route_by"]),
    ("MAP_HTTP_FRONTEND_APPID_ACL", &["X-Marathon-App-Id", "route_by"]),
    ("HTTPS_FRONTEND_ACL", &["HAPROXY_{n}_VHOST`, or"]),
    ("MAP_HTTPS_FRONTEND_ACL", &["HAPROXY_{n}_VHOST`, or"]),
    ("HTTPS_FRONTEND_ACL_WITH_AUTH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_AUTH"]),
    ("HTTPS_FRONTEND_ACL_WITH_PATH", &["HAPROXY_{n}_VHOST` and `HAPROXY_{n}_PATH"]),
    ("HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH", &["HAPROXY_{n}_PATH` and `HAPROXY_{n}_AUTH"]),
    ("BACKEND_HTTP_OPTIONS", &["X-Forwarded-For", "request_headers", "response_headers"]),
    ("HTTP_BACKEND_PROXYPASS_GLUE", &["HAPROXY_{n}_HTTP_BACKEND_PROXYPASS_PATH"]),
    ("HTTP_BACKEND_REVPROXY_GLUE", &["HAPROXY_{n}_HTTP_BACKEND_REVPROXY_PATH"]),
    ("BACKEND_HSTS_OPTIONS", &["HAPROXY_{n}_USE_HSTS"]),
    ("BACKEND_HTTP_HEALTHCHECK_OPTIONS", &["health.path"]),
    ("BACKEND_TCP_HEALTHCHECK_OPTIONS", &["health.check"]),
    ("BACKEND_STICKY_OPTIONS", &["HAPROXY_{n}_STICKY"]),
    ("BACKEND_SERVER_OPTIONS", &["protocol=https", "proxy_protocol"]),
    ("BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS", &["health.check"]),
    ("BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS", &["health.path"]),
    ("FRONTEND_BACKEND_GLUE", &["nothing is needed"]),
    ("HTTP_BACKEND_NETWORK_ALLOWED_ACL", &["HAPROXY_{n}_BACKEND_NETWORK_ALLOWED_ACL"]),
    ("TCP_BACKEND_NETWORK_ALLOWED_ACL", &["HAPROXY_{n}_BACKEND_NETWORK_ALLOWED_ACL"]),
];

#[test]
fn each_template_is_refused_with_what_does_it_here() {
    for (name, mends) in TEMPLATES {
        let label = format!("HAPROXY_0_{name}");
        let line = format!("{label}=  bind *:1 {{nonsense");
        for mend in mends {
            let lines = ["HAPROXY_GROUP=external", "HAPROXY_0_VHOST=a.test", &line];
            faulty(&["web"], &lines, &["0/default a.test /"], ProblemCode::UnsupportedLabel, &label, mend);
        }
    }
}

#[test]
fn a_port_whose_address_or_certificate_cannot_be_read_stays_closed() {
    let group = "HAPROXY_GROUP=external";
    for (port, narrowing) in [
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_BIND_ADDR=eth0"),
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_BIND_ADDR=127.0.0.256"),
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_BIND_ADDR=127.0.0.1,127.0.0.2"),
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_BIND_ADDR="),
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_SSL_CERT=/etc/ssl/sh op.pem"),
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_SSL_CERT=/etc/ssl/.pem"),
        ("HAPROXY_0_PORT=10000", "HAPROXY_0_SSL_CERT=,"),
        ("pointsman.listen=10000", "pointsman.listen_address=eth0"),
        ("pointsman.listen=10000", "pointsman.certificate=../shop"),
    ] {
        let read = reading(&["web"], &[group, port, "HAPROXY_0_VHOST=a.test", narrowing]);
        assert_eq!(read.spec.ports[0].listen, None, "{narrowing}");
        assert_eq!(claims(&read), ["0/default a.test /"], "by host it is served: {narrowing}");
        let [problem] = &read.problems[..] else { panic!("{narrowing}: {:#?}", read.problems) };
        assert_eq!(Some(&*problem.at), narrowing.split('=').next());
        assert!(problem.message.contains("not opened"), "{problem:?}");
    }
    for narrowing in ["HAPROXY_0_BIND_ADDR=127.0.0.1", "HAPROXY_0_BIND_ADDR=*", "HAPROXY_0_SSL_CERT=/etc/ssl/shop.pem"]
    {
        let read = reading(&["web"], &[group, "HAPROXY_0_PORT=10000", narrowing]);
        assert_eq!((read.spec.ports[0].listen, read.problems.len()), (Some(10_000), 0), "{narrowing}");
    }
    // What a native label says goes before, also where it cannot be read.
    let both =
        reading(&["web"], &[group, "HAPROXY_0_PORT=10000", "HAPROXY_0_BIND_ADDR=*", "pointsman.listen_address=x"]);
    assert_eq!(both.spec.ports[0].listen, None);
}

#[test]
fn secrets_are_not_shown() {
    let lines = ["HAPROXY_GROUP=external", "HAPROXY_0_AUTH=realm:user:hunter2", "pointsman.token=hunter2"];
    let reading = reading(&["web"], &lines);
    assert_eq!(reading.problems.len(), 3);
    assert!(!format!("{:?}", reading.problems).contains("hunter2"));
}

#[test]
fn a_task_is_bounded() {
    let routes: Vec<String> = (0..200).map(|n| format!("pointsman.route.r{n:03}.host=h{n}.test")).collect();
    let lines: Vec<&str> = routes.iter().map(String::as_str).collect();
    let many = reading(&["web"], &lines);
    assert_eq!(many.spec.ports[0].routes.len(), MAX_ROUTES);
    assert!(!many.problems.is_empty() && many.problems.len() <= MAX_PROBLEMS);
    let hosts: Vec<String> = (0..200).map(|n| format!("h{n}.test")).collect();
    let wide = reading(&["web"], &[&format!("pointsman.host={}", hosts.join(","))]);
    assert_eq!(wide.spec.ports[0].routes[0].hosts.len(), MAX_HOSTS);
    assert_eq!(wide.problems.len(), 1);
}

#[test]
fn a_declared_service_has_one_port() {
    let all = groups(&["*"]);
    for port in ["web", "0", "7"] {
        let named = read_declared(&labels(&["pointsman.host=a.test"]), port, &all);
        assert_eq!(claims(&named), ["0/default a.test /"], "{port}");
        let addressed = read_declared(&labels(&[&format!("pointsman.{port}.host=a.test")]), port, &all);
        assert_eq!(claims(&addressed), ["0/default a.test /"], "{port}");
    }
}

/// Label texts that come near what is understood.
fn label_text() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        r"pointsman\.(web\.|1\.|x\.|port\.|route\.a\.|scrape\.|){0,3}(host|hosts|path|weight|group|enabled|sticky|scrape|protocol)",
        r"HAPROXY_[0-3]?_?(GROUP|VHOST|PATH|MODE|STICKY|ENABLED|BACKEND_HEAD|PORT)",
        r"pointsman\.\PC{0,12}",
        r"HAPROXY_\PC{0,12}",
        "version",
    ];
    let value = prop_oneof![
        r"[a-c]\.test(,\*\.[a-c]\.test)?",
        "/[a-c/.%*]{0,4}",
        "true|false|external|http|tcp|5",
        r"\PC{0,20}"
    ];
    (key, value).prop_map(|(key, value)| format!("{key}={value}"))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data: Vec<u8>) {
        fuzz_labels(&data);
    }

    #[test]
    fn near_labels_never_panic(lines in prop::collection::vec(label_text(), 0..12)) {
        fuzz_labels(lines.join("\n").as_bytes());
    }

    #[test]
    fn the_order_of_different_keys_does_not_matter(
        (lines, shuffled) in prop::collection::vec(label_text(), 0..12)
            .prop_map(|lines| {
                let mut seen = std::collections::HashSet::new();
                lines.into_iter().filter(|line| seen.insert(line.split('=').next().unwrap().to_owned())).collect::<Vec<_>>()
            })
            .prop_flat_map(|lines| (Just(lines.clone()), Just(lines).prop_shuffle()))
    ) {
        let read_lines = |lines: &[String]| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            reading(&["web", "scrape"], &lines)
        };
        prop_assert_eq!(read_lines(&lines), read_lines(&shuffled));
    }
}

/// The routes of the first port with what they ask.
fn asked(lines: &[&str]) -> (Vec<String>, usize) {
    let reading = reading(&["web"], lines);
    let routes = reading.spec.ports.iter().flat_map(|port| &port.routes).map(|route| {
        let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
        let refined = route.refined.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} {}{}{refined}", route.name, hosts.join(","), route.path)
    });
    (routes.collect(), reading.problems.len())
}

#[test]
fn routes_ask_for_more_than_host_and_path() {
    let (routes, problems) = asked(&[
        "pointsman.host=a.test",
        "pointsman.host_regex=shop-[0-9]+[.]test",
        "pointsman.method=POST,GET",
        "pointsman.web.route.canary.host=a.test",
        "pointsman.web.route.canary.path=/x",
        "pointsman.web.route.canary.header=X-Version=2; User-Agent=~.*Mobile.*",
        "pointsman.web.route.canary.query=debug",
        "pointsman.web.route.canary.cookie=canary=yes",
        "pointsman.web.route.login.host=a.test",
        "pointsman.web.route.login.path_exact=/login",
        "pointsman.web.route.users.host=a.test",
        "pointsman.web.route.users.path_regex=/v[0-9]/users",
    ]);
    let expected = [
        "default a.test,~shop-[0-9]+[.]test/ [method GET or POST]",
        "canary a.test/x [header user-agent=~.*Mobile.*, header x-version=2, query debug, cookie canary=yes]",
        "login a.test/login [exact path]",
        "users a.test/v[0-9]/users [path by expression]",
    ];
    assert_eq!((routes, problems), (expected.map(str::to_owned).to_vec(), 0));
}

#[test]
fn each_route_has_a_priority_of_its_own_or_its_ports() {
    let lines = [
        "pointsman.host=a.test",
        "pointsman.priority=5",
        "pointsman.route.b.host=b.test",
        "pointsman.web.route.b.priority=-1",
        "pointsman.route.c.host=c.test",
        "pointsman.route.c.priority=high",
    ];
    let reading = reading(&["web"], &lines);
    let routes = reading.spec.ports.iter().flat_map(|port| &port.routes);
    let shown: Vec<_> = routes.map(|route| (&*route.name, route.priority)).collect();
    assert_eq!(shown, [("default", 5), ("b", -1), ("c", 5)]);
    assert_eq!(reading.problems.len(), 1);
}

#[test]
fn a_condition_that_cannot_be_read_makes_no_route_and_spoils_no_other() {
    let all = [
        "header==1",
        "method=get",
        "path=x",
        "path_exact=x",
        "path_regex=(",
        "query=a=~[",
        "cookie=a b",
        "header=Host=a",
    ];
    for bad in all {
        let bad = format!("pointsman.web.route.bad.{bad}");
        let (routes, problems) = asked(&["pointsman.host=a.test", "pointsman.web.route.bad.host=b.test", &bad]);
        assert_eq!((routes, problems), (vec!["default a.test/".to_owned()], 1), "{bad}");
    }
    let group = "HAPROXY_GROUP=external";
    let (routes, problems) = asked(&[group, "HAPROXY_0_VHOST=a.test", "HAPROXY_0_PATH=api"]);
    assert_eq!((routes.len(), problems), (0, 1), "as marathon-lb writes it");
    let (routes, _) = asked(&[group, "HAPROXY_0_VHOST=a.test", "HAPROXY_0_PATH="]);
    assert_eq!(routes, ["default a.test/"], "nothing is no condition");
    // Of hosts each stands by itself.
    let (routes, problems) = asked(&["pointsman.host=a.test", "pointsman.host_regex=Shop"]);
    assert_eq!((routes, problems), (vec!["default a.test/".to_owned()], 1));
    let (routes, problems) = asked(&["pointsman.host_regex=("]);
    assert_eq!((routes.len(), problems), (0, 1));
    let (routes, problems) = asked(&["pointsman.header=x-a"]);
    assert_eq!((routes.len(), problems), (0, 1), "no host");
    // Of several readings of the path the narrowest counts, and the others are told.
    let (routes, problems) =
        asked(&["pointsman.host=a.test", "pointsman.path=/a", "pointsman.path_exact=/b", "pointsman.path_regex=/c"]);
    assert_eq!((routes, problems), (vec!["default a.test/b [exact path]".to_owned()], 2));
}

/// What the first port's routes do, and how many problems there are.
fn done(lines: &[&str]) -> (Vec<String>, usize) {
    let reading = reading(&["web"], lines);
    let routes = reading.spec.ports.iter().flat_map(|port| &port.routes);
    let shown = routes.map(|route| {
        let actions = route.actions.as_ref().map(|actions| actions.describe().join(", ")).unwrap_or_default();
        format!("{}: {actions}", route.name)
    });
    (shown.collect(), reading.problems.len())
}

#[test]
fn routes_do_what_labels_say() {
    let (routes, problems) = done(&[
        "pointsman.host=a.test",
        "pointsman.redirect=https://b.test{path}{query}",
        "pointsman.redirect_status=301",
        "pointsman.web.route.fixed.host=b.test",
        "pointsman.web.route.fixed.answer=503",
        "pointsman.web.route.plain.host=c.test",
        "pointsman.web.route.rest.host=d.test",
        "pointsman.web.route.rest.path=/api",
        "pointsman.web.route.rest.rewrite=/{rest}",
        "pointsman.web.route.rest.rewrite_host=inner.test",
        "pointsman.web.route.rest.request_headers=X-A=1; -X-B",
        "pointsman.web.route.rest.response_headers=+X-C=1",
    ]);
    let expected = [
        "default: redirect 301 to https://b.test{path}{query}",
        "fixed: answer 503",
        "plain: ",
        "rest: path becomes /{rest}, host becomes inner.test, request sets x-a, request removes x-b, answer adds x-c",
    ];
    assert_eq!((routes, problems), (expected.map(str::to_owned).to_vec(), 0));
}

#[test]
fn what_was_to_go_elsewhere_and_cannot_be_understood_is_not_passed_on() {
    let bad = [
        ("redirect", "new.test"),
        ("redirect", "https://{rest}/"),
        ("redirect_status", "200"),
        ("answer", "soon"),
        ("rewrite", "/{9}"),
        ("rewrite_host", "*.a.test"),
    ];
    for (key, value) in bad {
        let bad = format!("pointsman.web.route.bad.{key}={value}");
        let lines = ["pointsman.host=a.test", "pointsman.web.route.bad.host=b.test", &bad];
        assert_eq!(done(&lines), (vec!["default: ".to_owned()], 1), "{bad}");
    }
    // A header's change is left out, and the route stays.
    let (routes, problems) = done(&["pointsman.host=a.test", "pointsman.request_headers=Host=b"]);
    assert_eq!((routes, problems), (vec!["default: ".to_owned()], 1));
    // Of two answers one counts, and what has no host is told.
    let (routes, problems) = done(&["pointsman.host=a.test", "pointsman.redirect=/x", "pointsman.answer=503"]);
    assert_eq!((routes, problems), (vec!["default: redirect 302 to /x".to_owned()], 1));
    assert_eq!(done(&["pointsman.redirect=/x"]), (Vec::new(), 1));
}

#[test]
fn places_are_of_the_routes_own_path() {
    let with = |rewrite: &str| done(&["pointsman.host=a.test", "pointsman.path_regex=/(a|b)/(.*)", rewrite]);
    assert_eq!(with("pointsman.rewrite=/{2}/{1}").1, 0);
    assert_eq!(with("pointsman.rewrite=/{3}"), (Vec::new(), 1));
    assert_eq!(with("pointsman.redirect=/{rest}"), (Vec::new(), 1));
}
