//! Ports that services hold, requests by app, and the rules that hold on every way in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/facts.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod facts;
mod marathon_common;
mod proxy_common;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use facts::{CLUSTER, framework};
use marathon_common::*;
use pointsman::cluster::event::Fact;
use pointsman::config::checked::{ListenerConfig, MesosConfig};
use pointsman::model::agent::AgentFacts;
use pointsman::model::problem::ProblemCode;
use pointsman::model::task::TaskFacts;
use pointsman::proxy::tls::provider;
use proxy_common::{Backend, body, header, ports, read_all, read_head, soon, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `secret`, hashed.
const HASH: &str = "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.";

fn running(change: impl FnOnce(&mut pointsman::config::Config)) -> Running {
    Running::start(|config| {
        // Nobody is there: the facts come from the test.
        config.mesos.push(MesosConfig::with_masters(CLUSTER, "mesos", &["127.0.0.1:1"]));
        config.server.service_retention = Duration::ZERO;
        change(config);
    })
}

fn agent() -> AgentFacts {
    AgentFacts { address: Some(IpAddr::from([127, 0, 0, 1])), ..facts::agent(1) }
}

/// A running task whose one port is the backend's.
fn task(id: &str, name: &str, backend: SocketAddr, labels: &[(&str, &str)]) -> Fact {
    let facts = facts::task(id, name, 1, backend.port(), labels);
    let addresses = [backend.ip()].into_iter().collect();
    Fact::Task(Box::new(TaskFacts { addresses, ..facts }))
}

fn gone(id: &str) -> Fact {
    Fact::TaskGone(facts::key(id))
}

async fn begin(server: &Running, tasks: Vec<Fact>) {
    let mut said = vec![Fact::SnapshotStarted, Fact::Framework(Box::new(framework("marathon")))];
    said.push(Fact::Agent(Box::new(agent())));
    said.extend(tasks);
    said.extend([Fact::SnapshotFinished(Default::default()), Fact::Live]);
    server.say(CLUSTER, said).await;
    server.table_until("the snapshot", |table| table.ready).await;
}

async fn say(server: &Running, fact: Fact) {
    server.say(CLUSTER, vec![fact]).await;
}

/// Sends back what it gets, and says `bye` when the other side has ended.
async fn echo() -> Backend {
    Backend::start(|mut stream, _| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        all.extend_from_slice(b" bye");
        let _ = stream.write_all(&all).await;
    })
    .await
}

#[tokio::test]
async fn a_port_for_http_comes_and_goes_with_its_service() {
    let (web, other) = (Backend::saying("web").await, Backend::saying("other").await);
    let (port, another) = (ports::unused(), ports::unused());
    let number = port.port().to_string();
    let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_PORT", &*number), ("HAPROXY_0_MODE", "http")];
    let server = running(|_| {});
    begin(&server, vec![task("web.1", "web", web.address, &labels)]).await;
    let answer = get(port, "whatever.test", "/").await;
    assert_eq!((status(&answer), body(&answer)), (200, "web"), "{answer}");
    // Another one comes beside it.
    let number = another.port().to_string();
    let labels = [("pointsman.listen", &*number)];
    say(&server, task("other.1", "other", other.address, &labels)).await;
    assert_eq!(body(&get(another, "x", "/").await), "other");
    assert_eq!(body(&get(port, "x", "/").await), "web");
    // It goes with its service, and the other stays.
    say(&server, gone("web.1")).await;
    closed(port).await;
    assert_eq!(body(&get(another, "x", "/").await), "other");
}

#[tokio::test]
async fn a_retained_service_keeps_its_port() {
    let web = Backend::saying("web").await;
    let port = ports::unused();
    let number = port.port().to_string();
    let server = running(|config| config.server.service_retention = Duration::from_secs(3600));
    begin(&server, vec![task("web.1", "web", web.address, &[("pointsman.listen", &number)])]).await;
    assert_eq!(body(&get(port, "x", "/").await), "web");
    say(&server, gone("web.1")).await;
    server.table_until("the task is gone", |table| table.tasks.is_empty()).await;
    let answer = get(port, "x", "/").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (503, Some("no-endpoint")));
    say(&server, task("web.2", "web", web.address, &[("pointsman.listen", &number)])).await;
    server.table_until("the task is back", |table| !table.tasks.is_empty()).await;
    assert_eq!(body(&get(port, "x", "/").await), "web");
}

