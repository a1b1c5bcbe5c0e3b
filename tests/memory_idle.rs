//! What a connection that waits for its next request takes in memory, and what a route does: of the real program as a
//! process, by the memory that is its alone. The kernel's own memory for sockets is not in it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod common;
mod frames;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, get};
use pointsman::proxy::tls::provider;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Octets of memory that the process shares with nobody.
fn own_memory(program: &Program) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", program.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn start(hosts: usize, tasks: &[SocketAddr]) -> (Program, Folder, SocketAddr) {
    start_with(hosts, 1, tasks)
}

/// So many services with one endpoint and `hosts_each` hosts each, `h0.test` and so on.
fn start_with(services: usize, hosts_each: usize, tasks: &[SocketAddr]) -> (Program, Folder, SocketAddr) {
    let folder = Folder::new();
    let mut text = String::new();
    for service in 0..services {
        let task = tasks[service % tasks.len()];
        let begin = service * hosts_each;
        let hosts: Vec<String> = (begin..begin + hosts_each).map(|host| format!("h{host}.test")).collect();
        writeln!(text, "[[services]]\nname = \"s{service}\"\nhosts = {hosts:?}\nendpoints = [\"{task}\"]").unwrap();
    }
    folder.write("services.toml", text);
    let proxy = unused();
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    (program, folder, proxy)
}

/// The least within a second: memory that reading the file took is given back a moment later.
fn settled_memory(program: &Program) -> usize {
    let look = |_| {
        std::thread::sleep(Duration::from_millis(50));
        own_memory(program)
    };
    (0..20).map(look).min().unwrap()
}

fn connect(proxy: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Opens a connection and has one request answered on it.
fn open(proxy: SocketAddr) -> TcpStream {
    asked(connect(proxy))
}

/// Has one request answered on a connection.
fn asked<S: Read + Write>(mut stream: S) -> S {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h0.test\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"task") {
        let mut octets = [0; 512];
        let length = stream.read(&mut octets).unwrap();
        assert!(length > 0, "closed: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&octets[..length]);
    }
    stream
}

#[test]
fn a_connection_that_waits_takes_at_most_4_kib() {
    const CONNECTIONS: usize = 3000;
    let task = Backend::start("task");
    let (mut program, _folder, proxy) = start(1, &[task.address]);
    // What is made once, and kept for the next.
    let warm: Vec<_> = (0..200).map(|_| open(proxy)).collect();
    drop(warm);
    let before = own_memory(&program);
    let waiting: Vec<_> = (0..CONNECTIONS).map(|_| open(proxy)).collect();
    let each = own_memory(&program).saturating_sub(before) / CONNECTIONS;
    println!("{each} octets for a connection that waits");
    assert!(each <= 4096, "{each}");
    drop(waiting);
    program.stop();
}

/// The same by HTTP/2 (RFC 9113 section 3.4): the client's preface, its settings, a GET.
fn asked_by_http2<S: Read + Write>(mut stream: S, scheme: &str) -> S {
    let fields = [(":method", "GET"), (":scheme", scheme), (":authority", "h0.test"), (":path", "/")];
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    octets.extend(frames::frame(frames::SETTINGS, 0, 0, &[]));
    octets.extend(frames::frame(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, &frames::block(&fields)));
    stream.write_all(&octets).unwrap();
    let mut body: Vec<u8> = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).unwrap();
        let (kind, flags) = (head[3], head[4]);
        assert!(![frames::GOAWAY, frames::RST_STREAM].contains(&kind), "kind {kind}: {payload:?}");
        if kind == frames::SETTINGS && flags & frames::ACK == 0 {
            stream.write_all(&frames::frame(frames::SETTINGS, frames::ACK, 0, &[])).unwrap();
        }
        if kind == frames::DATA {
            body.extend(&payload);
        }
        if [frames::DATA, frames::HEADERS].contains(&kind) && flags & frames::END_STREAM != 0 {
            assert_eq!(body, b"task");
            return stream;
        }
    }
}

