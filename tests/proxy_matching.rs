//! Which route answers where they ask for more than host and path: over HTTP/1.1 and HTTP/2, as labels say it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::model::service::Protocol;
use proxy_common::*;

const SERVICES: [&str; 8] = ["plain", "canary", "mobile", "login", "users", "writes", "debug", "numbered"];

async fn proxy() -> (Proxy, Vec<Backend>) {
    let mut cluster = Cluster::new();
    let mut backends = Vec::new();
    for name in SERVICES {
        let backend = Backend::saying(name).await;
        cluster = cluster.service(name, Protocol::Http, &[backend.address]);
        backends.push(backend);
    }
    let cluster = cluster
        .labelled(&["pointsman.host=a.test"], "plain")
        .labelled(&["pointsman.host=a.test", "pointsman.cookie=canary=yes"], "canary")
        .labelled(&["pointsman.host=a.test", "pointsman.header=user-agent=~.*Mobile.*; x-new"], "mobile")
        .labelled(&["pointsman.host=a.test", "pointsman.path_exact=/login"], "login")
        .labelled(&["pointsman.host=a.test", "pointsman.path_regex=/v[0-9]/users(/.*)?"], "users")
        .labelled(&["pointsman.host=a.test", "pointsman.path=/v1", "pointsman.method=POST, PUT"], "writes")
        .labelled(&["pointsman.host=a.test", "pointsman.query=debug; level=~[0-9]+"], "debug")
        .labelled(&["pointsman.host_regex=shop-[0-9]+[.]test"], "numbered");
    (cluster.serve(), backends)
}

/// Method, host, target, fields, and who answers; `404` for nobody.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const CASES: &[Case] = &[
    ("GET", "a.test", "/", &[], "plain"),
    ("GET", "a.test", "/", &[("cookie", "x=y; canary=yes")], "canary"),
    ("GET", "a.test", "/", &[("cookie", "canary=no")], "plain"),
    ("GET", "a.test", "/", &[("user-agent", "A Mobile B"), ("x-new", "")], "mobile"),
    ("GET", "a.test", "/", &[("user-agent", "A Mobile B")], "plain"),
    // Two conditions go before one.
    ("GET", "a.test", "/", &[("user-agent", "Mobile"), ("x-new", "1"), ("cookie", "canary=yes")], "mobile"),
    // The path goes before all conditions, however it is written.
    ("GET", "a.test", "/login", &[("cookie", "canary=yes")], "login"),
    ("GET", "a.test", "/x/../%6cogin?next=/", &[], "login"),
    ("GET", "a.test", "/login/", &[], "plain"),
    ("GET", "a.test", "/v1/users/7", &[], "users"),
    ("POST", "a.test", "/v1/users", &[], "users"),
    ("GET", "a.test", "/v1/usersx", &[], "plain"),
    ("POST", "a.test", "/v1/things", &[], "writes"),
    ("GET", "a.test", "/v1/things", &[], "plain"),
    ("GET", "a.test", "/?level=12&debug", &[], "debug"),
    ("GET", "a.test", "/?level=12x&debug", &[], "plain"),
    ("GET", "a.test", "/?l%65vel=1%32&debug=%20", &[], "debug"),
    ("GET", "shop-12.test", "/", &[], "numbered"),
    ("GET", "SHOP-12.test:80", "/", &[], "numbered"),
    ("GET", "shop-x.test", "/", &[], "404"),
];

fn shown(status: u16, body: &str) -> String {
    if status == 200 { body.to_owned() } else { status.to_string() }
}

#[tokio::test]
async fn routes_are_chosen_by_all_that_they_ask_over_http1() {
    let (proxy, _backends) = proxy().await;
    for (method, host, target, lines, expected) in CASES {
        let lines: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = if *method == "GET" { "" } else { "content-length: 0\r\n" };
        let request = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{lines}{length}connection: close\r\n\r\n");
        let answer = proxy.raw(&request).await;
        assert_eq!(shown(status(&answer), body(&answer)), *expected, "{method} {host}{target} {lines}");
    }
}

#[tokio::test]
async fn routes_are_chosen_by_all_that_they_ask_over_http2() {
    let (proxy, _backends) = proxy().await;
    let stream = TokioIo::new(proxy.connect().await);
    let (mut client, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)).await.unwrap();
    tokio::spawn(connection);
    for (method, host, target, lines, expected) in CASES {
        let mut request = Request::builder().method(*method).uri(format!("http://{host}{target}"));
        for (name, value) in *lines {
            request = request.header(*name, *value);
        }
        let answer = soon(client.send_request(request.body(Full::<Bytes>::default()).unwrap())).await.unwrap();
        let status = answer.status().as_u16();
        let text = soon(answer.into_body().collect()).await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(shown(status, &text), *expected, "{method} {host}{target} {lines:?}");
    }
}

/// What is asked of a header is asked of what the client sent, before anything is taken off; a crumbled cookie of HTTP/2
/// is one (RFC 9113 section 8.2.3).
#[tokio::test]
async fn crumbs_of_cookies_count_one_by_one() {
    let (proxy, _backends) = proxy().await;
    let text = "GET / HTTP/1.1\r\nhost: a.test\r\ncookie: a=b\r\ncookie: canary=yes\r\nconnection: close\r\n\r\n";
    let answer = proxy.raw(text).await;
    assert_eq!((status(&answer), body(&answer)), (200, "canary"), "{answer}");
}
