//! Filters that ask somebody, or for a token, and answers that are compressed: through the whole program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use pointsman::config;
use pointsman::server::{ConfigFile, Options, Server};
use proxy_common::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The program with one service from a file, whose filter is called `f`.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl World {
    async fn start(backend: &Backend, filter: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), backend, filter).await
    }

    async fn start_in(folder: tempfile::TempDir, backend: &Backend, filter: &str) -> Self {
        let services = format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [\"{}\"]\nfilters = \"f\"\n",
            backend.address
        );
        std::fs::write(folder.path().join("services.toml"), services).unwrap();
        let text = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n[[proxy.filters]]\nname = \"f\"\n{filter}\n"
        );
        let path = folder.path().join("pointsman.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = tokio::task::block_in_place(|| Server::start(config, options)).unwrap();
        until("the file is read", || server.table().load().ready).await;
        Self { server: Some(server), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.server.as_ref().unwrap().addresses().proxy[0])).await.unwrap()
    }

    async fn ask(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    async fn get(&self, path: &str, lines: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: web.test\r\n{lines}connection: close\r\n\r\n")).await
    }

    /// Asks until the keys have been read.
    async fn get_with_keys(&self, lines: &str) -> String {
        for _ in 0..2000 {
            let answer = self.get("/", lines).await;
            if header(&answer, "x-pointsman-reason") != Some("keys-missing") {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the keys are never read");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            tokio::task::block_in_place(|| server.stop(Duration::ZERO));
        }
    }
}

fn reason(answer: &str) -> (u16, Option<&str>) {
    (status(answer), header(answer, "x-pointsman-reason"))
}

/// An authority: `cookie: ok` passes, `/late` is never answered, `/odd` is answered with nonsense.
async fn authority() -> Backend {
    Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let asked = header(&head, "x-forwarded-uri").unwrap_or_default();
            let answer = match () {
                () if asked.starts_with("/late") => return std::future::pending().await,
                () if asked.starts_with("/odd") => "nonsense\r\n\r\n".to_owned(),
                () if header(&head, "cookie") == Some("ok") => format!(
                    "HTTP/1.1 204 No Content\r\nX-User: ann\r\nX-Role: a\r\nX-Role: b\r\nX-Asked: {}\r\n\r\n",
                    head.lines().collect::<Vec<_>>().join("|")
                ),
                () => "HTTP/1.1 302 Found\r\nLocation: https://id.test/login\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                       Content-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin"
                    .to_owned(),
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_says_who_passes() {
    let (backend, authority) = (Backend::echoing_heads().await, authority().await);
    let url = authority.address;
    let filter = format!(
        "[proxy.filters.forward_auth]\nurl = \"http://{url}/verify\"\ntimeout = \"300ms\"\n\
         copy_headers = [\"X-User\", \"X-Role\", \"X-Asked\", \"X-Silent\"]\n"
    );
    let world = World::start(&backend, &filter).await;
    let lines = "cookie: ok\r\nx-user: root\r\nx-silent: forged\r\nx-forwarded-for: 6.6.6.6\r\nx-mine: 1\r\n";
    let passed = world.get("/a?b=c", lines).await;
    assert_eq!(status(&passed), 200);
    let told = body(&passed);
    assert_eq!(header(told, "x-user"), Some("ann"), "the authority's word, not the client's");
    assert_eq!(told.matches("x-role: ").count(), 2);
    assert_eq!(header(told, "x-silent"), None, "nothing of the client's passes where the authority is silent");
    let asked = header(told, "x-asked").unwrap().to_ascii_lowercase();
    for expected in [
        "get /verify http/1.1|",
        &format!("|host: {url}|"),
        "|x-forwarded-method: get|",
        "|x-forwarded-uri: /a?b=c|",
        "|x-forwarded-host: web.test|",
        "|x-forwarded-proto: http|",
        "|x-forwarded-for: 127.0.0.1|",
        "|x-mine: 1|",
    ] {
        assert!(asked.contains(expected), "{expected} is not in {asked}");
    }
    // A body is not the authority's to read.
    let post = "POST / HTTP/1.1\r\nhost: web.test\r\ncookie: ok\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let posted = world.ask(post).await;
    assert!(header(body(&posted), "x-asked").unwrap().to_ascii_lowercase().contains("|x-forwarded-method: post|"));
    let connections = backend.connections();
    let refused = world.get("/", "").await;
    assert_eq!(reason(&refused), (302, Some("auth-refused")));
    assert_eq!((header(&refused, "location"), body(&refused)), (Some("https://id.test/login"), "login"));
    assert_eq!((header(&refused, "content-type"), refused.matches("set-cookie: ").count()), (Some("text/html"), 2));
    assert_eq!(backend.connections(), connections, "no endpoint hears of it");
    assert_eq!(reason(&world.get("/late", "cookie: ok\r\n").await), (503, Some("auth-timeout")));
    assert_eq!(reason(&world.get("/odd", "cookie: ok\r\n").await), (502, Some("auth-invalid")));
    // Connections are kept: each fault costs one.
    assert!(authority.connections() <= 4, "{}", authority.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_whom_nobody_can_judge() {
    let backend = Backend::saying("never").await;
    let filter = format!("[proxy.filters.forward_auth]\nurl = \"http://{}/\"\n", refusing());
    let world = World::start(&backend, &filter).await;
    let answer = world.get("/", "").await;
    assert_eq!((reason(&answer), header(&answer, "retry-after")), ((503, Some("auth-unreachable")), Some("1")));
    assert_eq!(backend.connections(), 0);
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An issuer with two keys.
struct Issuer {
    ed25519: Ed25519KeyPair,
    p256: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let p256 = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { ed25519: Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap(), p256 }
    }

    fn set(&self, names: &[&str]) -> String {
        let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let point = self.p256.public_key().as_ref();
        let all = [
            json!({ "kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": text(self.ed25519.public_key().as_ref()) }),
            json!({ "kid": "p256", "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) }),
        ];
        let named: Vec<_> = all.into_iter().filter(|key| names.contains(&key["kid"].as_str().unwrap())).collect();
        json!({ "keys": named }).to_string()
    }

    fn sign(&self, name: &str, claims: &Json) -> String {
        let algorithm = if name == "ed" { "EdDSA" } else { "ES256" };
        let part = |value: &Json| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": algorithm, "kid": name })), part(claims));
        let signature = match name {
            "ed" => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => self.p256.sign(&ring::rand::SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_set_in_a_file_let_requests_pass() {
    let (backend, issuer) = (Backend::echoing_heads().await, Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), issuer.set(&["ed"])).unwrap();
    let filter = "[proxy.filters.jwt]\nkeys = \"keys.json\"\nissuer = \"https://id.test\"\naudience = [\"shop\"]\n\
                  cookie = \"token\"\nclaims = [\"sub=X-User\", \"realm.roles=X-Roles\", \"none=X-None\"]\n";
    let world = World::start_in(folder, &backend, filter).await;
    let claims = json!({ "iss": "https://id.test", "aud": "shop", "exp": now() + 3600, "sub": "ann",
        "realm": { "roles": ["a", "b"] } });
    let token = issuer.sign("ed", &claims);
    let forged = "x-user: root\r\nx-none: forged\r\n";
    let passed = world.get_with_keys(&format!("{}{forged}", bearer(&token))).await;
    assert_eq!(status(&passed), 200, "{passed}");
    let told = body(&passed);
    assert_eq!((header(told, "x-user"), header(told, "x-roles")), (Some("ann"), Some("a,b")));
    assert_eq!(header(told, "x-none"), None);
    assert_eq!(status(&world.get("/", &format!("cookie: a=b; token={token}\r\n")).await), 200);
    let without = world.get("/", "").await;
    assert_eq!(
        (reason(&without), header(&without, "www-authenticate")),
        ((401, Some("token-required")), Some("Bearer"))
    );
    let change = |key: &str, value: Json| {
        let mut claims = claims.clone();
        claims[key] = value;
        issuer.sign("ed", &claims)
    };
    let part = |value: &Json| URL_SAFE_NO_PAD.encode(value.to_string());
    for token in [
        change("exp", json!(now() - 60)),
        change("nbf", json!(now() + 600)),
        change("iss", json!("https://evil.test")),
        change("aud", json!("other")),
        token.replacen('.', ".e30", 1),
        format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims)),
    ] {
        let answer = world.get("/", &bearer(&token)).await;
        assert_eq!(reason(&answer), (401, Some("token-invalid")), "{token}");
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }
    // Another key: the file is followed.
    let other = bearer(&issuer.sign("p256", &claims));
    assert_eq!(status(&world.get("/", &other).await), 401);
    std::fs::write(world.path("keys.json.new"), issuer.set(&["p256"])).unwrap();
    std::fs::rename(world.path("keys.json.new"), world.path("keys.json")).unwrap();
    let mut tries = 0;
    while status(&world.get("/", &other).await) != 200 {
        tries += 1;
        assert!(tries < 2000, "the changed file is never read");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&world.get("/", &bearer(&token)).await), 401, "a key that is gone counts no more");
    // What cannot be read changes nothing.
    std::fs::write(world.path("keys.json"), "nonsense").unwrap();
    assert_eq!(status(&world.get("/", &other).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_and_an_issuer_that_is_away_changes_nothing() {
    let (backend, issuer) = (Backend::saying("in").await, Arc::new(Issuer::new()));
    let server = {
        let issuer = issuer.clone();
        Backend::start(move |mut stream, number| {
            let issuer = issuer.clone();
            async move {
                let names: &[&str] = if number == 0 { &["ed"] } else { &["ed", "p256"] };
                let Some(head) = read_head(&mut stream).await else { return };
                assert!(head.starts_with("GET /jwks.json HTTP/1.1\r\n"), "{head}");
                let _ = stream.write_all(ok(&issuer.set(names)).as_bytes()).await;
            }
        })
        .await
    };
    let filter = format!("[proxy.filters.jwt]\nkeys = \"http://{}/jwks.json\"\n", server.address);
    let world = World::start(&backend, &filter).await;
    let claims = json!({ "exp": now() + 3600 });
    let (first, second) = (bearer(&issuer.sign("ed", &claims)), bearer(&issuer.sign("p256", &claims)));
    assert_eq!(status(&world.get_with_keys(&first).await), 200);
    // A key that is not known yet is looked for at once.
    let mut tries = 0;
    while status(&world.get("/", &second).await) != 200 {
        tries += 1;
        assert!(tries < 2000, "the new key is never fetched");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.connections(), 2);
    drop(server);
    assert_eq!(status(&world.get("/", &first).await), 200);
    let registry = prometheus::TextEncoder::new();
    let text = registry.encode_to_string(&world.server.as_ref().unwrap().registry().gather()).unwrap();
    assert!(text.contains("pointsman_proxy_filter_keys{filter=\"f\"} "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_nobody_is_judged() {
    let backend = Backend::saying("never").await;
    let world = World::start(&backend, "[proxy.filters.jwt]\nkeys = \"absent.json\"\n").await;
    let answer = world.get("/", &bearer("a.b.c")).await;
    assert_eq!(reason(&answer), (503, Some("keys-missing")));
    assert_eq!(backend.connections(), 0);
}

const TEXT: &str = "the quick brown fox jumps over the lazy dog. ";

/// `/stream` is said in two parts, the second when it may; everything else is long.
async fn talker(may_go_on: Arc<Semaphore>) -> Backend {
    let conversation = move |mut stream: TcpStream, may_go_on: Arc<Semaphore>| async move {
        while let Some(head) = read_head(&mut stream).await {
            let long = TEXT.repeat(2000);
            let say = |kind: &str, more: &str, body: &str| {
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}Content-Length: {length}\r\n\r\n{body}")
            };
            let answer = match head.split(' ').nth(1).unwrap_or_default() {
                "/short" => say("text/plain", "", "short"),
                "/image" => say("image/png", "", &long),
                "/coded" => say("text/plain", "Content-Encoding: br\r\n", &long),
                "/fixed" => say("text/plain", "Cache-Control: no-transform\r\n", &long),
                "/stream" => {
                    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                                 6\r\nfirst\n\r\n";
                    stream.write_all(begin.as_bytes()).await.unwrap();
                    may_go_on.acquire().await.unwrap().forget();
                    "7\r\nsecond\n\r\n0\r\n\r\n".to_owned()
                }
                _ if head.starts_with("HEAD") => {
                    let head = say("text/plain", "ETag: \"a\"\r\n", &long);
                    head.split_inclusive("\r\n\r\n").next().unwrap().to_owned()
                }
                _ => say("text/plain", "ETag: \"a\"\r\nAccept-Ranges: bytes\r\n", &long),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    Backend::start(move |stream, _| conversation(stream, may_go_on.clone())).await
}

/// What can be read of it, and whether that is the whole.
fn decode(coding: &str, octets: &[u8]) -> (String, bool) {
    let mut text = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(octets).read_to_end(&mut text),
        "br" => brotli::Decompressor::new(octets, 4096).read_to_end(&mut text),
        "zstd" => zstd::stream::read::Decoder::new(octets).unwrap().read_to_end(&mut text),
        other => panic!("{other}"),
    };
    (String::from_utf8(text).unwrap(), read.is_ok())
}

fn decoded(coding: &str, octets: &[u8]) -> String {
    let (text, is_whole) = decode(coding, octets);
    assert!(is_whole, "{coding}");
    text
}

fn plain(coding: &str, octets: &[u8]) -> String {
    decode(coding, octets).0
}

const COMPRESS: &str = "[proxy.filters.compress]\ncodings = [\"zstd\", \"br\", \"gzip\"]\n";

/// A client of hyper's: it undoes the chunks, and nothing else.
async fn fetch(world: &World, method: &str, path: &str, accept: &str) -> (http::response::Parts, Vec<u8>) {
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let (mut client, connection) = soon(hyper::client::conn::http1::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().method(method).uri(path).header("host", "web.test");
    let request = request.header("accept-encoding", accept).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let (head, body) = soon(client.send_request(request)).await.unwrap().into_parts();
    (head, soon(body.collect()).await.unwrap().to_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_as_the_client_likes() {
    let backend = talker(Arc::new(Semaphore::new(0))).await;
    let world = World::start(&backend, COMPRESS).await;
    let whole = TEXT.repeat(2000);
    for (accept, coding) in [("gzip, br, zstd", "zstd"), ("gzip;q=0.5, br", "br"), ("gzip", "gzip")] {
        let (head, octets) = fetch(&world, "GET", "/", accept).await;
        let field = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!((field("content-encoding"), field("vary")), (Some(coding), Some("Accept-Encoding")));
        assert_eq!((field("etag"), field("accept-ranges"), field("content-length")), (Some("W/\"a\""), None, None));
        assert!(octets.len() < whole.len() / 20, "{coding}: {}", octets.len());
        assert!(decoded(coding, &octets) == whole, "{coding}");
    }
    let (head, octets) = fetch(&world, "GET", "/", "identity").await;
    assert!(!head.headers.contains_key("content-encoding") && octets.len() == whole.len());
    assert_eq!(head.headers["vary"], "Accept-Encoding");
    for path in ["/short", "/image", "/coded", "/fixed"] {
        let (head, octets) = fetch(&world, "GET", path, "gzip").await;
        assert_ne!(head.headers.get("content-encoding").map(|value| value.as_bytes()), Some(&b"gzip"[..]), "{path}");
        assert_eq!(head.headers["content-length"], octets.len().to_string(), "{path}");
    }
    let (head, octets) = fetch(&world, "HEAD", "/", "gzip").await;
    assert_eq!((head.headers["content-encoding"].as_bytes(), octets.len()), (&b"gzip"[..], 0));
    assert!(!head.headers.contains_key("content-length"));
}

/// What the endpoint has said is there before it says more.
#[tokio::test(flavor = "multi_thread")]
async fn streams_stay_streams() {
    let may_go_on = Arc::new(Semaphore::new(0));
    let backend = talker(may_go_on.clone()).await;
    let world = World::start(&backend, COMPRESS).await;
    for coding in ["gzip", "br", "zstd"] {
        let stream = hyper_util::rt::TokioIo::new(world.connect().await);
        let (mut client, connection) = soon(hyper::client::conn::http1::handshake(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder().uri("/stream").header("host", "web.test");
        let request = request.header("accept-encoding", coding).body(http_body_util::Empty::<bytes::Bytes>::new());
        let answer = soon(client.send_request(request.unwrap())).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], coding);
        let mut body = answer.into_body();
        let mut octets = Vec::new();
        while !plain(coding, &octets).ends_with("first\n") {
            octets.extend_from_slice(&soon(body.frame()).await.unwrap().unwrap().into_data().unwrap());
        }
        may_go_on.add_permits(1);
        octets.extend_from_slice(&soon(body.collect()).await.unwrap().to_bytes());
        assert_eq!(decoded(coding, &octets), "first\nsecond\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_too() {
    let backend = talker(Arc::new(Semaphore::new(0))).await;
    let world = World::start(&backend, COMPRESS).await;
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = soon(hyper::client::conn::http2::handshake(executor, stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://web.test/").header("accept-encoding", "br");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "br");
    let octets = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    assert!(decoded("br", &octets) == TEXT.repeat(2000));
}
