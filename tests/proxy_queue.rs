//! Limits of what an endpoint gets at a time, and the line of those that wait for room.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pointsman::config::Config;
use pointsman::labels::host::HostPattern;
use pointsman::model::bounds::Bounds;
use pointsman::model::service::{Protocol, Target};
use pointsman::model::time::Timestamp;
use pointsman::table::routes::Route;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// A backend that answers one request for each permit, and knows how many it has had at a time.
struct Gated {
    backend: Backend,
    permits: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
}

async fn gated() -> Gated {
    let (permits, now, most) =
        (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shared = (permits.clone(), most.clone());
    let backend = Backend::start(move |mut stream, _| {
        let ((permits, most), now) = (shared.clone(), now.clone());
        async move {
            while let Some(head) = read_head(&mut stream).await {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                permits.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let _ = stream.write_all(ok(&path).as_bytes()).await;
            }
        }
    });
    Gated { backend: backend.await, permits, most }
}

fn limited(max_requests: u32, max_queue: u32, millis: u64) -> impl FnOnce(&mut Config) {
    move |config| {
        let balance = &mut config.proxy.balance;
        (balance.max_requests, balance.max_queue) = (max_requests, max_queue);
        balance.queue_time = Duration::from_millis(millis);
    }
}

/// Sends a request whose answer is its path.
async fn begin(proxy: &Proxy, path: &str) -> TcpStream {
    let mut client = proxy.connect().await;
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    client
}

const WAITING: &str = "pointsman_proxy_queued ";

#[tokio::test]
async fn requests_beyond_the_limit_wait_in_the_order_they_came() {
    let gated = gated().await;
    let proxy = Cluster::with(limited(1, 10, 20_000))
        .service("web", Protocol::Http, &[gated.backend.address])
        .route("*", "/", "web")
        .serve();
    let mut clients = vec![begin(&proxy, "/0").await];
    until("the first is under way", || gated.most.load(Ordering::SeqCst) == 1).await;
    for number in 1..=4 {
        clients.push(begin(&proxy, &format!("/{number}")).await);
        until("it waits", || proxy.metric(WAITING) == f64::from(number)).await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        gated.permits.add_permits(1);
        assert_eq!(body(&read_answer(client).await), format!("/{number}"));
    }
    assert_eq!(gated.most.load(Ordering::SeqCst), 1, "never more than the limit");
    assert_eq!(proxy.metric("pointsman_proxy_queued_total"), 4.0);
    until("nobody waits", || proxy.metric(WAITING) == 0.0 && proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn the_line_is_bounded_in_number_and_time() {
    let gated = gated().await;
    let proxy = Cluster::with(limited(1, 1, 300))
        .service("web", Protocol::Http, &[gated.backend.address])
        .route("*", "/", "web")
        .serve();
    let mut first = begin(&proxy, "/first").await;
    until("the first is under way", || gated.most.load(Ordering::SeqCst) == 1).await;
    let mut waits = begin(&proxy, "/waits").await;
    until("one waits", || proxy.metric(WAITING) == 1.0).await;
    let refused = proxy.get("a", "/refused").await;
    assert_eq!((status(&refused), header(&refused, "x-pointsman-reason")), (503, Some("queue-full")), "{refused}");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    let late = read_answer(&mut waits).await;
    assert_eq!((status(&late), header(&late, "x-pointsman-reason")), (503, Some("queue-timeout")), "{late}");
    gated.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut first).await), "/first");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_answer_may_take() {
    let gated = gated().await;
    let proxy = Cluster::with(limited(1, 10, 60_000))
        .service("web", Protocol::Http, &[gated.backend.address])
        .endpoints("web", |endpoint| {
            let timeout = Some(Duration::from_millis(200));
            endpoint.bounds = Some(Arc::new(Bounds { timeout, ..Bounds::default() }));
        })
        .route("*", "/", "web")
        .serve();
    let mut first = begin(&proxy, "/first").await;
    until("the first is under way", || gated.most.load(Ordering::SeqCst) == 1).await;
    let late = proxy.get("a", "/late").await;
    assert_eq!(header(&late, "x-pointsman-reason"), Some("queue-timeout"), "{late}");
    let answer = read_answer(&mut first).await;
    assert_eq!(
        header(&answer, "x-pointsman-reason"),
        Some("response-timeout"),
        "the label is the time of all: {answer}"
    );
}

#[tokio::test]
async fn whoever_goes_away_gives_up_the_place() {
    let gated = gated().await;
    let proxy = Cluster::with(limited(1, 10, 60_000))
        .service("web", Protocol::Http, &[gated.backend.address])
        .route("*", "/", "web")
        .serve();
    let mut first = begin(&proxy, "/first").await;
    until("the first is under way", || gated.most.load(Ordering::SeqCst) == 1).await;
    let gone = begin(&proxy, "/gone").await;
    until("one waits", || proxy.metric(WAITING) == 1.0).await;
    let mut last = begin(&proxy, "/last").await;
    until("two wait", || proxy.metric(WAITING) == 2.0).await;
    drop(gone);
    until("one has gone", || proxy.metric(WAITING) == 1.0).await;
    gated.permits.add_permits(2);
    assert_eq!(body(&read_answer(&mut first).await), "/first");
    assert_eq!(body(&read_answer(&mut last).await), "/last");
}

/// Each task has its own limit by label, and one with room serves while another is full.
#[tokio::test]
async fn a_full_endpoint_leaves_requests_to_others() {
    let (small, large) = (gated().await, gated().await);
    let address = small.backend.address;
    let proxy = Cluster::with(limited(0, 10, 20_000))
        .service("web", Protocol::Http, &[address, large.backend.address])
        .endpoints("web", |endpoint| {
            let max_requests = Some(if endpoint.address == address { 1 } else { 3 });
            endpoint.bounds = Some(Arc::new(Bounds { max_requests, ..Bounds::default() }));
        })
        .route("*", "/", "web")
        .serve();
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(begin(&proxy, "/").await);
        until("it is under way", || proxy.in_flight() == number + 1).await;
    }
    let mut fifth = begin(&proxy, "/fifth").await;
    until("the fifth waits", || proxy.metric(WAITING) == 1.0).await;
    until("the others have arrived", || large.most.load(Ordering::SeqCst) == 3).await;
    large.permits.add_permits(4);
    small.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut fifth).await), "/fifth");
    for client in &mut clients {
        assert_eq!(status(&read_answer(client).await), 200);
    }
    assert_eq!((small.most.load(Ordering::SeqCst), large.most.load(Ordering::SeqCst)), (1, 3));
}

