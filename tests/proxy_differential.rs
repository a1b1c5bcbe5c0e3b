//! Both implementations of HTTP/1.1 side by side: the same requests, valid and broken, from a seed, to the same backend.
//!
//! What reaches the backend must be the same octets, and what reaches the client the same answer: status, content, and
//! fields. Different may be the order of fields (RFC 9110 section 5.3), the sizes of chunks (RFC 9112 section 7.1), which
//! mean nothing, and the date.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use pointsman::model::service::Protocol;
use pointsman::proxy::http1::Engine;
use pointsman::proxy::http1::chunks::ChunkReader;
use proxy_common::*;
use tokio::io::AsyncWriteExt;

const ROUNDS: usize = 400;
const SEED: u64 = 20_240_917;

const METHODS: &[&str] = &["GET", "GET", "GET", "HEAD", "DELETE", "OPTIONS", "POST", "PATCH", "g", "TRACE", "G(T"];
const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/a?b=c",
    "/a/../b",
    "/%41",
    "/%zz",
    "//x",
    "*",
    "/a b",
    "/#f",
    "http://h.example/q",
    "/length",
    "/chunks",
    "/closes",
    "/none",
    "/same",
    "/reason",
    "/early",
    "/broken",
    "/empty",
    "/trailers",
];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1"];
const FIELDS: &[&str] = &[
    "Accept: */*",
    "X-A: b",
    "x-a: c",
    "X-Forwarded-For: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
    "Via: 1.1 other",
    "Connection: x-a",
    "Connection: keep-alive",
    "Keep-Alive: 5",
    "Cookie: a=1",
    "Cookie: b=2",
    "TE: trailers",
    "X_Forwarded_For: 7.7.7.7",
    "Proxy: x",
    "Content-Length: 0",
    "Content-Length: +1",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "X : y",
    "X",
    "X: a\0b",
    "X: a\rb",
    " folded",
    "Host: other",
    "Empty:",
    "Max-Forwards: 3",
    "Range: bytes=0-1",
    "X: \u{e4}",
];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n"];

