//! HTTP/2 on either side, and TLS.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::model::service::Protocol;
use pointsman::proxy::drain::Drain;
use pointsman::proxy::tls::faults::FileFaults;
use pointsman::proxy::tls::store::Certificates;
use pointsman::proxy::tls::{TlsListener, TlsOptions, provider};
use proxy_common::*;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

type Client = SendRequest<Full<Bytes>>;

async fn http2_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = soon(handshake).await.unwrap();
    tokio::spawn(connection);
    client
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(uri).body(Full::default()).unwrap()
}

async fn text(answer: Response<Incoming>) -> String {
    String::from_utf8(soon(answer.into_body().collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A backend that speaks HTTP/2 with prior knowledge: echoes the body, adds a trailer, tells what it saw.
async fn http2_backend() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(echo);
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            connections.spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn echo(request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let seen = format!("{} {}", request.method(), request.uri());
    let te = request.headers().get("te").cloned();
    let length = request.headers().contains_key("host");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    let mut answer = Response::new(Frames([Frame::data(body), Frame::trailers(trailers)].into()));
    answer.headers_mut().insert("x-seen", seen.parse().unwrap());
    answer.headers_mut().insert("x-host-field", length.to_string().parse().unwrap());
    if let Some(te) = te {
        answer.headers_mut().insert("x-te", te);
    }
    Ok(answer)
}

/// Frames that are ready.
struct Frames(std::collections::VecDeque<Frame<Bytes>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

#[tokio::test]
async fn http2_clients_reach_http1_endpoints() {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    let request = Request::builder()
        .uri("http://a.example:8080/x/../y?q")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Full::default())
        .unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(answer.headers()["via"], "1.1 pointsman");
    let seen = text(answer).await;
    assert!(seen.starts_with("GET /y?q HTTP/1.1\r\n"), "{seen}");
    assert_eq!(header(&seen, "host"), Some("a.example:8080"), "{seen}");
    assert_eq!(header(&seen, "cookie"), Some("a=1; b=2"), "RFC 9113 section 8.2.3: {seen}");
    assert_eq!(header(&seen, "via"), Some("2 pointsman"), "{seen}");
    assert_eq!(header(&seen, "x-forwarded-port"), Some("8080"), "{seen}");
    // Many at once: streams share the client's connection, not the endpoint's.
    let mut requests = JoinSet::new();
    for number in 0..50 {
        let sent = client.send_request(get(&format!("http://a.example/{number}")));
        requests.spawn(async move { (number, text(sent.await.unwrap()).await) });
    }
    while let Some(done) = soon(requests.join_next()).await {
        let (number, seen) = done.unwrap();
        assert!(seen.starts_with(&format!("GET /{number} ")), "{seen}");
    }
}

#[tokio::test]
async fn http2_hosts_are_checked_rfc9113_8_3_1() {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    for (uri, host, reason) in [
        ("http://a.example/", Some("b.example"), "host-mismatch"),
        ("http://a.example/%00", None, "bad-path"),
        ("http://u@a.example/", None, "bad-host"),
    ] {
        let mut request = get(uri);
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let answer = soon(client.send_request(request)).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["x-pointsman-reason"]),
            (StatusCode::BAD_REQUEST, &reason.parse().unwrap())
        );
    }
    let mut crumbs = get("http://a.example/");
    for number in 0..150 {
        crumbs.headers_mut().append("cookie", format!("c{number}=1").parse().unwrap());
    }
    let answer = soon(client.send_request(crumbs)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn http2_endpoints_are_reached_with_trailers() {
    let backend = http2_backend().await;
    let proxy = Cluster::everything(Protocol::H2c, &[backend]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    let request = Request::builder()
        .method("POST")
        .uri("http://a.example/grpc.Service/Call")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Full::from("message"))
        .unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!(answer.headers()["x-seen"], "POST http://a.example/grpc.Service/Call");
    assert_eq!(
        (&answer.headers()["x-te"], &answer.headers()["x-host-field"]),
        (&"trailers".parse().unwrap(), &"false".parse().unwrap())
    );
    let collected = soon(answer.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().cloned().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert!(!trailers.contains_key("x-forwarded-for"), "RFC 9110 section 6.5.1");
    assert_eq!(collected.to_bytes(), "message");
}

#[tokio::test]
async fn http1_clients_reach_http2_endpoints_over_one_connection() {
    let backend = http2_backend().await;
    let proxy = Cluster::everything(Protocol::H2c, &[backend]).serve();
    for _ in 0..5 {
        let request = "PUT /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let answer = proxy.raw(request).await;
        assert_eq!(header(&answer, "x-seen"), Some("PUT http://a.example/x"), "{answer}");
        assert!(answer.contains("5\r\nhello\r\n0\r\n"), "{answer}");
    }
    assert_eq!(proxy.metric("pointsman_proxy_upstream_connections_opened_total"), 1.0);
}

/// A backend of HTTP/2 that takes so many streams on a connection, says so late, and answers one request for each permit. After
/// so many connections it refuses others.
struct Sparing {
    address: std::net::SocketAddr,
    permits: Arc<Semaphore>,
    /// Requests that came so far.
    came: Arc<AtomicUsize>,
}

async fn sparing(streams: u32, late: Duration, most: usize) -> Sparing {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (permits, came) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let shared = (permits.clone(), came.clone());
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while connections.len() < most
            && let Ok((stream, _)) = listener.accept().await
        {
            let shared = shared.clone();
            let service = hyper::service::service_fn(move |_: Request<Incoming>| {
                let (permits, came) = shared.clone();
                async move {
                    came.fetch_add(1, Ordering::SeqCst);
                    permits.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            connections.spawn(async move {
                tokio::time::sleep(late).await;
                let mut serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                serve.max_concurrent_streams(streams);
                serve.serve_connection(TokioIo::new(stream), service).await
            });
        }
        drop(listener);
        connections.join_all().await;
    });
    Sparing { address, permits, came }
}

/// RFC 9113 section 5.1.2: the endpoint limits its streams; what is too much goes on further connections, and does not wait
/// for those before it. Nor does it where the endpoint says so only after the first requests are there.
#[tokio::test]
async fn an_endpoint_that_takes_few_streams_gets_more_connections() {
    for late in [Duration::ZERO, Duration::from_millis(40)] {
        let backend = sparing(3, late, usize::MAX).await;
        let proxy = Cluster::everything(Protocol::H2c, &[backend.address]).serve();
        let mut client = http2_over(proxy.connect().await).await;
        // The second time on what is open already.
        for round in 1..=2 {
            let mut requests = JoinSet::new();
            for _ in 0..8 {
                requests.spawn(client.send_request(get("http://a/")));
            }
            until("all are at the endpoint", || backend.came.load(Ordering::SeqCst) == 8 * round).await;
            assert_eq!(proxy.metric("pointsman_proxy_upstream_connections_opened_total"), 3.0, "{late:?}");
            backend.permits.add_permits(8);
            while let Some(answer) = soon(requests.join_next()).await {
                assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
            }
            until("all are over", || proxy.in_flight() == 0).await;
        }
        assert_eq!(proxy.metric("pointsman_proxy_retries_total{kind=\"fresh_connection\"}"), 0.0);
    }
}

/// Where no further connection can be opened, what is too much waits for those before it.
#[tokio::test]
async fn an_endpoint_that_takes_no_further_connection_serves_on_those_it_has() {
    let backend = sparing(3, Duration::ZERO, 1).await;
    let proxy = Cluster::everything(Protocol::H2c, &[backend.address]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    let mut requests = JoinSet::new();
    for _ in 0..8 {
        requests.spawn(client.send_request(get("http://a/")));
    }
    until("as many as it takes are there", || backend.came.load(Ordering::SeqCst) == 3).await;
    backend.permits.add_permits(8);
    while let Some(answer) = soon(requests.join_next()).await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(backend.came.load(Ordering::SeqCst), 8, "none was sent twice");
}

#[tokio::test]
async fn a_large_body_passes_http2_both_ways() {
    let backend = http2_backend().await;
    let proxy = Cluster::everything(Protocol::H2c, &[backend]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    let data: Bytes = (0..4_000_000).map(|at| (at % 249) as u8).collect();
    let request = Request::post("http://a/").body(Full::from(data.clone())).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    assert!(soon(answer.into_body().collect()).await.unwrap().to_bytes() == data);
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_rfc9113_8_7() {
    // Refuses the first stream of its first connection, then serves like the other backends.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut refused = false;
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let refuse = !std::mem::replace(&mut refused, true);
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut first = refuse;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    match std::mem::take(&mut first) {
                        true => respond.send_reset(h2::Reason::REFUSED_STREAM),
                        false => drop(respond.send_response(Response::new(()), true)),
                    }
                }
            });
        }
    });
    let proxy = Cluster::everything(Protocol::H2c, &[address]).serve();
    let answer = proxy.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(proxy.metric("pointsman_proxy_retries_total{kind=\"fresh_connection\"}"), 1.0);
}

/// A backend of HTTP/2 that resets its streams for this reason, or answers them; how many came.
async fn resetting(reason: Option<h2::Reason>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let count = count.clone();
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    match reason {
                        Some(reason) => respond.send_reset(reason),
                        None => drop(respond.send_response(Response::new(()), true)),
                    }
                }
            });
        }
    });
    (address, asked)
}

