//! Reloading, by the real program as a process: what changes, what goes on, what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, get, listens, until};
use nix::sys::signal::Signal;
use pointsman::server::{ConfigFile, Options, Server};

const FILE_SOURCE: &str = "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n";

fn listener(name: &str, address: SocketAddr) -> String {
    format!("[[proxy.listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n")
}

/// One service at `backend`, behind listeners at these addresses.
fn start(folder: &Folder, backend: &Backend, text: &str) -> Program {
    folder.serve_web(&[backend.address]);
    folder.configure(&format!("{FILE_SOURCE}{text}"));
    let mut program = folder.start();
    program.until_ready();
    program
}

fn said(address: SocketAddr) -> Option<String> {
    get(address, "web.test", "/").map(|reply| format!("{} {}", reply.status, reply.body))
}

#[test]
fn a_changed_listener_moves_without_losing_a_connection_or_a_request() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second, kept) = (unused(), unused(), unused());
    let mut program = start(&folder, &backend, &(listener("a", first) + &listener("kept", kept)));
    assert_eq!(said(first).as_deref(), Some("200 web"));

    // On the one that goes: a request in flight. On the one that stays: an open connection.
    let in_flight = std::thread::spawn(move || get(first, "web.test", "/held"));
    until("the request is in flight", || backend.held() == 1);
    let mut open = Client::connect(kept);
    assert_eq!(open.get("/"), "web");

    // While clients connect to the one that goes without a pause.
    let hammer = Hammer::start(first, 4);
    until("the hammer strikes", || hammer.answered() > 50);
    folder.configure(&format!("{FILE_SOURCE}{}{}", listener("b", second), listener("kept", kept)));
    program.until("the new listener appears", |_| listens(second));
    program.until("the old listener goes", |_| !listens(first));
    let tally = hammer.stop();
    assert_eq!(tally.lost, 0, "{tally:?}");
    assert_eq!(said(second).as_deref(), Some("200 web"));
    assert_eq!(open.get("/"), "web", "the connection to the listener that stays");

    backend.release();
    let answer = in_flight.join().unwrap().expect("the request in flight is answered");
    assert_eq!((answer.status, answer.body.as_str()), (200, "web"));
    assert_eq!(program.api("/v1/config").1["last_reload"]["outcome"], "applied");
    program.stop();
}

#[test]
fn a_listener_with_other_settings_keeps_its_accept_queue() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let address = unused();
    let mut program = start(&folder, &backend, &listener("one", address));
    let hammer = Hammer::start(address, 4);
    let mut open = Client::connect(address);
    for round in 0..10 {
        let before = hammer.answered();
        folder.configure(&format!("{FILE_SOURCE}{}", listener(&format!("name-{round}"), address)));
        let last = program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
        program.signal(Signal::SIGHUP);
        program.until_reload("applied", last);
        until("the hammer strikes", || hammer.answered() > before + 20);
        assert_eq!(open.get("/"), "web");
    }
    let tally = hammer.stop();
    assert_eq!((tally.lost, tally.refused), (0, 0), "{tally:?}");
    program.stop();
}

#[test]
fn a_bad_file_is_refused_with_place_key_and_mend_and_the_old_one_goes_on() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let address = unused();
    let mut program = start(&folder, &backend, &listener("a", address));
    assert_eq!(program.metric("pointsman_config_last_reload_success"), Some(1.0));

    folder.write(
        "pointsman.toml",
        format!("[server]\nworkers = 1\ndrain_tiem = \"5s\"\n[log]\nlevel = 3\n{FILE_SOURCE}"),
    );
    program.signal(Signal::SIGHUP);
    let status = program.until_reload("refused", 0);
    let errors: Vec<&str> = status["errors"].as_array().unwrap().iter().filter_map(|e| e.as_str()).collect();
    let file = folder.path("pointsman.toml").display().to_string();
    assert!(errors[0].starts_with(&format!("{file}:3:1: server.drain_tiem: ")), "{errors:?}");
    assert!(errors[0].contains("did you mean") && errors[0].contains("drain_time"), "{errors:?}");
    assert!(errors[1].starts_with(&format!("{file}:5:9: log.level: ")), "all at once: {errors:?}");
    assert_eq!(program.metric("pointsman_config_last_reload_success"), Some(0.0));
    assert!(program.metric("pointsman_config_reloads_total{outcome=\"refused\"}").unwrap() >= 1.0);
    assert!(program.log().contains(&format!("{file}:3:1: server.drain_tiem")), "the log names the place");
    assert_eq!(said(address).as_deref(), Some("200 web"), "the old one goes on");

    // A file that is mended is applied, and says so.
    let at = status["at"].as_u64().unwrap();
    folder.configure(&format!("{FILE_SOURCE}{}[routing]\ndrain_time = \"3s\"\n", listener("a", address)));
    program.until_reload("applied", at);
    assert_eq!(program.metric("pointsman_config_last_reload_success"), Some(1.0));
    let (_, config) = program.api("/v1/config");
    assert_eq!(config["config"]["routing"]["drain_time"], "3s");
    program.stop();
}

