//! WebSockets as streams of HTTP/2 (RFC 8441), by a raw client: to endpoints of HTTP/1.1 and of HTTP/2.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol as Extended;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use pointsman::model::service::Protocol;
use proxy_common::*;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn client(proxy: &Proxy) -> SendRequest<Bytes> {
    let (client, connection) = soon(h2::client::handshake(proxy.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let mut client = soon(client.ready()).await.unwrap();
    // The server's settings say that it takes extended CONNECT.
    let enabled = async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            client = client.clone().ready().await.unwrap();
        }
    };
    soon(enabled).await;
    client
}

fn connect(uri: &str, protocol: Option<&'static str>) -> Request<()> {
    let mut request = Request::builder().method(Method::CONNECT).uri(uri).header("sec-websocket-version", "13");
    request = request.header("sec-websocket-protocol", "chat");
    if let Some(protocol) = protocol {
        request = request.extension(Extended::from_static(protocol));
    }
    request.body(()).unwrap()
}

async fn open(client: &mut SendRequest<Bytes>, uri: &str) -> (Response<RecvStream>, SendStream<Bytes>) {
    let (answer, stream) = client.send_request(connect(uri, Some("websocket")), false).unwrap();
    (soon(answer).await.unwrap(), stream)
}

async fn read(body: &mut RecvStream) -> Option<Bytes> {
    let bytes = soon(body.data()).await?.unwrap();
    body.flow_control().release_capacity(bytes.len()).unwrap();
    Some(bytes)
}

