//! What a client of HTTP/2 may not do, frame by frame, each with the section or the CVE that says so.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

mod frames;
mod proxy_common;

use std::time::Duration;

use frames::*;
use pointsman::model::service::Protocol;
use proxy_common::*;

async fn proxy() -> (Backend, Proxy) {
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    (backend, proxy)
}

fn proxy_with(backend: &Backend, change: impl FnOnce(&mut pointsman::config::Config)) -> Proxy {
    Cluster::with(change).service("web", Protocol::Http, &[backend.address]).route("*", "/", "web").serve()
}

async fn client(proxy: &Proxy) -> Client {
    Client::start(proxy.connect().await, &[]).await
}

const M: (&str, &str) = (":method", "GET");
const S: (&str, &str) = (":scheme", "http");
const A: (&str, &str) = (":authority", "a");
const P: (&str, &str) = (":path", "/");

type Fields = &'static [(&'static str, &'static str)];
type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// Each request on a connection of its own: the status of the answer, or `None` where the stream is refused.
const REFUSED: &[(&str, Fields, Option<u16>)] = &[
    ("RFC 9113 8.3.1 no authority", &[M, S, P], Some(400)),
    ("RFC 9113 8.3.1 authority and host differ", &[M, S, A, P, ("host", "b")], Some(400)),
    ("RFC 9113 8.3.1 two hosts", &[M, S, A, P, ("host", "a"), ("host", "a")], Some(400)),
    ("RFC 9113 8.3.1 userinfo", &[M, S, (":authority", "u@a"), P], Some(400)),
    ("RFC 9113 8.3.1 a list", &[M, S, (":authority", "a,b"), P], Some(400)),
    ("RFC 9113 8.3.1 empty path", &[M, S, A, (":path", "")], None),
    ("RFC 9113 8.3.1 asterisk", &[M, S, A, (":path", "*")], Some(400)),
    ("RFC 9113 8.3.1 no slash", &[M, S, A, (":path", "x")], None),
    ("RFC 9113 8.3.1 no method", &[S, A, P], None),
    ("RFC 9113 8.3.1 no scheme", &[M, A, P], None),
    ("RFC 9113 8.3 twice", &[M, M, S, A, P], None),
    ("RFC 9113 8.3 unknown pseudo-header", &[M, S, A, P, (":x", "y")], None),
    ("RFC 9113 8.3 pseudo-header of answers", &[M, S, A, P, (":status", "200")], None),
    ("RFC 9113 8.3 pseudo-header after a field", &[M, S, A, ("x", "y"), P], None),
    ("RFC 9113 8.2.1 upper case", &[M, S, A, P, ("X-Y", "z")], None),
    ("RFC 9113 8.2.1 LF in a value", &[M, S, A, P, ("x", "y\nHost: b")], None),
    ("RFC 9113 8.2.1 CR in a value", &[M, S, A, P, ("x", "y\rz")], None),
    ("RFC 9113 8.2.1 NUL in a value", &[M, S, A, P, ("x", "y\0z")], None),
    ("RFC 9113 8.2.1 colon in a name", &[M, S, A, P, ("x:y", "z")], None),
    ("RFC 9113 8.2.1 space in a name", &[M, S, A, P, ("x y", "z")], None),
    ("RFC 9113 8.3.1 space in the method", &[(":method", "GET /x"), S, A, P], None),
    ("RFC 9113 8.3.1 CR LF in the path", &[M, S, A, (":path", "/ HTTP/1.1\r\nx: y")], None),
    ("RFC 9113 8.3.1 CR LF in the authority", &[M, S, (":authority", "a\r\nx: y"), P], None),
    ("RFC 3986 7.3 NUL", &[M, S, A, (":path", "/%00")], Some(400)),
    ("RFC 9113 8.2.2 connection", &[M, S, A, P, ("connection", "close")], None),
    ("RFC 9113 8.2.2 transfer-encoding", &[M, S, A, P, ("transfer-encoding", "chunked")], None),
    ("RFC 9113 8.2.2 upgrade", &[M, S, A, P, ("upgrade", "h2c")], None),
    ("RFC 9113 8.2.2 keep-alive", &[M, S, A, P, ("keep-alive", "1")], None),
    ("RFC 9113 8.2.2 TE", &[M, S, A, P, ("te", "gzip")], None),
    ("RFC 9113 8.1.1 a length without a body", &[M, S, A, P, ("content-length", "5")], None),
    ("RFC 9110 8.3 two content types", &[M, S, A, P, ("content-type", "a/b"), ("content-type", "c/d")], Some(400)),
    ("RFC 9110 8.6 zeros first", &[M, S, A, P, ("content-length", "00")], Some(400)),
    ("RFC 9110 9.3.6 CONNECT", &[(":method", "CONNECT"), A], Some(405)),
    ("RFC 9110 9.3.8 TRACE", &[(":method", "TRACE"), S, A, P], Some(405)),
    ("RFC 9110 10.1.1 expectation", &[M, S, A, P, ("expect", "magic")], Some(417)),
];

