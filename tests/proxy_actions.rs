//! What routes do beside choosing a service, as labels say it: over HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::model::service::Protocol;
use proxy_common::*;

/// Labels of the routes, one service for all; hosts tell them apart.
const ROUTES: &[&[&str]] = &[
    &["pointsman.host=moved.test", "pointsman.redirect=https://new.test{path}{query}"],
    &["pointsman.host=https.test", "pointsman.redirect=https://{host}{path}{query}", "pointsman.redirect_status=308"],
    &["pointsman.host=path.test", "pointsman.path=/old", "pointsman.redirect=/new/{rest}"],
    &["pointsman.host=slash.test", "pointsman.path_regex=/x(.*)", "pointsman.redirect=/{1}"],
    &[
        "pointsman.host=fixed.test",
        "pointsman.answer=503",
        "pointsman.answer_body=<p>Back at noon.",
        "pointsman.answer_type=text/html",
    ],
    &["pointsman.host=gone.test", "pointsman.answer=410"],
    &["pointsman.host=empty.test", "pointsman.answer=204"],
    &["pointsman.host=strip.test", "pointsman.path=/api", "pointsman.rewrite=/{rest}"],
    &["pointsman.host=add.test", "pointsman.rewrite=/v2{path}?from=old"],
    &[
        "pointsman.host=regex.test",
        "pointsman.path_regex=/(v[0-9]+)/users/([^/]+)(/.*)?",
        "pointsman.rewrite=/people/{2}{3}?api={1}",
    ],
    &["pointsman.host=dots.test", "pointsman.path_regex=/a/(.*)x", "pointsman.rewrite=/b/{1}"],
    &["pointsman.host=inner.test", "pointsman.rewrite_host=internal.example"],
    &[
        "pointsman.host=fields.test",
        r"pointsman.request_headers=X-Team=a\; b; +X-Tag=two; -X-Debug",
        "pointsman.response_headers=X-Frame-Options=DENY; -Server; +Vary=Origin",
    ],
];

async fn proxy(backend: &Backend) -> Proxy {
    let mut cluster = Cluster::with(|config| config.proxy.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()])
        .service("web", Protocol::Http, &[backend.address]);
    for labels in ROUTES {
        cluster = cluster.labelled(labels, "web");
    }
    cluster.serve()
}

async fn echo() -> Backend {
    Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let answer = ok(&head).replacen("\r\n\r\n", "\r\nServer: echo\r\nVary: Accept\r\n\r\n", 1);
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// Method, host, target; status and `Location`.
const INSTEAD: &[(&str, &str, &str, u16, &str)] = &[
    ("GET", "moved.test", "/a/../b?c=d", 302, "https://new.test/b?c=d"),
    ("POST", "https.test:80", "/x", 308, "https://https.test/x"),
    ("GET", "path.test", "/old/a/b?c", 302, "/new/a/b"),
    ("GET", "path.test", "/old", 302, "/new/"),
    ("GET", "path.test", "/older", 404, ""),
    // Never another host's by the client's doing.
    ("GET", "slash.test", "/x//evil.test", 302, "/evil.test"),
    ("GET", "slash.test", "/x/evil.test", 302, "/evil.test"),
    ("GET", "fixed.test", "/any", 503, ""),
    ("GET", "gone.test", "/", 410, ""),
    ("GET", "empty.test", "/", 204, ""),
    ("GET", "dots.test", "/a/..x", 400, ""),
];

async fn client(proxy: &Proxy) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(proxy.connect().await);
    let (client, connection) = soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn routes_answer_by_themselves_over_http1() {
    let backend = echo().await;
    let proxy = proxy(&backend).await;
    for (method, host, target, expected, location) in INSTEAD {
        let length = if *method == "GET" { "" } else { "content-length: 0\r\n" };
        let text = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{length}connection: close\r\n\r\n");
        let answer = proxy.raw(&text).await;
        let found = (status(&answer), header(&answer, "location").unwrap_or_default());
        assert_eq!(found, (*expected, *location), "{method} {host}{target}");
    }
    assert_eq!(backend.connections(), 0, "nobody asked the service");
    let fixed = proxy.get("fixed.test", "/").await;
    assert_eq!(body(&fixed), "<p>Back at noon.");
    assert_eq!(header(&fixed, "content-type"), Some("text/html"));
    assert_eq!(header(&fixed, "x-pointsman-reason"), Some("fixed-answer"));
    assert_eq!(header(&fixed, "proxy-status"), None);
    assert_eq!(body(&proxy.get("gone.test", "/").await), "410 Gone\n");
    // RFC 9110 section 8.6: a 204 has no length, however it was asked for.
    for method in ["GET", "HEAD", "OPTIONS"] {
        let text = format!("{method} / HTTP/1.1\r\nhost: empty.test\r\nconnection: close\r\n\r\n");
        let answer = proxy.raw(&text).await;
        assert_eq!((status(&answer), body(&answer)), (204, ""), "{answer}");
        assert_eq!(header(&answer, "content-length"), None, "{answer}");
        assert_eq!(header(&answer, "transfer-encoding"), None, "{answer}");
    }
}

#[tokio::test]
async fn routes_answer_by_themselves_over_http2() {
    let backend = echo().await;
    let proxy = proxy(&backend).await;
    let mut client = client(&proxy).await;
    for (method, host, target, expected, location) in INSTEAD {
        let request = Request::builder().method(*method).uri(format!("http://{host}{target}"));
        let answer = soon(client.send_request(request.body(Full::default()).unwrap())).await.unwrap();
        let found = answer.headers().get("location").map_or("", |value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), found), (*expected, *location), "{method} {host}{target}");
    }
    let request = Request::head("http://empty.test/").body(Full::default()).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("content-length")), (204, None), "RFC 9110 section 8.6");
    assert_eq!(backend.connections(), 0, "nobody asked the service");
}

