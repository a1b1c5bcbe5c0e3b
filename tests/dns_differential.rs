//! The same records, asked of NSD, of Knot and of ours: the answers must be alike, but for the differences listed here.
//!
//! - ANY: one record set (RFC 8482); NSD gives all, or TC. Not compared.
//! - Class ANY: refused; NSD answers from IN. Class CH: refused; NSD tells its version. Not compared.
//! - DO in the answer to another EDNS version: copied (RFC 3225); NSD clears it. Not compared.
//! - AXFR over UDP: refused; NSD says NOTIMP. Octets behind the end of a query: FORMERR; NSD ignores them.
//! - Order within a section, and which records of a set that does not fit are kept. Compared is how many fit, roughly.
//! - RRSIG and NSEC of an alias: the alias is followed, as NSD does; Knot says that there are none. Two questions: FORMERR, as NSD
//!   says; Knot says nothing.
//! - Addresses on top of an answer. Not compared; NSD may add name servers, which are left out by its setting.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot run says so; helpers unwrap")]

mod dns_common;
#[path = "dns_common/knot.rs"]
mod knot;
#[path = "dns_common/nsd.rs"]
mod nsd;
#[path = "common/ports.rs"]
mod ports;

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dns_common::{PATIENCE, Server};
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use knot::Knot;
use nsd::Nsd;
use pointsman::dns::sample::Sample;

/// One zone, both ways.
fn zone() -> (Sample, String) {
    let mut names = Sample::new("mesos");
    names.config.nameserver_addresses = vec![[192, 0, 2, 53].into()];
    let mut file =
        String::from("$ORIGIN mesos.\n$TTL 5\n@ SOA ns1 root.ns1 7 60 600 86400 1\n@ NS ns1\nns1 A 192.0.2.53\n");
    let mut address = |name: &str, last: u8| {
        writeln!(file, "{name} A 10.0.0.{last}").unwrap();
        names = std::mem::replace(&mut names, Sample::new("mesos"))
            .with_address(&format!("{name}.mesos"), [10, 0, 0, last].into());
    };
    for last in 1..=60 {
        address("many.marathon", last);
    }
    for last in 1..=3 {
        address("web.marathon", last);
        address(&format!("web-abcd{last}-s0.marathon"), last);
    }
    address("a-rather-long-name-that-has-more-than-sixty-octets-in-one-label.deep.er", 9);
    for last in 1..=3 {
        writeln!(file, "_web._tcp.marathon SRV 0 1 {last} web-abcd{last}-s0.marathon").unwrap();
        let target = format!("web-abcd{last}-s0.marathon.mesos");
        names = names.with_srv("_web._tcp.marathon.mesos", last, &target);
    }
    for (alias, target) in [("alias", "web.marathon"), ("second", "alias"), ("dangling", "gone"), ("empty", "marathon")]
    {
        writeln!(file, "{alias} CNAME {target}").unwrap();
        names = names.with_alias(&format!("{alias}.mesos"), &format!("{target}.mesos"));
    }
    writeln!(file, "out CNAME www.example.com.").unwrap();
    (names.with_alias("out.mesos", "www.example.com"), file)
}

/// An NSD that serves the zone `mesos`; `None`, with a message, where it is not installed.
fn serve(zone: &str) -> Option<Nsd> {
    let (options, zones) = ("minimal-responses: yes\n rrl-ratelimit: 0", "zone:\n name: mesos\n zonefile: zone\n");
    let nsd = Nsd::start(ports::unused(), options, zones, Some(zone))?;
    until_it_answers(nsd.address);
    Some(nsd)
}

/// Waits until a server has the zone.
fn until_it_answers(server: SocketAddr) {
    let started = Instant::now();
    let has_zone = |octets: Vec<u8>| octets[3] & 0xf == 0;
    while !ask(server, &plain("mesos", 6), Duration::from_millis(100)).is_some_and(has_zone) {
        assert!(started.elapsed() < PATIENCE, "nobody answers on {server}");
    }
}

