//! The DNS server through real sockets, asked by an independent client (hickory-proto, dig, kdig).

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod dns_common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dns_common::{PATIENCE, Server, ask_udp, framed, is_closed, names, query, read_answer};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use pointsman::config::Config;
use pointsman::dns::metrics::Count;
use pointsman::dns::sample::Sample;
use pointsman::table::Table;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;

#[test]
fn answers_over_udp_and_over_tcp_after_truncation() {
    let server = Server::start(names());
    let web = query(1, "web.marathon.mesos.", RecordType::A);
    assert_eq!(ask_udp(server.address, &web).answers.len(), 1);
    let many = query(2, "many.mesos.", RecordType::A);
    let over_udp = ask_udp(server.address, &many);
    assert!(over_udp.metadata.truncation && over_udp.answers.len() < 200);
    let mut stream = server.connect();
    stream.write_all(&framed(&many)).unwrap();
    let over_tcp = read_answer(&mut stream);
    assert!(!over_tcp.metadata.truncation);
    assert_eq!(over_tcp.answers.len(), 200);
    assert_eq!(server.counted(Count::TruncatedUdp), 1);
}

#[test]
fn answers_follow_the_table() {
    let config = Arc::new(Config::default());
    let handle = TableHandle::new(Table::empty(config.clone()), 2);
    let server = Server::start_on("127.0.0.1:0", 1, &handle.reader());
    let ask = || ask_udp(server.address, &query(1, "web.marathon.mesos.", RecordType::A)).metadata.response_code;
    assert_eq!(ask(), ResponseCode::ServFail, "before the first table");
    let first = Table { generation: 1, ready: true, ..Table::empty(config) };
    handle.publish(Arc::new(first), VersionRecord::default());
    assert_eq!(ask(), ResponseCode::Refused, "the first table has no zone");
}

#[test]
fn a_burst_of_datagrams_is_answered_whole() {
    let server = Server::start(names());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = vec![0; 100];
    for round in 0..5 {
        for id in 0..100 {
            // Ids tell the answers apart; what is no query must not disturb its neighbours in the batch.
            socket.send(&query(round * 100 + id, "web.marathon.mesos.", RecordType::A)).unwrap();
            socket.send(b"crumbs").unwrap();
        }
        for _ in 0..100 {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            let answer = Message::from_vec(&buffer[..length]).unwrap();
            assert_eq!(answer.answers.len(), 1);
            seen[usize::from(answer.metadata.id - round * 100)] += 1;
        }
    }
    assert_eq!(seen, vec![5; 100]);
    assert_eq!(server.counted(Count::DroppedShort), 500);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let server = Server::start_on("0.0.0.0:0", 1, &Arc::new(names()));
    for last in [1, 2, 77] {
        let asked = SocketAddr::from(([127, 0, 0, last], server.address.port()));
        assert_eq!(ask_udp(asked, &query(9, "web.marathon.mesos.", RecordType::A)).metadata.id, 9);
    }
    if UdpSocket::bind("[::1]:0").is_err() {
        println!("SKIP: this machine has no IPv6");
        return;
    }
    for listen in ["[::]:0", "[::1]:0"] {
        let server = Server::start_on(listen, 1, &Arc::new(names()));
        let asked = SocketAddr::new("::1".parse().unwrap(), server.address.port());
        assert_eq!(ask_udp(asked, &query(9, "web.marathon.mesos.", RecordType::A)).answers.len(), 1);
    }
}

#[test]
fn answers_of_one_batch_leave_from_the_addresses_that_were_asked() {
    // All of a round fit into the server's socket, however late it looks: a sixth of what the kernel gives it by default.
    const EACH: u16 = 9;
    let server = Server::start_on("0.0.0.0:0", 1, &Arc::new(names()));
    // A connected socket takes nothing from any other address.
    let clients: Vec<UdpSocket> = [1, 2, 77]
        .map(|last| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect((Ipv4Addr::new(127, 0, 0, last), server.address.port())).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        })
        .into();
    for round in 0..20 {
        // Runs of one, and longer ones.
        for number in 0..EACH {
            for (client, socket) in clients.iter().enumerate() {
                let run = if client == usize::from(number % 3) { 2 } else { 1 };
                for _ in 0..run {
                    socket.send(&query(round * EACH + number, "web.marathon.mesos.", RecordType::A)).unwrap();
                }
            }
        }
        for (client, socket) in clients.iter().enumerate() {
            let twice = (0..EACH).filter(|number| client == usize::from(number % 3)).count();
            for _ in 0..usize::from(EACH) + twice {
                let mut buffer = [0; 512];
                let length = socket.recv(&mut buffer).unwrap();
                let answer = Message::from_vec(&buffer[..length]).unwrap();
                assert_eq!((answer.answers.len(), answer.metadata.id / EACH), (1, round));
            }
        }
    }
    assert_eq!(server.counted(Count::DroppedSend), 0);
}

