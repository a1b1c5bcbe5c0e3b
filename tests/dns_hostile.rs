//! What hostile clients send, through real sockets: each is answered or let go, and everybody else goes on being served.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;
mod dns_common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::ports::unused;
use common::program::{Folder, Program};
use dns_common::{PATIENCE, Server, ask_udp, framed, is_closed, names, query, read_answer};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use pointsman::dns::metrics::Count;

fn web(server: &Server) -> bool {
    ask_udp(server.address, &query(1, "web.marathon.mesos.", RecordType::A)).answers.len() == 1
}

fn ask_tcp(server: &Server, message: &[u8]) -> hickory_proto::op::Message {
    let mut stream = server.connect();
    stream.write_all(&framed(message)).unwrap();
    read_answer(&mut stream)
}

#[test]
fn names_that_lead_in_circles_are_format_errors() {
    let server = Server::start(names());
    let header = |additionals: u8| [0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, additionals];
    let question = b"\x05mesos\0\0\x06\0\x01";
    let in_question: [&[u8]; 4] =
        [b"\xc0\x0c\0\x01\0\x01", b"\x01a\xc0\x0c\0\x01\0\x01", b"\xff\xff\0\x01\0\x01", b"\x40a\0\0\x01\0\x01"];
    let fixed = b"\0\x01\0\x01\0\0\0\0\0\0";
    // In an additional record: to itself, forwards, behind the end.
    let owners: [&[u8]; 3] = [b"\xc0\x17", b"\x01a\xc0\x30", b"\xff\xff"];
    let in_additional = owners.map(|owner| [&header(1)[..], question, owner, fixed].concat());
    let in_question = in_question.map(|question| [&header(0)[..], question].concat());
    for message in in_question.iter().chain(&in_additional) {
        for answer in [ask_udp(server.address, message), ask_tcp(&server, message)] {
            assert_eq!(answer.metadata.response_code, ResponseCode::FormErr, "{message:02x?}");
        }
    }
}

#[test]
fn an_opt_record_of_64_kib_costs_what_it_weighs() {
    let server = Server::start(names());
    let base = [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], b"\x05mesos\0\0\x06\0\x01"].concat();
    let options = |count: usize| [0xfd, 0xe9, 0, 0].repeat(count);
    let opt = |options: &[u8]| {
        let length = u16::try_from(options.len()).unwrap().to_be_bytes();
        [&base[..], &[0, 0, 41, 4, 208, 0, 0, 0, 0], &length, options].concat()
    };
    let most = (65_535 - base.len() - 11) / 4;
    let begun = Instant::now();
    let mut stream = server.connect();
    for _ in 0..20 {
        stream.write_all(&framed(&opt(&options(most)))).unwrap();
        assert_eq!(read_answer(&mut stream).metadata.response_code, ResponseCode::NoError);
    }
    assert!(begun.elapsed() < PATIENCE);
    let broken = [options(most - 1), vec![0xfd, 0xe9, 0, 1]].concat();
    assert_eq!(ask_tcp(&server, &opt(&broken)).metadata.response_code, ResponseCode::FormErr);
    let cookies = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8].repeat(5000);
    assert_eq!(ask_tcp(&server, &opt(&cookies)).metadata.response_code, ResponseCode::NoError);
}

#[test]
fn messages_without_octets_end_their_connection_only() {
    let server = Server::start(names());
    for octets in [&[0, 0][..], &[0, 0, 0, 0, 0, 0], &[0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
        let mut stream = server.connect();
        stream.write_all(octets).unwrap();
        assert!(is_closed(&mut stream), "{octets:?}");
    }
    assert!(web(&server));
}

#[test]
fn a_flood_of_transfers_that_nobody_may_have_is_refused_one_by_one() {
    let server = Server::start(names());
    let axfr = framed(&query(7, "mesos.", RecordType::AXFR));
    let mut stream = server.connect();
    stream.write_all(&axfr.repeat(2000)).unwrap();
    for _ in 0..2000 {
        assert_eq!(read_answer(&mut stream).metadata.response_code, ResponseCode::Refused);
    }
    assert_eq!(server.counted(Count::Transfers), 0);
    assert_eq!(server.counted(Count::TransfersRefused), 2000);
}

#[test]
fn clients_that_ask_for_zones_and_take_nothing_are_let_go() {
    let mut names = names();
    names.config.transfer.allow = vec!["127.0.0.0/8".parse().unwrap()];
    names.config.tcp_idle = Duration::from_millis(400);
    let text = "t".repeat(250);
    // Larger than what two ends' sockets hold.
    for number in 0..40_000 {
        let data = pointsman::cluster::event::RecordData::Txt([text.as_str().into()].into());
        names = names.with(&format!("text-{number}.mesos"), data);
    }
    let server = Server::start(names);
    let axfr = framed(&query(7, "mesos.", RecordType::AXFR));
    let idle: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&axfr.repeat(10)).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    while server.counted(Count::TcpSlow) < 12 {
        assert!(begun.elapsed() < PATIENCE, "{} let go", server.counted(Count::TcpSlow));
        assert!(web(&server), "others are served meanwhile");
    }
    drop(idle);
    // And one that takes it gets it.
    let mut stream = server.connect();
    stream.write_all(&axfr).unwrap();
    let mut octets = 0;
    let mut buffer = vec![0; 1 << 16];
    while octets < 10_000_000 {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{octets} octets, then nothing");
        octets += read;
    }
}

