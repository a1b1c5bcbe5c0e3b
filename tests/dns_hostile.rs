//! What hostile clients send, through real sockets: each is answered or let go, and everybody else goes on being served.

mod dns_common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

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
