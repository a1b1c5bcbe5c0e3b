//! What a file of services, routes and records says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

use std::path::Path;

use pointsman::cluster::event::{Fact, RecordData, SnapshotScope};
use pointsman::cluster::sources::file::{Document, fuzz_document, fuzz_zone, read};
use pointsman::config::checked::FileConfig;
use pointsman::labels;
use pointsman::labels::spec::Reading;
use pointsman::model::actions::{Change, Instead};
use pointsman::model::service::Protocol;
use pointsman::model::task::{Health, NetworkMode, TaskFacts, TaskState};
use proptest::prelude::*;

fn config() -> FileConfig {
    FileConfig { name: "files".into(), path: "dir/file.toml".into(), zones: vec!["test".into(), "b.example".into()] }
}

fn parse(text: &str) -> Document {
    let config = config();
    read(text, &config.path, &config).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The faults of a text, one a line, without the file's name.
fn faults(text: &str) -> Vec<String> {
    let config = config();
    let errors = read(text, &config.path, &config).expect_err("the text has faults");
    errors.iter().map(|error| error.to_string().replacen("dir/file.toml:", "", 1)).collect()
}

#[track_caller]
fn faulty(text: &str, expected: &[&str]) {
    let found = faults(text);
    let starts = found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(found.len() == expected.len() && starts, "{found:#?}");
}

fn facts(text: &str) -> Vec<Fact> {
    parse(text).contents.into_facts(&"files".into()).collect()
}

fn tasks(facts: &[Fact]) -> Vec<&TaskFacts> {
    facts.iter().filter_map(|fact| if let Fact::Task(task) = fact { Some(&**task) } else { None }).collect()
}

const SHOP: &str = r#"
[[services]]
name = "shop"
namespace = "team"
port = "http"
protocol = "h2c"
hosts = ["shop.test", "*.shop.test"]
path = "/x/"
sticky = true
weight = 7
health_path = "/health"
drain_time = "1m"
version = "1"
endpoints = ["10.0.0.1:8080", { address = "[::1]:8080", weight = 50, version = "2" }]

[[services.routes]]
name = "api"
hosts = ["api.test"]

[[services]]
name = "idle"
hosts = "idle.test, idle2.test"
"#;

#[test]
fn a_snapshot_is_complete_and_says_so() {
    let facts = facts(SHOP);
    let kinds: Vec<&str> = facts
        .iter()
        .map(|fact| match fact {
            Fact::SnapshotStarted => "started",
            Fact::Framework(framework) => &framework.name,
            Fact::Declared(_) => "declared",
            Fact::Task(_) => "task",
            Fact::Records(_) => "records",
            Fact::SnapshotFinished(SnapshotScope { authoritative: true, .. }) => "finished",
            Fact::Live => "live",
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = ["started", "static", "team", "declared", "task", "task", "declared", "records", "finished", "live"];
    assert_eq!(kinds, expected);
}

#[test]
fn an_endpoint_is_a_healthy_task_with_labels() {
    let facts = facts(SHOP);
    let [first, second] = tasks(&facts)[..] else { panic!() };
    assert_eq!(first.key.to_string(), "files/team/shop/http/10.0.0.1:8080");
    assert_eq!((first.state, first.health), (TaskState::Running, Health::Healthy));
    assert_eq!(second.addresses[..], ["::1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(first.definition.network, NetworkMode::Container);
    let port = &labels::ports::ports(&first.definition)[0];
    assert_eq!((&*port.key(), port.number_in(NetworkMode::Container)), ("http", 8080));

    let reading = labels::read(&first.definition, &["*".to_owned()]);
    assert_eq!(reading.problems, []);
    let spec = &reading.spec.ports[0];
    let routes: Vec<String> =
        spec.routes.iter().map(|route| format!("{} {:?} {}", route.name, route.hosts.len(), route.path)).collect();
    assert_eq!(routes, ["default 2 /x", "api 1 /"]);
    assert_eq!((spec.protocol, spec.sticky), (Some(Protocol::H2c), true));
    assert_eq!((spec.weight.unwrap().0, reading.spec.version.unwrap().as_str()), (7, "1"));
    assert_eq!(spec.health_path.as_deref(), Some("/health"));

    // What the endpoint says itself goes before what the service says.
    let own = labels::read(&second.definition, &["*".to_owned()]);
    assert_eq!(own.problems, []);
    assert_eq!((own.spec.ports[0].weight.unwrap().0, own.spec.version.unwrap().as_str()), (50, "2"));
}

#[test]
fn a_service_without_endpoints_is_declared_with_its_routes() {
    let facts = facts(SHOP);
    let declared =
        facts.iter().filter_map(|fact| if let Fact::Declared(service) = fact { Some(service) } else { None });
    let idle = declared.collect::<Vec<_>>()[1];
    assert_eq!(idle.id.to_string(), "files/static/idle/0");
    let reading = labels::read_declared(&idle.labels, idle.id.port(), &["*".to_owned()]);
    assert_eq!((reading.problems.len(), reading.spec.ports[0].routes[0].hosts.len()), (0, 2));
}

#[test]
fn records() {
    let text = r#"
        [[records]]
        name = "WWW.Test."
        type = "a"
        value = "10.0.0.1"
        ttl = 60
        [[records]]
        name = "_x._tcp.b.example"
        type = "SRV"
        value = "0 1 80 Host.elsewhere"
        [[records]]
        name = "t.test"
        type = "TXT"
        value = "one text; with \"everything\""
        ttl = "1h"
    "#;
    let records = parse(text).contents.records;
    let srv = RecordData::Srv { priority: 0, weight: 1, port: 80, target: "host.elsewhere".into() };
    let txt = RecordData::Txt(["one text; with \"everything\"".into()].into());
    let shown: Vec<_> = records.iter().map(|record| (&*record.name, &record.data, record.ttl)).collect();
    let address = RecordData::A([10, 0, 0, 1].into());
    let expected = [("www.test", &address, Some(60)), ("_x._tcp.b.example", &srv, None), ("t.test", &txt, Some(3600))];
    assert_eq!(shown, expected);
}

#[test]
fn long_texts_are_split() {
    let text = format!("[[records]]\nname = 't.test'\ntype = 'TXT'\nvalue = '{}'", "ü".repeat(300));
    let RecordData::Txt(pieces) = parse(&text).contents.records[0].data.clone() else { panic!() };
    assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [254, 254, 92]);
}

#[test]
fn other_files_are_relative_to_the_file() {
    let document = parse(
        "zone_file = 'z'\nroutes_file = '/r'\norigin = 'Test.'\nroutes_protocol = 'h2c'\n[[services]]\nname = 'a'",
    );
    assert_eq!(document.zone_file.unwrap().path, Path::new("dir/z"));
    assert_eq!(document.routes_file.unwrap().path, Path::new("/r"));
    assert_eq!((document.origin.as_deref(), document.routes_protocol), (Some("test"), Protocol::H2c));
}

#[test]
fn every_fault_is_told_at_once() {
    faulty(
        "serivces = []\n[[services]]\nname = 'a b'\nprotocol = 'grpc'\nhost = 'x'\nhosts = ['ok.test', 'é']\n\
         endpoints = ['10.0.0.1', { address = '1.1.1.1:1', weight = 99999 }, 5]\n[[records]]\nname = 'x.other'\n\
         type = 'A'\nvalue = '10.0.0.1'\n",
        &[
            "1:1: serivces: there is no such key; did you mean `services`?",
            "3:8: services[0].name: the value \"a b\" cannot be used: the character ' '",
            "4:12: services[0].protocol: the value \"grpc\" cannot be used: it is no protocol that is understood; write `h2c`",
            "5:1: services[0].host: there is no such key; did you mean `hosts`?",
            "6:9: services[0].hosts: the value \"ok.test,é\" cannot be used: of the host \"é\"",
            "7:14: services[0].endpoints[0]: \"10.0.0.1\" is no address with a port; write an IP address and a port",
            "7:60: services[0].endpoints[1].weight: the value \"99999\" cannot be used",
            "7:69: services[0].endpoints[2]: it is of type integer, not an address or a table",
            "9:8: records[0].name: the name \"x.other\" is in none of the source's zones; add the zone",
        ],
    );
}

#[test]
fn each_fault_has_its_place_and_mend() {
    faulty("[[services]]\nport = 'x'", &["1:1: services[0].name: the key is missing; name the service"]);
    faulty("[[services]]\nname = 5", &["2:8: services[0].name: it is of type integer, not a text"]);
    faulty("[services]\nname = 'a'", &["1:1: services: it is of type table, not a list"]);
    faulty("services = ['a']", &["1:13: services[0]: it is of type string, not a table"]);
    faulty(
        "[[services]]\nname = 'a'\nport = 80\n[[services]]\nname = 'a'\nport = '80'",
        &["4:1: services[1]: the service files/static/a/80 is there already, in line 1"],
    );
    faulty("[[services]]\nname = 'a'\npath = '/x'", &["3:8: services[0].path: a path has no effect without hosts"]);
    faulty("[[services]]\nname = 'a'\nport = 'a/b'", &["3:8: services[0].port: it is no name of a port"]);
    faulty(
        "[[services]]\nname = 'a'\nendpoints = ['[::1]:1', '[::1]:1']",
        &["3:25: services[0].endpoints[1]: the address [::1]:1 is there twice"],
    );
    faulty(
        "[[services]]\nname = 'a'\n[[services.routes]]\npath = '/x'",
        &["3:1: services[0].routes[0]: the route has no hosts"],
    );
    faulty(
        "[[services]]\nname = 'a'\nhosts = ['a']\n[[services.routes]]\nname = 'default'\nhosts = ['b']",
        &["4:1: services[0].routes[0]: the route's name \"default\" is taken"],
    );
    faulty(
        "[[services]]\nname = 'a'\nprotocol = 'tcp'\nhosts = ['a']",
        &["4:9: services[0].hosts: a port that speaks tcp has no hosts"],
    );
    faulty(
        "[[records]]\nname = 'a.test'\ntype = 'LOC'\nvalue = 'x'",
        &["3:8: records[0].type: records of type \"LOC\""],
    );
    faulty(
        "[[records]]\nname = 'a.test'\ntype = 'A'\nvalue = '1.1.1.1'\nttl = -1",
        &["5:7: records[0].ttl: \"-1\" is no time to live"],
    );
    faulty(
        "[[records]]\nname = 'a.test'\ntype = 'A'\nvalue = 'x'",
        &["4:9: records[0].value: \"x\" is no IPv4 address"],
    );
    faulty(
        "routes_protocol = 'tcp'\norigin = '..'",
        &["1:19: routes_protocol: \"tcp\" is no protocol for routes", "2:10: origin: "],
    );
    faulty("a = \nb = 'ü' 'c'", &["1:5: string values must be quoted", "2:9: "]);
}

#[test]
fn faults_are_bounded() {
    let text: String = (0..1000).map(|n| format!("x{n} = 1\n")).collect();
    let config = config();
    let errors = read(&text, &config.path, &config).unwrap_err();
    assert_eq!(errors.iter().count(), 100);
    assert!(errors.summary().contains("x0") && errors.summary().contains("and 999 more"), "{}", errors.summary());
}

/// Lines that come near what is understood.
fn near_document() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        r"\[\[(services|records|services\.routes|services\.endpoints)\]\]",
        r"(name|port|protocol|type|value|address|path|origin) = '[a-z0-9./:-]{0,12}'",
        r"(hosts|endpoints) = \['[a-z0-9.:*]{0,12}'(, '[a-z.]{0,3}')?\]",
        r"(weight|ttl|sticky|version) = (true|[0-9]{1,7}|'[0-9a-z]{0,4}')",
        r"\PC{0,20}",
    ];
    prop::collection::vec(line, 0..10).prop_map(|lines| lines.join("\n"))
}

fn near_zone() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        r"(@|a|b\.test\.|[a-z*]{1,4}|) ([0-9]{1,3}[smh]?|) ?(IN|CH|) ?(A|AAAA|SRV|CNAME|TXT|SOA|NS) [0-9a-z.:() ]{0,12}",
        r#"t TXT (["a-z;\\0-9é]{0,6} ?){0,3}"#,
        r"\$(ORIGIN|TTL|INCLUDE) [a-z.0-9]{0,6}",
        r"\PC{0,20}",
    ];
    prop::collection::vec(line, 0..10).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data: Vec<u8>) {
        fuzz_document(&data);
        fuzz_zone(&data);
    }

    #[test]
    fn near_documents_never_panic(text in near_document()) {
        fuzz_document(text.as_bytes());
    }

    #[test]
    fn near_zones_never_panic(text in near_zone()) {
        fuzz_zone(text.as_bytes());
    }
}

