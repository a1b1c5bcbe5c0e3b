//! Stopping: nothing that was accepted is lost.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pointsman::model::service::Protocol;
use pointsman::proxy::drain::Drain;
use proxy_common::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A backend that answers when it is released.
async fn held() -> (Backend, tokio::sync::watch::Sender<bool>) {
    let (release, held) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut stream, _| {
        let mut held = held.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                let _ = held.wait_for(|released| *released).await;
                stream.write_all(ok("late").as_bytes()).await.unwrap();
            }
        }
    });
    (backend.await, release)
}

fn in_time() -> Drain {
    Drain::Until(tokio::time::Instant::now() + Duration::from_secs(15))
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_the_connection_closed() {
    let (backend, release) = held().await;
    let mut proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("it is in flight", || proxy.in_flight() == 1).await;
    proxy.drain.send_replace(in_time());
    // The listener is gone …
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while TcpStream::connect(proxy.address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it still listens");
    }
    // … the request is not.
    release.send_replace(true);
    let answer = read_all(&mut client).await;
    assert_eq!((body(&answer), header(&answer, "connection")), ("late", Some("close")), "{answer}");
    proxy.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let backend = Backend::saying("x").await;
    let mut proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_answer(&mut client).await;
    proxy.stop(Duration::from_secs(3600)).await;
    assert_eq!(read_all(&mut client).await, "");
}

#[tokio::test]
async fn the_deadline_ends_what_is_still_in_flight() {
    let (backend, _release) = held().await;
    let mut proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("it is in flight", || proxy.in_flight() == 1).await;
    proxy.drain.send_replace(Drain::Until(tokio::time::Instant::now() + Duration::from_secs(3600)));
    // A second signal brings the deadline forward.
    proxy.stop(Duration::from_millis(20)).await;
    assert_eq!(read_all(&mut client).await, "");
    assert_eq!(proxy.in_flight(), 0);
}

#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_served() {
    let (backend, release) = held().await;
    let mut proxy = Cluster::with(|config| config.proxy.limits.connections = 1000)
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web")
        .serve();
    release.send_replace(true);
    for _ in 0..5 {
        // Connected, and perhaps not accepted yet, when the drain begins.
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = proxy.connect().await;
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            clients.push(client);
        }
        proxy.drain.send_replace(in_time());
        for mut client in clients {
            let answer = read_all(&mut client).await;
            assert_eq!(body(&answer), "late", "{answer:?}");
        }
        proxy.stop(Duration::from_secs(10)).await;
        proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    }
}

#[tokio::test]
async fn a_rolling_deploy_loses_nothing() {
    let mut running = vec![Backend::saying("1").await, Backend::saying("1").await];
    let cluster = |backends: &[Backend]| {
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        Cluster::everything(Protocol::Http, &addresses)
    };
    let proxy = Arc::new(cluster(&running).serve());
    let stop = Arc::new(AtomicBool::new(false));
    let served: Arc<[AtomicUsize]> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    let mut load = tokio::task::JoinSet::new();
    for number in 0..served.len() {
        let (proxy, stop, served) = (proxy.clone(), stop.clone(), served.clone());
        load.spawn(async move {
            let mut client = proxy.connect().await;
            while !stop.load(SeqCst) {
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                let answer = read_answer(&mut client).await;
                assert_eq!(status(&answer), 200, "{answer}");
                served[number].fetch_add(1, SeqCst);
            }
        });
    }
    for _ in 0..20 {
        running.push(Backend::saying("2").await);
        proxy.publish(cluster(&running));
        let leaving = running.remove(0);
        proxy.publish(cluster(&running));
        // The old task dies with what it has in flight, without a word.
        drop(leaving);
        // A request sees two such deaths at most, which its three attempts survive.
        let before: Vec<_> = served.iter().map(|count| count.load(SeqCst)).collect();
        until("every client is served again", || {
            served.iter().zip(&before).all(|(now, before)| now.load(SeqCst) > *before)
        })
        .await;
    }
    stop.store(true, SeqCst);
    while let Some(done) = soon(load.join_next()).await {
        done.unwrap();
    }
    assert_eq!(proxy.metric("pointsman_proxy_cut_answers_total"), 0.0);
}
