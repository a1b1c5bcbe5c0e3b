//! The access log, ids of requests and traces: written by the whole program, and never in a request's way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pointsman::admin::context::ReloadOutcome;
use pointsman::config;
use pointsman::server::{ConfigFile, Options, Server};
use proxy_common::*;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The program with one service from a file, which has as many hosts as there are filters.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
    backend: Backend,
}

impl World {
    async fn start(settings: &str) -> Self {
        let backend = Backend::start(|mut stream, _| async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.starts_with("GET /cut") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
                    return;
                }
                if head.starts_with("GET /never") {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return;
                }
                if head.to_ascii_lowercase().contains("upgrade: websocket") {
                    let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").await;
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    return;
                }
                let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                let _ = stream.read_exact(&mut vec![0; length]).await;
                let _ = stream.write_all(ok(&head).as_bytes()).await;
            }
        });
        let backend = backend.await;
        let mut world = Self { server: None, folder: tempfile::tempdir().unwrap(), backend };
        let service = |name: &str, filters: &str| {
            format!(
                "[[services]]\nname = \"{name}\"\nhosts = [\"{name}.test\"]\nendpoints = [\"{}\"]\n{filters}",
                world.backend.address
            )
        };
        let services =
            [service("web", ""), service("loud", "filters = \"loud\"\n"), service("quiet", "filters = \"quiet\"\n")];
        std::fs::write(world.path("services.toml"), services.concat()).unwrap();
        world.write(settings);
        let path = world.path("pointsman.toml");
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        world.server = Some(tokio::task::block_in_place(|| Server::start(config, options)).unwrap());
        until("the file is read", || world.server().table().load().ready).await;
        world
    }

    fn write(&self, settings: &str) {
        let text = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
             [[proxy.filters]]\nname = \"loud\"\naccess_log = \"always\"\n\
             [[proxy.filters]]\nname = \"quiet\"\naccess_log = \"never\"\n[proxy]\n{settings}\n"
        );
        std::fs::write(self.path("pointsman.toml"), text).unwrap();
    }

    async fn reload(&self, settings: &str) {
        self.write(settings);
        let before = self.server().table().load().generation;
        let status = self.server().reloader().reload().await;
        assert_eq!(status.outcome, ReloadOutcome::Applied, "{:?}", status.errors);
        until("the table has it", || self.server().table().load().generation > before).await;
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.server().addresses().proxy[0]
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address())).await.unwrap()
    }

    async fn ask(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    async fn get(&self, host: &str, path: &str, lines: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n")).await
    }

    fn log(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The lines, as soon as there are so many.
    async fn lines(&self, count: usize) -> Vec<Json> {
        until("the lines are written", || self.log("access.log").len() >= count).await;
        self.log("access.log").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn counted(&self, result: &str) -> f64 {
        self.metric(&format!("pointsman_proxy_access_log_entries_total{{result=\"{result}\"}} "))
    }

    /// The number on the line that begins with `name`.
    fn metric(&self, name: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.server().registry().gather()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap()
    }

    /// Requests at endpoints.
    fn in_flight(&self) -> u64 {
        let table = self.server().table().load();
        let services = table.services.values().flat_map(|service| service.endpoints.iter());
        services.map(|endpoint| endpoint.run.in_flight()).sum::<u64>()
    }

    /// Sends a request that is to be answered later, if at all.
    async fn begin(&self, path: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: web.test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            tokio::task::block_in_place(|| server.stop(Duration::ZERO));
        }
    }
}

const TRUST: &str = "trusted_proxies = [\"127.0.0.0/8\"]\nrequest_id = \"X-Request-Id\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_who_asked_what_and_who_answered() {
    let world = World::start(&format!("{TRUST}[proxy.access_log]\npath = \"access.log\"\n")).await;
    let lines = "x-forwarded-for: 192.0.2.7\r\nx-request-id: from-the-front\r\nreferer: http://a.test/\r\nuser-agent: tester\r\n";
    let answer = world.get("web.test", "/a?b=c", lines).await;
    assert_eq!(status(&answer), 200);
    let line = &world.lines(1).await[0];
    for (key, expected) in [
        ("client", "192.0.2.7"),
        ("method", "GET"),
        ("scheme", "http"),
        ("host", "web.test"),
        ("target", "/a?b=c"),
        ("protocol", "HTTP/1.1"),
        ("end", "complete"),
        ("request_id", "from-the-front"),
        ("referer", "http://a.test/"),
        ("user_agent", "tester"),
    ] {
        assert_eq!(line[key], expected, "{line}");
    }
    assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(200), Some(1)));
    assert_eq!(line["address"], world.backend.address.to_string());
    assert!(line["service"].as_str().unwrap().contains("web"), "{line}");
    assert!(line["endpoint"].as_str().is_some() && line["version"].as_str().is_some(), "{line}");
    assert_eq!(line["sent"], body(&answer).len());
    assert_eq!(line["table"], world.server().table().load().generation);
    assert!(line["first_byte_ms"].as_f64().unwrap() <= line["duration_ms"].as_f64().unwrap());
    // The endpoint was told the same id.
    assert_eq!(header(body(&answer), "x-request-id"), Some("from-the-front"));
}