/// Host and target; what the service gets.
const PASSED: &[(&str, &str, &str)] = &[
    ("strip.test", "/api/a/b?c=d", "/a/b?c=d"),
    ("strip.test", "/api", "/"),
    ("add.test", "/x?y", "/v2/x?from=old"),
    ("regex.test", "/v7/users/ann/mail?x", "/people/ann/mail?api=v7"),
    ("regex.test", "/v7/users/ann", "/people/ann?api=v7"),
    ("dots.test", "/a/bx", "/b/b"),
    ("inner.test", "/", "/"),
];

#[tokio::test]
async fn paths_are_rewritten() {
    let backend = echo().await;
    let proxy = proxy(&backend).await;
    let mut client = client(&proxy).await;
    for (host, target, expected) in PASSED {
        let answer = proxy.get(host, target).await;
        assert_eq!(body(&answer).split(' ').nth(1), Some(*expected), "{host}{target}");
        let request = Request::get(format!("http://{host}{target}")).body(Full::default()).unwrap();
        let answer = soon(client.send_request(request)).await.unwrap();
        let text = soon(answer.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&text).split(' ').nth(1), Some(*expected), "{host}{target}");
    }
    let inner = proxy.get("inner.test", "/").await;
    assert_eq!(header(body(&inner), "host"), Some("internal.example"));
    assert_eq!(header(body(&inner), "x-forwarded-host"), Some("inner.test"));
}

#[tokio::test]
async fn header_fields_are_changed_both_ways() {
    let backend = echo().await;
    let proxy = proxy(&backend).await;
    let text =
        "GET / HTTP/1.1\r\nhost: fields.test\r\nx-team: z\r\nx-tag: one\r\nx-debug: 1\r\nconnection: close\r\n\r\n";
    let answer = proxy.raw(text).await;
    let sent = body(&answer);
    assert_eq!((header(sent, "x-team"), header(sent, "x-debug")), (Some("a; b"), None));
    let tags: Vec<_> = sent.lines().filter_map(|line| line.strip_prefix("x-tag: ")).collect();
    assert_eq!(tags, ["one", "two"]);
    assert_eq!((header(&answer, "x-frame-options"), header(&answer, "server")), (Some("DENY"), None));
    let vary: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("vary: ")).collect();
    assert_eq!(vary, ["Accept", "Origin"]);
    // Answers of the proxy's own have them too.
    drop(backend);
    let refused = proxy.get("fields.test", "/").await;
    assert_eq!((status(&refused), header(&refused, "x-frame-options")), (502, Some("DENY")));
}

/// A redirect that leads where the request is already would never end.
#[tokio::test]
async fn a_request_that_is_there_already_is_passed_on() {
    let backend = echo().await;
    let proxy = proxy(&backend).await;
    for (port, scheme, expected) in
        [("", "https", 200), (":443", "https", 200), ("", "http", 308), (":8443", "https", 308)]
    {
        let text = format!(
            "GET /x?y HTTP/1.1\r\nhost: https.test{port}\r\nx-forwarded-proto: {scheme}\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(status(&proxy.raw(&text).await), expected, "{port} {scheme}");
    }
}

#[tokio::test]
async fn a_route_without_an_endpoint_answers_by_itself() {
    let proxy = Cluster::new()
        .service("old", Protocol::Http, &[])
        .labelled(&["pointsman.host=old.test", "pointsman.redirect=https://new.test/"], "old")
        .serve();
    let answer = proxy.get("old.test", "/x").await;
    assert_eq!((status(&answer), header(&answer, "location")), (302, Some("https://new.test/")));
    assert_eq!(header(&answer, "x-pointsman-reason"), Some("route-redirect"));
}
