//! What an answer costs: looked up and written each time, and from the cache of answers; for names of one task, and of 10
//! and 1,000 tasks, whose addresses and services are drawn by lot and so are written each time.
//!
//! `cargo bench --bench answers` prints times; instructions are repeatable where clocks are noisy:
//! `valgrind --tool=callgrind target/release/deps/answers-… fresh 100000` (or another way), then subtract the run with 0
//! questions.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use pointsman::cluster::event::Fact;
use pointsman::cluster::state::ClusterState;
use pointsman::dns::answer::{Authority, answer};
use pointsman::dns::cache::AnswerCache;
use pointsman::dns::wire::Transport;
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::writer::Writer;

#[path = "../tests/common/facts.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod facts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAMES: usize = 1000;

/// A way to ask, the tasks of each name, and the type that is asked for.
const WAYS: [(&str, usize, RecordType); 7] = [
    ("fresh", 1, RecordType::A),
    ("cached", 1, RecordType::A),
    ("churn", 1, RecordType::A),
    ("ten", 10, RecordType::A),
    ("thousand", 1000, RecordType::A),
    ("ten-srv", 10, RecordType::SRV),
    ("thousand-srv", 1000, RecordType::SRV),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [way, count] = &arguments[..] {
        let (way, tasks, record_type) = *WAYS.iter().find(|(known, ..)| known == way).expect("a way");
        run(way, count.parse().unwrap(), &table(tasks), &questions(tasks, record_type));
        return;
    }
    println!("| way | ns an answer |\n|---|---|");
    for (way, tasks, record_type) in WAYS {
        let (table, questions) = (table(tasks), questions(tasks, record_type));
        run(way, NAMES * 10, &table, &questions);
        let begun = Instant::now();
        let count = if tasks == 1 { NAMES * 1000 } else { NAMES * 100 };
        run(way, count, &table, &questions);
        println!("| {way} | {:.0} |", begun.elapsed().as_nanos() as f64 / count as f64);
    }
}

/// Names that are asked for: few where each has many tasks.
fn names(tasks_each: usize) -> usize {
    (10 * NAMES / tasks_each).min(NAMES)
}

/// A cluster of applications with so many tasks each, every one with an address of its own.
fn table(tasks_each: usize) -> Arc<Table> {
    let now = Timestamp(1_700_000_000_000);
    let mut writer = Writer::new(ClusterState::new(Arc::new(facts::config()), now), 1, now);
    let mut all = vec![Fact::Agent(Box::new(facts::agent(1))), Fact::Framework(Box::new(facts::framework("marathon")))];
    all.extend((0..names(tasks_each) * tasks_each).map(|n| {
        let name = format!("app-{}", n / tasks_each);
        let mut task = facts::task(&format!("{name}.{n}"), &name, 1, 9000, &[]);
        let [.., high, low] = n.to_be_bytes();
        task.addresses = [Ipv4Addr::new(10, 2, high, low).into()].into_iter().collect();
        Fact::Task(Box::new(task))
    }));
    writer.apply([facts::snapshot(1, all)], now);
    writer.first(now)
}

fn questions(tasks_each: usize, record_type: RecordType) -> Vec<Vec<u8>> {
    (0..names(tasks_each)).map(|number| question(number, record_type, tasks_each > 1)).collect()
}

/// `is_large`: as resolvers ask, with EDNS, so that some seventy addresses fit.
fn question(number: usize, record_type: RecordType, is_large: bool) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = match record_type {
        RecordType::SRV => format!("_app-{number}._tcp.marathon.mesos."),
        _ => format!("app-{number}.marathon.mesos."),
    };
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    if is_large {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// `churn`: a new version of the names with every 50 questions, as at 1,000 changes and 50,000 questions a second.
fn run(way: &str, count: usize, table: &Table, questions: &[Vec<u8>]) {
    let own = [Ipv4Addr::LOCALHOST.into()];
    let (mut cache, mut random, mut out) = (AnswerCache::default(), fastrand::Rng::with_seed(1), Vec::new());
    let mut table = table.clone();
    for number in 0..count {
        if way == "churn" && number % 50 == 0 {
            table.generation += 1;
        }
        let authority = Authority { names: &table, own_addresses: &own };
        // A stride without a common factor: neighbours are not asked for in turn.
        let message = &questions[number * 7919 % questions.len()];
        out.clear();
        let outcome = match way {
            "fresh" => answer(&authority, Transport::Udp, message, &mut random, &mut out),
            _ => cache.answer(&authority, Transport::Udp, message, &mut random, &mut out),
        };
        black_box((outcome, &out));
    }
}
