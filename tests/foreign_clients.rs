//! Clients and servers that others have written, through the running program: gRPC by grpcio, WebSockets by the library
//! websockets, HTTP/2 by h2 and hyperframe, HTTP/1.1 by varnishtest.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::ports::unused;
use common::program::{Folder, Program, run};

/// Debian's, which has Debian's libraries.
const PYTHON: &str = "/usr/bin/python3";

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

/// Whether Python has these libraries; else says what is skipped.
fn has(libraries: &str, package: &str) -> bool {
    let output = Command::new(PYTHON).args(["-c", &format!("import {libraries}")]).output();
    let is_there = output.is_ok_and(|output| output.status.success());
    if !is_there {
        println!("SKIP: {PYTHON} has no {libraries} (Debian: {package})");
    }
    is_there
}

/// A server of theirs; its standard input ends with this, and so does it.
struct Peer(Child);

impl Peer {
    fn start(name: &str) -> (Self, SocketAddr) {
        let address = unused();
        let mut command = Command::new(PYTHON);
        command.arg(script(name)).arg("serve").arg(address.port().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "serving\n", "{name} does not serve");
        (Self(child), address)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The program before one task, which is `web.test` and speaks `protocol`.
fn start(task: SocketAddr, protocol: &str) -> (Program, Folder, SocketAddr) {
    let folder = Folder::new();
    folder.write(
        "services.toml",
        format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nprotocol = \"{protocol}\"\nendpoints = [\"{task}\"]\n"
        ),
    );
    let proxy = unused();
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    (program, folder, proxy)
}

/// Runs a client of theirs, which says that all was good.
fn ask(name: &str, arguments: &[&str]) {
    let (code, output, errors) = run(Command::new(PYTHON).arg(script(name)).args(arguments));
    assert!(code == 0 && output.starts_with("good"), "{name} ended with {code}\n{output}\n{errors}");
}

#[test]
fn grpcio_calls_as_it_would_without_us() {
    if !has("grpc", "python3-grpcio") {
        return;
    }
    let (_peer, task) = Peer::start("grpc_peer.py");
    let (mut program, _folder, proxy) = start(task, "h2c");
    ask("grpc_peer.py", &["ask", &proxy.to_string(), "web.test"]);
    program.stop();
}

#[test]
fn websockets_talk_as_they_would_without_us() {
    if !has("websockets", "python3-websockets") {
        return;
    }
    let (_peer, task) = Peer::start("websockets_peer.py");
    let (mut program, _folder, proxy) = start(task, "http");
    ask("websockets_peer.py", &["ask", &proxy.port().to_string(), "web.test"]);
    program.stop();
}

#[test]
fn h2_is_content_and_malformed_frames_are_answered_as_rfc9113_says() {
    if !has("h2, hyperframe", "python3-h2") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let task = runtime.block_on(echo());
    let (mut program, _folder, proxy) = start(task, "http");
    ask("h2_client.py", &[&proxy.port().to_string(), "web.test"]);
    program.stop();
}

/// A task that sends requests' contents back.
async fn echo() -> SocketAddr {
    use http_body_util::BodyExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                let content = request.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>(hyper::Response::new(http_body_util::Full::new(content)))
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        }
    });
    address
}

#[test]
fn varnishtest_sees_http1_as_it_should_be() {
    for name in ["wire.vtc", "refused.vtc"] {
        let task = unused();
        let (mut program, _folder, proxy) = start(task, "http");
        let mut command = Command::new("varnishtest");
        command.args(["-v", "-t", "120", "-D", &format!("proxy={proxy}"), "-D", &format!("task={task}")]);
        command.arg(script(name));
        let output = match command.stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) => {
                println!("SKIP: varnishtest cannot be run: {error} (Debian: varnish)");
                program.stop();
                return;
            }
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {text}");
        program.stop();
    }
}
