//! Limits and switches that are read when a connection or a request begins: after a reload the next one has them, and the
//! listener has stayed as it was.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dns_common;
#[path = "common/facts.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod facts;
mod frames;
mod marathon_common;
mod proxy_common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dns_common::{framed, is_closed, query};
use facts::{CLUSTER, framework};
use hickory_proto::rr::RecordType;
use marathon_common::{Running, ask, connect, get};
use pointsman::cluster::event::Fact;
use pointsman::config::Config;
use pointsman::config::checked::MesosConfig;
use pointsman::model::agent::AgentFacts;
use pointsman::model::task::TaskFacts;
use proxy_common::{Backend, body, header, ok, ports, read_all, read_answer, read_head, soon, status, until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Long enough for an answer that is not held up; what has not come then is held up.
const MOMENT: Duration = Duration::from_millis(100);

/// What makes a task answer for `web.test`.
const WEB: (&str, &str) = ("pointsman.host", "web.test");

/// A server with one task that has these labels.
async fn serving(backend: SocketAddr, labels: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Running {
    let server = Running::start(|config| {
        // Nobody is there: the facts come from the test.
        config.mesos.push(MesosConfig::with_masters(CLUSTER, "mesos", &["127.0.0.1:1"]));
        change(config);
    });
    let agent = AgentFacts { address: Some(IpAddr::from([127, 0, 0, 1])), ..facts::agent(1) };
    let task = facts::task("web.1", "web", 1, backend.port(), labels);
    let task = TaskFacts { addresses: [backend.ip()].into_iter().collect(), ..task };
    let said = vec![
        Fact::SnapshotStarted,
        Fact::Framework(Box::new(framework("marathon"))),
        Fact::Agent(Box::new(agent)),
        Fact::Task(Box::new(task)),
        Fact::SnapshotFinished(Default::default()),
        Fact::Live,
    ];
    server.say(CLUSTER, said).await;
    server.table_until("the snapshot", |table| table.ready).await;
    server
}

/// Applies a change and waits until the table that everybody reads has it.
async fn reload(server: &Running, change: impl FnOnce(&mut Config)) {
    let before = server.table().generation;
    server.reload(change).await;
    server.table_until("the reload", |table| table.generation > before).await;
}

/// The number of streams that an HTTP/2 connection is told it may have (RFC 9113 section 6.5.2).
async fn streams_told(client: &mut frames::Client) -> u32 {
    loop {
        let frame = client.next_of(&[frames::SETTINGS]).await.expect("settings");
        let told = frame.payload.chunks_exact(6).find(|setting| setting[..2] == [0, 3]);
        if let Some(told) = told {
            return u32::from_be_bytes(told[2..].try_into().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_new_http2_connections_follow_the_setting() {
    let backend = Backend::saying("web").await;
    let server = serving(backend.address, &[WEB], |config| config.proxy.limits.streams = 7).await;
    let mut first = frames::Client::start(connect(server.http).await, &[]).await;
    assert_eq!(streams_told(&mut first).await, 7);
    reload(&server, |config| config.proxy.limits.streams = 11).await;
    let mut second = frames::Client::start(connect(server.http).await, &[]).await;
    assert_eq!(streams_told(&mut second).await, 11);
    // The connection that was open goes on with what it was told.
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "web.test"), (":path", "/")];
    first.request(1, &fields).await;
    assert_eq!(first.outcome(1).await, Some(200));
}

/// A request on a connection that stays open, if it is answered.
async fn held(address: SocketAddr) -> Option<TcpStream> {
    let mut client = connect(address).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await.ok()?;
    let mut first = [0];
    // Closed before a word: there is no place for it.
    let read =
        tokio::time::timeout(proxy_common::PATIENCE, client.peek(&mut first)).await.expect("an answer, or the end");
    if read.ok()? == 0 {
        return None;
    }
    assert_eq!(body(&read_answer(&mut client).await), "web");
    Some(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_network_are_counted_against_the_new_limit() {
    let backend = Backend::saying("web").await;
    let server = serving(backend.address, &[WEB], |config| config.proxy.limits.connections_per_network = 1).await;
    let first = held(server.http).await.expect("one may be there");
    assert!(held(server.http).await.is_none(), "and one only");
    reload(&server, |config| config.proxy.limits.connections_per_network = 3).await;
    let (second, third) = (held(server.http).await, held(server.http).await);
    assert!(second.is_some() && third.is_some(), "three may be there now, the first among them");
    assert!(held(server.http).await.is_none());
    reload(&server, |config| config.proxy.limits.connections_per_network = 1).await;
    drop((second, third));
    assert!(held(server.http).await.is_none(), "the first is still there");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_tcp_is_cut_after_the_new_time() {
    let backend = Backend::start(|stream, _| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let port = ports::unused();
    let number = port.port().to_string();
    let labels = [("pointsman.listen", &*number), ("pointsman.protocol", "tcp")];
    let server =
        serving(backend.address, &labels, |config| config.proxy.limits.tcp_idle = Duration::from_secs(3600)).await;
    let mut patient = connect(port).await;
    patient.write_all(b"hello").await.unwrap();
    assert!(tokio::time::timeout(MOMENT, read_all(&mut patient)).await.is_err(), "it may be silent for an hour");
    reload(&server, |config| config.proxy.limits.tcp_idle = Duration::from_millis(200)).await;
    let mut cut = connect(port).await;
    cut.write_all(b"hello").await.unwrap();
    assert_eq!(read_all(&mut cut).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_sent_to_the_new_port_of_https() {
    let backend = Backend::saying("web").await;
    let server = serving(backend.address, &[WEB, ("pointsman.https_redirect", "true")], |_| ()).await;
    let location = async || {
        let answer = get(server.http, "web.test", "/a?b").await;
        assert!((300..400).contains(&status(&answer)), "{answer}");
        header(&answer, "location").unwrap().to_owned()
    };
    assert_eq!(location().await, "https://web.test/a?b");
    reload(&server, |config| config.proxy.https_port = 8443).await;
    assert_eq!(location().await, "https://web.test:8443/a?b");
    let answer = ask(server.http, "POST", "web.test", "/a", &[("Content-Length", "0")]).await;
    assert_eq!((status(&answer), header(&answer, "location")), (308, Some("https://web.test:8443/a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_endpoints_are_kept_for_the_new_time() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    let backend = Backend::start(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(ok("web").as_bytes()).await.unwrap();
            }
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let hour = Duration::from_secs(3600);
    let server = serving(backend.address, &[WEB], |config| config.proxy.limits.upstream_idle = hour).await;
    for _ in 0..3 {
        assert_eq!(body(&get(server.http, "web.test", "/").await), "web");
    }
    assert_eq!((backend.connections(), closed.load(Ordering::SeqCst)), (1, 0), "one is kept for all");
    reload(&server, |config| config.proxy.limits.upstream_idle = Duration::from_millis(50)).await;
    until("it has been idle for too long", || closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(body(&get(server.http, "web.test", "/").await), "web");
    assert_eq!(backend.connections(), 2);
}

/// An address where nobody accepts, and no more connections find a place in the queue: whoever connects waits.
fn full() -> (socket2::Socket, Vec<std::net::TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, MOMENT) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue has no end here");
    }
    (socket, waiting, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_accept_is_waited_for_as_long_as_the_setting_says() {
    let (_socket, _waiting, address) = tokio::task::block_in_place(full);
    let server = serving(address, &[WEB], |config| {
        config.proxy.limits.connect = Duration::from_secs(3600);
        config.proxy.limits.per_try = Duration::from_secs(3600);
    })
    .await;
    assert!(tokio::time::timeout(3 * MOMENT, get(server.http, "web.test", "/")).await.is_err(), "it waits for an hour");
    reload(&server, |config| config.proxy.limits.connect = MOMENT).await;
    let answer = soon(get(server.http, "web.test", "/")).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (504, Some("connect-timeout")), "{answer}");
}

/// A query over TCP that waits for its answer, which may not come.
fn begin(address: SocketAddr) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&framed(&query(7, "mesos.", RecordType::SOA))).unwrap();
    stream
}

/// Whether an answer comes within this time.
fn is_answered(stream: &mut std::net::TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut length = [0; 2];
    if stream.read_exact(&mut length).is_err() {
        return false;
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message[..2] == [0, 7]
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_over_tcp_has_the_new_number_of_connections_and_the_new_time() {
    let backend = Backend::saying("web").await;
    let address = ports::unused();
    let server = serving(backend.address, &[WEB], |config| {
        config.dns.listen = vec![address];
        config.dns.max_tcp_connections = 1;
        config.dns.tcp_idle = Duration::from_secs(3600);
    })
    .await;
    let (mut first, mut second) = tokio::task::block_in_place(|| {
        let mut first = begin(address);
        assert!(is_answered(&mut first, dns_common::PATIENCE));
        let mut second = begin(address);
        assert!(!is_answered(&mut second, MOMENT), "one connection, and one only");
        (first, second)
    });
    reload(&server, |config| config.dns.max_tcp_connections = 2).await;
    tokio::task::block_in_place(|| assert!(is_answered(&mut second, dns_common::PATIENCE)));
    reload(&server, |config| {
        config.dns.max_tcp_connections = 10;
        config.dns.tcp_idle = Duration::from_millis(300);
    })
    .await;
    tokio::task::block_in_place(|| {
        let mut third = begin(address);
        assert!(is_answered(&mut third, dns_common::PATIENCE));
        assert!(is_closed(&mut third), "it was silent for too long");
        // The listener is the same, and so are the connections that were there.
        first.write_all(&framed(&query(7, "mesos.", RecordType::SOA))).unwrap();
        assert!(is_answered(&mut first, dns_common::PATIENCE));
    });
}
