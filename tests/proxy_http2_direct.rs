//! Requests over HTTP/2 that are passed on as they lie: whatever an endpoint does, their clients see what they see on the
//! long way, and the endpoint sees the same request.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;
mod scripts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use pointsman::model::balance::Algorithm;
use pointsman::model::service::Protocol;
use proxy_common::*;
use scripts::{PATHS, acting};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The long way is that of every request while this is on.
fn long(config: &mut pointsman::config::Config) {
    config.proxy.adaptive.enabled = true;
}

fn cluster(is_long: bool, protocol: Protocol, address: SocketAddr) -> Proxy {
    let cluster = if is_long { Cluster::with(long) } else { Cluster::new() };
    cluster.service("web", protocol, &[address]).route("*", "/", "web").serve()
}

async fn connect(proxy: &Proxy) -> SendRequest<Bytes> {
    let (client, connection) = soon(h2::client::handshake(proxy.connect().await)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Fields without their order, and without what differs from one moment to the next.
fn fields(map: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in map.iter().filter(|(name, _)| *name != "date") {
        fields.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
    }
    fields
}

/// All that a client gets for a request.
#[derive(Debug, PartialEq)]
struct Seen {
    interim: Vec<u16>,
    /// `None`: the stream ended before an answer.
    head: Option<(u16, BTreeMap<String, Vec<String>>)>,
    content: Vec<u8>,
    /// Trailers, or how the stream broke off.
    end: Result<BTreeMap<String, Vec<String>>, String>,
}

async fn ask(client: SendRequest<Bytes>, request: Request<()>, content: Option<&'static str>) -> Seen {
    let mut client = soon(client.ready()).await.unwrap();
    let (mut answer, mut sending) = client.send_request(request, content.is_none()).unwrap();
    if let Some(content) = content {
        sending.send_data(Bytes::from_static(content.as_bytes()), true).unwrap();
    }
    let mut seen = Seen { interim: Vec::new(), head: None, content: Vec::new(), end: Ok(BTreeMap::new()) };
    let whole = async {
        while let Some(Ok(answer)) = std::future::poll_fn(|context| answer.poll_informational(context)).await {
            seen.interim.push(answer.status().as_u16());
        }
        let (head, mut body) = answer.await?.into_parts();
        seen.head = Some((head.status.as_u16(), fields(&head.headers)));
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            seen.content.extend_from_slice(&piece);
        }
        Ok::<_, h2::Error>(fields(&body.trailers().await?.unwrap_or_default()))
    };
    let end = soon(whole).await.map_err(|error| format!("{:?}", error.reason()));
    seen.end = end;
    seen
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.example:81{path}")).body(()).unwrap()
}

#[tokio::test]
async fn whatever_an_endpoint_of_http1_says_is_passed_on_as_on_the_long_way() {
    for path in PATHS {
        let mut seen = Vec::new();
        for is_long in [true, false] {
            let backend = acting().await;
            let proxy = cluster(is_long, Protocol::Http, backend.address);
            let client = connect(&proxy).await;
            for _ in 0..2 {
                assert_eq!(ask(client.clone(), get("/plain"), None).await.content, b"plain");
            }
            seen.push(ask(client.clone(), get(path), None).await);
            assert_eq!(ask(client, get("/plain"), None).await.content, b"plain", "after {path}");
        }
        assert_eq!(seen[1], seen[0], "{path}");
    }
}

#[tokio::test]
async fn requests_come_to_an_endpoint_of_http1_as_on_the_long_way() {
    let mut heads = Vec::new();
    for is_long in [true, false] {
        let backend = Backend::echoing_heads().await;
        let proxy = cluster(is_long, Protocol::Http, backend.address);
        let client = connect(&proxy).await;
        for _ in 0..2 {
            ask(client.clone(), get("/"), None).await;
        }
        let mut request = get("/a/b?c=%2e");
        for (name, value) in [
            ("accept", "*/*"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("cookie", "a=b"),
            ("proxy-authorization", "x"),
            ("x-empty", ""),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let answer = ask(client, request, None).await;
        let mut lines: Vec<_> = String::from_utf8(answer.content).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines.remove(0), "GET /a/b?c=%2e HTTP/1.1");
        // Fields of one name stay in their order.
        lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        heads.push(lines);
        assert_eq!(backend.connections(), 1);
    }
    assert_eq!(heads[1], heads[0]);
    assert!(heads[0].iter().all(|line| !line.contains("6.6.6.6")), "{heads:?}");
}

/// An endpoint of HTTP/2 that does what the path of a request says; it tells what it got in a field.
async fn acting_by_streams() -> SocketAddr {
    serving_streams(act).await
}

async fn act(request: Request<h2::RecvStream>, mut answer: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?.map(|trailers| fields(&trailers));
    // Under a gRPC name, which no rule takes away.
    let got = format!("{} {} {:?} {content:?} {trailers:?}", head.method, head.uri, fields(&head.headers));
    let says = |status: u16| {
        let mut says = Response::new(());
        *says.status_mut() = status.try_into().unwrap();
        says.headers_mut().insert("x-got", got.replace(['\n', '\r'], " ").parse().unwrap());
        says
    };
    let called = |status: u16| {
        let mut says = says(status);
        says.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        says
    };
    let after =
        |code: &str| [("grpc-status".parse().unwrap(), code.parse().unwrap())].into_iter().collect::<HeaderMap>();
    match head.uri.path() {
        "/plain" => answer.send_response(says(200), false)?.send_data("plain".into(), true)?,
        "/empty" => drop(answer.send_response(says(200), true)?),
        "/nothing" => drop(answer.send_response(says(204), true)?),
        "/unchanged" => drop(answer.send_response(says(304), true)?),
        "/length" => {
            let mut says = says(404);
            says.headers_mut().insert("content-length", "2".parse().unwrap());
            answer.send_response(says, false)?.send_data("no".into(), true)?;
        }
        "/lengths" => {
            let mut says = says(200);
            for _ in 0..2 {
                says.headers_mut().append("content-length", "2".parse().unwrap());
            }
            answer.send_response(says, false)?.send_data("ok".into(), true)?;
        }
        "/trailers" => {
            let mut stream = answer.send_response(called(200), false)?;
            stream.send_data("message".into(), false)?;
            stream.send_trailers(after("0"))?;
        }
        "/trailers-only" => {
            let mut says = called(200);
            says.headers_mut().insert("grpc-status", "5".parse().unwrap());
            drop(answer.send_response(says, true)?);
        }
        "/hints" => {
            answer.send_informational(says(103))?;
            answer.send_response(says(200), false)?.send_data("hinted".into(), true)?;
        }
        "/fails" => answer.send_response(says(500), false)?.send_data("no".into(), true)?,
        "/busy" => answer.send_response(says(429), false)?.send_data("no".into(), true)?,
        "/resets" => answer.send_reset(Reason::INTERNAL_ERROR),
        "/cut" => {
            let mut stream = answer.send_response(says(200), false)?;
            stream.send_data("half".into(), false)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        "/large" => {
            let mut stream = answer.send_response(says(200), false)?;
            stream.send_data(vec![7; 300_000].into(), false)?;
            stream.send_trailers(after("0"))?;
        }
        path => panic!("nothing is said of {path}"),
    }
    Ok(())
}

const STREAMS: [&str; 14] = [
    "/plain",
    "/empty",
    "/nothing",
    "/unchanged",
    "/length",
    "/lengths",
    "/trailers",
    "/trailers-only",
    "/hints",
    "/fails",
    "/busy",
    "/resets",
    "/cut",
    "/large",
];

#[tokio::test]
async fn whatever_an_endpoint_of_http2_says_is_passed_on_as_on_the_long_way() {
    for path in STREAMS {
        for (content, is_call) in [(None, false), (Some("content"), false), (Some("message"), true)] {
            let mut seen = Vec::new();
            for is_long in [true, false] {
                let address = acting_by_streams().await;
                let proxy = cluster(is_long, Protocol::H2c, address);
                let client = connect(&proxy).await;
                for _ in 0..2 {
                    assert_eq!(ask(client.clone(), get("/plain"), None).await.content, b"plain");
                }
                let mut request = get(&format!("{path}?x=%2e"));
                if content.is_some() {
                    *request.method_mut() = http::Method::POST;
                }
                let more: &[(&str, &str)] = match is_call {
                    true => &[("content-type", "application/grpc+proto"), ("te", "trailers")],
                    false => &[("accept", "*/*"), ("x-forwarded-for", "6.6.6.6"), ("x-twice", "1"), ("x-twice", "2")],
                };
                for (name, value) in more {
                    request.headers_mut().append(*name, value.parse().unwrap());
                }
                seen.push(ask(client.clone(), request, content).await);
                assert_eq!(ask(client, get("/plain"), None).await.content, b"plain", "after {path}");
                until("nothing is left", || proxy.in_flight() == 0).await;
                assert_eq!(proxy.metric("pointsman_proxy_buffered_bytes "), 0.0);
                assert_eq!(proxy.metric("pointsman_proxy_upstream_connections_opened_total"), 1.0, "{path}");
            }
            assert_eq!(seen[1], seen[0], "{path} {content:?} {is_call}");
        }
    }
}

/// RFC 9110 section 8.6: a length that is repeated is refused, or goes on as "a single valid Content-Length field".
#[tokio::test]
async fn a_length_that_is_repeated_goes_on_once() {
    for is_long in [true, false] {
        let streams = cluster(is_long, Protocol::H2c, acting_by_streams().await);
        let lines = Backend::echoing_heads().await;
        let plain = cluster(is_long, Protocol::Http, lines.address);
        for lengths in [&["7"][..], &["7", "7"], &["7", "7", "7"]] {
            let mut request = Request::post("http://a.example/lengths").body(()).unwrap();
            for length in lengths {
                request.headers_mut().append("content-length", length.parse().unwrap());
            }
            let client = connect(&streams).await;
            assert_eq!(ask(client.clone(), get("/plain"), None).await.content, b"plain");
            let (_, fields) = ask(client, request.clone(), Some("content")).await.head.unwrap();
            assert_eq!(fields["content-length"], ["2"], "{lengths:?}");
            assert!(fields["x-got"][0].contains("\"content-length\": [\"7\"]"), "{lengths:?}: {fields:?}");
            let seen = ask(connect(&plain).await, request, Some("content")).await;
            let head = String::from_utf8(seen.content).unwrap().to_lowercase();
            let sent: Vec<_> = head.lines().filter(|line| line.starts_with("content-length")).collect();
            assert_eq!(sent, ["content-length: 7"], "{lengths:?}");
        }
    }
}

/// A body that is longer than the windows comes whole, and is sent again where the first endpoint did not look at it.
#[tokio::test]
async fn a_call_that_was_not_looked_at_is_made_again_with_all_of_its_content() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let asked = asked.clone();
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut answer))) = connection.accept().await {
                    // The first one is served, so that the connection is kept and the next one goes the short way.
                    match asked.fetch_add(1, Relaxed) {
                        0 => drop(answer.send_response(Response::new(()), true)),
                        _ => answer.send_reset(Reason::REFUSED_STREAM),
                    }
                }
            });
        }
    });
    let serving = acting_by_streams().await;
    let in_turn = |config: &mut pointsman::config::Config| config.proxy.balance.algorithm = Algorithm::RoundRobin;
    let cluster = Cluster::with(in_turn).service("web", Protocol::H2c, &[refusing, serving]);
    let proxy = cluster.route("*", "/", "web").serve();
    let client = connect(&proxy).await;
    for _ in 0..40 {
        let request =
            Request::post("http://a/plain").header("te", "trailers").header("content-type", "application/grpc");
        let seen = ask(client.clone(), request.body(()).unwrap(), Some("all of it")).await;
        let (status, fields) = seen.head.unwrap();
        assert_eq!((status, seen.end.is_ok()), (200, true));
        if let Some(got) = fields.get("x-got") {
            assert!(got[0].contains(&format!("{:?}", b"all of it".to_vec())), "{got:?}");
        }
    }
    assert!(proxy.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}") > 0.0);
}

#[tokio::test]
async fn a_client_that_goes_takes_its_call_along() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut kept = Vec::new();
        while let Some(Ok((request, mut answer))) = connection.accept().await {
            match request.uri().path() {
                "/held" => kept.push((request, answer)),
                _ => drop(answer.send_response(Response::new(()), true)),
            }
        }
    });
    let proxy = cluster(false, Protocol::H2c, address);
    let client = connect(&proxy).await;
    ask(client.clone(), get("/"), None).await;
    let mut client = soon(client.ready()).await.unwrap();
    let (answer, _) = client.send_request(get("/held"), true).unwrap();
    until("it is under way", || proxy.in_flight() == 1).await;
    drop(answer);
    until("it is over", || proxy.in_flight() == 0).await;
    assert_eq!(ask(client, get("/"), None).await.head.unwrap().0, 200);
}
