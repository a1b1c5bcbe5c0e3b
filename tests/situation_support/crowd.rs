//! Many tasks in one process: this very test program, started again, with a port for each of them. A task begins to listen
//! when it starts; told to end it finishes what it has; when it falls over everything is reset, and the port refuses.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncBufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::load::http1::read_head;

/// The test that is none: it plays tasks where this variable says at which address, and how many at a time.
const ROLE: &str = "POINTSMAN_TEST_CROWD";
pub const PLAYER: &str = "plays_tasks_where_some_are_asked_for";
/// What answers to orders begin with: the process says other things, too.
const MARK: &str = "crowd: ";
/// What a request takes: some are under way whatever happens.
const WORK: Duration = Duration::from_millis(1);

/// A running process; killed when it is dropped.
pub struct Crowd {
    /// The port of each place for a task.
    pub ports: Vec<u16>,
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    /// With places for so many tasks at a time.
    pub fn start(ip: IpAddr, places: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", PLAYER, "--nocapture", "--test-threads=1"]).env(ROLE, format!("{ip} {places}"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut crowd = Self { ports: Vec::new(), process, orders, answers };
        crowd.ports = crowd.answer().split(' ').map(|port| port.parse().unwrap()).collect();
        crowd
    }

    /// A task begins to listen at this place.
    pub fn open(&mut self, place: usize, name: &str) {
        self.order(&format!("open {place} {name}"));
    }

    /// The one there finishes what it has, and accepts nothing more.
    pub fn close(&mut self, place: usize) {
        self.order(&format!("close {place}"));
    }

    /// The one there falls over.
    pub fn break_down(&mut self, place: usize) {
        self.order(&format!("break {place}"));
    }

    /// It is done when this returns.
    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        assert_eq!(self.answer(), "done", "{order}");
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the process has ended");
            // The harness writes the beginning of a line before.
            if let Some((_, answer)) = line.trim_end().split_once(MARK) {
                return answer.to_owned();
            }
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Plays tasks, if this process is asked to; else does nothing.
pub fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (ip, places) = role.split_once(' ').unwrap();
    let (ip, places): (IpAddr, usize) = (ip.parse().unwrap(), places.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sender, orders) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
        // Whoever started this has gone.
        std::process::exit(0);
    });
    runtime.block_on(obey(ip, places, orders));
}

fn say(text: &str) {
    println!("{MARK}{text}");
    std::io::stdout().flush().unwrap();
}

/// Bound, but not listening: whoever connects is refused, and nobody else gets the port.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn obey(ip: IpAddr, places: usize, mut orders: mpsc::Receiver<String>) {
    // Ports that stay ours over all tasks of a place.
    let held: Vec<SocketAddr> = (0..places).map(|_| free(ip)).collect();
    say(&held.iter().map(|address| address.port().to_string()).collect::<Vec<_>>().join(" "));
    let mut running: Vec<Option<Running>> = held.iter().map(|_| None).collect();
    while let Some(order) = orders.recv().await {
        let words: Vec<&str> = order.split(' ').collect();
        let place: usize = words[1].parse().unwrap();
        match words[0] {
            "open" => {
                let listener = bound(held[place]).listen(1024).unwrap();
                running[place] = Some(Running::start(listener, words[2]));
            }
            "close" => running[place].take().expect("a task is there").close().await,
            _ => running[place].take().expect("a task is there").break_down().await,
        }
        say("done");
    }
}

