//! The admin API's answers over real sockets: lookups, filters, explanations, limits of trust, events.

mod admin_common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use admin_common::{TOKEN, TestAdmin, add_service, exchange, service_id, source, table};
use pointsman::admin::Phase;
use pointsman::cluster::event::{ClusterEvent, Command};
use pointsman::config::filter::FilterConfig;
use pointsman::model::endpoint::{Endpoint, EndpointState};
use pointsman::model::password::PasswordHash;
use pointsman::model::rules::{BasicAuth, Rules};
use pointsman::model::run::Moment;
use pointsman::model::service::Protocol;
use pointsman::model::task::Label;
use pointsman::table::Table;
use pointsman::table::routes::Route;
use pointsman::table::status::SourceState;
use serde_json::Value;

#[test]
fn services_are_found_by_full_id_and_by_unambiguous_short_names() {
    let admin = TestAdmin::start();
    let check = |wanted: &str, status: u16, id: &str| {
        let (found, body) = admin.get(&format!("/v1/services/{wanted}"));
        assert_eq!(found, status, "{wanted}: {body}");
        assert_eq!(body["service"]["id"].as_str().unwrap_or_default(), id, "{wanted}");
    };
    check("prod/f-1/web/http", 200, "prod/f-1/web/http");
    check("prod%2Ff-1%2Fweb%2Fhttp", 200, "prod/f-1/web/http");
    check("api", 200, "prod/f-1/api/http");
    check("api:http", 200, "prod/f-1/api/http");
    check("marathon/web", 200, "prod/f-1/web/http");
    check("chronos/web/http", 200, "prod/f-2/web/http");
    check("f-2/web", 200, "prod/f-2/web/http");
    check("api:other", 404, "");
    check("web", 409, "");
    check("wob", 404, "");
    let (_, ambiguous) = admin.get("/v1/services/web");
    assert_eq!(ambiguous["error"]["candidates"], serde_json::json!(["prod/f-1/web/http", "prod/f-2/web/http"]));
    let (_, unknown) = admin.get("/v1/services/wob");
    assert!(unknown["error"]["mend"].as_str().unwrap().contains("did you mean \"web\""), "{unknown}");
}

#[test]
fn a_service_shows_why_endpoints_are_not_chosen() {
    let (_, body) = TestAdmin::start().get("/v1/services/marathon/web");
    let endpoints = body["endpoints"].as_array().unwrap();
    assert_eq!(endpoints[0]["reason"], Value::Null);
    assert_eq!(endpoints[1]["reason"], "its task is going away");
    assert_eq!(body["routes"][0]["host"], "web.example.com");
}

