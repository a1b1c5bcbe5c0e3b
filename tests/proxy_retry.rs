//! When a request is tried again, where, and when it must not be.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::Config;
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A backend that reads a request with so long a body and closes; counts the requests.
async fn dying_after(length: usize) -> (Backend, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let backend = Backend::start(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            if read_head(&mut stream).await.is_some() {
                let _ = stream.read_exact(&mut vec![0; length]).await;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (backend.await, seen)
}

/// A backend that reads a request's head and closes; counts the requests.
async fn dying() -> (Backend, Arc<AtomicUsize>) {
    dying_after(0).await
}

/// Requests that such backends have seen.
fn seen_by(all: &[(Backend, Arc<AtomicUsize>)]) -> Vec<usize> {
    all.iter().map(|(_, seen)| seen.load(Ordering::SeqCst)).collect()
}

fn addresses(all: &[(Backend, Arc<AtomicUsize>)]) -> Vec<SocketAddr> {
    all.iter().map(|(backend, _)| backend.address).collect()
}

/// One service behind every host, with a configuration.
fn with(addresses: &[SocketAddr], change: impl FnOnce(&mut Config)) -> Proxy {
    Cluster::with(change).service("web", Protocol::Http, addresses).route("*", "/", "web").serve()
}

/// A request whose connection closes, with further fields and a body.
fn request(method: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

/// The status of an answer, and why the proxy has given it by itself.
fn said(answer: &str) -> (u16, Option<&str>) {
    (status(answer), header(answer, "x-pointsman-reason"))
}

/// Serves HTTP/2 in clear text, with `good` for an answer.
async fn serve_http2(stream: TcpStream) {
    let service = hyper::service::service_fn(|_request: http::Request<hyper::body::Incoming>| async {
        Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from("good")))
    });
    let (executor, stream) = (TokioExecutor::new(), TokioIo::new(stream));
    let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(stream, service).await;
}

#[tokio::test]
async fn a_refused_connection_goes_elsewhere_whatever_the_method() {
    let good = Backend::saying("good").await;
    let proxy = Cluster::everything(Protocol::Http, &[refusing(), good.address]).serve();
    for method in ["GET", "POST"] {
        for _ in 0..10 {
            assert_eq!(body(&proxy.raw(&request(method, "", "")).await), "good");
        }
    }
    assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}") >= 1.0);
}

#[tokio::test]
async fn an_idempotent_request_survives_a_dying_endpoint() {
    let (bad, seen) = dying().await;
    let good = Backend::saying("good").await;
    let proxy = Cluster::everything(Protocol::Http, &[bad.address, good.address]).serve();
    for _ in 0..20 {
        assert_eq!(body(&proxy.get("a", "/").await), "good");
    }
    assert!(seen.load(Ordering::SeqCst) >= 1);
}

/// A backend that answers with the five octets that it was sent.
async fn echoing_five() -> Backend {
    Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let mut text = [0; 5];
        stream.read_exact(&mut text).await.unwrap();
        stream.write_all(ok(std::str::from_utf8(&text).unwrap()).as_bytes()).await.unwrap();
    })
    .await
}

/// The method says that it may be repeated, or the client does (draft-ietf-httpapi-idempotency-key-header).
#[tokio::test]
async fn a_kept_body_is_sent_again() {
    for line in ["PUT", "POST", "PATCH"] {
        let (bad, seen) = dying().await;
        let good = echoing_five().await;
        let proxy = Cluster::everything(Protocol::Http, &[bad.address, good.address]).serve();
        let key = if line == "PUT" { "" } else { "Idempotency-Key: \"8e03978e\"\r\n" };
        for _ in 0..20 {
            assert_eq!(body(&proxy.raw(&request(line, key, "hello")).await), "hello", "{line}");
        }
        assert!(seen.load(Ordering::SeqCst) >= 1, "{line}");
    }
}

/// What is longer than what is kept may be sent once, by whatever method.
#[tokio::test]
async fn a_body_that_was_not_kept_is_not_sent_again() {
    for (length, expected) in [(1000, 2), (1001, 1)] {
        let all = [dying_after(length).await, dying_after(length).await];
        let proxy = with(&addresses(&all), |config| config.proxy.retry_body_bytes = 1000);
        let answer = proxy.raw(&request("PUT", "", &"x".repeat(length))).await;
        assert_eq!(said(&answer), (502, Some("upstream-reset")), "{length}");
        assert_eq!(seen_by(&all).iter().sum::<usize>(), expected, "{length}");
    }
}

