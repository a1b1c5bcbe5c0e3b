//! What the proxy bounds on the endpoints' side, what its HTTP implementation refuses, and interim answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use pointsman::config::Config;
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::AsyncWriteExt;

fn limited(limit: u32) -> impl FnOnce(&mut Config) {
    move |config| config.proxy.limits.connections_per_endpoint = limit
}

/// A backend that answers `/now` at once and everything else when it is released.
async fn held() -> (Backend, tokio::sync::watch::Sender<bool>) {
    let (release, held) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut stream, _| {
        let mut held = held.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if !head.starts_with("GET /now ") {
                    let _ = held.wait_for(|released| *released).await;
                }
                let _ = stream.write_all(ok("x").as_bytes()).await;
            }
        }
    });
    (backend.await, release)
}

#[tokio::test]
async fn connections_in_use_to_an_endpoint_are_bounded() {
    let (one, release) = held().await;
    let (two, release_two) = held().await;
    let proxy = Cluster::with(limited(2))
        .service("web", Protocol::Http, &[one.address, two.address])
        .route("*", "/", "web")
        .serve();
    let mut waiting = Vec::new();
    for number in 1..=4 {
        let mut client = proxy.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        waiting.push(client);
        until("it is in flight", || proxy.in_flight() == number).await;
    }
    until("both endpoints are full", || one.connections() == 2 && two.connections() == 2).await;
    let answer = proxy.get("a", "/now").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (503, Some("endpoints-full")), "{answer}");
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    assert_eq!(proxy.metric("pointsman_proxy_local_answers_total{reason=\"endpoints-full\"}"), 1.0);
    // Room again.
    release.send_replace(true);
    until("one has answered", || proxy.in_flight() == 2).await;
    assert_eq!(status(&proxy.get("a", "/now").await), 200);
    release_two.send_replace(true);
    for mut client in waiting {
        assert_eq!(status(&read_answer(&mut client).await), 200);
    }
}

#[tokio::test]
async fn a_repeated_request_does_not_stand_in_its_own_way() {
    let good = Backend::saying("good").await;
    let cluster = Cluster::with(limited(1)).service("web", Protocol::Http, &[refusing(), good.address]);
    let proxy = cluster.route("*", "/", "web").serve();
    for _ in 0..10 {
        assert_eq!(body(&proxy.get("a", "/").await), "good");
    }
    let dead = Cluster::with(limited(1)).service("web", Protocol::Http, &[refusing()]).route("*", "/", "web").serve();
    let answer = dead.get("a", "/").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (502, Some("connect-failed")), "{answer}");
}

#[tokio::test]
async fn what_the_parser_refuses_is_counted() {
    let backend = Backend::saying("x").await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    for (text, code, reason) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nb d: c\r\n\r\n", 400, "bad-head"),
        ("G@T / HTTP/9.9\r\n\r\n", 400, "bad-head"),
        (&*long, 431, "head-too-large"),
    ] {
        let name = format!("pointsman_proxy_local_answers_total{{reason=\"{reason}\"}}");
        let before = proxy.metric(&name);
        let answer = proxy.raw(text).await;
        assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (code, Some(reason)), "{answer}");
        until("it is counted", || proxy.metric(&name) == before + 1.0).await;
    }
    assert_eq!(proxy.metric("pointsman_proxy_requests_total{code=\"4xx\",service=\"other\"}"), 3.0);
}

/// A backend that says early what comes.
async fn hinting() -> Backend {
    Backend::start(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let early = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: y\r\n\r\n";
            stream.write_all(early.as_bytes()).await.unwrap();
            let _ = stream.write_all(ok("done").as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn interim_answers_are_passed_on_rfc9110_15_2() {
    let backend = hinting().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    // Kept and fresh connections, on both sides.
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(status(&soon(read_head(&mut client)).await.unwrap()), 102);
        let early = soon(read_head(&mut client)).await.unwrap();
        assert_eq!(
            (status(&early), header(&early, "link"), header(&early, "x")),
            (103, Some("</a.css>"), None),
            "{early}"
        );
        assert_eq!(body(&read_answer(&mut client).await), "done");
    }
    // "A server MUST NOT send a 1xx response to an HTTP/1.0 client."
    let answer = proxy.raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!((status(&answer), body(&answer)), (200, "done"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_get_interim_answers_in_their_order() {
    let backend = hinting().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20).as_bytes()).await.unwrap();
    for _ in 0..20 {
        let mut head = soon(read_head(&mut client)).await.unwrap();
        // Where something of the answer before was still to be written they are dropped; never out of place.
        for interim in [102, 103] {
            if status(&head) == interim {
                head = soon(read_head(&mut client)).await.unwrap();
            }
        }
        assert_eq!(status(&head), 200, "{head}");
        let mut text = [0; 4];
        soon(tokio::io::AsyncReadExt::read_exact(&mut client, &mut text)).await.unwrap();
        assert_eq!(&text, b"done");
    }
}