/// Waiting is told from a task that is slow, however it ends.
#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_request_stood_in_line_is_told() {
    let settings = |time: &str| {
        let balance = format!("[proxy.balance]\nmax_requests = 1\nqueue_time = \"{time}\"\n");
        format!("[proxy.access_log]\npath = \"access.log\"\n{balance}")
    };
    let world = World::start(&settings("30s")).await;
    let waiting = |count: f64| world.metric("pointsman_proxy_queued ") == count;
    let busy = world.begin("/never").await;
    until("the task has all that it takes", || world.in_flight() == 1).await;
    let gone = world.begin("/gone").await;
    until("one waits", || waiting(1.0)).await;
    let mut waits = world.begin("/waits").await;
    until("two wait", || waiting(2.0)).await;
    let (seen, least) = (std::time::Instant::now(), Duration::from_millis(40));
    until("they have waited", || seen.elapsed() >= least).await;
    drop(gone);
    let line = world.lines(1).await.remove(0);
    assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(499), Some(0)), "{line}");
    assert!(line["queued_ms"].as_f64().unwrap() >= 40.0, "{line}");
    drop(busy);
    assert_eq!(status(&read_all(&mut waits).await), 200);
    let lines = world.lines(3).await;
    let line = |target: &str| lines.iter().find(|line| line["target"] == target).unwrap();
    assert!(line("/never").get("queued_ms").is_none(), "it had room: {lines:?}");
    let queued = line("/waits")["queued_ms"].as_f64().unwrap();
    assert!(queued >= 40.0 && queued <= line("/waits")["first_byte_ms"].as_f64().unwrap(), "{lines:?}");
    // Who waited in vain.
    world.reload(&settings("100ms")).await;
    let busy = world.begin("/never").await;
    until("it is full again", || world.in_flight() == 1).await;
    assert_eq!(status(&world.get("web.test", "/late", "").await), 503);
    let line = world.lines(4).await.remove(3);
    assert_eq!(line["reason"], "queue-timeout", "{line}");
    let queued = line["queued_ms"].as_f64().unwrap();
    assert!(queued >= 100.0 && queued <= line["duration_ms"].as_f64().unwrap(), "{line}");
    drop(busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_without_a_route_lacks_is_told_by_choice() {
    let settings = |misses: &str| format!("misses = \"{misses}\"\n[proxy.access_log]\npath = \"access.log\"\n");
    let world = World::start("[proxy.access_log]\npath = \"access.log\"\n").await;
    let narrow = format!(
        "[[services]]\nname = \"narrow\"\nendpoints = [\"{}\"]\n[[services.routes]]\nhosts = [\"narrow.test\"]\n\
         path = \"/api\"\nmethod = \"PUT\"\nheader = \"x-key=secret\"\n",
        world.backend.address
    );
    let services = std::fs::read_to_string(world.path("services.toml")).unwrap();
    std::fs::write(world.path("services.toml"), format!("{services}{narrow}")).unwrap();
    let has_route = || world.server().table().load().routes.for_host("narrow.test").next().is_some();
    until("the route is there", has_route).await;
    let nearest = "no route of narrow.test has the path, the nearest has /api";
    let cases = [
        ("narrow.test", "/api/x", "narrow.test/api asks for method PUT, header x-key"),
        ("narrow.test", "/ap", nearest),
        ("nobody.test", "/", "no route has the host"),
    ];
    let mut lines = 0;
    for (misses, in_log, in_header) in [(None, false, false), (Some("log"), true, false), (Some("header"), true, true)]
    {
        if let Some(misses) = misses {
            world.reload(&settings(misses)).await;
        }
        for (host, path, miss) in cases {
            let answer = world.get(host, path, "").await;
            assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (404, Some("no-route")), "{answer}");
            assert_eq!(header(&answer, "x-pointsman-miss"), in_header.then_some(miss), "{misses:?}: {answer}");
            lines += 1;
            let line = world.lines(lines).await.remove(lines - 1);
            assert_eq!(line.get("miss").and_then(|said| said.as_str()), in_log.then_some(miss), "{misses:?}: {line}");
        }
    }
    // What has a route, or is refused for something else, lacks none.
    let answer = world.get("web.test", "/", "").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-miss")), (200, None), "{answer}");
    let answer = world.get("web.test", "/%00", "").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-miss")), (400, None), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_upgrades_and_what_goes_wrong_are_told_apart() {
    let world = World::start("[proxy.access_log]\npath = \"access.log\"\n").await;
    // A body goes by another implementation of HTTP.
    let post = "POST / HTTP/1.1\r\nhost: web.test\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let answer = world.ask(post).await;
    let line = world.lines(1).await.remove(0);
    assert_eq!((line["received"].as_u64(), line["sent"].as_u64()), (Some(5), Some(body(&answer).len() as u64)));
    // Refused: no service, no endpoint.
    world.get("nobody.test", "/", "").await;
    let line = world.lines(2).await.remove(1);
    assert_eq!((line["status"].as_u64(), &line["reason"]), (Some(404), &"no-route".into()));
    assert!(line.get("service").is_none() && line.get("endpoint").is_none() && line["attempts"] == 0, "{line}");
    // Refused before a host is known.
    world.ask("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n").await;
    assert_eq!(world.lines(3).await[2]["reason"], "bad-host");
    world.get("web.test", "/cut", "").await;
    let line = world.lines(4).await.remove(3);
    assert_eq!((&line["end"], line["sent"].as_u64()), (&"cut".into(), Some(4)));
    // A client that does not wait.
    let stream = world.begin("/never").await;
    until("the endpoint is asked", || world.in_flight() == 1).await;
    drop(stream);
    let line = world.lines(5).await.remove(4);
    assert_eq!((&line["end"], line["status"].as_u64()), (&"client-gone".into(), Some(499)));
    // A connection that is upgraded is over when it is closed.
    let mut stream = world.connect().await;
    let upgrade = "GET / HTTP/1.1\r\nhost: web.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    assert_eq!(status(&soon(read_head(&mut stream)).await.unwrap()), 101);
    stream.write_all(b"hello").await.unwrap();
    soon(stream.read_exact(&mut [0; 5])).await.unwrap();
    assert_eq!(world.log("access.log").len(), 5);
    drop(stream);
    let line = world.lines(6).await.remove(5);
    assert_eq!(
        (line["status"].as_u64(), line["received"].as_u64(), line["sent"].as_u64()),
        (Some(101), Some(5), Some(5))
    );
}