#[test]
fn the_level_of_the_log_changes_with_the_file() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let log = |level: &str| format!("[log]\nlevel = \"{level}\"\n");
    let mut program = start(&folder, &backend, &log("error"));
    // Each reload that is applied says so at the level `info`, once the new level holds.
    let told = |program: &Program| program.log().matches("configuration applied").count();
    let levels = [("error", "1s", 0), ("info", "2s", 1), ("info,pointsman::server=warn", "3s", 1), ("info", "4s", 2)];
    for (level, time, expected) in levels {
        folder.configure(&format!("{FILE_SOURCE}{}[routing]\ndrain_time = \"{time}\"\n", log(level)));
        program
            .until("it is in force", |program| program.api("/v1/config").1["config"]["routing"]["drain_time"] == time);
        program.until("it is told as its level says", |program| told(program) == expected);
    }
    program.stop();
    assert_eq!(told(&program), 2, "{}", program.log());
}

#[test]
fn the_time_of_a_stop_is_the_one_last_read() {
    let (folder, backend, address) = (Folder::new(), Backend::start("web"), unused());
    let settings = |time: &str| format!("[server]\nworkers = 1\ndrain_time = \"{time}\"\n{}", listener("a", address));
    let mut program = start(&folder, &backend, &settings("1h"));
    let in_flight = std::thread::spawn(move || get(address, "web.test", "/held"));
    until("the request is in flight", || backend.held() == 1);
    folder.configure(&format!("{FILE_SOURCE}{}", settings("200ms")));
    program.until("it is in force", |program| program.api("/v1/config").1["config"]["server"]["drain_time"] == "200ms");
    let begun = std::time::Instant::now();
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().code(), Some(0));
    assert!(begun.elapsed() < PATIENCE / 2, "it waited for an hour's part: {:?}", begun.elapsed());
    backend.release();
    // What was in flight then was cut.
    assert!(in_flight.join().unwrap().is_none_or(|reply| reply.status != 200));
}

#[test]
fn a_change_that_needs_a_restart_is_refused_whole_and_named() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second) = (unused(), unused());
    let mut program = start(&folder, &backend, &listener("a", first));
    let changed = format!("[server]\nworkers = 2\n{FILE_SOURCE}{}{}", listener("a", first), listener("b", second));
    folder.configure(&changed);
    let status = program.until_reload("refused", 0);
    let errors = status["errors"].as_array().unwrap();
    assert!(errors.len() == 1 && errors[0].as_str().unwrap().starts_with("server.workers: "), "{errors:?}");
    assert!(errors[0].as_str().unwrap().contains("restart"), "{errors:?}");
    assert!(!listens(second), "nothing of a refused file is applied");
    assert_eq!(said(first).as_deref(), Some("200 web"));
    program.stop();
}

#[test]
fn a_taken_address_refuses_the_whole_file() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second) = (unused(), unused());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let mut program = start(&folder, &backend, &listener("a", first));
    folder.configure(&format!("{FILE_SOURCE}{}{}", listener("b", second), listener("c", taken.1)));
    let status = program.until_reload("refused", 0);
    assert!(status["errors"][0].as_str().unwrap().contains(&taken.1.to_string()), "{status}");
    assert!(!listens(second));
    assert_eq!(said(first).as_deref(), Some("200 web"));
    program.stop();
}

/// An `https` listener at `address` with the pairs of `certificates`.
fn https(address: SocketAddr, certificates: &str) -> String {
    format!("{}certificates = \"{certificates}\"\n", listener(certificates, address))
}

/// Whether a session that began at `address` is resumed there, by `openssl`; without one it begins one. `None` where there
/// is no such tool.
fn resumes(address: SocketAddr, session: &std::path::Path) -> Option<bool> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", "web.test", "-ign_eof"]);
    command.arg(if session.exists() { "-sess_in" } else { "-sess_out" }).arg(session);
    let pipe = std::process::Stdio::piped;
    let Ok(mut child) = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn() else {
        println!("SKIP: openssl is not installed");
        return None;
    };
    let request = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    child.stdin.as_mut().unwrap().write_all(request).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    Some(said.contains("\nReused, TLSv1."))
}