#[tokio::test]
async fn tcp_is_carried_with_its_half_closed_connections() {
    let backend = echo().await;
    let port = ports::unused();
    let number = port.port().to_string();
    // Neither hosts nor a mode: TCP.
    let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_PORT", &*number)];
    let server = running(|_| {});
    let dead = task("db.0", "db", proxy_common::refusing(), &labels);
    begin(&server, vec![task("db.1", "db", backend.address, &labels), dead]).await;
    for _ in 0..20 {
        let mut stream = connect(port).await;
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, "hello bye");
    }
    assert_eq!(server.metric("pointsman_proxy_tcp_connections_total{outcome=\"carried\"}"), 20.0);
    // Without a task, a connection is closed.
    server.reload(|config| config.server.service_retention = Duration::from_secs(3600)).await;
    server.say(CLUSTER, vec![gone("db.1"), gone("db.0")]).await;
    server.table_until("the tasks are gone", |table| table.tasks.is_empty()).await;
    assert_eq!(read_all(&mut connect(port).await).await, "");
}

#[tokio::test]
async fn an_idle_tcp_connection_is_cut() {
    let backend = Backend::start(|stream, _| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let port = ports::unused();
    let number = port.port().to_string();
    let server = running(|config| config.proxy.limits.tcp_idle = Duration::from_millis(200));
    let labels = [("pointsman.listen", &*number), ("pointsman.protocol", "tcp")];
    begin(&server, vec![task("db.1", "db", backend.address, &labels)]).await;
    let mut stream = connect(port).await;
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn of_two_apps_on_one_port_the_first_has_it_and_the_other_is_told() {
    let (first, second) = (Backend::saying("first").await, Backend::saying("second").await);
    let port = ports::unused();
    let number = port.port().to_string();
    let labels = [("pointsman.listen", &*number)];
    let server = running(|_| {});
    begin(&server, vec![task("first.1", "first", first.address, &labels)]).await;
    assert_eq!(body(&get(port, "x", "/").await), "first");
    say(&server, task("a-second.1", "a-second", second.address, &labels)).await;
    server.table_until("the problem", |table| table.problems.len() == 1).await;
    let problem = server.problems().remove(0);
    assert_eq!((problem.code, &*problem.at), (ProblemCode::PortConflict, &*format!("port {number}")));
    assert!(problem.subject.contains("a-second") && problem.message.contains("first"), "{problem:?}");
    // A deploy of the owner's changes nothing.
    server.say(CLUSTER, vec![task("first.2", "first", first.address, &labels), gone("first.1")]).await;
    server.table_until("the deploy", |table| table.tasks.get(&facts::key("first.2")).is_some()).await;
    for _ in 0..5 {
        assert_eq!(body(&get(port, "x", "/").await), "first");
    }
    // When the owner gives it up, the other has it, without a gap.
    say(&server, task("first.2", "first", first.address, &[])).await;
    server.table_until("the hand-over", |table| table.problems.is_empty()).await;
    assert_eq!(body(&get(port, "x", "/").await), "second");
}

#[tokio::test]
async fn a_port_that_is_taken_is_its_apps_problem_alone() {
    let (web, other) = (Backend::saying("web").await, Backend::saying("other").await);
    let (taken, free) = (ports::unused(), ports::unused());
    let squatter = std::net::TcpListener::bind(taken).unwrap();
    let (number, another) = (taken.port().to_string(), free.port().to_string());
    let server = running(|_| {});
    let tasks = vec![
        task("web.1", "web", web.address, &[("pointsman.listen", &number)]),
        task("other.1", "other", other.address, &[("pointsman.listen", &another)]),
    ];
    begin(&server, tasks).await;
    assert_eq!(body(&get(free, "x", "/").await), "other");
    server.table_until("the problem", |table| table.problems.len() == 1).await;
    let problem = server.problems().remove(0);
    assert_eq!(problem.code, ProblemCode::PortUnavailable);
    assert!(problem.subject.contains("web") && problem.message.contains("in use"), "{problem:?}");
    drop(squatter);
    server.table_until("the problem is over", |table| table.problems.is_empty()).await;
    assert_eq!(body(&get(taken, "x", "/").await), "web");
}

#[tokio::test]
async fn ports_are_claimed_by_policy() {
    let web = Backend::saying("web").await;
    let server = running(|config| {
        config.proxy.service_ports.allowed = vec![pointsman::model::task::PortRange { begin: 10_000, end: 10_000 }];
        config.proxy.listeners.push(ListenerConfig::plain("own", ports::unused()));
    });
    let own = server.more[0].port().to_string();
    let tasks = vec![
        task("a.1", "a", web.address, &[("pointsman.listen", "9")]),
        task("b.1", "b", web.address, &[("pointsman.listen", &own)]),
        task("c.1", "c", web.address, &[("pointsman.listen", "10000"), ("pointsman.listen_address", "192.0.2.1")]),
        task("d.1", "d", web.address, &[("pointsman.listen", "many")]),
    ];
    begin(&server, tasks).await;
    let mut codes: Vec<_> = server.problems().into_iter().map(|problem| problem.code).collect();
    codes.sort();
    use ProblemCode::{InvalidLabel, PolicyRefused, PortConflict};
    assert_eq!(codes, [InvalidLabel, PortConflict, PolicyRefused, PolicyRefused]);
    assert!(server.table().ways.ports.is_empty());
}

#[tokio::test]
async fn a_listener_that_goes_finishes_what_was_accepted() {
    let (release, gate) = tokio::sync::watch::channel(false);
    let slow = Backend::start(move |mut stream, _| {
        let mut gate = gate.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                let _ = gate.wait_for(|open| *open).await;
                let _ = stream.write_all(proxy_common::ok("slow").as_bytes()).await;
            }
        }
    })
    .await;
    let port = ports::unused();
    let number = port.port().to_string();
    let server = running(|_| {});
    let labelled = task("web.1", "web", slow.address, &[("pointsman.listen", &number)]);
    begin(&server, vec![labelled]).await;
    let mut held = connect(port).await;
    held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    proxy_common::until("the backend has it", || slow.connections() == 1).await;
    // Connections that are in the queue when the listener goes get an answer, never a reset.
    let mut queued = Vec::new();
    for _ in 0..50 {
        queued.push(connect(port).await);
    }
    say(&server, task("web.1", "web", slow.address, &[])).await;
    for stream in &mut queued {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    }
    closed(port).await;
    release.send_replace(true);
    assert_eq!(body(&read_all(&mut held).await), "slow");
    for stream in &mut queued {
        let answer = read_all(stream).await;
        assert!(matches!(status(&answer), 200 | 404), "{answer}");
    }
}

