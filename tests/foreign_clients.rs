//! Clients and servers that others have written, through the running program: gRPC by grpcio, WebSockets by the library
//! websockets, HTTP/2 by h2 and hyperframe, HTTP/1.1 by varnishtest, TLS by testssl.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use authority::Authority;
use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, Program, run};
use serde_json::Value;

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

/// Connections of the library's, open until `end` makes the proxy end them: each hears that its server goes away.
fn websockets_are_left(settings: &str, end: impl FnOnce(&mut Program, &Folder)) {
    if !has("websockets", "python3-websockets") {
        return;
    }
    let (_peer, task) = Peer::start("websockets_peer.py");
    let folder = Folder::new();
    folder.serve_web(&[task]);
    let proxy = unused();
    folder.configure(&format!(
        "{settings}[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    let mut command = Command::new(PYTHON);
    command.arg(script("websockets_peer.py")).args(["leave", &proxy.port().to_string(), "web.test"]);
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "open\n");
    end(&mut program, &folder);
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(client.wait().unwrap().success() && line == "good\n", "it said {line:?}");
}

#[test]
fn websockets_hear_that_their_task_goes_away() {
    let settings = "[routing]\ndrain_time = \"100ms\"\n";
    websockets_are_left(settings, |_, folder| folder.serve_web(&[unused()]));
}

#[test]
fn websockets_hear_that_the_program_ends() {
    let settings = "[server]\nworkers = 1\ndrain_time = \"100ms\"\n";
    websockets_are_left(settings, |program, _| program.signal(nix::sys::signal::Signal::SIGTERM));
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

/// What testssl has to find, and how: the id of a finding and what its text says.
const FOUND: &[(&str, &str)] = &[
    ("SSLv2", "not offered"),
    ("SSLv3", "not offered"),
    // RFC 8996: neither is to be negotiated.
    ("TLS1", "not offered"),
    ("TLS1_1", "not offered"),
    ("TLS1_2", "offered"),
    ("TLS1_3", "offered"),
    ("ALPN_HTTP2", "h2"),
    ("cipherlist_NULL", "not offered"),
    ("cipherlist_aNULL", "not offered"),
    ("cipherlist_EXPORT", "not offered"),
    ("cipherlist_LOW", "not offered"),
    ("cipherlist_3DES_IDEA", "not offered"),
    ("cipherlist_AVERAGE", "not offered"),
    ("cipherlist_STRONG", "offered"),
    // RFC 5746: said to whoever asks, and nothing is negotiated anew.
    ("secure_renego", "supported"),
];

/// Vulnerabilities that it looks for, each of which it has to find absent.
const SOUND: &[&str] = &[
    "heartbleed",
    "CCS",
    "ticketbleed",
    "ROBOT",
    "secure_renego",
    "secure_client_renego",
    "CRIME_TLS",
    // Of an answer in clear text; an endpoint that compresses is its own master.
    "BREACH",
    "POODLE_SSL",
    "fallback_SCSV",
    "SWEET32",
    "FREAK",
    "DROWN",
    "LOGJAM",
    "LOGJAM-common_primes",
    "BEAST",
    "LUCKY13",
    "RC4",
];

/// What it calls grave and is not, and why.
const EXCUSED: &[(&str, &str)] = &[
    (
        "cipher_order",
        "every suite is an AEAD with forward secrecy, so the client, which knows whether it has AES in hardware, may choose",
    ),
    ("cert_chain_of_trust", "the authority is the test's"),
    ("cert_trust", "the authority is the test's"),
    ("cert_revocation", "a certificate of the test says nowhere where it could be revoked"),
    ("cert_expirationStatus", "it is good for as long as the test's authority makes it"),
    ("cert_notAfter", "as above"),
    ("cert_validityPeriod", "as above"),
    ("OCSP_stapling", "there is nobody to ask"),
    ("DNS_CAArecord", "web.test is in no public zone, and nobody is asked for names"),
];

/// Looks at the listener with testssl: protocols, kinds of cipher suites, preferences, vulnerabilities. What it says of the
/// certificate (`-S`) is about the test's own, and takes the most time.
fn testssl(proxy: SocketAddr, findings: &std::path::Path) -> Option<(String, Vec<Value>)> {
    let mut command = Command::new("timeout");
    command.args([
        "300",
        "testssl",
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "off",
        "--ip",
        "127.0.0.1",
        "--nodns",
        "none",
    ]);
    command.args(["-p", "-s", "-P", "-U", "--jsonfile"]).arg(findings);
    command.arg(format!("https://web.test:{}", proxy.port())).stdin(Stdio::null());
    let output = command.output().unwrap();
    // 127: `timeout` found no such command.
    if output.status.code() == Some(127) {
        println!("SKIP: testssl is not installed (Debian: testssl.sh)");
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let text = std::fs::read(findings).unwrap_or_default();
    let found = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("no findings ({error}): {said}"));
    Some((said, found))
}

#[test]
fn testssl_finds_no_fault() {
    let task = Backend::start("task");
    let folder = Folder::new();
    folder.serve_web(&[task.address]);
    std::fs::create_dir(folder.path("certificates")).unwrap();
    Authority::new().issue(&["web.test"]).write(&folder.path("certificates"), "web");
    let proxy = unused();
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"https\"\naddress = \"{proxy}\"\ncertificates = \"certificates\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    let Some((said, found)) = testssl(proxy, &folder.path("findings.json")) else { return program.stop() };
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let of = |id: &str| {
        let finding = found.iter().find(|finding| finding["id"] == id);
        finding.unwrap_or_else(|| panic!("nothing is said of {id}: {said}"))
    };
    for (id, expected) in FOUND {
        let finding = text(of(id), "finding");
        assert!(finding.starts_with(expected), "{id}: {finding}");
    }
    for id in SOUND {
        assert_eq!(text(of(id), "severity"), "OK", "{id}: {}", of(id));
    }
    let grave = found.iter().filter(|finding| ["HIGH", "CRITICAL"].contains(&&*text(finding, "severity")));
    for finding in grave {
        let excuse = EXCUSED.iter().find(|(id, _)| finding["id"] == *id);
        let Some((id, why)) = excuse else { panic!("{finding}\n{said}") };
        println!("testssl says of {id}: {}; {why}", text(finding, "finding"));
    }
    // Whoever looked so hard has broken nothing.
    assert!(!program.has_ended());
    program.stop();
}