#[test]
fn a_refused_file_leaves_no_trace() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second) = (unused(), unused());
    for certificates in ["used", "others"] {
        std::fs::create_dir(folder.path(certificates)).unwrap();
        let pair = rcgen::generate_simple_self_signed(vec!["web.test".to_owned()]).unwrap();
        let file = |kind: &str| folder.path(certificates).join(format!("web.{kind}"));
        std::fs::write(file("key"), pair.signing_key.serialize_pem()).unwrap();
        std::fs::write(file("crt"), pair.cert.pem()).unwrap();
    }
    let mut program = start(&folder, &backend, &https(first, "used"));
    let session = folder.path("session");
    if resumes(first, &session).is_none() {
        return;
    }
    assert_eq!(resumes(first, &session), Some(true), "keys of tickets are in force");
    let shows = |program: &Program, certificates: &str| {
        let metrics = program.try_api("GET", "/metrics", "").unwrap().body;
        let line = format!("{{folder=\"{}\",pair=\"web\"}}", folder.path(certificates).display());
        metrics.contains(&format!("pointsman_proxy_certificate_ends_seconds{line}"))
    };

    // Other keys, other certificates, a folder to be made: and the last address, the proxy's or the API's, is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let no_tickets = "[proxy.tls]\nticket_rotation = \"0s\"\n";
    let changed = format!(
        "{FILE_SOURCE}{}{}{no_tickets}[[proxy.acme]]\nname = \"ca\"\ndirectory = \"https://127.0.0.1:1/directory\"\n\
         terms_agreed = true\nfolder = \"ordered/here\"\ncertificates = [[\"ordered.test\"]]\n",
        https(first, "used"),
        https(second, "others"),
    );
    let of_proxy = format!("{changed}{}", listener("taken", taken.1));
    let of_admin = format!("[admin]\nsocket = \"admin.sock\"\nlisten = \"{}\"\n{changed}", taken.1);
    let mut at = 0;
    for refused in [of_proxy, of_admin] {
        folder.configure(&refused);
        let status = program.until_reload("refused", at);
        at = status["at"].as_u64().unwrap();
        assert!(status["errors"][0].as_str().unwrap().contains(&taken.1.to_string()), "{status}");
        assert_eq!(resumes(first, &session), Some(true), "the keys of tickets are the former ones");
        assert!(shows(&program, "used") && !shows(&program, "others"), "certificates of the refused file are kept");
        assert!(!folder.path("ordered").exists(), "a folder of the refused file is left");
        assert!(!listens(second));
    }

    // The same without the taken address has all of that.
    folder.configure(&changed);
    program.until_reload("applied", at);
    assert_eq!(resumes(first, &session), Some(false), "no session is resumed any more");
    assert!(shows(&program, "used") && shows(&program, "others"));
    assert!(folder.path("ordered/here/.acme").is_dir());
    program.stop();
}

#[test]
fn that_everybody_may_claim_everything_is_said_once_where_there_are_tenants() {
    let folder = Folder::new();
    let warnings = |program: &Program| program.log().matches("no [[policy]] is configured").count();
    let mesos = "[[sources.mesos]]\nname = \"prod\"\nzone = \"mesos\"\nmasters = [\"127.0.0.1:1\"]\n";
    let policy = "[[policy]]\nhosts = [\"*.test\"]\n";
    let reload = |program: &mut Program, text: &str| {
        let at = program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
        folder.configure(text);
        program.until_reload("applied", at);
    };
    folder.serve_web(&[]);
    folder.configure(&format!("{mesos}{FILE_SOURCE}"));
    let mut program = folder.start();
    program.until("it serves", |program| program.log().contains(" serving "));
    program.until("it warns", |program| warnings(program) == 1);
    let warning = program.log().lines().find(|line| line.contains("[[policy]]")).unwrap().to_owned();
    assert!(warning.contains(" WARN ") && warning.contains("add [[policy]] entries"), "{warning}");

    // A reload that leaves it so says it once more, one that mends it does not.
    reload(&mut program, &format!("{mesos}{FILE_SOURCE}[routing]\ndrain_time = \"3s\"\n"));
    assert_eq!(warnings(&program), 2, "{}", program.log());
    reload(&mut program, &format!("{mesos}{FILE_SOURCE}{policy}"));
    assert_eq!(warnings(&program), 2, "{}", program.log());
    // Files are the operator's own word.
    reload(&mut program, FILE_SOURCE);
    program.stop();
    let mut program = folder.start();
    program.until_ready();
    assert_eq!(warnings(&program), 2, "{}", program.log());
    // A Marathon tells of tenants as Mesos does.
    reload(
        &mut program,
        &format!("{FILE_SOURCE}[[sources.marathon]]\nname = \"m\"\nurls = [\"http://127.0.0.1:1\"]\n"),
    );
    assert_eq!(warnings(&program), 3, "{}", program.log());
    program.stop();
}