/// The ways into the service `web`: by host, by port, by app.
struct Ways {
    server: Running,
    port: SocketAddr,
}

const APP: &str = "team_web.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1";

impl Ways {
    async fn with(backend: &Backend, labels: &[(&str, &str)]) -> Self {
        let port = ports::unused();
        let number = port.port().to_string();
        let mut all = vec![("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "web.test")];
        all.push(("HAPROXY_0_PORT", &number));
        all.extend(labels);
        let server = running(|_| {});
        begin(&server, vec![task(APP, "web", backend.address, &all)]).await;
        Self { server, port }
    }

    /// Asks on every way.
    async fn ask(&self, path: &str, lines: &[(&str, &str)]) -> [String; 3] {
        let mut by_app = lines.to_vec();
        by_app.push(("X-Marathon-App-Id", "/team/web"));
        [
            ask(self.server.http, "GET", "web.test", path, lines).await,
            ask(self.port, "GET", "web.test", path, lines).await,
            ask(self.server.apps, "GET", "web.test", path, &by_app).await,
        ]
    }

    async fn statuses(&self, path: &str, lines: &[(&str, &str)]) -> [u16; 3] {
        self.ask(path, lines).await.map(|answer| status(&answer))
    }
}

#[tokio::test]
async fn an_app_is_found_by_its_id() {
    let web = Backend::saying("web").await;
    let ways = Ways::with(&web, &[]).await;
    assert_eq!(ways.statuses("/", &[]).await, [200, 200, 200]);
    for lines in [&[][..], &[("X-Marathon-App-Id", "/other")], &[("X-Marathon-App-Id", "team/web")]] {
        let answer = ask(ways.server.apps, "GET", "web.test", "/", lines).await;
        assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (404, Some("no-app")), "{lines:?}");
    }
    // Capitals do not matter.
    let answer = ask(ways.server.apps, "GET", "web.test", "/", &[("X-Marathon-App-Id", "/Team/WEB")]).await;
    assert_eq!((status(&answer), body(&answer)), (200, "web"), "{answer}");
    // The header means nothing elsewhere.
    let answer = ask(ways.server.http, "GET", "nobody.test", "/", &[("X-Marathon-App-Id", "/team/web")]).await;
    assert_eq!(status(&answer), 404);
}

#[tokio::test]
async fn an_app_is_found_by_its_deployment_group() {
    let (blue, green) = (Backend::saying("blue").await, Backend::saying("green").await);
    let port = ports::unused();
    let number = port.port().to_string();
    // As marathon-lb has it, with or without the slash in front.
    let labels = |group: &'static str| {
        vec![
            ("HAPROXY_GROUP", "external"),
            ("HAPROXY_0_PORT", &*number),
            ("HAPROXY_0_MODE", "HTTP"),
            ("HAPROXY_DEPLOYMENT_GROUP", group),
        ]
    };
    let id = |colour: &str| format!("team_web-{colour}.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1");
    let server = running(|_| {});
    let tasks = vec![
        task(&id("blue"), "web-blue.team", blue.address, &labels("/team/web")),
        task(&id("green"), "web-green.team", green.address, &labels("team/web")),
    ];
    begin(&server, tasks).await;
    assert_eq!(server.problems(), [], "one service, which has the port");
    for app in ["/team/web", "/team/web-blue", "/team/web-green"] {
        let table = server.table();
        let way = table.ways.apps.get(app).unwrap();
        assert_eq!((way.owner.name(), table.service(&way.owner).unwrap().endpoints.len()), ("web.team", 2), "{app}");
        let answer = ask(server.apps, "GET", "x", "/", &[("X-Marathon-App-Id", app)]).await;
        assert!(["blue", "green"].contains(&body(&answer)), "{app}: {answer}");
    }
    assert_eq!(status(&get(port, "x", "/").await), 200);
}

