//! What clients of HTTP/2 send and nobody takes: it is counted, bounded, and in nobody else's way.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod frames;
mod proxy_common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use frames::*;
use h2::server::SendResponse;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::Config;
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

const HELD: &str = "pointsman_proxy_buffered_bytes ";
const PIECE: usize = 16_000;
/// A stream's window, nearly: so much may be sent without a word from the other side.
const PIECES: usize = 16;

fn post(path: &str) -> Vec<(&str, &str)> {
    let host = if path == "/read" { "good" } else { "busy" };
    vec![(":method", "POST"), (":scheme", "http"), (":authority", host), (":path", path)]
}

/// A task that has one request under way until it is told; by `/read` one that reads bodies and tells their length.
async fn busy(mut release: watch::Receiver<bool>) -> Backend {
    release.mark_unchanged();
    Backend::start(move |mut stream, _| {
        let mut release = release.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.starts_with("GET /hold ") {
                    let _ = release.wait_for(|released| *released).await;
                }
                let length = match header(&head, "content-length") {
                    Some(length) => {
                        let mut body = vec![0; length.parse().unwrap()];
                        stream.read_exact(&mut body).await.map_or(0, |length| length)
                    }
                    None if header(&head, "transfer-encoding").is_some() => read_chunks(&mut stream).await,
                    None => 0,
                };
                let _ = stream.write_all(ok(&length.to_string()).as_bytes()).await;
            }
        }
    })
    .await
}

/// The length of a body in chunks.
async fn read_chunks(stream: &mut tokio::net::TcpStream) -> usize {
    let mut whole = 0;
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.unwrap());
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        stream.read_exact(&mut vec![0; size + 2]).await.unwrap();
        whole += size;
        if size == 0 {
            return whole;
        }
    }
}

/// Two services: one whose task is busy, so that requests wait in line and nobody takes their bodies, and one that is not.
async fn proxy(most: usize, release: watch::Receiver<bool>) -> (Vec<Backend>, Proxy) {
    let (busy_one, good) = (busy(release.clone()).await, busy(release).await);
    let config = |config: &mut Config| {
        config.proxy.limits.buffer_bytes = most;
        // What is kept for another attempt is counted as well, and not what is looked at here.
        config.proxy.retry_body_bytes = 0;
        let balance = &mut config.proxy.balance;
        (balance.max_requests, balance.max_queue) = (1, 1000);
        balance.queue_time = Duration::from_secs(3600);
    };
    let cluster = Cluster::with(config)
        .service("busy", Protocol::Http, &[busy_one.address])
        .service("web", Protocol::Http, &[good.address])
        .route("busy", "/", "busy")
        .route("good", "/", "web");
    (vec![busy_one, good], cluster.serve())
}

/// A request that keeps the busy task busy.
async fn hold(proxy: &Proxy) -> tokio::net::TcpStream {
    let mut holder = proxy.connect().await;
    holder.write_all(b"GET /hold HTTP/1.1\r\nHost: busy\r\n\r\n").await.unwrap();
    until("the task is busy", || {
        let table = proxy.tables.load();
        let service = table.service(&service_id("busy")).unwrap().clone();
        service.endpoints.iter().any(|endpoint| endpoint.run.in_flight() == 1)
    })
    .await;
    holder
}

/// A client that knows how much its connection may carry: more than RFC 9113 section 6.9.2 has it begin with.
async fn started(stream: tokio::net::TcpStream) -> Client {
    let mut client = Client::start(stream, &[]).await;
    let update = soon(client.next_of(&[WINDOW_UPDATE])).await.expect("a larger window");
    assert_eq!(update.stream, 0);
    // Larger windows of streams count once they are acknowledged (section 6.5.3).
    client.send(SETTINGS, ACK, 0, &[]).await.unwrap();
    client
}

#[tokio::test]
async fn what_waits_is_counted_until_it_is_taken_or_thrown_away() {
    let (release, released) = watch::channel(false);
    let (_backends, proxy) = proxy(1 << 30, released).await;
    let _holder = hold(&proxy).await;
    let mut client = started(proxy.connect().await).await;
    for stream in [1, 3] {
        client.send(HEADERS, END_HEADERS, stream, &block(&post("/wait"))).await.unwrap();
        for _ in 0..3 {
            client.send(DATA, 0, stream, &[7; PIECE]).await.unwrap();
        }
    }
    until("all of it is counted", || proxy.metric(HELD) == (6 * PIECE) as f64).await;
    // Padding is no content, and the beginning of a frame is.
    client.send(DATA, PADDED, 1, &[100; 101]).await.unwrap();
    client.write(&frame(DATA, 0, 1, &[7; PIECE])[..9 + 500]).await.unwrap();
    until("the beginning is counted", || proxy.metric(HELD) == (6 * PIECE + 500) as f64).await;
    client.write(&[7; PIECE - 500]).await.unwrap();
    until("it is whole", || proxy.metric(HELD) == (7 * PIECE) as f64).await;
    // One is given up, the other one is taken.
    client.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes()).await.unwrap();
    until("what was given up waits no longer", || proxy.metric(HELD) <= (4 * PIECE) as f64).await;
    client.send(DATA, END_STREAM, 1, b"end").await.unwrap();
    release.send_replace(true);
    assert_eq!(client.outcome(1).await, Some(200));
    until("nothing waits", || proxy.metric(HELD) == 0.0).await;
    assert_eq!(proxy.metric("pointsman_proxy_uploads_paused_total"), 0.0);
}

