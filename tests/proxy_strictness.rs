//! What must be refused or made unambiguous, each with the section that says so, over the wire.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::time::Duration;

use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::AsyncWriteExt;

async fn proxy() -> (Backend, Proxy) {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    (backend, proxy)
}

/// Each request is sent on a connection of its own; the proxy must close it after a refusal that leaves doubt about
/// what follows. `None`: refused by the HTTP implementation, without a reason of ours.
const REFUSED: &[(&str, &str, u16, Option<&str>)] = &[
    ("RFC 9112 3.2 no Host", "GET / HTTP/1.1\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9112 3.2 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9110 4.2.4 userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9112 3.2 a list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9112 3.2 a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9110 4.2.3 port", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9112 3.2.4 asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some("bad-target")),
    ("RFC 9112 3.2 fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some("bad-target")),
    ("RFC 9112 3.2 non-ASCII", "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some("bad-target")),
    ("RFC 3986 2.1 encoding", "GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, Some("bad-path")),
    ("RFC 3986 7.3 NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, Some("bad-path")),
    ("hidden dots", "GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, Some("bad-path")),
    (
        "RFC 9112 6.3 two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        Some("bad-framing"),
    ),
    (
        "RFC 9112 6.1 gzip, chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        Some("unknown-coding"),
    ),
    ("RFC 9112 6.3 not chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, None),
    ("RFC 9112 6.1 HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
    ("RFC 9112 6.3 +5", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400, None),
    (
        "RFC 9112 6.3 lengths differ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        400,
        None,
    ),
    ("RFC 9112 5.1 space before colon", "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, None),
    ("RFC 9112 5.2 folded", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400, None),
    ("RFC 9112 2.2 bare LF", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, Some("bad-line")),
    ("RFC 9112 2.2 NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", 400, None),
    ("RFC 9112 2.3 version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400, None),
    (
        "RFC 9110 10.1.1 expectation",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        417,
        Some("unknown-expectation"),
    ),
    (
        "RFC 9110 9.3.6 CONNECT",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n",
        405,
        Some("method-refused"),
    ),
    ("RFC 9110 9.3.8 TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, Some("method-refused")),
    ("RFC 9112 3.2.2 userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some("bad-host")),
    ("RFC 9110 4.2 scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some("bad-target")),
    ("RFC 9112 3.2.1 no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some("bad-target")),
];

#[tokio::test]
async fn what_has_two_meanings_is_refused() {
    let (backend, proxy) = proxy().await;
    for (case, request, expected, reason) in REFUSED {
        let answer = proxy.raw(request).await;
        assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (*expected, *reason), "{case}: {answer}");
    }
    assert_eq!(backend.connections(), 0, "something was forwarded");
}

/// Sent → a line that must, or (with `!`) must not, be in what the backend sees.
const CANONICAL: &[(&str, &str, &str)] = &[
    (
        "RFC 9112 3.2.2",
        "GET http://b.example/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "host: b.example\r\n",
    ),
    (
        "RFC 9112 3.2.1",
        "GET http://b.example/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "get /x http/1.1\r\n",
    ),
    ("RFC 9112 3.2.4", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "options * http/1.1\r\n"),
    ("RFC 9110 7.6.1", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Me\r\nX-Me: 1\r\n\r\n", "!x-me"),
    ("RFC 9110 7.6.1", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "!connection: close"),
    ("RFC 9110 7.6.1", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n", "host: a\r\n"),
    ("RFC 9110 7.6.3", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "via: 1.1 pointsman\r\n"),
    ("RFC 9110 7.6.3", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "via: 1.0 pointsman\r\n"),
    ("RFC 9112 2.5", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "get / http/1.1\r\n"),
    ("RFC 7239", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nForwarded: for=6.6.6.6\r\n\r\n", "!6.6.6.6"),
    (
        "forwarded anew",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
    ),
    ("alias", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n", "!6.6.6.6"),
    ("RFC 9112 2.2", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "get / http/1.1\r\n"),
];

#[tokio::test]
async fn what_passes_is_canonical() {
    let (_backend, proxy) = proxy().await;
    for (case, request, line) in CANONICAL {
        let answer = proxy.raw(request).await;
        let seen = body(&answer).to_lowercase();
        let (wanted, line) = line.strip_prefix('!').map_or((true, *line), |line| (false, line));
        assert!(status(&answer) == 200 && seen.contains(line) == wanted, "{case} {line:?}: {answer}");
    }
}

#[tokio::test]
async fn trusted_proxies_are_appended_to() {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::with(|config| config.proxy.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()])
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve();
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.7\r\n\
                   X-Forwarded-Proto: https\r\nForwarded: for=198.51.100.7\r\n\r\n";
    let answer = proxy.raw(request).await;
    let seen = body(&answer);
    assert_eq!(header(seen, "x-forwarded-for"), Some("198.51.100.7, 127.0.0.1"));
    assert_eq!(header(seen, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(seen, "x-real-ip"), Some("198.51.100.7"));
    assert_eq!(header(seen, "forwarded"), Some("for=198.51.100.7, for=127.0.0.1;host=a.example;proto=http"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_rfc9112_9_3_2() {
    let (_backend, proxy) = proxy().await;
    let one = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = "GET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = proxy.raw(&format!("{}{}{last}", one("a"), one("b"))).await;
    let found: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("GET /")).collect();
    assert_eq!(found, ["a HTTP/1.1", "b HTTP/1.1", "c HTTP/1.1"], "{answer}");
}

#[tokio::test]
async fn after_a_refusal_in_a_pipeline_nothing_is_served() {
    let (_backend, proxy) = proxy().await;
    let answer = proxy
        .raw("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert!(answer.contains("GET /a") && answer.contains("bad-line"), "{answer}");
    assert!(!answer.contains("GET /b") && !answer.contains("GET /c"), "{answer}");
}

#[tokio::test]
async fn continue_is_said_once_the_body_is_wanted_rfc9110_10_1_1() {
    let backend = Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_eq!(header(&head, "expect"), None);
        let mut bytes = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes).await.unwrap();
        stream.write_all(ok("thanks").as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    assert!(soon(read_head(&mut client)).await.unwrap().starts_with("HTTP/1.1 100"));
    client.write_all(b"hello").await.unwrap();
    assert_eq!(body(&read_answer(&mut client).await), "thanks");
    // RFC 9110 section 10.1.1: no 100 where the answer is known.
    let mut client = proxy.connect().await;
    client
        .write_all(b"POST /%00 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&soon(read_head(&mut client)).await.unwrap()), 400);
}

#[tokio::test]
async fn heads_are_bounded_rfc6585_5() {
    let (backend, proxy) = proxy().await;
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert_eq!(status(&answer), 431, "{answer}");
    let long = "x".repeat(70_000);
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).await;
    assert_eq!(status(&answer), 431, "{answer}");
    assert_eq!(backend.connections(), 0);
}

fn impatient(config: &mut pointsman::config::Config) {
    config.proxy.limits.header = Duration::from_millis(100);
    config.proxy.limits.keep_alive = Duration::from_millis(100);
}

#[tokio::test]
async fn slow_heads_and_silent_connections_are_closed() {
    let backend = Backend::saying("x").await;
    let proxy =
        Cluster::with(impatient).service("web", Protocol::Http, &[backend.address]).route("*", "/", "web").serve();
    for begun in ["", "G", "PRI * HTTP", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /"] {
        let answer = proxy.raw(begun).await;
        assert_eq!(answer.is_empty(), !begun.contains("\r\n\r\n"), "{begun:?}: {answer}");
    }
    let answer = proxy.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(body(&answer), "x");
    until("all are closed", || proxy.metric("pointsman_proxy_client_connections ") == 0.0).await;
    assert!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"head\"}") >= 4.0);
}

#[tokio::test]
async fn connections_are_bounded() {
    let backend = Backend::saying("x").await;
    let proxy = Cluster::with(|config| config.proxy.limits.connections = 2)
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_answer(&mut client).await;
        held.push(client);
    }
    let mut third = proxy.connect().await;
    third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("the limit bites", || proxy.metric("pointsman_proxy_client_connections_limited_total") >= 1.0).await;
    assert_eq!(proxy.metric("pointsman_proxy_client_connections "), 2.0);
    held.pop();
    assert_eq!(body(&read_answer(&mut third).await), "x");
}