#[tokio::test]
async fn a_password_is_asked_for_on_every_way_in() {
    let web = Backend::saying("web").await;
    let ways = Ways::with(&web, &[("HAPROXY_0_AUTH", &format!("Staff only:ann:{HASH}"))]).await;
    for answer in ways.ask("/", &[]).await {
        assert_eq!(status(&answer), 401, "{answer}");
        assert_eq!(header(&answer, "www-authenticate"), Some("Basic realm=\"Staff only\", charset=\"UTF-8\""));
        assert_eq!(header(&answer, "x-pointsman-reason"), Some("password-required"));
    }
    // ann:secret, ann:wrong, bob:secret, and no base64.
    let with = |value: &'static str| [("Authorization", value)];
    assert_eq!(ways.statuses("/", &with("Basic YW5uOnNlY3JldA==")).await, [200; 3]);
    assert_eq!(ways.statuses("/", &with("Basic YW5uOndyb25n")).await, [401; 3]);
    assert_eq!(ways.statuses("/", &with("Basic Ym9iOnNlY3JldA==")).await, [401; 3]);
    assert_eq!(ways.statuses("/", &with("Basic !")).await, [401; 3]);
    assert_eq!(web.connections(), 1, "only what was let in reached the backend");
}

#[tokio::test]
async fn an_auth_label_that_cannot_be_read_lets_nobody_in() {
    let web = Backend::saying("web").await;
    for label in ["", "realm:user", "realm:testuser:testpasswd", "a:b:c:d"] {
        let ways = Ways::with(&web, &[("HAPROXY_0_AUTH", label)]).await;
        let sent = [("Authorization", "Basic dGVzdHVzZXI6dGVzdHBhc3N3ZA==")];
        assert_eq!(ways.statuses("/", &sent).await, [401; 3], "{label}");
        let problems = ways.server.problems();
        let told = problems.iter().any(|problem| {
            &*problem.at == "HAPROXY_0_AUTH"
                && problem.message.contains("[hidden]")
                && problem.mend.contains("mkpasswd")
                || problem.mend.contains("realm:user:hash")
        });
        assert!(told, "{label}: {problems:?}");
    }
}

