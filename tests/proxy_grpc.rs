//! Calls over gRPC: the time that they have, and answers of the proxy's own that their clients understand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::model::balance::Algorithm;
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

type Client = SendRequest<Full<Bytes>>;

async fn client(proxy: &Proxy) -> Client {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(proxy.connect().await));
    let (client, connection) = soon(handshake).await.unwrap();
    tokio::spawn(connection);
    client
}

/// An answer's status, fields and body.
async fn call(client: &mut Client, fields: &[(&'static str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
    let mut request = Request::post("http://a/grpc.Service/Call").header("te", "trailers");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = soon(client.send_request(request.body(Full::from("message")).unwrap())).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, head.headers, soon(body.collect()).await.unwrap().to_bytes())
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

/// A backend that tells the time that each call brings, and answers after so long.
async fn timed(wait: Duration) -> (SocketAddr, mpsc::Receiver<Option<String>>) {
    let (told, seen) = mpsc::channel(100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let time = request.headers().get("grpc-timeout").map(|time| time.to_str().unwrap().to_owned());
                let _ = told.try_send(time);
                async move {
                    tokio::time::sleep(wait).await;
                    let answer =
                        Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
                    Ok::<_, std::convert::Infallible>(answer.body(Full::<Bytes>::default()).unwrap())
                }
            });
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            connections.spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, seen)
}

fn micros(time: Option<String>) -> u64 {
    let time = time.expect("a time is passed on");
    time.strip_suffix('u').expect("in microseconds").parse().unwrap()
}

#[tokio::test]
async fn a_calls_time_is_passed_on_lessened() {
    let (address, mut seen) = timed(Duration::ZERO).await;
    let proxy = Cluster::everything(Protocol::H2c, &[address]).serve();
    let mut client = client(&proxy).await;
    let (_, fields, _) = call(&mut client, &[GRPC, ("grpc-timeout", "20S")]).await;
    assert_eq!(fields["grpc-status"], "0");
    let left = micros(soon(seen.recv()).await.unwrap());
    assert!(left < 20_000_000 && left > 1_000_000, "{left}");
    // What cannot be read, and what is no call, passes as it came.
    for (fields, expected) in [
        (vec![GRPC, ("grpc-timeout", "soon")], Some("soon")),
        (vec![("content-type", "text/plain"), ("grpc-timeout", "20S")], Some("20S")),
        (vec![GRPC], None),
    ] {
        call(&mut client, &fields).await;
        assert_eq!(soon(seen.recv()).await.unwrap().as_deref(), expected);
    }
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over() {
    let (address, mut seen) = timed(Duration::from_secs(3600)).await;
    let proxy = Cluster::everything(Protocol::H2c, &[address]).serve();
    let mut client = client(&proxy).await;
    let (status, fields, body) = call(&mut client, &[GRPC, ("grpc-timeout", "150m")]).await;
    assert_eq!((status.as_u16(), &fields["grpc-status"], body.len()), (200, &"4".parse().unwrap(), 0), "{fields:?}");
    assert_eq!(fields["x-pointsman-reason"], "response-timeout");
    assert_eq!(fields["content-type"], "application/grpc");
    assert!(fields["grpc-message"].to_str().unwrap().starts_with("response-timeout: "));
    assert!(micros(soon(seen.recv()).await.unwrap()) <= 150_000);
    until("nothing is in flight", || proxy.in_flight() == 0).await;
}

/// Else any client could have all tasks of a service spared.
#[tokio::test]
async fn a_task_that_is_given_too_little_time_is_not_spared() {
    for (given, is_spared) in [("20m", false), ("10S", true)] {
        let ((slow, mut seen), good) = (timed(Duration::from_secs(3600)).await, ending_with("0").await);
        let proxy = Cluster::with(|config| {
            config.proxy.balance.algorithm = Algorithm::RoundRobin;
            config.proxy.limits.response = Duration::from_millis(100);
        })
        .service("web", Protocol::H2c, &[slow, good])
        .route("*", "/", "web")
        .serve();
        let mut client = client(&proxy).await;
        let mut met = 0;
        for _ in 0..40 {
            call(&mut client, &[GRPC, ("grpc-timeout", given)]).await;
            while seen.try_recv().is_ok() {
                met += 1;
            }
        }
        assert!(met >= 5, "{given}: the slow one had {met} calls");
        let service = proxy.tables.load().service(&service_id("web")).unwrap().clone();
        let slow = service.endpoints.iter().find(|endpoint| endpoint.address == slow).unwrap();
        assert_eq!(slow.run.ejection.is_ejected(), is_spared, "{given}, {met} calls");
    }
}

/// A backend whose calls end with this status, in their trailers.
async fn ending_with(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(move |_request: Request<hyper::body::Incoming>| async move {
                let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
                let body = Full::<Bytes>::from("message").with_trailers(std::future::ready(Some(Ok(trailers))));
                let answer = Response::builder().header("content-type", "application/grpc");
                Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
            });
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            connections.spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Its answers begin well, and only their ends tell.
#[tokio::test]
async fn a_task_whose_calls_fail_by_their_trailers_is_spared() {
    let (failing, good) = (ending_with("13").await, ending_with("0").await);
    let proxy = Cluster::with(|config| config.proxy.balance.algorithm = Algorithm::RoundRobin)
        .service("web", Protocol::H2c, &[failing, good])
        .route("*", "/", "web")
        .serve();
    let mut client = client(&proxy).await;
    for _ in 0..30 {
        let (status, _, body) = call(&mut client, &[GRPC]).await;
        assert_eq!((status.as_u16(), &body[..]), (200, &b"message"[..]));
    }
    assert!(proxy.metric("pointsman_proxy_ejections_total") >= 1.0);
    let service = proxy.tables.load().service(&service_id("web")).unwrap().clone();
    for endpoint in service.endpoints.iter() {
        assert_eq!(endpoint.run.ejection.is_ejected(), endpoint.address == failing, "{}", endpoint.address);
    }
}

/// A repeat has what the first attempt has left of the time.
#[tokio::test]
async fn a_repeat_brings_the_time_that_is_left() {
    // Refuses each first stream after a while, unprocessed (RFC 9113 section 8.7).
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            });
        }
    });
    let (address, mut seen) = timed(Duration::ZERO).await;
    let proxy = Cluster::everything(Protocol::H2c, &[refusing, address]).serve();
    let mut client = client(&proxy).await;
    let mut least = u64::MAX;
    for _ in 0..20 {
        let (_, fields, _) = call(&mut client, &[GRPC, ("grpc-timeout", "60S")]).await;
        assert_eq!(fields["grpc-status"], "0", "{fields:?}");
        least = least.min(micros(soon(seen.recv()).await.unwrap()));
    }
    assert!(least <= 60_000_000 - 50_000, "no repeat had less: {least}");
}

