//! Every fuzz target on stable: its corpus, and mutations of it from a seed.
//!
//! `tests/fuzz` has the same targets for cargo-fuzz, which finds more and needs a nightly compiler.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::facts;
use fastrand::Rng;
use pointsman::cluster::event::Fact;
use pointsman::cluster::sources::mesos::{decode, state_document};
use pointsman::cluster::sources::{file, marathon};
use pointsman::cluster::state::ClusterState;
use pointsman::model::time::Timestamp;
use pointsman::table::writer::Writer;

type Target = (&'static str, fn(&[u8]));

/// A folder of `tests/data/fuzz`, a program of `tests/fuzz`, and what both feed.
const TARGETS: &[Target] = &[
    ("recordio", decode::fuzz_recordio),
    ("event", decode::fuzz_event),
    ("labels", pointsman::labels::fuzz_labels),
    ("config", pointsman::config::fuzz_config),
    ("mesos_dns_config", pointsman::mesos_dns::fuzz_mesos_dns_config),
    ("document", file::fuzz_document),
    ("zone", file::fuzz_zone),
    ("query", pointsman::dns::fuzz_query),
    ("state", pointsman::cluster::store::fuzz_state),
    ("marathon", marathon::fuzz_marathon_json),
    ("sse", marathon::fuzz_sse),
    ("state_document", state_document::fuzz_state_document),
    ("upstream", pointsman::dns::forward::fuzz_upstream),
    ("http1_heads", pointsman::proxy::http1::head::fuzz_heads),
    ("http1_chunks", pointsman::proxy::http1::chunks::fuzz_chunks),
    ("client_hello", pointsman::proxy::tls::client_hello::fuzz_client_hello),
    ("der", pointsman::proxy::tls::der::fuzz_der),
    ("proxy_protocol", pointsman::proxy::proxy_protocol::header::fuzz_proxy_protocol),
    ("head_scan", pointsman::proxy::fuzz::fuzz_head_scan),
    ("frame_guard", pointsman::proxy::fuzz::fuzz_frame_guard),
    ("head_gate", pointsman::proxy::fuzz::fuzz_head_gate),
    ("http2_client", pointsman::proxy::http2::fuzz::fuzz_http2_client),
    ("http2_server", pointsman::proxy::http2::fuzz::fuzz_http2_server),
    ("websocket_frames", pointsman::proxy::fuzz::fuzz_websocket_frames),
    ("path", pointsman::proxy::fuzz::fuzz_path),
    ("authority", pointsman::proxy::fuzz::fuzz_authority),
    ("client_address", pointsman::proxy::fuzz::fuzz_client_address),
    ("cookies", pointsman::proxy::fuzz::fuzz_cookies),
    ("jwt", pointsman::proxy::fuzz::fuzz_jwt),
    ("http1_requests", pointsman::proxy::http1::fuzz::fuzz_requests),
    ("http1_answers", pointsman::proxy::http1::fuzz::fuzz_answers),
    ("hpack", pointsman::proxy::http2::hpack::fuzz::fuzz_hpack),
    ("trace", pointsman::proxy::fuzz_fields::fuzz_trace),
    ("grpc", pointsman::proxy::fuzz_fields::fuzz_grpc),
    ("accept_encoding", pointsman::proxy::fuzz_fields::fuzz_accept_encoding),
    ("basic_auth", pointsman::proxy::fuzz_fields::fuzz_basic_auth),
    ("password", pointsman::model::password::fuzz_password),
    ("ticket_keys", pointsman::proxy::tls::tickets::fuzz_ticket_keys),
    ("take_over", pointsman::server::fuzz_take_over),
];

/// The longest input: findings in longer ones are rarely others.
const LONGEST: usize = 4096;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The names of a folder's files, without their ending.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("data/fuzz").join(target);
    let read = |name: String| {
        let path = folder.join(&name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, bytes)
    };
    let mut corpus: Vec<_> = names(&folder).into_iter().map(read).collect();
    if target == "config" {
        corpus.push(("sample".into(), std::fs::read(root().join("../config/pointsman.toml")).unwrap()));
    }
    if target == "state" {
        corpus.push(("of today".into(), state_of_today()));
    }
    assert!(!corpus.is_empty(), "tests/data/fuzz/{target} is empty");
    corpus
}

