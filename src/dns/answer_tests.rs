//! What is answered to what, one line a rule; read back by an independent decoder.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::answer::{Answered, Authority, Outcome, answer};
use super::asker::Asker;
use super::sample::Sample;
use super::source::NameSource;
use super::wire::name::NameText;
use super::wire::query::{Ignored, Incoming, parse};
use super::wire::record::{Data, Owner, Soa};
use super::wire::response::{Response, Section, Written};
use super::wire::{Rcode, Transport, flags, name};
use crate::cluster::event::RecordData;

fn names() -> Sample {
    let mut names = Sample::new("mesos")
        .with_address("web.marathon.mesos", [10, 0, 0, 1].into())
        .with_address("web.marathon.mesos", [10, 0, 0, 2].into())
        .with_address("web.marathon.mesos", "fd00::1".parse().unwrap())
        .with_address("web-abcde-s0.marathon.mesos", [10, 0, 0, 1].into())
        .with_address("web-fghij-s1.marathon.mesos", [10, 0, 0, 2].into())
        .with_srv("_web._tcp.marathon.mesos", 31_000, "web-abcde-s0.marathon.mesos")
        .with_srv("_web._tcp.marathon.mesos", 31_001, "web-fghij-s1.marathon.mesos")
        .with_srv("_web._tcp.marathon.mesos", 31_002, "web-fghij-s1.marathon.mesos")
        .with_alias("alias.mesos", "Second.mesos")
        .with_alias("second.mesos", "web.marathon.mesos")
        .with_alias("out.mesos", "www.example.com")
        .with_alias("echo.mesos", "a.a.a.example.a.a")
        .with_alias("dangling.mesos", "gone.mesos")
        .with_alias("loop.mesos", "pool.mesos")
        .with_alias("pool.mesos", "loop.mesos")
        .with("text.mesos", RecordData::Txt([Arc::from("a"), Arc::from("b c")].into()))
        .with_ttl("mixed.mesos", RecordData::A([10, 1, 0, 1].into()), Some(30))
        .with_ttl("mixed.mesos", RecordData::A([10, 1, 0, 2].into()), None)
        .with_srv("_bad._tcp.mesos", 1, &"x".repeat(64));
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        names = names.with_address("many.mesos", [10, 9, high, low].into());
    }
    for number in 0..5000u16 {
        names = names.with_srv("_many._tcp.mesos", number, &format!("many-{number}-s0.marathon.slave.mesos"));
    }
    names
}

fn query(name: &str, record_type: u16) -> Message {
    let mut query = Query::query(Name::from_ascii(name).unwrap(), RecordType::from(record_type));
    query.set_query_class(DNSClass::IN);
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(query);
    message
}

fn raw(names: &Sample, transport: Transport, message: &[u8]) -> (Outcome, Vec<u8>) {
    let own: [IpAddr; 2] = [[192, 0, 2, 53].into(), "2001:db8::53".parse().unwrap()];
    let authority = Authority { names, own_addresses: &own };
    let mut out = Vec::new();
    let outcome = answer(&authority, transport, message, &mut fastrand::Rng::with_seed(7), &mut out);
    (outcome, out)
}

fn ask_over(transport: Transport, names: &Sample, message: &Message) -> (Message, Vec<u8>) {
    let (outcome, octets) = raw(names, transport, &message.to_vec().unwrap());
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    let response = Message::from_vec(&octets).unwrap();
    assert_eq!(response.metadata.id, message.metadata.id);
    assert_eq!(response.metadata.message_type, MessageType::Response);
    assert!(!response.metadata.recursion_available);
    assert!(!response.metadata.authentic_data);
    (response, octets)
}

fn ask(name: &str, record_type: u16) -> Message {
    ask_over(Transport::Udp, &names(), &query(name, record_type)).0
}

/// `rcode flags | answers | authorities | additionals`, each record as `owner ttl type data`, sorted.
fn show(message: &Message) -> String {
    let section = |records: &[hickory_proto::rr::Record]| {
        let mut lines: Vec<String> = records
            .iter()
            .map(|record| format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data))
            .collect();
        lines.sort();
        lines.join(", ")
    };
    let metadata = &message.metadata;
    let authoritative = if metadata.authoritative { " aa" } else { "" };
    let truncated = if metadata.truncation { " tc" } else { "" };
    format!(
        "{}{authoritative}{truncated} | {} | {} | {}",
        u16::from(metadata.response_code),
        section(&message.answers),
        section(&message.authorities),
        section(&message.additionals)
    )
}

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const ANY: u16 = 255;

const ABSENT: &str = "mesos. 1 SOA ns1.mesos. root.ns1.mesos. 7 60 600 86400 1";

fn check(name: &str, record_type: u16, expected: &str) {
    assert_eq!(show(&ask(name, record_type)), expected, "{name} {record_type}");
}

