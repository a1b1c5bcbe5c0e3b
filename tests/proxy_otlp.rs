//! Spans of requests, as a collector of OpenTelemetry gets them from the whole program. Only with the feature `otlp`; what a
//! program without it says is in `config_errors`.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod proxy_common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authority::Authority;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use pointsman::admin::context::ReloadOutcome;
use pointsman::config;
use pointsman::server::{ConfigFile, Options, Server};
use prost::Message as _;
use proxy_common::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// One export, as it came in.
#[derive(Clone, Debug)]
struct Export {
    head: String,
    body: Vec<u8>,
    at: Instant,
}

impl Export {
    fn message(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(&*self.body).unwrap()
    }
}

/// What a collector does with the next export.
#[derive(Clone)]
enum Says {
    /// These octets.
    This(Vec<u8>),
    /// Nothing, for ever.
    Nothing,
}

/// A collector: an HTTP server that keeps what it is sent, and says what it is told to, else 200.
#[derive(Clone, Default)]
struct Collector {
    exports: Arc<Mutex<Vec<Export>>>,
    next: Arc<Mutex<VecDeque<Says>>>,
}

impl Collector {
    /// Listens; with `tls` by that.
    async fn start(tls: Option<tokio_rustls::TlsAcceptor>) -> (Self, SocketAddr) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, serving) = (listener.local_addr().unwrap(), collector.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream).await,
                        Some(tls) => serving.serve(tls.accept(stream).await.unwrap()).await,
                    }
                });
            }
        });
        (collector, address)
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S) {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(octet) => head.push(octet),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let mut body = vec![0; header(&head, "content-length").unwrap().parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            self.exports.lock().unwrap().push(Export { head, body, at: Instant::now() });
            let says = self.next.lock().unwrap().pop_front();
            match says.unwrap_or_else(|| Says::This(answer("200 OK", "", b""))) {
                Says::This(octets) => stream.write_all(&octets).await.unwrap(),
                Says::Nothing => std::future::pending::<()>().await,
            }
        }
    }

    fn will_say(&self, says: Says) {
        self.next.lock().unwrap().push_back(says);
    }

    fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    /// All spans, in the order in which they came.
    fn spans(&self) -> Vec<Span> {
        let resources = self.exports().into_iter().flat_map(|export| export.message().resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans, as soon as there are so many.
    async fn wait(&self, count: usize) -> Vec<Span> {
        until("the collector has them", || self.spans().len() >= count).await;
        self.spans()
    }
}

fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn told<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let mut named = attributes.iter().filter(|attribute| attribute.key == name);
    let found = named.next()?.value.as_ref()?.value.as_ref();
    assert!(named.next().is_none(), "{name} is told twice");
    found
}

fn text<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    told(&span.attributes, name).map(|value| match value {
        Value::StringValue(text) => &**text,
        other => panic!("{name}: {other:?}"),
    })
}

