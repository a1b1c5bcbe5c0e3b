//! WebSockets that the proxy has to end: both peers are told by a Close frame with 1001 (RFC 6455 section 7.4.1).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod frames;
mod proxy_common;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use frames::{Client, DATA, END_HEADERS, END_STREAM, HEADERS, block};
use pointsman::model::endpoint::EndpointState;
use pointsman::model::service::Protocol;
use proxy_common::*;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// To a client: 1001.
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];
/// A client's "hello", with a key of zeros, and the same as a task says it.
const MASKED: &[u8] = b"\x81\x85\0\0\0\0hello";
const HELLO: &[u8] = b"\x81\x05hello";
const LONG: Duration = Duration::from_secs(3600);

/// A task that says `HELLO`, as much of it as its path asks for, and tells what it is sent until the end.
async fn task() -> (Backend, mpsc::Receiver<Vec<u8>>) {
    let (told, heard) = mpsc::channel(10);
    let backend = Backend::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            let Some(head) = read_head(&mut stream).await else { return };
            let key = header(&head, "sec-websocket-key").unwrap();
            let sum = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
            let accept = BASE64_STANDARD.encode(sum);
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut octets = Vec::new();
            if head.starts_with("GET /begun ") {
                // Says something once a frame has begun to come.
                octets.resize(7, 0);
                stream.read_exact(&mut octets).await.unwrap();
            }
            let length = if head.starts_with("GET /half ") { 4 } else { HELLO.len() };
            stream.write_all(&HELLO[..length]).await.unwrap();
            let _ = stream.read_to_end(&mut octets).await;
            let _ = told.send(octets).await;
        }
    });
    (backend.await, heard)
}

fn cluster(backend: &Backend, drain_time: Duration, state: EndpointState) -> Cluster {
    Cluster::with(|config| config.routing.drain_time = drain_time)
        .service_in("web", Protocol::Http, &[(backend.address, state)])
        .route("*", "/", "web")
}

async fn expect(client: &mut TcpStream, octets: &[u8]) {
    let mut found = vec![0; octets.len()];
    soon(client.read_exact(&mut found)).await.unwrap();
    assert_eq!(found, octets);
}

async fn open(proxy: &Proxy, path: &str) -> TcpStream {
    let mut client = proxy.connect().await;
    client.write_all(HANDSHAKE.replace("/chat", path).as_bytes()).await.unwrap();
    assert_eq!(status(&soon(read_head(&mut client)).await.unwrap()), 101);
    client
}

/// What a task was sent ends in a Close frame of the proxy's: masked, with 1001.
fn assert_told(heard: &[u8], before: &[u8]) {
    let close = heard.strip_prefix(before).unwrap_or_else(|| panic!("{heard:x?}"));
    let [0x88, 0x82, a, b, _, _, high, low] = close else { panic!("{close:x?}") };
    assert_eq!(u16::from_be_bytes([high ^ a, low ^ b]), 1001);
}

#[tokio::test]
async fn peers_are_told_when_the_endpoints_drain_time_is_over() {
    let (backend, mut heard) = task().await;
    let proxy = cluster(&backend, LONG, EndpointState::Ready).serve();
    let mut client = open(&proxy, "/chat").await;
    client.write_all(MASKED).await.unwrap();
    expect(&mut client, HELLO).await;
    proxy.publish(cluster(&backend, LONG, EndpointState::Draining));
    // Within the time nothing is said.
    client.write_all(MASKED).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), client.read_u8()).await.is_err());
    proxy.publish(cluster(&backend, Duration::ZERO, EndpointState::Draining));
    expect(&mut client, &GOING_AWAY).await;
    // RFC 6455 section 5.5.1: the answer, and then the server closes.
    client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 9])).await.unwrap(), 0);
    assert_told(&soon(heard.recv()).await.unwrap(), &[MASKED, MASKED].concat());
    until("it is over", || proxy.in_flight() == 0).await;
    until("it is counted", || proxy.metric("pointsman_proxy_drained_total{kind=\"upgrade\"}") == 1.0).await;
}

