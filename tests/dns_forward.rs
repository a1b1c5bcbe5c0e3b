//! Names of others: asked from scripted servers on loopback (slow, dead, lying, failing, looping) and from a real NSD.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot run says so; helpers unwrap")]

mod dns_common;
#[path = "common/ports.rs"]
mod ports;

use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dns_common::upstream::{Upstream, at_once, is_probe, reply, with_address, with_soa};
use dns_common::{PATIENCE, Server, ask_udp, framed, query, read_answer};
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use pointsman::config::checked::{ForwardConfig, ForwardZone, UpstreamServer, UpstreamTransport};
use pointsman::dns::sample::Sample;
use pointsman::dns::source::LoadNames;

fn names(forward: ForwardConfig) -> Sample {
    let mut names = Sample::new("mesos").with_address("web.marathon.mesos", [10, 0, 0, 1].into());
    names.config.forward = forward;
    names
}

fn server(upstreams: &[&Upstream], change: impl FnOnce(&mut ForwardConfig)) -> Server {
    let upstreams = upstreams.iter().map(|upstream| upstream.server()).collect();
    let mut forward = ForwardConfig { upstreams, ..ForwardConfig::default() };
    change(&mut forward);
    Server::start(names(forward))
}

/// A query of a stub resolver: RD set.
fn wanting(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::from_vec(&query(id, name, record_type)).unwrap();
    message.metadata.recursion_desired = true;
    message.to_vec().unwrap()
}

fn ask(server: &Server, name: &str) -> Message {
    ask_udp(server.address, &wanting(7, name, RecordType::A))
}

fn address_in(answer: &Message) -> Option<[u8; 4]> {
    answer.answers.iter().find_map(|record| match record.data {
        RData::A(address) => Some(address.0.octets()),
        _ => None,
    })
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_answer_is_fetched_once_and_kept() {
    let upstream = Upstream::answering(|query| with_address(query, 1, 300));
    let server = server(&[&upstream], |_| {});
    let answer = ask(&server, "www.example.com.");
    assert_eq!(address_in(&answer), Some([192, 0, 2, 1]));
    let metadata = &answer.metadata;
    assert!(metadata.recursion_available && metadata.recursion_desired && !metadata.authoritative);
    // The same in another spelling, over TCP, and with EDNS: each its own spelling, one question above.
    let mut stream = server.connect();
    stream.write_all(&framed(&wanting(8, "WWW.eXample.com.", RecordType::A))).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(answer.answers[0].name.to_string(), "WWW.eXample.com.");
    assert!(answer.answers[0].ttl <= 300 && answer.answers[0].ttl > 200);
    let mut with_edns = Message::from_vec(&wanting(9, "www.example.com.", RecordType::A)).unwrap();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    with_edns.edns = Some(edns);
    let answer = ask_udp(server.address, &with_edns.to_vec().unwrap());
    assert_eq!(answer.edns.as_ref().unwrap().max_payload(), 1232);
    assert_eq!(upstream.count("www.example.com."), 1);
    assert!(ask_udp(server.address, &wanting(7, "www.example.com.", RecordType::AAAA)).answers.is_empty());
    assert_eq!(upstream.count("www.example.com."), 2, "another type is another question");
    assert_eq!(server.metric("pointsman_dns_cache_lookups_total", "hit"), 2.0);
    assert_eq!(server.metric("pointsman_dns_cache_entries", ""), 1.0);
    assert!(server.metric("pointsman_dns_cache_bytes", "") > 100.0);
    let label = upstream.address.to_string();
    assert!(server.metric("pointsman_dns_forward_latency_seconds_count", &label) >= 2.0);
}

#[test]
fn queries_have_random_ids_ports_and_spellings() {
    let upstream = Upstream::answering(|query| with_address(query, 1, 300));
    let server = server(&[&upstream], |_| {});
    for number in 0..20 {
        assert!(address_in(&ask(&server, &format!("name-{number}.example.com."))).is_some());
    }
    let asked = upstream.asked();
    let ids: std::collections::BTreeSet<_> = asked.iter().map(|asked| asked.message.metadata.id).collect();
    let spelt = asked.iter().filter(|asked| asked.octets[12..].iter().any(u8::is_ascii_uppercase)).count();
    assert!(ids.len() > 15 && spelt > 15, "{ids:?} {spelt}");
    // RFC 5452 section 9.2: a port for each query, and none that follows from the one before.
    let ports: Vec<u16> = asked.iter().map(|asked| asked.port).collect();
    let different: std::collections::BTreeSet<_> = ports.iter().collect();
    let next_door = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 4).count();
    assert!(different.len() > 15 && next_door < 5, "{ports:?}");
    for asked in asked {
        assert!(asked.message.metadata.recursion_desired);
        assert_eq!(asked.message.edns.as_ref().unwrap().max_payload(), 1232);
    }
}

#[test]
fn our_own_names_and_those_of_strangers_are_never_forwarded() {
    let upstream = Upstream::answering(|query| with_address(query, 1, 300));
    let server = server(&[&upstream], |_| {});
    let answer = ask(&server, "web.marathon.mesos.");
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert_eq!(ask(&server, "gone.mesos.").metadata.response_code, ResponseCode::NXDomain);
    // Without RD a client asks what is here only.
    let answer = ask_udp(server.address, &query(7, "www.example.com.", RecordType::A));
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(upstream.asked().is_empty());

    let strict = self::server(&[&upstream], |forward| forward.allow = vec!["10.0.0.0/8".parse().unwrap()]);
    let answer = ask(&strict, "www.example.com.");
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(!answer.metadata.recursion_available && upstream.asked().is_empty());
    assert_eq!(strict.metric("pointsman_dns_forward_denied_total", "client"), 1.0);
    assert!(ask(&strict, "web.marathon.mesos.").metadata.authoritative);

    let silent = self::server(&[&upstream], |forward| forward.says_available = false);
    assert!(!ask(&silent, "web.marathon.mesos.").metadata.recursion_available);
    assert!(!ask(&silent, "gone.mesos.").metadata.recursion_available);
    assert!(ask(&silent, "www.example.com.").metadata.recursion_available, "these come from others");

    let off = Server::start(names(ForwardConfig::default()));
    assert_eq!(ask(&off, "www.example.com.").metadata.response_code, ResponseCode::Refused);
}

