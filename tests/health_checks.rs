//! Active health checks of the whole program against tasks over real sockets: what they find decides who is served.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/ports.rs"]
mod ports;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::config::{self, Environment};
use pointsman::model::check::CheckState;
use pointsman::model::endpoint::EndpointState;
use pointsman::server::{Options, Server};

const PATIENCE: Duration = Duration::from_secs(30);

/// A task: answers `/healthz` with a status that can be changed, 0 for no answer at all, and all else with its name.
struct Task {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    checks: Arc<AtomicUsize>,
}

impl Task {
    fn start(name: &'static str, status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (status, checks) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        let (says, counts) = (status.clone(), checks.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (says, counts) = (says.clone(), counts.clone());
                std::thread::spawn(move || serve(stream, name, &says, &counts));
            }
        });
        Self { address, status, checks }
    }
}

fn serve(mut stream: TcpStream, name: &str, status: &AtomicU16, checks: &AtomicUsize) {
    while let Some(head) = read_head(&mut stream) {
        let answer = if head.starts_with("GET /healthz ") {
            checks.fetch_add(1, SeqCst);
            match status.load(SeqCst) {
                0 => return std::thread::sleep(PATIENCE),
                code => format!("HTTP/1.1 {code} X\r\nLocation: http://{name}/\r\nContent-Length: 0\r\n\r\n"),
            }
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

/// The program with one service in a file.
struct Program {
    server: Option<Server>,
    _folder: Option<tempfile::TempDir>,
}

impl Program {
    fn start(service: &str, endpoints: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Self::start_in(folder.path(), service, endpoints);
        program._folder = Some(folder);
        program
    }

    fn start_in(folder: &Path, service: &str, endpoints: &[SocketAddr]) -> Self {
        let list: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
        let services = format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\n{service}\nendpoints = [{}]\n",
            list.join(", ")
        );
        std::fs::write(folder.join("services.toml"), services).unwrap();
        let text = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
             [upstreams]\nallowed_networks = [\"127.0.0.0/8\"]\n[state]\npath = \"{}\"\n\
             [health]\ninterval = \"100ms\"\ntimeout = \"500ms\"\n",
            folder.join("state").display()
        );
        let config = config::check(&text, &folder.join("pointsman.toml"), Environment::empty()).unwrap();
        Self { server: Some(Server::start(config, Options::default()).unwrap()), _folder: None }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn get(&self) -> String {
        let mut stream = TcpStream::connect(self.server().addresses().proxy[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// State, verdict and error of the endpoint at an address, as the table has them.
    fn endpoint(&self, address: SocketAddr) -> Option<(EndpointState, Option<CheckState>, String)> {
        let table = self.server().table().load();
        let service = table.services.values().find(|service| service.id.name() == "web")?.clone();
        let endpoint = service.endpoints.iter().find(|endpoint| endpoint.address == address)?;
        let view = table.tasks.get(&endpoint.id.task)?;
        let verdict = view.verdicts.as_ref().and_then(|verdicts| verdicts.get(&endpoint.id.port));
        let error = verdict.and_then(|verdict| verdict.error.as_deref()).unwrap_or_default().to_owned();
        Some((endpoint.state, verdict.map(|verdict| verdict.state), error))
    }

    fn state(&self, address: SocketAddr) -> Option<EndpointState> {
        self.endpoint(address).map(|(state, _, _)| state)
    }

    fn stop(mut self) {
        self.server.take().unwrap().stop(Duration::from_secs(1));
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_new_endpoint_is_out_until_its_first_success() {
    let task = Task::start("one", 503);
    let program = Program::start("health_path = \"/healthz\"", &[task.address]);
    until("its checks fail", || {
        program
            .endpoint(task.address)
            .is_some_and(|(_, verdict, error)| verdict == Some(CheckState::Waiting) && error == "it answers 503")
    });
    // Not even where nobody else is: it has never worked.
    assert_eq!(program.state(task.address), Some(EndpointState::Unverified));
    let answer = program.get();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no-endpoint"), "{answer}");
    task.status.store(200, SeqCst);
    until("it is served", || program.get().ends_with("one"));
    assert_eq!(program.state(task.address), Some(EndpointState::Ready));
    program.stop();
}

#[test]
fn an_endpoint_that_fails_its_checks_gets_nothing_until_it_passes_again() {
    let (one, two) = (Task::start("one", 200), Task::start("two", 204));
    let program = Program::start("health_path = \"/healthz\"", &[one.address, two.address]);
    let both = || [one.address, two.address].map(|address| program.state(address) == Some(EndpointState::Ready));
    until("both are ready", || both() == [true, true]);
    one.status.store(500, SeqCst);
    until("one is out", || program.state(one.address) == Some(EndpointState::Unhealthy));
    assert_eq!(program.endpoint(one.address).unwrap().2, "it answers 500");
    for _ in 0..20 {
        assert!(program.get().ends_with("two"));
    }
    // A check that hangs fails as well.
    one.status.store(0, SeqCst);
    until("it hangs", || program.endpoint(one.address).unwrap().2 == "no answer in time");
    one.status.store(200, SeqCst);
    until("both are ready", || both() == [true, true]);
    until("both serve", || program.get().ends_with("one"));
    // When all are bad, all serve again: a wrong check must not take the service down.
    for task in [&one, &two] {
        task.status.store(500, SeqCst);
    }
    until("both are bad", || both() == [false, false]);
    until("they serve in panic", || program.get().starts_with("HTTP/1.1 200"));
    let text = prometheus::TextEncoder::new().encode_to_string(&program.server().registry().gather()).unwrap();
    assert!(text.contains("pointsman_health_endpoints{verdict=\"bad\"} 2"), "{text}");
    program.stop();
}

#[test]
fn redirects_are_not_followed() {
    let (task, other) = (Task::start("one", 302), Task::start("other", 200));
    let program = Program::start("health_path = \"/healthz\"", &[task.address]);
    until("it is served", || program.state(task.address) == Some(EndpointState::Ready));
    until("it is checked again", || task.checks.load(SeqCst) >= 3);
    assert_eq!(other.checks.load(SeqCst), 0);
    program.stop();
}

#[test]
fn a_connection_is_enough_where_that_is_asked_for() {
    let task = Task::start("one", 500);
    let gone = ports::unused();
    let program = Program::start("health_check = \"tcp\"", &[task.address, gone]);
    until("one is ready", || program.state(task.address) == Some(EndpointState::Ready));
    until("the other is not", || {
        program.endpoint(gone).is_some_and(|(_, _, error)| error.starts_with("cannot connect"))
    });
    assert_eq!(program.state(gone), Some(EndpointState::Unverified));
    assert_eq!(task.checks.load(SeqCst), 0);
    program.stop();
}

/// A verdict is part of the stored state: a restart takes nobody out.
#[test]
fn verdicts_outlive_a_restart() {
    let task = Task::start("one", 200);
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start_in(folder.path(), "health_path = \"/healthz\"", &[task.address]);
    until("it is ready", || program.state(task.address) == Some(EndpointState::Ready));
    program.stop();
    // No check can succeed now: what is stored counts until it is contradicted.
    task.status.store(0, SeqCst);
    let program = Program::start_in(folder.path(), "health_path = \"/healthz\"", &[task.address]);
    assert_eq!(program.state(task.address), Some(EndpointState::Ready));
    program.stop();
}

async fn grpc(request: Request<Incoming>, serving: Arc<AtomicU16>) -> Result<Response<Frames>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let status = u8::try_from(serving.load(SeqCst)).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let message = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
    let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let mut answer = Response::new(Frames(frames.into()));
    answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    Ok(answer)
}

struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}

#[test]
fn grpc_servers_are_asked_in_their_own_protocol() {
    let serving = Arc::new(AtomicU16::new(2));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let says = serving.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let says = says.clone();
            let service = hyper::service::service_fn(move |request| grpc(request, says.clone()));
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    let program = Program::start("protocol = \"h2c\"\nhealth_check = \"grpc\"", &[address]);
    until("it says that it does not serve", || {
        program.endpoint(address).is_some_and(|(_, _, error)| error == "it says that it does not serve")
    });
    serving.store(1, SeqCst);
    until("it is ready", || program.state(address) == Some(EndpointState::Ready));
    program.stop();
}