#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_again() {
    let all = [dying().await, dying().await];
    let proxy = Cluster::everything(Protocol::Http, &addresses(&all)).serve();
    let answer = proxy.raw(&request("POST", "", "hello")).await;
    assert_eq!(said(&answer), (502, Some("upstream-reset")));
    assert_eq!(seen_by(&all).iter().sum::<usize>(), 1);
}

#[tokio::test]
async fn attempts_are_bounded_and_never_at_the_same_endpoint() {
    let (bad, seen) = dying().await;
    let proxy = Cluster::everything(Protocol::Http, &[bad.address]).serve();
    assert_eq!(said(&proxy.get("a", "/").await), (502, Some("upstream-reset")));
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(dying().await);
    }
    let proxy = Cluster::everything(Protocol::Http, &addresses(&all)).serve();
    assert_eq!(status(&proxy.get("a", "/").await), 502);
    let counts = seen_by(&all);
    assert!(counts.iter().sum::<usize>() == 3 && counts.iter().all(|count| *count <= 1), "{counts:?}");
}

/// A task of HTTP/2 that falls over and comes back at the same address.
#[tokio::test]
async fn a_connection_of_http2_that_has_died_gets_no_further_request() {
    let backend = Backend::start(|mut stream, number| async move {
        if number > 0 {
            return serve_http2(stream).await;
        }
        let mut octets = [0; 1024];
        assert!(stream.read(&mut octets).await.unwrap() > 0);
        // Its settings, and that it has read ours (RFC 9113 section 6.5).
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0").await.unwrap();
        assert!(stream.read(&mut octets).await.unwrap() > 0);
        // Closing sends a reset then.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let proxy = Cluster::everything(Protocol::H2c, &[backend.address]).serve();
    assert_eq!(status(&proxy.get("a", "/").await), 502);
    for _ in 0..3 {
        let answer = proxy.get("a", "/").await;
        assert_eq!((status(&answer), body(&answer)), (200, "good"));
    }
    assert_eq!(backend.connections(), 2);
}

/// Reads what a client of HTTP/2 sends until the heads of so many requests have come.
async fn read_requests(stream: &mut TcpStream, count: usize) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    let mut heads = 0;
    while heads < count {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        heads += usize::from(frame[3] == 1);
    }
}

/// A backend whose first connection is given up after the first request with a GOAWAY that names the `last` stream that
/// it has looked at; later ones are served.
async fn going_away(last: u8, code: u8) -> Backend {
    Backend::start(move |mut stream, number| async move {
        if number > 0 {
            return serve_http2(stream).await;
        }
        // Its settings.
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        read_requests(&mut stream, 1).await;
        stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, code]).await.unwrap();
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// RFC 9113 section 6.8: what is above the last stream of a GOAWAY was not processed, whatever else went wrong; what is
/// not may have been.
#[tokio::test]
async fn what_a_goaway_has_left_out_is_sent_again() {
    for (last, code, expected) in [(0, 0, 200), (0, 2, 200), (0, 11, 200), (1, 2, 502), (1, 0, 502)] {
        let backend = going_away(last, code).await;
        let proxy = Cluster::everything(Protocol::H2c, &[backend.address]).serve();
        let answer = proxy.raw(&request("POST", "", "")).await;
        assert_eq!(status(&answer), expected, "last stream {last}, code {code}: {answer}");
        assert_eq!(backend.connections(), if expected == 200 { 2 } else { 1 }, "last stream {last}, code {code}");
    }
}

/// Where tasks come and go many may be gone that the table does not know of yet.
#[tokio::test]
async fn endpoints_where_nobody_listens_do_not_count_for_a_while() {
    let good = Backend::saying("good").await;
    for method in ["GET", "POST", "GET", "POST"] {
        let gone = (0..7).map(|_| refusing());
        let addresses: Vec<_> = gone.chain([good.address]).collect();
        let proxy = Cluster::everything(Protocol::Http, &addresses).serve();
        let answer = proxy.raw(&request(method, "", "")).await;
        assert_eq!((status(&answer), body(&answer)), (200, "good"), "{method}");
        let one = with(&[refusing(), refusing()], |config| config.proxy.max_attempts = 1);
        let answer = one.get("a", "/").await;
        assert_eq!((status(&answer), one.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}")), (502, 0.0));
    }
}

/// A backend that answers 503 with a text of its own.
async fn busy() -> Backend {
    counting_busy().await.0
}

/// The same, and how many requests it has seen.
async fn counting_busy() -> (Backend, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let backend = Backend::start(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (backend.await, seen)
}

#[tokio::test]
async fn an_endpoint_without_time_is_not_the_last_word() {
    let (busy_one, good) = (busy().await, Backend::saying("good").await);
    let both = || Cluster::everything(Protocol::Http, &[busy_one.address, good.address]);
    let proxy = both().serve();
    for _ in 0..20 {
        assert_eq!(body(&proxy.get("a", "/").await), "good");
    }
    assert!(busy_one.connections() >= 1);
    assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}") >= 1.0);
    // What may have acted is not asked again, and neither is anything where the statuses are none.
    let plain = with(&[busy_one.address, good.address], |config| config.proxy.retry_statuses.clear());
    for (proxy, method) in [(both().serve(), "POST"), (plain, "GET")] {
        let mut statuses = std::collections::BTreeSet::new();
        for _ in 0..40 {
            statuses.insert(status(&proxy.raw(&request(method, "", "")).await));
        }
        assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 503], "{method}");
    }
}

#[tokio::test]
async fn where_nobody_has_time_an_endpoint_says_so_itself() {
    let all = [busy().await, busy().await];
    let addresses: Vec<_> = all.iter().map(|backend| backend.address).collect();
    let proxy = Cluster::everything(Protocol::Http, &addresses).serve();
    let mixed = Cluster::everything(Protocol::Http, &[all[0].address, refusing()]).serve();
    for proxy in [proxy, mixed] {
        for _ in 0..10 {
            let answer = proxy.get("a", "/").await;
            assert_eq!((status(&answer), body(&answer)), (503, "busy"), "{answer}");
            assert_eq!(header(&answer, "x-pointsman-reason"), None);
        }
        until("nothing is in flight", || proxy.in_flight() == 0).await;
    }
}

/// A service that fails as a whole gets its load and little more.
#[tokio::test]
async fn repeats_are_bounded_by_the_budget() {
    let all = [dying().await, dying().await, dying().await];
    let proxy = with(&addresses(&all), |config| {
        config.proxy.retry_ratio = 0.0;
        config.proxy.balance.ejection.in_a_row = 0;
    });
    const REQUESTS: usize = 300;
    let begun = std::time::Instant::now();
    for _ in 0..REQUESTS {
        assert_eq!(status(&proxy.get("a", "/").await), 502);
    }
    // Ten a second are always allowed, those of the ten seconds before included.
    let reserve = 100 + 10 * (begun.elapsed().as_secs() as usize + 1);
    let seen: usize = seen_by(&all).iter().sum();
    assert!(seen > REQUESTS && seen <= REQUESTS + reserve, "{seen}");
    assert!(proxy.metric("pointsman_proxy_retries_denied_total") >= 1.0);
}

/// Nobody is spared, so that there is always another one to ask; all else as it is by default.
fn without_ejection(config: &mut Config) {
    config.proxy.balance.ejection.in_a_row = 0;
}

/// What README says of a service that fails as a whole: 1.2 times its requests, and ten a second beside, whatever
/// `max_attempts` is.
#[tokio::test]
async fn a_service_whose_tasks_are_all_busy_gets_a_fifth_more_and_ten_a_second() {
    const REQUESTS: usize = 600;
    for max_attempts in [3, 10] {
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push(counting_busy().await);
        }
        let proxy = with(&addresses(&all), |config| {
            without_ejection(config);
            config.proxy.max_attempts = max_attempts;
        });
        let begun = std::time::Instant::now();
        for _ in 0..REQUESTS {
            assert_eq!(said(&proxy.get("a", "/").await), (503, None));
        }
        let repeats = seen_by(&all).iter().sum::<usize>() - REQUESTS;
        // Each ten seconds, and those that were not over at the beginning and at the end.
        let reserve = 100 * (1 + (begun.elapsed().as_secs() as usize + 1) / 10);
        let most = REQUESTS / 5 + reserve;
        println!("{max_attempts} attempts: {repeats} repeats of {REQUESTS} requests, {most} at most");
        assert!(repeats <= most, "{repeats} of {most}");
        // Of the first requests all could be repeated until nothing was left.
        assert!(repeats >= 100 + REQUESTS / 10, "{repeats}");
        assert_eq!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}"), repeats as f64);
        assert!(proxy.metric("pointsman_proxy_retries_denied_total") >= 1.0);
    }
}

