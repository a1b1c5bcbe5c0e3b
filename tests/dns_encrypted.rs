//! DNS over TLS and over HTTPS: by kdig, by hand, and where clients misbehave.

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod dns_common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dns_common::{PATIENCE, Server, framed, is_closed, names, query, read_answer};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use http::{Method, Request, StatusCode};
use pointsman::dns::metrics::Count;
use pointsman::dns::sample::Sample;
use pointsman::dns::transport::secure::Secure;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A server with a certificate for localhost, and how a client trusts it.
fn start(names: Sample) -> (Server, Arc<rustls::RootCertStore>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
    let certified = CertifiedKey::from_der(vec![pair.cert.der().clone()], key, &provider).unwrap();
    let resolver: Arc<dyn rustls::server::ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
    let secure = Secure::new(&resolver, &provider, "/dns-query".into()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    (Server::start_with("127.0.0.1:0", 1, Some(&secure), &Arc::new(names)), roots.into())
}

fn client(roots: &Arc<rustls::RootCertStore>, protocol: &str) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    Arc::new(config)
}

fn host() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Waits until so many have been counted, and no more.
fn wait_for(server: &Server, what: Count, wanted: u64) {
    let begun = Instant::now();
    while server.counted(what) < wanted {
        assert!(begun.elapsed() < PATIENCE, "{what:?}: {} of {wanted}", server.counted(what));
        std::thread::yield_now();
    }
    assert_eq!(server.counted(what), wanted, "{what:?}");
}

type TlsClient = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn connect(address: SocketAddr, roots: &Arc<rustls::RootCertStore>) -> TlsClient {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let session = rustls::ClientConnection::new(client(roots, "dot"), host()).unwrap();
    rustls::StreamOwned::new(session, stream)
}

fn read_from(stream: &mut impl Read) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    Message::from_vec(&message).unwrap()
}

#[test]
fn pipelined_queries_over_tls_are_all_answered() {
    let (server, roots) = start(names());
    let mut stream = connect(server.tls.unwrap(), &roots);
    let queries = (0..500).map(|id| framed(&query(id, "web.marathon.mesos.", RecordType::A)));
    let mut octets = queries.collect::<Vec<_>>().concat();
    // Large answers too: more than one record of TLS each.
    octets.extend(framed(&query(500, "_many._tcp.mesos.", RecordType::SRV)));
    stream.write_all(&octets).unwrap();
    for id in 0..500 {
        let answer = read_from(&mut stream);
        assert_eq!((answer.metadata.id, answer.answers.len()), (id, 1));
    }
    assert!(read_from(&mut stream).answers.len() > 500);
    assert!(server.metric("pointsman_dns_queries_total", "transport=\"tls\"") >= 501.0);
}

#[test]
fn who_does_not_speak_tls_or_says_nothing_is_let_go() {
    let mut quick = names();
    quick.config.tcp_idle = Duration::from_millis(200);
    let (server, roots) = start(quick);
    for address in [server.tls.unwrap(), server.https.unwrap()] {
        let mut silent = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        let mut clear = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        for stream in [&mut silent, &mut clear] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        clear.write_all(&framed(&query(1, "web.marathon.mesos.", RecordType::A))).unwrap();
        // An alert may come first.
        let _ = clear.read_to_end(&mut Vec::new());
        assert!(is_closed(&mut silent));
    }
    // The client may see the end before it is counted.
    wait_for(&server, Count::TlsFailed, 4);
    let mut idle = connect(server.tls.unwrap(), &roots);
    idle.write_all(&framed(&query(1, "web.marathon.mesos.", RecordType::A))).unwrap();
    read_from(&mut idle);
    assert_eq!(idle.read(&mut [0; 1]).unwrap_or(0), 0, "closed once it is idle");
    wait_for(&server, Count::TcpIdle, 1);
    // In the clear it goes on.
    let mut plain = server.connect();
    plain.write_all(&framed(&query(1, "web.marathon.mesos.", RecordType::A))).unwrap();
    assert_eq!(read_answer(&mut plain).answers.len(), 1);
}

/// One request on a connection of its own: status, header fields, body.
async fn fetch(server: &Server, roots: &Arc<rustls::RootCertStore>, request: Request<()>, body: &[u8]) -> Fetched {
    let stream = tokio::net::TcpStream::connect(server.https.unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(client(roots, "h2"));
    let stream = connector.connect(host(), stream).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let (response, mut sending) = requests.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        // A server that refuses by the head alone may have ended the stream already.
        let _ = sending.send_data(Bytes::copy_from_slice(body), true);
    }
    let response = response.await.unwrap();
    let (head, mut body) = response.into_parts();
    let mut octets = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        octets.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    drop(requests);
    driving.abort();
    let field = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Fetched { status: head.status, media: field("content-type"), cache: field("cache-control"), octets }
}

