//! What must be refused or made unambiguous, each with the section that says so, over the wire.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod proxy_common;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::checked::Underscores;
use pointsman::model::service::Protocol;
use pointsman::proxy::http1::Engine;
use proxy_common::*;
use tokio::io::AsyncWriteExt;

async fn proxy() -> (Backend, Proxy) {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    (backend, proxy)
}

/// Each request is sent on a connection of its own; the proxy must close it after a refusal that leaves doubt about
/// what follows.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("RFC 9112 3.2 no Host", "GET / HTTP/1.1\r\n\r\n", 400, "bad-host"),
    ("RFC 9112 3.2 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-host"),
    ("RFC 9110 4.2.4 userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "bad-host"),
    ("RFC 9112 3.2 a list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "bad-host"),
    ("RFC 9112 3.2 a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad-host"),
    ("RFC 9110 4.2.3 port", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "bad-host"),
    ("RFC 9112 3.2.4 asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
    ("RFC 9112 3.2 fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
    ("RFC 9112 3.2 non-ASCII", "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
    ("RFC 3986 2.1 encoding", "GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, "bad-path"),
    ("RFC 3986 7.3 NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, "bad-path"),
    ("hidden dots", "GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, "bad-path"),
    (
        "RFC 9112 6.3 two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad-framing",
    ),
    (
        "RFC 9112 6.1 gzip, chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        "unknown-coding",
    ),
    ("RFC 9112 6.3 not chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "bad-framing"),
    (
        "RFC 9112 6.1 HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad-framing",
    ),
    (
        "RFC 9112 6.3 chunked, identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
        "bad-framing",
    ),
    (
        "RFC 9112 6.3 xchunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
        "bad-framing",
    ),
    (
        "RFC 9112 6.3 two codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
        "unknown-coding",
    ),
    ("RFC 9112 6.3 hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400, "bad-framing"),
    ("RFC 9112 6.3 empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nhello", 400, "bad-framing"),
    ("RFC 9112 6.3 negative", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400, "bad-framing"),
    (
        "RFC 9112 6.3 more than 64 bits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nhello",
        400,
        "bad-framing",
    ),
    ("RFC 9112 6.3 a list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\nhello", 400, "bad-framing"),
    ("RFC 9110 8.6 zeros first", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello", 400, "bad-framing"),
    ("RFC 9112 6.3 +5", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400, "bad-framing"),
    (
        "RFC 9112 6.3 lengths differ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        400,
        "bad-framing",
    ),
    ("RFC 9112 5.1 space before colon", "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 5.2 folded", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 2.2 bare LF", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "bad-line"),
    ("RFC 9112 2.2 NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 2.2 bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz: 1\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 2.2 a control", "GET / HTTP/1.1\r\nHost: a\r\nX: y\u{1}z\r\n\r\n", 400, "bad-head"),
    (
        "RFC 9112 2.2 too many empty lines",
        "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "bad-line",
    ),
    ("RFC 9112 2.2 white space first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 5.1 no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 5.1 no name", "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", 400, "bad-head"),
    ("RFC 9110 5.1 a bad name", "GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n", 400, "bad-head"),
    (
        "RFC 9110 8.3 two content types",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 2\r\n\r\nhi",
        400,
        "bad-head",
    ),
    ("RFC 9112 2.3 version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "unknown-version"),
    ("RFC 9112 2.3 major version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "unknown-version"),
    ("RFC 9112 2.3 no minor version", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 2.3 two digits", "GET / HTTP/01.01\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 2.3 lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 2.3 no version", "GET /\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 3 two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9112 3.2 space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9110 9.1 a bad method", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-head"),
    ("RFC 9110 4.2.2 https in the clear", "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
    (
        "RFC 9110 10.1.1 expectation",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        417,
        "unknown-expectation",
    ),
    (
        "RFC 9110 9.3.6 CONNECT",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n",
        405,
        "method-refused",
    ),
    ("RFC 9110 9.3.8 TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, "method-refused"),
    ("RFC 9112 3.2.2 userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-host"),
    ("RFC 9110 4.2 scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
    ("RFC 9112 3.2.1 no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
];

#[tokio::test]
async fn what_has_two_meanings_is_refused() {
    let (backend, proxy) = proxy().await;
    for (case, request, expected, reason) in REFUSED {
        let answer = proxy.raw(request).await;
        let found = (status(&answer), header(&answer, "x-pointsman-reason"));
        assert_eq!(found, (*expected, Some(*reason)), "{case}: {answer}");
        assert!(body(&answer).contains(reason) && header(&answer, "date").is_some(), "{case}: {answer}");
    }
    assert_eq!(backend.connections(), 0, "something was forwarded");
}

/// Bodies in chunks that two readers would end at different octets (RFC 9112 section 7.1; CVE-2025-55315,
/// CVE-2025-22871). What follows them is never taken for a request.
#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let backend = Backend::start(|mut stream, _| async move {
        let mut sink = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink).await;
        assert!(!String::from_utf8_lossy(&sink).contains("/evil"));
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let bad = [
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;=\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
    ];
    for body in bad {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let answer = proxy.raw(&format!("{request}GET /evil HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        // Its head came with it, so that it has an answer.
        let reason = header(&answer, "x-pointsman-reason").unwrap_or_default();
        assert!(status(&answer) == 400 && ["bad-line", "bad-framing"].contains(&reason), "{body:?}: {answer}");
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{body:?}: {answer}");
    }
    until("nothing is left", || proxy.in_flight() == 0).await;
}

/// What the proxy says by itself is heard also where the body, which nobody wants, is malformed; and so is the answer to a
/// request before it.
#[tokio::test]
async fn a_malformed_body_that_is_here_already_takes_no_answer_away() {
    let backend = Backend::saying("x").await;
    let proxy = Cluster::new().service("web", Protocol::Http, &[backend.address]).route("a", "/", "web").serve();
    let bad = |host: &str| {
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")
    };
    // Nobody claims the host.
    let answer = proxy.raw(&bad("nobody.test")).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (400, Some("bad-line")), "{answer}");
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{}", bad("a"))).await;
    let (first, second) = answer.split_once("HTTP/1.1 400").unwrap();
    assert_eq!(status(first), 200, "{answer}");
    assert!(second.contains("bad-line"), "{answer}");
    // A coding that only the parser behind objects to.
    let text =
        "POST / HTTP/1.1\r\nHost: nobody.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx y: z\r\n\r\n";
    let answer = proxy.raw(text).await;
    assert!([400, 404].contains(&status(&answer)), "{answer}");
}

/// Behind a chunked body the next head is looked at as strictly as the first one.
#[tokio::test]
async fn a_pipelined_head_behind_chunks_is_looked_at() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let mut bytes = Vec::new();
            while head.contains("chunked") && !bytes.ends_with(b"0\r\n\r\n") {
                tokio::io::AsyncReadExt::read_buf(&mut stream, &mut bytes).await.unwrap();
            }
            stream.write_all(ok("one").as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let first =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let answer = proxy.raw(&format!("{first}GET /b HTTP/1.1\nHost: a\r\n\r\n")).await;
    assert!(answer.contains("one") && answer.contains("bad-line"), "{answer}");
}

/// RFC 9110 section 8.6, 9.3.2, 15.4.5: what has no content ends with its head, whatever the endpoint sends. A length that it
/// gives for HEAD and 304 is that of an answer with content.
#[tokio::test]
async fn answers_without_content_have_none() {
    // Hyper's server takes the length of an answer to GET for the length of a body.
    let length_of_304 = if engine() == Engine::Own { Some("7") } else { None };
    let cases = [
        ("HEAD", "200 OK\r\nContent-Length: 7", "200", Some("7")),
        ("HEAD", "304 Not Modified\r\nContent-Length: 7", "304", Some("7")),
        ("HEAD", "304 Not Modified\r\nETag: \"x\"", "304", None),
        ("HEAD", "204 No Content\r\nContent-Length: 7", "204", None),
        ("GET", "204 No Content\r\nContent-Length: 7", "204", None),
        ("GET", "304 Not Modified\r\nContent-Length: 7", "304", length_of_304),
        ("GET", "304 Not Modified\r\nETag: \"x\"", "304", None),
    ];
    for (method, head, expected, length) in cases {
        let backend = Backend::start(move |mut stream, _| async move {
            read_head(&mut stream).await.unwrap();
            let _ = stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).await;
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.ok();
        });
        let backend = backend.await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        let two =
            format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\nGET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = proxy.raw(&two).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
        assert_eq!(header(&answer, "content-length"), length, "{answer}");
        assert!(body(&answer).starts_with("HTTP/1.1 400"), "{answer}");
    }
}

/// RFC 9112 section 6.3, 5.2 and 2.2, CVE-2026-2835: an answer that is none is 502 and its connection is not kept.
#[tokio::test]
async fn answers_that_can_be_read_in_two_ways_are_refused() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5,6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: y\0z\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 20x OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let backend = Backend::start(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(bad.as_bytes()).await;
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.ok();
        });
        let backend = backend.await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        let answer = proxy.get("a", "/").await;
        let found = (status(&answer), header(&answer, "x-pointsman-reason"));
        assert_eq!(found, (502, Some("upstream-invalid")), "{bad:?}: {answer}");
    }
}

/// CVE-2025-4366: after an answer that came before the request's body, the rest of the body is no request.
#[tokio::test]
async fn a_body_that_was_not_read_is_no_request() {
    let (_backend, proxy) = proxy().await;
    let hidden = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!("POST /%00 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let answer = proxy.raw(&format!("{request}GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(header(&answer, "x-pointsman-reason"), Some("bad-path"), "{answer}");
    assert!(!answer.contains("/evil"), "{answer}");
    // More than is waited for: the connection ends.
    let mut client = proxy.connect().await;
    client.write_all(b"POST /%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_all(&mut client).await), 400);
}

/// RFC 9110 section 15.2: a client of HTTP/1.0 knows no interim answers.
#[tokio::test]
async fn no_interim_answer_is_sent_to_http10() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut [0; 5]).await.unwrap();
        stream.write_all(ok("thanks").as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let answer =
        proxy.raw("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!((status(&answer), body(&answer)), (200, "thanks"), "{answer}");
}

/// RFC 9110 section 7.6.2.
#[tokio::test]
async fn options_go_as_far_as_they_say() {
    let (backend, proxy) = proxy().await;
    let options =
        |hops: &str| format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\nConnection: close\r\n\r\n");
    let answer = proxy.raw(&options("0")).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (200, Some("max-forwards")), "{answer}");
    assert_eq!(backend.connections(), 0);
    assert!(body(&proxy.raw(&options("5")).await).to_lowercase().contains("max-forwards: 4\r\n"));
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

/// What a proxy makes of a request with these fields, by each way that requests have: status, reason, and what the endpoint saw.
async fn by_every_way(proxy: &Proxy, fields: &[(&str, &str)]) -> Vec<(u16, Option<String>, String)> {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut all = Vec::new();
    // What says nothing of a body is read by ourselves, the rest by hyper.
    for (method, more) in [("GET", ""), ("POST", "Content-Length: 0\r\n")] {
        let answer =
            proxy.raw(&format!("{method} /a_b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}{lines}\r\n")).await;
        let reason = header(&answer, "x-pointsman-reason").map(str::to_owned);
        all.push((status(&answer), reason, body(&answer).to_lowercase()));
    }
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(proxy.connect().await));
    let (mut client, connection) = soon(handshake).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = fields
        .iter()
        .fold(http::Request::get("http://a/a_b"), |request, (name, value)| request.header(name.to_lowercase(), *value));
    let answer = soon(client.send_request(request.body(Empty::<Bytes>::new()).unwrap())).await.unwrap();
    let reason = answer.headers().get("x-pointsman-reason").map(|reason| reason.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let seen = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    all.push((status, reason, String::from_utf8_lossy(&seen).to_lowercase()));
    connection.abort();
    all
}

/// GHSA-5m6w-wvh7-57vm: to backends that read `_` as `-`, a client's `X_Role` is somebody else's `X-Role`.
/// Also where a connection to the endpoint waits, so that heads are passed on as they lie.
#[tokio::test]
async fn content_types_that_differ_are_refused_on_every_way_rfc9110_8_3() {
    let (_backend, proxy) = proxy().await;
    assert_eq!(status(&proxy.get("a", "/").await), 200);
    for (second, expected) in [("text/plain", (200, None)), ("text/html", (400, Some("bad-head")))] {
        let fields = [("Content-Type", "text/plain"), ("Content-Type", second)];
        for (code, reason, seen) in by_every_way(&proxy, &fields).await {
            assert_eq!((code, reason.as_deref()), expected, "{second}: {seen}");
        }
    }
}

#[tokio::test]
async fn fields_with_underscores_go_as_configured() {
    const ROLE: &[(&str, &str)] = &[("X_Role", "fa_ke"), ("X-Plain", "pl_ain"), ("X-Ro_le", "fa_ke")];
    const ALIAS: &[(&str, &str)] = &[("X_Forwarded_For", "6.6.6.6")];
    // Such names are not passed on whatever follows.
    const LEFT_OUT: &[(&str, &str)] = &[("X-Forwarded-F_r", "6.6.6.6")];
    for policy in [Underscores::Aliases, Underscores::Drop, Underscores::Refuse] {
        let backend = Backend::echoing_heads().await;
        let proxy = Cluster::with(|config| config.proxy.underscores = policy)
            .service("web", Protocol::Http, &[backend.address])
            .route("*", "/", "web")
            .serve();
        for fields in [ROLE, ALIAS, LEFT_OUT] {
            for (way, (status, reason, seen)) in by_every_way(&proxy, fields).await.into_iter().enumerate() {
                let case = format!("{policy:?} {fields:?}, way {way}: {seen}");
                if policy == Underscores::Refuse {
                    assert_eq!((status, reason.as_deref()), (400, Some("bad-head")), "{case}");
                    continue;
                }
                assert_eq!((status, reason), (200, None), "{case}");
                assert!(!seen.contains("6.6.6.6"), "{case}");
                let passes = policy == Underscores::Aliases && fields == ROLE;
                let expected = if passes { Some("fa_ke") } else { None };
                assert_eq!((header(&seen, "x_role"), header(&seen, "x-ro_le")), (expected, expected), "{case}");
                assert_eq!(header(&seen, "x-plain"), (fields == ROLE).then_some("pl_ain"), "{case}");
            }
        }
        assert_eq!(
            backend.connections() == 0,
            policy == Underscores::Refuse,
            "nothing of what is refused is passed on"
        );
        // Paths and values may have as many as they like.
        for (status, _, seen) in by_every_way(&proxy, &[("X-Plain", "pl_ain")]).await {
            assert!(status == 200 && seen.contains(" /a_b ") && seen.contains("pl_ain"), "{policy:?}: {seen}");
        }
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

/// RFC 9110 section 10.1.1: who has answered without reading the content closes the connection, or reads on. What was announced
/// is the content, whether its sender has waited for a 100 or not: it is a request to nobody, and neither is what is left of a
/// request that stands where the content should (the family of 0.CL).
#[tokio::test]
async fn what_follows_an_answer_without_the_content_is_read_rightly_or_not_at_all_rfc9110_10_1_1() {
    // It answers each head by its target, at once.
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let target = head.split(' ').nth(1).unwrap_or_default();
            let status = if target == "/gone" { "404 Not Found" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{target}", target.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let backend = backend.await;
    let proxy = Cluster::new().service("web", Protocol::Http, &[backend.address]).route("a", "/", "web").serve();
    let hidden = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(next.len() > hidden.len());
    let cases = [
        ("a", "/%00", (400, Some("bad-path"))),
        ("nobody.test", "/", (404, Some("no-route"))),
        // The endpoint's own answer.
        ("a", "/gone", (404, None)),
    ];
    for (host, path, expected) in cases {
        for expects in ["Expect: 100-continue\r\n", ""] {
            for sent in [hidden, ""] {
                let case = format!("{host}{path} {expects:?}, then {sent:?}");
                let mut client = proxy.connect().await;
                let length = hidden.len();
                let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{expects}Content-Length: {length}\r\n\r\n");
                client.write_all(head.as_bytes()).await.unwrap();
                let mut answer = read_answer(&mut client).await;
                if answer.starts_with("HTTP/1.1 100 ") {
                    assert!(!expects.is_empty() && path == "/gone", "{case}: {answer}");
                    answer = read_answer(&mut client).await;
                }
                assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), expected, "{case}: {answer}");
                // The connection may have ended by now.
                let _ = client.write_all(format!("{sent}{next}").as_bytes()).await;
                let _ = client.shutdown().await;
                let rest = read_all(&mut client).await;
                let is_right = match sent.is_empty() {
                    // What stands for the content is none: its rest is no head.
                    true => rest.is_empty() || status(&rest) == 400,
                    false => rest.is_empty() || (status(&rest) == 200 && body(&rest) == "/next"),
                };
                assert!(is_right && rest.matches("HTTP/1.1 ").count() <= 1, "{case}: {rest}");
                // Nothing of it waits on a connection to the endpoint.
                assert_eq!(body(&proxy.get("a", "/other").await), "/other", "{case}");
            }
        }
    }
}

#[tokio::test]
async fn heads_are_bounded_rfc6585_5() {
    let (backend, proxy) = proxy().await;
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    let too_large = (431, Some("head-too-large"));
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), too_large, "{answer}");
    let long = "x".repeat(70_000);
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), too_large, "{answer}");
    assert_eq!(backend.connections(), 0);
}

/// What is wrong with a head is told however it comes: behind other requests, in crumbs, and before its end where that is
/// enough; and nothing of what follows is looked at.
#[tokio::test]
async fn every_refusal_has_its_reason_however_the_head_comes() {
    let (backend, proxy) = proxy().await;
    let good = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let bad = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    for (before, piece) in [(1, 1000), (3, 1000), (1, 1), (2, 7)] {
        let mut client = proxy.connect().await;
        for piece in format!("{}{bad}", good.repeat(before)).as_bytes().chunks(piece) {
            // It may be refused before its end.
            let _ = client.write_all(piece).await;
        }
        let answers = read_all(&mut client).await;
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), before, "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 400 ").count(), 1, "{answers}");
        assert!(answers.contains("x-pointsman-reason: bad-framing") && !answers.contains("evil"), "{answers}");
    }
    // A client that has said all it has to say gets its answer, too.
    let mut client = proxy.connect().await;
    client.write_all(b"G@T / HTTP/1.1\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let answer = read_all(&mut client).await;
    assert_eq!(header(&answer, "x-pointsman-reason"), Some("bad-head"), "{answer}");
    // The beginning of HTTP/2 behind another request is no request.
    let answers = proxy.raw(&format!("{good}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await;
    assert!(answers.contains("x-pointsman-reason: unknown-version"), "{answers}");
    assert!(backend.connections() > 0);
}

/// Whatever a head is made of: no answer is the HTTP implementation's own.
#[tokio::test]
async fn no_refusal_is_without_a_reason() {
    const BASES: &[&str] = &[
        "GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "GET http://a:80/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    ];
    const OCTETS: &[u8] = b"\r\n\0\t\x01\x7f\x80\xff :;,#%?@/\\\"()[]{}=+-*_.09azAZ";
    let backend = Backend::saying("x").await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let seed = 2026;
    println!("heads from seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut refused = 0;
    for _ in 0..400 {
        let mut text = rng.choice(BASES).unwrap().as_bytes().to_vec();
        for _ in 0..rng.usize(1..4) {
            let (at, octet) = (rng.usize(..text.len()), *rng.choice(OCTETS).unwrap());
            match rng.u8(..3) {
                0 => text[at] = octet,
                1 => text.insert(at, octet),
                _ => drop(text.remove(at)),
            }
        }
        let mut client = proxy.connect().await;
        client.write_all(&text).await.unwrap();
        // Whatever is not whole ends here.
        client.shutdown().await.unwrap();
        let answers = read_all(&mut client).await;
        for answer in answers.split("HTTP/1.1 ").skip(1) {
            if !answer.starts_with(['1', '2']) {
                refused += 1;
                let head = answer.split("\r\n\r\n").next().unwrap();
                assert!(head.contains("\r\nx-pointsman-reason: "), "{:?}: {answers}", String::from_utf8_lossy(&text));
            }
        }
    }
    assert!(refused > 50, "only {refused} were refused");
}

/// What comes behind a wish for another protocol belongs to that, and where the wish is not granted it is a request.
#[tokio::test]
async fn what_follows_an_upgrade_waits_for_its_answer() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            if head.starts_with("GET /no ") || !head.to_lowercase().contains("upgrade: echo") {
                stream.write_all(ok("plain").as_bytes()).await.unwrap();
                continue;
            }
            let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(accept.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            return;
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let asks = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    // Octets that would be no request.
    let mut client = proxy.connect().await;
    client.write_all(format!("{}\u{1}\n\n#ahead", asks("/")).as_bytes()).await.unwrap();
    assert_eq!(status(&soon(read_head(&mut client)).await.unwrap()), 101);
    let mut echo = [0; 9];
    soon(tokio::io::AsyncReadExt::read_exact(&mut client, &mut echo)).await.unwrap();
    assert_eq!(&echo, b"\x01\n\n#ahead");
    // Not granted: the next request has its answer, or its refusal.
    let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = proxy.raw(&format!("{}{next}", asks("/no"))).await;
    assert_eq!(answers.matches("plain").count(), 2, "{answers}");
    let answers = proxy.raw(&format!("{}G@T / HTTP/1.1\r\n\r\n", asks("/no"))).await;
    assert!(answers.contains("plain") && answers.contains("x-pointsman-reason: bad-head"), "{answers}");
}

/// At once, as the second request of its connection, and in crumbs.
#[tokio::test]
async fn request_lines_are_bounded_rfc9112_3() {
    let (_backend, proxy) = proxy().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    for (before, piece) in [("", 100_000), ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 100_000), ("", 1000)] {
        let mut client = proxy.connect().await;
        for piece in format!("{before}{long}").as_bytes().chunks(piece) {
            // It may be refused before its end.
            let _ = client.write_all(piece).await;
        }
        if !before.is_empty() {
            assert_eq!(status(&read_answer(&mut client).await), 200);
        }
        let answer = soon(read_head(&mut client)).await.unwrap();
        let found = (status(&answer), header(&answer, "x-pointsman-reason"), header(&answer, "connection"));
        assert_eq!(found, (414, Some("target-too-long"), Some("close")), "{answer}");
    }
    assert_eq!(proxy.metric("pointsman_proxy_local_answers_total{reason=\"target-too-long\"}"), 3.0);
    // No target is too long where none has begun.
    for piece in [100_000, 1000] {
        let mut client = proxy.connect().await;
        for piece in format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(70_000)).as_bytes().chunks(piece) {
            let _ = client.write_all(piece).await;
        }
        let answer = soon(read_head(&mut client)).await.unwrap();
        let found = (status(&answer), header(&answer, "x-pointsman-reason"), header(&answer, "connection"));
        assert_eq!(found, (400, Some("bad-head"), Some("close")), "{answer}");
    }
    let fits = format!("/{}", "x".repeat(60_000));
    assert_eq!(status(&proxy.get("a", &fits).await), 200);
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

#[tokio::test]
async fn connections_of_one_network_are_bounded() {
    let backend = Backend::saying("x").await;
    let cluster = |trusted: &'static str| {
        Cluster::with(move |config| {
            config.proxy.limits.connections_per_network = 2;
            config.proxy.trusted_proxies = vec![trusted.parse().unwrap()];
        })
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve()
    };
    let proxy = cluster("192.0.2.0/24");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_answer(&mut client).await;
        held.push(client);
    }
    assert_eq!(proxy.get("a", "/").await, "", "closed at once");
    assert!(proxy.metric("pointsman_proxy_client_connections_refused_total") >= 1.0);
    held.pop();
    until("its place is free", || proxy.metric("pointsman_proxy_client_connections ") == 1.0).await;
    assert_eq!(body(&proxy.get("a", "/").await), "x");
    // Whoever stands behind a trusted proxy is not counted by its address.
    let proxy = cluster("127.0.0.0/8");
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut client = proxy.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(body(&read_answer(&mut client).await), "x");
        held.push(client);
    }
}

/// Bodies that wait in memory are counted; above the limit requests are refused, and served again afterwards.
#[tokio::test]
async fn memory_for_bodies_is_capped() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            if head.starts_with("PUT") {
                std::future::pending::<()>().await;
            }
            stream.write_all(ok("x").as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::with(|config| {
        config.proxy.limits.buffer_bytes = 1 << 20;
        config.proxy.retry_body_bytes = 4 << 20;
    })
    .service("web", Protocol::Http, &[backend.address])
    .route("*", "/", "web")
    .serve();
    let mut client = proxy.connect().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'x'; 1_200_000]).await.unwrap();
    until("it is counted", || proxy.metric("pointsman_proxy_buffered_bytes ") > f64::from(1 << 20)).await;
    let answer = proxy.get("a", "/").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (503, Some("overloaded")), "{answer}");
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    drop(client);
    until("it is given back", || proxy.metric("pointsman_proxy_buffered_bytes ") == 0.0).await;
    assert_eq!(body(&proxy.get("a", "/").await), "x");
}

/// A client that reads nothing holds neither its connection nor the endpoint's for longer than the limit.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
    });
    let backend = backend.await;
    let proxy = Cluster::with(|config| config.proxy.limits.idle = Duration::from_millis(200))
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve();
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("it is served", || proxy.metric("pointsman_proxy_client_connections ") == 1.0).await;
    until("it is cut", || proxy.metric("pointsman_proxy_client_connections ") == 0.0 && proxy.in_flight() == 0).await;
}