#[test]
fn names_that_exist() {
    check("web.marathon.mesos.", A, "0 aa | web.marathon.mesos. 5 A 10.0.0.1, web.marathon.mesos. 5 A 10.0.0.2 |  | ");
    check("web.marathon.mesos.", AAAA, "0 aa | web.marathon.mesos. 5 AAAA fd00::1 |  | ");
    check("text.mesos.", TXT, "0 aa | text.mesos. 5 TXT ab c |  | ");
    check(
        "_web._tcp.marathon.mesos.",
        SRV,
        "0 aa | _web._tcp.marathon.mesos. 5 SRV 0 1 31000 web-abcde-s0.marathon.mesos., \
         _web._tcp.marathon.mesos. 5 SRV 0 1 31001 web-fghij-s1.marathon.mesos., \
         _web._tcp.marathon.mesos. 5 SRV 0 1 31002 web-fghij-s1.marathon.mesos. |  | \
         web-abcde-s0.marathon.mesos. 5 A 10.0.0.1, web-fghij-s1.marathon.mesos. 5 A 10.0.0.2",
    );
}

#[test]
fn a_record_set_has_one_time_to_live() {
    check("mixed.mesos.", A, "0 aa | mixed.mesos. 5 A 10.1.0.1, mixed.mesos. 5 A 10.1.0.2 |  | ");
}

/// The denial of the name that `message` asks for, each record written anew.
fn denied_anew(names: &Sample, message: &[u8], limit: usize) -> Vec<u8> {
    let mut text = NameText::default();
    let Incoming::Query(query) = parse(message, &mut text) else { panic!("no query: {message:02x?}") };
    let (config, zone) = (&names.config, names.find(query.question.name).zone().unwrap());
    let soa = Soa::of(zone, config);
    let ttl = config.ttl_seconds.min(config.negative_ttl_seconds);
    let mut out = Vec::new();
    let mut response = Response::begin(&mut out, query.header, Some(&query.question), None, limit);
    let written = response.record(Section::Authority, Owner::Name(&zone.name), ttl, Data::Soa(&soa));
    let truncated = if written == Written::NoRoom { flags::TC } else { 0 };
    response.finish(Rcode::NxDomain, flags::AA | truncated);
    out
}

#[test]
fn what_is_kept_of_a_denial_says_what_is_written_anew() {
    // More labels than can be pointed to, with the zone's behind them.
    let deep = vec!["a"; 100].join(".");
    for zone in ["mesos", "b.c.mesos", ""] {
        let mut names = Sample::new(zone);
        for nameserver in ["ns1", "Ns.b", "ns.elsewhere."] {
            names.config.nameserver = nameserver.into();
            let kept = names.find(zone).zone().unwrap().denial(&names.config).is_some();
            // What was kept for other settings is not said, and not kept anew: a zone has those of its table.
            assert_eq!(kept, nameserver == "ns1" && !zone.is_empty(), "{nameserver} {zone}");
            for below in ["x", "X.y", "mesos", &deep] {
                let labels = below.split('.').chain(zone.split('.')).filter(|label| !label.is_empty());
                let mut message = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                for label in labels {
                    // Names come in any case.
                    message.push(u8::try_from(label.len()).unwrap());
                    message.extend(label.bytes().enumerate().map(|(at, octet)| octet ^ (b' ' * u8::from(at % 2 == 0))));
                }
                message.extend([0, 0, 1, 0, 1]);
                for limit in (12..=512).rev().step_by(4) {
                    let asker = Asker { reserved: 512 - limit, ..Asker::from(Transport::Udp) };
                    let authority = Authority { names: &names, own_addresses: &[] };
                    let mut out = Vec::new();
                    answer(&authority, asker, &message, &mut fastrand::Rng::with_seed(7), &mut out);
                    assert_eq!(out, denied_anew(&names, &message, limit), "{nameserver} {below} {zone} {limit}");
                }
            }
        }
    }
}

#[test]
fn absence_is_told_with_the_soa_and_its_time() {
    let nodata = format!("0 aa |  | {ABSENT} | ");
    let nxdomain = format!("3 aa |  | {ABSENT} | ");
    check("web.marathon.mesos.", TXT, &nodata);
    check("web.marathon.mesos.", 1000, &nodata);
    check("mesos.", A, &nodata);
    check("web.marathon.mesos.", SOA, &nodata);
    check("gone.marathon.mesos.", A, &nxdomain);
    check("gone.marathon.mesos.", SRV, &nxdomain);
    check("gone.marathon.mesos.", SOA, &nxdomain);
    check("gone.marathon.mesos.", ANY, &nxdomain);
    check("below.web.marathon.mesos.", A, &nxdomain);
    // A dot within a label makes another name of it.
    check("web\\.marathon.mesos.", A, &nxdomain);
    check("mesos.", 43, &nodata);
}

#[test]
fn a_label_with_a_dot_is_no_two_labels() {
    // As a wildcard's alias has it: what is asked for is one label, what it leads to are two.
    let names = names().with_alias("a\u{7f}b.mesos", "a.b.mesos");
    let (response, octets) = ask_over(Transport::Udp, &names, &query("a\\.b.mesos.", CNAME));
    let RData::CNAME(target) = &response.answers[0].data else { panic!("{response}") };
    assert_eq!((target.0.to_ascii().as_str(), target.0.num_labels()), ("a.b.mesos.", 3));
    assert!(octets.ends_with(b"\x01a\x01b\xc0\x10"), "{octets:?}");
}