#[tokio::test]
async fn what_has_two_meanings_is_refused() {
    let (backend, proxy) = proxy().await;
    let mut wrong = Vec::new();
    for (case, fields, expected) in REFUSED {
        let mut client = client(&proxy).await;
        client.request(1, fields).await;
        let found = client.outcome(1).await;
        if found != *expected {
            wrong.push(format!("{case}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(backend.connections(), 0, "something was forwarded");
}

/// What the HTTP implementation behind cuts off (RFC 3986 section 3.5) is neither matched nor forwarded.
#[tokio::test]
async fn a_fragment_goes_no_further() {
    let backend = Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
        tokio::io::AsyncWriteExt::write_all(&mut stream, ok("x").as_bytes()).await.unwrap();
    });
    let backend = backend.await;
    let proxy = Cluster::new().service("web", Protocol::Http, &[backend.address]).route("*", "/a", "web").serve();
    let mut client = client(&proxy).await;
    client.request(1, &[M, S, A, (":path", "/a#/../b")]).await;
    assert_eq!(client.outcome(1).await, Some(200));
}

#[tokio::test]
async fn data_must_match_the_length_rfc9113_8_1_1() {
    let (_backend, proxy) = proxy().await;
    for (length, sent) in [("5", &b"hello, world"[..]), ("50", b"hello")] {
        let mut client = client(&proxy).await;
        let fields = [(":method", "POST"), S, A, P, ("content-length", length)];
        client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await.unwrap();
        client.send(DATA, END_STREAM, 1, sent).await.unwrap();
        let outcome = client.outcome(1).await;
        assert!(outcome.is_none_or(|status| status == 400), "{length} {outcome:?}");
    }
}

#[tokio::test]
async fn frames_out_of_order_end_the_connection_rfc9113_5_and_6() {
    let (_backend, proxy) = proxy().await;
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get()));
    let open = frame(HEADERS, 0, 1, &block(&get()));
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        ("5.1 DATA on an idle stream", vec![frame(DATA, 0, 1, b"x")]),
        ("5.1 RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 1, &[0; 4])]),
        ("5.1.1 an even stream", vec![frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&get()))]),
        ("6.2 HEADERS on stream 0", vec![frame(HEADERS, END_HEADERS, 0, &block(&get()))]),
        ("6.10 a frame within a header block", vec![open.clone(), frame(PING, 0, 0, &[0; 8])]),
        ("6.10 another stream's CONTINUATION", vec![open, frame(CONTINUATION, END_HEADERS, 3, &[])]),
        ("6.10 CONTINUATION without HEADERS", vec![frame(CONTINUATION, END_HEADERS, 1, &[])]),
        ("6.5 SETTINGS of a wrong length", vec![frame(SETTINGS, 0, 0, &[0; 5])]),
        ("6.5 SETTINGS on a stream", vec![frame(SETTINGS, 0, 1, &[])]),
        ("6.5.2 a window that is too large", vec![frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])]),
        ("6.7 PING of a wrong length", vec![frame(PING, 0, 0, &[0; 7])]),
        ("6.9 WINDOW_UPDATE of zero", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])]),
        ("6.9.1 a window that overflows", vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]),
        ("4.2 a frame that is too large", vec![frame(DATA, 0, 1, &[0; 20_000])]),
        ("4.3 a block that cannot be decoded", vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 9])]),
        ("6.1 padding beyond the frame", vec![request, frame(DATA, 8, 1, &[200, 0])]),
    ];
    for (case, frames) in cases {
        let mut client = client(&proxy).await;
        for frame in frames {
            let _ = client.write(frame).await;
        }
        assert!(client.end().await.is_none_or(|code| code != 0), "{case}");
    }
    // Others are served as before.
    let mut client = client(&proxy).await;
    client.request(1, &get()).await;
    assert_eq!(client.outcome(1).await, Some(200));
}