/// An upstream that knows `www.example.com`, an alias of `cdn.example.net`, and nothing else.
fn cdn() -> Upstream {
    Upstream::answering(|message| {
        let name = message.queries[0].name().to_lowercase().to_utf8();
        if name != "www.example.com." {
            return with_soa(reply(message, ResponseCode::NXDomain), "com.", 30);
        }
        let mut answer = reply(message, ResponseCode::NoError);
        let target = Name::from_utf8("cdn.example.net.").unwrap();
        let alias = RData::CNAME(rdata::CNAME(target.clone()));
        answer.add_answer(Record::from_rdata(message.queries[0].name().clone(), 300, alias));
        answer.add_answer(Record::from_rdata(target, 60, RData::A(rdata::A::new(192, 0, 2, 7))));
        answer
    })
}

fn with_aliases(forward: ForwardConfig) -> Sample {
    let mut names = names(forward);
    for (name, target) in
        [("shop.mesos", "site.mesos"), ("site.mesos", "WWW.example.com"), ("lost.mesos", "nowhere.example.com")]
    {
        names = names.with_alias(name, target);
    }
    names
}

#[test]
fn an_alias_that_leads_outside_is_followed_for_those_who_may_ask_others() {
    let upstream = cdn();
    let forward = ForwardConfig { upstreams: vec![upstream.server()], ..ForwardConfig::default() };
    let server = Server::start(with_aliases(forward.clone()));
    // Once from the upstream server and once from what is kept.
    for _ in 0..2 {
        let answer = ask(&server, "Shop.mesos.");
        let owners: Vec<String> = answer.answers.iter().map(|record| record.name.to_utf8()).collect();
        assert_eq!(owners, ["Shop.mesos.", "site.mesos.", "WWW.example.com.", "cdn.example.net."]);
        assert_eq!(address_in(&answer), Some([192, 0, 2, 7]));
        // RFC 1035 section 4.1.1: AA speaks of the first owner, which is ours.
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    }
    assert_eq!(upstream.count("www.example.com."), 1);

    // RFC 6604 section 3: the code is that of the end of the chain.
    let answer = ask(&server, "lost.mesos.");
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((answer.answers.len(), answer.authorities.len()), (1, 1));

    // Those who want to know what is here get the alias, and so do those who ask for the alias itself.
    let asked = upstream.asked().len();
    let answer = ask_udp(server.address, &query(7, "shop.mesos.", RecordType::A));
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 2));
    let answer = ask_udp(server.address, &wanting(7, "site.mesos.", RecordType::CNAME));
    assert_eq!(answer.answers.len(), 1);
    let strict = ForwardConfig { allow: vec!["10.0.0.0/8".parse().unwrap()], ..forward };
    let strict = Server::start(with_aliases(strict));
    let answer = ask(&strict, "shop.mesos.");
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 2));
    assert_eq!(upstream.asked().iter().filter(|asked| !is_probe(&asked.message)).count(), asked);

    // Nobody to ask: the client is to try another server and not to believe that there is no address.
    let dead = Upstream::dead();
    let forward = ForwardConfig { upstreams: vec![dead.server()], ..ForwardConfig::default() };
    let server = Server::start(with_aliases(forward));
    assert_eq!(ask(&server, "shop.mesos.").metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn the_first_question_along_a_search_path_is_answered_with_its_end() {
    let upstream = cdn();
    let forward = ForwardConfig {
        upstreams: vec![upstream.server()],
        search: vec!["marathon.mesos".into(), "mesos".into()],
        ..ForwardConfig::default()
    };
    let names = |forward: ForwardConfig| names(forward).with_address("db.mesos", [10, 0, 0, 2].into());
    let server = Server::start(names(forward.clone()));
    let asked = || upstream.asked().iter().filter(|asked| !is_probe(&asked.message)).count();

    let answer = ask(&server, "WWW.example.com.marathon.mesos.");
    let owners: Vec<String> = answer.answers.iter().map(|record| record.name.to_utf8()).collect();
    assert_eq!(owners, ["WWW.example.com.marathon.mesos.", "www.example.com.", "cdn.example.net."]);
    assert_eq!(address_in(&answer), Some([192, 0, 2, 7]));
    // The alias holds while the name is missing, as long as absence may be believed.
    assert_eq!(answer.answers[0].ttl, 1);
    assert_eq!(asked(), 1, "one question");
    let answer = ask(&server, "db.marathon.mesos.");
    assert_eq!((address_in(&answer), answer.answers.len()), (Some([10, 0, 0, 2]), 2));
    assert!(answer.metadata.authoritative);
    assert_eq!(ask(&server, "www.nowhere.org.marathon.mesos.").metadata.response_code, ResponseCode::NXDomain);

    // What is there is answered, what is in other domains is missing, and single labels are nobody's names.
    assert_eq!(ask(&server, "web.marathon.mesos.").answers.len(), 1);
    let before = asked();
    for name in ["www.example.com.mesos.", "gone.marathon.mesos.", "gone.mesos."] {
        let answer = ask(&server, name);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0), "{name}");
    }
    // Nobody else's search path is known: servers ask without RD.
    let answer = ask_udp(server.address, &query(7, "db.marathon.mesos.", RecordType::A));
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(asked(), before);
    assert_eq!(server.metric("pointsman_dns_search_answers_total", ""), 3.0);

    let off = Server::start(names(ForwardConfig { search: Vec::new(), ..forward }));
    assert_eq!(ask(&off, "db.marathon.mesos.").metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn answers_that_waited_for_others_are_limited_like_all() {
    let upstream = Upstream::answering(|query| with_address(query, 1, 0));
    let mut names = names(ForwardConfig { upstreams: vec![upstream.server()], ..ForwardConfig::default() });
    names.config.rate_limit.responses_per_second = 1;
    names.config.rate_limit.slip = 2;
    let server = Server::start(names);
    let message = wanting(7, "www.example.com.", RecordType::A);
    // A time to live of 0 is not kept: each of these waits.
    let count = 40;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut whole, mut cut) = (0, 0);
    for _ in 0..count {
        socket.send(&message).unwrap();
        let mut buffer = [0; 512];
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.queries.len(), 1);
        if answer.metadata.truncation {
            assert!(answer.answers.is_empty());
            cut += 1;
        } else {
            whole += 1;
        }
    }
    assert!(whole >= 1 && cut >= 5 && whole + cut < count, "{whole} {cut}");
    assert!(upstream.count("www.example.com.") > 20);
    // Over TCP as often as anybody likes.
    let mut stream = server.connect();
    for _ in 0..5 {
        stream.write_all(&framed(&message)).unwrap();
        assert!(address_in(&read_answer(&mut stream)).is_some());
    }
}

