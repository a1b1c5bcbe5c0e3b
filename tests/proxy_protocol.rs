//! The PROXY protocol, from balancers and to endpoints.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "common/haproxy.rs"]
mod haproxy;
mod proxy_common;

use std::net::SocketAddr;
use std::time::Duration;

use haproxy::Haproxy;
use pointsman::model::endpoint::ProxyProtocol;
use pointsman::model::service::Protocol;
use pointsman::proxy::listen::Entrance;
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Version 2 of `192.0.2.7:51234 → 203.0.113.1:8443`.
fn binary() -> Vec<u8> {
    [SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 203, 0, 113, 1, 0xc8, 0x22, 0x20, 0xfb]].concat()
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 203.0.113.1 51234 8443\r\n";

async fn send(proxy: &Proxy, pieces: &[&[u8]]) -> String {
    let mut stream = proxy.connect().await;
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    read_all(&mut stream).await
}

#[tokio::test]
async fn the_client_is_who_the_header_names() {
    let backend = Backend::echoing_heads().await;
    let cluster = Cluster::everything(Protocol::Http, &[backend.address]);
    let proxy = cluster.serve_announced(&["127.0.0.0/8"]);
    let binary = binary();
    for header_octets in [LINE, &binary] {
        let whole = [header_octets, GET].concat();
        let crumbs: Vec<&[u8]> = whole.chunks(1).collect();
        for pieces in [vec![&whole[..]], crumbs] {
            let answer = send(&proxy, &pieces).await;
            let seen = body(&answer);
            assert_eq!(header(seen, "x-forwarded-for"), Some("192.0.2.7"), "{answer}");
            assert_eq!(header(seen, "x-real-ip"), Some("192.0.2.7"), "{answer}");
            assert_eq!(header(seen, "x-forwarded-port"), Some("8443"), "{answer}");
        }
    }
    // The sender's own connections, its health checks for instance.
    for local in [[SIGNATURE, &[0x20, 0, 0, 0]].concat(), b"PROXY UNKNOWN\r\n".to_vec()] {
        let answer = send(&proxy, &[&local, GET]).await;
        assert_eq!(header(body(&answer), "x-real-ip"), Some("127.0.0.1"), "{answer}");
    }
    assert_eq!(proxy.metric("pointsman_proxy_protocol_headers_total{outcome=\"read\"}"), 6.0);
    assert_eq!(proxy.metric("pointsman_proxy_requests_total{code=\"2xx\",service=\"c/f/web/0\"}"), 6.0);
}