/// An address that nobody listens on, below the ports of outgoing connections.
fn free(ip: IpAddr) -> SocketAddr {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let address = SocketAddr::new(ip, NEXT.fetch_add(1, Ordering::Relaxed));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The two ways out.
#[derive(Clone, Default)]
struct Closing {
    drain: CancellationToken,
    cut: CancellationToken,
}

/// A task that listens.
struct Running {
    closing: Closing,
    accepting: tokio::task::JoinHandle<()>,
    connections: tokio_util::task::TaskTracker,
}

impl Running {
    fn start(listener: TcpListener, name: &str) -> Self {
        let (closing, connections) = (Closing::default(), tokio_util::task::TaskTracker::new());
        let (name, ways, tracker) = (Arc::<str>::from(name), closing.clone(), connections.clone());
        let accepting = tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        tracker.spawn(serve(stream, name.clone(), ways.clone()));
                    }
                    () = ways.drain.cancelled() => break,
                    () = ways.cut.cancelled() => return,
                }
            }
            // The kernel has accepted them already: closing the listener would reset them.
            let listener = listener.into_std().unwrap();
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).unwrap();
                tracker.spawn(serve(TcpStream::from_std(stream).unwrap(), name.clone(), ways.clone()));
            }
        });
        Self { closing, accepting, connections }
    }

    /// What is under way may end by itself.
    async fn close(self) {
        self.closing.drain.cancel();
        self.accepting.await.unwrap();
    }

    async fn break_down(self) {
        self.closing.cut.cancel();
        self.accepting.await.unwrap();
        self.connections.close();
        self.connections.wait().await;
    }
}

async fn serve(mut stream: TcpStream, name: Arc<str>, closing: Closing) {
    let _ = stream.set_nodelay(true);
    let mut first = [0; 3];
    let looked = tokio::select! {
        looked = stream.peek(&mut first) => looked,
        () = closing.cut.cancelled() => return reset(&stream),
        // Nothing was asked yet.
        () = closing.drain.cancelled() => return,
    };
    // RFC 9113 section 3.4: what a connection of HTTP/2 begins with.
    if matches!(looked, Ok(3)) && &first == b"PRI" {
        return serve_http2(stream, name, closing).await;
    }
    tokio::select! {
        // A client that went away meanwhile is no matter.
        _ = serve_http1(&mut stream, &name, &closing.drain) => {}
        () = closing.cut.cancelled() => reset(&stream),
    }
}

/// Closing sends a reset then.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn serve_http1(stream: &mut TcpStream, name: &str, drain: &CancellationToken) -> std::io::Result<()> {
    let mut stream = AsyncBufReader::new(stream);
    loop {
        let mut line = String::new();
        tokio::select! {
            biased;
            read = stream.read_line(&mut line) => drop(read?),
            // Nothing is under way.
            () = drain.cancelled() => return Ok(()),
        }
        if line.is_empty() {
            return Ok(());
        }
        let head = read_head(&mut stream).await?;
        let length = head.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        stream.read_exact(&mut vec![0; length]).await?;
        if head.contains_key("upgrade") {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nX-Task: {name}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await?;
            return echo(stream).await;
        }
        tokio::time::sleep(WORK).await;
        let answer = format!("HTTP/1.1 200 OK\r\nX-Task: {name}\r\nContent-Length: 6\r\n\r\nhello\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn echo(mut stream: AsyncBufReader<&mut TcpStream>) -> std::io::Result<()> {
    let mut octets = [0; 1024];
    loop {
        let length = stream.read(&mut octets).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&octets[..length]).await?;
    }
}

async fn serve_http2(stream: TcpStream, name: Arc<str>, closing: Closing) {
    let stream = stream.into_std().unwrap();
    let handle = stream.try_clone().unwrap();
    let service = hyper::service::service_fn(move |_request: Request<Incoming>| {
        let name = name.clone();
        async move {
            tokio::time::sleep(WORK).await;
            let mut answer = Response::new(Full::new(Bytes::from_static(b"hello\n")));
            answer.headers_mut().insert("x-task", name.parse().unwrap());
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let stream = TokioIo::new(TcpStream::from_std(stream).unwrap());
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that went away meanwhile is no matter.
        _ = connection.as_mut() => return,
        () = closing.cut.cancelled() => {}
        () = closing.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection.as_mut() => return,
                () = closing.cut.cancelled() => {}
            }
        }
    }
    let _ = SockRef::from(&handle).set_linger(Some(Duration::ZERO));
}