#[test]
fn empty_non_terminals_exist() {
    for name in ["marathon.mesos.", "_tcp.marathon.mesos.", "_tcp.mesos."] {
        for record_type in [A, SRV, ANY] {
            check(name, record_type, &format!("0 aa |  | {ABSENT} | "));
        }
    }
}

#[test]
fn the_apex_has_soa_and_ns() {
    check("mesos.", SOA, "0 aa | mesos. 5 SOA ns1.mesos. root.ns1.mesos. 7 60 600 86400 1 |  | ");
    check("mesos.", ANY, "0 aa | mesos. 5 SOA ns1.mesos. root.ns1.mesos. 7 60 600 86400 1 |  | ");
    check("mesos.", NS, "0 aa | mesos. 5 NS ns1.mesos. |  | ns1.mesos. 5 A 192.0.2.53, ns1.mesos. 5 AAAA 2001:db8::53");
    check("ns1.mesos.", A, "0 aa | ns1.mesos. 5 A 192.0.2.53 |  | ");
    check("ns1.mesos.", AAAA, "0 aa | ns1.mesos. 5 AAAA 2001:db8::53 |  | ");
    check("root.ns1.mesos.", A, &format!("3 aa |  | {ABSENT} | "));
}

#[test]
fn a_name_server_below_several_labels_makes_them_exist() {
    let mut names = names();
    names.config.nameserver = "one.ns".into();
    names.config.nameserver_addresses = vec![[203, 0, 113, 1].into()];
    let show_of = |name, record_type| show(&ask_over(Transport::Udp, &names, &query(name, record_type)).0);
    assert_eq!(show_of("one.ns.mesos.", A), "0 aa | one.ns.mesos. 5 A 203.0.113.1 |  | ");
    assert!(show_of("ns.mesos.", A).starts_with("0 aa |  | mesos. 1 SOA one.ns.mesos."));
    assert!(show_of("s.mesos.", A).starts_with("3 aa"));
}

#[test]
fn a_name_server_may_be_absolute_and_in_the_zone_at_its_apex_or_elsewhere() {
    let show_of = |nameserver: &str, name, record_type| {
        let mut names = names();
        names.config.nameserver = nameserver.into();
        names.config.contact = "root.example.com.".into();
        names.config.nameserver_addresses = vec![[203, 0, 113, 1].into()];
        show(&ask_over(Transport::Udp, &names, &query(name, record_type)).0)
    };
    let soa = |nameserver| format!("0 aa | mesos. 5 SOA {nameserver} root.example.com. 7 60 600 86400 1 |  | ");
    assert_eq!(show_of("ns.mesos.", "mesos.", SOA), soa("ns.mesos."));
    assert_eq!(show_of("ns.mesos.", "ns.mesos.", A), "0 aa | ns.mesos. 5 A 203.0.113.1 |  | ");
    assert_eq!(show_of("mesos.", "mesos.", NS), "0 aa | mesos. 5 NS mesos. |  | mesos. 5 A 203.0.113.1");
    assert_eq!(show_of("ns.example.com.", "mesos.", NS), "0 aa | mesos. 5 NS ns.example.com. |  | ");
    assert!(show_of("ns.example.com.", "ns1.mesos.", A).starts_with("3 aa"));
}

#[test]
fn aliases_are_followed_within_our_zones() {
    check(
        "alias.mesos.",
        A,
        "0 aa | Second.mesos. 5 CNAME web.marathon.mesos., alias.mesos. 5 CNAME Second.mesos., \
         web.marathon.mesos. 5 A 10.0.0.1, web.marathon.mesos. 5 A 10.0.0.2 |  | ",
    );
    check("alias.mesos.", CNAME, "0 aa | alias.mesos. 5 CNAME Second.mesos. |  | ");
    check("alias.mesos.", ANY, "0 aa | alias.mesos. 5 CNAME Second.mesos. |  | ");
    check("out.mesos.", A, "0 aa | out.mesos. 5 CNAME www.example.com. |  | ");
    check("echo.mesos.", A, "0 aa | echo.mesos. 5 CNAME a.a.a.example.a.a. |  | ");
    check("dangling.mesos.", A, &format!("3 aa | dangling.mesos. 5 CNAME gone.mesos. | {ABSENT} | "));
    check(
        "alias.mesos.",
        TXT,
        &format!("0 aa | Second.mesos. 5 CNAME web.marathon.mesos., alias.mesos. 5 CNAME Second.mesos. | {ABSENT} | "),
    );
    check("loop.mesos.", A, "0 aa | loop.mesos. 5 CNAME pool.mesos., pool.mesos. 5 CNAME loop.mesos. |  | ");
}

