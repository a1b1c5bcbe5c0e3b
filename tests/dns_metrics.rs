//! What an operator reads of DNS at `/metrics`: each figure moves with what it counts. By the real program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod dns_common;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

use common::dns::{over_tcp, over_udp, query};
use common::ports::unused;
use common::program::{Folder, Program};
use dns_common::upstream::{Upstream, reply, with_address};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

/// A program with two zones from a file and two servers for all other names, of which one is dead.
struct Observed {
    folder: Folder,
    names: SocketAddr,
    /// The same by another address.
    beside: SocketAddr,
    alive: Upstream,
    dead: SocketAddr,
}

impl Observed {
    fn new() -> (Self, Program) {
        let alive = Upstream::answering(|query| {
            // Spelt with random case.
            let name = query.queries[0].name().to_string().to_lowercase();
            if name.starts_with("missing") { reply(query, ResponseCode::NXDomain) } else { with_address(query, 1, 300) }
        });
        // Nobody listens there.
        let (names, beside, dead) = (unused(), unused(), unused());
        let observed = Self { folder: Folder::new(), names, beside, alive, dead };
        let hosts =
            (0..200).map(|n| format!("[[records]]\nname = \"many.a.test\"\ntype = \"A\"\nvalue = \"10.0.1.{n}\"\n"));
        let one = "[[records]]\nname = \"www.a.test\"\ntype = \"A\"\nvalue = \"10.0.0.1\"\n".to_owned();
        observed.folder.write("services.toml", hosts.chain([one]).collect::<String>());
        observed.listen_on(&[names, beside]);
        let mut program = observed.folder.start();
        program.until_ready();
        (observed, program)
    }

    fn listen_on(&self, addresses: &[SocketAddr]) {
        let (alive, dead) = (self.alive.address, self.dead);
        let listen: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        self.folder.configure(&format!(
            "[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\nzones = [\"a.test\", \"b.test\"]\n\
             [dns]\nlisten = {listen:?}\n[dns.forward]\nupstreams = [\"{alive}\"]\ncache_size = \"4KiB\"\n\
             [[dns.forward.zone]]\nzone = \"dead.example\"\nupstreams = [\"{dead}\"]\n[dns.rate_limit]\n\
             responses_per_second = 5\nslip = 2\nexempt = [\"127.0.0.2\"]\n"
        ));
    }

    /// Listens elsewhere from now on.
    fn move_to(&self, program: &mut Program, addresses: &[SocketAddr]) {
        let last = program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
        self.listen_on(addresses);
        program.until_reload("applied", last);
    }

    /// Asks from an address that is not limited.
    fn ask(&self, name: &str, record_type: RecordType) -> ResponseCode {
        self.ask_at(self.names, name, record_type)
    }

    fn ask_at(&self, server: SocketAddr, name: &str, record_type: RecordType) -> ResponseCode {
        let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(common::program::PATIENCE)).unwrap();
        let mut message = query(name, record_type);
        // Recursion is desired: others' names are asked for.
        message[2] |= 1;
        socket.send(&message).unwrap();
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).unwrap();
        hickory_proto::op::Message::from_vec(&answer[..length]).unwrap().metadata.response_code
    }
}

fn value(program: &Program, name: &str) -> f64 {
    program.metric(name).unwrap_or(0.0)
}

