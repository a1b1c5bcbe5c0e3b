//! Filters of the configuration that labels name: over HTTP/1.1 and HTTP/2, through a running proxy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::Config;
use pointsman::config::filter::{CorsConfig, FilterConfig, RateBy};
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::AsyncWriteExt;

/// Realm `r`, user `ann`, password `pw`.
const AUTH: &str = "pointsman.auth=r:ann:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.";

fn filter(name: &str) -> FilterConfig {
    FilterConfig { name: name.into(), ..FilterConfig::default() }
}

fn hourly(name: &str, rate: u32) -> FilterConfig {
    FilterConfig { rate, rate_period: std::time::Duration::from_secs(3600), ..filter(name) }
}

fn configure(config: &mut Config) {
    config.proxy.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let cors = CorsConfig { origins: vec!["https://app.test".into()], credentials: true, ..CorsConfig::default() };
    config.proxy.filters = vec![
        hourly("three", 3),
        FilterConfig { rate_by: RateBy::All, ..hourly("two-in-all", 2) },
        hourly("two-more", 2),
        FilterConfig { allow: vec!["10.0.0.0/8".parse().unwrap()], ..filter("inside") },
        FilterConfig { deny: vec!["10.6.6.0/24".parse().unwrap()], ..filter("not-them") },
        FilterConfig { max_body: 10, ..filter("small") },
        FilterConfig { max_head: 100, ..filter("brief") },
        FilterConfig { security_headers: true, ..filter("careful") },
        FilterConfig { cors, ..filter("pages") },
    ];
}

/// Service (its host is `NAME.test`) and labels.
const SERVICES: &[(&str, &[&str])] = &[
    ("rated", &["pointsman.host=rated.test", "pointsman.filters=three"]),
    ("shared", &["pointsman.host=shared.test", "pointsman.filters=two-in-all"]),
    ("routed", &["pointsman.host=routed.test", "pointsman.route.x.host=x.test", "pointsman.route.x.filters=two-more"]),
    ("near", &["pointsman.host=near.test", "pointsman.filters=inside, not-them"]),
    ("small", &["pointsman.host=small.test", "pointsman.filters=small"]),
    ("brief", &["pointsman.host=brief.test", "pointsman.filters=brief"]),
    ("careful", &["pointsman.host=careful.test", "pointsman.filters=careful"]),
    ("pages", &["pointsman.host=pages.test", "pointsman.filters=pages", AUTH]),
    ("lost", &["pointsman.host=lost.test", "pointsman.filters=nobody-knows"]),
];

fn cluster(backend: &Backend, configure: impl FnOnce(&mut Config)) -> Cluster {
    let mut cluster = Cluster::with(configure);
    for (name, labels) in SERVICES {
        cluster = cluster.service(name, Protocol::Http, &[backend.address]).labelled(labels, name);
    }
    cluster
}

async fn asked(proxy: &Proxy, host: &str, lines: &str) -> String {
    proxy.raw(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n")).await
}

async fn from(proxy: &Proxy, host: &str, client: &str) -> String {
    asked(proxy, host, &format!("x-forwarded-for: {client}\r\n")).await
}

#[tokio::test]
async fn rates_are_each_clients_or_everybodys() {
    let backend = Backend::saying("ok").await;
    let proxy = cluster(&backend, configure).serve();
    let mut found = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"] {
        found.push(status(&from(&proxy, "rated.test", client).await));
    }
    assert_eq!(found, [200, 200, 200, 429, 200]);
    let refused = from(&proxy, "rated.test", "192.0.2.1").await;
    assert_eq!(header(&refused, "x-pointsman-reason"), Some("rate-limited"));
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=1200).contains(&wait), "{wait}");
    let mut found = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        found.push(status(&from(&proxy, "shared.test", client).await));
    }
    assert_eq!(found, [200, 200, 429]);
    // One route's filter is not its service's.
    let mut found = Vec::new();
    for host in ["x.test", "x.test", "x.test", "routed.test"] {
        found.push(status(&from(&proxy, host, "192.0.2.9").await));
    }
    assert_eq!(found, [200, 200, 429, 200]);
}