/// Sends `frames` again and again until the proxy closes the connection; `None` if it never does.
async fn flood(proxy: &Proxy, frames: impl Fn(u32) -> Vec<u8>, most: u32) -> Option<u32> {
    let mut client = client(proxy).await;
    for number in 0..most {
        if client.write(&frames(number)).await.is_err() {
            return Some(number);
        }
    }
    // What it was sent may still lie in buffers: it ends, or it answers.
    let _ = client.send(PING, 0, 0, b"are you?").await;
    loop {
        match client.read().await {
            None => return Some(most),
            Some(frame) if frame.kind == GOAWAY => return Some(most),
            Some(frame) if frame.kind == PING && frame.payload == b"are you?" => return None,
            Some(_) => {}
        }
    }
}

#[tokio::test]
async fn floods_are_cut_off() {
    let (_backend, proxy) = proxy().await;
    let opened = frame(HEADERS, END_HEADERS, 1, &block(&[(":method", "POST"), S, A, P]));
    let first = |number: u32, frame: Vec<u8>| if number == 0 { [opened.clone(), frame].concat() } else { frame };
    let kinds: &[(&str, Frames<'_>)] = &[
        ("CVE-2019-9512 PING", &|_| frame(PING, 0, 0, &[0; 8])),
        ("CVE-2019-9515 SETTINGS", &|_| frame(SETTINGS, 0, 0, &[])),
        ("CVE-2019-9513 PRIORITY", &|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("CVE-2019-9518 empty DATA", &|number| first(number, frame(DATA, 0, 1, &[]))),
        ("CVE-2019-9518 DATA of padding alone", &|number| first(number, frame(DATA, PADDED, 1, &[3, 0, 0, 0]))),
        ("unknown frames", &|_| frame(0xb8, 0, 0, &[])),
        ("CVE-2023-44487 rapid reset", &|number| {
            let stream = number * 2 + 1;
            let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get()));
            [request, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        }),
        ("CVE-2024-27316 CONTINUATION", &|number| match number {
            0 => frame(HEADERS, END_STREAM, 1, &block(&get())),
            _ => frame(CONTINUATION, 0, 1, &[]),
        }),
        ("CVE-2025-8671 made to reset", &|number| {
            let stream = number * 2 + 1;
            let request = frame(HEADERS, END_HEADERS, stream, &block(&[(":method", "POST"), S, A, P]));
            // An error of this stream alone, which the proxy answers by a reset.
            [request, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        }),
    ];
    for (case, frames) in kinds {
        assert!(flood(&proxy, frames, 5000).await.is_some(), "{case}");
    }
    let by = |kind: &str| proxy.metric(&format!("pointsman_proxy_client_floods_total{{kind=\"{kind}\"}}"));
    // A connection is counted when it is over, which is after the client has heard so.
    until("all are counted", || {
        let exact = [("ping", 1.0), ("settings", 1.0), ("priority", 2.0), ("empty-data", 2.0)];
        exact.iter().all(|(kind, expected)| by(kind) == *expected)
            // Who notices first depends on how much is read at once; the implementation may take a flood for an error.
            && (2.0..=3.0).contains(&(by("reset") + by("continuation") + by("http2-limits")))
            && by("abandoned") == 0.0
    })
    .await;
    let mut client = client(&proxy).await;
    client.request(1, &get()).await;
    assert_eq!(client.outcome(1).await, Some(200), "others are served");
    until("nothing is left", || proxy.in_flight() == 0).await;
}

/// Below what may be done at once, and for ever: requests that are reset as soon as they are under way.
#[tokio::test]
async fn a_client_that_lets_no_request_be_answered_is_cut_off_cve_2023_44487() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            if head.starts_with("GET /held ") {
                std::future::pending::<()>().await;
            }
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, ok("x").as_bytes()).await;
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let abandon = async |client: &mut Client, stream: u32| {
        client.request(stream, &[M, S, A, (":path", "/held")]).await;
        until("it is under way", || proxy.in_flight() == 1).await;
        client.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]).await.unwrap();
        until("it is over", || proxy.in_flight() == 0).await;
    };
    // Whoever has others answered may.
    let mut honest = client(&proxy).await;
    for number in 0..60 {
        abandon(&mut honest, number * 4 + 1).await;
        honest.request(number * 4 + 3, &get()).await;
        assert_eq!(honest.outcome(number * 4 + 3).await, Some(200), "{number}");
    }
    let mut other = client(&proxy).await;
    for number in 0..51 {
        abandon(&mut other, number * 2 + 1).await;
    }
    other.send(PING, 0, 0, &[0; 8]).await.unwrap();
    assert_eq!(other.end().await, Some(ENHANCE_YOUR_CALM));
    until("it is counted", || proxy.metric("pointsman_proxy_client_floods_total{kind=\"abandoned\"}") == 1.0).await;
    honest.request(301, &get()).await;
    assert_eq!(honest.outcome(301).await, Some(200));
}