struct Fetched {
    status: StatusCode,
    media: Option<String>,
    cache: Option<String>,
    octets: Vec<u8>,
}

fn get(target: &str) -> Request<()> {
    Request::get(format!("https://localhost{target}")).body(()).unwrap()
}

fn post(path: &str, media: &str) -> Request<()> {
    Request::post(format!("https://localhost{path}")).header("content-type", media).body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_answers_get_and_post_and_says_for_how_long() {
    let (server, roots) = start(names().with_ttl("slow.mesos", names_address(), Some(77)));
    let media = "application/dns-message";
    for (name, record_type, seconds, answers) in [
        ("web.marathon.mesos.", RecordType::A, 5, 1),
        ("slow.mesos.", RecordType::A, 77, 1),
        ("gone.mesos.", RecordType::A, 1, 0),
        ("_many._tcp.mesos.", RecordType::SRV, 5, 1000),
    ] {
        let message = query(0, name, record_type);
        let target = format!("/dns-query?x=y&dns={}", URL_SAFE_NO_PAD.encode(&message));
        let by_get = fetch(&server, &roots, get(&target), &[]).await;
        let by_post = fetch(&server, &roots, post("/dns-query", media), &message).await;
        for fetched in [by_get, by_post] {
            assert_eq!(fetched.status, StatusCode::OK);
            assert_eq!(fetched.media.as_deref(), Some(media));
            assert_eq!(fetched.cache, Some(format!("max-age={seconds}")), "{name}");
            let answer = Message::from_vec(&fetched.octets).unwrap();
            assert!(answer.answers.len() >= answers, "{name}");
        }
    }
    assert!(server.metric("pointsman_dns_queries_total", "transport=\"https\"") >= 8.0);
}

fn names_address() -> pointsman::cluster::event::RecordData {
    std::net::IpAddr::from([10, 0, 0, 7]).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_query_get_the_status_that_says_why() {
    let (server, roots) = start(names());
    let media = "application/dns-message";
    let message = query(0, "web.marathon.mesos.", RecordType::A);
    let response = [&message[..2], &[0x80], &message[3..]].concat();
    let large = vec![0; 70_000];
    let encoded = URL_SAFE_NO_PAD.encode(&message);
    let delete = Request::builder().method(Method::DELETE).uri("https://localhost/dns-query").body(()).unwrap();
    let cases: [(Request<()>, &[u8], u16); 9] = [
        (get(&format!("/other?dns={encoded}")), &[], 404),
        (get("/dns-query"), &[], 400),
        (get("/dns-query?dns=***"), &[], 400),
        (get("/dns-query?dns="), &[], 400),
        (post("/dns-query", "text/plain"), &message, 415),
        (post("/dns-query", media), &[], 400),
        (post("/dns-query", media), &response, 400),
        (post("/dns-query", media), &large, 413),
        (delete, &[], 405),
    ];
    let count = u64::try_from(cases.len()).unwrap();
    for (request, body, status) in cases {
        let what = format!("{request:?}");
        assert_eq!(fetch(&server, &roots, request, body).await.status, status, "{what}");
    }
    wait_for(&server, Count::HttpsRefused, count);
}

/// Runs kdig; `None`, with a message, where it is not installed or cannot do this.
fn kdig(address: SocketAddr, arguments: &[&str]) -> Option<String> {
    let port = address.port().to_string();
    let output = std::process::Command::new("kdig").args(["@127.0.0.1", "-p", &port]).args(arguments).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("SKIP: kdig cannot be run: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "kdig {arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

#[test]
fn kdig_is_content_over_tls_and_https() {
    let (server, _) = start(names());
    let cases: [(SocketAddr, &[&str]); 4] = [
        (server.tls.unwrap(), &["+tls"]),
        (server.tls.unwrap(), &["+tls", "+padding"]),
        (server.https.unwrap(), &["+https"]),
        (server.https.unwrap(), &["+https", "+https-get"]),
    ];
    for (address, way) in cases {
        let arguments = [way, &["web.marathon.mesos", "A"]].concat();
        let Some(text) = kdig(address, &arguments) else { return };
        assert!(text.contains("status: NOERROR") && text.contains("10.0.0.1"), "{arguments:?}\n{text}");
        assert!(!text.contains("WARNING: connection"), "{text}");
    }
    let text = kdig(server.tls.unwrap(), &["+tls", "+padding", "web.marathon.mesos"]).unwrap();
    assert!(text.contains("Received 468 B"), "RFC 8467: answers are padded\n{text}");
}

#[test]
fn a_drain_answers_what_has_come_and_ends() {
    let (mut server, roots) = start(names());
    let mut stream = connect(server.tls.unwrap(), &roots);
    stream.write_all(&framed(&query(1, "web.marathon.mesos.", RecordType::A))).unwrap();
    read_from(&mut stream);
    let begun = Instant::now();
    server.drain();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}
