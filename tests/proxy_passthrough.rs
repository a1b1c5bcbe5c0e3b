//! TLS connections that are carried on by the name that the client asks for, beside those that end here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod proxy_common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use pointsman::model::endpoint::ProxyProtocol;
use pointsman::model::service::Protocol;
use pointsman::proxy::tls::store::Certificates;
use pointsman::proxy::tls::{TlsListener, TlsOptions, provider};
use proxy_common::*;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A task that ends TLS itself: says its name and turns around what it was sent, once the client has said all.
async fn task(authority: &Authority, name: &'static str) -> SocketAddr {
    let config = authority.server(&authority.issue(&[name]), &[], false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            connections.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                said.reverse();
                let _ = stream.write_all(&[name.as_bytes(), b" ", &said].concat()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

fn client_config(authority: &Authority) -> Arc<rustls::ClientConfig> {
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    config.unwrap().with_root_certificates(authority.roots()).with_no_client_auth().into()
}

async fn connect(proxy: &Proxy, authority: &Authority, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(client_config(authority)).connect(name, proxy.connect().await)).await
}

/// Says something, ends its own half, and reads what comes.
async fn say(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

fn carried(outcome: &str) -> String {
    format!("pointsman_proxy_passthrough_connections_total{{outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn one_listener_carries_some_names_on_and_ends_tls_for_others() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.issue(&["here.test", "*.wild.test"]).write(folder.path(), "default");
    let (certificates, bad) = Certificates::load(folder.path()).unwrap();
    assert!(bad.is_empty(), "{bad:?}");
    let (one, any) = (task(&authority, "one.test").await, task(&authority, "x.wild.test").await);
    let web = Backend::saying("ended here").await;
    let cluster = Cluster::new()
        .service("one", Protocol::Tls, &[one])
        .service("any", Protocol::Tls, &[any])
        .service("web", Protocol::Http, &[web.address])
        .route("here.test", "/", "web")
        .route("http.wild.test", "/", "web")
        .passes("one.test", "one")
        .passes("*.wild.test", "any");
    let tls = Some(TlsListener::new(certificates, &TlsOptions::default()).unwrap());
    let proxy = Proxy::start_as(cluster.0, Setup { tls, passes: true, ..Setup::default() });
    for (name, expected) in [("one.test", "one.test olleh"), ("x.wild.test", "x.wild.test olleh")] {
        let mut stream = connect(&proxy, &authority, name).await.unwrap();
        assert_eq!(say(&mut stream, "hello").await, expected);
    }
    // The more exact host decides, whoever claims it.
    for name in ["here.test", "http.wild.test"] {
        let mut stream = connect(&proxy, &authority, name).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(body(&answer), "ended here", "{name}");
    }
    assert_eq!((proxy.metric(&carried("carried")), proxy.metric(&carried("ended-here"))), (2.0, 2.0));
}

#[tokio::test]
async fn without_certificates_what_nobody_claims_is_refused_by_an_alert() {
    let authority = Authority::new();
    let one = task(&authority, "one.test").await;
    let cluster = Cluster::new().service("one", Protocol::Tls, &[one]).passes("one.test", "one");
    let proxy = Proxy::start_as(cluster.0, Setup { passes: true, ..Setup::default() });
    let mut stream = connect(&proxy, &authority, "one.test").await.unwrap();
    assert_eq!(say(&mut stream, "hello").await, "one.test olleh");
    for name in ["other.test", "127.0.0.1"] {
        let error = connect(&proxy, &authority, name).await.unwrap_err().to_string();
        assert!(error.contains("UnrecognisedName"), "{name}: {error}");
    }
    let answer = proxy.raw("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").await;
    assert_eq!(answer, "", "clear text is no TLS");
    assert_eq!((proxy.metric(&carried("unknown-name")), proxy.metric(&carried("invalid"))), (2.0, 1.0));
}

#[tokio::test]
async fn a_first_message_in_crumbs_is_waited_for_and_not_for_ever() {
    let authority = Authority::new();
    let one = task(&authority, "one.test").await;
    let cluster = Cluster::with(|config| {
        config.proxy.limits.header = Duration::from_millis(500);
        config.proxy.limits.tcp_idle = Duration::from_millis(500);
    })
    .service("one", Protocol::Tls, &[one])
    .passes("one.test", "one");
    let proxy = Proxy::start_as(cluster.0, Setup { passes: true, ..Setup::default() });
    let hello = hello(&authority, "one.test");
    let mut stream = proxy.connect().await;
    stream.set_nodelay(true).unwrap();
    for piece in hello.chunks(hello.len() / 10) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answer = [0; 1];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer[0], 22, "the task's handshake");
    // It says nothing more, so the connection is cut after `tcp_idle`.
    assert!(soon(stream.read_to_end(&mut Vec::new())).await.is_ok());
    let mut silent = proxy.connect().await;
    silent.write_all(&hello[..hello.len() - 1]).await.unwrap();
    assert_eq!(read_all(&mut silent).await, "");
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"head\"}"), 1.0);
    let mut gone = proxy.connect().await;
    gone.write_all(&hello[..hello.len() - 1]).await.unwrap();
    gone.shutdown().await.unwrap();
    assert_eq!(read_all(&mut gone).await, "");
    assert_eq!(proxy.metric(&carried("invalid")), 1.0, "it ended before its time");
}

/// What a client says first.
fn hello(authority: &Authority, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(client_config(authority), name).unwrap();
    let mut octets = Vec::new();
    client.write_tls(&mut octets).unwrap();
    octets
}

#[tokio::test]
async fn networks_and_announcements_hold_for_carried_connections() {
    let authority = Authority::new();
    let one = task(&authority, "one.test").await;
    let closed = Cluster::new()
        .service("one", Protocol::Tls, &[one])
        .labelled(&["pointsman.host=none.test", "pointsman.allow=192.0.2.0/24"], "one")
        .passes("one.test", "one");
    let proxy = Proxy::start_as(closed.0, Setup { passes: true, ..Setup::default() });
    assert!(connect(&proxy, &authority, "one.test").await.is_err());
    assert_eq!(proxy.metric("pointsman_proxy_tcp_connections_total{outcome=\"refused\"}"), 1.0);
    let backend = Backend::start(|mut stream, _| async move {
        let mut octets = [0; 200];
        let seen = stream.read(&mut octets).await.unwrap();
        assert!(octets[..seen].starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "));
        // An alert, so that the client ends.
        stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
    })
    .await;
    let announced = Cluster::new()
        .service("one", Protocol::Tls, &[backend.address])
        .endpoints("one", |endpoint| endpoint.proxy_protocol = Some(ProxyProtocol::V1))
        .passes("one.test", "one");
    let proxy = Proxy::start_as(announced.0, Setup { passes: true, ..Setup::default() });
    let error = connect(&proxy, &authority, "one.test").await.unwrap_err().to_string();
    assert!(error.contains("HandshakeFailure"), "{error}");
}