/// A stored state in the format of today, whatever formats the corpus has.
fn state_of_today() -> Vec<u8> {
    let now = Timestamp(1_700_000_000_000);
    let mut writer = Writer::new(ClusterState::new(Arc::new(facts::config()), now), 1, now);
    let task = facts::task("t1", "web", 1, 9000, &[("pointsman.host", "a.example.com")]);
    let facts = vec![
        Fact::Agent(Box::new(facts::agent(1))),
        Fact::Framework(Box::new(facts::framework("marathon"))),
        Fact::Task(Box::new(task)),
    ];
    writer.apply([facts::snapshot(1, facts)], now);
    writer.state().view(now).write(Vec::new()).unwrap()
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, names(&root().join("data/fuzz")));
    assert_eq!(targets, names(&root().join("fuzz/fuzz_targets")));
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "tests/fuzz/Cargo.toml lacks {name}");
    }
}

#[test]
fn no_target_minds_its_corpus_or_mutations_of_it() {
    let full = std::env::var_os("POINTSMAN_FULL").is_some();
    let seed = if full { fastrand::u64(..) } else { 2024 };
    println!("mutations from seed {seed}");
    for (name, run) in TARGETS {
        let corpus = corpus(name);
        for (file, bytes) in &corpus {
            feed(name, *run, bytes, || format!("of the corpus: {file}"));
        }
        let seeds: Vec<&[u8]> = corpus.iter().map(|(_, bytes)| &bytes[..bytes.len().min(LONGEST)]).collect();
        let mut random = Rng::with_seed(seed);
        let begun = Instant::now();
        let limit = if full { Duration::from_secs(60) } else { Duration::from_millis(400) };
        // A count for those who repeat, a time for those whose machine is slow.
        let most = if full { 1_000_000 } else { 3000 };
        for number in 0..most {
            if begun.elapsed() > limit {
                break;
            }
            let input = mutated(&seeds, &mut random);
            feed(name, *run, &input, || {
                format!("number {number} from seed {seed}: {:02x?}", &input[..input.len().min(600)])
            });
        }
    }
}

fn feed(name: &str, run: fn(&[u8]), input: &[u8], what: impl Fn() -> String) {
    let fed = std::panic::catch_unwind(|| run(input));
    assert!(fed.is_ok(), "the target {name} fails for the input {}", what());
}

/// One of the seeds with some changes.
fn mutated(seeds: &[&[u8]], random: &mut Rng) -> Vec<u8> {
    let mut input = seeds[random.usize(..seeds.len())].to_vec();
    for _ in 0..random.usize(1..6) {
        mutate(&mut input, seeds, random);
    }
    input.truncate(LONGEST);
    input
}

/// Numbers at whose bounds parsers err.
const NUMBERS: [u64; 12] = [0, 1, 63, 64, 127, 128, 255, 256, 0x7fff, 0xffff, 0xffff_ffff, u64::MAX];

fn mutate(input: &mut Vec<u8>, seeds: &[&[u8]], random: &mut Rng) {
    let place = random.usize(..=input.len());
    let end = (place + random.usize(..16)).min(input.len());
    match random.u8(..8) {
        0 if place < input.len() => input[place] ^= 1 << random.u8(..8),
        1 if place < input.len() => input[place] = random.u8(..),
        2 => drop(input.drain(place..end)),
        3 => input.truncate(place),
        4 => {
            let again = input[place..end].to_vec();
            input.splice(place..place, again);
        }
        5 => {
            let other = seeds[random.usize(..seeds.len())];
            let from = random.usize(..=other.len());
            let to = (from + random.usize(..64)).min(other.len());
            input.splice(place..end, other[from..to].iter().copied());
        }
        6 => {
            let number = NUMBERS[random.usize(..NUMBERS.len())];
            let written = match random.u8(..3) {
                0 => number.to_string().into_bytes(),
                1 => number.to_le_bytes()[..random.usize(1..=8)].to_vec(),
                _ => number.to_be_bytes()[random.usize(..8)..].to_vec(),
            };
            input.splice(place..end, written);
        }
        _ => input.insert(place, random.u8(..)),
    }
}