#[tokio::test]
async fn a_changed_filter_counts_at_once() {
    let backend = Backend::saying("ok").await;
    let proxy = cluster(&backend, configure).serve();
    assert_eq!(status(&from(&proxy, "near.test", "192.0.2.1").await), 403);
    proxy.publish(cluster(&backend, |config| {
        configure(config);
        config.proxy.filters.iter_mut().for_each(|filter| filter.allow.clear());
    }));
    until("the new table", || proxy.tables.load().config.proxy.filters.iter().all(|f| f.allow.is_empty())).await;
    assert_eq!(status(&from(&proxy, "near.test", "192.0.2.1").await), 200);
}

#[tokio::test]
async fn addresses_are_the_clients() {
    let backend = Backend::saying("ok").await;
    let proxy = cluster(&backend, configure).serve();
    for (client, expected) in [("10.1.1.1", 200), ("10.6.6.6", 403), ("192.0.2.1", 403)] {
        assert_eq!(status(&from(&proxy, "near.test", client).await), expected, "{client}");
    }
    let lost = asked(&proxy, "lost.test", "").await;
    assert_eq!((status(&lost), header(&lost, "x-pointsman-reason")), (503, Some("unknown-filter")));
}

#[tokio::test]
async fn large_bodies_are_refused_by_their_length_and_on_the_way() {
    let backend = Backend::start(|mut stream, _| async move {
        // Reads on: an answer before the body's end would be passed on.
        let _ = read_all(&mut stream).await;
        let _ = stream.write_all(ok("late").as_bytes()).await;
    })
    .await;
    let proxy = cluster(&backend, configure).serve();
    let long = "POST / HTTP/1.1\r\nhost: small.test\r\ncontent-length: 11\r\n\r\nhello world";
    let answer = proxy.raw(long).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (413, Some("body-too-large")));
    assert_eq!(backend.connections(), 0);
    let chunked = "POST / HTTP/1.1\r\nhost: small.test\r\ntransfer-encoding: chunked\r\n\r\n\
                   6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n";
    let answer = proxy.raw(chunked).await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (413, Some("body-too-large")));
}

#[tokio::test]
async fn heads_of_one_service_are_bounded_to_the_octet() {
    let backend = Backend::saying("ok").await;
    let proxy = cluster(&backend, configure).serve();
    let of = |length: usize| {
        let plain = "GET / HTTP/1.1\r\nhost: brief.test\r\nx: \r\nconnection: close\r\n\r\n";
        plain.replacen("x: ", &format!("x: {}", "y".repeat(length - plain.len())), 1)
    };
    assert_eq!(of(100).len(), 100);
    assert_eq!(status(&proxy.raw(&of(100)).await), 200);
    let refused = proxy.raw(&of(101)).await;
    assert_eq!((status(&refused), header(&refused, "x-pointsman-reason")), (431, Some("head-too-large")));
}

#[tokio::test]
async fn answers_make_browsers_careful() {
    let backend = Backend::start(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let answer = ok("ok").replacen("\r\n", "\r\nX-Frame-Options: DENY\r\n", 1);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let proxy = cluster(&backend, configure).serve();
    let answer = asked(&proxy, "careful.test", "").await;
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&answer, "x-frame-options"), Some("DENY"), "the service's own word counts");
    assert_eq!(header(&answer, "referrer-policy"), Some("strict-origin-when-cross-origin"));
}

/// Over HTTP/2, as browsers ask: the preflight request before the password, the request itself after it.
#[tokio::test]
async fn pages_of_other_origins_may_ask_as_far_as_is_said() {
    let backend = Backend::saying("ok").await;
    let proxy = cluster(&backend, configure).serve();
    let stream = TokioIo::new(proxy.connect().await);
    let (mut client, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)).await.unwrap();
    tokio::spawn(connection);
    for (origin, expected) in [("https://app.test", Some("https://app.test")), ("https://evil.test", None)] {
        let preflight = Request::options("http://pages.test/x")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = soon(client.send_request(preflight)).await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), allowed), (204, expected), "{origin}");
        assert_eq!(answer.headers().get("x-pointsman-reason").unwrap(), "preflight");
    }
    assert_eq!(backend.connections(), 0);
    let ask = |authorization: Option<&str>| {
        let request = Request::get("http://pages.test/x").header("origin", "https://app.test");
        let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
        request.body(Full::<Bytes>::default()).unwrap()
    };
    // A page can read why it was refused.
    let refused = soon(client.send_request(ask(None))).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers().get("access-control-allow-credentials").unwrap(), "true");
    assert_eq!(refused.headers().get("vary").unwrap(), "Origin");
}
