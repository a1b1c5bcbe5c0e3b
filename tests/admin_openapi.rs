//! The OpenAPI document against the answers: every path answers, and every answer is what its schema says.

mod admin_common;
#[path = "common/openapi.rs"]
mod openapi;

use admin_common::{Reply, TestAdmin};
use openapi::validate;
use pointsman::model::endpoint::EndpointState;
use serde_json::Value;

fn check(document: &Value, template: &str, method: &str, reply: &Reply) {
    let at = format!("{method} {template} → {}", reply.status);
    let responses = &document["paths"][template][method]["responses"];
    let response = responses.get(reply.status.to_string()).unwrap_or(&responses["default"]);
    let content = response["content"].as_object().unwrap_or_else(|| panic!("{at} is not described"));
    let (kind, body) = content.iter().next().unwrap();
    assert!(reply.head.contains(&format!("content-type: {kind}")), "{at}: {}", reply.head);
    if kind == "application/json" {
        validate(document, &body["schema"], &serde_json::from_str(&reply.body).unwrap(), &at);
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
    let admin = TestAdmin::start();
    admin.publish("more", |table| admin_common::add_service(table, "f-3", "new", &[EndpointState::Ready]));
    admin.publish("less", |table| drop(table.services.remove(&admin_common::service_id("f-1", "api"))));
    admin.publish("back", |table| admin_common::add_service(table, "f-1", "api", &[EndpointState::Unhealthy]));
    let document: Value = serde_json::from_str(&admin.send("GET", "/v1/openapi.json", &[], "").body).unwrap();
    for (template, paths) in CALLS {
        for (index, path) in paths.iter().enumerate() {
            let reply = admin.send("GET", path, &[], "");
            assert!(index > 0 || reply.status == 200, "{path}: {} {}", reply.status, reply.body);
            check(&document, template, "get", &reply);
        }
    }
    let accept = |source: &str| admin.send_socket("POST", &format!("/v1/sources/{source}/accept-removals"), "");
    let accepted = accept("prod");
    assert_eq!(accepted.status, 202);
    let path = "/v1/sources/{source}/accept-removals";
    check(&document, path, "post", &accepted);
    check(&document, path, "post", &accept("x"));
    check(&document, path, "post", &admin.send("POST", "/v1/sources/prod/accept-removals", &[], ""));
    check(&document, "/v1/log", "put", &admin.send_socket("PUT", "/v1/log", r#"{"level":"info"}"#));
    check(&document, "/v1/log", "put", &admin.send_socket("PUT", "/v1/log", "x"));
    let waiting = TestAdmin::with(pointsman::table::Table::empty);
    check(&document, "/readyz", "get", &waiting.send("GET", "/readyz", &[], ""));
    check(&document, "/v1/prometheus/targets", "get", &waiting.send("GET", "/v1/prometheus/targets", &[], ""));

    let covered = [
        "/v1/deploys/{deploy}",
        "/v1/drains/tasks/{task}",
        "/v1/drains/agents/{agent}",
        "/v1/sources/{source}/accept-removals",
        "/v1/log",
        "/v1/events",
    ];
    for path in document["paths"].as_object().unwrap().keys() {
        let is_called = CALLS.iter().any(|(template, _)| template == path) || covered.contains(&path.as_str());
        assert!(is_called, "{path} is described and never called here");
    }
}

#[test]
#[should_panic(expected = "is not described")]
fn the_validator_notices_what_is_not_described() {
    let schema = serde_json::json!({"type": "object", "properties": {}, "additionalProperties": false});
    validate(&Value::Null, &schema, &serde_json::json!({"x": 1}), "test");
}
