//! Second copies of slow requests, and limits that are found out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What backends share: how many requests stalled, and how many of these were given up.
#[derive(Default)]
struct Stalls {
    stalled: AtomicUsize,
    given_up: AtomicUsize,
}

/// Answers at once, but for requests to `/stall` while none stalls: the first one never gets an answer.
async fn stalling(stalls: &Arc<Stalls>) -> Backend {
    let stalls = stalls.clone();
    Backend::start(move |mut stream, _| {
        let stalls = stalls.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.contains(" /stall ") && stalls.stalled.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    stalls.given_up.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                let _ = stream.write_all(ok("answer").as_bytes()).await;
            }
        }
    })
    .await
}

async fn hedging(ratio: f64, stalls: &Arc<Stalls>) -> (Proxy, [Backend; 2]) {
    let backends = [stalling(stalls).await, stalling(stalls).await];
    let proxy = Cluster::with(|config| {
        config.proxy.hedging.ratio = ratio;
        // No other mechanism may save the request.
        config.proxy.limits.per_try = std::time::Duration::from_secs(3600);
    })
    .service("web", Protocol::Http, &[backends[0].address, backends[1].address])
    .route("*", "/", "web")
    .serve();
    // What is usual has to be known.
    for _ in 0..120 {
        assert_eq!(body(&proxy.get("a", "/").await), "answer");
    }
    (proxy, backends)
}

const SENT: &str = "pointsman_proxy_hedges_total{outcome=\"sent\"}";
const WON: &str = "pointsman_proxy_hedges_total{outcome=\"won\"}";
const DENIED: &str = "pointsman_proxy_hedges_total{outcome=\"denied\"}";

#[tokio::test]
async fn a_copy_answers_for_a_request_that_hangs() {
    let stalls = Arc::new(Stalls::default());
    let (proxy, _backends) = hedging(0.05, &stalls).await;
    let before = proxy.metric(WON);
    assert_eq!(body(&proxy.get("a", "/stall").await), "answer");
    assert!(proxy.metric(SENT) >= 1.0);
    assert_eq!(proxy.metric(WON), before + 1.0);
    until("the first attempt is given up", || stalls.given_up.load(Ordering::SeqCst) == 1).await;
    until("nothing is in flight", || proxy.in_flight() == 0).await;
    // One request, however many copies there were.
    assert_eq!(proxy.metric("pointsman_proxy_requests_total{code=\"2xx\",service=\"c/f/web/0\"}"), 121.0);
}

/// Of a request whose copy hangs too, both are given up for a third endpoint; where there is none, neither.
#[tokio::test]
async fn a_request_and_its_copy_that_both_hang_go_elsewhere_together() {
    for count in [2, 3] {
        let hung = Arc::new(AtomicUsize::new(0));
        let mut backends = Vec::new();
        for _ in 0..count {
            let hung = hung.clone();
            let backend = Backend::start(move |mut stream, _| {
                let hung = hung.clone();
                async move {
                    while let Some(head) = read_head(&mut stream).await {
                        if head.contains(" /hang ") && hung.fetch_add(1, Ordering::SeqCst) < 2 {
                            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                            let _ = stream.write_all(ok("late").as_bytes()).await;
                            return;
                        }
                        let _ = stream.write_all(ok("answer").as_bytes()).await;
                    }
                }
            });
            backends.push(backend.await);
        }
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        let proxy = Cluster::with(|config| {
            config.proxy.hedging.ratio = 0.05;
            config.proxy.limits.per_try = std::time::Duration::from_millis(500);
        })
        .service("web", Protocol::Http, &addresses)
        .route("*", "/", "web")
        .serve();
        for _ in 0..120 {
            assert_eq!(body(&proxy.get("a", "/").await), "answer");
        }
        let answer = proxy.get("a", "/hang").await;
        assert_eq!(body(&answer), if count == 2 { "late" } else { "answer" }, "{answer}");
        assert_eq!(hung.load(Ordering::SeqCst), count, "each endpoint was asked once");
    }
}

#[tokio::test]
async fn what_may_not_be_repeated_has_no_copy() {
    let stalls = Arc::new(Stalls::default());
    let (proxy, _backends) = hedging(0.05, &stalls).await;
    for request in [
        "POST /stall HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PUT /stall HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let sent = proxy.metric(SENT);
        let mut client = proxy.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        until("it stalls", || stalls.stalled.load(Ordering::SeqCst) % 2 == 1).await;
        // Others that come meanwhile have their answers: by then the copy would have been sent.
        for _ in 0..20 {
            assert_eq!(body(&proxy.get("a", "/").await), "answer");
        }
        assert_eq!(stalls.stalled.load(Ordering::SeqCst) % 2, 1, "{request}");
        assert!(proxy.metric(SENT) - sent <= 1.0);
        drop(client);
        until("nothing is in flight", || proxy.in_flight() == 0).await;
        stalls.stalled.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_budget_bounds_copies_and_none_is_off() {
    let stalls = Arc::new(Stalls::default());
    let (proxy, _backends) = hedging(0.001, &stalls).await;
    let mut client = proxy.connect().await;
    client.write_all(b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("a copy is denied", || proxy.metric(DENIED) >= 1.0).await;
    assert_eq!((proxy.metric(SENT), proxy.in_flight()), (0.0, 1), "120 requests earn an eighth of a copy");
    let (off, _backends) = hedging(0.0, &Arc::default()).await;
    let mut client = off.connect().await;
    client.write_all(b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    for _ in 0..20 {
        assert_eq!(body(&off.get("a", "/").await), "answer");
    }
    assert_eq!((off.metric(SENT), off.metric(DENIED)), (0.0, 0.0));
}

#[tokio::test]
async fn requests_beyond_what_is_found_out_are_refused_at_once() {
    let (release, held) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut stream, _| {
        let mut held = held.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                let _ = held.wait_for(|released| *released).await;
                let _ = stream.write_all(ok("answer").as_bytes()).await;
            }
        }
    });
    let backend = backend.await;
    let proxy = Cluster::with(|config| {
        config.proxy.adaptive.enabled = true;
        (config.proxy.adaptive.least, config.proxy.adaptive.most) = (2, 2);
    })
    .service("web", Protocol::Http, &[backend.address])
    .route("*", "/", "web")
    .serve();
    let mut clients = Vec::new();
    for number in 1..=2 {
        let mut client = proxy.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until("it is under way", || proxy.in_flight() == number).await;
        clients.push(client);
    }
    let refused = proxy.get("a", "/").await;
    assert_eq!(
        (status(&refused), header(&refused, "x-pointsman-reason")),
        (503, Some("concurrency-limit")),
        "{refused}"
    );
    release.send_replace(true);
    for client in &mut clients {
        assert_eq!(body(&read_answer(client).await), "answer");
    }
    assert_eq!(status(&proxy.get("a", "/").await), 200);
}
