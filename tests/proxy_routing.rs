//! Which service answers, and what the proxy says where none does.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod proxy_common;

use pointsman::config::checked::PathPolicy;
use pointsman::model::endpoint::EndpointState;
use pointsman::model::service::Protocol;
use proxy_common::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn the_most_specific_route_answers() {
    let (all, foo, wild) = (Backend::saying("all").await, Backend::saying("foo").await, Backend::saying("wild").await);
    let proxy = Cluster::new()
        .service("all", Protocol::Http, &[all.address])
        .service("foo", Protocol::Http, &[foo.address])
        .service("wild", Protocol::Http, &[wild.address])
        .route("a.example", "/", "all")
        .route("a.example", "/foo", "foo")
        .route("*.example", "/", "wild")
        .serve();
    for (host, path, expected) in [
        ("a.example", "/", "all"),
        ("A.Example:80", "/foobar", "all"),
        ("a.example.", "/foo", "foo"),
        ("a.example", "/foo/bar?x=/", "foo"),
        ("a.example", "/x/../foo", "foo"),
        ("a.example", "/%66oo", "foo"),
        ("b.example", "/foo", "wild"),
    ] {
        let answer = proxy.get(host, path).await;
        assert_eq!((status(&answer), body(&answer)), (200, expected), "{host} {path}");
    }
}

#[tokio::test]
async fn what_was_matched_is_what_is_forwarded() {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let answer = proxy.get("a.example", "/a/./b//c%7e?q=%7e//..").await;
    assert!(body(&answer).starts_with("GET /a/b/c~?q=%7e//.. HTTP/1.1\r\n"), "{answer}");
}

#[tokio::test]
async fn what_was_matched_is_what_is_forwarded_by_any_policy() {
    let (rest, admin) = (Backend::echoing_heads().await, Backend::saying("admin").await);
    let paths = PathPolicy { merge_slashes: false, refuse_encoded_slashes: true };
    let proxy = Cluster::with(|config| config.proxy.paths = paths)
        .service("rest", Protocol::Http, &[rest.address])
        .service("admin", Protocol::Http, &[admin.address])
        .route("a.example", "/", "rest")
        .route("a.example", "/admin", "admin")
        .serve();
    assert_eq!(body(&proxy.get("a.example", "/admin/x//y").await), "admin");
    // Its first segment is empty: it is not below `/admin`, and who is below `/` gets it as it is.
    let answer = proxy.get("a.example", "//admin/%7e/../x//").await;
    assert!(body(&answer).starts_with("GET //admin/x// HTTP/1.1\r\n"), "{answer}");
    let refused = proxy.get("a.example", "/admin%2fx").await;
    assert_eq!((status(&refused), header(&refused, "x-pointsman-reason")), (400, Some("bad-path")), "{refused}");
}

async fn check_reason(proxy: &Proxy, host: &str, expected_status: u16, reason: &str) {
    let answer = proxy.get(host, "/").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (expected_status, Some(reason)), "{answer}");
    assert!(body(&answer).contains(reason), "{answer}");
    assert!(header(&answer, "date").is_some(), "{answer}");
    assert_eq!(header(&answer, "retry-after").is_some(), expected_status == 503, "{answer}");
    let counted = proxy.metric(&format!("pointsman_proxy_local_answers_total{{reason=\"{reason}\"}}"));
    assert!(counted >= 1.0);
}

#[tokio::test]
async fn reasons_are_told() {
    let proxy = Cluster::new()
        .service("empty", Protocol::Http, &[])
        .service("tcp", Protocol::Tcp, &[refusing()])
        .service("dead", Protocol::Http, &[refusing()])
        .service_in("leaving", Protocol::Http, &[(refusing(), EndpointState::Draining)])
        .route("empty.example", "/", "empty")
        .route("tcp.example", "/", "tcp")
        .route("dead.example", "/", "dead")
        .route("leaving.example", "/", "leaving")
        .route("forgotten.example", "/", "forgotten")
        .serve();
    check_reason(&proxy, "nobody.example", 404, "no-route").await;
    check_reason(&proxy, "empty.example", 503, "no-endpoint").await;
    check_reason(&proxy, "leaving.example", 503, "no-endpoint").await;
    check_reason(&proxy, "forgotten.example", 503, "no-endpoint").await;
    check_reason(&proxy, "tcp.example", 502, "not-http").await;
    check_reason(&proxy, "dead.example", 502, "connect-failed").await;
}

