//! Limits of what an endpoint gets at a time, and the line of those that wait for room.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pointsman::config::Config;
use pointsman::labels::host::HostPattern;
use pointsman::model::bounds::Bounds;
use pointsman::model::endpoint::{EndpointState, Weight};
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

/// The same of a client with this cookie.
async fn begin_kept(proxy: &Proxy, path: &str, cookie: &str) -> TcpStream {
    let mut client = proxy.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

/// Two endpoints with a cookie of the first one, which has one request of that client's under way.
struct Kept {
    proxy: Proxy,
    home: Gated,
    other: Gated,
    cookie: String,
    busy: TcpStream,
}

async fn kept(change: impl FnOnce(&mut Config)) -> Kept {
    let (one, two) = (gated().await, gated().await);
    let proxy = Cluster::with(change)
        .service("web", Protocol::Http, &[one.backend.address, two.backend.address])
        .endpoints("web", |endpoint| endpoint.sticky = true)
        .route("*", "/", "web")
        .serve();
    let mut first = begin(&proxy, "/first").await;
    let has_come = |gated: &Gated| gated.most.load(Ordering::SeqCst) == 1;
    until("the first is under way", || has_come(&one) || has_come(&two)).await;
    let (home, other) = if has_come(&one) { (one, two) } else { (two, one) };
    home.permits.add_permits(1);
    let cookie = set_cookie(&read_answer(&mut first).await).unwrap();
    until("it is over", || proxy.in_flight() == 0).await;
    let busy = begin_kept(&proxy, "/busy", &cookie).await;
    until("the session's endpoint is full", || proxy.in_flight() == 1).await;
    Kept { proxy, home, other, cookie, busy }
}

/// The cookie that an answer gives.
fn set_cookie(answer: &str) -> Option<String> {
    header(answer, "set-cookie").and_then(|set| set.split(';').next()).map(str::to_owned)
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
        targets: [Target { service: owner.clone(), version: Some("1".into()), weight: 1 }].into(),
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

/// As at HAProxy's servers: a session is worth more than an answer at once.
#[tokio::test]
async fn a_session_waits_for_its_own_endpoint() {
    let Kept { proxy, home, other, cookie, mut busy } = kept(limited(1, 10, 20_000)).await;
    let mut waits = begin_kept(&proxy, "/waits", &cookie).await;
    until("it waits, although another one is idle", || proxy.metric(WAITING) == 1.0).await;
    let mut waits_too = begin_kept(&proxy, "/waits-too", &cookie).await;
    until("both wait", || proxy.metric(WAITING) == 2.0).await;
    // It holds up nobody who goes anywhere.
    other.permits.add_permits(1);
    assert_eq!(body(&proxy.get("a", "/any").await), "/any");
    assert_eq!(proxy.metric(WAITING), 2.0);
    for (client, path) in [(&mut busy, "/busy"), (&mut waits, "/waits"), (&mut waits_too, "/waits-too")] {
        home.permits.add_permits(1);
        let answer = read_answer(client).await;
        assert_eq!((body(&answer), set_cookie(&answer)), (path, None), "it stays: {answer}");
    }
    assert_eq!((home.most.load(Ordering::SeqCst), other.most.load(Ordering::SeqCst)), (1, 1));
}

/// Room that the waiting session has not seen yet, because a new table brought it: the session looks every few milliseconds,
/// and those that come in between without one do not take it.
#[tokio::test]
async fn a_session_is_not_overtaken_by_those_that_come_without_one() {
    let Kept { proxy, home, other, cookie, mut busy } = kept(limited(1, 200, 20_000)).await;
    let mut held = begin(&proxy, "/held").await;
    until("both are full", || proxy.in_flight() == 2 && other.most.load(Ordering::SeqCst) == 1).await;
    let mut waits = begin_kept(&proxy, "/waits", &cookie).await;
    until("it waits", || proxy.metric(WAITING) == 1.0).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(proxy.connect().await);
    }
    // A table in which nothing is under way at the session's endpoint, and the other one is gone: room for one.
    let cluster = Cluster::with(limited(1, 200, 20_000)).service("web", Protocol::Http, &[home.backend.address]);
    proxy.publish(cluster.endpoints("web", |endpoint| endpoint.sticky = true).route("*", "/", "web"));
    for (number, client) in others.iter_mut().enumerate() {
        client.write_all(format!("GET /other/{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    }
    // For what was under way, and for whoever got the place: the backend answers in the order that requests arrived.
    home.permits.add_permits(2);
    assert_eq!(body(&read_answer(&mut busy).await), "/busy");
    let answer = read_answer(&mut waits).await;
    assert_eq!((body(&answer), set_cookie(&answer)), ("/waits", None), "it stays: {answer}");
    // And nobody is lost for it.
    home.permits.add_permits(others.len());
    for (number, client) in others.iter_mut().enumerate() {
        assert_eq!(body(&read_answer(client).await), format!("/other/{number}"));
    }
    other.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut held).await), "/held");
    until("nobody waits", || proxy.metric(WAITING) == 0.0 && proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn a_session_goes_elsewhere_when_it_has_waited_for_its_time() {
    let Kept { proxy, home, other, cookie, mut busy } = kept(limited(1, 10, 300)).await;
    let begun = std::time::Instant::now();
    let mut moves = begin_kept(&proxy, "/moves", &cookie).await;
    until("it waits", || proxy.metric(WAITING) == 1.0).await;
    other.permits.add_permits(1);
    let answer = read_answer(&mut moves).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{answer}");
    assert_eq!(body(&answer), "/moves", "{answer}");
    assert!(set_cookie(&answer).is_some_and(|next| next != cookie), "its session goes on there: {answer}");
    home.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut busy).await), "/busy");
}

