//! Settings that are said to reload live do: a whole server is asked before and after a reload.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dns_common;
mod proxy_common;

use std::path::Path;
use std::time::Duration;

use dns_common::{ask_udp, query};
use hickory_proto::rr::RData;
use pointsman::admin::context::ReloadOutcome;
use pointsman::config::{self, Environment};
use pointsman::server::{ConfigFile, Options, Server};
use proxy_common::{Backend, body, header, read_all, read_answer, read_head, soon, status};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Settings that this test sees taking effect.
const SEEN: &[&str] = &[
    "server.history",
    "dns.ttl",
    "dns.negative_ttl",
    "dns.soa.refresh",
    "dns.soa.retry",
    "dns.soa.expire",
    "dns.soa.nameserver",
    "dns.soa.contact",
    "dns.soa.nameserver_addresses",
    "dns.max_udp_size",
    "proxy.via",
    "proxy.max_hops",
    "proxy.trusted_proxies",
    "proxy.limits.header",
    "proxy.limits.response",
    "proxy.limits.idle",
    "proxy.limits.keep_alive",
    "proxy.limits.head_fields",
    "proxy.limits.head_size",
    "proxy.limits.connections",
    "proxy.limits.idle_per_endpoint",
    "admin.token",
    "admin.hosts",
];

/// Settings that are read from the table (or asked for by it) at each use, where other tests show their effect; and
/// those that a source is opened anew with.
const ELSEWHERE: &[(&str, &str)] = &[
    ("server.drain_time", "read from the table when the stop begins"),
    ("server.service_retention", "what is under way has new deadlines: tests/cluster_absence.rs"),
    ("log.level", "set through the handle of the log, tests/server_lifecycle.rs starts the program with one"),
    ("state.interval", "passed with each table that is published"),
    ("sources.mesos.guard.", "what is under way has new deadlines: tests/cluster_absence.rs"),
    ("routing.unreachable_keep", "as sources.mesos.guard."),
    ("sources.", "a changed source is opened anew: tests/config_reload.rs, has_same_stream"),
    ("dns.forward.", "the forwarder makes its settings anew when the configuration differs"),
    ("dns.ip_sources", "everything is derived anew: tests/table_properties.rs"),
    ("dns.srv_weight", "everything is derived anew"),
    ("dns.name_unhealthy", "everything is derived anew"),
    ("dns.hold_names", "everything is derived anew"),
    ("dns.label_rule", "everything is derived anew"),
    ("dns.extra_names", "everything is derived anew"),
    ("dns.locality.", "as dns.allow, tests/dns_locality.rs"),
    ("dns.dcos.", "everything is derived anew, the zones included"),
    ("dns.reverse", "everything is derived anew, the zones included"),
    ("dns.max_tcp_connections", "read at each accept"),
    ("dns.tcp_idle", "read at each connection"),
    ("dns.cookies", "read from the table's configuration at each answer: tests/dns_compliance.rs"),
    ("dns.cookie_secret", "as dns.cookies"),
    ("dns.identity", "as dns.cookies"),
    ("dns.tell_version", "as dns.cookies"),
    ("dns.allow", "as dns.cookies, tests/dns_access.rs"),
    ("dns.rate_limit.", "as dns.allow"),
    ("dns.log.", "followed by the thread that writes: tests/dns_log.rs"),
    ("dns.transfer.", "as dns.allow, tests/dns_transfer.rs"),
    ("proxy.max_attempts", "read from the request's plan: tests/proxy_retry.rs"),
    ("proxy.proxy_status_relayed", "read at each answer: tests/proxy_routing.rs"),
    ("proxy.proxy_status", "read at each answer: tests/proxy_routing.rs"),
    ("proxy.error_pages", "followed by who reads the pages, and read with each request: tests/proxy_pages.rs"),
    ("proxy.request_id", "read with each request: tests/proxy_access_log.rs"),
    ("proxy.access_log.", "read with each request, and followed by the thread that writes: tests/proxy_access_log.rs"),
    ("proxy.trace.otlp.", "read with each request, and followed by the task that sends: tests/proxy_otlp.rs"),
    ("proxy.trace.", "read with each request: tests/proxy_access_log.rs"),
    ("proxy.retry_body_size", "read from the request's plan"),
    ("proxy.retry_statuses", "read from the request's plan: tests/proxy_retry.rs"),
    ("proxy.retry_ratio", "read from the request's plan"),
    ("proxy.hedging.", "read from the request's plan"),
    ("proxy.adaptive_concurrency.", "read from the request's plan"),
    ("proxy.zone.", "read from the request's plan"),
    ("proxy.balance.outliers.", "as proxy.balance.: tests/balance_simulation.rs"),
    ("proxy.balance.", "read from the table's configuration when an endpoint is chosen or judged"),
    ("proxy.limits.connect", "read from the request's plan"),
    ("proxy.limits.per_try", "read from the request's plan"),
    ("proxy.limits.upstream_idle", "read at each sweep"),
    ("proxy.limits.connections_per_network", "read at each accept"),
    ("proxy.limits.buffer_size", "read when a request begins"),
    ("proxy.limits.connections_per_endpoint", "read when an endpoint is chosen: tests/proxy_limits.rs"),
    ("proxy.limits.streams", "read at each connection"),
    ("proxy.filters.", "read from the request's plan: tests/proxy_filters.rs reloads one"),
    ("proxy.acme.", "an entry that differs is begun anew: tests/proxy_acme.rs reloads some"),
    ("proxy.https_port", "read when a request is redirected"),
    ("proxy.limits.tcp_idle", "read at each connection"),
    ("proxy.service_ports.", "listeners follow the table, tests/marathon_ways.rs; claims are derived anew"),
    ("proxy.tls.", "keys of tickets are changed where they differ: tests/proxy_client_tls.rs"),
    ("admin.mesos_dns_enumeration", "read from the table at each call"),
    ("routing.drain_time", "tests/proxy_drain_time.rs changes it"),
    ("health.check", "everything is derived anew"),
    ("health.path", "everything is derived anew"),
    ("health.", "read with each table by the checks: tests/health_checks.rs"),
    ("routing.", "everything is derived anew"),
    ("upstreams.tls.", "profiles are made anew where they differ: tests/proxy_endpoint_tls.rs reloads them"),
    ("upstreams.", "everything is derived anew"),
    ("policy.", "everything is derived anew"),
];

