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
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use nsd::Nsd;
use pointsman::config;
use pointsman::config::checked::{TsigAlgorithm, TsigKey};
use pointsman::dns::tsig::Session;
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
        primary.configure("nameserver_addresses = [\"192.0.2.53\"]", transfer);
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        let server = Server::start(config, options).unwrap();
        primary.server = Some(server);
        until("the zone is there", || primary.serial().is_some());
        primary
    }

    /// Puts the settings in place, as editors do.
    fn configure(&self, soa: &str, transfer: &str) {
        let settings = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\nzones = [\"example.com\"]\n\
             [dns]\nlisten = [\"127.0.0.1:0\"]\n[dns.soa]\n{soa}\n[dns.transfer]\n{transfer}\n"
        );
        let beside = self.folder.path().join(".settings");
        std::fs::write(&beside, settings).unwrap();
        std::fs::rename(beside, self.folder.path().join("pointsman.toml")).unwrap();
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
    run("dig", server, arguments)
}

fn run(client: &str, server: SocketAddr, arguments: &[&str]) -> Option<String> {
    let port = server.port().to_string();
    match Command::new(client).args(["@127.0.0.1", "-p", &port]).args(arguments).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("SKIP: {client} cannot be run: {error}");
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
fn longer_keys_sign_by_the_longer_digests() {
    for algorithm in ["hmac-sha384", "hmac-sha512"] {
        let key = KEY.replace("hmac-sha256", algorithm);
        let primary = Primary::start(&format!("allow = [\"127.0.0.1\"]\nkeys = \"{key}\""));
        for client in ["dig", "kdig"] {
            let Some(text) = run(client, primary.address(), &["-y", &key, "example.com", "AXFR"]) else { continue };
            assert!(text.contains("host-3.example.com.") && text.contains("m999.example.com."), "{client}: {text}");
            for complaint in ["Couldn't verify", ";; WARNING", ";; ERROR", "BADSIG", "BADKEY"] {
                assert!(!text.contains(complaint), "{client} {algorithm}: {text}");
            }
            // Another digest is another key.
            let other = KEY;
            let refused = run(client, primary.address(), &["-y", other, "example.com", "AXFR"]).unwrap();
            assert!(!refused.contains("host-3.example.com."), "{client} {algorithm}: {refused}");
        }
    }
}

/// The TSIG record at the end of a message: what stands before it, its time, MAC, error and other data.
fn signature(message: &[u8]) -> (&[u8], u64, &[u8], u16, &[u8]) {
    let at = message.windows(KEY_NAME.len()).rposition(|window| window == KEY_NAME).unwrap();
    let data = &message[at + KEY_NAME.len() + 10..];
    assert_eq!(data[..ALGORITHM.len()], *ALGORITHM);
    let data = &data[ALGORITHM.len()..];
    let number =
        |at: usize, len: usize| data[at..at + len].iter().fold(0u64, |sum, octet| sum << 8 | u64::from(*octet));
    let mac_end = 10 + usize::try_from(number(8, 2)).unwrap();
    let other = usize::try_from(number(mac_end + 4, 2)).unwrap();
    assert_eq!(data.len(), mac_end + 6 + other, "it ends the message");
    let error = u16::try_from(number(mac_end + 2, 2)).unwrap();
    (&message[..at], number(0, 6), &data[10..mac_end], error, &data[mac_end + 6..])
}

const KEY_NAME: &[u8] = b"\x02k1\x07example\0";
const ALGORITHM: &[u8] = b"\x0bhmac-sha256\0";

/// RFC 8945 §5.2.3: signed, so that it is believed, and with our time, so that the other end can set its clock.
#[test]
fn a_query_signed_at_another_time_is_told_ours_signed() {
    let primary = Primary::start(&format!("allow = [\"127.0.0.1\"]\nkeys = \"{KEY}\""));
    let secret = b"0123456789abcdef0123456789abcdef";
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let then = now - 4000;
    let mut message = query(7, "host-1.example.com.", RecordType::A);
    let key = TsigKey { name: "k1.example".into(), algorithm: TsigAlgorithm::HmacSha256, secret: secret.to_vec() };
    Session::new(key).sign(then, 0, &mut message);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(primary.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&message).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    let answer = &buffer[..length];
    assert_eq!(answer[3] & 0xf, 9, "NOTAUTH");
    let (unsigned, time, mac, error, other) = signature(answer);
    assert_eq!((time, error, other.len()), (then, 18, 6));
    let ours = other.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
    assert!(ours >= now && ours < now + 3600, "{ours}");
    // §4.3: the query's MAC, the answer as it was, what is signed besides.
    let query_mac = signature(&message).2;
    let mut signed = u16::try_from(query_mac.len()).unwrap().to_be_bytes().to_vec();
    signed.extend(query_mac);
    let before = signed.len();
    signed.extend(unsigned);
    signed[before + 11] -= 1;
    for part in [KEY_NAME, b"\0\xff\0\0\0\0", ALGORITHM, &then.to_be_bytes()[2..], &300u16.to_be_bytes()] {
        signed.extend(part);
    }
    for part in [&18u16.to_be_bytes()[..], &6u16.to_be_bytes(), other] {
        signed.extend(part);
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    assert!(ring::hmac::verify(&key, &signed, mac).is_ok(), "the signature is ours");
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

/// A query for what changed in `example.com` since a version, as RFC 1995 §3 has it.
fn ixfr(known: u32) -> Vec<u8> {
    let zone = Name::from_ascii("example.com.").unwrap();
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(zone.clone(), RecordType::IXFR));
    let soa = rdata::SOA::new(zone.clone(), zone.clone(), known, 1, 1, 1, 1);
    message.add_authority(Record::from_rdata(zone, 0, RData::SOA(soa)));
    message.to_vec().unwrap()
}

/// RFC 1995 §2: "If the UDP reply does not fit, the query is responded to with a single SOA record of the server's current
/// version to inform the client that a TCP query should be initiated." Here none is tried to fit.
#[test]
fn who_asks_what_changed_by_udp_gets_the_present_version_alone() {
    let primary = Primary::start("allow = [\"127.0.0.0/8\"]");
    let before = primary.serial().unwrap();
    primary.write_zone(&[1, 2, 4, 5]);
    until("the change is served", || primary.serial().is_some_and(|serial| serial != before));
    let after = primary.serial().unwrap();
    for known in [before, before.wrapping_sub(1000), after] {
        let answer = ask_udp(primary.address(), &ixfr(known));
        let flags = &answer.metadata;
        assert_eq!((flags.id, flags.response_code), (9, ResponseCode::NoError), "{known}");
        assert!(flags.authoritative && !flags.truncation, "{known}: {answer:?}");
        assert_eq!(answer.queries[0].query_type(), RecordType::IXFR, "the question comes back as it was");
        let serials: Vec<Option<u32>> = answer
            .answers
            .iter()
            .map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.serial),
                _ => None,
            })
            .collect();
        assert_eq!(serials, [Some(after)], "{known}: the SOA, and nothing else");
        assert_eq!((answer.authorities.len(), answer.additionals.len()), (0, 0), "{known}: {answer:?}");
        assert_eq!(answer.answers[0].name.to_ascii(), "example.com.");
    }
    assert!(primary.metrics().contains(r#"pointsman_dns_transfers_total{result="begun"} 0"#), "none was begun");
    drop(primary);
    // Who may have no zone is not told of it in this way either.
    let primary = Primary::start("allow = [\"192.0.2.0/24\"]");
    let answer = ask_udp(primary.address(), &ixfr(before));
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::Refused, 0));
    assert!(primary.metrics().contains(r#"pointsman_dns_transfers_total{result="refused"} 1"#));
}

/// What the settings put into a zone is in no difference: a secondary would keep the old name server.
#[test]
fn a_change_of_the_name_server_sends_the_whole_zone() {
    let allow = "allow = [\"127.0.0.0/8\"]";
    let primary = Primary::start(allow);
    let address = primary.address();
    for (soa, expected) in [
        ("nameserver = \"ns9\"\nnameserver_addresses = [\"192.0.2.53\"]", "ns9.example.com."),
        ("nameserver = \"ns9\"\nnameserver_addresses = [\"192.0.2.54\"]", "192.0.2.54"),
    ] {
        let before = primary.serial().unwrap();
        primary.configure(soa, allow);
        until("the change is served", || primary.serial().is_some_and(|serial| serial != before));
        let Some(text) = dig(address, &["example.com", &format!("IXFR={before}")]) else { return };
        // SOA, NS, the name server's address, three hosts, a thousand more, SOA.
        assert_eq!(records(&text).len(), 1007, "{text}");
        assert!(records(&text)[1].ends_with("ns9.example.com."), "{text}");
        assert!(records(&text).iter().any(|line| line.contains(expected)), "{text}");
    }
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