#[tokio::test]
async fn what_is_no_header_is_closed_without_a_word() {
    let backend = Backend::saying("here").await;
    let cluster = Cluster::with(|config| config.proxy.limits.header = Duration::from_millis(300))
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web");
    let proxy = cluster.serve_announced(&["127.0.0.0/8"]);
    let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    for wrong in [GET, b"PROXY TCP4 1.2.3.4\r\n", &[SIGNATURE, &[0x31, 0, 0, 0]].concat(), &too_long] {
        assert_eq!(send(&proxy, &[wrong]).await, "", "{}", String::from_utf8_lossy(wrong));
    }
    assert_eq!(proxy.metric("pointsman_proxy_protocol_headers_total{outcome=\"invalid\"}"), 4.0);
    // One that says nothing, and one whose header does not end.
    for silent in [b"".as_slice(), &SIGNATURE[..7]] {
        assert_eq!(send(&proxy, &[silent]).await, "");
    }
    assert_eq!(proxy.metric("pointsman_proxy_protocol_headers_total{outcome=\"late\"}"), 2.0);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn from_all_others_no_header_is_taken() {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve_announced(&["192.0.2.0/24"]);
    let answer = send(&proxy, &[LINE, GET]).await;
    assert_eq!(status(&answer), 400, "{answer}");
    let answer = send(&proxy, &[GET]).await;
    assert_eq!(header(body(&answer), "x-real-ip"), Some("127.0.0.1"), "{answer}");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn rules_by_address_see_the_named_client() {
    let backend = Backend::saying("in").await;
    let cluster = Cluster::new()
        .service("web", Protocol::Http, &[backend.address])
        .labelled(&["pointsman.host=*", "pointsman.allow=192.0.2.0/24"], "web");
    let proxy = cluster.serve_announced(&["127.0.0.0/8"]);
    assert_eq!(body(&send(&proxy, &[LINE, GET]).await), "in");
    let other = b"PROXY TCP4 198.51.100.7 203.0.113.1 51234 8443\r\n";
    assert_eq!(status(&send(&proxy, &[other, GET]).await), 403);
    // Connections are counted by the client's network, not by the balancer's.
    let backend = Backend::saying("in").await;
    let cluster = Cluster::with(|config| config.proxy.limits.connections_per_network = 1)
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web");
    let proxy = cluster.serve_announced(&["127.0.0.0/8"]);
    let mut first = proxy.connect().await;
    first.write_all(&[LINE, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await.unwrap();
    assert_eq!(body(&read_answer(&mut first).await), "in");
    assert_eq!(send(&proxy, &[LINE, GET]).await, "", "the second one of 192.0.2.0/24");
    assert_eq!(body(&send(&proxy, &[other, GET]).await), "in");
}

/// A backend that reads a header's line and answers HTTP with it, on as many connections as come.
async fn announced_backend() -> Backend {
    Backend::start(|mut stream, number| async move {
        let line = read_line(&mut stream).await;
        while read_head(&mut stream).await.is_some() {
            stream.write_all(ok(&format!("{number} {line}")).as_bytes()).await.unwrap();
        }
    })
    .await
}

async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap_or_default());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn announcing(version: ProxyProtocol, protocol: Protocol, address: SocketAddr) -> Cluster {
    Cluster::with(|config| config.proxy.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()])
        .service("web", protocol, &[address])
        .endpoints("web", |endpoint| endpoint.proxy_protocol = Some(version))
        .route("*", "/", "web")
}

#[tokio::test]
async fn an_endpoint_is_told_of_the_client_and_clients_share_no_connection() {
    let backend = announced_backend().await;
    let proxy = announcing(ProxyProtocol::V1, Protocol::Http, backend.address).serve();
    let mut first = proxy.connect().await;
    let port = first.local_addr().unwrap().port();
    let own = proxy.address.port();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let told = |number: usize| format!("{number} PROXY TCP4 127.0.0.1 127.0.0.1 {port} {own}");
    for _ in 0..2 {
        first.write_all(get).await.unwrap();
        assert_eq!(body(&read_answer(&mut first).await), told(0));
    }
    let mut second = proxy.connect().await;
    second.write_all(get).await.unwrap();
    let port_of_second = second.local_addr().unwrap().port();
    let answer = read_answer(&mut second).await;
    assert_eq!(body(&answer), format!("1 PROXY TCP4 127.0.0.1 127.0.0.1 {port_of_second} {own}"));
    // A client that a trusted proxy names is another one, on the same connection too.
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n").await.unwrap();
    assert_eq!(body(&read_answer(&mut first).await), format!("2 PROXY TCP4 192.0.2.9 127.0.0.1 0 {own}"));
    first.write_all(get).await.unwrap();
    assert_eq!(body(&read_answer(&mut first).await), told(0));
    // What was kept for a client goes with it.
    let open = || proxy.metric("pointsman_proxy_upstream_connections");
    assert_eq!(open(), 3.0);
    drop((first, second));
    until("connections of clients that are gone are closed", || open() == 0.0).await;
}

/// Behind a trusted proxy one connection brings any number of clients: what is kept for them does not grow with it.
#[tokio::test]
async fn what_is_kept_for_the_clients_of_one_connection_is_bounded() {
    let backend = announced_backend().await;
    let proxy = announcing(ProxyProtocol::V1, Protocol::Http, backend.address).serve();
    let mut stream = proxy.connect().await;
    let own = proxy.address.port();
    for number in 0..100 {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let told = format!("{number} PROXY TCP4 192.0.2.{number} 127.0.0.1 0 {own}");
        assert_eq!(body(&read_answer(&mut stream).await), told);
    }
    let open = || proxy.metric("pointsman_proxy_upstream_connections");
    until("the oldest are closed", || open() == 32.0).await;
    // Who came last finds the connection that was kept, who came first gets a new one.
    for (number, connection) in [(99, 99), (0, 100)] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let told = format!("{connection} PROXY TCP4 192.0.2.{number} 127.0.0.1 0 {own}");
        assert_eq!(body(&read_answer(&mut stream).await), told);
    }
    drop(stream);
    until("all are closed with the client's", || open() == 0.0).await;
}

#[tokio::test]
async fn plain_tcp_is_announced_too() {
    let backend = Backend::start(|mut stream, _| async move {
        let mut header = [0; 28];
        stream.read_exact(&mut header).await.unwrap();
        let shown: String = header.iter().map(|octet| format!("{octet:02x}")).collect();
        stream.write_all(shown.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let proxy = announcing(ProxyProtocol::V2, Protocol::Tcp, backend.address).serve_port(10_000, "web");
    let mut client = proxy.connect().await;
    let port = client.local_addr().unwrap().port();
    let expected = format!("0d0a0d0a000d0a515549540a2111000c7f0000017f000001{port:04x}{:04x}", proxy.address.port());
    assert_eq!(read_all(&mut client).await, expected);
    assert!(matches!(proxy.entrance, Entrance::Port(10_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_sends_and_receives() {
    let backend = Backend::echoing_heads().await;
    let cluster = Cluster::everything(Protocol::Http, &[backend.address]);
    let proxy = cluster.serve_announced(&["127.0.0.0/8"]);
    for word in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let bind = ports::unused();
        let configuration = format!(
            "listen front\n  mode tcp\n  bind {bind}\n  unique-id-format %ci\n  server proxy {} {word}\n",
            proxy.address
        );
        let Some(_sender) = Haproxy::start(&configuration, &[bind]) else { return };
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.5:0".parse().unwrap()).unwrap();
        let mut client = soon(socket.connect(bind)).await.unwrap();
        client.write_all(GET).await.unwrap();
        let answer = read_all(&mut client).await;
        assert_eq!(header(body(&answer), "x-real-ip"), Some("127.0.0.5"), "{word}: {answer}");
        assert_eq!(header(body(&answer), "x-forwarded-port"), Some(&*bind.port().to_string()), "{word}: {answer}");
    }
    let bind = ports::unused();
    let configuration = format!(
        "frontend end\n  mode http\n  bind {bind} accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string %[src]:%[src_port]-%[dst]:%[dst_port]\n"
    );
    let Some(_receiver) = Haproxy::start(&configuration, &[bind]) else { return };
    for version in ProxyProtocol::ALL {
        let proxy = announcing(version, Protocol::Http, bind).serve();
        let mut client = proxy.connect().await;
        let port = client.local_addr().unwrap().port();
        client.write_all(GET).await.unwrap();
        let answer = read_all(&mut client).await;
        assert_eq!(body(&answer), format!("127.0.0.1:{port}-{}", proxy.address), "{version:?}: {answer}");
    }
}
