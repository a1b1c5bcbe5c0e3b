//! Requests that are passed on as they lie: whatever an endpoint does, their clients see what they see when the endpoint's
//! connection is new, and the request therefore goes the long way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;
mod scripts;

use std::time::Duration;

use pointsman::model::endpoint::EndpointState;
use pointsman::model::service::Protocol;
use proxy_common::*;
use scripts::{PATHS, acting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Everything that a client gets for a request, after `before` on the same connection; dates left out.
async fn seen(proxy: &Proxy, before: &[&str], path: &str) -> Vec<String> {
    let mut stream = proxy.connect().await;
    for path in before {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(status(&read_answer(&mut stream).await), 200);
    }
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let all = read_all(&mut stream).await;
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect();
    // Fields of one name stay in their order.
    lines[1..].sort_by_key(|line| line.split(':').next().map(str::to_owned));
    lines.push(body.to_owned());
    lines
}

#[tokio::test]
async fn a_kept_connection_makes_no_difference() {
    for path in PATHS {
        let (one, other) = (acting().await, acting().await);
        let fresh = Cluster::everything(Protocol::Http, &[one.address]).serve();
        let kept = Cluster::everything(Protocol::Http, &[other.address]).serve();
        let expected = seen(&fresh, &[], path).await;
        assert_eq!(seen(&kept, &["/plain", "/plain"], path).await, expected, "{path}");
        // Whatever came of it: the next one is served.
        assert_eq!(body(&kept.get("a", "/plain").await), "plain", "after {path}");
    }
}

#[tokio::test]
async fn requests_come_to_the_endpoint_as_they_come_there_the_long_way() {
    let fields = "Host: A.example:81\r\nACCEPT: */*\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nCookie: a=b\r\n\
        Keep-Alive: 5\r\nConnection: keep-alive\r\nProxy-Authorization: x\r\nX-Empty:\r\nX-Twice: 1\r\nx-twice: 2\r\n";
    let mut heads = Vec::new();
    for before in [0, 2] {
        let backend = Backend::echoing_heads().await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        let mut stream = proxy.connect().await;
        for _ in 0..before {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            read_answer(&mut stream).await;
        }
        stream.write_all(format!("GET /a/b?c=%2e HTTP/1.1\r\n{fields}\r\n").as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        let mut lines: Vec<_> = body(&answer).lines().map(str::to_owned).collect();
        assert_eq!(lines.remove(0), "GET /a/b?c=%2e HTTP/1.1");
        lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        heads.push(lines);
        assert_eq!(backend.connections(), 1);
    }
    assert_eq!(heads[1], heads[0]);
    assert!(heads[0].iter().all(|line| !line.contains("6.6.6.6")), "{heads:?}");
}

/// An endpoint that answers its first request, and does `then` with the second on the same connection.
async fn failing_second(answer: &'static str) -> Backend {
    Backend::start(move |mut stream, _| async move {
        for count in 0.. {
            if read_head(&mut stream).await.is_none() {
                return;
            }
            if count == 1 {
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            stream.write_all(ok("fine").as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_dies_with_the_request_costs_the_client_nothing() {
    for begun in ["", "HTTP/1.1 200 O"] {
        let backend = failing_second(begun).await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        let mut stream = proxy.connect().await;
        for count in 0..6 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert_eq!(body(&read_answer(&mut stream).await), "fine", "{begun:?} {count}");
        }
        assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"fresh_connection\"}") >= 1.0, "{begun:?}");
        until("nothing is under way", || proxy.in_flight() == 0).await;
    }
}

/// Two endpoints of which one, from its second request on, says nothing.
async fn silent_second() -> Backend {
    Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(ok("fine").as_bytes()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_answer(stream).await
}

#[tokio::test]
async fn a_slow_endpoint_is_left_where_there_is_another_and_waited_for_where_not() {
    let times = |per_try, response| {
        Cluster::with(|config| {
            config.proxy.limits.per_try = Duration::from_millis(per_try);
            config.proxy.limits.response = Duration::from_millis(response);
        })
    };
    let (slow, good) = (silent_second().await, Backend::saying("good").await);
    let proxy = times(150, 20_000).service("web", Protocol::Http, &[slow.address]).route("*", "/", "web").serve();
    let mut stream = proxy.connect().await;
    assert_eq!(body(&ask(&mut stream).await), "fine");
    proxy.publish(
        times(150, 20_000).service("web", Protocol::Http, &[slow.address, good.address]).route("*", "/", "web"),
    );
    for _ in 0..8 {
        let answer = ask(&mut stream).await;
        assert!(["good", "fine"].contains(&body(&answer)), "{answer}");
    }
    assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}") >= 1.0);

    let alone = silent_second().await;
    let proxy = times(100, 400).service("web", Protocol::Http, &[alone.address]).route("*", "/", "web").serve();
    let mut stream = proxy.connect().await;
    assert_eq!(body(&ask(&mut stream).await), "fine");
    let begun = std::time::Instant::now();
    let answer = ask(&mut stream).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (504, Some("response-timeout")), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

/// The same on the short way: what is handed on has not failed, and is waited for there.
#[tokio::test]
async fn a_slow_endpoint_is_waited_for_where_nothing_may_be_repeated() {
    let mut backends = Vec::new();
    for _ in 0..2 {
        let backend = Backend::start(|mut stream, _| async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.contains(" /slow ") {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                let _ = stream.write_all(ok("fine").as_bytes()).await;
            }
        });
        backends.push(backend.await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let proxy = Cluster::with(|config| {
        config.proxy.limits.per_try = Duration::from_millis(100);
        config.proxy.retry_ratio = 0.0;
    })
    .service("web", Protocol::Http, &addresses)
    .route("*", "/", "web")
    .serve();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(proxy.connect().await);
    }
    // First at once, so that there are connections that wait; then all of them are slow at a time.
    for path in ["/", "/slow"] {
        for client in &mut clients {
            client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        }
        for client in &mut clients {
            let answer = read_answer(client).await;
            assert_eq!((status(&answer), body(&answer)), (200, "fine"), "{path} {answer}");
        }
    }
    assert!(proxy.metric("pointsman_proxy_retries_denied_total") >= 10.0);
}

#[tokio::test]
async fn who_waits_for_an_endpoint_that_leaves_is_let_go_at_its_drain_time() {
    let backend = silent_second().await;
    let cluster = || {
        Cluster::with(|config| config.routing.drain_time = Duration::from_millis(200))
            .service("web", Protocol::Http, &[backend.address])
            .route("*", "/", "web")
    };
    let proxy = cluster().serve();
    let mut stream = proxy.connect().await;
    assert_eq!(body(&ask(&mut stream).await), "fine");
    until("the first request is over", || proxy.in_flight() == 0).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("a request is under way", || proxy.in_flight() == 1).await;
    proxy.publish(cluster().service_in("web", Protocol::Http, &[(backend.address, EndpointState::Draining)]));
    let answer = read_answer(&mut stream).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (504, Some("drain-time-over")), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let backend = silent_second().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut stream = proxy.connect().await;
    assert_eq!(body(&ask(&mut stream).await), "fine");
    until("the first request is over", || proxy.in_flight() == 0).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("a request is under way", || proxy.in_flight() == 1).await;
    drop(stream);
    until("it is over", || proxy.in_flight() == 0).await;
    assert!(proxy.metric("pointsman_proxy_client_gone_total") >= 1.0);
}
