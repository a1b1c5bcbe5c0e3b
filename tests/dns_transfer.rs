//! Zones to secondary servers: by dig, and by a real NSD that follows changes.
//!
//! What cannot run here says so: NSD and dig come from Debian (`nsd`, `bind9-dnsutils`).

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod dns_common;
#[path = "dns_common/nsd.rs"]
mod nsd;
#[path = "common/ports.rs"]
mod ports;

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use dns_common::{PATIENCE, ask_udp, query};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use nsd::Nsd;
use pointsman::config;
use pointsman::server::{ConfigFile, Options, Server};

const KEY: &str = "hmac-sha256:k1.example:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The program with one zone from a file.
struct Primary {
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl Primary {
    fn start(transfer: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut primary = Self { server: None, folder };
        primary.write_zone(&[1, 2, 3]);
        let path = primary.folder.path().join("pointsman.toml");
        let settings = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\nzones = [\"example.com\"]\n\
             [dns]\nlisten = [\"127.0.0.1:0\"]\n[dns.soa]\nnameserver_addresses = [\"192.0.2.53\"]\n[dns.transfer]\n{transfer}\n"
        );
        std::fs::write(&path, settings).unwrap();
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = Server::start(config, options).unwrap();
        primary.server = Some(server);
        until("the zone is there", || primary.serial().is_some());
        primary
    }

    /// `host-N.example.com` with the address 10.0.0.N, for each of these, and a thousand more that never change.
    fn write_zone(&self, hosts: &[u8]) {
        let host =
            |n: &u8| format!("[[records]]\nname = \"host-{n}.example.com\"\ntype = \"A\"\nvalue = \"10.0.0.{n}\"\n");
        let mut text: String = hosts.iter().map(host).collect();
        for n in 0..1000 {
            let (high, low) = (n / 250, n % 250);
            text += &format!("[[records]]\nname = \"m{n}.example.com\"\ntype = \"A\"\nvalue = \"10.1.{high}.{low}\"\n");
        }
        let beside = self.folder.path().join(".new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.folder.path().join("services.toml")).unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().addresses().dns[0]
    }

    fn serial(&self) -> Option<u32> {
        serial(self.address())
    }

    fn metrics(&self) -> String {
        let registry = self.server.as_ref().unwrap().registry();
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::ZERO);
        }
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < 3 * PATIENCE, "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The serial of the zone at a server, if it answers with one.
fn serial(server: SocketAddr) -> Option<u32> {
    let answer = ask(server, &query(1, "example.com.", RecordType::SOA))?;
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

fn ask(server: SocketAddr, message: &[u8]) -> Option<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.send(message).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Message::from_vec(&buffer[..length]).ok()
}

/// Runs dig; `None`, with a message, where it is not installed.
fn dig(server: SocketAddr, arguments: &[&str]) -> Option<String> {
    let port = server.port().to_string();
    match Command::new("dig").args(["@127.0.0.1", "-p", &port]).args(arguments).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("SKIP: dig cannot be run: {error}");
            None
        }
    }
}

/// Lines of records.
fn records(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty()).collect()
}

