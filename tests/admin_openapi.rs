//! The OpenAPI document against the answers: every path answers, and every answer is what its schema says.

mod admin_common;
#[path = "common/openapi.rs"]
mod openapi;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use admin_common::{Reply, TestAdmin};
use openapi::validate;
use pointsman::model::endpoint::EndpointState;
use pointsman::model::time::Timestamp;
use pointsman::table::ways::Way;
use serde_json::{Value, json};

/// The document, and what of it has been seen to be true.
struct Document {
    text: Value,
    /// Paths and methods of which an answer of success was checked.
    seen: BTreeSet<(String, String)>,
}

impl Document {
    fn of(admin: &TestAdmin) -> Self {
        let text = serde_json::from_str(&admin.send("GET", "/v1/openapi.json", &[], "").body).unwrap();
        Self { text, seen: BTreeSet::new() }
    }

    /// Checks an answer to a call of a path with a method.
    fn check(&mut self, template: &str, method: &str, reply: &Reply) {
        let at = format!("{method} {template} → {}", reply.status);
        let responses = &self.text["paths"][template][method]["responses"];
        let response = responses.get(reply.status.to_string()).unwrap_or(&responses["default"]);
        let content = response["content"].as_object().unwrap_or_else(|| panic!("{at} is not described"));
        let (kind, body) = content.iter().next().unwrap();
        assert!(reply.head.contains(&format!("content-type: {kind}")), "{at}: {}", reply.head);
        if kind == "application/json" {
            validate(&self.text, &body["schema"], &serde_json::from_str(&reply.body).unwrap(), &at);
        }
        if reply.status < 300 {
            self.seen.insert((template.to_owned(), method.to_owned()));
        }
    }

    /// Checks an answer that must have this status.
    fn expect(&mut self, template: &str, method: &str, status: u16, reply: &Reply) {
        assert_eq!(reply.status, status, "{method} {template}: {}", reply.body);
        self.check(template, method, reply);
    }
}

/// For each path: the concrete ones to call, good and bad.
const CALLS: &[(&str, &[&str])] = &[
    ("/v1/services", &["/v1/services", "/v1/services?limit=1", "/v1/services?limit=0"]),
    (
        "/v1/services/{service}",
        &["/v1/services/prod/f-1/web/http", "/v1/services/api", "/v1/services/web", "/v1/services/x"],
    ),
    ("/v1/tasks", &["/v1/tasks", "/v1/tasks?limit=1", "/v1/tasks?state=x", "/v1/tasks?service=web"]),
    ("/v1/tasks/{task}", &["/v1/tasks/prod/f-1/web.8000", "/v1/tasks/web", "/v1/tasks/x"]),
    ("/v1/table", &["/v1/table", "/v1/table?x=1"]),
    ("/v1/table/history", &["/v1/table/history"]),
    ("/v1/table/diff", &["/v1/table/diff?from=2&to=3", "/v1/table/diff", "/v1/table/diff?from=2&to=99"]),
    ("/v1/table/{generation}", &["/v1/table/3", "/v1/table/99", "/v1/table/x"]),
    (
        "/v1/explain",
        &[
            "/v1/explain?url=http://web.example.com/",
            "/v1/explain?url=http://wob.example.com/",
            "/v1/explain?url=http://a.api.example.com/",
            "/v1/explain?name=a.b&type=A",
            "/v1/explain",
        ],
    ),
    ("/v1/problems", &["/v1/problems", "/v1/problems?code=x", "/v1/problems?subject=nobody"]),
    ("/v1/sources", &["/v1/sources"]),
    ("/v1/config", &["/v1/config"]),
    ("/v1/certificates", &["/v1/certificates", "/v1/certificates?x=1"]),
    ("/v1/drains", &["/v1/drains", "/v1/drains?x=1"]),
    ("/v1/weights/{service}", &["/v1/weights/prod/f-1/web/http", "/v1/weights/web", "/v1/weights/nobody"]),
    ("/v1/deploys", &["/v1/deploys", "/v1/deploys?service=x", "/v1/deploys?limit=x"]),
    ("/v1/prometheus/targets", &["/v1/prometheus/targets"]),
    ("/v1/openapi.json", &["/v1/openapi.json"]),
    ("/healthz", &["/healthz"]),
    ("/readyz", &["/readyz"]),
    ("/metrics", &["/metrics"]),
];

