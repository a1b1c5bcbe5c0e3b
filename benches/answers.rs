//! What an answer costs: looked up and written each time, and from the cache of answers.
//!
//! `cargo bench --bench answers` prints times; instructions are repeatable where clocks are noisy:
//! `valgrind --tool=callgrind target/release/deps/answers-… fresh 100000` (or `cached`, or `churn`), then subtract the run
//! with 0 questions.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
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

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let table = table();
    let questions: Vec<Vec<u8>> = (0..NAMES).map(question).collect();
    if let [way, count] = &arguments[..] {
        run(way, count.parse().unwrap(), &table, &questions);
        return;
    }
    println!("| way | ns an answer |\n|---|---|");
    for way in ["fresh", "cached", "churn"] {
        run(way, NAMES * 10, &table, &questions);
        let begun = Instant::now();
        let count = NAMES * 1000;
        run(way, count, &table, &questions);
        println!("| {way} | {:.0} |", begun.elapsed().as_nanos() as f64 / count as f64);
    }
}

/// A cluster of so many tasks, each an application of its own.
fn table() -> Arc<Table> {
    let now = Timestamp(1_700_000_000_000);
    let mut writer = Writer::new(ClusterState::new(Arc::new(facts::config()), now), 1, now);
    let mut all = vec![Fact::Agent(Box::new(facts::agent(1))), Fact::Framework(Box::new(facts::framework("marathon")))];
    all.extend((0..NAMES).map(|n| {
        let name = format!("app-{n}");
        Fact::Task(Box::new(facts::task(&format!("{name}.1"), &name, 1, 9000, &[])))
    }));
    writer.apply([facts::snapshot(1, all)], now);
    writer.first(now)
}

fn question(number: usize) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("app-{number}.marathon.mesos.")).unwrap();
    message.add_query(Query::query(name, RecordType::A));
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