/// What README says of one where nobody listens: each request tries 31 more than `max_attempts`, without the budget, for
/// there is nobody whose load could grow. What has found somebody who is busy needs the budget again.
#[tokio::test]
async fn a_service_where_nobody_listens_is_tried_34_times_a_request() {
    const REQUESTS: usize = 60;
    let gone: Vec<_> = (0..40).map(|_| refusing()).collect();
    let repeats = |proxy: &Proxy| proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}");
    let proxy = with(&gone, without_ejection);
    for _ in 0..REQUESTS {
        assert_eq!(said(&proxy.get("a", "/").await), (502, Some("connect-failed")));
    }
    assert_eq!(repeats(&proxy), 33.0 * REQUESTS as f64);
    assert_eq!(proxy.metric("pointsman_proxy_retries_denied_total"), 0.0);
    // Two that are busy among four that are gone: the work that is done for nothing is bounded as ever.
    let all = [counting_busy().await, counting_busy().await];
    let mixed: Vec<_> = addresses(&all).into_iter().chain(gone.into_iter().take(4)).collect();
    let proxy = with(&mixed, |config| {
        without_ejection(config);
        config.proxy.retry_ratio = 0.0;
    });
    const MORE: usize = 300;
    let begun = std::time::Instant::now();
    for _ in 0..MORE {
        assert_eq!(said(&proxy.get("a", "/").await), (503, None));
    }
    let seen = seen_by(&all).iter().sum::<usize>();
    let reserve = 100 * (1 + (begun.elapsed().as_secs() as usize + 1) / 10);
    assert!(seen > MORE && seen <= MORE + reserve, "{seen}");
}

