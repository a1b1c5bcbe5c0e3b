//! TLS towards endpoints: what is verified of them, what they are shown, and what is said where it does not come about.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod proxy_common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::checked::EndpointTlsConfig;
use pointsman::config::{self, Environment};
use pointsman::model::endpoint::EndpointState;
use pointsman::model::endpoint_tls::EndpointTls;
use pointsman::model::problem::ProblemCode;
use pointsman::model::service::Protocol;
use pointsman::server::{Options, Server};
use proxy_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Serves HTTP/1.1 or HTTP/2, as ALPN has it, over TLS: tells what it saw of the connection and the request.
async fn secure_backend(config: Arc<rustls::ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            number += 1;
            let number = number;
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let session = stream.get_ref().1;
                let has_certificate = session.peer_certificates().is_some();
                let seen = format!("{number} {} {has_certificate}", session.server_name().unwrap_or("-"));
                let is_http2 = session.alpn_protocol() == Some(b"h2");
                let service = hyper::service::service_fn(move |request| tell(request, seen.clone()));
                let io = TokioIo::new(stream);
                match is_http2 {
                    true => drop(
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(io, service)
                            .await,
                    ),
                    false => {
                        drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                    }
                }
            });
        }
    });
    address
}

async fn tell(request: Request<Incoming>, seen: String) -> Result<Response<Full<Bytes>>, Infallible> {
    let (version, uri) = (request.version(), request.uri().clone());
    let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(Response::new(format!("{seen} {version:?} {uri} {length}").into()))
}

/// Takes one connection, reads the head of a request and has a conversation then.
async fn once<C>(
    config: Arc<rustls::ServerConfig>,
    conversation: impl FnOnce(TlsStream<TcpStream>) -> C + Send + 'static,
) -> SocketAddr
where
    C: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(config).accept(stream).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        conversation(stream).await;
    });
    address
}

/// A route to one endpoint, with what is configured and what its task says.
fn cluster(protocol: Protocol, address: SocketAddr, entries: Vec<EndpointTlsConfig>, tls: EndpointTls) -> Cluster {
    let tls = Arc::new(tls);
    Cluster::with(|config| {
        config.upstreams.tls = entries;
        config.proxy.proxy_status = true;
        config.proxy.max_attempts = 1;
    })
    .service("web", protocol, &[address])
    .endpoints("web", |endpoint| endpoint.tls = Some(tls.clone()))
    .route("*", "/", "web")
}

/// An authority that proxies believe by the entry `own`.
struct Trusted {
    folder: tempfile::TempDir,
    authority: Authority,
    entry: EndpointTlsConfig,
}

impl Trusted {
    fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let ca = authority.write(&folder.path().join("ca.pem"));
        let entry = EndpointTlsConfig { name: "own".into(), ca: Some(ca), ..Default::default() };
        Self { folder, authority, entry }
    }

    /// What a server speaks TLS with, for these names.
    fn server(&self, names: &[&str], alpn: &[&str]) -> Arc<rustls::ServerConfig> {
        self.authority.server(&self.authority.issue(names), alpn, false)
    }

    fn cluster(&self, protocol: Protocol, address: SocketAddr, tls: EndpointTls) -> Cluster {
        cluster(protocol, address, vec![self.entry.clone()], tls)
    }

    fn proxy(&self, protocol: Protocol, address: SocketAddr, tls: EndpointTls) -> Proxy {
        self.cluster(protocol, address, tls).serve()
    }
}

fn own(server_name: Option<&str>) -> EndpointTls {
    EndpointTls { profile: "own".into(), server_name: server_name.map(Into::into) }
}

/// A 502 that the proxy gives by itself, for this reason and with this error of RFC 9209.
#[track_caller]
fn assert_502(answer: &str, reason: &str, error: &str, what: &str) {
    assert_eq!((status(answer), header(answer, "x-pointsman-reason")), (502, Some(reason)), "{what}: {answer}");
    assert!(header(answer, "proxy-status").unwrap().contains(error), "{what}: {answer}");
}

/// Handshakes with endpoints that came to this.
fn handshakes(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric(&format!("pointsman_proxy_upstream_tls_handshakes_total{{outcome=\"{outcome}\"}}"))
}

