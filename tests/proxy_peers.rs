//! Side by side with Debian's nginx and HAProxy: some dozens of ordinary requests, and the same answers.
//!
//! Each stands as a plain reverse proxy before the same server. Compared are status, content, trailers and fields of what
//! clients hear and of what the server behind sees, interim answers, and whether the connection goes on; not compared are
//! fields of one hop and those that a proxy writes as it is configured (`Via`, `X-Forwarded-…`, `Date`, `Server`). What
//! differs is listed with its reason in `peers_support/differences.rs`, and anything else fails. Requests that nobody sends
//! on a good day are the matter of `benches/strictness`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/haproxy.rs"]
mod haproxy;
mod peers_support;

use std::collections::BTreeSet;

use peers_support::cases::{self, Case};
use peers_support::client::Outcome;
use peers_support::differences::{DIFFERENCES, UNANSWERED};
use peers_support::peer::Peer;

/// What is not explained, a line each.
fn compare(peer: &Peer, cases: &[Case], own: &[Outcome]) -> Vec<String> {
    let (mut strange, mut used) = (Vec::new(), BTreeSet::new());
    let mut compared = 0;
    for (case, ours) in cases.iter().zip(own) {
        if UNANSWERED.iter().any(|(name, unanswered, _)| *name == peer.name && *unanswered == case.name) {
            continue;
        }
        compared += 1;
        for (aspect, ours, theirs) in ours.differences(&peer.ask(case)) {
            match DIFFERENCES.iter().position(|known| known.explains(peer.name, &case.name, &aspect)) {
                Some(known) => drop(used.insert(known)),
                None => strange.push(format!("{}: {}: ours {ours:?}, theirs {theirs:?}", case.name, aspect)),
            }
        }
    }
    println!("{}: {compared} cases, {} differences explained", peer.name, used.len());
    // Another version of a peer may have mended one.
    for (index, known) in DIFFERENCES.iter().enumerate() {
        if known.peers.contains(&peer.name) && !used.contains(&index) {
            println!("{}: no longer so in {:?}: {}", peer.name, known.cases, known.why);
        }
    }
    strange
}

#[test]
fn ordinary_requests_are_answered_as_nginx_and_haproxy_answer_them() {
    let cases = cases::all();
    for (index, case) in cases.iter().enumerate() {
        assert!(cases[..index].iter().all(|other| other.name != case.name), "two cases are called {}", case.name);
    }
    for known in DIFFERENCES {
        let is_there = cases.iter().any(|case| known.peers.iter().any(|peer| known.is_of(peer, &case.name)));
        assert!(is_there, "no case is called {:?}", known.cases);
    }
    let pointsman = Peer::pointsman();
    let own: Vec<Outcome> = cases.iter().map(|case| pointsman.ask(case)).collect();
    for (case, outcome) in cases.iter().zip(&own) {
        // All are ordinary but these: each is answered, and reaches the server behind.
        let expected = match case.name.as_str() {
            "trace" => ("0", "405 Method Not Allowed"),
            "behind a bare line feed" => ("0", "400 Bad Request"),
            _ => ("", ""),
        };
        let (requests, line) = (outcome.first("request", "count"), outcome.first("answer", "line"));
        match expected {
            ("", _) => assert!(requests != "0" && outcome.first("answer", "count") != "0", "{}: {line}", case.name),
            expected => assert_eq!((requests, line), expected, "{}", case.name),
        }
        assert_ne!(outcome.first("end", ""), "is silent", "{}", case.name);
    }
    for peer in [Peer::nginx(), Peer::haproxy()].into_iter().flatten() {
        let strange = compare(&peer, &cases, &own);
        assert!(strange.is_empty(), "differences to {} that are not listed:\n{}", peer.name, strange.join("\n"));
    }
}
