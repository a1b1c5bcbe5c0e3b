//! marathon-lb's own example apps, as requests against a running proxy with echo backends: every label of its table.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod marathon_common;
mod proxy_common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use marathon_common::server::{Marathon, following};
use marathon_common::*;
use pointsman::config::Config;
use proxy_common::{Backend, body, header, ports, read_head, status};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/marathon-lb/apps");

/// A file, and what requests for a host and a path come to: the status, and the app and index that answers, or where
/// the client is sent.
type Case = (&'static str, &'static [(&'static str, &'static str, &'static str)]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("simple_app", &[("test.example.com", "/", "404")]),
    ("simple_app_vhost", &[("test.example.com", "/x", "200 /nginx:0"), ("TEST.example.com:80", "/", "200 /nginx:0"), ("x.test.example.com", "/", "404")]),
    ("simple_app_multiple_vhost", &[("test.example.com", "/", "200 /nginx:0"), ("test", "/", "200 /nginx:0")]),
    ("simple_app_vhost_with_path", &[("test.example.com", "/some/path", "200 /nginx:0"), ("test.example.com", "/some/path/x", "200 /nginx:0"),
        ("test.example.com", "/some/pathology", "404"), ("test.example.com", "/", "404")]),
    ("simple_app_multiple_vhost_with_path", &[("test", "/some/path", "200 /nginx:0"), ("test", "/some", "404")]),
    ("simple_app_vhost_with_auth", &[("test.example.com", "/", "401")]),
    ("simple_app_multiple_vhost_and_auth", &[("test", "/", "401")]),
    ("simple_app_vhost_with_path_and_auth", &[("test.example.com", "/some/path", "401"), ("test.example.com", "/", "404")]),
    ("simple_app_multiple_vhost_with_path_and_auth", &[("test", "/some/path", "401")]),
    ("simple_app_vhost_and_redirect", &[("test.example.com", "/x?y", "301 https://test.example.com/x?y")]),
    ("simple_app_multiple_vhost_and_redirect", &[("test", "/", "301 https://test/")]),
    ("simple_app_vhost_with_path_and_redirect", &[("test.example.com", "/some/path", "301 https://test.example.com/some/path"), ("test.example.com", "/", "404")]),
    ("simple_app_multiple_vhost_with_path_and_redirect", &[("test", "/some/path", "301 https://test/some/path")]),
    ("simple_app_multiple_vhost_path_redirect_hsts", &[("test", "/some/path", "301 https://test/some/path")]),
    ("simple_app_redirect", &[("test.example.com", "/", "301 /test"), ("test.example.com", "/test", "200 /nginx:0")]),
    ("simple_app_proxypass", &[("test.example.com", "/test/a", "200 /nginx:0"), ("test.example.com", "/", "200 /nginx:0")]),
    ("simple_app_long_backend_proxypass", &[("testhost.com", "/testing1234_1234-1234-test123_testing/a", "200 /nginx:0")]),
    ("simple_app_revproxy", &[("test.example.com", "/", "200 /nginx:0")]),
    ("simple_app_tcp_healthcheck", &[("test.example.com", "/", "200 /nginx:0")]),
    ("bridge_app_marathon15", &[("myvhost.com", "/", "200 /pywebserver:0")]),
    ("backend_disabled_and_enablede", &[("server.nginx.net", "/", "200 /nginx2:0")]),
    ("haproxy_map", &[("server.nginx.net", "/", "200 /nginx:0"), ("server.nginx1.net", "/", "200 /nginx:0"), ("server.apache.net", "/", "200 /apache:0")]),
    ("haproxy_map_hybrid", &[("server.nginx1.net", "/", "200 /nginx:0"), ("server.apache.net", "/apache", "200 /apache:0"), ("server.apache.net", "/", "404")]),
    ("haproxy_map_hybrid_with_vhost_path", &[("server.apache1.net", "/apache/x", "200 /apache:0")]),
    ("haproxy_map_hybrid_httptohttps_redirect", &[("server.apache1.net", "/", "301 https://server.apache1.net/"), ("server.nginx.net", "/", "200 /nginx:0")]),
    ("haproxy_map_auth_noauth", &[("server.nginx.net", "/", "200 /nginx1:0")]),
    ("group_https_by_vhost", &[("server3.nginx.net", "/", "200 /nginx1:0"), ("server2.nginx.net", "/test", "200 /nginx2:0"), ("server2.nginx.net", "/test2", "200 /nginx3:0"),
        ("server.nginx.net", "/.well-known/acme-challenge/x", "200 /letsencrypt:0"), ("server.nginx.net", "/", "200 /nginx1:0"), ("nginx.net", "/", "404")]),
    ("multi_app_multiple_vhost_with_path", &[("test", "/some/path", "200 /nginx3:0"), ("test.example.com", "/some/path/x", "200 /nginx3:0")]),
];

/// Files whose apps are all to be had by their service ports alone.
const BY_PORT: &[(&str, &[&str])] = &[
    ("simple_app", &["/nginx:0"]),
    ("simple_app_balance", &["/nginx:0"]),
    ("simple_app_sticky", &["/nginx:0"]),
    ("simple_app_healthcheck_port", &["/nginx:0"]),
    ("simple_app_healthcheck_port_using_another_portindex", &["/nginx:0", "/nginx:1"]),
    ("simple_app_healthcheck_port_portindex_out_of_range", &["/nginx:0", "/nginx:1"]),
    ("simple_app_proxypass_health_check", &["/nginx:0"]),
    ("simple_app_revproxy_health_check", &["/nginx:0"]),
    ("healthcheck_command", &["/nginx:0"]),
    ("haproxy_group_fallback", &["/nginx:0", "/nginx:1"]),
    ("haproxy_group_hybrid", &["/nginx:1"]),
    ("haproxy_group_per_service", &["/nginx:0"]),
    ("simple_app_healthcheck_port_diff_portindex_and_group", &[]),
    ("simple_app_vhost", &["/nginx:0"]),
    ("bridge_app_marathon15", &["/pywebserver:0"]),
    ("haproxy_map", &["/nginx:0", "/apache:0"]),
];

/// The apps of a file, moved here: each port of each task is a backend that says whose it is.
struct Moved {
    marathon: Marathon,
    backends: Vec<Backend>,
    /// The service port of each port, by app and index.
    service_ports: BTreeMap<String, SocketAddr>,
}

impl Moved {
    async fn from(name: &str) -> Self {
        let text = std::fs::read_to_string(format!("{FOLDER}/mlb-{name}.json")).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut moved =
            Self { marathon: Marathon::start().await, backends: Vec::new(), service_ports: BTreeMap::new() };
        let mut numbers: BTreeMap<u64, SocketAddr> = BTreeMap::new();
        for app in document["apps"].as_array().unwrap() {
            let app = moved.moved(app.clone(), &mut numbers).await;
            moved.marathon.put(app);
        }
        moved
    }

    async fn moved(&mut self, mut app: Value, numbers: &mut BTreeMap<u64, SocketAddr>) -> Value {
        let id = app["id"].as_str().unwrap().to_owned();
        for (list, field) in [("/portDefinitions", "port"), ("/container/portMappings", "servicePort")] {
            let Some(ports) = app.pointer_mut(list).and_then(Value::as_array_mut) else { continue };
            for (index, port) in ports.iter_mut().enumerate() {
                let service_port = *numbers.entry(port[field].as_u64().unwrap()).or_insert_with(ports::unused);
                port[field] = service_port.port().into();
                self.service_ports.insert(format!("{id}:{index}"), service_port);
            }
        }
        for task in app["tasks"].as_array_mut().unwrap() {
            task["host"] = "127.0.0.1".into();
            for (index, port) in task["ports"].as_array_mut().unwrap().iter_mut().enumerate() {
                let backend = saying(format!("{id}:{index}")).await;
                *port = backend.address.port().into();
                self.backends.push(backend);
            }
            // What marathon-lb takes for healthy.
            task["healthCheckResults"] = serde_json::json!([{ "alive": true }]);
        }
        app
    }

    fn serve(&self, change: impl FnOnce(&mut Config)) -> Running {
        following(&[&self.marathon], |config| {
            config.routing.groups = vec!["external".into()];
            change(config);
        })
    }
}

/// Answers with its name, and the request's target.
async fn saying(name: String) -> Backend {
    Backend::start(move |mut stream, _| {
        let name = name.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let target = head.split(' ').nth(1).unwrap_or_default();
                let text = proxy_common::ok(&name).replacen("\r\n", &format!("\r\nTarget: {target}\r\n"), 1);
                // Over plain TCP nobody else ends the connection.
                let ends = head.to_ascii_lowercase().contains("connection: close");
                if stream.write_all(text.as_bytes()).await.is_err() || ends {
                    return;
                }
            }
        }
    })
    .await
}