#[test]
fn a_zone_has_servers_of_its_own_and_what_no_one_knows_is_refused() {
    let (corp, lab) = (
        Upstream::answering(|query| with_address(query, 1, 300)),
        Upstream::answering(|query| with_address(query, 2, 300)),
    );
    let zone = |zone: &str, upstream: &Upstream| ForwardZone { zone: zone.into(), upstreams: vec![upstream.server()] };
    let server = server(&[], |forward| forward.zones = vec![zone("example", &corp), zone("lab.example", &lab)]);
    assert_eq!(address_in(&ask(&server, "www.example.")), Some([192, 0, 2, 1]));
    assert_eq!(address_in(&ask(&server, "www.LAB.example.")), Some([192, 0, 2, 2]));
    assert_eq!(ask(&server, "www.other.").metadata.response_code, ResponseCode::Refused);
}

#[test]
fn a_dead_server_costs_a_moment_and_then_nothing() {
    let (dead, good) = (Upstream::dead(), Upstream::answering(|query| with_address(query, 1, 300)));
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = server(&[&dead, &good], |forward| {
        forward.upstreams.push(UpstreamServer { address: closed, transport: UpstreamTransport::Udp });
    });
    for number in 0..40 {
        assert_eq!(address_in(&ask(&server, &format!("n{number}.example."))), Some([192, 0, 2, 1]), "{number}");
    }
    let count = dead.asked().len();
    assert!(count < 20, "{count} of 40 queries went to a dead server");
    // Its silence counts when its time is over, which may be after the last answer; by lot it may not have been asked.
    if count > 0 {
        until("a dead server's silence is counted", || {
            server.metric("pointsman_dns_forward_failures_total", "slow") >= 1.0
        });
    }
}

#[test]
fn a_server_that_falls_silent_costs_a_part_of_the_time_that_an_answer_may_take() {
    let silent = Arc::new(AtomicBool::new(false));
    let fast = Upstream::start({
        let silent = silent.clone();
        move |asked| match silent.load(Ordering::SeqCst) {
            true => Vec::new(),
            false => at_once(&with_address(&asked.message, 1, 300)),
        }
    });
    // Slower than what an unknown server counts as, so that the other one is asked first.
    let pauses = AtomicU32::new(0);
    let slow = Upstream::start(move |asked| {
        let pause = if pauses.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { 55 } else { 95 };
        vec![(Duration::from_millis(pause), with_address(&asked.message, 2, 300).to_vec().unwrap())]
    });
    let timeout = Duration::from_secs(8);
    let server = server(&[&fast, &slow], |forward| forward.timeout = timeout);
    for number in 0..10 {
        assert!(address_in(&ask(&server, &format!("warm-{number}.example."))).is_some());
    }
    silent.store(true, Ordering::SeqCst);
    let asked = fast.asked().len();
    let begun = Instant::now();
    for number in 0..10 {
        assert_eq!(address_in(&ask(&server, &format!("n{number}.example."))), Some([192, 0, 2, 2]));
    }
    // The slow one's time for each, and 50 ms in vain for those of the first few.
    let took = begun.elapsed();
    assert!(fast.asked().len() > asked, "it was the first to be asked");
    assert!(took < timeout / 2, "{took:?} for ten names, of {timeout:?} that each may take");
}

#[test]
fn a_server_that_only_refuses_is_not_the_first_to_be_asked() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let refusing = Upstream::answering(move |query| reply(query, code));
        // Slower than what an unknown server counts as; by turns, so that a late answer is within what is expected.
        let pauses = AtomicU32::new(0);
        let good = Upstream::start(move |asked| {
            let pause = if pauses.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { 55 } else { 95 };
            vec![(Duration::from_millis(pause), with_address(&asked.message, 1, 300).to_vec().unwrap())]
        });
        let server = server(&[&refusing, &good], |_| {});
        for number in 0..30 {
            assert_eq!(address_in(&ask(&server, &format!("n{number}.example."))), Some([192, 0, 2, 1]), "{number}");
        }
        let count = refusing.asked().len();
        assert!((1..15).contains(&count), "{count} of 30 names were asked of a server that says {code:?}");
        // It is no dead one: alone it is asked for each.
        let alone = self::server(&[&refusing], |_| {});
        for number in 0..6 {
            let answer = ask(&alone, &format!("alone-{number}.example."));
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
            assert!(refusing.count(&format!("alone-{number}.example.")) >= 1);
        }
    }
}