#[tokio::test]
async fn a_flooding_client_is_told_rfc9113_10_5() {
    let (_backend, proxy) = proxy().await;
    let mut client = client(&proxy).await;
    // No more than is read at once, so that nothing unread resets the connection before the word is heard.
    for _ in 0..101 {
        client.send(PING, 0, 0, &[0; 8]).await.unwrap();
    }
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn header_bombs_are_refused_cve_2026_49975() {
    let (backend, proxy) = proxy().await;
    let crumbs: Vec<(&str, &str)> = get().into_iter().chain((0..200).map(|_| ("cookie", "a"))).collect();
    let long = "x".repeat(14_000);
    let lists: &[(&str, Vec<(&str, &str)>)] = &[
        ("cookie crumbs count one by one", crumbs),
        ("one long list", get().into_iter().chain([("x", &*long), ("y", &*long)]).collect()),
    ];
    for (case, fields) in lists {
        let mut client = client(&proxy).await;
        let block = block(fields);
        let (first, rest) = block.split_at(block.len().min(16_000));
        client.send(HEADERS, END_STREAM, 1, first).await.unwrap();
        client.send(CONTINUATION, END_HEADERS, 1, rest).await.unwrap();
        let outcome = client.outcome(1).await;
        assert!(outcome.is_none_or(|status| status == 431), "{case}: {outcome:?}");
    }
    // A field that is in the dynamic table costs one octet each time and the size of its value here.
    let mut client = client(&proxy).await;
    let mut bomb = block(&get());
    bomb.push(0x40);
    bomb.extend(block(&[("x", &"y".repeat(3000))]).split_off(1));
    bomb.extend([0xbe; 10_000]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await.unwrap();
    let outcome = client.outcome(1).await;
    assert!(outcome.is_none_or(|status| status == 431), "{outcome:?}");
    assert_eq!(backend.connections(), 0, "something was forwarded");
}

/// The implementation of HTTP/2 answers such a request alone; the reason is there all the same, the first time and, where
/// the status comes out of the table, again, and beside other answers.
#[tokio::test]
async fn lists_of_fields_that_are_too_long_are_refused_with_the_reason_rfc6585_5() {
    let (backend, proxy) = proxy_with_status().await;
    let (mut client, connection) = soon(h2::client::handshake(proxy.connect().await)).await.unwrap();
    tokio::spawn(connection);
    for round in 0..4 {
        client = soon(client.ready()).await.unwrap();
        let long = "x".repeat(20_000);
        let request = http::Request::get("http://a/").header("x", &long).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), 431, "{round}");
        let fields = answer.headers();
        assert_eq!(fields["x-pointsman-reason"], "head-too-large", "{round}");
        assert!(fields["proxy-status"].to_str().unwrap().contains("details=\"head-too-large\""), "{fields:?}");
        assert!(fields.contains_key("date"), "{fields:?}");
        // The compression's state is what both sides take it for.
        client = soon(client.ready()).await.unwrap();
        let request = http::Request::get("http://a/").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("x-pointsman-reason")), (200, false));
    }
    assert_eq!(proxy.metric("pointsman_proxy_local_answers_total{reason=\"head-too-large\"}"), 4.0);
    assert_eq!(proxy.metric("pointsman_proxy_requests_total{code=\"4xx\",service=\"other\"}"), 4.0);
    assert_eq!(backend.connections(), 1);
}