#[tokio::test]
async fn addresses_are_kept_out_on_every_way_in() {
    let web = Backend::saying("web").await;
    let ways = Ways::with(&web, &[("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "192.0.2.0/24 10.0.0.0/8")]).await;
    for answer in ways.ask("/", &[("X-Forwarded-For", "10.0.0.1")]).await {
        assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (403, Some("address-refused")));
    }
    let ways = Ways::with(&web, &[("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "127.0.0.1/8")]).await;
    assert_eq!(ways.statuses("/", &[]).await, [200; 3]);
    let ways = Ways::with(&web, &[("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "nonsense")]).await;
    assert_eq!(ways.statuses("/", &[]).await, [403; 3]);
}

#[tokio::test]
async fn tcp_from_elsewhere_is_closed() {
    let backend = echo().await;
    let port = ports::unused();
    let number = port.port().to_string();
    let server = running(|_| {});
    let labels = [
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_0_PORT", &*number),
        ("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/8"),
    ];
    begin(&server, vec![task("db.1", "db", backend.address, &labels)]).await;
    let mut stream = connect(port).await;
    let _ = stream.write_all(b"hello").await;
    assert_eq!(read_all(&mut stream).await, "");
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn clear_text_by_host_is_sent_to_https() {
    let web = Backend::saying("web").await;
    let ways = Ways::with(&web, &[("HAPROXY_0_REDIRECT_TO_HTTPS", "true"), ("HAPROXY_0_USE_HSTS", "true")]).await;
    let [by_host, by_port, by_app] = ways.ask("/a?b=c", &[]).await;
    assert_eq!((status(&by_host), header(&by_host, "location")), (301, Some("https://web.test/a?b=c")));
    assert_eq!((status(&by_port), status(&by_app)), (200, 200));
    // RFC 6797 section 7.2: never in clear text.
    assert_eq!(header(&by_port, "strict-transport-security"), None);
    let answer = ask(ways.server.http, "POST", "web.test", "/", &[("Content-Length", "0")]).await;
    assert_eq!((status(&answer), header(&answer, "location")), (308, Some("https://web.test/")));
    // A trusted proxy before us that speaks TLS is believed.
    ways.server.reload(|config| config.proxy.trusted_proxies.push("127.0.0.0/8".parse().unwrap())).await;
    let trusted = |table: &pointsman::table::Table| !table.config.proxy.trusted_proxies.is_empty();
    ways.server.table_until("the new configuration", trusted).await;
    assert_eq!(ways.statuses("/", &[("X-Forwarded-Proto", "https")]).await, [200; 3]);
    assert_eq!(status(&get(ways.server.http, "web.test", "/").await), 301);
}

#[tokio::test]
async fn paths_are_stripped_and_locations_rewritten() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let length = head.len();
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: {length}\r\n\r\n{head}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let labels = [
        ("HAPROXY_0_PATH", "/shop"),
        ("HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH", "/shop"),
        ("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH", "/shop"),
    ];
    let ways = Ways::with(&backend, &labels).await;
    for answer in ways.ask("/shop/cart?x=1", &[]).await {
        assert!(body(&answer).starts_with("GET /cart?x=1 HTTP/1.1\r\n"), "{answer}");
        assert_eq!(header(body(&answer), "host"), Some("web.test"));
        assert_eq!(header(&answer, "location"), Some("/shop"));
    }
    assert_eq!(status(&get(ways.server.http, "web.test", "/shopping").await), 404);
    // On the service's own port any host may be asked for: the task gets the one it is claimed for.
    let answer = ask(ways.port, "GET", "other.test", "/shop/cart", &[]).await;
    assert_eq!(header(body(&answer), "host"), Some("web.test"), "{answer}");
}

#[tokio::test]
async fn the_root_is_sent_elsewhere() {
    let web = Backend::saying("web").await;
    let ways = Ways::with(&web, &[("HAPROXY_0_HTTP_BACKEND_REDIR", "/start")]).await;
    for answer in ways.ask("/", &[]).await {
        assert_eq!((status(&answer), header(&answer, "location")), (301, Some("/start")), "{answer}");
    }
    assert_eq!(ways.statuses("/start", &[]).await, [200; 3]);
    // On the service's own port any host may be asked for, and has no other root.
    let answer = ask(ways.port, "GET", "other.test", "/", &[]).await;
    assert_eq!((status(&answer), header(&answer, "location")), (301, Some("/start")), "{answer}");
}

#[tokio::test]
async fn strict_mode_serves_what_is_enabled_alone() {
    let web = Backend::saying("web").await;
    let labels = |more: &[(&'static str, &'static str)]| {
        let mut all = vec![("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "web.test")];
        all.extend(more);
        all
    };
    let server = running(|config| config.routing.strict_mode = true);
    begin(&server, vec![task("web.1", "web", web.address, &labels(&[]))]).await;
    assert_eq!(status(&get(server.http, "web.test", "/").await), 404);
    say(&server, task("web.1", "web", web.address, &labels(&[("HAPROXY_0_ENABLED", "true")]))).await;
    server.table_until("the route", |table| table.routes.iter().count() == 1).await;
    assert_eq!(body(&get(server.http, "web.test", "/").await), "web");
}

/// A folder with a certificate for `web.test`, called `web`, and who trusts it.
struct Secured {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Secured {
    fn new() -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        authority.issue(&["web.test"]).write(folder.path(), "web");
        Self { authority, folder }
    }

    fn listener(&self) -> ListenerConfig {
        let certificates = Some(self.folder.path().to_owned());
        ListenerConfig { certificates, ..ListenerConfig::plain("https", ports::unused()) }
    }

    /// Asks `web.test` over TLS: the answer, and the certificate that was shown.
    async fn ask(&self, address: SocketAddr, method: &str, path: &str, lines: &[(&str, &str)]) -> (String, Vec<u8>) {
        self.ask_for(("web.test", "web.test"), address, method, path, lines).await
    }

    /// The same with any name of a certificate that is asked for, and any host.
    async fn ask_for(
        &self,
        (name, host): (&str, &str),
        address: SocketAddr,
        method: &str,
        path: &str,
        lines: &[(&str, &str)],
    ) -> (String, Vec<u8>) {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.authority.roots())
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = soon(connector.connect(name, connect(address).await)).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in lines {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A connection that ends without a farewell has given its answer, too.
        let _ = soon(stream.read_to_end(&mut answer)).await;
        (String::from_utf8(answer).unwrap(), shown)
    }
}

#[tokio::test]
async fn labels_hold_over_tls_too() {
    let web = Backend::saying("web").await;
    let secured = Secured::new();
    let served = async |labels: &[(&str, &str)]| {
        let server = running(|config| config.proxy.listeners.push(secured.listener()));
        let mut all = vec![("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "web.test")];
        all.extend(labels);
        begin(&server, vec![task("web.1", "web", web.address, &all)]).await;
        server
    };
    let hsts = "strict-transport-security";
    let auth = format!("Staff only:ann:{HASH}");
    let server = served(&[("HAPROXY_0_AUTH", &auth)]).await;
    let (answer, _) = secured.ask(server.more[0], "GET", "/", &[]).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (401, Some("password-required")));
    let (answer, _) = secured.ask(server.more[0], "GET", "/", &[("Authorization", "Basic YW5uOnNlY3JldA==")]).await;
    assert_eq!((status(&answer), header(&answer, hsts)), (200, None), "{answer}");
    let server = served(&[("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "192.0.2.0/24")]).await;
    let (answer, _) = secured.ask(server.more[0], "GET", "/", &[("X-Forwarded-For", "192.0.2.1")]).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (403, Some("address-refused")));
    // Who is at HTTPS is sent there no more, and is told to stay, whatever answers.
    let server = served(&[("HAPROXY_0_REDIRECT_TO_HTTPS", "true"), ("HAPROXY_0_USE_HSTS", "true")]).await;
    assert_eq!(status(&get(server.http, "web.test", "/").await), 301);
    for method in ["GET", "POST"] {
        let (answer, _) = secured.ask(server.more[0], method, "/", &[("Content-Length", "0")]).await;
        assert_eq!((status(&answer), header(&answer, hsts)), (200, Some("max-age=15768000")), "{answer}");
    }
    server.say(CLUSTER, vec![gone("web.1")]).await;
    server.table_until("the service is forgotten", |table| table.services.is_empty()).await;
    let (answer, _) = secured.ask(server.more[0], "GET", "/", &[]).await;
    assert_eq!((status(&answer), header(&answer, hsts)), (404, None), "{answer}");
}

#[tokio::test]
async fn a_port_has_the_certificate_that_its_label_names_and_follows_the_file() {
    let web = Backend::saying("web").await;
    let secured = Secured::new();
    let (port, other) = (ports::unused(), ports::unused());
    let (number, another) = (port.port().to_string(), other.port().to_string());
    let folder = secured.folder.path().to_owned();
    let server = running(|config| config.proxy.service_ports.certificates = Some(folder));
    let labels = |number, certificate: &'static str| {
        [
            ("HAPROXY_GROUP", "external"),
            ("HAPROXY_0_MODE", "http"),
            ("HAPROXY_0_PORT", number),
            ("HAPROXY_0_SSL_CERT", certificate),
        ]
    };
    let tasks = vec![
        // As marathon-lb has it: a path in its container.
        task("web.1", "web", web.address, &labels(&*number, "/etc/ssl/web.pem")),
        task("lost.1", "lost", web.address, &labels(&*another, "/etc/ssl/missing.pem")),
    ];
    begin(&server, tasks).await;
    let (answer, first) = secured.ask(port, "GET", "/", &[]).await;
    assert_eq!((status(&answer), body(&answer)), (200, "web"), "{answer}");
    // Nothing is said in clear text.
    let mut plain = connect(port).await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = soon(plain.read_to_end(&mut said)).await;
    assert!(!String::from_utf8_lossy(&said).contains("web"), "{said:?}");
    // Without its certificate a port stays closed, and its service is told.
    server.table_until("the problem", |table| table.problems.len() == 1).await;
    let problem = server.problems().remove(0);
    assert_eq!(problem.code, ProblemCode::PortUnavailable, "{problem:?}");
    assert!(problem.subject.contains("lost") && problem.message.contains("missing"), "{problem:?}");
    assert!(TcpStream::connect(other).await.is_err());
    // Another certificate in the place of the first is shown from then on.
    let next = secured.authority.issue(&["web.test"]);
    next.write(secured.folder.path(), "web");
    let expected = next.certificate.der().to_vec();
    assert_ne!(first, expected);
    let replaced = async {
        while secured.ask(port, "GET", "/", &[]).await.1 != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(replaced).await;
}

#[tokio::test]
async fn a_host_has_the_certificate_that_its_label_names_at_listeners_too() {
    let web = Backend::saying("web").await;
    let secured = Secured::new();
    let named = tempfile::tempdir().unwrap();
    let write = |file: &str, names: &[&str]| {
        let pair = secured.authority.issue(names);
        pair.write(named.path(), file);
        pair.certificate.der().to_vec()
    };
    let (shop, mine) = (write("shop", &["shop.test"]), write("mine", &["web.test"]));
    write("elsewhere", &["elsewhere.test"]);
    let both = write("both", &["web.test", "shop.test"]);
    let folder = named.path().to_owned();
    let server = running(|config| {
        config.proxy.listeners.push(secured.listener());
        config.proxy.service_ports.certificates = Some(folder);
    });
    let labels = |host: &'static str, certificate: &'static str| {
        [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", host), ("HAPROXY_0_SSL_CERT", certificate)]
    };
    begin(&server, vec![task("web.1", "web", web.address, &labels("web.test", "mine")[..2])]).await;
    let listener = server.more[0];
    let (answer, own) = secured.ask(listener, "GET", "/", &[]).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_ne!(own, mine, "without a label the listener's");
    // The listener has none for this host.
    say(&server, task("shop.1", "shop", web.address, &labels("shop.test", "/etc/ssl/shop.pem"))).await;
    let names = |service: &'static str, certificate: &'static str| {
        move |table: &pointsman::table::Table| {
            let found = table.services.values().find(|found| found.id.name() == service);
            let rules = found.and_then(|found| found.rules.as_deref());
            rules.and_then(|rules| rules.certificate.as_deref()) == Some(certificate)
        }
    };
    server.table_until("shop", names("shop", "shop")).await;
    let (answer, shown) = secured.ask_for(("shop.test", "shop.test"), listener, "GET", "/", &[]).await;
    assert_eq!((status(&answer), shown), (200, shop), "{answer}");
    // One for the host goes before the listener's; one that is not there, or is for another name while the listener has the
    // right one, does not.
    let cases = [
        ("mine", &mine, 421),
        ("missing", &own, 421),
        ("elsewhere", &own, 421),
        ("both", &both, 200),
        ("mine", &mine, 421),
    ];
    for (certificate, expected, other) in cases {
        say(&server, task("web.1", "web", web.address, &labels("web.test", certificate))).await;
        server.table_until(certificate, names("web", certificate)).await;
        let (answer, shown) = secured.ask(listener, "GET", "/", &[]).await;
        assert_eq!(status(&answer), 200, "{certificate}: {answer}");
        assert!(shown == *expected, "{certificate}");
        // Requests for another host belong on the connection only if what was shown stands for it (RFC 9110 section 15.5.20).
        let (answer, _) = secured.ask_for(("web.test", "shop.test"), listener, "GET", "/", &[]).await;
        assert_eq!(status(&answer), other, "{certificate}: {answer}");
    }
    // Without the folder labels choose nothing here.
    server.reload(|config| config.proxy.service_ports.certificates = None).await;
    let without = async {
        while secured.ask(listener, "GET", "/", &[]).await.1 != own {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(without).await;
}

#[tokio::test]
async fn a_port_is_bound_to_the_one_address_that_its_label_names() {
    let web = Backend::saying("web").await;
    let port = ports::unused();
    let number = port.port().to_string();
    let [first, second] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| SocketAddr::new(IpAddr::from(ip), port.port()));
    let server = running(|config| config.proxy.service_ports.addresses = vec![[0, 0, 0, 0].into()]);
    let on = |address: &'static str| {
        let labels = [
            ("HAPROXY_GROUP", "external"),
            ("HAPROXY_0_MODE", "http"),
            ("HAPROXY_0_PORT", &*number),
            ("HAPROXY_0_BIND_ADDR", address),
        ];
        task("web.1", "web", web.address, &labels)
    };
    begin(&server, vec![on("127.0.0.2")]).await;
    assert_eq!(body(&get(second, "x", "/").await), "web");
    assert!(TcpStream::connect(first).await.is_err(), "it is bound to 127.0.0.2 alone");
    // What cannot be read closes it.
    for unread in ["eth0", "127.0.0.256", "127.0.0.1,127.0.0.2"] {
        say(&server, on(unread)).await;
        server.table_until("no port", |table| table.ways.ports.is_empty()).await;
        let problem = server.problems().remove(0);
        assert_eq!((problem.code, &*problem.at), (ProblemCode::InvalidLabel, "HAPROXY_0_BIND_ADDR"), "{problem:?}");
        closed(second).await;
        assert!(TcpStream::connect(first).await.is_err(), "{unread}");
        say(&server, on("*")).await;
        assert_eq!(body(&get(first, "x", "/").await), "web");
        assert_eq!(body(&get(second, "x", "/").await), "web");
    }
}

#[tokio::test]
async fn requests_are_balanced_as_the_label_says() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let tally = async |labels: &[(&str, &str)]| {
        let mut all = vec![("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "web.test")];
        all.extend(labels);
        let server = running(|_| {});
        let tasks = vec![task("web.1", "web", one.address, &all), task("web.2", "web", two.address, &all)];
        begin(&server, tasks).await;
        let mut tally: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..20 {
            *tally.entry(body(&get(server.http, "web.test", "/").await).to_owned()).or_default() += 1;
        }
        tally.into_values().collect::<Vec<_>>()
    };
    for in_turn in ["roundrobin", "static-rr"] {
        let tally = tally(&[("HAPROXY_0_BALANCE", in_turn)]).await;
        assert!(tally.len() == 2 && tally.iter().all(|count| (9..=11).contains(count)), "{in_turn}: {tally:?}");
    }
    assert_eq!(tally(&[("HAPROXY_0_BALANCE", "source")]).await, [20], "one client, one task");
}

#[tokio::test]
async fn a_cookie_keeps_a_client_on_its_task() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let labels = [
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_0_VHOST", "web.test"),
        ("HAPROXY_0_BALANCE", "roundrobin"),
        ("HAPROXY_0_STICKY", "true"),
    ];
    let server = running(|_| {});
    begin(&server, vec![task("web.1", "web", one.address, &labels), task("web.2", "web", two.address, &labels)]).await;
    let answer = get(server.http, "web.test", "/").await;
    let kept = body(&answer).to_owned();
    let cookie = header(&answer, "set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        let answer = ask(server.http, "GET", "web.test", "/", &[("Cookie", &cookie)]).await;
        assert_eq!((body(&answer), header(&answer, "set-cookie")), (&*kept, None), "{answer}");
        // Who has none is sent anywhere.
        get(server.http, "web.test", "/").await;
    }
}

#[tokio::test]
async fn paths_are_had_in_capitals_and_without_a_host_where_labels_say_so() {
    let (web, alone) = (Backend::saying("web").await, Backend::saying("alone").await);
    let server = running(|_| {});
    let group = ("HAPROXY_GROUP", "external");
    let tasks = vec![
        task(
            "web.1",
            "web",
            web.address,
            &[group, ("HAPROXY_0_VHOST", "web.test"), ("HAPROXY_0_PATH", "-i /Multiple /paths")],
        ),
        task("alone.1", "alone", alone.address, &[group, ("HAPROXY_0_PATH", "/alone")]),
    ];
    begin(&server, tasks).await;
    assert_eq!(server.problems(), []);
    for (host, path, expected) in [
        ("web.test", "/multiple", Some("web")),
        ("web.test", "/MULTIPLE/x", Some("web")),
        ("web.test", "/Paths", Some("web")),
        ("web.test", "/multiples", None),
        ("web.test", "/alone", None),
        ("any.test", "/alone/x", Some("alone")),
        ("any.test", "/Alone", None),
        ("any.test", "/", None),
    ] {
        let answer = get(server.http, host, path).await;
        let found = (status(&answer) == 200).then(|| body(&answer));
        assert_eq!(found, expected, "{host}{path}: {answer}");
    }
}