#[test]
fn only_the_answer_to_the_query_counts() {
    // Another id, another question, another spelling of it, another name's records; then the answer.
    let upstream = Upstream::start(|asked| {
        let right = with_address(&asked.message, 1, 300).to_vec().unwrap();
        let evil = |change: &dyn Fn(&mut Message)| {
            let mut message = with_address(&asked.message, 66, 300);
            change(&mut message);
            (Duration::ZERO, message.to_vec().unwrap())
        };
        let other = Name::from_ascii("www.bank.").unwrap();
        vec![
            evil(&|message| message.metadata.id = message.metadata.id.wrapping_add(1)),
            evil(&|message| {
                message.queries[0].set_name(other.clone());
            }),
            evil(&|message| message.queries.clear()),
            (Duration::ZERO, vec![1, 2, 3]),
            (Duration::ZERO, right[..right.len() - 3].to_vec()),
            (Duration::ZERO, right),
        ]
    });
    let server = server(&[&upstream], |_| {});
    assert_eq!(address_in(&ask(&server, "www.example.com.")), Some([192, 0, 2, 1]));
    assert!(server.metric("pointsman_dns_forward_failures_total", "invalid") >= 5.0);
}

#[test]
fn guesses_and_servers_that_change_the_spelling_are_left_for_tcp() {
    let upstream = Upstream::start(|asked| {
        let mut message = with_address(&asked.message, if asked.over_tcp { 1 } else { 66 }, 300);
        if asked.over_tcp {
            return at_once(&message);
        }
        if asked.message.queries[0].name().to_string().to_ascii_lowercase().starts_with("guessed") {
            message.metadata.id = message.metadata.id.wrapping_add(1);
            return vec![(Duration::ZERO, message.to_vec().unwrap()); 20];
        }
        let lower = message.queries[0].name().to_lowercase();
        message.queries[0].set_name(lower);
        at_once(&message)
    });
    let server = server(&[&upstream], |_| {});
    assert_eq!(address_in(&ask(&server, "guessed.example.com.")), Some([192, 0, 2, 1]));
    assert_eq!(address_in(&ask(&server, "a-name-with-many-letters.example.com.")), Some([192, 0, 2, 1]));
}

#[test]
fn a_server_is_asked_over_tcp_alone_where_the_configuration_says_so() {
    let upstream = Upstream::answering(|query| with_address(query, 1, 300));
    let over_tcp = UpstreamServer { address: upstream.address, transport: UpstreamTransport::Tcp };
    let server = server(&[], |forward| forward.upstreams = vec![over_tcp]);
    for number in 0..5 {
        assert_eq!(address_in(&ask(&server, &format!("n{number}.example."))), Some([192, 0, 2, 1]));
    }
    let asked = upstream.asked();
    assert!(asked.len() >= 5 && asked.iter().all(|asked| asked.over_tcp));
    // 0x20 is for those who can be guessed at.
    assert!(asked.iter().all(|asked| !asked.octets[12..].iter().any(u8::is_ascii_uppercase)));
    let label = format!("tcp://{}", upstream.address);
    assert!(server.metric("pointsman_dns_forward_latency_seconds_count", &label) >= 5.0);
}

#[test]
fn what_does_not_fit_is_fetched_over_tcp_and_told_to_clients_that_cannot_take_it() {
    let upstream = Upstream::start(|asked| {
        let mut message = reply(&asked.message, ResponseCode::NoError);
        if !asked.over_tcp {
            message.metadata.truncation = true;
            return at_once(&message);
        }
        let name = asked.message.queries[0].name();
        for last in 0..100 {
            message.add_answer(Record::from_rdata(name.clone(), 300, RData::A(rdata::A::new(192, 0, 2, last))));
        }
        at_once(&message)
    });
    let server = server(&[&upstream], |_| {});
    let answer = ask(&server, "many.example.com.");
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let mut stream = server.connect();
    stream.write_all(&framed(&wanting(8, "many.example.com.", RecordType::A))).unwrap();
    assert_eq!(read_answer(&mut stream).answers.len(), 100);
}

#[test]
fn absence_is_kept_as_its_soa_says_and_failure_goes_to_the_next_server() {
    let failing = Upstream::answering(|query| reply(query, ResponseCode::ServFail));
    let upstream = Upstream::answering(|query| {
        let name = query.queries[0].name().to_lowercase().to_string();
        match name.as_str() {
            "gone.example." => with_soa(reply(query, ResponseCode::NXDomain), "example.", 300),
            "bare.example." => reply(query, ResponseCode::NXDomain),
            "empty.example." => with_soa(reply(query, ResponseCode::NoError), "example.", 300),
            _ => with_address(query, 1, 300),
        }
    });
    let server = server(&[&failing, &upstream], |_| {});
    for _ in 0..3 {
        let answer = ask(&server, "gone.example.");
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert!(answer.authorities[0].ttl <= 60, "no longer than max_negative_ttl");
        assert!(ask(&server, "empty.example.").answers.is_empty());
        assert_eq!(ask(&server, "bare.example.").metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!((upstream.count("gone.example."), upstream.count("empty.example.")), (1, 1));
    assert_eq!(upstream.count("bare.example."), 3);
    assert!(address_in(&ask(&server, "www.example.")).is_some());

    // When nobody has an answer, that is remembered for a moment.
    let server = self::server(&[&failing], |_| {});
    let before = failing.count("all.example.");
    for _ in 0..5 {
        assert_eq!(ask(&server, "all.example.").metadata.response_code, ResponseCode::ServFail);
    }
    assert!(failing.count("all.example.") - before <= 2);
}

#[test]
fn an_answer_past_its_time_stands_in_while_nobody_answers_and_absence_does_not() {
    let silent = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let silent = silent.clone();
        move |asked| match silent.load(Ordering::SeqCst) {
            true => Vec::new(),
            false if asked.message.queries[0].name().to_lowercase().to_string() == "gone.example." => {
                at_once(&with_soa(reply(&asked.message, ResponseCode::NXDomain), "example.", 1))
            }
            false => at_once(&with_address(&asked.message, 1, 1)),
        }
    });
    let server = server(&[&upstream], |forward| forward.timeout = Duration::from_millis(700));
    assert!(address_in(&ask(&server, "www.example.")).is_some());
    assert_eq!(ask(&server, "gone.example.").metadata.response_code, ResponseCode::NXDomain);
    silent.store(true, Ordering::SeqCst);
    until("the answer runs out", || {
        let answer = ask(&server, "www.example.");
        assert_eq!(address_in(&answer), Some([192, 0, 2, 1]));
        answer.answers[0].ttl == 30
    });
    // Known to fail: at once now.
    let asked = upstream.count("www.example.");
    assert_eq!(ask(&server, "www.example.").answers[0].ttl, 30);
    assert_eq!(upstream.count("www.example."), asked);
    assert!(server.metric("pointsman_dns_cache_lookups_total", "stale") >= 2.0);
    until("absence is forgotten", || ask(&server, "gone.example.").metadata.response_code == ResponseCode::ServFail);
    // They are back: what they say counts again after a while, absence at once.
    silent.store(false, Ordering::SeqCst);
    until("the server is asked again", || {
        ask(&server, "gone.example.").metadata.response_code == ResponseCode::NXDomain
    });

    let strict = self::server(&[&upstream], |forward| {
        forward.max_stale = Duration::ZERO;
        forward.timeout = Duration::from_millis(300);
    });
    assert!(address_in(&ask(&strict, "www.example.")).is_some());
    silent.store(true, Ordering::SeqCst);
    until("nothing stands in", || ask(&strict, "www.example.").metadata.response_code == ResponseCode::ServFail);
}