fn request(rng: &mut Rng) -> String {
    let mut pick = |list: &[&'static str]| list[rng.usize(..list.len())];
    let mut text = format!("{} {} {}{}", pick(METHODS), pick(TARGETS), pick(VERSIONS), pick(ENDS));
    text.push_str("Host: a.example\r\n");
    for _ in 0..3 {
        text.push_str(pick(FIELDS));
        text.push_str(pick(ENDS));
    }
    text.push_str("Connection: close\r\n\r\n");
    if text.contains("chunked") {
        text.push_str("0\r\n\r\n");
    }
    text
}

/// Notes what it is asked, and answers as the path says.
async fn backend() -> (Backend, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = seen.clone();
    let backend = Backend::start(move |mut stream, _| {
        let seen = noted.clone();
        async move {
            while let Some(mut head) = read_head(&mut stream).await {
                if head.contains("chunked") {
                    // A body has nothing but its end.
                    head.push_str(&read_head(&mut stream).await.unwrap_or_default());
                }
                let is_head = head.starts_with("HEAD");
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(head);
                let answer = match target.as_str() {
                    "/chunks" => {
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
                    }
                    "/trailers" => {
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n"
                    }
                    "/closes" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
                    "/none" => "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
                    "/same" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
                    "/reason" => "HTTP/1.1 200 Splendid\r\nContent-Length: 1, 1\r\nX: \u{e4}\r\n\r\nx",
                    "/early" => {
                        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
                    }
                    "/broken" => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
                    "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: 5\r\n\r\n",
                    _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-A: b\r\nx-a: c\r\n\r\ngone",
                };
                // What has no content has none here either.
                let end = answer.find("\r\n\r\n").unwrap() + 4;
                let answer = if is_head && target != "/early" { &answer[..end] } else { answer };
                let closes = target == "/closes" || target == "/broken";
                if is_head && target == "/early" {
                    let _ = stream.write_all(&answer.as_bytes()[..answer.len() - 1]).await;
                } else {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                if closes {
                    return;
                }
            }
        }
    });
    (backend.await, seen)
}

/// What the backend was asked, without the port that the client connected to. The order of fields with different names
/// "is not significant" (RFC 9110 section 5.3).
fn heads(seen: &Mutex<Vec<String>>, proxy: &Proxy) -> Vec<String> {
    let port = format!("x-forwarded-port: {}\r\n", proxy.address.port());
    let heads = std::mem::take(&mut *seen.lock().unwrap());
    let in_order = |head: &String| {
        let head = head.replace(&port, "x-forwarded-port: ours\r\n");
        let (first, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let mut fields: Vec<_> = fields.split_inclusive("\r\n").collect();
        fields.sort_by_key(|field| field.split(':').next());
        format!("{first}\r\n{}", fields.concat())
    };
    heads.iter().map(in_order).collect()
}

/// An answer without what may differ.
fn canonical(answer: &str) -> String {
    let mut rest = answer;
    let mut text = String::new();
    while rest.starts_with("HTTP/1.1 ")
        && let Some((head, after)) = rest.split_once("\r\n\r\n")
    {
        let mut lines: Vec<_> = head.lines().collect();
        let first = lines.remove(0);
        lines.retain(|line| !line.starts_with("date: "));
        lines.sort_unstable();
        text.push_str(&format!("{first}\n{}\n\n", lines.join("\n")));
        rest = after;
        if head.contains("transfer-encoding: chunked") {
            let mut body = after.as_bytes().to_vec();
            let mut reader = ChunkReader::default();
            let Ok(decoded) = reader.decode(&mut body) else { break };
            let trailers = String::from_utf8_lossy(reader.trailers());
            let body = String::from_utf8_lossy(&body[..decoded.data]);
            text.push_str(&format!("{body}\n{trailers}whole: {}\n", reader.is_done()));
            rest = &after[decoded.consumed..];
        }
    }
    text.push_str(rest);
    text
}

#[tokio::test]
async fn both_say_and_send_the_same() {
    let mut rng = Rng::with_seed(SEED);
    let (backend, seen) = backend().await;
    let serve = |engine| Cluster::everything(Protocol::Http, &[backend.address]).serve_by(engine);
    let (own, hyper) = (serve(Engine::Own), serve(Engine::Hyper));
    let mut forwarded = 0;
    for round in 0..ROUNDS {
        let request = request(&mut rng);
        let mut found = Vec::new();
        for proxy in [&own, &hyper] {
            seen.lock().unwrap().clear();
            let answer = proxy.raw(&request).await;
            found.push((canonical(&answer), heads(&seen, proxy)));
        }
        forwarded += found[0].1.len();
        assert_eq!(found[0], found[1], "seed {SEED}, round {round}: {request:?}");
    }
    assert!(forwarded > ROUNDS / 20, "{forwarded} were forwarded");
}

/// Several requests at once, plain and other ones, over one connection.
#[tokio::test]
async fn both_answer_pipelines_in_the_same_way() {
    let mut rng = Rng::with_seed(SEED + 1);
    let (backend, seen) = backend().await;
    let serve = |engine| Cluster::everything(Protocol::Http, &[backend.address]).serve_by(engine);
    let (own, hyper) = (serve(Engine::Own), serve(Engine::Hyper));
    for round in 0..100 {
        let mut text = String::new();
        for _ in 0..rng.usize(1..6) {
            text.push_str(match rng.u8(..6) {
                0 => "GET /length HTTP/1.1\r\nHost: a\r\n\r\n",
                1 => "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
                2 => "GET /chunks HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
                3 => "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
                4 => "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                _ => "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
            });
        }
        text.push_str("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut found = Vec::new();
        for proxy in [&own, &hyper] {
            seen.lock().unwrap().clear();
            let answer = proxy.raw(&text).await;
            found.push((answer.matches("HTTP/1.1 ").count(), heads(&seen, proxy)));
        }
        assert_eq!(found[0], found[1], "seed {}, round {round}: {text:?}", SEED + 1);
    }
}