/// A connection that fills all of its window, for requests that wait.
async fn fill(stream: tokio::net::TcpStream) -> Client {
    // An orderly end stands behind what the proxy does not read; this one breaks the connection.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    let mut client = started(stream).await;
    for stream in [1, 3, 5, 7] {
        client.send(HEADERS, END_HEADERS, stream, &block(&post("/wait"))).await.unwrap();
    }
    for _ in 0..PIECES {
        for stream in [1, 3, 5, 7] {
            // The socket takes no more where the proxy does not read.
            if tokio::time::timeout(Duration::from_secs(1), client.send(DATA, 0, stream, &[7; PIECE])).await.is_err() {
                return client;
            }
        }
    }
    client
}

#[tokio::test]
async fn many_uploads_that_nobody_takes_stay_below_the_bound_and_in_nobodys_way() {
    const MOST: usize = 4 << 20;
    let (release, released) = watch::channel(false);
    let (_backends, proxy) = proxy(MOST, released).await;
    let holder = hold(&proxy).await;
    // Three times as much as may wait.
    let mut filling = JoinSet::new();
    for _ in 0..12 {
        filling.spawn(fill(proxy.connect().await));
    }
    let stream = TokioIo::new(proxy.connect().await);
    let (mut other, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)).await.unwrap();
    tokio::spawn(connection);
    let mut clients = Vec::new();
    let mut largest = 0.0_f64;
    let paused = || proxy.metric("pointsman_proxy_uploads_paused_total");
    let mut rounds = 0;
    while clients.len() < 12 || paused() == 0.0 || rounds < 20 {
        largest = largest.max(proxy.metric(HELD));
        assert!(largest < MOST as f64, "{largest} octets wait");
        if let Ok(Some(client)) = tokio::time::timeout(Duration::from_millis(1), filling.join_next()).await {
            clients.push(client.unwrap());
        }
        // Others are served all the time: without a body, and with one that is larger than what one read takes.
        let sent = Bytes::from(vec![b'x'; 100_000]);
        let request = Request::post("http://good/read").body(Full::new(sent)).unwrap();
        let answer = soon(other.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(soon(answer.into_body().collect()).await.unwrap().to_bytes(), "100000");
        assert_eq!(status(&proxy.get("good", "/").await), 200);
        rounds += 1;
    }
    largest = largest.max(proxy.metric(HELD));
    assert!(largest >= MOST as f64 / 2.0, "it was not put to the test: {largest}");
    assert_eq!(proxy.metric("pointsman_proxy_local_answers_total{reason=\"overloaded\"}"), 0.0);
    // Clients that go are noticed although nobody reads what they have sent, and nothing is left of it.
    drop(clients);
    until("nothing waits", || proxy.metric(HELD) == 0.0).await;
    release.send_replace(true);
    let request = Request::post("http://busy/wait").body(Full::new(Bytes::from_static(b"hello"))).unwrap();
    let answer = soon(other.send_request(request)).await.unwrap();
    assert_eq!(soon(answer.into_body().collect()).await.unwrap().to_bytes(), "5");
    drop(holder);
}

/// A tunnel's octets have no body to be counted by.
#[tokio::test]
async fn what_a_tunnel_brings_is_counted_too() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let _ = stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = Client::start(proxy.connect().await, &[]).await;
    let asks = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
        ("sec-websocket-version", "13"),
    ];
    client.send(HEADERS, END_HEADERS, 1, &block(&asks)).await.unwrap();
    client.send(DATA, 0, 1, &[7; PIECE]).await.unwrap();
    until("it is counted before there is an answer", || proxy.metric(HELD) == PIECE as f64).await;
    assert_eq!(client.outcome(1).await, Some(403));
    until("nothing waits", || proxy.metric(HELD) == 0.0).await;
}

/// The longest silence in the tests below.
const IDLE: Duration = Duration::from_secs(1);
/// How often an endpoint says something in them.
const SAYS: Duration = Duration::from_millis(20);

/// An endpoint of HTTP/2 that begins its answer at once and goes on with it while it is heard; `takes`: whether it takes what it
/// is sent.
async fn answering_by_streams(takes: bool) -> SocketAddr {
    serving_streams(move |request, answer| go_on(request.into_body(), answer, takes)).await
}

async fn go_on(mut body: h2::RecvStream, mut answer: SendResponse<Bytes>, mut takes: bool) -> Result<(), h2::Error> {
    let mut stream = answer.send_response(Response::new(()), false)?;
    loop {
        tokio::select! {
            piece = body.data(), if takes => match piece {
                Some(piece) => body.flow_control().release_capacity(piece?.len())?,
                None => takes = false,
            },
            () = tokio::time::sleep(SAYS) => stream.send_data(Bytes::from_static(b"x"), false)?,
        }
    }
}