/// What a server says of a name once its first answer, which lives for a second, has run out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Later {
    /// Another address, for the one that asks.
    ForOnce,
    /// There is no such name, and no SOA that says for how long.
    GoneWithoutSoa,
    /// There is no such name, for a second.
    Gone,
}

#[test]
fn what_was_superseded_is_not_served_past_its_time() {
    for later in [Later::ForOnce, Later::GoneWithoutSoa, Later::Gone] {
        // 0: the first answer; 1: the later one; 2: none.
        let stage = Arc::new(AtomicU32::new(0));
        let upstream = Upstream::start({
            let stage = stage.clone();
            move |asked| {
                let message = &asked.message;
                match (stage.load(Ordering::SeqCst), later) {
                    (0, _) => at_once(&with_address(message, 1, 1)),
                    (1, Later::ForOnce) => at_once(&with_address(message, 2, 0)),
                    (1, Later::GoneWithoutSoa) => at_once(&reply(message, ResponseCode::NXDomain)),
                    (1, Later::Gone) => at_once(&with_soa(reply(message, ResponseCode::NXDomain), "example.", 1)),
                    _ => Vec::new(),
                }
            }
        });
        let server = server(&[&upstream], |forward| forward.timeout = Duration::from_millis(700));
        assert_eq!(address_in(&ask(&server, "www.example.")), Some([192, 0, 2, 1]));
        stage.store(1, Ordering::SeqCst);
        until("the later answer", || {
            let answer = ask(&server, "www.example.");
            match later {
                Later::ForOnce => address_in(&answer) == Some([192, 0, 2, 2]),
                Later::GoneWithoutSoa | Later::Gone => answer.metadata.response_code == ResponseCode::NXDomain,
            }
        });
        stage.store(2, Ordering::SeqCst);
        until("the later answer runs out", || {
            let answer = ask(&server, "www.example.");
            assert_ne!(address_in(&answer), Some([192, 0, 2, 1]), "{later:?}: the first answer is back");
            answer.metadata.response_code == ResponseCode::ServFail
        });
        assert_eq!(ask(&server, "www.example.").metadata.response_code, ResponseCode::ServFail, "{later:?}");
    }
}

#[test]
fn clients_get_an_answer_past_its_time_before_a_slow_server_has_a_better_one() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let is_slow = is_slow.clone();
        move |asked| match is_slow.load(Ordering::SeqCst) {
            false => at_once(&with_address(&asked.message, 1, 1)),
            true => vec![(Duration::from_secs(4), with_address(&asked.message, 2, 300).to_vec().unwrap())],
        }
    });
    let server = server(&[&upstream], |forward| forward.timeout = Duration::from_secs(15));
    assert_eq!(address_in(&ask(&server, "www.example.")), Some([192, 0, 2, 1]));
    is_slow.store(true, Ordering::SeqCst);
    // RFC 8767 section 5: 1.8 seconds, of the four that a better one takes.
    let mut took = Duration::ZERO;
    until("an answer past its time", || {
        let begun = Instant::now();
        let answer = ask(&server, "www.example.");
        took = begun.elapsed();
        assert_eq!(address_in(&answer), Some([192, 0, 2, 1]));
        answer.answers[0].ttl == 30
    });
    assert!(took >= Duration::from_millis(1700) && took < Duration::from_millis(3800), "{took:?}");
    // The better one is fetched nevertheless, once, and kept.
    until("the better answer", || address_in(&ask(&server, "www.example.")) == Some([192, 0, 2, 2]));
    assert!(ask(&server, "www.example.").answers[0].ttl > 30);
    assert!(server.metric("pointsman_dns_cache_lookups_total", "stale") >= 1.0);
}