/// Two pauses a request, of 12.5 and 25 ms in the mean: of forty together less than 600 ms in one run of 10^16.
#[tokio::test]
async fn a_request_for_which_all_have_failed_pauses() {
    let times = |proxy: Proxy| async move {
        let begun = std::time::Instant::now();
        for _ in 0..40 {
            assert_eq!(said(&proxy.get("a", "/").await), (502, Some("connect-failed")));
        }
        begun.elapsed()
    };
    let gone = [refusing()];
    let pausing = times(with(&gone, |config| config.proxy.max_attempts = 3)).await;
    let alone = times(with(&gone, |config| config.proxy.max_attempts = 1)).await;
    assert!(pausing >= Duration::from_millis(600), "{pausing:?} with pauses, {alone:?} without");
}

/// What the pauses are for: a task has come in the place of the one that failed.
#[tokio::test]
async fn a_request_goes_to_whoever_has_come_during_its_pauses() {
    const REQUESTS: usize = 20;
    let ten = |config: &mut Config| config.proxy.max_attempts = 10;
    let (gone, good) = (refusing(), Backend::saying("good").await);
    let proxy = with(&[gone], ten);
    let mut clients = Vec::new();
    for _ in 0..REQUESTS {
        let mut client = proxy.connect().await;
        client.write_all(request("GET", "", "").as_bytes()).await.unwrap();
        clients.push(client);
    }
    let repeats = || proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}");
    until("all have failed once", || repeats() >= REQUESTS as f64).await;
    let cluster = Cluster::with(ten).service("web", Protocol::Http, &[gone, good.address]);
    proxy.publish(cluster.route("*", "/", "web"));
    let mut served = 0;
    for mut client in clients {
        let answer = read_all(&mut client).await;
        served += usize::from(status(&answer) == 200);
        assert!(status(&answer) == 200 || said(&answer) == (502, Some("connect-failed")), "{answer}");
    }
    assert!(served > 0, "nobody waited for who has come");
}

