//! The DNS server when descriptors run out. A program of its own: the limit is the whole process's.

mod dns_common;

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dns_common::{PATIENCE, Server, ask_udp, framed, names, query, read_answer};
use hickory_proto::rr::RecordType;
use nix::sys::resource::{Resource, setrlimit};
use pointsman::dns::metrics::Count;
use socket2::{Domain, Socket, Type};

#[test]
fn running_out_of_descriptors_neither_spins_nor_ends_the_server() {
    let server = Server::start(names());
    let ask = query(1, "web.marathon.mesos.", RecordType::A);
    // Once it has answered, it has all the descriptors that it needs.
    assert_eq!(ask_udp(server.address, &ask).answers.len(), 1);
    // Made before the descriptors are gone; connecting needs no more of them on this side.
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    client.connect(&server.address.into()).unwrap();
    let started = Instant::now();
    while server.counted(Count::AcceptErrors) < 4 {
        assert!(started.elapsed() < PATIENCE, "accepting never failed");
        std::thread::yield_now();
    }
    // 10, 20 and 40 ms lie between the four; a server that spins has millions by now.
    assert!(started.elapsed() >= Duration::from_millis(70));
    assert!(server.counted(Count::AcceptErrors) < 20);
    drop(hoard);
    let mut client: TcpStream = client.into();
    client.write_all(&framed(&ask)).unwrap();
    assert_eq!(read_answer(&mut client).metadata.id, 1);
}