#[test]
fn any_gets_one_record_set() {
    check(
        "web.marathon.mesos.",
        ANY,
        "0 aa | web.marathon.mesos. 5 A 10.0.0.1, web.marathon.mesos. 5 A 10.0.0.2 |  | ",
    );
}

#[test]
fn what_is_not_ours_is_refused() {
    for name in ["example.com.", ".", "xmesos.", "notmesos.example."] {
        check(name, A, "5 |  |  | ");
    }
    for record_type in [251, 252] {
        check("mesos.", record_type, "5 |  |  | ");
    }
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::NONE, DNSClass::ANY] {
        let mut message = query("mesos.", SOA);
        message.queries[0].set_query_class(class);
        assert_eq!(show(&ask_over(Transport::Udp, &names(), &message).0), "5 |  |  | ", "{class}");
    }
    check("mesos.", 249, "4 |  |  | ");
    check("mesos.", 250, "1 |  |  | ");
    check("mesos.", 41, "1 |  |  | ");
}

#[test]
fn before_the_first_table_nothing_is_denied() {
    let mut names = names();
    names.ready = false;
    for name in ["web.marathon.mesos.", "gone.mesos.", "example.com."] {
        assert_eq!(show(&ask_over(Transport::Udp, &names, &query(name, A)).0), "2 |  |  | ");
    }
}

#[test]
fn a_zone_whose_source_has_not_spoken_denies_nothing() {
    let mut names = names();
    names.zone_ready = false;
    for (name, rcode) in [("web.marathon.mesos.", 2), ("gone.mesos.", 2), ("mesos.", 2), ("example.com.", 5)] {
        assert_eq!(show(&ask_over(Transport::Udp, &names, &query(name, A)).0), format!("{rcode} |  |  | "));
    }
}

#[test]
fn case_is_the_askers() {
    let response = ask("WeB.mArAtHoN.MESOS.", A);
    assert_eq!(response.queries[0].name().to_ascii(), "WeB.mArAtHoN.MESOS.");
    assert_eq!(response.answers.len(), 2);
    assert!(response.answers.iter().all(|record| record.name.to_ascii() == "WeB.mArAtHoN.MESOS."));
}

#[test]
fn header_bits_are_copied_or_cleared() {
    let mut octets = query("mesos.", SOA).to_vec().unwrap();
    let flags_for = |octets: &[u8]| {
        let out = raw(&names(), Transport::Udp, octets).1;
        u16::from_be_bytes([out[2], out[3]])
    };
    assert_eq!(flags_for(&octets), 0x8400, "RD clear");
    octets[2] |= 0x01;
    assert_eq!(flags_for(&octets), 0x8500, "RD copied");
    // AA, TC, RA, Z, AD and CD of a query mean nothing to an authority.
    octets[2] |= 0x06;
    octets[3] |= 0xf0;
    assert_eq!(flags_for(&octets), 0x8500);
}

#[test]
fn other_opcodes_are_not_implemented() {
    for opcode in 1..16u8 {
        let mut octets = query("mesos.", SOA).to_vec().unwrap();
        octets[2] = opcode << 3 | 1;
        let (outcome, out) = raw(&names(), Transport::Udp, &octets);
        assert_eq!(out, [octets[0], octets[1], 0x80 | opcode << 3, 4, 0, 0, 0, 0, 0, 0, 0, 0], "{outcome:?}");
    }
}

