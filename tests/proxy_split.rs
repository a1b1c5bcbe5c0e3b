//! Shares of versions: by labels and in a file, as draws of the router and as requests through a running proxy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use http::HeaderMap;
use pointsman::cluster::event::{ClusterEvent, Fact, SnapshotScope, SourceEvent};
use pointsman::cluster::sources::file::read;
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::config::checked::FileConfig;
use pointsman::model::refinement::Head;
use pointsman::model::time::Timestamp;
use pointsman::proxy::route;
use pointsman::table::Table;
use pointsman::table::writer::Writer;
use proxy_common::*;

/// What a file of services comes to.
fn table(text: &str) -> Table {
    let source = FileConfig { name: "files".into(), path: "services.toml".into(), zones: Vec::new() };
    let document = read(text, Path::new("services.toml"), &source).unwrap_or_else(|errors| panic!("{errors}"));
    let mut config = Config { files: vec![source], ..Config::default() };
    config.upstreams.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let now = Timestamp::now();
    let mut writer = Writer::new(ClusterState::new(Arc::new(config), now), 1, now);
    let scope = SnapshotScope { authoritative: true, ..SnapshotScope::default() };
    let mut facts = vec![Fact::Live, Fact::SnapshotStarted];
    facts.extend(document.contents.into_facts(&"files".into()));
    facts.push(Fact::SnapshotFinished(scope));
    writer.apply([ClusterEvent::Source(SourceEvent { source: "files".into(), stream: 1, facts })], now);
    let table = writer.first(now);
    assert!(table.problems.is_empty(), "{:?}", table.problems.iter().collect::<Vec<_>>());
    (*table).clone()
}

/// An entry of a file: version, its share, how many endpoints.
type Colour<'a> = (&'a str, Option<u32>, u16);

fn service(colours: &[Colour<'_>], rest: &str) -> String {
    let mut text = String::from("[[services]]\nname = 'shop'\nendpoints = [\n");
    let mut port = 1000;
    for (version, share, count) in colours {
        for _ in 0..*count {
            port += 1;
            let share = share.map(|share| format!(", version_weight = {share}")).unwrap_or_default();
            writeln!(text, "{{ address = '127.0.0.1:{port}', version = '{version}'{share} }},").unwrap();
        }
    }
    format!("{text}]\n[[services.routes]]\nhosts = ['a.test']\n{rest}\n")
}

/// How often each version is drawn in 10,000 requests.
fn drawn(table: &Table, fields: &HeaderMap) -> BTreeMap<String, u32> {
    let mut rng = Rng::with_seed(7);
    let head = Head { host: "a.test", path: "/", query: None, method: "GET", fields };
    let mut counts = BTreeMap::new();
    for _ in 0..10_000 {
        let version = match route::find(table, &head, fields, Timestamp::now, &mut rng) {
            Ok(destination) => destination.version.map_or_else(|| "any".to_owned(), |version| version.to_string()),
            Err(reason) => reason.code().to_owned(),
        };
        *counts.entry(version).or_insert(0) += 1;
    }
    counts
}

fn check(colours: &[Colour<'_>], rest: &str, expected: &[(&str, u32)]) {
    let counts = drawn(&table(&service(colours, rest)), &HeaderMap::new());
    let near = |(version, share): &(&str, u32)| counts.get(*version).is_some_and(|count| count.abs_diff(*share) <= 200);
    assert!(counts.len() == expected.len() && expected.iter().all(near), "{colours:?} {rest}: {counts:?}");
}

#[test]
fn shares_are_the_versions_and_not_their_instances() {
    check(&[("blue", Some(90), 1), ("green", Some(10), 9)], "", &[("blue", 9000), ("green", 1000)]);
    // Nobody says any: every endpoint is as good as another.
    check(&[("blue", None, 1), ("green", None, 9)], "", &[("any", 10_000)]);
    // Who says none has 100.
    check(&[("blue", None, 3), ("green", Some(25), 1)], "", &[("blue", 8000), ("green", 2000)]);
    check(&[("blue", Some(1), 3), ("green", Some(0), 1)], "", &[("blue", 10_000)]);
    // All versions that are left say 0: better them than nobody.
    check(&[("green", Some(0), 1)], "", &[("any", 10_000)]);
}

#[test]
fn a_route_splits_as_it_says() {
    let colours = [("blue", Some(1), 1), ("green", Some(1), 1)];
    check(&colours, "split = ['blue=70', 'green=30']", &[("blue", 7000), ("green", 3000)]);
    check(&colours, "split = 'green'", &[("green", 10_000)]);
    // A version that is not there gives its share to the others …
    check(&colours, "split = 'blue=50, red=50'", &[("blue", 10_000)]);
    // … and one that a route is pinned to does not.
    check(&colours, "split = 'red'", &[("red", 10_000)]);
}

/// A header pins a request to a version; everybody else is drawn.
#[test]
fn a_header_pins_a_request_to_a_version() {
    let pinned = "[[services.routes]]\nhosts = ['a.test']\nheader = 'X-Version=green'\nsplit = 'green'\n";
    let text = service(&[("blue", Some(100), 1), ("green", Some(0), 1)], pinned);
    let table = table(&text);
    assert_eq!(drawn(&table, &HeaderMap::new()), BTreeMap::from([("blue".to_owned(), 10_000)]));
    let mut fields = HeaderMap::new();
    fields.insert("x-version", "green".parse().unwrap());
    assert_eq!(drawn(&table, &fields), BTreeMap::from([("green".to_owned(), 10_000)]));
}

/// Two colours of real backends, and shares that change while requests go on: none is lost, and a client whom a cookie
/// keeps stays where it is, whatever the shares become.
#[tokio::test]
async fn requests_follow_the_shares_and_sessions_outlive_them() {
    let (blue, green) = (Backend::saying("blue").await, Backend::saying("green").await);
    let text = |shares: (u32, u32)| {
        format!(
            "[[services]]\nname = 'shop'\nhosts = ['a.test']\nsticky = true\nendpoints = [\n\
             {{ address = '{}', version = 'blue', version_weight = {} }},\n\
             {{ address = '{}', version = 'green', version_weight = {} }},\n]\n",
            blue.address, shares.0, green.address, shares.1
        )
    };
    let proxy = Proxy::start(table(&text((100, 0))), None);
    let first = proxy.get("a.test", "/").await;
    assert_eq!(body(&first), "blue");
    let cookie = header(&first, "set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut seen = Vec::new();
    for shares in [(100, 0), (50, 50), (0, 100)] {
        proxy.publish(Cluster(table(&text(shares))));
        let mut greens = 0;
        for _ in 0..60 {
            let answer = proxy.get("a.test", "/").await;
            assert_eq!(status(&answer), 200);
            greens += usize::from(body(&answer) == "green");
        }
        seen.push(greens);
        let kept = format!("GET / HTTP/1.1\r\nhost: a.test\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n");
        assert_eq!(body(&proxy.raw(&kept).await), "blue", "{shares:?}");
    }
    assert!(seen[0] == 0 && (10..=50).contains(&seen[1]) && seen[2] == 60, "{seen:?}");
}
