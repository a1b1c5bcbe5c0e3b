//! The commands that ask an instance, run as the program against a whole admin server.

mod admin_common;
#[path = "common/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use admin_common::{TOKEN, TestAdmin, add_service, service_id};
use pointsman::labels::host::HostPattern;
use pointsman::model::endpoint::EndpointState;
use pointsman::model::rules::Rules;
use pointsman::model::service::Target;
use pointsman::model::time::Timestamp;
use pointsman::table::routes::Route;
use pointsman::table::ways::Way;
use serde_json::Value;

fn program(admin: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.env_remove("POINTSMAN_TOKEN_FILE").env("POINTSMAN_ADMIN", admin).args(arguments);
    command
}

fn run(admin: &TestAdmin, arguments: &[&str]) -> (i32, String, String) {
    text(program(admin.socket.to_str().unwrap(), arguments).output().unwrap())
}

fn text(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_codes_and_texts() {
    let mut admin = TestAdmin::start();
    let check = |arguments: &[&str], code: i32, part: &str| {
        let (found, out, err) = run(&admin, arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(part), "{arguments:?} lacks {part:?}: {out}{err}");
    };
    check(&["services"], 0, "prod/f-1/web/http  marathon   http      1/2        ok");
    check(&["services", "api"], 0, "its last health check failed");
    check(&["services", "wob"], 1, "did you mean \"web\"");
    check(&["services", "web"], 1, "prod/f-2/web/http");
    check(&["tasks", "--state", "draining"], 0, "web.8001");
    check(&["tasks", "web.8001"], 0, "label HAPROXY_0_AUTH = [hidden]");
    check(&["tasks", "--state", "x"], 2, "there is no state");
    check(&["resolve", "web.nowhere", "A"], 1, "refused");
    check(&["resolve", "web.nowhere", "LOC"], 2, "use one of: A, AAAA");
    check(&["explain", "http://web.example.com/"], 0, "prod/f-1/web/http");
    check(&["explain", "wob.example.com/"], 1, "the nearest routes");
    check(&["explain", "http://h/", "-H", "Host: web.example.com"], 0, "routed");
    check(&["explain", "web.nowhere"], 1, "table version 1");
    admin.publish("rules", |table| {
        let mut service = (**table.service(&service_id("f-2", "web")).unwrap()).clone();
        service.rules = Rules { networks: Some(Box::new([])), ..Rules::default() }.shared();
        let owner = service.id.clone();
        table.services.insert(owner.clone(), Arc::new(service));
        let known = table.routes.sorted()[0].clone();
        let targets = known.targets.iter().map(|target| Target { service: owner.clone(), ..target.clone() }).collect();
        let host = HostPattern::parse("closed.example.com").unwrap();
        table.routes.insert(Arc::new(Route { owner: owner.clone(), host, targets, ..(*known).clone() }));
    });
    check(&["explain", "closed.example.com/"], 1, "the proxy itself answers 403");
    check(&["explain", "closed.example.com/"], 1, "rules: lets in no client");
    check(&["problems"], 1, "write pointsman.host");
    check(&["problems", "nobody"], 0, "no problems");
    check(&["sources"], 0, "pointsman sources accept-removals prod");
    check(&["table"], 0, "3 services, 3 routes, 4 tasks");
    check(&["table", "history"], 0, "CAUSES");
    check(&["table", "diff", "2", "9"], 1, "version 9 is not kept");
    check(&["version"], 0, env!("CARGO_PKG_VERSION"));
    check(&["--help"], 0, "Exit codes:");
    check(&["nonsense"], 2, "Usage");
    check(&["sources", "accept-removals", "prod"], 0, "accepted: 30 removals of prod");
    assert!(admin.events.try_recv().is_ok());
}

#[test]
fn json_is_what_the_api_says() {
    let admin = TestAdmin::start();
    let (code, out, _) = run(&admin, &["--json", "services", "api"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["service"]["id"].as_str()), (0, Some("prod/f-1/api/http")));
    let (code, out, _) = run(&admin, &["problems", "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["by_code"]["unknown-label"].as_u64()), (1, Some(1)));
}

#[test]
fn changes_over_tcp_need_the_token_file() {
    let admin = TestAdmin::start();
    let url = format!("http://{}", admin.address);
    let accept = ["sources", "accept-removals", "prod"];
    let (code, _, err) = text(program(&url, &accept).output().unwrap());
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("needs a token"), "{err}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let (code, _, err) = text(program(&url, &accept).arg("--token-file").arg(file.path()).output().unwrap());
    assert_eq!(code, 0, "{err}");
}

#[test]
fn nobody_there_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none.sock");
    let (code, _, err) = text(program(nowhere.to_str().unwrap(), &["table"]).output().unwrap());
    assert_eq!(code, 3);
    assert!(err.contains("no pointsman answers at") && err.contains("is it running?"), "{err}");
    let (code, _, err) = text(program("ftp://x", &["table"]).output().unwrap());
    assert_eq!(code, 2, "{err}");
}

#[test]
fn watch_prints_changes_as_they_come() {
    let admin = TestAdmin::start();
    let mut command = program(admin.socket.to_str().unwrap(), &["watch", "--count", "1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "watching; Ctrl-C ends");
    admin.publish("mesos: task new.1 running", |table| {
        add_service(table, "f-3", "new", &[EndpointState::Ready]);
        let way = Way { owner: service_id("f-3", "new"), since: Timestamp(1), priority: 0 };
        table.ways.ports.insert(10_000, Arc::new(way));
    });
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest[0].contains("version 2: mesos: task new.1 running"), "{rest:?}");
    assert!(rest[1].contains("service prod/f-3/new/http: new: 1 of 1 endpoints available"), "{rest:?}");
    assert!(rest.contains(&"  way port 10000: new: prod/f-3/new/http".to_owned()), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn watch_prints_an_object_a_line_for_machines() {
    let admin = TestAdmin::start();
    let mut command = program(admin.socket.to_str().unwrap(), &["watch", "--json", "--count", "2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Nothing but objects: what begins the stream is for people. So it is not known when it has begun.
    let publish = |cause: &str| admin.publish(cause, |table| add_service(table, "f-3", "new", &[EndpointState::Ready]));
    let begun = std::time::Instant::now();
    let metrics = || admin.send("GET", "/metrics", &[], "").body;
    while !metrics().contains("pointsman_admin_event_streams 1") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "nobody watches: {}", metrics());
    }
    for (cause, from, to) in [("first", 1, 2), ("second", 2, 3)] {
        publish(cause);
        let change: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&change["from"], &change["to"]), (&Value::from(from), &Value::from(to)), "{change}");
        assert_eq!(change["causes"][0], cause, "{change}");
    }
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn where_no_demo_runs_that_is_told_like_any_instance_that_is_not_there() {
    let nowhere = ports::unused().to_string();
    for order in [&["--do", "failover"], &["--deploy", "web"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(["demo", "--control", &nowhere]).args(order);
        let (code, _, err) = text(command.output().unwrap());
        assert_eq!(code, 3, "{err}");
        assert!(err.contains(&format!("no demo answers at {nowhere}")) && err.contains("--control"), "{err}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let (code, _, err) = text(command.args(["demo", "--do", "jump web"]).output().unwrap());
    assert!(code == 2 && err.contains("commands are"), "{code} {err}");
}