#[test]
fn malformed_queries_are_told_so_as_far_as_they_can_be_read() {
    let good = query("mesos.", SOA).to_vec().unwrap();
    let rcode_of = |octets: &[u8]| {
        let (outcome, out) = raw(&names(), Transport::Udp, octets);
        assert_eq!(out[..2], octets[..2]);
        assert!(Message::from_vec(&out).is_ok());
        match outcome {
            Outcome::Answered(answered) => answered.rcode.as_str(),
            Outcome::Ignored(_) => "ignored",
        }
    };
    let with = |at: usize, value: u8| {
        let mut octets = good.clone();
        octets[at] = value;
        octets
    };
    assert_eq!(rcode_of(&good), "NOERROR");
    assert_eq!(rcode_of(&good[..12]), "FORMERR", "header only, one question promised");
    assert_eq!(rcode_of(&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "FORMERR", "no question");
    for end in 13..good.len() {
        assert_eq!(rcode_of(&good[..end]), "FORMERR", "cut at {end}");
    }
    assert_eq!(rcode_of(&with(5, 2)), "FORMERR", "two questions");
    assert_eq!(rcode_of(&with(7, 1)), "FORMERR", "an answer promised");
    assert_eq!(rcode_of(&with(9, 1)), "FORMERR", "an authority promised");
    assert_eq!(rcode_of(&with(11, 1)), "FORMERR", "an additional promised");
    assert_eq!(rcode_of(&with(12, 0xc0)), "FORMERR", "a pointer in the question");
    assert_eq!(rcode_of(&[&good[..], b"more"].concat()), "FORMERR", "octets behind the end");
}

#[test]
fn responses_and_crumbs_are_ignored() {
    let mut response = query("mesos.", SOA).to_vec().unwrap();
    response[2] |= 0x80;
    assert_eq!(raw(&names(), Transport::Udp, &response), (Outcome::Ignored(Ignored::Response), vec![]));
    for length in 0..12 {
        let crumbs = &[0u8; 12][..length];
        assert_eq!(raw(&names(), Transport::Udp, crumbs), (Outcome::Ignored(Ignored::Short), vec![]));
    }
}

fn with_edns(name: &str, record_type: u16, size: u16, version: u8) -> Message {
    let mut message = query(name, record_type);
    let mut edns = Edns::new();
    edns.set_max_payload(size).set_version(version).set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

#[test]
fn edns_is_returned_if_and_only_if_it_was_sent() {
    assert!(ask("mesos.", SOA).edns.is_none());
    let (response, octets) = ask_over(Transport::Udp, &names(), &with_edns("mesos.", SOA, 4096, 0));
    let edns = response.edns.as_ref().unwrap();
    assert_eq!((edns.max_payload(), edns.version()), (1232, 0));
    assert!(edns.flags().dnssec_ok, "DO is copied");
    assert!(octets.ends_with(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]), "no other flag, no option");
    for (name, rcode) in [("gone.mesos.", 3), ("example.com.", 5)] {
        let (response, _) = ask_over(Transport::Udp, &names(), &with_edns(name, A, 1232, 0));
        assert!(response.edns.is_some());
        assert_eq!(u16::from(response.metadata.response_code), rcode);
    }
}

/// RFC 6891 §7.
#[test]
fn edns_is_returned_where_the_rest_is_no_query() {
    let question = query("mesos.", SOA).to_vec().unwrap()[12..].to_vec();
    let opt = b"\0\0\x29\x10\0\0\0\x80\0\0\0";
    let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04abcd";
    for (counts, rest) in [
        ([0, 0, 0, 1], vec![]),
        ([2, 0, 0, 1], question.repeat(2)),
        ([9, 0, 0, 1], question.repeat(9)),
        ([1, 1, 0, 1], [&question[..], record].concat()),
        ([1, 0, 2, 1], [&question[..], record, record].concat()),
    ] {
        let [questions, answers, authorities, additionals] = counts;
        let header = [0x47, 0x11, 0, 0, 0, questions, 0, answers, 0, authorities, 0, additionals];
        let (_, out) = raw(&names(), Transport::Udp, &[&header[..], &rest, opt].concat());
        let response = Message::from_vec(&out).unwrap();
        assert_eq!(u16::from(response.metadata.response_code), 1, "{counts:?}");
        assert!(response.edns.is_some_and(|edns| edns.flags().dnssec_ok), "{counts:?}");
        let without = [&header[..11], &[0], &rest].concat();
        assert!(Message::from_vec(&raw(&names(), Transport::Udp, &without).1).unwrap().edns.is_none(), "{counts:?}");
    }
    // Counts that promise what is not there.
    let header = [0x47, 0x11, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(raw(&names(), Transport::Udp, &[&header[..], &question].concat()).1[3], 1);
}

#[test]
fn another_edns_version_is_bad() {
    let (response, octets) = ask_over(Transport::Udp, &names(), &with_edns("mesos.", SOA, 4096, 1));
    // 16 is BADVERS and BADSIG both; which one, the record says it is in.
    assert_eq!(u16::from(response.metadata.response_code), 16);
    assert!(response.answers.is_empty());
    assert!(octets.ends_with(&[0, 0, 41, 0x04, 0xd0, 1, 0, 0x80, 0, 0, 0]));
}

/// The apex's SOA, asked for with additional records given as octets.
fn with_additionals(additionals: &[&[u8]]) -> Vec<u8> {
    let mut octets = query("mesos.", SOA).to_vec().unwrap();
    octets[11] = u8::try_from(additionals.len()).unwrap();
    octets.extend(additionals.concat());
    octets
}

#[test]
fn options_are_ignored_unless_they_are_broken() {
    let rcode_of = |additionals: &[&[u8]]| {
        let (outcome, out) = raw(&names(), Transport::Udp, &with_additionals(additionals));
        let Outcome::Answered(answered) = outcome else { panic!("ignored") };
        (answered.rcode.as_str(), out.ends_with(&[0, 0, 0, 0, 0, 0]) || out.windows(3).any(|w| w == [0, 0, 41]))
    };
    let unknown = b"\0\0\x29\x10\0\0\0\0\0\0\x08\0\x64\0\x04abcd";
    assert_eq!(rcode_of(&[unknown]), ("NOERROR", true));
    let too_long = b"\0\0\x29\x10\0\0\0\0\0\0\x08\0\x64\0\x05abcd";
    assert_eq!(rcode_of(&[too_long]), ("FORMERR", true));
    let half_an_option = b"\0\0\x29\x10\0\0\0\0\0\0\x03\0\x64\0";
    assert_eq!(rcode_of(&[half_an_option]), ("FORMERR", true));
    let plain = b"\0\0\x29\x10\0\0\0\0\0\0\0";
    assert_eq!(rcode_of(&[plain]), ("NOERROR", true));
    assert_eq!(rcode_of(&[plain, plain]), ("FORMERR", true));
    let named = b"\x01a\0\0\x29\x10\0\0\0\0\0\0\0";
    assert_eq!(rcode_of(&[named]).0, "FORMERR");
    let another_record = b"\x01a\0\0\x01\0\x01\0\0\0\0\0\x04abcd";
    assert_eq!(rcode_of(&[another_record, plain]), ("NOERROR", true));
}

#[test]
fn encrypted_answers_are_padded_for_those_who_pad() {
    let padded = with_additionals(&[b"\0\0\x29\x10\0\0\0\0\0\0\x04\0\x0c\0\0"]);
    let plain = with_additionals(&[b"\0\0\x29\x10\0\0\0\0\0\0\0"]);
    let length = |transport, message: &[u8]| {
        let octets = raw(&names(), transport, message).1;
        Message::from_vec(&octets).unwrap();
        octets.len()
    };
    for transport in [Transport::Tls, Transport::Https] {
        // RFC 8467 §4.1.
        assert_eq!(length(transport, &padded) % 468, 0);
        assert_eq!(length(transport, &plain), length(Transport::Tcp, &plain));
    }
    for transport in [Transport::Udp, Transport::Tcp] {
        assert_eq!(length(transport, &padded), length(transport, &plain), "RFC 7830 section 6: not in the clear");
    }
}

#[test]
fn an_unknown_key_is_told_so() {
    let algorithm = b"\x0bhmac-sha256\0";
    let data =
        [&algorithm[..], &[0, 0, 0x67, 0x12, 0x34, 0x56, 1, 44, 0, 4], b"MACS", &[0x12, 0x67, 0, 0, 0, 0]].concat();
    let record = [&b"\x03key\0\0\xfa\0\xff\0\0\0\0\0"[..], &[u8::try_from(data.len()).unwrap()], &data].concat();
    let (outcome, out) = raw(&names(), Transport::Udp, &with_additionals(&[&record]));
    assert!(matches!(outcome, Outcome::Answered(Answered { rcode, .. }) if rcode.as_str() == "NOTAUTH"));
    let told = [&algorithm[..], &[0, 0, 0x67, 0x12, 0x34, 0x56, 1, 44, 0, 0, 0x12, 0x67, 0, 17, 0, 0]].concat();
    assert!(out.ends_with(&told), "{out:?}");
    assert_eq!(out[11], 1);
    let plain = b"\0\0\x29\x10\0\0\0\0\0\0\0";
    let (outcome, _) = raw(&names(), Transport::Udp, &with_additionals(&[&record, plain]));
    assert!(matches!(outcome, Outcome::Answered(Answered { rcode, .. }) if rcode.as_str() == "FORMERR"));
}

fn size_and_count(transport: Transport, message: &Message) -> (usize, usize, bool) {
    let (response, octets) = ask_over(transport, &names(), message);
    (octets.len(), response.answers.len(), response.metadata.truncation)
}

#[test]
fn what_does_not_fit_is_cut_to_whole_records_and_flagged() {
    // 12 + 16 octets of header and question, 16 a record.
    assert_eq!(size_and_count(Transport::Udp, &query("many.mesos.", A)), (508, 30, true));
    assert_eq!(size_and_count(Transport::Udp, &with_edns("many.mesos.", A, 0, 0)), (503, 29, true));
    assert_eq!(size_and_count(Transport::Udp, &with_edns("many.mesos.", A, 800, 0)), (791, 47, true));
    assert_eq!(size_and_count(Transport::Udp, &with_edns("many.mesos.", A, 65_535, 0)), (1223, 74, true));
    let (size, count, truncated) = size_and_count(Transport::Tcp, &query("many.mesos.", A));
    assert_eq!((count, truncated), (4094, true));
    assert!(size <= 65_535);
    let (size, count, truncated) = size_and_count(Transport::Tcp, &query("_many._tcp.mesos.", SRV));
    assert!(count > 1000 && truncated && size <= 65_535, "{count} {size}");
}

#[test]
fn additional_records_never_flag() {
    let mut names = names();
    for last in 0..40 {
        names = names.with_address("web-abcde-s0.marathon.mesos", [10, 3, 0, last].into());
    }
    let (response, _) = ask_over(Transport::Udp, &names, &query("_web._tcp.marathon.mesos.", SRV));
    assert!(!response.metadata.truncation);
    assert_eq!(response.answers.len(), 3);
    // A set that does not fit is left out whole.
    assert!(response.additionals.iter().all(|record| !record.name.to_ascii().starts_with("web-abcde")));
}

#[test]
fn every_answer_has_its_own_order() {
    let names = names();
    let authority = Authority { names: &names, own_addresses: &[] };
    let mut random = fastrand::Rng::with_seed(3);
    let octets = query("many.mesos.", A).to_vec().unwrap();
    let mut first = std::collections::HashSet::new();
    for _ in 0..50 {
        let mut out = Vec::new();
        answer(&authority, Transport::Udp, &octets, &mut random, &mut out);
        let response = Message::from_vec(&out).unwrap();
        let RData::A(address) = &response.answers[0].data else { panic!("{response}") };
        first.insert(address.0);
        let all: std::collections::HashSet<_> = response.answers.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(all.len(), response.answers.len(), "no record twice");
    }
    assert!(first.len() > 40, "{}", first.len());
}

fn kept(count: u16) -> Sample {
    let v4 = (0..count).map(|number| IpAddr::from([10, 9, number.to_be_bytes()[0], number.to_be_bytes()[1]]));
    let v6 = (0..count).map(|number| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number]));
    names().with_kept("group.mesos", v4.chain(v6)).with_srv("_group._tcp.mesos", 80, "group.mesos")
}