fn ask(server: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send(query).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn question(name: &str, record_type: u16, class: u16) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets.extend(record_type.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets
}

fn message(flags: u16, counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let [upper, lower] = flags.to_be_bytes();
    let [q, a, n, x] = counts;
    [&[0x47, 0x11, upper, lower, 0, q, 0, a, 0, n, 0, x][..], rest].concat()
}

fn plain(name: &str, record_type: u16) -> Vec<u8> {
    message(0, [1, 0, 0, 0], &question(name, record_type, 1))
}

fn opt(size: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let length = u16::try_from(options.len()).unwrap();
    [&[0, 0, 41], &size.to_be_bytes()[..], &[0, version], &flags.to_be_bytes(), &length.to_be_bytes(), options].concat()
}

/// Every query, with a name for the report.
fn queries() -> Vec<(String, Vec<u8>)> {
    let names = [
        "mesos",
        "MeSoS",
        "ns1.mesos",
        "marathon.mesos",
        "_tcp.marathon.mesos",
        "web.marathon.mesos",
        "WEB.marathon.MESOS",
        "many.marathon.mesos",
        "_web._tcp.marathon.mesos",
        "web-abcd1-s0.marathon.mesos",
        "alias.mesos",
        "second.mesos",
        "dangling.mesos",
        "empty.mesos",
        "out.mesos",
        "gone.mesos",
        "gone.marathon.mesos",
        "below.web.marathon.mesos",
        "root.ns1.mesos",
        "a-rather-long-name-that-has-more-than-sixty-octets-in-one-label.deep.er.mesos",
        "deep.er.mesos",
        "er.mesos",
        "below.alias.mesos",
        "example.com",
        "",
        "xmesos",
        "com",
    ];
    let types = [1u16, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 46, 47, 48, 64, 65, 99, 1000, 65_280];
    let mut queries = Vec::new();
    for name in names {
        for record_type in types {
            queries.push((format!("{name} {record_type}"), plain(name, record_type)));
            for (what, opt) in [
                ("edns", opt(1232, 0, 0, &[])),
                ("edns 0", opt(0, 0, 0, &[])),
                ("edns 700", opt(700, 0, 0, &[])),
                ("do", opt(4096, 0, 0x8000, &[])),
                ("flags", opt(1232, 0, 0x7fff, &[])),
                ("option", opt(1232, 0, 0, &[0, 100, 0, 2, 1, 2])),
            ] {
                let rest = [question(name, record_type, 1), opt].concat();
                queries.push((format!("{name} {record_type} {what}"), message(0, [1, 0, 0, 1], &rest)));
            }
        }
        for (what, flags) in [("rd", 0x100), ("aa", 0x400), ("tc", 0x200), ("ra", 0x80), ("z", 0x40), ("ad", 0x20)] {
            queries.push((format!("{name} {what}"), message(flags, [1, 0, 0, 0], &question(name, 1, 1))));
        }
        for version in [1, 255] {
            let rest = [question(name, 6, 1), opt(1232, version, 0, &[])].concat();
            queries.push((format!("{name} edns version {version}"), message(0, [1, 0, 0, 1], &rest)));
        }
    }
    queries
}

/// Queries that are rejected before they are looked up, of which only the flags must be alike: how much of what was
/// asked is repeated is each server's choice.
fn rejected() -> Vec<(String, Vec<u8>)> {
    let soa = question("mesos", 6, 1);
    let mut queries = Vec::new();
    for opcode in (1..=15).filter(|opcode| !matches!(opcode, 4 | 5)) {
        queries.push((format!("opcode {opcode}"), message(opcode << 11, [1, 0, 0, 0], &soa)));
        queries.push((format!("opcode {opcode}, header only"), message(opcode << 11, [0, 0, 0, 0], &[])));
    }
    let twice = [soa.clone(), opt(1232, 0, 0, &[]), opt(1232, 0, 0, &[])].concat();
    let others = [
        ("header only", message(0, [0, 0, 0, 0], &[])),
        ("two questions", message(0, [2, 0, 0, 0], &[soa.clone(), soa.clone()].concat())),
        ("an answer in a query", message(0, [1, 1, 0, 0], &soa)),
        ("class HS", message(0, [1, 0, 0, 0], &question("mesos", 6, 4))),
        ("class NONE", message(0, [1, 0, 0, 0], &question("mesos", 6, 254))),
        ("OPT twice", message(0, [1, 0, 0, 2], &twice)),
    ];
    queries.extend(others.map(|(what, query)| (what.to_owned(), query)));
    queries
}

/// What must be alike.
fn essence(octets: &[u8]) -> String {
    let message = Message::from_vec(octets).unwrap();
    let records = |records: &[Record]| {
        let mut lines: Vec<String> = records.iter().map(ToString::to_string).map(|line| line.to_lowercase()).collect();
        lines.sort();
        lines
    };
    let truncated = message.metadata.truncation;
    // Of a set that does not fit, the choice is free; and NSD keeps none of it where DNS allows some.
    let answers = if truncated { Vec::new() } else { records(&message.answers) };
    format!(
        "flags {:02x}{:02x} questions {:?} answers {answers:?} authorities {:?} edns {:?}",
        octets[2],
        octets[3],
        message.queries,
        records(&message.authorities),
        message.edns.map(|edns| (edns.version(), edns.flags().dnssec_ok, edns.rcode_high())),
    )
}

/// What differs between two servers' answers to these queries.
fn differences(
    theirs: SocketAddr,
    ours: SocketAddr,
    queries: Vec<(String, Vec<u8>)>,
    alike: fn(&[u8]) -> String,
) -> Vec<String> {
    let differs = |(what, query): (String, Vec<u8>)| {
        let theirs = ask(theirs, &query, PATIENCE).map(|octets| alike(&octets));
        let ours = ask(ours, &query, PATIENCE).map(|octets| alike(&octets));
        (theirs != ours || ours.is_none()).then(|| format!("{what}\n  theirs: {theirs:?}\n  ours:   {ours:?}"))
    };
    queries.into_iter().filter_map(differs).collect()
}

#[track_caller]
fn assert_alike(
    theirs: SocketAddr,
    ours: SocketAddr,
    queries: Vec<(String, Vec<u8>)>,
    rejected: Vec<(String, Vec<u8>)>,
) {
    let mut all = differences(theirs, ours, queries, essence);
    all.extend(differences(theirs, ours, rejected, |octets| format!("{:02x?}", &octets[..4])));
    assert!(all.is_empty(), "{}:\n{}", all.len(), all.join("\n"));
}

#[test]
fn answers_as_nsd_does() {
    let (names, file) = zone();
    let Some(nsd) = serve(&file) else { return };
    let server = Server::start(names);
    assert_alike(nsd.address, server.address, queries(), rejected());
}

#[test]
fn answers_as_knot_does() {
    let (names, file) = zone();
    let Some(knot) = Knot::start(ports::unused(), "mesos", &file) else { return };
    until_it_answers(knot.address);
    let server = Server::start(names);
    // These types live beside an alias (RFC 4035 §2.5), so that Knot has nothing to follow.
    let aliases = ["alias.", "second.", "dangling.", "empty.", "out."];
    let is_alike = |what: &str| !(aliases.iter().any(|alias| what.starts_with(alias)) && what.contains(".mesos 4"));
    let mut asked = queries();
    asked.retain(|(what, _)| is_alike(what) || !(what.contains(" 46") || what.contains(" 47")));
    let mut refused = rejected();
    refused.retain(|(what, _)| what != "two questions");
    assert_alike(knot.address, server.address, asked, refused);
}