/// A task that has no time for calls, and says when to come again; what it was told of earlier attempts.
async fn refusing_with(pushback: Option<&'static str>) -> (SocketAddr, mpsc::Receiver<Option<String>>) {
    let (told, seen) = mpsc::channel(100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let before = request.headers().get("grpc-previous-rpc-attempts");
                let _ = told.try_send(before.map(|before| before.to_str().unwrap().to_owned()));
                let mut answer = Response::builder().header("content-type", "application/grpc");
                answer = answer.header("grpc-status", "14");
                if let Some(pushback) = pushback {
                    answer = answer.header("grpc-retry-pushback-ms", pushback);
                }
                std::future::ready(answer.body(Full::<Bytes>::default()))
            });
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            connections.spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, seen)
}

const KEY: (&str, &str) = ("idempotency-key", "\"7\"");

/// Two tasks that have their turns.
fn two(first: SocketAddr, second: SocketAddr, per_try: Duration) -> Proxy {
    Cluster::with(|config| {
        config.proxy.balance.algorithm = Algorithm::RoundRobin;
        config.proxy.limits.per_try = per_try;
    })
    .service("web", Protocol::H2c, &[first, second])
    .route("*", "/", "web")
    .serve()
}

/// A call that meets the task first of which `told` tells: what that was told, the answer's fields, and how long it took.
/// Whose turn it is is not known; `other` forgets what the other one was told without it.
async fn call_meeting(
    client: &mut Client,
    told: &mut mpsc::Receiver<Option<String>>,
    other: &mut mpsc::Receiver<Option<String>>,
    fields: &[(&'static str, &str)],
) -> (Option<String>, HeaderMap, Duration) {
    for _ in 0..10 {
        while other.try_recv().is_ok() {}
        let begun = tokio::time::Instant::now();
        let (_, fields, _) = call(client, fields).await;
        if let Ok(before) = told.try_recv() {
            return (before, fields, begun.elapsed());
        }
    }
    unreachable!("its turn does not come")
}

/// gRFC A6, "Pushback": what the server says of a repeat is obeyed by whoever makes it.
#[tokio::test]
async fn a_call_is_repeated_when_its_server_says_so_and_not_otherwise() {
    // Without a word at once; after a time; not within the time that the call has; not at all.
    for (pushback, repeats, least) in [
        (None, true, 0),
        (Some("0"), true, 0),
        (Some("300"), true, 300),
        (Some("60000"), false, 0),
        (Some("-1"), false, 0),
        (Some("later"), false, 0),
    ] {
        let (busy, mut told) = refusing_with(pushback).await;
        let (good, mut seen) = timed(Duration::ZERO).await;
        let proxy = two(busy, good, Duration::from_secs(5));
        let mut client = client(&proxy).await;
        let asks = [GRPC, KEY, ("grpc-timeout", "10S")];
        let (before, fields, took) = call_meeting(&mut client, &mut told, &mut seen, &asks).await;
        assert_eq!(before, None, "{pushback:?}");
        let expected = if repeats { "0" } else { "14" };
        assert_eq!(fields["grpc-status"], expected, "{pushback:?}");
        assert_eq!(seen.try_recv().is_ok(), repeats, "{pushback:?}");
        assert!(took >= Duration::from_millis(least) && took < Duration::from_secs(9), "{pushback:?}: {took:?}");
        if !repeats {
            assert_eq!(fields["grpc-retry-pushback-ms"], pushback.unwrap(), "the client is told, too");
        }
        // What may not be sent twice is not, whatever the server says.
        let (_, fields, _) = call_meeting(&mut client, &mut told, &mut seen, &[GRPC]).await;
        assert_eq!(fields["grpc-status"], "14", "{pushback:?}");
    }
}

/// gRFC A6, "Exposed Retry Metadata".
#[tokio::test]
async fn a_repeat_tells_how_many_attempts_there_were() {
    let ((one, mut first), (other, mut second)) = (refusing_with(None).await, refusing_with(None).await);
    let proxy = two(one, other, Duration::from_secs(5));
    let mut client = client(&proxy).await;
    let (_, fields, _) = call(&mut client, &[GRPC, KEY, ("grpc-previous-rpc-attempts", "2")]).await;
    assert_eq!(fields["grpc-status"], "14");
    let mut told = [soon(first.recv()).await.unwrap().unwrap(), soon(second.recv()).await.unwrap().unwrap()];
    told.sort();
    assert_eq!(told, ["2", "3"]);
}

/// The time of one attempt ends it, and the next one has what is left of the call's; each is told of the whole call's.
#[tokio::test]
async fn a_slow_attempt_of_a_call_is_given_up_within_the_calls_time() {
    let (slow, mut seen) = timed(Duration::from_secs(3600)).await;
    let (good, mut repeated) = timed(Duration::ZERO).await;
    let proxy = two(slow, good, Duration::from_millis(200));
    let mut client = client(&proxy).await;
    let asks = [GRPC, KEY, ("grpc-timeout", "15S")];
    let (whole, fields, _) = call_meeting(&mut client, &mut seen, &mut repeated, &asks).await;
    assert_eq!(fields["grpc-status"], "0");
    let (whole, left) = (micros(whole), micros(soon(repeated.recv()).await.unwrap()));
    assert!(whole > 200_000, "an answer that goes on may take longer than its beginning: {whole}");
    assert!(left <= whole - 200_000, "{left} of {whole}");
    // A call that has less than one attempt may take ends by its own time.
    let proxy = Cluster::with(|config| config.proxy.limits.per_try = Duration::from_secs(10))
        .service("web", Protocol::H2c, &[slow])
        .route("*", "/", "web")
        .serve();
    let mut client = self::client(&proxy).await;
    let (_, fields, _) = call(&mut client, &[GRPC, KEY, ("grpc-timeout", "100m")]).await;
    assert_eq!(
        (&fields["grpc-status"], &fields["x-pointsman-reason"]),
        (&"4".parse().unwrap(), &"response-timeout".parse().unwrap())
    );
}

#[tokio::test]
async fn refusals_are_told_as_calls_are_told_them() {
    let proxy = Cluster::new().service("web", Protocol::H2c, &[refusing()]).route("a", "/", "web").serve();
    let mut client = client(&proxy).await;
    let (status, fields, body) = call(&mut client, &[GRPC]).await;
    assert_eq!((status.as_u16(), body.len()), (200, 0));
    assert_eq!(fields["grpc-status"], "14", "UNAVAILABLE: {fields:?}");
    // Others get what they always got.
    let (status, fields, body) = call(&mut client, &[]).await;
    assert_eq!((status.as_u16(), &fields["x-pointsman-reason"]), (502, &"connect-failed".parse().unwrap()));
    assert!(!fields.contains_key("grpc-status") && !body.is_empty());
    assert_eq!(proxy.metric("pointsman_proxy_local_answers_total{reason=\"connect-failed\"}"), 2.0);
}

#[tokio::test]
async fn a_routes_time_goes_before_the_services() {
    let (address, _seen) = timed(Duration::from_secs(3600)).await;
    let proxy = Cluster::new()
        .service("web", Protocol::H2c, &[address])
        .labelled(
            &[
                "pointsman.host=a",
                "pointsman.protocol=h2c",
                "pointsman.route.api.host=a",
                "pointsman.route.api.path=/grpc.Service",
                "pointsman.route.api.timeout=150ms",
            ],
            "web",
        )
        .serve();
    let mut client = client(&proxy).await;
    let (_, fields, _) = call(&mut client, &[GRPC, ("grpc-timeout", "1H")]).await;
    assert_eq!(fields["grpc-status"], "4", "{fields:?}");
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"answer\"}"), 1.0);
}