/// What is kept is answered as what is made, over every transport and of every type.
#[test]
fn kept_addresses_are_answered_as_others_are() {
    for (count, record_type, transport, expected) in [
        (0, A, Transport::Udp, (0, false)),
        (1, A, Transport::Udp, (1, false)),
        (10, A, Transport::Udp, (10, false)),
        // 512 octets, less a header of 12 and a question of 17: records of 16.
        (30, A, Transport::Udp, (30, false)),
        (31, A, Transport::Udp, (30, true)),
        (1000, A, Transport::Udp, (30, true)),
        (1000, A, Transport::Tcp, (1000, false)),
        // 65,535 octets: records of 16, or of 28.
        (5000, A, Transport::Tcp, (4094, true)),
        (1000, AAAA, Transport::Udp, (17, true)),
        (1000, AAAA, Transport::Tcp, (1000, false)),
        (1000, ANY, Transport::Tcp, (1000, false)),
        (1000, TXT, Transport::Udp, (0, false)),
    ] {
        let names = kept(count);
        let (response, octets) = ask_over(transport, &names, &query("group.mesos.", record_type));
        let each: std::collections::HashSet<_> = response.answers.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(each.len(), response.answers.len(), "no record twice");
        let what = format!("{count} {record_type} {transport:?}");
        assert_eq!((each.len(), response.metadata.truncation), expected, "{what}");
        assert!(octets.len() <= if transport == Transport::Udp { 512 } else { 65_535 }, "{what}");
        // RFC 2308 §2.2: NODATA has the SOA.
        assert_eq!(response.authorities.len(), usize::from(expected.0 == 0), "{what}");
        assert!(response.answers.iter().all(|record| record.ttl == 5), "{what}");
    }
    let (response, _) = ask_over(Transport::Tcp, &kept(10), &query("_group._tcp.mesos.", SRV));
    assert_eq!((response.answers.len(), response.additionals.len()), (1, 20));
}