#[test]
fn every_path_answers_as_the_document_says() {
    let mut admin = TestAdmin::start();
    admin.publish("more", |table| admin_common::add_service(table, "f-3", "new", &[EndpointState::Ready]));
    admin.publish("less", |table| {
        let id = admin_common::service_id("f-1", "api");
        table.services.remove(&id);
        // So that the difference that is asked for below has a change of another kind.
        table.ways.ports.insert(10_000, Arc::new(Way { owner: id, since: Timestamp(1), priority: 0 }));
    });
    admin.publish("back", |table| admin_common::add_service(table, "f-1", "api", &[EndpointState::Unhealthy]));
    let mut document = Document::of(&admin);
    for (template, paths) in CALLS {
        for (index, path) in paths.iter().enumerate() {
            let reply = admin.send("GET", path, &[], "");
            assert!(index > 0 || reply.status == 200, "{path}: {} {}", reply.status, reply.body);
            document.check(template, "get", &reply);
        }
    }
    let accept = |source: &str| admin.send_socket("POST", &format!("/v1/sources/{source}/accept-removals"), "");
    let path = "/v1/sources/{source}/accept-removals";
    document.expect(path, "post", 202, &accept("prod"));
    document.expect(path, "post", 404, &accept("x"));
    document.expect(path, "post", 401, &admin.send("POST", "/v1/sources/prod/accept-removals", &[], ""));
    document.expect("/v1/log", "put", 200, &admin.send_socket("PUT", "/v1/log", r#"{"level":"info"}"#));
    document.expect("/v1/log", "put", 400, &admin.send_socket("PUT", "/v1/log", "x"));
    document.expect("/v1/deploys/{deploy}", "get", 404, &admin.send("GET", "/v1/deploys/99", &[], ""));
    let waiting = TestAdmin::with(pointsman::table::Table::empty);
    document.check("/readyz", "get", &waiting.send("GET", "/readyz", &[], ""));
    document.check("/v1/prometheus/targets", "get", &waiting.send("GET", "/v1/prometheus/targets", &[], ""));
    admin.obey();
    drains(&admin, &mut document);
    weights(&admin, &mut document);
    events(&admin, &mut document);

    for (path, methods) in document.text["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())) {
            let is_seen = document.seen.contains(&(path.clone(), method.clone()));
            let is_elsewhere = ELSEWHERE.contains(&(path.as_str(), method.as_str()));
            assert!(is_seen || is_elsewhere, "{method} {path} is described, and no success of it was checked here");
        }
    }
}

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

/// What succeeds in another test, which validates it: a deploy takes a cluster, tests/deploy_ledger.rs has one.
const ELSEWHERE: &[(&str, &str)] = &[("/v1/deploys/{deploy}", "get")];

/// Orders for a task and for an agent: given, looked at, listed, taken back; and what is refused of them.
fn drains(admin: &TestAdmin, document: &mut Document) {
    let subjects =
        [("/v1/drains/tasks/{task}", "tasks/prod/f-1/web.8000"), ("/v1/drains/agents/{agent}", "agents/agent-1")];
    for (template, subject) in subjects {
        let path = format!("/v1/drains/{subject}");
        let unknown = format!("/v1/drains/{}/nobody", subject.split('/').next().unwrap());
        document.expect(template, "get", 404, &admin.send("GET", &path, &[], ""));
        document.expect(template, "delete", 404, &admin.send_socket("DELETE", &path, ""));
        document.expect(template, "put", 401, &admin.send("PUT", &path, &[], ""));
        document.expect(template, "delete", 401, &admin.send("DELETE", &path, &[], ""));
        document.expect(template, "put", 404, &admin.send_socket("PUT", &unknown, ""));
        document.expect(template, "put", 400, &admin.send_socket("PUT", &format!("{path}?wait=99999"), ""));
        document.expect(template, "put", 200, &admin.send_socket("PUT", &path, ""));
        document.expect(template, "get", 200, &admin.send("GET", &path, &[], ""));
        let list = admin.send("GET", "/v1/drains", &[], "");
        assert!(list.body.contains("agent-1") || list.body.contains("web.8000"), "{}", list.body);
        document.expect("/v1/drains", "get", 200, &list);
        document.expect(template, "delete", 200, &admin.send_socket("DELETE", &path, ""));
    }
}

/// Shares of a service's versions: ordered, looked at, taken back; and what is refused of them.
fn weights(admin: &TestAdmin, document: &mut Document) {
    let (template, path) = ("/v1/weights/{service}", "/v1/weights/prod/f-1/web/http");
    document.expect(template, "put", 401, &admin.send("PUT", path, &[], ""));
    document.expect(template, "put", 400, &admin.send_socket("PUT", &format!("{path}?versions=v1=x"), ""));
    document.expect(template, "put", 409, &admin.send_socket("PUT", "/v1/weights/web?versions=v1=1", ""));
    document.expect(template, "put", 200, &admin.send_socket("PUT", &format!("{path}?versions=v1=50,v2=50"), ""));
    let ordered = admin.send("GET", path, &[], "");
    assert!(ordered.body.contains("operator"), "{}", ordered.body);
    document.expect(template, "get", 200, &ordered);
    document.expect(template, "delete", 401, &admin.send("DELETE", path, &[], ""));
    document.expect(template, "delete", 404, &admin.send_socket("DELETE", "/v1/weights/nobody", ""));
    document.expect(template, "delete", 200, &admin.send_socket("DELETE", path, ""));
}

/// A stream's first events: the version in force, and a change.
fn events(admin: &TestAdmin, document: &mut Document) {
    let mut stream = TcpStream::connect(admin.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = || {
        let event = lines.find_map(|line| Some(line.strip_prefix("event: ")?.to_owned())).unwrap();
        let data = lines.find_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).unwrap();
        (event, serde_json::from_str::<Value>(&data).unwrap())
    };
    for (expected, schema) in [("hello", "Table"), ("table", "TableChanged")] {
        let (event, data) = next();
        assert_eq!(event, expected);
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        validate(&document.text, &schema, &data, expected);
        admin.publish("a change", |table| {
            admin_common::add_service(table, "f-4", "late", &[EndpointState::Ready]);
            let owner = admin_common::service_id("f-4", "late");
            table.ways.ports.insert(10_001, Arc::new(Way { owner, since: Timestamp(1), priority: 0 }));
        });
    }
    document.seen.insert(("/v1/events".to_owned(), "get".to_owned()));
}

#[test]
#[should_panic(expected = "is not described")]
fn the_validator_notices_what_is_not_described() {
    let schema = serde_json::json!({"type": "object", "properties": {}, "additionalProperties": false});
    validate(&Value::Null, &schema, &serde_json::json!({"x": 1}), "test");
}