#[tokio::test]
async fn a_session_goes_elsewhere_where_the_line_is_full() {
    let Kept { proxy, home, other, cookie, mut busy } = kept(limited(1, 0, 20_000)).await;
    other.permits.add_permits(1);
    let answer = read_answer(&mut begin_kept(&proxy, "/moves", &cookie).await).await;
    assert_eq!(body(&answer), "/moves", "{answer}");
    assert!(set_cookie(&answer).is_some_and(|next| next != cookie), "{answer}");
    // And where that one is full as well there is nowhere to go.
    until("it is over", || proxy.in_flight() == 1).await;
    let mut second = begin(&proxy, "/second").await;
    until("both are full", || proxy.in_flight() == 2).await;
    let refused = read_answer(&mut begin_kept(&proxy, "/refused", &cookie).await).await;
    assert_eq!((status(&refused), header(&refused, "x-pointsman-reason")), (503, Some("queue-full")), "{refused}");
    other.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut second).await), "/second");
    home.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut busy).await), "/busy");
}

/// An endpoint without weight serves sessions alone: they have nowhere else to go, and wait in a line of their own.
#[tokio::test]
async fn a_session_waits_for_an_endpoint_that_gets_nobody_else() {
    let Kept { proxy, home, other, cookie, mut busy } = kept(limited(1, 10, 20_000)).await;
    home.permits.add_permits(1);
    assert_eq!(body(&read_answer(&mut busy).await), "/busy");
    let (alone, gone) = (home.backend.address, other.backend.address);
    let cluster = Cluster::with(limited(1, 10, 20_000)).service("web", Protocol::Http, &[alone, gone]);
    let weightless = cluster.endpoints("web", |endpoint| {
        endpoint.sticky = true;
        (endpoint.weight, endpoint.state) = match endpoint.address == alone {
            true => (Weight(0), EndpointState::Ready),
            false => (endpoint.weight, EndpointState::Unhealthy),
        };
    });
    proxy.publish(weightless.route("*", "/", "web"));
    let mut busy = begin_kept(&proxy, "/busy", &cookie).await;
    until("its endpoint is full", || proxy.in_flight() == 1).await;
    let mut waits = begin_kept(&proxy, "/waits", &cookie).await;
    until("it waits", || proxy.metric(WAITING) == 1.0).await;
    home.permits.add_permits(2);
    assert_eq!(body(&read_answer(&mut busy).await), "/busy");
    let answer = read_answer(&mut waits).await;
    assert_eq!((body(&answer), set_cookie(&answer)), ("/waits", None), "{answer}");
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