/// In a network of its own, where this machine's loopback has a second address of IPv6.
#[test]
fn answers_over_ipv6_leave_from_the_address_that_was_asked() {
    const SECOND: &str = "fd77::2";
    if UdpSocket::bind((SECOND, 0)).is_err() {
        return within_a_network_with(SECOND, "answers_over_ipv6_leave_from_the_address_that_was_asked");
    }
    let server = Server::start_on("[::]:0", 1, &Arc::new(names()));
    for (from, asked) in [("::1", SECOND), (SECOND, "::1"), (SECOND, SECOND)] {
        // What leaves from the address that the system would choose comes from the one that asks.
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect((asked, server.address.port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&query(9, "web.marathon.mesos.", RecordType::A)).unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{from} asks {asked}: {error}"));
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().answers.len(), 1);
    }
}

/// Runs a test of this program where the loopback has this address too; says so where that is not permitted.
fn within_a_network_with(address: &str, test: &str) {
    const CANNOT: i32 = 77;
    let script = format!(
        "ip link set lo up && ip -6 address add {address}/128 dev lo nodad || exit {CANNOT}; exec \"$0\" --exact {test}"
    );
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare").args(["-n", "sh", "-c", &script]).arg(program).output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(CANNOT) || !output.stdout.starts_with(b"\nrunning") => {
            println!("SKIP: no network can be made here: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("SKIP: unshare cannot be run: {error}"),
    }
}

#[test]
fn workers_share_one_address() {
    let server = Server::start_on("127.0.0.1:0", 3, &Arc::new(names()));
    for id in 0..60 {
        assert_eq!(ask_udp(server.address, &query(id, "web.marathon.mesos.", RecordType::A)).metadata.id, id);
        let mut stream = server.connect();
        stream.write_all(&framed(&query(id, "web.marathon.mesos.", RecordType::A))).unwrap();
        assert_eq!(read_answer(&mut stream).metadata.id, id);
    }
    assert_eq!(server.counted(Count::TcpAccepted), 60);
    // The kernel deals by a hash of both ends; that a worker got none of 60 is as likely as not to happen in 10^10 runs.
    for worker in 0..3 {
        assert!(server.metrics.worker(worker).counted(Count::TcpAccepted) > 0, "worker {worker} got nothing");
    }
}

#[test]
fn pipelined_queries_are_all_answered() {
    let server = Server::start(names());
    let mut stream = server.connect();
    let mut octets = Vec::new();
    for id in 0..1000 {
        let name = if id % 2 == 0 { "web.marathon.mesos." } else { "gone.mesos." };
        octets.extend(framed(&query(id, name, RecordType::A)));
    }
    stream.write_all(&octets).unwrap();
    for id in 0..1000 {
        let answer = read_answer(&mut stream);
        assert_eq!(answer.metadata.id, id);
        assert_eq!(answer.answers.len(), usize::from(id % 2 == 0));
    }
}

#[test]
fn pipelined_queries_with_large_answers_are_all_answered() {
    let server = Server::start(names());
    let mut stream = server.connect();
    let octets: Vec<u8> = (0..100).flat_map(|id| framed(&query(id, "_many._tcp.mesos.", RecordType::SRV))).collect();
    stream.write_all(&octets).unwrap();
    for id in 0..100 {
        let answer = read_answer(&mut stream);
        assert_eq!(answer.metadata.id, id);
        assert!(answer.metadata.truncation && answer.answers.len() > 1000);
    }
}

#[test]
fn queries_may_arrive_octet_by_octet() {
    let server = Server::start(names());
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    let two = [query(1, "web.marathon.mesos.", RecordType::A), query(2, "mesos.", RecordType::SOA)];
    for octet in two.iter().flat_map(|message| framed(message)) {
        stream.write_all(&[octet]).unwrap();
    }
    assert_eq!(read_answer(&mut stream).metadata.id, 1);
    assert_eq!(read_answer(&mut stream).metadata.id, 2);
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answer() {
    let server = Server::start(names());
    let mut stream = server.connect();
    stream.write_all(&framed(&query(1, "web.marathon.mesos.", RecordType::A))).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut stream).metadata.id, 1);
    assert!(is_closed(&mut stream));
}

#[test]
fn what_is_no_query_ends_the_connection_after_the_answers_before_it() {
    let server = Server::start(names());
    let mut response = query(2, "mesos.", RecordType::SOA);
    response[2] |= 0x80;
    for foreign in [&b"\0\0"[..], b"\0\x05crumb", &framed(&response)] {
        let mut stream = server.connect();
        stream.write_all(&[&framed(&query(1, "mesos.", RecordType::SOA)), foreign].concat()).unwrap();
        assert_eq!(read_answer(&mut stream).metadata.id, 1);
        assert!(is_closed(&mut stream));
    }
}

fn with_idle_time(milliseconds: u64) -> Sample {
    let mut names = names();
    names.config.tcp_idle = Duration::from_millis(milliseconds);
    names
}

#[test]
fn trickling_octets_buys_no_time() {
    let server = Server::start(with_idle_time(300));
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // A message of 65,535 octets that never ends.
    stream.write_all(&[0xff, 0xff]).unwrap();
    let started = std::time::Instant::now();
    while started.elapsed() < PATIENCE {
        let _ = stream.write_all(&[0]);
        match stream.read(&mut [0; 1]) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            _ => {}
        }
    }
    assert!(started.elapsed() < PATIENCE, "the connection was never closed");
    assert_eq!(server.counted(Count::TcpIdle), 1);
}

