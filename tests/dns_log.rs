//! The query log and dnstap: written by the whole program, read by `dnstap-read` of BIND, and never in an answer's way.

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod dns_common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dns_common::{PATIENCE, ask_udp, framed, query, read_answer};
use hickory_proto::rr::RecordType;
use pointsman::config;
use pointsman::server::{Options, Server};

/// The program with one zone from a file.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl World {
    fn start(log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: None, folder }.go(log)
    }

    fn go(mut self, log: &str) -> Self {
        let text = "[[records]]\nname = \"www.example.com\"\ntype = \"A\"\nvalue = \"10.0.0.1\"\n";
        std::fs::write(self.path("services.toml"), text).unwrap();
        let settings = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\nzones = [\"example.com\"]\n\
             [dns]\nlisten = [\"127.0.0.1:0\"]\nidentity = \"dns1\"\n[dns.log]\n{log}\n"
        );
        std::fs::write(self.path("pointsman.toml"), settings).unwrap();
        let config = config::load(&self.path("pointsman.toml")).unwrap_or_else(|errors| panic!("{errors}"));
        self.server = Some(Server::start(config, Options::default()).unwrap());
        until("the zone is there", || self.ask().answers.len() == 1);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().addresses().dns[0]
    }

    fn ask(&self) -> hickory_proto::op::Message {
        ask_udp(self.address(), &query(1, "www.example.com.", RecordType::A))
    }

    fn counted(&self, result: &str) -> f64 {
        let registry = self.server.as_ref().unwrap().registry();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let name = format!("pointsman_dns_log_entries_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0.0)
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::ZERO);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn answers_become_lines_and_a_renamed_file_is_begun_anew() {
    let world = World::start("path = \"dns.log\"");
    let path = world.path("dns.log");
    let is_there = |line: &String| line.contains(" 127.0.0.1 udp www.example.com A NOERROR a 1 ");
    until("a line", || lines(&path).iter().any(is_there));
    ask_udp(world.address(), &query(1, "gone.example.com.", RecordType::AAAA));
    until("absence", || lines(&path).iter().any(|line| line.contains(" gone.example.com AAAA NXDOMAIN a 0 ")));
    std::fs::rename(&path, world.path("dns.log.1")).unwrap();
    until("a new file", || {
        world.ask();
        lines(&path).iter().any(is_there)
    });
}

#[test]
fn a_transfer_is_one_line() {
    let world = World::start("path = \"dns.log\"\n[dns.transfer]\nallow = [\"127.0.0.0/8\"]");
    let mut stream = TcpStream::connect(world.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&framed(&query(1, "example.com.", RecordType::AXFR))).unwrap();
    // SOA, NS, the host and the name server's address, SOA.
    let answers = read_answer(&mut stream).answers.len();
    assert!(answers >= 4, "{answers}");
    let line = format!(" 127.0.0.1 tcp example.com AXFR NOERROR a {answers} ");
    until("a line", || lines(&world.path("dns.log")).iter().filter(|known| known.contains(&line)).count() == 1);
}

#[test]
fn json_lines_are_objects_and_a_sample_is_one_of_so_many() {
    let world = World::start("path = \"dns.log\"\nformat = \"json\"\nsample = 10");
    for _ in 0..200 {
        world.ask();
    }
    let path = world.path("dns.log");
    until("lines", || lines(&path).len() >= 20);
    // Those before the zone was there are counted too: some, not thousands.
    let count = lines(&path).len();
    assert!(count < 100, "{count}");
    for line in lines(&path) {
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["type"], &object["transport"]), (&"A".into(), &"udp".into()), "{line}");
    }
}

/// What BIND's reader makes of a dnstap file; `None`, with a message, where it is not installed.
fn read_tap(path: &Path) -> Option<String> {
    match Command::new("dnstap-read").arg("-y").arg(path).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            println!("SKIP: dnstap-read cannot be run (Debian: bind9-dnsutils): {error}");
            None
        }
    }
}