#[test]
fn the_documented_example_is_read() {
    let documented =
        include_str!("../src/cluster/sources/file/mod.rs").lines().map(|line| line.trim_start_matches("//!"));
    let example: Vec<&str> =
        documented.skip_while(|line| *line != " ```toml").skip(1).take_while(|line| *line != " ```").collect();
    let config = FileConfig { zones: vec!["example.com".into()], ..config() };
    let document = read(&example.join("\n"), &config.path, &config).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((document.contents.services[0].endpoints.len(), document.contents.records.len()), (2, 1));
}

/// What the labels of the one service that a file declares say.
fn declared(text: &str) -> Reading {
    let facts = facts(text);
    let declared = facts.iter().find_map(|fact| match fact {
        Fact::Declared(declared) => Some(declared),
        _ => None,
    });
    let reading = labels::read_declared(&declared.unwrap().labels, "0", &["*".to_owned()]);
    assert_eq!(reading.problems, []);
    reading
}

#[test]
fn routes_of_a_file_ask_for_what_labels_can_ask_for() {
    let text = r#"
[[services]]
name = "shop"
[[services.routes]]
name = "canary"
hosts = ["a.test", "*.a.test"]
path = "/x"
method = ["GET", "HEAD"]
header = ["X-Version=2", "X-Beta"]
query = "debug"
cookie = "canary=yes"
priority = 7
[[services.routes]]
name = "users"
host_regex = 'v[0-9]\.test'
path_regex = '/users/\d+'
[[services.routes]]
name = "login"
hosts = "a.test"
path_exact = "/login"
"#;
    let reading = declared(text);
    let shown = reading.spec.ports[0].routes.iter().map(|route| {
        let refined = route.refined.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} {} {}{refined}", route.name, route.hosts.last().unwrap(), route.path)
    });
    let expected = [
        "canary *.a.test /x [method GET or HEAD, header x-beta, header x-version=2, query debug, cookie canary=yes]",
        "login a.test /login [exact path]",
        r"users ~v[0-9]\.test /users/\d+ [path by expression]",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    assert_eq!(reading.spec.ports[0].routes[0].priority, 7);
    faulty(
        "[[services]]\nname = 'a'\n[[services.routes]]\nhosts = ['a']\nheader = ['x=~(']",
        &["5:10: services[0].routes[0].header: the value"],
    );
    faulty(
        "[[services]]\nname = 'a'\n[[services.routes]]\nhosts = ['a']\npath_regex = ['x']",
        &["5:14: services[0].routes[0].path_regex: it is of type array, not a text"],
    );
}