#[test]
fn tasks_are_filtered_and_paged() {
    let admin = TestAdmin::start();
    let count = |query: &str| admin.get(&format!("/v1/tasks?{query}")).1["tasks"].as_array().unwrap().len();
    assert_eq!(count(""), 4);
    assert_eq!(count("service=marathon/web"), 2);
    assert_eq!(count("state=draining"), 1);
    assert_eq!(count("agent=node1.example"), 4);
    assert_eq!(count("agent=10.0.0.1"), 4);
    assert_eq!(count("agent=node2"), 0);
    let (_, first) = admin.get("/v1/tasks?limit=3");
    assert_eq!(first["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(count(&format!("limit=3&cursor={}", first["next_cursor"].as_str().unwrap())), 1);
    assert_eq!(admin.get("/v1/tasks?state=ruining").0, 400);
    assert_eq!(admin.get("/v1/tasks?sevice=web").0, 400);
    assert_eq!(admin.get("/v1/tasks?service=web").0, 409);
}

#[test]
fn values_of_secret_labels_are_hidden() {
    let admin = TestAdmin::start();
    let reply = admin.send("GET", "/v1/tasks/web.8001", &[], "");
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("hunter2"), "{}", reply.body);
    assert!(reply.body.contains(r#"{"key":"HAPROXY_0_AUTH","value":"[hidden]"}"#), "{}", reply.body);
    assert!(reply.body.contains(r#"{"key":"version","value":"v1"}"#), "{}", reply.body);
}

#[test]
fn requests_are_explained() {
    let admin = TestAdmin::start();
    let explain = |query: &str| {
        let (status, body) = admin.get(&format!("/v1/explain?{query}"));
        assert_eq!(status, 200, "{body}");
        body["request"].clone()
    };
    let routed = explain("url=http://WEB.example.com:80/a");
    assert_eq!(routed["outcome"], "routed");
    assert_eq!(routed["targets"][0]["service"], "prod/f-1/web/http");
    assert_eq!(routed["targets"][0]["by_state"]["draining"], 1);
    assert_eq!(routed["steps"][0], serde_json::json!({"compared":"host","pattern":"web.example.com","matched":true}));
    let empty = explain("url=http://x.api.example.com/");
    assert_eq!((empty["outcome"].as_str(), empty["status"].as_u64()), (Some("no-endpoint"), Some(503)));
    let none = explain("url=http://wob.example.com/");
    assert_eq!((none["outcome"].as_str(), none["status"].as_u64()), (Some("no-route"), Some(404)));
    assert_eq!(none["nearest"][0]["host"], "web.example.com");
    assert_eq!(explain("url=http://127.0.0.1/&header=Host:web.example.com")["outcome"], "routed");
    // A route for one method is found with it alone; GET is meant where none is named.
    admin.publish("a route for PUT", |table| {
        let label = |(key, value): (&str, &str)| Label { key: key.into(), value: value.into() };
        let labels =
            [("pointsman.route.put.host", "web.example.com"), ("pointsman.route.put.method", "PUT")].map(label);
        let reading = pointsman::labels::read_declared(&labels, "http", &[]);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let asked = reading.spec.ports[0].routes[0].clone();
        let plain = table.routes.sorted().into_iter().find(|route| route.owner.name() == "web").unwrap();
        let route = Route { name: asked.name, refined: asked.refined, ..(**plain).clone() };
        table.routes.insert(Arc::new(route));
    });
    let put = explain("url=http://web.example.com/&method=PUT");
    assert_eq!((&put["method"], &put["route"]["name"]), (&"PUT".into(), &"put".into()), "{put}");
    for query in ["url=http://web.example.com/&method=POST", "url=http://web.example.com/"] {
        assert_eq!(explain(query)["route"]["name"], "default", "{query}");
    }
    assert_eq!(admin.get("/v1/explain?url=http://web.example.com/&method=P%20T").0, 400);
    // Over TLS and as HTTP/2 it is HTTP all the same.
    for (protocol, outcome) in
        [(Protocol::Https, "routed"), (Protocol::H2, "routed"), (Protocol::H2c, "routed"), (Protocol::Tcp, "not-http")]
    {
        admin.publish("protocol", |table| {
            let mut service = (**table.service(&service_id("f-1", "web")).unwrap()).clone();
            let speaks = |known: &Arc<Endpoint>| Arc::new(Endpoint { protocol, ..(**known).clone() });
            service.protocol = protocol;
            service.available = service.available.iter().map(speaks).collect();
            service.endpoints = service.endpoints.iter().map(speaks).collect();
            table.services.insert(service.id.clone(), Arc::new(service));
        });
        assert_eq!(explain("url=http://web.example.com/")["outcome"], outcome, "{protocol:?}");
    }
    assert_eq!(admin.get("/v1/explain").0, 400);
    assert_eq!(admin.get("/v1/explain?url=http://a/&name=b").0, 400);
}

/// What a service's rules answer by themselves is no request that is routed; what depends on who asks is told.
#[test]
fn explain_tells_what_the_services_rules_answer() {
    let admin = TestAdmin::start();
    let check = |rules: Rules, query: &str, outcome: &str, status: Option<u64>, part: &str| {
        admin.publish("rules", |table| {
            let mut config = (*table.config).clone();
            config.proxy.filters = vec![FilterConfig { name: "known".into(), ..FilterConfig::default() }];
            table.config = Arc::new(config);
            let mut service = (**table.service(&service_id("f-1", "web")).unwrap()).clone();
            service.rules = rules.shared();
            table.services.insert(service.id.clone(), Arc::new(service));
        });
        let (_, body) = admin.get(&format!("/v1/explain?url={query}"));
        let request = &body["request"];
        assert_eq!((request["outcome"].as_str(), request["status"].as_u64()), (Some(outcome), status), "{request}");
        let told = format!("{} {}", request["reason"], request["targets"][0]["rules"]);
        assert!(told.contains(part), "{told} lacks {part:?}");
    };
    let none = Rules::default;
    let (root, below) = ("http://web.example.com/", "http://web.example.com/a");
    check(none(), root, "routed", None, "one of the available endpoints\" []");
    let https = || Rules { https_redirect: true, ..none() };
    check(https(), below, "answered", Some(301), "https-required");
    check(https(), "http://web.example.com/a&method=POST", "answered", Some(308), "sends clear text to HTTPS");
    check(https(), "https://web.example.com/a", "routed", None, "sends clear text to HTTPS");
    let moved = || Rules { root_redirect: Some("/shop".into()), ..none() };
    check(moved(), root, "answered", Some(301), "sends / to /shop");
    check(moved(), below, "routed", None, "sends / to /shop");
    let networks = |networks: &[&str]| Some(networks.iter().map(|network| network.parse().unwrap()).collect());
    check(Rules { networks: networks(&[]), ..https() }, root, "refused", Some(403), "address-refused");
    let some = || Rules { networks: networks(&["10.0.0.0/8", "192.0.2.0/24"]), ..none() };
    check(some(), root, "routed", None, "if the service's rules let its client in");
    check(some(), root, "routed", None, "lets in clients of 10.0.0.0/8, 192.0.2.0/24");
    let hash = PasswordHash::parse("$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.").unwrap();
    let asking = |users: &[&str]| {
        let users = users.iter().map(|user| ((*user).into(), hash.clone())).collect();
        Rules { auth: Some(BasicAuth { realm: "r".into(), users }), ..moved() }
    };
    check(asking(&["ann"]), root, "refused", Some(401), "password-required");
    // `ann:b`: whether that is right is not tried. Only then the root's new place is told.
    let tried = "&header=Authorization:Basic%20YW5uOmI=";
    check(asking(&["ann"]), &format!("{below}{tried}"), "routed", None, "let its client in");
    check(asking(&["ann"]), &format!("{root}{tried}"), "answered", Some(301), "redirected");
    check(asking(&[]), &format!("{below}{tried}"), "refused", Some(401), "knows none");
    let filtered = |names: &[&str]| Rules { filters: names.iter().map(|name| (*name).into()).collect(), ..none() };
    check(filtered(&["known"]), root, "routed", None, "filter known");
    check(filtered(&["known", "other"]), root, "refused", Some(503), "unknown-filter");
    // HTTPS first, so that nobody is asked for a password in clear text.
    check(Rules { https_redirect: true, ..asking(&["ann"]) }, root, "answered", Some(301), "https-required");
}

#[test]
fn spared_endpoints_in_panic_are_told_as_served() {
    let admin = TestAdmin::start();
    admin.publish("four endpoints", |table| add_service(table, "f-1", "web", &[EndpointState::Ready; 4]));
    let spare = |count: usize| {
        let table = admin.table.load();
        let now = Moment::of(std::time::Instant::now());
        for endpoint in table.service(&service_id("f-1", "web")).unwrap().endpoints.iter().take(count) {
            endpoint.run.ejection.eject_for(Duration::from_secs(3600), now, 1.0);
        }
        admin.get("/v1/explain?url=http://web.example.com/").1["request"]["targets"][0].clone()
    };
    let target = spare(1);
    assert_eq!(target["panic_spared"], false);
    let reason = target["endpoints"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("it failed and is spared for another "), "{reason}");
    // Less than half are left: all count again.
    let target = spare(3);
    assert_eq!(target["panic_spared"], true);
    for number in 0..3 {
        assert_eq!(target["endpoints"][number]["reason"], "it failed, and is served because too many are spared");
    }
    assert_eq!(target["endpoints"][3]["reason"], Value::Null);
    let (_, service) = admin.get("/v1/services/marathon/web");
    assert_eq!(service["endpoints"][0]["reason"], target["endpoints"][0]["reason"]);
}

#[test]
fn names_in_no_zone_are_refused_and_nothing_is_denied_before_the_first_table() {
    let (_, body) = TestAdmin::start().get("/v1/explain?name=web.nowhere&type=a");
    assert_eq!(body["name"]["outcome"], "refused");
    let waiting = TestAdmin::with(Table::empty);
    assert_eq!(waiting.get("/v1/explain?name=web.nowhere").1["name"]["outcome"], "servfail");
    assert_eq!(waiting.get("/v1/explain?url=http://a/").1["request"]["outcome"], "not-ready");
}

#[test]
fn versions_can_be_shown_and_compared() {
    let admin = TestAdmin::start();
    admin.publish("first", |table| add_service(table, "f-3", "new", &[EndpointState::Ready]));
    admin.publish("second", |table| drop(table.services.remove(&service_id("f-1", "api"))));
    assert_eq!(admin.get("/v1/table").1["generation"], 3);
    let (_, history) = admin.get("/v1/table/history");
    assert_eq!(history["versions"][0]["record"]["causes"][0], "second");
    let (_, diff) = admin.get("/v1/table/diff?from=2&to=3");
    assert_eq!(diff["services"][0]["key"], "prod/f-1/api/http");
    assert_eq!(diff["services"][0]["after"], Value::Null);
    assert_eq!(admin.get("/v1/table/2").1["services"].as_array().unwrap().len(), 4);
    for (path, status) in [("99", 404), ("x", 400), ("diff", 400), ("diff?from=1&to=x", 400), ("diff?from=2&to=9", 404)]
    {
        assert_eq!(admin.get(&format!("/v1/table/{path}")).0, status, "{path}");
    }
}

#[test]
fn foreign_hosts_are_turned_away() {
    let admin = TestAdmin::start();
    let status = |host: &str| {
        let stream = TcpStream::connect(admin.address).unwrap();
        exchange(stream, "GET", "/v1/table", &[&format!("Host: {host}")], "").status
    };
    assert_eq!(status("evil.example"), 421);
    assert_eq!(status("localhost"), 200);
    assert_eq!(status("ops.example.com:443"), 200);
    let metrics = exchange(TcpStream::connect(admin.metrics).unwrap(), "GET", "/metrics", &["Host: evil.example"], "");
    assert_eq!(metrics.status, 421);
}

#[test]
fn changes_need_the_socket_or_the_token() {
    let mut admin = TestAdmin::start();
    let path = "/v1/sources/prod/accept-removals";
    assert_eq!(admin.send("POST", path, &[], "").status, 401);
    assert_eq!(admin.send("POST", path, &["Authorization: Bearer wrong"], "").status, 401);
    assert!(admin.events.try_recv().is_err(), "a refused call orders nothing");
    let token = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(admin.send("POST", path, &[&token], "").status, 202);
    let by_token = admin.events.try_recv().unwrap();
    assert_eq!(admin.send_socket("POST", path, "").status, 202);
    let by_socket = admin.events.try_recv().unwrap();
    for (event, who) in [(by_token, "the token"), (by_socket, "user ")] {
        let ClusterEvent::Command(Command::AcceptRemovals { source, actor }) = event else { panic!("{event:?}") };
        assert_eq!(source.as_str(), "prod");
        assert!(actor.starts_with(who), "{actor}");
    }
    assert_eq!(admin.send_socket("POST", "/v1/sources/other/accept-removals", "").status, 404);
}

#[test]
fn the_log_level_changes() {
    let admin = TestAdmin::start();
    assert_eq!(admin.send("PUT", "/v1/log", &[], r#"{"level":"debug"}"#).status, 401);
    assert_eq!(admin.send_socket("PUT", "/v1/log", r#"{"level":"debug"}"#).status, 200);
    assert_eq!(*admin.levels.lock().unwrap(), ["debug"]);
    for body in ["", "debug", r#"{"level":""}"#, r#"{"level":"nonsense"}"#, r#"{"lvl":"info"}"#] {
        assert_eq!(admin.send_socket("PUT", "/v1/log", body).status, 400, "{body}");
    }
    assert_eq!(admin.send_socket("PUT", "/v1/log", &"x".repeat(5000)).status, 400);
}

#[test]
fn the_socket_is_ours_alone_and_goes_with_us() {
    let mut admin = TestAdmin::start();
    let mode = std::fs::metadata(&admin.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    admin.stop();
    assert!(!admin.socket.exists());
}

#[test]
fn wrong_paths_and_methods_say_so() {
    let admin = TestAdmin::start();
    assert_eq!(admin.get("/v1/nothing").0, 404);
    let reply = admin.send("DELETE", "/v1/services", &[], "");
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("allow: get, head"), "{}", reply.head);
    let head = admin.send("HEAD", "/v1/services", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(!head.head.contains("access-control"), "{}", head.head);
    let metrics = |path: &str| {
        let host = format!("Host: {}", admin.metrics);
        exchange(TcpStream::connect(admin.metrics).unwrap(), "GET", path, &[&host], "").status
    };
    assert_eq!(
        (metrics("/healthz"), metrics("/readyz"), metrics("/metrics"), metrics("/v1/table")),
        (200, 200, 200, 404)
    );
}

#[test]
fn readiness_says_what_it_waits_for() {
    let admin = TestAdmin::with(|config| Table {
        sources: Arc::new([source(false, SourceState::Waiting)]),
        ..Table::empty(config)
    });
    let (status, body) = admin.get("/readyz");
    assert_eq!(status, 503);
    assert_eq!(body["waits_for"][0], "the first complete snapshot of source prod");
    assert_eq!(admin.get("/healthz").0, 200);
    admin.publish("ready", |table| table.ready = true);
    assert_eq!(admin.get("/readyz").0, 200);
    admin.phase.send_replace(Phase::Stopping);
    assert_eq!(admin.get("/readyz").0, 503);
}

#[test]
fn prometheus_gets_targets_or_an_error_but_no_list_from_doubt() {
    let admin = TestAdmin::start();
    let (status, body) = admin.get("/v1/prometheus/targets");
    assert_eq!((status, body.as_array().unwrap().len()), (200, 4));
    let labels = &body[0]["labels"];
    assert_eq!(labels["__meta_pointsman_cluster"], "prod");
    assert_eq!(labels["__meta_pointsman_agent"], "node1.example");
    assert_eq!(labels["__meta_pointsman_version"], "v1");
    admin.publish("not ready", |table| table.ready = false);
    assert_eq!(admin.get("/v1/prometheus/targets").0, 503);
    admin.publish("incomplete", |table| {
        table.ready = true;
        table.sources = Arc::new([source(false, SourceState::Live)]);
    });
    assert_eq!(admin.get("/v1/prometheus/targets").0, 503);
    admin.publish("empty and stale", |table| {
        table.sources = Arc::new([source(true, SourceState::Stale)]);
        table.tasks = Default::default();
    });
    assert_eq!(admin.get("/v1/prometheus/targets").0, 503);
}

#[test]
fn metrics_tell_of_the_table() {
    let admin = TestAdmin::start();
    admin.publish("a change", |_| ());
    let text = admin.send("GET", "/metrics", &[], "").body;
    for line in [
        "pointsman_table_generation 2",
        "pointsman_table_services 3",
        "pointsman_table_endpoints{state=\"ready\"} 2",
        "pointsman_table_problems{code=\"unknown-label\"} 1",
        "pointsman_source_state{source=\"prod\",state=\"live\"} 1",
        "pointsman_source_removals_held{source=\"prod\"} 30",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"));
    let again = admin.send("GET", "/metrics", &[], "").body;
    assert!(again.contains("pointsman_admin_requests_total{call=\"/metrics\",code=\"200\"} 1"), "{again}");
}

/// A stream of events; each read waits at most ten seconds.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(admin: &TestAdmin, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(admin.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        write!(stream, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event: id, name, data. Lines that belong to chunks and comments are passed over.
    fn next(&mut self) -> (String, String, Value) {
        let (mut id, mut name) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            let line = line.trim_end();
            if let Some(rest) = line.strip_prefix("id: ") {
                id = rest.into();
            } else if let Some(rest) = line.strip_prefix("event: ") {
                name = rest.into();
            } else if let Some(rest) = line.strip_prefix("data: ") {
                return (id, name, serde_json::from_str(rest).unwrap());
            }
        }
    }
}

#[test]
fn events_follow_the_table_and_resume() {
    let mut admin = TestAdmin::start();
    let mut events = Events::open(&admin, None);
    let (_, name, hello) = events.next();
    assert_eq!((name.as_str(), hello["generation"].as_u64()), ("hello", Some(1)));
    admin.publish("a new service", |table| add_service(table, "f-3", "new", &[EndpointState::Ready]));
    let (id, name, change) = events.next();
    assert_eq!((name.as_str(), change["from"].as_u64(), change["to"].as_u64()), ("table", Some(1), Some(2)));
    assert_eq!(change["causes"][0], "a new service");
    assert_eq!(change["diff"]["services"][0]["key"], "prod/f-3/new/http");
    drop(events);

    admin.publish("missed", |table| drop(table.services.remove(&service_id("f-1", "api"))));
    let mut resumed = Events::open(&admin, Some(&id));
    let (_, name, change) = resumed.next();
    assert_eq!((name.as_str(), change["from"].as_u64(), change["to"].as_u64()), ("table", Some(2), Some(3)));
    assert_eq!(change["causes"][0], "missed");

    for unknown in ["0000000000000abc-99", "0000000000000abd-2", "nonsense"] {
        assert_eq!(Events::open(&admin, Some(unknown)).next().1, "reset", "{unknown}");
    }
    // Stopping ends the streams; it would wait for its whole grace otherwise.
    admin.stop();
    let mut rest = String::new();
    while resumed.0.read_line(&mut rest).unwrap() > 0 {}
}

#[test]
fn streams_are_bounded() {
    let admin = TestAdmin::start();
    let mut open: Vec<Events> = (0..32).map(|_| Events::open(&admin, None)).collect();
    open.iter_mut().for_each(|events| assert_eq!(events.next().1, "hello"));
    assert_eq!(admin.send("GET", "/v1/events", &[], "").status, 503);
    assert_eq!(admin.get("/healthz").0, 200);
}

#[test]
fn one_table_function_for_all() {
    // The fixture itself must hold what the other tests count on.
    let table = table(Arc::default());
    assert_eq!((table.services.len(), table.tasks.len(), table.problems.len()), (3, 4, 1));
}