/// Every setting that the reference calls live.
fn live() -> Vec<String> {
    let mut section = String::new();
    let mut out = Vec::new();
    for line in config::reference_markdown().lines() {
        if let Some(heading) = line.strip_prefix("#### `") {
            section = heading.trim_end_matches('`').trim_matches(['[', ']']).to_owned();
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        if let [key, _, _, "live", _] = cells[..] {
            out.push(format!("{section}.{}", key.trim_start_matches("| ").trim_matches('`')));
        }
    }
    out
}

#[test]
fn every_live_setting_is_accounted_for() {
    let live = live();
    assert!(live.len() > 50, "{live:?}");
    let unknown =
        |key: &&String| !SEEN.contains(&key.as_str()) && !ELSEWHERE.iter().any(|(start, _)| key.starts_with(start));
    let missing: Vec<_> = live.iter().filter(unknown).collect();
    assert!(missing.is_empty(), "show that these reload live, or say where that is shown: {missing:?}");
    let stale: Vec<_> = SEEN.iter().filter(|key| !live.iter().any(|known| known == *key)).collect();
    assert!(stale.is_empty(), "not live settings: {stale:?}");
}

/// A server under test, and its file.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
    backend: Backend,
}

impl World {
    async fn start(settings: &str) -> Self {
        let backend = Backend::start(|mut stream, _| async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.contains("/never") {
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
                    return;
                }
                let _ = stream.write_all(proxy_common::ok(&head).as_bytes()).await;
            }
        });
        let backend = backend.await;
        let folder = tempfile::tempdir().unwrap();
        let services = format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [\"{}\"]\n\
             [[records]]\nname = \"www.example.com\"\ntype = \"A\"\nvalue = \"10.0.0.1\"\n\
             [[records]]\nname = \"long.example.com\"\ntype = \"TXT\"\nvalue = \"{}\"\n",
            backend.address,
            "x".repeat(600)
        );
        std::fs::write(folder.path().join("services.toml"), services).unwrap();
        let mut world = Self { server: None, folder, backend };
        world.write(settings);
        let path = world.path();
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = tokio::task::block_in_place(|| Server::start(config, options)).unwrap();
        world.server = Some(server);
        let ready = || world.server().table().load().ready;
        proxy_common::until("the file is read", ready).await;
        world
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("pointsman.toml")
    }

    fn write(&self, settings: &str) {
        let base = "[server]\nworkers = 1\n@server\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
                    zones = [\"example.com\"]\n[dns]\nlisten = [\"127.0.0.1:0\"]\n@dns\n[dns.soa]\n@soa\n[proxy]\n@proxy\n\
                    [proxy.limits]\n@limits\n[[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
                    [routing]\n@routing\n[admin]\nlisten = \"127.0.0.1:0\"\n@admin\n";
        let mut text = base.to_owned();
        for line in settings.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (section, line) = line.split_once(' ').unwrap();
            text = text.replace(section, &format!("{line}\n{section}"));
        }
        let text: String = text.lines().filter(|line| !line.starts_with('@')).map(|line| format!("{line}\n")).collect();
        config::check(&text, Path::new("p.toml"), Environment::empty()).unwrap_or_else(|errors| panic!("{errors}"));
        std::fs::write(self.path(), text).unwrap();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    async fn reload(&self, settings: &str) {
        self.write(settings);
        let before = self.server().table().load().generation;
        let status = self.server().reloader().reload().await;
        assert_eq!(status.outcome, ReloadOutcome::Applied, "{:?}", status.errors);
        proxy_common::until("the table has it", || self.server().table().load().generation > before).await;
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.server().addresses().proxy[0])).await.unwrap()
    }

    /// An answer of the proxy; the request says `Connection: close`.
    async fn get(&self, path: &str, fields: &str) -> String {
        let mut client = self.connect().await;
        let text =
            format!("POST {path} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n");
        client.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut client).await
    }

    async fn admin(&self, path: &str, fields: &str) -> u16 {
        let mut client = soon(TcpStream::connect(self.server().addresses().admin.unwrap())).await.unwrap();
        let text = format!("POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n");
        client.write_all(text.as_bytes()).await.unwrap();
        status(&read_all(&mut client).await)
    }

    fn ask(&self, name: &str, record: hickory_proto::rr::RecordType) -> hickory_proto::op::Message {
        let address = self.server().addresses().dns[0];
        tokio::task::block_in_place(|| ask_udp(address, &query(7, name, record)))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let server = self.server.take();
        tokio::task::block_in_place(|| server.map(|server| server.stop(Duration::ZERO)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_settings_hold_for_the_next_request() {
    let world = World::start("").await;
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let forwarded = "X-Forwarded-For: 192.0.2.7\r\n";
    let looping = "Via: 1.1 other\r\n";
    let before = world.get("/", forwarded).await;
    assert!(header(&before, "via").unwrap().ends_with(" pointsman"), "{before}");
    assert_eq!(header(body(&before), "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(status(&world.get("/", &many(30)).await), 200);
    assert_eq!(status(&world.get("/", looping).await), 200);
    assert_eq!(status(&world.get("/", &format!("x: {}\r\n", "y".repeat(20_000))).await), 200);

    world
        .reload(
            "@proxy via = \"other\"
             @proxy max_hops = 1
             @proxy trusted_proxies = [\"127.0.0.0/8\"]
             @limits head_fields = 20
             @limits head_size = \"1KiB\"
             @limits response = \"50ms\"
             @limits header = \"50ms\"
             @limits keep_alive = \"50ms\"
             @limits idle_per_endpoint = 0",
        )
        .await;
    let after = world.get("/", forwarded).await;
    assert!(header(&after, "via").unwrap().ends_with(" other"), "{after}");
    assert!(header(body(&after), "x-forwarded-for").unwrap().starts_with("192.0.2.7"), "{after}");
    assert_eq!(status(&world.get("/", &many(30)).await), 431);
    assert_eq!(status(&world.get("/", looping).await), 508);
    assert_eq!(status(&world.get("/", &format!("x: {}\r\n", "y".repeat(20_000))).await), 431);
    assert_eq!(status(&world.get("/never", "").await), 504);
    // Half a head, and none: both connections are ended by their limits of 50 ms.
    for text in ["GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"] {
        let mut client = world.connect().await;
        client.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut client).await;
    }
    // Nothing is kept open to the backend now.
    let known = world.backend.connections();
    for number in 1..4 {
        world.get("/", "").await;
        assert_eq!(world.backend.connections(), known + number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_connections_and_idle_bodies_change_with_the_table() {
    let world = World::start("@limits connections = 1").await;
    let mut first = world.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await.unwrap();
    read_answer(&mut first).await;
    let mut second = world.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(50), read_head(&mut second)).await;
    assert!(waits.is_err(), "the limit is 1");
    world.reload("@limits connections = 2\n@limits idle = \"50ms\"").await;
    assert_eq!(status(&read_answer(&mut second).await), 200);
    drop((first, second));
    // A body that stops.
    let mut stalled = world.connect().await;
    stalled.write_all(b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
    read_all(&mut stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dns_says_changes_with_the_table() {
    use hickory_proto::rr::RecordType::{A, SOA, TXT};
    let world = World::start("").await;
    assert_eq!(world.ask("www.example.com.", A).answers[0].ttl, 5);
    assert!(world.ask("long.example.com.", TXT).metadata.truncation, "no EDNS: 512 octets");
    world
        .reload(
            "@dns ttl = \"77s\"
             @dns negative_ttl = \"11s\"
             @dns max_udp_size = 600
             @soa refresh = \"101s\"
             @soa retry = \"102s\"
             @soa expire = \"103s\"
             @soa nameserver = \"names\"
             @soa nameserver_addresses = [\"192.0.2.53\"]
             @soa contact = \"people\"",
        )
        .await;
    assert_eq!(world.ask("www.example.com.", A).answers[0].ttl, 77);
    let answer = world.ask("example.com.", SOA);
    let RData::SOA(soa) = &answer.answers[0].data else { panic!("{answer:?}") };
    assert_eq!((soa.refresh, soa.retry, soa.expire, soa.minimum), (101, 102, 103, 11));
    assert_eq!(
        (soa.mname.to_ascii(), soa.rname.to_ascii()),
        ("names.example.com.".into(), "people.example.com.".into())
    );
    let answer = world.ask("names.example.com.", A);
    assert!(matches!(&answer.answers[0].data, RData::A(a) if a.0.octets() == [192, 0, 2, 53]), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_changes_with_the_table() {
    let accept = "/v1/sources/file/accept-removals";
    let world = World::start("@admin token = \"one-one-one-one-one\"").await;
    let bearer = |token: &str| format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    assert_ne!(world.admin(accept, &bearer("one-one-one-one-one")).await, 401);
    assert_eq!(world.admin(accept, &bearer("two-two-two-two-two")).await, 401);
    let named = "Host: ops.example.com\r\nAuthorization: Bearer two-two-two-two-two\r\n";
    let refused = world.admin(accept, named).await;
    world.reload("@admin token = \"one-one-one-one-one\"\n@dns ttl = \"6s\"").await;
    assert!(world.server().table().history().iter().count() > 1);
    assert_eq!(status(&world.get("/", "").await), 200);
    let mut open = soon(TcpStream::connect(world.server().addresses().admin.unwrap())).await.unwrap();

    world
        .reload(
            "@admin token = \"two-two-two-two-two\"
             @admin hosts = [\"ops.example.com\"]
             @server history = 1",
        )
        .await;
    assert_eq!(world.admin(accept, &bearer("one-one-one-one-one")).await, 401);
    assert_ne!(world.admin(accept, &bearer("two-two-two-two-two")).await, 401);
    assert_ne!(world.admin(accept, named).await, refused);
    assert_eq!(world.server().table().history().iter().count(), 1);
    // A connection that was open before goes on: nothing was bound anew.
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_all(&mut open).await), 200);
}