#[tokio::test]
async fn before_the_first_table_nothing_is_concluded() {
    let mut cluster = Cluster::new();
    cluster.0.ready = false;
    check_reason(&cluster.serve(), "a.example", 503, "not-ready").await;
}

#[tokio::test]
async fn a_new_table_is_followed_and_idle_connections_of_what_left_are_closed() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let proxy = Cluster::everything(Protocol::Http, &[old.address]).serve();
    assert_eq!(body(&proxy.get("a", "/").await), "old");
    let open = || proxy.metric("pointsman_proxy_upstream_connections ");
    until("the connection is kept", || open() == 1.0).await;
    proxy.publish(Cluster::everything(Protocol::Http, &[new.address]));
    until("the connection is closed", || open() == 0.0).await;
    assert_eq!(body(&proxy.get("a", "/").await), "new");
}

#[tokio::test]
async fn a_draining_endpoint_gets_nothing_new() {
    let (going, staying) = (Backend::saying("going").await, Backend::saying("staying").await);
    let states = [(going.address, EndpointState::Draining), (staying.address, EndpointState::Ready)];
    let proxy = Cluster::new().service_in("web", Protocol::Http, &states).route("*", "/", "web").serve();
    for _ in 0..20 {
        assert_eq!(body(&proxy.get("a", "/").await), "staying");
    }
}

#[tokio::test]
async fn requests_spread_over_endpoints() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let proxy = Cluster::everything(Protocol::Http, &[one.address, two.address]).serve();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        seen.insert(body(&proxy.get("a", "/").await).to_owned());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn a_loop_ends() {
    let proxy = Cluster::new().serve();
    // It becomes its own backend.
    proxy.publish(Cluster::everything(Protocol::Http, &[proxy.address]));
    let answer = proxy.get("a.example", "/").await;
    assert_eq!((status(&answer), header(&answer, "x-pointsman-reason")), (508, Some("loop")), "{answer}");
}

/// RFC 9209, by choice.
#[tokio::test]
async fn answers_of_its_own_carry_a_proxy_status() {
    let cases = [("a", "/", "destination_unavailable", "no-endpoint"), ("b", "/", "destination_not_found", "no-route")];
    for is_wanted in [true, false] {
        let proxy = Cluster::with(|config| config.proxy.proxy_status = is_wanted)
            .service("web", Protocol::Http, &[])
            .route("a", "/", "web")
            .serve();
        for (host, path, error, code) in cases {
            let answer = proxy.get(host, path).await;
            let expected = format!("pointsman; error={error}; details=\"{code}\"");
            assert_eq!(header(&answer, "proxy-status"), is_wanted.then_some(&*expected), "{answer}");
        }
    }
}

/// RFC 9209 section 2: each on the way adds what it knows, behind what others have said.
#[tokio::test]
async fn answers_of_endpoints_say_where_they_come_from_by_choice() {
    let backend = Backend::start(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let answer =
                "HTTP/1.1 404 Not Found\r\nProxy-Status: inner; received-status=404\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let cluster = |relayed: bool| {
        Cluster::with(|config| config.proxy.proxy_status_relayed = relayed)
            .service("web", Protocol::Http, &[backend.address])
            .route("*", "/", "web")
            .serve()
    };
    let said = |answer: &str| -> Vec<String> {
        let lines = answer.lines().filter_map(|line| line.split_once(": "));
        let lines = lines.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-status"));
        lines.map(|(_, value)| value.trim().to_owned()).collect()
    };
    let ours = format!("pointsman; next-hop=\"{}\"; next-protocol=http/1.1; received-status=404", backend.address);
    assert_eq!(said(&cluster(true).get("a", "/").await), ["inner; received-status=404", &ours]);
    assert_eq!(said(&cluster(false).get("a", "/").await), ["inner; received-status=404"]);
}