#[test]
fn a_slow_server_delays_only_those_who_ask_for_its_names() {
    let (dead, good) = (Upstream::dead(), Upstream::answering(|query| with_address(query, 1, 0)));
    let slow_zone = ForwardZone { zone: "slow.example".into(), upstreams: vec![dead.server()] };
    let server = server(&[&good], |forward| {
        forward.zones = vec![slow_zone];
        forward.timeout = Duration::from_millis(2500);
    });
    // Over one TCP connection the later answer comes first.
    let mut stream = server.connect();
    let both = [
        framed(&wanting(1, "www.slow.example.", RecordType::A)),
        framed(&wanting(2, "www.fast.example.", RecordType::A)),
        framed(&wanting(3, "web.marathon.mesos.", RecordType::A)),
    ];
    stream.write_all(&both.concat()).unwrap();
    let mut ids: Vec<_> = (0..2).map(|_| read_answer(&mut stream).metadata.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
    for number in 0..50 {
        assert!(address_in(&ask(&server, &format!("n{number}.fast.example."))).is_some());
    }
    let last = read_answer(&mut stream);
    assert_eq!((last.metadata.id, last.metadata.response_code), (1, ResponseCode::ServFail));
}

/// Sends queries for so many different names below `zone` and waits for none of their answers.
fn flood(server: &Server, zone: &str, count: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    for id in 0..count {
        socket.send(&wanting(id, &format!("n{id}.{zone}"), RecordType::A)).unwrap();
    }
    socket
}

#[test]
fn many_names_of_a_slow_server_leave_room_for_the_names_of_others() {
    let (dead, good) = (Upstream::dead(), Upstream::answering(|query| with_address(query, 1, 300)));
    let refusing = Upstream::answering(|query| reply(query, ResponseCode::Refused));
    let zone = |zone: &str, upstream: &Upstream| ForwardZone { zone: zone.into(), upstreams: vec![upstream.server()] };
    let server = server(&[&good], |forward| {
        forward.zones = vec![zone("dead.example", &dead), zone("good.example", &good), zone("no.example", &refusing)];
        forward.max_in_flight = 32;
    });
    let _clients = flood(&server, "dead.example.", 150);
    until("the bound is met", || server.metric("pointsman_dns_forward_denied_total", "overload") >= 100.0);
    let waiting = server.metric("pointsman_dns_forward_waiting", "");
    assert!((8.0..=24.0).contains(&waiting), "{waiting} of 32 wait for servers that do not answer");
    // What was refused is remembered for a moment, and takes no room.
    for number in 0..40 {
        let answer = ask(&server, &format!("n{number}.no.example."));
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
    assert!(refusing.asked().len() >= 40, "each of them was asked for");
    for number in 0..40 {
        for zone in ["good.example.", "org."] {
            let name = format!("n{number}.{zone}");
            assert_eq!(address_in(&ask(&server, &name)), Some([192, 0, 2, 1]), "{name}");
        }
    }
}

#[test]
fn equal_queries_wait_for_one_answer_and_only_so_many_wait_at_all() {
    let upstream = Upstream::start(|asked| {
        if is_probe(&asked.message) {
            return Vec::new();
        }
        vec![(Duration::from_millis(150), with_address(&asked.message, 1, 300).to_vec().unwrap())]
    });
    let server = server(&[&upstream], |_| {});
    let sockets: Vec<_> = (0..40)
        .map(|id| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(server.address).unwrap();
            socket.send(&wanting(id, "www.example.", RecordType::A)).unwrap();
            socket
        })
        .collect();
    for (id, socket) in sockets.iter().enumerate() {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!((usize::from(answer.metadata.id), address_in(&answer)), (id, Some([192, 0, 2, 1])));
    }
    assert_eq!(server.metric("pointsman_dns_forward_waiting", ""), 0.0);
    // One question, sent anew only when the server seemed slow.
    assert!(upstream.count("www.example.") <= 3, "{}", upstream.count("www.example."));

    let dead = Upstream::dead();
    let server = self::server(&[&dead], |forward| {
        forward.max_in_flight = 4;
        forward.timeout = Duration::from_secs(2);
    });
    let mut stream = server.connect();
    let queries: Vec<_> = (0..20).map(|id| framed(&wanting(id, &format!("n{id}.example."), RecordType::A))).collect();
    stream.write_all(&queries.concat()).unwrap();
    for _ in 0..20 {
        assert_eq!(read_answer(&mut stream).metadata.response_code, ResponseCode::ServFail);
    }
    let denied = server.metric("pointsman_dns_forward_denied_total", "overload");
    assert!((12.0..=16.0).contains(&denied), "{denied}");
}

#[test]
fn a_server_that_sends_our_queries_back_is_found_out() {
    // Known before we start, so that the probe at the start finds the loop.
    let us = ports::unused();
    let looping = Upstream::start(move |asked| {
        // As a forwarder that has us as its upstream.
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&asked.octets, us).unwrap();
        Vec::new()
    });
    let forward = ForwardConfig {
        upstreams: vec![looping.server()],
        timeout: Duration::from_millis(400),
        ..ForwardConfig::default()
    };
    let server = Server::start_on(&us.to_string(), 1, &Arc::new(names(forward)));
    until("the loop is found", || server.metric("pointsman_dns_forward_denied_total", "loop") >= 1.0);
    let before = looping.asked().len();
    for number in 0..5 {
        let answer = ask(&server, &format!("n{number}.example."));
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(looping.asked().len(), before);
}

#[test]
fn a_server_that_begins_to_send_our_queries_back_is_found_out() {
    // What it did when it was configured: it answered, or was not there.
    for was_there in [true, false] {
        let us = ports::unused();
        let loops = Arc::new(AtomicBool::new(false));
        let looping = Upstream::start({
            let loops = loops.clone();
            move |asked| {
                if loops.load(Ordering::SeqCst) {
                    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&asked.octets, us).unwrap();
                    return Vec::new();
                }
                if was_there { at_once(&with_address(&asked.message, 1, 300)) } else { Vec::new() }
            }
        });
        let forward = ForwardConfig {
            upstreams: vec![looping.server()],
            // Long enough for two attempts at a server that nobody knows.
            timeout: Duration::from_millis(1500),
            ..ForwardConfig::default()
        };
        let server = Server::start_on(&us.to_string(), 1, &Arc::new(names(forward)));
        assert_eq!(address_in(&ask(&server, "first.example.")).is_some(), was_there);
        loops.store(true, Ordering::SeqCst);
        let mut number = 0;
        until("the loop is found", || {
            number += 1;
            ask(&server, &format!("n{number}.example."));
            server.metric("pointsman_dns_forward_denied_total", "loop") >= 1.0
        });
        let before = looping.asked().len();
        for number in 0..5 {
            let answer = ask(&server, &format!("later-{number}.example."));
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        }
        assert_eq!(looping.asked().len(), before, "it is not asked any more");
    }
}