fn check_tap(text: &str) {
    for part in ["identity: dns1", "version: Pointsman", "type: AUTH_RESPONSE", "socket_protocol: UDP", "127.0.0.1"] {
        assert!(text.contains(part), "{part} is missing\n{text}");
    }
    assert!(text.contains("www.example.com. IN A") || text.contains("www.example.com.\tIN\tA"), "{text}");
}

#[test]
fn a_dnstap_file_is_what_others_can_read() {
    let mut world = World::start("dnstap = \"tap\"");
    until("something is written", || world.counted("written") >= 1.0);
    world.stop();
    if let Some(text) = read_tap(&world.path("tap")) {
        check_tap(&text);
    }
}

/// A control frame of Frame Streams: escape, length, kind, perhaps with the content's type.
fn control(kind: u32, with_content: bool) -> Vec<u8> {
    let content = b"protobuf:dnstap.Dnstap";
    let mut data = kind.to_be_bytes().to_vec();
    if with_content {
        data.extend(1u32.to_be_bytes());
        data.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        data.extend(content);
    }
    [&[0; 4], &u32::try_from(data.len()).unwrap().to_be_bytes()[..], &data].concat()
}

fn word(stream: &mut UnixStream) -> u32 {
    let mut octets = [0; 4];
    stream.read_exact(&mut octets).unwrap();
    u32::from_be_bytes(octets)
}

fn block(stream: &mut UnixStream, length: u32) -> Vec<u8> {
    let mut octets = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut octets).unwrap();
    octets
}

/// Collects one stream, as `fstrm_capture` does, and puts it into a file.
fn collect(listener: &UnixListener, path: &Path) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let next_control = |stream: &mut UnixStream| {
        assert_eq!(word(stream), 0, "an escape");
        let length = word(stream);
        block(stream, length)
    };
    assert_eq!(next_control(&mut stream)[..4], 4u32.to_be_bytes(), "READY");
    stream.write_all(&control(1, true)).unwrap();
    assert_eq!(next_control(&mut stream)[..4], 2u32.to_be_bytes(), "START");
    let mut file = control(2, true);
    loop {
        match word(&mut stream) {
            0 => break,
            length => {
                file.extend(length.to_be_bytes());
                file.extend(block(&mut stream, length));
            }
        }
    }
    let length = word(&mut stream);
    assert_eq!(block(&mut stream, length)[..4], 3u32.to_be_bytes(), "STOP");
    stream.write_all(&control(5, false)).unwrap();
    file.extend(control(3, false));
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_collector_at_a_socket_gets_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, collected) = (folder.path().join("tap.sock"), folder.path().join("collected"));
    let listener = UnixListener::bind(&socket).unwrap();
    let collector = std::thread::spawn({
        let collected = collected.clone();
        move || collect(&listener, &collected)
    });
    let mut world = World::start(&format!("dnstap = \"{}\"", socket.display()));
    until("something is sent", || {
        world.ask();
        world.counted("written") >= 1.0
    });
    world.stop();
    collector.join().unwrap();
    if let Some(text) = read_tap(&collected) {
        check_tap(&text);
    }
}

#[test]
fn a_collector_that_takes_nothing_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("tap.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // It agrees to everything and then reads nothing.
    let collector = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let escape = word(&mut stream);
        let length = word(&mut stream);
        assert_eq!((escape, block(&mut stream, length)[..4].to_vec()), (0, 4u32.to_be_bytes().to_vec()));
        stream.write_all(&control(1, true)).unwrap();
        (listener, stream)
    });
    let world = World::start(&format!("dnstap = \"{}\"", socket.display()));
    // Each question is answered, however many were before it.
    until("answers are dropped from the log", || {
        for _ in 0..500 {
            assert_eq!(world.ask().answers.len(), 1);
        }
        world.counted("dropped") >= 1.0
    });
    drop(collector);
}