#[tokio::test]
async fn http1_and_http2_are_spoken_over_tls_and_connections_are_kept() {
    let trusted = Trusted::new();
    let backend = secure_backend(trusted.server(&["shop.test", "127.0.0.1"], &["h2", "http/1.1"])).await;
    let proxy = trusted.proxy(Protocol::Https, backend, own(Some("shop.test")));
    assert_eq!(body(&proxy.get("a.test", "/x").await), "1 shop.test false HTTP/1.1 /x 0");
    assert_eq!(body(&proxy.get("b.test", "/y").await), "1 shop.test false HTTP/1.1 /y 0", "the connection is kept");
    let post = "POST /z HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    assert_eq!(body(&proxy.raw(post).await), "1 shop.test false HTTP/1.1 /z 5");
    // Its address is verified where no name is given, and none is sent then; the former connection was for a name.
    proxy.publish(trusted.cluster(Protocol::Https, backend, own(None)));
    assert_eq!(body(&proxy.get("a.test", "/").await), "2 - false HTTP/1.1 / 0");
    proxy.publish(trusted.cluster(Protocol::H2, backend, own(Some("shop.test"))));
    assert_eq!(body(&proxy.get("a.test", "/x").await), "3 shop.test false HTTP/2.0 https://a.test/x 0");
    assert_eq!(body(&proxy.get("a.test", "/y").await), "3 shop.test false HTTP/2.0 https://a.test/y 0");
    assert_eq!(handshakes(&proxy, "made"), 3.0);
}

