//! The probes by which registries test name servers (RFC 8906 §8, ISC's `genreport`), over UDP and TCP; and what clients
//! of cookies, server ids and padding see.

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod dns_common;

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;

use dns_common::{PATIENCE, Server, framed, names};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use pointsman::config::checked::CookiePolicy;
use pointsman::dns::sample::Sample;

const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const Z: u16 = 0x0040;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;

const SOA: u16 = 6;
const DNSKEY: u16 = 48;

const NSID: &[u8] = b"\0\x03\0\0";
const SUBNET: &[u8] = b"\0\x08\0\x04\0\x01\0\0";
const EXPIRE: &[u8] = b"\0\x09\0\0";
const COOKIE: &[u8] = b"\0\x0a\0\x08\x01\x02\x03\x04\x05\x06\x07\x08";
const UNKNOWN: &[u8] = b"\0\x64\0\0";

/// EDNS of a probe.
#[derive(Clone, Copy)]
struct Opt {
    size: u16,
    version: u8,
    flags: u16,
    options: &'static [&'static [u8]],
}

const PLAIN: Opt = Opt { size: 4096, version: 0, flags: 0, options: &[] };
const LATER: Opt = Opt { version: 1, ..PLAIN };

/// One query of `genreport`: its name there, flags, type, EDNS.
struct Probe(&'static str, u16, u16, Option<Opt>);

const fn with(options: &'static [&'static [u8]]) -> Option<Opt> {
    Some(Opt { options, ..PLAIN })
}

const fn later(options: &'static [&'static [u8]]) -> Option<Opt> {
    Some(Opt { options, ..LATER })
}

const PROBES: &[Probe] = &[
    Probe("dns", 0, SOA, None),
    Probe("aa", AA, SOA, None),
    Probe("ad", AD, SOA, None),
    Probe("cd", CD, SOA, None),
    Probe("ra", RA, SOA, None),
    Probe("rd", RD, SOA, None),
    Probe("tc", TC, SOA, None),
    Probe("zflag", Z, SOA, None),
    Probe("type666", 0, 666, None),
    Probe("edns", 0, SOA, Some(PLAIN)),
    Probe("edns1", 0, SOA, Some(LATER)),
    Probe("edns@512", 0, DNSKEY, Some(Opt { size: 512, flags: 0x8000, ..PLAIN })),
    Probe("ednsopt", 0, SOA, with(&[UNKNOWN])),
    Probe("edns1opt", 0, SOA, later(&[UNKNOWN])),
    Probe("do", 0, SOA, Some(Opt { flags: 0x8000, ..PLAIN })),
    Probe("docd", CD, SOA, Some(Opt { flags: 0x8000, ..PLAIN })),
    Probe("edns1do", 0, SOA, Some(Opt { flags: 0x8000, ..LATER })),
    Probe("ednsflags", 0, SOA, Some(Opt { flags: 0x0080, ..PLAIN })),
    Probe("optlist", 0, SOA, with(&[NSID, SUBNET, EXPIRE, COOKIE])),
    Probe("ednsnsid", 0, SOA, with(&[NSID])),
    Probe("ednscookie", 0, SOA, with(&[COOKIE])),
    Probe("ednsexpire", 0, SOA, with(&[EXPIRE])),
    Probe("ednssubnet", 0, SOA, with(&[SUBNET])),
    Probe("edns1nsid", 0, SOA, later(&[NSID])),
    Probe("edns1cookie", 0, SOA, later(&[COOKIE])),
    Probe("edns1expire", 0, SOA, later(&[EXPIRE])),
    Probe("edns1subnet", 0, SOA, later(&[SUBNET])),
    Probe("bind11", 0, SOA, Some(Opt { flags: 0x8000, options: &[COOKIE], ..PLAIN })),
    Probe("dig11", RD | AD, SOA, with(&[COOKIE])),
];

/// The types that `genreport -t` asks for.
const TYPES: &[u16] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33,
    35, 36, 37, 38, 39, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 55, 59, 60, 61, 99, 104, 105, 106, 107, 108,
    109, 256, 257, 258, 259, 1000, 32769,
];

fn message(flags: u16, record_type: u16, edns: Option<Opt>) -> Vec<u8> {
    let mut message =
        [&[0x47, 0x11], &flags.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]].concat();
    message.extend_from_slice(b"\x05mesos\0");
    message.extend(record_type.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    if let Some(opt) = edns {
        message.extend_from_slice(&[0, 0, 41]);
        message.extend(opt.size.to_be_bytes());
        message.extend([0, opt.version]);
        message.extend(opt.flags.to_be_bytes());
        let options = opt.options.concat();
        message.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        message.extend(options);
    }
    message
}