/// RFC 9110 section 15.2: "A proxy MUST forward 1xx responses".
#[tokio::test]
async fn interim_answers_come_before_their_answer() {
    let backend = Backend::start(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, early.as_bytes()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, ok("done").as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = client(&proxy).await;
    client.request(1, &get()).await;
    // Of a request with a body, too, whose endpoint another implementation speaks with.
    let post = [(":method", "POST"), S, A, P, ("content-length", "5")];
    for stream in [1, 3] {
        for expected in [103, 102, 200] {
            let head = client.next_of(&[HEADERS]).await.unwrap();
            assert_eq!((head.status(), head.stream, head.flags & END_STREAM), (expected, stream, 0));
        }
        assert_eq!(client.next_of(&[DATA]).await.unwrap().payload, b"done");
        if stream == 1 {
            client.send(HEADERS, END_HEADERS, 3, &block(&post)).await.unwrap();
            client.send(DATA, END_STREAM, 3, b"hello").await.unwrap();
        }
    }
}

async fn proxy_with_status() -> (Backend, Proxy) {
    let backend = Backend::echoing_heads().await;
    let proxy = proxy_with(&backend, |config| config.proxy.proxy_status = true);
    (backend, proxy)
}

/// Four times as long, and the connection ends (CVE-2026-49975): nobody is answered then.
#[tokio::test]
async fn lists_of_fields_without_end_end_the_connection() {
    let (backend, proxy) = proxy().await;
    let mut client = client(&proxy).await;
    let mut bomb = block(&get());
    bomb.push(0x40);
    bomb.extend(block(&[("x", &"y".repeat(3000))]).split_off(1));
    bomb.extend([0xbe; 10_000]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await.unwrap();
    let frame = client.next_of(&[HEADERS, GOAWAY]).await.unwrap();
    assert_eq!(frame.kind, GOAWAY, "{frame:?}");
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn streams_are_bounded_rfc9113_5_1_2() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let backend = backend.await;
    let proxy = proxy_with(&backend, |config| config.proxy.limits.streams = 10);
    let mut client = client(&proxy).await;
    for number in 0..11 {
        client.request(number * 2 + 1, &get()).await;
    }
    let refused = client.next_of(&[RST_STREAM]).await.unwrap();
    // REFUSED_STREAM: it may be sent again.
    assert_eq!((refused.stream, refused.error()), (21, 7));
}

fn hasty(config: &mut pointsman::config::Config) {
    config.proxy.limits.header = Duration::from_millis(150);
    config.proxy.limits.idle = Duration::from_millis(300);
}

#[tokio::test]
async fn a_header_block_that_does_not_end_ends_the_connection() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let backend = backend.await;
    let proxy = proxy_with(&backend, |config| config.proxy.limits.header = Duration::from_millis(150));
    let mut idle = client(&proxy).await;
    idle.send(HEADERS, END_STREAM, 1, &block(&get())).await.unwrap();
    idle.end().await;
    // Also beside a request that is under way, and in the middle of a frame.
    let mut busy = client(&proxy).await;
    busy.request(1, &get()).await;
    until("it is under way", || proxy.in_flight() == 1).await;
    busy.write(&frame(HEADERS, END_HEADERS, 3, &block(&get()))[..15]).await.unwrap();
    busy.end().await;
    assert!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"head\"}") >= 2.0);
    until("nothing is left", || proxy.in_flight() == 0).await;
}

