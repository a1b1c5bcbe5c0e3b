//! Bodies, trailers, answers that are cut, upgraded connections.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const LARGE: usize = 8 * 1024 * 1024;

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    // Answers with every byte it reads, as it reads it.
    let backend = Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
        let (mut read, mut write) = stream.split();
        write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await.unwrap();
        tokio::io::copy(&mut (&mut read).take(length as u64), &mut write).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let client = proxy.connect().await;
    let (mut read, mut write) = client.into_split();
    let data: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&sent).await.unwrap();
        write
    });
    let mut answer = Vec::new();
    soon(read.read_to_end(&mut answer)).await.unwrap();
    sending.await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&data));
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_is_not_held_up() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let body = vec![b'x'; LARGE];
        let (mut read, mut write) = stream.split();
        let answer = async {
            write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes()).await.unwrap();
            write.write_all(&body).await.unwrap();
        };
        let upload = async { (&mut read).take(LARGE as u64).read_to_end(&mut Vec::new()).await.unwrap() };
        tokio::join!(answer, upload);
        // It would be kept: the proxy must not keep it.
        let _ = read.read(&mut [0]).await;
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    soon(client.write_all(&vec![b'y'; LARGE])).await.unwrap();
    let answer = read_all(&mut client).await;
    assert_eq!(body(&answer).len(), LARGE);
    until("the connection is gone", || proxy.metric("pointsman_proxy_upstream_connections ") == 0.0).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_stays_one() {
    let backend = Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_eq!(header(&head, "transfer-encoding"), Some("chunked"), "{head}");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"0\r\n\r\n") {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", String::from_utf8(bytes).unwrap());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3;ext=1\r\nabc\r\n0\r\n\r\n";
    // Chunk extensions end here (RFC 9112 section 7.1.1); a body that ended with its connection is chunked now.
    let answer = proxy.raw(request).await;
    assert_eq!(header(&answer, "transfer-encoding"), Some("chunked"), "{answer}");
    assert!(body(&answer).contains("3\r\nabc\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn trailers_are_passed_to_who_asks_for_them() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let asked = header(&head, "te") == Some("trailers");
            let text = format!(
                "HTTP/1.1 200 OK\r\nTrailer: x-sum, x-forwarded-for\r\nX-Asked: {asked}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nhi\r\n0\r\nX-Sum: 7\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let answer = proxy.raw("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, te\r\n\r\n").await;
    assert!(answer.to_lowercase().contains("0\r\nx-sum: 7\r\n\r\n"), "{answer}");
    assert!(!answer.contains("6.6.6.6"), "{answer}");
    assert_eq!(header(&answer, "x-asked"), Some("true"));
    let answer = proxy.get("a", "/").await;
    assert!(answer.ends_with("hi\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_ended_as_complete() {
    let backend = Backend::start(|mut stream, number| async move {
        read_head(&mut stream).await.unwrap();
        let framing = if number == 0 { "Content-Length: 100" } else { "Transfer-Encoding: chunked" };
        let text = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let with_length = proxy.get("a", "/").await;
    assert!(body(&with_length).len() < 100 && status(&with_length) == 200, "{with_length}");
    let chunked = proxy.get("a", "/").await;
    assert!(status(&chunked) == 200 && !chunked.contains("0\r\n\r\n"), "{chunked}");
    until("cuts are counted", || proxy.metric("pointsman_proxy_cut_answers_total") == 2.0).await;
}

/// Says `hello` without saying how long that is, and then, when it is told to, ends the connection; to `/reset` by a reset.
/// `/whole` has a length, and the connection goes on.
async fn ending_when_told() -> (Backend, Arc<Notify>) {
    let told = Arc::new(Notify::new());
    let waits = told.clone();
    let backend = Backend::start(move |mut stream, _| {
        let waits = waits.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                if head.contains(" /whole ") {
                    stream.write_all(ok("x").as_bytes()).await.unwrap();
                    continue;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
                waits.notified().await;
                if head.contains(" /reset ") {
                    stream.set_zero_linger().unwrap();
                }
                return;
            }
        }
    });
    (backend.await, told)
}

/// RFC 9112 section 6.3: what has neither a length nor chunks ends with its connection, but not with a reset of it: "a message
/// that is incomplete". Clients are told by what their protocol has for it: no last chunk, a reset of the connection where
/// there are no chunks (HTTP/1.0).
#[tokio::test]
async fn an_answer_that_ends_with_a_reset_is_never_ended_as_complete() {
    let (backend, told) = ending_when_told().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut cuts = 0.0;
    for (first, method, rest) in [
        ("", "GET", "HTTP/1.1\r\nHost: a\r\n\r\n"),
        // On a connection that waits.
        ("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("", "POST", "HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345"),
        ("", "GET", "HTTP/1.0\r\nHost: a\r\n\r\n"),
    ] {
        let has_chunks = rest.starts_with("HTTP/1.1");
        for (path, is_whole) in [("/end", true), ("/reset", false)] {
            let mut client = proxy.connect().await;
            if !first.is_empty() {
                client.write_all(first.as_bytes()).await.unwrap();
                assert_eq!(body(&read_answer(&mut client).await), "x");
            }
            client.write_all(format!("{method} {path} {rest}").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.windows(5).any(|window| window == b"hello") {
                assert!(soon(client.read_buf(&mut answer)).await.unwrap() > 0, "{method} {path} {rest}");
            }
            told.notify_one();
            // Behind the last chunk the connection goes on.
            while is_whole && has_chunks && !answer.ends_with(b"\r\n0\r\n\r\n") {
                assert!(soon(client.read_buf(&mut answer)).await.unwrap() > 0, "{method} {path} {rest}");
            }
            let ended = match is_whole && has_chunks {
                true => Ok(0),
                false => soon(client.read_to_end(&mut answer)).await,
            };
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(status(&answer), 200, "{method} {path} {rest}: {answer}");
            assert_eq!(answer.ends_with("\r\n0\r\n\r\n"), is_whole && has_chunks, "{method} {path} {rest}: {answer}");
            assert_eq!(header(&answer, "transfer-encoding").is_some(), has_chunks, "{method} {path} {rest}: {answer}");
            assert!(has_chunks || ended.is_ok() == is_whole, "{method} {path} {rest}: {ended:?}");
            cuts += if is_whole { 0.0 } else { 1.0 };
            until("cuts are counted", || proxy.metric("pointsman_proxy_cut_answers_total") == cuts).await;
        }
    }
}

/// RFC 9113 section 8.1: an answer that is not whole is no stream that ends, but one that is reset.
#[tokio::test]
async fn an_answer_that_ends_with_a_reset_is_a_stream_that_is_reset() {
    let (backend, told) = ending_when_told().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(proxy.connect().await));
    let (mut client, connection) = soon(handshake).await.unwrap();
    let connection = tokio::spawn(connection);
    // On the same connection: it goes on.
    for (path, is_whole) in [("/end", true), ("/reset", false), ("/end", true)] {
        let request = http::Request::get(format!("http://a{path}")).body(Empty::<Bytes>::new()).unwrap();
        let mut answer = soon(client.send_request(request)).await.unwrap();
        let first = soon(answer.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "hello");
        told.notify_one();
        let rest = soon(answer.into_body().collect()).await;
        assert_eq!(rest.is_ok(), is_whole, "{path}: {rest:?}");
    }
    until("cuts are counted", || proxy.metric("pointsman_proxy_cut_answers_total") == 1.0).await;
    connection.abort();
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let backend = backend.await;
    let proxy = Cluster::with(|config| config.proxy.limits.idle = Duration::from_millis(100))
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve();
    assert_eq!(body(&proxy.get("a", "/").await), "hello");
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"body\"}"), 1.0);
}

#[tokio::test]
async fn a_request_body_that_stalls_is_refused() {
    let backend = Backend::start(|mut stream, _| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let backend = backend.await;
    let proxy = Cluster::with(|config| config.proxy.limits.idle = Duration::from_millis(100))
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve();
    let answer = proxy.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (408, Some("request-timeout")), "{answer}");
}

/// RFC 9112 section 9.6: a client that still sends when it is refused reads why, and not of a reset.
#[tokio::test]
async fn who_still_sends_reads_the_answer_that_ends_its_connection() {
    let proxy = Cluster::with(|_| {}).serve();
    for _ in 0..20 {
        let (mut read, mut write) = proxy.connect().await.into_split();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        // Nobody routes it: the answer is there at once, and all of this comes after it.
        let piece = [b'x'; 64 * 1024];
        for _ in 0..16 {
            write.write_all(&piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(write);
        let mut answer = String::new();
        soon(read.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(header(&answer, "x-pointsman-reason"), Some("no-route"), "{answer}");
    }
}

/// CVE-2025-4366: an endpoint answers before the upload is there. What comes late of it is a request to nobody, on either
/// side.
#[tokio::test]
async fn an_early_answer_leaves_no_body_behind_for_the_next_request() {
    // It answers each head by its target, and takes whatever follows for the next one.
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let answer = ok(head.split(' ').nth(1).unwrap_or_default());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for next in ["", "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
        let mut client = proxy.connect().await;
        let head = format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", hidden.len());
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(body(&read_answer(&mut client).await), "/upload");
        // The connection may have ended by now: nobody has to wait for the rest.
        let _ = client.write_all(format!("{hidden}{next}").as_bytes()).await;
        let _ = client.shutdown().await;
        let rest = read_all(&mut client).await;
        assert!(rest.is_empty() || (!next.is_empty() && body(&rest) == "/next"), "{rest}");
        for _ in 0..10 {
            assert_eq!(body(&proxy.get("a", "/other").await), "/other");
        }
    }
}

#[tokio::test]
async fn answers_without_content_have_none() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let answer = match head.split(' ').next() {
                Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                _ => "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        client.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let head = soon(read_head(&mut client)).await.unwrap();
        assert_eq!(header(&head, "content-length"), Some("1000"));
        client.write_all(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let head = soon(read_head(&mut client)).await.unwrap();
        assert_eq!((status(&head), header(&head, "content-length")), (204, None), "{head}");
    }
    // RFC 9112 section 9.3: the connection to the endpoint served all of them.
    assert_eq!(backend.connections(), 1);
    assert_eq!(proxy.metric("pointsman_proxy_client_gone_total"), 0.0);
}

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Accepts the upgrade, then echoes.
async fn echoing_socket() -> Backend {
    Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (Some("websocket"), Some("upgrade")));
        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
        stream.write_all(accept.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_once_the_endpoint_agrees() {
    let backend = echoing_socket().await;
    let mut proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    let head = soon(read_head(&mut client)).await.unwrap();
    assert_eq!((status(&head), header(&head, "upgrade")), (101, Some("websocket")), "{head}");
    assert!(header(&head, "sec-websocket-accept").is_some(), "{head}");
    let mut bytes = [0; 5];
    soon(client.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"hello");
    client.write_all(b"again").await.unwrap();
    soon(client.read_exact(&mut bytes)).await.unwrap();
    assert_eq!((&bytes, proxy.in_flight()), (b"again", 1));
    assert_eq!(proxy.metric("pointsman_proxy_client_connections "), 1.0);
    client.shutdown().await.unwrap();
    assert_eq!(soon(client.read(&mut bytes)).await.unwrap(), 0);
    until("nothing is in flight", || proxy.in_flight() == 0).await;
    proxy.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_tunnel_ends_at_the_deadline_of_a_drain() {
    let backend = echoing_socket().await;
    let mut proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    soon(read_head(&mut client)).await.unwrap();
    proxy.stop(Duration::from_millis(50)).await;
    read_all(&mut client).await;
}

#[tokio::test]
async fn a_refused_upgrade_stays_http() {
    let backend = Backend::saying("no").await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    assert_eq!(body(&read_answer(&mut client).await), "no");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(body(&read_answer(&mut client).await), "no");
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_passed_on() {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = proxy.raw(request).await;
    let seen = body(&answer).to_lowercase();
    assert!(status(&answer) == 200 && !seen.contains("upgrade") && !seen.contains("http2-settings"), "{answer}");
}

/// What the other side is told when one is gone in the middle: an error, never an end that makes it look whole.
#[tokio::test]
async fn a_reset_on_one_side_of_a_tunnel_is_a_reset_on_the_other() {
    // The endpoint resets.
    let resetting = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\npart";
        stream.write_all(accept.as_bytes()).await.unwrap();
        // Once the client has got that.
        let _ = stream.read_u8().await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let proxy = Cluster::everything(Protocol::Http, &[resetting.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    soon(read_head(&mut client)).await.unwrap();
    let mut bytes = [0; 4];
    soon(client.read_exact(&mut bytes)).await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert!(soon(client.read(&mut bytes)).await.is_err(), "the client takes the part for the whole");
    until("nothing is in flight", || proxy.in_flight() == 0).await;
    // The client resets.
    let (told, mut tells) = tokio::sync::mpsc::channel(1);
    let reading = Backend::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            stream.write_all(accept.as_bytes()).await.unwrap();
            let mut sink = Vec::new();
            told.send(stream.read_to_end(&mut sink).await.is_err()).await.unwrap();
        }
    })
    .await;
    let proxy = Cluster::everything(Protocol::Http, &[reading.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    soon(read_head(&mut client)).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(soon(tells.recv()).await, Some(true), "the endpoint takes the part for the whole");
    until("nothing is in flight", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn a_reset_on_one_side_of_plain_tcp_is_a_reset_on_the_other() {
    let resetting = Backend::start(|mut stream, _| async move {
        stream.write_all(b"part").await.unwrap();
        let _ = stream.read_u8().await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let cluster = Cluster::new().service("web", Protocol::Tcp, &[resetting.address]);
    let proxy = cluster.serve_port(10_000, "web");
    let mut client = proxy.connect().await;
    let mut bytes = [0; 4];
    soon(client.read_exact(&mut bytes)).await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert!(soon(client.read(&mut bytes)).await.is_err(), "the client takes the part for the whole");
    // An end is passed on as one, and the other way goes on.
    let answering = Backend::start(|mut stream, _| async move {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
    })
    .await;
    let cluster = Cluster::new().service("web", Protocol::Tcp, &[answering.address]);
    let proxy = cluster.serve_port(10_000, "web");
    let mut client = proxy.connect().await;
    client.write_all(b"all of it").await.unwrap();
    client.shutdown().await.unwrap();
    let mut said = Vec::new();
    soon(client.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"all of it");
}