fn over_udp(server: &Server, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(message).unwrap();
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn over_tcp(server: &Server, message: &[u8]) -> Vec<u8> {
    let mut stream = server.connect();
    stream.write_all(&framed(message)).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// The option's data in the answer's OPT record.
fn option(answer: &Message, code: u16) -> Option<Vec<u8>> {
    let edns = answer.edns.as_ref()?;
    let found = edns.options().as_ref().iter().find(|(known, _)| u16::from(*known) == code)?;
    Some(<Vec<u8>>::try_from(&found.1).unwrap())
}

fn flags_of(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[2], octets[3]])
}

fn check(Probe(name, flags, record_type, edns): &Probe, octets: &[u8]) {
    let answer = Message::from_vec(octets).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(octets[..2], [0x47, 0x11], "{name}: the id");
    let is_later = edns.is_some_and(|opt| opt.version != 0);
    let authoritative = if is_later { 0 } else { AA };
    // RD is copied; everything else that a query may have set is clear.
    assert_eq!(flags_of(octets), QR | authoritative | (flags & RD), "{name}: flags and response code");
    assert_eq!(answer.queries.len(), 1, "{name}: the question");
    let has_answer = *record_type == SOA && !is_later;
    assert_eq!(answer.answers.len(), usize::from(has_answer), "{name}: answers");
    assert!(answer.answers.iter().all(|record| record.record_type() == RecordType::SOA), "{name}");
    let opt = edns.map(|opt| (0, if is_later { 1 } else { 0 }, opt.flags & 0x8000 != 0, 1232));
    let told = answer.edns.as_ref();
    let told = told.map(|edns| (edns.version(), edns.rcode_high(), edns.flags().dnssec_ok, edns.max_payload()));
    assert_eq!(told, opt, "{name}: OPT as it was asked for, version 0");
    assert!(answer.edns.as_ref().is_none_or(|edns| edns.flags().z == 0), "{name}: flags of EDNS");
    let asked = |option: &[u8]| edns.is_some_and(|opt| opt.options.contains(&option) && opt.version == 0);
    for (code, expected) in [(3, asked(NSID)), (8, false), (9, false), (10, asked(COOKIE)), (100, false)] {
        assert_eq!(option(&answer, code).is_some(), expected, "{name}: option {code}");
    }
}

fn identified() -> Sample {
    let mut names = names();
    names.config.identity = Some("dns1".into());
    names
}

#[test]
fn every_probe_of_genreport_is_answered_as_it_wants() {
    let server = Server::start(identified());
    for probe in PROBES {
        let message = message(probe.1, probe.2, probe.3);
        check(probe, &over_udp(&server, &message));
        check(probe, &over_tcp(&server, &message));
    }
    for record_type in TYPES {
        let probe = Probe("type", 0, *record_type, None);
        let octets = over_udp(&server, &message(0, *record_type, None));
        assert_eq!(flags_of(&octets), QR | AA, "type {record_type}");
        let answers = Message::from_vec(&octets).unwrap().answers.len();
        assert_eq!(answers, usize::from(matches!(probe.2, 2 | 6)), "type {record_type}");
    }
}

#[test]
fn unknown_opcodes_are_not_implemented_whatever_flags_they_have() {
    let server = Server::start(names());
    for opcode in (1..16u16).filter(|opcode| *opcode != 4) {
        for flags in [0, AA | TC | RD | RA | Z | AD | CD] {
            let header = [&[0x47, 0x11], &(opcode << 11 | flags).to_be_bytes()[..], &[0; 8]].concat();
            for octets in [over_udp(&server, &header), over_tcp(&server, &header)] {
                assert_eq!((flags_of(&octets), octets.len()), (QR | opcode << 11 | 4, 12), "opcode {opcode}");
            }
        }
    }
}

#[test]
fn questions_are_counted() {
    let server = Server::start(names());
    let question = b"\x05mesos\0\0\x06\0\x01";
    for (count, rest) in [(0u8, vec![]), (2, [&question[..], &question[..]].concat())] {
        let query = [&[0x47, 0x11, 0, 0, 0, count, 0, 0, 0, 0, 0, 0][..], &rest].concat();
        assert_eq!(flags_of(&over_udp(&server, &query)), QR | 1, "RFC 9619: {count} questions");
    }
    // RFC 7873 §5.4: a query for nothing but a cookie.
    let opt = [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12][..], COOKIE].concat();
    let query = [&[0x47, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &opt].concat();
    let octets = over_udp(&server, &query);
    assert_eq!(flags_of(&octets), QR);
    assert_eq!(option(&Message::from_vec(&octets).unwrap(), 10).unwrap().len(), 24);
}