#[tokio::test]
async fn pings_of_an_idle_connection_are_no_slow_head() {
    let (_backend, proxy) = proxy().await;
    let proxy_limits = proxy_with(&_backend, |config| config.proxy.limits.header = Duration::from_millis(100));
    let mut client = client(&proxy_limits).await;
    client.request(1, &get()).await;
    assert_eq!(client.outcome(1).await, Some(200));
    let begun = tokio::time::Instant::now();
    let mut stream = 3;
    while begun.elapsed() < Duration::from_millis(400) {
        client.send(PING, 0, 0, &[0; 8]).await.unwrap();
        client.next_of(&[PING]).await.expect("the connection is kept");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    client.request(stream, &get()).await;
    assert_eq!(client.outcome(stream).await, Some(200));
    stream += 2;
    client.request(stream, &get()).await;
    assert_eq!(client.outcome(stream).await, Some(200));
    drop(proxy);
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let (_backend, proxy) = proxy().await;
    let backend = Backend::start(|mut stream, _| async move {
        let mut sink = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink).await;
    });
    let backend = backend.await;
    let hasty = proxy_with(&backend, hasty);
    let mut client = client(&hasty).await;
    let fields = [(":method", "POST"), S, A, P, ("content-length", "50")];
    client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await.unwrap();
    client.send(DATA, 0, 1, b"hello").await.unwrap();
    assert_eq!(client.outcome(1).await, Some(408));
    drop(proxy);
}