/// Answers the first request of each connection and, when the second has come, closes.
async fn dying_at_the_second() -> Backend {
    Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(ok("first").as_bytes()).await.unwrap();
        read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_dies_is_replaced_by_a_fresh_one() {
    let backend = dying_at_the_second().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    for _ in 0..5 {
        assert_eq!(body(&proxy.get("a", "/").await), "first");
    }
    assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"fresh_connection\"}") >= 1.0);
    assert_eq!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}"), 0.0);
}

#[tokio::test]
async fn a_post_on_a_kept_connection_that_dies_is_not_repeated() {
    let backend = dying_at_the_second().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    assert_eq!(body(&proxy.get("a", "/").await), "first");
    let answer = proxy.raw(&request("POST", "", "")).await;
    assert_eq!(header(&answer, "x-pointsman-reason"), Some("upstream-reset"), "{answer}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_harms_nobody() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(ok("one").as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    for _ in 0..20 {
        let answer = proxy.raw(&request("POST", "", "")).await;
        assert_eq!(body(&answer), "one", "{answer}");
    }
}

/// Answers what the paths ask for: `/says` with how long the connection stays. Never closes by itself.
async fn saying_how_long() -> Backend {
    Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            let _ = stream.read_exact(&mut vec![0; length]).await;
            let stays = if head.contains(" /says ") { "Keep-Alive: timeout=3, max=100\r\n" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\n{stays}Content-Length: 4\r\n\r\ngood");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// An endpoint that says how long it keeps an idle connection may close it then, just as a request arrives that must not be
/// repeated (RFC 9112 section 9.5). By either implementation: one has the requests without a body, the other the rest.
#[tokio::test]
async fn a_connection_is_not_used_past_the_time_its_endpoint_said() {
    let ask = async |proxy: &Proxy, request: &str| assert_eq!(body(&proxy.raw(request).await), "good", "{request}");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    let check = async |first: String, second: String, expected: usize| {
        let backend = saying_how_long().await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        for _ in 0..3 {
            ask(&proxy, &first).await;
        }
        assert_eq!(backend.connections(), 1, "{first}: it is used while there is time");
        tokio::time::sleep(Duration::from_millis(2200)).await;
        ask(&proxy, &second).await;
        assert_eq!(backend.connections(), expected, "{first}, then {second}");
        assert_eq!(proxy.metric("pointsman_proxy_retries_total{kind=\"fresh_connection\"}"), 0.0);
    };
    tokio::join!(
        check(get("/says"), post("/"), 2),
        check(get("/says"), get("/"), 2),
        check(post("/says"), get("/"), 2),
        check(post("/says"), post("/"), 2),
        // Nothing said: kept for `upstream_idle`.
        check(get("/"), post("/"), 1),
        check(post("/"), get("/"), 1),
    );
}

async fn silent() -> Backend {
    Backend::start(|mut stream, _| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await
}

#[tokio::test]
async fn a_slow_attempt_goes_elsewhere() {
    let (slow, good) = (silent().await, Backend::saying("good").await);
    let per_try = Duration::from_millis(100);
    let proxy = with(&[slow.address, good.address], |config| config.proxy.limits.per_try = per_try);
    for _ in 0..10 {
        assert_eq!(body(&proxy.get("a", "/").await), "good");
    }
    assert!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"attempt\"}") >= 1.0);
}

/// A backend that takes so long for each answer.
async fn slow(time: Duration) -> Backend {
    Backend::start(move |mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            tokio::time::sleep(time).await;
            let _ = stream.write_all(ok("slow").as_bytes()).await;
        }
    })
    .await
}

/// What becomes of so many requests that are all under way at a time.
async fn answers_at_a_time(proxy: &Proxy, requests: usize) -> Vec<String> {
    let mut clients = Vec::new();
    for _ in 0..requests {
        let mut client = proxy.connect().await;
        client.write_all(request("GET", "", "").as_bytes()).await.unwrap();
        clients.push(client);
    }
    let mut answers = Vec::new();
    for mut client in clients {
        answers.push(read_all(&mut client).await);
    }
    answers
}

