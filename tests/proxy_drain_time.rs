//! The drain time of an endpoint: before it is over nothing is cut, after it nothing hangs there any more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::time::Duration;

use pointsman::model::endpoint::EndpointState;
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HANDSHAKE: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

/// `/socket` echoes, `/stream` sends a chunk for each octet that somebody else asks for, `/never` is not answered.
async fn backend(mut ticks: tokio::sync::watch::Receiver<u32>) -> Backend {
    ticks.mark_unchanged();
    Backend::start(move |mut stream, _| {
        let mut ticks = ticks.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                match head.split(' ').nth(1).unwrap() {
                    "/socket" => {
                        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
                        stream.write_all(accept.as_bytes()).await.unwrap();
                        let (mut read, mut write) = stream.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                        return;
                    }
                    "/stream" => {
                        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                        stream.write_all(head.as_bytes()).await.unwrap();
                        while ticks.changed().await.is_ok() && stream.write_all(b"4\r\ntick\r\n").await.is_ok() {}
                        return;
                    }
                    "/never" => {
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                        return;
                    }
                    _ => stream.write_all(ok("x").as_bytes()).await.unwrap(),
                }
            }
        }
    })
    .await
}

async fn begin(proxy: &Proxy, text: &str) -> TcpStream {
    let mut client = proxy.connect().await;
    client.write_all(text.as_bytes()).await.unwrap();
    client
}

async fn expect(client: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    soon(client.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

fn cluster(backend: &Backend, drain_time: Duration, state: Option<EndpointState>) -> Cluster {
    let endpoints: Vec<_> = state.map(|state| (backend.address, state)).into_iter().collect();
    Cluster::with(|config| config.routing.drain_time = drain_time)
        .service_in("web", Protocol::Http, &endpoints)
        .route("*", "/", "web")
}

const LONG: Duration = Duration::from_secs(3600);

async fn check(leaving: Option<EndpointState>) {
    let (tick, ticks) = tokio::sync::watch::channel(0);
    let backend = backend(ticks).await;
    let proxy = cluster(&backend, LONG, Some(EndpointState::Ready)).serve();
    let mut socket = begin(&proxy, HANDSHAKE).await;
    assert_eq!(status(&soon(read_head(&mut socket)).await.unwrap()), 101);
    let mut stream = begin(&proxy, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&soon(read_head(&mut stream)).await.unwrap()), 200);
    let mut waiting = begin(&proxy, "POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    until("all of them are in flight", || proxy.in_flight() == 3).await;
    // An idle connection is kept, until the worker sees that the endpoint leaves.
    assert_eq!(status(&proxy.get("a", "/").await), 200);
    until("it is kept", || proxy.metric("pointsman_proxy_upstream_connections ") == 4.0).await;

    proxy.publish(cluster(&backend, LONG, leaving));
    until("the idle one is closed", || proxy.metric("pointsman_proxy_upstream_connections ") == 3.0).await;
    assert_eq!(status(&proxy.get("a", "/").await), 503, "nothing new begins");
    socket.write_all(b"still here").await.unwrap();
    expect(&mut socket, "still here").await;
    for number in 1..4 {
        tick.send_replace(number);
        expect(&mut stream, "4\r\ntick\r\n").await;
    }
    assert_eq!(proxy.metric("pointsman_proxy_drained_total{kind=\"upgrade\"}"), 0.0);

    // The time is the setting's as it is now.
    proxy.publish(cluster(&backend, Duration::ZERO, leaving));
    assert_eq!(read_all(&mut socket).await, "");
    let rest = read_all(&mut stream).await;
    assert!(!rest.contains("0\r\n\r\n"), "a cut answer is not ended as a complete one: {rest:?}");
    let answer = read_answer(&mut waiting).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (504, Some("drain-time-over")), "{answer}");
    until("nothing is open", || proxy.metric("pointsman_proxy_upstream_connections ") == 0.0).await;
    for kind in ["upgrade", "answer", "request"] {
        assert_eq!(proxy.metric(&format!("pointsman_proxy_drained_total{{kind=\"{kind}\"}}")), 1.0, "{kind}");
    }
}

#[tokio::test]
async fn what_hangs_on_a_draining_endpoint_is_cut_when_its_time_is_over() {
    check(Some(EndpointState::Draining)).await;
}

#[tokio::test]
async fn what_hangs_on_an_endpoint_that_left_the_table_is_cut_too() {
    check(None).await;
}

#[tokio::test]
async fn a_repeatable_request_goes_to_another_endpoint() {
    let (_tick, ticks) = tokio::sync::watch::channel(0);
    let old = backend(ticks).await;
    let proxy = cluster(&old, LONG, Some(EndpointState::Ready)).serve();
    let mut waiting = begin(&proxy, "GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is in flight", || proxy.in_flight() == 1).await;
    let new = Backend::saying("new").await;
    let both = [(old.address, EndpointState::Draining), (new.address, EndpointState::Ready)];
    let next = Cluster::with(|config| config.routing.drain_time = Duration::ZERO);
    proxy.publish(next.service_in("web", Protocol::Http, &both).route("*", "/", "web"));
    assert_eq!(body(&read_answer(&mut waiting).await), "new");
}