fn shown(answer: &str) -> String {
    match status(answer) {
        200 => format!("200 {}", body(answer)),
        code @ (301 | 308) => format!("{code} {}", header(answer, "location").unwrap_or_default()),
        code => code.to_string(),
    }
}

fn are_here() -> bool {
    let here = Path::new(FOLDER).exists();
    if !here {
        println!("SKIP: the example apps of marathon-lb are not here");
    }
    here
}

#[tokio::test]
async fn requests_by_host_go_where_the_labels_say() {
    if !are_here() {
        return;
    }
    for (name, requests) in CASES {
        let moved = Moved::from(name).await;
        let server = moved.serve(|_| {});
        server.table_until("the apps are read", |table| table.ready).await;
        for (host, path, expected) in *requests {
            let answer = get(server.http, host, path).await;
            assert_eq!(shown(&answer), *expected, "{name}: {host}{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn requests_by_port_go_where_the_labels_say() {
    if !are_here() {
        return;
    }
    for (name, expected) in BY_PORT {
        let moved = Moved::from(name).await;
        let server = moved.serve(|_| {});
        server.table_until("the apps are read", |table| table.ready).await;
        for port in *expected {
            let answer = get(moved.service_ports[*port], "whatever.test", "/a").await;
            assert_eq!(shown(&answer), format!("200 {port}"), "{name}: {answer}");
        }
        let open = server.table().ways.ports.iter().count();
        assert_eq!(open, expected.len(), "{name}: {:?}", server.problems());
    }
}

#[tokio::test]
async fn a_star_serves_apps_without_a_label_on_their_service_ports() {
    let marathon = Marathon::start().await;
    let (backend, port) = (saying("/plain:0".to_owned()).await, ports::unused());
    let tasks = [server::task("/plain", 1, backend.address)];
    marathon.put(server::app("/plain", port.port(), &serde_json::json!({}), &tasks));
    let server = following(&[&marathon], |_| {});
    server.table_until("the app is read", |table| table.ready && table.tasks.len() == 1).await;
    assert!(server.table().ways.ports.is_empty(), "only who names a group has a port");
    server.reload(|config| config.routing.groups = vec!["*".into()]).await;
    assert_eq!(shown(&get(port, "whatever.test", "/").await), "200 /plain:0");
}

#[tokio::test]
async fn strict_mode_serves_nothing_that_is_not_enabled() {
    if !are_here() {
        return;
    }
    let moved = Moved::from("strict_mode_on_and_off").await;
    for (strict, expected) in [(false, "200 /nginx2:0"), (true, "404")] {
        let server = moved.serve(|config| config.routing.strict_mode = strict);
        server.table_until("the apps are read", |table| table.ready).await;
        assert_eq!(shown(&get(server.http, "server.nginx.net", "/").await), expected);
    }
}

#[tokio::test]
async fn a_stripped_path_is_what_the_backend_gets() {
    if !are_here() {
        return;
    }
    let moved = Moved::from("simple_app_proxypass").await;
    let server = moved.serve(|_| {});
    server.table_until("the apps are read", |table| table.ready).await;
    for (path, expected) in [("/test/a?b=c", "/a?b=c"), ("/test", "/"), ("/tester", "/tester")] {
        let answer = get(server.http, "test.example.com", path).await;
        assert_eq!(header(&answer, "target"), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn both_colours_of_a_deployment_are_one_service() {
    if !are_here() {
        return;
    }
    let port = ports::unused();
    let moved = Moved::from("zdd_app").await;
    for app in moved.marathon.state().apps.values_mut() {
        app["labels"]["HAPROXY_0_PORT"] = port.port().to_string().into();
    }
    let server = moved.serve(|_| {});
    server.table_until("the apps are read", |table| table.ready).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        seen.insert(body(&get(port, "x", "/").await).to_owned());
    }
    assert!(seen.contains("/nginx-green:0"), "{seen:?}: {:?}", server.problems());
    let conflicts = server.problems();
    assert!(!conflicts.iter().any(|problem| problem.message.contains("is held by")), "{conflicts:?}");
}

/// What marathon-lb's own apps in the midst of a deploy come to: of three old tasks one is relieved by the one new task.
#[tokio::test]
async fn the_shares_of_both_colours_follow_from_their_labels() {
    if !are_here() {
        return;
    }
    let port = ports::unused();
    let mut moved = Moved::from("zdd_app").await;
    for app in moved.marathon.state().apps.values_mut() {
        app["labels"]["HAPROXY_0_PORT"] = port.port().to_string().into();
    }
    let server = moved.serve(|_| {});
    let shares = |table: &pointsman::table::Table| {
        let service = table.services.values().find(|service| service.id.name() == "nginx")?.clone();
        let shares = service.shares.as_ref()?.iter().map(|share| (share.version.to_string(), share.weight));
        Some((service.available.len(), shares.collect::<Vec<_>>()))
    };
    let is = |available: usize, expected: &'static [(&'static str, u32)]| {
        move |table: &pointsman::table::Table| {
            let expected = expected.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect();
            shares(table) == Some((available, expected))
        }
    };
    server.table_until("2 to 1", is(4, &[("blue", 1), ("green", 2)])).await;
    // The old colour is scaled: marathon-lb would take it for the new one then (its first fault).
    let change = |id: &str, change: &dyn Fn(&mut Value)| {
        change(moved.marathon.state().apps.get_mut(id).unwrap());
        moved.marathon.changed(id);
    };
    change("/nginx-green", &|app| {
        app["versionInfo"]["lastScalingAt"] = "2026-01-01T00:00:00.000Z".into();
        app["instances"] = 2.into();
        app["tasks"].as_array_mut().unwrap().pop();
    });
    server.table_until("2 to 1, all serving", is(3, &[("blue", 1), ("green", 2)])).await;
    // Nobody counts for being wished for (its second fault): the new colour is to have three, and has one.
    change("/nginx-blue", &|app| app["instances"] = 3.into());
    let backends: Vec<Backend> =
        vec![saying("/nginx-blue:0".to_owned()).await, saying("/nginx-blue:0".to_owned()).await];
    let another = |number: usize, alive: bool| {
        let port = backends[number].address.port();
        move |app: &mut Value| {
            let mut task = app["tasks"][0].clone();
            task["id"] = format!("nginx-blue.another-{number}").into();
            task["ports"] = serde_json::json!([port]);
            task["healthCheckResults"] = serde_json::json!([{ "alive": alive }]);
            app["tasks"].as_array_mut().unwrap().retain(|other| other["id"] != task["id"]);
            app["tasks"].as_array_mut().unwrap().push(task);
        }
    };
    change("/nginx-blue", &another(0, false));
    server.table_until("one that is not ready", |table| table.tasks.len() == 4).await;
    assert!(is(3, &[("blue", 1), ("green", 2)])(&server.table()), "{}", pointsman::table::dump::dump(&server.table()));
    change("/nginx-blue", &another(0, true));
    server.table_until("1 to 2", is(4, &[("blue", 2), ("green", 1)])).await;
    change("/nginx-blue", &another(1, true));
    server.table_until("all for the new one", is(5, &[("blue", 1)])).await;
    for _ in 0..20 {
        assert_eq!(body(&get(port, "x", "/").await), "/nginx-blue:0");
    }
    moved.marathon.state().apps.remove("/nginx-green");
    moved.marathon.changed("/nginx-green");
    let alone = |table: &pointsman::table::Table| {
        table.services.values().any(|service| service.id.name() == "nginx" && service.shares.is_none())
    };
    server.table_until("the old colour is gone", alone).await;
    moved.backends.extend(backends);
}

#[tokio::test]
async fn what_cannot_be_had_is_told() {
    if !are_here() {
        return;
    }
    let moved = Moved::from("group_https_by_vhost").await;
    let server = moved.serve(|_| {});
    let told = |table: &pointsman::table::Table| {
        let problems: Vec<_> = table.problems.values().flat_map(|list| list.iter()).collect();
        let has = |subject: &str, at: &str| {
            problems.iter().any(|problem| problem.subject.contains(subject) && problem.at.contains(at))
        };
        // HAProxy's own text; a certificate that is not there; a service port that another app has.
        has("nginx2", "BIND_OPTIONS")
            && has("nginx2", &format!("port {}", moved.service_ports["/nginx2:0"].port()))
            && (has("nginx3", "port ") || has("letsencrypt", "port "))
    };
    server.table_until("the problems", told).await;
}