/// RFC 9110 section 15.2: "A proxy MUST forward 1xx responses", and RFC 8297 section 2 has them of use before the endpoint has
/// anything else to say.
#[tokio::test]
async fn interim_answers_come_from_endpoints_of_tls_and_at_once() {
    let trusted = Trusted::new();
    let hinting = async || {
        let (go_on, told) = tokio::sync::oneshot::channel::<()>();
        let address = once(trusted.server(&["a.test"], &["http/1.1"]), |mut stream| async move {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await.unwrap();
            told.await.unwrap();
            stream.write_all(ok("done").as_bytes()).await.unwrap();
            let _ = stream.read_u8().await;
        })
        .await;
        (trusted.proxy(Protocol::Https, address, own(Some("a.test"))), go_on)
    };
    let (proxy, go_on) = hinting().await;
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let early = soon(read_head(&mut client)).await.unwrap();
    assert_eq!((status(&early), header(&early, "link")), (103, Some("</a.css>")), "{early}");
    go_on.send(()).unwrap();
    assert_eq!(body(&read_answer(&mut client).await), "done");

    let (proxy, go_on) = hinting().await;
    let (client, connection) = soon(h2::client::handshake(proxy.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a/").body(()).unwrap();
    let mut client = soon(client.ready()).await.unwrap();
    let (mut answer, _) = client.send_request(request, true).unwrap();
    let early = soon(std::future::poll_fn(|context| answer.poll_informational(context))).await.unwrap().unwrap();
    assert_eq!((early.status().as_u16(), &early.headers()["link"]), (103, &"</a.css>".parse().unwrap()));
    go_on.send(()).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}

/// Ends its first connection together with the handshake, before a request can come; on others it tells what it was sent.
async fn ending_with_the_handshake(config: Arc<rustls::ServerConfig>) -> Backend {
    Backend::start(move |mut stream, number| {
        let config = config.clone();
        async move {
            if number == 0 {
                let mut session = rustls::ServerConnection::new(config).unwrap();
                let mut octets = [0; 4096];
                while !session.wants_write() {
                    let length = stream.read(&mut octets).await.unwrap();
                    session.read_tls(&mut &octets[..length]).unwrap();
                    session.process_new_packets().unwrap();
                }
                session.send_close_notify();
                let mut flight = Vec::new();
                while session.wants_write() {
                    session.write_tls(&mut flight).unwrap();
                }
                // In one piece: whoever has read the handshake's end has read that of the connection.
                stream.write_all(&flight).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            let mut stream = TlsAcceptor::from(config).accept(stream).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"hello") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let answer = ok(&String::from_utf8(request).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// Whatever the method and however few attempts there are: nothing was sent the first time, and everything the second.
#[tokio::test]
async fn a_request_that_a_new_connection_did_not_take_is_sent_again_as_it_was() {
    let trusted = Trusted::new();
    let backend = ending_with_the_handshake(trusted.server(&["shop.test"], &["http/1.1"])).await;
    let proxy = trusted.proxy(Protocol::Https, backend.address, own(Some("shop.test")));
    let lines = "Host: shop.test\r\nAuthorization: Basic YTpi\r\nContent-Length: 5\r\nConnection: close\r\n";
    let answer = proxy.raw(&format!("POST /z HTTP/1.1\r\n{lines}\r\nhello")).await;
    let sent = body(&answer);
    assert_eq!((status(&answer), body(sent)), (200, "hello"), "{answer}");
    assert_eq!((header(sent, "host"), header(sent, "authorization")), (Some("shop.test"), Some("Basic YTpi")));
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_a_502_of_its_own() {
    let (trusted, stranger) = (Trusted::new(), Authority::new());
    let authority = &trusted.authority;
    let proxy = async |issued: &authority::Issued, of: &Authority, tls: EndpointTls| {
        let backend = secure_backend(of.server(issued, &["http/1.1"], false)).await;
        trusted.proxy(Protocol::Https, backend, tls)
    };
    let expired = authority.issue_with(&["shop.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    for (what, issued, of, tls) in [
        ("another authority", stranger.issue(&["shop.test"]), &stranger, own(Some("shop.test"))),
        ("another name", authority.issue(&["other.test"]), authority, own(Some("shop.test"))),
        ("out of date", expired, authority, own(Some("shop.test"))),
        ("the system's authorities", authority.issue(&["127.0.0.1"]), authority, EndpointTls::default()),
    ] {
        let proxy = proxy(&issued, of, tls).await;
        assert_502(&proxy.get("a.test", "/").await, "upstream-certificate", "tls_certificate_error", what);
        assert_eq!(handshakes(&proxy, "certificate"), 1.0, "{what}");
    }
    // Only the word itself takes any certificate.
    let insecure = EndpointTls { profile: "insecure".into(), server_name: None };
    let answer = proxy(&stranger.issue(&["x.test"]), &stranger, insecure).await.get("a.test", "/").await;
    assert_eq!(status(&answer), 200, "{answer}");
}

/// RFC 5280 section 5: an entry with lists believes nobody whose list says otherwise, is out of date, or is not there.
#[tokio::test]
async fn a_certificate_that_was_revoked_is_not_believed_rfc5280_5() {
    const NOW: (i32, i32) = (2020, 2099);
    let mut trusted = Trusted::new();
    let (list, other) = (trusted.folder.path().join("own.crl"), trusted.folder.path().join("other.crl"));
    let write = |authority: &Authority, file: &Path, serials: &[u64], years: (i32, i32)| {
        std::fs::write(file, authority.revoking(serials, years).pem().unwrap()).unwrap();
    };
    write(&Authority::called("somebody else"), &other, &[1], NOW);
    write(&trusted.authority, &list, &[], NOW);
    trusted.entry.crl = vec![other.clone(), list.clone()];
    let issued = trusted.authority.issue_number(1, &["127.0.0.1"]);
    let backend = secure_backend(trusted.authority.server(&issued, &["h2", "http/1.1"], false)).await;
    for protocol in [Protocol::Https, Protocol::H2] {
        write(&trusted.authority, &list, &[], NOW);
        let proxy = trusted.proxy(protocol, backend, own(None));
        assert_eq!(status(&proxy.get("a.test", "/").await), 200);
        // New lists are read, and what was agreed on under the former ones is used no more.
        for (what, serials, years, outcome) in [
            ("it is revoked", &[1, 2][..], NOW, "revoked"),
            ("the list is out of date", &[], (2020, 2021), "certificate"),
        ] {
            write(&trusted.authority, &list, serials, years);
            assert!(proxy.profiles.reload().is_empty());
            let is_refused = async || status(&proxy.get("a.test", "/").await) == 502;
            soon(async { while !is_refused().await {} }).await;
            let answer = proxy.get("a.test", "/").await;
            assert_502(&answer, "upstream-certificate", "tls_certificate_error", what);
            assert!(handshakes(&proxy, outcome) >= 1.0, "{what}");
        }
        // One that cannot be read leaves the former ones.
        write(&trusted.authority, &list, &[1], NOW);
        proxy.profiles.reload();
        std::fs::write(&list, "half written").unwrap();
        let problem = proxy.profiles.reload()[0].problem();
        assert!(problem.file == list && problem.code.as_str() == "invalid-revocation-list", "{problem:?}");
        let revoked = handshakes(&proxy, "revoked");
        assert_502(&proxy.get("a.test", "/").await, "upstream-certificate", "tls_certificate_error", "half written");
        assert_eq!(handshakes(&proxy, "revoked"), revoked + 1.0);
        // Two lists of one authority: the newer one counts, wherever it stands.
        write(&trusted.authority, &list, &[1], (2019, 2099));
        write(&trusted.authority, &other, &[], NOW);
        assert!(proxy.profiles.reload().is_empty());
        assert_eq!(status(&proxy.get("a.test", "/").await), 200);
        write(&Authority::called("somebody else"), &other, &[1], NOW);
    }
    // Lists of others alone say nothing of it.
    trusted.entry.crl = vec![other];
    let proxy = trusted.proxy(Protocol::Https, backend, own(None));
    assert_502(&proxy.get("a.test", "/").await, "upstream-certificate", "tls_certificate_error", "no list");
}

#[tokio::test]
async fn what_is_no_tls_is_a_502_of_its_own() {
    let trusted = Trusted::new();
    let plain = Backend::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let http1_only = secure_backend(trusted.server(&["127.0.0.1"], &["http/1.1"])).await;
    for (what, protocol, address, tls) in [
        ("clear text", Protocol::Https, plain.address, own(None)),
        ("no HTTP/2", Protocol::H2, http1_only, own(None)),
        ("no such entry", Protocol::Https, http1_only, EndpointTls { profile: "none".into(), server_name: None }),
    ] {
        let answer = trusted.proxy(protocol, address, tls).get("a.test", "/").await;
        assert_502(&answer, "upstream-tls", "tls_protocol_error", what);
    }
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_certificate_is_shown_one_and_new_files_count() {
    let (mut trusted, stranger) = (Trusted::new(), Authority::new());
    let issued = trusted.authority.issue(&["127.0.0.1"]);
    let backend = secure_backend(trusted.authority.server(&issued, &["http/1.1"], true)).await;
    let answer = trusted.proxy(Protocol::Https, backend, own(None)).get("a.test", "/").await;
    assert_eq!(header(&answer, "x-pointsman-reason"), Some("upstream-tls"), "{answer}");
    let (certificate, key) = stranger.issue(&["proxy.test"]).write(trusted.folder.path(), "client");
    (trusted.entry.certificate, trusted.entry.key) = (Some(certificate), Some(key));
    let proxy = trusted.proxy(Protocol::Https, backend, own(None));
    let answer = proxy.get("a.test", "/").await;
    assert_eq!(status(&answer), 502, "the authority is another one: {answer}");
    trusted.authority.issue(&["proxy.test"]).write(trusted.folder.path(), "client");
    proxy.profiles.reload();
    let answer = proxy.get("a.test", "/").await;
    assert!(body(&answer).contains("- true"), "{answer}");
    // … and connections that were made before are not used again, once the worker has looked.
    proxy.profiles.reload();
    let is_another = async || !proxy.get("a.test", "/").await.ends_with(body(&answer));
    soon(async { while !is_another().await {} }).await;
}

#[tokio::test]
async fn another_endpoint_is_tried_whatever_the_method() {
    let (trusted, stranger) = (Trusted::new(), Trusted::new());
    let bad = secure_backend(stranger.server(&["127.0.0.1"], &["http/1.1"])).await;
    let good = secure_backend(trusted.server(&["127.0.0.1"], &["http/1.1"])).await;
    let tls = Arc::new(own(None));
    let cluster = Cluster::with(|config| config.upstreams.tls = vec![trusted.entry.clone()])
        .service("web", Protocol::Https, &[bad, good])
        .endpoints("web", |endpoint| endpoint.tls = Some(tls.clone()))
        .route("*", "/", "web");
    let proxy = cluster.serve();
    for _ in 0..10 {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        let answer = proxy.raw(post).await;
        assert_eq!(status(&answer), 200, "{answer}");
    }
}

#[tokio::test]
async fn a_websocket_goes_over_tls() {
    let trusted = Trusted::new();
    let backend = once(trusted.server(&["127.0.0.1"], &["http/1.1"]), |mut stream| async move {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes.reverse();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let proxy = trusted.proxy(Protocol::Https, backend, own(None));
    let mut client = proxy.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = soon(read_head(&mut client)).await.unwrap();
    assert_eq!(status(&head), 101, "{head}");
    client.write_all(b"abcd").await.unwrap();
    assert_eq!(read_all(&mut client).await, "dcba");
}

/// A task by its label alone: file, derivation, configuration, checks, proxy, a reload and a file that is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_program_speaks_tls_with_tasks_and_checks_them_so() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = folder.path().join("ca.pem");
    stranger.write(&ca);
    let backend = secure_backend(authority.server(&authority.issue(&["shop.test"]), &["h2", "http/1.1"], false)).await;
    let services = |more: &str| {
        let text = format!(
            "[[services]]\nname = \"shop\"\nhosts = [\"shop.test\"]\nprotocol = \"h2\"\ntls = \"own\"\n\
             tls_server_name = \"shop.test\"\n{more}endpoints = [\"{backend}\"]\n"
        );
        std::fs::write(folder.path().join("services.toml"), text).unwrap();
    };
    services("health_check = \"http\"\n");
    let configuration = "[server]\nworkers = 1\n[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
         [upstreams]\nallowed_networks = [\"127.0.0.0/8\"]\n[[upstreams.tls]]\nname = \"own\"\nca = \"ca.pem\"\n\
         [health]\ninterval = \"100ms\"\n";
    let file = folder.path().join("pointsman.toml");
    let read =
        |text: &str| config::check(text, &file, Environment::empty()).unwrap_or_else(|errors| panic!("{errors}"));
    let first = read(configuration);
    let server = tokio::task::spawn_blocking(move || Server::start(first, Options::default()).unwrap()).await.unwrap();
    let address = server.addresses().proxy[0];
    let get = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.unwrap();
        read_all(&mut stream).await
    };
    let verdict = || {
        let table = server.table().load();
        let mut services = table.services.values();
        services.next().and_then(|service| service.endpoints.at(0).map(|endpoint| endpoint.state))
    };
    // Its authority is not the one that is trusted: it never passes a check.
    until("it is checked", || verdict() == Some(EndpointState::Unverified)).await;
    assert_eq!(header(&get().await, "x-pointsman-reason"), Some("no-endpoint"));
    // The file is replaced, as a secret that is mounted would be.
    authority.write(&ca);
    until("its first check succeeds", || verdict() == Some(EndpointState::Ready)).await;
    let answer = get().await;
    assert!(body(&answer).contains("shop.test false HTTP/2.0 https://shop.test/x"), "{answer}");
    // A reload that cannot read its files is refused, and changes nothing; one that can is applied.
    let other = configuration.replace("ca.pem", "none.pem");
    let errors = server.reloader().apply(read(&other)).await.unwrap_err().join(" ");
    assert!(errors.contains("none.pem") && errors.contains("\"own\""), "{errors}");
    assert_eq!(status(&get().await), 200);
    stranger.write(&folder.path().join("other.pem"));
    server.reloader().apply(read(&configuration.replace("ca.pem", "other.pem"))).await.unwrap();
    until("it fails its checks", || verdict() == Some(EndpointState::Unhealthy)).await;
    // Labels that ask for what is not configured, and for nothing to be verified, are told.
    std::fs::write(
        folder.path().join("services.toml"),
        format!(
            "[[services]]\nname = \"one\"\nprotocol = \"https\"\ntls = \"none\"\nendpoints = [\"{backend}\"]\n\
             [[services]]\nname = \"two\"\nprotocol = \"https\"\ntls = \"insecure\"\nendpoints = [\"{backend}\"]\n"
        ),
    )
    .unwrap();
    let told =
        |code: ProblemCode| server.table().load().problems.values().flat_map(|l| l.iter()).any(|p| p.code == code);
    until("both are told", || told(ProblemCode::UnverifiedTls) && told(ProblemCode::InvalidLabel)).await;
    tokio::task::spawn_blocking(move || server.stop(Duration::from_secs(1))).await.unwrap();
}

/// RFC 9112 section 9.8: an answer that ends with its connection is whole only if TLS says so.
#[tokio::test]
async fn an_answer_that_tls_does_not_end_is_cut() {
    let trusted = Trusted::new();
    for says_so in [true, false] {
        let backend = once(trusted.server(&["127.0.0.1"], &["http/1.1"]), move |mut stream| async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall, or a part").await.unwrap();
            stream.flush().await.unwrap();
            if says_so {
                stream.shutdown().await.unwrap();
            } else {
                let _ = stream.get_mut().0.shutdown().await;
            }
        })
        .await;
        let proxy = trusted.proxy(Protocol::Https, backend, own(None));
        let answer = proxy.get("a.test", "/").await;
        assert!(status(&answer) == 200 && answer.contains("all, or a part"), "{answer}");
        assert_eq!(answer.ends_with("\r\n0\r\n\r\n"), says_so, "{answer}");
        let cut = if says_so { 0.0 } else { 1.0 };
        until("it is counted", || proxy.metric("pointsman_proxy_cut_answers_total") == cut).await;
    }
}