/// One version is full: who may go anywhere does not wait behind those that go there alone.
#[tokio::test]
async fn whoever_waits_for_one_version_holds_up_nobody_else() {
    let (old, new) = (gated().await, gated().await);
    let address = old.backend.address;
    let mut cluster = Cluster::with(limited(1, 10, 20_000))
        .service("web", Protocol::Http, &[address, new.backend.address])
        .endpoints("web", |endpoint| endpoint.version = if endpoint.address == address { "1" } else { "2" }.into())
        .route("*", "/", "web");
    let owner = service_id("web");
    cluster.0.routes.insert(Arc::new(Route {
        targets: Box::new([Target { service: owner.clone(), version: Some("1".into()), weight: 1 }]),
        owner,
        name: "old".into(),
        host: HostPattern::parse("*").unwrap(),
        path: "/old".into(),
        refined: None,
        priority: 0,
        since: Timestamp(0),
        actions: None,
    }));
    let proxy = cluster.serve();
    let mut first = begin(&proxy, "/old/first").await;
    until("the old version is full", || old.most.load(Ordering::SeqCst) == 1).await;
    let mut waits = begin(&proxy, "/old/waits").await;
    until("one waits for it", || proxy.metric(WAITING) == 1.0).await;
    // Who comes now need not even wait: the other version has room.
    new.permits.add_permits(1);
    assert_eq!(body(&proxy.get("a", "/any").await), "/any");
    // And where all are full, whoever is served first is whom the room does.
    let mut busy = begin(&proxy, "/any/busy").await;
    until("both are full", || proxy.in_flight() == 2).await;
    let mut any = begin(&proxy, "/any/waits").await;
    until("two wait", || proxy.metric(WAITING) == 2.0).await;
    new.permits.add_permits(2);
    assert_eq!(body(&read_answer(&mut busy).await), "/any/busy");
    assert_eq!(body(&read_answer(&mut any).await), "/any/waits");
    assert_eq!(proxy.metric(WAITING), 1.0, "the other one waits on");
    old.permits.add_permits(2);
    assert_eq!(body(&read_answer(&mut first).await), "/old/first");
    assert_eq!(body(&read_answer(&mut waits).await), "/old/waits");
}

/// A connection of plain TCP counts for as long as it is open; where all tasks are full it is closed at once.
#[tokio::test]
async fn connections_of_tcp_are_limited_and_none_waits() {
    let backend = Backend::start(|mut stream, number| async move {
        let _ = stream.write_all(&[u8::try_from(number).unwrap()]).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let proxy = Cluster::with(limited(2, 10, 20_000))
        .service("web", Protocol::Tcp, &[backend.address])
        .serve_port(10_000, "web");
    let mut clients = Vec::new();
    for number in 0..2 {
        let mut client = proxy.connect().await;
        assert_eq!(soon(client.read_u8()).await.unwrap(), number);
        clients.push(client);
    }
    assert_eq!(read_all(&mut proxy.connect().await).await, "");
    assert_eq!(proxy.metric("pointsman_proxy_tcp_connections_total{outcome=\"failed\"}"), 1.0);
    drop(clients.pop());
    until("one has ended", || proxy.in_flight() == 1).await;
    assert_eq!(soon(proxy.connect().await.read_u8()).await.unwrap(), 2);
}

/// A new table may bring an endpoint with room: whoever waits goes there.
#[tokio::test]
async fn whoever_waits_sees_new_endpoints() {
    let (old, new) = (gated().await, gated().await);
    let cluster = |addresses: &[std::net::SocketAddr]| {
        Cluster::with(limited(1, 10, 20_000)).service("web", Protocol::Http, addresses).route("*", "/", "web")
    };
    let proxy = cluster(&[old.backend.address]).serve();
    let mut first = begin(&proxy, "/first").await;
    until("the first is under way", || old.most.load(Ordering::SeqCst) == 1).await;
    let mut waits = begin(&proxy, "/waits").await;
    until("one waits", || proxy.metric(WAITING) == 1.0).await;
    new.permits.add_permits(1);
    proxy.publish(cluster(&[new.backend.address]));
    assert_eq!(body(&read_answer(&mut waits).await), "/waits");
    old.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut first).await), "/first");
}