#[test]
fn a_change_between_the_reading_and_the_start_is_not_missed() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    folder.serve_web(&[backend.address]);
    folder.configure(FILE_SOURCE);
    let path = folder.path("pointsman.toml");
    let file = ConfigFile::follow(&path);
    let config = pointsman::config::load(&path).unwrap();
    // A start takes its time where much is stored.
    folder.configure(&format!("{FILE_SOURCE}[routing]\ndrain_time = \"7s\"\n"));
    let server = Server::start(config, Options { config: Some(file), ..Options::default() }).unwrap();
    until("the change is in force", || server.table().load().config.routing.drain_time == Duration::from_secs(7));
    server.stop(Duration::ZERO);
}

#[test]
fn an_address_that_was_given_up_just_now_can_be_taken_again() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second) = (unused(), unused());
    let mut program = start(&folder, &backend, &listener("a", first));
    for address in [second, first, second, first] {
        let at = program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
        folder.configure(&format!("{FILE_SOURCE}{}", listener("a", address)));
        program.signal(Signal::SIGHUP);
        program.until_reload("applied", at);
        // A SYN that the socket before this one ignored is sent again by the client.
        assert_eq!(said(address).as_deref(), Some("200 web"), "{}", program.log());
    }
    program.stop();
}

#[test]
fn dns_addresses_come_and_go_beside_those_that_stay() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second) = (unused(), unused());
    folder.write("services.toml", "[[records]]\nname = \"db.corp.test\"\ntype = \"A\"\nvalue = \"10.1.2.3\"\n");
    let source = format!("{FILE_SOURCE}zones = [\"corp.test\"]\n");
    let listen = |addresses: &[SocketAddr]| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        folder.configure(&format!("{source}[dns]\nlisten = {addresses:?}\n"));
    };
    listen(&[first]);
    let mut program = folder.start();
    program.until_ready();
    let mut connection = TcpStream::connect(first).unwrap();
    assert!(resolves_over(&mut connection), "over TCP");

    listen(&[first, second]);
    program.until_reload("applied", 0);
    assert!(resolves_over(&mut connection), "a connection to an address that stays");
    assert!(resolves_over(&mut TcpStream::connect(first).unwrap()));
    assert!(resolves_over(&mut TcpStream::connect(second).unwrap()));

    let at = program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
    listen(&[second]);
    program.until_reload("applied", at);
    program.until("the old address goes", |_| !listens(first));
    assert!(resolves_over(&mut TcpStream::connect(second).unwrap()));
    drop(backend);
    program.stop();
}

#[test]
fn the_admin_api_moves_and_its_socket_stays() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (first, second) = (unused(), unused());
    let admin =
        |address: SocketAddr, more: &str| format!("[admin]\nsocket = \"admin.sock\"\nlisten = \"{address}\"\n{more}");
    let mut program = start(&folder, &backend, &admin(first, ""));
    let socket = std::fs::metadata(folder.path("admin.sock")).unwrap();
    let mut events = program_events(&folder);
    folder.configure(&format!("{FILE_SOURCE}{}", admin(second, "hosts = [\"ops.test\"]\n")));
    program.until_reload("applied", 0);
    program.until("the old address goes", |_| !listens(first));
    assert_eq!(get(second, "ops.test", "/healthz").unwrap().status, 200);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(folder.path("admin.sock")).unwrap().ino(), socket.ino(), "the socket stays");
    // The stream of events on the socket saw the table that the new configuration made.
    let mut told = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&told).contains("event: table") {
        let read = events.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the stream ended");
        told.extend_from_slice(&buffer[..read]);
    }
    program.stop();
}