#[tokio::test]
async fn peers_are_told_when_the_program_ends() {
    let (backend, mut heard) = task().await;
    let mut proxy = cluster(&backend, LONG, EndpointState::Ready).serve();
    let mut client = open(&proxy, "/chat").await;
    expect(&mut client, HELLO).await;
    proxy.stop(Duration::from_millis(50)).await;
    expect(&mut client, &GOING_AWAY).await;
    assert_eq!(soon(client.read(&mut [0; 9])).await.unwrap(), 0, "an end, and no reset");
    assert_told(&soon(heard.recv()).await.unwrap(), &[]);
}

#[tokio::test]
async fn in_the_midst_of_a_frame_it_is_a_reset() {
    let (backend, mut heard) = task().await;
    let proxy = cluster(&backend, LONG, EndpointState::Ready).serve();
    let mut client = open(&proxy, "/half").await;
    expect(&mut client, &HELLO[..4]).await;
    proxy.publish(cluster(&backend, Duration::ZERO, EndpointState::Draining));
    let error = soon(client.read(&mut [0; 9])).await.expect_err("half a frame and an end would be a lie");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // Towards the task there was a place for it.
    assert_told(&soon(heard.recv()).await.unwrap(), &[]);
}

#[tokio::test]
async fn a_frame_from_the_client_that_has_begun_is_waited_for() {
    let (backend, mut heard) = task().await;
    let proxy = cluster(&backend, LONG, EndpointState::Ready).serve();
    let mut client = open(&proxy, "/begun").await;
    client.write_all(&MASKED[..7]).await.unwrap();
    expect(&mut client, HELLO).await;
    proxy.publish(cluster(&backend, Duration::ZERO, EndpointState::Draining));
    expect(&mut client, &GOING_AWAY).await;
    // The rest, and one more that goes nowhere.
    client.write_all(&[&MASKED[7..], MASKED].concat()).await.unwrap();
    assert_told(&soon(heard.recv()).await.unwrap(), MASKED);
}

#[tokio::test]
async fn over_http2_it_is_the_same_rfc8441() {
    for stops in [false, true] {
        let (backend, mut heard) = task().await;
        let mut proxy = cluster(&backend, LONG, EndpointState::Ready).serve();
        let mut client = Client::start(proxy.connect().await, &[]).await;
        let asks = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            // So that the task's word says that the client's has come.
            (":path", "/begun"),
            ("sec-websocket-version", "13"),
        ];
        client.send(HEADERS, END_HEADERS, 1, &block(&asks)).await.unwrap();
        assert_eq!(client.outcome(1).await, Some(200));
        client.send(DATA, 0, 1, MASKED).await.unwrap();
        let mut said = Vec::new();
        while said.len() < HELLO.len() {
            said.extend(client.next_of(&[DATA]).await.unwrap().payload);
        }
        assert_eq!(said, HELLO);
        if stops {
            proxy.stop(Duration::from_millis(50)).await;
        } else {
            proxy.publish(cluster(&backend, Duration::ZERO, EndpointState::Draining));
        }
        let close = client.next_of(&[DATA]).await.expect("a Close frame");
        assert_eq!(close.payload, GOING_AWAY, "{stops}");
        if !stops {
            // The stream ends, and the connection does not.
            let end = client.next_of(&[DATA]).await.expect("the end of the stream");
            assert!(end.payload.is_empty() && end.flags & END_STREAM != 0);
        }
        assert_told(&soon(heard.recv()).await.unwrap(), MASKED);
    }
}

#[tokio::test]
async fn whatever_is_no_websocket_is_told_nothing() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(accept.as_bytes()).await.unwrap();
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets).await;
        assert!(octets.is_empty(), "{octets:x?}");
    });
    let backend = backend.await;
    let proxy = cluster(&backend, LONG, EndpointState::Ready).serve();
    let mut client = proxy.connect().await;
    let asks = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(asks).await.unwrap();
    assert_eq!(status(&soon(read_head(&mut client)).await.unwrap()), 101);
    proxy.publish(cluster(&backend, Duration::ZERO, EndpointState::Draining));
    assert_eq!(read_all(&mut client).await, "");
}