#[test]
fn a_whole_zone_is_sent_to_those_who_may() {
    let primary = Primary::start("allow = [\"127.0.0.0/8\"]");
    let Some(text) = dig(primary.address(), &["example.com", "AXFR", "+onesoa"]) else { return };
    let lines = records(&text);
    // SOA, NS, the name server's address, three hosts, a thousand more.
    assert_eq!(lines.len(), 1006, "{text}");
    assert!(text.contains("messages 2") || text.contains("messages 3"), "more than one message: {text}");
    assert!(lines.iter().any(|line| line.starts_with("ns1.example.com.") && line.ends_with("192.0.2.53")));
    for (name, type_, expected) in
        [("sub.example.com", "AXFR", "Transfer failed"), ("example.org", "AXFR", "Transfer failed")]
    {
        assert!(dig(primary.address(), &[name, type_]).unwrap().contains(expected), "{name}");
    }
    let axfr = query(1, "example.com.", RecordType::AXFR);
    assert_eq!(ask_udp(primary.address(), &axfr).metadata.response_code, ResponseCode::Refused, "over UDP");
    assert!(primary.metrics().contains(r#"pointsman_dns_transfers_total{result="refused"} 2"#));
}

#[test]
fn nobody_gets_a_zone_by_default_and_with_keys_only_who_signs() {
    let primary = Primary::start("");
    let Some(text) = dig(primary.address(), &["example.com", "AXFR"]) else { return };
    assert!(text.contains("Transfer failed"), "{text}");
    drop(primary);
    let primary = Primary::start(&format!("allow = [\"127.0.0.1\"]\nkeys = \"{KEY}\""));
    let address = primary.address();
    assert!(dig(address, &["example.com", "AXFR"]).unwrap().contains("Transfer failed"), "not signed");
    let signed = dig(address, &["-y", KEY, "example.com", "AXFR", "+onesoa"]).unwrap();
    let lines = records(&signed).into_iter().filter(|line| !line.contains("TSIG")).count();
    assert_eq!(lines, 1006, "{signed}");
    assert!(!signed.contains("Couldn't verify") && !signed.contains("WARNING"), "{signed}");
    // Any query may be signed, and gets a signed answer; one by a key or with a secret that is not ours does not.
    let query = dig(address, &["-y", KEY, "host-1.example.com", "A"]).unwrap();
    assert!(query.contains("10.0.0.1") && query.contains("TSIG") && query.contains("NOERROR"), "{query}");
    assert!(!query.contains("Couldn't verify"), "{query}");
    let unknown =
        dig(address, &["-y", &format!("hmac-sha256:k2.example:{SECRET}"), "host-1.example.com", "A"]).unwrap();
    assert!(unknown.contains("NOTAUTH") && unknown.contains("BADKEY"), "{unknown}");
    let wrong = KEY.replace("MDEy", "MDEz");
    let wrong = dig(address, &["-y", &wrong, "host-1.example.com", "A"]).unwrap();
    assert!(wrong.contains("NOTAUTH") && wrong.contains("BADSIG"), "{wrong}");
    assert!(primary.metrics().contains("pointsman_dns_bad_signatures_total 2"));
}

#[test]
fn what_changed_is_sent_from_the_versions_that_are_kept() {
    let primary = Primary::start("allow = [\"127.0.0.0/8\"]");
    let address = primary.address();
    let before = primary.serial().unwrap();
    primary.write_zone(&[1, 2, 4, 5]);
    until("the change is served", || primary.serial().is_some_and(|serial| serial != before));
    let after = primary.serial().unwrap();
    assert!(after > before);
    let Some(text) = dig(address, &["example.com", &format!("IXFR={before}")]) else { return };
    let lines = records(&text);
    // New SOA, old SOA, what is gone, new SOA, what has come, new SOA.
    assert_eq!(lines.len(), 7, "{text}");
    assert!(lines[2].starts_with("host-3.example.com."), "{text}");
    assert!(lines[4].starts_with("host-4.example.com.") && lines[5].starts_with("host-5.example.com."), "{text}");
    let current = dig(address, &["example.com", &format!("IXFR={after}")]).unwrap();
    assert_eq!(records(&current).len(), 1, "who has the version gets the SOA alone: {current}");
    let unknown = dig(address, &["example.com", &format!("IXFR={}", before - 1000)]).unwrap();
    assert_eq!(records(&unknown).len(), 1008, "a version that is not kept: the whole zone: {unknown}");
}

/// A secondary that fetches `example.com` from the primary; `None`, with a message, where NSD is not installed.
fn secondary_of(primary: SocketAddr, address: SocketAddr) -> Option<Nsd> {
    let zones = format!(
        "key:\n name: \"k1.example\"\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n\
         zone:\n name: example.com\n zonefile: zone\n request-xfr: 127.0.0.1@{} k1.example\n \
         allow-notify: 127.0.0.1 k1.example\n",
        primary.port()
    );
    Nsd::start(address, "verbosity: 2\n xfrd-reload-timeout: 0", &zones, None)
}

#[test]
fn a_secondary_is_told_of_changes_and_fetches_them_signed() {
    let secondary = ports::unused();
    let primary = Primary::start(&format!("allow = [\"127.0.0.1\"]\nnotify = [\"{secondary}\"]\nkeys = \"{KEY}\""));
    let Some(nsd) = secondary_of(primary.address(), secondary) else { return };
    let has =
        |name: &str| ask(nsd.address, &query(2, name, RecordType::A)).is_some_and(|answer| !answer.answers.is_empty());
    until("the secondary has the zone", || has("host-3.example.com."));
    until("the serials agree", || serial(nsd.address) == primary.serial());
    for round in 0..3u8 {
        let before = primary.serial();
        primary.write_zone(&[1, 2, 10 + round]);
        until("the secondary has the change", || has(&format!("host-{}.example.com.", 10 + round)));
        until("the serials agree", || serial(nsd.address) == primary.serial());
        let gone = ask(nsd.address, &query(3, "host-3.example.com.", RecordType::A));
        // A moment without an answer, while NSD loads anew, says nothing.
        assert!(gone.is_none_or(|answer| answer.answers.is_empty()), "what is gone is gone there");
        assert!(primary.serial() > before);
    }
    let heard = || {
        let metrics = primary.metrics();
        let line = metrics.lines().find(|line| line.starts_with("pointsman_dns_notifies_total{result=\"heard\"}"));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap_or(0.0)
    };
    until("the notifications are acknowledged", || heard() >= 3.0);
}
