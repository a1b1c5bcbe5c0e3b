//! Pages for errors, and what is counted of filters: through the whole program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
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

/// A service of a file, for the host of its name.
fn service(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(SocketAddr::to_string).collect();
    format!("[[services]]\nname = \"{name}\"\nhosts = [\"{name}.test\"]\nendpoints = {endpoints:?}\n{more}")
}

impl World {
    async fn start(backend: &Backend) -> Self {
        let services = [
            service("plain", &[backend.address], ""),
            service("shop", &[backend.address], "filters = \"shop\"\n"),
            service("replaced", &[backend.address], "filters = \"replaced\"\n"),
            service("lost", &[backend.address], "filters = \"nobody-knows\"\n"),
        ];
        let world = Self::with(SETTINGS, &services.concat(), "127.0.0.1:0".parse().unwrap()).await;
        world.until_said("nobody.test", "<p>nothing here").await;
        world
    }

    async fn with(settings: &str, services: &str, listener: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("services.toml"), services).unwrap();
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
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{listener}\"\n[proxy]\n{settings}"
        );
        let path = folder.path().join("pointsman.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = tokio::task::block_in_place(|| Server::start(config, options)).unwrap();
        until("the file is read", || server.table().load().ready).await;
        Self { server: Some(server), folder }
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
    while table.load().generation < first + 40 {
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
    let looks = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
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

/// A service of pages, which notes what it was asked, and does for some statuses what it should not.
async fn pager(asked: Arc<Mutex<Vec<String>>>) -> Backend {
    Backend::start(move |mut stream, _| {
        let asked = asked.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                asked.lock().unwrap().push(head.clone());
                let path = head.split(' ').nth(1).unwrap_or_default();
                let code = path.rsplit('=').next().unwrap_or_default();
                let page = format!("<p>sorry, {code}");
                let with = |lines: &str, body: &str| {
                    format!("HTTP/1.1 {lines}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                };
                let answer = match code {
                    "501" => with("404 Not Found", "no such page"),
                    "508" => with("200 OK", &"x".repeat(70_000)),
                    "504" => with("200 OK\r\nContent-Encoding: gzip", "x"),
                    "505" => return,
                    "507" => {
                        // Longer than anybody waits.
                        tokio::time::sleep(PATIENCE).await;
                        return;
                    }
                    _ => with("200 OK\r\nContent-Type: text/x-page\r\nContent-Language: en\r\nSet-Cookie: a=b", &page),
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

const ASKING: &str = "[[proxy.filters]]\nname = \"asking\"\nmax_body = 10\n[proxy.filters.errors]\n\
    service = \"error-pages\"\npath = \"/page?code={status}\"\ntimeout = \"300ms\"\nreplace = [\"5xx\"]\n\
    [[proxy.filters]]\nname = \"both\"\n[proxy.filters.errors]\n\
    service = \"error-pages\"\npath = \"/page?code={status}\"\npages = \"shop\"\nreplace = [\"5xx\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_table_gives_the_page() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (backend, pager) = (backend().await, pager(asked.clone()).await);
    let services = [
        // One endpoint of the service cannot be reached; the other one is asked then.
        service("error-pages", &[refusing(), pager.address], ""),
        service("shop", &[backend.address], "filters = \"asking\"\n"),
        service("gone", &[refusing()], "filters = \"asking\"\n"),
        service("both", &[backend.address], "filters = \"both\"\n"),
    ];
    let world = World::with(ASKING, &services.concat(), "127.0.0.1:0".parse().unwrap()).await;
    // Words of our own.
    let lines = "accept: text/html\r\naccept-language: en\r\ncookie: secret=1\r\nauthorization: Bearer x\r\n";
    let answer = world.get("gone.test", "/private?token=x", lines).await;
    assert_eq!(told(&answer), (502, Some("connect-failed"), Some("text/x-page"), "<p>sorry, 502"));
    assert_eq!(header(&answer, "content-language"), Some("en"));
    assert_eq!(header(&answer, "set-cookie"), None, "only the page counts");
    let question = asked.lock().unwrap().pop().unwrap().to_ascii_lowercase();
    assert!(question.starts_with("get /page?code=502 http/1.1\r\n"), "{question}");
    for line in ["host: gone.test", "x-pointsman-error: 502", "accept: text/html", "accept-language: en"] {
        assert!(question.contains(&format!("\r\n{line}\r\n")), "{line}: {question}");
    }
    assert!(!question.contains("secret") && !question.contains("bearer") && !question.contains("token"), "{question}");
    // A filter's refusal, before anything is forwarded.
    let mut stream = soon(TcpStream::connect(world.server.as_ref().unwrap().addresses().proxy[0])).await.unwrap();
    let text = "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 11\r\nconnection: close\r\n\r\nhello world";
    stream.write_all(text.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert_eq!(told(&answer), (413, Some("body-too-large"), Some("text/x-page"), "<p>sorry, 413"));
    // Endpoints' own answers.
    let answer = world.get("shop.test", "/500", "").await;
    assert_eq!(told(&answer), (500, None, Some("text/x-page"), "<p>sorry, 500"));
    assert_eq!((header(&answer, "etag"), header(&answer, "x-own")), (None, Some("1")));
    assert_eq!(told(&world.get("shop.test", "/404", "").await), (404, None, Some("text/css"), "own"));
    assert_eq!(told(&world.get("shop.test", "/200", "").await).3, "own");
    // Whatever the service does wrong: the answer is as it was.
    let failed = || world.metric("pointsman_proxy_error_pages_total{outcome=\"failed\"}").unwrap();
    assert_eq!(failed(), 0.0);
    for (count, status) in [(1, 501), (2, 508), (3, 504), (4, 505), (5, 507)] {
        let begun = Instant::now();
        let answer = world.get("shop.test", &format!("/{status}"), "").await;
        assert_eq!(told(&answer), (status, None, Some("text/css"), "own"));
        assert_eq!(header(&answer, "etag"), Some("\"a\""));
        assert!(begun.elapsed() < Duration::from_secs(5), "{status}: {:?}", begun.elapsed());
        assert_eq!(failed(), f64::from(count), "{status}");
    }
    // … or as the folder has it.
    let with_folder = || async {
        let answer = world.get("both.test", "/501", "").await;
        body(&answer) == "<p>closed"
    };
    while !with_folder().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(told(&world.get("both.test", "/500", "").await).3, "<p>sorry, 500");
    assert_eq!(world.metric("pointsman_proxy_client_gone_total"), Some(0.0));
}

/// Whoever gives the page may fail by the same filter, or be this proxy itself: no page is asked for on account of another.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_asked_for_on_account_of_another() {
    let here = ports::unused();
    let filter = "[[proxy.filters]]\nname = \"asking\"\n[proxy.filters.errors]\nservice = \"mirror\"\n\
        timeout = \"5s\"\nreplace = [\"5xx\"]\n";
    let services = [
        service("mirror", &[here], "filters = \"asking\"\n"),
        service("gone", &[refusing()], "filters = \"asking\"\n"),
    ];
    let world = World::with(filter, &services.concat(), here).await;
    let answer = world.get("gone.test", "/", "").await;
    let (status, reason, _, text) = told(&answer);
    assert_eq!((status, reason), (502, Some("connect-failed")));
    assert!(text.starts_with("502 connect-failed: "), "{text}");
    assert_eq!(world.metric("pointsman_proxy_error_pages_total{outcome=\"failed\"}"), Some(1.0));
    assert_eq!(world.metric("pointsman_proxy_local_answers_total{reason=\"connect-failed\"}"), Some(2.0));
}

/// Pages over HTTP/2, of a service that is called by its whole id; and of one whose name is not one service's alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_http2_and_one_that_nobody_can_tell() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let said = format!("{} of {}", request.uri().path(), request.uri().authority().unwrap());
                Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<bytes::Bytes>::from(said)))
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http2::Builder::new(executor).serve_connection(stream, answer));
        }
    });
    let services = [
        service("pages", &[address], "protocol = \"h2c\"\n"),
        service("gone", &[refusing()], "filters = \"asking\"\n"),
        service("lost", &[refusing()], "filters = \"unsure\"\n"),
    ];
    let filters = "[[proxy.filters]]\nname = \"asking\"\n[proxy.filters.errors]\nservice = \"ID\"\n\
        [[proxy.filters]]\nname = \"unsure\"\n[proxy.filters.errors]\nservice = \"nobody\"\n";
    let filters = filters.replace("ID", "file/static/pages/0");
    let world = World::with(&filters, &services.concat(), "127.0.0.1:0".parse().unwrap()).await;
    let ids: Vec<String> =
        world.server.as_ref().unwrap().table().load().services.keys().map(ToString::to_string).collect();
    let answer = world.get("gone.test", "/", "").await;
    assert_eq!(body(&answer), "/502.html of gone.test", "{ids:?}");
    assert!(body(&world.get("lost.test", "/", "").await).starts_with("502 connect-failed: "));
    serving.abort();
}