fn number(span: &Span, name: &str) -> Option<i64> {
    told(&span.attributes, name).map(|value| match value {
        Value::IntValue(number) => *number,
        other => panic!("{name}: {other:?}"),
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The field that an endpoint got, of whose head the answer is made: trace, parent, flags.
fn forwarded(answer: &str) -> Option<[String; 3]> {
    let value = header(body(answer), "traceparent")?;
    let parts: Vec<&str> = value.split('-').collect();
    Some([parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned()])
}

/// The program with services from a file: one that echoes, one whose first endpoint may be dead, one that has no endpoint
/// that lives.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
    backend: Backend,
}

/// The settings of a collector that is sent each request at once.
fn to(address: SocketAddr, more: &str) -> String {
    format!("[proxy.trace]\nsample = 1\n[proxy.trace.otlp]\nendpoint = \"http://{address}\"\ndelay = \"10ms\"\n{more}")
}

impl World {
    async fn start(settings: &str) -> Self {
        let backend = Backend::start(|mut stream, _| async move {
            while let Some(head) = read_head(&mut stream).await {
                let answer = match head.starts_with("GET /teapot") {
                    true => "HTTP/1.1 418 Short\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    false => ok(&head),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let backend = backend.await;
        let folder = tempfile::tempdir().unwrap();
        let (live, dead) = (backend.address, refusing());
        let services = format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [\"{live}\"]\n\
             [[services]]\nname = \"half\"\nhosts = [\"half.test\"]\nendpoints = [\"{live}\", \"{dead}\"]\n\
             [[services]]\nname = \"none\"\nhosts = [\"none.test\"]\nendpoints = [\"{dead}\"]\n"
        );
        std::fs::write(folder.path().join("services.toml"), services).unwrap();
        let mut world = Self { server: None, folder, backend };
        world.write(settings);
        let path = world.path("pointsman.toml");
        let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let options = Options { config: Some(ConfigFile::follow(&path)), ..Options::default() };
        world.server = Some(tokio::task::block_in_place(|| Server::start(config, options)).unwrap());
        until("the file is read", || world.server().table().load().ready).await;
        world
    }

    fn write(&self, settings: &str) {
        let text = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
             [proxy]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{settings}\n"
        );
        std::fs::write(self.path("pointsman.toml"), text).unwrap();
    }

    async fn reload(&self, settings: &str) {
        self.write(settings);
        let before = self.server().table().load().generation;
        let status = self.server().reloader().reload().await;
        assert_eq!(status.outcome, ReloadOutcome::Applied, "{:?}", status.errors);
        until("the table has it", || self.server().table().load().generation > before).await;
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.server().addresses().proxy[0])).await.unwrap()
    }

    async fn get(&self, host: &str, path: &str, lines: &str) -> String {
        let mut stream = self.connect().await;
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    fn metric(&self, line: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.server().registry().gather()).unwrap();
        let found = text.lines().find_map(|known| known.strip_prefix("pointsman_proxy_otlp_")?.strip_prefix(line));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}")).trim().parse().unwrap()
    }

    fn spans(&self, result: &str) -> f64 {
        self.metric(&format!("spans_total{{result=\"{result}\"}}"))
    }

    fn exports(&self, result: &str) -> f64 {
        self.metric(&format!("exports_total{{result=\"{result}\"}}"))
    }

    fn stop(&mut self) -> Duration {
        let (server, begun) = (self.server.take().unwrap(), Instant::now());
        tokio::task::block_in_place(|| server.stop(Duration::from_secs(5)));
        begun.elapsed()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            tokio::task::block_in_place(|| server.stop(Duration::ZERO));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_below_its_callers_and_the_endpoint_is_below_its_try() {
    let (collector, address) = Collector::start(None).await;
    let world = World::start("").await;
    std::fs::write(world.path("key"), "Api-Key=s3cret%20key\nx-tenant=7\n").unwrap();
    let more = "headers_file = \"key\"\nservice = \"edge\"\nattributes = [\"service.instance.id=edge-1\"]\n";
    world.reload(&to(address, more)).await;
    let lines = format!(
        "{}tracestate: a=1\r\ntracestate: b=2\r\nuser-agent: tester\r\nx-forwarded-for: 192.0.2.7\r\n",
        traceparent("01")
    );
    let answer = world.get("web.test:8080", "/a/b?secret=1", &lines).await;
    assert_eq!(status(&answer), 200);
    let spans = collector.wait(2).await;
    let [server, client] = &spans[..] else { panic!("{spans:?}") };

    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
    assert_eq!((server.span_id.len(), client.span_id.len()), (8, 8));
    assert_ne!(server.span_id, client.span_id);
    assert_eq!(forwarded(&answer), Some([TRACE.to_owned(), hex(&client.span_id), "01".to_owned()]));
    assert_eq!((&*server.trace_state, &*client.trace_state), ("a=1,b=2", "a=1,b=2"));
    // Sampled; and of the parent it is known that it is another program's, or this one's.
    assert_eq!((server.flags, client.flags), (0x301, 0x101));
    assert_eq!((server.kind(), client.kind()), (SpanKind::Server, SpanKind::Client));
    assert_eq!((&*server.name, &*client.name), ("GET /", "GET"));
    assert!(server.status.is_none() && client.status.is_none());
    let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
    let (whole, part) = (times(server), times(client));
    assert!(whole.0 <= part.0 && part.0 <= part.1 && part.1 <= whole.1, "{whole:?} {part:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now - Duration::from_nanos(whole.0) < PATIENCE, "{whole:?}");

    for (name, expected) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/a/b"),
        ("server.address", "web.test"),
        ("http.route", "/"),
        ("client.address", "192.0.2.7"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "tester"),
        ("pointsman.end", "complete"),
    ] {
        assert_eq!(text(server, name), Some(expected), "{name}");
    }
    let table = i64::try_from(world.server().table().load().generation).unwrap();
    assert_eq!(number(server, "pointsman.table_version"), Some(table));
    assert_eq!((number(server, "http.response.status_code"), number(server, "server.port")), (Some(200), Some(8080)));
    assert!(text(server, "pointsman.service").unwrap().contains("web"));
    assert!(text(server, "pointsman.reason").is_none() && text(server, "error.type").is_none());
    let endpoint = text(server, "pointsman.endpoint").unwrap();
    assert_eq!(text(client, "pointsman.endpoint"), Some(endpoint));
    let backend = world.backend.address;
    assert_eq!(text(client, "url.full"), Some(&*format!("http://{backend}/a/b")));
    assert_eq!(
        (text(client, "server.address"), number(client, "server.port")),
        (Some("127.0.0.1"), Some(backend.port().into()))
    );
    assert_eq!(number(client, "http.response.status_code"), Some(200));
    assert!(!format!("{spans:?}").contains("secret"), "queries stay here");

    let export = &collector.exports()[0];
    assert!(export.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", export.head);
    for (name, expected) in [("content-type", "application/x-protobuf"), ("api-key", "s3cret key"), ("x-tenant", "7")] {
        assert_eq!(header(&export.head, name), Some(expected));
    }
    assert_eq!(header(&export.head, "host"), Some(&*address.to_string()));
    let resource = export.message().resource_spans.remove(0).resource.unwrap();
    let named = |name| told(&resource.attributes, name).cloned();
    assert_eq!(named("service.name"), Some(Value::StringValue("edge".into())));
    assert_eq!(named("service.instance.id"), Some(Value::StringValue("edge-1".into())));
    assert!(named("service.version").is_some());
    until("they are counted", || world.spans("exported") == 2.0).await;
    assert_eq!((world.exports("taken"), world.metric("waiting_spans")), (1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_decide_and_where_there_is_none_the_share_does() {
    let (collector, address) = Collector::start(None).await;
    let world = World::start(&to(address, "").replace("sample = 1\n", "sample = 0\n")).await;
    // Not recorded, by the caller's word: passed on as it is, with what nobody knows.
    let answer = world.get("web.test", "/", &format!("{}tracestate: a=1\r\n", traceparent("02"))).await;
    assert_eq!(forwarded(&answer), Some([TRACE.to_owned(), PARENT.to_owned(), "02".to_owned()]));
    assert_eq!(header(body(&answer), "tracestate"), Some("a=1"));
    // Not recorded, by lot: the next ones are told so.
    let answer = world.get("web.test", "/", "").await;
    assert_eq!(forwarded(&answer).unwrap()[2], "00");
    // Recorded, by the caller's word, whatever the share is.
    world.get("web.test", "/", &traceparent("01")).await;
    assert_eq!(collector.wait(2).await.len(), 2);
    world.reload(&to(address, "")).await;
    // By lot; a parent that is none is none.
    let answer = world.get("web.test", "/", "traceparent: 00-nonsense\r\ntracestate: a=1\r\n").await;
    let spans = collector.wait(4).await;
    let [_, _, server, client] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((server.parent_span_id.len(), &*server.trace_state), (0, ""));
    assert_eq!(forwarded(&answer), Some([hex(&server.trace_id), hex(&client.span_id), "01".to_owned()]));
    assert_eq!((header(body(&answer), "tracestate"), server.flags), (None, 0x101));
    // And still the caller's word.
    world.get("web.test", "/", &traceparent("00")).await;
    world.get("web.test", "/last", "").await;
    let spans = collector.wait(6).await;
    assert_eq!((spans.len(), text(&spans[4], "url.path")), (6, Some("/last")));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_is_a_span_and_the_last_is_what_the_endpoint_knows() {
    let (collector, address) = Collector::start(None).await;
    let world = World::start(&to(address, "")).await;
    // The dead endpoint is met sooner or later.
    for count in 1.. {
        assert!(count < 200, "it is never met");
        let answer = world.get("half.test", "/", &traceparent("01")).await;
        assert_eq!(status(&answer), 200);
        let children = |spans: &[Span]| {
            let server = spans.iter().rfind(|span| span.kind() == SpanKind::Server).cloned();
            let of = |span: &&Span| Some(&span.parent_span_id) == server.as_ref().map(|server| &server.span_id);
            (spans.iter().filter(of).cloned().collect::<Vec<_>>(), server)
        };
        let servers = || collector.spans().iter().filter(|span| span.kind() == SpanKind::Server).count();
        until("the collector has it", || servers() >= count).await;
        let (tries, server) = children(&collector.spans());
        let [failed, answered] = &tries[..] else { continue };
        assert_eq!(text(failed, "error.type"), Some("connect-failed"));
        assert_eq!(failed.status.as_ref().map(|status| status.code), Some(2));
        assert_eq!(
            (number(failed, "http.request.resend_count"), number(failed, "http.response.status_code")),
            (None, None)
        );
        assert_eq!(number(answered, "http.request.resend_count"), Some(1));
        assert_eq!(number(answered, "http.response.status_code"), Some(200));
        assert!(failed.end_time_unix_nano <= answered.start_time_unix_nano);
        assert_ne!(text(failed, "pointsman.endpoint"), text(answered, "pointsman.endpoint"));
        assert_eq!(forwarded(&answer).unwrap()[1], hex(&answered.span_id));
        let server = server.unwrap();
        assert_eq!(text(&server, "pointsman.endpoint"), text(answered, "pointsman.endpoint"));
        assert_eq!(server.status, None);
        break;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told_by_whose_fault_it_is() {
    let (collector, address) = Collector::start(None).await;
    let world = World::start(&to(address, "")).await;
    // The client's: no endpoint is asked, and nothing failed here.
    assert_eq!(status(&world.get("nobody.test", "/", "").await), 404);
    let spans = collector.wait(1).await;
    assert_eq!(
        (text(&spans[0], "pointsman.reason"), number(&spans[0], "http.response.status_code")),
        (Some("no-route"), Some(404))
    );
    assert_eq!((&*spans[0].name, &spans[0].status, text(&spans[0], "http.route")), ("GET", &None, None));
    // The endpoint's.
    assert_eq!(status(&world.get("none.test", "/", "").await), 502);
    let spans = collector.wait(3).await;
    assert_eq!(
        (text(&spans[1], "pointsman.reason"), text(&spans[1], "error.type")),
        (Some("connect-failed"), Some("connect-failed"))
    );
    assert_eq!(spans[1].status.as_ref().map(|status| status.code), Some(2));
    // An error for whoever asked for it, and none for whoever answers.
    assert_eq!(status(&world.get("web.test", "/teapot", "").await), 418);
    let known = spans.len();
    let spans = collector.wait(known + 2).await;
    let codes: Vec<_> = spans[known..].iter().map(|span| span.status.as_ref().map(|status| status.code)).collect();
    assert_eq!(codes, [None, Some(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_and_with_bodies_too() {
    let (collector, address) = Collector::start(None).await;
    let world = World::start(&to(address, "")).await;
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = soon(hyper::client::conn::http2::handshake(executor, stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::post("http://web.test/x").body(http_body_util::Full::<bytes::Bytes>::from("hi")).unwrap();
    let answer = soon(client.send_request(request)).await.unwrap();
    soon(http_body_util::BodyExt::collect(answer.into_body())).await.unwrap();
    let spans = collector.wait(2).await;
    assert_eq!(
        (text(&spans[0], "network.protocol.version"), text(&spans[0], "http.request.method")),
        (Some("2"), Some("POST"))
    );
    assert_eq!(text(&spans[1], "network.protocol.version"), Some("1.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_comes_again_when_the_collector_wants_it_to() {
    let (collector, address) = Collector::start(None).await;
    collector.will_say(Says::This(answer("503 Busy", "retry-after: 1\r\n", b"")));
    collector.will_say(Says::This(answer("429 Many", "retry-after: 0\r\n", b"")));
    let world = World::start(&to(address, "")).await;
    world.get("web.test", "/", &traceparent("01")).await;
    until("it is taken", || world.exports("taken") == 1.0).await;
    let exports = collector.exports();
    assert_eq!(exports.len(), 3);
    assert!(exports.iter().all(|export| export.body == exports[0].body), "the same each time");
    assert!(exports[1].at - exports[0].at >= Duration::from_secs(1), "as late as it was asked for");
    assert_eq!((world.exports("retried"), world.exports("failed"), world.spans("exported")), (2.0, 0.0, 2.0));
    // What is refused for good is not repeated.
    collector.will_say(Says::This(answer("400 Bad", "retry-after: 0\r\n", b"")));
    world.get("web.test", "/", &traceparent("01")).await;
    until("it is given up", || world.exports("failed") == 1.0).await;
    assert_eq!((collector.exports().len(), world.spans("failed"), world.exports("retried")), (4, 2.0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_for_a_while_gets_what_it_missed() {
    let address = refusing();
    let world = World::start(&to(address, "")).await;
    world.get("web.test", "/", &traceparent("01")).await;
    until("it is tried", || world.exports("retried") >= 1.0).await;
    // One that does not answer in time is as good as away.
    let (collector, address) = Collector::start(None).await;
    collector.will_say(Says::Nothing);
    world.reload(&to(address, "timeout = \"50ms\"\n")).await;
    collector.wait(4).await;
    assert_eq!(world.spans("failed") + world.spans("dropped"), 0.0);
    assert_eq!(collector.exports()[0].body, collector.exports()[1].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_takes_in_part_is_counted_in_parts() {
    let (collector, address) = Collector::start(None).await;
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: "one too many".into() });
    let said = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    collector.will_say(Says::This(answer("200 OK", "content-type: application/x-protobuf\r\n", &said)));
    let world = World::start(&to(address, "")).await;
    world.get("web.test", "/", &traceparent("01")).await;
    until("it is counted", || world.exports("taken") == 1.0).await;
    assert_eq!((world.spans("exported"), world.spans("rejected"), world.exports("retried")), (1.0, 1.0, 0.0));
    assert_eq!(collector.exports().len(), 1, "what it does not want is not sent again");
}

/// A collector that says nothing: requests go on, and what is too much is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_collector() {
    let (collector, address) = Collector::start(None).await;
    collector.will_say(Says::Nothing);
    let world = World::start(&to(address, "queue = 32\nbatch = 4\n")).await;
    let asked = 40;
    for _ in 0..asked {
        assert_eq!(status(&soon(world.get("web.test", "/", &traceparent("01"))).await), 200);
    }
    let accounted = || world.spans("dropped") + world.metric("waiting_spans") + collector.spans().len() as f64;
    until("all are accounted for", || accounted() == f64::from(2 * asked)).await;
    // The batch that is under way may have left room behind the last request.
    let waiting = world.metric("waiting_spans");
    assert!([28.0, 32.0].contains(&waiting) && world.spans("exported") == 0.0, "{waiting} wait");
    assert!(world.spans("dropped") >= f64::from(2 * asked - 32 - 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_at_the_end() {
    let (collector, address) = Collector::start(None).await;
    let mut world = World::start(&to(address, "batch = 4\n").replace("10ms", "1h")).await;
    for _ in 0..3 {
        world.get("web.test", "/", &traceparent("01")).await;
    }
    // A full batch does not wait.
    assert_eq!(collector.wait(4).await.len(), 4);
    world.stop();
    assert_eq!(collector.spans().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_ever() {
    let (collector, address) = Collector::start(None).await;
    collector.will_say(Says::Nothing);
    let mut world = World::start(&to(address, "timeout = \"1h\"\n")).await;
    world.get("web.test", "/", &traceparent("01")).await;
    collector.wait(2).await;
    let took = world.stop();
    assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_changes_and_ends_with_the_configuration() {
    let (first, first_at) = Collector::start(None).await;
    let (second, second_at) = Collector::start(None).await;
    let world = World::start("").await;
    let answer = world.get("web.test", "/", &traceparent("01")).await;
    assert_eq!(forwarded(&answer).unwrap()[1], PARENT, "nobody is told: the caller stays the parent");
    world.reload(&to(first_at, "")).await;
    world.get("web.test", "/1", &traceparent("01")).await;
    first.wait(2).await;
    let path = to(second_at, "").replace(&second_at.to_string(), &format!("{second_at}/of/ours"));
    world.reload(&path).await;
    world.get("web.test", "/2", &traceparent("01")).await;
    assert_eq!(text(&second.wait(2).await[0], "url.path"), Some("/2"));
    assert!(second.exports()[0].head.starts_with("POST /of/ours HTTP/1.1\r\n"));
    world.reload("").await;
    let answer = world.get("web.test", "/3", &traceparent("01")).await;
    assert_eq!(forwarded(&answer).unwrap()[1], PARENT);
    until("the other two are counted", || world.spans("exported") == 4.0).await;
    assert_eq!((first.spans().len(), second.spans().len(), world.spans("dropped")), (2, 2, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_with_an_authority_of_its_own() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let tls = authority.server(&issued, &["http/1.1"], false);
    let (collector, address) = Collector::start(Some(tls.into())).await;
    let world = World::start("").await;
    authority.write(&world.path("ca.pem"));
    let settings = to(address, "ca = \"ca.pem\"\n");
    let settings = settings.replace(&format!("http://{address}"), &format!("https://localhost:{}", address.port()));
    world.reload(&settings).await;
    for count in 1..3 {
        world.get("web.test", "/", &traceparent("01")).await;
        collector.wait(2 * count).await;
    }
}
