//! A plain query over UDP is answered without an allocation: by the part that makes answers, and from the socket to the socket.
//! What is made once (places of the cache of answers, what is kept beside a group or a zone, buffers) is made before.

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use common::facts::{agent, config, framework, snapshot, task};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType::{self, A, AAAA, SRV};
use hickory_proto::rr::{Name, RData};
use pointsman::cluster::event::Fact;
use pointsman::cluster::state::ClusterState;
use pointsman::dns::answer::{Authority, answer};
use pointsman::dns::cache::AnswerCache;
use pointsman::dns::kept::Kept;
use pointsman::dns::metrics::DnsMetrics;
use pointsman::dns::transport::bind::{bind, own_addresses};
use pointsman::dns::wire::Transport;
use pointsman::dns::{DnsWorker, Drain, serve};
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::writer::Writer;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

/// Questions of each kind that are counted.
const ROUNDS: u16 = 500;

const PATIENCE: Duration = Duration::from_secs(20);

/// An application of one task, and one of ten.
fn table() -> Arc<Table> {
    let now = Timestamp(1_700_000_000_000);
    let mut writer = Writer::new(ClusterState::new(Arc::new(config()), now), 1, now);
    let mut all = vec![Fact::Agent(Box::new(agent(1))), Fact::Framework(Box::new(framework("marathon")))];
    all.push(Fact::Task(Box::new(task("one.0", "one", 1, 9000, &[]))));
    all.extend((0..10).map(|n| {
        let mut task = task(&format!("ten.{n}"), "ten", 1, 9000, &[]);
        task.addresses = [Ipv4Addr::new(10, 2, 0, n).into()].into_iter().collect();
        Fact::Task(Box::new(task))
    }));
    writer.apply([snapshot(1, all)], now);
    writer.first(now)
}

fn question(id: u16, name: &str, record_type: RecordType, has_edns: bool) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(format!("{name}.mesos.")).unwrap(), record_type));
    if has_edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// What is asked again and again: each with the number of its answers.
const PLAIN: [(&str, RecordType, usize); 5] = [
    ("one.marathon", A, 1),
    ("one.marathon", AAAA, 0),
    ("_one._tcp.marathon", SRV, 1),
    // Drawn by lot each time, so never from the cache of answers.
    ("ten.marathon", A, 10),
    ("nope.marathon", A, 0),
];

fn assert_answered(octets: &[u8], name: &str, answers: usize) {
    let message = Message::from_vec(octets).unwrap();
    let is_missing = message.metadata.response_code == ResponseCode::NXDomain;
    assert_eq!((message.answers.len(), is_missing), (answers, name.starts_with("nope")), "{name}: {message}");
    assert!(answers > 0 || message.authorities.iter().all(|record| matches!(record.data, RData::SOA(_))), "{name}");
}

#[test]
fn answers_are_made_without_allocations() {
    let table = table();
    let authority = Authority { names: &*table, own_addresses: &[] };
    let mut random = fastrand::Rng::with_seed(1);
    let mut out = Vec::with_capacity(4096);
    for has_edns in [false, true] {
        for (name, record_type, answers) in PLAIN {
            let messages: Vec<Vec<u8>> = (0..ROUNDS).map(|id| question(id, name, record_type, has_edns)).collect();
            let mut cache = AnswerCache::default();
            let mut ask = |messages: &[Vec<u8>]| -> AllocationInfo {
                measure(|| {
                    for message in messages {
                        out.clear();
                        cache.answer(&authority, Transport::Udp, message, &mut random, &mut out);
                    }
                })
            };
            // The places of the cache at least; what is asked for twice has its answer kept.
            assert!(ask(&messages[..3]).count_total > 0, "the counter counts");
            assert_eq!(ask(&messages).count_total, 0, "{name} {record_type} EDNS {has_edns}");
            assert_answered(&out, name, answers);
        }
    }
}

/// Whoever asks for made-up names finds none of them in the cache.
#[test]
fn names_that_are_missing_are_denied_without_allocations() {
    let table = table();
    let authority = Authority { names: &*table, own_addresses: &[] };
    let (mut random, mut cache) = (fastrand::Rng::with_seed(1), AnswerCache::default());
    let mut out = Vec::with_capacity(4096);
    let messages: Vec<Vec<u8>> =
        (0..ROUNDS).map(|n| question(n, &format!("nope-{n}.marathon"), A, n % 2 == 0)).collect();
    cache.answer(&authority, Transport::Udp, &messages[0], &mut random, &mut out);
    let info = measure(|| {
        for message in &messages[1..] {
            out.clear();
            cache.answer(&authority, Transport::Udp, message, &mut random, &mut out);
        }
    });
    assert_eq!((info.count_total, cache.hits()), (0, 0));
    assert_answered(&out, "nope", 0);
    let info = measure(|| {
        for message in &messages {
            out.clear();
            answer(&authority, Transport::Udp, message, &mut random, &mut out);
        }
    });
    assert_eq!(info.count_total, 0, "without the cache");
}

/// Asks all questions so many times, each after the answer to the one before.
fn ask_all(socket: &UdpSocket, rounds: u16) {
    let mut buffer = [0; 4096];
    for id in 0..rounds {
        for (name, record_type, answers) in PLAIN {
            let message = question(id, name, record_type, false);
            socket.send(&message).unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..2], message[..2], "the answer to what was asked");
            assert_answered(&buffer[..length], name, answers);
        }
    }
}

/// From the socket to the socket, on the thread that serves it: each question is a batch of its own.
#[test]
fn queries_are_served_without_allocations() {
    let mut bound = bind(&["127.0.0.1:0".parse().unwrap()], 1).unwrap();
    let address: SocketAddr = bound.addresses[0];
    let metrics = DnsMetrics::register(&prometheus::Registry::new(), 1).unwrap();
    let (draining, drain) = watch::channel(Drain::Serving);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let served = local.spawn_local(serve(DnsWorker {
        sockets: bound.workers.remove(0),
        secure: None,
        names: table(),
        history: None,
        own_addresses: own_addresses(&bound.addresses).into(),
        log: None,
        kept: Rc::new(Kept::new(metrics.worker(0))),
        drain,
    }));
    let (warmed, is_warm) = oneshot::channel();
    let (go, may_go) = mpsc::channel();
    let (done, is_done) = oneshot::channel();
    let client = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(address).unwrap();
        ask_all(&socket, 5);
        warmed.send(()).unwrap();
        may_go.recv().unwrap();
        ask_all(&socket, ROUNDS);
        done.send(()).unwrap();
    });
    local.block_on(&runtime, is_warm).unwrap();
    go.send(()).unwrap();
    let info = measure(|| local.block_on(&runtime, is_done).unwrap());
    client.join().unwrap();
    draining.send(Drain::Draining).unwrap();
    local.block_on(&runtime, served).unwrap().unwrap();
    // One in a hundred batches: what the runtime does now and then, and the worker once a second.
    let questions = u64::from(ROUNDS) * PLAIN.len() as u64;
    assert!(info.count_total < questions / 100, "{} allocations for {questions} questions", info.count_total);
}