/// A query with this cookie, and its answer's response code, answers and cookie.
fn with_cookie(server: &Server, cookie: &[u8]) -> (u16, usize, Vec<u8>) {
    let mut query = message(0, SOA, Some(PLAIN));
    let length = u8::try_from(cookie.len()).unwrap();
    let end = query.len();
    query[end - 1] = length + 4;
    query.extend([0, 10, 0, length]);
    query.extend(cookie);
    let answer = Message::from_vec(&over_udp(server, &query)).unwrap();
    let cookie = option(&answer, 10).unwrap_or_default();
    (answer.metadata.response_code.into(), answer.answers.len(), cookie)
}

#[test]
fn a_cookie_comes_back_and_can_be_demanded() {
    let server = Server::start(names());
    let (rcode, answers, first) = with_cookie(&server, b"clientsc");
    assert_eq!((rcode, answers, first.len(), &first[..8]), (0, 1, 24, &b"clientsc"[..]));
    assert_eq!(with_cookie(&server, &first).2, first, "a fresh one stays");
    for length in [1, 7, 9, 15, 41] {
        assert_eq!(with_cookie(&server, &vec![1; length]).0, 1, "RFC 7873 §5.2.2: a cookie of {length} octets");
    }
    let mut demanding = names();
    demanding.config.cookies = CookiePolicy::Require;
    let server = Server::start(demanding);
    let (rcode, answers, given) = with_cookie(&server, b"clientsc");
    assert_eq!((rcode, answers, given.len()), (23, 0, 24), "BADCOOKIE, with one that counts");
    assert_eq!(with_cookie(&server, &given).0, 0);
    let mut forged = given;
    forged[23] ^= 1;
    assert_eq!(with_cookie(&server, &forged).0, 23);
    let plain = over_udp(&server, &message(0, SOA, None));
    assert_eq!(flags_of(&plain), QR | AA, "who knows no cookies is answered");
    let over_tcp = over_tcp(&server, &message(0, SOA, with(&[COOKIE])));
    assert_eq!(flags_of(&over_tcp), QR | AA, "a connection proves as much");
    assert!(server.metric("pointsman_dns_queries_total", "rcode=\"BADCOOKIE\"") >= 2.0);
}

#[test]
fn cookies_can_be_left_alone() {
    let mut names = names();
    names.config.cookies = CookiePolicy::Off;
    let server = Server::start(names);
    assert_eq!(with_cookie(&server, b"clientsc"), (0, 1, Vec::new()));
}

/// Runs `dig` or `kdig`; `None`, with a message, where it is not installed.
fn run(program: &str, server: &Server, arguments: &[&str]) -> Option<String> {
    let port = server.address.port().to_string();
    let output = std::process::Command::new(program).args(["@127.0.0.1", "-p", &port]).args(arguments).output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("SKIP: {program} cannot be run: {error}");
            None
        }
    }
}

#[test]
fn dig_and_kdig_see_cookies_ids_and_versions() {
    let mut names = identified();
    names.config.cookies = CookiePolicy::Require;
    names.config.tell_version = true;
    let server = Server::start(names);
    let version = format!("\"Pointsman {}\"", env!("CARGO_PKG_VERSION"));
    let cases: [(&str, &[&str], &[&str]); 7] = [
        // It is told BADCOOKIE first, and asks again by itself.
        ("dig", &["mesos", "SOA", "+cookie"], &["status: NOERROR", "(good)"]),
        ("kdig", &["mesos", "SOA", "+cookie"], &["status: NOERROR", "COOKIE"]),
        ("dig", &["mesos", "SOA", "+nsid"], &["NSID: 64 6e 73 31 (\"dns1\")"]),
        ("kdig", &["mesos", "SOA", "+nsid"], &["dns1"]),
        ("dig", &["mesos", "SOA", "+keepalive", "+tcp"], &["TCP KEEPALIVE: 10.0 secs"]),
        ("dig", &["version.bind", "CH", "TXT"], &["status: NOERROR", &version]),
        ("dig", &["id.server", "CH", "TXT"], &["status: NOERROR", "\"dns1\""]),
    ];
    for (program, arguments, expected) in cases {
        let Some(text) = run(program, &server, arguments) else { continue };
        for part in expected {
            assert!(text.contains(part), "{part} is missing: {program} {arguments:?}\n{text}");
        }
    }
}

#[test]
fn what_is_not_told_is_refused_with_a_reason() {
    let server = Server::start(names());
    for name in ["version.bind", "id.server"] {
        if let Some(text) = run("dig", &server, &[name, "CH", "TXT"]) {
            assert!(text.contains("status: REFUSED"), "{text}");
        }
    }
    if let Some(text) = run("dig", &server, &["example.com", "A"]) {
        assert!(text.contains("EDE: 20 (Not Authoritative)"), "{text}");
    }
}