/// What no rule of ours has seen is written down as far as it is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_cannot_be_read_has_its_line() {
    let world = World::start("[proxy.access_log]\npath = \"access.log\"\n").await;
    let answer = world.ask("GET / HTTP/1.1\r\nHost: web.test\r\nb d: c\r\n\r\n").await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert_eq!(status(&world.ask("G@T / HTTP/1.1\r\nHost: web.test\r\n\r\n").await), 400);
    let lines = world.lines(2).await;
    for (line, method, target, host) in [(&lines[0], "GET", "/", "web.test"), (&lines[1], "-", "-", "")] {
        for (key, expected) in [
            ("client", "127.0.0.1"),
            ("method", method),
            ("target", target),
            ("host", host),
            ("reason", "bad-head"),
            ("end", "complete"),
        ] {
            assert_eq!(line[key], expected, "{line}");
        }
        assert_eq!(line["status"].as_u64(), Some(400), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_too() {
    let world = World::start("[proxy.access_log]\npath = \"access.log\"\nquery = false\n").await;
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = soon(hyper::client::conn::http2::handshake(executor, stream)).await.unwrap();
    tokio::spawn(connection);
    let body = http_body_util::Full::<bytes::Bytes>::from("hi");
    let request = http::Request::post("http://web.test/x?secret=1").body(body).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    let whole = soon(http_body_util::BodyExt::collect(answer.into_body())).await.unwrap().to_bytes();
    let line = world.lines(1).await.remove(0);
    assert_eq!((&line["protocol"], &line["target"]), (&"HTTP/2.0".into(), &"/x".into()));
    assert_eq!((line["received"].as_u64(), line["sent"].as_u64()), (Some(2), Some(whole.len() as u64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_keep_errors_and_filters_say_otherwise() {
    let settings = "[proxy.access_log]\npath = \"access.log\"\nsample = 5\nformat = \"combined\"\n";
    let world = World::start(settings).await;
    for _ in 0..20 {
        world.get("web.test", "/sampled", "").await;
    }
    for (host, path) in [("loud.test", "/loud"), ("quiet.test", "/quiet"), ("quiet.test", "/cut"), ("no.test", "/none")]
    {
        world.get(host, path, "").await;
    }
    until("all are written", || world.log("access.log").iter().any(|line| line.contains("/none"))).await;
    let log = world.log("access.log").concat();
    let count = |path: &str| log.matches(path).count();
    assert_eq!([count("/sampled"), count("/loud"), count("/quiet"), count("/cut"), count("/none")], [4, 1, 0, 0, 1]);
    world.reload("[proxy.access_log]\npath = \"access.log\"\nsample = 1000000\nerrors = false\n").await;
    world.get("no.test", "/dropped", "").await;
    world.get("loud.test", "/last", "").await;
    until("it is written", || world.log("access.log").iter().any(|line| line.contains("/last"))).await;
    assert!(!world.log("access.log").concat().contains("/dropped"));
    // What is written is counted behind it.
    until("all are counted", || world.counted("written") == 7.0).await;
    assert_eq!(world.counted("dropped"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_and_a_changed_one_are_left_and_what_waits_is_written_at_the_end() {
    let mut world = World::start("[proxy.access_log]\npath = \"access.log\"\n").await;
    world.get("web.test", "/1", "").await;
    world.lines(1).await;
    std::fs::rename(world.path("access.log"), world.path("access.log.1")).unwrap();
    until("a new file is there", || world.path("access.log").exists()).await;
    world.get("web.test", "/2", "").await;
    assert_eq!(world.lines(1).await[0]["target"], "/2");
    assert_eq!(world.log("access.log.1").len(), 1);
    world.reload("[proxy.access_log]\npath = \"other.log\"\n").await;
    world.get("web.test", "/3", "").await;
    until("the other file has it", || world.log("other.log").len() == 1).await;
    assert_eq!(world.log("access.log").len(), 1);
    // Nobody waits for the moment in which lines are gathered.
    world.get("web.test", "/4", "").await;
    let server = world.server.take().unwrap();
    tokio::task::block_in_place(|| server.stop(Duration::from_secs(5)));
    assert_eq!(world.log("other.log").len(), 2);
}

/// A pipe that nobody reads: requests go on, and what is too much is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Somebody has it open, and does not read.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let world = World::start(&format!("[proxy.access_log]\npath = \"{}\"\n", pipe.display())).await;
    let mut stream = world.connect().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: nobody.test\r\n\r\n", "x".repeat(4000));
    let mut asked = 0;
    while world.counted("dropped") == 0.0 {
        // Each answer is whole before the next request is sent.
        for _ in 0..500 {
            stream.write_all(long.as_bytes()).await.unwrap();
            assert_eq!(status(&read_answer(&mut stream).await), 404);
        }
        asked += 500;
        assert!(asked < 100_000, "nothing is dropped");
    }
    // Read, it goes on.
    let written = world.counted("written");
    let drained = std::thread::spawn(move || {
        use std::io::Read;
        let mut reader = reader;
        let mut buffer = vec![0; 1 << 16];
        while reader.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    until("the log goes on", || world.counted("written") > written).await;
    drop(world);
    drop(drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_kept_from_trusted_proxies_and_made_for_others() {
    let world = World::start("request_id = \"X-Request-Id\"\n").await;
    let line = "x-request-id: forged\r\n";
    let answer = world.get("web.test", "/", line).await;
    let made = header(body(&answer), "x-request-id").unwrap().to_owned();
    assert!(made.len() == 32 && made.bytes().all(|octet| octet.is_ascii_hexdigit()), "{made}");
    let refused = world.get("nobody.test", "/", line).await;
    let id = header(&refused, "x-request-id").unwrap();
    assert!(id != "forged" && id != made, "answers of the proxy's own tell the id: {refused}");
    world.reload(TRUST).await;
    let answer = world.get("web.test", "/", "x-request-id: kept\r\n").await;
    assert_eq!(header(body(&answer), "x-request-id"), Some("kept"));
    assert_eq!(header(&world.get("nobody.test", "/", "x-request-id: kept\r\n").await, "x-request-id"), Some("kept"));
    world.reload("").await;
    let answer = world.get("web.test", "/", "x-request-id: mine\r\n").await;
    assert_eq!(header(body(&answer), "x-request-id"), Some("mine"), "without the setting it is a field as any other");
    assert_eq!(header(&world.get("nobody.test", "/", "").await, "x-request-id"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_pass_and_begin_by_choice() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let world = World::start("").await;
    let lines = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n");
    let passed = world.get("web.test", "/", &lines).await;
    assert_eq!(header(body(&passed), "traceparent"), Some(PARENT));
    assert_eq!(header(body(&passed), "tracestate"), Some("a=1"));
    assert_eq!(header(body(&world.get("web.test", "/", "").await), "traceparent"), None);
    world.reload("[proxy.access_log]\npath = \"access.log\"\n[proxy.trace]\ncontext = \"begin\"\nsample = 1\n").await;
    let passed = world.get("web.test", "/", &lines).await;
    assert_eq!(header(body(&passed), "traceparent"), Some(PARENT));
    let begun = world.get("web.test", "/", "traceparent: 00-nonsense\r\ntracestate: a=1\r\n").await;
    let parent = header(body(&begun), "traceparent").unwrap().to_owned();
    assert!(parent.len() == 55 && parent.ends_with("-01"), "{parent}");
    assert_eq!(header(body(&begun), "tracestate"), None, "the state of a trace that is none");
    let lines = world.lines(2).await;
    assert_eq!(lines[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(lines[1]["trace_id"], parent[3..35]);
}