/// A program that serves the first host in clear text and by TLS, where nothing ends for its silence while it is measured.
fn start_with_tls(task: SocketAddr, authority: &Authority) -> (Program, Folder, [SocketAddr; 2]) {
    let (folder, [http, https]) = (Folder::new(), [unused(), unused()]);
    std::fs::create_dir(folder.path("certificates")).unwrap();
    authority.issue(&["h0.test"]).write(&folder.path("certificates"), "web");
    folder
        .write("services.toml", format!("[[services]]\nname = \"s\"\nhosts = [\"h0.test\"]\nendpoints = [\"{task}\"]"));
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [proxy.limits]\nkeep_alive = \"1h\"\nidle = \"1h\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
         [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    (program, folder, [http, https])
}

/// Full handshakes, and HTTP by this version.
fn client_of(authority: &Authority, alpn: &str) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(authority.roots()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = Resumption::disabled();
    config.into()
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn by_tls(config: &Arc<ClientConfig>, https: SocketAddr) -> Tls {
    let client = ClientConnection::new(config.clone(), "h0.test".try_into().unwrap()).unwrap();
    StreamOwned::new(client, connect(https))
}

/// What each of many connections takes that were opened so, in a program of their own.
fn octets_each<C>(open: impl Fn(&Authority, [SocketAddr; 2]) -> C) -> usize {
    const CONNECTIONS: usize = 500;
    let (task, authority) = (Backend::start("task"), Authority::new());
    let (mut program, _folder, addresses) = start_with_tls(task.address, &authority);
    // What is made once, and kept for the next.
    let warm: Vec<_> = (0..100).map(|_| open(&authority, addresses)).collect();
    drop(warm);
    let before = settled_memory(&program);
    let waiting: Vec<_> = (0..CONNECTIONS).map(|_| open(&authority, addresses)).collect();
    let each = settled_memory(&program).saturating_sub(before) / CONNECTIONS;
    // None of them was closed, which would take nothing.
    let open = program.metric("pointsman_proxy_client_connections");
    assert_eq!(open, Some(CONNECTIONS as f64));
    drop(waiting);
    program.stop();
    each
}

/// Beside what clear text takes (below 4 KiB) rustls has its buffer for records (4 KiB, of a handshake up to 16 KiB), keys for
/// both directions, the certificate's name, and the protocol that was agreed on.
#[test]
fn a_connection_by_tls_that_waits_takes_at_most_40_kib() {
    let each = octets_each(|authority, [_, https]| asked(by_tls(&client_of(authority, "http/1.1"), https)));
    println!("{each} octets for a connection by TLS that waits");
    assert!(each <= 40 * 1024, "{each}");
}

/// HTTP/2 has tables of fields for both directions (4 KiB each, RFC 9113 section 6.5.2), buffers for frames that come and go, and
/// what watches over floods and stalls.
#[test]
fn a_connection_by_http2_that_waits_takes_at_most_64_kib() {
    let plain = octets_each(|_, [http, _]| asked_by_http2(connect(http), "http"));
    let secured =
        octets_each(|authority, [_, https]| asked_by_http2(by_tls(&client_of(authority, "h2"), https), "https"));
    println!("{plain} octets for a connection by HTTP/2 that waits in clear text, {secured} by TLS");
    assert!(plain <= 64 * 1024 && secured <= 64 * 1024, "{plain} {secured}");
}

#[test]
fn a_route_takes_little() {
    const ROUTES: usize = 10_000;
    let task = Backend::start("task");
    let tasks: Vec<SocketAddr> = (0..50).map(|port| SocketAddr::new(task.address.ip(), 20_000 + port)).collect();
    let memory = [1, ROUTES].map(|hosts| {
        let (mut program, _folder, proxy) = start(hosts, &tasks);
        // Nobody listens there, but the route is known.
        let status = get(proxy, &format!("h{}.test", hosts - 1), "/").unwrap().status;
        assert!([502, 503].contains(&status), "{status}");
        let memory = own_memory(&program);
        program.stop();
        memory
    });
    let each = memory[1].saturating_sub(memory[0]) / ROUTES;
    println!("{each} octets for a route with its service and one endpoint");
    // A service, its endpoint and its route, and what reading the file has left behind: that differs from run to run.
    assert!(each <= 10_240, "{each}");
}

/// Services and endpoints are the same in number both times, and so is all that reading them leaves behind but the texts of
/// the hosts: what is more is what routes take.
#[test]
fn a_route_beside_others_of_its_service_takes_little() {
    // As many hosts as a service may have.
    const SERVICES: usize = 160;
    const HOSTS: usize = pointsman::labels::MAX_HOSTS;
    let task = Backend::start("task");
    let memory = [1, HOSTS].map(|hosts_each| {
        let (mut program, _folder, proxy) = start_with(SERVICES, hosts_each, &[task.address]);
        let last = SERVICES * hosts_each - 1;
        for host in [0, last / 2, last] {
            assert_eq!(get(proxy, &format!("h{host}.test"), "/").unwrap().status, 200, "h{host}.test");
        }
        assert_eq!(get(proxy, &format!("h{}.test", last + 1), "/").unwrap().status, 404);
        let memory = settled_memory(&program);
        program.stop();
        memory
    });
    let routes = SERVICES * (HOSTS - 1);
    let each = memory[1].saturating_sub(memory[0]) / routes;
    println!("{each} octets for a further route ({routes} of them, goal 512)");
    assert!(each < 4096, "{each}");
}