/// Octets that come now and then: a client that sends them holds nothing for ever, over HTTP/1.1 as over HTTP/2, with a
/// length and without one. Streams of messages may rest.
#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let backend = Backend::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        if head.starts_with("POST /early ") {
            let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
        let mut sink = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink).await;
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let pause = Duration::from_millis(500);
    let begun = tokio::time::Instant::now();
    // The grace is 10 seconds.
    let over = Duration::from_secs(13);
    let http1 = async |fields: &str, piece: &str| {
        let mut stream = proxy.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        while begun.elapsed() < over {
            if let Ok(answer) = tokio::time::timeout(pause, read_head(&mut stream)).await {
                return answer;
            }
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, piece.as_bytes()).await;
        }
        None
    };
    let http2 = async |fields: &[(&str, &str)]| {
        let mut client = client(&proxy).await;
        client.send(HEADERS, END_HEADERS, 1, &block(fields)).await.unwrap();
        let mut trickled = 0;
        let mut answered = None;
        // Each ping is answered behind what the proxy has said before.
        while begun.elapsed() < over {
            let _ = client.send(DATA, 0, 1, b"x").await;
            trickled += 1;
            client.send(PING, 0, 0, &[trickled; 8]).await.unwrap();
            loop {
                let frame = client.next_of(&[HEADERS, RST_STREAM, PING]).await.expect("the connection goes on");
                match frame.kind {
                    HEADERS => answered = Some(frame.status()),
                    RST_STREAM => return (answered, true),
                    _ => break,
                }
            }
            if answered == Some(408) {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        (answered, false)
    };
    let post = (":method", "POST");
    let (plain, early) = ([post, S, A, P], [post, S, A, (":path", "/early")]);
    let length = [post, S, A, P, ("content-length", "1000")];
    let call = [post, S, A, P, ("content-type", "application/grpc"), ("te", "trailers")];
    let (chunked, counted, over_http2, with_length, answered, called) = tokio::join!(
        http1("Transfer-Encoding: chunked", "1\r\nx\r\n"),
        http1("Content-Length: 1000", "x"),
        http2(&plain),
        http2(&length),
        http2(&early),
        http2(&call),
    );
    assert_eq!(chunked.as_deref().map(status), Some(408));
    assert_eq!(counted.as_deref().map(status), Some(408));
    assert_eq!(over_http2.0, Some(408));
    assert_eq!(with_length.0, Some(408));
    assert_eq!(answered, (Some(200), false), "its answer has begun");
    assert_eq!(called, (None, false), "a call may rest");
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_reset_and_others_go_on() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let text = if head.starts_with("GET /large") { "x".repeat(500_000) } else { "small".into() };
            if tokio::io::AsyncWriteExt::write_all(&mut stream, ok(&text).as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let backend = backend.await;
    let proxy = proxy_with(&backend, |config| config.proxy.limits.idle = Duration::from_millis(400));
    // RFC 9113 section 6.9.2: windows begin with 1000 octets here.
    let mut client = Client::start(proxy.connect().await, &[(4, 1000)]).await;
    client.request(1, &[M, S, A, (":path", "/large")]).await;
    assert_eq!(client.outcome(1).await, Some(200));
    client.request(3, &get()).await;
    assert_eq!(client.outcome(3).await, Some(200));
    let reset = client.next_of(&[RST_STREAM]).await.expect("the stream ends, not the connection");
    // CANCEL.
    assert_eq!((reset.stream, reset.error()), (1, 8));
    client.request(5, &get()).await;
    assert_eq!(client.outcome(5).await, Some(200));
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"write\"}"), 1.0);
    until("nothing waits", || proxy.in_flight() == 0 && proxy.metric("pointsman_proxy_buffered_bytes ") == 0.0).await;
}

/// The last piece of an answer, which the implementation of HTTP/2 would take whole and keep: by its length, by chunks,
/// and with trailers behind it.
#[tokio::test]
async fn what_a_shut_window_keeps_back_is_counted_and_ended_with_its_stream() {
    let backend = Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let body = "x".repeat(7000);
            let answer = match head.split(' ').nth(1).unwrap() {
                "/length" => ok(&body),
                "/chunks" => {
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b58\r\n{body}\r\n0\r\n\r\n")
                }
                _ => format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b58\r\n{body}\r\n0\r\nx-after: y\r\n\r\n"
                ),
            };
            if tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let backend = backend.await;
    let proxy = proxy_with(&backend, |config| config.proxy.limits.idle = Duration::from_millis(700));
    for (number, path) in ["/length", "/chunks", "/trailers"].into_iter().enumerate() {
        // RFC 9113 section 6.9.2: windows begin with 1000 octets here.
        let mut client = Client::start(proxy.connect().await, &[(4, 1000)]).await;
        client.request(1, &[M, S, A, (":path", path), ("te", "trailers")]).await;
        assert_eq!(client.outcome(1).await, Some(200), "{path}");
        until("it is counted", || proxy.metric("pointsman_proxy_buffered_bytes ") >= 6000.0).await;
        let reset = client.next_of(&[RST_STREAM]).await.expect("the stream ends, not the connection");
        // CANCEL.
        assert_eq!((reset.stream, reset.error()), (1, 8), "{path}");
        let write = proxy.metric("pointsman_proxy_timeouts_total{kind=\"write\"}");
        assert_eq!(write, number as f64 + 1.0, "{path}");
        until("nothing waits", || proxy.in_flight() == 0 && proxy.metric("pointsman_proxy_buffered_bytes ") == 0.0)
            .await;
        // A client that takes it gets it whole, and small ones in one frame that ends them.
        let mut client = Client::start(proxy.connect().await, &[]).await;
        client.request(1, &[M, S, A, (":path", path), ("te", "trailers")]).await;
        assert_eq!(client.outcome(1).await, Some(200), "{path}");
        let mut octets = 0;
        loop {
            let frame = client.next_of(&[DATA, HEADERS, RST_STREAM]).await.unwrap();
            assert_ne!(frame.kind, RST_STREAM, "{path}");
            octets += if frame.kind == DATA { frame.payload.len() } else { 0 };
            if frame.flags & END_STREAM != 0 {
                assert_eq!(frame.kind == HEADERS, path == "/trailers", "{path}");
                break;
            }
        }
        assert_eq!(octets, 7000, "{path}");
    }
}