/// An endpoint of HTTP/1.1 that does as RFC 6455 section 4.2.2 says and sends back what it gets; by its path it does not.
async fn endpoint() -> Backend {
    Backend::start(|mut stream, _| async move {
        let Some(head) = read_head(&mut stream).await else { return };
        assert!(head.starts_with("GET /"), "{head}");
        if head.starts_with("GET /refuse ") {
            return stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        }
        if head.starts_with("GET /plain ") {
            return stream.write_all(ok("no tunnel").as_bytes()).await.unwrap();
        }
        let key = header(&head, "sec-websocket-key").unwrap();
        assert_eq!(BASE64_STANDARD.decode(key).unwrap().len(), 16, "{head}");
        assert!(
            header(&head, "upgrade") == Some("websocket") && header(&head, "connection") == Some("upgrade"),
            "{head}"
        );
        assert_eq!(header(&head, "sec-websocket-protocol"), Some("chat"), "{head}");
        let key = if head.starts_with("GET /wrong ") { "another" } else { key };
        let sum = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = BASE64_STANDARD.encode(sum);
        // What does not belong there.
        let more = match head.split(' ').nth(1) {
            Some("/lengthy") => "Content-Length: 0\r\n",
            Some("/coded") => "Transfer-Encoding: chunked\r\n",
            _ => "",
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n{more}\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..length]).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_is_a_websocket_of_http1_rfc8441_5() {
    let backend = endpoint().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = client(&proxy).await;
    let mut sockets = Vec::new();
    for number in 0..3 {
        let (answer, stream) = open(&mut client, "http://a.test/chat").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let fields = answer.headers();
        assert_eq!(fields["sec-websocket-protocol"], "chat");
        assert!(!fields.contains_key("sec-websocket-accept") && !fields.contains_key("upgrade"), "{fields:?}");
        sockets.push((number, answer.into_body(), stream));
    }
    // Each is a tunnel of its own, both ways, beside ordinary requests.
    for (number, body, stream) in &mut sockets {
        stream.send_data(format!("frame {number}").into(), false).unwrap();
        assert_eq!(read(body).await.unwrap(), format!("frame {number}"));
    }
    let (answer, _) = open(&mut client, "http://a.test/refuse").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(read(&mut answer.into_body()).await.unwrap(), "no");
    for (number, body, stream) in &mut sockets {
        stream.send_data(format!("again {number}").into(), false).unwrap();
        assert_eq!(read(body).await.unwrap(), format!("again {number}"));
        // The end of one half is passed on, and comes back.
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(read(body).await.is_none_or(|bytes| bytes.is_empty()));
    }
    assert_eq!(proxy.metric("pointsman_proxy_upgrades_total"), 3.0);
    until("all is over", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn only_an_agreement_is_a_tunnel() {
    let backend = endpoint().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = client(&proxy).await;
    for (uri, status, reason) in [
        ("http://a.test/plain", StatusCode::BAD_GATEWAY, "upstream-invalid"),
        ("http://a.test/wrong", StatusCode::BAD_GATEWAY, "upstream-invalid"),
    ] {
        let (answer, _) = open(&mut client, uri).await;
        assert_eq!(
            (answer.status(), &answer.headers()["x-pointsman-reason"]),
            (status, &reason.parse().unwrap()),
            "{uri}"
        );
    }
    for protocol in [None, Some("connect-udp")] {
        let uri = if protocol.is_some() { "http://a.test/" } else { "a.test:443" };
        let (answer, _stream) = client.send_request(connect(uri, protocol), false).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{protocol:?}");
    }
    // A route that answers by itself opens no tunnel either.
    let answering = Cluster::new()
        .service("web", Protocol::Http, &[backend.address])
        .labelled(&["pointsman.host=*", "pointsman.answer=200"], "web");
    proxy.publish(answering);
    let (answer, _) = open(&mut client, "http://a.test/").await;
    assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn rules_hold_for_websockets_over_http2() {
    let backend = endpoint().await;
    let cluster = Cluster::new()
        .service("web", Protocol::Http, &[backend.address])
        .labelled(&["pointsman.host=*", "pointsman.allow=192.0.2.0/24"], "web");
    let proxy = cluster.serve();
    let (answer, _) = open(&mut client(&proxy).await, "http://a.test/chat").await;
    assert_eq!(answer.headers()["x-pointsman-reason"], "address-refused");
    assert_eq!(backend.connections(), 0);
}

/// An endpoint of HTTP/2 that sends back what WebSockets send. Its status and a length are what the query says.
async fn http2_endpoint(takes_websockets: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                if takes_websockets {
                    builder.enable_connect_protocol();
                }
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let is_websocket =
                        request.extensions().get::<Extended>().map(Extended::as_str) == Some("websocket");
                    assert_eq!(is_websocket, takes_websockets);
                    let keyed = request.headers().contains_key("sec-websocket-key");
                    if !is_websocket {
                        respond.send_response(Response::builder().status(426).body(()).unwrap(), true).unwrap();
                        continue;
                    }
                    assert!(!keyed && request.uri().path() == "/chat", "{request:?}");
                    let mut answer = Response::builder().header("sec-websocket-protocol", "chat");
                    if let Some((status, length)) = request.uri().query().and_then(|query| query.split_once('-')) {
                        answer = answer.status(status).header("content-length", length);
                    }
                    let mut back = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                    let mut body = request.into_body();
                    tokio::spawn(async move {
                        while let Some(Ok(bytes)) = body.data().await {
                            let _ = body.flow_control().release_capacity(bytes.len());
                            let _ = back.send_data(bytes, false);
                        }
                        let _ = back.send_data(Bytes::new(), true);
                    });
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_endpoint_of_http2_gets_streams_from_either_client() {
    let proxy = Cluster::everything(Protocol::H2c, &[http2_endpoint(true).await]).serve();
    let (answer, mut stream) = open(&mut client(&proxy).await, "http://a.test/chat").await;
    assert_eq!(
        (answer.status(), &answer.headers()["sec-websocket-protocol"]),
        (StatusCode::OK, &"chat".parse().unwrap())
    );
    let mut body = answer.into_body();
    stream.send_data("hello".into(), true).unwrap();
    assert_eq!(read(&mut body).await.unwrap(), "hello");
    // From HTTP/1.1, with the answer to the client's own key (the example of RFC 6455 section 1.3).
    let mut old = proxy.connect().await;
    let request = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    old.write_all(request.as_bytes()).await.unwrap();
    let head = soon(read_head(&mut old)).await.unwrap();
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("websocket"), "{head}");
    old.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    soon(old.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"hello");
    // One that takes none answers as it likes.
    let proxy = Cluster::everything(Protocol::H2c, &[http2_endpoint(false).await]).serve();
    let answer =
        proxy.raw(&request.replace("\r\n\r\n", "\r\nX: y\r\n\r\n").replace("Upgrade\r\n", "Upgrade, close\r\n")).await;
    assert_eq!(status(&answer), 426, "{answer}");
}

/// What a client of HTTP/1.1 that asks for a WebSocket gets, and the tunnel.
async fn upgraded(proxy: &Proxy, target: &str) -> (String, TcpStream) {
    let mut stream = proxy.connect().await;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    (soon(read_head(&mut stream)).await.unwrap(), stream)
}

/// RFC 9110 section 9.3.6: "A server MUST NOT send any Transfer-Encoding or Content-Length header fields in a 2xx (Successful)
/// response to CONNECT. A client MUST ignore any Content-Length or Transfer-Encoding header fields received in a successful
/// response to CONNECT." Section 8.6 has the former of 101 as well.
#[tokio::test]
async fn a_length_of_a_tunnel_is_neither_believed_nor_passed_on() {
    let (old, new) = (endpoint().await, http2_endpoint(true).await);
    let cases = [
        (Protocol::Http, old.address, "/lengthy"),
        (Protocol::Http, old.address, "/coded"),
        (Protocol::H2c, new, "/chat?200-0"),
        (Protocol::H2c, new, "/chat?200-3"),
        (Protocol::H2c, new, "/chat?200-none"),
        (Protocol::H2c, new, "/chat?204-3"),
    ];
    for (protocol, address, target) in cases {
        let proxy = Cluster::everything(protocol, &[address]).serve();
        let (answer, mut stream) = open(&mut client(&proxy).await, &format!("http://a.test{target}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{target}");
        for name in ["content-length", "transfer-encoding"] {
            assert!(!answer.headers().contains_key(name), "{target}: {answer:?}");
        }
        let mut body = answer.into_body();
        for text in ["hello", "again"] {
            stream.send_data(text.into(), false).unwrap();
            assert_eq!(read(&mut body).await.unwrap(), text, "{target}");
        }
        let (head, mut stream) = upgraded(&proxy, target).await;
        assert_eq!(status(&head), 101, "{target}: {head}");
        assert_eq!((header(&head, "content-length"), header(&head, "transfer-encoding")), (None, None), "{head}");
        stream.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        soon(stream.read_exact(&mut echo)).await.unwrap();
        assert_eq!(&echo, b"hello", "{target}");
    }
}

#[tokio::test]
async fn a_silent_websocket_of_a_stream_is_cut() {
    let backend = endpoint().await;
    let cluster = Cluster::with(|config| config.proxy.limits.idle = Duration::from_millis(300))
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web");
    let proxy = cluster.serve();
    let (answer, _stream) = open(&mut client(&proxy).await, "http://a.test/chat").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let ended = soon(answer.into_body().data()).await;
    assert!(ended.is_none_or(|end| end.is_err() || end.is_ok_and(|bytes| bytes.is_empty())));
    until("it is over", || proxy.in_flight() == 0).await;
}