/// Of a set that does not fit, each record is answered as often as any other, and is as often the first.
#[test]
fn each_record_of_a_large_group_is_answered_as_often_as_any_other() {
    const ROUNDS: usize = 20_000;
    // Twice what fits and less are shuffled, more are drawn one by one.
    for (count, fitting) in [(40_u16, 30), (200, 30)] {
        let names = kept(count);
        let authority = Authority { names: &names, own_addresses: &[] };
        let mut random = fastrand::Rng::with_seed(5);
        let octets = query("group.mesos.", A).to_vec().unwrap();
        let (mut first, mut any) = (vec![0_usize; count.into()], vec![0_usize; count.into()]);
        let mut out = Vec::new();
        for _ in 0..ROUNDS {
            out.clear();
            answer(&authority, Transport::Udp, &octets, &mut random, &mut out);
            // Records of 16 octets, the last of which are the address; there is no OPT behind them.
            let numbers: Vec<usize> = out[12 + 17..]
                .chunks_exact(16)
                .map(|record| usize::from(u16::from_be_bytes([record[14], record[15]])))
                .collect();
            assert_eq!(numbers.len(), fitting);
            first[numbers[0]] += 1;
            numbers.iter().for_each(|number| any[*number] += 1);
        }
        for (what, seen, sum) in [("first", first, ROUNDS), ("any", any, ROUNDS * fitting)] {
            let expected = sum as f64 / f64::from(count);
            let room = 6.0 * expected.sqrt();
            assert!(seen.iter().all(|seen| (*seen as f64 - expected).abs() < room), "{count} {what}: {seen:?}");
        }
    }
}

#[test]
fn a_record_that_cannot_be_expressed_spoils_itself_only() {
    let octets = query("_bad._tcp.mesos.", SRV).to_vec().unwrap();
    let (outcome, out) = raw(&names(), Transport::Udp, &octets);
    assert!(matches!(outcome, Outcome::Answered(Answered { impossible_records: 1, truncated: false, .. })));
    assert!(Message::from_vec(&out).unwrap().answers.is_empty());
}