#[test]
fn routes_of_a_file_do_what_labels_can_do() {
    let text = r#"
[[services]]
name = "old"
[[services.routes]]
hosts = ["old.test"]
redirect = "https://new.test{path}{query}"
redirect_status = 308
[[services.routes]]
name = "fixed"
hosts = ["fixed.test"]
answer = 503
answer_body = "Back at noon; really."
[[services.routes]]
name = "fields"
hosts = ["fields.test"]
response_headers = ["Content-Security-Policy=default-src 'self'; img-src *", "-Server"]
"#;
    let reading = declared(text);
    let actions = reading.spec.ports[0].routes.iter().map(|route| (**route.actions.as_ref().unwrap()).clone());
    let actions: Vec<_> = actions.collect();
    assert_eq!(actions[0].describe(), ["redirect 308 to https://new.test{path}{query}"]);
    let csp = Change::Set("default-src 'self'; img-src *".into());
    assert_eq!((&actions[1].answer[0].change, actions[1].answer.len()), (&csp, 2));
    let Some(Instead::Answer { status: 503, body, .. }) = &actions[2].instead else { panic!("{actions:?}") };
    assert_eq!(&**body, "Back at noon; really.");
    faulty(
        "[[services]]\nname = 'a'\n[[services.routes]]\nhosts = ['a']\nredirect = 'b'",
        &["5:12: services[0].routes[0].redirect: the value"],
    );
}