/// The sum of a metric over all of its series that have these labels.
fn sum(program: &Program, name: &str, labels: &[&str]) -> f64 {
    let text = program.try_api("GET", "/metrics", "").unwrap().body;
    let ours = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let ours = ours.filter(|line| labels.iter().all(|label| line.contains(label)));
    ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[test]
fn answers_are_counted_by_transport_type_code_and_zone() {
    let (observed, mut program) = Observed::new();
    for _ in 0..3 {
        assert_eq!(observed.ask("www.a.test.", RecordType::A), ResponseCode::NoError);
    }
    assert_eq!(observed.ask("none.a.test.", RecordType::AAAA), ResponseCode::NXDomain);
    assert_eq!(observed.ask("b.test.", RecordType::SOA), ResponseCode::NoError);
    assert_eq!(observed.ask("many.a.test.", RecordType::A), ResponseCode::NoError);
    let mut stream = TcpStream::connect(observed.names).unwrap();
    assert_eq!(over_tcp(&mut stream, "many.a.test.", RecordType::A).answers.len(), 200);
    drop(stream);
    let expected = [
        ("pointsman_dns_queries_total{rcode=\"NOERROR\",transport=\"udp\",type=\"A\"}", 4.0),
        ("pointsman_dns_queries_total{rcode=\"NXDOMAIN\",transport=\"udp\",type=\"AAAA\"}", 1.0),
        ("pointsman_dns_queries_total{rcode=\"NOERROR\",transport=\"udp\",type=\"SOA\"}", 1.0),
        ("pointsman_dns_queries_total{rcode=\"NOERROR\",transport=\"tcp\",type=\"A\"}", 1.0),
        ("pointsman_dns_zone_queries_total{rcode=\"NOERROR\",zone=\"a.test\"}", 5.0),
        ("pointsman_dns_zone_queries_total{rcode=\"NXDOMAIN\",zone=\"a.test\"}", 1.0),
        ("pointsman_dns_zone_queries_total{rcode=\"NOERROR\",zone=\"b.test\"}", 1.0),
        ("pointsman_dns_truncated_answers_total{transport=\"udp\"}", 1.0),
        ("pointsman_dns_cached_answers_total", 1.0),
    ];
    for (series, count) in expected {
        assert_eq!(value(&program, series), count, "{series}");
    }
    assert!(value(&program, "pointsman_table_age_seconds") >= 0.0);
    let age = program.metric("pointsman_table_age_seconds").unwrap();
    program.until("the table's age grows", |program| value(program, "pointsman_table_age_seconds") > age);
    program.stop();
}

#[test]
fn forwarding_is_counted_by_server_and_what_is_kept_is() {
    let (observed, mut program) = Observed::new();
    let (alive, dead) = (observed.alive.address, observed.dead);
    for _ in 0..2 {
        assert_eq!(observed.ask("www.example.", RecordType::A), ResponseCode::NoError);
    }
    assert_eq!(observed.ask("missing.example.", RecordType::A), ResponseCode::NXDomain);
    let latency = format!("pointsman_dns_forward_latency_seconds_count{{upstream=\"{alive}\"}}");
    // Probes for loops are among them.
    assert!(value(&program, &latency) >= 2.0);
    assert_eq!(value(&program, "pointsman_dns_cache_lookups_total{result=\"hit\"}"), 1.0);
    assert_eq!(value(&program, "pointsman_dns_cache_lookups_total{result=\"miss\"}"), 2.0);
    assert_eq!(value(&program, "pointsman_dns_zone_queries_total{rcode=\"NOERROR\",zone=\"outside\"}"), 2.0);
    assert_eq!(value(&program, "pointsman_dns_zone_queries_total{rcode=\"NXDOMAIN\",zone=\"outside\"}"), 1.0);
    assert!(value(&program, "pointsman_dns_cache_entries") >= 1.0);
    assert!(value(&program, "pointsman_dns_cache_bytes") >= 1.0);
    // More than 4 KiB hold.
    for n in 0..30 {
        observed.ask(&format!("n{n}.example."), RecordType::A);
    }
    assert!(value(&program, "pointsman_dns_cache_evictions_total") >= 1.0);
    assert!(value(&program, "pointsman_dns_cache_entries") < 30.0);
    assert_eq!(observed.ask("www.dead.example.", RecordType::A), ResponseCode::ServFail);
    let failures = format!("upstream=\"{dead}\"");
    assert!(sum(&program, "pointsman_dns_forward_failures_total", &[&failures]) >= 1.0);
    program.stop();
}

#[test]
fn what_is_limited_is_counted_as_it_was() {
    let (observed, mut program) = Observed::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(observed.names).unwrap();
    for _ in 0..60 {
        socket.send(&query("www.a.test.", RecordType::A)).unwrap();
    }
    let limited = |program: &Program, action: &str| {
        value(program, &format!("pointsman_dns_rate_limited_total{{action=\"{action}\"}}"))
    };
    program.until("some are held back", |program| limited(program, "drop") >= 1.0 && limited(program, "slip") >= 1.0);
    // What is held back was asked and answered all the same, for who counts questions.
    program.until("all are counted", |program| {
        value(program, "pointsman_dns_queries_total{rcode=\"NOERROR\",transport=\"udp\",type=\"A\"}") == 60.0
    });
    assert_eq!(over_udp(observed.names, "www.b.test.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    program.stop();
}

const HITS: &str = "pointsman_dns_cache_lookups_total{result=\"hit\"}";
const CACHED: &str = "pointsman_dns_cached_answers_total";

#[test]
fn what_one_address_has_learnt_the_others_know() {
    let (observed, mut program) = Observed::new();
    let (names, beside, added) = (observed.names, observed.beside, unused());
    for (server, hits) in [(names, 0.0), (beside, 1.0), (names, 2.0)] {
        assert_eq!(observed.ask_at(server, "www.example.", RecordType::A), ResponseCode::NoError);
        assert_eq!(value(&program, HITS), hits, "{server}");
    }
    // An answer of ours is kept from the second time on, whoever asked the first time.
    for (server, cached) in [(names, 0.0), (beside, 0.0), (names, 1.0), (beside, 2.0)] {
        assert_eq!(observed.ask_at(server, "www.a.test.", RecordType::A), ResponseCode::NoError);
        assert_eq!(value(&program, CACHED), cached, "{server}");
    }

    // Addresses come and go, the first that was asked among them.
    observed.move_to(&mut program, &[beside, added]);
    for (server, hits) in [(beside, 3.0), (added, 4.0)] {
        assert_eq!(observed.ask_at(server, "www.example.", RecordType::A), ResponseCode::NoError);
        assert_eq!(value(&program, HITS), hits, "{server}");
    }
    assert_eq!(observed.alive.count("www.example."), 1, "asked once, whatever address was");
    // What is not known yet is asked for, too, now that the address that all began with is gone.
    for (number, server) in [beside, added].into_iter().enumerate() {
        let name = format!("later{number}.example.");
        assert_eq!(observed.ask_at(server, &name, RecordType::A), ResponseCode::NoError, "{server}");
    }
    program.stop();
}

#[test]
fn the_bounds_hold_for_all_addresses_together() {
    let (observed, mut program) = Observed::new();
    let (names, beside) = (observed.names, observed.beside);
    // Either address alone gets more than 4 KiB hold.
    for number in 0..60 {
        for server in [names, beside] {
            let name = format!("n{number}.port{}.example.", server.port());
            assert_eq!(observed.ask_at(server, &name, RecordType::A), ResponseCode::NoError);
            let bytes = value(&program, "pointsman_dns_cache_bytes");
            assert!(bytes <= 4096.0, "{bytes} octets are kept after {name}");
        }
    }
    assert!(value(&program, "pointsman_dns_cache_bytes") > 2048.0, "they are kept");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    for server in [names, beside] {
        for _ in 0..60 {
            socket.send_to(&query("www.a.test.", RecordType::A), server).unwrap();
        }
    }
    let limited = |program: &Program| sum(program, "pointsman_dns_rate_limited_total", &[]);
    let asked = "pointsman_dns_queries_total{rcode=\"NOERROR\",transport=\"udp\",type=\"A\"}";
    // 120 that others were asked for, and these.
    program.until("all are counted", |program| value(program, asked) == 240.0);
    let sent = 120.0 - limited(&program);
    // Five at once, and five for each second that it took; one may be counted as asked and not yet as held back.
    let most = 5.0 + 5.0 * begun.elapsed().as_secs_f64() + 1.0;
    assert!(sent >= 5.0 && sent <= most, "{sent} of 120 were sent, and {most} are allowed");
    program.stop();
}

#[test]
fn who_listens_nowhere_keeps_nothing_of_others() {
    let (observed, mut program) = Observed::new();
    assert_eq!(observed.ask("www.example.", RecordType::A), ResponseCode::NoError);
    assert!(value(&program, "pointsman_dns_cache_entries") >= 1.0);
    observed.move_to(&mut program, &[]);
    program.until("what others said is let go of", |program| value(program, "pointsman_dns_cache_entries") == 0.0);
    observed.move_to(&mut program, &[observed.beside]);
    assert_eq!(observed.ask_at(observed.beside, "www.example.", RecordType::A), ResponseCode::NoError);
    assert_eq!(observed.alive.count("www.example."), 2);
    program.stop();
}
