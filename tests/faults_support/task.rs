//! A task: this very test program, started again as a process that answers HTTP/1.1, HTTP/2 and WebSockets, and that can
//! be killed, frozen, or told to be slow, to reset connections, or to have no time.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::super::common::ports;
use super::super::load::http1::read_head;

/// The test that is none: it plays a task where this variable says which.
const ROLE: &str = "POINTSMAN_TEST_TASK";
pub const PLAYER: &str = "plays_a_task_where_one_is_asked_for";

/// A running task, killed when it is dropped.
pub struct Task {
    pub name: String,
    pub address: SocketAddr,
    /// The command that it is run by, such as one that enters a network namespace.
    around: Vec<String>,
    process: Option<(Child, ChildStdin)>,
}

impl Task {
    pub fn start(name: &str) -> Self {
        Self::start_at(name, ports::unused(), &[])
    }

    /// Starts it at this address, by a command around it.
    pub fn start_at(name: &str, address: SocketAddr, around: &[&str]) -> Self {
        let around = around.iter().map(|word| (*word).to_owned()).collect();
        let mut task = Self { name: name.to_owned(), address, around, process: None };
        task.revive();
        task
    }

    /// Starts it again at the same address; it listens when this returns.
    pub fn revive(&mut self) {
        let program = std::env::current_exe().unwrap();
        let mut words: Vec<std::ffi::OsString> = self.around.iter().map(Into::into).collect();
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--exact", PLAYER, "--nocapture", "--test-threads=1"]);
        command.env(ROLE, format!("{} {}", self.name, self.address));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        self.process = Some((child, stdin));
        let begun = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} does not listen", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells it how to be from now on; it knows when this returns.
    pub fn be(&mut self, mood: &str) {
        let (_, stdin) = self.process.as_mut().expect("it runs");
        writeln!(stdin, "{mood}").unwrap();
        // Its mood is among what it answers, whatever that is.
        let begun = Instant::now();
        while self.mood().as_deref() != Some(mood) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} does not take the order {mood}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks for its mood.
    fn mood(&self) -> Option<String> {
        let stream = std::net::TcpStream::connect(self.address).ok()?;
        let reply = super::super::common::program::exchange(stream, "GET", "/mood", &["Host: task"], "")?;
        Some(reply.body)
    }

    pub fn signal(&self, signal: Signal) {
        let (child, _) = self.process.as_ref().expect("it runs");
        nix::sys::signal::kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        if let Some((mut child, _)) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Slow(Duration),
    Resetting,
    Busy,
}

impl Mood {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "well" => Some(Self::Well),
            None if text == "resetting" => Some(Self::Resetting),
            None if text == "busy" => Some(Self::Busy),
            Some(("slow", millis)) => millis.parse().ok().map(|millis| Self::Slow(Duration::from_millis(millis))),
            _ => None,
        }
    }
}

/// What the connections of a task share.
struct Playing {
    name: String,
    mood: Mutex<(String, Mood)>,
}

/// Plays a task, if this process is asked to; else does nothing.
pub fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (name, address) = role.split_once(' ').unwrap();
    let playing = Arc::new(Playing { name: name.to_owned(), mood: Mutex::new(("well".to_owned(), Mood::Well)) });
    let told = playing.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let mood = Mood::parse(&line).expect("an order that is known");
            *told.mood.lock().unwrap() = (line, mood);
        }
        // Whoever started this has gone.
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let playing = playing.clone();
            tokio::spawn(async move { playing.serve(stream).await });
        }
    });
}

impl Playing {
    fn mood(&self) -> Mood {
        self.mood.lock().unwrap().1.clone()
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut first = [0; 3];
        let looked = stream.peek(&mut first).await;
        // RFC 9113 section 3.4: what a connection of HTTP/2 begins with.
        match looked {
            Ok(3) if &first == b"PRI" => self.serve_http2(stream).await,
            // A client that went away meanwhile is no matter.
            _ => drop(self.serve_http1(stream).await),
        }
    }

    async fn serve_http1(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line).await?;
            if line.is_empty() {
                return Ok(());
            }
            let head = read_head(&mut stream).await?;
            let length = head.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            stream.read_exact(&mut vec![0; length]).await?;
            if line.starts_with("GET /mood ") {
                let mood = self.mood.lock().unwrap().0.clone();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{mood}", mood.len());
                stream.write_all(answer.as_bytes()).await?;
                return Ok(());
            }
            let name = &self.name;
            match self.mood() {
                Mood::Well => {}
                Mood::Slow(time) => tokio::time::sleep(time).await,
                Mood::Resetting => {
                    // Closing sends a reset then.
                    return socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
                }
                Mood::Busy => {
                    let answer =
                        format!("HTTP/1.1 503 Service Unavailable\r\nX-Task: {name}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await?;
                    continue;
                }
            }
            if head.contains_key("upgrade") {
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nX-Task: {name}\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
                return echo(stream).await;
            }
            let answer = format!("HTTP/1.1 200 OK\r\nX-Task: {name}\r\nContent-Length: 6\r\n\r\nhello\n");
            stream.write_all(answer.as_bytes()).await?;
        }
    }

    async fn serve_http2(self: Arc<Self>, stream: TcpStream) {
        let service = hyper::service::service_fn(move |request| {
            let playing = self.clone();
            async move { playing.answer(request).await }
        });
        // A client that went away meanwhile is no matter.
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// An error resets the stream.
    async fn answer(&self, _request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let mut answer = Response::new(Full::from("hello\n"));
        answer.headers_mut().insert("x-task", self.name.parse().unwrap());
        match self.mood() {
            Mood::Well => {}
            Mood::Slow(time) => tokio::time::sleep(time).await,
            Mood::Resetting => return Err(std::io::ErrorKind::ConnectionReset.into()),
            Mood::Busy => *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        }
        Ok(answer)
    }
}

async fn echo(mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
    let mut octets = [0; 1024];
    loop {
        let length = stream.read(&mut octets).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&octets[..length]).await?;
    }
}