/// What hostile clients may cost the program at its peak, in KiB: below, a hundred messages of 64 KiB that do not end, the
/// answers under way to a few dozen clients that take none, and the worker's cache of answers, each with what a vector holds
/// in reserve.
const MOST_KIB: u64 = 64 << 10;

/// A program with a zone of 5,000 names, one of which has 200 addresses, whose connections may idle for long.
fn program() -> (Program, Folder, SocketAddr) {
    let (folder, names) = (Folder::new(), unused());
    let record =
        |name: String, last: String| format!("[[records]]\nname = \"{name}\"\ntype = \"A\"\nvalue = \"{last}\"\n");
    let hosts = (0..5000).map(|n| record(format!("m{n}.a.test"), format!("10.1.{}.{}", n / 250, n % 250)));
    let many = (0..200).map(|n| record("many.a.test".into(), format!("10.2.0.{n}")));
    folder.write("services.toml", hosts.chain(many).collect::<String>());
    folder.configure(&format!(
        "[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\nzones = [\"a.test\"]\n\
         [dns]\nlisten = [\"{names}\"]\ntcp_idle = \"10m\"\n[dns.transfer]\nallow = [\"127.0.0.0/8\"]\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    (program, folder, names)
}

/// A connection that has sent this over and over, until it was all or nothing more was taken.
fn stuffed(names: SocketAddr, octets: &[u8], times: usize) -> TcpStream {
    let mut stream = TcpStream::connect(names).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    for _ in 0..times {
        if stream.write_all(octets).is_err() {
            break;
        }
    }
    stream
}

/// By the real program, since the peak has to be its alone.
#[test]
fn hostile_clients_cost_memory_within_a_bound() {
    let (mut program, _folder, names) = program();
    let web = || ask_udp(names, &query(1, "m7.a.test.", RecordType::A)).answers.len() == 1;
    let axfr = framed(&query(7, "a.test.", RecordType::AXFR));
    // What the first ones make it load is there once: a query, a zone sent whole.
    assert!(web());
    let mut stream = stuffed(names, &axfr, 1);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(read_answer(&mut stream).answers.len() > 100);
    let before = program.peak_kib();
    let grown = |program: &Program, what: &str| {
        // The kernel's own counting is a few pages off at times.
        let grown = program.peak_kib().saturating_sub(before);
        println!("{what}: the peak has grown by {grown} KiB");
        assert!(grown < MOST_KIB, "{what}: the peak has grown by {grown} KiB");
    };

    // Datagrams of any length that are no queries, and names that are made up, each asked for twice.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(names).unwrap();
    for length in 0..3000 {
        socket.send(&vec![0xc0; length]).unwrap();
        // No more than a socket holds: what follows is not to be lost.
        assert!(length % 20 > 0 || web());
    }
    for number in 0..10_000 {
        let message = query(3, &format!("{number}.{}.a.test.", "x".repeat(60)), RecordType::A);
        for _ in 0..2 {
            assert_eq!(ask_udp(names, &message).metadata.response_code, ResponseCode::NXDomain);
        }
    }
    grown(&program, "datagrams");

    // Messages of 64 KiB but for their last octets.
    let unfinished = [&[0xff, 0xff][..], &[0; 65_000]].concat();
    let mut held: Vec<TcpStream> = (0..100).map(|_| stuffed(names, &unfinished, 1)).collect();
    assert!(web());
    grown(&program, "messages without an end");

    // Queries with long answers that nobody takes: up to 300,000 a connection, for 3 KiB each.
    let queries = framed(&query(5, "many.a.test.", RecordType::A)).repeat(1000);
    held.extend((0..8).map(|_| stuffed(names, &queries, 300)));
    assert!(web());
    grown(&program, "answers that are not taken");

    // Zones that nobody takes: more than one worker sends at a time, more than sockets hold.
    held.extend((0..12).map(|_| stuffed(names, &axfr.repeat(1000), 1)));
    assert!(web());
    grown(&program, "zones that are not taken");

    drop(held);
    assert!(web());
    program.stop();
}