#[test]
fn names_that_are_asked_for_often_are_fetched_before_their_time() {
    let upstream = Upstream::answering(|query| with_address(query, 1, 2));
    let server = server(&[&upstream], |_| {});
    until("a prefetch", || {
        assert!(address_in(&ask(&server, "hot.example.")).is_some());
        server.metric("pointsman_dns_cache_prefetches_total", "") >= 1.0
    });
}

#[test]
fn kept_answers_have_bounds_in_memory_and_time() {
    let last = Arc::new(AtomicU32::new(0));
    let upstream = Upstream::answering(move |query| {
        last.fetch_add(1, Ordering::Relaxed);
        with_address(query, 1, 1_000_000)
    });
    let server = server(&[&upstream], |forward| {
        forward.cache_bytes = 20_000;
        forward.max_ttl_seconds = 100;
    });
    for number in 0..200 {
        let answer = ask(&server, &format!("n{number}.example."));
        assert!(answer.answers[0].ttl <= 100);
        assert!(server.metric("pointsman_dns_cache_bytes", "") <= 20_000.0);
    }
    assert!(server.metric("pointsman_dns_cache_evictions_total", "") > 100.0);
    assert!(server.metric("pointsman_dns_cache_entries", "") > 10.0);

    let hasty = Upstream::answering(|query| with_address(query, 1, 0));
    let patient = self::server(&[&hasty], |forward| forward.min_ttl_seconds = 50);
    assert_eq!(ask(&patient, "www.example.").answers[0].ttl, 50);
}

#[test]
fn a_server_is_asked_over_tls_with_its_name_checked() {
    let pair = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, pair.cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicU32::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let (accepted, stopped, config) = (accepted.clone(), stopped.clone(), Arc::new(config));
        move || serve_tls(&listener, &config, &accepted, &stopped)
    });
    let tls = |name: &str| UpstreamServer { address, transport: UpstreamTransport::Tls(name.into()) };
    let right = server(&[], |forward| {
        forward.upstreams = vec![tls("dns.example")];
        forward.ca = Some(ca.clone());
    });
    for number in 0..10 {
        assert_eq!(address_in(&ask(&right, &format!("n{number}.example."))), Some([192, 0, 2, 1]));
    }
    let count = accepted.load(Ordering::SeqCst);
    assert!(count <= 5, "connections are used again: {count} for 10 queries");
    let wrong = server(&[], |forward| {
        forward.upstreams = vec![tls("other.example")];
        forward.ca = Some(ca.clone());
        forward.timeout = Duration::from_secs(1);
    });
    assert_eq!(ask(&wrong, "www.example.").metadata.response_code, ResponseCode::ServFail);
    drop((right, wrong));
    stopped.store(true, Ordering::SeqCst);
    let _ = std::net::TcpStream::connect(address);
    thread.join().unwrap();
}