/// The same over HTTP/1.1.
async fn answering() -> Backend {
    Backend::start(|mut stream, _| async move {
        if read_head(&mut stream).await.is_none() {
            return;
        }
        let mut said = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while said.is_ok() {
            tokio::time::sleep(SAYS).await;
            said = stream.write_all(b"1\r\nx\r\n").await;
        }
    })
    .await
}

fn watched(protocol: Protocol, addresses: &[SocketAddr]) -> Proxy {
    let cluster = Cluster::with(|config| config.proxy.limits.idle = IDLE);
    cluster.service("web", protocol, addresses).route("*", "/", "web").serve()
}

/// Failures that count against the endpoints.
fn failures(proxy: &Proxy) -> u64 {
    let table = proxy.tables.load();
    let service = table.service(&service_id("web")).unwrap().clone();
    service.endpoints.iter().map(|endpoint| endpoint.run.failures()).sum()
}

/// A client that stops in the midst of its upload has its exchange given up, although its endpoint answers: no fault of the
/// endpoint, which would be spared for seven such clients.
#[tokio::test]
async fn a_client_that_stops_sending_is_no_fault_of_its_endpoint() {
    const STREAMS: u32 = 10;
    let lines = [answering().await, answering().await];
    let streams = [answering_by_streams(true).await, answering_by_streams(true).await];
    for (protocol, addresses) in [(Protocol::H2c, streams), (Protocol::Http, [lines[0].address, lines[1].address])] {
        let proxy = watched(protocol, &addresses);
        let mut client = started(proxy.connect().await).await;
        let ids = (0..STREAMS).map(|number| 2 * number + 1);
        for stream in ids.clone() {
            client.send(HEADERS, END_HEADERS, stream, &block(&post("/"))).await.unwrap();
            client.send(DATA, 0, stream, b"the beginning").await.unwrap();
        }
        let (mut answered, mut reset) = (0, 0);
        while reset < STREAMS {
            let frame = soon(client.next_of(&[HEADERS, RST_STREAM])).await.unwrap();
            match frame.kind {
                HEADERS => {
                    assert_eq!(frame.status(), 200, "{protocol:?}");
                    answered += 1;
                }
                _ => reset += 1,
            }
        }
        assert_eq!(answered, STREAMS, "{protocol:?}");
        until("all are over", || proxy.in_flight() == 0).await;
        assert_eq!(failures(&proxy), 0, "{protocol:?}");
        assert_eq!(proxy.metric("pointsman_proxy_ejections_total"), 0.0, "{protocol:?}");
        assert_eq!(proxy.metric("pointsman_proxy_cut_answers_total"), 0.0, "{protocol:?}");
        assert_eq!(proxy.metric("pointsman_proxy_client_gone_total"), f64::from(STREAMS), "{protocol:?}");
    }
}

/// An endpoint that answers and takes nothing of what its client sends does not hold the upload for as long as it likes.
#[tokio::test]
async fn an_endpoint_that_takes_nothing_of_an_upload_is_given_up() {
    let proxy = watched(Protocol::H2c, &[answering_by_streams(false).await]);
    let mut client = started(proxy.connect().await).await;
    client.send(HEADERS, END_HEADERS, 1, &block(&post("/"))).await.unwrap();
    for _ in 0..PIECES {
        client.send(DATA, 0, 1, &[7; PIECE]).await.unwrap();
    }
    assert_eq!(client.outcome(1).await, Some(200));
    let begun = tokio::time::Instant::now();
    assert_eq!(client.outcome(1).await, None);
    assert!(begun.elapsed() < 10 * IDLE, "{:?}", begun.elapsed());
    until("it is over", || proxy.in_flight() == 0).await;
    assert_eq!(failures(&proxy), 1);
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"write\"}"), 1.0);
    assert_eq!(proxy.metric("pointsman_proxy_cut_answers_total"), 1.0);
    until("nothing waits", || proxy.metric(HELD) == 0.0).await;
}

/// One that takes a little now and then goes on.
#[tokio::test]
async fn an_endpoint_that_takes_an_upload_slowly_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut answer) = connection.accept().await.unwrap().unwrap();
        let slow = async {
            let mut body = request.into_body();
            let mut stream = answer.send_response(Response::new(()), false).unwrap();
            let mut whole = 0;
            while let Some(piece) = body.data().await {
                let length = piece.unwrap().len();
                whole += length;
                tokio::time::sleep(IDLE / 10).await;
                body.flow_control().release_capacity(length).unwrap();
                stream.send_data(Bytes::from_static(b"."), false).unwrap();
            }
            stream.send_data(whole.to_string().into(), true).unwrap();
        };
        tokio::join!(slow, async { while connection.accept().await.is_some() {} });
    });
    let proxy = watched(Protocol::H2c, &[address]);
    let (mut client, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(proxy.connect().await)))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/").body(Full::new(Bytes::from(vec![7; 400_000]))).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    let told = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    assert!(told.ends_with(b".400000"), "{told:?}");
    assert_eq!(failures(&proxy), 0);
}