/// RFC 9110 section 10.1.1: the request goes on at once, without the expectation, and when the endpoint's side asks for the body its
/// client is told. One that has begun to send it needs no word.
#[tokio::test]
async fn a_100_is_said_when_the_body_is_wanted() {
    let heard = std::sync::Arc::new(tokio::sync::Notify::new());
    let hears = heard.clone();
    let backend = Backend::start(move |mut stream, _| {
        let hears = hears.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            assert_eq!((header(&head, "expect"), header(&head, "content-length")), (None, Some("5")), "{head}");
            hears.notify_one();
            let mut octets = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut octets).await.unwrap();
            let text = ok(std::str::from_utf8(&octets).unwrap());
            tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.unwrap();
        }
    });
    let backend = backend.await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = client(&proxy).await;
    let fields = [(":method", "POST"), S, A, P, ("expect", "100-continue"), ("content-length", "5")];
    client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await.unwrap();
    // The endpoint has the head before there is any body.
    soon(heard.notified()).await;
    assert_eq!(client.outcome(1).await, Some(100));
    client.send(DATA, END_STREAM, 1, b"hello").await.unwrap();
    assert_eq!(client.outcome(1).await, Some(200));
    assert_eq!(client.next_of(&[DATA]).await.unwrap().payload, b"hello");
    let request = [frame(HEADERS, END_HEADERS, 3, &block(&fields)), frame(DATA, END_STREAM, 3, b"hello")].concat();
    client.write(&request).await.unwrap();
    assert_eq!(client.outcome(3).await, Some(200));
}

#[tokio::test]
async fn a_small_answer_is_one_frame_of_data() {
    let backend = Backend::saying("small").await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let mut client = client(&proxy).await;
    client.request(1, &get()).await;
    let data = client.next_of(&[DATA]).await.unwrap();
    assert_eq!((data.payload.as_slice(), data.flags & END_STREAM), (&b"small"[..], END_STREAM));
}

/// A frame now and then is progress: whole pieces of an endpoint's answer may take longer than a client may rest.
#[tokio::test]
async fn a_client_that_reads_slowly_gets_its_answer() {
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, ok(&"x".repeat(260_000)).as_bytes()).await;
        std::future::pending::<()>().await;
    });
    let backend = backend.await;
    let proxy = proxy_with(&backend, |config| config.proxy.limits.idle = Duration::from_secs(2));
    let mut client = Client::start(proxy.connect().await, &[]).await;
    client.send(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()).await.unwrap();
    client.request(1, &get()).await;
    let (mut octets, mut window) = (0, 65_535);
    while octets < 260_000 {
        if octets == window {
            // 40 KiB a second: a piece of 128 KiB would take three.
            tokio::time::sleep(Duration::from_millis(200)).await;
            window += 8_000;
            client.send(WINDOW_UPDATE, 0, 1, &8_000_u32.to_be_bytes()).await.unwrap();
        }
        let frame = client.next_of(&[DATA, RST_STREAM]).await.expect("the connection goes on");
        assert_eq!(frame.kind, DATA, "reset after {octets} octets");
        octets += frame.payload.len();
    }
    assert_eq!(proxy.metric("pointsman_proxy_timeouts_total{kind=\"write\"}"), 0.0);
}