/// A stream that is reset on a kept connection is no kept connection that has died: the endpoint is spared.
#[tokio::test]
async fn an_endpoint_that_resets_streams_is_spared_rfc9113_5_4_2() {
    let (bad, asked) = resetting(Some(h2::Reason::INTERNAL_ERROR)).await;
    let (good, answered) = resetting(None).await;
    let proxy = Cluster::everything(Protocol::H2c, &[bad, good]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    for _ in 0..400 {
        let answer = soon(client.send_request(get("http://a/"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(answered.load(Ordering::Relaxed), 400);
    let asked = asked.load(Ordering::Relaxed);
    assert!((1..=20).contains(&asked), "the one that fails was asked {asked} times");
    assert_eq!(proxy.metric("pointsman_proxy_retries_total{kind=\"fresh_connection\"}"), 0.0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_the_stream_alone() {
    let backend = Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        let length = if head.starts_with("GET /cut") { 100 } else { 5 };
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        stream.write_all(text.as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    let cut = soon(client.send_request(get("http://a/cut"))).await.unwrap();
    assert_eq!(cut.status(), StatusCode::OK);
    assert!(soon(cut.into_body().collect()).await.is_err());
    let whole = soon(client.send_request(get("http://a/"))).await.unwrap();
    assert_eq!(text(whole).await, "hello");
}

#[tokio::test]
async fn a_drain_lets_streams_finish() {
    let (release, held) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut stream, _| {
        let mut held = held.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            held.wait_for(|released| *released).await.unwrap();
            stream.write_all(ok("late").as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let mut proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = http2_over(proxy.connect().await).await;
    let answer = tokio::spawn(client.send_request(get("http://a/")));
    until("it is in flight", || proxy.in_flight() == 1).await;
    proxy.drain.send_replace(Drain::Until(tokio::time::Instant::now() + Duration::from_secs(15)));
    // GOAWAY: no stream after this one.
    let refused = async {
        while client.ready().await.is_ok() && !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(50), refused).await;
    release.send_replace(true);
    assert_eq!(text(soon(answer).await.unwrap().unwrap()).await, "late");
    proxy.stop(Duration::from_secs(10)).await;
}

fn write_pair(folder: &Path, file: &str, names: &[&str]) -> rustls_pki_types::CertificateDer<'static> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let pair = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join(format!("{file}.crt")), pair.cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{file}.key")), pair.signing_key.serialize_pem()).unwrap();
    pair.cert.der().clone()
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// Connects with a server name, trusting only `trusted`: fails unless that certificate is served.
async fn tls(
    proxy: &Proxy,
    name: &str,
    trusted: &rustls_pki_types::CertificateDer<'static>,
    alpn: &[u8],
) -> std::io::Result<Tls> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    soon(connector.connect(ServerName::try_from(name.to_owned()).unwrap(), proxy.connect().await)).await
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let one = write_pair(folder.path(), "one", &["one.example", "also.example"]);
    let two = write_pair(folder.path(), "two", &["*.two.example"]);
    let (certificates, bad) = Certificates::load(folder.path()).unwrap();
    assert!(bad.is_empty());
    let backend = Backend::echoing_heads().await;
    let cluster = Cluster::everything(Protocol::Http, &[backend.address]);
    let proxy = Proxy::start(cluster.0, Some(TlsListener::new(certificates.clone(), &TlsOptions::default()).unwrap()));

    // HTTP/1.1.
    let mut stream = tls(&proxy, "one.example", &one, b"http/1.1").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n").await.unwrap();
    let mut bytes = vec![0; 4096];
    let length = soon(stream.read(&mut bytes)).await.unwrap();
    let answer = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(answer.to_lowercase().contains("x-forwarded-proto: https"), "{answer}");

    // HTTP/2, several names of one certificate on a connection, and one of another.
    let stream = tls(&proxy, "one.example", &one, b"h2").await.unwrap();
    let mut client = http2_over(stream).await;
    for (host, expected) in [("one.example", 200), ("also.example", 200), ("a.two.example", 421)] {
        let answer = soon(client.send_request(get(&format!("https://{host}/")))).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "RFC 9110 section 15.5.20: {host}");
    }

    // By wildcard; an unknown name gets the first pair, which it can only refuse.
    assert!(tls(&proxy, "a.two.example", &two, b"h2").await.is_ok());
    assert!(tls(&proxy, "a.b.two.example", &two, b"h2").await.is_err());

    // Reloaded without dropping a connection.
    let (changed, signal) = tokio::sync::watch::channel(0);
    let following = tokio::spawn(certificates.clone().follow(signal, Arc::new(FileFaults::default().reader())));
    let renewed = write_pair(folder.path(), "one", &["one.example"]);
    changed.send_replace(1);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tls(&proxy, "one.example", &renewed, b"h2").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate is not served");
    }
    let answer = soon(client.send_request(get("https://one.example/"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    drop(changed);
    soon(following).await.unwrap();
    assert!(proxy.metric("pointsman_proxy_tls_failures_total") >= 1.0);
}