#[test]
fn answers_are_compressed() {
    let (_, octets) = ask_over(Transport::Udp, &names(), &query("gone.marathon.mesos.", A));
    // Header, question, SOA whose owner, MNAME and RNAME point to the question.
    assert_eq!(octets.len(), 12 + (21 + 4) + (2 + 10) + (4 + 2) + (9 + 2) + 20);
    let (response, octets) = ask_over(Transport::Udp, &names(), &query("_web._tcp.marathon.mesos.", SRV));
    assert_eq!(response.additionals.len(), 2);
    assert_eq!(name::skip(&octets, octets.len() - 16), Some(octets.len() - 14), "an additional owner is a pointer");
}

#[test]
fn answers_follow_one_another_in_one_buffer() {
    let names = names();
    let authority = Authority { names: &names, own_addresses: &[] };
    let mut out = vec![1, 2, 3];
    let octets = query("_web._tcp.marathon.mesos.", SRV).to_vec().unwrap();
    answer(&authority, Transport::Tcp, &octets, &mut fastrand::Rng::with_seed(1), &mut out);
    let end = out.len();
    answer(&authority, Transport::Tcp, &octets, &mut fastrand::Rng::with_seed(1), &mut out);
    assert_eq!(out[3..end], out[end..]);
    assert_eq!(Message::from_vec(&out[end..]).unwrap().answers.len(), 3);
}

mod properties {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Names that share suffixes in every way, so that compression has much to get wrong.
    fn related_name() -> impl Strategy<Value = String> {
        let labels = prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "A", "mesos"]), 1..5);
        (labels, prop::sample::select(vec!["mesos", "a.a", "mesos.a"])).prop_map(|(labels, end)| {
            let name: Vec<&str> = labels.into_iter().chain([end]).collect();
            name.join(".")
        })
    }

    fn text(name: &Name) -> String {
        name.to_ascii().trim_end_matches('.').to_owned()
    }

    /// Something like a query: enough structure to get past the header, then anything.
    fn nearly_a_query() -> impl Strategy<Value = Vec<u8>> {
        let names = prop::sample::select(vec![
            &b"\x01a\x05mesos\0"[..],
            b"\x02_a\x04_tcp\x05mesos\0",
            b"\x04loop\x05mesos\0",
            b"\x03out\x05mesos\0",
            b"\x02in\x05mesos\0",
            b"\x04text\x05mesos\0",
            b"\x05mesos\0",
            b"\0",
            b"\xc0\x0c",
        ]);
        let types = prop::sample::select(vec![1u16, 2, 5, 6, 16, 28, 33, 41, 250, 251, 252, 255]);
        let opt = prop::option::of((any::<u16>(), 0u8..2, prop::collection::vec(any::<u8>(), 0..20)));
        (any::<[u8; 2]>(), any::<[u8; 2]>(), names, types, opt, prop::collection::vec(any::<u8>(), 0..20)).prop_map(
            |(id, flags, name, record_type, opt, rest)| {
                let mut message = id.to_vec();
                message.extend([flags[0] & 0x07, flags[1], 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())]);
                message.extend(name);
                message.extend(record_type.to_be_bytes());
                message.extend([0, 1]);
                if let Some((size, version, options)) = opt {
                    message.extend([0, 0, 41]);
                    message.extend(size.to_be_bytes());
                    message.extend([0, version, 0, 0, 0, u8::try_from(options.len()).unwrap()]);
                    message.extend(options);
                }
                if rest.len() > 15 {
                    message.extend(rest);
                }
                message
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn names_come_back_as_they_were_written(targets in prop::collection::vec(related_name(), 1..40)) {
            let mut names = Sample::new("mesos");
            for target in &targets {
                names = names.with_srv("_s.b.mesos", 1, target);
                names = names.with_address(&target.to_lowercase(), [10, 0, 0, 1].into());
            }
            names = names.with_alias("c.a.mesos", &targets[0]);
            let response = ask_over(Transport::Tcp, &names, &query("_s.b.mesos.", SRV)).0;
            let written: BTreeSet<String> = response.answers.iter().map(|record| match &record.data {
                RData::SRV(srv) => text(&srv.target),
                other => panic!("{other}"),
            }).collect();
            prop_assert_eq!(&written, &targets.iter().cloned().collect::<BTreeSet<_>>());
            let ours = |name: &str| name.to_lowercase().ends_with(".mesos");
            let added: BTreeSet<String> = response.additionals.iter().map(|record| text(&record.name).to_lowercase()).collect();
            let expected: BTreeSet<String> = written.iter().filter(|t| ours(t)).map(|t| t.to_lowercase()).collect();
            prop_assert_eq!(added, expected);
            let alias = ask_over(Transport::Udp, &names, &query("c.a.mesos.", CNAME)).0;
            let RData::CNAME(target) = &alias.answers[0].data else { panic!("{alias}") };
            // A pointer may lead to the same name in another case.
            prop_assert_eq!(text(&target.0).to_lowercase(), targets[0].to_lowercase());
        }

        #[test]
        fn arbitrary_octets_do_no_harm(message in prop::collection::vec(any::<u8>(), 0..600)) {
            crate::dns::fuzz_query(&message);
        }

        #[test]
        fn near_queries_do_no_harm(message in nearly_a_query()) {
            crate::dns::fuzz_query(&message);
        }
    }
}
