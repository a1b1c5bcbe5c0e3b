//! Pages for errors, and what is counted of filters: through the whole program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pointsman::config;
use pointsman::server::{ConfigFile, Options, Server};
use proxy_common::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
}

const SETTINGS: &str = "error_pages = \"pages\"\n\
    [[proxy.filters]]\nname = \"shop\"\nrate = 1\nrate_period = \"1h\"\nrate_by = \"all\"\n\
    [proxy.filters.errors]\npages = \"shop\"\nreplace = [\"5xx\"]\n\
    [[proxy.filters]]\nname = \"replaced\"\n[proxy.filters.errors]\npages = \"shop\"\nreplace = [\"5xx\", \"404\"]\n";

impl World {
    async fn start(backend: &Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = |name: &str, more: &str| {
            format!(
                "[[services]]\nname = \"{name}\"\nhosts = [\"{name}.test\"]\nendpoints = [\"{}\"]\n{more}",
                backend.address
            )
        };
        let services = [
            service("plain", ""),
            service("shop", "filters = \"shop\"\n"),
            service("replaced", "filters = \"replaced\"\n"),
            service("lost", "filters = \"nobody-knows\"\n"),
        ];
        std::fs::write(folder.path().join("services.toml"), services.concat()).unwrap();
        for (name, text) in [
            ("pages/404.html", "<p>nothing here"),
            ("pages/404.json", "{\"error\":404}"),
            ("pages/any.txt", "something is wrong"),
            ("shop/5xx.html", "<p>closed"),
            ("shop/429.html", "<p>slowly"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let text = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n[proxy]\n{SETTINGS}"
        );
        let path = folder.path().join("pointsman.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = tokio::task::block_in_place(|| Server::start(config, options)).unwrap();
        until("the file is read", || server.table().load().ready).await;
        let world = Self { server: Some(server), folder };
        world.until_said("nobody.test", "<p>nothing here").await;
        world
    }

    async fn get(&self, host: &str, path: &str, lines: &str) -> String {
        let mut stream = soon(TcpStream::connect(self.server.as_ref().unwrap().addresses().proxy[0])).await.unwrap();
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    async fn until_said(&self, host: &str, expected: &str) {
        for _ in 0..4000 {
            if body(&self.get(host, "/", "").await) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{expected} is never said");
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = prometheus::TextEncoder::new();
        let text = text.encode_to_string(&self.server.as_ref().unwrap().registry().gather()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            tokio::task::block_in_place(|| server.stop(Duration::ZERO));
        }
    }
}

/// Answers with the status that the path names.
async fn backend() -> Backend {
    Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let status = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let status = if status.is_empty() { "200" } else { status };
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: text/css\r\nETag: \"a\"\r\nX-Own: 1\r\nContent-Length: 3\r\n\r\nown"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

fn told(answer: &str) -> (u16, Option<&str>, Option<&str>, &str) {
    (status(answer), header(answer, "x-pointsman-reason"), header(answer, "content-type"), body(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_pages_and_stay_what_they_are() {
    let backend = backend().await;
    let world = World::start(&backend).await;
    const HTML: Option<&str> = Some("text/html; charset=utf-8");
    let answer = world.get("nobody.test", "/", "accept: text/html, */*\r\n").await;
    assert_eq!(told(&answer), (404, Some("no-route"), HTML, "<p>nothing here"));
    assert_eq!(header(&answer, "content-length"), Some("15"));
    let answer = world.get("nobody.test", "/", "accept: application/json\r\n").await;
    assert_eq!(told(&answer), (404, Some("no-route"), Some("application/json"), "{\"error\":404}"));
    let answer = world.get("lost.test", "/", "").await;
    assert_eq!(told(&answer), (503, Some("unknown-filter"), Some("text/plain; charset=utf-8"), "something is wrong"));
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    // An endpoint's own answer is its own.
    assert_eq!(told(&world.get("plain.test", "/404", "").await), (404, None, Some("text/css"), "own"));
    // Unless its filter says otherwise.
    let answer = world.get("replaced.test", "/503", "").await;
    assert_eq!(told(&answer), (503, None, HTML, "<p>closed"));
    assert_eq!((header(&answer, "etag"), header(&answer, "x-own")), (None, Some("1")));
    assert_eq!(told(&world.get("replaced.test", "/404", "").await).3, "own", "there is no page for it");
    assert_eq!(told(&world.get("replaced.test", "/200", "").await).3, "own");
    let answer = world.get("replaced.test", "/503", "").await;
    assert_eq!(told(&answer).3, "<p>closed");
    // A service's pages go before those of all, whoever refuses.
    assert_eq!(told(&world.get("shop.test", "/500", "").await), (500, None, HTML, "<p>closed"));
    assert_eq!(told(&world.get("shop.test", "/", "").await), (429, Some("rate-limited"), HTML, "<p>slowly"));
    assert_eq!(
        world.metric("pointsman_proxy_filter_refusals_total{filter=\"shop\",reason=\"rate-limited\"}"),
        Some(1.0)
    );
    assert_eq!(world.metric("pointsman_proxy_filter_refusals_total{filter=\"nobody-knows\""), None);
    let open = || world.metric("pointsman_proxy_client_gone_total").unwrap();
    assert_eq!(open(), 0.0, "an answer that was replaced is whole");
    // The folder is followed.
    std::fs::write(world.folder.path().join("pages/404.html"), "<p>still nothing").unwrap();
    world.until_said("nobody.test", "<p>still nothing").await;
    std::fs::remove_file(world.folder.path().join("pages/404.html")).unwrap();
    std::fs::remove_file(world.folder.path().join("pages/404.json")).unwrap();
    world.until_said("nobody.test", "something is wrong").await;
}

/// Tables may change thousands of times a second: that is no reason to look at files.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_tables_looks_at_no_folder() {
    use notify::Watcher;
    let backend = backend().await;
    let world = World::start(&backend).await;
    let (folder, opened) = (world.folder.path().join("pages"), Arc::new(AtomicUsize::new(0)));
    let counted = opened.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| event.kind.is_access()) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    watcher.watch(&folder, notify::RecursiveMode::NonRecursive).unwrap();
    let services = std::fs::read_to_string(world.folder.path().join("services.toml")).unwrap();
    let (begun, table) = (Instant::now(), world.server.as_ref().unwrap().table());
    let first = table.load().generation;
    while table.load().generation < first + 100 {
        let before = table.load().generation;
        let weight = 1 + before % 50;
        let one = format!(
            "[[services]]\nname = \"one\"\nendpoints = [{{ address = \"{}\", weight = {weight} }}]\n",
            backend.address
        );
        let beside = world.folder.path().join("services.new");
        std::fs::write(&beside, format!("{services}{one}")).unwrap();
        std::fs::rename(beside, world.folder.path().join("services.toml")).unwrap();
        until("another table", || table.load().generation > before).await;
    }
    // Once a second, and each look is some events: the folder is opened, read and closed.
    let looks = 1 + begun.elapsed().as_secs() as usize;
    let seen = opened.load(Ordering::Relaxed);
    assert!(seen <= looks * 10, "{seen} events of {looks} looks");
    // And it is looked at.
    until("a look", || opened.load(Ordering::Relaxed) > seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_and_for_the_head_alone() {
    let backend = backend().await;
    let world = World::start(&backend).await;
    let stream = soon(TcpStream::connect(world.server.as_ref().unwrap().addresses().proxy[0])).await.unwrap();
    let stream = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = soon(hyper::client::conn::http2::handshake(executor, stream)).await.unwrap();
    tokio::spawn(connection);
    for (method, host, expected) in [
        ("GET", "replaced", "<p>closed"),
        ("HEAD", "replaced", ""),
        ("GET", "lost", "something is wrong"),
        ("HEAD", "lost", ""),
    ] {
        let request = http::Request::builder().method(method).uri(format!("http://{host}.test/503"));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let answer = soon(client.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 503);
        let length = if host == "lost" { "18" } else { "9" };
        assert_eq!(answer.headers()["content-length"], length, "{method} {host}");
        let octets = soon(http_body_util::BodyExt::collect(answer.into_body())).await.unwrap().to_bytes();
        assert_eq!(octets, expected);
    }
}