fn serve_tls(
    listener: &std::net::TcpListener,
    config: &Arc<rustls::ServerConfig>,
    accepted: &AtomicU32,
    stopped: &AtomicBool,
) {
    use std::io::Read;
    let mut connections = Vec::new();
    while let Ok((mut tcp, _)) = listener.accept() {
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        accepted.fetch_add(1, Ordering::SeqCst);
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = config.clone();
        connections.push(std::thread::spawn(move || {
            let mut session = rustls::ServerConnection::new(config).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut tcp);
            let mut length = [0; 2];
            while tls.read_exact(&mut length).is_ok() {
                let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
                tls.read_exact(&mut octets).unwrap();
                let query = Message::from_vec(&octets).unwrap();
                if tls.write_all(&framed(&with_address(&query, 1, 300).to_vec().unwrap())).is_err() {
                    return;
                }
            }
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// Names and settings that change while they are served.
#[derive(Clone)]
struct Changing {
    newest: Arc<std::sync::Mutex<Arc<Sample>>>,
    loaded: Arc<Sample>,
}

impl LoadNames for Changing {
    type Names = Sample;

    fn load_names(&mut self) -> &Sample {
        self.loaded = self.newest.lock().unwrap().clone();
        &self.loaded
    }

    fn share_names(&mut self) -> Arc<Sample> {
        self.newest.lock().unwrap().clone()
    }
}

#[test]
fn servers_change_while_it_runs() {
    let off = Arc::new(names(ForwardConfig::default()));
    let newest = Arc::new(std::sync::Mutex::new(off.clone()));
    let server = Server::start_on("127.0.0.1:0", 2, &Changing { newest: newest.clone(), loaded: off });
    assert_eq!(ask(&server, "www.example.").metadata.response_code, ResponseCode::Refused);
    let upstreams = [1, 2].map(|last| Upstream::answering(move |query| with_address(query, last, 300)));
    for (upstream, last) in upstreams.iter().zip([1, 2]) {
        let forward = ForwardConfig { upstreams: vec![upstream.server()], ..ForwardConfig::default() };
        *newest.lock().unwrap() = Arc::new(names(forward));
        // What the former server said is not kept.
        until("the new server is asked", || address_in(&ask(&server, "www.example.")) == Some([192, 0, 2, last]));
    }
    *newest.lock().unwrap() = Arc::new(names(ForwardConfig::default()));
    until("it is off", || ask(&server, "www.example.").metadata.response_code == ResponseCode::Refused);
    until("nothing is kept", || server.metric("pointsman_dns_cache_entries", "") == 0.0);
}

#[test]
fn hostile_answers_do_no_harm() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let random = std::sync::Mutex::new(fastrand::Rng::with_seed(seed));
    let upstream = Upstream::start(move |asked| {
        let mut random = random.lock().unwrap();
        let right = with_soa(with_address(&asked.message, 1, 300), "example.", 300).to_vec().unwrap();
        let mut replies = Vec::new();
        for _ in 0..random.usize(1..4) {
            let mut octets = right.clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(2..octets.len());
                octets[at] = random.u8(..);
            }
            octets.truncate(random.usize(2..=octets.len()));
            replies.push((Duration::ZERO, octets));
        }
        if !asked.over_tcp {
            replies.push((Duration::ZERO, right));
        }
        replies
    });
    let server = server(&[&upstream], |forward| forward.timeout = Duration::from_millis(500));
    let rounds = if std::env::var_os("POINTSMAN_FULL").is_some() { 5000 } else { 200 };
    for number in 0..rounds {
        let answer = ask(&server, &format!("n{number}.example."));
        assert_eq!(answer.queries.len(), 1);
    }
    assert!(ask(&server, "web.marathon.mesos.").metadata.authoritative);
}

struct Nsd {
    process: Child,
    _files: tempfile::TempDir,
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its children.
        let id = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

/// A zone with what a resolver's answers are made of.
const ZONE: &str = "$ORIGIN corp.example.\n$TTL 300\n@ SOA ns root 1 60 60 60 30\n@ NS ns\nns A 192.0.2.53\n\
    www A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::1\nalias CNAME second\nsecond CNAME www\ndangling CNAME gone\n\
    @ MX 10 mail\nmail A 192.0.2.9\n_http._tcp SRV 0 5 80 www\ntext TXT \"one\" \"two\"\n*.wild A 192.0.2.7\n\
    naptr NAPTR 10 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@example!\" .\nsvc SVCB 1 www alpn=h2\ncaa CAA 0 issue \"ca\"\n";

fn nsd() -> Option<(Nsd, std::net::SocketAddr)> {
    let program = ["/usr/sbin/nsd", "/usr/local/sbin/nsd"].into_iter().find(|path| Path::new(path).exists());
    let (Some(program), Ok(_)) = (program, Command::new("dig").arg("-v").output()) else {
        println!("SKIP: NSD or dig is not installed (Debian: nsd, bind9-dnsutils)");
        return None;
    };
    let files = tempfile::tempdir().unwrap();
    let folder = files.path().display();
    let address = ports::unused();
    let mut zone = ZONE.to_owned();
    for last in 0..120 {
        zone.push_str(&format!("many A 192.0.2.{last}\n"));
    }
    std::fs::write(files.path().join("zone"), zone).unwrap();
    let config = format!(
        "server:\n server-count: 1\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n \
         pidfile: \"\"\n xfrdfile: \"{folder}/xfrd\"\n xfrdir: \"{folder}\"\n zonelistfile: \"{folder}/list\"\n \
         logfile: \"{folder}/log\"\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\nzone:\n name: corp.example\n zonefile: zone\n",
        address.ip(),
        address.port()
    );
    std::fs::write(files.path().join("nsd.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-d").arg("-c").arg(files.path().join("nsd.conf"));
    let process = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let nsd = Nsd { process, _files: files };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    until("NSD answers", || {
        let _ = socket.send_to(&query(1, "www.corp.example.", RecordType::A), address);
        socket.recv(&mut [0; 512]).is_ok()
    });
    Some((nsd, address))
}

/// What dig prints of an answer: its code and the records of its answer section, in order of their text.
fn dig(at: std::net::SocketAddr, arguments: &[&str]) -> (String, Vec<String>) {
    let output = Command::new("dig")
        .arg(format!("@{}", at.ip()))
        .args(["-p", &at.port().to_string(), "+tries=1", "+time=10", "+noall", "+comments", "+answer", "+nocookie"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let status = text.split_once("status: ").map_or("none", |(_, rest)| rest.split(',').next().unwrap()).to_owned();
    let mut records: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.trim().is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    records.sort();
    (status, records)
}

/// Records in lower case without their times to live, and the least of those.
fn without_ttls(records: &[String]) -> (Vec<String>, u32) {
    let mut least = u32::MAX;
    let records = records.iter().map(|record| {
        let [owner, ttl, rest] = record.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{record}") };
        least = least.min(ttl.parse().unwrap());
        format!("{owner} {rest}").to_ascii_lowercase()
    });
    let records = records.collect();
    (records, least)
}

#[test]
fn a_real_server_and_a_real_client_see_the_same_through_us() {
    let Some((_nsd, address)) = nsd() else { return };
    let upstream = UpstreamServer { address, transport: UpstreamTransport::Udp };
    let zone = ForwardZone { zone: "corp.example".into(), upstreams: vec![upstream] };
    let server = server(&[], |forward| forward.zones = vec![zone]);
    for name_and_type in [
        "www A",
        "www AAAA",
        "www TXT",
        "WwW A",
        "alias A",
        "second CNAME",
        "dangling A",
        "@ MX",
        "@ SOA",
        "@ NS",
        "_http._tcp SRV",
        "text TXT",
        "x.wild A",
        "naptr NAPTR",
        "svc SVCB",
        "caa CAA",
        "gone A",
        "_tcp A",
        "many A",
    ] {
        let (name, kind) = name_and_type.split_once(' ').unwrap();
        let name = if name == "@" { "corp.example.".to_owned() } else { format!("{name}.corp.example.") };
        for more in [&[][..], &["+tcp"], &["+noedns"], &["+bufsize=512"]] {
            let arguments = [&[name.as_str(), kind], more].concat();
            let (ours, theirs) = (dig(server.address, &arguments), dig(address, &arguments));
            let (rcodes, [kept, fresh]) =
                ([&ours.0, &theirs.0], [&ours.1, &theirs.1].map(|records| without_ttls(records)));
            assert_eq!((rcodes[0], &kept.0), (rcodes[1], &fresh.0), "{arguments:?}");
            // What is kept grows old.
            assert!(kept.1 <= fresh.1 && fresh.1 - kept.1 < 60, "{arguments:?}: {} and {} s", kept.1, fresh.1);
        }
    }
}