#[test]
fn a_client_that_takes_no_answers_is_let_go() {
    let server = Server::start(with_idle_time(300));
    let mut stream = server.connect();
    let octets: Vec<u8> = (0..400).flat_map(|id| framed(&query(id, "_many._tcp.mesos.", RecordType::SRV))).collect();
    stream.write_all(&octets).unwrap();
    let started = std::time::Instant::now();
    while server.counted(Count::TcpSlow) == 0 {
        assert!(started.elapsed() < PATIENCE, "the connection was never closed");
        std::thread::yield_now();
    }
    // Others are served as ever.
    assert_eq!(ask_udp(server.address, &query(9, "web.marathon.mesos.", RecordType::A)).answers.len(), 1);
}

#[test]
fn connections_above_the_cap_wait_for_a_free_slot() {
    let mut names = names();
    names.config.max_tcp_connections = 2;
    let server = Server::start(names);
    let ask = framed(&query(1, "web.marathon.mesos.", RecordType::A));
    let mut first = server.connect();
    let mut second = server.connect();
    for stream in [&mut first, &mut second] {
        stream.write_all(&ask).unwrap();
        read_answer(stream);
    }
    let started = std::time::Instant::now();
    while server.counted(Count::TcpCapped) == 0 {
        assert!(started.elapsed() < PATIENCE, "the cap was never noticed");
        std::thread::yield_now();
    }
    let mut third = server.connect();
    third.write_all(&ask).unwrap();
    // The server has no reason to be slow with UDP: by its answer, a third connection would have been accepted.
    ask_udp(server.address, &query(2, "web.marathon.mesos.", RecordType::A));
    assert_eq!(server.counted(Count::TcpAccepted), 2);
    drop(first);
    assert_eq!(read_answer(&mut third).metadata.id, 1);
    assert_eq!(server.counted(Count::TcpAccepted), 3);
}

#[test]
fn drains_what_has_arrived_and_ends() {
    let mut server = Server::start(names());
    let mut idle = server.connect();
    let ask = framed(&query(1, "web.marathon.mesos.", RecordType::A));
    idle.write_all(&ask).unwrap();
    read_answer(&mut idle);
    // Connected and asked before the drain, perhaps accepted only after it has begun: answered all the same.
    let mut waiting: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(&ask).unwrap();
    }
    server.drain();
    for stream in &mut waiting {
        assert_eq!(read_answer(stream).metadata.id, 1);
        assert!(is_closed(stream));
    }
    assert!(is_closed(&mut idle));
    assert!(TcpStream::connect(server.address).is_err());
}

/// Runs a client of BIND or Knot; `None`, with a message, where it is not installed.
fn run(program: &str, server: &Server, arguments: &[&str]) -> Option<String> {
    let port = server.address.port().to_string();
    let output = match std::process::Command::new(program).args(["@127.0.0.1", "-p", &port]).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIP: {program} cannot be run: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}\n{text}");
    for complaint in ["WARNING", "Warning", "malformed", "extra bytes", "mismatch"] {
        assert!(!text.contains(complaint), "{program} {arguments:?}\n{text}");
    }
    Some(text)
}

#[test]
fn dig_and_kdig_are_content() {
    let server = Server::start(names());
    let cases: [(&[&str], &[&str]); 10] = [
        (&["web.marathon.mesos", "A"], &["status: NOERROR", "10.0.0.1"]),
        (&["WEB.marathon.mesos", "A", "+tcp"], &["status: NOERROR", "10.0.0.1"]),
        (&["_web._tcp.marathon.mesos", "SRV"], &["0 1 31000 web-abcde-s0.marathon.mesos.", "10.0.0.1"]),
        (&["gone.mesos", "A"], &["status: NXDOMAIN", "SOA"]),
        (&["marathon.mesos", "A"], &["status: NOERROR", "SOA"]),
        (&["mesos", "NS", "+norec"], &["ns1.mesos.", "127.0.0.1"]),
        (&["many.mesos", "A", "+bufsize=1232", "+ignore"], &["status: NOERROR"]),
        (&["mesos", "SOA", "+edns=1", "+noednsneg"], &["BADVERS"]),
        (&["example.com", "A"], &["status: REFUSED"]),
        (&["mesos", "AXFR"], &[]),
    ];
    for (arguments, expected) in cases {
        for program in ["dig", "kdig"] {
            if program == "kdig" && arguments.iter().any(|a| matches!(*a, "AXFR" | "+noednsneg")) {
                continue;
            }
            // RD is set by default and answered without RA, which both tell; that is no complaint about the answer.
            let arguments = [arguments, &["+norec"]].concat();
            if let Some(text) = run(program, &server, &arguments) {
                for part in expected {
                    assert!(text.contains(part), "{part} is missing: {program} {arguments:?}\n{text}");
                }
            }
        }
    }
}