/// To end a slow attempt that nothing may follow would fail a request that its endpoint would have answered.
#[tokio::test]
async fn a_slow_attempt_is_waited_for_where_nothing_may_be_repeated() {
    let time = Duration::from_millis(400);
    let (one, other) = (slow(time).await, slow(time).await);
    let proxy = with(&[one.address, other.address], |config| {
        config.proxy.limits.per_try = Duration::from_millis(100);
        config.proxy.retry_ratio = 0.0;
    });
    for answer in answers_at_a_time(&proxy, 300).await {
        assert_eq!((status(&answer), body(&answer)), (200, "slow"), "{answer}");
    }
    // Three at a time may be repeated, so most were not.
    assert!(proxy.metric("pointsman_proxy_retries_denied_total") >= 100.0);
    assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}") <= 100.0);
}

/// An endpoint that has no room does nothing better.
#[tokio::test]
async fn a_slow_attempt_is_not_given_up_for_an_endpoint_that_is_full() {
    let time = Duration::from_millis(500);
    let (one, other) = (slow(time).await, slow(time).await);
    let proxy = with(&[one.address, other.address], |config| {
        config.proxy.limits.per_try = Duration::from_millis(100);
        config.proxy.balance.max_requests = 1;
    });
    for answer in answers_at_a_time(&proxy, 2).await {
        assert_eq!(body(&answer), "slow", "{answer}");
    }
    assert_eq!((one.connections(), other.connections()), (1, 1));
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"attempt\"}"), 0.0);
}

/// Three may be repeated at a time, and each passes two endpoints that hang: those that come later have to have their turn.
#[tokio::test]
async fn what_hangs_goes_elsewhere_although_few_may_at_a_time() {
    let (one, other, good) = (silent().await, silent().await, Backend::saying("good").await);
    let proxy = with(&[one.address, other.address, good.address], |config| {
        config.proxy.limits.per_try = Duration::from_millis(50);
        config.proxy.limits.response = Duration::from_secs(15);
        config.proxy.retry_ratio = 0.0;
        // No other mechanism may save them.
        config.proxy.balance.ejection.in_a_row = 0;
    });
    for answer in answers_at_a_time(&proxy, 40).await {
        assert_eq!((status(&answer), body(&answer)), (200, "good"), "{answer}");
    }
    assert!(one.connections() + other.connections() > 3, "more than may be repeated at a time hung");
}

#[tokio::test]
async fn an_answer_that_never_begins_is_given_up() {
    let slow = silent().await;
    let proxy = with(&[slow.address], |config| {
        config.proxy.limits.per_try = Duration::from_millis(100);
        config.proxy.limits.response = Duration::from_millis(400);
    });
    for method in ["GET", "POST"] {
        assert_eq!(said(&proxy.raw(&request(method, "", "")).await), (504, Some("response-timeout")));
    }
    // There is no other endpoint that could do better.
    assert_eq!(slow.connections(), 2);
}

/// Answers with two meanings, or none.
const AMBIGUOUS: [&str; 5] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
];

#[tokio::test]
async fn an_answer_that_is_not_http_is_not_passed_on() {
    for nonsense in AMBIGUOUS.into_iter().chain(["nonsense\r\n\r\n"]) {
        let backend = Backend::start(move |mut stream: TcpStream, _| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(nonsense.as_bytes()).await;
        });
        let backend = backend.await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        assert_eq!(said(&proxy.get("a", "/").await), (502, Some("upstream-invalid")), "{nonsense}");
    }
}

/// What such an answer leaves on its connection would be the next request's (RFC 9112 section 6.3).
#[tokio::test]
async fn a_connection_is_not_used_again_after_an_answer_with_two_meanings() {
    for nonsense in AMBIGUOUS {
        let backend = Backend::start(move |mut stream: TcpStream, number| async move {
            while read_head(&mut stream).await.is_some() {
                let answer = if number == 0 { nonsense.to_owned() } else { ok("good") };
                // It stays open for whatever comes.
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let backend = backend.await;
        let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
        assert_eq!(said(&proxy.get("a", "/").await).1, Some("upstream-invalid"), "{nonsense}");
        assert_eq!(body(&proxy.get("a", "/").await), "good", "{nonsense}");
        assert_eq!(backend.connections(), 2, "{nonsense}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let (told, mut gone) = tokio::sync::mpsc::channel(1);
    let backend = Backend::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            told.send("asked").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            told.send("closed").await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(soon(gone.recv()).await, Some("asked"));
    assert_eq!(proxy.in_flight(), 1);
    drop(client);
    assert_eq!(soon(gone.recv()).await, Some("closed"));
    until("nothing is in flight", || proxy.in_flight() == 0).await;
}