fn program_events(folder: &Folder) -> std::os::unix::net::UnixStream {
    let mut stream = std::os::unix::net::UnixStream::connect(folder.path("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream
}

#[test]
fn certificates_are_taken_up_without_a_restart_and_a_bad_pair_harms_only_itself() {
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    let (proxy, api) = (unused(), unused());
    std::fs::create_dir(folder.path("certificates")).unwrap();
    let pair = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let put = |file: &str, pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        // The key first: a new certificate with the old key would be refused for a moment, and said so.
        folder.write(&format!("{file}.key"), pair.signing_key.serialize_pem());
        folder.write(&format!("{file}.crt"), pair.cert.pem());
        for kind in ["key", "crt"] {
            let to = folder.path("certificates").join(format!("{file}.{kind}"));
            std::fs::rename(folder.path(&format!("{file}.{kind}")), to).unwrap();
        }
    };
    let admin_pair = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        folder.write("admin.key", pair.signing_key.serialize_pem());
        folder.write("admin.crt", pair.cert.pem());
    };
    let (a, b, admin) = (pair("a.test"), pair("b.test"), pair("localhost"));
    put("a", &a);
    put("b", &b);
    admin_pair(&admin);
    let text = format!(
        "[admin]\nsocket = \"admin.sock\"\nlisten = \"{api}\"\ncertificate = \"admin.crt\"\nkey = \"admin.key\"\n\
         {}certificates = \"certificates\"\n",
        listener("https", proxy)
    );
    let mut program = start(&folder, &backend, &text);
    let Some(shown) = shown_certificate(proxy, "a.test") else { return };
    assert_eq!(shown, pem(&a));
    assert_eq!(shown_certificate(proxy, "b.test").unwrap(), pem(&b));
    assert_eq!(shown_certificate(api, "localhost").unwrap(), pem(&admin));

    let (new_a, new_admin) = (pair("a.test"), pair("localhost"));
    std::fs::write(folder.path("certificates").join("b.key"), "half written").unwrap();
    put("a", &new_a);
    admin_pair(&new_admin);
    let shows = |at: SocketAddr, name: &str, pem: &str| shown_certificate(at, name).as_deref() == Some(pem);
    program.until("the new certificate is served", |_| shows(proxy, "a.test", &pem(&new_a)));
    program.until("the API's new certificate is served", |_| shows(api, "localhost", &pem(&new_admin)));
    assert!(shows(proxy, "b.test", &pem(&b)), "a pair that is being replaced is served as it was");
    program.until("the bad pair is told", |program| program.log().contains("b.key holds no private key"));

    // A bad pair of the API's own changes nothing.
    folder.write("admin.key", "nonsense");
    program.until("it is told", |program| program.log().contains("the former certificate goes on"));
    assert!(shows(api, "localhost", &pem(&new_admin)));
    program.stop();
}

/// The certificate as `openssl` writes it.
fn pem(pair: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    pair.cert.pem().replace("\r\n", "\n")
}

/// The certificate that a server shows for a name, by `openssl`; `None` where there is no such tool.
fn shown_certificate(at: SocketAddr, name: &str) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &at.to_string(), "-servername", name]).stdin(std::process::Stdio::null());
    let Ok(output) = command.output() else {
        println!("SKIP: openssl is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let from = text.find("-----BEGIN CERTIFICATE-----").unwrap_or(0);
    let to = text.find("-----END CERTIFICATE-----").map_or(0, |at| at + "-----END CERTIFICATE-----\n".len());
    Some(text[from..to].to_owned())
}

/// Whether `db.corp.test` has its address, asked on an open connection.
fn resolves_over(stream: &mut TcpStream) -> bool {
    let question = b"\x02db\x04corp\x04test\x00\x00\x01\x00\x01";
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(question);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer.windows(4).any(|octets| octets == [10, 1, 2, 3])
}

/// A client on one connection.
struct Client(std::io::BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(std::io::BufReader::new(stream))
    }

    /// The body of an answer with a length.
    fn get(&mut self, path: &str) -> String {
        use std::io::BufRead;
        self.0.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: web.test\r\n\r\n").as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the connection is open");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

/// Clients that connect, ask once and go, without a pause.
struct Hammer {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Tally>>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Connections that nobody took: not lost, the client knows at once that nothing listens.
    refused: usize,
    /// Connections that were made and then got no answer.
    lost: usize,
    why: Option<String>,
}

impl Hammer {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let strike = |_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                while !stop.load(Ordering::SeqCst) {
                    let Ok(mut stream) = TcpStream::connect(address) else {
                        tally.refused += 1;
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut answer = String::new();
                    let request = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
                    let done = stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer));
                    if done.is_ok() && answer.starts_with("HTTP/1.1 200") {
                        answered.fetch_add(1, Ordering::SeqCst);
                    } else {
                        tally.lost += 1;
                        tally.why = Some(format!("{done:?} {answer:?}"));
                    }
                }
                tally
            })
        };
        let clients = (0..clients).map(strike).collect();
        Self { stop, answered, clients }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    fn stop(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().unwrap();
            sum.refused += tally.refused;
            sum.lost += tally.lost;
            sum.why = sum.why.or(tally.why);
        }
        sum
    }
}
