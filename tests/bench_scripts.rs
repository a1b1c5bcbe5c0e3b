//! `benches/ours-*` start the program as a harness asks for it: with the variables that `benches/README.md` lists, each of
//! them, and what is then answered. What is measured is not their matter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod common;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use authority::Authority;
use bytes::Bytes;
use common::backend::Backend;
use common::dns::over_tcp;
use common::ports::unused;
use common::program::{Folder, Program, exchange, get, listens, until};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::demo::{DemoCluster, DemoOptions};

/// The variables that the README lists for a script.
fn listed(script: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/README.md")).unwrap();
    let row = readme.lines().find(|line| line.starts_with(&format!("| `{script}` |"))).unwrap();
    let words = row.split('`').filter(|word| word.starts_with("BENCH_"));
    words.map(str::to_owned).chain(["BENCH_DIR".to_owned()]).collect()
}

/// Starts a script with these variables, which are all that it is said to read.
fn start(script: &str, folder: &Folder, variables: &[(&str, &str)]) -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
    let text = std::fs::read_to_string(&path).unwrap();
    let listed = listed(script);
    for name in &listed {
        assert!(text.contains(name), "{script} does not read {name}, which the README lists");
    }
    let mut command = Command::new(path);
    command.current_dir(folder.path(".")).env("POINTSMAN_BIN", env!("CARGO_BIN_EXE_pointsman"));
    command.env("BENCH_DIR", folder.path(""));
    for (name, value) in variables {
        assert!(listed.iter().any(|known| known == name), "the README does not list {name} for {script}");
        command.env(name, value);
    }
    folder.start_by(command)
}

fn port(address: SocketAddr) -> String {
    address.port().to_string()
}

/// What a host is answered, once there is a route.
fn answered(program: &mut Program, address: SocketAddr, host: &str, expected: &str) {
    let is_it = |_: &Program| get(address, host, "/").is_some_and(|reply| reply.body == expected);
    program.until(&format!("{host} is answered by {expected}"), is_it);
}

#[test]
fn http_is_served_by_the_routes_of_a_file() {
    let (folder, one, rest, at) = (Folder::new(), Backend::start("one"), Backend::start("rest"), unused());
    folder.write("routes", format!("one.test {}\n* {}\n", one.address, rest.address));
    let routes = folder.path("routes");
    let variables = [("BENCH_PORT", &*port(at)), ("BENCH_THREADS", "2"), ("BENCH_ROUTES", routes.to_str().unwrap())];
    let mut program = start("ours-http", &folder, &variables);
    answered(&mut program, at, "one.test", "one");
    answered(&mut program, at, "other.test", "rest");
    // The signal reaches the program itself: the script has become it.
    program.stop();
}

#[test]
fn http_is_served_over_tls() {
    let (folder, backend, at, authority) = (Folder::new(), Backend::start("web"), unused(), Authority::new());
    folder.write("routes", format!("* {}\n", backend.address));
    let issued = authority.issue(&["web.test"]);
    folder.write("web.crt", issued.certificate.pem());
    folder.write("web.key", issued.key.serialize_pem());
    let path = |name: &str| folder.path(name).display().to_string();
    let variables = [
        ("BENCH_PORT", &*port(at)),
        ("BENCH_THREADS", "1"),
        ("BENCH_ROUTES", &path("routes")),
        ("BENCH_TLS", "1"),
        ("BENCH_CERT", &path("web.crt")),
        ("BENCH_KEY", &path("web.key")),
    ];
    let mut program = start("ours-http", &folder, &variables);
    let client = rustls::ClientConfig::builder_with_provider(pointsman::proxy::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    let client = std::sync::Arc::new(client);
    program.until("it answers over TLS", |_| {
        let Ok(stream) = TcpStream::connect(at) else { return false };
        let connection = rustls::ClientConnection::new(client.clone(), "web.test".try_into().unwrap()).unwrap();
        let stream = rustls::StreamOwned::new(connection, stream);
        exchange(stream, "GET", "/", &["Host: web.test"], "").is_some_and(|reply| reply.body == "web")
    });
    program.stop();
}

/// A task that speaks HTTP/2 in clear text, and nothing else.
async fn speaks_h2c() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let answer = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"two"))))
            });
            tokio::spawn(serve.serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

#[test]
fn endpoints_are_spoken_to_by_http2_where_that_is_asked_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (folder, backend, at) = (Folder::new(), runtime.block_on(speaks_h2c()), unused());
    folder.write("routes", format!("* {backend}\n"));
    let routes = folder.path("routes");
    let variables = [
        ("BENCH_PORT", &*port(at)),
        ("BENCH_THREADS", "1"),
        ("BENCH_ROUTES", routes.to_str().unwrap()),
        ("BENCH_UPSTREAM", "h2c"),
    ];
    let mut program = start("ours-http", &folder, &variables);
    answered(&mut program, at, "web.test", "two");
    program.stop();
}

#[test]
fn dns_is_served_from_a_zone_file() {
    let (folder, at) = (Folder::new(), unused());
    folder.write("zone", "www.bench.test. 60 IN A 192.0.2.1\nwww.bench.test. 60 IN AAAA 2001:db8::1\n");
    let zone = folder.path("zone");
    let variables = [
        ("BENCH_PORT", &*port(at)),
        ("BENCH_THREADS", "2"),
        ("BENCH_ZONE", zone.to_str().unwrap()),
        ("BENCH_ORIGIN", "bench.test."),
    ];
    let mut program = start("ours-dns", &folder, &variables);
    program.until("it listens", |_| listens(at));
    let ask = |name: &str| over_tcp(&mut TcpStream::connect(at).unwrap(), name, RecordType::A);
    program.until("the zone is there", |_| ask("www.bench.test.").metadata.response_code == ResponseCode::NoError);
    let answer = ask("www.bench.test.");
    assert_eq!((answer.answers.len(), answer.answers[0].ttl), (1, 60), "{answer:?}");
    assert_eq!(ask("gone.bench.test.").metadata.response_code, ResponseCode::NXDomain);
    program.stop();
}

#[test]
fn a_master_is_followed_to_names_and_routes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = runtime.block_on(DemoCluster::start(DemoOptions::fast())).unwrap();
    runtime.block_on(cluster.ready()).unwrap();
    let leader = cluster.masters()[cluster.leader().unwrap()];
    let (folder, names, http) = (Folder::new(), unused(), unused());
    let variables =
        [("BENCH_MASTER_PORT", &*port(leader)), ("BENCH_DNS_PORT", &*port(names)), ("BENCH_HTTP_PORT", &*port(http))];
    let mut program = start("ours-propagation", &folder, &variables);
    program.until("the route is there", |_| {
        get(http, "web.demo.localhost", "/")
            .is_some_and(|reply| reply.status == 200 && reply.body.contains("\"app\":\"web\""))
    });
    until("the names are there", || {
        let answer = over_tcp(&mut TcpStream::connect(names).unwrap(), "web.marathon.mesos.", RecordType::A);
        answer.metadata.response_code == ResponseCode::NoError && !answer.answers.is_empty()
    });
    program.stop();
    runtime.block_on(cluster.stop());
}
